/* Counts frames of two EtherTypes on an interface until SIGTERM, and tells when the first came.
 *
 *   sink INTERFACE TYPE TYPE
 *
 * The kernel counts, for sockets that nobody reads; so nothing is lost here. */
#include "net.h"

#include <linux/filter.h>

static uint64_t counted(int fd)
{
    struct tpacket_stats stats;
    socklen_t size = sizeof stats;

    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) < 0)
        fail("PACKET_STATISTICS");
    return stats.tp_packets;
}

int main(int count, char **words)
{
    if (count < 4)
        return 2;
    int fds[2];
    for (int i = 0; i < 2; i++)
        fds[i] = packet_socket(words[1], (uint16_t)strtoul(words[2 + i], NULL, 16));
    struct pollfd first = {.fd = fds[0], .events = POLLIN};
    uint64_t totals[2] = {0}, first_ns = 0;

    stop_on_signals();
    puts("ready");
    fflush(stdout);
    while (!is_stopping) {
        /* After the first frame, look now and then, since the kernel's count has 32 bits. */
        const int ready = poll(first_ns ? NULL : &first, first_ns ? 0 : 1, 100);
        if (ready > 0 && !first_ns) {
            first_ns = now_ns();
            printf("first %llu\n", (unsigned long long)first_ns);
            fflush(stdout);
        }
        for (int i = 0; i < 2; i++)
            totals[i] += counted(fds[i]);
    }
    for (int i = 0; i < 2; i++)
        totals[i] += counted(fds[i]);
    printf("{\"one\": %llu, \"other\": %llu}\n", (unsigned long long)totals[0],
           (unsigned long long)totals[1]);
    return 0;
}
