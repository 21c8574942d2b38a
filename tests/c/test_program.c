/* program.c: what is refused, and that nothing whatever crashes it. */
#include "harness.h"

static int check(const struct vdp_action *actions, uint32_t count)
{
    static const uint8_t blob[32];
    return vdp_program_check(&(struct vdp_program){actions, count, blob, sizeof blob});
}

static void test_a_program_ends_in_drop_or_output(void **state)
{
    (void)state;
    struct vdp_action pull = {VDP_OP_PULL, 0, 4, 0, 0};
    struct vdp_action good[] = {pull, {VDP_OP_OUTPUT, 0, 1, 0, 0}};

    assert_int_equal(check(good, 2), 0);
    assert_int_equal(check(good, 1), -EINVAL);
    assert_int_equal(check(good, 0), -EINVAL);
    assert_int_equal(vdp_program_check(NULL), -EINVAL);
    assert_int_equal(vdp_program_check(&(struct vdp_program){.count = 1}), -EINVAL);
}

static void test_jumps_go_forward_to_an_action_that_exists(void **state)
{
    (void)state;
    uint32_t targets[] = {0, 1, 2, 3, 4, UINT32_MAX};
    int results[] = {-EINVAL, -EINVAL, 0, 0, -EINVAL, -EINVAL};

    for (uint32_t i = 0; i < COUNT_OF(targets); i++) {
        struct vdp_action program[] = {{VDP_OP_PULL, 0, 0, 0, 0},
                                       {VDP_OP_TTL, 4, 0, 0, targets[i]},
                                       {VDP_OP_OUTPUT, 0, 1, 0, 0},
                                       {VDP_OP_DROP, 0, 1, 0, 0}};
        assert_int_equal(check(program, 4), results[i]);
        program[1] = (struct vdp_action){VDP_OP_FRAGMENT, 0, 28, 0, targets[i]};
        assert_int_equal(check(program, 4), results[i]);
        program[1] = (struct vdp_action){VDP_OP_CLONE, 0, targets[i], 0, 0};
        assert_int_equal(check(program, 4), results[i]);
    }
}

static void test_constants_are_inside_the_blob(void **state)
{
    (void)state;
    struct vdp_action end = {VDP_OP_DROP, 0, 1, 0, 0};
    struct vdp_action bad[] = {{VDP_OP_PUSH, 0, 32, 1, 0},          {VDP_OP_PUSH, 0, 33, 0, 0},
                               {VDP_OP_PUSH, 0, 1, UINT32_MAX, 0},  {VDP_OP_SET, 16, 0, 1, UINT32_MAX},
                               {VDP_OP_SET, 17, 0, 0, UINT32_MAX},  {VDP_OP_SET, 0, 0, 0, UINT32_MAX},
                               {VDP_OP_SET, 1, 65536, 0, UINT32_MAX}, {VDP_OP_SET, 1, 0, 0, 65536}};
    struct vdp_action good[] = {{VDP_OP_PUSH, 0, 32, 0, 0}, {VDP_OP_SET, 16, 0, 0, UINT32_MAX},
                                {VDP_OP_SET, 1, 65535, 30, 65535}};

    for (uint32_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(check((struct vdp_action[]){bad[i], end}, 2), -EINVAL);
    for (uint32_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(check((struct vdp_action[]){good[i], end}, 2), 0);
}

static void test_operands_out_of_range_are_refused(void **state)
{
    (void)state;
    struct vdp_action end = {VDP_OP_DROP, 0, 1, 0, 0};
    struct vdp_action bad[] = {
        {VDP_OP_COUNT_OPS, 0, 0, 0, 0},      {0xffff, 0, 0, 0, 0},
        {VDP_OP_DROP, 0, VDP_MAX_REASONS, 0, 0}, {VDP_OP_PULL, 0, 65536, 0, 0},
        {VDP_OP_COPY, 0x100, 0, 0, 0},       {VDP_OP_COPY, 0, 0, 65536, 0},
        {VDP_OP_LENGTH, 0, 65536, 0, 0},     {VDP_OP_ID, 0, 65536, 0, 0},
        {VDP_OP_CHECKSUM, 0, 0, 65536, 0},   {VDP_OP_REQUIRE_LENGTH, 0, 2, 1, 1},
        {VDP_OP_REQUIRE_LENGTH, 2, 0, 1, 1}, {VDP_OP_REQUIRE_SEQUENCE, 4, 0, 0, 1},
        {VDP_OP_TTL, 5, 0, 0, 1},            {VDP_OP_META, VDP_META_WORDS, 0, 0, 0},
        {VDP_OP_META_LOAD, 8, 0, 0, 0},      {VDP_OP_META_LOAD, 0, 65536, 0, 0},
        {VDP_OP_FRAGMENT, 0, 27, 0, 1},      {VDP_OP_FRAGMENT, 0, 131072, 0, 1},
        {VDP_OP_FRAGMENT, 0, 28, 65536, 1},  {VDP_OP_STATE, 0, 65536, 0, 0},
    };

    for (uint32_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(check((struct vdp_action[]){bad[i], end}, 2), -EINVAL);
}

static void test_copies_are_bounded_even_when_nested(void **state)
{
    (void)state;
    struct vdp_action program[VDP_MAX_ACTIONS];

    /* CLONE to the next action doubles the work each time: 2^6 - 1 copies, then 2^7 - 1. */
    for (uint32_t n = 6; n <= 7; n++) {
        for (uint32_t i = 0; i < n; i++)
            program[i] = (struct vdp_action){VDP_OP_CLONE, 0, i + 1, 0, 0};
        program[n] = (struct vdp_action){VDP_OP_DROP, 0, 1, 0, 0};
        assert_int_equal(check(program, n + 1), n == 6 ? 0 : -EINVAL);
    }
    /* One after the other: 64 are good, 65 are not. */
    for (uint32_t n = VDP_MAX_CLONES; n <= VDP_MAX_CLONES + 1; n++) {
        for (uint32_t i = 0; i < n; i++)
            program[i] = (struct vdp_action){VDP_OP_CLONE, 0, n + 1, 0, 0};
        program[n] = program[n + 1] = (struct vdp_action){VDP_OP_DROP, 0, 1, 0, 0};
        assert_int_equal(check(program, n + 2), n == VDP_MAX_CLONES ? 0 : -EINVAL);
    }
}

static void test_random_bytes_are_checked_without_harm(void **state)
{
    (void)state;
    uint64_t seed = 1;

    for (int round = 0; round < 200000; round++) {
        uint32_t count = draw(&seed, 8) + 1;
        struct vdp_action *actions = malloc(count * sizeof *actions);
        uint8_t *blob = malloc(4);
        for (uint32_t i = 0; i < count * sizeof *actions; i++)
            ((uint8_t *)actions)[i] = (uint8_t)draw(&seed, draw(&seed, 2) ? 256 : 6);
        int result = vdp_program_check(&(struct vdp_program){actions, count, blob, 4});
        assert_true(result == 0 || result == -EINVAL);
        free(actions);
        free(blob);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program_ends_in_drop_or_output),
        cmocka_unit_test(test_jumps_go_forward_to_an_action_that_exists),
        cmocka_unit_test(test_constants_are_inside_the_blob),
        cmocka_unit_test(test_operands_out_of_range_are_refused),
        cmocka_unit_test(test_copies_are_bounded_even_when_nested),
        cmocka_unit_test(test_random_bytes_are_checked_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
