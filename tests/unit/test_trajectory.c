/*
 * Proves the whole training step of every method with every trainer: 100 steps of kd, dkd, mlkd
 * (of one and of two views) and crld, each with sgd, dot and deepkd, with weight decay, the
 * warm-ups of loss and momenta and, of two more runs, the dynamic top-k mask, are those of
 * PyTorch with the same weights and images (tests/reference/trajectories.txt;
 * make_trajectory.py says what it trains). In single precision, against a reference in double
 * precision.
 *
 * Run it from the root of the sources, or with ROOT set to it. KD_VERBOSE=1 prints what the
 * errors are.
 *
 * To add a case: another run by make_trajectory.py.
 */
#include "distil/replicas.h"
#include "nets.h"

/* Relative; the weights', of the largest of an array */
#define TOLERANCE 1e-4

#define MAX_LINE (1 << 16)
enum { SIDE = 8, PIXELS = 3 * SIDE * SIDE, ARRAYS = 6 + 4 };

typedef struct {
    int classes, batch, batches, steps;
    float *images[KD_VIEWS]; /* [batch * batches][3][8][8] of each view */
    int *labels;
    char *weights[ARRAYS]; /* lines of the file: "student NAME ...", "teacher NAME ..." */
    int n_weights;
    char net[256]; /* options, a line each */
} trajectory;

static deepkd *kd;
static double worst[2]; /* of the losses and the final weights */

/* ---- the file ---------------------------------------------------------- */

static FILE *open_reference(void)
{
    const char *root = getenv("ROOT");
    char path[4096];
    snprintf(path, sizeof(path), "%s/tests/reference/trajectories.txt", root ? root : ".");
    FILE *fp = fopen(path, "r");
    if (!fp) fail_msg("%s: cannot be read: expected the root of the sources in ROOT", path);
    return fp;
}

/* The numbers of a line's rest into x; all n of them must be there, and no more. */
static void read_numbers(char *text, float *x, size_t n)
{
    char *end;
    for (size_t i = 0; i < n; ++i, text = end) {
        x[i] = strtod(text, &end);
        assert_ptr_not_equal(end, text);
    }
    strtod(text, &end);
    assert_ptr_equal(end, text);
}

/* Words in place of lines */
static void add_lines(char *to, size_t size, char *words)
{
    for (char *word = strtok(words, " \n"); word; word = strtok(0, " \n"))
        snprintf(to + strlen(to), size - strlen(to), "%s\n", word);
}

/* "conv2.weights": the array of the second [convolutional] */
static parameter find_parameter(const parameters *p, const network *net, const char *name)
{
    LAYER_TYPE type = strncmp(name, "conv", 4) ? CONNECTED : CONVOLUTIONAL;
    int wanted = type == CONVOLUTIONAL ? name[4] - '0' : 1, seen = 0, layer = -1;
    for (int i = 0; i < p->n; ++i) {
        const parameter *one = p->list + i;
        if (net->layers[one->layer].type != type) continue;
        if (one->layer != layer) ++seen, layer = one->layer;
        if (seen == wanted && !strcmp(one->name, strchr(name, '.') + 1)) return *one;
    }
    fail_msg("no %s", name);
    return (parameter){0};
}

/* "student conv1.weights 0.5 ...": the array, and where its numbers begin */
static parameter find_array(char *line, network *net, char **numbers)
{
    char name[64];
    int at;
    parameters p = parameters_of(net);
    assert_int_equal(sscanf(line, "%*s %63s %n", name, &at), 1);
    *numbers = line + at;
    return find_parameter(&p, net, name);
}

static void read_size(trajectory *t, const char *text)
{
    assert_int_equal(
        sscanf(text, "%d %d %d %d", &t->classes, &t->batch, &t->batches, &t->steps), 4);
    size_t n = (size_t)t->batch * t->batches;
    for (int v = 0; v < KD_VIEWS; ++v) t->images[v] = kd_calloc(n * PIXELS, sizeof(float));
    t->labels = kd_calloc(n, sizeof(int));
}

/* What all runs share; leaves `line` at the first of them. */
static void read_trajectory(trajectory *t, FILE *fp, char *line)
{
    while (fgets(line, MAX_LINE, fp) && strncmp(line, "run ", 4)) {
        int i, at;
        char *end, *rest = strchr(line, ' ') + 1;
        if (*line == '#') continue;
        if (!strncmp(line, "size ", 5)) read_size(t, rest);
        else if (!strncmp(line, "net ", 4)) add_lines(t->net, sizeof(t->net), rest);
        else if (sscanf(line, "image %d %n", &i, &at) == 1) {
            t->labels[i] = strtol(line + at, &end, 10);
            read_numbers(end, t->images[0] + i * PIXELS, PIXELS);
        } else if (sscanf(line, "strong %d %n", &i, &at) == 1) {
            read_numbers(line + at, t->images[1] + i * PIXELS, PIXELS);
        } else {
            assert_true(t->n_weights < ARRAYS);
            t->weights[t->n_weights++] = kd_copy(line);
        }
    }
    assert_int_equal(t->n_weights, ARRAYS);
}

/* ---- networks ---------------------------------------------------------- */

#define CONV(filters, stride)                                                                  \
    "[convolutional]\nfilters=" #filters "\nsize=3\nstride=" #stride                           \
    "\npad=1\nactivation=leaky\n"
#define HEAD "[avgpool]\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"
#define SIZES "height=8\nwidth=8\nchannels=3\n"
#define TEACHER "[net]\nbatch=4\n" SIZES CONV(8, 1) HEAD

/* The run's pair with the first weights; options: of [deepkd_loss], changed */
static void start_run(const trajectory *t, char *options)
{
    char cfg[2048];
    snprintf(cfg, sizeof(cfg),
             "[net]\n" SIZES "%s" CONV(4, 1) CONV(6, 2) HEAD "[teacher]\n[deepkd_loss]\n",
             t->net);
    add_lines(cfg, sizeof(cfg), options);
    kd = make_pair(cfg, TEACHER, 1);
    for (int i = 0; i < ARRAYS; ++i) {
        char *numbers;
        network *net = *t->weights[i] == 's' ? kd->net : kd->teacher->net;
        parameter one = find_array(t->weights[i], net, &numbers);
        read_numbers(numbers, one.data, one.n);
    }
}

/* ---- training ---------------------------------------------------------- */

/* Step i, from 1; the mean loss of the task */
static double train_step(const trajectory *t, int i)
{
    network *net = kd->net;
    int first = (i - 1) % t->batches * t->batch, nothing[2 * 4] = {0};
    unsigned seeds[4] = {0};
    image_batch b = {.n = t->batch, .inputs = net->inputs, .n_truths = net->truths};
    b.images = t->images[0] + (size_t)first * PIXELS;
    if (kd->views > 1) b.strong = t->images[1] + (size_t)first * PIXELS;
    b.truths = kd_calloc((size_t)b.n * b.n_truths, sizeof(float));
    b.indices = b.sizes = nothing;
    b.seeds = seeds;
    for (int k = 0; k < b.n; ++k) b.truths[k * b.n_truths + t->labels[first + k]] = 1;
    replicas r = {{kd}, 1, 0};
    double loss = train_replicas(&r, b, 1);
    free(b.truths);
    return loss;
}

static void check_near(const char *name, double error, double *most)
{
    *most = fmax(*most, error);
    check(error <= TOLERANCE, "%s: off by %g", name, error);
}

/* The losses of a step, from the file's line */
static void check_step(const char *line, double task)
{
    int keep, number;
    double want[KD_COMPONENTS];
    assert_int_equal(
        sscanf(line, "step %d %d %lf %lf %lf", &number, &keep, want, want + 1, want + 2), 5);
    check(kd->keep == keep, "step %d: K is %d, expected %d", number, kd->keep, keep);
    check_near("the task's loss", fabs(task / want[KD_TOG] - 1), worst);
    for (int c = 0; c < KD_COMPONENTS; ++c)
        check_near(kd_component_name[c],
                   fabs(kd->loss[c] / kd->images - want[c]) / (fabs(want[c]) + 1e-6), worst);
}

static void check_weights(char *line)
{
    char *numbers;
    parameter one = find_array(line, kd->net, &numbers);
    float *want = kd_calloc(one.n, sizeof(float));
    read_numbers(numbers, want, one.n);
    check_near(one.name, distance_of(one.data, want, one.n), worst + 1);
    free(want);
}

/* All steps of the run in `line`, and its final weights; leaves `line` at the next one. */
static int check_run(const trajectory *t, FILE *fp, char *line)
{
    char name[64];
    int at, number, shown = 0, finals = 0, more;
    assert_int_equal(sscanf(line, "run %63s %n", name, &at), 1);
    start_run(t, line + at);
    worst[0] = worst[1] = 0;
    more = fgets(line, MAX_LINE, fp) != 0;
    for (int i = 1; i <= t->steps; ++i) {
        double task = train_step(t, i);
        if (kd->broken) fail_msg("%s, step %d: %s", name, i, broken_words(kd));
        if (sscanf(line, "step %d", &number) != 1 || number != i) continue;
        check_step(line, task);
        more = fgets(line, MAX_LINE, fp) != 0;
        ++shown;
    }
    for (; more && !strncmp(line, "final ", 6); ++finals) {
        check_weights(line);
        more = fgets(line, MAX_LINE, fp) != 0;
    }
    if (getenv("KD_VERBOSE")) note("%s: losses %.1e, weights %.1e", name, worst[0], worst[1]);
    check(shown >= 10 && finals == 6, "%s: %d steps and %d arrays are in the file", name, shown,
          finals);
    free_pair(kd);
    return more;
}

static void test_runs(void)
{
    static char line[MAX_LINE];
    trajectory t = {0};
    FILE *fp = open_reference();
    int runs = 1;
    read_trajectory(&t, fp, line);
    while (check_run(&t, fp, line)) ++runs;
    check(runs >= 17, "%d runs", runs);
    fclose(fp);
    for (int v = 0; v < KD_VIEWS; ++v) free(t.images[v]);
    for (int i = 0; i < ARRAYS; ++i) free(t.weights[i]);
    free(t.labels);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_runs),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
