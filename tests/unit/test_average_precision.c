/*
 * Proves plugin/math/average_precision.c:
 *   - it says what pycocotools says of the same boxes, for each class
 *     (tests/reference/map_vectors.txt);
 *   - small scenes whose AP can be counted by hand, one for each rule;
 *   - the order of the input does not matter where scores differ, only the
 *     order of the scores does, and a false positive below all others or a
 *     second detection of the same object gains nothing.
 *
 * Run it from the root of the sources, or with ROOT set to it.
 *
 * To add a case: a scene in tests/reference/make_map_vectors.py, or a rule as
 * a function here.
 */
#include "nets.h"

#include <errno.h>

#include "math/average_precision.h"

#define TOLERANCE 1e-9

static ap_boxes truths, detections;

static void clear(void)
{
    free(truths.boxes), free(detections.boxes);
    truths = detections = (ap_boxes){0};
}

static void truth(long image, int class, double x, double y, double w, double h)
{
    ap_append(&truths, (ap_box){image, class, x, y, w, h, 0, 0});
}

static void crowd(long image, int class, double x, double y, double w, double h)
{
    ap_append(&truths, (ap_box){image, class, x, y, w, h, 0, 1});
}

static void detect(double score, long image, int class, double x, double y, double w, double h)
{
    ap_append(&detections, (ap_box){image, class, x, y, w, h, score, 0});
}

/* AP50 and AP of the first class, and truths of it */
static void assert_first(double ap50, double ap, int n)
{
    ap_result r = average_precision(&truths, &detections, 3);
    assert_float_equal(r.ap50[0], ap50, TOLERANCE);
    assert_float_equal(r.ap[0], ap, TOLERANCE);
    assert_int_equal(r.truths[0], n);
    free_ap_result(r);
}

/* ---- pycocotools -------------------------------------------------------- */

static FILE *open_vectors(int *count)
{
    const char *root = getenv("ROOT");
    char path[4096], line[256] = "#";
    snprintf(path, sizeof(path), "%s/tests/reference/map_vectors.txt", root ? root : ".");
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s: %s", path, strerror(errno));
    while (line[0] == '#') assert_non_null(fgets(line, sizeof(line), file));
    assert_int_equal(sscanf(line, "cases %d", count), 1);
    return file;
}

static void read_boxes_of(FILE *file, char kind, int n)
{
    for (int i = 0; i < n; ++i) {
        ap_box b = {0};
        char found;
        double last;
        assert_int_equal(fscanf(file, " %c %ld %d %lf %lf %lf %lf %lf", &found, &b.image,
                                &b.class, &b.x, &b.y, &b.w, &b.h, &last),
                         8);
        assert_int_equal(found, kind);
        if (kind == 't') b.crowd = last == 1;
        else b.score = last;
        ap_append(kind == 't' ? &truths : &detections, b);
    }
}

static void compare_numbers(FILE *file, const char *name, const char *label, const double *got,
                            int n)
{
    char word[16];
    double want;
    assert_int_equal(fscanf(file, "%15s", word), 1);
    assert_string_equal(word, label);
    for (int i = 0; i < n; ++i) {
        assert_int_equal(fscanf(file, "%lf", &want), 1);
        if (!strcmp(label, "map") && want == -1) want = 0;
        if (!(fabs(got[i] - want) <= TOLERANCE))
            fail_msg("%s: %s %d is %.17g, pycocotools says %.17g", name, label, i, got[i],
                     want);
    }
}

static void test_vectors(void)
{
    int count, read = 0, classes, sizes[2];
    char name[64];
    FILE *file = open_vectors(&count);
    for (; fscanf(file, " case %63s %d %d %d", name, &classes, sizes, sizes + 1) == 4; ++read) {
        clear();
        read_boxes_of(file, 't', sizes[0]);
        read_boxes_of(file, 'd', sizes[1]);
        ap_result r = average_precision(&truths, &detections, classes);
        assert_int_equal(r.classes, classes);
        compare_numbers(file, name, "map", (double[]){r.map50, r.map}, 2);
        compare_numbers(file, name, "ap50", r.ap50, classes);
        compare_numbers(file, name, "ap", r.ap, classes);
        free_ap_result(r);
    }
    fclose(file);
    assert_true(read > 0);
    assert_int_equal(read, count);
}

/* ---- by hand ------------------------------------------------------------ */

/* Overlap 1/2: a hit at one of the ten thresholds. */
static void test_threshold_is_reached(void)
{
    truth(1, 0, 0, 0, 10, 10);
    detect(.9, 1, 0, 0, 0, 10, 5);
    assert_first(1, .1, 1);
    detections.boxes[0].h = nextafter(5, 0);
    assert_first(0, 0, 1);
}

/* Precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1: 51 recalls see 1, 50 see 2/3. */
static void test_envelope(void)
{
    truth(1, 0, 0, 0, 10, 10);
    truth(1, 0, 50, 0, 10, 10);
    detect(.9, 1, 0, 0, 0, 10, 10);
    detect(.8, 1, 0, 0, 50, 10, 10);
    detect(.7, 1, 0, 50, 0, 10, 10);
    assert_first((51 + 50 * 2. / 3) / 101, (51 + 50 * 2. / 3) / 101, 2);
}

/* One of two truths is found: recalls above 1/2 count 0. */
static void test_recall_that_is_not_reached(void)
{
    truth(1, 0, 0, 0, 10, 10);
    truth(2, 0, 0, 0, 10, 10);
    detect(.9, 1, 0, 0, 0, 10, 10);
    assert_first(51 / 101., 51 / 101., 2);
}

/* The second detection of one truth is a false positive, were it the better one. */
static void test_truth_is_taken_once(void)
{
    truth(1, 0, 0, 0, 10, 10);
    truth(2, 0, 0, 0, 10, 10);
    detect(.9, 1, 0, 0, 0, 10, 6);
    detect(.8, 1, 0, 0, 0, 10, 10);
    detect(.7, 2, 0, 0, 0, 10, 6);
    assert_first((51 + 50 * 2. / 3) / 101, (3 * (51 + 50 * 2. / 3) + 7 * 25.5) / 1010, 2);
}

/* Only boxes of the same image and class meet. */
static void test_images_and_classes_are_apart(void)
{
    truth(1, 0, 0, 0, 10, 10);
    truth(1, 1, 0, 0, 10, 10);
    detect(.9, 2, 0, 0, 0, 10, 10);
    detect(.9, 1, 2, 0, 0, 10, 10);
    assert_first(0, 0, 1);
    detect(.8, 1, 0, 0, 0, 10, 10);
    assert_first(.5, .5, 1);
}

/* Of two truths that a detection overlaps alike the later one is taken. */
static void test_equal_overlaps(void)
{
    truth(1, 0, 0, 0, 4, 10);
    truth(1, 0, 2, 0, 4, 10);
    detect(.9, 1, 0, 1, 0, 4, 10); /* 3/5 of both */
    detect(.8, 1, 0, 0, 0, 4, 10);
    detect(.7, 1, 0, 2, 0, 4, 10);
    ap_result r = average_precision(&truths, &detections, 1);
    assert_float_equal(r.ap50[0], 1, TOLERANCE);
    free_ap_result(r);
    detections.boxes[1].x = 2; /* taken: a false positive */
    r = average_precision(&truths, &detections, 1);
    assert_float_equal(r.ap50[0], 51 / 101., TOLERANCE);
    free_ap_result(r);
}

/* In one image the first in the list comes first, then the image of the lower id. */
static void test_equal_scores(void)
{
    truth(1, 0, 0, 0, 10, 10);
    detect(.5, 1, 0, 50, 50, 10, 10);
    detect(.5, 1, 0, 0, 0, 10, 10);
    assert_first(.5, .5, 1);
    detections.boxes[0].x = detections.boxes[0].y = 0, detections.boxes[1].x = 50;
    assert_first(1, 1, 1);
    detections.boxes[0].image = truths.boxes[0].image = 3;
    assert_first(.5, .5, 1);
    detections.boxes[1].image = 4;
    assert_first(1, 1, 1);
}

/* Crowds hold any number of detections, by the part of each that lies inside. */
static void test_crowds_are_ignored(void)
{
    truth(1, 0, 0, 0, 10, 10);
    crowd(1, 0, 100, 0, 100, 100);
    for (int i = 0; i < 5; ++i) detect(.9, 1, 0, 110, 10 * i, 10, 10);
    detect(.8, 1, 0, 0, 0, 10, 10);
    assert_first(1, 1, 1);
    detections.boxes[0].x = 95; /* half of it inside: a false positive from .55 on */
    assert_first(1, (1 + 9 * .5) / 10, 1);
}

/* A real truth is taken however much more of a detection lies in a crowd. */
static void test_real_truth_before_crowd(void)
{
    crowd(1, 0, 0, 0, 100, 100);
    truth(1, 0, 0, 0, 10, 10);
    detect(.9, 1, 0, 0, 0, 10, 5);
    assert_first(1, .1, 1); /* ignored at the other nine */
    detect(.8, 1, 0, 0, 0, 10, 10);
    assert_first(1, 1, 1); /* at .5 in the crowd */
}

static void test_classes_without_truths(void)
{
    crowd(1, 0, 0, 0, 10, 10);
    truth(1, 1, 0, 0, 10, 10);
    detect(.9, 1, 0, 0, 0, 10, 10);
    detect(.9, 1, 1, 0, 0, 10, 10);
    detect(.9, 1, 2, 0, 0, 10, 10);
    assert_first(-1, -1, 0);
    ap_result r = average_precision(&truths, &detections, 3);
    assert_float_equal(r.map50, 1, TOLERANCE);
    assert_float_equal(r.map, 1, TOLERANCE);
    assert_float_equal(r.ap[2], -1, 0);
    free_ap_result(r);
    truths.n = 1;
    r = average_precision(&truths, &detections, 3);
    assert_float_equal(r.map50, 0, 0);
    assert_float_equal(r.map, 0, 0);
    free_ap_result(r);
}

/* The 101st of an image and class is not seen, that of another class or image is. */
static void test_hundred_detections(void)
{
    truth(1, 0, 0, 0, 10, 10);
    for (int i = 0; i < 100; ++i) detect(.9, 1, 0, 50, 50, 10, 10);
    detect(.8, 1, 0, 0, 0, 10, 10);
    assert_first(0, 0, 1);
    detections.boxes[0].class = 1;
    assert_first(.01, .01, 1);
    detections.boxes[0].class = 0, detections.boxes[0].image = 2;
    assert_first(1 / 101., 1 / 101., 1);
}

static void test_no_boxes(void)
{
    ap_result r = average_precision(&truths, &detections, 3);
    assert_float_equal(r.map, 0, 0);
    for (int c = 0; c < 3; ++c) assert_float_equal(r.ap[c], -1, 0);
    free_ap_result(r);
}

static void evaluate_two_classes(void *argument)
{
    (void)argument;
    free_ap_result(average_precision(&truths, &detections, 2));
}

static void test_class_out_of_range(void)
{
    truth(1, 0, 0, 0, 10, 10);
    detect(.9, 1, 2, 0, 0, 10, 10);
    ASSERT_FAILS(evaluate_two_classes, 0, "class 2", "expected 0 to 1");
    detections.boxes[0].class = -1;
    ASSERT_FAILS(evaluate_two_classes, 0, "class -1", "expected 0 to 1");
}

/* ---- properties --------------------------------------------------------- */

/* Truths in four images and two classes, each found about as often as not; scores differ. */
static void random_scene(unsigned int seed)
{
    clear();
    srand(seed);
    for (int i = 0; i < 60; ++i) {
        double x = rand_uniform(0, 90), y = rand_uniform(0, 90), w = rand_uniform(8, 40);
        long image = rand() % 4;
        int class = rand() % 2;
        truth(image, class, x, y, w, w);
        truths.boxes[i].crowd = rand() % 10 == 0;
        for (int j = rand() % 3; j > 0; --j)
            detect(rand_uniform(.1, 1), image, class, x + rand_uniform(-4, 4), y,
                   w * rand_uniform(.8, 1.2), w);
        detect(rand_uniform(.1, 1), rand() % 4, rand() % 2, rand_uniform(0, 90), y, w, w);
    }
}

static void shuffle_boxes(ap_boxes *list)
{
    for (int i = list->n - 1; i > 0; --i) {
        int j = rand() % (i + 1);
        ap_box swap = list->boxes[i];
        list->boxes[i] = list->boxes[j];
        list->boxes[j] = swap;
    }
}

static void assert_same(ap_result a, ap_result b)
{
    assert_true(a.map > .05 && a.map < a.map50 && a.map50 < .95); /* a scene that can change */
    assert_float_equal(a.map50, b.map50, TOLERANCE);
    assert_float_equal(a.map, b.map, TOLERANCE);
}

static void test_order_of_input(void)
{
    for (unsigned int seed = 1; seed <= 20; ++seed) {
        random_scene(seed);
        ap_result before = average_precision(&truths, &detections, 2);
        shuffle_boxes(&truths);
        shuffle_boxes(&detections);
        ap_result after = average_precision(&truths, &detections, 2);
        assert_same(before, after);
        free_ap_result(before), free_ap_result(after);
    }
}

static void test_only_order_of_scores_counts(void)
{
    for (unsigned int seed = 1; seed <= 20; ++seed) {
        random_scene(seed);
        ap_result before = average_precision(&truths, &detections, 2);
        for (int i = 0; i < detections.n; ++i)
            detections.boxes[i].score = -exp(-20 * detections.boxes[i].score);
        ap_result after = average_precision(&truths, &detections, 2);
        assert_same(before, after);
        free_ap_result(before), free_ap_result(after);
    }
}

/* Below all others, the box changes nothing; above all others, it costs. */
static void test_false_positive(void)
{
    for (unsigned int seed = 1; seed <= 20; ++seed) {
        random_scene(seed);
        ap_result before = average_precision(&truths, &detections, 2);
        detect(.01, 2, 1, 500, 500, 10, 10);
        ap_result after = average_precision(&truths, &detections, 2);
        assert_same(before, after);
        free_ap_result(after);
        detections.boxes[detections.n - 1].score = 2;
        after = average_precision(&truths, &detections, 2);
        assert_true(after.ap[1] < before.ap[1]);
        assert_float_equal(after.ap[0], before.ap[0], 0);
        free_ap_result(before), free_ap_result(after);
    }
}

/* Every detection once more, right behind itself: one object has one hit. */
static void test_duplicates_cost(void)
{
    srand(1);
    for (int i = 0; i < 20; ++i) {
        truth(1, 0, 100 * i, 0, 20, 20);
        detect(rand_uniform(.1, 1), 1, 0, 100 * i + rand_uniform(0, 12), 0, 20, 20);
    }
    ap_result before = average_precision(&truths, &detections, 1);
    for (int i = 0; i < 20; ++i) {
        ap_box again = detections.boxes[i];
        again.score -= 1e-9;
        ap_append(&detections, again);
    }
    ap_result after = average_precision(&truths, &detections, 1);
    assert_true(0 < after.map && after.map < before.map);
    free_ap_result(before), free_ap_result(after);
}

int main(void)
{
    static const test_case tests[] = {
        TEST_AFTER(clear, test_vectors),
        TEST_AFTER(clear, test_threshold_is_reached),
        TEST_AFTER(clear, test_envelope),
        TEST_AFTER(clear, test_recall_that_is_not_reached),
        TEST_AFTER(clear, test_truth_is_taken_once),
        TEST_AFTER(clear, test_images_and_classes_are_apart),
        TEST_AFTER(clear, test_equal_overlaps),
        TEST_AFTER(clear, test_equal_scores),
        TEST_AFTER(clear, test_crowds_are_ignored),
        TEST_AFTER(clear, test_real_truth_before_crowd),
        TEST_AFTER(clear, test_classes_without_truths),
        TEST_AFTER(clear, test_hundred_detections),
        TEST_AFTER(clear, test_no_boxes),
        TEST_AFTER(clear, test_class_out_of_range),
        TEST_AFTER(clear, test_order_of_input),
        TEST_AFTER(clear, test_only_order_of_scores_counts),
        TEST_AFTER(clear, test_false_positive),
        TEST_AFTER(clear, test_duplicates_cost),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
