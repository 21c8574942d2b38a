/* The raw IPv6 port, over the loopback of a network namespace of this process (as root):
 * what it sends arrives as it was, and what the kernel keeps of a packet is made anew. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_MS = 5000, GRE = 47, SIZE = 40 + 20, PAYLOAD_AT = 40 };

static const uint8_t here[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
static const uint8_t there[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 2};
static const uint8_t nowhere[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff, [15] = 3};

static int in_namespace(void **state)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        return 0; /* the tests below see a NULL state and skip */
    if (system("ip link set lo mtu 1500 up && ip -6 address add 2001:db8::1/128 dev lo nodad"
               " && ip -6 address add 2001:db8::2/128 dev lo nodad") != 0)
        return 0;
    *state = state;
    return 0;
}

#define NEEDS_ROOT(state)                                                                        \
    do {                                                                                         \
        if (*(state) == NULL)                                                                    \
            skip();                                                                              \
    } while (0)

static int open_protocol(int protocol, bool with_control)
{
    const int options[] = {IPV6_HDRINCL, IPV6_RECVPKTINFO, IPV6_RECVTCLASS, IPV6_RECVHOPLIMIT};
    int on = 1, fd = socket(AF_INET6, SOCK_RAW, protocol);

    assert_true(fd >= 0);
    for (unsigned i = 0; i < (with_control ? COUNT_OF(options) : 1); i++)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, options[i], &on, sizeof on), 0);
    return fd;
}

static int open_raw(bool with_control)
{
    return open_protocol(GRE, with_control);
}

/* An engine with a memory port and the raw one, all from one output to the other. */
struct bridge {
    struct vdp_engine *engine;
    uint32_t memory, raw;
    int fd;
};

static void connect_ports(struct bridge *bridge, const struct vdp_port_config *config)
{
    bridge->memory = add_port(bridge->engine, VDP_PORT_MEMORY, VDP_L3);
    int port = vdp_port_add(bridge->engine, config);
    assert_true(port > 0);
    bridge->raw = (uint32_t)port;
    struct vdp_action out[] = {{.op = VDP_OP_OUTPUT, .b = bridge->raw}};
    struct vdp_action in[] = {{.op = VDP_OP_OUTPUT, .b = bridge->memory}};
    struct vdp_match from_memory = match_all(bridge->memory), from_raw = match_all(bridge->raw);
    assert_true(install(bridge->engine, &from_memory, PROGRAM(out)) > 0);
    assert_true(install(bridge->engine, &from_raw, PROGRAM(in)) > 0);
}

static struct bridge bridge_with(struct vdp_port_config config)
{
    struct bridge bridge = {.engine = engine_with((struct vdp_engine_config){0}), .fd = config.fd[0]};

    connect_ports(&bridge, &config);
    return bridge;
}

static struct bridge bridge_new(int fd)
{
    return bridge_with((struct vdp_port_config){
        .name = "raw", .type = VDP_PORT_IP6, .fd_count = 1, .fd = {fd}});
}

static void bridge_free(struct bridge *bridge)
{
    check_books(bridge->engine, bridge->memory, false);
    check_books(bridge->engine, bridge->raw, false);
    assert_int_equal(packets_in_use(bridge->engine), 0);
    vdp_engine_free(bridge->engine);
    close(bridge->fd);
}

static void make_packet(uint8_t *packet, uint32_t size, const uint8_t *to, uint8_t class,
                        uint8_t hop_limit)
{
    memset(packet, 0, size);
    packet[0] = (uint8_t)(0x60 | class >> 4);
    packet[1] = (uint8_t)(class << 4);
    vdp_store_be16(packet + 4, (uint16_t)(size - PAYLOAD_AT));
    packet[6] = GRE;
    packet[7] = hop_limit;
    memcpy(packet + 8, here, 16);
    memcpy(packet + 24, to, 16);
    for (uint32_t i = PAYLOAD_AT; i < size; i++)
        packet[i] = (uint8_t)(i * 7);
}

/* Until so many packets have come in by the socket, and gone on to the memory port. */
static void take_in(struct bridge *bridge, uint64_t count)
{
    struct pollfd poll_fd = {.fd = bridge->fd, .events = POLLIN};

    poll_all(bridge->engine);
    while (stats_of(bridge->engine, bridge->raw).rx_packets < count) {
        assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
        poll_all(bridge->engine);
    }
}

static void test_packets_cross_whole(void **state)
{
    uint8_t sent[3][SIZE], meta[VDP_META_SIZE], got[SIZE];
    NEEDS_ROOT(state);
    struct bridge bridge = bridge_new(open_raw(true));
    for (uint8_t i = 0; i < 3; i++) {
        make_packet(sent[i], SIZE, there, (uint8_t)(0xb8 + i), (uint8_t)(7 + i));
        inject(bridge.engine, bridge.memory, sent[i], SIZE);
    }
    take_in(&bridge, 3);
    assert_int_equal(stats_of(bridge.engine, bridge.raw).tx_packets, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(
            vdp_memory_collect(bridge.engine, bridge.memory, got, SIZE, meta, NULL), SIZE);
        assert_memory_equal(got, sent[i], SIZE);
        assert_int_equal(vdp_load_be32(meta), VDP_L3);
        assert_int_equal(vdp_load_be32(meta + 4), 0x86dd);
        assert_int_equal(vdp_load_be32(meta + 4 * VDP_META_DEVICE), if_nametoindex("lo"));
    }
    expect_nothing(bridge.engine, bridge.memory);
    bridge_free(&bridge);
}

static void test_a_packet_leaves_by_the_device_that_it_names(void **state)
{
    uint8_t packet[SIZE], meta[VDP_META_SIZE] = {[3] = VDP_L3, [6] = 0x86, [7] = 0xdd};
    const uint32_t devices[] = {if_nametoindex("lo"), 9999};
    NEEDS_ROOT(state);
    struct bridge bridge = bridge_new(open_raw(true));
    make_packet(packet, SIZE, there, 0, 9);
    for (unsigned i = 0; i < COUNT_OF(devices); i++) {
        vdp_store_be32(meta + 4 * VDP_META_DEVICE, VDP_LEAVE_BY | devices[i]);
        assert_int_equal(
            vdp_memory_inject(bridge.engine, bridge.memory, packet, SIZE, meta, NULL), 0);
    }
    take_in(&bridge, 1);
    assert_int_equal(stats_of(bridge.engine, bridge.raw).tx_packets, 1);
    assert_int_equal(stats_of(bridge.engine, bridge.raw).tx_dropped, 1);
    assert_int_equal(stats_of(bridge.engine, bridge.raw).error, 0);
    bridge_free(&bridge);
}

static void test_extension_headers_stay_with_the_kernel(void **state)
{
    /* Destination options: nothing but padding. */
    const uint8_t options[8] = {GRE, 0, 1, 4};
    uint8_t sent[SIZE + 8], wanted[SIZE];
    NEEDS_ROOT(state);
    struct bridge bridge = bridge_new(open_raw(true));
    make_packet(wanted, SIZE, there, 0, 64);
    memcpy(sent, wanted, PAYLOAD_AT);
    memcpy(sent + PAYLOAD_AT, options, sizeof options);
    memcpy(sent + PAYLOAD_AT + 8, wanted + PAYLOAD_AT, SIZE - PAYLOAD_AT);
    vdp_store_be16(sent + 4, SIZE + 8 - PAYLOAD_AT);
    sent[6] = 60;
    inject(bridge.engine, bridge.memory, sent, sizeof sent);
    take_in(&bridge, 1);
    expect_packet(bridge.engine, bridge.memory, wanted, SIZE);
    bridge_free(&bridge);
}

static void test_what_the_kernel_refuses_is_counted(void **state)
{
    uint8_t packet[2000];
    NEEDS_ROOT(state);
    struct bridge bridge = bridge_new(open_raw(true));
    make_packet(packet, SIZE, nowhere, 0, 64);
    inject(bridge.engine, bridge.memory, packet, SIZE);
    make_packet(packet, sizeof packet, there, 0, 64);
    inject(bridge.engine, bridge.memory, packet, sizeof packet);
    poll_all(bridge.engine);
    assert_int_equal(drops_of(bridge.engine, bridge.raw, VDP_REASON_tx_error), 1);
    assert_int_equal(drops_of(bridge.engine, bridge.raw, VDP_REASON_mtu_exceeded), 1);
    bridge_free(&bridge);
}

static void test_only_ipv6_is_sent(void **state)
{
    uint8_t packet[SIZE];
    NEEDS_ROOT(state);
    struct bridge bridge = bridge_new(open_raw(true));
    make_packet(packet, SIZE, there, 0, 64);
    inject(bridge.engine, bridge.memory, packet, PAYLOAD_AT - 1);
    packet[0] = 0x45;
    inject(bridge.engine, bridge.memory, packet, SIZE);
    poll_all(bridge.engine);
    assert_int_equal(drops_of(bridge.engine, bridge.raw, VDP_REASON_protocol_unsupported), 2);
    bridge_free(&bridge);
}

static void test_without_its_addresses_a_packet_is_an_error(void **state)
{
    uint8_t packet[SIZE];
    NEEDS_ROOT(state);
    struct bridge bridge = bridge_new(open_raw(false));
    make_packet(packet, SIZE, there, 0, 64);
    inject(bridge.engine, bridge.memory, packet, SIZE);
    take_in(&bridge, 1);
    expect_nothing(bridge.engine, bridge.memory);
    assert_int_equal(drops_of(bridge.engine, bridge.raw, VDP_REASON_rx_error), 1);
    bridge_free(&bridge);
}

static void test_a_header_names_the_protocol_of_the_socket_that_heard_it(void **state)
{
    uint8_t packet[SIZE], got[SIZE], message[8] = {129}; /* an echo reply, which nobody answers */
    struct sockaddr_in6 to = {.sin6_family = AF_INET6};
    NEEDS_ROOT(state);
    int icmp = open_protocol(IPPROTO_ICMPV6, true), sender = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    struct bridge bridge = bridge_with((struct vdp_port_config){
        .name = "raw", .type = VDP_PORT_IP6, .fd_count = 2, .fd = {open_raw(true), icmp}});
    struct pollfd poll_fd = {.fd = icmp, .events = POLLIN};
    memcpy(&to.sin6_addr, there, sizeof there);
    assert_int_equal(sendto(sender, message, sizeof message, 0, (struct sockaddr *)&to, sizeof to),
                     sizeof message);
    assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
    poll_all(bridge.engine);
    assert_int_equal(vdp_memory_collect(bridge.engine, bridge.memory, got, SIZE, NULL, NULL),
                     PAYLOAD_AT + (int)sizeof message);
    assert_int_equal(got[6], IPPROTO_ICMPV6);
    assert_int_equal(got[PAYLOAD_AT], 129);
    make_packet(packet, SIZE, there, 0, 64);
    inject(bridge.engine, bridge.memory, packet, SIZE);
    take_in(&bridge, 2);
    assert_int_equal(vdp_memory_collect(bridge.engine, bridge.memory, got, SIZE, NULL, NULL), SIZE);
    assert_int_equal(got[6], GRE);
    bridge_free(&bridge);
    close(icmp);
    close(sender);
}

static void test_every_worker_sends_by_the_first_socket(void **state)
{
    uint8_t packet[SIZE], got[SIZE];
    NEEDS_ROOT(state);
    /* The second one hears errors; it would put a header of its own in front. */
    int icmp = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    struct vdp_port_config config = {
        .name = "raw", .type = VDP_PORT_IP6, .fd_count = 2, .fd = {open_raw(true), icmp}};
    struct bridge bridge = {.engine = engine_with((struct vdp_engine_config){.workers = 3}),
                            .fd = config.fd[0]};
    connect_ports(&bridge, &config);
    struct vdp_action out[] = {{.op = VDP_OP_OUTPUT, .b = bridge.raw}};
    make_packet(packet, SIZE, there, 0, 64);
    for (uint32_t worker = 0; worker < 3; worker++) {
        assert_int_equal(vdp_packet_execute(bridge.engine, worker, bridge.memory, packet, SIZE, NULL,
                                            PROGRAM(out)), 0);
        take_in(&bridge, worker + 1);
        assert_int_equal(vdp_memory_collect(bridge.engine, bridge.memory, got, SIZE, NULL, NULL),
                         SIZE);
        assert_memory_equal(got, packet, SIZE);
    }
    bridge_free(&bridge);
    close(icmp);
}

static void test_a_descriptor_that_is_no_socket_is_refused(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    int fd = open("/dev/null", O_RDWR);
    struct vdp_port_config config = {.name = "raw", .type = VDP_PORT_IP6, .fd_count = 1, .fd = {fd}};

    assert_int_equal(vdp_port_add(engine, &config), -ENOTSOCK);
    vdp_engine_free(engine);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets_cross_whole),
        cmocka_unit_test(test_a_packet_leaves_by_the_device_that_it_names),
        cmocka_unit_test(test_extension_headers_stay_with_the_kernel),
        cmocka_unit_test(test_what_the_kernel_refuses_is_counted),
        cmocka_unit_test(test_only_ipv6_is_sent),
        cmocka_unit_test(test_without_its_addresses_a_packet_is_an_error),
        cmocka_unit_test(test_a_header_names_the_protocol_of_the_socket_that_heard_it),
        cmocka_unit_test(test_every_worker_sends_by_the_first_socket),
        cmocka_unit_test(test_a_descriptor_that_is_no_socket_is_refused),
    };
    return cmocka_run_group_tests(tests, in_namespace, NULL);
}
