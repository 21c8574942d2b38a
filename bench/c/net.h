/* What the bench's programs on real interfaces share: packet sockets, frames, figures. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>

enum { MOST_BYTES = 2048, BURST = 64 };

struct frame {
    uint8_t bytes[MOST_BYTES];
    uint32_t length;
};

static inline _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Hexadecimal digits as bytes. */
static inline void frame_parse(struct frame *frame, const char *digits)
{
    const size_t length = strlen(digits) / 2;

    if (length > sizeof frame->bytes)
        fail("the frame is too long");
    for (size_t i = 0; i < length; i++) {
        const char pair[3] = {digits[2 * i], digits[2 * i + 1], 0};
        frame->bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    frame->length = (uint32_t)length;
}

/* A packet socket on an interface for frames of an EtherType (ETH_P_ALL; 0: sends only). */
static inline int packet_socket(const char *interface, uint16_t type)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(type)};
    const int fd = socket(AF_PACKET, SOCK_RAW, 0);

    address.sll_ifindex = (int)if_nametoindex(interface);
    if (fd < 0 || !address.sll_ifindex)
        fail(interface);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    return fd;
}

static volatile sig_atomic_t is_stopping;

static inline void stop(int number)
{
    (void)number;
    is_stopping = 1;
}

/* SIGTERM and SIGINT end a loop that looks at is_stopping. */
static inline void stop_on_signals(void)
{
    struct sigaction action = {.sa_handler = stop};

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static inline int by_size(const void *a, const void *b)
{
    const double one = *(const double *)a, other = *(const double *)b;
    return one < other ? -1 : one > other;
}

/* Median and 99th percentile, as JSON. */
static inline void print_percentiles(double *us, size_t count, size_t lost)
{
    if (!count)
        us[count++] = 0;
    qsort(us, count, sizeof *us, by_size);
    printf("{\"p50_us\": %.1f, \"p99_us\": %.1f, \"lost\": %zu}\n", us[count / 2], us[count * 99 / 100],
           lost);
}

#endif
