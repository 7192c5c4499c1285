#!/usr/bin/python3 -B
"""Detectors of YOLOv3's, YOLOv4's and YOLOv7's kind, judged by OpenCV's DNN module, in TAP.

Proves: for small nets with the layers and keys that those cfgs have, and random weights, this
build's library and OpenCV, which reads the same cfg and weights, find the same boxes and the same
probabilities. (Objectness of a new_coords head is another column in OpenCV 4.6: there, boxes and
probabilities alone are compared.) A build that no other program can load skips it.
"""
import multiprocessing
import os

import tap
from small_nets import FAMILIES, SIZE, Network, need_library, write_cfg, write_weights
from tap import test

import numpy as np

CLOSE = 1e-4  # relative, of numbers that are .01 and more


def find_ours(folder, images):
    return Network(folder.at("net.cfg"), folder.at("net.weights")).boxes(images, 3)


def find_theirs(cv2, folder, images):
    net = cv2.dnn.readNetFromDarknet(folder.at("net.cfg"), folder.at("net.weights"))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setInput(images)
    return np.concatenate([head.reshape(-1, head.shape[-1])
                           for head in net.forward(net.getUnconnectedOutLayersNames())])


def compare(cv2, folder):
    """In a process of its own, for the library prints what it likes."""
    for number, name in ((1, "/dev/null"), (2, folder.at("log"))):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    for seed, (name, layers) in enumerate(FAMILIES.items()):
        draw = np.random.default_rng(seed)
        write_cfg(folder, layers)
        write_weights(folder, layers, draw)
        images = draw.uniform(0, 1, (1, 3, SIZE, SIZE)).astype("f4")
        ours, theirs = find_ours(folder, images), find_theirs(cv2, folder, images)
        assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
        error = np.abs(ours - theirs) / np.maximum(np.abs(theirs), .01)
        error[theirs == 0] = 0  # OpenCV leaves out what is below its threshold
        if any("new_coords" in options for _, options in layers):
            error[:, 4] = 0
        assert (theirs[:, 5:] > .2).any() and theirs[:, :4].std() > .05, f"{name}: says nothing"
        assert error.max() < CLOSE, f"{name}: {error.max()} at {error.argmax()}"


@test
def families(folder):
    """small detectors of seven kinds: the boxes and probabilities that OpenCV finds"""
    try:
        import cv2  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise tap.missing("python3-opencv") from None
    need_library()
    child = multiprocessing.Process(target=compare, args=(cv2, folder))
    child.start()
    child.join()
    assert child.exitcode == 0, folder.read("log")[-1000:].decode()


tap.main()
