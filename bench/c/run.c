/* Whole workers: a port that always has a batch, and ports that take everything.
 *
 * What several workers get done is asked twice: by the clock, but only of those moments in
 * which every worker had a processor to itself (its own processor time says so); and by the
 * workers' processor time, as if they always had. */
#include "loops.h"

#include "../../vdp/engine/worker.h"

#include <stdio.h>
#include <stdlib.h>

/* A turn is so many moments, each shorter than what the scheduler runs a thread for. */
enum { MOMENTS = 6, LEAST_GAINS = 3, MOST_TIMES = 5 };
static const double WARM_S = 0.003, MOMENT_S = 0.002, TURN_S = MOMENTS * 0.002;
/* Of a moment, what each worker must have run for it to count as undisturbed. */
static const double WHOLE = 0.95;

/* A scenario with so many workers.  Of each turn: processor time a packet, packets by
 * processor time, and by the clock, 0 where there was no undisturbed moment. */
struct contender {
    struct scenario scenario;
    struct vdp_engine *engine;
    char name[64];
    uint32_t workers, undisturbed; /* moments */
    double ns[TURNS], mpps[TURNS], wall[TURNS];
    double ratio[TURNS], gain[TURNS], wall_gain[TURNS]; /* to the first contender's */
    uint32_t wall_gains;
};

/* What a worker has done so far. */
struct done {
    double packets, cpu_s;
};

/* All engines of a process have the same two ports. */
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

static struct done look(const struct contender *contender, uint32_t index)
{
    const struct vdp_worker *worker = &contender->engine->workers[index];
    const struct vdp_queue *queue = worker->queues[contender->scenario.head.in_port];
    struct done done = {(double)vdp_stat_read(&queue->stats.rx_packets), 0};
    clockid_t clock;

    if (pthread_getcpuclockid(worker->thread, &clock) == 0)
        done.cpu_s = clock_s(clock);
    return done;
}

/* What all workers did between two looks; whether each of them ran all the time. */
static bool sum(const struct contender *contender, const struct done *before, const struct done *after,
                double took, struct done *all)
{
    double least = took;

    *all = (struct done){0, 0};
    for (uint32_t i = 0; i < contender->workers; i++) {
        double cpu_s = after[i].cpu_s - before[i].cpu_s;
        all->packets += after[i].packets - before[i].packets;
        all->cpu_s += cpu_s;
        least = cpu_s < least ? cpu_s : least;
    }
    return least >= WHOLE * took;
}

static void take_turn(struct contender *contender, uint32_t turn)
{
    struct done looks[MOMENTS + 1][VDP_MAX_WORKERS], all;
    double at[MOMENTS + 1], walls[MOMENTS];
    uint32_t count = 0;

    running = &contender->scenario;
    if (vdp_engine_start(contender->engine) < 0)
        scenario_fail("the engine does not start");
    pass(WARM_S);
    for (uint32_t moment = 0; moment <= MOMENTS; moment++) {
        if (moment)
            pass(MOMENT_S);
        at[moment] = clock_s(CLOCK_MONOTONIC);
        for (uint32_t i = 0; i < contender->workers; i++)
            looks[moment][i] = look(contender, i);
    }
    vdp_engine_stop(contender->engine);
    for (uint32_t moment = 1; moment <= MOMENTS; moment++) {
        double took = at[moment] - at[moment - 1];
        if (sum(contender, looks[moment - 1], looks[moment], took, &all))
            walls[count++] = all.packets / took / 1e6;
    }
    contender->undisturbed += count;
    contender->wall[turn] = median(walls, count);
    sum(contender, looks[0], looks[MOMENTS], 1, &all);
    contender->ns[turn] = all.packets > 0 ? all.cpu_s * 1e9 / all.packets : 0;
    contender->mpps[turn] = all.cpu_s > 0 ? all.packets / all.cpu_s * contender->workers / 1e6 : 0;
}

static void compare(struct contender *contender, const struct contender *first, uint32_t turn)
{
    contender->ratio[turn] = first->ns[turn] > 0 ? contender->ns[turn] / first->ns[turn] : 0;
    contender->gain[turn] = first->mpps[turn] > 0 ? contender->mpps[turn] / first->mpps[turn] : 0;
    if (contender->wall[turn] > 0 && first->wall[turn] > 0)
        contender->wall_gain[contender->wall_gains++] = contender->wall[turn] / first->wall[turn];
}

static void expect_no_loss(const struct contender *contender)
{
    struct vdp_port_stats port;

    running = &contender->scenario;
    vdp_port_read(contender->engine, running->head.in_port, &port);
    if (!port.rx_packets || port.misses || port.dropped)
        scenario_fail(loss(contender->engine));
}

/* "NAME=WORKERS*PATH". */
static struct contender *contend(const char *word)
{
    struct contender *made = calloc(1, sizeof *made);
    int path = 0;

    if (!made || sscanf(word, "%63[^=]=%u*%n", made->name, &made->workers, &path) != 2 || !path ||
        made->workers < 1 || made->workers > VDP_MAX_WORKERS)
        scenario_fail("expected NAME=WORKERS*SCENARIO");
    scenario_load(&made->scenario, word + path);
    made->engine = scenario_engine(&made->scenario, made->workers, &OPS, true);
    for (uint32_t i = 0; i < made->workers; i++)
        vdp_worker_call(&made->engine->workers[i], watch, &made->scenario.head.in_port);
    return made;
}

static void say(const char *end, const char *name, const char *figure, double value)
{
    printf("\"%s_%s\": %.4f%s", name, figure, value, end);
}

static void report(struct contender *contender, uint32_t turns, const char *end)
{
    const char *name = contender->name;
    uint32_t walls = 0;

    for (uint32_t i = 0; i < turns; i++)
        if (contender->wall[i] > 0)
            contender->wall[walls++] = contender->wall[i];
    say(", ", name, "ns", median(contender->ns, turns));
    say(", ", name, "ratio", median(contender->ratio, turns));
    say(", ", name, "mpps", median(contender->mpps, turns));
    say(", ", name, "gain", median(contender->gain, turns));
    say(", ", name, "wall_mpps", median(contender->wall, walls));
    say(", ", name, "wall_gain", median(contender->wall_gain, contender->wall_gains));
    say(end, name, "undisturbed", (double)contender->undisturbed / (turns * MOMENTS));
}

/* After its time it goes on, but not for ever, where there was hardly an undisturbed moment. */
static bool is_wanting(struct contender *const *contenders, uint32_t count, double times)
{
    bool wants = times < 1;

    for (uint32_t i = 0; i < count; i++)
        wants = wants || (contenders[i]->workers > 1 && contenders[i]->wall_gains < LEAST_GAINS);
    return wants && times < MOST_TIMES;
}

void measure_run(double seconds, char **words, uint32_t count)
{
    struct contender *contenders[CONTENDERS];
    uint32_t turn = 0;

    for (uint32_t i = 0; i < count; i++)
        contenders[i] = contend(words[i]);
    while (turn < TURNS && is_wanting(contenders, count, turn * TURN_S / seconds)) {
        for (uint32_t i = 0; i < count; i++) {
            take_turn(contenders[i], turn);
            compare(contenders[i], contenders[0], turn);
        }
        turn++;
    }
    printf("{");
    for (uint32_t i = 0; i < count; i++) {
        expect_no_loss(contenders[i]);
        report(contenders[i], turn, i + 1 < count ? ", " : "}\n");
        vdp_engine_free(contenders[i]->engine);
        free(contenders[i]);
    }
}
