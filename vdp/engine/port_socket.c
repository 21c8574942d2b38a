/* Batches of datagrams through a socket: recvmmsg and sendmmsg, never blocking.
 *
 * Errors.  A socket reports a link that went down once and works again when the link is
 * back, so ENETDOWN is no failure; only a descriptor without a device behind it is. */
#include "port_socket.h"

/* Is the descriptor of no use any more? */
static bool is_final(int error)
{
    return error == EBADF || error == EBADFD || error == ENODEV || error == ENXIO ||
           error == ENOTSOCK;
}

/* A packet socket whose device is gone reads ENETDOWN once, like one whose device went
 * down; it differs by its index (packet_notifier: NETDEV_UNREGISTER sets -1). */
static bool device_is_gone(int fd)
{
    struct sockaddr_ll address = {0};
    socklen_t size = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
           address.sll_family == AF_PACKET && address.sll_ifindex == -1;
}

static int receive_error(int fd, int error)
{
    if (is_final(error))
        return -error;
    return error == ENETDOWN && device_is_gone(fd) ? -ENODEV : 0;
}

int vdp_socket_receive(struct vdp_queue *queue, int fd, struct vdp_packet **batch, int max,
                       size_t header_size,
                       uint32_t (*accept)(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                                          struct msghdr *message))
{
    struct mmsghdr messages[VDP_BATCH];
    struct vdp_socket_slot slots[VDP_BATCH];
    unsigned wanted = max < VDP_BATCH ? (unsigned)max : VDP_BATCH;
    bool with_address = queue->port->config.packet_type == VDP_L3;
    for (unsigned i = 0; i < wanted; i++) {
        slots[i].parts[0] = (struct iovec){&slots[i].vnet, header_size};
        slots[i].parts[1] = (struct iovec){batch[i]->data, vdp_packet_tailroom(batch[i])};
        slots[i].queue = queue;
        messages[i].msg_hdr = (struct msghdr){.msg_name = with_address ? &slots[i].address : NULL,
                                              .msg_namelen = sizeof slots[i].address,
                                              .msg_iov = slots[i].parts,
                                              .msg_iovlen = 2,
                                              .msg_control = slots[i].control,
                                              .msg_controllen = sizeof slots[i].control};
    }
    int received = recvmmsg(fd, messages, wanted, MSG_DONTWAIT, NULL);
    if (received < 0)
        return receive_error(fd, errno);
    int count = 0;
    for (int i = 0; i < received; i++) {
        struct vdp_packet *packet = batch[i];
        struct msghdr *message = &messages[i].msg_hdr;
        uint32_t reason = VDP_REASON_rx_error;
        if (messages[i].msg_len > header_size && (message->msg_flags & MSG_TRUNC) == 0) {
            packet->length = messages[i].msg_len - (uint32_t)header_size;
            vdp_queue_set_meta(queue, packet);
            reason = accept(packet, &slots[i], message);
        }
        if (reason != VDP_REASON_none) {
            vdp_queue_reject(queue, messages[i].msg_len, reason);
            vdp_packet_reset(packet);
            continue;
        }
        batch[i] = batch[count]; /* a rejected one, or itself */
        batch[count++] = packet;
    }
    return count;
}

/* The first packet in line was refused.  0: it is gone, go on. */
static int send_error(struct vdp_worker *worker, struct vdp_queue *queue, int error)
{
    if (error == EINTR)
        return 0;
    if (error == EAGAIN || error == ENOBUFS)
        return -EAGAIN;
    if (is_final(error))
        return -error;
    uint32_t reason = error == EMSGSIZE   ? VDP_REASON_mtu_exceeded
                      : error == ENETDOWN ? VDP_REASON_port_down
                                          : VDP_REASON_tx_error;
    vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
    return 0;
}

int vdp_socket_flush(struct vdp_worker *worker, struct vdp_queue *queue, size_t header_size,
                     uint32_t (*describe)(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                                          struct msghdr *message))
{
    struct mmsghdr messages[VDP_BATCH];
    struct vdp_socket_slot slots[VDP_BATCH];
    int result = 0;
    while (queue->tx.head != NULL && result == 0) {
        uint32_t reason = VDP_REASON_none;
        unsigned ready = 0;
        for (struct vdp_packet *packet = queue->tx.head; packet != NULL && ready < VDP_BATCH;
             packet = packet->next, ready++) {
            struct vdp_socket_slot *slot = &slots[ready];
            slot->parts[0] = (struct iovec){&slot->vnet, header_size};
            slot->parts[1] = (struct iovec){packet->data, packet->length};
            messages[ready].msg_hdr = (struct msghdr){.msg_iov = slot->parts, .msg_iovlen = 2};
            reason = describe(packet, slot, &messages[ready].msg_hdr);
            if (reason != VDP_REASON_none)
                break;
        }
        if (ready == 0) { /* the first one can not be sent at all */
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
            continue;
        }
        int sent = sendmmsg(queue->tx_fd, messages, ready, MSG_DONTWAIT);
        if (sent < 0)
            result = send_error(worker, queue, errno);
        for (int i = 0; i < sent; i++)
            vdp_queue_sent(worker, queue, vdp_queue_take(queue));
    }
    return result;
}
