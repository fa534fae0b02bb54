"""What a report is made of: labels, outputs and scores, and what the headers and the model say about them.

    request = Request(labels=Path("labels"), outputs=Path("outputs"), out=Path("report.html"))
    inputs = read_inputs(request)

Files are read as the evaluator reads them. Where the official script would stop, a report goes on with an all-negative
row for the recording, and says so: it is made to find out what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.classes import CPSC, DIAGNOSES, EQUIVALENT, WEIGHTS
from ..data.header import read_header
from ..data.sources import source_of
from ..errors import RecordingError, UserError
from ..evaluation.files import Files, find_files, find_outputs, groups_by_table
from ..evaluation.findings import Findings
from ..evaluation.official import read_labels, read_outputs
from ..evaluation.run import Predictions
from ..evaluation.task import Task, load_task

_OWN_LABELS = "a report is about the Challenge's classes, and `twelvelead evaluate --labels` scores labels of your own"


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
        Outputs and scores of the run, and of the one to compare with, if there is one.
    sources, sexes : str (recordings,)
    ages : float64 (recordings,)
        Years; NaN if unknown.
    thresholds : float64 (classes,)
        Of the model; NaN where none is known.
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
    notes: list[str] = field(default_factory=list)


def read_inputs(request: Request) -> Inputs:
    """Reads everything but signals.

    Raises
    ------
    UserError
        If a folder, the weights table, the sources or the model cannot be read, no recording has an output file, or
        no output file has a class that is scored, which is so with a model of the user's own labels.
    """
    task = load_task(request.year, request.weights or WEIGHTS)
    findings, other_findings = Findings(), Findings()
    files = find_files(task, str(request.labels), str(request.outputs), findings)
    _check_any_output(files, request.outputs, request.labels)
    task, labels = read_labels(task, files, findings)
    thresholds = _thresholds(request.model, task)
    systems = [read_outputs(task, files, findings)]
    if task.classes and set(task.classes) <= set(findings.names["absent"]):
        raise UserError(f"{request.outputs}: no output file has any of the classes that are scored; {_OWN_LABELS}")
    notes = _notes(findings, task)
    if request.compare:
        other = find_outputs(task, files, str(request.compare), other_findings)
        _check_any_output(other, request.compare, request.labels)
        systems.append(read_outputs(task, other, other_findings))
        notes += [f"{request.compare}: {line}" for line in _notes(other_findings, task)]
    if not task.classes:
        raise UserError(f"{request.labels}: the headers have no labels, so there are no classes to report on")
    sexes, ages = _people(files.headers)
    return Inputs(
        task=task,
        class_names=class_names(task.classes),
        names=files.names,
        headers=files.headers,
        labels=labels,
        systems=systems,
        sources=_sources(files, request),
        sexes=sexes,
        ages=ages,
        thresholds=thresholds,
        notes=notes,
    )


def _check_any_output(files: Files, outputs: Path, labels: Path) -> None:
    if not any(files.outputs):
        raise UserError(
            f"{outputs}: no output file (*.csv) for any of the {len(files.names)} recordings in {labels}; "
            "classify them first, or name the folder that has their outputs"
        )


def _notes(findings: Findings, task: Task) -> list[str]:
    """What is wrong with files, and at how many of them the official script would have stopped."""
    notes = findings.lines()
    for path, why in list(findings.stops.items())[:1]:
        notes.append(
            f"files at which the official script of {task.year} stops, taken as all-negative here: "
            f"{len(findings.stops)} ({path}: {why})"
        )
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


def _thresholds(model: Path | None, task: Task) -> np.ndarray:
    """The thresholds of a model folder in the order of the task's classes, float64 (classes,)."""
    thresholds = np.full(len(task.classes), np.nan)
    if model is None:
        return thresholds
    from ..inference.model_files import read_description, whole_model  # here, since it imports torch

    description = read_description(whole_model(model))
    if description.classes.are_own:
        raise UserError(f"{model}: {_OWN_LABELS}")
    index = description.classes.index
    for place, entry in enumerate(task.classes):
        known = [index[code] for code in entry.split("|") if code in index]
        if known:
            thresholds[place] = description.thresholds[known[0]]
    if np.isnan(thresholds).all():
        raise UserError(f"{model}: the model has none of the classes that are scored; name the model of these outputs")
    return thresholds
