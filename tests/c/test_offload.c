/* offload.c: hostile headers refused, marks loaded and stored right. */
#include "segment_fixture.h"

/* A change to a good super-packet's bytes or header, and what must come of it. */
struct fault {
    const char *name;
    uint32_t reason;
    int at; /* byte of the packet, -1: none */
    uint8_t value;
    struct virtio_net_hdr header; /* where set, instead of the good one's field */
};

static const struct fault faults[] = {
    {"nothing", VDP_REASON_none, -1, 0, {0}},
    {"checksum starts behind the packet", VDP_REASON_gso_invalid, -1, 0, {.csum_start = 6000}},
    {"checksum field behind the packet", VDP_REASON_gso_invalid, -1, 0, {.csum_offset = 65535}},
    {"checksum field elsewhere", VDP_REASON_gso_invalid, -1, 0, {.csum_offset = 6}},
    {"checksum starts elsewhere", VDP_REASON_gso_invalid, -1, 0, {.csum_start = 35}},
    {"unknown type", VDP_REASON_gso_invalid, -1, 0, {.gso_type = 2}},
    {"congestion mark alone", VDP_REASON_gso_invalid, -1, 0, {.gso_type = 0x80}},
    {"congestion mark on UDP", VDP_REASON_gso_invalid, -1, 0, {.gso_type = 0x85}},
    {"UFO", VDP_REASON_gso_unsupported, -1, 0, {.gso_type = 3}},
    {"the other IP version", VDP_REASON_gso_invalid, -1, 0, {.gso_type = 4}},
    {"the other transport", VDP_REASON_gso_invalid, -1, 0, {.gso_type = 5}},
    {"amplification", VDP_REASON_gso_invalid, -1, 0, {.gso_size = 1}},
    {"IP header length", VDP_REASON_gso_invalid, 14, 0x44, {0}},
    {"IP total length too small", VDP_REASON_gso_invalid, 16, 0x10, {0}},
    {"IP total length too large", VDP_REASON_gso_invalid, 16, 0x14, {0}},
    {"fragment", VDP_REASON_gso_invalid, 20, 0x20, {0}},
    {"TCP header length too small", VDP_REASON_gso_invalid, 34 + 12, 0x40, {0}},
    {"EtherType", VDP_REASON_gso_invalid, 12, 0x86, {0}},
    {"header behind the packet", VDP_REASON_gso_invalid, -1, 0, {.hdr_len = 9999}},
    {"short header hint is not asked", VDP_REASON_none, -1, 0, {.hdr_len = 1}},
};

static void test_hostile_header_is_refused(void **state)
{
    const struct shape shape = SHAPE4;
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct fixture *fixture = fixture_for_segments();
        struct vdp_packet *packet = make_packet(fixture, &shape);
        struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = 1,
                                        .gso_size = 1448, .csum_start = 34, .csum_offset = 16};
        const struct fault *fault = &faults[i];
        if (fault->header.gso_type)
            header.gso_type = fault->header.gso_type;
        if (fault->header.gso_size)
            header.gso_size = fault->header.gso_size;
        if (fault->header.csum_start)
            header.csum_start = fault->header.csum_start;
        if (fault->header.csum_offset)
            header.csum_offset = fault->header.csum_offset;
        header.hdr_len = fault->header.hdr_len;
        if (fault->at >= 0)
            packet->data[fault->at] = fault->value;
        uint32_t reason = vdp_vnet_load(packet, &header);
        if (reason != fault->reason)
            print_error("%s\n", fault->name);
        assert_int_equal(reason, fault->reason);
        if (reason != VDP_REASON_none)
            assert_false(packet->needs_csum || packet->gso_type);
        fixture_free(fixture);
    }
}

static void test_type_of_the_other_version_is_refused(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE6;
    const struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = 1,
                                          .gso_size = 1000, .csum_start = 54, .csum_offset = 16};
    (void)state;
    assert_int_equal(vdp_vnet_load(make_packet(fixture, &shape), &header), VDP_REASON_gso_invalid);
    fixture_free(fixture);
}

static void test_checksum_offsets_do_not_wrap(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    const struct vdp_offload offload = {
        .needs_csum = 1, .csum_start = UINT32_MAX - 15, .csum_offset = 16};
    (void)state;
    assert_int_equal(vdp_offload_load(make_packet(fixture, &shape), &offload),
                     VDP_REASON_vnet_hdr_invalid);
    fixture_free(fixture);
}

/* A byte of a frame changed; found or not.  Headers of SHAPE4 or SHAPE6 with 8 bytes of
 * options, UDP or TCP. */
struct contradiction {
    const char *name;
    unsigned version;
    bool udp;
    uint32_t at;
    uint8_t value;
    bool found, fragment;
};

static const struct contradiction contradictions[] = {
    {"good", 4, true, 14, 0x47, true, false},
    {"IPv4 version", 4, true, 14, 0x57, false, false},
    {"IPv4 header below 20 bytes", 4, true, 14, 0x44, false, false},
    {"IPv4 total below the header", 4, true, 17, 27, false, false},
    {"IPv4 total of the header alone", 4, true, 17, 28, false, false},
    {"IPv4 total above the frame", 4, true, 17, 90, false, false},
    {"IPv4 more fragments", 4, true, 20, 0x20, true, true},
    {"IPv4 fragment offset", 4, true, 21, 0x01, true, true},
    {"TCP header below 20 bytes", 4, false, 14 + 28 + 12, 0x40, false, false},
    {"TCP header above the packet", 4, false, 14 + 28 + 12, 0xf0, false, false},
    {"good", 6, true, 14, 0x60, true, false},
    {"IPv6 version", 6, true, 14, 0x70, false, false},
    {"IPv6 payload above the frame", 6, true, 19, 90, false, false},
    {"IPv6 payload below the extension header", 6, true, 19, 7, false, false},
    {"IPv6 extension header above the packet", 6, true, 14 + 41, 9, false, false},
    {"IPv6 routing header with segments left", 6, true, 14 + 6, 43, false, false},
    {"IPv6 fragment header", 6, true, 14 + 6, 44, true, true},
};

static void test_headers_that_contradict_themselves_are_not_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof contradictions / sizeof *contradictions; i++) {
        const struct contradiction *row = &contradictions[i];
        struct fixture *fixture = fixture_for_segments();
        const struct shape shape = {.version = row->version, .udp = row->udp, .ip_options = 8,
                                    .size = 20};
        struct vdp_packet *packet = make_packet(fixture, &shape);
        struct vdp_headers at = {0};
        packet->data[row->at] = row->value;
        bool found = vdp_offload_locate(packet, &at);
        if (found != row->found || at.fragment != row->fragment)
            print_error("%s\n", row->name);
        assert_int_equal(found, row->found);
        assert_int_equal(at.fragment, row->fragment);
        fixture_free(fixture);
    }
}

static void test_protocol_of_a_layer3_packet_is_in_its_version_when_not_told(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct vdp_headers at;
    struct shape shape = SHAPE6;
    (void)state;
    shape.l3 = true;
    struct vdp_packet *packet = make_packet(fixture, &shape);
    memset(packet->meta + 4, 0, 4);
    assert_true(vdp_offload_locate(packet, &at));
    assert_int_equal(at.version, 6);
    vdp_store_be32(packet->meta + 4, 0x8847); /* MPLS, whatever the first nibble */
    assert_false(vdp_offload_locate(packet, &at));
    fixture_free(fixture);
}

static void test_uso_needs_its_own_feature(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct shape shape = SHAPE4;
    (void)state;
    shape.udp = true;
    struct vdp_packet *packet = make_super(fixture, &shape, 1200);
    assert_false(vdp_offload_covered(packet, VDP_F_CSUM | VDP_F_TSO4 | VDP_F_TSO6));
    assert_false(vdp_offload_covered(packet, VDP_F_USO));
    assert_true(vdp_offload_covered(packet, VDP_F_CSUM | VDP_F_USO));
    fixture_free(fixture);
}

static void test_moved_transport_is_not_stored(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    struct virtio_net_hdr header;
    (void)state;
    struct vdp_packet *packet = make_super(fixture, &shape, 1448);
    packet->csum_start += 4;
    assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_gso_invalid);
    fixture_free(fixture);
}

static void test_segment_size_zero_is_refused(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    const struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = 1,
                                          .csum_start = 34, .csum_offset = 16};
    (void)state;
    assert_int_equal(vdp_vnet_load(make_packet(fixture, &shape), &header), VDP_REASON_gso_invalid);
    fixture_free(fixture);
}

static void test_super_packet_without_checksum_mark_gets_one(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE6;
    const struct virtio_net_hdr header = {.gso_type = 4, .gso_size = 1000};
    (void)state;
    struct vdp_packet *packet = make_packet(fixture, &shape);
    assert_int_equal(vdp_vnet_load(packet, &header), VDP_REASON_none);
    assert_true(packet->needs_csum);
    assert_int_equal(vdp_load_be16(packet->data + 54 + 16),
                     plain_pseudo(packet->data + 14, VDP_TCP, 5032));
    fixture_free(fixture);
}

static void test_stored_header_is_what_was_loaded(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    struct virtio_net_hdr header;
    (void)state;
    struct vdp_packet *packet = make_super(fixture, &shape, 1448);
    assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_none);
    assert_int_equal(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(header.gso_size, 1448);
    assert_int_equal(header.csum_start, 34);
    assert_int_equal(header.csum_offset, 16);
    assert_int_equal(header.hdr_len, 66);
    fixture_free(fixture);
}

/* Whoever took it would cut by the inner header and repeat the outer one unchanged; but for GRE
 * (test_offload_gre.c), as is asked before. */
static void test_super_packet_with_pushed_headers_is_neither_stored_nor_cut(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct shape shape = SHAPE4;
    struct virtio_net_hdr header;
    struct segments segments = {0};
    (void)state;
    shape.l3 = true;
    struct vdp_packet *packet = make_super(fixture, &shape, 1448);
    uint32_t length = packet->length;
    packet->data -= 24; /* IPv4 and GRE */
    packet->length += 24;
    memcpy(packet->data, packet->data + 24, 20);
    packet->data[9] = 4; /* IP in IP, and four bytes */
    vdp_store_be16(packet->data + 2, (uint16_t)(length + 24));
    vdp_store_be32(packet->data + 20, 0x0800);
    assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_gso_unsupported);
    assert_int_equal(vdp_segment(&fixture->worker, packet, 0, 0, collect, &segments),
                     VDP_REASON_gso_unsupported);
    fixture_free(fixture);
}

/* A kernel GRE device on a local veth: outer headers, marks of the inner packet. */
static void test_super_packet_in_a_tunnel_is_cut_once_it_is_out(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct shape shape = SHAPE4;
    (void)state;
    shape.l3 = true;
    struct vdp_packet *packet = make_packet(fixture, &shape);
    uint32_t length = packet->length;
    packet->data -= 24;
    packet->length += 24;
    memcpy(packet->data, packet->data + 24, 20);
    packet->data[9] = 47;
    vdp_store_be16(packet->data + 2, (uint16_t)(length + 24));
    vdp_store_be32(packet->data + 20, 0x0800);
    const struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = 1,
                                          .gso_size = 1448, .csum_start = 44, .csum_offset = 16};
    struct virtio_net_hdr hostile = header;
    hostile.csum_start = 19; /* before what follows the outer header */
    uint8_t kept = packet->data[19 + 12];
    packet->data[19 + 12] = 0x50;
    assert_int_equal(vdp_vnet_load(packet, &hostile), VDP_REASON_gso_invalid);
    packet->data[19 + 12] = kept;
    assert_int_equal(vdp_vnet_load(packet, &header), VDP_REASON_none);
    assert_int_equal(packet->segments, 4);
    packet->data += 24;
    packet->length -= 24;
    struct segments segments = cut(fixture, packet, 0, 0);
    assert_stream(&segments.list, &shape, 1448);
    release(fixture, &segments);
}

static void test_checksum_pulled_off_with_its_header_is_forgotten(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct virtio_net_hdr header;
    (void)state;
    struct vdp_packet *packet = make_unfinished(fixture);
    packet->data += 100;
    packet->length -= 100;
    assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_none);
    assert_int_equal(header.flags, 0);
    assert_int_equal(vdp_offload_finish_checksum(packet), VDP_REASON_none);
    assert_false(packet->needs_csum);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_header_is_refused),
        cmocka_unit_test(test_type_of_the_other_version_is_refused),
        cmocka_unit_test(test_checksum_offsets_do_not_wrap),
        cmocka_unit_test(test_headers_that_contradict_themselves_are_not_found),
        cmocka_unit_test(test_protocol_of_a_layer3_packet_is_in_its_version_when_not_told),
        cmocka_unit_test(test_uso_needs_its_own_feature),
        cmocka_unit_test(test_moved_transport_is_not_stored),
        cmocka_unit_test(test_segment_size_zero_is_refused),
        cmocka_unit_test(test_super_packet_without_checksum_mark_gets_one),
        cmocka_unit_test(test_stored_header_is_what_was_loaded),
        cmocka_unit_test(test_super_packet_with_pushed_headers_is_neither_stored_nor_cut),
        cmocka_unit_test(test_super_packet_in_a_tunnel_is_cut_once_it_is_out),
        cmocka_unit_test(test_checksum_pulled_off_with_its_header_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
