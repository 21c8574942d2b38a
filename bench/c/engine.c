/* What a packet costs in the engine, without any kernel: one question a run, JSON out.
 *
 *   engine run SCENARIO SECONDS WORKERS        from a port's receive to a port's flush
 *   engine steps SCENARIO SECONDS FLOWS MASKS  lookup; lookup and program
 *   engine bytes SECONDS                       memcpy, reading memory, checksum
 *   engine cut SECONDS | engine join SECONDS   segment and fragment; coalesce
 *
 * Compiled by bench/program.py with the engine's own files.  A packet is any of the
 * scenario's variants, thrown anew each time. */
#include "loops.h"

#include <stdlib.h>

int main(int count, char **words)
{
    const char *question = count > 2 ? words[1] : "";
    struct scenario scenario;

    if (!strcmp(question, "run") && count == 5) {
        scenario_load(&scenario, words[2]);
        measure_run(&scenario, atof(words[3]), (uint32_t)atoi(words[4]));
    } else if (!strcmp(question, "steps") && count == 6) {
        scenario_load(&scenario, words[2]);
        scenario.head.variants = (uint32_t)atoi(words[4]);
        measure_steps(&scenario, atof(words[3]), (uint32_t)atoi(words[5]));
    } else if (!strcmp(question, "bytes")) {
        measure_bytes(atof(words[2]));
    } else if (!strcmp(question, "cut")) {
        measure_cut(atof(words[2]));
    } else if (!strcmp(question, "join")) {
        measure_join(atof(words[2]));
    } else {
        scenario_fail("run SCENARIO SECONDS WORKERS, steps SCENARIO SECONDS FLOWS MASKS, "
                      "or bytes|cut|join SECONDS");
    }
    return 0;
}
