/* Target: vdp_vnet_load, vdp_vnet_store, vdp_offload_finish_checksum, the checks of super-packets
 *         in GRE.
 * Trust:  guest: a virtio_net_hdr is written by whoever is behind a TAP or veth.
 * Oracle: the twin; what is told to an output is taken back as the same. */
#include "marks.h"

static void store_both(const struct vdp_packet *packet, const struct twin_packet *twin)
{
    struct vdp_offload told, wanted;
    uint32_t reason = vdp_offload_store(packet, &told);
    SAME(reason, twin_store(twin, &wanted));
    if (reason != VDP_REASON_none)
        return;
    LAW(told.needs_csum == wanted.needs_csum && told.csum_start == wanted.csum_start);
    LAW(told.csum_offset == wanted.csum_offset && told.gso_type == wanted.gso_type);
    LAW(told.gso_size == wanted.gso_size && told.header_size == wanted.header_size);
}

/* Whoever gets the packet with those marks agrees with us about it. */
static void load_again(struct fixture *fixture, const struct vdp_packet *packet)
{
    struct virtio_net_hdr told;
    if (vdp_vnet_store(packet, &told) != VDP_REASON_none)
        return;
    struct vdp_packet *other = packet_of(fixture, packet->data, packet->length,
                                         vdp_load_be32(packet->meta));
    memcpy(other->meta, packet->meta, sizeof other->meta);
    LAW(vdp_vnet_load(other, &told) == VDP_REASON_none);
    LAW(other->gso_type == packet->gso_type && other->gso_size == packet->gso_size);
    LAW(other->segments == packet->segments && other->needs_csum == packet->needs_csum);
    LAW(memcmp(other->data, packet->data, packet->length) == 0);
    vdp_packet_free(&fixture->worker, other);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixture;
    static struct frame frame;
    static struct twin_packet twin;
    struct input in = {bytes, size};

    if (fixture == NULL)
        fixture = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 4);
    frame_any(&in, &frame);
    struct vdp_packet *packet = packet_at_end(fixture, frame.bytes, frame.length, frame.type);
    struct vdp_offload marks = take_marks(&in, &frame);
    struct virtio_net_hdr header = {
        .flags = (uint8_t)(marks.needs_csum | (take8(&in) & 2)), /* DATA_VALID */
        .gso_type = (uint8_t)marks.gso_type,
        .hdr_len = (uint16_t)marks.header_size,
        .gso_size = (uint16_t)marks.gso_size,
        .csum_start = (uint16_t)marks.csum_start,
        .csum_offset = (uint16_t)marks.csum_offset,
    };
    marks.gso_type = header.gso_type;
    marks.csum_start = header.csum_start;
    twin_of(&twin, packet);
    uint32_t reason = vdp_vnet_load(packet, &header);
    SAME(reason, twin_load(&twin, &marks));
    twin.csum_valid = reason == VDP_REASON_none && (header.flags & 2) != 0;
    alike(packet, &twin);
    LAW(vdp_offload_segment_length(packet) == twin_segment_length(&twin));
    for (uint32_t features = 0; features < 64; features += 2)
        LAW(vdp_offload_covered(packet, features) == twin_covered(&twin, features));
    store_both(packet, &twin);
    load_again(fixture, packet);
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        struct vdp_headers found;
        struct twin_headers wanted;
        uint32_t limits = take32(&in);
        LAW(vdp_offload_check(packet, &found) == twin_check(&twin, &wanted));
        LAW(vdp_offload_fits_gre(packet, limits) == twin_fits_gre(&twin, limits));
        LAW(vdp_offload_takes_headers(packet, 0) == twin_takes_headers(&twin, 0));
    } else {
        LAW(vdp_offload_finish_checksum(packet) == twin_finish(&twin));
        alike(packet, &twin);
    }
    vdp_packet_free(&fixture->worker, packet);
    return 0;
}
