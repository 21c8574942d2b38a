/* Who may take a state's numbers (order.c). */
#ifndef VDP_ORDER_H
#define VDP_ORDER_H

#include "state.h"

/* Before this worker takes a number of the state, which is to leave in order. */
void vdp_order_begin(struct vdp_worker *worker, struct vdp_state *state);
/* What was to be sent is sent: others may take numbers, unless a queue stands still. */
void vdp_order_end(struct vdp_worker *worker);
/* Others may, whatever stands still. */
void vdp_order_release(struct vdp_worker *worker);

#endif
