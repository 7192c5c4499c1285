/*
 * Proves plugin/run/detect.c: the boxes and scores of a [yolo] net with two heads
 * and of a [region] net, from outputs set by hand; the letterbox taken off,
 * clipping, thresholds, non-maximum suppression; the same from a student's cfg,
 * whose two last sections copy its output layer; and that COCO's results JSON
 * reads back as it was.
 *
 * The nets see 64 x 32 pixels; an image of 100 x 100 stands in the middle 32 of
 * the 64 columns.
 */
#include "nets.h"

#include "run/detect.h"

#include <cjson/cJSON.h>

#define NET "[net]\nbatch=1\nwidth=64\nheight=32\nchannels=1\n"
#define HEAD(filters, kind)                                                                    \
    "[convolutional]\nsize=1\nactivation=linear\nfilters=" #filters "\n" kind
#define YOLO_HEAD(filters, mask)                                                               \
    HEAD(filters, "[yolo]\nclasses=2\nnum=3\nanchors=8,8, 16,8, 16,16\nmask=" mask "\n")
#define GRID_4X2 "[maxpool]\nsize=16\nstride=16\n"
#define YOLO_NET                                                                               \
    NET GRID_4X2 YOLO_HEAD(                                                                    \
        14, "0,1") "[route]\nlayers=-3\n[maxpool]\nsize=2\nstride=2\n" YOLO_HEAD(7, "2")
#define REGION_NET                                                                             \
    NET GRID_4X2 HEAD(                                                                         \
        16, "[region]\nclasses=3\nnum=2\ncoords=4\nsoftmax=1\nanchors=.5,.5, 1,.5\n")
#define SECTIONS "[teacher]\n[deepkd_loss]\n" /* what makes it a student */

static network *net;
static ap_boxes found;

/* The net with all its outputs 0: it finds nothing. */
static void start(const char *cfg, const char *end)
{
    char *text = join(cfg, end, "");
    char *file = write_text("net.cfg", text);
    silence();
    net = parse_network_cfg_batch(file, 0); /* make_net would randomise the anchors, too */
    speak();
    free(text), free(file);
    for (int i = 0; i < net->n; ++i)
        if (net->layers[i].type == YOLO || net->layers[i].type == REGION)
            memset(net->layers[i].output, 0, net->layers[i].outputs * sizeof(float));
}

static void stop(void)
{
    free_network(net);
    free(found.boxes);
    found = (ap_boxes){0};
}

/* The head-th [yolo] or [region]. */
static layer find_head(int head)
{
    int i = 0;
    for (;; ++i) {
        assert_true(i < net->n);
        LAYER_TYPE type = net->layers[i].type;
        if ((type == YOLO || type == REGION) && head-- == 0) return net->layers[i];
    }
}

typedef struct {
    float x, y, w, h, objectness, classes[3];
} prediction_values;

/* The outputs of a head's anchor in cell (i, j), as its layer's forward leaves them. */
static void set(int head, int anchor, int i, int j, prediction_values p)
{
    layer l = find_head(head);
    const float values[] = {p.x, p.y, p.w, p.h, p.objectness};
    int plane = l.w * l.h;
    float *at = l.output + (size_t)anchor * (5 + l.classes) * plane + j * l.w + i;
    assert_true(anchor < l.n && i < l.w && j < l.h);
    for (int k = 0; k < 5; ++k) at[k * plane] = values[k];
    for (int k = 0; k < l.classes; ++k) at[(5 + k) * plane] = p.classes[k];
}

static void run_detect(int width, int height, float nms)
{
    found.n = 0;
    detect_boxes(net, width, height, 9, DETECT_THRESHOLD, nms, &found);
}

/* Exactly one box of this class and score is there, at this place. */
static void assert_found(int class, double score, double x, double y, double w, double h)
{
    int n = 0;
    for (int i = 0; i < found.n; ++i) {
        const ap_box *b = found.boxes + i;
        if (b->class != class || fabs(b->score - score) > 1e-6) continue;
        ++n;
        assert_int_equal(b->image, 9);
        assert_int_equal(b->crowd, 0);
        assert_float_equal(b->x, x, 1e-4);
        assert_float_equal(b->y, y, 1e-4);
        assert_float_equal(b->w, w, 1e-4);
        assert_float_equal(b->h, h, 1e-4);
    }
    assert_int_equal(n, 1);
}

/* ---- [yolo] ------------------------------------------------------------- */

/* Centre (1.5/4, .5/2) and (1.25/2, .5), size of the anchor: 16 x 8, 16 x 16 of 64 x 32. */
static void set_one_each(void)
{
    set(0, 1, 1, 0, (prediction_values){.5, .5, 0, 0, .8, {.5, .25}});
    set(1, 0, 1, 0, (prediction_values){.25, .5, 0, 0, .5, {.001, .75}});
}

static void test_two_heads(void)
{
    const char *ends[] = {"", SECTIONS};
    for (int e = 0; e < COUNT(ends); ++e) {
        start(YOLO_NET, ends[e]);
        set_one_each();
        run_detect(100, 100, 0);
        assert_int_equal(found.n, 3);
        assert_found(0, .4, 0, 12.5, 50, 25);
        assert_found(1, .2, 0, 12.5, 50, 25);
        assert_found(1, .375, 50, 25, 50, 50); /* of class 0 it is below the threshold */
        stop();
    }
}

/* The image takes the whole height (30 x 100 becomes 9 x 32), or the whole width. */
static void test_letterbox(void)
{
    start(YOLO_NET, "");
    set(0, 1, 1, 0, (prediction_values){1, .5, 0, 0, .5, {.5, 0}}); /* 32, 8; 16 x 8 */
    run_detect(30, 100, 0);
    assert_int_equal(found.n, 1);
    double left = (32 - 8 - 27.5) / 9 * 30, right = (32 + 8 - 27.5) / 9 * 30;
    assert_true(left < 0 && right > 30);
    assert_found(0, .25, 0, 12.5, 30, 25);
    run_detect(200, 50, 0); /* becomes 64 x 16, below 8 rows */
    assert_found(0, .25, 75, 0, 50, (8 + 4 - 8) * 50 / 16.);
    run_detect(64, 32, 0);
    assert_found(0, .25, 24, 4, 16, 8);
    stop();
}

static void test_clipping(void)
{
    start(YOLO_NET, "");
    set(1, 0, 1, 0, (prediction_values){.25, .5, logf(2), logf(4), .5, {.5, 0}});
    set(0, 0, 0, 0, (prediction_values){.5, .5, 0, 0, .5, {.25, 0}}); /* left of the image */
    set(0, 0, 3, 0, (prediction_values){.5, .5, 0, 0, .5, {.125, 0}});
    set(0, 0, 2, 1, (prediction_values){.5, .5, -200, 0, .5, {.3, 0}});  /* no width */
    set(0, 0, 1, 1, (prediction_values){.5, .5, 200, 200, .5, {.9, 0}}); /* infinite */
    set(0, 1, 2, 1, (prediction_values){.5, .5, 0, -200, .5, {.2, 0}});  /* no height */
    run_detect(100, 100, 0);
    assert_int_equal(found.n, 2);
    assert_found(0, .25, 25, 0, 75, 100);
    assert_found(0, .45, 0, 0, 100, 100);
    stop();
}

static void test_thresholds(void)
{
    start(YOLO_NET, "");
    set(0, 0, 1, 0, (prediction_values){.5, .5, 0, 0, .25, {.5, .75}});
    set(0, 1, 1, 0, (prediction_values){.5, .5, 0, 0, .125, {1, 1}});
    detect_boxes(net, 100, 100, 9, .125, 0, &found);
    assert_int_equal(found.n, 1);
    assert_found(1, .1875, 12.5, 12.5, 25, 25);
    detect_boxes(net, 100, 100, 9, .5, 0, &found); /* appends */
    assert_int_equal(found.n, 1);
    stop();
}

/* Over both heads and by class: anchors 16 x 8 at the same place, one of them a little lower.
 */
static void test_suppression(void)
{
    start(YOLO_NET, "");
    set(0, 1, 1, 0, (prediction_values){.5, .5, 0, 0, .5, {.5, .25}});
    set(1, 0, 0, 0, (prediction_values){.75, .25, 0, logf(.5), .5, {.25, .5}});
    run_detect(100, 100, 0);
    assert_int_equal(found.n, 4);
    run_detect(100, 100, DETECT_NMS);
    assert_int_equal(found.n, 2);
    assert_found(0, .25, 0, 12.5, 50, 25);
    assert_found(1, .25, 0, 12.5, 50, 25);
    set(1, 0, 0, 0, (prediction_values){.75, .5, 0, logf(.5), .5, {.25, .5}}); /* IoU 0 */
    run_detect(100, 100, DETECT_NMS);
    assert_int_equal(found.n, 4);
    stop();
}

static void test_nothing(void)
{
    start(YOLO_NET, SECTIONS);
    run_detect(100, 100, DETECT_NMS);
    assert_int_equal(found.n, 0);
    stop();
}

/* ---- [region] ----------------------------------------------------------- */

/* Anchors are in cells: 1 x .5 of 4 x 2. */
static void test_region(void)
{
    const char *ends[] = {"", SECTIONS};
    for (int e = 0; e < COUNT(ends); ++e) {
        start(REGION_NET, ends[e]);
        set(0, 1, 2, 1, (prediction_values){.5, .5, 0, 0, .5, {.75, .001, .249}});
        set(0, 0, 1, 0, (prediction_values){.5, .5, 0, 0, .004, {1, 0, 0}});
        run_detect(100, 100, DETECT_NMS);
        assert_int_equal(found.n, 2);
        assert_found(0, .375, 50, 62.5, 50, 25);
        assert_found(2, .1245, 50, 62.5, 50, 25);
        stop();
    }
}

/* ---- a whole pass ------------------------------------------------------- */

/* With the same weights, the plain net and the student find the same, bit for bit. */
static void test_student_finds_the_same(void)
{
    const char *nets[] = {YOLO_NET, REGION_NET};
    for (int i = 0; i < COUNT(nets); ++i) {
        float input[64 * 32];
        fill_uniform(input, COUNT(input), 0, 1);
        start(nets[i], "");
        network *plain = net;
        network_predict(plain, input);
        run_detect(90, 110, DETECT_NMS);
        ap_boxes expected = found;
        assert_true(expected.n > 2);

        found = (ap_boxes){0};
        start(nets[i], SECTIONS);
        copy_net(plain, net);
        network_predict(net, input);
        run_detect(90, 110, DETECT_NMS);
        assert_int_equal(found.n, expected.n);
        assert_memory_equal(found.boxes, expected.boxes, found.n * sizeof(ap_box));
        free_network(plain);
        free(expected.boxes);
        stop();
    }
}

static void test_outputs_that_are_not_finite(void)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < COUNT(bad); ++i) {
        start(YOLO_NET, SECTIONS);
        set(1, 0, 1, 0, (prediction_values){.5, .5, 0, 0, bad[i], {1, 1}});
        assert_int_equal(detect_boxes(net, 100, 100, 1, DETECT_THRESHOLD, DETECT_NMS, &found),
                         0);
        assert_int_equal(found.n, 0);
        stop();
        start(REGION_NET, "");
        set(0, 1, 0, 1, (prediction_values){.5, .5, 0, 0, .5, {1, bad[i], 0}});
        assert_int_equal(detect_boxes(net, 100, 100, 1, DETECT_THRESHOLD, DETECT_NMS, &found),
                         0);
        assert_int_equal(found.n, 0);
        stop();
    }
}

/* ---- COCO's results JSON ------------------------------------------------ */

static cJSON *read_json(const char *file)
{
    static char text[1 << 16];
    FILE *fp = fopen(file, "rb");
    assert_non_null(fp);
    size_t n = fread(text, 1, sizeof(text) - 1, fp);
    fclose(fp);
    text[n] = 0;
    cJSON *root = cJSON_Parse(text);
    assert_true(cJSON_IsArray(root));
    return root;
}

static double get_number(const cJSON *item, const char *key)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(item, key);
    assert_true(cJSON_IsNumber(number));
    return number->valuedouble;
}

static void assert_same_float(double got, double want)
{
    float a = got, b = want;
    assert_memory_equal(&a, &b, sizeof(a));
}

static void test_json(void)
{
    const int categories[] = {1, 90, 13};
    char *file = nets_file("results.json");
    srand(3); /* in these ranges some floats need all nine digits */
    for (int i = 0; i < 100; ++i)
        ap_append(&found, (ap_box){i ? i : 9007199254740991, i % 3, rand_uniform(1000, 1024),
                                   i % 2 ? rand_uniform(1000, 1024) : rand_uniform(0, 1e-6),
                                   rand_uniform(100, 128), rand_uniform(10, 16),
                                   rand_uniform(.1, .125), 0});
    write_detections(&found, categories, file);
    cJSON *list = read_json(file);
    assert_int_equal(cJSON_GetArraySize(list), found.n);
    for (int i = 0; i < found.n; ++i) {
        const cJSON *item = cJSON_GetArrayItem(list, i);
        const cJSON *bbox = cJSON_GetObjectItemCaseSensitive(item, "bbox");
        ap_box b = found.boxes[i];
        const double sides[] = {b.x, b.y, b.w, b.h};
        assert_true(get_number(item, "image_id") == b.image);
        assert_true(get_number(item, "category_id") == categories[b.class]);
        assert_same_float(get_number(item, "score"), b.score);
        assert_int_equal(cJSON_GetArraySize(bbox), 4);
        for (int k = 0; k < 4; ++k)
            assert_same_float(cJSON_GetArrayItem(bbox, k)->valuedouble, sides[k]);
    }
    cJSON_Delete(list);
    found.n = 0;
    write_detections(&found, categories, file);
    list = read_json(file);
    assert_int_equal(cJSON_GetArraySize(list), 0);
    cJSON_Delete(list);
    free(file);
    free(found.boxes);
    found = (ap_boxes){0};
}

static void write_nowhere(void *file)
{
    write_detections(&found, 0, file);
}

static void test_json_that_cannot_be_written(void)
{
    char *file = nets_file("missing/results.json");
    ASSERT_FAILS(write_nowhere, file, file, "No such file");
    free(file);
    ASSERT_FAILS(write_nowhere, "/dev/full", "/dev/full", "No space");
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_two_heads),
        TEST(test_letterbox),
        TEST(test_clipping),
        TEST(test_thresholds),
        TEST(test_suppression),
        TEST(test_nothing),
        TEST(test_region),
        TEST(test_student_finds_the_same),
        TEST(test_outputs_that_are_not_finite),
        TEST(test_json),
        TEST(test_json_that_cannot_be_written),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
