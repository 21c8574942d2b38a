/* What the socket ports share: batches of recvmmsg and sendmmsg (port_socket.c). */
#ifndef VDP_PORT_SOCKET_H
#define VDP_PORT_SOCKET_H

#include "offload.h"

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What one message has besides the packet's bytes. */
struct vdp_socket_slot {
    struct iovec parts[2]; /* vnet, of the size given; the packet */
    struct virtio_net_hdr vnet;
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;
    const struct vdp_queue *queue; /* on receive */
    _Alignas(struct cmsghdr) uint8_t
        control[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};
_Static_assert(CMSG_SPACE(sizeof(struct tpacket_auxdata)) <=
                   sizeof(((struct vdp_socket_slot *)0)->control),
               "a packet socket's control message fits");

/* Receive a batch, as vdp_port_ops.receive; of an L3 port with the sender's address.  `header_size`: bytes of slot->vnet in front of
 * each packet.  `accept` gets each packet with its bytes, length and meta, and may look
 * at the slot and the message; it returns a reason. */
int vdp_socket_receive(struct vdp_queue *queue, int fd, struct vdp_packet **batch, int max,
                       size_t header_size,
                       uint32_t (*accept)(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                                          struct msghdr *message));

/* Send what waits, as vdp_port_ops.flush; where the port has VDP_F_USO and a vnet header,
 * datagrams that make a train (train.h) in one message.  `describe` fills slot->vnet, or slot->address
 * and the message's name; it returns a reason. */
int vdp_socket_flush(struct vdp_worker *worker, struct vdp_queue *queue, size_t header_size,
                     uint32_t (*describe)(struct vdp_packet *packet, struct vdp_socket_slot *slot,
                                          struct msghdr *message));

/* The content of the control message of that level and type, if it has `size` bytes. */
bool vdp_socket_find(struct msghdr *message, int level, int type, void *value, size_t size);

/* Give a message a control message of that level and type. */
void vdp_socket_tell(struct msghdr *message, struct vdp_socket_slot *slot, int level, int type,
                     const void *value, size_t size);

/* The device by which a packet is to be sent, 0: the route decides (VDP_META_DEVICE). */
static inline uint32_t vdp_socket_leaves_by(const struct vdp_packet *packet)
{
    uint32_t word = vdp_load_be32(packet->meta + 4 * VDP_META_DEVICE);
    return word & VDP_LEAVE_BY ? word & (VDP_LEAVE_BY - 1) : 0;
}

#endif
