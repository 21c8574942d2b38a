/* Where a worker's time goes, for who asks (stage.c): what it does now, and since when.
 *
 * A worker that nobody times pays a branch where a batch comes to a stage, and nothing for a
 * packet. */
#ifndef VDP_STAGE_H
#define VDP_STAGE_H

#include "internal.h"

void vdp_timing_free(struct vdp_worker *worker);

/* The slow halves of what follows. */
uint32_t vdp_timing_enter(struct vdp_worker *worker, uint32_t stage);
void vdp_timing_count(struct vdp_worker *worker, uint64_t packets);
void vdp_timing_received(struct vdp_worker *worker, uint32_t packets);

/* The worker's time is that stage's from now on; whose it was. */
static inline uint32_t vdp_stage_enter(struct vdp_worker *worker, uint32_t stage)
{
    return __builtin_expect(worker->timing != NULL, 0) ? vdp_timing_enter(worker, stage) : stage;
}

/* The stage has done its work on so many packets, at once. */
static inline void vdp_stage_count(struct vdp_worker *worker, uint64_t packets)
{
    if (__builtin_expect(worker->timing != NULL, 0))
        vdp_timing_count(worker, packets);
}

/* So many came in at once. */
static inline void vdp_stage_received(struct vdp_worker *worker, uint32_t packets)
{
    if (__builtin_expect(worker->timing != NULL, 0))
        vdp_timing_received(worker, packets);
}

#endif
