/*
 * cuDNN: convolutions by direct loops, batch normalization; sums are in double.
 *
 * The algorithms differ only in the workspace that they ask for: the fastest more than any
 * device has, the others sizes that grow with the tensors. It is checked, and overwritten.
 */
#include "emulator.h"
#include "cudnn.h"

#include <algorithm>
#include <vector>

using namespace emulator;

struct cudnnContext {
    int device;
    cudaStream_t stream;
};

struct cudnnTensorStruct {
    int n, c, h, w;
    size_t size() const
    {
        return (size_t)n * c * h * w;
    }
};

struct cudnnFilterStruct : cudnnTensorStruct {
};

struct cudnnConvolutionStruct {
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w;
    int groups = 1;
    cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

size_t cudnnGetVersion()
{
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    default: return "CUDNN_STATUS_INTERNAL_ERROR";
    }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    if (!device_count()) return CUDNN_STATUS_NOT_INITIALIZED;
    *handle = new cudnnContext{current_device(), nullptr};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    if (!handle) return CUDNN_STATUS_BAD_PARAM;
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

#define DESCRIPTOR(kind)                                                                       \
    cudnnStatus_t cudnnCreate##kind##Descriptor(cudnn##kind##Descriptor_t *descriptor)         \
    {                                                                                          \
        *descriptor = new cudnn##kind##Struct();                                               \
        return CUDNN_STATUS_SUCCESS;                                                           \
    }                                                                                          \
    cudnnStatus_t cudnnDestroy##kind##Descriptor(cudnn##kind##Descriptor_t descriptor)         \
    {                                                                                          \
        delete descriptor;                                                                     \
        return CUDNN_STATUS_SUCCESS;                                                           \
    }
DESCRIPTOR(Tensor)
DESCRIPTOR(Filter)
DESCRIPTOR(Convolution)

static cudnnStatus_t set(cudnnTensorStruct *tensor, cudnnTensorFormat_t format,
                         cudnnDataType_t type, int n, int c, int h, int w)
{
    if (!tensor || n < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
    if (format != CUDNN_TENSOR_NCHW || type != CUDNN_DATA_FLOAT)
        return CUDNN_STATUS_NOT_SUPPORTED;
    tensor->n = n, tensor->c = c, tensor->h = h, tensor->w = w;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor,
                                         cudnnTensorFormat_t format, cudnnDataType_t type,
                                         int n, int c, int h, int w)
{
    return set(tensor, format, type, n, c, h, w);
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int h, int w)
{
    return set(filter, format, type, k, c, h, w);
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c, int pad_h,
                                              int pad_w, int stride_h, int stride_w,
                                              int dilation_h, int dilation_w,
                                              cudnnConvolutionMode_t mode, cudnnDataType_t type)
{
    if (!c || std::min(pad_h, pad_w) < 0 || std::min(stride_h, stride_w) < 1 ||
        std::min(dilation_h, dilation_w) < 1)
        return CUDNN_STATUS_BAD_PARAM;
    if (mode != CUDNN_CROSS_CORRELATION || type != CUDNN_DATA_FLOAT)
        return CUDNN_STATUS_NOT_SUPPORTED;
    c->pad_h = pad_h, c->pad_w = pad_w;
    c->stride_h = stride_h, c->stride_w = stride_w;
    c->dilation_h = dilation_h, c->dilation_w = dilation_w;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c, int groups)
{
    if (!c || groups < 1) return CUDNN_STATUS_BAD_PARAM;
    c->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c, cudnnMathType_t math)
{
    if (!c) return CUDNN_STATUS_BAD_PARAM;
    c->math = math;
    return CUDNN_STATUS_SUCCESS;
}

namespace
{
/* A convolution of x (n, c, h, w) by w (y's c, x's c / groups, h, w) to y. */
struct Shape {
    cudnnTensorStruct x, w, y;
    cudnnConvolutionStruct c;
};

int output_length(int input, int filter, int pad, int stride, int dilation)
{
    return (input + 2 * pad - dilation * (filter - 1) - 1) / stride + 1;
}

/* False if the descriptors do not fit together. */
bool make_shape(Shape *s, cudnnHandle_t handle, cudnnTensorDescriptor_t x,
                cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t c,
                cudnnTensorDescriptor_t y)
{
    if (!handle || !x || !w || !c || !y) return false;
    *s = {*x, *w, *y, *c};
    return x->size() && w->size() && c->stride_h && x->n == y->n && y->c == w->n &&
           x->c == w->c * c->groups && w->n % c->groups == 0 &&
           y->h == output_length(x->h, w->h, c->pad_h, c->stride_h, c->dilation_h) &&
           y->w == output_length(x->w, w->w, c->pad_w, c->stride_w, c->dilation_w);
}

/* Workspace is in sizes of all three tensors together; 0: not supported. */
enum { too_large = -1 };
struct Algorithm {
    int id, workspace;
    cudnnDeterminism_t determinism;
};
const Algorithm Forward_algorithms[] = {
    {CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, too_large, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, 2, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, 1, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_FWD_ALGO_FFT, 0, CUDNN_DETERMINISTIC}};
const Algorithm BackwardData_algorithms[] = {
    {CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED, too_large, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, 3, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, 1, CUDNN_NON_DETERMINISTIC},
    {CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT, 0, CUDNN_DETERMINISTIC}};
const Algorithm BackwardFilter_algorithms[] = {
    {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED, too_large, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, 4, CUDNN_DETERMINISTIC},
    {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, 1, CUDNN_NON_DETERMINISTIC},
    {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, 0, CUDNN_DETERMINISTIC}};

size_t workspace_bytes(const Shape &s, const Algorithm &a)
{
    if (a.workspace == too_large) return (size_t)1 << 40;
    return a.workspace * sizeof(float) * (s.x.size() + s.w.size() + s.y.size());
}

cudnnStatus_t measure(const Algorithm (&known)[4], const Shape &s, int id, size_t *size)
{
    for (const Algorithm &a : known)
        if (a.id == id && a.workspace)
            return *size = workspace_bytes(s, a), CUDNN_STATUS_SUCCESS;
    return CUDNN_STATUS_NOT_SUPPORTED;
}

template <class Performance>
cudnnStatus_t list(const Algorithm (&known)[4], const Shape &s, int room, int *found,
                   Performance *algorithms)
{
    for (*found = 0; *found < std::min(room, 4); ++*found) {
        const Algorithm &a = known[*found];
        Performance &p = algorithms[*found];
        p = {};
        p.algo = (decltype(p.algo))a.id;
        p.status = a.workspace ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
        p.time = -1;
        p.memory = workspace_bytes(s, a);
        p.determinism = a.determinism;
        p.mathType = s.c.math;
    }
    return CUDNN_STATUS_SUCCESS;
}

/* One row of products with a weight: places in x (stride_w apart), w and y, and their number */
struct Row {
    size_t image, out, in; /* in: within the group */
    int r, q;
};

/*
 * Calls product(x, w, y, n) for each row of products that the convolution adds up: x + i *
 * stride_w, w and y + i, for i < n, are where the factors and the result are.
 */
template <class Product> void for_row(const Shape &s, const Row &at, Product product)
{
    const cudnnConvolutionStruct &c = s.c;
    size_t channel = at.out / (s.w.n / c.groups) * s.w.c + at.in;
    size_t w = ((at.out * s.w.c + at.in) * s.w.h + at.r) * s.w.w + at.q;
    int left = at.q * c.dilation_w - c.pad_w, right = s.x.w - 1 - left;
    int first = left < 0 ? (c.stride_w - 1 - left) / c.stride_w : 0;
    int n = right < 0 ? 0 : std::min(s.y.w, right / c.stride_w + 1) - first;
    for (int i = 0; i < s.y.h && n > 0; ++i) {
        int row = i * c.stride_h - c.pad_h + at.r * c.dilation_h;
        if (row < 0 || row >= s.x.h) continue;
        size_t x = ((at.image * s.x.c + channel) * s.x.h + row) * s.x.w;
        size_t y = ((at.image * s.y.c + at.out) * s.y.h + i) * s.y.w;
        product(x + left + first * c.stride_w, w, y + first, n);
    }
}

template <class Product> void for_rows(const Shape &s, Product product)
{
    size_t rows = s.y.n * s.w.size();
    for (size_t i = 0; i < rows; ++i) {
        size_t taps = s.w.h * s.w.w, in = i / taps, out = in / s.w.c;
        for_row(
            s,
            {out / s.w.n, out % s.w.n, in % s.w.c, (int)(i % taps / s.w.w), (int)(i % s.w.w)},
            product);
    }
}

std::vector<double> Forward(const Shape &s, const float *x, const float *w)
{
    std::vector<double> sum(s.y.size());
    for_rows(s, [&](size_t i, size_t j, size_t to, int n) {
        for (int k = 0; k < n; ++k) sum[to + k] += (double)w[j] * x[i + k * s.c.stride_w];
    });
    return sum;
}

std::vector<double> BackwardData(const Shape &s, const float *w, const float *dy)
{
    std::vector<double> sum(s.x.size());
    for_rows(s, [&](size_t to, size_t i, size_t j, int n) {
        for (int k = 0; k < n; ++k) sum[to + k * s.c.stride_w] += (double)w[i] * dy[j + k];
    });
    return sum;
}

std::vector<double> BackwardFilter(const Shape &s, const float *x, const float *dy)
{
    std::vector<double> sum(s.w.size());
    for_rows(s, [&](size_t i, size_t to, size_t j, int n) {
        for (int k = 0; k < n; ++k) sum[to] += (double)dy[j + k] * x[i + k * s.c.stride_w];
    });
    return sum;
}

/* A tensor's data, n floats on the device */
struct Data {
    const char *name;
    const void *p;
    size_t n;
};

void check(const char *call, cudnnHandle_t handle, std::initializer_list<Data> tensors)
{
    check_handle(call, handle->device, handle->stream);
    for (const Data &t : tensors)
        check_device_bytes(call, t.name, t.p, t.n * sizeof(float), handle->device);
    trace("library", call);
}

std::vector<float> factor(const void *p, size_t n, bool tf32)
{
    std::vector<float> copy((const float *)p, (const float *)p + n);
    for (float &x : copy) x = rounded(x, tf32);
    return copy;
}

/* alpha * from + beta * to, where beta = 0 does not read it */
float blend(double from, float to, float alpha, float beta)
{
    return alpha * from + (beta ? beta * (double)to : 0);
}

float number(const void *p)
{
    return *(const float *)p;
}

void convolve(const Shape &s,
              std::vector<double> (*work)(const Shape &, const float *, const float *),
              Data first, Data second, float *output, float alpha, float beta)
{
    bool tf32 = s.c.math != CUDNN_FMA_MATH;
    auto sum =
        work(s, factor(first.p, first.n, tf32).data(), factor(second.p, second.n, tf32).data());
    for (size_t i = 0; i < sum.size(); ++i) output[i] = blend(sum[i], output[i], alpha, beta);
}
} // namespace

/* What cudnn.h declares for a direction; a, b and out are those of x, w, y that it has there.
 */
#define DIRECTION(direction, brief, A, a, B, b, C, out)                                        \
    cudnnStatus_t cudnnGetConvolution##direction##Algorithm_v7(                                \
        cudnnHandle_t handle, const A a, const B b, const cudnnConvolutionDescriptor_t c,      \
        const C out, const int room, int *found,                                               \
        cudnnConvolution##brief##AlgoPerf_t *algorithms)                                       \
    {                                                                                          \
        Shape s;                                                                               \
        if (!make_shape(&s, handle, x, w, c, y) || room < 1) return CUDNN_STATUS_BAD_PARAM;    \
        return list(direction##_algorithms, s, room, found, algorithms);                       \
    }                                                                                          \
                                                                                               \
    cudnnStatus_t cudnnGetConvolution##direction##WorkspaceSize(                               \
        cudnnHandle_t handle, const A a, const B b, const cudnnConvolutionDescriptor_t c,      \
        const C out, cudnnConvolution##brief##Algo_t algorithm, size_t *size)                  \
    {                                                                                          \
        Shape s;                                                                               \
        if (!make_shape(&s, handle, x, w, c, y)) return CUDNN_STATUS_BAD_PARAM;                \
        return measure(direction##_algorithms, s, algorithm, size);                            \
    }                                                                                          \
                                                                                               \
    cudnnStatus_t cudnnConvolution##direction(                                                 \
        cudnnHandle_t handle, const void *alpha, const A a, const void *first, const B b,      \
        const void *second, const cudnnConvolutionDescriptor_t c,                              \
        cudnnConvolution##brief##Algo_t algorithm, void *workspace, size_t size,               \
        const void *beta, const C out, void *output)                                           \
    {                                                                                          \
        const char *call = "cudnnConvolution" #direction;                                      \
        Lock lock(mutex);                                                                      \
        Shape s;                                                                               \
        size_t needed;                                                                         \
        if (!make_shape(&s, handle, x, w, c, y)) return CUDNN_STATUS_BAD_PARAM;                \
        if (auto status = measure(direction##_algorithms, s, algorithm, &needed))              \
            return status;                                                                     \
        if (!workspace || size < needed) return CUDNN_STATUS_BAD_PARAM;                        \
        Data p = {#a, first, a->size()}, q = {#b, second, b->size()};                          \
        check(call, handle,                                                                    \
              {p, q, {#out, output, out->size()}, {"workspace", workspace, size / 4}});        \
        enqueue(handle->stream, call, [=, alpha = number(alpha), beta = number(beta)] {        \
            memset(workspace, 0xff, needed);                                                   \
            convolve(s, direction, p, q, (float *)output, alpha, beta);                        \
        });                                                                                    \
        return CUDNN_STATUS_SUCCESS;                                                           \
    }
DIRECTION(Forward, Fwd, cudnnTensorDescriptor_t, x, cudnnFilterDescriptor_t, w,
          cudnnTensorDescriptor_t, y)
DIRECTION(BackwardData, BwdData, cudnnFilterDescriptor_t, w, cudnnTensorDescriptor_t, y,
          cudnnTensorDescriptor_t, x)
DIRECTION(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, x, cudnnTensorDescriptor_t, y,
          cudnnFilterDescriptor_t, w)

namespace
{
/* Calls work(i) for where the numbers of a channel are. */
template <class Work> void for_channel(const cudnnTensorStruct &t, int channel, Work work)
{
    size_t plane = (size_t)t.h * t.w;
    for (int i = 0; i < t.n; ++i)
        for (size_t j = 0; j < plane; ++j) work(((size_t)i * t.c + channel) * plane + j);
}

bool is_like(const cudnnTensorStruct *t, int n, int c, int h, int w)
{
    return t && t->n == n && t->c == c && t->h == h && t->w == w;
}

bool are_shapes_right(cudnnHandle_t handle, const cudnnTensorStruct *x,
                      const cudnnTensorStruct *like, const cudnnTensorStruct *parameters)
{
    return handle && x && is_like(like, x->n, x->c, x->h, x->w) &&
           is_like(parameters, 1, x->c, 1, 1);
}
} // namespace

cudnnStatus_t cudnnBatchNormalizationForwardTraining(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta,
    const cudnnTensorDescriptor_t x_shape, const void *x_data,
    const cudnnTensorDescriptor_t y_shape, void *y_data,
    const cudnnTensorDescriptor_t parameter_shape, const void *scale, const void *bias,
    double factor, void *running_mean, void *running_variance, double epsilon, void *saved_mean,
    void *saved_inverse)
{
    Lock lock(mutex);
    const char *call = "cudnnBatchNormalizationForwardTraining";
    if (mode != CUDNN_BATCHNORM_SPATIAL) return CUDNN_STATUS_NOT_SUPPORTED;
    if (!are_shapes_right(handle, x_shape, y_shape, parameter_shape) || epsilon < 0)
        return CUDNN_STATUS_BAD_PARAM;
    size_t n = x_shape->size(), k = x_shape->c;
    check(call, handle,
          {{"x", x_data, n},
           {"y", y_data, n},
           {"scale", scale, k},
           {"bias", bias, k},
           {"the running mean", running_mean, k},
           {"the running variance", running_variance, k},
           {"the saved mean", saved_mean, k},
           {"the saved variance", saved_inverse, k}});
    auto work = [=, t = *x_shape, alpha = number(alpha), beta = number(beta)] {
        auto x = (const float *)x_data;
        auto y = (float *)y_data;
        auto running = [=](void *p, int c, double value) {
            ((float *)p)[c] = blend(value, ((float *)p)[c], factor, 1 - factor);
        };
        double n = (double)t.n * t.h * t.w;
        for (int c = 0; c < t.c; ++c) {
            double mean = 0, variance = 0;
            for_channel(t, c, [&](size_t i) { mean += x[i] / n; });
            for_channel(t, c, [&](size_t i) { variance += (x[i] - mean) * (x[i] - mean) / n; });
            double inverse = 1 / sqrt(variance + epsilon);
            double g = ((const float *)scale)[c], b = ((const float *)bias)[c];
            for_channel(t, c, [&](size_t i) {
                y[i] = blend(g * (x[i] - mean) * inverse + b, y[i], alpha, beta);
            });
            running(running_mean, c, mean);
            running(running_variance, c, n > 1 ? variance * n / (n - 1) : variance);
            ((float *)saved_mean)[c] = mean;
            ((float *)saved_inverse)[c] = inverse;
        }
    };
    enqueue(handle->stream, call, work);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha_data,
    const void *beta_data, const void *alpha_parameters, const void *beta_parameters,
    const cudnnTensorDescriptor_t x_shape, const void *x_data,
    const cudnnTensorDescriptor_t dy_shape, const void *dy_data,
    const cudnnTensorDescriptor_t dx_shape, void *dx_data,
    const cudnnTensorDescriptor_t parameter_shape, const void *scale, void *dscale, void *dbias,
    double epsilon, const void *saved_mean, const void *saved_inverse)
{
    Lock lock(mutex);
    const char *call = "cudnnBatchNormalizationBackward";
    if (mode != CUDNN_BATCHNORM_SPATIAL) return CUDNN_STATUS_NOT_SUPPORTED;
    if (!are_shapes_right(handle, x_shape, dy_shape, parameter_shape) || epsilon < 0 ||
        !are_shapes_right(handle, x_shape, dx_shape, parameter_shape))
        return CUDNN_STATUS_BAD_PARAM;
    size_t n = x_shape->size(), k = x_shape->c;
    check(call, handle,
          {{"x", x_data, n},
           {"dy", dy_data, n},
           {"dx", dx_data, n},
           {"scale", scale, k},
           {"dscale", dscale, k},
           {"dbias", dbias, k},
           {"the saved mean", saved_mean, k},
           {"the saved variance", saved_inverse, k}});
    auto work = [=, t = *x_shape, alpha = number(alpha_data), beta = number(beta_data),
                 alpha_p = number(alpha_parameters), beta_p = number(beta_parameters)] {
        auto x = (const float *)x_data, dy = (const float *)dy_data;
        auto dx = (float *)dx_data, dg = (float *)dscale, db = (float *)dbias;
        double n = (double)t.n * t.h * t.w;
        for (int c = 0; c < t.c; ++c) {
            double mean = ((const float *)saved_mean)[c], g = ((const float *)scale)[c];
            double inverse = ((const float *)saved_inverse)[c], along = 0, sum = 0;
            auto norm = [&](size_t i) { return (x[i] - mean) * inverse; };
            for_channel(t, c, [&](size_t i) { along += dy[i] * norm(i), sum += dy[i]; });
            for_channel(t, c, [&](size_t i) {
                double slope = dy[i] - sum / n - norm(i) * along / n;
                dx[i] = blend(g * inverse * slope, dx[i], alpha, beta);
            });
            dg[c] = blend(along, dg[c], alpha_p, beta_p);
            db[c] = blend(sum, db[c], alpha_p, beta_p);
        }
    };
    enqueue(handle->stream, call, work);
    return CUDNN_STATUS_SUCCESS;
}
