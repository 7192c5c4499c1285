/* See loss_options.h. */
#include "distil/loss_options.h"
#include "cpu/cores.h"
#include "data/strong.h"
#include "distil/ensemble.h"
#include "distil/precision.h"
#include "options.h"
#include "support.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define TO(field) offsetof(deepkd_options, field)
static const option shared[] = {
    {"trainer", OPTION_CHOICE, TO(trainer), 0, 0, "deepkd|dot|sgd"},
    {"activation", OPTION_CHOICE, TO(activation), 0, 0, "softmax|logistic"},
    {"temperature", OPTION_REAL, TO(temperature), .01, 1000, 0},
    {"temperatures", OPTION_GROWING, TO(temperatures), .01, 1000, 0},
    {"task_weight", OPTION_REAL, TO(task_weight), 0, 1e6, 0},
    {"teacher_weight", OPTION_REAL, TO(teacher_weight), 0, 1e6, 0},
    {"ensemble", OPTION_CHOICE, TO(ensemble), 0, 0, ENSEMBLE_CHOICES},
    {"alpha", OPTION_REAL, TO(alpha), 0, 1e6, 0},
    {"tcg_gate", OPTION_INT, TO(tcg_gate), 0, 1, 0},
    {"swap", OPTION_INT, TO(swap), 0, 1, 0},
    {"warmup", OPTION_INT, TO(warmup), 0, INT_MAX, 0},
    {"warmup_shape", OPTION_CHOICE, TO(warmup_shape), 0, 0, "linear|epochs"},
    {"views", OPTION_INT, TO(views), 1, KD_VIEWS, 0},
    {"augment", OPTION_CHOICE, TO(augment), 0, 0, "darknet|cifar"},
    {"operations", OPTION_TEXT, TO(operation_names), 0, 0, 0},
    {"logit_standardization", OPTION_INT, TO(standardize), 0, 1, 0},
    {"topk_schedule", OPTION_CHOICE, TO(topk_schedule), 0, 0, "dynamic|static|off"},
    {"topk", OPTION_INT, TO(topk), 1, INT_MAX, 0},
    {"topk_phases", OPTION_PAIR, TO(topk_phases), 0, 1, 0},
    {"rows", OPTION_CHOICE, TO(rows), 0, 0, "truth|dense"},
    {"feature_nms", OPTION_INT, TO(feature_nms), 0, 1, 0},
    {"objectness_weight", OPTION_REAL, TO(objectness_weight), 0, 1e6, 0},
    {"box_weight", OPTION_REAL, TO(box_weight), 0, 1e6, 0},
    {"box_loss", OPTION_CHOICE, TO(box_loss), 0, 0, "iou|giou|diou|ciou"},
    {"delta_tog", OPTION_REAL, TO(delta[KD_TOG]), -1, 1, 0},
    {"delta_tcg", OPTION_REAL, TO(delta[KD_TCG]), -1, 1, 0},
    {"delta_ncg", OPTION_REAL, TO(delta[KD_NCG]), -1, 1, 0},
    {"momentum_tog", OPTION_REAL, TO(momentum[KD_TOG]), 0, KD_MOST_MOMENTUM, 0},
    {"momentum_tcg", OPTION_REAL, TO(momentum[KD_TCG]), 0, KD_MOST_MOMENTUM, 0},
    {"momentum_ncg", OPTION_REAL, TO(momentum[KD_NCG]), 0, KD_MOST_MOMENTUM, 0},
    {"decay_component", OPTION_CHOICE, TO(decay_component), 0, 0, "tog|tcg|ncg"},
    {"decay_all", OPTION_INT, TO(decay_all), 0, 1, 0},
    {"momentum_warmup", OPTION_REAL, TO(momentum_warmup), 0, 100, 0},
    {"momentum_rule", OPTION_CHOICE, TO(momentum_rule), 0, 0, "fixed|gsnr"},
    {"gsnr_interval", OPTION_INT, TO(gsnr_interval), 0, INT_MAX, 0},
    {"gsnr_layers", OPTION_INT, TO(gsnr_layers), 0, 1, 0},
    {"precision", OPTION_CHOICE, TO(precision), 0, 0, STUDENT_PRECISIONS},
    {"parts", OPTION_INT, TO(parts), 1, MOST_PARTS, 0},
    {0},
};

static const deepkd_options defaults = {
    .trainer = TRAINER_DEEPKD,
    .activation = -1,
    .temperature = NAN,
    .task_weight = 1,
    .teacher_weight = 1,
    .ensemble = -1,
    .alpha = 1,
    .augment = -1,
    .topk_schedule = -1,
    .box_weight = NAN,
    .box_loss = -1,
    .topk_phases = {.3, .7},
    .delta = {NAN, NAN, NAN},
    .momentum = {NAN, NAN, NAN},
    .decay_component = KD_TOG,
    .momentum_warmup = .05,
    .gsnr_interval = -1,
    .parts = DEFAULT_PARTS,
};

/* "kd|dkd" into text[size] */
static void list_methods(char *text, size_t size)
{
    text[0] = 0;
    for (const kd_method *m = kd_methods; m->name; ++m)
        snprintf(text + strlen(text), size - strlen(text), "%s%s", *text ? "|" : "", m->name);
}

#define SHARED (sizeof(shared) / sizeof(*shared) - 1)

/* The whole table of the section: methods, their own options, the shared ones. */
typedef struct {
    char methods[256];
    option table[1 + METHOD_OPTIONS + SHARED + 1];
    int n; /* of the methods' own, which begin at table[1] */
} option_table;

static void make_table(option_table *t)
{
    *t = (option_table){0};
    list_methods(t->methods, sizeof(t->methods));
    t->table[0] = (option){"method", OPTION_CHOICE, TO(method), 0, 0, t->methods};
    for (const kd_method *m = kd_methods; m->name; ++m)
        for (int i = 0; i < KD_PARAMETERS && m->parameter[i].name; ++i) {
            kd_parameter p = m->parameter[i];
            size_t place = TO(of_method) + t->n * sizeof(double);
            if (find_option(t->table, p.name)) continue; /* two methods share it */
            t->table[1 + t->n++] = (option){p.name, OPTION_REAL, place, p.least, p.most, 0};
        }
    memcpy(t->table + 1 + t->n, shared, sizeof(shared));
}

/* Which of the method's own options it is, or -1 */
static int find_parameter(const kd_method *m, const char *name)
{
    for (int i = 0; i < KD_PARAMETERS && m->parameter[i].name; ++i)
        if (!strcmp(m->parameter[i].name, name)) return i;
    return -1;
}

/* The first method that has the option */
static const char *owner_of(const char *name)
{
    const kd_method *m = kd_methods;
    while (find_parameter(m, name) < 0) ++m;
    return m->name;
}

static void check_parameter(const kd_parameter *p, double value, const char *cfg)
{
    if (p->is_whole && value != floor(value))
        kd_fail("%s: [deepkd_loss] %s=%g: expected a whole number from %g to %g", cfg, p->name,
                value, p->least, p->most);
}

/* The method's own options as they were given, or as usual; another method's are an error. */
static void read_parameters(const deepkd_options *o, const option_table *t, const char *cfg,
                            kd_loss_config *loss)
{
    int is_whole_kl = loss->method->is_whole_kl && o->trainer != TRAINER_DEEPKD;
    for (int i = 0; i < KD_PARAMETERS; ++i)
        loss->parameter[i] = loss->method->parameter[i].usual;
    if (is_whole_kl) loss->parameter[find_parameter(loss->method, "beta")] = KD_WHOLE_KL;
    for (int k = 0; k < t->n; ++k) {
        const char *name = t->table[1 + k].key;
        int i = find_parameter(loss->method, name);
        if (isnan(o->of_method[k])) continue;
        if (i < 0)
            kd_fail("%s: [deepkd_loss] %s=%g: method=%s has no such option, expected it with "
                    "method=%s",
                    cfg, name, o->of_method[k], loss->method->name, owner_of(name));
        check_parameter(loss->method->parameter + i, o->of_method[k], cfg);
        loss->parameter[i] = o->of_method[k];
    }
}

_Static_assert(KD_TEMPERATURES == MOST_NUMBERS, "as many can be given as there can be");

/* One temperature, or of a method that sums over them several; the other kind is an error. */
static void read_temperatures(deepkd_options *o, const char *cfg, kd_loss_config *loss)
{
    const kd_method *m = loss->method;
    int has_several = m->temperatures[0] > 0;
    if (has_several && !isnan(o->temperature))
        kd_fail("%s: [deepkd_loss] temperature=%g: method=%s has several, expected "
                "temperatures=",
                cfg, o->temperature, m->name);
    if (!has_several && o->temperatures.n)
        kd_fail("%s: [deepkd_loss] temperatures=: method=%s has one, expected temperature=",
                cfg, m->name);
    if (isnan(o->temperature)) o->temperature = m->temperature;
    loss->temperature = o->temperature;
    const double *from = o->temperatures.n ? o->temperatures.x : m->temperatures;
    memcpy(loss->temperatures, from, sizeof(loss->temperatures));
    while (loss->n_temperatures < KD_TEMPERATURES && from[loss->n_temperatures])
        ++loss->n_temperatures;
}

/* Which operations the strong view draws from; exits naming one that is none. */
static void read_operations(deepkd_options *o, const char *cfg)
{
    const char *unknown;
    char known[256];
    o->operations = find_operations(o->operation_names, &unknown);
    if (!unknown) return;
    list_operations(ALL_OPERATIONS, known, sizeof(known));
    kd_fail("%s: [deepkd_loss] operations=%s: found %.*s, expected some of %s", cfg,
            o->operation_names, (int)strcspn(unknown, ","), unknown, known);
}

deepkd_options read_deepkd_options(list *options, const char *cfg, kd_loss_config *loss)
{
    deepkd_options o = defaults;
    option_table t;
    make_table(&t);
    for (int k = 0; k < METHOD_OPTIONS; ++k) o.of_method[k] = NAN;
    read_options(cfg, "[deepkd_loss]", options, t.table, &o);
    if (o.warmup_shape == WARMUP_EPOCHS && !o.warmup)
        kd_fail("%s: [deepkd_loss] warmup_shape=epochs: found warmup=0, expected a number of "
                "epochs",
                cfg);
    *loss = (kd_loss_config){.method = kd_methods + o.method,
                             .standardize = o.standardize,
                             .alpha = o.alpha,
                             .tcg_gate = o.tcg_gate};
    read_temperatures(&o, cfg, loss);
    read_operations(&o, cfg);
    read_parameters(&o, &t, cfg, loss);
    return o;
}
