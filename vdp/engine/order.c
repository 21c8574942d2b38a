/* Numbers leave in the order in which they are taken, whichever worker takes them.
 *
 *   worker 0:   take 1, 2, 3 ─► send 1, 2, 3 ─► release
 *   worker 1:                    waits          take 4, 5 ─► send 4, 5 ─► release
 *
 * A flow stays on its worker, but the numbers of a tunnel (SEQUENCE) run through all its
 * flows.  So a state belongs to one worker from the first number that it takes until what
 * it sends has left its queues, as the kernel sends from a GRE device with SEQ under the
 * device's transmit lock (no NETIF_F_LLTX).  Other states, and engines with one worker,
 * pay nothing.
 *
 * A worker that has to wait first sends what it has itself, and gives up its own states: no
 * circle of waiting.  Nor does it wait for ever, but takes the state all the same: an underlay
 * that stands still must not stop everybody.  Numbers may overtake each other then. */
#include "order.h"
#include "worker.h"

#include <sched.h>

/* A worker that is in the middle of a batch goes on as soon as it is run; one whose queue
 * stands still goes on when somebody else lets it. */
enum { PATIENCE_NS = 1000 * 1000 * 1000, PATIENCE_BLOCKED_NS = 1000 * 1000 };

static uint32_t name_of(const struct vdp_worker *worker)
{
    return worker->index + 1;
}

static bool take(struct vdp_state *state, uint32_t name)
{
    uint32_t nobody = 0;

    return atomic_compare_exchange_strong_explicit(&state->holder, &nobody, name, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* Until the state is free, or patience is at its end. */
static void wait_for(struct vdp_worker *worker, struct vdp_state *state)
{
    uint64_t began = vdp_monotonic_ns(), waited = 0;
    uint32_t name = name_of(worker), holder;

    while (!take(state, name)) {
        holder = atomic_load_explicit(&state->holder, memory_order_relaxed);
        bool blocked = holder && atomic_load_explicit(&worker->engine->workers[holder - 1].blocked,
                                                      memory_order_relaxed);
        if (waited > (blocked ? (uint64_t)PATIENCE_BLOCKED_NS : (uint64_t)PATIENCE_NS)) {
            atomic_store_explicit(&state->holder, name, memory_order_release);
            return;
        }
        sched_yield();
        waited = vdp_monotonic_ns() - began;
    }
}

void vdp_order_begin(struct vdp_worker *worker, struct vdp_state *state)
{
    if (worker->engine->config.workers == 1 ||
        atomic_load_explicit(&state->holder, memory_order_relaxed) == name_of(worker))
        return;
    if (worker->order_count == VDP_ORDERED || !take(state, name_of(worker))) {
        vdp_worker_flush(worker);
        vdp_order_release(worker);
        wait_for(worker, state);
    }
    worker->ordered[worker->order_count++] = state;
}

void vdp_order_end(struct vdp_worker *worker)
{
    if (worker->order_count && !atomic_load_explicit(&worker->blocked, memory_order_relaxed))
        vdp_order_release(worker);
}

void vdp_order_release(struct vdp_worker *worker)
{
    for (uint32_t i = 0; i < worker->order_count; i++) {
        uint32_t name = name_of(worker);
        /* Another worker may have lost its patience meanwhile. */
        atomic_compare_exchange_strong_explicit(&worker->ordered[i]->holder, &name, 0,
                                                memory_order_release, memory_order_relaxed);
    }
    worker->order_count = 0;
}
