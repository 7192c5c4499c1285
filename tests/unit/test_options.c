/*
 * Proves how options become numbers: options.c reads every kind within its
 * range and stops at everything else with one line that names file, section,
 * option, what was found and what was expected; what [deepkd_loss] makes of
 * its options (momenta of every trainer, groups, K*) is the design's.
 *
 * To add wrong input: a line in `wrong` ([deepkd_loss] as a user writes it) or
 * in test_wrong_values (a kind of option). A momentum: a line in `momenta`.
 */
#include "nets.h"

#include "option_list.h"
#include "options.h"

typedef struct {
    int whole, choice, untouched;
    double real, pair[2];
    option_numbers numbers, any;
    char *text;
} settings;

#define TO(field) offsetof(settings, field)
static const option table[] = {
    {"whole", OPTION_INT, TO(whole), -2, 10, 0},
    {"real", OPTION_REAL, TO(real), .5, 2, 0},
    {"pair", OPTION_PAIR, TO(pair), 0, 1, 0},
    {"numbers", OPTION_GROWING, TO(numbers), 1, 9, 0},
    {"any", OPTION_NUMBERS, TO(any), 1, 9, 0},
    {"choice", OPTION_CHOICE, TO(choice), 0, 0, "red|green|greenish"},
    {"text", OPTION_TEXT, TO(text), 0, 0, 0},
    {"untouched", OPTION_INT, TO(untouched), 0, 1, 0},
    {0},
};

/* Darknet's list of the lines "key=value", which it reads into its own copies. */
static list *make_options(const char *lines)
{
    list *options = make_list();
    char *copy = kd_copy(lines); /* Darknet's list points into it: it stays */
    for (char *line = strtok(copy, "\n"); line; line = strtok(0, "\n"))
        assert_true(read_option(kd_copy(line), options));
    free(copy);
    return options;
}

static settings read_settings(const char *lines)
{
    settings s = {.untouched = 7};
    read_options("a.cfg", "[part]", make_options(lines), table, &s);
    return s;
}

/* ---- reading ----------------------------------------------------------- */

static void test_every_kind(void)
{
    settings s = read_settings("whole=3\nreal=1.25\npair=.25,.75\nchoice=green\ntext=a/b c");
    assert_int_equal(s.whole, 3);
    assert_true(s.real == 1.25 && s.pair[0] == .25 && s.pair[1] == .75);
    assert_int_equal(s.choice, 1);
    assert_string_equal(s.text, "a/b c");
    assert_int_equal(s.untouched, 7);
    free(s.text);
}

static void test_the_ends_of_ranges(void)
{
    assert_int_equal(read_settings("whole=-2").whole, -2);
    assert_int_equal(read_settings("whole=10").whole, 10);
    assert_int_equal(read_settings("whole=1e1").whole, 10);
    assert_true(read_settings("real=.5").real == .5);
    assert_true(read_settings("real=2").real == 2);
    settings s = read_settings("pair=0,1");
    assert_true(s.pair[0] == 0 && s.pair[1] == 1);
    assert_int_equal(read_settings("choice=red").choice, 0);
    assert_int_equal(read_settings("choice=greenish").choice, 2);
}

static void test_numbers(void)
{
    settings s = read_settings("numbers=1,2.5,9#,10");
    assert_int_equal(s.numbers.n, 3);
    check(s.numbers.x[0] == 1 && s.numbers.x[1] == 2.5 && s.numbers.x[2] == 9, "three numbers");
    assert_int_equal(read_settings("numbers=3").numbers.n, 1);
    assert_int_equal(read_settings("numbers=1,2,3,4,5,6,7,8").numbers.n, MOST_NUMBERS);
    assert_int_equal(read_settings("real=1").numbers.n, 0);
    s = read_settings("any=9,1,1");
    check(s.any.n == 3 && s.any.x[0] == 9 && s.any.x[2] == 1, "numbers in any order");
}

static void test_comments_are_cut(void)
{
    settings s = read_settings("whole=4#of them\nchoice=red#, as in \"red\"\ntext=name#1\n"
                               "pair=.1,.2#x");
    assert_int_equal(s.whole, 4);
    assert_int_equal(s.choice, 0);
    assert_string_equal(s.text, "name");
    assert_true(s.pair[1] == .2);
    free(s.text);
}

/* Read options are marked, so that Darknet does not call them unused. */
static void test_options_are_marked(void)
{
    settings s = {0};
    list *options = make_options("whole=1\nreal=1");
    read_options("a.cfg", "[part]", options, table, &s);
    for (node *n = options->front; n; n = n->next) assert_int_equal(((kvp *)n->val)->used, 1);
}

/* ---- errors ------------------------------------------------------------ */

static void read_in_child(void *lines)
{
    read_settings(lines);
}

static void test_wrong_values(void)
{
    static const char *const whole = "a whole number from -2 to 10",
                             *const real = "from 0.5 to 2", *const nothing = "nothing behind",
                             *const growing = "growing";
    static const struct {
        const char *lines, *found, *expected;
    } wrong[] = {
        {"whole=11", "whole=11:", whole},
        {"whole=-3", "whole=-3:", whole},
        {"whole=1.5", "whole=1.5:", whole},
        {"whole=ten", "whole=ten:", whole},
        {"whole=#4", "whole=:", whole},
        {"whole=nan", "whole=nan:", whole},
        {"whole=inf", "whole=inf:", whole},
        {"whole=99999999999", "whole=99999999999:", whole},
        {"whole=3x", "whole=3x:", nothing},
        {"whole=3,4", "whole=3,4:", nothing},
        {"real=.49", "real=.49:", real},
        {"real=2.01", "real=2.01:", real},
        {"real=1e999", "real=1e999:", real},
        {"real=nan", "real=nan:", real},
        {"real=1,5", "real=1,5:", nothing},
        {"real=1.5.5", "real=1.5.5:", nothing},
        {"pair=.3", "pair=.3:", "two numbers"},
        {"pair=.3;.4", "pair=.3;.4:", "two numbers"},
        {"pair=.3,", "pair=.3,:", "two growing numbers"},
        {"pair=.7,.3", "pair=.7,.3:", growing},
        {"pair=.3,.3", "pair=.3,.3:", growing},
        {"pair=.3,1.1", "pair=.3,1.1:", "from 0 to 1"},
        {"pair=.3,.4,.5", "pair=.3,.4,.5:", nothing},
        {"numbers=2,1", "numbers=2,1:", "up to 8 growing numbers"},
        {"numbers=2,2", "numbers=2,2:", growing},
        {"numbers=1,2,", "numbers=1,2,:", "from 1 to 9"},
        {"numbers=,1", "numbers=,1:", "from 1 to 9"},
        {"numbers=1,10", "numbers=1,10:", "from 1 to 9"},
        {"numbers=1;2", "numbers=1;2:", nothing},
        {"numbers=1,2,3,4,5,6,7,8,9", "numbers=1,2,3,4,5,6,7,8,9:", "up to 8"},
        {"any=2,1,2,1,2,1,2,1,2", "any=2,1,2,1,2,1,2,1,2:", "up to 8 numbers"},
        {"numbers=#1", "numbers=:", "from 1 to 9"},
        {"choice=blue", "choice=blue:", "red|green|greenish"},
        {"choice=gree", "choice=gree:", "red|green|greenish"},
        {"choice=red|green", "choice=red|green:", "red|green|greenish"},
        {"choice=#red", "choice=:", "red|green|greenish"},
        {"choice=Red", "choice=Red:", "red|green|greenish"},
        {"text=#x", "text=:", "a text"},
        {"colour=red",
         "colour=red:", "whole, real, pair, numbers, any, choice, text, untouched"},
        {"Whole=1", "Whole=1:", "whole, real"},
        {"whole=1\nwhole=1", "whole=1:", "once"},
    };
    for (int i = 0; i < COUNT(wrong); ++i)
        ASSERT_FAILS(read_in_child, (void *)wrong[i].lines, "a.cfg: [part] ", wrong[i].found,
                     wrong[i].expected);
}

static void read_data_in_child(void *lines)
{
    settings s = {0};
    read_options("a.data", "", make_options(lines), table, &s);
}

/* One line, whole, as the manual shows it; without a section for a .data file. */
static void test_the_line(void)
{
    char text[4096];
    assert_int_equal(run_child(read_in_child, "real=3#x", text, sizeof(text)), 1);
    assert_string_equal(text, "a.cfg: [part] real=3: expected a number from 0.5 to 2\n");
    assert_int_equal(run_child(read_data_in_child, "choice=3", text, sizeof(text)), 1);
    assert_string_equal(text, "a.data: choice=3: expected red|green|greenish\n");
}

/* ---- [deepkd_loss] ----------------------------------------------------- */

#define HEAD                                                                                   \
    "[net]\nbatch=2\nheight=4\nwidth=4\nchannels=3\nmax_batches=100\nmomentum=.9\ndecay=."     \
    "001\n"
#define LAYERS(classes) "[connected]\noutput=" #classes "\nactivation=linear\n[softmax]\n"
#define STUDENT(classes) HEAD LAYERS(classes) "[teacher]\n[deepkd_loss]\n"

static deepkd *pair_of(const char *options)
{
    return make_pair(join(STUDENT(10), options, ""), HEAD LAYERS(10), 1);
}

static void test_momenta(void)
{
    static const struct {
        const char *options;
        double momentum[KD_COMPONENTS];
        const char *groups;
    } momenta[] = {
        {"",
         {.975, .825, .975},
         "tog+ncg 0.975 from batch 780 (weight decay), tcg 0.825 from batch 95"},
        {"method=kd\n",
         {.975, .825, .975},
         "tog+ncg 0.975 from batch 780 (weight decay), tcg 0.825 from batch 95"},
        {"method=dkd\n",
         {.975, .825, .95},
         "tog 0.975 from batch 780 (weight decay), tcg 0.825 from batch 95, ncg 0.95 from "
         "batch 380"},
        {"trainer=dot\n",
         {.825, .975, .975},
         "tog 0.825 from batch 95 (weight decay), tcg+ncg 0.975 from batch 780"},
        {"trainer=dot\nmethod=dkd\n",
         {.825, .975, .975},
         "tog 0.825 from batch 95 (weight decay), tcg+ncg 0.975 from batch 780"},
        {"trainer=sgd\n", {.9, .9, .9}, "tog+tcg+ncg 0.9 from batch 180 (weight decay)"},
        {"trainer=sgd\nmethod=dkd\n",
         {.9, .9, .9},
         "tog+tcg+ncg 0.9 from batch 180 (weight decay)"},
        {"delta_tog=0\ndelta_tcg=.05\ndelta_ncg=-.1\n",
         {.9, .95, .8},
         "tog 0.9 from batch 180 (weight decay), tcg 0.95 from batch 380, ncg 0.8 from batch "
         "80"},
        {"delta_tcg=.075\n",
         {.975, .975, .975},
         "tog+tcg+ncg 0.975 from batch 780 (weight decay)"},
        {"momentum_tog=0\n",
         {0, .825, .975},
         "tog 0 (weight decay), tcg 0.825 from batch 95, ncg 0.975 from batch 780"},
        {"momentum_ncg=.5\ndelta_ncg=.01\n",
         {.975, .825, .5},
         "tog 0.975 from batch 780 (weight decay), tcg 0.825 from batch 95, ncg 0.5 from batch "
         "20"},
        {"momentum_tog=.5\nmomentum_tcg=.5\n",
         {.5, .5, .975},
         "tog+tcg 0.5 from batch 20 (weight decay), ncg 0.975 from batch 780"},
        {"momentum_tog=.825\n",
         {.825, .825, .975},
         "tog+tcg 0.825 from batch 95 (weight decay), ncg 0.975 from batch 780"},
        {"decay_component=tcg\n",
         {.975, .825, .975},
         "tog+ncg 0.975 from batch 780, tcg 0.825 from batch 95 (weight decay)"},
        {"momentum_warmup=0\n", {.975, .825, .975}, "tog+ncg 0.975 (weight decay), tcg 0.825"},
        {"momentum_warmup=1\n",
         {.975, .825, .975},
         "tog+ncg 0.975 from batch 39 (weight decay), tcg 0.825 from batch 5"},
        {"decay_component=ncg\n",
         {.975, .825, .975},
         "tog+ncg 0.975 from batch 780 (weight decay), tcg 0.825 from batch 95"},
    };
    for (int i = 0; i < COUNT(momenta); ++i) {
        char text[160];
        deepkd *kd = pair_of(momenta[i].options);
        for (int c = 0; c < KD_COMPONENTS; ++c)
            assert_float_equal(component_momentum(kd, c), momenta[i].momentum[c], 1e-7);
        describe_groups(kd, text, sizeof(text));
        assert_string_equal(text, momenta[i].groups);
        free_pair(kd);
    }
}

/* A buffer that is too small cuts the text, and no more. */
static void test_a_short_description(void)
{
    char text[64];
    deepkd *kd = pair_of("method=dkd\n");
    memset(text, 'x', sizeof(text));
    describe_groups(kd, text, 12);
    assert_string_equal(text, "tog 0.975 f");
    for (int i = 12; i < COUNT(text); ++i) assert_int_equal(text[i], 'x');
    free_pair(kd);
}

static void test_topk_defaults(void)
{
    static const struct {
        const char *student, *teacher;
        int optimal;
        kd_schedule schedule;
    } cases[] = {
        {STUDENT(2), HEAD LAYERS(2), 1, KD_TOPK_OFF},
        {STUDENT(3), HEAD LAYERS(3), 1, KD_TOPK_OFF},
        {STUDENT(4), HEAD LAYERS(4), 1, KD_TOPK_OFF},
        {STUDENT(5), HEAD LAYERS(5), 2, KD_TOPK_OFF},
        {STUDENT(10), HEAD LAYERS(10), 4, KD_TOPK_OFF},
        {STUDENT(100), HEAD LAYERS(100), 49, KD_TOPK_OFF},
        {STUDENT(100) "topk_schedule=dynamic\n", HEAD LAYERS(100), 49, KD_TOPK_DYNAMIC},
        {STUDENT(10) "topk_schedule=dynamic\n", HEAD LAYERS(10), 4, KD_TOPK_DYNAMIC},
        {STUDENT(10) "topk=9\n", HEAD LAYERS(10), 9, KD_TOPK_DYNAMIC},
        {STUDENT(10) "topk=1\n", HEAD LAYERS(10), 1, KD_TOPK_DYNAMIC},
        {STUDENT(10) "topk=1\ntopk_schedule=static\n", HEAD LAYERS(10), 1, KD_TOPK_STATIC},
    };
    for (int i = 0; i < COUNT(cases); ++i) {
        deepkd *kd = make_pair(cases[i].student, cases[i].teacher, 2);
        assert_int_equal(kd->topk_config.optimal, cases[i].optimal);
        assert_int_equal(kd->topk_config.schedule, cases[i].schedule);
        assert_true(kd->topk_config.phase1_end == .3 && kd->topk_config.phase2_end == .7);
        free_pair(kd);
    }
}

/* What the cfg says arrives where the mathematics reads it. */
static void test_all_options(void)
{
    deepkd *kd = pair_of("method=dkd\nactivation=logistic\ntemperature=2.5\nalpha=.5\nbeta=7\n"
                         "logit_standardization=1\ntopk_schedule=static\ntopk=3\n"
                         "topk_phases=.1,.9\ntask_weight=.25\nteacher_weight=2\nwarmup=40\n");
    const kd_loss_config *found = &kd->loss_config;
    assert_string_equal(found->method->name, "dkd");
    assert_int_equal(found->activation, KD_LOGISTIC);
    assert_int_equal(found->standardize, 1);
    assert_true(found->temperature == 2.5);
    assert_true(found->alpha == .5 && found->parameter[0] == 7);
    assert_int_equal(kd->topk_config.schedule, KD_TOPK_STATIC);
    assert_int_equal(kd->topk_config.optimal, 3);
    assert_true(kd->topk_config.phase1_end == .1 && kd->topk_config.phase2_end == .9);
    assert_true(kd->options.task_weight == .25 && kd->options.teacher_weight == 2);
    assert_int_equal(kd->options.warmup, 40);
    free_pair(kd);
}

static void test_active_components(void)
{
    static const struct {
        const char *options;
        int active[KD_COMPONENTS];
    } cases[] = {
        {"", {1, 1, 1}},
        {"teacher_weight=0\n", {1, 0, 0}},
        {"task_weight=0\n", {0, 1, 1}},
        {"alpha=0\n", {1, 0, 1}},
        {"method=dkd\nbeta=0\n", {1, 1, 0}},
    };
    for (int i = 0; i < COUNT(cases); ++i) {
        deepkd *kd = pair_of(cases[i].options);
        for (int c = 0; c < KD_COMPONENTS; ++c)
            assert_int_equal(is_active(kd, c), cases[i].active[c]);
        assert_int_equal(kd->teacher->idle, i == 1);
        free_pair(kd);
    }
}

typedef struct {
    const char *student, *teacher;
} cfgs;

static void pair_in_child(void *argument)
{
    const cfgs *c = argument;
    make_pair(c->student, c->teacher, 1);
}

static void test_wrong_cfgs(void)
{
    static const char *const teacher = HEAD LAYERS(10);
    static const struct {
        const char *student, *parts[3];
    } wrong[] = {
        {STUDENT(10) "temperature=0\n",
         {"[deepkd_loss] temperature=0: expected a number from"}},
        {STUDENT(10) "beta=3\n", {"[deepkd_loss] beta=3: method=kd has no such option"}},
        {STUDENT(10) "topk=10\n", {"[deepkd_loss] topk=10", "at most 9"}},
        {STUDENT(10) "topk=0\n", {"[deepkd_loss] topk=0: expected a whole number from 1"}},
        {STUDENT(10) "tempreature=4\n", {"[deepkd_loss] tempreature=4", "temperature"}},
        {STUDENT(10) "delta_tog=.2\n",
         {"momentum of tog is 1.1", "momentum=0.9", "0 to 0.9999"}},
        {STUDENT(10) "delta_tcg=-.95\n", {"momentum of tcg is -0.05", "0 to 0.9999"}},
        {STUDENT(10) "momentum_tcg=1\n", {"[deepkd_loss] momentum_tcg=1:", "0.9999"}},
        {STUDENT(5), {"student.cfg: found 5 classes", "10"}},
        {STUDENT(1), {"student.cfg: found 1 classes"}},
        {HEAD LAYERS(10) "[deepkd_loss]\n", {"student.cfg", "[teacher]"}},
        {HEAD LAYERS(10) "[deepkd_loss]\n[teacher]\n",
         {"student.cfg", "[deepkd_loss] is layer"}},
        {HEAD LAYERS(10) "[teacher]\n" LAYERS(10) "[teacher]\n[deepkd_loss]\n",
         {"[teacher] is layer"}},
        {HEAD LAYERS(10) "[teacher]\nweight=x\n[deepkd_loss]\n",
         {"[teacher] weight=x:", "weights"}},
        {HEAD "[teacher]\n[deepkd_loss]\n", {"student.cfg", "a layer besides"}},
        {HEAD "[avgpool]\n[teacher]\n[deepkd_loss]\n", {"student.cfg", "no [softmax]"}},
        {HEAD
         "[avgpool]\n[connected]\noutput=10\n[softmax]\ngroups=2\n[teacher]\n[deepkd_loss]\n",
         {"student.cfg", "groups=2"}},
        {HEAD "adam=1\n" LAYERS(10) "[teacher]\n[deepkd_loss]\n", {"student.cfg", "adam=1"}},
        {HEAD "[local]\nfilters=2\nsize=2\nstride=1\n" LAYERS(10) "[teacher]\n[deepkd_loss]\n",
         {"student.cfg: layer 0", "trained"}},
    };
    for (int i = 0; i < COUNT(wrong); ++i) {
        cfgs c = {wrong[i].student, teacher};
        const char *parts[4] = {wrong[i].parts[0], wrong[i].parts[1], wrong[i].parts[2], 0};
        assert_fails(pair_in_child, &c, parts);
    }
}

static void test_wrong_teachers(void)
{
    static const struct {
        const char *teacher, *parts[2];
    } wrong[] = {
        {HEAD LAYERS(7), {"found 10 classes", "7 (/tmp/deepkd-nets"}},
        {HEAD "[avgpool]\n", {"teacher.cfg", "no [softmax]"}},
        {"[net]\nheight=4\nwidth=4\nchannels=1\n" LAYERS(10), {"teacher.cfg", "channels=1"}},
    };
    for (int i = 0; i < COUNT(wrong); ++i) {
        cfgs c = {STUDENT(10), wrong[i].teacher};
        const char *parts[3] = {wrong[i].parts[0], wrong[i].parts[1], 0};
        assert_fails(pair_in_child, &c, parts);
    }
    /* one class: the softmax of one logit is 1, whatever it is */
    cfgs c = {STUDENT(1), HEAD LAYERS(1)};
    ASSERT_FAILS(pair_in_child, &c, "activation=softmax with one class", "activation=logistic");
}

/* activation=logistic is what one class needs. */
static void test_one_class(void)
{
    deepkd *kd = make_pair(STUDENT(1) "activation=logistic\n", HEAD LAYERS(1), 3);
    fill_batch(kd->net, 4);
    train_network_datum(kd->net);
    assert_false(kd->broken);
    assert_true(kd->loss[KD_TCG] > 0 && kd->loss[KD_NCG] == 0);
    free_pair(kd);
}

int main(void)
{
    static const test_case tests[] = {
        TEST(test_every_kind),
        TEST(test_the_ends_of_ranges),
        TEST(test_numbers),
        TEST(test_comments_are_cut),
        TEST(test_options_are_marked),
        TEST(test_wrong_values),
        TEST(test_the_line),
        TEST(test_momenta),
        TEST(test_a_short_description),
        TEST(test_topk_defaults),
        TEST(test_all_options),
        TEST(test_active_components),
        TEST(test_wrong_cfgs),
        TEST(test_wrong_teachers),
        TEST(test_one_class),
    };
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
