/* A second engine, for the fuzzers to compare with: what engine.h says, and nothing for speed.
 *
 * It shares no code with vdp/engine, takes all sums a byte at a time, counts offsets from the
 * packet's present front (so csum_start is below zero once the header there was pulled off), and
 * looks for flows one after the other.  It knows memory ports, no cells, groups or windows:
 * those are held against laws of their own, and against the reference engine in Python. */
#ifndef VDP_FUZZ_TWIN_H
#define VDP_FUZZ_TWIN_H

#include "../../vdp/engine/engine.h"

#include <stdbool.h>
#include <stdint.h>

enum { TWIN_COUNTERS = 8, TWIN_STATES = 8, TWIN_PORTS = 8, TWIN_SENT = 4096, TWIN_UPCALLS = 4096 };

struct twin_packet {
    struct twin_packet *next;
    uint32_t length, in_port;
    uint8_t meta[VDP_META_SIZE];
    bool needs_csum, csum_valid;
    int64_t csum_start;
    uint32_t csum_offset, gso_type, gso_size, segments;
    bool has_account;
    uint32_t account[4]; /* sent, lost, lost_too, bytes */
    uint8_t bytes[VDP_MAX_LENGTH];
};

struct twin_headers {
    unsigned version;
    uint8_t protocol;
    bool fragment;
    uint32_t network, transport, payload, end;
};

struct twin_port {
    uint32_t number, packet_type, features;
    struct vdp_port_stats stats;
};

/* What a program can reach besides its packet, and what became of packets. */
struct twin {
    struct twin_port ports[TWIN_PORTS];
    uint32_t port_count;
    struct vdp_count counters[TWIN_COUNTERS]; /* by id */
    uint64_t states[TWIN_STATES];             /* by id; above 32 bits: rounds */
    bool is_state[TWIN_STATES], is_counter[TWIN_COUNTERS];
    uint64_t drops[VDP_MAX_REASONS];          /* of all ports */
    struct twin_packet *sent[TWIN_SENT];      /* in order; account[0] is the port then */
    uint32_t sent_count;
    uint32_t upcalls; /* copies for the slow path */
    struct twin_packet *free;
};

/* Sums and reasons: twin_offload.c.  A function that returns a reason returns 0 when all is well. */
bool twin_locate(const struct twin_packet *packet, struct twin_headers *headers);
uint32_t twin_load(struct twin_packet *packet, const struct vdp_offload *offload);
uint32_t twin_store(const struct twin_packet *packet, struct vdp_offload *offload);
uint32_t twin_finish(struct twin_packet *packet);
bool twin_covered(const struct twin_packet *packet, uint32_t features);
bool twin_takes_headers(const struct twin_packet *packet, uint32_t features);
bool twin_fits_gre(const struct twin_packet *packet, uint32_t limits);
uint32_t twin_check(const struct twin_packet *packet, struct twin_headers *headers);
uint32_t twin_segment_length(const struct twin_packet *packet);
uint16_t twin_local_checksum(const struct twin_packet *packet, uint32_t start);
uint16_t twin_local_udp(const struct twin_packet *packet, unsigned version, uint32_t network,
                        uint32_t transport);
uint64_t twin_pseudo(const struct twin_packet *packet, unsigned version, uint32_t network,
                     uint8_t protocol, uint32_t size);
void twin_clear(struct twin_packet *packet);
void twin_leave_checksum(struct twin_packet *packet, const struct twin_headers *headers);

/* Cutting: twin_cut.c.  Adds the parts to a list that begins empty; the packet stays the caller's. */
struct twin_list {
    struct twin_packet *head, *tail;
    uint32_t count;
};
uint32_t twin_segment(struct twin *twin, struct twin_packet *packet, const struct vdp_action *action,
                      struct twin_list *parts);
/* `whole`: it goes on as it is; `otherwise`: it is too long, and may not be cut. */
uint32_t twin_fragment(struct twin *twin, struct twin_packet *packet, uint32_t network, uint32_t most,
                       struct twin_list *parts, bool *otherwise);

/* Running: twin_run.c. */
struct twin_packet *twin_new(struct twin *twin);
void twin_free(struct twin *twin, struct twin_packet *packet);
struct twin_packet *twin_copy(struct twin *twin, const struct twin_packet *packet);
/* A packet comes in by port `in` (an index): loaded, run, sent or lost. */
void twin_receive(struct twin *twin, uint32_t in, const uint8_t *bytes, uint32_t length,
                  const struct vdp_offload *offload, const struct vdp_program *program);
/* Everything but the ports is as new. */
void twin_forget(struct twin *twin);

static inline uint32_t twin_load16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}
static inline uint32_t twin_load32(const uint8_t *at)
{
    return twin_load16(at) << 16 | twin_load16(at + 2);
}
static inline void twin_store16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}
static inline void twin_store32(uint8_t *at, uint32_t value)
{
    twin_store16(at, value >> 16);
    twin_store16(at + 2, value);
}
static inline uint64_t twin_sum(const uint8_t *bytes, uint64_t size)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i + 1 < size; i += 2)
        sum += twin_load16(bytes + i);
    return size % 2 ? sum + ((uint64_t)bytes[size - 1] << 8) : sum;
}
static inline uint16_t twin_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}
static inline bool twin_has(const struct twin_packet *packet, uint64_t offset, uint64_t size)
{
    return offset + size <= packet->length;
}

#endif
