/* See checkpoint.h. */
#include "run/checkpoint.h"
#include "net/device.h"
#include "net/parameters.h"
#include "support.h"

#include "utils.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char magic[8] = "DEEPKD03";

uint64_t hash_cfg(char *file)
{
    uint64_t hash = KD_HASH_START;
    char *line;
    FILE *fp = fopen(file, "r");
    if (!fp) file_error(file);
    while ((line = fgetl(fp))) {
        strip(line);
        line[strcspn(line, "#;")] = 0;
        if (*line) hash = kd_hash(hash, line, strlen(line) + 1);
        free(line);
    }
    fclose(fp);
    return hash;
}

run_state begin_state(const deepkd *kd, char *cfg, uint64_t train_hash, metric by,
                      uint64_t seed)
{
    kd_arrays weights = network_arrays(kd->teacher->net);
    uint64_t parts[] = {hash_cfg(kd->teacher->cfg), hash_arrays(weights)};
    kd_free_arrays(weights);
    return (run_state){.cfg_hash = hash_cfg(cfg),
                       .teacher_hash = kd_hash(KD_HASH_START, parts, sizeof(parts)),
                       .train_hash = train_hash,
                       .seed = seed,
                       .metric = by,
                       .planned = images_per_batch(kd->net) * kd->net->max_batches,
                       .best = NO_BEST,
                       .average = -1};
}

/* The student's weights, then every group's buffers: what follows the header. */
static kd_arrays state_arrays(const deepkd *kd)
{
    kd_arrays all = network_arrays(kd->net), groups = group_arrays(kd);
    for (int i = 0; i < groups.n; ++i)
        kd_append(&all, groups.arrays[i].data, groups.arrays[i].n);
    kd_free_arrays(groups);
    return all;
}

void save_checkpoint(char *file, const run_state *state, deepkd *kd)
{
    pull_network(kd->net);
    pull_groups(kd);
    kd_arrays arrays = state_arrays(kd);
    FILE *fp = open_atomic(file);
    fwrite(magic, sizeof(magic), 1, fp);
    fwrite(state, sizeof(*state), 1, fp);
    for (int i = 0; i < arrays.n; ++i)
        fwrite(arrays.arrays[i].data, sizeof(float), arrays.arrays[i].n, fp);
    close_atomic(fp, file);
    kd_free_arrays(arrays);
}

static void check_length(char *file, FILE *fp, kd_arrays arrays)
{
    struct stat info;
    size_t expected = sizeof(magic) + sizeof(run_state);
    for (int i = 0; i < arrays.n; ++i) expected += arrays.arrays[i].n * sizeof(float);
    if (fstat(fileno(fp), &info)) file_error(file);
    if ((size_t)info.st_size != expected)
        kd_fail("%s: found %ld bytes, expected %zu for this student and its momentum groups",
                file, (long)info.st_size, expected);
}

static void check_same(char *file, const char *what, uint64_t found, uint64_t expected)
{
    if (found == expected) return;
    kd_fail("%s: found the state of a run with another %s (%016llx), expected this run's "
            "(%016llx)",
            file, what, (unsigned long long)found, (unsigned long long)expected);
}

/* The part before the arrays; 0 when it is something else. */
static int read_head(FILE *fp, run_state *state)
{
    char head[sizeof(magic)] = {0};
    return fread(head, sizeof(head), 1, fp) == 1 && !memcmp(head, magic, sizeof(magic)) &&
           fread(state, sizeof(*state), 1, fp) == 1;
}

int find_unfinished(char *file, run_state *state)
{
    FILE *fp = fopen(file, "rb");
    if (!fp) return 0;
    int found = read_head(fp, state) && state->seen && state->seen < state->planned;
    fclose(fp);
    return found;
}

void load_checkpoint(char *file, run_state *state, deepkd *kd)
{
    run_state found;
    kd_arrays arrays = state_arrays(kd);
    FILE *fp = fopen(file, "rb");
    if (!fp) file_error(file);
    if (!read_head(fp, &found))
        kd_fail("%s: found another kind of file, expected a state that distill has saved",
                file);
    check_same(file, "student cfg", found.cfg_hash, state->cfg_hash);
    check_length(file, fp, arrays);
    check_same(file, "teacher", found.teacher_hash, state->teacher_hash);
    check_same(file, "list of training images", found.train_hash, state->train_hash);
    if (found.metric != state->metric)
        kd_fail("%s: found the state of a run %s -map, expected this one %s it", file,
                found.metric < state->metric ? "with" : "without",
                found.metric < state->metric ? "with" : "without");
    if (state->seed) check_same(file, "seed", found.seed, state->seed);
    for (int i = 0; i < arrays.n; ++i)
        if (fread(arrays.arrays[i].data, sizeof(float), arrays.arrays[i].n, fp) !=
            arrays.arrays[i].n)
            kd_fail("%s: cannot be read to its end", file);
    fclose(fp);
    kd_free_arrays(arrays);
    push_network(kd->net);
    push_groups(kd);
    *state = found;
    *kd->net->seen = found.seen;
    kd->gsnr = found.gsnr;
}
