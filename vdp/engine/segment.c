/* Cut a super-packet into what goes on the wire (Linux tcp_gso_segment,
 * __udp_gso_segment, inet_gso_segment, ipv6_gso_segment).
 *
 *   super-packet:  | headers | piece 0 | piece 1 | ...        | last piece |
 *   segment i:     | headers | piece i |        in a packet of its own
 *   last segment:  the super-packet's own buffer, headers moved in front of the piece
 *
 * So every payload byte but the last piece's is copied once, and the checksum reads it
 * while it is in the cache.  Lengths, IPv4 id and checksum, TCP sequence and flags, and
 * the whole transport checksum are made new (its pseudo header alone, where the segments'
 * output finishes checksums); the field's old content is not asked. */
#include "offload.h"

#include "checksum.h"
#include <string.h>

struct cut {
    const struct vdp_packet *super;
    struct vdp_headers headers;
    uint32_t size;  /* payload bytes of every segment but the last */
    uint32_t count; /* segments */
    uint16_t id;
    uint32_t sequence;
    bool leaves_checksums; /* to who takes the segments */
};

/* Check the super-packet against its headers and settle the size of the pieces. */
static uint32_t plan(struct cut *cut, const struct vdp_packet *packet, uint32_t most)
{
    uint32_t reason = vdp_offload_check(packet, &cut->headers);
    if (reason != VDP_REASON_none)
        return reason;
    uint32_t front = cut->headers.payload;
    cut->super = packet;
    cut->size = packet->gso_size;
    if (most != 0 && front + cut->size > most) {
        if (cut->headers.protocol == VDP_UDP)
            return VDP_REASON_mtu_exceeded; /* a datagram's size is the sender's choice */
        if (most < front + VDP_SEGMENT_LEAST)
            return VDP_REASON_gso_invalid;
        cut->size = most - front;
    }
    cut->count = (packet->length - front + cut->size - 1) / cut->size;
    /* None: a program has made the TCP header longer, to the packet's end. */
    return cut->count > 0 ? VDP_REASON_none : VDP_REASON_gso_invalid;
}

/* What counts up. */
static void remember(struct cut *cut, const struct vdp_packet *packet)
{
    if (cut->headers.version == 4)
        cut->id = vdp_load_be16(packet->data + cut->headers.network + VDP_IPV4_ID);
    if (cut->headers.protocol == VDP_TCP)
        cut->sequence = vdp_load_be32(packet->data + cut->headers.transport + VDP_TCP_SEQUENCE);
}

static void write_network(const struct cut *cut, struct vdp_packet *segment, uint32_t index)
{
    const struct vdp_headers *headers = &cut->headers;
    uint8_t *ip = segment->data + headers->network;
    uint32_t size = segment->length - headers->network;
    if (headers->version == 6) {
        vdp_store_be16(ip + VDP_IPV6_PAYLOAD, (uint16_t)(size - VDP_IPV6_SIZE));
        return;
    }
    vdp_store_be16(ip + VDP_IPV4_TOTAL, (uint16_t)size);
    vdp_store_be16(ip + VDP_IPV4_ID, (uint16_t)(cut->id + index));
    vdp_store_be16(ip + VDP_IPV4_CHECKSUM, 0);
    vdp_store_be16(ip + VDP_IPV4_CHECKSUM,
                   vdp_checksum(ip, headers->transport - headers->network));
}

static void write_transport(const struct cut *cut, struct vdp_packet *segment, uint32_t index)
{
    const struct vdp_headers *headers = &cut->headers;
    uint8_t *transport = segment->data + headers->transport;
    uint32_t size = segment->length - headers->transport;
    uint8_t *field = transport + VDP_UDP_CHECKSUM;
    if (headers->protocol == VDP_TCP) {
        field = transport + VDP_TCP_CHECKSUM;
        vdp_store_be32(transport + VDP_TCP_SEQUENCE, cut->sequence + index * cut->size);
        if (index > 0) /* the congestion window was reduced once */
            transport[VDP_TCP_FLAGS] &= (uint8_t)~VDP_CWR;
        if (index + 1 < cut->count)
            transport[VDP_TCP_FLAGS] &= (uint8_t)~(VDP_FIN | VDP_PSH);
    } else {
        vdp_store_be16(transport + VDP_UDP_LENGTH, (uint16_t)size);
    }
    if (cut->leaves_checksums) {
        struct vdp_headers at = *headers;
        at.end = segment->length;
        vdp_offload_prepare_checksum(segment, &at);
        return;
    }
    vdp_store_be16(field, 0);
    uint64_t sum = vdp_checksum_pseudo(segment->data + headers->network, headers->version,
                                       headers->protocol, size);
    uint16_t checksum = (uint16_t)~vdp_checksum_fold(vdp_checksum_add(sum, transport, size));
    if (checksum == 0 && headers->protocol == VDP_UDP)
        checksum = 0xffff; /* a UDP 0 would mean: none */
    vdp_store_be16(field, checksum);
}

static void finish(const struct cut *cut, struct vdp_packet *segment, uint32_t index)
{
    vdp_offload_clear(segment);
    write_network(cut, segment, index);
    write_transport(cut, segment, index);
    segment->csum_valid = !cut->leaves_checksums;
}

/* Piece number `index`, of `size` bytes. */
static struct vdp_packet *copy_segment(struct vdp_worker *worker, const struct cut *cut,
                                       uint32_t index, uint32_t size)
{
    const struct vdp_packet *super = cut->super;
    uint32_t front = cut->headers.payload;
    struct vdp_packet *segment = vdp_packet_alloc(worker);
    if (segment == NULL)
        return NULL;
    memcpy(segment->data, super->data, front);
    memcpy(segment->data + front, super->data + front + (size_t)index * cut->size, size);
    segment->length = front + size;
    segment->in_port = super->in_port;
    segment->depth = super->depth;
    segment->waited = super->waited;
    segment->mark = super->mark;
    if (index == 0)
        segment->account = super->account;
    memcpy(segment->meta, super->meta, sizeof segment->meta);
    finish(cut, segment, index);
    return segment;
}

bool vdp_segment_even(struct vdp_worker *worker, struct vdp_packet *packet,
                      void (*emit)(void *context, struct vdp_packet *segment), void *context)
{
    struct cut cut = {0};
    if (plan(&cut, packet, 0) != VDP_REASON_none)
        return false;
    uint32_t payload = packet->length - cut.headers.payload;
    uint32_t rest = payload % cut.size;
    if (rest == 0 || cut.count < 2) /* a program has made the headers longer: one segment is left */
        return false;
    uint8_t gso_type = packet->gso_type;
    remember(&cut, packet);
    struct vdp_packet *last = copy_segment(worker, &cut, cut.count - 1, rest);
    packet->length -= rest;
    cut.leaves_checksums = cut.count > 2;
    finish(&cut, packet, 0);
    if (cut.count > 2) {
        packet->gso_type = gso_type;
        vdp_offload_set_size(packet, payload - rest, (uint16_t)cut.size);
    }
    emit(context, packet);
    emit(context, last);
    return true;
}

/* The super-packet becomes its own last segment. */
static void keep_last(const struct cut *cut, struct vdp_packet *packet)
{
    uint32_t front = cut->headers.payload;
    uint32_t skipped = (cut->count - 1) * cut->size;
    memmove(packet->data + skipped, packet->data, front); /* longer than a piece, perhaps */
    packet->data += skipped;
    packet->length -= skipped;
    if (cut->count > 1)
        packet->account = (struct vdp_account){0}; /* the first one has it */
    finish(cut, packet, cut->count - 1);
}

/* `most` counts bytes of a whole segment from the packet's present front on, so what a
 * program pushes afterwards comes on top.  What is not cut for the port's sake but is
 * too large by `most` keeps its bytes and gets a smaller gso_size. */
uint32_t vdp_segment(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t features,
                     uint32_t most, void (*emit)(void *context, struct vdp_packet *segment),
                     void *context)
{
    bool covered = vdp_offload_covered(packet, features);
    uint32_t reason = VDP_REASON_none;
    if (packet->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        if (!covered)
            reason = vdp_offload_finish_checksum(packet);
        if (reason == VDP_REASON_none)
            emit(context, packet);
        return reason;
    }
    struct cut cut = {0};
    reason = plan(&cut, packet, most);
    if (reason != VDP_REASON_none)
        return reason;
    if (covered) { /* the port cuts, no larger than asked */
        vdp_offload_set_size(packet, packet->length - cut.headers.payload, (uint16_t)cut.size);
        emit(context, packet);
        return VDP_REASON_none;
    }
    cut.leaves_checksums = (features & VDP_F_CSUM) != 0;
    remember(&cut, packet);
    for (uint32_t i = 0; i + 1 < cut.count; i++)
        emit(context, copy_segment(worker, &cut, i, cut.size));
    keep_last(&cut, packet);
    emit(context, packet);
    return VDP_REASON_none;
}
