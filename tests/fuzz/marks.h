/* Offload marks for a frame: none, those that belong there, and those that do not. */
#ifndef VDP_FUZZ_MARKS_H
#define VDP_FUZZ_MARKS_H

#include "frames.h"
#include "twin.h"

static inline struct vdp_offload take_marks(struct input *in, const struct frame *frame)
{
    uint8_t choice = take8(in);
    struct vdp_offload marks = {0};
    bool is_tcp = frame->protocol == VDP_TCP;
    if ((choice & 7) == 0)
        return marks;
    if ((choice & 7) == 7) { /* anything */
        marks.needs_csum = choice >> 3 & 1;
        marks.gso_type = take8(in);
        marks.csum_start = take16(in);
        marks.csum_offset = take16(in);
        marks.gso_size = take16(in);
        marks.header_size = take16(in);
        return marks;
    }
    marks.needs_csum = 1;
    marks.csum_start = frame->transport;
    marks.csum_offset = is_tcp ? VDP_TCP_CHECKSUM : VDP_UDP_CHECKSUM;
    if ((choice & 7) >= 3) {
        marks.gso_type = !is_tcp                ? VIRTIO_NET_HDR_GSO_UDP_L4
                         : frame->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                               : VIRTIO_NET_HDR_GSO_TCPV6;
        marks.gso_size = 1u + take8(in) * (choice & 8 ? 1u : 6u);
        marks.header_size = choice & 16 ? frame->payload : 0;
        if (is_tcp && choice & 32)
            marks.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    }
    if (choice & 64)
        marks.csum_start += take8(in) - 128u;
    if (choice & 128)
        marks.needs_csum = 0;
    return marks;
}

/* The same packet for both engines; marks come after. */
static inline void twin_of(struct twin_packet *twin, const struct vdp_packet *packet)
{
    memset(twin, 0, offsetof(struct twin_packet, bytes));
    twin->length = packet->length;
    twin->in_port = packet->in_port;
    twin->segments = 1;
    memcpy(twin->meta, packet->meta, sizeof twin->meta);
    if (packet->length > 0)
        memcpy(twin->bytes, packet->data, packet->length);
}

/* Nothing that is to be seen of them differs. */
static inline void alike(const struct vdp_packet *packet, const struct twin_packet *twin)
{
    SAME(packet->length, twin->length);
    LAW(packet->length == 0 || memcmp(packet->data, twin->bytes, packet->length) == 0);
    LAW(memcmp(packet->meta, twin->meta, sizeof twin->meta) == 0);
    LAW(packet->needs_csum == twin->needs_csum && packet->csum_valid == twin->csum_valid);
    LAW(packet->gso_type == twin->gso_type && packet->gso_size == twin->gso_size);
    SAME(packet->segments, twin->segments);
    if (packet->needs_csum) {
        LAW((int64_t)packet->csum_start - (int64_t)vdp_packet_headroom(packet) == twin->csum_start);
        LAW(packet->csum_offset == twin->csum_offset);
    }
}

#endif
