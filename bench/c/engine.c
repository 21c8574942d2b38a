/* What a packet costs in the engine, without any kernel: one question a run, JSON out.
 *
 *   engine run SECONDS NAME=WORKERS*SCENARIO…     from a port's receive to a port's flush
 *   engine steps SCENARIO SECONDS FLOWS MASKS     lookup; lookup and program
 *   engine flows SCENARIO SECONDS FLOWSxMASKS…    lookup and program, in turns
 *   engine bytes SECONDS                          memcpy, reading memory, checksum
 *   engine cut SECONDS | engine join SECONDS      segment and fragment; coalesce
 *
 * Compiled by bench/program.py with the engine's own files.  A packet is any of the
 * scenario's variants, thrown anew each time. */
#include "loops.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return count ? values[count / 2] : 0;
}

static bool is_count(int words)
{
    return words >= 1 && words <= CONTENDERS;
}

int main(int count, char **words)
{
    const char *question = count > 2 ? words[1] : "";
    struct scenario scenario;

    if (!strcmp(question, "run") && is_count(count - 3)) {
        measure_run(atof(words[2]), words + 3, (uint32_t)count - 3);
    } else if (!strcmp(question, "steps") && count == 6) {
        scenario_load(&scenario, words[2]);
        measure_steps(&scenario, atof(words[3]), (uint32_t)atoi(words[4]), (uint32_t)atoi(words[5]));
    } else if (!strcmp(question, "flows") && is_count(count - 4)) {
        scenario_load(&scenario, words[2]);
        measure_flows(&scenario, atof(words[3]), words + 4, (uint32_t)count - 4);
    } else if (!strcmp(question, "bytes")) {
        measure_bytes(atof(words[2]));
    } else if (!strcmp(question, "cut")) {
        measure_cut(atof(words[2]));
    } else if (!strcmp(question, "join")) {
        measure_join(atof(words[2]));
    } else {
        scenario_fail("run SECONDS NAME=WORKERS*SCENARIO..., steps SCENARIO SECONDS FLOWS MASKS, "
                      "flows SCENARIO SECONDS FLOWSxMASKS..., or bytes|cut|join SECONDS");
    }
    return 0;
}
