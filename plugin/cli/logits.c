/* See logits.h. */
#include "cli/logits.h"
#include "cli/single.h"
#include "data/loader.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    char *data, *cfg, *weights, *out;
    int threads;
} logits_arguments;

#define TO(field) offsetof(logits_arguments, field)
const command logits_command = {
    "deepkd logits",
    "Writes a classifier's logits of the validation list's images as an array for NumPy.",
    (const word[]){
        {"DATA", WORD_FILE, TO(data), 0, 1, "a .data file with classes= and valid="},
        {"CFG", WORD_FILE, TO(cfg), 0, 1, "a classifier: student or teacher"},
        {"WEIGHTS", WORD_FILE, TO(weights), 0, 1, "its weights"},
        {"-out LOGITS.npy", WORD_TEXT, TO(out), 0, 1,
         "numpy.load(LOGITS.npy) has the fields target and logits"},
        {"-threads N", WORD_INT, TO(threads), MOST_THREADS, 0, "that load images; 1 a core"},
        {0}}};
#undef TO

/* NumPy's format, version 1.0: magic, the length of the header, the header. With both they are
 * a multiple of 64 bytes. */
static void print_header(FILE *fp, int images, int classes)
{
    enum { LENGTH = 4 * 64 - 10 };
    char header[LENGTH + 1];
    int n = snprintf(header, sizeof(header),
                     "{'descr': [('target', '<i4'), ('logits', '<f4', (%d,))], "
                     "'fortran_order': False, 'shape': (%d,)}",
                     classes, images);
    fwrite("\x93NUMPY\1\0", 1, 8, fp);
    fputc(LENGTH % 256, fp), fputc(LENGTH / 256, fp);
    fprintf(fp, "%s%*s\n", header, LENGTH - 1 - n, "");
}

static void print_logits(FILE *fp, const image_list *list, const float *logits, int classes)
{
    print_header(fp, list->n, classes);
    for (int i = 0; i < list->n; ++i) {
        fwrite(list->targets + i, sizeof(int32_t), 1, fp);
        fwrite(logits + (size_t)i * classes, sizeof(float), classes, fp);
    }
}

int run_logits(int argc, char **argv)
{
    logits_arguments a = {.threads = loading_threads()};
    single s = {0};
    evaluation e;
    read_command(&logits_command, argc, argv, 3, &a);
    open_single(&s, a.data, a.cfg, a.weights, a.threads, A_CLASSIFIER);
    FILE *fp = open_atomic(a.out); /* what can't be written is known at once */
    int classes = s.outputs.classes;
    float *logits = kd_calloc((size_t)s.valid.n * classes, sizeof(float));
    evaluate_classifier(s.net, &s.outputs, &s.valid, s.how.top, a.threads, s.how.stop, &e,
                        logits);
    if (!isfinite(e.loss)) kd_fail("%s: the network's output is not finite", a.weights);
    print_logits(fp, &s.valid, logits, classes);
    close_atomic(fp, a.out);
    printf("%d images of %d classes, loss %f, top-1 %.2f %%\n", s.valid.n, classes, e.loss,
           100 * e.score[0]);
    free(logits);
    close_single(&s);
    return 0;
}
