/* A packet socket's receive ring, shared with the kernel (ring.c). */
#ifndef VDP_RING_H
#define VDP_RING_H

#include <linux/if_packet.h>
#include <stdbool.h>
#include <stdint.h>

struct vdp_ring {
    uint8_t *memory; /* NULL: there is none */
    uint32_t frame_size, count;
    uint32_t next; /* the frame that the kernel fills next, as far as we have looked */
    bool is_found; /* another process had it before, and we have to see where it was */
};

/* Give the packet socket a ring for frames of up to `mtu` bytes of payload; one that it has, of
 * the same mtu, is taken as it is, with what it holds.  Negative errno, and the socket is as it
 * was: it receives by system calls. */
int vdp_ring_open(struct vdp_ring *ring, int fd, uint32_t mtu);
/* Take it away again, what is in it is lost; or leave it to the socket (`kept`). */
void vdp_ring_close(struct vdp_ring *ring, int fd, bool kept);

/* The oldest frame, or NULL.  At header + tp_mac stand tp_snaplen bytes of its tp_len, and
 * the virtio_net_hdr, where the socket has one, in front of them.  With TP_STATUS_COPY all of
 * it waits in the socket's queue besides. */
const struct tpacket2_hdr *vdp_ring_peek(struct vdp_ring *ring);
/* How many of the oldest frames in a row, at most `most` (no more than the ring has), have TP_STATUS_COPY. */
uint32_t vdp_ring_count_copies(const struct vdp_ring *ring, uint32_t most);
/* That frame is the kernel's again. */
void vdp_ring_release(struct vdp_ring *ring);

#endif
