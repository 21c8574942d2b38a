/* offload_gre.c: super-packets in GRE, and each bit of their headers that makes them others. */
#include "segment_fixture.h"

enum { KEY = 0x20 };

/* The packet of that shape in IPv4 or IPv6 and GRE, an IP packet in an IP packet or both framed. */
static struct vdp_packet *make_tunnelled(struct fixture *fixture, const struct shape *shape,
                                         unsigned outer, uint8_t flags, bool teb)
{
    struct vdp_packet *packet = make_super(fixture, shape, 1448);
    uint32_t gre = flags & KEY ? 8 : 4, ip = outer == 4 ? 20 : 40;
    uint16_t protocol = teb ? 0x6558 : shape->version == 4 ? 0x0800 : 0x86dd;
    if (!teb) { /* it was made as a frame */
        packet->data += 14;
        packet->length -= 14;
    }
    packet->data -= 14 + ip + gre;
    packet->length += 14 + ip + gre;
    uint8_t *at = packet->data;
    memset(at, 0, 14 + ip + gre);
    vdp_store_be16(at + 12, outer == 4 ? 0x0800 : 0x86dd);
    at += 14;
    at[0] = outer == 4 ? 0x45 : 0x60;
    at[outer == 4 ? 9 : 6] = 47;
    vdp_store_be16(at + (outer == 4 ? 2 : 4), (uint16_t)(packet->length - 14 - (outer == 4 ? 0 : 40)));
    at[ip] = flags;
    vdp_store_be16(at + ip + 2, protocol);
    return packet;
}

static void test_what_fits_is_found(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        struct fixture *fixture = fixture_for_segments();
        const struct shape four = SHAPE4, six = SHAPE6;
        const struct shape *shape = i & 1 ? &six : &four;
        uint8_t flags = i & 2 ? KEY : 0;
        bool teb = (i & 4) != 0;
        struct vdp_packet *packet = make_tunnelled(fixture, shape, i & 8 ? 6 : 4, flags, teb);
        struct vdp_headers at;
        struct virtio_net_hdr header;
        uint32_t network = 14 + (i & 8 ? 40 : 20) + (flags ? 8 : 4) + (teb ? 14 : 0);
        assert_int_equal(vdp_offload_check(packet, &at), VDP_REASON_gso_unsupported);
        assert_int_equal(vdp_offload_check_gre(packet, &at), VDP_REASON_none);
        assert_int_equal(at.network, network);
        assert_int_equal(at.version, shape->version);
        assert_int_equal(vdp_vnet_store(packet, &header), VDP_REASON_none);
        assert_int_equal(header.csum_start, at.transport);
        assert_int_equal(header.hdr_len, at.payload);
        assert_true(vdp_offload_takes_headers(packet, VDP_F_GRE_TSO));
        assert_false(vdp_offload_takes_headers(packet, VDP_F_CSUM | VDP_F_TSO4 | VDP_F_TSO6));
        fixture_free(fixture);
    }
}

/* Of the outer headers these bytes may be any: addresses, TOS and traffic class, TTL, id, flow
 * label, checksum, DF; the key.  Each other bit counts. */
static bool may_be_any(uint32_t at, uint8_t bit, unsigned outer)
{
    uint32_t ip = at - 14;
    if (at < 12 || at >= 14 + (outer == 4 ? 20u : 40u) + 4)
        return true;
    if (outer == 4)
        return ip == 1 || ip == 4 || ip == 5 || ip == 8 || (ip >= 10 && ip < 20) ||
               (ip == 6 && bit >= 0x40);
    return (ip == 0 && bit < 0x10) || (ip >= 1 && ip < 4) || (ip >= 7 && ip < 40);
}

static void test_each_bit_of_the_headers_counts(void **state)
{
    const struct shape shape = SHAPE4;
    (void)state;
    for (unsigned outer = 4; outer <= 6; outer += 2) {
        struct fixture *fixture = fixture_for_segments();
        struct vdp_packet *packet = make_tunnelled(fixture, &shape, outer, KEY, true);
        uint32_t size = 14 + (outer == 4 ? 20 : 40) + 8;
        for (uint32_t at = 0; at < size; at++) {
            for (uint8_t bit = 1; bit != 0; bit = (uint8_t)(bit << 1)) {
                struct vdp_headers headers;
                packet->data[at] ^= bit;
                bool good = vdp_offload_check_gre(packet, &headers) == VDP_REASON_none;
                if (good != may_be_any(at, bit, outer))
                    print_error("outer %u, byte %u, bit %#x\n", outer, at, bit);
                assert_int_equal(good, may_be_any(at, bit, outer));
                packet->data[at] ^= bit;
            }
        }
        fixture_free(fixture);
    }
}

static void test_cut_short_anywhere_it_is_refused(void **state)
{
    const struct shape shape = SHAPE4;
    struct fixture *fixture = fixture_for_segments();
    struct vdp_packet *packet = make_tunnelled(fixture, &shape, 4, KEY, true);
    (void)state;
    uint32_t whole = packet->length;
    for (packet->length = 0; packet->length < whole; packet->length++) {
        struct vdp_headers headers;
        if (packet->length >= 34) /* its own length is right */
            vdp_store_be16(packet->data + 16, (uint16_t)(packet->length - 14));
        assert_int_not_equal(vdp_offload_check_gre(packet, &headers), VDP_REASON_none);
    }
    fixture_free(fixture);
}

static void test_the_limits_are_what_they_say(void **state)
{
    struct shape shape = SHAPE4;
    (void)state;
    for (unsigned vlans = 0; vlans < 2; vlans++) {
        struct fixture *fixture = fixture_for_segments();
        shape.vlans = vlans;
        struct vdp_packet *packet = make_super(fixture, &shape, 1448);
        uint32_t piece = 14 + 20 + 32 + 1448;
        assert_int_equal(vdp_offload_fits_gre(packet, piece << 16 | packet->length), vlans == 0);
        assert_false(vdp_offload_fits_gre(packet, piece << 16 | (packet->length - 1)));
        assert_false(vdp_offload_fits_gre(packet, (piece - 1) << 16 | packet->length));
        fixture_free(fixture);
    }
    struct fixture *fixture = fixture_for_segments();
    shape = (struct shape)SHAPE4;
    shape.udp = true;
    assert_false(vdp_offload_fits_gre(make_super(fixture, &shape, 1448), UINT32_MAX));
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fits_is_found),
        cmocka_unit_test(test_each_bit_of_the_headers_counts),
        cmocka_unit_test(test_cut_short_anywhere_it_is_refused),
        cmocka_unit_test(test_the_limits_are_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
