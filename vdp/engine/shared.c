/* Interning: a hash table over contents, with a count of owners for each.
 *
 * Thousands of flows have one program, and ports by the thousand one mask: kept once, they
 * stay in the cache.  A content begins on a cache line. */
#include "shared.h"
#include "slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 64, LINE = 64 };

struct item {
    struct item *next; /* of its bucket */
    uint64_t hash;
    size_t size, owners;
    _Alignas(LINE) uint8_t content[];
};

struct vdp_shared {
    struct vdp_slab *slab;
    struct item **buckets;
    size_t bucket_count, item_count; /* a power of two; at most as many */
};

static uint64_t hash_of(const uint8_t *content, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u ^ size; /* FNV-1a, eight bytes a turn */

    for (; size >= sizeof hash; content += sizeof hash, size -= sizeof hash) {
        uint64_t word;
        memcpy(&word, content, sizeof word);
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 32;
    }
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ content[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

struct vdp_shared *vdp_shared_new(struct vdp_slab *slab)
{
    struct vdp_shared *shared = calloc(1, sizeof *shared);

    if (!shared)
        return NULL;
    shared->slab = slab;
    shared->buckets = calloc(FIRST_BUCKETS, sizeof *shared->buckets);
    shared->bucket_count = FIRST_BUCKETS;
    if (shared->buckets)
        return shared;
    free(shared);
    return NULL;
}

void vdp_shared_free(struct vdp_shared *shared)
{
    if (shared)
        free(shared->buckets);
    free(shared);
}

static struct item **bucket_of(struct vdp_shared *shared, uint64_t hash)
{
    return &shared->buckets[hash & (shared->bucket_count - 1)];
}

static void enter(struct vdp_shared *shared, struct item *item)
{
    struct item **bucket = bucket_of(shared, item->hash);

    item->next = *bucket;
    *bucket = item;
}

/* Twice the buckets; without memory for them it goes on with what there is. */
static void grow(struct vdp_shared *shared)
{
    struct item **before = shared->buckets;
    size_t count = shared->bucket_count;
    struct item **buckets = calloc(2 * count, sizeof *buckets);

    if (!buckets)
        return;
    shared->buckets = buckets;
    shared->bucket_count = 2 * count;
    for (size_t i = 0; i < count; i++)
        for (struct item *item = before[i], *next; item; item = next) {
            next = item->next;
            enter(shared, item);
        }
    free(before);
}

const void *vdp_shared_take(struct vdp_shared *shared, const void *content, size_t size)
{
    uint64_t hash = hash_of(content, size);
    struct item *item = *bucket_of(shared, hash);

    while (item && (item->hash != hash || item->size != size || memcmp(item->content, content, size) != 0))
        item = item->next;
    if (item) {
        item->owners++;
        return item->content;
    }
    item = vdp_slab_take(shared->slab, sizeof *item + size);
    if (!item)
        return NULL;
    item->hash = hash;
    item->size = size;
    item->owners = 1;
    memcpy(item->content, content, size);
    if (shared->item_count++ == shared->bucket_count)
        grow(shared);
    enter(shared, item);
    return item->content;
}

/* The item in front of the content, without a cast that would hide const. */
static struct item *item_of(const void *content)
{
    struct item *item;
    uintptr_t at = (uintptr_t)content - offsetof(struct item, content);

    memcpy(&item, &at, sizeof item);
    return item;
}

bool vdp_shared_is_shared(const void *content)
{
    return item_of(content)->owners > 1;
}

void vdp_shared_give(struct vdp_shared *shared, const void *content)
{
    if (!content)
        return;
    struct item *wanted = item_of(content);
    if (--wanted->owners)
        return;
    struct item **link = bucket_of(shared, wanted->hash);
    while (*link != wanted)
        link = &(*link)->next;
    *link = wanted->next;
    shared->item_count--;
    vdp_slab_give(shared->slab, wanted, sizeof *wanted + wanted->size);
}
