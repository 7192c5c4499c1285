/* See lists.h. */
#include "data/lists.h"
#include "support.h"

#include "utils.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int find_target(const char *file, const char *path, char **labels, int classes)
{
    int target = -1;
    for (int j = 0; j < classes; ++j) {
        if (!strstr(path, labels[j])) continue;
        if (target >= 0)
            kd_fail("%s: %s: found the labels %s and %s in it, expected one", file, path,
                    labels[target], labels[j]);
        target = j;
    }
    if (target < 0) kd_fail("%s: %s: found no label in it, expected one", file, path);
    return target;
}

/* file: the list that names it, or NULL */
static void check_image_file(const char *file, const char *path)
{
    struct stat info;
    const char *colon = file ? ": " : "";
    if (!file) file = "";
    if (stat(path, &info)) kd_fail("%s%s%s: %s", file, colon, path, strerror(errno));
    if (!S_ISREG(info.st_mode) || !info.st_size)
        kd_fail("%s%s%s: found %s, expected an image", file, colon, path,
                S_ISREG(info.st_mode) ? "an empty file" : "no file");
}

char **read_names(char *file, int classes)
{
    list *lines = get_paths(file);
    if (lines->size != classes)
        kd_fail("%s: found %d labels, expected %d (classes= of the data file)", file,
                lines->size, classes);
    char **labels = (char **)list_to_array(lines);
    free_list(lines);
    for (int j = 0; j < classes; ++j)
        if (!*labels[j]) kd_fail("%s: line %d: found nothing, expected a label", file, j + 1);
    return labels;
}

image_list read_paths(char *list_file)
{
    list *lines = get_paths(list_file);
    image_list images = {(char **)list_to_array(lines), 0, 0, lines->size, 0};
    free_list(lines);
    for (int i = 0; i < images.n; ++i) {
        if (!*images.paths[i])
            kd_fail("%s: line %d: found nothing, expected an image", list_file, i + 1);
        check_image_file(list_file, images.paths[i]);
    }
    return images;
}

image_list one_path(const char *image)
{
    image_list images = {kd_calloc(1, sizeof(char *)), 0, 0, 1, 0};
    check_image_file(0, image);
    *images.paths = kd_copy(image);
    return images;
}

image_list read_image_list(char *list_file, char *label_file, int classes)
{
    char **labels = read_names(label_file, classes);
    image_list images = read_paths(list_file);
    images.targets = kd_calloc(images.n, sizeof(int));
    for (int i = 0; i < images.n; ++i)
        images.targets[i] = find_target(list_file, images.paths[i], labels, classes);
    free_ptrs((void **)labels, classes);
    return images;
}

/* May the image be without a label file? */
static int needs_no_labels(char *path, const char *label_file, const annotations *known)
{
    long id = coco_image_id(path);
    return access(label_file, F_OK) && known && has_image(known, id) && !has_truths(known, id);
}

image_list read_box_list(char *list_file, int classes, int most, const annotations *known)
{
    image_list images = read_paths(list_file);
    images.labels = kd_calloc(images.n, sizeof(image_labels));
    for (int i = 0; i < images.n; ++i) {
        char *file = label_path(images.paths[i]);
        if (!needs_no_labels(images.paths[i], file, known)) {
            if (access(file, F_OK) && errno == ENOENT)
                kd_fail("%s: No such file or directory, nor is there one beside the image: "
                        "expected its boxes, or an empty file for none",
                        file);
            images.labels[i] = read_labels(file, classes, most);
        }
        free(file);
    }
    return images;
}

void announce_empty(const char *list_file, const image_list *images)
{
    int empty = 0;
    for (int i = 0; i < images->n; ++i) empty += !images->labels[i].n;
    if (empty) printf("%s: %d of %d images without objects\n", list_file, empty, images->n);
}

/* To n items, the new ones 0 */
static void *extend(void *array, size_t had, size_t n, size_t size)
{
    char *longer = kd_calloc(n, size);
    memcpy(longer, array, had * size);
    free(array);
    return longer;
}

void append_unlabelled(image_list *images, char *list_file)
{
    image_list more = read_paths(list_file);
    int had = images->n, n = had + more.n;
    images->paths = extend(images->paths, had, n, sizeof(char *));
    memcpy(images->paths + had, more.paths, more.n * sizeof(char *));
    if (images->targets) images->targets = extend(images->targets, had, n, sizeof(int));
    if (images->labels) images->labels = extend(images->labels, had, n, sizeof(image_labels));
    images->n = n;
    images->unlabelled += more.n;
    free(more.paths);
}

uint64_t hash_list(const image_list *list)
{
    uint64_t hash = KD_HASH_START;
    for (int i = 0; i < list->n; ++i)
        hash = kd_hash(hash, list->paths[i], strlen(list->paths[i]) + 1);
    if (list->targets) hash = kd_hash(hash, list->targets, list->n * sizeof(int));
    for (int i = 0; list->labels && i < list->n; ++i)
        hash = kd_hash(hash, list->labels[i].boxes, list->labels[i].n * sizeof(labelled_box));
    if (list->unlabelled) hash = kd_hash(hash, &list->unlabelled, sizeof(int));
    return hash;
}
