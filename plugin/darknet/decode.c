/*
 * An image's file as pixels: for `distill` and for all of Darknet's commands, with or without
 * OpenCV. Nothing that a file says is believed: whatever it is, it ends as pixels or as a
 * reason, and a small file cannot ask for much memory.
 */
#include "darknet/decode.h"

#include "image.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PIXELS 178956970  /* by default; where Pillow stops, too */
#define LARGEST (INT_MAX / 4) /* Darknet counts an image's numbers in ints */

int refuse_image(decoded *d, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(d->reason, DECODE_REASON, format, arguments);
    va_end(arguments);
    return 0;
}

/* DARKNET_MAX_PIXELS; 0 when it is no such number. */
static size_t max_pixels(decoded *d)
{
    const char *text = getenv("DARKNET_MAX_PIXELS");
    char *end;
    if (!text || !*text) return MAX_PIXELS;
    errno = 0;
    long long most = strtoll(text, &end, 10);
    if (!*end && !errno && most >= 1 && most <= LARGEST) return most;
    return refuse_image(d, "DARKNET_MAX_PIXELS=%.40s: expected a number from 1 to %d", text,
                        LARGEST);
}

int check_size(decoded *d, int w, int h)
{
    size_t most = max_pixels(d);
    if (!most) return 0;
    if (w >= 1 && h >= 1 && w <= MOST_SIDE && h <= MOST_SIDE && (size_t)w * h <= most) return 1;
    return refuse_image(d,
                        "found %d x %d pixels, expected sides from 1 to %d, and at most %zu "
                        "pixels (DARKNET_MAX_PIXELS=)",
                        w, h, MOST_SIDE, most);
}

int make_room(decoded *d, int w, int h, int c)
{
    if (!check_size(d, w, h)) return 0;
    d->w = w;
    d->h = h;
    d->c = c;
    d->bytes = malloc((size_t)w * h * c);
    return d->bytes ? 1 : refuse_image(d, "out of memory for %d x %d pixels", w, h);
}

static unsigned read_number(const unsigned char *p, int n, int is_little)
{
    unsigned number = 0;
    for (int i = 0; i < n; ++i) number = number << 8 | p[is_little ? n - 1 - i : i];
    return number;
}

int read_orientation(const unsigned char *exif, size_t size)
{
    if (size < 14 || (memcmp(exif, "II*", 4) && memcmp(exif, "MM\0*", 4))) return 1;
    int is_little = exif[0] == 'I';
    size_t at = read_number(exif + 4, 4, is_little);
    if (at > size - 2) return 1;
    int entries = read_number(exif + at, 2, is_little);
    for (at += 2; entries-- && at + 12 <= size; at += 12) {
        unsigned value = read_number(exif + at + 8, 2, is_little);
        if (read_number(exif + at, 2, is_little) == 0x112)
            return value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

/* The image as it is to be looked at, whatever way the camera was held */
static int turn_upright(decoded *d)
{
    int o = d->orientation, is_lying = o >= 5, c = d->c;
    int from_right = o == 2 || o == 3 || o == 7 || o == 8;
    int from_below = o == 3 || o == 4 || o == 6 || o == 7;
    unsigned char *from = d->bytes;
    if (o == 1) return 1;
    if (!make_room(d, is_lying ? d->h : d->w, is_lying ? d->w : d->h, c)) {
        free(from);
        return 0;
    }
    int w = is_lying ? d->h : d->w, h = is_lying ? d->w : d->h; /* as stored */
    for (int v = 0; v < d->h; ++v)
        for (int u = 0; u < d->w; ++u) {
            int x = is_lying ? v : u, y = is_lying ? u : v;
            if (from_right) x = w - 1 - x;
            if (from_below) y = h - 1 - y;
            memcpy(d->bytes + ((size_t)v * d->w + u) * c, from + ((size_t)y * w + x) * c, c);
        }
    free(from);
    return 1;
}

/* What a pixel of c channels has in channel k of n. */
static unsigned char channel(const unsigned char *p, int c, int k, int n)
{
    if (k == n - 1 && n % 2 == 0) return c % 2 == 0 ? p[c - 1] : 255; /* alpha */
    if (c < 3) return p[0];
    if (n < 3) return (p[0] * 77 + p[1] * 150 + p[2] * 29) >> 8;
    return p[k];
}

static int change_channels(decoded *d, int n)
{
    unsigned char *from = d->bytes;
    int c = d->c;
    if (!n || n == c) return 1;
    int has_room = make_room(d, d->w, d->h, n);
    size_t pixels = (size_t)d->w * d->h;
    for (size_t i = 0; has_room && i < pixels; ++i)
        for (int k = 0; k < n; ++k) d->bytes[i * n + k] = channel(from + i * c, c, k, n);
    free(from);
    return has_room;
}

/* To its end, which may not be further than `most`; NULL when that is more than there is
 * memory. */
static unsigned char *read_all(FILE *fp, size_t most, size_t *size)
{
    struct stat info;
    int is_known =
        !fstat(fileno(fp), &info) && info.st_size > 0 && (size_t)info.st_size <= most;
    size_t room = is_known ? (size_t)info.st_size + 1 : 1 << 16;
    unsigned char *bytes = malloc(room), *larger;
    for (*size = 0; bytes; bytes = larger) {
        *size += fread(bytes + *size, 1, room - *size, fp);
        if (*size < room || *size > most) break;
        larger = realloc(bytes, room *= 2);
        if (!larger) free(bytes);
    }
    return bytes;
}

static unsigned char *read_image(const char *path, size_t *size, decoded *d)
{
    size_t most = max_pixels(d) * 8; /* 16 bits for each of 4 channels */
    unsigned char *bytes = 0;
    if (!most) return 0;
    FILE *fp = fopen(path, "rb");
    if (fp) bytes = read_all(fp, most, size);
    if (!fp || ferror(fp)) refuse_image(d, "%s", strerror(errno));
    else if (!bytes) refuse_image(d, "out of memory for the file");
    else if (*size > most)
        refuse_image(d, "found more than %zu bytes, 8 for each of DARKNET_MAX_PIXELS=", most);
    int is_read = bytes && !ferror(fp) && *size <= most;
    if (fp) fclose(fp);
    if (is_read) return bytes;
    free(bytes);
    return 0;
}

static int decode_any(const unsigned char *file, size_t size, decoded *d)
{
#ifdef IMAGE_LIBRARIES
    if (size >= 2 && !memcmp(file, "\xFF\xD8", 2)) return decode_jpeg(file, size, d);
    if (size >= 8 && !memcmp(file, "\x89PNG\r\n\x1A\n", 8)) return decode_png(file, size, d);
    return decode_others(file, size, d);
#else
    (void)file, (void)size;
    return refuse_image(d, "this darknet was built with IMAGES=0, and reads no images");
#endif
}

unsigned char *decode_image(const char *path, int channels, int *w, int *h, int *c,
                            char reason[DECODE_REASON])
{
    size_t size;
    decoded d = {.orientation = 1, .reason = reason};
    unsigned char *file = read_image(path, &size, &d);
    if (!file) return 0;
    int is_done = decode_any(file, size, &d);
    free(file);
    if (!is_done) {
        free(d.bytes);
        return 0;
    }
    if (!turn_upright(&d) || !change_channels(&d, channels)) return 0;
    *w = d.w;
    *h = d.h;
    *c = d.c;
    return d.bytes;
}

int read_image_size(const char *path, int *w, int *h, char *reason)
{
    size_t size;
    decoded d = {.orientation = 1, .is_size = 1, .reason = reason};
    unsigned char *file = read_image(path, &size, &d);
    int is_done = file && decode_any(file, size, &d), is_lying = d.orientation >= 5;
    free(file);
    free(d.bytes);
    *w = is_lying ? d.h : d.w;
    *h = is_lying ? d.w : d.h;
    return is_done;
}
