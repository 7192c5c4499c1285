/*
 * Kernels: blocks one after another, threads one after another on fibers (stacks of their own).
 *
 * A fiber runs threads in a plain loop until one of them has to wait for its block. Then
 * another fiber goes on with the threads that have not started; so a kernel without barriers
 * needs one fiber, and one with barriers one for each thread. When no thread can run, all must
 * be waiting at the same barrier, and go on; if not, release() dies, where a GPU would hang or
 * worse.
 *
 * CUDA_EMULATOR_ORDER=reverse runs blocks and threads from last to first.
 */
#include "emulator.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <utility>
#include <vector>

extern "C" __attribute__((weak)) void __sanitizer_start_switch_fiber(void **, const void *,
                                                                     size_t);
extern "C" __attribute__((weak)) void __sanitizer_finish_switch_fiber(void *, const void **,
                                                                      size_t *);

using namespace emulator;
using cuda_emulator::Kernel;

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace
{
constexpr size_t stack_size = 256 << 10, guard = 4096;

using Place = void *[5]; /* of __builtin_setjmp, which is quick and knows no signals */

struct Fiber {
    char *stack;
    size_t size;
    ucontext_t entry;
    Place at;
    bool entered = false;
    int thread;

    Fiber();
};

enum State { ready, waiting, returned };

struct Thread {
    State state;
    Fiber *fiber;
    const char *file; /* of the barrier where it waits */
    int line, vote;
};

const bool reverse = word_setting("CUDA_EMULATOR_ORDER", "reverse");
const Kernel *kernel; /* what runs now, and what its threads do */
const std::function<void()> *body;
int threads_per_block, started, finished;
Thread threads[max_threads];
int votes;

std::vector<Fiber *> idle;
Fiber *running;
Place scheduler;
const void *scheduler_stack;
size_t scheduler_stack_size;

std::vector<char> dynamic;
struct Shared {
    void *memory;
    size_t size;
};
std::vector<Shared> &shared_variables = *new std::vector<Shared>;

int in_order(int i, int n)
{
    return reverse ? n - 1 - i : i;
}

uint3 index_of(unsigned t)
{
    if (t < blockDim.x) return {t, 0, 0};
    return {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
}

/* Not in the function that calls __builtin_setjmp, where gcc would not expect to come back. */
__attribute__((noinline, noreturn)) void go(Place &place)
{
    __builtin_longjmp(place, 1);
}

/* From a fiber back to run_block(); AddressSanitizer is told which stack is the one in use. */
__attribute__((noinline)) void suspend()
{
    Fiber *self = running;
    void *fake_stack = nullptr;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&fake_stack, scheduler_stack, scheduler_stack_size);
    if (!__builtin_setjmp(self->at)) go(scheduler);
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_stack_size);
}

/* From run_block() to a fiber, until that suspends itself. */
__attribute__((noinline)) void resume(Fiber *fiber)
{
    static void *fake_stack;
    running = fiber;
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(&fake_stack, running->stack, running->size);
    if (!__builtin_setjmp(scheduler)) {
        if (std::exchange(running->entered, true)) go(running->at);
        setcontext(&running->entry);
    }
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}

void run_threads()
{
    if (__sanitizer_finish_switch_fiber)
        __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
    for (;;) {
        while (started < threads_per_block) {
            int t = in_order(started++, threads_per_block);
            threads[t].state = ready;
            threads[t].fiber = running;
            running->thread = t;
            threadIdx = index_of(t);
            (*body)();
            threads[t].state = returned;
            ++finished;
        }
        idle.push_back(running);
        suspend();
    }
}

/* Stacks start at different places in their pages, or else they all share a few cache lines. */
Fiber::Fiber()
{
    static size_t colour;
    void *memory = mmap(nullptr, guard + stack_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE)) die("no memory for stacks");
    stack = (char *)memory + guard;
    size = stack_size - colour++ % 64 * 1088;
    getcontext(&entry);
    entry.uc_stack.ss_sp = stack;
    entry.uc_stack.ss_size = size;
    makecontext(&entry, run_threads, 0);
}

Fiber *idle_fiber()
{
    if (!idle.empty()) {
        Fiber *fiber = idle.back();
        idle.pop_back();
        return fiber;
    }
    return new Fiber();
}

/* Called when no thread can run. */
void release()
{
    int first = 0;
    while (threads[first].state == returned) ++first;
    const Thread &one = threads[first];
    votes = 0;
    for (int t = 0; t < threads_per_block; ++t) {
        const Thread &other = threads[t];
        if (other.state == returned || other.line != one.line || strcmp(other.file, one.file))
            die("kernel %s, block %u %u %u: thread %d waits at %s:%d, thread %d %s",
                kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, first, one.file, one.line, t,
                other.state == returned ? "has returned" : "waits elsewhere");
        votes += other.vote;
    }
    for (int t = 0; t < threads_per_block; ++t) threads[t].state = ready;
}

void run_block()
{
    std::fill(dynamic.begin(), dynamic.end(), '\xff');
    for (auto &variable : shared_variables) memset(variable.memory, 0xff, variable.size);
    started = finished = 0;
    while (started < threads_per_block) resume(idle_fiber());
    while (finished < threads_per_block) {
        release();
        for (int i = 0; i < threads_per_block; ++i) {
            Thread &thread = threads[in_order(i, threads_per_block)];
            if (thread.state == ready) resume(thread.fiber);
        }
    }
}

void run(const Kernel &launched, const std::function<void()> &thread)
{
    kernel = &launched;
    body = &thread;
    gridDim = launched.grid;
    blockDim = launched.block;
    threads_per_block = blockDim.x * blockDim.y * blockDim.z;
    dynamic = std::vector<char>(launched.shared);
    long blocks = (long)gridDim.x * gridDim.y * gridDim.z;
    for (long i = 0; i < blocks; ++i) {
        long b = reverse ? blocks - 1 - i : i;
        blockIdx = {(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y),
                    (unsigned)(b / gridDim.x / gridDim.y)};
        run_block();
    }
}
} // namespace

int cuda_emulator::block_wait(int vote, const char *file, int line)
{
    const uint3 index = threadIdx;
    threads[running->thread] = {waiting, running, file, line, vote};
    suspend();
    threadIdx = index;
    return votes;
}

void *cuda_emulator::dynamic_shared()
{
    return dynamic.data();
}

bool cuda_emulator::shared(void *memory, size_t size)
{
    memset(memory, 0xff, size);
    shared_variables.push_back({memory, size});
    return true;
}

bool cuda_emulator::can_launch(const Kernel &k)
{
    Lock lock(mutex);
    const unsigned grid[] = {k.grid.x, k.grid.y, k.grid.z};
    const unsigned block[] = {k.block.x, k.block.y, k.block.z};
    bool fits = (size_t)block[0] * block[1] * block[2] <= max_threads;
    for (int i = 0; i < 3; ++i)
        fits = fits && grid[i] && block[i] && grid[i] <= (unsigned)max_grid[i] &&
               block[i] <= (unsigned)max_block[i];
    if (!device_count()) return !failed(cudaErrorNoDevice);
    if (stream_device(k.stream) != current_device())
        return !failed(cudaErrorInvalidResourceHandle);
    if (!fits) return !failed(cudaErrorInvalidConfiguration);
    if (k.shared > max_shared) return !failed(cudaErrorInvalidValue);
    return true;
}

void cuda_emulator::check_argument(const Kernel &k, int number, const volatile void *p)
{
    Lock lock(mutex);
    std::string argument = "argument " + std::to_string(number);
    if (p) check_device_bytes(k.name, argument.c_str(), (const void *)p, 0, current_device());
}

void cuda_emulator::submit(const Kernel &k, std::function<void()> thread)
{
    Lock lock(mutex);
    trace("kernel", k.name);
    enqueue(k.stream, k.name, [k, thread = std::move(thread)] { run(k, thread); });
}
