/* What `deepkd version` says of CUDA and cuDNN; nothing in a build without them. */
#ifndef KD_VERSION_GPU_H
#define KD_VERSION_GPU_H

void print_gpu_libraries(void);

#endif
