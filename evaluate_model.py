"""Scores outputs as the organizers' scripts of 2020 and 2021 do, to the last bit, and says what is wrong with files.

    python evaluate_model.py LABELS OUTPUTS [SCORES.csv [CLASS_SCORES.csv]]

LABELS and OUTPUTS are folders of .hea and .csv files. Without SCORES.csv the scores are printed. What is printed and
written is byte for byte what the official script of the year prints and writes. What the further options (--help) add
comes after that or goes into files of its own, and notes about the files go to standard error. Exit code 2 means that
the last line there is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback

if __name__ == "__main__":  # before numpy: on small matrix products, threads waste more than they save
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from twelvelead.errors import UserError
from twelvelead.evaluation import bootstrap
from twelvelead.evaluation.files import find_files, find_outputs, groups_by_folder, groups_by_table
from twelvelead.evaluation.findings import Findings
from twelvelead.evaluation.metrics import METRICS, evaluate
from twelvelead.evaluation.official import read_labels, read_outputs
from twelvelead.evaluation.report import Figures, as_json, print_table, write_official, write_text
from twelvelead.evaluation.task import load_task
from twelvelead.files import json_ready

HERE = os.path.dirname(os.path.abspath(__file__))


def main(arguments=None) -> int:
    options = _options(list(sys.argv[1:] if arguments is None else arguments))
    try:
        return _evaluate(options)
    except UserError as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2


def _options(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evaluate_model.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("labels", metavar="LABELS", help="folder of headers, or of folders of them")
    add("outputs", metavar="OUTPUTS", help="folder of outputs, one CSV file for each header")
    add("scores", metavar="SCORES.csv", nargs="?", help="write the scores here instead of printing them")
    add("class_scores", metavar="CLASS_SCORES.csv", nargs="?", help="write the scores of each class here")
    add("--year", choices=list(METRICS), help="whose rules and metrics; by default the weights table's year")
    add(
        "--weights",
        default=os.path.join(HERE, "weights.csv"),
        metavar="FILE",
        help="the Challenge's weights table of 2020 or 2021; by default weights.csv beside this script",
    )
    add(
        "--by-source",
        nargs="?",
        const="folder",
        metavar="CSV",
        help="scores of each source, too: each folder in LABELS, or each group of a CSV file of recording,group",
    )
    add("--bootstrap", type=int, default=0, metavar="N", help="95 %% intervals of every metric, from N resamples")
    add(
        "--resample-by",
        default="recording",
        metavar="WHAT",
        help="what is drawn: recording (default), source, or the groups of a CSV file of recording,group",
    )
    add("--seed", type=int, default=0, help="of the resamples (default 0)")
    add(
        "--compare",
        metavar="OTHER_OUTPUTS",
        help="differences of OUTPUTS from these, with intervals from paired resamples (1000 unless --bootstrap says)",
    )
    add("--json", metavar="FILE", help="write everything here, at full precision and with undefined values as null")
    add("--strict", action="store_true", help="exit with code 2 if there is anything to note about the files")
    add(
        "--lenient",
        action="store_true",
        help="where the official script would stop at a recording, take it as all-negative and go on",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    for place, argument in enumerate(arguments[:-1]):
        if argument == "--by-source" and os.path.isdir(arguments[place + 1]):
            arguments[place] = "--by-source=folder"  # what follows is LABELS
    options = parser.parse_args(arguments)
    if options.bootstrap < 0:
        parser.error("--bootstrap: a number of resamples cannot be negative")
    if options.compare and not options.bootstrap:
        options.bootstrap = 1000
    if options.resample_by == "source" and not options.by_source:
        parser.error("--resample-by source: say with --by-source what the sources are")
    return options


def _evaluate(options) -> int:
    official = options.year != "unofficial"  # that year's script prints the recordings' names and no progress
    if official:
        print("Loading weights...")
    task = load_task(options.year, options.weights)
    if official:
        print("Loading label and output files...")
    findings = Findings()
    files = find_files(task, options.labels, options.outputs, findings)
    task, labels = read_labels(task, files, findings)
    systems = [read_outputs(task, files, findings)]
    _report(findings, task, options)
    other_findings = Findings()
    if options.compare:
        systems.append(read_outputs(task, find_outputs(task, files, options.compare, other_findings), other_findings))
        _report(other_findings, task, options, f"{options.compare}: ")
    sources = _groups(options.by_source, files, options)
    units = sources if options.resample_by == "source" else _groups(options.resample_by, files, options)

    for line in findings.printed:
        print(line)
    if official:
        print("Evaluating model...", "- AUROC and AUPRC...", "- Accuracy...", "- F-measure...", sep="\n")
        if task.year == "2020":
            print("- F-beta and G-beta measures...")
        print("- Challenge metric...", "Done.", sep="\n")
    everything = _figures(task, labels, systems, units, options)
    by_source = {
        str(source): _figures(task, labels, systems, units, options, np.flatnonzero(sources == source))
        for source in ([] if sources is None else np.unique(sources))
    }
    write_official(task, everything.scores, options.scores, options.class_scores)
    if by_source or options.bootstrap:
        print_table(task, [("all", everything), *by_source.items()])
    if options.json:
        content = as_json(task, everything, by_source, findings, other_findings if options.compare else None)
        if options.bootstrap:
            content["resamples"] = {"number": options.bootstrap, "by": options.resample_by, "seed": options.seed}
        write_text(options.json, json.dumps(json_ready(content), indent=1))
    kinds = len(findings.lines() + other_findings.lines())
    if options.strict and kinds:
        print(f"error: --strict, and there is something to note about the files (see above: {kinds})", file=sys.stderr)
        return 2
    return 0


def _report(findings, task, options, prefix="") -> None:
    if not options.lenient:
        findings.raise_stops(task.year)
    for line in findings.lines():
        print(f"note: {prefix}{line}", file=sys.stderr)
    for path, why in list(findings.stops.items())[:1]:
        print(
            f"note: {prefix}files where the official script of {task.year} stops, taken as all-negative (--lenient): "
            f"{len(findings.stops)} ({path}: {why})",
            file=sys.stderr,
        )


def _groups(what, files, options) -> np.ndarray | None:
    if what in (None, "recording"):
        return None
    return np.array(groups_by_folder(files, options.labels) if what == "folder" else groups_by_table(files, what))


def _figures(task, labels, systems, units, options, chosen=slice(None)) -> Figures:
    labels, systems = labels[chosen], [(outputs[chosen], scores[chosen]) for outputs, scores in systems]
    rules = task.weights, task.sinus_rhythm, task.year
    scores = [evaluate(labels, *system, *rules) for system in systems]
    if not options.bootstrap:
        return Figures(len(labels), scores[0])
    groups = None if units is None else units[chosen]
    counts = bootstrap.draw_counts(len(labels), options.bootstrap, options.seed, groups)
    resampled = bootstrap.resampled_metrics(labels, systems, counts, *rules)
    intervals = {key: bootstrap.interval(values) for key, values in resampled[0].items()}
    if not options.compare:
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


if __name__ == "__main__":
    sys.exit(main())
