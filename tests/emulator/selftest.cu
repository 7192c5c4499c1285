/*
 * The emulator's own test. Each case runs in a process of its own, with its settings; it passes
 * if it ends well or, where a message is given, if it dies with that message on stderr.
 *
 *   selftest          all cases, as TAP          selftest N        case N alone
 */
#include "cublas_v2.h"
#include "cudnn.h"
#include "curand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#define EXPECT(condition)                                                                      \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                    \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)
#define OK(call) EXPECT((call) == 0)

typedef std::vector<float> floats;

/* An array on the device, from the host's or full of NaN. */
struct Array {
    float *p;
    size_t n;
    explicit Array(size_t n) : n(n)
    {
        OK(cudaMalloc(&p, n * sizeof(float)));
    }
    Array(const floats &x) : Array(x.size())
    {
        OK(cudaMemcpy(p, x.data(), n * sizeof(float), cudaMemcpyHostToDevice));
    }
    floats get() const
    {
        floats x(n);
        OK(cudaMemcpy(x.data(), p, n * sizeof(float), cudaMemcpyDeviceToHost));
        return x;
    }
};

static floats some(size_t n, int seed)
{
    floats x(n);
    for (size_t i = 0; i < n; ++i) x[i] = sinf(seed + 1.7f * i) * (1 + i % 3);
    return x;
}

static double dot(const floats &a, const floats &b)
{
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += (double)a[i] * b[i];
    return sum;
}

static bool near(double a, double b, double tolerance = 1e-5)
{
    return fabs(a - b) <= tolerance * (1 + fabs(b));
}

static bool near(const floats &a, const floats &b)
{
    for (size_t i = 0; i < a.size(); ++i)
        if (!near(a[i], b[i])) return false;
    return a.size() == b.size();
}

__global__ void fill(float *x, int n, float value)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = value;
}

__global__ void add(const float *a, const float *b, float *sum, int n)
{
    int i = (blockIdx.x + blockIdx.y * gridDim.x) * blockDim.x + threadIdx.x;
    if (i < n) sum[i] = a[i] + b[i];
}

static void vector_add()
{
    floats a = some(1000, 1), b = some(1000, 2);
    Array x(a), y(b), sum(1000);
    add<<<dim3(3, 3), 128>>>(x.p, y.p, sum.p, 1000);
    OK(cudaGetLastError());
    for (int i = 0; i < 1000; ++i) a[i] += b[i];
    EXPECT(sum.get() == a);
}

template <class T> static __device__ T sum_of_block(T mine)
{
    __shared__ T part[64];
    part[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    T sum = part[0];
    __syncthreads();
    return sum;
}

__global__ void reduce(const float *x, int n, float *sum, int *counts)
{
    extern __shared__ float copy[];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float mine = i < n ? x[i] : 0;
    copy[threadIdx.x] = mine;
    double total = sum_of_block((double)mine);
    int twice = sum_of_block(2);
    counts[0] = __syncthreads_count(i < n);
    counts[1] = __syncthreads_and(i < n);
    counts[2] = __syncthreads_or(i >= n);
    if (!threadIdx.x) sum[blockIdx.x] = total + (copy[63 - threadIdx.x] - copy[63]) + twice;
}

static void barriers()
{
    floats a = some(100, 1);
    Array x(a), sum(2), counts(3);
    reduce<<<2, 64, 64 * sizeof(float)>>>(x.p, 100, sum.p, (int *)counts.p);
    floats sums = sum.get();
    EXPECT(near(sums[0] + sums[1], dot(a, floats(100, 1)) + 256));
    int n[3];
    OK(cudaMemcpy(n, counts.p, sizeof n, cudaMemcpyDeviceToHost));
    int last = getenv("CUDA_EMULATOR_ORDER") ? 0 : 1; /* the block that wrote last */
    EXPECT(n[0] == (last ? 36 : 64) && n[1] == !last && n[2] == last);
}

__global__ void count(float *sum, int *most, unsigned *tickets, double *large)
{
    atomicAdd(sum, .5f);
    atomicMax(most, (int)threadIdx.x);
    atomicCAS(tickets + 1, 0, threadIdx.x + 1);
    atomicOr(tickets, 1u << threadIdx.x % 32);
    atomicAdd(large, 1e10);
}

static void atomics()
{
    struct {
        double large;
        float sum;
        int most;
        unsigned tickets[2];
    } * device, host = {0, 0, -1, {0, 0}};
    OK(cudaMalloc(&device, sizeof host));
    OK(cudaMemcpy(device, &host, sizeof host, cudaMemcpyHostToDevice));
    count<<<3, 100>>>(&device->sum, &device->most, device->tickets, &device->large);
    OK(cudaMemcpy(&host, device, sizeof host, cudaMemcpyDeviceToHost));
    EXPECT(host.sum == 150 && host.most == 99 && host.tickets[0] == ~0u && host.large == 3e12);
    EXPECT(host.tickets[1] == (getenv("CUDA_EMULATOR_ORDER") ? 100 : 1)); /* the first one */
}

__global__ void read_shared(float *x)
{
    __shared__ float never, late[32];
    if (threadIdx.x) late[threadIdx.x] = 1;
    x[blockIdx.x * 32 + threadIdx.x] = isnan(never) && isnan(late[31 - threadIdx.x]);
}

static void shared_starts_as_nan()
{
    Array x(64);
    read_shared<<<2, 32>>>(x.p);
    EXPECT(x.get() == ([] {
               floats expected(64, 1); /* without a barrier, half of them come too late */
               for (int i = 16; i < 31; ++i) expected[i] = expected[32 + i] = 0;
               return expected;
           })());
}

/* A copy to pinned memory is there when one has waited for it, and not before. */
static void async_copy_is_late()
{
    bool eager = getenv("CUDA_EMULATOR_STREAMS");
    float *pinned;
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    OK(cudaMallocHost(&pinned, sizeof(float)));
    *pinned = 1;
    Array x(1);
    int n = 1;
    fill<<<1, 32, 0, stream>>>(x.p, n, 2);
    n = 0; /* the launch has its own copy */
    OK(cudaMemcpyAsync(pinned, x.p, sizeof(float), cudaMemcpyDeviceToHost, stream));
    EXPECT(*pinned == (eager ? 2 : 1));
    EXPECT(cudaStreamQuery(stream) == (eager ? cudaSuccess : cudaErrorNotReady));
    OK(cudaStreamSynchronize(stream));
    EXPECT(*pinned == 2);
    float pageable = 3;
    OK(cudaMemcpyAsync(x.p, &pageable, sizeof pageable, cudaMemcpyHostToDevice, stream));
    pageable = 0; /* was staged by the call */
    OK(cudaMemcpyAsync(&pageable, x.p, sizeof pageable, cudaMemcpyDeviceToHost, stream));
    EXPECT(pageable == 3);
}

/* What one stream writes, another one sees only if it waits for it. */
static void streams_need_order()
{
    cudaStream_t side, blocking;
    cudaEvent_t done;
    OK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    OK(cudaStreamCreate(&blocking));
    OK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    Array x(floats(1, 0)), y(floats(1, 0));
    OK(cudaDeviceSynchronize());
    fill<<<1, 1, 0, side>>>(x.p, 1, 1);
    EXPECT(x.get()[0] == (getenv("CUDA_EMULATOR_STREAMS") ? 1 : 0));
    OK(cudaEventRecord(done, side));
    OK(cudaStreamWaitEvent(0, done));
    EXPECT(x.get()[0] == 1);
    float late;
    fill<<<1, 1>>>(x.p, 1, 3); /* nor does it wait for stream 0 */
    OK(cudaMemcpyAsync(&late, x.p, sizeof late, cudaMemcpyDeviceToHost, side));
    EXPECT(late == (getenv("CUDA_EMULATOR_STREAMS") ? 3 : 1));
    fill<<<1, 1, 0, blocking>>>(y.p, 1, 4);
    EXPECT(y.get()[0] == 4); /* stream 0 waits for blocking streams */
    fill<<<1, 1>>>(y.p, 1, 5);
    OK(cudaMemcpyAsync(&late, y.p, sizeof late, cudaMemcpyDeviceToHost, blocking));
    EXPECT(late == 5); /* and they for it */
    float time;
    EXPECT(cudaEventElapsedTime(&time, done, done) == cudaErrorInvalidResourceHandle);
    OK(cudaStreamDestroy(side));
    EXPECT(cudaStreamSynchronize(side) == cudaErrorInvalidResourceHandle);
}

/* Nothing says which of two streams is first. */
static void streams_race()
{
    cudaStream_t a, b;
    OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    Array x(1);
    fill<<<1, 1, 0, a>>>(x.p, 1, 1);
    fill<<<1, 1, 0, b>>>(x.p, 1, 2);
    OK(cudaDeviceSynchronize());
    EXPECT(x.get()[0] == (getenv("CUDA_EMULATOR_ORDER") ? 1 : 2));
}

static void two_devices()
{
    Array here(floats(1, 7));
    OK(cudaSetDevice(1));
    Array there(1);
    OK(cudaMemcpyPeerAsync(there.p, 1, here.p, 0, sizeof(float)));
    EXPECT(there.get()[0] == 7);
    int can;
    OK(cudaDeviceCanAccessPeer(&can, 1, 0));
    OK(cudaDeviceEnablePeerAccess(0, 0));
    EXPECT(can && cudaDeviceEnablePeerAccess(0, 0) == cudaErrorPeerAccessAlreadyEnabled);
    add<<<1, 1>>>(here.p, there.p, there.p, 1);
    EXPECT(there.get()[0] == 14);
    cudaStream_t stream;
    OK(cudaStreamCreate(&stream));
    OK(cudaSetDevice(0));
    fill<<<1, 1, 0, stream>>>(here.p, 1, 1);
    EXPECT(cudaGetLastError() == cudaErrorInvalidResourceHandle);
    fill<<<1, 1>>>(there.p, 1, 1); /* device 0 was given no access */
}

static void wrong_launches()
{
    const dim3 wrong[][2] = {
        {0, 1}, {1, 0}, {1, 1025}, {dim3(1, 65536), 1}, {1, dim3(1, 1, 65)}};
    for (auto &[grid, block] : wrong) {
        fill<<<grid, block>>>(nullptr, 0, 0);
        EXPECT(cudaPeekAtLastError() == cudaErrorInvalidConfiguration);
        EXPECT(cudaGetLastError() == cudaErrorInvalidConfiguration);
        EXPECT(cudaGetLastError() == cudaSuccess);
    }
    fill<<<1, 1, 50000>>>(nullptr, 0, 0);
    EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
    fill<<<70000, 1>>>(nullptr, 0, 0);
    OK(cudaDeviceSynchronize());
    OK(cudaGetLastError());
}

static void no_device()
{
    int n;
    float *p;
    cublasHandle_t blas;
    EXPECT(cudaGetDeviceCount(&n) == cudaErrorNoDevice && !n);
    EXPECT(cudaSetDevice(0) == cudaErrorNoDevice);
    EXPECT(cudaMalloc(&p, 4) == cudaErrorNoDevice);
    fill<<<1, 1>>>(nullptr, 0, 0);
    EXPECT(cudaGetLastError() == cudaErrorNoDevice);
    EXPECT(
        !strcmp(cudaGetErrorString(cudaErrorNoDevice), "no CUDA-capable device is detected"));
    EXPECT(cublasCreate(&blas) == CUBLAS_STATUS_NOT_INITIALIZED);
}

static void out_of_memory()
{
    size_t free, total;
    float *p, *q;
    OK(cudaMalloc(&p, 3 << 20));
    OK(cudaMemGetInfo(&free, &total));
    EXPECT(total == 4 << 20 && free == 1 << 20);
    EXPECT(cudaMalloc(&q, 2 << 20) == cudaErrorMemoryAllocation && !q);
    OK(cudaFree(p));
    OK(cudaMalloc(&q, 2 << 20));
}

static void host_pointer()
{
    float x;
    fill<<<1, 1>>>(&x, 1, 1);
}

static void freed_pointer()
{
    Array x(10);
    OK(cudaFree(x.p));
    fill<<<1, 1>>>(x.p, 1, 1);
}

static void out_of_bounds()
{
    Array x(1000);
    fill<<<8, 128>>>(x.p, 1001, 1);
    OK(cudaDeviceSynchronize());
}

static void a_little_out_of_bounds()
{
    Array x(5);
    fill<<<1, 32>>>(x.p, 6, 1);
    OK(cudaDeviceSynchronize());
}

static void copies_too_much()
{
    Array x(10);
    float y[11] = {0};
    cudaMemcpy(x.p, y, sizeof y, cudaMemcpyHostToDevice);
}

static void host_reads_device()
{
    Array x(floats(10, 1));
    exit(x.p[3] != 1);
}

__global__ void half_waits()
{
    if (threadIdx.x < 32) __syncthreads();
}

static void divergent_barrier()
{
    half_waits<<<1, 64>>>();
    OK(cudaDeviceSynchronize());
}

static void sgemm()
{
    const int m = 7, n = 5, k = 13, lda = 17, ldb = 19, ldc = 9;
    floats a = some(lda * 13, 1), b = some(ldb * 13, 2), c = some(ldc * n, 3);
    Array x(a), y(b), z(c);
    cublasHandle_t handle;
    OK(cublasCreate(&handle));
    const float alpha = 1.5, beta = -.5, zero = 0;
    for (int t = 0; t < 4; ++t) {
        bool ta = t & 1, tb = t & 2;
        auto operation = [](bool t) { return t ? CUBLAS_OP_T : CUBLAS_OP_N; };
        OK(cublasSgemm(handle, operation(ta), operation(tb), m, n, k, &alpha, x.p, lda, y.p,
                       ldb, &beta, z.p, ldc));
        for (int i = 0; i < m; ++i)
            for (int j = 0; j < n; ++j) {
                double sum = 0;
                for (int p = 0; p < k; ++p)
                    sum += (double)(ta ? a[i * lda + p] : a[p * lda + i]) *
                           (tb ? b[p * ldb + j] : b[j * ldb + p]);
                c[j * ldc + i] = alpha * sum + beta * c[j * ldc + i];
            }
        EXPECT(near(z.get(), c));
    }
    Array nan(m * n);
    OK(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &alpha, x.p, lda, y.p, ldb, &zero,
                   nan.p, m));
    for (float v : nan.get()) EXPECT(isfinite(v));
    EXPECT(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &alpha, x.p, m - 1, y.p, ldb,
                       &zero, nan.p, m) == CUBLAS_STATUS_INVALID_VALUE);
}

static floats uniform(unsigned long long seed, unsigned long long offset)
{
    curandGenerator_t generator;
    Array x(1000);
    OK(curandCreateGenerator(&generator, CURAND_RNG_PSEUDO_DEFAULT));
    OK(curandSetPseudoRandomGeneratorSeed(generator, seed));
    OK(curandSetGeneratorOffset(generator, offset));
    OK(curandGenerateUniform(generator, x.p, 500));
    OK(curandGenerateUniform(generator, x.p + 500, 500));
    return x.get();
}

static void random_numbers()
{
    floats a = uniform(1, 0), b = uniform(1, 100);
    for (float x : a) EXPECT(x > 0 && x <= 1);
    EXPECT(near(dot(a, floats(1000, 1)) / 1000, .5, .05));
    EXPECT(a == uniform(1, 0) && a != uniform(2, 0));
    EXPECT(floats(a.begin() + 100, a.end()) == floats(b.begin(), b.end() - 100));
}

/* A convolution with odd sizes, groups, padding and stride; and what cuDNN makes of it. */
struct Convolution {
    static const int n = 2, c = 4, h = 9, w = 7, out = 6, k = 3, pad = 1, stride = 2,
                     groups = 2;
    static const int oh = 5, ow = 4;
    cudnnHandle_t handle;
    cudnnTensorDescriptor_t xs, ys;
    cudnnFilterDescriptor_t ws;
    cudnnConvolutionDescriptor_t convolution;
    floats x = some(n * c * h * w, 1), f = some(out * c / groups * k * k, 2);
    floats dy = some(n * out * oh * ow, 3);

    Convolution()
    {
        OK(cudnnCreate(&handle));
        OK(cudnnCreateTensorDescriptor(&xs));
        OK(cudnnCreateTensorDescriptor(&ys));
        OK(cudnnCreateFilterDescriptor(&ws));
        OK(cudnnCreateConvolutionDescriptor(&convolution));
        OK(cudnnSetTensor4dDescriptor(xs, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n, c, h, w));
        OK(cudnnSetTensor4dDescriptor(ys, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n, out, oh, ow));
        OK(cudnnSetFilter4dDescriptor(ws, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, out, c / groups,
                                      k, k));
        OK(cudnnSetConvolution2dDescriptor(convolution, pad, pad, stride, stride, 1, 1,
                                           CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        OK(cudnnSetConvolutionGroupCount(convolution, groups));
        OK(cudnnSetConvolutionMathType(convolution, CUDNN_FMA_MATH));
    }

    floats forward(size_t missing = 0, cudnnStatus_t expected = CUDNN_STATUS_SUCCESS) const
    {
        const float one = 1, zero = 0;
        cudnnConvolutionFwdAlgoPerf_t found[8];
        int count, i = 0;
        OK(cudnnGetConvolutionForwardAlgorithm_v7(handle, xs, ws, convolution, ys, 8, &count,
                                                  found));
        while (found[i].memory > 1 << 30) ++i;
        size_t size;
        OK(cudnnGetConvolutionForwardWorkspaceSize(handle, xs, ws, convolution, ys,
                                                   found[i].algo, &size));
        EXPECT(i > 0 && i < count && size == found[i].memory && size > missing);
        Array a(x), b(f), y(dy.size()), space(size / sizeof(float));
        EXPECT(cudnnConvolutionForward(handle, &one, xs, a.p, ws, b.p, convolution,
                                       found[i].algo, space.p, size - missing, &zero, ys,
                                       y.p) == expected);
        return y.get();
    }

    floats naive() const
    {
        floats y(dy.size());
        for (size_t at = 0; at < y.size(); ++at) {
            int j = at % ow, i = at / ow % oh, o = at / ow / oh % out, b = at / ow / oh / out;
            double sum = 0;
            for (int p = 0; p < c / groups * k * k; ++p) {
                int q = j * stride - pad + p % k, r = i * stride - pad + p / k % k;
                int channel = o / (out / groups) * (c / groups) + p / k / k;
                if (q < 0 || q >= w || r < 0 || r >= h) continue;
                sum += (double)f[o * (c / groups) * k * k + p] *
                       x[((b * c + channel) * h + r) * w + q];
            }
            y[at] = sum;
        }
        return y;
    }
};

static void convolution_forward()
{
    Convolution c;
    EXPECT(near(c.forward(), c.naive()));
    EXPECT(isnan(c.forward(1, CUDNN_STATUS_BAD_PARAM)[0])); /* a stale workspace */
    OK(cudnnSetConvolutionMathType(c.convolution, CUDNN_DEFAULT_MATH));
    floats tf32 = c.forward(), y = c.naive();
    EXPECT(!near(tf32, y));
    for (size_t i = 0; i < y.size(); ++i) EXPECT(near(tf32[i], y[i], 1e-2));
}

/* y is linear in x and in w, so <dy, y> = <dx, x> = <dw, w>. */
static void convolution_backward()
{
    Convolution c;
    const float one = 1, two = 2;
    Array x(c.x), w(c.f), dy(c.dy), dx(floats(c.x.size(), .25)), dw(floats(c.f.size(), .5));
    cudnnConvolutionBwdDataAlgo_t data = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
    cudnnConvolutionBwdFilterAlgo_t filter = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
    size_t size, other;
    OK(cudnnGetConvolutionBackwardDataWorkspaceSize(c.handle, c.ws, c.ys, c.convolution, c.xs,
                                                    data, &size));
    OK(cudnnGetConvolutionBackwardFilterWorkspaceSize(c.handle, c.xs, c.ys, c.convolution, c.ws,
                                                      filter, &other));
    size = max(size, other);
    Array space(size / sizeof(float));
    OK(cudnnConvolutionBackwardData(c.handle, &one, c.ws, w.p, c.ys, dy.p, c.convolution, data,
                                    space.p, size, &two, c.xs, dx.p));
    OK(cudnnConvolutionBackwardFilter(c.handle, &two, c.xs, x.p, c.ys, dy.p, c.convolution,
                                      filter, space.p, size, &one, c.ws, dw.p));
    floats gx = dx.get(), gw = dw.get();
    for (float &g : gx) g -= .5;
    for (float &g : gw) g = (g - .5) / 2;
    double expected = dot(c.naive(), c.dy);
    EXPECT(near(dot(gx, c.x), expected) && near(dot(gw, c.f), expected));
}

struct Normalization {
    static const int n = 3, c = 2, plane = 5;
    cudnnHandle_t handle;
    cudnnTensorDescriptor_t xs, ps;
    Array scale{floats{.5, -2}}, bias{floats{1, 3}}, mean{floats{0, 0}}, variance{floats{1, 1}};
    Array kept_mean{2}, kept_inverse{2};
    const float one = 1, zero = 0;

    Normalization()
    {
        OK(cudnnCreate(&handle));
        OK(cudnnCreateTensorDescriptor(&xs));
        OK(cudnnCreateTensorDescriptor(&ps));
        OK(cudnnSetTensor4dDescriptor(xs, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n, c, 1, plane));
        OK(cudnnSetTensor4dDescriptor(ps, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, c, 1, 1));
    }

    floats forward(const floats &from)
    {
        Array x(from), y(from.size());
        OK(cudnnBatchNormalizationForwardTraining(
            handle, CUDNN_BATCHNORM_SPATIAL, &one, &zero, xs, x.p, xs, y.p, ps, scale.p, bias.p,
            .25, mean.p, variance.p, 1e-5, kept_mean.p, kept_inverse.p));
        return y.get();
    }
};

static void batch_normalization()
{
    Normalization b;
    floats x = some(30, 1), dy = some(30, 2), y = b.forward(x);
    double mean = 0, squares = 0;
    for (int i = 0; i < 15; ++i) mean += x[i / 5 * 10 + i % 5] / 15;
    for (int i = 0; i < 15; ++i) squares += pow(x[i / 5 * 10 + i % 5] - mean, 2);
    EXPECT(near(y[12], .5 * (x[12] - mean) / sqrt(squares / 15 + 1e-5) + 1));
    EXPECT(near(b.mean.get()[0], mean / 4) && near(b.variance.get()[0], .75 + squares / 56));
    Array from(x), gradient(dy), dx(30), dscale(floats(2, 1)), dbias(floats(2, 1));
    OK(cudnnBatchNormalizationBackward(b.handle, CUDNN_BATCHNORM_SPATIAL, &b.one, &b.zero,
                                       &b.one, &b.one, b.xs, from.p, b.xs, gradient.p, b.xs,
                                       dx.p, b.ps, b.scale.p, dscale.p, dbias.p, 1e-5,
                                       b.kept_mean.p, b.kept_inverse.p));
    floats slope = dx.get();
    double sum = 0, along = 0;
    for (int i = 0; i < 15; ++i) {
        int at = i / 5 * 10 + i % 5;
        sum += dy[at];
        along += dy[at] * (y[at] - 1) / .5;
    }
    EXPECT(near(dbias.get()[0], sum + 1) && near(dscale.get()[0], along + 1));
    for (int at : {0, 7, 23}) { /* finite differences */
        floats up = x, down = x;
        up[at] += .01, down[at] -= .01;
        EXPECT(
            near((dot(b.forward(up), dy) - dot(b.forward(down), dy)) / .02, slope[at], 1e-2));
    }
}

static const char *trace_file()
{
    return getenv("CUDA_EMULATOR_TRACE");
}

static void traced()
{
    Array x(floats(4, 1)), y(4);
    fill<<<1, 4>>>(x.p, 4, 1);
    add<<<1, 4>>>(x.p, x.p, y.p, 4);
    fill<<<1, 4>>>(x.p, 4, 1);
    OK(cudaDeviceSynchronize());
    y.get();
    OK(cudaFree(y.p));
}

static void trace_was_written()
{
    char text[1000] = "";
    FILE *file = fopen(trace_file(), "r");
    EXPECT(file && fread(text, 1, sizeof text - 1, file) > 0);
    unlink(trace_file());
    EXPECT(!strncmp(text,
                    "copy\tdevice-to-host\t1\t16\ncopy\thost-to-device\t1\t16\n"
                    "kernel\tadd\t1\t0\nkernel\tfill\t2\t0\nsynchronise\t\t1\t0\n"
                    "memory\t0\t16\t32\n",
                    100));
}

#define REVERSE "CUDA_EMULATOR_ORDER=reverse"
#define EAGER "CUDA_EMULATOR_STREAMS=eager"
#define TRACE "CUDA_EMULATOR_TRACE=lib64/selftest.trace"

static const struct {
    const char *name;
    void (*run)();
    const char *setting, *message; /* or null; of messages, "one|another" */
} cases[] = {
    {"vector add", vector_add, nullptr, nullptr},
    {"block reduction with barriers", barriers, nullptr, nullptr},
    {"block reduction, from the last thread to the first", barriers, REVERSE, nullptr},
    {"atomics", atomics, nullptr, nullptr},
    {"atomics, from the last thread to the first", atomics, REVERSE, nullptr},
    {"shared memory starts as NaN", shared_starts_as_nan, nullptr, nullptr},
    {"asynchronous copies are late", async_copy_is_late, nullptr, nullptr},
    {"asynchronous copies are early", async_copy_is_late, EAGER, nullptr},
    {"streams without order between them", streams_need_order, nullptr, nullptr},
    {"streams, eager", streams_need_order, EAGER, nullptr},
    {"streams that race", streams_race, nullptr, nullptr},
    {"streams that race, from the last to the first", streams_race, REVERSE, nullptr},
    {"two devices", two_devices, "CUDA_EMULATOR_DEVICES=2",
     "fill: argument 1 is in device 1's memory, which device 0 has no access to"},
    {"launches that are refused", wrong_launches, nullptr, nullptr},
    {"no device", no_device, "CUDA_EMULATOR_DEVICES=0", nullptr},
    {"out of memory", out_of_memory, "CUDA_EMULATOR_MEMORY=4", nullptr},
    {"host pointer for a kernel", host_pointer, nullptr, "fill: argument 1"},
    {"freed pointer for a kernel", freed_pointer, nullptr, "in one that was freed"},
    {"kernel out of bounds", out_of_bounds, nullptr, "fill touches device memory"},
    {"kernel a little out of bounds", a_little_out_of_bounds, nullptr,
     "20 bytes was written to at byte 20|use-after-poison"},
    {"copy out of bounds", copies_too_much, nullptr, "has 44 bytes, but 40 are left"},
    {"host reads device memory", host_reads_device, nullptr, "host code touches device memory"},
    {"host reads device memory, allowed", host_reads_device, "CUDA_EMULATOR_PROTECT=0",
     nullptr},
    {"barrier that not all threads reach", divergent_barrier, nullptr,
     "half_waits, block 0 0 0: thread 0 waits at selftest.cu:"},
    {"cublasSgemm", sgemm, nullptr, nullptr},
    {"curandGenerateUniform", random_numbers, nullptr, nullptr},
    {"cudnnConvolutionForward", convolution_forward, nullptr, nullptr},
    {"cudnnConvolutionBackward", convolution_backward, nullptr, nullptr},
    {"cudnnBatchNormalization", batch_normalization, nullptr, nullptr},
    {"a program that is traced", traced, TRACE, nullptr},
    {"its trace", trace_was_written, TRACE, nullptr},
};

/* Whether stderr is as expected: one of `wanted`, separated by |; nothing if null. */
static bool has_one(const char *text, const char *wanted)
{
    char copy[200], *rest = copy;
    snprintf(copy, sizeof copy, "%s", wanted);
    while (char *one = strsep(&rest, "|"))
        if (strstr(text, one)) return true;
    return false;
}

static bool passes(const char *program, int number)
{
    char command[300], text[4000];
    const char *setting = cases[number].setting, *message = cases[number].message;
    snprintf(command, sizeof command, "%s %s %d 2>&1", setting ? setting : "", program, number);
    FILE *child = popen(command, "r");
    size_t length = fread(text, 1, sizeof text - 1, child);
    text[length] = '\0';
    int status = pclose(child);
    bool good = message ? status && has_one(text, message) : !status;
    for (char *rest = text, *line; !good && (line = strsep(&rest, "\n"));)
        fprintf(stderr, "# %s\n", line);
    return good;
}

int main(int argc, char **argv)
{
    int n = sizeof cases / sizeof *cases, failures = 0;
    if (argc > 1) {
        cases[atoi(argv[1])].run();
        return 0;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; ++i) {
        bool good = passes(argv[0], i);
        printf("%sok %d - %s\n", good ? "" : "not ", i + 1, cases[i].name);
        failures += !good;
    }
    return failures != 0;
}
