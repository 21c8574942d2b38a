/* Each allocation of the engine fails once, and then all from it on: nothing crashes, leaks, or is
 * said to be there that is not.  What makes descriptors and threads fails as well.
 *
 * The linker puts the functions here in front of the real ones (--wrap, meson.build). */
#include "harness.h"

#include <limits.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of the calls since `begin`, those from `first` on, `count` of them, fail. */
static unsigned long calls, first, count;

static bool fails(void)
{
    unsigned long number = ++calls;
    return first && number >= first && number - first < count;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t line, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_eventfd(unsigned value, int flags);
int __real_epoll_create1(int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t line, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_epoll_create1(int flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);

static const uint8_t XY[2] = {'x', 'y'};

static void *none(void)
{
    errno = ENOMEM;
    return NULL;
}

static int too_many(void)
{
    errno = EMFILE;
    return -1;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? none() : __real_malloc(size);
}

void *__wrap_calloc(size_t number, size_t size)
{
    return fails() ? none() : __real_calloc(number, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? none() : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t line, size_t size)
{
    return fails() ? none() : __real_aligned_alloc(line, size);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (!fails())
        return __real_mmap(at, size, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int __wrap_eventfd(unsigned value, int flags)
{
    return fails() ? too_many() : __real_eventfd(value, flags);
}

int __wrap_epoll_create1(int flags)
{
    return fails() ? too_many() : __real_epoll_create1(flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument)
{
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

static int port_of(struct vdp_engine *engine, uint32_t type)
{
    const struct vdp_port_config config = {.name = "port", .type = type, .packet_type = VDP_L2};
    return vdp_port_add(engine, &config);
}

/* A port on a socket, detached and attached again. */
static void use_socket(struct vdp_engine *engine, int fd)
{
    const struct vdp_port_config config = {
        .name = "socket", .type = VDP_PORT_PACKET, .mtu = 1500, .fd_count = 1, .fd = {fd}};
    const int port = vdp_port_add(engine, &config);
    if (port < 0)
        return;
    (void)vdp_port_detach(engine, (uint32_t)port);
    (void)vdp_port_attach(engine, (uint32_t)port, &config);
    (void)vdp_port_remove(engine, (uint32_t)port);
}

/* What the programs of flows may name. */
static void use_tables(struct vdp_engine *engine, uint32_t in, uint32_t out)
{
    static const uint8_t BYTES[4] = {1, 2, 3, 4};
    const uint32_t ports[2] = {in, out};
    for (int i = 0; i < 3000; i++)
        (void)vdp_counter_new(engine);
    const int state = vdp_state_new(engine, 1), window = vdp_window_new(engine, 64);
    const int header = vdp_header_new(engine, BYTES, sizeof BYTES);
    const int group = vdp_group_new(engine, ports, 2);
    if (state > 0)
        (void)vdp_state_free(engine, (uint32_t)state);
    if (window > 0)
        (void)vdp_state_free(engine, (uint32_t)window);
    if (header > 0)
        (void)vdp_header_free(engine, (uint32_t)header);
    if (group > 0) {
        struct vdp_action flood[] = {{VDP_OP_GROUP, 0, (uint32_t)group, 0, 0}};
        const struct vdp_match match = match_first(in, 'g');
        (void)install(engine, &match, PROGRAM(flood));
    }
}

/* Flows, packets by them, packets without one, drops, a cell, a tap. */
static void use_flows(struct vdp_engine *engine, uint32_t in, uint32_t out, int cell)
{
    struct vdp_action forward[] = {{VDP_OP_PUSH, 0, 2, 0, 0}, {VDP_OP_OUTPUT, 0, out, 0, 0}};
    struct vdp_action drop[] = {{VDP_OP_DROP, 0, VDP_REASON_policy_rule, 0, 0}};
    struct vdp_action join[] = {{VDP_OP_OUTPUT, 0, (uint32_t)cell, 0, 0}};
    const struct vdp_tap_config config = {.points = VDP_TAP_RX | VDP_TAP_DROP, .snap = 64};
    const int tap = vdp_tap_open(engine, &config);
    struct vdp_upcall upcalls[8];
    uint64_t ids[8];
    for (unsigned byte = 0; byte < 200; byte++) {
        const struct vdp_match match = match_first(in, (uint8_t)byte);
        (void)install(engine, &match, byte % 3 ? PROGRAM_OF(forward, XY) : PROGRAM(drop));
    }
    const struct vdp_match last = match_first(in, 255);
    if (cell > 0)
        (void)install(engine, &last, PROGRAM(join));
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint8_t packet[64] = {(uint8_t)byte};
        (void)vdp_memory_inject(engine, in, packet, sizeof packet, NULL, NULL);
    }
    poll_all(engine);
    const int taken = vdp_upcall_take(engine, 0, upcalls, 8);
    for (int i = 0; i < taken; i++) {
        struct vdp_resolution resolution = {.token = upcalls[i].token, .kind = VDP_RESOLVE_INSTALL};
        const struct vdp_match match = match_first(in, upcalls[i].data[0]);
        resolution.match = &match;
        resolution.program = *PROGRAM_OF(forward, XY);
        (void)vdp_upcall_resolve(engine, 0, &resolution, 1);
    }
    (void)vdp_flow_expire(engine, 0, 0, 0, ids, 8);
    if (tap > 0)
        (void)vdp_tap_close(engine, (uint32_t)tap);
}

/* All of it; an engine that can not be made is none. */
static void use(void)
{
    const struct vdp_engine_config config = {.workers = 2, .packets = 512, .flows = 256};
    struct vdp_engine *engine = NULL;
    int pair[2];
    if (vdp_engine_new(&config, &engine) < 0) {
        assert_null(engine);
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    vdp_engine_set_clock(engine, FIRST_CLOCK);
    const int in = port_of(engine, VDP_PORT_MEMORY), out = port_of(engine, VDP_PORT_MEMORY);
    const int cell = port_of(engine, VDP_PORT_CELL);
    if (in > 0 && out > 0) {
        use_tables(engine, (uint32_t)in, (uint32_t)out);
        use_flows(engine, (uint32_t)in, (uint32_t)out, cell);
    }
    use_socket(engine, pair[0]);
    if (vdp_engine_start(engine) == 0)
        (void)vdp_engine_stop(engine);
    vdp_engine_free(engine);
    close(pair[0]);
    close(pair[1]);
}

static int descriptors(void)
{
    const int fd = dup(0);
    close(fd);
    return fd; /* the lowest that is free */
}

static void run(unsigned long from, unsigned long many)
{
    calls = 0;
    first = from;
    count = many;
    use();
    first = 0;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    run(0, 0);
    const unsigned long all = calls;
    const int before = descriptors();
    assert_true(all > 50);
    for (unsigned long n = 1; n <= all; n++) {
        run(n, 1);
        assert_int_equal(descriptors(), before);
        run(n, ULONG_MAX);
        assert_int_equal(descriptors(), before);
    }
    printf("%lu places\n", all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
