/*
 * A network of another framework: an ONNX file, run on the CPU by ONNX Runtime (ORT=1). Of
 * Darknet it knows nothing.
 */
#ifndef KD_ONNX_MODEL_H
#define KD_ONNX_MODEL_H

typedef struct onnx_model onnx_model;

/* Of one image: what goes in, [c][h][w], and what comes out, [rows] or [rows][columns] */
typedef struct {
    int c, h, w;
    int rows, columns; /* columns: 0 where the output has none */
} onnx_shape;

/*
 * Opens the file and sets *shape. The caller closes it. Exits naming the file where there is no
 * ONNX Runtime, where it can't read the file, and unless the model has one input of float32,
 * [batch, c, h, w], and one output of float32, [batch, rows] or [batch, rows, columns], all of
 * them fixed but the batch, which is any or 1.
 */
onnx_model *open_onnx(const char *file, onnx_shape *shape);

/* The outputs of n images, [n][c][h][w], to out, [n][rows][columns]; exits when it fails. */
void run_onnx(onnx_model *m, float *images, int n, float *out);

void close_onnx(onnx_model *m);

#endif
