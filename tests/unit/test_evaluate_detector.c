/*
 * Proves evaluate_detector of evaluate.c:
 *   - the loss is what Darknet's training forward pass says of each image alone, the scores are
 *     those of detect_boxes' boxes, image by image;
 *   - a detector that is right has a mAP of 1, one that is wrong half the time of that;
 *   - truths are those of the label files or of the annotations, through a map=;
 *   - nothing is learnt: weights, statistics, batch and hook are what they were, and the next
 *     training step too; the number of threads changes nothing;
 *   - a stopped evaluation changes no result, and a broken network has no loss.
 */
#include "detectors.h"

#include "image.h"

#include "run/detect.h"
#include "run/evaluate.h"

#define IMAGES 7
#define SIDE 32
#define MAP_CLASSES 6 /* of the labels, where a map= makes 4 of them */

static const volatile sig_atomic_t no_stop;

static const whole_detector yolo = {3, SIDE, "", yolo_layers, "activation=tanh", ""};
static const whole_detector region = {
    3, SIDE, "", region_layers, "activation=tanh", "softmax=1\nbias_match=1"};
static const whole_detector normed = {
    3, SIDE, "", yolo_layers, "batch_normalize=1\nactivation=leaky", ""};

/* ---- images ------------------------------------------------------------- */

static const int widths[IMAGES] = {40, 64, 32, 20, 33, 90, 32},
                 heights[IMAGES] = {40, 30, 32, 50, 35, 90, 32};

static char *write_noise(int i)
{
    char name[64], *bytes = kd_calloc(3 * widths[i] * heights[i] + 32, 1);
    int n = sprintf(bytes, "P6\n%d %d\n255\n", widths[i], heights[i]);
    srand(i);
    for (int k = 0; k < 3 * widths[i] * heights[i]; ++k) bytes[n++] = (char)(rand() % 256);
    sprintf(name, "COCO_val2014_%012d.ppm", 100 + i);
    char *path = write_bytes(name, bytes, n);
    free(bytes);
    return path;
}

/* Images of noise, with up to three random boxes each */
static image_list make_images(int classes)
{
    image_list list = {.paths = kd_calloc(IMAGES, sizeof(char *)),
                       .labels = kd_calloc(IMAGES, sizeof(image_labels)),
                       .n = IMAGES};
    for (int i = 0; i < IMAGES; ++i) {
        image_labels *l = list.labels + i;
        list.paths[i] = write_noise(i);
        *l = (image_labels){kd_calloc(3, sizeof(labelled_box)), i % 4};
        for (int k = 0; k < l->n; ++k)
            l->boxes[k] =
                (labelled_box){rand_uniform(.3, .7), rand_uniform(.3, .7), rand_uniform(.1, .6),
                               rand_uniform(.1, .6), rand() % classes};
    }
    return list;
}

static void free_images(image_list list)
{
    for (int i = 0; i < list.n; ++i) free(list.paths[i]), free(list.labels[i].boxes);
    free(list.paths), free(list.labels);
}

static network *make_detector(whole_detector d, int batch, const char *more)
{
    char *options = join(d.head, "\n", more);
    d.batch = batch;
    d.head = options;
    char *cfg = whole_cfg(&d, "");
    network *net = make_net(cfg, 1);
    free(cfg), free(options);
    return net;
}

/* The heads' last biases: so sure of everything that there is something to detect */
static void make_sure(network *net, const net_outputs *outputs)
{
    for (int o = 0; o < outputs->n; ++o) {
        layer l = net->layers[outputs->layer[o] - 1];
        for (int k = 0; k < l.n; ++k) l.biases[k] = k % 9 == 4 ? 1 : k % 9 < 4 ? -.2 : .3;
        for (int k = 0; k < l.nweights; ++k) l.weights[k] *= 3;
    }
}

/* ---- by hand ------------------------------------------------------------ */

/* The image's truths on the letterboxed input */
static void set_truths(network *net, image_labels labels, int w, int h)
{
    double width = w * (long)SIDE > h * (long)SIDE ? SIDE : w * SIDE / h,
           height = w > h ? h * SIDE / w : SIDE;
    int x = (SIDE - (int)width) / 2, y = (SIDE - (int)height) / 2;
    memset(net->truth, 0, net->truths * sizeof(float));
    for (int k = 0; k < labels.n; ++k) {
        labelled_box b = labels.boxes[k];
        box where = {(b.x * width + x) / SIDE, (b.y * height + y) / SIDE, b.w * width / SIDE,
                     b.h * height / SIDE};
        set_truth(net, 0, k, where, b.class);
    }
}

typedef struct {
    double loss;
    found_boxes boxes;
} by_hand;

/* With a copy of the network of one image, and no batch norm */
static by_hand evaluate_by_hand(network *one, const image_list *list, const int *map)
{
    by_hand sum = {.loss = 0};
    *one->seen = 20000; /* a [region] adds something to the loss of the first images */
    for (int i = 0; i < list->n; ++i) {
        image im = load_image_color(list->paths[i], 0, 0);
        image boxed = letterbox_image(im, SIDE, SIDE);
        memcpy(one->input, boxed.data, one->inputs * sizeof(float));
        set_truths(one, list->labels[i], im.w, im.h);
        one->train = 1;
        forward_network(one);
        sum.loss += *one->cost / list->n;
        network_predict(one, boxed.data);
        detect_boxes(one, im.w, im.h, i, DETECT_THRESHOLD, DETECT_NMS, &sum.boxes.found);
        for (int k = 0; k < list->labels[i].n; ++k) {
            labelled_box b = list->labels[i].boxes[k];
            ap_append(&sum.boxes.truths, (ap_box){.image = i,
                                                  .class = map ? map[b.class] : b.class,
                                                  .x = (b.x - b.w / 2.) * im.w,
                                                  .y = (b.y - b.h / 2.) * im.h,
                                                  .w = b.w * (double)im.w,
                                                  .h = b.h * (double)im.h});
        }
        free_image(im), free_image(boxed);
    }
    return sum;
}

static void assert_same_boxes(ap_boxes found, ap_boxes want, double tolerance)
{
    assert_int_equal(found.n, want.n);
    for (int i = 0; i < found.n; ++i) {
        ap_box a = found.boxes[i], b = want.boxes[i];
        const double apart[] = {a.x - b.x, a.y - b.y, a.w - b.w, a.h - b.h, a.score - b.score};
        assert_true(a.image == b.image && a.class == b.class && a.crowd == b.crowd);
        for (int k = 0; k < COUNT(apart); ++k) assert_true(fabs(apart[k]) <= tolerance);
    }
}

static void check_detector(const whole_detector *d, const char *more, const int *map)
{
    image_list list = make_images(map ? MAP_CLASSES : 4);
    network *net = make_detector(*d, 3, more), *one = make_detector(*d, 1, more);
    net_outputs outputs = find_outputs(net, "net.cfg");
    evaluation v, without;
    found_boxes boxes = {.map = map};
    make_sure(net, &outputs);
    copy_net(net, one);
    by_hand want = evaluate_by_hand(one, &list, map);
    assert_int_equal(evaluate_detector(net, &outputs, &list, 0, 2, &no_stop, &v, &boxes), 1);
    assert_true(want.boxes.found.n > 20 && want.boxes.truths.n > 5);
    assert_true(fabs(v.loss - want.loss) < 1e-5 * want.loss);
    assert_same_boxes(boxes.found, want.boxes.found, 0);
    assert_same_boxes(boxes.truths, want.boxes.truths, 1e-4);
    ap_result ap = average_precision(&want.boxes.truths, &want.boxes.found, 4);
    assert_int_equal(v.by, METRIC_MAP);
    assert_true(fabs(v.score[0] - ap.map50) < 1e-9 && fabs(v.score[1] - ap.map) < 1e-9);
    assert_true(merit(&v) == v.score[0]);

    evaluate_detector(net, &outputs, &list, 0, 2, &no_stop, &without, 0);
    assert_true(without.by == METRIC_LOSS && without.loss == v.loss);
    assert_true(isnan(without.score[0]) && isnan(without.score[1]));
    assert_true(merit(&without) == -v.loss);
    free_ap_result(ap), free_found_boxes(boxes), free_found_boxes(want.boxes);
    free_network(net), free_network(one), free_images(list), free(outputs.layer);
}

static void test_one_image_at_a_time(void)
{
    check_detector(&yolo, "", 0);
    check_detector(&region, "", 0);
}

static void test_map(void)
{
    static const int map[MAP_CLASSES] = {2, 0, 1, 3, 0, 2};
    char *file = write_text("map", "2\n0\n1\n3\n0\n2\n"), line[128];
    snprintf(line, sizeof(line), "map=%s\n", file);
    check_detector(&yolo, line, map);
    free(file);
}

/* A teacher that has no map= of its own, and room for fewer boxes than its student */
static void test_teacher_of_a_mapped_student(void)
{
    static const int map[MAP_CLASSES] = {2, 0, 1, 3, 0, 2};
    image_list list = make_images(MAP_CLASSES);
    for (int k = 0; k < 2; ++k) /* on one anchor, the last one */
        list.labels[2].boxes[k] = (labelled_box){.5, .9, .85, .7, k ? 5 : 1};
    whole_detector small = yolo;
    small.layers = "[convolutional] filters=27 size=3 stride=8 pad=1 activation=linear "
                   "[yolo] mask=3,4,5 num=6 classes=4 max=1 " YOLO_ANCHORS " $ ";
    network *net = make_detector(small, 1, "");
    net_outputs outputs = find_outputs(net, "net.cfg");
    evaluation v;
    found_boxes boxes = {.map = map};
    make_sure(net, &outputs);
    evaluate_detector(net, &outputs, &list, 0, 2, &no_stop, &v, &boxes);
    int n = 0;
    for (int i = 0; i < IMAGES; ++i)
        for (int k = 0; k < list.labels[i].n; ++k, ++n)
            assert_int_equal(boxes.truths.boxes[n].class, map[list.labels[i].boxes[k].class]);
    assert_int_equal(boxes.truths.n, n);
    assert_true(isnan(v.loss));
    ap_result ap = average_precision(&boxes.truths, &boxes.found, 4);
    assert_true(boxes.found.n > 20 && v.score[0] == ap.map50 && v.score[1] == ap.map);
    free_ap_result(ap), free_found_boxes(boxes);
    free_images(list), free_network(net), free(outputs.layer);
}

/* ---- known scores ------------------------------------------------------- */

/* One cell, whose only sure prediction is a box of 16 x 24 in the middle, of class 2 */
static network *make_oracle(net_outputs *outputs)
{
    const detector d = {2, SIDE, SIDE, 4, "16,24, 30,30", {{32, "0,1"}}, ""};
    char *cfg = detector_cfg(&d, "");
    network *net = make_net(cfg, 1);
    *outputs = find_outputs(net, "net.cfg");
    layer l = net->layers[outputs->layer[0] - 1];
    memset(l.weights, 0, l.nweights * sizeof(float));
    for (int k = 0; k < l.n; ++k)
        l.biases[k] = k % 9 < 4 ? 0 : k == 4 || k == 7 ? 9 : -9; /* objectness 4, class 2: 7 */
    free(cfg);
    return net;
}

/* The square images, each with that box; the last `wrong` of them say class 1. Free its arrays.
 */
static image_list square_images(const image_list *list, int wrong)
{
    static const int square[] = {0, 2, 5, 6};
    image_list some = {.paths = kd_calloc(COUNT(square), sizeof(char *)),
                       .labels = kd_calloc(COUNT(square), sizeof(image_labels)),
                       .n = COUNT(square)};
    for (int i = 0; i < some.n; ++i) {
        some.paths[i] = list->paths[square[i]];
        some.labels[i] = (image_labels){kd_calloc(1, sizeof(labelled_box)), 1};
        some.labels[i].boxes[0] =
            (labelled_box){.5, .5, 16. / SIDE, 24. / SIDE, i < some.n - wrong ? 2 : 1};
    }
    return some;
}

static void assert_scores(network *net, const net_outputs *outputs, const image_list *list,
                          double map50, double map)
{
    evaluation v;
    found_boxes boxes = {0};
    evaluate_detector(net, outputs, list, 0, 3, &no_stop, &v, &boxes);
    assert_int_equal(boxes.found.n, list->n);
    assert_true(fabs(v.score[0] - map50) < 1e-9);
    assert_true(fabs(v.score[1] - map) < 1e-9);
    free_found_boxes(boxes);
}

static void test_known_scores(void)
{
    net_outputs outputs;
    network *net = make_oracle(&outputs);
    image_list list = make_images(4);
    for (int wrong = 0; wrong <= 2; ++wrong) {
        image_list some = square_images(&list, wrong);
        /* class 2 is found first where it is, then where it is not; class 1 is never found */
        assert_scores(net, &outputs, &some, wrong ? .5 : 1, wrong ? .5 : 1);
        for (int i = 0; i < some.n;
             ++i) /* an IoU of 19 / 24, at six of ten thresholds enough */
            some.labels[i].boxes[0].h = 19. / SIDE;
        assert_scores(net, &outputs, &some, wrong ? .5 : 1, wrong ? .3 : .6);
        for (int i = 0; i < some.n; ++i) free(some.labels[i].boxes);
        free(some.paths), free(some.labels);
    }
    free_images(list), free_network(net), free(outputs.layer);
}

/* ---- annotations -------------------------------------------------------- */

typedef struct {
    network *net;
    net_outputs outputs;
    image_list list;
    annotations known;
} known_case;

static void evaluate_in_child(void *argument)
{
    known_case *k = argument;
    evaluation v;
    found_boxes boxes = {0};
    evaluate_detector(k->net, &k->outputs, &k->list, &k->known, 1, &no_stop, &v, &boxes);
}

/* The truths are those of the list's images in the annotations, and ids are COCO's. */
static void test_annotations(void)
{
    known_case k;
    long ids[] = {50, 100, 101, 102, 103, 104, 105, 106, 200}, fewer[] = {100, 101};
    ap_box truths[] = {{.image = 50, .class = 1, .w = 5, .h = 5},
                       {.image = 100, .class = 2, .x = 10, .y = 5, .w = 20, .h = 30},
                       {.image = 102, .class = 2, .x = 8, .y = 4, .w = 16, .h = 24},
                       {.image = 102, .class = 3, .w = 5, .h = 5, .crowd = 1},
                       {.image = 200, .class = 0, .w = 5, .h = 5}};
    evaluation v;
    found_boxes boxes = {0};
    k.net = make_oracle(&k.outputs);
    k.list = make_images(4);
    k.known = (annotations){ids, COUNT(ids), {truths, COUNT(truths), COUNT(truths)}, 0, 4};
    evaluate_detector(k.net, &k.outputs, &k.list, &k.known, 2, &no_stop, &v, &boxes);
    assert_same_boxes(boxes.truths, (ap_boxes){truths + 1, 3, 3}, 0);
    assert_int_equal(boxes.found.n, IMAGES);
    for (int i = 0; i < IMAGES; ++i) assert_int_equal(boxes.found.boxes[i].image, 100 + i);
    ap_result ap = average_precision(&boxes.truths, &boxes.found, 4);
    assert_true(ap.ap50[2] > .5 && v.score[0] == ap.map50);
    free_ap_result(ap), free_found_boxes(boxes);

    boxes = (found_boxes){.map = (const int[]){1, 0, 3, 2}};
    evaluate_detector(k.net, &k.outputs, &k.list, &k.known, 2, &no_stop, &v, &boxes);
    assert_int_equal(boxes.truths.boxes[0].class, 3);
    assert_int_equal(boxes.truths.boxes[2].class, 2);
    free_found_boxes(boxes);
    k.known.ids = fewer, k.known.images = COUNT(fewer);
    ASSERT_FAILS(evaluate_in_child, &k, "000000000102.ppm", "no image 102");
    free_images(k.list), free_network(k.net), free(k.outputs.layer);
}

/* ---- what stays as it is ------------------------------------------------ */

static int hooked(network *of, region_figures f)
{
    (void)of;
    (void)f;
    return 0;
}

static uint64_t train_once(network *net)
{
    fill_full_scenes(net, 4, 9);
    train_network_datum(net);
    return hash_net(net);
}

/* The student of a pair and its teacher, between two training steps */
static void test_evaluation_leaves_no_trace(void)
{
    image_list list = make_images(4);
    for (int detects = 0; detects < 2; ++detects) {
        deepkd *kd = make_whole(&normed, &normed, "rows=dense\n", 1);
        deepkd *twin = make_whole(&normed, &normed, "rows=dense\n", 1);
        network *nets[] = {kd->net, kd->teacher->net};
        const net_outputs *outputs[] = {&kd->outputs, &kd->teacher->outputs};
        assert_true(train_once(kd->net) == train_once(twin->net));
        for (int i = 0; i < 2; ++i) {
            evaluation v;
            found_boxes boxes = {0};
            uint64_t before = hash_net(nets[i]);
            size_t seen = *nets[i]->seen;
            long images = kd->images;
            region_hook = hooked;
            evaluate_detector(nets[i], outputs[i], &list, 0, 2, &no_stop, &v,
                              detects ? &boxes : 0);
            assert_ptr_equal(region_hook, hooked);
            assert_true(isfinite(v.loss) && v.loss > 0);
            assert_true(hash_net(nets[i]) == before && *nets[i]->seen == seen);
            assert_int_equal(nets[i]->batch, 3);
            assert_int_equal(nets[i]->layers[0].batch, 3);
            assert_int_equal(kd->images, images);
            free_found_boxes(boxes);
        }
        assert_true(train_once(kd->net) == train_once(twin->net));
        free_pair(kd), free_pair(twin);
    }
    region_hook = quiet_heads;
    free_images(list);
}

static void test_threads_change_nothing(void)
{
    image_list list = make_images(4);
    network *net = make_detector(normed, 3, "");
    net_outputs outputs = find_outputs(net, "net.cfg");
    evaluation first, v;
    found_boxes one = {0};
    make_sure(net, &outputs);
    evaluate_detector(net, &outputs, &list, 0, 1, &no_stop, &first, &one);
    assert_true(one.found.n > 10);
    for (int threads = 2; threads <= 9; threads += 3) {
        found_boxes boxes = {0};
        evaluate_detector(net, &outputs, &list, 0, threads, &no_stop, &v, &boxes);
        assert_true(v.loss == first.loss && v.score[0] == first.score[0]);
        assert_true(v.score[1] == first.score[1]);
        assert_same_boxes(boxes.found, one.found, 0);
        free_found_boxes(boxes);
    }
    free_found_boxes(one), free_images(list), free_network(net), free(outputs.layer);
}

static void test_a_stopped_evaluation(void)
{
    const volatile sig_atomic_t stop = 1;
    image_list list = make_images(4);
    network *net = make_detector(yolo, 3, "");
    net_outputs outputs = find_outputs(net, "net.cfg");
    evaluation v = {METRIC_TOP1, 1, {2, 3}, 4};
    found_boxes boxes = {0};
    region_hook = hooked;
    assert_int_equal(evaluate_detector(net, &outputs, &list, 0, 2, &stop, &v, 0), 0);
    assert_int_equal(evaluate_detector(net, &outputs, &list, 0, 2, &stop, &v, &boxes), 0);
    assert_true(v.by == METRIC_TOP1 && v.loss == 1 && v.k == 4);
    assert_true(v.score[0] == 2 && v.score[1] == 3);
    assert_int_equal(net->batch, 3);
    assert_ptr_equal(region_hook, hooked);
    region_hook = quiet_heads;
    free_found_boxes(boxes), free_images(list), free_network(net), free(outputs.layer);
}

/* A network that has broken: no loss, and never the best. */
static void test_a_broken_network(void)
{
    image_list list = make_images(4);
    network *net = make_detector(yolo, 3, "");
    net_outputs outputs = find_outputs(net, "net.cfg");
    net->layers[outputs.layer[1] - 1].biases[4] = NAN;
    for (int detects = 0; detects < 2; ++detects) {
        evaluation v;
        found_boxes boxes = {0};
        evaluate_detector(net, &outputs, &list, 0, 2, &no_stop, &v, detects ? &boxes : 0);
        assert_true(isnan(v.loss));
        assert_int_equal(boxes.found.n, 0);
        assert_false(merit(&v) > 0);
        free_found_boxes(boxes);
    }
    free_images(list), free_network(net), free(outputs.layer);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_one_image_at_a_time),
        TEST(test_map),
        TEST(test_teacher_of_a_mapped_student),
        TEST(test_known_scores),
        TEST(test_annotations),
        TEST(test_evaluation_leaves_no_trace),
        TEST(test_threads_change_nothing),
        TEST(test_a_stopped_evaluation),
        TEST(test_a_broken_network),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
