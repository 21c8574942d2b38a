/* A whole engine on memory ports, driven by hand: for the C tests of its core. */
#ifndef VDP_TEST_HARNESS_H
#define VDP_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../vdp/engine/flow.h"

enum { SECOND = 1000000000, FIRST_CLOCK = 1000000 };

#define COUNT_OF(array) ((uint32_t)(sizeof(array) / sizeof *(array)))
#define PROGRAM(array) (&(struct vdp_program){.actions = (array), .count = COUNT_OF(array)})
#define PROGRAM_OF(array, bytes) \
    (&(struct vdp_program){(array), COUNT_OF(array), (bytes), (uint32_t)sizeof(bytes)})

/* xorshift64*: the same numbers on every run. */
static inline uint32_t draw(uint64_t *state, uint32_t below)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545f4914f6cdd1du) >> 33) % below;
}

static inline struct vdp_engine *engine_with(struct vdp_engine_config config)
{
    struct vdp_engine *engine = NULL;

    if (!config.workers)
        config.workers = 1;
    if (!config.packets)
        config.packets = 256;
    assert_int_equal(vdp_engine_new(&config, &engine), 0);
    vdp_engine_set_clock(engine, FIRST_CLOCK);
    return engine;
}

static inline uint32_t add_port(struct vdp_engine *engine, uint32_t type, uint32_t packet_type)
{
    struct vdp_port_config config = {.name = "test", .type = type, .packet_type = packet_type};
    int port = vdp_port_add(engine, &config);

    assert_true(port > 0);
    return (uint32_t)port;
}

static inline uint32_t memory_port(struct vdp_engine *engine)
{
    return add_port(engine, VDP_PORT_MEMORY, VDP_L2);
}

static inline void inject(struct vdp_engine *engine, uint32_t port, const void *bytes, uint32_t length)
{
    assert_int_equal(vdp_memory_inject(engine, port, bytes, length, NULL, NULL), 0);
}

static inline void poll_all(struct vdp_engine *engine)
{
    while (vdp_engine_poll(engine) > 0)
        continue;
}

/* A flow for packets that begin with this byte. */
static inline struct vdp_match match_first(uint32_t in_port, uint8_t byte)
{
    struct vdp_match match = {
        .in_port = in_port, .min_length = 1, .max_length = VDP_MAX_LENGTH, .window = 1};

    match.mask[0] = 0xff;
    match.value[0] = byte;
    return match;
}

static inline struct vdp_match match_all(uint32_t in_port)
{
    return (struct vdp_match){.in_port = in_port, .max_length = VDP_MAX_LENGTH};
}

static inline int64_t install(struct vdp_engine *engine, const struct vdp_match *match,
                              const struct vdp_program *program)
{
    return vdp_flow_install(engine, 0, match, program);
}

static inline struct vdp_port_stats stats_of(struct vdp_engine *engine, uint32_t port)
{
    struct vdp_port_stats stats;

    assert_int_equal(vdp_port_read(engine, port, &stats), 0);
    return stats;
}

static inline uint64_t drops_of(struct vdp_engine *engine, uint32_t port, uint32_t reason)
{
    uint64_t reasons[VDP_MAX_REASONS];

    assert_int_equal(vdp_port_drops(engine, port, reasons, VDP_MAX_REASONS), 0);
    return reasons[reason];
}

static inline uint32_t packets_in_use(struct vdp_engine *engine)
{
    struct vdp_worker_stats stats;

    assert_int_equal(vdp_worker_read(engine, 0, &stats), 0);
    return stats.packets_total - stats.packets_free;
}

/* The next packet that left by this port must be these bytes. */
static inline void expect_packet(struct vdp_engine *engine, uint32_t port, const void *bytes,
                                 uint32_t length)
{
    static uint8_t got[VDP_MAX_LENGTH];
    int size = vdp_memory_collect(engine, port, got, sizeof got, NULL, NULL);

    assert_int_equal(size, (int)length);
    assert_memory_equal(got, bytes, length);
}

static inline void expect_nothing(struct vdp_engine *engine, uint32_t port)
{
    uint8_t got[1];

    assert_int_equal(vdp_memory_collect(engine, port, got, sizeof got, NULL, NULL), -EAGAIN);
}

/* The law of struct vdp_port_stats. */
static inline void check_books(struct vdp_engine *engine, uint32_t port, bool cell)
{
    struct vdp_port_stats s = stats_of(engine, port);
    uint64_t reasons[VDP_MAX_REASONS], sum = 0;

    assert_int_equal(s.rx_packets + s.injected + s.cloned + s.segmented,
                     s.forwarded + s.dropped + s.consumed + s.held);
    assert_int_equal(s.offered, (cell ? s.rx_packets + s.merged : s.tx_packets) + s.tx_dropped +
                                    s.tx_queued);
    assert_int_equal(vdp_port_drops(engine, port, reasons, VDP_MAX_REASONS), 0);
    for (uint32_t i = 0; i < VDP_MAX_REASONS; i++)
        sum += reasons[i];
    assert_int_equal(sum, s.dropped + s.tx_dropped);
}

#endif
