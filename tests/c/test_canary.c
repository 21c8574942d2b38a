/* Memory of one packet never leaves with another (Etherleak, CVE-2003-0001): a million short
 * frames, in buffers that are full of somebody else's bytes, through all that makes them longer. */
#include "harness.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#define IS_SEALED(buffer) __asan_address_is_poisoned(buffer)
#else
#define ASAN_POISON_MEMORY_REGION(buffer, size) ((void)(buffer))
#define ASAN_UNPOISON_MEMORY_REGION(buffer, size) ((void)(buffer))
#define IS_SEALED(buffer) 0
#endif

enum { CANARY = 0xc5, RUN = 4, FRAMES = 1000000, SHORTEST = 14, LONGEST = 60, DIRTY = 2048 };

/* An outer IPv4 and GRE header; no byte of it is the canary's. */
static const uint8_t OUTER[24] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 47, 0, 0, 192, 0, 2, 1,
                                  192,  0, 2, 2, 0, 0, 0x65, 0x58};

/* Programs of those that carry frames, each for frames that begin with its number. */
static const struct vdp_action ENCAPSULATE[] = {
    {VDP_OP_PUSH, 0, sizeof OUTER, 0, 0}, {VDP_OP_LENGTH, 0, 2, 0, 0},
    {VDP_OP_CHECKSUM, 0, 10, 0, 20},      {VDP_OP_OUTPUT, 0, 2, 0, 0},
};
static const struct vdp_action DECAPSULATE[] = {
    {VDP_OP_PULL, 0, 8, 0, 0}, {VDP_OP_OUTPUT, 0, 2, 0, 0}};
static const struct vdp_action TRIM[] = {
    {VDP_OP_TRIM, 0, 2, 0, 2}, {VDP_OP_OUTPUT, 0, 2, 0, 0}, {VDP_OP_DROP, 0, VDP_REASON_parse_bad_length, 0, 0}};
static const struct vdp_action COPIES[] = {
    {VDP_OP_CLONE, 0, 3, 0, 0}, {VDP_OP_PULL, 0, 14, 0, 0}, {VDP_OP_OUTPUT, 0, 2, 0, 0},
    {VDP_OP_PUSH, 0, sizeof OUTER, 0, 0}, {VDP_OP_HASH, 0xffff, 4, 24, 4}, {VDP_OP_OUTPUT, 0, 2, 0, 0}};
static const struct vdp_action PIECES[] = {
    {VDP_OP_FRAGMENT, 0, 28, 0, 2}, {VDP_OP_OUTPUT, 0, 2, 0, 0}, {VDP_OP_DROP, 0, VDP_REASON_mtu_exceeded, 0, 0}};
static const struct vdp_action THROUGH_A_CELL[] = {{VDP_OP_OUTPUT, 0, 3, 0, 0}};
static const struct vdp_action ON[] = {{VDP_OP_OUTPUT, 0, 2, 0, 0}};

static const struct {
    const struct vdp_action *actions;
    uint32_t count;
    uint8_t first;
} PROGRAMS[] = {
    {ENCAPSULATE, COUNT_OF(ENCAPSULATE), 1}, {DECAPSULATE, COUNT_OF(DECAPSULATE), 2},
    {TRIM, COUNT_OF(TRIM), 3},               {COPIES, COUNT_OF(COPIES), 4},
    {PIECES, COUNT_OF(PIECES), 0x45},        {THROUGH_A_CELL, COUNT_OF(THROUGH_A_CELL), 6},
};

static void make_dirty(struct vdp_engine *engine)
{
    struct vdp_worker *worker = &engine->workers[0];

    for (uint32_t i = 0; i < worker->packet_count; i++) {
        uint8_t *buffer = worker->packets[i].buffer;
        bool is_sealed = IS_SEALED(buffer); /* packet.c: of free ones nobody may touch a byte */
        ASAN_UNPOISON_MEMORY_REGION(buffer, DIRTY);
        memset(buffer, CANARY, DIRTY);
        if (is_sealed)
            ASAN_POISON_MEMORY_REGION(buffer, DIRTY);
    }
}

/* A frame that begins with that byte, of IPv4's form where the byte says so. */
static uint32_t make_frame(uint8_t *frame, uint8_t first, uint64_t *seed)
{
    uint32_t length = SHORTEST + draw(seed, LONGEST - SHORTEST + 1);

    for (uint32_t i = 0; i < length; i++)
        frame[i] = (uint8_t)draw(seed, CANARY);
    frame[0] = first;
    frame[2] = 0;
    frame[3] = (uint8_t)draw(seed, LONGEST + 8); /* longer than the frame, now and then */
    return length;
}

static uint32_t longest_run(const uint8_t *bytes, uint32_t length)
{
    uint32_t run = 0, longest = 0;

    for (uint32_t i = 0; i < length; i++) {
        run = bytes[i] == CANARY ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static void test_no_byte_of_another_packet_leaves(void **state)
{
    (void)state;
    static uint8_t got[VDP_MAX_LENGTH];
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.packets = 192});
    uint32_t in = memory_port(engine), out = memory_port(engine);
    uint32_t cell = add_port(engine, VDP_PORT_CELL, VDP_L2);
    uint64_t seed = 7, frames = 0, left = 0;

    assert_int_equal(out, 2);
    assert_int_equal(cell, 3);
    for (uint32_t i = 0; i < COUNT_OF(PROGRAMS); i++) {
        struct vdp_match match = match_first(in, PROGRAMS[i].first);
        struct vdp_program program = {PROGRAMS[i].actions, PROGRAMS[i].count, OUTER, sizeof OUTER};
        assert_true(install(engine, &match, &program) >= 0);
    }
    struct vdp_match every = match_all(cell);
    assert_true(install(engine, &every, PROGRAM(ON)) >= 0);
    while (frames < FRAMES) {
        make_dirty(engine);
        for (uint32_t i = 0; i < VDP_BATCH; i++, frames++) {
            uint8_t frame[LONGEST];
            uint32_t length = make_frame(frame, PROGRAMS[draw(&seed, COUNT_OF(PROGRAMS))].first, &seed);
            inject(engine, in, frame, length);
        }
        poll_all(engine);
        for (int size; (size = vdp_memory_collect(engine, out, got, sizeof got, NULL, NULL)) >= 0; left++)
            if (longest_run(got, (uint32_t)size) >= RUN)
                fail_msg("%d bytes, begun by %02x, have bytes of another packet", size, got[0]);
    }
    assert_true(left > FRAMES / 2);
    vdp_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_byte_of_another_packet_leaves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
