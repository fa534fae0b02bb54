"""What an experiment consists of: recipes, the recordings of a data folder, and who of them trains and who is tested.

recipes = get_recipes(["butt", "crnn"])
cohort = read_cohort(DATA, patients)
plan = cross_validation(cohort, 5, table, seed=0)      # or leave_one_source_out(cohort), holdout(cohort, groups)
train, test = plan.splits["fold_1"]                    # rows of the cohort
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.classes import LABEL_SETS, WeightTable, classes_for
from ..data.folders import find_recordings
from ..data.header import read_header
from ..data.sources import source_of
from ..data.splits import leave_one_source_out as each_source
from ..data.splits import stratified_folds
from ..errors import RecordingError, UserError
from ..recipes import RECIPES, Recipe, get_recipe

SMALL = "small"  # name of the sources that are pooled
UNUSED = "unused"  # test group of recordings that are neither trained on nor tested
Log = Callable[[str], None]


def get_recipes(names: Sequence[str]) -> list[Recipe]:
    """The recipes of these names, in their usual order whatever the order of the names.

    Raises
    ------
    UserError
        If there is no such recipe, or a name occurs twice.
    """
    recipes = [get_recipe(name) for name in names]
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"recipe '{name}' is named {count} times; name each recipe once")
    return sorted(recipes, key=lambda recipe: list(RECIPES).index(recipe.name))


@dataclass(frozen=True)
class Cohort:
    """The recordings of a data folder that have a diagnosis; row i of every field is the same recording.

    Attributes
    ----------
    headers : tuple of Path
    names : tuple of str
        Path of the header below the data folder, without .hea.
    codes : tuple of tuples of str
        Diagnoses.
    patients : tuple of str or None
    sources : tuple of str
        See sources.source_of.
    listed_patients : dict
        Recording name → patient, as `read_cohort` was given it.
    """

    root: Path
    headers: tuple[Path, ...]
    names: tuple[str, ...]
    codes: tuple[tuple[str, ...], ...]
    patients: tuple[str | None, ...]
    sources: tuple[str, ...]
    listed_patients: dict[str, str]


@dataclass(frozen=True)
class Design:
    """Which recordings train and which are tested, each at most once.

    Attributes
    ----------
    experiment : dict
        The command and its arguments.
    splits : dict
        Split → (rows of the cohort that train, rows that are tested).
    parts : tuple of str or None
        For each row of the cohort the fold or test group that it is scored in; None if it is not tested.
    """

    experiment: dict[str, Any]
    splits: dict[str, tuple[np.ndarray, np.ndarray]]
    parts: tuple[str | None, ...]


def read_cohort(data: Path, patients: dict[str, str] | None = None, log: Log = print) -> Cohort:
    """Reads the headers of all recordings below a folder; signals are read when they are needed.

    Parameters
    ----------
    patients : dict, optional
        Recording name → patient, where the headers do not tell it.

    Raises
    ------
    UserError
        If no recording has a diagnosis.
    """
    found, faults, undiagnosed = [], [], 0
    headers = find_recordings(data)
    for path in tqdm(headers, desc="reading headers", unit="rec", file=sys.stderr, disable=None):
        try:
            header = read_header(path)
        except RecordingError as error:
            faults.append(str(error))
            continue
        if header.codes:
            found.append((path, header))
        else:
            undiagnosed += 1
    if faults:
        log(f"left out: {len(faults)} recordings whose header cannot be read; the first: {faults[0]}")
    if undiagnosed:
        log(f"left out: {undiagnosed} recordings without a diagnosis (#Dx)")
    if not found:
        raise UserError(f"{data}: no recording here has a diagnosis (#Dx); point at a folder of Challenge data")
    return Cohort(
        data,
        tuple(path for path, _ in found),
        tuple(path.relative_to(data).with_suffix("").as_posix() for path, _ in found),
        tuple(header.codes for _, header in found),
        tuple(header.patient or (patients or {}).get(header.name) for _, header in found),
        tuple(source_of(path, data) for path, _ in found),
        patients or {},
    )


def cross_validation(cohort: Cohort, folds: int, table: WeightTable, seed: int) -> Design:
    """Each fold is tested by a model of the others; stratified over all label sets' classes, patients kept together."""
    labels = np.concatenate([classes_for(name, table).labels(cohort.codes) for name in LABEL_SETS], axis=1)
    known = any(cohort.patients)
    fold = stratified_folds(labels, folds, seed, cohort.patients if known else None)
    digits = len(str(folds))
    return _each_against_the_rest(dict(command="crossval", folds=folds), [f"fold_{k + 1:0{digits}}" for k in fold])


def leave_one_source_out(cohort: Cohort, pool_below: int = 0) -> Design:
    """Each source is tested by a model of the others; those of fewer recordings than `pool_below` are one, "small"."""
    size = Counter(cohort.sources)
    sources = [SMALL if size[source] < pool_below else source for source in cohort.sources]
    return _each_against_the_rest(dict(command="leave-one-source-out", pool_below=pool_below), sources)


def _each_against_the_rest(experiment: dict[str, Any], parts: list[str]) -> Design:
    return Design(
        experiment,
        {name: (np.flatnonzero(~test), np.flatnonzero(test)) for name, test in each_source(parts).items()},
        tuple(parts),
    )


def holdout(cohort: Cohort, groups: dict[str, str], log: Log = print) -> Design:
    """Recordings with a group are tested by one model of those without; each group is scored by itself, too.

    Parameters
    ----------
    groups : dict
        Recording (its name, or its path below the data folder without .hea) → test group. The group "unused" is neither
        trained on nor tested.

    Raises
    ------
    UserError
        If nothing is left to test or to train on.
    """
    keys = [
        next((key for key in (name, header.stem) if key in groups), None)
        for name, header in zip(cohort.names, cohort.headers)
    ]
    missing = len(groups.keys() - set(keys))
    if missing:
        log(
            f"passed over: {missing} of the {len(groups)} recordings with a test group are not in {cohort.root}, "
            "or have no diagnosis there"
        )
    parts = [None if key is None else groups[key] for key in keys]
    train = np.array([row for row, part in enumerate(parts) if part is None], dtype=np.int64)
    test = np.array([row for row, part in enumerate(parts) if part not in (None, UNUSED)], dtype=np.int64)
    for rows, what in ((test, "tested: none has"), (train, "trained on: all have")):
        if len(rows) == 0:
            raise UserError(f"{cohort.root}: there is no recording to be {what} a test group; look at the CSV file")
    both = {cohort.patients[row] for row in train} & {cohort.patients[row] for row in test} - {None}
    if both:
        log(f"note: recordings of {len(both)} patients are both trained on and tested")
    sizes = dict(sorted(Counter(part for part in parts if part is not None).items()))
    return Design(
        dict(command="holdout", groups=sizes),
        {"holdout": (train, test)},
        tuple(None if part == UNUSED else part for part in parts),
    )
