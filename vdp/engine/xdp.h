/* An AF_XDP socket's ring for sending, shared with the kernel (xdp.c, port_xdp.c). */
#ifndef VDP_XDP_H
#define VDP_XDP_H

#include <linux/if_xdp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdp_queue;
struct vdp_worker;

enum { VDP_XDP_FRAMES = 1024, VDP_XDP_FRAME_SIZE = 4096 /* a page, on most machines */ };

/* Memory shared with the kernel, and where in it a ring stands. */
struct vdp_xdp_ring {
    void *memory; /* NULL: not mapped */
    size_t size;
    uint32_t *producer, *consumer;
    void *entries;
};

struct vdp_xdp {
    uint8_t *frames; /* NULL: there is none */
    struct vdp_xdp_ring sending, completed;
    uint32_t produced; /* descriptors that we have put in */
    uint32_t taken;    /* of them, those that are the kernel's; those behind wait */
    uint32_t void_count; /* of those, the last that are cancelled, and not passed over yet */
    uint32_t free_count;
    uint64_t free[VDP_XDP_FRAMES]; /* places of frames that are ours */
};

/* Bind the socket to a device's queue, for frames of up to `mtu` bytes of payload.  Negative
 * errno: EBUSY where another socket has that queue, EMSGSIZE where the frames are too long. */
int vdp_xdp_open(struct vdp_xdp *xdp, int fd, uint32_t ifindex, uint32_t queue, uint32_t mtu);
/* Give the memory back; the descriptor stays the caller's. */
void vdp_xdp_close(struct vdp_xdp *xdp);

/* Copy a frame of at most VDP_XDP_FRAME_SIZE bytes into the ring; false: there is no room. */
bool vdp_xdp_put(struct vdp_xdp *xdp, const uint8_t *bytes, uint32_t length);
/* Have the kernel send.  *taken: how many more it took.  Negative errno: ENOBUFS, the rest
 * waits; EBUSY, the device lost the last of those taken; else the rest can not be sent. */
int vdp_xdp_send(struct vdp_xdp *xdp, int fd, uint32_t *taken);
/* What the kernel has not taken is not sent. */
void vdp_xdp_cancel(struct vdp_xdp *xdp);
/* Have the kernel pass over what is cancelled, before anything is put behind it.  Negative
 * errno: it does not, or can not send. */
int vdp_xdp_pass(struct vdp_xdp *xdp, int fd);

/* Send what waits, as vdp_port_ops.flush. */
int vdp_xdp_flush(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_xdp *xdp);

#endif
