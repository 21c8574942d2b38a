/* The twin's segments (Linux tcp_gso_segment, __udp_gso_segment) and fragments (RFC 791 3.2). */
#include "../../vdp/engine/internal.h"
#include "twin.h"

enum { TCP = 6, FIN_PSH = 0x09, CWR = 0x80, SEGMENT_LEAST = 48 };

static void add(struct twin_list *list, struct twin_packet *packet)
{
    packet->next = NULL;
    if (list->tail)
        list->tail->next = packet;
    else
        list->head = packet;
    list->tail = packet;
    list->count++;
}

/* The front of the packet and `size` bytes from `offset` on. */
static struct twin_packet *part_of(struct twin *twin, const struct twin_packet *packet, uint32_t front,
                                   uint32_t offset, uint32_t size)
{
    struct twin_packet *part = twin_new(twin);
    part->length = front + size;
    part->in_port = packet->in_port;
    memcpy(part->meta, packet->meta, VDP_META_SIZE);
    memcpy(part->bytes, packet->bytes, front);
    memcpy(part->bytes + front, packet->bytes + offset, size);
    return part;
}

static void finish_segment(struct twin_packet *part, const struct twin_headers *h)
{
    uint8_t *field = part->bytes + part->csum_start + part->csum_offset;
    uint16_t sum = (uint16_t)~twin_fold(twin_sum(part->bytes + h->transport, part->length - h->transport));
    twin_store16(field, sum == 0 && h->protocol != TCP ? 0xffff : sum);
    part->needs_csum = false;
    part->csum_valid = true;
}

/* Segment `index`, `size` bytes of payload that begin `offset` bytes into it. */
static struct twin_packet *segment_of(struct twin *twin, const struct twin_packet *packet,
                                      const struct twin_headers *h, uint32_t index, uint32_t offset,
                                      uint32_t size, bool is_last)
{
    struct twin_packet *part = part_of(twin, packet, h->payload, h->payload + offset, size);
    uint8_t *ip = part->bytes + h->network, *l4 = part->bytes + h->transport;
    struct twin_headers own = *h;
    if (h->version == 4) {
        twin_store16(ip + 2, part->length - h->network);
        twin_store16(ip + 4, twin_load16(ip + 4) + index);
        twin_store16(ip + 10, 0);
        twin_store16(ip + 10, 0xffff & ~twin_fold(twin_sum(ip, h->transport - h->network)));
    } else {
        twin_store16(ip + 4, part->length - h->network - 40);
    }
    if (h->protocol == TCP) {
        twin_store32(l4 + 4, twin_load32(l4 + 4) + offset);
        if (index)
            l4[13] &= (uint8_t)~CWR;
        if (!is_last)
            l4[13] &= (uint8_t)~FIN_PSH;
    } else {
        twin_store16(l4 + 4, part->length - h->transport);
    }
    own.end = part->length;
    twin_leave_checksum(part, &own);
    return part;
}

/* All segments of one size, and the rest. */
static void cut_even(struct twin *twin, struct twin_packet *packet, const struct twin_headers *h,
                     struct twin_list *parts)
{
    uint32_t payload = packet->length - h->payload, rest = payload % packet->gso_size;
    if (rest == 0 || rest == payload) {
        add(parts, twin_copy(twin, packet));
        return;
    }
    uint32_t count = payload / packet->gso_size + 1; /* anew: a program may have made the headers longer */
    struct twin_packet *head = segment_of(twin, packet, h, 0, 0, payload - rest, false);
    struct twin_packet *last = segment_of(twin, packet, h, count - 1, payload - rest, rest, true);
    if (count > 2) {
        head->gso_type = packet->gso_type;
        head->gso_size = packet->gso_size;
        head->segments = count - 1;
    } else {
        finish_segment(head, h);
    }
    finish_segment(last, h);
    add(parts, head);
    add(parts, last);
}

uint32_t twin_segment(struct twin *twin, struct twin_packet *packet, const struct vdp_action *action,
                      struct twin_list *parts)
{
    uint32_t most = action->b, reason;
    bool covered = twin_covered(packet, action->a);
    struct twin_headers h;
    if (!packet->gso_type) {
        reason = packet->needs_csum && !(action->a & VDP_F_CSUM) ? twin_finish(packet) : 0;
        if (!reason)
            add(parts, twin_copy(twin, packet));
        return reason;
    }
    bool stays = covered && !most;
    bool in_gre = action->a & VDP_F_GRE_TSO && twin_fits_gre(packet, action->d);
    if (stays || (in_gre && !(action->a & VDP_SEGMENT_EQUAL))) {
        add(parts, twin_copy(twin, packet));
        return 0;
    }
    reason = twin_check(packet, &h);
    if (reason)
        return reason;
    if (in_gre) {
        cut_even(twin, packet, &h, parts);
        return 0;
    }
    uint32_t size = packet->gso_size, payload = packet->length - h.payload;
    if (most && h.payload + size > most) {
        if (h.protocol != TCP)
            return VDP_REASON_mtu_exceeded;
        if (most < h.payload + SEGMENT_LEAST)
            return VDP_REASON_gso_invalid;
        size = most - h.payload;
    }
    uint32_t count = (payload + size - 1) / size;
    if (count == 0)
        return VDP_REASON_gso_invalid;
    if (covered) {
        add(parts, twin_copy(twin, packet));
        parts->head->gso_size = size;
        parts->head->segments = count;
        return 0;
    }
    for (uint32_t i = 0, at = 0; i < count; i++, at += size) {
        uint32_t here = payload - at < size ? payload - at : size;
        struct twin_packet *part = segment_of(twin, packet, &h, i, at, here, i + 1 == count);
        if (!(action->a & VDP_F_CSUM))
            finish_segment(part, &h);
        add(parts, part);
    }
    return 0;
}

/* Options that later fragments do not have become NOPs; what is malformed stays. */
static void blank(uint8_t *options, uint32_t size)
{
    for (uint32_t at = 0; at < size && options[at] != 0;) {
        uint32_t whole = 1;
        if (options[at] != 1) {
            whole = at + 1 < size ? options[at + 1] : 0;
            if (whole < 2 || whole > size - at)
                return;
            if (!(options[at] & 0x80))
                memset(options + at, 1, whole);
        }
        at += whole;
    }
}

uint32_t twin_fragment(struct twin *twin, struct twin_packet *packet, uint32_t network, uint32_t most,
                       struct twin_list *parts, bool *otherwise)
{
    *otherwise = false;
    if (twin_segment_length(packet) <= network + most) {
        add(parts, twin_copy(twin, packet));
        return 0;
    }
    *otherwise = packet->gso_type != 0;
    if (*otherwise)
        return 0;
    if (!twin_has(packet, network, 20))
        return VDP_REASON_parse_truncated;
    uint8_t *ip = packet->bytes + network;
    uint32_t size = (ip[0] & 15) * 4u, total = twin_load16(ip + 2), field = twin_load16(ip + 6);
    if (ip[0] >> 4 != 4 || size < 20)
        return VDP_REASON_ip_header;
    if (!twin_has(packet, network, total))
        return VDP_REASON_parse_bad_length;
    if (total < size)
        return VDP_REASON_ip_header;
    if (total <= most) {
        packet->length = network + total;
        add(parts, twin_copy(twin, packet));
        return 0;
    }
    *otherwise = (field & 0x4000) != 0;
    if (*otherwise)
        return 0;
    if ((field & 0x1fff) * 8 + total - size > 0xffff)
        return VDP_REASON_ip_header;
    if (most < size + 8)
        return VDP_REASON_mtu_exceeded;
    packet->length = network + total;
    uint32_t reason = packet->needs_csum ? twin_finish(packet) : 0;
    if (reason)
        return reason;
    uint32_t room = most - size, piece = room / 8 * 8, left = total - size, at = network + size;
    for (uint32_t offset = field & 0x1fff; left > 0; offset += piece / 8) {
        uint32_t here = left <= room ? left : piece;
        struct twin_packet *part = part_of(twin, packet, network + size, at, here);
        uint8_t *header = part->bytes + network;
        if (parts->count > 0 && (field & 0x1fff) == 0)
            blank(header + 20, size - 20);
        left -= here;
        at += here;
        twin_store16(header + 2, size + here);
        twin_store16(header + 6, (field & 0x2000) | offset | (left > 0 ? 0x2000 : 0));
        twin_store16(header + 10, 0);
        twin_store16(header + 10, 0xffff & ~twin_fold(twin_sum(header, size)));
        add(parts, part);
    }
    return 0;
}
