/* A train: UDP datagrams that wait one behind the other and leave in one write. */
#ifndef VDP_TRAIN_H
#define VDP_TRAIN_H

#include "offload.h"

enum {
    VDP_TRAIN_FRONT = 128,   /* bytes of headers up to the UDP header's end */
    VDP_TRAIN_DATAGRAMS = 64 /* UDP_MAX_SEGMENTS before Linux 6.8 */
};

/* The first `count` packets of a list, as one super-packet:
 *
 *   | front, of front_size bytes | payload of packet 0 | payload of packet 1 | …
 *
 * A payload is what a packet has from front_size on.  The packets stay as they are. */
struct vdp_train {
    uint32_t count; /* 1: no train, and nothing below is set */
    uint32_t front_size;
    struct virtio_net_hdr vnet;
    uint8_t front[VDP_TRAIN_FRONT];
};

/* How many packets from `first` on (by `next`), at most `most`, make a train. */
void vdp_train_plan(struct vdp_train *train, const struct vdp_packet *first, uint32_t most);

#endif
