/* Ports: adding, removing, reading.
 *
 * The control side makes a port, then hands each worker a queue of it; it goes the other
 * way round, and what the queue holds is dropped as `shutdown`.  Numbers run through
 * NUMBERS values before one comes back. */
#include "flow.h"
#include "group.h"
#include "offload.h"
#include "upcall.h"
#include "worker.h"

#include <fcntl.h>
#include <stdlib.h>

enum { NUMBERS = 1 << 18, MOST_PORTS = 1 << 17, DEFAULT_TX_QUEUE = 1024 };

static const struct vdp_port_ops *const OPS[] = {
    [VDP_PORT_MEMORY] = &vdp_port_memory_ops, [VDP_PORT_TAP] = &vdp_port_tap_ops,
    [VDP_PORT_TUN] = &vdp_port_tun_ops,       [VDP_PORT_PACKET] = &vdp_port_packet_ops,
    [VDP_PORT_IP] = &vdp_port_ip_ops,         [VDP_PORT_CELL] = NULL,
    [VDP_PORT_IP6] = &vdp_port_ip6_ops,
};

static struct vdp_port *find(const struct vdp_engine *engine, uint32_t number)
{
    return number < engine->port_size ? engine->ports[number] : NULL;
}

static bool config_holds(const struct vdp_port_config *config)
{
    bool kernel = config->type != VDP_PORT_MEMORY && config->type != VDP_PORT_CELL;

    if (config->type > VDP_PORT_IP6 || config->packet_type > VDP_L3 ||
        config->fd_count > VDP_MAX_WORKERS || (config->fd_count > 0 && !kernel) ||
        config->send_count > VDP_MAX_WORKERS ||
        (config->send_count > 0 && config->type != VDP_PORT_PACKET) ||
        !memchr(config->name, 0, sizeof config->name))
        return false;
    for (uint32_t i = 0; i < config->fd_count; i++)
        if (config->fd[i] < 0)
            return false;
    for (uint32_t i = 0; i < config->send_count; i++)
        if (config->send_fd[i] < 0)
            return false;
    if (config->control_count && config->control_count >= config->fd_count)
        return false;
    return true;
}

/* Is there a device to be had for it, and none? */
static bool is_detached(const struct vdp_port *port)
{
    bool kernel = port->config.type != VDP_PORT_MEMORY && port->config.type != VDP_PORT_CELL;
    return kernel && port->config.fd_count == 0;
}

static int make_nonblocking(const int32_t *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int flags = fcntl(fds[i], F_GETFL);
        if (flags < 0 || fcntl(fds[i], F_SETFL, flags | O_NONBLOCK) < 0)
            return -errno;
    }
    return 0;
}

/* A free number, the next one in the round; room in the table for it. */
static int take_number(struct vdp_engine *engine, uint32_t *number)
{
    if (engine->port_count >= MOST_PORTS)
        return -ENOSPC;
    do {
        *number = engine->next_port;
        engine->next_port = engine->next_port + 1 < NUMBERS ? engine->next_port + 1 : 1;
    } while (find(engine, *number));
    if (*number < engine->port_size)
        return 0;
    uint32_t size = engine->port_size ? 2 * engine->port_size : 64;
    struct vdp_port **grown = realloc(engine->ports, size * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    memset(grown + engine->port_size, 0, (size - engine->port_size) * sizeof *grown);
    engine->ports = grown;
    engine->port_size = size;
    return 0;
}

static int grow_queues(struct vdp_worker *worker, uint32_t number)
{
    uint32_t size = worker->queue_size ? worker->queue_size : 64;

    while (size <= number)
        size *= 2;
    if (size == worker->queue_size)
        return 0;
    struct vdp_queue **grown = realloc(worker->queues, size * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    memset(grown + worker->queue_size, 0, (size - worker->queue_size) * sizeof *grown);
    worker->queues = grown;
    worker->queue_size = size;
    return 0;
}

/* The descriptor that this worker sends by.  Of sockets of one IP protocol each, the first is
 * the one for what is sent; the others hear ICMP errors. */
static int sending_fd(const struct vdp_worker *worker, const struct vdp_port_config *config)
{
    bool by_protocol = config->type == VDP_PORT_IP || config->type == VDP_PORT_IP6;

    if (!config->fd_count)
        return -1;
    if (worker->index < config->send_count)
        return config->send_fd[worker->index];
    return config->fd[by_protocol ? 0 : worker->index % (config->fd_count - config->control_count)];
}

/* On each worker. */
static int attach(struct vdp_worker *worker, void *argument)
{
    struct vdp_port *port = argument;
    struct vdp_queue *queue;
    int result = grow_queues(worker, port->number);

    if (result < 0)
        return result;
    queue = vdp_slab_take(worker->slab, sizeof *queue);
    if (!queue)
        return -ENOMEM;
    queue->port = port;
    queue->worker = worker;
    queue->tx_fd = sending_fd(worker, &port->config);
    queue->failed = is_detached(port);
    vdp_upcall_attach(worker, queue);
    worker->queues[port->number] = queue;
    return vdp_worker_watch(worker, queue);
}

/* On each worker; also undoes half an attach. */
static int detach(struct vdp_worker *worker, void *argument)
{
    const struct vdp_port *port = argument;
    struct vdp_queue *queue = vdp_worker_queue(worker, port->number);

    if (!queue)
        return 0;
    vdp_worker_forget(worker, queue);
    vdp_flow_clear(worker, port->number);
    vdp_upcall_clear(worker, queue);
    vdp_group_forget(worker, port->number);
    vdp_queue_clear(worker, queue, VDP_REASON_shutdown);
    if (queue->cell)
        vdp_cell_free(worker, queue);
    worker->queues[port->number] = NULL;
    free(queue->drops);
    vdp_slab_give(worker->slab, queue, sizeof *queue);
    return 0;
}

static void destroy(struct vdp_engine *engine, struct vdp_port *port)
{
    for (uint32_t i = 0; i < engine->config.workers; i++)
        vdp_worker_call(&engine->workers[i], detach, port);
    engine->ports[port->number] = NULL;
    engine->port_count--;
    if (port->ops && port->ops->close)
        port->ops->close(port);
    free(port);
}

static struct vdp_port *new_port(struct vdp_engine *engine, const struct vdp_port_config *config)
{
    struct vdp_port *port = vdp_alloc_lines(sizeof *port);

    if (!port)
        return NULL;
    port->config = *config;
    if (!port->config.tx_queue)
        port->config.tx_queue = DEFAULT_TX_QUEUE;
    if (config->type == VDP_PORT_TUN || config->type == VDP_PORT_IP || config->type == VDP_PORT_IP6)
        port->config.packet_type = VDP_L3;
    else if (config->type == VDP_PORT_TAP || config->type == VDP_PORT_PACKET)
        port->config.packet_type = VDP_L2;
    port->ops = OPS[config->type];
    port->engine = engine;
    atomic_store(&port->features, config->features);
    atomic_store(&port->up, 1);
    atomic_store(&port->error, is_detached(port) ? ENODEV : 0);
    return port;
}

static void wait_opened(struct vdp_port *port)
{
    if (port->ops && port->ops->opened)
        port->ops->opened(port);
}

void vdp_ports_opened(struct vdp_engine *engine)
{
    for (uint32_t i = 0; engine->opening && i < engine->port_size; i++)
        if (engine->ports[i])
            wait_opened(engine->ports[i]);
    engine->opening = false;
}

int vdp_port_add(struct vdp_engine *engine, const struct vdp_port_config *config)
{
    struct vdp_port *port;
    int result;

    if (!config || !config_holds(config))
        return -EINVAL;
    result = make_nonblocking(config->fd, config->fd_count);
    if (result == 0)
        result = make_nonblocking(config->send_fd, config->send_count);
    if (result < 0)
        return result;
    port = new_port(engine, config);
    if (!port)
        return -ENOMEM;
    result = take_number(engine, &port->number);
    bool is_there = port->config.type == VDP_PORT_MEMORY || port->config.fd_count; /* not detached */
    if (result == 0 && port->ops && port->ops->open && is_there)
        result = port->ops->open(port);
    if (result < 0) {
        free(port);
        return result;
    }
    if (engine->started)
        wait_opened(port);
    else
        engine->opening = true; /* beside the other ports that are added before the start */
    engine->ports[port->number] = port;
    engine->port_count++;
    for (uint32_t i = 0; i < engine->config.workers && result == 0; i++)
        result = vdp_worker_call(&engine->workers[i], attach, port);
    if (result < 0) {
        destroy(engine, port);
        return result;
    }
    return (int)port->number;
}

int vdp_port_remove(struct vdp_engine *engine, uint32_t number)
{
    struct vdp_port *port = find(engine, number);

    if (!port)
        return -ENODEV;
    destroy(engine, port);
    return 0;
}

/* A port that is set up gets another chance after a failure. */
static int revive(struct vdp_worker *worker, void *argument)
{
    const struct vdp_port *port = argument;
    struct vdp_queue *queue = vdp_worker_queue(worker, port->number);

    if (!queue->failed || is_detached(port))
        return 0;
    queue->failed = false;
    return vdp_worker_watch(worker, queue);
}

int vdp_port_set_up(struct vdp_engine *engine, uint32_t number, int up)
{
    struct vdp_port *port = find(engine, number);
    int result = 0;

    if (!port)
        return -ENODEV;
    if (up) {
        atomic_store(&port->error, is_detached(port) ? ENODEV : 0);
        atomic_store(&port->refused, 0);
    }
    for (uint32_t i = 0; up && i < engine->config.workers && result == 0; i++)
        result = vdp_worker_call(&engine->workers[i], revive, port);
    atomic_store(&port->up, up != 0);
    return result;
}

/* On each worker: no descriptor is looked at, nothing is sent any more. */
static int let_go(struct vdp_worker *worker, void *argument)
{
    const struct vdp_port *port = argument;
    struct vdp_queue *queue = vdp_worker_queue(worker, port->number);

    vdp_worker_forget(worker, queue);
    vdp_queue_clear(worker, queue, VDP_REASON_port_down);
    queue->tx_fd = -1;
    return 0;
}

int vdp_port_detach(struct vdp_engine *engine, uint32_t number)
{
    struct vdp_port *port = find(engine, number);

    if (!port)
        return -ENODEV;
    if (port->config.type == VDP_PORT_MEMORY || port->config.type == VDP_PORT_CELL)
        return -EINVAL;
    if (is_detached(port))
        return 0;
    for (uint32_t i = 0; i < engine->config.workers; i++)
        vdp_worker_call(&engine->workers[i], let_go, port);
    if (port->ops->close)
        port->ops->close(port);
    port->config.fd_count = port->config.send_count = 0;
    atomic_store(&port->error, ENODEV);
    return 0;
}

/* On each worker. */
static int take_up(struct vdp_worker *worker, void *argument)
{
    const struct vdp_port *port = argument;
    struct vdp_queue *queue = vdp_worker_queue(worker, port->number);

    queue->tx_fd = sending_fd(worker, &port->config);
    queue->failed = false;
    return vdp_worker_watch(worker, queue);
}

int vdp_port_attach(struct vdp_engine *engine, uint32_t number, const struct vdp_port_config *config)
{
    struct vdp_port *port = find(engine, number);
    int result;

    if (!port)
        return -ENODEV;
    if (!config || !config_holds(config) || config->type != port->config.type)
        return -EINVAL;
    if (port->config.fd_count || !config->fd_count)
        return -EBUSY;
    result = make_nonblocking(config->fd, config->fd_count);
    if (result == 0)
        result = make_nonblocking(config->send_fd, config->send_count);
    if (result < 0)
        return result;
    const struct vdp_port_config old = port->config;
    port->config = *config;
    port->config.tx_queue = old.tx_queue;
    port->config.packet_type = old.packet_type;
    if (port->ops->open)
        result = port->ops->open(port);
    if (result < 0) {
        port->config = old;
        return result;
    }
    wait_opened(port);
    atomic_store(&port->features, config->features);
    atomic_store(&port->refused, 0);
    atomic_store(&port->error, 0);
    for (uint32_t i = 0; i < engine->config.workers && result == 0; i++)
        result = vdp_worker_call(&engine->workers[i], take_up, port);
    if (result < 0)
        (void)vdp_port_detach(engine, number);
    return result;
}

int vdp_port_set_features(struct vdp_engine *engine, uint32_t number, uint32_t features)
{
    struct vdp_port *port = find(engine, number);

    if (!port)
        return -ENODEV;
    atomic_store(&port->features, features);
    return 0;
}

/* What vdp_port_read asks of each worker. */
struct reading {
    uint32_t number;
    struct vdp_port_stats *stats;
    bool failed;
};

/* struct vdp_port_stats begins with this many 64-bit sums. */
enum { SUMS = offsetof(struct vdp_port_stats, error) / sizeof(uint64_t) };

static int read_queue(struct vdp_worker *worker, void *argument)
{
    struct reading *reading = argument;
    const struct vdp_queue *queue = vdp_worker_queue(worker, reading->number);
    const uint64_t *from = (const uint64_t *)&queue->stats;
    uint64_t *to = (uint64_t *)reading->stats;

    for (unsigned i = 0; i < SUMS; i++)
        to[i] += vdp_stat_read(&from[i]);
    reading->failed = reading->failed || __atomic_load_n(&queue->failed, __ATOMIC_RELAXED);
    return 0;
}

/* Read beside the worker while it rests, for its books balance between two batches; else
 * ask it. */
static void read_worker(struct vdp_worker *worker, struct reading *reading)
{
    struct vdp_port_stats before = *reading->stats;
    uint64_t turns = atomic_load(&worker->turns);

    if (!(turns & 1)) {
        read_queue(worker, reading);
        if (atomic_load(&worker->turns) == turns)
            return;
        *reading->stats = before;
    }
    vdp_worker_call(worker, read_queue, reading);
}

int vdp_port_read(struct vdp_engine *engine, uint32_t number, struct vdp_port_stats *stats)
{
    struct vdp_port *port = find(engine, number);
    struct reading reading = {number, stats, false};

    if (!port)
        return -ENODEV;
    memset(stats, 0, sizeof *stats);
    for (uint32_t i = 0; i < engine->config.workers; i++)
        read_worker(&engine->workers[i], &reading);
    stats->error = atomic_load(&port->error);
    stats->up = atomic_load(&port->up) && !reading.failed;
    if (!engine->started)
        wait_opened(port);
    stats->refuses = atomic_load(&port->refused);
    stats->rx_ring = port->ops && port->ops->ring ? port->ops->ring(port) : 0;
    return 0;
}

int vdp_port_drops(struct vdp_engine *engine, uint32_t number, uint64_t *reasons, uint32_t count)
{
    if (!find(engine, number))
        return -ENODEV;
    memset(reasons, 0, count * sizeof *reasons);
    for (uint32_t w = 0; w < engine->config.workers; w++) {
        const struct vdp_queue *queue = engine->workers[w].queues[number];
        const uint64_t *drops = __atomic_load_n(&queue->drops, __ATOMIC_ACQUIRE);
        for (uint32_t i = 0; drops && i < count && i < VDP_MAX_REASONS; i++)
            reasons[i] += vdp_stat_read(&drops[i]);
    }
    return 0;
}
