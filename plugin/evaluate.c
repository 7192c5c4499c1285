/* See evaluate.h. */
#include "evaluate.h"

#include <math.h>

/* How many classes come before the target: 0 is a hit. */
static int rank_of(const float *logits, int classes, int target)
{
    int rank = 0;
    for (int j = 0; j < classes; ++j)
        rank += logits[j] > logits[target] || (logits[j] == logits[target] && j < target);
    return rank;
}

static double cross_entropy(const float *logits, int classes, int target)
{
    double largest = logits[0], sum = 0;
    for (int j = 1; j < classes; ++j) largest = fmax(largest, logits[j]);
    for (int j = 0; j < classes; ++j) sum += exp(logits[j] - largest);
    return largest - logits[target] + log(sum);
}

int evaluate_classifier(network *net, int softmax, const image_list *list, int k, int threads,
                        const volatile sig_atomic_t *stop, evaluation *result)
{
    int classes = net->layers[softmax].inputs;
    evaluation total = {0, 0, 0, k};
    loader *images = make_loader(list, net, net->batch, 0, threads, 0);
    float *input;
    int *targets, done = 0;
    start_loading(images, 0);
    while (done < list->n && !*stop) {
        finish_loading(images, &input, &targets);
        start_loading(images, done + net->batch);
        network_predict(net, input);
        for (int b = 0; b < net->batch && done < list->n; ++b, ++done) {
            const float *logits = net->layers[softmax - 1].output + (size_t)b * classes;
            int rank = rank_of(logits, classes, targets[b]);
            total.top1 += rank == 0;
            total.topk += rank < k;
            total.loss += cross_entropy(logits, classes, targets[b]);
        }
    }
    free_loader(images);
    if (done < list->n) return 0;
    *result = (evaluation){total.loss / done, total.top1 / done, total.topk / done, k};
    return 1;
}
