/* The books of the engine: mixed, broken and dropped packets, each counted once.
 *
 *   books PACKETS SEED      JSON: what became of them, equations looked at, their difference
 *
 *   wire  L2, takes all        cell   L2 GRO cell ─► wire     group   wire, plain, slow, flap
 *   inner L3, takes all        cell3  L3 GRO cell ─► inner    loop    a cell that leads into itself
 *   plain L2, takes nothing    tight  a cell with little room ─► plain
 *   slow  L2, seldom emptied   flap   L2, goes down and up
 *
 * Packets come in by wire, inner, plain and flap.  A register says by which program they go
 * (enum kind), or that they have no flow yet; what misses is answered in every way there is.
 * The sender counts what it injects, the receiver what it collects, in packets and bytes. */
#include "../../vdp/engine/checksum.h"
#include "../../vdp/engine/flow.h"
#include "../../vdp/engine/offload.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { WIRE, INNER, PLAIN, SLOW, FLAP, CELL, CELL3, TIGHT, LOOP, PORTS };
enum { SOURCES = 4, MEMORY_PORTS = CELL };
enum kind {
    FORWARD, CUT, COALESCE, DECAPSULATE, ENCAPSULATE, ROUTE, FRAGMENT, CLONE, FLOOD, POLICY, LIMIT,
    AROUND, ASK, NOWHERE, KINDS, UNKNOWN = KINDS
};
enum { BROKEN_ONE_IN = 6, LOOK_EVERY = 1 << 16, STREAMS = 4, MOST_ACTIONS = 12, SECOND = 1000000000 };

static struct vdp_engine *engine;
static uint32_t ports[PORTS], group, counter, state;
static uint64_t seed, clock_ns = SECOND, sent, taken, taken_bytes, consumed, looked_at, difference;

static const struct vdp_port_config CONFIGS[PORTS] = {
    [WIRE] = {.name = "wire", .features = 62},
    [INNER] = {.name = "inner", .features = 62, .packet_type = VDP_L3},
    [PLAIN] = {.name = "plain"},
    [SLOW] = {.name = "slow", .tx_queue = 64},
    [FLAP] = {.name = "flap", .features = 30},
    [CELL] = {.name = "cell", .type = VDP_PORT_CELL, .features = 30},
    [CELL3] = {.name = "cell3", .type = VDP_PORT_CELL, .features = 30, .packet_type = VDP_L3},
    [TIGHT] = {.name = "tight", .type = VDP_PORT_CELL, .features = 30, .tx_queue = 4},
    [LOOP] = {.name = "loop", .type = VDP_PORT_CELL},
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "books: %s\n", what);
    exit(1);
}

/* xorshift64*: the same numbers in every run. */
static uint32_t draw(uint32_t below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * 0x2545f4914f6cdd1du) >> 33) % below;
}

/* Programs. */

static const uint8_t HEADERS[] = {
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, /* Ethernet */
    0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 47, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 0, 8, 0, /* IPv4, GRE */
};

static struct vdp_action output(int port)
{
    return (struct vdp_action){VDP_OP_OUTPUT, 0, ports[port], 0, 0};
}

static struct vdp_action drop(uint32_t reason)
{
    return (struct vdp_action){VDP_OP_DROP, 0, reason, 0, 0};
}

/* The program of a kind, for packets whose IP header is at `at`; how many actions. */
static uint32_t make_program(enum kind kind, uint32_t at, struct vdp_action *actions)
{
    const struct vdp_action count = {VDP_OP_COUNT, 0, counter, 0, 0};
    const int plain = at ? PLAIN : INNER, whole = at ? WIRE : INNER;
    const struct vdp_action programs[KINDS][MOST_ACTIONS] = {
        [FORWARD] = {count, output(plain)},
        [CUT] = {{VDP_OP_SEGMENT, 0, 0, 0, 0}, output(plain)},
        [COALESCE] = {output(at ? CELL : CELL3)},
        [DECAPSULATE] = {{VDP_OP_REQUIRE_CHECKSUM, 0, at, 20, 6},
                         {VDP_OP_REQUIRE_LENGTH, 0, at + 24, VDP_MAX_LENGTH, 7},
                         {VDP_OP_PULL, 0, at + 24, 0, 0},
                         {VDP_OP_META, VDP_META_TYPE, VDP_L3, 0, 0},
                         {VDP_OP_META, VDP_META_PROTOCOL, 0x0800, 0, 0},
                         output(CELL3), drop(VDP_REASON_ip_checksum), drop(VDP_REASON_tunnel_short)},
        [ENCAPSULATE] = {{VDP_OP_ACCOUNT, 0, counter, counter, 0},
                         {VDP_OP_SEGMENT, VDP_F_GRE_TSO, 0, 0, 3900 | 1400u << 16},
                         {VDP_OP_PULL, 0, at, 0, 0},
                         {VDP_OP_PUSH, 0, sizeof HEADERS, 0, 0},
                         {VDP_OP_LENGTH, 0, 16, 14, 0},
                         {VDP_OP_ID, 0, 18, state, 0},
                         {VDP_OP_CHECKSUM, 0, 24, 14, 20},
                         {VDP_OP_META, VDP_META_TYPE, VDP_L2, 0, 0},
                         output(WIRE)},
        [ROUTE] = {{VDP_OP_TTL, 4, at, 0, 2}, output(FLAP), drop(VDP_REASON_ttl_expired)},
        [FRAGMENT] = {{VDP_OP_FRAGMENT, 0, 200, at, 2}, output(SLOW), drop(VDP_REASON_mtu_exceeded)},
        [CLONE] = {{VDP_OP_CLONE, 0, 3, 0, 0}, {VDP_OP_CLONE, 0, 4, 0, 0}, output(SLOW), output(FLAP),
                   output(TIGHT)},
        [FLOOD] = {{VDP_OP_GROUP, 0, group, ports[PLAIN], 0}},
        [POLICY] = {drop(VDP_REASON_policy_rule)},
        [LIMIT] = {{VDP_OP_REQUIRE_LENGTH, 1, at + 28, at + 1500, 3},
                   {VDP_OP_REQUIRE_SEQUENCE, 0, at + 24, state, 4}, output(whole),
                   drop(VDP_REASON_mtu_exceeded), drop(VDP_REASON_tunnel_sequence)},
        [AROUND] = {output(LOOP)},
        [ASK] = {{VDP_OP_UPCALL, 0, 7, 0, 0}, output(plain)},
        [NOWHERE] = {{VDP_OP_OUTPUT, 0, 9999, 0, 0}},
    };
    static const uint32_t COUNTS[KINDS] = {2, 2, 1, 8, 9, 3, 3, 5, 1, 1, 5, 1, 2, 1};

    memcpy(actions, programs[kind], sizeof programs[kind]);
    return COUNTS[kind];
}

static void set_register(uint8_t *meta, uint32_t word, uint32_t value)
{
    vdp_store_be32(meta + 4 * word, value);
}

/* By the first register. */
static struct vdp_match match_kind(uint32_t port, uint32_t kind)
{
    struct vdp_match match = {.in_port = port, .max_length = VDP_MAX_LENGTH};

    set_register(match.meta_mask, VDP_META_REG, UINT32_MAX);
    set_register(match.meta_value, VDP_META_REG, kind);
    return match;
}

static uint32_t ip_offset(uint32_t port)
{
    return port == ports[INNER] ? 0 : 14;
}

static void install(const struct vdp_match *match, const struct vdp_action *actions, uint32_t count)
{
    struct vdp_program program = {actions, count, HEADERS, sizeof HEADERS};

    if (vdp_flow_install(engine, 0, match, &program) < 0)
        fail("a flow was refused");
}

static void lead_cell(int cell, int port)
{
    struct vdp_match match = {.in_port = ports[cell], .max_length = VDP_MAX_LENGTH};
    struct vdp_action actions[] = {{VDP_OP_SEGMENT, (uint16_t)CONFIGS[port].features, 0, 0, 0}, output(port)};

    install(&match, actions, 2);
}

static void begin(void)
{
    static const int sources[SOURCES] = {WIRE, INNER, PLAIN, FLAP};
    struct vdp_engine_config config = {.workers = 1, .packets = 256, .flows = 128, .port_masks = 4,
                                       .upcall_queue = 32, .upcall_rate = 4000, .action_rate = 2000};

    if (vdp_engine_new(&config, &engine) < 0)
        fail("no engine");
    vdp_engine_set_clock(engine, clock_ns);
    for (int i = 0; i < PORTS; i++)
        ports[i] = (uint32_t)vdp_port_add(engine, &CONFIGS[i]);
    const uint32_t members[] = {ports[WIRE], ports[PLAIN], ports[SLOW], ports[FLAP]};
    group = (uint32_t)vdp_group_new(engine, members, 4);
    counter = (uint32_t)vdp_counter_new(engine);
    state = (uint32_t)vdp_window_new(engine, 64);
    for (int i = 0; i < SOURCES; i++)
        for (enum kind kind = FORWARD; kind < KINDS; kind++) {
            struct vdp_action actions[MOST_ACTIONS];
            struct vdp_match match = match_kind(ports[sources[i]], kind);
            install(&match, actions, make_program(kind, ip_offset(match.in_port), actions));
        }
    lead_cell(CELL, WIRE);
    lead_cell(CELL3, INNER);
    lead_cell(TIGHT, PLAIN);
    lead_cell(LOOP, LOOP);
}

/* Packets. */

struct packet {
    uint8_t bytes[14 + 24 + 40 + 16384], meta[VDP_META_SIZE];
    struct vdp_offload offload;
    uint32_t length;
};

static void ipv4(uint8_t *ip, uint32_t size, uint8_t protocol, bool df)
{
    static const uint8_t header[20] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};

    memcpy(ip, header, sizeof header);
    vdp_store_be16(ip + 2, (uint16_t)size);
    ip[6] = df ? 0x40 : 0;
    ip[8] = draw(20) ? 64 : 1;
    ip[9] = protocol;
    vdp_store_be16(ip + 10, vdp_checksum(ip, 20));
}

/* TCP with a payload of `size` bytes, the next ones of one of some streams; returns its size. */
static uint32_t tcp(uint8_t *ip, uint32_t size, bool is_super, struct vdp_offload *offload)
{
    static uint32_t next[STREAMS];
    uint32_t stream = draw(draw(8) ? 1 : STREAMS), length = 20 + size;
    uint8_t *head = ip + 20;

    ipv4(ip, 20 + length, VDP_TCP, draw(30));
    memset(head, 0, 20);
    memset(head + 20, 0x5a, size);
    vdp_store_be16(head, (uint16_t)(5000 + stream));
    vdp_store_be32(head + 4, next[stream]);
    next[stream] += size;
    head[12] = 0x50;
    head[13] = draw(16) ? 0x10 : 0x18; /* ACK, sometimes PSH */
    uint64_t sum = vdp_checksum_pseudo(ip, 4, VDP_TCP, length);
    if (is_super || !draw(4)) {
        vdp_store_be16(head + 16, vdp_checksum_fold(sum));
        *offload = (struct vdp_offload){.needs_csum = 1, .csum_start = 20, .csum_offset = 16};
        if (is_super)
            offload->gso_type = 1, offload->gso_size = 1 + draw(2) * 99 + 900, offload->header_size = 40;
    } else {
        sum = vdp_checksum_add(sum, head, length);
        vdp_store_be16(head + 16, (uint16_t)~vdp_checksum_fold(sum));
    }
    return 20 + length;
}

/* Cut it, flip some bits, or have its marks lie. */
static void spoil(struct packet *packet)
{
    switch (draw(3)) {
    case 0:
        packet->length = draw(packet->length + 1);
        break;
    case 1:
        for (uint32_t i = 1 + draw(4); i && packet->length; i--)
            packet->bytes[draw(packet->length < 80 ? packet->length : 80)] ^= (uint8_t)(1u << draw(8));
        break;
    default:
        packet->offload = (struct vdp_offload){draw(2), draw(100), draw(20), draw(6), draw(3000), draw(200)};
    }
}

static void make_packet(struct packet *packet, uint32_t port, uint32_t kind)
{
    uint32_t at = ip_offset(port), front = at;
    bool is_super = !draw(40);
    uint32_t size = is_super ? 1000 + draw(15000) : draw(8) ? 100 : draw(1400);

    memset(packet->meta, 0, sizeof packet->meta);
    memset(&packet->offload, 0, sizeof packet->offload);
    memcpy(packet->bytes, HEADERS, at);
    if (kind == DECAPSULATE) {
        memset(packet->bytes + at + 20, 0, 4);
        packet->bytes[at + 22] = 8;
        front += 24;
    }
    packet->length = front + tcp(packet->bytes + front, size, is_super, &packet->offload);
    if (kind == DECAPSULATE)
        ipv4(packet->bytes + at, packet->length - at, 47, true);
    if (packet->offload.needs_csum) {
        packet->offload.csum_start += front;
        packet->offload.header_size += packet->offload.gso_type ? front : 0;
    }
    if (!draw(BROKEN_ONE_IN))
        spoil(packet);
    set_register(packet->meta, VDP_META_REG, kind);
    set_register(packet->meta, VDP_META_REG + 1, kind == UNKNOWN ? draw(1024) : 0);
}

static void send_one(struct packet *packet, uint32_t port, uint32_t kind)
{
    make_packet(packet, port, kind);
    if (draw(500)) {
        if (vdp_memory_inject(engine, port, packet->bytes, packet->length, packet->meta, &packet->offload) < 0)
            fail("a packet was not injected");
        sent++;
    } else if (kind != UNKNOWN) { /* as the control side's own */
        struct vdp_action actions[MOST_ACTIONS];
        struct vdp_program program = {actions, make_program(kind, ip_offset(port), actions), HEADERS, sizeof HEADERS};
        (void)vdp_packet_execute(engine, 0, port, packet->bytes, packet->length, packet->meta, &program);
    }
}

/* Some of one kind, as in a flow. */
static void send_run(uint64_t most)
{
    static const int sources[] = {WIRE, WIRE, WIRE, INNER, INNER, PLAIN, FLAP};
    static struct packet packet;
    uint32_t port = ports[sources[draw(7)]], kind = draw(KINDS + 1);

    for (uint32_t run = 1 + draw(draw(20) ? 40 : 400); run && sent < most; run--)
        send_one(&packet, port, kind);
}

/* What the control side and the receiver do. */

static void answer(const struct vdp_upcall *upcall)
{
    struct vdp_action actions[MOST_ACTIONS];
    struct vdp_match match = match_kind(upcall->in_port, UNKNOWN);
    struct vdp_resolution resolution = {.token = upcall->token, .match = &match, .reason = VDP_REASON_no_route};
    bool is_miss = upcall->reason == VDP_UPCALL_MISS;
    uint32_t count = make_program(draw(KINDS), ip_offset(upcall->in_port), actions);

    set_register(match.meta_mask, VDP_META_REG + 1, UINT32_MAX);
    memcpy(match.meta_value, upcall->meta, VDP_META_SIZE);
    for (int i = 0; i < VDP_META_SIZE; i++)
        match.meta_value[i] &= match.meta_mask[i];
    resolution.program = (struct vdp_program){actions, count, HEADERS, sizeof HEADERS};
    resolution.kind = is_miss ? draw(5) : (uint32_t)VDP_RESOLVE_CONSUME;
    if (vdp_upcall_resolve(engine, 0, &resolution, 1) < 0)
        fail("an upcall was not resolved");
    consumed += resolution.kind == VDP_RESOLVE_CONSUME;
}

static void answer_upcalls(int most)
{
    struct vdp_upcall upcalls[64];
    int count = vdp_upcall_take(engine, 0, upcalls, (uint32_t)most);

    for (int i = 0; i < count; i++)
        answer(&upcalls[i]);
}

static bool collect(int port)
{
    static uint8_t bytes[VDP_MAX_LENGTH];
    int length = vdp_memory_collect(engine, ports[port], bytes, sizeof bytes, NULL, NULL);

    if (length < 0)
        return false;
    taken++;
    taken_bytes += (uint64_t)length;
    return true;
}

static void turn(uint64_t round)
{
    uint64_t expired[128];

    vdp_engine_set_clock(engine, clock_ns += 20000);
    vdp_engine_poll(engine);
    for (int i = 0; i < MEMORY_PORTS; i++)
        if (i != SLOW || round % 64 == 0)
            while (collect(i))
                continue;
    if (round % 4 == 0)
        answer_upcalls(64);
    if (round % 64 == 0) {
        (void)vdp_port_set_up(engine, ports[FLAP], draw(3) != 0);
        (void)vdp_flow_expire(engine, 0, SECOND, 100, expired, 128);
    }
}

static void settle(void)
{
    int quiet = 0;

    vdp_port_set_up(engine, ports[FLAP], 1);
    for (int rounds = 0; quiet < 4; rounds++) {
        int moved = vdp_engine_poll(engine);
        uint64_t before = taken + consumed;
        answer_upcalls(64);
        for (int i = 0; i < MEMORY_PORTS; i++)
            while (collect(i))
                continue;
        quiet = moved || taken + consumed != before ? 0 : quiet + 1;
        if (rounds > 1000000)
            fail("packets are still there");
    }
}

/* The books. */

static void equal(const char *what, const char *name, uint64_t one, uint64_t other)
{
    looked_at++;
    if (one == other)
        return;
    difference += one > other ? one - other : other - one;
    fprintf(stderr, "books: %s %s: %" PRIu64 " and %" PRIu64 "\n", name, what, one, other);
}

static struct vdp_port_stats sum(uint64_t *reasons)
{
    struct vdp_port_stats all = {0}, s;
    uint64_t drops[VDP_MAX_REASONS];

    for (int i = 0; i < PORTS; i++) {
        const char *name = CONFIGS[i].name;
        const bool is_cell = i >= MEMORY_PORTS;
        uint64_t lost = 0;

        vdp_port_read(engine, ports[i], &s);
        vdp_port_drops(engine, ports[i], drops, VDP_MAX_REASONS);
        for (int j = 0; j < VDP_MAX_REASONS; j++)
            lost += drops[j], reasons[j] += drops[j];
        equal("came in, and what became of it", name, s.rx_packets + s.injected + s.cloned + s.segmented,
              s.forwarded + s.dropped + s.consumed + s.held);
        equal("offered, and what became of it", name, s.offered,
              (is_cell ? s.rx_packets + s.merged : s.tx_packets) + s.tx_dropped + s.tx_queued);
        equal("dropped, and the reasons", name, s.dropped + s.tx_dropped, lost);
        if (!is_cell)
            all.rx_packets += s.rx_packets, all.tx_packets += s.tx_packets, all.tx_bytes += s.tx_bytes;
        all.injected += s.injected, all.cloned += s.cloned, all.segmented += s.segmented;
        all.forwarded += s.forwarded, all.offered += s.offered, all.merged += s.merged;
        all.dropped += s.dropped, all.tx_dropped += s.tx_dropped;
        all.consumed += s.consumed, all.held += s.held, all.tx_queued += s.tx_queued;
    }
    return all;
}

/* Of each port and of all together, at any time; what was sent and taken, once all is settled. */
static struct vdp_port_stats look(uint64_t *reasons, bool is_settled)
{
    struct vdp_worker_stats worker;

    memset(reasons, 0, VDP_MAX_REASONS * sizeof *reasons);
    struct vdp_port_stats all = sum(reasons);
    vdp_worker_read(engine, 0, &worker);
    equal("forwarded and offered", "all", all.forwarded, all.offered);
    equal("lookups and results", "all", worker.lookups,
          worker.previous_hits + worker.table_hits + worker.misses);
    equal("consumed and asked to be", "all", all.consumed, consumed);
    equal("came in, and what became of it", "all", all.rx_packets + all.injected + all.cloned + all.segmented,
          all.tx_packets + all.merged + all.dropped + all.tx_dropped + all.consumed + all.held + all.tx_queued);
    if (is_settled) {
        equal("sent and received", "all", sent, all.rx_packets);
        equal("transmitted and taken", "all", all.tx_packets, taken);
        equal("bytes transmitted and taken", "all", all.tx_bytes, taken_bytes);
        equal("held or queued, and nothing", "all", all.held + all.tx_queued, 0);
    }
    return all;
}

static void show(const struct vdp_port_stats *all, const uint64_t *reasons, double seconds)
{
    printf("{\"packets\": %" PRIu64 ", \"injected\": %" PRIu64 ", \"cloned\": %" PRIu64
           ", \"segmented\": %" PRIu64 ", \"merged\": %" PRIu64 ", \"forwarded\": %" PRIu64
           ", \"transmitted\": %" PRIu64 ", \"consumed\": %" PRIu64 ", \"dropped\": %" PRIu64
           ", \"equations\": %" PRIu64 ", \"difference\": %" PRIu64 ", \"seconds\": %.1f, \"reasons\": {",
           sent, all->injected, all->cloned, all->segmented, all->merged, all->forwarded, all->tx_packets,
           all->consumed, all->dropped + all->tx_dropped, looked_at, difference, seconds);
    const char *comma = "";
    for (uint32_t i = 0; i < VDP_REASON_COUNT; i++)
        if (reasons[i]) {
            printf("%s\"%s\": %" PRIu64, comma, vdp_reason_name(i), reasons[i]);
            comma = ", ";
        }
    printf("}}\n");
}

int main(int count, char **words)
{
    uint64_t reasons[VDP_MAX_REASONS];
    struct vdp_worker_stats worker;
    struct timespec from, to;

    if (count != 3)
        fail("PACKETS SEED");
    uint64_t packets = strtoull(words[1], NULL, 10), looked = 0, round = 0;
    seed = strtoull(words[2], NULL, 10) * 2 + 1;
    clock_gettime(CLOCK_MONOTONIC, &from);
    begin();
    while (sent < packets) {
        for (uint32_t runs = 1 + draw(4); runs; runs--)
            send_run(packets);
        turn(round++);
        if (sent / LOOK_EVERY > looked) {
            looked = sent / LOOK_EVERY;
            (void)look(reasons, false);
        }
    }
    settle();
    struct vdp_port_stats all = look(reasons, true);
    clock_gettime(CLOCK_MONOTONIC, &to);
    for (int i = 0; i < PORTS; i++)
        vdp_port_remove(engine, ports[i]);
    vdp_worker_read(engine, 0, &worker);
    equal("packets of the pool, and those that are free", "all", worker.packets_total, worker.packets_free);
    vdp_engine_free(engine);
    show(&all, reasons, (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9);
    return difference != 0;
}
