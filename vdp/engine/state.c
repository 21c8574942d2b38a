/* States: counters of what is sent, and memories of what was received.
 *
 * A state is one cell of 64 bits for all workers.  Cells come in chunks that never move,
 * published before the id is handed out.  A window is a ring of slots beside its cell.
 *
 * Nothing here locks.  Of several workers with the same number exactly one passes: the
 * cell only grows, a number ahead of it moves it first and then takes its slot, and a
 * slot that holds another number is given up only if, read after it, the cell still has
 * our number inside the window (whoever takes a slot later moved the cell before). */
#include "state.h"
#include "counter.h"
#include "worker.h"

#include <stdlib.h>

struct vdp_state *vdp_state_find(struct vdp_engine *engine, uint32_t id)
{
    struct vdp_state *chunk = NULL;

    if (id < (uint32_t)VDP_COUNTER_CHUNKS * VDP_COUNTER_CHUNK)
        chunk = atomic_load_explicit(&engine->states[id / VDP_COUNTER_CHUNK], memory_order_acquire);
    return chunk ? &chunk[id % VDP_COUNTER_CHUNK] : NULL;
}

uint32_t vdp_state_take(struct vdp_state *state, uint32_t count)
{
    return (uint32_t)atomic_fetch_add_explicit(&state->value, count, memory_order_relaxed);
}

bool vdp_state_spend(struct vdp_state *state)
{
    uint64_t value = atomic_load_explicit(&state->value, memory_order_relaxed);

    do {
        if (!(uint32_t)value)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&state->value, &value, value - 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

uint32_t vdp_state_number(struct vdp_state *state)
{
    return (uint32_t)atomic_load_explicit(&state->value, memory_order_relaxed);
}

static _Atomic uint64_t *slot_of(struct vdp_window *window, uint64_t number)
{
    return &window->slots[number & ((UINT64_C(1) << window->bits) - 1)];
}

static bool is_tag(const struct vdp_window *window, uint64_t held, uint64_t number)
{
    return (uint32_t)held && held >> 32 == (uint32_t)(number >> window->bits);
}

enum { SERIAL_BITS = 27 };

static uint32_t stamp_of(const struct vdp_arrival *arrival)
{
    return (arrival->worker + 1) << SERIAL_BITS | (arrival->serial & ((1u << SERIAL_BITS) - 1));
}

/* Take the number's slot; false when it came in before, or the window went on meanwhile and
 * the packet may not be `beyond` it. */
static bool claim(struct vdp_state *state, struct vdp_window *window, uint64_t number,
                  const struct vdp_arrival *arrival, bool beyond)
{
    _Atomic uint64_t *slot = slot_of(window, number);
    uint64_t held = atomic_load_explicit(slot, memory_order_acquire);
    uint64_t mine = number >> window->bits << 32 | stamp_of(arrival);

    do {
        if (is_tag(window, held, number))
            return false;
        uint64_t value = atomic_load_explicit(&state->value, memory_order_acquire);
        if (value - 1 - number > window->size)
            return beyond;
    } while (!atomic_compare_exchange_weak_explicit(slot, &held, mine, memory_order_acq_rel,
                                                    memory_order_acquire));
    return true;
}

/* Did all numbers above this one, up to the newest, come in later, or by other workers? */
static bool was_overtaken(struct vdp_window *window, uint64_t number, uint64_t newest,
                          const struct vdp_arrival *arrival)
{
    uint32_t stamp = stamp_of(arrival);

    while (number++ != newest) { /* it may be below zero, of a state that was written */
        uint64_t held = atomic_load_explicit(slot_of(window, number), memory_order_acquire);
        if (is_tag(window, held, number) && ((uint32_t)held ^ stamp) >> SERIAL_BITS == 0 &&
            (int32_t)(((uint32_t)held - stamp) << (32 - SERIAL_BITS)) < 0)
            return false;
    }
    return true;
}

/* Are only other workers ahead of this one?  Which of its own packets came first a worker
 * knows; where it stands with those of others, nobody does. */
static bool is_apart(struct vdp_window *window, uint64_t number, uint64_t newest,
                     const struct vdp_arrival *arrival)
{
    return arrival->shared && !arrival->waited && newest - number <= VDP_WORKERS_APART &&
           number > atomic_load_explicit(&window->newest[arrival->worker], memory_order_relaxed);
}

static void note_newest(struct vdp_window *window, uint64_t number, const struct vdp_arrival *arrival)
{
    _Atomic uint64_t *newest = &window->newest[arrival->worker];

    if (number > atomic_load_explicit(newest, memory_order_relaxed))
        atomic_store_explicit(newest, number, memory_order_relaxed);
}

/* A number behind: with a window it may still pass. */
static bool pass_late(struct vdp_state *state, struct vdp_window *window, uint64_t number,
                      uint64_t newest, uint32_t rule, const struct vdp_arrival *arrival)
{
    if (!window)
        return false;
    if (is_apart(window, number, newest, arrival)) {
        note_newest(window, number, arrival);
        return claim(state, window, number, arrival, true);
    }
    return newest - number <= window->size &&
           (rule & VDP_SEQUENCE_LATE ||
            (arrival->waited && was_overtaken(window, number, newest, arrival))) &&
           claim(state, window, number, arrival, false);
}

bool vdp_state_pass(struct vdp_state *state, uint32_t sequence, uint32_t rule,
                    const struct vdp_arrival *arrival)
{
    struct vdp_window *window = atomic_load_explicit(&state->window, memory_order_acquire);
    uint64_t value = atomic_load_explicit(&state->value, memory_order_acquire), number;

    do {
        bool any = rule & VDP_SEQUENCE_EXPLICIT ? !(value >> 32) : !(uint32_t)value;
        int32_t ahead = (int32_t)(sequence - (uint32_t)value); /* RFC 2890 2.2 */
        if (any)
            number = (value >> 32 ? value : UINT64_C(1) << 32) + sequence;
        else
            number = value + (uint64_t)(int64_t)ahead;
        if (!any && ahead < 0)
            return pass_late(state, window, number, value - 1, rule, arrival);
    } while (!atomic_compare_exchange_weak_explicit(&state->value, &value, number + 1,
                                                    memory_order_acq_rel, memory_order_acquire));
    if (!window)
        return true;
    note_newest(window, number, arrival);
    return claim(state, window, number, arrival, arrival->shared);
}

/* The state of an id that is in use. */
static struct vdp_state *used(struct vdp_engine *engine, uint32_t id)
{
    return vdp_ids_used(engine->state_ids, id) ? vdp_state_find(engine, id) : NULL;
}

int vdp_state_new(struct vdp_engine *engine, uint32_t initial)
{
    int id = vdp_ids_take(engine->state_ids);

    if (id < 0)
        return id;
    uint32_t chunk = (uint32_t)id / VDP_COUNTER_CHUNK;
    if (!engine->states[chunk]) {
        struct vdp_state *cells = calloc(VDP_COUNTER_CHUNK, sizeof *cells);
        if (!cells) {
            (void)vdp_ids_give(engine->state_ids, (uint32_t)id);
            return -ENOMEM;
        }
        atomic_store_explicit(&engine->states[chunk], cells, memory_order_release);
    }
    atomic_store(&used(engine, (uint32_t)id)->value, initial);
    return id;
}

int vdp_window_new(struct vdp_engine *engine, uint32_t size)
{
    uint32_t bits = 1;

    if (size < 1 || size > VDP_MAX_SEQUENCE_WINDOW)
        return -EINVAL;
    while (1u << bits <= size)
        bits++;
    struct vdp_window *window = calloc(1, sizeof *window + (sizeof window->slots[0] << bits));
    if (!window)
        return -ENOMEM;
    window->size = size;
    window->bits = bits;
    int id = vdp_state_new(engine, 0);
    if (id < 0)
        free(window);
    else
        atomic_store(&used(engine, (uint32_t)id)->window, window);
    return id;
}

static int nothing(struct vdp_worker *worker, void *argument)
{
    (void)worker;
    (void)argument;
    return 0;
}

int vdp_state_free(struct vdp_engine *engine, uint32_t id)
{
    struct vdp_state *state = used(engine, id);

    if (!state)
        return -ENOENT;
    struct vdp_window *window = atomic_exchange(&state->window, NULL);
    /* Each worker has been between two batches then, and looks at it no more. */
    for (uint32_t w = 0; window && engine->started && w < engine->config.workers; w++)
        (void)vdp_worker_call(&engine->workers[w], nothing, NULL);
    free(window);
    return vdp_ids_give(engine->state_ids, id);
}

int vdp_state_read(struct vdp_engine *engine, uint32_t id, uint32_t *number)
{
    struct vdp_state *state = used(engine, id);

    if (!state)
        return -ENOENT;
    *number = vdp_state_number(state);
    return 0;
}

int vdp_state_write(struct vdp_engine *engine, uint32_t id, uint32_t number)
{
    struct vdp_state *state = used(engine, id);

    if (!state)
        return -ENOENT;
    struct vdp_window *window = atomic_load(&state->window);
    for (uint32_t i = 0; window && i < 1u << window->bits; i++)
        atomic_store(&window->slots[i], 0);
    for (uint32_t i = 0; window && i < VDP_MAX_WORKERS; i++)
        atomic_store(&window->newest[i], 0);
    atomic_store(&state->value, number);
    return 0;
}

/* A window of its own with the same content; NULL without one, or without memory. */
static struct vdp_window *copy_of(struct vdp_window *window)
{
    struct vdp_window *copy = NULL;

    if (window)
        copy = calloc(1, sizeof *copy + (sizeof copy->slots[0] << window->bits));
    if (!copy)
        return NULL;
    copy->size = window->size;
    copy->bits = window->bits;
    for (uint32_t i = 0; i < 1u << window->bits; i++)
        atomic_store(&copy->slots[i], atomic_load(&window->slots[i]));
    for (uint32_t i = 0; i < VDP_MAX_WORKERS; i++)
        atomic_store(&copy->newest[i], atomic_load(&window->newest[i]));
    return copy;
}

struct question {
    struct vdp_state state; /* a copy */
    uint32_t sequence, rule;
    bool waited;
};

/* On worker 0, between two of its batches: its next packet would have the next serial number. */
static int judge(struct vdp_worker *worker, void *argument)
{
    struct question *question = argument;
    struct vdp_arrival arrival = {.worker = 0,
                                  .serial = worker->serial + 1,
                                  .waited = question->waited,
                                  .shared = worker->engine->config.workers > 1};

    return vdp_state_pass(&question->state, question->sequence, question->rule, &arrival);
}

int vdp_state_judge(struct vdp_engine *engine, uint32_t id, uint32_t sequence, uint32_t rule, int waited)
{
    struct vdp_state *state = used(engine, id);

    if (!state)
        return -ENOENT;
    struct vdp_window *window = atomic_load(&state->window);
    struct question question = {.sequence = sequence, .rule = rule, .waited = waited != 0};
    atomic_store(&question.state.value, atomic_load(&state->value));
    struct vdp_window *copy = copy_of(window);
    if (window && !copy)
        return -ENOMEM;
    atomic_store(&question.state.window, copy);
    int passes = vdp_worker_call(&engine->workers[0], judge, &question);
    free(copy);
    return passes;
}

void vdp_states_close(struct vdp_engine *engine)
{
    for (uint32_t chunk = 0; chunk < VDP_COUNTER_CHUNKS; chunk++) {
        struct vdp_state *cells = engine->states[chunk];
        for (uint32_t i = 0; cells && i < VDP_COUNTER_CHUNK; i++)
            free(cells[i].window);
        free(cells);
    }
}
