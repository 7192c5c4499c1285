/* See onnx_model.h. */
#include "net/onnx_model.h"
#include "support.h"

#ifndef ORT

onnx_model *open_onnx(const char *file, onnx_shape *shape)
{
    (void)shape;
    kd_fail(
        "%s: an ONNX file, which this build does not read: expected one of 'make ORT=1', or "
        "Darknet's cfg and weights",
        file);
}

void run_onnx(onnx_model *m, float *images, int n, float *out)
{
    (void)m, (void)images, (void)n, (void)out;
}

void close_onnx(onnx_model *m)
{
    (void)m;
}

#else

#include <onnxruntime_c_api.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_DIMENSIONS 4

typedef struct {
    char *name; /* ONNX Runtime's */
    int n;
    int64_t size[MOST_DIMENSIONS];
} tensor;

struct onnx_model {
    char *file;
    const OrtApi *ort;
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    tensor in, out;
};

/* Exits with what ONNX Runtime has to say, of which one line is enough. */
static void must(const onnx_model *m, OrtStatus *status)
{
    if (!status) return;
    const char *text = m->ort->GetErrorMessage(status);
    kd_fail("%s: ONNX Runtime: %.*s", m->file, (int)strcspn(text, "\r\n"), text);
}

static void print_sizes(const tensor *t, char text[100])
{
    size_t used = 0;
    for (int i = 0; i < t->n; ++i)
        used += t->size[i] < 0 ? (size_t)sprintf(text + used, "%sany", i ? ", " : "")
                               : (size_t)sprintf(text + used, "%s%lld", i ? ", " : "",
                                                 (long long)t->size[i]);
}

static void bad_tensor(const onnx_model *m, const char *what, const tensor *t,
                       const char *expected)
{
    char sizes[100] = "";
    print_sizes(t, sizes);
    kd_fail("%s: its %s %s is [%s]: expected %s", m->file, what, t->name, sizes, expected);
}

/* Its sizes, in `what`, the model's input or output */
static void read_tensor(const onnx_model *m, const char *what, OrtTypeInfo *type, tensor *t)
{
    const OrtTensorTypeAndShapeInfo *info;
    ONNXTensorElementDataType element;
    size_t n;
    must(m, m->ort->CastTypeInfoToTensorInfo(type, &info));
    if (!info) kd_fail("%s: its %s %s is no tensor", m->file, what, t->name);
    must(m, m->ort->GetTensorElementType(info, &element));
    if (element != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
        kd_fail("%s: its %s %s is not of float32, expected such a model", m->file, what,
                t->name);
    must(m, m->ort->GetDimensionsCount(info, &n));
    if (n > MOST_DIMENSIONS)
        kd_fail("%s: its %s %s has %zu dimensions, expected at most %d", m->file, what, t->name,
                n, MOST_DIMENSIONS);
    t->n = n;
    must(m, m->ort->GetDimensions(info, t->size, n));
    m->ort->ReleaseTypeInfo(type);
}

/* 1: all sizes but the batch's are fixed, and that one is any, or 1 */
static int is_fixed(const tensor *t)
{
    for (int i = 1; i < t->n; ++i)
        if (t->size[i] < 1 || t->size[i] > 1 << 24) return 0;
    return t->n > 0 && (t->size[0] < 0 || t->size[0] == 1);
}

/* Of one image */
static size_t floats_of(const tensor *t)
{
    size_t floats = 1;
    for (int i = 1; i < t->n; ++i) floats *= t->size[i];
    return floats;
}

static void read_tensors(onnx_model *m)
{
    const OrtApi *ort = m->ort;
    OrtAllocator *memory;
    OrtTypeInfo *in, *out;
    size_t inputs, outputs;
    must(m, ort->SessionGetInputCount(m->session, &inputs));
    must(m, ort->SessionGetOutputCount(m->session, &outputs));
    if (inputs != 1 || outputs != 1)
        kd_fail("%s: found %zu inputs and %zu outputs, expected one of each", m->file, inputs,
                outputs);
    must(m, ort->GetAllocatorWithDefaultOptions(&memory));
    must(m, ort->SessionGetInputName(m->session, 0, memory, &m->in.name));
    must(m, ort->SessionGetOutputName(m->session, 0, memory, &m->out.name));
    must(m, ort->SessionGetInputTypeInfo(m->session, 0, &in));
    must(m, ort->SessionGetOutputTypeInfo(m->session, 0, &out));
    read_tensor(m, "input", in, &m->in);
    read_tensor(m, "output", out, &m->out);
    if (m->in.n != 4 || !is_fixed(&m->in))
        bad_tensor(m, "input", &m->in,
                   "[batch, channels, height, width], all but the batch fixed");
    if (m->out.n < 2 || m->out.n > 3 || !is_fixed(&m->out))
        bad_tensor(m, "output", &m->out,
                   "[batch, classes] or [batch, 4 + classes, boxes], all but the batch fixed");
}

static int count_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

onnx_model *open_onnx(const char *file, onnx_shape *shape)
{
    onnx_model *m = kd_calloc(1, sizeof(*m));
    m->file = kd_copy(file);
    m->ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!m->ort)
        kd_fail("%s: found ONNX Runtime %s, expected one as new as the build's header", file,
                OrtGetApiBase()->GetVersionString());
    OrtSessionOptions *options;
    must(m, m->ort->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "darknet", &m->env));
    must(m, m->ort->CreateSessionOptions(&options));
    /* threads that wait for it would keep ours from their cores */
    must(m, m->ort->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"));
    must(m, m->ort->SetIntraOpNumThreads(options, count_threads()));
    must(m, m->ort->CreateSession(m->env, file, options, &m->session));
    m->ort->ReleaseSessionOptions(options);
    must(m, m->ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeCPU, &m->memory));
    read_tensors(m);
    const int64_t *in = m->in.size, *out = m->out.size;
    *shape = (onnx_shape){in[1], in[2], in[3], out[1], m->out.n == 3 ? out[2] : 0};
    return m;
}

/* n images at once */
static void run_batch(const onnx_model *m, float *images, int n, float *out)
{
    const OrtApi *ort = m->ort;
    const char *in_name = m->in.name, *out_name = m->out.name;
    const tensor *tensors[] = {&m->in, &m->out};
    float *data[] = {images, out};
    OrtValue *values[2];
    for (int k = 0; k < 2; ++k) {
        const tensor *t = tensors[k];
        int64_t size[MOST_DIMENSIONS] = {n};
        memcpy(size + 1, t->size + 1, (t->n - 1) * sizeof(*size));
        must(m, ort->CreateTensorWithDataAsOrtValue(
                    m->memory, data[k], n * floats_of(t) * sizeof(float), size, t->n,
                    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, values + k));
    }
    must(m, ort->Run(m->session, 0, &in_name, (const OrtValue *const *)values, 1, &out_name, 1,
                     values + 1));
    for (int k = 0; k < 2; ++k) ort->ReleaseValue(values[k]);
}

void run_onnx(onnx_model *m, float *images, int n, float *out)
{
    int at_once = m->in.size[0] == 1 || m->out.size[0] == 1 ? 1 : n;
    for (int b = 0; b < n; b += at_once)
        run_batch(m, images + b * floats_of(&m->in), at_once, out + b * floats_of(&m->out));
}

void close_onnx(onnx_model *m)
{
    const OrtApi *ort = m->ort;
    OrtAllocator *memory;
    must(m, ort->GetAllocatorWithDefaultOptions(&memory));
    must(m, ort->AllocatorFree(memory, m->in.name));
    must(m, ort->AllocatorFree(memory, m->out.name));
    ort->ReleaseMemoryInfo(m->memory);
    ort->ReleaseSession(m->session);
    ort->ReleaseEnv(m->env);
    free(m->file);
    free(m);
}

#endif
