/*
 * Streams and events, as queues of work.
 *
 * By default (CUDA_EMULATOR_STREAMS=lazy) work runs only when somebody waits for it, and only
 * that which CUDA's rules put before what is waited for: as late as any GPU might. With `eager`
 * it runs at the call: as early. A program that gets the same results from both asks for all
 * the order that it needs.
 */
#include "emulator.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

using namespace emulator;
using Clock = std::chrono::steady_clock;

namespace
{
struct Work {
    const char *name;
    std::function<void()> function;
    std::vector<std::shared_ptr<Work>> after;
    bool done;
    Clock::time_point finished;
};
using WorkRef = std::shared_ptr<Work>;
} // namespace

struct CUstream_st {
    int device;
    bool blocking;
    WorkRef last;
};

struct CUevent_st {
    int device;
    bool timed;
    WorkRef mark;
};

namespace
{
const bool eager = word_setting("CUDA_EMULATOR_STREAMS", "eager");
const bool reverse = word_setting("CUDA_EMULATOR_ORDER", "reverse");
std::vector<CUstream_st *> &streams = *new std::vector<CUstream_st *>;

/* Stream 0 of a device. */
CUstream_st &legacy(int device)
{
    static CUstream_st *zeros = new CUstream_st[max_devices]();
    zeros[device].device = device;
    return zeros[device];
}

/* Null if there is no such stream. */
CUstream_st *find(cudaStream_t stream)
{
    if (!device_count()) return nullptr;
    if (!stream) return &legacy(current_device());
    auto found = std::find(streams.begin(), streams.end(), stream);
    return found == streams.end() ? nullptr : *found;
}

cudaError_t no_stream()
{
    return failed(device_count() ? cudaErrorInvalidResourceHandle : cudaErrorNoDevice);
}

/* Runs `goal`, and before it what it comes after. */
void run(const WorkRef &goal)
{
    std::vector<WorkRef> stack{goal};
    while (!stack.empty()) {
        WorkRef work = stack.back();
        size_t depth = stack.size();
        if (work && !work->done)
            for (auto &before : work->after)
                if (before && !before->done) stack.push_back(before);
        if (stack.size() > depth) continue;
        stack.pop_back();
        if (!work || work->done) continue;
        if (work->function) {
            Access access(work->name);
            work->function();
        }
        work->finished = Clock::now();
        work->done = true;
        work->function = nullptr;
        work->after.clear();
    }
}

/* Stream 0 waits for the device's blocking streams, and they for it. */
WorkRef append(CUstream_st &stream, const char *name, std::function<void()> function,
               const WorkRef &event = nullptr)
{
    CUstream_st &zero = legacy(stream.device);
    auto work = std::make_shared<Work>();
    work->name = name;
    work->function = std::move(function);
    work->after = {stream.last, event};
    if (stream.blocking) work->after.push_back(zero.last);
    if (&stream == &zero)
        for (CUstream_st *s : streams)
            if (s->device == stream.device && s->blocking) work->after.push_back(s->last);
    stream.last = work;
    if (eager) run(work);
    return work;
}

cudaError_t wait_for(const WorkRef &work)
{
    trace("synchronise", "");
    run(work);
    return cudaSuccess;
}

/* What is not ready is run now, so that who asks again and again gets on. */
cudaError_t query(const WorkRef &work)
{
    if (!work || work->done) return cudaSuccess;
    run(work);
    return cudaErrorNotReady;
}
} // namespace

int emulator::stream_device(cudaStream_t stream)
{
    CUstream_st *s = find(stream);
    return s ? s->device : -1;
}

cudaError_t emulator::enqueue(cudaStream_t stream, const char *name, std::function<void()> work,
                              bool wait)
{
    CUstream_st *s = find(stream);
    if (!s) return no_stream();
    WorkRef last = append(*s, name, std::move(work));
    if (wait) run(last);
    return cudaSuccess;
}

void emulator::finish(int device)
{
    std::vector<CUstream_st *> all{&legacy(device)};
    for (CUstream_st *s : streams)
        if (s->device == device) all.push_back(s);
    if (reverse) std::reverse(all.begin(), all.end());
    for (CUstream_st *s : all) run(s->last);
}

void emulator::check_handle(const char *call, int device, cudaStream_t stream)
{
    if (device != current_device())
        die("%s: the handle is device %d's, the current device is %d", call, device,
            current_device());
    if (stream_device(stream) != device)
        die("%s: the handle's stream is not one of device %d's", call, device);
}

cudaError_t cudaDeviceSynchronize()
{
    Lock lock(mutex);
    if (!device_count()) return failed(cudaErrorNoDevice);
    trace("synchronise", "");
    finish(current_device());
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    Lock lock(mutex);
    if (!device_count()) return failed(cudaErrorNoDevice);
    if (flags & ~cudaStreamNonBlocking) return failed(cudaErrorInvalidValue);
    *stream = new CUstream_st{current_device(), flags != cudaStreamNonBlocking, nullptr};
    streams.push_back(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    Lock lock(mutex);
    CUstream_st *s = find(stream);
    if (!s || s == &legacy(s->device)) return failed(cudaErrorInvalidResourceHandle);
    run(s->last);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    Lock lock(mutex);
    CUstream_st *s = find(stream);
    if (!s) return no_stream();
    if (s != &legacy(s->device)) return wait_for(s->last);
    return wait_for(append(*s, "cudaStreamSynchronize", nullptr));
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    Lock lock(mutex);
    CUstream_st *s = find(stream);
    return s ? query(s->last) : no_stream();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    Lock lock(mutex);
    CUstream_st *s = find(stream);
    if (!s || !event) return no_stream();
    append(*s, "cudaStreamWaitEvent", nullptr, event->mark);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (!device_count()) return failed(cudaErrorNoDevice);
    *event = new CUevent_st{current_device(), !(flags & cudaEventDisableTiming), nullptr};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    Lock lock(mutex);
    if (!event) return failed(cudaErrorInvalidResourceHandle);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    Lock lock(mutex);
    CUstream_st *s = find(stream);
    if (!s || !event) return no_stream();
    if (s->device != event->device) return failed(cudaErrorInvalidResourceHandle);
    event->mark = append(*s, "cudaEventRecord", nullptr);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    Lock lock(mutex);
    return event ? wait_for(event->mark) : failed(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    Lock lock(mutex);
    if (!start || !end || !start->timed || !end->timed || !start->mark || !end->mark)
        return failed(cudaErrorInvalidResourceHandle);
    if (!start->mark->done || !end->mark->done) return cudaErrorNotReady;
    std::chrono::duration<float, std::milli> time = end->mark->finished - start->mark->finished;
    *milliseconds = time.count();
    return cudaSuccess;
}
