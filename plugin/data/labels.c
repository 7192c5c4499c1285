/* See labels.h. */
#include "data/labels.h"
#include "support.h"

#include "utils.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDING 1e-3 /* a share of the image; labels are often rounded to a few digits */

/* What was done to a file's boxes, for its one line. */
enum { CLIPPED, NEGATIVE, EMPTY, TINY, REPAIRS };
static const char *const repair_names[] = {"beyond the image clipped",
                                           "of negative size left out", "of size 0 left out",
                                           "of less than a float can tell left out"};
typedef struct {
    int count;
    int line; /* of the first */
    double w, h;
} repair;

static void read_numbers(const char *file, int number, const char *line, double value[5])
{
    static const char blanks[] = " \t";
    char *end = (char *)line;
    int is_good = 1;
    for (int i = 0; i < 5; ++i) {
        const char *from = end;
        value[i] = strtod(from, &end);
        is_good &= end != from && isfinite(value[i]) && (!*end || strchr(blanks, *end));
    }
    if (!is_good || end[strspn(end, blanks)])
        kd_fail("%s: line %d: %s: expected five numbers: class x y width height", file, number,
                line);
}

/* The part of a side that lies in the image: its centre and length */
static int clip_side(float *centre, float *length)
{
    float low = *centre - *length / 2, high = *centre + *length / 2;
    int reaches_beyond = low < -ROUNDING || high > 1 + ROUNDING;
    low = fmaxf(low, 0);
    high = fminf(high, 1);
    *centre = (low + high) / 2;
    *length = high - low;
    return reaches_beyond;
}

/* Reads a line into *b; returns 0 when the box is left out. */
static int read_box(const char *file, int number, const char *line, int classes,
                    labelled_box *b, repair *done)
{
    double v[5];
    read_numbers(file, number, line, v);
    if (v[0] != floor(v[0]) || v[0] < 0 || v[0] >= classes)
        kd_fail("%s: line %d: class %g: expected a whole number from 0 to %d", file, number,
                v[0], classes - 1);
    if (v[1] < 0 || v[1] > 1 || v[2] < 0 || v[2] > 1)
        kd_fail("%s: line %d: centre at %g %g: expected shares of the image, from 0 to 1", file,
                number, v[1], v[2]);
    *b = (labelled_box){v[1], v[2], v[3], v[4], v[0]};
    int beyond = clip_side(&b->x, &b->w) | clip_side(&b->y, &b->h);
    int has_area = b->w > 0 && b->h > 0;
    if (has_area && !beyond) return 1;
    repair *r = done + (has_area                 ? CLIPPED
                        : v[3] < 0 || v[4] < 0   ? NEGATIVE
                        : v[3] == 0 || v[4] == 0 ? EMPTY
                                                 : TINY);
    if (!r->count++) *r = (repair){1, number, v[3], v[4]};
    return has_area;
}

static void report(const char *file, const repair *done)
{
    int is_first = 1, left_out = 0;
    for (int i = 0; i < REPAIRS; ++i) {
        repair r = done[i];
        if (!r.count) continue;
        fprintf(stderr, "%s%s%d boxes %s (line %d: %g x %g)", is_first ? file : "",
                is_first ? ": " : ", ", r.count, repair_names[i], r.line, r.w, r.h);
        is_first = 0;
        left_out += i != CLIPPED;
    }
    if (!is_first) fprintf(stderr, left_out ? ": expected sizes above 0, to 1\n" : "\n");
}

image_labels read_labels(const char *file, int classes, int most)
{
    image_labels labels = {0};
    repair done[REPAIRS] = {0};
    int number = 0;
    char *line;
    FILE *fp = fopen(file, "r");
    if (!fp) file_error((char *)file);
    while ((line = fgetl(fp))) {
        labelled_box b;
        ++number;
        if (line[strspn(line, " \t")] && read_box(file, number, line, classes, &b, done)) {
            labels.boxes = realloc(labels.boxes, (labels.n + 1) * sizeof(b));
            if (!labels.boxes) kd_fail("out of memory");
            labels.boxes[labels.n++] = b;
        }
        free(line);
    }
    if (ferror(fp)) file_error((char *)file);
    fclose(fp);
    if (labels.n > most)
        kd_fail("%s: found %d boxes, expected at most %d: max= of the detection layers can be "
                "raised",
                file, labels.n, most);
    report(file, done);
    return labels;
}
