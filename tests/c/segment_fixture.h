/* Super-packets to cut, and that the pieces of one say what it said. */
#ifndef VDP_TEST_SEGMENT_FIXTURE_H
#define VDP_TEST_SEGMENT_FIXTURE_H

#include "packets.h"

#define SHAPE4 {.version = 4, .ttl = 64, .window = 500, .sequence = 0xfffffe00, .id = 0xfffe, \
                .size = 5000, .tcp_options = 12}
#define SHAPE6 {.version = 6, .ttl = 64, .window = 500, .sequence = 7, .size = 5000, \
                .tcp_options = 12}

struct segments {
    struct vdp_packet_list list;
    uint32_t missing;
};

static inline void collect(void *context, struct vdp_packet *segment)
{
    struct segments *segments = context;
    if (segment != NULL)
        vdp_list_append(&segments->list, segment);
    else
        segments->missing++;
}

static inline struct fixture *fixture_for_segments(void)
{
    return fixture_new(VDP_PORT_MEMORY, VDP_L2, 0, 256);
}

static inline void release(struct fixture *fixture, struct segments *segments)
{
    struct vdp_packet *packet;
    while ((packet = vdp_list_take(&segments->list)) != NULL)
        vdp_packet_free(&fixture->worker, packet);
    assert_int_equal(fixture->worker.free_count, fixture->worker.packet_count - 1);
    fixture_free(fixture);
}

static inline struct segments cut(struct fixture *fixture, struct vdp_packet *packet,
                                  uint32_t features, uint32_t most)
{
    struct segments segments = {0};
    assert_int_equal(vdp_segment(&fixture->worker, packet, features, most, collect, &segments),
                     VDP_REASON_none);
    return segments;
}

/* The pieces say what the super-packet said, and each is whole. */
static inline void assert_stream(const struct vdp_packet_list *list, const struct shape *shape,
                                 uint32_t piece)
{
    uint32_t done = 0, index = 0;
    for (const struct vdp_packet *packet = list->head; packet != NULL; packet = packet->next) {
        struct vdp_headers at;
        assert_packet_whole(packet);
        assert_true(vdp_offload_locate(packet, &at));
        uint32_t size = at.end - at.payload;
        assert_int_equal(size, packet->next != NULL ? piece : shape->size - done);
        for (uint32_t i = 0; i < size; i++)
            assert_int_equal(packet->data[at.payload + i], stream_byte(shape->sequence + done + i));
        if (at.protocol == VDP_TCP)
            assert_int_equal(vdp_load_be32(packet->data + at.transport + 4),
                             (uint32_t)(shape->sequence + done));
        if (at.version == 4)
            assert_int_equal(vdp_load_be16(packet->data + at.network + 4),
                             (uint16_t)(shape->id + index));
        done += size;
        index++;
    }
    assert_int_equal(done, shape->size);
}

/* A packet whose checksum was left to its receiver. */
static inline struct vdp_packet *make_unfinished(struct fixture *fixture)
{
    struct shape shape = SHAPE4;
    shape.size = 999;
    return make_super(fixture, &shape, 1448); /* too small to be a super-packet */
}

#endif
