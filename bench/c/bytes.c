/* Bytes: copied while hot, read from memory, summed up from memory. */
#include "loops.h"

#include "../../vdp/engine/checksum.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOT = 1400, COPIES = 10000, LARGE = 256 << 20 /* no cache holds it */ };

static double memcpy_ns(void)
{
    static uint8_t from[HOT + 64], to[HOT + 64];
    double before = cpu_ns();

    for (int i = 0; i < COPIES; i++) {
        memcpy(to, from, HOT);
        __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
    }
    return (cpu_ns() - before) / COPIES;
}

static double hot_checksum_ns(void)
{
    static uint8_t from[HOT];
    double before = cpu_ns();
    uint64_t sum = 0;

    for (int i = 0; i < COPIES; i++) {
        sum += vdp_checksum_add(0, from, HOT);
        __asm__ volatile("" : : "r"(sum), "r"(from) : "memory");
    }
    return (cpu_ns() - before) / COPIES;
}

#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((optimize("O3"))) /* as in checksum.c */
#else
#define VECTORISED
#endif

/* As fast as this core reads: every word, into eight sums that do not wait for each other. */
VECTORISED static uint64_t read_all(const uint8_t *bytes, size_t size)
{
    uint64_t lane[8] = {0};

    for (size_t at = 0; at < size; at += sizeof lane) {
        uint64_t word[8];
        memcpy(word, bytes + at, sizeof word);
        for (int i = 0; i < 8; i++)
            lane[i] |= word[i];
    }
    return lane[0] | lane[1] | lane[2] | lane[3] | lane[4] | lane[5] | lane[6] | lane[7];
}

void measure_bytes(double seconds)
{
    uint8_t *large = malloc(LARGE);
    double copy = 0, hot = 0, reading = 0, summing = 0, rounds = 0;
    volatile uint64_t sink = 0;

    if (!large)
        scenario_fail("no memory");
    memset(large, 0x5a, LARGE);
    for (double until = clock_s(CLOCK_MONOTONIC) + seconds; clock_s(CLOCK_MONOTONIC) < until; rounds++) {
        copy += memcpy_ns();
        hot += hot_checksum_ns();
        double before = cpu_ns();
        sink += read_all(large, LARGE);
        double between = cpu_ns();
        sink += vdp_checksum_add(0, large, LARGE);
        reading += between - before;
        summing += cpu_ns() - between;
    }
    printf("{\"memcpy_1400_ns\": %.2f, \"checksum_1400_ns\": %.2f, \"read_gbytes\": %.2f, "
           "\"checksum_gbytes\": %.2f}\n",
           copy / rounds, hot / rounds, LARGE * rounds / reading, LARGE * rounds / summing);
    (void)sink; /* volatile: the reading is done */
    free(large);
}
