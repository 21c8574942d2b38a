/* Nanoseconds a packet for lookup and decapsulation, and a fragment for cutting, without
 * any I/O.  Not a test:
 *
 *   meson compile -C build bench_engine && build/tests/c/bench_engine
 *
 * Each packet is Ethernet, IPv4, GRE, 64 bytes; the program is what a GRE link does. */
#include "../../vdp/engine/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 512, CUTS = 200000, ROUNDS = 4000, FRAME = 14 + 20 + 4 + 64, MOST_FLOWS = 16384 };

static const uint8_t HEADERS[] = {
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,                                   /* Ethernet */
    0x45, 0, 0, 88, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,         /* IPv4 */
    0, 0, 0x08, 0x00,                                                           /* GRE */
};

static const struct vdp_action PROGRAM[] = {
    {VDP_OP_REQUIRE_CHECKSUM, 0, 14, 20, 7}, {VDP_OP_TRIM, 0, 16, 14, 7},
    {VDP_OP_PULL, 0, 38, 0, 0},              {VDP_OP_COUNT, 0, 1, 0, 0},
    {VDP_OP_META, 0, VDP_L3, 0, 0},          {VDP_OP_META, 1, 0x0800, 0, 0},
    {VDP_OP_DROP, 0, 1, 0, 0},               {VDP_OP_DROP, 0, 2, 0, 0},
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* A flow for one source address; shape: how many bits of the TOS its mask has, too. */
static void install(struct vdp_engine *engine, uint32_t port, uint32_t address, uint32_t shape)
{
    struct vdp_match match = {
        .in_port = port, .min_length = 38, .max_length = VDP_MAX_LENGTH, .window = 38};
    struct vdp_program program = {PROGRAM, 8, NULL, 0};
    memset(match.mask + 12, 0xff, 3);
    match.mask[15] = (uint8_t)((1u << shape) - 1);
    memset(match.mask + 23, 0xff, 15);
    memcpy(match.value, HEADERS, sizeof HEADERS);
    vdp_store_be32(match.value + 26, address);
    for (int i = 0; i < 38; i++)
        match.value[i] &= match.mask[i];
    match.mask[24] = match.mask[25] = match.value[24] = match.value[25] = 0; /* checksum */
    if (vdp_flow_install(engine, 0, &match, &program) < 0)
        exit(1);
}

static void fill(struct vdp_packet *packet, uint32_t port, uint32_t address)
{
    uint32_t sum = 0;

    vdp_packet_reset(packet);
    packet->in_port = port;
    packet->length = FRAME;
    memcpy(packet->data, HEADERS, sizeof HEADERS);
    vdp_store_be32(packet->data + 26, address);
    for (int i = 14; i < 34; i += 2)
        sum += vdp_load_be16(packet->data + i);
    vdp_store_be16(packet->data + 24, (uint16_t)~((sum >> 16) + sum));
}

static void measure(uint32_t flows, uint32_t masks)
{
    struct vdp_engine_config config = {.workers = 1};
    struct vdp_port_config port_config = {.name = "bench", .type = VDP_PORT_MEMORY};
    struct vdp_engine *engine;

    if (vdp_engine_new(&config, &engine) < 0)
        exit(1);
    uint32_t port = (uint32_t)vdp_port_add(engine, &port_config), next = 1;
    struct vdp_worker *worker = &engine->workers[0];
    (void)vdp_counter_new(engine);
    for (uint32_t i = 0; i < flows; i++)
        install(engine, port, 0x0a000000 + i, i % masks);
    double spent = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct vdp_packet *batch[BATCH];
        for (int i = 0; i < BATCH; i++) {
            batch[i] = vdp_packet_alloc(worker);
            next = next * 1664525 + 1013904223;
            fill(batch[i], port, 0x0a000000 + (next >> 8) % flows);
        }
        double before = now_ns();
        for (int i = 0; i < BATCH; i++) {
            struct vdp_flow *flow =
                vdp_classifier_lookup(worker, worker->queues[port]->classifier, batch[i]);
            if (!flow)
                exit(1);
            vdp_flow_run(worker, flow, batch[i]);
        }
        spent += now_ns() - before;
    }
    printf("%6u flows, %2u masks: %5.1f ns a packet (%.2f masks probed)\n", flows, masks,
           spent / ROUNDS / BATCH,
           (double)worker->stats.mask_probes / (double)(worker->stats.table_hits + 1));
    vdp_engine_free(engine);
}

/* FRAGMENT of a packet of `total` bytes, each fragment dropped. */
static void measure_fragment(uint32_t total, uint32_t most)
{
    static const struct vdp_action drops[] = {{VDP_OP_DROP, 0, 1, 0, 0}, {VDP_OP_DROP, 0, 2, 0, 0}};
    struct vdp_action actions[] = {{VDP_OP_FRAGMENT, 0, most, 14, 2}, drops[0], drops[1]};
    struct vdp_program program = {actions, 3, NULL, 0};
    struct vdp_engine_config config = {.workers = 1};
    struct vdp_port_config port_config = {.name = "bench", .type = VDP_PORT_MEMORY};
    struct vdp_engine *engine;
    int error;

    if (vdp_engine_new(&config, &engine) < 0)
        exit(1);
    uint32_t port = (uint32_t)vdp_port_add(engine, &port_config);
    struct vdp_compiled *compiled = vdp_program_compile(&program, &error);
    struct vdp_port_stats stats;
    double before = now_ns();
    for (int i = 0; compiled && i < CUTS; i++) {
        struct vdp_packet *packet = vdp_packet_alloc(&engine->workers[0]);
        packet->in_port = port;
        packet->length = 14 + total;
        memcpy(packet->data, HEADERS, sizeof HEADERS);
        vdp_store_be16(packet->data + 16, (uint16_t)total);
        vdp_execute(&engine->workers[0], compiled, packet, 0);
    }
    double spent = now_ns() - before;
    if (vdp_port_read(engine, port, &stats) < 0 || stats.dropped == 0)
        exit(1);
    printf("%6u bytes cut to %4u: %5.1f ns a fragment (%.0f of each)\n", total, most,
           spent / (double)stats.dropped, (double)stats.dropped / CUTS);
    free(compiled);
    vdp_engine_free(engine);
}

int main(void)
{
    measure(1, 1);
    measure(100, 1);
    measure(1000, 4);
    measure(MOST_FLOWS, 8);
    measure_fragment(1500, 1500);
    measure_fragment(1524, 1500);
    measure_fragment(9000, 1500);
    measure_fragment(65535, 1500);
    return 0;
}
