/* The ring of an AF_XDP socket and the line in front of it.  The test is the kernel's side:
 * rings in its own memory, and a socket that takes the call and does nothing. */
#include "port_fixture.h"

#include "../../vdp/engine/xdp.h"

#include <sys/socket.h>

enum { FRAME_SIZE = VDP_XDP_FRAME_SIZE };

struct kernel {
    uint32_t sending[2 + 4 * VDP_XDP_FRAMES]; /* producer, consumer, descriptors of 16 bytes */
    uint32_t completed[2 + 2 * VDP_XDP_FRAMES];
    int ends[2];
    struct fixture *fixture;
    struct vdp_xdp xdp;
};

static struct vdp_xdp_ring ring_in(uint32_t *memory)
{
    return (struct vdp_xdp_ring){
        .memory = memory, .producer = memory, .consumer = memory + 1, .entries = memory + 2};
}

static int set_up(void **state)
{
    _Static_assert(sizeof(struct xdp_desc) == 16, "as many words as there is room for");
    struct kernel *kernel = calloc(1, sizeof *kernel);
    assert_non_null(kernel);
    kernel->xdp = (struct vdp_xdp){.frames = calloc(VDP_XDP_FRAMES, FRAME_SIZE),
                                   .sending = ring_in(kernel->sending),
                                   .completed = ring_in(kernel->completed),
                                   .free_count = VDP_XDP_FRAMES};
    for (uint32_t i = 0; i < VDP_XDP_FRAMES; i++)
        kernel->xdp.free[i] = (uint64_t)i * FRAME_SIZE;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, kernel->ends), 0);
    kernel->fixture = fixture_new(VDP_PORT_PACKET, VDP_L2, 0, 1200);
    fixture_queue(kernel->fixture)->tx_fd = kernel->ends[0];
    *state = kernel;
    return 0;
}

static int tear_down(void **state)
{
    struct kernel *kernel = *state;
    vdp_queue_clear(&kernel->fixture->worker, fixture_queue(kernel->fixture), VDP_REASON_shutdown);
    assert_int_equal(kernel->fixture->worker.free_count, kernel->fixture->worker.packet_count - 1);
    fixture_free(kernel->fixture);
    close(kernel->ends[0]);
    close(kernel->ends[1]);
    free(kernel->xdp.frames);
    free(kernel);
    return 0;
}

static const struct vdp_port_stats *stats_of(struct kernel *kernel)
{
    return &fixture_queue(kernel->fixture)->stats;
}

/* Frames that begin with their number. */
static void offer_frames(struct kernel *kernel, uint32_t first, uint32_t count, uint32_t length)
{
    for (uint32_t i = first; i < first + count; i++) {
        struct vdp_packet *packet = vdp_packet_alloc(&kernel->fixture->worker);
        assert_non_null(packet);
        packet->length = length;
        memset(packet->data, 0, length);
        vdp_store_be32(packet->data, i);
        offer(kernel->fixture, packet);
    }
}

static int flush_line(struct kernel *kernel)
{
    struct vdp_queue *queue = fixture_queue(kernel->fixture);
    char nothing;
    int result = vdp_xdp_flush(&kernel->fixture->worker, queue, &kernel->xdp);
    while (recv(kernel->ends[1], &nothing, 1, 0) >= 0) /* the calls */
        continue;
    assert_int_equal(queue->stats.offered,
                     queue->stats.tx_packets + queue->stats.tx_dropped + queue->stats.tx_queued);
    assert_int_equal(queue->stats.tx_queued, queue->tx.count);
    return result;
}

/* As the kernel: take the next frame, and give its place back; its number, -1 for a descriptor
 * that it passes over. */
static int64_t take(struct kernel *kernel)
{
    uint32_t *sending = kernel->sending, *completed = kernel->completed;
    struct xdp_desc entry;
    assert_true(sending[1] != sending[0]);
    memcpy(&entry, sending + 2 + 4 * (sending[1]++ % VDP_XDP_FRAMES), sizeof entry);
    if (entry.addr >= (uint64_t)VDP_XDP_FRAMES * FRAME_SIZE)
        return -1;
    memcpy(completed + 2 + 2 * (completed[0]++ % VDP_XDP_FRAMES), &entry.addr, sizeof entry.addr);
    assert_true(completed[0] - completed[1] <= VDP_XDP_FRAMES);
    return vdp_load_be32(kernel->xdp.frames + entry.addr);
}

static void test_what_the_kernel_has_not_taken_waits_in_line(void **state)
{
    struct kernel *kernel = *state;
    offer_frames(kernel, 0, 10, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(stats_of(kernel)->tx_packets, 0);
    for (int64_t i = 0; i < 4; i++)
        assert_int_equal(take(kernel), i);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(stats_of(kernel)->tx_packets, 4);
    assert_int_equal(stats_of(kernel)->tx_queued, 6);
    offer_frames(kernel, 10, 5, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    for (int64_t i = 4; i < 15; i++) /* in order, and each once */
        assert_int_equal(take(kernel), i);
    assert_int_equal(flush_line(kernel), 0);
    assert_int_equal(stats_of(kernel)->tx_packets, 15);
    assert_int_equal(kernel->sending[0], 15);
}

static void test_the_ring_goes_round_and_takes_no_more_than_fits(void **state)
{
    struct kernel *kernel = *state;
    int64_t next = 0;
    for (uint32_t first = 0; first < 5 * 1100; first += 1100) {
        offer_frames(kernel, first, 1100, 60);
        while (fixture_queue(kernel->fixture)->tx.head != NULL) {
            int result = flush_line(kernel);
            assert_true(kernel->sending[0] - kernel->sending[1] <= VDP_XDP_FRAMES);
            assert_true(result == 0 || kernel->sending[0] != kernel->sending[1]);
            while (kernel->sending[0] != kernel->sending[1])
                assert_int_equal(take(kernel), next++);
        }
    }
    assert_int_equal(next, 5 * 1100);
    assert_int_equal(stats_of(kernel)->tx_packets, 5 * 1100);
}

static void test_places_that_are_not_out_yet_are_not_used_again(void **state)
{
    struct kernel *kernel = *state;
    offer_frames(kernel, 0, VDP_XDP_FRAMES, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    for (int64_t i = 0; i < VDP_XDP_FRAMES; i++)
        assert_int_equal(take(kernel), i);
    kernel->completed[0] -= VDP_XDP_FRAMES; /* they are on their way out */
    offer_frames(kernel, VDP_XDP_FRAMES, 2, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(stats_of(kernel)->tx_packets, VDP_XDP_FRAMES);
    assert_int_equal(kernel->sending[0], VDP_XDP_FRAMES);
    kernel->completed[0] += 1;
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(kernel->sending[0], VDP_XDP_FRAMES + 1);
    kernel->completed[0] += VDP_XDP_FRAMES - 1;
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(take(kernel), VDP_XDP_FRAMES);
    assert_int_equal(take(kernel), VDP_XDP_FRAMES + 1);
    assert_int_equal(flush_line(kernel), 0);
}

static void test_what_the_line_lost_is_not_sent(void **state)
{
    struct kernel *kernel = *state;
    struct vdp_queue *queue = fixture_queue(kernel->fixture);
    offer_frames(kernel, 0, 8, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(take(kernel), 0);
    vdp_queue_clear(&kernel->fixture->worker, queue, VDP_REASON_tx_error);
    assert_int_equal(queue->given, 0);
    offer_frames(kernel, 8, 2, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    for (int i = 1; i < 8; i++)
        assert_int_equal(take(kernel), -1);
    assert_int_equal(take(kernel), 8);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(take(kernel), 9);
    assert_int_equal(flush_line(kernel), 0);
    assert_int_equal(stats_of(kernel)->tx_packets, 2);
    assert_int_equal(stats_of(kernel)->tx_dropped, 8);
    /* No place is lost by that. */
    offer_frames(kernel, 10, VDP_XDP_FRAMES, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(kernel->sending[0] - kernel->sending[1], VDP_XDP_FRAMES);
}

/* The kernel sends as well while it is asked whether the socket can be written to (xsk_poll). */
static void test_what_it_took_meanwhile_has_its_place_until_it_is_out(void **state)
{
    struct kernel *kernel = *state;
    offer_frames(kernel, 0, 8, 60);
    assert_int_equal(flush_line(kernel), -EBUSY);
    for (int64_t i = 0; i < 5; i++)
        assert_int_equal(take(kernel), i);
    vdp_queue_clear(&kernel->fixture->worker, fixture_queue(kernel->fixture), VDP_REASON_tx_error);
    int64_t next = 8;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t count = i == 0 ? 2 : VDP_XDP_FRAMES; /* the first ones lead past what is cancelled */
        offer_frames(kernel, (uint32_t)next, count, 60);
        while (fixture_queue(kernel->fixture)->tx.head != NULL) {
            (void)flush_line(kernel);
            while (kernel->sending[0] != kernel->sending[1]) {
                int64_t taken = take(kernel);
                if (taken >= 0) /* not one that was cancelled */
                    assert_int_equal(taken, next++);
            }
        }
    }
    assert_int_equal(next, 8 + 2 + 2 * VDP_XDP_FRAMES);
}

static void test_a_frame_that_does_not_fit_is_told_so_in_its_turn(void **state)
{
    struct kernel *kernel = *state;
    offer_frames(kernel, 0, 2, 60);
    offer_frames(kernel, 2, 1, FRAME_SIZE + 1);
    offer_frames(kernel, 3, 1, FRAME_SIZE);
    offer_frames(kernel, 4, 1, 13);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(kernel->sending[0], 2);
    assert_int_equal(take(kernel), 0);
    assert_int_equal(take(kernel), 1);
    assert_int_equal(flush_line(kernel), -EBUSY);
    assert_int_equal(fixture_drops(kernel->fixture, VDP_REASON_mtu_exceeded), 1);
    assert_int_equal(take(kernel), 3);
    assert_int_equal(flush_line(kernel), 0);
    assert_int_equal(fixture_drops(kernel->fixture, VDP_REASON_tx_error), 1);
    assert_int_equal(stats_of(kernel)->tx_packets, 3);
}

static void test_a_socket_that_is_gone_is_a_failure(void **state)
{
    struct kernel *kernel = *state;
    offer_frames(kernel, 0, 3, 60);
    fixture_queue(kernel->fixture)->tx_fd = -1;
    assert_int_equal(flush_line(kernel), -EBADF);
    assert_int_equal(stats_of(kernel)->tx_queued, 3); /* the core drops them */
    fixture_queue(kernel->fixture)->tx_fd = kernel->ends[0];
    vdp_queue_clear(&kernel->fixture->worker, fixture_queue(kernel->fixture), VDP_REASON_tx_error);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_the_kernel_has_not_taken_waits_in_line),
        TEST(test_the_ring_goes_round_and_takes_no_more_than_fits),
        TEST(test_places_that_are_not_out_yet_are_not_used_again),
        TEST(test_what_the_line_lost_is_not_sent),
        TEST(test_what_it_took_meanwhile_has_its_place_until_it_is_out),
        TEST(test_a_frame_that_does_not_fit_is_told_so_in_its_turn),
        TEST(test_a_socket_that_is_gone_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
