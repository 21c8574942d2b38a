/* Headers found, virtio_net_hdr checked and told, unfinished checksums finished. */
#include "offload.h"

#include "checksum.h"
#include <string.h>

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION_OPTIONS = 60 };

enum { VLAN_TAGS = 8 }; /* VLAN_MAX_DEPTH of Linux */

static bool is_vlan(uint32_t ethertype)
{
    return ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100;
}

static uint32_t ethertype_of_version(const struct vdp_packet *packet)
{
    unsigned version = packet->length > 0 ? packet->data[0] >> 4 : 0;
    return version == 4 ? ETHERTYPE_IPV4 : version == 6 ? ETHERTYPE_IPV6 : 0;
}

/* The EtherType of the network header, and where that starts; 0: there is none, and *network is the
 * end of what leads there. */
static uint32_t find_network(const struct vdp_packet *packet, uint32_t *network)
{
    if (vdp_load_be32(packet->meta + 4 * VDP_META_TYPE) == VDP_L3) {
        uint32_t protocol = vdp_load_be32(packet->meta + 4 * VDP_META_PROTOCOL);
        *network = 0;
        return protocol != 0 ? protocol : ethertype_of_version(packet);
    }
    *network = VDP_ETHERNET_SIZE;
    if (!vdp_packet_has(packet, 0, VDP_ETHERNET_SIZE))
        return 0;
    uint32_t ethertype = vdp_load_be16(packet->data + 12);
    while (is_vlan(ethertype)) {
        if (!vdp_packet_has(packet, *network, VDP_VLAN_SIZE) ||
            *network >= VDP_ETHERNET_SIZE + VLAN_TAGS * VDP_VLAN_SIZE)
            return 0;
        ethertype = vdp_load_be16(packet->data + *network + 2);
        *network += VDP_VLAN_SIZE;
    }
    return ethertype;
}

static bool locate_ipv4(const struct vdp_packet *packet, struct vdp_headers *headers)
{
    if (!vdp_packet_has(packet, headers->network, VDP_IPV4_SIZE))
        return false;
    const uint8_t *ip = packet->data + headers->network;
    uint32_t header_size = (ip[0] & 0x0fu) * 4;
    uint32_t total = vdp_load_be16(ip + VDP_IPV4_TOTAL);
    if (ip[0] >> 4 != 4 || header_size < VDP_IPV4_SIZE || total < header_size ||
        !vdp_packet_has(packet, headers->network, total))
        return false;
    headers->version = 4;
    headers->protocol = ip[VDP_IPV4_PROTOCOL];
    headers->fragment = (vdp_load_be16(ip + VDP_IPV4_FRAGMENT) & 0x3fff) != 0; /* MF or offset */
    headers->transport = headers->network + header_size;
    headers->end = headers->network + total;
    return true;
}

/* Steps over the extension headers that an offload engine steps over.  A routing header
 * with segments left is refused: its pseudo header has another destination. */
static bool locate_ipv6(const struct vdp_packet *packet, struct vdp_headers *headers)
{
    if (!vdp_packet_has(packet, headers->network, VDP_IPV6_SIZE))
        return false;
    const uint8_t *ip = packet->data + headers->network;
    uint32_t end = headers->network + VDP_IPV6_SIZE + vdp_load_be16(ip + VDP_IPV6_PAYLOAD);
    if (ip[0] >> 4 != 6 || end > packet->length)
        return false;
    uint32_t at = headers->network + VDP_IPV6_SIZE;
    uint8_t next = ip[VDP_IPV6_NEXT];
    while (next == HOP_BY_HOP || next == ROUTING || next == DESTINATION_OPTIONS) {
        if (end - at < 8)
            return false;
        const uint8_t *extension = packet->data + at;
        uint32_t size = (extension[1] + 1u) * 8;
        if (size > end - at || (next == ROUTING && extension[3] != 0))
            return false;
        next = extension[0];
        at += size;
    }
    headers->version = 6;
    headers->protocol = next;
    headers->fragment = next == FRAGMENT;
    headers->transport = at;
    headers->end = end;
    return true;
}

/* The size of the TCP or UDP header at `offset`, all of it before `end`; 0: it is not. */
static uint32_t transport_size(const struct vdp_packet *packet, uint8_t protocol, uint32_t offset,
                               uint32_t end)
{
    uint32_t room = end - offset;
    uint32_t size = VDP_UDP_SIZE;
    if (protocol == VDP_TCP) {
        if (room < VDP_TCP_SIZE)
            return 0;
        size = (packet->data[offset + VDP_TCP_OFFSET] >> 4) * 4u;
        if (size < VDP_TCP_SIZE)
            return 0;
    }
    return size <= room ? size : 0;
}

bool vdp_offload_locate(const struct vdp_packet *packet, struct vdp_headers *headers)
{
    uint32_t network = 0;
    uint32_t ethertype = find_network(packet, &network);
    return vdp_offload_locate_ip(packet, ethertype, network, headers);
}

bool vdp_offload_locate_ip(const struct vdp_packet *packet, uint32_t ethertype, uint32_t network,
                           struct vdp_headers *headers)
{
    headers->network = network;
    bool found = ethertype == ETHERTYPE_IPV4   ? locate_ipv4(packet, headers)
                 : ethertype == ETHERTYPE_IPV6 ? locate_ipv6(packet, headers)
                                               : false;
    if (!found)
        return false;
    headers->payload = headers->transport;
    if (headers->fragment || (headers->protocol != VDP_TCP && headers->protocol != VDP_UDP))
        return true;
    uint32_t size = transport_size(packet, headers->protocol, headers->transport, headers->end);
    headers->payload += size;
    return size > 0;
}

void vdp_offload_clear(struct vdp_packet *packet)
{
    packet->needs_csum = false;
    packet->csum_valid = false;
    packet->gso_type = VIRTIO_NET_HDR_GSO_NONE;
    packet->gso_size = 0;
    packet->csum_start = 0;
    packet->csum_offset = 0;
    packet->segments = 1;
}

void vdp_offload_set_size(struct vdp_packet *packet, uint32_t payload, uint16_t gso_size)
{
    packet->gso_size = gso_size;
    packet->segments = (payload + gso_size - 1u) / gso_size;
}

void vdp_offload_prepare_checksum(struct vdp_packet *packet, const struct vdp_headers *headers)
{
    packet->csum_start = (uint32_t)vdp_packet_headroom(packet) + headers->transport;
    packet->csum_offset = headers->protocol == VDP_TCP ? VDP_TCP_CHECKSUM : VDP_UDP_CHECKSUM;
    packet->needs_csum = true;
    uint64_t sum = vdp_checksum_pseudo(packet->data + headers->network, headers->version,
                                       headers->protocol, headers->end - headers->transport);
    vdp_store_be16(packet->data + headers->transport + packet->csum_offset, vdp_checksum_fold(sum));
}

/* Is this a type that can be cut?  Congestion marks (ECN) are TCP's alone. */
static uint32_t check_type(uint32_t gso_type)
{
    switch (gso_type) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
    case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
    case VIRTIO_NET_HDR_GSO_TCPV6:
    case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
    case VIRTIO_NET_HDR_GSO_UDP_L4:
        return VDP_REASON_none;
    case VIRTIO_NET_HDR_GSO_UDP: /* UFO: one datagram, which only IP fragments could carry */
        return VDP_REASON_gso_unsupported;
    default:
        return VDP_REASON_gso_invalid;
    }
}

static uint32_t field_of(uint8_t protocol)
{
    return protocol == VDP_TCP ? VDP_TCP_CHECKSUM : VDP_UDP_CHECKSUM;
}

bool vdp_offload_is_own(const struct vdp_headers *headers, uint32_t start, uint32_t offset)
{
    bool is_known = headers->protocol == VDP_TCP || headers->protocol == VDP_UDP;
    return is_known && start == headers->transport && offset == field_of(headers->protocol);
}

/* May it start there behind these headers, in what they carry?  Nothing is carried in TCP. */
static bool is_carried(const struct vdp_headers *headers, uint32_t start)
{
    uint32_t size = headers->protocol == VDP_UDP ? VDP_UDP_SIZE : 0;
    return !headers->fragment && headers->protocol != VDP_TCP &&
           start >= headers->transport + size;
}

/* The end of what is the same in all headers up to the network's; more is not asked of packets
 * whose headers contradict themselves. */
static uint32_t least_front(const struct vdp_packet *packet)
{
    uint32_t network = 0, ethertype = find_network(packet, &network);
    return network + (ethertype == ETHERTYPE_IPV4   ? VDP_IPV4_SIZE
                      : ethertype == ETHERTYPE_IPV6 ? VDP_IPV6_SIZE
                                                    : 0);
}

uint32_t vdp_offload_check_checksum(const struct vdp_packet *packet)
{
    uint32_t start = packet->csum_start - (uint32_t)vdp_packet_headroom(packet);
    struct vdp_headers headers;
    bool fits = vdp_offload_locate(packet, &headers)
                    ? vdp_offload_is_own(&headers, start, packet->csum_offset) ||
                          is_carried(&headers, start)
                    : start >= least_front(packet);
    return fits ? VDP_REASON_none : VDP_REASON_vnet_hdr_invalid;
}

static uint8_t type_protocol(uint32_t gso_type)
{
    return gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? VDP_UDP : VDP_TCP;
}

/* Do these headers, up to the packet's last byte, make a super-packet of that type? */
static bool headers_fit(const struct vdp_packet *packet, const struct vdp_headers *headers,
                        uint32_t gso_type)
{
    uint32_t base = gso_type & ~(uint32_t)VIRTIO_NET_HDR_GSO_ECN;
    return !headers->fragment && headers->end == packet->length &&
           headers->protocol == type_protocol(gso_type) &&
           (base != VIRTIO_NET_HDR_GSO_TCPV4 || headers->version == 4) &&
           (base != VIRTIO_NET_HDR_GSO_TCPV6 || headers->version == 6);
}

uint32_t vdp_offload_check(const struct vdp_packet *packet, struct vdp_headers *headers)
{
    if (!vdp_offload_locate(packet, headers))
        return VDP_REASON_gso_unsupported;
    return vdp_offload_check_located(packet, headers);
}

uint32_t vdp_offload_check_located(const struct vdp_packet *packet, const struct vdp_headers *headers)
{
    uint32_t start = packet->csum_start - (uint32_t)vdp_packet_headroom(packet);
    if ((headers->protocol != VDP_TCP && headers->protocol != VDP_UDP) || is_carried(headers, start))
        return VDP_REASON_gso_unsupported; /* still in a tunnel's headers */
    if (!headers_fit(packet, headers, packet->gso_type) ||
        packet->csum_start != vdp_packet_headroom(packet) + headers->transport)
        return VDP_REASON_gso_invalid;
    return VDP_REASON_none;
}

/* Where a super-packet's payload starts: behind the transport that the packet's own
 * headers lead to or, in a tunnel's IP packet, that csum_start points at.  0: nowhere. */
static uint32_t find_payload(struct vdp_packet *packet, const struct vdp_offload *offload)
{
    struct vdp_headers headers;
    uint8_t protocol = type_protocol(offload->gso_type);
    if (!vdp_offload_locate(packet, &headers))
        return 0;
    if (!offload->needs_csum || offload->csum_start == headers.transport) {
        if (!headers_fit(packet, &headers, offload->gso_type) ||
            (offload->needs_csum && offload->csum_offset != field_of(protocol)))
            return 0;
        vdp_offload_prepare_checksum(packet, &headers);
        return headers.payload;
    }
    if (!is_carried(&headers, offload->csum_start) || offload->csum_offset != field_of(protocol) ||
        headers.end != packet->length)
        return 0;
    uint32_t size = transport_size(packet, protocol, offload->csum_start, packet->length);
    return size > 0 ? offload->csum_start + size : 0;
}

static uint32_t load_gso(struct vdp_packet *packet, const struct vdp_offload *offload)
{
    uint32_t reason = check_type(offload->gso_type);
    if (reason != VDP_REASON_none)
        return reason;
    if (offload->gso_size == 0 || offload->gso_size > UINT16_MAX ||
        offload->header_size > packet->length)
        return VDP_REASON_gso_invalid;
    uint32_t payload = find_payload(packet, offload);
    if (payload == 0 || payload > VDP_SUPER_HEADERS)
        return VDP_REASON_gso_invalid;
    uint32_t size = packet->length - payload;
    if (size <= offload->gso_size) /* "too small packets are not really GSO ones", Linux */
        return VDP_REASON_none;
    packet->gso_type = (uint8_t)offload->gso_type;
    vdp_offload_set_size(packet, size, (uint16_t)offload->gso_size);
    if (packet->gso_size < VDP_SEGMENT_LEAST && packet->segments > VDP_CELL_SEGMENTS)
        return VDP_REASON_gso_invalid; /* amplification */
    return VDP_REASON_none;
}

static bool load_checksum(struct vdp_packet *packet, const struct vdp_offload *offload)
{
    if (offload->csum_start >= packet->length || offload->csum_offset > UINT16_MAX ||
        !vdp_packet_has(packet, offload->csum_start + offload->csum_offset, 2))
        return false;
    packet->needs_csum = true;
    packet->csum_start = (uint32_t)vdp_packet_headroom(packet) + offload->csum_start;
    packet->csum_offset = (uint16_t)offload->csum_offset;
    return true;
}

uint32_t vdp_offload_load(struct vdp_packet *packet, const struct vdp_offload *offload)
{
    bool is_super = offload->gso_type != VIRTIO_NET_HDR_GSO_NONE;
    uint32_t reason = VDP_REASON_none;
    vdp_offload_clear(packet);
    if (offload->needs_csum && !load_checksum(packet, offload))
        return is_super ? VDP_REASON_gso_invalid : VDP_REASON_vnet_hdr_invalid;
    if (is_super)
        reason = load_gso(packet, offload);
    else if (offload->needs_csum)
        reason = vdp_offload_check_checksum(packet);
    if (reason != VDP_REASON_none)
        vdp_offload_clear(packet);
    return reason;
}

uint32_t vdp_offload_store(const struct vdp_packet *packet, struct vdp_offload *offload)
{
    uint32_t headroom = (uint32_t)vdp_packet_headroom(packet);
    memset(offload, 0, sizeof *offload);
    if (packet->needs_csum && packet->csum_start >= headroom) { /* else pulled off since */
        if (!vdp_packet_has(packet, packet->csum_start - headroom + packet->csum_offset, 2))
            return VDP_REASON_vnet_hdr_invalid;
        offload->needs_csum = 1;
        offload->csum_start = packet->csum_start - headroom;
        offload->csum_offset = packet->csum_offset;
    }
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        struct vdp_headers headers;
        uint32_t reason = vdp_offload_check(packet, &headers);
        if (reason == VDP_REASON_gso_unsupported)
            reason = vdp_offload_check_gre(packet, &headers);
        if (reason != VDP_REASON_none)
            return reason;
        offload->gso_type = packet->gso_type;
        offload->gso_size = packet->gso_size;
        offload->header_size = headers.payload;
    }
    return VDP_REASON_none;
}

uint32_t vdp_offload_segment_length(const struct vdp_packet *packet)
{
    uint32_t start = packet->csum_start - (uint32_t)vdp_packet_headroom(packet);
    if (packet->gso_type == VIRTIO_NET_HDR_GSO_NONE || start > packet->length)
        return packet->length;
    uint32_t size = transport_size(packet, type_protocol(packet->gso_type), start, packet->length);
    uint32_t length = start + size + packet->gso_size;
    return size > 0 && length < packet->length ? length : packet->length;
}

/* virtio_net_hdr in the host's byte order: nobody sets TUNSETVNETLE or -BE.  hdr_len is a
 * hint: of a super-packet it is to lie inside, and else not asked. */
uint32_t vdp_vnet_load(struct vdp_packet *packet, const struct virtio_net_hdr *header)
{
    const struct vdp_offload offload = {
        .needs_csum = (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0,
        .csum_start = header->csum_start,
        .csum_offset = header->csum_offset,
        .gso_type = header->gso_type,
        .gso_size = header->gso_size,
        .header_size = header->hdr_len,
    };
    uint32_t reason = vdp_offload_load(packet, &offload);
    packet->csum_valid =
        reason == VDP_REASON_none && (header->flags & VIRTIO_NET_HDR_F_DATA_VALID) != 0;
    return reason;
}

uint32_t vdp_vnet_store(const struct vdp_packet *packet, struct virtio_net_hdr *header)
{
    struct vdp_offload offload;
    memset(header, 0, sizeof *header);
    if (!packet->needs_csum && packet->gso_type == VIRTIO_NET_HDR_GSO_NONE)
        return VDP_REASON_none;
    uint32_t reason = vdp_offload_store(packet, &offload);
    if (reason != VDP_REASON_none)
        return reason;
    if (offload.csum_start > UINT16_MAX)
        return VDP_REASON_vnet_hdr_invalid;
    header->flags = offload.needs_csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0;
    header->gso_type = (uint8_t)offload.gso_type;
    header->hdr_len = (uint16_t)offload.header_size;
    header->gso_size = (uint16_t)offload.gso_size;
    header->csum_start = (uint16_t)offload.csum_start;
    header->csum_offset = (uint16_t)offload.csum_offset;
    return VDP_REASON_none;
}

uint32_t vdp_offload_finish_checksum(struct vdp_packet *packet)
{
    uint32_t headroom = (uint32_t)vdp_packet_headroom(packet);
    if (packet->needs_csum && packet->csum_start >= headroom) { /* else pulled off since */
        uint32_t start = packet->csum_start - headroom;
        if (!vdp_packet_has(packet, start + packet->csum_offset, 2))
            return VDP_REASON_vnet_hdr_invalid; /* trimmed off */
        /* The field holds the pseudo header's sum and is part of what is summed. */
        uint16_t checksum = vdp_checksum(packet->data + start, packet->length - start);
        vdp_store_be16(packet->data + start + packet->csum_offset,
                       checksum == 0 ? 0xffff : checksum); /* a UDP 0 would mean: none */
        packet->csum_valid = true;
    }
    packet->needs_csum = false;
    return VDP_REASON_none;
}

uint32_t vdp_offload_feature(const struct vdp_packet *packet)
{
    switch (packet->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return 0;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return VDP_F_TSO4;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return VDP_F_TSO6;
    default:
        return VDP_F_USO;
    }
}

bool vdp_offload_covered(const struct vdp_packet *packet, uint32_t features)
{
    uint32_t needed = (packet->needs_csum ? VDP_F_CSUM : 0) | vdp_offload_feature(packet);
    return (needed & ~features) == 0;
}

bool vdp_offload_takes_headers(const struct vdp_packet *packet, uint32_t features)
{
    struct vdp_headers headers;
    return packet->gso_type == VIRTIO_NET_HDR_GSO_NONE || (features & VDP_F_GRE_TSO) != 0 ||
           vdp_offload_check(packet, &headers) != VDP_REASON_gso_unsupported;
}
