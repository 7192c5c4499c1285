/* Prints the first GPU's name or, with exit status 1, why CUDA finds none. */
#include <cuda_runtime.h>
#include <stdio.h>

int main(void)
{
    int n = 0;
    struct cudaDeviceProp properties;
    cudaError_t status = cudaGetDeviceCount(&n);
    if (status == cudaSuccess && n) status = cudaGetDeviceProperties(&properties, 0);
    puts(n && status == cudaSuccess ? properties.name : cudaGetErrorString(status));
    return !n || status != cudaSuccess;
}
