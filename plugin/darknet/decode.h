/*
 * What the decoders of images share. The one function that all others call, decode_image, is
 * declared in Darknet's image.h (patches/libraries/03). What returns 1 or 0 has, with 0, the
 * reason in `reason`; pixels are bytes.
 */
#ifndef KD_DECODE_H
#define KD_DECODE_H

#include <stddef.h>

#define MOST_SIDE 65535 /* of an image: what JPEG and TGA can say */

/* An image as its file has it */
typedef struct {
    int w, h, c;          /* c: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha */
    int orientation;      /* EXIF's: 1 is upright; 5 to 8 lie on their side */
    int is_size;          /* 1: the size is all that is asked for, the bytes may be anything */
    unsigned char *bytes; /* [h][w][c], or NULL; malloc's */
    char *reason;         /* [DECODE_REASON], why there are no bytes */
} decoded;

/* Writes the reason; returns 0. */
int refuse_image(decoded *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* 1 when an image may have so many pixels. */
int check_size(decoded *d, int w, int h);

/* Memory for w x h pixels; 0 when they are more than is allowed, or than there is memory for.
 */
int make_room(decoded *d, int w, int h, int c);

/* The orientation that EXIF data says, from their TIFF header on; 1 when they say none. */
int read_orientation(const unsigned char *exif, size_t size);

/*
 * Width and height of an image as decode_image would give it, turned upright: of a JPEG by its
 * header alone. Returns 1, or 0 with the reason, which has room for DECODE_REASON.
 */
int read_image_size(const char *path, int *w, int *h, char *reason);

/* Each returns 1 when all of the image is there. */
int decode_jpeg(const unsigned char *file, size_t size, decoded *d);
int decode_png(const unsigned char *file, size_t size, decoded *d);
int decode_others(const unsigned char *file, size_t size, decoded *d); /* BMP, TGA and so on */

#endif
