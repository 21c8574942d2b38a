/* Classic BPF: which packets a tap shows.
 *
 * Accumulator A, index X, 16 words of memory; jumps lead forward only, so that a program ends.
 * A load past the end of the packet, or a division by zero, refuses the packet, as in the
 * kernel and in libpcap. */
#include "tap.h"

#include <linux/filter.h>

struct machine {
    const uint8_t *bytes;
    uint32_t size, length;
    uint32_t a, x;
    uint32_t memory[BPF_MEMWORDS];
};

static bool is_jump_inside(const struct vdp_tap_instruction *one, uint32_t at, uint32_t count)
{
    uint32_t left = count - at - 1; /* instructions behind this one */

    if (BPF_OP(one->code) == BPF_JA)
        return one->k < left;
    return one->jt < left && one->jf < left;
}

static bool is_load(uint16_t code)
{
    switch (code) {
    case BPF_LD | BPF_W | BPF_ABS:
    case BPF_LD | BPF_H | BPF_ABS:
    case BPF_LD | BPF_B | BPF_ABS:
    case BPF_LD | BPF_W | BPF_IND:
    case BPF_LD | BPF_H | BPF_IND:
    case BPF_LD | BPF_B | BPF_IND:
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_IMM:
    case BPF_LDX | BPF_B | BPF_MSH:
        return true;
    default:
        return false;
    }
}

static bool is_known(const struct vdp_tap_instruction *one, uint32_t at, uint32_t count)
{
    bool is_constant = BPF_SRC(one->code) == BPF_K;

    switch (BPF_CLASS(one->code)) {
    case BPF_LD:
    case BPF_LDX:
        if (BPF_MODE(one->code) == BPF_MEM)
            return BPF_SIZE(one->code) == BPF_W && one->k < BPF_MEMWORDS;
        return is_load(one->code);
    case BPF_ST:
    case BPF_STX:
        return one->k < BPF_MEMWORDS;
    case BPF_ALU:
        if (BPF_OP(one->code) == BPF_DIV || BPF_OP(one->code) == BPF_MOD)
            return !is_constant || one->k != 0;
        if (BPF_OP(one->code) == BPF_LSH || BPF_OP(one->code) == BPF_RSH)
            return !is_constant || one->k < 32;
        return BPF_OP(one->code) <= BPF_XOR;
    case BPF_JMP:
        return BPF_OP(one->code) <= BPF_JSET && is_jump_inside(one, at, count);
    case BPF_RET:
        return BPF_RVAL(one->code) == BPF_K || BPF_RVAL(one->code) == BPF_A;
    default:
        return BPF_MISCOP(one->code) == BPF_TAX || BPF_MISCOP(one->code) == BPF_TXA;
    }
}

int vdp_filter_check(const struct vdp_tap_instruction *program, uint32_t count)
{
    if (count > VDP_MAX_FILTER || (count && !program))
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++)
        if (!is_known(&program[i], i, count))
            return -EINVAL;
    return count == 0 || BPF_CLASS(program[count - 1].code) == BPF_RET ? 0 : -EINVAL;
}

/* `width` bytes at an offset, big-endian; false past the end. */
static bool read_field(const struct machine *machine, uint64_t offset, uint32_t width, uint32_t *value)
{
    if (offset + width > machine->size)
        return false;
    *value = 0;
    for (uint32_t i = 0; i < width; i++)
        *value = *value << 8 | machine->bytes[offset + i];
    return true;
}

static bool load(struct machine *machine, const struct vdp_tap_instruction *one)
{
    uint32_t width = BPF_SIZE(one->code) == BPF_W ? 4 : BPF_SIZE(one->code) == BPF_H ? 2 : 1;
    uint32_t value = 0;

    switch (BPF_MODE(one->code)) {
    case BPF_ABS:
        if (!read_field(machine, one->k, width, &value))
            return false;
        break;
    case BPF_IND:
        if (!read_field(machine, (uint64_t)one->k + machine->x, width, &value))
            return false;
        break;
    case BPF_MSH: /* an IPv4 header's length */
        if (!read_field(machine, one->k, 1, &value))
            return false;
        value = (value & 15) * 4;
        break;
    case BPF_LEN:
        value = machine->length;
        break;
    case BPF_MEM:
        value = machine->memory[one->k];
        break;
    default:
        value = one->k;
    }
    if (BPF_CLASS(one->code) == BPF_LD)
        machine->a = value;
    else
        machine->x = value;
    return true;
}

static bool calculate(struct machine *machine, const struct vdp_tap_instruction *one)
{
    uint32_t other = BPF_SRC(one->code) == BPF_X ? machine->x : one->k;
    uint32_t a = machine->a;

    switch (BPF_OP(one->code)) {
    case BPF_ADD: a += other; break;
    case BPF_SUB: a -= other; break;
    case BPF_MUL: a *= other; break;
    case BPF_OR: a |= other; break;
    case BPF_AND: a &= other; break;
    case BPF_XOR: a ^= other; break;
    case BPF_LSH: a = other < 32 ? a << other : 0; break;
    case BPF_RSH: a = other < 32 ? a >> other : 0; break;
    case BPF_NEG: a = 0 - a; break;
    default:
        if (other == 0)
            return false;
        a = BPF_OP(one->code) == BPF_DIV ? a / other : a % other;
    }
    machine->a = a;
    return true;
}

static uint32_t jump(const struct machine *machine, const struct vdp_tap_instruction *one)
{
    uint32_t other = BPF_SRC(one->code) == BPF_X ? machine->x : one->k;
    bool is_true;

    switch (BPF_OP(one->code)) {
    case BPF_JA:
        return one->k;
    case BPF_JEQ:
        is_true = machine->a == other;
        break;
    case BPF_JGT:
        is_true = machine->a > other;
        break;
    case BPF_JGE:
        is_true = machine->a >= other;
        break;
    default:
        is_true = (machine->a & other) != 0;
    }
    return is_true ? one->jt : one->jf;
}

bool vdp_filter_run(const struct vdp_tap_instruction *program, const uint8_t *bytes, uint32_t size,
                    uint32_t length)
{
    struct machine machine = {.bytes = bytes, .size = size, .length = length};

    for (uint32_t at = 0;; at++) {
        const struct vdp_tap_instruction *one = &program[at];
        switch (BPF_CLASS(one->code)) {
        case BPF_LD:
        case BPF_LDX:
            if (!load(&machine, one))
                return false;
            break;
        case BPF_ST:
            machine.memory[one->k] = machine.a;
            break;
        case BPF_STX:
            machine.memory[one->k] = machine.x;
            break;
        case BPF_ALU:
            if (!calculate(&machine, one))
                return false;
            break;
        case BPF_JMP:
            at += jump(&machine, one);
            break;
        case BPF_RET:
            return (BPF_RVAL(one->code) == BPF_A ? machine.a : one->k) != 0;
        default:
            if (BPF_MISCOP(one->code) == BPF_TAX)
                machine.x = machine.a;
            else
                machine.a = machine.x;
        }
    }
}
