/* Target: a whole engine on memory ports: flow installed, packets received, every action of engine.h
 *         but GROUP and cells, packets sent, upcalls taken.
 * Trust:  hostile packets and guest's marks; programs as plugins make them (local).
 * Oracle: the twin: the same bytes, metadata and marks out of every port in the same order, the same
 *         drop reasons, statistics, counters and states.  At its end it says how many packets it
 *         compared so. */
#include "marks.h"
#include "programs.h"

enum { PORTS = 5, STATES = 3, COUNTERS = 3, PACKETS = 16, WAITING_MOST = 400 };

static struct vdp_engine *engine;
static struct twin twin;
static uint32_t ports[PORTS], states[STATES], counters[COUNTERS];
static struct numbers numbers = {.ports = ports, .states = states, .counters = counters, .port_count = PORTS,
                                 .state_count = STATES, .counter_count = COUNTERS, .header = NOWHERE};
static uint64_t compared;

static void report(void)
{
    fprintf(stderr, "compared: %llu packets\n", (unsigned long long)compared);
}

static void begin(void)
{
    static const struct vdp_port_config configs[PORTS] = {
        {.name = "l2", .features = 62, .tx_queue = 8192},
        {.name = "l3", .packet_type = VDP_L3, .features = 62, .tx_queue = 8192},
        {.name = "plain2", .tx_queue = 8192},
        {.name = "plain3", .packet_type = VDP_L3, .tx_queue = 8192},
        {.name = "tso3", .packet_type = VDP_L3, .features = VDP_F_CSUM | VDP_F_TSO4, .tx_queue = 8192},
    };
    struct vdp_engine_config config = {.workers = 1, .packets = 2048, .upcall_queue = 1024};
    LAW(vdp_engine_new(&config, &engine) == 0);
    vdp_engine_set_clock(engine, 1000000);
    for (uint32_t i = 0; i < PORTS; i++) {
        int port = vdp_port_add(engine, &configs[i]);
        LAW(port > 0);
        ports[i] = (uint32_t)port;
        twin.ports[i] = (struct twin_port){ports[i], configs[i].packet_type, configs[i].features, {0}};
    }
    twin.port_count = PORTS;
    for (uint32_t i = 0; i < STATES; i++) {
        states[i] = (uint32_t)vdp_state_new(engine, 0);
        LAW(states[i] < TWIN_STATES);
        twin.is_state[states[i]] = true;
    }
    for (uint32_t i = 0; i < COUNTERS; i++) {
        counters[i] = (uint32_t)vdp_counter_new(engine);
        LAW(counters[i] < TWIN_COUNTERS);
        twin.is_counter[counters[i]] = true;
    }
    (void)atexit(report);
}

/* Both begin with the same numbers; counts go on. */
static void write_states(struct input *in)
{
    for (uint32_t i = 0; i < STATES; i++) {
        uint32_t number = take8(in) < 128 ? take8(in) : take32(in);
        LAW(vdp_state_write(engine, states[i], number) == 0);
        twin.states[states[i]] = number;
    }
}

static void compare_sent(uint32_t port, const struct twin_packet *wanted)
{
    static uint8_t bytes[VDP_MAX_LENGTH];
    uint8_t meta[VDP_META_SIZE];
    struct vdp_offload told, marks;
    int length = vdp_memory_collect(engine, port, bytes, sizeof bytes, meta, &told);
    SAME(length, wanted->length);
    LAW(memcmp(bytes, wanted->bytes, wanted->length) == 0);
    LAW(memcmp(meta, wanted->meta, sizeof meta) == 0);
    LAW(twin_store(wanted, &marks) == VDP_REASON_none);
    SAME(told.needs_csum, marks.needs_csum);
    SAME(told.csum_start, marks.csum_start);
    SAME(told.csum_offset, marks.csum_offset);
    SAME(told.gso_type, marks.gso_type);
    SAME(told.gso_size, marks.gso_size);
    SAME(told.header_size, marks.header_size);
}

static void compare_upcall(const struct twin_packet *wanted)
{
    struct vdp_upcall upcall;
    SAME(vdp_upcall_take(engine, 0, &upcall, 1), 1);
    SAME(upcall.length, wanted->length);
    LAW(memcmp(upcall.data, wanted->bytes, wanted->length) == 0);
    LAW(memcmp(upcall.meta, wanted->meta, sizeof upcall.meta) == 0);
    SAME(upcall.cookie, wanted->account[1]);
    SAME(upcall.gso_type, wanted->gso_type);
    SAME(upcall.gso_size, wanted->gso_size);
    struct vdp_resolution resolution = {.token = upcall.token, .kind = VDP_RESOLVE_CONSUME};
    SAME(vdp_upcall_resolve(engine, 0, &resolution, 1), 0);
    for (uint32_t i = 0; i < PORTS; i++)
        if (ports[i] == wanted->in_port) {
            twin.ports[i].stats.held--;
            twin.ports[i].stats.consumed++;
        }
}

static void compare_books(void)
{
    uint64_t drops[VDP_MAX_REASONS], sums[VDP_MAX_REASONS] = {0};
    for (uint32_t i = 0; i < PORTS; i++) {
        struct vdp_port_stats s;
        const struct vdp_port_stats *wanted = &twin.ports[i].stats;
        LAW(vdp_port_read(engine, ports[i], &s) == 0);
        LAW(vdp_port_drops(engine, ports[i], drops, VDP_MAX_REASONS) == 0);
        for (uint32_t r = 0; r < VDP_MAX_REASONS; r++)
            sums[r] += drops[r];
        SAME(s.rx_packets, wanted->rx_packets);
        SAME(s.rx_bytes, wanted->rx_bytes);
        SAME(s.forwarded, wanted->forwarded);
        SAME(s.offered, wanted->offered);
        SAME(s.cloned, wanted->cloned);
        SAME(s.segmented, wanted->segmented);
        SAME(s.dropped, wanted->dropped);
        SAME(s.tx_dropped, wanted->tx_dropped);
        SAME(s.consumed, wanted->consumed);
        SAME(s.held, wanted->held);
        SAME(s.upcalls, wanted->upcalls);
        SAME(s.tx_packets, wanted->tx_packets);
        SAME(s.tx_bytes, wanted->tx_bytes);
        SAME(s.tx_segments, wanted->tx_segments);
        origin_balances(&s);
        output_balances(&s, false);
    }
    for (uint32_t r = 0; r < VDP_MAX_REASONS; r++)
        SAME(sums[r], twin.drops[r]);
    for (uint32_t i = 0; i < COUNTERS; i++) {
        struct vdp_count count;
        LAW(vdp_counter_read(engine, counters[i], &count) == 0);
        SAME(count.packets, twin.counters[counters[i]].packets);
        SAME(count.bytes, twin.counters[counters[i]].bytes);
    }
    for (uint32_t i = 0; i < STATES; i++) {
        uint32_t number;
        LAW(vdp_state_read(engine, states[i], &number) == 0);
        SAME(number, (uint32_t)twin.states[states[i]]);
    }
}

static void free_sent(void)
{
    for (uint32_t i = 0; i < twin.sent_count; i++)
        twin_free(&twin, twin.sent[i]);
    twin.sent_count = twin.upcalls = 0;
}

/* The packets of a run: one, and copies of it of which a few bytes are others. */
struct burst {
    uint32_t count;
    struct vdp_offload marks;
    struct {
        uint32_t at;
        uint8_t value;
    } changes[PACKETS];
};

static void change(struct frame *frame, const struct burst *burst, uint32_t i)
{
    if (i > 0 && burst->changes[i].at < frame->length)
        frame->bytes[burst->changes[i].at] = burst->changes[i].value;
}

/* What both do with them.  False: more would wait for the slow path than there is room for. */
static bool run_twin(const struct frame *first, const struct burst *burst, uint32_t in_port,
                     const struct vdp_program *program)
{
    static struct twin before;
    static struct frame frame;
    memcpy(before.ports, twin.ports, sizeof twin.ports);
    memcpy(before.counters, twin.counters, sizeof twin.counters);
    memcpy(before.states, twin.states, sizeof twin.states);
    memcpy(before.drops, twin.drops, sizeof twin.drops);
    memcpy(&frame, first, offsetof(struct frame, bytes) + first->length);
    for (uint32_t i = 0; i < burst->count; i++) {
        change(&frame, burst, i);
        twin_receive(&twin, in_port, frame.bytes, frame.length, &burst->marks, program);
        if (twin.upcalls <= WAITING_MOST && twin.sent_count < TWIN_SENT / 2)
            continue;
        memcpy(twin.ports, before.ports, sizeof twin.ports);
        memcpy(twin.counters, before.counters, sizeof twin.counters);
        memcpy(twin.states, before.states, sizeof twin.states);
        memcpy(twin.drops, before.drops, sizeof twin.drops);
        free_sent();
        return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct frame frame;
    static struct program made;
    struct input in = {bytes, size};
    struct burst burst;

    if (engine == NULL)
        begin();
    struct recipe recipe = take_recipe(&in);
    frame_any(&in, &frame);
    burst.marks = take_marks(&in, &frame);
    burst.count = 1 + take8(&in) % PACKETS;
    program_make(&made, &recipe, &in, &frame, &numbers);
    for (uint32_t i = 1; i < burst.count; i++) {
        burst.changes[i].at = take8(&in);
        burst.changes[i].value = take8(&in);
    }
    const struct vdp_program program = {made.actions, made.count, made.blob, sizeof made.blob};
    uint32_t in_port = frame.type == VDP_L3 ? 1 : 0;
    struct vdp_match match = {.in_port = ports[in_port], .max_length = VDP_MAX_LENGTH};
    if (vdp_program_check(&program) < 0)
        return 0;
    for (uint32_t i = 0; i < made.count; i++)
        if (made.actions[i].op == VDP_OP_GROUP) /* not the twin's */
            made.actions[i] = (struct vdp_action){VDP_OP_OUTPUT, 0, made.actions[i].c, 0, 0};
    write_states(&in);
    if (!run_twin(&frame, &burst, in_port, &program))
        return 0;
    int64_t id = vdp_flow_install(engine, 0, &match, &program);
    LAW(id >= 0);
    for (uint32_t i = 0; i < burst.count; i++) {
        change(&frame, &burst, i);
        LAW(vdp_memory_inject(engine, match.in_port, frame.bytes, frame.length, NULL, &burst.marks) == 0);
    }
    while (vdp_engine_poll(engine) > 0)
        continue;
    for (uint32_t i = 0; i < twin.sent_count; i++) {
        const struct twin_packet *wanted = twin.sent[i];
        if (wanted->account[0] == 0)
            compare_upcall(wanted);
        else
            compare_sent(wanted->account[0], wanted);
    }
    compare_books(); /* so nothing more was sent */
    free_sent();
    uint64_t done = (uint64_t)id;
    LAW(vdp_flow_remove(engine, 0, &done, 1) == 1);
    compared += burst.count;
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t most, unsigned seed)
{
    return mutate_recipe(bytes, size, most, seed);
}
