/* Target: vdp_offload_locate, vdp_offload_segment_length: Ethernet, VLAN tags, IPv4, IPv6 with
 *         extension headers, TCP, UDP.
 * Trust:  hostile.
 * Oracle: the twin; headers stand in order and inside the packet. */
#include "frames.h"
#include "twin.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixture;
    static struct frame frame;
    static struct twin_packet twin;
    struct input in = {bytes, size};
    struct vdp_headers found = {0};
    struct twin_headers wanted;

    if (fixture == NULL)
        fixture = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 4);
    frame_any(&in, &frame);
    struct vdp_packet *packet = packet_at_end(fixture, frame.bytes, frame.length, frame.type);
    if (take8(&in) == 1) /* a handler says what it is */
        vdp_store_be32(packet->meta + 4 * VDP_META_PROTOCOL, take16(&in));
    twin.length = packet->length;
    memcpy(twin.meta, packet->meta, sizeof twin.meta);
    if (packet->length > 0)
        memcpy(twin.bytes, packet->data, packet->length);

    bool is_found = vdp_offload_locate(packet, &found);
    LAW(is_found == twin_locate(&twin, &wanted));
    if (is_found) {
        LAW(found.version == wanted.version && found.protocol == wanted.protocol);
        LAW(found.fragment == wanted.fragment && found.network == wanted.network);
        LAW(found.transport == wanted.transport && found.payload == wanted.payload);
        LAW(found.end == wanted.end);
        LAW(found.network < found.transport && found.transport <= found.payload);
        LAW(found.payload <= found.end && found.end <= packet->length);
    }
    LAW(vdp_offload_segment_length(packet) == packet->length);
    vdp_packet_free(&fixture->worker, packet);
    return 0;
}
