/* Programs: what is refused before it ever runs.
 *
 * After vdp_program_check any packet may run the program: jumps go forward to an action
 * that exists, constants are inside the blob, offsets are small enough that sums of them
 * do not wrap, and a run makes at most VDP_MAX_CLONES copies.  Whether an offset is inside
 * the packet, and whether a port, counter or state exists, is asked at run time. */
#include "flow.h"

#include <stdlib.h>

enum { OFFSETS = 65536, FRAGMENT_LEAST = 28 /* an IPv4 header and 8 bytes */ };

static bool ends(uint16_t op)
{
    return op == VDP_OP_DROP || op == VDP_OP_OUTPUT || op == VDP_OP_GROUP;
}

/* The later action that this one may jump to; 0 when it cannot jump. */
static uint32_t target_of(const struct vdp_action *action)
{
    switch (action->op) {
    case VDP_OP_CLONE:
        return action->b;
    case VDP_OP_TRIM:
    case VDP_OP_REQUIRE_CHECKSUM:
    case VDP_OP_REQUIRE_LENGTH:
    case VDP_OP_REQUIRE_SEQUENCE:
    case VDP_OP_TTL:
    case VDP_OP_FRAGMENT:
    case VDP_OP_REQUIRE_UDP:
        return action->d;
    default:
        return 0;
    }
}

static bool jumps(uint16_t op)
{
    return op == VDP_OP_CLONE || (op >= VDP_OP_TRIM && op <= VDP_OP_TTL) || op == VDP_OP_FRAGMENT ||
           op == VDP_OP_REQUIRE_UDP;
}

static bool in_blob(const struct vdp_program *program, uint32_t offset, uint32_t size)
{
    return offset <= program->blob_size && size <= program->blob_size - offset;
}

/* An action's own operands. */
static bool operands_hold(const struct vdp_program *program, const struct vdp_action *action)
{
    uint32_t a = action->a, b = action->b, c = action->c, d = action->d;

    switch (action->op) {
    case VDP_OP_DROP:
        return b < VDP_MAX_REASONS;
    case VDP_OP_OUTPUT:
    case VDP_OP_CLONE:
    case VDP_OP_COUNT:
    case VDP_OP_ACCOUNT:
    case VDP_OP_GROUP:
        return true;
    case VDP_OP_UPCALL:
        return a <= 1;
    case VDP_OP_PULL:
        return b < OFFSETS;
    case VDP_OP_PUSH:
        return b <= VDP_HEADROOM && in_blob(program, c, b);
    case VDP_OP_SET:
        return a >= 1 && a <= 16 && b < OFFSETS && in_blob(program, c, 2 * a) &&
               (d < OFFSETS || d == UINT32_MAX);
    case VDP_OP_COPY:
        return a <= 0xff && b < OFFSETS && c < OFFSETS;
    case VDP_OP_LENGTH:
        return b < OFFSETS && c < OFFSETS;
    case VDP_OP_ID:
    case VDP_OP_SEQUENCE:
    case VDP_OP_STATE:
    case VDP_OP_TRIM:
    case VDP_OP_HEADER:
        return b < OFFSETS;
    case VDP_OP_CHECKSUM:
        return b < OFFSETS && c < OFFSETS && d < 2 * OFFSETS;
    case VDP_OP_REQUIRE_CHECKSUM:
        return b < OFFSETS && c < 2 * OFFSETS;
    case VDP_OP_REQUIRE_LENGTH:
        return a <= 1 && b <= c;
    case VDP_OP_REQUIRE_SEQUENCE:
        return a <= (VDP_SEQUENCE_EXPLICIT | VDP_SEQUENCE_LATE) && b < OFFSETS;
    case VDP_OP_TTL:
        return (a == 4 || a == 6) && b < OFFSETS;
    case VDP_OP_HASH:
        return b < OFFSETS && c < OFFSETS && d >= 4 && d <= 64 && d % 4 == 0;
    case VDP_OP_UDP_CHECKSUM:
        return (a == 4 || a == 6) && b < OFFSETS && c < OFFSETS;
    case VDP_OP_REQUIRE_UDP:
        a &= ~(uint32_t)VDP_UDP_ZERO;
        return (a == 4 || a == 6) && b < OFFSETS && c < OFFSETS;
    case VDP_OP_SEGMENT:
        return b < 2 * OFFSETS;
    case VDP_OP_META:
        return a < VDP_META_WORDS;
    case VDP_OP_META_LOAD:
        return a < VDP_META_WORDS && b < OFFSETS;
    case VDP_OP_FRAGMENT:
        return b >= FRAGMENT_LEAST && b < 2 * OFFSETS && c < OFFSETS;
    default:
        return false;
    }
}

/* Copies made by a run from each action on, at most; later actions first. */
static bool clones_bounded(const struct vdp_program *program)
{
    uint32_t copies[VDP_MAX_ACTIONS] = {0};

    for (uint32_t i = program->count; i-- > 0;) {
        const struct vdp_action *action = &program->actions[i];
        uint32_t next = ends(action->op) ? 0 : copies[i + 1];
        uint32_t target = jumps(action->op) ? copies[target_of(action)] : 0;

        if (action->op == VDP_OP_CLONE)
            copies[i] = 1 + target + next;
        else
            copies[i] = target > next ? target : next;
        if (copies[i] > VDP_MAX_CLONES)
            return false;
    }
    return true;
}

int vdp_program_check(const struct vdp_program *program)
{
    if (!program || !program->actions || program->count < 1 || program->count > VDP_MAX_ACTIONS ||
        program->blob_size > VDP_MAX_BLOB || (program->blob_size && !program->blob))
        return -EINVAL;
    if (!ends(program->actions[program->count - 1].op))
        return -EINVAL;
    for (uint32_t i = 0; i < program->count; i++) {
        const struct vdp_action *action = &program->actions[i];
        uint32_t target = target_of(action);

        if (!operands_hold(program, action))
            return -EINVAL;
        if (jumps(action->op) && (target <= i || target >= program->count))
            return -EINVAL;
    }
    return clones_bounded(program) ? 0 : -EINVAL;
}

static void note_straight_run(struct vdp_compiled *compiled)
{
    const struct vdp_action *action = compiled->actions;

    for (; !ends(action->op); action++)
        if (action->op == VDP_OP_COUNT || action->op == VDP_OP_ACCOUNT)
            compiled->counter = action->b;
        else if (action->op == VDP_OP_UPCALL && action->a)
            compiled->signal = action->c;
        else if (action->op == VDP_OP_ID || action->op == VDP_OP_SEQUENCE ||
                 action->op == VDP_OP_REQUIRE_SEQUENCE)
            compiled->state = action->c;
        else if (action->op == VDP_OP_HEADER)
            compiled->header = action->c;
    if (action->op == VDP_OP_OUTPUT)
        compiled->output = action->b;
    compiled->straight = (uint32_t)(action - compiled->actions) + 1;
}

struct vdp_compiled *vdp_program_compile(const struct vdp_program *program, int *error)
{
    struct vdp_compiled *compiled;

    *error = vdp_program_check(program);
    if (*error)
        return NULL;
    size_t actions = program->count * sizeof *program->actions;
    compiled = malloc(sizeof *compiled + actions + program->blob_size);
    if (!compiled) {
        *error = -ENOMEM;
        return NULL;
    }
    memset(compiled, 0, sizeof *compiled);
    compiled->count = program->count;
    compiled->blob_size = program->blob_size;
    memcpy(compiled->actions, program->actions, actions);
    if (program->blob_size)
        memcpy((uint8_t *)compiled + sizeof *compiled + actions, program->blob, program->blob_size);
    note_straight_run(compiled);
    return compiled;
}
