/* See checkpoint.h. */
#include "run/checkpoint.h"
#include "cpu/ranks.h"
#include "net/device.h"
#include "net/parameters.h"
#include "run/cfg_text.h"
#include "support.h"

#include "utils.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A file is the magic, a run_state, the text of the student's cfg, the arrays, and the hash of
 * all of it. For one changed byte that hash is another, whichever byte it is: each of its steps
 * is a bijection of what came before.
 */
static const char magic[8] = "DEEPKD04";
enum { VERSION_AT = 6 }; /* in the magic */

uint64_t hash_cfg(char *file)
{
    char *text = read_cfg_text(file);
    uint64_t hash = kd_hash(KD_HASH_START, text, strlen(text));
    free(text);
    return hash;
}

uint64_t hash_file(const char *file)
{
    unsigned char bytes[1 << 16];
    uint64_t hash = KD_HASH_START;
    size_t n;
    FILE *fp = fopen(file, "rb");
    if (!fp) file_error((char *)file);
    while ((n = fread(bytes, 1, sizeof(bytes), fp))) hash = kd_hash(hash, bytes, n);
    fclose(fp);
    return hash;
}

static uint64_t hash_weights(network *net)
{
    kd_arrays weights = network_arrays(net);
    uint64_t hash = hash_arrays(weights);
    kd_free_arrays(weights);
    return hash;
}

static uint64_t add_hash(uint64_t hash, uint64_t another)
{
    return kd_hash(hash, &another, sizeof(another));
}

/* Of what names it: a model has its weights in that file too */
static uint64_t hash_teacher(const teacher *t)
{
    return t->model ? hash_file(t->model) : hash_cfg(t->cfg);
}

run_state begin_state(const deepkd *kd, char *cfg, uint64_t train_hash, metric by,
                      uint64_t seed)
{
    run_state state = {.cfg = read_cfg_text(cfg),
                       .teacher_cfg_hash = hash_teacher(kd->teacher),
                       .teacher_hash = hash_weights(kd->teacher->net),
                       .train_hash = train_hash,
                       .seed = seed,
                       .metric = by,
                       .planned = images_per_batch(kd->net) * kd->net->max_batches,
                       .best = NO_BEST,
                       .average = -1};
    for (const teacher *t = kd->teacher->next; t; t = t->next) {
        state.teacher_cfg_hash = add_hash(state.teacher_cfg_hash, hash_teacher(t));
        state.teacher_hash = add_hash(state.teacher_hash, hash_weights(t->net));
    }
    return state;
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

static void put(FILE *fp, uint64_t *hash, const void *bytes, size_t n)
{
    fwrite(bytes, 1, n, fp); /* close_atomic finds what went wrong */
    *hash = kd_hash(*hash, bytes, n);
}

void save_checkpoint(char *file, const run_state *state, deepkd *kd)
{
    pull_network(kd->net);
    pull_groups(kd);
    kd_arrays arrays = state_arrays(kd);
    uint64_t hash = KD_HASH_START;
    run_state head = *state;
    head.cfg = 0; /* an address, which no two runs share */
    head.cfg_bytes = strlen(state->cfg);
    FILE *fp = open_atomic(file);
    put(fp, &hash, magic, sizeof(magic));
    put(fp, &hash, &head, sizeof(head));
    put(fp, &hash, state->cfg, head.cfg_bytes);
    for (int i = 0; i < arrays.n; ++i)
        put(fp, &hash, arrays.arrays[i].data, arrays.arrays[i].n * sizeof(float));
    fwrite(&hash, sizeof(hash), 1, fp);
    close_atomic(fp, file);
    kd_free_arrays(arrays);
}

void keep_checkpoint(char *file, char *previous)
{
    struct stat info;
    if (lstat(file, &info)) return; /* the first one */
    unlink(previous);
    /* a disk without second names has no state for a moment, and then the next one */
    if (link(file, previous) && rename(file, previous))
        kd_fail("%s: cannot be kept as %s: %s", file, previous, strerror(errno));
}

/* NULL: there is none. What is no file would never end, or never begin. */
static FILE *open_state(char *file)
{
    struct stat info;
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0 || fstat(fd, &info)) file_error(file);
    if (!S_ISREG(info.st_mode)) kd_fail("%s: expected a file, found none", file);
    FILE *fp = fdopen(fd, "rb");
    if (!fp) file_error(file);
    return fp;
}

static size_t bytes_of(FILE *fp)
{
    struct stat info;
    return fstat(fileno(fp), &info) ? 0 : info.st_size;
}

/* Does a file end with the hash of what comes before? */
static int is_whole(FILE *fp)
{
    char bytes[1 << 16];
    uint64_t hash = KD_HASH_START, saved;
    size_t left = bytes_of(fp), n;
    rewind(fp);
    for (; left > sizeof(saved); left -= n) {
        size_t most = left - sizeof(saved);
        n = fread(bytes, 1, most < sizeof(bytes) ? most : sizeof(bytes), fp);
        if (!n) return 0;
        hash = kd_hash(hash, bytes, n);
    }
    return fread(&saved, sizeof(saved), 1, fp) == 1 && saved == hash;
}

/* What a file is; when whole, its head goes into *state, and the text of its cfg follows. */
static state_kind read_head(FILE *fp, run_state *state)
{
    char head[sizeof(magic)] = {0};
    if (fread(head, 1, sizeof(head), fp) < VERSION_AT || memcmp(head, magic, VERSION_AT))
        return STATE_NONE_OF_OURS;
    if (!is_whole(fp)) return memcmp(head, magic, sizeof(magic)) ? STATE_OLD : STATE_DAMAGED;
    if (memcmp(head, magic, sizeof(magic))) return STATE_OLD;
    if (fseek(fp, sizeof(magic), SEEK_SET) || fread(state, sizeof(*state), 1, fp) != 1 ||
        state->cfg_bytes > bytes_of(fp))
        return STATE_DAMAGED;
    return STATE_WHOLE;
}

state_kind find_state(char *file, run_state *state)
{
    FILE *fp = open_state(file);
    if (!fp) return STATE_MISSING;
    state_kind kind = read_head(fp, state);
    fclose(fp);
    return kind;
}

const char *const state_kind_name[] = {
    "no such file", "a whole state", "a damaged state: its checksum is another",
    "a state of another version of distill", "another kind of file"};

static void check_same_cfg(char *file, FILE *fp, const run_state *found, const char *cfg)
{
    char was[128], is[128], *text = kd_calloc(found->cfg_bytes + 1, 1);
    if (fread(text, 1, found->cfg_bytes, fp) != found->cfg_bytes)
        kd_fail("%s: cannot be read to its end", file);
    if (strcmp(text, cfg)) {
        find_difference(text, cfg, was, is, sizeof(was));
        kd_fail(
            "%s: found a run of another student cfg, with %s, where this one has %s: expected "
            "the same cfg, or -start from its weights and another backup= folder",
            file, was, is);
    }
    free(text);
}

static void check_length(char *file, FILE *fp, const run_state *found, kd_arrays arrays)
{
    size_t expected = sizeof(magic) + sizeof(*found) + found->cfg_bytes + sizeof(uint64_t);
    for (int i = 0; i < arrays.n; ++i) expected += arrays.arrays[i].n * sizeof(float);
    if (bytes_of(fp) != expected)
        kd_fail("%s: found %zu bytes, expected %zu for this student and its momentum groups",
                file, bytes_of(fp), expected);
}

/* But for the cfg */
static void check_same_run(char *file, const run_state *found, const run_state *expected)
{
    const char *what = 0;
    if (found->train_hash != expected->train_hash)
        what = "list of training images (train= and unlabelled=: paths, order, labels)";
    if (found->teacher_hash != expected->teacher_hash) what = "teacher's weights";
    if (found->teacher_cfg_hash != expected->teacher_cfg_hash) what = "teacher's cfg";
    if (what)
        kd_fail("%s: found the state of a run with another %s, expected this one's", file,
                what);
    if (found->metric != expected->metric)
        kd_fail("%s: found the state of a run %s -map, expected this one %s it", file,
                found->metric < expected->metric ? "with" : "without",
                found->metric < expected->metric ? "with" : "without");
    if (expected->seed && found->seed != expected->seed)
        kd_fail("%s: found the state of a run with another seed, %llu: expected it or no -seed",
                file, (unsigned long long)found->seed);
}

void share_state(run_state *state, deepkd *kd)
{
    kd_arrays arrays = state_arrays(kd);
    char *cfg = state->cfg;
    state->seen = *kd->net->seen;
    state->gsnr = kd->gsnr;
    copy_first_rank(state, sizeof(*state));
    for (int i = 0; i < arrays.n; ++i)
        copy_first_rank(arrays.arrays[i].data, arrays.arrays[i].n * sizeof(float));
    kd_free_arrays(arrays);
    state->cfg = cfg;
    *kd->net->seen = state->seen;
    kd->gsnr = state->gsnr;
}

void load_checkpoint(char *file, run_state *state, deepkd *kd)
{
    run_state found;
    kd_arrays arrays = state_arrays(kd);
    FILE *fp = open_state(file);
    state_kind kind = fp ? read_head(fp, &found) : STATE_MISSING;
    if (kind != STATE_WHOLE)
        kd_fail("%s: found %s, expected a state that distill has saved", file,
                state_kind_name[kind]);
    check_same_cfg(file, fp, &found, state->cfg);
    check_length(file, fp, &found, arrays);
    check_same_run(file, &found, state);
    for (int i = 0; i < arrays.n; ++i)
        if (fread(arrays.arrays[i].data, sizeof(float), arrays.arrays[i].n, fp) !=
            arrays.arrays[i].n)
            kd_fail("%s: cannot be read to its end", file);
    fclose(fp);
    kd_free_arrays(arrays);
    push_network(kd->net);
    push_groups(kd);
    found.cfg = state->cfg;
    found.cfg_bytes = 0;
    *state = found;
    *kd->net->seen = found.seen;
    kd->gsnr = found.gsnr;
}
