/* A packet port's line, and the ring of an AF_XDP socket that it leaves by.
 *
 *   queue->tx:  | packet | packet | packet | …      the first `given` of them are in the ring
 *   ring:       | taken … | waiting        |        as many; they leave the line when taken
 *
 * So a packet counts as sent when the kernel has taken it, and what waits is tried again with
 * the line, soon: poll tells of room in the ring, never of the device's (xsk_poll). */
#include "xdp.h"

#include "offload.h"

/* Why a frame can not go into the ring, or none.  What is only longer than the MTU is the
 * device's to refuse. */
static uint32_t unfit(const struct vdp_packet *packet)
{
    if (packet->length < VDP_ETHERNET_SIZE)
        return VDP_REASON_tx_error;
    return packet->length > VDP_XDP_FRAME_SIZE ? VDP_REASON_mtu_exceeded : VDP_REASON_none;
}

/* Copy packets of the line into the ring, behind those that are there. */
static void fill(struct vdp_xdp *xdp, struct vdp_queue *queue)
{
    struct vdp_packet *packet = queue->tx.head;
    for (uint32_t i = 0; i < queue->given && packet != NULL; i++)
        packet = packet->next;
    for (; packet != NULL; packet = packet->next, queue->given++)
        if (unfit(packet) != VDP_REASON_none ||
            !vdp_xdp_put(xdp, packet->data, packet->length))
            return;
}

/* The kernel took so many of the line; of an error EBUSY the last one is lost. */
static void settle(struct vdp_worker *worker, struct vdp_queue *queue, uint32_t taken, int error)
{
    for (; taken > 0; taken--)
        if (taken == 1 && error == -EBUSY)
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), VDP_REASON_tx_error);
        else
            vdp_queue_sent(worker, queue, vdp_queue_take(queue));
}

/* The kernel sends nothing.  Negative errno: it never will. */
static int give_up(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_xdp *xdp, int error)
{
    uint32_t reason = error == -ENETDOWN ? VDP_REASON_port_down : VDP_REASON_tx_error;
    vdp_xdp_cancel(xdp);
    if (error == -EBADF || error == -EBADFD || error == -ENODEV || error == -ENXIO || error == -ENOTSOCK)
        return error;
    vdp_queue_clear(worker, queue, reason);
    return 0;
}

int vdp_xdp_flush(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_xdp *xdp)
{
    int result = 0;
    if (queue->given == 0)
        vdp_xdp_cancel(xdp); /* what the line has lost meanwhile (vdp_queue_clear) */
    while (queue->tx.head != NULL && result == 0) {
        uint32_t taken = 0, reason = unfit(queue->tx.head);
        if (reason != VDP_REASON_none) {
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
            continue;
        }
        result = vdp_xdp_pass(xdp, queue->tx_fd);
        if (result == 0) {
            fill(xdp, queue);
            if (queue->given == 0) /* all places are on their way out */
                return -EBUSY;
            result = vdp_xdp_send(xdp, queue->tx_fd, &taken);
            settle(worker, queue, taken, result);
        }
        if (result == -EBUSY || result == -EINTR || (result == -ENOBUFS && taken > 0))
            result = 0;
        else if (result < 0 && result != -ENOBUFS)
            result = give_up(worker, queue, xdp, result);
    }
    return result == -ENOBUFS ? -EBUSY : result;
}
