/* See pictures.h. */
#include "run/pictures.h"
#include "run/frames.h"
#include "support.h"

#include "image.h"
#include "stb_image_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JPEG_QUALITY 80 /* as save_image's */

/* "dog, cat": the names of all classes that box i has; free */
static char *join_names(const ap_boxes *found, int i, char **names)
{
    char *text;
    size_t size;
    FILE *fp = open_memstream(&text, &size);
    if (!fp) kd_fail("out of memory");
    const ap_box *b = found->boxes + i;
    fprintf(fp, "%s", names[b->class]);
    for (int j = i + 1; j < found->n; ++j) {
        const ap_box *a = found->boxes + j;
        if (a->x == b->x && a->y == b->y && a->w == b->w && a->h == b->h)
            fprintf(fp, ", %s", names[a->class]);
    }
    if (fclose(fp)) kd_fail("out of memory");
    return text;
}

/* Width and letters follow from the image's height, as in draw_detections. */
static void draw_box_of(image im, ap_box b, char *label, int classes, image **alphabet)
{
    int width = im.h * .006, offset = b.class * 123457L % classes;
    float rgb[3];
    for (int k = 0; k < 3; ++k) rgb[k] = get_color(2 - k, offset, classes);
    int left = b.x, top = b.y, right = b.x + b.w, bottom = b.y + b.h;
    if (right > im.w - 1) right = im.w - 1;
    if (bottom > im.h - 1) bottom = im.h - 1;
    draw_box_width(im, left, top, right, bottom, width ? width : 1, rgb[0], rgb[1], rgb[2]);
    if (!alphabet) return;
    image name = get_label(alphabet, label, im.h * .03);
    draw_label(im, top + width, left, name, rgb);
    free_image(name);
}

void draw_boxes(image im, const ap_boxes *found, char **names, int classes, image **alphabet)
{
    for (int i = found->n - 1; i >= 0; --i) {
        if (!is_best_of_box(found, i)) continue;
        char *label = join_names(found, i, names);
        draw_box_of(im, found->boxes[i], label, classes, alphabet);
        free(label);
    }
}

int is_png(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && !strcasecmp(path + n - 4, ".png");
}

static void write_bytes(void *fp, void *bytes, int n)
{
    fwrite(bytes, 1, n, fp); /* close_atomic asks whether it failed */
}

void save_picture(image im, char *file)
{
    size_t plane = (size_t)im.w * im.h;
    unsigned char *bytes = malloc(plane * im.c);
    if (!bytes) kd_fail("%s: out of memory for %d x %d pixels", file, im.w, im.h);
    for (size_t i = 0; i < plane; ++i)
        for (int k = 0; k < im.c; ++k) {
            float value = 255 * im.data[k * plane + i] + .5f;
            bytes[i * im.c + k] = value < 0 ? 0 : value > 255 ? 255 : value;
        }
    FILE *fp = open_atomic(file);
    int is_done =
        is_png(file)
            ? stbi_write_png_to_func(write_bytes, fp, im.w, im.h, im.c, bytes, im.w * im.c)
            : stbi_write_jpg_to_func(write_bytes, fp, im.w, im.h, im.c, bytes, JPEG_QUALITY);
    if (!is_done) kd_fail("%s: cannot be encoded, expected memory for it", file);
    close_atomic(fp, file);
    free(bytes);
}
