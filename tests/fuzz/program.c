/* Target: vdp_program_check, and vdp_execute on whatever it takes.
 * Trust:  local: programs come from plugins through the binding, byte by byte as the input has them.
 * Oracle: the limits as a table; what is taken runs on any packet without harm, and the books balance. */
#include "frames.h"

enum { ACTIONS_MOST = 70, BLOB_MOST = 128, OFFSET = 65535, LENGTH = 131071, ANY = -1 };

/* The most that b, c, d may be; ANY: whatever.  Where it jumps to: an operand, or '-'. */
struct limits {
    int64_t a_least, a_most, b_least, b_most, c_most, d_most;
    char target;
};

static const struct limits limits[VDP_OP_COUNT_OPS] = {
    [VDP_OP_DROP] = {0, ANY, 0, VDP_MAX_REASONS - 1, ANY, ANY, '-'},
    [VDP_OP_OUTPUT] = {0, ANY, 0, ANY, ANY, ANY, '-'},
    [VDP_OP_CLONE] = {0, ANY, 0, ANY, ANY, ANY, 'b'},
    [VDP_OP_PULL] = {0, ANY, 0, OFFSET, ANY, ANY, '-'},
    [VDP_OP_PUSH] = {0, ANY, 0, VDP_HEADROOM, ANY, ANY, '-'},
    [VDP_OP_SET] = {1, 16, 0, OFFSET, ANY, ANY, '-'},
    [VDP_OP_COPY] = {0, 255, 0, OFFSET, OFFSET, ANY, '-'},
    [VDP_OP_LENGTH] = {0, ANY, 0, OFFSET, OFFSET, ANY, '-'},
    [VDP_OP_ID] = {0, ANY, 0, OFFSET, ANY, ANY, '-'},
    [VDP_OP_SEQUENCE] = {0, ANY, 0, OFFSET, ANY, ANY, '-'},
    [VDP_OP_CHECKSUM] = {0, ANY, 0, OFFSET, OFFSET, LENGTH, '-'},
    [VDP_OP_TRIM] = {0, ANY, 0, OFFSET, ANY, ANY, 'd'},
    [VDP_OP_REQUIRE_CHECKSUM] = {0, ANY, 0, OFFSET, LENGTH, ANY, 'd'},
    [VDP_OP_REQUIRE_LENGTH] = {0, 1, 0, ANY, ANY, ANY, 'd'},
    [VDP_OP_REQUIRE_SEQUENCE] = {0, 3, 0, OFFSET, ANY, ANY, 'd'},
    [VDP_OP_TTL] = {4, 6, 0, OFFSET, ANY, ANY, 'd'},
    [VDP_OP_COUNT] = {0, ANY, 0, ANY, ANY, ANY, '-'},
    [VDP_OP_SEGMENT] = {0, ANY, 0, LENGTH, ANY, ANY, '-'},
    [VDP_OP_UPCALL] = {0, 1, 0, ANY, ANY, ANY, '-'},
    [VDP_OP_META] = {0, VDP_META_WORDS - 1, 0, ANY, ANY, ANY, '-'},
    [VDP_OP_META_LOAD] = {0, VDP_META_WORDS - 1, 0, OFFSET, ANY, ANY, '-'},
    [VDP_OP_FRAGMENT] = {0, ANY, 28, LENGTH, OFFSET, ANY, 'd'},
    [VDP_OP_STATE] = {0, ANY, 0, OFFSET, ANY, ANY, '-'},
    [VDP_OP_ACCOUNT] = {0, ANY, 0, ANY, ANY, ANY, '-'},
    [VDP_OP_HASH] = {0, ANY, 0, OFFSET, OFFSET, 64, '-'},
    [VDP_OP_UDP_CHECKSUM] = {4, 6, 0, OFFSET, OFFSET, ANY, '-'},
    [VDP_OP_REQUIRE_UDP] = {4, 22, 0, OFFSET, OFFSET, ANY, 'd'},
    [VDP_OP_GROUP] = {0, ANY, 0, ANY, ANY, ANY, '-'},
    [VDP_OP_HEADER] = {0, ANY, 0, OFFSET, ANY, ANY, '-'},
};

static bool within(int64_t value, int64_t least, int64_t most)
{
    return value >= least && (most == ANY || value <= most);
}

static bool ends(uint16_t op)
{
    return op == VDP_OP_DROP || op == VDP_OP_OUTPUT || op == VDP_OP_GROUP;
}

static bool holds(const struct vdp_program *program, const struct vdp_action *a)
{
    const uint64_t size = program->blob_size;
    if (a->op >= VDP_OP_COUNT_OPS)
        return false;
    const struct limits *most = &limits[a->op];
    if (!within(a->a, most->a_least, most->a_most) || !within(a->b, most->b_least, most->b_most) ||
        !within(a->c, 0, most->c_most) || !within(a->d, 0, most->d_most))
        return false;
    switch (a->op) {
    case VDP_OP_PUSH: return (uint64_t)a->c + a->b <= size;
    case VDP_OP_SET: return (uint64_t)a->c + 2u * a->a <= size && (a->d <= OFFSET || a->d == UINT32_MAX);
    case VDP_OP_REQUIRE_LENGTH: return a->b <= a->c;
    case VDP_OP_TTL: case VDP_OP_UDP_CHECKSUM: return a->a != 5;
    case VDP_OP_REQUIRE_UDP: return a->a == 4 || a->a == 6 || a->a == 20 || a->a == 22;
    case VDP_OP_HASH: return a->d >= 4 && a->d % 4 == 0;
    default: return true;
    }
}

/* Copies that a run makes from there, at most, where each is counted as the program says. */
static uint32_t copies_from(const struct vdp_action *actions, uint32_t at, uint32_t *known)
{
    if (known[at] != UINT32_MAX)
        return known[at];
    const struct vdp_action *a = &actions[at];
    uint32_t next = ends(a->op) ? 0 : copies_from(actions, at + 1, known), there = 0;
    if (limits[a->op].target != '-')
        there = copies_from(actions, a->op == VDP_OP_CLONE ? a->b : a->d, known);
    uint64_t all = a->op == VDP_OP_CLONE ? 1 + (uint64_t)next + there : next > there ? next : there;
    known[at] = all > 1000 ? 1000 : (uint32_t)all;
    return known[at];
}

static bool is_valid(const struct vdp_program *program)
{
    uint32_t known[ACTIONS_MOST];
    if (program->count == 0 || !ends(program->actions[program->count - 1].op))
        return false;
    for (uint32_t i = 0; i < program->count; i++) {
        const struct vdp_action *a = &program->actions[i];
        if (!holds(program, a))
            return false;
        uint32_t target = limits[a->op].target == 'b' ? a->b : a->d;
        if (limits[a->op].target != '-' && (target <= i || target >= program->count))
            return false;
        known[i] = UINT32_MAX;
    }
    for (uint32_t i = program->count; i-- > 0;)
        if (copies_from(program->actions, i, known) > VDP_MAX_CLONES)
            return false;
    return true;
}

/* Mostly near what is allowed, so that most of a program is. */
static struct vdp_action take_action(struct input *in, uint32_t i, uint32_t count)
{
    uint8_t choice = take8(in);
    struct vdp_action a = {.op = (uint16_t)(take8(in) % (VDP_OP_COUNT_OPS + (choice == 255)))};
    a.a = take8(in);
    uint32_t *operands[3] = {&a.b, &a.c, &a.d};
    const struct limits *most = &limits[a.op % VDP_OP_COUNT_OPS];
    for (unsigned n = 0; n < 3; n++)
        *operands[n] = choice & 1u << n ? take16(in) : take8(in);
    if (choice & 8)
        *operands[choice >> 4 & 1] = take32(in);
    if (most->a_most != ANY && choice & 16)
        a.a = (uint16_t)(most->a_least + a.a % (most->a_most - most->a_least + 1));
    if (most->target != '-' && (choice & 0xe0) != 0 && i + 1 < count)
        *(most->target == 'b' ? &a.b : &a.d) = i + 1 + take8(in) % (count - i - 1);
    return a;
}

/* Let the engine do what there is to do, and take what came out: whether anything did. */
static bool settle(struct vdp_engine *engine, const uint32_t ports[2])
{
    static uint8_t sent[VDP_MAX_LENGTH];
    struct vdp_upcall upcall;
    bool came = false;
    while (vdp_engine_poll(engine) > 0 || vdp_upcall_take(engine, 0, &upcall, 1) == 1) {
        struct vdp_resolution resolution = {.token = upcall.token, .kind = VDP_RESOLVE_CONSUME};
        (void)vdp_upcall_resolve(engine, 0, &resolution, 1);
    }
    for (uint32_t i = 0; i < 2; i++)
        while (vdp_memory_collect(engine, ports[i], sent, sizeof sent, NULL, NULL) >= 0)
            came = true;
    return came;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct vdp_engine *engine;
    static uint32_t ports[2];
    static struct frame frame;
    struct vdp_action actions[ACTIONS_MOST];
    uint8_t blob[BLOB_MOST];
    struct input in = {bytes, size};

    if (engine == NULL) {
        struct vdp_engine_config config = {.workers = 1, .packets = 256, .action_rate = 10};
        LAW(vdp_engine_new(&config, &engine) == 0);
        for (uint32_t i = 0; i < 2; i++) {
            struct vdp_port_config port = {.name = "port", .type = VDP_PORT_MEMORY, .packet_type = i,
                                           .features = 62};
            ports[i] = (uint32_t)vdp_port_add(engine, &port);
        }
        LAW(vdp_counter_new(engine) >= 0 && vdp_state_new(engine, 0) >= 0 && vdp_window_new(engine, 9) >= 0);
    }
    struct vdp_program program = {actions, take8(&in) % ACTIONS_MOST, blob, take8(&in) % BLOB_MOST};
    for (uint32_t i = 0; i < program.count; i++)
        actions[i] = take_action(&in, i, program.count);
    if (program.count > 0 && take8(&in) != 0)
        actions[program.count - 1] = (struct vdp_action){VDP_OP_OUTPUT, 0, ports[take8(&in) & 1], 0, 0};
    take_bytes(&in, blob, sizeof blob);
    bool is_taken = vdp_program_check(&program) == 0;
    LAW(is_taken == is_valid(&program));
    frame_any(&in, &frame);
    int result = vdp_packet_execute(engine, 0, ports[frame.type], frame.bytes, frame.length, NULL, &program);
    LAW((result == 0) == is_taken);
    while (settle(engine, ports)) /* what waited for room goes out when some was taken */
        continue;
    for (uint32_t i = 0; i < 2; i++) {
        struct vdp_port_stats s;
        LAW(vdp_port_read(engine, ports[i], &s) == 0 && s.held == 0);
        origin_balances(&s);
        output_balances(&s, false);
    }
    return 0;
}
