/* slab.c: items are zero, apart from each other, on cache lines, and come again. */
#include "packets.h"

#include "../../vdp/engine/slab.h"

enum { MANY = 40000 }; /* of two lines: more than a huge page holds */

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

static void test_an_item_is_zero_and_begins_on_a_line(void **state)
{
    struct vdp_slab *slab = vdp_slab_new();
    (void)state;
    assert_non_null(slab);
    for (uint32_t round = 0; round < 3; round++) {
        uint8_t *items[VDP_SLAB_MOST + 1];
        for (size_t size = 1; size <= VDP_SLAB_MOST; size++) {
            items[size] = vdp_slab_take(slab, size);
            assert_non_null(items[size]);
            assert_int_equal((uintptr_t)items[size] % 64, 0);
            assert_true(is_zero(items[size], size));
            memset(items[size], 0xff, size);
        }
        for (size_t size = 1; size <= VDP_SLAB_MOST; size++)
            vdp_slab_give(slab, items[size], size);
    }
    vdp_slab_give(slab, NULL, 8);
    vdp_slab_free(slab);
}

static void test_what_is_larger_is_allocated_by_itself(void **state)
{
    struct vdp_slab *slab = vdp_slab_new();
    (void)state;
    uint8_t *item = vdp_slab_take(slab, 12 * VDP_SLAB_MOST + 1);
    assert_non_null(item);
    assert_int_equal((uintptr_t)item % 64, 0);
    assert_true(is_zero(item, 12 * VDP_SLAB_MOST + 1));
    vdp_slab_free(slab); /* but for this one */
    item[0] = item[12 * VDP_SLAB_MOST] = 1;
    slab = vdp_slab_new();
    vdp_slab_give(slab, item, 12 * VDP_SLAB_MOST + 1);
    assert_null(vdp_slab_take(slab, 0));
    vdp_slab_free(slab);
}

/* Several chunks: nobody writes into another's. */
static void test_many_items_are_apart(void **state)
{
    static uint32_t *items[MANY];
    struct vdp_slab *slab = vdp_slab_new();
    (void)state;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            items[i] = vdp_slab_take(slab, 128);
            assert_non_null(items[i]);
            items[i][0] = items[i][31] = i + 1;
        }
        for (uint32_t i = 0; i < MANY; i++)
            assert_true(items[i][0] == i + 1 && items[i][31] == i + 1);
        for (uint32_t i = 0; i < MANY; i++)
            vdp_slab_give(slab, items[(i * 7) % MANY], 128);
    }
    vdp_slab_free(slab);
}

static void test_what_is_given_back_is_taken_first(void **state)
{
    struct vdp_slab *slab = vdp_slab_new();
    void *one = vdp_slab_take(slab, 100), *other = vdp_slab_take(slab, 100);
    (void)state;
    assert_ptr_not_equal(one, other);
    vdp_slab_give(slab, one, 100);
    assert_ptr_equal(vdp_slab_take(slab, 128), one); /* both are two lines */
    vdp_slab_give(slab, other, 100);
    assert_ptr_not_equal(vdp_slab_take(slab, 129), other);
    vdp_slab_free(slab); /* with what is still taken */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_item_is_zero_and_begins_on_a_line),
        cmocka_unit_test(test_what_is_larger_is_allocated_by_itself),
        cmocka_unit_test(test_many_items_are_apart),
        cmocka_unit_test(test_what_is_given_back_is_taken_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
