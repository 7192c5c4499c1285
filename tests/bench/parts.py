"""What `make bench` measures: pairs of networks, parts, which are tables, and their cases."""
import collections
import os

# options: of [deepkd_loss]; groups: backward passes; taught: whether the teacher runs; student,
# teacher: their precision=, None: not given
Step = collections.namedtuple("Step", "options groups taught student teacher",
                              defaults=[None, None])
STEPS = {
    "task only": Step({"trainer": "sgd", "teacher_weight": "0"}, 1, False),
    "KD": Step({"trainer": "sgd"}, 1, True),
    "DeepKD, two groups": Step({"trainer": "deepkd"}, 2, True),
    "DeepKD, three groups": Step({"trainer": "deepkd", "delta_ncg": "0.05"}, 3, True),
    "task only, precision=auto": Step({"trainer": "sgd", "teacher_weight": "0"}, 1, False, "auto"),
    "KD, precision=auto": Step({"trainer": "sgd"}, 1, True, "auto", "auto"),
    "DeepKD, two groups, precision=auto": Step({"trainer": "deepkd"}, 2, True, "auto", "auto"),
    "KD, auto, teacher int8": Step({"trainer": "sgd"}, 1, True, "auto", "int8"),
    "DeepKD, two groups, auto, teacher int8": Step({"trainer": "deepkd"}, 2, True, "auto", "int8"),
}
ALONE, KD, TWO, THREE, ALONE_AUTO, KD_AUTO, TWO_AUTO, KD_INT8, TWO_INT8 = STEPS
TAUGHT = (KD, TWO, THREE)
# The peer's methods: what they are called, and which steps have the same mathematics, the last one
# the same passes too
PEER_STEPS = {"task": ("task only", [ALONE_AUTO, ALONE]), "kd": ("KD", [KD_INT8, KD_AUTO, KD]),
              "deepkd": ("DeepKD", [TWO_INT8, TWO_AUTO, TWO, THREE])}

# Ways to run the peer: what they are called, and peer_pytorch.py's flags
MODES = {"eager": [], "amp": ["--amp"], "compiled": ["--compile"],
         "compiled amp": ["--amp", "--compile"]}

# student, teacher: cfg files, as seen from BUILD, without their [teacher] and what follows; data: a
# folder of BUILD/data, None: random scenes; size: width and height of both networks' input, None:
# their own; boxes: of an image, 0: a classifier
Pair = collections.namedtuple("Pair", "student teacher data size boxes")
PAIRS = {
    "gemm": Pair("bench/gemm.cfg", "bench/gemm.cfg", "fashion-mnist", None, 0),
    "fmnist": Pair("cfg/fmnist-student-plain.cfg", "cfg/fmnist-teacher.cfg", "fashion-mnist",
                   None, 0),
    "resnet": Pair("cfg/resnet8x4.cfg", "cfg/resnet32x4.cfg", "fashion-mnist", None, 0),
    "scenes": Pair("cfg/scenes-student-plain.cfg", "cfg/scenes-teacher.cfg", "scenes", None, 4),
    "photos": Pair("cfg/fmnist-student-plain.cfg", "cfg/fmnist-teacher.cfg", None, None, 0),
    "yolo": Pair("cfg/yolov3-tiny.cfg", "cfg/yolov3.cfg", None, (416, 416), 8),
    "yolov4-tiny": Pair("cfg/bccd4-student.cfg", "cfg/bccd4-teacher.cfg", None, (224, 160), 12),
}

# pair: of PAIRS; batches: those timed, after the first `skip`
Part = collections.namedtuple("Part", "name pair title classes batch batches skip")
# title, classes; batch, batches and skip on the CPU, and on a GPU, where they last long enough to
# be watched; None: not measured there
PARTS = {
    "gemm": ("Convolutions of 64, 128 and 256 filters at 32x32, task only", 10, (4, 5, 2), None),
    "fmnist": ("Fashion-MNIST pair", 10, (64, 80, 10), (64, 2000, 200)),
    "resnet": ("ResNet-32x4 teaches ResNet-8x4", 100, (64, 5, 1), (64, 400, 50)),
    "scenes": ("Scenes' pair", 10, (16, 30, 5), None),
    "photos": ("Fashion-MNIST pair on photographs", 7, (16, 20, 4), None),
    "yolo": ("YOLOv3 teaches YOLOv3-tiny at 416x416", 80, (1, 3, 1), (16, 100, 20)),
    "yolov4-tiny": ("YOLOv4-tiny's kind at 224x160", 3, (16, 30, 5), None),
}
ON_REQUEST = ("yolo",)  # of the CPU
WITH_GOALS = ("fmnist", "resnet", "scenes", "yolov4-tiny")

# The part `growth`: the Fashion-MNIST pair with each of these batches and classes
GROWTH = [(batch, 10) for batch in (16, 32, 64, 128, 256)] + [(64, 100), (64, 1000)]
GROWTH_BATCHES = 12, 3

# The part `evaluate`: files as seen from BUILD; judge: peer_evaluate.py's flag and its file
Evaluation = collections.namedtuple("Evaluation", "title cfg weights data list judge")
EVALUATIONS = [
    Evaluation("top-1 of Fashion-MNIST's 10,000 images, the demo's teacher",
               "cfg/fmnist-teacher.cfg", "cfg/fmnist-teacher.weights", "cfg/deepkd.data",
               "data/fashion-mnist/valid.list", ["--labels", "data/fashion-mnist/labels.txt"]),
    Evaluation("mAP of 500 scenes, the demo's teacher", "cfg/scenes-teacher.cfg",
               "cfg/scenes-teacher.weights", "cfg/scenes.data", "data/scenes/val.list",
               ["--annotations", "data/scenes/annotations/instances_val.json"]),
]

# build: BUILD or another; cores: of the CPU that it may use, 0: all; step: of STEPS
Ours = collections.namedtuple("Ours", "title build cores step")
Peer = collections.namedtuple("Peer", "title mode method cores step")


def limited(args, batch, batches, skip):
    """batch, batches, skip with --batches, in whole intervals."""
    if not args.batches:
        return batch, batches, skip
    batches = -(-args.batches // args.interval) * args.interval
    return batch, batches, min(skip, batches)


def all_parts(args):
    """{name: its Parts}: one, or of `growth` several, whose cases take turns."""
    found = {}
    for name, (title, classes, on_cpu, on_gpu) in PARTS.items():
        size = on_gpu if args.gpu else on_cpu
        if size and (name != "gemm" or args.stock):
            found[name] = [Part(name, name, title, classes, *limited(args, *size))]
    if not args.gpu:
        found["decode"] = found["evaluate"] = []  # no training: measure_decoding and _evaluation
        found["growth"] = [Part(f"growth-{batch}-{classes}", "fmnist", PARTS["fmnist"][0], classes,
                                *limited(args, batch, *GROWTH_BATCHES))
                           for batch, classes in GROWTH]
    return found


def default_parts(args):
    return [name for name in all_parts(args) if args.gpu or name not in ON_REQUEST]


def switches(build):
    """Those of a build that are on, as in "BLAS=1 CJSON=1"."""
    with open(os.path.join(build, ".switches"), encoding="utf-8") as file:
        return " ".join(word for word in file.read().split() if not word.endswith("=0"))


def ours(args, titles, build=None, cores=None, form="{}"):
    return [Ours(form.format(title), build or args.build, cores or args.cores, STEPS[title])
            for title in titles]


def peers(args):
    return [Peer(f"PyTorch {mode}, {title}", mode, method, args.cores, STEPS[steps[-1]])
            for mode in args.modes for method, (title, steps) in PEER_STEPS.items()]


def cases_of(args, part):
    """The first one is what the others are compared with."""
    if part.name == "gemm":
        return [Ours("Darknet's loops", args.stock, 1, STEPS[ALONE]),
                Ours("this build", args.build, 1, STEPS[ALONE])]
    if part.name == "photos":
        before = ours(args, (KD,), args.baseline, form="before: {}") if args.baseline else []
        return before + ours(args, (KD,))
    if part.name.startswith("growth"):
        return ours(args, TAUGHT)
    cases = ours(args, STEPS)
    if args.baseline:
        cases += ours(args, (ALONE, KD, TWO, THREE), args.baseline, form="before: {}")
    elif args.cores > 1 and part.name in WITH_GOALS:
        cases += ours(args, (KD, TWO), cores=1, form="{}, 1 core")
    return cases + peers(args)
