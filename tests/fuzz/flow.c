/* Target: the flow table and its classifier: install, replace, remove, expire, scan, lookups of batches.
 * Trust:  hostile packets; matches as guards of handlers make them (local).
 * Oracle: a list of flows looked through from its begin: a packet has a flow exactly if some flow in
 *         the list takes it, and that one does take it. */
#include "frames.h"

enum { FLOWS = 24, STEPS = 40, PORTS = 2, BATCH = 8, WINDOW = 64 };

struct entry {
    uint64_t id;
    struct vdp_match match;
};

static struct vdp_engine *engine;
static uint32_t ports[PORTS];
static struct entry list[FLOWS + 1];
static uint32_t count;

static bool takes(const struct vdp_match *match, const struct vdp_packet *packet)
{
    if (packet->in_port != match->in_port || packet->length < match->min_length ||
        packet->length > match->max_length)
        return false;
    for (uint32_t i = 0; i < VDP_META_SIZE; i++)
        if ((packet->meta[i] & match->meta_mask[i]) != match->meta_value[i])
            return false;
    for (uint32_t i = 0; i < match->window; i++)
        if (match->mask[i] != 0 && (packet->data[i] & match->mask[i]) != match->value[i])
            return false;
    return true;
}

/* A few bytes of a few values, so that matches overlap and repeat. */
static struct vdp_match take_match(struct input *in)
{
    uint8_t choice = take8(in);
    struct vdp_match match = {.in_port = ports[choice & 1], .max_length = choice & 2 ? 32u + take8(in) % 4 : 9999,
                              .window = choice & 4 ? 9u : 1u + take8(in) % WINDOW};
    for (unsigned i = choice >> 4 & 3; i > 0; i--) {
        uint32_t at = take8(in) % match.window;
        match.mask[at] = (uint8_t)(choice & 8 ? 0xffu : 1u << (take8(in) & 7));
        match.value[at] = (uint8_t)(match.mask[at] & take8(in) & 3);
        if (match.min_length < at + 1)
            match.min_length = at + 1;
    }
    if (choice & 64) {
        match.meta_mask[8] = 3;
        match.meta_value[8] = take8(in) & 3;
    }
    if (choice == 255) /* one that says nothing */
        match.value[take8(in) % WINDOW] |= 4;
    return match;
}

static bool is_sound(const struct vdp_match *match)
{
    if (match->min_length > match->max_length)
        return false;
    for (uint32_t i = 0; i < match->window; i++)
        if ((match->value[i] & ~match->mask[i]) != 0 || (match->mask[i] != 0 && match->min_length <= i))
            return false;
    return true;
}

static bool same_match(const struct vdp_match *one, const struct vdp_match *other)
{
    struct vdp_match a = *one, b = *other;
    memset(a.mask + a.window, 0, VDP_WINDOW - a.window);
    memset(b.mask + b.window, 0, VDP_WINDOW - b.window);
    memset(a.value + a.window, 0, VDP_WINDOW - a.window);
    memset(b.value + b.window, 0, VDP_WINDOW - b.window);
    a.window = b.window = 0;
    return memcmp(&a, &b, sizeof a) == 0;
}

static void install(struct input *in, const struct vdp_program *program)
{
    struct vdp_match match = take_match(in);
    bool is_there = false;
    for (uint32_t i = 0; i < count; i++)
        is_there = is_there || same_match(&list[i].match, &match);
    int64_t id = vdp_flow_install(engine, 0, &match, program);
    if (!is_sound(&match))
        LAW(id == -EINVAL);
    else if (count == FLOWS)
        LAW(id == -ENOSPC);
    else if (is_there)
        LAW(id == -EEXIST);
    else
        LAW(id >= 0 || id == -E2BIG); /* masks are bounded */
    if (id >= 0)
        list[count++] = (struct entry){(uint64_t)id, match};
}

static void forget(uint64_t id)
{
    uint32_t i = 0;
    while (i < count && list[i].id != id)
        i++;
    LAW(i < count);
    list[i] = list[--count];
}

static void change(struct input *in, uint8_t way, const struct vdp_program *program)
{
    uint64_t ids[FLOWS], id = count > 0 ? list[take8(in) % count].id : 0;
    if (take8(in) < 16)
        id = take32(in); /* mostly one that there never was */
    bool is_known = false;
    for (uint32_t i = 0; i < count; i++)
        is_known = is_known || list[i].id == id;
    if (way == 0) {
        LAW(vdp_flow_remove(engine, 0, &id, 1) == is_known);
        if (is_known)
            forget(id);
        LAW(vdp_flow_remove(engine, 0, &id, 1) == 0);
    } else if (way == 1) {
        LAW(vdp_flow_replace(engine, 0, id, program) == (is_known ? 0 : -ENOENT));
    } else {
        uint32_t keep = take8(in) % FLOWS;
        vdp_engine_set_clock(engine, vdp_engine_clock(engine) + take8(in));
        int gone = vdp_flow_expire(engine, 0, take8(in), keep, ids, FLOWS);
        LAW(gone >= 0);
        for (int i = 0; i < gone; i++)
            forget(ids[i]);
        LAW(count <= keep);
    }
}

/* A batch of packets that end where their memory does. */
static void look_up(struct input *in)
{
    static struct vdp_packet packets[BATCH];
    struct vdp_packet *batch[BATCH];
    struct vdp_flow *flows[BATCH];
    uint8_t *memory[BATCH];
    uint32_t size = 1 + take8(in) % BATCH;
    for (uint32_t i = 0; i < size; i++) {
        uint8_t choice = take8(in);
        uint32_t length = choice & 2 ? 30u + take8(in) % 8 : take8(in) % 80u;
        memory[i] = malloc(length + 8u); /* the classifier may load 7 bytes past the end */
        LAW(memory[i] != NULL);
        packets[i] = (struct vdp_packet){.data = memory[i], .length = length, .in_port = ports[choice & 1]};
        for (uint32_t at = 0; at < length; at++)
            memory[i][at] = at < 12 && choice & 4 ? take8(in) & 3 : choice >> 6;
        memset(memory[i] + length, 0xee, 8);
        packets[i].meta[8] = choice >> 3 & 3;
        batch[i] = &packets[i];
    }
    vdp_lookup(&engine->workers[0], batch, size, flows);
    for (uint32_t i = 0; i < size; i++) {
        bool is_taken = false, is_ours = false;
        for (uint32_t n = 0; n < count; n++)
            if (takes(&list[n].match, &packets[i])) {
                is_taken = true;
                is_ours = is_ours || (flows[i] != NULL && flows[i]->stats.id == list[n].id);
            }
        LAW(is_taken == (flows[i] != NULL));
        LAW(is_ours == is_taken);
        free(memory[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const struct vdp_action drop = {VDP_OP_DROP, 0, 5, 0, 0};
    const struct vdp_program program = {&drop, 1, NULL, 0};
    struct input in = {bytes, size};
    struct vdp_worker_stats stats;

    if (engine == NULL) {
        struct vdp_engine_config config = {.workers = 1, .packets = 16, .flows = FLOWS, .masks = 6, .port_masks = 5};
        LAW(vdp_engine_new(&config, &engine) == 0);
        for (uint32_t i = 0; i < PORTS; i++) {
            struct vdp_port_config port = {.name = "port", .type = VDP_PORT_MEMORY};
            ports[i] = (uint32_t)vdp_port_add(engine, &port);
        }
    }
    vdp_engine_set_clock(engine, 1000);
    for (uint32_t i = 0; i < STEPS && in.left > 0; i++) {
        uint8_t step = take8(&in) % 10;
        if (step < 4)
            install(&in, &program);
        else if (step < 7)
            change(&in, step - 4, &program);
        else
            look_up(&in);
        LAW(vdp_worker_read(engine, 0, &stats) == 0 && stats.flows == count);
    }
    while (count > 0) {
        LAW(vdp_flow_remove(engine, 0, &list[0].id, 1) == 1);
        forget(list[0].id);
    }
    LAW(vdp_worker_read(engine, 0, &stats) == 0 && stats.masks == 0 && stats.different_masks == 0);
    return 0;
}
