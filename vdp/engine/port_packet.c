/* AF_PACKET: all frames of an interface, in batches, with their offload state.
 *
 *   message:  | virtio_net_hdr, 10 bytes (VDP_F_VNET_HDR: PACKET_VNET_HDR) | frame |
 *
 * The socket is SOCK_RAW and bound, with PACKET_IGNORE_OUTGOING, and PACKET_AUXDATA where
 * tags of VLANs matter: the kernel takes a tag out of a frame before a packet socket sees it.
 *
 * Frames come through a ring (ring.h) where the kernel gives one, else by recvmmsg; they go
 * by sendmmsg, or, of a worker whose send_fd is an AF_XDP socket, through its ring (xdp.h).
 * Who waits for frames on a socket pays for each that leaves by it (sock_def_write_space), so
 * the sockets that send are others than those that receive. */
#include "port_socket.h"
#include "ring.h"
#include "xdp.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESSES_SIZE = 12 }; /* both MAC addresses */

/* A thread that asks the kernel for a ring. */
struct opener {
    pthread_t thread;
    bool runs;
    struct vdp_ring *ring;
    int fd;
    uint32_t mtu;
};

/* port->state: a ring for each descriptor, and one for each worker that sends by AF_XDP; some
 * perhaps without memory. */
struct packet_state {
    struct vdp_ring rings[VDP_MAX_WORKERS];
    struct opener openers[VDP_MAX_WORKERS];
    struct vdp_xdp xdp[VDP_MAX_WORKERS];
};

static bool is_xdp(int fd)
{
    int domain = 0;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_XDP;
}

static void close_xdp(struct packet_state *state)
{
    for (uint32_t i = 0; i < VDP_MAX_WORKERS; i++)
        vdp_xdp_close(&state->xdp[i]);
}

/* Of a device with fewer queues than workers, those beyond send by fd. */
static int open_xdp(struct vdp_port *port, struct packet_state *state)
{
    struct sockaddr_ll address = {0};
    socklen_t size = sizeof address;
    for (uint32_t i = 0; i < port->config.send_count; i++) {
        int fd = port->config.send_fd[i];
        if (!is_xdp(fd))
            continue;
        int result = getsockname(port->config.fd[0], (struct sockaddr *)&address, &size) < 0 ? -errno : 0;
        if (result == 0)
            result = vdp_xdp_open(&state->xdp[i], fd, (uint32_t)address.sll_ifindex, i, port->config.mtu);
        if (result == -EINVAL && i > 0) {
            port->config.send_count = i;
        } else if (result < 0) {
            close_xdp(state);
            return result;
        }
    }
    return 0;
}

static void *open_ring(void *argument)
{
    struct opener *opener = argument;
    (void)vdp_ring_open(opener->ring, opener->fd, opener->mtu);
    return NULL;
}

/* The kernel waits with each ring until nobody is on the way to a socket without one
 * (packet_set_ring: synchronize_net), some 10 ms: all rings wait at once. */
static int packet_open(struct vdp_port *port)
{
    struct packet_state *state = calloc(1, sizeof *state);
    sigset_t all, before;
    if (state == NULL)
        return -ENOMEM;
    int result = open_xdp(port, state);
    if (result < 0) {
        free(state);
        return result;
    }
    port->state = state;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new threads inherit it */
    for (uint32_t i = 0; i + port->config.control_count < port->config.fd_count; i++) {
        struct opener *opener = &state->openers[i];
        *opener = (struct opener){
            .ring = &state->rings[i], .fd = port->config.fd[i], .mtu = port->config.mtu};
        opener->runs = pthread_create(&opener->thread, NULL, open_ring, opener) == 0;
        if (!opener->runs)
            (void)open_ring(opener);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

static void packet_opened(struct vdp_port *port)
{
    struct packet_state *state = port->state;
    for (uint32_t i = 0; state != NULL && i < port->config.fd_count; i++) {
        if (state->openers[i].runs)
            (void)pthread_join(state->openers[i].thread, NULL);
        state->openers[i].runs = false;
    }
}

static void packet_close(struct vdp_port *port)
{
    struct packet_state *state = port->state;
    if (state == NULL)
        return;
    packet_opened(port);
    for (uint32_t i = 0; i < port->config.fd_count; i++)
        vdp_ring_close(&state->rings[i], port->config.fd[i], port->config.kept != 0);
    close_xdp(state);
    free(state);
    port->state = NULL;
}

static uint32_t packet_ring(const struct vdp_port *port)
{
    const struct packet_state *state = port->state;
    return state != NULL && state->rings[0].memory != NULL ? state->rings[0].count : 0;
}

static struct vdp_ring *ring_of(const struct vdp_queue *queue, int fd)
{
    struct packet_state *state = queue->port->state;
    for (uint32_t i = 0; state != NULL && i < queue->port->config.fd_count; i++)
        if (queue->port->config.fd[i] == fd)
            return state->rings[i].memory != NULL ? &state->rings[i] : NULL;
    return NULL;
}

static size_t header_size(const struct vdp_queue *queue)
{
    return queue->port->config.features & VDP_F_VNET_HDR ? sizeof(struct virtio_net_hdr) : 0;
}

static bool find_tag(struct msghdr *message, struct tpacket_auxdata *auxdata)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA ||
            part->cmsg_len < CMSG_LEN(sizeof *auxdata))
            continue;
        memcpy(auxdata, CMSG_DATA(part), sizeof *auxdata);
        return (auxdata->tp_status & TP_STATUS_VLAN_VALID) != 0;
    }
    return false;
}

/* Back between the addresses and the EtherType, where it was on the wire.  csum_start
 * counts from the buffer, so it stays right. */
static uint32_t restore_tag(struct vdp_packet *packet, const struct tpacket_auxdata *auxdata)
{
    if (packet->length < VDP_ETHERNET_SIZE || vdp_packet_headroom(packet) < VDP_VLAN_SIZE)
        return VDP_REASON_rx_error;
    bool named = (auxdata->tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
    memmove(packet->data - VDP_VLAN_SIZE, packet->data, ADDRESSES_SIZE);
    packet->data -= VDP_VLAN_SIZE;
    packet->length += VDP_VLAN_SIZE;
    vdp_store_be16(packet->data + ADDRESSES_SIZE, named ? auxdata->tp_vlan_tpid : 0x8100);
    vdp_store_be16(packet->data + ADDRESSES_SIZE + 2, auxdata->tp_vlan_tci);
    return VDP_REASON_none;
}

static uint32_t accept_plain(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                             struct msghdr *message)
{
    struct tpacket_auxdata auxdata;
    (void)slot;
    return find_tag(message, &auxdata) ? restore_tag(packet, &auxdata) : VDP_REASON_none;
}

/* The header counts from the frame without the tag, so it is read first. */
static uint32_t accept_vnet(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                            struct msghdr *message)
{
    uint32_t reason = vdp_vnet_load(packet, &slot->vnet);
    return reason == VDP_REASON_none ? accept_plain(packet, slot, message) : reason;
}

/* What the kernel put into the ring, as accept_vnet and accept_plain take it from a message. */
static uint32_t accept_frame(const struct vdp_queue *queue, struct vdp_packet *packet,
                             const struct tpacket2_hdr *header)
{
    const uint8_t *frame = (const uint8_t *)header + header->tp_mac;
    const struct tpacket_auxdata auxdata = {.tp_status = header->tp_status,
                                            .tp_vlan_tci = header->tp_vlan_tci,
                                            .tp_vlan_tpid = header->tp_vlan_tpid};
    uint32_t reason = VDP_REASON_none;
    if (header->tp_snaplen == 0 || header->tp_snaplen < header->tp_len ||
        header->tp_snaplen >= vdp_packet_tailroom(packet))
        return VDP_REASON_rx_error;
    memcpy(packet->data, frame, header->tp_snaplen);
    packet->length = header->tp_snaplen;
    vdp_queue_set_meta(queue, packet);
    if (header_size(queue) > 0) {
        struct virtio_net_hdr vnet;
        memcpy(&vnet, frame - sizeof vnet, sizeof vnet);
        reason = vdp_vnet_load(packet, &vnet);
    }
    if (reason == VDP_REASON_none && header->tp_status & TP_STATUS_VLAN_VALID)
        reason = restore_tag(packet, &auxdata);
    return reason;
}

static int receive_calls(struct vdp_queue *queue, int fd, struct vdp_packet **batch, int max)
{
    size_t size = header_size(queue);
    return vdp_socket_receive(queue, fd, batch, max, size, size > 0 ? accept_vnet : accept_plain);
}

/* Long frames, which came to the socket's queue as well, in one call; how many that gave.  Where
 * that reports an error instead, the first one is left for later. */
static int take_copies(struct vdp_queue *queue, int fd, struct vdp_ring *ring,
                       struct vdp_packet **batch, uint32_t most)
{
    uint32_t count = vdp_ring_count_copies(ring, most);
    uint64_t rejected = queue->stats.rx_packets; /* which those that are good are not yet in */
    int taken = receive_calls(queue, fd, batch, (int)count);
    if (taken < 0)
        return taken;
    rejected = queue->stats.rx_packets - rejected;
    vdp_ring_release(ring);
    for (uint64_t i = 1; i < (uint64_t)taken + rejected; i++)
        vdp_ring_release(ring);
    return taken;
}

/* One frame of the ring into *batch, or some; how many that gave. */
static int take_frames(struct vdp_queue *queue, int fd, struct vdp_ring *ring,
                       const struct tpacket2_hdr *header, struct vdp_packet **batch, int most)
{
    if (header->tp_status & TP_STATUS_COPY)
        return take_copies(queue, fd, ring, batch, (uint32_t)most);
    uint32_t reason = accept_frame(queue, *batch, header);
    if (reason != VDP_REASON_none) {
        vdp_queue_reject(queue, *batch, header->tp_len, reason);
        vdp_packet_reset(*batch);
    }
    vdp_ring_release(ring);
    return reason == VDP_REASON_none;
}

static int packet_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                          struct vdp_packet **batch, int max)
{
    struct vdp_ring *ring = ring_of(queue, fd);
    const struct tpacket2_hdr *header = ring != NULL ? vdp_ring_peek(ring) : NULL;
    int count = 0;
    (void)worker;
    if (header == NULL) /* no ring; or an error waits, or what an error kept back before */
        return receive_calls(queue, fd, batch, max);
    while (count < max && header != NULL) {
        int taken = take_frames(queue, fd, ring, header, batch + count, max - count);
        if (taken < 0)
            return count > 0 ? count : taken; /* said again by the next call */
        header = vdp_ring_peek(ring);
        count += taken;
    }
    return count;
}

static uint32_t describe(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                         struct msghdr *message)
{
    (void)message;
    if (packet->length < VDP_ETHERNET_SIZE)
        return VDP_REASON_tx_error;
    return vdp_vnet_store(packet, &slot->vnet);
}

static int packet_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct packet_state *state = queue->port->state;
    if (state != NULL && state->xdp[worker->index].frames != NULL)
        return vdp_xdp_flush(worker, queue, &state->xdp[worker->index]);
    return vdp_socket_flush(worker, queue, header_size(queue), describe);
}

const struct vdp_port_ops vdp_port_packet_ops = {.open = packet_open,
                                                 .close = packet_close,
                                                 .opened = packet_opened,
                                                 .ring = packet_ring,
                                                 .receive = packet_receive,
                                                 .flush = packet_flush};
