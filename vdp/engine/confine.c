/* A worker reads hostile packets, and needs little of the kernel for it: all descriptors are open
 * before it sees them (port.c opens on the control thread).  So its thread gives up the rest:
 * capabilities, ways to new ones, and every system call that is not in the table below.
 *
 * Seccomp(2) looks at processor, number and arguments of a call:
 *
 *   arch == ours?  ─no─► the process ends (a call by another table of numbers)
 *   nr in ALLOWED? ─yes─► allowed
 *   mmap, mprotect ─► allowed without PROT_EXEC;  tgkill ─► allowed to this process (abort)
 *   else refused:  VDP_CONFINE_REFUSE ─► SIGSYS, whose handler counts and answers EPERM
 *                  VDP_CONFINE_KILL   ─► the process ends
 *
 * The filter is of this thread only: no SECCOMP_FILTER_FLAG_TSYNC. */
#include "confine.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of SIGSYS (asm-generic/siginfo.h) */
#endif

/* Calls that are allowed whatever their arguments. */
static const uint16_t ALLOWED[] = {
    /* packets */
    __NR_read, __NR_write, __NR_readv, __NR_writev, __NR_recvfrom, __NR_recvmsg, __NR_recvmmsg,
    __NR_sendto, __NR_sendmsg, __NR_sendmmsg,
    __NR_getsockname, /* whether a device is gone (port_socket.c) */
    /* waiting, and being woken */
#ifdef __NR_epoll_wait /* not on aarch64 */
    __NR_epoll_wait,
#endif
    __NR_epoll_pwait, __NR_epoll_ctl, __NR_futex, __NR_sched_yield, __NR_clock_gettime,
    __NR_restart_syscall,
    /* memory: tables that grow, and what malloc gives back */
    __NR_brk, __NR_munmap, __NR_mremap, __NR_madvise,
    /* the thread's own end, and the process's by abort() */
    __NR_rt_sigreturn, __NR_rt_sigprocmask, __NR_sigaltstack, __NR_getpid, __NR_gettid, __NR_exit,
    __NR_exit_group,
};

enum {
    ALLOWED_COUNT = sizeof ALLOWED / sizeof *ALLOWED,
    JUDGED_COUNT = 3, /* by their arguments: mmap, mprotect, tgkill */
    MOST_CODE = 32 + 2 * ALLOWED_COUNT
};

uint32_t vdp_confined_calls(void)
{
    return ALLOWED_COUNT + JUDGED_COUNT;
}

/* The worker that this thread is; NULL on threads that are not confined. */
static _Thread_local struct vdp_worker *confined;
static struct sigaction previous; /* what SIGSYS did before */

/* Have the refused call answer EPERM. */
static void answer(ucontext_t *context)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = (unsigned long long)-EPERM;
#else
    (void)context;
#endif
}

/* SIGSYS.  Async-signal-safe: it writes two words of this thread's own. */
static void refused(int number, siginfo_t *info, void *context)
{
    if (confined && info->si_code == SYS_SECCOMP) {
        vdp_stat_add(&confined->stats.calls_refused, 1);
        confined->stats.last_refused = (uint32_t)info->si_syscall;
        answer(context);
    } else if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    }
}

int vdp_confine_prepare(const struct vdp_engine *engine)
{
    struct sigaction action = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_NODEFER}, before;

    if (engine->config.confine != VDP_CONFINE_REFUSE)
        return 0;
    if (sigaction(SIGSYS, NULL, &before) < 0)
        return -errno;
    if (before.sa_flags & SA_SIGINFO && before.sa_sigaction == refused)
        return 0;
    previous = before;
    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

#ifdef ARCHITECTURE
struct filter {
    struct sock_filter code[MOST_CODE];
    unsigned short size;
};

static void add(struct filter *filter, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    filter->code[filter->size++] = (struct sock_filter){code, jt, jf, k};
}

static void add_load(struct filter *filter, size_t offset)
{
    add(filter, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void add_return(struct filter *filter, uint32_t verdict)
{
    add(filter, BPF_RET | BPF_K, 0, 0, verdict);
}

/* The low half of a call's argument; what is asked of it here has no more bits. */
static size_t argument(unsigned index)
{
    return offsetof(struct seccomp_data, args) + index * sizeof(uint64_t) +
           (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? sizeof(uint32_t) : 0);
}

/* Memory that may not be run. */
static void add_memory(struct filter *filter, uint32_t call, uint32_t otherwise)
{
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, call);
    add_load(filter, argument(2));
    add(filter, BPF_JMP | BPF_JSET | BPF_K, 0, 1, PROT_EXEC);
    add_return(filter, otherwise);
    add_return(filter, SECCOMP_RET_ALLOW);
}

static void build(struct filter *filter, uint32_t otherwise)
{
    add_load(filter, offsetof(struct seccomp_data, arch));
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCHITECTURE);
    add_return(filter, SECCOMP_RET_KILL_PROCESS);
    add_load(filter, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < ALLOWED_COUNT; i++) {
        add(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, ALLOWED[i]);
        add_return(filter, SECCOMP_RET_ALLOW);
    }
    add_memory(filter, __NR_mmap, otherwise);
    add_memory(filter, __NR_mprotect, otherwise);
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 3, __NR_tgkill);
    add_load(filter, argument(0));
    add(filter, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)getpid());
    add_return(filter, SECCOMP_RET_ALLOW);
    add_return(filter, otherwise);
}

static int install(uint32_t confine)
{
    struct filter filter = {.size = 0};

    build(&filter, confine == VDP_CONFINE_KILL ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_TRAP);
    struct sock_fprog program = {.len = filter.size, .filter = filter.code};
    return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
#else
static int install(uint32_t confine)
{
    (void)confine;
    return -EOPNOTSUPP;
}
#endif

/* capset(2) is about the calling thread alone, where glibc's setuid and its like are about all. */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    return syscall(__NR_capset, &header, none) < 0 ? -errno : 0;
}

int vdp_confine_worker(struct vdp_worker *worker)
{
    uint32_t confine = worker->engine->config.confine;
    sigset_t refusal;
    int result;

    if (confine == VDP_CONFINE_OFF)
        return 0;
    confined = worker;
    sigemptyset(&refusal);
    sigaddset(&refusal, SIGSYS); /* a blocked one ends the process */
    pthread_sigmask(SIG_UNBLOCK, &refusal, NULL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    result = drop_capabilities();
    return result < 0 ? result : install(confine);
}
