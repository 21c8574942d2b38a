/* The internet checksum (RFC 1071), its pseudo headers and its adjustment (RFC 1624).
 *
 * A sum in the making is a uint64_t of 16-bit words as the host loads them; RFC 1071
 * section 2(B) lets the byte order be settled once, by vdp_checksum_fold.  Sums of
 * pieces may be added up as long as each piece but the last has an even size. */
#ifndef VDP_CHECKSUM_H
#define VDP_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `sum` and the words of `size` bytes, the last odd byte padded with a zero.  Any
 * alignment.  No overflow below 2^32 words. */
uint64_t vdp_checksum_add(uint64_t sum, const uint8_t *bytes, size_t size);
/* The same without what only some processors have: what the others run. */
uint64_t vdp_checksum_add_portable(uint64_t sum, const uint8_t *bytes, size_t size);

/* `sum` and one 16-bit number, given in the host's order. */
uint64_t vdp_checksum_add_word(uint64_t sum, uint16_t number);

/* The 16-bit one's complement sum as a number: what vdp_store_be16 would write.  Not
 * inverted: over data that contains its own good checksum it is 0xffff. */
uint16_t vdp_checksum_fold(uint64_t sum);

/* What belongs into the checksum field: the inverted sum. */
uint16_t vdp_checksum(const uint8_t *bytes, size_t size);

/* The pseudo header of a transport segment of `size` bytes; `ip` is the IP header,
 * whose addresses are taken.  RFC 9293 section 3.1, RFC 8200 section 8.1. */
uint64_t vdp_checksum_pseudo(const uint8_t *ip, unsigned version, uint8_t protocol, uint32_t size);

/* The checksum field at `field` after `size` bytes changed from `before` to `after`:
 * HC' = ~(~HC + ~m + m').  `odd`: the change begins at an odd distance from where
 * the checksum's coverage begins. */
void vdp_checksum_adjust(uint8_t *field, const uint8_t *before, const uint8_t *after, size_t size,
                         bool odd);

#endif
