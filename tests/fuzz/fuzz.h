/* What the fuzzers share: bytes taken as choices, a law that ends the run when it is broken, a
 * worker with three ports that no thread runs, sums computed a byte at a time.
 *
 * A harness is one file.  Its first lines say what is attacked (Target), who writes such input
 * (Trust: hostile from the network, guest from a virtual machine or a local peer, local from
 * whoever may write a configuration or a plugin, kernel) and what it is held against (Oracle).
 * They are libFuzzer programs (make fuzz), and tests that replay the corpora (replay.c). */
#ifndef VDP_FUZZ_H
#define VDP_FUZZ_H

#include "../../vdp/engine/checksum.h"
#include "../../vdp/engine/flow.h"
#include "../../vdp/engine/offload.h"
#include "../../vdp/engine/slab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif
#ifdef FUZZ_ASAN
#include <sanitizer/asan_interface.h>
#define FORBID(from, size) ASAN_POISON_MEMORY_REGION((from), (size))
#define ALLOW(from, size) ASAN_UNPOISON_MEMORY_REGION((from), (size))
#else
#define FORBID(from, size) ((void)(from), (void)(size))
#define ALLOW(from, size) ((void)(from), (void)(size))
#endif

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t most);

/* A law: what must be true whatever the input says. */
#define LAW(condition) ((condition) ? (void)0 : law_broken(#condition, __FILE__, __LINE__))

_Noreturn static inline void law_broken(const char *law, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken law: %s\n", file, line, law);
    abort();
}

/* That two engines say the same, as numbers. */
#define SAME(one, other) \
    numbers_are_same((uint64_t)(one), (uint64_t)(other), #one " == " #other, __FILE__, __LINE__)

static inline void numbers_are_same(uint64_t one, uint64_t other, const char *law, const char *file,
                                    int line)
{
    if (one == other)
        return;
    fprintf(stderr, "%llu, and %llu: ", (unsigned long long)one, (unsigned long long)other);
    law_broken(law, file, line);
}

/* What is left of the input.  At its end come zeros. */
struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take8(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static inline uint16_t take16(struct input *input)
{
    unsigned high = take8(input);
    return (uint16_t)(high << 8 | take8(input));
}

static inline uint32_t take32(struct input *input)
{
    uint32_t high = take16(input);
    return high << 16 | take16(input);
}

static inline uint32_t take_below(struct input *input, uint32_t limit)
{
    return (limit <= 256 ? take8(input) : limit <= 65536 ? take16(input) : take32(input)) % limit;
}

static inline void take_bytes(struct input *input, void *to, size_t size)
{
    size_t here = size < input->left ? size : input->left;
    if (size == 0)
        return;
    memset(to, 0, size);
    if (here == 0)
        return;
    memcpy(to, input->at, here);
    input->at += here;
    input->left -= here;
}

/* RFC 1071 as it is written: the big-endian words, a byte at a time. */
static inline uint16_t plain_fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline uint64_t plain_sum(const uint8_t *bytes, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint64_t)bytes[i] << 8 : bytes[i];
    return sum;
}

/* The pseudo header of `size` bytes of a protocol; `ip`: the header that has the addresses. */
static inline uint64_t plain_pseudo(const uint8_t *ip, unsigned version, uint8_t protocol, uint32_t size)
{
    uint64_t sum = version == 4 ? plain_sum(ip + 12, 8) : plain_sum(ip + 8, 32);
    return sum + protocol + (size >> 16) + (size & 0xffff);
}

/* Packets come in by port ORIGIN; TARGET is the port under attack. */
enum { ORIGIN = 1, TARGET = 2, FIXTURE_PORTS = 3 };

struct fixture {
    struct vdp_worker worker;
    struct vdp_engine engine;
    struct vdp_port ports[FIXTURE_PORTS];
    struct vdp_queue queues[FIXTURE_PORTS];
    struct vdp_queue *table[FIXTURE_PORTS];
};

/* Both ports of this type and packet type. */
static inline struct fixture *fixture_new(uint32_t type, uint32_t packet_type, uint32_t features,
                                          uint32_t pool)
{
    struct fixture *fixture = aligned_alloc(VDP_LINE, (sizeof *fixture + VDP_LINE - 1) / VDP_LINE * VDP_LINE);
    LAW(fixture != NULL);
    memset(fixture, 0, sizeof *fixture);
    fixture->worker.engine = &fixture->engine;
    fixture->worker.queues = fixture->table;
    fixture->worker.queue_size = FIXTURE_PORTS;
    fixture->worker.epoll_fd = -1;
    fixture->engine.workers = &fixture->worker;
    fixture->engine.config.workers = 1;
    for (uint32_t i = ORIGIN; i < FIXTURE_PORTS; i++) {
        fixture->ports[i] = (struct vdp_port){
            .number = i, .engine = &fixture->engine, .up = 1, .features = features};
        fixture->ports[i].config = (struct vdp_port_config){
            .type = type, .packet_type = packet_type, .features = features, .tx_queue = 1000};
        fixture->queues[i] = (struct vdp_queue){
            .port = &fixture->ports[i], .worker = &fixture->worker, .tx_fd = -1};
        fixture->table[i] = &fixture->queues[i];
    }
    LAW(vdp_pool_new(&fixture->worker, pool) == 0);
    fixture->worker.slab = vdp_slab_new();
    LAW(fixture->worker.slab != NULL);
    return fixture;
}

/* Statistics and drop counts begin anew. */
static inline void fixture_forget(struct fixture *fixture)
{
    for (uint32_t i = ORIGIN; i < FIXTURE_PORTS; i++) {
        memset(&fixture->queues[i].stats, 0, sizeof fixture->queues[i].stats);
        if (fixture->queues[i].drops != NULL)
            memset(fixture->queues[i].drops, 0, VDP_MAX_REASONS * sizeof(uint64_t));
    }
}

/* Every packet but the worker's reserve is in the free list again. */
static inline void fixture_empty(const struct fixture *fixture)
{
    LAW(fixture->worker.free_count == fixture->worker.packet_count - 1);
}

/* A packet of these bytes, which ends where its buffer does: a read past it is seen. */
static inline struct vdp_packet *packet_at_end(struct fixture *fixture, const uint8_t *bytes,
                                               uint32_t length, uint32_t packet_type)
{
    struct vdp_packet *packet = vdp_packet_alloc(&fixture->worker);
    LAW(packet != NULL && length <= VDP_MAX_LENGTH);
    packet->data = packet->buffer + VDP_BUFFER_SIZE - length;
    FORBID(packet->buffer + VDP_BUFFER_SIZE, VDP_LINE);
    packet->length = length;
    packet->in_port = ORIGIN;
    if (length > 0)
        memcpy(packet->data, bytes, length);
    fixture->ports[ORIGIN].config.packet_type = packet_type;
    vdp_queue_set_meta(&fixture->queues[ORIGIN], packet);
    return packet;
}

/* The same where a received one is, so that there is room behind it. */
static inline struct vdp_packet *packet_of(struct fixture *fixture, const uint8_t *bytes,
                                           uint32_t length, uint32_t packet_type)
{
    struct vdp_packet *packet = packet_at_end(fixture, NULL, 0, packet_type);
    packet->data = packet->buffer + VDP_HEADROOM + VDP_LINE;
    packet->length = length;
    if (length > 0)
        memcpy(packet->data, bytes, length);
    vdp_queue_set_meta(&fixture->queues[ORIGIN], packet);
    return packet;
}

/* The law of struct vdp_port_stats, as where packets come in. */
static inline void origin_balances(const struct vdp_port_stats *s)
{
    LAW(s->rx_packets + s->injected + s->cloned + s->segmented ==
        s->forwarded + s->dropped + s->consumed + s->held);
}

/* And as where they go. */
static inline void output_balances(const struct vdp_port_stats *s, bool is_cell)
{
    LAW(s->offered == (is_cell ? s->rx_packets + s->merged : s->tx_packets) + s->tx_dropped + s->tx_queued);
}

#endif
