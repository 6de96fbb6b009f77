/*
 * A Modbus TCP server on libmodbus that writes down what it served.
 *
 *   libmodbus_server --log FILE [--host 127.0.0.1] [--port N] [--set SPEC]... [options]
 *
 *   --set FUNCTION:ADDRESS:TYPE:VALUE   FUNCTION 1..4 names the table by the code that reads
 *                                       it, ADDRESS is the one on the wire (from zero), TYPE:
 *       float_abcd float_dcba float_badc float_cdab   by libmodbus' setters of that name; what
 *                                       words they make differs between releases (issue 611 of
 *                                       libmodbus), so the log tells the words that were served
 *       int32 uint32 int64 uint64                     by libmodbus' macros (order ABCD)
 *       int16 uint16 bit
 *       words                           as many registers as there are words: words:1,0x2,3
 *   --counter ADDRESS          holding registers ADDRESS, ADDRESS+1: a 32-bit counter, ABCD,
 *                              that grows by one before each request that covers it is served
 *   --exception FUNCTION:ADDRESS:CODE   requests that cover ADDRESS answer this exception code
 *   --silent UNIT              requests to UNIT are taken and never answered
 *   --delay-ms N               every answer waits N ms (the whole server does)
 *
 * Log lines are JSON objects, flushed before the answer leaves, times from CLOCK_REALTIME:
 *   {"event":"listening","time_ns":N,"port":N}
 *   {"event":"accept","time_ns":N,"connection":N,"accepts":N}
 *   {"event":"request","connection":N,"transaction":N,"unit":N,"function":N,"address":N,
 *    "count":N,"received_ns":N,"time_ns":N,"outcome":"values"|"exception"|"silent"|"other",
 *    "exception":N,"counter":N,"values":[N]}     (the last three only where they apply)
 *   {"event":"close","time_ns":N,"connection":N}
 *   {"event":"counters","time_ns":N,"accepts":N,"requests":N,"counter":N}   on SIGUSR1
 *
 * One thread and one select loop; every unit sees the same tables.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TABLE 65536
#define MOST_RULES 64
#define MOST_FDS FD_SETSIZE

struct rule {
    int function, address, code;
};

static FILE *out;
static modbus_mapping_t *map;
static struct rule exceptions[MOST_RULES];
static int n_exceptions, n_silent, silent[MOST_RULES];
static int counter_at = -1;
static uint32_t counter;
static long accepts, requests, delay_ms;
static long connection_of[MOST_FDS];
static volatile sig_atomic_t asked;

static void on_usr1(int signal_number) {
    (void)signal_number;
    asked = 1;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what, const char *arg) {
    fprintf(stderr, "libmodbus_server: %s: %s\n", what, arg);
    exit(2);
}

static void set_words(int function, int address, const char *list, const char *spec) {
    if (function <= 2) die("only bit fits this table", spec);
    uint16_t *r = function == 3 ? map->tab_registers : map->tab_input_registers;
    for (char *end;; list = end + 1) {
        unsigned long word = strtoul(list, &end, 0);
        if (end == list || word > UINT16_MAX || (*end && *end != ',')) die("bad words", spec);
        if (address >= TABLE) die("outside the table", spec);
        r[address++] = (uint16_t)word;
        if (!*end) return;
    }
}

static void set(const char *spec) {
    int function = 0, address = 0, used = 0;
    char type[16];
    if (sscanf(spec, "%d:%d:%15[a-z0-9_]:%n", &function, &address, type, &used) != 3 || !used)
        die("bad --set", spec);
    const char *value = spec + used;
    if (address < 0 || address > TABLE - 4 || function < 1 || function > 4)
        die("outside the table", spec);
    if (strcmp(type, "words") == 0) {
        set_words(function, address, value, spec);
        return;
    }
    if (function <= 2) {
        uint8_t *bits = function == 1 ? map->tab_bits : map->tab_input_bits;
        if (strcmp(type, "bit") != 0) die("only bit fits this table", spec);
        bits[address] = strtol(value, NULL, 0) != 0;
        return;
    }
    uint16_t *r = (function == 3 ? map->tab_registers : map->tab_input_registers) + address;
    if (strcmp(type, "float_abcd") == 0) modbus_set_float_abcd(strtof(value, NULL), r);
    else if (strcmp(type, "float_dcba") == 0) modbus_set_float_dcba(strtof(value, NULL), r);
    else if (strcmp(type, "float_badc") == 0) modbus_set_float_badc(strtof(value, NULL), r);
    else if (strcmp(type, "float_cdab") == 0) modbus_set_float_cdab(strtof(value, NULL), r);
    else if (strcmp(type, "int16") == 0) r[0] = (uint16_t)strtol(value, NULL, 0);
    else if (strcmp(type, "uint16") == 0) r[0] = (uint16_t)strtoul(value, NULL, 0);
    else if (strcmp(type, "int32") == 0) {
        int32_t v = (int32_t)strtol(value, NULL, 0);
        MODBUS_SET_INT32_TO_INT16(r, 0, v);
    } else if (strcmp(type, "uint32") == 0) {
        uint32_t v = (uint32_t)strtoul(value, NULL, 0);
        MODBUS_SET_INT32_TO_INT16(r, 0, v);
    } else if (strcmp(type, "int64") == 0) {
        int64_t v = strtoll(value, NULL, 0);
        MODBUS_SET_INT64_TO_INT16(r, 0, v);
    } else if (strcmp(type, "uint64") == 0) {
        uint64_t v = strtoull(value, NULL, 0);
        MODBUS_SET_INT64_TO_INT16(r, 0, v);
    } else die("unknown type", spec);
}

static int covers(int at, int words, int address, int count) {
    return at < address + count && address < at + words;
}

/* What will become of a request, with its exception code where we answer one ourselves. */
static const char *judge(int unit, int function, int address, int count, int *code) {
    for (int i = 0; i < n_silent; i++)
        if (silent[i] == unit) return "silent";
    for (int i = 0; i < n_exceptions; i++) {
        struct rule e = exceptions[i];
        if (e.function == function && covers(e.address, 1, address, count)) {
            *code = e.code;
            return "exception";
        }
    }
    /* libmodbus itself refuses what lies outside its tables, is too long or not served. */
    int most = function <= 2 ? MODBUS_MAX_READ_BITS : MODBUS_MAX_READ_REGISTERS;
    if (function < 1 || function > 4) return "other";
    if (address + count > TABLE || count < 1 || count > most) return "exception";
    return "values";
}

/* The words or bits of the tables that libmodbus is about to send. */
static void log_values(int function, int address, int count) {
    fputs(",\"values\":[", out);
    for (int i = 0; i < count; i++) {
        int value = function == 1   ? map->tab_bits[address + i]
                    : function == 2 ? map->tab_input_bits[address + i]
                    : function == 3 ? map->tab_registers[address + i]
                                    : map->tab_input_registers[address + i];
        fprintf(out, i ? ",%d" : "%d", value);
    }
    fputc(']', out);
}

/* Writes the log line first, so that nothing a client ever saw is missing in it. */
static void serve(modbus_t *ctx, int fd, const uint8_t *req, int len) {
    int64_t received = now_ns();
    int unit = req[6], function = req[7], code = 0, counted = 0;
    int address = MODBUS_GET_INT16_FROM_INT8(req, 8), count = MODBUS_GET_INT16_FROM_INT8(req, 10);
    const char *outcome = judge(unit, function, address, count, &code);
    if (delay_ms) {
        struct timespec wait = {delay_ms / 1000, delay_ms % 1000 * 1000000};
        nanosleep(&wait, NULL);
    }
    if (strcmp(outcome, "values") == 0 && counter_at >= 0 && function == 3 &&
        covers(counter_at, 2, address, count)) {
        counter++;
        MODBUS_SET_INT32_TO_INT16(map->tab_registers, counter_at, counter);
        counted = 1;
    }
    requests++;
    fprintf(out,
            "{\"event\":\"request\",\"connection\":%ld,\"transaction\":%d,\"unit\":%d,"
            "\"function\":%d,\"address\":%d,\"count\":%d,\"received_ns\":%" PRId64
            ",\"time_ns\":%" PRId64 ",\"outcome\":\"%s\"",
            connection_of[fd], MODBUS_GET_INT16_FROM_INT8(req, 0), unit, function, address, count,
            received, now_ns(), outcome);
    if (code) fprintf(out, ",\"exception\":%d", code);
    if (strcmp(outcome, "values") == 0) log_values(function, address, count);
    if (counted) fprintf(out, ",\"counter\":%" PRIu32, counter);
    fprintf(out, "}\n");
    fflush(out);
    if (code) modbus_reply_exception(ctx, req, (unsigned)code);
    else if (strcmp(outcome, "silent") != 0) modbus_reply(ctx, req, len, map);
}

static void add_rule(const char *spec) {
    struct rule *e = &exceptions[n_exceptions];
    if (n_exceptions == MOST_RULES ||
        sscanf(spec, "%d:%d:%d", &e->function, &e->address, &e->code) != 3)
        die("bad --exception", spec);
    n_exceptions++;
}

static int listen_on(modbus_t *ctx) {
    int listener = modbus_tcp_listen(ctx, 128);
    if (listener < 0) die("listen", modbus_strerror(errno));
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    getsockname(listener, (struct sockaddr *)&bound, &size);
    fprintf(out, "{\"event\":\"listening\",\"time_ns\":%" PRId64 ",\"port\":%d}\n", now_ns(),
            ntohs(bound.sin_port));
    fflush(out);
    return listener;
}

static void hang_up(int fd, fd_set *all) {
    fprintf(out, "{\"event\":\"close\",\"time_ns\":%" PRId64 ",\"connection\":%ld}\n", now_ns(),
            connection_of[fd]);
    fflush(out);
    close(fd);
    FD_CLR(fd, all);
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"log", 1, 0, 'l'},     {"host", 1, 0, 'h'},      {"port", 1, 0, 'p'},
        {"set", 1, 0, 's'},     {"counter", 1, 0, 'c'},   {"exception", 1, 0, 'e'},
        {"silent", 1, 0, 'q'},  {"delay-ms", 1, 0, 'd'},  {0, 0, 0, 0}};
    const char *host = "127.0.0.1", *path = NULL;
    int port = 0, o;
    map = modbus_mapping_new(TABLE, TABLE, TABLE, TABLE);
    if (!map) die("mapping", modbus_strerror(errno));
    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (o) {
        case 'l': path = optarg; break;
        case 'h': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 's': set(optarg); break;
        case 'c': counter_at = atoi(optarg); break;
        case 'e': add_rule(optarg); break;
        case 'q':
            if (n_silent == MOST_RULES) die("too many", "--silent");
            silent[n_silent++] = atoi(optarg);
            break;
        case 'd': delay_ms = atol(optarg); break;
        default: return 2;
        }
    }
    if (!path || !(out = fopen(path, "a"))) die("cannot open --log", path ? path : "(none)");

    struct sigaction usr1 = {.sa_handler = on_usr1};
    sigaction(SIGUSR1, &usr1, NULL);
    signal(SIGPIPE, SIG_IGN);
    modbus_t *ctx = modbus_new_tcp(host, port);
    if (!ctx) die("context", modbus_strerror(errno));
    int listener = listen_on(ctx), top = listener;
    fd_set all;
    FD_ZERO(&all);
    FD_SET(listener, &all);
    for (;;) {
        fd_set ready = all;
        int n = select(top + 1, &ready, NULL, NULL, NULL);
        if (asked) {
            asked = 0;
            fprintf(out,
                    "{\"event\":\"counters\",\"time_ns\":%" PRId64
                    ",\"accepts\":%ld,\"requests\":%ld,\"counter\":%" PRIu32 "}\n",
                    now_ns(), accepts, requests, counter);
            fflush(out);
        }
        if (n < 0) {
            if (errno == EINTR) continue;
            die("select", strerror(errno));
        }
        for (int fd = 0; fd <= top; fd++) {
            if (!FD_ISSET(fd, &ready)) continue;
            if (fd == listener) {
                int got = modbus_tcp_accept(ctx, &listener);
                if (got < 0 || got >= MOST_FDS) die("accept", strerror(errno));
                FD_SET(got, &all);
                if (got > top) top = got;
                connection_of[got] = ++accepts;
                fprintf(out,
                        "{\"event\":\"accept\",\"time_ns\":%" PRId64
                        ",\"connection\":%ld,\"accepts\":%ld}\n",
                        now_ns(), accepts, accepts);
                fflush(out);
                continue;
            }
            uint8_t req[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_set_socket(ctx, fd);
            int len = modbus_receive(ctx, req);
            /* Twelve bytes: MBAP, function, address, count; every read request has them. */
            if (len >= 12) serve(ctx, fd, req, len);
            else if (len != 0) hang_up(fd, &all);
        }
    }
}
