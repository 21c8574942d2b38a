/* Target: taps: vdp_tap_open, records in rings, vdp_tap_read, vdp_tap_losses; filters on their way.
 * Trust:  local: captures are opened by the control socket's clients; packets are hostile.
 * Oracle: records are whole and say what the port's statistics say: of each packet received one is read or
 *         counted as lost, its bytes are the first `snap` of those injected. */
#include "frames.h"

enum { PACKETS = 24, TAPS = 3, LOSSES = 80 };

struct look {
    int id;
    struct vdp_tap_config config;
    bool sees_all; /* received packets, none filtered */
    uint64_t seen;
};

static struct vdp_engine *engine;
static uint32_t ports[2];
static uint8_t room[1 << 18];

static void open_tap(struct input *in, struct look *look)
{
    uint8_t choice = take8(in);
    struct vdp_tap_instruction filter[4] = {
        {0x30, 0, 0, take8(in)}, {0x15, 0, 1, take8(in)}, {0x06, 0, 0, 1}, {0x06, 0, 0, 0}};
    bool is_filtered = (choice & 0xc0) == 0xc0;
    *look = (struct look){.config = {.points = choice & 1 ? VDP_TAP_ALL : 1u + take8(in) % 70u,
                                     .follow = choice >> 1 & 1,
                                     .most = choice & 4 ? take8(in) : 0,
                                     .snap = choice & 8 ? take8(in) : 65536,
                                     .ring_bytes = choice & 16 ? take32(in) : 0,
                                     .port = choice & 32 ? ports[choice & 1] : 0}};
    for (uint32_t type = 0; is_filtered && type < 2; type++) {
        look->config.filter_count[type] = take8(in) % 5u;
        look->config.filter[type] = filter;
    }
    look->id = vdp_tap_open(engine, &look->config);
    if (look->id < 0)
        LAW(look->id == -EINVAL || look->id == -ENOMEM);
    look->sees_all = look->id > 0 && look->config.points & VDP_TAP_RX && !is_filtered &&
                     look->config.port == 0 && (!look->config.follow || look->config.most == 0);
}

static void check_record(const struct look *look, const struct vdp_tap_record *record, const uint8_t *bytes,
                         const uint8_t *sent)
{
    LAW((record->point & (record->point - 1)) == 0 && record->point & look->config.points);
    LAW(record->captured == (record->length < look->config.snap ? record->length : look->config.snap));
    LAW(look->config.port == 0 || record->port == look->config.port || look->config.follow);
    LAW(record->worker == 0 && record->packet != 0);
    if (record->point == VDP_TAP_RX)
        LAW(memcmp(bytes, sent, record->captured) == 0);
}

/* Whole records only, in any size of portions. */
static void read_tap(struct look *look, uint32_t size, const uint8_t *sent)
{
    int got;
    while ((got = vdp_tap_read(engine, (uint32_t)look->id, 0, room, size)) > 0) {
        uint32_t at = 0;
        LAW((uint32_t)got <= size);
        while (at < (uint32_t)got) {
            struct vdp_tap_record record;
            LAW(at + sizeof record <= (uint32_t)got);
            memcpy(&record, room + at, sizeof record);
            check_record(look, &record, room + at + sizeof record, sent);
            look->seen += record.point == VDP_TAP_RX;
            at += (uint32_t)sizeof record + (record.captured + 7) / 8 * 8;
        }
        LAW(at == (uint32_t)got);
    }
    LAW(got == 0);
}

static void close_tap(struct look *look, uint64_t received)
{
    struct vdp_tap_loss losses[LOSSES];
    uint64_t lost = 0;
    int count = vdp_tap_losses(engine, (uint32_t)look->id, 0, losses, LOSSES);
    LAW(count >= 0);
    for (int i = 0; i < count; i++)
        lost += losses[i].point == VDP_TAP_RX ? losses[i].packets : 0;
    LAW(!look->sees_all || look->seen + lost == received);
    LAW(look->seen + lost <= received);
    LAW(vdp_tap_close(engine, (uint32_t)look->id) == 0);
    LAW(vdp_tap_close(engine, (uint32_t)look->id) == -ENOENT);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct frame frame;
    static uint8_t sent[VDP_MAX_LENGTH];
    struct input in = {bytes, size};
    struct look looks[TAPS];
    struct vdp_port_stats before, after;
    uint64_t ids[4];

    if (engine == NULL) {
        struct vdp_engine_config config = {.workers = 1, .packets = 128};
        LAW(vdp_engine_new(&config, &engine) == 0);
        for (uint32_t i = 0; i < 2; i++) {
            struct vdp_port_config port = {.name = "port", .type = VDP_PORT_MEMORY, .packet_type = i};
            ports[i] = (uint32_t)vdp_port_add(engine, &port);
        }
    }
    uint32_t count = 1 + take8(&in) % TAPS, packets = take8(&in) % PACKETS, portion = take8(&in);
    portion = (128 << 10) + (portion << 8);
    for (uint32_t i = 0; i < count; i++)
        open_tap(&in, &looks[i]);
    frame_any(&in, &frame);
    const uint32_t port = ports[frame.type];
    const struct vdp_action actions[] = {{VDP_OP_ACCOUNT, 0, 0, 0, 0}, {VDP_OP_CLONE, 0, 3, 0, 0},
                                         {VDP_OP_OUTPUT, 0, port, 0, 0},
                                         {VDP_OP_DROP, 0, take8(&in) % VDP_MAX_REASONS, 0, 0}};
    const struct vdp_program program = {actions, 4, NULL, 0};
    const struct vdp_match match = {.in_port = port, .max_length = VDP_MAX_LENGTH};
    if (take8(&in) & 1)
        (void)vdp_flow_install(engine, 0, &match, &program);
    LAW(vdp_port_read(engine, port, &before) == 0);
    for (uint32_t i = 0; i < packets; i++) {
        LAW(vdp_memory_inject(engine, port, frame.bytes, frame.length, NULL, NULL) == 0);
        if (take8(&in) & 1)
            while (vdp_engine_poll(engine) > 0)
                continue;
    }
    while (vdp_engine_poll(engine) > 0)
        continue;
    LAW(vdp_port_read(engine, port, &after) == 0);
    for (uint32_t i = 0; i < count; i++) {
        if (looks[i].id < 0)
            continue;
        read_tap(&looks[i], portion, frame.bytes);
        close_tap(&looks[i], after.rx_packets - before.rx_packets);
    }
    struct vdp_upcall upcall;
    while (vdp_upcall_take(engine, 0, &upcall, 1) == 1) {
        struct vdp_resolution resolution = {.token = upcall.token, .kind = VDP_RESOLVE_CONSUME};
        (void)vdp_upcall_resolve(engine, 0, &resolution, 1);
    }
    while (vdp_memory_collect(engine, port, sent, sizeof sent, NULL, NULL) >= 0)
        continue;
    while (vdp_flow_expire(engine, 0, 0, 0, ids, 4) > 0)
        continue;
    return 0;
}
