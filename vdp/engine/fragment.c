/* Cut an IPv4 packet into fragments (RFC 791 section 3.2; Linux ip_do_fragment).
 *
 *   packet:         | front | header | piece 0 | piece 1 | ...    | last piece | padding |
 *   fragment i:     | front | header | piece i |   in a packet of its own
 *   last fragment:  the packet's own buffer, front and header moved before the piece
 *
 * `front` is what stands before the IP header.  Every piece but the last is as many times
 * eight bytes as fit; the last may be a few bytes more than that.  The first fragment keeps
 * all options, the others those that are to be copied. */
#include "offload.h"

#include "checksum.h"

enum { UNIT = 8 }; /* bytes that the fragment offset counts in */
enum { DONT_FRAGMENT = 0x4000, MORE_FRAGMENTS = 0x2000, OFFSET = 0x1fff };
enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_COPIED = 0x80 };

/* The header's own lengths, in the order in which Linux's ip_rcv_core asks them. */
static uint32_t check_header(const struct vdp_packet *packet, struct vdp_fragments *fragments)
{
    uint32_t network = fragments->network;
    if (!vdp_packet_has(packet, network, VDP_IPV4_SIZE))
        return VDP_REASON_parse_truncated;
    const uint8_t *ip = packet->data + network;
    uint32_t header_size = (ip[0] & 0x0fu) * 4;
    uint32_t total = vdp_load_be16(ip + VDP_IPV4_TOTAL);
    if (ip[0] >> 4 != 4 || header_size < VDP_IPV4_SIZE)
        return VDP_REASON_ip_header;
    if (!vdp_packet_has(packet, network, total))
        return VDP_REASON_parse_bad_length;
    if (total < header_size)
        return VDP_REASON_ip_header;
    fragments->payload = network + header_size;
    fragments->end = network + total;
    return VDP_REASON_none;
}

/* The packet is too long: settle the pieces. */
static uint32_t plan(const struct vdp_packet *packet, uint32_t most, struct vdp_fragments *fragments)
{
    uint32_t reason = check_header(packet, fragments);
    if (reason != VDP_REASON_none)
        return reason;
    if (fragments->end - fragments->network <= most) /* it was but padding */
        return VDP_REASON_none;
    uint32_t field = vdp_load_be16(packet->data + fragments->network + VDP_IPV4_FRAGMENT);
    uint32_t size = fragments->end - fragments->payload;
    uint32_t header_size = fragments->payload - fragments->network;
    fragments->count = 0;
    if (field & DONT_FRAGMENT)
        return VDP_REASON_none;
    if ((field & OFFSET) * UNIT + size > VDP_IP_MAX) /* no offset for the last byte */
        return VDP_REASON_ip_header;
    if (most < header_size + UNIT)
        return VDP_REASON_mtu_exceeded;
    uint32_t room = most - header_size;
    fragments->field = (uint16_t)(field & (MORE_FRAGMENTS | OFFSET)); /* not the reserved bit */
    fragments->size = room / UNIT * UNIT;
    fragments->count = 1 + (size - room + fragments->size - 1) / fragments->size;
    return VDP_REASON_none;
}

uint32_t vdp_fragment_plan(const struct vdp_packet *packet, uint32_t network, uint32_t most,
                           struct vdp_fragments *fragments)
{
    *fragments = (struct vdp_fragments){.network = network, .end = packet->length, .count = 1};
    if (vdp_offload_segment_length(packet) <= network + most)
        return VDP_REASON_none;
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        fragments->count = 0;
        return VDP_REASON_none;
    }
    return plan(packet, most, fragments);
}

/* Options that only the first fragment keeps become NOPs (Linux ip_options_fragment).
 * What is malformed is left as it is, and what is behind it. */
static void blank_options(uint8_t *option, const uint8_t *end)
{
    while (option < end && *option != OPTION_END) {
        uint32_t size = 1;
        if (*option != OPTION_NOP) {
            if (end - option < 2 || option[1] < 2 || option[1] > end - option)
                return;
            size = option[1];
            if (!(*option & OPTION_COPIED))
                memset(option, OPTION_NOP, size);
        }
        option += size;
    }
}

static void write_header(const struct vdp_fragments *fragments, struct vdp_packet *fragment,
                         uint32_t index)
{
    uint8_t *ip = fragment->data + fragments->network;
    uint32_t field = fragments->field + index * (fragments->size / UNIT);
    if (index + 1 < fragments->count)
        field |= MORE_FRAGMENTS;
    vdp_store_be16(ip + VDP_IPV4_TOTAL, (uint16_t)(fragment->length - fragments->network));
    vdp_store_be16(ip + VDP_IPV4_FRAGMENT, (uint16_t)field);
    vdp_store_be16(ip + VDP_IPV4_CHECKSUM, 0);
    vdp_store_be16(ip + VDP_IPV4_CHECKSUM, vdp_checksum(ip, fragments->payload - fragments->network));
}

static struct vdp_packet *copy_fragment(struct vdp_worker *worker, const struct vdp_packet *packet,
                                        const struct vdp_fragments *fragments, uint32_t index)
{
    uint32_t front = fragments->payload, size = fragments->size;
    struct vdp_packet *fragment = vdp_packet_alloc(worker);
    if (fragment == NULL)
        return NULL;
    memcpy(fragment->data, packet->data, front);
    memcpy(fragment->data + front, packet->data + front + (size_t)index * size, size);
    fragment->length = front + size;
    fragment->in_port = packet->in_port;
    fragment->depth = packet->depth;
    fragment->waited = packet->waited;
    fragment->mark = packet->mark;
    if (index == 0)
        fragment->account = packet->account;
    memcpy(fragment->meta, packet->meta, sizeof fragment->meta);
    write_header(fragments, fragment, index);
    return fragment;
}

/* The packet becomes its own last fragment. */
static void keep_last(const struct vdp_fragments *fragments, struct vdp_packet *packet)
{
    uint32_t skipped = (fragments->count - 1) * fragments->size;
    memmove(packet->data + skipped, packet->data, fragments->payload); /* longer than a piece, perhaps */
    packet->data += skipped;
    packet->length -= skipped;
    if (fragments->count > 1)
        packet->account = (struct vdp_account){0}; /* the first one has it */
    vdp_offload_clear(packet);
    write_header(fragments, packet, fragments->count - 1);
}

uint32_t vdp_fragment(struct vdp_worker *worker, struct vdp_packet *packet,
                      const struct vdp_fragments *fragments,
                      void (*emit)(void *context, struct vdp_packet *fragment), void *context)
{
    packet->length = fragments->end;
    if (packet->needs_csum) {
        uint32_t reason = vdp_offload_finish_checksum(packet);
        if (reason != VDP_REASON_none)
            return reason;
    }
    for (uint32_t i = 0; i + 1 < fragments->count; i++) {
        emit(context, copy_fragment(worker, packet, fragments, i));
        if (i == 0 && (fragments->field & OFFSET) == 0)
            blank_options(packet->data + fragments->network + VDP_IPV4_SIZE,
                          packet->data + fragments->payload);
    }
    keep_last(fragments, packet);
    emit(context, packet);
    return VDP_REASON_none;
}
