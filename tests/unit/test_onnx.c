/*
 * Proves of an ONNX detector (net/onnx_network.c; tests/reference/make_grids.py): each of its
 * boxes is, decoded as Darknet decodes a [yolo], what the model wrote, and so are its classes'
 * probabilities; a truth finds the cell of its middle, in the grid of its size.
 * What a classifier learns from one, and bad input: tests/cli/onnx_teacher.t.
 */
#include "detectors.h"

#include "net/onnx_model.h"
#include "net/onnx_network.h"
#include "net/outputs.h"

#define SIDE 64
#define BATCH 2
#define CLASSES 3
#define BOXES 84

static void need_onnx(void)
{
#ifndef ORT
    skip_test("a build without ONNX Runtime");
#endif
}

static const char *model_file(void)
{
    static char path[512];
    const char *root = getenv("ROOT");
    snprintf(path, sizeof(path), "%s/tests/reference/grids.onnx", root ? root : ".");
    return path;
}

static float images[BATCH * 3 * SIDE * SIDE], raw[BATCH][4 + CLASSES][BOXES];

static void run_model(void)
{
    onnx_shape shape;
    onnx_model *m = open_onnx(model_file(), &shape);
    assert_int_equal(shape.c, 3);
    assert_int_equal(shape.rows, 4 + CLASSES);
    assert_int_equal(shape.columns, BOXES);
    for (size_t i = 0; i < sizeof(images) / sizeof(*images); ++i)
        images[i] = rand() / (float)RAND_MAX;
    run_onnx(m, images, BATCH, &raw[0][0][0]);
    close_onnx(m);
}

static float logistic(float x)
{
    return 1 / (1 + expf(-x));
}

static void check_cell(network *net, net_outputs *outputs, prediction p, int k)
{
    const float *logits = output_logits(net, outputs, p.output);
    float(*model)[BOXES] = raw[p.image], best = 0;
    box b = predicted_box(net, outputs, p);
    assert_float_equal(b.x, model[0][k] / SIDE, 1e-5);
    assert_float_equal(b.y, model[1][k] / SIDE, 1e-5);
    assert_float_equal(b.w, model[2][k] / SIDE, 1e-5);
    assert_float_equal(b.h, model[3][k] / SIDE, 1e-5);
    for (int c = 0; c < CLASSES; ++c) {
        assert_float_equal(logistic(logits[p.classes + c * p.stride]), model[4 + c][k], 1e-5);
        best = fmaxf(best, model[4 + c][k]);
    }
    assert_float_equal(logistic(logits[p.objectness]), best, 1e-5);
}

static void test_boxes(void)
{
    need_onnx();
    run_model();
    network *net = make_onnx_network(model_file(), BATCH, &(onnx_form){0});
    net_outputs outputs = find_outputs(net, "grids.onnx");
    network_predict(net, images);
    for (int b = 0; b < BATCH; ++b)
        for (int o = 0, k = 0; o < outputs.n; ++o)
            for (int j = 0; j < 8 >> o; ++j)
                for (int i = 0; i < 8 >> o; ++i, ++k)
                    check_cell(net, &outputs, find_prediction(net, &outputs, o, b, 0, i, j), k);
    free_network(net), free(outputs.layer);
}

static void test_truths(void)
{
    static const struct {
        float side; /* pixels */
        int level, i, j;
    } truths[] = {{20, 0, 5, 2}, {50, 1, 2, 1}, {60, 1, 2, 1}, {100, 2, 1, 0}};
    need_onnx();
    network *net = make_onnx_network(model_file(), BATCH, &(onnx_form){0});
    net_outputs outputs = find_outputs(net, "grids.onnx");
    for (size_t t = 0; t < sizeof(truths) / sizeof(*truths); ++t)
        for (int o = 0; o < outputs.n; ++o) {
            float side = truths[t].side / SIDE;
            prediction p;
            int found =
                assign_box(net, &outputs, o, 0, (box){42. / SIDE, 20. / SIDE, side, side}, &p);
            assert_int_equal(found, o == truths[t].level);
            if (!found) continue;
            assert_int_equal(p.i, truths[t].i);
            assert_int_equal(p.j, truths[t].j);
        }
    free_network(net), free(outputs.layer);
}

int main(void)
{
    static const test_case tests[] = {TEST(test_boxes), TEST(test_truths)};
    start_nets();
    run_tests(tests, COUNT(tests));
    return finish();
}
