/* UDP around a tunnel's packets (RFC 768, RFC 8086): checksum and source port. */
#include "udp.h"

#include "checksum.h"

enum { MULTIPLIER = 0x9E3779B1 }; /* 2^32 divided by the golden ratio, odd */

static bool has_headers(const struct vdp_packet *packet, unsigned version, uint32_t network,
                        uint32_t transport)
{
    return vdp_packet_has(packet, network, version == 4 ? VDP_IPV4_SIZE : VDP_IPV6_SIZE) &&
           vdp_packet_has(packet, transport, VDP_UDP_SIZE);
}

static bool is_unfinished_at(const struct vdp_packet *packet, uint32_t transport)
{
    return packet->needs_csum && packet->csum_offset == VDP_UDP_CHECKSUM &&
           packet->csum_start == vdp_packet_headroom(packet) + transport;
}

/* Is it a super-packet that this UDP header stands in front of, rather than one of datagrams? */
static bool is_super_inside(const struct vdp_packet *packet, uint32_t transport)
{
    return packet->csum_start >= vdp_packet_headroom(packet) + transport + VDP_UDP_SIZE;
}

static uint64_t pseudo_sum(const struct vdp_packet *packet, unsigned version, uint32_t network,
                           uint32_t transport)
{
    return vdp_checksum_pseudo(packet->data + network, version, VDP_UDP, packet->length - transport);
}

/* TCP's segments of one size have one checksum in UDP, as in GRE. */
static uint32_t leave_to_segments(struct vdp_packet *packet, unsigned version, uint32_t network,
                                  uint32_t transport)
{
    if (packet->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 || !is_super_inside(packet, transport))
        return VDP_REASON_gso_unsupported; /* each of its segments must have a header of its own */
    uint8_t *field = packet->data + transport + VDP_UDP_CHECKSUM;
    vdp_store_be16(field, 0);
    uint16_t checksum = vdp_offload_local_udp(packet, version, network, transport);
    vdp_store_be16(field, checksum == 0 ? 0xffff : checksum);
    return VDP_REASON_none;
}

uint32_t vdp_udp_leave_checksum(struct vdp_packet *packet, unsigned version, uint32_t network,
                                uint32_t transport)
{
    if (!has_headers(packet, version, network, transport))
        return VDP_REASON_parse_truncated;
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE)
        return leave_to_segments(packet, version, network, transport);
    uint32_t reason = vdp_offload_finish_checksum(packet);
    if (reason != VDP_REASON_none)
        return reason;
    packet->csum_start = (uint32_t)vdp_packet_headroom(packet) + transport;
    packet->csum_offset = VDP_UDP_CHECKSUM;
    packet->needs_csum = true;
    packet->csum_valid = false;
    vdp_store_be16(packet->data + transport + VDP_UDP_CHECKSUM,
                   vdp_checksum_fold(pseudo_sum(packet, version, network, transport)));
    return VDP_REASON_none;
}

uint32_t vdp_udp_check(struct vdp_packet *packet, unsigned version, uint32_t network,
                       uint32_t transport, bool zero_passes, bool *good)
{
    if (!has_headers(packet, version, network, transport))
        return VDP_REASON_parse_truncated;
    *good = true;
    if (is_unfinished_at(packet, transport))
        return VDP_REASON_none;
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE && !is_super_inside(packet, transport))
        return VDP_REASON_gso_unsupported; /* datagrams that are none yet */
    const uint8_t *udp = packet->data + transport;
    if (vdp_load_be16(udp + VDP_UDP_CHECKSUM) == 0) {
        *good = zero_passes;
        return VDP_REASON_none;
    }
    if (packet->csum_valid || packet->gso_type != VIRTIO_NET_HDR_GSO_NONE)
        return VDP_REASON_none; /* as with REQUIRE_CHECKSUM: it has crossed no wire */
    uint32_t reason = vdp_offload_finish_checksum(packet);
    if (reason != VDP_REASON_none)
        return reason;
    uint64_t sum = pseudo_sum(packet, version, network, transport);
    *good = vdp_checksum_fold(vdp_checksum_add(sum, udp, packet->length - transport)) == 0xffff;
    return VDP_REASON_none;
}

uint32_t vdp_udp_hash(const uint8_t *bytes, uint32_t size)
{
    uint32_t hash = 0;
    for (uint32_t at = 0; at < size; at += 4) {
        hash = (hash ^ vdp_load_be32(bytes + at)) * MULTIPLIER;
        hash ^= hash >> 15;
    }
    return hash;
}
