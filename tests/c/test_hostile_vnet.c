/* virtio_net_hdr from outside, as a TAP's reader may write it: nonsense, near misses and good ones,
 * through a whole engine that cuts, joins and sends what it believes.  The sanitizers watch. */
#include "port_fixture.h"

#include "harness.h"

#include <sys/socket.h>

enum { ROUNDS = 20000, MOST = 9000, HEADER = sizeof(struct virtio_net_hdr), ALL_GSO = VNET & ~VDP_F_VNET_HDR };

struct wire {
    struct vdp_engine *engine;
    struct fixture *source; /* of good packets */
    int in, out, plain;     /* the test's ends */
    int ends[3];            /* the engine's */
    uint32_t port[3], cell;
};

static uint32_t tap(struct wire *wire, unsigned index, int *other, uint32_t features)
{
    struct vdp_port_config config = {.name = "tap", .type = VDP_PORT_TAP, .features = features, .fd_count = 1};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    *other = pair[1];
    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    config.fd[0] = wire->ends[index] = pair[0];
    int port = vdp_port_add(wire->engine, &config);
    assert_true(port > 0);
    return (uint32_t)port;
}

/* in ─► a copy cut, with a header in front, to plain; another through a cell to out. */
static void wire_open(struct wire *wire)
{
    wire->engine = engine_with((struct vdp_engine_config){.packets = 512});
    wire->source = fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 512);
    wire->port[0] = tap(wire, 0, &wire->in, VNET);
    wire->port[1] = tap(wire, 1, &wire->out, VNET);
    wire->port[2] = tap(wire, 2, &wire->plain, 0);
    wire->cell = add_port(wire->engine, VDP_PORT_CELL, VDP_L2);
    assert_int_equal(vdp_port_set_features(wire->engine, wire->cell, ALL_GSO), 0);
    const uint8_t head[4] = {0};
    struct vdp_action cuts[] = {{.op = VDP_OP_CLONE, .b = 4},
                                {.op = VDP_OP_SEGMENT},
                                {.op = VDP_OP_PUSH, .b = 4},
                                {.op = VDP_OP_OUTPUT, .b = wire->port[2]},
                                {.op = VDP_OP_OUTPUT, .b = wire->cell}};
    struct vdp_action passes[] = {{.op = VDP_OP_OUTPUT, .b = wire->port[1]}};
    struct vdp_match in = match_all(wire->port[0]), joined = match_all(wire->cell);
    assert_true(install(wire->engine, &in, PROGRAM_OF(cuts, head)) > 0);
    assert_true(install(wire->engine, &joined, PROGRAM(passes)) > 0);
}

static void wire_close(struct wire *wire)
{
    vdp_engine_free(wire->engine);
    fixture_free(wire->source);
    for (unsigned i = 0; i < 3; i++)
        close(wire->ends[i]);
    close(wire->in);
    close(wire->out);
    close(wire->plain);
}

/* A good super-packet or a plain packet, with the header that a kernel would write. */
static uint32_t make_good(struct wire *wire, uint8_t *bytes, uint32_t *seed)
{
    struct shape shape = {.version = random_below(seed, 2) ? 4 : 6, .ttl = 64, .window = 500,
                          .size = 1 + random_below(seed, 4000), .udp = random_below(seed, 3) == 0,
                          .vlans = random_below(seed, 3), .sequence = *seed};
    shape.tcp_options = shape.udp ? 0 : 4 * random_below(seed, 4);
    struct vdp_packet *packet = make_super(wire->source, &shape, (uint16_t)(64 + random_below(seed, 1500)));
    struct virtio_net_hdr header;
    if (vdp_vnet_store(packet, &header) != VDP_REASON_none)
        memset(&header, 0, sizeof header);
    memcpy(bytes, &header, HEADER);
    memcpy(bytes + HEADER, packet->data, packet->length);
    uint32_t size = HEADER + packet->length;
    vdp_packet_free(&wire->source->worker, packet);
    return size;
}

/* Some fields of the header, or bytes of the frame's headers, are not what they were. */
static void damage(uint8_t *bytes, uint32_t *size, uint32_t *seed)
{
    static const uint16_t edges[] = {0, 1, 2, 13, 14, 33, 34, 47, 48, 54, 0x7fff, 0x8000, 0xfffe, 0xffff};

    for (uint32_t times = random_below(seed, 4); times > 0; times--)
        switch (random_below(seed, 4)) {
        case 0:
            bytes[random_below(seed, HEADER)] = (uint8_t)random_below(seed, 256);
            break;
        case 1: { /* hdr_len, gso_size, csum_start, csum_offset */
            uint16_t edge = edges[random_below(seed, COUNT_OF(edges))];
            memcpy(bytes + 2 + 2 * random_below(seed, 4), &edge, sizeof edge);
            break;
        }
        case 2:
            bytes[HEADER + random_below(seed, *size - HEADER < 80 ? *size - HEADER : 80)] ^=
                (uint8_t)(1u << random_below(seed, 8));
            break;
        default:
            *size = HEADER + 1 + random_below(seed, *size - HEADER);
        }
}

/* What is said of a super-packet is so, and it is worth its cutting. */
static void expect_whole(const struct wire *wire, const uint8_t *bytes, uint32_t size,
                         const struct virtio_net_hdr *header)
{
    struct vdp_packet *packet = vdp_packet_alloc(&wire->source->worker);
    struct vdp_headers at;
    memcpy(packet->data, bytes, size);
    packet->length = size;
    memset(packet->meta, 0, sizeof packet->meta);
    assert_true(vdp_offload_locate(packet, &at));
    assert_int_equal(at.end, size);
    assert_int_equal(at.payload, header->hdr_len);
    assert_int_equal(at.transport, header->csum_start);
    assert_int_equal(at.protocol, header->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? VDP_UDP : VDP_TCP);
    uint32_t pieces = (size - at.payload + header->gso_size - 1) / header->gso_size;
    assert_true(pieces > 1 && (pieces <= 64 || header->gso_size >= VDP_SEGMENT_LEAST));
    vdp_packet_free(&wire->source->worker, packet);
}

static void expect_good(const struct wire *wire)
{
    static uint8_t bytes[HEADER + 65536];
    struct virtio_net_hdr header;
    ssize_t size;

    while ((size = recv(wire->plain, bytes, sizeof bytes, 0)) > 0)
        assert_true(size <= MOST);
    while ((size = recv(wire->out, bytes, sizeof bytes, 0)) > 0) {
        assert_true(size > HEADER);
        memcpy(&header, bytes, HEADER);
        assert_int_equal(header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
        if (header.flags)
            assert_true(header.csum_start + header.csum_offset + 2 <= size - HEADER);
        if (header.gso_type) { /* what a kernel asks of it: virtio_net_hdr_to_skb */
            assert_true(header.flags && header.gso_size > 0);
            assert_true(header.hdr_len > header.csum_start && header.hdr_len < size - HEADER);
            expect_whole(wire, bytes + HEADER, (uint32_t)size - HEADER, &header);
        }
    }
}

static void test_hostile_headers_are_refused_or_make_good_frames(void **state)
{
    static uint8_t bytes[HEADER + MOST];
    struct wire wire;
    uint32_t seed = 77, good = 0;
    (void)state;
    wire_open(&wire);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t size = make_good(&wire, bytes, &seed);
        damage(bytes, &size, &seed);
        assert_int_equal(send(wire.in, bytes, size, 0), size);
        if (round % 4 == 3) {
            poll_all(wire.engine);
            expect_good(&wire);
        }
    }
    for (unsigned i = 0; i < 3; i++)
        check_books(wire.engine, wire.port[i], false);
    check_books(wire.engine, wire.cell, true);
    struct vdp_port_stats stats = stats_of(wire.engine, wire.port[0]);
    good = (uint32_t)stats.hits;
    assert_int_equal(stats.rx_packets, ROUNDS);
    assert_true(good > ROUNDS / 4 && good < ROUNDS); /* some of both */
    assert_true(drops_of(wire.engine, wire.port[0], VDP_REASON_gso_invalid) > ROUNDS / 100);
    assert_true(drops_of(wire.engine, wire.port[0], VDP_REASON_vnet_hdr_invalid) > ROUNDS / 100);
    assert_true(stats.segmented > 0 && stats_of(wire.engine, wire.cell).merged + stats.cloned > 0);
    wire_close(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_headers_are_refused_or_make_good_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
