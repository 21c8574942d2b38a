/* Whole workers: a port that always has a batch, and ports that take everything. */
#include "loops.h"

#include "../../vdp/engine/worker.h"

#include <stdio.h>

static const struct scenario *running;

static int receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                   struct vdp_packet **batch, int max)
{
    static _Thread_local struct dice dice = {88172645463325252u};

    (void)worker;
    (void)fd;
    for (int i = 0; i < max; i++) {
        scenario_fill(running, batch[i], dice_throw(&dice, running->head.variants));
        vdp_queue_set_meta(queue, batch[i]);
    }
    return max;
}

static int flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct vdp_packet *packet;

    while ((packet = vdp_queue_take(queue)))
        vdp_queue_sent(worker, queue, packet);
    return 0;
}

static const struct vdp_port_ops OPS = {.receive = receive, .flush = flush};

static uint64_t received(struct vdp_engine *engine)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < engine->config.workers; i++)
        sum += vdp_stat_read(&engine->workers[i].queues[running->head.in_port]->stats.rx_packets);
    return sum;
}

static int watch(struct vdp_worker *worker, void *argument)
{
    return vdp_worker_watch(worker, worker->queues[*(uint32_t *)argument]);
}

static void pass(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
}

/* Why packets of the input port were lost. */
static const char *loss(struct vdp_engine *engine)
{
    uint64_t reasons[VDP_MAX_REASONS];

    vdp_port_drops(engine, running->head.in_port, reasons, VDP_MAX_REASONS);
    for (uint32_t i = 0; i < VDP_REASON_COUNT; i++)
        if (reasons[i])
            return vdp_reason_name(i);
    return "no packet came";
}

void measure_run(struct scenario *scenario, double wanted, uint32_t workers)
{
    struct vdp_engine *engine = scenario_engine(scenario, workers, &OPS, true);
    struct vdp_worker_stats stats;
    struct vdp_port_stats port;

    running = scenario;
    for (uint32_t i = 0; i < workers; i++)
        vdp_worker_call(&engine->workers[i], watch, &scenario->head.in_port);
    if (vdp_engine_start(engine) < 0)
        scenario_fail("the engine does not start");
    pass(0.1 + wanted / 5);
    uint64_t before = received(engine);
    double started = clock_s(CLOCK_MONOTONIC), burnt = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    pass(wanted);
    double packets = (double)(received(engine) - before);
    double took = clock_s(CLOCK_MONOTONIC) - started;
    burnt = clock_s(CLOCK_PROCESS_CPUTIME_ID) - burnt;
    vdp_engine_stop(engine);
    vdp_worker_read(engine, 0, &stats);
    vdp_port_read(engine, scenario->head.in_port, &port);
    if (packets == 0 || port.misses || port.dropped)
        scenario_fail(loss(engine));
    printf("{\"ns\": %.2f, \"mpps\": %.4f, \"masks_probed\": %.2f}\n", burnt * 1e9 / packets,
           packets / took / 1e6, (double)stats.mask_probes / (double)(stats.lookups + 1));
    vdp_engine_free(engine);
}
