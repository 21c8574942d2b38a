/* Taps: copies of packets at some points of their way, for who wants to see them (tap.c).
 *
 * Where no tap is open a point costs one branch on worker->tapped. */
#ifndef VDP_TAP_H
#define VDP_TAP_H

#include "internal.h"

void vdp_taps_close(struct vdp_engine *engine);

/* The slow halves of what follows. */
void vdp_tap_show(struct vdp_worker *worker, uint32_t point, uint32_t port, struct vdp_packet *packet,
                  uint32_t reason);
void vdp_tap_show_received(struct vdp_queue *queue, struct vdp_packet *const *packets, uint32_t count);

/* A packet passes that point; at the same time at `port`. */
static inline void vdp_tap_packet(struct vdp_worker *worker, uint32_t point, uint32_t port,
                                  struct vdp_packet *packet)
{
    if (__builtin_expect(worker->tapped != 0, 0))
        vdp_tap_show(worker, point, port, packet, VDP_REASON_none);
}

/* It is being lost. */
static inline void vdp_tap_drop(struct vdp_queue *queue, struct vdp_packet *packet, uint32_t reason)
{
    if (__builtin_expect(queue->worker->tapped != 0, 0) && packet)
        vdp_tap_show(queue->worker, VDP_TAP_DROP, queue->port->number, packet, reason);
}

/* A batch came in. */
static inline void vdp_tap_receive(struct vdp_queue *queue, struct vdp_packet *const *packets,
                                   uint32_t count)
{
    if (__builtin_expect(queue->worker->tapped != 0, 0))
        vdp_tap_show_received(queue, packets, count);
}

/* filter.c: classic BPF (McCanne and Jacobson 1993), as tcpdump -d prints it.  A program is
 * checked once (-EINVAL), as the kernel's bpf_check_classic does, and then runs in bounds. */
int vdp_filter_check(const struct vdp_tap_instruction *program, uint32_t count);
/* Does it take the packet?  `size` of its `length` bytes are there. */
bool vdp_filter_run(const struct vdp_tap_instruction *program, const uint8_t *bytes, uint32_t size,
                    uint32_t length);

#endif
