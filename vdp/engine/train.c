/* Datagrams of one flow put together for the kernel to cut (UDP_SEGMENT, __udp_gso_segment).
 *
 * What the kernel makes of a train are the very datagrams: it copies the headers in front of
 * each piece, writes the lengths, counts the IPv4 id up by one and finishes the checksums.
 * So only datagrams join that differ from the first one in nothing else: the same bytes up
 * to the UDP header's end but for those; unfinished checksums (the kernel cuts no others);
 * the same size, but the last, which may be shorter.  With DF set the ids may be any: they
 * mean nothing then (RFC 6864 4.1), and the kernel makes them new.
 *
 * Nothing is moved: the headers are a copy, the payloads stay where they are. */
#include "train.h"

#include "checksum.h"

enum { LENGTH_MOST = 65535 }; /* of the whole, a link header with it (GSO_LEGACY_MAX_SIZE) */

/* A datagram that may be part of a train: plain, with an unfinished checksum, no padding. */
static bool examine(const struct vdp_packet *packet, struct vdp_headers *headers)
{
    return packet->needs_csum && packet->gso_type == VIRTIO_NET_HDR_GSO_NONE &&
           vdp_offload_locate(packet, headers) && headers->protocol == VDP_UDP &&
           !headers->fragment && headers->end == packet->length &&
           headers->end > headers->payload && headers->payload <= VDP_TRAIN_FRONT &&
           packet->csum_offset == VDP_UDP_CHECKSUM &&
           packet->csum_start == vdp_packet_headroom(packet) + headers->transport &&
           vdp_load_be16(packet->data + headers->transport + VDP_UDP_LENGTH) ==
               headers->end - headers->transport;
}

static bool same_ipv4(const uint8_t *a, const uint8_t *b, uint32_t index)
{
    uint16_t step = (uint16_t)(vdp_load_be16(b + VDP_IPV4_ID) - vdp_load_be16(a + VDP_IPV4_ID));
    bool df = (a[VDP_IPV4_FRAGMENT] & 0x40) != 0;
    return memcmp(a, b, VDP_IPV4_TOTAL) == 0 &&
           memcmp(a + VDP_IPV4_FRAGMENT, b + VDP_IPV4_FRAGMENT,
                  VDP_IPV4_CHECKSUM - VDP_IPV4_FRAGMENT) == 0 &&
           (df || step == index);
}

static bool same_ipv6(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, VDP_IPV6_PAYLOAD) == 0 && a[VDP_IPV6_NEXT] == b[VDP_IPV6_NEXT] &&
           a[VDP_IPV6_HOP_LIMIT] == b[VDP_IPV6_HOP_LIMIT];
}

/* Is this datagram, number `index`, of the flow of the first, which has those headers? */
static bool joins(const struct vdp_packet *first, const struct vdp_headers *at,
                  const struct vdp_packet *packet, uint32_t index)
{
    const uint8_t *a = first->data + at->network, *b = packet->data + at->network;
    uint32_t addresses = at->network + (at->version == 4 ? VDP_IPV4_ADDRESSES : VDP_IPV6_ADDRESSES);
    struct vdp_headers headers;
    return packet->length <= first->length && examine(packet, &headers) &&
           headers.network == at->network && headers.transport == at->transport &&
           headers.version == at->version && memcmp(first->data, packet->data, at->network) == 0 &&
           (at->version == 4 ? same_ipv4(a, b, index) : same_ipv6(a, b)) &&
           /* addresses, options or extension headers, ports */
           memcmp(first->data + addresses, packet->data + addresses,
                  at->transport + VDP_UDP_LENGTH - addresses) == 0;
}

static void write_front(struct vdp_train *train, const struct vdp_packet *first,
                        const struct vdp_headers *at, uint32_t length)
{
    uint8_t *ip = train->front + at->network, *udp = train->front + at->transport;
    uint32_t size = length - at->transport;
    memcpy(train->front, first->data, at->payload);
    if (at->version == 4) {
        vdp_store_be16(ip + VDP_IPV4_TOTAL, (uint16_t)(length - at->network));
        vdp_store_be16(ip + VDP_IPV4_CHECKSUM, 0);
        vdp_store_be16(ip + VDP_IPV4_CHECKSUM, vdp_checksum(ip, at->transport - at->network));
    } else {
        vdp_store_be16(ip + VDP_IPV6_PAYLOAD, (uint16_t)(length - at->network - VDP_IPV6_SIZE));
    }
    vdp_store_be16(udp + VDP_UDP_LENGTH, (uint16_t)size);
    vdp_store_be16(udp + VDP_UDP_CHECKSUM,
                   vdp_checksum_fold(vdp_checksum_pseudo(ip, at->version, VDP_UDP, size)));
    train->front_size = at->payload;
    train->vnet = (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
        .hdr_len = (uint16_t)at->payload,
        .gso_size = (uint16_t)(first->length - at->payload),
        .csum_start = (uint16_t)at->transport,
        .csum_offset = VDP_UDP_CHECKSUM,
    };
}

void vdp_train_plan(struct vdp_train *train, const struct vdp_packet *first, uint32_t most)
{
    struct vdp_headers at;
    uint32_t length = first->length;
    if (most > VDP_TRAIN_DATAGRAMS)
        most = VDP_TRAIN_DATAGRAMS;
    train->count = 1;
    if (first->next == NULL || !examine(first, &at))
        return;
    const struct vdp_packet *last = first;
    while (train->count < most && last->length == first->length && last->next != NULL &&
           joins(first, &at, last->next, train->count) &&
           length + last->next->length - at.payload <= LENGTH_MOST) {
        last = last->next;
        length += last->length - at.payload;
        train->count++;
    }
    if (train->count > 1)
        write_front(train, first, &at, length);
}
