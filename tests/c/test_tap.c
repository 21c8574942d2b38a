/* tap.c, filter.c: what is shown where, what a full ring loses, which programs are filters. */
#include "harness.h"

#include "../../vdp/engine/tap.h"

enum { READ_SIZE = 1 << 18 };

struct seen {
    uint32_t count;
    struct vdp_tap_record records[512];
    const uint8_t *bytes[512];
    uint8_t memory[READ_SIZE];
};

static struct seen *look(struct vdp_engine *engine, uint32_t tap)
{
    static struct seen seen;
    int size = vdp_tap_read(engine, tap, 0, seen.memory, READ_SIZE);

    assert_true(size >= 0);
    seen.count = 0;
    for (uint32_t at = 0; at < (uint32_t)size; seen.count++) {
        struct vdp_tap_record *record = &seen.records[seen.count];
        assert_true(seen.count < COUNT_OF(seen.records));
        memcpy(record, seen.memory + at, sizeof *record);
        seen.bytes[seen.count] = seen.memory + at + sizeof *record;
        at += (uint32_t)sizeof *record + (record->captured + 7) / 8 * 8;
    }
    return &seen;
}

static uint32_t open_tap(struct vdp_engine *engine, struct vdp_tap_config config)
{
    if (!config.snap)
        config.snap = VDP_MAX_LENGTH;
    int tap = vdp_tap_open(engine, &config);

    assert_true(tap > 0);
    return (uint32_t)tap;
}

/* `in` goes through a cell to `out`, accounted for as if a link sent it; 'd' is dropped. */
struct way {
    struct vdp_engine *engine;
    uint32_t in, cell, out, counter;
};

static struct way way_with(struct vdp_engine_config config)
{
    struct vdp_engine *engine = engine_with(config);
    struct way way = {engine, memory_port(engine), add_port(engine, VDP_PORT_CELL, VDP_L2),
                      memory_port(engine), (uint32_t)vdp_counter_new(engine)};
    struct vdp_action into_cell[] = {{VDP_OP_OUTPUT, 0, way.cell, 0, 0}};
    struct vdp_action out[] = {{VDP_OP_ACCOUNT, 0, way.counter, 0, 0},
                               {VDP_OP_PUSH, 0, 2, 0, 0},
                               {VDP_OP_OUTPUT, 0, way.out, 0, 0}};
    struct vdp_action drop[] = {{VDP_OP_DROP, 0, VDP_REASON_policy_rule, 0, 0}};
    struct vdp_match good = match_first(way.in, 'g'), bad = match_first(way.in, 'd'),
                     inner = match_all(way.cell);

    assert_true(install(engine, &good, PROGRAM(into_cell)) > 0);
    assert_true(install(engine, &bad, PROGRAM(drop)) > 0);
    const uint8_t blob[] = {'o', 'o'};
    assert_true(install(engine, &inner, PROGRAM_OF(out, blob)) > 0);
    return way;
}

static void test_a_packet_is_seen_at_each_point_under_one_number(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    uint32_t tap = open_tap(way.engine, (struct vdp_tap_config){.points = VDP_TAP_ALL});
    static const uint32_t points[] = {VDP_TAP_RX, VDP_TAP_DECAP, VDP_TAP_ENCAP, VDP_TAP_TX};

    inject(way.engine, way.in, "good", 4);
    poll_all(way.engine);
    struct seen *seen = look(way.engine, tap);
    assert_int_equal(seen->count, 4);
    const uint32_t ports[] = {way.in, way.cell, way.cell, way.out};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(seen->records[i].point, points[i]);
        assert_int_equal(seen->records[i].port, ports[i]);
        assert_int_equal(seen->records[i].packet, seen->records[0].packet);
        assert_memory_equal(seen->bytes[i], i < 3 ? "good" : "oogood", i < 3 ? 4 : 6);
    }
    assert_int_equal(seen->records[3].counter, way.counter);
    assert_int_equal(seen->records[0].flow, 0);
    assert_true(seen->records[3].flow != seen->records[1].flow);
    assert_true(seen->records[0].time_ns > 0);
    assert_int_equal(vdp_tap_close(way.engine, tap), 0);
    assert_int_equal(vdp_tap_close(way.engine, tap), -ENOENT);
    vdp_engine_free(way.engine);
}

static void test_what_is_lost_is_seen_with_its_reason(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    uint32_t drops = open_tap(way.engine, (struct vdp_tap_config){.points = VDP_TAP_DROP});
    struct vdp_tap_config other = {.points = VDP_TAP_DROP, .reasons = {1u << VDP_REASON_no_port, 0}};
    uint32_t none = open_tap(way.engine, other);
    struct vdp_offload wrong = {.needs_csum = 1, .csum_start = 900};

    inject(way.engine, way.in, "dropped", 7);
    assert_int_equal(vdp_memory_inject(way.engine, way.in, (const uint8_t *)"gx", 2, NULL, &wrong), 0);
    poll_all(way.engine);
    struct seen *seen = look(way.engine, drops);
    assert_int_equal(seen->count, 2);
    assert_int_equal(seen->records[0].reason, VDP_REASON_vnet_hdr_invalid); /* at once */
    assert_int_equal(seen->records[0].port, way.in);
    assert_int_equal(seen->records[1].reason, VDP_REASON_policy_rule);
    assert_memory_equal(seen->bytes[1], "dropped", 7);
    assert_int_equal(look(way.engine, none)->count, 0);
    vdp_engine_free(way.engine);
}

static void test_no_more_is_copied_than_was_asked_for(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    uint32_t tap = open_tap(way.engine, (struct vdp_tap_config){.points = VDP_TAP_RX, .snap = 3});

    inject(way.engine, way.in, "good", 4);
    inject(way.engine, way.in, "g", 1);
    poll_all(way.engine);
    struct seen *seen = look(way.engine, tap);
    assert_int_equal(seen->count, 2);
    assert_int_equal(seen->records[0].length, 4);
    assert_int_equal(seen->records[0].captured, 3);
    assert_memory_equal(seen->bytes[0], "goo", 3);
    assert_int_equal(seen->records[1].captured, 1);
    vdp_engine_free(way.engine);
}

static void test_followed_packets_are_chosen_where_they_come_in(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    struct vdp_tap_config config = {
        .points = VDP_TAP_ALL, .follow = 1, .most = 2, .port = way.in};
    uint32_t tap = open_tap(way.engine, config);

    inject(way.engine, way.out, "g", 1); /* by another port: a miss */
    for (int i = 0; i < 5; i++)
        inject(way.engine, way.in, "good", 4);
    poll_all(way.engine);
    struct seen *seen = look(way.engine, tap);
    assert_int_equal(seen->count, 2 * 4);
    for (uint32_t i = 1; i < seen->count; i++)
        assert_true(seen->records[i].packet - seen->records[0].packet <= 1);
    vdp_engine_free(way.engine);
}

/* tcpdump -d: ldb [1]; jeq #'x' jt 2 jf 3; ret #65535; ret #0 */
static const struct vdp_tap_instruction SECOND_IS_X[] = {
    {0x30, 0, 0, 1}, {0x15, 0, 1, 'x'}, {0x06, 0, 0, 65535}, {0x06, 0, 0, 0}};

/* One that waits for the slow path when its tap is closed, and another one is opened. */
static void test_who_comes_later_does_not_see_what_another_followed(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){.upcall_queue = 4});
    struct vdp_tap_config all = {.points = VDP_TAP_ALL, .follow = 1};
    struct vdp_tap_config some = {
        .points = VDP_TAP_ALL, .follow = 1, .filter = {SECOND_IS_X, NULL}, .filter_count = {4, 0}};
    uint32_t tap = open_tap(way.engine, all);
    struct vdp_upcall upcall;

    inject(way.engine, way.in, "miss", 4);
    poll_all(way.engine);
    assert_int_equal(look(way.engine, tap)->count, 2);
    assert_int_equal(vdp_upcall_take(way.engine, 0, &upcall, 1), 1);
    assert_int_equal(vdp_tap_close(way.engine, tap), 0);
    assert_int_equal(open_tap(way.engine, some), tap);
    struct vdp_resolution drop = {
        .token = upcall.token, .kind = VDP_RESOLVE_DROP, .reason = VDP_REASON_policy_rule};
    assert_int_equal(vdp_upcall_resolve(way.engine, 0, &drop, 1), 0);
    assert_int_equal(look(way.engine, tap)->count, 0);
    inject(way.engine, way.in, "gx", 2);
    poll_all(way.engine);
    assert_int_equal(look(way.engine, tap)->count, 4);
    vdp_engine_free(way.engine);
}

static void test_a_full_ring_loses_and_forwarding_does_not(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    uint32_t tap = open_tap(way.engine, (struct vdp_tap_config){.points = VDP_TAP_RX | VDP_TAP_TX});
    static uint8_t large[30000] = {'g'};
    struct vdp_tap_loss losses[8];
    const uint32_t sent = 64;

    for (uint32_t i = 0; i < sent; i++) {
        inject(way.engine, way.in, large, sizeof large);
        poll_all(way.engine);
    }
    assert_int_equal(stats_of(way.engine, way.out).tx_packets, sent);
    assert_int_equal(vdp_tap_losses(way.engine, tap, 0, losses, 8), 2);
    struct seen *seen = look(way.engine, tap);
    assert_in_range(seen->count, 2, 5); /* what fits into 128 KiB */
    assert_int_equal(losses[0].packets + losses[1].packets + seen->count, 2 * sent);
    assert_int_equal(losses[0].point + losses[1].point, VDP_TAP_RX + VDP_TAP_TX);
    /* Round the ring's end, and all of it again. */
    for (uint32_t i = 0; i < 100; i++) {
        large[1] = (uint8_t)i;
        inject(way.engine, way.in, large, 20001);
        poll_all(way.engine);
        seen = look(way.engine, tap);
        assert_int_equal(seen->count, 2);
        assert_memory_equal(seen->bytes[0], large, 20001);
        assert_memory_equal(seen->bytes[1] + 2, large, 20001);
    }
    vdp_engine_free(way.engine);
}

static void test_so_many_taps_and_no_more(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    const struct vdp_tap_config config = {.points = VDP_TAP_RX};

    for (int i = 1; i <= VDP_MAX_TAPS; i++)
        assert_int_equal(vdp_tap_open(way.engine, &config), i);
    assert_int_equal(vdp_tap_open(way.engine, &config), -ENOSPC);
    assert_int_equal(vdp_tap_close(way.engine, 3), 0);
    inject(way.engine, way.in, "good", 4);
    poll_all(way.engine);
    assert_int_equal(vdp_tap_open(way.engine, &config), 3);
    assert_int_equal(look(way.engine, 3)->count, 0);
    assert_int_equal(look(way.engine, 4)->count, 1);
    assert_int_equal(vdp_tap_open(way.engine, &(struct vdp_tap_config){0}), -EINVAL);
    assert_int_equal(vdp_tap_read(way.engine, 9, 0, NULL, 0), -ENOENT);
    assert_int_equal(vdp_tap_read(way.engine, 3, 1, NULL, 0), -EINVAL);
    vdp_engine_free(way.engine);
}

static void test_a_filter_chooses_by_the_bytes(void **state)
{
    (void)state;
    struct way way = way_with((struct vdp_engine_config){0});
    uint32_t tap = open_tap(way.engine, (struct vdp_tap_config){.points = VDP_TAP_RX,
                                                                .filter = {SECOND_IS_X, NULL},
                                                                .filter_count = {4, 0}});

    inject(way.engine, way.in, "gx", 2);
    inject(way.engine, way.in, "gy", 2);
    inject(way.engine, way.in, "g", 1); /* the load leads past its end */
    poll_all(way.engine);
    struct seen *seen = look(way.engine, tap);
    assert_int_equal(seen->count, 1);
    assert_memory_equal(seen->bytes[0], "gx", 2);
    vdp_engine_free(way.engine);
}

static void test_filters_that_are_none(void **state)
{
    (void)state;
    const struct vdp_tap_instruction wrong[][2] = {
        {{0x05, 0, 0, 1}, {0x06, 0, 0, 0}},    /* a jump behind the end */
        {{0x15, 0, 1, 0}, {0x06, 0, 0, 0}},    /* the same, of one branch */
        {{0x30, 0, 0, 0}, {0x30, 0, 0, 0}},    /* no end */
        {{0x60, 0, 0, 16}, {0x06, 0, 0, 0}},   /* memory that there is none of */
        {{0x02, 0, 0, 16}, {0x06, 0, 0, 0}},
        {{0x34, 0, 0, 0}, {0x06, 0, 0, 0}},    /* divided by zero */
        {{0x64, 0, 0, 32}, {0x06, 0, 0, 0}},   /* shifted by 32 */
        {{0xa9, 0, 0, 0}, {0x06, 0, 0, 0}},    /* LDX MSH of a half word */
    };

    for (uint32_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(vdp_filter_check(wrong[i], 2), -EINVAL);
    assert_int_equal(vdp_filter_check(SECOND_IS_X, 4), 0);
    assert_int_equal(vdp_filter_check(SECOND_IS_X, VDP_MAX_FILTER + 1), -EINVAL);
}

/* Whatever program passes the check ends, and reads inside: under ASan and UBSan. */
static void test_any_program_that_is_taken_runs_in_bounds(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252u;
    uint32_t taken = 0;

    for (uint32_t round = 0; round < 200000; round++) {
        struct vdp_tap_instruction program[8];
        uint8_t *bytes = malloc(20);
        for (uint32_t i = 0; i < 8; i++)
            program[i] = (struct vdp_tap_instruction){(uint16_t)draw(&random, 0xb8),
                                                      (uint8_t)draw(&random, 4),
                                                      (uint8_t)draw(&random, 4), draw(&random, 24)};
        program[7].code = draw(&random, 2) ? 0x06 : 0x16;
        for (uint32_t i = 0; i < 20; i++)
            bytes[i] = (uint8_t)draw(&random, 256);
        if (vdp_filter_check(program, 8) == 0) {
            taken++;
            (void)vdp_filter_run(program, bytes, 20, 20);
        }
        free(bytes);
    }
    assert_true(taken > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packet_is_seen_at_each_point_under_one_number),
        cmocka_unit_test(test_what_is_lost_is_seen_with_its_reason),
        cmocka_unit_test(test_no_more_is_copied_than_was_asked_for),
        cmocka_unit_test(test_followed_packets_are_chosen_where_they_come_in),
        cmocka_unit_test(test_who_comes_later_does_not_see_what_another_followed),
        cmocka_unit_test(test_a_full_ring_loses_and_forwarding_does_not),
        cmocka_unit_test(test_so_many_taps_and_no_more),
        cmocka_unit_test(test_a_filter_chooses_by_the_bytes),
        cmocka_unit_test(test_filters_that_are_none),
        cmocka_unit_test(test_any_program_that_is_taken_runs_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
