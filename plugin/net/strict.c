/* See strict.h. */
#include "net/strict.h"
#include "options.h"
#include "support.h"

#include "activations.h"
#include "cost_layer.h"
#include "option_list.h"
#include "plugin.h"
#include "utils.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of [net] that Darknet reads only for some of its policies. */
static const char *const conditional_keys[] = {
    "steps",      "scales",    "step", "scale", "gamma",
    "power",      "B1",        "B2",   "eps",   "learning_rate_min",
    "sgdr_cycle", "sgdr_mult", 0};
static const char *const policies[] = {"random",  "poly",  "constant", "step",   "exp",
                                       "sigmoid", "steps", "sgdr",     "cosine", 0};

static int is_for_training, says_letter_box; /* the cfg in hand */

static int is_one_of(const char *const *names, const char *name)
{
    for (; *names; ++names)
        if (!strcmp(*names, name)) return 1;
    return 0;
}

/* Does Darknet read this value as what it says? */
static int is_known_value(const char *section, const char *key, char *value)
{
    if (!strcmp(key, "activation"))
        return !strcmp(get_activation_string(get_activation(value)), value);
    if (!strcmp(key, "policy")) return is_one_of(policies, value);
    if (!strcmp(section, "[cost]") && !strcmp(key, "type"))
        return !strcmp(get_cost_string(get_cost_type(value)), value);
    return 1;
}

/* Keys of other Darknets that change how a net learns, and nothing of what it predicts */
typedef struct {
    const char *section, *key;
    int is_missed; /* 1: what it asks for is not done here; 0: it only tunes, prints or draws */
} training_key;
static const training_key training_keys[] = {
    {"[net]", "ema_alpha", 1},
    {"[net]", "cutmix", 1},
    {"[net]", "mixup", 1},
    {"[net]", "blur", 1},
    {"[net]", "contrastive", 1},
    {"[net]", "contrastive_color", 1},
    {"[net]", "contrastive_jit_flip", 1},
    {"[net]", "adversarial_lr", 1},
    {"[net]", "mosaic_bound", 0}, /* boxes end with their quarter in any case */
    {"[net]", "augment_speed", 0},
    {"[net]", "track", 0},
    {"[net]", "seen", 0},
    {"[net]", "try_fix_nan", 0},
    {"[net]", "max_chart_loss", 0},
    {"[net]", "momentum2", 0}, /* their code reads neither this... */
    {"[yolo]", "beta1", 0},    /* ...nor this */
    {"[net]", "optimized_memory", 0},
    {"[net]", "workspace_size_limit_MB", 0},
    {"[net]", "show_receptive_field", 0},
    {"[yolo]", "uc_normalizer", 1},
    {"[yolo]", "resize", 0}, /* how far their loader zooms; ours places images whole */
    {"[yolo]", "show_details", 0},
    {"[convolutional]", "bin_output", 0}, /* for speed on their GPU */
    {0, 0, 0},
};

static const training_key *find_training_key(const char *section, const char *key)
{
    const training_key *k = training_keys;
    if (!strcmp(section, "[network]")) section = "[net]";
    if (!strcmp(section, "[conv]")) section = "[convolutional]";
    while (k->key && (strcmp(k->section, section) || strcmp(k->key, key))) ++k;
    return k->key ? k : 0;
}

/* A line's worth of keys; `more` have no place in it */
typedef struct {
    char text[3000];
    int n, more;
} key_list;

/* Of the cfg in hand: keys that nobody knows, that ask for what is not here, or for nothing */
static key_list unknown, missed, idle;

/* "[yolo] key=value", a key once, however many sections and values it has */
static void list_key(key_list *list, const char *section, const kvp *pair)
{
    char one[256];
    int length = snprintf(one, sizeof(one), "%s %.60s=", section, pair->key);
    size_t used = strlen(list->text);
    if (strstr(list->text, one)) return;
    snprintf(one + length, sizeof(one) - length, "%.60s, ", pair->val);
    ++list->n;
    if (used + strlen(one) + sizeof(" and 1000000 more") > sizeof(list->text)) ++list->more;
    else strcpy(list->text + used, one);
}

/* The list for a message */
static const char *words_of(key_list *list)
{
    char *end = list->text + strlen(list->text) - strlen(", ");
    *end = 0;
    if (list->more) sprintf(end, " and %d more", list->more);
    return list->text;
}

static void list_unread_key(const char *section, const kvp *pair)
{
    const training_key *k = find_training_key(section, pair->key);
    if (!k) list_key(&unknown, section, pair);
    else if (is_for_training) list_key(k->is_missed ? &missed : &idle, section, pair);
}

/* Darknet's numbers; the least of those that size a buffer or divide is 1. */
static const option number_table[] = {
    {"batch", OPTION_INT, 0, 1, INT_MAX, 0},
    {"subdivisions", OPTION_INT, 0, 1, INT_MAX, 0},
    {"width", OPTION_INT, 0, 1, INT_MAX, 0},
    {"height", OPTION_INT, 0, 1, INT_MAX, 0},
    {"channels", OPTION_INT, 0, 1, INT_MAX, 0},
    {"inputs", OPTION_INT, 0, 1, INT_MAX, 0},
    {"time_steps", OPTION_INT, 0, 1, INT_MAX, 0},
    {"max_crop", OPTION_INT, 0, 1, INT_MAX, 0},
    {"min_crop", OPTION_INT, 0, 1, INT_MAX, 0},
    {"max_batches", OPTION_INT, 0, INT_MIN, INT_MAX, 0},
    {"burn_in", OPTION_INT, 0, 0, INT_MAX, 0},
    {"step", OPTION_INT, 0, 1, INT_MAX, 0},
    {"learning_rate", OPTION_REAL, 0, 0, 1e38, 0},
    {"learning_rate_min", OPTION_REAL, 0, 0, 1e38, 0},
    {"sgdr_cycle", OPTION_INT, 0, 1, INT_MAX, 0},
    {"sgdr_mult", OPTION_INT, 0, 1, INT_MAX, 0},
    {"momentum", OPTION_REAL, 0, 0, 1, 0},
    {"decay", OPTION_REAL, 0, 0, 1, 0},
    {"power", OPTION_REAL, 0, 0, 1000, 0},
    {"gamma", OPTION_REAL, 0, 0, 1000, 0},
    {"scale", OPTION_REAL, 0, 0, 1000, 0},
    {"angle", OPTION_REAL, 0, 0, 360, 0},
    {"aspect", OPTION_REAL, 0, 0, 1000, 0},
    {"saturation", OPTION_REAL, 0, 0, 1000, 0},
    {"exposure", OPTION_REAL, 0, 0, 1000, 0},
    {"hue", OPTION_REAL, 0, 0, 1, 0},
    {"probability", OPTION_REAL, 0, 0, .9999, 0},
    {"filters", OPTION_INT, 0, 1, INT_MAX, 0},
    {"size", OPTION_INT, 0, 1, INT_MAX, 0},
    {"stride", OPTION_INT, 0, 1, INT_MAX, 0},
    {"stride_x", OPTION_INT, 0, 1, INT_MAX, 0},
    {"stride_y", OPTION_INT, 0, 1, INT_MAX, 0},
    {"dilation", OPTION_INT, 0, 1, INT_MAX / 2, 0},
    {"maxpool_depth", OPTION_INT, 0, 0, 1, 0},
    {"out_channels", OPTION_INT, 0, 1, INT_MAX, 0},
    {"pad", OPTION_INT, 0, 0, INT_MAX, 0},
    {"padding", OPTION_INT, 0, 0, INT_MAX, 0},
    {"groups", OPTION_INT, 0, 1, INT_MAX, 0},
    {"affine", OPTION_INT, 0, 0, 1, 0},
    {"batch_norm_momentum", OPTION_REAL, 0, 1e-6, 1, 0},
    {"count_padding", OPTION_INT, 0, 0, 1, 0},
    {"output", OPTION_INT, 0, 1, INT_MAX, 0},
    {"batch_normalize", OPTION_INT, 0, 0, 1, 0},
    {"tf32", OPTION_INT, 0, 0, 1, 0},
    {"reverse", OPTION_INT, 0, 0, 1, 0},
    {"classes", OPTION_INT, 0, 1, INT_MAX, 0},
    {"num", OPTION_INT, 0, 1, INT_MAX, 0},
    {"max", OPTION_INT, 0, 1, 1000000, 0},
    {"coords", OPTION_INT, 0, 1, INT_MAX, 0},
    {"jitter", OPTION_REAL, 0, 0, .9999, 0},
    {"random", OPTION_REAL, 0, 0, 4, 0},
    {"softmax", OPTION_INT, 0, 0, 1, 0},
    {"background", OPTION_INT, 0, 0, 1, 0},
    {"rescore", OPTION_INT, 0, 0, 1, 0},
    {"bias_match", OPTION_INT, 0, 0, 1, 0},
    {"thresh", OPTION_REAL, 0, 0, 1, 0},
    {"ignore_thresh", OPTION_REAL, 0, 0, 1, 0},
    {"truth_thresh", OPTION_REAL, 0, 0, 1, 0},
    {"object_scale", OPTION_REAL, 0, 0, 1e6, 0},
    {"noobject_scale", OPTION_REAL, 0, 0, 1e6, 0},
    {"class_scale", OPTION_REAL, 0, 0, 1e6, 0},
    {"coord_scale", OPTION_REAL, 0, 0, 1e6, 0},
    {"group_id", OPTION_INT, 0, 0, INT_MAX, 0},
    {"letter_box", OPTION_INT, 0, 0, 1, 0},
    {"mosaic", OPTION_INT, 0, 0, 1, 0},
    {"beta_nms", OPTION_REAL, 0, 0, 100, 0},
    {"scale_wh", OPTION_INT, 0, 0, 1, 0},
    {"scale_x_y", OPTION_REAL, 0, 1, 10, 0},
    {"new_coords", OPTION_INT, 0, 0, 1, 0},
    {"iou_thresh", OPTION_REAL, 0, 0, 1, 0},
    {"iou_normalizer", OPTION_REAL, 0, 0, 1e6, 0},
    {"obj_normalizer", OPTION_REAL, 0, 0, 1e6, 0},
    {"cls_normalizer", OPTION_REAL, 0, 0, 1e6, 0},
    {"delta_normalizer", OPTION_REAL, 0, 0, 1e6, 0},
    {"max_delta", OPTION_REAL, 0, 0, 1e38, 0},
    {"label_smooth_eps", OPTION_REAL, 0, 0, 1, 0},
    {"objectness_smooth", OPTION_INT, 0, 0, 1, 0},
    {"focal_loss", OPTION_INT, 0, 0, 1, 0},
    {0},
};

/* "-1,8" in [route] or [shortcut]: layers above this one */
static void check_sources(const option_place *at, int layer)
{
    char *text = (char *)at->value;
    do {
        char *begin = text + (*text == ',');
        long source = strtol(begin, &text, 10);
        if (source < 0) source += layer;
        if (text == begin || !strchr(",#", *text) || source < 0 || source >= layer)
            bad_option(at, "layers above this one");
    } while (*text == ',');
}

static void check_numbers(char *file, char *section, list *options, int layer)
{
    int sources = 0;
    for (node *n = options->front; n; n = n->next) {
        kvp *pair = n->val;
        option_place at = {file, section, pair->key, pair->val};
        const option *o = find_option(number_table, pair->key);
        int names_layers = !strcmp(pair->key, "from") || !strcmp(pair->key, "layers");
        if (o || names_layers) strip(pair->val); /* as Darknet does with numbers */
        if (names_layers) {
            check_sources(&at, layer);
            ++sources;
        }
        if (o) check_number(&at, o);
    }
    if (!strcmp(section, "[yolo]") && !option_find(options, "anchors"))
        kd_fail("%s: [yolo] found no anchors=, expected them", file);
    int is_shortcut = !strcmp(section, "[shortcut]");
    if (!sources && (is_shortcut || !strcmp(section, "[route]")))
        kd_fail("%s: %s found no %s=, expected layers above this one", file, section,
                is_shortcut ? "from" : "layers");
}

static void check_batch(char *file, list *options)
{
    int batch = option_find_int_quiet(options, "batch", 1);
    int subdivisions = option_find_int_quiet(options, "subdivisions", 1);
    if (batch % subdivisions)
        kd_fail("%s: [net] subdivisions=%d: expected a divisor of batch=%d", file, subdivisions,
                batch);
}

static void strict_section(char *file, char *section, list *options, int layer, int parsed)
{
    if (find_plugin_layer(section)) return; /* it has been read by read_options */
    if (!parsed) {
        check_numbers(file, section, options, layer);
        if (layer < 0) check_batch(file, options);
        return;
    }
    int is_net = !strcmp(section, "[net]") || !strcmp(section, "[network]");
    if (is_net) says_letter_box = option_find(options, "letter_box") != 0;
    for (node *n = options->front; n; n = n->next) {
        kvp *pair = n->val;
        option_place at = {file, section, pair->key, pair->val};
        int known = pair->used || (is_net && is_one_of(conditional_keys, pair->key));
        if (!known) list_unread_key(section, pair);
        else if (!is_known_value(section, pair->key, pair->val))
            bad_option(&at, "a value that Darknet knows");
    }
}

static int has_boxes(const network *net)
{
    int i = 0;
    while (i < net->n && net->layers[i].type != YOLO && net->layers[i].type != REGION) ++i;
    return i < net->n;
}

/* Its weights may come from where images are stretched unless the cfg says otherwise. */
static void advise_letter_box(const network *net, const char *cfg)
{
    int i = 0;
    while (i < net->n && net->layers[i].yolo_version != 4) ++i;
    if (i == net->n || says_letter_box) return;
    fprintf(
        stderr,
        "%s: [net] has no letter_box=: images are letterboxed; AlexeyAB's Darknet stretches "
        "them then, as letter_box=0 does\n",
        cfg);
}

network *parse_strictly(char *cfg, int batch, int trains)
{
    unknown = missed = idle = (key_list){0};
    is_for_training = trains;
    cfg_section_hook = strict_section;
    network *net = parse_network_cfg_batch(cfg, batch);
    cfg_section_hook = 0;
    if (unknown.n == 1)
        kd_fail("%s: %s: expected a key that Darknet knows in this section", cfg,
                words_of(&unknown));
    if (unknown.n)
        kd_fail("%s: %s: expected keys that Darknet knows in these sections", cfg,
                words_of(&unknown));
    if (missed.n)
        kd_fail("%s: %s: other Darknets train so, this one does not: expected a cfg without",
                cfg, words_of(&missed));
    if (trains && net->mosaic && !has_boxes(net))
        kd_fail("%s: [net] mosaic=1: expected it in a detector's cfg alone", cfg);
    if (trains && net->label_smooth_eps && has_boxes(net))
        kd_fail(
            "%s: [net] label_smooth_eps=%g: expected it in a classifier's cfg, or in [yolo]",
            cfg, net->label_smooth_eps);
    advise_letter_box(net, cfg);
    if (idle.n) fprintf(stderr, "%s: without effect here: %s\n", cfg, words_of(&idle));
    return net;
}
