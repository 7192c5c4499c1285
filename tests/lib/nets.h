/*
 * Small networks for the tests: cfg text to network, random weights, a student
 * with its teacher as `distill` would make them, their parameters as a list,
 * files in a folder of the program's own, and a child process for what exits.
 * A program that includes this calls start_nets() first.
 */
#ifndef NETS_H
#define NETS_H

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/wait.h>

#include "blas.h"
#include "cuda.h"
#include "parser.h"
#include "utils.h"

#include "deepkd.h"
#include "distil/deepkd_loss.h"
#include "distil/groups.h"
#include "net/device.h"
#include "net/parameters.h"
#include "support.h"

enum { ON_CPU = -1, ON_GPU = 0 };
#define MAX_PARAMETERS 96

/* What is broken, in words; valid until the next call */
static inline const char *broken_words(const deepkd *kd)
{
    static char text[64];
    name_broken(kd->broken, text, sizeof(text));
    return text;
}

/* ---- files ------------------------------------------------------------- */

static char nets_folder[64];
static pid_t nets_owner; /* of the folder; its children leave it alone */

static inline void remove_nets_folder(void)
{
    if (getpid() != nets_owner) return;
    DIR *folder = opendir(nets_folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
    rmdir(nets_folder);
}

/* region_hook: Darknet's lines for each head and batch are not shown. */
static inline int quiet_heads(network *net, region_figures f)
{
    (void)net, (void)f;
    return 0;
}

static inline void start_nets(void)
{
    strcpy(nets_folder, "/tmp/deepkd-nets-XXXXXX");
    if (!mkdtemp(nets_folder)) kd_fail("%s: cannot be made", nets_folder);
    nets_owner = getpid();
    atexit(remove_nets_folder);
    deepkd_init();
    region_hook = quiet_heads;
}

/* The path of a file in the program's folder, which goes when it ends; free it. */
static inline char *nets_file(const char *name)
{
    char path[sizeof(nets_folder) + 64];
    snprintf(path, sizeof(path), "%s/%s", nets_folder, name);
    return kd_copy(path);
}

static inline char *write_bytes(const char *name, const void *bytes, size_t n)
{
    char *path = nets_file(name);
    FILE *fp = fopen(path, "wb");
    assert_non_null(fp);
    assert_int_equal(fwrite(bytes, 1, n, fp), n);
    assert_int_equal(fclose(fp), 0);
    return path;
}

static inline char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

/* A text with a newline for every blank; its path. */
static inline char *write_cfg(const char *name, const char *text)
{
    char *lines = kd_copy(text), *path;
    for (char *c = lines; *c; ++c)
        if (*c == ' ') *c = '\n';
    path = write_text(name, lines);
    free(lines);
    return path;
}

/* ---- stderr ------------------------------------------------------------ */

static int nets_stderr = -1; /* the real one, while Darknet's tables are not shown */
static int nets_loud;        /* 1: in a child whose stderr is what is looked at */

static inline void silence(void)
{
    if (nets_loud) return;
    fflush(stderr);
    nets_stderr = dup(2);
    int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 2);
    close(nowhere);
}

static inline void speak(void)
{
    if (nets_loud) return;
    fflush(stderr);
    dup2(nets_stderr, 2);
    close(nets_stderr);
}

/* ---- children ---------------------------------------------------------- */

/* Runs act(argument) in a child. Its exit status (0 when act returned); its stderr in text. */
static inline int run_child(void (*act)(void *), void *argument, char *text, size_t size)
{
    int ends[2], status;
    size_t n = 0;
    ssize_t got;
    assert_int_equal(pipe(ends), 0);
    fflush(stdout), fflush(stderr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        check_state.is_child = 1;
        nets_loud = 1;
        dup2(ends[1], 2);
        act(argument);
        _exit(0);
    }
    close(ends[1]);
    while (n + 1 < size && (got = read(ends[0], text + n, size - 1 - n)) > 0) n += got;
    text[n] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The last of the lines, without its newline; changes text. */
static inline char *last_line(char *text)
{
    size_t n = strlen(text);
    if (n && text[n - 1] == '\n') text[n - 1] = 0;
    char *newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

/* act(argument) exits with 1, and its last line holds every one of `parts` (NULL-ended). */
static inline void assert_fails(void (*act)(void *), void *argument, const char *const *parts)
{
    static char text[1 << 16];
    int status = run_child(act, argument, text, sizeof(text));
    char *line = last_line(text);
    for (; *parts; ++parts)
        if (!strstr(line, *parts))
            fail_msg("found \"%s\", expected in it \"%s\"", line, *parts);
    if (status != 1) fail_msg("found exit status %d, expected 1: %s", status, line);
}
#define ASSERT_FAILS(act, argument, ...)                                                       \
    assert_fails(act, argument, (const char *const[]){__VA_ARGS__, 0})

/* ---- random numbers ---------------------------------------------------- */

/* Darknet's generator (patches/fixes/05): srand() sets this thread's own state. */
static inline void fill_uniform(float *x, size_t n, float low, float high)
{
    for (size_t i = 0; x && i < n; ++i) x[i] = rand_uniform(low, high);
}

/* ---- parameters -------------------------------------------------------- */

/* An array that is trained, and where Darknet adds -dL/dw of it. */
typedef struct {
    float *data, *gradient;
    size_t n;
    int layer;
    const char *name;
} parameter;

typedef struct {
    parameter list[MAX_PARAMETERS];
    int n;
} parameters;

static inline size_t weights_of(layer l)
{
    return l.type == CONNECTED ? (size_t)l.inputs * l.outputs : (size_t)l.nweights;
}

static inline size_t biases_of(layer l)
{
    return l.type == CONNECTED ? l.outputs : l.type == BATCHNORM ? l.c : l.n;
}

static inline void add_parameter(parameters *p, parameter one)
{
    if (!one.data || !one.n) return;
    assert_true(p->n < MAX_PARAMETERS);
    p->list[p->n++] = one;
}

static inline parameters parameters_of(network *net)
{
    parameters p = {.n = 0};
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type != CONVOLUTIONAL && l.type != DECONVOLUTIONAL && l.type != CONNECTED &&
            l.type != BATCHNORM && l.type != MULTI_SHORTCUT)
            continue;
        size_t n = biases_of(l);
        if (l.type != BATCHNORM)
            add_parameter(
                &p, (parameter){l.weights, l.weight_updates, weights_of(l), i, "weights"});
        add_parameter(&p, (parameter){l.biases, l.bias_updates, n, i, "biases"});
        if (l.scales) add_parameter(&p, (parameter){l.scales, l.scale_updates, n, i, "scales"});
    }
    return p;
}

static inline void zero_gradients(network *net)
{
    parameters p = parameters_of(net);
    for (int i = 0; i < p.n; ++i) memset(p.list[i].gradient, 0, p.list[i].n * sizeof(float));
}

/* ---- networks ---------------------------------------------------------- */

/* Biases, scales, rolling statistics and weights of sums, which Darknet starts at 0 and 1. */
static inline void randomise(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == MULTI_SHORTCUT) fill_uniform(l.weights, l.nweights, .3, 1.5);
        if (!l.biases || l.type == YOLO || l.type == REGION || l.type == BLANK)
            continue; /* anchors */
        size_t n = biases_of(l);
        fill_uniform(l.biases, n, -.4, .4);
        if (!l.batch_normalize && l.type != BATCHNORM) continue;
        fill_uniform(l.scales, n, .5, 1.5);
        fill_uniform(l.rolling_mean, n, -.3, .3);
        fill_uniform(l.rolling_variance, n, .5, 1.5);
    }
}

/* The network of a cfg file, buffers for `batch` images (0: the cfg's); every weight random. */
static inline network *parse_net_on(int gpu, char *file, int batch, unsigned int seed)
{
    silence();
    gpu_index = gpu;
    srand(seed);
    network *net = parse_network_cfg_batch(file, batch);
    speak();
    randomise(net);
    push_network(net);
    return net;
}

static inline network *parse_net(char *file, int batch, unsigned int seed)
{
    return parse_net_on(ON_CPU, file, batch, seed);
}

static inline network *make_net(const char *cfg, unsigned int seed)
{
    char *file = write_text("net.cfg", cfg);
    network *net = parse_net(file, 0, seed);
    free(file);
    return net;
}

static inline void save_net(network *net, char *file)
{
    silence();
    save_weights(net, file);
    speak();
}

static inline uint64_t hash_net(network *net)
{
    kd_arrays arrays = network_arrays(net);
    uint64_t hash = hash_arrays(arrays);
    kd_free_arrays(arrays);
    return hash;
}

/* Same architecture: to <- from. */
static inline void copy_net(network *from, network *to)
{
    kd_arrays a = network_arrays(from), b = network_arrays(to);
    assert_int_equal(a.n, b.n);
    for (int i = 0; i < a.n; ++i) {
        assert_int_equal(a.arrays[i].n, b.arrays[i].n);
        memcpy(b.arrays[i].data, a.arrays[i].data, a.arrays[i].n * sizeof(float));
    }
    kd_free_arrays(a);
    kd_free_arrays(b);
}

/* One batch of noise, and for each image one true class. */
static inline void fill_batch(network *net, unsigned int seed)
{
    srand(seed);
    fill_uniform(net->input, (size_t)net->inputs * net->batch, -1, 1);
    memset(net->truth, 0, (size_t)net->truths * net->batch * sizeof(float));
    for (int b = 0; b < net->batch; ++b) net->truth[b * net->truths + rand() % net->truths] = 1;
}

/* Sum over the batch of -log softmax(z)_t, in double from the logits of layer `softmax` - 1. */
static inline double task_loss(network *net, int softmax)
{
    int n = net->layers[softmax].inputs;
    double loss = 0;
    for (int b = 0; b < net->batch; ++b) {
        const float *z = net->layers[softmax - 1].output + (size_t)b * n;
        double most = z[0], sum = 0;
        for (int j = 1; j < n; ++j) most = fmax(most, z[j]);
        for (int j = 0; j < n; ++j) sum += exp(z[j] - most);
        int target = max_index(net->truth + (size_t)b * n, n);
        loss += most + log(sum) - z[target];
    }
    return loss;
}

/* ---- pairs ------------------------------------------------------------- */

/* A teacher's weights file for a cfg, with random weights. */
static inline char *write_teacher(char *cfg, unsigned int seed)
{
    char *file = nets_file("teacher.weights");
    network *net = parse_net(cfg, 0, seed);
    save_net(net, file);
    free_network(net);
    return file;
}

static const kd_method *next_method; /* of the next pair, in place of its cfg's; else NULL */
static int keep_next_apart;          /* 1: the next pair's components keep momenta apart */

/*
 * What `distill` does between parsing and training; student and teacher with random weights.
 * The files have these names; they are freed.
 */
static inline deepkd *pair_nets(int gpu, char *cfg, char *teacher_cfg, unsigned int seed,
                                unsigned int teacher_seed)
{
    char *weights = write_teacher(teacher_cfg, teacher_seed);
    network *net = parse_net_on(gpu, cfg, 0, seed);
    deepkd *kd = find_deepkd(net);
    assert_non_null(kd);
    free(kd->teacher->cfg);
    kd->teacher->cfg = teacher_cfg; /* which frees it */
    if (next_method) kd->loss_config.method = next_method;
    kd->keeps_apart = keep_next_apart;
    silence();
    load_teacher(kd->teacher, weights);
    attach_deepkd_loss(kd, cfg);
    attach_groups(kd, cfg);
    speak();
    free(cfg), free(weights);
    return kd;
}

static inline deepkd *make_pair(const char *student, const char *teacher, unsigned int seed)
{
    return pair_nets(ON_CPU, write_text("student.cfg", student),
                     write_text("teacher.cfg", teacher), seed, seed + 1000);
}

/* What follows is about this pair's network, on its CPU or GPU. */
static inline void enter_pair(const deepkd *kd)
{
    use_gpu(kd->net->gpu_index);
}

static inline void free_pair(deepkd *kd)
{
    enter_pair(kd);
    release_groups(kd);
    free_network(kd->net);
}

/* The three texts in one, which lives as long as the program. */
static inline char *join(const char *a, const char *b, const char *c)
{
    char *text = kd_calloc(strlen(a) + strlen(b) + strlen(c) + 1, 1);
    return strcat(strcat(strcpy(text, a), b), c);
}

#endif
