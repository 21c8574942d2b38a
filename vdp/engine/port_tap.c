/* TAP and TUN: one system call a packet, 64 KiB super-packets where the peer has them.
 *
 *   readv, writev:  | virtio_net_hdr, 10 bytes (VDP_F_VNET_HDR) | frame or packet |
 *
 * The descriptor is IFF_NO_PI, and IFF_VNET_HDR exactly when the port was added with
 * VDP_F_VNET_HDR; TUNSETOFFLOAD has been told what the port's features say. */
#include "offload.h"

#include <sys/uio.h>

static size_t header_size(const struct vdp_queue *queue)
{
    return queue->port->config.features & VDP_F_VNET_HDR ? sizeof(struct virtio_net_hdr) : 0;
}

/* Make a packet of `size` bytes as read; a reason. */
static uint32_t accept_frame(const struct vdp_queue *queue, struct vdp_packet *packet, size_t size,
                             size_t room, const struct virtio_net_hdr *header)
{
    size_t skipped = header_size(queue);
    if (size <= skipped || size - skipped >= room) /* full to the brim: perhaps cut short */
        return VDP_REASON_rx_error;
    packet->length = (uint32_t)(size - skipped);
    vdp_queue_set_meta(queue, packet);
    return skipped > 0 ? vdp_vnet_load(packet, header) : VDP_REASON_none;
}

static int tap_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                       struct vdp_packet **batch, int max)
{
    int count = 0;
    (void)worker;
    while (count < max) {
        struct vdp_packet *packet = batch[count];
        struct virtio_net_hdr header;
        size_t room = vdp_packet_tailroom(packet);
        const struct iovec parts[2] = {{&header, header_size(queue)}, {packet->data, room}};
        ssize_t size = readv(fd, parts, 2);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (size < 0)
            return count > 0 ? count : -errno; /* said again by the next call */
        uint32_t reason = accept_frame(queue, packet, (size_t)size, room, &header);
        if (reason != VDP_REASON_none) {
            vdp_queue_reject(queue, (uint32_t)size, reason);
            vdp_packet_reset(packet);
            continue;
        }
        count++;
    }
    return count;
}

static uint32_t write_frame(const struct vdp_queue *queue, struct vdp_packet *packet, int *error)
{
    struct virtio_net_hdr header;
    unsigned version = packet->length > 0 ? packet->data[0] >> 4 : 0;
    *error = 0;
    if (queue->port->config.type == VDP_PORT_TUN && version != 4 && version != 6)
        return VDP_REASON_protocol_unsupported; /* EINVAL of tun_get_user */
    uint32_t reason = vdp_vnet_store(packet, &header);
    if (reason != VDP_REASON_none)
        return reason;
    const struct iovec parts[2] = {{&header, header_size(queue)}, {packet->data, packet->length}};
    if (writev(queue->tx_fd, parts, 2) < 0)
        *error = errno;
    return VDP_REASON_none;
}

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
    vdp_queue_count_drop(split->queue, VDP_REASON_no_buffer);
}

enum { REFUSALS = 8 }; /* no accident: none was taken between them */

/* The feature that a super-packet needs. */
static uint32_t feature_of(const struct vdp_packet *packet)
{
    switch (packet->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return 0;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return VDP_F_TSO4;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return VDP_F_TSO6;
    default:
        return VDP_F_USO;
    }
}

/* A kernel that refuses this super-packet gets its segments (some kernels return EINVAL
 * for merged writes that others take), and is not asked again once it has refused REFUSALS
 * of them.  They wait in its place, and the books of its
 * in-port and of this port count them as SEGMENT would have. */
static void split_first(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct split split = {.worker = worker, .queue = queue};
    struct vdp_packet *packet = vdp_queue_take(queue);
    struct vdp_queue *origin = vdp_worker_queue(worker, packet->in_port);
    uint32_t feature = feature_of(packet);
    if (++queue->refusals >= REFUSALS)
        atomic_fetch_or(&queue->port->refused, feature);
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

/* The first packet in line was not written.  0: go on with what is in line now. */
static int settle_error(struct vdp_worker *worker, struct vdp_queue *queue, int error)
{
    switch (error) {
    case EINTR:
        return 0;
    case EAGAIN:
    case ENOBUFS:
        return -EAGAIN;
    case EBADF:
    case EBADFD:
    case ENODEV:
    case ENXIO:
        return -error;
    case EIO: /* the device is administratively down, and may come up again */
        vdp_queue_drop(worker, queue, vdp_queue_take(queue), VDP_REASON_port_down);
        return 0;
    default:
        if (error == EINVAL && queue->tx.head->gso_type != VIRTIO_NET_HDR_GSO_NONE)
            split_first(worker, queue);
        else
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), VDP_REASON_tx_error);
        return 0;
    }
}

static int tap_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    int result = 0;
    while (queue->tx.head != NULL && result == 0) {
        int error;
        uint32_t feature = feature_of(queue->tx.head);
        if (feature & atomic_load_explicit(&queue->port->refused, memory_order_relaxed)) {
            split_first(worker, queue);
            continue;
        }
        uint32_t reason = write_frame(queue, queue->tx.head, &error);
        if (reason != VDP_REASON_none)
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
        else if (error != 0)
            result = settle_error(worker, queue, error);
        else {
            if (feature)
                queue->refusals = 0;
            vdp_queue_sent(worker, queue, vdp_queue_take(queue));
        }
    }
    return result;
}

const struct vdp_port_ops vdp_port_tap_ops = {.receive = tap_receive, .flush = tap_flush};
const struct vdp_port_ops vdp_port_tun_ops = {.receive = tap_receive, .flush = tap_flush};
