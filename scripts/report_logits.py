"""Figures of scripts/report.py from what `darknet deepkd logits` has written: logits of the
validation list, of the teacher and, as NAME_logits.npy beside NAME.csv, of students.

This is a module; scripts/report.py is the command.
"""
import numpy as np

from oneline import InputError
from plot import COLOURS, plt
from report_runs import Part, draw_band, find_beside, finish, is_taught, start

MARKERS = "osD^v<>P*X"
MOST_NAMED = 20  # classes whose names have room
SHOWN, IMAGES = 10, 60  # classes, and images of each, in the figure of principal components


# Reading

def read_logits(path):
    """An array with the fields target and logits."""
    try:
        found = np.load(path)
        found["logits"].shape[1], found["target"].shape[0]
    except (ValueError, KeyError, IndexError, TypeError, EOFError) as error:
        raise InputError(f"{path}: found no logits, expected a file of `darknet deepkd logits`"
                         ) from error
    return found


def read_like(path, other, other_path):
    """The same, of the same images and classes as another file's."""
    found = read_logits(path)
    for what, one, two in (("images", len(found), len(other)),
                           ("classes", *(x["logits"].shape[1] for x in (found, other)))):
        if one != two:
            raise InputError(f"{path}: found {one} {what}, expected {two}, as in {other_path}")
    if (found["target"] != other["target"]).any():
        raise InputError(f"{path}: found another validation list, expected that of {other_path}")
    return found


def read_teacher(given):
    return read_logits(given.teacher) if given.teacher and not given.truth else None


def read_students(given):
    """[(method, [logits of each run that has them])], of methods that have some."""
    first, teacher, found = given.teacher, read_teacher(given), []
    for method in given.methods:
        runs = []
        for path in filter(None, (find_beside(file, "_logits.npy") for file in method.files)):
            runs.append(read_logits(path) if teacher is None else read_like(path, teacher, first))
            if teacher is None:
                first, teacher = path, runs[0]
        if runs:
            found.append((method, runs))
    return found


def class_names(given, classes):
    if given.names and len(given.names) != classes:
        raise InputError(f"--names: found {len(given.names)} names, expected {classes} classes")
    return given.names or [str(i) for i in range(classes)]


def softmax(logits, temperature=1):
    scaled = logits.astype(float) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# Figures

def draw_confidence(given):
    teacher = read_teacher(given)
    if teacher is None:
        return None
    own = softmax(teacher["logits"])[range(len(teacher)), teacher["target"]]
    figure, (axes,) = start(1, 8)
    axes.hist(own, bins=np.linspace(0, 1, 41), weights=np.full(len(own), 100 / len(own)),
              color=COLOURS[0], edgecolor="white")
    axes.set(xlabel="the teacher's probability of the image's own class", ylabel="images, % of all",
             yscale="log", xlim=(0, 1), axisbelow=True)
    axes.yaxis.set_major_formatter("{x:g}")
    figure.tight_layout()
    return figure


def kept_shares(teacher, temperature):
    """[K] of the other classes' probability, at this temperature, the mean share that the K most
    probable of them have; [0] is 0."""
    images = np.arange(len(teacher))
    others = softmax(teacher["logits"], temperature)
    others[images, teacher["target"]] = 0
    others /= others.sum(1, keepdims=True)
    kept = np.cumsum(-np.sort(-others, 1), 1).mean(0)
    return np.concatenate(([0], kept[:-1]))


def draw_kept(given):
    teacher = read_teacher(given)
    if teacher is None:
        return None
    shares = kept_shares(teacher, given.temperature)
    figure, (axes,) = start(1, 8)
    for method in given.methods:
        curves = [one.values["k"] for one in method.runs if is_taught(one)]
        for path, (_, k) in zip(method.files, curves):
            if k.max(initial=0) >= len(shares):
                raise InputError(f"{path}: found K={k.max():g}, expected at most "
                                 f"{len(shares) - 1}, by the classes of {given.teacher}")
        draw_band(axes, method, [(at, shares[k.astype(int)]) for at, k in curves], 100)
    axes.set(ylabel=f"kept, % (T = {given.temperature:g})", ylim=(0, 104))
    return finish(figure, [axes])


def accuracies(runs):
    """[classes] in %, the mean over the runs; of a class without images not a number."""
    right = np.mean([one["logits"].argmax(1) == one["target"] for one in runs], 0)
    target = runs[0]["target"]
    return np.array([100 * right[target == j].mean() if (target == j).any() else np.nan
                     for j in range(runs[0]["logits"].shape[1])])


def draw_classes(given):
    students = read_students(given)
    if not students:
        return None
    found = [(method, accuracies(runs)) for method, runs in students]
    first = next((row for method, row in found if method is given.baseline), found[0][1])
    order, names = np.argsort(first, kind="stable"), class_names(given, len(first))
    is_named = len(order) <= MOST_NAMED
    figure, (axes,) = start(1, 11)
    for i, (method, row) in enumerate(found):
        axes.plot(row[order], MARKERS[i] if is_named else method.dashes, color=method.colour,
                  label=method.name, markersize=7, alpha=.8)
    axes.set(xlabel="" if is_named else "classes, the first method's worst first",
             ylabel="images right, %")
    if is_named:
        axes.set_xticks(range(len(order)), [names[j] for j in order], rotation=30, ha="right")
    return finish(figure, [axes])


def mean_logits(found):
    """[image's class][class]: the mean logit above the image's mean one."""
    rows = found["logits"] - found["logits"].mean(1, keepdims=True)
    classes = rows.shape[1]
    return np.array([rows[found["target"] == j].mean(0) if (found["target"] == j).any()
                     else np.full(classes, np.nan) for j in range(classes)])


def correlations(found):
    """[class][class]: how their logits go together over the images."""
    return np.corrcoef(found["logits"].astype(float), rowvar=False)


def draw_difference(given):
    """A column for each student's first run: how far logits and correlations are from the
    teacher's."""
    teacher, students = read_teacher(given), read_students(given)
    if teacher is None or not students:
        return None
    figure, grid = plt.subplots(2, len(students), squeeze=False, layout="constrained",
                                figsize=(1.5 + 3.6 * len(students), 7))
    for axes, what, label in zip(grid, (mean_logits, correlations), ("logit", "correlation")):
        apart = [np.abs(what(runs[0]) - what(teacher)) for _, runs in students]
        highest = max(np.nanmax(one) for one in apart)
        for place, (method, _), one in zip(axes, students, apart):
            shown = place.imshow(one, cmap="cividis_r", vmin=0, vmax=highest)
            place.set_title(f"{method.name}: mean {np.nanmean(one):.3f}")
            place.grid(False)
            place.set_xlabel("class")
        axes[0].set_ylabel("image's class" if what is mean_logits else "class")
        figure.colorbar(shown, ax=axes, label=f"|{label} − the teacher's|", shrink=.9)
    return figure


def principal(logits):
    """[images][2] along the two directions in which they differ most, and their share of the
    variance."""
    rows = logits - logits.mean(0)
    _, sizes, ways = np.linalg.svd(rows, full_matrices=False)
    return rows @ ways[:2].T, (sizes[:2] ** 2).sum() / (sizes ** 2).sum()


def draw_principal(given):
    teacher, students = read_teacher(given), read_students(given)
    clouds = ([("the teacher", teacher)] if teacher is not None else []) + [
        (method.name, runs[0]) for method, runs in students]
    if not clouds:
        return None
    names = class_names(given, clouds[0][1]["logits"].shape[1])
    columns = min(3, len(clouds))
    rows = -(-len(clouds) // columns)
    figure, grid = plt.subplots(rows, columns, squeeze=False, figsize=(4.6 * columns, 4.4 * rows))
    for place in grid.flat[len(clouds):]:
        place.set_axis_off()
    for axes, (title, found) in zip(grid.flat, clouds):
        places, share = principal(found["logits"].astype(float))
        for j in range(min(SHOWN, len(names))):
            those = places[found["target"] == j][:IMAGES]
            if len(those):
                axes.plot(*those.T, MARKERS[j], color=COLOURS[j % len(COLOURS)], markersize=3,
                          alpha=.6)
                axes.annotate(names[j], np.median(those, 0), ha="center", fontsize=8, weight="bold",
                              bbox={"facecolor": "white", "alpha": .7, "pad": 1, "linewidth": 0})
        axes.set(title=f"{title}: {100 * share:.0f} % of the variance", xticks=[], yticks=[])
    figure.tight_layout()
    return figure


PARTS = (
    Part("kept", "What the mask keeps", "How much of the teacher's probability of the other "
         "classes those K have that the mask keeps in each batch, by its logits of the validation "
         "list.", draw_kept),
    Part("confidence", "The teacher's confidence", "Images of the validation list by the teacher's "
         "probability, at T = 1, of their own class.", draw_confidence),
    Part("classes", "Classes", "Images right of each class, means over the runs, by the logits of "
         "the validation list; the baseline's worst class first.", draw_classes),
    Part("difference", "Distance to the teacher", "Above: how far the mean logits of each class's "
         "images, each image's mean taken out, are from the teacher's. Below: how far the "
         "correlations of the classes' logits over all images are. Each method's first run.",
         draw_difference),
    Part("principal", "Logits in a plane", "The logits' first two principal components, each "
         f"network's own; at most {IMAGES} images of each of the first {SHOWN} classes. Each "
         "method's first run.", draw_principal),
)
