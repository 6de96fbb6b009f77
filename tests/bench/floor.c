/*
 * The floor of the benchmark: what the work itself costs in C, without any comfort.
 *
 *   floor -P MODBUS_PORT -p MQTT_PORT [-d DEVICES] [-n POINTS] [-i INTERVAL_MS] [-a FILE]
 *
 * libmodbus and libmosquitto, one thread, blocking reads, no retry: every interval it reads the
 * points of every device (unit 1 to DEVICES, each over a connection of its own) and publishes one
 * JSON message for each with QoS 1. Points are float32 at the addresses 0, 2, 4 ... or at those of
 * FILE, one a line in ascending order; blocks are at most 125 registers and never split a point.
 * Numbers are printed by snprintf("%.7g").
 */
#include <errno.h>
#include <modbus.h>
#include <mosquitto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REGISTERS = 125, MAX_POINTS = 10000 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int addresses[MAX_POINTS];

/* The points of one block that begins at point `from`, as JSON; the first point behind it. */
static int read_block(modbus_t *device, int from, int points, char **out) {
    uint16_t words[MAX_REGISTERS];
    int to = from;
    while (to < points && addresses[to] + 2 - addresses[from] <= MAX_REGISTERS) to++;
    int count = addresses[to - 1] + 2 - addresses[from];
    if (modbus_read_registers(device, addresses[from], count, words) != count) {
        fprintf(stderr, "read: %s\n", modbus_strerror(errno));
        return to;
    }
    for (int i = from; i < to; i++) {
        const uint16_t *word = words + (addresses[i] - addresses[from]);
        uint32_t bits = (uint32_t)word[0] << 16 | word[1];
        float value;
        memcpy(&value, &bits, sizeof value);
        *out += snprintf(*out, 40, ",\"p%04d\":%.7g", i, value);
    }
    return to;
}

int main(int argc, char **argv) {
    int devices = 10, points = 1000, interval = 1000, modbus_port = 0, mqtt_port = 0, option;
    const char *file = 0;
    while ((option = getopt(argc, argv, "d:n:i:a:P:p:")) != -1) {
        if (option == 'd') devices = atoi(optarg);
        else if (option == 'n') points = atoi(optarg);
        else if (option == 'i') interval = atoi(optarg);
        else if (option == 'a') file = optarg;
        else if (option == 'P') modbus_port = atoi(optarg);
        else if (option == 'p') mqtt_port = atoi(optarg);
        else return 2;
    }
    if (points > MAX_POINTS || devices < 1) return 2;
    for (int i = 0; i < points; i++) addresses[i] = 2 * i;
    if (file) {
        FILE *list = fopen(file, "r");
        if (!list) {
            perror(file);
            return 1;
        }
        for (points = 0; points < MAX_POINTS && fscanf(list, "%d", &addresses[points]) == 1;)
            points++;
        fclose(list);
    }
    modbus_t **device = calloc(devices, sizeof *device);
    char *text = malloc(points * 40 + 200), topic[64];
    if (!device || !text) return 1;
    for (int i = 0; i < devices; i++) {
        device[i] = modbus_new_tcp("127.0.0.1", modbus_port);
        modbus_set_slave(device[i], i + 1);
        if (modbus_connect(device[i])) {
            fprintf(stderr, "connect: %s\n", modbus_strerror(errno));
            return 1;
        }
    }
    mosquitto_lib_init();
    struct mosquitto *broker = mosquitto_new("floor", 1, 0);
    mosquitto_max_inflight_messages_set(broker, 0);
    mosquitto_int_option(broker, MOSQ_OPT_TCP_NODELAY, 1);
    if (mosquitto_connect(broker, "127.0.0.1", mqtt_port, 30)) {
        perror("connect");
        return 1;
    }
    for (double next = now();;) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        for (int i = 0; i < devices; i++) {
            char *end = text;
            end += sprintf(end, "{\"ts\":%ld%03ld,\"dev\":\"d%03d\"", (long)t.tv_sec,
                           t.tv_nsec / 1000000, i + 1);
            for (int p = 0; p < points;) p = read_block(device[i], p, points, &end);
            *end++ = '}';
            snprintf(topic, sizeof topic, "floor/d%03d", i + 1);
            mosquitto_publish(broker, 0, topic, end - text, text, 1, 0);
            mosquitto_loop(broker, 0, 1);
        }
        next += interval / 1000.0;
        for (double left; (left = next - now()) > 0;)
            mosquitto_loop(broker, (int)(left * 1000) + 1, 1);
    }
}
