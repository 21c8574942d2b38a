/* Timing a worker's stages.
 *
 * The worker notes the processor's counter of ticks where it passes from one stage to the next,
 * and gives what has passed to the stage that it leaves: each moment is one stage's, and they add
 * up to the time that it was timed for.  How long a tick is follows from the clock, read at the
 * beginning and at each look. */
#include "stage.h"
#include "worker.h"

#include <stdlib.h>

struct vdp_timing {
    uint32_t stage;       /* that the worker is in */
    uint64_t since;       /* ticks */
    uint64_t begun, begun_ns;
    uint64_t ticks[VDP_STAGES];
    struct vdp_worker_times times; /* but for ns */
};

/* Constant in rate on every processor that Linux takes its clock from; elsewhere it is the clock. */
static uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return vdp_monotonic_ns();
#endif
}

uint32_t vdp_timing_enter(struct vdp_worker *worker, uint32_t stage)
{
    struct vdp_timing *timing = worker->timing;
    uint32_t before = timing->stage;
    uint64_t now = ticks();

    if (now > timing->since) /* another processor's counter may be behind */
        timing->ticks[before] += now - timing->since;
    timing->since = now;
    timing->stage = stage;
    return before;
}

void vdp_timing_count(struct vdp_worker *worker, uint64_t packets)
{
    struct vdp_timing *timing = worker->timing;
    struct vdp_stage_time *stage = &timing->times.stages[timing->stage];

    stage->batches++;
    stage->packets += packets;
}

void vdp_timing_received(struct vdp_worker *worker, uint32_t packets)
{
    uint32_t size = 0;

    while (size + 1 < VDP_BATCH_SIZES && 1u << size < packets)
        size++;
    worker->timing->times.batch_sizes[size]++;
    vdp_timing_count(worker, packets);
}

static int begin(struct vdp_worker *worker)
{
    struct vdp_timing *timing = calloc(1, sizeof *timing);

    if (!timing)
        return -ENOMEM;
    timing->stage = VDP_STAGE_CONTROL; /* in the mailbox, as this is */
    timing->begun_ns = vdp_monotonic_ns();
    timing->begun = timing->since = ticks();
    worker->timing = timing;
    return 0;
}

/* Ticks become nanoseconds: what was counted since the beginning took as long as the clock says. */
static void read_times(struct vdp_worker *worker, struct vdp_worker_times *times)
{
    struct vdp_timing *timing = worker->timing;
    uint64_t sum = 0;

    vdp_timing_enter(worker, timing->stage);
    *times = timing->times;
    times->ns = vdp_monotonic_ns() - timing->begun_ns;
    for (uint32_t i = 0; i < VDP_STAGES; i++)
        sum += timing->ticks[i];
    for (uint32_t i = 0; i < VDP_STAGES && sum; i++)
        times->stages[i].ns = (uint64_t)((double)timing->ticks[i] / (double)sum * (double)times->ns);
}

void vdp_timing_free(struct vdp_worker *worker)
{
    free(worker->timing);
    worker->timing = NULL;
}

struct look {
    uint32_t goes_on;
    struct vdp_worker_times *times;
};

static int look(struct vdp_worker *worker, void *argument)
{
    struct look *wanted = argument;
    int result = 0;

    *wanted->times = (struct vdp_worker_times){0};
    if (worker->timing)
        read_times(worker, wanted->times);
    memcpy(wanted->times->cells_closed, worker->cells_closed, sizeof worker->cells_closed);
    if (!wanted->goes_on)
        vdp_timing_free(worker);
    else if (!worker->timing)
        result = begin(worker);
    return result;
}

int vdp_worker_time(struct vdp_engine *engine, uint32_t worker, uint32_t goes_on,
                    struct vdp_worker_times *times)
{
    struct look wanted = {goes_on, times};

    if (worker >= engine->config.workers)
        return -ENODEV;
    return vdp_worker_call(&engine->workers[worker], look, &wanted);
}
