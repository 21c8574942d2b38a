/* classify.c and flow.c: against a linear scan; limits; expiry. */
#include "harness.h"

enum { FLOWS = 300, PACKETS = 4000, MASKS = 12 };

static const struct vdp_action DROP[] = {{VDP_OP_DROP, 0, 1, 0, 0}};

static bool matches(const struct vdp_match *match, const uint8_t *bytes, uint32_t length)
{
    if (length < match->min_length || length > match->max_length)
        return false;
    for (uint32_t i = 0; i < match->window; i++)
        if (match->mask[i] && (i >= length || (bytes[i] & match->mask[i]) != match->value[i]))
            return false;
    /* Memory port, L2: all metadata is zero. */
    for (uint32_t i = 0; i < VDP_META_SIZE; i++)
        if (match->meta_value[i])
            return false;
    return true;
}

static bool overlap(const struct vdp_match *a, const struct vdp_match *b)
{
    for (uint32_t i = 0; i < VDP_WINDOW; i++)
        if ((a->value[i] ^ b->value[i]) & a->mask[i] & b->mask[i])
            return false;
    for (uint32_t i = 0; i < VDP_META_SIZE; i++)
        if ((a->meta_value[i] ^ b->meta_value[i]) & a->meta_mask[i] & b->meta_mask[i])
            return false;
    return a->min_length <= b->max_length && b->min_length <= a->max_length;
}

/* A random match over one of a few masks; bytes and lengths from small ranges, so that
 * packets do hit. */
static struct vdp_match random_match(uint64_t *seed, uint32_t in_port)
{
    struct vdp_match match = {.in_port = in_port, .window = VDP_WINDOW};
    uint64_t shape = 77 + draw(seed, MASKS);

    for (uint32_t n = draw(&shape, 4) + 1, last = 0; n > 0; n--) {
        uint32_t at = draw(&shape, draw(&shape, 3) ? 24 : VDP_WINDOW);
        match.mask[at] = (uint8_t)(1u << draw(&shape, 2) | 1);
        match.value[at] = (uint8_t)(draw(seed, 4) & match.mask[at]);
        last = at > last ? at : last;
        match.min_length = last + 1 > match.min_length ? last + 1 : match.min_length;
    }
    if (!draw(&shape, 4)) {
        match.meta_mask[3] = 1;
        match.meta_value[3] = (uint8_t)draw(seed, 2);
    }
    match.min_length += draw(seed, 3) ? 0 : draw(seed, 40);
    match.max_length = draw(seed, 3) ? VDP_MAX_LENGTH : match.min_length + draw(seed, 100);
    return match;
}

static void test_a_lookup_agrees_with_a_linear_scan(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.upcall_queue = 1});
    uint32_t port = memory_port(engine), count = 0, hits = 0;
    static struct vdp_match matches_[FLOWS];
    static uint64_t ids[FLOWS], expected[FLOWS];
    uint64_t seed = 5;

    /* Disjoint flows, as the control side's are: then the answer is unique. */
    for (int attempt = 0; attempt < 20000 && count < FLOWS; attempt++) {
        struct vdp_match match = random_match(&seed, port);
        bool free_ = true;
        for (uint32_t i = 0; i < count && free_; i++)
            free_ = !overlap(&match, &matches_[i]);
        if (!free_)
            continue;
        int64_t id = install(engine, &match, PROGRAM(DROP));
        assert_true(id >= 0);
        ids[count] = (uint64_t)id;
        matches_[count++] = match;
    }
    assert_true(count > 20);
    for (int n = 0; n < PACKETS; n++) {
        uint8_t bytes[400];
        uint32_t length = draw(&seed, 3) ? draw(&seed, 64) : draw(&seed, 400);
        for (uint32_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)draw(&seed, 4);
        for (uint32_t i = 0; i < count; i++)
            if (matches(&matches_[i], bytes, length)) {
                expected[i]++;
                hits++;
            }
        inject(engine, port, bytes, length);
        if (n % 7 == 0) /* the same again: the flow of the packet before */
            inject(engine, port, bytes, length);
        for (uint32_t i = 0; n % 7 == 0 && i < count; i++)
            if (matches(&matches_[i], bytes, length)) {
                expected[i]++;
                hits++;
            }
        poll_all(engine);
    }
    assert_true(hits > PACKETS / 20);
    assert_int_equal(stats_of(engine, port).hits, hits);
    struct vdp_flow_stats stats[FLOWS];
    assert_int_equal(vdp_flow_dump(engine, 0, stats, FLOWS), (int)count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < count; j++)
            if (stats[j].id == ids[i])
                assert_int_equal(stats[j].packets, expected[i]);
    vdp_engine_free(engine);
}

static void test_flows_are_found_while_others_come_and_go(void **state)
{
    (void)state;
    enum { KEYS = 256 };
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.upcall_queue = 1});
    uint32_t port = memory_port(engine);
    uint64_t seed = 9, id[KEYS] = {0}, hits = 0;

    for (int n = 0; n < 20000; n++) {
        uint8_t key = (uint8_t)draw(&seed, KEYS);
        struct vdp_match match = match_first(port, key);
        if (!draw(&seed, 3)) {
            inject(engine, port, &key, 1);
            poll_all(engine);
            hits += id[key] != 0;
            assert_int_equal(stats_of(engine, port).hits, hits);
        } else if (id[key]) {
            assert_int_equal(vdp_flow_remove(engine, 0, &id[key], 1), 1);
            id[key] = 0;
        } else {
            int64_t made = install(engine, &match, PROGRAM(DROP));
            assert_true(made > 0);
            id[key] = (uint64_t)made;
        }
    }
    vdp_engine_free(engine);
}

static void test_one_match_is_taken_once_and_limits_hold(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.flows = 3, .port_masks = 2});
    uint32_t port = memory_port(engine);
    struct vdp_match match = match_first(port, 1), wide = match_all(port);

    assert_true(install(engine, &match, PROGRAM(DROP)) >= 0);
    assert_int_equal(install(engine, &match, PROGRAM(DROP)), -EEXIST);
    match.max_length = 100; /* other bounds: another flow */
    assert_true(install(engine, &match, PROGRAM(DROP)) >= 0);
    struct vdp_match second = match_first(port, 1);
    second.mask[0] = second.value[0] = 0x0f;
    assert_true(install(engine, &second, PROGRAM(DROP)) >= 0);
    assert_int_equal(install(engine, &wide, PROGRAM(DROP)), -ENOSPC);
    uint64_t id;
    struct vdp_flow_stats stats[3];
    assert_int_equal(vdp_flow_dump(engine, 0, stats, 3), 3);
    id = stats[0].id;
    assert_int_equal(vdp_flow_remove(engine, 0, &id, 1), 1);
    assert_int_equal(vdp_flow_remove(engine, 0, &id, 1), 0);
    assert_int_equal(install(engine, &wide, PROGRAM(DROP)), -E2BIG);
    vdp_engine_free(engine);
}

static void test_a_bad_match_is_refused(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t port = memory_port(engine);
    struct vdp_match good = match_first(port, 1), bad;

    bad = good, bad.min_length = 0; /* does not cover the masked byte */
    assert_int_equal(install(engine, &bad, PROGRAM(DROP)), -EINVAL);
    bad = good, bad.mask[0] = 0xfe; /* a value outside the mask */
    assert_int_equal(install(engine, &bad, PROGRAM(DROP)), -EINVAL);
    bad = good, bad.meta_value[9] = 1;
    assert_int_equal(install(engine, &bad, PROGRAM(DROP)), -EINVAL);
    bad = good, bad.window = VDP_WINDOW + 1;
    assert_int_equal(install(engine, &bad, PROGRAM(DROP)), -EINVAL);
    bad = good, bad.max_length = 0;
    assert_int_equal(install(engine, &bad, PROGRAM(DROP)), -EINVAL);
    bad = good, bad.in_port = port + 1;
    assert_int_equal(install(engine, &bad, PROGRAM(DROP)), -ENODEV);
    assert_int_equal(vdp_flow_install(engine, 1, &good, PROGRAM(DROP)), -ENODEV);
    assert_true(install(engine, &good, PROGRAM(DROP)) >= 0);
    vdp_engine_free(engine);
}

static void test_a_replaced_program_keeps_the_counters(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    struct vdp_match match = match_all(in);
    struct vdp_action forward[] = {{VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_flow_stats stats;

    int64_t id = install(engine, &match, PROGRAM(DROP));
    inject(engine, in, "one", 3);
    poll_all(engine);
    assert_int_equal(vdp_flow_replace(engine, 0, (uint64_t)id, PROGRAM(forward)), 0);
    assert_int_equal(vdp_flow_replace(engine, 0, (uint64_t)id + 16, PROGRAM(forward)), -ENOENT);
    inject(engine, in, "four", 4);
    poll_all(engine);
    expect_packet(engine, out, "four", 4);
    assert_int_equal(vdp_flow_dump(engine, 0, &stats, 1), 1);
    assert_int_equal(stats.packets, 2);
    assert_int_equal(stats.bytes, 7);
    vdp_engine_free(engine);
}

static void test_idle_flows_expire_and_then_the_longest_idle(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t port = memory_port(engine);
    int64_t id[6];
    uint64_t expired[6];

    for (uint8_t i = 0; i < 6; i++) { /* flow i was used at second i + 1 */
        struct vdp_match match = match_first(port, i);
        vdp_engine_set_clock(engine, (uint64_t)(i + 1) * SECOND);
        id[i] = install(engine, &match, PROGRAM(DROP));
    }
    uint8_t first = 0; /* at second 7 the first one is hit again */
    vdp_engine_set_clock(engine, 7ull * SECOND);
    inject(engine, port, &first, 1);
    poll_all(engine);
    assert_int_equal(vdp_flow_expire(engine, 0, 5ull * SECOND, 100, expired, 6), 1);
    assert_int_equal(expired[0], id[1]);
    assert_int_equal(vdp_flow_expire(engine, 0, 100ull * SECOND, 3, expired, 6), 2);
    assert_int_equal(expired[0], id[2]);
    assert_int_equal(expired[1], id[3]);
    assert_int_equal(vdp_flow_expire(engine, 0, 0, 100, expired, 2), 2); /* no more than asked */
    struct vdp_flow_stats left;
    assert_int_equal(vdp_flow_dump(engine, 0, &left, 1), 1);
    vdp_engine_free(engine);
}

static void test_flows_go_with_their_port(void **state)
{
    (void)state;
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
    uint32_t gone = memory_port(engine), stays = memory_port(engine);
    struct vdp_worker_stats stats;

    for (uint8_t i = 0; i < 50; i++) {
        struct vdp_match one = match_first(gone, i), other = match_first(stays, i);
        one.window = other.window = 2; /* several masks */
        one.mask[1] = (uint8_t)(i % 3);
        one.min_length = 2;
        assert_true(install(engine, &one, PROGRAM(DROP)) >= 0);
        assert_true(install(engine, &other, PROGRAM(DROP)) >= 0);
    }
    assert_int_equal(vdp_port_remove(engine, gone), 0);
    assert_int_equal(vdp_worker_read(engine, 0, &stats), 0);
    assert_int_equal(stats.flows, 50);
    assert_int_equal(stats.masks, 1);
    assert_int_not_equal(memory_port(engine), gone); /* its number is not given again at once */
    vdp_engine_free(engine);
}

/* Keys, `count` of them, that all fall into one place of a table of `places` under that seed: what
 * somebody would send who knew it. */
static void collide(const struct vdp_mask *mask, uint64_t seed, uint64_t places, uint64_t *keys, uint32_t count)
{
    uint64_t word = 0;

    for (uint32_t found = 0; found < count; word++)
        if ((vdp_mask_hash_key(mask, &word, seed) & (places - 1)) == 0)
            keys[found++] = word;
}

static int by_size(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Probes of linear probing for each key, in the table that they make; the 99th percentile. */
static uint32_t probes_p99(const struct vdp_mask *mask, uint64_t seed, uint32_t places, const uint64_t *keys,
                           uint32_t count)
{
    bool *taken = calloc(places, sizeof *taken);
    uint32_t *probes = calloc(count, sizeof *probes), p99;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = vdp_mask_hash_key(mask, &keys[i], seed);
        for (probes[i] = 1; taken[at & (places - 1)]; probes[i]++)
            at++;
        taken[at & (places - 1)] = true;
    }
    qsort(probes, count, sizeof *probes, by_size);
    p99 = probes[count * 99 / 100];
    free(taken);
    free(probes);
    return p99;
}

static void test_who_does_not_know_the_seed_finds_no_collisions(void **state)
{
    enum { KEYS = 512, PLACES = 2048, PROCESSES = 20, SETS = 4 };
    static uint64_t keys[SETS][KEYS];
    const struct vdp_mask mask = {.word_count = 1, .window_count = 1, .bits = {UINT64_MAX}};
    uint64_t before = 0;

    (void)state;
    collide(&mask, 0, PLACES, keys[0], KEYS);
    assert_int_equal(probes_p99(&mask, 0, PLACES, keys[0], KEYS), KEYS * 99 / 100 + 1);
    for (uint64_t i = 0; i < KEYS; i++) { /* and what counts up somewhere */
        keys[1][i] = i;
        keys[2][i] = i << 11;
        keys[3][i] = i << 48;
    }
    for (int i = 0; i < PROCESSES; i++) {
        struct vdp_engine *engine = engine_with((struct vdp_engine_config){0});
        assert_true(engine->seed != before);
        before = engine->seed;
        for (int set = 0; set < SETS; set++)
            assert_in_range(probes_p99(&mask, engine->seed, PLACES, keys[set], KEYS), 1, 8);
        vdp_engine_free(engine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lookup_agrees_with_a_linear_scan),
        cmocka_unit_test(test_flows_are_found_while_others_come_and_go),
        cmocka_unit_test(test_one_match_is_taken_once_and_limits_hold),
        cmocka_unit_test(test_a_bad_match_is_refused),
        cmocka_unit_test(test_a_replaced_program_keeps_the_counters),
        cmocka_unit_test(test_idle_flows_expire_and_then_the_longest_idle),
        cmocka_unit_test(test_flows_go_with_their_port),
        cmocka_unit_test(test_who_does_not_know_the_seed_finds_no_collisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
