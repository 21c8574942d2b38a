/* What a worker's thread may still ask of the kernel (confine.c). */
#ifndef VDP_CONFINE_H
#define VDP_CONFINE_H

#include "internal.h"

/* Before the first worker starts: who counts what they are refused.  Negative errno. */
int vdp_confine_prepare(const struct vdp_engine *engine);

/* On the worker's own thread, for good: no capability, no new privileges, and no system call
 * but those that moving packets takes; as config.confine says.  Negative errno: -EOPNOTSUPP on a
 * processor that there is no table for. */
int vdp_confine_worker(struct vdp_worker *worker);

#endif
