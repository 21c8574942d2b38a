/* Target: vdp_fragment_plan, vdp_fragment.
 * Trust:  hostile: headers, options and fragment fields come from the network.
 * Oracle: the twin's fragments; put together again by their offsets they are the packet (RFC 791 3.2). */
#include "marks.h"

static void collect(void *context, struct vdp_packet *fragment)
{
    LAW(fragment != NULL);
    vdp_list_append(context, fragment);
}

/* What a receiver makes of them, each no longer than allowed. */
static void reassembles(const struct vdp_packet_list *list, const struct twin_packet *whole,
                        uint32_t network, uint32_t most)
{
    const uint8_t *ip = whole->bytes + network;
    uint32_t header = (ip[0] & 15) * 4u, total = vdp_load_be16(ip + 2), done = 0;
    uint32_t field = vdp_load_be16(ip + 6);
    for (const struct vdp_packet *one = list->head; one != NULL; one = one->next) {
        const uint8_t *own = one->data + network;
        uint32_t size = vdp_load_be16(own + 2) - header, place = vdp_load_be16(own + 6);
        LAW(one->length == network + header + size && one->length - network <= most);
        LAW(plain_fold(plain_sum(own, header)) == 0xffff);
        LAW((place & 0x1fff) * 8 == (field & 0x1fff) * 8 + done);
        LAW(((place & 0x2000) != 0) == (one->next != NULL || (field & 0x2000) != 0));
        LAW(one->next == NULL || size % 8 == 0);
        LAW(done + size <= total - header && memcmp(own + header, ip + header + done, size) == 0);
        LAW(memcmp(one->data, whole->bytes, network) == 0);
        done += size;
    }
    LAW(done == total - header);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixture;
    static struct frame frame;
    static struct twin twin;
    struct input in = {bytes, size};
    struct vdp_packet_list list = {0};
    struct twin_list parts = {0};
    struct vdp_fragments plan;
    bool otherwise;

    if (fixture == NULL)
        fixture = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 2048);
    uint32_t most = 28 + take_below(&in, 2048), choice = take8(&in);
    frame_any(&in, &frame);
    struct vdp_offload marks = take_marks(&in, &frame);
    uint32_t network = choice & 1 ? take16(&in) : choice & 2 ? frame.tunnel : frame.network;
    if (choice & 4 && frame.length >= network + 8) /* may be cut */
        vdp_store_be16(frame.bytes + network + 6, (uint16_t)(take16(&in) & 0xa00f));
    struct vdp_packet *packet = packet_at_end(fixture, frame.bytes, frame.length, frame.type);
    struct twin_packet *other = twin_new(&twin);
    twin_of(other, packet);
    SAME(vdp_offload_load(packet, &marks), twin_load(other, &marks));
    /* Finished, a checksum may be part of what is only taken for a header. */
    uint32_t field = packet->csum_start - (uint32_t)vdp_packet_headroom(packet) + packet->csum_offset;
    bool is_header = !packet->needs_csum || field >= network + 60 || field + 2 <= network;

    uint32_t reason = vdp_fragment_plan(packet, network, most, &plan);
    if (reason == VDP_REASON_none && plan.count > 1)
        reason = vdp_fragment(&fixture->worker, packet, &plan, collect, &list);
    uint32_t wanted = twin_fragment(&twin, other, network, most, &parts, &otherwise);
    SAME(reason, wanted);
    if (reason == VDP_REASON_none) {
        LAW(otherwise == (plan.count == 0));
        if (plan.count == 1) {
            packet->length = plan.end;
            vdp_list_append(&list, packet);
        } else if (plan.count == 0) {
            vdp_packet_free(&fixture->worker, packet);
        }
        LAW(list.count == parts.count);
        const struct vdp_packet *one = list.head;
        for (const struct twin_packet *part = parts.head; part != NULL; part = part->next, one = one->next)
            alike(one, part);
        if (plan.count > 1 && is_header)
            reassembles(&list, other, network, most);
    } else {
        vdp_packet_free(&fixture->worker, packet);
    }
    for (struct vdp_packet *one; (one = vdp_list_take(&list)) != NULL;)
        vdp_packet_free(&fixture->worker, one);
    for (struct twin_packet *part = parts.head, *next; part != NULL; part = next) {
        next = part->next;
        twin_free(&twin, part);
    }
    twin_free(&twin, other);
    fixture_empty(fixture);
    return 0;
}
