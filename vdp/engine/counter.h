/* Counters and ids (counter.c); the rest of it is in engine.h. */
#ifndef VDP_COUNTER_H
#define VDP_COUNTER_H

#include "internal.h"

int vdp_counters_open(struct vdp_engine *engine);
void vdp_counters_close(struct vdp_engine *engine);

struct vdp_ids *vdp_ids_new(void); /* NULL where there is no memory */
void vdp_ids_free(struct vdp_ids *ids);
/* An id that is free, from 1 on, or -ENOSPC. */
int vdp_ids_take(struct vdp_ids *ids);
/* -ENOENT when it is not in use. */
int vdp_ids_give(struct vdp_ids *ids, uint32_t id);
bool vdp_ids_used(const struct vdp_ids *ids, uint32_t id);

#endif
