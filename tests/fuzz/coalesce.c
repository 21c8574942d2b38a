/* Target: the GRO cell: vdp_cell_offer, vdp_cell_flush; and vdp_segment as its inverse.
 * Trust:  hostile: what comes out of tunnels.
 * Oracle: cut again, what was joined is what came in, byte by byte and in order for each flow.  So a
 *         packet with a wrong checksum, other flags, options, TTL or ECN was joined to none: cutting
 *         would have made it right, or like the first.  (Of a datagram that may not be fragmented the
 *         IPv4 id means nothing: RFC 6864; a checksum of 0xffff is one of zero.) */
#include "marks.h"

enum { FLOWS = 3, PACKETS = 24, POOL = 512 };

/* What came in; NULL where it was seen to leave. */
static struct twin_packet *came[PACKETS];
static uint32_t came_count;

static struct fixture *fixture;
static struct twin twin;

static void collect(void *context, struct vdp_packet *segment)
{
    LAW(segment != NULL);
    vdp_list_append(context, segment);
}

static uint16_t sum_as_one(const uint8_t *field)
{
    return vdp_load_be16(field) == 0 ? 0xffff : vdp_load_be16(field);
}

static bool same_bytes(const struct vdp_packet *packet, const struct twin_packet *wanted)
{
    static uint8_t one[FRAME_MOST], other[FRAME_MOST];
    struct twin_headers h;
    if (packet->length != wanted->length || memcmp(packet->meta, wanted->meta, sizeof wanted->meta) != 0)
        return false;
    if (memcmp(packet->data, wanted->bytes, wanted->length) == 0)
        return true;
    if (!twin_locate(wanted, &h) || h.fragment)
        return false;
    memcpy(one, packet->data, wanted->length);
    memcpy(other, wanted->bytes, wanted->length);
    if (h.version == 4) {
        bool is_atomic = (other[h.network + 6] & 0x40) != 0;
        if (is_atomic) {
            memset(one + h.network + 4, 0, 2);
            memset(other + h.network + 4, 0, 2);
            memset(one + h.network + 10, 0, 2); /* goes with the id */
            memset(other + h.network + 10, 0, 2);
        }
        vdp_store_be16(one + h.network + 10, sum_as_one(one + h.network + 10));
        vdp_store_be16(other + h.network + 10, sum_as_one(other + h.network + 10));
    }
    if (h.protocol == VDP_TCP || h.protocol == VDP_UDP) {
        uint32_t field = h.transport + (h.protocol == VDP_TCP ? 16 : 6);
        vdp_store_be16(one + field, sum_as_one(one + field));
        vdp_store_be16(other + field, sum_as_one(other + field));
    }
    return memcmp(one, other, wanted->length) == 0;
}

/* One flow: the same in front of IP, addresses and ports. */
static bool same_flow(const struct twin_packet *one, const struct twin_packet *other)
{
    struct twin_headers a, b;
    if (!twin_locate(one, &a) || !twin_locate(other, &b) || a.fragment || b.fragment)
        return false;
    uint32_t addresses = a.network + (a.version == 4 ? 12 : 8), size = a.version == 4 ? 8 : 32;
    return a.version == b.version && a.protocol == b.protocol && a.network == b.network &&
           (a.protocol == VDP_TCP || a.protocol == VDP_UDP) &&
           memcmp(one->meta, other->meta, sizeof one->meta) == 0 &&
           memcmp(one->bytes, other->bytes, a.network) == 0 &&
           memcmp(one->bytes + addresses, other->bytes + addresses, size) == 0 &&
           memcmp(one->bytes + a.transport, other->bytes + b.transport, 4) == 0;
}

/* It came in, and no other one of its flow did before that is still missing. */
static void leaves(const struct vdp_packet *packet)
{
    uint32_t i = 0;
    while (i < came_count && (came[i] == NULL || !same_bytes(packet, came[i])))
        i++;
    LAW(i < came_count);
    for (uint32_t before = 0; before < i; before++)
        LAW(came[before] == NULL || !same_flow(came[before], came[i]));
    twin_free(&twin, came[i]);
    came[i] = NULL;
}

/* The continuation of the flow, or what only looks like one. */
static void offer(struct input *in, struct frame *frame, uint32_t flow, uint32_t size)
{
    uint8_t choice = take8(in);
    uint8_t *ip = frame->bytes + frame->network, *l4 = frame->bytes + frame->transport;
    struct vdp_offload marks = {0};
    uint32_t here = choice & 1 ? take8(in) % (size + 8) : size, length = frame->payload + here;
    uint32_t header = frame->payload - frame->transport;
    vdp_store_be16(l4, (uint16_t)(1000 + flow));
    if (frame->protocol == VDP_TCP)
        l4[13] = (choice & 6) == 6 ? take8(in) : 0x10;
    else
        vdp_store_be16(l4 + 4, (uint16_t)(8 + here));
    vdp_store_be16(ip + (frame->version == 4 ? 2 : 4),
                   (uint16_t)(length - frame->network - (frame->version == 4 ? 0 : 40)));
    for (uint32_t i = 0; i < here; i++)
        frame->bytes[frame->payload + i] = (uint8_t)(came_count + i);
    uint8_t was = 0;
    uint32_t at = UINT32_MAX;
    if ((choice & 0x30) == 0x30) { /* another value in a header, which the sums know about */
        at = take8(in) % frame->payload;
        was = frame->bytes[at];
        frame->bytes[at] ^= (uint8_t)(1u << (take8(in) & 7));
    }
    if (frame->version == 4) {
        vdp_store_be16(ip + 10, 0);
        vdp_store_be16(ip + 10, (uint16_t)~plain_fold(plain_sum(ip, frame->transport - frame->network)));
    }
    put_checksum(ip, frame->version, frame->protocol, l4, header + here);
    if ((choice & 0xc0) == 0xc0) /* or do not */
        frame->bytes[take8(in) % length] ^= 1;
    struct vdp_packet *packet = packet_of(fixture, frame->bytes, length, frame->type);
    if ((choice & 8) != 0) {
        marks = (struct vdp_offload){.needs_csum = 1, .csum_start = frame->transport,
                                     .csum_offset = frame->protocol == VDP_TCP ? 16u : 6u};
        uint64_t pseudo = plain_pseudo(ip, frame->version, frame->protocol, header + here);
        vdp_store_be16(packet->data + marks.csum_start + marks.csum_offset, plain_fold(pseudo));
    }
    if (vdp_offload_load(packet, &marks) == VDP_REASON_none) {
        struct twin_packet *finished = twin_new(&twin); /* as whoever gets it will see it */
        twin_of(finished, packet);
        LAW(twin_load(finished, &marks) == 0 && twin_finish(finished) == 0);
        came[came_count++] = finished;
        vdp_stat_add(&fixture->queues[TARGET].stats.offered, 1);
        vdp_cell_offer(&fixture->worker, &fixture->queues[TARGET], packet);
    } else {
        vdp_packet_free(&fixture->worker, packet);
    }
    if (at != UINT32_MAX)
        frame->bytes[at] = was;
    if (frame->protocol == VDP_TCP && (choice & 0x0e) != 0x0e)
        vdp_store_be32(l4 + 4, vdp_load_be32(l4 + 4) + here);
    if (frame->version == 4 && (flow != 1 || choice & 2)) /* flow 1 has one id for all */
        vdp_store_be16(ip + 4, (uint16_t)(vdp_load_be16(ip + 4) + 1));
}

static void flush(void)
{
    struct vdp_queue *queue = &fixture->queues[TARGET];
    struct vdp_packet_list out = {0}, cuts = {0};
    struct vdp_packet *packet;
    vdp_cell_flush(&fixture->worker, queue, &out);
    queue->stats.rx_packets += out.count;
    output_balances(&queue->stats, true);
    LAW(queue->stats.tx_queued == 0 && queue->stats.tx_dropped == 0);
    while ((packet = vdp_list_take(&out)) != NULL) {
        bool is_joined = packet->segments > 1;
        LAW(is_joined == (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE));
        LAW(packet->segments <= VDP_CELL_SEGMENTS);
        uint32_t segments = packet->segments;
        LAW(vdp_segment(&fixture->worker, packet, 0, 0, collect, &cuts) == VDP_REASON_none);
        LAW(cuts.count == segments);
        while ((packet = vdp_list_take(&cuts)) != NULL) {
            leaves(packet);
            vdp_packet_free(&fixture->worker, packet);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct frame frames[FLOWS];
    static const uint32_t feature_sets[] = {30, 30, 30, 4, 8, 16, 12, 0};
    struct input in = {bytes, size};

    if (fixture == NULL)
        fixture = fixture_new(VDP_PORT_CELL, VDP_L2, 30, POOL);
    uint8_t choice = take8(&in);
    fixture->ports[TARGET].features = feature_sets[choice & 7];
    uint32_t count = 1 + take8(&in) % PACKETS, payload = 1 + take8(&in);
    came_count = 0;
    struct input again = in;
    for (uint32_t i = 0; i < FLOWS; i++) { /* often alike, but for a port */
        frame_make(choice & 8 ? &in : &again, &frames[i], payload + 8);
        if ((choice & 8) == 0 && i + 1 < FLOWS)
            again = in;
    }
    in = choice & 8 ? in : again;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t flow = choice & 16 ? take8(&in) % FLOWS : 0;
        offer(&in, &frames[flow], flow, payload);
        if (choice & 32 && take8(&in) == 0)
            flush();
    }
    flush();
    for (uint32_t i = 0; i < came_count; i++)
        LAW(came[i] == NULL);
    vdp_cell_free(&fixture->worker, &fixture->queues[TARGET]);
    fixture_forget(fixture);
    fixture_empty(fixture);
    return 0;
}
