/*
 * BMP, TGA, PGM, PPM, GIF (its first picture), PSD and HDR, by Debian's stb_image. It makes up
 * what is missing at the end of a file; here that is found out, and refused.
 */
#include "darknet/decode.h"

#include <string.h>

#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_JPEG
#define STBI_NO_PNG
#define STBI_NO_PIC /* it offsets null pointers where a file ends early */
#define STBI_NO_STDIO
#include <stb/stb_image.h>

typedef struct {
    const unsigned char *file;
    size_t size, at;
    char *buffer; /* stb_image's own, which it fills as far as there are bytes */
    int is_short; /* 1: it has asked for a byte that is not there */
} reader;

static int read_some(void *user, char *to, int n)
{
    reader *r = user;
    int there = r->size - r->at < (size_t)n ? (int)(r->size - r->at) : n;
    if (!r->buffer) r->buffer = to;
    if (to == r->buffer ? !there : there < n) r->is_short = 1;
    memcpy(to, r->file + r->at, there);
    r->at += there;
    return there;
}

static void skip_some(void *user, int n)
{
    reader *r = user;
    r->at = r->size - r->at < (size_t)n ? r->size : r->at + n;
}

static int is_at_end(void *user)
{
    const reader *r = user;
    return r->at == r->size;
}

static int refuse_others(decoded *d, int is_short)
{
    const char *reason = stbi_failure_reason();
    if (!strcmp(reason, "unknown image type"))
        return refuse_image(d,
                            "found no image, expected JPEG, PNG, BMP, TGA, PGM, PPM, GIF, PSD "
                            "or HDR");
    if (is_short) return refuse_image(d, "ends too early");
    return refuse_image(d, "stb_image: %s", reason);
}

int decode_others(const unsigned char *file, size_t size, decoded *d)
{
    static const stbi_io_callbacks callbacks = {read_some, skip_some, is_at_end};
    reader r = {file, size, 0, 0, 0};
    int w, h, c;
    if (!stbi_info_from_callbacks(&callbacks, &r, &w, &h, &c))
        return refuse_others(d, r.is_short);
    if (!check_size(d, w, h)) return 0;
    r = (reader){file, size, 0, 0, 0};
    if (file[0] == 'P' && stbi_is_16_bit_from_callbacks(&callbacks, &r)) /* its bytes swapped */
        return refuse_image(d, "found 16 bits a number, expected 8 of a PGM or PPM");
    r = (reader){file, size, 0, 0, 0};
    d->bytes = stbi_load_from_callbacks(&callbacks, &r, &d->w, &d->h, &d->c, 0);
    if (!d->bytes) return refuse_others(d, r.is_short);
    return r.is_short ? refuse_image(d, "ends too early") : 1;
}
