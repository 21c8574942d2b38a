/* The classifier: tuple space search (Srinivasan, Suri, Varghese 1999; OVS dpcls).
 *
 * Flows of one in-port that look at the same bits share a subtable, a hash table over the
 * masked 8-byte words.  Lookups are in lookup.c; here flows come and go.  The hash is
 * seeded at random for each engine, so that nobody outside can aim at one bucket; and masks
 * are bounded, so that nobody can make lookups long (Csikor et al., Tuple Space Explosion,
 * CoNEXT 2019). */
#include "flow.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { FIRST_ENTRIES = 4, HUGE_PAGE = 2 << 20, OWN_PART = 4 };

static struct vdp_subtable *find_subtable(const struct vdp_classifier *classifier,
                                          const struct vdp_mask *mask)
{
    for (uint32_t i = 0; i < classifier->count; i++)
        if (classifier->subtables[i]->mask == mask)
            return classifier->subtables[i];
    return NULL;
}

/* May the in-port have another mask?  Each one costs all its packets a probe, so it has a bound;
 * that of all together keeps masks in the cache, but no in-port from its first few. */
static bool has_room(const struct vdp_worker *worker, const struct vdp_classifier *classifier,
                     const struct vdp_mask *mask)
{
    const struct vdp_engine_config *config = &worker->engine->config;
    uint32_t own = (config->port_masks + OWN_PART - 1) / OWN_PART;

    if (classifier->count >= config->port_masks)
        return false;
    return classifier->count < own || worker->stats.different_masks < config->masks ||
           vdp_shared_is_shared(mask);
}

/* A new subtable, which owns the mask then. */
static int add_subtable(struct vdp_worker *worker, struct vdp_classifier *classifier,
                        const struct vdp_mask *mask, struct vdp_subtable **added)
{
    if (!has_room(worker, classifier, mask))
        return -E2BIG;
    if (classifier->count == classifier->size) {
        uint32_t size = classifier->size ? 2 * classifier->size : 4;
        void *grown = realloc(classifier->subtables, size * sizeof *classifier->subtables);
        if (!grown)
            return -ENOMEM;
        classifier->subtables = grown;
        classifier->size = size;
    }
    struct vdp_subtable *made = vdp_slab_take(worker->slab, sizeof *made);
    struct vdp_entry *entries = vdp_alloc_lines(FIRST_ENTRIES * sizeof *entries);
    if (!made || !entries) {
        vdp_slab_give(worker->slab, made, sizeof *made);
        free(entries);
        return -ENOMEM;
    }
    *made = (struct vdp_subtable){.mask = mask, .entries = entries, .entry_count = FIRST_ENTRIES};
    classifier->subtables[classifier->count++] = made;
    worker->stats.masks++;
    if (!vdp_shared_is_shared(mask))
        worker->stats.different_masks++;
    *added = made;
    return 0;
}

static void remove_subtable(struct vdp_worker *worker, struct vdp_classifier *classifier,
                            struct vdp_subtable *subtable)
{
    uint32_t i = 0;

    while (classifier->subtables[i] != subtable)
        i++;
    classifier->count--;
    memmove(classifier->subtables + i, classifier->subtables + i + 1,
            (classifier->count - i) * sizeof *classifier->subtables);
    worker->stats.masks--;
    if (!vdp_shared_is_shared(subtable->mask))
        worker->stats.different_masks--;
    vdp_shared_give(worker->flows->shared, subtable->mask);
    free(subtable->entries);
    vdp_slab_give(worker->slab, subtable, sizeof *subtable);
}

static void enter(struct vdp_subtable *subtable, struct vdp_flow *flow)
{
    uint64_t at = flow->hash;

    while (subtable->entries[at & (subtable->entry_count - 1)].flow)
        at++;
    subtable->entries[at & (subtable->entry_count - 1)] = (struct vdp_entry){flow->hash, flow};
}

/* Twice the entries. */
static int grow(struct vdp_subtable *subtable)
{
    struct vdp_entry *before = subtable->entries;
    uint32_t count = subtable->entry_count;
    size_t size = 2 * (size_t)count * sizeof *before;
    struct vdp_entry *entries = aligned_alloc(size < HUGE_PAGE ? VDP_LINE : HUGE_PAGE, size);

    if (!entries)
        return -ENOMEM;
    if (size >= HUGE_PAGE)
        (void)madvise(entries, size, MADV_HUGEPAGE); /* a lookup in a large table misses the TLB, too */
    memset(entries, 0, size);
    subtable->entries = entries;
    subtable->entry_count = 2 * count;
    for (uint32_t i = 0; i < count; i++)
        if (before[i].flow)
            enter(subtable, before[i].flow);
    free(before);
    return 0;
}

/* Take an entry out; those behind it that were pushed on move up. */
static void leave(struct vdp_subtable *subtable, const struct vdp_flow *flow)
{
    const uint64_t mask = subtable->entry_count - 1;
    struct vdp_entry *entries = subtable->entries;
    uint64_t hole = flow->hash & mask;

    while (entries[hole].flow != flow)
        hole = (hole + 1) & mask;
    for (uint64_t at = (hole + 1) & mask; entries[at].flow; at = (at + 1) & mask) {
        uint64_t home = entries[at].hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue; /* its home is behind the hole */
        entries[hole] = entries[at];
        hole = at;
    }
    entries[hole].flow = NULL;
}

static bool duplicate(const struct vdp_subtable *subtable, const struct vdp_flow *wanted)
{
    for (uint64_t at = wanted->hash;; at++) {
        const struct vdp_flow *flow = subtable->entries[at & (subtable->entry_count - 1)].flow;
        if (!flow)
            return false;
        if (flow->hash == wanted->hash && flow->min_length == wanted->min_length &&
            flow->max_length == wanted->max_length &&
            memcmp(flow->key, wanted->key, wanted->mask->word_count * sizeof *flow->key) == 0)
            return true;
    }
}

static struct vdp_flow *new_flow(const struct vdp_worker *worker, const struct vdp_match *match,
                                 const struct vdp_mask *mask)
{
    struct vdp_flow *flow = vdp_slab_take(worker->slab, vdp_flow_size(mask));

    if (!flow)
        return NULL;
    vdp_mask_compress_value(mask, match, flow->key);
    flow->hash = vdp_mask_hash_key(mask, flow->key, worker->engine->seed);
    flow->mask = mask;
    flow->min_length = match->min_length;
    flow->max_length = match->max_length;
    flow->in_port = match->in_port;
    return flow;
}

int vdp_classifier_insert(struct vdp_worker *worker, struct vdp_queue *queue,
                          const struct vdp_match *match, struct vdp_flow **inserted)
{
    struct vdp_shared *shared = worker->flows->shared;
    struct vdp_subtable *subtable;
    struct vdp_mask wanted;

    if (!queue->classifier)
        queue->classifier = vdp_slab_take(worker->slab, sizeof *queue->classifier);
    if (!queue->classifier)
        return -ENOMEM;
    vdp_mask_compress(match, &wanted);
    const struct vdp_mask *mask = vdp_shared_take(shared, &wanted, sizeof wanted);
    if (!mask)
        return -ENOMEM;
    int result = 0;
    subtable = find_subtable(queue->classifier, mask);
    if (!subtable)
        result = add_subtable(worker, queue->classifier, mask, &subtable);
    else
        vdp_shared_give(shared, mask); /* the subtable has it */
    if (result < 0) {
        vdp_shared_give(shared, mask);
        return result;
    }
    struct vdp_flow *flow = new_flow(worker, match, mask);
    if (!flow)
        result = -ENOMEM;
    else if (duplicate(subtable, flow))
        result = -EEXIST;
    else if (2 * subtable->flow_count >= subtable->entry_count)
        result = grow(subtable);
    if (result == 0) {
        enter(subtable, flow);
        subtable->flow_count++;
        *inserted = flow;
        return 0;
    }
    vdp_slab_give(worker->slab, flow, vdp_flow_size(mask));
    if (!subtable->flow_count)
        remove_subtable(worker, queue->classifier, subtable);
    return result;
}

void vdp_classifier_remove(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_flow *flow)
{
    struct vdp_subtable *subtable = find_subtable(queue->classifier, flow->mask);

    leave(subtable, flow);
    if (queue->classifier->previous == flow)
        queue->classifier->previous = NULL;
    vdp_shared_give(worker->flows->shared, flow->program);
    vdp_slab_give(worker->slab, flow, vdp_flow_size(flow->mask));
    if (!--subtable->flow_count)
        remove_subtable(worker, queue->classifier, subtable);
}

void vdp_classifier_free(struct vdp_worker *worker, struct vdp_queue *queue)
{
    if (queue->classifier)
        free(queue->classifier->subtables);
    vdp_slab_give(worker->slab, queue->classifier, sizeof *queue->classifier);
    queue->classifier = NULL;
}
