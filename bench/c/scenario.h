/* A scenario: ports, flows as the slow path traced them, and packets that hit them.
 *
 * bench/scenario.py writes the file, in the host's byte order and struct layouts:
 *
 *   struct scenario_head | struct scenario_port [ports] | number [states]
 *   | flow [flows] | packet
 *   flow: struct vdp_match | action count | blob size | actions | blob
 *
 * The packet stands for `variants` of them, which differ by one IPv4 address: `base` plus
 * `step` for each. */
#ifndef BENCH_SCENARIO_H
#define BENCH_SCENARIO_H

#include "../../vdp/engine/flow.h"

struct scenario_head {
    uint32_t ports, counters, states, headers, flows;
    uint32_t in_port, length;         /* of the packet */
    uint32_t ip_offset, field_offset; /* its IPv4 header, and the address in that */
    uint32_t base, step, variants;
};

struct scenario_port {
    uint32_t type, packet_type;
};

struct scenario_flow {
    struct vdp_match match;
    struct vdp_program program;
    struct vdp_action actions[VDP_MAX_ACTIONS];
    uint8_t blob[VDP_MAX_BLOB];
};

struct scenario {
    struct scenario_head head;
    const struct scenario_port *ports;
    const uint32_t *states;
    const uint8_t *bytes; /* the file */
    size_t size, flows_at;
    const uint8_t *packet;
};

/* xorshift: the same numbers in every run. */
struct dice {
    uint64_t state;
};

static inline uint32_t dice_throw(struct dice *dice, uint32_t limit)
{
    dice->state ^= dice->state << 13;
    dice->state ^= dice->state >> 7;
    dice->state ^= dice->state << 17;
    return (uint32_t)((dice->state >> 32) * limit >> 32);
}

_Noreturn void scenario_fail(const char *what);
void scenario_load(struct scenario *scenario, const char *path);
/* Read the flow at *at of the file, and move *at behind it. */
void scenario_flow_at(const struct scenario *scenario, size_t *at, struct scenario_flow *flow);
/* The first flow of what comes in by the packet's port. */
void scenario_first_flow(const struct scenario *scenario, struct scenario_flow *flow);
/* An engine with the ports (those that are no cells run by `ops`), counters, states and headers;
 * with the flows too, on each worker, if asked to. */
struct vdp_engine *scenario_engine(const struct scenario *scenario, uint32_t workers,
                                   const struct vdp_port_ops *ops, bool with_flows);

static inline uint32_t scenario_address(const struct scenario *scenario, uint32_t variant)
{
    return scenario->head.base + scenario->head.step * variant;
}

/* Make `packet` the variant of that number: bytes, length and a good header checksum. */
static inline void scenario_fill(const struct scenario *scenario, struct vdp_packet *packet,
                                 uint32_t variant)
{
    uint8_t *ip = packet->data + scenario->head.ip_offset;
    uint32_t sum = 0;

    memcpy(packet->data, scenario->packet, scenario->head.length);
    packet->length = scenario->head.length;
    vdp_store_be32(packet->data + scenario->head.field_offset, scenario_address(scenario, variant));
    vdp_store_be16(ip + 10, 0);
    for (int i = 0; i < 20; i += 2)
        sum += vdp_load_be16(ip + i);
    sum = (sum >> 16) + (sum & 0xffff);
    vdp_store_be16(ip + 10, (uint16_t)~((sum >> 16) + sum));
}

#endif
