/* Counters that programs name by number, and the handing out of such numbers.
 *
 * A counter is one cell per worker, summed when read.  Cells come in chunks that never
 * move, published before the id is handed out. */
#include "counter.h"

#include <stdlib.h>

/* Which numbers are in use: 1 and up, freed ones first. */
struct vdp_ids {
    uint32_t next, free_count, free_size;
    uint32_t *free;
    uint8_t used[(size_t)VDP_COUNTER_CHUNKS * VDP_COUNTER_CHUNK / 8];
};

enum { IDS = VDP_COUNTER_CHUNKS * VDP_COUNTER_CHUNK };

bool vdp_ids_used(const struct vdp_ids *ids, uint32_t id)
{
    return id < IDS && ids->used[id / 8] >> (id % 8) & 1;
}

int vdp_ids_take(struct vdp_ids *ids)
{
    uint32_t id = ids->free_count ? ids->free[--ids->free_count] : ids->next;

    if (id >= IDS)
        return -ENOSPC;
    if (id == ids->next)
        ids->next++;
    ids->used[id / 8] |= (uint8_t)(1u << (id % 8));
    return (int)id;
}

int vdp_ids_give(struct vdp_ids *ids, uint32_t id)
{
    if (!vdp_ids_used(ids, id))
        return -ENOENT;
    if (ids->free_count == ids->free_size) {
        uint32_t size = ids->free_size ? 2 * ids->free_size : 64;
        void *grown = realloc(ids->free, size * sizeof *ids->free);
        if (!grown)
            return -ENOMEM;
        ids->free = grown;
        ids->free_size = size;
    }
    ids->used[id / 8] &= (uint8_t)~(1u << (id % 8));
    ids->free[ids->free_count++] = id;
    return 0;
}

void vdp_counter_add(struct vdp_worker *worker, uint32_t counter, uint64_t bytes)
{
    struct vdp_count *chunk = NULL;

    if (counter < IDS)
        chunk = atomic_load_explicit(&worker->counters[counter / VDP_COUNTER_CHUNK],
                                     memory_order_acquire);
    if (!chunk)
        return;
    vdp_stat_add(&chunk[counter % VDP_COUNTER_CHUNK].packets, 1);
    vdp_stat_add(&chunk[counter % VDP_COUNTER_CHUNK].bytes, bytes);
}

int vdp_counters_open(struct vdp_engine *engine)
{
    engine->counter_ids = vdp_ids_new();
    engine->state_ids = vdp_ids_new();
    return engine->counter_ids && engine->state_ids ? 0 : -ENOMEM;
}

struct vdp_ids *vdp_ids_new(void)
{
    struct vdp_ids *ids = calloc(1, sizeof *ids);

    if (ids)
        ids->next = 1;
    return ids;
}

void vdp_ids_free(struct vdp_ids *ids)
{
    if (ids)
        free(ids->free);
    free(ids);
}

void vdp_counters_close(struct vdp_engine *engine)
{
    for (uint32_t i = 0; i < VDP_COUNTER_CHUNKS; i++) {
        for (uint32_t w = 0; w < engine->config.workers; w++)
            free(engine->workers[w].counters[i]);
    }
    vdp_ids_free(engine->counter_ids);
    vdp_ids_free(engine->state_ids);
    free(engine->counter_base);
}

static struct vdp_count sum(struct vdp_engine *engine, uint32_t id)
{
    struct vdp_count total = {0, 0};

    for (uint32_t w = 0; w < engine->config.workers; w++) {
        const struct vdp_count *chunk = engine->workers[w].counters[id / VDP_COUNTER_CHUNK];
        if (!chunk)
            continue;
        total.packets += vdp_stat_read(&chunk[id % VDP_COUNTER_CHUNK].packets);
        total.bytes += vdp_stat_read(&chunk[id % VDP_COUNTER_CHUNK].bytes);
    }
    return total;
}

/* See to it that each worker has the cell, and the base has a place for it. */
static int provide(struct vdp_engine *engine, uint32_t id)
{
    uint32_t chunk = id / VDP_COUNTER_CHUNK;

    for (uint32_t w = 0; w < engine->config.workers; w++) {
        if (engine->workers[w].counters[chunk])
            continue;
        struct vdp_count *cells = calloc(VDP_COUNTER_CHUNK, sizeof *cells);
        if (!cells)
            return -ENOMEM;
        atomic_store_explicit(&engine->workers[w].counters[chunk], cells, memory_order_release);
    }
    if (id >= engine->counter_base_size) {
        uint32_t size = (chunk + 1) * VDP_COUNTER_CHUNK;
        void *grown = realloc(engine->counter_base, size * sizeof *engine->counter_base);
        if (!grown)
            return -ENOMEM;
        engine->counter_base = grown;
        engine->counter_base_size = size;
    }
    return 0;
}

int vdp_counter_new(struct vdp_engine *engine)
{
    int id = vdp_ids_take(engine->counter_ids);

    if (id < 0)
        return id;
    int result = provide(engine, (uint32_t)id);
    if (result < 0) {
        (void)vdp_ids_give(engine->counter_ids, (uint32_t)id);
        return result;
    }
    /* What an earlier owner counted stays below the base. */
    engine->counter_base[id] = sum(engine, (uint32_t)id);
    return id;
}

int vdp_counter_free(struct vdp_engine *engine, uint32_t counter)
{
    return vdp_ids_give(engine->counter_ids, counter);
}

int vdp_counter_read(struct vdp_engine *engine, uint32_t counter, struct vdp_count *count)
{
    if (!vdp_ids_used(engine->counter_ids, counter))
        return -ENOENT;
    *count = sum(engine, counter);
    count->packets -= engine->counter_base[counter].packets;
    count->bytes -= engine->counter_base[counter].bytes;
    return 0;
}
