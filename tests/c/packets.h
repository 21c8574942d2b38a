/* A worker with two ports, and TCP and UDP packets in whole, for the C tests.
 *
 * The checksums here are computed a byte at a time, so that a fault in checksum.c cannot
 * hide itself.  Payload byte i of a stream is a function of its sequence number. */
#ifndef VDP_TEST_PACKETS_H
#define VDP_TEST_PACKETS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../vdp/engine/checksum.h"
#include "../../vdp/engine/offload.h"
#include "../../vdp/engine/slab.h"

enum { ORIGIN = 1, TARGET = 2, FLAG_ACK = 0x10 };

/* Packets come in by port ORIGIN; TARGET is the port under test. */
struct fixture {
    struct vdp_worker worker;
    struct vdp_engine engine;
    struct vdp_port ports[3];
    struct vdp_queue queues[3];
    struct vdp_queue *table[3];
};

static inline struct vdp_queue *fixture_queue(struct fixture *fixture)
{
    return &fixture->queues[TARGET];
}

static inline struct fixture *fixture_new(uint32_t type, uint32_t packet_type, uint32_t features,
                                          uint32_t pool)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->worker.engine = &fixture->engine;
    fixture->worker.queues = fixture->table;
    fixture->worker.queue_size = 3;
    fixture->worker.epoll_fd = -1;
    fixture->engine.workers = &fixture->worker;
    fixture->engine.config.workers = 1;
    for (uint32_t i = ORIGIN; i <= TARGET; i++) {
        fixture->ports[i] = (struct vdp_port){
            .number = i, .engine = &fixture->engine, .up = 1, .features = features};
        fixture->ports[i].config = (struct vdp_port_config){
            .type = type, .packet_type = packet_type, .features = features, .tx_queue = 1000};
        fixture->queues[i] = (struct vdp_queue){
            .port = &fixture->ports[i], .worker = &fixture->worker, .tx_fd = -1};
        fixture->table[i] = &fixture->queues[i];
    }
    assert_int_equal(vdp_pool_new(&fixture->worker, pool), 0);
    fixture->worker.slab = vdp_slab_new();
    assert_non_null(fixture->worker.slab);
    return fixture;
}

static inline void fixture_free(struct fixture *fixture)
{
    for (uint32_t i = ORIGIN; i <= TARGET; i++)
        free(fixture->queues[i].drops);
    vdp_pool_free(&fixture->worker);
    vdp_slab_free(fixture->worker.slab);
    free(fixture);
}

static inline uint64_t fixture_drops(const struct fixture *fixture, uint32_t reason)
{
    const uint64_t *drops = fixture->queues[TARGET].drops;
    return drops != NULL ? drops[reason] : 0;
}

/* RFC 1071 as it is written, a byte at a time: the twin of checksum.c. */
static inline uint16_t plain_sum(uint32_t start, const uint8_t *bytes, size_t size)
{
    uint64_t sum = start;
    for (size_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint64_t)bytes[i] << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline uint16_t plain_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t size)
{
    uint32_t sum = ip[0] >> 4 == 4 ? plain_sum(0, ip + 12, 8) : plain_sum(0, ip + 8, 32);
    return plain_sum(sum + protocol + (size >> 16) + (size & 0xffff), NULL, 0);
}

struct shape {
    unsigned version;     /* 4 or 6 */
    bool l3;              /* no Ethernet header */
    unsigned vlans;       /* tags */
    unsigned ip_options;  /* bytes: IPv4 options, or an IPv6 destination options header */
    unsigned tcp_options; /* bytes */
    bool udp;
    uint8_t flags; /* besides ACK */
    uint32_t sequence, acknowledgement;
    uint16_t id, window, port, urgent;
    bool may_fragment; /* no DF */
    uint8_t ttl, tos;
    uint8_t timestamp; /* a byte in the options */
    uint32_t size;     /* payload */
};

static inline uint32_t write_ip(const struct shape *shape, uint8_t *ip, uint32_t behind)
{
    uint8_t protocol = shape->udp ? VDP_UDP : VDP_TCP;
    uint32_t options = shape->ip_options;
    if (shape->version == 4) {
        ip[0] = (uint8_t)(0x45 + options / 4);
        ip[1] = shape->tos;
        vdp_store_be16(ip + 2, (uint16_t)(20 + options + behind));
        vdp_store_be16(ip + 4, shape->id);
        vdp_store_be16(ip + 6, shape->may_fragment ? 0 : 0x4000);
        ip[8] = shape->ttl;
        ip[9] = protocol;
        vdp_store_be16(ip + 10, 0);
        vdp_store_be32(ip + 12, 0xc0000201);
        vdp_store_be32(ip + 16, 0xc6336401);
        memset(ip + 20, 0, options); /* end of options: the sum without them is good, too */
        vdp_store_be16(ip + 10, (uint16_t)~plain_sum(0, ip, 20 + options));
        return 20 + options;
    }
    vdp_store_be32(ip, 0x60000000 | (uint32_t)shape->tos << 20 | 0x12345);
    vdp_store_be16(ip + 4, (uint16_t)(options + behind));
    ip[6] = options > 0 ? 60 : protocol;
    ip[7] = shape->ttl;
    for (unsigned i = 0; i < 32; i++)
        ip[8 + i] = (uint8_t)(0x20 + i);
    if (options > 0) { /* PadN, its data left zero */
        memset(ip + 40, 0, options);
        ip[40] = protocol;
        ip[41] = (uint8_t)(options / 8 - 1);
        ip[42] = 1;
        ip[43] = (uint8_t)(options - 4);
    }
    return 40 + options;
}

static inline uint32_t write_l4(const struct shape *shape, uint8_t *l4)
{
    vdp_store_be16(l4, (uint16_t)(10000 + shape->port));
    vdp_store_be16(l4 + 2, 443);
    if (shape->udp) {
        vdp_store_be16(l4 + 4, (uint16_t)(8 + shape->size));
        vdp_store_be16(l4 + 6, 0);
        return 8;
    }
    vdp_store_be32(l4 + 4, shape->sequence);
    vdp_store_be32(l4 + 8, shape->acknowledgement);
    l4[12] = (uint8_t)((5 + shape->tcp_options / 4) << 4);
    l4[13] = shape->flags | FLAG_ACK;
    vdp_store_be16(l4 + 14, shape->window);
    vdp_store_be16(l4 + 16, 0);
    vdp_store_be16(l4 + 18, shape->urgent);
    memset(l4 + 20, 1, shape->tcp_options);
    if (shape->tcp_options > 0)
        l4[20] = shape->timestamp;
    return 20 + shape->tcp_options;
}

static inline uint8_t stream_byte(uint32_t position)
{
    return (uint8_t)(position * 2654435761u >> 13);
}

/* A packet of that shape, all checksums good, as if received on ORIGIN. */
static inline struct vdp_packet *make_packet(struct fixture *fixture, const struct shape *shape)
{
    struct vdp_packet *packet = vdp_packet_alloc(&fixture->worker);
    assert_non_null(packet);
    uint8_t *at = packet->data;
    if (!shape->l3) {
        memcpy(at, "\x02\0\0\0\0\1\x02\0\0\0\0\2", 12);
        at += 12;
        for (unsigned i = 0; i < shape->vlans; i++, at += 4)
            vdp_store_be32(at, 0x81000064 + i);
        vdp_store_be16(at, shape->version == 4 ? 0x0800 : 0x86dd);
        at += 2;
    }
    uint32_t l4_size = (shape->udp ? 8 : 20 + shape->tcp_options) + shape->size;
    uint8_t *ip = at;
    uint8_t *l4 = ip + write_ip(shape, ip, l4_size);
    uint8_t *payload = l4 + write_l4(shape, l4);
    for (uint32_t i = 0; i < shape->size; i++)
        payload[i] = stream_byte(shape->sequence + i);
    packet->length = (uint32_t)(payload + shape->size - packet->data);
    uint8_t protocol = shape->udp ? VDP_UDP : VDP_TCP;
    uint16_t sum = plain_sum(plain_pseudo(ip, protocol, l4_size), l4, l4_size);
    vdp_store_be16(l4 + (shape->udp ? 6 : 16), (uint16_t)~sum);
    packet->in_port = ORIGIN;
    vdp_store_be32(packet->meta, shape->l3 ? VDP_L3 : VDP_L2);
    vdp_store_be32(packet->meta + 4, !shape->l3 ? 0 : shape->version == 4 ? 0x0800 : 0x86dd);
    return packet;
}

/* The same as a super-packet, as a kernel would hand it over. */
static inline struct vdp_packet *make_super(struct fixture *fixture, const struct shape *shape,
                                            uint16_t gso_size)
{
    struct vdp_packet *packet = make_packet(fixture, shape);
    uint32_t l4_size = (shape->udp ? 8 : 20 + shape->tcp_options) + shape->size;
    struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = shape->udp            ? VIRTIO_NET_HDR_GSO_UDP_L4
                    : shape->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                          : VIRTIO_NET_HDR_GSO_TCPV6,
        .gso_size = gso_size,
        .csum_start = (uint16_t)(packet->length - l4_size),
        .csum_offset = shape->udp ? 6 : 16,
    };
    if (shape->flags & VDP_CWR)
        header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    uint32_t reason = vdp_vnet_load(packet, &header);
    assert_int_equal(reason, VDP_REASON_none);
    return packet;
}

/* All checksums and lengths of a finished packet are right. */
static inline void assert_packet_whole(const struct vdp_packet *packet)
{
    struct vdp_headers at;
    assert_false(packet->needs_csum);
    assert_int_equal(packet->gso_type, 0);
    assert_int_equal(packet->segments, 1);
    assert_true(vdp_offload_locate(packet, &at));
    const uint8_t *ip = packet->data + at.network;
    const uint8_t *l4 = packet->data + at.transport;
    uint32_t size = at.end - at.transport;
    assert_int_equal(at.end, packet->length);
    if (at.version == 4)
        assert_int_equal(plain_sum(0, ip, at.transport - at.network), 0xffff);
    assert_int_equal(plain_sum(plain_pseudo(ip, at.protocol, size), l4, size), 0xffff);
    if (at.protocol == VDP_UDP)
        assert_int_equal(vdp_load_be16(l4 + 4), size);
}

/* After a change to the IPv4 header at `offset`. */
static inline void fix_ip_checksum(struct vdp_packet *packet, uint32_t offset)
{
    uint8_t *ip = packet->data + offset;
    vdp_store_be16(ip + 10, 0);
    vdp_store_be16(ip + 10, (uint16_t)~plain_sum(0, ip, (ip[0] & 0x0fu) * 4));
}

/* xorshift: tests are the same in every run. */
static inline uint32_t random_below(uint32_t *state, uint32_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state % limit;
}

#endif
