/* The engine as a whole: made, started, stopped, freed; reasons; worker statistics. */
#include "confine.h"
#include "counter.h"
#include "state.h"
#include "flow.h"
#include "group.h"
#include "stage.h"
#include "tap.h"
#include "header.h"
#include "upcall.h"
#include "worker.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

static const char *const NAMES[] = {
#define VDP_REASON(name, text) #name,
#include "reasons.def"
#undef VDP_REASON
};
static const char *const TEXTS[] = {
#define VDP_REASON(name, text) text,
#include "reasons.def"
#undef VDP_REASON
};
_Static_assert((int)VDP_REASON_COUNT < (int)VDP_MAX_REASONS, "plugins need codes, too");

const char *vdp_reason_name(uint32_t reason)
{
    return reason < VDP_REASON_COUNT ? NAMES[reason] : NULL;
}

const char *vdp_reason_text(uint32_t reason)
{
    return reason < VDP_REASON_COUNT ? TEXTS[reason] : NULL;
}

static const uint64_t WARM_NS = 1000000000u;
enum { LEAST_PACKETS = 8, MOST_PACKETS = 1 << 20, MOST_FLOWS = 1 << 24 };

/* Zeros become the defaults of struct vdp_engine_config, where zero says nothing. */
static int complete(struct vdp_engine_config *config)
{
    if (!config->packets)
        config->packets = 2048;
    if (!config->flows)
        config->flows = 65536;
    if (!config->masks)
        config->masks = 64;
    if (!config->upcall_queue)
        config->upcall_queue = 512;
    if (!config->port_masks)
        config->port_masks = 16;
    if (config->workers < 1 || config->workers > VDP_MAX_WORKERS ||
        config->confine > VDP_CONFINE_KILL ||
        config->packets < LEAST_PACKETS || config->packets > MOST_PACKETS ||
        config->flows > MOST_FLOWS)
        return -EINVAL;
    return 0;
}

static int open_worker(struct vdp_engine *engine, uint32_t index)
{
    struct vdp_worker *worker = &engine->workers[index];
    int result = vdp_worker_open(engine, index);

    if (result == 0)
        result = vdp_pool_new(worker, engine->config.packets);
    if (result == 0)
        result = vdp_flow_table_new(worker);
    if (result == 0)
        result = vdp_upcall_open(worker);
    return result;
}

int vdp_engine_new(const struct vdp_engine_config *config, struct vdp_engine **made)
{
    struct vdp_engine *engine = calloc(1, sizeof *engine);
    int result = 0;

    if (!engine)
        return -ENOMEM;
    engine->config = *config;
    result = complete(&engine->config);
    if (result < 0) {
        free(engine);
        return result;
    }
    atomic_store(&engine->hold_us, engine->config.hold_us);
    pthread_mutex_init(&engine->call_lock, NULL);
    engine->next_port = 1;
    engine->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->workers = calloc(engine->config.workers, sizeof *engine->workers);
    if (engine->event_fd < 0)
        result = -errno;
    else if (!engine->workers)
        result = -ENOMEM;
    else if (getrandom(&engine->seed, sizeof engine->seed, 0) != sizeof engine->seed)
        result = -EIO;
    if (result == 0)
        result = vdp_counters_open(engine);
    if (result == 0)
        result = vdp_headers_open(engine);
    for (uint32_t i = 0; engine->workers && i < engine->config.workers; i++)
        engine->workers[i].epoll_fd = engine->workers[i].wake_fd = -1;
    for (uint32_t i = 0; i < engine->config.workers && result == 0; i++)
        result = open_worker(engine, i);
    if (result < 0) {
        vdp_engine_free(engine);
        return result;
    }
    *made = engine;
    return 0;
}

static void close_worker(struct vdp_worker *worker)
{
    vdp_upcall_close(worker);
    vdp_flow_table_free(worker);
    vdp_pool_free(worker);
    free(worker->queues);
    vdp_timing_free(worker);
    vdp_worker_close(worker);
}

void vdp_engine_free(struct vdp_engine *engine)
{
    if (!engine)
        return;
    (void)vdp_engine_stop(engine);
    for (uint32_t i = 0; i < engine->port_size; i++)
        if (engine->ports[i])
            (void)vdp_port_remove(engine, i);
    if (engine->workers) {
        vdp_states_close(engine);
        vdp_counters_close(engine);
        vdp_groups_close(engine);
        vdp_taps_close(engine);
        vdp_headers_close(engine);
        for (uint32_t i = 0; i < engine->config.workers; i++)
            close_worker(&engine->workers[i]);
    }
    if (engine->event_fd >= 0)
        close(engine->event_fd);
    pthread_mutex_destroy(&engine->call_lock);
    free(engine->ports);
    free(engine->workers);
    free(engine);
}

int vdp_engine_start(struct vdp_engine *engine)
{
    uint32_t started = 0;

    if (engine->started)
        return -EBUSY;
    vdp_ports_opened(engine);
    int result = vdp_confine_prepare(engine);
    engine->warm_until_ns = vdp_monotonic_ns() + WARM_NS;
    for (; started < engine->config.workers && result == 0; started++)
        result = vdp_worker_start(&engine->workers[started]);
    if (result < 0) {
        for (uint32_t i = 0; i + 1 < started; i++)
            vdp_worker_stop(&engine->workers[i]);
        return result;
    }
    engine->started = true;
    return 0;
}

int vdp_engine_stop(struct vdp_engine *engine)
{
    pthread_mutex_lock(&engine->call_lock); /* a call in flight is answered first */
    for (uint32_t i = 0; engine->started && i < engine->config.workers; i++)
        vdp_worker_stop(&engine->workers[i]);
    engine->started = false;
    pthread_mutex_unlock(&engine->call_lock);
    return 0;
}

int vdp_engine_poll(struct vdp_engine *engine)
{
    int received = 0;

    if (engine->started)
        return -EBUSY;
    vdp_ports_opened(engine);
    for (uint32_t i = 0; i < engine->config.workers; i++)
        received += vdp_worker_iterate(&engine->workers[i], false);
    return received;
}

int vdp_engine_event_fd(struct vdp_engine *engine)
{
    return engine->event_fd;
}

static int read_stats(struct vdp_worker *worker, void *argument)
{
    struct vdp_worker_stats *stats = argument;

    *stats = worker->stats;
    stats->packets_free = worker->free_count + worker->batch_count + 1; /* and the reserve */
    return 0;
}

int vdp_worker_read(struct vdp_engine *engine, uint32_t worker, struct vdp_worker_stats *stats)
{
    if (worker >= engine->config.workers)
        return -ENODEV;
    return vdp_worker_call(&engine->workers[worker], read_stats, stats);
}
