/* A kernel port on a descriptor of the test's: offer and flush, receive one batch. */
#ifndef VDP_TEST_PORT_FIXTURE_H
#define VDP_TEST_PORT_FIXTURE_H

#include "packets.h"

#include <fcntl.h>
#include <unistd.h>

enum { VNET = VDP_F_VNET_HDR | VDP_F_CSUM | VDP_F_TSO4 | VDP_F_TSO6 | VDP_F_USO };

static const struct shape shape4 = {.version = 4, .ttl = 64, .window = 500, .size = 100};

static inline const struct vdp_port_ops *ops_of(uint32_t type)
{
    switch (type) {
    case VDP_PORT_TAP:
        return &vdp_port_tap_ops;
    case VDP_PORT_TUN:
        return &vdp_port_tun_ops;
    case VDP_PORT_PACKET:
        return &vdp_port_packet_ops;
    default:
        return &vdp_port_ip_ops;
    }
}

/* Do packet ports get their rings, as from vdp_port_add, or receive by calls? */
static bool with_rings;

static inline void open_rings(struct fixture *fixture, int fd)
{
    struct vdp_port *port = &fixture->ports[TARGET];
    port->config.fd_count = 1;
    port->config.fd[0] = fd;
    port->config.mtu = 1500;
    assert_int_equal(port->ops->open(port), 0);
    port->ops->opened(port);
}

static inline struct fixture *fixture_for_port(uint32_t type, uint32_t features, int fd)
{
    bool l3 = type == VDP_PORT_TUN || type == VDP_PORT_IP;
    struct fixture *fixture = fixture_new(type, l3 ? VDP_L3 : VDP_L2, features, 300);
    fixture->ports[TARGET].ops = ops_of(type);
    fixture_queue(fixture)->tx_fd = fd;
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    if (with_rings && type == VDP_PORT_PACKET)
        open_rings(fixture, fd);
    return fixture;
}

static inline void finish(struct fixture *fixture, int other)
{
    int fd = fixture_queue(fixture)->tx_fd;
    vdp_queue_clear(&fixture->worker, fixture_queue(fixture), VDP_REASON_shutdown);
    assert_int_equal(fixture->worker.free_count, fixture->worker.packet_count - 1);
    if (fixture->ports[TARGET].state != NULL)
        fixture->ports[TARGET].ops->close(&fixture->ports[TARGET]);
    fixture_free(fixture);
    close(fd);
    if (other >= 0)
        close(other);
}

/* As the executor hands over what a program outputs. */
static inline void offer(struct fixture *fixture, struct vdp_packet *packet)
{
    vdp_list_append(&fixture_queue(fixture)->tx, packet);
    vdp_stat_add(&fixture_queue(fixture)->stats.tx_queued, 1);
    vdp_stat_add(&fixture_queue(fixture)->stats.offered, 1);
}

static inline int flush(struct fixture *fixture)
{
    struct vdp_queue *queue = fixture_queue(fixture);
    int result = queue->port->ops->flush(&fixture->worker, queue);
    const struct vdp_port_stats *stats = &queue->stats;
    assert_int_equal(stats->offered, stats->tx_packets + stats->tx_dropped + stats->tx_queued);
    assert_int_equal(stats->tx_queued, queue->tx.count);
    return result;
}

/* Receive once; the batch's packets, and those not filled, are given back. */
struct received {
    int count; /* or -errno */
    struct vdp_packet packets[VDP_BATCH];
    uint8_t bytes[VDP_BATCH][256]; /* of the front */
};

static inline void receive(struct fixture *fixture, struct received *received)
{
    struct vdp_packet *batch[VDP_BATCH];
    struct vdp_queue *queue = fixture_queue(fixture);
    for (unsigned i = 0; i < VDP_BATCH; i++) {
        batch[i] = vdp_packet_alloc(&fixture->worker);
        assert_non_null(batch[i]);
    }
    received->count =
        queue->port->ops->receive(&fixture->worker, queue, queue->tx_fd, batch, VDP_BATCH);
    for (int i = 0; i < VDP_BATCH; i++) {
        if (i < received->count) {
            received->packets[i] = *batch[i];
            size_t size = batch[i]->length < 256 ? batch[i]->length : 256;
            memcpy(received->bytes[i], batch[i]->data, size);
        } else {
            assert_int_equal(batch[i]->length, 0); /* reset for the next call */
        }
        vdp_packet_free(&fixture->worker, batch[i]);
    }
}

#endif
