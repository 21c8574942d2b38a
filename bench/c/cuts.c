/* Super-packets and fragments: what a piece costs, cut off or joined on. */
#include "loops.h"

#include "../../vdp/engine/checksum.h"
#include "../../vdp/engine/offload.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEADERS = 14 + 20 + 20, SEGMENT = 1448, SEGMENTS = 44, JOINED = 40, PORT = 1 };

static struct vdp_engine *new_engine(uint32_t type)
{
    struct vdp_engine_config config = {.workers = 1};
    struct vdp_port_config port = {.name = "bench", .type = type, .features = VDP_F_TSO4};
    struct vdp_engine *engine;

    if (vdp_engine_new(&config, &engine) < 0 || vdp_port_add(engine, &port) != PORT)
        scenario_fail("no engine");
    return engine;
}

/* A frame with `size` bytes of a TCP stream from `position` on; checksums are good. */
static struct vdp_packet *new_frame(struct vdp_worker *worker, uint32_t position, uint32_t size)
{
    static const uint8_t headers[HEADERS] = {
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,                                  /* Ethernet */
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,       /* IPv4, DF */
        0x13, 0x88, 0x13, 0x89, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0, /* TCP */
    };
    struct vdp_packet *packet = vdp_packet_alloc(worker);
    uint8_t *ip = packet->data + VDP_ETHERNET_SIZE, *tcp = ip + VDP_IPV4_SIZE;

    memcpy(packet->data, headers, HEADERS);
    memset(packet->data + HEADERS, 0x5a, size);
    packet->length = HEADERS + size;
    packet->in_port = PORT;
    vdp_store_be16(ip + VDP_IPV4_TOTAL, (uint16_t)(HEADERS - VDP_ETHERNET_SIZE + size));
    vdp_store_be16(ip + VDP_IPV4_CHECKSUM, vdp_checksum(ip, VDP_IPV4_SIZE));
    vdp_store_be32(tcp + VDP_TCP_SEQUENCE, position);
    uint64_t sum = vdp_checksum_pseudo(ip, 4, VDP_TCP, VDP_TCP_SIZE + size);
    if (size > SEGMENT) { /* left to whoever cuts it */
        struct vdp_offload offload = {1, HEADERS - VDP_TCP_SIZE, VDP_TCP_CHECKSUM,
                                      VIRTIO_NET_HDR_GSO_TCPV4, SEGMENT, HEADERS};
        vdp_store_be16(tcp + VDP_TCP_CHECKSUM, vdp_checksum_fold(sum));
        if (vdp_offload_load(packet, &offload) != VDP_REASON_none)
            scenario_fail("a super-packet was refused");
        return packet;
    }
    sum = vdp_checksum_add(sum, tcp, VDP_TCP_SIZE + size);
    vdp_store_be16(tcp + VDP_TCP_CHECKSUM, (uint16_t)~vdp_checksum_fold(sum));
    return packet;
}

/* Nanoseconds a piece of what the action makes of such a frame. */
static double cut_ns(double seconds, struct vdp_action action, uint32_t size)
{
    struct vdp_action actions[] = {action, {VDP_OP_DROP, 0, 1, 0, 0}, {VDP_OP_DROP, 0, 2, 0, 0}};
    struct vdp_program program = {actions, 3, NULL, 0};
    struct vdp_engine *engine = new_engine(VDP_PORT_MEMORY);
    struct vdp_port_stats stats;
    int error;
    struct vdp_compiled *compiled = vdp_program_compile(&program, &error);
    double spent = 0;

    if (!compiled)
        scenario_fail("a program was refused");
    for (double until = clock_s(CLOCK_MONOTONIC) + seconds; clock_s(CLOCK_MONOTONIC) < until;) {
        struct vdp_packet *packet = new_frame(&engine->workers[0], 1, size);
        if (action.op == VDP_OP_FRAGMENT)
            packet->data[VDP_ETHERNET_SIZE + VDP_IPV4_FRAGMENT] = 0; /* no DF */
        double before = cpu_ns();
        vdp_execute(&engine->workers[0], compiled, packet, 0);
        spent += cpu_ns() - before;
    }
    vdp_port_read(engine, PORT, &stats);
    free(compiled);
    vdp_engine_free(engine);
    return spent / (double)stats.dropped;
}

void measure_cut(double seconds)
{
    struct vdp_action segment = {VDP_OP_SEGMENT, 0, 0, 0, 0};
    struct vdp_action fragment = {VDP_OP_FRAGMENT, 0, SEGMENT / 2, VDP_ETHERNET_SIZE, 2};
    double segmented = cut_ns(seconds / 2, segment, SEGMENT * SEGMENTS);
    double fragmented = cut_ns(seconds / 2, fragment, SEGMENT);

    printf("{\"segment_ns\": %.1f, \"fragment_ns\": %.1f}\n", segmented, fragmented);
}

void measure_join(double seconds)
{
    struct vdp_engine *engine = new_engine(VDP_PORT_CELL);
    struct vdp_worker *worker = &engine->workers[0];
    struct vdp_queue *cell = worker->queues[PORT];
    double spent = 0, packets = 0;

    for (double until = clock_s(CLOCK_MONOTONIC) + seconds; clock_s(CLOCK_MONOTONIC) < until;) {
        struct vdp_packet *packet[JOINED];
        struct vdp_packet_list joined = {0};

        for (uint32_t i = 0; i < JOINED; i++)
            packet[i] = new_frame(worker, 1 + i * SEGMENT, SEGMENT);
        for (uint32_t i = 0; i < JOINED; i++)
            vdp_store_be16(packet[i]->data + VDP_ETHERNET_SIZE + VDP_IPV4_ID, 0);
        double before = cpu_ns();
        for (uint32_t i = 0; i < JOINED; i++)
            vdp_cell_offer(worker, cell, packet[i]);
        vdp_cell_flush(worker, cell, &joined);
        spent += cpu_ns() - before;
        packets += JOINED;
        if (joined.count != 1)
            scenario_fail("segments were not joined");
        vdp_packet_free(worker, joined.head);
    }
    printf("{\"coalesce_ns\": %.1f}\n", spent / packets);
    vdp_engine_free(engine);
}
