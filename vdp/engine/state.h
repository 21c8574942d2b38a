/* States: numbers that outlive a packet, shared by all workers (state.c). */
#ifndef VDP_STATE_H
#define VDP_STATE_H

#include "internal.h"

/* The numbers that came in last, each in a slot of its own:
 *
 *   63                       32 31          27 26            0
 *   | number >> bits (its tag)  | worker + 1  | when it came in |
 *
 * Slot i holds numbers that are i modulo the count of slots, 1 << bits, which is more
 * than `size`; 0: none came in.  When: the low bits of the worker's serial number of the packet
 * (vdp_worker_serial).  newest: by worker, the newest number that it let pass; 0: none. */
struct vdp_window {
    uint32_t size, bits;
    _Atomic uint64_t newest[VDP_MAX_WORKERS];
    _Atomic uint64_t slots[];
};

struct vdp_state {
    _Atomic uint64_t value; /* the number; above 32 bits: engine.h, REQUIRE_SEQUENCE */
    struct vdp_window *_Atomic window;
    _Atomic uint32_t holder; /* order.c: its worker's index + 1; 0: none */
};

/* How a packet came to be judged by its number. */
struct vdp_arrival {
    uint32_t worker; /* that took it */
    uint32_t serial; /* when it came in */
    bool waited;     /* it is looked at only now, after others that came in later */
    bool shared;     /* other workers receive, too: in which order is not known */
};

/* How far other workers may be ahead of one, in numbers: what they receive in the tens of
 * milliseconds for which a thread may not be run. */
enum { VDP_WORKERS_APART = 1 << 16 };

void vdp_states_close(struct vdp_engine *engine);

/* The state of that id, NULL when there never was one. */
struct vdp_state *vdp_state_find(struct vdp_engine *engine, uint32_t id);
/* What ID, SEQUENCE, STATE, REQUIRE_SEQUENCE and UPCALL do with one; on any worker. */
uint32_t vdp_state_take(struct vdp_state *state, uint32_t count); /* the number, which grows by count */
bool vdp_state_spend(struct vdp_state *state); /* one less; false when it was zero */
uint32_t vdp_state_number(struct vdp_state *state);
/* Whether a packet with that number passes by this rule (enum vdp_sequence_rule). */
bool vdp_state_pass(struct vdp_state *state, uint32_t sequence, uint32_t rule,
                    const struct vdp_arrival *arrival);

#endif
