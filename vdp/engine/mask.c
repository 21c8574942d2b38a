/* Masks: compressing a match to the words that say something. */
#include "mask.h"

void vdp_mask_compress(const struct vdp_match *match, struct vdp_mask *mask)
{
    uint8_t bytes[VDP_WINDOW + VDP_META_SIZE] = {0};

    memset(mask, 0, sizeof *mask);
    memcpy(bytes, match->mask, match->window);
    memcpy(bytes + VDP_WINDOW, match->meta_mask, VDP_META_SIZE);
    for (uint32_t i = 0; i < match->window; i++)
        if (match->mask[i])
            mask->extent = i + 1;
    for (uint32_t i = 0; i < VDP_KEY_WORDS; i++) {
        uint64_t word;
        memcpy(&word, bytes + 8u * i, sizeof word);
        if (!word)
            continue;
        mask->offset[mask->word_count] =
            (uint8_t)(8 * (i < VDP_WINDOW_WORDS ? i : i - (unsigned)VDP_WINDOW_WORDS));
        mask->bits[mask->word_count++] = word;
        if (i < VDP_WINDOW_WORDS)
            mask->window_count++;
    }
}

void vdp_mask_compress_value(const struct vdp_mask *mask, const struct vdp_match *match, uint64_t *key)
{
    uint8_t bytes[VDP_WINDOW] = {0};

    memcpy(bytes, match->value, match->window);
    for (uint32_t i = 0; i < mask->word_count; i++)
        memcpy(&key[i], (i < mask->window_count ? bytes : match->meta_value) + mask->offset[i], sizeof *key);
}

uint64_t vdp_mask_hash_key(const struct vdp_mask *mask, const uint64_t *key, uint64_t secret)
{
    uint64_t hash = 0;

    for (uint32_t i = 0; i < mask->word_count; i++, secret = vdp_mask_next_secret(secret))
        hash += vdp_mask_hash_word(secret, key[i]);
    return vdp_mask_hash_end(hash);
}

uint64_t vdp_mask_apply(const struct vdp_mask *mask, const struct vdp_packet *packet,
                                      uint64_t secret, uint64_t *key)
{
    const uint32_t window = mask->window_count, words = mask->word_count;
    uint64_t hash = 0;

    for (uint32_t i = 0; i < window; i++, secret = vdp_mask_next_secret(secret)) {
        key[i] = vdp_mask_load(mask, packet->data, i);
        hash += vdp_mask_hash_word(secret, key[i]);
    }
    for (uint32_t i = window; i < words; i++, secret = vdp_mask_next_secret(secret)) {
        key[i] = vdp_mask_load(mask, packet->meta, i);
        hash += vdp_mask_hash_word(secret, key[i]);
    }
    return vdp_mask_hash_end(hash);
}
