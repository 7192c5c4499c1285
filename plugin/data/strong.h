/*
 * The strong view of an image: RandAugment (arXiv 1909.13719) in the form of FixMatch's and
 * CRLD's, two of 14 operations, each with a strength drawn from its range, then a cutout.
 * Images are bytes [h][w][3], and what an operation does to them is, to the byte, what Pillow
 * does, and so torchvision with Pillow's images. What is brought in from outside the image is
 * black.
 */
#ifndef KD_STRONG_H
#define KD_STRONG_H

#include <stddef.h>

typedef struct {
    int w, h;
    unsigned char *bytes; /* [h][w][3] */
} byte_image;

typedef enum {
    AUTOCONTRAST, /* each channel's darkest to 0, its brightest to 255 */
    BRIGHTNESS,   /* v: to black 0, as it is 1 */
    COLOR,        /* v: to grey 0 */
    CONTRAST,     /* v: to its mean grey 0 */
    EQUALIZE,     /* each channel's histogram */
    IDENTITY,
    POSTERIZE,   /* v: bits of each number that stay, rounded down, 1 at least */
    ROTATE,      /* v: degrees, against the clock */
    SHARPNESS,   /* v: to smooth 0 */
    SHEAR_X,     /* v: columns that a row is shifted by beyond the one above, to the left */
    SHEAR_Y,     /* the same of columns, up */
    SOLARIZE,    /* v: numbers from here on are mirrored, 255 - x */
    TRANSLATE_X, /* v: share of the width, to the left */
    TRANSLATE_Y, /* of the height, up */
    OPERATIONS
} operation;

/* One operation of strength v, in place. */
void apply_operation(byte_image im, operation which, double v);

/* A grey square of `side` pixels with its middle at (x, y), cut where the image ends; as
 * Pillow's rectangle, with the pixel at its end. */
void cut_out(byte_image im, double x, double y, double side);

/* Two operations of `allowed`, as bits, one at least, and the cutout, drawn from this thread's
 * rand(). */
void strengthen(byte_image im, unsigned allowed);

/* "rotate,solarize" as bits, NULL: all of them; *unknown: the first name that is none, or NULL
 */
unsigned find_operations(const char *names, const char **unknown);

/* The names of those that are allowed, "autocontrast, brightness, ...", into text[size] */
void list_operations(unsigned allowed, char *text, size_t size);
#define ALL_OPERATIONS ((1u << OPERATIONS) - 1)

#endif
