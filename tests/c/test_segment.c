/* segment.c: super-packets cut right, checksums finished. */
#include "segment_fixture.h"

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
        cmocka_unit_test(test_random_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
