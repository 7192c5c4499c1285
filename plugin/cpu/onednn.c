/* See onednn.h. oneDNN's C interface, versions 2 and 3. */
#include "cpu/onednn.h"
#include "cpu/filters.h"
#include "cpu/scratch.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

#ifdef DNNL

#include <dnnl.h>
#include <omp.h>
#include <sys/mman.h>

#if DNNL_VERSION_MAJOR != 2 && DNNL_VERSION_MAJOR != 3
#error "found another version of oneDNN, expected 2 or 3 (Debian's libdnnl-dev); or make DNNL=0"
#endif

#define LEAST_CHANNELS 16 /* with fewer, and with fewer tiles of 4x4 pixels, Winograd's */
#define LEAST_TILES 16    /* transforms cost more than they save (tests/bench/README.md) */

/* More than the code of one convolution takes, and 128 MiB that malloc may take for another
 * thread at the same time */
#define CODE_BYTES (192 << 20)

#define NEARLY_FLAT 1e-30f /* with a slope of 0 oneDNN makes 0 of what is not a number */

typedef enum { FORWARD, BACK_DATA, BACK_WEIGHTS, KINDS } step_kind;
typedef enum { IN, WEIGHTS, OUT, ROLES } role; /* in backward steps also of their gradients */

static const role result_of[KINDS] = {OUT, IN, WEIGHTS};
static const int argument_of[KINDS][ROLES] = {
    {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
    {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
    {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST},
};

/* How an array lies in memory: of version 2 a struct, of version 3 opaque */
#if DNNL_VERSION_MAJOR == 2
typedef dnnl_memory_desc_t *layout;
typedef const dnnl_memory_desc_t *const_layout;
#else
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t const_layout;
#endif

/* One of the three computations, in the layouts that oneDNN wants */
typedef struct {
    dnnl_primitive_t run;
    layout own[ROLES];
    layout work;                     /* its scratch memory */
    dnnl_primitive_t reorder[ROLES]; /* arguments to their own layout, the result from it;
                                        NULL: it is Darknet's */
} step;

typedef struct {
    dnnl_dims_t dims[ROLES];
    layout plain[ROLES]; /* as the callers have them */
    layout bias;         /* of a finished one */
    step steps[KINDS];
    float *weights[BACK_WEIGHTS]; /* of FORWARD and BACK_DATA, in their own layout */
} onednn;

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void check(dnnl_status_t status, const char *what)
{
    if (status != dnnl_success) kd_fail("oneDNN: %s failed with status %d", what, status);
}

/* What the versions write differently: layouts, a convolution's description, a sum */

/* A convolution without its direction and its algorithm */
typedef struct {
    layout any[KINDS][ROLES], bias; /* oneDNN may choose some of them; NULL: no bias */
    dnnl_dims_t strides, holes, low, high;
    dnnl_prop_kind_t use;
    const_dnnl_primitive_attr_t attr;
} description;

#if DNNL_VERSION_MAJOR == 2

static layout copy_layout(const_layout from)
{
    layout made = kd_calloc(1, sizeof(*made));
    *made = *from;
    return made;
}

static layout make_layout(int n, const dnnl_dims_t dims, dnnl_data_type_t type,
                          dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t made;
    check(dnnl_memory_desc_init_by_tag(&made, n, dims, type, tag),
          "dnnl_memory_desc_init_by_tag");
    return copy_layout(&made);
}

static void free_layout(layout l)
{
    free(l);
}

static dnnl_status_t describe(dnnl_primitive_desc_t *found, const description *d,
                              step_kind kind, dnnl_alg_kind_t algorithm,
                              const_dnnl_primitive_desc_t forward)
{
    const layout *any = d->any[kind], in = any[IN], weights = any[WEIGHTS], out = any[OUT];
    dnnl_convolution_desc_t made;
    dnnl_status_t bad =
        kind == FORWARD
            ? dnnl_dilated_convolution_forward_desc_init(&made, d->use, algorithm, in, weights,
                                                         d->bias, out, d->strides, d->holes,
                                                         d->low, d->high)
        : kind == BACK_DATA
            ? dnnl_dilated_convolution_backward_data_desc_init(
                  &made, algorithm, in, weights, out, d->strides, d->holes, d->low, d->high)
            : dnnl_dilated_convolution_backward_weights_desc_init(
                  &made, algorithm, in, weights, 0, out, d->strides, d->holes, d->low, d->high);
    return bad ? bad : dnnl_primitive_desc_create(found, &made, d->attr, engine, forward);
}

#define append_sum(operations) dnnl_post_ops_append_sum(operations, 1)
#define append_eltwise(operations, kind, alpha)                                                \
    dnnl_post_ops_append_eltwise(operations, 1, kind, alpha, 0)

#else

static layout copy_layout(const_layout from)
{
    layout made;
    check(dnnl_memory_desc_clone(&made, from), "dnnl_memory_desc_clone");
    return made;
}

static layout make_layout(int n, const dnnl_dims_t dims, dnnl_data_type_t type,
                          dnnl_format_tag_t tag)
{
    layout made;
    check(dnnl_memory_desc_create_with_tag(&made, n, dims, type, tag),
          "dnnl_memory_desc_create_with_tag");
    return made;
}

static void free_layout(layout l)
{
    dnnl_memory_desc_destroy(l);
}

static dnnl_status_t describe(dnnl_primitive_desc_t *found, const description *d,
                              step_kind kind, dnnl_alg_kind_t algorithm,
                              const_dnnl_primitive_desc_t forward)
{
    const layout *any = d->any[kind], in = any[IN], weights = any[WEIGHTS], out = any[OUT];
    return kind == FORWARD ? dnnl_convolution_forward_primitive_desc_create(
                                 found, engine, d->use, algorithm, in, weights, d->bias, out,
                                 d->strides, d->holes, d->low, d->high, d->attr)
           : kind == BACK_DATA ? dnnl_convolution_backward_data_primitive_desc_create(
                                     found, engine, algorithm, in, weights, out, d->strides,
                                     d->holes, d->low, d->high, forward, d->attr)
                               : dnnl_convolution_backward_weights_primitive_desc_create(
                                     found, engine, algorithm, in, weights, 0, out, d->strides,
                                     d->holes, d->low, d->high, forward, d->attr);
}

#define append_sum(operations) dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef)
#define append_eltwise(operations, kind, alpha)                                                \
    dnnl_post_ops_append_eltwise(operations, kind, alpha, 0)

#endif

/* Calling it */

static void open_engine(void)
{
    if (engine) return;
#ifndef _OPENMP
    omp_set_num_threads(1); /* OPENMP=0 is for oneDNN too */
#endif
    check(dnnl_engine_create(&engine, dnnl_cpu, 0), "dnnl_engine_create");
    check(dnnl_stream_create(&stream, engine, dnnl_stream_in_order), "dnnl_stream_create");
}

/* Floats that hold it, whatever its type */
static size_t numbers(const_layout d)
{
    return (dnnl_memory_desc_get_size(d) + sizeof(float) - 1) / sizeof(float);
}

static dnnl_memory_t wrap(const_layout d, const float *data)
{
    dnnl_memory_t memory;
    check(dnnl_memory_create(&memory, d, engine, (void *)data), "dnnl_memory_create");
    return memory;
}

static void execute(dnnl_primitive_t primitive, int n, dnnl_exec_arg_t *arguments)
{
    check(dnnl_primitive_execute(primitive, stream, n, arguments), "dnnl_primitive_execute");
    for (int i = 0; i < n; ++i) dnnl_memory_destroy(arguments[i].memory);
}

static void reorder(dnnl_primitive_t primitive, const_layout from_desc, const float *from,
                    const_layout to_desc, float *to)
{
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, wrap(from_desc, from)},
                                   {DNNL_ARG_TO, wrap(to_desc, to)}};
    execute(primitive, 2, arguments);
}

/* A step's argument in its own layout: data itself, or a copy in `to` */
static const float *own_layout(const onednn *o, step_kind kind, role r, const float *data,
                               float *to)
{
    const step *s = o->steps + kind;
    if (!s->reorder[r]) return data;
    reorder(s->reorder[r], o->plain[r], data, s->own[r], to);
    return to;
}

static float *scratch_for(scratch_slot slot, const_layout d)
{
    return thread_scratch(slot, numbers(d));
}

/* biases: NULL for a step that has none */
static void run(const onednn *o, step_kind kind, const float *in, const float *weights,
                const float *out, const float *biases)
{
    const step *s = o->steps + kind;
    dnnl_exec_arg_t arguments[5] = {
        {argument_of[kind][IN], wrap(s->own[IN], in)},
        {argument_of[kind][WEIGHTS], wrap(s->own[WEIGHTS], weights)},
        {argument_of[kind][OUT], wrap(s->own[OUT], out)},
        {DNNL_ARG_SCRATCHPAD, wrap(s->work, scratch_for(SCRATCH_WORK, s->work))},
    };
    if (biases) arguments[4] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, wrap(o->bias, biases)};
    execute(s->run, biases ? 5 : 4, arguments);
}

/* Making it */

/* The description of a step by an algorithm; NULL when oneDNN has none. */
static dnnl_primitive_desc_t find(const description *d, step_kind kind,
                                  dnnl_alg_kind_t algorithm)
{
    dnnl_primitive_desc_t forward, found;
    if (describe(&forward, d, FORWARD, algorithm, 0)) return 0; /* a hint for the others */
    if (kind == FORWARD) return forward;
    if (describe(&found, d, kind, algorithm, forward)) found = 0;
    dnnl_primitive_desc_destroy(forward);
    return found;
}

static int is_fast(dnnl_primitive_desc_t found)
{
    const char *name = "";
    if (!found) return 0;
    dnnl_primitive_desc_query(found, dnnl_query_impl_info_str, 0, &name);
    return strncmp(name, "ref", 3) != 0;
}

static int suits_winograd(convolution_shape s)
{
    int tiles = s.n * ((s.out_h + 3) / 4) * ((s.out_w + 3) / 4);
    return s.size == 3 && s.stride_x == 1 && s.stride_y == 1 && s.spacing == 1 &&
           s.split == 1 && s.c >= LEAST_CHANNELS && s.filters >= LEAST_CHANNELS &&
           tiles >= LEAST_TILES;
}

static layout layout_of(const dnnl_dims_t dims, image_form form)
{
    static const dnnl_data_type_t types[] = {dnnl_f32, dnnl_f32, dnnl_bf16, dnnl_s8};
    return make_layout(4, dims, types[form], form == FORM_PLAIN ? dnnl_abcd : dnnl_acdb);
}

/* Dimensions of an array: where channels are split, weights have one more */
static int dimensions(convolution_shape s, role r)
{
    return r == WEIGHTS && s.split > 1 ? 5 : 4;
}

/* In a step whose factors have this type. Where no other convolution hands images on, oneDNN
 * may choose; not for one side alone, for which it has less code. */
static layout wanted(const onednn *o, convolution_shape s, step_kind kind, role r,
                     dnnl_data_type_t type)
{
    image_form form = r == IN ? s.in : r == OUT ? s.out : FORM_PLAIN;
    int is_result = r == result_of[kind], is_last = r != WEIGHTS && (s.in || s.out);
    if (is_result && form != FORM_PLAIN) return layout_of(o->dims[r], form);
    return make_layout(dimensions(s, r), o->dims[r], is_result ? dnnl_f32 : type,
                       is_last ? dnnl_acdb : dnnl_format_tag_any);
}

/* type: of images and weights; NULL when oneDNN has no fast code for it */
static dnnl_primitive_desc_t choose(const onednn *o, convolution_shape s, step_kind kind,
                                    dnnl_data_type_t type, const_dnnl_primitive_attr_t attr)
{
    int extent = (s.size - 1) * s.spacing + 1;
    description d = {
        .strides = {s.stride_y, s.stride_x},
        .holes = {s.spacing - 1, s.spacing - 1},
        .low = {s.pad, s.pad},
        .high = {(s.out_h - 1) * s.stride_y + extent - s.h - s.pad,
                 (s.out_w - 1) * s.stride_x + extent - s.w - s.pad},
        /* in inference the weights are brought into Winograd's form beforehand, which takes
           long */
        .use = s.is_constant ? dnnl_forward_inference : dnnl_forward_training,
        .attr = attr,
        .bias = o->bias,
    };
    dnnl_primitive_desc_t found = 0;
    for (int r = 0; r < ROLES; ++r) {
        d.any[FORWARD][r] = wanted(o, s, FORWARD, r, type);
        if (kind != FORWARD) d.any[kind][r] = wanted(o, s, kind, r, type);
    }
    if (suits_winograd(s) && type == dnnl_f32)
        found = find(&d, kind, dnnl_convolution_winograd);
    if (!found) found = find(&d, kind, dnnl_convolution_direct);
    for (int r = 0; r < ROLES; ++r) {
        free_layout(d.any[FORWARD][r]);
        if (kind != FORWARD) free_layout(d.any[kind][r]);
    }
    if (found && !is_fast(found)) {
        dnnl_primitive_desc_destroy(found);
        found = 0;
    }
    return found;
}

static dnnl_primitive_t make_reorder(const_layout from, const_layout to, int adds)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t sum;
    dnnl_primitive_desc_t found;
    dnnl_primitive_t made;
    check(dnnl_primitive_attr_create(&attr), "dnnl_primitive_attr_create");
    check(dnnl_post_ops_create(&sum), "dnnl_post_ops_create");
    if (adds) check(append_sum(sum), "dnnl_post_ops_append_sum");
    check(dnnl_primitive_attr_set_post_ops(attr, sum), "dnnl_primitive_attr_set_post_ops");
    check(dnnl_reorder_primitive_desc_create(&found, from, engine, to, engine, attr),
          "dnnl_reorder_primitive_desc_create");
    check(dnnl_primitive_create(&made, found), "dnnl_primitive_create");
    dnnl_primitive_desc_destroy(found);
    dnnl_post_ops_destroy(sum);
    dnnl_primitive_attr_destroy(attr);
    return made;
}

/* The gradients are added to what Darknet has, but for what is alone there; the output takes
 * its place. */
static void make_reorders(onednn *o, convolution_shape shape, step_kind kind)
{
    step *s = o->steps + kind;
    int grows = kind == BACK_WEIGHTS || (kind == BACK_DATA && !shape.is_alone_in_delta);
    for (int r = 0; r < ROLES; ++r) {
        int is_result = r == (int)result_of[kind], adds = is_result && grows;
        const_layout own = s->own[r], plain = o->plain[r];
        if (!adds && dnnl_memory_desc_equal(own, plain)) continue;
        s->reorder[r] =
            is_result ? make_reorder(own, plain, adds) : make_reorder(plain, own, 0);
    }
}

static dnnl_status_t append_activation(dnnl_post_ops_t behind, ACTIVATION a)
{
    float slope;
    if (has_slope(a, &slope))
        return append_eltwise(behind, dnnl_eltwise_relu, slope ? slope : NEARLY_FLAT);
    return append_eltwise(behind, a == MISH ? dnnl_eltwise_mish : dnnl_eltwise_swish, 1);
}

static dnnl_primitive_attr_t make_attributes(convolution_shape s)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t behind;
    check(dnnl_primitive_attr_create(&attr), "dnnl_primitive_attr_create");
    check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
          "dnnl_primitive_attr_set_scratchpad_mode");
    if (!s.is_finished || s.activation == LINEAR) return attr;
    check(dnnl_post_ops_create(&behind), "dnnl_post_ops_create");
    check(append_activation(behind, s.activation), "dnnl_post_ops_append_eltwise");
    check(dnnl_primitive_attr_set_post_ops(attr, behind), "dnnl_primitive_attr_set_post_ops");
    dnnl_post_ops_destroy(behind);
    return attr;
}

/* 1 when some row of a filter sees nothing but padding, along one side of the images */
static int has_blind_row(convolution_shape s, int inputs, int outputs, int stride)
{
    for (int q = 0; q < s.size; ++q) {
        int sees = 0;
        for (int j = 0; j < outputs; ++j) {
            int at = j * stride - s.pad + q * s.spacing;
            sees |= at >= 0 && at < inputs;
        }
        if (!sees) return 1;
    }
    return 0;
}

/* oneDNN's weights' gradients in bfloat16 are wrong where rows are blind (2.6). */
static arithmetic find_factors(convolution_shape s, step_kind kind)
{
    int is_blind = has_blind_row(s, s.h, s.out_h, s.stride_y) ||
                   has_blind_row(s, s.w, s.out_w, s.stride_x);
    return kind == BACK_WEIGHTS && s.arithmetic == BFLOAT16 && is_blind ? FLOAT32
                                                                        : s.arithmetic;
}

/* 0 when oneDNN has no fast code for it */
static int make_step(onednn *o, convolution_shape shape, step_kind kind)
{
    static const dnnl_query_t queries[KINDS][ROLES] = {
        {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
        {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
        {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md},
    };
    static const dnnl_data_type_t types[] = {dnnl_f32, dnnl_bf16, dnnl_s8};
    step *s = o->steps + kind;
    dnnl_primitive_attr_t attr = make_attributes(shape);
    dnnl_primitive_desc_t found =
        choose(o, shape, kind, types[find_factors(shape, kind)], attr);
    if (!found && shape.arithmetic == BFLOAT16) found = choose(o, shape, kind, dnnl_f32, attr);
    dnnl_primitive_attr_destroy(attr);
    if (!found) return 0;
    for (int r = 0; r < ROLES; ++r)
        s->own[r] = copy_layout(dnnl_primitive_desc_query_md(found, queries[kind][r], 0));
    s->work = copy_layout(dnnl_primitive_desc_query_md(found, dnnl_query_scratchpad_md, 0));
    check(dnnl_primitive_create(&s->run, found), "dnnl_primitive_create");
    dnnl_primitive_desc_destroy(found);
    make_reorders(o, shape, kind);
    return 1;
}

/* Mostly for one thread: each of ours calls it with images of its own. 0 as make_step */
static int make_steps(onednn *o, convolution_shape s)
{
    int kind = 0, wanted = s.is_constant ? 1 : KINDS, threads = omp_get_max_threads();
    if (!s.is_alone) omp_set_num_threads(1);
    while (kind < wanted && ((kind == BACK_DATA && s.is_first) || make_step(o, s, kind)))
        ++kind;
    omp_set_num_threads(threads);
    return kind == wanted;
}

static void release(convolution *c)
{
    onednn *o = c->own;
    for (int kind = 0; kind < KINDS; ++kind) {
        step *s = o->steps + kind;
        if (s->run) dnnl_primitive_destroy(s->run);
        for (int r = 0; r < ROLES; ++r) {
            if (s->reorder[r]) dnnl_primitive_destroy(s->reorder[r]);
            if (s->own[r]) free_layout(s->own[r]);
        }
        if (s->work) free_layout(s->work);
    }
    for (int r = 0; r < ROLES; ++r) free_layout(o->plain[r]);
    if (o->bias) free_layout(o->bias);
    free(o->weights[FORWARD]);
    free(o->weights[BACK_DATA]);
    free(o);
}

/* Using it */

static void set_step_weights(onednn *o, step_kind kind, const float *weights)
{
    const_layout own = o->steps[kind].own[WEIGHTS];
    if (!o->weights[kind]) o->weights[kind] = kd_vectors(numbers(own));
    if (own_layout(o, kind, WEIGHTS, weights, o->weights[kind]) == weights)
        memcpy(o->weights[kind], weights, numbers(own) * sizeof(float));
}

static void take_weights(convolution *c, int backward)
{
    set_step_weights(c->own, FORWARD, c->weights);
    if (backward && !c->shape.is_first) set_step_weights(c->own, BACK_DATA, c->weights);
}

static void forward(const convolution *c, const float *in, float *out)
{
    const onednn *o = c->own;
    const step *s = o->steps + FORWARD;
    float *result = s->reorder[OUT] ? scratch_for(SCRATCH_OUT, s->own[OUT]) : out;
    in = own_layout(o, FORWARD, IN, in, scratch_for(SCRATCH_IN, s->own[IN]));
    run(o, FORWARD, in, o->weights[FORWARD], result, c->biases);
    if (s->reorder[OUT]) reorder(s->reorder[OUT], s->own[OUT], result, o->plain[OUT], out);
}

static size_t padded_size(const convolution *c)
{
    const onednn *o = c->own;
    return numbers(o->steps[BACK_WEIGHTS].own[WEIGHTS]);
}

static void back(const convolution *c, const float *in, int groups, float *const *deltas,
                 float *const *sums, float *const *in_deltas)
{
    const onednn *o = c->own;
    const step *data = o->steps + BACK_DATA, *weights = o->steps + BACK_WEIGHTS;
    int is_same = in_deltas && dnnl_memory_desc_equal(data->own[OUT], weights->own[OUT]);
    in = own_layout(o, BACK_WEIGHTS, IN, in, scratch_for(SCRATCH_IN, weights->own[IN]));
    for (int g = 0; g < groups; ++g) {
        const float *delta = own_layout(o, BACK_WEIGHTS, OUT, deltas[g],
                                        scratch_for(SCRATCH_OUT, weights->own[OUT]));
        run(o, BACK_WEIGHTS, in, sums[g], delta, 0);
        if (!in_deltas) continue;
        int is_direct = !data->reorder[IN];
        float *result = is_direct ? in_deltas[g] : scratch_for(SCRATCH_RESULT, data->own[IN]);
        if (!is_same)
            delta = own_layout(o, BACK_DATA, OUT, deltas[g],
                               scratch_for(SCRATCH_OUT, data->own[OUT]));
        run(o, BACK_DATA, result, o->weights[BACK_DATA], delta, 0);
        if (!is_direct)
            reorder(data->reorder[IN], data->own[IN], result, o->plain[IN], in_deltas[g]);
    }
}

static void add_sum(const convolution *c, const float *sum, float *gradient)
{
    const onednn *o = c->own;
    const step *s = o->steps + BACK_WEIGHTS;
    reorder(s->reorder[WEIGHTS], s->own[WEIGHTS], sum, o->plain[WEIGHTS], gradient);
}

/* Its generator of code maps its pages itself, and crashes where it gets none. malloc would not
   tell: it keeps pages that others have freed. */
static void look_for_memory(void)
{
    void *probe =
        mmap(0, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED)
        kd_fail("out of memory: oneDNN needs %d bytes for its code", CODE_BYTES);
    munmap(probe, CODE_BYTES);
}

int use_onednn(convolution *c)
{
    static const convolution_code code = {take_weights, forward, padded_size,
                                          back,         add_sum, release};
    convolution_shape s = c->shape;
    dnnl_dims_t dims[ROLES] = {{s.n, s.c, s.h, s.w},
                               {s.filters, s.c, s.size, s.size},
                               {s.n, s.filters, s.out_h, s.out_w}},
                split = {s.split, s.filters / s.split, s.c / s.split, s.size, s.size},
                filters = {s.filters};
    onednn *o = c->own = kd_calloc(1, sizeof(*o));
    look_for_memory();
    open_engine();
    memcpy(o->dims, dims, sizeof(dims));
    if (s.split > 1) memcpy(o->dims[WEIGHTS], split, sizeof(split));
    for (int r = 0; r < ROLES; ++r)
        o->plain[r] = dimensions(s, r) == 5 ? make_layout(5, o->dims[r], dnnl_f32, dnnl_abcde)
                                            : layout_of(dims[r], r == IN    ? s.in
                                                                 : r == OUT ? s.out
                                                                            : FORM_PLAIN);
    if (s.is_finished) o->bias = make_layout(1, filters, dnnl_f32, dnnl_a);
    if (make_steps(o, s)) {
        c->code = &code;
        return 1;
    }
    release(c);
    c->own = 0;
    return 0;
}

static int has_isa(unsigned wanted)
{
    return (dnnl_get_effective_cpu_isa() & wanted) ==
           wanted; /* bits, those of lesser ones too */
}

bfloat16_kind find_bfloat16(void)
{
    if (has_isa(dnnl_cpu_isa_avx512_core_bf16)) return BFLOAT16_FAST;
    return has_isa(dnnl_cpu_isa_avx512_core) ? BFLOAT16_SLOW : BFLOAT16_NONE;
}

unsigned find_instructions(void)
{
    return dnnl_get_effective_cpu_isa();
}

int has_int8(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_vnni);
}

#else

int use_onednn(convolution *c)
{
    (void)c;
    return 0;
}

bfloat16_kind find_bfloat16(void)
{
    return BFLOAT16_NONE;
}

unsigned find_instructions(void)
{
    return 0;
}

int has_int8(void)
{
    return 0;
}

#endif
