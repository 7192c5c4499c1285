"""
The least time that a training step can take on this machine: its operations over the measured
peak of matrix products, and its bytes over the measured speed of copying (floor.c).
README.md says which operations and bytes are counted.
"""
import collections
import json
import math
import re

# Of an image's forward pass: operations, those of the first layer, values that layers put out;
# weights: of the network
Cost = collections.namedtuple("Cost", "operations first outputs weights")
# A second's operations and bytes
Peaks = collections.namedtuple("Peaks", "operations bytes")


def best_peaks(lines):
    """{threads: Peaks} from all lines that floor.c has printed, whenever that was."""
    found = {}
    for one in map(json.loads, lines):
        now = Peaks(one["gemm_gflops"] * 1e9, one["copy_gb_s"] * 1e9)
        found[one["threads"]] = Peaks(*map(max, zip(now, found.get(one["threads"], now))))
    return found


def layer_costs(text):
    """(operations, outputs, weights) of each layer that Darknet printed."""
    outputs = []
    for line in text.split("\n"):
        found = re.match(r" *\d+ (\w+)(.*)", line)
        if not found:
            continue
        name, (left, _, right) = found[1], found[2].partition("->")
        before, after = (list(map(int, re.findall(r"\d+", side))) for side in (left, right))
        weights = operations = 0
        outputs.append(math.prod(after[:3]) if after else outputs[-1])
        if name == "conv":  # filters, height, width, stride, then the input
            weights = before[0] * before[1] * before[2] * before[6]
            operations = 2 * weights * after[0] * after[1]
        elif name == "connected":
            weights = before[0] * after[0]
            operations = 2 * weights
        elif name == "route":  # its sources; of each a part, with groups=
            sources, _, parts = left.partition(" part ")
            outputs[-1] = sum(outputs[int(i)] for i in sources.split()) // \
                int((parts or "1").split()[-1])
        yield operations, outputs[-1], weights


def network_cost(text):
    """From the layers that Darknet printed."""
    operations, outputs, weights = zip(*layer_costs(text))
    return Cost(sum(operations), operations[0], sum(outputs), sum(weights))


def teacher_floor(teacher, batch, peaks):
    """Seconds. What it computes may stay in the cache."""
    return batch * teacher.operations / peaks.operations


def step_floor(step, student, teacher, batch, peaks):
    """Seconds; step: of parts.STEPS."""
    operations = student.operations + step.groups * (2 * student.operations - student.first)
    values = batch * (3 + 2 * step.groups) * student.outputs + \
        2 * (1 + step.groups) * student.weights
    return batch * operations / peaks.operations + 4 * values / peaks.bytes + \
        step.taught * teacher_floor(teacher, batch, peaks)
