/* Target: checksum.c, with the widest vectors there are and without.
 * Trust:  none of its own; everything rests on it.
 * Oracle: RFC 1071 a byte at a time: for lengths below 1,024 at 64 alignments one after the other, a few
 *         of them a run, now and then a longer one, and for the input's own bytes in pieces; RFC 1624
 *         against a new sum.  (All lengths at all alignments: worst.c.) */
#include "fuzz.h"

enum { LENGTHS = 65536, ALIGNMENTS = 64, SHORT = 1024, A_RUN = 4, LONG_EACH = 256 };

static uint8_t noise[LENGTHS + ALIGNMENTS];
static uint64_t even[LENGTHS + ALIGNMENTS + 1], odd[LENGTHS + ALIGNMENTS + 1]; /* sums of bytes before */

static void begin(void)
{
    uint64_t state = 88172645463325252u;
    for (uint32_t i = 0; i < sizeof noise; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise[i] = i % 4096 < 512 ? 0xff : (uint8_t)state; /* carries upon carries */
        even[i + 1] = even[i] + (i % 2 == 0 ? noise[i] : 0u);
        odd[i + 1] = odd[i] + (i % 2 == 1 ? noise[i] : 0u);
    }
}

static void check_place(uint32_t length, uint32_t from)
{
    uint64_t evens = even[from + length] - even[from], odds = odd[from + length] - odd[from];
    uint64_t wanted = from % 2 == 0 ? (evens << 8) + odds : (odds << 8) + evens;
    LAW(vdp_checksum_fold(vdp_checksum_add(0, noise + from, length)) == plain_fold(wanted));
    LAW(vdp_checksum_fold(vdp_checksum_add_portable(0, noise + from, length)) == plain_fold(wanted));
}

/* A change of some bytes, told to a checksum over all of them. */
static void check_adjust(struct input *in, uint8_t *bytes, uint32_t size)
{
    uint8_t before[16], field[2];
    uint32_t count = 1 + take8(in) % 16u;
    if (size < count)
        return;
    uint32_t at = take16(in) % (size - count + 1);
    vdp_store_be16(field, (uint16_t)~plain_fold(plain_sum(bytes, size)));
    memcpy(before, bytes + at, count);
    take_bytes(in, bytes + at, count);
    vdp_checksum_adjust(field, before, bytes + at, count, at % 2 == 1);
    uint16_t now = plain_fold(plain_sum(bytes, size) + vdp_load_be16(field));
    LAW(now == 0xffff || now == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint32_t place;
    struct input in = {bytes, size};

    if (place == 0)
        begin();
    for (unsigned i = 0; i < A_RUN; i++, place++)
        check_place(place % SHORT, place / SHORT % ALIGNMENTS);
    if (place / A_RUN % LONG_EACH == 0)
        check_place(place / LONG_EACH * 97 % LENGTHS, place / LONG_EACH % ALIGNMENTS);
    uint32_t cut = take16(&in), odds = take8(&in);
    uint32_t length = (uint32_t)in.left;
    uint8_t *own = malloc(length + 1u); /* of this very size: a read past its end is seen */
    LAW(own != NULL);
    uint8_t *from = own;
    memcpy(from, in.at, length);
    cut = length > 1 ? cut % length / 2 * 2 : 0;
    uint64_t sum = vdp_checksum_add(vdp_checksum_add(0, from, cut), from + cut, length - cut);
    LAW(vdp_checksum_fold(sum) == plain_fold(plain_sum(from, length)));
    SAME(vdp_checksum(from, length), (uint16_t)~plain_fold(plain_sum(from, length)));
    LAW(vdp_checksum_fold(vdp_checksum_add_word(sum, (uint16_t)odds)) ==
        plain_fold(plain_sum(from, length) + odds));
    if (length >= 40)
        for (unsigned version = 4; version <= 6; version += 2) {
            uint32_t of = vdp_load_be32(from);
            LAW(vdp_checksum_fold(vdp_checksum_pseudo(from, version, (uint8_t)odds, of)) ==
                plain_fold(plain_pseudo(from, version, (uint8_t)odds, of)));
        }
    check_adjust(&in, from, length);
    free(own);
    return 0;
}
