/* The twin's headers and offload marks: virtio 1.2 5.1.6, RFC 791, RFC 8200, RFC 9293, RFC 768. */
#include "../../vdp/engine/internal.h"
#include "twin.h"

enum { TCP = 6, UDP = 17, GRE = 47, TCP4 = 1, UFO = 3, TCP6 = 4, USO = 5, ECN = 0x80 };

static bool is_tag(uint32_t ethertype)
{
    return ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100;
}

static uint32_t find_network(const struct twin_packet *p, uint32_t *network)
{
    if (twin_load32(p->meta) == VDP_L3) {
        uint32_t said = twin_load32(p->meta + 4);
        *network = 0;
        if (said || !p->length)
            return said;
        return p->bytes[0] >> 4 == 4 ? 0x0800 : p->bytes[0] >> 4 == 6 ? 0x86dd : 0;
    }
    *network = 14;
    if (p->length < 14)
        return 0;
    uint32_t ethertype = twin_load16(p->bytes + 12);
    for (unsigned tags = 0; is_tag(ethertype); tags++, *network += 4) {
        if (tags == 8 || !twin_has(p, *network, 4))
            return 0;
        ethertype = twin_load16(p->bytes + *network + 2);
    }
    return ethertype;
}

/* Bytes of the TCP or UDP header at `at`; 0: it does not fit in front of `end`. */
static uint32_t transport_size(const struct twin_packet *p, uint8_t protocol, uint32_t at, uint32_t end)
{
    if (protocol == UDP)
        return end - at >= 8 ? 8 : 0;
    if (end - at < 20)
        return 0;
    uint32_t size = (p->bytes[at + 12] >> 4) * 4u;
    return size >= 20 && size <= end - at ? size : 0;
}

static bool locate_ip(const struct twin_packet *p, uint32_t ethertype, uint32_t network,
                      struct twin_headers *h)
{
    const uint8_t *ip = p->bytes + network;
    h->network = network;
    if (ethertype == 0x0800) {
        if (!twin_has(p, network, 20) || ip[0] >> 4 != 4)
            return false;
        uint32_t size = (ip[0] & 15) * 4u, total = twin_load16(ip + 2);
        if (size < 20 || total < size || !twin_has(p, network, total))
            return false;
        h->version = 4;
        h->protocol = ip[9];
        h->fragment = (twin_load16(ip + 6) & 0x3fff) != 0;
        h->transport = network + size;
        h->end = network + total;
    } else if (ethertype == 0x86dd) {
        if (!twin_has(p, network, 40) || ip[0] >> 4 != 6)
            return false;
        h->version = 6;
        h->transport = network + 40;
        h->end = h->transport + twin_load16(ip + 4);
        if (h->end > p->length)
            return false;
        h->protocol = ip[6];
        while (h->protocol == 0 || h->protocol == 43 || h->protocol == 60) {
            const uint8_t *extension = p->bytes + h->transport;
            if (h->end - h->transport < 8 || (extension[1] + 1u) * 8 > h->end - h->transport ||
                (h->protocol == 43 && extension[3]))
                return false;
            h->protocol = extension[0];
            h->transport += (extension[1] + 1u) * 8;
        }
        h->fragment = h->protocol == 44;
    } else {
        return false;
    }
    h->payload = h->transport;
    if (h->fragment || (h->protocol != TCP && h->protocol != UDP))
        return true;
    uint32_t size = transport_size(p, h->protocol, h->transport, h->end);
    h->payload += size;
    return size > 0;
}

bool twin_locate(const struct twin_packet *p, struct twin_headers *h)
{
    uint32_t network, ethertype = find_network(p, &network);
    return locate_ip(p, ethertype, network, h);
}

uint64_t twin_pseudo(const struct twin_packet *p, unsigned version, uint32_t network, uint8_t protocol,
                     uint32_t size)
{
    const uint8_t *ip = p->bytes + network;
    uint64_t addresses = version == 4 ? twin_sum(ip + 12, 8) : twin_sum(ip + 8, 32);
    return addresses + protocol + (size >> 16) + (size & 0xffff);
}

void twin_clear(struct twin_packet *p)
{
    p->needs_csum = p->csum_valid = false;
    p->csum_start = 0;
    p->csum_offset = p->gso_type = p->gso_size = 0;
    p->segments = 1;
}

void twin_leave_checksum(struct twin_packet *p, const struct twin_headers *h)
{
    p->needs_csum = true;
    p->csum_start = h->transport;
    p->csum_offset = h->protocol == TCP ? 16 : 6;
    twin_store16(p->bytes + h->transport + p->csum_offset,
                 twin_fold(twin_pseudo(p, h->version, h->network, h->protocol, h->end - h->transport)));
}

/* Does what starts there belong to what these headers carry, and not to a transport of their own? */
static bool is_carried(const struct twin_headers *h, int64_t start)
{
    return !h->fragment && h->protocol != TCP && start >= h->transport + (h->protocol == UDP ? 8 : 0);
}

static uint32_t check_checksum(const struct twin_packet *p)
{
    struct twin_headers h;
    bool fits;
    if (twin_locate(p, &h)) {
        bool own = (h.protocol == TCP || h.protocol == UDP) && p->csum_start == h.transport &&
                   p->csum_offset == (h.protocol == TCP ? 16 : 6);
        fits = own || is_carried(&h, p->csum_start);
    } else {
        uint32_t network, ethertype = find_network(p, &network);
        fits = p->csum_start >= network + (ethertype == 0x0800 ? 20 : ethertype == 0x86dd ? 40 : 0);
    }
    return fits ? 0 : VDP_REASON_vnet_hdr_invalid;
}

static bool fits_type(const struct twin_packet *p, const struct twin_headers *h, uint32_t type)
{
    if (h->fragment || h->end != p->length)
        return false;
    if (type == USO)
        return h->protocol == UDP;
    return h->protocol == TCP && h->version == ((type & ~(uint32_t)ECN) == TCP4 ? 4 : 6);
}

/* Where a super-packet's payload begins; 0: nowhere. */
static uint32_t find_payload(struct twin_packet *p, const struct vdp_offload *o)
{
    struct twin_headers h;
    uint8_t protocol = o->gso_type == USO ? UDP : TCP;
    if (!twin_locate(p, &h) || (o->needs_csum && o->csum_offset != (protocol == TCP ? 16 : 6)))
        return 0;
    if (!o->needs_csum || o->csum_start == h.transport) {
        if (!fits_type(p, &h, o->gso_type))
            return 0;
        twin_leave_checksum(p, &h);
        return h.payload;
    }
    if (!is_carried(&h, o->csum_start) || h.end != p->length || o->csum_start > p->length)
        return 0;
    uint32_t size = transport_size(p, protocol, o->csum_start, p->length);
    return size ? o->csum_start + size : 0;
}

static uint32_t load_super(struct twin_packet *p, const struct vdp_offload *o)
{
    uint32_t base = o->gso_type & ~(uint32_t)ECN;
    if (o->gso_type == UFO)
        return VDP_REASON_gso_unsupported;
    if (!(base == TCP4 || base == TCP6 || o->gso_type == USO) || !o->gso_size || o->gso_size > 0xffff ||
        o->header_size > p->length)
        return VDP_REASON_gso_invalid;
    uint32_t payload = find_payload(p, o);
    if (!payload || payload > 512)
        return VDP_REASON_gso_invalid;
    uint32_t size = p->length - payload;
    if (size <= o->gso_size)
        return 0;
    p->gso_type = o->gso_type;
    p->gso_size = o->gso_size;
    p->segments = (size + o->gso_size - 1) / o->gso_size;
    return o->gso_size < 48 && p->segments > 64 ? VDP_REASON_gso_invalid : 0;
}

uint32_t twin_load(struct twin_packet *p, const struct vdp_offload *o)
{
    uint32_t reason = 0;
    twin_clear(p);
    if (o->needs_csum) {
        if (o->csum_offset > 0xffff || !twin_has(p, (uint64_t)o->csum_start + o->csum_offset, 2))
            return o->gso_type ? VDP_REASON_gso_invalid : VDP_REASON_vnet_hdr_invalid;
        p->needs_csum = true;
        p->csum_start = o->csum_start;
        p->csum_offset = o->csum_offset;
    }
    if (o->gso_type)
        reason = load_super(p, o);
    else if (o->needs_csum)
        reason = check_checksum(p);
    if (reason)
        twin_clear(p);
    return reason;
}

static uint32_t check_located(const struct twin_packet *p, const struct twin_headers *h)
{
    if ((h->protocol != TCP && h->protocol != UDP) || is_carried(h, p->csum_start))
        return VDP_REASON_gso_unsupported;
    return fits_type(p, h, p->gso_type) && p->csum_start == h->transport ? 0 : VDP_REASON_gso_invalid;
}

uint32_t twin_check(const struct twin_packet *p, struct twin_headers *h)
{
    return twin_locate(p, h) ? check_located(p, h) : VDP_REASON_gso_unsupported;
}

static uint32_t untagged(const struct twin_packet *p)
{
    return twin_load32(p->meta) == VDP_L3 ? 0 : 14;
}

static bool header_is_right(const struct twin_packet *p, const struct twin_headers *h)
{
    return h->version == 6 ||
           twin_fold(twin_sum(p->bytes + h->network, h->transport - h->network)) == 0xffff;
}

static uint32_t shortening(const struct twin_packet *p)
{
    uint32_t all = p->length - (uint32_t)p->csum_start;
    uint32_t segment = (p->bytes[p->csum_start + 12] >> 4) * 4u + p->gso_size;
    return segment < all ? all - segment : 0;
}

static uint64_t local_sum(const struct twin_packet *p, uint32_t start)
{
    uint64_t sum = twin_sum(p->bytes + start, (uint64_t)p->csum_start - start);
    sum += 0xffffu & ~twin_load16(p->bytes + p->csum_start + 16);
    return (p->gso_type & ~(uint32_t)ECN) == TCP4 ? sum + shortening(p) : sum;
}

uint16_t twin_local_checksum(const struct twin_packet *p, uint32_t start)
{
    return (uint16_t)~twin_fold(local_sum(p, start));
}

uint16_t twin_local_udp(const struct twin_packet *p, unsigned version, uint32_t network, uint32_t transport)
{
    uint32_t less = shortening(p), size = p->length - transport - less;
    uint64_t sum = local_sum(p, transport) + (0xffff & ~less);
    return (uint16_t)~twin_fold(sum + twin_pseudo(p, version, network, UDP, size));
}

static uint32_t check_gre(const struct twin_packet *p, struct twin_headers *h)
{
    const uint32_t no = VDP_REASON_gso_unsupported;
    struct twin_headers outer;
    if (p->gso_type == USO || !twin_locate(p, &outer) || outer.fragment || outer.end != p->length ||
        (outer.protocol != GRE && outer.protocol != UDP) || outer.network != untagged(p))
        return no;
    uint32_t size = outer.transport - outer.network;
    bool limit = size == 48 && p->bytes[outer.network + 6] == 60;
    if (outer.version == 4 ? size != 20 : size != 40 && !limit)
        return no;
    if (outer.protocol == UDP && twin_load16(p->bytes + outer.transport + 4) != p->length - outer.transport)
        return no;
    uint32_t gre = outer.payload;
    if (!twin_has(p, gre, 4))
        return no;
    uint32_t flags = twin_load16(p->bytes + gre), ethertype = twin_load16(p->bytes + gre + 2);
    uint32_t at = gre + 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0);
    if (flags & ~0xa000u || at > p->length)
        return no;
    if (ethertype == 0x6558) {
        if (!twin_has(p, at, 14))
            return no;
        ethertype = twin_load16(p->bytes + at + 12);
        at += 14;
    }
    if (!locate_ip(p, ethertype, at, h))
        return no;
    uint32_t reason = check_located(p, h);
    bool in_gre = (flags & 0x8000) != 0;
    bool in_udp = outer.protocol == UDP && twin_load16(p->bytes + outer.transport + 6) != 0;
    if (reason || (!in_gre && !in_udp))
        return reason;
    bool right = (p->length - h->payload) % p->gso_size == 0 && header_is_right(p, h) &&
                 (!in_gre || twin_local_checksum(p, gre) == 0) &&
                 (!in_udp || twin_local_udp(p, outer.version, outer.network, outer.transport) == 0);
    return right ? 0 : no;
}

bool twin_fits_gre(const struct twin_packet *p, uint32_t limits)
{
    struct twin_headers h;
    return twin_check(p, &h) == 0 && h.protocol == TCP && h.network == untagged(p) &&
           header_is_right(p, &h) && p->length <= (limits & 0xffff) &&
           h.payload + p->gso_size <= limits >> 16;
}

bool twin_takes_headers(const struct twin_packet *p, uint32_t features)
{
    struct twin_headers h;
    return features & VDP_F_GRE_TSO || twin_check(p, &h) != VDP_REASON_gso_unsupported;
}

bool twin_covered(const struct twin_packet *p, uint32_t features)
{
    uint32_t base = p->gso_type & ~(uint32_t)ECN, needed = p->needs_csum ? VDP_F_CSUM : 0;
    if (base)
        needed |= base == TCP4 ? VDP_F_TSO4 : base == TCP6 ? VDP_F_TSO6 : VDP_F_USO;
    return (needed & ~features) == 0;
}

static bool field_is_inside(const struct twin_packet *p)
{
    return twin_has(p, (uint64_t)p->csum_start + p->csum_offset, 2);
}

uint32_t twin_finish(struct twin_packet *p)
{
    if (p->needs_csum && p->csum_start >= 0) {
        if (!field_is_inside(p))
            return VDP_REASON_vnet_hdr_invalid;
        const uint8_t *from = p->bytes + p->csum_start;
        uint16_t sum = (uint16_t)~twin_fold(twin_sum(from, p->length - (uint64_t)p->csum_start));
        twin_store16(p->bytes + p->csum_start + p->csum_offset, sum ? sum : 0xffff);
        p->csum_valid = true;
    }
    p->needs_csum = false;
    return 0;
}

uint32_t twin_store(const struct twin_packet *p, struct vdp_offload *o)
{
    *o = (struct vdp_offload){0};
    if (p->needs_csum && p->csum_start >= 0) {
        if (!field_is_inside(p))
            return VDP_REASON_vnet_hdr_invalid;
        o->needs_csum = 1;
        o->csum_start = (uint32_t)p->csum_start;
        o->csum_offset = p->csum_offset;
    }
    if (p->gso_type) {
        struct twin_headers h;
        uint32_t reason = twin_check(p, &h);
        if (reason == VDP_REASON_gso_unsupported)
            reason = check_gre(p, &h);
        if (reason)
            return reason;
        o->gso_type = p->gso_type;
        o->gso_size = p->gso_size;
        o->header_size = h.payload;
    }
    return 0;
}

uint32_t twin_segment_length(const struct twin_packet *p)
{
    if (!p->gso_type || p->csum_start < 0 || p->csum_start > p->length)
        return p->length;
    uint32_t start = (uint32_t)p->csum_start;
    uint32_t size = transport_size(p, p->gso_type == USO ? UDP : TCP, start, p->length);
    uint32_t length = start + size + p->gso_size;
    return size && length < p->length ? length : p->length;
}
