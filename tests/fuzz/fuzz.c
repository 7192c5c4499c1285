/*
 * The readers of what comes from outside, each for libFuzzer: `make fuzz`. FUZZ in the
 * environment names the reader; the input is written to a file, which it is given. A reader may
 * refuse its input: exit() comes back here, and what it had allocated is lost, so leaks are not
 * looked for. A crash, a hang or a sanitizer's word is a find.
 */
#include "nets.h"

#include <sys/sysinfo.h>

#include "cli/arguments.h"
#include "darknet/geometry.h"
#include "data/annotations.h"
#include "data/labels.h"
#include "data/lists.h"
#include "data/logit_cache.h"
#include "net/strict.h"
#include "options.h"
#include "run/checkpoint.h"
#include "run/plain_cfg.h"

#define CLASSES 3
#define MOST 50
#define MEMORY                                                                                 \
    (512l << 20) /* what a network may ask for here: a fuzzer has no time for more             \
                  */

static const uint8_t *input;
static size_t input_size;
static jmp_buf refused;
static int reading;

void __real_exit(int status) __attribute__((noreturn));
int __real_sysinfo(struct sysinfo *info);

/* kd_fail's and Darknet's */
__attribute__((noreturn)) void __wrap_exit(int status)
{
    if (reading) longjmp(refused, 1);
    __real_exit(status);
}

/* kd_fail lets one thread exit; here there is one thread, and it comes again. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    (void)m;
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    (void)m;
    return 0;
}

/* A machine without more memory than that refuses larger networks. */
int __wrap_sysinfo(struct sysinfo *info)
{
    int failed = __real_sysinfo(info);
    info->totalram = MEMORY / info->mem_unit;
    info->totalswap = 0;
    return failed;
}

/* ---- networks ---------------------------------------------------------- */

#define NET "[net]\nbatch=2\nwidth=8\nheight=8\nchannels=3\n"
#define BODY                                                                                   \
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"         \
    "[avgpool]\n[connected]\noutput=3\nactivation=linear\n[softmax]\n"

static char *plain_file, *student_file;

/* Two batches of noise, as training takes them. */
static void train_steps(network *net)
{
    for (int i = 0; i < 2; ++i) {
        fill_batch(net, i);
        net->train = 1;
        *net->seen += net->batch;
        forward_network(net);
        backward_network(net);
        update_network(net);
    }
}

static network *plain_net(void)
{
    srand(1);
    return parse_network_cfg(plain_file);
}

/* A network as `distill` makes it, with its teacher if it is a student */
static network *make_net_of(char *cfg)
{
    srand(1);
    network *net = parse_strictly(cfg, 0, 1);
    deepkd *kd = find_deepkd(net);
    if (!kd) return net;
    char *weights = nets_file("plain.weights");
    free(kd->teacher->cfg);
    kd->teacher->cfg = kd_copy(plain_file);
    load_teacher(kd->teacher, weights);
    attach_deepkd_loss(kd, cfg);
    attach_groups(kd, cfg);
    free(weights);
    return net;
}

static void drop_net(network *net)
{
    deepkd *kd = find_deepkd(net);
    if (kd) release_groups(kd);
    free_network(net);
}

/* A cfg, as `distill` reads a student's or, of a plain one, as `classifier train` does. */
static void fuzz_cfg(char *file)
{
    network *net = make_net_of(file);
    check_trainable(net);
    if (net->truths) train_steps(net);
    drop_net(net);
}

/* The same, as a stock command reads it. */
static void fuzz_stock_cfg(char *file)
{
    cfg_section_hook = 0;
    srand(1);
    network *net = parse_network_cfg(file);
    set_batch_network(net, 1);
    fill_uniform(net->input, net->inputs, 0, 1);
    network_predict(net, net->input);
    free_network(net);
}

static void fuzz_weights(char *file)
{
    network *net = plain_net();
    load_weights(net, file);
    load_whole_weights(net, file, 1);
    free_network(net);
}

/* With the checksum that it should have, or little would come behind it */
static void fuzz_state(char *file)
{
    network *net = make_net_of(student_file);
    run_state state = begin_state(find_deepkd(net), student_file, 1, METRIC_TOP1, 0);
    uint64_t hash = kd_hash(KD_HASH_START, input, input_size);
    FILE *fp = fopen(file, "ab");
    fwrite(&hash, sizeof(hash), 1, fp);
    fclose(fp);
    load_checkpoint(file, &state, find_deepkd(net));
    drop_net(net);
}

static void fuzz_cache(char *file)
{
    float numbers[CLASSES];
    logit_cache *cache = open_logit_cache(file);
    uint64_t n = cached_images(cache, 0);
    free(read_note(cache, "seed"));
    for (uint64_t i = 0; i < n && i < MOST; ++i)
        read_cached_logits(cache, i, numbers, sizeof(numbers));
    close_logit_cache(cache);
}

static void make_cache(const char *file)
{
    const float numbers[CLASSES] = {1, 2, 3};
    unlink(file);
    logit_cache *cache = make_logit_cache(file);
    write_note(cache, "seed", "1");
    for (int i = 0; i < MOST; ++i) write_logits(cache, i, numbers, sizeof(numbers));
    save_logit_cache(cache);
    close_logit_cache(cache);
}

/* ---- lists and tables -------------------------------------------------- */

static void fuzz_data(char *file)
{
    read_data_options(file, NEEDS_VALID | NEEDS_TRAIN | NEEDS_BACKUP);
}

static void fuzz_labels(char *file)
{
    free(read_labels(file, CLASSES, MOST).boxes);
}

static void fuzz_list(char *file)
{
    char *labels = write_text("labels.txt", "0\n1\n2\n");
    read_image_list(file, labels, CLASSES);
}

static void fuzz_boxes(char *file)
{
    read_box_list(file, CLASSES, MOST, 0);
}

static void fuzz_names(char *file)
{
    free_ptrs((void **)read_names(file, CLASSES), CLASSES);
}

static void fuzz_json(char *file)
{
    free_annotations(read_annotations(file, CLASSES));
}

static void fuzz_map(char *file)
{
    free(read_map(file));
}

static void fuzz_tree(char *file)
{
    read_tree(file);
}

/* ---- the rest ---------------------------------------------------------- */

static void fuzz_image(char *file)
{
    free_image(load_image_color(file, 0, 0));
}

static void fuzz_export(char *file)
{
    FILE *nowhere = fopen("/dev/null", "w");
    export_cfg(file, nowhere);
    fclose(nowhere);
    check_is_plain(file);
}

static const struct {
    const char *name, *end; /* of the file */
    void (*read)(char *file);
} readers[] = {
    {"cfg", ".cfg", fuzz_cfg},
    {"stock", ".cfg", fuzz_stock_cfg},
    {"weights", ".weights", fuzz_weights},
    {"state", ".state", fuzz_state},
    {"data", ".data", fuzz_data},
    {"labels", ".txt", fuzz_labels},
    {"list", ".list", fuzz_list},
    {"boxes", ".list", fuzz_boxes},
    {"names", ".names", fuzz_names},
    {"json", ".json", fuzz_json},
    {"map", ".map", fuzz_map},
    {"tree", ".tree", fuzz_tree},
    {"image", ".jpg", fuzz_image},
    {"export", ".cfg", fuzz_export},
    {"cache", ".sqlite", fuzz_cache},
};

static void (*reader)(char *file);
static char *input_file;

/* The networks that readers read for, and the file that each of them writes: FUZZ_SEED says
 * where that of the reader is to be put, for the fuzzer to begin with. */
static void make_files(const char *name)
{
    char *weights = nets_file("plain.weights"), *seed = getenv("FUZZ_SEED");
    plain_file = write_text("plain.cfg", NET BODY);
    student_file = write_text("student.cfg", NET BODY "[teacher]\n[deepkd_loss]\n");
    network *net = plain_net();
    save_weights(net, weights);
    if (seed && !strcmp(name, "weights")) save_weights(net, seed);
    free_network(net);
    free(weights);
    if (seed && !strcmp(name, "cache")) make_cache(seed);
    if (!seed || strcmp(name, "state")) return;
    net = make_net_of(student_file);
    run_state state = begin_state(find_deepkd(net), student_file, 1, METRIC_TOP1, 0);
    save_checkpoint(seed, &state, find_deepkd(net));
    drop_net(net);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *name = getenv("FUZZ");
    for (int i = 0; name && i < COUNT(readers); ++i) {
        if (strcmp(name, readers[i].name)) continue;
        char text[32];
        start_nets();
        gpu_index = ON_CPU;
        snprintf(text, sizeof(text), "input%s", readers[i].end);
        input_file = nets_file(text);
        reader = readers[i].read;
        make_files(name);
        return 0;
    }
    fprintf(stderr, "FUZZ=%s: expected one of", name ? name : "");
    for (int i = 0; i < COUNT(readers); ++i) fprintf(stderr, " %s", readers[i].name);
    fprintf(stderr, "\n");
    __real_exit(1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    FILE *fp = fopen(input_file, "wb");
    if (!fp || fwrite(bytes, 1, n, fp) != n || fclose(fp)) abort();
    input = bytes;
    input_size = n;
    reading = 1;
    if (!setjmp(refused)) reader(input_file);
    reading = 0;
    return 0;
}
