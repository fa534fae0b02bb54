#!/usr/bin/env python
"""What one network loses that learned from an ensemble's scores, and how much faster it is.

    python -m twelvelead distil TEACHER TRAINING_DATA STUDENT
    python benchmarks/distil.py TEACHER STUDENT data/challenge [--fold 9] [--resamples 1000] [--out table.md]

Challenge metric of both models on PTB-XL's fold 9, which neither may have been trained on, their paired difference with
a 95 % interval over the same resamples, and the seconds of scoring the same prepared recordings, in turns. DATA holds
recordings.csv (recording, ptbxl_strat_fold, …), as `../shared/unpack data` makes data/challenge. With `--fold all`
every recording of DATA is scored and recordings.csv is not needed. Aimed at: a loss of at most 0.01, at an eleventh of
the time for a teacher of eleven members.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from shared import alternate, write_table

from twelvelead.data.folders import find_recordings
from twelvelead.evaluation.bootstrap import draw_counts, interval, resampled_metrics
from twelvelead.evaluation.metrics import challenge_metric
from twelvelead.inference.ensemble import Ensemble, labels_of, load_ensemble, member_scores
from twelvelead.inference.predict import PackedRecordings, stack
from twelvelead.preprocessing.loading import load

METRIC = "challenge_metric"


def headers_of_fold(data: Path, fold: str) -> list[Path]:
    """The headers of the recordings of PTB-XL's fold, or of all recordings for the fold "all"."""
    headers = find_recordings(data)
    if fold == "all":
        return headers
    with open(data / "recordings.csv", newline="", encoding="utf-8") as file:
        tested = {row["recording"] for row in csv.DictReader(file) if row["ptbxl_strat_fold"] == fold}
    return [header for header in headers if header.stem in tested]


def read(headers: list[Path], ensemble: Ensemble) -> tuple[PackedRecordings, np.ndarray]:
    """Prepared recordings and their labels, bool (recordings, classes); those that cannot be read are left out."""
    loaded = [item for item in (load(header, ensemble.recipe.input) for header in headers) if not isinstance(item, str)]
    if not loaded:
        sys.exit("there are no recordings to score")
    labels = ensemble.classes.labels([item.recording.codes for item in loaded])
    return stack([item.prepared for item in loaded], ensemble.device), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("teacher", type=Path, metavar="TEACHER", help="model folder of the ensemble")
    parser.add_argument("student", type=Path, metavar="STUDENT", help="model folder of the one network")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--fold", default="9", help="of PTB-XL, or `all` for all recordings of DATA (9)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="how often the time is taken (3)")
    parser.add_argument("--out", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    models = [load_ensemble(folder) for folder in (arguments.teacher, arguments.student)]
    if models[0].recipe.input != models[1].recipe.input or models[0].classes.codes != models[1].classes.codes:
        sys.exit("the two models take other inputs or have other classes")
    classes = models[0].classes
    data, labels = read(headers_of_fold(arguments.data, arguments.fold), models[0])
    scores = [member_scores(model, data) for model in models]
    outputs = [labels_of(model, each) for model, each in zip(models, scores)]
    metric = [challenge_metric(labels, each, classes.weights, classes.sinus_rhythm) for each in outputs]
    resampled = resampled_metrics(
        labels,
        [(each, score.mean(axis=0)) for each, score in zip(outputs, scores)],
        draw_counts(len(labels), arguments.resamples, 0),
        classes.weights,
        classes.sinus_rhythm,
    )
    samples = [np.asarray(each[METRIC]) for each in resampled]
    times = alternate(arguments.repeats, *(lambda model=model: member_scores(model, data) for model in models))
    seconds = [statistics.median(each) for each in times]
    rows = []
    for name, model, value, sample, time in zip(("teacher", "student"), models, metric, samples, seconds):
        low, high = interval(sample)
        milliseconds = 1000 * time / len(labels)
        rows.append([name, str(len(model.models)), f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{milliseconds:.2f}"])
    low, high = interval(samples[1] - samples[0])
    difference = f"{metric[1] - metric[0]:+.3f} [{low:+.3f}, {high:+.3f}]"
    rows.append(["student − teacher", "", difference, f"1/{seconds[0] / seconds[1]:.1f} of the teacher's"])
    head = ["model", "networks", f"metric of {len(labels)} recordings [95 % interval]", "ms a recording"]
    write_table(head, rows, arguments.out)
    print(f"{torch.get_num_threads()} threads, median of {arguments.repeats} runs")


if __name__ == "__main__":
    main()
