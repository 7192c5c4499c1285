/* See frames.h. */
#include "run/frames.h"
#include "run/detect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int compare(double a, double b)
{
    return (a > b) - (a < b);
}

/* By score, from the highest; what is equal then has an order of its own, too. */
static int compare_boxes(const void *pa, const void *pb)
{
    const ap_box *a = pa, *b = pb;
    const double keys[][2] = {{b->score, a->score}, {a->x, b->x}, {a->y, b->y},
                              {a->w, b->w},         {a->h, b->h}, {a->class, b->class}};
    int order = 0;
    for (int i = 0; i < 6 && !order; ++i) order = compare(keys[i][0], keys[i][1]);
    return order;
}

int detect_frame(network *net, image im, float threshold, frame *f)
{
    image input = fit_image(net, im);
    f->w = im.w;
    f->h = im.h;
    network_predict(net, input.data);
    free_image(input);
    if (!detect_boxes(net, im.w, im.h, 0, threshold, DETECT_NMS, &f->found)) return 0;
    if (f->found.n) qsort(f->found.boxes, f->found.n, sizeof(ap_box), compare_boxes);
    return 1;
}

int is_best_of_box(const ap_boxes *found, int i)
{
    const ap_box *b = found->boxes + i;
    for (const ap_box *a = found->boxes; a < b; ++a)
        if (a->x == b->x && a->y == b->y && a->w == b->w && a->h == b->h) return 0;
    return 1;
}

void print_frame(const frame *f, char **names, int with_places)
{
    printf("%s: %d\n", f->path, f->found.n);
    for (int i = 0; i < f->found.n; ++i) {
        ap_box b = f->found.boxes[i];
        printf("%s: %.0f%%", names[b.class], 100 * b.score);
        if (with_places)
            printf("\t(left_x: %4.0f   top_y: %4.0f   width: %4.0f   height: %4.0f)", b.x, b.y,
                   b.w, b.h);
        putchar('\n');
    }
}

/* Centre and size as shares of the image */
static void to_shares(const frame *f, ap_box b, double share[4])
{
    share[0] = (b.x + b.w / 2) / f->w;
    share[1] = (b.y + b.h / 2) / f->h;
    share[2] = b.w / f->w;
    share[3] = b.h / f->h;
}

void write_frame_labels(const frame *f, char *file)
{
    FILE *fp = open_atomic(file);
    for (int i = 0; i < f->found.n; ++i) {
        double s[4];
        if (!is_best_of_box(&f->found, i)) continue;
        to_shares(f, f->found.boxes[i], s);
        fprintf(fp, "%d %.6f %.6f %.6f %.6f\n", f->found.boxes[i].class, s[0], s[1], s[2],
                s[3]);
    }
    close_atomic(fp, file);
}

/* The bytes of the character that begins here; 0 when this is not UTF-8 */
static int utf8_length(const unsigned char *c)
{
    int n = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; ++i)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return n;
}

/* In quotes; a byte that is no UTF-8 is taken for Latin-1. */
static void write_text(FILE *fp, const char *text)
{
    fputc('"', fp);
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int n = utf8_length(c);
        if (!n || *c < ' ') fprintf(fp, "\\u%04x", *c);
        else fprintf(fp, *c == '"' || *c == '\\' ? "\\%.*s" : "%.*s", n, (const char *)c);
        c += n ? n : 1;
    }
    fputc('"', fp);
}

static void write_object(FILE *fp, const frame *f, ap_box b, char **names)
{
    double s[4];
    to_shares(f, b, s);
    fprintf(fp, "  {\"class_id\":%d, \"name\":", b.class);
    write_text(fp, names[b.class]);
    fprintf(fp,
            ", \"relative_coordinates\":{\"center_x\":%f, \"center_y\":%f, \"width\":%f, "
            "\"height\":%f}, \"confidence\":%f}",
            s[0], s[1], s[2], s[3], b.score);
}

void write_frames(const frame *frames, int n, char **names, char *file)
{
    FILE *fp = open_atomic(file);
    fprintf(fp, "[");
    for (int i = 0; i < n; ++i) {
        const frame *f = frames + i;
        fprintf(fp, "%s\n{\n \"frame_id\":%d,\n \"filename\":", i ? "," : "", i + 1);
        write_text(fp, f->path);
        fprintf(fp, ",\n \"objects\": [");
        for (int j = 0; j < f->found.n; ++j) {
            fprintf(fp, j ? ",\n" : "\n");
            write_object(fp, f, f->found.boxes[j], names);
        }
        fprintf(fp, "\n ]\n}");
    }
    fprintf(fp, "\n]\n");
    close_atomic(fp, file);
}
