/* Reading a scenario's file, and an engine that it can run on. */
#include "scenario.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void scenario_fail(const char *what)
{
    fprintf(stderr, "engine: %s\n", what);
    exit(1);
}

static const void *take(const struct scenario *scenario, size_t *at, size_t size)
{
    const void *found = scenario->bytes + *at;

    if (size > scenario->size - *at)
        scenario_fail("the scenario is cut short");
    *at += size;
    return found;
}

void scenario_flow_at(const struct scenario *scenario, size_t *at, struct scenario_flow *flow)
{
    uint32_t sizes[2];

    memcpy(&flow->match, take(scenario, at, sizeof flow->match), sizeof flow->match);
    memcpy(sizes, take(scenario, at, sizeof sizes), sizeof sizes);
    if (sizes[0] > VDP_MAX_ACTIONS || sizes[1] > VDP_MAX_BLOB)
        scenario_fail("a program is too large");
    size_t actions = sizes[0] * sizeof *flow->actions;
    memcpy(flow->actions, take(scenario, at, actions), actions);
    memcpy(flow->blob, take(scenario, at, sizes[1]), sizes[1]);
    flow->program = (struct vdp_program){flow->actions, sizes[0], flow->blob, sizes[1]};
}

void scenario_first_flow(const struct scenario *scenario, struct scenario_flow *flow)
{
    size_t at = scenario->flows_at;

    for (uint32_t i = 0; i < scenario->head.flows; i++) {
        scenario_flow_at(scenario, &at, flow);
        if (flow->match.in_port == scenario->head.in_port)
            return;
    }
    scenario_fail("no flow takes the packet");
}

void scenario_load(struct scenario *scenario, const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    size_t at = 0;

    if (fd < 0 || fstat(fd, &status) < 0)
        scenario_fail("there is no such scenario");
    scenario->size = (size_t)status.st_size;
    scenario->bytes = mmap(NULL, scenario->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (scenario->bytes == MAP_FAILED)
        scenario_fail("the scenario can not be read");
    close(fd);
    memcpy(&scenario->head, take(scenario, &at, sizeof scenario->head), sizeof scenario->head);
    scenario->ports = take(scenario, &at, scenario->head.ports * sizeof *scenario->ports);
    scenario->states = take(scenario, &at, scenario->head.states * sizeof *scenario->states);
    scenario->flows_at = at;
    scenario->packet = scenario->bytes + scenario->size - scenario->head.length;
}

/* Ports that are always ready to be read from: an event descriptor a worker that nobody drains. */
static void add_port(struct vdp_engine *engine, const struct scenario_port *port,
                     const struct vdp_port_ops *ops, bool receives)
{
    bool is_cell = port->type == VDP_PORT_CELL;
    struct vdp_port_config config = {.name = "bench", .type = VDP_PORT_MEMORY,
                                     .packet_type = port->packet_type, .tx_queue = VDP_BATCH};

    if (is_cell) {
        config.type = VDP_PORT_CELL;
        config.features = VDP_F_TSO4 | VDP_F_TSO6;
    }
    int number = vdp_port_add(engine, &config);
    if (number < 0)
        scenario_fail("a port was refused");
    struct vdp_port *added = engine->ports[number];
    if (is_cell || !ops)
        return;
    added->ops->close(added);
    added->ops = ops;
    for (uint32_t i = 0; receives && i < engine->config.workers; i++) {
        struct vdp_queue *queue = engine->workers[i].queues[number];
        added->config.fd[added->config.fd_count++] = eventfd(1, 0);
        queue->tx_fd = -1;
    }
}

static void install_all(const struct scenario *scenario, struct vdp_engine *engine)
{
    static struct scenario_flow flow;
    size_t at = scenario->flows_at;

    for (uint32_t i = 0; i < scenario->head.flows; i++) {
        scenario_flow_at(scenario, &at, &flow);
        for (uint32_t worker = 0; worker < engine->config.workers; worker++)
            if (vdp_flow_install(engine, worker, &flow.match, &flow.program) < 0)
                scenario_fail("a flow was refused");
    }
}

struct vdp_engine *scenario_engine(const struct scenario *scenario, uint32_t workers,
                                   const struct vdp_port_ops *ops, bool with_flows)
{
    const struct scenario_head *head = &scenario->head;
    uint32_t flows = head->flows > head->variants ? head->flows : head->variants;
    struct vdp_engine_config config = {.workers = workers, .flows = flows + 1, .port_masks = 64};
    struct vdp_engine *engine;

    if (vdp_engine_new(&config, &engine) < 0)
        scenario_fail("no engine");
    for (uint32_t i = 0; i < head->ports; i++)
        add_port(engine, &scenario->ports[i], ops, i + 1 == head->in_port);
    for (uint32_t i = 0; i < head->counters; i++)
        if (vdp_counter_new(engine) < 0)
            scenario_fail("too many counters");
    for (uint32_t i = 0; i < head->states; i++)
        if (vdp_state_new(engine, scenario->states[i]) < 0)
            scenario_fail("too many states");
    for (uint32_t i = 0; i < head->headers; i++)
        if (vdp_header_new(engine, (const uint8_t[12]){2}, 12) < 0)
            scenario_fail("too many headers");
    if (with_flows)
        install_all(scenario, engine);
    return engine;
}
