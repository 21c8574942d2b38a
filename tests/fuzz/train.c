/* Target: vdp_train_plan: datagrams put together for the kernel to cut.
 * Trust:  hostile: what is forwarded.
 * Oracle: what the kernel makes of a train (the twin cuts it) are the datagrams, byte by byte; the id of
 *         one that may not be fragmented means nothing (RFC 6864). */
#include "../../vdp/engine/train.h"
#include "marks.h"

enum { PACKETS = 12 };

/* The whole as a message would have it. */
static void assemble(struct twin_packet *whole, const struct vdp_train *train, const struct vdp_packet *first)
{
    memcpy(whole->bytes, train->front, train->front_size);
    whole->length = train->front_size;
    for (uint32_t i = 0; i < train->count; i++, first = first->next) {
        uint32_t size = first->length - train->front_size;
        memcpy(whole->bytes + whole->length, first->data + train->front_size, size);
        whole->length += size;
    }
}

static void compare(const struct twin_packet *cut, const struct vdp_packet *packet, uint32_t network)
{
    static struct twin_packet came;
    twin_of(&came, packet);
    came.needs_csum = true;
    came.csum_start = (int64_t)packet->csum_start - (int64_t)vdp_packet_headroom(packet);
    came.csum_offset = packet->csum_offset;
    /* The kernel writes the pseudo header's sum itself. */
    struct twin_headers h;
    LAW(twin_locate(&came, &h));
    twin_leave_checksum(&came, &h);
    LAW(twin_finish(&came) == 0);
    SAME(cut->length, came.length);
    if (h.version == 4 && came.bytes[network + 6] & 0x40) {
        memcpy(came.bytes + network + 4, cut->bytes + network + 4, 2);
        memcpy(came.bytes + network + 10, cut->bytes + network + 10, 2);
    } else if (h.version == 4) { /* a wrong one of a header is made right */
        memcpy(came.bytes + network + 10, cut->bytes + network + 10, 2);
    }
    LAW(memcmp(cut->bytes, came.bytes, came.length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixture;
    static struct frame frame;
    static struct twin twin;
    struct input in = {bytes, size};
    struct vdp_packet_list list = {0};
    struct vdp_train train;

    if (fixture == NULL)
        fixture = fixture_new(VDP_PORT_PACKET, VDP_L2, 30, 64);
    uint32_t count = 1 + take8(&in) % PACKETS, most = 1 + take8(&in) % 80;
    uint32_t payload = take_payload(&in);
    frame_make(&in, &frame, payload);
    uint8_t *ip = frame.bytes + frame.network, *udp = frame.bytes + frame.transport;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t choice = take8(&in), was = 0;
        uint32_t here = choice & 1 && payload > 0 ? take8(&in) % payload : payload, at = UINT32_MAX;
        struct vdp_offload marks = {.needs_csum = (choice & 2) == 0, .csum_start = frame.transport,
                                    .csum_offset = frame.protocol == VDP_UDP ? 6u : 16u};
        if (frame.protocol == VDP_UDP)
            vdp_store_be16(udp + 4, (uint16_t)(8 + here));
        frame.length = frame.payload + here;
        vdp_store_be16(ip + (frame.version == 4 ? 2 : 4),
                       (uint16_t)(frame.length - frame.network - (frame.version == 4 ? 0 : 40)));
        if ((choice & 12) == 12) {
            at = take8(&in) % frame.payload;
            was = frame.bytes[at];
            frame.bytes[at] = take8(&in);
        }
        struct vdp_packet *packet = packet_at_end(fixture, frame.bytes, frame.length, frame.type);
        if (vdp_offload_load(packet, &marks) == VDP_REASON_none)
            vdp_list_append(&list, packet);
        else
            vdp_packet_free(&fixture->worker, packet);
        if (at != UINT32_MAX)
            frame.bytes[at] = was;
        if (frame.version == 4 && choice & 16)
            vdp_store_be16(ip + 4, (uint16_t)(vdp_load_be16(ip + 4) + 1));
    }
    if (list.count > 0) {
        vdp_train_plan(&train, list.head, most);
        LAW(train.count >= 1 && train.count <= list.count && (train.count == 1 || train.count <= most));
        LAW(train.count <= VDP_TRAIN_DATAGRAMS);
        if (train.count > 1) {
            struct twin_packet *whole = twin_new(&twin);
            struct twin_list parts = {0};
            const struct vdp_action action = {VDP_OP_SEGMENT, 0, 0, 0, 0};
            const struct vdp_offload marks = {1, train.vnet.csum_start, train.vnet.csum_offset,
                                              train.vnet.gso_type, train.vnet.gso_size, train.vnet.hdr_len};
            memcpy(whole->meta, list.head->meta, sizeof whole->meta);
            assemble(whole, &train, list.head);
            LAW(twin_load(whole, &marks) == 0 && whole->segments == train.count);
            LAW(twin_segment(&twin, whole, &action, &parts) == 0 && parts.count == train.count);
            const struct vdp_packet *packet = list.head;
            struct twin_headers h;
            LAW(twin_locate(parts.head, &h));
            for (struct twin_packet *part = parts.head, *next; part != NULL; part = next) {
                compare(part, packet, h.network);
                packet = packet->next;
                next = part->next;
                twin_free(&twin, part);
            }
            twin_free(&twin, whole);
        }
    }
    for (struct vdp_packet *one; (one = vdp_list_take(&list)) != NULL;)
        vdp_packet_free(&fixture->worker, one);
    fixture_empty(fixture);
    return 0;
}
