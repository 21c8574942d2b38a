/* A slab allocator (Bonwick 1994, without constructors): items by their number of cache lines.
 *
 * A packet of one flow among many misses the cache for each line of the flow, and the TLB
 * for each page.  Items of one size lie back to back, so that none begins in the middle of a
 * line or takes more of them than it must, and chunks of two megabytes are asked for as huge
 * pages: some tens of TLB entries cover what would take thousands.  The first chunks are
 * small, for who has few flows.  Memory goes back when the slab is freed, and not before:
 * flows, ports and cells are bounded. */
#include "slab.h"
#include "internal.h"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#ifdef WATCHED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(from, size) ((void)(from), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(from, size) ((void)(from), (void)(size))
#endif

enum { CLASSES = VDP_SLAB_MOST / VDP_LINE, FIRST_CHUNK = 16 << 10, HUGE_PAGE = 2 << 20 };

/* Items of one size, a number of lines. */
struct shelf {
    void *unused;        /* given back: a list through their first words */
    uint8_t *next, *end; /* what is left of the newest chunk */
    size_t chunk_size;   /* of the next one */
};

struct vdp_slab {
    struct shelf shelves[CLASSES];
    void **chunks;
    size_t chunk_count;
};

struct vdp_slab *vdp_slab_new(void)
{
    return calloc(1, sizeof(struct vdp_slab));
}

void vdp_slab_free(struct vdp_slab *slab)
{
    if (!slab)
        return;
    for (size_t i = 0; i < slab->chunk_count; i++)
        free(slab->chunks[i]);
    free(slab->chunks);
    free(slab);
}

static size_t lines_of(size_t size)
{
    return (size + VDP_LINE - 1) / VDP_LINE;
}

/* Another chunk, eight times the one before up to a huge page: of many items nearly all are in those. */
static bool grow(struct vdp_slab *slab, struct shelf *shelf)
{
    size_t size = shelf->chunk_size ? shelf->chunk_size : (size_t)FIRST_CHUNK;
    void **chunks = realloc(slab->chunks, (slab->chunk_count + 1) * sizeof *chunks);

    if (!chunks)
        return false;
    slab->chunks = chunks;
    uint8_t *chunk = aligned_alloc(size < HUGE_PAGE ? VDP_LINE : HUGE_PAGE, size);
    if (!chunk)
        return false;
    if (size == HUGE_PAGE)
        (void)madvise(chunk, size, MADV_HUGEPAGE);
    chunks[slab->chunk_count++] = chunk;
    ASAN_POISON_MEMORY_REGION(chunk, size);
    shelf->next = chunk;
    shelf->end = chunk + size;
    shelf->chunk_size = 8 * size < HUGE_PAGE ? 8 * size : (size_t)HUGE_PAGE;
    return true;
}

void *vdp_slab_take(struct vdp_slab *slab, size_t size)
{
    size_t lines = lines_of(size), whole = lines * VDP_LINE;

    if (lines < 1)
        return NULL;
    if (lines > CLASSES)
        return vdp_alloc_lines(size);
    struct shelf *shelf = &slab->shelves[lines - 1];
    uint8_t *item = shelf->unused;
    if (item) {
        ASAN_UNPOISON_MEMORY_REGION(item, whole);
        memcpy(&shelf->unused, item, sizeof shelf->unused);
    } else {
        if ((size_t)(shelf->end - shelf->next) < whole && !grow(slab, shelf))
            return NULL;
        item = shelf->next;
        shelf->next += whole;
        ASAN_UNPOISON_MEMORY_REGION(item, whole);
    }
    return memset(item, 0, whole);
}

void vdp_slab_give(struct vdp_slab *slab, void *item, size_t size)
{
    if (!item)
        return;
    if (lines_of(size) > CLASSES) {
        free(item);
        return;
    }
    struct shelf *shelf = &slab->shelves[lines_of(size) - 1];
    memcpy(item, &shelf->unused, sizeof shelf->unused);
    shelf->unused = item;
    ASAN_POISON_MEMORY_REGION(item, lines_of(size) * VDP_LINE);
}
