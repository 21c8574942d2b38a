/* The internet checksum: 32-bit words into 64-bit accumulators, with carries folded once at
 * the end.  The compiler turns the portable loop into code for the vectors that every processor
 * of its kind has; where this one has wider ones, they take the bulk of what is long. */
#include "checksum.h"

#include "packet.h"
#include <string.h>

enum { LANES = 8 };

/* gcc 12 leaves this loop scalar at -O2, at a quarter of the speed. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((optimize("O3")))
#else
#define VECTORISED
#endif

VECTORISED uint64_t vdp_checksum_add_portable(uint64_t sum, const uint8_t *bytes, size_t size)
{
    uint64_t lane[LANES] = {0};
    while (size >= LANES * sizeof(uint32_t)) {
        uint32_t word[LANES];
        memcpy(word, bytes, sizeof word);
        for (unsigned i = 0; i < LANES; i++)
            lane[i] += word[i];
        bytes += sizeof word;
        size -= sizeof word;
    }
    for (unsigned i = 0; i < LANES; i++)
        sum += lane[i];
    while (size >= sizeof(uint32_t)) {
        uint32_t word;
        memcpy(&word, bytes, sizeof word);
        sum += word;
        bytes += sizeof word;
        size -= sizeof word;
    }
    if (size > 0) {
        /* One to three bytes, zeros behind: the padding of RFC 1071. */
        uint8_t rest[sizeof(uint32_t)] = {0};
        uint32_t word;
        memcpy(rest, bytes, size);
        memcpy(&word, rest, sizeof word);
        sum += word;
    }
    return sum;
}

#if defined(__x86_64__)
typedef uint64_t wide __attribute__((vector_size(32)));

enum { TURN = 2 * sizeof(wide), WIDE_FROM = 4 * TURN };

/* The halves of each 64-bit word are added separately: no carry is lost. */
__attribute__((target("avx2"))) static uint64_t add_wide(uint64_t sum, const uint8_t *bytes, size_t size)
{
    wide even = {0}, odd = {0};

    for (size_t at = 0; at < size; at += TURN) {
        wide one, two;
        memcpy(&one, bytes + at, sizeof one);
        memcpy(&two, bytes + at + sizeof one, sizeof two);
        even += (one & UINT32_MAX) + (one >> 32);
        odd += (two & UINT32_MAX) + (two >> 32);
    }
    even += odd;
    return sum + even[0] + even[1] + even[2] + even[3];
}

uint64_t vdp_checksum_add(uint64_t sum, const uint8_t *bytes, size_t size)
{
    if (size >= WIDE_FROM && __builtin_cpu_supports("avx2")) {
        size_t bulk = size - size % TURN;
        sum = add_wide(sum, bytes, bulk);
        bytes += bulk;
        size -= bulk;
    }
    return vdp_checksum_add_portable(sum, bytes, size);
}
#else
uint64_t vdp_checksum_add(uint64_t sum, const uint8_t *bytes, size_t size)
{
    return vdp_checksum_add_portable(sum, bytes, size);
}
#endif

uint64_t vdp_checksum_add_word(uint64_t sum, uint16_t number)
{
    uint8_t wire[2];
    uint16_t word;
    vdp_store_be16(wire, number);
    memcpy(&word, wire, sizeof word);
    return sum + word;
}

uint16_t vdp_checksum_fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    uint16_t word = (uint16_t)sum;
    uint8_t wire[2];
    memcpy(wire, &word, sizeof wire);
    return vdp_load_be16(wire);
}

uint16_t vdp_checksum(const uint8_t *bytes, size_t size)
{
    return (uint16_t)~vdp_checksum_fold(vdp_checksum_add(0, bytes, size));
}

uint64_t vdp_checksum_pseudo(const uint8_t *ip, unsigned version, uint8_t protocol, uint32_t size)
{
    /* Source and destination lie side by side: IPv4 at 12, IPv6 at 8. */
    uint64_t sum = version == 4 ? vdp_checksum_add(0, ip + 12, 8) : vdp_checksum_add(0, ip + 8, 32);
    sum = vdp_checksum_add_word(sum, protocol);
    sum = vdp_checksum_add_word(sum, (uint16_t)(size >> 16)); /* IPv6's length has 32 bits */
    return vdp_checksum_add_word(sum, (uint16_t)size);
}

void vdp_checksum_adjust(uint8_t *field, const uint8_t *before, const uint8_t *after, size_t size,
                         bool odd)
{
    uint16_t removed = vdp_checksum_fold(vdp_checksum_add(0, before, size));
    uint16_t added = vdp_checksum_fold(vdp_checksum_add(0, after, size));
    if (odd) { /* RFC 1071 section 2(B): a byte-swapped sum is the sum of swapped bytes */
        removed = (uint16_t)(removed << 8 | removed >> 8);
        added = (uint16_t)(added << 8 | added >> 8);
    }
    uint32_t sum = (uint16_t)~vdp_load_be16(field) + (uint32_t)(uint16_t)~removed + added;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    vdp_store_be16(field, (uint16_t)~sum);
}
