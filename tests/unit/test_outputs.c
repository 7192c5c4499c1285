/*
 * Proves which networks can be distilled, and which pairs of them (outputs.c, the checks of
 * deepkd_loss.c and teacher.c): what the output layers are, what [deepkd_loss]
 * takes their classes for, and one line that says what does not fit.
 *
 * To add a net that is refused: a line in `refused`; a pair: in `mismatched`.
 */
#include "detectors.h"

#define NET "[net]\nbatch=2\nwidth=32\nheight=32\nchannels=3\nmax_batches=9\n"
#define CONV(filters) "[convolutional]\nsize=3\nstride=8\npad=1\nfilters=" #filters "\n"
#define HEAD(filters) "[convolutional]\nsize=1\nactivation=linear\nfilters=" #filters "\n"
#define YOLO_9 "[yolo]\nnum=2\nmask=0\nclasses=4\nanchors=4,5, 9,9\n"
#define REGION_9 "[region]\nnum=1\nclasses=4\nanchors=1,1\n"
#define BACK "[route]\nlayers=0\n"
#define SOFTMAX_6 "[connected]\noutput=6\nactivation=linear\n[softmax]\n"
#define LOSS "[teacher]\n[deepkd_loss]\n"

static void check_outputs(const char *cfg, LAYER_TYPE type, int n, int first, int last,
                          int classes)
{
    network *net = make_net(cfg, 1);
    net_outputs outputs = find_outputs(net, "net.cfg");
    assert_int_equal(outputs.type, type);
    assert_int_equal(outputs.n, n);
    assert_int_equal(outputs.layer[0], first);
    assert_int_equal(outputs.layer[n - 1], last);
    assert_int_equal(outputs.classes, classes);
    assert_int_equal(is_detector(&outputs), type != SOFTMAX);
    for (int o = 0; o < n; ++o)
        assert_ptr_equal(output_logits(net, &outputs, o),
                         net->layers[outputs.layer[o] - 1].output);
    free_network(net), free(outputs.layer);
}

static void test_what_the_outputs_are(void)
{
    check_outputs(NET CONV(4) SOFTMAX_6, SOFTMAX, 1, 2, 2, 6);
    check_outputs(NET CONV(4) SOFTMAX_6 "[cost]\n", SOFTMAX, 1, 2, 2, 6);
    check_outputs(NET CONV(4) SOFTMAX_6 LOSS, SOFTMAX, 1, 2, 2, 6);
    check_outputs(NET CONV(9) YOLO_9, YOLO, 1, 1, 1, 4);
    check_outputs(NET CONV(9) YOLO_9 LOSS, YOLO, 1, 1, 1, 4);
    check_outputs(NET CONV(4) HEAD(9) YOLO_9 BACK HEAD(9) YOLO_9 LOSS, YOLO, 2, 2, 5, 4);
    check_outputs(NET CONV(9) REGION_9 LOSS, REGION, 1, 1, 1, 4);
    check_outputs(NET CONV(9) YOLO_9 BACK SOFTMAX_6, SOFTMAX, 1, 4, 4, 6); /* the last one */
}

static void find_in_child(void *cfg)
{
    find_outputs(make_net(cfg, 1), "net.cfg");
}

static const struct {
    const char *cfg, *found;
} refused[] = {
    {NET CONV(4), "no [softmax], [yolo] or [region]"},
    {NET CONV(4) "[connected]\noutput=4\n[cost]\n", "no [softmax], [yolo] or [region]"},
    {NET "[softmax]\n", "no [softmax], [yolo] or [region]"},
    {NET CONV(4) "[connected]\noutput=6\n[softmax]\ngroups=2\n", "groups=2"},
    {NET CONV(10) "[region]\nnum=1\nclasses=4\ncoords=5\nanchors=1,1\n", "coords=5"},
    {NET CONV(9) "[region]\nnum=1\nclasses=4\nbackground=1\nanchors=1,1\n", "background=1"},
    {NET CONV(4) HEAD(9)
         YOLO_9 BACK HEAD(9) "[yolo]\nnum=2\nmask=0\nclasses=4\nanchors=4,5, 9,8\n",
     "another anchors"},
    {NET CONV(4) HEAD(9) YOLO_9 BACK HEAD(9) "[yolo]\nmask=0\nclasses=4\nanchors=4,5\n",
     "another anchors"},
    {NET CONV(4) HEAD(9) YOLO_9 BACK HEAD(9) YOLO_9 "jitter=.1\n", "another jitter"},
    {NET CONV(4) HEAD(9) YOLO_9 "random=1\n" BACK HEAD(9) YOLO_9, "another random"},
    {NET CONV(4) HEAD(9) YOLO_9 BACK HEAD(9) REGION_9 "max=90\n", "another type"},
};

static void test_networks_that_are_refused(void)
{
    for (int i = 0; i < COUNT(refused); ++i)
        ASSERT_FAILS(find_in_child, (void *)refused[i].cfg, "net.cfg:", refused[i].found,
                     "expected");
}

/* ---- pairs -------------------------------------------------------------- */

typedef struct {
    const char *student, *loss, *teacher;
} two_nets;

static void pair_in_child(void *argument)
{
    const two_nets *p = argument;
    make_pair(join(p->student, LOSS, p->loss), p->teacher, 1);
}

#define CLASSIFIER NET CONV(4) SOFTMAX_6
#define DETECTOR NET CONV(9) YOLO_9
#define MORE_CLASSES NET CONV(10) "[yolo]\nnum=1\nmask=0\nclasses=5\nanchors=4,5\n"
#define ONE_CLASS NET CONV(6) "[region]\nsoftmax=1\nclasses=1\nnum=1\nanchors=1,1\n"

static const struct {
    two_nets pair;
    const char *found, *expected;
} mismatched[] = {
    {{CLASSIFIER, "", DETECTOR}, "teacher.cfg: found a detector", "a classifier as"},
    {{DETECTOR, "", CLASSIFIER}, "teacher.cfg: found a classifier", "a detector as"},
    {{DETECTOR, "", MORE_CLASSES}, "student.cfg: found 4 classes", "teacher's 5"},
    {{CLASSIFIER, "rows=dense\n", CLASSIFIER}, "rows=dense", "detector"},
    {{CLASSIFIER, "feature_nms=1\n", CLASSIFIER}, "feature_nms=1", "detector"},
    {{CLASSIFIER, "objectness_weight=.1\n", CLASSIFIER}, "objectness_weight", "detector"},
    {{DETECTOR, "feature_nms=1\n", DETECTOR}, "feature_nms=1", "rows=dense"},
    {{DETECTOR, "topk=4\n", DETECTOR}, "topk=4", "at most 3"},
    {{ONE_CLASS, "", ONE_CLASS}, "activation=softmax", "activation=logistic"},
};

static void test_pairs_that_do_not_fit(void)
{
    for (int i = 0; i < COUNT(mismatched); ++i)
        ASSERT_FAILS(pair_in_child, (void *)&mismatched[i].pair, mismatched[i].found,
                     mismatched[i].expected);
}

/* A teacher that is to follow its student is one that Darknet can resize. */
static void resize_in_child(void *teacher)
{
    make_pair(DETECTOR "[teacher]\nresize=1\n[deepkd_loss]\n", teacher, 1);
}

static void test_resizable_teachers(void)
{
    static char text[1 << 14];
    const char *fixed = NET CONV(4) "[dropout]\n" HEAD(9) YOLO_9;
    ASSERT_FAILS(resize_in_child, (void *)fixed, "teacher.cfg:", "cannot resize", "resize=0");
    assert_int_equal(run_child(resize_in_child, (void *)DETECTOR, text, sizeof(text)), 0);
    deepkd *kd = make_pair(DETECTOR LOSS, fixed, 1);
    assert_false(is_resizable(kd->teacher->net));
    assert_true(is_resizable(kd->net));
    free_pair(kd);
}

/* ---- activations -------------------------------------------------------- */

static void check_activation(const char *student, const char *loss, kd_activation want)
{
    deepkd *kd = make_pair(join(student, LOSS, loss), student, 1);
    assert_int_equal(kd->loss_config.activation, want);
    assert_int_equal(kd->classes, kd->outputs.classes);
    free_pair(kd);
}

static void test_activation_is_the_heads(void)
{
    check_activation(CLASSIFIER, "", KD_SOFTMAX);
    check_activation(DETECTOR, "", KD_LOGISTIC);
    check_activation(NET CONV(9) REGION_9, "", KD_LOGISTIC);
    check_activation(NET CONV(9) REGION_9 "softmax=1\n", "", KD_SOFTMAX);
    check_activation(DETECTOR, "activation=softmax\n", KD_SOFTMAX);
    check_activation(NET CONV(9) REGION_9 "softmax=1\n", "activation=logistic\n", KD_LOGISTIC);
    check_activation(ONE_CLASS, "activation=logistic\n", KD_LOGISTIC);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_what_the_outputs_are),    TEST(test_networks_that_are_refused),
        TEST(test_pairs_that_do_not_fit),   TEST(test_resizable_teachers),
        TEST(test_activation_is_the_heads),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
