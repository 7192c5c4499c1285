/*
 * Proves how plugin/data/loader.c augments a classifier's images beside Darknet's own way:
 *   - AUGMENT_CIFAR: each image is itself, shifted by up to 4 pixels either way with black
 * coming in, and mirrored or not; all shifts and both come; an image of another size is brought
 * to the net's first; colours are as [net] says;
 *   - a strong view changes nothing of the weak one, is drawn independently of it, and from the
 *     operations that are allowed alone;
 *   - all of it repeats by seed and position, with any number of threads.
 */
#include "nets.h"

#include "data/loader.h"
#include "data/strong.h"

enum { SIDE = 12, INPUTS = 3 * SIDE * SIDE, IMAGES = 5, EPOCHS = 80, LOADED = IMAGES * EPOCHS };
enum { PAD = 4, SHIFTS = 2 * PAD + 1 };

#define NET "[net]\nbatch=5\nheight=12\nwidth=12\nchannels=3\n"
#define LAYERS "[avgpool]\n[connected]\noutput=5\nactivation=linear\n[softmax]\n"
#define STRONG_OF(operations) ((int)(operations)*AUGMENT_OPERATIONS)

/* No number is 0, so that what is black came in from outside. */
static image_list make_images(int side)
{
    char list[1024] = "", labels[64] = "", name[32];
    for (int i = 0; i < IMAGES; ++i) {
        unsigned char bytes[4096];
        int n = sprintf((char *)bytes, "P6\n%d %d\n255\n", side, side);
        srand(i + 1);
        for (int k = 0; k < side * side * 3; ++k) bytes[n++] = 1 + rand() % 255;
        sprintf(name, "image_%d_.ppm", i);
        char *path = write_bytes(name, bytes, n);
        strcat(strcat(list, path), "\n");
        sprintf(name, "_%d_\n", i);
        strcat(labels, name);
        free(path);
    }
    char *list_file = write_text("images.list", list),
         *label_file = write_text("labels", labels);
    image_list images = read_image_list(list_file, label_file, IMAGES);
    free(list_file), free(label_file);
    return images;
}

static void free_list_of(image_list list)
{
    for (int i = 0; i < list.n; ++i) free(list.paths[i]);
    free(list.paths), free(list.targets);
}

typedef struct {
    float images[LOADED][INPUTS], strong[LOADED][INPUTS];
    int indices[LOADED];
} loaded;

static void load_all(const char *cfg, int side, int augment, int threads, loaded *to)
{
    image_list list = make_images(side);
    network *net = make_net(cfg, 3);
    memset(to, 0, sizeof(*to));
    loader *l = make_loader(&list, net, IMAGES, augment, threads, 99);
    for (int i = 0; i < EPOCHS; ++i) {
        start_loading(l, (uint64_t)i * IMAGES, SIDE, SIDE);
        image_batch b = finish_loading(l);
        memcpy(to->images[i * IMAGES], b.images, IMAGES * sizeof(to->images[0]));
        memcpy(to->indices + i * IMAGES, b.indices, sizeof(int) * IMAGES);
        check(!b.strong == (augment < AUGMENT_OPERATIONS), "a strong view where there is none");
        if (b.strong) memcpy(to->strong[i * IMAGES], b.strong, IMAGES * sizeof(to->strong[0]));
        for (int k = 0; k < IMAGES; ++k)
            check(b.truths[k * IMAGES + b.indices[k]] == 1, "truth");
    }
    free_loader(l);
    free_network(net);
    free_list_of(list);
}

/* The images as they are, [IMAGES][3][side][side], without any augmentation */
static void load_plain(float plain[IMAGES][INPUTS])
{
    image_list list = make_images(SIDE);
    network *net = make_net(NET LAYERS, 3);
    loader *l = make_loader(&list, net, IMAGES, 0, 1, 99);
    start_loading(l, 0, SIDE, SIDE);
    memcpy(plain, finish_loading(l).images, IMAGES * INPUTS * sizeof(float));
    free_loader(l);
    free_network(net);
    free_list_of(list);
}

static float shifted(const float *image, int c, int y, int x)
{
    int is_inside = x >= 0 && x < SIDE && y >= 0 && y < SIDE;
    return is_inside ? image[(c * SIDE + y) * SIDE + x] : 0;
}

/* Which shift and mirror it is of the image, but for the grey of a cutout: 0 to 2 SHIFTS^2 - 1,
 * or -1 */
static int find_shift(const float *found, const float *image)
{
    static const float grey[] = {125 / 255.f, 123 / 255.f, 114 / 255.f};
    for (int way = 0; way < 2 * SHIFTS * SHIFTS; ++way) {
        int dx = way / 2 % SHIFTS - PAD, dy = way / 2 / SHIFTS - PAD, same = 1;
        for (int k = 0; k < INPUTS && same; ++k) {
            int x = k % SIDE, y = k / SIDE % SIDE, c = k / SIDE / SIDE;
            same = found[k] == grey[c] ||
                   found[k] == shifted(image, c, y + dy, (way % 2 ? SIDE - 1 - x : x) + dx);
        }
        if (same) return way;
    }
    return -1;
}

static loaded a, b; /* of the test that runs */

static void test_cifar(void)
{
    static float plain[IMAGES][INPUTS];
    static int ways[2 * SHIFTS * SHIFTS];
    int x[SHIFTS] = {0}, y[SHIFTS] = {0}, mirrored = 0;
    load_plain(plain);
    load_all(NET LAYERS, SIDE, AUGMENT_CIFAR, 2, &a);
    for (int i = 0; i < LOADED; ++i) {
        int way = find_shift(a.images[i], plain[a.indices[i]]);
        assert_that(way >= 0, "image %d is no shift of its own", i);
        ++ways[way];
        ++x[way / 2 % SHIFTS], ++y[way / 2 / SHIFTS], mirrored += way % 2;
    }
    for (int k = 0; k < SHIFTS; ++k)
        check(x[k] > LOADED / SHIFTS / 2 && y[k] > LOADED / SHIFTS / 2,
              "shift %d: %d and %d times", k - PAD, x[k], y[k]);
    check(abs(mirrored - LOADED / 2) < 50, "%d of %d are mirrored", mirrored, LOADED);
}

static void test_other_sizes(void)
{
    load_all(NET LAYERS, 2 * SIDE - 1, AUGMENT_CIFAR, 2, &a);
    for (int i = 0; i < LOADED; ++i) {
        int black = 0;
        for (int k = 0; k < INPUTS; ++k) black += !a.images[i][k];
        check(black <= INPUTS - 3 * (SIDE - PAD) * (SIDE - PAD), "image %d: %d black", i,
              black);
    }
}

static void test_colours(void)
{
    int others = 0;
    load_all(NET LAYERS, SIDE, AUGMENT_CIFAR, 2, &a);
    load_all(NET "exposure=1.5\n" LAYERS, SIDE, AUGMENT_CIFAR, 2, &b);
    for (int i = 0; i < LOADED; ++i)
        others += memcmp(a.images[i], b.images[i], sizeof(a.images[i])) != 0;
    check(others > LOADED * 9 / 10, "exposure changes %d of %d", others, LOADED);
}

/* The weak view is as without a strong one, which is another each time. */
static void test_strong(void)
{
    int same = 0;
    load_all(NET LAYERS, SIDE, AUGMENT_CIFAR, 2, &a);
    load_all(NET LAYERS, SIDE, AUGMENT_CIFAR + STRONG_OF(ALL_OPERATIONS), 2, &b);
    assert_memory_equal(a.images, b.images, sizeof(a.images));
    for (int i = 0; i < LOADED; ++i) {
        same += !memcmp(b.images[i], b.strong[i], sizeof(b.images[i]));
        for (int k = 0; k < INPUTS; ++k)
            check(b.strong[i][k] >= 0 && b.strong[i][k] <= 1, "image %d: %g", i,
                  b.strong[i][k]);
    }
    check(same < LOADED / 20, "%d of %d strong views are the weak ones", same, LOADED);
}

/* Of no operation but the cutout: a crop of its own, which is the weak one's by chance alone */
static void test_strong_is_independent(void)
{
    static float plain[IMAGES][INPUTS];
    int same = 0;
    load_plain(plain);
    load_all(NET LAYERS, SIDE, AUGMENT_CIFAR + STRONG_OF(1u << IDENTITY), 2, &a);
    for (int i = 0; i < LOADED; ++i) {
        int weak = find_shift(a.images[i], plain[a.indices[i]]);
        int strong = find_shift(a.strong[i], plain[a.indices[i]]);
        check(strong >= 0, "strong view %d is no crop", i);
        check(memcmp(a.images[i], a.strong[i], sizeof(a.images[i])), "%d has no cutout", i);
        same += strong == weak;
    }
    check(same < LOADED / 20, "%d of %d are the weak view's crop", same, LOADED);
}

static void check_repeats(int augment)
{
    load_all(NET LAYERS, SIDE, augment, 1, &a);
    for (int threads = 2; threads <= 5; threads += 3) {
        load_all(NET LAYERS, SIDE, augment, threads, &b);
        check(!memcmp(&a, &b, sizeof(a)), "augment %d: %d threads load other images", augment,
              threads);
    }
}

static void test_repeats(void)
{
    check_repeats(AUGMENT_CIFAR);
    check_repeats(AUGMENT_CIFAR + STRONG_OF(ALL_OPERATIONS));
    check_repeats(AUGMENT_DARKNET + STRONG_OF(ALL_OPERATIONS));
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_cifar),  TEST(test_other_sizes),           TEST(test_colours),
        TEST(test_strong), TEST(test_strong_is_independent), TEST(test_repeats),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
