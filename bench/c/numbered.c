/* Numbered datagrams over UDP, and who counts which of them came: loss as the user has it.
 *
 *   numbered send ADDRESS PORT RATE SIZE      numbered receive PORT
 *
 * The payload begins with the datagram's number (8 bytes, host order; both ends are here).  A line
 * on standard input asks; the answer is a JSON object.  The receiver's is of what came since the
 * line before: how many, the longest time without any, and of all: how many different ones, how
 * many twice, the highest number, how many the kernel had no room for at this socket.
 * End of input ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LARGEST = 1472, NUMBERS = 1 << 27, PACE_NS = 1000000 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* A line was read: say something.  False: that was the end. */
static bool is_asked(void)
{
    char line[64];
    return read(0, line, sizeof line) > 0;
}

static int udp_socket(int option)
{
    const int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 64 << 20, one = 1;
    if (fd < 0)
        fail("socket");
    (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
    (void)setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    return fd;
}

static struct mmsghdr messages[BATCH];
static struct iovec parts[BATCH];
static uint8_t bytes[BATCH][LARGEST];
static uint8_t control[BATCH][64];

static void prepare(size_t size)
{
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){bytes[i], size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
}

static int send_numbers(char **words)
{
    const uint64_t rate = strtoull(words[4], NULL, 10), started = now_ns();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
    const int fd = udp_socket(SO_SNDBUFFORCE);
    uint64_t sent = 0, skipped = 0, refused = 0;
    size_t size = (size_t)atoi(words[5]);

    size = size < sizeof sent ? sizeof sent : size > LARGEST ? LARGEST : size;
    inet_pton(AF_INET, words[2], &to.sin_addr);
    prepare(size);
    for (;;) {
        uint64_t due = (now_ns() - started) * rate / 1000000000u;
        if (due > sent + skipped + rate) { /* it was stopped: no burst */
            skipped = due - sent;
            continue;
        }
        while (sent + skipped < due) {
            unsigned count = due - sent - skipped < BATCH ? (unsigned)(due - sent - skipped) : BATCH;
            for (unsigned i = 0; i < count; i++) {
                const uint64_t number = sent + i;
                memcpy(bytes[i], &number, sizeof number);
                messages[i].msg_hdr.msg_name = &to;
                messages[i].msg_hdr.msg_namelen = sizeof to;
            }
            const int done = sendmmsg(fd, messages, count, 0);
            if (done > 0) {
                sent += (uint64_t)done;
                continue;
            }
            refused++; /* no way there for now, or an ICMP error about one before: its turn comes again */
            break;
        }
        struct pollfd input = {.fd = 0, .events = POLLIN};
        const struct timespec pace = {0, PACE_NS};
        if (ppoll(&input, 1, &pace, NULL) > 0) {
            if (!is_asked())
                return 0;
            printf("{\"sent\": %llu, \"refused\": %llu, \"at_ns\": %llu}\n", (unsigned long long)sent,
                   (unsigned long long)refused, (unsigned long long)now_ns());
            fflush(stdout);
        }
    }
}

struct arrivals {
    uint64_t came, different, twice, highest, silence_ns, since_ns, last_ns;
    uint32_t no_room;
};

static void arrive(struct arrivals *seen, uint8_t *bitmap, const struct mmsghdr *message, uint64_t number)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message->msg_hdr); part != NULL;
         part = CMSG_NXTHDR((struct msghdr *)(uintptr_t)&message->msg_hdr, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_RXQ_OVFL)
            memcpy(&seen->no_room, CMSG_DATA(part), sizeof seen->no_room);
    const uint64_t now = now_ns();
    if (seen->last_ns != 0 && now - seen->last_ns > seen->silence_ns) {
        seen->silence_ns = now - seen->last_ns;
        seen->since_ns = seen->last_ns;
    }
    seen->last_ns = now;
    seen->came++;
    if (number >= NUMBERS)
        return;
    const uint8_t bit = (uint8_t)(1u << (number & 7));
    if (bitmap[number >> 3] & bit)
        seen->twice++;
    else
        seen->different++;
    bitmap[number >> 3] |= bit;
    if (number > seen->highest)
        seen->highest = number;
}

static int receive_numbers(char **words)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[2]))};
    const int fd = udp_socket(SO_RCVBUFFORCE);
    uint8_t *bitmap = calloc(NUMBERS / 8, 1);
    struct arrivals seen = {0};

    if (bitmap == NULL || bind(fd, (struct sockaddr *)&at, sizeof at) < 0)
        fail("bind");
    prepare(LARGEST);
    for (;;) {
        struct pollfd events[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        poll(events, 2, -1);
        for (int i = 0; i < BATCH; i++) {
            messages[i].msg_hdr.msg_control = control[i];
            messages[i].msg_hdr.msg_controllen = sizeof control[i];
        }
        const int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++) {
            uint64_t number;
            memcpy(&number, bytes[i], sizeof number);
            arrive(&seen, bitmap, &messages[i], number);
        }
        if (count > 0 || !(events[1].revents & (POLLIN | POLLHUP)))
            continue;
        if (!is_asked())
            return 0;
        const uint64_t now = now_ns(); /* what is not over yet is a silence, too */
        const bool is_silent = seen.last_ns != 0 && now - seen.last_ns > seen.silence_ns;
        printf("{\"came\": %llu, \"different\": %llu, \"twice\": %llu, \"highest\": %llu, "
               "\"silence_ns\": %llu, \"since_ns\": %llu, \"last_ns\": %llu, \"no_room\": %u}\n",
               (unsigned long long)seen.came, (unsigned long long)seen.different,
               (unsigned long long)seen.twice, (unsigned long long)seen.highest,
               (unsigned long long)(is_silent ? now - seen.last_ns : seen.silence_ns),
               (unsigned long long)(is_silent ? seen.last_ns : seen.since_ns),
               (unsigned long long)seen.last_ns, seen.no_room);
        fflush(stdout);
        seen.silence_ns = 0;
        seen.came = 0;
    }
}

int main(int count, char **words)
{
    if (count == 6 && strcmp(words[1], "send") == 0)
        return send_numbers(words);
    if (count == 3 && strcmp(words[1], "receive") == 0)
        return receive_numbers(words);
    fprintf(stderr, "usage: numbered send ADDRESS PORT RATE SIZE | numbered receive PORT\n");
    return 2;
}
