/* The worker's loop and its mailbox (worker.c). */
#ifndef VDP_WORKER_H
#define VDP_WORKER_H

#include "internal.h"
#include <sys/epoll.h>

/* wait.c.  Events for the worker, at least until `until_ns` (monotonic; 0: those that are
 * there) or for as long as it takes; keeps the clock and the statistics of the worker. */
#define VDP_WAIT_FOR_EVENTS UINT64_MAX
int vdp_worker_wait(struct vdp_worker *worker, struct epoll_event *events, int size,
                    uint64_t until_ns);
uint64_t vdp_monotonic_ns(void);

int vdp_worker_open(struct vdp_engine *engine, uint32_t index);
void vdp_worker_close(struct vdp_worker *worker);
int vdp_worker_start(struct vdp_worker *worker);
void vdp_worker_stop(struct vdp_worker *worker);

/* Send what waits in the queues, as far as they take it. */
void vdp_worker_flush(struct vdp_worker *worker);
/* One iteration, which waits for something to happen or does not; packets received. */
int vdp_worker_iterate(struct vdp_worker *worker, bool waits);

/* Run `call` on the worker between two batches and wait for it: its result.  What it
 * sends has left the queues by then.  On the caller where the engine is not started. */
int vdp_worker_call(struct vdp_worker *worker, int (*call)(struct vdp_worker *, void *),
                    void *argument);

/* Make epoll agree with the queue's failed and blocked. */
int vdp_worker_watch(struct vdp_worker *worker, struct vdp_queue *queue);
/* Out of epoll and of all lists of the worker. */
void vdp_worker_forget(struct vdp_worker *worker, struct vdp_queue *queue);
/* A memory port has packets to receive, or room to flush to.  Any thread. */
void vdp_worker_memory_ready(struct vdp_queue *queue);

#endif
