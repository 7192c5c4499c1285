/*
 * Proves plugin/math/kd_math.c, the mathematics of one distilled row:
 *   - its losses and gradients are those of PyTorch's autograd
 *     (tests/reference/kd_vectors.txt);
 *   - its gradients are the derivatives of its own losses (finite differences);
 *   - the identities of the design hold (TCG + NCG is plain KD, and so on);
 *   - differences of near-certain predictions keep their digits;
 *   - finite logits of any size give finite, bounded results;
 *   - the mask and K's schedule are exact;
 *   - one yes or no (objectness) is all of that too;
 *   - nothing is written outside the arrays it is given.
 *
 * Run it from the root of the sources, or with ROOT set to it. One line on
 * stderr says what is wrong with each failing case; the exit status is the
 * verdict.
 *
 * To add a case: another row is a case in tests/reference/make_vectors.py;
 * another number of classes goes into that test's list of sizes here;
 * another property is a function that calls check() and a line in main().
 */
#include "vectors.h"

#include <float.h>
#include <stdint.h>

#define GUARD 8 /* sentinels on either side of every output */
#define SENTINEL 12345.678

/* ---- random numbers: xorshift64*, the same everywhere ------------------- */

static uint64_t rng_state;

static double uniform(double low, double high)
{
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    uint64_t bits = (rng_state * 2685821657736338717ULL) >> 11;
    return low + (high - low) * (double)bits / 9007199254740992.0;
}

static int below(int n)
{
    return (int)uniform(0, n);
}

static void seed(uint64_t s)
{
    rng_state = s * 0x9E3779B97F4A7C15ULL + 1;
}

static void random_logits(int n, double *x, double spread)
{
    for (int j = 0; j < n; ++j) x[j] = uniform(-spread, spread);
}

/* ---- arrays ------------------------------------------------------------ */

static double sum(int n, const double *x)
{
    double s = 0;
    for (int j = 0; j < n; ++j) s += x[j];
    return s;
}

static double *guarded(int n)
{
    double *block = malloc((size_t)(n + 2 * GUARD) * sizeof(double));
    assert_non_null(block);
    for (int j = 0; j < n + 2 * GUARD; ++j) block[j] = SENTINEL;
    return block + GUARD;
}

/* 1 if no sentinel around x[0..n) has changed; frees the block. */
static int guards_intact(double *x, int n)
{
    int intact = 1;
    for (int j = 0; j < GUARD; ++j) {
        intact = intact && x[j - GUARD] == SENTINEL && x[n + j] == SENTINEL;
    }
    free(x - GUARD);
    return intact;
}

/* ---- rows -------------------------------------------------------------- */

/* A row of one of the kinds: method, activation and standardize, of kd and dkd; two of bckd. */
#define KINDS 10
static void set_kind(row *r, int kind, double beta)
{
    if (kind >= 8) {
        set_method(&r->config, "bckd", beta);
        r->config.activation = KD_LOGISTIC;
        r->config.standardize = kind & 1;
        return;
    }
    set_method(&r->config, kind & 1 ? "dkd" : "kd", beta);
    r->config.activation = kind & 2 ? KD_LOGISTIC : KD_SOFTMAX;
    r->config.standardize = kind >> 2 & 1;
}

static void random_row(row *r, const char *name, int kind, int classes)
{
    static const double temperatures[] = {.5, 1, 4, 20};
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->config.temperature = temperatures[below(COUNT(temperatures))];
    r->config.alpha = uniform(.2, 3);
    set_kind(r, kind, uniform(.2, 8));
    r->classes = classes;
    r->target = below(classes);
    r->keep = below(2) ? classes - 1 : below(classes);
    random_logits(classes, r->z, 5);
    random_logits(classes, r->y, 5);
}

/* ---- PyTorch's vectors (vectors.h) -------------------------------------- */

static int compare_row(row *r, result *want)
{
    static result got;
    run_row(r, &got);
    compare_results(r, &got, want, IN_DOUBLES);
    return 1;
}

static void test_vectors(void)
{
    see_vectors(compare_row);
}

/* ---- finite differences ------------------------------------------------ */

/* Central differences of both losses; h fits the scale on which they bend. */
static double numeric_gradient(row *r, result *numeric)
{
    static result low, high;
    double spread = r->config.standardize ? deviation(r->classes, r->z) : 1;
    double h = 1e-5 * fmax(1, r->config.temperature) * spread;
    for (int j = 0; j < r->classes; ++j) {
        double z = r->z[j];
        r->z[j] = z + h;
        run_row(r, &high);
        r->z[j] = z - h;
        run_row(r, &low);
        r->z[j] = z;
        double width = (z + h) - (z - h);
        numeric->tcg[j] = (high.loss.tcg - low.loss.tcg) / width;
        numeric->ncg[j] = (high.loss.ncg - low.loss.ncg) / width;
    }
    return h;
}

/* To 1e-7 of the largest entry, plus the rounding of the losses over h. */
static void compare_with_differences(row *r)
{
    static result numeric, exact;
    run_row(r, &exact);
    double h = numeric_gradient(r, &numeric);
    double floor = 1e-15 * (loss_scale(r) + exact.loss.tcg + exact.loss.ncg) / h;
    double error = distance(r->classes, numeric.tcg, exact.tcg);
    check(error <= 1e-7 * largest(r->classes, exact.tcg) + floor,
          "%s: TCG gradient and finite differences are %g apart", describe(r), error);
    error = distance(r->classes, numeric.ncg, exact.ncg);
    check(error <= 1e-7 * largest(r->classes, exact.ncg) + floor,
          "%s: NCG gradient and finite differences are %g apart", describe(r), error);
}

static void test_finite_differences(void)
{
    static const int sizes[] = {2, 3, 7, 13, 101};
    static row r;
    seed(1);
    for (int i = 0; i < COUNT(sizes); ++i) {
        for (int kind = 0; kind < KINDS; ++kind) {
            for (int repeat = 0; repeat < 6; ++repeat) {
                random_row(&r, "differences", kind, sizes[i]);
                compare_with_differences(&r);
            }
        }
    }
}

/* ---- identities -------------------------------------------------------- */

static const int identity_sizes[] = {2, 3, 7, 101, 1000};

/* log softmax(x / T), the plain way. */
static void log_softmax(int n, const double *x, double T, double *out)
{
    double most = x[0], total = 0;
    for (int j = 1; j < n; ++j) most = fmax(most, x[j]);
    for (int j = 0; j < n; ++j) total += exp((x[j] - most) / T);
    for (int j = 0; j < n; ++j) out[j] = (x[j] - most) / T - log(total);
}

/* Plain KD: T (p - q) into grad, T^2 KL(q || p) returned. */
static double plain_kd(const row *r, double *grad)
{
    static double log_p[MAX_CLASSES], log_q[MAX_CLASSES];
    double T = r->config.temperature, loss = 0;
    log_softmax(r->classes, r->z, T, log_p);
    log_softmax(r->classes, r->y, T, log_q);
    for (int j = 0; j < r->classes; ++j) {
        grad[j] = T * (exp(log_p[j]) - exp(log_q[j]));
        loss += exp(log_q[j]) * (log_q[j] - log_p[j]);
    }
    return T * T * loss;
}

static void plain_row(row *r, const char *name, int kind, int classes)
{
    random_row(r, name, kind, classes);
    r->config.alpha = 1;
    set_method(&r->config, "kd", 1);
    r->config.standardize = 0;
    r->keep = classes - 1;
}

static void add_components(const row *r, const result *out, double *total)
{
    for (int j = 0; j < r->classes; ++j) total[j] = out->tcg[j] + out->ncg[j];
}

static void test_plain_kd(void)
{
    static row r;
    static result out;
    static double want[MAX_CLASSES], total[MAX_CLASSES];
    seed(2);
    for (int i = 0; i < 10 * COUNT(identity_sizes); ++i) {
        plain_row(&r, "plain KD", 0, identity_sizes[i % COUNT(identity_sizes)]);
        run_row(&r, &out);
        double loss = plain_kd(&r, want);
        add_components(&r, &out, total);
        double error = distance(r.classes, total, want);
        check(error <= 1e-13 * grad_scale(&r), "%s: TCG + NCG is %g off T(p - q)", describe(&r),
              error);
        check(fabs(out.loss.tcg + out.loss.ncg - loss) <= 1e-12 * (loss + loss_scale(&r)),
              "%s: losses %g + %g, T^2 KL(q || p) is %g", describe(&r), out.loss.tcg,
              out.loss.ncg, loss);
    }
}

/* Shut where every other class has no more of the student than of the teacher, else as without
 */
static void test_gate(void)
{
    static row r;
    static result with, without;
    int shut = 0;
    seed(21);
    for (int i = 0; i < 400; ++i) {
        static double log_p[MAX_CLASSES], log_q[MAX_CLASSES];
        random_row(&r, "gate", i % 2, identity_sizes[i % 4]);
        for (int j = 0; j < r.classes && i % 3; ++j)
            r.z[j] = r.y[j] + (j == r.target ? 2 : 1e-3 * r.z[j]);
        run_row(&r, &without);
        r.config.tcg_gate = 1;
        run_row(&r, &with);
        r.config.tcg_gate = 0;
        log_softmax(r.classes, r.z, r.config.temperature, log_p);
        log_softmax(r.classes, r.y, r.config.temperature, log_q);
        int is_shut = 1;
        for (int j = 0; j < r.classes; ++j)
            if (j != r.target && log_p[j] > log_q[j]) is_shut = 0;
        shut += is_shut;
        check(with.loss.tcg == (is_shut ? 0 : without.loss.tcg), "%s: loss %g", describe(&r),
              with.loss.tcg);
        check(distance(r.classes, with.tcg, without.tcg) ==
                  (is_shut ? largest(r.classes, without.tcg) : 0),
              "%s: TCG's gradient", describe(&r));
        check(!distance(r.classes, with.ncg, without.ncg), "%s: NCG changes", describe(&r));
    }
    check(shut > 50 && shut < 350, "%d of 400 are shut", shut);
}

static void test_swap(void)
{
    double wrong[] = {1, 5, -2, 5}, right[] = {1, 5, -2, 5}, tied[] = {3, 3};
    kd_swap(4, wrong, 2);
    check(wrong[2] == 5 && wrong[1] == -2 && wrong[0] == 1 && wrong[3] == 5, "a wrong one");
    kd_swap(4, right, 3);
    check(right[3] == 5 && right[1] == 5, "as large as the largest is right");
    kd_swap(2, tied, 1);
    check(tied[0] == 3 && tied[1] == 3, "a tie");
}

static void test_plain_logistic(void)
{
    static row r;
    static result out;
    static double want[MAX_CLASSES], total[MAX_CLASSES];
    seed(3);
    for (int i = 0; i < 10 * COUNT(identity_sizes); ++i) {
        plain_row(&r, "plain logistic", 2, identity_sizes[i % COUNT(identity_sizes)]);
        run_row(&r, &out);
        double T = r.config.temperature;
        for (int j = 0; j < r.classes; ++j) {
            want[j] = T * (1 / (1 + exp(-r.z[j] / T)) - 1 / (1 + exp(-r.y[j] / T)));
        }
        add_components(&r, &out, total);
        double error = distance(r.classes, total, want);
        check(error <= 1e-13 * grad_scale(&r), "%s: TCG + NCG is %g off T(p - q)", describe(&r),
              error);
    }
}

static void check_sums(const row *r, const result *out)
{
    double tolerance = 1e-15 * (100 + r->classes) * grad_scale(r); /* grows with the terms */
    check(fabs(sum(r->classes, out->tcg)) <= tolerance, "%s: TCG gradient sums to %g",
          describe(r), sum(r->classes, out->tcg));
    check(fabs(sum(r->classes, out->ncg)) <= tolerance, "%s: NCG gradient sums to %g",
          describe(r), sum(r->classes, out->ncg));
}

/* A softmax ignores a shift of the logits, and so does standardization. */
static void test_gradients_sum_to_zero(void)
{
    static row r;
    static result out;
    seed(4);
    for (int i = 0; i < COUNT(identity_sizes); ++i) {
        for (int kind = 0; kind < 8; ++kind) {
            random_row(&r, "sum", kind, identity_sizes[i]);
            if (r.config.activation == KD_LOGISTIC && !r.config.standardize) continue;
            run_row(&r, &out);
            check_sums(&r, &out);
        }
    }
}

static void check_ncg_is_zero(const row *r)
{
    static result out;
    run_row(r, &out);
    check(out.loss.ncg == 0 && largest(r->classes, out.ncg) == 0,
          "%s: NCG is not 0 (loss %g, largest gradient entry %g)", describe(r), out.loss.ncg,
          largest(r->classes, out.ncg));
}

/* One class alone has nothing to compare with, and no class has no loss. */
static void test_ncg_zero(void)
{
    static row r;
    seed(5);
    for (int kind = 0; kind < 8; ++kind) {
        for (int i = 0; i < COUNT(identity_sizes); ++i) {
            random_row(&r, "keep=0", kind, identity_sizes[i]);
            r.keep = 0;
            check_ncg_is_zero(&r);
            random_row(&r, "one class left", kind, identity_sizes[i]);
            r.keep = 1;
            if (r.config.activation == KD_SOFTMAX) check_ncg_is_zero(&r);
        }
    }
}

static void check_all_zero(const row *r, double tolerance)
{
    static result out;
    run_row(r, &out);
    double grad = fmax(largest(r->classes, out.tcg), largest(r->classes, out.ncg));
    double loss = fmax(fabs(out.loss.tcg), fabs(out.loss.ncg));
    check(grad <= tolerance * grad_scale(r) && loss <= tolerance * loss_scale(r),
          "%s: not 0 (loss %g, largest gradient entry %g)", describe(r), loss, grad);
}

static void test_teacher_is_student(void)
{
    static row r;
    seed(6);
    for (int kind = 0; kind < KINDS; ++kind) {
        for (int i = 0; i < COUNT(identity_sizes); ++i) {
            random_row(&r, "teacher is student", kind, identity_sizes[i]);
            memcpy(r.y, r.z, sizeof(r.y));
            check_all_zero(&r, 1e-14);
            for (int j = 0; j < r.classes; ++j) r.z[j] = r.y[j] = 2;
            snprintf(r.name, sizeof(r.name), "all logits equal");
            check_all_zero(&r, 1e-14);
        }
    }
}

/* Other components' weights change nothing, their own are factors. */
static void test_weights_are_factors(void)
{
    static row r;
    static result one, two;
    seed(7);
    for (int i = 0; i < 80; ++i) {
        random_row(&r, "weights", i % 8, 7);
        const char *method = method_name(&r.config);
        r.config.alpha = 1;
        set_method(&r.config, method, 1);
        run_row(&r, &one);
        r.config.alpha = 2;
        set_method(&r.config, method, 4);
        run_row(&r, &two);
        double beta = ncg_weight(&r.config);
        for (int j = 0; j < r.classes; ++j) {
            one.tcg[j] *= 2;
            one.ncg[j] *= beta;
        }
        double error =
            fmax(distance(r.classes, one.tcg, two.tcg), distance(r.classes, one.ncg, two.ncg));
        error = fmax(error, fmax(fabs(2 * one.loss.tcg - two.loss.tcg),
                                 fabs(beta * one.loss.ncg - two.loss.ncg)));
        check(error <= 1e-13 * (grad_scale(&r) + loss_scale(&r)),
              "%s: doubled alpha and beta=4 are %g off", describe(&r), error);
    }
}

/* ---- tails ------------------------------------------------------------- */

/* Both predictions nearly certain: student 50, teacher 60 above the rest, or
 * below it. 1-p and 1-q (or p and q) are a and b, far below the last digit of
 * 1, and still the difference is theirs, to 1e-12 of itself. */
static void check_tail(row *r, double sign)
{
    static result out;
    double rest = r->config.activation == KD_SOFTMAX ? r->classes - 1 : 1;
    double a = exp(-50) * (sign > 0 ? rest : 1 / rest);
    double b = exp(-60) * (sign > 0 ? rest : 1 / rest);
    double grad = -sign * (a - b), loss = a - b + b * -10;
    for (int j = 0; j < r->classes; ++j) r->z[j] = r->y[j] = 0;
    r->z[r->target] = sign * 50;
    r->y[r->target] = sign * 60;
    run_row(r, &out);
    check(fabs(out.tcg[r->target] - grad) <= 1e-12 * fabs(grad),
          "%s: TCG gradient at the target %.17g, not %.17g", describe(r), out.tcg[r->target],
          grad);
    check(fabs(out.loss.tcg - loss) <= 1e-12 * loss, "%s: TCG loss %.17g, not %.17g",
          describe(r), out.loss.tcg, loss);
}

static void test_tails(void)
{
    static row r;
    seed(15);
    for (int i = 0; i < 4 * COUNT(identity_sizes); ++i) {
        random_row(&r, "tail", i % 4, identity_sizes[i / 4]);
        r.config.temperature = r.config.alpha = 1;
        check_tail(&r, 1);
        check_tail(&r, -1);
    }
}

/* ---- standardization --------------------------------------------------- */

static void check_same_losses(const row *r, const result *a, const result *b, double tolerance)
{
    double error = fmax(fabs(a->loss.tcg - b->loss.tcg), fabs(a->loss.ncg - b->loss.ncg));
    check(error <= tolerance * (loss_scale(r) + a->loss.tcg + a->loss.ncg),
          "%s: losses change by %g", describe(r), error);
}

static void shift_and_scale(int n, double *x)
{
    double scale = uniform(.5, 20), shift = uniform(-50, 50);
    for (int j = 0; j < n; ++j) x[j] = scale * x[j] + shift;
}

/* To 1e-6, since the 1e-7 beside the deviation does not scale. */
static void test_standardization(void)
{
    static row r;
    static result before, after;
    seed(8);
    for (int i = 0; i < 20 * COUNT(identity_sizes); ++i) {
        random_row(&r, "shift and scale", 4 + i % 4,
                   identity_sizes[i / 4 % COUNT(identity_sizes)]);
        run_row(&r, &before);
        check_sums(&r, &before);
        shift_and_scale(r.classes, r.z);
        shift_and_scale(r.classes, r.y);
        run_row(&r, &after);
        check_same_losses(&r, &before, &after, 1e-6);
    }
}

/* Equal logits standardize to zeros, whatever their value: what rounding leaves
 * of x - mean must not be divided by 1e-7. */
static void test_equal_logits_standardize_to_zeros(void)
{
    static const double values[] = {.1, 2, -3, 12.34, 1e4 / 3, 1e30};
    static row r;
    static result zeros, equal;
    seed(14);
    for (int i = 0; i < COUNT(values) * COUNT(identity_sizes); ++i) {
        for (int kind = 4; kind < 8; ++kind) {
            random_row(&r, "zeros", kind, identity_sizes[i % COUNT(identity_sizes)]);
            r.keep = r.classes - 1;
            double value = values[i / COUNT(identity_sizes)];
            snprintf(r.name, sizeof(r.name), "all of the teacher's logits %g", value);
            for (int j = 0; j < r.classes; ++j) r.y[j] = 0;
            run_row(&r, &zeros);
            for (int j = 0; j < r.classes; ++j) r.y[j] = value;
            run_row(&r, &equal);
            check_same_losses(&r, &zeros, &equal, 1e-12);
        }
    }
}

/* The deviation's derivative: rescaled logits leave the loss as it is, so the
 * gradient is orthogonal to the logits, up to the same 1e-7. */
static void test_standardized_gradient_direction(void)
{
    static row r;
    static result out;
    seed(9);
    for (int i = 0; i < 20 * COUNT(identity_sizes); ++i) {
        random_row(&r, "direction", 4 + i % 4, identity_sizes[i / 4 % COUNT(identity_sizes)]);
        run_row(&r, &out);
        double along = 0, size = 0;
        for (int j = 0; j < r.classes; ++j) {
            along += (out.tcg[j] + out.ncg[j]) * r.z[j];
            size += fabs((out.tcg[j] + out.ncg[j]) * r.z[j]);
        }
        check(fabs(along) <= 1e-6 * (size + grad_scale(&r)), "%s: gradient . logits = %g of %g",
              describe(&r), along, size);
    }
}

/* ---- extremes ---------------------------------------------------------- */

static const double magnitudes[] = {1, 1e4, 1e30, FLT_MAX};

static void extreme_logits(int n, double *x, int pattern, double magnitude)
{
    int hot = below(n);
    for (int j = 0; j < n; ++j) {
        switch (pattern) {
        case 0: x[j] = uniform(-magnitude, magnitude); break;
        case 1: x[j] = j == hot ? magnitude : -magnitude; break;
        case 2: x[j] = j == hot ? -magnitude : magnitude; break;
        case 3: x[j] = magnitude; break;
        case 4: x[j] = below(2) ? magnitude : -magnitude; break;
        default: x[j] = magnitude + uniform(-1, 1); break;
        }
    }
}

/* |T (p - q)| is below T times the weight a class; standardization's map
 * shrinks by at most 1e-7 + deviation, which rounding may leave at 1e-7. */
static double gradient_bound(const row *r)
{
    const kd_loss_config *c = &r->config;
    double weight = fmax(c->alpha, ncg_weight(c));
    double bound = c->temperature * weight * (1 + 1e-9);
    if (!c->standardize) return bound;
    double certain = deviation(r->classes, r->z) - 1e-12 * largest(r->classes, r->z);
    return bound * sqrt(2. * r->classes) / (1e-7 + fmax(0, certain));
}

static void check_finite(const row *r)
{
    static result out;
    run_row(r, &out);
    int finite = isfinite(out.loss.tcg) && isfinite(out.loss.ncg);
    for (int j = 0; j < r->classes; ++j) {
        finite = finite && isfinite(out.tcg[j]) && isfinite(out.ncg[j]);
    }
    check(finite, "%s: a loss (%g, %g) or a gradient is not finite", describe(r), out.loss.tcg,
          out.loss.ncg);
    double most = fmax(largest(r->classes, out.tcg), largest(r->classes, out.ncg));
    check(most <= gradient_bound(r), "%s: gradient entry %g, bound %g", describe(r), most,
          gradient_bound(r));
    double least = fmin(out.loss.tcg, out.loss.ncg);
    check(least >= -1e-13 * loss_scale(r), "%s: negative loss %g", describe(r), least);
}

static void extremes_of(row *r, int classes)
{
    static const double temperatures[] = {.01, 1, 100};
    enum { patterns = 6 };
    for (int i = 0; i < patterns * patterns * COUNT(magnitudes); ++i) {
        for (int kind = 0; kind < 8; ++kind) {
            random_row(r, "extreme", kind, classes);
            if (classes == 1) r->config.activation = KD_LOGISTIC;
            r->config.temperature = temperatures[below(COUNT(temperatures))];
            double magnitude = magnitudes[i / (patterns * patterns)];
            snprintf(r->name, sizeof(r->name), "extreme %g, patterns %d %d", magnitude,
                     i % patterns, i / patterns % patterns);
            extreme_logits(classes, r->z, i % patterns, magnitude);
            extreme_logits(classes, r->y, i / patterns % patterns, magnitude);
            check_finite(r);
        }
    }
}

static void test_extremes(void)
{
    static const int sizes[] = {1, 2, 3, 13, 100, 1000};
    static row r;
    seed(10);
    for (int i = 0; i < COUNT(sizes); ++i) extremes_of(&r, sizes[i]);
}

/* ---- the mask ---------------------------------------------------------- */

/* O(n keep): again and again the first of the largest that are left. */
static void naive_mask(int n, const double *x, int target, int keep, double *mask)
{
    for (int j = 0; j < n; ++j) mask[j] = 0;
    for (int k = 0; k < keep; ++k) {
        int best = -1;
        for (int j = 0; j < n; ++j) {
            if (j == target || mask[j] != 0) continue;
            if (best < 0 || x[j] > x[best]) best = j;
        }
        mask[best] = 1;
    }
}

static void check_mask(const char *name, int n, const double *x, int target, int keep)
{
    double *mask = guarded(n), *scratch = guarded(n), *want = guarded(n);
    kd_topk_mask(n, x, target, keep, mask, scratch);
    naive_mask(n, x, target, keep, want);
    check(distance(n, mask, want) == 0, "mask %s, C=%d target=%d keep=%d: not the naive one",
          name, n, target, keep);
    check(sum(n, mask) == keep, "mask %s, C=%d target=%d keep=%d: %g marked", name, n, target,
          keep, sum(n, mask));
    check(mask[target] == 0, "mask %s, C=%d target=%d keep=%d: the target is marked", name, n,
          target, keep);
    int intact = guards_intact(mask, n) + guards_intact(scratch, n) + guards_intact(want, n);
    check(intact == 3, "mask %s, C=%d keep=%d: wrote outside its arrays", name, n, keep);
}

static void masks_of(const char *name, int n, const double *x)
{
    const int keeps[] = {0, 1, n / 3, n - 2, n - 1};
    const int targets[] = {0, n - 1, below(n)};
    for (int i = 0; i < COUNT(keeps); ++i) {
        int keep = keeps[i] < 0 ? 0 : keeps[i] < n ? keeps[i] : n - 1;
        for (int k = 0; k < COUNT(targets); ++k) check_mask(name, n, x, targets[k], keep);
    }
}

static void test_mask(void)
{
    static const int sizes[] = {1, 2, 3, 7, 13, 100, 127};
    static const double edge[] = {-DBL_MAX, DBL_MAX, 0., -0.};
    double x[127];
    seed(11);
    for (int repeat = 0; repeat < 20; ++repeat) {
        for (int i = 0; i < COUNT(sizes); ++i) {
            random_logits(sizes[i], x, 5);
            masks_of("random", sizes[i], x);
            for (int j = 0; j < sizes[i]; ++j) x[j] = below(3) - 1;
            masks_of("duplicates", sizes[i], x);
            for (int j = 0; j < sizes[i]; ++j) x[j] = edge[below(COUNT(edge))];
            masks_of("edges of double", sizes[i], x);
            for (int j = 0; j < sizes[i]; ++j) x[j] = -DBL_MAX;
            masks_of("all lowest", sizes[i], x);
            for (int j = 0; j < sizes[i]; ++j) x[j] = repeat % 2 ? j : -j;
            masks_of("sorted", sizes[i], x);
        }
    }
}

static void test_large_mask(void)
{
    static double x[10000];
    seed(12);
    random_logits(COUNT(x), x, 5);
    check_mask("large", COUNT(x), x, 77, 500);
    check_mask("large", COUNT(x), x, 0, 0);
    for (int j = 0; j < COUNT(x); ++j) x[j] = below(50);
    check_mask("large, duplicates", COUNT(x), x, COUNT(x) - 1, 700);
    check_mask("large, duplicates", COUNT(x), x, 5000, COUNT(x) - 1);
}

/* ---- the schedule ------------------------------------------------------ */

static void check_k(const kd_topk_config *c, int classes, double progress, int want)
{
    int k = kd_topk_schedule(c, classes, progress);
    check(k == want, "K* %d, C=%d, phases %g %g, at %g: K = %d, not %d", c->optimal, classes,
          c->phase1_end, c->phase2_end, progress, k, want);
}

/* K as a real number; kd_topk_schedule gives one of the nearest integers. */
static double exact_k(const kd_topk_config *c, int classes, double s)
{
    double first = fmin(fmax(1, round(classes / 20.)), c->optimal);
    if (s < c->phase1_end) return first + (c->optimal - first) * s / c->phase1_end;
    if (s < c->phase2_end) return c->optimal;
    double share = (s - c->phase2_end) / (1 - c->phase2_end);
    return c->optimal + (classes - 1 - c->optimal) * share;
}

static void check_whole_run(const kd_topk_config *c, int classes)
{
    int previous = 0;
    for (int i = 0; i <= 1000; ++i) {
        double s = i / 1000.;
        int k = kd_topk_schedule(c, classes, s);
        check(k >= previous && k >= 1 && k <= classes - 1,
              "K* %d, C=%d, at %g: K = %d after %d", c->optimal, classes, s, k, previous);
        check(fabs(k - exact_k(c, classes, s)) <= .5 + 1e-9,
              "K* %d, C=%d, at %g: K = %d, exactly %g", c->optimal, classes, s, k,
              exact_k(c, classes, s));
        previous = k;
    }
}

static void test_dynamic_schedule(void)
{
    static const struct {
        int classes, optimal, first;
    } cases[] = {{2, 1, 1},    {3, 1, 1},       {3, 2, 1},      {10, 5, 1},   {10, 1, 1},
                 {20, 10, 1},  {50, 20, 3},     {80, 40, 4},    {100, 50, 5}, {100, 3, 3},
                 {100, 99, 5}, {1000, 500, 50}, {1000, 999, 50}};
    for (int i = 0; i < COUNT(cases); ++i) {
        kd_topk_config c = {KD_TOPK_DYNAMIC, cases[i].optimal, .3, .7};
        int classes = cases[i].classes;
        check_k(&c, classes, 0, cases[i].first);
        check_k(&c, classes, .3, c.optimal);
        check_k(&c, classes, .5, c.optimal);
        check_k(&c, classes, .69999, c.optimal);
        check_k(&c, classes, .7, c.optimal);
        check_k(&c, classes, 1, classes - 1);
        check_whole_run(&c, classes);
    }
}

/* Inside the phases, worked out by hand. */
static void test_schedule_inside_phases(void)
{
    kd_topk_config c = {KD_TOPK_DYNAMIC, 45, .25, .75};
    check_k(&c, 100, .0625, 15); /* 5 + 40 / 4 */
    check_k(&c, 100, .125, 25);
    check_k(&c, 100, .1875, 35);
    check_k(&c, 100, .875, 72); /* 45 + 54 / 2 */
}

/* A phase of no length must not divide by 0. */
static void test_empty_phases(void)
{
    kd_topk_config no_easy = {KD_TOPK_DYNAMIC, 40, 0, .5};
    check_k(&no_easy, 100, 0, 40);
    check_k(&no_easy, 100, 1, 99);
    kd_topk_config no_hard = {KD_TOPK_DYNAMIC, 40, .5, 1};
    check_k(&no_hard, 100, .99, 40);
    int k = kd_topk_schedule(&no_hard, 100, 1);
    check(k == 40 || k == 99, "no hard phase: K = %d at the end", k);
}

static void test_other_schedules(void)
{
    kd_topk_config fixed = {KD_TOPK_STATIC, 7, .3, .7}, off = {KD_TOPK_OFF, 7, .3, .7};
    for (double s = 0; s <= 1; s += .125) {
        check_k(&fixed, 10, s, 7);
        check_k(&off, 10, s, 9);
        check_k(&off, 2, s, 1);
        for (int schedule = KD_TOPK_DYNAMIC; schedule <= KD_TOPK_OFF; ++schedule) {
            kd_topk_config single = {(kd_schedule)schedule, 1, .3, .7};
            check_k(&single, 1, s, 0); /* a single class has no others */
            single.optimal = 0;
            check_k(&single, 1, s, 0);
        }
    }
}

/* ---- one yes or no ----------------------------------------------------- */

static const double yes_or_no_temperatures[] = {.5, 1, 4, 20};

/* PyTorch's rows of one class, whose TCG it is with alpha as the weight */
static int compare_one_class(row *r, result *want)
{
    if (r->classes != 1) return 0;
    result got = {.loss = {0, 0}};
    const kd_loss_config *c = &r->config;
    got.loss.tcg = kd_yes_or_no(c->alpha, c->temperature, r->z[0], r->y[0], got.tcg);
    compare_results(r, &got, want, IN_DOUBLES);
    return 1;
}

static void test_yes_or_no_vectors(void)
{
    int compared = see_vectors(compare_one_class);
    check(compared == 17, "kd_vectors.txt: %d rows of one class, expected 17", compared);
}

static void test_yes_or_no_is_a_row_of_one_class(void)
{
    static row r;
    static result out;
    seed(14);
    for (int i = 0; i < 400; ++i) {
        double gradient, spread = i % 2 ? 5 : 1e4;
        random_row(&r, "one class", 2 + i % 2, 1);
        random_logits(1, r.z, spread);
        random_logits(1, r.y, spread);
        run_row(&r, &out);
        double loss =
            kd_yes_or_no(r.config.alpha, r.config.temperature, r.z[0], r.y[0], &gradient);
        check(loss == out.loss.tcg && gradient == out.tcg[0],
              "%s: z=%g y=%g: yes or no has %.17g and %.17g, the row %.17g and %.17g",
              describe(&r), r.z[0], r.y[0], loss, gradient, out.loss.tcg, out.tcg[0]);
    }
}

static void test_yes_or_no_differences(void)
{
    seed(15);
    for (int i = 0; i < 400; ++i) {
        double weight = uniform(.1, 5), T = yes_or_no_temperatures[i % 4], gradient, unused;
        double z = uniform(-6, 6), y = uniform(-6, 6), h = 1e-5 * fmax(1, T);
        double loss = kd_yes_or_no(weight, T, z, y, &gradient);
        double up = kd_yes_or_no(weight, T, z + h, y, &unused);
        double down = kd_yes_or_no(weight, T, z - h, y, &unused);
        double numeric = (up - down) / ((z + h) - (z - h));
        double floor = 1e-15 * (weight * T * T + loss) / h;
        check(fabs(numeric - gradient) <= 1e-7 * fabs(gradient) + floor,
              "yes or no, weight %g, T %g, z %g, y %g: gradient %.12g, differences %.12g",
              weight, T, z, y, gradient, numeric);
    }
}

/* T (p - q) keeps its digits where p and q are 0 or 1 to double precision. */
static void test_yes_or_no_tails(void)
{
    for (double z = 30; z < 700; z += 37) {
        double y = z + 1.25, gradient, mirrored;
        double want = 3 * exp(-y) * expm1(1.25); /* 3 (e^-z - e^-y), the rest is below 1e-13 */
        double loss = kd_yes_or_no(3, 1, z, y, &gradient);
        double mirrored_loss = kd_yes_or_no(3, 1, -z, -y, &mirrored);
        check(fabs(gradient + want) <= 1e-12 * want, "yes or no at %g: %.17g, expected %.17g",
              z, gradient, -want);
        check(fabs(mirrored - want) <= 1e-12 * want, "yes or no at %g: %.17g, expected %.17g",
              -z, mirrored, want);
        check(loss >= 0 && mirrored_loss >= 0, "yes or no at %g: loss below 0", z);
    }
}

static void check_extreme_yes_or_no(double T, double z, double y)
{
    double gradient = NAN, loss = kd_yes_or_no(2, T, z, y, &gradient);
    check(isfinite(loss) && loss >= 0 && loss <= 2 * T * T * (fabs(z / T - y / T) + 1),
          "yes or no, T %g, z %g, y %g: loss %g", T, z, y, loss);
    check(fabs(gradient) <= 2 * T, "yes or no, T %g, z %g, y %g: gradient %g", T, z, y,
          gradient);
    check(z == y ? loss == 0 && gradient == 0 : gradient * (z - y) >= 0,
          "yes or no, T %g, z %g, y %g: gradient %g, loss %g", T, z, y, gradient, loss);
    double none = NAN, nothing = kd_yes_or_no(0, T, z, y, &none);
    check(nothing == 0 && none == 0, "yes or no, T %g, z %g, y %g: weight 0 has %g and %g", T,
          z, y, nothing, none);
}

static void test_extreme_yes_or_no(void)
{
    static const double logits[] = {-FLT_MAX, -1e10, -1e4, -50, -1e-30, 0,
                                    1e-30,    3,     50,   1e4, 1e10,   FLT_MAX};
    for (int i = 0; i < COUNT(logits) * COUNT(logits); ++i)
        for (int k = 0; k < COUNT(yes_or_no_temperatures); ++k)
            check_extreme_yes_or_no(yes_or_no_temperatures[k], logits[i / COUNT(logits)],
                                    logits[i % COUNT(logits)]);
    double gradient;
    double loss = kd_yes_or_no(1, 1, 1e4, -1e4, &gradient);
    check(gradient == 1 && loss == 1e4, "sure and wrong: %.17g, loss %.17g", gradient, loss);
}

/* ---- memory ------------------------------------------------------------ */

static void check_memory(const row *r)
{
    int n = r->classes;
    double *z = guarded(n), *y = guarded(n), *tcg = guarded(n), *ncg = guarded(n);
    double *scratch = guarded(KD_SCRATCH(n));
    memcpy(z, r->z, (size_t)n * sizeof(double));
    memcpy(y, r->y, (size_t)n * sizeof(double));
    kd_loss_config config = r->config;
    kd_row(&config, n, z, y, r->target, r->keep, tcg, ncg, scratch);
    int same = !memcmp(z, r->z, (size_t)n * sizeof(double));
    same = same && !memcmp(y, r->y, (size_t)n * sizeof(double));
    check(same, "%s: the logits have changed", describe(r));
    int written = 1;
    for (int j = 0; j < n; ++j) written = written && tcg[j] != SENTINEL && ncg[j] != SENTINEL;
    check(written, "%s: a gradient entry was not written", describe(r));
    int intact = guards_intact(z, n) + guards_intact(y, n) + guards_intact(tcg, n) +
                 guards_intact(ncg, n) + guards_intact(scratch, KD_SCRATCH(n));
    check(intact == 5, "%s: wrote outside its arrays", describe(r));
}

static void test_memory(void)
{
    static const int sizes[] = {1, 2, 3, 13, 127, 1000};
    static row r;
    seed(13);
    for (int i = 0; i < COUNT(sizes); ++i) {
        for (int kind = 0; kind < 8; ++kind) {
            random_row(&r, "memory", kind, sizes[i]);
            if (sizes[i] == 1) r.config.activation = KD_LOGISTIC;
            check_memory(&r);
        }
    }
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_vectors),
        TEST(test_finite_differences),
        TEST(test_gate),
        TEST(test_swap),
        TEST(test_plain_kd),
        TEST(test_plain_logistic),
        TEST(test_gradients_sum_to_zero),
        TEST(test_ncg_zero),
        TEST(test_teacher_is_student),
        TEST(test_weights_are_factors),
        TEST(test_tails),
        TEST(test_standardization),
        TEST(test_equal_logits_standardize_to_zeros),
        TEST(test_standardized_gradient_direction),
        TEST(test_extremes),
        TEST(test_mask),
        TEST(test_large_mask),
        TEST(test_dynamic_schedule),
        TEST(test_schedule_inside_phases),
        TEST(test_empty_phases),
        TEST(test_other_schedules),
        TEST(test_yes_or_no_vectors),
        TEST(test_yes_or_no_is_a_row_of_one_class),
        TEST(test_yes_or_no_differences),
        TEST(test_yes_or_no_tails),
        TEST(test_extreme_yes_or_no),
        TEST(test_memory),
    };
    run_tests(tests, COUNT(tests));
    return finish();
}
