/*
 * Small networks for the tests: cfg text to network, random weights, a student
 * with its teacher as `distill` would make them, their parameters as a list,
 * files in a folder of the program's own, and a child process for what exits.
 * A program that includes this ends with
 *     return cmocka_run_group_tests(tests, nets_setup, nets_teardown);
 */
#ifndef NETS_H
#define NETS_H

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "blas.h"
#include "parser.h"
#include "utils.h"

#include "deepkd.h"
#include "distil/groups.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define MAX_PARAMETERS 96

/* ---- files ------------------------------------------------------------- */

static char nets_folder[64];

static inline int nets_setup(void **state)
{
    (void)state;
    strcpy(nets_folder, "/tmp/deepkd-nets-XXXXXX");
    if (!mkdtemp(nets_folder)) return -1;
    deepkd_init();
    return 0;
}

static inline int nets_teardown(void **state)
{
    (void)state;
    DIR *folder = opendir(nets_folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
    return rmdir(nets_folder);
}

/* The path of a file in the program's folder; lives as long as the program. */
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

/* In a child a failure must not go on with the next test, as cmocka would. */
static inline void end_at_failures(void)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    for (int i = 0; i < COUNT(signals); ++i) signal(signals[i], SIG_DFL);
    setenv("CMOCKA_TEST_ABORT", "1", 1);
}

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
        end_at_failures();
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

/* Darknet's generator (patches/0010): srand() sets this thread's own state. */
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
            l.type != BATCHNORM)
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

/* Biases, scales and rolling statistics, which Darknet starts at 0 and 1. */
static inline void randomise(network *net)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
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
static inline network *parse_net(char *file, int batch, unsigned int seed)
{
    silence();
    srand(seed);
    network *net = parse_network_cfg_batch(file, batch);
    speak();
    randomise(net);
    return net;
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

/* What `distill` does between parsing and training; student and teacher with random weights. */
static inline deepkd *make_pair(const char *student, const char *teacher, unsigned int seed)
{
    char *cfg = write_text("student.cfg", student);
    char *teacher_cfg = write_text("teacher.cfg", teacher);
    char *weights = write_teacher(teacher_cfg, seed + 1000);
    network *net = parse_net(cfg, 0, seed);
    deepkd *kd = find_deepkd(net);
    assert_non_null(kd);
    free(kd->teacher->cfg);
    kd->teacher->cfg = teacher_cfg; /* which frees it */
    silence();
    load_teacher(kd->teacher, weights);
    speak();
    attach_deepkd_loss(kd, cfg);
    attach_groups(kd, cfg);
    free(cfg), free(weights);
    return kd;
}

static inline void free_pair(deepkd *kd)
{
    release_groups(kd);
    free_network(kd->net);
}

/* The three texts in one, which lives as long as the program. */
static inline char *join(const char *a, const char *b, const char *c)
{
    char *text = kd_calloc(strlen(a) + strlen(b) + strlen(c) + 1, 1);
    return strcat(strcat(strcpy(text, a), b), c);
}

/* ---- comparing --------------------------------------------------------- */

static inline double largest_of(const float *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; ++i) most = fmax(most, fabs(x[i]));
    return most;
}

/* The largest difference, relative to the largest entry of b; INFINITY when one is not finite.
 */
static inline double distance_of(const float *a, const float *b, size_t n)
{
    double most = 0, scale = largest_of(b, n);
    for (size_t i = 0; i < n; ++i) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
        most = fmax(most, fabs((double)a[i] - b[i]));
    }
    return most == 0 ? 0 : most / scale;
}

#endif
