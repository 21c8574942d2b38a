/* Lookups, a batch at a time.
 *
 * With many flows nearly all that a packet needs is out of the cache: the hash table's line,
 * the flow, its program, the counter and the port that it names.  One packet after the other
 * would wait for each of these in turn; so the batch goes through in steps, each of which
 * asks for what the next one reads, for all packets:
 *
 *   in-port's classifier ─► flow of the packet before ─► its table ─► candidate ─► is it?
 *                       ─► program ─► counter, state, output ─► the output's port and cell
 *
 * The subtables of a classifier are asked in turn, the most hit one first.  What a packet
 * has in common with its predecessor is not asked for again. */
#include "flow.h"
#include "header.h"
#include "state.h"

enum { SORT_AFTER = 4096 };

/* A batch on its way. */
struct seek {
    uint32_t count;
    struct vdp_packet *const *packets;
    struct vdp_flow **flows;
    struct vdp_classifier *classifiers[VDP_BATCH];
    uint64_t hashes[VDP_BATCH];
    const uint64_t *keys[VDP_BATCH]; /* back to back in `words`, so that they stay in the cache */
    uint64_t words[VDP_BATCH * VDP_KEY_WORDS];
    uint8_t waiting[VDP_BATCH]; /* packets that have no flow yet, by index */
    uint32_t waiting_count;
};

/* Of what may not be there: an address that is not read need not be one. */
static inline void fetch(const void *from, size_t size)
{
    const uintptr_t at = (uintptr_t)from;

    for (size_t line = 0; line < size; line += VDP_LINE)
        __builtin_prefetch((const void *)(at + line), 1);
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

static void find_classifiers(const struct vdp_worker *worker, struct seek *seek)
{
    struct vdp_classifier *before = NULL;

    for (uint32_t i = 0; i < seek->count; i++) {
        const struct vdp_queue *queue = vdp_worker_queue(worker, seek->packets[i]->in_port);
        seek->classifiers[i] = queue ? queue->classifier : NULL;
        if (seek->classifiers[i] != before)
            fetch(seek->classifiers[i], sizeof *before);
        before = seek->classifiers[i];
    }
    for (uint32_t i = 1; i < seek->count; i++)
        if (seek->classifiers[i] && seek->classifiers[i] != seek->classifiers[i - 1])
            fetch(seek->classifiers[i]->previous, sizeof(struct vdp_flow));
}

/* Packets of the flow of the packet before have theirs; the others wait. */
static void ask_previous(struct seek *seek)
{
    for (uint32_t i = 0; i < seek->count; i++) {
        struct vdp_classifier *classifier = seek->classifiers[i];

        seek->flows[i] = NULL;
        if (!classifier)
            continue;
        if (classifier->previous && vdp_flow_matches(classifier->previous, seek->packets[i])) {
            seek->flows[i] = classifier->previous;
            continue;
        }
        if (++classifier->lookups >= SORT_AFTER)
            sort(classifier);
        seek->waiting[seek->waiting_count++] = (uint8_t)i;
    }
}

/* The first flow with that hash from place *at on, NULL where there is none; *at is behind it then. */
static struct vdp_flow *candidate_of(const struct vdp_subtable *subtable, uint64_t hash, uint64_t *at)
{
    for (;;) {
        const struct vdp_entry *entry = &subtable->entries[(*at)++ & (subtable->entry_count - 1)];
        if (!entry->flow || entry->hash == hash)
            return entry->flow;
    }
}

static bool has_key(const struct vdp_flow *flow, const uint64_t *key, uint32_t words)
{
    uint64_t differences = 0;

    for (uint32_t i = 0; i < words; i++)
        differences |= flow->key[i] ^ key[i];
    return !differences;
}

/* The flow that takes the packet, from a candidate on: those of one hash may differ in their
 * lengths. */
static struct vdp_flow *search(const struct vdp_subtable *subtable, const struct vdp_packet *packet,
                               uint64_t hash, const uint64_t *key, struct vdp_flow *flow, uint64_t at)
{
    while (flow && (packet->length < flow->min_length || packet->length > flow->max_length ||
                    !has_key(flow, key, subtable->mask->word_count)))
        flow = candidate_of(subtable, hash, &at);
    return flow;
}

/* Ask the subtable of that rank; who is not in it goes on waiting, if there are more. */
static void ask_subtables(struct vdp_worker *worker, struct seek *seek, uint32_t rank)
{
    struct vdp_subtable *subtables[VDP_BATCH];
    struct vdp_flow *candidates[VDP_BATCH];
    uint64_t places[VDP_BATCH]; /* behind them */
    uint64_t *key = seek->words;
    uint32_t left = 0, asked = 0;

    for (uint32_t w = 0; w < seek->waiting_count; w++) {
        const uint32_t i = seek->waiting[w];
        const struct vdp_classifier *classifier = seek->classifiers[i];
        if (rank >= classifier->count)
            continue;
        struct vdp_subtable *subtable = subtables[asked] = classifier->subtables[rank];
        seek->waiting[asked++] = (uint8_t)i;
        if (seek->packets[i]->length < subtable->mask->extent)
            continue;
        seek->hashes[i] = vdp_mask_apply(subtable->mask, seek->packets[i], worker->engine->seed, key);
        seek->keys[i] = key;
        key += subtable->mask->word_count;
        __builtin_prefetch(&subtable->entries[seek->hashes[i] & (subtable->entry_count - 1)]);
    }
    for (uint32_t w = 0; w < asked; w++) {
        const uint32_t i = seek->waiting[w];
        places[w] = seek->hashes[i];
        if (seek->packets[i]->length >= subtables[w]->mask->extent) {
            candidates[w] = candidate_of(subtables[w], seek->hashes[i], &places[w]);
            fetch(candidates[w], vdp_flow_size(subtables[w]->mask));
        }
    }
    for (uint32_t w = 0; w < asked; w++) {
        const uint32_t i = seek->waiting[w];
        struct vdp_subtable *subtable = subtables[w];
        if (seek->packets[i]->length >= subtable->mask->extent) {
            worker->stats.mask_probes++;
            seek->flows[i] = search(subtable, seek->packets[i], seek->hashes[i], seek->keys[i],
                                    candidates[w], places[w]);
        }
        if (seek->flows[i]) {
            subtable->hits++;
        } else {
            seek->waiting[left++] = (uint8_t)i;
        }
    }
    seek->waiting_count = left;
}

static void count_hits(struct vdp_worker *worker, const struct seek *seek)
{
    struct vdp_worker_stats *stats = &worker->stats;

    stats->lookups += seek->count;
    for (uint32_t i = 0; i < seek->count; i++) {
        struct vdp_flow *flow = seek->flows[i];
        if (!flow) {
            stats->misses++;
        } else if (flow == seek->classifiers[i]->previous) {
            stats->previous_hits++;
        } else {
            stats->table_hits++;
            seek->classifiers[i]->previous = flow;
        }
    }
}

static const struct vdp_count *counter_of(const struct vdp_worker *worker, uint32_t id)
{
    const uint32_t chunk = id / VDP_COUNTER_CHUNK;
    struct vdp_count *counters =
        chunk < VDP_COUNTER_CHUNKS
            ? atomic_load_explicit(&worker->counters[chunk], memory_order_acquire)
            : NULL;

    return counters ? &counters[id % VDP_COUNTER_CHUNK] : NULL;
}

/* Have the programs fetched, and what they name: each flow's but its predecessor's. */
static void fetch_programs(struct vdp_worker *worker, const struct seek *seek)
{
    const struct vdp_compiled *cold[VDP_BATCH];
    uint32_t count = 0;

    for (uint32_t i = 0; i < seek->count; i++)
        if (seek->flows[i] && (i == 0 || seek->flows[i] != seek->flows[i - 1])) {
            const struct vdp_compiled *program = seek->flows[i]->program;
            if (count && cold[count - 1] == program)
                continue;
            __builtin_prefetch(program);
            cold[count++] = program;
        }
    if (count < 2)
        return;
    for (uint32_t i = 0; i < count; i++) {
        const struct vdp_queue *queue = vdp_worker_queue(worker, cold[i]->output);
        fetch(queue, VDP_QUEUE_HOT);
        fetch((const char *)cold[i] + VDP_LINE, cold[i]->straight * sizeof *cold[i]->actions);
        fetch(vdp_compiled_blob(cold[i]), cold[i]->blob_size);
        fetch(counter_of(worker, cold[i]->counter), 1);
        if (cold[i]->state)
            fetch(vdp_state_find(worker->engine, cold[i]->state), 1);
        if (cold[i]->signal)
            fetch(vdp_state_find(worker->engine, cold[i]->signal), 1);
        if (cold[i]->header)
            fetch(vdp_header_place(worker->engine, cold[i]->header), 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct vdp_queue *queue = vdp_worker_queue(worker, cold[i]->output);
        if (queue) {
            fetch(queue->port, VDP_LINE);
            fetch(queue->cell, VDP_LINE);
        }
    }
}

void vdp_lookup(struct vdp_worker *worker, struct vdp_packet *const *packets, uint32_t count,
                struct vdp_flow **flows)
{
    struct seek seek; /* not all of it zero: it is large */

    seek.count = count;
    seek.packets = packets;
    seek.flows = flows;
    seek.waiting_count = 0;
    find_classifiers(worker, &seek);
    ask_previous(&seek);
    for (uint32_t rank = 0; seek.waiting_count; rank++)
        ask_subtables(worker, &seek, rank);
    count_hits(worker, &seek);
    fetch_programs(worker, &seek);
}
