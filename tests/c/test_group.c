/* group.c: a packet to many ports, while ports, groups and flows come and go; header.c beside. */
#include "harness.h"

#include <sys/socket.h>
#include <unistd.h>

enum { PORTS = 150, ROUNDS = 400 };

static void test_floods_keep_the_books_whatever_comes_and_goes(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.packets = 256, .upcall_queue = 2});
    uint64_t seed = 11;
    uint32_t ports[PORTS], in = memory_port(engine), other = memory_port(engine);
    for (uint32_t i = 0; i < PORTS; i++)
        ports[i] = i % 3 ? memory_port(engine) : add_port(engine, VDP_PORT_CELL, VDP_L2);
    uint32_t group = (uint32_t)vdp_group_new(engine, ports, PORTS);
    uint32_t header = (uint32_t)vdp_header_new(engine, (const uint8_t *)"abcdef", 6);
    struct vdp_action flood[] = {{.op = VDP_OP_HEADER, .b = 1, .c = header},
                                 {.op = VDP_OP_GROUP, .b = group, .c = ports[7]}};
    struct vdp_match match = match_all(in), match_other = match_all(other);
    assert_true(vdp_flow_install(engine, 0, &match, PROGRAM(flood)) > 0);
    assert_true(vdp_flow_install(engine, 0, &match_other, PROGRAM(flood)) > 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint8_t frame[100] = {0};
        uint32_t at = draw(&seed, PORTS);
        struct vdp_upcall upcalls[64];
        for (uint32_t n = draw(&seed, 4); n > 0; n--)
            inject(engine, draw(&seed, 2) ? in : other, frame, 20 + draw(&seed, 80));
        switch (draw(&seed, 8)) {
        case 0:
            assert_int_equal(vdp_port_remove(engine, ports[at]), 0);
            ports[at] = draw(&seed, 2) ? memory_port(engine) : add_port(engine, VDP_PORT_CELL, VDP_L2);
            break;
        case 1:
            assert_int_equal(vdp_group_write(engine, group, ports, draw(&seed, PORTS + 1)), 0);
            break;
        case 2:
            assert_int_equal(vdp_group_free(engine, group), 0);
            assert_int_equal(vdp_group_new(engine, ports, PORTS), group);
            break;
        case 3:
            assert_int_equal(vdp_port_remove(engine, other), 0);
            other = memory_port(engine);
            match_other.in_port = other;
            assert_true(vdp_flow_install(engine, 0, &match_other, PROGRAM(flood)) > 0);
            break;
        default:
            break;
        }
        vdp_engine_poll(engine);
        int count = vdp_upcall_take(engine, 0, upcalls, draw(&seed, 64));
        for (int i = 0; i < count; i++) {
            struct vdp_resolution consume = {.token = upcalls[i].token, .kind = VDP_RESOLVE_CONSUME};
            assert_int_equal(vdp_upcall_resolve(engine, 0, &consume, 1), 0);
        }
        struct vdp_port_stats s;
        assert_int_equal(vdp_port_read(engine, in, &s), 0);
        assert_int_equal(s.rx_packets + s.cloned, s.forwarded + s.dropped + s.consumed + s.held);
        struct vdp_worker_stats worker;
        assert_int_equal(vdp_worker_read(engine, 0, &worker), 0);
        assert_true(worker.packets_free <= worker.packets_total);
    }
    vdp_engine_free(engine); /* with what still waits; the leak checker looks */
}

/* Its number goes to the next one who asks; what was in line for it goes to nobody. */
static void test_a_group_that_is_freed_ends_the_floods_to_it(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine), other = memory_port(engine), ports[PORTS], theirs[PORTS];
    for (uint32_t i = 0; i < PORTS; i++) {
        ports[i] = memory_port(engine);
        theirs[i] = other;
    }
    uint32_t group = (uint32_t)vdp_group_new(engine, ports, PORTS);
    struct vdp_action flood[] = {{.op = VDP_OP_GROUP, .b = group}};
    struct vdp_match match = match_all(in);
    assert_true(install(engine, &match, PROGRAM(flood)) > 0);
    inject(engine, in, "first", 5);
    inject(engine, in, "second", 6);
    assert_int_equal(vdp_engine_poll(engine), 2 + VDP_BATCH);
    assert_int_equal(stats_of(engine, in).held, 2);
    assert_int_equal(vdp_group_free(engine, group), 0);
    assert_int_equal(vdp_group_new(engine, theirs, PORTS), group);
    poll_all(engine);
    expect_nothing(engine, other);
    expect_packet(engine, ports[VDP_BATCH - 1], "first", 5);
    expect_nothing(engine, ports[VDP_BATCH]);
    assert_int_equal(drops_of(engine, in, VDP_REASON_no_port), 2);
    check_books(engine, in, false);
    vdp_engine_free(engine);
}

static uint32_t stuck_port(struct vdp_engine *engine, int ends[2])
{
    struct vdp_port_config config = {.name = "stuck", .type = VDP_PORT_TAP, .fd_count = 1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
    config.fd[0] = ends[0];
    int port = vdp_port_add(engine, &config);
    assert_true(port > 0);
    return (uint32_t)port;
}

/* Nobody reads what it sends: it keeps packets, as many as it may. */
static void test_a_port_that_stands_still_does_not_hold_up_floods(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    int ends[2];
    uint32_t in = memory_port(engine), stuck = stuck_port(engine, ends);
    uint32_t ports[] = {memory_port(engine), memory_port(engine), memory_port(engine)};
    uint32_t group = (uint32_t)vdp_group_new(engine, ports, COUNT_OF(ports));
    struct vdp_action flood[] = {{.op = VDP_OP_GROUP, .b = group}};
    struct vdp_action send[] = {{VDP_OP_OUTPUT, 0, stuck, 0, 0}};
    struct vdp_match many = match_first(in, 'm'), one = match_first(in, 'g');
    assert_true(install(engine, &many, PROGRAM(send)) > 0);
    assert_true(install(engine, &one, PROGRAM(flood)) > 0);
    for (uint32_t i = 0; i < 600; i++) {
        inject(engine, in, "many many many", 14);
        poll_all(engine);
    }
    assert_true(drops_of(engine, stuck, VDP_REASON_tx_queue_full) > 0);
    for (uint32_t i = 0; i < 10; i++)
        inject(engine, in, "group", 5);
    poll_all(engine);
    assert_int_equal(stats_of(engine, in).held, 0);
    for (uint32_t i = 0; i < COUNT_OF(ports); i++)
        assert_int_equal(stats_of(engine, ports[i]).tx_packets, 10);
    vdp_engine_free(engine);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floods_keep_the_books_whatever_comes_and_goes),
        cmocka_unit_test(test_a_group_that_is_freed_ends_the_floods_to_it),
        cmocka_unit_test(test_a_port_that_stands_still_does_not_hold_up_floods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
