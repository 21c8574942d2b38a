/* A packet's first steps: the lookup, and the program up to its output. */
#include "loops.h"

#include <stdio.h>
#include <stdlib.h>

enum { BURST = 64, BURSTS = 16 };
static const double TURN_NS = 5e6; /* of processor time */

/* So many flows over so many masks, in an engine of their own. */
struct contender {
    struct scenario scenario;
    struct vdp_engine *engine;
    struct vdp_worker *worker;
    struct dice dice;
    uint32_t masks;
    double lookup[TURNS], program[TURNS], ratio[TURNS]; /* of each turn */
};

/* A flow for each variant, over masks that differ in the DSCP bits that they look at. */
static void install(struct contender *contender, const struct scenario_flow *flow)
{
    const struct scenario *scenario = &contender->scenario;
    uint32_t tos = scenario->head.ip_offset + 1, field = scenario->head.field_offset;

    for (uint32_t i = 0; i < scenario->head.variants; i++) {
        struct vdp_match match = flow->match;
        match.mask[tos] |= (uint8_t)(i % contender->masks << 2);
        match.value[tos] = scenario->packet[tos] & match.mask[tos];
        memset(match.mask + field, 0xff, 4);
        vdp_store_be32(match.value + field, scenario_address(scenario, i));
        if (vdp_flow_install(contender->engine, 0, &match, &flow->program) < 0)
            scenario_fail("a flow was refused");
    }
}

static void fill(struct contender *contender, struct vdp_packet **packets)
{
    const struct scenario *scenario = &contender->scenario;
    struct vdp_queue *queue = contender->worker->queues[scenario->head.in_port];

    for (uint32_t i = 0; i < BURST * BURSTS; i++) {
        packets[i] = vdp_packet_alloc(contender->worker);
        scenario_fill(scenario, packets[i], dice_throw(&contender->dice, scenario->head.variants));
        vdp_queue_set_meta(queue, packets[i]);
        packets[i]->in_port = scenario->head.in_port;
    }
}

/* A burst is looked up, and with `execute` its programs are run; else the packets go. */
static double spend(struct contender *contender, bool execute)
{
    struct vdp_worker *worker = contender->worker;
    struct vdp_packet *packets[BURST * BURSTS];
    struct vdp_flow *flows[BURST];
    double spent = 0;

    fill(contender, packets);
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

/* What a packet costs in a turn; what the contender before left in the cache is not counted. */
static void take_turn(struct contender *contender, uint32_t turn)
{
    double lookup = 0, both = 0, rounds = 0;

    (void)spend(contender, false);
    (void)spend(contender, true);
    for (double until = cpu_ns() + TURN_NS; cpu_ns() < until; rounds++) {
        lookup += spend(contender, false);
        both += spend(contender, true);
    }
    contender->lookup[turn] = lookup / rounds;
    contender->program[turn] = both / rounds;
}

static struct contender *contend(const struct scenario *scenario, uint32_t flows, uint32_t masks)
{
    struct contender *made = calloc(1, sizeof *made);
    static struct scenario_flow flow;

    if (!made || !flows || !masks)
        scenario_fail("expected FLOWSxMASKS");
    scenario_first_flow(scenario, &flow);
    for (uint32_t i = 0; i < flow.program.count; i++)
        if (flow.actions[i].op == VDP_OP_OUTPUT)
            flow.actions[i] = (struct vdp_action){VDP_OP_DROP, 0, 1, 0, 0};
    made->scenario = *scenario;
    made->scenario.head.variants = flows;
    made->masks = masks;
    made->dice.state = 88172645463325252u;
    made->engine = scenario_engine(&made->scenario, 1, NULL, false);
    made->worker = &made->engine->workers[0];
    install(made, &flow);
    return made;
}

static void retire(struct contender *contender)
{
    vdp_engine_free(contender->engine);
    free(contender);
}

/* In turns, until each had so many seconds; how many turns. */
static uint32_t compete(struct contender **contenders, uint32_t count, double seconds)
{
    uint32_t turn = 0;

    for (double until = cpu_ns() + seconds * 1e9 * count; !turn || (turn < TURNS && cpu_ns() < until); turn++)
        for (uint32_t i = 0; i < count; i++) {
            take_turn(contenders[i], turn);
            contenders[i]->ratio[turn] = contenders[i]->program[turn] / contenders[0]->program[turn];
        }
    return turn;
}

void measure_steps(const struct scenario *scenario, double seconds, uint32_t flows, uint32_t masks)
{
    struct contender *one = contend(scenario, flows, masks);
    uint32_t turns = compete(&one, 1, seconds);
    struct vdp_worker_stats *stats = &one->worker->stats;

    printf("{\"lookup_ns\": %.2f, \"lookup_and_program_ns\": %.2f, \"masks_probed\": %.2f}\n",
           median(one->lookup, turns), median(one->program, turns),
           (double)stats->mask_probes / (double)(stats->lookups + 1));
    retire(one);
}

void measure_flows(const struct scenario *scenario, double seconds, char **words, uint32_t count)
{
    struct contender *contenders[CONTENDERS];

    for (uint32_t i = 0; i < count; i++) {
        unsigned flows = 0, masks = 0;
        if (sscanf(words[i], "%ux%u", &flows, &masks) != 2)
            scenario_fail("expected FLOWSxMASKS");
        contenders[i] = contend(scenario, flows, masks);
    }
    uint32_t turns = compete(contenders, count, seconds);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s\"%s_ns\": %.2f, \"%s_ratio\": %.4f", i ? ", " : "{", words[i],
               median(contenders[i]->program, turns), words[i], median(contenders[i]->ratio, turns));
        retire(contenders[i]);
    }
    printf("}\n");
}
