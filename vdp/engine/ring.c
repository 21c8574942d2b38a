/* PACKET_RX_RING, TPACKET_V2: frames without a system call, without a socket buffer each.
 *
 *   | frame 0 | frame 1 | …                  each:  | tpacket2_hdr … vnet header | frame … |
 *        ▲ the kernel copies it here, then sets TP_STATUS_USER; we copy it out, then set
 *          TP_STATUS_KERNEL (Documentation/networking/packet_mmap.rst)
 *
 * Version 2, not 3: a frame is readable as soon as it is there, not when a block is full or
 * its timer has run out.  A frame that is longer than its place (a super-packet of a local
 * peer) is queued to the socket as well (PACKET_COPY_THRESH).  A full ring loses what comes:
 * the kernel counts it (PACKET_STATISTICS, tp_drops). */
#include "ring.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
    RING_BYTES = 8 << 20, /* as much as the socket's own buffer */
    BLOCK_BYTES = 64 << 10,
    FRAME_LEAST = 2048,
    /* tpacket2_hdr with its sockaddr_ll, 52 bytes, the link header's least of 16, both
     * rounded up; vnet header; MAC header and a tag (tpacket_rcv). */
    FRAME_HEADERS = 80 + 10 + 4
};

static int set(int fd, int option, const void *value, socklen_t size)
{
    return setsockopt(fd, SOL_PACKET, option, value, size) == 0 ? 0 : -errno;
}

static int set_number(int fd, int option, int value)
{
    return set(fd, option, &value, sizeof value);
}

/* A power of two, so that frames fill blocks. */
static uint32_t frame_size(uint32_t mtu)
{
    uint32_t size = FRAME_LEAST;
    while (size < mtu + FRAME_HEADERS && size < BLOCK_BYTES)
        size *= 2;
    return size;
}

static void forget(int fd)
{
    const struct tpacket_req none = {0};
    (void)set(fd, PACKET_RX_RING, &none, sizeof none);
    (void)set_number(fd, PACKET_COPY_THRESH, 0);
    (void)set_number(fd, PACKET_VERSION, TPACKET_V1);
}

static void *map(int fd)
{
    return mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

/* EBUSY where it has a ring already, which another process used (packet_setsockopt). */
static bool has_ring(int fd)
{
    return set_number(fd, PACKET_VERSION, TPACKET_V2) == -EBUSY;
}

int vdp_ring_open(struct vdp_ring *ring, int fd, uint32_t mtu)
{
    uint32_t size = frame_size(mtu);
    if (has_ring(fd)) {
        void *found = map(fd);
        if (found == MAP_FAILED)
            return -errno;
        *ring = (struct vdp_ring){
            .memory = found, .frame_size = size, .count = RING_BYTES / size, .is_found = true};
        return 0;
    }
    const struct tpacket_req request = {.tp_block_size = BLOCK_BYTES,
                                        .tp_block_nr = RING_BYTES / BLOCK_BYTES,
                                        .tp_frame_size = size,
                                        .tp_frame_nr = RING_BYTES / size};
    int result = set_number(fd, PACKET_VERSION, TPACKET_V2);
    if (result == 0)
        result = set_number(fd, PACKET_COPY_THRESH, 1);
    if (result == 0)
        result = set(fd, PACKET_RX_RING, &request, sizeof request);
    void *memory = MAP_FAILED;
    if (result == 0) {
        memory = map(fd);
        result = memory == MAP_FAILED ? -errno : 0;
    }
    if (result < 0) {
        forget(fd);
        return result;
    }
    *ring = (struct vdp_ring){.memory = memory, .frame_size = size, .count = RING_BYTES / size};
    return 0;
}

void vdp_ring_close(struct vdp_ring *ring, int fd, bool kept)
{
    if (ring->memory == NULL)
        return;
    (void)munmap(ring->memory, RING_BYTES); /* while it is mapped, the kernel keeps it */
    ring->memory = NULL;
    if (!kept)
        forget(fd);
}

static struct tpacket2_hdr *frame_at(const struct vdp_ring *ring, uint32_t index)
{
    return (struct tpacket2_hdr *)(void *)(ring->memory + (size_t)index * ring->frame_size);
}

static bool is_ours(const struct vdp_ring *ring, uint32_t index)
{
    return __atomic_load_n(&frame_at(ring, index)->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER;
}

static uint32_t before(const struct vdp_ring *ring, uint32_t index)
{
    return index > 0 ? index - 1 : ring->count - 1;
}

static bool is_older(const struct tpacket2_hdr *one, const struct tpacket2_hdr *other)
{
    return one->tp_sec != other->tp_sec ? one->tp_sec < other->tp_sec : one->tp_nsec < other->tp_nsec;
}

/* Where the one before us would have gone on: at the first of a run of frames that are ours.  The
 * kernel fills them in turn, so from any of them the way back leads there; of a ring that is full,
 * the oldest.  False: there is none yet. */
static bool find_next(struct vdp_ring *ring)
{
    uint32_t index = 0, oldest = 0;
    while (index < ring->count && !is_ours(ring, index))
        index++;
    if (index == ring->count)
        return false;
    for (uint32_t steps = 0; steps < ring->count; steps++, index = before(ring, index)) {
        if (!is_ours(ring, before(ring, index))) {
            ring->next = index;
            return true;
        }
        if (is_older(frame_at(ring, index), frame_at(ring, oldest)))
            oldest = index;
    }
    ring->next = oldest;
    return true;
}

const struct tpacket2_hdr *vdp_ring_peek(struct vdp_ring *ring)
{
    if (ring->is_found)
        ring->is_found = !find_next(ring);
    return is_ours(ring, ring->next) ? frame_at(ring, ring->next) : NULL;
}

static bool is_copied(const struct vdp_ring *ring, uint32_t index)
{
    uint32_t status = __atomic_load_n(&frame_at(ring, index)->tp_status, __ATOMIC_ACQUIRE);
    return (status & TP_STATUS_USER) != 0 && (status & TP_STATUS_COPY) != 0;
}

uint32_t vdp_ring_count_copies(const struct vdp_ring *ring, uint32_t most)
{
    uint32_t count = 0, index = ring->next;
    while (count < most && is_copied(ring, index)) {
        count++;
        index = index + 1 < ring->count ? index + 1 : 0;
    }
    return count;
}

void vdp_ring_release(struct vdp_ring *ring)
{
    struct tpacket2_hdr *header = frame_at(ring, ring->next);
    __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    ring->next = ring->next + 1 < ring->count ? ring->next + 1 : 0;
}
