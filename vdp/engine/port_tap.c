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
            vdp_queue_reject(queue, packet, (uint32_t)size, reason);
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

/* The first packet in line was not written.  0: go on with what is in line now. */
static int settle_error(struct vdp_worker *worker, struct vdp_queue *queue, int error)
{
    switch (error) {
    case EINTR:
        return 0;
    case EAGAIN:
    case ENOBUFS:
        return -error;
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
            vdp_refusal_split(worker, queue);
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
        if (vdp_refusal_is_known(queue, queue->tx.head)) {
            vdp_refusal_split(worker, queue);
            continue;
        }
        uint32_t reason = write_frame(queue, queue->tx.head, &error);
        if (reason != VDP_REASON_none)
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
        else if (error != 0)
            result = settle_error(worker, queue, error);
        else {
            vdp_refusal_forgive(queue, queue->tx.head);
            vdp_queue_sent(worker, queue, vdp_queue_take(queue));
        }
    }
    return result;
}

const struct vdp_port_ops vdp_port_tap_ops = {.receive = tap_receive, .flush = tap_flush};
const struct vdp_port_ops vdp_port_tun_ops = {.receive = tap_receive, .flush = tap_flush};
