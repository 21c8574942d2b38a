/* shared.c: equal contents are kept once, for as long as somebody has them. */
#include "packets.h"

#include "../../vdp/engine/shared.h"
#include "../../vdp/engine/slab.h"

enum { MANY = 3000 };

static void test_equal_contents_are_one(void **state)
{
    struct vdp_slab *slab = vdp_slab_new();
    struct vdp_shared *shared = vdp_shared_new(slab);
    const void *one, *same, *longer, *other;
    (void)state;
    assert_non_null(shared);
    one = vdp_shared_take(shared, "content", 7);
    same = vdp_shared_take(shared, "content", 7);
    longer = vdp_shared_take(shared, "content", 8);
    other = vdp_shared_take(shared, "contend", 7);
    assert_ptr_equal(one, same);
    assert_ptr_not_equal(one, longer);
    assert_ptr_not_equal(one, other);
    assert_memory_equal(other, "contend", 7);
    assert_int_equal((uintptr_t)one % 64, 0);
    vdp_shared_give(shared, one);
    assert_memory_equal(same, "content", 7); /* the other owner has it still */
    vdp_shared_give(shared, same);
    vdp_shared_give(shared, longer);
    vdp_shared_give(shared, other);
    vdp_shared_give(shared, NULL);
    vdp_shared_free(shared);
    vdp_slab_free(slab);
}

/* More than the first buckets hold; each is found again, and given back in another order. */
static void test_many_contents_are_told_apart(void **state)
{
    static const void *taken[MANY];
    struct vdp_slab *slab = vdp_slab_new();
    struct vdp_shared *shared = vdp_shared_new(slab);
    (void)state;
    assert_non_null(shared);
    for (uint32_t i = 0; i < MANY; i++)
        taken[i] = vdp_shared_take(shared, &i, sizeof i);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_ptr_equal(vdp_shared_take(shared, &i, sizeof i), taken[i]);
        assert_memory_equal(taken[i], &i, sizeof i);
    }
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < MANY; i++)
            vdp_shared_give(shared, taken[(i * 7) % MANY]);
    vdp_shared_free(shared); /* the leak checker sees what is left */
    vdp_slab_free(slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_contents_are_one),
        cmocka_unit_test(test_many_contents_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
