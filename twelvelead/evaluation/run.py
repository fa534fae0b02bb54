"""The evaluator as a command: reads labels and outputs, scores them, prints and writes.

    code = evaluate_folders(options)        # options as evaluation/options.py defines them

What it prints and writes is, byte for byte, what the official script of the year does. What further options add comes
after that or goes into files of its own, and notes about the files go to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from ..data.classes import OWN, WEIGHTS
from ..files import json_ready
from . import bootstrap
from .files import Files, find_files, find_outputs, groups_by_folder, groups_by_table
from .findings import Findings
from .masked import evaluate_known, resampled_known
from .metrics import evaluate
from .official import read_labels, read_outputs
from .options import label_source
from .own_labels import labels_of_source, only_given
from .report import Figures, as_json, print_table, write_official, write_text
from .task import Task, load_task

Predictions = tuple[np.ndarray, np.ndarray]  # outputs, bool, and scores, float64, each (recordings, classes)


def evaluate_folders(options: argparse.Namespace) -> int:
    """Scores the outputs of a folder against the labels of another.

    Returns
    -------
    int
        0, or 2 if there is a finding about the files and `options.strict` is set.

    Raises
    ------
    UserError
        If a file or folder cannot be read, or where the official script would stop, unless `options.lenient` is set.
    """
    own_source = label_source(options)
    own = own_source.is_given
    # The unofficial phase's script prints the recordings' names and no progress.
    official = options.year != "unofficial" and not own
    if official:
        print("Loading weights...")
    task = Task(OWN) if own else load_task(options.year, options.weights or WEIGHTS)
    if official:
        print("Loading label and output files...")
    findings, other_findings = Findings(), Findings()
    files = find_files(task, options.labels, options.outputs, findings)
    known: np.ndarray | None = None
    if own:
        task, labels, known = labels_of_source(files, options.labels, own_source)
    else:
        task, labels = read_labels(task, files, findings)
    systems = [read_outputs(task, files, findings)]
    _print_findings(findings, task, options)
    if options.compare:
        systems.append(read_outputs(task, find_outputs(task, files, options.compare, other_findings), other_findings))
        _print_findings(other_findings, task, options, f"{options.compare}: ")
    sources = _groups(options.by_source, files, options)
    units = sources if options.resample_by == "source" else _groups(options.resample_by, files, options)

    _print_progress(task, findings)
    if own and not options.classes:
        task, labels, known, systems = only_given(task, labels, known, systems, findings)
    score = partial(
        score_systems,
        task,
        labels,
        systems,
        known=known,
        resamples=options.bootstrap,
        seed=options.seed,
        units=units,
    )
    overall = score()
    by_source = {
        str(source): score(chosen=np.flatnonzero(sources == source))
        for source in ([] if sources is None else np.unique(sources))
    }
    _write(task, overall, by_source, findings, other_findings, options)
    kinds = len(findings.lines() + other_findings.lines())
    if options.strict and kinds:
        print(f"error: --strict, and there is something to note about the files (see above: {kinds})", file=sys.stderr)
        return 2
    return 0


def _print_progress(task: Task, findings: Findings) -> None:
    """The lines that the official script prints while it reads outputs and computes metrics."""
    for line in findings.printed:
        print(line)
    if task.year in ("unofficial", OWN):
        return
    print("Evaluating model...", "- AUROC and AUPRC...", "- Accuracy...", "- F-measure...", sep="\n")
    if task.year == "2020":
        print("- F-beta and G-beta measures...")
    print("- Challenge metric...", "Done.", sep="\n")


def _write(
    task: Task,
    overall: Figures,
    by_source: dict[str, Figures],
    findings: Findings,
    other_findings: Findings,
    options: argparse.Namespace,
) -> None:
    write_official(task, overall.scores, options.scores, options.class_scores)
    if by_source or options.bootstrap:
        print_table(task, [("all", overall), *by_source.items()])
    if options.json:
        content = as_json(task, overall, by_source, findings, other_findings if options.compare else None)
        if options.bootstrap:
            content["resamples"] = {"number": options.bootstrap, "by": options.resample_by, "seed": options.seed}
        write_text(options.json, json.dumps(json_ready(content), indent=1))


def _print_findings(findings: Findings, task: Task, options: argparse.Namespace, prefix: str = "") -> None:
    """Notes on standard error; an error where the official script would stop, unless --lenient is set."""
    if not options.lenient:
        findings.raise_stops(task.year)
    for line in findings.lines():
        print(f"note: {prefix}{line}", file=sys.stderr)
    where = "without a usable output" if task.year == OWN else f"where the official script of {task.year} stops"
    for path, why in list(findings.stops.items())[:1]:
        print(
            f"note: {prefix}files {where}, taken as all-negative (--lenient): {len(findings.stops)} ({path}: {why})",
            file=sys.stderr,
        )


def _groups(what: str | None, files: Files, options: argparse.Namespace) -> np.ndarray | None:
    """The group of each recording: None for "recording" or no option, folders for "folder", else a CSV file's."""
    if what in (None, "recording"):
        return None
    return np.array(groups_by_folder(files, options.labels) if what == "folder" else groups_by_table(files, what))


def score_systems(
    task: Task,
    labels: np.ndarray,
    systems: Sequence[Predictions],
    *,
    resamples: int,
    seed: int = 0,
    units: np.ndarray | None = None,
    known: np.ndarray | None = None,
    chosen: np.ndarray | slice = slice(None),
) -> Figures:
    """Scores, intervals and differences for the chosen recordings.

    Parameters
    ----------
    labels : bool (recordings, classes)
    systems : one or two Predictions
        The outputs to score and, where two systems are compared, the ones to compare with.
    resamples : int
        Of the bootstrap; 0 for scores without intervals and differences.
    seed : int
        Of the resamples.
    units : (recordings,) or None
        Groups that are resampled as a whole.
    known : bool (recordings, classes) or None
        With labels of the user's own, those that are known.
    chosen : int (chosen recordings,) or slice
        At least one recording.
    """
    labels, systems = labels[chosen], [(outputs[chosen], scores[chosen]) for outputs, scores in systems]
    known = None if known is None else known[chosen]
    scores = [
        evaluate(labels, outputs, probabilities, task.weights, task.sinus_rhythm, task.year)
        if known is None
        else evaluate_known(labels, outputs, probabilities, known)
        for outputs, probabilities in systems
    ]
    if not resamples:
        return Figures(len(labels), scores[0])
    groups = None if units is None else units[chosen]
    counts = bootstrap.draw_counts(len(labels), resamples, seed, groups)
    if known is None:
        resampled = bootstrap.resampled_metrics(labels, systems, counts, task.weights, task.sinus_rhythm, task.year)
    else:
        resampled = resampled_known(labels, systems, known, counts)
    intervals = {key: bootstrap.interval(values) for key, values in resampled[0].items()}
    if len(systems) == 1:
        return Figures(len(labels), scores[0], intervals)
    ours, other = resampled
    return Figures(
        len(labels),
        scores[0],
        intervals,
        scores[1],
        {key: scores[0][key] - scores[1][key] for key in ours},
        {key: bootstrap.interval(ours[key] - other[key]) for key in ours},
    )
