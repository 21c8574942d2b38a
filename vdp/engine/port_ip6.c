/* AF_INET6 raw: IPv6 packets of a protocol for each socket (of tunnels, and of ICMP errors about
 * them); the kernel reassembles, routes and resolves.
 *
 *   received:  payload, with the addresses, class and hop limit beside it
 *   in hand:   | IPv6 header, made from those | payload |
 *
 * The kernel keeps the header and its extension headers, so a plain one is put back, without
 * flow label.  The socket is SOCK_RAW with IPV6_HDRINCL (Linux 4.5), so that a packet is sent
 * as it is, to the destination in its own header, and with IPV6_RECVPKTINFO,
 * IPV6_RECVTCLASS and IPV6_RECVHOPLIMIT. */
#include "port_socket.h"

#include <stdlib.h>
#include <string.h>

enum { NEXT_HEADER = 6, SOURCE = 8, DESTINATION = 24, ADDRESS_SIZE = 16, ETHERTYPE = 0x86dd };

/* The protocol of each socket: port->state. */
static int ip6_open(struct vdp_port *port)
{
    uint8_t *protocols = calloc(VDP_MAX_WORKERS, 1);

    if (!protocols)
        return -ENOMEM;
    for (uint32_t i = 0; i < port->config.fd_count; i++) {
        int protocol = 0;
        socklen_t size = sizeof protocol;
        if (getsockopt(port->config.fd[i], SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0) {
            int error = errno;
            free(protocols);
            return -error;
        }
        protocols[i] = (uint8_t)protocol;
    }
    port->state = protocols;
    return 0;
}

static void ip6_close(struct vdp_port *port)
{
    free(port->state);
}

static uint8_t protocol_of(const struct vdp_port *port, int fd)
{
    const uint8_t *protocols = port->state;
    uint32_t i = 0;

    while (i + 1 < port->config.fd_count && port->config.fd[i] != fd)
        i++;
    return protocols[i];
}

static bool find(struct msghdr *message, int type, void *value, size_t size)
{
    return vdp_socket_find(message, IPPROTO_IPV6, type, value, size);
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
    ip[NEXT_HEADER] = 0; /* ip6_receive knows */
    ip[7] = (uint8_t)hop_limit;
    memcpy(ip + SOURCE, &slot->address.in6.sin6_addr, ADDRESS_SIZE);
    memcpy(ip + DESTINATION, &info.ipi6_addr, ADDRESS_SIZE);
    vdp_store_be32(packet->meta + 4 * VDP_META_PROTOCOL, ETHERTYPE);
    vdp_store_be32(packet->meta + 4 * VDP_META_DEVICE, info.ipi6_ifindex);
    return VDP_REASON_none;
}

static int ip6_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                       struct vdp_packet **batch, int max)
{
    uint8_t protocol = protocol_of(queue->port, fd);
    int count = vdp_socket_receive(queue, fd, batch, max, 0, restore_header);
    (void)worker;
    for (int i = 0; i < count; i++)
        batch[i]->data[NEXT_HEADER] = protocol;
    return count;
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
    uint32_t device = vdp_socket_leaves_by(packet);
    if (device != 0) {
        struct in6_pktinfo info = {.ipi6_ifindex = device};
        vdp_socket_tell(message, slot, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
    return VDP_REASON_none;
}

static int ip6_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    return vdp_socket_flush(worker, queue, 0, describe);
}

const struct vdp_port_ops vdp_port_ip6_ops = {
    .open = ip6_open, .close = ip6_close, .receive = ip6_receive, .flush = ip6_flush};
