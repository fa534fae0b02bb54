"""Labels of the user's own for the evaluator and for trained models, in place of the codes in the headers.

task, labels, known = labels_of_source(files, label_folder, source)
task, labels, known, systems = only_given(task, labels, known, systems, findings)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..data.classes import OWN, Classes
from ..data.label_tables import UNKNOWN
from ..data.own_labels import OwnLabels, as_arrays, cells_by_recording, labels_of_classes, read_own_labels, written
from ..errors import UserError
from ..terminal import printable
from .files import Files
from .findings import Findings
from .options import LabelSource
from .task import Task


def labels_of_source(
    files: Files, label_folder: str | Path, source: LabelSource
) -> tuple[Task, np.ndarray, np.ndarray]:
    """The classes, labels and known labels that the options --labels, --label-field and --classes name.

    Parameters
    ----------
    files : Files
    label_folder : path
        The folder in which `find_files` found the headers.
    source : LabelSource

    Returns
    -------
    task : Task
    labels, known : bool (recordings, classes)
        A recording that has no labels is unknown in every class, and so changes no metric.

    Raises
    ------
    UserError
        If the labels cannot be read, or none of them is of these recordings.
    """
    headers = [Path(header) for header in files.headers]
    table = read_own_labels(source.table, source.field, source.classes, headers, Path(label_folder))
    called = [name.replace(os.sep, "/") for name in files.names]
    rows = cells_by_recording(table, called, source.table or "")
    nothing = UNKNOWN * len(table.names)
    labels, known = as_arrays([row or nothing for row in rows])
    if not known.any():
        raise UserError(f"{table.origin}: there is no label of any recording in {label_folder}")
    index = {written(name): place for place, name in enumerate(table.names)}
    return Task(OWN, table.names, index), labels, known


def check_kind_of_labels(model: Path, classes: Classes, source: LabelSource) -> None:
    """Raises UserError if labels are named for a model of the Challenge's classes, or not named for one of others."""
    if classes.are_own and not source.is_given:
        raise UserError(
            f"{printable(model)}: the model has learned labels of your own; say with --labels or --label-field where "
            "those of these recordings are"
        )
    if source.is_given and not classes.are_own:
        raise UserError(
            f"{printable(model)}: the model has the Challenge's classes, which are read from the headers; leave out "
            "--labels and --label-field"
        )


def labels_of_model(
    classes: Classes, source: LabelSource, headers: Sequence[Path], root: Path, log: Callable[[str], None]
) -> OwnLabels:
    """The labels of a model's classes for recordings below `root`.

    Raises
    ------
    UserError
        See data.own_labels.read_own_labels and labels_of_classes.
    """
    table = read_own_labels(source.table, source.field, source.classes, headers, root)
    return labels_of_classes(table, classes, headers, root, log)


def only_given(
    task: Task,
    labels: np.ndarray,
    known: np.ndarray | None,
    systems: list[tuple[np.ndarray, np.ndarray]],
    findings: Findings,
) -> tuple[Task, np.ndarray, np.ndarray | None, list[tuple[np.ndarray, np.ndarray]]]:
    """The same without the classes that are in no output file: the model did not learn them, as they are too rare."""
    kept = np.array([name not in findings.names["absent"] for name in task.classes])
    if kept.all():
        return task, labels, known, systems
    if not kept.any():
        raise UserError("no output file has any of the classes; were the outputs made by a model of these labels?")
    classes = tuple(name for name, keep in zip(task.classes, kept) if keep)
    return (
        dataclasses.replace(task, classes=classes, index={written(name): place for place, name in enumerate(classes)}),
        labels[:, kept],
        None if known is None else known[:, kept],
        [(outputs[:, kept], scores[:, kept]) for outputs, scores in systems],
    )
