/* The memory port: what is injected is received, what is sent can be collected.
 *
 * It stands for the kernel's side of a port: packets in transit are copies of their own
 * and hold no buffer of the pool, any thread may inject and collect.  Packets injected go
 * to worker 0.  At most tx_queue sent ones wait to be collected; then those behind them
 * stay in the transmit queue, as before a slow device. */
#include "offload.h"
#include "worker.h"

#include <stdlib.h>

/* One packet between the engine and whoever injects or collects. */
struct record {
    struct record *next;
    struct vdp_offload offload;
    uint8_t meta[VDP_META_SIZE];
    bool has_meta;
    uint32_t length;
    uint8_t bytes[];
};

struct records {
    struct record *head, *tail;
    uint32_t count;
};

struct memory {
    pthread_mutex_t lock;
    struct records received, sent;
};

static void append(struct records *records, struct record *record)
{
    record->next = NULL;
    if (records->tail)
        records->tail->next = record;
    else
        records->head = record;
    records->tail = record;
    records->count++;
}

static struct record *take(struct records *records)
{
    struct record *record = records->head;

    if (record) {
        records->head = record->next;
        if (!records->head)
            records->tail = NULL;
        records->count--;
    }
    return record;
}

static int memory_open(struct vdp_port *port)
{
    struct memory *memory = calloc(1, sizeof *memory);

    if (!memory)
        return -ENOMEM;
    pthread_mutex_init(&memory->lock, NULL);
    port->state = memory;
    return 0;
}

static void memory_close(struct vdp_port *port)
{
    struct memory *memory = port->state;
    struct record *record;

    while ((record = take(&memory->received)) || (record = take(&memory->sent)))
        free(record);
    pthread_mutex_destroy(&memory->lock);
    free(memory);
}

/* Fill a packet from a record; 0 or a drop reason. */
static uint32_t load(const struct vdp_queue *queue, const struct record *record,
                     struct vdp_packet *packet)
{
    packet->length = record->length;
    memcpy(packet->data, record->bytes, record->length);
    vdp_queue_set_meta(queue, packet);
    if (record->has_meta) {
        uint8_t protocol[4];
        memcpy(protocol, packet->meta + 4, 4);
        memcpy(packet->meta + 4, record->meta + 4, VDP_META_SIZE - 4);
        if (!vdp_load_be32(packet->meta + 4))
            memcpy(packet->meta + 4, protocol, 4);
    }
    return vdp_offload_load(packet, &record->offload);
}

static int memory_receive(struct vdp_worker *worker, struct vdp_queue *queue, int fd,
                          struct vdp_packet **batch, int max)
{
    struct memory *memory = queue->port->state;
    int count = 0;

    (void)worker;
    (void)fd;
    while (count < max) {
        pthread_mutex_lock(&memory->lock);
        struct record *record = take(&memory->received);
        pthread_mutex_unlock(&memory->lock);
        if (!record)
            break;
        uint32_t reason = load(queue, record, batch[count]);
        if (reason != VDP_REASON_none) {
            vdp_queue_reject(queue, batch[count], record->length, reason);
            vdp_packet_reset(batch[count]);
        } else {
            count++;
        }
        free(record);
    }
    return count;
}

static struct record *store(const struct vdp_packet *packet)
{
    struct record *record = malloc(sizeof *record + packet->length);

    if (!record)
        return NULL;
    memset(&record->offload, 0, sizeof record->offload);
    memcpy(record->meta, packet->meta, VDP_META_SIZE);
    record->has_meta = true;
    record->length = packet->length;
    memcpy(record->bytes, packet->data, packet->length);
    return record;
}

static int memory_flush(struct vdp_worker *worker, struct vdp_queue *queue)
{
    struct memory *memory = queue->port->state;
    int result = 0;

    pthread_mutex_lock(&memory->lock);
    while (queue->tx.head) {
        if (memory->sent.count >= queue->port->config.tx_queue) {
            result = -EAGAIN;
            break;
        }
        struct vdp_packet *packet = vdp_queue_take(queue);
        struct record *record = store(packet);
        uint32_t reason = record ? vdp_offload_store(packet, &record->offload) : VDP_REASON_no_buffer;
        if (reason != VDP_REASON_none) {
            free(record);
            vdp_queue_drop(worker, queue, packet, reason);
            continue;
        }
        append(&memory->sent, record);
        vdp_queue_sent(worker, queue, packet);
    }
    pthread_mutex_unlock(&memory->lock);
    return result;
}

const struct vdp_port_ops vdp_port_memory_ops = {
    .open = memory_open,
    .close = memory_close,
    .receive = memory_receive,
    .flush = memory_flush,
};

static struct vdp_port *find(struct vdp_engine *engine, uint32_t number)
{
    struct vdp_port *port = number < engine->port_size ? engine->ports[number] : NULL;

    return port && port->config.type == VDP_PORT_MEMORY ? port : NULL;
}

int vdp_memory_inject(struct vdp_engine *engine, uint32_t number, const uint8_t *bytes,
                      uint32_t length, const uint8_t *meta, const struct vdp_offload *offload)
{
    struct vdp_port *port = find(engine, number);
    struct record *record;

    if (!port)
        return -ENODEV;
    if (length > VDP_MAX_LENGTH || (length && !bytes))
        return -EINVAL;
    record = calloc(1, sizeof *record + length);
    if (!record)
        return -ENOMEM;
    record->length = length;
    if (length)
        memcpy(record->bytes, bytes, length);
    if (meta)
        memcpy(record->meta, meta, VDP_META_SIZE);
    record->has_meta = meta;
    if (offload)
        record->offload = *offload;
    struct memory *memory = port->state;
    pthread_mutex_lock(&memory->lock);
    append(&memory->received, record);
    pthread_mutex_unlock(&memory->lock);
    vdp_worker_memory_ready(engine->workers[0].queues[number]);
    return 0;
}

int vdp_memory_collect(struct vdp_engine *engine, uint32_t number, uint8_t *bytes, uint32_t size,
                       uint8_t *meta, struct vdp_offload *offload)
{
    struct vdp_port *port = find(engine, number);

    if (!port)
        return -ENODEV;
    struct memory *memory = port->state;
    pthread_mutex_lock(&memory->lock);
    bool fits = !memory->sent.head || memory->sent.head->length <= size;
    struct record *record = fits ? take(&memory->sent) : NULL;
    bool was_full = record && memory->sent.count + 1 == port->config.tx_queue;
    pthread_mutex_unlock(&memory->lock);
    if (!fits)
        return -EMSGSIZE;
    if (!record)
        return -EAGAIN;
    if (record->length)
        memcpy(bytes, record->bytes, record->length);
    if (meta)
        memcpy(meta, record->meta, VDP_META_SIZE);
    if (offload)
        *offload = record->offload;
    int length = (int)record->length;
    free(record);
    for (uint32_t i = 0; was_full && i < engine->config.workers; i++)
        vdp_worker_memory_ready(engine->workers[i].queues[number]);
    return length;
}
