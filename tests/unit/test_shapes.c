/*
 * Proves plugin/math/shapes.c: IoUs of shapes counted by hand; one shape is the median of all;
 * as many shapes as there are sizes fit exactly; on small inputs no shapes of whole pixels, all
 * of them tried, are better by .01; boxes' order, and a second call, change nothing; more
 * shapes fit no worse; what is far from all else gets its own; many equal boxes, and sides at
 * the limit.
 *
 * To add a case: a test, and a row of the table at the end.
 */
#include "nets.h"

#include "math/shapes.h"

#define P SHAPE_PARTS
#define NEAR .01 /* of a dozen boxes that are nothing alike; k-means finds a near optimum */

static void fill_sizes(int *sizes, int n, int most)
{
    for (int i = 0; i < 2 * n; ++i) sizes[i] = P + rand() % ((most - 1) * P);
}

/* The best mean IoU of k shapes, each with sides from 1 to `most`, from the `first` one on */
static double try_all(const int *sizes, int n, int k, int most, int first, int *shapes, int at)
{
    double best = 0;
    if (at == k) return mean_best_iou(sizes, n, shapes, k);
    for (int i = first; i < most * most; ++i) {
        shapes[2 * at] = 1 + i / most;
        shapes[2 * at + 1] = 1 + i % most;
        best = fmax(best, try_all(sizes, n, k, most, i, shapes, at + 1));
    }
    return best;
}

static void test_iou(void)
{
    const int sizes[] = {4 * P, 4 * P, 2 * P, 8 * P, 3 * P / 2, P}, shapes[] = {4, 4, 2, 16};
    assert_float_equal(mean_best_iou(sizes, 1, shapes, 1), 1, 0);
    assert_float_equal(mean_best_iou(sizes + 2, 1, shapes, 1), 8. / 24, 1e-15);
    assert_float_equal(mean_best_iou(sizes + 2, 1, shapes, 2), 16. / 32, 1e-15);
    assert_float_equal(mean_best_iou(sizes + 4, 1, shapes, 1), 1.5 / 16, 1e-15);
    assert_float_equal(mean_best_iou(sizes, 2, shapes, 2), .75, 1e-15);
}

static void test_counts(void)
{
    const int sizes[] = {4 * P, 5 * P, 5 * P, 4 * P, 4 * P + 1, 5 * P - 1,
                         1,     1,     P,     P,     2,         3 * P};
    assert_int_equal(count_sizes(sizes, 0), 0);
    assert_int_equal(count_sizes(sizes, 1), 1);
    assert_int_equal(count_sizes(sizes, 3), 2); /* 4 x 5 and 5 x 4, of one area */
    assert_int_equal(count_sizes(sizes, 5), 3); /* nothing is less than a pixel */
    assert_int_equal(count_sizes(sizes, 6), 4);
}

static void test_as_many_shapes_as_sizes(void)
{
    const int sizes[] = {9 * P, 3 * P, 2 * P, 2 * P,  3 * P,
                         9 * P, 2 * P, 2 * P, 50 * P, 60 * P};
    const int expected[] = {2, 2, 3, 9, 9, 3, 50, 60};
    int shapes[8];
    assert_float_equal(find_shapes(sizes, 5, 4, shapes), 1, 0);
    assert_memory_equal(shapes, expected, sizeof(expected));
}

/* One size a thousand times, and two others: k-means would start with shapes that are equal. */
static void test_many_equal_boxes(void)
{
    int sizes[2 * 1002], shapes[6];
    const int expected[] = {10, 10, 11, 10, 65535, 65535};
    for (int i = 0; i < 2000; ++i) sizes[i] = 10 * P;
    for (int i = 2000; i < 2004; ++i)
        sizes[i] = i < 2002 ? 65535 * P : (i == 2002 ? 11 : 10) * P;
    assert_int_equal(count_sizes(sizes, 1002), 3);
    assert_float_equal(find_shapes(sizes, 1002, 3, shapes), 1, 0);
    assert_memory_equal(shapes, expected, sizeof(expected));
}

static void test_best_of_all(void)
{
    static const struct {
        int n, k, most;
    } rows[] = {{1, 1, 12}, {2, 1, 12},  {7, 1, 12}, {13, 1, 20},
                {9, 2, 9},  {13, 2, 10}, {8, 3, 5}};
    srand(5);
    for (int r = 0; r < 4 * COUNT(rows); ++r) {
        int sizes[26], shapes[2 * MOST_SHAPES], tried[2 * MOST_SHAPES];
        int n = rows[r / 4].n, k = rows[r / 4].k, most = rows[r / 4].most;
        fill_sizes(sizes, n, most);
        if (count_sizes(sizes, n) < k) continue;
        double found = find_shapes(sizes, n, k, shapes);
        double best = try_all(sizes, n, k, most, 0, tried, 0);
        check(found > best - NEAR, "%d boxes, %d shapes: found %.9f, the best is %.9f", n, k,
              found, best);
        assert_float_equal(mean_best_iou(sizes, n, shapes, k), found, 1e-12);
    }
}

/* To the bit, whatever the boxes' order; by area, no two alike; with more of them no worse */
static void test_order(void)
{
    enum { N = 1013, K = 9 };
    int sizes[2 * N], turned[2 * N], shapes[2 * K], other[2 * K];
    double last = 0;
    srand(11);
    fill_sizes(sizes, N, 200);
    for (int i = 0; i < 2 * N; ++i) turned[i] = sizes[2 * (N - 1 - i / 2) + i % 2];
    for (int k = 1; k <= K; ++k) {
        double mean = find_shapes(sizes, N, k, shapes);
        assert_true(find_shapes(turned, N, k, other) == mean);
        assert_memory_equal(shapes, other, 2 * k * sizeof(int));
        check(mean > last, "%d shapes: %.9f, and %d: %.9f", k, mean, k - 1, last);
        last = mean;
        for (int j = 1; j < k; ++j)
            assert_true(shapes[2 * j] * shapes[2 * j + 1] >
                        shapes[2 * j - 2] * shapes[2 * j - 1]);
    }
}

/* Width for height: the mirrored boxes' shapes are the mirrored shapes, or as good. */
static void test_mirrored(void)
{
    enum { N = 301, K = 4 };
    int sizes[2 * N], mirrored[2 * N], shapes[2 * K];
    srand(12);
    fill_sizes(sizes, N, 90);
    for (int i = 0; i < 2 * N; ++i) mirrored[i] = sizes[i ^ 1];
    double mean = find_shapes(sizes, N, K, shapes);
    assert_float_equal(find_shapes(mirrored, N, K, shapes), mean, 2e-3);
}

static void test_limits(void)
{
    int sizes[2 * MOST_SHAPES], shapes[2 * MOST_SHAPES];
    const int tiny[] = {1, 1, 1, 40 * P};
    for (int i = 0; i < MOST_SHAPES; ++i) {
        sizes[2 * i] = (i + 1) * P;
        sizes[2 * i + 1] = (65535 - 7 * i) * P;
    }
    assert_float_equal(find_shapes(sizes, MOST_SHAPES, MOST_SHAPES, shapes), 1, 0);
    find_shapes(tiny, 2, 2, shapes);
    assert_int_equal(shapes[0], 1);
    assert_int_equal(shapes[1], 1);
    assert_int_equal(shapes[2], 1);
    assert_int_equal(shapes[3], 40);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_iou),
        TEST(test_counts),
        TEST(test_as_many_shapes_as_sizes),
        TEST(test_many_equal_boxes),
        TEST(test_best_of_all),
        TEST(test_order),
        TEST(test_mirrored),
        TEST(test_limits),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
