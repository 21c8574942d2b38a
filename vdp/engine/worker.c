/* A worker: receive, classify, execute, flush; between two rounds, the mailbox.
 *
 * The control side never touches a worker's tables.  It puts a call into the mailbox,
 * wakes the worker by its eventfd, and waits for the result (vdp_worker_call). */
#include "worker.h"
#include "confine.h"
#include "flow.h"
#include "group.h"
#include "order.h"
#include "stage.h"
#include "tap.h"
#include "upcall.h"

#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    CELL_ROUNDS = VDP_MAX_DEPTH + 2,
    TICK_NS = 1000000, /* what epoll_wait waits in: what is due within one is due */
    BATCH_BYTES = 256 * 1024, /* what of a batch stays in a core's own cache */
    LEAST_BATCH = 4,
    NS_IN_US = 1000
};
static const uint64_t WAKE = UINT64_MAX; /* epoll data of the wake_fd */
enum { SENDS = 0xff }; /* in epoll data, for an index: the descriptor that only sends */

uint64_t vdp_engine_clock(struct vdp_engine *engine)
{
    uint64_t set = atomic_load_explicit(&engine->clock_ns, memory_order_relaxed);

    return set ? set : vdp_monotonic_ns();
}

void vdp_engine_set_clock(struct vdp_engine *engine, uint64_t now_ns)
{
    atomic_store(&engine->clock_ns, now_ns);
}

static void wake(struct vdp_worker *worker)
{
    uint64_t one = 1;
    ssize_t written = write(worker->wake_fd, &one, sizeof one);
    (void)written; /* a full counter wakes as well */
}

/* Count what was received from, or flushed out of, a port. */
static void enter(struct vdp_queue *queue, struct vdp_packet *const *packets, uint32_t count)
{
    uint64_t bytes = 0, segments = 0;

    for (uint32_t i = 0; i < count; i++) {
        packets[i]->in_port = queue->port->number;
        bytes += packets[i]->length;
        segments += packets[i]->segments;
    }
    vdp_stat_add(&queue->stats.rx_packets, count);
    vdp_stat_add(&queue->stats.rx_bytes, bytes);
    vdp_stat_add(&queue->stats.rx_segments, segments);
}

/* How many to receive at once next time: super-packets come in small batches. */
static uint32_t batch_size(struct vdp_packet *const *packets, uint32_t count)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += packets[i]->length;
    uint64_t fitting = bytes ? (uint64_t)BATCH_BYTES * count / bytes : VDP_BATCH;
    return (uint32_t)(fitting < LEAST_BATCH ? LEAST_BATCH
                      : fitting < VDP_BATCH ? fitting
                                            : VDP_BATCH);
}

/* Drop what came in by ports that are down; how many packets are left. */
static uint32_t drop_down(struct vdp_worker *worker, struct vdp_packet **packets, uint32_t count)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct vdp_queue *queue = vdp_worker_queue(worker, packets[i]->in_port);
        if (atomic_load_explicit(&queue->port->up, memory_order_relaxed))
            packets[left++] = packets[i];
        else
            vdp_packet_drop(worker, packets[i], VDP_REASON_port_down);
    }
    return left;
}

/* Classify and execute what entered. */
static void run_packets(struct vdp_worker *worker, struct vdp_packet **packets, uint32_t count)
{
    struct vdp_flow *flows[VDP_BATCH];
    uint32_t before = vdp_stage_enter(worker, VDP_STAGE_LOOKUP);

    count = drop_down(worker, packets, count);
    vdp_lookup(worker, packets, count, flows);
    vdp_stage_count(worker, count);
    (void)vdp_stage_enter(worker, VDP_STAGE_EXECUTE);
    for (uint32_t i = 0; i < count; i++) {
        struct vdp_packet *packet = packets[i];
        struct vdp_queue *queue = vdp_worker_queue(worker, packet->in_port);

        if (flows[i]) {
            vdp_stat_add(&queue->stats.hits, 1);
            vdp_flow_run(worker, flows[i], packet);
        } else {
            vdp_stat_add(&queue->stats.misses, 1);
            vdp_upcall_miss(worker, queue, packet);
        }
    }
    vdp_stage_count(worker, count);
    (void)vdp_stage_enter(worker, before);
}

/* The pool is empty: read one packet all the same, so that the port does not stay ready
 * for ever, and count it. */
static int receive_without_buffer(struct vdp_worker *worker, struct vdp_queue *queue, int fd)
{
    struct vdp_packet *packet = worker->reserve;

    vdp_packet_reset(packet);
    int count = queue->port->ops->receive(worker, queue, fd, &packet, 1);
    worker->reserve = packet;
    if (count > 0)
        vdp_queue_reject(queue, packet, packet->length, VDP_REASON_no_buffer);
    return count;
}

static int receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd)
{
    struct vdp_packet *batch[VDP_BATCH], *fresh;
    int count;

    while (worker->batch_count < VDP_BATCH && (fresh = vdp_packet_alloc(worker)))
        worker->batch[worker->batch_count++] = fresh;
    if (worker->batch_count) {
        uint32_t most = queue->batch_size ? queue->batch_size : (uint32_t)VDP_BATCH;
        most = most < worker->batch_count ? most : worker->batch_count;
        count = queue->port->ops->receive(worker, queue, fd, worker->batch, (int)most);
        if (count > 0) {
            uint32_t taken = (uint32_t)count;
            memcpy(batch, worker->batch, taken * sizeof *batch);
            worker->batch_count -= taken;
            memmove(worker->batch, worker->batch + taken, worker->batch_count * sizeof *batch);
            queue->batch_size = batch_size(batch, taken);
            enter(queue, batch, taken);
            vdp_stage_received(worker, taken);
            vdp_tap_receive(queue, batch, taken);
            run_packets(worker, batch, taken);
        }
    } else {
        count = receive_without_buffer(worker, queue, fd);
    }
    if (count < 0 && count != -EAGAIN && count != -EINTR)
        vdp_queue_fail(worker, queue, -count);
    return count > 0 ? count : 0;
}

static int receive_ready(struct vdp_worker *worker, const struct epoll_event *event)
{
    uint32_t index = (uint32_t)(event->data.u64 & 0xff);
    struct vdp_queue *queue = vdp_worker_queue(worker, (uint32_t)(event->data.u64 >> 8));
    int received = 0;

    if (!queue || queue->failed)
        return 0;
    /* What waited for the start is all new to the slow path: better where it is than lost. */
    if (worker->resumed_ns < worker->engine->warm_until_ns && worker->held >= VDP_BATCH)
        return 0;
    int fd = index == SENDS ? queue->tx_fd : queue->port->config.fd[index];
    if (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP) && index != SENDS &&
        index % worker->engine->config.workers == worker->index)
        received = receive(worker, queue, fd);
    if (event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && queue->blocked && fd == queue->tx_fd)
        vdp_queue_flush(worker, queue);
    return received;
}

/* Memory ports make themselves known here instead of in epoll. */
static int receive_memory(struct vdp_worker *worker)
{
    struct vdp_queue *queue;
    int received = 0, count;

    pthread_mutex_lock(&worker->lock);
    queue = worker->memory_ready;
    worker->memory_ready = NULL;
    while (queue) {
        struct vdp_queue *next = queue->next_memory;
        queue->memory_ready = false;
        pthread_mutex_unlock(&worker->lock);
        count = receive(worker, queue, -1);
        received += count;
        if (count)
            vdp_worker_memory_ready(queue);
        vdp_queue_flush(worker, queue);
        pthread_mutex_lock(&worker->lock);
        queue = next;
    }
    pthread_mutex_unlock(&worker->lock);
    return received;
}

/* Empty a cell: its packets go to the end of the list, as received from the link. */
static void flush_cell(struct vdp_worker *worker, struct vdp_queue *queue, struct vdp_packet_list *out)
{
    struct vdp_packet_list list = {0};
    struct vdp_packet *batch[VDP_BATCH];

    vdp_cell_flush(worker, queue, &list);
    while (list.count) {
        uint32_t count = 0;
        while (count < VDP_BATCH && list.head)
            vdp_list_append(out, batch[count++] = vdp_list_take(&list));
        enter(queue, batch, count);
    }
}

/* What the cells coalesced comes in again, and may fill other cells: a packet passes
 * VDP_MAX_DEPTH of them at most, one a round.  What clones multiply beyond that waits for
 * the next iteration.  Of a round all cells are emptied first: with many tunnels there is
 * little in each, and what they have makes a batch. */
static void flush_cells(struct vdp_worker *worker)
{
    for (int round = 0; worker->cell_ready && round < CELL_ROUNDS; round++) {
        struct vdp_queue *queue = worker->cell_ready;
        struct vdp_packet_list list = {0};

        worker->cell_ready = NULL;
        (void)vdp_stage_enter(worker, VDP_STAGE_CELLS);
        for (; queue; queue = queue->next_cell) {
            queue->cell_ready = false;
            flush_cell(worker, queue, &list);
        }
        vdp_stage_count(worker, list.count);
        while (list.count) {
            struct vdp_packet *batch[VDP_BATCH];
            uint32_t count = 0;
            while (count < VDP_BATCH && list.head)
                batch[count++] = vdp_list_take(&list);
            run_packets(worker, batch, count);
        }
    }
}

void vdp_worker_flush(struct vdp_worker *worker)
{
    struct vdp_queue *queue = worker->tx_ready;

    worker->tx_ready = NULL;
    while (queue) {
        struct vdp_queue *next = queue->next_tx;
        queue->tx_ready = false;
        if (!queue->blocked)
            vdp_queue_flush(worker, queue);
        queue = next;
    }
    vdp_order_end(worker);
}

static void signal_control(struct vdp_worker *worker)
{
    uint64_t one = 1;

    if (!worker->signal)
        return;
    worker->signal = false;
    ssize_t written = write(worker->engine->event_fd, &one, sizeof one);
    (void)written;
}

/* Does a cell hold what the next packets could be joined to, and may it hold it longer?  Not
 * for ever: config.hold_us after the first packet came, all cells are flushed. */
static bool holds_cells(struct vdp_worker *worker)
{
    bool is_open = false;

    for (struct vdp_queue *queue = worker->cell_ready; queue && !is_open; queue = queue->next_cell)
        is_open = vdp_cell_is_open(queue);
    if (!is_open || atomic_load(&worker->attention))
        return false;
    if (!worker->hold_until_ns)
        worker->hold_until_ns =
            worker->resumed_ns +
            (uint64_t)atomic_load_explicit(&worker->engine->hold_us, memory_order_relaxed) * NS_IN_US;
    return vdp_monotonic_ns() < worker->hold_until_ns;
}

static void settle(struct vdp_worker *worker)
{
    worker->hold_until_ns = 0;
    flush_cells(worker);
    vdp_worker_flush(worker);
    signal_control(worker);
}

static void serve(struct vdp_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    atomic_store(&worker->attention, worker->memory_ready || worker->stopping);
    if (worker->call) {
        int (*call)(struct vdp_worker *, void *) = worker->call;
        pthread_mutex_unlock(&worker->lock);
        (void)vdp_stage_enter(worker, VDP_STAGE_CONTROL);
        int result = call(worker, worker->argument);
        vdp_stage_count(worker, 0);
        settle(worker);
        pthread_mutex_lock(&worker->lock);
        worker->result = result;
        worker->call = NULL;
        pthread_cond_signal(&worker->done);
    }
    pthread_mutex_unlock(&worker->lock);
}

/* Queues whose device had no room try once more.  There are few such moments: all queues are
 * looked at, rather than one more list kept. */
static void retry(struct vdp_worker *worker)
{
    worker->retry_ns = 0;
    for (uint32_t number = 0; number < worker->queue_size; number++) {
        struct vdp_queue *queue = worker->queues[number];
        if (queue && queue->no_room)
            vdp_queue_flush(worker, queue);
    }
}

int vdp_worker_iterate(struct vdp_worker *worker, bool waits)
{
    struct epoll_event events[EVENTS];
    uint64_t until_ns = waits ? VDP_WAIT_FOR_EVENTS : 0;
    int received = 0;

    if (worker->cell_ready) /* 0, when it is not held, but had too many rounds */
        until_ns = worker->hold_until_ns;
    if (worker->retry_ns && worker->retry_ns < until_ns)
        until_ns = worker->retry_ns;
    if (atomic_load(&worker->attention) || vdp_group_is_due(worker))
        until_ns = 0;
    (void)vdp_stage_enter(worker, VDP_STAGE_WAIT);
    int count = vdp_worker_wait(worker, events, EVENTS, until_ns);
    (void)vdp_stage_enter(worker, VDP_STAGE_RECEIVE);
    atomic_fetch_add(&worker->turns, 1);
    for (int i = 0; i < count; i++) {
        uint64_t drained;
        if (events[i].data.u64 != WAKE)
            received += receive_ready(worker, &events[i]);
        else if (read(worker->wake_fd, &drained, sizeof drained) < 0)
            continue;
    }
    if (worker->retry_ns && worker->resumed_ns + TICK_NS >= worker->retry_ns)
        retry(worker);
    if (atomic_load(&worker->attention))
        received += receive_memory(worker);
    (void)vdp_stage_enter(worker, VDP_STAGE_COPY);
    uint32_t copied = vdp_group_turn(worker);
    if (copied)
        vdp_stage_count(worker, copied);
    received += (int)copied;
    if (waits && !copied && holds_cells(worker))
        vdp_worker_flush(worker);
    else
        settle(worker);
    if (atomic_load(&worker->attention))
        serve(worker);
    atomic_fetch_add(&worker->turns, 1);
    return received;
}

/* Say that it has begun, or why not (vdp_worker_start waits). */
static int begin(struct vdp_worker *worker)
{
    int result = vdp_confine_worker(worker);

    pthread_mutex_lock(&worker->lock);
    worker->result = result;
    worker->starting = false;
    pthread_cond_signal(&worker->done);
    pthread_mutex_unlock(&worker->lock);
    return result;
}

static void *run(void *argument)
{
    struct vdp_worker *worker = argument;

    if (begin(worker) < 0)
        return NULL;
    while (!atomic_load(&worker->stopping))
        vdp_worker_iterate(worker, true);
    return NULL;
}

int vdp_worker_call(struct vdp_worker *worker, int (*call)(struct vdp_worker *, void *), void *argument)
{
    struct vdp_engine *engine = worker->engine;
    int result;

    pthread_mutex_lock(&engine->call_lock);
    if (!engine->started) {
        worker->now_ns = vdp_engine_clock(engine);
        result = call(worker, argument);
        settle(worker);
    } else {
        pthread_mutex_lock(&worker->lock);
        worker->call = call;
        worker->argument = argument;
        atomic_store(&worker->attention, true);
        wake(worker);
        while (worker->call)
            pthread_cond_wait(&worker->done, &worker->lock);
        result = worker->result;
        pthread_mutex_unlock(&worker->lock);
    }
    pthread_mutex_unlock(&engine->call_lock);
    return result;
}

void vdp_worker_memory_ready(struct vdp_queue *queue)
{
    struct vdp_worker *worker = queue->worker;

    pthread_mutex_lock(&worker->lock);
    if (!queue->memory_ready) {
        queue->memory_ready = true;
        queue->next_memory = worker->memory_ready;
        worker->memory_ready = queue;
        atomic_store(&worker->attention, true);
        wake(worker);
    }
    pthread_mutex_unlock(&worker->lock);
}

static int watch_fd(struct vdp_worker *worker, struct vdp_queue *queue, int fd, uint32_t index)
{
    struct epoll_event event = {.data.u64 = (uint64_t)queue->port->number << 8 | index};

    if (!queue->failed && index != SENDS && index % worker->engine->config.workers == worker->index)
        event.events |= EPOLLIN;
    if (!queue->failed && queue->blocked && !queue->no_room && fd == queue->tx_fd)
        event.events |= EPOLLOUT;
    if (!event.events) {
        (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, fd, &event);
        return 0;
    }
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    if (errno == ENOENT && epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    return -errno;
}

int vdp_worker_watch(struct vdp_worker *worker, struct vdp_queue *queue)
{
    const struct vdp_port_config *config = &queue->port->config;
    int result = 0;

    for (uint32_t i = 0; i < config->fd_count && result == 0; i++)
        result = watch_fd(worker, queue, config->fd[i], i);
    if (result == 0 && worker->index < config->send_count)
        result = watch_fd(worker, queue, queue->tx_fd, SENDS);
    return result;
}

/* Take a queue out of one of the worker's lists. */
#define UNLINK(list, link, queue)                                                               \
    for (struct vdp_queue **at = &(list); *at; at = &(*at)->link)                               \
        if (*at == (queue)) {                                                                   \
            *at = (queue)->link;                                                                \
            break;                                                                              \
        }

void vdp_worker_forget(struct vdp_worker *worker, struct vdp_queue *queue)
{
    queue->failed = true;
    if (queue->blocked)
        atomic_fetch_sub(&worker->blocked, 1);
    queue->blocked = queue->no_room = false;
    (void)vdp_worker_watch(worker, queue);
    if (queue->tx_ready)
        UNLINK(worker->tx_ready, next_tx, queue)
    queue->tx_ready = false;
    if (queue->cell_ready) {
        UNLINK(worker->cell_ready, next_cell, queue)
        worker->cell_last = worker->cell_ready;
        while (worker->cell_last && worker->cell_last->next_cell)
            worker->cell_last = worker->cell_last->next_cell;
    }
    pthread_mutex_lock(&worker->lock);
    if (queue->memory_ready)
        UNLINK(worker->memory_ready, next_memory, queue)
    pthread_mutex_unlock(&worker->lock);
}

int vdp_worker_open(struct vdp_engine *engine, uint32_t index)
{
    struct vdp_worker *worker = &engine->workers[index];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE};

    worker->engine = engine;
    worker->index = index;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->done, NULL);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->epoll_fd < 0 || worker->wake_fd < 0 ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) < 0)
        return -errno;
    return 0;
}

void vdp_worker_close(struct vdp_worker *worker)
{
    if (worker->epoll_fd >= 0)
        close(worker->epoll_fd);
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    pthread_cond_destroy(&worker->done);
    pthread_mutex_destroy(&worker->lock);
}

int vdp_worker_start(struct vdp_worker *worker)
{
    char name[16];
    sigset_t all, before;

    worker->stopping = false;
    worker->starting = true;
    worker->resumed_ns = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    int error = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return -error;
    snprintf(name, sizeof name, "vdp-worker-%u", worker->index & 0xff);
    (void)pthread_setname_np(worker->thread, name);
    pthread_mutex_lock(&worker->lock);
    while (worker->starting)
        pthread_cond_wait(&worker->done, &worker->lock);
    error = worker->result;
    pthread_mutex_unlock(&worker->lock);
    if (error < 0)
        pthread_join(worker->thread, NULL);
    return error;
}

void vdp_worker_stop(struct vdp_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    atomic_store(&worker->attention, true);
    wake(worker);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    worker->stopping = false;
}
