/*
 * A detector's label files: one for each image, one box a line, "class x y width height",
 * centre and size as shares of the image. Read once, at the start, and read strictly.
 */
#ifndef KD_LABELS_H
#define KD_LABELS_H

typedef struct {
    float x, y, w, h;
    int class;
} labelled_box;

typedef struct {
    labelled_box *boxes; /* [n] */
    int n;
} image_labels;

/*
 * Reads one label file; free(boxes). An empty file is an image without objects. Boxes that
 * reach beyond the image are clipped, those of negative size, of size 0 or of less than a float
 * can tell are left out, and one line on stderr says of the file how many of each there are,
 * and where the first is. Exits on a line that is not five numbers, a class that is none of 0
 * .. classes-1, a centre outside of the image, and more than `most` boxes.
 */
image_labels read_labels(const char *file, int classes, int most);

#endif
