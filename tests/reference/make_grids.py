#!/usr/bin/python3
"""Writes grids.onnx: a detector of random weights whose output is as YOLOv8's, for test_onnx.c.

64 x 64 pixels, 3 classes; [batch, 4 + 3, 84], of 8 x 8, 4 x 4 and 2 x 2 cells. The sizes are up to
half of the image, the middles anywhere in it.

    PYTHONPATH=build/python /usr/bin/python3 make_grids.py [FILE]
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, CELLS = 64, 3, (8, 16, 32)
OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "grids.onnx")


def main():
    random = np.random.default_rng(3)
    nodes, constants = [], []

    def constant(name, values, dtype):
        constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    for cell in CELLS:
        nodes += [
            helper.make_node("AveragePool", ["images"], [f"mean{cell}"], kernel_shape=[cell, cell],
                             strides=[cell, cell]),
            helper.make_node("Conv", [f"mean{cell}", constant(
                f"w{cell}", 6 * random.standard_normal((4 + CLASSES, 3, 1, 1)), "f4")],
                             [f"out{cell}"]),
            helper.make_node("Reshape", [f"out{cell}", constant(
                f"form{cell}", [0, 4 + CLASSES, (SIDE // cell) ** 2], "i8")], [f"grid{cell}"])]
    scale = np.reshape([SIDE, SIDE, SIDE / 2, SIDE / 2] + [1] * CLASSES, (1, -1, 1))
    nodes += [
        helper.make_node("Concat", [f"grid{cell}" for cell in CELLS], ["all"], axis=2),
        helper.make_node("Sigmoid", ["all"], ["shares"]),
        helper.make_node("Mul", ["shares", constant("scale", scale, "f4")], ["output0"])]
    boxes = sum((SIDE // cell) ** 2 for cell in CELLS)
    graph = helper.make_graph(
        nodes, "grids",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT,
                                       ["batch", 4 + CLASSES, boxes])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, OUT)


main()
