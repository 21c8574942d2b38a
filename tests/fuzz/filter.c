/* Target: vdp_filter_check, vdp_filter_run: classic BPF of taps and captures.
 * Trust:  local: the control socket's clients compile filters; the packets are hostile.
 * Oracle: an interpreter that trusts nothing and counts its steps: what is taken by the check ends, reads
 *         inside the packet, and has the same result. */
#include "../../vdp/engine/tap.h"
#include "fuzz.h"

#include <linux/filter.h>

enum { INSTRUCTIONS = 48 };

/* -1: it reads past the end or divides by zero, which takes no packet. */
static int64_t read_at(const uint8_t *bytes, uint32_t length, uint64_t at, uint32_t width)
{
    uint32_t value = 0;
    if (at + width > length)
        return -1;
    for (uint32_t i = 0; i < width; i++)
        value = value << 8 | bytes[at + i];
    return value;
}

/* ALU operations; -1 as above. */
static int64_t calculated(uint32_t op, uint32_t a, uint32_t by)
{
    switch (op) {
    case BPF_ADD: return (uint32_t)(a + by);
    case BPF_SUB: return (uint32_t)(a - by);
    case BPF_MUL: return (uint32_t)(a * by);
    case BPF_DIV: return by == 0 ? -1 : (int64_t)(a / by);
    case BPF_MOD: return by == 0 ? -1 : (int64_t)(a % by);
    case BPF_OR: return a | by;
    case BPF_AND: return a & by;
    case BPF_XOR: return a ^ by;
    case BPF_LSH: return by > 31 ? 0 : (uint32_t)(a << by);
    case BPF_RSH: return by > 31 ? 0 : a >> by;
    default: return (uint32_t)-a;
    }
}

static bool interpret(const struct vdp_tap_instruction *program, uint32_t count, const uint8_t *bytes,
                      uint32_t length)
{
    uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {0};
    for (uint32_t at = 0, steps = 0;; at++, steps++) {
        LAW(at < count && steps < count);
        const struct vdp_tap_instruction *one = &program[at];
        uint32_t kind = BPF_CLASS(one->code), by = one->code & BPF_X ? x : one->k;
        uint32_t width = BPF_SIZE(one->code) == BPF_W ? 4 : BPF_SIZE(one->code) == BPF_H ? 2 : 1;
        int64_t value = 0;
        if (kind == BPF_LD || kind == BPF_LDX) {
            switch (BPF_MODE(one->code)) {
            case BPF_IMM: value = one->k; break;
            case BPF_ABS: value = read_at(bytes, length, one->k, width); break;
            case BPF_IND: value = read_at(bytes, length, (uint64_t)x + one->k, width); break;
            case BPF_MEM: LAW(one->k < BPF_MEMWORDS); value = memory[one->k]; break;
            case BPF_LEN: value = length; break;
            default:
                value = read_at(bytes, length, one->k, 1);
                value = value < 0 ? value : (value & 15) * 4;
            }
            if (value < 0)
                return false;
            *(kind == BPF_LD ? &a : &x) = (uint32_t)value;
        } else if (kind == BPF_ST || kind == BPF_STX) {
            LAW(one->k < BPF_MEMWORDS);
            memory[one->k] = kind == BPF_ST ? a : x;
        } else if (kind == BPF_ALU) {
            value = calculated(BPF_OP(one->code), a, by);
            if (value < 0)
                return false;
            a = (uint32_t)value;
        } else if (kind == BPF_JMP) {
            uint32_t op = BPF_OP(one->code);
            bool is_true = op == BPF_JEQ ? a == by : op == BPF_JGT ? a > by : op == BPF_JGE ? a >= by : a & by;
            at += op == BPF_JA ? one->k : is_true ? one->jt : one->jf;
        } else if (kind == BPF_RET) {
            return (BPF_RVAL(one->code) == BPF_A ? a : one->k) != 0;
        } else if (BPF_MISCOP(one->code) == BPF_TAX) {
            x = a;
        } else {
            a = x;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint16_t codes[] = {
        BPF_LD | BPF_W | BPF_ABS, BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_B | BPF_ABS, BPF_LD | BPF_W | BPF_IND,
        BPF_LD | BPF_H | BPF_IND, BPF_LD | BPF_B | BPF_IND, BPF_LD | BPF_MEM, BPF_LDX | BPF_MEM, BPF_ST, BPF_STX,
        BPF_LD | BPF_W | BPF_LEN, BPF_LDX | BPF_W | BPF_LEN, BPF_LD | BPF_IMM, BPF_LDX | BPF_IMM,
        BPF_LDX | BPF_B | BPF_MSH, BPF_JMP | BPF_JEQ, BPF_JMP | BPF_JGT | BPF_X, BPF_JMP | BPF_JGE,
        BPF_JMP | BPF_JSET, BPF_JMP | BPF_JA, BPF_MISC | BPF_TAX, BPF_MISC | BPF_TXA, BPF_RET | BPF_A};
    struct vdp_tap_instruction program[INSTRUCTIONS] = {0};
    struct input in = {bytes, size};
    uint32_t count = take8(&in) % INSTRUCTIONS;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t choice = take8(&in);
        struct vdp_tap_instruction *one = &program[i];
        uint32_t left = count - i;
        if (choice < 160) {
            one->code = (uint16_t)(BPF_ALU | (choice & 0x0f) << 4 | (choice & 0x10 ? BPF_X : 0));
            if (choice < 120)
                one->code = codes[choice % (sizeof codes / sizeof *codes)];
            one->jt = (uint8_t)(take8(&in) % left);
            one->jf = (uint8_t)(take8(&in) % left);
            one->k = BPF_CLASS(one->code) == BPF_JMP && BPF_OP(one->code) == BPF_JA ? take8(&in) % left
                                                                                   : take8(&in);
        } else { /* anything */
            one->code = take16(&in);
            one->jt = take8(&in);
            one->jf = take8(&in);
            one->k = take32(&in);
        }
    }
    if (count > 0 && take8(&in) != 0)
        program[count - 1] = (struct vdp_tap_instruction){BPF_RET | BPF_K, 0, 0, take8(&in)};
    if (vdp_filter_check(program, count) < 0 || count == 0)
        return 0;
    uint32_t length = (uint32_t)in.left;
    uint8_t *own = malloc(length + 1u);
    LAW(own != NULL);
    take_bytes(&in, own, length);
    FORBID(own + length, 1);
    LAW(vdp_filter_run(program, own, length, length) == interpret(program, count, own, length));
    ALLOW(own + length, 1);
    free(own);
    return 0;
}
