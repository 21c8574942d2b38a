/* AF_XDP for sending: frames go to the driver past everything that is between a packet socket
 * and it (Documentation/networking/af_xdp.rst).
 *
 *   frames    | frame 0 | frame 1 | …         memory of ours, known to the kernel (UMEM)
 *   sending   | address, length | …           we produce, the kernel consumes (TX ring)
 *   completed | address | …                   the kernel produces: those frames are ours again
 *
 * In copy mode: the kernel makes a socket buffer of each frame while we call it.  Zero copy
 * would take the queue's receiving side as well, which the packet socket has. */
#include "xdp.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
    FRAMES_SIZE = VDP_XDP_FRAMES * VDP_XDP_FRAME_SIZE,
    HEADERS = 14 + 8, /* Ethernet and two tags */
    FILL_LEAST = 1,   /* bind asks for a ring to receive into, too */
    BURST = 256       /* frames a call; 32 where it can not be asked for (before Linux 6.18) */
};
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* linux/if_xdp.h */
#endif
static const uint64_t NOWHERE = UINT64_MAX; /* an address that the kernel passes over */

static int set_number(int fd, int option, int value)
{
    return setsockopt(fd, SOL_XDP, option, &value, sizeof value) == 0 ? 0 : -errno;
}

static int register_frames(struct vdp_xdp *xdp, int fd)
{
    void *memory =
        mmap(NULL, FRAMES_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    xdp->frames = memory;
    const struct xdp_umem_reg request = {
        .addr = (uintptr_t)memory, .len = FRAMES_SIZE, .chunk_size = VDP_XDP_FRAME_SIZE};
    if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &request, sizeof request) != 0)
        return -errno;
    for (uint32_t i = 0; i < VDP_XDP_FRAMES; i++)
        xdp->free[i] = (uint64_t)i * VDP_XDP_FRAME_SIZE;
    xdp->free_count = VDP_XDP_FRAMES;
    return 0;
}

static int map_ring(struct vdp_xdp_ring *ring, int fd, const struct xdp_ring_offset *offset,
                    size_t entry_size, off_t which)
{
    size_t size = offset->desc + VDP_XDP_FRAMES * entry_size;
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, which);
    if (memory == MAP_FAILED)
        return -errno;
    *ring = (struct vdp_xdp_ring){.memory = memory,
                                  .size = size,
                                  .producer = (void *)(memory + offset->producer),
                                  .consumer = (void *)(memory + offset->consumer),
                                  .entries = memory + offset->desc};
    return 0;
}

static int map_rings(struct vdp_xdp *xdp, int fd)
{
    struct xdp_mmap_offsets offsets;
    socklen_t size = sizeof offsets;
    int result = set_number(fd, XDP_UMEM_FILL_RING, FILL_LEAST);
    if (result == 0)
        result = set_number(fd, XDP_UMEM_COMPLETION_RING, VDP_XDP_FRAMES);
    if (result == 0)
        result = set_number(fd, XDP_TX_RING, VDP_XDP_FRAMES);
    if (result == 0 && getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) != 0)
        result = -errno;
    if (result == 0)
        result = map_ring(&xdp->sending, fd, &offsets.tx, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
    if (result == 0)
        result = map_ring(&xdp->completed, fd, &offsets.cr, sizeof(uint64_t),
                          (off_t)XDP_UMEM_PGOFF_COMPLETION_RING);
    return result;
}

int vdp_xdp_open(struct vdp_xdp *xdp, int fd, uint32_t ifindex, uint32_t queue, uint32_t mtu)
{
    const struct sockaddr_xdp address = {.sxdp_family = AF_XDP,
                                         .sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
                                         .sxdp_ifindex = ifindex,
                                         .sxdp_queue_id = queue};
    *xdp = (struct vdp_xdp){0};
    int result = mtu + HEADERS <= VDP_XDP_FRAME_SIZE ? register_frames(xdp, fd) : -EMSGSIZE;
    if (result == 0)
        result = map_rings(xdp, fd);
    (void)set_number(fd, XDP_MAX_TX_SKB_BUDGET, BURST);
    if (result == 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        result = -errno;
    if (result < 0)
        vdp_xdp_close(xdp);
    return result;
}

void vdp_xdp_close(struct vdp_xdp *xdp)
{
    if (xdp->sending.memory != NULL)
        (void)munmap(xdp->sending.memory, xdp->sending.size);
    if (xdp->completed.memory != NULL)
        (void)munmap(xdp->completed.memory, xdp->completed.size);
    if (xdp->frames != NULL)
        (void)munmap(xdp->frames, FRAMES_SIZE);
    *xdp = (struct vdp_xdp){0};
}

/* Take back the places of frames that are out. */
static void reclaim(struct vdp_xdp *xdp)
{
    const uint64_t *entries = xdp->completed.entries;
    uint32_t at = *xdp->completed.consumer;
    uint32_t end = __atomic_load_n(xdp->completed.producer, __ATOMIC_ACQUIRE);
    while (at != end)
        xdp->free[xdp->free_count++] = entries[at++ % VDP_XDP_FRAMES];
    __atomic_store_n(xdp->completed.consumer, at, __ATOMIC_RELEASE);
}

bool vdp_xdp_put(struct vdp_xdp *xdp, const uint8_t *bytes, uint32_t length)
{
    struct xdp_desc *entries = xdp->sending.entries;
    if (xdp->free_count == 0)
        reclaim(xdp);
    if (xdp->free_count == 0 || xdp->produced - xdp->taken >= VDP_XDP_FRAMES)
        return false;
    uint64_t place = xdp->free[--xdp->free_count];
    memcpy(xdp->frames + place, bytes, length);
    entries[xdp->produced % VDP_XDP_FRAMES] = (struct xdp_desc){.addr = place, .len = length};
    __atomic_store_n(xdp->sending.producer, ++xdp->produced, __ATOMIC_RELEASE);
    return true;
}

static int call(int fd)
{
    int result = sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? -errno : 0;
    return result == -EAGAIN || result == -ENOMEM ? -ENOBUFS : result;
}

/* How many the kernel has taken that we do not know of. */
static uint32_t newly_taken(const struct vdp_xdp *xdp)
{
    uint32_t consumed = __atomic_load_n(xdp->sending.consumer, __ATOMIC_ACQUIRE);
    int32_t more = (int32_t)(consumed - xdp->taken);
    return more > 0 ? (uint32_t)more : 0;
}

int vdp_xdp_send(struct vdp_xdp *xdp, int fd, uint32_t *taken)
{
    int result = call(fd);
    *taken = newly_taken(xdp);
    if (*taken == 0 && result == -EBUSY)
        *taken = 1; /* it is taken, though the kernel writes so only with the next that is sent */
    xdp->taken += *taken;
    return result == 0 && *taken == 0 ? -ENOBUFS : result;
}

void vdp_xdp_cancel(struct vdp_xdp *xdp)
{
    struct xdp_desc *entries = xdp->sending.entries;
    xdp->taken += newly_taken(xdp); /* whoever waits for the socket has it send, too (xsk_poll) */
    for (; xdp->taken != xdp->produced; xdp->taken++, xdp->void_count++) {
        struct xdp_desc *entry = &entries[xdp->taken % VDP_XDP_FRAMES];
        xdp->free[xdp->free_count++] = entry->addr;
        *entry = (struct xdp_desc){.addr = NOWHERE};
    }
}

/* One a call, as Linux 6.18 does, or all of them at once. */
int vdp_xdp_pass(struct vdp_xdp *xdp, int fd)
{
    while (xdp->void_count > 0) {
        int result = call(fd);
        if (result < 0)
            return result;
        xdp->void_count--;
    }
    return 0;
}
