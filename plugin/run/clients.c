/* See clients.h. The rules are those of OpenCV 4.6; tests/cli/clients.t tries them on OpenCV.
 */
#include "run/clients.h"

#include <stdio.h>
#include <string.h>

/* A section that OpenCV knows, by this name alone */
typedef struct {
    const char *name;
    const char *needed;  /* keys without which it takes another default than Darknet, or none */
    const char *refused; /* keys that it does not know, or takes for something else... */
    const char *unless;  /* ...but with this value */
} known_section;

static const known_section known[] = {
    {"[net]", "width height channels", 0, 0},
    {"[convolutional]", "filters size", 0, 0},
    {"[convolutional]", "", "stride_x", ""},
    {"[convolutional]", "", "stride_y", ""},
    {"[convolutional]", "", "dilation", "1"},
    {"[connected]", "output", 0, 0},
    {"[maxpool]", "size stride", 0, 0},
    {"[maxpool]", "", "stride_x", ""},
    {"[maxpool]", "", "stride_y", ""},
    {"[maxpool]", "", "maxpool_depth", "0"},
    {"[avgpool]", "", 0, 0},
    {"[softmax]", "", "groups", "1"},
    {"[softmax]", "", "spatial", "0"},
    {"[route]", "", 0, 0},
    {"[dropout]", "", 0, 0},
    {"[cost]", "", 0, 0},
    {"[reorg]", "stride", "reverse", "0"},
    {"[region]", "classes num anchors", 0, 0},
    {"[yolo]", "classes num anchors mask", 0, 0},
    {"[shortcut]", "", "beta", ""},
    {"[shortcut]", "", "weights_type", "none"},
    {"[sam]", "", 0, 0},
    {"[scale_channels]", "", "scale_wh", "0"},
    {"[upsample]", "stride", 0, 0},
    {"[teacher]", "", 0, 0}, /* ours, which are not in the plain cfg */
    {"[deepkd_loss]", "", 0, 0},
};
static const char *const activations[] = {"linear", "leaky", "relu", "logistic",
                                          "tanh",   "mish",  "swish"};

/* The value of a key in a section's lines, up to its line's end; NULL: it has none */
static const char *find_value(const char *section, const char *key, size_t length)
{
    const char *line = strchr(section, '\n');
    for (; line && line[1] && line[1] != '['; line = strchr(line + 1, '\n'))
        if (!strncmp(line + 1, key, length) && line[1 + length] == '=')
            return line + length + 2;
    return 0;
}

static int is_value(const char *value, const char *text)
{
    size_t length = strcspn(value, "\n");
    return strlen(text) == length && !strncmp(value, text, length);
}

/* 0, and why, when the section breaks the rule */
static int holds(const known_section *rule, const char *section, char *why, size_t size)
{
    for (const char *key = rule->needed; *key; key += strspn(key, " ")) {
        int length = strcspn(key, " ");
        if (!find_value(section, key, length))
            return snprintf(why, size, "a %s without %.*s=", rule->name, length, key), 0;
        key += length;
    }
    const char *value =
        rule->refused ? find_value(section, rule->refused, strlen(rule->refused)) : 0;
    if (!value || is_value(value, rule->unless)) return 1;
    return snprintf(why, size, "%s=%.*s in %s", rule->refused, (int)strcspn(value, "\n"), value,
                    rule->name),
           0;
}

static int knows_activation(const char *section, char *why, size_t size)
{
    const char *value = find_value(section, "activation", strlen("activation"));
    if (!value) return 1;
    for (size_t i = 0; i < sizeof(activations) / sizeof(*activations); ++i)
        if (is_value(value, activations[i])) return 1;
    return snprintf(why, size, "activation=%.*s", (int)strcspn(value, "\n"), value), 0;
}

static int knows_section(const char *section, char *why, size_t size)
{
    int found = 0, length = strcspn(section, "\n");
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); ++i) {
        if (!is_value(section, known[i].name)) continue;
        found = 1;
        if (!holds(known + i, section, why, size)) return 0;
    }
    if (!found) return snprintf(why, size, "%.*s", length, section), 0;
    return !strncmp(section, "[deepkd_loss]", length) || knows_activation(section, why, size);
}

int opencv_reads(const char *text, const network *net, char *why, size_t size)
{
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        if (*line == '[' && !knows_section(line, why, size)) return 0;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type == ROUTE && l.groups > 1 && l.n > 1)
            return snprintf(why, size, "groups= of several layers"), 0;
        if (l.type == MULTI_SHORTCUT)
            return snprintf(why, size, "a [shortcut] from several layers"), 0;
        if (l.type != SHORTCUT) continue;
        layer from = net->layers[l.index];
        if (from.out_w == l.out_w && from.out_h == l.out_h) continue;
        return snprintf(why, size, "a [shortcut] from another size"), 0;
    }
    return 1;
}
