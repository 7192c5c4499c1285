/*
 * Proves plugin/data/strong.c, what makes an image's strong view:
 *   - each operation and the cutout are, to the byte, torchvision's and Pillow's
 *     (tests/reference/strong_vectors.txt);
 *   - two operations and a cutout are drawn, from those allowed, and repeat by the seed;
 *   - operations are known by their names, and by no others.
 *
 * Run it from the root of the sources, or with ROOT set to it.
 */
#include "check.h"

#include "data/strong.h"

#include "utils.h"

#define MOST_BYTES 4096

static int hex(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void read_bytes(FILE *file, unsigned char *bytes, int n)
{
    static char text[2 * MOST_BYTES + 1];
    assert_true(n <= MOST_BYTES);
    assert_int_equal(fscanf(file, " %8192s", text), 1);
    assert_int_equal(strlen(text), 2 * n);
    for (int i = 0; i < n; ++i) bytes[i] = hex(text[2 * i]) * 16 + hex(text[2 * i + 1]);
}

static operation operation_named(const char *name)
{
    const char *unknown;
    unsigned bits = find_operations(name, &unknown);
    assert_that(!unknown && bits, "%s: is no operation", name);
    operation which = 0;
    while (bits >>= 1) ++which;
    return which;
}

/* 0 at the end of the file; done: counts by operation, the last is the cutout's */
static int check_case(FILE *file, int done[OPERATIONS + 1])
{
    char name[32];
    double v, x, y;
    unsigned char bytes[MOST_BYTES], want[MOST_BYTES];
    byte_image im = {.bytes = bytes};
    int got = fscanf(file, " %31s %lf %lf %lf %d %d", name, &v, &x, &y, &im.w, &im.h);
    if (got == EOF) return 0;
    assert_int_equal(got, 6);
    int n = im.w * im.h * 3, worst = 0, is_cut = !strcmp(name, "cut_out");
    read_bytes(file, bytes, n);
    read_bytes(file, want, n);
    operation which = is_cut ? OPERATIONS : operation_named(name);
    if (is_cut) cut_out(im, x, y, v);
    else apply_operation(im, which, v);
    for (int i = 0; i < n; ++i)
        if (abs(bytes[i] - want[i]) > worst) worst = abs(bytes[i] - want[i]);
    check(!worst, "%s %g of %d x %d: off by %d", name, v, im.w, im.h, worst);
    ++done[which];
    return 1;
}

static void test_vectors(void)
{
    const char *root = getenv("ROOT");
    char path[4096], line[4096];
    int count = 0, read = 0, done[OPERATIONS + 1] = {0};
    snprintf(path, sizeof(path), "%s/tests/reference/strong_vectors.txt", root ? root : ".");
    FILE *file = fopen(path, "r");
    assert_that(file, "%s: cannot be read", path);
    while (fgets(line, sizeof(line), file) && sscanf(line, "cases %d", &count) != 1) continue;
    while (check_case(file, done)) ++read;
    fclose(file);
    check(read == count && read > 0, "%d cases, its header says %d", read, count);
    for (int k = 0; k <= OPERATIONS; ++k)
        check(done[k] >= 10, "operation %d: %d cases", k, done[k]);
}

/* ---- drawn --------------------------------------------------------------- */

enum { SIDE = 32, SIZE = SIDE * SIDE * 3 };

static void draw_view(unsigned seed, unsigned allowed, unsigned char bytes[SIZE])
{
    srand(seed);
    for (int i = 0; i < SIZE; ++i) bytes[i] = i * 7 % 256;
    strengthen((byte_image){SIDE, SIDE, bytes}, allowed);
}

static void test_repeats(void)
{
    unsigned char a[SIZE], b[SIZE];
    int same = 0;
    for (unsigned seed = 0; seed < 100; ++seed) {
        draw_view(seed, ALL_OPERATIONS, a);
        draw_view(seed, ALL_OPERATIONS, b);
        assert_memory_equal(a, b, SIZE);
        draw_view(seed + 1000, ALL_OPERATIONS, b);
        same += !memcmp(a, b, SIZE);
    }
    check(same < 5, "%d of 100 seeds draw the same", same);
}

/* Of no operation but `identity` only the cutout is left: of half the side at most, one area.
 */
static void test_cutout_alone(void)
{
    double mean = 0;
    for (unsigned seed = 0; seed < 200; ++seed) {
        unsigned char bytes[SIZE];
        int grey = 0;
        draw_view(seed, 1u << IDENTITY, bytes);
        for (int i = 0; i < SIZE; i += 3) {
            int is_grey = bytes[i] == 125 && bytes[i + 1] == 123 && bytes[i + 2] == 114;
            grey += is_grey;
            check(is_grey || bytes[i] == i * 7 % 256, "seed %u: pixel %d has changed", seed,
                  i / 3);
        }
        check(grey <= (SIDE / 2 + 1) * (SIDE / 2 + 1), "seed %u: %d are grey", seed, grey);
        mean += grey / 200.;
    }
    check(mean > 40 && mean < 110, "%g pixels are cut out, on average", mean);
}

/* Every allowed operation comes, and no other: posterize leaves values of few bits, solarize
 * and so on would not. */
static void test_allowed_alone(void)
{
    for (unsigned seed = 0; seed < 100; ++seed) {
        unsigned char bytes[SIZE];
        draw_view(seed, 1u << POSTERIZE, bytes);
        for (int i = 0; i < SIZE; ++i)
            check(bytes[i] == 125 || bytes[i] == 123 || bytes[i] == 114 ||
                      (bytes[i] ^ (i * 7 % 256)) < 16,
                  "seed %u: number %d is %d", seed, i, bytes[i]);
    }
}

/* ---- names --------------------------------------------------------------- */

static void test_names(void)
{
    const char *unknown;
    char all[256], two[256];
    list_operations(ALL_OPERATIONS, all, sizeof(all));
    list_operations(1u << ROTATE | 1u << EQUALIZE, two, sizeof(two));
    check(find_operations(0, &unknown) == ALL_OPERATIONS && !unknown, "not all of them");
    check(find_operations("rotate", &unknown) == 1u << ROTATE && !unknown, "rotate");
    check(find_operations("rotate,equalize", &unknown) == (1u << ROTATE | 1u << EQUALIZE),
          "rotate,equalize");
    static const char *const wrong[] = {"",      "blur",    "rotate,", "rotate,blur",
                                        "rotat", "rotate2", ",rotate", "Rotate"};
    for (int i = 0; i < COUNT(wrong); ++i) {
        find_operations(wrong[i], &unknown);
        check(unknown, "\"%s\" is known", wrong[i]);
    }
    check(!strcmp(two, "equalize, rotate"), "found %s", two);
    check(strstr(all, "autocontrast, ") && strstr(all, "translate_y"), "found %s", all);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_vectors),       TEST(test_repeats), TEST(test_cutout_alone),
        TEST(test_allowed_alone), TEST(test_names),
    };
    run_tests(tests, COUNT(tests));
    return finish();
}
