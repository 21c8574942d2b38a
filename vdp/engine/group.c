/* Groups: a packet goes to many ports, to some of them at a time.
 *
 *   GROUP ─► the worker's line ─► a turn: VDP_BATCH copies, each an OUTPUT ─► what else there
 *                     ▲                                                     is to do ─┐
 *                     └───────────────────────────────────────────────────────────────┘
 *
 * A program can clone a packet some tens of times.  A broadcast in a bridge of thousands of
 * ports is more packets than the pool has, and more work than other packets should wait for:
 * so it waits in line, and each iteration of the worker makes some copies of the first in it.
 * Where these miss (a port that nothing was flooded to yet) and wait for the slow path, the
 * line waits until less than a quarter of the pool does. */
#include "group.h"
#include "flow.h"
#include "worker.h"

#include <stdlib.h>

struct vdp_group {
    uint32_t count;
    uint32_t ports[];
};

/* A packet on its way to the ports of a group from the one at `next` on. */
struct flood {
    struct vdp_packet *packet;
    uint32_t group, besides, next;
};

/* A ring. */
struct vdp_group_line {
    uint32_t first, count;
    struct flood floods[VDP_MAX_GROUP_LINE];
};

static struct flood *flood_at(struct vdp_group_line *line, uint32_t i)
{
    return &line->floods[(line->first + i) % VDP_MAX_GROUP_LINE];
}

static void set_held(struct vdp_worker *worker, const struct vdp_packet *packet, bool held)
{
    struct vdp_queue *origin = vdp_worker_queue(worker, packet->in_port);

    if (origin && held)
        vdp_stat_add(&origin->stats.held, 1);
    else if (origin)
        vdp_stat_sub(&origin->stats.held, 1);
}

void vdp_group_enter(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t group,
                     uint32_t besides)
{
    if (!worker->group_line)
        worker->group_line = calloc(1, sizeof *worker->group_line);
    struct vdp_group_line *line = worker->group_line;
    if (!line || line->count == VDP_MAX_GROUP_LINE || line->count >= worker->packet_count / 8) {
        vdp_packet_drop(worker, packet, VDP_REASON_group_queue_full);
        return;
    }
    *flood_at(line, line->count++) = (struct flood){packet, group, besides, 0};
    set_held(worker, packet, true);
}

/* Move on to the flood's next port: 0 when it has been to all of them. */
static uint32_t next_port(const struct vdp_group *group, struct flood *flood)
{
    while (group && flood->next < group->count) {
        uint32_t port = group->ports[flood->next++];
        if (port != flood->besides)
            return port;
    }
    return 0;
}

static void output_copy(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t port)
{
    struct vdp_queue *origin = vdp_worker_queue(worker, packet->in_port);
    struct vdp_packet *copied = vdp_packet_copy(worker, packet);

    if (origin)
        vdp_stat_add(&origin->stats.cloned, 1);
    if (copied) {
        vdp_execute_output(worker, copied, port);
    } else if (origin) {
        vdp_stat_add(&origin->stats.dropped, 1);
        vdp_queue_count_drop(origin, packet, VDP_REASON_no_buffer);
    }
}

/* One port of the flood; the packet itself goes to the last one.  False when it is gone. */
static bool flood_one(struct vdp_worker *worker, struct flood *flood)
{
    const struct vdp_group *group = NULL;
    struct vdp_packet *packet = flood->packet;

    if (flood->group - 1 < VDP_MAX_GROUPS)
        group = atomic_load_explicit(&worker->engine->groups[flood->group - 1], memory_order_acquire);
    uint32_t port = next_port(group, flood);
    struct flood ahead = *flood;
    if (next_port(group, &ahead)) {
        output_copy(worker, packet, port);
        return true;
    }
    set_held(worker, packet, false);
    vdp_execute_output(worker, packet, port); /* 0, no port: the group is empty */
    return false;
}

/* Others need what is left of the pool.  Ports that stand still leave a quarter of it
 * (vdp_queue_offer), and the line half of that: so they alone do not stop it. */
static bool is_crowded(const struct vdp_worker *worker)
{
    bool is_blocked = atomic_load_explicit(&worker->blocked, memory_order_relaxed) > 0;

    return worker->held >= worker->packet_count / 4 ||
           (is_blocked && worker->free_count < worker->packet_count / 16);
}

bool vdp_group_is_due(const struct vdp_worker *worker)
{
    return worker->group_line && worker->group_line->count && !is_crowded(worker);
}

uint32_t vdp_group_turn(struct vdp_worker *worker)
{
    struct vdp_group_line *line = worker->group_line;
    uint32_t made = 0;

    while (made < VDP_BATCH && vdp_group_is_due(worker) && (worker->free_count || !made)) {
        made++;
        if (!flood_one(worker, flood_at(line, 0))) {
            line->first = (line->first + 1) % VDP_MAX_GROUP_LINE;
            line->count--;
        }
    }
    return made;
}

void vdp_group_forget(struct vdp_worker *worker, uint32_t in_port)
{
    struct vdp_group_line *line = worker->group_line;
    uint32_t kept = 0, count = line ? line->count : 0;

    for (uint32_t i = 0; i < count; i++) {
        struct flood flood = *flood_at(line, i);
        if (flood.packet->in_port == in_port) {
            set_held(worker, flood.packet, false);
            vdp_packet_drop(worker, flood.packet, VDP_REASON_shutdown);
        } else {
            *flood_at(line, kept++) = flood;
        }
    }
    if (line)
        line->count = kept;
}

/* ---- the calls of engine.h ---- */

static struct vdp_group *group_of(const uint32_t *ports, uint32_t count)
{
    struct vdp_group *group = malloc(sizeof *group + count * sizeof *ports);

    if (!group)
        return NULL;
    group->count = count;
    if (count)
        memcpy(group->ports, ports, count * sizeof *ports);
    return group;
}

/* On each worker, which looks at no group then: what is on its way to a group that was freed goes
 * to none, and not to who gets its number next. */
static int leave(struct vdp_worker *worker, void *argument)
{
    const struct vdp_engine *engine = worker->engine;
    const uint32_t *group = argument;
    struct vdp_group_line *line = worker->group_line;

    for (uint32_t i = 0; line && !engine->groups[*group - 1] && i < line->count; i++)
        if (flood_at(line, i)->group == *group)
            flood_at(line, i)->group = 0;
    return 0;
}

/* Another one, or NULL, for a group; the one before goes when no worker looks at it. */
static void exchange(struct vdp_engine *engine, uint32_t group, struct vdp_group *other)
{
    struct vdp_group *before = atomic_exchange(&engine->groups[group - 1], other);

    for (uint32_t i = 0; before && i < engine->config.workers; i++)
        (void)vdp_worker_call(&engine->workers[i], leave, &group);
    free(before);
}

static bool is_known(const struct vdp_engine *engine, uint32_t group)
{
    return group - 1 < VDP_MAX_GROUPS && engine->groups[group - 1];
}

int vdp_group_new(struct vdp_engine *engine, const uint32_t *ports, uint32_t count)
{
    uint32_t place = 0;

    while (place < VDP_MAX_GROUPS && engine->groups[place])
        place++;
    if (place == VDP_MAX_GROUPS)
        return -ENOSPC;
    struct vdp_group *made = group_of(ports, count);
    if (!made)
        return -ENOMEM;
    exchange(engine, place + 1, made);
    return (int)place + 1;
}

int vdp_group_write(struct vdp_engine *engine, uint32_t group, const uint32_t *ports, uint32_t count)
{
    if (!is_known(engine, group))
        return -ENOENT;
    struct vdp_group *made = group_of(ports, count);
    if (!made)
        return -ENOMEM;
    exchange(engine, group, made);
    return 0;
}

int vdp_group_free(struct vdp_engine *engine, uint32_t group)
{
    if (!is_known(engine, group))
        return -ENOENT;
    exchange(engine, group, NULL);
    return 0;
}

void vdp_groups_close(struct vdp_engine *engine)
{
    for (uint32_t i = 0; i < VDP_MAX_GROUPS; i++)
        free(engine->groups[i]);
    for (uint32_t i = 0; i < engine->config.workers; i++)
        free(engine->workers[i].group_line);
}
