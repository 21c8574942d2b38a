/* AF_INET raw: IPv4 packets of a protocol for each socket (of tunnels, and of ICMP errors about
 * them); the kernel reassembles, routes and resolves.
 *
 * The socket is SOCK_RAW with IP_HDRINCL: a packet is sent to the destination in its own
 * header; the kernel fills in a zero id, the total length and the header checksum.  With
 * IP_PKTINFO set on the socket, a packet knows the device that it came in by. */
#include "port_socket.h"

#include <string.h>

enum { DESTINATION = 16 };

static uint32_t accept_packet(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                              struct msghdr *message)
{
    struct in_pktinfo info;
    (void)slot;
    if (message->msg_controllen > 0 &&
        vdp_socket_find(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info))
        vdp_store_be32(packet->meta + 4 * VDP_META_DEVICE, (uint32_t)info.ipi_ifindex);
    return VDP_REASON_none;
}

static int ip_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                      struct vdp_packet **batch, int max)
{
    (void)worker;
    return vdp_socket_receive(queue, fd, batch, max, 0, accept_packet);
}

static uint32_t describe(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                         struct msghdr *message)
{
    if (packet->length < VDP_IPV4_SIZE || packet->data[0] >> 4 != 4)
        return VDP_REASON_protocol_unsupported;
    memset(&slot->address, 0, sizeof slot->address);
    slot->address.in.sin_family = AF_INET;
    memcpy(&slot->address.in.sin_addr, packet->data + DESTINATION, 4);
    message->msg_name = &slot->address;
    message->msg_namelen = sizeof slot->address.in;
    uint32_t device = vdp_socket_leaves_by(packet);
    if (device != 0) {
        struct in_pktinfo info = {.ipi_ifindex = (int)device};
        vdp_socket_tell(message, slot, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    return VDP_REASON_none;
}

static int ip_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    return vdp_socket_flush(worker, queue, 0, describe);
}

const struct vdp_port_ops vdp_port_ip_ops = {.receive = ip_receive, .flush = ip_flush};
