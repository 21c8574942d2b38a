/* AF_INET6 raw: IPv6 packets of one protocol; the kernel reassembles, routes and resolves.
 *
 *   received:  payload, with the addresses, class and hop limit beside it
 *   in hand:   | IPv6 header, made from those | payload |
 *
 * The kernel keeps the header and its extension headers, so a plain one is put back, without
 * flow label.  The socket is SOCK_RAW with IPV6_HDRINCL (Linux 4.5), so that a packet is sent
 * as it is, to the destination in its own header, and with IPV6_RECVPKTINFO,
 * IPV6_RECVTCLASS and IPV6_RECVHOPLIMIT. */
#include "port_socket.h"

#include <string.h>

enum { SOURCE = 8, DESTINATION = 24, ADDRESS_SIZE = 16, ETHERTYPE = 0x86dd };

/* The protocol that the socket is for, in port->state. */
static int ip6_open(struct vdp_port *port)
{
    int protocol = 0;
    socklen_t size = sizeof protocol;

    if (getsockopt(port->config.fd[0], SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0)
        return -errno;
    port->state = (void *)(uintptr_t)protocol;
    return 0;
}

/* The control message of that type, if it has `size` bytes. */
static bool find(struct msghdr *message, int type, void *value, size_t size)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != IPPROTO_IPV6 || part->cmsg_type != type ||
            part->cmsg_len < CMSG_LEN(size))
            continue;
        memcpy(value, CMSG_DATA(part), size);
        return true;
    }
    return false;
}

static uint32_t restore_header(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                               struct msghdr *message)
{
    struct in6_pktinfo info;
    int class = 0, hop_limit = 0;
    uint32_t size = packet->length;

    if (message->msg_namelen < sizeof slot->address.in6 ||
        !find(message, IPV6_PKTINFO, &info, sizeof info) ||
        !find(message, IPV6_TCLASS, &class, sizeof class) ||
        !find(message, IPV6_HOPLIMIT, &hop_limit, sizeof hop_limit) || size > UINT16_MAX)
        return VDP_REASON_rx_error;
    packet->data -= VDP_IPV6_SIZE; /* there is room: vdp_packet_reset */
    packet->length += VDP_IPV6_SIZE;
    uint8_t *ip = packet->data;
    vdp_store_be32(ip, 6u << 28 | ((uint32_t)class & 0xff) << 20);
    vdp_store_be16(ip + 4, (uint16_t)size);
    ip[6] = (uint8_t)(uintptr_t)slot->queue->port->state;
    ip[7] = (uint8_t)hop_limit;
    memcpy(ip + SOURCE, &slot->address.in6.sin6_addr, ADDRESS_SIZE);
    memcpy(ip + DESTINATION, &info.ipi6_addr, ADDRESS_SIZE);
    vdp_store_be32(packet->meta + 4 * VDP_META_PROTOCOL, ETHERTYPE);
    return VDP_REASON_none;
}

static int ip6_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                       struct vdp_packet **batch, int max)
{
    (void)worker;
    return vdp_socket_receive(queue, fd, batch, max, 0, restore_header);
}

static uint32_t describe(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                         struct msghdr *message)
{
    if (packet->length < VDP_IPV6_SIZE || packet->data[0] >> 4 != 6)
        return VDP_REASON_protocol_unsupported;
    memset(&slot->address, 0, sizeof slot->address);
    slot->address.in6.sin6_family = AF_INET6;
    memcpy(&slot->address.in6.sin6_addr, packet->data + DESTINATION, ADDRESS_SIZE);
    message->msg_name = &slot->address;
    message->msg_namelen = sizeof slot->address.in6;
    return VDP_REASON_none;
}

static int ip6_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    return vdp_socket_flush(worker, queue, 0, describe);
}

const struct vdp_port_ops vdp_port_ip6_ops = {
    .open = ip6_open, .receive = ip6_receive, .flush = ip6_flush};
