/* The packet pool of a worker: one mapping, a free list in last-in-first-out order.
 *
 * Most packets are short, so of most buffers only the first page or two is ever touched:
 * the mapping is large, what is resident is not.  The stride is an odd number of cache
 * lines, so that the headers of many packets spread over all sets of the caches. */
#include "internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define VDP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VDP_ASAN 1
#endif
#endif
#ifdef VDP_ASAN
#include <sanitizer/asan_interface.h>
#define SEAL(packet) ASAN_POISON_MEMORY_REGION((packet)->buffer, VDP_BUFFER_SIZE)
#define UNSEAL(packet) ASAN_UNPOISON_MEMORY_REGION((packet)->buffer, VDP_BUFFER_SIZE)
#else
#define SEAL(packet) ((void)0)
#define UNSEAL(packet) ((void)0)
#endif

enum {
    LINE = 64,
    /* At least one line stays free behind a buffer: the classifier loads whole words. */
    LINES = VDP_BUFFER_SIZE / LINE + 1,
    STRIDE = (LINES | 1) * LINE
};
_Static_assert(STRIDE >= VDP_BUFFER_SIZE + LINE, "the classifier may load 7 bytes past the end");

void vdp_packet_reset(struct vdp_packet *packet)
{
    uint8_t *buffer = packet->buffer;

    *packet = (struct vdp_packet){
        .buffer = buffer, .data = buffer + VDP_HEADROOM + LINE, .segments = 1};
}

int vdp_pool_new(struct vdp_worker *worker, uint32_t count)
{
    worker->memory_size = (size_t)count * STRIDE;
    void *memory = mmap(NULL, worker->memory_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    worker->memory = memory;
    (void)madvise(memory, worker->memory_size, MADV_NOHUGEPAGE);
    worker->packets = calloc(count, sizeof *worker->packets);
    if (!worker->packets)
        return -ENOMEM;
    worker->packet_count = count;
    worker->stats.packets_total = count;
    for (uint32_t i = count; i-- > 0;) {
        worker->packets[i].buffer = worker->memory + (size_t)i * STRIDE;
        vdp_packet_free(worker, &worker->packets[i]);
    }
    worker->reserve = vdp_packet_alloc(worker);
    return 0;
}

void vdp_pool_free(struct vdp_worker *worker)
{
    for (uint32_t i = 0; i < worker->packet_count; i++)
        UNSEAL(&worker->packets[i]);
    if (worker->memory)
        munmap(worker->memory, worker->memory_size);
    free(worker->packets);
}

struct vdp_packet *vdp_packet_alloc(struct vdp_worker *worker)
{
    struct vdp_packet *packet = worker->free;

    if (!packet)
        return NULL;
    worker->free = packet->next;
    worker->free_count--;
    UNSEAL(packet);
    vdp_packet_reset(packet);
    return packet;
}

void vdp_packet_free(struct vdp_worker *worker, struct vdp_packet *packet)
{
    SEAL(packet);
    packet->next = worker->free;
    worker->free = packet;
    worker->free_count++;
}

struct vdp_packet *vdp_packet_copy(struct vdp_worker *worker, const struct vdp_packet *packet)
{
    struct vdp_packet *copy = vdp_packet_alloc(worker);

    if (!copy)
        return NULL;
    uint8_t *buffer = copy->buffer;
    *copy = *packet;
    copy->next = NULL;
    copy->account = (struct vdp_account){0};
    copy->buffer = buffer;
    copy->data = buffer + vdp_packet_headroom(packet);
    memcpy(copy->data, packet->data, packet->length);
    return copy;
}
