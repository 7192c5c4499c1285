/*
 * Device memory: cudaMalloc and what keeps programs honest about it.
 *
 * Each device has an arena of addresses that are never reused. An allocation ends at a page
 * that nobody may touch; what is left of its own pages is filled with 0xFF and checked when it
 * is freed, and poisoned under AddressSanitizer. Its pages are closed except while a kernel or
 * a copy touches them (on_fault opens them), so a host that reads a device pointer stops there.
 */
#include "emulator.h"

#include <map>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

extern "C" __attribute__((weak)) void __asan_poison_memory_region(const void *, size_t);

using namespace emulator;

namespace
{
constexpr size_t arena_size = 1ull << 40;
const size_t page = sysconf(_SC_PAGESIZE);

struct Allocation {
    char *pages, *start;
    size_t length, size; /* of the pages, of what was asked for */
    bool open;
    Allocation *next_open;
    char *end() const
    {
        return start + size;
    }
};

struct Device {
    char *arena;
    size_t used, now, peak;
    bool reaches[max_devices];
    std::map<const char *, Allocation> live; /* by start */
};

Device devices[max_devices];
std::map<const char *, size_t> &pinned = *new std::map<const char *, size_t>;
const bool protect = number_setting("CUDA_EMULATOR_PROTECT", 1);

const char *accessing; /* what may touch device memory now, in which thread */
pthread_t accessor;
Allocation *opened;
struct sigaction old_action;

/* The allocation that p is in or at the end of, or else null. */
Allocation *find(const void *p)
{
    int device = owner(p);
    if (device < 0) return nullptr;
    auto &live = devices[device].live;
    auto next = live.upper_bound((const char *)p);
    if (next == live.begin()) return nullptr;
    Allocation &found = std::prev(next)->second;
    return (const char *)p <= found.end() ? &found : nullptr;
}

void set_open(Allocation &a, bool open)
{
    if (mprotect(a.pages, a.length, open ? PROT_READ | PROT_WRITE : PROT_NONE))
        die("mprotect failed");
    a.open = open;
}

/* Opens an allocation when a kernel or copy first uses it; all else gets a line and crashes. */
void on_fault(int, siginfo_t *info, void *)
{
    const char *at = (const char *)info->si_addr;
    Allocation *a = find(at);
    bool on_device = accessing && pthread_equal(accessor, pthread_self());
    if (a && !a->open && at < a->end() && on_device) {
        set_open(*a, true);
        a->next_open = opened;
        opened = a;
        return;
    }
    if (owner(at) >= 0)
        dprintf(2, "CUDA emulator: %s touches device memory at %p, %s\n",
                on_device ? accessing : "host code", at,
                a && at < a->end() ? "without a copy" : "outside of any allocation");
    sigaction(SIGSEGV, &old_action, nullptr);
}

void check_slack(Allocation &a)
{
    auto check = [&](const char *from, const char *to) {
        for (; from < to; ++from)
            if (*from != '\xff')
                die("an allocation of %zu bytes was written to at byte %td", a.size,
                    from - a.start);
    };
    if (!a.open) set_open(a, true);
    check(a.pages, a.start);
    check(a.end(), a.pages + a.length);
}

/* At the end of the program, for what was not freed */
void check_all_slack()
{
    for (Device &device : devices)
        for (auto &[start, allocation] : device.live) check_slack(allocation);
}

void create_arena(Device &device)
{
    void *arena = mmap(nullptr, arena_size, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) die("no address space for a device's memory");
    device.arena = (char *)arena;
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    static bool once = sigaction(SIGSEGV, &action, &old_action) || atexit(check_all_slack);
    if (once) die("cannot watch device memory");
}

Allocation allocate(Device &device, size_t size)
{
    if (!device.arena) create_arena(device);
    size_t aligned = (size + 15) / 16 * 16;
    Allocation a = {};
    a.size = size;
    a.length = (aligned + page - 1) / page * page;
    a.pages = device.arena + device.used + page;
    a.start = a.pages + a.length - aligned;
    device.used += a.length + page;
    if (device.used + page > arena_size) die("a device's addresses are used up");
    set_open(a, true);
    memset(a.pages, 0xff, a.length);
    if (__asan_poison_memory_region) {
        __asan_poison_memory_region(a.pages, a.start - a.pages);
        __asan_poison_memory_region(a.end(), a.pages + a.length - a.end());
    }
    if (protect) set_open(a, false);
    return a;
}
} // namespace

int emulator::owner(const void *p)
{
    for (int i = 0; i < max_devices; ++i)
        if (devices[i].arena && (uintptr_t)p - (uintptr_t)devices[i].arena < arena_size)
            return i;
    return -1;
}

bool emulator::is_pinned(const void *p, size_t size)
{
    auto next = pinned.upper_bound((const char *)p);
    if (next == pinned.begin()) return false;
    auto [start, length] = *std::prev(next);
    return (const char *)p + size <= start + length;
}

void emulator::check_device_bytes(const char *call, const char *argument, const void *p,
                                  size_t size, int device)
{
    int from = owner(p);
    const Allocation *a = find(p);
    if (from < 0) die("%s: %s (%p) is not device memory", call, argument, p);
    if (!a) die("%s: %s (%p) is in no allocation, or in one that was freed", call, argument, p);
    if ((const char *)p + size > a->end())
        die("%s: %s has %zu bytes, but %zu are left in its allocation of %zu", call, argument,
            size, a->end() - (const char *)p, a->size);
    if (device >= 0 && device != from && !devices[device].reaches[from])
        die("%s: %s is in device %d's memory, which device %d has no access to", call, argument,
            from, device);
}

void emulator::check_host_bytes(const char *call, const char *argument, const void *p)
{
    if (owner(p) >= 0) die("%s: %s (%p) is device memory", call, argument, p);
}

Access::Access(const char *what)
{
    accessor = pthread_self();
    accessing = what;
    fegetenv(&host);
    fesetenv(FE_DFL_ENV);
}

Access::~Access()
{
    fesetenv(&host);
    accessing = nullptr;
    for (; opened; opened = opened->next_open)
        if (protect) set_open(*opened, false);
}

void emulator::trace_memory(FILE *file)
{
    for (int i = 0; i < device_count(); ++i)
        fprintf(file, "memory\t%d\t%zu\t%zu\n", i, devices[i].now, devices[i].peak);
}

cudaError_t cudaMalloc(void **pointer, size_t size)
{
    Lock lock(mutex);
    *pointer = nullptr;
    size_t free, total;
    if (cudaError_t error = cudaMemGetInfo(&free, &total)) return error;
    if (size > free) return failed(cudaErrorMemoryAllocation);
    if (!size) return cudaSuccess;
    Device &device = devices[current_device()];
    Allocation a = allocate(device, size);
    device.live[a.start] = a;
    device.now += size;
    device.peak = std::max(device.peak, device.now);
    *pointer = a.start;
    return cudaSuccess;
}

cudaError_t cudaFree(void *pointer)
{
    Lock lock(mutex);
    if (!device_count()) return failed(cudaErrorNoDevice);
    if (!pointer) return cudaSuccess;
    Allocation *a = find(pointer);
    if (!a || a->start != pointer)
        die("cudaFree: %p is not the start of an allocation", pointer);
    Device &device = devices[owner(pointer)];
    for (int i = 0; i < device_count(); ++i) finish(i);
    check_slack(*a);
    device.now -= a->size;
    mmap(a->pages, a->length, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    device.live.erase(a->start);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    Lock lock(mutex);
    if (!device_count()) return failed(cudaErrorNoDevice);
    *total = (size_t)number_setting("CUDA_EMULATOR_MEMORY", 16384) << 20;
    *free = *total - devices[current_device()].now;
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    int n = device_count();
    if (device < 0 || peer < 0 || device >= n || peer >= n)
        return failed(cudaErrorInvalidDevice);
    *can = device != peer;
    return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned)
{
    Lock lock(mutex);
    int can = 0;
    cudaError_t error = cudaDeviceCanAccessPeer(&can, current_device(), peer);
    if (error || !can) return failed(cudaErrorInvalidDevice);
    bool already = std::exchange(devices[current_device()].reaches[peer], true);
    return already ? failed(cudaErrorPeerAccessAlreadyEnabled) : cudaSuccess;
}

cudaError_t cudaHostAlloc(void **pointer, size_t size, unsigned)
{
    Lock lock(mutex);
    *pointer = nullptr;
    if (!device_count()) return failed(cudaErrorNoDevice);
    if (!size) return cudaSuccess;
    *pointer = malloc(size);
    if (!*pointer) return failed(cudaErrorMemoryAllocation);
    memset(*pointer, 0xff, size);
    pinned[(char *)*pointer] = size;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **pointer, size_t size)
{
    return cudaHostAlloc(pointer, size, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *pointer)
{
    Lock lock(mutex);
    if (!pointer) return cudaSuccess;
    for (int i = 0; i < device_count(); ++i) finish(i);
    if (!pinned.erase((char *)pointer)) return failed(cudaErrorInvalidValue);
    free(pointer);
    return cudaSuccess;
}
