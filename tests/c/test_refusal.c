/* refusal.c: a packet socket whose kernel refuses a super-packet gets its parts.  Linux takes at most
 * 128 datagrams in one (UDP_MAX_SEGMENTS): EINVAL.  In a network namespace of this process, as root. */
#include "port_fixture.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

enum { MANY = 200, FEW = 20, SIZE = 100, TRIES = 9 };

static int in_namespace(void **state)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || system("ip link set lo up") != 0)
        return 0; /* the tests below see a NULL state and skip */
    *state = state;
    return 0;
}

static struct fixture *fixture_on_loopback(void)
{
    const struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                        .sll_protocol = htons(ETH_P_ALL),
                                        .sll_ifindex = (int)if_nametoindex("lo")};
    int on = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fixture_for_port(VDP_PORT_PACKET, VNET, fd);
}

static void send_datagrams(struct fixture *fixture, uint32_t count)
{
    struct shape shape = shape4;
    shape.udp = true;
    shape.size = count * SIZE;
    offer(fixture, make_super(fixture, &shape, SIZE));
    while (fixture_queue(fixture)->tx.count > 0)
        (void)flush(fixture);
}

static void test_a_packet_socket_gets_the_parts_of_what_it_refuses(void **state)
{
    if (*state == NULL)
        skip();
    struct fixture *fixture = fixture_on_loopback();
    const struct vdp_port_stats *stats = &fixture_queue(fixture)->stats;
    send_datagrams(fixture, FEW);
    assert_int_equal(stats->tx_packets, 1);
    assert_int_equal(stats->refused, 0);
    send_datagrams(fixture, MANY);
    assert_int_equal(stats->refused, 1);
    assert_int_equal(stats->tx_packets, 1 + MANY);
    assert_int_equal(stats->tx_segments, FEW + MANY);
    assert_int_equal(stats->tx_dropped, 0);
    finish(fixture, -1);
}

/* More datagrams than a cell puts together: who sends such is not to end it for the others. */
static void test_what_is_longer_than_a_cell_makes_is_no_measure(void **state)
{
    if (*state == NULL)
        skip();
    struct fixture *fixture = fixture_on_loopback();
    const struct vdp_port_stats *stats = &fixture_queue(fixture)->stats;
    for (unsigned i = 0; i < TRIES; i++)
        send_datagrams(fixture, MANY);
    assert_int_equal(fixture_queue(fixture)->port->refused, 0);
    assert_int_equal(stats->refused, TRIES);
    uint64_t before = stats->tx_packets;
    send_datagrams(fixture, FEW);
    assert_int_equal(stats->tx_packets, before + 1);
    finish(fixture, -1);
}

/* Some super-packets of a sort known to be refused, between others. */
static void test_what_is_known_to_be_refused_is_not_offered(void **state)
{
    if (*state == NULL)
        skip();
    struct fixture *fixture = fixture_on_loopback();
    struct vdp_queue *queue = fixture_queue(fixture);
    struct shape shape = shape4;
    atomic_store(&queue->port->refused, VDP_F_USO);
    offer(fixture, make_packet(fixture, &shape));
    shape.udp = true;
    shape.size = FEW * SIZE;
    offer(fixture, make_super(fixture, &shape, SIZE));
    shape.udp = false;
    offer(fixture, make_super(fixture, &shape, SIZE)); /* of TCP */
    while (queue->tx.count > 0)
        (void)flush(fixture);
    assert_int_equal(queue->stats.refused, 1);
    assert_int_equal(queue->stats.tx_packets, 1 + FEW + 1);
    finish(fixture, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packet_socket_gets_the_parts_of_what_it_refuses),
        cmocka_unit_test(test_what_is_longer_than_a_cell_makes_is_no_measure),
        cmocka_unit_test(test_what_is_known_to_be_refused_is_not_offered),
    };
    return cmocka_run_group_tests(tests, in_namespace, NULL);
}
