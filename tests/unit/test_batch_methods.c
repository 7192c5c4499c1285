/*
 * Proves the methods that see a batch and views of its images, MLKD, CRLD and DIST
 * (plugin/math/mlkd.c, dist.c, confidence.c, methods.c), on plain arrays:
 *   - losses and gradients are those of PyTorch's autograd (tests/reference/batch_vectors.txt);
 *   - gradients are the derivatives of the losses (finite differences, in double);
 *   - identities: the class level by way of images is the one by way of classes; a student that
 *     is its teacher has no loss; the order of images does not matter; one temperature, one
 * view and no level is KD; CRLD of two equal views is KD times the sum of its weights;
 * DIST does not see how flat a student is;
 * official=1 is no other when all images and classes are kept;
 *   - who is kept, by median and threshold.
 * That a network learns by them: test_methods.c.
 *
 * Run it from the root of the sources, or with ROOT set to it. To add a case:
 * tests/reference/make_batch_vectors.py.
 */
#include "vectors.h"

#include "math/confidence.h"
#include "math/kd_formulas.h"
#include "math/mlkd.h"

enum { MOST_IMAGES = 8, MOST = 16, SIZE = MOST_IMAGES * MOST };

typedef struct {
    char name[64];
    kd_loss_config config;
    int views, images, classes;
    int targets[MOST_IMAGES];
    double z[KD_VIEWS][SIZE], y[KD_VIEWS][SIZE]; /* [images][classes] */
} batch;

typedef struct {
    double loss[KD_COMPONENTS], gradient[KD_COMPONENTS][KD_VIEWS][SIZE];
} outcome;

/* ---- as distil/deepkd_loss.c does it ------------------------------------ */

static void add_rows(const batch *b, int v, double *const weight[KD_VIEW_PAIRS], outcome *out)
{
    static double tcg[MOST], ncg[MOST], scratch[KD_SCRATCH(MOST)];
    const kd_method *m = b->config.method;
    int n = b->classes;
    for (int k = 0; k < KD_VIEW_PAIRS && m->pair[k].weight; ++k)
        for (int i = 0; i < b->images && m->pair[k].student == v; ++i) {
            double w = m->pair[k].weight * weight[k][i];
            kd_losses l =
                kd_row(&b->config, n, b->z[v] + i * n, b->y[m->pair[k].teacher] + i * n,
                       b->targets[i], n - 1, tcg, ncg, scratch);
            out->loss[KD_TCG] += w * l.tcg;
            out->loss[KD_NCG] += w * l.ncg;
            for (int j = 0; j < n; ++j) out->gradient[KD_TCG][v][i * n + j] += w * tcg[j];
            for (int j = 0; j < n; ++j) out->gradient[KD_NCG][v][i * n + j] += w * ncg[j];
        }
}

static void run(const batch *b, outcome *out)
{
    static double sure[KD_VIEWS][MOST_IMAGES], numbers[KD_VIEW_PAIRS][MOST_IMAGES];
    const kd_method *m = b->config.method;
    const double *confidence[KD_VIEWS] = {0};
    double *weight[KD_VIEW_PAIRS], weights[MOST_IMAGES];
    memset(out, 0, sizeof(*out));
    for (int v = 0; v < b->views; ++v) {
        for (int i = 0; i < b->images; ++i)
            sure[v][i] = kd_confidence(b->classes, b->y[v] + i * b->classes);
        confidence[v] = sure[v];
    }
    for (int k = 0; k < KD_VIEW_PAIRS; ++k) weight[k] = numbers[k];
    for (int k = 0; k < KD_VIEW_PAIRS; ++k) kd_fill(b->images, weight[k], 1);
    if (m->weigh) m->weigh(&b->config, b->images, confidence, weight);
    for (int v = 0; v < b->views; ++v) {
        double *gradient[KD_COMPONENTS];
        for (int c = 0; c < KD_COMPONENTS; ++c) gradient[c] = out->gradient[c][v];
        add_rows(b, v, weight, out);
        memcpy(weights, weight[v], sizeof(weights));
        kd_row_batch rows = {b->images, b->classes, v, b->z[v], b->y[v], b->targets, weights};
        if (m->batch) m->batch(&b->config, &rows, out->loss, gradient);
    }
}

/* ---- random batches ------------------------------------------------------ */

static unsigned long long state = 88172645463325252ULL;

static double uniform(double low, double high)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return low + (high - low) * (double)(state >> 11) / 9007199254740992.0;
}

static void fill(int n, double *x, double spread)
{
    for (int i = 0; i < n; ++i) x[i] = uniform(-spread, spread);
}

static batch make_batch(const char *method, int views, int images, int classes)
{
    batch b = {.views = views, .images = images, .classes = classes};
    b.config.method = find_method(method);
    b.config.alpha = .7;
    b.config.temperature = 4;
    for (int i = 0; i < KD_PARAMETERS; ++i)
        b.config.parameter[i] = b.config.method->parameter[i].usual;
    while (b.config.n_temperatures < KD_TEMPERATURES &&
           b.config.method->temperatures[b.config.n_temperatures])
        ++b.config.n_temperatures;
    memcpy(b.config.temperatures, b.config.method->temperatures, sizeof(b.config.temperatures));
    for (int i = 0; i < images; ++i) b.targets[i] = (int)uniform(0, classes);
    for (int v = 0; v < KD_VIEWS; ++v) {
        fill(images * classes, b.z[v], 4);
        fill(images * classes, b.y[v], 4);
    }
    return b;
}

/* ---- PyTorch ------------------------------------------------------------- */

static int read_case(FILE *file, batch *b, outcome *want)
{
    static const char *const names[] = {"tog", "tcg", "ncg"};
    char method[16];
    double targets[MOST_IMAGES];
    int parameters, got;
    memset(b, 0, sizeof(*b));
    memset(want, 0, sizeof(*want));
    got = fscanf(file, " case %63s %15s %lf %d %d %d %d %d", b->name, method, &b->config.alpha,
                 &b->views, &b->images, &b->classes, &b->config.n_temperatures, &parameters);
    if (got == EOF) return 0;
    assert_int_equal(got, 8);
    assert_true(b->images <= MOST_IMAGES && b->classes <= MOST && parameters <= KD_PARAMETERS);
    b->config.method = find_method(method);
    assert_non_null(b->config.method);
    int size = b->images * b->classes;
    read_doubles(file, "temperatures", b->config.n_temperatures, b->config.temperatures);
    b->config.temperature = b->config.temperatures[0];
    read_doubles(file, "parameters", parameters, b->config.parameter);
    read_doubles(file, "targets", b->images, targets);
    for (int i = 0; i < b->images; ++i) b->targets[i] = (int)targets[i];
    for (int v = 0; v < b->views; ++v) {
        read_doubles(file, "z", size, b->z[v]);
        read_doubles(file, "y", size, b->y[v]);
    }
    read_doubles(file, "loss", KD_COMPONENTS, want->loss);
    for (int c = 0; c < KD_COMPONENTS; ++c)
        for (int v = 0; v < b->views; ++v)
            read_doubles(file, names[c], size, want->gradient[c][v]);
    return 1;
}

static void compare_outcomes(const char *name, const batch *b, const outcome *got,
                             const outcome *want, double tolerance)
{
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        check(fabs(got->loss[c] - want->loss[c]) <= tolerance * (1 + fabs(want->loss[c])),
              "%s: %s's loss is %.15g, expected %.15g", name, kd_component_name[c],
              got->loss[c], want->loss[c]);
        for (int v = 0; v < b->views; ++v) {
            int n = b->images * b->classes;
            double most = largest(n, want->gradient[c][v]);
            double off = distance(n, got->gradient[c][v], want->gradient[c][v]);
            check(off <= tolerance * (1 + most),
                  "%s: %s's gradient of view %d is off by %g of %g", name, kd_component_name[c],
                  v, off, most);
        }
    }
}

static void test_vectors(void)
{
    const char *root = getenv("ROOT");
    char path[4096], line[4096];
    static batch b;
    static outcome want, got;
    int count = 0, read = 0, views[KD_VIEWS + 1] = {0};
    snprintf(path, sizeof(path), "%s/tests/reference/batch_vectors.txt", root ? root : ".");
    FILE *file = fopen(path, "r");
    assert_that(file, "%s: cannot be read", path);
    while (fgets(line, sizeof(line), file) && sscanf(line, "cases %d", &count) != 1) continue;
    for (; read_case(file, &b, &want); ++read, ++views[b.views]) {
        run(&b, &got);
        compare_outcomes(b.name, &b, &got, &want, 1e-10);
    }
    fclose(file);
    check(read == count, "%d cases, its header says %d", read, count);
    check(views[1] > 10 && views[2] > 20, "%d cases of one view, %d of two", views[1],
          views[2]);
}

/* ---- finite differences --------------------------------------------------- */

static void check_differences(batch *b, int v, int i)
{
    static outcome at, above, below;
    double before = b->z[v][i], step = 1e-5;
    run(b, &at);
    b->z[v][i] = before + step;
    run(b, &above);
    double width = b->z[v][i];
    b->z[v][i] = before - step;
    run(b, &below);
    width -= b->z[v][i];
    b->z[v][i] = before;
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        double numeric = (above.loss[c] - below.loss[c]) / width, own = at.gradient[c][v][i];
        check(fabs(numeric - own) <= 1e-7 * (1 + fabs(own) + fabs(at.loss[c])),
              "%s, %s, view %d, logit %d: gradient %.12g, differences %.12g",
              b->config.method->name, kd_component_name[c], v, i, own, numeric);
    }
}

static void test_finite_differences(void)
{
    for (int kind = 0; kind < 12; ++kind) {
        int is_mlkd = kind % 2, views = is_mlkd && kind % 4 == 1 ? 1 : 2;
        batch b = make_batch(is_mlkd ? "mlkd" : "crld", views, 3 + kind % 3, 2 + kind % 5);
        b.config.parameter[is_mlkd ? MLKD_OFFICIAL : CRLD_OFFICIAL] = kind / 2 % 2;
        if (kind % 3 == 0) b.config.parameter[DKD_BETA] = KD_WHOLE_KL;
        b.config.standardize = kind > 8;
        if (!is_mlkd) b.config.parameter[CRLD_WEAK] = b.config.parameter[CRLD_STRONG] = .6;
        for (int v = 0; v < views; ++v)
            for (int i = 0; i < b.images * b.classes; ++i) check_differences(&b, v, i);
    }
}

/* DIST's loss is one of both components together. */
static void test_differences_of_dist(void)
{
    static outcome at, above, below;
    for (int kind = 0; kind < 6; ++kind) {
        batch b = make_batch("dist", 1, 2 + kind % 3, 2 + kind % 4);
        b.config.alpha = 1;
        b.config.temperature = kind < 3 ? 1 : 4;
        run(&b, &at);
        for (int i = 0; i < b.images * b.classes; ++i) {
            double before = b.z[0][i], step = 1e-5;
            b.z[0][i] = before + step;
            run(&b, &above);
            b.z[0][i] = before - step;
            run(&b, &below);
            b.z[0][i] = before;
            double numeric = (above.loss[KD_NCG] - below.loss[KD_NCG]) / (2 * step);
            double own = at.gradient[KD_TCG][0][i] + at.gradient[KD_NCG][0][i];
            check(fabs(numeric - own) <= 1e-7 * (1 + fabs(own)),
                  "logit %d: gradient %.12g, differences %.12g", i, own, numeric);
        }
    }
}

/* ---- identities ----------------------------------------------------------- */

/* |P' P - Q' Q|^2 over the kept classes, as it is written */
static double naive_class_level(const batch *b, double T, const double *kept)
{
    int n = b->classes;
    double loss = 0, p[SIZE], q[SIZE];
    for (int i = 0; i < b->images; ++i) {
        double sums[2] = {0, 0};
        for (int j = 0; j < n; ++j) sums[0] += p[i * n + j] = exp(b->z[0][i * n + j] / T);
        for (int j = 0; j < n; ++j) sums[1] += q[i * n + j] = exp(b->y[0][i * n + j] / T);
        for (int j = 0; j < n; ++j) p[i * n + j] /= sums[0], q[i * n + j] /= sums[1];
    }
    for (int j = 0; j < n; ++j)
        for (int k = 0; k < n; ++k) {
            double m = 0;
            for (int i = 0; i < b->images; ++i)
                m += p[i * n + j] * p[i * n + k] - q[i * n + j] * q[i * n + k];
            loss += kept[j] * kept[k] * m * m;
        }
    return loss * b->images / n;
}

static void test_class_level(void)
{
    static outcome out;
    for (int k = 0; k < 20; ++k) {
        batch b = make_batch("mlkd", 1, 2 + k % 6, 2 + k % 9);
        double kept[MOST], mass[MOST] = {0}, want = 0, gradient[SIZE] = {0}, loss[3] = {0};
        for (int i = 0; i < b.images; ++i) {
            double sum = 0;
            for (int j = 0; j < b.classes; ++j) sum += exp(b.y[0][i * b.classes + j]);
            for (int j = 0; j < b.classes; ++j) mass[j] += exp(b.y[0][i * b.classes + j]) / sum;
        }
        kd_at_most(b.classes, mass, kd_median(b.classes, mass), kept);
        for (int t = 0; t < b.config.n_temperatures; ++t)
            want += naive_class_level(&b, b.config.temperatures[t], kept);
        b.config.parameter[MLKD_BATCH] = 0;
        kd_row_batch rows = {b.images, b.classes, 0, b.z[0], b.y[0], b.targets, 0};
        mlkd_loss(&b.config, &rows, loss, (double *[]){gradient, gradient, gradient});
        check(fabs(loss[KD_NCG] - want) < 1e-11 * (1 + want), "%d: %.15g, naively %.15g", k,
              loss[KD_NCG], want);
        run(&b, &out);
        check(!out.loss[KD_TOG], "published, but in tog");
    }
}

static void test_student_is_teacher(void)
{
    static outcome out;
    for (int is_mlkd = 0; is_mlkd < 2; ++is_mlkd) {
        batch b = make_batch(is_mlkd ? "mlkd" : "crld", 2, 5, 7);
        memcpy(b.z, b.y, sizeof(b.z));
        memcpy(b.z[1], b.z[0], sizeof(b.z[0]));
        memcpy(b.y[1], b.y[0], sizeof(b.y[0]));
        run(&b, &out);
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            check(fabs(out.loss[c]) < 1e-12, "loss %d is %g", c, out.loss[c]);
            for (int v = 0; v < 2; ++v)
                check(largest(35, out.gradient[c][v]) < 1e-12, "its gradient is not 0");
        }
    }
}

/* One temperature, one view and no level, and every image as sure as the others: KD's sum */
static void test_mlkd_is_kd(void)
{
    static outcome out, want;
    batch b = make_batch("mlkd", 1, 4, 6);
    for (int i = 0; i < 4 * 6; ++i) b.y[0][i] = i % 6;
    b.config.n_temperatures = 1;
    b.config.temperatures[0] = 3;
    b.config.parameter[MLKD_BETA] = KD_WHOLE_KL;
    b.config.parameter[MLKD_BATCH] = b.config.parameter[MLKD_CLASS] = 0;
    run(&b, &out);
    memset(&want, 0, sizeof(want));
    double ones[] = {1, 1, 1, 1}, *weight[KD_VIEW_PAIRS] = {ones, ones, ones, ones};
    b.config.method = find_method("kd");
    b.config.n_temperatures = 0;
    b.config.temperature = 3;
    add_rows(&b, 0, weight, &want);
    compare_outcomes("mlkd as kd", &b, &out, &want, 1e-13);
}

/* Equal views of which the teacher is sure enough: four times KD, each with its weight */
static void test_crld_is_kd(void)
{
    static outcome out, want;
    batch b = make_batch("crld", 2, 5, 4);
    memcpy(b.z[1], b.z[0], sizeof(b.z[0]));
    memcpy(b.y[1], b.y[0], sizeof(b.y[0]));
    b.config.parameter[CRLD_BETA] = KD_WHOLE_KL;
    b.config.parameter[CRLD_WEAK] = b.config.parameter[CRLD_STRONG] = 0;
    b.config.parameter[CRLD_WITHIN] = 2;
    b.config.parameter[CRLD_ACROSS] = .25;
    run(&b, &out);
    memset(&want, 0, sizeof(want));
    double w[] = {2.25, 2.25, 2.25, 2.25, 2.25}, *weight[KD_VIEW_PAIRS] = {w, w, w, w};
    b.config.method = find_method("kd");
    add_rows(&b, 0, weight, &want);
    memcpy(out.gradient[KD_TCG][1], out.gradient[KD_TCG][0], sizeof(out.gradient[0][0]));
    out.loss[KD_TCG] /= 2, out.loss[KD_NCG] /= 2;
    b.views = 1;
    compare_outcomes("crld as kd", &b, &out, &want, 1e-13);
}

/* A student whose p is share q + (1 - share) / C has all of the teacher's correlations. */
static void test_dist_of_flat_student(void)
{
    static outcome out;
    for (int k = 0; k < 10; ++k) {
        batch b = make_batch("dist", 1, 4 + k % 4, 2 + k % 9);
        double share = .3 + .07 * k;
        b.config.temperature = 1;
        /* no column as flat as rho's epsilon */
        for (int i = 0; i < b.images * b.classes; ++i) b.y[0][i] /= 2;
        kd_soften(b.images, b.classes, b.y[0], 1, b.z[0]);
        for (int i = 0; i < b.images * b.classes; ++i)
            b.z[0][i] = log(share * b.z[0][i] + (1 - share) / b.classes);
        run(&b, &out);
        check(fabs(out.loss[KD_NCG]) < 1e-4, "share %g: loss %g", share, out.loss[KD_NCG]);
        for (int c = KD_TCG; c <= KD_NCG; ++c)
            check(largest(b.images * b.classes, out.gradient[c][0]) < 1e-3,
                  "share %g: its gradient is not 0", share);
    }
}

/* Images in another order: the same, in that order */
static void test_order(void)
{
    static outcome out, other;
    batch b = make_batch("mlkd", 2, 5, 3), turned = b;
    for (int i = 0; i < 5; ++i) {
        int to = (i + 2) % 5;
        turned.targets[to] = b.targets[i];
        for (int v = 0; v < 2; ++v) {
            memcpy(turned.z[v] + to * 3, b.z[v] + i * 3, 3 * sizeof(double));
            memcpy(turned.y[v] + to * 3, b.y[v] + i * 3, 3 * sizeof(double));
        }
    }
    run(&b, &out);
    run(&turned, &other);
    for (int c = 0; c < KD_COMPONENTS; ++c) {
        check(fabs(out.loss[c] - other.loss[c]) < 1e-11 * (1 + out.loss[c]), "loss %d", c);
        for (int i = 0; i < 5; ++i)
            check(distance(3, out.gradient[c][0] + i * 3,
                           other.gradient[c][0] + (i + 2) % 5 * 3) < 1e-11,
                  "gradient %d of image %d", c, i);
    }
}

/* A teacher as sure of all images and classes: all are kept, and only the component differs. */
static void test_official_when_all_are_kept(void)
{
    static outcome out, official;
    batch b = make_batch("mlkd", 2, 4, 4);
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) b.y[0][i * 4 + j] = i == j ? 1e4 : 0;
    run(&b, &out);
    b.config.parameter[MLKD_OFFICIAL] = 1;
    run(&b, &official);
    check(official.loss[KD_TOG] > 0 && out.loss[KD_TOG] == 0, "the levels are not in tog");
    check(fabs(official.loss[KD_TOG] + official.loss[KD_NCG] - out.loss[KD_NCG]) < 1e-10,
          "%g and %g, published %g", official.loss[KD_TOG], official.loss[KD_NCG],
          out.loss[KD_NCG]);
    check(fabs(official.loss[KD_TCG] - out.loss[KD_TCG]) < 1e-10, "tcg");
}

/* Of no finite size anything breaks. */
static void test_extremes(void)
{
    static const double sizes[] = {0, 1e-30, 50, 1e4, 1e30};
    static const char *const methods[] = {"dist", "mlkd", "crld"};
    static outcome out;
    for (int k = 0; k < COUNT(sizes) * 6; ++k) {
        batch b = make_batch(methods[k % 3], k % 3 ? 2 : 1, 4, 3);
        for (int i = 0; i < 12; ++i) {
            b.z[0][i] *= sizes[k / 6], b.y[1][i] *= sizes[k / 6];
            if (k % 6 > 2) b.y[0][i] *= sizes[k / 6], b.z[1][i] *= -sizes[k / 6];
        }
        run(&b, &out);
        for (int c = 0; c < KD_COMPONENTS; ++c) {
            check(isfinite(out.loss[c]), "size %g: loss %d is %g", sizes[k / 6], c,
                  out.loss[c]);
            for (int v = 0; v < 2; ++v)
                for (int i = 0; i < 12; ++i)
                    check(isfinite(out.gradient[c][v][i]), "size %g: gradient", sizes[k / 6]);
        }
    }
}

/* ---- who is kept ----------------------------------------------------------- */

static void test_median(void)
{
    const double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, ties[] = {1, 1, 1, 2}, one[] = {5};
    check(kd_median(3, odd) == 2, "of an odd number");
    check(kd_median(4, even) == 2.5, "of an even number");
    check(kd_median(4, ties) == 1, "of equal ones");
    check(kd_median(1, one) == 5, "of one");
    double weight[4];
    kd_at_most(4, even, 2.5, weight);
    check(kd_share(4, weight) == .5 && !weight[0] && weight[1], "half of them");
    kd_at_most(4, ties, 1, weight);
    check(kd_share(4, weight) == .75, "all of the equal ones");
    kd_at_least(4, even, 3, weight);
    check(weight[0] == 1 && weight[2] == 1 && kd_share(4, weight) == .5, "3 and 4 are");
}

static void test_confidence(void)
{
    const double y[] = {1, 2, 0}, far[] = {1e30, -1e30}, same[] = {7, 7, 7, 7};
    check(fabs(kd_confidence(3, y) - exp(2) / (exp(1) + exp(2) + 1)) < 1e-15, "of three");
    check(kd_confidence(2, far) == 1, "of a certain one");
    check(kd_confidence(4, same) == .25, "of an uncertain one");
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_vectors),
        TEST(test_finite_differences),
        TEST(test_class_level),
        TEST(test_student_is_teacher),
        TEST(test_mlkd_is_kd),
        TEST(test_crld_is_kd),
        TEST(test_order),
        TEST(test_official_when_all_are_kept),
        TEST(test_differences_of_dist),
        TEST(test_dist_of_flat_student),
        TEST(test_extremes),
        TEST(test_median),
        TEST(test_confidence),
    };
    run_tests(tests, COUNT(tests));
    return finish();
}
