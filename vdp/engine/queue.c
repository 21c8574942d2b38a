/* A port as one worker sees it: charging, offering, flushing, failing.
 *
 * A packet is charged to its in-port until vdp_queue_offer takes it; from then on to
 * the port that it should leave by (the books of struct vdp_port_stats). */
#include "internal.h"
#include "offload.h"
#include "stage.h"
#include "tap.h"
#include "worker.h"

#include <stdlib.h>
#include <sys/epoll.h>

enum { FLUSH_AT = VDP_BATCH, RETRY_NS = 3000000, RETRY_SOON_NS = 50000 };

void vdp_queue_count_drop(struct vdp_queue *queue, struct vdp_packet *packet, uint32_t reason)
{
    vdp_tap_drop(queue, packet, reason);
    if (reason == VDP_REASON_tx_queue_full || reason == VDP_REASON_cell_full ||
        reason == VDP_REASON_group_queue_full || reason == VDP_REASON_no_buffer ||
        reason == VDP_REASON_overload_shed)
        queue->worker->stats.queue_lost++;
    if (!queue->drops) {
        uint64_t *drops = calloc(VDP_MAX_REASONS, sizeof *drops);
        if (!drops)
            return;
        __atomic_store_n(&queue->drops, drops, __ATOMIC_RELEASE);
    }
    vdp_stat_add(&queue->drops[reason < VDP_MAX_REASONS ? reason : VDP_REASON_handler_error], 1);
}

static void settle(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t counter,
                   uint32_t other)
{
    if (counter)
        vdp_counter_add(worker, counter, packet->account.bytes);
    if (other)
        vdp_counter_add(worker, other, packet->account.bytes);
    packet->account = (struct vdp_account){0};
}

void vdp_account_sent(struct vdp_worker *worker, struct vdp_packet *packet)
{
    settle(worker, packet, packet->account.sent, 0);
}

void vdp_account_lost(struct vdp_worker *worker, struct vdp_packet *packet)
{
    settle(worker, packet, packet->account.lost, packet->account.lost_too);
}

void vdp_packet_drop(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t reason)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, packet->in_port);

    vdp_account_lost(worker, packet);
    if (queue) {
        vdp_stat_add(&queue->stats.dropped, 1);
        vdp_queue_count_drop(queue, packet, reason);
    }
    vdp_packet_free(worker, packet);
}

void vdp_queue_drop(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet,
                    uint32_t reason)
{
    vdp_account_lost(worker, packet);
    vdp_stat_add(&queue->stats.tx_dropped, 1);
    vdp_queue_count_drop(queue, packet, reason);
    vdp_packet_free(worker, packet);
}

void vdp_queue_reject(struct vdp_queue *queue, struct vdp_packet *packet, uint32_t bytes,
                      uint32_t reason)
{
    packet->in_port = queue->port->number;
    vdp_queue_set_meta(queue, packet);
    vdp_tap_receive(queue, &packet, 1);
    vdp_stat_add(&queue->stats.rx_packets, 1);
    vdp_stat_add(&queue->stats.rx_bytes, bytes);
    vdp_stat_add(&queue->stats.rx_segments, 1);
    vdp_stat_add(&queue->stats.dropped, 1);
    vdp_queue_count_drop(queue, packet, reason);
}

void vdp_queue_set_meta(const struct vdp_queue *queue, struct vdp_packet *packet)
{
    uint32_t type = queue->port->config.packet_type;
    unsigned version = packet->length ? packet->data[0] >> 4 : 0;

    memset(packet->meta, 0, sizeof packet->meta);
    vdp_store_be32(packet->meta, type);
    if (type == VDP_L3)
        vdp_store_be32(packet->meta + 4, version == 4 ? 0x0800 : version == 6 ? 0x86dd : 0);
}

void vdp_queue_sent(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet)
{
    vdp_stat_add(&queue->stats.tx_packets, 1);
    vdp_stat_add(&queue->stats.tx_bytes, packet->length);
    vdp_stat_add(&queue->stats.tx_segments, packet->segments);
    vdp_tap_packet(worker, VDP_TAP_TX, queue->port->number, packet);
    vdp_packet_free(worker, packet);
}

struct vdp_packet *vdp_queue_take(struct vdp_queue *queue)
{
    struct vdp_packet *packet = vdp_list_take(&queue->tx);

    if (packet)
        vdp_stat_sub(&queue->stats.tx_queued, 1);
    if (packet && queue->is_fair)
        vdp_fair_count(queue, packet, -1);
    if (queue->given)
        queue->given--;
    return packet;
}

/* Why a port refuses a packet at once, or none.  A cell carries every offload state; any
 * other port must be told what it can take. */
static uint32_t refusal(const struct vdp_queue *queue, struct vdp_packet *packet)
{
    const struct vdp_port *port = queue->port;

    if (!atomic_load_explicit(&port->up, memory_order_relaxed) || queue->failed)
        return VDP_REASON_port_down;
    if (vdp_load_be32(packet->meta) != port->config.packet_type)
        return VDP_REASON_packet_type;
    if (port->config.type == VDP_PORT_CELL)
        return VDP_REASON_none;

    uint32_t features = atomic_load_explicit(&port->features, memory_order_relaxed);
    if (packet->gso_type && (!vdp_offload_covered(packet, features) ||
                             !vdp_offload_takes_headers(packet, features)))
        return VDP_REASON_gso_unsupported;
    if (packet->needs_csum && !(features & VDP_F_CSUM))
        return vdp_offload_finish_checksum(packet);
    return VDP_REASON_none;
}

static void offer_cell(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet)
{
    vdp_tap_packet(worker, VDP_TAP_DECAP, queue->port->number, packet);
    vdp_cell_offer(worker, queue, packet);
    if (queue->cell_ready)
        return;
    queue->cell_ready = true;
    queue->next_cell = NULL;
    if (worker->cell_ready)
        worker->cell_last->next_cell = queue;
    else
        worker->cell_ready = queue;
    worker->cell_last = queue;
}

void vdp_queue_offer(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet)
{
    uint32_t reason = refusal(queue, packet);

    vdp_stat_add(&queue->stats.offered, 1);
    if (reason != VDP_REASON_none) {
        vdp_queue_drop(worker, queue, packet, reason);
        return;
    }
    if (queue->port->config.type == VDP_PORT_CELL) {
        vdp_account_sent(worker, packet);
        offer_cell(worker, queue, packet);
        return;
    }
    /* A port that stands still may not starve the others of packets. */
    if (queue->tx.count >= queue->port->config.tx_queue ||
        (queue->blocked && worker->free_count < worker->packet_count / 4)) {
        vdp_queue_drop(worker, queue, packet, VDP_REASON_tx_queue_full);
        return;
    }
    if (queue->is_fair) {
        if (vdp_fair_refuses(queue, packet)) {
            vdp_queue_drop(worker, queue, packet, VDP_REASON_overload_shed);
            return;
        }
        vdp_fair_count(queue, packet, 1);
    }
    vdp_account_sent(worker, packet);
    vdp_list_append(&queue->tx, packet);
    vdp_stat_add(&queue->stats.tx_queued, 1);
    if (!queue->tx_ready) {
        queue->tx_ready = true;
        queue->next_tx = worker->tx_ready;
        worker->tx_ready = queue;
    }
    if ((queue->tx.count >= FLUSH_AT || queue->tx.count >= queue->port->config.tx_queue) &&
        !queue->blocked)
        vdp_queue_flush(worker, queue);
}

static void set_blocked(struct vdp_worker *worker, struct vdp_queue *queue, bool blocked)
{
    if (queue->blocked != blocked)
        atomic_fetch_add(&worker->blocked, blocked ? 1u : UINT32_MAX);
    queue->blocked = blocked;
}

/* Tried again when the descriptor is writable, or, where it is and there is no room all the same, in
 * a while: a full queueing discipline (ENOBUFS) empties at the pace that it was made for, a full device
 * (EBUSY) at its line's, and should not run dry. */
static void wait_for_room(struct vdp_worker *worker, struct vdp_queue *queue, int result)
{
    bool no_room = result != -EAGAIN;
    if (queue->tx_fd < 0)
        return;
    if (no_room) {
        uint64_t due = vdp_monotonic_ns() + (result == -EBUSY ? RETRY_SOON_NS : RETRY_NS);
        if (!worker->retry_ns || due < worker->retry_ns)
            worker->retry_ns = due;
    }
    if (queue->blocked && queue->no_room == no_room)
        return;
    set_blocked(worker, queue, true);
    queue->no_room = no_room;
    vdp_worker_watch(worker, queue);
}

void vdp_queue_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    if (!queue->tx.count)
        return;
    uint32_t before = vdp_stage_enter(worker, VDP_STAGE_TRANSMIT);
    uint64_t sent = queue->stats.tx_packets;
    int result = queue->port->ops->flush(worker, queue);
    vdp_stage_count(worker, queue->stats.tx_packets - sent);
    (void)vdp_stage_enter(worker, before);
    if (result == -EAGAIN || result == -ENOBUFS || result == -EBUSY) {
        wait_for_room(worker, queue, result);
    } else if (result < 0) {
        vdp_queue_fail(worker, queue, -result);
    } else if (queue->blocked) {
        set_blocked(worker, queue, false);
        queue->no_room = false;
        vdp_worker_watch(worker, queue);
    }
}

void vdp_queue_clear(struct vdp_worker *worker, struct vdp_queue *queue, uint32_t reason)
{
    struct vdp_packet *packet;

    while ((packet = vdp_queue_take(queue)))
        vdp_queue_drop(worker, queue, packet, reason);
}

void vdp_queue_fail(struct vdp_worker *worker, struct vdp_queue *queue, int error)
{
    atomic_store(&queue->port->error, error);
    queue->failed = true;
    set_blocked(worker, queue, false);
    queue->no_room = false;
    vdp_worker_watch(worker, queue);
    vdp_queue_clear(worker, queue, VDP_REASON_tx_error);
    worker->signal = true;
}
