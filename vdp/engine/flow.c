/* The flow table of a worker: install, replace, remove, dump, expire.
 *
 * An id is  serial << 28 | slot << 4 | worker:  positive, and never given twice. */
#include "flow.h"
#include "upcall.h"
#include "worker.h"

#include <stdlib.h>

enum { WORKER_BITS = 4, SLOT_BITS = 24 };

int vdp_flow_table_new(struct vdp_worker *worker)
{
    struct vdp_flow_table *table = calloc(1, sizeof *table);

    worker->flows = table;
    if (!table)
        return -ENOMEM;
    table->size = worker->engine->config.flows;
    table->slots = calloc(table->size, sizeof(struct vdp_flow *));
    table->unused = calloc(table->size, sizeof *table->unused);
    worker->slab = vdp_slab_new();
    table->shared = vdp_shared_new(worker->slab);
    if (!table->slots || !table->unused || !table->shared || !worker->slab)
        return -ENOMEM;
    for (uint32_t i = 0; i < table->size; i++)
        table->unused[i] = table->size - 1 - i;
    return 0;
}

void vdp_flow_table_free(struct vdp_worker *worker)
{
    if (!worker->flows)
        return;
    free(worker->flows->slots);
    free(worker->flows->unused);
    vdp_shared_free(worker->flows->shared);
    free(worker->flows);
    vdp_slab_free(worker->slab);
}

static bool match_holds(const struct vdp_match *match)
{
    if (match->window > VDP_WINDOW || match->min_length > match->max_length)
        return false;
    for (uint32_t i = 0; i < match->window; i++) {
        if (match->value[i] & ~match->mask[i])
            return false;
        if (match->mask[i] && match->min_length <= i)
            return false;
    }
    for (uint32_t i = 0; i < VDP_META_SIZE; i++)
        if (match->meta_value[i] & ~match->meta_mask[i])
            return false;
    return true;
}

int64_t vdp_flow_add(struct vdp_worker *worker, const struct vdp_match *match,
                     struct vdp_compiled *program)
{
    struct vdp_flow_table *table = worker->flows;
    struct vdp_queue *queue = match ? vdp_worker_queue(worker, match->in_port) : NULL;
    const struct vdp_compiled *shared =
        vdp_shared_take(table->shared, program, vdp_compiled_size(program));
    struct vdp_flow *flow = NULL;
    int result;

    free(program);
    if (!shared)
        result = -ENOMEM;
    else if (!match || !match_holds(match))
        result = -EINVAL;
    else if (!queue)
        result = -ENODEV;
    else if (table->count == table->size)
        result = -ENOSPC;
    else
        result = vdp_classifier_insert(worker, queue, match, &flow);
    if (result < 0) {
        vdp_shared_give(table->shared, shared);
        return result;
    }
    uint32_t slot = table->unused[table->size - ++table->count];
    table->slots[slot] = flow;
    flow->slot = slot;
    flow->program = shared;
    flow->stats.id = ++table->serial << (WORKER_BITS + SLOT_BITS) | (uint64_t)slot << WORKER_BITS |
                     worker->index;
    flow->stats.used_ns = worker->now_ns;
    worker->stats.flows = table->count;
    return (int64_t)flow->stats.id;
}

struct vdp_flow *vdp_flow_find(const struct vdp_worker *worker, uint64_t id)
{
    uint64_t slot = id >> WORKER_BITS & ((1u << SLOT_BITS) - 1);
    struct vdp_flow *flow = slot < worker->flows->size ? worker->flows->slots[slot] : NULL;

    return flow && flow->stats.id == id ? flow : NULL;
}

void vdp_flow_run(struct vdp_worker *worker, struct vdp_flow *flow, struct vdp_packet *packet)
{
    flow->stats.packets++;
    flow->stats.bytes += packet->length;
    flow->stats.used_ns = worker->now_ns;
    packet->mark.flow = flow->stats.id;
    vdp_execute(worker, flow->program, packet, 0);
}

static void delete(struct vdp_worker *worker, struct vdp_flow *flow)
{
    struct vdp_flow_table *table = worker->flows;

    table->slots[flow->slot] = NULL;
    table->unused[table->size - table->count--] = flow->slot;
    worker->stats.flows = table->count;
    vdp_classifier_remove(worker, vdp_worker_queue(worker, flow->in_port), flow);
}

void vdp_flow_clear(struct vdp_worker *worker, uint32_t in_port)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, in_port);
    const struct vdp_flow_table *table = worker->flows;

    for (uint32_t i = 0; i < table->size && queue->classifier && queue->classifier->count; i++)
        if (table->slots[i] && table->slots[i]->in_port == in_port)
            delete(worker, table->slots[i]);
    vdp_classifier_free(worker, queue);
}

/* ---- the calls of engine.h: each runs on the worker ---- */

static struct vdp_worker *worker_of(struct vdp_engine *engine, uint32_t worker)
{
    return worker < engine->config.workers ? &engine->workers[worker] : NULL;
}

struct install {
    const struct vdp_match *match;
    struct vdp_compiled *program;
    int64_t result;
};

static int install(struct vdp_worker *worker, void *argument)
{
    struct install *wanted = argument;

    wanted->result = vdp_flow_add(worker, wanted->match, wanted->program);
    if (wanted->result >= 0)
        vdp_upcall_drain(worker, vdp_flow_find(worker, (uint64_t)wanted->result));
    return 0;
}

int64_t vdp_flow_install(struct vdp_engine *engine, uint32_t worker, const struct vdp_match *match,
                         const struct vdp_program *program)
{
    struct install wanted = {.match = match};
    int error;

    if (!worker_of(engine, worker))
        return -ENODEV;
    wanted.program = vdp_program_compile(program, &error);
    if (!wanted.program)
        return error;
    vdp_worker_call(worker_of(engine, worker), install, &wanted);
    return wanted.result;
}

struct replace {
    uint64_t id;
    struct vdp_compiled *program;
};

static int replace(struct vdp_worker *worker, void *argument)
{
    struct replace *wanted = argument;
    struct vdp_flow *flow = vdp_flow_find(worker, wanted->id);

    if (!flow)
        return -ENOENT;
    struct vdp_shared *shared = worker->flows->shared;
    const struct vdp_compiled *program =
        vdp_shared_take(shared, wanted->program, vdp_compiled_size(wanted->program));
    if (!program)
        return -ENOMEM;
    vdp_shared_give(shared, flow->program);
    flow->program = program;
    return 0;
}

int vdp_flow_replace(struct vdp_engine *engine, uint32_t worker, uint64_t id,
                     const struct vdp_program *program)
{
    struct replace wanted = {.id = id};
    int result;

    if (!worker_of(engine, worker))
        return -ENODEV;
    wanted.program = vdp_program_compile(program, &result);
    if (!wanted.program)
        return result;
    result = vdp_worker_call(worker_of(engine, worker), replace, &wanted);
    free(wanted.program);
    return result;
}

struct remove {
    const uint64_t *ids;
    uint32_t count;
};

static int remove_flows(struct vdp_worker *worker, void *argument)
{
    const struct remove *wanted = argument;
    int removed = 0;

    for (uint32_t i = 0; i < wanted->count; i++) {
        struct vdp_flow *flow = vdp_flow_find(worker, wanted->ids[i]);
        if (flow) {
            delete(worker, flow);
            removed++;
        }
    }
    return removed;
}

int vdp_flow_remove(struct vdp_engine *engine, uint32_t worker, const uint64_t *ids, uint32_t count)
{
    struct remove wanted = {ids, count};

    if (!worker_of(engine, worker))
        return -ENODEV;
    return vdp_worker_call(worker_of(engine, worker), remove_flows, &wanted);
}

struct dump {
    struct vdp_flow_stats *stats;
    uint32_t size;
};

static int dump(struct vdp_worker *worker, void *argument)
{
    const struct dump *wanted = argument;
    const struct vdp_flow_table *table = worker->flows;
    uint32_t count = 0;

    for (uint32_t i = 0; i < table->size && count < table->count && count < wanted->size; i++)
        if (table->slots[i])
            wanted->stats[count++] = table->slots[i]->stats;
    return (int)table->count;
}

int vdp_flow_dump(struct vdp_engine *engine, uint32_t worker, struct vdp_flow_stats *stats,
                  uint32_t size)
{
    struct dump wanted = {stats, size};

    if (!worker_of(engine, worker))
        return -ENODEV;
    return vdp_worker_call(worker_of(engine, worker), dump, &wanted);
}

struct scan {
    uint32_t slot;
    struct vdp_flow_stats *stats;
    uint32_t size;
};

static int scan(struct vdp_worker *worker, void *argument)
{
    struct scan *wanted = argument;
    const struct vdp_flow_table *table = worker->flows;
    uint32_t count = 0, left = wanted->size;

    for (; wanted->slot < table->size && left; wanted->slot++, left--)
        if (table->slots[wanted->slot])
            wanted->stats[count++] = table->slots[wanted->slot]->stats;
    if (wanted->slot >= table->size)
        wanted->slot = 0;
    return (int)count;
}

int vdp_flow_scan(struct vdp_engine *engine, uint32_t worker, uint32_t *slot,
                  struct vdp_flow_stats *stats, uint32_t size)
{
    struct scan wanted = {*slot, stats, size};

    if (!worker_of(engine, worker))
        return -ENODEV;
    if (!size)
        return -EINVAL;
    int result = vdp_worker_call(worker_of(engine, worker), scan, &wanted);
    *slot = wanted.slot;
    return result;
}

struct expire {
    uint64_t idle_ns;
    uint32_t keep;
    uint64_t *ids;
    uint32_t size, count;
};

static void expire_one(struct vdp_worker *worker, struct expire *wanted, struct vdp_flow *flow)
{
    wanted->ids[wanted->count++] = flow->stats.id;
    delete(worker, flow);
}

static void expire_idle(struct vdp_worker *worker, struct expire *wanted)
{
    const struct vdp_flow_table *table = worker->flows;

    for (uint32_t i = 0; i < table->size && wanted->count < wanted->size; i++) {
        struct vdp_flow *flow = table->slots[i];
        /* A clock that was set back makes no flow old. */
        if (flow && worker->now_ns >= flow->stats.used_ns &&
            worker->now_ns - flow->stats.used_ns >= wanted->idle_ns)
            expire_one(worker, wanted, flow);
    }
}

static int by_use(const void *a, const void *b)
{
    const struct vdp_flow *const *one = a, *const *other = b;
    uint64_t x = (*one)->stats.used_ns, y = (*other)->stats.used_ns;

    if (x != y)
        return x < y ? -1 : 1;
    return (*one)->stats.id < (*other)->stats.id ? -1 : 1;
}

static int expire_surplus(struct vdp_worker *worker, struct expire *wanted)
{
    const struct vdp_flow_table *table = worker->flows;
    struct vdp_flow **oldest = calloc(table->count, sizeof *oldest);
    uint32_t count = 0, surplus = table->count - wanted->keep;

    if (!oldest)
        return -ENOMEM;
    for (uint32_t i = 0; i < table->size; i++)
        if (table->slots[i])
            oldest[count++] = table->slots[i];
    qsort(oldest, count, sizeof(struct vdp_flow *), by_use);
    for (uint32_t i = 0; i < surplus && wanted->count < wanted->size; i++)
        expire_one(worker, wanted, oldest[i]);
    free(oldest);
    return 0;
}

static int expire(struct vdp_worker *worker, void *argument)
{
    struct expire *wanted = argument;
    int result = 0;

    expire_idle(worker, wanted);
    if (worker->flows->count > wanted->keep && wanted->count < wanted->size)
        result = expire_surplus(worker, wanted);
    return result < 0 ? result : (int)wanted->count;
}

int vdp_flow_expire(struct vdp_engine *engine, uint32_t worker, uint64_t idle_ns, uint32_t keep,
                    uint64_t *ids, uint32_t size)
{
    struct expire wanted = {idle_ns, keep, ids, size, 0};

    if (!worker_of(engine, worker))
        return -ENODEV;
    return vdp_worker_call(worker_of(engine, worker), expire, &wanted);
}
