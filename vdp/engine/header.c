/* Headers: bytes that programs write into packets by number, as the kernel does from a
 * neighbour's struct hh_cache.
 *
 * Thousands of flows that go by one next hop have its MAC address in common.  It stands in one
 * place, so that another one is a matter of a moment, whatever the number of flows.  Headers
 * come in chunks that never move, published before the id is handed out.  Workers read while
 * the control side writes: a sequence number, odd meanwhile, says when to read again (seqlock). */
#include "header.h"
#include "counter.h"

#include <stdlib.h>

enum { WORDS = VDP_MAX_HEADER / 8 };

struct vdp_header {
    _Atomic uint32_t sequence;
    _Atomic uint32_t size; /* 0: not in use */
    _Atomic uint64_t words[WORDS];
    uint64_t apart; /* two to a cache line */
};
_Static_assert(sizeof(struct vdp_header) == VDP_LINE / 2, "no header lies in two lines");

static struct vdp_header *header_of(struct vdp_engine *engine, uint32_t id)
{
    struct vdp_header *chunk = NULL;

    if (id < (uint32_t)VDP_COUNTER_CHUNKS * VDP_COUNTER_CHUNK)
        chunk = atomic_load_explicit(&engine->headers[id / VDP_COUNTER_CHUNK], memory_order_acquire);
    return chunk ? &chunk[id % VDP_COUNTER_CHUNK] : NULL;
}

const void *vdp_header_place(struct vdp_engine *engine, uint32_t header)
{
    return header_of(engine, header);
}

uint32_t vdp_header_read(struct vdp_engine *engine, uint32_t id, uint8_t bytes[VDP_MAX_HEADER])
{
    const struct vdp_header *header = header_of(engine, id);
    uint64_t words[WORDS];
    uint32_t before, size;

    if (!header)
        return 0;
    do {
        before = atomic_load_explicit(&header->sequence, memory_order_acquire);
        size = atomic_load_explicit(&header->size, memory_order_relaxed);
        for (uint32_t i = 0; i < WORDS; i++)
            words[i] = atomic_load_explicit(&header->words[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
    } while (before & 1 || before != atomic_load_explicit(&header->sequence, memory_order_relaxed));
    memcpy(bytes, words, sizeof words);
    return size;
}

/* One thread writes at a time: the control side's. */
static void put(struct vdp_header *header, const uint8_t *bytes, uint32_t size)
{
    uint32_t sequence = atomic_load_explicit(&header->sequence, memory_order_relaxed);
    uint64_t words[WORDS] = {0};

    if (size)
        memcpy(words, bytes, size);
    atomic_store_explicit(&header->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&header->size, size, memory_order_relaxed);
    for (uint32_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&header->words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&header->sequence, sequence + 2, memory_order_release);
}

static bool is_size(uint32_t size)
{
    return size >= 1 && size <= VDP_MAX_HEADER;
}

int vdp_header_new(struct vdp_engine *engine, const uint8_t *bytes, uint32_t size)
{
    if (!is_size(size))
        return -EINVAL;
    int id = vdp_ids_take(engine->header_ids);
    if (id < 0)
        return id;
    uint32_t chunk = (uint32_t)id / VDP_COUNTER_CHUNK;
    if (!engine->headers[chunk]) {
        struct vdp_header *made = vdp_alloc_lines(VDP_COUNTER_CHUNK * sizeof *made);
        if (!made) {
            (void)vdp_ids_give(engine->header_ids, (uint32_t)id);
            return -ENOMEM;
        }
        atomic_store_explicit(&engine->headers[chunk], made, memory_order_release);
    }
    put(header_of(engine, (uint32_t)id), bytes, size);
    return id;
}

int vdp_header_write(struct vdp_engine *engine, uint32_t id, const uint8_t *bytes, uint32_t size)
{
    if (!vdp_ids_used(engine->header_ids, id))
        return -ENOENT;
    if (!is_size(size))
        return -EINVAL;
    put(header_of(engine, id), bytes, size);
    return 0;
}

int vdp_header_free(struct vdp_engine *engine, uint32_t id)
{
    if (!vdp_ids_used(engine->header_ids, id))
        return -ENOENT;
    put(header_of(engine, id), NULL, 0);
    return vdp_ids_give(engine->header_ids, id);
}

int vdp_headers_open(struct vdp_engine *engine)
{
    engine->header_ids = vdp_ids_new();
    return engine->header_ids ? 0 : -ENOMEM;
}

void vdp_headers_close(struct vdp_engine *engine)
{
    for (uint32_t i = 0; i < VDP_COUNTER_CHUNKS; i++)
        free(engine->headers[i]);
    vdp_ids_free(engine->header_ids);
}
