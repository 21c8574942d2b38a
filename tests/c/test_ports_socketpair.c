/* The kernel ports without privileges: batches, offload state and errors over socket pairs. */
#include "port_fixture.h"

#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

/* The port's end and the other end of something that keeps message boundaries. */
static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
}

static const uint32_t frame_types[] = {VDP_PORT_TAP, VDP_PORT_PACKET};

static void test_frames_are_received_in_order_with_their_marks(void **state)
{
    static struct received received;
    (void)state;
    for (unsigned t = 0; t < 2; t++) {
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(frame_types[t], VNET, pair[0]);
        struct shape shape = shape4;
        for (unsigned i = 0; i < 3; i++, shape.size = 3000) {
            struct virtio_net_hdr header;
            struct vdp_packet *packet = make_super(fixture, &shape, 1000);
            vdp_vnet_store(packet, &header);
            const struct iovec parts[2] = {{&header, 10}, {packet->data, packet->length}};
            assert_int_equal(writev(pair[1], parts, 2), 10 + packet->length);
            vdp_packet_free(&fixture->worker, packet);
        }
        receive(fixture, &received);
        assert_int_equal(received.count, 3);
        assert_int_equal(received.packets[0].length, 14 + 40 + 100);
        assert_int_equal(received.packets[0].gso_type, 0);
        assert_true(received.packets[0].needs_csum);
        assert_int_equal(received.packets[2].gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
        assert_int_equal(received.packets[2].segments, 3);
        receive(fixture, &received);
        assert_int_equal(received.count, 0);
        finish(fixture, pair[1]);
    }
}

/* A descriptor that answers each write with EINVAL, as a kernel does to a super-packet that it
 * will not have: asked eight times, not again before the port is set up anew. */
static void test_what_the_kernel_keeps_refusing_is_not_offered_again(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, timerfd_create(CLOCK_MONOTONIC, 0));
    struct vdp_queue *queue = fixture_queue(fixture);
    struct shape shape = shape4;
    shape.size = 3000;
    for (unsigned i = 1; i <= 9; i++) {
        assert_int_equal(queue->port->refused, i <= 8 ? 0 : VDP_F_TSO4);
        offer(fixture, make_super(fixture, &shape, 1000));
        assert_int_equal(flush(fixture), 0);
        assert_int_equal(queue->stats.refused, i);
        assert_int_equal(fixture_drops(fixture, VDP_REASON_tx_error), 3 * i); /* its parts */
    }
    shape.version = 6; /* has not been tried */
    offer(fixture, make_super(fixture, &shape, 1000));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(queue->port->refused, VDP_F_TSO4 | VDP_F_TSO6);
    finish(fixture, -1);
}

static void test_a_super_packet_that_is_taken_forgives_those_refused(void **state)
{
    int pair[2];
    (void)state;
    make_pair(pair);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TAP, VNET, pair[0]);
    struct shape shape = shape4;
    shape.size = 3000;
    fixture_queue(fixture)->refusals = 7;
    offer(fixture, make_packet(fixture, &shape4));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_queue(fixture)->refusals, 7);
    offer(fixture, make_super(fixture, &shape, 1000));
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_queue(fixture)->refusals, 0);
    assert_int_equal(fixture_queue(fixture)->stats.refused, 0);
    finish(fixture, pair[1]);
}

static void test_bad_frames_are_counted_and_the_good_ones_close_ranks(void **state)
{
    static struct received received;
    (void)state;
    for (unsigned t = 0; t < 2; t++) {
        uint8_t bytes[64] = {0};
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(frame_types[t], VNET, pair[0]);
        assert_int_equal(write(pair[1], bytes, 10), 10); /* no byte of a frame */
        bytes[10] = 0xaa;
        assert_int_equal(write(pair[1], bytes, 50), 50);
        bytes[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        bytes[6] = bytes[7] = 0xff; /* csum_start */
        assert_int_equal(write(pair[1], bytes, 60), 60);
        bytes[0] = 0;
        assert_int_equal(write(pair[1], bytes, 40), 40);
        bytes[1] = 2; /* no GSO type */
        assert_int_equal(write(pair[1], bytes, 60), 60);
        receive(fixture, &received);
        assert_int_equal(received.count, 2);
        assert_int_equal(received.packets[0].length, 40);
        assert_int_equal(received.packets[1].length, 30);
        assert_int_equal(received.bytes[1][0], 0xaa);
        assert_int_equal(fixture_drops(fixture, VDP_REASON_rx_error), 1);
        assert_int_equal(fixture_drops(fixture, VDP_REASON_vnet_hdr_invalid), 1);
        assert_int_equal(fixture_drops(fixture, VDP_REASON_gso_invalid), 1);
        assert_int_equal(fixture_queue(fixture)->stats.dropped, 3);
        assert_int_equal(fixture_queue(fixture)->stats.rx_bytes, 10 + 60 + 60);
        finish(fixture, pair[1]);
    }
}

static void test_layer3_packets_get_their_ethertype(void **state)
{
    static struct received received;
    const uint32_t types[] = {VDP_PORT_TUN, VDP_PORT_IP};
    uint8_t bytes[40] = {0x45};
    (void)state;
    for (unsigned t = 0; t < 2; t++) {
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(types[t], 0, pair[0]);
        bytes[0] = 0x45;
        assert_int_equal(write(pair[1], bytes, 40), 40);
        bytes[0] = 0x60;
        assert_int_equal(write(pair[1], bytes, 40), 40);
        receive(fixture, &received);
        assert_int_equal(received.count, 2);
        assert_int_equal(vdp_load_be32(received.packets[0].meta), VDP_L3);
        assert_int_equal(vdp_load_be32(received.packets[0].meta + 4), 0x0800);
        assert_int_equal(vdp_load_be32(received.packets[1].meta + 4), 0x86dd);
        finish(fixture, pair[1]);
    }
}

static void test_frames_are_sent_in_order_with_their_marks(void **state)
{
    uint8_t bytes[8192];
    (void)state;
    for (unsigned t = 0; t < 2; t++) {
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(frame_types[t], VNET, pair[0]);
        struct shape shape = shape4;
        offer(fixture, make_packet(fixture, &shape));
        shape.size = 3000;
        offer(fixture, make_super(fixture, &shape, 1000));
        assert_int_equal(flush(fixture), 0);
        assert_int_equal(fixture_queue(fixture)->stats.tx_packets, 2);
        assert_int_equal(fixture_queue(fixture)->stats.tx_segments, 4);
        struct virtio_net_hdr header;
        assert_int_equal(read(pair[1], bytes, sizeof bytes), 10 + 154);
        memcpy(&header, bytes, 10);
        assert_int_equal(header.flags, 0);
        assert_int_equal(read(pair[1], bytes, sizeof bytes), 10 + 3054);
        memcpy(&header, bytes, 10);
        assert_int_equal(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
        assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
        assert_int_equal(header.gso_size, 1000);
        assert_int_equal(header.hdr_len, 54);
        finish(fixture, pair[1]);
    }
}

static void test_a_full_socket_keeps_the_rest_in_line(void **state)
{
    uint8_t bytes[256];
    (void)state;
    for (unsigned t = 0; t < 2; t++) {
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(frame_types[t], 0, pair[0]);
        struct shape shape = shape4;
        int size = 1; /* the least that there is: a few frames */
        assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
        for (uint32_t i = 0; i < 200; i++) {
            shape.sequence = i;
            offer(fixture, make_packet(fixture, &shape));
        }
        int result = flush(fixture);
        assert_int_equal(result, -EAGAIN);
        assert_true(fixture_queue(fixture)->tx.count > 0);
        for (uint32_t i = 0; i < 200; i++) {
            while (recv(pair[1], bytes, sizeof bytes, MSG_DONTWAIT) < 0) {
                assert_int_equal(errno, EAGAIN);
                assert_int_equal(result, -EAGAIN); /* else one is missing */
                result = flush(fixture);
            }
            assert_int_equal(vdp_load_be32(bytes + 34 + 4), i);
        }
        assert_int_equal(fixture_queue(fixture)->stats.tx_dropped, 0);
        finish(fixture, pair[1]);
    }
}

static void test_what_is_no_frame_is_not_sent(void **state)
{
    int pair[2];
    (void)state;
    make_pair(pair);
    struct fixture *fixture = fixture_for_port(VDP_PORT_PACKET, 0, pair[0]);
    for (unsigned i = 0; i < 3; i++) {
        struct vdp_packet *packet = make_packet(fixture, &shape4);
        if (i == 1)
            packet->length = 13;
        offer(fixture, packet);
    }
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_tx_error), 1);
    assert_int_equal(fixture_queue(fixture)->stats.tx_packets, 2);
    finish(fixture, pair[1]);
}

static void test_a_tun_carries_ip_only(void **state)
{
    int pair[2];
    (void)state;
    make_pair(pair);
    struct fixture *fixture = fixture_for_port(VDP_PORT_TUN, 0, pair[0]);
    struct vdp_packet *packet = make_packet(fixture, &shape4);
    packet->data[0] = 0x00;
    offer(fixture, packet);
    packet = make_packet(fixture, &shape4);
    packet->length = 0;
    offer(fixture, packet);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_protocol_unsupported), 2);
    finish(fixture, pair[1]);
}

static void test_an_ip_socket_carries_ipv4_only(void **state)
{
    int pair[2];
    (void)state;
    make_pair(pair);
    struct fixture *fixture = fixture_for_port(VDP_PORT_IP, 0, pair[0]);
    struct shape shape = shape4;
    shape.version = 6;
    shape.l3 = true;
    offer(fixture, make_packet(fixture, &shape));
    struct vdp_packet *packet = make_packet(fixture, &shape);
    packet->data[0] = 0x45;
    packet->length = 19;
    offer(fixture, packet);
    assert_int_equal(flush(fixture), 0);
    assert_int_equal(fixture_drops(fixture, VDP_REASON_protocol_unsupported), 2);
    finish(fixture, pair[1]);
}

static void test_a_frame_cut_short_is_an_error(void **state)
{
    uint8_t bytes[300] = {0};
    (void)state;
    for (unsigned t = 0; t < 2; t++) {
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(frame_types[t], 0, pair[0]);
        struct vdp_packet *packet = vdp_packet_alloc(&fixture->worker);
        packet->data = packet->buffer + VDP_BUFFER_SIZE - 200;
        assert_int_equal(write(pair[1], bytes, 300), 300);
        struct vdp_queue *queue = fixture_queue(fixture);
        assert_int_equal(queue->port->ops->receive(&fixture->worker, queue, pair[0], &packet, 1), 0);
        assert_int_equal(fixture_drops(fixture, VDP_REASON_rx_error), 1);
        vdp_packet_free(&fixture->worker, packet);
        finish(fixture, pair[1]);
    }
}

static void test_a_closed_descriptor_is_a_failure(void **state)
{
    static struct received received;
    const uint32_t types[] = {VDP_PORT_TAP, VDP_PORT_TUN, VDP_PORT_PACKET, VDP_PORT_IP};
    (void)state;
    for (unsigned t = 0; t < 4; t++) {
        int pair[2];
        make_pair(pair);
        struct fixture *fixture = fixture_for_port(types[t], 0, pair[0]);
        struct shape shape = shape4;
        shape.l3 = types[t] == VDP_PORT_TUN || types[t] == VDP_PORT_IP;
        offer(fixture, make_packet(fixture, &shape));
        close(pair[0]);
        assert_int_equal(flush(fixture), -EBADF);
        assert_int_equal(fixture_queue(fixture)->tx.count, 1); /* the core drops it */
        receive(fixture, &received);
        assert_int_equal(received.count, -EBADF);
        fixture_queue(fixture)->tx_fd = dup(pair[1]);
        finish(fixture, pair[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_are_received_in_order_with_their_marks),
        cmocka_unit_test(test_what_the_kernel_keeps_refusing_is_not_offered_again),
        cmocka_unit_test(test_a_super_packet_that_is_taken_forgives_those_refused),
        cmocka_unit_test(test_bad_frames_are_counted_and_the_good_ones_close_ranks),
        cmocka_unit_test(test_layer3_packets_get_their_ethertype),
        cmocka_unit_test(test_frames_are_sent_in_order_with_their_marks),
        cmocka_unit_test(test_a_full_socket_keeps_the_rest_in_line),
        cmocka_unit_test(test_what_is_no_frame_is_not_sent),
        cmocka_unit_test(test_a_tun_carries_ip_only),
        cmocka_unit_test(test_an_ip_socket_carries_ipv4_only),
        cmocka_unit_test(test_a_frame_cut_short_is_an_error),
        cmocka_unit_test(test_a_closed_descriptor_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
