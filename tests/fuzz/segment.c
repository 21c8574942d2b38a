/* Target: vdp_segment, vdp_segment_even.
 * Trust:  guest: super-packets come from whoever is behind a TAP or veth, or from a cell.
 * Oracle: the twin's segments; what they carry is what came in, in order; sums a byte at a time;
 *         a packet that is no super-packet, and has its checksum, stays as it is, right or wrong. */
#include "marks.h"

struct cuts {
    struct vdp_packet_list list;
};

static void collect(void *context, struct vdp_packet *segment)
{
    struct cuts *cuts = context;
    LAW(segment != NULL);
    vdp_list_append(&cuts->list, segment);
}

/* Payloads one after the other, every length and sum right. */
static void carries(const struct vdp_packet_list *list, const struct twin_packet *whole, uint32_t payload)
{
    uint32_t at = payload;
    for (const struct vdp_packet *one = list->head; one != NULL; one = one->next) {
        struct vdp_headers h;
        LAW(vdp_offload_locate(one, &h) && h.end == one->length && h.payload == payload);
        uint32_t size = h.end - h.payload;
        LAW(at + size <= whole->length);
        LAW(memcmp(one->data + h.payload, whole->bytes + at, size) == 0);
        at += size;
        const uint8_t *ip = one->data + h.network;
        if (h.version == 4)
            LAW(plain_fold(plain_sum(ip, h.transport - h.network)) == 0xffff);
        if (!one->needs_csum)
            LAW(plain_fold(plain_pseudo(ip, h.version, h.protocol, h.end - h.transport) +
                           plain_sum(one->data + h.transport, h.end - h.transport)) == 0xffff);
    }
    LAW(at == whole->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixture;
    static struct frame frame;
    static struct twin twin;
    struct input in = {bytes, size};
    struct cuts cuts = {0};
    struct twin_list parts = {0};
    struct twin_headers headers;

    if (fixture == NULL)
        fixture = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 2048);
    uint8_t choice = take8(&in);
    struct vdp_action action = {VDP_OP_SEGMENT, choice & 30, choice & 64 ? take16(&in) % 3000u : 0, 0, 0};
    frame_any(&in, &frame);
    struct vdp_offload marks = take_marks(&in, &frame);
    struct vdp_packet *packet = packet_at_end(fixture, frame.bytes, frame.length, frame.type);
    struct twin_packet *other = twin_new(&twin);
    twin_of(other, packet);
    uint32_t reason = vdp_offload_load(packet, &marks);
    SAME(reason, twin_load(other, &marks));
    bool is_super = packet->gso_type != VIRTIO_NET_HDR_GSO_NONE;
    bool is_even = is_super && choice & 128 && twin_check(other, &headers) == 0;
    if (reason == VDP_REASON_none && is_even) {
        action = (struct vdp_action){VDP_OP_SEGMENT, VDP_F_GRE_TSO | VDP_SEGMENT_EQUAL, 0, 0, UINT32_MAX};
        if (!vdp_segment_even(&fixture->worker, packet, collect, &cuts))
            vdp_list_append(&cuts.list, packet);
        else
            LAW(cuts.list.count == 2);
        if (twin_fits_gre(other, action.d))
            LAW(twin_segment(&twin, other, &action, &parts) == 0);
    } else if (reason == VDP_REASON_none && is_super && action.b == 0 &&
               vdp_offload_covered(packet, action.a)) {
        vdp_list_append(&cuts.list, packet); /* the action leaves it whole, unasked */
    } else if (reason == VDP_REASON_none) {
        bool is_finished = !is_super && !packet->needs_csum;
        reason = vdp_segment(&fixture->worker, packet, action.a, action.b, collect, &cuts);
        SAME(reason, twin_segment(&twin, other, &action, &parts));
        LAW(!is_finished || (reason == VDP_REASON_none && packet->length == other->length));
        if (reason == VDP_REASON_none && is_super && !vdp_offload_covered(cuts.list.head, action.a | 62u))
            LAW(cuts.list.head->gso_type == VIRTIO_NET_HDR_GSO_NONE);
    }
    if (parts.count > 0) {
        SAME(cuts.list.count, parts.count);
        const struct vdp_packet *one = cuts.list.head;
        for (const struct twin_packet *part = parts.head; part != NULL; part = part->next, one = one->next)
            alike(one, part);
        if (is_super && parts.count > 1 && twin_check(other, &headers) == 0)
            carries(&cuts.list, other, headers.payload);
    }
    if (reason != VDP_REASON_none)
        vdp_packet_free(&fixture->worker, packet);
    for (struct vdp_packet *one; (one = vdp_list_take(&cuts.list)) != NULL;)
        vdp_packet_free(&fixture->worker, one);
    for (struct twin_packet *part = parts.head, *next; part != NULL; part = next) {
        next = part->next;
        twin_free(&twin, part);
    }
    twin_free(&twin, other);
    fixture_empty(fixture);
    return 0;
}
