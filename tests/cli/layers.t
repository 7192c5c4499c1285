#!/usr/bin/python3 -B
"""Every layer type that distill trains, there and back, in TAP.

Proves, for a student with that layer: it trains to finite weights, which change; they load in
Darknet and are saved again to the byte; the student's cfg and the plain one beside the weights
predict the same with them; and a run that is stopped and resumed ends with the weights of one that
was not. Whether the gradients are right is test_gradients.c's to say. [softmax] is in each of
them; [yolo] and [region] are trained in yolo.t.

To add a layer: a row of `LAYERS`.
"""
import re
import signal

import tap
from tap import CLASSES, student_cfg, test

import numpy as np

PICTURE = "images/valid/class-a-0.png"
FINAL = "backup/student_final.weights"
BATCHES = 60
END = [("avgpool", {}), ("connected", {"output": CLASSES, "activation": "linear"}),
       ("softmax", {})]


def conv(filters=8, stride=1, **options):
    return ("convolutional", {"filters": filters, "size": 3, "stride": stride, "pad": 1,
                              "activation": "leaky", **options})


def deconv(**options):
    return ("deconvolutional", {"filters": 4, "size": 2, "stride": 2, "activation": "leaky",
                                **options})


LAYERS = {
    "[convolutional]": [conv()],
    "[convolutional] batch_normalize": [conv(batch_normalize=1)],
    "[convolutional] groups": [conv(), conv(12, groups=4)],
    "[convolutional] binary": [conv(binary=1)],
    "[convolutional] xnor": [conv(xnor=1, batch_normalize=1)],
    "[deconvolutional]": [conv(stride=2), deconv()],
    "[deconvolutional] batch_normalize": [conv(stride=2), deconv(batch_normalize=1)],
    "[connected]": [("connected", {"output": 20, "activation": "relu"})],
    "[connected] batch_normalize": [("connected", {"output": 20, "activation": "relu",
                                                   "batch_normalize": 1})],
    "[maxpool]": [conv(), ("maxpool", {"size": 2, "stride": 2})],
    "[maxpool] maxpool_depth": [conv(), ("maxpool", {"maxpool_depth": 1, "out_channels": 3})],
    "[local_avgpool]": [conv(), ("local_avgpool", {"size": 3, "stride": 2})],
    "[convolutional] strides, dilation": [conv(stride_y=2), conv(dilation=2, stride_x=2)],
    "[shortcut] of several layers": [conv(), conv(), conv(), ("shortcut", {
        "from": "-2,-3", "weights_type": "per_channel", "weights_normalization": "softmax",
        "activation": "leaky"})],
    "[activation]": [conv(activation="linear"), ("activation", {"activation": "tanh"})],
    "[normalization]": [conv(), ("normalization", {"size": 5})],
    "[l2norm]": [conv(), ("l2norm", {})],
    "[dropout]": [conv(), ("dropout", {"probability": ".3"})],
    "[crop]": [("crop", {"crop_width": 10, "crop_height": 8, "flip": 1}), conv()],
    "[route]": [conv(), conv(4), ("route", {"layers": "-1,-2"})],
    "[shortcut]": [conv(), conv(), ("shortcut", {"from": -2, "activation": "leaky"})],
    "[reorg3d]": [conv(), ("reorg3d", {"stride": 2})],
    "[shuffle]": [conv(), ("shuffle", {"groups": 4}), conv(groups=2)],
    "[local_avgpool] count_padding": [conv(), ("local_avgpool", {
        "size": 3, "stride": 2, "count_padding": 1})],
    "[batchnorm] affine": [conv(activation="linear"), ("batchnorm", {"affine": 1}),
                           ("activation", {"activation": "relu"}), conv()],
    "[reorg]": [conv(), ("reorg", {"stride": 2})],
    "[reorg] reverse": [conv(), ("reorg", {"stride": 2, "reverse": 1})],
    "[upsample]": [conv(stride=2), ("upsample", {"stride": 2})],
    "[logistic]": [conv(), *END[:-1], ("logistic", {}), ("connected", {"output": CLASSES})],
}


def predict(folder, cfg):
    return folder.darknet("classifier", "predict", "deepkd.data", cfg, FINAL,
                          PICTURE).check(0).out


def round_trip(name, layers):
    def run(folder):
        end = END if "connected" not in dict(layers) else END[1:]
        folder.write("student.cfg", student_cfg(layers=[*layers, *end], max_batches=BATCHES))
        folder.distill().check(0)
        weights = folder.read(FINAL)
        folder.darknet("partial", "student.cfg", "", "random.weights", "99").check(0)
        assert np.isfinite(tap.floats(weights)).all(), "not finite"
        assert len(folder.read("random.weights")) == len(weights)
        folder.darknet("partial", "student.cfg", FINAL, "again.weights", "99").check(0)
        assert folder.read("again.weights")[20:] == weights[20:], "loaded and saved: others"
        plain = folder.darknet("deepkd", "export", "student.cfg").check(0).out
        assert plain.encode() == folder.read("backup/student.cfg"), plain
        assert predict(folder, "student.cfg") == predict(folder, "backup/student.cfg")
        for file in folder.names():
            folder.remove(f"backup/{file}")
        folder.distill_until(lambda line: re.match(r"9, .* images/s", line), signal.SIGTERM)
        assert "student_final.weights" not in folder.names(), "it has not been stopped"
        folder.distill("-resume").check(0)
        assert folder.read(FINAL) == weights, "resumed: others"
    test(run, name)


for key, value in LAYERS.items():
    round_trip(key, value)

tap.main()
