/*
 * Proves what loader.c makes of a detector's images and boxes:
 *   - boxes follow the pixels, jittered and mirrored or letterboxed: each bright rectangle of
 * an image is where its truth says, of the class that its colour is;
 *   - what comes is what `detector train` and `detector valid` make of the same image, written
 *     out with Darknet's own functions and the same random numbers;
 *   - of mosaic=1, half the images are four of those that meet at a point, put together here
 *     number by number, and boxes end with their quarter;
 *   - images without labels are told apart, and meet none with labels in a mosaic;
 *   - truths end with zeros, tiny boxes are left out, boxes come in a random order;
 *   - threads, batches and the other size of a resized net change nothing else.
 */
#include "detectors.h"

#include "image.h"

#include "data/loader.h"

#define IMAGES 6
#define SIDE 64 /* of the net's input */
#define CLASSES 4
#define MOST 8 /* max= */
#define PLAIN "hue=0\nsaturation=1\nexposure=1\n"
#define VIVID "hue=.1\nsaturation=1.5\nexposure=1.5\n"
#define SEED 99

static const int widths[IMAGES] = {80, 50, 64, 120, 33, 64},
                 heights[IMAGES] = {60, 90, 64, 40, 100, 64};

/* ---- images ------------------------------------------------------------- */

typedef struct {
    int left, top, right, bottom; /* pixels, the last two outside */
} rectangle;

/* The rectangle of a class in an image: all three are apart, and no two images are alike. */
static rectangle rectangle_of(int i, int class)
{
    int w = widths[i], h = heights[i], band = h / 3;
    rectangle r = {w / 8 + (i * 7 + class * 5) % (w / 4), band * class + 3, 0, 0};
    r.right = r.left + w / 4 + (i + class) % 5;
    r.bottom = r.top + band - 5;
    return r;
}

/* A black image with a red, a green and a blue rectangle: classes 0, 1 and 2 */
static char *paint(int i)
{
    int w = widths[i], h = heights[i];
    char name[32], *bytes = kd_calloc(3 * w * h + 32, 1);
    int n = sprintf(bytes, "P6\n%d %d\n255\n", w, h);
    for (int class = 0; class < 3; ++class) {
        rectangle r = rectangle_of(i, class);
        for (int y = r.top; y < r.bottom; ++y)
            for (int x = r.left; x < r.right; ++x)
                bytes[n + 3 * (y * w + x) + class] = (char)255;
    }
    sprintf(name, "image%d.ppm", i);
    char *path = write_bytes(name, bytes, n + 3 * w * h);
    free(bytes);
    return path;
}

/* The labels say the rectangles exactly; image 5 has none of them. */
static image_labels label(int i)
{
    image_labels l = {kd_calloc(3, sizeof(labelled_box)), i == 5 ? 0 : 3};
    for (int class = 0; class < l.n; ++class) {
        rectangle r = rectangle_of(i, class);
        float w = widths[i], h = heights[i];
        l.boxes[class] =
            (labelled_box){(r.left + r.right) / 2.f / w, (r.top + r.bottom) / 2.f / h,
                           (r.right - r.left) / w, (r.bottom - r.top) / h, class};
    }
    return l;
}

static image_list make_images(void)
{
    image_list list = {.paths = kd_calloc(IMAGES, sizeof(char *)),
                       .labels = kd_calloc(IMAGES, sizeof(image_labels)),
                       .n = IMAGES};
    for (int i = 0; i < IMAGES; ++i) {
        list.paths[i] = paint(i);
        list.labels[i] = label(i);
    }
    return list;
}

static void free_images(image_list list)
{
    for (int i = 0; i < list.n; ++i) free(list.paths[i]), free(list.labels[i].boxes);
    free(list.paths), free(list.labels);
}

static network *make_detector(const char *options, const char *jitter)
{
    const whole_detector d = {3, SIDE, options, yolo_layers, "activation=tanh", jitter};
    char *cfg = whole_cfg(&d, "");
    network *net = make_net(cfg, 1);
    free(cfg);
    assert_int_equal(net->truths, 5 * MOST);
    return net;
}

/* ---- loading ------------------------------------------------------------ */

/* A run's first images, one behind the other, as batches of any size gave them */
typedef struct {
    int n, width, height;
    float *images, *truths;
    int *indices;
} gallery;

static gallery load(const image_list *list, network *net, int augment, int n, int batch,
                    int threads, int width, int height)
{
    size_t inputs = (size_t)3 * width * height;
    gallery g = {n,
                 width,
                 height,
                 kd_calloc(n * inputs, sizeof(float)),
                 kd_calloc(n * net->truths, sizeof(float)),
                 kd_calloc(n, sizeof(int))};
    loader *l = make_loader(list, net, batch, augment, threads, SEED);
    start_loading(l, 0, width, height);
    for (int i = 0; i < n; i += batch) {
        image_batch x = finish_loading(l);
        int some = n - i < batch ? n - i : batch;
        if (i + batch < n) start_loading(l, i + batch, width, height);
        memcpy(g.images + i * inputs, x.images, some * inputs * sizeof(float));
        memcpy(g.truths + i * net->truths, x.truths, some * net->truths * sizeof(float));
        memcpy(g.indices + i, x.indices, some * sizeof(int));
        for (int b = 0; b < some; ++b) {
            assert_int_equal(x.sizes[2 * b], widths[x.indices[b]]);
            assert_int_equal(x.sizes[2 * b + 1], heights[x.indices[b]]);
        }
    }
    free_loader(l);
    return g;
}

static void free_gallery(gallery g)
{
    free(g.images), free(g.truths), free(g.indices);
}

static int count_truths(const float *truth)
{
    int n = 0;
    while (n < MOST && truth[5 * n]) ++n;
    for (int k = 5 * n; k < 5 * MOST; ++k) assert_true(truth[k] == 0);
    return n;
}

/* The truth of a class, or NULL */
static const float *find_class(const float *truth, int class)
{
    for (int t = 0; t < count_truths(truth); ++t)
        if (truth[5 * t + 4] == class) return truth + 5 * t;
    return 0;
}

static box truth_of_class(const float *truth, int class)
{
    const float *found = find_class(truth, class);
    assert_non_null(found);
    return float_to_box((float *)found, 1);
}

/* ---- boxes follow pixels ------------------------------------------------ */

/* How far the pixels of this colour reach; returns 0 when there are none. */
static int find_colour(const gallery *g, int i, int class, rectangle *found)
{
    int w = g->width, h = g->height, n = 0;
    const float *x = g->images + (size_t)i * 3 * w * h;
    *found = (rectangle){w, h, 0, 0};
    for (int k = 0; k < w * h; ++k) {
        int others = (class + 1) % 3, last = (class + 2) % 3;
        if (x[class * w * h + k] < .5 || x[others * w * h + k] > .25 ||
            x[last * w * h + k] > .25)
            continue;
        if (k % w < found->left) found->left = k % w;
        if (k / w < found->top) found->top = k / w;
        if (k % w + 1 > found->right) found->right = k % w + 1;
        if (k / w + 1 > found->bottom) found->bottom = k / w + 1;
        ++n;
    }
    return n;
}

/* Darknet places images at whole pixels, boxes at fractions of them. */
static void assert_near(const char *what, int i, double pixel, double share, int side)
{
    if (fabs(pixel - share * side) > 2)
        fail_msg("image %d: %s at pixel %g, the truth says %g", i, what, pixel, share * side);
}

/* Where the input is no square, Darknet may place a part of the image outside of it. */
static int check_boxes(const gallery *g)
{
    int boxes = 0;
    for (int i = 0; i < g->n; ++i) {
        const float *truth = g->truths + i * 5 * MOST;
        if (g->indices[i] == 5) {
            assert_int_equal(count_truths(truth), 0);
            continue;
        }
        for (int class = 0; class < 3; ++class) {
            rectangle r;
            int pixels = find_colour(g, i, class, &r);
            if (pixels <= 2 * g->width && !find_class(truth, class)) continue;
            box b = truth_of_class(truth, class);
            assert_near("left", i, r.left, b.x - b.w / 2, g->width);
            assert_near("right", i, r.right, b.x + b.w / 2, g->width);
            assert_near("top", i, r.top, b.y - b.h / 2, g->height);
            assert_near("bottom", i, r.bottom, b.y + b.h / 2, g->height);
            ++boxes;
        }
    }
    return boxes;
}

static void test_boxes_follow_pixels(void)
{
    static const int sizes[][2] = {{SIDE, SIDE}, {96, 64}, {48, 128}};
    image_list list = make_images();
    network *net = make_detector(PLAIN, "jitter=.3");
    for (int i = 0; i < COUNT(sizes); ++i)
        for (int augment = 0; augment < 2; ++augment) {
            gallery g = load(&list, net, augment, 8 * IMAGES, 4, 1, sizes[i][0], sizes[i][1]);
            int boxes = check_boxes(&g), all = 3 * 8 * (IMAGES - 1);
            assert_true(augment && sizes[i][0] != sizes[i][1] ? boxes > all / 2 : boxes == all);
            free_gallery(g);
        }
    free_network(net), free_images(list);
}

/* ---- as Darknet's detector commands ------------------------------------- */

/* load_data_detection's placement, from the same random numbers */
typedef struct {
    float x, y, w, h;
    int flip;
} placing;

static image train_image(const char *path, const network *net, float jitter, placing *p)
{
    image im = load_image_color((char *)path, 0, 0), sized = make_image(SIDE, SIDE, 3);
    float dw = jitter * im.w, dh = jitter * im.h;
    float ratio = (im.w + rand_uniform(-dw, dw)) / (im.h + rand_uniform(-dh, dh));
    p->w = ratio < 1 ? SIDE * ratio : SIDE;
    p->h = ratio < 1 ? SIDE : SIDE / ratio;
    p->x = rand_uniform(0, SIDE - p->w);
    p->y = rand_uniform(0, SIDE - p->h);
    fill_image(sized, .5);
    place_image(im, p->w, p->h, p->x, p->y, sized);
    random_distort_image(sized, net->hue, net->saturation, net->exposure);
    p->flip = rand() % 2;
    if (p->flip) flip_image(sized);
    free_image(im);
    return sized;
}

static void assert_placed(labelled_box label, box truth, placing p)
{
    double left = (label.x - label.w / 2.) * p.w + p.x, right = left + label.w * (double)p.w;
    double top = (label.y - label.h / 2.) * p.h + p.y, bottom = top + label.h * (double)p.h;
    double x = (left + right) / 2 / SIDE;
    const double want[] = {p.flip ? 1 - x : x, (top + bottom) / 2 / SIDE, (right - left) / SIDE,
                           (bottom - top) / SIDE},
                 found[] = {truth.x, truth.y, truth.w, truth.h};
    for (int k = 0; k < 4; ++k)
        if (!(fabs(found[k] - want[k]) < 1e-5))
            fail_msg("class %d: found %g, expected %g", label.class, found[k], want[k]);
}

static void test_augmented_as_detector_train(void)
{
    enum { LOADED = 60, INPUTS = 3 * SIDE * SIDE };
    image_list list = make_images();
    network *net = make_detector(VIVID, "jitter=.25");
    gallery g = load(&list, net, 1, LOADED, 5, 2, SIDE, SIDE);
    int flips = 0, orders = 0, seen[IMAGES] = {0};
    for (int i = 0; i < LOADED; ++i) {
        int index = g.indices[i];
        const float *truth = g.truths + i * 5 * MOST;
        placing p;
        srand(derive_seed(SEED, i));
        image want = train_image(list.paths[index], net, .25, &p);
        assert_true(distance_of(g.images + i * INPUTS, want.data, INPUTS) < 1e-5);
        for (int k = 0; k < list.labels[index].n; ++k)
            assert_placed(list.labels[index].boxes[k], truth_of_class(truth, k), p);
        flips += p.flip;
        orders += count_truths(truth) && truth[4] != 0;
        ++seen[index];
        free_image(want);
    }
    assert_in_range(flips, LOADED / 4, 3 * LOADED / 4);
    assert_in_range(orders, LOADED / 4, LOADED - 10); /* 2 of 3 do not begin with class 0 */
    for (int i = 0; i < IMAGES; ++i) assert_int_equal(seen[i], LOADED / IMAGES);
    free_gallery(g), free_network(net), free_images(list);
}

/* A quarter of a mosaic: the image's pixels, moved; and its boxes in the order they are asked
 * in */
static int add_tile(int t, image im, placing p, const labelled_box *boxes, int n, int cut_x,
                    int cut_y, image whole, float *truth)
{
    int dx = t % 2 ? cut_x : cut_x - SIDE, dy = t / 2 ? cut_y : cut_y - SIDE, added = 0;
    for (int k = 0; k < 3 * SIDE * SIDE; ++k) {
        int x = k % SIDE, y = k / SIDE % SIDE, is_here = (x >= cut_x) + 2 * (y >= cut_y) == t;
        if (is_here) whole.data[k] = im.data[k - x - y * SIDE + (y - dy) * SIDE + x - dx];
    }
    double low_x = t % 2 ? cut_x : 0, high_x = t % 2 ? SIDE : cut_x;
    double low_y = t / 2 ? cut_y : 0, high_y = t / 2 ? SIDE : cut_y;
    for (int k = 0; k < n; ++k) {
        double left = (boxes[k].x - boxes[k].w / 2.) * p.w + p.x;
        double right = left + boxes[k].w * (double)p.w;
        double top = (boxes[k].y - boxes[k].h / 2.) * p.h + p.y;
        double bottom = top + boxes[k].h * (double)p.h;
        if (p.flip) left = SIDE - left, right = SIDE - right;
        double l = fmax(low_x, fmin(left, right) + dx),
               r = fmin(high_x, fmax(left, right) + dx);
        double u = fmax(low_y, top + dy), d = fmin(high_y, bottom + dy);
        if (r - l < 1 || d - u < 1) continue;
        const float numbers[] = {(l + r) / 2 / SIDE, (u + d) / 2 / SIDE, (r - l) / SIDE,
                                 (d - u) / SIDE, boxes[k].class};
        memcpy(truth + 5 * added++, numbers, sizeof(numbers));
    }
    return added;
}

/* From the same random numbers, of the list's image and three others */
static void want_mosaic(const image_list *list, const network *net, int index, image whole,
                        float *truth)
{
    image tile[4];
    placing p[4];
    labelled_box boxes[4][3];
    int n[4], truths = 0;
    for (int t = 0; t < 4; ++t) {
        image_labels labels = list->labels[index];
        tile[t] = train_image(list->paths[index], net, .25, p + t);
        n[t] = labels.n;
        memcpy(boxes[t], labels.boxes, labels.n * sizeof(labelled_box));
        if (n[t]) shuffle(boxes[t], n[t], sizeof(labelled_box));
        index = rand() % IMAGES;
    }
    int x = rand_uniform(.2 * SIDE, .8 * SIDE), y = rand_uniform(.2 * SIDE, .8 * SIDE);
    assert_in_range(x, SIDE / 5, SIDE * 4 / 5);
    for (int t = 0; t < 4; ++t) {
        truths += add_tile(t, tile[t], p[t], boxes[t], n[t], x, y, whole, truth + 5 * truths);
        free_image(tile[t]);
    }
}

static void test_mosaic_of_four(void)
{
    enum { LOADED = 60, INPUTS = 3 * SIDE * SIDE };
    image_list list = make_images();
    network *net = make_detector(VIVID "mosaic=1\n", "jitter=.25");
    gallery g = load(&list, net, 1, LOADED, 5, 2, SIDE, SIDE);
    int mosaics = 0;
    for (int i = 0; i < LOADED; ++i) {
        float truth[5 * 12] = {0};
        placing p;
        srand(derive_seed(SEED, i));
        int is_mosaic = rand() % 2;
        image want = is_mosaic ? make_image(SIDE, SIDE, 3)
                               : train_image(list.paths[g.indices[i]], net, .25, &p);
        if (is_mosaic) want_mosaic(&list, net, g.indices[i], want, truth);
        assert_true(distance_of(g.images + i * INPUTS, want.data, INPUTS) < 1e-5);
        for (int k = 0; is_mosaic && k < 5 * MOST; ++k)
            if (!(fabs(g.truths[i * 5 * MOST + k] - truth[k]) < 1e-5))
                fail_msg("image %d, truth %d: found %g, expected %g", i, k / 5,
                         g.truths[i * 5 * MOST + k], truth[k]);
        mosaics += is_mosaic;
        free_image(want);
    }
    assert_in_range(mosaics, LOADED / 4, 3 * LOADED / 4);
    free_gallery(g);
    g = load(&list, net, 0, IMAGES, 5, 2, SIDE, SIDE);
    assert_int_equal(check_boxes(&g), 3 * (IMAGES - 1)); /* none without augmentation */
    free_gallery(g), free_network(net), free_images(list);
}

static void test_letterboxed_as_detector_valid(void)
{
    enum { INPUTS = 3 * SIDE * SIDE };
    image_list list = make_images();
    network *net = make_detector(VIVID, "jitter=.25");
    gallery g = load(&list, net, 0, 2 * IMAGES, 5, 2, SIDE, SIDE);
    for (int i = 0; i < 2 * IMAGES; ++i) {
        int index = i % IMAGES, w = widths[index], h = heights[index];
        const float *truth = g.truths + i * 5 * MOST;
        image im = load_image_color(list.paths[index], 0, 0);
        image want = letterbox_image(im, SIDE, SIDE);
        placing p = {0, 0, w > h ? SIDE : w * SIDE / h, w > h ? h * SIDE / w : SIDE, 0};
        p.x = (SIDE - (int)p.w) / 2, p.y = (SIDE - (int)p.h) / 2;
        assert_int_equal(g.indices[i], index);
        assert_true(distance_of(g.images + i * INPUTS, want.data, INPUTS) < 1e-6);
        for (int k = 0; k < list.labels[index].n; ++k) {
            assert_true(truth[5 * k + 4] == k); /* the file's order */
            assert_placed(list.labels[index].boxes[k], truth_of_class(truth, k), p);
        }
        free_image(im), free_image(want);
    }
    free_gallery(g), free_network(net), free_images(list);
}

/* ---- the ends of the lists ---------------------------------------------- */

/* All of max= boxes fit; one whose side is below .001 of the input is none. */
static void test_full_and_tiny(void)
{
    image_list list = make_images();
    network *net = make_detector(PLAIN, "jitter=.2");
    labelled_box boxes[MOST];
    for (int k = 0; k < MOST; ++k) boxes[k] = (labelled_box){.5, .5, .1 * (k + 1), .3, k % 4};
    for (int i = 0; i < IMAGES; ++i) {
        free(list.labels[i].boxes);
        list.labels[i] = (image_labels){kd_calloc(MOST, sizeof(*boxes)), MOST};
        memcpy(list.labels[i].boxes, boxes, sizeof(boxes));
    }
    for (int augment = 0; augment < 2; ++augment) {
        gallery g = load(&list, net, augment, 12, 4, 2, SIDE, SIDE);
        for (int i = 0; i < 12; ++i)
            assert_int_equal(count_truths(g.truths + i * 5 * MOST), MOST);
        free_gallery(g);
        for (int i = 0; i < IMAGES; ++i) list.labels[i].boxes[2].h = .0005;
        for (int i = 0; i < IMAGES; ++i) list.labels[i].boxes[5].w = .0009;
        g = load(&list, net, augment, 12, 4, 2, SIDE, SIDE);
        for (int i = 0; i < 12; ++i)
            assert_int_equal(count_truths(g.truths + i * 5 * MOST), MOST - 2);
        free_gallery(g);
        for (int i = 0; i < IMAGES; ++i) memcpy(list.labels[i].boxes, boxes, sizeof(boxes));
    }
    list.labels[3].boxes[0].h = .002; /* 120 x 40 letterboxed: a third of that */
    gallery g = load(&list, net, 0, IMAGES, 4, 2, SIDE, SIDE);
    for (int i = 0; i < IMAGES; ++i)
        assert_int_equal(count_truths(g.truths + i * 5 * MOST), MOST - (i == 3));
    free_gallery(g), free_network(net), free_images(list);
}

static void test_unlabelled(void)
{
    enum { LOADED = 60, LABELLED = 4 };
    image_list list = make_images();
    network *net = make_detector(PLAIN "mosaic=1\nletter_box=0\n", "jitter=0");
    list.unlabelled = IMAGES - LABELLED;
    for (int i = 0; i < IMAGES; ++i) { /* of those without, boxes that must not be seen */
        free(list.labels[i].boxes);
        list.labels[i] = (image_labels){kd_calloc(1, sizeof(labelled_box)), i < LABELLED};
        list.labels[i].boxes[0] = (labelled_box){.5, .5, .9, .9, i % 4};
    }
    loader *l = make_loader(&list, net, LOADED, 1, 2, SEED);
    start_loading(l, 0, SIDE, SIDE);
    image_batch x = finish_loading(l), last = part_of_batch(x, LOADED - 1, 1);
    for (int i = 0; i < LOADED; ++i) {
        int n = count_truths(x.truths + i * 5 * MOST);
        assert_int_equal(x.unlabelled[i], x.indices[i] >= LABELLED);
        assert_true(x.unlabelled[i] ? n == 0 : n == 1 || n == 4);
    }
    assert_int_equal(*last.unlabelled, x.unlabelled[LOADED - 1]);
    free_loader(l), free_network(net), free_images(list);
}

/* A mosaic of more boxes than max= has the first of them. */
static void test_full_mosaic(void)
{
    image_list list = make_images();
    network *net = make_detector(PLAIN "mosaic=1\nletter_box=0\n", "jitter=0");
    for (int i = 0; i < IMAGES; ++i) {
        free(list.labels[i].boxes);
        list.labels[i] = (image_labels){kd_calloc(3, sizeof(labelled_box)), 3};
        for (int k = 0; k < 3; ++k) list.labels[i].boxes[k] = (labelled_box){.5, .5, .9, .9, i};
    }
    int full = 0;
    gallery g = load(&list, net, 1, 60, 4, 2, SIDE, SIDE);
    for (int i = 0; i < 60; ++i) {
        int n = count_truths(g.truths + i * 5 * MOST);
        assert_true(n == MOST || n == 3);
        full += n == MOST;
    }
    assert_in_range(full, 15, 45);
    free_gallery(g), free_network(net), free_images(list);
}

/* Boxes at the image's edge and as large as it stay in the input. */
static void test_boxes_at_the_edge(void)
{
    image_list list = make_images();
    network *net = make_detector(PLAIN, "jitter=.3");
    for (int i = 0; i < IMAGES; ++i) {
        free(list.labels[i].boxes);
        list.labels[i] = (image_labels){kd_calloc(3, sizeof(labelled_box)), 3};
        list.labels[i].boxes[0] = (labelled_box){.5, .5, 1, 1, 0};
        list.labels[i].boxes[1] = (labelled_box){.995, .5, .01, 1, 1};
        list.labels[i].boxes[2] = (labelled_box){.005, .005, .01, .01, 2};
    }
    gallery g = load(&list, net, 1, 60, 6, 2, SIDE, SIDE);
    for (int i = 0; i < 60; ++i) {
        const float *truth = g.truths + i * 5 * MOST;
        box all = truth_of_class(truth, 0), right = truth_of_class(truth, 1);
        assert_true(fmax(all.w, all.h) > .9999); /* one side fills the input */
        assert_true(fabs(right.y - all.y) < 1e-5 && fabs(right.h - all.h) < 1e-5);
        double ratio = all.w / all.h,
               whole = (double)widths[g.indices[i]] / heights[g.indices[i]];
        assert_true(ratio > whole * .7 / 1.3 - .01 && ratio < whole * 1.3 / .7 + .01);
        for (int t = 0; t < 3; ++t) {
            const float *b = truth + 5 * t;
            assert_true(b[0] > 0 && b[0] - b[2] / 2 > -1e-6 && b[0] + b[2] / 2 < 1 + 1e-6);
            assert_true(b[1] >= 0 && b[1] - b[3] / 2 > -1e-6 && b[1] + b[3] / 2 < 1 + 1e-6);
        }
    }
    free_gallery(g), free_network(net), free_images(list);
}

/* ---- threads, batches, sizes -------------------------------------------- */

static void assert_same_gallery(gallery a, gallery b)
{
    assert_memory_equal(a.indices, b.indices, a.n * sizeof(int));
    assert_memory_equal(a.truths, b.truths, a.n * 5 * MOST * sizeof(float));
    assert_memory_equal(a.images, b.images,
                        (size_t)a.n * 3 * a.width * a.height * sizeof(float));
}

static void test_threads_and_batches_change_nothing(void)
{
    image_list list = make_images();
    network *net = make_detector(VIVID "mosaic=1\n", "jitter=.3");
    for (int augment = 0; augment < 2; ++augment) {
        gallery one = load(&list, net, augment, 30, 1, 1, SIDE, SIDE);
        for (int threads = 1; threads <= 5; ++threads) {
            gallery g = load(&list, net, augment, 30, threads == 5 ? 13 : threads + 1, threads,
                             SIDE, SIDE);
            assert_same_gallery(g, one);
            free_gallery(g);
        }
        free_gallery(one);
    }
    free_network(net), free_images(list);
}

/*
 * A loader whose size changes, while several batches are ahead, gives at each size what one of
 * that size gives.
 */
static void test_sizes_of_a_resized_net(void)
{
    static const int sizes[] = {32, 96, 64, 96, 32};
    image_list list = make_images();
    network *net = make_detector(VIVID, "jitter=.3");
    loader *l = make_loader(&list, net, 4, 1, 2, SEED);
    for (int i = 0; i < LOADER_AHEAD; ++i) start_loading(l, 4 * i, sizes[i], sizes[i]);
    for (int i = 0; i < COUNT(sizes); ++i) {
        int last = i + LOADER_AHEAD;
        size_t inputs = (size_t)3 * sizes[i] * sizes[i];
        gallery g = load(&list, net, 1, 4 * (i + 1), 4, 1, sizes[i], sizes[i]);
        image_batch x = finish_loading(l);
        if (last < COUNT(sizes)) start_loading(l, 4 * last, sizes[last], sizes[last]);
        assert_memory_equal(x.images, g.images + 4 * i * inputs, 4 * inputs * sizeof(float));
        assert_memory_equal(x.truths, g.truths + 4 * i * 5 * MOST,
                            4 * 5 * MOST * sizeof(float));
        free_gallery(g);
    }
    free_loader(l), free_network(net), free_images(list);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_boxes_follow_pixels),
        TEST(test_augmented_as_detector_train),
        TEST(test_mosaic_of_four),
        TEST(test_letterboxed_as_detector_valid),
        TEST(test_full_and_tiny),
        TEST(test_unlabelled),
        TEST(test_full_mosaic),
        TEST(test_boxes_at_the_edge),
        TEST(test_threads_and_batches_change_nothing),
        TEST(test_sizes_of_a_resized_net),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
