"""Figures of scripts/report.py from what `darknet deepkd landscape` has written beside NAME.csv, as
NAME_landscape.csv: the loss around a network's weights.

This is a module; scripts/report.py is the command.
"""
import csv

import numpy as np

from oneline import InputError
from plot import number, plt
from report_runs import Part, find_beside

LEVELS = 12


def read_landscape(path):
    """x [n], y [n] and loss [y][x]"""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
    if (reader.fieldnames or [])[:3] != ["x", "y", "loss"]:
        raise InputError(f"{path}: found no columns x,y,loss, expected a file of `darknet deepkd "
                         "landscape`")
    rows = np.array([[number(path, i, key, line[key] or "") for key in ("x", "y", "loss")]
                     for i, line in enumerate(lines, 2)])
    side = round(len(lines) ** .5)
    if side ** 2 != len(lines) or side % 2 == 0 or side < 5:
        raise InputError(f"{path}: found {len(lines)} points, expected a whole grid")
    return rows[:side, 0], rows[::side, 1], rows[:, 2].reshape(side, side)


def sharpness(loss):
    """As plugin/math/plane.h has it"""
    centre = len(loss) // 2
    reach = slice(centre - centre // 2, centre + centre // 2 + 1)
    inner, lowest = loss[reach, reach], loss[centre, centre]
    return 100 * (inner.max() - lowest) / (1 + lowest) if np.isfinite(inner).all() else np.inf


def draw_landscapes(given):
    """A row for each method's first run that has one: contours and surface."""
    found = [(method.name, read_landscape(path)) for method in given.methods
             for path in [find_beside(method.files[0], "_landscape.csv")] if path]
    if not found:
        return None
    finite = np.concatenate([loss[np.isfinite(loss)] for _, (_, _, loss) in found])
    lowest = max(finite.min(), 1e-6)
    highest = max(finite.max(), 1.01 * lowest)
    levels = np.geomspace(lowest, highest, LEVELS)
    figure = plt.figure(figsize=(11, 4.6 * len(found)), layout="constrained")
    for i, (name, (x, y, loss)) in enumerate(found):
        shown = np.clip(np.where(np.isfinite(loss), loss, highest), lowest, highest)
        flat = figure.add_subplot(len(found), 2, 2 * i + 1)
        lines = flat.contour(x, y, shown, levels, colors="black", linewidths=.7)
        flat.contourf(x, y, np.log(shown), np.log(levels), cmap="cividis", alpha=.8, extend="both")
        flat.clabel(lines, fmt="%.3g", fontsize=7)
        flat.plot(0, 0, "+", color="white", markersize=10)
        flat.set(title=f"{name}: loss {loss[len(y) // 2, len(x) // 2]:.3f}, sharpness "
                 f"{sharpness(loss):.4g} %", xlabel="first direction", ylabel="second direction",
                 aspect="equal")
        deep = figure.add_subplot(len(found), 2, 2 * i + 2, projection="3d")
        deep.plot_surface(*np.meshgrid(x, y), np.log(shown), cmap="cividis", linewidth=.2,
                          edgecolor="black", rstride=1, cstride=1,
                          vmin=np.log(lowest), vmax=np.log(highest))
        deep.set(zlim=np.log((lowest, highest)), zlabel="log loss", xticks=(x[0], 0, x[-1]),
                 yticks=(y[0], 0, y[-1]))
    return figure


PARTS = (
    Part("landscape", "Loss around the weights", "Along two random directions of each filter's own "
         "norm, by `darknet deepkd landscape`; the same levels in all. Each method's first run.",
         draw_landscapes),
)
