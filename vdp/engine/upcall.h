/* Packets on their way to the slow path, and back (upcall.c). */
#ifndef VDP_UPCALL_H
#define VDP_UPCALL_H

#include "flow.h"

int vdp_upcall_open(struct vdp_worker *worker);
void vdp_upcall_close(struct vdp_worker *worker);
void vdp_upcall_attach(struct vdp_worker *worker, struct vdp_queue *queue);
/* Another rate of misses; what was saved of the old one counts no more than a second's worth. */
void vdp_upcall_limit(struct vdp_queue *queue, uint32_t rate);

/* A packet missed: put it in line, or drop it (upcall_rate, upcall_queue_full).  Owns it. */
void vdp_upcall_miss(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet);
/* The UPCALL action: a copy, within the in-port's action_rate. */
void vdp_upcall_copy(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t cookie);
/* Run the packets that wait for this flow, in order. */
void vdp_upcall_drain(struct vdp_worker *worker, struct vdp_flow *flow);
/* The port goes: drop what it holds, taken or not (shutdown). */
void vdp_upcall_clear(struct vdp_worker *worker, struct vdp_queue *queue);

#endif
