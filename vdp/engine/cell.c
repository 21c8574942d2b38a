/* The GRO cell: TCP segments of a batch that follow one another become one packet, and so do
 * UDP datagrams of one flow and size.  Which of them are joined is what its port's features say
 * (VDP_F_TSO4, VDP_F_TSO6, VDP_F_USO): the super-packets that may come out of it.
 *
 *   offer ─► flow of this packet? ── rules hold ──► payload onto the head's tail   (merged)
 *                    │ none, or the rules say no: the head is closed
 *                    ▼
 *            end of the list; may become the head of its flow
 *   flush ─► heads are completed (lengths, checksums, GSO marks); the list, in order
 *
 * The rules are Linux tcp_gro_receive, udp_gro_receive_segment, inet_gro_receive and
 * ipv6_gro_receive; like there, at most eight flows are open at a time.  Since packets stay in
 * the list where they came, and only the last packet of a flow is open, the order inside a flow
 * never changes.  How long the cell holds what it has is the worker's to say. */
#include "offload.h"

#include "checksum.h"
#include "slab.h"
#include <stdlib.h>
#include <string.h>

enum { OPEN_FLOWS = 8 }; /* MAX_GRO_SKBS */

/* A packet under examination, and what is remembered of a head. */
struct candidate {
    struct vdp_headers at;
    uint32_t size; /* payload bytes */
    uint8_t flags; /* TCP; 0 of UDP */
};

struct open_flow {
    struct vdp_packet *head; /* NULL: free */
    struct vdp_headers at;   /* end grows with the head */
    uint32_t next_sequence;
    uint16_t gso_size; /* payload of the first */
    bool fixed_id;     /* the second packet had the first one's IPv4 id, and DF */
};

struct vdp_cell {
    struct vdp_packet_list list;
    uint32_t turn; /* the flow that makes room for a ninth */
    uint32_t used; /* flows from here on are free, and not looked at */
    struct open_flow flows[OPEN_FLOWS];
};

static const uint8_t *addresses_of(const struct vdp_packet *packet, const struct vdp_headers *at)
{
    return packet->data + at->network +
           (at->version == 4 ? VDP_IPV4_ADDRESSES : VDP_IPV6_ADDRESSES);
}

static uint32_t addresses_size(const struct vdp_headers *at)
{
    return at->version == 4 ? 8 : 32;
}

/* One flow: the bytes before IP, the addresses, the ports and the metadata are equal.  Where the
 * ports are may differ: with IP options or an extension header a packet is still of its flow. */
static bool same_flow(const struct open_flow *flow, const struct vdp_packet *packet,
                      const struct candidate *candidate)
{
    const struct vdp_packet *head = flow->head;
    const struct vdp_headers *at = &candidate->at;
    return head != NULL && flow->at.protocol == at->protocol &&
           /* the ports differ first */
           memcmp(head->data + flow->at.transport, packet->data + at->transport, 4) == 0 &&
           flow->at.network == at->network && flow->at.version == at->version &&
           memcmp(addresses_of(head, at), addresses_of(packet, at), addresses_size(at)) == 0 &&
           memcmp(head->data, packet->data, at->network) == 0 &&
           memcmp(head->meta, packet->meta, sizeof head->meta) == 0;
}

static struct open_flow *find_flow(struct vdp_cell *cell, const struct vdp_packet *packet,
                                   const struct candidate *candidate)
{
    for (unsigned i = 0; i < cell->used; i++)
        if (same_flow(&cell->flows[i], packet, candidate))
            return &cell->flows[i];
    return NULL;
}

/* Nothing may be joined behind a segment that is short or has one of these flags. */
static bool ends_a_merge(const struct candidate *candidate, uint32_t gso_size)
{
    return candidate->size < gso_size ||
           (candidate->flags & (VDP_URG | VDP_PSH | VDP_RST | VDP_SYN | VDP_FIN)) != 0;
}

/* Does its own length say what IP says, and has it a checksum?  One that is cut gets one. */
static bool is_whole_datagram(const struct vdp_packet *packet, const struct vdp_headers *at)
{
    const uint8_t *udp = packet->data + at->transport;
    return vdp_load_be16(udp + VDP_UDP_LENGTH) == at->end - at->transport &&
           vdp_load_be16(udp + VDP_UDP_CHECKSUM) != 0;
}

/* Is its checksum finished, or its transport's own the one that is not? */
static bool has_own_checksum(const struct vdp_packet *packet, const struct vdp_headers *at)
{
    uint32_t start = packet->csum_start - (uint32_t)vdp_packet_headroom(packet);
    return !packet->needs_csum || vdp_offload_is_own(at, start, packet->csum_offset);
}

/* May this packet be part of a merge at all, as its own headers and marks say? */
static bool mergeable(const struct vdp_packet *packet, const struct candidate *candidate)
{
    const uint8_t *ip = packet->data + candidate->at.network;
    if (packet->gso_type != VIRTIO_NET_HDR_GSO_NONE || candidate->size == 0 ||
        candidate->at.end != packet->length || !has_own_checksum(packet, &candidate->at))
        return false;
    if (candidate->at.protocol == VDP_UDP && !is_whole_datagram(packet, &candidate->at))
        return false;
    if (candidate->at.version == 6)
        return true;
    return ip[0] == 0x45 && (ip[VDP_IPV4_FRAGMENT] & 0x80) == 0 && /* reserved bit */
           vdp_checksum(ip, VDP_IPV4_SIZE) == 0;
}

/* An unfinished one has crossed no wire, and is what whoever finishes it makes of it
 * (skb_gro_checksum_validate), as long as the pseudo header's sum is there. */
static bool checksum_good(const struct vdp_packet *packet, const struct vdp_headers *at)
{
    uint32_t size = at->end - at->transport;
    uint64_t sum =
        vdp_checksum_pseudo(packet->data + at->network, at->version, at->protocol, size);
    if (packet->needs_csum)
        return vdp_load_be16(packet->data + at->transport + packet->csum_offset) ==
               vdp_checksum_fold(sum);
    return vdp_checksum_fold(vdp_checksum_add(sum, packet->data + at->transport, size)) == 0xffff;
}

/* inet_gro_flush: the id either counts up or, with DF, stands still; the second packet
 * of a merge decides which (RFC 6864: ids of atomic datagrams mean nothing). */
static bool ipv4_follows(struct open_flow *flow, const uint8_t *first, const uint8_t *next)
{
    if (first[VDP_IPV4_TOS] != next[VDP_IPV4_TOS] || first[VDP_IPV4_TTL] != next[VDP_IPV4_TTL] ||
        first[VDP_IPV4_FRAGMENT] != next[VDP_IPV4_FRAGMENT])
        return false;
    bool df = (next[VDP_IPV4_FRAGMENT] & 0x40) != 0;
    uint16_t step = (uint16_t)(vdp_load_be16(next + VDP_IPV4_ID) - vdp_load_be16(first + VDP_IPV4_ID));
    if (flow->head->segments == 1)
        flow->fixed_id = df && step == 0;
    return step == (flow->fixed_id ? 0 : flow->head->segments);
}

/* All but the payload length: class, flow label, hop limit, extension headers. */
static bool ipv6_follows(const struct open_flow *flow, const uint8_t *first, const uint8_t *next)
{
    uint32_t extensions = flow->at.transport - flow->at.network - VDP_IPV6_SIZE;
    return memcmp(first, next, 4) == 0 && first[VDP_IPV6_NEXT] == next[VDP_IPV6_NEXT] &&
           first[VDP_IPV6_HOP_LIMIT] == next[VDP_IPV6_HOP_LIMIT] &&
           memcmp(first + VDP_IPV6_SIZE, next + VDP_IPV6_SIZE, extensions) == 0;
}

static bool tcp_follows(const struct open_flow *flow, const uint8_t *first, const uint8_t *next,
                        const struct candidate *candidate)
{
    uint32_t options = flow->at.payload - flow->at.transport - VDP_TCP_SIZE;
    uint8_t changed = first[VDP_TCP_FLAGS] ^ next[VDP_TCP_FLAGS];
    return vdp_load_be32(next + VDP_TCP_SEQUENCE) == flow->next_sequence &&
           memcmp(first + VDP_TCP_ACK, next + VDP_TCP_ACK, 4) == 0 &&
           first[VDP_TCP_OFFSET] == next[VDP_TCP_OFFSET] && (candidate->flags & VDP_CWR) == 0 &&
           (changed & ~(VDP_FIN | VDP_PSH | VDP_CWR)) == 0 &&
           memcmp(first + VDP_TCP_WINDOW, next + VDP_TCP_WINDOW, 2) == 0 &&
           memcmp(first + VDP_TCP_URGENT, next + VDP_TCP_URGENT, 2) == 0 &&
           memcmp(first + VDP_TCP_SIZE, next + VDP_TCP_SIZE, options) == 0;
}

/* Is there no room for that many bytes more behind the head? */
static bool is_full(const struct open_flow *flow, uint32_t size)
{
    const struct vdp_packet *head = flow->head;
    return head->segments >= VDP_CELL_SEGMENTS ||
           head->length - flow->at.network + size > VDP_IP_MAX || size > vdp_packet_tailroom(head);
}

/* Is this packet the head's continuation, and is there room for it? */
static bool follows(struct open_flow *flow, const struct vdp_packet *packet,
                    const struct candidate *candidate)
{
    const struct vdp_packet *head = flow->head;
    const struct vdp_headers *at = &flow->at;
    const uint8_t *first = head->data + at->network;
    const uint8_t *next = packet->data + at->network;
    if (candidate->at.transport != at->transport || candidate->size > flow->gso_size ||
        is_full(flow, candidate->size))
        return false;
    return (at->protocol == VDP_UDP ||
            tcp_follows(flow, head->data + at->transport, packet->data + at->transport, candidate)) &&
           (at->version == 4 ? ipv4_follows(flow, first, next) : ipv6_follows(flow, first, next));
}

/* tcp_gro_complete, udp_gro_complete: the head becomes a super-packet, if anything was joined to it. */
static void close_flow(struct vdp_worker *worker, struct open_flow *flow, enum vdp_close why)
{
    struct vdp_packet *head = flow->head;
    flow->head = NULL;
    if (head == NULL)
        return;
    worker->cells_closed[why]++;
    if (head->segments == 1)
        return;
    uint8_t *ip = head->data + flow->at.network;
    uint32_t size = head->length - flow->at.network;
    flow->at.end = head->length;
    if (flow->at.version == 4) {
        vdp_store_be16(ip + VDP_IPV4_TOTAL, (uint16_t)size);
        vdp_store_be16(ip + VDP_IPV4_CHECKSUM, 0);
        vdp_store_be16(ip + VDP_IPV4_CHECKSUM, vdp_checksum(ip, VDP_IPV4_SIZE));
        head->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
    } else {
        vdp_store_be16(ip + VDP_IPV6_PAYLOAD, (uint16_t)(size - VDP_IPV6_SIZE));
        head->gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
    }
    if (flow->at.protocol == VDP_UDP) {
        head->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
        vdp_store_be16(head->data + flow->at.transport + VDP_UDP_LENGTH,
                       (uint16_t)(head->length - flow->at.transport));
    } else if (head->data[flow->at.transport + VDP_TCP_FLAGS] & VDP_CWR) {
        head->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    }
    head->gso_size = flow->gso_size;
    vdp_offload_prepare_checksum(head, &flow->at);
}

static void close_flows(struct vdp_worker *worker, struct vdp_cell *cell, enum vdp_close why)
{
    for (unsigned i = 0; i < cell->used; i++)
        close_flow(worker, &cell->flows[i], why);
    cell->used = 0;
}

static void open_flow(struct vdp_worker *worker, struct vdp_cell *cell, struct vdp_packet *packet,
                      const struct candidate *candidate)
{
    struct open_flow *flow = NULL;
    for (unsigned i = 0; i < cell->used && flow == NULL; i++)
        if (cell->flows[i].head == NULL)
            flow = &cell->flows[i];
    if (flow == NULL && cell->used < OPEN_FLOWS)
        flow = &cell->flows[cell->used++];
    if (flow == NULL) {
        flow = &cell->flows[cell->turn++ % OPEN_FLOWS];
        close_flow(worker, flow, VDP_CLOSE_ROOM);
    }
    const uint8_t *tcp = packet->data + candidate->at.transport;
    *flow = (struct open_flow){
        .head = packet,
        .at = candidate->at,
        .next_sequence = vdp_load_be32(tcp + VDP_TCP_SEQUENCE) + candidate->size,
        .gso_size = (uint16_t)candidate->size,
    };
}

/* The packet's payload goes onto the head's tail, its PSH and FIN into the head's flags. */
static void merge(struct vdp_worker *worker, struct vdp_queue *queue, struct open_flow *flow,
                  struct vdp_packet *packet, const struct candidate *candidate)
{
    struct vdp_packet *head = flow->head;
    memcpy(head->data + head->length, packet->data + candidate->at.payload, candidate->size);
    head->length += candidate->size;
    head->segments++;
    if (flow->at.protocol == VDP_TCP)
        head->data[flow->at.transport + VDP_TCP_FLAGS] |= candidate->flags & (VDP_PSH | VDP_FIN);
    flow->next_sequence += candidate->size;
    if (packet->depth > head->depth)
        head->depth = packet->depth;
    if (!head->waited)
        head->waited = packet->waited;
    vdp_stat_add(&queue->stats.merged, 1);
    vdp_packet_free(worker, packet);
    if (ends_a_merge(candidate, flow->gso_size))
        close_flow(worker, flow, VDP_CLOSE_LAST);
}

/* Does a cell with these features join packets with these headers? */
static bool is_joined(uint32_t features, const struct vdp_headers *at)
{
    if (at->protocol == VDP_UDP)
        return features & VDP_F_USO;
    return at->protocol == VDP_TCP && features & (at->version == 4 ? VDP_F_TSO4 : VDP_F_TSO6);
}

/* Fill in the candidate.  False: nothing that this cell joins. */
static bool examine(struct vdp_worker *worker, struct vdp_cell *cell, uint32_t features,
                    const struct vdp_packet *packet, struct candidate *candidate)
{
    struct vdp_headers *at = &candidate->at;
    if (!vdp_offload_locate(packet, at))
        return false;
    if (at->fragment) { /* of which flow it is cannot be told */
        close_flows(worker, cell, VDP_CLOSE_FRAGMENT);
        return false;
    }
    if (!is_joined(features, at))
        return false;
    const uint8_t *transport = packet->data + at->transport;
    candidate->size = at->end - at->payload;
    candidate->flags = at->protocol == VDP_TCP ? transport[VDP_TCP_FLAGS] : 0;
    return true;
}

static void append(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet)
{
    struct vdp_cell *cell = queue->cell;
    if (cell->list.count >= queue->port->config.tx_queue) {
        vdp_queue_drop(worker, queue, packet, VDP_REASON_cell_full);
        return;
    }
    vdp_list_append(&cell->list, packet);
    vdp_stat_add(&queue->stats.tx_queued, 1);
}

void vdp_cell_offer(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet)
{
    struct candidate candidate;
    if (queue->cell == NULL)
        queue->cell = vdp_slab_take(worker->slab, sizeof *queue->cell);
    struct vdp_cell *cell = queue->cell;
    if (cell == NULL) {
        vdp_queue_drop(worker, queue, packet, VDP_REASON_no_buffer);
        return;
    }
    if (packet->needs_csum && packet->gso_type == VIRTIO_NET_HDR_GSO_NONE &&
        vdp_offload_check_checksum(packet) != VDP_REASON_none) {
        vdp_queue_drop(worker, queue, packet, VDP_REASON_vnet_hdr_invalid);
        return;
    }
    uint32_t features = atomic_load_explicit(&queue->port->features, memory_order_relaxed);
    if (!examine(worker, cell, features, packet, &candidate)) {
        append(worker, queue, packet);
        return;
    }
    struct open_flow *flow = find_flow(cell, packet, &candidate);
    bool joins = mergeable(packet, &candidate);
    bool opens = joins && !ends_a_merge(&candidate, 1);
    joins = joins && flow != NULL && follows(flow, packet, &candidate);
    /* Summing up the payload comes last: only for what would be merged or held. */
    if ((joins || opens) && !checksum_good(packet, &candidate.at))
        joins = opens = false;
    if (joins) {
        merge(worker, queue, flow, packet, &candidate);
        return;
    }
    if (flow != NULL)
        close_flow(worker, flow,
                   is_full(flow, candidate.size) ? VDP_CLOSE_FULL : VDP_CLOSE_DIFFERS);
    if (opens && cell->list.count < queue->port->config.tx_queue)
        open_flow(worker, cell, packet, &candidate);
    append(worker, queue, packet);
}

void vdp_cell_flush(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet_list *out)
{
    struct vdp_cell *cell = queue->cell;
    if (cell == NULL)
        return;
    close_flows(worker, cell, VDP_CLOSE_FLUSH);
    vdp_stat_sub(&queue->stats.tx_queued, cell->list.count);
    if (cell->list.head == NULL)
        return;
    if (out->tail != NULL)
        out->tail->next = cell->list.head;
    else
        out->head = cell->list.head;
    out->tail = cell->list.tail;
    out->count += cell->list.count;
    cell->list = (struct vdp_packet_list){0};
}

/* Datagrams are not waited for: a flow of them may end with any. */
bool vdp_cell_is_open(const struct vdp_queue *queue)
{
    const struct vdp_cell *cell = queue->cell;
    bool is_open = false;
    for (unsigned i = 0; cell != NULL && i < cell->used; i++)
        is_open = is_open ||
                  (cell->flows[i].head != NULL && cell->flows[i].at.protocol == VDP_TCP);
    return is_open;
}

void vdp_cell_free(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct vdp_packet_list waiting = {0};
    struct vdp_packet *packet;
    vdp_cell_flush(worker, queue, &waiting);
    while ((packet = vdp_list_take(&waiting)) != NULL)
        vdp_queue_drop(worker, queue, packet, VDP_REASON_shutdown);
    vdp_slab_give(worker->slab, queue->cell, sizeof *queue->cell);
    queue->cell = NULL;
}
