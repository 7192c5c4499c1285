/*
 * From a detector's output to boxes in pixels of the image, and from boxes to
 * COCO's results JSON: what stock's `detector valid` does with eval=coco. It
 * loads no image and runs no network.
 */
#ifndef KD_DETECT_H
#define KD_DETECT_H

#include "math/average_precision.h"
#include "darknet.h"

/* What `detector valid` detects with. */
#define DETECT_THRESHOLD .005
#define DETECT_NMS .45

/*
 * Appends what `net` has found in the image that network_predict has just seen,
 * letterboxed from width x height pixels: one box for each class with a score
 * (objectness times the class's probability) above `threshold` that
 * non-maximum suppression above the IoU `nms` leaves (0: no suppression),
 * clipped to the image; what is empty then is left out. net->batch is 1. Returns
 * 0, with nothing appended, when an output is not finite; else 1.
 */
int detect_boxes(network *net, int width, int height, long image, float threshold, float nms,
                 ap_boxes *list);

/*
 * Writes detections as COCO's results JSON, a list of image_id, category_id,
 * bbox and score. categories: [classes], COCO's id of each class.
 * Numbers have nine digits, enough to read the same float back. The file
 * appears when it is whole; when it can't be written, exits with the reason.
 */
void write_detections(const ap_boxes *list, const int *categories, char *file);

#endif
