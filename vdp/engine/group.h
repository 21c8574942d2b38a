/* Groups of ports, and the packets that wait to be copied to them (group.c); the rest of it is
 * in engine.h. */
#ifndef VDP_GROUP_H
#define VDP_GROUP_H

#include "internal.h"

void vdp_groups_close(struct vdp_engine *engine);

/* GROUP: the packet gets in line, or is dropped.  Owns it. */
void vdp_group_enter(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t group,
                     uint32_t besides);
/* Make the copies of an iteration: how many, those that were lost and the packet itself included. */
uint32_t vdp_group_turn(struct vdp_worker *worker);
/* Is there something for the next turn to do at once? */
bool vdp_group_is_due(const struct vdp_worker *worker);
/* A port goes: drop what came in by it. */
void vdp_group_forget(struct vdp_worker *worker, uint32_t in_port);

#endif
