#!/usr/bin/env python
"""Validation metric against minutes of one core: every recipe, and the authors' pipeline (reference.py).

    python benchmarks/time_to_quality.py data/challenge OUT --minutes 30
    python benchmarks/time_to_quality.py data/challenge OUT --minutes 30 --recipes butt s4 --budgets 3 8

Each recipe trains one network within each of the budgets, by default a fifth of --minutes and all of them: a schedule
that fits into a short budget reaches a score sooner than the same minutes of a long one. equal_time.py makes these
trainings; what is in its OUT is not trained again. The authors' pipeline trains the network of butt-2020 on the same
recordings until --minutes are over. All are validated on the same 20 % of the recordings that train (without the tested
ones of --groups) after every epoch, by the Challenge metric with the best common threshold, as in history.csv. The time
is that of one core from the start of a training, by the clock of its own process. For recipes that includes reading,
preparing and making recordings, and for all it includes validation; the authors' validation recordings are prepared
before their clock starts, which spares them the reading.

OUT gets time_to_quality.png, and time_to_quality.md, which says how many times sooner each recipe reaches the best
score of the authors' pipeline. A run that was stopped goes on. Recipes for other classes are scored by another metric,
and those that join others have several networks, so neither is drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import reference
import torch
from equal_time import (
    DEFAULT,
    DEFAULT_SYNTHETIC,
    PARAMETERS,
    Training,
    comparable,
    one_network,
    read_data,
    trained,
    validation_of,
)
from shared import CLASSES, process, write_table

from twelvelead.data.header import read_header
from twelvelead.errors import UserError
from twelvelead.files import write_json
from twelvelead.recipes import RECIPES
from twelvelead.thresholds.objectives import objective_of
from twelvelead.thresholds.search import common

AUTHORS = "the authors' pipeline"
LONGEST_S = 105  # reference.py does not cut longer recordings into pieces


class Curve(NamedTuple):
    """A training: minutes since its start at the end of each epoch, and the validation metric there."""

    name: str
    minutes: list[float]
    metric: list[float]

    def best(self, within: float) -> float:
        """The best metric of the epochs that ended within so many minutes; −∞ if none did."""
        return max((metric for minutes, metric in zip(self.minutes, self.metric) if minutes <= within), default=-np.inf)

    def reaches(self, score: float) -> float:
        """After how many minutes the metric is at least this score for the first time; ∞ if it never is."""
        return min((minutes for minutes, metric in zip(self.minutes, self.metric) if metric >= score), default=np.inf)

    @property
    def length(self) -> float:
        """Minutes until the end of the last epoch; 0 without one."""
        return self.minutes[-1] if self.minutes else 0.0


def curve_of(training: Training, out: Path) -> Curve:
    """How the validation metric of a training of one network rose."""
    values = json.loads((training.folder(out) / "curve.json").read_text(encoding="utf-8"))
    return Curve(f"{training.recipe}, {training.minutes:g} min", values["minutes"], values["metric"])


def usable(headers: list[Path]) -> list[Path]:
    """Recordings that the authors' pipeline can read: MATLAB files of twelve leads, with a diagnosis, not too long."""
    chosen = []
    for path in headers:
        header = read_header(path)
        words = path.read_text(errors="replace").split("\n", 1)[0].split()
        is_short = words[1:2] == ["12"] and len(words) > 3 and float(words[3]) <= LONGEST_S * float(words[2])
        if is_short and header.codes and path.with_suffix(".mat").is_file():
            chosen.append(path)
    return chosen


def of_authors(train: list[Path], validation: list[Path], minutes: float, width: int, seed: int) -> Curve:
    """The curve of the authors' pipeline: whole epochs until the time is over, each recording read in every epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    labels, truth = (CLASSES.labels(read_header(path).codes for path in paths) for paths in (train, validation))
    inputs = [torch.from_numpy(reference.prepare(*reference.read(path))) for path in validation]
    network = reference.Network(len(CLASSES.codes), width)
    optimizer, rng = reference.new_optimizer(network), np.random.default_rng(seed)
    curve = Curve(AUTHORS, [], [])
    started = time.process_time()
    while time.process_time() - started < 60 * minutes:
        loss = reference.train_epoch(network, optimizer, train, labels, rng)
        network.eval()
        with torch.no_grad():
            scores = np.stack([torch.sigmoid(network(x[None]))[0].numpy() for x in inputs])
        curve.metric.append(common(objective_of(CLASSES, truth, scores)).stages[-1][1])
        curve.minutes.append((time.process_time() - started) / 60)
        print(f"  {curve.minutes[-1]:.1f} min: loss {loss:.4f}, metric {curve.metric[-1]:.3f}", flush=True)
    return curve


def rows_of(curves: list[Curve], minutes: float) -> list[list[str]]:
    """The table: for each recipe its best score, and how many times sooner it reaches the authors' best score."""
    authors = next(curve for curve in curves if curve.name == AUTHORS)
    score = authors.best(minutes)
    needed = authors.reaches(score)
    rows = [[AUTHORS, _figure(score), _figure(needed, ".1f"), "1"]]
    by_recipe: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve is not authors:
            by_recipe.setdefault(curve.name.rpartition(",")[0], []).append(curve)
    for name, of_recipe in by_recipe.items():
        best = max(curve.best(minutes) for curve in of_recipe)
        soonest = min(curve.reaches(score) for curve in of_recipe)
        times = f"{needed / soonest:.1f}" if np.isfinite([needed, soonest]).all() else "not reached"
        rows.append([name, _figure(best), _figure(soonest, ".1f"), times])
    return rows


def _figure(value: float, form: str = ".3f") -> str:
    return f"{value:{form}}" if np.isfinite(value) else "–"


def draw(curves: list[Curve], minutes: float, path: Path) -> None:
    """The best metric so far of every training against minutes; the authors' best score as a line across."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    colours: dict[str, str] = {}
    for curve in curves:
        name = curve.name.rpartition(",")[0] or curve.name
        colour = "black" if curve.name == AUTHORS else colours.setdefault(name, f"C{len(colours)}")
        best = np.maximum.accumulate(curve.metric) if curve.metric else []
        has_longer = any(other.length > curve.length for other in curves if other.name.startswith(f"{name},"))
        style = "--" if has_longer else "-"
        axis.plot(curve.minutes, best, style, color=colour, marker=".", drawstyle="steps-post", label=curve.name)
    score = next((curve.best(minutes) for curve in curves if curve.name == AUTHORS), -np.inf)
    if np.isfinite(score):
        axis.axhline(score, color="black", linewidth=0.5)
    axis.set_xlim(0, minutes)
    axis.set_xlabel("minutes of one core")
    axis.set_ylabel("Challenge metric with one threshold,\nvalidation recordings, best epoch so far")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=120, format="png")


def measure(data: Path, options: argparse.Namespace) -> list[Curve]:
    """All curves; those of an earlier start are not trained again."""
    cohort, train, _ = read_data(data, options.groups)
    curves, validation = [], []
    for name in options.recipes:
        for budget in options.budgets or [options.minutes / 5, options.minutes]:
            training = Training(name, options.synthetic, options.seed, budget)
            trained(training, options.out, cohort, train, options.parameters)
            validated = validation_of(training, options.out)
            if validation not in ([], validated):
                sys.exit(f"{name}: other recordings validated it than the trainings before; nothing can be compared")
            validation = validated
            curves.append(curve_of(training, options.out))
    headers = {cohort.names[row]: cohort.headers[row] for row in train}
    return [*curves, _curve_of_authors(headers, validation, options)]


def _curve_of_authors(headers: dict[str, Path], validation: list[str], options: argparse.Namespace) -> Curve:
    """The curve of the authors' pipeline, of an earlier start from authors.json."""
    width = one_network(RECIPES["butt-2020"], 0, options.parameters).parts[0].network["width"]
    made_with = dict(
        recordings=len(headers), validation=validation, minutes=options.minutes, width=width, seed=options.seed
    )
    path = options.out / "authors.json"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["made_with"] != made_with:
            sys.exit(f"{path}: was made with other settings or recordings; name another folder")
        return Curve(*kept["curve"])
    print(AUTHORS, flush=True)
    readable = set(usable(list(headers.values())))
    missing = [name for name in validation if headers[name] not in readable]
    if missing:
        sys.exit(f"{missing[0]}: the authors' pipeline cannot read it; leave it out of DATA")
    held_out = [headers.pop(name) for name in validation]
    train = [path for path in headers.values() if path in readable]
    with process(1) as one:
        curve = one.submit(of_authors, train, held_out, options.minutes, width, options.seed).result()
    write_json(path, dict(made_with=made_with, curve=curve))
    return curve


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder of recordings; synthetic ones by default")
    parser.add_argument("out", type=Path, help="folder for the trainings, the picture and the table")
    parser.add_argument("--groups", type=Path, metavar="CSV", help="recording,group of those that take no part")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the authors' pipeline")
    parser.add_argument("--recipes", nargs="+", default=comparable(), choices=comparable(), metavar="NAME")
    parser.add_argument("--budgets", type=float, nargs="+", metavar="M", help="minutes of each training of a recipe")
    parser.add_argument(
        "--synthetic", type=int, default=DEFAULT_SYNTHETIC, metavar="N", help="most synthetic recordings of a training"
    )
    parser.add_argument("--parameters", type=int, default=PARAMETERS, metavar="N", help="of a network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=400, help="how many synthetic ones, without DATA")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.data
    if data is None:
        from twelvelead.synthetic import write_hospital

        data = options.out / "synthetic"
        write_hospital(data, "birch", options.recordings, seed=1)
    curves = measure(data, options)
    draw(curves, options.minutes, options.out / "time_to_quality.png")
    head = ["training", f"best score in {options.minutes:g} min", "minutes to the authors' score", "times sooner"]
    rows = rows_of(curves, options.minutes)
    write_table(head, rows, options.out / "time_to_quality.md")
    of_default = next((row for row in rows if row[0] == DEFAULT), None)
    if of_default:
        print(
            f"{DEFAULT} reaches the score of the authors' {options.minutes:g} minutes, {rows[0][1]}, "
            + ("never" if of_default[3] == "not reached" else f"{of_default[3]} times sooner")
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
