/* Upcalls: packets that wait for the slow path, and what becomes of them.
 *
 * Each port has its own line, bounded in length and in rates, and the slow path takes from
 * the lines in turn: a port under a flood of new flows, or of packets that a program sends a
 * copy of, starves itself alone.  Beside it a port has a short line for control traffic, which
 * goes first.  All lines together hold at most half of the pool. */
#include "upcall.h"
#include "tap.h"
#include "worker.h"

#include <stdlib.h>

static const uint64_t SECOND = 1000000000u;

enum { CONTROL_LINE = 64 };
enum slot_state { FREE = 0, WAITING, TAKEN };

/* What a packet of the pool, by its number, is held for. */
struct vdp_upcall_slot {
    uint64_t token; /* serial << 32 | number, while TAKEN */
    enum slot_state state;
    enum vdp_upcall_line line;
    uint32_t reason, cookie;
};

int vdp_upcall_open(struct vdp_worker *worker)
{
    worker->upcall_slots = calloc(worker->packet_count, sizeof *worker->upcall_slots);
    worker->upcall_rate = worker->engine->config.upcall_rate;
    return worker->upcall_slots ? 0 : -ENOMEM;
}

void vdp_upcall_close(struct vdp_worker *worker)
{
    free(worker->upcall_slots);
}

static struct vdp_bucket bucket_new(uint32_t rate, uint32_t burst)
{
    return (struct vdp_bucket){.rate = rate, .burst = burst, .tokens_ns = burst * SECOND};
}

void vdp_upcall_attach(struct vdp_worker *worker, struct vdp_queue *queue)
{
    const struct vdp_engine_config *config = &worker->engine->config;
    uint32_t half = config->action_rate / 2;

    queue->upcall_bucket = bucket_new(worker->upcall_rate, worker->upcall_rate);
    queue->control_bucket = bucket_new(config->control_rate, config->control_rate);
    queue->is_fair = worker->fair_queues;
    queue->action_bucket = bucket_new(config->action_rate, half ? half : 1);
}

void vdp_upcall_limit(struct vdp_queue *queue, uint32_t rate)
{
    uint64_t tokens_ns = queue->upcall_bucket.tokens_ns, filled_ns = queue->upcall_bucket.filled_ns;

    queue->upcall_bucket = bucket_new(rate, rate);
    queue->upcall_bucket.filled_ns = filled_ns;
    if (tokens_ns < queue->upcall_bucket.tokens_ns)
        queue->upcall_bucket.tokens_ns = tokens_ns;
}

/* One token, if there is one.  A rate of 0 is no bound. */
static bool bucket_take(struct vdp_bucket *bucket, uint64_t now_ns)
{
    if (!bucket->rate)
        return true;
    if (now_ns > bucket->filled_ns) {
        uint64_t elapsed = now_ns - bucket->filled_ns, full = bucket->burst * SECOND;
        if (elapsed > full / bucket->rate || bucket->tokens_ns + elapsed * bucket->rate > full)
            bucket->tokens_ns = full;
        else
            bucket->tokens_ns += elapsed * bucket->rate;
    }
    bucket->filled_ns = now_ns; /* also back, when the clock was set */
    if (bucket->tokens_ns < SECOND)
        return false;
    bucket->tokens_ns -= SECOND;
    return true;
}

static struct vdp_upcall_slot *slot_of(const struct vdp_worker *worker, const struct vdp_packet *packet)
{
    return &worker->upcall_slots[packet - worker->packets];
}

static uint32_t waiting(const struct vdp_queue *queue)
{
    return queue->upcalls[VDP_UPCALL_CONTROL].count + queue->upcalls[VDP_UPCALL_DATA].count;
}

/* Append to a line of the port; the port joins the turn. */
static void append(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet,
                   enum vdp_upcall_line line)
{
    slot_of(worker, packet)->state = WAITING;
    slot_of(worker, packet)->line = line;
    if (!waiting(queue)) {
        queue->next_upcall = NULL;
        if (worker->upcall_turn)
            worker->upcall_last->next_upcall = queue;
        else
            worker->upcall_turn = queue;
        worker->upcall_last = queue;
    }
    vdp_list_append(&queue->upcalls[line], packet);
    worker->signal = true;
}

static void hold(struct vdp_worker *worker, struct vdp_queue *queue)
{
    worker->held++;
    vdp_stat_add(&queue->stats.held, 1);
}

static void release(struct vdp_worker *worker, const struct vdp_packet *packet)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, packet->in_port);

    slot_of(worker, packet)->state = FREE;
    worker->held--;
    vdp_stat_sub(&queue->stats.held, 1);
}

/* Take the queue out of the turn, its line being empty. */
static void leave_turn(struct vdp_worker *worker, const struct vdp_queue *queue)
{
    struct vdp_queue *before = NULL;

    for (struct vdp_queue *at = worker->upcall_turn; at; before = at, at = at->next_upcall) {
        if (at != queue)
            continue;
        if (before)
            before->next_upcall = at->next_upcall;
        else
            worker->upcall_turn = at->next_upcall;
        if (worker->upcall_last == queue)
            worker->upcall_last = before;
        return;
    }
}

/* No line is longer than what is still free (dynamic thresholds, Choudhury and Hahne 1998): the
 * lines of some ports that flood leave room for the others'. */
static bool is_full(const struct vdp_worker *worker, const struct vdp_queue *queue,
                    enum vdp_upcall_line line)
{
    uint32_t most = worker->packet_count / 2, length = queue->upcalls[line].count;

    if (worker->held >= most)
        return true;
    if (line == VDP_UPCALL_CONTROL)
        return length >= CONTROL_LINE;
    return length >= worker->engine->config.upcall_queue || length >= most - worker->held;
}

static void send(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet,
                 enum vdp_upcall_line line, uint32_t reason, uint32_t cookie)
{
    if (is_full(worker, queue, line)) {
        worker->stats.upcalls_lost++;
        vdp_packet_drop(worker, packet, VDP_REASON_upcall_queue_full);
        return;
    }
    *slot_of(worker, packet) = (struct vdp_upcall_slot){.reason = reason, .cookie = cookie};
    if (!packet->waited)
        packet->waited = vdp_worker_serial(worker);
    vdp_tap_packet(worker, VDP_TAP_UPCALL, queue->port->number, packet);
    hold(worker, queue);
    vdp_stat_add(&queue->stats.upcalls, 1);
    append(worker, queue, packet, line);
}

/* Control traffic has a line and tokens of its own; what is beyond them is as all else. */
static bool takes_control(struct vdp_worker *worker, struct vdp_queue *queue,
                          const struct vdp_packet *packet)
{
    return queue->control_bucket.rate && vdp_control_is(packet) &&
           !is_full(worker, queue, VDP_UPCALL_CONTROL) &&
           bucket_take(&queue->control_bucket, worker->now_ns);
}

void vdp_upcall_miss(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet *packet)
{
    if (takes_control(worker, queue, packet)) {
        send(worker, queue, packet, VDP_UPCALL_CONTROL, VDP_UPCALL_MISS, 0);
        return;
    }
    if (!bucket_take(&queue->upcall_bucket, worker->now_ns)) {
        worker->stats.upcalls_lost++;
        vdp_packet_drop(worker, packet, VDP_REASON_upcall_rate);
        return;
    }
    send(worker, queue, packet, VDP_UPCALL_DATA, VDP_UPCALL_MISS, 0);
}

void vdp_upcall_copy(struct vdp_worker *worker, struct vdp_packet *packet, uint32_t cookie)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, packet->in_port);
    struct vdp_packet *copy;

    if (!bucket_take(&queue->action_bucket, worker->now_ns)) {
        worker->stats.actions_suppressed++;
        return;
    }
    copy = vdp_packet_copy(worker, packet);
    vdp_stat_add(&queue->stats.cloned, 1);
    if (copy) {
        send(worker, queue, copy, VDP_UPCALL_DATA, VDP_UPCALL_ACTION, cookie);
        return;
    }
    vdp_stat_add(&queue->stats.dropped, 1);
    vdp_queue_count_drop(queue, packet, VDP_REASON_no_buffer);
}

/* Move the packets that the flow takes to the end of `run`. */
static void withdraw(const struct vdp_worker *worker, struct vdp_packet_list *line,
                     const struct vdp_flow *flow, struct vdp_packet_list *run)
{
    struct vdp_packet_list before = *line;
    struct vdp_packet *packet;

    *line = (struct vdp_packet_list){0};
    while ((packet = vdp_list_take(&before))) {
        bool hit = slot_of(worker, packet)->reason == VDP_UPCALL_MISS && vdp_flow_matches(flow, packet);
        vdp_list_append(hit ? run : line, packet);
    }
}

void vdp_upcall_drain(struct vdp_worker *worker, struct vdp_flow *flow)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, flow->in_port);
    struct vdp_packet_list run = {0};
    struct vdp_packet *packet;

    if (!waiting(queue))
        return;
    for (int line = 0; line < VDP_UPCALL_LINES; line++)
        withdraw(worker, &queue->upcalls[line], flow, &run);
    if (!waiting(queue))
        leave_turn(worker, queue);
    /* Only now: what the packets set off may put others in line. */
    while ((packet = vdp_list_take(&run))) {
        release(worker, packet);
        vdp_flow_run(worker, flow, packet);
    }
}

static struct vdp_packet *take_next(struct vdp_queue *queue)
{
    bool has_control = queue->upcalls[VDP_UPCALL_CONTROL].count > 0;

    return vdp_list_take(&queue->upcalls[has_control ? VDP_UPCALL_CONTROL : VDP_UPCALL_DATA]);
}

void vdp_upcall_clear(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct vdp_packet *packet;

    if (waiting(queue))
        leave_turn(worker, queue);
    while ((packet = take_next(queue))) {
        release(worker, packet);
        vdp_packet_drop(worker, packet, VDP_REASON_shutdown);
    }
    for (uint32_t i = 0; i < worker->packet_count; i++) {
        packet = &worker->packets[i];
        if (worker->upcall_slots[i].state == TAKEN && packet->in_port == queue->port->number) {
            release(worker, packet);
            vdp_packet_drop(worker, packet, VDP_REASON_shutdown);
        }
    }
}

/* ---- the calls of engine.h ---- */

struct take {
    struct vdp_upcall *upcalls;
    uint32_t size;
};

static void fill(struct vdp_worker *worker, struct vdp_upcall *upcall, const struct vdp_packet *packet)
{
    struct vdp_upcall_slot *slot = slot_of(worker, packet);

    slot->state = TAKEN;
    slot->token = (uint64_t)++worker->upcall_serial << 32 | (uint64_t)(packet - worker->packets);
    *upcall = (struct vdp_upcall){
        .token = slot->token,
        .in_port = packet->in_port,
        .length = packet->length,
        .reason = slot->reason,
        .cookie = slot->cookie,
        .gso_type = packet->gso_type,
        .gso_size = packet->gso_size,
        .data = packet->data,
    };
    memcpy(upcall->meta, packet->meta, VDP_META_SIZE);
}

static int take(struct vdp_worker *worker, void *argument)
{
    const struct take *wanted = argument;
    uint32_t count = 0;
    struct vdp_queue *queue;

    while (count < wanted->size && (queue = worker->upcall_turn)) {
        fill(worker, &wanted->upcalls[count++], take_next(queue));
        leave_turn(worker, queue);
        if (!waiting(queue))
            continue;
        queue->next_upcall = NULL;
        if (worker->upcall_turn)
            worker->upcall_last->next_upcall = queue;
        else
            worker->upcall_turn = queue;
        worker->upcall_last = queue;
    }
    if (worker->upcall_turn)
        worker->signal = true; /* there is more */
    return (int)count;
}

int vdp_upcall_take(struct vdp_engine *engine, uint32_t worker, struct vdp_upcall *upcalls,
                    uint32_t size)
{
    struct take wanted = {upcalls, size};

    if (worker >= engine->config.workers)
        return -ENODEV;
    return vdp_worker_call(&engine->workers[worker], take, &wanted);
}

struct resolve {
    struct vdp_resolution *resolutions;
    uint32_t count;
};

static struct vdp_packet *packet_of(const struct vdp_worker *worker, uint64_t token)
{
    uint64_t number = token & UINT32_MAX;

    if (number >= worker->packet_count || worker->upcall_slots[number].state != TAKEN ||
        worker->upcall_slots[number].token != token)
        return NULL;
    return &worker->packets[number];
}

/* Run a program once that is kept by no flow. */
static int run_once(struct vdp_worker *worker, struct vdp_packet *packet,
                    const struct vdp_program *program)
{
    int error;
    struct vdp_compiled *compiled = vdp_program_compile(program, &error);

    if (!compiled) {
        vdp_packet_drop(worker, packet, VDP_REASON_handler_error);
        return error;
    }
    vdp_execute(worker, compiled, packet, 0);
    free(compiled);
    return 0;
}

static int64_t install(struct vdp_worker *worker, struct vdp_packet *packet,
                       const struct vdp_resolution *resolution)
{
    int error;
    struct vdp_compiled *compiled = vdp_program_compile(&resolution->program, &error);
    int64_t id = compiled ? vdp_flow_add(worker, resolution->match, compiled) : error;

    if (id >= 0)
        vdp_flow_run(worker, vdp_flow_find(worker, (uint64_t)id), packet);
    else if (id == -EINVAL)
        vdp_packet_drop(worker, packet, VDP_REASON_handler_error);
    else
        (void)run_once(worker, packet, &resolution->program);
    return id;
}

static void retry(struct vdp_worker *worker, struct vdp_packet *packet)
{
    struct vdp_queue *queue = vdp_worker_queue(worker, packet->in_port);
    struct vdp_flow *flow;

    vdp_lookup(worker, &packet, 1, &flow);

    if (flow) {
        vdp_flow_run(worker, flow, packet);
        return;
    }
    slot_of(worker, packet)->reason = VDP_UPCALL_MISS;
    hold(worker, queue);
    append(worker, queue, packet, slot_of(worker, packet)->line);
}

static int64_t resolve_one(struct vdp_worker *worker, const struct vdp_resolution *resolution)
{
    struct vdp_packet *packet = packet_of(worker, resolution->token);
    struct vdp_queue *queue;

    if (!packet || resolution->kind > VDP_RESOLVE_CONSUME)
        return -EINVAL;
    queue = vdp_worker_queue(worker, packet->in_port);
    release(worker, packet);
    switch (resolution->kind) {
    case VDP_RESOLVE_INSTALL:
        return install(worker, packet, resolution);
    case VDP_RESOLVE_EXECUTE:
        return run_once(worker, packet, &resolution->program);
    case VDP_RESOLVE_RETRY:
        retry(worker, packet);
        return 0;
    case VDP_RESOLVE_DROP:
        vdp_packet_drop(worker, packet, resolution->reason);
        return 0;
    default:
        vdp_stat_add(&queue->stats.consumed, 1);
        vdp_packet_free(worker, packet);
        return 0;
    }
}

/* First all packets in hand, which are the older ones, then those in line: so the order
 * within a flow is kept when the slow path resolves a whole take at once. */
static int resolve(struct vdp_worker *worker, void *argument)
{
    const struct resolve *wanted = argument;

    for (uint32_t i = 0; i < wanted->count; i++)
        wanted->resolutions[i].result = resolve_one(worker, &wanted->resolutions[i]);
    for (uint32_t i = 0; i < wanted->count; i++) {
        const struct vdp_resolution *done = &wanted->resolutions[i];
        struct vdp_flow *flow = NULL;
        if (done->kind == VDP_RESOLVE_INSTALL && done->result >= 0)
            flow = vdp_flow_find(worker, (uint64_t)done->result);
        if (flow)
            vdp_upcall_drain(worker, flow);
    }
    return 0;
}

int vdp_upcall_resolve(struct vdp_engine *engine, uint32_t worker, struct vdp_resolution *resolutions,
                       uint32_t count)
{
    struct resolve wanted = {resolutions, count};

    if (worker >= engine->config.workers)
        return -ENODEV;
    return vdp_worker_call(&engine->workers[worker], resolve, &wanted);
}

struct execute {
    uint32_t in_port, length;
    const uint8_t *bytes, *meta;
    const struct vdp_compiled *program;
};

static int execute(struct vdp_worker *worker, void *argument)
{
    const struct execute *wanted = argument;
    struct vdp_queue *queue = vdp_worker_queue(worker, wanted->in_port);
    struct vdp_packet *packet;

    if (!queue)
        return -ENODEV;
    packet = vdp_packet_alloc(worker);
    if (!packet)
        return -ENOBUFS;
    packet->in_port = wanted->in_port;
    packet->length = wanted->length;
    if (wanted->length)
        memcpy(packet->data, wanted->bytes, wanted->length);
    vdp_queue_set_meta(queue, packet);
    if (wanted->meta)
        memcpy(packet->meta, wanted->meta, VDP_META_SIZE);
    vdp_stat_add(&queue->stats.injected, 1);
    vdp_execute(worker, wanted->program, packet, 0);
    return 0;
}

int vdp_packet_execute(struct vdp_engine *engine, uint32_t worker, uint32_t in_port,
                       const uint8_t *bytes, uint32_t length, const uint8_t *meta,
                       const struct vdp_program *program)
{
    int result;

    if (worker >= engine->config.workers)
        return -ENODEV;
    if (length > VDP_MAX_LENGTH || (length && !bytes))
        return -EINVAL;
    struct vdp_compiled *compiled = vdp_program_compile(program, &result);
    if (!compiled)
        return result;
    struct execute wanted = {in_port, length, bytes, meta, compiled};
    result = vdp_worker_call(&engine->workers[worker], execute, &wanted);
    free(compiled);
    return result;
}
