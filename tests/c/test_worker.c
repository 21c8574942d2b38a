/* worker.c, port.c: threads, the mailbox, ports that come, fail and go under traffic.
 *
 * A socket pair of datagrams stands for a TAP without vnet header. */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEADLINE_MS = 10000 };

struct wire {
    int ours, theirs; /* the engine has theirs */
};

static struct wire wire_new(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct wire){fds[0], fds[1]};
}

static void wire_free(struct wire wire)
{
    close(wire.ours);
    close(wire.theirs);
}

static uint32_t tap_port(struct vdp_engine *engine, const int *fds, uint32_t count)
{
    struct vdp_port_config config = {.name = "tap", .type = VDP_PORT_TAP, .fd_count = count};

    for (uint32_t i = 0; i < count; i++)
        config.fd[i] = fds[i];
    int port = vdp_port_add(engine, &config);
    assert_true(port > 0);
    return (uint32_t)port;
}

static void wait_readable(int fd)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&waiting, 1, DEADLINE_MS), 1);
}

static void expect_frame(const struct wire *wire, const char *text)
{
    char got[64];

    wait_readable(wire->ours);
    ssize_t size = recv(wire->ours, got, sizeof got, 0);
    assert_int_equal(size, (ssize_t)strlen(text));
    assert_memory_equal(got, text, (size_t)size);
}

static void forward(struct vdp_engine *engine, uint32_t worker, uint32_t in, uint32_t out)
{
    struct vdp_action program[] = {{VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_match match = match_all(in);

    assert_true(vdp_flow_install(engine, worker, &match, PROGRAM(program)) >= 0);
}

static void test_a_running_worker_asks_and_is_answered(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    struct wire a = wire_new(), b = wire_new();
    uint32_t in = tap_port(engine, &a.theirs, 1), out = tap_port(engine, &b.theirs, 1);
    struct vdp_action program[] = {{VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_match match = match_all(in);
    struct vdp_upcall upcall;

    assert_int_equal(vdp_engine_start(engine), 0);
    assert_int_equal(vdp_engine_start(engine), -EBUSY);
    assert_int_equal(vdp_engine_poll(engine), -EBUSY);
    assert_int_equal(send(a.ours, "first", 5, 0), 5);
    wait_readable(vdp_engine_event_fd(engine));
    assert_int_equal(vdp_upcall_take(engine, 0, &upcall, 1), 1);
    assert_memory_equal(upcall.data, "first", 5);
    struct vdp_resolution resolution = {.token = upcall.token, .kind = VDP_RESOLVE_INSTALL,
                                        .match = &match, .program = *PROGRAM(program)};
    assert_int_equal(vdp_upcall_resolve(engine, 0, &resolution, 1), 0);
    assert_true(resolution.result >= 0);
    expect_frame(&b, "first");
    assert_int_equal(send(a.ours, "second", 6, 0), 6);
    expect_frame(&b, "second");
    assert_int_equal(vdp_engine_stop(engine), 0);
    assert_int_equal(vdp_engine_stop(engine), 0);
    /* Not started: the caller is the worker again. */
    assert_int_equal(send(a.ours, "third", 5, 0), 5);
    assert_int_equal(vdp_engine_poll(engine), 1);
    expect_frame(&b, "third");
    check_books(engine, in, false);
    check_books(engine, out, false);
    vdp_engine_free(engine);
    wire_free(a);
    wire_free(b);
}

static void test_an_event_stays_while_upcalls_wait(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine);
    struct vdp_upcall upcall;
    uint64_t cleared;
    int fd = vdp_engine_event_fd(engine);

    assert_true(read(fd, &cleared, 8) < 0);
    inject(engine, in, "1", 1);
    inject(engine, in, "2", 1);
    poll_all(engine);
    assert_int_equal(read(fd, &cleared, 8), 8);
    assert_int_equal(vdp_upcall_take(engine, 0, &upcall, 1), 1);
    assert_int_equal(read(fd, &cleared, 8), 8); /* one is still there */
    assert_int_equal(vdp_upcall_take(engine, 0, &upcall, 1), 1);
    assert_true(read(fd, &cleared, 8) < 0);
    vdp_engine_free(engine);
}

static void test_each_worker_serves_its_queues(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.workers = 2});
    struct wire a[3] = {wire_new(), wire_new(), wire_new()}, b = wire_new();
    int fds[] = {a[0].theirs, a[1].theirs, a[2].theirs};
    uint32_t in = tap_port(engine, fds, 3), out = tap_port(engine, &b.theirs, 1);

    forward(engine, 0, in, out);
    forward(engine, 1, in, out); /* worker 1 receives nothing from `out`, but sends to it */
    assert_int_equal(vdp_engine_start(engine), 0);
    for (int i = 0; i < 3; i++) {
        char text[] = {'q', (char)('0' + i), 0};
        assert_int_equal(send(a[i].ours, text, 2, 0), 2);
        expect_frame(&b, text);
    }
    struct vdp_port_stats stats = stats_of(engine, in);
    assert_int_equal(stats.rx_packets, 3);
    struct vdp_worker_stats worker[2];
    assert_int_equal(vdp_worker_read(engine, 0, &worker[0]), 0);
    assert_int_equal(vdp_worker_read(engine, 1, &worker[1]), 0);
    assert_int_equal(worker[0].lookups, 2); /* queues 0 and 2 */
    assert_int_equal(worker[1].lookups, 1);
    vdp_engine_free(engine); /* stops it */
    for (int i = 0; i < 3; i++)
        wire_free(a[i]);
    wire_free(b);
}

static void test_a_slow_peer_gets_the_rest_when_it_reads(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    struct wire b = wire_new();
    uint32_t in = memory_port(engine), out = tap_port(engine, &b.theirs, 1);
    struct vdp_port_stats stats;
    int sent = 0;

    forward(engine, 0, in, out);
    do { /* until the socket is full and something waits */
        char text[8];
        snprintf(text, sizeof text, "%06d", sent++);
        inject(engine, in, text, 6);
        poll_all(engine);
        stats = stats_of(engine, out);
    } while (!stats.tx_queued && sent < 100000);
    assert_int_equal(stats.tx_queued, 1);
    assert_int_equal(vdp_engine_start(engine), 0);
    for (int i = 0; i < sent; i++) {
        char text[8];
        snprintf(text, sizeof text, "%06d", i);
        expect_frame(&b, text);
    }
    stats = stats_of(engine, out);
    assert_int_equal(stats.tx_packets, sent);
    check_books(engine, out, false);
    vdp_engine_free(engine);
    wire_free(b);
}

static void test_a_failed_port_is_told_once_and_comes_back(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC); /* epoll refuses it */
    struct vdp_port_config config = {.name = "null", .type = VDP_PORT_TAP, .fd_count = 1, .fd = {fd}};
    struct wire a = wire_new();
    uint64_t cleared;

    assert_int_equal(vdp_port_add(engine, &config), -EPERM);
    close(fd);
    assert_int_equal(vdp_port_add(engine, &config), -EBADF);
    config.fd_count = 0; /* detached: there, and of no use until it is attached */
    int detached = vdp_port_add(engine, &config);
    assert_true(detached > 0);
    assert_int_equal(vdp_port_set_up(engine, (uint32_t)detached, 1), 0);
    assert_int_equal(stats_of(engine, (uint32_t)detached).up, 0);
    assert_int_equal(stats_of(engine, (uint32_t)detached).error, ENODEV);
    assert_int_equal(vdp_port_remove(engine, (uint32_t)detached), 0);

    /* A pipe end that cannot be read fails: EBADF. */
    int pipe_[2];
    assert_int_equal(pipe(pipe_), 0);
    uint32_t port = tap_port(engine, &pipe_[1], 1), in = memory_port(engine);
    forward(engine, 0, in, port);
    close(pipe_[0]); /* EPOLLERR on the other end, for ever */
    vdp_engine_poll(engine);
    wait_readable(vdp_engine_event_fd(engine));
    assert_int_equal(read(vdp_engine_event_fd(engine), &cleared, 8), 8);
    struct vdp_port_stats stats = stats_of(engine, port);
    assert_int_equal(stats.up, 0);
    assert_int_equal(stats.error, EBADF);
    struct epoll_event event;
    vdp_engine_poll(engine); /* it is out of epoll: nothing spins */
    assert_int_equal(epoll_wait(engine->workers[0].epoll_fd, &event, 1, 0), 0);
    assert_true(read(vdp_engine_event_fd(engine), &cleared, 8) < 0);
    inject(engine, in, "x", 1);
    poll_all(engine);
    assert_int_equal(drops_of(engine, port, VDP_REASON_port_down), 1);
    assert_int_equal(vdp_port_set_up(engine, port, 1), 0); /* another chance, and another failure */
    stats = stats_of(engine, port);
    assert_int_equal(stats.up, 1);
    vdp_engine_poll(engine);
    assert_int_equal(read(vdp_engine_event_fd(engine), &cleared, 8), 8);
    check_books(engine, port, false);
    vdp_engine_free(engine);
    close(pipe_[1]);
    wire_free(a);
}

/* The number, flows and counters stay; what waits is dropped, and what comes meanwhile. */
static void test_a_port_gets_another_device(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    struct wire a = wire_new(), b = wire_new();
    uint32_t in = memory_port(engine), out = tap_port(engine, &a.theirs, 1);
    struct vdp_port_config other = {.name = "other", .type = VDP_PORT_TAP, .fd_count = 1};

    other.fd[0] = b.theirs;
    forward(engine, 0, in, out);
    assert_int_equal(vdp_port_attach(engine, out, &other), -EBUSY);
    inject(engine, in, "1", 1);
    poll_all(engine);
    assert_int_equal(vdp_port_detach(engine, out), 0);
    assert_int_equal(vdp_port_detach(engine, out), 0);
    inject(engine, in, "2", 1);
    poll_all(engine);
    assert_int_equal(stats_of(engine, out).up, 0);
    assert_int_equal(drops_of(engine, out, VDP_REASON_port_down), 1);
    other.type = VDP_PORT_PACKET;
    assert_int_equal(vdp_port_attach(engine, out, &other), -EINVAL);
    other.type = VDP_PORT_TAP;
    assert_int_equal(vdp_port_attach(engine, out, &other), 0);
    inject(engine, in, "3", 1);
    poll_all(engine);
    expect_frame(&a, "1");
    expect_frame(&b, "3");
    assert_int_equal(stats_of(engine, out).tx_packets, 2);
    assert_int_equal(vdp_port_detach(engine, in), -EINVAL);
    check_books(engine, out, false);
    vdp_engine_free(engine);
    wire_free(a);
    wire_free(b);
}

static void test_a_port_that_is_down_drops_what_comes_in(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine);

    assert_int_equal(vdp_port_set_up(engine, in, 0), 0);
    inject(engine, in, "x", 1);
    poll_all(engine);
    assert_int_equal(drops_of(engine, in, VDP_REASON_port_down), 1);
    assert_int_equal(vdp_port_set_up(engine, in, 1), 0);
    inject(engine, in, "x", 1);
    poll_all(engine);
    assert_int_equal(stats_of(engine, in).held, 1);
    assert_int_equal(vdp_port_set_up(engine, 4711, 1), -ENODEV);
    vdp_engine_free(engine);
}

static void test_many_ports(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t first = memory_port(engine), last = first;

    for (int i = 1; i < MANY; i++)
        last = memory_port(engine);
    forward(engine, 0, first, last);
    inject(engine, first, "far", 3);
    poll_all(engine);
    expect_packet(engine, last, "far", 3);
    assert_int_equal(vdp_port_remove(engine, last), 0);
    assert_int_equal(vdp_port_remove(engine, last), -ENODEV);
    inject(engine, first, "far", 3);
    poll_all(engine);
    assert_int_equal(drops_of(engine, first, VDP_REASON_no_port), 1);
    vdp_engine_free(engine);
}

struct sender {
    int fd;
    _Atomic bool stop;
};

static void *send_on(void *argument)
{
    struct sender *sender = argument;

    while (!atomic_load(&sender->stop)) {
        struct pollfd waiting = {.fd = sender->fd, .events = POLLOUT};
        (void)poll(&waiting, 1, 10);
        for (int i = 0; i < 16; i++)
            (void)send(sender->fd, "traffic", 7, MSG_DONTWAIT);
    }
    return NULL;
}

static void test_ports_and_flows_come_and_go_under_traffic(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.workers = 2});
    struct wire a = wire_new(), b = wire_new();
    int fds[] = {a.theirs, b.theirs};
    uint32_t in = tap_port(engine, fds, 2);
    struct sender senders[2] = {{.fd = a.ours}, {.fd = b.ours}};
    pthread_t threads[2];
    struct vdp_upcall upcalls[32];
    struct vdp_resolution resolutions[32];

    vdp_engine_set_clock(engine, 0);
    assert_int_equal(vdp_engine_start(engine), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_on, &senders[i]), 0);
    for (int round = 0; round < 200; round++) {
        uint32_t out = memory_port(engine), cell = add_port(engine, VDP_PORT_CELL, VDP_L2);
        struct vdp_action to_cell[] = {{VDP_OP_CLONE, 0, 2, 0, 0}, {VDP_OP_OUTPUT, 0, out, 0, 0},
                                       {VDP_OP_OUTPUT, 0, cell, 0, 0}};
        struct vdp_match match = match_all(in);
        uint64_t ids[4];
        for (uint32_t worker = 0; worker < 2; worker++) {
            int count = vdp_upcall_take(engine, worker, upcalls, 32);
            for (int i = 0; i < count; i++)
                resolutions[i] = (struct vdp_resolution){.token = upcalls[i].token, .kind = (uint32_t)i % 5,
                                                         .match = &match, .program = *PROGRAM(to_cell), .reason = 1};
            assert_int_equal(vdp_upcall_resolve(engine, worker, resolutions, (uint32_t)count), 0);
            (void)vdp_flow_install(engine, worker, &match, PROGRAM(to_cell));
            forward(engine, worker, cell, out);
        }
        struct vdp_port_stats stats = stats_of(engine, in); /* balanced at any time */
        assert_int_equal(stats.rx_packets + stats.cloned,
                         stats.forwarded + stats.dropped + stats.consumed + stats.held);
        assert_int_equal(vdp_port_remove(engine, out), 0);
        for (uint32_t worker = 0; worker < 2; worker++)
            (void)vdp_flow_expire(engine, worker, 0, 0, ids, 4);
        assert_int_equal(vdp_port_remove(engine, cell), 0);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&senders[i].stop, true);
        pthread_join(threads[i], NULL);
    }
    assert_true(stats_of(engine, in).rx_packets > 0);
    assert_int_equal(vdp_port_remove(engine, in), 0);
    assert_int_equal(packets_in_use(engine), 0);
    vdp_engine_free(engine);
    wire_free(a);
    wire_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_running_worker_asks_and_is_answered),
        cmocka_unit_test(test_an_event_stays_while_upcalls_wait),
        cmocka_unit_test(test_each_worker_serves_its_queues),
        cmocka_unit_test(test_a_slow_peer_gets_the_rest_when_it_reads),
        cmocka_unit_test(test_a_failed_port_is_told_once_and_comes_back),
        cmocka_unit_test(test_a_port_gets_another_device),
        cmocka_unit_test(test_a_port_that_is_down_drops_what_comes_in),
        cmocka_unit_test(test_many_ports),
        cmocka_unit_test(test_ports_and_flows_come_and_go_under_traffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
