/* How long a frame takes from one interface to another, each time as the first of a flow.
 *
 *   probe SEND_NAMESPACE SEND_INTERFACE NAMESPACE INTERFACE FRAME OFFSET TYPE COUNT
 *
 * The four bytes at OFFSET of the frame are the number of the probe: another flow each time.
 * The frame comes out of the tunnel with the EtherType TYPE, and ends as it was sent: its
 * last four bytes are the number, too.  One probe is on its way at a time. */
#include "net.h"

#include <fcntl.h>
#include <sched.h>

enum { MOST = 100000, TIMEOUT_MS = 200 };

static void enter(const char *namespace)
{
    char path[256];

    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    const int fd = open(path, O_RDONLY);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        fail(namespace);
    close(fd);
}

/* Read until the frame with that number; false past the timeout. */
static bool await(int fd, uint32_t number)
{
    const uint64_t until = now_ns() + TIMEOUT_MS * 1000000u;
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    uint8_t bytes[MOST_BYTES];

    while (now_ns() < until && poll(&waiting, 1, TIMEOUT_MS) > 0) {
        const ssize_t length = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        uint32_t value;
        if (length < (ssize_t)sizeof value)
            continue;
        memcpy(&value, bytes + length - sizeof value, sizeof value);
        if (value == htonl(number))
            return true;
    }
    return false;
}

int main(int count, char **words)
{
    static double us[MOST];
    static struct frame frame;
    size_t done = 0, lost = 0;

    if (count < 9)
        return 2;
    enter(words[1]);
    const int out = packet_socket(words[2], 0);
    enter(words[3]);
    const int in = packet_socket(words[4], (uint16_t)strtoul(words[7], NULL, 16));
    frame_parse(&frame, words[5]);
    const uint32_t offset = (uint32_t)atoi(words[6]);
    const size_t probes = (size_t)atoi(words[8]);
    const uint32_t from = (uint32_t)now_ns(); /* new numbers in every run */

    for (size_t i = 0; i < probes && i < MOST; i++) {
        const uint32_t number = from + (uint32_t)i, value = htonl(number);
        memcpy(frame.bytes + offset, &value, sizeof value);
        memcpy(frame.bytes + frame.length - sizeof value, &value, sizeof value);
        const uint64_t before = now_ns();
        if (send(out, frame.bytes, frame.length, 0) < 0)
            fail("send");
        if (await(in, number))
            us[done++] = (double)(now_ns() - before) * 1e-3;
        else
            lost++;
    }
    print_percentiles(us, done, lost);
    return 0;
}
