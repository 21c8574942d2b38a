/* offload.c and segment.c: hostile headers refused, super-packets cut right. */
#include "packets.h"

#define SHAPE4 {.version = 4, .ttl = 64, .window = 500, .sequence = 0xfffffe00, .id = 0xfffe, \
                .size = 5000, .tcp_options = 12}
#define SHAPE6 {.version = 6, .ttl = 64, .window = 500, .sequence = 7, .size = 5000, \
                .tcp_options = 12}

struct segments {
    struct vdp_packet_list list;
    uint32_t missing;
};

static void collect(void *context, struct vdp_packet *segment)
{
    struct segments *segments = context;
    if (segment != NULL)
        vdp_list_append(&segments->list, segment);
    else
        segments->missing++;
}

static struct fixture *fixture_for_segments(void)
{
    return fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 256);
}

static void release(struct fixture *fixture, struct segments *segments)
{
    struct vdp_packet *packet;
    while ((packet = vdp_list_take(&segments->list)) != NULL)
        vdp_packet_free(&fixture->worker, packet);
    assert_int_equal(fixture->worker.free_count, fixture->worker.packet_count - 1);
    fixture_free(fixture);
}

static struct segments cut(struct fixture *fixture, struct vdp_packet *packet, uint32_t features,
                           uint32_t most)
{
    struct segments segments = {0};
    assert_int_equal(vdp_segment(&fixture->worker, packet, features, most, collect, &segments),
                     VDP_REASON_none);
    return segments;
}

/* The pieces say what the super-packet said, and each is whole. */
static void assert_stream(const struct vdp_packet_list *list, const struct shape *shape,
                          uint32_t piece)
{
    uint32_t done = 0, index = 0;
    for (const struct vdp_packet *packet = list->head; packet != NULL; packet = packet->next) {
        struct vdp_headers at;
        assert_packet_whole(packet);
        assert_true(vdp_offload_locate(packet, &at));
        uint32_t size = at.end - at.payload;
        assert_int_equal(size, packet->next != NULL ? piece : shape->size - done);
        for (uint32_t i = 0; i < size; i++)
            assert_int_equal(packet->data[at.payload + i], stream_byte(shape->sequence + done + i));
        if (at.protocol == VDP_TCP)
            assert_int_equal(vdp_load_be32(packet->data + at.transport + 4),
                             (uint32_t)(shape->sequence + done));
        if (at.version == 4)
            assert_int_equal(vdp_load_be16(packet->data + at.network + 4),
                             (uint16_t)(shape->id + index));
        done += size;
        index++;
    }
    assert_int_equal(done, shape->size);
}

static void check_cut(const struct shape *shape, uint16_t gso_size)
{
    struct fixture *fixture = fixture_for_segments();
    struct vdp_packet *packet = make_super(fixture, shape, gso_size);
    assert_int_equal(packet->segments, (shape->size + gso_size - 1) / gso_size);
    vdp_store_be32(packet->meta + 8, 77);
    packet->depth = 3;
    struct segments segments = cut(fixture, packet, 0, 0);
    assert_stream(&segments.list, shape, gso_size);
    for (const struct vdp_packet *at = segments.list.head; at != NULL; at = at->next) {
        assert_int_equal(at->in_port, ORIGIN);
        assert_int_equal(at->depth, 3);
        assert_int_equal(vdp_load_be32(at->meta + 8), 77);
        assert_true(vdp_packet_headroom(at) >= VDP_HEADROOM);
    }
    release(fixture, &segments);
}

static void test_tcp_over_ipv4_is_cut(void **state)
{
    const struct shape shape = SHAPE4;
    (void)state;
    check_cut(&shape, 1448);
}

static void test_tcp_over_ipv6_is_cut(void **state)
{
    const struct shape shape = SHAPE6;
    (void)state;
    check_cut(&shape, 1428);
}

static void test_last_segment_may_be_full(void **state)
{
    const struct shape shape = SHAPE4;
    (void)state;
    check_cut(&shape, 1000);
}

static void test_headers_longer_than_a_piece_survive(void **state)
{
    struct shape shape = SHAPE6;
    (void)state;
    shape.ip_options = 256;
    shape.size = 60 * 50 + 1;
    check_cut(&shape, 50);
}

static void test_layer3_packet_is_cut(void **state)
{
    struct shape shape = SHAPE4;
    (void)state;
    shape.l3 = true;
    check_cut(&shape, 1448);
    shape.version = 6;
    check_cut(&shape, 1448);
}

static void test_vlan_tags_are_kept(void **state)
{
    struct shape shape = SHAPE4;
    (void)state;
    shape.vlans = 2;
    check_cut(&shape, 1448);
}

static void test_ipv4_options_are_kept(void **state)
{
    struct shape shape = SHAPE4;
    (void)state;
    shape.ip_options = 40;
    check_cut(&shape, 1448);
}

static void test_udp_datagrams_are_cut(void **state)
{
    struct shape shape = SHAPE4;
    (void)state;
    shape.udp = true;
    shape.tcp_options = 0;
    check_cut(&shape, 1200);
    shape.version = 6;
    check_cut(&shape, 1200);
}

static void test_push_and_fin_are_on_the_last_and_cwr_on_the_first(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct shape shape = SHAPE4;
    (void)state;
    shape.flags = VDP_PSH | VDP_FIN | VDP_CWR;
    struct segments segments = cut(fixture, make_super(fixture, &shape, 2000), 0, 0);
    uint8_t expected[] = {VDP_CWR | FLAG_ACK, FLAG_ACK, VDP_PSH | VDP_FIN | FLAG_ACK};
    const struct vdp_packet *packet = segments.list.head;
    for (unsigned i = 0; i < 3; i++, packet = packet->next)
        assert_int_equal(packet->data[14 + 20 + 13], expected[i]);
    assert_null(packet);
    release(fixture, &segments);
}

static void test_most_bounds_the_whole_segment(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    (void)state;
    struct segments segments = cut(fixture, make_super(fixture, &shape, 1448), 0, 1000);
    assert_stream(&segments.list, &shape, 1000 - 14 - 20 - 32);
    assert_int_equal(segments.list.head->length, 1000);
    release(fixture, &segments);
}

static void test_most_counts_the_headers(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    (void)state;
    struct segments segments = cut(fixture, make_super(fixture, &shape, 1448), 0, 1460);
    assert_int_equal(segments.list.head->length, 1460);
    release(fixture, &segments);
}

static void test_most_above_the_segment_size_changes_nothing(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    (void)state;
    struct segments segments = cut(fixture, make_super(fixture, &shape, 1448), 0, 9000);
    assert_stream(&segments.list, &shape, 1448);
    release(fixture, &segments);
}

static void refuse_cut(const struct shape *shape, uint16_t gso_size, uint32_t most, uint32_t reason)
{
    struct fixture *fixture = fixture_for_segments();
    struct segments segments = {0};
    struct vdp_packet *packet = make_super(fixture, shape, gso_size);
    assert_int_equal(vdp_segment(&fixture->worker, packet, 0, most, collect, &segments), reason);
    assert_int_equal(segments.list.count + segments.missing, 0);
    vdp_list_append(&segments.list, packet); /* still ours */
    release(fixture, &segments);
}

static void test_no_room_for_48_bytes_of_payload_is_refused(void **state)
{
    const struct shape shape = SHAPE4;
    (void)state;
    refuse_cut(&shape, 1448, 14 + 52 + 47, VDP_REASON_gso_invalid);
    refuse_cut(&shape, 1448, 10, VDP_REASON_gso_invalid);
}

static void test_a_super_packet_left_without_payload_is_refused(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    struct segments segments = {0};
    struct shape shape = SHAPE4;
    (void)state;
    shape.tcp_options = 0;
    shape.size = 40;
    struct vdp_packet *packet = make_super(fixture, &shape, 20);
    packet->data[34 + 12] = 0xf0; /* as a program's SET might */
    assert_int_equal(vdp_segment(&fixture->worker, packet, 0, 0, collect, &segments),
                     VDP_REASON_gso_invalid);
    fixture_free(fixture);
}

static void test_a_datagram_is_never_made_smaller(void **state)
{
    struct shape shape = SHAPE4;
    (void)state;
    shape.udp = true;
    refuse_cut(&shape, 1200, 1000, VDP_REASON_mtu_exceeded);
}

static void test_covered_type_is_left_alone(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    (void)state;
    struct vdp_packet *packet = make_super(fixture, &shape, 1448);
    struct segments segments = cut(fixture, packet, VDP_F_CSUM | VDP_F_TSO4, 0);
    assert_int_equal(segments.list.count, 1);
    assert_ptr_equal(segments.list.head, packet);
    assert_int_equal(packet->gso_size, 1448);
    assert_int_equal(packet->segments, 4);
    release(fixture, &segments);
}

static void test_covered_type_gets_a_smaller_size_by_most(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE4;
    (void)state;
    struct vdp_packet *packet = make_super(fixture, &shape, 1448);
    struct segments segments = cut(fixture, packet, VDP_F_CSUM | VDP_F_TSO4, 14 + 52 + 1000);
    assert_ptr_equal(segments.list.head, packet);
    assert_int_equal(packet->gso_size, 1000);
    assert_int_equal(packet->segments, 5);
    release(fixture, &segments);
}

static void test_feature_of_the_other_version_does_not_cover(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = SHAPE6;
    (void)state;
    struct segments segments =
        cut(fixture, make_super(fixture, &shape, 1000), VDP_F_CSUM | VDP_F_TSO4 | VDP_F_USO, 0);
    assert_int_equal(segments.list.count, 5);
    release(fixture, &segments);
}

static struct vdp_packet *make_unfinished(struct fixture *fixture)
{
    struct shape shape = SHAPE4;
    shape.size = 999;
    return make_super(fixture, &shape, 1448); /* too small to be a super-packet */
}

static void test_unfinished_checksum_is_finished(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    (void)state;
    struct vdp_packet *packet = make_unfinished(fixture);
    assert_true(packet->needs_csum);
    assert_int_equal(packet->gso_type, 0);
    struct segments segments = cut(fixture, packet, VDP_F_TSO4, 0);
    assert_ptr_equal(segments.list.head, packet);
    assert_packet_whole(packet);
    release(fixture, &segments);
}

static void test_unfinished_checksum_is_left_to_a_port_that_takes_it(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    (void)state;
    struct segments segments = cut(fixture, make_unfinished(fixture), VDP_F_CSUM, 0);
    assert_true(segments.list.head->needs_csum);
    release(fixture, &segments);
}

static void test_a_udp_checksum_is_never_zero(void **state)
{
    struct fixture *fixture = fixture_for_segments();
    const struct shape shape = {.version = 4, .ttl = 64, .udp = true, .size = 2};
    (void)state;
    struct vdp_packet *packet = make_packet(fixture, &shape);
    uint8_t *udp = packet->data + 34;
    /* The payload that makes the sum 0xffff: what the checksum was with payload 0. */
    memset(udp + 8, 0, 2);
    vdp_store_be16(udp + 6, 0);
    uint16_t sum = plain_sum(plain_pseudo(packet->data + 14, VDP_UDP, 10), udp, 10);
    vdp_store_be16(udp + 8, (uint16_t)~sum);
    const struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
    vdp_store_be16(udp + 6, plain_pseudo(packet->data + 14, VDP_UDP, 10));
    assert_int_equal(vdp_vnet_load(packet, &header), VDP_REASON_none);
    struct segments segments = cut(fixture, packet, 0, 0);
    assert_int_equal(vdp_load_be16(udp + 6), 0xffff);
    release(fixture, &segments);
}

static void test_a_udp_checksum_of_a_segment_is_never_zero(void **state)
{
    uint16_t word = 0;
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct fixture *fixture = fixture_for_segments();
        const struct shape shape = {.version = 4, .ttl = 64, .udp = true, .size = 200};
        struct vdp_packet *packet = make_super(fixture, &shape, 100);
        vdp_store_be16(packet->data + 42, word);
        struct segments segments = cut(fixture, packet, 0, 0);
        uint16_t checksum = vdp_load_be16(segments.list.head->data + 34 + 6);
        if (round == 1)
            assert_int_equal(checksum, 0xffff);
        word = checksum; /* what makes the sum 0xffff in the second round */
        release(fixture, &segments);
    }
}

static void test_missing_buffers_are_told_one_by_one(void **state)
{
    struct fixture *fixture = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 4); /* one is reserved */
    const struct shape shape = SHAPE4;
    (void)state;
    struct segments segments = cut(fixture, make_super(fixture, &shape, 1000), 0, 0);
    assert_int_equal(segments.list.count, 3); /* two new ones and the super-packet's own */
    assert_int_equal(segments.missing, 2);
    assert_int_equal(vdp_load_be32(segments.list.tail->data + 34 + 4), shape.sequence + 4000);
    release(fixture, &segments);
}

/* WireGuard's Test_handleVirtioRead: 200 bytes in two. */
static void test_two_segments_as_in_wireguard_go(void **state)
{
    const struct shape shape = {.version = 4, .l3 = true, .ttl = 64, .may_fragment = true,
                                .sequence = 1, .window = 3000, .flags = VDP_PSH, .size = 200};
    (void)state;
    check_cut(&shape, 100);
}

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
    {"checksum starts behind the packet", VDP_REASON_vnet_hdr_invalid, -1, 0, {.csum_start = 6000}},
    {"checksum field behind the packet", VDP_REASON_vnet_hdr_invalid, -1, 0, {.csum_offset = 65535}},
    {"checksum starts elsewhere", VDP_REASON_gso_invalid, -1, 0, {.csum_start = 35}},
    {"unknown type", VDP_REASON_vnet_hdr_invalid, -1, 0, {.gso_type = 2}},
    {"congestion mark alone", VDP_REASON_vnet_hdr_invalid, -1, 0, {.gso_type = 0x80}},
    {"congestion mark on UDP", VDP_REASON_vnet_hdr_invalid, -1, 0, {.gso_type = 0x85}},
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
    {"wrong header hint is not asked", VDP_REASON_none, -1, 0, {.hdr_len = 9999}},
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

/* The kernel would cut by the inner header and repeat the outer one unchanged. */
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
    packet->data[9] = 47;
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

/* Whatever bytes and header: refused, or cut into whole packets, inside the buffer. */
static void test_random_damage_is_survived(void **state)
{
    uint32_t seed = 99;
    (void)state;
    struct fixture *fixture = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 64);
    for (unsigned round = 0; round < 20000; round++) {
        struct shape shape = {.version = random_below(&seed, 2) ? 4 : 6, .ttl = 9,
                              .l3 = random_below(&seed, 2) != 0, .vlans = random_below(&seed, 3),
                              .udp = random_below(&seed, 3) == 0, .size = random_below(&seed, 4000),
                              .ip_options = 8 * random_below(&seed, 3)};
        struct vdp_packet *packet = make_packet(fixture, &shape);
        struct segments segments = {0};
        for (uint32_t i = random_below(&seed, 3); i > 0; i--)
            packet->data[random_below(&seed, 90) % packet->length] = (uint8_t)random_below(&seed, 256);
        if (random_below(&seed, 8) == 0)
            packet->length = random_below(&seed, packet->length);
        const struct virtio_net_hdr header = {
            .flags = (uint8_t)random_below(&seed, 3),
            .gso_type = (uint8_t)(random_below(&seed, 9) ? random_below(&seed, 6) : 0x80),
            .gso_size = (uint16_t)random_below(&seed, 3000),
            .csum_start = (uint16_t)(random_below(&seed, 4) * 20 + 14 * random_below(&seed, 2)),
            .csum_offset = (uint16_t)(random_below(&seed, 2) ? 16 : 6)};
        uint32_t reason = vdp_vnet_load(packet, &header);
        bool gso = packet->gso_type != 0;
        if (reason == VDP_REASON_none)
            reason = vdp_segment(&fixture->worker, packet, 0, random_below(&seed, 1500), collect,
                                 &segments);
        if (reason != VDP_REASON_none)
            vdp_packet_free(&fixture->worker, packet);
        while ((packet = vdp_list_take(&segments.list)) != NULL) {
            if (gso)
                assert_packet_whole(packet);
            vdp_packet_free(&fixture->worker, packet);
        }
        assert_int_equal(fixture->worker.free_count, 63);
    }
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_over_ipv4_is_cut),
        cmocka_unit_test(test_tcp_over_ipv6_is_cut),
        cmocka_unit_test(test_last_segment_may_be_full),
        cmocka_unit_test(test_headers_longer_than_a_piece_survive),
        cmocka_unit_test(test_layer3_packet_is_cut),
        cmocka_unit_test(test_vlan_tags_are_kept),
        cmocka_unit_test(test_ipv4_options_are_kept),
        cmocka_unit_test(test_udp_datagrams_are_cut),
        cmocka_unit_test(test_push_and_fin_are_on_the_last_and_cwr_on_the_first),
        cmocka_unit_test(test_most_bounds_the_whole_segment),
        cmocka_unit_test(test_most_counts_the_headers),
        cmocka_unit_test(test_most_above_the_segment_size_changes_nothing),
        cmocka_unit_test(test_no_room_for_48_bytes_of_payload_is_refused),
        cmocka_unit_test(test_a_super_packet_left_without_payload_is_refused),
        cmocka_unit_test(test_a_datagram_is_never_made_smaller),
        cmocka_unit_test(test_covered_type_is_left_alone),
        cmocka_unit_test(test_covered_type_gets_a_smaller_size_by_most),
        cmocka_unit_test(test_feature_of_the_other_version_does_not_cover),
        cmocka_unit_test(test_unfinished_checksum_is_finished),
        cmocka_unit_test(test_unfinished_checksum_is_left_to_a_port_that_takes_it),
        cmocka_unit_test(test_a_udp_checksum_is_never_zero),
        cmocka_unit_test(test_a_udp_checksum_of_a_segment_is_never_zero),
        cmocka_unit_test(test_missing_buffers_are_told_one_by_one),
        cmocka_unit_test(test_two_segments_as_in_wireguard_go),
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
        cmocka_unit_test(test_random_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
