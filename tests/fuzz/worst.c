/* How long one packet may take: the largest packets of the most laborious kinds, each the quickest of some
 * tries (others use the machine too), in microseconds; and the internet checksum of all lengths at all
 * alignments, of which there are too many for a run of a harness.  Built without sanitizers. */
#include "frames.h"

#include <time.h>

enum { LARGEST = 65535, TRIES = 40, POOL = 4096, MTU = 68, TINY = 48, LENGTHS = 65536, ALIGNMENTS = 64 };

static struct fixture *fixture;
static uint8_t bytes[LARGEST + ALIGNMENTS];

static double now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void let_go(void *context, struct vdp_packet *part)
{
    (void)context;
    if (part != NULL)
        vdp_packet_free(&fixture->worker, part);
}

/* An IPv4 packet of `length` bytes of that protocol, right in all its sums but TCP's. */
static void write_ipv4(uint8_t protocol, uint32_t length)
{
    memset(bytes, 1, length);
    bytes[0] = 0x45;
    vdp_store_be16(bytes + 2, (uint16_t)length);
    vdp_store_be16(bytes + 6, 0);
    bytes[9] = protocol;
    vdp_store_be16(bytes + 10, 0);
    vdp_store_be16(bytes + 10, (uint16_t)~plain_fold(plain_sum(bytes, 20)));
    bytes[32] = 0x50;
    bytes[33] = 0x10;
}

/* An IPv6 packet of nothing but extension headers. */
static void write_extensions(uint32_t length)
{
    memset(bytes, 0, length);
    bytes[0] = 0x60;
    vdp_store_be16(bytes + 4, (uint16_t)(length - 40));
    bytes[6] = 60;
    for (uint32_t at = 40; at + 8 <= length; at += 8)
        bytes[at] = 60;
}

static void extensions(struct vdp_packet *packet)
{
    struct vdp_headers headers;
    (void)vdp_offload_locate(packet, &headers);
    vdp_packet_free(&fixture->worker, packet);
}

static void hostile_marks(struct vdp_packet *packet)
{
    const struct virtio_net_hdr marks = {
        .flags = 1, .gso_type = 1, .gso_size = 100, .csum_start = 60000, .csum_offset = 16};
    (void)vdp_vnet_load(packet, &marks);
    vdp_packet_free(&fixture->worker, packet);
}

static void segments(struct vdp_packet *packet)
{
    const struct vdp_offload marks = {1, 20, 16, VIRTIO_NET_HDR_GSO_TCPV4, TINY, 40};
    LAW(vdp_offload_load(packet, &marks) == VDP_REASON_none);
    LAW(vdp_segment(&fixture->worker, packet, 0, 0, let_go, NULL) == VDP_REASON_none);
}

static void fragments(struct vdp_packet *packet)
{
    struct vdp_fragments plan;
    LAW(vdp_fragment_plan(packet, 0, MTU, &plan) == VDP_REASON_none);
    LAW(vdp_fragment(&fixture->worker, packet, &plan, let_go, NULL) == VDP_REASON_none);
}

static void into_cell(struct vdp_packet *packet)
{
    struct vdp_queue *queue = &fixture->queues[TARGET];
    struct vdp_packet_list out = {0};
    vdp_cell_offer(&fixture->worker, queue, packet);
    vdp_cell_flush(&fixture->worker, queue, &out);
    while ((packet = vdp_list_take(&out)) != NULL)
        vdp_packet_free(&fixture->worker, packet);
}

static double worst(const char *name, void (*work)(struct vdp_packet *packet), double so_far)
{
    double best = 1e9;
    for (unsigned i = 0; i < TRIES; i++) {
        struct vdp_packet *packet = packet_of(fixture, bytes, LARGEST, VDP_L3);
        double before = now_us();
        work(packet);
        double took = now_us() - before;
        best = took < best ? took : best;
    }
    printf("%8.1f us  %s\n", best, name);
    return best > so_far ? best : so_far;
}

static void all_checksums(void)
{
    uint64_t even = 0, odd = 0;
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167 + (i >> 8) * 13);
    for (uint32_t from = 0; from < ALIGNMENTS; from++) {
        even = odd = 0;
        for (uint32_t length = 0; length < LENGTHS; length++) {
            const uint16_t wanted = plain_fold((even << 8) + odd);
            LAW(vdp_checksum_fold(vdp_checksum_add(0, bytes + from, length)) == wanted);
            LAW(vdp_checksum_fold(vdp_checksum_add_portable(0, bytes + from, length)) == wanted);
            *(length % 2 == 0 ? &even : &odd) += bytes[from + length];
        }
    }
    printf("checksums right: %u lengths at %u alignments, both ways\n", (unsigned)LENGTHS, (unsigned)ALIGNMENTS);
}

int main(void)
{
    double most = 0;
    all_checksums();
    fixture = fixture_new(VDP_PORT_CELL, VDP_L3, 30, POOL);
    write_extensions(LARGEST - 7);
    most = worst("IPv6, extension headers throughout", extensions, most);
    most = worst("the same into a cell", into_cell, most);
    write_ipv4(IP_GRE, LARGEST);
    most = worst("marks that say TCP inside", hostile_marks, most);
    most = worst("fragments of 68 bytes", fragments, most);
    write_ipv4(VDP_TCP, LARGEST);
    most = worst("segments of 48 bytes", segments, most);
    most = worst("TCP into a cell", into_cell, most);
    printf("worst: %.1f us\n", most);
    return 0;
}
