/* A kernel that answers as the input says: the linker puts it in front of the C library's calls (--wrap),
 * for descriptors of its own; every other one is the real kernel's. */
#ifndef VDP_FUZZ_FAKE_KERNEL_H
#define VDP_FUZZ_FAKE_KERNEL_H

#include "../../vdp/engine/port_socket.h"
#include "frames.h"

#include <sys/mman.h>

enum { FAKE = 900, FAKE_RING = 8 << 20 }; /* a descriptor; what it maps */

struct fake {
    struct input *in;     /* what it says */
    uint32_t type;        /* enum vdp_port_type of who asks */
    uint64_t given, taken; /* packets received from it, sent to it */
    uint8_t *ring;        /* NULL: it has none */
};
static struct fake fake;

int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
ssize_t __wrap_readv(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size);
void *__wrap_mmap(void *where, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *where, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *where, size_t size);
void *__real_mmap(void *where, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *where, size_t size);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __real_getsockname(int fd, struct sockaddr *address, socklen_t *size);

/* An errno that sockets and TAPs answer with, or 0: it works. */
static inline int fake_error(void)
{
    static const int errors[] = {EAGAIN, EINTR, ENOBUFS, EINVAL, EMSGSIZE, ENETDOWN, EIO, EBADFD, ENODEV,
                                 ENXIO, EBADF, EPERM, ENOTSOCK, EFAULT};
    uint8_t choice = take8(fake.in);
    return choice < 200 ? 0 : errors[choice % (sizeof errors / sizeof *errors)];
}

/* A packet of the input into these parts, the first of which has the vnet header; bytes as the kernel
 * counts them. */
static inline size_t fake_fill(const struct iovec *parts, int count)
{
    static struct frame frame;
    uint8_t choice = take8(fake.in);
    size_t done = 0, at = 0;
    if (choice == 255)
        return 0;
    frame_any(fake.in, &frame);
    bool is_cut = choice == 254; /* a header, or a part of one */
    for (int i = 0; i < count; i++) {
        if (i == 0 && count > 1 && parts[0].iov_len > 0) {
            struct virtio_net_hdr vnet = {0};
            if (choice & 1)
                take_bytes(fake.in, &vnet, sizeof vnet);
            else if (choice & 2)
                vnet = (struct virtio_net_hdr){.flags = 1, .gso_type = frame.version == 4 ? 1 : 4, .gso_size = 100,
                                               .csum_start = (uint16_t)frame.transport, .csum_offset = 16};
            memcpy(parts[0].iov_base, &vnet, parts[0].iov_len);
            done += parts[0].iov_len;
            continue;
        }
        size_t size = frame.length - at < parts[i].iov_len ? frame.length - at : parts[i].iov_len;
        memcpy(parts[i].iov_base, frame.bytes + at, size);
        at += size;
        done += size;
    }
    return is_cut ? take8(fake.in) % (done + 1) : done;
}

/* Read all of it: the sanitizer sees what is not ours. */
static inline size_t fake_drain(const struct iovec *parts, size_t count)
{
    size_t size = 0;
    static volatile uint8_t seen;
    for (size_t i = 0; i < count; i++) {
        for (size_t at = 0; at < parts[i].iov_len; at++)
            seen = (uint8_t)(seen ^ ((const uint8_t *)parts[i].iov_base)[at]);
        size += parts[i].iov_len;
    }
    return size;
}

static inline void fake_control(struct msghdr *message)
{
    static const int kinds[][2] = {{SOL_PACKET, PACKET_AUXDATA}, {IPPROTO_IP, IP_PKTINFO},
                                   {IPPROTO_IPV6, IPV6_PKTINFO}, {IPPROTO_IPV6, IPV6_TCLASS},
                                   {IPPROTO_IPV6, IPV6_HOPLIMIT}, {SOL_SOCKET, SCM_TIMESTAMP}};
    size_t room = message->msg_controllen, used = 0;
    uint8_t choice = take8(fake.in);
    memset(message->msg_control, 0, room);
    for (unsigned n = 0; n < (choice & 3) + (fake.type == VDP_PORT_IP6 ? 2u : 0); n++) {
        size_t size = choice & 128 ? take8(fake.in) % 32u : fake.type == VDP_PORT_IP6 && n > 0 ? sizeof(int) : 20;
        uint32_t kind = choice & 64 ? take8(fake.in) % 6u
                        : fake.type == VDP_PORT_IP6 ? 2 + n % 3
                        : fake.type == VDP_PORT_IP  ? 1u : 0;
        if (used + CMSG_SPACE(size) > room)
            break;
        struct cmsghdr *part = (struct cmsghdr *)(void *)((uint8_t *)message->msg_control + used);
        part->cmsg_len = CMSG_LEN(size);
        part->cmsg_level = kinds[kind][0];
        part->cmsg_type = kinds[kind][1];
        take_bytes(fake.in, CMSG_DATA(part), size);
        used += CMSG_SPACE(size);
    }
    message->msg_controllen = used;
}

int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    (void)flags;
    (void)timeout;
    LAW(fd == FAKE);
    int error = fake_error();
    if (error != 0) {
        errno = error;
        return -1;
    }
    unsigned given = take8(fake.in) % 8u;
    given = given < count ? given : count;
    for (unsigned i = 0; i < given; i++) {
        struct msghdr *message = &messages[i].msg_hdr;
        messages[i].msg_len = (unsigned)fake_fill(message->msg_iov, (int)message->msg_iovlen);
        message->msg_flags = take8(fake.in) == 1 ? MSG_TRUNC : 0;
        if (message->msg_name != NULL) {
            take_bytes(fake.in, message->msg_name, message->msg_namelen);
            if (take8(fake.in) == 1)
                message->msg_namelen = 0;
        }
        fake_control(message);
    }
    if (given == 0)
        errno = EAGAIN;
    fake.given += given;
    return given == 0 ? -1 : (int)given;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    (void)flags;
    LAW(fd == FAKE && count > 0);
    int error = fake_error();
    if (error != 0) {
        errno = error;
        return -1;
    }
    unsigned sent = 1 + take8(fake.in) % count;
    for (unsigned i = 0; i < sent; i++)
        messages[i].msg_len = (unsigned)fake_drain(messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen);
    fake.taken += sent;
    return (int)sent;
}

ssize_t __wrap_readv(int fd, const struct iovec *parts, int count)
{
    LAW(fd == FAKE);
    int error = fake.in->left == 0 ? EAGAIN : fake_error();
    if (error != 0) {
        errno = error;
        return -1;
    }
    fake.given++;
    return (ssize_t)fake_fill(parts, count);
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    if (fd != FAKE)
        return -1;
    size_t size = fake_drain(parts, (size_t)count);
    int error = fake_error();
    if (error != 0) {
        errno = error;
        return -1;
    }
    fake.taken++;
    return (ssize_t)size;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    return fd == FAKE ? 0 : __real_setsockopt(fd, level, name, value, size);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    if (fd != FAKE)
        return __real_getsockopt(fd, level, name, value, size);
    *(int *)value = name == SO_PROTOCOL ? 47 : AF_PACKET;
    *size = sizeof(int);
    return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    if (fd != FAKE)
        return __real_getsockname(fd, address, size);
    struct sockaddr_ll *found = (struct sockaddr_ll *)(void *)address;
    found->sll_family = AF_PACKET;
    found->sll_ifindex = take8(fake.in) & 1 ? -1 : 3;
    return 0;
}

void *__wrap_mmap(void *where, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fd != FAKE)
        return __real_mmap(where, size, protection, flags, fd, offset);
    if (fake.ring == NULL || size != FAKE_RING) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return fake.ring;
}

/* What it is called where off_t has 64 bits by request. */
void *__wrap_mmap64(void *where, size_t size, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap(where, size, protection, flags, fd, offset);
}

int __wrap_munmap(void *where, size_t size)
{
    return where == fake.ring ? 0 : __real_munmap(where, size);
}

/* One port of this kind under attack, with a fake descriptor. */
static inline struct fixture *fake_port(const struct vdp_port_ops *ops, uint32_t type, uint32_t packet_type,
                                        uint32_t features)
{
    struct fixture *fixture = fixture_new(type, packet_type, features, 256);
    struct vdp_port *port = &fixture->ports[TARGET];
    port->ops = ops;
    port->config.fd_count = 1;
    port->config.fd[0] = FAKE;
    port->config.mtu = 1500;
    fixture->queues[TARGET].tx_fd = -1;
    if (ops->open != NULL)
        LAW(ops->open(port) == 0);
    if (ops->opened != NULL)
        ops->opened(port);
    return fixture;
}

/* Receive once; every packet that came is one of those given, and whole. */
static inline uint32_t fake_receive(struct fixture *fixture, struct vdp_packet_list *received)
{
    struct vdp_queue *queue = &fixture->queues[TARGET];
    struct vdp_packet *batch[VDP_BATCH], *before[VDP_BATCH];
    int max = 1 + take8(fake.in) % 16;
    for (int i = 0; i < max; i++)
        before[i] = batch[i] = vdp_packet_alloc(&fixture->worker);
    fixture->worker.queues[TARGET] = queue;
    int count = queue->port->ops->receive(&fixture->worker, queue, FAKE, batch, max);
    LAW(count <= max);
    for (int i = 0; i < max; i++) { /* none twice, none lost */
        int places = 0;
        for (int n = 0; n < max; n++)
            places += batch[n] == before[i];
        LAW(places == 1);
    }
    for (int i = 0; i < max; i++) {
        struct vdp_packet *packet = batch[i];
        if (i >= count) {
            LAW(packet->segments == 1 && packet->data == packet->buffer + VDP_HEADROOM + VDP_LINE);
            vdp_packet_free(&fixture->worker, packet);
            continue;
        }
        LAW(packet->length > 0 && vdp_packet_headroom(packet) + packet->length <= VDP_BUFFER_SIZE);
        LAW(!packet->needs_csum || vdp_packet_has(packet, packet->csum_start - (uint32_t)vdp_packet_headroom(packet) +
                                                              packet->csum_offset, 2));
        packet->in_port = ORIGIN;
        vdp_list_append(received, packet);
    }
    return count > 0 ? (uint32_t)count : 0;
}

/* What was received is offered to the port, and the kernel takes it or does not. */
static inline void fake_send(struct fixture *fixture, struct vdp_packet_list *packets)
{
    struct vdp_queue *queue = &fixture->queues[TARGET];
    struct vdp_packet *packet;
    fixture->ports[TARGET].features = fixture->ports[TARGET].config.features & ~(uint32_t)VDP_F_VNET_HDR;
    queue->tx_fd = FAKE;
    while ((packet = vdp_list_take(packets)) != NULL) {
        if (take8(fake.in) & 1) /* another device */
            vdp_store_be32(packet->meta + 4 * VDP_META_DEVICE, VDP_LEAVE_BY | 3);
        vdp_store_be32(packet->meta, fixture->ports[TARGET].config.packet_type);
        vdp_stat_add(&queue->stats.offered, 1);
        vdp_stat_add(&queue->stats.tx_queued, 1);
        vdp_list_append(&queue->tx, packet);
    }
    for (unsigned tries = 0; queue->tx.count > 0 && tries < 4; tries++) {
        int result = queue->port->ops->flush(&fixture->worker, queue);
        LAW(result <= 0);
        if (result < 0 && result != -EAGAIN)
            break;
        LAW(result == -EAGAIN || queue->tx.count == 0);
    }
    LAW(queue->stats.tx_queued == queue->tx.count);
    vdp_queue_clear(&fixture->worker, queue, VDP_REASON_tx_error);
    output_balances(&queue->stats, false);
    atomic_store(&fixture->ports[TARGET].refused, 0);
    queue->refusals = 0;
    queue->stats.rx_packets = 0;
    fixture_forget(fixture);
    fixture_empty(fixture);
}

#endif
