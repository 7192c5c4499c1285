/* See habits.h. */
#include "cli/habits.h"
#include "support.h"

#include <ctype.h>
#include <string.h>

typedef struct {
    const char *word, *here;
} habit;

/* Without their "-". Those that one of our commands has are for the others. */
static const habit flags[] = {
    {"chart", "OPENCV=1 draws chart.png, and scripts/plot.py backup/NAME.csv"},
    {"dont_show", "it opens no window"},
    {"ext_output", "`deepkd detect` has it"},
    {"gpus", "`distill` has it; others take one GPU, by -i N"},
    {"height", "`deepkd anchors` has it; elsewhere the cfg says it"},
    {"iou_thresh", "mAP here is at an IoU of .5, and at .5 to .95"},
    {"json", "`deepkd detect` has it"},
    {"json_file_output", "`deepkd detect` has -json FILE"},
    {"letter_box", "[net] letter_box= of the cfg says it"},
    {"map", "`distill` has it, and `deepkd map` measures it"},
    {"mAP_epochs", "eval_interval= of the .data file says it, in batches"},
    {"num_of_clusters", "`deepkd anchors` has -n N"},
    {"out", "`deepkd map`, `detect` and `cache` have it; `distill` saves into backup= of the "
            ".data file"},
    {"out_filename", "`deepkd detect` has -out FOLDER"},
    {"per_class", "`deepkd map` has it"},
    {"points", "mAP here is COCO's, of 101 points"},
    {"save_labels", "`deepkd detect` has it"},
    {"thresh", "`deepkd detect` has it; mAP is of all scores"},
    {"width", "`deepkd anchors` has it; elsewhere the cfg says it"},
    {0}};

static const habit verbs[] = {
    {"calc_anchors", "anchors"}, {"test", "detect"}, {"valid", "map"}, {"recall", "map"}, {0}};

static const habit keys[] = {
    {"class", "classes="},
    {"difficult", "annotations=, whose boxes with iscrowd count neither way"},
    {"name", "names="},
    {"test", "valid="},
    {"val", "valid="},
    {"validation", "valid="},
    {0}};

static const habit detector_verbs[] = {
    {"map", "darknet deepkd map DATA CFG WEIGHTS"},
    {"calc_anchors", "darknet deepkd anchors DATA -n N -width W -height H"},
    {0}};

/* The next letter or digit, in lower case; 0 at the end */
static int next_letter(const char **text)
{
    while (**text && !isalnum((unsigned char)**text)) ++*text;
    return **text ? tolower((unsigned char)*(*text)++) : 0;
}

int are_alike(const char *a, const char *b)
{
    int letter, any = 0;
    while ((letter = next_letter(&a)) == next_letter(&b)) {
        if (!letter) return any;
        any = 1;
    }
    return 0;
}

static const char *find_habit(const habit *table, const char *word)
{
    for (const habit *h = table; h->word; ++h)
        if (!strcmp(h->word, word)) return h->here;
    return 0;
}

const char *find_flag_habit(const char *flag)
{
    return find_habit(flags, flag + strspn(flag, "-"));
}

const char *find_verb_habit(const char *verb)
{
    return find_habit(verbs, verb);
}

const char *find_key_habit(const char *key)
{
    return find_habit(keys, key);
}

int run_detector_habit(int argc, char **argv)
{
    (void)argc;
    kd_fail("Not an option: %s %s: expected %s", argv[1], argv[2],
            find_habit(detector_verbs, argv[2]));
}
