/* Counters and states (counter.c); the rest of it is in engine.h. */
#ifndef VDP_COUNTER_H
#define VDP_COUNTER_H

#include "internal.h"

int vdp_counters_open(struct vdp_engine *engine);
void vdp_counters_close(struct vdp_engine *engine);

#endif
