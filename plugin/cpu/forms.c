/* See forms.h. */
#include "cpu/forms.h"
#include "cpu/filters.h"
#include "net/memory_plan.h"

int is_convolution(layer l)
{
    return l.type == CONVOLUTIONAL && l.groups == 1 && !l.binary && !l.xnor;
}

int is_sum(layer l)
{
    return l.type == SHORTCUT && l.w == l.out_w && l.h == l.out_h && l.c == l.out_c;
}

static int can_be_last(layer l)
{
    float slope;
    return is_sum(l) || (is_convolution(l) && has_slope(l.activation, &slope));
}

/* 1 when layer i may hand on its images channels last, as the others' forms are now */
static int stays(const network *net, const image_form *forms, int i)
{
    int readers = 0;
    for (int j = 0; j < net->n; ++j) {
        if (is_sum(net->layers[i]) && reads_output(net, i, j) && !forms[j]) return 0;
        if (!reads_output(net, j, i)) continue;
        if (!is_convolution(net->layers[j]) && !forms[j]) return 0; /* forms: of a sum */
        ++readers;
    }
    return readers > 0;
}

static int has_sum(const network *net, int i)
{
    for (int j = i + 1; j < net->n; ++j)
        if (is_sum(net->layers[j]) && reads_output(net, j, i)) return 1;
    return 0;
}

void find_forms(const network *net, image_form *forms)
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
        if (forms[i] && is_convolution(net->layers[i]) && !has_sum(net, i))
            forms[i] = FORM_NARROW;
}
