/* ring.c and port_packet.c: long frames, which a ring has no room for, come in rows by one call, in
 * their place among short ones, and those that are refused leave no gap.  In a network namespace of
 * this process, as root.  What another process left in a ring is found again. */
#include "port_fixture.h"

#include "../../vdp/engine/ring.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { WAIT_MS = 5000, LONG = 20000, SHORT = 100, SEQUENCE_AT = 14 + 20 + 4, TOTAL_AT = 14 + 2 };

static int in_namespace(void **state)
{
    with_rings = true;
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        return 0; /* the tests below see a NULL state and skip */
    if (system("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
               " && ip link add vdpa type veth peer name vdpb && ip link set vdpa up"
               " && ip link set vdpb up") != 0)
        return 0;
    *state = state;
    return 0;
}

static int open_packet(const char *name)
{
    const struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                        .sll_protocol = htons(ETH_P_ALL),
                                        .sll_ifindex = (int)if_nametoindex(name)};
    int on = 1, room = 8 << 20, fd = socket(AF_PACKET, SOCK_RAW, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* The other end of the cable, and a port with a ring on this one. */
struct cable {
    struct fixture *fixture;
    int far;
};

static struct cable make_cable(void)
{
    return (struct cable){fixture_for_port(VDP_PORT_PACKET, VNET, open_packet("vdpb")),
                          open_packet("vdpa")};
}

/* A frame for each letter, numbered from `first`: s short, l long, b long and in contradiction
 * with itself, which the kernel does not look at. */
static void send_row(const struct cable *cable, const char *row, uint32_t first)
{
    for (uint32_t i = 0; row[i] != 0; i++) {
        struct shape shape = shape4;
        struct virtio_net_hdr header;
        shape.size = row[i] == 's' ? SHORT : LONG;
        shape.sequence = first + i;
        struct vdp_packet *packet = row[i] == 's' ? make_packet(cable->fixture, &shape)
                                                  : make_super(cable->fixture, &shape, 1400);
        assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_none);
        if (row[i] == 'b')
            packet->data[TOTAL_AT] ^= 1;
        const struct iovec parts[2] = {{&header, sizeof header}, {packet->data, packet->length}};
        assert_int_equal(writev(cable->far, parts, 2), (int)(packet->length + sizeof header));
        vdp_packet_free(&cable->fixture->worker, packet);
    }
}

/* All but those in contradiction come, in order. */
static void expect_row(const struct cable *cable, const char *row, uint32_t first)
{
    static struct received received;
    uint32_t at = 0, size = (uint32_t)strlen(row), calls = 0;
    while (at < size) {
        struct pollfd poll_fd = {.fd = fixture_queue(cable->fixture)->tx_fd, .events = POLLIN};
        assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
        assert_true(++calls < 100);
        receive(cable->fixture, &received);
        for (int i = 0; i < received.count; i++, at++) {
            while (row[at] == 'b')
                at++;
            assert_true(at < size);
            assert_int_equal(vdp_load_be32(received.bytes[i] + SEQUENCE_AT), first + at);
            assert_int_equal(received.packets[i].length,
                             14 + 40 + (row[at] == 's' ? SHORT : LONG));
        }
        while (row[at] == 'b')
            at++;
    }
}

static void test_long_frames_keep_their_place(void **state)
{
    static const char *const rows[] = {"l", "ll", "slls", "lsllslllsss", "sblbbls", "bl", "blbs", "blsl",
                                       "bblslsl", "llllllllllllllllllllllllllllllll"};
    if (*state == NULL)
        skip();
    struct cable cable = make_cable();
    uint32_t number = 1, bad = 0;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        send_row(&cable, rows[i], number);
        expect_row(&cable, rows[i], number);
        for (const char *letter = rows[i]; *letter != 0; letter++)
            bad += *letter == 'b';
        number += 100;
    }
    assert_int_equal(fixture_drops(cable.fixture, VDP_REASON_gso_invalid), bad);
    assert_int_equal(fixture_queue(cable.fixture)->stats.dropped, bad);
    finish(cable.fixture, cable.far);
}

enum { FRAMES = 8, FRAME = 2048 };

/* A ring as another process left it: `count` frames from `first` on are filled. */
static struct vdp_ring found_ring(uint32_t first, uint32_t count)
{
    static _Alignas(64) uint8_t memory[FRAMES * FRAME];
    memset(memory, 0, sizeof memory);
    for (uint32_t i = 0; i < count; i++) {
        struct tpacket2_hdr *header =
            (struct tpacket2_hdr *)(void *)(memory + (size_t)((first + i) % FRAMES) * FRAME);
        header->tp_status = TP_STATUS_USER;
        header->tp_sec = 100;
        header->tp_nsec = i;
    }
    return (struct vdp_ring){
        .memory = memory, .frame_size = FRAME, .count = FRAMES, .is_found = true};
}

static void test_frames_are_taken_where_another_process_was(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < FRAMES; first++)
        for (uint32_t count = 1; count <= FRAMES; count++) {
            struct vdp_ring ring = found_ring(first, count);
            for (uint32_t i = 0; i < count; i++) {
                const struct tpacket2_hdr *header = vdp_ring_peek(&ring);
                assert_non_null(header);
                assert_int_equal(header->tp_nsec, i);
                vdp_ring_release(&ring);
            }
            assert_null(vdp_ring_peek(&ring));
        }
}

/* Of an empty one nothing is known until the first frame comes. */
static void test_an_empty_ring_is_followed_from_its_next_frame(void **state)
{
    (void)state;
    struct vdp_ring ring = found_ring(0, 0);
    assert_null(vdp_ring_peek(&ring));
    struct tpacket2_hdr *header = (struct tpacket2_hdr *)(void *)(ring.memory + 5 * FRAME);
    header->tp_status = TP_STATUS_USER;
    assert_ptr_equal(vdp_ring_peek(&ring), header);
    vdp_ring_release(&ring);
    assert_int_equal(ring.next, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_frames_keep_their_place),
        cmocka_unit_test(test_frames_are_taken_where_another_process_was),
        cmocka_unit_test(test_an_empty_ring_is_followed_from_its_next_frame),
    };
    return cmocka_run_group_tests(tests, in_namespace, NULL);
}
