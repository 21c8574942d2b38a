/* What the engine's files share: worker, port, queue.
 *
 *   engine ── workers[] ── queues[port number] ── one struct vdp_queue
 *        └─── ports[port number] (what is common to a port's queues)
 *
 * A queue is one port as one worker sees it: the statistics, the packets waiting to be
 * sent, the flows of what comes in there, the upcalls.  Only its worker writes it; the
 * control side reads the statistics (relaxed atomics).  A port with fewer descriptors
 * than workers is received from by some workers only, but every worker may send to it.
 *
 * The parts: packet.c (pool), classify.c, flow.c, program.c, execute.c, upcall.c,
 * queue.c (offer, drop, fail), refusal.c, worker.c (loop, mailbox), wait.c (polling, sleeping),
 * port.c (add, remove), control.c (what goes first), tune.c (under overload), counter.c, group.c, header.c, port_*.c (I/O), ring.c, xdp.c, cell.c, segment.c,
 * checksum.c, tap.c (copies for who looks on), filter.c. */
#ifndef VDP_INTERNAL_H
#define VDP_INTERNAL_H

#include "packet.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>

enum vdp_reason {
#define VDP_REASON(name, text) VDP_REASON_##name,
#include "reasons.def"
#undef VDP_REASON
    VDP_REASON_COUNT
};

enum { VDP_LINE = 64 }; /* bytes of a cache line */

/* Zeroed memory that begins on a cache line; NULL where there is none.  For free(). */
static inline void *vdp_alloc_lines(size_t size)
{
    const size_t whole = (size + VDP_LINE - 1) / VDP_LINE * VDP_LINE;
    void *made = aligned_alloc(VDP_LINE, whole);

    return made ? memset(made, 0, whole) : NULL;
}

struct vdp_worker;
struct vdp_port;
struct vdp_queue;
struct vdp_classifier;
struct vdp_cell;
struct vdp_compiled;
struct vdp_tap;

/* Numbers that the worker writes and the control side reads meanwhile. */
static inline void vdp_stat_add(uint64_t *stat, uint64_t n)
{
    __atomic_store_n(stat, *stat + n, __ATOMIC_RELAXED);
}
static inline void vdp_stat_sub(uint64_t *stat, uint64_t n)
{
    __atomic_store_n(stat, *stat - n, __ATOMIC_RELAXED);
}
static inline uint64_t vdp_stat_read(const uint64_t *stat)
{
    return __atomic_load_n(stat, __ATOMIC_ACQUIRE);
}

/* A FIFO of packets, linked by `next`. */
struct vdp_packet_list {
    struct vdp_packet *head, *tail;
    uint32_t count;
};

static inline void vdp_list_append(struct vdp_packet_list *list, struct vdp_packet *packet)
{
    packet->next = NULL;
    if (list->tail)
        list->tail->next = packet;
    else
        list->head = packet;
    list->tail = packet;
    list->count++;
}
static inline struct vdp_packet *vdp_list_take(struct vdp_packet_list *list)
{
    struct vdp_packet *packet = list->head;

    if (packet) {
        list->head = packet->next;
        if (!list->head)
            list->tail = NULL;
        list->count--;
        packet->next = NULL;
    }
    return packet;
}

/* What a kind of port does.  `fd` is the descriptor that is ready.  All descriptors are
 * non-blocking (port.c sees to it).
 *
 * receive: batch[0..max) are empty packets (vdp_packet_reset: data VDP_HEADROOM + 64 into
 *   the buffer, so that a vnet header fits in front).  Fill data, length and offload state
 *   of the first n and return n; 0 when nothing was there.  A frame that is bad is
 *   counted by vdp_queue_reject and not among the n: its packet is reset, or another
 *   swapped into its place.  vdp_queue_set_meta before the offload state is loaded.  The
 *   core then sets in_port, counts rx_*, classifies and executes.  -errno: the port has failed (the core calls
 *   vdp_queue_fail): EBADFD, EBADF, ENODEV, ENETDOWN, ENXIO, EIO.
 * flush: send what waits in queue->tx, oldest first, to queue->tx_fd.  What was sent:
 *   vdp_queue_sent.  What the kernel refuses for itself: vdp_queue_drop(tx_error).  On
 *   EAGAIN leave the rest and return it: the core arms EPOLLOUT.  Likewise ENOBUFS (a
 *   queueing discipline is full) and EBUSY (the device is): no event tells of their room, so
 *   the core tries again, in some milliseconds and some ten microseconds.
 *   Another -errno: the port has failed.  0 otherwise.
 * open, close (either may be NULL): the kind's own state in port->state; called on the
 *   control thread while no worker knows the port.
 * opened (may be NULL): waits for what `open` began beside; before the port's first packet.
 * ring (may be NULL): frames that fit the receive ring of a queue; 0: there is none. */
struct vdp_port_ops {
    int (*open)(struct vdp_port *port);
    void (*close)(struct vdp_port *port);
    void (*opened)(struct vdp_port *port);
    uint32_t (*ring)(const struct vdp_port *port);
    int (*receive)(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                   struct vdp_packet **batch, int max);
    int (*flush)(struct vdp_worker *worker, struct vdp_queue *queue);
};

/* port.c.  Before the first packet of any port that was added since. */
void vdp_ports_opened(struct vdp_engine *engine);

extern const struct vdp_port_ops vdp_port_memory_ops, vdp_port_tap_ops, vdp_port_tun_ops,
    vdp_port_packet_ops, vdp_port_ip_ops, vdp_port_ip6_ops;

/* Begins on a cache line, which holds what each packet asks for. */
struct vdp_port {
    const struct vdp_port_ops *ops; /* NULL: a cell */
    uint32_t number;
    _Atomic uint32_t up;
    _Atomic uint32_t features;
    _Atomic int32_t error; /* last errno of its I/O */
    _Atomic uint32_t refused; /* of the features, what the kernel has refused in truth */
    struct vdp_port_config config; /* as given; features above is the present one */
    struct vdp_engine *engine;
    void *state; /* of the kind */
};

/* Tokens a second, at most `burst` at once. */
struct vdp_bucket {
    uint64_t rate, burst;
    uint64_t tokens_ns; /* tokens times 1e9 */
    uint64_t filled_ns; /* clock of the last refill */
};

enum vdp_upcall_line { VDP_UPCALL_CONTROL = 0, VDP_UPCALL_DATA, VDP_UPCALL_LINES };

enum { VDP_SHARES = 16 };

/* Begins on a cache line.  That one and the next are all that a packet through a cell
 * touches (VDP_QUEUE_HOT): with many tunnels each is another cell's. */
struct vdp_queue {
    struct vdp_port *port;
    struct vdp_worker *worker;
    struct vdp_cell *cell;             /* cell.c; NULL until the first offer */
    struct vdp_classifier *classifier; /* flows of what comes in here; NULL: none yet */
    struct vdp_queue *next_cell;
    bool cell_ready;           /* in worker->cell_ready */
    bool failed;
    bool blocked;              /* waits for EPOLLOUT, or: */
    bool no_room;              /* for worker->retry_ns: the device has no room, which epoll does not tell */
    bool tx_ready;             /* in worker->tx_ready */
    bool memory_ready;         /* in worker->memory_ready */
    int tx_fd;                 /* -1: none */
    uint32_t batch_size;       /* packets to receive at once next time; 0: VDP_BATCH */
    uint64_t *drops;           /* [VDP_MAX_REASONS], allocated at the first drop */
    struct vdp_port_stats stats; /* error and up are the port's, not kept here */

    struct vdp_packet_list tx; /* waits for the kernel; stats.tx_queued counts it */
    struct vdp_queue *next_tx, *next_memory, *next_upcall;
    uint32_t refusals;                 /* of super-packets, one after the other */
    uint32_t given;                    /* the first of tx: copied to where the kernel takes them */
    /* Packets that wait to be taken: control traffic, and all else (upcall.c). */
    struct vdp_packet_list upcalls[VDP_UPCALL_LINES];
    struct vdp_bucket upcall_bucket, control_bucket, action_bucket;
    bool is_fair;                      /* each in-port has a part of tx (tune.c) */
    uint32_t shares[VDP_SHARES];       /* packets in tx by in-port, while it is */
    void *state;                       /* of the port's kind */
};
enum { VDP_QUEUE_HOT = 2 * VDP_LINE };
_Static_assert(offsetof(struct vdp_queue, stats) == VDP_LINE, "the line after the first");

struct vdp_upcall_slot; /* upcall.c: what a held packet of the pool is held for */
struct vdp_header;      /* header.c */
struct vdp_timing;      /* stage.c */
struct vdp_group;       /* group.c: ports */
struct vdp_group_line;  /* and packets that are being copied to them */
struct vdp_flow_table;  /* flow.c */
struct vdp_slab;        /* slab.c */

enum { VDP_ORDERED = 64 }; /* states that a worker may hold at once */
enum { VDP_COUNTER_CHUNK = 1024, VDP_COUNTER_CHUNKS = 4096 };

struct vdp_worker {
    struct vdp_engine *engine;
    uint32_t index;
    uint32_t tapped; /* bits of the open taps */
    uint64_t now_ns; /* the clock of this iteration */
    struct vdp_timing *timing; /* stage.c; NULL: nobody times it */
    struct vdp_worker_stats stats;
    uint64_t cells_closed[VDP_CLOSES];

    struct vdp_queue **queues; /* by port number; NULL where there is none */
    uint32_t queue_size;
    struct vdp_queue *tx_ready, *cell_ready, *cell_last;

    /* packet.c: the pool */
    uint8_t *memory;
    size_t memory_size;
    struct vdp_packet *packets; /* [packet_count] */
    uint32_t packet_count;
    struct vdp_packet *free;
    uint32_t free_count;
    struct vdp_packet *batch[VDP_BATCH]; /* empty ones, for the next receive */
    uint32_t batch_count;
    struct vdp_packet *reserve; /* receives what is dropped as no_buffer */

    struct vdp_slab *slab; /* what packets touch: flows, programs, queues, cells */
    struct vdp_flow_table *flows;
    struct vdp_group_line *group_line; /* NULL until the first */
    struct vdp_upcall_slot *upcall_slots; /* one a packet */
    struct vdp_queue *upcall_turn, *upcall_last; /* queues with waiting upcalls, in turn */
    uint32_t held;
    uint32_t upcall_rate; /* in force, also for ports that are added (tune.c) */
    bool fair_queues;
    uint32_t upcall_serial;
    bool signal; /* the event fd is due */
    uint32_t tap_serial; /* of the last packet that a tap saw first */

    /* order.c: states whose numbers nobody else takes until what waits in queues is sent */
    struct vdp_state *ordered[VDP_ORDERED];
    uint32_t order_count;
    _Atomic uint32_t blocked; /* queues that wait for EPOLLOUT */

    /* written by the control side, chunk by chunk, before a program may use it */
    struct vdp_count *_Atomic counters[VDP_COUNTER_CHUNKS];

    int epoll_fd, wake_fd;
    uint64_t resumed_ns;    /* when epoll_wait last returned */
    uint64_t poll_ns;       /* how long to poll before it sleeps (wait.c) */
    uint64_t retry_ns;      /* when queues with no room try again; 0: there are none */
    uint64_t hold_until_ns; /* when cells that wait for more are flushed; 0: none does */
    _Atomic uint64_t turns; /* odd: in the middle of a batch, the books do not balance */
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t done;
    int (*call)(struct vdp_worker *worker, void *argument); /* NULL: none */
    void *argument;
    int result;
    uint32_t serial; /* vdp_worker_serial */
    bool starting;   /* its thread has not said yet that it runs */
    _Atomic bool stopping;
    struct vdp_queue *memory_ready; /* memory ports with something to do */
    _Atomic bool attention;         /* one of the above is set */
    uint8_t apart[VDP_LINE];        /* from the next worker's */
};

struct vdp_engine {
    struct vdp_engine_config config;
    struct vdp_worker *workers; /* [config.workers] */
    struct vdp_port **ports;    /* by number */
    uint32_t port_size, port_count, next_port;
    uint64_t seed;              /* of the flow hash */
    _Atomic uint32_t hold_us, tap_every; /* in force (tune.c) */
    _Atomic bool taps_off;
    _Atomic uint64_t clock_ns;  /* 0: CLOCK_MONOTONIC */
    int event_fd;
    bool started;
    uint64_t warm_until_ns;     /* so long after the start nothing is read that would be lost */
    bool opening;               /* ports were added whose `opened` was not called yet */
    pthread_mutex_t call_lock;  /* one vdp_worker_call at a time */
    struct vdp_ids *counter_ids, *state_ids; /* counter.c */
    struct vdp_count *counter_base;          /* by id: the sum when it was handed out */
    uint32_t counter_base_size;
    struct vdp_state *_Atomic states[VDP_COUNTER_CHUNKS]; /* state.c */
    struct vdp_group *_Atomic groups[VDP_MAX_GROUPS];     /* by id - 1 */
    struct vdp_tap *taps[VDP_MAX_TAPS]; /* by id - 1; not touched while a worker has its bit */
    struct vdp_ids *header_ids;
    struct vdp_header *_Atomic headers[VDP_COUNTER_CHUNKS]; /* header.c */
};

/* control.c.  What a network needs to go on working while there is too much of all else: ARP,
 * ICMP, ICMPv6 (neighbour discovery), GRE keepalives. */
bool vdp_control_is(const struct vdp_packet *packet);

/* tune.c.  Of a fair transmit queue: has the packet's in-port its part already?  Not so for control
 * traffic.  One packet more (1) or less (-1) in it. */
bool vdp_fair_refuses(const struct vdp_queue *queue, const struct vdp_packet *packet);
void vdp_fair_count(struct vdp_queue *queue, const struct vdp_packet *packet, int added);

/* The next serial number of what comes in, never 0: who came first, among packets of one
 * worker that are less than 2^31 apart. */
static inline uint32_t vdp_worker_serial(struct vdp_worker *worker)
{
    worker->serial += worker->serial == UINT32_MAX ? 2 : 1;
    return worker->serial;
}

/* packet.c.  alloc returns a reset packet or NULL; free takes it back. */
int vdp_pool_new(struct vdp_worker *worker, uint32_t count);
void vdp_pool_free(struct vdp_worker *worker);
struct vdp_packet *vdp_packet_alloc(struct vdp_worker *worker);
void vdp_packet_free(struct vdp_worker *worker, struct vdp_packet *packet);
void vdp_packet_reset(struct vdp_packet *packet);
/* A copy with everything that travels along (in_port, meta, offload state), or NULL. */
struct vdp_packet *vdp_packet_copy(struct vdp_worker *worker, const struct vdp_packet *packet);

/* queue.c.  The queue of a port on this worker, NULL when there is no such port. */
static inline struct vdp_queue *vdp_worker_queue(const struct vdp_worker *worker, uint32_t port)
{
    return port < worker->queue_size ? worker->queues[port] : NULL;
}
/* One packet and that many bytes on a counter; nothing where there is no such counter. */
void vdp_counter_add(struct vdp_worker *worker, uint32_t counter, uint64_t bytes);
/* What a packet's account was about has happened: an output took it, or it is being lost. */
void vdp_account_sent(struct vdp_worker *worker, struct vdp_packet *packet);
void vdp_account_lost(struct vdp_worker *worker, struct vdp_packet *packet);
/* Lose a packet that no output has taken yet: charged to its in-port.  Owns it. */
void vdp_packet_drop(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t reason);
/* The counting alone, and the taps.  packet: what is lost, or a copy of it would have been; NULL:
 * there are no bytes to show. */
void vdp_queue_count_drop(struct vdp_queue *queue, struct vdp_packet *packet, uint32_t reason);
/* Meta of a packet as received: word 0 from the port, word 1 of an L3 packet from the IP
 * version nibble (4: 0x0800, 6: 0x86dd, else 0), the rest zero. */
void vdp_queue_set_meta(const struct vdp_queue *queue, struct vdp_packet *packet);
/* A received frame is bad: counts it as received and dropped (bytes: as read).  packet: as far as
 * it was filled; it stays the caller's. */
void vdp_queue_reject(struct vdp_queue *queue, struct vdp_packet *packet, uint32_t bytes,
                      uint32_t reason);
/* Hand a packet to an output port or a cell: counts offered, refuses a down port, a full
 * queue, the wrong packet type, offload state that the port does not take; flushes when
 * enough waits.  Owns it. */
void vdp_queue_offer(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet);
/* Lose a packet that this output has taken: tx_dropped.  Owns it. */
void vdp_queue_drop(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet,
                    uint32_t reason);
/* The packet (already off queue->tx) is with the kernel: tx_packets, bytes, segments.  Owns it. */
void vdp_queue_sent(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet);
/* Take the oldest waiting packet off queue->tx, keeping tx_queued. */
struct vdp_packet *vdp_queue_take(struct vdp_queue *queue);
void vdp_queue_flush(struct vdp_worker *worker, struct vdp_queue *queue);
/* Drop everything that waits in queue->tx. */
void vdp_queue_clear(struct vdp_worker *worker, struct vdp_queue *queue, uint32_t reason);
/* I/O failed for good: out of epoll, waiting packets dropped (tx_error), event signalled. */
void vdp_queue_fail(struct vdp_worker *worker, struct vdp_queue *queue, int error);

/* segment.c.  Calls emit once a segment, in order; emit owns it.  A segment that finds no
 * buffer is emit(context, NULL).  What `features` covers is emitted as it is.  Returns
 * VDP_REASON_none, and the packet is gone (emitted or freed); or a drop reason, nothing
 * was emitted, and the packet is still the caller's.  in_port, meta, depth,
 * waited travel along. */
uint32_t vdp_segment(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t features,
                     uint32_t most,
                     void (*emit)(void *context, struct vdp_packet *segment), void *context);
/* The same, but only a last segment that is shorter than the others is cut off.  False: there is
 * none, and nothing was emitted. */
bool vdp_segment_even(struct vdp_worker *worker, struct vdp_packet *packet,
                      void (*emit)(void *context, struct vdp_packet *segment), void *context);

/* refusal.c.  Has the kernel refused such super-packets of this port often enough? */
bool vdp_refusal_is_known(const struct vdp_queue *queue, const struct vdp_packet *packet);
/* The first one in queue->tx is refused, or would be: its parts wait in its place. */
void vdp_refusal_split(struct vdp_worker *worker, struct vdp_queue *queue);
/* It is taken: what was refused before was the packets' fault. */
void vdp_refusal_forgive(struct vdp_queue *queue, const struct vdp_packet *packet);

/* fragment.c.  How a packet goes in IPv4 fragments; offsets from its front. */
struct vdp_fragments {
    uint32_t network, payload, end; /* padding may follow */
    uint32_t size;                  /* payload bytes of every fragment but the last */
    uint32_t count;                 /* 1: it is not too long; 0: too long, but has DF or
                                       is a super-packet */
    uint16_t field;                 /* MF and offset of the packet itself */
};
/* Plan fragments of at most `most` bytes from the IP header at `network` on.  A reason
 * when too long and malformed.  With count 1, no more than `end` bytes are to go on. */
uint32_t vdp_fragment_plan(const struct vdp_packet *packet, uint32_t network, uint32_t most,
                           struct vdp_fragments *fragments);
/* Cut as planned, count > 1; emit and what is returned are as with vdp_segment. */
uint32_t vdp_fragment(struct vdp_worker *worker, struct vdp_packet *packet,
                      const struct vdp_fragments *fragments,
                      void (*emit)(void *context, struct vdp_packet *fragment), void *context);

/* cell.c. */
/* Coalesce with what waits, or append; bounded by port->config.tx_queue (cell_full, by
 * vdp_queue_drop).  Keeps stats.merged and stats.tx_queued.  The core has counted
 * `offered` and puts the queue on worker->cell_ready.  Owns the packet. */
void vdp_cell_offer(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet);
/* Move everything that waits to the end of `out`, in order; tx_queued becomes 0.  The
 * core runs them as received from the cell. */
void vdp_cell_flush(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet_list *out);
/* Is there a packet to which the next of its flow may be joined, so that it is worth a wait? */
bool vdp_cell_is_open(const struct vdp_queue *queue);
/* Drop what waits (shutdown), free queue->cell. */
void vdp_cell_free(struct vdp_worker *worker, struct vdp_queue *queue);

#endif
