/*
 * Proves rows.c for rows=dense, against a naive twin of its rules that never looks at the
 * order of heads or anchors:
 *   - a student's cell has a row when the teacher has a head of its stride, and there an anchor
 *     of its size; the teacher's cell is the one at the same place of the image;
 *   - weights are the teacher's objectness, targets the classes that Darknet trains there, else
 *     the teacher's most confident one; the objectness is distilled once a prediction;
 *   - with feature_nms the teacher's less sure neighbours of the same class have no weight;
 *   - heads and anchors in another order pair the same; what has no partner has no row, and
 *     where nothing has one, that is an error.
 *
 * To add a pair of networks: a line in `pairs`.
 */
#include "detectors.h"

#include "box.h"

#define ROUNDS 6
#define CLASSES 4

#define PIXELS "6,9, 14,8, 11,20, 30,24, 25,50, 60,44"
#define SHUFFLED "60,44, 11,20, 6,9, 25,50, 14,8, 30,24" /* 5 2 0 4 1 3 */
#define NEARBY "7,8, 12,9, 10,26, 33,20, 30,45, 50,50"
#define CELLS "1,1.5, 3,1, 2.2,4.1"
#define CELLS_IN_PIXELS "16,24, 48,16, 35.2,65.6" /* with a stride of 16 */

static const detector two_heads = {
    3, 64, 64, CLASSES, PIXELS, {{32, "3,4,5"}, {8, "0,1,2"}}, "max=6\n"};
static const detector three_heads = {
    3, 64, 64, CLASSES, PIXELS, {{32, "4,5"}, {16, "2,3"}, {8, "0,1"}}, "max=6\n"};
static const detector backwards = {
    3, 64, 64, CLASSES, SHUFFLED, {{8, "4,2"}, {16, "5,1"}, {32, "0,3"}}, "max=6\n"};
static const detector nearby = {
    3, 64, 64, CLASSES, NEARBY, {{8, "2,1,0"}, {32, "5,4,3"}}, "max=6\n"};
static const detector large = {
    3, 160, 96, CLASSES, PIXELS, {{16, "2,3"}, {32, "4,5"}, {8, "1,0"}}, "max=6\n"};
static const detector one_head = {3, 64, 64, CLASSES, PIXELS, {{16, "0,1,2,3,4,5"}}, "max=6\n"};
static const detector doubles = {
    3,        64, 64, CLASSES, "6,9, 6,9, 60,44, 30,24, 30,24", {{32, "4,3,2"}, {8, "1,0"}},
    "max=6\n"};
static const detector easy = {
    3, 64, 64, CLASSES, PIXELS, {{16, "0,1,2,3,4,5"}}, "max=6\ntruth_thresh=.3\n"};
static const detector region = {3, 64, 64, CLASSES, CELLS, {{16, 0}}, "max=6\nsoftmax=1\n"};
static const detector as_region = {
    3, 96, 96, CLASSES, CELLS_IN_PIXELS, {{32, "0"}, {16, "2,0,1"}}, "max=6\n"};

static const struct {
    const char *name;
    const detector *student, *teacher;
    int paired; /* the student's anchors with a partner */
} pairs[] = {
    {"the same heads", &three_heads, &three_heads, 6},
    {"heads and anchors in another order", &three_heads, &backwards, 6},
    {"anchors nearby", &two_heads, &nearby, 6},
    {"a teacher that lacks anchors", &two_heads, &three_heads, 4},
    {"a teacher that lacks heads", &three_heads, &nearby, 4},
    {"a teacher with equal anchors", &two_heads, &doubles, 3},
    {"a larger teacher", &two_heads, &large, 4},
    {"a smaller teacher", &large, &three_heads, 6},
    {"one head", &one_head, &one_head, 6},
    {"truth_thresh", &easy, &one_head, 6},
    {"[region] from [yolo]", &region, &as_region, 3},
    {"[yolo] from [region]", &as_region, &region, 3},
    {"[region] from [region]", &region, &region, 3},
};

static deepkd *kd;
static network *net, *teacher_net;

static void start(const detector *student, const detector *teacher, const char *loss)
{
    char *options = join("rows=dense\n", loss, "");
    fflush(stdout);
    int out = dup(1), nowhere = open("/dev/null", O_WRONLY); /* what has no partner */
    dup2(nowhere, 1);
    kd = make_detectors(student, teacher, options, 1);
    fflush(stdout);
    dup2(out, 1);
    close(out), close(nowhere), free(options);
    net = kd->net;
    teacher_net = kd->teacher->net;
}

static void stop(void)
{
    free_pair(kd);
}

static void forward(void)
{
    net->train = 1;
    forward_network(net);
    assert_false(kd->broken);
}

/* ---- the naive twin ----------------------------------------------------- */

/* One of a network's predictions, and where it stands in the image */
typedef struct {
    prediction at;
    double stride, w, h; /* pixels of the network's input */
    layer head;
    const float *logits;
    double objectness;
    int best_class;
} seen;

typedef struct {
    seen *list;
    int n;
} all_seen;

static seen look(network *n, const net_outputs *outputs, int o, int b, int a, int i, int j)
{
    seen s = {.at = find_prediction(n, outputs, o, b, a, i, j)};
    s.head = n->layers[outputs->layer[o]];
    s.logits = n->layers[outputs->layer[o] - 1].output;
    s.stride = (double)n->w / s.head.w;
    int anchor = s.head.type == YOLO ? s.head.mask[a] : a;
    double pixels = s.head.type == YOLO ? 1 : s.stride;
    s.w = s.head.biases[2 * anchor] * pixels;
    s.h = s.head.biases[2 * anchor + 1] * pixels;
    s.objectness = 1 / (1 + exp(-(double)s.logits[s.at.objectness]));
    for (int c = 1; c < CLASSES; ++c)
        if (s.logits[s.at.classes + c * s.at.stride] >
            s.logits[s.at.classes + s.best_class * s.at.stride])
            s.best_class = c;
    return s;
}

static all_seen look_at_all(network *n, const net_outputs *outputs)
{
    all_seen all = {0, 0};
    for (int o = 0; o < outputs->n; ++o) {
        layer l = n->layers[outputs->layer[o]];
        all.list = realloc(all.list, (all.n + l.batch * l.n * l.w * l.h) * sizeof(seen));
        for (int b = 0; b < l.batch; ++b)
            for (int a = 0; a < l.n; ++a)
                for (int j = 0; j < l.h; ++j)
                    for (int i = 0; i < l.w; ++i)
                        all.list[all.n++] = look(n, outputs, o, b, a, i, j);
    }
    return all;
}

static double shape_iou(const seen *s, const seen *t)
{
    double both = fmin(s->w, t->w) * fmin(s->h, t->h);
    return both / (s->w * s->h + t->w * t->h - both);
}

/* Does the teacher's cell hold the centre of the student's? A centre on an edge: the next one
 */
static int holds(int cell, int cells, int students, int students_cells)
{
    double centre = (students + .5) * cells / students_cells;
    return cell <= centre && centre < cell + 1;
}

static const seen *partner_of(const seen *s, const all_seen *teachers)
{
    const seen *best = 0;
    for (int k = 0; k < teachers->n; ++k) {
        const seen *t = teachers->list + k;
        if (t->stride == s->stride && t->at.image == s->at.image &&
            holds(t->at.i, t->head.w, s->at.i, s->head.w) &&
            holds(t->at.j, t->head.h, s->at.j, s->head.h) &&
            (!best || shape_iou(s, t) > shape_iou(s, best)))
            best = t;
    }
    return best && shape_iou(s, best) >= .5 ? best : 0;
}

/* 1 when a neighbour in the same head is surer of the same class */
static int is_suppressed(const seen *t, const all_seen *teachers)
{
    for (int k = 0; k < teachers->n; ++k) {
        const seen *n = teachers->list + k;
        if (n->at.image == t->at.image && n->at.output == t->at.output &&
            abs(n->at.i - t->at.i) <= 1 && abs(n->at.j - t->at.j) <= 1 &&
            n->best_class == t->best_class &&
            n->logits[n->at.objectness] > t->logits[t->at.objectness])
            return 1;
    }
    return 0;
}

/* The classes that Darknet trains up there, as bits */
static int trained_classes(const seen *s)
{
    int classes = 0;
    for (int c = 0; c < CLASSES; ++c)
        classes |= (s->head.delta[s->at.classes + c * s->at.stride] > 0) << c;
    return classes;
}

static int same_prediction(prediction p, prediction q)
{
    return p.output == q.output && p.image == q.image && p.i == q.i && p.j == q.j &&
           p.objectness == q.objectness && p.classes == q.classes && p.stride == q.stride;
}

/* The rows of one of the student's predictions, *at the next one to be looked at */
static void check_prediction(const char *name, const seen *s, const all_seen *teachers, int *at)
{
    const seen *t = partner_of(s, teachers);
    int trained = trained_classes(s), targets = 0, last = 0, first = *at;
    int is_softmax = s->head.type == REGION && s->head.softmax;
    double nms = kd->options.feature_nms && !trained && t && is_suppressed(t, teachers);
    for (; *at < kd->rows.n && same_prediction(kd->rows.rows[*at].student, s->at); ++*at) {
        const row *r = kd->rows.rows + *at;
        if (!t) fail_msg("%s: a row without a partner", name);
        assert_true(same_prediction(r->teacher, t->at));
        assert_int_equal(r->is_first, *at == first);
        assert_true(fabs(r->weight - (nms ? 0 : t->objectness)) < 1e-12);
        last = 1 << r->target;
        targets |= last;
    }
    if (!t) return;
    if (*at == first) fail_msg("%s: a pair without a row", name);
    if (!trained) {
        assert_int_equal(*at, first + 1);
        assert_int_equal(targets, 1 << t->best_class);
    } else assert_int_equal(is_softmax ? last : targets, trained);
}

/* By head, image, anchor, row and column, as the logits stand */
static int in_order(const void *a, const void *b)
{
    const seen *s = a, *t = b;
    if (s->at.image != t->at.image) return s->at.image - t->at.image;
    if (s->at.output != t->at.output) return s->at.output - t->at.output;
    return (s->at.classes > t->at.classes) - (s->at.classes < t->at.classes);
}

static void check_rows(const char *name, int paired)
{
    all_seen students = look_at_all(net, &kd->outputs),
             teachers = look_at_all(teacher_net, &kd->teacher->outputs);
    int at = 0, anchors = 0;
    qsort(students.list, students.n, sizeof(seen), in_order);
    for (int k = 0; k < students.n; ++k) {
        const seen *s = students.list + k;
        check_prediction(name, s, &teachers, &at);
        if (!s->at.image && !s->at.i && !s->at.j) anchors += !!partner_of(s, &teachers);
    }
    assert_int_equal(at, kd->rows.n);
    assert_int_equal(anchors, paired);
    free(students.list), free(teachers.list);
}

static void test_dense_rows(void)
{
    static const char *const losses[] = {"", "feature_nms=1\n"};
    for (int i = 0; i < COUNT(pairs); ++i) {
        for (int k = 0; k < COUNT(losses); ++k) {
            start(pairs[i].student, pairs[i].teacher, losses[k]);
            for (int round = 0; round < ROUNDS; ++round) {
                fill_scenes(net, 6, CLASSES, 100 * i + round);
                forward();
                check_rows(pairs[i].name, pairs[i].paired);
            }
            stop();
        }
    }
}

/* ---- feature_nms -------------------------------------------------------- */

/* The head's last layer says only what its biases say: the same in each cell. */
static void flatten_head(network *n, const net_outputs *outputs, int o)
{
    layer l = n->layers[outputs->layer[o] - 1];
    memset(l.weights, 0, l.nweights * sizeof(float));
    for (int k = 0; k < l.n; ++k) l.biases[k] = k % (5 + CLASSES) == 5; /* of class 0 */
}

/* Neighbours that are as sure as each other: the first of the array stays, of each image. */
static void test_equals_in_feature_nms(void)
{
    start(&one_head, &one_head, "feature_nms=1\n");
    flatten_head(teacher_net, &kd->teacher->outputs, 0);
    fill_scenes(net, 0, CLASSES, 1);
    forward();
    assert_int_equal(kd->rows.n, 3 * 6 * 16);
    for (int k = 0; k < kd->rows.n; ++k) {
        const row *r = kd->rows.rows + k;
        int is_first = r->student.i == 0 && r->student.j == 0 && k % (6 * 16) < 16;
        assert_true(r->weight == (is_first ? .5 : 0));
        assert_int_equal(r->is_first, 1);
        assert_int_equal(r->target, 0);
    }
    stop();
}

/* Rows without a weight leave no losses of classes, and the objectness of each is distilled. */
static void test_suppressed_rows_have_objectness(void)
{
    start(&one_head, &one_head,
          "feature_nms=1\nobjectness_weight=1\nalpha=0\ntopk_schedule=off\n");
    fill_scenes(net, 0, CLASSES, 2);
    forward();
    layer l = net->layers[kd->outputs.layer[0]];
    int without = 0;
    for (int k = 0; k < kd->rows.n; ++k) {
        const row *r = kd->rows.rows + k;
        assert_true(kd->delta[KD_TCG][0][r->student.objectness] != 0);
        int moved = kd->delta[KD_NCG][0][r->student.classes + l.w * l.h * !r->target] != 0;
        assert_int_equal(moved, r->weight > 0);
        without += !r->weight;
    }
    assert_true(without > kd->rows.n / 2 && without < kd->rows.n);
    stop();
}

/* ---- pairing ------------------------------------------------------------ */

/* Where the rows' teachers are: pairs of [stride, anchor, place], whatever their order. */
static uint64_t hash_partners(const detector *teacher)
{
    uint64_t hash = 0;
    start(&three_heads, teacher, "");
    fill_scenes(net, 0, CLASSES, 3);
    forward();
    all_seen students = look_at_all(net, &kd->outputs),
             teachers = look_at_all(teacher_net, &kd->teacher->outputs);
    qsort(students.list, students.n, sizeof(seen), in_order);
    assert_int_equal(kd->rows.n, students.n);
    for (int k = 0; k < students.n; ++k) {
        const row *r = kd->rows.rows + k;
        int m = 0;
        while (!same_prediction(teachers.list[m].at, r->teacher)) ++m;
        const seen *t = teachers.list + m;
        const double place[] = {t->stride, t->w, t->h, t->at.image, t->at.i, t->at.j};
        assert_true(same_prediction(r->student, students.list[k].at));
        hash = kd_hash(hash, place, sizeof(place));
    }
    free(students.list), free(teachers.list);
    stop();
    return hash;
}

static void test_order_does_not_matter(void)
{
    uint64_t plain = hash_partners(&three_heads);
    assert_true(hash_partners(&backwards) == plain);
}

static const detector *child_student, *child_teacher;

static void pair_in_child(void *argument)
{
    (void)argument;
    make_detectors(child_student, child_teacher, "rows=dense\n", 1);
}

static void test_nothing_pairs(void)
{
    const detector far = {3, 64, 64, CLASSES, "100,100, 3,3", {{8, "0"}, {32, "1"}}, "max=6\n"};
    const detector strides = {3, 64, 64, CLASSES, "1,1.5, 30,24", {{16, 0}}, "max=6\n"};
    child_student = &three_heads, child_teacher = &far;
    ASSERT_FAILS(pair_in_child, 0, "student.cfg: [deepkd_loss] rows=dense",
                 "stride 32: 25x50 60x44, stride 16: 11x20 30x24, stride 8: 6x9 14x8",
                 "teacher.cfg has stride 8: 100x100, stride 32: 3x3", "rows=truth");
    child_student = &two_heads, child_teacher = &strides;
    ASSERT_FAILS(pair_in_child, 0, "teacher.cfg has stride 16: 16x24 480x384");
}

static void say_what_pairs(void *argument)
{
    (void)argument;
    dup2(2, 1);
    make_detectors(child_student, child_teacher, "rows=dense\n", 1);
    fflush(stdout);
}

/* A head and an anchor without a partner are named once. */
static void test_what_has_no_partner_is_named(void)
{
    static char text[1 << 16];
    const detector some = {3, 64, 64, CLASSES, "6,9, 60,44", {{8, "0"}, {32, "1"}}, "max=6\n"};
    child_student = &three_heads, child_teacher = &some;
    assert_int_equal(run_child(say_what_pairs, 0, text, sizeof(text)), 0);
    const char *const lines[] = {"layer 6, anchor 25x50: the teacher has no such anchor",
                                 "layer 9, stride 16: the teacher has no such head",
                                 "layer 12, anchor 14x8: the teacher has no such anchor"};
    int told = 0;
    for (const char *at = text; (at = strstr(at, "the teacher has no")); ++at) ++told;
    assert_int_equal(told, COUNT(lines));
    for (int i = 0; i < COUNT(lines); ++i) assert_non_null(strstr(text, lines[i]));
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_dense_rows),
        TEST(test_equals_in_feature_nms),
        TEST(test_suppressed_rows_have_objectness),
        TEST(test_order_does_not_matter),
        TEST(test_nothing_pairs),
        TEST(test_what_has_no_partner_is_named),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
