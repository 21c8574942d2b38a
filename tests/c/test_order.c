/* order.c: two workers send on one tunnel, and its numbers leave in order. */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/*   0          4       5          9
 *   | number   | queue | counter  |  a frame of this test: the first by SEQUENCE */
enum { WORKERS = 2, ROUNDS = 100, BURST = 60, FRAME = 200, PATIENCE_MS = 10000 };
/* What a program does between taking a number and sending, so that workers come between. */
enum { LABOUR = 250 };

struct tunnel {
    struct vdp_engine *engine;
    int in[WORKERS]; /* the test's ends of the queues */
    int out;         /* and of the one that both workers send to */
    int ends[WORKERS + 1]; /* the engine's */
};

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
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

static void tunnel_open(struct tunnel *tunnel)
{
    int pair[2], queues[WORKERS];

    tunnel->engine = engine_with((struct vdp_engine_config){.workers = WORKERS, .packets = 1024});
    for (uint32_t w = 0; w < WORKERS; w++) {
        make_pair(pair);
        queues[w] = tunnel->ends[w] = pair[0];
        tunnel->in[w] = pair[1];
    }
    make_pair(pair);
    tunnel->ends[WORKERS] = pair[0];
    tunnel->out = pair[1];
    uint32_t from = tap_port(tunnel->engine, queues, WORKERS);
    uint32_t to = tap_port(tunnel->engine, pair, 1);
    uint32_t state = (uint32_t)vdp_state_new(tunnel->engine, 1);
    struct vdp_action actions[LABOUR + 2] = {{.op = VDP_OP_SEQUENCE, .c = state}};
    for (uint32_t i = 1; i <= LABOUR; i++)
        actions[i] = (struct vdp_action){.op = VDP_OP_CHECKSUM, .b = 10};
    actions[LABOUR + 1] = (struct vdp_action){.op = VDP_OP_OUTPUT, .b = to};
    struct vdp_match match = match_all(from);
    for (uint32_t w = 0; w < WORKERS; w++)
        assert_true(vdp_flow_install(tunnel->engine, w, &match, PROGRAM(actions)) > 0);
    assert_int_equal(vdp_engine_start(tunnel->engine), 0);
}

static void tunnel_close(struct tunnel *tunnel)
{
    assert_int_equal(vdp_engine_stop(tunnel->engine), 0);
    vdp_engine_free(tunnel->engine);
    for (uint32_t w = 0; w < WORKERS; w++)
        close(tunnel->in[w]);
    for (uint32_t i = 0; i <= WORKERS; i++)
        close(tunnel->ends[i]);
    close(tunnel->out);
}

static void send_burst(const struct tunnel *tunnel, uint32_t first)
{
    for (uint32_t i = 0; i < BURST; i++)
        for (uint32_t w = 0; w < WORKERS; w++) {
            uint8_t frame[FRAME] = {0};
            frame[4] = (uint8_t)w;
            vdp_store_be32(frame + 5, first + i);
            assert_int_equal(send(tunnel->in[w], frame, FRAME, 0), FRAME);
        }
}

/* Numbers count up without a gap; so do the frames of each queue. */
static void expect_burst(const struct tunnel *tunnel, uint32_t *number, uint32_t counters[WORKERS])
{
    for (uint32_t i = 0; i < WORKERS * BURST; i++) {
        struct pollfd ready = {.fd = tunnel->out, .events = POLLIN};
        uint8_t frame[FRAME];
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        assert_int_equal(recv(tunnel->out, frame, FRAME, 0), FRAME);
        assert_int_equal(vdp_load_be32(frame), ++*number);
        assert_true(frame[4] < WORKERS);
        assert_int_equal(vdp_load_be32(frame + 5), counters[frame[4]]++);
    }
}

static void test_numbers_of_two_workers_leave_in_order(void **state)
{
    struct tunnel tunnel;
    uint32_t number = 0, counters[WORKERS] = {0};

    (void)state;
    tunnel_open(&tunnel);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        send_burst(&tunnel, round * BURST);
        expect_burst(&tunnel, &number, counters);
    }
    tunnel_close(&tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_of_two_workers_leave_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
