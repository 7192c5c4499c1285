/*
 * Proves plugin/data/annotations.c: what it reads of COCO's instances JSON, and
 * that everything that is none ends in one line that names the file, the place
 * or the id, what was found and what was expected.
 *
 * To add bad input: a line in `bad`.
 */
#include "nets.h"

#include "data/annotations.h"

#define IMAGES                                                                                 \
    "\"images\":[{\"id\":7,\"file_name\":\"COCO_val_7.jpg\"},{\"id\":3},{\"id\":"              \
    "9007199254740991}]"
#define CATEGORIES "\"categories\":[{\"id\":90,\"name\":\"b\"},{\"id\":1,\"name\":\"a\"}]"
#define TRUTHS(list) "{" IMAGES "," CATEGORIES ",\"annotations\":[" list "]}"
#define TRUTH(id, rest) "{\"id\":" #id "," rest "}"
#define PLACE "\"image_id\":3,\"category_id\":90,"

static annotations read_text_of(const char *text, int classes)
{
    char *file = write_text("instances.json", text);
    annotations a = read_annotations(file, classes);
    free(file);
    return a;
}

static void assert_box(const ap_box *b, long image, int class, double x, double y, double w,
                       double h, int crowd)
{
    assert_int_equal(b->image, image);
    assert_int_equal(b->class, class);
    assert_true(b->x == x && b->y == y && b->w == w && b->h == h);
    assert_int_equal(b->crowd, crowd);
}

static void test_reads_what_counts(void)
{
    annotations a = read_text_of(
        "\xef\xbb\xbf{\"info\":{\"year\":2017},\"licenses\":[],\r\n" IMAGES "," CATEGORIES
        ",\"annotations\":["
        "{\"segmentation\":[[1,2,3]],\"area\":1,\"iscrowd\":0,\"image_id\":7,"
        "\"bbox\":[-1.5,2,30.25,4e1],\"category_id\":1,\"id\":12},"
        "{\"segmentation\":{\"counts\":[1,2],\"size\":[3,4]},\"iscrowd\":1,\"image_id\":3,"
        "\"bbox\":[0,0,0,0.1],\"category_id\":90,\"id\":0},"
        "{\"id\":9007199254740991,\"image_id\":9007199254740991,\"category_id\":90,"
        "\"bbox\":[1,2,3,4],\"iscrowd\":true}]}\n",
        2);
    assert_int_equal(a.images, 3);
    assert_int_equal(a.ids[0], 3);
    assert_int_equal(a.ids[1], 7);
    assert_int_equal(a.ids[2], 9007199254740991);
    assert_int_equal(a.classes, 2);
    assert_int_equal(a.categories[0], 1);
    assert_int_equal(a.categories[1], 90);
    assert_int_equal(a.truths.n, 3);
    assert_box(a.truths.boxes + 0, 7, 0, -1.5, 2, 30.25, 40, 0);
    assert_box(a.truths.boxes + 1, 3, 1, 0, 0, 0, .1, 1);
    assert_box(a.truths.boxes + 2, 9007199254740991, 1, 1, 2, 3, 4, 1);
    free_annotations(a);
}

static void test_has_image(void)
{
    annotations a = read_text_of(TRUTHS(""), 2);
    assert_int_equal(a.truths.n, 0);
    assert_true(has_image(&a, 3) && has_image(&a, 7) && has_image(&a, 9007199254740991));
    assert_false(has_image(&a, 1) || has_image(&a, 5) || has_image(&a, 8) || has_image(&a, -3));
    free_annotations(a);
    a = read_text_of("{\"images\":[],\"annotations\":[]," CATEGORIES "}", 2);
    assert_false(has_image(&a, 0));
    free_annotations(a);
}

/* Longer than what is read at once. */
static void test_long_file(void)
{
    int n = 5000;
    char *text = kd_calloc(n + 1, 80), *end = text;
    end += sprintf(end, "{" IMAGES "," CATEGORIES ",\"annotations\":[");
    for (int i = 0; i < n; ++i)
        end +=
            sprintf(end, "%s{\"id\":%d," PLACE "\"bbox\":[%d,0,1,1]}", i ? "," : "", n - i, i);
    strcpy(end, "]}");
    annotations a = read_text_of(text, 2);
    assert_int_equal(a.truths.n, n);
    for (int i = 0; i < n; ++i) assert_box(a.truths.boxes + i, 3, 1, i, 0, 1, 1, 0);
    free_annotations(a);
    free(text);
}

/* ---- bad input ---------------------------------------------------------- */

typedef struct {
    const char *text, *found, *expected;
} bad_file;

static const bad_file bad[] = {
    {"", "line 1, byte 1: ", "JSON"},
    {"\x89PNG", "line 1, byte 1: ", "JSON"},
    {"{\"images\":[\n{\"id\":1},\n{\"id\" 2}]}", "line 3, byte 7: ", "JSON"},
    {TRUTHS("") "\n{", "line 2, byte 1: ", "JSON"},
    {"{\"images\":[{\"id\":1}", "line 1, byte 20: ", "JSON"},
    {TRUTHS(TRUTH(1, PLACE "\"bbox\":[NaN,0,1,1]")), "line 1, byte ", "JSON"},
    {"[]", "\"annotations\"", "COCO's instances JSON"},
    {"7", "\"annotations\"", "COCO's instances JSON"},
    {"{\"annotations\":[]," CATEGORIES "}", "\"images\"", "COCO's instances JSON"},
    {"{\"annotations\":[],\"images\":{}}", "\"images\"", "COCO's instances JSON"},
    {"{\"annotations\":[],\"images\":[]}", "\"categories\"", "COCO's instances JSON"},

    {"{\"annotations\":[],\"images\":[{\"id\":1},{}]," CATEGORIES "}",
     "image 2 of the list: id: found nothing", "whole number from 0 to 9007199254740991"},
    {"{\"annotations\":[],\"images\":[5]," CATEGORIES "}",
     "image 1 of the list: id: found nothing", "whole number"},
    {"{\"annotations\":[],\"images\":[{\"id\":\"000139\"}]," CATEGORIES "}",
     "image 1 of the list: id: found \"000139\"", "whole number"},
    {"{\"annotations\":[],\"images\":[{\"id\":1.5}]," CATEGORIES "}", "found 1.5",
     "whole number"},
    {"{\"annotations\":[],\"images\":[{\"id\":-1}]," CATEGORIES "}", "found -1",
     "whole number"},
    {"{\"annotations\":[],\"images\":[{\"id\":9007199254740993}]," CATEGORIES "}",
     "found 9.00719925474099e+15", "whole number"},
    {"{\"annotations\":[],\"images\":[{\"id\":4},{\"id\":2},{\"id\":4}]," CATEGORIES "}",
     "image 4: found twice", "expected once"},

    {"{\"annotations\":[],\"images\":[{\"id\":2,\"file_name\":\"cam_1.jpg\"}]," CATEGORIES "}",
     "image 2: file_name: found cam_1.jpg", "ends in the id"},
    {"{" IMAGES ",\"annotations\":[],\"categories\":[{\"id\":1}]}", "1 categories",
     "expected 2, the number of classes"},
    {"{" IMAGES ",\"annotations\":[],\"categories\":[{\"id\":1},{\"id\":2},{\"id\":3}]}",
     "3 categories", "expected 2, the number of classes"},
    {"{" IMAGES ",\"annotations\":[],\"categories\":[{\"id\":1},{\"id\":1}]}",
     "category 1: found twice", "expected once"},
    {"{" IMAGES ",\"annotations\":[],\"categories\":[{\"id\":1},{\"name\":\"b\"}]}",
     "category 2 of the list: id: found nothing", "whole number from 0 to 2147483647"},
    {"{" IMAGES ",\"annotations\":[],\"categories\":[{\"id\":1},{\"id\":2147483648}]}",
     "category 2 of the list: id: found 2147483648", "whole number"},

    {TRUTHS("{" PLACE "\"bbox\":[0,0,1,1]}"), "annotation 1 of the list: id: found nothing",
     "whole number"},
    {TRUTHS("null"), "annotation 1 of the list: id: found nothing", "whole number"},
    {TRUTHS(TRUTH(5, PLACE "\"bbox\":[0,0,1,1]") "," TRUTH(5, PLACE "\"bbox\":[0,0,1,1]")),
     "annotation 5: found twice", "expected once"},
    {TRUTHS(TRUTH(17, "\"category_id\":90,\"bbox\":[0,0,1,1]")),
     "annotation 17: image_id: found nothing", "whole number"},
    {TRUTHS(TRUTH(17, "\"image_id\":4,\"category_id\":90,\"bbox\":[0,0,1,1]")),
     "annotation 17: image_id: found 4", "list of images"},
    {TRUTHS(TRUTH(17, "\"image_id\":3,\"bbox\":[0,0,1,1]")),
     "annotation 17: category_id: found nothing", "whole number"},
    {TRUTHS(TRUTH(17, "\"image_id\":3,\"category_id\":2,\"bbox\":[0,0,1,1]")),
     "annotation 17: category_id: found 2", "list of categories"},
    {TRUTHS(TRUTH(17, "\"image_id\":3,\"category_id\":91,\"bbox\":[0,0,1,1]")),
     "annotation 17: category_id: found 91", "list of categories"},
    {TRUTHS(TRUTH(17, PLACE "\"area\":1")), "annotation 17: bbox: found nothing",
     "four finite numbers"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,1]")), "annotation 17: bbox: found [0,0,1]",
     "four finite numbers"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,1,1,1]")), "annotation 17: bbox: found [0,0,1,1,1]",
     "four finite numbers"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,1,\"1\"]")),
     "annotation 17: bbox: found [0,0,1,\"1\"]", "four finite numbers"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,1e999,1,1]")), "annotation 17: bbox: found [0,",
     "four finite numbers"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":{\"x\":0,\"y\":0,\"w\":1,\"h\":1}")),
     "annotation 17: bbox: found {\"x\"", "four finite numbers"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,-1,1]")), "annotation 17: bbox: found [0,0,-1,1]",
     "not below 0"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,1,-0.5]")),
     "annotation 17: bbox: found [0,0,1,-0.5]", "not below 0"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,1,1],\"iscrowd\":2")),
     "annotation 17: iscrowd: found 2", "0 or 1"},
    {TRUTHS(TRUTH(17, PLACE "\"bbox\":[0,0,1,1],\"iscrowd\":\"1\"")),
     "annotation 17: iscrowd: found \"1\"", "0 or 1"},
};

static void read_bad(void *file)
{
    read_annotations(file, 2);
}

static void test_bad_input(void)
{
    for (int i = 0; i < COUNT(bad); ++i) {
        char *file = write_text("bad.json", bad[i].text);
        ASSERT_FAILS(read_bad, file, file, bad[i].found, bad[i].expected);
        free(file);
    }
}

static void test_zero_byte(void)
{
    const char text[] = TRUTHS("") "\0 {";
    char *file = write_bytes("bad.json", text, sizeof(text) - 1);
    ASSERT_FAILS(read_bad, file, file, "line 1, byte ", "JSON");
    free(file);
}

static void test_no_file(void)
{
    char *file = nets_file("missing.json");
    ASSERT_FAILS(read_bad, file, file, "No such file");
    free(file);
    ASSERT_FAILS(read_bad, nets_folder, nets_folder, "directory");
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_reads_what_counts), TEST(test_has_image), TEST(test_long_file),
        TEST(test_bad_input),         TEST(test_zero_byte), TEST(test_no_file),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
