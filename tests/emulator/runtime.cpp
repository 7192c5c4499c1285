/* Devices, errors, copies, and the trace: what is left of the runtime. */
#include "emulator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <stdarg.h>
#include <utility>
#include <vector>

using namespace emulator;

std::recursive_mutex emulator::mutex;

namespace
{
thread_local int device_now;
thread_local cudaError_t last_error;

struct Count {
    size_t calls, bytes;
};
auto &counts = *new std::map<std::pair<std::string, std::string>, Count>;

const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
#define ERROR(name, text)                                                                      \
    {                                                                                          \
        name, #name, text                                                                      \
    }
    ERROR(cudaSuccess, "no error"),
    ERROR(cudaErrorInvalidValue, "invalid argument"),
    ERROR(cudaErrorMemoryAllocation, "out of memory"),
    ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ERROR(cudaErrorNotReady, "device not ready"),
    ERROR(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled"),
};

void write_trace()
{
    const char *name = getenv("CUDA_EMULATOR_TRACE");
    FILE *file = fopen(name, "a");
    if (!file) die("cannot append to CUDA_EMULATOR_TRACE=%s", name);
    for (auto &[key, count] : counts)
        fprintf(file, "%s\t%s\t%zu\t%zu\n", key.first.c_str(), key.second.c_str(), count.calls,
                count.bytes);
    trace_memory(file);
    fclose(file);
}
} // namespace

void emulator::die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("CUDA emulator: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    abort();
}

long emulator::number_setting(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

bool emulator::word_setting(const char *name, const char *word)
{
    const char *text = getenv(name);
    return text && !strcmp(text, word);
}

void emulator::trace(const char *kind, const std::string &name, size_t bytes)
{
    static const bool on = getenv("CUDA_EMULATOR_TRACE") && !atexit(write_trace);
    if (!on) return;
    Count &count = counts[{kind, name}];
    ++count.calls;
    count.bytes += bytes;
}

int emulator::device_count()
{
    static const int count =
        std::min<long>(number_setting("CUDA_EMULATOR_DEVICES", 1), max_devices);
    return count;
}

int emulator::current_device()
{
    return device_now;
}

cudaError_t emulator::failed(cudaError_t error)
{
    return last_error = error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    for (auto &e : errors)
        if (e.error == error) return e.text;
    return "unrecognized error code";
}

cudaError_t cudaPeekAtLastError()
{
    return last_error;
}

cudaError_t cudaGetLastError()
{
    return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = device_count();
    return *count ? cudaSuccess : failed(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = device_now;
    return device_count() ? cudaSuccess : failed(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    if (!device_count()) return failed(cudaErrorNoDevice);
    if (device < 0 || device >= device_count()) return failed(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    if (device < 0 || device >= device_count()) return failed(cudaErrorInvalidDevice);
    size_t free;
    *properties = {};
    strcpy(properties->name, "CUDA emulator");
    cudaMemGetInfo(&free, &properties->totalGlobalMem);
    properties->sharedMemPerBlock = max_shared;
    properties->warpSize = warpSize;
    properties->maxThreadsPerBlock = max_threads;
    std::copy_n(max_block, 3, properties->maxThreadsDim);
    std::copy_n(max_grid, 3, properties->maxGridSize);
    properties->major = 9;
    properties->multiProcessorCount = properties->concurrentKernels = 1;
    properties->asyncEngineCount = properties->unifiedAddressing = 1;
    properties->memoryBusWidth = 64;
    return cudaSuccess;
}

static cudaError_t set(const char *call, void *p, int value, size_t size, cudaStream_t stream)
{
    Lock lock(mutex);
    if (stream_device(stream) < 0) return enqueue(stream, call, nullptr);
    if (!size) return cudaSuccess;
    check_device_bytes(call, "the destination", p, size, stream_device(stream));
    trace("memset", "", size);
    return enqueue(stream, call, [=] { memset(p, value, size); });
}

cudaError_t cudaMemset(void *pointer, int value, size_t size)
{
    return set("cudaMemset", pointer, value, size, nullptr);
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t size, cudaStream_t stream)
{
    return set("cudaMemsetAsync", pointer, value, size, stream);
}

/* One side of a copy must be where its kind says. */
static void check_side(const char *call, const char *side, const void *p, size_t size,
                       bool device)
{
    if (device) check_device_bytes(call, side, p, size, -1);
    else check_host_bytes(call, side, p);
}

/*
 * As CUDA's manual says: a copy from or to pageable memory needs the host's buffer until the
 * call returns, and not after; one from or to pinned memory until the stream gets to it; only
 * the synchronous ones wait, and they don't either if both sides are on the device.
 */
static cudaError_t copy(const char *call, void *to, const void *from, size_t size,
                        cudaMemcpyKind kind, cudaStream_t stream, bool wait)
{
    static const char *const names[] = {"host-to-host", "host-to-device", "device-to-host",
                                        "device-to-device"};
    Lock lock(mutex);
    if (stream_device(stream) < 0) return enqueue(stream, call, nullptr);
    if (kind < 0 || kind > cudaMemcpyDefault) return failed(cudaErrorInvalidMemcpyDirection);
    if (kind == cudaMemcpyDefault)
        kind = (cudaMemcpyKind)((owner(from) >= 0) * 2 + (owner(to) >= 0));
    if (!size) return cudaSuccess;
    bool from_host = !(kind & 2), to_host = !(kind & 1);
    check_side(call, "the destination", to, size, !to_host);
    check_side(call, "the source", from, size, !from_host);
    trace("copy", names[kind], size);
    if (!from_host && !to_host) wait = false;
    else if (to_host && !is_pinned(to, size)) wait = true;
    else if (from_host && !wait && !is_pinned(from, size)) {
        auto staged = std::make_shared<std::string>((const char *)from, size);
        return enqueue(stream, call, [=] { memcpy(to, staged->data(), size); });
    }
    return enqueue(
        stream, call, [=] { memcpy(to, from, size); }, wait);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind)
{
    return copy("cudaMemcpy", to, from, size, kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return copy("cudaMemcpyAsync", to, from, size, kind, stream, false);
}

static void check_peers(const char *call, const void *to, int to_device, const void *from,
                        int from_device)
{
    if (owner(to) != to_device) die("%s: %p is not device %d's", call, to, to_device);
    if (owner(from) != from_device) die("%s: %p is not device %d's", call, from, from_device);
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device,
                                size_t size, cudaStream_t stream)
{
    Lock lock(mutex);
    check_peers("cudaMemcpyPeerAsync", to, to_device, from, from_device);
    return copy("cudaMemcpyPeerAsync", to, from, size, cudaMemcpyDeviceToDevice, stream, false);
}

