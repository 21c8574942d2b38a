/* libFuzzer on the engine: any program on any packet, with any offload marks.
 *
 *   CC=clang meson setup build/fuzz -Dfuzz=true -Dextension=false \
 *       -Db_sanitize=address,undefined -Db_lundef=false
 *   meson compile -C build/fuzz && build/fuzz/tests/c/fuzz_engine -max_len=4096
 *
 *   | n | n actions of 8 bytes: op, a, b, c, d | 32 constants | marks, 8 bytes | packet ...
 *
 * It must not harm, and the books of every port must balance after it. */
#include "../../vdp/engine/flow.h"

#include <stdlib.h>

enum { MOST_ACTIONS = 32, BLOB = 32, PORTS = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct vdp_engine *engine;
static uint32_t ports[PORTS];

/* Frames, layer 3, both with every offload, in GRE too; frames with none; a cell of each. */
static void begin(void)
{
    static const struct vdp_port_config configs[PORTS] = {
        {.name = "l2", .type = VDP_PORT_MEMORY, .features = 62},
        {.name = "l3", .type = VDP_PORT_MEMORY, .packet_type = VDP_L3, .features = 62},
        {.name = "plain", .type = VDP_PORT_MEMORY},
        {.name = "cell2", .type = VDP_PORT_CELL, .features = 30},
        {.name = "cell3", .type = VDP_PORT_CELL, .packet_type = VDP_L3, .features = 30},
    };
    struct vdp_engine_config config = {.workers = 1, .packets = 256, .action_rate = 0};

    if (vdp_engine_new(&config, &engine) < 0)
        abort();
    for (int i = 0; i < PORTS; i++)
        ports[i] = (uint32_t)vdp_port_add(engine, &configs[i]);
    (void)vdp_counter_new(engine);
    (void)vdp_state_new(engine, 0);
    (void)vdp_window_new(engine, 33);
    (void)vdp_header_new(engine, (const uint8_t *)"header", 6);
    (void)vdp_group_new(engine, ports, PORTS);
    struct vdp_tap_config tap = {.points = VDP_TAP_ALL, .snap = VDP_MAX_LENGTH}; /* full soon */
    (void)vdp_tap_open(engine, &tap);
}

/* What comes in by a cell leaves by the port of its type. */
static void link_cells(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct vdp_action output = {VDP_OP_OUTPUT, 0, ports[i], 0, 0};
        struct vdp_program program = {&output, 1, NULL, 0};
        struct vdp_match match = {.in_port = ports[3 + i], .max_length = VDP_MAX_LENGTH};
        (void)vdp_flow_install(engine, 0, &match, &program);
    }
}

static void check_books(uint32_t port, bool cell)
{
    struct vdp_port_stats s;

    if (vdp_port_read(engine, port, &s) < 0 ||
        s.rx_packets + s.injected + s.cloned + s.segmented !=
            s.forwarded + s.dropped + s.consumed + s.held ||
        s.offered !=
            (cell ? s.rx_packets + s.merged : s.tx_packets) + s.tx_dropped + s.tx_queued)
        abort();
}

static void settle(void)
{
    static uint8_t bytes[VDP_MAX_LENGTH];
    struct vdp_upcall upcalls[8];
    int count;

    do { /* upcalls that wait hold up groups */
        while (vdp_engine_poll(engine) > 0)
            continue;
        count = vdp_upcall_take(engine, 0, upcalls, 8);
        for (int i = 0; i < count; i++) {
            struct vdp_resolution resolution = {.token = upcalls[i].token,
                                                .kind = VDP_RESOLVE_CONSUME};
            (void)vdp_upcall_resolve(engine, 0, &resolution, 1);
        }
    } while (count > 0);
    for (int i = 0; i < 3; i++)
        while (vdp_memory_collect(engine, ports[i], bytes, sizeof bytes, NULL, NULL) >= 0)
            continue;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct vdp_action actions[MOST_ACTIONS];
    uint32_t count = size ? bytes[0] % MOST_ACTIONS + 1 : 0;
    size_t head = 1 + (size_t)count * 8 + BLOB;

    if (size < head + 8)
        return 0;
    if (!engine)
        begin();
    link_cells();
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = bytes + 1 + (size_t)i * 8;
        actions[i] = (struct vdp_action){at[0] % VDP_OP_COUNT_OPS, at[1], vdp_load_be16(at + 2),
                                         vdp_load_be16(at + 4), vdp_load_be16(at + 6)};
        if (actions[i].op == VDP_OP_OUTPUT)
            actions[i].b = ports[actions[i].b % PORTS];
        else if (actions[i].op == VDP_OP_GROUP)
            actions[i].b %= 2;
        else if (actions[i].op == VDP_OP_HEADER)
            actions[i].c %= 2;
    }
    const uint8_t *marks = bytes + head;
    struct vdp_offload offload = {marks[0] & 1, marks[1], marks[2], marks[3] & 0x87,
                                  vdp_load_be16(marks + 4), vdp_load_be16(marks + 6)};
    struct vdp_match match = {.in_port = ports[marks[0] >> 1 & 1], .max_length = VDP_MAX_LENGTH};
    struct vdp_program program = {actions, count, bytes + 1 + (size_t)count * 8, BLOB};
    int64_t id = vdp_flow_install(engine, 0, &match, &program);
    for (int i = 0; i < 3; i++) /* more than one, for the cells */
        (void)vdp_memory_inject(engine, match.in_port, bytes + head + 8, (uint32_t)(size - head - 8), NULL,
                                &offload);
    settle();
    for (uint32_t i = 0; i < PORTS; i++)
        check_books(ports[i], i >= 3);
    uint64_t ids[8];
    while (id >= 0 && vdp_flow_expire(engine, 0, 0, 0, ids, 8) > 0)
        continue;
    return 0;
}
