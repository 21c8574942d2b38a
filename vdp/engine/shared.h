/* Contents that flows share: each kept once a worker, and for as long as somebody has it. */
#ifndef VDP_SHARED_H
#define VDP_SHARED_H

#include <stdbool.h>
#include <stddef.h>

struct vdp_shared;
struct vdp_slab;

/* The table, with contents in that slab; NULL where there is no memory.  Freed when everything was
 * given back. */
struct vdp_shared *vdp_shared_new(struct vdp_slab *slab);
void vdp_shared_free(struct vdp_shared *shared);

/* A copy of the content, the same one for the same bytes; NULL where there is no memory. */
const void *vdp_shared_take(struct vdp_shared *shared, const void *content, size_t size);
/* Whether somebody else has it, too. */
bool vdp_shared_is_shared(const void *content);
/* One owner less; NULL is nothing. */
void vdp_shared_give(struct vdp_shared *shared, const void *content);

#endif
