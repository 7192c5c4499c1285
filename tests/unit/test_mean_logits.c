/*
 * Proves mean_logits.c, what an ensemble of teachers says:
 *   - as PyTorch has it, to a float's last digit (tests/reference/mean_vectors.txt);
 *   - identities: equal teachers are one, and of their logits' mean to the bit; softmax and
 *     sigmoid of the result are the means of the teachers'; their order does not matter; a
 *     softmax is blind to what is added to a teacher's logits;
 *   - extremes stay finite, what is not finite stays so; strides; the result in a teacher's
 * place.
 *
 * Run it from the root of the sources, or with ROOT set to it.
 */
#include "vectors.h"

#include "math/mean_logits.h"

enum { MOST = 64 };
typedef void mean_rule(int, size_t, size_t, const float *const *, float *);
static const struct {
    const char *name;
    mean_rule *mean;
} rules[] = {
    {"logits", kd_mean_logits}, {"softmax", kd_mean_softmax}, {"logistic", kd_mean_logistic}};

static float y[KD_MOST_TEACHERS][MOST];

static void average(mean_rule *mean, int teachers, int n, float *to)
{
    const float *from[KD_MOST_TEACHERS];
    for (int m = 0; m < teachers; ++m) from[m] = y[m];
    mean(teachers, n, 1, from, to);
}

static void fill(int teachers, int n, double spread)
{
    for (int m = 0; m < teachers; ++m)
        for (int j = 0; j < n; ++j) y[m][j] = spread * (2. * rand() / RAND_MAX - 1);
}

static void read_case(FILE *file)
{
    int teachers, n;
    double numbers[MOST];
    float found[MOST];
    assert_int_equal(fscanf(file, " case %d %d", &teachers, &n), 2);
    assert_in_range(n, 1, MOST);
    for (int m = 0; m < teachers; ++m) {
        read_doubles(file, "y", n, numbers);
        for (int j = 0; j < n; ++j) y[m][j] = numbers[j];
    }
    for (int k = 0; k < COUNT(rules); ++k) {
        read_doubles(file, rules[k].name, n, numbers);
        average(rules[k].mean, teachers, n, found);
        for (int j = 0; j < n; ++j)
            assert_float_equal(found[j], numbers[j], 6e-8 * fabs(numbers[j]) + 1e-12);
    }
}

static void test_pytorch(void)
{
    const char *root = getenv("ROOT");
    char path[4096], line[4096] = "#";
    int count = 0;
    snprintf(path, sizeof(path), "%s/tests/reference/mean_vectors.txt", root ? root : ".");
    FILE *file = fopen(path, "r");
    assert_that(file, "%s: cannot be read", path);
    while (*line == '#' && fgets(line, sizeof(line), file)) continue;
    assert_int_equal(sscanf(line, "cases %d", &count), 1);
    assert_int_equal(count, 30);
    for (int i = 0; i < count; ++i) read_case(file);
    fclose(file);
}

static void test_equal_teachers(void)
{
    float found[MOST];
    double sum = 0;
    fill(1, 20, 9);
    for (int m = 1; m < KD_MOST_TEACHERS; ++m) memcpy(y[m], y[0], sizeof(y[0]));
    for (int j = 0; j < 20; ++j) sum += exp(y[0][j]);
    for (int teachers = 1; teachers <= KD_MOST_TEACHERS; ++teachers) {
        average(kd_mean_logits, teachers, 20, found);
        assert_memory_equal(found, y[0], 20 * sizeof(float));
        average(kd_mean_logistic, teachers, 20, found);
        for (int j = 0; j < 20; ++j) assert_float_equal(found[j], y[0][j], 1e-6);
        average(kd_mean_softmax, teachers, 20, found);
        for (int j = 0; j < 20; ++j) assert_float_equal(found[j], y[0][j] - log(sum), 2e-6);
    }
}

static double softmax_of(const float *x, int n, int j)
{
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += exp((double)x[i]);
    return exp((double)x[j]) / sum;
}

/* In an order of the teachers, and with something added to each one's logits */
static void test_means_of_probabilities(void)
{
    float softmax[MOST], logistic[MOST], again[MOST];
    for (int round = 0; round < 200; ++round) {
        int teachers = 1 + round % KD_MOST_TEACHERS, n = 1 + round % 23;
        fill(teachers, n, round % 9);
        average(kd_mean_softmax, teachers, n, softmax);
        average(kd_mean_logistic, teachers, n, logistic);
        for (int j = 0; j < n; ++j) {
            double p = 0, s = 0;
            for (int m = 0; m < teachers; ++m) {
                p += softmax_of(y[m], n, j) / teachers;
                s += 1 / (1 + exp(-(double)y[m][j])) / teachers;
            }
            assert_float_equal(softmax_of(softmax, n, j), p, 1e-6 * p);
            assert_float_equal(exp(softmax[j]), p, 1e-6 * p);
            assert_float_equal(1 / (1 + exp(-(double)logistic[j])), s, 1e-6 * s);
        }
        for (int m = 0; m < teachers / 2; ++m)
            for (int j = 0; j < n; ++j) {
                float first = y[m][j] + 3;
                y[m][j] = y[teachers - 1 - m][j] - 8;
                y[teachers - 1 - m][j] = first;
            }
        average(kd_mean_softmax, teachers, n, again);
        for (int j = 0; j < n; ++j) assert_float_equal(again[j], softmax[j], 4e-6);
    }
}

static void test_extremes(void)
{
    static const float far[] = {-3e38, -1e4, -90, 0, 90, 1e4, 3e38};
    float found[MOST];
    for (int k = 0; k < COUNT(rules); ++k) {
        for (int a = 0; a < COUNT(far); ++a)
            for (int b = 0; b < COUNT(far); ++b) {
                fill(2, 5, 2);
                y[0][2] = far[a], y[1][2] = far[b];
                average(rules[k].mean, 2, 5, found);
                for (int j = 0; j < 5; ++j) assert_true(isfinite(found[j]));
            }
        for (int a = 0; a < 3; ++a) {
            fill(2, 5, 2);
            y[1][2] = a == 0 ? NAN : a == 1 ? INFINITY : -INFINITY;
            average(rules[k].mean, 2, 5, found);
            assert_false(isfinite(found[2]));
        }
    }
}

static void test_places(void)
{
    for (int k = 0; k < COUNT(rules); ++k) {
        float expected[MOST], wide[3][MOST * 3], *from[3] = {wide[0], wide[1], wide[2]};
        fill(3, 20, 5);
        average(rules[k].mean, 3, 20, expected);
        for (int i = 0; i < 3 * MOST * 3; ++i) wide[i / (MOST * 3)][i % (MOST * 3)] = i;
        for (int m = 0; m < 3; ++m)
            for (int j = 0; j < 20; ++j) wide[m][3 * j] = y[m][j];
        for (int m = 0; m < 3; ++m) { /* each in its turn is overwritten, and restored */
            rules[k].mean(3, 20, 3, (const float *const *)from, wide[m]);
            for (int j = 0; j < 20; ++j) {
                assert_true(wide[m][3 * j] == expected[j]);
                assert_true(wide[m][3 * j + 1] == m * MOST * 3 + 3 * j + 1);
                wide[m][3 * j] = y[m][j];
            }
        }
    }
}

int main(void)
{
    static const test_case tests[] = {TEST(test_pytorch), TEST(test_equal_teachers),
                                      TEST(test_means_of_probabilities), TEST(test_extremes),
                                      TEST(test_places)};
    run_tests(tests, COUNT(tests));
    return finish();
}
