/* Super-packets that the kernel does not take after all.
 *
 * Some kernels answer EINVAL to a merged write that others take.  Such a super-packet is cut and
 * its parts wait in its place; a sort that is refused again and again, none being taken between,
 * is not offered any more: port->refused, which the control side reads, and has cells join none.
 * Setting the port up gives the kernel another chance. */
#include "offload.h"

enum { REFUSALS = 8 }; /* in a row: no accident */

struct split {
    struct vdp_worker *worker;
    struct vdp_queue *queue;
    struct vdp_packet_list parts;
    uint32_t count; /* with those that found no buffer */
};

static void keep_part(void *context, struct vdp_packet *part)
{
    struct split *split = context;
    split->count++;
    if (part != NULL) {
        vdp_list_append(&split->parts, part);
        return;
    }
    vdp_stat_add(&split->queue->stats.tx_dropped, 1);
    vdp_queue_count_drop(split->queue, NULL, VDP_REASON_no_buffer);
}

bool vdp_refusal_is_known(const struct vdp_queue *queue, const struct vdp_packet *packet)
{
    uint32_t refused = atomic_load_explicit(&queue->port->refused, memory_order_relaxed);
    return (vdp_offload_feature(packet) & refused) != 0;
}

void vdp_refusal_forgive(struct vdp_queue *queue, const struct vdp_packet *packet)
{
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE)
        queue->refusals = 0;
}

/* The books of the packet's in-port and of this port count the parts as SEGMENT would have. */
void vdp_refusal_split(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct split split = {.worker = worker, .queue = queue};
    struct vdp_packet *packet = vdp_queue_take(queue);
    struct vdp_queue *origin = vdp_worker_queue(worker, packet->in_port);
    /* One of more parts than a cell makes may be its sender's fault. */
    if (packet->segments <= VDP_CELL_SEGMENTS && ++queue->refusals >= REFUSALS)
        atomic_fetch_or(&queue->port->refused, vdp_offload_feature(packet));
    uint32_t reason = vdp_segment(worker, packet, 0, 0, keep_part, &split);
    if (reason != VDP_REASON_none) {
        vdp_queue_drop(worker, queue, packet, reason);
        return;
    }
    vdp_stat_add(&queue->stats.refused, 1);
    split.parts.tail->next = queue->tx.head; /* there is a tail: the packet itself is the last */
    if (queue->tx.tail == NULL)
        queue->tx.tail = split.parts.tail;
    queue->tx.head = split.parts.head;
    queue->tx.count += split.parts.count;
    vdp_stat_add(&queue->stats.tx_queued, split.parts.count);
    vdp_stat_add(&queue->stats.offered, split.count - 1);
    if (origin != NULL) {
        vdp_stat_add(&origin->stats.segmented, split.count - 1);
        vdp_stat_add(&origin->stats.forwarded, split.count - 1);
    }
}
