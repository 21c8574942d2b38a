/* Memory for what packets touch: items of whole cache lines, close together, in huge pages where
 * they are many. */
#ifndef VDP_SLAB_H
#define VDP_SLAB_H

#include <stddef.h>

/* What is larger is not the slab's, but allocated by itself. */
enum { VDP_SLAB_MOST = 1024 };

struct vdp_slab;

/* NULL where there is no memory. */
struct vdp_slab *vdp_slab_new(void);
/* With all items that are still taken, but for larger ones. */
void vdp_slab_free(struct vdp_slab *slab);

/* Zeroed bytes that begin on a cache line; NULL of no bytes, or where there is no memory. */
void *vdp_slab_take(struct vdp_slab *slab, size_t size);
/* An item of that size, back; NULL is nothing. */
void vdp_slab_give(struct vdp_slab *slab, void *item, size_t size);

#endif
