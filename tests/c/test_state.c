/* state.c: what passes an explicit check, with and without a window, on one thread and on many. */
#include "harness.h"

#include "../../vdp/engine/state.h"

#include <pthread.h>

#define PASS(state, number) vdp_state_pass(state, number, RULE, &(struct vdp_arrival){.serial = 1})

enum { RULE = VDP_SEQUENCE_EXPLICIT | VDP_SEQUENCE_LATE };

static struct vdp_state *window_of(struct vdp_engine *engine, uint32_t size)
{
    int id = vdp_window_new(engine, size);

    assert_true(id > 0);
    return vdp_state_find(engine, (uint32_t)id);
}

static void test_a_window_has_a_size(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});

    assert_int_equal(vdp_window_new(engine, 0), -EINVAL);
    assert_int_equal(vdp_window_new(engine, VDP_MAX_SEQUENCE_WINDOW + 1), -EINVAL);
    assert_true(vdp_window_new(engine, VDP_MAX_SEQUENCE_WINDOW) > 0);
    vdp_engine_free(engine);
}

/* For every size, begun at every place near the wrap: the edge is exact. */
static void test_late_numbers_pass_once_up_to_the_edge(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t sizes[] = {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 1023, 1024};

    for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
        int id = vdp_window_new(engine, sizes[i]);
        struct vdp_state *window = vdp_state_find(engine, (uint32_t)id);
        for (uint32_t begin = 0xffffffc0; begin != 0x40; begin++) {
            assert_int_equal(vdp_state_write(engine, (uint32_t)id, 0), 0);
            assert_true(PASS(window, begin));
            assert_false(PASS(window, begin));
            assert_false(PASS(window, begin - sizes[i] - 1));
            for (uint32_t late = sizes[i]; late > 0; late--)
                assert_true(PASS(window, begin - late));
            for (uint32_t late = 0; late <= sizes[i]; late++)
                assert_false(PASS(window, begin - late));
            assert_true(PASS(window, begin + 1));
            assert_false(PASS(window, begin - sizes[i])); /* now beyond it */
        }
        assert_int_equal(vdp_state_free(engine, (uint32_t)id), 0);
    }
    vdp_engine_free(engine);
}

static void test_a_jump_forgets_what_is_behind_it(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    struct vdp_state *window = window_of(engine, 64);
    uint32_t at = 5, jumps[] = {64, 65, 128, 1000, 0x7fffffff, 0x7fffffff, 3};

    assert_true(PASS(window, at));
    for (uint32_t i = 0; i < COUNT_OF(jumps); i++) {
        at += jumps[i]; /* the last ones come by 5 again, a whole round later */
        assert_true(PASS(window, at));
        assert_false(PASS(window, at));
        assert_true(PASS(window, at - 63));
        assert_false(PASS(window, at - 65));
        assert_false(PASS(window, at + 0x80000001));
    }
    vdp_engine_free(engine);
}

static bool came(struct vdp_state *window, uint32_t number, uint32_t serial, bool waited)
{
    return vdp_state_pass(window, number, 0, &(struct vdp_arrival){.serial = serial, .waited = waited});
}

/* Serial numbers say in which order packets came in; one that waited is judged by that. */
static void test_what_waited_is_judged_by_when_it_came(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    struct vdp_state *window = window_of(engine, 64);
    const uint32_t last = UINT32_MAX;

    assert_true(came(window, 10, last - 3, false));
    assert_true(came(window, 12, 3, false));  /* serials wrap, too */
    assert_false(came(window, 11, 4, true));  /* after 12 */
    assert_false(came(window, 11, 2, false)); /* did not wait */
    assert_false(came(window, 9, 2, true));   /* after 10 */
    assert_true(came(window, 11, 2, true));   /* after 10, before 12 */
    assert_false(came(window, 11, 2, true));
    assert_true(came(window, 77, 9, false));
    assert_true(came(window, 13, 8, true)); /* 64 behind */
    assert_true(came(window, 79, 10, false));
    assert_false(came(window, 14, 8, true)); /* 65 behind */
    vdp_engine_free(engine);
}

static bool came_by(struct vdp_state *window, uint32_t worker, uint32_t number)
{
    return vdp_state_pass(window, number, 0, &(struct vdp_arrival){.worker = worker, .shared = true});
}

/* Of several workers each knows the order of its own packets only. */
static void test_a_number_is_behind_those_of_its_own_worker(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    struct vdp_state *window = window_of(engine, 64);
    const uint32_t far = 100 + 3 * VDP_WORKERS_APART;

    assert_true(came_by(window, 0, 100));
    assert_true(came_by(window, 1, 99)); /* overtaken by the other worker's */
    assert_false(came_by(window, 1, 98));
    assert_false(came_by(window, 0, 99));
    assert_true(came_by(window, 0, 5000));
    assert_true(came_by(window, 1, 101)); /* far beyond the window */
    assert_false(came_by(window, 1, 101));
    assert_false(came_by(window, 2, 5000)); /* came in already */
    assert_true(came_by(window, 0, far));
    assert_true(came_by(window, 2, far - VDP_WORKERS_APART));
    assert_false(came_by(window, 3, far - VDP_WORKERS_APART - 1));
    vdp_engine_free(engine);
}

/* A slot that nothing came into is none of a number whose tag is zero. */
static void test_an_empty_slot_holds_no_number(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});

    for (uint32_t size = 1; size <= VDP_MAX_SEQUENCE_WINDOW; size *= 2) {
        struct vdp_state *window = window_of(engine, size);
        assert_true(PASS(window, 0xffffffff));
        for (uint32_t number = 1; number < 4 * size; number++) /* up from 2 << 32 */
            assert_true(PASS(window, number));
    }
    vdp_engine_free(engine);
}

/* A free window is not looked at any more, and its number may be another state's. */
static void test_a_freed_window_is_a_plain_state_again(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    int id = vdp_window_new(engine, 64);

    assert_int_equal(vdp_engine_start(engine), 0);
    assert_int_equal(vdp_state_free(engine, (uint32_t)id), 0);
    assert_int_equal(vdp_state_free(engine, (uint32_t)id), -ENOENT);
    assert_int_equal(vdp_state_new(engine, 0), id);
    struct vdp_state *plain = vdp_state_find(engine, (uint32_t)id);
    assert_true(PASS(plain, 9));
    assert_false(PASS(plain, 8));
    assert_int_equal(vdp_engine_stop(engine), 0);
    vdp_engine_free(engine);
}

enum { THREADS = 4, NUMBERS = 1 << 16 };

struct racer {
    struct vdp_state *state;
    _Atomic uint32_t *passed; /* [NUMBERS]: how often each number did */
    uint32_t first;
    pthread_barrier_t *begin;
};

/* Every number, most of them twice, a little out of order. */
static void *race(void *argument)
{
    struct racer *racer = argument;
    uint64_t seed = 1 + racer->first;

    pthread_barrier_wait(racer->begin);
    for (uint32_t at = 0; at < NUMBERS; at++) {
        uint32_t number = at ^ draw(&seed, 16);
        if (PASS(racer->state, 0xffff8000u + number))
            atomic_fetch_add(&racer->passed[number], 1);
    }
    return NULL;
}

static void test_of_many_workers_one_passes(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    static _Atomic uint32_t passed[NUMBERS];
    struct racer racers[THREADS];
    pthread_t threads[THREADS];
    pthread_barrier_t begin;
    uint32_t sizes[] = {1, 64, 1024};

    for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
        struct vdp_state *window = window_of(engine, sizes[i]);
        uint32_t total = 0;
        memset((void *)passed, 0, sizeof passed);
        pthread_barrier_init(&begin, NULL, THREADS);
        for (uint32_t t = 0; t < THREADS; t++) {
            racers[t] = (struct racer){window, passed, t, &begin};
            assert_int_equal(pthread_create(&threads[t], NULL, race, &racers[t]), 0);
        }
        for (uint32_t t = 0; t < THREADS; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
        pthread_barrier_destroy(&begin);
        for (uint32_t n = 0; n < NUMBERS; n++) {
            assert_true(passed[n] <= 1);
            total += passed[n];
        }
        assert_true(total > NUMBERS / 8);
    }
    vdp_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_window_has_a_size),
        cmocka_unit_test(test_late_numbers_pass_once_up_to_the_edge),
        cmocka_unit_test(test_a_jump_forgets_what_is_behind_it),
        cmocka_unit_test(test_what_waited_is_judged_by_when_it_came),
        cmocka_unit_test(test_a_number_is_behind_those_of_its_own_worker),
        cmocka_unit_test(test_an_empty_slot_holds_no_number),
        cmocka_unit_test(test_a_freed_window_is_a_plain_state_again),
        cmocka_unit_test(test_of_many_workers_one_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
