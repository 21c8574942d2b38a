/* Taps: who opens one gets copies of packets at the points it asks for.
 *
 *   worker ── point ── filter ──► ring of this tap and worker ──► vdp_tap_read (control side)
 *                                   full: lost, counted by point and port
 *
 * One writer, one reader a ring, and neither waits: the worker owns `head`, the control side
 * `tail`, both count bytes and never go back.  A record is its header and the bytes that were
 * copied, filled up to eight bytes.  worker->tapped has a bit for each open tap; it is changed
 * on the worker only, so that no tap goes while a packet is shown to it. */
#include "tap.h"
#include "worker.h"

#include <sys/mman.h>
#include <time.h>

enum {
    RING_LEAST = 1 << 17, /* room for a packet of any length */
    RING_MOST = 1 << 28,
    LOSSES = 64,          /* places (point and port) whose losses are told apart */
    ALIGNED = 8
};
static const uint64_t SECOND_NS = 1000000000u;

/* Of one worker. */
struct side {
    uint8_t *ring;
    _Atomic uint64_t head, tail;
    uint64_t recorded;
    uint64_t offered; /* while it is thinned */
    uint64_t lost_elsewhere; /* where the table is full */
    struct vdp_tap_loss losses[LOSSES]; /* packets 0: unused */
};

struct vdp_tap {
    struct vdp_tap_config config;
    struct vdp_tap_instruction *filters[2]; /* by packet type; NULL: none */
    uint32_t size;                          /* bytes of a ring, a power of two */
    _Atomic uint32_t left;                  /* of config.most, packets that may still be followed */
    uint32_t workers;
    struct side sides[];
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static uint32_t aligned(uint32_t size)
{
    return (size + ALIGNED - 1) / ALIGNED * ALIGNED;
}

static uint32_t packet_type(const struct vdp_packet *packet)
{
    return vdp_load_be32(packet->meta) == VDP_L3 ? VDP_L3 : VDP_L2;
}

/* ---- what a tap wants ---- */

static bool has_reason(const struct vdp_tap_config *config, uint32_t reason)
{
    uint64_t all = 0;

    for (uint32_t i = 0; i < VDP_MAX_REASONS / 64; i++)
        all |= config->reasons[i];
    return !all || (reason < VDP_MAX_REASONS && config->reasons[reason / 64] >> (reason % 64) & 1);
}

static bool has_link(const struct vdp_tap_config *config, uint32_t port, const struct vdp_packet *packet)
{
    return port == config->link || packet->in_port == config->link ||
           (config->link_counter && packet->mark.counter == config->link_counter);
}

static bool is_wanted(const struct vdp_tap *tap, uint32_t port, const struct vdp_packet *packet,
                      uint32_t point, uint32_t reason)
{
    const struct vdp_tap_config *config = &tap->config;
    const struct vdp_tap_instruction *filter = tap->filters[packet_type(packet)];

    if (config->port && port != config->port)
        return false;
    if (config->link && !has_link(config, port, packet))
        return false;
    if (point == VDP_TAP_DROP && !has_reason(config, reason))
        return false;
    return !filter || vdp_filter_run(filter, packet->data, packet->length, packet->length);
}

static bool take_one(struct vdp_tap *tap)
{
    uint32_t left = atomic_load_explicit(&tap->left, memory_order_relaxed);

    if (!tap->config.most)
        return true;
    while (left)
        if (atomic_compare_exchange_weak(&tap->left, &left, left - 1))
            return true;
    return false;
}

/* A packet is followed from the point where it is first seen. */
static bool is_followed(struct vdp_tap *tap, uint32_t bit, uint32_t port, struct vdp_packet *packet,
                        uint32_t point, bool is_first)
{
    if (is_first) {
        packet->mark.taps &= ~bit;
        if (is_wanted(tap, port, packet, point, VDP_REASON_none) && take_one(tap))
            packet->mark.taps |= bit;
    }
    return packet->mark.taps & bit;
}

/* ---- the ring ---- */

static void put(const struct vdp_tap *tap, struct side *side, uint64_t at, const void *bytes,
                uint32_t count)
{
    uint32_t offset = (uint32_t)(at & (tap->size - 1)), behind = tap->size - offset;
    uint32_t first = count < behind ? count : behind;

    memcpy(side->ring + offset, bytes, first);
    memcpy(side->ring, (const uint8_t *)bytes + first, count - first);
}

static void get(const struct vdp_tap *tap, const struct side *side, uint64_t at, void *bytes,
                uint32_t count)
{
    uint32_t offset = (uint32_t)(at & (tap->size - 1)), behind = tap->size - offset;
    uint32_t first = count < behind ? count : behind;

    memcpy(bytes, side->ring + offset, first);
    memcpy((uint8_t *)bytes + first, side->ring, count - first);
}

static void lose(struct side *side, uint32_t point, uint32_t port)
{
    for (uint32_t i = 0; i < LOSSES; i++) {
        struct vdp_tap_loss *loss = &side->losses[i];
        if (loss->packets == 0) {
            loss->point = point;
            loss->port = port;
        }
        if (loss->point == point && loss->port == port) {
            __atomic_store_n(&loss->packets, loss->packets + 1, __ATOMIC_RELEASE);
            return;
        }
    }
    vdp_stat_add(&side->lost_elsewhere, 1);
}

/* While there is too much to do, who looks on gets one of so many. */
static bool is_thinned(const struct vdp_worker *worker, struct side *side)
{
    uint32_t every = atomic_load_explicit(&worker->engine->tap_every, memory_order_relaxed);

    return every > 1 && side->offered++ % every != 0;
}

static void record(struct vdp_tap *tap, struct vdp_worker *worker, uint32_t point, uint32_t port,
                   const struct vdp_packet *packet, uint32_t reason, uint64_t time_ns)
{
    struct side *side = &tap->sides[worker->index];
    uint32_t captured = packet->length < tap->config.snap ? packet->length : tap->config.snap;
    struct vdp_tap_record made = {
        .time_ns = time_ns,
        .flow = packet->mark.flow,
        .packet = packet->mark.id,
        .worker = worker->index,
        .point = point,
        .port = port,
        .in_port = packet->in_port,
        .counter = packet->mark.counter,
        .reason = reason,
        .packet_type = packet_type(packet),
        .length = packet->length,
        .captured = captured,
        .segments = packet->segments,
        .gso_type = packet->gso_type,
        .gso_size = packet->gso_size,
        .needs_csum = packet->needs_csum,
    };
    uint64_t head = atomic_load_explicit(&side->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&side->tail, memory_order_acquire);
    uint32_t size = (uint32_t)sizeof made + aligned(captured);

    if (tap->size - (head - tail) < size || is_thinned(worker, side)) {
        lose(side, point, port);
        return;
    }
    put(tap, side, head, &made, sizeof made);
    put(tap, side, head + sizeof made, packet->data, captured);
    atomic_store_explicit(&side->head, head + size, memory_order_release);
    vdp_stat_add(&side->recorded, 1);
}

/* ---- the points ---- */

void vdp_tap_show(struct vdp_worker *worker, uint32_t point, uint32_t port, struct vdp_packet *packet,
                  uint32_t reason)
{
    bool is_first = point == VDP_TAP_RX || packet->mark.id == 0;
    uint64_t time_ns = 0;

    if (is_first) {
        worker->tap_serial += worker->tap_serial == UINT32_MAX ? 2 : 1;
        packet->mark.id = worker->tap_serial;
    }
    for (uint32_t i = 0; i < VDP_MAX_TAPS; i++) {
        uint32_t bit = 1u << i;
        if (!(worker->tapped & bit))
            continue;
        struct vdp_tap *tap = worker->engine->taps[i];
        bool shows = tap->config.follow ? is_followed(tap, bit, port, packet, point, is_first)
                                        : is_wanted(tap, port, packet, point, reason);
        if (!shows || !(tap->config.points & point))
            continue;
        time_ns = time_ns ? time_ns : now_ns();
        record(tap, worker, point, port, packet, reason, time_ns);
    }
}

void vdp_tap_show_received(struct vdp_queue *queue, struct vdp_packet *const *packets, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        vdp_tap_show(queue->worker, VDP_TAP_RX, queue->port->number, packets[i], VDP_REASON_none);
}

/* ---- the calls of engine.h ---- */

static struct vdp_tap *find(struct vdp_engine *engine, uint32_t tap)
{
    return tap - 1 < VDP_MAX_TAPS ? engine->taps[tap - 1] : NULL;
}

static void free_tap(struct vdp_tap *tap)
{
    for (uint32_t i = 0; i < tap->workers; i++)
        if (tap->sides[i].ring)
            munmap(tap->sides[i].ring, tap->size);
    free(tap->filters[VDP_L2]);
    free(tap->filters[VDP_L3]);
    free(tap);
}

static int copy_filter(struct vdp_tap *tap, uint32_t type, const struct vdp_tap_instruction *program,
                       uint32_t count)
{
    int result = vdp_filter_check(program, count);

    if (result < 0 || !count)
        return result;
    tap->filters[type] = calloc(count, sizeof *program);
    if (!tap->filters[type])
        return -ENOMEM;
    memcpy(tap->filters[type], program, count * sizeof *program);
    return 0;
}

static int open_ring(struct vdp_tap *tap, struct side *side)
{
    void *memory =
        mmap(NULL, tap->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    side->ring = memory;
    return 0;
}

static int make(const struct vdp_engine *engine, const struct vdp_tap_config *config,
                struct vdp_tap **made)
{
    uint32_t workers = engine->config.workers;
    struct vdp_tap *tap = calloc(1, sizeof *tap + workers * sizeof *tap->sides);

    if (!tap)
        return -ENOMEM;
    tap->config = *config;
    tap->config.filter[VDP_L2] = tap->config.filter[VDP_L3] = NULL; /* the caller's */
    tap->workers = workers;
    for (tap->size = RING_LEAST; tap->size < config->ring_bytes;)
        tap->size *= 2;
    atomic_store(&tap->left, config->most);
    int result = 0;
    for (uint32_t type = VDP_L2; type <= VDP_L3 && result == 0; type++)
        result = copy_filter(tap, type, config->filter[type], config->filter_count[type]);
    for (uint32_t i = 0; i < workers && result == 0; i++)
        result = open_ring(tap, &tap->sides[i]);
    if (result < 0)
        free_tap(tap);
    else
        *made = tap;
    return result;
}

static int open_on(struct vdp_worker *worker, void *argument)
{
    worker->tapped |= *(const uint32_t *)argument;
    return 0;
}

/* What it followed is not the business of the next one that gets its place. */
static int close_on(struct vdp_worker *worker, void *argument)
{
    const uint32_t bit = *(const uint32_t *)argument;

    worker->tapped &= ~bit;
    for (uint32_t i = 0; i < worker->packet_count; i++)
        worker->packets[i].mark.taps &= ~bit;
    return 0;
}

int vdp_tap_open(struct vdp_engine *engine, const struct vdp_tap_config *config)
{
    uint32_t place = 0;

    if (atomic_load(&engine->taps_off))
        return -ECANCELED;
    if (!config->points || config->points & ~(uint32_t)VDP_TAP_ALL || config->ring_bytes > RING_MOST)
        return -EINVAL;
    while (place < VDP_MAX_TAPS && engine->taps[place])
        place++;
    if (place == VDP_MAX_TAPS)
        return -ENOSPC;
    int result = make(engine, config, &engine->taps[place]);
    uint32_t bit = 1u << place;
    for (uint32_t i = 0; i < engine->config.workers && result == 0; i++)
        (void)vdp_worker_call(&engine->workers[i], open_on, &bit);
    return result < 0 ? result : (int)place + 1;
}

int vdp_tap_close(struct vdp_engine *engine, uint32_t number)
{
    struct vdp_tap *tap = find(engine, number);
    uint32_t bit = 1u << ((number - 1) % VDP_MAX_TAPS);

    if (!tap)
        return -ENOENT;
    for (uint32_t i = 0; i < tap->workers; i++)
        (void)vdp_worker_call(&engine->workers[i], close_on, &bit);
    engine->taps[number - 1] = NULL;
    free_tap(tap);
    return 0;
}

int vdp_tap_read(struct vdp_engine *engine, uint32_t number, uint32_t worker, uint8_t *bytes,
                 uint32_t size)
{
    struct vdp_tap *tap = find(engine, number);

    if (!tap)
        return -ENOENT;
    if (atomic_load(&engine->taps_off))
        return -ECANCELED;
    if (worker >= tap->workers || size > INT32_MAX)
        return -EINVAL;
    struct side *side = &tap->sides[worker];
    uint64_t head = atomic_load_explicit(&side->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&side->tail, memory_order_relaxed), end = tail;
    while (end != head) { /* whole records */
        struct vdp_tap_record one;
        get(tap, side, end, &one, sizeof one);
        uint32_t whole = (uint32_t)sizeof one + aligned(one.captured);
        if (end + whole - tail > size)
            break;
        end += whole;
    }
    get(tap, side, tail, bytes, (uint32_t)(end - tail));
    atomic_store_explicit(&side->tail, end, memory_order_release);
    return (int)(end - tail);
}

int vdp_tap_losses(struct vdp_engine *engine, uint32_t number, uint32_t worker,
                   struct vdp_tap_loss *losses, uint32_t size)
{
    struct vdp_tap *tap = find(engine, number);
    uint32_t count = 0;

    if (!tap)
        return -ENOENT;
    if (worker >= tap->workers)
        return -EINVAL;
    const struct side *side = &tap->sides[worker];
    for (uint32_t i = 0; i < LOSSES && count < size; i++) {
        uint64_t packets = __atomic_load_n(&side->losses[i].packets, __ATOMIC_ACQUIRE);
        if (packets)
            losses[count++] =
                (struct vdp_tap_loss){side->losses[i].point, side->losses[i].port, packets};
    }
    uint64_t elsewhere = vdp_stat_read(&side->lost_elsewhere);
    if (elsewhere && count < size)
        losses[count++] = (struct vdp_tap_loss){0, 0, elsewhere};
    return (int)count;
}

void vdp_taps_close(struct vdp_engine *engine)
{
    for (uint32_t i = 0; i < VDP_MAX_TAPS; i++)
        if (engine->taps[i])
            free_tap(engine->taps[i]);
}
