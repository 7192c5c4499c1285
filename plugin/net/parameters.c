/* See parameters.h. */
#include "net/parameters.h"
#include "support.h"

#include "utils.h"

#include <stdlib.h>
#include <sys/stat.h>

void kd_append(kd_arrays *list, float *data, size_t n)
{
    if (!data || !n) return;
    list->arrays = realloc(list->arrays, (list->n + 1) * sizeof(kd_array));
    if (!list->arrays) kd_fail("out of memory");
    list->arrays[list->n++] = (kd_array){data, n};
}

void kd_free_arrays(kd_arrays list)
{
    free(list.arrays);
}

static int is_recurrent(layer l)
{
    return l.type == RNN || l.type == GRU || l.type == LSTM || l.type == CRNN;
}

void layer_sizes(layer l, size_t *weights, size_t *biases)
{
    *weights = *biases = 0;
    switch (l.type) {
    case CONVOLUTIONAL:
    case DECONVOLUTIONAL:
        *weights = l.nweights;
        *biases = l.n;
        break;
    case CONNECTED:
        *weights = (size_t)l.inputs * l.outputs;
        *biases = l.outputs;
        break;
    case MULTI_SHORTCUT: *weights = l.nweights; break;
    case BATCHNORM: *biases = l.affine ? l.c : 0; break;
    case LOCAL:
        *weights = (size_t)l.size * l.size * l.c * l.n * l.out_w * l.out_h;
        *biases = l.outputs;
        break;
    default: break;
    }
}

static void append_layer(kd_arrays *list, layer l, int statistics)
{
    size_t weights, biases;
    layer_sizes(l, &weights, &biases);
    kd_append(list, l.weights, weights);
    kd_append(list, l.biases, biases);
    if (!l.batch_normalize && l.type != BATCHNORM) return;
    size_t channels = l.type == BATCHNORM ? (size_t)l.c : biases;
    kd_append(list, l.scales, channels);
    if (!statistics) return;
    kd_append(list, l.rolling_mean, channels);
    kd_append(list, l.rolling_variance, channels);
}

kd_arrays network_arrays(network *net)
{
    kd_arrays list = {0, 0};
    for (int i = 0; i < net->n; ++i) {
        if (is_recurrent(net->layers[i]))
            kd_fail("layer %d is recurrent: such networks can't be distilled", i);
        append_layer(&list, net->layers[i], 1);
    }
    return list;
}

static size_t count_numbers(kd_arrays list)
{
    size_t n = 0;
    for (int i = 0; i < list.n; ++i) n += list.arrays[i].n;
    return n;
}

size_t count_parameters(network *net)
{
    kd_arrays list = {0, 0};
    for (int i = 0; i < net->n; ++i) append_layer(&list, net->layers[i], 0);
    size_t n = count_numbers(list);
    kd_free_arrays(list);
    return n;
}

double count_bflops(network *net)
{
    double operations = 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == CONVOLUTIONAL) operations += 2. * l.nweights * l.out_h * l.out_w;
        if (l.type == CONNECTED) operations += 2. * l.inputs * l.outputs;
    }
    return operations / 1e9;
}

int all_finite(kd_arrays list)
{
    for (int i = 0; i < list.n; ++i) {
        float probe = 0; /* stays 0 unless one of them is not finite */
        for (size_t j = 0; j < list.arrays[i].n; ++j) probe += list.arrays[i].data[j] * 0;
        if (probe != 0) return 0;
    }
    return 1;
}

uint64_t hash_arrays(kd_arrays list)
{
    uint64_t hash = KD_HASH_START;
    for (int i = 0; i < list.n; ++i)
        hash = kd_hash(hash, list.arrays[i].data, list.arrays[i].n * sizeof(float));
    return hash;
}

/* The header's length: three ints, then the images seen, in 8 bytes since version 0.2. */
static long header_bytes(char *file)
{
    int version[3];
    FILE *fp = fopen(file, "rb");
    if (!fp) file_error(file);
    int n = fread(version, sizeof(int), 3, fp);
    fclose(fp);
    if (n != 3)
        kd_fail("%s: found less than a header of 12 bytes, expected Darknet weights", file);
    int is_long = version[0] * 10LL + version[1] >= 2 && version[0] < 1000 && version[1] < 1000;
    return sizeof(version) + (is_long ? sizeof(size_t) : sizeof(int));
}

static long file_bytes(char *file)
{
    struct stat info;
    if (stat(file, &info)) file_error(file);
    if (!S_ISREG(info.st_mode)) kd_fail("%s: expected a weights file, found none", file);
    return info.st_size;
}

/* The bytes that a layer takes in a weights file. */
static long layer_bytes(layer l)
{
    kd_arrays list = {0, 0};
    append_layer(&list, l, 1);
    long bytes = count_numbers(list) * sizeof(float);
    kd_free_arrays(list);
    return bytes;
}

void load_whole_weights(network *net, char *file, int allow_partial)
{
    long found = file_bytes(file), header = header_bytes(file), whole = header;
    int read = 0; /* layers, when the file ends between two */
    kd_arrays weights = network_arrays(net);
    for (int i = 0; i < net->n; ++i) {
        if (!read && found > header && found == whole) read = i;
        whole += layer_bytes(net->layers[i]);
    }
    if (found != whole && !(allow_partial && read))
        kd_fail("%s: found %ld bytes, expected %ld for this network%s", file, found, whole,
                allow_partial ? " (or an end between two layers)" : "");
    if (found != whole) printf("%s: partial weights, layers 0 to %d\n", file, read - 1);
    load_weights(net, file);
    if (!all_finite(weights)) kd_fail("%s: found weights that are not finite", file);
    kd_free_arrays(weights);
}
