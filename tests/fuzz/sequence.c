/* Target: vdp_state_pass: numbers of GRE packets (RFC 2890 2.2), with and without a window.
 * Trust:  hostile.
 * Oracle: a list of the numbers that came in, counted on over 32 bits, as vdp/testing/reference/state.py
 *         keeps it.  One worker; those beside it are tests/c/test_state.c's. */
#include "../../vdp/engine/state.h"
#include "fuzz.h"

enum { STEPS = 48, SIZE_MOST = 64, A_STEP = 1000, JUMPS_FROM = 32 };

struct came {
    uint64_t number;
    uint32_t serial;
};

struct model {
    uint64_t value, newest;
    uint32_t window, count;
    struct came came[STEPS];
};

static bool passes_late(const struct model *model, uint64_t number, uint32_t rule, uint32_t serial, bool waited)
{
    bool overtaken = waited;
    if (model->window == 0 || model->value - 1 - number > model->window)
        return false;
    for (uint32_t i = 0; i < model->count; i++) {
        if (model->came[i].number == number)
            return false;
        if (model->value - model->came[i].number < model->value - number &&
            model->came[i].serial <= serial)
            overtaken = false;
    }
    return rule & VDP_SEQUENCE_LATE || overtaken;
}

static bool passes(struct model *model, uint32_t sequence, uint32_t rule, uint32_t serial, bool waited)
{
    const uint64_t round = UINT64_C(1) << 32;
    bool any = rule & VDP_SEQUENCE_EXPLICIT ? model->value < round : (uint32_t)model->value == 0;
    uint64_t number;
    if (any) {
        number = (model->value < round ? round : model->value) + sequence;
    } else {
        uint32_t ahead = sequence - (uint32_t)model->value;
        number = model->value + (ahead < 1u << 31 ? ahead : ahead - round);
        if (ahead >= 1u << 31 && !passes_late(model, number, rule, serial, waited))
            return false;
        if (ahead >= 1u << 31) {
            model->came[model->count++] = (struct came){number, serial};
            return true;
        }
    }
    model->value = number + 1;
    model->came[model->count++] = (struct came){number, serial};
    return true;
}

/* A slot tells numbers apart that are less than 2^32 times the slots' count from one another: with
 * few slots a test ends before it went that far. */
static bool is_far(const struct model *model)
{
    return model->window && model->window < JUMPS_FROM && model->count &&
           model->value - model->came[0].number >= (UINT64_C(1) << 32) - SIZE_MOST;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct vdp_engine *engine;
    struct input in = {bytes, size};
    struct model model = {0};
    uint32_t serial = 10 * A_STEP;

    if (engine == NULL) {
        struct vdp_engine_config config = {.workers = 1, .packets = 16};
        LAW(vdp_engine_new(&config, &engine) == 0);
    }
    uint8_t choice = take8(&in);
    model.window = choice & 1 ? 1 + take8(&in) % SIZE_MOST : 0;
    int id = model.window ? vdp_window_new(engine, model.window) : vdp_state_new(engine, 0);
    LAW(id >= 0);
    if (choice & 2) {
        uint32_t number = take32(&in);
        LAW(vdp_state_write(engine, (uint32_t)id, number) == 0);
        model.value = number;
    }
    struct vdp_state *state = vdp_state_find(engine, (uint32_t)id);
    for (uint32_t i = 0; i < STEPS && in.left > 0 && !is_far(&model); i++) {
        uint8_t step = take8(&in), rule = step & 3;
        bool jumps = step & 4 && (model.window == 0 || model.window >= JUMPS_FROM);
        uint32_t number, sequence = (uint32_t)model.value + (uint32_t)(int32_t)(int8_t)take8(&in);
        if (jumps)
            sequence = take32(&in);
        bool waited = (step & 24) == 24;
        if (step >= 250) { /* SEQUENCE, on the same state */
            number = vdp_state_take(state, step - 249u);
            SAME(number, (uint32_t)model.value);
            model.value += step - 249u;
            continue;
        }
        serial += A_STEP; /* no two have one */
        uint32_t earlier = waited ? A_STEP * (take8(&in) % 8u) + A_STEP / 2 - i : 0;
        const struct vdp_arrival arrival = {0, serial - earlier, waited, false};
        bool wanted = passes(&model, sequence, rule, arrival.serial, waited);
        SAME(vdp_state_pass(state, sequence, rule, &arrival), wanted);
        LAW(vdp_state_read(engine, (uint32_t)id, &number) == 0);
        SAME(number, (uint32_t)model.value);
    }
    LAW(vdp_state_free(engine, (uint32_t)id) == 0);
    return 0;
}
