/* See annotations.h. */
#include "data/annotations.h"
#include "support.h"

#include "utils.h"

#ifdef CJSON
#include <cjson/cJSON.h>
#endif
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#define ID_END 9007199254740992.0 /* 2^53: from here on doubles, JSON's numbers, skip some */
#define CATEGORY_END (INT_MAX + 1.0)

int compare_ids(const void *pa, const void *pb)
{
    long a = *(const long *)pa, b = *(const long *)pb;
    return a < b ? -1 : a > b;
}

#ifdef CJSON

/* The whole file with a zero byte behind it; *n without that. */
static char *read_text(const char *file, size_t *n)
{
    FILE *fp = fopen(file, "rb");
    if (!fp) file_error((char *)file);
    size_t size = 1 << 16, got;
    char *text = kd_calloc(size, 1);
    *n = 0;
    while ((got = fread(text + *n, 1, size - 1 - *n, fp)) > 0) {
        *n += got;
        if (*n < size - 1) continue;
        size *= 2;
        text = realloc(text, size);
        if (!text) kd_fail("%s: out of memory: %zu bytes", file, size);
    }
    if (ferror(fp)) file_error((char *)file);
    fclose(fp);
    text[*n] = 0;
    return text;
}

static cJSON *parse(const char *file)
{
    size_t n;
    char *text = read_text(file, &n);
    const char *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, n + 1, &end, 1);
    if (!root) {
        int line = 1, column = 1;
        for (const char *c = text; c < end; ++c) {
            column = *c == '\n' ? 1 : column + 1;
            line += *c == '\n';
        }
        kd_fail("%s: line %d, byte %d: found no JSON: expected COCO's instances JSON", file,
                line, column);
    }
    free(text);
    return root;
}

static const cJSON *get_list(const char *file, const cJSON *root, const char *name)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, name);
    if (!cJSON_IsArray(list))
        kd_fail("%s: found no list \"%s\": expected COCO's instances JSON", file, name);
    return list;
}

/* An item as text, for the message before an exit. */
static const char *show(const cJSON *item)
{
    const char *text = item ? cJSON_PrintUnformatted(item) : "nothing";
    return text ? text : "?";
}

/* `what` is what the item is, for messages: "annotation 3". */
static long get_id(const char *file, const char *what, const cJSON *item, const char *key,
                   double end)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(item, key);
    double value = cJSON_IsNumber(number) ? number->valuedouble : -1;
    if (!(value >= 0 && value < end && floor(value) == value))
        kd_fail("%s: %s: %s: found %.60s: expected a whole number from 0 to %.0f", file, what,
                key, show(number), end - 1);
    return (long)value;
}

/* The ids of a list's items, ascending; `kind` is what each is, for messages. */
static long *get_ids(const char *file, const char *kind, const cJSON *list, double end, int *n)
{
    long *ids = kd_calloc(cJSON_GetArraySize(list), sizeof(*ids));
    const cJSON *item;
    *n = 0;
    cJSON_ArrayForEach(item, list)
    {
        char what[64];
        snprintf(what, sizeof(what), "%s %d of the list", kind, *n + 1);
        ids[(*n)++] = get_id(file, what, item, "id", end);
    }
    qsort(ids, *n, sizeof(*ids), compare_ids);
    for (int i = 1; i < *n; ++i)
        if (ids[i] == ids[i - 1])
            kd_fail("%s: %s %ld: found twice: expected once", file, kind, ids[i]);
    return ids;
}

static void get_categories(annotations *a, const char *file, const cJSON *list)
{
    int n;
    long *ids = get_ids(file, "category", list, CATEGORY_END, &n);
    if (n != a->classes)
        kd_fail("%s: found %d categories: expected %d, the number of classes", file, n,
                a->classes);
    a->categories = kd_calloc(n, sizeof(*a->categories));
    for (int i = 0; i < n; ++i) a->categories[i] = (int)ids[i];
    free(ids);
}

/* Images are found by the id in their name. */
static void check_name(const char *file, const cJSON *item)
{
    char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "file_name"));
    long id = (long)cJSON_GetObjectItemCaseSensitive(item, "id")->valuedouble;
    if (name && coco_image_id(name) != id)
        kd_fail(
            "%s: image %ld: file_name: found %.200s: expected a name that ends in the id, as "
            "COCO's do",
            file, id, name);
}

/* -1: no class has this category */
static int class_of(const annotations *a, long category)
{
    int class = 0;
    while (class < a->classes && a->categories[class] < category) ++class;
    return class < a->classes && a->categories[class] == category ? class : -1;
}

static void get_bbox(const char *file, const char *what, const cJSON *item, ap_box *box)
{
    double *const fields[] = {&box->x, &box->y, &box->w, &box->h};
    const cJSON *bbox = cJSON_GetObjectItemCaseSensitive(item, "bbox");
    int good = cJSON_IsArray(bbox) && cJSON_GetArraySize(bbox) == 4;
    for (int i = 0; good && i < 4; ++i) {
        const cJSON *number = cJSON_GetArrayItem(bbox, i);
        *fields[i] = cJSON_IsNumber(number) ? number->valuedouble : NAN;
        good = isfinite(*fields[i]);
    }
    if (!good)
        kd_fail("%s: %s: bbox: found %.60s: expected four finite numbers", file, what,
                show(bbox));
    if (box->w < 0 || box->h < 0)
        kd_fail("%s: %s: bbox: found %.60s: expected a width and a height not below 0", file,
                what, show(bbox));
}

static int get_crowd(const char *file, const char *what, const cJSON *item)
{
    const cJSON *crowd = cJSON_GetObjectItemCaseSensitive(item, "iscrowd");
    double value = cJSON_IsNumber(crowd) ? crowd->valuedouble : -1;
    if (!crowd || cJSON_IsFalse(crowd)) value = 0;
    if (cJSON_IsTrue(crowd)) value = 1;
    if (value != 0 && value != 1)
        kd_fail("%s: %s: iscrowd: found %.60s: expected 0 or 1", file, what, show(crowd));
    return value == 1;
}

static ap_box get_truth(const annotations *a, const char *file, const cJSON *item)
{
    char what[64];
    ap_box box = {0};
    snprintf(what, sizeof(what), "annotation %ld",
             get_id(file, "annotation", item, "id", ID_END));
    box.image = get_id(file, what, item, "image_id", ID_END);
    if (!has_image(a, box.image))
        kd_fail("%s: %s: image_id: found %ld: expected one of the list of images", file, what,
                box.image);
    long category = get_id(file, what, item, "category_id", CATEGORY_END);
    box.class = class_of(a, category);
    if (box.class < 0)
        kd_fail("%s: %s: category_id: found %ld: expected one of the list of categories", file,
                what, category);
    get_bbox(file, what, item, &box);
    box.crowd = get_crowd(file, what, item);
    return box;
}

annotations read_annotations(const char *file, int classes)
{
    annotations a = {.classes = classes};
    cJSON *root = parse(file);
    const cJSON *truths = get_list(file, root, "annotations"), *item;
    int n;
    a.ids = get_ids(file, "image", get_list(file, root, "images"), ID_END, &a.images);
    cJSON_ArrayForEach(item, get_list(file, root, "images")) check_name(file, item);
    get_categories(&a, file, get_list(file, root, "categories"));
    free(get_ids(file, "annotation", truths, ID_END, &n)); /* none twice */
    cJSON_ArrayForEach(item, truths) ap_append(&a.truths, get_truth(&a, file, item));
    cJSON_Delete(root);
    return a;
}

#else

annotations read_annotations(const char *file, int classes)
{
    (void)classes;
    kd_fail("%s: this darknet was built with CJSON=0: expected no annotations=", file);
}

#endif

int has_truths(const annotations *a, long id)
{
    for (int i = 0; i < a->truths.n; ++i)
        if (a->truths.boxes[i].image == id && !a->truths.boxes[i].crowd) return 1;
    return 0;
}

int has_image(const annotations *a, long id)
{
    return bsearch(&id, a->ids, a->images, sizeof(id), compare_ids) != 0;
}

void free_annotations(annotations a)
{
    free(a.ids);
    free(a.truths.boxes);
    free(a.categories);
}
