/*
 * Proves labels.c and the reading of a detector's list of images:
 *   - what a label file says is what is read, whatever blanks and line ends it has;
 *   - boxes that reach beyond the image are clipped, those without an area are left out, and
 *     one line says so; what is no box, no class of the net, or too much is an error;
 *   - an image without a label file is an error, unless the annotations know it.
 *
 * To add a rule: a line in `good`, `repaired` or `wrong`.
 */
#include "nets.h"

#include "data/loader.h"

#define CLIPPED ": 1 boxes beyond the image clipped (line 1: "
#define EXPECTED "): expected sizes above 0, to 1\n"
#define EMPTY(size) ": 1 boxes of size 0 left out (line 1: " size EXPECTED
#define NEGATIVE(size) ": 1 boxes of negative size left out (line 1: " size EXPECTED
#define TINY(size) ": 1 boxes of less than a float can tell left out (line 1: " size EXPECTED
#define CLASSES 5
#define MOST 4

typedef struct {
    const char *file;
    int classes, most;
} label_file;

static void read_in_child(void *argument)
{
    const label_file *f = argument;
    read_labels(f->file, f->classes, f->most);
}

static image_labels read_text(const char *text)
{
    char *file = write_text("image.txt", text);
    silence();
    image_labels labels = read_labels(file, CLASSES, MOST);
    speak();
    free(file);
    return labels;
}

static void assert_box(labelled_box b, double x, double y, double w, double h, int class)
{
    const double found[] = {b.x, b.y, b.w, b.h}, want[] = {x, y, w, h};
    for (int i = 0; i < 4; ++i)
        if (!(fabs(found[i] - want[i]) < 1e-6))
            fail_msg("found %g %g %g %g, expected %g %g %g %g", b.x, b.y, b.w, b.h, x, y, w, h);
    assert_int_equal(b.class, class);
}

/* All of them say: class 3 at .5 .25, .4 x .3; class 0 at .1 .9, .05 x .125 */
static void test_good_files(void)
{
    static const char *const good[] = {
        "3 .5 .25 .4 .3\n0 .1 .9 .05 .125\n",
        "3 0.5 0.25 0.4 0.3\n0 0.1 0.9 0.05 0.125",
        "3 .5 .25 .4 .3\r\n0 .1 .9 .05 .125\r\n",
        "3\t.5\t.25  .4 .3 \n\n \t\n  0 .1 .9 .05 .125\n\n",
        "3.0 5e-1 25e-2 .4 .3\n0 +.1 .9 .05 .125\n",
    };
    for (int i = 0; i < COUNT(good); ++i) {
        image_labels l = read_text(good[i]);
        assert_int_equal(l.n, 2);
        assert_box(l.boxes[0], .5, .25, .4, .3, 3);
        assert_box(l.boxes[1], .1, .9, .05, .125, 0);
        free(l.boxes);
    }
}

static void test_files_without_boxes(void)
{
    static const char *const empty[] = {"", "\n", " \n\t\n", "\r\n\r\n", "\n\n\n"};
    static char text[1 << 12];
    for (int i = 0; i < COUNT(empty); ++i) {
        image_labels l = read_text(empty[i]);
        assert_int_equal(l.n, 0);
        free(l.boxes);
        label_file f = {nets_file("image.txt"), CLASSES, MOST};
        assert_int_equal(run_child(read_in_child, &f, text, sizeof(text)), 0);
        assert_string_equal(text, "");
    }
}

/* One line each, of which `boxes` stay; the first of them is the box. */
static const struct {
    const char *line;
    int boxes;
    double x, y, w, h;
    const char *said;
} repaired[] = {
    {"1 .9 .5 .4 .2", 1, .85, .5, .3, .2, CLIPPED},
    {"1 .1 .5 .4 .2", 1, .15, .5, .3, .2, CLIPPED},
    {"1 .5 .95 .2 .3", 1, .5, .9, .2, .2, CLIPPED},
    {"1 .5 .05 .2 .3", 1, .5, .1, .2, .2, CLIPPED},
    {"1 .5 .5 2 3", 1, .5, .5, 1, 1, CLIPPED},
    {"1 .5 .5 1e300 .3", 1, .5, .5, 1, .3, CLIPPED},
    {"1 0 1 .2 .4", 1, .05, .9, .1, .2, CLIPPED},
    {"1 .5 .5 1.0005 .2", 1, .5, .5, 1, .2, ""}, /* rounded to a few digits */
    {"1 .8001 .5 .4 .2", 1, .80005, .5, .3999, .2, ""},
    {"1 .5 .5 1 1", 1, .5, .5, 1, 1, ""},
    {"1 .5 .5 0 .2", 0, 0, 0, 0, 0, EMPTY("0 x 0.2")},
    {"1 .5 .5 .2 0", 0, 0, 0, 0, 0, EMPTY("0.2 x 0")},
    {"1 .5 .5 -.2 .2", 0, 0, 0, 0, 0, NEGATIVE("-0.2 x 0.2")},
    {"1 .5 .5 .2 -3", 0, 0, 0, 0, 0, NEGATIVE("0.2 x -3")},
    {"1 .5 .5 0 -3", 0, 0, 0, 0, 0, NEGATIVE("0 x -3")},
    {"1 .5 .5 1e-9 .2", 0, 0, 0, 0, 0, TINY("1e-09 x 0.2")},
    {"1 1 .5 .2 1e-40", 0, 0, 0, 0, 0, TINY("0.2 x 1e-40")},
    {"1 .9 .5 .4 .2\n2 .5 .5 0 1\n2 .5 .5 .1 .1\n3 .1 .1 .4 .4\n3 .1 .1 0 0\n", 3, .85, .5, .3,
     .2,
     ": 2 boxes beyond the image clipped (line 1: 0.4 x 0.2), 2 boxes of size 0 left out "
     "(line 2: 0 x 1" EXPECTED},
    {"1 .9 .5 .4 .2\n\n2 .5 .5 0 1\n2 .5 .5 -1 1\n2 .5 .5 1 -2\n", 1, .85, .5, .3, .2,
     ": 1 boxes beyond the image clipped (line 1: 0.4 x 0.2), 2 boxes of negative size left "
     "out (line 4: -1 x 1), 1 boxes of size 0 left out (line 3: 0 x 1" EXPECTED},
};

static void test_repaired_boxes(void)
{
    static char text[1 << 12];
    for (int i = 0; i < COUNT(repaired); ++i) {
        image_labels l = read_text(repaired[i].line);
        if (l.n != repaired[i].boxes) fail_msg("%s: %d boxes", repaired[i].line, l.n);
        if (l.n)
            assert_box(l.boxes[0], repaired[i].x, repaired[i].y, repaired[i].w, repaired[i].h,
                       1);
        free(l.boxes);
        label_file f = {nets_file("image.txt"), CLASSES, MOST};
        assert_int_equal(run_child(read_in_child, &f, text, sizeof(text)), 0);
        if (*repaired[i].said) {
            assert_non_null(strstr(text, f.file));
            assert_non_null(strstr(text, repaired[i].said));
            assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
        } else assert_string_equal(text, "");
    }
}

static const char five[] = "expected five numbers: class x y width height";

static const struct {
    const char *text, *found, *expected;
} wrong[] = {
    {"1 .5 .5 .2 .2\n1 .5 .5 .2\n", "line 2: 1 .5 .5 .2:", five},
    {"1 .5 .5 .2 .2 .9\n", "line 1: 1 .5 .5 .2 .2 .9:", five},
    {"\n\n1 .5 .5 .2 x\n", "line 3: 1 .5 .5 .2 x:", five},
    {"garment .5 .5 .2 .2\n", "line 1: garment", five},
    {"1,.5,.5,.2,.2\n", "line 1: 1,.5", five},
    {"1 .5 .5 .2.3\n", "line 1:", five},
    {"1 .5.5 .2.3\n", "line 1:", five},
    {"1 .5 .5.2 .3 .4\n", "line 1:", five},
    {"1 nan .5 .2 .2\n", "line 1: 1 nan .5", five},
    {"1 .5 .5 inf .2\n", "line 1: 1 .5 .5 inf", five},
    {"1 .5 .5 .2 1e999\n", "line 1:", five},
    {"nan .5 .5 .2 .2\n", "line 1:", five},
    {"-1 .5 .5 .2 .2\n", "line 1: class -1:", "expected a whole number from 0 to 4"},
    {"0 .5 .5 .2 .2\n5 .5 .5 .2 .2\n", "line 2: class 5:", "from 0 to 4"},
    {"1.5 .5 .5 .2 .2\n", "line 1: class 1.5:", "from 0 to 4"},
    {"1e10 .5 .5 .2 .2\n", "line 1: class 1e+10:", "from 0 to 4"},
    {"1 1.01 .5 .2 .2\n", "line 1: centre at 1.01 0.5:", "shares of the image, from 0 to 1"},
    {"1 .5 -.01 .2 .2\n", "line 1: centre at 0.5 -0.01:", "from 0 to 1"},
    {"1 320 240 50 80\n", "line 1: centre at 320 240:", "shares of the image"},
};

static void test_wrong_lines(void)
{
    for (int i = 0; i < COUNT(wrong); ++i) {
        label_file f = {write_text("wrong.txt", wrong[i].text), CLASSES, MOST};
        ASSERT_FAILS(read_in_child, &f, f.file, wrong[i].found, wrong[i].expected);
        free((char *)f.file);
    }
}

static void test_too_many_boxes(void)
{
    char text[1024] = "";
    for (int i = 0; i < MOST; ++i) strcat(text, "1 .5 .5 .2 .2\n");
    image_labels l = read_text(join("2 .5 .5 0 .2\n", text, "")); /* MOST with an area */
    assert_int_equal(l.n, MOST);
    free(l.boxes);
    label_file f = {write_text("many.txt", join(text, "4 .1 .1 .2 .2\n", "")), CLASSES, MOST};
    ASSERT_FAILS(read_in_child, &f, f.file, "found 5 boxes, expected at most 4", "max=");
    free((char *)f.file);
}

static void test_files_that_are_none(void)
{
    label_file f = {nets_file("missing.txt"), CLASSES, MOST};
    ASSERT_FAILS(read_in_child, &f, f.file);
    f.file = nets_folder;
    ASSERT_FAILS(read_in_child, &f, nets_folder);
}

/* ---- lists of images ---------------------------------------------------- */

/* Images 7, 8 and 9 of COCO; 7 has labels, 8 an empty file of them, 9 none. */
static char *write_images(void)
{
    char list[512] = "";
    for (int id = 7; id <= 9; ++id) {
        char name[64];
        snprintf(name, sizeof(name), "COCO_val2014_%012d.ppm", id);
        char *path = write_text(name, "P6\n1 1\n255\nabc");
        strcat(strcat(list, path), "\n");
        free(path);
    }
    free(write_text("COCO_val2014_000000000007.txt", "1 .5 .5 .2 .2\n2 .5 .5 .3 .3\n"));
    free(write_text("COCO_val2014_000000000008.txt", ""));
    return write_text("images.list", list);
}

typedef struct {
    char *list;
    const annotations *known;
} box_list;

static void read_list_in_child(void *argument)
{
    const box_list *b = argument;
    dup2(2, 1);
    image_list list = read_box_list(b->list, CLASSES, MOST, b->known);
    announce_empty(b->list, &list);
    fflush(stdout);
}

static void test_box_lists(void)
{
    static char text[1 << 12];
    long all[] = {7, 8, 9}, some[] = {7, 8};
    const annotations known = {.ids = all, .images = 3}, unknown = {.ids = some, .images = 2};
    box_list b = {write_images(), &known};
    image_list list = read_box_list(b.list, CLASSES, MOST, &known);
    assert_int_equal(list.n, 3);
    assert_null(list.targets);
    assert_int_equal(list.labels[0].n, 2);
    assert_int_equal(list.labels[0].boxes[1].class, 2);
    assert_int_equal(list.labels[1].n, 0);
    assert_int_equal(list.labels[2].n, 0);
    assert_non_null(strstr(list.paths[2], "COCO_val2014_000000000009.ppm"));
    assert_int_equal(run_child(read_list_in_child, &b, text, sizeof(text)), 0);
    assert_non_null(strstr(text, "images.list: 2 of 3 images without objects\n"));

    const char missing[] = "COCO_val2014_000000000009.txt";
    b.known = 0;
    ASSERT_FAILS(read_list_in_child, &b, missing);
    b.known = &unknown;
    ASSERT_FAILS(read_list_in_child, &b, missing);
    free(write_text("COCO_val2014_000000000008.txt", "9 .5 .5 .2 .2\n"));
    b.known = &known; /* what is there must be right */
    ASSERT_FAILS(read_list_in_child, &b, "COCO_val2014_000000000008.txt", "line 1: class 9");
    free(b.list);
}

/* Windows' line ends are none of the path; what is no image is found at once. */
static void test_wrong_lists(void)
{
    char *image = write_text("one.ppm", "P6\n1 1\n255\nabc");
    char *empty = write_text("empty.ppm", ""), *missing = nets_file("no.ppm");
    free(write_text("one.txt", "1 .5 .5 .2 .2"));
    free(write_text("empty.txt", ""));
    char *windows = write_text("windows.list", join(image, "\r\n", join(image, "\r\n", "")));
    image_list list = read_box_list(windows, CLASSES, MOST, 0);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.paths[1], image);
    assert_int_equal(list.labels[1].n, 1);

    const char *const lists[] = {"", "\n", join(image, "\n\n", image), join(empty, "\n", ""),
                                 join(missing, "\n", "")};
    const char *const found[] = {"wrong.list", "wrong.list", "line 2", empty, missing};
    for (int i = 0; i < COUNT(lists); ++i) {
        box_list b = {write_text("wrong.list", lists[i]), 0};
        ASSERT_FAILS(read_list_in_child, &b, b.list, found[i]);
        free(b.list);
    }
    box_list b = {missing, 0};
    ASSERT_FAILS(read_list_in_child, &b, missing);
    free(image), free(empty), free(missing), free(windows);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_good_files),  TEST(test_files_without_boxes), TEST(test_repaired_boxes),
        TEST(test_wrong_lines), TEST(test_too_many_boxes),      TEST(test_files_that_are_none),
        TEST(test_box_lists),   TEST(test_wrong_lists),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
