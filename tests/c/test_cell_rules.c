/* cell.c: the rules of Linux tcp_gro_receive on what is merged, one test each
 * (tools/testing/selftests/net/gro.c has most of them). */
#include "cell_fixture.h"

/* Offer two packets; merged or not. */
static void pair(const struct shape *first, const struct shape *second, bool merged)
{
    struct fixture *fixture = fixture_for_cell();
    offer(fixture, first);
    offer(fixture, second);
    if (merged)
        EXPECT(fixture, first->size + second->size);
    else
        EXPECT(fixture, first->size, second->size);
}

#define PAIR_DIFFERS(version_, field, value)                                                     \
    do {                                                                                         \
        struct shape first = plain_shape(version_), second = next_of(first);                     \
        second.field = (value);                                                                  \
        pair(&first, &second, false);                                                            \
    } while (0)

static void test_segments_in_sequence_merge(void **state)
{
    (void)state;
    for (unsigned version = 4; version <= 6; version += 2) {
        struct shape first = plain_shape(version), second = next_of(first);
        pair(&first, &second, true);
        first.l3 = second.l3 = true;
        pair(&first, &second, true);
        first.l3 = second.l3 = false;
        first.vlans = second.vlans = 1;
        pair(&first, &second, true);
    }
}

static void test_merged_packet_is_a_super_packet(void **state)
{
    (void)state;
    for (unsigned version = 4; version <= 6; version += 2) {
        struct fixture *fixture = fixture_for_cell();
        struct shape shape = plain_shape(version);
        uint32_t start = shape.sequence;
        for (unsigned i = 0; i < 3; i++, shape = next_of(shape))
            offer(fixture, &shape);
        struct vdp_packet_list out = flush(fixture);
        struct vdp_packet *packet = vdp_list_take(&out);
        struct vdp_headers at;
        struct virtio_net_hdr header;
        assert_true(vdp_offload_locate(packet, &at));
        const uint8_t *tcp = packet->data + at.transport;
        assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_none);
        assert_int_equal(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
        assert_int_equal(header.gso_type, version == 4 ? 1 : 4);
        assert_int_equal(header.gso_size, 100);
        assert_int_equal(header.csum_start, at.transport);
        assert_int_equal(packet->segments, 3);
        assert_int_equal(packet->in_port, ORIGIN); /* the core sets the cell's number */
        assert_int_equal(vdp_load_be16(tcp + 16),
                         plain_pseudo(packet->data + at.network, VDP_TCP, 32 + 300));
        for (uint32_t i = 0; i < 300; i++)
            assert_int_equal(packet->data[at.payload + i], stream_byte(start + i));
        if (version == 4)
            assert_int_equal(plain_sum(0, packet->data + at.network, 20), 0xffff);
        vdp_cell_free(&fixture->worker, fixture_queue(fixture));
        fixture_free(fixture);
    }
}

static void test_gap_in_the_sequence_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, sequence, 1101);
    PAIR_DIFFERS(6, sequence, 1000);
}

static void test_sequence_wraps(void **state)
{
    struct shape first = plain_shape(4);
    (void)state;
    first.sequence = 0xffffffce;
    struct shape second = next_of(first);
    pair(&first, &second, true);
}

static void test_other_acknowledgement_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, acknowledgement, 6);
}

static void test_other_window_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(6, window, 501);
}

static void test_other_urgent_pointer_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, urgent, 1);
}

static void test_congestion_echo_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, flags, 0x40);
}

static void test_other_timestamp_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, timestamp, 10);
}

static void test_other_options_size_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, tcp_options, 8);
}

static void test_other_ttl_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, ttl, 63);
    PAIR_DIFFERS(6, ttl, 63);
}

static void test_other_ecn_or_dscp_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, tos, 3);
    PAIR_DIFFERS(6, tos, 3);
    PAIR_DIFFERS(4, tos, 0x28);
}

static void test_other_df_ends_a_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, may_fragment, true);
}

static void test_other_port_is_another_flow(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, port, 1);
}

static void test_other_vlan_is_another_flow(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, vlans, 1);
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    first.vlans = second.vlans = 1;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->data[15] ^= 1;
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

static void test_other_address_is_another_flow(void **state)
{
    (void)state;
    for (unsigned version = 4; version <= 6; version += 2) {
        struct fixture *fixture = fixture_for_cell();
        struct shape first = plain_shape(version), second = next_of(first);
        offer(fixture, &first);
        struct vdp_packet *packet = make_packet(fixture, &second);
        uint8_t *ip = packet->data + 14, *low = ip + (version == 4 ? 19 : 39);
        uint8_t *tcp = ip + (version == 4 ? 20 : 40);
        uint16_t sum = vdp_load_be16(tcp + 16);
        *low ^= 1; /* made good in both checksums: only the address differs */
        vdp_store_be16(tcp + 16, (uint16_t)(*low & 1 ? sum - 1 : sum + 1));
        if (version == 4)
            fix_ip_checksum(packet, 14);
        assert_packet_whole(packet);
        offer_packet(fixture, packet);
        EXPECT(fixture, 100, 100);
    }
}

static void test_other_metadata_is_another_flow(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->meta[4 * VDP_META_REG] = 1;
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

static void test_other_flow_label_ends_a_merge(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(6), second = next_of(first);
    (void)state;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->data[14 + 3] ^= 1; /* not in the checksum */
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

static void test_ids_count_up_or_stand_still_but_not_both(void **state)
{
    struct shape a = plain_shape(4);
    (void)state;
    for (unsigned second = 0; second < 2; second++)
        for (unsigned third = 0; third < 2; third++) {
            struct fixture *fixture = fixture_for_cell();
            struct shape b = next_of(a), c = next_of(b);
            b.id = (uint16_t)(a.id + second);
            c.id = (uint16_t)(b.id + third);
            offer(fixture, &a);
            offer(fixture, &b);
            offer(fixture, &c);
            if (second == third)
                EXPECT(fixture, 300);
            else
                EXPECT(fixture, 200, 100);
        }
}

static void test_standing_id_needs_df(void **state)
{
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    first.may_fragment = second.may_fragment = true;
    pair(&first, &second, true);
    second.id = first.id;
    pair(&first, &second, false);
}

static void test_id_must_not_jump(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, id, 42);
}

static void test_id_wraps(void **state)
{
    struct shape first = plain_shape(4);
    (void)state;
    first.id = 0xffff;
    struct shape second = next_of(first);
    pair(&first, &second, true);
}

static void test_ip_options_are_never_merged(void **state)
{
    struct shape first = plain_shape(4);
    (void)state;
    first.ip_options = 4;
    struct shape second = next_of(first);
    pair(&first, &second, false);
}

static void test_equal_extension_headers_merge_and_others_do_not(void **state)
{
    struct shape first = plain_shape(6);
    (void)state;
    first.ip_options = 8;
    struct shape second = next_of(first);
    pair(&first, &second, true);
    second.ip_options = 16;
    pair(&first, &second, false);

    struct fixture *fixture = fixture_for_cell();
    second.ip_options = 8;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->data[14 + 40 + 5] ^= 1; /* inside PadN */
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

static void test_pure_acknowledgements_pass(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(6);
    (void)state;
    shape.size = 0;
    for (unsigned i = 0; i < 3; i++)
        offer(fixture, &shape);
    EXPECT(fixture, 0, 0, 0);
}

static void test_pure_acknowledgement_ends_a_merge(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), ack = next_of(first), second = next_of(first);
    (void)state;
    ack.size = 0;
    offer(fixture, &first);
    offer(fixture, &ack);
    offer(fixture, &second);
    EXPECT(fixture, 100, 0, 100);
}

/* Merge with a flag on the third of five. */
static void offer_with_flag(uint8_t flag, const uint32_t *sizes, uint32_t count)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    for (unsigned i = 0; i < 5; i++, shape = next_of(shape)) {
        shape.flags = i == 2 ? flag : 0;
        offer(fixture, &shape);
    }
    expect(fixture, sizes, count);
}

static void test_push_flag_joins_and_ends_a_merge(void **state)
{
    (void)state;
    offer_with_flag(VDP_PSH, (const uint32_t[]){300, 200}, 2);
}

static void test_fin_flag_joins_and_ends_a_merge(void **state)
{
    (void)state;
    offer_with_flag(VDP_FIN, (const uint32_t[]){300, 200}, 2);
}

static void test_syn_rst_and_urg_never_merge(void **state)
{
    const uint8_t flags[] = {VDP_SYN, VDP_RST, VDP_URG};
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        offer_with_flag(flags[i], (const uint32_t[]){200, 100, 200}, 3);
}

static void test_reduced_congestion_window_starts_a_new_merge(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first), third = next_of(second);
    (void)state;
    second.flags = VDP_CWR;
    offer(fixture, &first);
    offer(fixture, &second);
    offer(fixture, &third);
    struct vdp_packet_list out = flush(fixture);
    assert_int_equal(out.count, 2);
    assert_int_equal(out.head->gso_type, 0);
    assert_int_equal(out.tail->gso_type, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN);
    assert_int_equal(payload_of(out.tail), 200);
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    fixture_free(fixture);
}

static void test_push_is_in_the_merged_header(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    second.flags = VDP_PSH;
    offer(fixture, &first);
    offer(fixture, &second);
    struct vdp_packet_list out = flush(fixture);
    assert_int_equal(out.head->data[34 + 13], VDP_PSH | FLAG_ACK);
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    fixture_free(fixture);
}

static void test_shorter_segment_joins_and_ends_a_merge(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    second.size = 60;
    struct shape third = next_of(second);
    third.size = 60;
    offer(fixture, &first);
    offer(fixture, &second);
    offer(fixture, &third);
    EXPECT(fixture, 160, 60);
}

static void test_longer_segment_starts_a_new_merge(void **state)
{
    (void)state;
    PAIR_DIFFERS(4, size, 101);
}

static void test_bad_checksum_is_never_merged_but_delivered(void **state)
{
    (void)state;
    for (unsigned bad = 0; bad < 2; bad++)
        for (unsigned version = 4; version <= 6; version += 2) {
            struct fixture *fixture = fixture_for_cell();
            struct shape shape = plain_shape(version);
            for (unsigned i = 0; i < 2; i++, shape = next_of(shape)) {
                struct vdp_packet *packet = make_packet(fixture, &shape);
                if (i == bad)
                    packet->data[packet->length - 1] ^= 1;
                offer_packet(fixture, packet);
            }
            EXPECT(fixture, 100, 100);
        }
}

static void test_bad_ip_checksum_is_never_merged(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->data[14 + 10] ^= 1;
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

static void test_bad_checksum_is_never_joined_by_a_push(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    second.flags = VDP_PSH;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->data[packet->length - 1] ^= 1;
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

static void test_reserved_bit_is_never_merged(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    (void)state;
    for (unsigned i = 0; i < 2; i++, shape = next_of(shape)) {
        struct vdp_packet *packet = make_packet(fixture, &shape);
        packet->data[14 + 6] |= 0x80;
        fix_ip_checksum(packet, 14);
        offer_packet(fixture, packet);
    }
    EXPECT(fixture, 100, 100);
}

static void test_padded_frame_is_never_merged(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    offer(fixture, &first);
    struct vdp_packet *packet = make_packet(fixture, &second);
    packet->data[packet->length++] = 0;
    offer_packet(fixture, packet);
    EXPECT(fixture, 100, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_in_sequence_merge),
        cmocka_unit_test(test_merged_packet_is_a_super_packet),
        cmocka_unit_test(test_gap_in_the_sequence_ends_a_merge),
        cmocka_unit_test(test_sequence_wraps),
        cmocka_unit_test(test_other_acknowledgement_ends_a_merge),
        cmocka_unit_test(test_other_window_ends_a_merge),
        cmocka_unit_test(test_other_urgent_pointer_ends_a_merge),
        cmocka_unit_test(test_congestion_echo_ends_a_merge),
        cmocka_unit_test(test_other_timestamp_ends_a_merge),
        cmocka_unit_test(test_other_options_size_ends_a_merge),
        cmocka_unit_test(test_other_ttl_ends_a_merge),
        cmocka_unit_test(test_other_ecn_or_dscp_ends_a_merge),
        cmocka_unit_test(test_other_df_ends_a_merge),
        cmocka_unit_test(test_other_port_is_another_flow),
        cmocka_unit_test(test_other_vlan_is_another_flow),
        cmocka_unit_test(test_other_address_is_another_flow),
        cmocka_unit_test(test_other_metadata_is_another_flow),
        cmocka_unit_test(test_other_flow_label_ends_a_merge),
        cmocka_unit_test(test_ids_count_up_or_stand_still_but_not_both),
        cmocka_unit_test(test_standing_id_needs_df),
        cmocka_unit_test(test_id_must_not_jump),
        cmocka_unit_test(test_id_wraps),
        cmocka_unit_test(test_ip_options_are_never_merged),
        cmocka_unit_test(test_equal_extension_headers_merge_and_others_do_not),
        cmocka_unit_test(test_pure_acknowledgements_pass),
        cmocka_unit_test(test_pure_acknowledgement_ends_a_merge),
        cmocka_unit_test(test_push_flag_joins_and_ends_a_merge),
        cmocka_unit_test(test_fin_flag_joins_and_ends_a_merge),
        cmocka_unit_test(test_syn_rst_and_urg_never_merge),
        cmocka_unit_test(test_reduced_congestion_window_starts_a_new_merge),
        cmocka_unit_test(test_push_is_in_the_merged_header),
        cmocka_unit_test(test_shorter_segment_joins_and_ends_a_merge),
        cmocka_unit_test(test_longer_segment_starts_a_new_merge),
        cmocka_unit_test(test_bad_checksum_is_never_merged_but_delivered),
        cmocka_unit_test(test_bad_ip_checksum_is_never_merged),
        cmocka_unit_test(test_bad_checksum_is_never_joined_by_a_push),
        cmocka_unit_test(test_reserved_bit_is_never_merged),
        cmocka_unit_test(test_padded_frame_is_never_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
