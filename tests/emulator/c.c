#include "cuda_runtime.h"
#include "curand.h"
#include "cublas_v2.h"
#include "cudnn.h"
#define CUDA_EMULATOR_DEFAULT(x)
#define CUDA_EMULATOR_STREAM cudaStream_t stream
const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer);
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags);
cudaError_t cudaDeviceDisablePeerAccess(int peer);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaMalloc(void **pointer, size_t size);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocHost(void **pointer, size_t size);
cudaError_t cudaHostAlloc(void **pointer, size_t size, unsigned flags);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaHostRegister(void *pointer, size_t size, unsigned flags);
cudaError_t cudaHostUnregister(void *pointer);
cudaError_t cudaMemset(void *pointer, int value, size_t size);
cudaError_t cudaMemsetAsync(void *pointer, int value, size_t size, CUDA_EMULATOR_STREAM);
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind,
                            CUDA_EMULATOR_STREAM);
cudaError_t cudaMemcpyPeer(void *to, int to_device, const void *from, int from_device,
                           size_t size);
cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device,
                                size_t size, CUDA_EMULATOR_STREAM);
cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event,
                                unsigned flags CUDA_EMULATOR_DEFAULT(0));
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, CUDA_EMULATOR_STREAM);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);
_Static_assert(cudaSuccess == 0, "cudaSuccess");
_Static_assert(cudaErrorInvalidValue == 1, "cudaErrorInvalidValue");
_Static_assert(cudaErrorMemoryAllocation == 2, "cudaErrorMemoryAllocation");
_Static_assert(cudaErrorInitializationError == 3, "cudaErrorInitializationError");
_Static_assert(cudaErrorInvalidConfiguration == 9, "cudaErrorInvalidConfiguration");
_Static_assert(cudaErrorInvalidDevicePointer == 17, "cudaErrorInvalidDevicePointer");
_Static_assert(cudaErrorInvalidMemcpyDirection == 21, "cudaErrorInvalidMemcpyDirection");
_Static_assert(cudaErrorInsufficientDriver == 35, "cudaErrorInsufficientDriver");
_Static_assert(cudaErrorNoDevice == 100, "cudaErrorNoDevice");
_Static_assert(cudaErrorInvalidDevice == 101, "cudaErrorInvalidDevice");
_Static_assert(cudaErrorInvalidResourceHandle == 400, "cudaErrorInvalidResourceHandle");
_Static_assert(cudaErrorNotReady == 600, "cudaErrorNotReady");
_Static_assert(cudaErrorIllegalAddress == 700, "cudaErrorIllegalAddress");
_Static_assert(cudaErrorPeerAccessAlreadyEnabled == 704, "cudaErrorPeerAccessAlreadyEnabled");
_Static_assert(cudaErrorPeerAccessNotEnabled == 705, "cudaErrorPeerAccessNotEnabled");
_Static_assert(cudaErrorHostMemoryNotRegistered == 713, "cudaErrorHostMemoryNotRegistered");
_Static_assert(cudaErrorLaunchFailure == 719, "cudaErrorLaunchFailure");
_Static_assert(cudaErrorNotSupported == 801, "cudaErrorNotSupported");
_Static_assert(cudaErrorUnknown == 999, "cudaErrorUnknown");
_Static_assert(cudaMemcpyHostToHost == 0, "cudaMemcpyHostToHost");
_Static_assert(cudaMemcpyHostToDevice == 1, "cudaMemcpyHostToDevice");
_Static_assert(cudaMemcpyDeviceToHost == 2, "cudaMemcpyDeviceToHost");
_Static_assert(cudaMemcpyDeviceToDevice == 3, "cudaMemcpyDeviceToDevice");
_Static_assert(cudaMemcpyDefault == 4, "cudaMemcpyDefault");
_Static_assert(cudaDevAttrMaxThreadsPerBlock == 1, "cudaDevAttrMaxThreadsPerBlock");
_Static_assert(cudaDevAttrMaxSharedMemoryPerBlock == 8, "cudaDevAttrMaxSharedMemoryPerBlock");
_Static_assert(cudaDevAttrWarpSize == 10, "cudaDevAttrWarpSize");
_Static_assert(cudaDevAttrMultiProcessorCount == 16, "cudaDevAttrMultiProcessorCount");
_Static_assert(cudaDevAttrMemoryClockRate == 36, "cudaDevAttrMemoryClockRate");
_Static_assert(cudaDevAttrGlobalMemoryBusWidth == 37, "cudaDevAttrGlobalMemoryBusWidth");
_Static_assert(cudaDevAttrComputeCapabilityMajor == 75, "cudaDevAttrComputeCapabilityMajor");
_Static_assert(cudaDevAttrComputeCapabilityMinor == 76, "cudaDevAttrComputeCapabilityMinor");
_Static_assert((long)cudaHostAllocDefault == (long)0x00, "cudaHostAllocDefault");
_Static_assert((long)cudaHostAllocPortable == (long)0x01, "cudaHostAllocPortable");
_Static_assert((long)cudaHostRegisterDefault == (long)0x00, "cudaHostRegisterDefault");
_Static_assert((long)cudaStreamDefault == (long)0x00, "cudaStreamDefault");
_Static_assert((long)cudaStreamNonBlocking == (long)0x01, "cudaStreamNonBlocking");
_Static_assert((long)cudaStreamLegacy == (long)((cudaStream_t)0x1), "cudaStreamLegacy");
_Static_assert((long)cudaEventDefault == (long)0x00, "cudaEventDefault");
_Static_assert((long)cudaEventBlockingSync == (long)0x01, "cudaEventBlockingSync");
_Static_assert((long)cudaEventDisableTiming == (long)0x02, "cudaEventDisableTiming");
curandStatus_t curandCreateGenerator(curandGenerator_t *generator, curandRngType_t type);
curandStatus_t curandDestroyGenerator(curandGenerator_t generator);
curandStatus_t curandSetStream(curandGenerator_t generator, cudaStream_t stream);
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator,
                                                  unsigned long long seed);
curandStatus_t curandSetGeneratorOffset(curandGenerator_t generator, unsigned long long offset);
curandStatus_t curandGenerateUniform(curandGenerator_t generator, float *numbers, size_t n);
_Static_assert(CURAND_STATUS_SUCCESS == 0, "CURAND_STATUS_SUCCESS");
_Static_assert(CURAND_STATUS_NOT_INITIALIZED == 101, "CURAND_STATUS_NOT_INITIALIZED");
_Static_assert(CURAND_STATUS_TYPE_ERROR == 103, "CURAND_STATUS_TYPE_ERROR");
_Static_assert(CURAND_STATUS_LAUNCH_FAILURE == 201, "CURAND_STATUS_LAUNCH_FAILURE");
_Static_assert(CURAND_STATUS_INITIALIZATION_FAILED == 203, "CURAND_STATUS_INITIALIZATION_FAILED");
_Static_assert(CURAND_RNG_PSEUDO_DEFAULT == 100, "CURAND_RNG_PSEUDO_DEFAULT");
_Static_assert(CURAND_RNG_PSEUDO_XORWOW == 101, "CURAND_RNG_PSEUDO_XORWOW");
_Static_assert(CURAND_RNG_PSEUDO_PHILOX4_32_10 == 161, "CURAND_RNG_PSEUDO_PHILOX4_32_10");
const char *cublasGetStatusName(cublasStatus_t status);
const char *cublasGetStatusString(cublasStatus_t status);
cublasStatus_t cublasCreate(cublasHandle_t *handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t *stream);
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode);
cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t *mode);
cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa,
                           cublasOperation_t transb, int m, int n, int k, const float *alpha,
                           const float *A, int lda, const float *B, int ldb, const float *beta,
                           float *C, int ldc);
_Static_assert(CUBLAS_STATUS_SUCCESS == 0, "CUBLAS_STATUS_SUCCESS");
_Static_assert(CUBLAS_STATUS_NOT_INITIALIZED == 1, "CUBLAS_STATUS_NOT_INITIALIZED");
_Static_assert(CUBLAS_STATUS_ALLOC_FAILED == 3, "CUBLAS_STATUS_ALLOC_FAILED");
_Static_assert(CUBLAS_STATUS_INVALID_VALUE == 7, "CUBLAS_STATUS_INVALID_VALUE");
_Static_assert(CUBLAS_STATUS_ARCH_MISMATCH == 8, "CUBLAS_STATUS_ARCH_MISMATCH");
_Static_assert(CUBLAS_STATUS_MAPPING_ERROR == 11, "CUBLAS_STATUS_MAPPING_ERROR");
_Static_assert(CUBLAS_STATUS_EXECUTION_FAILED == 13, "CUBLAS_STATUS_EXECUTION_FAILED");
_Static_assert(CUBLAS_STATUS_INTERNAL_ERROR == 14, "CUBLAS_STATUS_INTERNAL_ERROR");
_Static_assert(CUBLAS_STATUS_NOT_SUPPORTED == 15, "CUBLAS_STATUS_NOT_SUPPORTED");
_Static_assert(CUBLAS_STATUS_LICENSE_ERROR == 16, "CUBLAS_STATUS_LICENSE_ERROR");
_Static_assert(CUBLAS_OP_N == 0, "CUBLAS_OP_N");
_Static_assert(CUBLAS_OP_T == 1, "CUBLAS_OP_T");
_Static_assert(CUBLAS_OP_C == 2, "CUBLAS_OP_C");
_Static_assert(CUBLAS_DEFAULT_MATH == 0, "CUBLAS_DEFAULT_MATH");
_Static_assert(CUBLAS_PEDANTIC_MATH == 2, "CUBLAS_PEDANTIC_MATH");
_Static_assert(CUBLAS_TF32_TENSOR_OP_MATH == 3, "CUBLAS_TF32_TENSOR_OP_MATH");
size_t cudnnGetVersion(void);
const char *cudnnGetErrorString(cudnnStatus_t status);
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle);
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle);
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
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups);
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution,
                                          cudnnMathType_t math);
cudnnStatus_t cudnnBatchNormalizationForwardTraining(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha, const void *beta,
    const cudnnTensorDescriptor_t x_shape, const void *x, const cudnnTensorDescriptor_t y_shape,
    void *y, const cudnnTensorDescriptor_t parameter_shape, const void *scale,
    const void *bias, double factor, void *running_mean, void *running_variance,
    double epsilon, void *saved_mean, void *saved_inverse_deviation);
cudnnStatus_t cudnnBatchNormalizationBackward(
    cudnnHandle_t handle, cudnnBatchNormMode_t mode, const void *alpha_data,
    const void *beta_data, const void *alpha_parameters, const void *beta_parameters,
    const cudnnTensorDescriptor_t x_shape, const void *x,
    const cudnnTensorDescriptor_t dy_shape, const void *dy,
    const cudnnTensorDescriptor_t dx_shape, void *dx,
    const cudnnTensorDescriptor_t parameter_shape, const void *scale, void *dscale, void *dbias,
    double epsilon, const void *saved_mean, const void *saved_inverse_deviation);
_Static_assert(CUDNN_STATUS_SUCCESS == 0, "CUDNN_STATUS_SUCCESS");
_Static_assert(CUDNN_STATUS_NOT_INITIALIZED == 1001, "CUDNN_STATUS_NOT_INITIALIZED");
_Static_assert(CUDNN_STATUS_BAD_PARAM == 2000, "CUDNN_STATUS_BAD_PARAM");
_Static_assert(CUDNN_STATUS_NOT_SUPPORTED == 3000, "CUDNN_STATUS_NOT_SUPPORTED");
_Static_assert(CUDNN_STATUS_INTERNAL_ERROR == 4000, "CUDNN_STATUS_INTERNAL_ERROR");
_Static_assert(CUDNN_STATUS_EXECUTION_FAILED == 5000, "CUDNN_STATUS_EXECUTION_FAILED");
_Static_assert(CUDNN_DATA_FLOAT == 0, "CUDNN_DATA_FLOAT");
_Static_assert(CUDNN_DATA_DOUBLE == 1, "CUDNN_DATA_DOUBLE");
_Static_assert(CUDNN_DATA_HALF == 2, "CUDNN_DATA_HALF");
_Static_assert(CUDNN_TENSOR_NCHW == 0, "CUDNN_TENSOR_NCHW");
_Static_assert(CUDNN_TENSOR_NHWC == 1, "CUDNN_TENSOR_NHWC");
_Static_assert(CUDNN_NON_DETERMINISTIC == 0, "CUDNN_NON_DETERMINISTIC");
_Static_assert(CUDNN_DETERMINISTIC == 1, "CUDNN_DETERMINISTIC");
_Static_assert(CUDNN_CONVOLUTION == 0, "CUDNN_CONVOLUTION");
_Static_assert(CUDNN_CROSS_CORRELATION == 1, "CUDNN_CROSS_CORRELATION");
_Static_assert(CUDNN_DEFAULT_MATH == 0, "CUDNN_DEFAULT_MATH");
_Static_assert(CUDNN_TENSOR_OP_MATH == 1, "CUDNN_TENSOR_OP_MATH");
_Static_assert(CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION == 2, "CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION");
_Static_assert(CUDNN_FMA_MATH == 3, "CUDNN_FMA_MATH");
_Static_assert(CUDNN_BATCHNORM_PER_ACTIVATION == 0, "CUDNN_BATCHNORM_PER_ACTIVATION");
_Static_assert(CUDNN_BATCHNORM_SPATIAL == 1, "CUDNN_BATCHNORM_SPATIAL");
_Static_assert(CUDNN_BATCHNORM_SPATIAL_PERSISTENT == 2, "CUDNN_BATCHNORM_SPATIAL_PERSISTENT");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM == 0, "CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM == 1, "CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_GEMM == 2, "CUDNN_CONVOLUTION_FWD_ALGO_GEMM");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_DIRECT == 3, "CUDNN_CONVOLUTION_FWD_ALGO_DIRECT");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_FFT == 4, "CUDNN_CONVOLUTION_FWD_ALGO_FFT");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING == 5, "CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD == 6, "CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED == 7, "CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED");
_Static_assert(CUDNN_CONVOLUTION_FWD_ALGO_COUNT == 8, "CUDNN_CONVOLUTION_FWD_ALGO_COUNT");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 == 0, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_0");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_1 == 1, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_1");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT == 2, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING == 3, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD == 4, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED == 5, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED");
_Static_assert(CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT == 6, "CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 == 0, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 == 1, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT == 2, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 == 3, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD == 4, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED == 5, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING == 6, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING");
_Static_assert(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT == 7, "CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT");
