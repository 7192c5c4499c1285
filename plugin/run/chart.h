/*
 * The live chart of a run, as Darknet's users know it: the loss and, where they are evaluated,
 * mAP or top-1 accuracy over the batches. It needs OPENCV=1; without it nothing is drawn here,
 * and scripts/plot.py draws the CSV file.
 */
#ifndef KD_CHART_H
#define KD_CHART_H

typedef struct chart chart;

#ifdef OPENCV
#ifdef __cplusplus
extern "C" {
#endif

/* A chart of the CSV file that log.c writes, with the rows that it has already. */
chart *make_chart(const char *csv_file);

/*
 * Reads the rows that the file has gained and draws them, but not twice a second, nor in more
 * than a fiftieth of the time: into chart.png of the working directory, whose place a new one
 * takes at once, and, with `show` and a display, into a window. Failing, it goes on without.
 */
void update_chart(chart *c, long max_batches, int show);

/* Draws what has not been drawn yet. */
void free_chart(chart *c);

#ifdef __cplusplus
}
#endif
#else
static inline chart *make_chart(const char *csv_file)
{
    (void)csv_file;
    return 0;
}

static inline void update_chart(chart *c, long max_batches, int show)
{
    (void)c, (void)max_batches, (void)show;
}

static inline void free_chart(chart *c)
{
    (void)c;
}
#endif

#endif
