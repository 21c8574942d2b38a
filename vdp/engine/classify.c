/* The classifier: tuple space search (Srinivasan, Suri, Varghese 1999; OVS dpcls).
 *
 * Flows of one in-port that look at the same bits share a subtable, a hash table over the
 * masked 8-byte words.  A lookup asks subtable by subtable, the most hit one first, after
 * the flow of the packet before.  The hash is seeded at random for each engine, so that
 * nobody outside can aim at one bucket. */
#include "flow.h"

#include <stdlib.h>

enum { SORT_AFTER = 4096, FIRST_ENTRIES = 8 };

static inline uint64_t load_word(const struct vdp_packet *packet, const struct vdp_subtable *subtable,
                                 uint32_t i)
{
    const uint8_t *from = i < subtable->window_count
                              ? packet->data + 8u * subtable->word[i]
                              : packet->meta + 8u * (subtable->word[i] - (unsigned)VDP_WINDOW_WORDS);
    uint64_t word;

    memcpy(&word, from, sizeof word);
    return word & subtable->mask[i];
}

/* The two halves of a 64 x 64 bit product, as in wyhash. */
static inline uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_word(uint64_t hash, uint64_t word)
{
    return mix(hash ^ word, 0x9e3779b97f4a7c15u ^ (hash << 1));
}

static uint64_t hash_key(uint64_t seed, const uint64_t *key, uint32_t count)
{
    uint64_t hash = seed;

    for (uint32_t i = 0; i < count; i++)
        hash = hash_word(hash, key[i]);
    return hash;
}

static inline bool length_fits(const struct vdp_flow *flow, const struct vdp_packet *packet)
{
    return packet->length >= flow->min_length && packet->length <= flow->max_length;
}

bool vdp_flow_matches(const struct vdp_flow *flow, const struct vdp_packet *packet)
{
    const struct vdp_subtable *subtable = flow->subtable;

    if (!length_fits(flow, packet))
        return false;
    for (uint32_t i = 0; i < subtable->word_count; i++)
        if (load_word(packet, subtable, i) != flow->key[i])
            return false;
    return true;
}

static struct vdp_flow *search(const struct vdp_subtable *subtable, const struct vdp_packet *packet,
                               uint64_t seed)
{
    uint64_t key[VDP_KEY_WORDS], hash = seed;

    for (uint32_t i = 0; i < subtable->word_count; i++) {
        key[i] = load_word(packet, subtable, i);
        hash = hash_word(hash, key[i]);
    }
    for (uint64_t at = hash;; at++) {
        const struct vdp_entry *entry = &subtable->entries[at & (subtable->entry_count - 1)];
        if (!entry->flow)
            return NULL;
        if (entry->hash == hash && length_fits(entry->flow, packet) &&
            memcmp(entry->flow->key, key, subtable->word_count * sizeof *key) == 0)
            return entry->flow;
    }
}

/* Insertion sort by hits: the order changes little from one time to the next. */
static void sort(struct vdp_classifier *classifier)
{
    for (uint32_t i = 0; i < classifier->count; i++) {
        struct vdp_subtable *moved = classifier->subtables[i];
        uint32_t at = i;

        for (; at > 0 && classifier->subtables[at - 1]->hits < moved->hits; at--)
            classifier->subtables[at] = classifier->subtables[at - 1];
        classifier->subtables[at] = moved;
    }
    for (uint32_t i = 0; i < classifier->count; i++)
        classifier->subtables[i]->hits /= 2;
    classifier->lookups = 0;
}

struct vdp_flow *vdp_classifier_lookup(struct vdp_worker *worker, struct vdp_classifier *classifier,
                                       const struct vdp_packet *packet)
{
    struct vdp_worker_stats *stats = &worker->stats;

    stats->lookups++;
    if (!classifier) {
        stats->misses++;
        return NULL;
    }
    if (classifier->previous && vdp_flow_matches(classifier->previous, packet)) {
        stats->previous_hits++;
        return classifier->previous;
    }
    if (++classifier->lookups >= SORT_AFTER)
        sort(classifier);
    for (uint32_t i = 0; i < classifier->count; i++) {
        struct vdp_subtable *subtable = classifier->subtables[i];
        if (packet->length < subtable->extent)
            continue;
        stats->mask_probes++;
        struct vdp_flow *flow = search(subtable, packet, worker->engine->seed);
        if (flow) {
            subtable->hits++;
            stats->table_hits++;
            classifier->previous = flow;
            return flow;
        }
    }
    stats->misses++;
    return NULL;
}

/* The mask's words that are not zero, and where its bytes end. */
static void compress(const struct vdp_match *match, struct vdp_subtable *subtable)
{
    uint8_t bytes[VDP_WINDOW + VDP_META_SIZE] = {0};

    memset(subtable, 0, sizeof *subtable);
    memcpy(bytes, match->mask, match->window);
    memcpy(bytes + VDP_WINDOW, match->meta_mask, VDP_META_SIZE);
    for (uint32_t i = 0; i < match->window; i++)
        if (match->mask[i])
            subtable->extent = i + 1;
    for (uint32_t i = 0; i < VDP_KEY_WORDS; i++) {
        uint64_t word;
        memcpy(&word, bytes + 8u * i, sizeof word);
        if (!word)
            continue;
        subtable->word[subtable->word_count] = (uint8_t)i;
        subtable->mask[subtable->word_count++] = word;
        if (i < VDP_WINDOW_WORDS)
            subtable->window_count++;
    }
}

static void compress_value(const struct vdp_match *match, const struct vdp_subtable *subtable,
                           uint64_t *key)
{
    uint8_t bytes[VDP_WINDOW + VDP_META_SIZE] = {0};

    memcpy(bytes, match->value, match->window);
    memcpy(bytes + VDP_WINDOW, match->meta_value, VDP_META_SIZE);
    for (uint32_t i = 0; i < subtable->word_count; i++)
        memcpy(&key[i], bytes + 8u * subtable->word[i], sizeof *key);
}

static bool same_mask(const struct vdp_subtable *a, const struct vdp_subtable *b)
{
    return a->word_count == b->word_count && a->window_count == b->window_count &&
           memcmp(a->word, b->word, a->word_count) == 0 &&
           memcmp(a->mask, b->mask, a->word_count * sizeof *a->mask) == 0;
}

/* The subtable of this mask, a new one if need be. */
static int find_subtable(struct vdp_worker *worker, struct vdp_classifier *classifier,
                         const struct vdp_subtable *wanted, struct vdp_subtable **found)
{
    for (uint32_t i = 0; i < classifier->count; i++)
        if (same_mask(classifier->subtables[i], wanted)) {
            *found = classifier->subtables[i];
            return 0;
        }
    if (classifier->count >= worker->engine->config.masks)
        return -E2BIG;
    if (classifier->count == classifier->size) {
        uint32_t size = classifier->size ? 2 * classifier->size : 4;
        void *grown = realloc(classifier->subtables, size * sizeof *classifier->subtables);
        if (!grown)
            return -ENOMEM;
        classifier->subtables = grown;
        classifier->size = size;
    }
    struct vdp_subtable *made = malloc(sizeof *made);
    struct vdp_entry *entries = calloc(FIRST_ENTRIES, sizeof *entries);
    if (!made || !entries) {
        free(made);
        free(entries);
        return -ENOMEM;
    }
    *made = *wanted;
    made->entries = entries;
    made->entry_count = FIRST_ENTRIES;
    classifier->subtables[classifier->count++] = made;
    worker->stats.masks++;
    *found = made;
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
    free(subtable->entries);
    free(subtable);
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
    struct vdp_entry *entries = calloc(2 * (size_t)count, sizeof *entries);

    if (!entries)
        return -ENOMEM;
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
            memcmp(flow->key, wanted->key, subtable->word_count * sizeof *flow->key) == 0)
            return true;
    }
}

static struct vdp_flow *new_flow(const struct vdp_worker *worker, const struct vdp_match *match,
                                 struct vdp_subtable *subtable)
{
    struct vdp_flow *flow = calloc(1, sizeof *flow + subtable->word_count * sizeof *flow->key);

    if (!flow)
        return NULL;
    compress_value(match, subtable, flow->key);
    flow->hash = hash_key(worker->engine->seed, flow->key, subtable->word_count);
    flow->subtable = subtable;
    flow->min_length = match->min_length;
    flow->max_length = match->max_length;
    flow->in_port = match->in_port;
    return flow;
}

int vdp_classifier_insert(struct vdp_worker *worker, struct vdp_queue *queue,
                          const struct vdp_match *match, struct vdp_flow **inserted)
{
    struct vdp_subtable wanted, *subtable = NULL;

    if (!queue->classifier)
        queue->classifier = calloc(1, sizeof *queue->classifier);
    if (!queue->classifier)
        return -ENOMEM;
    compress(match, &wanted);
    int result = find_subtable(worker, queue->classifier, &wanted, &subtable);
    if (result < 0)
        return result;
    struct vdp_flow *flow = new_flow(worker, match, subtable);
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
    free(flow);
    if (!subtable->flow_count)
        remove_subtable(worker, queue->classifier, subtable);
    return result;
}

void vdp_classifier_remove(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_flow *flow)
{
    struct vdp_subtable *subtable = flow->subtable;

    leave(subtable, flow);
    if (queue->classifier->previous == flow)
        queue->classifier->previous = NULL;
    if (!--subtable->flow_count)
        remove_subtable(worker, queue->classifier, subtable);
    free(flow->program);
    free(flow);
}

void vdp_classifier_free(struct vdp_queue *queue)
{
    if (queue->classifier)
        free(queue->classifier->subtables);
    free(queue->classifier);
    queue->classifier = NULL;
}
