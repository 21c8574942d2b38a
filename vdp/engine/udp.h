/* UDP as tunnels use it: the outer checksum, and a source port made of the flow inside. */
#ifndef VDP_UDP_H
#define VDP_UDP_H

#include "offload.h"

/* The UDP header at `transport`, behind the IP header at `network`, whose addresses are
 * written: its checksum field holds the pseudo header's sum, the rest is left to be finished
 * (needs_csum).  An unfinished checksum inside is finished first.  A reason. */
uint32_t vdp_udp_leave_checksum(struct vdp_packet *packet, unsigned version, uint32_t network,
                                uint32_t transport);

/* Is its checksum good?  An unfinished one is: it was not on any wire yet.  Zero stands for
 * none, which passes where `zero_passes`.  A reason when that can not be told. */
uint32_t vdp_udp_check(struct vdp_packet *packet, unsigned version, uint32_t network,
                       uint32_t transport, bool zero_passes, bool *good);

/* A number that is the same for the same bytes; `size` is a multiple of 4. */
uint32_t vdp_udp_hash(const uint8_t *bytes, uint32_t size);

#endif
