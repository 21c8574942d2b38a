/* Batches of datagrams through a socket: recvmmsg and sendmmsg, never blocking.
 *
 * Errors.  A socket reports a link that went down once and works again when the link is
 * back, so ENETDOWN is no failure; only a descriptor without a device behind it is. */
#include "port_socket.h"
#include "train.h"

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
            vdp_queue_reject(queue, packet, messages[i].msg_len, reason);
            vdp_packet_reset(packet);
            continue;
        }
        batch[i] = batch[count]; /* a rejected one, or itself */
        batch[count++] = packet;
    }
    return count;
}

bool vdp_socket_find(struct msghdr *message, int level, int type, void *value, size_t size)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != level || part->cmsg_type != type || part->cmsg_len < CMSG_LEN(size))
            continue;
        memcpy(value, CMSG_DATA(part), size);
        return true;
    }
    return false;
}

void vdp_socket_tell(struct msghdr *message, struct vdp_socket_slot *slot, int level, int type,
                     const void *value, size_t size)
{
    memset(slot->control, 0, sizeof slot->control);
    message->msg_control = slot->control;
    message->msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *part = CMSG_FIRSTHDR(message);
    part->cmsg_level = level;
    part->cmsg_type = type;
    part->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(part), value, size);
}

/* The first packet in line was refused.  0: it is gone, go on. */
static int send_error(struct vdp_worker *worker, struct vdp_queue *queue, int error)
{
    if (error == EINTR)
        return 0;
    if (error == EAGAIN || error == ENOBUFS)
        return -error;
    if (error == EINVAL && queue->tx.head->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        vdp_refusal_split(worker, queue);
        return 0;
    }
    /* A device that a packet was to leave by and that is gone is that packet's trouble only. */
    bool is_devices = error == ENODEV && vdp_socket_leaves_by(queue->tx.head) != 0;
    if (is_final(error) && !is_devices)
        return -error;
    uint32_t reason = error == EMSGSIZE   ? VDP_REASON_mtu_exceeded
                      : error == ENETDOWN ? VDP_REASON_port_down
                                          : VDP_REASON_tx_error;
    vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
    return 0;
}

/* What one call sends: messages of a packet each, or of a train. */
struct outgoing {
    unsigned count, train_count, part_count;
    struct mmsghdr messages[VDP_BATCH];
    struct vdp_socket_slot slots[VDP_BATCH];
    unsigned packets[VDP_BATCH]; /* of each message */
    struct vdp_train trains[VDP_BATCH / 2];
    struct iovec parts[3 * VDP_BATCH]; /* a message has two, and one for each packet */
};

static void add_part(struct outgoing *out, void *bytes, size_t size)
{
    out->parts[out->part_count++] = (struct iovec){bytes, size};
}

/* The next message: a train from `packet` on, of at most `most`; false: there is none. */
static bool add_train(struct outgoing *out, struct vdp_packet *packet, unsigned most)
{
    struct vdp_train *train = &out->trains[out->train_count];
    vdp_train_plan(train, packet, most);
    if (train->count < 2)
        return false;
    unsigned first = out->part_count;
    add_part(out, &train->vnet, sizeof train->vnet);
    add_part(out, train->front, train->front_size);
    for (uint32_t i = 0; i < train->count; i++, packet = packet->next)
        add_part(out, packet->data + train->front_size, packet->length - train->front_size);
    out->messages[out->count].msg_hdr =
        (struct msghdr){.msg_iov = &out->parts[first], .msg_iovlen = out->part_count - first};
    out->packets[out->count++] = train->count;
    out->train_count++;
    return true;
}

/* Messages for what waits, until one can not be described: its reason. */
static uint32_t prepare(struct outgoing *out, struct vdp_queue *queue, size_t header_size,
                        uint32_t (*describe)(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                                             struct msghdr *message))
{
    uint32_t refused = atomic_load_explicit(&queue->port->refused, memory_order_relaxed);
    bool by_train =
        header_size > 0 && (queue->port->config.features & ~refused & VDP_F_USO) != 0;
    unsigned taken = 0;
    out->count = out->train_count = out->part_count = 0;
    for (struct vdp_packet *packet = queue->tx.head; packet != NULL && taken < VDP_BATCH;) {
        unsigned at = out->count;
        if (taken > 0 && vdp_refusal_is_known(queue, packet))
            return VDP_REASON_none; /* until it is the first, which was asked for already */
        if (!by_train || !add_train(out, packet, VDP_BATCH - taken)) {
            struct vdp_socket_slot *slot = &out->slots[at];
            struct msghdr *message = &out->messages[at].msg_hdr;
            *message = (struct msghdr){.msg_iov = &out->parts[out->part_count], .msg_iovlen = 2};
            uint32_t reason = describe(packet, slot, message);
            if (reason != VDP_REASON_none)
                return reason;
            add_part(out, &slot->vnet, header_size);
            add_part(out, packet->data, packet->length);
            out->packets[out->count++] = 1;
        }
        taken += out->packets[at];
        for (unsigned i = 0; i < out->packets[at]; i++)
            packet = packet->next;
    }
    return VDP_REASON_none;
}

/* A kernel or device that takes no such super-packet: from now on each datagram goes alone. */
static bool refuses_trains(const struct outgoing *out, struct vdp_queue *queue, int error)
{
    if (out->packets[0] < 2 || is_final(error) || error == EINTR || error == EAGAIN ||
        error == ENOBUFS || error == ENETDOWN)
        return false;
    atomic_fetch_or(&queue->port->refused, VDP_F_USO);
    vdp_stat_add(&queue->stats.refused, 1);
    return true;
}

int vdp_socket_flush(struct vdp_worker *worker, struct vdp_queue *queue, size_t header_size,
                     uint32_t (*describe)(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                                          struct msghdr *message))
{
    struct outgoing out;
    int result = 0;
    while (queue->tx.head != NULL && result == 0) {
        if (vdp_refusal_is_known(queue, queue->tx.head)) {
            vdp_refusal_split(worker, queue);
            continue;
        }
        uint32_t reason = prepare(&out, queue, header_size, describe);
        if (out.count == 0) { /* the first one can not be sent at all */
            vdp_queue_drop(worker, queue, vdp_queue_take(queue), reason);
            continue;
        }
        int sent = sendmmsg(queue->tx_fd, out.messages, out.count, MSG_DONTWAIT);
        if (sent < 0 && !refuses_trains(&out, queue, errno))
            result = send_error(worker, queue, errno);
        for (int i = 0; i < sent; i++)
            for (unsigned n = 0; n < out.packets[i]; n++) {
                vdp_refusal_forgive(queue, queue->tx.head);
                vdp_queue_sent(worker, queue, vdp_queue_take(queue));
            }
    }
    return result;
}
