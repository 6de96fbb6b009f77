/*
 * The device of the benchmark: a Modbus TCP server that costs next to nothing, so that what is
 * measured is the client.
 *
 *   device [-n REGISTERS] [-x UNIT:ADDRESS,ADDRESS,...] [-d UNIT]
 *
 *   -n   registers of every unit; a request beyond them answers exception 2 (default 10000)
 *   -x   requests to UNIT that touch one of the addresses answer exception 2
 *   -d   UNIT never answers
 *
 * Serves functions 3 and 4 on a free port of 127.0.0.1; one thread, epoll. The float32 at the
 * even address 2k of a unit (order ABCD) is 20 + 0.1 x (k mod 1000) + 0.01 x (requests of the
 * unit mod 1000): it changes with every request, so no value that was sent before is fresh.
 *
 * Standard output: "port N", then one line of counters for each line on standard input:
 *   accepted N requests N registers N exceptions N unanswered N
 * Ends at the end of standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sizes of the Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3 and 4.1. */
enum { HEADER = 7, READ_REQUEST = 12, MAX_FRAME = 260, MAX_REGISTERS = 125 };

struct connection {
    int fd;
    unsigned filled;
    uint8_t in[8 * MAX_FRAME];
};

static uint64_t accepted, requests, registers, exceptions, unanswered;
static uint64_t asked[256];
static uint8_t bad[256][65536 / 8], has_bad[256], silent[256];
static unsigned size = 10000;

static unsigned refuse(uint8_t *out, const uint8_t *request, uint8_t code) {
    exceptions++;
    memcpy(out, request, 4);
    out[4] = 0;
    out[5] = 3;
    out[6] = request[6];
    out[7] = request[7] | 0x80;
    out[8] = code;
    return 9;
}

/* The answer to one whole frame; its length, 0 for none. */
static unsigned answer(const uint8_t *request, unsigned length, uint8_t *out) {
    uint8_t unit = request[6], function = request[7];
    requests++;
    if (silent[unit]) {
        unanswered++;
        return 0;
    }
    if (function != 3 && function != 4) return refuse(out, request, 1);
    if (length != READ_REQUEST) return refuse(out, request, 3);
    unsigned first = request[8] << 8 | request[9], count = request[10] << 8 | request[11];
    if (count < 1 || count > MAX_REGISTERS) return refuse(out, request, 3);
    if (first + count > size) return refuse(out, request, 2);
    for (unsigned a = first; has_bad[unit] && a < first + count; a++)
        if (bad[unit][a >> 3] >> (a & 7) & 1) return refuse(out, request, 2);

    float step = 0.01f * (float)(++asked[unit] % 1000);
    unsigned rest = 3 + 2 * count;
    memcpy(out, request, 4);
    out[4] = rest >> 8;
    out[5] = rest;
    out[6] = unit;
    out[7] = function;
    out[8] = 2 * count;
    uint8_t *to = out + 9;
    for (unsigned a = first; a < first + count; a++) {
        float value = 20.0f + 0.1f * (float)((a >> 1) % 1000) + step;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        uint16_t word = a & 1 ? bits & 0xffff : bits >> 16;
        *to++ = word >> 8;
        *to++ = word;
    }
    registers += count;
    return 6 + rest;
}

/* Reads what is there and answers it; 0 when the connection is over. */
static int serve(struct connection *c) {
    static uint8_t out[64 * 1024];
    ssize_t got = recv(c->fd, c->in + c->filled, sizeof c->in - c->filled, 0);
    if (got == 0) return 0;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    c->filled += got;
    unsigned used = 0, length = 0;
    while (c->filled - used > HEADER) {
        const uint8_t *frame = c->in + used;
        unsigned whole = 6 + (frame[4] << 8 | frame[5]);
        if (frame[2] || frame[3] || whole <= HEADER || whole > MAX_FRAME) return 0;
        if (c->filled - used < whole || length > sizeof out - 300) break;
        length += answer(frame, whole, out + length);
        used += whole;
    }
    for (unsigned sent = 0; sent < length;) { /* answers are small: a full socket is rare */
        ssize_t n = send(c->fd, out + sent, length - sent, MSG_NOSIGNAL);
        if (n > 0) sent += n;
        else if (errno != EAGAIN && errno != EINTR) return 0;
    }
    if (used) memmove(c->in, c->in + used, c->filled -= used);
    return 1;
}

static void take_all(int listener, int epoll) {
    int fd, one = 1;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) exit(1);
        c->fd = fd;
        accepted++;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* One line of counters for each line of input; 0 at its end. */
static int report(void) {
    char text[256];
    ssize_t got = read(STDIN_FILENO, text, sizeof text);
    if (got <= 0) return 0;
    for (ssize_t i = 0; i < got; i++)
        if (text[i] == '\n')
            printf("accepted %" PRIu64 " requests %" PRIu64 " registers %" PRIu64
                   " exceptions %" PRIu64 " unanswered %" PRIu64 "\n",
                   accepted, requests, registers, exceptions, unanswered);
    fflush(stdout);
    return 1;
}

int main(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "n:x:d:")) != -1) {
        if (option == 'n') size = strtoul(optarg, 0, 10);
        else if (option == 'd') silent[strtoul(optarg, 0, 10) & 255] = 1;
        else if (option == 'x') {
            char *at = optarg;
            unsigned unit = strtoul(at, &at, 10) & 255;
            has_bad[unit] = 1;
            while (*at == ':' || *at == ',') {
                unsigned a = strtoul(at + 1, &at, 10) & 65535;
                bad[unit][a >> 3] |= 1 << (a & 7);
            }
        } else return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 1024)
        || getsockname(listener, (void *)&address, &length)) {
        perror("listen");
        return 1;
    }
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);

    static char is_listener, is_input;
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &is_listener}, events[128];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &is_input;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, 128, -1);
        for (int i = 0; i < ready; i++) {
            void *what = events[i].data.ptr;
            if (what == &is_listener) take_all(listener, epoll);
            else if (what == &is_input) {
                if (!report()) return 0;
            } else if (!serve(what)) {
                close(((struct connection *)what)->fd);
                free(what);
            }
        }
    }
}
