/* Trains: UDP datagrams that leave in one write, and are the same again when they are cut. */
#include "port_fixture.h"

#include "../../vdp/engine/udp.h"

#include <sys/socket.h>
#include <sys/uio.h>

enum { MOST_MESSAGE = 10 + 65600 };

struct wire {
    struct fixture *fixture;
    int other;
};

static struct wire make_wire(uint32_t features)
{
    int pair[2], size = 4 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    return (struct wire){fixture_for_port(VDP_PORT_PACKET, features, pair[0]), pair[1]};
}

static const struct shape plain = {
    .version = 4, .udp = true, .ttl = 64, .size = 1000, .id = 0xffff};

/* A datagram that a program has just put its headers on. */
static struct vdp_packet *make_datagram(struct fixture *fixture, const struct shape *shape)
{
    struct vdp_packet *packet = make_packet(fixture, shape);
    struct vdp_headers at;
    assert_true(vdp_offload_locate(packet, &at));
    assert_int_equal(vdp_udp_leave_checksum(packet, shape->version, at.network, at.transport),
                     VDP_REASON_none);
    return packet;
}

/* The next message, loaded as who gets it would; NULL: there is none. */
static struct vdp_packet *next_message(const struct wire *wire)
{
    struct virtio_net_hdr header;
    struct vdp_packet *packet = vdp_packet_alloc(&wire->fixture->worker);
    assert_non_null(packet);
    const struct iovec parts[2] = {{&header, sizeof header},
                                   {packet->data, vdp_packet_tailroom(packet)}};
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = 2};
    ssize_t size = recvmsg(wire->other, &message, MSG_DONTWAIT);
    if (size < 0) {
        vdp_packet_free(&wire->fixture->worker, packet);
        return NULL;
    }
    packet->length = (uint32_t)size - sizeof header;
    packet->in_port = ORIGIN;
    assert_int_equal(vdp_vnet_load(packet, &header), VDP_REASON_none);
    return packet;
}

struct expected {
    struct wire *wire;
    const struct shape *shapes;
    unsigned at;
};

/* What came of the train is what was offered, finished; ids that mean nothing aside. */
static void expect(void *context, struct vdp_packet *packet)
{
    struct expected *expected = context;
    struct fixture *fixture = expected->wire->fixture;
    const struct shape *shape = &expected->shapes[expected->at++];
    struct vdp_packet *whole = make_packet(fixture, shape);
    uint8_t *ip = whole->data + 14 + 4 * shape->vlans;
    assert_non_null(packet);
    assert_packet_whole(packet);
    assert_int_equal(packet->length, whole->length);
    if (shape->version == 4 && !shape->may_fragment) {
        const uint8_t *got = packet->data + (ip - whole->data);
        memcpy(ip + 4, got + 4, 2);
        memcpy(ip + 10, got + 10, 2); /* it is good: assert_packet_whole */
    }
    assert_memory_equal(packet->data, whole->data, whole->length);
    vdp_packet_free(&fixture->worker, whole);
    vdp_packet_free(&fixture->worker, packet);
}

/* Offer them, flush, cut what comes: the same again.  How many messages they went in. */
static unsigned send_all(struct wire *wire, const struct shape *shapes, unsigned count)
{
    struct expected expected = {wire, shapes, 0};
    struct vdp_packet *packet;
    unsigned messages = 0;
    for (unsigned i = 0; i < count; i++)
        offer(wire->fixture, make_datagram(wire->fixture, &shapes[i]));
    uint64_t before = fixture_queue(wire->fixture)->stats.tx_packets;
    assert_int_equal(flush(wire->fixture), 0);
    assert_int_equal(fixture_queue(wire->fixture)->stats.tx_packets - before, count);
    for (; (packet = next_message(wire)) != NULL; messages++)
        assert_int_equal(
            vdp_segment(&wire->fixture->worker, packet, 0, 0, expect, &expected), VDP_REASON_none);
    assert_int_equal(expected.at, count);
    return messages;
}

static void fill(struct shape *shapes, unsigned count, const struct shape *first)
{
    for (unsigned i = 0; i < count; i++) {
        shapes[i] = *first;
        shapes[i].id = (uint16_t)(first->id + i);
        shapes[i].sequence = i * first->size;
    }
}

static void test_datagrams_of_a_flow_leave_in_one_write(void **state)
{
    struct shape shapes[8], kinds[] = {plain, plain, plain, plain, plain};
    (void)state;
    kinds[1].version = 6;
    kinds[2].vlans = 2;
    kinds[3].ip_options = 8;
    kinds[4].may_fragment = true;
    for (unsigned kind = 0; kind < 5; kind++) {
        struct wire wire = make_wire(VNET);
        fill(shapes, 8, &kinds[kind]);
        assert_int_equal(send_all(&wire, shapes, 8), 1);
        finish(wire.fixture, wire.other);
    }
}

static void test_ipv6_behind_options_too(void **state)
{
    struct wire wire = make_wire(VNET);
    struct shape shapes[3], first = {.version = 6, .udp = true, .ttl = 64, .size = 900, .ip_options = 8};
    (void)state;
    fill(shapes, 3, &first);
    assert_int_equal(send_all(&wire, shapes, 3), 1);
    finish(wire.fixture, wire.other);
}

static void test_a_shorter_datagram_is_a_trains_last(void **state)
{
    struct wire wire = make_wire(VNET);
    struct shape shapes[6];
    (void)state;
    fill(shapes, 6, &plain);
    shapes[2].size = 999;
    assert_int_equal(send_all(&wire, shapes, 6), 2);
    fill(shapes, 6, &plain);
    shapes[2].size = 1001; /* a longer one begins the next, of which the one behind is the last */
    assert_int_equal(send_all(&wire, shapes, 6), 3);
    finish(wire.fixture, wire.other);
}

static void test_what_differs_is_not_joined(void **state)
{
    struct shape shapes[2], other;
    struct wire wire = make_wire(VNET);
    (void)state;
    for (unsigned what = 0; what < 9; what++) {
        fill(shapes, 2, &plain);
        other = shapes[1];
        switch (what) {
        case 0: other.port++; break;
        case 1: other.ttl--; break;
        case 2: other.tos = 1; break;
        case 3: other.may_fragment = true; break;
        case 4: other.version = 6; break;
        case 5: other.vlans = 1; break;
        case 6: other.ip_options = 4; break;
        case 7: /* no DF, and the kernel would number the second one by one more */
            shapes[0].may_fragment = other.may_fragment = true;
            other.id = (uint16_t)(shapes[0].id + 2);
            break;
        default: other.size = 1001;
        }
        shapes[1] = other;
        assert_int_equal(send_all(&wire, shapes, 2), 2);
    }
    finish(wire.fixture, wire.other);
}

static void test_with_df_ids_mean_nothing(void **state)
{
    struct shape shapes[2];
    struct wire wire = make_wire(VNET);
    (void)state;
    fill(shapes, 2, &plain);
    shapes[1].id = 77;
    assert_int_equal(send_all(&wire, shapes, 2), 1);
    finish(wire.fixture, wire.other);
}

static void test_finished_checksums_go_alone(void **state)
{
    struct wire wire = make_wire(VNET);
    struct shape shapes[2];
    struct vdp_packet *packet;
    unsigned messages = 0;
    (void)state;
    fill(shapes, 2, &plain);
    for (unsigned i = 0; i < 2; i++)
        offer(wire.fixture, make_packet(wire.fixture, &shapes[i]));
    assert_int_equal(flush(wire.fixture), 0);
    for (; (packet = next_message(&wire)) != NULL; messages++)
        vdp_packet_free(&wire.fixture->worker, packet);
    assert_int_equal(messages, 2);
    finish(wire.fixture, wire.other);
}

static void test_a_port_that_cuts_none_gets_none(void **state)
{
    struct wire wire = make_wire(VDP_F_VNET_HDR | VDP_F_CSUM);
    struct shape shapes[3];
    (void)state;
    fill(shapes, 3, &plain);
    assert_int_equal(send_all(&wire, shapes, 3), 3);
    finish(wire.fixture, wire.other);
}

static void test_a_train_is_bounded(void **state)
{
    struct wire wire = make_wire(VNET);
    struct shape shapes[64], first = plain;
    (void)state;
    fill(shapes, 64, &first);
    assert_int_equal(send_all(&wire, shapes, 64), 1);
    first.size = 1400; /* 46 times that, and 42 bytes of headers, is as much as 65535 holds */
    fill(shapes, 64, &first);
    assert_int_equal(send_all(&wire, shapes, 64), 2);
    finish(wire.fixture, wire.other);
}

static void test_a_refused_train_goes_datagram_by_datagram(void **state)
{
    struct wire wire = make_wire(VNET);
    struct shape shapes[20];
    int least = 0; /* the kernel makes it a few thousand bytes: EMSGSIZE */
    (void)state;
    fill(shapes, 20, &plain);
    assert_int_equal(setsockopt(fixture_queue(wire.fixture)->tx_fd, SOL_SOCKET, SO_SNDBUF, &least,
                                sizeof least), 0);
    for (unsigned i = 0; i < 20; i++)
        offer(wire.fixture, make_datagram(wire.fixture, &shapes[i]));
    unsigned messages = 0;
    while (fixture_queue(wire.fixture)->tx.count > 0) {
        struct vdp_packet *packet;
        (void)flush(wire.fixture); /* -EAGAIN: the other end is to read first */
        for (; (packet = next_message(&wire)) != NULL; messages++) {
            assert_int_equal(packet->gso_type, 0);
            vdp_packet_free(&wire.fixture->worker, packet);
        }
    }
    assert_int_equal(messages, 20);
    assert_int_equal(fixture_queue(wire.fixture)->stats.refused, 1);
    assert_int_equal(fixture_queue(wire.fixture)->stats.tx_packets, 20);
    finish(wire.fixture, wire.other);
}

static uint32_t draw(uint32_t *seed, uint32_t bound)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % bound;
}

static void test_any_mixture_arrives_as_it_was_offered(void **state)
{
    uint32_t seed = 20;
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct wire wire = make_wire(VNET);
        struct shape shapes[64], now = plain;
        unsigned count = 1 + draw(&seed, 64);
        now.version = draw(&seed, 2) ? 4 : 6;
        for (unsigned i = 0; i < count; i++) {
            uint32_t change = draw(&seed, 40);
            now.id = (uint16_t)(now.id + (change == 7 ? 2 : 1));
            now.sequence += now.size;
            if (change == 0)
                now.size = 1 + draw(&seed, 1400);
            else if (change == 1)
                now.port ^= 1;
            else if (change == 2)
                now.may_fragment = !now.may_fragment;
            else if (change == 3)
                now.ip_options = 8 - now.ip_options;
            else if (change == 4)
                now.tos ^= 2;
            shapes[i] = now;
            if (change == 5)
                shapes[i].size = 1 + draw(&seed, now.size);
        }
        (void)send_all(&wire, shapes, count);
        finish(wire.fixture, wire.other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datagrams_of_a_flow_leave_in_one_write),
        cmocka_unit_test(test_ipv6_behind_options_too),
        cmocka_unit_test(test_a_shorter_datagram_is_a_trains_last),
        cmocka_unit_test(test_what_differs_is_not_joined),
        cmocka_unit_test(test_with_df_ids_mean_nothing),
        cmocka_unit_test(test_finished_checksums_go_alone),
        cmocka_unit_test(test_a_port_that_cuts_none_gets_none),
        cmocka_unit_test(test_a_train_is_bounded),
        cmocka_unit_test(test_a_refused_train_goes_datagram_by_datagram),
        cmocka_unit_test(test_any_mixture_arrives_as_it_was_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
