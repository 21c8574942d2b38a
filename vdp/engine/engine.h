/* The engine's public face: everything Python, the C tests and the fuzzers may call.
 *
 * The engine is the fast path.  It owns packets, ports' I/O, the classifier and the
 * counters; it knows IPv4, IPv6, TCP and UDP as a NIC's offload engine does, and no
 * tunnel at all.  What to do with a packet it is told by programs (see "Actions").
 *
 * Threads.  A worker is one thread that owns its flow table, queues and packet pool.
 * Every function here that touches a worker's tables runs *on* that worker, between
 * two of its batches (worker.c, vdp_worker_call); the caller waits for it.  Where the
 * engine is not started, the caller is the worker.  Functions are to be called from
 * one control thread at a time.
 *
 * Errors: negative errno.  -ENODEV: no such port or worker; -ENOENT: no such flow, counter,
 * state, header or group; -EEXIST: a flow of that very match is there; -EBUSY: not while it is started;
 * -EINVAL: arguments that contradict themselves or the limits.  Byte order: packet bytes and meta are as on the wire
 * (big-endian); all struct fields are the host's.
 *
 * What stands between the two cffi lines is read by the binding as it is: plain
 * declarations, enums for constants, no preprocessor. */
#ifndef VDP_ENGINE_H
#define VDP_ENGINE_H

#include <stddef.h>
#include <stdint.h>

/* cffi:begin */
enum vdp_limit {
    VDP_WINDOW = 256,        /* bytes at a packet's front that a flow may match */
    VDP_META_WORDS = 8,      /* 32-bit words of metadata that a flow may match */
    VDP_META_SIZE = 32,      /* the same in bytes */
    VDP_HEADROOM = 256,      /* bytes that one PUSH may put in front of a packet */
    VDP_MAX_LENGTH = 65792,  /* largest packet: 64 KiB and a header budget of 256 */
    VDP_BATCH = 64,          /* packets received from a queue at once */
    VDP_MAX_ACTIONS = 256,   /* actions in one program */
    VDP_MAX_CLONES = 64,     /* copies that one packet's run may make */
    VDP_MAX_BLOB = 8192,     /* bytes of constants in one program */
    VDP_MAX_REASONS = 128,   /* drop reasons, the engine's and the plugins' */
    VDP_MAX_WORKERS = 16,
    VDP_MAX_SEQUENCE_WINDOW = 1024, /* numbers that may come late */
    VDP_MAX_HEADER = 16,     /* bytes of a header */
    VDP_MAX_GROUPS = 4096,
    VDP_MAX_GROUP_LINE = 256, /* packets that wait for their turn to be copied */
    VDP_MAX_DEPTH = 8,       /* passages through cells (and looping ports) */
    VDP_MAX_TAPS = 8,        /* open at the same time */
    VDP_MAX_FILTER = 4096,   /* instructions of a tap's filter (BPF_MAXINSNS) */
    VDP_NAME_SIZE = 32
};

/* The first metadata word; OVS calls it packet type. */
enum vdp_packet_type { VDP_L2 = 0, VDP_L3 = 1 };

/* Metadata: 32 bytes, eight big-endian words that travel with a packet and can be
 * matched.  Word 0 is the packet type, word 1 the EtherType of an L3 packet (0 for
 * L2), words 2 to 6 are registers for handlers, zero on receive; a cell keeps them all.
 * Word 7 is the index of the device that an IP socket received it by (IP_PKTINFO, where the
 * socket asks for it), 0 for any other port; with VDP_LEAVE_BY set, the device by which an
 * IP socket is to send it. */
enum vdp_meta_word {
    VDP_META_TYPE = 0,
    VDP_META_PROTOCOL = 1,
    VDP_META_REG = 2,
    VDP_META_DEVICE = 7
};
enum vdp_meta_device { VDP_LEAVE_BY = 0x40000000 };

enum vdp_port_type {
    VDP_PORT_MEMORY = 0, /* in process: vdp_memory_inject, vdp_memory_collect */
    VDP_PORT_TAP = 1,    /* a TAP queue: readv/writev of vnet header + frame (L2) */
    VDP_PORT_TUN = 2,    /* a TUN queue, IFF_NO_PI: vnet header + packet (L3) */
    VDP_PORT_PACKET = 3, /* AF_PACKET SOCK_RAW with PACKET_VNET_HDR: frames (L2) */
    VDP_PORT_IP = 4,     /* AF_INET SOCK_RAW with IP_HDRINCL: IPv4 packets (L3) */
    VDP_PORT_CELL = 5,   /* a GRO cell: what is output to it is coalesced, then
                            received from it.  L2 or L3 as configured */
    VDP_PORT_IP6 = 6     /* AF_INET6 SOCK_RAW with IPV6_HDRINCL and the options of
                            port_ip6.c: IPv6 packets (L3), extension headers taken off */
};

/* What a port takes on transmit, else SEGMENT must come before OUTPUT.  A cell takes all, and
 * makes such super-packets: without TSO4, TSO6 or USO it joins no packets of that sort. */
enum vdp_port_feature {
    VDP_F_VNET_HDR = 1, /* each frame is preceded by a 10-byte virtio_net_hdr */
    VDP_F_CSUM = 2,     /* unfinished checksums are taken */
    VDP_F_TSO4 = 4,
    VDP_F_TSO6 = 8,
    VDP_F_USO = 16,
    VDP_F_GRE_TSO = 32  /* what TSO4 and TSO6 say, also in GRE: IPv4 without options or IPv6
                           (with a tunnel encapsulation limit perhaps), UDP or not, GRE, with a
                           key or not; checksums where all segments are of one size; an IP
                           packet or an untagged frame */
};

struct vdp_engine;

struct vdp_engine_config {
    uint32_t workers;        /* 1 to VDP_MAX_WORKERS */
    uint32_t packets;        /* packets in each worker's pool (default 2048) */
    uint32_t flows;          /* flows in each worker's table (default 65536) */
    uint32_t masks;          /* different masks of a worker's flows (default 64): beyond, an in-port
                                gets new ones only up to a quarter of port_masks */
    uint32_t upcall_queue;   /* packets per port waiting for the slow path (512) */
    uint32_t upcall_rate;    /* misses a second and port taken up; 0: no bound (5000);
                                burst: a second's worth */
    uint32_t action_rate;    /* UPCALL actions a second, for each in-port and worker; 0: no
                                bound (100); burst: half a second's worth, at least 1 */
    uint32_t poll_us;        /* a worker polls at most that long before it sleeps; 0: never */
    uint32_t hold_us;        /* a cell waits at most that long for more of an open flow; 0: it is
                                flushed after each batch.  Workers that are started only */
    uint32_t confine;        /* enum vdp_confine.  Workers that are started only */
    uint32_t port_masks;     /* masks (subtables) of one in-port (default 16) */
    uint32_t control_rate;   /* misses of control traffic (control.c) a second and port that have
                                a line and rate of their own (500); 0: none */
};

/* What becomes of a system call that moving packets does not need, on a worker's thread. */
enum vdp_confine {
    VDP_CONFINE_OFF = 0,     /* it is done; the thread also keeps its capabilities */
    VDP_CONFINE_REFUSE = 1,  /* EPERM, and it is counted */
    VDP_CONFINE_KILL = 2     /* the process ends by SIGSYS */
};

struct vdp_port_config {
    uint32_t type;           /* enum vdp_port_type */
    uint32_t packet_type;    /* enum vdp_packet_type; MEMORY and CELL choose */
    uint32_t features;       /* enum vdp_port_feature, or'ed */
    uint32_t mtu;            /* of an L3 packet on it; only for checks of TSO */
    uint32_t tx_queue;       /* packets that may wait for the kernel (1024) */
    uint32_t fd_count;       /* queues; queue i belongs to worker i % workers, and worker i sends
                                by queue i % fd_count; of IP and IP6, whose sockets are of one
                                protocol each, all workers send by the first */
    int32_t fd[VDP_MAX_WORKERS]; /* stay the caller's to close, after vdp_port_remove */
    uint32_t send_count;     /* of PACKET: worker i sends by send_fd i, where there is one: a packet
                                socket that only sends, or an AF_XDP socket that is not bound yet */
    int32_t send_fd[VDP_MAX_WORKERS];
    uint32_t kept;           /* of PACKET: a receive ring stays with its socket, for who gets the
                                socket next: the same mtu, and frames that came meanwhile */
    char name[VDP_NAME_SIZE];
    uint32_t control_count;  /* of PACKET: the last so many of fd hear control traffic alone, and
                                get no receive ring */
};

/* For each port: received + injected + cloned + segmented
 *   = forwarded + dropped + consumed + held          (charged to where it came in)
 * and, as where it goes: offered = transmitted + tx_dropped + tx_queued
 * (a cell: offered = rx_packets + merged + tx_dropped + tx_queued).
 * A packet is charged to its in-port until an output takes it, then to that port;
 * the reasons of vdp_port_drops sum up to dropped + tx_dropped.  The first eight, a
 * cache line, are what each packet through a cell moves. */
struct vdp_port_stats {
    uint64_t rx_packets, rx_bytes;   /* frames as read (a super-packet is one) */
    uint64_t rx_segments;            /* the same in wire packets */
    uint64_t hits;                   /* of those, what the classifier found a flow for */
    uint64_t forwarded;              /* handed to an output or a cell */
    uint64_t offered;                /* as where it goes */
    uint64_t tx_queued;              /* of those, what waits */
    uint64_t merged;                 /* cells: packets absorbed by another one */
    uint64_t injected;               /* made by the control side, charged here */
    uint64_t cloned, segmented;      /* additional packets made by CLONE; by
                                        SEGMENT and FRAGMENT */
    uint64_t dropped;                /* lost before an output took it */
    uint64_t consumed;               /* taken by the slow path, on purpose */
    uint64_t held;                   /* waiting now: for the slow path, or a group's copies */
    uint64_t tx_packets, tx_bytes, tx_segments;
    uint64_t tx_dropped;             /* lost after: port_down, tx_queue_full, tx_error,
                                        packet_type, cell_full, protocol_unsupported,
                                        gso_unsupported, vnet_hdr_invalid */
    uint64_t upcalls;                /* packets sent to the slow path */
    uint64_t misses;                 /* what the classifier found no flow for */
    uint64_t refused;                /* super-packets that the kernel did not take whole: sent
                                        in parts */
    int32_t error;                   /* last errno of its I/O, 0 when fine */
    uint32_t up;
    uint32_t refuses;                /* enum vdp_port_feature: super-packets that the kernel keeps
                                        refusing, and is not offered any more until the port is
                                        set up */
    uint32_t rx_ring;                /* frames that fit the receive ring of a queue; 0: it
                                        receives by system calls */
};

/* Which packets a flow takes: those from in_port with min <= length <= max, and
 * (meta & meta_mask) == meta_value, (bytes & mask) == value over the first `window`
 * bytes.  min_length must cover the last masked byte.  value has no bit outside the
 * mask. */
struct vdp_match {
    uint32_t in_port;
    uint32_t min_length, max_length;
    uint32_t window;
    uint8_t meta_mask[VDP_META_SIZE], meta_value[VDP_META_SIZE];
    uint8_t mask[VDP_WINDOW], value[VDP_WINDOW];
};

/* Actions.  A program is an array of these and a blob of constants.  Offsets are
 * bytes from the packet's current front.  Execution starts at action 0 and goes on
 * to the next; every straight run ends in OUTPUT or DROP.  `else` and CLONE targets
 * are indices of later actions, so a program always ends.  An access beyond the
 * packet drops it as parse_truncated. */
enum vdp_op {
    VDP_OP_DROP = 0,      /* b reason.  Ends */
    VDP_OP_OUTPUT = 1,    /* b port (a cell: coalesce).  Ends.  Dropped before it counts as
                             forwarded: no_port; loop_guard (a cell, and depth used up) */
    VDP_OP_CLONE = 2,     /* b target: a copy runs from there; then goes on.  No way
                             through a program makes more than VDP_MAX_CLONES copies */
    VDP_OP_PULL = 3,      /* b bytes off the front */
    VDP_OP_PUSH = 4,      /* b size, c blob offset: bytes onto the front; beyond
                             VDP_MAX_LENGTH the packet is dropped: mtu_exceeded */
    VDP_OP_SET = 5,       /* a size 1..16, b offset, c blob offset of mask then value,
                             d offset of an internet checksum to adjust (RFC 1624)
                             or 0xffffffff */
    VDP_OP_COPY = 6,      /* a mask of the byte, b offset to, c offset from */
    VDP_OP_LENGTH = 7,    /* b offset of a 16-bit field := bytes from c to the end + d
                             (int32); beyond 0 to 65535 dropped: mtu_exceeded */
    VDP_OP_ID = 8,        /* b offset of a 16-bit field := state c, which then grows by
                             one, or a super-packet's segments; without such a state
                             dropped: handler_error */
    VDP_OP_SEQUENCE = 9,  /* the same for a 32-bit field */
    VDP_OP_CHECKSUM = 10, /* b offset of the field := internet checksum from c on, d
                             bytes (0: to the end); the field counts as zero.  To the end of
                             a super-packet with its unfinished checksum in there: that of
                             each of its segments, but for a shorter one */
    VDP_OP_TRIM = 11,     /* b offset of a 16-bit length field, c addend (int32),
                             d else: the packet becomes field + c bytes long; else
                             when it is shorter than that.  Leaves super-packets be */
    VDP_OP_REQUIRE_CHECKSUM = 12, /* b from, c bytes (0: to the end), d else.  A super-packet
                             with its unfinished checksum in there passes: what is around
                             it is not finished either, and has crossed no wire (Linux
                             skb_csum_unnecessary) */
    VDP_OP_REQUIRE_LENGTH = 13,   /* a 1: a super-packet counts as one segment,
                                     b least, c most, d else */
    VDP_OP_REQUIRE_SEQUENCE = 14, /* a enum vdp_sequence_rule, b offset of a 32-bit field,
                             c state, d else: the field is behind the state's number, which
                             otherwise becomes the field + 1; behind is up to 2^31 less,
                             modulo 2^32 (RFC 2890 2.2).  With a window, one that did not
                             come in yet and is at most the window's size behind the newest
                             passes nevertheless, if it may come late, or if the packet
                             waited for the slow path and all that are ahead of it came in
                             after it.  No such state: dropped, handler_error */
    VDP_OP_TTL = 15,      /* a 4 or 6: IP version, b offset of the IP header, d else:
                             decrement, IPv4 checksum adjusted; else when it was <= 1 */
    VDP_OP_COUNT = 16,    /* b counter, c addend (int32): one packet, and its present
                             length + addend in bytes */
    VDP_OP_SEGMENT = 17,  /* a features that the output takes (so 0: all is cut),
                             b most bytes of a segment (0: as gso_size says): a
                             super-packet is cut, the rest of the program runs on
                             each; an unfinished checksum is finished, and those of
                             segments are left unfinished, if a covers that.  c counter, 0
                             for none: packets that can not be, and are dropped.
                             With VDP_F_GRE_TSO in a: TCP super-packets about to be put into
                             GRE, untagged, of at most d % 65536 bytes, with segments of at
                             most d / 65536, are left whole; but for a last segment that is
                             shorter, with VDP_SEGMENT_EQUAL in a */
    VDP_OP_UPCALL = 18,   /* b cookie: a copy to the slow path, within action_rate;
                             goes on.  a 1: only while the number of state c is not zero,
                             which each packet then takes one from */
    VDP_OP_META = 19,     /* a word, b value */
    VDP_OP_META_LOAD = 20,/* a word, b offset of a 32-bit field, c mask */
    VDP_OP_FRAGMENT = 21, /* b most bytes, c offset of an IPv4 header, d else: a packet
                             with more than b bytes from c on is cut into IPv4 fragments
                             (RFC 791 3.2; Linux ip_do_fragment), what is before c is
                             copied in front of each, the rest of the program runs on
                             each; else when it has DF and is too long.  A super-packet
                             counts as one segment, as with REQUIRE_LENGTH a 1: one that
                             is too long takes else.  Of a packet with more than b bytes:
                             padding behind its total length goes first; malformed, it is
                             dropped (ip_header, parse_bad_length), and so it is where b
                             has no room for 8 bytes behind its options: mtu_exceeded */
    VDP_OP_STATE = 22,    /* b offset of a 32-bit field := the number of state c + d (int32),
                             modulo 2^32; the state stays; without such a state dropped:
                             handler_error */
    VDP_OP_ACCOUNT = 23,  /* b sent, c and d lost: counters, 0 for none; a bytes that do not
                             count: what becomes of the packet from here on.  One packet, and
                             its length here, on b when an output takes it; on c and d when it
                             is lost before.  Of fragments and segments the first one counts;
                             a clone does not.  A second ACCOUNT takes the first for sent */
    VDP_OP_HASH = 24,     /* b offset of a 16-bit field, the bits a of which := a hash of d bytes
                             (4 to 64, a multiple of 4) from c on */
    VDP_OP_UDP_CHECKSUM = 25, /* a 4 or 6: IP version, b offset of the IP header, c of the UDP
                             header: its checksum is left unfinished, for the output or a
                             SEGMENT without VDP_F_CSUM to finish; one inside is finished
                             before.  Of a TCP super-packet behind it, it becomes that of each
                             of the segments, but for a shorter one; another super-packet is
                             dropped: gso_unsupported */
    VDP_OP_REQUIRE_UDP = 26, /* a 4 or 6, or'ed with VDP_UDP_ZERO; b and c as above, d else: the
                             UDP checksum is wrong, or zero and VDP_UDP_ZERO is not there.  In
                             front of a super-packet it is not wrong, as with REQUIRE_CHECKSUM */
    VDP_OP_GROUP = 27,    /* b group, c a port that gets none (0: all get one): a copy each to
                             the ports of a group, as OUTPUT sends it.  Ends.  The packet gets
                             in line with up to VDP_MAX_GROUP_LINE others of its worker
                             (group_queue_full), but no more than an eighth of the pool; an
                             iteration makes VDP_BATCH copies, and none while upcalls hold a
                             quarter of the pool.  It is counted as held meanwhile */
    VDP_OP_HEADER = 28,   /* b offset: the bytes of header c are written there; without such a
                             header dropped: handler_error */
    VDP_OP_COUNT_OPS = 29
};
enum vdp_segment_rule { VDP_SEGMENT_EQUAL = 0x100 };
enum vdp_udp_rule { VDP_UDP_ZERO = 16 /* a checksum of zero, which stands for none, passes */ };

/* Of REQUIRE_SEQUENCE, or'ed. */
enum vdp_sequence_rule {
    VDP_SEQUENCE_EXPLICIT = 1, /* only the first number since the state was made or written
                                  passes whatever it is; else (Linux) any number does while
                                  the state's is zero: so again after each wrap */
    VDP_SEQUENCE_LATE = 2      /* with a window: numbers may come late */
};

struct vdp_action {
    uint16_t op, a;
    uint32_t b, c, d;
};

struct vdp_program {
    const struct vdp_action *actions;
    uint32_t count;
    const uint8_t *blob;
    uint32_t blob_size;
};

enum vdp_upcall_reason { VDP_UPCALL_MISS = 0, VDP_UPCALL_ACTION = 1 };

/* A packet in the hands of the slow path; data stays valid until resolved. */
struct vdp_upcall {
    uint64_t token;
    uint32_t in_port, length, reason, cookie;
    uint32_t gso_type, gso_size;
    uint8_t meta[VDP_META_SIZE];
    const uint8_t *data;
};

enum vdp_resolve_kind {
    VDP_RESOLVE_INSTALL = 0, /* install (match, program), run it on the packet; after the
                                last resolution of the call, waiting packets of that
                                in-port that now hit are run too, in order */
    VDP_RESOLVE_EXECUTE = 1, /* run the program once */
    VDP_RESOLVE_RETRY = 2,   /* look it up again; a second miss goes back in line, last */
    VDP_RESOLVE_DROP = 3,    /* under `reason` */
    VDP_RESOLVE_CONSUME = 4  /* it has served its purpose */
};

struct vdp_resolution {
    uint64_t token;
    uint32_t kind, reason;
    const struct vdp_match *match;
    struct vdp_program program;
    int64_t result; /* out: flow id of INSTALL, or a negative errno (-ENOSPC: table
                       full, -E2BIG: masks full, -EEXIST: that match is there, with its
                       own program; the given program was run all the same; -EINVAL: bad
                       match or program, the packet was dropped: handler_error; or no
                       such token, and nothing happened) */
};

struct vdp_flow_stats {
    uint64_t id, packets, bytes;
    uint64_t used_ns; /* clock of the last hit */
};

struct vdp_worker_stats {
    uint64_t iterations, busy_ns, idle_ns;
    uint64_t lookups, previous_hits, table_hits, misses;
    uint64_t mask_probes;
    uint64_t upcalls_lost;          /* queue full or over the rate */
    uint64_t actions_suppressed;    /* UPCALL actions over action_rate */
    uint32_t flows, masks, packets_free, packets_total;
    uint64_t calls_refused;         /* system calls that the worker may not do (confine) */
    uint32_t last_refused;          /* the number of the last one */
    uint32_t different_masks;       /* in-ports may share them */
    uint64_t queue_lost;            /* packets that found a queue full, or no buffer; but those for
                                       the slow path are among upcalls_lost */
};

/* What a worker does; while it is timed, each moment is one stage's. */
enum vdp_stage {
    VDP_STAGE_WAIT = 0,     /* for packets: asleep, or polling */
    VDP_STAGE_RECEIVE = 1,  /* from the kernel */
    VDP_STAGE_LOOKUP = 2,   /* which flows packets belong to */
    VDP_STAGE_EXECUTE = 3,  /* flows' programs, up to an output's queue or into a cell */
    VDP_STAGE_CELLS = 4,    /* taking out of cells what they have joined */
    VDP_STAGE_COPY = 5,     /* to the ports of groups */
    VDP_STAGE_TRANSMIT = 6, /* to the kernel */
    VDP_STAGE_CONTROL = 7,  /* what the control side asks for: resolutions, statistics */
    VDP_STAGES = 8
};

/* Why nothing more was joined to a packet in a cell. */
enum vdp_close {
    VDP_CLOSE_FLUSH = 0,    /* the batch was over */
    VDP_CLOSE_LAST = 1,     /* the last one was short, or had PSH, FIN or the like */
    VDP_CLOSE_FULL = 2,     /* as many segments or bytes as a super-packet may have */
    VDP_CLOSE_DIFFERS = 3,  /* the next one did not follow it: another number, header or checksum */
    VDP_CLOSE_ROOM = 4,     /* more flows at once than a cell holds open */
    VDP_CLOSE_FRAGMENT = 5, /* a fragment came */
    VDP_CLOSES = 6
};
enum { VDP_BATCH_SIZES = 7 };

struct vdp_stage_time { uint64_t ns, batches, packets; };

struct vdp_worker_times {
    uint64_t ns;                           /* for which it was timed */
    struct vdp_stage_time stages[VDP_STAGES];
    uint64_t batch_sizes[VDP_BATCH_SIZES]; /* receipts of 1, 2, up to 4, 8, 16, 32, 64 packets */
    uint64_t cells_closed[VDP_CLOSES];     /* since the engine was made, timed or not */
};

struct vdp_count { uint64_t packets, bytes; };

/* Where a tap sees packets; one or'ed with others, of a tap's config.points. */
enum vdp_tap_point {
    VDP_TAP_RX = 1,      /* received by a port, before anything happens to it */
    VDP_TAP_UPCALL = 2,  /* in line for the slow path; port: in_port */
    VDP_TAP_DECAP = 4,   /* taken by a cell (`port`), before it is joined to others */
    VDP_TAP_ENCAP = 8,   /* at an ACCOUNT: given to a link, before its headers; port: in_port */
    VDP_TAP_TX = 16,     /* sent by a port, and the kernel has it */
    VDP_TAP_DROP = 32,   /* lost; port: whom the loss is charged to */
    VDP_TAP_ALL = 63
};

/* An instruction of classic BPF (struct sock_filter). */
struct vdp_tap_instruction {
    uint16_t code;
    uint8_t jt, jf;
    uint32_t k;
};

/* Which packets, at which points; 0 of a filter: whatever it is. */
struct vdp_tap_config {
    uint32_t points;     /* enum vdp_tap_point, or'ed */
    uint32_t follow;     /* 1: the filters choose packets where they are first seen (received, or
                            made by the control side), which are then shown at all points */
    uint32_t most;       /* packets to follow; 0: no bound */
    uint32_t snap;       /* bytes to copy of each, at most */
    uint32_t ring_bytes; /* room for a worker's copies that were not read yet, at least */
    uint32_t port;       /* the record's */
    uint32_t link, link_counter; /* a cell: in_port, or port; or the packet's counter */
    uint64_t reasons[2]; /* bits of VDP_MAX_REASONS: of drops only those; all 0: any */
    uint32_t filter_count[2]; /* by enum vdp_packet_type; 0: all packets of that type */
    const struct vdp_tap_instruction *filter[2];
};

/* In front of a packet's bytes, which are filled up to a multiple of 8. */
struct vdp_tap_record {
    uint64_t time_ns;    /* CLOCK_REALTIME */
    uint64_t flow;       /* whose program ran last on it; 0: none yet */
    uint32_t packet, worker; /* its number on that worker, from where it is first seen on, and of
                                all copies and segments of it; 0 of no packet */
    uint32_t point, port, in_port;
    uint32_t counter;    /* ACCOUNT's `sent`, of the link that it was given to last; 0: none */
    uint32_t reason;     /* of a drop */
    uint32_t packet_type, length, captured;
    uint32_t segments, gso_type, gso_size, needs_csum;
};

struct vdp_tap_loss { uint32_t point, port; uint64_t packets; };

/* What a memory port carries besides bytes: a virtio_net_hdr's content. */
struct vdp_offload {
    uint32_t needs_csum, csum_start, csum_offset; /* csum_start from the front */
    uint32_t gso_type;  /* VIRTIO_NET_HDR_GSO_*: 0 none, 1 TCPv4, 4 TCPv6, 5 UDP_L4, | 0x80 ECN */
    uint32_t gso_size, header_size;
};

/* What is otherwise in force while there is too much to do; all zero: as configured. */
struct vdp_tuning {
    uint32_t upcall_rate;   /* in place of config.upcall_rate */
    uint32_t hold_off;      /* 1: cells wait for nothing, as with config.hold_us 0 */
    uint32_t tap_every;     /* of what a tap would get, every so manieth; the others are lost */
    uint32_t taps_off;      /* 1: none is opened or read: -ECANCELED */
    uint32_t fair_queues;   /* 1: of a transmit queue that fills up each in-port gets a part */
};

const char *vdp_reason_name(uint32_t reason); /* NULL past the last */
const char *vdp_reason_text(uint32_t reason);

int vdp_engine_new(const struct vdp_engine_config *config, struct vdp_engine **engine);
void vdp_engine_free(struct vdp_engine *engine); /* stops it first; fds stay open */
int vdp_engine_start(struct vdp_engine *engine); /* one thread a worker */
int vdp_engine_stop(struct vdp_engine *engine);  /* joins them */
int vdp_engine_poll(struct vdp_engine *engine);  /* one iteration of each worker, on the caller, not
                                                    started; packets received, groups' copies */
void vdp_engine_set_clock(struct vdp_engine *engine, uint64_t now_ns); /* 0: the real one */
uint64_t vdp_engine_clock(struct vdp_engine *engine);
int vdp_engine_tune(struct vdp_engine *engine, const struct vdp_tuning *tuning);
int vdp_engine_event_fd(struct vdp_engine *engine); /* readable when upcalls wait or a
                                                       port failed; read 8 bytes to clear */

/* Its number, >= 1.  A port with a device behind it may be added detached, without descriptors. */
int vdp_port_add(struct vdp_engine *engine, const struct vdp_port_config *config);
int vdp_port_remove(struct vdp_engine *engine, uint32_t port); /* its packets are dropped:
                                                                  shutdown; its flows go */
int vdp_port_set_up(struct vdp_engine *engine, uint32_t port, int up);
/* Its descriptors are let go, for the caller to close: what waits is dropped, it is failed and
 * its error ENODEV.  Flows, counters and the number stay. */
int vdp_port_detach(struct vdp_engine *engine, uint32_t port);
/* Those of another device are its own from now on.  -EINVAL: another type of port; -EBUSY: it has
 * some.  On failure it stays detached. */
int vdp_port_attach(struct vdp_engine *engine, uint32_t port, const struct vdp_port_config *config);
int vdp_port_set_features(struct vdp_engine *engine, uint32_t port, uint32_t features);
int vdp_port_read(struct vdp_engine *engine, uint32_t port, struct vdp_port_stats *stats);
int vdp_port_drops(struct vdp_engine *engine, uint32_t port, uint64_t *reasons, uint32_t count);

/* Memory ports.  inject: as if received, runs at the next poll (or wakes the worker).
 * collect: the oldest transmitted packet; its length, -EAGAIN when there is none. */
int vdp_memory_inject(struct vdp_engine *engine, uint32_t port, const uint8_t *bytes,
                      uint32_t length, const uint8_t *meta, const struct vdp_offload *offload);
int vdp_memory_collect(struct vdp_engine *engine, uint32_t port, uint8_t *bytes, uint32_t size,
                       uint8_t *meta, struct vdp_offload *offload);

int vdp_counter_new(struct vdp_engine *engine);  /* an id; ids are reused after free */
int vdp_counter_free(struct vdp_engine *engine, uint32_t counter);
int vdp_counter_read(struct vdp_engine *engine, uint32_t counter, struct vdp_count *count);
/* States: a 32-bit number each, shared by all workers, atomic.  Above it, in a half of its
 * own, is how often the numbers went round: 0 until REQUIRE_SEQUENCE saw the first, or
 * SEQUENCE or ID counted over 2^32.  A window also remembers which of the last numbers came
 * in; of workers with the same number at the same time exactly one passes it. */
int vdp_state_new(struct vdp_engine *engine, uint32_t initial); /* an id */
int vdp_window_new(struct vdp_engine *engine, uint32_t size);   /* a state with a window of 1 to
                                                     VDP_MAX_SEQUENCE_WINDOW numbers */
int vdp_state_free(struct vdp_engine *engine, uint32_t state);
int vdp_state_read(struct vdp_engine *engine, uint32_t state, uint32_t *number);
int vdp_state_write(struct vdp_engine *engine, uint32_t state, uint32_t number); /* as if just
                             made: none came in.  A packet that is being looked at may miss it */
/* 1: REQUIRE_SEQUENCE by that rule would let worker 0's next packet pass, with that number and
 * `waited` for the slow path or not; 0: it would not.  Nothing changes. */
int vdp_state_judge(struct vdp_engine *engine, uint32_t state, uint32_t sequence, uint32_t rule,
                    int waited);

/* Headers: 1 to VDP_MAX_HEADER bytes that programs have in common, such as the MAC addresses of a
 * next hop (struct hh_cache).  Other bytes are in force at once; no packet gets a mixture. */
int vdp_header_new(struct vdp_engine *engine, const uint8_t *bytes, uint32_t size); /* an id */
int vdp_header_write(struct vdp_engine *engine, uint32_t header, const uint8_t *bytes, uint32_t size);
int vdp_header_free(struct vdp_engine *engine, uint32_t header);
/* The bytes of a header, as they are at this moment: how many, 0 where there is no such header. */
uint32_t vdp_header_read(struct vdp_engine *engine, uint32_t header, uint8_t bytes[VDP_MAX_HEADER]);

/* Groups: ports that a packet is copied to (OpenFlow's group type all).  An id from 1 on, or
 * -ENOSPC.  A packet that is being copied while its group is written may miss ports; while
 * it is freed, it is dropped: no_port. */
int vdp_group_new(struct vdp_engine *engine, const uint32_t *ports, uint32_t count);
int vdp_group_write(struct vdp_engine *engine, uint32_t group, const uint32_t *ports, uint32_t count);
int vdp_group_free(struct vdp_engine *engine, uint32_t group);

int vdp_program_check(const struct vdp_program *program); /* 0 or -EINVAL: pure */
int64_t vdp_flow_install(struct vdp_engine *engine, uint32_t worker,
                         const struct vdp_match *match, const struct vdp_program *program);
int vdp_flow_replace(struct vdp_engine *engine, uint32_t worker, uint64_t id,
                     const struct vdp_program *program); /* keeps the counters */
int vdp_flow_remove(struct vdp_engine *engine, uint32_t worker, const uint64_t *ids,
                    uint32_t count); /* how many were there */
int vdp_flow_dump(struct vdp_engine *engine, uint32_t worker, struct vdp_flow_stats *stats,
                  uint32_t size); /* how many there are */
/* A part of the dump, so that a worker with many flows does not stop for all of them: those of
 * at most `size` slots from *slot on; how many.  *slot: where to go on, 0 at the end. */
int vdp_flow_scan(struct vdp_engine *engine, uint32_t worker, uint32_t *slot,
                  struct vdp_flow_stats *stats, uint32_t size);
int vdp_flow_expire(struct vdp_engine *engine, uint32_t worker, uint64_t idle_ns,
                    uint32_t keep, uint64_t *ids, uint32_t size); /* removes those idle
                    that long, and the longest idle ones above `keep`; how many */

int vdp_upcall_take(struct vdp_engine *engine, uint32_t worker, struct vdp_upcall *upcalls,
                    uint32_t size); /* round robin over ports; how many */
int vdp_upcall_resolve(struct vdp_engine *engine, uint32_t worker,
                       struct vdp_resolution *resolutions, uint32_t count);
/* A packet of the control side's own runs a program, charged to in_port. */
int vdp_packet_execute(struct vdp_engine *engine, uint32_t worker, uint32_t in_port,
                       const uint8_t *bytes, uint32_t length, const uint8_t *meta,
                       const struct vdp_program *program);

int vdp_worker_read(struct vdp_engine *engine, uint32_t worker, struct vdp_worker_stats *stats);
/* How long its stages took, since timing began.  Timing goes on, begins, or ends with this look. */
int vdp_worker_time(struct vdp_engine *engine, uint32_t worker, uint32_t goes_on,
                    struct vdp_worker_times *times);
uint32_t vdp_confined_calls(void); /* system calls that a confined worker may do */

/* Taps: packets' copies for who looks on.  An id from 1 on; -ENOSPC: VDP_MAX_TAPS are open;
 * -EINVAL: no points, a filter that might not end or reads what it can not, more than 256 MiB. */
int vdp_tap_open(struct vdp_engine *engine, const struct vdp_tap_config *config);
int vdp_tap_close(struct vdp_engine *engine, uint32_t tap);
/* Take the oldest records of a worker, whole ones, as many as fit `size` (128 KiB or more); how
 * many bytes.  Never waits, nor does the worker: what finds no room is lost. */
int vdp_tap_read(struct vdp_engine *engine, uint32_t tap, uint32_t worker, uint8_t *bytes,
                 uint32_t size);
/* What was lost so, by point and port (0, 0: of more places than are told apart); how many. */
int vdp_tap_losses(struct vdp_engine *engine, uint32_t tap, uint32_t worker,
                   struct vdp_tap_loss *losses, uint32_t size);
/* cffi:end */

#endif
