/* Running a program on a packet: one function an action.
 *
 * An action returns NEXT, ELSE (go on at its `d`), or the reason under which the packet
 * is dropped.  The program was checked (program.c); the packet is checked here, access by
 * access.  DROP, OUTPUT, GROUP and a SEGMENT or FRAGMENT that cuts end the run. */
#include "checksum.h"
#include "flow.h"
#include "group.h"
#include "header.h"
#include "offload.h"
#include "order.h"
#include "tap.h"
#include "udp.h"
#include "upcall.h"

enum { NEXT = VDP_REASON_none, ELSE = 0x10000 };

static uint32_t pull(struct vdp_packet *packet, const struct vdp_action *action)
{
    if (!vdp_packet_has(packet, 0, action->b))
        return VDP_REASON_parse_truncated;
    packet->data += action->b;
    packet->length -= action->b;
    packet->csum_valid = false; /* it was said of the header in front */
    if (packet->needs_csum && packet->buffer + packet->csum_start < packet->data) {
        /* The header with the unfinished checksum is gone (Linux skb_postpull_rcsum). */
        if (packet->gso_type)
            return VDP_REASON_gso_invalid;
        packet->needs_csum = false;
    }
    return NEXT;
}

/* Move the packet back to where a received one starts, so that headers fit in front. */
static void make_headroom(struct vdp_packet *packet)
{
    uint8_t *data = packet->buffer + VDP_BUFFER_SIZE - 64 - packet->length;
    uint8_t *home = packet->buffer + VDP_HEADROOM + 64;

    if (data > home)
        data = home;
    packet->csum_start = (uint32_t)((int64_t)packet->csum_start + (data - packet->data));
    memmove(data, packet->data, packet->length);
    packet->data = data;
}

static uint32_t push(struct vdp_packet *packet, const struct vdp_action *action, const uint8_t *blob)
{
    uint32_t size = action->b;

    if (size > VDP_MAX_LENGTH - packet->length)
        return VDP_REASON_mtu_exceeded;
    /* 64 bytes stay for a vnet header. */
    if (vdp_packet_headroom(packet) < size + 64)
        make_headroom(packet);
    if (vdp_packet_headroom(packet) < size + 64)
        return VDP_REASON_mtu_exceeded;
    packet->data -= size;
    packet->length += size;
    memcpy(packet->data, blob + action->c, size);
    return NEXT;
}

/* The checksum at `field` after bytes at `offset` changed.  An unfinished checksum holds
 * the sum of the pseudo header, not inverted: what it covers is not in it yet. */
static void adjust(struct vdp_packet *packet, uint32_t field, uint32_t offset, const uint8_t *before,
                   uint32_t size)
{
    uint8_t *checksum = packet->data + field;
    const uint8_t *after = packet->data + offset;
    bool odd = (field ^ offset) & 1;

    if (packet->needs_csum && checksum == packet->buffer + packet->csum_start + packet->csum_offset) {
        if (after >= packet->buffer + packet->csum_start)
            return;
        vdp_store_be16(checksum, (uint16_t)~vdp_load_be16(checksum));
        vdp_checksum_adjust(checksum, before, after, size, odd);
        vdp_store_be16(checksum, (uint16_t)~vdp_load_be16(checksum));
        return;
    }
    vdp_checksum_adjust(checksum, before, after, size, odd);
}

static uint32_t set(struct vdp_packet *packet, const struct vdp_action *action, const uint8_t *blob)
{
    uint32_t size = action->a;
    const uint8_t *mask = blob + action->c, *value = mask + size;
    uint8_t before[16];

    if (!vdp_packet_has(packet, action->b, size) ||
        (action->d != UINT32_MAX && !vdp_packet_has(packet, action->d, 2)))
        return VDP_REASON_parse_truncated;
    uint8_t *bytes = packet->data + action->b;
    memcpy(before, bytes, size);
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((bytes[i] & ~mask[i]) | (value[i] & mask[i]));
    if (action->d != UINT32_MAX)
        adjust(packet, action->d, action->b, before, size);
    return NEXT;
}

static uint32_t copy(struct vdp_packet *packet, const struct vdp_action *action)
{
    if (!vdp_packet_has(packet, action->b, 1) || !vdp_packet_has(packet, action->c, 1))
        return VDP_REASON_parse_truncated;
    uint8_t *to = packet->data + action->b;
    *to = (uint8_t)((*to & ~action->a) | (packet->data[action->c] & action->a));
    return NEXT;
}

static uint32_t set_length(struct vdp_packet *packet, const struct vdp_action *action)
{
    if (!vdp_packet_has(packet, action->b, 2) || action->c > packet->length)
        return VDP_REASON_parse_truncated;
    int64_t length = (int64_t)packet->length - action->c + (int32_t)action->d;
    if (length < 0 || length > UINT16_MAX)
        return VDP_REASON_mtu_exceeded;
    vdp_store_be16(packet->data + action->b, (uint16_t)length);
    return NEXT;
}

static uint32_t number(struct vdp_worker *worker, struct vdp_packet *packet,
                       const struct vdp_action *action, uint32_t size)
{
    struct vdp_state *state = vdp_state_find(worker->engine, action->c);

    if (!vdp_packet_has(packet, action->b, size))
        return VDP_REASON_parse_truncated;
    if (!state)
        return VDP_REASON_handler_error;
    if (size == 4)
        vdp_order_begin(worker, state);
    uint32_t value = vdp_state_take(state, size == 2 ? packet->segments : 1);
    if (size == 2)
        vdp_store_be16(packet->data + action->b, (uint16_t)value);
    else
        vdp_store_be32(packet->data + action->b, value);
    return NEXT;
}

static uint32_t state_number(struct vdp_worker *worker, struct vdp_packet *packet,
                             const struct vdp_action *action)
{
    struct vdp_state *state = vdp_state_find(worker->engine, action->c);

    if (!vdp_packet_has(packet, action->b, 4))
        return VDP_REASON_parse_truncated;
    if (!state)
        return VDP_REASON_handler_error;
    vdp_store_be32(packet->data + action->b, vdp_state_number(state) + action->d);
    return NEXT;
}

static uint32_t write_header(struct vdp_worker *worker, struct vdp_packet *packet,
                             const struct vdp_action *action)
{
    uint8_t bytes[VDP_MAX_HEADER];
    uint32_t size = vdp_header_read(worker->engine, action->c, bytes);

    if (!size)
        return VDP_REASON_handler_error;
    if (!vdp_packet_has(packet, action->b, size))
        return VDP_REASON_parse_truncated;
    memcpy(packet->data + action->b, bytes, size);
    return NEXT;
}

static bool spend(struct vdp_worker *worker, uint32_t id)
{
    struct vdp_state *state = vdp_state_find(worker->engine, id);
    return state && vdp_state_spend(state);
}

static bool is_unfinished_inside(const struct vdp_packet *packet, uint32_t from, uint32_t size)
{
    const uint8_t *field = packet->buffer + packet->csum_start + packet->csum_offset;
    return packet->needs_csum && field + 2 > packet->data + from && field < packet->data + from + size;
}

/* Before a checksum over [from, from + size) is computed or verified, an unfinished one
 * inside must be there; a super-packet's can only be finished by cutting it. */
static uint32_t finish_inside(struct vdp_packet *packet, uint32_t from, uint32_t size)
{
    if (packet->gso_type || !is_unfinished_inside(packet, from, size))
        return NEXT;
    return vdp_offload_finish_checksum(packet);
}

static bool starts_before_checksum(const struct vdp_packet *packet, uint32_t from)
{
    return packet->data + from <= packet->buffer + packet->csum_start;
}

static uint32_t checksum(struct vdp_packet *packet, const struct vdp_action *action)
{
    uint32_t from = action->c;

    if (from > packet->length)
        return VDP_REASON_parse_truncated;
    uint32_t size = action->d ? action->d : packet->length - from;
    if (!vdp_packet_has(packet, action->b, 2) || !vdp_packet_has(packet, from, size))
        return VDP_REASON_parse_truncated;
    uint32_t reason = finish_inside(packet, from, size);
    if (reason != NEXT)
        return reason;
    vdp_store_be16(packet->data + action->b, 0);
    bool is_segments = packet->gso_type && packet->gso_type != VIRTIO_NET_HDR_GSO_UDP_L4 &&
                       !action->d && starts_before_checksum(packet, from);
    vdp_store_be16(packet->data + action->b, is_segments ? vdp_offload_local_checksum(packet, from)
                                                         : vdp_checksum(packet->data + from, size));
    return NEXT;
}

static uint32_t require_udp(struct vdp_packet *packet, const struct vdp_action *action)
{
    bool good = false;
    uint32_t reason = vdp_udp_check(packet, action->a & ~(unsigned)VDP_UDP_ZERO, action->b, action->c,
                                    (action->a & VDP_UDP_ZERO) != 0, &good);
    if (reason != NEXT)
        return reason;
    return good ? NEXT : ELSE;
}

static uint32_t hash(struct vdp_packet *packet, const struct vdp_action *action)
{
    if (!vdp_packet_has(packet, action->b, 2) || !vdp_packet_has(packet, action->c, action->d))
        return VDP_REASON_parse_truncated;
    uint32_t number = vdp_udp_hash(packet->data + action->c, action->d);
    uint32_t before = vdp_load_be16(packet->data + action->b);
    number ^= number >> 16;
    vdp_store_be16(packet->data + action->b,
                   (uint16_t)((before & ~(uint32_t)action->a) | (number & action->a)));
    return NEXT;
}

static uint32_t require_checksum(struct vdp_packet *packet, const struct vdp_action *action)
{
    uint32_t from = action->b;

    if (from > packet->length)
        return VDP_REASON_parse_truncated;
    uint32_t size = action->c ? action->c : packet->length - from;
    if (!vdp_packet_has(packet, from, size))
        return VDP_REASON_parse_truncated;
    if (packet->gso_type && is_unfinished_inside(packet, from, size))
        return NEXT;
    uint32_t reason = finish_inside(packet, from, size);
    if (reason != NEXT)
        return reason;
    uint64_t sum = vdp_checksum_add(0, packet->data + from, size);
    return vdp_checksum_fold(sum) == 0xffff ? NEXT : ELSE;
}

static uint32_t trim(struct vdp_packet *packet, const struct vdp_action *action)
{
    if (packet->gso_type)
        return NEXT;
    if (!vdp_packet_has(packet, action->b, 2))
        return VDP_REASON_parse_truncated;
    int64_t length = (int64_t)vdp_load_be16(packet->data + action->b) + (int32_t)action->c;
    if (length < 0 || length > packet->length)
        return ELSE;
    packet->length = (uint32_t)length;
    return NEXT;
}

static uint32_t require_length(const struct vdp_packet *packet, const struct vdp_action *action)
{
    uint32_t length = action->a ? vdp_offload_segment_length(packet) : packet->length;

    return length >= action->b && length <= action->c ? NEXT : ELSE;
}

/* RFC 2890 section 2.2.  Not explicit is Linux's way (net/ipv4/ip_tunnel.c, ip_tunnel_rcv). */
static uint32_t require_sequence(struct vdp_worker *worker, const struct vdp_packet *packet,
                                 const struct vdp_action *action)
{
    struct vdp_state *state = vdp_state_find(worker->engine, action->c);

    if (!vdp_packet_has(packet, action->b, 4))
        return VDP_REASON_parse_truncated;
    if (!state)
        return VDP_REASON_handler_error;
    uint32_t sequence = vdp_load_be32(packet->data + action->b);
    const struct vdp_arrival arrival = {
        .worker = worker->index,
        .serial = packet->waited ? packet->waited : vdp_worker_serial(worker),
        .waited = packet->waited,
        .shared = worker->engine->config.workers > 1,
    };
    return vdp_state_pass(state, sequence, action->a, &arrival) ? NEXT : ELSE;
}

static uint32_t ttl(struct vdp_packet *packet, const struct vdp_action *action)
{
    bool v4 = action->a == 4;
    uint32_t at = action->b + (v4 ? 8 : 7);

    if (!vdp_packet_has(packet, action->b, v4 ? 20 : 40))
        return VDP_REASON_parse_truncated;
    uint8_t before[2] = {packet->data[at], packet->data[at + 1]};
    if (before[0] <= 1)
        return ELSE;
    packet->data[at]--;
    if (v4)
        vdp_checksum_adjust(packet->data + action->b + 10, before, packet->data + at, 2, false);
    return NEXT;
}

static void count(struct vdp_worker *worker, const struct vdp_packet *packet,
                  const struct vdp_action *action)
{
    int64_t bytes = (int64_t)packet->length + (int32_t)action->c;

    vdp_counter_add(worker, action->b, bytes > 0 ? (uint64_t)bytes : 0);
}

static void account(struct vdp_worker *worker, struct vdp_packet *packet,
                    const struct vdp_action *action)
{
    vdp_account_sent(worker, packet);
    packet->mark.counter = action->b;
    vdp_tap_packet(worker, VDP_TAP_ENCAP, packet->in_port, packet);
    packet->account =
        (struct vdp_account){.sent = action->b,
                             .lost = action->c,
                             .lost_too = action->d,
                             .bytes = packet->length > action->a ? packet->length - action->a : 0};
}

static uint32_t meta_load(struct vdp_packet *packet, const struct vdp_action *action)
{
    if (!vdp_packet_has(packet, action->b, 4))
        return VDP_REASON_parse_truncated;
    vdp_store_be32(packet->meta + 4 * action->a, vdp_load_be32(packet->data + action->b) & action->c);
    return NEXT;
}

void vdp_execute_output(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t port)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, port);
    struct vdp_queue *origin = vdp_worker_queue(worker, packet->in_port);

    if (!queue) {
        vdp_packet_drop(worker, packet, VDP_REASON_no_port);
        return;
    }
    if (queue->port->config.type == VDP_PORT_CELL && ++packet->depth > VDP_MAX_DEPTH) {
        vdp_packet_drop(worker, packet, VDP_REASON_loop_guard);
        return;
    }
    if (origin)
        vdp_stat_add(&origin->stats.forwarded, 1);
    vdp_queue_offer(worker, queue, packet);
}

static void run_copy(struct vdp_worker *worker, const struct vdp_compiled *program,
                  struct vdp_packet *packet, uint32_t target)
{
    struct vdp_queue *origin = vdp_worker_queue(worker, packet->in_port);
    struct vdp_packet *copied = vdp_packet_copy(worker, packet);

    if (origin)
        vdp_stat_add(&origin->stats.cloned, 1);
    if (copied) {
        vdp_execute(worker, program, copied, target);
    } else if (origin) {
        vdp_stat_add(&origin->stats.dropped, 1);
        vdp_queue_count_drop(origin, packet, VDP_REASON_no_buffer);
    }
}

/* The rest of the program, for each segment or fragment. */
struct rest {
    struct vdp_worker *worker;
    const struct vdp_compiled *program;
    uint32_t start, in_port;
    uint32_t emitted;
};

static void run_segment(void *context, struct vdp_packet *segment)
{
    struct rest *rest = context;
    struct vdp_queue *origin = vdp_worker_queue(rest->worker, rest->in_port);

    if (rest->emitted++ && origin)
        vdp_stat_add(&origin->stats.segmented, 1);
    if (segment) {
        vdp_execute(rest->worker, rest->program, segment, rest->start);
    } else if (origin) {
        vdp_stat_add(&origin->stats.dropped, 1);
        vdp_queue_count_drop(origin, NULL, VDP_REASON_no_buffer);
    }
}

static bool try_segment(struct vdp_worker *worker, const struct vdp_compiled *program,
                        struct vdp_packet *packet, uint32_t at, uint32_t *reason)
{
    const struct vdp_action *action = &program->actions[at];
    struct rest rest = {worker, program, at + 1, packet->in_port, 0};

    *reason = NEXT;
    if (!packet->gso_type) {
        if (packet->needs_csum && !(action->a & VDP_F_CSUM))
            *reason = vdp_offload_finish_checksum(packet);
        return false;
    }
    if (!action->b && vdp_offload_covered(packet, action->a))
        return false;
    if (action->a & VDP_F_GRE_TSO && vdp_offload_fits_gre(packet, action->d)) {
        if (!(action->a & VDP_SEGMENT_EQUAL))
            return false;
        return vdp_segment_even(worker, packet, run_segment, &rest);
    }
    *reason = vdp_segment(worker, packet, action->a, action->b, run_segment, &rest);
    return *reason == VDP_REASON_none;
}

/* True: cut, and the packet is gone.  False: the reason, or NEXT, for the packet. */
static bool segment(struct vdp_worker *worker, const struct vdp_compiled *program,
                    struct vdp_packet *packet, uint32_t at, uint32_t *reason)
{
    bool is_cut = try_segment(worker, program, packet, at, reason);
    uint32_t failed = program->actions[at].c;

    if (failed && !is_cut && *reason != NEXT && *reason != VDP_REASON_none)
        vdp_counter_add(worker, failed, packet->length);
    return is_cut;
}

/* As segment(), for IPv4 fragments. */
static bool fragment(struct vdp_worker *worker, const struct vdp_compiled *program,
                     struct vdp_packet *packet, uint32_t at, uint32_t *reason)
{
    const struct vdp_action *action = &program->actions[at];
    struct rest rest = {worker, program, at + 1, packet->in_port, 0};
    struct vdp_fragments fragments;

    *reason = vdp_fragment_plan(packet, action->c, action->b, &fragments);
    if (*reason != VDP_REASON_none)
        return false;
    if (fragments.count > 1) {
        *reason = vdp_fragment(worker, packet, &fragments, run_segment, &rest);
        return *reason == VDP_REASON_none;
    }
    if (fragments.count == 0)
        *reason = ELSE;
    else
        packet->length = fragments.end;
    return false;
}

/* The run of a program: each action's end goes back to the one switch, so that an action costs
 * one jump. */
void vdp_execute(struct vdp_worker *worker, const struct vdp_compiled *program,
                 struct vdp_packet *packet, uint32_t start)
{
    const uint8_t *blob = vdp_compiled_blob(program);
    uint32_t at = start, result;

    for (;;) {
        const struct vdp_action *action = &program->actions[at];

        result = NEXT;
        switch (action->op) {
        case VDP_OP_DROP:
            vdp_packet_drop(worker, packet, action->b);
            return;
        case VDP_OP_OUTPUT:
            vdp_execute_output(worker, packet, action->b);
            return;
        case VDP_OP_GROUP:
            vdp_group_enter(worker, packet, action->b, action->c);
            return;
        case VDP_OP_CLONE:
            run_copy(worker, program, packet, action->b);
            break;
        case VDP_OP_SEGMENT:
            if (segment(worker, program, packet, at, &result))
                return;
            break;
        case VDP_OP_FRAGMENT:
            if (fragment(worker, program, packet, at, &result))
                return;
            break;
        case VDP_OP_PULL:
            result = pull(packet, action);
            break;
        case VDP_OP_PUSH:
            result = push(packet, action, blob);
            break;
        case VDP_OP_SET:
            result = set(packet, action, blob);
            break;
        case VDP_OP_COPY:
            result = copy(packet, action);
            break;
        case VDP_OP_LENGTH:
            result = set_length(packet, action);
            break;
        case VDP_OP_ID:
            result = number(worker, packet, action, 2);
            break;
        case VDP_OP_SEQUENCE:
            result = number(worker, packet, action, 4);
            break;
        case VDP_OP_STATE:
            result = state_number(worker, packet, action);
            break;
        case VDP_OP_HEADER:
            result = write_header(worker, packet, action);
            break;
        case VDP_OP_CHECKSUM:
            result = checksum(packet, action);
            break;
        case VDP_OP_HASH:
            result = hash(packet, action);
            break;
        case VDP_OP_UDP_CHECKSUM:
            result = vdp_udp_leave_checksum(packet, action->a, action->b, action->c);
            break;
        case VDP_OP_REQUIRE_UDP:
            result = require_udp(packet, action);
            break;
        case VDP_OP_TRIM:
            result = trim(packet, action);
            break;
        case VDP_OP_REQUIRE_CHECKSUM:
            result = require_checksum(packet, action);
            break;
        case VDP_OP_REQUIRE_LENGTH:
            result = require_length(packet, action);
            break;
        case VDP_OP_REQUIRE_SEQUENCE:
            result = require_sequence(worker, packet, action);
            break;
        case VDP_OP_TTL:
            result = ttl(packet, action);
            break;
        case VDP_OP_COUNT:
            count(worker, packet, action);
            break;
        case VDP_OP_ACCOUNT:
            account(worker, packet, action);
            break;
        case VDP_OP_UPCALL:
            if (!action->a || spend(worker, action->c))
                vdp_upcall_copy(worker, packet, action->b);
            break;
        case VDP_OP_META:
            vdp_store_be32(packet->meta + 4 * action->a, action->b);
            break;
        case VDP_OP_META_LOAD:
            result = meta_load(packet, action);
            break;
        default:
            result = VDP_REASON_handler_error;
        }
        if (result == NEXT) {
            at++;
        } else if (result == ELSE) {
            at = action->d;
        } else {
            vdp_packet_drop(worker, packet, result);
            return;
        }
    }
}
