/* See description.h. */
#include "net/description.h"
#include "net/parameters.h"

#include "activations.h"
#include "network.h"

#include <stddef.h>

/* Fields of struct layer that say what it computes, of any type */
typedef struct {
    const char *name;
    size_t offset;
} field;
#define FIELD(name) #name, offsetof(layer, name)
static const field whole[] = {{FIELD(h)},
                              {FIELD(w)},
                              {FIELD(c)},
                              {FIELD(out_h)},
                              {FIELD(out_w)},
                              {FIELD(out_c)},
                              {FIELD(outputs)},
                              {FIELD(n)},
                              {FIELD(groups)},
                              {FIELD(group_id)},
                              {FIELD(size)},
                              {FIELD(stride)},
                              {FIELD(stride_x)},
                              {FIELD(stride_y)},
                              {FIELD(dilation)},
                              {FIELD(pad)},
                              {FIELD(batch_normalize)},
                              {FIELD(binary)},
                              {FIELD(xnor)},
                              {FIELD(index)},
                              {FIELD(reverse)},
                              {FIELD(flatten)},
                              {FIELD(extra)},
                              {FIELD(space_to_depth)},
                              {FIELD(noadjust)},
                              {FIELD(weights_normalization)},
                              {FIELD(softmax)},
                              {FIELD(classes)},
                              {FIELD(new_coords)}};
static const field real[] = {{FIELD(alpha)}, {FIELD(beta)},        {FIELD(kappa)},
                             {FIELD(scale)}, {FIELD(temperature)}, {FIELD(scale_x_y)}};
#undef FIELD
#define COUNT(table) (sizeof(table) / sizeof(*(table)))

/* Where Darknet has no name of its own for a layer, or one for two kinds */
static const struct {
    LAYER_TYPE type;
    const char *name;
} names[] = {{UPSAMPLE, "upsample"}, {L2NORM, "l2norm"},
             {LOGXENT, "logistic"},  {CHANNEL_POOL, "maxpool_depth"},
             {ISEG, "iseg"},         {MULTI_SHORTCUT, "shortcuts"}};

static const char *type_name(LAYER_TYPE type)
{
    for (size_t i = 0; i < COUNT(names); ++i)
        if (names[i].type == type) return names[i].name;
    return get_layer_string(type);
}

static void print_list(FILE *fp, const char *name, const int *list, int n)
{
    fprintf(fp, ", \"%s\": [", name);
    for (int i = 0; i < n; ++i) fprintf(fp, i ? ", %d" : "%d", list[i]);
    fprintf(fp, "]");
}

/* Width and height of each anchor of a head, in pixels of the network's input */
static void print_anchors(FILE *fp, network *net, const net_outputs *outputs, int o)
{
    int n = net->layers[outputs->layer[o]].n;
    fprintf(fp, ", \"anchors\": [");
    for (int i = 0; i < n; ++i) {
        box anchor = anchor_in_pixels(net, outputs, o, i);
        fprintf(fp, "%s[%.9g, %.9g]", i ? ", " : "", anchor.w, anchor.h);
    }
    fprintf(fp, "]");
}

static void describe_layer(FILE *fp, layer l)
{
    size_t weights, biases;
    layer_sizes(l, &weights, &biases);
    size_t scales = l.type == BATCHNORM ? (size_t)l.c : l.batch_normalize ? biases : 0;
    fprintf(fp, "{\"type\": \"%s\", \"activation\": \"%s\"", type_name(l.type),
            get_activation_string(l.activation));
    fprintf(fp, ", \"numbers\": [%zu, %zu, %zu]", weights, biases, scales);
    for (size_t i = 0; i < COUNT(whole); ++i)
        fprintf(fp, ", \"%s\": %d", whole[i].name, *(int *)((char *)&l + whole[i].offset));
    for (size_t i = 0; i < COUNT(real); ++i)
        fprintf(fp, ", \"%s\": %.9g", real[i].name, *(float *)((char *)&l + real[i].offset));
    if (l.type == ROUTE || l.type == MULTI_SHORTCUT)
        print_list(fp, "sources", l.input_layers, l.n);
}

static int find_output(const net_outputs *outputs, int layer)
{
    int o = outputs->n - 1;
    while (o >= 0 && outputs->layer[o] != layer) --o;
    return o;
}

void describe_network(FILE *fp, network *net, const net_outputs *outputs)
{
    fprintf(fp, "{\"width\": %d, \"height\": %d, \"channels\": %d, \"letter_box\": %d", net->w,
            net->h, net->c, net->letter_box);
    fprintf(fp, ", \"classes\": %d", outputs->classes);
    print_list(fp, "outputs", outputs->layer, outputs->n);
    fprintf(fp, ", \"layers\": [");
    for (int i = 0; i < net->n; ++i) {
        int o = find_output(outputs, i);
        if (i) fprintf(fp, ", ");
        describe_layer(fp, net->layers[i]);
        if (o >= 0 && is_detector(outputs)) print_anchors(fp, net, outputs, o);
        fprintf(fp, "}");
    }
    fprintf(fp, "]}\n");
    kd_arrays list = network_arrays(net);
    for (int i = 0; i < list.n; ++i)
        fwrite(list.arrays[i].data, sizeof(float), list.arrays[i].n, fp);
    kd_free_arrays(list);
}
