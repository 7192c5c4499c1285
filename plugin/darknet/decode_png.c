/*
 * PNG, by libpng, as Darknet and OpenCV take it: 8 bits, of 16 the upper ones, colours as they
 * are stored, whatever gamma= says. Its simplified API would convert those.
 */
#include "darknet/decode.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct {
    const unsigned char *file;
    size_t size, at;
    decoded *to;
} png_reader;

static void on_error(png_structp png, png_const_charp text)
{
    png_reader *r = png_get_error_ptr(png);
    refuse_image(r->to, "libpng: %s", text);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    png_reader *r = png_get_io_ptr(png);
    if (n > r->size - r->at) png_error(png, "ends too early");
    memcpy(to, r->file + r->at, n);
    r->at += n;
}

static void read_rows(png_structp png, int passes, decoded *to)
{
    while (passes--)
        for (int y = 0; y < to->h; ++y)
            png_read_row(png, to->bytes + (size_t)y * to->w * to->c, 0);
}

static int read_png(png_structp png, png_infop info, decoded *to)
{
    png_uint_32 exif_size;
    png_bytep exif;
    png_read_info(png, info);
    png_set_expand(png); /* palettes, transparent colours, less than 8 bits */
    png_set_strip_16(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (!make_room(to, png_get_image_width(png, info), png_get_image_height(png, info),
                   png_get_channels(png, info)))
        return 0;
    read_rows(png, passes, to);
    png_read_end(png, info);
    if (png_get_eXIf_1(png, info, &exif_size, &exif))
        to->orientation = read_orientation(exif, exif_size);
    return 1;
}

int decode_png(const unsigned char *file, size_t size, decoded *d)
{
    png_reader r = {file, size, 0, d};
    volatile int is_done = 0;
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : 0;
    if (!info) refuse_image(d, "libpng: out of memory");
    else if (!setjmp(png_jmpbuf(png))) {
        png_set_read_fn(png, &r, read_bytes);
        is_done = read_png(png, info, d);
    }
    png_destroy_read_struct(&png, &info, 0);
    return is_done;
}
