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

/* Contenders take turns of some milliseconds: what else the machine does, or a core's other
 * thread, meets all alike, so that the ratio within a turn says more than two runs. */
enum { CONTENDERS = 16, TURNS = 4096 };

double median(double *values, uint32_t count); /* sorts them; 0 of none */

/* words: "NAME=WORKERS*PATH", each a scenario. */
void measure_run(double seconds, char **words, uint32_t count);
void measure_steps(const struct scenario *scenario, double seconds, uint32_t flows, uint32_t masks);
/* words: "FLOWSxMASKS". */
void measure_flows(const struct scenario *scenario, double seconds, char **words, uint32_t count);
void measure_bytes(double seconds);
void measure_cut(double seconds);
void measure_join(double seconds);

#endif
