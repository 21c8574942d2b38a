/* Round trips of one small datagram.
 *
 *   pingpong serve ADDRESS PORT            sends back what comes, until SIGTERM
 *   pingpong ask ADDRESS PORT SECONDS GAP  one after the other, GAP microseconds between them */
#include "net.h"

#include <netinet/in.h>

enum { SIZE = 36, MOST = 1000000, TIMEOUT_MS = 200 };

static int udp_socket(char **words, struct sockaddr_in *address)
{
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3]))};
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (fd < 0 || inet_pton(AF_INET, words[2], &address->sin_addr) != 1)
        fail(words[2]);
    return fd;
}

static int serve(int fd, const struct sockaddr_in *address)
{
    uint8_t bytes[MOST_BYTES];

    if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0)
        fail("bind");
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        const ssize_t length = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &size);
        if (length > 0)
            (void)sendto(fd, bytes, (size_t)length, 0, (struct sockaddr *)&from, size);
    }
}

static bool answered(int fd, uint32_t number)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    uint32_t bytes[SIZE / 4];

    while (poll(&waiting, 1, TIMEOUT_MS) > 0)
        if (recv(fd, bytes, sizeof bytes, 0) == SIZE && bytes[0] == number)
            return true;
    return false;
}

static int ask(int fd, const struct sockaddr_in *address, double seconds, long gap_us)
{
    static double us[MOST];
    uint32_t bytes[SIZE / 4] = {0};
    size_t done = 0, lost = 0;
    const uint64_t until = now_ns() + (uint64_t)(seconds * 1e9);

    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0)
        fail("connect");
    while (now_ns() < until && done < MOST) {
        bytes[0]++;
        const uint64_t before = now_ns();
        if (send(fd, bytes, sizeof bytes, 0) >= 0 && answered(fd, bytes[0]))
            us[done++] = (double)(now_ns() - before) * 1e-3;
        else
            lost++;
        nanosleep(&(struct timespec){0, gap_us * 1000}, NULL);
    }
    print_percentiles(us, done, lost);
    return 0;
}

int main(int count, char **words)
{
    struct sockaddr_in address;

    if (count == 4 && !strcmp(words[1], "serve"))
        return serve(udp_socket(words, &address), &address);
    if (count == 6 && !strcmp(words[1], "ask"))
        return ask(udp_socket(words, &address), &address, atof(words[4]), atol(words[5]));
    return 2;
}
