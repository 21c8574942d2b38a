/* Headers that programs write by number (header.c); the rest of it is in engine.h. */
#ifndef VDP_HEADER_H
#define VDP_HEADER_H

#include "internal.h"

int vdp_headers_open(struct vdp_engine *engine);
void vdp_headers_close(struct vdp_engine *engine);

/* Have it fetched. */
const void *vdp_header_place(struct vdp_engine *engine, uint32_t header);

#endif
