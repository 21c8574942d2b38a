/* Any checked program on any packet: no harm, no packet lost without a name, no leak. */
#include "harness.h"

enum { PORTS = 6, ROUNDS = 6000, BLOB = 64 };

struct random_program {
    struct vdp_action actions[20];
    uint8_t blob[BLOB];
    uint32_t count;
};

/* Numbers that are mostly small, now and then absurd. */
static uint32_t number(uint64_t *seed)
{
    switch (draw(seed, 400)) {
    case 0:
        return draw(seed, 70000);
    case 1:
        return UINT32_MAX - draw(seed, 100);
    default:
        return draw(seed, draw(seed, 4) ? 30 : 64);
    }
}

static void make_program(struct random_program *program, const uint32_t *ports, uint64_t *seed)
{
    program->count = 2 + draw(seed, COUNT_OF(program->actions) - 2);
    for (uint32_t i = 0; i < BLOB; i++)
        program->blob[i] = (uint8_t)draw(seed, 256);
    for (uint32_t i = 0; i < program->count; i++) {
        struct vdp_action *action = &program->actions[i];
        *action = (struct vdp_action){(uint16_t)draw(seed, VDP_OP_COUNT_OPS), (uint16_t)draw(seed, 20),
                                      number(seed), number(seed), number(seed)};
        uint32_t left = program->count - i - 1, later = i + 1 + draw(seed, left ? left : 1);
        if (action->op == VDP_OP_OUTPUT || i + 1 == program->count)
            *action = (struct vdp_action){VDP_OP_OUTPUT, 0, draw(seed, 9) ? ports[draw(seed, PORTS)] : 77, 0, 0};
        else if (action->op == VDP_OP_DROP && draw(seed, 4))
            action->op = VDP_OP_PULL, action->b = draw(seed, 8);
        else if (action->op == VDP_OP_CLONE)
            action->b = later;
        else if ((action->op >= VDP_OP_TRIM && action->op <= VDP_OP_TTL) || action->op == VDP_OP_FRAGMENT ||
                 action->op == VDP_OP_REQUIRE_UDP)
            action->d = later;
        if (action->op == VDP_OP_PUSH || action->op == VDP_OP_SET) {
            action->a = (uint16_t)(1 + action->a % 16);
            action->b %= 33;
            action->c %= 32;
            action->d = draw(seed, 2) ? UINT32_MAX : action->d;
        } else if (action->op == VDP_OP_TTL || action->op == VDP_OP_UDP_CHECKSUM)
            action->a = draw(seed, 2) ? 4 : 6;
        else if (action->op == VDP_OP_REQUIRE_UDP)
            action->a = (uint16_t)((draw(seed, 2) ? 4 : 6) | (draw(seed, 2) ? VDP_UDP_ZERO : 0));
        else if (action->op == VDP_OP_HASH)
            action->d = 4 + 4 * draw(seed, 16);
        else if (action->op == VDP_OP_FRAGMENT)
            action->b += 28 + draw(seed, 1500), action->c = draw(seed, 2) ? 14 : 0;
        else if (action->op == VDP_OP_SEGMENT)
            action->b = draw(seed, 2) ? 0 : draw(seed, 3000);
        else if (action->op == VDP_OP_REQUIRE_LENGTH || action->op == VDP_OP_REQUIRE_SEQUENCE)
            action->a &= action->op == VDP_OP_REQUIRE_LENGTH ? 1 : 3;
        else if (action->op == VDP_OP_META || action->op == VDP_OP_META_LOAD)
            action->a &= 7;
        if (action->op == VDP_OP_REQUIRE_LENGTH)
            action->c += action->b;
        if (action->op == VDP_OP_META && !action->a)
            action->b &= 1;
    }
}

/* A TCP segment with or without Ethernet, or noise. */
static uint32_t make_packet(uint8_t *bytes, struct vdp_offload *offload, bool l3, uint64_t *seed)
{
    uint32_t at = l3 ? 0 : 14, length = draw(seed, 3) ? draw(seed, 300) : draw(seed, 60000);

    memset(offload, 0, sizeof *offload);
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 31);
    for (uint32_t i = 0; i < 60 && i < length; i++)
        bytes[i] = (uint8_t)draw(seed, 256);
    if (draw(seed, 4) == 0 || length < at + 60)
        return length;
    memcpy(bytes + (l3 ? 0 : 12), "\x08\x00", l3 ? 0 : 2);
    memcpy(bytes + at, "\x45\x00\x00\x00\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02", 20);
    bytes[at + 6] = draw(seed, 2) ? 0x40 : 0; /* DF */
    vdp_store_be16(bytes + at + 2, (uint16_t)(length - at));
    bytes[at + 20 + 12] = 0x50;
    bytes[at + 20 + 13] = 0x10;
    if (draw(seed, 3))
        *offload = (struct vdp_offload){.needs_csum = 1, .csum_start = at + 20, .csum_offset = 16};
    if (offload->needs_csum && length > at + 40 + 1000) {
        offload->gso_type = 1;
        offload->gso_size = 100 + draw(seed, 1400);
        offload->header_size = at + 40;
    }
    return length;
}

static void answer_upcalls(struct vdp_engine *engine, const uint32_t *ports, uint64_t *seed)
{
    struct vdp_upcall upcalls[16];
    int count = vdp_upcall_take(engine, 0, upcalls, 16);

    for (int i = 0; i < count; i++) {
        struct random_program program;
        struct vdp_match match = match_first(upcalls[i].in_port, upcalls[i].length ? upcalls[i].data[0] : 0);
        struct vdp_resolution resolution = {.token = upcalls[i].token, .kind = draw(seed, 5), .match = &match,
                                            .reason = draw(seed, VDP_MAX_REASONS)};
        make_program(&program, ports, seed);
        resolution.program = (struct vdp_program){program.actions, program.count, program.blob, BLOB};
        assert_int_equal(vdp_upcall_resolve(engine, 0, &resolution, 1), 0);
    }
}

static void test_random_programs_keep_the_books(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.packets = 300, .flows = 60, .masks = 3, .port_masks = 3});
    const uint32_t types[PORTS] = {VDP_PORT_MEMORY, VDP_PORT_MEMORY, VDP_PORT_MEMORY,
                                   VDP_PORT_MEMORY, VDP_PORT_CELL, VDP_PORT_CELL};
    uint32_t ports[PORTS], ran = 0;
    uint64_t seed = 11, expired[60], clock = FIRST_CLOCK;
    static uint8_t bytes[VDP_MAX_LENGTH];

    for (uint32_t i = 0; i < PORTS; i++)
        ports[i] = add_port(engine, types[i], i & 1);
    for (uint32_t i = 0; i < PORTS; i++)
        if (i < 2 || types[i] == VDP_PORT_CELL)
            assert_int_equal(vdp_port_set_features(engine, ports[i], VDP_F_CSUM | VDP_F_TSO4), 0);
    for (int i = 0; i < 40; i++) {
        (void)(i & 1 ? vdp_window_new(engine, 1 + draw(&seed, 64)) : vdp_state_new(engine, draw(&seed, 3)));
        (void)vdp_counter_new(engine);
    }
    for (int round = 0; round < ROUNDS; round++) {
        struct random_program program;
        struct vdp_offload offload;
        uint32_t in = draw(&seed, 4), length = make_packet(bytes, &offload, in & 1, &seed);

        vdp_engine_set_clock(engine, clock += draw(&seed, 10000000));
        assert_int_equal(vdp_memory_inject(engine, ports[in], bytes, length, NULL, &offload), 0);
        make_program(&program, ports, &seed);
        ran += vdp_packet_execute(engine, 0, ports[in], bytes, length, NULL,
                                  &(struct vdp_program){program.actions, program.count, program.blob, BLOB}) == 0;
        if (draw(&seed, 3))
            vdp_engine_poll(engine);
        if (!draw(&seed, 4))
            answer_upcalls(engine, ports, &seed);
        if (!draw(&seed, 50))
            (void)vdp_flow_expire(engine, 0, 20ull * SECOND, 20, expired, 60);
        for (uint32_t i = 0; i < 4 && draw(&seed, 20); i++)
            while (vdp_memory_collect(engine, ports[i], bytes, sizeof bytes, NULL, NULL) >= 0)
                continue;
        if (round % 50 == 0)
            for (uint32_t i = 0; i < PORTS; i++)
                check_books(engine, ports[i], types[i] == VDP_PORT_CELL);
    }
    assert_true(ran > ROUNDS / 2);
    for (uint32_t i = 0; i < 4; i++)
        assert_true(stats_of(engine, ports[i]).hits > 0);
    for (uint32_t i = 0; i < PORTS; i++)
        assert_int_equal(vdp_port_remove(engine, ports[i]), 0);
    assert_int_equal(packets_in_use(engine), 0);
    vdp_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_programs_keep_the_books)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
