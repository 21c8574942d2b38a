/* AF_PACKET: all frames of an interface, in batches, with their offload state.
 *
 *   message:  | virtio_net_hdr, 10 bytes (VDP_F_VNET_HDR: PACKET_VNET_HDR) | frame |
 *
 * The socket is SOCK_RAW and bound, with PACKET_IGNORE_OUTGOING, and PACKET_AUXDATA where
 * tags of VLANs matter: the kernel takes a tag out of a frame before a packet socket sees it. */
#include "port_socket.h"

#include <string.h>

enum { ADDRESSES_SIZE = 12 }; /* both MAC addresses */

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

static int packet_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                          struct vdp_packet **batch, int max)
{
    size_t size = header_size(queue);
    (void)worker;
    return vdp_socket_receive(queue, fd, batch, max, size, size > 0 ? accept_vnet : accept_plain);
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
    return vdp_socket_flush(worker, queue, header_size(queue), describe);
}

const struct vdp_port_ops vdp_port_packet_ops = {.receive = packet_receive, .flush = packet_flush};
