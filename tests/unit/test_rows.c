/*
 * Proves rows.c for rows=truth, and outputs.c, against Darknet itself: its own forward pass in
 * training leaves class deltas at the predictions that it trains, and these are the rows'.
 *   - one truth an image: the student's prediction is each that Darknet trains there, the
 *     teacher's the first that Darknet would train in the teacher's network alone, and the
 *     target is the class;
 *   - lists of truths, empty and full, with boxes at the border and boxes on one anchor: the
 *     trained predictions and classes are those of all rows;
 *   - ties, map= and truth_thresh are Darknet's; nothing depends on the batch;
 *   - the objectness is distilled once a prediction.
 *
 * To add a pair of networks: a line in `pairs`.
 */
#include "detectors.h"

#define SINGLE_ROUNDS 25
#define LIST_ROUNDS 12
#define LABELS 5 /* classes of the truths */

#define PIXELS "6,9, 14,8, 11,20, 30,24, 25,50, 60,44"
#define OTHER_PIXELS "10,10, 22,40, 48,20, 64,64"
#define CELLS "1,1.5, 3,1, 2.2,4.1"

static const detector one_head = {5, 64, 64, LABELS, PIXELS, {{16, "0,1,2,3,4,5"}}, "max=6\n"};
static const detector two_heads = {
    5, 64, 64, LABELS, PIXELS, {{32, "3,4,5"}, {8, "0,1,2"}}, "max=6\n"};
/* as yolov3-tiny's: anchor 0 in no head, anchor 3 in both */
static const detector tiny = {5,        64, 64, LABELS, PIXELS, {{32, "3,4,5"}, {16, "1,2,3"}},
                              "max=6\n"};
static const detector three_heads = {
    5, 96, 64, LABELS, PIXELS, {{32, "4,5"}, {16, "2,3"}, {8, "1,0"}}, "max=6\n"};
static const detector other_anchors = {
    5, 96, 96, LABELS, OTHER_PIXELS, {{32, "2,3"}, {16, "0,1"}}, "max=6\n"};
static const detector lacking = {5, 64, 96, LABELS, OTHER_PIXELS, {{8, "0"}}, "max=6\n"};
static const detector easy = {
    5, 64, 96, LABELS, PIXELS, {{32, "3,4,5"}, {16, "1,2,3"}}, "max=6\ntruth_thresh=.3\n"};
static const detector certain = {
    5, 64, 64, LABELS, PIXELS, {{16, "0,1,2,3,4,5"}}, "max=6\ntruth_thresh=0\n"};
static const detector region = {5, 64, 64, LABELS, CELLS, {{16, 0}}, "max=6\nsoftmax=1\n"};
static const detector region_logistic = {
    5, 96, 64, LABELS, CELLS, {{16, 0}}, "max=6\nsoftmax=0\nbias_match=1\n"};
static const detector region_matched = {
    5, 64, 64, LABELS, CELLS, {{32, 0}}, "max=6\nsoftmax=1\nbias_match=1\n"};
static const detector full = {2,        64, 64, LABELS, PIXELS, {{32, "3,4,5"}, {16, "1,2,3"}},
                              "max=2\n"};
static const detector roomy = {2, 64, 64, LABELS, PIXELS, {{32, "3,4,5"}, {16, "1,2,3"}}, ""};

static const struct {
    const char *name;
    const detector *student, *teacher;
} pairs[] = {
    {"one head from three", &one_head, &three_heads},
    {"two heads from one", &two_heads, &one_head},
    {"tiny from three", &tiny, &three_heads},
    {"three heads from tiny", &three_heads, &tiny},
    {"tiny from tiny", &tiny, &tiny},
    {"other anchors and size", &two_heads, &other_anchors},
    {"a teacher that lacks anchors", &other_anchors, &lacking},
    {"truth_thresh", &easy, &three_heads},
    {"every overlap", &certain, &two_heads},
    {"a teacher with truth_thresh", &three_heads, &certain},
    {"[region] from [yolo]", &region, &two_heads},
    {"[yolo] from [region]", &two_heads, &region},
    {"[region] from [region]", &region_logistic, &region_matched},
    {"[region] from a free [region]", &region_matched, &region},
    {"full lists", &full, &full},
    {"full lists, another max", &full, &roomy},
};

static deepkd *kd;
static network *net;
static network *alone; /* the teacher's network, to be trained as Darknet does */
static net_outputs alone_outputs;

static void start(const detector *student, const detector *teacher, int batch)
{
    detector s = *student, t = *teacher;
    s.batch = t.batch = batch;
    kd = make_detectors(&s, &t, "", 1);
    net = kd->net;
    char *cfg = detector_cfg(&t, "");
    alone = make_net(cfg, 2);
    copy_net(kd->teacher->net, alone);
    alone_outputs = find_outputs(alone, "alone.cfg");
    for (int i = 0; i < alone->n; ++i)
        alone->layers[i].truth_thresh = 1; /* assigned ones alone */
    free(cfg);
}

static void stop(void)
{
    free_network(alone);
    free(alone_outputs.layer);
    free_pair(kd);
}

/* ---- what Darknet trains ------------------------------------------------ */

/* The class deltas of a prediction: bit c of the result is 1 when Darknet trains class c up. */
static int trained_classes(network *n, const net_outputs *outputs, prediction p)
{
    layer l = n->layers[outputs->layer[p.output]];
    int classes = 0, others = 0;
    for (int c = 0; c < l.classes; ++c) {
        float delta = l.delta[p.classes + (size_t)c * p.stride];
        if (delta > 0) classes |= 1 << c;
        others += delta != 0;
    }
    assert_true(classes ? others == l.classes : others == 0);
    return classes;
}

#define MOST_TRAINED 1024

/* All predictions that Darknet trains, and which classes it trains up there, as bits */
typedef struct {
    prediction p[MOST_TRAINED];
    int classes[MOST_TRAINED], n;
} trained_list;

static trained_list students, teachers; /* in the student, in the teacher's network alone */

static void find_trained(network *n, const net_outputs *outputs, trained_list *list)
{
    list->n = 0;
    for (int o = 0; o < outputs->n; ++o) {
        layer l = n->layers[outputs->layer[o]];
        for (int k = 0; k < l.batch * l.n * l.h * l.w; ++k) {
            int cells = l.h * l.w, b = k / (cells * l.n), a = k / cells % l.n;
            prediction p = find_prediction(n, outputs, o, b, a, k % l.w, k / l.w % l.h);
            int classes = trained_classes(n, outputs, p);
            if (!classes) continue;
            assert_true(l.delta[p.objectness] > 0);
            assert_true(list->n < MOST_TRAINED);
            list->p[list->n] = p;
            list->classes[list->n++] = classes;
        }
    }
}

static int same_prediction(prediction p, prediction q)
{
    return p.output == q.output && p.image == q.image && p.i == q.i && p.j == q.j &&
           p.objectness == q.objectness && p.classes == q.classes && p.stride == q.stride;
}

/* Its place in the list, or -1 */
static int find_in(const trained_list *list, prediction p)
{
    for (int i = 0; i < list->n; ++i)
        if (same_prediction(list->p[i], p)) return i;
    return -1;
}

static int assigned; /* how many truths the student's heads have learnt, as Darknet says */

static int count_truths(network *of, region_figures f)
{
    assert_ptr_equal(of->layers, net->layers);
    assert_ptr_equal(of->plugin, net->plugin);
    assigned += f.count;
    return 0;
}

/* Both networks as Darknet trains them, on the student's images and truths. */
static void forward(void)
{
    assigned = 0;
    region_hook = count_truths;
    const teacher *t = kd->teacher;
    int same = t->net->w == net->w && t->net->h == net->h;
    net->train = alone->train = 1;
    forward_network(net);
    region_hook = quiet_heads;
    assert_false(kd->broken);
    assert_int_equal(kd->images, net->batch);
    kd->images = 0;
    memcpy(alone->input, same ? net->input : t->input,
           (size_t)alone->inputs * alone->batch * sizeof(float));
    memset(alone->truth, 0, (size_t)alone->truths * alone->batch * sizeof(float));
    int n = net->truths < alone->truths ? net->truths : alone->truths;
    for (int b = 0; b < net->batch; ++b)
        memcpy(truth_of(alone, b, 0), truth_of(net, b, 0), n * sizeof(float));
    forward_network(alone);
    find_trained(net, &kd->outputs, &students);
    find_trained(alone, &alone_outputs, &teachers);
}

/* ---- one truth an image ------------------------------------------------- */

/* The teacher's first head that trains on the image, or -1 */
static int first_of_image(const trained_list *list, int image)
{
    int first = -1;
    for (int i = 0; i < list->n; ++i)
        if (list->p[i].image == image &&
            (first < 0 || list->p[i].output < list->p[first].output))
            first = i;
    return first;
}

/* Each prediction that the student trains has a row, if the teacher has an anchor. */
static int check_single(const char *name)
{
    int expected = 0;
    for (int i = 0; i < students.n; ++i) {
        prediction p = students.p[i];
        int first = first_of_image(&teachers, p.image), found = 0;
        for (int k = 0; k < kd->rows.n; ++k) {
            const row *r = kd->rows.rows + k;
            if (!same_prediction(r->student, p)) continue;
            ++found;
            assert_true(first >= 0 && same_prediction(r->teacher, teachers.p[first]));
            assert_int_equal(1 << r->target, students.classes[i]);
            assert_int_equal(students.classes[i], teachers.classes[first]);
            assert_true(r->weight == 1);
            assert_int_equal(r->truth, 0);
        }
        if (found != (first >= 0)) fail_msg("%s: %d rows of one truth", name, found);
        expected += found;
    }
    assert_int_equal(kd->rows.n, expected);
    return kd->rows.n;
}

static void test_single_truths(void)
{
    for (int i = 0; i < COUNT(pairs); ++i) {
        int rows = 0;
        start(pairs[i].student, pairs[i].teacher, 5);
        for (int round = 0; round < SINGLE_ROUNDS; ++round) {
            fill_scenes(net, 0, 1, 100 * i + round);
            for (int b = 0; b < net->batch; ++b)
                set_truth(net, b, 0, random_box(), rand() % LABELS);
            forward();
            rows += check_single(pairs[i].name);
        }
        if (rows < SINGLE_ROUNDS) fail_msg("%s: no more than %d rows", pairs[i].name, rows);
        stop();
    }
}

/* Boxes that two anchors fit alike: rounding decides, and it is Darknet's. */
static void test_ties(void)
{
    const char *anchors = "10,20, 20,10, 7,29, 29,7, 12,33, 33,12";
    const char *cells = "1.1,2.3, 2.3,1.1, 1.3,.7, .7,1.3";
    const detector yolo = {5,        64, 64, LABELS, anchors, {{16, "3,4,5"}, {8, "0,1,2"}},
                           "max=6\n"};
    const detector grid = {5, 64, 64, LABELS, cells, {{16, 0}}, "max=6\nbias_match=1\n"};
    const detector odd = {5,        88, 104, LABELS, anchors, {{16, "0,2,4"}, {8, "1,3,5"}},
                          "max=6\n"};
    const detector *const all[] = {&yolo, &grid, &odd};
    for (int i = 0; i < COUNT(all); ++i) {
        start(all[i], all[(i + 1) % COUNT(all)], 5);
        for (int round = 0; round < 4 * SINGLE_ROUNDS; ++round) {
            fill_scenes(net, 0, 1, 3000 + 100 * i + round);
            for (int b = 0; b < net->batch; ++b) {
                float side = rand_uniform(.02, .9);
                box square = {rand_uniform(.01, 1), rand_uniform(0, 1), side,
                              side * net->w / net->h};
                set_truth(net, b, 0, square, rand() % LABELS);
            }
            forward();
            assert_int_equal(check_single("ties"), 5);
        }
        stop();
    }
}

/* ---- lists of truths ---------------------------------------------------- */

static const char *pair_name;

static int is_softmax(layer l)
{
    return l.type == REGION && l.softmax; /* there the last of several boxes is trained */
}

/* The targets of all rows of one of the student's predictions, as bits */
static int row_targets(prediction p)
{
    int targets = 0, last_wins = is_softmax(net->layers[kd->outputs.layer[p.output]]);
    for (int k = 0; k < kd->rows.n; ++k) {
        const row *r = kd->rows.rows + k;
        if (!same_prediction(r->student, p)) continue;
        targets = last_wins ? 1 << r->target : targets | 1 << r->target;
    }
    return targets;
}

static void check_students(int teacher_lacks)
{
    for (int i = 0; i < students.n; ++i) {
        prediction p = students.p[i];
        int targets = row_targets(p);
        if (!targets && teacher_lacks) continue;
        if (targets != students.classes[i])
            fail_msg("%s: head %d, image %d, cell %d %d: the rows say %x, Darknet trains %x",
                     pair_name, p.output, p.image, p.i, p.j, targets, students.classes[i]);
    }
}

/* Both networks train each row's two predictions; and no others are trained. */
static void check_lists(int teacher_lacks)
{
    int seen = 0;
    check_students(teacher_lacks);
    for (int k = 0; k < kd->rows.n; ++k) {
        const row *r = kd->rows.rows + k;
        int first = 1, at = find_in(&teachers, r->teacher);
        if (at < 0) fail_msg("%s: row %d: the teacher would not train there", pair_name, k);
        assert_true(teachers.classes[at] >> r->target & 1 ||
                    is_softmax(alone->layers[alone_outputs.layer[r->teacher.output]]));
        assert_int_equal(r->student.image, r->teacher.image);
        for (int m = 0; m < k; ++m)
            first &= !same_prediction(kd->rows.rows[m].student, r->student);
        assert_int_equal(r->is_first, first); /* once a prediction */
        seen += first;
    }
    assert_true(teacher_lacks ? seen <= students.n : seen == students.n);
    int overlaps = net->layers[kd->outputs.layer[0]].truth_thresh < 1;
    if (!teacher_lacks && !overlaps) assert_int_equal(kd->rows.n, assigned);
}

static int lacks_anchors(const detector *teacher)
{
    return teacher == &lacking || teacher == &tiny || teacher == &full || teacher == &roomy;
}

static void test_lists_of_truths(void)
{
    static const int batches[] = {1, 2, 5};
    for (int i = 0; i < COUNT(pairs); ++i) {
        pair_name = pairs[i].name;
        for (int k = 0; k < COUNT(batches); ++k) {
            start(pairs[i].student, pairs[i].teacher, batches[k]);
            int most = net->truths / 5 < 6 ? net->truths / 5 : 6;
            for (int round = 0; round < LIST_ROUNDS; ++round) {
                fill_scenes(net, most, LABELS, 5000 + 100 * i + round);
                forward();
                check_lists(lacks_anchors(pairs[i].teacher));
            }
            stop();
        }
    }
}

/* The classes of the labels become the network's, as a map= says. */
static void test_map(void)
{
    char *map = write_text("map", "2\n0\n1\n2\n0\n"), options[128];
    snprintf(options, sizeof(options), "max=6\nmap=%s\n", map);
    const detector yolo = {5, 64, 64, 3, PIXELS, {{32, "3,4,5"}, {16, "0,1,2"}}, options};
    const detector grid = {5, 64, 64, 3, CELLS, {{16, 0}}, options};
    const detector *const students[] = {&yolo, &grid};
    for (int i = 0; i < COUNT(students); ++i) {
        int targets = 0;
        pair_name = "map";
        start(students[i], students[!i], 5);
        for (int round = 0; round < SINGLE_ROUNDS; ++round) {
            fill_scenes(net, 6, LABELS, 4000 + 100 * i + round);
            forward();
            check_lists(0);
            for (int k = 0; k < kd->rows.n; ++k) targets |= 1 << kd->rows.rows[k].target;
        }
        assert_int_equal(targets, 7);
        stop();
    }
    free(map);
}

/* Two truths at one prediction, of which the teacher has an anchor for the second alone */
static void test_objectness_of_what_is_left(void)
{
    const detector student = {5, 64, 64, LABELS, "10,10", {{16, "0"}}, "max=6\n"};
    const detector teacher = {5, 64, 64, LABELS, "4,4, 40,40", {{16, "1"}}, "max=6\n"};
    start(&student, &teacher, 1);
    fill_scenes(net, 0, 1, 1);
    set_truth(net, 0, 0, (box){.5, .5, 4. / 64, 4. / 64}, 2);
    set_truth(net, 0, 1, (box){.5, .5, 40. / 64, 40. / 64}, 3);
    forward();
    assert_int_equal(kd->rows.n, 1);
    assert_int_equal(kd->rows.rows[0].target, 3);
    assert_int_equal(kd->rows.rows[0].truth, 1);
    assert_int_equal(kd->rows.rows[0].is_first, 1);
    stop();
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_single_truths),
        TEST(test_ties),
        TEST(test_lists_of_truths),
        TEST(test_map),
        TEST(test_objectness_of_what_is_left),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
