/* See forms.h. */
#include "cpu/forms.h"
#include "cpu/filters.h"
#include "cpu/last.h"
#include "net/memory_plan.h"

#define LEAST_CHANNELS 16 /* of a convolution in int8: with fewer it gains nothing */

int is_convolution(layer l)
{
    return l.type == CONVOLUTIONAL && !l.binary && !l.xnor;
}

/* Those in groups have plain images. */
static int is_whole(layer l)
{
    return is_convolution(l) && l.groups == 1;
}

int is_sum(layer l)
{
    return l.type == SHORTCUT && l.w == l.out_w && l.h == l.out_h && l.c == l.out_c;
}

/* 1 for a layer that is channels last only where all it reads is */
static int passes(layer l)
{
    return is_sum(l) || passes_last(l);
}

static int can_be_last(layer l)
{
    return passes(l) || (is_whole(l) && has_last(l.activation));
}

/* 1 when layer i may hand on its images channels last, as the others' forms are now */
static int stays(const network *net, const image_form *forms, int i)
{
    int readers = 0;
    if (passes(net->layers[i]) && !i) return 0;
    for (int j = 0; j < net->n; ++j) {
        layer reader = net->layers[j];
        if (passes(net->layers[i]) && reads_output(net, i, j) && !forms[j]) return 0;
        if (!reads_output(net, j, i)) continue;
        int is_fine =
            is_whole(reader) || reader.type == AVGPOOL || (passes(reader) && forms[j]);
        if (!is_fine) return 0;
        ++readers;
    }
    return readers > 0;
}

int takes_bytes(const network *net, const image_form *forms, int i)
{
    layer l = net->layers[i];
    return is_whole(l) && i && forms[i - 1] && forms[i] && l.c >= LEAST_CHANNELS;
}

/* The form of layer i's output, which is channels last: in few bits if a convolution that can
 * write them makes it, and all who read it are convolutions that take them */
static image_form smallest_form(const network *net, const image_form *forms, arithmetic how,
                                int i)
{
    int is_maker = how == BFLOAT16 || takes_bytes(net, forms, i);
    if (how == FLOAT32 || !is_whole(net->layers[i]) || !is_maker) return forms[i];
    for (int j = i + 1; j < net->n; ++j) {
        if (!reads_output(net, j, i)) continue;
        int takes = how == BFLOAT16 ? is_whole(net->layers[j]) : takes_bytes(net, forms, j);
        if (!takes) return forms[i];
    }
    return how == BFLOAT16 ? FORM_NARROW : FORM_BYTE;
}

void find_forms(const network *net, arithmetic how, image_form *forms)
{
    int changed = 1;
    for (int i = 0; i < net->n; ++i)
        forms[i] = can_be_last(net->layers[i]) ? FORM_LAST : FORM_PLAIN;
    while (changed) {
        changed = 0;
        for (int i = 0; i < net->n; ++i)
            if (forms[i] && !stays(net, forms, i)) forms[i] = FORM_PLAIN, changed = 1;
    }
    for (int i = 0; i < net->n; ++i)
        if (forms[i]) forms[i] = smallest_form(net, forms, how, i);
}
