/* The twin's programs: each action as engine.h ("Actions") says it. */
#include "../../vdp/engine/internal.h"
#include "twin.h"

#include <stdlib.h>
#include <string.h>

enum { NEXT = 0, ELSE = 0x10000, USO = 5, UDP = 17 };

struct twin_packet *twin_new(struct twin *twin)
{
    struct twin_packet *packet = twin->free;
    if (packet)
        twin->free = packet->next;
    else
        packet = malloc(sizeof *packet);
    if (!packet)
        abort();
    memset(packet, 0, offsetof(struct twin_packet, bytes));
    packet->segments = 1;
    return packet;
}

void twin_free(struct twin *twin, struct twin_packet *packet)
{
    packet->next = twin->free;
    twin->free = packet;
}

struct twin_packet *twin_copy(struct twin *twin, const struct twin_packet *packet)
{
    struct twin_packet *copy = twin_new(twin);
    memcpy(copy, packet, offsetof(struct twin_packet, bytes) + packet->length);
    copy->has_account = false;
    return copy;
}

void twin_forget(struct twin *twin)
{
    for (uint32_t i = 0; i < twin->sent_count; i++)
        twin_free(twin, twin->sent[i]);
    twin->sent_count = twin->upcalls = 0;
    memset(twin->counters, 0, sizeof twin->counters);
    memset(twin->states, 0, sizeof twin->states);
    memset(twin->drops, 0, sizeof twin->drops);
    for (uint32_t i = 0; i < twin->port_count; i++)
        memset(&twin->ports[i].stats, 0, sizeof twin->ports[i].stats);
}

static struct twin_port *port_of(struct twin *twin, uint32_t number)
{
    for (uint32_t i = 0; i < twin->port_count; i++)
        if (twin->ports[i].number == number)
            return &twin->ports[i];
    return NULL;
}

static void count(struct twin *twin, uint32_t id, int64_t bytes)
{
    if (id >= TWIN_COUNTERS || !twin->is_counter[id])
        return;
    twin->counters[id].packets++;
    twin->counters[id].bytes += bytes > 0 ? (uint64_t)bytes : 0;
}

static void settle(struct twin *twin, struct twin_packet *packet, bool is_sent)
{
    if (packet->has_account && is_sent) {
        count(twin, packet->account[0], packet->account[3]);
    } else if (packet->has_account) {
        count(twin, packet->account[1], packet->account[3]);
        count(twin, packet->account[2], packet->account[3]);
    }
    packet->has_account = false;
}

static void lose(struct twin *twin, struct twin_packet *packet, struct twin_port *port, bool was_offered,
                 uint32_t reason)
{
    settle(twin, packet, false);
    if (was_offered)
        port->stats.tx_dropped++;
    else
        port->stats.dropped++;
    twin->drops[reason]++;
    twin_free(twin, packet);
}

/* Port 0: the slow path. */
static void keep(struct twin *twin, struct twin_packet *packet, uint32_t port)
{
    if (twin->sent_count == TWIN_SENT) {
        twin_free(twin, packet);
        return;
    }
    packet->account[0] = port;
    twin->sent[twin->sent_count++] = packet;
}

static uint32_t admit(const struct twin_port *port, struct twin_packet *packet)
{
    if (twin_load32(packet->meta) != port->packet_type)
        return VDP_REASON_packet_type;
    if (packet->gso_type &&
        (!twin_covered(packet, port->features) || !twin_takes_headers(packet, port->features)))
        return VDP_REASON_gso_unsupported;
    return packet->needs_csum && !(port->features & VDP_F_CSUM) ? twin_finish(packet) : 0;
}

static void output(struct twin *twin, struct twin_packet *packet, uint32_t number)
{
    struct twin_port *origin = port_of(twin, packet->in_port), *port = port_of(twin, number);
    struct vdp_offload marks;
    if (!port) {
        lose(twin, packet, origin, false, VDP_REASON_no_port);
        return;
    }
    origin->stats.forwarded++;
    port->stats.offered++;
    uint32_t reason = admit(port, packet);
    if (!reason) {
        settle(twin, packet, true);
        reason = twin_store(packet, &marks);
    }
    if (reason) {
        lose(twin, packet, port, true, reason);
        return;
    }
    port->stats.tx_packets++;
    port->stats.tx_bytes += packet->length;
    port->stats.tx_segments += packet->segments;
    keep(twin, packet, number);
}

static void upcall(struct twin *twin, const struct twin_packet *packet, uint32_t cookie)
{
    struct twin_packet *copy = twin_copy(twin, packet);
    struct twin_port *origin = port_of(twin, packet->in_port);
    origin->stats.cloned++;
    origin->stats.upcalls++;
    origin->stats.held++;
    twin->upcalls++;
    copy->account[1] = cookie;
    keep(twin, copy, 0);
}

static uint64_t *state_of(struct twin *twin, uint32_t id)
{
    return id < TWIN_STATES && twin->is_state[id] ? &twin->states[id] : NULL;
}

static uint32_t pull(struct twin_packet *p, uint32_t size)
{
    if (size > p->length)
        return VDP_REASON_parse_truncated;
    p->length -= size;
    memmove(p->bytes, p->bytes + size, p->length);
    p->csum_valid = false;
    p->csum_start -= size;
    if (p->needs_csum && p->csum_start < 0) {
        if (p->gso_type)
            return VDP_REASON_gso_invalid;
        p->needs_csum = false;
    }
    return NEXT;
}

static uint32_t push(struct twin_packet *p, const uint8_t *bytes, uint32_t size)
{
    if (p->length + size > VDP_MAX_LENGTH)
        return VDP_REASON_mtu_exceeded;
    memmove(p->bytes + size, p->bytes, p->length);
    memcpy(p->bytes, bytes, size);
    p->length += size;
    p->csum_start += size;
    return NEXT;
}

/* HC' = ~(~HC + ~m + m'), RFC 1624; `at`: where the change is, from where the sum's coverage begins
 * an even number of bytes away from the field. */
static void adjust(struct twin_packet *p, uint32_t field, uint32_t at, const uint8_t *before, uint32_t size)
{
    uint8_t old[18] = {0}, now[18] = {0};
    uint32_t odd = (at ^ field) & 1;
    bool is_unfinished = p->needs_csum && (int64_t)field == p->csum_start + p->csum_offset;
    if (is_unfinished && (int64_t)at >= p->csum_start)
        return; /* not in it yet */
    memcpy(old + odd, before, size);
    memcpy(now + odd, p->bytes + at, size);
    uint32_t sum = twin_load16(p->bytes + field);
    sum = is_unfinished ? sum : 0xffff & ~sum; /* inverted, or not */
    sum = twin_fold(sum + (0xffffu & ~(uint32_t)twin_fold(twin_sum(old, 18))) + twin_fold(twin_sum(now, 18)));
    twin_store16(p->bytes + field, is_unfinished ? sum : ~sum);
}

static uint32_t set(struct twin_packet *p, const struct vdp_action *a, const uint8_t *mask)
{
    uint8_t before[16];
    if (!twin_has(p, a->b, a->a) || (a->d != UINT32_MAX && !twin_has(p, a->d, 2)))
        return VDP_REASON_parse_truncated;
    memcpy(before, p->bytes + a->b, a->a);
    for (uint32_t i = 0; i < a->a; i++)
        p->bytes[a->b + i] = (uint8_t)((before[i] & ~mask[i]) | (mask[a->a + i] & mask[i]));
    if (a->d != UINT32_MAX)
        adjust(p, a->d, a->b, before, a->a);
    return NEXT;
}

static bool has_unfinished(const struct twin_packet *p, uint64_t from, uint64_t end)
{
    int64_t field = p->csum_start + p->csum_offset;
    return p->needs_csum && field + 2 > (int64_t)from && field < (int64_t)end;
}

static uint32_t checksum(struct twin_packet *p, uint32_t field, uint32_t from, uint32_t size)
{
    if (!twin_has(p, from, size) || !twin_has(p, field, 2))
        return VDP_REASON_parse_truncated;
    uint64_t end = size ? from + size : p->length;
    uint32_t reason = !p->gso_type && has_unfinished(p, from, end) ? twin_finish(p) : 0;
    if (reason)
        return reason;
    twin_store16(p->bytes + field, 0);
    uint16_t sum;
    if (p->gso_type && p->gso_type != USO && !size && from <= p->csum_start)
        sum = twin_local_checksum(p, from);
    else
        sum = (uint16_t)~twin_fold(twin_sum(p->bytes + from, end - from));
    twin_store16(p->bytes + field, sum);
    return NEXT;
}

static uint32_t require_checksum(struct twin_packet *p, uint32_t from, uint32_t size)
{
    if (!twin_has(p, from, size))
        return VDP_REASON_parse_truncated;
    uint64_t end = size ? from + size : p->length;
    bool inside = has_unfinished(p, from, end);
    if (p->gso_type && inside)
        return NEXT;
    uint32_t reason = inside ? twin_finish(p) : 0;
    if (reason)
        return reason;
    return twin_fold(twin_sum(p->bytes + from, end - from)) == 0xffff ? NEXT : ELSE;
}

static bool has_udp(const struct twin_packet *p, unsigned version, uint32_t network, uint32_t transport)
{
    return twin_has(p, network, version == 4 ? 20 : 40) && twin_has(p, transport, 8);
}

static uint32_t udp_checksum(struct twin_packet *p, unsigned version, uint32_t network, uint32_t at)
{
    if (!has_udp(p, version, network, at))
        return VDP_REASON_parse_truncated;
    if (p->gso_type) {
        if (p->gso_type == USO || p->csum_start < (int64_t)at + 8)
            return VDP_REASON_gso_unsupported;
        twin_store16(p->bytes + at + 6, 0);
        uint16_t sum = twin_local_udp(p, version, network, at);
        twin_store16(p->bytes + at + 6, sum ? sum : 0xffff);
        return NEXT;
    }
    uint32_t reason = twin_finish(p);
    if (reason)
        return reason;
    p->csum_start = at;
    p->csum_offset = 6;
    p->needs_csum = true;
    p->csum_valid = false;
    twin_store16(p->bytes + at + 6, twin_fold(twin_pseudo(p, version, network, UDP, p->length - at)));
    return NEXT;
}

static uint32_t require_udp(struct twin_packet *p, const struct vdp_action *a)
{
    unsigned version = a->a & ~(unsigned)VDP_UDP_ZERO;
    if (!has_udp(p, version, a->b, a->c))
        return VDP_REASON_parse_truncated;
    if (p->needs_csum && p->csum_offset == 6 && p->csum_start == a->c)
        return NEXT;
    if (p->gso_type && p->csum_start < (int64_t)a->c + 8)
        return VDP_REASON_gso_unsupported;
    if (twin_load16(p->bytes + a->c + 6) == 0)
        return a->a & VDP_UDP_ZERO ? NEXT : ELSE;
    if (p->csum_valid || p->gso_type)
        return NEXT;
    uint32_t reason = twin_finish(p), size = p->length - a->c;
    if (reason)
        return reason;
    uint64_t sum = twin_pseudo(p, version, a->b, UDP, size) + twin_sum(p->bytes + a->c, size);
    return twin_fold(sum) == 0xffff ? NEXT : ELSE;
}

static uint32_t hash(struct twin_packet *p, const struct vdp_action *a)
{
    uint32_t number = 0;
    if (!twin_has(p, a->b, 2) || !twin_has(p, a->c, a->d))
        return VDP_REASON_parse_truncated;
    for (uint32_t at = 0; at < a->d; at += 4) {
        number = (number ^ twin_load32(p->bytes + a->c + at)) * 0x9e3779b1u;
        number ^= number >> 15;
    }
    number ^= number >> 16;
    twin_store16(p->bytes + a->b, (twin_load16(p->bytes + a->b) & ~(uint32_t)a->a) | (number & a->a));
    return NEXT;
}

static uint32_t length(struct twin_packet *p, const struct vdp_action *a)
{
    if (!twin_has(p, a->b, 2) || !twin_has(p, a->c, 0))
        return VDP_REASON_parse_truncated;
    int64_t value = (int64_t)p->length - a->c + (int32_t)a->d;
    if (value < 0 || value > 0xffff)
        return VDP_REASON_mtu_exceeded;
    twin_store16(p->bytes + a->b, (uint32_t)value);
    return NEXT;
}

static uint32_t trim(struct twin_packet *p, const struct vdp_action *a)
{
    if (p->gso_type)
        return NEXT;
    if (!twin_has(p, a->b, 2))
        return VDP_REASON_parse_truncated;
    int64_t value = (int64_t)twin_load16(p->bytes + a->b) + (int32_t)a->c;
    if (value < 0 || value > p->length)
        return ELSE;
    p->length = (uint32_t)value;
    return NEXT;
}

static uint32_t ttl(struct twin_packet *p, const struct vdp_action *a)
{
    uint8_t *ip = p->bytes + a->b, before[2];
    if (!twin_has(p, a->b, a->a == 4 ? 20 : 40))
        return VDP_REASON_parse_truncated;
    uint32_t at = a->a == 4 ? 8 : 7;
    if (ip[at] <= 1)
        return ELSE;
    memcpy(before, ip + 8, 2);
    ip[at]--;
    if (a->a == 4) { /* that of an IP header is no unfinished one */
        uint32_t sum = 0xffff & ~twin_load16(ip + 10);
        sum = twin_fold(sum + (0xffff & ~twin_load16(before)) + twin_load16(ip + 8));
        twin_store16(ip + 10, ~sum);
    }
    return NEXT;
}

/* ID, SEQUENCE, STATE. */
static uint32_t number(struct twin *twin, struct twin_packet *p, const struct vdp_action *a)
{
    uint64_t *state = state_of(twin, a->c);
    if (!twin_has(p, a->b, a->op == VDP_OP_ID ? 2 : 4))
        return VDP_REASON_parse_truncated;
    if (!state)
        return VDP_REASON_handler_error;
    if (a->op == VDP_OP_STATE)
        twin_store32(p->bytes + a->b, (uint32_t)*state + a->d);
    else if (a->op == VDP_OP_ID)
        twin_store16(p->bytes + a->b, (uint32_t)*state);
    else
        twin_store32(p->bytes + a->b, (uint32_t)*state);
    *state += a->op == VDP_OP_ID ? p->segments : a->op == VDP_OP_SEQUENCE ? 1 : 0;
    return NEXT;
}

static uint32_t require_sequence(struct twin *twin, const struct twin_packet *p, const struct vdp_action *a)
{
    uint64_t *state = state_of(twin, a->c);
    if (!twin_has(p, a->b, 4))
        return VDP_REASON_parse_truncated;
    if (!state)
        return VDP_REASON_handler_error;
    uint32_t sequence = twin_load32(p->bytes + a->b);
    bool any = a->a & VDP_SEQUENCE_EXPLICIT ? *state >> 32 == 0 : (uint32_t)*state == 0;
    uint32_t ahead = sequence - (uint32_t)*state;
    if (any)
        *state = (*state >> 32 ? *state : UINT64_C(1) << 32) + sequence + 1;
    else if (ahead >> 31)
        return ELSE;
    else
        *state += (uint64_t)ahead + 1;
    return NEXT;
}

static void account(struct twin *twin, struct twin_packet *p, const struct vdp_action *a)
{
    settle(twin, p, true);
    p->has_account = true;
    p->account[0] = a->b;
    p->account[1] = a->c;
    p->account[2] = a->d;
    p->account[3] = p->length > a->a ? p->length - a->a : 0;
}

static void ask(struct twin *twin, const struct twin_packet *p, const struct vdp_action *a)
{
    uint64_t *state = state_of(twin, a->c);
    if (a->a && (!state || !(uint32_t)*state))
        return;
    if (a->a)
        --*state;
    upcall(twin, p, a->b);
}

static uint32_t act(struct twin *twin, struct twin_packet *p, const struct vdp_action *a, const uint8_t *blob)
{
    uint32_t size;
    switch (a->op) {
    case VDP_OP_PULL: return pull(p, a->b);
    case VDP_OP_PUSH: return push(p, blob + a->c, a->b);
    case VDP_OP_SET: return set(p, a, blob + a->c);
    case VDP_OP_COPY:
        if (!twin_has(p, a->b, 1) || !twin_has(p, a->c, 1))
            return VDP_REASON_parse_truncated;
        p->bytes[a->b] = (uint8_t)((p->bytes[a->b] & ~a->a) | (p->bytes[a->c] & a->a));
        return NEXT;
    case VDP_OP_LENGTH: return length(p, a);
    case VDP_OP_ID: case VDP_OP_SEQUENCE: case VDP_OP_STATE: return number(twin, p, a);
    case VDP_OP_CHECKSUM: return checksum(p, a->b, a->c, a->d);
    case VDP_OP_TRIM: return trim(p, a);
    case VDP_OP_REQUIRE_CHECKSUM: return require_checksum(p, a->b, a->c);
    case VDP_OP_REQUIRE_LENGTH:
        size = a->a ? twin_segment_length(p) : p->length;
        return size >= a->b && size <= a->c ? NEXT : ELSE;
    case VDP_OP_REQUIRE_SEQUENCE: return require_sequence(twin, p, a);
    case VDP_OP_TTL: return ttl(p, a);
    case VDP_OP_COUNT: count(twin, a->b, (int64_t)p->length + (int32_t)a->c); return NEXT;
    case VDP_OP_UPCALL: ask(twin, p, a); return NEXT;
    case VDP_OP_META: twin_store32(p->meta + 4 * a->a, a->b); return NEXT;
    case VDP_OP_META_LOAD:
        if (!twin_has(p, a->b, 4))
            return VDP_REASON_parse_truncated;
        twin_store32(p->meta + 4 * a->a, twin_load32(p->bytes + a->b) & a->c);
        return NEXT;
    case VDP_OP_ACCOUNT: account(twin, p, a); return NEXT;
    case VDP_OP_HASH: return hash(p, a);
    case VDP_OP_UDP_CHECKSUM: return udp_checksum(p, a->a, a->b, a->c);
    case VDP_OP_REQUIRE_UDP: return require_udp(p, a);
    default: return VDP_REASON_handler_error; /* HEADER: there is none */
    }
}

static void run(struct twin *twin, struct twin_packet *packet, const struct vdp_program *program, uint32_t at);

/* The rest of the program for each part; the packet is gone. */
static void run_parts(struct twin *twin, struct twin_packet *packet, struct twin_list *parts,
                      const struct vdp_program *program, uint32_t at)
{
    struct twin_packet *next;
    port_of(twin, packet->in_port)->stats.segmented += parts->count - 1;
    parts->head->has_account = packet->has_account;
    memcpy(parts->head->account, packet->account, sizeof packet->account);
    twin_free(twin, packet);
    for (struct twin_packet *part = parts->head; part; part = next) {
        next = part->next;
        run(twin, part, program, at);
    }
}

/* SEGMENT or FRAGMENT; what act() returns, or ENDED. */
enum { ENDED = 0x20000 };
static uint32_t cut(struct twin *twin, struct twin_packet *packet, const struct vdp_program *program,
                    uint32_t at)
{
    const struct vdp_action *a = &program->actions[at];
    struct twin_list parts = {0};
    bool otherwise = false;
    uint32_t reason;
    if (a->op == VDP_OP_SEGMENT) {
        reason = twin_segment(twin, packet, a, &parts);
        if (reason)
            count(twin, a->c, packet->length);
    } else {
        reason = twin_fragment(twin, packet, a->c, a->b, &parts, &otherwise);
    }
    if (reason || otherwise)
        return otherwise ? ELSE : reason;
    run_parts(twin, packet, &parts, program, at + 1);
    return ENDED;
}

static void run(struct twin *twin, struct twin_packet *packet, const struct vdp_program *program, uint32_t at)
{
    for (;;) {
        const struct vdp_action *a = &program->actions[at];
        uint32_t result = NEXT;
        switch (a->op) {
        case VDP_OP_DROP:
            lose(twin, packet, port_of(twin, packet->in_port), false, a->b);
            return;
        case VDP_OP_OUTPUT:
            output(twin, packet, a->b);
            return;
        case VDP_OP_CLONE:
            port_of(twin, packet->in_port)->stats.cloned++;
            run(twin, twin_copy(twin, packet), program, a->b);
            break;
        case VDP_OP_SEGMENT:
        case VDP_OP_FRAGMENT:
            result = cut(twin, packet, program, at);
            break;
        default:
            result = act(twin, packet, a, program->blob);
        }
        if (result == ENDED)
            return;
        if (result != NEXT && result != ELSE) {
            lose(twin, packet, port_of(twin, packet->in_port), false, result);
            return;
        }
        at = result == NEXT ? at + 1 : a->d;
    }
}

void twin_receive(struct twin *twin, uint32_t in, const uint8_t *bytes, uint32_t length,
                  const struct vdp_offload *offload, const struct vdp_program *program)
{
    struct twin_port *port = &twin->ports[in];
    struct twin_packet *packet = twin_new(twin);
    packet->length = length;
    packet->in_port = port->number;
    if (length)
        memcpy(packet->bytes, bytes, length);
    twin_store32(packet->meta, port->packet_type);
    unsigned version = length ? bytes[0] >> 4 : 0;
    if (port->packet_type == VDP_L3)
        twin_store32(packet->meta + 4, version == 4 ? 0x0800 : version == 6 ? 0x86dd : 0);
    port->stats.rx_packets++;
    port->stats.rx_bytes += length;
    uint32_t reason = twin_load(packet, offload);
    port->stats.rx_segments += packet->segments;
    if (reason)
        lose(twin, packet, port, false, reason);
    else
        run(twin, packet, program, 0);
}
