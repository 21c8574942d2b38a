/* Which packets are control traffic: what a network needs to go on working while there is too much
 * of all else.
 *
 *   frame:  ARP; IPv4 and IPv6 as below, behind up to two VLAN tags
 *   IPv4:   ICMP; GRE keepalives (an IPv4 packet of GRE with protocol 0, sent to come back, and
 *           what comes back: GRE with protocol 0)
 *   IPv6:   ICMPv6, also behind hop-by-hop options (MLD)
 *
 * Only packets that no flow takes are asked, and those of a port that is being shed: here is no
 * fast path.  Anybody can send such packets; who asks bounds how many count. */
#include "header.h"
#include "internal.h"

enum {
    ETHERNET = 14,
    TAG = 4,
    TAGS_MOST = 2,
    IPV4_LEAST = 20,
    IPV6 = 40,
    GRE_LEAST = 4,
    ETH_IPV4 = 0x0800,
    ETH_ARP = 0x0806,
    ETH_IPV6 = 0x86dd,
    ETH_VLAN = 0x8100,
    ETH_QINQ = 0x88a8,
    IP_HOP_BY_HOP = 0,
    IP_ICMP = 1,
    IP_GRE = 47,
    IP_ICMP6 = 58,
    FRAGMENT_OFFSET = 0x1fff
};

/* Bytes from `at` on that are there. */
static bool has(const struct vdp_packet *packet, uint32_t at, uint32_t size)
{
    return at <= packet->length && size <= packet->length - at;
}

/* The protocol of an IPv4 packet's first fragment, -1 of anything else; *behind: what comes then. */
static int ipv4_protocol(const struct vdp_packet *packet, uint32_t at, uint32_t *behind)
{
    if (!has(packet, at, IPV4_LEAST) || packet->data[at] >> 4 != 4 ||
        vdp_load_be16(packet->data + at + 6) & FRAGMENT_OFFSET)
        return -1;
    *behind = at + 4u * (packet->data[at] & 15u);
    return packet->data[at + 9];
}

/* The protocol of a GRE header, -1 where there is none that is known; *behind as above. */
static int gre_protocol(const struct vdp_packet *packet, uint32_t at, uint32_t *behind)
{
    if (!has(packet, at, GRE_LEAST))
        return -1;
    uint32_t flags = vdp_load_be16(packet->data + at);
    if (flags & 0x5fff) /* numbered: it would overtake others; else not ours to know */
        return -1;
    *behind = at + GRE_LEAST + 4 * ((flags >> 15 & 1) + (flags >> 13 & 1));
    return vdp_load_be16(packet->data + at + 2);
}

static bool is_keepalive(const struct vdp_packet *packet, uint32_t at)
{
    uint32_t inner, gre, end;
    int protocol = gre_protocol(packet, at, &inner);

    if (protocol != ETH_IPV4)
        return protocol == 0;
    return ipv4_protocol(packet, inner, &gre) == IP_GRE && gre_protocol(packet, gre, &end) == 0;
}

static bool is_ipv4_control(const struct vdp_packet *packet, uint32_t at)
{
    uint32_t behind = 0;
    int protocol = ipv4_protocol(packet, at, &behind);

    return protocol == IP_ICMP || (protocol == IP_GRE && is_keepalive(packet, behind));
}

static bool is_ipv6_control(const struct vdp_packet *packet, uint32_t at)
{
    if (!has(packet, at, IPV6 + 1))
        return false;
    uint8_t next = packet->data[at + 6];
    return next == IP_ICMP6 || (next == IP_HOP_BY_HOP && packet->data[at + IPV6] == IP_ICMP6);
}

bool vdp_control_is(const struct vdp_packet *packet)
{
    uint32_t type = vdp_load_be32(packet->meta + 4), at = 0;

    if (vdp_load_be32(packet->meta) == VDP_L2) {
        for (int tags = 0;; tags++, at += TAG) {
            if (!has(packet, at, ETHERNET))
                return false;
            type = vdp_load_be16(packet->data + at + ETHERNET - 2);
            if ((type != ETH_VLAN && type != ETH_QINQ) || tags == TAGS_MOST)
                break;
        }
        at += ETHERNET;
    }
    return type == ETH_ARP || (type == ETH_IPV4 && is_ipv4_control(packet, at)) ||
           (type == ETH_IPV6 && is_ipv6_control(packet, at));
}
