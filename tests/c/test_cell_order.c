/* cell.c: what passes and in which order, how much is merged, what a full, a flushed and a
 * freed cell do; and that cutting undoes merging. */
#include "cell_fixture.h"

static void test_unfinished_checksums_are_joined(void **state)
{
    struct fixture *fixture = fixture_for_cell();
    struct shape first = plain_shape(4), second = next_of(first);
    (void)state;
    offer_packet(fixture, make_super(fixture, &first, 1000)); /* one segment: no super-packet */
    offer_packet(fixture, make_super(fixture, &second, 1000));
    EXPECT(fixture, 200);
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

static void test_nothing_of_a_flow_is_merged_past_another_ip_header(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct fixture *fixture = fixture_for_cell();
        struct shape first = plain_shape(i & 1 ? 4 : 6);
        bool is_first_longer = first.version == 6 && i & 4; /* IPv4 options are not joined */
        first.udp = i & 2;
        first.ip_options = is_first_longer ? 8 : 0;
        struct shape second = next_of(first), between = first;
        between.ip_options = is_first_longer ? 0 : 8;
        between.size = 77;
        offer(fixture, &first);
        offer(fixture, &between);
        offer(fixture, &second);
        EXPECT(fixture, 100, 77, 100);
    }
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
        cmocka_unit_test(test_unfinished_checksums_are_joined),
        cmocka_unit_test(test_super_packet_passes_in_order),
        cmocka_unit_test(test_nothing_is_merged_past_a_fragment),
        cmocka_unit_test(test_datagrams_pass_without_ending_a_merge),
        cmocka_unit_test(test_nothing_of_a_flow_is_merged_past_another_ip_header),
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
