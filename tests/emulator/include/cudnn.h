/*
 * The part of cuDNN 9 that the emulator has: what Darknet calls, for float tensors in NCHW
 * order. CUDNN_DEFAULT_MATH allows TF32, as on today's GPUs; CUDNN_FMA_MATH does not.
 */
#ifndef CUDNN_H_
#define CUDNN_H_

#include "cuda_runtime.h"

#define CUDNN_MAJOR 9
#define CUDNN_MINOR 0
#define CUDNN_PATCHLEVEL 0
#define CUDNN_VERSION (CUDNN_MAJOR * 10000 + CUDNN_MINOR * 100 + CUDNN_PATCHLEVEL)
#define CUDNN_BN_MIN_EPSILON 0.0

typedef enum {
    CUDNN_STATUS_SUCCESS = 0,
    CUDNN_STATUS_NOT_INITIALIZED = 1001,
    CUDNN_STATUS_BAD_PARAM = 2000,
    CUDNN_STATUS_NOT_SUPPORTED = 3000,
    CUDNN_STATUS_INTERNAL_ERROR = 4000,
    CUDNN_STATUS_EXECUTION_FAILED = 5000
} cudnnStatus_t;

typedef enum {
    CUDNN_DATA_FLOAT = 0,
    CUDNN_DATA_DOUBLE = 1,
    CUDNN_DATA_HALF = 2
} cudnnDataType_t;
typedef enum { CUDNN_TENSOR_NCHW = 0, CUDNN_TENSOR_NHWC = 1 } cudnnTensorFormat_t;
typedef enum { CUDNN_NON_DETERMINISTIC = 0, CUDNN_DETERMINISTIC = 1 } cudnnDeterminism_t;
typedef enum { CUDNN_CONVOLUTION = 0, CUDNN_CROSS_CORRELATION = 1 } cudnnConvolutionMode_t;

typedef enum {
    CUDNN_DEFAULT_MATH = 0,
    CUDNN_TENSOR_OP_MATH = 1,
    CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION = 2,
    CUDNN_FMA_MATH = 3
} cudnnMathType_t;

typedef enum {
    CUDNN_BATCHNORM_PER_ACTIVATION = 0,
    CUDNN_BATCHNORM_SPATIAL = 1,
    CUDNN_BATCHNORM_SPATIAL_PERSISTENT = 2
} cudnnBatchNormMode_t;

typedef enum {
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM = 0,
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM = 1,
    CUDNN_CONVOLUTION_FWD_ALGO_GEMM = 2,
    CUDNN_CONVOLUTION_FWD_ALGO_DIRECT = 3,
    CUDNN_CONVOLUTION_FWD_ALGO_FFT = 4,
    CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING = 5,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD = 6,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED = 7,
    CUDNN_CONVOLUTION_FWD_ALGO_COUNT = 8
} cudnnConvolutionFwdAlgo_t;

typedef enum {
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 = 0,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 = 1,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT = 2,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING = 3,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD = 4,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED = 5,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT = 6
} cudnnConvolutionBwdDataAlgo_t;

typedef enum {
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 = 0,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 = 1,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT = 2,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 = 3,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD = 4,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED = 5,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING = 6,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT = 7
} cudnnConvolutionBwdFilterAlgo_t;

typedef struct cudnnContext *cudnnHandle_t;
typedef struct cudnnTensorStruct *cudnnTensorDescriptor_t;
typedef struct cudnnFilterStruct *cudnnFilterDescriptor_t;
typedef struct cudnnConvolutionStruct *cudnnConvolutionDescriptor_t;

#ifdef __cplusplus
extern "C" {
#endif

size_t cudnnGetVersion(void);
const char *cudnnGetErrorString(cudnnStatus_t status);
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle);
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream);

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *tensor);
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor);
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor,
                                         cudnnTensorFormat_t format, cudnnDataType_t type,
                                         int n, int c, int h, int w);
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *filter);
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter);
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int h,
                                         int w);
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *convolution);
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution);
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution,
                                              int pad_h, int pad_w, int stride_h, int stride_w,
                                              int dilation_h, int dilation_w,
                                              cudnnConvolutionMode_t mode,
                                              cudnnDataType_t type);
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution,
                                            int groups);
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution,
                                          cudnnMathType_t math);

/*
 * The calls of one direction, whose factors are first and second and whose result is output:
 * the algorithms with what they need, the first of them more workspace than there is; and
 * output = alpha * result + beta * output, which refuses a workspace that is too small.
 */
#define CUDNN_EMULATOR_DIRECTION(direction, brief, first_shape, second_shape, output_shape)    \
    typedef struct cudnnConvolution##brief##AlgoPerfStruct {                                   \
        cudnnConvolution##brief##Algo_t algo;                                                  \
        cudnnStatus_t status;                                                                  \
        float time;                                                                            \
        size_t memory;                                                                         \
        cudnnDeterminism_t determinism;                                                        \
        cudnnMathType_t mathType;                                                              \
        int reserved[3];                                                                       \
    } cudnnConvolution##brief##AlgoPerf_t;                                                     \
    cudnnStatus_t cudnnGetConvolution##direction##Algorithm_v7(                                \
        cudnnHandle_t handle, const first_shape, const second_shape,                           \
        const cudnnConvolutionDescriptor_t c, const output_shape, const int room, int *found,  \
        cudnnConvolution##brief##AlgoPerf_t *algorithms);                                      \
    cudnnStatus_t cudnnGetConvolution##direction##WorkspaceSize(                               \
        cudnnHandle_t handle, const first_shape, const second_shape,                           \
        const cudnnConvolutionDescriptor_t c, const output_shape,                              \
        cudnnConvolution##brief##Algo_t algorithm, size_t *size);                              \
    cudnnStatus_t cudnnConvolution##direction(                                                 \
        cudnnHandle_t handle, const void *alpha, const first_shape, const void *first,         \
        const second_shape, const void *second, const cudnnConvolutionDescriptor_t c,          \
        cudnnConvolution##brief##Algo_t algorithm, void *workspace, size_t size,               \
        const void *beta, const output_shape, void *output);

CUDNN_EMULATOR_DIRECTION(Forward, Fwd, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                         cudnnTensorDescriptor_t y)
CUDNN_EMULATOR_DIRECTION(BackwardData, BwdData, cudnnFilterDescriptor_t w,
                         cudnnTensorDescriptor_t y, cudnnTensorDescriptor_t x)
CUDNN_EMULATOR_DIRECTION(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t x,
                         cudnnTensorDescriptor_t y, cudnnFilterDescriptor_t w)

/* y = scale (x - mean) / sqrt(epsilon + variance) + bias; the running variance is unbiased. */
cudnnStatus_t cudnnBatchNormalizationForwardTraining(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta,
    const cudnnTensorDescriptor_t x_shape, const void *x, const cudnnTensorDescriptor_t y_shape,
    void *y, const cudnnTensorDescriptor_t parameter_shape, const void *scale, const void *bias,
    double factor, void *running_mean, void *running_variance, double epsilon, void *saved_mean,
    void *saved_inverse_deviation);
cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha_data,
    const void *beta_data, const void *alpha_parameters, const void *beta_parameters,
    const cudnnTensorDescriptor_t x_shape, const void *x,
    const cudnnTensorDescriptor_t dy_shape, const void *dy,
    const cudnnTensorDescriptor_t dx_shape, void *dx,
    const cudnnTensorDescriptor_t parameter_shape, const void *scale, void *dscale, void *dbias,
    double epsilon, const void *saved_mean, const void *saved_inverse_deviation);

#ifdef __cplusplus
}
#endif
#endif
