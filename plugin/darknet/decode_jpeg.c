/*
 * JPEG, by libjpeg-turbo, with the pixels that OpenCV gives: what is merely odd is passed over,
 * as there and in Pillow; a file that ends before the image does is refused, as in Pillow.
 */
#include "darknet/decode.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#define MOST_SCANS 100 /* of a progressive file: each goes over the whole image */

typedef struct {
    struct jpeg_error_mgr errors; /* the first: libjpeg hands it back */
    struct jpeg_decompress_struct jpeg;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    decoded *to;
} jpeg_reader;

static void on_error(j_common_ptr jpeg)
{
    jpeg_reader *r = (jpeg_reader *)jpeg->err;
    char text[JMSG_LENGTH_MAX];
    r->errors.format_message(jpeg, text);
    refuse_image(r->to, "libjpeg: %s", text);
    longjmp(r->failed, 1);
}

static void on_message(j_common_ptr jpeg, int level)
{
    jpeg_reader *r = (jpeg_reader *)jpeg->err;
    (void)level;
    if (jpeg->err->msg_code != JWRN_JPEG_EOF) return;
    refuse_image(r->to, "ends too early");
    longjmp(r->failed, 1);
}

static void on_progress(j_common_ptr jpeg)
{
    jpeg_reader *r = (jpeg_reader *)jpeg->err;
    if (r->jpeg.input_scan_number <= MOST_SCANS) return;
    refuse_image(r->to, "libjpeg: found more than %d scans", MOST_SCANS);
    longjmp(r->failed, 1);
}

static void start_reader(jpeg_reader *r, const unsigned char *file, size_t size)
{
    jpeg_create_decompress(&r->jpeg);
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->progress.progress_monitor = on_progress;
    r->jpeg.progress = &r->progress;
    jpeg_mem_src(&r->jpeg, file, size);
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, 0xFFFF); /* EXIF */
}

static int find_orientation(const jpeg_reader *r)
{
    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m; m = m->next)
        if (m->data_length > 6 && !memcmp(m->data, "Exif\0", 6))
            return read_orientation(m->data + 6, m->data_length - 6);
    return 1;
}

/* Of ink, stored as its absence, as all programs that write it do */
static void cmyk_to_rgb(const unsigned char *from, unsigned char *to, int n)
{
    for (int i = 0; i < n; ++i, from += 4, to += 3)
        for (int k = 0; k < 3; ++k) to[k] = from[3] - ((255 - from[k]) * from[3] >> 8);
}

static void read_rows(jpeg_reader *r)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    decoded *to = r->to;
    int is_cmyk = jpeg->out_color_space == JCS_CMYK;
    JSAMPARRAY ink = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, 4 * to->w, 1);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = to->bytes + (size_t)jpeg->output_scanline * to->w * to->c;
        jpeg_read_scanlines(jpeg, is_cmyk ? ink : &row, 1);
        if (is_cmyk) cmyk_to_rgb(*ink, row, to->w);
    }
}

static int read_jpeg(jpeg_reader *r)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    jpeg_read_header(jpeg, TRUE);
    int is_grey = jpeg->jpeg_color_space == JCS_GRAYSCALE, n = jpeg->num_components;
    if (!is_grey && n != 3 && n != 4)
        return refuse_image(r->to, "found %d components, expected 1, 3 or 4", n);
    jpeg->out_color_space = is_grey ? JCS_GRAYSCALE : n == 3 ? JCS_RGB : JCS_CMYK;
    if (!make_room(r->to, jpeg->image_width, jpeg->image_height, is_grey ? 1 : 3)) return 0;
    r->to->orientation = find_orientation(r);
    if (r->to->is_size) return 1;
    jpeg_start_decompress(jpeg);
    read_rows(r);
    jpeg_finish_decompress(jpeg);
    return 1;
}

int decode_jpeg(const unsigned char *file, size_t size, decoded *d)
{
    jpeg_reader r = {.to = d};
    volatile int is_done = 0;
    r.jpeg.err = jpeg_std_error(&r.errors);
    if (!setjmp(r.failed)) {
        start_reader(&r, file, size);
        is_done = read_jpeg(&r);
    }
    jpeg_destroy_decompress(&r.jpeg);
    return is_done;
}
