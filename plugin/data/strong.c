/* See strong.h. */
#include "data/strong.h"
#include "support.h"

#include "utils.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 3
#define VALUES (UCHAR_MAX + 1)
#define DRAWN 2     /* operations of one view */
#define MOST_CUT .5 /* share of the width that a cutout's side is, at most */
#define ONE 65536.  /* Pillow's fixed point, of where a pixel comes from */
#define PI 3.14159265358979323846

/* As operations= calls them; the ranges are those of CRLD's code. */
static const struct {
    const char *name;
    double least, most;
} ranges[OPERATIONS] = {
    [AUTOCONTRAST] = {"autocontrast", 0, 1},
    [BRIGHTNESS] = {"brightness", .05, .95},
    [COLOR] = {"color", .05, .95},
    [CONTRAST] = {"contrast", .05, .95},
    [EQUALIZE] = {"equalize", 0, 1},
    [IDENTITY] = {"identity", 0, 1},
    [POSTERIZE] = {"posterize", 4, 8},
    [ROTATE] = {"rotate", -30, 30},
    [SHARPNESS] = {"sharpness", .05, .95},
    [SHEAR_X] = {"shear_x", -.3, .3},
    [SHEAR_Y] = {"shear_y", -.3, .3},
    [SOLARIZE] = {"solarize", 0, 256},
    [TRANSLATE_X] = {"translate_x", -.3, .3},
    [TRANSLATE_Y] = {"translate_y", -.3, .3},
};

static size_t size_of(byte_image im)
{
    return (size_t)im.w * im.h * CHANNELS;
}

static unsigned char clip(double x)
{
    return x < 0 ? 0 : x > UCHAR_MAX ? UCHAR_MAX : (unsigned char)x;
}

/* ---- number by number --------------------------------------------------- */

static void look_up(byte_image im, int channel, const unsigned char table[VALUES])
{
    for (size_t i = channel; i < size_of(im); i += CHANNELS) im.bytes[i] = table[im.bytes[i]];
}

static void count_values(byte_image im, int channel, long count[VALUES])
{
    memset(count, 0, VALUES * sizeof(*count));
    for (size_t i = channel; i < size_of(im); i += CHANNELS) ++count[im.bytes[i]];
}

static void autocontrast(byte_image im)
{
    for (int k = 0; k < CHANNELS; ++k) {
        long count[VALUES];
        unsigned char table[VALUES];
        int low = 0, high = UCHAR_MAX;
        count_values(im, k, count);
        while (!count[low]) ++low;
        while (!count[high]) --high;
        if (low == high) continue;
        double scale = (double)UCHAR_MAX / (high - low), offset = -low * scale;
        for (int x = 0; x < VALUES; ++x) table[x] = clip(x * scale + offset);
        look_up(im, k, table);
    }
}

static void equalize(byte_image im)
{
    for (int k = 0; k < CHANNELS; ++k) {
        long count[VALUES], sum = 0;
        unsigned char table[VALUES];
        int high = UCHAR_MAX;
        count_values(im, k, count);
        while (!count[high]) --high;
        long step = ((long)im.w * im.h - count[high]) / UCHAR_MAX;
        if (!step) continue;
        sum = step / 2;
        for (int x = 0; x < VALUES; ++x) {
            table[x] = clip(sum / step);
            sum += count[x];
        }
        look_up(im, k, table);
    }
}

static void posterize(byte_image im, int bits)
{
    int kept = bits < 1 ? 1 : bits > CHAR_BIT ? CHAR_BIT : bits;
    for (size_t i = 0; i < size_of(im); ++i) im.bytes[i] &= UCHAR_MAX << (CHAR_BIT - kept);
}

static void solarize(byte_image im, double threshold)
{
    for (size_t i = 0; i < size_of(im); ++i)
        if (im.bytes[i] >= threshold) im.bytes[i] = UCHAR_MAX - im.bytes[i];
}

/* ---- between the image and a poorer one --------------------------------- */

/* ITU-R 601's luma */
static int grey_of(const unsigned char *pixel)
{
    return (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16;
}

static int mean_grey(byte_image im)
{
    double sum = 0;
    for (size_t i = 0; i < size_of(im); i += CHANNELS) sum += grey_of(im.bytes + i);
    return (int)(sum / ((double)im.w * im.h) + .5);
}

static void paint_grey(byte_image im, byte_image to)
{
    for (size_t i = 0; i < size_of(im); ++i)
        to.bytes[i] = grey_of(im.bytes + i / CHANNELS * CHANNELS);
}

/* Each pixel and its neighbours, (4 x itself + the sum of all 9) / 13; the border as it is */
static void smooth(byte_image im, byte_image to)
{
    size_t row = (size_t)im.w * CHANNELS;
    memcpy(to.bytes, im.bytes, size_of(im));
    for (int y = 1; y < im.h - 1; ++y)
        for (size_t x = CHANNELS; x + CHANNELS < row; ++x) {
            const unsigned char *p = im.bytes + y * row + x;
            int sum = 4 * *p;
            for (int j = -1; j <= 1; ++j)
                for (int i = -1; i <= 1; ++i) sum += p[j * (long)row + i * CHANNELS];
            to.bytes[y * row + x] = (2 * sum + 13) / 26; /* rounded */
        }
}

/* im <- poor + v (im - poor), in floats and rounded down, as Pillow; v from 0 to 1 and beyond
 */
static void blend(byte_image im, byte_image poor, float v)
{
    for (size_t i = 0; i < size_of(im); ++i) {
        float away = v * (float)(im.bytes[i] - poor.bytes[i]);
        im.bytes[i] = clip(poor.bytes[i] + away);
    }
}

static void enhance(byte_image im, operation which, double v)
{
    byte_image poor = {im.w, im.h, kd_calloc(size_of(im), 1)};
    if (which == COLOR) paint_grey(im, poor);
    if (which == CONTRAST) memset(poor.bytes, mean_grey(im), size_of(im));
    if (which == SHARPNESS) smooth(im, poor);
    blend(im, poor, v);
    free(poor.bytes);
}

/* ---- from elsewhere ----------------------------------------------------- */

/* Pixel (x, y) comes from where a[0] x + a[1] y + a[2], a[3] x + a[4] y + a[5] is, from pixel's
 * middle to middle. */
static void transform(byte_image im, const double a[6])
{
    long m[6];
    unsigned char *from = kd_calloc(size_of(im), 1), *to = im.bytes;
    memcpy(from, im.bytes, size_of(im));
    for (int k = 0; k < 6; ++k) {
        double middle = k % 3 == 2 ? a[k] + (a[k - 2] + a[k - 1]) / 2 : a[k];
        m[k] = (long)floor(middle * ONE + .5);
    }
    for (int y = 0; y < im.h; ++y)
        for (int x = 0; x < im.w; ++x, to += CHANNELS) {
            long i = (m[0] * x + m[1] * y + m[2]) >> 16, j = (m[3] * x + m[4] * y + m[5]) >> 16;
            if (i < 0 || i >= im.w || j < 0 || j >= im.h) memset(to, 0, CHANNELS);
            else memcpy(to, from + (j * im.w + i) * CHANNELS, CHANNELS);
        }
    free(from);
}

static void rotate(byte_image im, double degrees)
{
    double angle = -degrees * PI / 180, c = cos(angle), s = sin(angle);
    double x = im.w / 2., y = im.h / 2.;
    transform(im, (double[]){c, s, x - c * x - s * y, -s, c, y + s * x - c * y});
}

/* ---- all of them -------------------------------------------------------- */

void apply_operation(byte_image im, operation which, double v)
{
    switch (which) {
    case AUTOCONTRAST: autocontrast(im); return;
    case EQUALIZE: equalize(im); return;
    case POSTERIZE: posterize(im, (int)v); return;
    case SOLARIZE: solarize(im, v); return;
    case ROTATE: rotate(im, v); return;
    case SHEAR_X: transform(im, (double[]){1, v, 0, 0, 1, 0}); return;
    case SHEAR_Y: transform(im, (double[]){1, 0, 0, v, 1, 0}); return;
    case TRANSLATE_X: transform(im, (double[]){1, 0, v * im.w, 0, 1, 0}); return;
    case TRANSLATE_Y: transform(im, (double[]){1, 0, 0, 0, 1, v * im.h}); return;
    case IDENTITY: return;
    default: enhance(im, which, v);
    }
}

void cut_out(byte_image im, double x, double y, double side)
{
    static const unsigned char grey[CHANNELS] = {125, 123, 114};
    if (side <= 0) return;
    int left = (int)fmax(0, x - side / 2), top = (int)fmax(0, y - side / 2);
    int right = (int)fmin(im.w - 1, left + side), bottom = (int)fmin(im.h - 1, top + side);
    for (int j = top; j <= bottom; ++j)
        for (int i = left; i <= right; ++i)
            memcpy(im.bytes + ((size_t)j * im.w + i) * CHANNELS, grey, CHANNELS);
}

/* From least to most; Darknet's rand() is this thread's */
static double draw(double least, double most)
{
    return least + (most - least) * (rand() / (RAND_MAX + 1.));
}

static operation draw_operation(unsigned allowed)
{
    int n = 0;
    for (int k = 0; k < OPERATIONS; ++k) n += allowed >> k & 1;
    int left = rand() % n, k = 0;
    while (!(allowed >> k & 1) || left--) ++k;
    return k;
}

void strengthen(byte_image im, unsigned allowed)
{
    for (int i = 0; i < DRAWN; ++i) {
        operation which = draw_operation(allowed);
        apply_operation(im, which, draw(ranges[which].least, ranges[which].most));
    }
    double side = draw(0, MOST_CUT) * im.w, x = draw(0, im.w), y = draw(0, im.h);
    cut_out(im, x, y, side);
}

unsigned find_operations(const char *names, const char **unknown)
{
    unsigned found = 0;
    *unknown = 0;
    if (!names) return ALL_OPERATIONS;
    for (;; ++names) {
        size_t n = strcspn(names, ",");
        int k = 0;
        while (k < OPERATIONS &&
               (strlen(ranges[k].name) != n || strncmp(ranges[k].name, names, n)))
            ++k;
        if (k == OPERATIONS) *unknown = names;
        else found |= 1u << k;
        names += n;
        if (!*names || *unknown) return found;
    }
}

void list_operations(unsigned allowed, char *text, size_t size)
{
    text[0] = 0;
    for (int k = 0; k < OPERATIONS; ++k)
        if (allowed >> k & 1)
            snprintf(text + strlen(text), size - strlen(text), "%s%s", *text ? ", " : "",
                     ranges[k].name);
}
