/* cell.c: the rules of Linux tcp_gro_receive, one test each (tools/testing/selftests/net/gro.c
 * has most of them), and that cutting undoes merging. */
#include "packets.h"

static struct fixture *fixture_for_cell(void)
{
    return fixture_new(VDP_PORT_CELL, VDP_L2, 0, 512);
}

static struct shape plain_shape(unsigned version)
{
    return (struct shape){.version = version, .ttl = 64, .window = 500, .sequence = 1000,
                          .acknowledgement = 5, .id = 40, .size = 100, .tcp_options = 12,
                          .timestamp = 9};
}

/* The continuation of `shape`. */
static struct shape next_of(struct shape shape)
{
    shape.sequence += shape.size;
    shape.id++;
    return shape;
}

static void offer_packet(struct fixture *fixture, struct vdp_packet *packet)
{
    vdp_stat_add(&fixture_queue(fixture)->stats.offered, 1);
    vdp_cell_offer(&fixture->worker, fixture_queue(fixture), packet);
}

static void offer(struct fixture *fixture, const struct shape *shape)
{
    offer_packet(fixture, make_packet(fixture, shape));
}

/* offered = rx_packets + merged + tx_dropped + tx_queued. */
static struct vdp_packet_list flush(struct fixture *fixture)
{
    struct vdp_packet_list out = {0};
    struct vdp_port_stats *stats = &fixture_queue(fixture)->stats;
    vdp_cell_flush(&fixture->worker, fixture_queue(fixture), &out);
    assert_int_equal(stats->tx_queued, 0);
    stats->rx_packets += out.count;
    assert_int_equal(stats->offered, stats->rx_packets + stats->merged + stats->tx_dropped);
    return out;
}

static uint32_t payload_of(const struct vdp_packet *packet)
{
    struct vdp_headers at;
    assert_true(vdp_offload_locate(packet, &at));
    return at.end - at.payload;
}

/* Flush, compare the payload sizes of what comes out, and end the test. */
static void expect(struct fixture *fixture, const uint32_t *sizes, uint32_t count)
{
    struct vdp_packet_list out = flush(fixture);
    struct vdp_packet *packet;
    assert_int_equal(out.count, count);
    for (uint32_t i = 0; (packet = vdp_list_take(&out)) != NULL; i++) {
        assert_int_equal(payload_of(packet), sizes[i]);
        vdp_packet_free(&fixture->worker, packet);
    }
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    assert_int_equal(fixture->worker.free_count, fixture->worker.packet_count - 1);
    fixture_free(fixture);
}

#define EXPECT(fixture, ...)                                                                     \
    expect(fixture, (const uint32_t[]){__VA_ARGS__},                                             \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

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

static void test_unfinished_checksum_passes(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    offer_packet(fixture, make_super(fixture, &first, 1000));
    offer_packet(fixture, make_super(fixture, &second, 1000));
    EXPECT(fixture, 100, 100);
}

static void test_super_packet_passes_in_order(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    second.size = 1000;
    struct shape third = next_of(second);
    third.size = 100;
    offer(fixture, &first);
    offer_packet(fixture, make_super(fixture, &second, 100));
    offer(fixture, &third);
    EXPECT(fixture, 100, 1000, 100);
}

static void test_nothing_is_merged_past_a_fragment(void **state)
{
    (void)state;
    for (unsigned version = 4; version <= 6; version += 2) {
        struct fixture *fixture = fixture_for_cell();
        struct shape first = plain_shape(version), second = next_of(first);
        offer(fixture, &first);
        struct vdp_packet *packet = make_packet(fixture, &second);
        if (version == 4)
            packet->data[14 + 7] = 0x01; /* an offset: not the first fragment */
        else
            packet->data[14 + 6] = 44; /* where the TCP header was */
        offer_packet(fixture, packet);
        offer(fixture, &second);
        struct vdp_packet_list out = flush(fixture);
        assert_int_equal(out.count, 3);
        assert_ptr_equal(out.head->next, packet);
        vdp_cell_free(&fixture->worker, fixture_queue(fixture));
        fixture_free(fixture);
    }
}

static void test_datagrams_pass_without_ending_a_merge(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first), datagram = first;
    (void)state;
    datagram.udp = true;
    datagram.size = 77;
    offer(fixture, &first);
    offer(fixture, &datagram);
    offer(fixture, &second);
    EXPECT(fixture, 200, 77);
}

static void test_flows_merge_side_by_side(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    (void)state;
    for (unsigned round = 0; round < 3; round++)
        for (uint16_t port = 0; port < 8; port++) {
            struct shape shape = plain_shape(4);
            shape.port = port;
            shape.sequence += round * 100;
            shape.id = (uint16_t)(shape.id + round);
            offer(fixture, &shape);
        }
    EXPECT(fixture, 300, 300, 300, 300, 300, 300, 300, 300);
}

static void test_ninth_flow_makes_room(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    (void)state;
    for (unsigned round = 0; round < 2; round++)
        for (uint16_t port = 0; port < 9; port++) {
            struct shape shape = plain_shape(4);
            shape.port = port;
            shape.sequence += round * 100;
            shape.id = (uint16_t)(shape.id + round);
            offer(fixture, &shape);
        }
    struct vdp_packet_list out = flush(fixture);
    uint32_t bytes = 0;
    for (const struct vdp_packet *packet = out.head; packet != NULL; packet = packet->next)
        bytes += payload_of(packet);
    assert_int_equal(bytes, 9 * 200);
    assert_true(out.count > 9); /* with eight places, round robin over nine joins little */
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    fixture_free(fixture);
}

static void test_at_most_64_segments_merge(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    (void)state;
    for (unsigned i = 0; i < 65; i++, shape = next_of(shape))
        offer(fixture, &shape);
    EXPECT(fixture, 6400, 100);
}

static void test_merged_packet_fits_ip(void **state)
{
    (void)state;
    for (unsigned version = 4; version <= 6; version += 2) {
        struct fixture *fixture = fixture_for_cell();
        struct shape shape = plain_shape(version);
        shape.size = 1095; /* sixty would be 65,700: in the buffer, not in IP */
        for (unsigned i = 0; i < 60; i++, shape = next_of(shape))
            offer(fixture, &shape);
        struct vdp_packet_list out = flush(fixture);
        assert_int_equal(out.count, 2);
        assert_int_equal(payload_of(out.head), 59 * 1095);
        vdp_cell_free(&fixture->worker, fixture_queue(fixture));
        fixture_free(fixture);
    }
}

static void test_merge_stays_inside_the_buffer(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    struct vdp_packet *packet = make_packet(fixture, &first);
    uint8_t *last = packet->buffer + VDP_BUFFER_SIZE - packet->length - 99;
    memcpy(last, packet->data, packet->length);
    packet->data = last; /* 99 bytes of tailroom */
    offer_packet(fixture, packet);
    offer(fixture, &second);
    EXPECT(fixture, 100, 100);
}

static void test_full_cell_drops(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    (void)state;
    fixture->ports[TARGET].config.tx_queue = 2;
    shape.size = 0;
    for (unsigned i = 0; i < 3; i++)
        offer(fixture, &shape);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_cell_full), 1);
    assert_int_equal(fixture_queue(fixture)->stats.tx_dropped, 1);
    assert_int_equal(fixture_queue(fixture)->stats.tx_queued, 2);
    EXPECT(fixture, 0, 0);
}

static void test_full_cell_still_merges(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    (void)state;
    fixture->ports[TARGET].config.tx_queue = 1;
    for (unsigned i = 0; i < 3; i++, shape = next_of(shape))
        offer(fixture, &shape);
    EXPECT(fixture, 300);
}

static void test_dropped_packet_is_no_head(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4), other = shape;
    (void)state;
    fixture->ports[TARGET].config.tx_queue = 1;
    other.port = 1;
    offer(fixture, &shape);
    offer(fixture, &other);
    other = next_of(other);
    offer(fixture, &other); /* would follow the one that was dropped */
    assert_int_equal(fixture_drops(fixture, VDP_REASON_cell_full), 2);
    EXPECT(fixture, 100);
}

static void test_depth_of_a_merged_packet_is_the_largest(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    (void)state;
    for (uint8_t i = 0; i < 3; i++, shape = next_of(shape)) {
        struct vdp_packet *packet = make_packet(fixture, &shape);
        packet->depth = i == 1 ? 5 : 2;
        offer_packet(fixture, packet);
    }
    struct vdp_packet_list out = flush(fixture);
    assert_int_equal(out.head->depth, 5);
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    fixture_free(fixture);
}

static void test_flush_goes_to_the_end_of_the_list(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    struct vdp_packet_list out = {0};
    (void)state;
    offer(fixture, &first);
    vdp_cell_flush(&fixture->worker, fixture_queue(fixture), &out);
    offer(fixture, &second);
    vdp_cell_flush(&fixture->worker, fixture_queue(fixture), &out);
    assert_int_equal(out.count, 2);
    assert_ptr_equal(out.head->next, out.tail);
    assert_int_equal(vdp_load_be32(out.tail->data + 34 + 4), second.sequence);
    assert_null(out.tail->next);
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    fixture_free(fixture);
}

static void test_freed_cell_drops_what_waits_as_shutdown(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape shape = plain_shape(4);
    (void)state;
    offer(fixture, &shape);
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    assert_int_equal(fixture_drops(fixture, VDP_REASON_shutdown), 1);
    assert_int_equal(fixture_queue(fixture)->stats.tx_queued, 0);
    assert_null(fixture_queue(fixture)->cell);
    fixture_free(fixture);
}

static void test_cell_works_again_after_a_flush(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first), third = next_of(second);
    (void)state;
    offer(fixture, &first);
    struct vdp_packet_list out = flush(fixture);
    assert_int_equal(out.count, 1);
    vdp_packet_free(&fixture->worker, vdp_list_take(&out));
    offer(fixture, &second); /* not joined to what is gone */
    offer(fixture, &third);
    EXPECT(fixture, 200);
}

/* Damaged packets: nothing is lost, and what was merged was whole and is cut into wholes. */
static void count_whole(void *context, struct vdp_packet *packet)
{
    assert_packet_whole(packet);
    ++*(uint32_t *)context;
}

static void test_random_damage_is_survived(void **state)
{
    uint32_t seed = 77;
    (void)state;
    for (unsigned round = 0; round < 1500; round++) {
        struct fixture *fixture = fixture_for_cell();
        struct shape shape = plain_shape(random_below(&seed, 2) ? 4 : 6);
        struct vdp_packet *packet;
        uint32_t out_count = 0;
        shape.ip_options = shape.version == 6 ? 8 * random_below(&seed, 2) : 0;
        for (unsigned i = 0; i < 30; i++, shape = next_of(shape)) {
            packet = make_packet(fixture, &shape);
            if (random_below(&seed, 4) == 0)
                packet->data[random_below(&seed, 100)] ^= (uint8_t)(1u << random_below(&seed, 8));
            if (random_below(&seed, 20) == 0)
                packet->length = random_below(&seed, packet->length);
            offer_packet(fixture, packet);
        }
        struct vdp_packet_list out = flush(fixture);
        while ((packet = vdp_list_take(&out)) != NULL) {
            uint32_t merged = packet->segments;
            if (merged == 1) {
                vdp_packet_free(&fixture->worker, packet);
                out_count++;
                continue;
            }
            uint32_t before = out_count;
            uint32_t reason = vdp_segment(&fixture->worker, packet, 0, 0, count_whole, &out_count);
            assert_int_equal(reason, VDP_REASON_none);
            assert_int_equal(out_count - before, merged);
        }
        assert_int_equal(out_count, 30);
        vdp_cell_free(&fixture->worker, fixture_queue(fixture));
        fixture_free(fixture);
    }
}

struct copies {
    uint32_t lengths[64];
    uint8_t bytes[64][2048];
    uint32_t count, compared;
};

static void compare(void *context, struct vdp_packet *packet)
{
    struct copies *copies = context;
    assert_non_null(packet);
    uint32_t i = copies->compared++;
    assert_int_equal(packet->length, copies->lengths[i]);
    assert_memory_equal(packet->data, copies->bytes[i], packet->length);
}

/* One random stream: segments with now and then a flag, a gap, a short one, an ACK. */
static void fill_stream(struct fixture *fixture, struct copies *copies, uint32_t *seed)
{
    struct shape shape = plain_shape(random_below(seed, 2) ? 4 : 6);
    shape.vlans = random_below(seed, 3);
    shape.l3 = random_below(seed, 3) == 0;
    shape.sequence = 0u - random_below(seed, 20000);
    shape.id = (uint16_t)(0u - random_below(seed, 40));
    shape.tcp_options = 4 * random_below(seed, 11);
    uint32_t size = 1 + random_below(seed, 1448);
    for (copies->count = 0; copies->count < 64; copies->count++) {
        const uint8_t flags[] = {VDP_PSH, VDP_FIN, VDP_URG, VDP_CWR, VDP_SYN, VDP_RST};
        bool odd = random_below(seed, 12) == 0;
        shape.flags = odd ? flags[random_below(seed, 6)] : 0;
        shape.size = random_below(seed, 15) == 0 ? random_below(seed, size + 1) : size;
        shape.sequence += random_below(seed, 20) == 0;
        shape.acknowledgement += random_below(seed, 20) == 0;
        struct vdp_packet *packet = make_packet(fixture, &shape);
        copies->lengths[copies->count] = packet->length;
        memcpy(copies->bytes[copies->count], packet->data, packet->length);
        offer_packet(fixture, packet);
        shape = next_of(shape);
    }
}

static void test_cutting_undoes_merging(void **state)
{
    static struct copies copies;
    uint32_t seed = 7, merged = 0;
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct fixture *fixture = fixture_for_cell();
        struct vdp_packet *packet;
        fill_stream(fixture, &copies, &seed);
        struct vdp_packet_list out = flush(fixture);
        copies.compared = 0;
        while ((packet = vdp_list_take(&out)) != NULL) {
            merged += packet->segments - 1;
            uint32_t reason = vdp_segment(&fixture->worker, packet, 0, 0, compare, &copies);
            assert_int_equal(reason, VDP_REASON_none);
        }
        assert_int_equal(copies.compared, 64);
        vdp_cell_free(&fixture->worker, fixture_queue(fixture));
        fixture_free(fixture);
    }
    assert_true(merged > 5000); /* of 19200: the property is not empty */
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
        cmocka_unit_test(test_unfinished_checksum_passes),
        cmocka_unit_test(test_super_packet_passes_in_order),
        cmocka_unit_test(test_nothing_is_merged_past_a_fragment),
        cmocka_unit_test(test_datagrams_pass_without_ending_a_merge),
        cmocka_unit_test(test_flows_merge_side_by_side),
        cmocka_unit_test(test_ninth_flow_makes_room),
        cmocka_unit_test(test_at_most_64_segments_merge),
        cmocka_unit_test(test_merged_packet_fits_ip),
        cmocka_unit_test(test_merge_stays_inside_the_buffer),
        cmocka_unit_test(test_full_cell_drops),
        cmocka_unit_test(test_full_cell_still_merges),
        cmocka_unit_test(test_dropped_packet_is_no_head),
        cmocka_unit_test(test_depth_of_a_merged_packet_is_the_largest),
        cmocka_unit_test(test_flush_goes_to_the_end_of_the_list),
        cmocka_unit_test(test_freed_cell_drops_what_waits_as_shutdown),
        cmocka_unit_test(test_cell_works_again_after_a_flush),
        cmocka_unit_test(test_random_damage_is_survived),
        cmocka_unit_test(test_cutting_undoes_merging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
