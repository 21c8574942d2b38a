/* Super-packets in GRE: which of them may be handed to a port that takes such (VDP_F_GRE_TSO).
 *
 *   | Ethernet | IP | (UDP) | GRE | (Ethernet) | IP | TCP | payload |
 *
 * One GRE header, not more, and nothing around it that whoever cuts would have to make anew
 * for each segment (Linux gre_gso_segment, skb_udp_tunnel_segment): no sequence number; checksums,
 * if they are right for all, which are of one size then. */
#include "offload.h"

#include "checksum.h"

enum { GRE = 47, DESTINATION_OPTIONS = 60 };
enum {
    GRE_SIZE = 4, GRE_CHECKSUM = 0x8000, GRE_KEY = 0x2000, GRE_OPTION_SIZE = 4, ETHERTYPE_TEB = 0x6558
};
enum { LIMIT_SIZE = 8 }; /* destination options with a tunnel encapsulation limit (RFC 2473) */

/* Where IP starts in a packet without VLAN tags. */
static uint32_t untagged(const struct vdp_packet *packet)
{
    return vdp_load_be32(packet->meta + 4 * VDP_META_TYPE) == VDP_L3 ? 0 : VDP_ETHERNET_SIZE;
}

static bool is_plain_outer(const struct vdp_packet *packet, const struct vdp_headers *outer)
{
    uint32_t size = outer->transport - outer->network;
    const uint8_t *ip = packet->data + outer->network;
    if ((outer->protocol != GRE && outer->protocol != VDP_UDP) || outer->fragment ||
        outer->end != packet->length || outer->network != untagged(packet))
        return false;
    if (outer->version == 4)
        return size == VDP_IPV4_SIZE;
    return size == VDP_IPV6_SIZE ||
           (size == VDP_IPV6_SIZE + LIMIT_SIZE && ip[VDP_IPV6_NEXT] == DESTINATION_OPTIONS);
}

/* The EtherType of the IP packet behind the GRE header at `at`, which goes on to it; 0: none. */
static uint32_t skip_gre(const struct vdp_packet *packet, uint32_t *at)
{
    if (!vdp_packet_has(packet, *at, GRE_SIZE))
        return 0;
    uint32_t flags = vdp_load_be16(packet->data + *at);
    uint32_t protocol = vdp_load_be16(packet->data + *at + 2);
    uint32_t size = GRE_SIZE;
    size += flags & GRE_CHECKSUM ? GRE_OPTION_SIZE : 0;
    size += flags & GRE_KEY ? GRE_OPTION_SIZE : 0;
    if ((flags & ~(uint32_t)(GRE_CHECKSUM | GRE_KEY)) != 0 || !vdp_packet_has(packet, *at, size))
        return 0;
    *at += size;
    if (protocol != ETHERTYPE_TEB)
        return protocol;
    if (!vdp_packet_has(packet, *at, VDP_ETHERNET_SIZE))
        return 0;
    *at += VDP_ETHERNET_SIZE;
    return vdp_load_be16(packet->data + *at - 2);
}

/* The sum of an IPv4 header, which becomes that of the segments', is to be nothing. */
static bool is_header_right(const struct vdp_packet *packet, const struct vdp_headers *headers)
{
    return headers->version == 6 || vdp_checksum(packet->data + headers->network,
                                                 headers->transport - headers->network) == 0;
}

static bool has_udp_checksum(const struct vdp_packet *packet, const struct vdp_headers *outer)
{
    return outer->protocol == VDP_UDP &&
           vdp_load_be16(packet->data + outer->transport + VDP_UDP_CHECKSUM) != 0;
}

/* Those of the outer UDP header and of the GRE header at `gre`, if they have any, for each segment. */
static bool are_checksums_right(const struct vdp_packet *packet, const struct vdp_headers *outer,
                                uint32_t gre, const struct vdp_headers *headers)
{
    bool in_gre = (packet->data[gre] & GRE_CHECKSUM >> 8) != 0;
    bool in_udp = has_udp_checksum(packet, outer);
    if (!in_gre && !in_udp)
        return true;
    return (packet->length - headers->payload) % packet->gso_size == 0 &&
           is_header_right(packet, headers) &&
           (!in_gre || vdp_offload_local_checksum(packet, gre) == 0) &&
           (!in_udp || vdp_offload_local_udp(packet, outer->version, outer->network,
                                             outer->transport) == 0);
}

/* By how much a full segment is shorter than the whole. */
static uint32_t shortening(const struct vdp_packet *packet, uint32_t transport)
{
    uint32_t all = packet->length - transport;
    uint32_t segment =
        (packet->data[transport + VDP_TCP_OFFSET] >> 4) * 4u + packet->gso_size;
    return segment < all ? all - segment : 0;
}

static uint32_t transport_of(const struct vdp_packet *packet)
{
    return packet->csum_start - (uint32_t)vdp_packet_headroom(packet);
}

static uint64_t local_sum(const struct vdp_packet *packet, uint32_t start)
{
    uint32_t transport = transport_of(packet), less = shortening(packet, transport);
    uint64_t sum = vdp_checksum_add(0, packet->data + start, transport - start);
    /* With the whole's length in it; in IPv6 its header's own length makes up for that. */
    uint16_t pseudo = vdp_load_be16(packet->data + transport + VDP_TCP_CHECKSUM);
    sum = vdp_checksum_add_word(sum, (uint16_t)~pseudo);
    if ((packet->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV4) {
        sum = vdp_checksum_add_word(sum, (uint16_t)less);
        sum = vdp_checksum_add_word(sum, (uint16_t)(less >> 16));
    }
    return sum;
}

uint16_t vdp_offload_local_checksum(const struct vdp_packet *packet, uint32_t start)
{
    return (uint16_t)~vdp_checksum_fold(local_sum(packet, start));
}

uint16_t vdp_offload_local_udp(const struct vdp_packet *packet, unsigned version, uint32_t network,
                               uint32_t transport)
{
    uint32_t less = shortening(packet, transport_of(packet));
    uint32_t size = packet->length - transport - less;
    uint64_t sum = local_sum(packet, transport);
    /* The header says the whole's length, and will say the segment's. */
    sum = vdp_checksum_add_word(sum, (uint16_t)~less);
    sum = vdp_checksum_add_word(sum, vdp_checksum_fold(vdp_checksum_pseudo(
                                         packet->data + network, version, VDP_UDP, size)));
    return (uint16_t)~vdp_checksum_fold(sum);
}

/* Where what UDP carries begins, if its length is right; else what IP does. */
static uint32_t skip_udp(const struct vdp_packet *packet, const struct vdp_headers *outer)
{
    const uint8_t *udp = packet->data + outer->transport;
    if (outer->protocol != VDP_UDP)
        return outer->transport;
    return vdp_load_be16(udp + VDP_UDP_LENGTH) == outer->end - outer->transport ? outer->payload : 0;
}

uint32_t vdp_offload_check_gre(const struct vdp_packet *packet, struct vdp_headers *headers)
{
    struct vdp_headers outer;
    if (packet->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 || !vdp_offload_locate(packet, &outer) ||
        !is_plain_outer(packet, &outer))
        return VDP_REASON_gso_unsupported;
    uint32_t gre = skip_udp(packet, &outer), at = gre;
    uint32_t ethertype = at == 0 ? 0 : skip_gre(packet, &at);
    if (!vdp_offload_locate_ip(packet, ethertype, at, headers))
        return VDP_REASON_gso_unsupported;
    uint32_t reason = vdp_offload_check_located(packet, headers);
    if (reason == VDP_REASON_none && !are_checksums_right(packet, &outer, gre, headers))
        return VDP_REASON_gso_unsupported;
    return reason;
}

bool vdp_offload_fits_gre(const struct vdp_packet *packet, uint32_t limits)
{
    struct vdp_headers headers;
    return vdp_offload_check(packet, &headers) == VDP_REASON_none && headers.protocol == VDP_TCP &&
           headers.network == untagged(packet) && is_header_right(packet, &headers) &&
           packet->length <= (limits & 0xffff) &&
           headers.payload + packet->gso_size <= limits >> 16;
}
