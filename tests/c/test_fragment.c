/* fragment.c: every size, the largest packet, hostile headers, a pool that runs dry. */
#include "harness.h"

#include "../../vdp/engine/offload.h"

enum { MOST_SIZE = VDP_MAX_LENGTH };

struct bench {
    struct vdp_engine *engine;
    uint32_t in, out;
};

static struct bench bench_new(uint32_t packets)
{
    struct vdp_engine_config config = {.packets = packets};
    struct bench bench = {.engine = engine_with(config)};

    bench.in = memory_port(bench.engine);
    bench.out = memory_port(bench.engine);
    return bench;
}

static void bench_free(struct bench *bench)
{
    check_books(bench->engine, bench->in, false);
    check_books(bench->engine, bench->out, false);
    assert_int_equal(packets_in_use(bench->engine), 0);
    vdp_engine_free(bench->engine);
}

/* FRAGMENT, then OUTPUT; its else is a DROP as policy_rule. */
static void run(const struct bench *bench, uint32_t network, uint32_t most, const uint8_t *bytes,
                uint32_t length)
{
    struct vdp_action actions[] = {{VDP_OP_FRAGMENT, 0, most, network, 2},
                                   {VDP_OP_OUTPUT, 0, bench->out, 0, 0},
                                   {VDP_OP_DROP, 0, VDP_REASON_policy_rule, 0, 0}};

    assert_int_equal(vdp_packet_execute(bench->engine, 0, bench->in, bytes, length, NULL, PROGRAM(actions)),
                     0);
}

/* RFC 1071, two bytes at a time: the twin of checksum.c. */
static uint16_t plain_sum(const uint8_t *bytes, uint32_t size)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < size; i += 2)
        sum += vdp_load_be16(bytes + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* | front | IPv4 header with NOPs for options | size bytes |; returns its length. */
static uint32_t write_packet(uint8_t *bytes, uint32_t front, uint32_t header_size, uint32_t size)
{
    uint8_t *ip = bytes + front;

    for (uint32_t i = 0; i < front + header_size + size; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    ip[0] = (uint8_t)(0x40 + header_size / 4);
    vdp_store_be16(ip + VDP_IPV4_TOTAL, (uint16_t)(header_size + size));
    vdp_store_be16(ip + VDP_IPV4_FRAGMENT, 0);
    memset(ip + VDP_IPV4_SIZE, 1, header_size - VDP_IPV4_SIZE);
    return front + header_size + size;
}

/* What left must be the packet in fragments of at most `most` bytes; how many. */
static uint32_t expect_fragments(const struct bench *bench, const uint8_t *bytes, uint32_t front,
                                 uint32_t header_size, uint32_t size, uint32_t most)
{
    static uint8_t got[MOST_SIZE];
    uint32_t done = 0, count = 0;

    for (; done < size; count++) {
        int length = vdp_memory_collect(bench->engine, bench->out, got, sizeof got, NULL, NULL);
        const uint8_t *ip = got + front;
        assert_true(length > (int)(front + header_size));
        uint32_t piece = (uint32_t)length - front - header_size;
        bool last = done + piece == size;
        assert_true(header_size + piece <= most);
        assert_true(last || (piece % 8 == 0 && header_size + piece + 8 > most));
        assert_memory_equal(got, bytes, front);
        assert_int_equal(vdp_load_be16(ip + VDP_IPV4_TOTAL), header_size + piece);
        assert_int_equal(vdp_load_be16(ip + VDP_IPV4_FRAGMENT), done / 8 | (last ? 0u : 0x2000u));
        assert_int_equal(plain_sum(ip, header_size), 0xffff);
        assert_int_equal(ip[0], bytes[front]);
        assert_memory_equal(ip + VDP_IPV4_ID, bytes + front + VDP_IPV4_ID, 2);
        assert_memory_equal(ip + VDP_IPV4_TTL, bytes + front + VDP_IPV4_TTL, 2);
        assert_memory_equal(ip + VDP_IPV4_ADDRESSES, bytes + front + VDP_IPV4_ADDRESSES, header_size - 12);
        assert_memory_equal(ip + header_size, bytes + front + header_size + done, piece);
        done += piece;
    }
    expect_nothing(bench->engine, bench->out);
    return count;
}

static void test_packets_of_all_sizes_are_cut(void **state)
{
    (void)state;
    struct bench bench = bench_new(256);
    static uint8_t bytes[MOST_SIZE];
    uint64_t seed = 5;

    for (uint32_t round = 0; round < 4000; round++) {
        uint32_t front = draw(&seed, 2) ? draw(&seed, 300) : 14, header_size = 20 + 4 * draw(&seed, 11);
        uint32_t most = header_size + 8 + draw(&seed, 200);
        uint32_t size = most - header_size + 1 + draw(&seed, 1200);
        uint32_t length = write_packet(bytes, front, header_size, size);
        run(&bench, front, most, bytes, length + draw(&seed, 3));
        (void)expect_fragments(&bench, bytes, front, header_size, size, most);
    }
    bench_free(&bench);
}

static void test_the_largest_packet_is_cut(void **state)
{
    (void)state;
    struct bench bench = bench_new(9000);
    static uint8_t bytes[MOST_SIZE];
    uint32_t size = VDP_IP_MAX - VDP_IPV4_SIZE;
    uint32_t length = write_packet(bytes, VDP_MAX_LENGTH - VDP_IP_MAX, VDP_IPV4_SIZE, size);
    const struct vdp_port_config config = {.name = "wide", .type = VDP_PORT_MEMORY, .tx_queue = 9000};

    assert_int_equal(length, VDP_MAX_LENGTH);
    bench.out = (uint32_t)vdp_port_add(bench.engine, &config);
    run(&bench, VDP_MAX_LENGTH - VDP_IP_MAX, 28, bytes, length);
    assert_int_equal(expect_fragments(&bench, bytes, length - VDP_IP_MAX, 20, size, 28), (size + 7) / 8);
    run(&bench, VDP_MAX_LENGTH - VDP_IP_MAX, VDP_IP_MAX - 1, bytes, length);
    assert_int_equal(expect_fragments(&bench, bytes, length - VDP_IP_MAX, 20, size, VDP_IP_MAX - 1), 2);
    run(&bench, VDP_MAX_LENGTH - VDP_IP_MAX, VDP_IP_MAX, bytes, length);
    expect_packet(bench.engine, bench.out, bytes, length);
    bench_free(&bench);
}

static void test_fragments_without_a_buffer_are_counted_each(void **state)
{
    (void)state;
    struct bench bench = bench_new(8);
    static uint8_t bytes[MOST_SIZE], got[MOST_SIZE];
    uint32_t length = write_packet(bytes, 14, 20, 2000), sent = 0;
    int last = 0, size;

    run(&bench, 14, 120, bytes, length); /* 20 fragments: what leaves stays in the pool until collected */
    while ((size = vdp_memory_collect(bench.engine, bench.out, got, sizeof got, NULL, NULL)) >= 0) {
        last = size;
        sent++;
    }
    struct vdp_port_stats stats = stats_of(bench.engine, bench.in);
    assert_true(sent > 1 && sent < 20);
    assert_int_equal(stats.segmented, 20);
    assert_int_equal(stats.forwarded, sent);
    assert_int_equal(drops_of(bench.engine, bench.in, VDP_REASON_no_buffer), 21 - sent);
    assert_int_equal(last, 14 + 20 + 2000 % 96); /* the packet's own buffer */
    assert_memory_equal(got + 34, bytes + 34 + 1920, 80);
    bench_free(&bench);
}

static void test_headers_fit_in_front_of_every_fragment(void **state)
{
    (void)state;
    struct bench bench = bench_new(64);
    static uint8_t bytes[MOST_SIZE], got[MOST_SIZE];
    uint8_t blob[VDP_HEADROOM];
    uint32_t length = write_packet(bytes, 0, 20, 100);
    struct vdp_action actions[] = {{VDP_OP_FRAGMENT, 0, 68, 0, 3}, {VDP_OP_PUSH, 0, VDP_HEADROOM, 0, 0},
                                   {VDP_OP_OUTPUT, 0, bench.out, 0, 0}, {VDP_OP_DROP, 0, 1, 0, 0}};

    memset(blob, 'h', sizeof blob);
    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, bytes, length, NULL,
                                        PROGRAM_OF(actions, blob)), 0);
    const int sizes[] = {68, 68, 24};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(vdp_memory_collect(bench.engine, bench.out, got, sizeof got, NULL, NULL),
                         VDP_HEADROOM + sizes[i]);
        assert_memory_equal(got, blob, sizeof blob);
        assert_memory_equal(got + VDP_HEADROOM + 20, bytes + 20 + i * 48, (size_t)sizes[i] - 20);
    }
    bench_free(&bench);
}

static void append(void *context, struct vdp_packet *fragment)
{
    vdp_list_append(context, fragment);
}

static void test_marks_do_not_outlive_a_cut(void **state)
{
    (void)state;
    struct bench bench = bench_new(64);
    struct vdp_worker *worker = &bench.engine->workers[0];
    struct vdp_packet *packet = vdp_packet_alloc(worker);
    struct vdp_fragments fragments;

    assert_non_null(packet);
    packet->length = write_packet(packet->data, 0, 20, 100);
    packet->csum_valid = true;
    assert_int_equal(vdp_fragment_plan(packet, 0, 120, &fragments), VDP_REASON_none);
    assert_int_equal(fragments.count, 1);
    assert_int_equal(vdp_fragment_plan(packet, 0, 68, &fragments), VDP_REASON_none);
    assert_int_equal(fragments.count, 3);
    struct vdp_packet_list list = {0};
    assert_int_equal(vdp_fragment(worker, packet, &fragments, append, &list), VDP_REASON_none);
    for (uint32_t i = 0; i < 3; i++) {
        struct vdp_packet *fragment = vdp_list_take(&list);
        assert_false(fragment->csum_valid); /* of no fragment can it be said */
        assert_int_equal(fragment->segments, 1);
        vdp_packet_free(worker, fragment);
    }
    assert_null(vdp_list_take(&list));
    bench_free(&bench);
}

/* Drops what comes but for `kept`; counts. */
struct sink {
    struct vdp_worker *worker;
    const struct vdp_packet *kept;
    uint32_t count, size;
};

static void swallow(void *context, struct vdp_packet *fragment)
{
    struct sink *sink = context;

    sink->count++;
    sink->size += fragment->length;
    if (fragment != sink->kept)
        vdp_packet_free(sink->worker, fragment);
}

/* Headers and options at random, in a buffer no longer than the packet: ASan sees every
 * byte that is read or written beyond. */
static void test_hostile_headers_do_no_harm(void **state)
{
    (void)state;
    struct bench bench = bench_new(16);
    static uint8_t bytes[MOST_SIZE];
    uint32_t reasons[VDP_MAX_REASONS] = {0}, forbidden = 0, cut = 0;
    uint64_t seed = 9;

    for (uint32_t round = 0; round < 100000; round++) {
        uint32_t front = draw(&seed, 2) * 14, header_size = 20 + 4 * draw(&seed, 11);
        uint32_t length = write_packet(bytes, front, header_size, draw(&seed, 200));
        for (uint32_t i = 20; i < header_size; i++)
            bytes[front + i] = (uint8_t)draw(&seed, draw(&seed, 2) ? 12 : 256);
        for (uint32_t i = draw(&seed, 3); i > 0; i--)
            bytes[front + draw(&seed, 8)] = (uint8_t)draw(&seed, 256);
        length -= draw(&seed, 4) ? 0 : draw(&seed, length);
        uint8_t *buffer = malloc(length);
        assert_non_null(buffer);
        memcpy(buffer, bytes, length);
        struct vdp_packet packet = {.buffer = buffer, .data = buffer, .length = length, .segments = 1,
                                    .needs_csum = draw(&seed, 2), .csum_start = draw(&seed, 120),
                                    .csum_offset = (uint16_t)draw(&seed, 40)};
        struct vdp_fragments fragments;
        struct sink sink = {.worker = &bench.engine->workers[0], .kept = &packet};
        uint32_t reason = vdp_fragment_plan(&packet, front, 28 + draw(&seed, 100), &fragments);
        if (reason == VDP_REASON_none && fragments.count > 1) {
            reason = vdp_fragment(sink.worker, &packet, &fragments, swallow, &sink);
            assert_int_equal(sink.count, reason == VDP_REASON_none ? fragments.count : 0);
            if (reason == VDP_REASON_none)
                assert_int_equal(sink.size, fragments.end + (sink.count - 1) * fragments.payload);
            cut += sink.count > 0;
        }
        forbidden += reason == VDP_REASON_none && fragments.count == 0;
        reasons[reason]++;
        free(buffer);
    }
    const uint32_t seen[] = {VDP_REASON_none, VDP_REASON_ip_header, VDP_REASON_parse_bad_length,
                             VDP_REASON_mtu_exceeded, VDP_REASON_vnet_hdr_invalid};
    for (uint32_t i = 0; i < COUNT_OF(seen); i++)
        assert_true(reasons[seen[i]] > 100);
    assert_true(cut > 10000 && forbidden > 1000);
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets_of_all_sizes_are_cut),
        cmocka_unit_test(test_the_largest_packet_is_cut),
        cmocka_unit_test(test_fragments_without_a_buffer_are_counted_each),
        cmocka_unit_test(test_headers_fit_in_front_of_every_fragment),
        cmocka_unit_test(test_marks_do_not_outlive_a_cut),
        cmocka_unit_test(test_hostile_headers_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
