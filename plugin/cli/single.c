/* See single.h. */
#include "cli/single.h"
#include "cpu/cores.h"
#include "net/device.h"
#include "net/parameters.h"
#include "net/strict.h"
#include "run/stop.h"
#include "support.h"

#include <stdlib.h>

static void read_valid_list(single *s, const char *data)
{
    data_options *d = &s->data;
    if (!is_detector(&s->outputs)) {
        check_task(&(distill_arguments){.data = (char *)data}, d, 0);
        s->valid = read_image_list(d->valid, d->labels, d->classes);
        return;
    }
    int most = s->net->layers[s->outputs.layer[s->outputs.n - 1]].max_boxes;
    if (d->annotations) s->annotations = read_annotations(d->annotations, d->classes);
    s->valid = read_box_list(d->valid, d->classes, most, d->annotations ? &s->annotations : 0);
    announce_empty(d->valid, &s->valid);
}

void open_single(single *s, char *data, char *cfg, char *weights, int threads, single_kind kind)
{
    s->data = read_data_options(data, NEEDS_VALID);
    s->net = parse_strictly(cfg, count_gpus() ? 1 : DEFAULT_PARTS, 0);
    s->outputs = find_outputs(s->net, cfg);
    int detects = is_detector(&s->outputs);
    if (kind != EITHER_KIND && detects != (kind == A_DETECTOR))
        kd_fail("%s: found a %s, expected a %s", cfg, detects ? "detector" : "classifier",
                detects ? "classifier" : "detector");
    check_classes(s->net, &s->outputs, cfg, data, s->data.classes);
    load_whole_weights(s->net, weights, 0);
    if (!on_gpu(s->net)) attach_cores(s->net, &s->outputs, FLOAT32, DEFAULT_PARTS);
    read_valid_list(s, data);
    s->how = (validation){.list = &s->valid,
                          .known = s->data.annotations ? &s->annotations : 0,
                          .map = s->net->layers[s->outputs.layer[s->outputs.n - 1]].map,
                          .is_detector = detects,
                          .top = s->data.top ? s->data.top : 1,
                          .threads = threads,
                          .stop = &stop_signal};
}

void close_single(single *s)
{
    free_annotations(s->annotations);
    detach_cores(s->net);
    free(s->outputs.layer);
    free_network(s->net);
}
