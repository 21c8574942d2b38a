/* Target: the whole datapath: ports of both types, two GRO cells that programs may loop packets through,
 *         groups, windows, taps that come and go, ports that go down, a slow path.
 * Trust:  hostile packets, guest's marks, programs as plugins make them (local).
 * Oracle: the books of every port balance; packets all come back to the pool; an input's copies are bounded;
 *         nobody gets a byte that was not received or pushed: buffers are full of a pattern that no
 *         packet has. */
#include "marks.h"
#include "programs.h"

enum { PORTS = 6, CELLS = 2, MEMORY = PORTS - CELLS, STATES = 3, FLOWS = 3, POOL = 192, BURST = 6, FRONT = 4096 };
enum { CANARY = 0xa7, CANARY_RUN = 8 };

static struct vdp_engine *engine;
static uint32_t ports[PORTS], states[STATES], counters[2], groups[2];
static struct numbers numbers = {.ports = ports, .states = states, .counters = counters, .groups = groups,
                                 .port_count = PORTS, .state_count = STATES, .counter_count = 2, .group_count = 2};
static uint64_t now = 1000000;

static void begin(void)
{
    static const struct vdp_port_config configs[PORTS] = {
        {.name = "l2", .features = 62},
        {.name = "l3", .packet_type = VDP_L3, .features = 62},
        {.name = "plain2", .tx_queue = 20},
        {.name = "plain3", .packet_type = VDP_L3, .features = VDP_F_CSUM},
        {.name = "cell2", .type = VDP_PORT_CELL, .features = 30, .tx_queue = 12},
        {.name = "cell3", .type = VDP_PORT_CELL, .packet_type = VDP_L3, .features = 30},
    };
    struct vdp_engine_config config = {.workers = 1, .packets = POOL, .action_rate = 50};
    LAW(vdp_engine_new(&config, &engine) == 0);
    for (uint32_t i = 0; i < PORTS; i++)
        ports[i] = (uint32_t)vdp_port_add(engine, &configs[i]);
    for (uint32_t i = 0; i < 2; i++) {
        counters[i] = (uint32_t)vdp_counter_new(engine);
        groups[i] = (uint32_t)vdp_group_new(engine, ports + i, PORTS - 2 * i);
    }
    states[0] = (uint32_t)vdp_state_new(engine, 0);
    states[1] = (uint32_t)vdp_window_new(engine, 5);
    states[2] = (uint32_t)vdp_state_new(engine, 0xfffffff0);
    numbers.header = (uint32_t)vdp_header_new(engine, (const uint8_t *)"header of fourte", 14);
}

/* The part of each free buffer that short packets use. */
static void fill_pool(void)
{
    struct vdp_worker *worker = &engine->workers[0];
    for (struct vdp_packet *packet = worker->free; packet != NULL; packet = packet->next) {
        ALLOW(packet->buffer, FRONT);
        memset(packet->buffer, CANARY, FRONT);
        FORBID(packet->buffer, FRONT);
    }
    for (uint32_t i = 0; i < worker->batch_count; i++)
        memset(worker->batch[i]->buffer, CANARY, FRONT);
}

static void no_canary(const uint8_t *bytes, uint32_t length)
{
    uint32_t run = 0;
    for (uint32_t i = 0; i < length; i++) {
        run = bytes[i] == CANARY ? run + 1 : 0;
        LAW(run < CANARY_RUN);
    }
}

/* Neither the input nor what is made of it has the pattern. */
static void without_canary(uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (bytes[i] == CANARY)
            bytes[i] = CANARY ^ 0x10;
}

/* What left by memory ports; how many packets. */
static uint32_t collect(bool looks)
{
    static uint8_t bytes[VDP_MAX_LENGTH];
    uint32_t count = 0;
    for (uint32_t i = 0; i < MEMORY; i++) {
        struct vdp_offload marks;
        int length;
        while ((length = vdp_memory_collect(engine, ports[i], bytes, sizeof bytes, NULL, &marks)) >= 0) {
            count++;
            if (looks)
                no_canary(bytes, (uint32_t)length);
            LAW(!marks.needs_csum || marks.csum_start + marks.csum_offset + 2 <= (uint32_t)length);
        }
    }
    return count;
}

static void answer(struct input *in, const struct vdp_program *program)
{
    struct vdp_upcall upcalls[8];
    struct vdp_match match = {.max_length = VDP_MAX_LENGTH};
    int count = vdp_upcall_take(engine, 0, upcalls, 8);
    for (int i = 0; i < count; i++) {
        uint8_t choice = in != NULL ? take8(in) : VDP_RESOLVE_CONSUME;
        match.in_port = upcalls[i].in_port;
        struct vdp_resolution resolution = {.token = upcalls[i].token, .kind = choice % 5,
                                            .reason = choice / 5 % VDP_MAX_REASONS, .match = &match};
        if (program != NULL)
            resolution.program = *program;
        (void)vdp_upcall_resolve(engine, 0, &resolution, 1);
    }
}

static void change(struct input *in)
{
    uint8_t choice = take8(in);
    struct vdp_tap_config tap = {.points = VDP_TAP_ALL, .snap = 60, .follow = choice & 1};
    uint32_t port = ports[choice % PORTS];
    switch (choice >> 5) {
    case 0:
        LAW(vdp_port_set_up(engine, port, choice & 1) == 0);
        break;
    case 1:
        (void)vdp_port_set_features(engine, port, take8(in) & 30);
        break;
    case 2:
        now += (uint64_t)take8(in) << 24;
        vdp_engine_set_clock(engine, now);
        break;
    case 3:
        LAW(vdp_state_write(engine, states[choice % STATES], take32(in)) == 0);
        break;
    case 4:
        (void)vdp_tap_open(engine, &tap);
        break;
    case 5:
        LAW(vdp_group_write(engine, groups[choice & 1], ports, take8(in) % (PORTS + 1)) == 0);
        break;
    default:
        break;
    }
}

static void settle(void)
{
    struct vdp_worker_stats stats;
    uint64_t ids[8];
    do {
        while (vdp_engine_poll(engine) > 0)
            (void)collect(false);
        answer(NULL, NULL);
        (void)collect(false);
        LAW(vdp_worker_read(engine, 0, &stats) == 0);
    } while (engine->workers[0].held > 0 || vdp_engine_poll(engine) > 0);
    while (vdp_flow_expire(engine, 0, 0, 0, ids, 8) > 0)
        continue;
    for (uint32_t tap = 1; tap <= VDP_MAX_TAPS; tap++)
        (void)vdp_tap_close(engine, tap);
    for (uint32_t i = 0; i < PORTS; i++) {
        struct vdp_port_stats s;
        uint64_t drops[VDP_MAX_REASONS], sum = 0;
        (void)vdp_port_set_up(engine, ports[i], 1);
        (void)vdp_port_set_features(engine, ports[i], i < 2 ? 62 : i == 3 ? VDP_F_CSUM : i >= MEMORY ? 30 : 0);
        LAW(vdp_port_read(engine, ports[i], &s) == 0 && s.held == 0);
        origin_balances(&s);
        output_balances(&s, i >= MEMORY);
        LAW(vdp_port_drops(engine, ports[i], drops, VDP_MAX_REASONS) == 0);
        for (uint32_t r = 0; r < VDP_MAX_REASONS; r++)
            sum += drops[r];
        LAW(sum == s.dropped + s.tx_dropped);
    }
    LAW(stats.packets_free == stats.packets_total);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct frame frame;
    static struct program made;
    struct input in = {bytes, size};
    uint32_t in_ports[FLOWS];

    if (engine == NULL)
        begin();
    fill_pool();
    struct recipe recipes[FLOWS];
    for (uint32_t i = 0; i < FLOWS; i++)
        recipes[i] = take_recipe(&in);
    frame_any(&in, &frame);
    struct vdp_offload marks = take_marks(&in, &frame);
    uint8_t choice = take8(&in);
    struct vdp_program program = {made.actions, 1, made.blob, sizeof made.blob};
    for (uint32_t i = 0; i < FLOWS; i++) { /* of what comes in, and of both cells */
        program_make(&made, &recipes[i], &in, &frame, &numbers);
        without_canary(made.blob, sizeof made.blob);
        for (uint32_t n = 0; n < made.count; n++) /* the pattern as an operand */
            if (made.actions[n].op == VDP_OP_COPY)
                made.actions[n].a &= 0xff ^ 0x80;
        program.count = made.count;
        in_ports[i] = i == 0 ? ports[frame.type] : ports[MEMORY + i - 1];
        struct vdp_match match = {.in_port = in_ports[i], .max_length = VDP_MAX_LENGTH};
        if (choice & 1u << i || i > 0)
            (void)vdp_flow_install(engine, 0, &match, &program);
    }
    without_canary(frame.bytes, frame.length);
    uint32_t count = 1 + (choice >> 4) % BURST;
    for (uint32_t i = 0; i < count; i++) {
        LAW(vdp_memory_inject(engine, in_ports[0], frame.bytes, frame.length, NULL, &marks) == 0);
        if (choice & 8)
            change(&in);
        if (take8(&in) & 1) {
            (void)vdp_engine_poll(engine);
            answer(&in, &program);
        }
    }
    for (uint32_t rounds = 0; vdp_engine_poll(engine) > 0; rounds++) {
        LAW(rounds < 100000); /* loops end */
        (void)collect(frame.length < FRONT / 2);
    }
    (void)collect(frame.length < FRONT / 2);
    settle();
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t most, unsigned seed)
{
    return mutate_recipe(bytes, size, most, seed);
}
