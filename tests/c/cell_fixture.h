/* A port of cell.c, TCP segments in sequence to offer to it, and what comes out of a flush. */
#ifndef VDP_TEST_CELL_FIXTURE_H
#define VDP_TEST_CELL_FIXTURE_H

#include "packets.h"

/* A cell that joins all that can be. */
static inline struct fixture *fixture_for_cell(void)
{
    return fixture_new(VDP_PORT_CELL, VDP_L2, VDP_F_TSO4 | VDP_F_TSO6 | VDP_F_USO, 512);
}

static inline struct shape plain_shape(unsigned version)
{
    return (struct shape){.version = version, .ttl = 64, .window = 500, .sequence = 1000,
                          .acknowledgement = 5, .id = 40, .size = 100, .tcp_options = 12,
                          .timestamp = 9};
}

/* The continuation of `shape`. */
static inline struct shape next_of(struct shape shape)
{
    shape.sequence += shape.size;
    shape.id++;
    return shape;
}

static inline void offer_packet(struct fixture *fixture, struct vdp_packet *packet)
{
    vdp_stat_add(&fixture_queue(fixture)->stats.offered, 1);
    vdp_cell_offer(&fixture->worker, fixture_queue(fixture), packet);
}

static inline void offer(struct fixture *fixture, const struct shape *shape)
{
    offer_packet(fixture, make_packet(fixture, shape));
}

/* offered = rx_packets + merged + tx_dropped + tx_queued. */
static inline struct vdp_packet_list flush(struct fixture *fixture)
{
    struct vdp_packet_list out = {0};
    struct vdp_port_stats *stats = &fixture_queue(fixture)->stats;
    vdp_cell_flush(&fixture->worker, fixture_queue(fixture), &out);
    assert_int_equal(stats->tx_queued, 0);
    stats->rx_packets += out.count;
    assert_int_equal(stats->offered, stats->rx_packets + stats->merged + stats->tx_dropped);
    return out;
}

static inline uint32_t payload_of(const struct vdp_packet *packet)
{
    struct vdp_headers at;
    assert_true(vdp_offload_locate(packet, &at));
    return at.end - at.payload;
}

/* Flush, compare the payload sizes of what comes out, and end the test. */
static inline void expect(struct fixture *fixture, const uint32_t *sizes, uint32_t count)
{
    struct vdp_packet_list out = flush(fixture);
    struct vdp_packet *packet;
    assert_int_equal(out.count, count);
    for (uint32_t i = 0; (packet = vdp_list_take(&out)) != NULL; i++) {
        assert_int_equal(payload_of(packet), sizes[i]);
        vdp_packet_free(&fixture->worker, packet);
    }
    vdp_cell_free(&fixture->worker, fixture_queue(fixture));
    assert_int_equal(fixture->worker.free_count, fixture->worker.packet_count - 1);
    fixture_free(fixture);
}

#define EXPECT(fixture, ...)                                                                     \
    expect(fixture, (const uint32_t[]){__VA_ARGS__},                                             \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

#endif
