/* A packet and its buffer.
 *
 *   buffer                data                       data + length     buffer + size
 *     |  vnet | headroom   | bytes of the packet       |  tailroom        |
 *
 * One size of buffer takes a 64 KiB super-packet; a short packet touches only its first
 * page.  A packet belongs to exactly one worker, and there to exactly one place: the
 * free list, the batch in hand, an upcall ring, a cell or a transmit queue.  A function
 * that takes a packet by name `execute`, `send`, `offer` or `drop` owns it from then on. */
#ifndef VDP_PACKET_H
#define VDP_PACKET_H

#include "engine.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { VDP_BUFFER_SIZE = VDP_HEADROOM + 64 + VDP_MAX_LENGTH + 64 };

/* Who is to know what becomes of a packet (VDP_OP_ACCOUNT): counters, 0 for none. */
struct vdp_account {
    uint32_t sent, lost, lost_too;
    uint32_t bytes; /* that count */
};

/* What taps know of it (tap.c). */
struct vdp_mark {
    uint64_t flow;    /* whose program ran last */
    uint32_t id;      /* 0: no tap saw it yet */
    uint32_t counter; /* ACCOUNT's `sent` */
    uint32_t taps;    /* bits of those that follow it */
};

struct vdp_packet {
    struct vdp_packet *next; /* in whatever list it is */
    uint8_t *data;
    uint32_t length;
    uint32_t in_port;
    uint8_t meta[VDP_META_SIZE];
    /* Offload state.  csum_start counts from `buffer`, so pull and push leave it be.
     * gso_type: VIRTIO_NET_HDR_GSO_*.  segments: wire packets it stands for, >= 1. */
    bool needs_csum;
    bool csum_valid;  /* the transport checksum is known to be good */
    uint8_t gso_type; /* VIRTIO_NET_HDR_GSO_*, ECN bit kept */
    uint8_t depth;    /* passages through cells */
    uint16_t gso_size;
    uint16_t csum_offset;
    uint32_t csum_start;
    uint32_t segments;
    uint32_t waited; /* for the slow path, where others may have overtaken it: the worker's
                        serial number when it got in line; 0: it did not */
    struct vdp_account account;
    struct vdp_mark mark;
    uint8_t *buffer; /* VDP_BUFFER_SIZE bytes */
};

static inline uint16_t vdp_load_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}
static inline uint32_t vdp_load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void vdp_store_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void vdp_store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* Is [offset, offset + size) inside the packet?  Every access asks first. */
static inline bool vdp_packet_has(const struct vdp_packet *packet, uint32_t offset, uint32_t size)
{
    return offset <= packet->length && size <= packet->length - offset;
}
static inline size_t vdp_packet_headroom(const struct vdp_packet *packet)
{
    return (size_t)(packet->data - packet->buffer);
}
static inline size_t vdp_packet_tailroom(const struct vdp_packet *packet)
{
    return (size_t)VDP_BUFFER_SIZE - vdp_packet_headroom(packet) - packet->length;
}

#endif
