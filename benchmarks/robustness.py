#!/usr/bin/env python
"""What a model loses on copies of recordings as other hospitals would have made them: docs/generalisation.md.

    python benchmarks/robustness.py MODEL DATA [--recordings FILE | --limit N] [--against MODEL2] [--rows NAME,NAME]
                                    [--resamples 1000] [--seed 0] [--out table.md] [--json FILE]

MODEL is any model folder, DATA any folder of labelled recordings. Each recording is read once and classified as
driver.py does it, as it is and with each corruption of corruptions.py. A row has the Challenge metric (for a model of
the nine classes of the unofficial phase √(F2·G2)) and the loss against the clean copy, with 95 % intervals from the
same resamples of the recordings for all rows and models. A limit is kept if the loss is not above it; the interval
tells how sure that is. What cannot be classified counts with the row that driver.py writes for it, sinus rhythm. Takes
5 to 10 ms a copy and member on one core.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from corruptions import CLEAN, CORRUPTIONS, corrupted
from robustness_table import as_markdown
from tqdm import tqdm

from twelvelead.data.classes import Classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import read_header
from twelvelead.data.recording import Recording, read_recording
from twelvelead.errors import RecordingError, UserError
from twelvelead.evaluation.bootstrap import interval
from twelvelead.experiments.compare import MAIN, difference, score
from twelvelead.experiments.tables import NAMES
from twelvelead.files import write_json
from twelvelead.inference.classify import CHUNK, rows_of
from twelvelead.inference.ensemble import Ensemble, load_ensemble
from twelvelead.inference.model_files import manifest_of
from twelvelead.preprocessing.prepare import Prepared, prepare
from twelvelead.recipes import Input

# (corruption, number of the model) → outputs bool and scores float64 (recordings, classes), recordings that fell back
Predictions = dict[tuple[str, int], tuple[np.ndarray, np.ndarray, int]]


# ----------------------------------------------------------------------------------------------------------- recordings


def chosen(headers: list[Path], file: Path | None, limit: int | None, seed: int) -> list[Path]:
    """The recordings that `file` names, or `limit` of them at random, or all.

    Raises
    ------
    UserError
        If the file cannot be read or names a recording that is not there.
    """
    if file is not None:
        names = names_in(file)
        if not names:
            raise UserError(f"{file}: it names no recording; give one name a line")
        lost = sorted(names - {header.stem for header in headers})
        if lost:
            raise UserError(
                f"{file}: {len(lost)} of its {len(names)} recordings are not in the data folder, such as {lost[0]}"
            )
        return [header for header in headers if header.stem in names]
    if limit is not None and limit < len(headers):
        return [headers[k] for k in sorted(np.random.default_rng(seed).choice(len(headers), limit, replace=False))]
    return headers


def names_in(file: Path) -> set[str]:
    """Recordings in a CSV file's column `recording`, or, without such a head, first of each line."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: the recordings' names cannot be read ({error}); give one name a line") from None
    column = rows[0].index("recording") if rows and "recording" in rows[0] else None
    cells = {row[column or 0] for row in rows[column is not None :] if len(row) > (column or 0)}
    return cells - {""}


# --------------------------------------------------------------------------------------------------------------- scores


def classify_copies(
    models: list[Ensemble], headers: list[Path], names: list[str], classes: Classes, seed: int
) -> Predictions:
    """Labels and scores of each model for each recording and corruption, in the columns of `classes`.

    A class that a model does not know has label and score 0.
    """
    shape = len(headers), len(classes.codes)
    outputs = {(name, k): np.zeros(shape, dtype=bool) for name in names for k in range(len(models))}
    scores = {key: np.zeros(shape) for key in outputs}
    fell_back = dict.fromkeys(outputs, 0)
    inputs = [model.inputs for model in models]
    started = time.perf_counter()
    # Threads, since corrupting and resampling spend their time in numpy, which releases the interpreter's lock.
    with (
        joblib.Parallel(n_jobs=-1, prefer="threads") as parallel,
        tqdm(total=len(headers) * len(names), desc="classifying", unit="copy", file=sys.stderr, disable=None) as bar,
    ):
        for first in range(0, len(headers), CHUNK):
            recordings = parallel(joblib.delayed(_read)(header) for header in headers[first : first + CHUNK])
            for name in names:
                copies = parallel(joblib.delayed(_prepared)(item, name, inputs, seed) for item in recordings)
                for k, model in enumerate(models):
                    for place, row in enumerate(rows_of(model, [copy[k] for copy in copies]), first):
                        outputs[name, k][place] = model.classes.of_output(row.labels, classes.codes) == 1
                        scores[name, k][place] = model.classes.of_output(row.scores, classes.codes)
                        fell_back[name, k] += row.fault is not None
                bar.update(len(recordings))
            if bar.disable:
                print(
                    f"{first + len(recordings)} of {len(headers)} recordings, {len(names)} copies of each, in "
                    f"{(time.perf_counter() - started) / 60:.1f} min",
                    flush=True,
                )
    return {key: (outputs[key], scores[key], fell_back[key]) for key in outputs}


def _read(header: Path) -> Recording | str:
    try:
        return read_recording(header)
    except RecordingError as error:
        return str(error)


def _prepared(
    recording: Recording | str, name: str, inputs: list[tuple[Input, ...]], seed: int
) -> list[Prepared | str]:
    """The corrupted copy as each model takes it, or a line that says why there is none."""
    try:
        if isinstance(recording, str):
            raise RecordingError(recording)
        copy = corrupted(recording, name, seed)
        return [prepare(copy, *of_model) for of_model in inputs]
    except RecordingError as error:
        return [str(error)] * len(inputs)


def compare(
    labels: np.ndarray, answers: Predictions, classes: Classes, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """A row of figures for each corruption; a figure is a dict of value, low and high.

    Raises
    ------
    UserError
        If no recording has a scored diagnosis.
    """
    # The unofficial phase's metrics divide by a recording's number of labels, so a recording without labels cannot
    # count.
    counted = labels.any(axis=1)
    if not counted.any():
        raise UserError("no recording has a diagnosis that is scored: give recordings with #Dx in their headers")
    if classes.year != "unofficial":
        counted[:] = True
    predictions = {key: (outputs[counted], scores[counted]) for key, (outputs, scores, _) in answers.items()}
    scored = score(labels[counted], predictions, classes, None, resamples, seed)
    metric = MAIN[classes.year]
    rows = []
    for name in dict.fromkeys(name for name, _ in answers):
        limit = CORRUPTIONS[name].limit
        row = dict(name=name, title=CORRUPTIONS[name].title, limit=limit, models=[])
        for key in (key for key in answers if key[0] == name):
            low, high = interval(scored[key][1][metric])
            loss = difference(scored[CLEAN, key[1]], scored[key], metric)
            row["models"].append(
                dict(
                    score=dict(value=scored[key][0][metric], low=low, high=high),
                    loss=loss,
                    kept=None if limit is None else bool(loss["value"] <= limit),
                    fell_back=answers[key][2],
                )
            )
        if (name, 1) in answers:
            row["difference"] = difference(scored[name, 0], scored[name, 1], metric)
        rows.append(row)
    return rows


def measure(
    folders: list[Path],
    data: Path,
    *,
    recordings: Path | None = None,
    limit: int | None = None,
    names: list[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of one model folder or of two.

    Parameters
    ----------
    folders : list of Path
        The first model's classes are scored.
    names : list of str, optional
        Corruptions, all by default; the clean copy comes first in any case.

    Returns
    -------
    dict
        What --json writes: models, recordings, metric, seed, resamples, rows.

    Raises
    ------
    UserError
    """
    unknown = [name for name in names or () if name not in CORRUPTIONS]
    if unknown:
        raise UserError(f"unknown corruption '{unknown[0]}'; there are: {', '.join(CORRUPTIONS)}")
    models = [load_ensemble(folder) for folder in folders]
    headers = find_recordings(data)
    if not headers:
        raise UserError(f"{data}: there are no recordings here (no .hea files)")
    headers = chosen(headers, recordings, limit, seed)
    codes = [read_header(header).codes for header in headers]
    classes = models[0].classes
    rows = [name for name in CORRUPTIONS if names is None or name in [CLEAN, *names]]
    answers = classify_copies(models, headers, rows, classes, seed)
    return dict(
        models=[_about(folder) for folder in folders],
        data=str(data),
        recordings=len(headers),
        seed=seed,
        resamples=resamples,
        metric=NAMES[MAIN[classes.year]],
        rows=compare(classes.labels(codes), answers, classes, resamples, seed),
    )


def _about(folder: Path) -> dict[str, Any]:
    """What stands in a model folder of how it was made; `epochs`: those that each member had."""
    manifest = manifest_of(folder)
    recipe = manifest["recipe"]
    with open(folder / "history.csv", newline="") as file:
        epochs = Counter(row["member"] for row in csv.DictReader(file))
    return dict(
        folder=str(folder),
        recipe=recipe["name"],
        network=recipe["network"]
        if "network" in recipe
        else {"of": "/".join(part["name"] for part in recipe["parts"])},
        epochs=[epochs[str(member)] for member in manifest["members"]],
        seed=manifest["seed"],
        recordings=manifest["recordings"],
    )


# -------------------------------------------------------------------------------------------------------------- command


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("data", type=Path, metavar="DATA")
    some = parser.add_mutually_exclusive_group()
    some.add_argument(
        "--recordings",
        type=Path,
        metavar="FILE",
        help="names of the recordings to take, one a line or in a CSV file's column 'recording'",
    )
    some.add_argument("--limit", type=_positive, metavar="N", help="take so many recordings, at random")
    parser.add_argument("--against", type=Path, metavar="MODEL2", help="a second model, compared with the first one")
    parser.add_argument("--rows", metavar="NAME,NAME", help=f"of: {', '.join(CORRUPTIONS)}")
    parser.add_argument("--resamples", type=_positive, default=1000, metavar="N", help="of the 95 %% intervals (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of corruptions, resamples and --limit (0)")
    parser.add_argument("--out", type=Path, metavar="TABLE.md")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    command = shlex.join(["python", "benchmarks/robustness.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        for path in (arguments.out, arguments.json):
            if path is not None and not path.parent.is_dir():  # now, not after an hour
                raise UserError(f"{path}: there is no folder {path.parent} to write it into")
        folders = [arguments.model] + ([arguments.against] if arguments.against else [])
        results = measure(
            folders,
            arguments.data,
            recordings=arguments.recordings,
            limit=arguments.limit,
            names=arguments.rows.split(",") if arguments.rows else None,
            resamples=arguments.resamples,
            seed=arguments.seed,
        )
    except UserError as error:
        sys.exit(str(error))
    text = as_markdown(results, command)
    print("\n" + text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    if arguments.json:
        write_json(arguments.json, dict(command=command, **results))


if __name__ == "__main__":
    main()
