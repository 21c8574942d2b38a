/* What a flow looks at: the words of a packet, and of its metadata, that have mask bits.
 *
 * Flows of all ports of a worker share one mask where they look at the same (shared.c), so
 * that a lookup finds it in the cache, however many ports and flows there are. */
#ifndef VDP_MASK_H
#define VDP_MASK_H

#include "internal.h"

enum {
    VDP_WINDOW_WORDS = VDP_WINDOW / 8,
    VDP_KEY_WORDS = (VDP_WINDOW + VDP_META_SIZE) / 8
};

/*   offset[], bits[]: where the 8-byte words with mask bits are, and the bits; first
 *   window_count of the packet's window, then those of the metadata, from its front */
struct vdp_mask {
    uint32_t window_count, word_count;
    uint32_t extent; /* last masked byte of the window, plus 1 */
    uint8_t offset[VDP_KEY_WORDS];
    uint64_t bits[VDP_KEY_WORDS];
};
_Static_assert(VDP_WINDOW <= 256, "offsets are bytes");

/* The mask of a match, unused words zero. */
void vdp_mask_compress(const struct vdp_match *match, struct vdp_mask *mask);
/* The words of its value, as many as the mask has. */
void vdp_mask_compress_value(const struct vdp_mask *mask, const struct vdp_match *match, uint64_t *key);
uint64_t vdp_mask_hash_key(const struct vdp_mask *mask, const uint64_t *key, uint64_t secret);

/* A masked word, which of a packet's window may lie up to 7 bytes behind its end. */
static inline uint64_t vdp_mask_load(const struct vdp_mask *mask, const uint8_t *bytes, uint32_t i)
{
    uint64_t word;

    memcpy(&word, bytes + mask->offset[i], sizeof word);
    return word & mask->bits[i];
}

/* Does the packet have that key under the mask? */
static inline bool vdp_mask_matches(const struct vdp_mask *mask, const struct vdp_packet *packet,
                                    const uint64_t *key)
{
    const uint32_t window = mask->window_count, words = mask->word_count;

    for (uint32_t i = 0; i < window; i++)
        if (vdp_mask_load(mask, packet->data, i) != key[i])
            return false;
    for (uint32_t i = window; i < words; i++)
        if (vdp_mask_load(mask, packet->meta, i) != key[i])
            return false;
    return true;
}

/* What a word adds to a hash; `secret` is another one for each.  No word waits for the one
 * before.  The two halves of a 64 x 64 bit product, as in wyhash. */
static inline uint64_t vdp_mask_hash_word(uint64_t secret, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(word ^ secret) * (secret | 1);

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}
static inline uint64_t vdp_mask_next_secret(uint64_t secret)
{
    return secret + 0x9e3779b97f4a7c15u;
}
/* From the sum over all words to a hash whose low bits depend on all bits of it: keys that differ in
 * a regular way lie in a regular way otherwise, whatever the secret, and so in each other's. */
static inline uint64_t vdp_mask_hash_end(uint64_t sum)
{
    sum = (sum ^ sum >> 32) * 0xd6e8feb86659fd93u;
    return sum ^ sum >> 32;
}

/* A packet's key under the mask, and its hash. */
uint64_t vdp_mask_apply(const struct vdp_mask *mask, const struct vdp_packet *packet, uint64_t secret,
                        uint64_t *key);

#endif
