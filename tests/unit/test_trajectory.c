/*
 * Proves the whole training step, through Darknet's train_network_datum: 20
 * steps of DeepKD with three momentum buffers, weight decay and the dynamic
 * top-k mask are those of a PyTorch run with the same weights and images
 * (tests/reference/trajectory_*.txt; make_trajectory.py says what it trains).
 * In single precision, against a reference in double precision.
 *
 * Run it from the root of the sources, or with ROOT set to it. KD_VERBOSE=1
 * prints what the errors are.
 *
 * To add a case: another trajectory file by make_trajectory.py and a test here.
 */
#include "nets.h"

/* Relative; reached 5e-7 (losses) and 1e-6 (final weights, of the largest of an array). */
#define LOSS_TOLERANCE 1e-5
#define WEIGHT_TOLERANCE 1e-5

#define MAX_LINE (1 << 16)
#define MAX_STEPS 64

typedef struct {
    char method[16];
    double T, alpha, beta, rate, decay, mu[KD_COMPONENTS], phase[2];
    int topk, classes, batch, steps, batches;
    float *images; /* [batch * batches][3][8][8] */
    int *labels;
    struct {
        int keep;
        double loss[KD_COMPONENTS];
    } step[MAX_STEPS];
} trajectory;

static deepkd *kd;

/* ---- the file ---------------------------------------------------------- */

static FILE *open_reference(const char *name)
{
    const char *root = getenv("ROOT");
    char path[4096];
    snprintf(path, sizeof(path), "%s/tests/reference/%s", root ? root : ".", name);
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

/* "key value key value ..." */
static void read_config(trajectory *t, char *text)
{
    const struct {
        const char *key;
        double *real;
        int *whole;
    } keys[] = {
        {"T", &t->T, 0},          {"alpha", &t->alpha, 0},     {"beta", &t->beta, 0},
        {"rate", &t->rate, 0},    {"decay", &t->decay, 0},     {"mu_tog", &t->mu[0], 0},
        {"mu_tcg", &t->mu[1], 0}, {"mu_ncg", &t->mu[2], 0},    {"phase1", &t->phase[0], 0},
        {"topk", 0, &t->topk},    {"phase2", &t->phase[1], 0}, {"classes", 0, &t->classes},
        {"batch", 0, &t->batch},  {"steps", 0, &t->steps},     {"batches", 0, &t->batches},
    };
    int found = 0;
    for (char *key = strtok(text, " \n"); key; key = strtok(0, " \n"), ++found) {
        double value = atof(strtok(0, " \n"));
        for (int i = 0; i < COUNT(keys); ++i) {
            if (strcmp(keys[i].key, key)) continue;
            if (keys[i].real) *keys[i].real = value;
            else *keys[i].whole = (int)value;
        }
    }
    assert_int_equal(found, COUNT(keys));
    assert_in_range(t->steps, 1, MAX_STEPS);
    t->images = kd_calloc((size_t)t->batch * t->batches * 3 * 8 * 8, sizeof(float));
    t->labels = kd_calloc((size_t)t->batch * t->batches, sizeof(int));
}

/* "conv2.weights": the array of the second [convolutional] */
static const parameter *find_parameter(const parameters *p, const network *net,
                                       const char *name)
{
    LAYER_TYPE type = strncmp(name, "conv", 4) ? CONNECTED : CONVOLUTIONAL;
    int wanted = type == CONVOLUTIONAL ? name[4] - '0' : 1, seen = 0, layer = -1;
    for (int i = 0; i < p->n; ++i) {
        const parameter *one = p->list + i;
        if (net->layers[one->layer].type != type) continue;
        if (one->layer != layer) ++seen, layer = one->layer;
        if (seen == wanted && !strcmp(one->name, strchr(name, '.') + 1)) return one;
    }
    fail_msg("no %s", name);
    return 0;
}

static void read_weights(char *rest, network *net)
{
    char name[64];
    int at;
    parameters p = parameters_of(net);
    assert_int_equal(sscanf(rest, "%63s %n", name, &at), 1);
    const parameter *one = find_parameter(&p, net, name);
    read_numbers(rest + at, one->data, one->n);
}

static void check_weights(char *rest, network *net)
{
    char name[64];
    int at;
    parameters p = parameters_of(net);
    assert_int_equal(sscanf(rest, "%63s %n", name, &at), 1);
    const parameter *one = find_parameter(&p, net, name);
    float *want = kd_calloc(one->n, sizeof(float));
    read_numbers(rest + at, want, one->n);
    double error = distance_of(one->data, want, one->n);
    if (getenv("KD_VERBOSE")) fprintf(stderr, "%s: %.1e\n", name, error);
    if (!(error < WEIGHT_TOLERANCE)) fail_msg("%s: final weights are %g off", name, error);
    free(want);
}

/* ---- networks ---------------------------------------------------------- */

#define CONV(filters, stride)                                                                  \
    "[convolutional]\nfilters=" #filters "\nsize=3\nstride=" #stride                           \
    "\npad=1\nactivation=leaky\n"
#define HEAD "[avgpool]\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"
#define TEACHER "[net]\nbatch=4\nheight=8\nwidth=8\nchannels=3\n" CONV(8, 1) HEAD

/* Momentum 0.9 of [net] is not used: every component's is given. */
static char *student_cfg(const trajectory *t)
{
    static char cfg[2048];
    char beta[32] = "";
    if (!strcmp(t->method, "dkd")) snprintf(beta, sizeof(beta), "beta=%g\n", t->beta);
    snprintf(cfg, sizeof(cfg),
             "[net]\nbatch=%d\nheight=8\nwidth=8\nchannels=3\nlearning_rate=%g\ndecay=%g\n"
             "max_batches=%d\n" CONV(4, 1) CONV(6, 2) HEAD
             "[teacher]\n[deepkd_loss]\nmethod=%s\ntemperature=%g\nalpha=%g\n%s"
             "momentum_warmup=0\ntopk=%d\ntopk_phases=%g,%g\nmomentum_tog=%g\nmomentum_tcg=%g\nmomentum_ncg=%g\n",
             t->batch, t->rate, t->decay, t->steps, t->method, t->T, t->alpha, beta, t->topk,
             t->phase[0], t->phase[1], t->mu[0], t->mu[1], t->mu[2]);
    return cfg;
}

/* One pass over the file: labels, images, weights and losses; leaves it at the final weights.
 */
static void read_trajectory(trajectory *t, const char *name, FILE *fp, char *line)
{
    while (fgets(line, MAX_LINE, fp) && strncmp(line, "step ", 5)) {
        int i, at;
        char *rest = strchr(line, ' ') + 1;
        if (*line == '#') continue;
        if (sscanf(line, "method %15s", t->method) == 1) continue;
        if (!strncmp(line, "config ", 7)) {
            read_config(t, rest);
            kd = make_pair(student_cfg(t), TEACHER, 1);
        } else if (sscanf(line, "image %d %n", &i, &at) == 1) {
            char *end;
            t->labels[i] = strtol(line + at, &end, 10);
            read_numbers(end, t->images + i * 3 * 8 * 8, 3 * 8 * 8);
        } else if (!strncmp(line, "student ", 8)) {
            read_weights(rest, kd->net);
        } else if (!strncmp(line, "teacher ", 8)) {
            read_weights(rest, kd->teacher->net);
        } else fail_msg("%s: %.40s", name, line);
    }
}

static void read_steps(trajectory *t, FILE *fp, char *line)
{
    for (int i = 0; i < t->steps; ++i) {
        int number;
        double *loss = t->step[i].loss;
        assert_int_equal(sscanf(line, "step %d %d %lf %lf %lf", &number, &t->step[i].keep, loss,
                                loss + 1, loss + 2),
                         5);
        assert_int_equal(number, i + 1);
        assert_non_null(fgets(line, MAX_LINE, fp));
    }
}

/* ---- training ---------------------------------------------------------- */

static void set_batch(const trajectory *t, int i)
{
    network *net = kd->net;
    int first = i % t->batches * t->batch;
    memcpy(net->input, t->images + (size_t)first * net->inputs,
           (size_t)t->batch * net->inputs * sizeof(float));
    memset(net->truth, 0, (size_t)t->batch * net->truths * sizeof(float));
    for (int b = 0; b < t->batch; ++b) net->truth[b * net->truths + t->labels[first + b]] = 1;
}

static void check_step(const trajectory *t, int i)
{
    assert_false(kd->broken);
    assert_int_equal(kd->images, t->batch);
    assert_int_equal(kd->rows.n, t->batch);
    if (kd->keep != t->step[i].keep)
        fail_msg("step %d: K is %d, expected %d", i + 1, kd->keep, t->step[i].keep);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double found = kd->loss[c] / kd->images, want = t->step[i].loss[c];
        if (getenv("KD_VERBOSE"))
            fprintf(stderr, "step %d %s: %.1e\n", i + 1, kd_component_name[c],
                    fabs(found - want) / (fabs(want) + 1e-300));
        if (!(fabs(found - want) <= LOSS_TOLERANCE * fabs(want) + 1e-12))
            fail_msg("step %d: %s is %.9g, expected %.9g", i + 1, kd_component_name[c], found,
                     want);
    }
}

static void train(const trajectory *t)
{
    for (int i = 0; i < t->steps; ++i) {
        set_batch(t, i);
        memset(kd->loss, 0, sizeof(kd->loss));
        kd->images = 0;
        float loss = train_network_datum(kd->net);
        assert_float_equal(loss / t->batch, t->step[i].loss[KD_TOG],
                           LOSS_TOLERANCE * t->step[i].loss[KD_TOG]);
        check_step(t, i);
    }
}

static void check_trajectory(const char *name)
{
    static char line[MAX_LINE];
    trajectory t = {0};
    FILE *fp = open_reference(name);
    read_trajectory(&t, name, fp, line);
    read_steps(&t, fp, line);
    assert_int_equal(kd->groups->n, 3);
    train(&t);
    int finals = 0;
    do {
        assert_int_equal(strncmp(line, "final ", 6), 0);
        check_weights(line + 6, kd->net);
        ++finals;
    } while (fgets(line, MAX_LINE, fp));
    assert_int_equal(finals, 6);
    fclose(fp);
    free(t.images), free(t.labels);
    free_pair(kd);
}

static void test_kd(void)
{
    check_trajectory("trajectory_kd.txt");
}

static void test_dkd(void)
{
    check_trajectory("trajectory_dkd.txt");
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_kd),
        TEST(test_dkd),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
