/* See geometry.h. */
#include "darknet/geometry.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "option_list.h"
#include "utils.h"

/* What a layer gives to the next; w, h and c are 0 where that is no image. */
typedef struct {
    size_t w, h, c, outputs;
    size_t truths;    /* of an image, where the layer says how many the network has */
    size_t reads;     /* of them, by the layer's own loss */
    int has_logistic; /* a [yolo] that takes the logistic of the layer before for its own */
    int is_truth;     /* truth=1: the layers behind it learn its outputs */
    char *parts;      /* of a [route] whose sources differ in size: these sizes */
    LAYER_TYPE type;
    int line;
    char *section;
} shape;

struct geometry {
    char *cfg;
    size_t batch, steps;
    int adam;
    double area;   /* pixels of an image */
    double random; /* of the last head that has one */
    int n;
    shape *layers;
    size_t fixed, image,
        workspace; /* bytes: once, for each image, for the layer that needs most */
    int line;      /* of the section in hand */
    char *section;
    list *options;
    shape in;
};

/* The value of a key that is a number or several; option_find would count it as used. */
static char *value_of(const geometry *g, const char *key)
{
    node *n;
    for (n = g->options->front; n; n = n->next) {
        kvp *pair = n->val;
        if (strcmp(pair->key, key)) continue;
        strip(pair->val);
        return pair->val;
    }
    return 0;
}

/* "net.cfg: line 12: [softmax] groups=3: expected ...", with all of these keys that are there
 */
static char *describe(const geometry *g, const char *const *keys, int n, const char *format,
                      va_list args)
{
    char text[2048];
    size_t used =
        snprintf(text, sizeof(text) / 2, "%.600s: line %d: %.40s", g->cfg, g->line, g->section);
    int i, given = 0;
    for (i = 0; i < n; ++i) {
        char *value = value_of(g, keys[i]);
        if (!value && n > 1) continue;
        used += snprintf(text + used, 80, "%s%s%s%.40s", given++ ? ", " : " ", keys[i],
                         value ? "=" : "", value ? value : "");
    }
    used += snprintf(text + used, 3, ": ");
    vsnprintf(text + used, sizeof(text) - used, format, args);
    return copy_string(printable(text));
}

static void stop(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit_once(1);
}

static void refuse(const geometry *g, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    stop(describe(g, &key, 1, format, args));
}

/* Where no single key is at fault: those that size a layer. */
static void refuse_section(const geometry *g, const char *format, ...)
{
    static const char *const keys[] = {
        "batch",          "subdivisions",   "time_steps", "width",   "height",
        "channels",       "inputs",         "filters",    "size",    "dilation",
        "stride",         "stride_x",       "stride_y",   "padding", "output",
        "hidden_filters", "output_filters", "extra",      "layers",  "from"};
    va_list args;
    va_start(args, format);
    stop(describe(g, keys, sizeof(keys) / sizeof(*keys), format, args));
}

/* A whole number of the section in hand, with a comment behind it or none. */
static long long number(const geometry *g, const char *key, long long def, long long least,
                        long long most)
{
    char *value = value_of(g, key);
    char *end;
    if (!value) return def;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (end == value || errno || (*end && *end != '#' && *end != ';') || n < least ||
        n > most) {
        refuse(g, key, "expected a whole number from %lld to %lld", least, most);
    }
    return n;
}

/* w*h*c*n; SIZE_MAX where it is more */
static size_t product(size_t w, size_t h, size_t c, size_t n)
{
    size_t p;
    if (!w || !h || !c || !n) return 0;
    if (__builtin_mul_overflow(w, h, &p) || __builtin_mul_overflow(p, c, &p) ||
        __builtin_mul_overflow(p, n, &p))
        return SIZE_MAX;
    return p;
}

/* Darknet counts in ints. */
static size_t counted(const geometry *g, size_t n, const char *what)
{
    if (n > INT_MAX)
        refuse_section(g, "found %s%zu %s, expected at most %d",
                       n == SIZE_MAX ? "more than " : "", n, what, INT_MAX);
    return n;
}

/* Arrays of floats: of the layer, and for each image. */
static void take(geometry *g, size_t once, size_t image)
{
    g->fixed += once * sizeof(float);
    g->image += image * sizeof(float);
}

/* The weights and n biases of a layer, what batch normalisation and Adam add, outputs and
 * deltas. */
static void take_weights(geometry *g, size_t weights, size_t n, size_t outputs)
{
    counted(g, weights, "weights");
    take(g, 2 * weights + 2 * n, 2 * outputs);
    if (number(g, "batch_normalize", 0, INT_MIN, INT_MAX)) take(g, 8 * n, 2 * outputs);
    if (g->adam) take(g, 2 * weights + 4 * n, 0);
}

/* What some activations keep of what they are given */
static void take_activation(geometry *g, size_t outputs)
{
    char *name = value_of(g, "activation");
    if (name && (!strcmp(name, "mish") || !strcmp(name, "hard_mish") || !strcmp(name, "swish")))
        take(g, 0, outputs);
}

/* The matrix that a window's pixels are copied to; the GPU has other ways. */
static void take_workspace(geometry *g, size_t floats)
{
    if (gpu_index < 0) counted(g, floats, "numbers in its windows");
    size_t bytes = product(floats, sizeof(float), 1, 1);
    if (bytes > g->workspace) g->workspace = bytes;
}

static shape numbers(const geometry *g, size_t outputs)
{
    shape s = {0};
    s.outputs = outputs;
    counted(g, product(outputs, g->batch, 1, 1), "outputs in a batch");
    return s;
}

static shape image_of(const geometry *g, size_t w, size_t h, size_t c)
{
    shape s = numbers(g, product(w, h, c, 1));
    s.w = w;
    s.h = h;
    s.c = c;
    return s;
}

/* What comes in, with the outputs and other arrays of this length: `arrays` of them */
static shape same(geometry *g, size_t arrays)
{
    shape s = numbers(g, g->in.outputs);
    s.w = g->in.w;
    s.h = g->in.h;
    s.c = g->in.c;
    take(g, 0, arrays * s.outputs);
    return s;
}

static void need_image(const geometry *g)
{
    const shape *in = &g->in;
    if (in->outputs && in->outputs == product(in->w, in->h, in->c, 1)) return;
    if (in->parts)
        refuse_section(
            g,
            "expected an image, found the [route] of line %d, whose sources differ in size: %s",
            in->line, in->parts);
    refuse_section(g, "expected an image, found %zu numbers of %.40s, line %d", in->outputs,
                   in->section, in->line);
}

/* How often a window fits in, with padding in all, as Darknet computes it */
static size_t windows(const geometry *g, size_t length, size_t padding, size_t size,
                      size_t stride)
{
    if (size > length + padding)
        refuse(g, "size",
               "expected at most %zu, for the input is %zu x %zu and the padding %zu",
               length + padding, g->in.w, g->in.h, padding);
    if (length + padding > INT_MAX)
        refuse_section(g, "found %zu pixels with the padding, expected at most %d",
                       length + padding, INT_MAX);
    return (length + padding - size) / stride + 1;
}

static size_t padding_of(const geometry *g, size_t size)
{
    size_t padding = number(g, "padding", 0, 0, INT_MAX / 2);
    return number(g, "pad", 0, INT_MIN, INT_MAX) ? size / 2 : padding;
}

/* How far a window goes at once: to the right, and down */
typedef struct {
    size_t x, y;
} steps;

static steps steps_of(const geometry *g, size_t most)
{
    size_t stride = number(g, "stride", 1, 1, most);
    return (steps){number(g, "stride_x", stride, 1, most),
                   number(g, "stride_y", stride, 1, most)};
}

static void check_numload(const geometry *g, size_t n)
{
    number(g, "numload", 0, 0, n);
}

/* size= alone would say nothing of windows with holes. */
static void check_dilation(const geometry *g, size_t spacing, size_t extent, size_t padding)
{
    size_t side = g->in.w < g->in.h ? g->in.w : g->in.h;
    if (spacing > 1 && extent > side + padding)
        refuse(g, "dilation",
               "expected windows of at most %zu pixels, found %zu: the input is %zu x %zu and "
               "the padding %zu",
               side + padding, extent, g->in.w, g->in.h, padding);
}

static shape reckon_convolutional(geometry *g)
{
    size_t c = g->in.c;
    size_t n = number(g, "filters", 1, 1, INT_MAX);
    size_t size = number(g, "size", 1, 1, INT_MAX);
    steps step = steps_of(g, INT_MAX);
    size_t spacing = size > 1 ? number(g, "dilation", 1, 1, INT_MAX / 2) : 1;
    size_t groups = number(g, "groups", 1, 1, INT_MAX);
    size_t padding = padding_of(g, size) * spacing, extent = (size - 1) * spacing + 1;
    need_image(g);
    check_numload(g, n);
    check_dilation(g, spacing, extent, 2 * padding);
    if (c % groups)
        refuse(g, "groups", "expected a divisor of %zu, the channels that come in", c);
    if (n % groups) refuse(g, "groups", "expected a divisor of filters=%zu", n);
    shape s = image_of(g, windows(g, g->in.w, 2 * padding, extent, step.x),
                       windows(g, g->in.h, 2 * padding, extent, step.y), n);
    size_t weights = product(c, size, size, n / groups);
    counted(g, product(c, size, size, 1), "numbers in a window");
    take_weights(g, weights, n, s.outputs);
    if (number(g, "binary", 0, INT_MIN, INT_MAX)) take(g, weights + weights / 4, 0);
    if (number(g, "xnor", 0, INT_MIN, INT_MAX)) take(g, weights, g->in.outputs);
    take_activation(g, s.outputs);
    take_workspace(g, product(s.w, s.h, size * size, c / groups));
    return s;
}

static shape reckon_deconvolutional(geometry *g)
{
    size_t n = number(g, "filters", 1, 1, INT_MAX);
    size_t size = number(g, "size", 1, 1, INT_MAX);
    size_t stride = number(g, "stride", 1, 1, INT_MAX);
    size_t padding = padding_of(g, size);
    need_image(g);
    check_numload(g, n);
    size_t w = (g->in.w - 1) * stride + size;
    size_t h = (g->in.h - 1) * stride + size;
    if (w <= 2 * padding || h <= 2 * padding)
        refuse_section(g, "expected less padding, for an output of %zu x %zu", w, h);
    shape s = image_of(g, w - 2 * padding, h - 2 * padding, n);
    take_weights(g, product(g->in.c, n, size, size), n, s.outputs);
    take_workspace(g, product(g->in.w, g->in.h, size * size, n));
    return s;
}

/* Of the two rules for its output, its own and im2col's, both must give the same. */
static size_t local_windows(const geometry *g, size_t length, size_t pad, size_t size,
                            size_t stride)
{
    size_t own = pad ? 1 : size;
    if (windows(g, length, 2 * pad, size, stride) !=
        (length < own ? 0 : (length - own) / stride + 1)) {
        refuse_section(g, "expected size=3 with pad=1");
    }
    return windows(g, length, 2 * pad, size, stride);
}

static shape reckon_local(geometry *g)
{
    size_t n = number(g, "filters", 1, 1, INT_MAX);
    size_t size = number(g, "size", 1, 1, INT_MAX);
    size_t stride = number(g, "stride", 1, 1, INT_MAX);
    size_t pad = number(g, "pad", 0, 0, INT_MAX / 2);
    need_image(g);
    shape s = image_of(g, local_windows(g, g->in.w, pad, size, stride),
                       local_windows(g, g->in.h, pad, size, stride), n);
    size_t weights = product(product(g->in.c, n, size, size), s.w, s.h, 1);
    take_weights(g, weights, s.outputs, s.outputs);
    take_workspace(g, product(s.w, s.h, product(size, size, 1, 1), g->in.c));
    return s;
}

static shape reckon_connected(geometry *g)
{
    size_t n = number(g, "output", 1, 1, INT_MAX);
    shape s = image_of(g, 1, 1, n);
    take_weights(g, product(g->in.outputs, n, 1, 1), n, n);
    return s;
}

static void check_steps(const geometry *g)
{
    if (g->batch % g->steps)
        refuse_section(g, "expected a batch that time_steps=%zu divides, found %zu", g->steps,
                       g->batch);
}

/* `gates` pairs of [connected]: one of what comes in, one of its own state */
static shape recurrent(geometry *g, size_t gates, size_t states)
{
    size_t i;
    size_t n = number(g, "output", 1, 1, INT_MAX);
    shape s = numbers(g, n);
    check_steps(g);
    for (i = 0; i < gates; ++i) {
        take_weights(g, product(g->in.outputs, n, 1, 1), n, n);
        take_weights(g, product(n, n, 1, 1), n, n);
    }
    take(g, 0, states * n);
    return s;
}

static shape reckon_rnn(geometry *g)
{
    shape s = recurrent(g, 1, 2);
    take_weights(g, product(s.outputs, s.outputs, 1, 1), s.outputs, s.outputs);
    return s;
}

static shape reckon_gru(geometry *g)
{
    return recurrent(g, 3, 9);
}

static shape reckon_lstm(geometry *g)
{
    return recurrent(g, 4, 15);
}

static shape reckon_crnn(geometry *g)
{
    size_t hidden = number(g, "hidden_filters", 1, 1, INT_MAX);
    size_t n = number(g, "output_filters", 1, 1, INT_MAX);
    need_image(g);
    check_steps(g);
    size_t w = g->in.w, h = g->in.h, most = hidden > g->in.c ? hidden : g->in.c;
    size_t states = image_of(g, w, h, hidden).outputs;
    shape s = image_of(g, w, h, n);
    counted(g, product(states, g->batch / g->steps, g->steps + 1, 1), "numbers of state");
    take_weights(g, product(9, g->in.c, hidden, 1), hidden, states);
    take_weights(g, product(9, hidden, hidden, 1), hidden, states);
    take_weights(g, product(9, hidden, n, 1), n, s.outputs);
    take(g, 0, 2 * states);
    take_workspace(g, product(w, h, 9, most));
    return s;
}

static shape reckon_crop(geometry *g)
{
    need_image(g);
    size_t h = number(g, "crop_height", 1, 1, g->in.h);
    size_t w = number(g, "crop_width", 1, 1, g->in.w);
    shape s = image_of(g, w, h, g->in.c);
    take(g, 0, s.outputs);
    return s;
}

/* Losses read as many numbers of truth as they have inputs. */
static shape loss(geometry *g, size_t arrays)
{
    shape s = numbers(g, g->in.outputs);
    s.reads = s.outputs;
    take(g, 0, arrays * s.outputs);
    return s;
}

static shape reckon_cost(geometry *g)
{
    return loss(g, 2);
}

static shape reckon_logistic(geometry *g)
{
    shape s = same(g, 3);
    s.reads = s.outputs;
    return s;
}

static shape reckon_softmax(geometry *g)
{
    size_t groups = number(g, "groups", 1, 1, INT_MAX);
    if (g->in.outputs % groups)
        refuse(g, "groups", "expected a divisor of %zu, the numbers that come in",
               g->in.outputs);
    shape s = loss(g, 3);
    if (number(g, "noloss", 0, INT_MIN, INT_MAX)) s.reads = 0;
    return s;
}

static shape reckon_normalization(geometry *g)
{
    size_t size = number(g, "size", 5, 1, INT_MAX);
    need_image(g);
    if (size % 2 == 0 || size / 2 > g->in.c)
        refuse(g, "size", "expected an odd number, at most %zu with %zu channels",
               2 * g->in.c + 1, g->in.c);
    return same(g, 4);
}

static shape reckon_batchnorm(geometry *g)
{
    need_image(g);
    number(g, "affine", 0, 0, 1);
    take(g, 10 * g->in.c, 0);
    return same(g, 4);
}

/* No window lies in the padding alone, nor is it so large that looking at its padding never
 * ends. */
static shape pooled(geometry *g)
{
    size_t side = g->in.w > g->in.h ? g->in.w : g->in.h, most = side > 500 ? 2 * side : 1000;
    steps step = steps_of(g, most);
    size_t size = number(g, "size", number(g, "stride", 1, 1, most), 1, most);
    size_t padding = number(g, "padding", size - 1, 0, 2 * size - 2);
    return image_of(g, windows(g, g->in.w, padding, size, step.x),
                    windows(g, g->in.h, padding, size, step.y), g->in.c);
}

static shape reckon_maxpool(geometry *g)
{
    need_image(g);
    int is_deep = number(g, "maxpool_depth", 0, 0, 1);
    shape s = is_deep ? image_of(g, g->in.w, g->in.h, number(g, "out_channels", 1, 1, g->in.c))
                      : pooled(g);
    take(g, 0, 3 * s.outputs);
    return s;
}

static shape reckon_local_avgpool(geometry *g)
{
    need_image(g);
    number(g, "count_padding", 0, 0, 1);
    shape s = pooled(g);
    take(g, 0, 2 * s.outputs);
    return s;
}

static shape reckon_shuffle(geometry *g)
{
    need_image(g);
    if (g->in.c % number(g, "groups", 1, 1, INT_MAX))
        refuse(g, "groups", "expected a divisor of %zu, the channels that come in", g->in.c);
    return same(g, 2);
}

static shape reckon_avgpool(geometry *g)
{
    need_image(g);
    take(g, 0, 2 * g->in.c);
    return image_of(g, 1, 1, g->in.c);
}

static void need_multiples(const geometry *g, size_t stride)
{
    if (g->in.w % stride || g->in.h % stride)
        refuse(g, "stride", "expected a divisor of the input's %zu x %zu", g->in.w, g->in.h);
}

/* Blocks of stride x stride pixels become channels, or the other way round. */
static shape reckon_reorg(geometry *g)
{
    need_image(g);
    size_t stride = number(g, "stride", 1, 1, 46340);
    size_t area = stride * stride;
    size_t extra = number(g, "extra", 0, 0, INT_MAX);
    int reverse = number(g, "reverse", 0, INT_MIN, INT_MAX) != 0;
    int flatten = number(g, "flatten", 0, INT_MIN, INT_MAX) != 0;
    int is_3d = !strcmp(g->section, "[reorg3d]"); /* reads stride= alone */
    size_t w = g->in.w, h = g->in.h, c = g->in.c;
    if (is_3d) extra = reverse = 0;
    if (!extra && !reverse) need_multiples(g, stride);
    if (!extra && (reverse || (!flatten && !is_3d)) && c % area)
        refuse(g, "stride", "expected one whose square divides %zu, the channels that come in",
               c);
    shape s = extra     ? numbers(g, g->in.outputs + extra)
              : reverse ? image_of(g, w * stride, h * stride, c / area)
                        : image_of(g, w / stride, h / stride, c * area);
    take(g, 0, 2 * s.outputs);
    take_workspace(g, product(g->in.outputs, g->batch, 1, 1));
    return s;
}

static shape reckon_upsample(geometry *g)
{
    need_image(g);
    long long stride = number(g, "stride", 2, -INT_MAX, INT_MAX);
    if (!stride) refuse(g, "stride", "expected a number other than 0");
    if (stride < 0) need_multiples(g, -stride);
    shape s = stride > 0 ? image_of(g, product(g->in.w, stride, 1, 1),
                                    product(g->in.h, stride, 1, 1), g->in.c)
                         : image_of(g, g->in.w / -stride, g->in.h / -stride, g->in.c);
    take(g, 0, 2 * s.outputs);
    return s;
}

static shape reckon_l2norm(geometry *g)
{
    need_image(g);
    return same(g, 3);
}

static shape reckon_activation(geometry *g)
{
    take_activation(g, g->in.outputs);
    return same(g, 2 * sizeof(float *) / sizeof(float));
}

/* It has its neighbour's outputs. */
static shape reckon_dropout(geometry *g)
{
    if (!g->n) refuse_section(g, "expected a layer before it");
    return same(g, 1);
}

/* The layer that the text at *at names, as -1 or 8; *at is then behind it. */
static shape source(const geometry *g, const char *key, char **at)
{
    char *end;
    long long index = strtoll(*at, &end, 10);
    if (index < 0) index += g->n;
    if (end == *at || index < 0 || index >= g->n)
        refuse(g, key, "expected layers above this one, which is layer %d", g->n);
    *at = end + strspn(end, " \t");
    if (index + 1 < g->n && g->layers[index + 1].has_logistic)
        refuse(
            g, key,
            "expected another layer than %lld, whose logistic belongs to the [yolo] behind it",
            index);
    return g->layers[index];
}

/* The only layer of from= */
static shape only_source(const geometry *g)
{
    char *at = value_of(g, "from");
    if (!at) refuse(g, "from", "expected a layer above this one");
    shape from = source(g, "from", &at);
    if (*at && *at != '#') refuse(g, "from", "expected one layer above this one");
    return from;
}

static shape reckon_route(geometry *g)
{
    char *at = value_of(g, "layers");
    char parts[256] = "";
    size_t used = 0, c = 0, outputs = 0;
    int mixed = 0;
    size_t groups = number(g, "groups", 1, 1, INT_MAX);
    shape first = {0};
    number(g, "group_id", 0, 0, groups - 1);
    if (!at) refuse(g, "layers", "expected layers above this one");
    for (;;) {
        shape from = source(g, "layers", &at);
        if (groups > 1 && (from.c % groups || !from.c))
            refuse(g, "groups", "expected a divisor of %zu, the channels of %.20s, line %d",
                   from.c, from.section, from.line);
        from.c /= groups;
        from.outputs /= groups;
        if (!outputs) first = from;
        mixed |= from.w != first.w || from.h != first.h;
        c += from.c;
        outputs += from.outputs;
        if (used < sizeof(parts))
            used +=
                snprintf(parts + used, sizeof(parts) - used, "%s%zu x %zu of %.20s, line %d",
                         used ? ", " : "", from.w, from.h, from.section, from.line);
        if (!*at || *at == '#') break;
        if (*at++ != ',') refuse(g, "layers", "expected numbers with commas between them");
    }
    shape s = mixed ? numbers(g, outputs) : image_of(g, first.w, first.h, c);
    s.outputs = numbers(g, outputs).outputs;
    if (mixed) s.parts = copy_string(parts);
    take(g, 0, 2 * outputs);
    return s;
}

/* Whether text, a list of layers, has more than one */
static int has_several(const char *text)
{
    return text && text[strcspn(text, ",#")] == ',';
}

/* All of the size of what comes in; weights for each of them and for that */
static shape reckon_multi_shortcut(geometry *g)
{
    char *at = value_of(g, "from"), *type = value_of(g, "weights_type");
    size_t n = 1, most = type && !strcmp(type, "per_channel") ? g->in.c : 1;
    need_image(g);
    do {
        at += *at == ',';
        shape from = source(g, "from", &at);
        ++n;
        if (from.w != g->in.w || from.h != g->in.h || !from.c)
            refuse(g, "from",
                   "expected images of %zu x %zu, which come in, found %zu x %zu of %.40s, "
                   "line %d",
                   g->in.w, g->in.h, from.w, from.h, from.section, from.line);
    } while (*at == ',');
    if (*at && *at != '#') refuse(g, "from", "expected numbers with commas between them");
    size_t weights = counted(g, product(n, most, 1, 1), "weights");
    take(g, type ? 2 * weights : 0, 0);
    take_workspace(g, weights);
    take_activation(g, g->in.outputs);
    return same(g, 2);
}

static shape reckon_shortcut(geometry *g)
{
    if (has_several(value_of(g, "from"))) return reckon_multi_shortcut(g);
    shape from = only_source(g);
    const shape *to = &g->in;
    need_image(g);
    if (!from.w || !from.h || !from.c)
        refuse(g, "from", "expected an image, found %zu numbers of %.40s, line %d",
               from.outputs, from.section, from.line);
    if (from.w / to->w != from.h / to->h || to->w / from.w != to->h / from.h) {
        refuse(g, "from",
               "expected a width and a height that differ alike, found %zu x %zu of %.40s, "
               "line %d, to be added to %zu x %zu",
               from.w, from.h, from.section, from.line, to->w, to->h);
    }
    take_activation(g, to->outputs);
    return same(g, 2);
}

/* The image of `from`, which meets what comes in: the same, or one number a channel or a pixel
 */
static shape reckon_gate(geometry *g, int by_channel, int by_pixel)
{
    shape from = only_source(g);
    size_t w = by_channel ? 1 : from.w, h = by_channel ? 1 : from.h, c = by_pixel ? 1 : from.c;
    need_image(g);
    if (!from.w || !from.h || !from.c || g->in.w != w || g->in.h != h || g->in.c != c)
        refuse(
            g, "from",
            "expected %zu x %zu x %zu to come in for %zu x %zu x %zu of %.40s, line %d, found "
            "%zu x %zu x %zu",
            w, h, c, from.w, from.h, from.c, from.section, from.line, g->in.w, g->in.h,
            g->in.c);
    shape s = image_of(g, from.w, from.h, from.c);
    take(g, 0, 2 * s.outputs);
    return s;
}

static shape reckon_sam(geometry *g)
{
    return reckon_gate(g, 0, 0);
}

static shape reckon_scale_channels(geometry *g)
{
    int by_pixel = number(g, "scale_wh", 0, 0, 1);
    return reckon_gate(g, !by_pixel, by_pixel);
}

/* parser.c has checked, or will, that filters= of the layer before fits. */
static shape boxes(geometry *g, size_t max, size_t fields)
{
    need_image(g);
    shape s = same(g, 2);
    char *random = value_of(g, "random");
    if (random) g->random = atof(random);
    s.truths = s.reads = product(max, fields, 1, 1);
    counted(g, product(s.truths, g->batch, 1, 1), "numbers of truth in a batch");
    return s;
}

static shape reckon_yolo(geometry *g)
{
    shape s = boxes(g, number(g, "max", 90, 1, 100000), 5);
    s.has_logistic = number(g, "new_coords", 0, 0, 1);
    return s;
}

static shape reckon_region(geometry *g)
{
    return boxes(g, number(g, "max", 30, 1, 100000), number(g, "coords", 4, 4, 1000000) + 1);
}

static shape reckon_iseg(geometry *g)
{
    size_t classes = number(g, "classes", 20, 1, INT_MAX);
    size_t ids = number(g, "ids", 32, 0, INT_MAX);
    need_image(g);
    if (g->in.c != classes + ids)
        refuse(g, "classes", "expected with ids=%zu the %zu channels that come in", ids,
               g->in.c);
    return boxes(g, 90, product(g->in.w, g->in.h, 1, 1) + 1);
}

static shape reckon_detection(geometry *g)
{
    size_t coords = number(g, "coords", 1, 1, INT_MAX / 2);
    size_t classes = number(g, "classes", 1, 1, INT_MAX / 2);
    size_t num = number(g, "num", 1, 1, INT_MAX);
    size_t side = number(g, "side", 7, 1, 46340);
    size_t cell = product(1 + coords, num, 1, 1) + classes;
    if (product(side, side, cell, 1) != g->in.outputs) {
        refuse(g, "side",
               "expected side x side x ((1 + coords=%zu) x num=%zu + classes=%zu) to be %zu, "
               "the numbers that come in",
               coords, num, classes, g->in.outputs);
    }
    shape s = numbers(g, g->in.outputs);
    s.truths = s.reads = product(side, side, 1 + coords + classes, 1);
    counted(g, product(s.truths, g->batch, 1, 1), "numbers of truth in a batch");
    take(g, 0, 2 * s.outputs);
    return s;
}

static const struct {
    LAYER_TYPE type;
    shape (*reckon)(geometry *g);
} reckoners[] = {
    {CONVOLUTIONAL, reckon_convolutional},
    {DECONVOLUTIONAL, reckon_deconvolutional},
    {LOCAL, reckon_local},
    {CONNECTED, reckon_connected},
    {RNN, reckon_rnn},
    {GRU, reckon_gru},
    {LSTM, reckon_lstm},
    {CRNN, reckon_crnn},
    {CROP, reckon_crop},
    {COST, reckon_cost},
    {LOGXENT, reckon_logistic},
    {SOFTMAX, reckon_softmax},
    {NORMALIZATION, reckon_normalization},
    {BATCHNORM, reckon_batchnorm},
    {MAXPOOL, reckon_maxpool},
    {AVGPOOL, reckon_avgpool},
    {LOCAL_AVGPOOL, reckon_local_avgpool},
    {SHUFFLE, reckon_shuffle},
    {REORG, reckon_reorg},
    {UPSAMPLE, reckon_upsample},
    {L2NORM, reckon_l2norm},
    {ACTIVE, reckon_activation},
    {DROPOUT, reckon_dropout},
    {ROUTE, reckon_route},
    {SHORTCUT, reckon_shortcut},
    {SAM, reckon_sam},
    {SCALE_CHANNELS, reckon_scale_channels},
    {YOLO, reckon_yolo},
    {REGION, reckon_region},
    {ISEG, reckon_iseg},
    {DETECTION, reckon_detection},
};

static shape reckon(geometry *g, LAYER_TYPE type)
{
    size_t i;
    for (i = 0; i < sizeof(reckoners) / sizeof(*reckoners); ++i) {
        if (reckoners[i].type == type) return reckoners[i].reckon(g);
    }
    return same(g, 0);
}

static void begin_section(geometry *g, char *section, int line, list *options)
{
    g->section = copy_string(section);
    g->line = line;
    g->options = options;
}

static void end_section(geometry *g, shape s, LAYER_TYPE type)
{
    s.type = type;
    s.line = g->line;
    s.section = g->section;
    g->in = s;
}

geometry *start_geometry(char *cfg, char *section, int line, list *options, int layers,
                         int batch)
{
    geometry *g = calloc(1, sizeof(geometry));
    if (!g) malloc_error();
    g->layers = calloc(layers, sizeof(shape));
    if (layers && !g->layers) malloc_error();
    g->cfg = cfg;
    begin_section(g, section, line, options);
    size_t images = number(g, "batch", 1, 1, INT_MAX);
    size_t subdivisions = number(g, "subdivisions", 1, 1, INT_MAX);
    if (images < subdivisions) refuse(g, "subdivisions", "expected at most batch=%zu", images);
    g->steps = number(g, "time_steps", 1, 1, INT_MAX);
    g->batch = batch ? (size_t)batch : images / subdivisions * g->steps;
    g->adam = number(g, "adam", 0, INT_MIN, INT_MAX) != 0;
    counted(g, product(images / subdivisions, subdivisions, g->steps, 1), "images in a batch");
    size_t w = number(g, "width", 0, 0, INT_MAX);
    size_t h = number(g, "height", 0, 0, INT_MAX);
    size_t c = number(g, "channels", 0, 0, INT_MAX);
    size_t whc = product(w, h, c, 1);
    g->area = (double)w * h;
    size_t inputs = number(g, "inputs", whc > INT_MAX ? 0 : whc, 0, INT_MAX);
    if (whc && value_of(g, "inputs") && inputs != whc)
        refuse(g, "inputs", "expected width x height x channels, %zu", whc);
    shape s = whc ? image_of(g, w, h, c) : numbers(g, inputs);
    if (!s.outputs) refuse_section(g, "expected width, height and channels, or inputs");
    take(g, 0, s.outputs);
    end_section(g, s, BLANK);
    return g;
}

void note_repeated(char *cfg, char *section, int line, list *options)
{
    char text[1024];
    node *n, *m;
    for (n = options->front; n; n = n->next) {
        kvp *again = n->val;
        for (m = options->front; m != n; m = m->next) {
            kvp *first = m->val;
            if (strcmp(first->key, again->key)) continue;
            again->used = 1;
            if (0 == strcmp(first->val, again->val)) break;
            snprintf(text, sizeof(text),
                     "%.600s: line %d: %.40s has %.40s= more than once: %.100s counts, %.100s "
                     "does not",
                     cfg, line, section, first->key, first->val, again->val);
            fprintf(stderr, "%s\n", printable(text));
            break;
        }
    }
}

void add_geometry(geometry *g, LAYER_TYPE type, char *section, int line, list *options)
{
    begin_section(g, section, line, options);
    shape s = reckon(g, type);
    s.is_truth = type != BLANK && number(g, "truth", 0, INT_MIN, INT_MAX) != 0;
    end_section(g, s, type);
    g->layers[g->n++] = g->in;
}

static char *text_of(const geometry *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    return describe(g, 0, 0, format, args);
}

/* All losses but those behind a truth=1 are taken from the network's truths. */
static char *find_other_truths(geometry *g, const shape *out)
{
    int i;
    const shape *last = g->layers + g->n - 1;
    while (last->type == BLANK) --last;
    if (!last->truths) last = out;
    size_t truths = last->truths ? last->truths : last->outputs;
    for (i = 0; i < g->n; ++i) {
        const shape *s = g->layers + i;
        int heads = (s->type == YOLO || s->type == REGION) &&
                    (last->type == YOLO || last->type == REGION);
        if (s->reads && s->reads != truths && !heads) {
            g->line = s->line;
            g->section = s->section;
            return text_of(
                g, "it learns %zu numbers of each image, expected %zu as of %.40s, line %d",
                s->reads, truths, last->section, last->line);
        }
        if (s->is_truth) {
            last = s;
            truths = s->outputs;
        }
    }
    return 0;
}

/* What `ulimit -v` leaves */
static size_t address_space(void)
{
    struct rlimit limit;
    size_t pages = 0;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    FILE *fp = fopen("/proc/self/statm", "r");
    if (fp && fscanf(fp, "%zu", &pages) != 1) pages = 0;
    if (fp) fclose(fp);
    size_t used = pages * sysconf(_SC_PAGESIZE);
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

static size_t machine_memory(void)
{
    struct sysinfo info;
    return sysinfo(&info) ? SIZE_MAX : ((size_t)info.totalram + info.totalswap) * info.mem_unit;
}

#define MB(bytes) (((bytes) + 999999) / 1000000)

/* How many times the cfg's area the largest images of a detector's random= have */
static double find_growth(const geometry *g)
{
    double growth =
        g->random > 1 ? g->random * g->random : (g->random == 1) * 608. * 608 / g->area;
    return growth > 1 ? growth : 1;
}

/*
 * Pages that nobody writes to take no memory: prediction, which goes on with one image, does
 * with that one's where all of the batch has its addresses, and with the half of the arrays
 * that are no gradients.
 */
static void check_memory(const geometry *g, network *net)
{
    size_t one = (g->fixed + g->image) / 2 + g->workspace;
    size_t left = address_space(), has = machine_memory();
    size_t batch = g->fixed + g->image * g->batch + g->workspace;
    net->memory = g->fixed + find_growth(g) * (g->image * g->batch + g->workspace);
    if (batch > left) {
        fprintf(stderr,
                "%s: needs %zu MB of memory for %zu images at once, expected at most the %zu "
                "MB that 'ulimit -v' leaves\n",
                g->cfg, MB(batch), g->batch, left / 1000000);
        exit(1);
    }
    if (one > has) {
        fprintf(stderr,
                "%s: needs %zu MB of memory for one image, expected at most the %zu MB of this "
                "machine\n",
                g->cfg, MB(one), has / 1000000);
        exit(1);
    }
}

void check_trainable(network *net)
{
    size_t has = machine_memory();
    if (net->untrainable) stop(net->untrainable);
    if (gpu_index < 0 && net->memory > has) { /* a GPU's training leaves these arrays alone */
        fprintf(stderr,
                "[net] batch, subdivisions and a head's random=: training %d images at once "
                "needs %zu MB of memory, expected at most the %zu MB of this machine\n",
                net->batch, MB(net->memory), has / 1000000);
        exit_once(1);
    }
    net->memory = 0; /* once is enough */
}

void finish_geometry(geometry *g, network *net)
{
    int i, out = g->n - 1;
    list none = {0};
    g->options = &none;
    while (out >= 0 && (g->layers[out].type == COST || g->layers[out].type == BLANK)) --out;
    if (out < 0) refuse_section(g, "expected a layer besides [net] and [cost]");
    net->untrainable = find_other_truths(g, g->layers + out);
    check_memory(g, net);
    for (i = 0; i < g->n; ++i) {
        free(g->layers[i].section);
        free(g->layers[i].parts);
    }
    free(g->layers);
    free(g);
}
