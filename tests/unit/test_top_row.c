/*
 * Proves top_row.c, a row of logits in few bytes:
 *   - float16: all 65,536 values to float and back, each as IEEE 754 has it; of the floats
 *     between two of them, the nearest, the even one of two; what is beyond is infinite;
 *   - which classes are kept, the target always, in how many bytes; equal logits, no rest;
 *   - what comes back: the kept ones to a share of 2^-11, the rest's sum of exp at T to a
 *     float's digits, or less where a kept one was rounded below it;
 *   - what is lost of KD's and DKD's losses (kd_row): of TCG, of a mask of up to `keep`
 *     classes and of the gradients of kept classes the rounding alone; of NCG the form of the
 *     rest, for a student that has none there w T^2 sum_j q_j log(q_j / mean q).
 */
#include "check.h"

#include "math/kd_math.h"
#include "math/top_row.h"

enum { MOST = 400 };

static double uniform(void)
{
    return (double)rand() / RAND_MAX;
}

/* ---- float16 ------------------------------------------------------------ */

static double half_by_definition(unsigned h)
{
    int e = h >> 10 & 31, f = h & 1023;
    double x = e == 31 ? (f ? NAN : INFINITY)
               : e     ? pow(2, e - 15) * (1 + f / 1024.)
                       : pow(2, -14) * (f / 1024.);
    return h >> 15 ? -x : x;
}

static void test_all_halves(void)
{
    for (unsigned h = 0; h < 65536; ++h) {
        float x = kd_from_half(h);
        double expected = half_by_definition(h);
        if (isnan(expected)) {
            assert_true(isnan(x) && isnan(kd_from_half(kd_to_half(x))));
            continue;
        }
        assert_true(x == expected && !signbit(x) == !(h >> 15));
        assert_int_equal(kd_to_half(x), h);
    }
}

static void test_rounding(void)
{
    for (unsigned h = 0; h < 0x7c00; ++h) /* to the next one; the last is infinity's border */
        for (unsigned sign = 0; sign < 65536; sign += 32768) {
            double low = half_by_definition(h);
            double high = h == 0x7bff ? 65536 : half_by_definition(h + 1);
            float middle = (low + high) / 2, s = sign ? -1 : 1;
            assert_int_equal(kd_to_half(s * middle), sign | (h + (h & 1)));
            assert_int_equal(kd_to_half(s * nextafterf(middle, 0)), sign | h);
            assert_int_equal(kd_to_half(s * nextafterf(middle, INFINITY)), sign | (h + 1));
        }
    assert_int_equal(kd_to_half(3e38), 0x7c00);
    assert_int_equal(kd_to_half(-INFINITY), 0xfc00);
    assert_int_equal(kd_to_half(1e-40f), 0);
    assert_int_equal(kd_to_half(-1e-10f), 0x8000);
#ifdef __FLT16_MANT_DIG__ /* the compiler's own */
    for (int i = 0; i < 1000000; ++i) {
        float x = ldexpf(uniform() - .5, rand() % 50 - 30);
        _Float16 theirs = (_Float16)x;
        uint16_t ours = kd_to_half(x);
        assert_true(!memcmp(&theirs, &ours, sizeof(ours)));
    }
#endif
}

/* ---- rows --------------------------------------------------------------- */

static struct {
    int classes, target, keep;
    double temperature;
    float y[MOST], back[MOST];
    double mask[MOST]; /* 1: a kept other */
} row;
static unsigned char bytes[4 * MOST + 8];

static int pack(void)
{
    static double scratch[3 * MOST], logits[MOST];
    memset(bytes, 0xee, sizeof(bytes));
    kd_pack_top_row(row.classes, row.y, row.target, row.keep, row.temperature, bytes, scratch);
    for (int j = 0; j < row.classes; ++j) logits[j] = row.y[j];
    kd_topk_mask(row.classes, logits, row.target, row.keep, row.mask, scratch);
    size_t n = kd_top_row_bytes(row.keep);
    assert_int_equal(n, 4 * (row.keep + 1) + 4);
    assert_int_equal(bytes[n], 0xee);
    return kd_unpack_top_row(row.classes, bytes, row.keep, row.temperature, row.back);
}

static void draw(int classes, int keep, double spread, double temperature)
{
    row.classes = classes, row.keep = keep, row.temperature = temperature;
    row.target = rand() % classes;
    for (int j = 0; j < classes; ++j) row.y[j] = spread * (2 * uniform() - 1);
}

static float largest_logit(void)
{
    float most = row.y[0];
    for (int j = 1; j < row.classes; ++j) most = fmaxf(most, row.y[j]);
    return most;
}

static int is_rest(int j)
{
    return j != row.target && !row.mask[j];
}

/* log(sum of exp(x_j / T)) over the rest, or over all */
static double log_sum(const float *x, float shift, int of_all)
{
    long double sum = 0;
    for (int j = 0; j < row.classes; ++j)
        if (of_all || is_rest(j)) sum += expl((x[j] - (double)shift) / row.temperature);
    return logl(sum);
}

static void check_row(void)
{
    float most = largest_logit(), least = 0, lowest = 0;
    assert_true(pack());
    for (int j = 0; j < row.classes; ++j) {
        double exact = (double)row.y[j] - most;
        if (is_rest(j)) continue;
        assert_float_equal(row.back[j], exact, -exact / 2048 + 1e-7);
        lowest = fminf(lowest, row.back[j]);
        if (j != row.target) least = fminf(least, row.back[j]);
    }
    for (int j = 0; j < row.classes; ++j)
        if (is_rest(j)) assert_true(row.back[j] <= least);
    if (row.classes > row.keep + 1) {
        double rest = log_sum(row.y, most, 0), lost = rest - log_sum(row.back, 0, 0);
        assert_true(lost >= -1e-6 * (1 + fabs(rest)));
        assert_true(lost <= 1e-6 * (1 + fabs(rest)) - least / 2048 / row.temperature);
    }
    assert_float_equal(log_sum(row.back, 0, 1), log_sum(row.y, most, 1),
                       2e-6 - lowest / 2048 / row.temperature);
}

static void test_rows(void)
{
    static const double temperatures[] = {1, 4, .3, 20};
    srand(1);
    for (int i = 0; i < 4000; ++i) {
        int classes = i % 40 ? 2 + rand() % 30 : 300;
        draw(classes, 1 + rand() % (classes - 1), i % 3 ? 8 : 60, temperatures[i % 4]);
        if (i % 5 == 0) /* many equal ones */
            for (int j = 0; j < classes; ++j) row.y[j] = roundf(row.y[j] / 4) * 4;
        check_row();
    }
}

static void test_extremes(void)
{
    draw(6, 2, 1, 1);
    row.y[1] = 3e38, row.y[4] = -3e38, row.target = 4;
    assert_true(pack());
    assert_true(row.back[1] == 0 && row.back[4] == -65504);
    for (int j = 0; j < 6; ++j) assert_true(isfinite(row.back[j]));
    draw(6, 5, 1, 4); /* no rest */
    check_row();
    draw(8, 3, 1, 4); /* an image without labels: of what the teacher is surest */
    row.target = -1, row.y[5] = 7;
    kd_pack_top_row(8, row.y, -1, 3, 4, bytes, (double[24]){0});
    assert_int_equal(bytes[0] + 256 * bytes[1], 5);
    bytes[0] = 8; /* a class that there is not */
    assert_false(kd_unpack_top_row(8, bytes, 3, 4, row.back));
}

/* ---- what a student learns --------------------------------------------- */

typedef struct {
    kd_losses loss;
    double tcg[MOST], ncg[MOST];
} learnt;

/* A row whose kept logits are rounded, and the others as they were */
static void round_kept(float *to)
{
    for (int j = 0; j < row.classes; ++j)
        to[j] = is_rest(j) ? row.y[j] - largest_logit() : row.back[j];
}

static void learn(const char *method, const double *z, const float *y, int keep, learnt *to)
{
    static double scratch[KD_SCRATCH(MOST)], teacher[MOST];
    kd_loss_config config = {
        .method = find_method(method), .temperature = row.temperature, .alpha = 1};
    config.parameter[0] = 8;
    for (int j = 0; j < row.classes; ++j) teacher[j] = y[j];
    memset(to, 0, sizeof(*to));
    to->loss =
        kd_row(&config, row.classes, z, teacher, row.target, keep, to->tcg, to->ncg, scratch);
}

/* T^2 w KL of the rest's form, of the kept ones as they are */
static double lost_of_rest(const char *method, const float *y)
{
    double others = 0, all = 0, rest = 0, left = row.classes - row.keep - 1, lost = 0;
    for (int j = 0; j < row.classes; ++j) {
        double q = exp(y[j] / row.temperature);
        all += q;
        if (j != row.target) others += q;
        if (is_rest(j)) rest += q;
    }
    for (int j = 0; j < row.classes; ++j) {
        double q = exp(y[j] / row.temperature);
        if (is_rest(j)) lost += q / others * log(q * left / rest);
    }
    double weight = strcmp(method, "dkd") ? others / all : 8;
    return weight * row.temperature * row.temperature * lost;
}

static void try_method(const char *method)
{
    static float rounded[MOST];
    static learnt whole, top;
    double z[MOST];
    for (int j = 0; j < row.classes; ++j)
        z[j] = row.mask[j] || j == row.target ? 6 * uniform() : 1.5;
    round_kept(rounded);
    learn(method, z, rounded, row.classes - 1, &whole);
    learn(method, z, row.back, row.classes - 1, &top);
    assert_float_equal(top.loss.tcg, whole.loss.tcg, 1e-4 * (1 + whole.loss.tcg));
    assert_float_equal(whole.loss.ncg - top.loss.ncg, lost_of_rest(method, rounded),
                       1e-4 * (1 + whole.loss.ncg));
    for (int j = 0; j < row.classes; ++j) {
        assert_float_equal(top.tcg[j], whole.tcg[j], 2e-5);
        if (!is_rest(j)) assert_float_equal(top.ncg[j], whole.ncg[j], 2e-5);
    }
    int keep = 1 + rand() % row.keep;
    learn(method, z, rounded, keep, &whole);
    learn(method, z, row.back, keep, &top);
    assert_float_equal(top.loss.ncg, whole.loss.ncg, 1e-4 * (1 + whole.loss.ncg));
    for (int j = 0; j < row.classes; ++j) assert_float_equal(top.ncg[j], whole.ncg[j], 2e-5);
}

static void test_losses(void)
{
    srand(2);
    for (int i = 0; i < 1000; ++i) {
        int classes = 4 + rand() % 100, keep = 1 + rand() % (classes - 2);
        draw(classes, keep, 6, i % 2 ? 4 : 1);
        assert_true(pack());
        double clamped = log_sum(row.y, largest_logit(), 0) - log_sum(row.back, 0, 0);
        if (clamped > 1e-6) continue; /* all of the rest is as large as the kept ones */
        try_method("kd");
        try_method("dkd");
    }
}

int main(void)
{
    static const test_case tests[] = {TEST(test_all_halves), TEST(test_rounding),
                                      TEST(test_rows), TEST(test_extremes), TEST(test_losses)};
    run_tests(tests, COUNT(tests));
    return finish();
}
