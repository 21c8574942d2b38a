/* Sends a frame again and again, as fast as it goes or so many a second, until SIGTERM.
 *
 *   sender INTERFACE FRAME RATE [OFFSET [COUNT OFFSET...]]     RATE 0: as fast as it goes
 *
 * With OFFSET, the four bytes there are the number of the frame, which no frame had before,
 * whoever sent it; with COUNT, a number from 1 to COUNT, each in its turn, but next to none of
 * its neighbours, and at the other OFFSETs too.  Says how many it sent.
 *
 * As fast as it goes, or 100,000 a second and more, means that the kernel makes the frames (BPF_PROG_TEST_RUN with live
 * frames, Linux 5.18): that costs less than half of a system call for each burst, and the
 * processor is the receiver's.  The other end of a veth must have NAPI for that (ethtool -K
 * DEVICE gro on).  Where the kernel does not do it, it is sendmmsg. */
#include "net.h"

#include <linux/bpf.h>
#include <sys/syscall.h>

enum {
    LIVE = 16384,      /* between two looks at the signals */
    LIVE_RATE = 100000, /* from here on the kernel makes what is sent so many a second, too */
    NUMBER_SHIFT = 13, /* numbers begin with the time, of which so many pass: 122,000 a second */
    STRIDE = 7919      /* from a number to the next of COUNT; a prime, so that all have their turn */
};

static struct frame frames[BURST];
static struct mmsghdr messages[BURST];
static struct iovec parts[BURST];

static void number(uint32_t offset, uint32_t from)
{
    for (uint32_t i = 0; i < BURST; i++) {
        const uint32_t value = htonl(from + i);
        memcpy(frames[i].bytes + offset, &value, sizeof value);
    }
}

static void number_in_turn(char **offsets, int places, uint64_t from, uint64_t count)
{
    for (uint32_t i = 0; i < BURST; i++) {
        const uint32_t value = htonl((uint32_t)((from + i) * STRIDE % count) + 1);
        for (int place = 0; place < places; place++)
            memcpy(frames[i].bytes + atoi(offsets[place]), &value, sizeof value);
    }
}

/* Wait until frame `count` is due. */
static void pace(uint64_t started, uint64_t count, uint64_t rate)
{
    const uint64_t due = started + count * 1000000000u / rate, now = now_ns();

    if (due > now)
        nanosleep(&(struct timespec){(time_t)((due - now) / 1000000000u), (long)((due - now) % 1000000000u)},
                  NULL);
}

static long bpf(int command, union bpf_attr *attributes)
{
    return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

/* A program that says of each frame: out of that interface.  -1 where there is no such thing. */
static int redirection(const char *interface)
{
    const struct bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .imm = (int)if_nametoindex(interface)},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_XDP, .insn_cnt = sizeof code / sizeof *code,
                           .insns = (uintptr_t)code, .license = (uintptr_t) "GPL"};

    return (int)bpf(BPF_PROG_LOAD, &load);
}

/* While no interface has the program, each run of it has the kernel patch its own code for it,
 * twice, and wait for all processors: half of the time nothing would be sent.  So lo has it,
 * where nothing comes in, until the process ends. */
static void keep_at_hand(int program)
{
    union bpf_attr link = {0};

    link.link_create.prog_fd = (uint32_t)program;
    link.link_create.target_ifindex = if_nametoindex("lo");
    link.link_create.attach_type = BPF_XDP;
    (void)bpf(BPF_LINK_CREATE, &link);
}

/* Frames made in the kernel, so many a second (0: as it goes); how many, 0 where it makes none. */
static uint64_t send_live(const char *interface, const struct frame *frame, uint64_t rate)
{
    const int program = redirection(interface);
    const uint64_t started = now_ns();
    const uint32_t repeat = rate ? (uint32_t)(rate / 1000) : (uint32_t)LIVE;
    uint64_t sent = 0;

    keep_at_hand(program);
    while (!is_stopping) {
        union bpf_attr run = {0};
        run.test.prog_fd = (uint32_t)program;
        run.test.data_in = (uintptr_t)frame->bytes;
        run.test.data_size_in = frame->length;
        run.test.repeat = repeat;
        run.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
        run.test.batch_size = BURST;
        if (bpf(BPF_PROG_TEST_RUN, &run) < 0)
            break;
        sent += repeat;
        if (rate)
            pace(started, sent, rate);
    }
    return sent;
}

int main(int count, char **words)
{
    if (count < 4)
        return 2;
    const int fd = packet_socket(words[1], 0), one = 1;
    const uint64_t rate = strtoull(words[3], NULL, 10);
    const uint32_t offset = count > 4 ? (uint32_t)atoi(words[4]) : 0;
    const uint64_t turns = count > 5 ? strtoull(words[5], NULL, 10) : 0;
    const uint64_t burst = !rate || rate / 1000 > BURST ? BURST : rate / 1000 + 1; /* a millisecond's */
    uint64_t sent = 0, started = now_ns();

    (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
    for (uint32_t i = 0; i < BURST; i++) {
        frame_parse(&frames[i], words[2]);
        parts[i] = (struct iovec){frames[i].bytes, frames[i].length};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    stop_on_signals();
    if ((!rate || rate >= LIVE_RATE) && !offset)
        sent = send_live(words[1], &frames[0], rate);
    while (!is_stopping) {
        if (turns) {
            number_in_turn(words + 4, 1, sent, turns);
            number_in_turn(words + 6, count - 6, sent, turns);
        } else if (offset)
            number(offset, (uint32_t)(started >> NUMBER_SHIFT) + (uint32_t)sent);
        const int done = sendmmsg(fd, messages, (unsigned)burst, 0);
        if (done < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
            fail("sendmmsg");
        sent += done > 0 ? (uint64_t)done : 0;
        if (rate)
            pace(started, sent, rate);
    }
    printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent,
           (double)(now_ns() - started) * 1e-9);
    return 0;
}
