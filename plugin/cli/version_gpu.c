/* See version_gpu.h. */
#include "cli/version_gpu.h"

#ifdef GPU

#include "cuda.h"

void print_gpu_libraries(void)
{
    int version = 0; /* 1000 major + 10 minor; the library knows it without a driver, too */
    check_error(cudaRuntimeGetVersion(&version));
    printf("CUDA %d.%d\n", version / 1000, version % 1000 / 10);
#ifdef CUDNN
    size_t cudnn = cudnnGetVersion(); /* 9.1.0 is 90100, and 8.9.7 is 8907 */
    size_t major = cudnn >= 90000 ? 10000 : 1000;
    printf("cuDNN %zu.%zu.%zu\n", cudnn / major, cudnn % major / 100, cudnn % 100);
#endif
}

#else

void print_gpu_libraries(void) {}

#endif
