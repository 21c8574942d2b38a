/* The least that a user-space tunnel has to do, as a yardstick: a thread a direction moves
 * frames between packet sockets on two interfaces, in bursts.  Nothing is looked at.
 *
 *   forwarder UNDERLAY INNER HEADER
 *
 * Towards INNER as many bytes as HEADER has go off the front, towards UNDERLAY it goes on. */
#include "net.h"

#include <pthread.h>

struct direction {
    int from, to;
    const struct frame *push; /* NULL: pull */
    uint32_t pull;
};

static void *move(void *argument)
{
    const struct direction *direction = argument;
    static _Thread_local struct frame frames[BURST];
    struct mmsghdr in[BURST] = {0}, out[BURST] = {0};
    struct iovec in_part[BURST], out_part[BURST];
    const uint32_t room = direction->push ? direction->push->length : 0;

    for (uint32_t i = 0; i < BURST; i++) {
        if (direction->push)
            memcpy(frames[i].bytes, direction->push->bytes, room);
        in_part[i] = (struct iovec){frames[i].bytes + room, MOST_BYTES - room};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &in_part[i], .msg_iovlen = 1};
        out[i].msg_hdr = (struct msghdr){.msg_iov = &out_part[i], .msg_iovlen = 1};
    }
    for (;;) {
        const int count = recvmmsg(direction->from, in, BURST, MSG_WAITFORONE, NULL);
        int ready = 0;
        for (int i = 0; i < count; i++)
            if (in[i].msg_len >= direction->pull)
                out_part[ready++] = (struct iovec){frames[i].bytes + direction->pull,
                                                   in[i].msg_len + room - direction->pull};
        for (int sent = 0; sent < ready;) {
            const int done = sendmmsg(direction->to, out + sent, (unsigned)(ready - sent), 0);
            sent += done > 0 ? done : 1; /* what is refused is lost */
        }
    }
    return NULL;
}

int main(int count, char **words)
{
    static struct frame header;
    const int one = 1, room = 8 << 20;
    pthread_t thread;

    if (count < 4)
        return 2;
    frame_parse(&header, words[3]);
    const int underlay = packet_socket(words[1], ETH_P_ALL), inner = packet_socket(words[2], ETH_P_ALL);
    for (int fd = underlay;; fd = inner) {
        (void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
        (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
        if (fd == inner)
            break;
    }
    struct direction up = {.from = inner, .to = underlay, .push = &header};
    struct direction down = {.from = underlay, .to = inner, .pull = header.length};
    if (pthread_create(&thread, NULL, move, &up) != 0)
        fail("pthread_create");
    move(&down);
    return 0;
}
