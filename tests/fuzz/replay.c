/* A harness without libFuzzer: replays what is named (files, or folders of them), then tries as many
 * changes of these as asked for, the same in every run: `replay [-runs=N] [-seed=N] PATH...`.
 *
 * Compilers other than clang have no libFuzzer, and their code and sanitizers are to be tried too;
 * and without sanitizers a run is many times as fast, which comparing with the twin is after. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma weak LLVMFuzzerCustomMutator

enum { MOST = 4096, INPUTS_MOST = 65536 };

struct one {
    uint8_t *bytes;
    size_t size;
};

static struct one inputs[INPUTS_MOST];
static size_t input_count;
static uint64_t state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t most)
{
    static const uint8_t edges[] = {0, 1, 2, 4, 7, 8, 15, 16, 32, 63, 64, 127, 128, 250, 254, 255};
    for (uint32_t times = 1 + draw(4); times > 0; times--) {
        uint32_t way = draw(8);
        if (size == 0 || (way == 0 && size < most)) {
            bytes[size++] = (uint8_t)draw(256);
            continue;
        }
        uint32_t at = draw((uint32_t)size);
        if (way <= 2)
            bytes[at] = edges[draw(sizeof edges)];
        else if (way <= 4)
            bytes[at] ^= (uint8_t)(1u << draw(8));
        else if (way == 5)
            bytes[at] = (uint8_t)draw(256);
        else if (way == 6 && size > 1) {
            memmove(bytes + at, bytes + at + 1, size - at - 1);
            size--;
        } else if (size < most) {
            memmove(bytes + at + 1, bytes + at, size - at);
            size++;
        }
    }
    return size;
}

static const struct one *running;

/* What broke it is left behind, for libFuzzer or a debugger: found-input. */
static void leave_input(int number)
{
    int file = open("found-input", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (file >= 0 && running != NULL && write(file, running->bytes, running->size) >= 0)
        (void)!write(2, "the input is in found-input\n", 28);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void run(const struct one *one)
{
    running = one;
    uint8_t *exact = malloc(one->size + 1); /* a read past its end is seen */
    LAW(exact != NULL);
    memcpy(exact, one->bytes, one->size);
    (void)LLVMFuzzerTestOneInput(exact, one->size);
    free(exact);
}

static void replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct one *one = &inputs[input_count];
    if (file == NULL || input_count == INPUTS_MOST) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        exit(2);
    }
    one->bytes = malloc(MOST);
    LAW(one->bytes != NULL);
    one->size = fread(one->bytes, 1, MOST, file);
    (void)fclose(file);
    input_count++;
    run(one);
}

static void replay_all(const char *path)
{
    struct stat status;
    struct dirent **names;
    char inside[4096];
    if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
        replay(path);
        return;
    }
    int count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (names[i]->d_name[0] != '.') {
            (void)snprintf(inside, sizeof inside, "%s/%s", path, names[i]->d_name);
            replay_all(inside);
        }
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

static void change_one(void)
{
    static uint8_t bytes[MOST];
    struct one made = {bytes, 0};
    if (input_count > 0) {
        const struct one *from = &inputs[draw((uint32_t)input_count)];
        memcpy(bytes, from->bytes, from->size);
        made.size = from->size;
    }
    if (LLVMFuzzerCustomMutator)
        made.size = LLVMFuzzerCustomMutator(bytes, made.size, MOST, draw(UINT32_MAX));
    else
        made.size = LLVMFuzzerMutate(bytes, made.size, MOST);
    run(&made);
}

int main(int count, char **arguments)
{
    unsigned long long runs = 0;
    (void)signal(SIGABRT, leave_input);
    (void)signal(SIGSEGV, leave_input);
    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], "-runs=", 6) == 0)
            runs = strtoull(arguments[i] + 6, NULL, 10);
        else if (strncmp(arguments[i], "-seed=", 6) == 0)
            state ^= strtoull(arguments[i] + 6, NULL, 10) * 0x9e3779b97f4a7c15u;
        else
            replay_all(arguments[i]);
    }
    for (unsigned long long i = 0; i < runs; i++)
        change_one();
    fprintf(stderr, "replayed %zu inputs, tried %llu changes\n", input_count, runs);
    for (size_t i = 0; i < input_count; i++)
        free(inputs[i].bytes);
    return 0;
}
