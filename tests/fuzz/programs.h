/* Programs made of choices: eight bytes an action, every operand put where it is valid, and offsets
 * near the packet's headers.  And a mutator that changes whole actions. */
#ifndef VDP_FUZZ_PROGRAMS_H
#define VDP_FUZZ_PROGRAMS_H

#include "frames.h"

enum { ACTION_BYTES = 8, PROGRAM_MOST = 24, TAKEN_ACTIONS = 16, CONSTANTS = 64 };
enum { NOWHERE = 9999 }; /* no port, state or counter */

struct numbers {
    const uint32_t *ports, *states, *counters, *groups;
    uint32_t port_count, state_count, counter_count, group_count, header;
};

struct program {
    struct vdp_action actions[PROGRAM_MOST];
    uint32_t count;
    uint8_t blob[CONSTANTS + 64];
};

/* The input's first part: a count and that many actions. */
struct recipe {
    const uint8_t *actions;
    uint32_t count;
};

static inline struct recipe take_recipe(struct input *in)
{
    struct recipe recipe = {.count = take8(in) % TAKEN_ACTIONS};
    if (recipe.count > in->left / ACTION_BYTES)
        recipe.count = (uint32_t)(in->left / ACTION_BYTES);
    recipe.actions = in->at;
    in->at += (size_t)recipe.count * ACTION_BYTES;
    in->left -= (size_t)recipe.count * ACTION_BYTES;
    return recipe;
}

static inline uint32_t offset_near(const struct frame *frame, uint32_t word)
{
    const uint32_t bases[8] = {0, frame->network, frame->transport, frame->payload,
                               frame->tunnel, frame->length, 0, 0};
    uint32_t base = bases[word >> 13];
    if (word >> 13 >= 6)
        return word & 0x1fff;
    return word & 128 && base >= 8 ? base - (word & 7) : base + (word & 63);
}

static inline uint32_t number_of(const uint32_t *numbers, uint32_t count, uint32_t word)
{
    return count == 0 || word % 32 == 31 ? (uint32_t)NOWHERE : numbers[word % count];
}

/* What a GRE link does: mind the super-packet, push headers, fill them in. */
static inline void add_tunnel(struct program *program, const struct numbers *numbers, uint16_t a, uint32_t b,
                              uint32_t d)
{
    bool csum = a & 1, in_udp = a & 2;
    uint32_t gre = CONSTANTS, udp = gre + 8, ip = udp + 8, gre_size = csum ? 8 : 4;
    const struct vdp_action actions[] = {
        {VDP_OP_SEGMENT, (uint16_t)(VDP_F_GRE_TSO | (a & 4 ? VDP_SEGMENT_EQUAL : 0)), 0, 0,
         a & 8 ? UINT32_MAX : (d % 2000) << 16 | (b % 8000)},
        {VDP_OP_PUSH, 0, gre_size, gre, 0},
        {VDP_OP_CHECKSUM, 0, csum ? 4 : NOWHERE, 0, 0},
        {VDP_OP_PUSH, 0, 8, udp, 0},
        {VDP_OP_LENGTH, 0, 4, 0, 0},
        {VDP_OP_PUSH, 0, 20, ip, 0},
        {VDP_OP_LENGTH, 0, 2, 0, 0},
        {VDP_OP_ID, 0, 4, numbers->states[0], 0},
        {VDP_OP_CHECKSUM, 0, 10, 0, 20},
        {VDP_OP_UDP_CHECKSUM, 4, 0, 20, 0},
        {VDP_OP_META, 0, VDP_L3, 0, 0},
        {VDP_OP_META, 1, 0x0800, 0, 0},
    };
    uint8_t *blob = program->blob;
    vdp_store_be16(blob + gre, csum ? 0x8000 : 0);
    vdp_store_be16(blob + gre + 2, a & 16 ? 0x6558 : 0x0800);
    memset(blob + gre + 4, 0, 4);
    vdp_store_be16(blob + udp, 50000);
    vdp_store_be16(blob + udp + 2, UDP_TUNNEL);
    memset(blob + udp + 4, 0, 4);
    memset(blob + ip, 0, 20);
    blob[ip] = 0x45;
    blob[ip + 8] = 64;
    blob[ip + 9] = in_udp ? VDP_UDP : IP_GRE;
    blob[ip + 12] = blob[ip + 16] = 192;
    for (uint32_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        bool is_udps = i == 3 || i == 4 || i == 9;
        if ((is_udps && !in_udp) || (i == 2 && !csum) || program->count >= PROGRAM_MOST - 1)
            continue;
        program->actions[program->count++] = actions[i];
    }
}

static inline bool program_jumps(uint16_t op)
{
    return op == VDP_OP_CLONE || (op >= VDP_OP_TRIM && op <= VDP_OP_TTL) || op == VDP_OP_FRAGMENT ||
           op == VDP_OP_REQUIRE_UDP;
}

static inline bool program_ends(uint16_t op)
{
    return op == VDP_OP_DROP || op == VDP_OP_OUTPUT || op == VDP_OP_GROUP;
}

/* The operands of one action; targets come when all are known. */
static inline struct vdp_action make_action(const uint8_t *at, const struct frame *frame,
                                            const struct numbers *numbers)
{
    uint16_t op = at[0] % VDP_OP_COUNT_OPS, a = at[1];
    uint32_t b = vdp_load_be16(at + 2), c = vdp_load_be16(at + 4), d = vdp_load_be16(at + 6);
    const unsigned version = a & 1 ? 6 : 4;
    const uint32_t near_b = offset_near(frame, b), near_c = offset_near(frame, c), near_d = offset_near(frame, d);
    const uint32_t state = number_of(numbers->states, numbers->state_count, c);
    const uint32_t counter = number_of(numbers->counters, numbers->counter_count, b);
    switch (op) {
    case VDP_OP_DROP: return (struct vdp_action){op, 0, b % VDP_MAX_REASONS, 0, 0};
    case VDP_OP_OUTPUT: return (struct vdp_action){op, 0, number_of(numbers->ports, numbers->port_count, b), 0, 0};
    case VDP_OP_GROUP:
        return (struct vdp_action){op, 0, number_of(numbers->groups, numbers->group_count, b),
                                   number_of(numbers->ports, numbers->port_count, c), 0};
    case VDP_OP_PULL: return (struct vdp_action){op, 0, near_b, 0, 0};
    case VDP_OP_PUSH: return (struct vdp_action){op, 0, b % (CONSTANTS + 1), 0, 0};
    case VDP_OP_SET: {
        uint32_t size = a % 16 + 1u;
        bool is_within = near_d + 1 >= near_b && near_d < near_b + size; /* a sum over itself means nothing */
        return (struct vdp_action){op, (uint16_t)size, near_b, c % (CONSTANTS - 32 + 1),
                                   c & 0x8000 || is_within ? UINT32_MAX : near_d};
    }
    case VDP_OP_COPY: case VDP_OP_META_LOAD:
        return (struct vdp_action){op, op == VDP_OP_COPY ? a : a % VDP_META_WORDS, near_b, near_c, 0};
    case VDP_OP_LENGTH: return (struct vdp_action){op, 0, near_b, near_c, (uint32_t)(int32_t)(int16_t)d};
    case VDP_OP_ID: case VDP_OP_SEQUENCE: case VDP_OP_STATE:
        return (struct vdp_action){op, 0, near_b, state, (uint32_t)(int32_t)(int16_t)d};
    case VDP_OP_CHECKSUM: return (struct vdp_action){op, 0, near_b, near_c, a & 1 ? 0 : d % 2000};
    case VDP_OP_TRIM:
        return (struct vdp_action){op, 0, a & 1 ? frame->network + (version == 6 ? 4 : 2) : near_b,
                                   a & 2 ? frame->network : (uint32_t)(int32_t)(int8_t)c, 0};
    case VDP_OP_REQUIRE_CHECKSUM: return (struct vdp_action){op, 0, near_b, a & 1 ? 20 : a & 2 ? 0 : c % 2000, 0};
    case VDP_OP_REQUIRE_LENGTH: return (struct vdp_action){op, a & 1, b % 300, b % 300 + c % 2000, 0};
    case VDP_OP_REQUIRE_SEQUENCE: return (struct vdp_action){op, a & 3, near_b, state, 0};
    case VDP_OP_TTL: return (struct vdp_action){op, (uint16_t)version, a & 2 ? frame->network : near_b, 0, 0};
    case VDP_OP_COUNT: return (struct vdp_action){op, 0, counter, (uint32_t)(int32_t)(int16_t)c, 0};
    case VDP_OP_ACCOUNT:
        return (struct vdp_action){op, a, counter, number_of(numbers->counters, numbers->counter_count, c),
                                   number_of(numbers->counters, numbers->counter_count, d)};
    case VDP_OP_SEGMENT:
        return (struct vdp_action){op, (uint16_t)((a & 62) | (a & 64 ? VDP_SEGMENT_EQUAL : 0)),
                                   a & 128 ? b % 3000 : 0, number_of(numbers->counters, numbers->counter_count, c),
                                   d % 2 ? UINT32_MAX : (d % 1000) << 16 | (c % 8000)};
    case VDP_OP_UPCALL: return (struct vdp_action){op, a & 1, b, state, 0};
    case VDP_OP_META:
        return (struct vdp_action){op, a % VDP_META_WORDS, c & 3 ? c & 1 : (c & 4 ? 0x0800 : 0x86dd), 0, 0};
    case VDP_OP_FRAGMENT:
        return (struct vdp_action){op, 0, 28 + b % 1500, a & 1 ? near_c : frame->network, 0};
    case VDP_OP_HASH: return (struct vdp_action){op, (uint16_t)c, near_b, near_c, 4 * (1 + d % 16)};
    case VDP_OP_UDP_CHECKSUM: case VDP_OP_REQUIRE_UDP: {
        uint32_t network = a & 2 ? frame->network : a & 4 ? frame->tunnel : near_b;
        uint32_t size = version == 4 ? 20 : 40;
        bool zero = op == VDP_OP_REQUIRE_UDP && a & 8;
        return (struct vdp_action){op, (uint16_t)(version | (zero ? VDP_UDP_ZERO : 0)), network,
                                   a & 16 ? near_c : network + size, 0};
    }
    case VDP_OP_HEADER: return (struct vdp_action){op, 0, near_b, c % 8 ? numbers->header : NOWHERE, 0};
    default: return (struct vdp_action){op, 0, 0, 0, 0}; /* CLONE */
    }
}

/* A program that vdp_program_check takes, unless it clones too often. */
static inline void program_make(struct program *program, const struct recipe *recipe, struct input *in,
                                const struct frame *frame, const struct numbers *numbers)
{
    uint16_t jumps[PROGRAM_MOST];
    program->count = 0;
    for (uint32_t i = 0; i < recipe->count && program->count < PROGRAM_MOST - 1; i++) {
        const uint8_t *at = recipe->actions + (size_t)i * ACTION_BYTES;
        if (at[0] >= 240) {
            add_tunnel(program, numbers, at[1], vdp_load_be16(at + 2), vdp_load_be16(at + 6));
            continue;
        }
        jumps[program->count] = vdp_load_be16(at + 6);
        program->actions[program->count++] = make_action(at, frame, numbers);
    }
    uint32_t way = take8(in);
    uint32_t port = number_of(numbers->ports, numbers->port_count, way % 31);
    program->actions[program->count++] = (struct vdp_action){VDP_OP_OUTPUT, 0, port, 0, 0};
    for (uint32_t i = 0; i + 1 < program->count; i++) {
        struct vdp_action *action = &program->actions[i];
        if (!program_jumps(action->op))
            continue;
        uint32_t target = i + 1 + jumps[i] % (program->count - i - 1);
        if (action->op == VDP_OP_CLONE)
            action->b = target;
        else
            action->d = target;
    }
    take_bytes(in, program->blob, CONSTANTS);
}

/* Of inputs that begin with a recipe: an action is added, doubled, taken out, moved, or has one operand
 * changed; or libFuzzer does as it likes. */
static inline size_t mutate_recipe(uint8_t *bytes, size_t size, size_t most, unsigned seed)
{
    uint32_t count = size > 0 ? bytes[0] % TAKEN_ACTIONS : 0;
    if (size < 1u + (size_t)count * ACTION_BYTES || seed % 3 == 0)
        return LLVMFuzzerMutate(bytes, size, most);
    uint32_t way = seed / 3 % 5, at = count > 0 ? seed / 15 % count : 0;
    uint8_t *action = bytes + 1 + (size_t)at * ACTION_BYTES, *end = bytes + size;
    if (way <= 1 && count + 1 < TAKEN_ACTIONS && size + ACTION_BYTES <= most) {
        memmove(action + ACTION_BYTES, action, (size_t)(end - action));
        bytes[0] = (uint8_t)(count + 1);
        if (way == 0 || count == 0) { /* a new one */
            for (unsigned i = 0; i < ACTION_BYTES; i++) {
                seed = seed * 1664525u + 1013904223u;
                action[i] = (uint8_t)(seed >> 24);
            }
        }
        return size + ACTION_BYTES;
    }
    if (count == 0)
        return LLVMFuzzerMutate(bytes, size, most);
    if (way == 2) {
        memmove(action, action + ACTION_BYTES, (size_t)(end - action) - ACTION_BYTES);
        bytes[0] = (uint8_t)(count - 1);
        return size - ACTION_BYTES;
    }
    if (way == 3 && at + 1 < count) {
        uint8_t moved[ACTION_BYTES];
        memcpy(moved, action, ACTION_BYTES);
        memmove(action, action + ACTION_BYTES, ACTION_BYTES);
        memcpy(action + ACTION_BYTES, moved, ACTION_BYTES);
        return size;
    }
    (void)LLVMFuzzerMutate(action, ACTION_BYTES, ACTION_BYTES);
    return size;
}

#endif
