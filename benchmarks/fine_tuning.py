#!/usr/bin/env python
"""Fine-tuning from a trained model against training from nothing, on few recordings of PTB-XL.

    python benchmarks/fine_tuning.py data/challenge OUT --init pretrained
    python benchmarks/fine_tuning.py data/challenge OUT --init MODEL --recordings 100 500 --seeds 0 1 2 --epochs 20

For each number of recordings and each seed, recordings of PTB-XL's folds 1 to 8 are drawn, whole patients at a time,
and three models are trained on them with one recipe, that of the model to start from: from nothing, from the model, and
from the model with its last layer alone (--freeze). Beside them stands the model recalibrated on the same recordings,
without training. A larger draw contains the smaller ones of its seed. All are tested
on fold 9. The table has the Challenge metric, its mean over the seeds with their range, and the paired differences
from training from nothing with 95 % bootstrap intervals.

    python benchmarks/fine_tuning.py data/challenge OUT --seen --classes "MI=164865005+54329005,LVH=164873001"

learns other diagnoses from the same headers, as `twelvelead train --label-field Dx --classes …` does; the table has the
macro AUROC then.

The model to start from must not have seen the recordings that are tested, and those that are drawn only with other
labels: a hospital that fine-tunes is new to its model. Where its splits.json names some of them, the script says how
many, and goes on only with --seen. DATA holds recordings.csv, as `../shared/unpack data` makes data/challenge. A killed
run is continued.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from shared import CLASSES, difference_over_seeds, over_seeds, range_of, write_table

from twelvelead.data.classes import Classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import read_header
from twelvelead.data.label_tables import LabelTable, called_in_tables
from twelvelead.data.own_labels import OwnLabels, as_arrays, cells_by_recording, own_labels, read_own_labels
from twelvelead.errors import UserError
from twelvelead.evaluation.bootstrap import draw_counts
from twelvelead.evaluation.masked import evaluate_known, resampled_known
from twelvelead.experiments.compare import score
from twelvelead.experiments.scored import score_recordings
from twelvelead.files import write_arrays, write_json
from twelvelead.inference.ensemble import Ensemble, load_ensemble
from twelvelead.pretrained import default_model
from twelvelead.recalibration.recalibrate import recalibrate
from twelvelead.recipes import Recipe, to_dict
from twelvelead.training.fine_tuning import Start, read_start
from twelvelead.training.own_recipe import for_own_labels
from twelvelead.training.workers import log_line, train_ensemble

RECALIBRATED = "recalibrated"
TRAINED = {"from nothing": None, "fine-tuned": False, "last layer alone": True}  # and whether the rest is frozen


class Challenge:
    """The question is what the Challenge asks: its diagnoses, and its metric."""

    metric, title = "challenge_metric", "Challenge metric"
    arms = (*TRAINED, RECALIBRATED)

    def own(self, headers: list[Path], root: Path) -> OwnLabels | None:
        """The labels to learn of these recordings; None for the diagnoses in the headers."""
        return None

    def prepared(self, recipe: Recipe, own: OwnLabels | None) -> Recipe:
        """The recipe for these labels."""
        return replace(recipe, label_set="challenge")

    def results(
        self, headers: list[Path], root: Path, answers: Sequence[np.ndarray], resamples: int
    ) -> list[tuple[dict, dict]]:
        """The metrics of each system, and their values on the resamples.

        Parameters
        ----------
        answers : sequence of float64 arrays (2, recordings, classes)
            Outputs and scores of each system.
        """
        labels = CLASSES.labels(read_header(header).codes for header in headers)
        predictions = {str(k): (outputs.astype(bool), scores) for k, (outputs, scores) in enumerate(answers)}
        return list(score(labels, predictions, CLASSES, None, resamples, 0).values())


@dataclass(frozen=True)
class OtherDiagnoses:
    """The question is about other codes of the headers, the option --classes of `twelvelead train`; see Challenge."""

    table: LabelTable
    metric, title = "auroc", "macro AUROC"
    arms = (*TRAINED,)

    def own(self, headers: list[Path], root: Path) -> OwnLabels:
        return own_labels(self.table, headers, root, "auroc", are_chosen=True)

    def prepared(self, recipe: Recipe, own: OwnLabels | None) -> Recipe:
        assert own is not None
        return for_own_labels(recipe, own, log_line).parts[0]

    def results(
        self, headers: list[Path], root: Path, answers: Sequence[np.ndarray], resamples: int
    ) -> list[tuple[dict, dict]]:
        cells = cells_by_recording(self.table, [called_in_tables(header, root) for header in headers])
        labels, known = as_arrays([row for row in cells if row is not None])
        predictions = [(outputs.astype(bool), scores) for outputs, scores in answers]
        samples = resampled_known(labels, predictions, known, draw_counts(len(labels), resamples, 0))
        return [(evaluate_known(labels, *each, known), sample) for each, sample in zip(predictions, samples)]


Question = Challenge | OtherDiagnoses


def read_ptb_xl(data: Path) -> tuple[list[Path], list[str], list[Path]]:
    """Headers of folds 1 to 8 with their patients, and headers of fold 9."""
    with open(data / "recordings.csv", newline="", encoding="utf-8") as file:
        rows = {row["recording"]: row for row in csv.DictReader(file)}
    headers = [header for header in find_recordings(data) if rows.get(header.stem, {}).get("source") == "ptb-xl"]
    fold = {header: rows[header.stem]["ptbxl_strat_fold"] for header in headers}
    train = [header for header in headers if fold[header] in set("12345678")]
    return train, [rows[header.stem]["ptbxl_patient_id"] for header in train], [h for h in headers if fold[h] == "9"]


def drawn(headers: list[Path], patients: list[str], count: int, seed: int) -> list[Path]:
    """The recordings of patients drawn one after another, until there are `count` of them."""
    order = {patient: k for k, patient in enumerate(np.random.default_rng(seed).permutation(sorted(set(patients))))}
    by_patient = sorted(range(len(headers)), key=lambda k: (order[patients[k]], k))
    return sorted(headers[k] for k in by_patient[:count])


def seen_by(folder: Path, headers: list[Path]) -> int:
    """How many of the recordings a model was trained or validated with, by their names."""
    names = {Path(name).stem for name in json.loads((folder / "splits.json").read_text(encoding="utf-8"))["recordings"]}
    return sum(header.stem in names for header in headers)


def check_settings(path: Path, made_with: dict) -> None:
    """Writes what the results in a folder depend on, or ends the script if they were made with something else."""
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != made_with:
        sys.exit(f"{path.parent}: made with another model, recipe or test; name another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, made_with)


def trained_and_tested(
    headers: list[Path],
    patients: dict[str, str],
    test: list[Path],
    folder: Path,
    arm: str,
    question: Question,
    recipe: Recipe,
    seed: int,
    options: argparse.Namespace,
) -> np.ndarray:
    """Outputs and scores, float64 (2, test recordings, classes), of a model that is trained in `folder`.

    They are kept in answers.npz there.
    """
    kept = folder / "answers.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            return arrays["answers"]
    folder.mkdir(parents=True, exist_ok=True)
    if arm == RECALIBRATED:
        ensemble = recalibrated(headers, folder, options)
    else:
        own = question.own(headers, options.data)
        classes = CLASSES if own is None else own.classes
        ensemble = train_ensemble(
            headers,
            folder / "model",
            question.prepared(recipe, own),
            classes,
            root=options.data,
            seed=seed,
            device=options.device,
            patients=patients,
            jobs=options.jobs,
            workers=options.workers,
            own=own,
            log=log_line,
            start=start_of(arm, options.init, classes, own),
        )
    scores, outputs, _ = score_recordings(ensemble, test, options.jobs)
    answers = np.stack([outputs, scores]).astype(np.float64)
    write_arrays(kept, answers=answers)
    return answers


def recalibrated(headers: list[Path], folder: Path, options: argparse.Namespace) -> Ensemble:
    """The model to start from, recalibrated on these recordings, as folder/model."""
    data = folder / "recordings"
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(folder / "model", ignore_errors=True)
    data.mkdir()
    for header in headers:
        for file in header.parent.glob(f"{header.stem}.*"):
            (data / file.name).symlink_to(file.resolve())
    recalibrate(options.init, data, folder / "model", device=options.device, jobs=options.jobs, log=log_line)
    return load_ensemble(folder / "model", options.device)


def start_of(arm: str, init: Path, classes: Classes, own: OwnLabels | None) -> Start | None:
    """What an arm starts from, its classes matched; None for training from nothing."""
    is_frozen = TRAINED[arm]
    if is_frozen is None:
        return None
    return read_start(init, is_frozen)[0].matched_to(classes, None if own is None else own.codes)


def row(results: dict[tuple[str, int], tuple[dict, dict]], question: Question, seeds: list[int]) -> list[str]:
    """The cells of one number of recordings: each arm's mean over the seeds, and its difference from the first arm."""
    of_arm = {arm: over_seeds((results[arm, seed] for seed in seeds), question.metric) for arm in question.arms}
    first, *others = question.arms
    cells = [f"{values.mean():.3f} {range_of(values)}" for values, _ in of_arm.values()]
    return cells + [difference_over_seeds(of_arm[arm], of_arm[first]) for arm in others]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; a killed run in it is continued")
    parser.add_argument("--init", default="pretrained", metavar="MODEL", help="model folder to start from (pretrained)")
    parser.add_argument("--recordings", type=int, nargs="+", default=[100, 500, 2000], metavar="N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--members", type=int, metavar="N", help="of each ensemble (as many as the model's recipe has)")
    parser.add_argument("--epochs", type=int, metavar="N", help="of each member (as many as the model's recipe has)")
    parser.add_argument("--synthetic", type=int, metavar="N", help="most synthetic recordings (the model's recipe's)")
    parser.add_argument(
        "--classes", metavar="LIST", help="learn these codes of the headers, as `twelvelead train` does"
    )
    parser.add_argument("--tested", type=int, metavar="N", help="test on the first N recordings of fold 9 (all)")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the intervals (1000)")
    parser.add_argument("--seen", action="store_true", help="go on although the model has seen some of the recordings")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="also write the table here")
    options = parser.parse_args(arguments)
    options.init = default_model() if options.init == "pretrained" else Path(options.init)
    load_ensemble(options.init)  # a damaged model is an error before hours of training
    start, recipe = read_start(options.init, False)
    recipe = recipe.scaled(epochs=options.epochs, members=options.members, synthetic=options.synthetic)
    train, patients, test = read_ptb_xl(options.data)
    test = test[: options.tested]
    seen, seen_in_test = seen_by(options.init, train), seen_by(options.init, test)
    print(
        f"{options.init} has seen {seen} of {len(train)} recordings to draw from, and {seen_in_test} of {len(test)} to "
        "test on"
    )
    if (seen or seen_in_test) and not options.seen:
        sys.exit("it would start from what it is to learn; name a model of other hospitals, or give --seen")
    question: Question = Challenge()
    if options.classes:
        question = OtherDiagnoses(read_own_labels(None, "Dx", options.classes, [*train, *test], options.data))
    patient_of = {header.stem: patient for header, patient in zip(train, patients)}
    made_with: dict[str, Any] = dict(
        init=start.digest, recipe=to_dict(recipe), classes=options.classes, test=[header.stem for header in test]
    )
    check_settings(options.out / "settings.json", json.loads(json.dumps(made_with)))
    rows = []
    for count in options.recordings:
        answers = {
            (arm, seed): trained_and_tested(
                drawn(train, patients, count, seed),
                patient_of,
                test,
                options.out / f"{count}" / f"seed {seed}" / arm,
                arm,
                question,
                recipe,
                seed,
                options,
            )
            for seed in options.seeds
            for arm in question.arms
        }
        results = dict(zip(answers, question.results(test, options.data, list(answers.values()), options.resamples)))
        rows.append([f"{count:,}", *row(results, question, options.seeds)])
    first, *others = question.arms
    head = ["recordings", *(f"{arm}, {question.title} (seeds)" for arm in question.arms)]
    write_table([*head, *(f"{arm} − {first} [95 %] (seeds)" for arm in others)], rows, options.table)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
