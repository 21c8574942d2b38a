/* A packet's first steps: the lookup, and the program up to its output. */
#include "loops.h"

#include <stdio.h>
#include <stdlib.h>

enum { BURST = 64, BURSTS = 16 };

/* A flow for each variant, over masks that differ in the DSCP bits that they look at. */
static void install(struct vdp_engine *engine, const struct scenario *scenario,
                    const struct scenario_flow *flow, uint32_t masks)
{
    uint32_t tos = scenario->head.ip_offset + 1, field = scenario->head.field_offset;

    for (uint32_t i = 0; i < scenario->head.variants; i++) {
        struct vdp_match match = flow->match;
        match.mask[tos] |= (uint8_t)(i % masks << 2);
        match.value[tos] = scenario->packet[tos] & match.mask[tos];
        memset(match.mask + field, 0xff, 4);
        vdp_store_be32(match.value + field, scenario_address(scenario, i));
        if (vdp_flow_install(engine, 0, &match, &flow->program) < 0)
            scenario_fail("a flow was refused");
    }
}

static void fill(const struct scenario *scenario, struct vdp_worker *worker, struct dice *dice,
                 struct vdp_packet **packets)
{
    struct vdp_queue *queue = worker->queues[scenario->head.in_port];

    for (uint32_t i = 0; i < BURST * BURSTS; i++) {
        packets[i] = vdp_packet_alloc(worker);
        scenario_fill(scenario, packets[i], dice_throw(dice, scenario->head.variants));
        vdp_queue_set_meta(queue, packets[i]);
        packets[i]->in_port = scenario->head.in_port;
    }
}

/* A burst is looked up, and with `execute` its programs are run; else the packets go. */
static double spend(const struct scenario *scenario, struct vdp_worker *worker, struct dice *dice,
                    bool execute)
{
    struct vdp_packet *packets[BURST * BURSTS];
    struct vdp_flow *flows[BURST];
    double spent = 0;

    fill(scenario, worker, dice, packets);
    double before = cpu_ns();
    for (uint32_t at = 0; at < BURST * BURSTS; at += BURST) {
        vdp_lookup(worker, packets + at, BURST, flows);
        for (uint32_t i = 0; i < BURST; i++) {
            if (!flows[i])
                scenario_fail("a packet missed");
            if (execute)
                vdp_flow_run(worker, flows[i], packets[at + i]);
        }
    }
    spent = cpu_ns() - before;
    for (uint32_t i = 0; !execute && i < BURST * BURSTS; i++)
        vdp_packet_free(worker, packets[i]);
    return spent / (BURST * BURSTS);
}

void measure_steps(struct scenario *scenario, double seconds, uint32_t masks)
{
    struct vdp_engine *engine = scenario_engine(scenario, 1, NULL, false);
    struct vdp_worker *worker = &engine->workers[0];
    static struct scenario_flow flow;
    struct dice dice = {88172645463325252u};
    double lookup = 0, both = 0, rounds = 0;

    scenario_first_flow(scenario, &flow);
    for (uint32_t i = 0; i < flow.program.count; i++)
        if (flow.actions[i].op == VDP_OP_OUTPUT)
            flow.actions[i] = (struct vdp_action){VDP_OP_DROP, 0, 1, 0, 0};
    install(engine, scenario, &flow, masks);
    for (double until = clock_s(CLOCK_MONOTONIC) + seconds; clock_s(CLOCK_MONOTONIC) < until; rounds++) {
        lookup += spend(scenario, worker, &dice, false);
        both += spend(scenario, worker, &dice, true);
    }
    printf("{\"lookup_ns\": %.2f, \"lookup_and_program_ns\": %.2f, \"masks_probed\": %.2f}\n",
           lookup / rounds, both / rounds,
           (double)worker->stats.mask_probes / (double)(worker->stats.lookups + 1));
    vdp_engine_free(engine);
}
