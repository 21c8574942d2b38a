/* execute.c: each action at the edges of a packet. */
#include "harness.h"

/* An engine with an in-port and an out-port, and what a program makes of a packet. */
struct bench {
    struct vdp_engine *engine;
    uint32_t in, out;
};

/* Drops by reason that the bench in use has told of. */
static uint64_t drops_before[VDP_MAX_REASONS];

static struct bench bench_new(void)
{
    memset(drops_before, 0, sizeof drops_before);
    struct bench bench = {.engine = engine_with((struct vdp_engine_config){0})};

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

/* `action`, then OUTPUT; its else is a DROP as policy_rule. */
static void run(const struct bench *bench, struct vdp_action action, const uint8_t *blob,
                uint32_t blob_size, const void *bytes, uint32_t length)
{
    struct vdp_action actions[] = {action, {VDP_OP_OUTPUT, 0, bench->out, 0, 0},
                                   {VDP_OP_DROP, 0, VDP_REASON_policy_rule, 0, 0}};
    struct vdp_program program = {actions, 3, blob, blob_size};

    assert_int_equal(
        vdp_packet_execute(bench->engine, 0, bench->in, bytes, length, NULL, &program), 0);
}

static void expect_drop(const struct bench *bench, uint32_t reason)
{
    expect_nothing(bench->engine, bench->out);
    assert_int_equal(drops_of(bench->engine, bench->in, reason), ++drops_before[reason]);
}

#define EXPECT(bench, bytes) expect_packet((bench)->engine, (bench)->out, bytes, sizeof(bytes) - 1)

static void test_pull_takes_up_to_the_whole_packet(void **state)
{
    (void)state;
    struct bench bench = bench_new();

    run(&bench, (struct vdp_action){VDP_OP_PULL, 0, 2, 0, 0}, NULL, 0, "abcd", 4);
    EXPECT(&bench, "cd");
    run(&bench, (struct vdp_action){VDP_OP_PULL, 0, 4, 0, 0}, NULL, 0, "abcd", 4);
    EXPECT(&bench, "");
    run(&bench, (struct vdp_action){VDP_OP_PULL, 0, 5, 0, 0}, NULL, 0, "abcd", 4);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    bench_free(&bench);
}

static void test_push_goes_up_to_the_largest_packet(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    static uint8_t large[VDP_MAX_LENGTH], expected[VDP_MAX_LENGTH];
    uint8_t blob[VDP_HEADROOM];

    memset(blob, 'h', sizeof blob);
    for (uint32_t i = 0; i < sizeof large; i++)
        large[i] = (uint8_t)(i * 7 + i / 256);
    run(&bench, (struct vdp_action){VDP_OP_PUSH, 0, 1, 0, 0}, blob, sizeof blob, large, VDP_MAX_LENGTH - 1);
    expected[0] = 'h';
    memcpy(expected + 1, large, VDP_MAX_LENGTH - 1);
    expect_packet(bench.engine, bench.out, expected, VDP_MAX_LENGTH);
    run(&bench, (struct vdp_action){VDP_OP_PUSH, 0, 1, 0, 0}, blob, sizeof blob, large, VDP_MAX_LENGTH);
    expect_drop(&bench, VDP_REASON_mtu_exceeded);

    /* Three times the headroom: the packet moves back each time. */
    struct vdp_action thrice[] = {{VDP_OP_PUSH, 0, VDP_HEADROOM, 0, 0}, {VDP_OP_PUSH, 0, VDP_HEADROOM, 0, 0},
                                  {VDP_OP_PUSH, 0, VDP_HEADROOM, 0, 0}, {VDP_OP_OUTPUT, 0, bench.out, 0, 0}};
    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, large, 60000, NULL, PROGRAM_OF(thrice, blob)), 0);
    memset(expected, 'h', 768);
    memcpy(expected + 768, large, 60000);
    expect_packet(bench.engine, bench.out, expected, 60768);
    bench_free(&bench);
}

static void test_an_unfinished_checksum_moves_with_its_packet(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    struct vdp_action program[] = {{VDP_OP_PUSH, 0, VDP_HEADROOM, 0, 0}, {VDP_OP_PUSH, 0, VDP_HEADROOM, 0, 0},
                                   {VDP_OP_PULL, 0, 2 * VDP_HEADROOM, 0, 0}, {VDP_OP_OUTPUT, 0, bench.out, 0, 0}};
    uint8_t blob[VDP_HEADROOM] = {0}, bytes[64] = {0}, got[64];
    struct vdp_offload offload = {.needs_csum = 1, .csum_start = 34, .csum_offset = 6}, seen;
    struct vdp_match match = match_all(bench.in);

    assert_int_equal(vdp_port_set_features(bench.engine, bench.out, VDP_F_CSUM), 0);
    assert_true(install(bench.engine, &match, PROGRAM_OF(program, blob)) >= 0);
    assert_int_equal(vdp_memory_inject(bench.engine, bench.in, bytes, 64, NULL, &offload), 0);
    poll_all(bench.engine);
    assert_int_equal(vdp_memory_collect(bench.engine, bench.out, got, 64, NULL, &seen), 64);
    assert_int_equal(seen.needs_csum, 1);
    assert_int_equal(seen.csum_start, 34);
    assert_int_equal(seen.csum_offset, 6);
    bench_free(&bench);
}

static void test_set_writes_masked_bits_and_adjusts_the_checksum(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint8_t blob[] = {0x0f, 0xff, 0xa5, 0x5a};

    run(&bench, (struct vdp_action){VDP_OP_SET, 2, 1, 0, UINT32_MAX}, blob, 4, "\x11\x22\x33", 3);
    EXPECT(&bench, "\x11\x25\x5a");
    run(&bench, (struct vdp_action){VDP_OP_SET, 2, 2, 0, UINT32_MAX}, blob, 4, "\x11\x22\x33", 3);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_SET, 2, 0, 0, 2}, blob, 4, "\x11\x22\x33", 3);
    expect_drop(&bench, VDP_REASON_parse_truncated);

    /* A good checksum stays good, at even and at odd distances. */
    for (uint32_t at = 2; at <= 6; at++) {
        uint8_t bytes[10] = {0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0}, got[10];
        uint32_t sum = 0;
        for (int i = 2; i < 10; i += 2)
            sum += vdp_load_be16(bytes + i);
        vdp_store_be16(bytes, (uint16_t)~((sum >> 16) + sum));
        struct vdp_action program[] = {{VDP_OP_SET, 2, at, 0, 0},
                                       {VDP_OP_REQUIRE_CHECKSUM, 0, 0, 0, 3},
                                       {VDP_OP_OUTPUT, 0, bench.out, 0, 0},
                                       {VDP_OP_DROP, 0, VDP_REASON_l4_checksum, 0, 0}};
        assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, bytes, 10, NULL, PROGRAM_OF(program, blob)), 0);
        assert_int_equal(vdp_memory_collect(bench.engine, bench.out, got, 10, NULL, NULL), 10);
        assert_memory_not_equal(got, bytes, 10);
    }
    bench_free(&bench);
}

static void test_copy_and_length_stay_inside(void **state)
{
    (void)state;
    struct bench bench = bench_new();

    run(&bench, (struct vdp_action){VDP_OP_COPY, 0xf0, 0, 2, 0}, NULL, 0, "\x12\x34\x56", 3);
    EXPECT(&bench, "\x52\x34\x56");
    run(&bench, (struct vdp_action){VDP_OP_COPY, 0xff, 3, 0, 0}, NULL, 0, "\x12\x34\x56", 3);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_COPY, 0xff, 0, 3, 0}, NULL, 0, "\x12\x34\x56", 3);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_LENGTH, 0, 1, 3, 0x100}, NULL, 0, "\x12\x34\x56", 3);
    EXPECT(&bench, "\x12\x01\x00");
    run(&bench, (struct vdp_action){VDP_OP_LENGTH, 0, 2, 0, 0}, NULL, 0, "\x12\x34\x56", 3);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_LENGTH, 0, 0, 4, 0}, NULL, 0, "\x12\x34\x56", 3);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_LENGTH, 0, 0, 0, (uint32_t)-4}, NULL, 0, "\x12\x34\x56", 3);
    expect_drop(&bench, VDP_REASON_mtu_exceeded);
    run(&bench, (struct vdp_action){VDP_OP_LENGTH, 0, 0, 0, 65533}, NULL, 0, "\x12\x34\x56", 3);
    expect_drop(&bench, VDP_REASON_mtu_exceeded);
    bench_free(&bench);
}

static void test_numbers_come_from_states(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint32_t id = (uint32_t)vdp_state_new(bench.engine, 0x1fffe), value;

    run(&bench, (struct vdp_action){VDP_OP_ID, 0, 1, id, 0}, NULL, 0, "abc", 3);
    EXPECT(&bench, "a\xff\xfe");
    run(&bench, (struct vdp_action){VDP_OP_SEQUENCE, 0, 0, id, 0}, NULL, 0, "abcd", 4);
    EXPECT(&bench, "\x00\x01\xff\xff");
    run(&bench, (struct vdp_action){VDP_OP_SEQUENCE, 0, 1, id, 0}, NULL, 0, "abcd", 4);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    assert_int_equal(vdp_state_read(bench.engine, id, &value), 0);
    assert_int_equal(value, 0x20000); /* a packet that was too short takes none */
    run(&bench, (struct vdp_action){VDP_OP_SEQUENCE, 0, 0, 9999999, 0}, NULL, 0, "abcd", 4);
    expect_drop(&bench, VDP_REASON_handler_error);
    assert_int_equal(vdp_state_free(bench.engine, id), 0);
    assert_int_equal(vdp_state_read(bench.engine, id, &value), -ENOENT);
    bench_free(&bench);
}

static void test_a_number_is_shown_and_stays(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint32_t id = (uint32_t)vdp_state_new(bench.engine, 7), value;

    run(&bench, (struct vdp_action){VDP_OP_STATE, 0, 1, id, 0}, NULL, 0, "abcde", 5);
    EXPECT(&bench, "a\0\0\0\7");
    run(&bench, (struct vdp_action){VDP_OP_STATE, 0, 0, id, (uint32_t)-8}, NULL, 0, "abcd", 4);
    EXPECT(&bench, "\xff\xff\xff\xff");
    run(&bench, (struct vdp_action){VDP_OP_STATE, 0, 1, id, 0}, NULL, 0, "abcd", 4);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_STATE, 0, 0, 9999999, 0}, NULL, 0, "abcd", 4);
    expect_drop(&bench, VDP_REASON_handler_error);
    assert_int_equal(vdp_state_read(bench.engine, id, &value), 0);
    assert_int_equal(value, 7);
    bench_free(&bench);
}

static void test_checksums_are_computed_and_required(void **state)
{
    (void)state;
    struct bench bench = bench_new();

    /* RFC 1071 section 3: 0001 f203 f4f5 f6f7 sums up to ddf2. */
    run(&bench, (struct vdp_action){VDP_OP_CHECKSUM, 0, 0, 2, 0}, NULL, 0,
        "zz\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 10);
    EXPECT(&bench, "\x22\x0d\x00\x01\xf2\x03\xf4\xf5\xf6\xf7");
    run(&bench, (struct vdp_action){VDP_OP_CHECKSUM, 0, 0, 0, 4}, NULL, 0, "zz\x12\x34", 4);
    EXPECT(&bench, "\xed\xcb\x12\x34"); /* the field counts as zero */
    run(&bench, (struct vdp_action){VDP_OP_CHECKSUM, 0, 0, 0, 5}, NULL, 0, "zz\x12\x34", 4);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_CHECKSUM, 0, 3, 0, 0}, NULL, 0, "zz\x12\x34", 4);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_REQUIRE_CHECKSUM, 0, 0, 0, 2}, NULL, 0, "\xed\xcb\x12\x34", 4);
    EXPECT(&bench, "\xed\xcb\x12\x34");
    run(&bench, (struct vdp_action){VDP_OP_REQUIRE_CHECKSUM, 0, 0, 0, 2}, NULL, 0, "\xed\xcb\x12\x35", 4);
    expect_drop(&bench, VDP_REASON_policy_rule);
    run(&bench, (struct vdp_action){VDP_OP_REQUIRE_CHECKSUM, 0, 5, 0, 2}, NULL, 0, "\xed\xcb\x12\x35", 4);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    bench_free(&bench);
}

static void test_trim_and_require_length(void **state)
{
    (void)state;
    struct bench bench = bench_new();

    run(&bench, (struct vdp_action){VDP_OP_TRIM, 0, 0, 1, 2}, NULL, 0, "\x00\x03" "abcd", 6);
    EXPECT(&bench, "\x00\x03" "ab");
    run(&bench, (struct vdp_action){VDP_OP_TRIM, 0, 0, 0, 2}, NULL, 0, "\x00\x07" "abcd", 6);
    expect_drop(&bench, VDP_REASON_policy_rule);
    run(&bench, (struct vdp_action){VDP_OP_TRIM, 0, 0, (uint32_t)-8, 2}, NULL, 0, "\x00\x07" "abcd", 6);
    expect_drop(&bench, VDP_REASON_policy_rule);
    run(&bench, (struct vdp_action){VDP_OP_TRIM, 0, 5, 0, 2}, NULL, 0, "\x00\x07" "abcd", 6);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_REQUIRE_LENGTH, 0, 3, 3, 2}, NULL, 0, "abc", 3);
    EXPECT(&bench, "abc");
    run(&bench, (struct vdp_action){VDP_OP_REQUIRE_LENGTH, 0, 4, 9, 2}, NULL, 0, "abc", 3);
    expect_drop(&bench, VDP_REASON_policy_rule);
    run(&bench, (struct vdp_action){VDP_OP_REQUIRE_LENGTH, 1, 0, 2, 2}, NULL, 0, "abc", 3);
    expect_drop(&bench, VDP_REASON_policy_rule);
    bench_free(&bench);
}

/* One packet with this sequence number: does it pass? */
static bool passes(const struct bench *bench, uint16_t explicit_, uint32_t id, uint32_t number)
{
    uint8_t bytes[4], got[4];

    vdp_store_be32(bytes, number);
    run(bench, (struct vdp_action){VDP_OP_REQUIRE_SEQUENCE, explicit_, 0, id, 2}, NULL, 0, bytes, 4);
    return vdp_memory_collect(bench->engine, bench->out, got, 4, NULL, NULL) == 4;
}

static void test_old_sequence_numbers_do_not_pass(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint32_t id = (uint32_t)vdp_state_new(bench.engine, 0);

    assert_true(passes(&bench, 0, id, 0xfffffffe)); /* zero: nothing came in yet */
    assert_false(passes(&bench, 0, id, 0xfffffffe));
    assert_true(passes(&bench, 0, id, 0xffffffff));  /* the state is zero again */
    assert_true(passes(&bench, 0, id, 0x80000001)); /* so anything passes (Linux) */
    assert_int_equal(vdp_state_write(bench.engine, id, 7), 0);
    assert_true(passes(&bench, 1, id, 0xfffffff0)); /* explicit: the first, whatever 7 says */
    assert_true(passes(&bench, 1, id, 0xffffffff)); /* a gap is no harm */
    assert_false(passes(&bench, 1, id, 0x80000001)); /* nor is zero an excuse any more */
    assert_true(passes(&bench, 1, id, 5));
    assert_false(passes(&bench, 1, id, 5));
    assert_true(passes(&bench, 1, id, 6));
    bench_free(&bench);
}

static void test_ttl_is_decremented_down_to_one(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint8_t v4[20] = {0x45, 0, 0, 20, 0, 0, 0, 0, 2, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
    uint8_t v6[40] = {0x60, 0, 0, 0, 0, 0, 59, 2}, got[40];

    struct vdp_action program[] = {{VDP_OP_CHECKSUM, 0, 10, 0, 20},       {VDP_OP_TTL, 4, 0, 0, 4},
                                   {VDP_OP_REQUIRE_CHECKSUM, 0, 0, 20, 4}, {VDP_OP_OUTPUT, 0, bench.out, 0, 0},
                                   {VDP_OP_DROP, 0, VDP_REASON_ttl_expired, 0, 0}};
    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, v4, 20, NULL, PROGRAM(program)), 0);
    assert_int_equal(vdp_memory_collect(bench.engine, bench.out, got, 40, NULL, NULL), 20);
    assert_int_equal(got[8], 1);
    run(&bench, (struct vdp_action){VDP_OP_TTL, 4, 0, 0, 2}, NULL, 0, got, 20);
    expect_drop(&bench, VDP_REASON_policy_rule);
    run(&bench, (struct vdp_action){VDP_OP_TTL, 4, 1, 0, 2}, NULL, 0, v4, 20);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    run(&bench, (struct vdp_action){VDP_OP_TTL, 6, 0, 0, 2}, NULL, 0, v6, 40);
    v6[7] = 1;
    expect_packet(bench.engine, bench.out, v6, 40);
    run(&bench, (struct vdp_action){VDP_OP_TTL, 6, 0, 0, 2}, NULL, 0, v6, 40);
    expect_drop(&bench, VDP_REASON_policy_rule);
    run(&bench, (struct vdp_action){VDP_OP_TTL, 6, 0, 0, 2}, NULL, 0, v6, 39);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    bench_free(&bench);
}

static void test_counters_count_what_passes_by(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint32_t counter = (uint32_t)vdp_counter_new(bench.engine);
    struct vdp_count count;

    run(&bench, (struct vdp_action){VDP_OP_COUNT, 0, counter, 0, 0}, NULL, 0, "abc", 3);
    EXPECT(&bench, "abc");
    run(&bench, (struct vdp_action){VDP_OP_COUNT, 0, counter, (uint32_t)-2, 0}, NULL, 0, "abc", 3);
    EXPECT(&bench, "abc");
    assert_int_equal(vdp_counter_read(bench.engine, counter, &count), 0);
    assert_int_equal(count.packets, 2);
    assert_int_equal(count.bytes, 4);
    run(&bench, (struct vdp_action){VDP_OP_COUNT, 0, 123456789, 0, 0}, NULL, 0, "abc", 3);
    EXPECT(&bench, "abc"); /* counted nowhere */
    assert_int_equal(vdp_counter_free(bench.engine, counter), 0);
    assert_int_equal(vdp_counter_free(bench.engine, counter), -ENOENT);
    assert_int_equal(vdp_counter_new(bench.engine), (int)counter);
    assert_int_equal(vdp_counter_read(bench.engine, counter, &count), 0);
    assert_int_equal(count.packets, 0); /* the new owner begins at nothing */
    bench_free(&bench);
}

static void test_metadata_is_set_and_loaded(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint8_t got[8], meta[VDP_META_SIZE];
    struct vdp_action program[] = {{VDP_OP_META, 7, 0x01020304, 0, 0},
                                   {VDP_OP_META_LOAD, 2, 1, 0xff00ffff, 0},
                                   {VDP_OP_OUTPUT, 0, bench.out, 0, 0}};

    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, (const uint8_t *)"abcde", 5, NULL, PROGRAM(program)), 0);
    assert_int_equal(vdp_memory_collect(bench.engine, bench.out, got, 8, meta, NULL), 5);
    assert_memory_equal(meta + 8, "b\0de", 4);
    assert_memory_equal(meta + 28, "\1\2\3\4", 4);
    run(&bench, (struct vdp_action){VDP_OP_META_LOAD, 2, 2, UINT32_MAX, 0}, NULL, 0, "abcde", 5);
    expect_drop(&bench, VDP_REASON_parse_truncated);
    bench_free(&bench);
}

static void test_a_copy_runs_first_and_changes_nothing_of_the_original(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    struct vdp_action program[] = {{VDP_OP_CLONE, 0, 2, 0, 0}, {VDP_OP_OUTPUT, 0, bench.out, 0, 0},
                                   {VDP_OP_SET, 1, 0, 0, UINT32_MAX}, {VDP_OP_OUTPUT, 0, bench.out, 0, 0}};
    uint8_t blob[] = {0xff, 'z'};

    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, (const uint8_t *)"abc", 3, NULL, PROGRAM_OF(program, blob)), 0);
    EXPECT(&bench, "zbc");
    EXPECT(&bench, "abc");
    assert_int_equal(stats_of(bench.engine, bench.in).cloned, 1);
    bench_free(&bench);
}

static void test_outputs_that_cannot_be(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint32_t l3 = add_port(bench.engine, VDP_PORT_MEMORY, VDP_L3);
    struct vdp_action to_l3[] = {{VDP_OP_OUTPUT, 0, l3, 0, 0}}, nowhere[] = {{VDP_OP_OUTPUT, 0, 4711, 0, 0}},
                      out[] = {{VDP_OP_OUTPUT, 0, bench.out, 0, 0}};
    const uint8_t *x = (const uint8_t *)"x";

    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, x, 1, NULL, PROGRAM(nowhere)), 0);
    expect_drop(&bench, VDP_REASON_no_port);
    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, x, 1, NULL, PROGRAM(to_l3)), 0);
    assert_int_equal(drops_of(bench.engine, l3, VDP_REASON_packet_type), 1);
    assert_int_equal(stats_of(bench.engine, l3).tx_dropped, 1);
    assert_int_equal(vdp_port_set_up(bench.engine, bench.out, 0), 0);
    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, x, 1, NULL, PROGRAM(out)), 0);
    assert_int_equal(drops_of(bench.engine, bench.out, VDP_REASON_port_down), 1);
    assert_int_equal(vdp_packet_execute(bench.engine, 0, 4711, x, 1, NULL, PROGRAM(out)), -ENODEV);
    check_books(bench.engine, l3, false);
    bench_free(&bench);
}

static void test_cells_that_feed_each_other_end(void **state)
{
    (void)state;
    struct bench bench = bench_new();
    uint32_t one = add_port(bench.engine, VDP_PORT_CELL, VDP_L2), other = add_port(bench.engine, VDP_PORT_CELL, VDP_L2);
    struct vdp_action to_one[] = {{VDP_OP_OUTPUT, 0, one, 0, 0}}, to_other[] = {{VDP_OP_OUTPUT, 0, other, 0, 0}};
    struct vdp_match from_one = match_all(one), from_other = match_all(other);

    assert_true(install(bench.engine, &from_one, PROGRAM(to_other)) >= 0);
    assert_true(install(bench.engine, &from_other, PROGRAM(to_one)) >= 0);
    assert_int_equal(vdp_packet_execute(bench.engine, 0, bench.in, (const uint8_t *)"x", 1, NULL, PROGRAM(to_one)), 0);
    poll_all(bench.engine);
    assert_int_equal(stats_of(bench.engine, one).rx_packets + stats_of(bench.engine, other).rx_packets, VDP_MAX_DEPTH);
    assert_int_equal(drops_of(bench.engine, other, VDP_REASON_loop_guard), 1);
    check_books(bench.engine, one, true);
    check_books(bench.engine, other, true);
    bench_free(&bench);
}

static void test_an_empty_pool_loses_packets_under_their_name(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.packets = 8, .upcall_queue = 100});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    struct vdp_port_config slow = {.name = "slow", .type = VDP_PORT_MEMORY, .tx_queue = 3};
    uint32_t full = (uint32_t)vdp_port_add(engine, &slow);
    struct vdp_action fan[20], to_full[] = {{VDP_OP_OUTPUT, 0, full, 0, 0}};
    struct vdp_match match = match_first(in, 'f'), clones = match_first(in, 'c');

    for (uint32_t i = 0; i < 18; i++)
        fan[i] = (struct vdp_action){VDP_OP_CLONE, 0, 19, 0, 0};
    fan[18] = fan[19] = (struct vdp_action){VDP_OP_OUTPUT, 0, out, 0, 0};
    assert_true(install(engine, &match, PROGRAM(to_full)) >= 0);
    assert_true(install(engine, &clones, PROGRAM(fan)) >= 0);
    for (int i = 0; i < 9; i++) /* 3 sent, 3 queued, 3 too many */
        inject(engine, in, "f", 1);
    inject(engine, in, "m", 1); /* misses hold up to half of 8 */
    inject(engine, in, "m", 1);
    inject(engine, in, "c", 1);
    inject(engine, in, "n", 1);
    inject(engine, in, "n", 1);
    poll_all(engine);
    assert_int_equal(drops_of(engine, full, VDP_REASON_tx_queue_full), 3);
    assert_true(drops_of(engine, in, VDP_REASON_no_buffer) >= 18);
    check_books(engine, in, false);
    check_books(engine, out, false);
    check_books(engine, full, false);
    /* Room again, and the queued ones leave. */
    for (int i = 0; i < 6; i++) {
        expect_packet(engine, full, "f", 1);
        poll_all(engine);
    }
    assert_int_equal(vdp_port_remove(engine, in), 0);
    assert_int_equal(packets_in_use(engine), 0);
    vdp_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pull_takes_up_to_the_whole_packet),
        cmocka_unit_test(test_push_goes_up_to_the_largest_packet),
        cmocka_unit_test(test_an_unfinished_checksum_moves_with_its_packet),
        cmocka_unit_test(test_set_writes_masked_bits_and_adjusts_the_checksum),
        cmocka_unit_test(test_copy_and_length_stay_inside),
        cmocka_unit_test(test_numbers_come_from_states),
        cmocka_unit_test(test_a_number_is_shown_and_stays),
        cmocka_unit_test(test_checksums_are_computed_and_required),
        cmocka_unit_test(test_trim_and_require_length),
        cmocka_unit_test(test_old_sequence_numbers_do_not_pass),
        cmocka_unit_test(test_ttl_is_decremented_down_to_one),
        cmocka_unit_test(test_counters_count_what_passes_by),
        cmocka_unit_test(test_metadata_is_set_and_loaded),
        cmocka_unit_test(test_a_copy_runs_first_and_changes_nothing_of_the_original),
        cmocka_unit_test(test_outputs_that_cannot_be),
        cmocka_unit_test(test_cells_that_feed_each_other_end),
        cmocka_unit_test(test_an_empty_pool_loses_packets_under_their_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
