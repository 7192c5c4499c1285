/*
 * The table of cases of one distilled row, tests/reference/kd_vectors.txt, with what PyTorch
 * says about each: kd_row and kd_yes_or_no (tests/unit/test_kd_math.c) and kd_rows_gpu
 * (tests/gpu/test_kernels.c) run all of it. To add a case: tests/reference/make_vectors.py.
 *
 * A program that includes this is run from the root of the sources, or with ROOT set to it.
 * Cases with an option that the GPU has not say so (tcg_gate, swaps).
 * What a test does with a config's method and its options goes through the functions here.
 */
#ifndef VECTORS_H
#define VECTORS_H

#include "check.h"

#include "math/kd_math.h"

#define MAX_CLASSES 1000

typedef struct {
    char name[64];
    kd_loss_config config;
    int classes, target, keep;
    int swaps; /* 1: the teacher's logits go through kd_swap first */
    double z[MAX_CLASSES], y[MAX_CLASSES];
} row;

typedef struct {
    kd_losses loss;
    double tcg[MAX_CLASSES], ncg[MAX_CLASSES];
} result;

/* ---- methods ----------------------------------------------------------- */

/* The method of this name; `beta` is dkd's weight of NCG, and nothing to the other. */
static inline void set_method(kd_loss_config *c, const char *name, double beta)
{
    c->method = find_method(name);
    assert_non_null(c->method);
    c->parameter[0] = beta;
}

static inline const char *method_name(const kd_loss_config *c)
{
    return c->method->name;
}

/* dkd's `beta`; 1 for kd, which weighs NCG by at most that. */
static inline double ncg_weight(const kd_loss_config *c)
{
    return c->method == find_method("dkd") ? c->parameter[0] : 1;
}

static inline const char *activation_name(const kd_loss_config *c)
{
    return c->activation == KD_LOGISTIC ? "logistic" : "softmax";
}

/* The row in words, for a failure's line. Valid until the next call. */
static inline const char *describe(const row *r)
{
    static char text[256];
    const kd_loss_config *c = &r->config;
    snprintf(text, sizeof(text),
             "%s: %s %s std=%d T=%g alpha=%g beta=%g C=%d target=%d keep=%d", r->name,
             method_name(c), activation_name(c), c->standardize, c->temperature, c->alpha,
             ncg_weight(c), r->classes, r->target, r->keep);
    return text;
}

/* ---- the file ---------------------------------------------------------- */

static inline void read_doubles(FILE *file, const char *label, int n, double *x)
{
    char word[64];
    assert_int_equal(fscanf(file, "%63s", word), 1);
    assert_string_equal(word, label);
    for (int j = 0; j < n; ++j) assert_int_equal(fscanf(file, "%lf", x + j), 1);
}

/* At its first case; *count: how many there should be */
static inline FILE *open_vectors(int *count)
{
    const char *root = getenv("ROOT");
    char path[4096], line[4096];
    snprintf(path, sizeof(path), "%s/tests/reference/kd_vectors.txt", root ? root : ".");
    FILE *file = fopen(path, "r");
    assert_that(file, "%s: cannot be read", path);
    while (fgets(line, sizeof(line), file)) {
        if (line[0] == '#') continue;
        assert_int_equal(sscanf(line, "cases %d", count), 1);
        return file;
    }
    fail_msg("%s: found no line \"cases N\"", path);
}

/* "kd", "kd+gate" or "kd+swap" */
static inline void read_method(row *r, char *words, double beta)
{
    char *option = strchr(words, '+');
    if (option) *option++ = 0;
    r->config.tcg_gate = option && !strcmp(option, "gate");
    r->swaps = option && !strcmp(option, "swap");
    set_method(&r->config, words, beta);
}

/* 0 at the end of the file. */
static inline int read_vector(FILE *file, row *r, result *want)
{
    char method[16], activation[16];
    double beta, losses[2];
    kd_loss_config *c = &r->config;
    int got = fscanf(file, " case %63s %15s %15s %d %lf %lf %lf %d %d %d", r->name, method,
                     activation, &c->standardize, &c->temperature, &c->alpha, &beta,
                     &r->classes, &r->target, &r->keep);
    if (got == EOF) return 0;
    assert_int_equal(got, 10);
    assert_in_range(r->classes, 1, MAX_CLASSES);
    read_method(r, method, beta);
    c->activation = strcmp(activation, "logistic") ? KD_SOFTMAX : KD_LOGISTIC;
    read_doubles(file, "z", r->classes, r->z);
    read_doubles(file, "y", r->classes, r->y);
    read_doubles(file, "loss", 2, losses);
    read_doubles(file, "tcg", r->classes, want->tcg);
    read_doubles(file, "ncg", r->classes, want->ncg);
    want->loss = (kd_losses){losses[0], losses[1]};
    return 1;
}

/* Shows every case to see(), which returns 1 for one that it has compared; how many it has. */
static inline int see_vectors(int (*see)(row *r, result *want))
{
    static row r;
    static result want;
    int count, read = 0, seen = 0;
    FILE *file = open_vectors(&count);
    for (; read_vector(file, &r, &want); ++read) seen += see(&r, &want);
    fclose(file);
    check(read == count, "kd_vectors.txt: %d cases, its header says %d", read, count);
    return seen;
}

/* ---- comparing --------------------------------------------------------- */

static inline double largest(int n, const double *x)
{
    double most = 0;
    for (int j = 0; j < n; ++j) most = fmax(most, fabs(x[j]));
    return most;
}

static inline double distance(int n, const double *a, const double *b)
{
    double most = 0;
    for (int j = 0; j < n; ++j) {
        if (!(fabs(a[j] - b[j]) <= most)) most = fabs(a[j] - b[j]);
        if (isnan(most)) return INFINITY;
    }
    return most;
}

static inline double deviation(int n, const double *x)
{
    long double mean = 0, squares = 0;
    for (int j = 0; j < n; ++j) mean += x[j];
    mean /= n;
    for (int j = 0; j < n; ++j) squares += (x[j] - mean) * (x[j] - mean);
    return n > 1 ? (double)sqrtl(squares / (n - 1)) : 0;
}

/* How large a gradient entry can get: what rounding errors are relative to. */
static inline double grad_scale(const row *r)
{
    const kd_loss_config *c = &r->config;
    double weight = fmax(1, fmax(c->alpha, ncg_weight(c)));
    double slope = c->standardize ? 1 / (1e-7 + deviation(r->classes, r->z)) : 1;
    return c->temperature * weight * slope;
}

static inline double loss_scale(const row *r)
{
    const kd_loss_config *c = &r->config;
    return c->temperature * c->temperature * fmax(1, fmax(c->alpha, ncg_weight(c)));
}

/*
 * What a backend may be off by: in its losses a share of each, in its gradients of their
 * largest entry. Beside that comes what double rounding leaves of differences near 0.
 */
typedef struct {
    double losses, gradients;
} tolerance;
#define IN_DOUBLES ((tolerance){1e-10, 1e-10})
#define IN_FLOATS ((tolerance){1e-10, 1e-6}) /* the GPU's deltas; its losses are doubles */

static inline void compare_results(const row *r, const result *got, const result *want,
                                   tolerance least)
{
    double floor = 1e-13 * loss_scale(r);
    const char *names[] = {"TCG", "NCG"};
    const double losses[][2] = {{got->loss.tcg, want->loss.tcg},
                                {got->loss.ncg, want->loss.ncg}};
    const double *grads[][2] = {{got->tcg, want->tcg}, {got->ncg, want->ncg}};
    for (int i = 0; i < 2; ++i) {
        double error = fabs(losses[i][0] - losses[i][1]);
        check(error <= least.losses * fabs(losses[i][1]) + floor,
              "%s: %s loss %.17g, expected %.17g", describe(r), names[i], losses[i][0],
              losses[i][1]);
        double most = largest(r->classes, grads[i][1]);
        error = distance(r->classes, grads[i][0], grads[i][1]);
        check(error <= least.gradients * most + 1e-14 * grad_scale(r),
              "%s: %s gradient is off by %g, largest entry %g", describe(r), names[i], error,
              most);
    }
}

/* ---- the reference ----------------------------------------------------- */

static inline void run_row(const row *r, result *out)
{
    static double scratch[KD_SCRATCH(MAX_CLASSES)], y[MAX_CLASSES];
    memcpy(y, r->y, r->classes * sizeof(double));
    if (r->swaps) kd_swap(r->classes, y, r->target);
    out->loss = kd_row(&r->config, r->classes, r->z, y, r->target, r->keep, out->tcg, out->ncg,
                       scratch);
}

#endif
