/*
 * Shapes that stand for many boxes: a detector's anchors, from its training boxes. Only widths
 * and heights matter, as if all boxes had one centre. No files and no networks.
 *
 * YOLOv2 (arXiv 1612.08242, section 2, "Dimension Clusters") takes k-means with the distance
 * 1 - IoU, so that small boxes count as much as large ones. Here a centre moves to the median
 * of its boxes' widths and heights, not to the mean: 1 - IoU is nearly the sum of both sides'
 * relative differences, without squares, and what makes such a sum least is a median. On what
 * we tried, the best of 20 starts has .06 to .5 points more (docs/detectors.md).
 */
#ifndef KD_SHAPES_H
#define KD_SHAPES_H

/* Sizes are counted in these parts of a pixel: whole numbers, whose products are exact in a
 * double, so that every processor and compiler gets the same shapes. */
#define SHAPE_PARTS 16
#define MOST_SHAPES 100

/*
 * The k shapes, whole pixels, that fit n boxes best, and their mean IoU with them.
 * sizes: [n][2] widths and heights in 1/SHAPE_PARTS pixels, 1 to 65535 pixels; shapes: [k][2]
 * in pixels, at least 1, by area, then width. k: 1 to MOST_SHAPES, no more than
 * count_sizes(sizes, n). The order of the boxes does not matter, and there is no randomness in
 * it: the best of thirty fixed starts, then pixel by pixel while that helps. Time: n k, some
 * thousand times at most.
 */
double find_shapes(const int *sizes, int n, int k, int *shapes);

/* The mean over the boxes of the IoU with the shape that fits each best, 0 to 1; n > 0. */
double mean_best_iou(const int *sizes, int n, const int *shapes, int k);

/* How many different sizes there are, rounded to whole pixels, as shapes are. */
int count_sizes(const int *sizes, int n);

#endif
