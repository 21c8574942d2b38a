/* confine.c: what a worker's thread can still do, tried from that very thread. */
#include "harness.h"
#include "../../vdp/engine/worker.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct vdp_engine *confined_engine(uint32_t confine)
{
    struct vdp_engine *engine = engine_with((struct vdp_engine_config){.confine = confine});

    assert_int_equal(vdp_engine_start(engine), 0);
    return engine;
}

/* What an intruder would do next; each answers as its system call does. */
static long try_execve(void)
{
    char *const arguments[] = {"/bin/true", NULL};
    return execve("/bin/true", arguments, NULL);
}

static long try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long try_open(void)
{
    return open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static long try_socket(void)
{
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static long try_bpf(void)
{
    union bpf_attr attribute = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return syscall(__NR_bpf, BPF_MAP_CREATE, &attribute, sizeof attribute);
}

static long try_mount(void)
{
    return mount("none", "/nowhere/at/all", "tmpfs", MS_NOSUID, NULL);
}

static long try_unshare(void)
{
    return syscall(__NR_unshare, 0);
}

static long try_ioctl(void)
{
    return syscall(__NR_ioctl, 0, 0, 0);
}

static long try_mmap_exec(void)
{
    return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long try_kill(void)
{
    return syscall(__NR_tgkill, 1, 1, 0);
}

static long try_capset(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    return syscall(__NR_capset, &header, none);
}

static const struct {
    const char *name;
    long (*act)(void);
    uint32_t number;
} REFUSED[] = {
    {"execve", try_execve, __NR_execve}, {"ptrace", try_ptrace, __NR_ptrace},
    {"open", try_open, __NR_openat},     {"socket", try_socket, __NR_socket},
    {"bpf", try_bpf, __NR_bpf},          {"mount", try_mount, __NR_mount},
    {"unshare", try_unshare, __NR_unshare}, {"ioctl", try_ioctl, __NR_ioctl},
    {"mmap", try_mmap_exec, __NR_mmap},  {"tgkill", try_kill, __NR_tgkill},
    {"capset", try_capset, __NR_capset},
};
enum { REFUSED_COUNT = sizeof REFUSED / sizeof *REFUSED };

static int try(struct vdp_worker *worker, void *argument)
{
    (void)worker;
    errno = 0;
    long result = REFUSED[*(const int *)argument].act();
    return result == -1 ? -errno : 0;
}

static void test_a_worker_is_refused_what_packets_do_not_need(void **state)
{
    (void)state;
    struct vdp_engine *engine = confined_engine(VDP_CONFINE_REFUSE);

    for (int i = 0; i < REFUSED_COUNT; i++) {
        struct vdp_worker_stats stats;
        int result = vdp_worker_call(&engine->workers[0], try, &i);
        if (result != -EPERM)
            fail_msg("%s: %d", REFUSED[i].name, result);
        assert_int_equal(vdp_worker_read(engine, 0, &stats), 0);
        assert_int_equal(stats.calls_refused, (uint64_t)i + 1);
        assert_int_equal(stats.last_refused, REFUSED[i].number);
    }
    assert_true(vdp_confined_calls() <= 40);
    vdp_engine_free(engine);
}

/* A line of a thread's status, as a number in base 16. */
static unsigned long long status_of(const char *text, const char *key)
{
    const char *line = strstr(text, key);

    assert_non_null(line);
    return strtoull(line + strlen(key), NULL, 16);
}

static int thread_number(struct vdp_worker *worker, void *argument)
{
    (void)worker;
    *(long *)argument = syscall(__NR_gettid);
    return 0;
}

static void test_a_worker_has_no_capability_and_gets_none(void **state)
{
    (void)state;
    struct vdp_engine *engine = confined_engine(VDP_CONFINE_REFUSE);
    char path[64], text[4096];
    long number = 0;

    vdp_worker_call(&engine->workers[0], thread_number, &number);
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", number);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = 0;
    fclose(file);
    assert_int_equal(status_of(text, "CapInh:\t"), 0);
    assert_int_equal(status_of(text, "CapPrm:\t"), 0);
    assert_int_equal(status_of(text, "CapEff:\t"), 0);
    assert_int_equal(status_of(text, "CapAmb:\t"), 0);
    assert_int_equal(status_of(text, "NoNewPrivs:\t"), 1);
    assert_int_equal(status_of(text, "Seccomp:\t"), 2);
    vdp_engine_free(engine);
}

static void test_other_threads_stay_as_they_are(void **state)
{
    (void)state;
    struct vdp_engine *engine = confined_engine(VDP_CONFINE_REFUSE);

    assert_int_equal(prctl(PR_GET_SECCOMP), 0);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    close(fd);
    vdp_engine_free(engine);
}

static void test_an_engine_starts_and_stops_again(void **state)
{
    (void)state;
    struct vdp_engine *engine = confined_engine(VDP_CONFINE_REFUSE);
    int what = 0;

    assert_int_equal(vdp_engine_stop(engine), 0);
    assert_int_equal(vdp_engine_start(engine), 0);
    assert_int_equal(vdp_worker_call(&engine->workers[0], try, &what), -EPERM);
    vdp_engine_free(engine);
}

/* In a process of its own: a forbidden call ends it. */
static int ends_by(uint32_t confine, int what)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct vdp_engine *engine = confined_engine(confine);
        (void)prctl(PR_SET_DUMPABLE, 0);
        _exit(vdp_worker_call(&engine->workers[0], try, &what) == -EPERM ? 7 : 8);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_the_process_ends_where_that_was_asked_for(void **state)
{
    (void)state;
    assert_int_equal(ends_by(VDP_CONFINE_KILL, 3), -SIGSYS);
    assert_int_equal(ends_by(VDP_CONFINE_REFUSE, 3), 7);
    assert_int_equal(ends_by(VDP_CONFINE_OFF, 3), 8);
}

static void test_another_word_is_none(void **state)
{
    (void)state;
    struct vdp_engine_config config = {.workers = 1, .confine = VDP_CONFINE_KILL + 1};
    struct vdp_engine *engine;

    assert_int_equal(vdp_engine_new(&config, &engine), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_worker_is_refused_what_packets_do_not_need),
        cmocka_unit_test(test_a_worker_has_no_capability_and_gets_none),
        cmocka_unit_test(test_other_threads_stay_as_they_are),
        cmocka_unit_test(test_an_engine_starts_and_stops_again),
        cmocka_unit_test(test_the_process_ends_where_that_was_asked_for),
        cmocka_unit_test(test_another_word_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
