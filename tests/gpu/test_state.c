/*
 * Proves what a run on the GPU keeps, and what it says when numbers break:
 *   - a checkpoint saved on one of CPU and GPU and loaded on the other is the same to the bit,
 *     and the run goes on there as it would have here;
 *   - so are weights files;
 *   - a number that is not finite, in the student, its momenta or the teacher, is reported with
 *     its name and batch, and the weights are left alone from then on;
 *   - several copies that share a GPU, or have one each, learn what one student learns from all
 *     their images (replicas.h).
 *
 * To add a broken number: a line in test_broken.
 */
#include "pairs.h"

#include "run/checkpoint.h"
#include "run/evaluate.h"

#define NORM "pad=1 batch_normalize=1 activation=leaky "
#define HEAD "[connected] output=6 activation=linear [softmax] "
#define PLAIN                                                                                  \
    "[convolutional] filters=4 size=3 pad=1 activation=leaky "                                 \
    "[maxpool] size=2 stride=2 "                                                               \
    "[convolutional] filters=6 size=3 pad=1 activation=tanh "                                  \
    "[connected] output=9 activation=leaky " HEAD
#define NORMED                                                                                 \
    "[convolutional] filters=4 size=3 " NORM "[maxpool] size=2 stride=2 "                      \
    "[convolutional] filters=6 size=3 " NORM "[dropout] probability=.4 "                       \
    "[connected] output=9 batch_normalize=1 activation=leaky " HEAD
#define TEACHER                                                                                \
    "[net] width=8 height=8 channels=3 "                                                       \
    "[convolutional] filters=8 size=3 " NORM HEAD

#define NET "width=8 height=8 max_batches=60 learning_rate=.02 decay=.005"
#define DKD "[deepkd_loss] method=dkd beta=1"
static const pair_spec normed = {"batch=4 " NET, NORMED, TEACHER, DKD};
static const pair_spec plain = {"batch=4 subdivisions=2 " NET, PLAIN, TEACHER, DKD};

/* ---- checkpoints and weights files ---------------------------------------- */

#define CFG_TEXT "[net]\nbatch=4\n"

static const run_state a_state = {.cfg = CFG_TEXT,
                                  .teacher_hash = 22,
                                  .train_hash = 33,
                                  .seed = 44,
                                  .metric = METRIC_LOSS,
                                  .seen = 12,
                                  .best = -.625,
                                  .average = 1.5};

static void train_steps(deepkd *kd, int from, int to)
{
    for (int i = from; i < to; ++i) train_pair(kd, 500 + i);
}

static void save(deepkd *kd, const char *name)
{
    char *file = nets_file(name);
    enter_pair(kd);
    save_checkpoint(file, &a_state, kd);
    free(file);
}

static int load(deepkd *kd, const char *name)
{
    char *file = nets_file(name);
    run_state state = {
        .cfg = CFG_TEXT, .teacher_hash = 22, .train_hash = 33, .metric = METRIC_LOSS};
    enter_pair(kd);
    load_checkpoint(file, &state, kd);
    free(file);
    return !memcmp(&state, &a_state, sizeof(state)) && *kd->net->seen == a_state.seen;
}

static int same_files(const char *a, const char *b)
{
    char *names[] = {nets_file(a), nets_file(b)};
    FILE *one = fopen(names[0], "rb"), *other = fopen(names[1], "rb");
    int c, same = one && other, n = 0;
    while (same && (c = fgetc(one)) != EOF) ++n, same = c == fgetc(other);
    same = same && fgetc(other) == EOF && n > 1000;
    if (one) fclose(one);
    if (other) fclose(other);
    free(names[0]), free(names[1]);
    return same;
}

static void compare_pairs(deepkd *found, deepkd *wanted, double tolerance, const char *name)
{
    worst_case worst = {0};
    pull_pair(found), pull_pair(wanted);
    compare_weights(&worst, found, wanted);
    compare_groups(&worst, found, wanted);
    near(&worst, tolerance, "%s", name);
}

/* What two equal runs may differ by: a GPU's libraries need not add up in one order twice. */
static double repeatable(void)
{
    struct cudaDeviceProp properties;
    check_error(cudaGetDeviceProperties(&properties, 0));
    return strcmp(properties.name, "CUDA emulator") ? 1e-4 : 0;
}

static void test_resume_on_the_gpu(void)
{
    deepkd *first = make_pair_on(ON_GPU, &normed, 1),
           *second = make_pair_on(ON_GPU, &normed, 1);
    train_steps(first, 0, 3);
    save(first, "gpu.state");
    train_steps(second, 40, 45);
    ok(load(second, "gpu.state"), "a state on the GPU is loaded");
    compare_pairs(second, first, 0, "a state on the GPU is the same to the bit");
    train_steps(first, 3, 8);
    train_steps(second, 3, 8);
    compare_pairs(second, first, repeatable(), "a run on the GPU goes on");
    free_pair(first), free_pair(second);
}

/* `from` and `to` are the CPU and the GPU, or the GPU and the CPU. */
static void check_crossing(const char *name, int from, int to)
{
    char text[96];
    deepkd *first = make_pair_on(from, &plain, 2), *second = make_pair_on(to, &plain, 3);
    train_steps(first, 0, 3);
    save(first, "first.state");
    ok(load(second, "first.state"), "%s: a state is loaded", name);
    save(second, "second.state");
    ok(same_files("first.state", "second.state"), "%s: the same bits", name);
    load(first, "second.state");
    save(first, "third.state");
    ok(same_files("first.state", "third.state"), "%s and back: the same bits", name);
    train_steps(first, 3, 4);
    train_steps(second, 3, 4);
    snprintf(text, sizeof(text), "%s: the next step", name);
    compare_pairs(second, first, 1e-4, text);
    free_pair(first), free_pair(second);
}

static void test_weights_files(void)
{
    worst_case worst = {0};
    char *file = nets_file("student.weights");
    deepkd *first = make_pair_on(ON_GPU, &normed, 4);
    train_steps(first, 0, 2);
    silence();
    save_weights(first->net, file);
    speak();
    for (int gpu = ON_CPU; gpu <= ON_GPU; ++gpu) {
        deepkd *second = make_pair_on(gpu, &normed, 5);
        silence();
        load_weights(second->net, file);
        speak();
        pull_pair(second);
        compare_weights(&worst, second, first);
        ok(*second->net->seen == *first->net->seen, "weights files: images seen");
        free_pair(second);
    }
    near(&worst, 0, "weights files: of the GPU, loaded on CPU and GPU");
    free_pair(first), free(file);
}

/* ---- what is not finite ----------------------------------------------------- */

static uint64_t hash_weights(deepkd *kd)
{
    pull_pair(kd);
    kd_arrays arrays = network_arrays(kd->net);
    uint64_t hash = hash_arrays(arrays);
    kd_free_arrays(arrays);
    return hash;
}

static void set_on_gpu(float *gpu, float value)
{
    cuda_push_array(gpu, &value, 1);
}

static layer last_connected(const network *net)
{
    int i = net->n - 1;
    while (net->layers[i].type != CONNECTED) --i;
    return net->layers[i];
}

static void spoil_student(deepkd *kd)
{
    set_on_gpu(last_connected(kd->net).biases_gpu + 2, NAN);
}

static void spoil_teacher(deepkd *kd)
{
    set_on_gpu(last_connected(kd->teacher->net).biases_gpu + 5, INFINITY);
}

static void spoil_momentum(deepkd *kd)
{
    set_on_gpu(kd->groups->group[1].buffers[0].weights + 3, -INFINITY);
}

/* Finite, but the step that it makes is not. */
static void spoil_step(deepkd *kd)
{
    kd->net->learning_rate = 1e4;
    set_on_gpu(kd->groups->group[0].buffers[0].biases + 1, 3e38);
}

/*
 * Batch 3 breaks: `what` is said of it. batch_named is 3: by the GPU, when asked two batches
 * later; 0: by the host, in that batch, for the task's loss shows it. The weights stay from
 * that batch on or, where it is the update that breaks, after it.
 */
static void check_broken(const char *what, void (*spoil)(deepkd *), long batch_named,
                         int in_update)
{
    deepkd *kd = make_pair_on(ON_GPU, &plain, 6);
    train_steps(kd, 0, 2);
    ok(!kd->broken, "%s: nothing is broken at first", what);
    uint64_t before = 0;
    spoil(kd);
    if (!in_update) before = hash_weights(kd);
    for (int i = 2; i < 5; ++i) {
        replicas r = single(kd);
        batch b = make_batch(kd, 1, 500 + i);
        train_replicas(&r, whole_batch(kd, 1, b), 1); /* whose losses nobody reads */
        free_batch(b);
        if (i == 2 && in_update) before = hash_weights(kd);
    }
    ok(hash_weights(kd) == before, "%s: the weights stay", what);
    read_losses(kd);
    ok(kd->broken && !strcmp(broken_words(kd), what) && kd->broken_batch == batch_named,
       "%s: found \"%s\" of batch %ld", what, kd->broken ? broken_words(kd) : "", kd->broken_batch);
    free_pair(kd);
}

static void test_broken(void)
{
    check_broken("student's logits", spoil_student, 0, 0);
    check_broken("teacher's logits", spoil_teacher, 3, 0);
    check_broken("gradient of tcg", spoil_momentum, 3, 1);
    check_broken("student's weights", spoil_step, 3, 1);
}

/* ---- several copies ---------------------------------------------------------- */

typedef struct {
    const pair_spec *spec;
    unsigned int seed;
} copy_maker;

static deepkd *make_copy(void *context)
{
    const copy_maker *maker = context;
    return make_pair_on(gpu_index, maker->spec, maker->seed);
}

/* Momenta of a run that has begun: numbers that follow from a seed, times `factor` */
static void start_momenta(deepkd *kd, float factor)
{
    enter_pair(kd);
    srand(10);
    for (size_t i = 0; i < kd->groups->n * kd->groups->size; ++i)
        kd->groups->host[i] = factor * rand_uniform(-.1, .1);
    push_groups(kd);
}

/* Threads may not share a lane (patches/gpu/05). */
static int own_lanes(const replicas *r)
{
    int n = 0;
    for (int k = 0; k < r->n; ++k)
        for (int i = 0; i < r->n; ++i)
            n += r->kd[k]->teacher->lane == r->kd[i]->teacher->lane ||
                 r->kd[k]->teacher->lane == 2 * i; /* its student's */
    return n == r->n;
}

/*
 * Copies of `shared` on these GPUs, and one network of `whole`, which has their batches in one,
 * as many batches fewer, and the sum of their rates.
 */
static void check_copies(const char *name, const pair_spec *shared, const pair_spec *whole,
                         const int *gpus, int n)
{
    worst_case weights = {0}, losses = {0}, copies = {0};
    copy_maker maker = {shared, 9};
    deepkd *first = make_pair_on(gpus[0], shared, 8), *one = make_pair_on(ON_GPU, whole, 8);
    enter_pair(first);
    replicas r = make_replicas(first, gpus, n, make_copy, &maker), alone = single(one);
    start_momenta(first, 1), start_momenta(one, n); /* a mean, and a sum */
    spread_student(&r);
    int same_k = 1;
    for (int step = 0; step < 6; ++step) {
        double found = train_step(&r, n, 700 + step);
        double wanted = train_step(&alone, 1, 700 + step);
        compare_one(&losses, found, wanted, fabs(wanted), step, "Darknet's loss");
        compare_losses(&losses, first, one);
        same_k &= first->keep == one->keep && r.kd[n - 1]->keep == one->keep;
    }
    pull_pair(one);
    for (int k = 0; k < n; ++k) {
        pull_pair(r.kd[k]);
        compare_weights(&weights, r.kd[k], one);
        compare_weights(&copies, r.kd[k], first);
        compare_groups(&copies, r.kd[k], first);
    }
    ok(own_lanes(&r), "%s: lanes", name);
    ok(same_k && one->keep > 1 && *first->net->seen == *one->net->seen,
       "%s: K and the images seen are those of one network", name);
    near(&losses, 1e-5, "%s: losses", name);
    near(&weights, 1e-5, "%s: weights", name);
    near(&copies, 0, "%s: all copies are the same to the bit", name);
    enter_pair(first);
    free_replicas(&r);
    free_pair(first), free_pair(one);
}

#define SHARED "width=8 height=8 momentum=.8 decay=.005 policy=steps scales=.5,.5 "
#define PHASES " topk=2 topk_phases=.2,.4 "
static const pair_spec halves = {SHARED "batch=4 max_batches=20 steps=4,8 learning_rate=.02",
                                 PLAIN, TEACHER, DKD PHASES "warmup=6"};
static const pair_spec whole = {SHARED "batch=8 max_batches=10 steps=2,4 learning_rate=.04",
                                PLAIN, TEACHER, DKD PHASES "warmup=3"};
static const pair_spec divided_halves = {
    SHARED "batch=6 subdivisions=2 max_batches=20 steps=4,8 learning_rate=.02", PLAIN, TEACHER,
    DKD PHASES "trainer=dot"};
static const pair_spec divided_whole = {
    SHARED "batch=12 subdivisions=2 max_batches=10 steps=2,4 learning_rate=.04", PLAIN, TEACHER,
    DKD PHASES "trainer=dot"};
#define YOLO                                                                                   \
    "[convolutional] filters=6 size=3 stride=4 pad=1 activation=leaky "                        \
    "[convolutional] filters=8 size=3 stride=2 pad=1 activation=tanh "                         \
    "[convolutional] filters=27 size=1 activation=linear "                                     \
    "[yolo] mask=0,1,2 num=3 classes=4 max=8 anchors=4,6,10,11,24,28 "
#define DETECTING "width=32 height=32 momentum=.8 "
static const pair_spec yolo_halves = {DETECTING "batch=2 max_batches=20 learning_rate=.0002",
                                      YOLO, "[net] channels=3 " DETECTING YOLO,
                                      DKD PHASES "rows=dense objectness_weight=.3"};
static const pair_spec yolo_whole = {DETECTING "batch=4 max_batches=10 learning_rate=.0004",
                                     YOLO, "[net] channels=3 " DETECTING YOLO,
                                     DKD PHASES "rows=dense objectness_weight=.3"};
static const pair_spec thirds = {SHARED "batch=2 max_batches=30 steps=6,9 learning_rate=.01",
                                 PLAIN, TEACHER, DKD PHASES "task_weight=.5"};
static const pair_spec whole_of_three = {SHARED
                                         "batch=6 max_batches=10 steps=2,3 learning_rate=.03",
                                         PLAIN, TEACHER, DKD PHASES "task_weight=.5"};

static void test_copies(void)
{
    static const int same[] = {0, 0, 0}, apart[] = {0, 1};
    check_copies("two copies on a GPU", &halves, &whole, same, 2);
    check_copies("two copies, subdivisions", &divided_halves, &divided_whole, same, 2);
    check_copies("three copies on a GPU", &thirds, &whole_of_three, same, 3);
    check_copies("two copies of a [yolo]", &yolo_halves, &yolo_whole, same, 2);
    if (count_gpus() > 1) check_copies("two GPUs", &halves, &whole, apart, 2);
    else ok(1, "two GPUs # SKIP there is only one");
}

int main(void)
{
    start_pairs();
    test_resume_on_the_gpu();
    check_crossing("from the CPU to the GPU", ON_CPU, ON_GPU);
    check_crossing("from the GPU to the CPU", ON_GPU, ON_CPU);
    test_weights_files();
    test_broken();
    test_copies();
    return finish();
}
