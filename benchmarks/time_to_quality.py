#!/usr/bin/env python
"""Validation metric against minutes of one core: every recipe, and the authors' pipeline (reference.py).

    python benchmarks/time_to_quality.py data/challenge OUT --minutes 30
    python benchmarks/time_to_quality.py data/challenge OUT --minutes 30 --recipes butt,s4 --budgets 3,6,30

Each recipe trains one member on 80 % of the recordings of DATA (without DATA, of synthetic ones), within each of the
budgets, by default a fifth of --minutes and all of them: a schedule that fits into a short budget reaches a score
sooner than the same minutes of a long one. The authors' pipeline trains the network of butt-2020 on the same
recordings until --minutes are over. All are validated on the same other 20 % after every epoch, by the Challenge metric
with the best common threshold, as in history.csv. The time is that of one core from the start of a training. For
recipes that includes reading, preparing and making recordings, and for all it includes validation; the authors'
validation recordings are prepared before their clock starts, which spares them the reading.

OUT gets curves.json, after every training, so that a run that was stopped goes on; time_to_quality.png; and table.md,
which says how many times sooner each recipe reaches the best score of the authors' pipeline. Recipes for other classes
are scored by another metric, and those that join others train no networks of their own, so neither is drawn.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import reference
import torch
from repository import ROOT  # noqa: F401  makes the package importable
from shared import CLASSES, process, write_table

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import read_header
from twelvelead.errors import RecordingError
from twelvelead.files import write_json
from twelvelead.recipes import RECIPES, Recipe
from twelvelead.thresholds.objectives import objective_of
from twelvelead.thresholds.search import common
from twelvelead.training.workers import train_ensemble

AUTHORS = "the authors' pipeline"
LONGEST_S = 105  # reference.py does not cut longer recordings into pieces
TRAIN_FRACTION = 0.8
DEFAULT = "butt"


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


def comparable() -> dict[str, Recipe]:
    """The recipes that have one network and the Challenge's classes."""
    return {
        name: recipe
        for name, recipe in RECIPES.items()
        if isinstance(recipe, Recipe) and recipe.label_set == "challenge"
    }


def usable(headers: list[Path]) -> list[Path]:
    """Recordings that both sides can read: MATLAB files of twelve leads, with a diagnosis, not too long."""
    chosen = []
    for path in headers:
        try:
            header = read_header(path)
        except RecordingError:
            continue
        words = path.read_text(errors="replace").split("\n", 1)[0].split()
        is_short = words[1:2] == ["12"] and len(words) > 3 and float(words[3]) <= LONGEST_S * float(words[2])
        if is_short and header.codes and path.with_suffix(".mat").is_file():
            chosen.append(path)
    return chosen


def one_member(recipe: Recipe, width: int | None) -> Recipe:
    """The recipe with one member, which every recipe trains and validates on the same recordings."""
    recipe = recipe.scaled(members=1, width=width)
    voting = replace(
        recipe.voting,
        folds=0,
        train_fraction=TRAIN_FRACTION,
        threshold_method="common",
        threshold_options={},
        convention_recordings=0,
    )
    return replace(recipe, voting=voting)


def of_recipe(
    recipe: Recipe, headers: list[Path], root: Path, folder: Path, minutes: float, seed: int
) -> tuple[Curve, list[str]]:
    """The curve of a recipe within a budget, and the recordings that validated it, named as in splits.json."""
    torch.set_num_threads(1)
    started, prepared = time.perf_counter(), [0.0]

    def log(line: str) -> None:
        if line.startswith("training "):  # what train_ensemble says when all recordings are prepared
            prepared[0] = time.perf_counter() - started
        print(f"  {line}", flush=True)

    shutil.rmtree(folder, ignore_errors=True)
    train_ensemble(
        headers,
        folder,
        recipe,
        CLASSES,
        root=root,
        seed=seed,
        budget_hours=minutes / 60,
        jobs=1,
        workers=1,
        log=log,
    )
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    ends = prepared[0] + np.cumsum([float(row["seconds"]) for row in rows])
    validation = json.loads((folder / "splits.json").read_text())["validation_of_member"]["0"]
    name = f"{recipe.name}, {minutes:g} min"
    return Curve(name, (ends / 60).tolist(), [float(row["metric"]) for row in rows]), validation


def of_authors(train: list[Path], validation: list[Path], minutes: float, width: int, seed: int) -> Curve:
    """The curve of the authors' pipeline: whole epochs until the time is over, each recording read in every epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    labels, truth = (CLASSES.labels(read_header(path).codes for path in paths) for paths in (train, validation))
    inputs = [torch.from_numpy(reference.prepare(*reference.read(path))) for path in validation]
    network = reference.Network(len(CLASSES.codes), width)
    optimizer, rng = reference.new_optimizer(network), np.random.default_rng(seed)
    curve = Curve(AUTHORS, [], [])
    started = time.perf_counter()
    while time.perf_counter() - started < 60 * minutes:
        loss = reference.train_epoch(network, optimizer, train, labels, rng)
        network.eval()
        with torch.no_grad():
            scores = np.stack([torch.sigmoid(network(x[None]))[0].numpy() for x in inputs])
        curve.metric.append(common(objective_of(CLASSES, truth, scores)).stages[-1][1])
        curve.minutes.append((time.perf_counter() - started) / 60)
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
        is_short = curve.name != AUTHORS and not curve.name.endswith(f", {minutes:g} min")
        style = "--" if is_short else "-"
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


def measure(
    data: Path, out: Path, recipes: list[str], budgets: list[float], minutes: float, width: int | None, seed: int
) -> list[Curve]:
    """All curves, those of an earlier start from curves.json."""
    headers = usable(find_recordings(data))
    if not headers:
        sys.exit(f"{data}: no recording of 12 leads in MATLAB files with a diagnosis and at most {LONGEST_S} s")
    settings = dict(recordings=len(headers), minutes=minutes, width=width, seed=seed)
    path = out / "curves.json"
    before = json.loads(path.read_text()) if path.is_file() else dict(settings=settings, validation=None, curves=[])
    if before["settings"] != settings:
        sys.exit(f"{path}: measured with {before['settings']}, not {settings}; choose another folder")
    curves, validation = [Curve(*curve) for curve in before["curves"]], before["validation"]

    def add(curve: Curve) -> None:
        curves.append(curve)
        write_json(path, dict(settings=settings, validation=validation, curves=curves))

    for name in recipes:
        for budget in budgets:
            title = f"{name}, {budget:g} min"
            if title in [curve.name for curve in curves]:
                continue
            print(title, flush=True)
            with process(1) as one:
                recipe = one_member(comparable()[name], width)
                curve, validated = one.submit(of_recipe, recipe, headers, data, out / "model", budget, seed).result()
            if validation not in (None, validated):
                sys.exit(f"{title}: other recordings validated it than the trainings before; nothing can be compared")
            validation = validated
            add(curve)
    if AUTHORS not in [curve.name for curve in curves]:
        print(AUTHORS, flush=True)
        named = {str(path.relative_to(data)): path for path in headers}
        held_out = [named.pop(name) for name in validation]
        with process(1) as one:
            wide = width or RECIPES["butt-2020"].parts[0].network["width"]
            add(one.submit(of_authors, list(named.values()), held_out, minutes, wide, seed).result())
    return curves


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder of recordings; synthetic ones by default")
    parser.add_argument("out", type=Path, help="folder for the curves, the picture and the table")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the authors' pipeline")
    parser.add_argument("--recipes", help=f"names with commas between; by default {','.join(comparable())}")
    parser.add_argument("--budgets", help="minutes of each training of a recipe, with commas between")
    parser.add_argument("--width", type=int, help="filters of every network's first level; the recipe's by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=400, help="how many synthetic ones, without DATA")
    options = parser.parse_args(arguments)
    recipes = options.recipes.split(",") if options.recipes else list(comparable())
    unknown = [name for name in recipes if name not in comparable()]
    if unknown:
        sys.exit(f"{unknown[0]} cannot be compared here; there are: {', '.join(comparable())}")
    budgets = [float(text) for text in (options.budgets or f"{options.minutes / 5},{options.minutes}").split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.data
    if data is None:
        from twelvelead.synthetic import write_hospital

        data = options.out / "synthetic"
        write_hospital(data, "birch", options.recordings, seed=1)
    curves = measure(data, options.out, recipes, budgets, options.minutes, options.width, options.seed)
    shutil.rmtree(options.out / "model", ignore_errors=True)
    draw(curves, options.minutes, options.out / "time_to_quality.png")
    head = ["training", f"best score in {options.minutes:g} min", "minutes to the authors' score", "times sooner"]
    rows = rows_of(curves, options.minutes)
    write_table(head, rows, options.out / "table.md")
    of_default = next((row for row in rows if row[0] == DEFAULT), None)
    if of_default:
        print(
            f"{DEFAULT} reaches the score of the authors' {options.minutes:g} minutes, {rows[0][1]}, "
            + ("never" if of_default[3] == "not reached" else f"{of_default[3]} times sooner")
        )


if __name__ == "__main__":
    main()
