/* Where a packet's headers are, and the offload marks of struct vdp_packet.
 *
 * The engine knows IPv4, IPv6, TCP and UDP as a NIC's offload engine does.  All of
 * this works on the packet's front as it stands: an Ethernet frame or a layer-3 packet,
 * as meta words 0 and 1 say.  What comes from a virtio_net_hdr is hostile until checked
 * here; afterwards these hold, and the rest of the engine relies on them:
 *
 *   needs_csum  =>  csum_start and csum_offset point at two bytes inside the packet, which as
 *                   it came in were of its TCP's or UDP's checksum, or behind its headers
 *   gso_type    =>  needs_csum, gso_size > 0, segments > 1, and at csum_start a whole TCP
 *                   or UDP header, as the type says, the checksum field of which holds
 *                   the pseudo header's sum
 *
 * A super-packet may come in a tunnel's headers (a kernel GRE device on a local veth):
 * then only the transport can be checked on entry.  So that the front is IP of the right
 * version with that transport is asked again where it matters, by vdp_offload_check.
 *
 * A function that returns a reason returns VDP_REASON_none when all is well. */
#ifndef VDP_OFFLOAD_H
#define VDP_OFFLOAD_H

#include "internal.h"
#include <linux/virtio_net.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* headers before Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
    VDP_IP_MAX = 65535,      /* what an IPv4 total length can say */
    VDP_SEGMENT_LEAST = 48,  /* payload where there are many; TCP_MIN_SND_MSS of Linux */
    VDP_CELL_SEGMENTS = 64,  /* joined by a cell at most, however short */
    VDP_SUPER_HEADERS = 512  /* bytes in front of a super-packet's payload, which each segment gets */
};

enum vdp_protocol { VDP_TCP = 6, VDP_UDP = 17 };

/* Sizes, and offsets of fields in their header. */
enum { VDP_ETHERNET_SIZE = 14, VDP_VLAN_SIZE = 4 };
enum {
    VDP_IPV4_SIZE = 20, VDP_IPV4_TOS = 1, VDP_IPV4_TOTAL = 2, VDP_IPV4_ID = 4, VDP_IPV4_FRAGMENT = 6,
    VDP_IPV4_TTL = 8, VDP_IPV4_PROTOCOL = 9, VDP_IPV4_CHECKSUM = 10, VDP_IPV4_ADDRESSES = 12
};
enum {
    VDP_IPV6_SIZE = 40, VDP_IPV6_PAYLOAD = 4, VDP_IPV6_NEXT = 6, VDP_IPV6_HOP_LIMIT = 7,
    VDP_IPV6_ADDRESSES = 8
};
enum {
    VDP_TCP_SIZE = 20, VDP_TCP_SEQUENCE = 4, VDP_TCP_ACK = 8, VDP_TCP_OFFSET = 12, VDP_TCP_FLAGS = 13,
    VDP_TCP_WINDOW = 14, VDP_TCP_CHECKSUM = 16, VDP_TCP_URGENT = 18
};
enum {
    VDP_FIN = 0x01, VDP_SYN = 0x02, VDP_RST = 0x04, VDP_PSH = 0x08, VDP_URG = 0x20, VDP_CWR = 0x80
};
enum { VDP_UDP_SIZE = 8, VDP_UDP_LENGTH = 4, VDP_UDP_CHECKSUM = 6 };

/* Offsets from the packet's front.
 *
 *   0         network         transport      payload          end       length
 *   | Ethernet + VLAN | IP + options | TCP or UDP + options | bytes | padding | */
struct vdp_headers {
    uint32_t network, transport, payload, end;
    uint8_t version;  /* 4 or 6 */
    uint8_t protocol; /* behind IPv6 extension headers */
    bool fragment;    /* nothing behind the IP header is looked at then */
};

/* Is the checksum at `start` + `offset` the one of TCP or UDP in these headers? */
bool vdp_offload_is_own(const struct vdp_headers *headers, uint32_t start, uint32_t offset);

/* May the packet's unfinished checksum, which is no super-packet's, be there?  Finished, it changes
 * two bytes that nobody may have decided by: those of TCP's or UDP's checksum, or some behind the
 * headers that lead there.  Asked of what comes in, and once more of what comes out of a tunnel. */
uint32_t vdp_offload_check_checksum(const struct vdp_packet *packet);

/* Find the headers.  False: not IP, cut short, or a length that contradicts another one.
 * For protocols other than TCP and UDP, and for fragments, payload is transport. */
bool vdp_offload_locate(const struct vdp_packet *packet, struct vdp_headers *headers);

/* Take the marks over into a packet whose bytes and meta are set; a reason. */
uint32_t vdp_offload_load(struct vdp_packet *packet, const struct vdp_offload *offload);
uint32_t vdp_vnet_load(struct vdp_packet *packet, const struct virtio_net_hdr *header);

/* Tell the marks.  A reason when headers were pushed or pulled, so that the packet's
 * front is no longer what the marks describe: the kernel would cut it into garbage. */
uint32_t vdp_offload_store(const struct vdp_packet *packet, struct vdp_offload *offload);
uint32_t vdp_vnet_store(const struct vdp_packet *packet, struct virtio_net_hdr *header);

/* The same for an IP packet inside: of this EtherType, at this offset. */
bool vdp_offload_locate_ip(const struct vdp_packet *packet, uint32_t ethertype, uint32_t network,
                           struct vdp_headers *headers);

/* Are these the headers of the packet's own super-packet type? */
uint32_t vdp_offload_check(const struct vdp_packet *packet, struct vdp_headers *headers);

/* The same of headers that were found. */
uint32_t vdp_offload_check_located(const struct vdp_packet *packet, const struct vdp_headers *headers);

/* The same for a super-packet in GRE, as VDP_F_GRE_TSO says (offload_gre.c); `headers` are the
 * inner ones. */
uint32_t vdp_offload_check_gre(const struct vdp_packet *packet, struct vdp_headers *headers);

/* The checksum from `start` on that each full segment of a super-packet will have, once its own
 * is finished: local checksum offload (Documentation/networking/checksum-offloads.rst).  What
 * TCP's checksum covers sums up to the pseudo header's complement, whatever the payload; so does
 * an IPv4 header to nothing, whatever its id. */
uint16_t vdp_offload_local_checksum(const struct vdp_packet *packet, uint32_t start);

/* The same for the UDP header at `transport`, behind the IP header at `network`: 0 where it has that
 * checksum.  The packet's length is in its header. */
uint16_t vdp_offload_local_udp(const struct vdp_packet *packet, unsigned version, uint32_t network,
                               uint32_t transport);

/* May it stay whole as it is put into GRE?  `limits`: d of VDP_OP_SEGMENT. */
bool vdp_offload_fits_gre(const struct vdp_packet *packet, uint32_t limits);

/* Compute an unfinished checksum (Linux skb_checksum_help); a reason. */
uint32_t vdp_offload_finish_checksum(struct vdp_packet *packet);

/* Put the pseudo header's sum into the transport checksum field and set needs_csum. */
void vdp_offload_prepare_checksum(struct vdp_packet *packet, const struct vdp_headers *headers);

/* The enum vdp_port_feature that a super-packet needs; 0 of any other packet. */
uint32_t vdp_offload_feature(const struct vdp_packet *packet);

/* Does a port with these enum vdp_port_feature take the packet as it is? */
bool vdp_offload_covered(const struct vdp_packet *packet, uint32_t features);

/* And if it is a super-packet with a tunnel's headers in front, does it take those? */
bool vdp_offload_takes_headers(const struct vdp_packet *packet, uint32_t features);

/* No marks: a plain packet, which is one segment. */
void vdp_offload_clear(struct vdp_packet *packet);

/* Set gso_size and count the segments of `payload` bytes. */
void vdp_offload_set_size(struct vdp_packet *packet, uint32_t payload, uint16_t gso_size);

/* How long the packet is or, of a super-packet, its longest segment: with whatever was
 * pushed in front of it. */
uint32_t vdp_offload_segment_length(const struct vdp_packet *packet);

#endif
