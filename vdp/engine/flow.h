/* Flows: programs (program.c), the classifier (classify.c), lookups (lookup.c), the table
 * (flow.c). */
#ifndef VDP_FLOW_H
#define VDP_FLOW_H

#include "mask.h"
#include "shared.h"
#include "slab.h"

/* A checked program in one piece: actions, then the constants.  What it touches that other
 * programs do not: the last counter, state, state that UPCALL asks, header and output of its
 * straight run, 0 for none. */
struct vdp_compiled {
    uint32_t count, blob_size;
    uint32_t counter, state, signal, header, output;
    uint32_t straight; /* actions of that run */
    struct vdp_action actions[];
};

static inline const uint8_t *vdp_compiled_blob(const struct vdp_compiled *program)
{
    return (const uint8_t *)(program->actions + program->count);
}

static inline size_t vdp_compiled_size(const struct vdp_compiled *program)
{
    return sizeof *program + program->count * sizeof *program->actions + program->blob_size;
}

struct vdp_entry {
    uint64_t hash;
    struct vdp_flow *flow; /* NULL: empty */
};

/* Flows of one in-port that share a mask: a hash table over the masked words, with linear
 * probing, at most half full: a flow that is not there costs one cache line. */
struct vdp_subtable {
    const struct vdp_mask *mask; /* shared */
    struct vdp_entry *entries;
    uint32_t flow_count, entry_count; /* a power of two */
    uint64_t hits; /* since the last sorting, older ones halved */
};

/* Begins on a cache line (slab.c): of one flow among many a packet touches two or three.  The
 * first is the only one that it writes to. */
struct vdp_flow {
    const struct vdp_mask *mask;         /* its subtable's */
    const struct vdp_compiled *program;  /* shared */
    uint64_t hash;
    uint32_t in_port, slot;
    struct vdp_flow_stats stats;
    uint32_t min_length, max_length;
    uint64_t key[]; /* masked words, as many as the mask has */
};
_Static_assert(offsetof(struct vdp_flow, min_length) == VDP_LINE, "what is written lies together");

/* Bytes of a flow whose mask has that many words. */
static inline size_t vdp_flow_size(const struct vdp_mask *mask)
{
    return sizeof(struct vdp_flow) + mask->word_count * sizeof(uint64_t);
}

/* Flows of what comes in by one port. */
struct vdp_classifier {
    struct vdp_subtable **subtables; /* the most hit first, now and then */
    uint32_t count, size;
    uint32_t lookups;          /* since the last sorting */
    struct vdp_flow *previous; /* of the packet before */
};

/* Flows by slot; an id is slot and serial number, so that an old id finds nothing. */
struct vdp_flow_table {
    struct vdp_flow **slots;
    uint32_t *unused; /* a stack of free slots */
    struct vdp_shared *shared; /* masks and programs */
    uint32_t size, count;
    uint64_t serial;
};

/* program.c.  A checked copy, or NULL: -EINVAL, -ENOMEM in *error. */
struct vdp_compiled *vdp_program_compile(const struct vdp_program *program, int *error);

/* execute.c.  Runs the program on the packet from action `start` on.  Owns the packet. */
void vdp_execute(struct vdp_worker *worker, const struct vdp_compiled *program,
                 struct vdp_packet *packet, uint32_t start);

/* OUTPUT: hand the packet to that port, or drop it.  Owns it. */
void vdp_execute_output(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t port);

/* lookup.c.  The flow of each packet by its in-port, NULL where none takes it; at most
 * VDP_BATCH.  Has what running them will touch fetched meanwhile. */
void vdp_lookup(struct vdp_worker *worker, struct vdp_packet *const *packets, uint32_t count,
                struct vdp_flow **flows);

_Static_assert(sizeof(struct vdp_flow) + VDP_KEY_WORDS * sizeof(uint64_t) <= VDP_SLAB_MOST,
               "a flow that looks at all there is");

static inline bool vdp_flow_matches(const struct vdp_flow *flow, const struct vdp_packet *packet)
{
    return packet->length >= flow->min_length && packet->length <= flow->max_length &&
           vdp_mask_matches(flow->mask, packet, flow->key);
}

/* classify.c */
/* Insert a flow for a checked match: 0, -EEXIST, -E2BIG, -ENOMEM. */
int vdp_classifier_insert(struct vdp_worker *worker, struct vdp_queue *queue,
                          const struct vdp_match *match, struct vdp_flow **flow);
void vdp_classifier_remove(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_flow *flow);
void vdp_classifier_free(struct vdp_worker *worker, struct vdp_queue *queue); /* an empty one */

/* flow.c */
int vdp_flow_table_new(struct vdp_worker *worker);
void vdp_flow_table_free(struct vdp_worker *worker);
/* Owns the program, whatever the result: an id, -EINVAL, -ENODEV, -EEXIST, -ENOSPC, -E2BIG. */
int64_t vdp_flow_add(struct vdp_worker *worker, const struct vdp_match *match,
                     struct vdp_compiled *program);
struct vdp_flow *vdp_flow_find(const struct vdp_worker *worker, uint64_t id);
/* Count a hit and run the flow's program.  Owns the packet. */
void vdp_flow_run(struct vdp_worker *worker, struct vdp_flow *flow, struct vdp_packet *packet);
void vdp_flow_clear(struct vdp_worker *worker, uint32_t in_port);

#endif
