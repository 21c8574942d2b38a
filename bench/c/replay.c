/* Sends the frames of a file one after the other, again and again, so many a second, until SIGTERM.
 *
 *   replay INTERFACE FILE SIZE RATE     SIZE: bytes of each frame
 *
 * Says how many it sent. */
#include "net.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(int count, char **words)
{
    struct stat status;

    if (count < 5)
        return 2;
    const int out = packet_socket(words[1], 0), file = open(words[2], O_RDONLY);
    const size_t size = strtoul(words[3], NULL, 10);
    const uint64_t rate = strtoull(words[4], NULL, 10);
    if (file < 0 || fstat(file, &status) < 0 || !size || !rate || (size_t)status.st_size < size)
        fail(words[2]);
    const uint64_t frames = (uint64_t)status.st_size / size;
    const uint8_t *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED)
        fail("mmap");
    const uint64_t started = now_ns();
    uint64_t sent = 0;

    stop_on_signals();
    while (!is_stopping) {
        const uint64_t due = started + sent * 1000000000u / rate, now = now_ns();
        if (due > now)
            nanosleep(&(struct timespec){(time_t)((due - now) / 1000000000u), (long)((due - now) % 1000000000u)},
                      NULL);
        if (send(out, bytes + sent % frames * size, size, 0) > 0)
            sent++;
    }
    printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent,
           (double)(now_ns() - started) * 1e-9);
    return 0;
}
