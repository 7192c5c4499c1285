/*
 * Average precision as COCO defines it, on plain arrays: what its official
 * evaluation (pycocotools: COCOeval, boxes, areas "all", maxDets 100) says of
 * the same boxes. Where truth boxes come from is annotations.h, where
 * detections come from is detect.h.
 *
 * In each image and class the 100 detections of the highest scores count; in
 * the order of their scores each takes the truth box that it overlaps most, if
 * by at least the threshold and not taken before. Over all images, in the order
 * of the scores: recall and precision after each detection; AP is the mean, at
 * the recalls 0, .01 ... 1, of the best precision at that recall or above.
 *
 * Not here: the sizes small, medium and large, other maxDets, areas above
 * 100,000 x 100,000 pixels (which COCO ignores), and pycocotools' oversight
 * that an annotation with the id 0 can't be found.
 */
#ifndef KD_AVERAGE_PRECISION_H
#define KD_AVERAGE_PRECISION_H

/* A truth box or a detection. */
typedef struct {
    long image;        /* an id; equal for boxes of one image */
    int class;         /* 0 .. classes-1 */
    double x, y, w, h; /* pixels: left, top, width, height */
    double score;      /* of a detection; finite */
    int crowd;         /* of a truth: 1: COCO's iscrowd, a region in which detections count
                          neither way */
} ap_box;

/* A list that grows; all zero is an empty one. The owner frees `boxes`. */
typedef struct {
    ap_box *boxes; /* [n], room for [size] */
    int n, size;
} ap_boxes;

void ap_append(ap_boxes *list, ap_box box);

typedef struct {
    double map50, map; /* AP@.50 and AP@[.50:.95], means over the classes that have truths, 0
                          to 1; 0 if none has */
    double *ap50, *ap; /* [classes]; -1: no truths of this class. free_ap_result */
    int *truths;       /* [classes], crowds left out */
    int classes;
} ap_result;

/*
 * The average precision of detections, whose images are those of the truths or
 * have none. Their order matters only between equal scores: in one image the
 * first of the list comes first, then the image of the lower id. Time: sorting,
 * and for each image and class its detections (at most 100) times its truths.
 * Exits when a class is out of range.
 */
ap_result average_precision(const ap_boxes *truths, const ap_boxes *detections, int classes);
void free_ap_result(ap_result result);

#endif
