/* checksum.c against its bytewise twin. */
#include "packets.h"

enum { MOST = 2048, ALIGNMENTS = 8 };

static void fill(uint8_t *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_below(&seed, 256);
}

static void test_sum_equals_the_bytewise_sum(void **state)
{
    static uint8_t storage[MOST + ALIGNMENTS];
    (void)state;
    fill(storage, sizeof storage, 1);
    for (size_t size = 0; size <= MOST; size++)
        for (size_t shift = 0; shift < ALIGNMENTS; shift++) {
            const uint8_t *bytes = storage + shift;
            assert_int_equal(vdp_checksum_fold(vdp_checksum_add(0, bytes, size)),
                             plain_sum(0, bytes, size));
            assert_int_equal(vdp_checksum_fold(vdp_checksum_add_portable(0, bytes, size)),
                             plain_sum(0, bytes, size));
            assert_int_equal(vdp_checksum(bytes, size), (uint16_t)~plain_sum(0, bytes, size));
        }
}

/* Long ones at any alignment, whatever was summed up before: the wide loop and its rest. */
static void test_both_loops_agree_on_any_piece(void **state)
{
    enum { LARGE = 70000, ROUNDS = 3000 };
    static uint8_t storage[LARGE];
    uint32_t seed = 7;
    (void)state;
    fill(storage, sizeof storage, 6);
    memset(storage, 0xff, LARGE / 4); /* carries everywhere */
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t size = random_below(&seed, round % 8 ? 3000 : 66000);
        const uint8_t *bytes = storage + random_below(&seed, LARGE - size);
        uint64_t before = (uint64_t)random_below(&seed, UINT32_MAX) << (round % 24);
        uint16_t start = vdp_checksum_fold(before);
        uint16_t expected = plain_sum(start, bytes, size);
        assert_int_equal(vdp_checksum_fold(vdp_checksum_add(before, bytes, size)), expected);
        assert_int_equal(vdp_checksum_fold(vdp_checksum_add_portable(before, bytes, size)), expected);
    }
}

static void test_nothing_is_read_past_the_end(void **state)
{
    (void)state; /* allocated to the byte: the sanitizer watches */
    for (size_t size = 1; size <= 600; size++) {
        uint8_t *bytes = malloc(size);
        fill(bytes, size, 2);
        assert_int_equal(vdp_checksum(bytes, size), (uint16_t)~plain_sum(0, bytes, size));
        free(bytes);
    }
}

static void test_carries_of_the_largest_sum_are_kept(void **state)
{
    static uint8_t bytes[65792];
    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(vdp_checksum_fold(vdp_checksum_add(0, bytes, sizeof bytes)), 0xffff);
    bytes[1] = 0xfe;
    assert_int_equal(vdp_checksum_fold(vdp_checksum_add(0, bytes, sizeof bytes)), 0xfffe);
    assert_int_equal(vdp_checksum_fold(UINT64_MAX), 0xffff);
}

static void test_pieces_of_even_size_add_up(void **state)
{
    uint8_t bytes[301];
    (void)state;
    fill(bytes, sizeof bytes, 3);
    for (size_t cut = 0; cut <= 300; cut += 2) {
        uint64_t sum = vdp_checksum_add(0, bytes, cut);
        sum = vdp_checksum_add(sum, bytes + cut, sizeof bytes - cut);
        assert_int_equal(vdp_checksum_fold(sum), plain_sum(0, bytes, sizeof bytes));
    }
}

static void test_pseudo_header(void **state)
{
    uint8_t ip[40];
    (void)state;
    fill(ip, sizeof ip, 4);
    ip[0] = 0x45;
    assert_int_equal(vdp_checksum_fold(vdp_checksum_pseudo(ip, 4, VDP_TCP, 1460)),
                     plain_pseudo(ip, VDP_TCP, 1460));
    ip[0] = 0x60;
    assert_int_equal(vdp_checksum_fold(vdp_checksum_pseudo(ip, 6, VDP_UDP, 0x12345)),
                     plain_pseudo(ip, VDP_UDP, 0x12345));
}

/* RFC 1624 section 4: the example where the older equation gives 0xffff. */
static void test_adjust_gives_zero_in_the_example_of_rfc_1624(void **state)
{
    uint8_t field[2] = {0xdd, 0x2f}, before[2] = {0x55, 0x55}, after[2] = {0x32, 0x85};
    (void)state;
    vdp_checksum_adjust(field, before, after, 2, false);
    assert_int_equal(vdp_load_be16(field), 0x0000);
}

static void test_adjust_equals_a_new_checksum(void **state)
{
    uint8_t data[64], before[16];
    uint32_t seed = 5;
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        fill(data, sizeof data, round + 1);
        memset(data + 10, 0, 2);
        vdp_store_be16(data + 10, vdp_checksum(data, sizeof data));
        uint32_t size = 1 + random_below(&seed, 16);
        uint32_t at = 12 + random_below(&seed, 64 - 12 - size);
        memcpy(before, data + at, size);
        fill(data + at, size, seed);
        vdp_checksum_adjust(data + 10, before, data + at, size, at % 2 != 0);
        assert_int_equal(plain_sum(0, data, sizeof data), 0xffff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum_equals_the_bytewise_sum),
        cmocka_unit_test(test_both_loops_agree_on_any_piece),
        cmocka_unit_test(test_nothing_is_read_past_the_end),
        cmocka_unit_test(test_carries_of_the_largest_sum_are_kept),
        cmocka_unit_test(test_pieces_of_even_size_add_up),
        cmocka_unit_test(test_pseudo_header),
        cmocka_unit_test(test_adjust_gives_zero_in_the_example_of_rfc_1624),
        cmocka_unit_test(test_adjust_equals_a_new_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
