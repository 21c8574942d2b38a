/* Packets made of choices: frames and IP packets that are right in every length and checksum, of
 * which a few bytes may be written over afterwards.  So few bytes of input lead deep. */
#ifndef VDP_FUZZ_FRAMES_H
#define VDP_FUZZ_FRAMES_H

#include "fuzz.h"

enum { FRAME_MOST = 12000, FRAME_PAYLOAD = 9000, IP_GRE = 47, GRE_ETHERNET = 0x6558, UDP_TUNNEL = 4754 };

/* Offsets in bytes[]; of a packet in a tunnel those of what is innermost. */
struct frame {
    uint32_t length, network, transport, payload;
    uint32_t tunnel; /* where the outermost IP header of a tunnel is; == network: there is none */
    uint32_t type;   /* enum vdp_packet_type */
    unsigned version;
    uint8_t protocol;
    uint8_t bytes[FRAME_MOST];
};

static inline uint32_t put_ethernet(struct input *in, uint8_t *at, uint16_t ethertype, unsigned tags)
{
    static const uint16_t kinds[] = {0x8100, 0x88a8, 0x9100};
    uint32_t size = 12;
    memset(at, 0x02, 12);
    at[11] = (uint8_t)(take8(in) & 3);
    for (unsigned i = 0; i < tags; i++, size += 4) {
        vdp_store_be16(at + size, kinds[i % 3]);
        vdp_store_be16(at + size + 2, (uint16_t)i);
    }
    vdp_store_be16(at + size, ethertype);
    return size + 2;
}

/* An IP header for `behind` bytes, its options or extension headers included; its size. */
static inline uint32_t put_ip(struct input *in, uint8_t *ip, unsigned version, uint8_t protocol,
                              uint32_t behind, uint8_t options)
{
    uint8_t choice = take8(in);
    if (version == 4) {
        uint32_t size = 20 + 4u * (options % 11);
        memset(ip, 1, size); /* NOPs */
        ip[0] = (uint8_t)(0x40 | size / 4);
        ip[1] = choice & 3;
        vdp_store_be16(ip + 2, (uint16_t)(size + behind));
        vdp_store_be16(ip + 4, take16(in));
        vdp_store_be16(ip + 6, choice & 4 ? 0x4000 : 0);
        ip[8] = choice & 8 ? choice >> 6 : 64;
        ip[9] = protocol;
        vdp_store_be16(ip + 10, 0);
        vdp_store_be32(ip + 12, 0x0a000001);
        vdp_store_be32(ip + 16, 0x0a000002u + (choice >> 4 & 1));
        if (size > 24) { /* one that only the first fragment has, or all do */
            ip[20] = choice & 32 ? 0x83 : 0x44;
            ip[21] = 4;
        }
        vdp_store_be16(ip + 10, (uint16_t)~plain_fold(plain_sum(ip, size)));
        return size;
    }
    static const uint8_t kinds[] = {60, 0, 43};
    uint32_t count = options % 4, size = 40 + 8 * count;
    memset(ip, 0, size);
    vdp_store_be32(ip, 0x60000000u | (uint32_t)(choice & 3) << 20);
    vdp_store_be16(ip + 4, (uint16_t)(size - 40 + behind));
    ip[6] = count > 0 ? kinds[options / 4 % 3] : protocol;
    ip[7] = choice & 8 ? choice >> 6 : 64;
    memset(ip + 8, 0x20, 32);
    ip[39] = (uint8_t)(choice >> 4 & 1);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *extension = ip + 40 + 8 * i;
        extension[0] = i + 1 < count ? kinds[(options / 4u + i + 1) % 3] : protocol;
        extension[2] = extension[0] == 43 ? 0 : 1; /* PadN */
        extension[3] = 0;
    }
    return size;
}

static inline uint32_t put_transport(struct input *in, uint8_t *at, uint8_t protocol, uint32_t payload,
                                     uint8_t choice)
{
    if (protocol == VDP_UDP) {
        vdp_store_be16(at, 1000);
        vdp_store_be16(at + 2, (uint16_t)(2000 + (choice & 1)));
        vdp_store_be16(at + 4, (uint16_t)(8 + payload));
        vdp_store_be16(at + 6, 0);
        return 8;
    }
    static const uint8_t flags[] = {0x10, 0x10, 0x10, 0x18, 0x11, 0x90, 0x50, 0x30};
    uint32_t size = 20 + 4u * (choice >> 4 & 3);
    memset(at, 1, size);
    vdp_store_be16(at, 1000);
    vdp_store_be16(at + 2, (uint16_t)(2000 + (choice & 1)));
    vdp_store_be32(at + 4, take32(in));
    vdp_store_be32(at + 8, 7);
    at[12] = (uint8_t)(size / 4 << 4);
    at[13] = flags[choice >> 1 & 7];
    vdp_store_be32(at + 16, 0);
    return size;
}

/* The transport checksum of ip[..]: 0 becomes 0xffff, which in UDP is not "none". */
static inline void put_checksum(uint8_t *ip, unsigned version, uint8_t protocol, uint8_t *at, uint32_t size)
{
    uint8_t *field = at + (protocol == VDP_TCP ? 16 : 6);
    vdp_store_be16(field, 0);
    uint16_t sum = (uint16_t)~plain_fold(plain_pseudo(ip, version, protocol, size) + plain_sum(at, size));
    vdp_store_be16(field, sum == 0 ? 0xffff : sum);
}

/* GRE, perhaps in UDP, over IP, in front of the `behind` bytes that follow; its size.  Checksums are
 * left zero, for who wants to fill them in. */
static inline uint32_t put_tunnel(struct input *in, uint8_t *at, uint32_t behind, uint16_t ethertype,
                                  uint8_t choice)
{
    uint32_t gre = 4 + (choice & 1 ? 4u : 0) + (choice & 2 ? 4u : 0);
    uint32_t frame = choice & 4 ? 14 : 0, udp = choice & 8 ? 8 : 0;
    uint8_t outer[40];
    uint32_t carried = udp + gre + frame + behind;
    uint32_t size = put_ip(in, outer, choice & 16 ? 6 : 4, udp ? VDP_UDP : IP_GRE, carried, 0);
    memcpy(at, outer, size);
    uint8_t *next = at + size;
    if (udp) {
        vdp_store_be16(next, 50000);
        vdp_store_be16(next + 2, UDP_TUNNEL);
        vdp_store_be16(next + 4, (uint16_t)carried);
        vdp_store_be16(next + 6, 0);
        next += udp;
    }
    memset(next, 0, gre);
    next[0] = (uint8_t)((choice & 1 ? 0x80 : 0) | (choice & 2 ? 0x20 : 0));
    vdp_store_be16(next + 2, frame ? GRE_ETHERNET : ethertype);
    next += gre;
    if (frame)
        next += put_ethernet(in, next, ethertype, 0);
    return (uint32_t)(next - at);
}

/* A whole packet of `payload` bytes (of what is innermost). */
static inline void frame_make(struct input *in, struct frame *frame, uint32_t payload)
{
    uint8_t shape = take8(in), options = take8(in), transport = take8(in), tunnel = take8(in);
    uint8_t inner[128], *end = frame->bytes;
    frame->type = shape & 1 ? VDP_L3 : VDP_L2;
    frame->version = shape & 2 ? 6 : 4;
    frame->protocol = shape & 4 ? VDP_UDP : VDP_TCP;
    uint16_t ethertype = frame->version == 4 ? 0x0800 : 0x86dd;
    uint8_t l4[64];
    uint32_t l4_size = put_transport(in, l4, frame->protocol, payload, transport);
    uint32_t ip_size = put_ip(in, inner, frame->version, frame->protocol, l4_size + payload,
                              shape & 64 ? options : 0);
    bool in_tunnel = (shape & 0x30) == 0x30;
    if (frame->type == VDP_L2)
        end += put_ethernet(in, end, in_tunnel && tunnel & 16 ? 0x86dd : in_tunnel ? 0x0800 : ethertype,
                            shape & 8 ? options >> 5 : 0);
    frame->tunnel = (uint32_t)(end - frame->bytes);
    if (in_tunnel)
        end += put_tunnel(in, end, ip_size + l4_size + payload, ethertype, tunnel);
    frame->network = (uint32_t)(end - frame->bytes);
    memcpy(end, inner, ip_size);
    memcpy(end + ip_size, l4, l4_size);
    frame->transport = frame->network + ip_size;
    frame->payload = frame->transport + l4_size;
    frame->length = frame->payload + payload;
    uint8_t first = take8(in);
    for (uint32_t i = 0; i < payload; i++)
        frame->bytes[frame->payload + i] = (uint8_t)(first + i * 7);
    put_checksum(frame->bytes + frame->network, frame->version, frame->protocol,
                 frame->bytes + frame->transport, l4_size + payload);
}

/* A length in a header says a little more or less than there is: of all IP, the header or its first
 * extension, TCP's header or UDP's all. */
static inline void spoil_length(struct input *in, struct frame *frame)
{
    const uint32_t network = frame->network, transport = frame->transport;
    const bool is_ip4 = frame->version == 4, is_tcp = frame->protocol == VDP_TCP;
    const uint32_t places[4] = {network + (is_ip4 ? 3 : 5), network + (is_ip4 ? 0 : 41),
                                transport + (is_tcp ? 12 : 5), frame->tunnel + (is_ip4 ? 3 : 5)};
    uint8_t choice = take8(in);
    uint32_t at = places[choice & 3];
    uint8_t unit = at == transport + 12 ? 16 : 1; /* TCP's is in the upper half */
    if (at < frame->length)
        frame->bytes[at] = (uint8_t)(frame->bytes[at] + ((choice >> 2) % 17 - 8) * unit);
}

/* Some bytes become others, mostly in the headers; the end moves. */
static inline void frame_spoil(struct input *in, struct frame *frame)
{
    uint8_t choice = take8(in);
    if (choice & 16)
        spoil_length(in, frame);
    for (unsigned i = choice & 3; i > 0 && frame->length > 0; i--) {
        uint32_t at = take8(in) % frame->length;
        frame->bytes[at] = take8(in);
    }
    if (choice & 4)
        frame->length = take16(in) % (frame->length + 1);
    if (choice & 8) {
        uint32_t more = take8(in) % 64;
        memset(frame->bytes + frame->length, 0, more);
        frame->length += more;
    }
}

/* How much payload: mostly little, sometimes a super-packet's. */
static inline uint32_t take_payload(struct input *in)
{
    uint8_t choice = take8(in);
    return choice < 192 ? choice : choice < 250 ? (choice - 191u) * 30 : take16(in) % FRAME_PAYLOAD;
}

/* Bytes of no shape at all, or a packet as above, spoilt or not. */
static inline void frame_any(struct input *in, struct frame *frame)
{
    uint8_t choice = take8(in);
    if ((choice & 7) == 7) {
        frame->type = choice & 8 ? VDP_L3 : VDP_L2;
        frame->length = (uint32_t)(in->left < 2048 ? in->left : 2048);
        take_bytes(in, frame->bytes, frame->length);
        frame->network = frame->transport = frame->payload = frame->tunnel = 0;
        frame->version = 4;
        frame->protocol = 0;
        return;
    }
    frame_make(in, frame, take_payload(in));
    if (choice & 8)
        frame_spoil(in, frame);
}

#endif
