/*
 * Inside the emulator: what memory.cpp, streams.cpp, kernel.cpp and the libraries share.
 *
 * Everything that CUDA would do on a device is a closure in a stream (streams.cpp). Host
 * threads that wait for a stream run it, one at a time, under one lock; kernels run in
 * kernel.cpp.
 */
#ifndef EMULATOR_H
#define EMULATOR_H

#define __CUDACC__
#include "cuda_runtime.h"

#include <cmath>
#include <fenv.h>
#include <mutex>
#include <stdio.h>
#include <string>

namespace emulator
{
constexpr int max_devices = 16, max_threads = 1024, max_shared = 48 << 10;
constexpr int max_block[3] = {1024, 1024, 64}, max_grid[3] = {0x7fffffff, 65535, 65535};

/* Held by each function of the API, so it may call others. */
extern std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

/* One line on stderr, then abort: what a real GPU would do here is undefined. */
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* An environment variable's number or, if it is a word, whether it is `word`. */
long number_setting(const char *name, long otherwise);
bool word_setting(const char *name, const char *word);

/* Adds a line to CUDA_EMULATOR_TRACE, or to the counts of the line that is there. */
void trace(const char *kind, const std::string &name, size_t bytes = 0);

int device_count();
int current_device();

/* Keeps an error for cudaGetLastError; returns it. */
cudaError_t failed(cudaError_t error);

/* memory.cpp. Owner: the device whose memory p is in, -1: host memory. */
int owner(const void *p);
bool is_pinned(const void *p, size_t size);

/* Dies unless these bytes are in one allocation that `device` reaches (-1: any device's). */
void check_device_bytes(const char *call, const char *argument, const void *p, size_t size,
                        int device);

/* Dies if they are device memory. */
void check_host_bytes(const char *call, const char *argument, const void *p);

/*
 * While one of these lives, its thread may touch device memory, in the name of `what`; and
 * denormal numbers are numbers, which for a program that was linked with -Ofast are 0.
 */
struct Access {
    explicit Access(const char *what);
    ~Access();
    fenv_t host;
};

/* Writes the trace's lines about memory. */
void trace_memory(FILE *file);

/* streams.cpp. The device of a stream, -1 if there is none. */
int stream_device(cudaStream_t stream);

/* Queues work, of that name, in its stream's order; waits for it if asked to. */
cudaError_t enqueue(cudaStream_t stream, const char *name, std::function<void()> work,
                    bool wait = false);

/* Runs all that is queued on a device. */
void finish(int device);

/* Dies unless a library's handle is the current device's, and its stream, too. */
void check_handle(const char *call, int device, cudaStream_t stream);

/* A number as TF32's products take it: 10 bits of fraction. */
inline float rounded(float x, bool tf32)
{
    if (!tf32 || !std::isfinite(x)) return x;
    return __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu);
}
} // namespace emulator

#endif
