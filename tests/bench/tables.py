"""The tables that `make bench` prints, from what its rounds gave; README.md has them."""
import collections
import operator
import statistics

import parts
from parts import ALONE, KD, KD_AUTO, KD_INT8, PEER_STEPS, THREE, TWO, TWO_AUTO, TWO_INT8, Peer

# seconds: of a step; use: of the GPU, per cent; memory: MiB at most, of the GPU or of the process;
# waited: for data, per cent of the training's time; None: unknown
Result = collections.namedtuple("Result", "seconds use memory waited")
# Of a part's rounds: cases: {title: its case}; results: {title: [Result]}; floors: {title:
# seconds}; teacher: seconds, its forward pass's; {} and None where no peaks were measured
Outcome = collections.namedtuple("Outcome", "part cases results floors teacher")
# text: such as "at most"; reaches: of a value and the bound
Goal = collections.namedtuple("Goal", "text bound reaches")
# values: one a round; none: not measured
Measure = collections.namedtuple("Measure", "title goal values")


def at_most(bound):
    return Goal("at most", bound, operator.le)


def at_least(bound):
    return Goal("at least", bound, operator.ge)


PEER_GOALS = {("eager", KD): at_most(.6), ("eager", TWO): at_most(.6),
              ("fastest", KD_AUTO): at_most(.7), ("fastest", TWO_AUTO): at_most(.6),
              ("fastest", KD_INT8): at_most(.7), ("fastest", TWO_INT8): at_most(.6)}


def seconds_of(outcome, title):
    return [result.seconds for result in outcome.results.get(title, ())]


def over(tops, bottoms):
    """The ratio of each round; none when one of them was not measured."""
    return [top / bottom for top, bottom in zip(tops, bottoms)]


def known(values):
    return [value for value in values if value is not None]


def median_or_dash(values, digits=0):
    values = known(values)
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


# A part's table

def row(args, outcome, title):
    """One of a part's table."""
    found, seconds = outcome.results[title], seconds_of(outcome, title)
    median = statistics.median(seconds)
    rate = outcome.part.batch / median
    ratios = over(seconds, seconds_of(outcome, next(iter(outcome.cases))))
    cells = [title, f"{1000 * median:.1f}", f"{rate:.{int(rate < 10)}f}",
             *(f"{value:.2f}" for value in (statistics.median(ratios), min(ratios), max(ratios)))]
    if args.gpu:
        cells.append(median_or_dash([result.use for result in found]))
    else:
        floor = outcome.floors.get(title)
        cells += [f"{1000 * floor:.1f}", f"{median / floor:.2f}"] if floor else ["-", "-"]
        cells.append(median_or_dash([result.waited for result in found], 1))
    return [*cells, median_or_dash([result.memory for result in found])]


def table(lines):
    """Of lists of cells; the first line is the head."""
    head, *body = ("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n".join([head, "|---|" + "---:|" * (len(lines[0]) - 1), *body])


def part_table(args, outcome):
    part = outcome.part
    more = ["GPU use, %"] if args.gpu else ["floor, ms", "time / floor", "waiting, %"]
    head = [f"{part.title}, batch {part.batch}", "ms a step", "images/s", "relative time", "least",
            "greatest", *more, "peak MiB"]
    return table([head] + [row(args, outcome, title) for title in outcome.results])


# What is said of it below, and in the table of goals

def against_peers(outcome):
    """Each step of ours against the peers with its mathematics: the eager one, and the fastest."""
    for method, (name, steps) in PEER_STEPS.items():
        titles = {case.mode: title for title, case in outcome.cases.items()
                  if isinstance(case, Peer) and case.method == method}
        if titles:
            titles["fastest"] = min(titles.values(), key=lambda title: statistics.median(
                seconds_of(outcome, title)))
        for mode in [mode for mode in ("eager", "fastest") if mode in titles]:
            for own in steps:
                yield Measure(f"{own} / PyTorch {mode}, {name}", PEER_GOALS.get((mode, own)),
                              over(seconds_of(outcome, own), seconds_of(outcome, titles[mode])))


def measures(outcome):
    """Of a pair of networks, in the order of the tables."""
    times = {title: seconds_of(outcome, title) for title in outcome.cases}
    teacher = [kd - alone for alone, kd in zip(times[ALONE], times[KD])]
    waited = known(result.waited for result in outcome.results[KD])
    yield Measure("the teacher's share of a KD step, 1 - task only / KD", None,
                  over(teacher, times[KD]))
    yield Measure(f"{TWO} / {KD}", at_most(1.15), over(times[TWO], times[KD]))
    yield Measure(f"{THREE} / {KD}", at_most(1.3), over(times[THREE], times[KD]))
    yield from against_peers(outcome)
    yield Measure("teacher's forward pass (KD - task only) / its floor", at_most(1.5),
                  [one / outcome.teacher for one in teacher if outcome.teacher])
    for name in [name for name in (KD, TWO) if f"{name}, 1 core" in times]:
        yield Measure(f"{name}, 1 core / {outcome.cases[name].cores} cores", at_least(1.85),
                      over(times[f"{name}, 1 core"], times[name]))
    yield Measure(f"{KD}: waiting for data, % of the time", at_most(2), waited)
    for before in [title for title in outcome.cases if title.startswith("before: ")]:
        own = before.removeprefix("before: ")
        yield Measure(f"{own}, now / before", None, over(times[own], times[before]))


def all_measures(outcome):
    """Also of `gemm` and `photos`, where this build is the second case, if there are two."""
    if outcome.part.name not in ("gemm", "photos"):
        return list(measures(outcome))
    times = [seconds_of(outcome, title) for title in outcome.cases]
    if len(times) < 2:
        return []
    return [Measure("this build is faster by the factor", None, over(*times))]


def has_goals(args, outcome):
    return not args.gpu and outcome.part.name in parts.WITH_GOALS


def summary(args, outcome):
    """The lines below a part's table: what has no goal."""
    return "\n".join(f"- {measure.title}: {spread(measure.values)}"
                     for measure in all_measures(outcome)
                     if measure.values and not (measure.goal and has_goals(args, outcome)))


def goal_cell(measure):
    if not measure or not measure.values:
        return "-"
    reached = measure.goal.reaches(statistics.median(measure.values), measure.goal.bound)
    return f"{spread(measure.values)}, {'reached' if reached else 'missed'}"


def goals_table(args, outcomes):
    """A line for each measure that has a goal, a column for each part; or nothing."""
    columns = [outcome for outcome in outcomes if has_goals(args, outcome)]
    found = [{measure.title: measure for measure in all_measures(outcome) if measure.goal}
             for outcome in columns]
    titles = {title: measure.goal for column in found for title, measure in column.items()}
    head = ["measure", "goal", *(f"{outcome.part.title}, batch {outcome.part.batch}"
                                 for outcome in columns)]
    return [table([head] + [[title, f"{goal.text} {goal.bound:g}",
                             *(goal_cell(column.get(title)) for column in found)]
                            for title, goal in titles.items()])] if columns else []


def growth_table(outcomes):
    """Step time and memory; outcomes: one for each batch and number of classes."""
    first = outcomes[0]
    names = list(first.cases)
    lines = [[first.part.title, *(f"{name}, ms" for name in names),
              *(f"{name}, peak MiB" for name in names)]]
    for outcome in outcomes:
        found = [outcome.results[name] for name in names]
        lines.append([f"batch {outcome.part.batch}, {outcome.part.classes} classes",
                      *(median_or_dash([1000 * one.seconds for one in case], 1) for case in found),
                      *(median_or_dash([one.memory for one in case]) for case in found)])
    return table(lines)


def decode_table(found):
    """Of measure_decoding: {format: (pixels, [(seconds before, now)])}"""
    lines = [["decoding, milliseconds of CPU a megapixel", "stb_image of 2017", "now", "faster by"]]
    for name, (pixels, rounds) in found.items():
        before, now = zip(*rounds)
        lines.append([name, *(f"{1e9 * statistics.median(times) / pixels:.1f}"
                              for times in (before, now)), spread(over(before, now))])
    return table(lines)


def evaluation_table(found):
    """Of measure_evaluation: {title: {case: [seconds]}}"""
    cases = list(next(iter(found.values())))
    lines = [["evaluation, seconds", *cases, *(f"this build / {name}" for name in cases[1:])]]
    for title, seconds in found.items():
        lines.append([title, *(f"{statistics.median(seconds[name]):.2f}" for name in cases),
                      *(spread(over(seconds[cases[0]], seconds[name])) for name in cases[1:])])
    return table(lines)


# Notes

def update_lines(found):
    """What update_bandwidth.c measures, a line for each number of groups."""
    return [f"- update of {one['parameters'] / 1e6:.1f} million weights, groups: {one['groups']}: "
            f"{one['bytes'] / 1e6:.0f} MB in {1000 * one['seconds']:.3f} ms, "
            f"{one['update_gb_s']:.0f} GB/s, {one['update_gb_s'] / one['copy_gb_s']:.2f} of the "
            f"card's copy at {one['copy_gb_s']:.0f} GB/s" for one in found]


def peaks_line(peaks):
    return "peaks for the floors, matrix products and copying: " + "; ".join(
        f"{threads} core{'s' * (threads > 1)} {peak.operations / 1e9:.0f} GFLOP/s, "
        f"{peak.bytes / 1e9:.0f} GB/s" for threads, peak in peaks.items())
