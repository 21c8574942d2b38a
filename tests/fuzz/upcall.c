/* Target: upcalls: lines, rates, tokens, resolutions; flows that are installed meanwhile.
 * Trust:  hostile packets; tokens of the slow path (local), also such as there never were.
 * Oracle: the packets that wait, by port, in a list: those of a port are taken in order, ports in turn; a
 *         token is good once; rates are kept; nothing is lost without a reason. */
#include "fuzz.h"

enum { PORTS = 3, WAITING = 512, STEPS = 64, RATE = 40, LINE = 24, POOL = 128, SIZE = 24 };
static const uint64_t SECOND = 1000000000u;

static struct vdp_engine *engine;
static uint32_t ports[PORTS];
static uint64_t now, serial;
static uint64_t tokens[WAITING];
static uint32_t taken, misses_in_burst[PORTS];
static uint64_t last_seen[PORTS]; /* the newest serial taken of a port, as long as none went back in line */
static bool is_ordered;

static struct vdp_port_stats stats_of(uint32_t port)
{
    struct vdp_port_stats s;
    LAW(vdp_port_read(engine, port, &s) == 0);
    return s;
}

/* Each has its serial number in it, and behind that what flows ask for. */
static void inject(struct input *in)
{
    uint8_t choice = take8(in), packet[SIZE] = {0};
    uint32_t i = choice % PORTS;
    struct vdp_port_stats before = stats_of(ports[i]);
    for (uint32_t n = 0; n <= (choice >> 4); n++) {
        vdp_store_be32(packet + 8, (uint32_t)++serial);
        packet[4] = choice >> 2 & 3;
        LAW(vdp_memory_inject(engine, ports[i], packet, sizeof packet, NULL, NULL) == 0);
    }
    while (vdp_engine_poll(engine) > 0)
        continue;
    struct vdp_port_stats after = stats_of(ports[i]);
    uint64_t up = after.upcalls - before.upcalls;
    misses_in_burst[i] += (uint32_t)up;
    LAW(misses_in_burst[i] <= RATE); /* since the clock went on */
}

static void take(struct input *in)
{
    struct vdp_upcall upcalls[8];
    uint32_t size = 1 + take8(in) % 8u;
    int count = vdp_upcall_take(engine, 0, upcalls, size);
    LAW(count >= 0 && count <= (int)size);
    for (int n = 0; n < count; n++) {
        uint32_t i = 0;
        while (ports[i] != upcalls[n].in_port)
            i++;
        LAW(upcalls[n].length == SIZE && upcalls[n].reason == VDP_UPCALL_MISS);
        uint64_t number = vdp_load_be32(upcalls[n].data + 8);
        LAW(!is_ordered || number > last_seen[i]);
        last_seen[i] = number;
        for (uint32_t other = 0; other < taken; other++)
            LAW(tokens[other] != upcalls[n].token);
        LAW(taken < WAITING);
        tokens[taken++] = upcalls[n].token;
    }
}

static void resolve(struct input *in)
{
    static const struct vdp_action output = {VDP_OP_DROP, 0, VDP_REASON_policy_rule, 0, 0};
    const struct vdp_program program = {&output, 1, NULL, 0};
    uint8_t choice = take8(in);
    uint32_t at = taken > 0 ? take8(in) % taken : 0;
    bool is_token = taken > 0 && choice < 240;
    struct vdp_match match = {.in_port = ports[choice % PORTS], .min_length = 5, .max_length = 99, .window = 5};
    match.mask[4] = 3;
    match.value[4] = choice >> 2 & 3;
    struct vdp_resolution resolution = {.token = is_token ? tokens[at] : (uint64_t)take32(in) << 32 | take8(in),
                                        .kind = choice >> 4 & 7, .reason = VDP_REASON_policy_rule,
                                        .match = &match, .program = program};
    for (uint32_t i = 0; !is_token && i < taken; i++)
        if (tokens[i] == resolution.token)
            return;
    LAW(vdp_upcall_resolve(engine, 0, &resolution, 1) == 0);
    if (!is_token || resolution.kind > VDP_RESOLVE_CONSUME) {
        LAW(resolution.result == -EINVAL);
        return;
    }
    if (resolution.kind == VDP_RESOLVE_RETRY)
        is_ordered = false; /* it went back in line, last */
    uint64_t used = tokens[at];
    tokens[at] = tokens[--taken];
    struct vdp_resolution again = {.token = used, .kind = VDP_RESOLVE_CONSUME};
    LAW(vdp_upcall_resolve(engine, 0, &again, 1) == 0 && again.result == -EINVAL);
}

static void settle(void)
{
    struct vdp_upcall upcall;
    uint64_t ids[16];
    while (taken > 0 || vdp_upcall_take(engine, 0, &upcall, 1) == 1) {
        uint64_t token = taken > 0 ? tokens[--taken] : upcall.token;
        struct vdp_resolution resolution = {.token = token, .kind = VDP_RESOLVE_CONSUME};
        LAW(vdp_upcall_resolve(engine, 0, &resolution, 1) == 0 && resolution.result == 0);
    }
    while (vdp_flow_expire(engine, 0, 0, 0, ids, 16) > 0)
        continue;
}

static void check(uint32_t held_most)
{
    uint64_t held = 0;
    for (uint32_t i = 0; i < PORTS; i++) {
        struct vdp_port_stats s = stats_of(ports[i]);
        origin_balances(&s);
        output_balances(&s, false);
        held += s.held;
    }
    LAW(held <= held_most && held >= taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input in = {bytes, size};
    if (engine == NULL) {
        struct vdp_engine_config config = {.workers = 1, .packets = POOL, .upcall_queue = LINE, .upcall_rate = RATE};
        LAW(vdp_engine_new(&config, &engine) == 0);
        for (uint32_t i = 0; i < PORTS; i++) {
            struct vdp_port_config port = {.name = "port", .type = VDP_PORT_MEMORY};
            ports[i] = (uint32_t)vdp_port_add(engine, &port);
        }
        now = SECOND;
    }
    now += 3600 * SECOND; /* all tokens are there */
    vdp_engine_set_clock(engine, now);
    serial = 0;
    is_ordered = true;
    memset(last_seen, 0, sizeof last_seen);
    memset(misses_in_burst, 0, sizeof misses_in_burst);
    for (uint32_t i = 0; i < STEPS && in.left > 0; i++) {
        uint8_t step = take8(&in) & 7;
        if (step < 3)
            inject(&in);
        else if (step < 5)
            take(&in);
        else if (step < 7)
            resolve(&in);
        else {
            now += 2 * SECOND;
            vdp_engine_set_clock(engine, now);
            (void)vdp_engine_poll(engine);
            memset(misses_in_burst, 0, sizeof misses_in_burst);
        }
        check(POOL / 2);
    }
    settle();
    check(0);
    struct vdp_worker_stats stats;
    LAW(vdp_worker_read(engine, 0, &stats) == 0 && stats.packets_free == stats.packets_total);
    return 0;
}
