"""What a report is made of: labels, outputs and scores, and what the headers and the model say about them.

    request = Request(labels=Path("labels"), outputs=Path("outputs"), out=Path("report.html"))
    inputs = read_inputs(request)

Files are read as the evaluator reads them. Where the official script would stop, a report goes on with an all-negative
row for the recording, and says so: it is made to find out what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.classes import CPSC, DIAGNOSES, EQUIVALENT, OWN, WEIGHTS
from ..data.header import read_header
from ..data.sources import source_of
from ..errors import RecordingError, UserError
from ..evaluation.files import Files, find_files, find_outputs, groups_by_table
from ..evaluation.findings import Findings
from ..evaluation.official import read_labels, read_outputs
from ..evaluation.options import LabelSource
from ..evaluation.own_labels import labels_of_source, only_given
from ..evaluation.report import metrics_of
from ..evaluation.run import Predictions
from ..evaluation.task import Task, load_task
from ..terminal import printable

if TYPE_CHECKING:  # importing it takes the seconds that torch takes
    from ..inference.model_files import Description

# The key in evaluation.masked.OWN_METRICS of each metric that `twelvelead train --metric` knows.
_KEY_OF_METRIC = {"f1": "f_measure", "auroc": "auroc"}
_GIVE_LABELS = "if its classes are your own labels, say with --labels or --label-field where these are"


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes
    ----------
    labels, outputs : Path
        Folders of headers and of output files.
    out : Path
        The page to write.
    model : Path, optional
        Folder of the model that wrote the outputs; its thresholds are shown.
    data : Path, optional
        Folder with the signals, where LABELS has only headers.
    compare : Path, optional
        Folder of other outputs for the same recordings.
    sources : Path, optional
        CSV file of recording,group; by default the folders in LABELS are the sources.
    weights : Path, optional
        The Challenge's weights table of 2020 or 2021.
    year : str, optional
        Whose rules and metrics; by default the weights table's.
    resamples, seed : int
        Of the bootstrap.
    mistakes : int
        How many of the costliest mistakes are shown.
    own : LabelSource
        Where labels of the user's own are read, in place of the diagnoses in the headers.
    """

    labels: Path
    outputs: Path
    out: Path
    model: Path | None = None
    data: Path | None = None
    compare: Path | None = None
    sources: Path | None = None
    weights: Path | None = None
    year: str | None = None
    resamples: int = 1000
    seed: int = 0
    mistakes: int = 8
    own: LabelSource = field(default_factory=LabelSource)


@dataclass(frozen=True)
class ClassName:
    """How a class is called: SNOMED CT codes or a text label, a short name, and a name in words."""

    codes: str
    short: str
    name: str


@dataclass(frozen=True)
class Inputs:
    """Labels, predictions, and what is known of each recording; row i of every field is the same recording.

    Attributes
    ----------
    task : Task
        Classes, year and rewards.
    class_names : list of ClassName
    names, headers : list of str
        Of the recordings, and paths of their headers.
    labels : bool (recordings, classes)
    systems : list of Predictions
        Outputs and scores of the run, and of the one to compare with, if there is one. Where a label is unknown, both
        the label and the output are False, so that a count of either counts no such cell.
    sources, sexes : str (recordings,)
    ages : float64 (recordings,)
        Years; NaN if unknown.
    thresholds : float64 (classes,)
        Of the model; NaN where none is known.
    moved : float64 (recordings, classes), optional
        Thresholds of each recording, if the model has a context that moves its own; see thresholds/context.py.
    main : str
        Key of the metric that the page shows first: the one that decides the Challenge's ranking; with labels of the
        user's own the one for which the model was trained, or the F-measure where no model is named.
    known : bool (recordings, classes), optional
        With labels of the user's own, the labels that are known; None where all are. Every recording has one.
    notes : list of str
        What is wrong with the files.
    """

    task: Task
    class_names: list[ClassName]
    names: list[str]
    headers: list[str]
    labels: np.ndarray
    systems: list[Predictions]
    sources: np.ndarray
    sexes: np.ndarray
    ages: np.ndarray
    thresholds: np.ndarray
    main: str
    known: np.ndarray | None = None
    moved: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def are_own(self) -> bool:
        """Whether the classes are labels of the user's own, to which nothing of the Challenge applies."""
        return self.task.year == OWN

    def threshold(self, row: int, place: int) -> float:
        """The threshold of a class in a recording."""
        return float(self.thresholds[place] if self.moved is None else self.moved[row, place])

    def known_rows(self, place: int) -> np.ndarray:
        """The recordings of which it is known whether they have the class at a place, bool (recordings,)."""
        return np.ones(len(self.labels), dtype=bool) if self.known is None else self.known[:, place]


def read_inputs(request: Request) -> Inputs:
    """Reads everything but signals.

    Raises
    ------
    UserError
        If a folder, the weights table, the labels, the sources or the model cannot be read, no recording has an output
        file, no output file has a class that is scored, or the model's classes are others.
    """
    task = Task(OWN) if request.own.is_given else load_task(request.year, request.weights or WEIGHTS)
    findings, other_findings = Findings(), Findings()
    files = find_files(task, str(request.labels), str(request.outputs), findings)
    _check_any_output(files, request.outputs, request.labels)
    known: np.ndarray | None = None
    if request.own.is_given:
        task, labels, known = labels_of_source(files, request.labels, request.own)
    else:
        task, labels = read_labels(task, files, findings)
    model = _description(request.model, are_own=request.own.is_given)
    systems = [read_outputs(task, files, findings)]
    notes = _notes(findings, task)
    if request.compare:
        other = find_outputs(task, files, str(request.compare), other_findings)
        _check_any_output(other, request.compare, request.labels)
        systems.append(read_outputs(task, other, other_findings))
        notes += [f"{request.compare}: {line}" for line in _notes(other_findings, task)]
    if not task.classes:
        raise UserError(f"{request.labels}: the headers have no labels, so there are no classes to report on")
    if known is not None and not request.own.classes:
        task, labels, known, systems = only_given(task, labels, known, systems, findings)
    if set(task.classes) <= set(findings.names["absent"]):
        hint = "were they made by a model of these labels?" if request.own.is_given else _GIVE_LABELS
        raise UserError(f"{request.outputs}: no output file has any of the classes that are scored; {hint}")
    sexes, ages = _people(files.headers)
    inputs = Inputs(
        task=task,
        class_names=own_class_names(task.classes) if request.own.is_given else class_names(task.classes),
        names=files.names,
        headers=files.headers,
        labels=labels,
        systems=systems,
        sources=_sources(files, request),
        sexes=sexes,
        ages=ages,
        thresholds=_thresholds(model, request.model, task),
        moved=_moved_thresholds(model, task, systems[0][1]),
        main=_main_metric(task, model),
        notes=notes,
    )
    return inputs if known is None else _of_known(inputs, known)


def _of_known(inputs: Inputs, known: np.ndarray) -> Inputs:
    """The recordings of which any label is known, bool (recordings, classes), without the outputs for the others.

    The rest is noted. Nothing that is shown could count a recording of which nothing is known but the number of
    recordings, and there it would mislead.
    """
    rows: np.ndarray = np.asarray(known.any(axis=1))
    nothing = [name for name, some in zip(inputs.names, rows) if not some]
    notes = list(inputs.notes)
    if nothing:
        more = ", ..." if len(nothing) > 3 else ""
        notes.append(
            f"recordings of which no label is known, left out: {len(nothing)} ({', '.join(nothing[:3])}{more})"
        )
    return replace(
        inputs,
        names=[name for name, some in zip(inputs.names, rows) if some],
        headers=[header for header, some in zip(inputs.headers, rows) if some],
        labels=(inputs.labels & known)[rows],
        systems=[((outputs & known)[rows], scores[rows]) for outputs, scores in inputs.systems],
        sources=inputs.sources[rows],
        sexes=inputs.sexes[rows],
        ages=inputs.ages[rows],
        known=known[rows],
        notes=notes,
    )


def _check_any_output(files: Files, outputs: Path, labels: Path) -> None:
    if not any(files.outputs):
        raise UserError(
            f"{outputs}: no output file (*.csv) for any of the {len(files.names)} recordings in {labels}; "
            "classify them first, or name the folder that has their outputs"
        )


def _notes(findings: Findings, task: Task) -> list[str]:
    """What is wrong with files, and how many of them count as if nothing had been found."""
    notes = findings.lines()
    where = "without a usable output" if task.year == OWN else f"at which the official script of {task.year} stops"
    for path, why in list(findings.stops.items())[:1]:
        notes.append(f"files {where}, taken as all-negative here: {len(findings.stops)} ({path}: {why})")
    return notes


def class_names(classes: Sequence[str]) -> list[ClassName]:
    """Names of a task's classes, each a code, codes joined as A|B, or a text label of the unofficial phase."""
    names = []
    for entry in classes:
        codes = [CPSC.get(code, code) for code in entry.split("|")]
        known = [code for code in (EQUIVALENT.get(code, code) for code in codes) if code in DIAGNOSES]
        short, name = DIAGNOSES[known[0]] if known else (entry, "")
        names.append(ClassName(entry, short, name))
    return names


def own_class_names(classes: Sequence[str]) -> list[ClassName]:
    """Names of the user's own classes. A SNOMED CT code of the Challenge is also given in words.

    Nothing else is: a class that is called "Normal" is not the Challenge's sinus rhythm.
    """
    return [ClassName(entry, *DIAGNOSES.get(entry, (entry, ""))) for entry in classes]


def _people(headers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sex, str, and age in years, float64, of each recording; unknown where a header cannot be read."""
    sexes, ages = [], []
    for path in headers:
        try:
            header = read_header(path)
        except RecordingError:  # its labels may still be readable, and a note tells if they are not
            sexes.append("unknown")
            ages.append(float("nan"))
        else:
            sexes.append(header.sex)
            ages.append(header.age_years)
    return np.array(sexes), np.array(ages, dtype=np.float64)


def _sources(files: Files, request: Request) -> np.ndarray:
    if request.sources:
        return np.array(groups_by_table(files, str(request.sources)))
    return np.array([source_of(path, request.labels) for path in files.headers])


def _description(model: Path | None, *, are_own: bool) -> Description | None:
    """The model in a folder; None if no folder is named.

    Raises
    ------
    UserError
        If there is no model, or its classes are the user's own and the report is about the Challenge's.
    """
    if model is None:
        return None
    from ..inference.model_files import read_description, whole_model  # here, since it imports torch

    description = read_description(whole_model(model))
    if description.classes.are_own and not are_own:
        raise UserError(
            f"{printable(model)}: the model has learned labels of your own; say with --labels or --label-field where "
            "these are"
        )
    return description


def _thresholds(description: Description | None, model: Path | None, task: Task) -> np.ndarray:
    """The thresholds of a model in the order of the task's classes, float64 (classes,)."""
    thresholds = np.full(len(task.classes), np.nan)
    if description is None:
        return thresholds
    for place, k in _classes_of_model(description, task).items():
        thresholds[place] = description.thresholds[k]
    if np.isnan(thresholds).all():
        raise UserError(f"{model}: the model has none of the classes that are scored; name the model of these outputs")
    return thresholds


def _classes_of_model(description: Description, task: Task) -> dict[int, int]:
    """For the place of each class of the task that the model has, its column in the model."""
    index, columns = description.classes.index, {}
    for place, entry in enumerate(task.classes):
        codes = [entry] if task.year == OWN else entry.split("|")
        known = [index[code] for code in codes if code in index]
        if known:
            columns[place] = known[0]
    return columns


def _moved_thresholds(description: Description | None, task: Task, scores: np.ndarray) -> np.ndarray | None:
    """The thresholds of each recording from the scores (recordings, classes) of all classes; see `Inputs`."""
    if description is None or description.context is None:
        return None
    from ..inference.ensemble import thresholds_of_scores

    columns = _classes_of_model(description, task)
    place_of = {k: place for place, k in columns.items()}
    codes, line = description.classes.codes, description.probabilities
    if len(place_of) < len(codes):  # without the scores of all classes they are not known
        return None
    reported = scores[:, [place_of[k] for k in range(len(codes))]]
    of_mean = thresholds_of_scores(description, reported if line is None else line.inverse(reported))
    moved = np.full(scores.shape, np.nan)
    moved[:, list(columns)] = (of_mean if line is None else line(of_mean))[:, list(columns.values())]
    return moved


def _main_metric(task: Task, description: Description | None) -> str:
    """The key of the metric that the page shows first; see `Inputs`."""
    if task.year == OWN and description is not None and description.classes.are_own:
        return _KEY_OF_METRIC[description.classes.metric]
    return list(metrics_of(task))[-1]  # the organizers name the one that decides the ranking last
