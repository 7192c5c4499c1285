/* cuBLAS and cuRAND: the calls that Darknet makes, as work in their handles' streams. */
#include "emulator.h"
#include "cublas_v2.h"
#include "curand.h"

#include <vector>

using namespace emulator;

struct cublasContext {
    int device;
    cudaStream_t stream;
    cublasMath_t math;
};

struct curandGenerator_st {
    int device;
    cudaStream_t stream;
    unsigned long long seed, offset;
};

const char *cublasGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    default: return "CUBLAS_STATUS_INTERNAL_ERROR";
    }
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return cublasGetStatusName(status);
}

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    if (!device_count()) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasContext{current_device(), nullptr, CUBLAS_DEFAULT_MATH};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}

namespace
{
/* A matrix that lies column by column, or transposed if asked for. */
struct Matrix {
    const float *data;
    int leading;
    bool transposed;
    float at(int row, int column) const
    {
        return transposed ? data[(size_t)row * leading + column]
                          : data[(size_t)column * leading + row];
    }
};

/* Sums in order of k, in float. What beta = 0 overwrites is not read. */
void gemm(int m, int n, int k, float alpha, Matrix A, Matrix B, float beta, float *C, int ldc,
          bool tf32)
{
    std::vector<float> a((size_t)m * k), column(m);
    for (int p = 0; p < k; ++p)
        for (int i = 0; i < m; ++i) a[(size_t)p * m + i] = rounded(A.at(i, p), tf32);
    for (int j = 0; j < n; ++j) {
        std::fill(column.begin(), column.end(), 0);
        for (int p = 0; p < k; ++p) {
            float b = rounded(B.at(p, j), tf32);
            const float *from = &a[(size_t)p * m];
            for (int i = 0; i < m; ++i) column[i] += b * from[i];
        }
        for (int i = 0; i < m; ++i) {
            float &c = C[(size_t)j * ldc + i];
            c = alpha * column[i] + (beta ? beta * c : 0);
        }
    }
}

size_t matrix_bytes(int rows, int columns, int leading)
{
    return ((size_t)leading * (columns - 1) + rows) * sizeof(float);
}
} // namespace

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa,
                           cublasOperation_t transb, int m, int n, int k, const float *alpha,
                           const float *A, int lda, const float *B, int ldb, const float *beta,
                           float *C, int ldc)
{
    Lock lock(mutex);
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    bool ta = transa != CUBLAS_OP_N, tb = transb != CUBLAS_OP_N;
    int rows_a = ta ? k : m, rows_b = tb ? n : k;
    if (m < 0 || n < 0 || k < 0 || !alpha || !beta || lda < std::max(1, rows_a) ||
        ldb < std::max(1, rows_b) || ldc < std::max(1, m))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!m || !n) return CUBLAS_STATUS_SUCCESS;
    check_handle("cublasSgemm", handle->device, handle->stream);
    if (k) {
        check_device_bytes("cublasSgemm", "A", A, matrix_bytes(rows_a, ta ? m : k, lda),
                           handle->device);
        check_device_bytes("cublasSgemm", "B", B, matrix_bytes(rows_b, tb ? k : n, ldb),
                           handle->device);
    }
    check_device_bytes("cublasSgemm", "C", C, matrix_bytes(m, n, ldc), handle->device);
    trace("library", "cublasSgemm");
    bool tf32 = handle->math == CUBLAS_TF32_TENSOR_OP_MATH;
    enqueue(handle->stream, "cublasSgemm", [=, alpha = *alpha, beta = *beta] {
        gemm(m, n, k, alpha, {A, lda, ta}, {B, ldb, tb}, beta, C, ldc, tf32);
    });
    return CUBLAS_STATUS_SUCCESS;
}

curandStatus_t curandCreateGenerator(curandGenerator_t *generator, curandRngType_t type)
{
    if (!device_count()) return CURAND_STATUS_INITIALIZATION_FAILED;
    if (type != CURAND_RNG_PSEUDO_DEFAULT && type != CURAND_RNG_PSEUDO_XORWOW &&
        type != CURAND_RNG_PSEUDO_PHILOX4_32_10)
        return CURAND_STATUS_TYPE_ERROR;
    *generator = new curandGenerator_st{current_device(), nullptr, 0, 0};
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandSetStream(curandGenerator_t generator, cudaStream_t stream)
{
    if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
    generator->stream = stream;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator,
                                                  unsigned long long seed)
{
    if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
    generator->seed = seed;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandSetGeneratorOffset(curandGenerator_t generator, unsigned long long offset)
{
    if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
    generator->offset = offset;
    return CURAND_STATUS_SUCCESS;
}

/* SplitMix64's output function: number `at` of the sequence of a seed. */
static uint32_t random_bits(uint64_t seed, uint64_t at)
{
    uint64_t z = seed * 0xda942042e4dd58b5 + (at + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) >> 32;
}

/* In (0, 1], as cuRAND's. */
curandStatus_t curandGenerateUniform(curandGenerator_t generator, float *numbers, size_t n)
{
    Lock lock(mutex);
    if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
    check_handle("curandGenerateUniform", generator->device, generator->stream);
    check_device_bytes("curandGenerateUniform", "the output", numbers, n * sizeof(float),
                       generator->device);
    trace("library", "curandGenerateUniform");
    auto work = [=, seed = generator->seed, offset = generator->offset] {
        for (size_t i = 0; i < n; ++i)
            numbers[i] = (random_bits(seed, offset + i) + 1.) / 4294967296.;
    };
    generator->offset += n;
    enqueue(generator->stream, "curandGenerateUniform", work);
    return CURAND_STATUS_SUCCESS;
}
