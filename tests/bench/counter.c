/*
 * The independent consumer of the benchmark: an MQTT subscriber that counts what arrives.
 *
 *   counter -p PORT          subscribes to # on 127.0.0.1 with QoS 0
 *
 * A point is a name pNNNN (four digits) followed by '"' or '=' (a JSON key or string, a field of
 * line protocol); one whose value is null counts as bad, not as a point. Topics with "/agents/"
 * (state, not data) are left out.
 *
 * Standard output, for each line on standard input:
 *   stats      time T msgs N points N bad N bytes N       (T: CLOCK_MONOTONIC, seconds)
 *   arrivals   TOPIC:T TOPIC:T ...                        every message since the last "arrivals",
 *                                                         topics numbered as they were seen
 * Ends at the end of standard input.
 */
#include <mosquitto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TOPICS = 8192 };

struct arrival {
    unsigned topic;
    double time;
};

static unsigned long msgs, points, bad, bytes;
static struct arrival *arrivals;
static size_t arrived, room;
static char *topics[TOPICS];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Number of a topic: its place in an open hash table. */
static unsigned number(const char *topic) {
    unsigned hash = 5381;
    for (const char *c = topic; *c; c++) hash = hash * 33 + (unsigned char)*c;
    for (unsigned i = 0; i < TOPICS; i++) {
        unsigned at = (hash + i) % TOPICS;
        if (!topics[at]) topics[at] = strdup(topic);
        if (topics[at] && !strcmp(topics[at], topic)) return at;
    }
    return TOPICS;
}

static int digit(char c) { return c >= '0' && c <= '9'; }

static int starts(const char *p, const char *end, const char *with) {
    size_t n = strlen(with);
    return (size_t)(end - p) >= n && !memcmp(p, with, n);
}

static void on_message(struct mosquitto *m, void *user, const struct mosquitto_message *message) {
    (void)m;
    (void)user;
    if (strstr(message->topic, "/agents/")) return;
    double time = now();
    msgs++;
    bytes += message->payloadlen;
    if (arrived == room) {
        room = room ? 2 * room : 4096;
        arrivals = realloc(arrivals, room * sizeof *arrivals);
        if (!arrivals) exit(1);
    }
    arrivals[arrived++] = (struct arrival){number(message->topic), time};
    const char *p = message->payload, *end = p + message->payloadlen;
    while (p < end && (p = memchr(p, 'p', end - p))) {
        if (end - p > 5 && digit(p[1]) && digit(p[2]) && digit(p[3]) && digit(p[4])
            && (p[5] == '"' || p[5] == '=')) {
            p += 6;
            if (starts(p, end, ",\"value\":null")) bad++;
            else points++;
        } else p++;
    }
}

static void on_connect(struct mosquitto *m, void *user, int code) {
    (void)user;
    if (!code) mosquitto_subscribe(m, 0, "#", 0);
}

/* Answers the lines of one read; 0 at the end of input. */
static int report(void) {
    char text[256];
    ssize_t got = read(STDIN_FILENO, text, sizeof text - 1);
    if (got <= 0) return 0;
    text[got] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
        if (!strcmp(line, "arrivals")) {
            for (size_t i = 0; i < arrived; i++)
                printf("%u:%.6f ", arrivals[i].topic, arrivals[i].time);
            arrived = 0;
            printf("\n");
        } else
            printf("time %.6f msgs %lu points %lu bad %lu bytes %lu\n", now(), msgs, points, bad,
                   bytes);
    }
    fflush(stdout);
    return 1;
}

int main(int argc, char **argv) {
    int port = 0, option;
    while ((option = getopt(argc, argv, "p:")) != -1) {
        if (option != 'p') return 2;
        port = atoi(optarg);
    }
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new(0, 1, 0);
    if (!m) return 1;
    mosquitto_connect_callback_set(m, on_connect);
    mosquitto_message_callback_set(m, on_message);
    mosquitto_int_option(m, MOSQ_OPT_TCP_NODELAY, 1);
    if (mosquitto_connect(m, "127.0.0.1", port, 30)) {
        perror("connect");
        return 1;
    }
    for (;;) {
        struct pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {mosquitto_socket(m), POLLIN, 0}};
        poll(watched, 2, 1000);
        if (watched[1].revents && mosquitto_loop_read(m, 1)) {
            fprintf(stderr, "the broker is gone\n");
            return 1;
        }
        if (mosquitto_want_write(m)) mosquitto_loop_write(m, 1);
        mosquitto_loop_misc(m);
        if (watched[0].revents && !report()) return 0;
    }
}
