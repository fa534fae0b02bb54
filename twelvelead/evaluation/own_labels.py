"""Labels of the user's own for the evaluator, in place of the codes in the headers.

task, labels, known = labels_of_source(files, label_folder, source)
task, labels, known, systems = only_given(task, labels, known, systems, findings)
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from ..data.classes import OWN
from ..data.label_tables import UNKNOWN
from ..data.own_labels import as_arrays, cells_by_recording, read_own_labels, written
from ..errors import UserError
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
