/* upcall.c: fairness, order, bounds, tokens. */
#include "harness.h"

static const struct vdp_action DROP[] = {{VDP_OP_DROP, 0, 1, 0, 0}};

static struct vdp_upcall take_one(struct vdp_engine *engine)
{
    struct vdp_upcall upcall;

    assert_int_equal(vdp_upcall_take(engine, 0, &upcall, 1), 1);
    return upcall;
}

static int64_t resolve(struct vdp_engine *engine, struct vdp_resolution resolution)
{
    assert_int_equal(vdp_upcall_resolve(engine, 0, &resolution, 1), 0);
    return resolution.result;
}

static void test_ports_are_served_in_turn(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.packets = 512});
    uint32_t flood = memory_port(engine), quiet = memory_port(engine), third = memory_port(engine);
    struct vdp_upcall upcalls[8];

    for (int i = 0; i < 100; i++)
        inject(engine, flood, "f", 1);
    inject(engine, quiet, "q", 1);
    inject(engine, third, "t", 1);
    poll_all(engine);
    assert_int_equal(vdp_upcall_take(engine, 0, upcalls, 8), 8);
    uint32_t quiet_at = 8, third_at = 8;
    for (uint32_t i = 0; i < 8; i++) {
        quiet_at = upcalls[i].in_port == quiet ? i : quiet_at;
        third_at = upcalls[i].in_port == third ? i : third_at;
    }
    assert_true(quiet_at < 3);
    assert_true(third_at < 3);
    assert_int_equal(stats_of(engine, flood).held, 100);
    vdp_engine_free(engine);
}

static void test_waiting_packets_of_a_new_flow_run_in_order(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    struct vdp_action forward[] = {{VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_match match = match_first(in, 'a');
    struct vdp_upcall two[2];

    inject(engine, in, "a1", 2);
    inject(engine, in, "a2", 2);
    inject(engine, in, "b1", 2);
    inject(engine, in, "a3", 2);
    inject(engine, in, "a4", 2);
    poll_all(engine);
    assert_int_equal(vdp_upcall_take(engine, 0, two, 2), 2);
    struct vdp_resolution both[] = {
        {.token = two[0].token, .kind = VDP_RESOLVE_INSTALL, .match = &match, .program = *PROGRAM(forward)},
        {.token = two[1].token, .kind = VDP_RESOLVE_RETRY},
    };
    assert_int_equal(vdp_upcall_resolve(engine, 0, both, 2), 0);
    inject(engine, in, "a5", 2);
    poll_all(engine);
    for (char i = '1'; i <= '5'; i++)
        expect_packet(engine, out, (char[]){'a', i}, 2);
    struct vdp_upcall left = take_one(engine);
    assert_memory_equal(left.data, "b1", 2);
    assert_int_equal(stats_of(engine, in).held, 1);
    check_books(engine, in, false);
    vdp_engine_free(engine);
}

static void test_a_flow_installed_from_outside_runs_who_waits(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    struct vdp_action forward[] = {{VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_match match = match_all(in);

    inject(engine, in, "w", 1);
    poll_all(engine);
    assert_true(install(engine, &match, PROGRAM(forward)) >= 0);
    expect_packet(engine, out, "w", 1);
    assert_int_equal(packets_in_use(engine), 0);
    vdp_engine_free(engine);
}

static void test_a_second_miss_goes_back_in_line(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine);

    inject(engine, in, "1", 1);
    inject(engine, in, "2", 1);
    poll_all(engine);
    struct vdp_upcall first = take_one(engine);
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = first.token, .kind = VDP_RESOLVE_RETRY}), 0);
    assert_memory_equal(take_one(engine).data, "2", 1);
    assert_memory_equal(take_one(engine).data, "1", 1);
    assert_int_equal(stats_of(engine, in).held, 2);
    vdp_engine_free(engine);
}

static void test_a_wrong_token_does_nothing(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine);
    uint64_t seed = 3;

    inject(engine, in, "x", 1);
    poll_all(engine);
    struct vdp_upcall upcall = take_one(engine);
    for (int i = 0; i < 1000; i++) {
        uint64_t token = (uint64_t)draw(&seed, 4) << 32 | draw(&seed, 300);
        if (token != upcall.token)
            assert_int_equal(resolve(engine, (struct vdp_resolution){.token = token, .kind = VDP_RESOLVE_CONSUME}), -EINVAL);
    }
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = upcall.token, .kind = 5}), -EINVAL);
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = upcall.token, .kind = VDP_RESOLVE_CONSUME}), 0);
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = upcall.token, .kind = VDP_RESOLVE_CONSUME}), -EINVAL);
    assert_int_equal(stats_of(engine, in).consumed, 1);
    assert_int_equal(packets_in_use(engine), 0);
    vdp_engine_free(engine);
}

static void test_a_failed_install_still_settles_the_packet(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.flows = 1});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    struct vdp_action forward[] = {{VDP_OP_OUTPUT, 0, out, 0, 0}}, bad[] = {{VDP_OP_PULL, 0, 1, 0, 0}};
    struct vdp_match full = match_first(in, '-'), match = match_first(in, 'x');

    assert_true(install(engine, &full, PROGRAM(DROP)) >= 0);
    inject(engine, in, "x", 1);
    inject(engine, in, "x", 1);
    inject(engine, in, "x", 1);
    poll_all(engine);
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = take_one(engine).token,
        .kind = VDP_RESOLVE_INSTALL, .match = &match, .program = *PROGRAM(forward)}), -ENOSPC);
    expect_packet(engine, out, "x", 1);
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = take_one(engine).token,
        .kind = VDP_RESOLVE_INSTALL, .match = &match, .program = *PROGRAM(bad)}), -EINVAL);
    assert_int_equal(resolve(engine, (struct vdp_resolution){.token = take_one(engine).token,
        .kind = VDP_RESOLVE_INSTALL, .program = *PROGRAM(forward)}), -EINVAL);
    assert_int_equal(drops_of(engine, in, VDP_REASON_handler_error), 2);
    check_books(engine, in, false);
    assert_int_equal(packets_in_use(engine), 0);
    vdp_engine_free(engine);
}

static void test_the_line_of_a_port_is_bounded(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.upcall_queue = 10});
    uint32_t in = memory_port(engine);

    for (int i = 0; i < 25; i++)
        inject(engine, in, "x", 1);
    poll_all(engine);
    assert_int_equal(stats_of(engine, in).held, 10);
    assert_int_equal(drops_of(engine, in, VDP_REASON_upcall_queue_full), 15);
    check_books(engine, in, false);
    vdp_engine_free(engine);
}

static void test_all_lines_leave_half_of_the_pool_and_each_what_the_next_may_have(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.packets = 64});
    uint32_t ports[4];

    for (int p = 0; p < 4; p++) {
        ports[p] = memory_port(engine);
        for (int i = 0; i < 50; i++)
            inject(engine, ports[p], "x", 1);
    }
    poll_all(engine);
    for (int p = 0; p < 4; p++)
        assert_int_equal(stats_of(engine, ports[p]).held, 2u << p); /* the last one is polled first */
    vdp_engine_free(engine);
}

static void test_the_rate_of_a_port_is_bounded(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.upcall_rate = 10});
    uint32_t flood = memory_port(engine), quiet = memory_port(engine);
    uint64_t now = FIRST_CLOCK;

    for (int i = 0; i < 30; i++)
        inject(engine, flood, "x", 1);
    inject(engine, quiet, "q", 1);
    poll_all(engine);
    assert_int_equal(drops_of(engine, flood, VDP_REASON_upcall_rate), 20);
    assert_int_equal(stats_of(engine, quiet).held, 1); /* a bucket of its own */
    now += SECOND / 2; /* five tokens more */
    vdp_engine_set_clock(engine, now);
    for (int i = 0; i < 30; i++)
        inject(engine, flood, "x", 1);
    poll_all(engine);
    assert_int_equal(stats_of(engine, flood).held, 15);
    vdp_engine_set_clock(engine, now * 1000000); /* never more than the burst */
    for (int i = 0; i < 30; i++)
        inject(engine, flood, "x", 1);
    poll_all(engine);
    assert_int_equal(stats_of(engine, flood).held, 25);
    check_books(engine, flood, false);
    vdp_engine_free(engine);
}

static void test_upcall_actions_send_a_copy_within_their_rate(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.action_rate = 6});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    struct vdp_action program[] = {{VDP_OP_UPCALL, 0, 4711, 0, 0}, {VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_match match = match_all(in);
    struct vdp_worker_stats stats;

    assert_true(install(engine, &match, PROGRAM(program)) >= 0);
    for (int i = 0; i < 8; i++)
        inject(engine, in, "x", 1);
    poll_all(engine);
    for (int i = 0; i < 8; i++)
        expect_packet(engine, out, "x", 1);
    assert_int_equal(vdp_worker_read(engine, 0, &stats), 0);
    assert_int_equal(stats.actions_suppressed, 5); /* a burst of half a second's worth */
    for (int i = 0; i < 3; i++) {
        struct vdp_upcall upcall = take_one(engine);
        assert_int_equal(upcall.reason, VDP_UPCALL_ACTION);
        assert_int_equal(upcall.cookie, 4711);
        assert_int_equal(resolve(engine, (struct vdp_resolution){.token = upcall.token, .kind = VDP_RESOLVE_CONSUME}), 0);
    }
    check_books(engine, in, false);
    assert_int_equal(stats_of(engine, in).cloned, 3);
    vdp_engine_free(engine);
}

static void test_copies_of_one_port_leave_the_rate_of_another_alone(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.action_rate = 6});
    uint32_t flood = memory_port(engine), other = memory_port(engine);
    struct vdp_action program[] = {{VDP_OP_UPCALL, 0, 1, 0, 0}, {VDP_OP_DROP, 0, 1, 0, 0}};
    struct vdp_match matches[] = {match_all(flood), match_all(other)};

    for (unsigned i = 0; i < 2; i++)
        assert_true(install(engine, &matches[i], PROGRAM(program)) >= 0);
    for (int i = 0; i < 200; i++)
        inject(engine, flood, "x", 1);
    poll_all(engine);
    for (int i = 0; i < 3; i++)
        inject(engine, other, "y", 1);
    poll_all(engine);
    assert_int_equal(stats_of(engine, flood).upcalls, 3);
    assert_int_equal(stats_of(engine, other).upcalls, 3);
    vdp_engine_free(engine);
}

static void test_a_port_that_goes_takes_its_upcalls_along(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t gone = memory_port(engine), stays = memory_port(engine);

    for (int i = 0; i < 5; i++) {
        inject(engine, gone, "x", 1);
        inject(engine, stays, "y", 1);
    }
    poll_all(engine);
    struct vdp_upcall upcalls[4];
    assert_int_equal(vdp_upcall_take(engine, 0, upcalls, 4), 4);
    assert_int_equal(vdp_port_remove(engine, gone), 0);
    assert_int_equal(packets_in_use(engine), 5);
    for (int i = 0; i < 4; i++) {
        int64_t result = resolve(engine, (struct vdp_resolution){.token = upcalls[i].token, .kind = VDP_RESOLVE_CONSUME});
        assert_int_equal(result, upcalls[i].in_port == gone ? -EINVAL : 0);
    }
    assert_int_equal(vdp_upcall_take(engine, 0, upcalls, 4), 3);
    vdp_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports_are_served_in_turn),
        cmocka_unit_test(test_waiting_packets_of_a_new_flow_run_in_order),
        cmocka_unit_test(test_a_flow_installed_from_outside_runs_who_waits),
        cmocka_unit_test(test_a_second_miss_goes_back_in_line),
        cmocka_unit_test(test_a_wrong_token_does_nothing),
        cmocka_unit_test(test_a_failed_install_still_settles_the_packet),
        cmocka_unit_test(test_the_line_of_a_port_is_bounded),
        cmocka_unit_test(test_all_lines_leave_half_of_the_pool_and_each_what_the_next_may_have),
        cmocka_unit_test(test_the_rate_of_a_port_is_bounded),
        cmocka_unit_test(test_upcall_actions_send_a_copy_within_their_rate),
        cmocka_unit_test(test_copies_of_one_port_leave_the_rate_of_another_alone),
        cmocka_unit_test(test_a_port_that_goes_takes_its_upcalls_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
