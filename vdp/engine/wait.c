/* Waiting for events: poll a while, then sleep.
 *
 * Putting a thread to sleep and waking it up costs both sides more than a packet does: the
 * sender pays for the wake-up.  So after work a worker polls before it sleeps, and lets
 * others have the processor in between (sched_yield).  For how long, it learns, as KVM's
 * halt polling does: where a sleep turned out to be no longer than config.poll_us, polling
 * would have saved it, and the next poll may take longer; where it was longer, less.  An idle
 * worker does not poll at all, and one wake-up never costs more than poll_us of polling. */
#include "worker.h"

#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

enum { NS = 1000, MS = 1000000, POLL_LEAST_NS = 5000 };

uint64_t vdp_monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Until something happens or `until`; `now` is when that was. */
static int poll_events(struct vdp_worker *worker, struct epoll_event *events, int size,
                       uint64_t until_ns, uint64_t *now)
{
    for (;;) {
        int count = epoll_wait(worker->epoll_fd, events, size, 0);
        *now = vdp_monotonic_ns();
        if (count != 0 || *now >= until_ns)
            return count;
        (void)sched_yield();
    }
}

/* At most that long; -1: for as long as it takes. */
static int sleep_for_events(struct vdp_worker *worker, struct epoll_event *events, int size,
                            int most_ms, uint64_t *now)
{
    uint64_t most = (uint64_t)worker->engine->config.poll_us * NS;
    uint64_t before = *now;
    int count = epoll_wait(worker->epoll_fd, events, size, most_ms);

    *now = vdp_monotonic_ns();
    uint64_t wanted = *now - before <= most ? 2 * worker->poll_ns + POLL_LEAST_NS : worker->poll_ns / 2;
    worker->poll_ns = wanted < POLL_LEAST_NS ? 0 : wanted < most ? wanted : most;
    return count;
}

int vdp_worker_wait(struct vdp_worker *worker, struct epoll_event *events, int size,
                    uint64_t until_ns)
{
    uint64_t before = vdp_monotonic_ns(), after;
    bool is_soon = until_ns < before + MS; /* too soon to sleep until then */
    uint64_t until = is_soon ? until_ns : before + worker->poll_ns;
    int count = poll_events(worker, events, size, until, &after);

    if (count == 0 && !is_soon) {
        uint64_t left = until_ns == VDP_WAIT_FOR_EVENTS || until_ns < after ? 0 : until_ns - after;
        int most_ms = until_ns == VDP_WAIT_FOR_EVENTS ? -1 : (int)(left / MS);
        count = sleep_for_events(worker, events, size, most_ms, &after);
    }
    uint64_t set = atomic_load_explicit(&worker->engine->clock_ns, memory_order_relaxed);
    worker->now_ns = set ? set : after;
    if (worker->resumed_ns)
        worker->stats.busy_ns += before - worker->resumed_ns;
    worker->stats.idle_ns += after - before;
    worker->resumed_ns = after;
    worker->stats.iterations++;
    return count;
}
