#!/usr/bin/python3
"""Shows runs of `darknet distill` in TensorBoard: makes event files of their CSV files.

    scripts/to_tensorboard.py FOLDER|RUN.csv [...] -o DIR [--follow]
    tensorboard --logdir DIR

FOLDER is searched for backup/<student>.csv, at any depth, and the NAME_gsnr.csv beside it. Each run
gets a folder of its own in DIR, named as its path is from where all of them are. Steps are batches;
scalars have the columns' names. With --follow it goes on as rows come, until the runs end (their
NAME.lock goes) or Ctrl-C; begin it when they have begun.

The files are written by TensorBoard's own Python package, which whoever looks at them has anyway.
"""
import argparse
import csv
import os
import sys
import time

from imagelist import InputError, run
from plot import number
from report_runs import find_files

# where scripts/deps.sh puts tensorboard; searched last
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                             "build", "python"))

POLL = 2  # seconds


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="FOLDER|RUN.csv", nargs="+")
    parser.add_argument("-o", "--out", required=True, metavar="DIR")
    parser.add_argument("--follow", action="store_true", help="go on until the runs have ended")
    return parser.parse_args()


def import_tensorboard():
    """The writer of event files, and what it is given."""
    try:
        # pylint: disable=import-outside-toplevel
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise InputError(f"no tensorboard ({error}); to install, type: scripts/deps.sh install "
                         "tensorboard") from error
    return EventFileWriter, Event, Summary


def scalars(line):
    """[(tag, text)] of a row of NAME.csv, or NAME_gsnr.csv"""
    if "component" in line:
        skipped = ("batch", "layer", "component")
        where = line["component"] + ("" if line["layer"] == "-1" else f"/layer {line['layer']}")
        return [(f"{key}/{where}", text) for key, text in line.items()
                if key not in skipped and text]
    return [("valid/" + key[6:] if key.startswith("valid_") else "train/" + key, text)
            for key, text in line.items() if key != "batch" and text]


class Table:
    """A CSV file that may grow, or come to be."""

    def __init__(self, path):
        self.path, self.read, self.lines, self.columns = path, 0, 0, None

    def go_on(self, is_over):
        """[(batch, [(tag, number)])] of the whole lines that are new; is_over: no more come."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, "rb") as file:
            if os.fstat(file.fileno()).st_size < self.read:
                raise InputError(f"{self.path}: found another run's, expected what it was; begin "
                                 "again with another -o")
            file.seek(self.read)
            text, _, rest = file.read().rpartition(b"\n")
        self.read += len(text) + bool(text)
        found = [self.take(cells) for cells in csv.reader(text.decode().splitlines())]
        if rest and is_over:
            raise InputError(f"{self.path}: line {self.lines + 1}: found no end of the line, "
                             "expected a whole CSV file")
        return list(filter(None, found))

    def take(self, cells):
        self.lines += 1
        if not self.columns:
            self.columns = cells
            if cells[0] != "batch":
                raise InputError(f"{self.path}: found no column batch, expected a CSV file of "
                                 "darknet distill")
            return None
        if len(cells) != len(self.columns):
            raise InputError(f"{self.path}: line {self.lines}: found {len(cells)} columns, "
                             f"expected {len(self.columns)}")
        line = dict(zip(self.columns, cells))
        step = number(self.path, self.lines, "batch", line["batch"])
        return int(step), [(tag, number(self.path, self.lines, tag, text))
                           for tag, text in scalars(line)]


def run_names(paths):
    """{path of NAME.csv: the run's folder}: where it is from where all are, without backup/"""
    above = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = {}
    for path in paths:
        parts = os.path.relpath(os.path.splitext(os.path.abspath(path))[0], above).split(os.sep)
        names[path] = os.path.join(*[part for part in parts if part != "backup"])
    return names


def find_tables(paths, out):
    """[(Table, folder of its events)] of the runs and what gsnr_interval= has measured of them."""
    found = []
    for path, name in run_names(paths).items():
        folder = os.path.join(out, name)
        if os.path.isdir(folder) and any("tfevents" in file for file in os.listdir(folder)):
            raise InputError(f"{folder}: found event files, expected none: another -o")
        found += [(Table(file), folder)
                  for file in (path, os.path.splitext(path)[0] + "_gsnr.csv")]
    return found


def main():
    args = arguments()
    make_writer, make_event, summary = import_tensorboard()
    paths = find_files(args.runs)
    tables, writers, rows, is_over = find_tables(paths, args.out), {}, 0, False
    try:
        while not is_over:
            is_over = not args.follow or not any(
                os.path.exists(os.path.splitext(path)[0] + ".lock") for path in paths)
            for folder, found in [(folder, table.go_on(is_over)) for table, folder in tables]:
                writer = writers.get(folder) or writers.setdefault(folder, make_writer(folder))
                for step, values in found:
                    writer.add_event(make_event(wall_time=time.time(), step=step, summary=summary(
                        value=[summary.Value(tag=tag, simple_value=value)
                               for tag, value in values])))
                writer.flush()
                rows += len(found)
            time.sleep(0 if is_over else POLL)
    finally:
        for writer in writers.values():
            writer.close()
    print(f"wrote {args.out}: {len(paths)} runs, {rows} rows")


if __name__ == "__main__":
    run(main, "what had come is written")
