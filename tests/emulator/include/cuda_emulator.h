/*
 * What a .cu file may use on the device: the built-in variables, barriers, atomics
 * and arithmetic of CUDA C++, for kernels whose threads run one after another.
 */
#ifndef CUDA_EMULATOR_H
#define CUDA_EMULATOR_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <functional>
#include <tuple>
#include <type_traits>

/* Of the thread that runs now; kernel.cpp sets them. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_emulator
{
struct Kernel {
    const char *name;
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};

/* False, and the thread's last error set, if the kernel can't be launched like this. */
bool can_launch(const Kernel &kernel);

/* Aborts unless p is null or in (or at the end of) memory that the kernel's device reaches. */
void check_argument(const Kernel &kernel, int number, const volatile void *p);

/* Queues the kernel; `thread` is what one of its threads does. */
void submit(const Kernel &kernel, std::function<void()> thread);

/* Arguments are converted to the parameters' types and copied at the launch, as CUDA does. */
template <class... Parameters> struct Launch {
    Kernel configuration;
    void (*kernel)(Parameters...);

    template <class T> int check(int number, const T &value) const
    {
        if constexpr (std::is_pointer_v<T>) check_argument(configuration, number, value);
        return number + 1;
    }

    void operator()(Parameters... arguments) const
    {
        static_assert((!std::is_reference_v<Parameters> && ...), "a kernel takes values");
        if (!can_launch(configuration)) return;
        [[maybe_unused]] int number = 1;
        ((number = check(number, arguments)), ...);
        submit(configuration, [kernel = kernel, values = std::make_tuple(arguments...)] {
            std::apply(kernel, values);
        });
    }
};

template <class... Parameters>
Launch<Parameters...> launch(const char *name, void (*kernel)(Parameters...), dim3 grid,
                             dim3 block, size_t shared = 0, cudaStream_t stream = nullptr)
{
    return {{name, grid, block, shared, stream}, kernel};
}

/* The block's dynamic shared memory. */
void *dynamic_shared();

/* From now on `memory`, a static __shared__ variable, starts each block as NaN. True. */
bool shared(void *memory, size_t size);

/* Waits for the block's other threads; the sum of what each of them gave. */
int block_wait(int vote, const char *file, int line);

template <class To, class From> To bits_of(From from)
{
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
} // namespace cuda_emulator

#define CUDA_EMULATOR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#define CUDA_EMULATOR_WAIT(vote) cuda_emulator::block_wait(vote, file, line)

inline void __syncthreads(CUDA_EMULATOR_HERE)
{
    CUDA_EMULATOR_WAIT(0);
}

inline int __syncthreads_count(int predicate, CUDA_EMULATOR_HERE)
{
    return CUDA_EMULATOR_WAIT(predicate != 0);
}

inline int __syncthreads_or(int predicate, CUDA_EMULATOR_HERE)
{
    return CUDA_EMULATOR_WAIT(predicate != 0) > 0;
}

inline int __syncthreads_and(int predicate, CUDA_EMULATOR_HERE)
{
    return CUDA_EMULATOR_WAIT(predicate == 0) == 0;
}

inline void __threadfence() {}
inline void __threadfence_block() {}

/* Only one thread runs at a time, so each of these is atomic; *p's old value is returned. */
#define CUDA_EMULATOR_ATOMIC(name, result)                                                     \
    template <class T> T name(T *p, std::common_type_t<T> v)                                   \
    {                                                                                          \
        T old = *p;                                                                            \
        *p = result;                                                                           \
        return old;                                                                            \
    }
CUDA_EMULATOR_ATOMIC(atomicAdd, old + v)
CUDA_EMULATOR_ATOMIC(atomicSub, old - v)
CUDA_EMULATOR_ATOMIC(atomicMin, v < old ? v : old)
CUDA_EMULATOR_ATOMIC(atomicMax, v > old ? v : old)
CUDA_EMULATOR_ATOMIC(atomicAnd, old &v)
CUDA_EMULATOR_ATOMIC(atomicOr, old | v)
CUDA_EMULATOR_ATOMIC(atomicXor, old ^ v)
CUDA_EMULATOR_ATOMIC(atomicExch, v)

template <class T> T atomicCAS(T *p, std::common_type_t<T> expected, std::common_type_t<T> v)
{
    T old = *p;
    if (old == expected) *p = v;
    return old;
}

#define CUDA_EMULATOR_FUNCTION(result, name, type, value)                                      \
    inline result name(type x)                                                                 \
    {                                                                                          \
        return value;                                                                          \
    }
CUDA_EMULATOR_FUNCTION(int, __float_as_int, float, cuda_emulator::bits_of<int>(x))
CUDA_EMULATOR_FUNCTION(float, __int_as_float, int, cuda_emulator::bits_of<float>(x))
CUDA_EMULATOR_FUNCTION(unsigned, __float_as_uint, float, cuda_emulator::bits_of<unsigned>(x))
CUDA_EMULATOR_FUNCTION(float, __uint_as_float, unsigned, cuda_emulator::bits_of<float>(x))
CUDA_EMULATOR_FUNCTION(float, rsqrtf, float, 1 / sqrtf(x))
CUDA_EMULATOR_FUNCTION(double, rsqrt, double, 1 / sqrt(x))

template <class T> T __ldg(const T *p)
{
    return *p;
}

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b)
{
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return fmin((T)a, (T)b);
    return (T)b < (T)a ? (T)b : (T)a;
}

template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b)
{
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return fmax((T)a, (T)b);
    return (T)a < (T)b ? (T)b : (T)a;
}

#define CUDA_EMULATOR_MAKE(type, name)                                                         \
    inline name##2 make_##name##2(type x, type y)                                              \
    {                                                                                          \
        return {x, y};                                                                         \
    }                                                                                          \
    inline name##3 make_##name##3(type x, type y, type z)                                      \
    {                                                                                          \
        return {x, y, z};                                                                      \
    }                                                                                          \
    inline name##4 make_##name##4(type x, type y, type z, type w)                              \
    {                                                                                          \
        return {x, y, z, w};                                                                   \
    }
CUDA_EMULATOR_MAKE(int, int)
CUDA_EMULATOR_MAKE(unsigned, uint)
CUDA_EMULATOR_MAKE(float, float)
CUDA_EMULATOR_MAKE(double, double)

#endif
