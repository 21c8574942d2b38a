/* What is otherwise in force while there is too much to do; vdp/overload decides when.
 *
 * Fair queues.  A transmit queue that is full loses whoever comes last, and so also those that
 * send little.  While it is fair, and more than half full, an in-port that has its part of it
 * already loses its packet instead (overload_shed); the last eighth is for control traffic.
 * In-ports are told apart by some bits of their numbers: those that share these share a part. */
#include "internal.h"
#include "upcall.h"
#include "worker.h"

enum { CONTROL_PART = 8 };

static uint32_t place_of(const struct vdp_packet *packet)
{
    return packet->in_port % VDP_SHARES;
}

void vdp_fair_count(struct vdp_queue *queue, const struct vdp_packet *packet, int added)
{
    uint32_t *share = &queue->shares[place_of(packet)];

    *share = added > 0 ? *share + 1 : *share - 1;
}

bool vdp_fair_refuses(const struct vdp_queue *queue, const struct vdp_packet *packet)
{
    const uint32_t size = queue->port->config.tx_queue, data = size - size / CONTROL_PART;
    const uint32_t mine = queue->shares[place_of(packet)];
    uint32_t others = 0;

    if (queue->tx.count < size / 2)
        return false;
    for (uint32_t i = 0; i < VDP_SHARES; i++)
        others += i != place_of(packet) && queue->shares[i];
    return (mine >= data / (others + 1) || queue->tx.count >= data) && !vdp_control_is(packet);
}

static void set_fair(struct vdp_queue *queue, bool is_fair)
{
    if (queue->is_fair == is_fair)
        return;
    queue->is_fair = is_fair;
    memset(queue->shares, 0, sizeof queue->shares);
    for (const struct vdp_packet *packet = queue->tx.head; packet && is_fair; packet = packet->next)
        vdp_fair_count(queue, packet, 1);
}

static int apply(struct vdp_worker *worker, void *argument)
{
    const struct vdp_tuning *tuning = argument;
    uint32_t rate = tuning->upcall_rate ? tuning->upcall_rate : worker->engine->config.upcall_rate;

    for (uint32_t i = 0; i < worker->queue_size; i++) {
        struct vdp_queue *queue = worker->queues[i];
        if (!queue)
            continue;
        set_fair(queue, tuning->fair_queues != 0);
        if (rate != worker->upcall_rate)
            vdp_upcall_limit(queue, rate);
    }
    worker->upcall_rate = rate;
    worker->fair_queues = tuning->fair_queues != 0;
    return 0;
}

int vdp_engine_tune(struct vdp_engine *engine, const struct vdp_tuning *tuning)
{
    struct vdp_tuning wanted = *tuning;

    atomic_store(&engine->hold_us, tuning->hold_off ? 0 : engine->config.hold_us);
    atomic_store(&engine->tap_every, tuning->tap_every);
    atomic_store(&engine->taps_off, tuning->taps_off != 0);
    for (uint32_t i = 0; i < engine->config.workers; i++)
        vdp_worker_call(&engine->workers[i], apply, &wanted);
    return 0;
}
