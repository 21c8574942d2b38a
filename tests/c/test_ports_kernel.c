/* The kernel ports as root: a real TAP, TUN, veth pair and raw socket in a network namespace
 * of this process. */
#include "port_fixture.h"

#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { WAIT_MS = 5000 };

static int in_namespace(void **state)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        return 0; /* the tests below see a NULL state and skip */
    if (system("ip link set lo up && sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
               " net.ipv6.conf.default.disable_ipv6=1") != 0)
        return 0;
    *state = state;
    return 0;
}

#define NEEDS_ROOT(state)                                                                        \
    do {                                                                                         \
        if (*(state) == NULL)                                                                    \
            skip();                                                                              \
    } while (0)

static void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

static void wait_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
}

static int open_tun(const char *name, short flags, unsigned offloads)
{
    struct ifreq request = {0};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0)
        skip();
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    request.ifr_flags = (short)(flags | IFF_NO_PI | IFF_VNET_HDR);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(ioctl(fd, TUNSETOFFLOAD, offloads), 0);
    return fd;
}

/* A packet socket on an interface, with vnet headers. */
static int open_packet(const char *name, bool vnet)
{
    struct ifreq request = {0};
    int on = 1, fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    assert_true(fd >= 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    assert_int_equal(ioctl(fd, SIOCGIFINDEX, &request), 0);
    const struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                        .sll_protocol = htons(ETH_P_ALL),
                                        .sll_ifindex = request.ifr_ifindex};
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on), 0);
    if (vnet)
        assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void send_frame(int fd, const struct virtio_net_hdr *header, const struct vdp_packet *packet)
{
    struct virtio_net_hdr copy = *header;
    const struct iovec parts[2] = {{&copy, sizeof copy}, {packet->data, packet->length}};
    assert_int_equal(writev(fd, parts, 2), (int)(packet->length + sizeof copy));
}

static ssize_t read_frame(int fd, struct virtio_net_hdr *header, uint8_t *bytes, size_t size)
{
    const struct iovec parts[2] = {{header, sizeof *header}, {bytes, size}};
    wait_readable(fd);
    return readv(fd, parts, 2) - (ssize_t)sizeof *header;
}

static const unsigned tun_offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

static void test_a_tap_takes_and_gives_super_packets(void **state)
{
    static struct received received;
    static uint8_t bytes[70000];
    struct virtio_net_hdr header;
    NEEDS_ROOT(state);
    int tap = open_tun("vdptap0", IFF_TAP, tun_offloads);
    run("ip link set vdptap0 up");
    int peer = open_packet("vdptap0", true);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, tap);
    struct shape shape = shape4;
    shape.size = 30000;
    struct vdp_packet *packet = make_super(fixture, &shape, 1448);
    vdp_vnet_store(packet, &header);
    send_frame(peer, &header, packet);
    wait_readable(tap);
    receive(fixture, &received);
    assert_int_equal(received.count, 1);
    assert_int_equal(received.packets[0].length, packet->length);
    assert_int_equal(received.packets[0].gso_size, 1448);
    assert_int_equal(received.packets[0].segments, 21);
    offer(fixture, packet);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(read_frame(peer, &header, bytes, sizeof bytes), 14 + 40 + 30000);
    assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(header.gso_size, 1448);
    finish(fixture, peer);
}

static void test_a_tun_takes_and_gives_packets(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    int tun = open_tun("vdptun0", IFF_TUN, tun_offloads);
    run("ip link set vdptun0 up");
    int peer = open_packet("vdptun0", true);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TUN, VNET, tun);
    struct shape shape = shape4;
    struct virtio_net_hdr header = {0};
    uint8_t bytes[1024];
    shape.l3 = true;
    struct vdp_packet *packet = make_packet(fixture, &shape);
    send_frame(peer, &header, packet);
    wait_readable(tun);
    receive(fixture, &received);
    assert_int_equal(received.count, 1);
    assert_int_equal(vdp_load_be32(received.packets[0].meta + 4), 0x0800);
    assert_memory_equal(received.bytes[0], packet->data, packet->length);
    offer(fixture, packet);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(read_frame(peer, &header, bytes, sizeof bytes), 140);
    finish(fixture, peer);
}

/* Linux takes at most 128 datagrams in a UDP super-packet (UDP_MAX_SEGMENTS): EINVAL. */
static void test_a_refused_super_packet_is_sent_in_parts(void **state)
{
    uint8_t bytes[2048];
    struct virtio_net_hdr header;
    NEEDS_ROOT(state);
    int tap = open_tun("vdptap1", IFF_TAP, tun_offloads);
    run("ip link set vdptap1 up");
    int peer = open_packet("vdptap1", true);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, tap);
    struct shape shape = shape4;
    shape.udp = true;
    shape.size = 200 * 100;
    offer(fixture, make_super(fixture, &shape, 100));
    shape.size = 77;
    offer(fixture, make_packet(fixture, &shape));
    assert_int_equal(flush(fixture), 0);
    const struct vdp_port_stats *stats = &fixture_queue(fixture)->stats;
    if (stats->tx_packets == 2) {
        finish(fixture, peer);
        skip(); /* this kernel takes them all */
    }
    assert_int_equal(stats->offered, 201);
    assert_int_equal(stats->tx_packets, 201);
    assert_int_equal(fixture->queues[ORIGIN].stats.segmented, 199);
    assert_int_equal(fixture->queues[ORIGIN].stats.forwarded, 199);
    assert_int_equal(read_frame(peer, &header, bytes, sizeof bytes), 14 + 28 + 100);
    finish(fixture, peer);
}

static void test_parts_without_a_buffer_are_counted(void **state)
{
    NEEDS_ROOT(state);
    int tap = open_tun("vdptap4", IFF_TAP, tun_offloads);
    run("ip link set vdptap4 up");
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, tap);
    struct vdp_packet_list taken = {0};
    struct shape shape = shape4;
    shape.udp = true;
    shape.size = 200 * 100;
    offer(fixture, make_super(fixture, &shape, 100));
    while (fixture->worker.free_count > 50)
        vdp_list_append(&taken, vdp_packet_alloc(&fixture->worker));
    assert_int_equal(flush(fixture), 0);
    while (taken.count > 0)
        vdp_packet_free(&fixture->worker, vdp_list_take(&taken));
    const struct vdp_port_stats *stats = &fixture_queue(fixture)->stats;
    bool refused = stats->tx_packets > 1;
    if (refused) {
        assert_int_equal(stats->tx_packets, 51);
        assert_int_equal(stats->tx_dropped, 149);
        assert_int_equal(fixture_drops(fixture, VDP_REASON_no_buffer), 149);
    }
    finish(fixture, -1);
    if (!refused)
        skip(); /* this kernel takes them all */
}

static void test_a_tap_that_is_down_drops_and_comes_back(void **state)
{
    NEEDS_ROOT(state);
    int tap = open_tun("vdptap2", IFF_TAP, tun_offloads);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, tap);
    offer(fixture, make_packet(fixture, &shape4));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_port_down), 1);
    run("ip link set vdptap2 up");
    offer(fixture, make_packet(fixture, &shape4));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_queue(fixture)->stats.tx_packets, 1);
    finish(fixture, -1);
}

static void test_a_tap_that_is_gone_is_a_failure(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    int tap = open_tun("vdptap3", IFF_TAP, tun_offloads);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, tap);
    run("ip link del vdptap3");
    receive(fixture, &received);
    assert_int_equal(received.count, -EBADFD);
    offer(fixture, make_packet(fixture, &shape4));
    assert_int_equal(flush(fixture), -EBADFD);
    finish(fixture, -1);
}

static void make_veth_pair(void)
{
    run("ip link add vdpa type veth peer name vdpb && ip link set vdpa up && ip link set vdpb up");
}

static void test_frames_cross_a_veth_pair(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    make_veth_pair();
    int here = open_packet("vdpa", true), there = open_packet("vdpb", true);
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, here);
    struct fixture *b = fixture_for_port(VDP_PORT_PACKET, VNET, there);
    struct shape shape = shape4;
    for (uint32_t i = 0; i < 100; i++) {
        shape.sequence = i;
        offer(a, make_packet(a, &shape));
    }
    shape.size = 30000;
    offer(a, make_super(a, &shape, 1448));
    assert_int_equal(flush(a), 0);
    uint32_t next = 0;
    while (next < 101) {
        wait_readable(there);
        receive(b, &received);
        assert_true(received.count > 0);
        for (int i = 0; i < received.count; i++, next++)
            assert_int_equal(vdp_load_be32(received.bytes[i] + 34 + 4), next < 100 ? next : 99);
    }
    const struct vdp_packet *last = &received.packets[received.count - 1];
    assert_int_equal(last->length, 14 + 40 + 30000);
    assert_int_equal(last->segments, 21);
    run("ip link del vdpa");
    finish(a, -1);
    finish(b, -1);
}

static void test_a_stripped_vlan_tag_is_put_back(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    make_veth_pair();
    int here = open_packet("vdpa", true), there = open_packet("vdpb", true);
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, here);
    struct fixture *b = fixture_for_port(VDP_PORT_PACKET, VNET, there);
    struct shape shape = shape4;
    shape.vlans = 1;
    shape.size = 3000;
    struct vdp_packet *packet = make_super(a, &shape, 1000);
    uint32_t length = packet->length;
    uint8_t front[18];
    memcpy(front, packet->data, sizeof front);
    offer(a, packet);
    assert_int_equal(flush(a), 0);
    wait_readable(there);
    receive(b, &received);
    assert_int_equal(received.count, 1);
    assert_int_equal(received.packets[0].length, length);
    assert_memory_equal(received.bytes[0], front, sizeof front);
    assert_int_equal(received.packets[0].segments, 3);
    /* The marks know of the four bytes. */
    assert_int_equal(received.packets[0].csum_start - vdp_packet_headroom(&received.packets[0]), 38);
    run("ip link del vdpa");
    finish(a, -1);
    finish(b, -1);
}

static void test_a_frame_above_the_mtu_is_told_so(void **state)
{
    NEEDS_ROOT(state);
    make_veth_pair();
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, open_packet("vdpa", true));
    struct shape shape = shape4;
    shape.size = 3000;
    offer(a, make_packet(a, &shape));
    offer(a, make_packet(a, &shape4));
    assert_int_equal(flush(a), 0);
    assert_int_equal(fixture_drops(a, VDP_REASON_mtu_exceeded), 1);
    assert_int_equal(fixture_queue(a)->stats.tx_packets, 1);
    run("ip link del vdpa");
    finish(a, -1);
}

static void test_an_interface_that_goes_down_drops_and_comes_back(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    make_veth_pair();
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, open_packet("vdpa", true));
    run("ip link set vdpa down");
    receive(a, &received);
    assert_int_equal(received.count, 0); /* ENETDOWN, once */
    offer(a, make_packet(a, &shape4));
    assert_int_equal(flush(a), 0);
    assert_int_equal(fixture_drops(a, VDP_REASON_port_down), 1);
    run("ip link set vdpa up");
    offer(a, make_packet(a, &shape4));
    assert_int_equal(flush(a), 0);
    assert_int_equal(fixture_queue(a)->stats.tx_packets, 1);
    run("ip link del vdpa");
    finish(a, -1);
}

static void test_an_interface_that_is_gone_is_a_failure(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    make_veth_pair();
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, open_packet("vdpa", true));
    run("ip link del vdpa");
    receive(a, &received);
    assert_int_equal(received.count, -ENODEV);
    offer(a, make_packet(a, &shape4));
    assert_int_equal(flush(a), -ENXIO);
    finish(a, -1);
}

/* As many small frames as it takes, numbered from `first` on in their TCP sequence. */
static void send_numbered(struct fixture *fixture, uint32_t first, uint32_t count)
{
    struct shape shape = shape4;
    for (uint32_t i = 0; i < count; i++) {
        shape.sequence = first + i;
        offer(fixture, make_packet(fixture, &shape));
        if (i % VDP_BATCH == VDP_BATCH - 1 || i + 1 == count)
            assert_int_equal(flush(fixture), 0);
    }
}

/* Receive until `count` frames are there; the first is to have number `first`. */
static void expect_numbered(struct fixture *fixture, uint32_t first, uint32_t count)
{
    static struct received received;
    for (uint32_t got = 0; got < count; got += (uint32_t)received.count) {
        wait_readable(fixture_queue(fixture)->tx_fd);
        receive(fixture, &received);
        assert_true(received.count > 0);
        for (int i = 0; i < received.count; i++)
            assert_int_equal(vdp_load_be32(received.bytes[i] + 34 + 4), first + got + (uint32_t)i);
    }
}

static uint32_t kernel_drops(int fd)
{
    struct tpacket_stats stats;
    socklen_t size = sizeof stats;
    assert_int_equal(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size), 0);
    return stats.tp_drops;
}

static void test_a_ring_goes_round_and_loses_what_has_no_room(void **state)
{
    NEEDS_ROOT(state);
    make_veth_pair();
    int here = open_packet("vdpa", true), there = open_packet("vdpb", true);
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, here);
    struct fixture *b = fixture_for_port(VDP_PORT_PACKET, VNET, there);
    uint32_t room = b->ports[TARGET].ops->ring(&b->ports[TARGET]);
    assert_int_equal(room, 4096);
    for (uint32_t i = 0; i < 3; i++) { /* it is at another place each time */
        send_numbered(a, 5000 * i, room - 100);
        expect_numbered(b, 5000 * i, room - 100);
    }
    assert_int_equal(kernel_drops(there), 0);
    send_numbered(a, 1, room + 50);
    expect_numbered(b, 1, room);
    assert_int_equal(kernel_drops(there), 50);
    send_numbered(a, 7, 10);
    expect_numbered(b, 7, 10);
    run("ip link del vdpa");
    finish(a, -1);
    finish(b, -1);
}

static void test_a_ring_puts_back_tags_and_keeps_the_order_of_super_packets(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    make_veth_pair();
    int here = open_packet("vdpa", true), there = open_packet("vdpb", true);
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, here);
    struct fixture *b = fixture_for_port(VDP_PORT_PACKET, VNET, there);
    struct shape small = shape4, large = shape4;
    small.vlans = 1;
    small.size = 600;
    large.size = 20000;
    uint8_t front[18];
    for (int i = 0; i < 4; i++) {
        struct vdp_packet *packet = make_super(a, &small, 200);
        memcpy(front, packet->data, sizeof front);
        offer(a, packet);
        offer(a, make_super(a, &large, 1448));
    }
    assert_int_equal(flush(a), 0);
    wait_readable(there);
    receive(b, &received);
    assert_int_equal(received.count, 8);
    for (int i = 0; i < 8; i += 2) {
        assert_memory_equal(received.bytes[i], front, sizeof front);
        assert_int_equal(received.packets[i].segments, 3);
        const struct vdp_packet *tagged = &received.packets[i];
        assert_int_equal(tagged->csum_start - vdp_packet_headroom(tagged), 38);
        assert_int_equal(received.packets[i + 1].segments, 14);
        assert_int_equal(received.packets[i + 1].length, 14 + 40 + 20000);
    }
    run("ip link del vdpa");
    finish(a, -1);
    finish(b, -1);
}

static void test_a_socket_without_its_ring_receives_by_calls_again(void **state)
{
    NEEDS_ROOT(state);
    make_veth_pair();
    int here = open_packet("vdpa", true), there = open_packet("vdpb", true);
    struct fixture *a = fixture_for_port(VDP_PORT_PACKET, VNET, here);
    struct fixture *b = fixture_for_port(VDP_PORT_PACKET, VNET, there);
    send_numbered(a, 3, 5);
    expect_numbered(b, 3, 5);
    b->ports[TARGET].ops->close(&b->ports[TARGET]);
    send_numbered(a, 9, 5);
    expect_numbered(b, 9, 5);
    open_rings(b, there);
    assert_int_equal(b->ports[TARGET].ops->ring(&b->ports[TARGET]), 4096);
    send_numbered(a, 20, 5);
    expect_numbered(b, 20, 5);
    run("ip link del vdpa");
    finish(a, -1);
    finish(b, -1);
}

/* A kernel without packet rings looks like this: no such option. */
static void test_what_gives_no_ring_receives_by_calls(void **state)
{
    static struct received received;
    int fds[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    struct fixture *fixture = fixture_for_port(VDP_PORT_PACKET, 0, fds[0]);
    assert_int_equal(fixture->ports[TARGET].ops->ring(&fixture->ports[TARGET]), 0);
    assert_int_equal(send(fds[1], "a frame of some bytes", 21, 0), 21);
    receive(fixture, &received);
    assert_int_equal(received.count, 1);
    assert_int_equal(received.packets[0].length, 21);
    finish(fixture, fds[1]);
}

static int use_rings(void **state)
{
    with_rings = true;
    return in_namespace(state);
}

static int open_raw(int hdrincl)
{
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_GRE);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &hdrincl, sizeof hdrincl), 0);
    return fd;
}

/* An IPv4 packet of protocol 47 from loopback to `destination`. */
static struct vdp_packet *make_gre(struct fixture *fixture, uint32_t destination, uint32_t size)
{
    struct shape shape = shape4;
    shape.l3 = true;
    shape.size = size;
    struct vdp_packet *packet = make_packet(fixture, &shape);
    packet->data[9] = IPPROTO_GRE;
    vdp_store_be32(packet->data + 12, 0x7f000001);
    vdp_store_be32(packet->data + 16, destination);
    return packet;
}

static void test_packets_cross_a_raw_socket(void **state)
{
    static struct received received;
    NEEDS_ROOT(state);
    run("ip link set lo mtu 1500");
    struct fixture *fixture = fixture_for_port(VDP_PORT_IP, 0, open_raw(1));
    offer(fixture, make_gre(fixture, 0x7f000002, 100));
    offer(fixture, make_gre(fixture, 0x0a000001, 100));  /* no route */
    offer(fixture, make_gre(fixture, 0x7f000002, 2000)); /* above the MTU */
    offer(fixture, make_gre(fixture, 0x7f000003, 200));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_tx_error), 1);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_mtu_exceeded), 1);
    assert_int_equal(fixture_queue(fixture)->stats.tx_packets, 2);
    wait_readable(fixture_queue(fixture)->tx_fd);
    receive(fixture, &received);
    assert_int_equal(received.count, 2);
    assert_int_equal(received.packets[0].length, 140);
    assert_int_equal(vdp_load_be32(received.bytes[0] + 16), 0x7f000002);
    assert_int_equal(vdp_load_be32(received.bytes[1] + 16), 0x7f000003);
    finish(fixture, -1);
}

static struct vdp_packet *leaving_by(struct vdp_packet *packet, uint32_t device)
{
    vdp_store_be32(packet->meta + 4 * VDP_META_DEVICE, VDP_LEAVE_BY | device);
    return packet;
}

static void test_a_raw_socket_minds_devices(void **state)
{
    static struct received received;
    int on = 1, fd = -1;
    NEEDS_ROOT(state);
    fd = open_raw(1);
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0);
    struct fixture *fixture = fixture_for_port(VDP_PORT_IP, 0, fd);
    const uint32_t loopback = 1; /* the first device of a namespace */
    offer(fixture, leaving_by(make_gre(fixture, 0x7f000002, 100), loopback));
    offer(fixture, leaving_by(make_gre(fixture, 0x7f000002, 100), 9999)); /* no such device */
    offer(fixture, make_gre(fixture, 0x7f000003, 100));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_tx_error), 1);
    assert_int_equal(fixture_queue(fixture)->stats.tx_packets, 2);
    wait_readable(fixture_queue(fixture)->tx_fd);
    receive(fixture, &received);
    assert_int_equal(received.count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(vdp_load_be32(received.packets[i].meta + 4 * VDP_META_DEVICE), loopback);
    finish(fixture, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_raw_socket_minds_devices),
        cmocka_unit_test(test_a_tap_takes_and_gives_super_packets),
        cmocka_unit_test(test_a_tun_takes_and_gives_packets),
        cmocka_unit_test(test_a_refused_super_packet_is_sent_in_parts),
        cmocka_unit_test(test_parts_without_a_buffer_are_counted),
        cmocka_unit_test(test_a_tap_that_is_down_drops_and_comes_back),
        cmocka_unit_test(test_a_tap_that_is_gone_is_a_failure),
        cmocka_unit_test(test_frames_cross_a_veth_pair),
        cmocka_unit_test(test_a_stripped_vlan_tag_is_put_back),
        cmocka_unit_test(test_a_frame_above_the_mtu_is_told_so),
        cmocka_unit_test(test_an_interface_that_goes_down_drops_and_comes_back),
        cmocka_unit_test(test_an_interface_that_is_gone_is_a_failure),
        cmocka_unit_test(test_packets_cross_a_raw_socket),
    };
    const struct CMUnitTest ring_tests[] = {
        cmocka_unit_test(test_frames_cross_a_veth_pair),
        cmocka_unit_test(test_a_stripped_vlan_tag_is_put_back),
        cmocka_unit_test(test_an_interface_that_goes_down_drops_and_comes_back),
        cmocka_unit_test(test_an_interface_that_is_gone_is_a_failure),
        cmocka_unit_test(test_a_ring_goes_round_and_loses_what_has_no_room),
        cmocka_unit_test(test_a_ring_puts_back_tags_and_keeps_the_order_of_super_packets),
        cmocka_unit_test(test_a_socket_without_its_ring_receives_by_calls_again),
        cmocka_unit_test(test_what_gives_no_ring_receives_by_calls),
    };
    int failed = cmocka_run_group_tests(tests, in_namespace, NULL);
    return failed + cmocka_run_group_tests(ring_tests, use_rings, NULL);
}
