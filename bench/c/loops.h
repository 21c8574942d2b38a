/* The loops of the engine's bench: each prints one JSON object. */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include "scenario.h"

#include <time.h>

static inline double clock_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Of this thread's own time, so that what else the machine does counts less. */
static inline double cpu_ns(void)
{
    return clock_s(CLOCK_THREAD_CPUTIME_ID) * 1e9;
}

void measure_run(struct scenario *scenario, double seconds, uint32_t workers);
void measure_steps(struct scenario *scenario, double seconds, uint32_t masks);
void measure_bytes(double seconds);
void measure_cut(double seconds);
void measure_join(double seconds);

#endif
