"""What an experiment consists of: recipes, the recordings of a data folder, and which of them train and which test.

recipes = get_recipes(["butt", "crnn"])
cohort = read_cohort(DATA, patients)
design = cross_validation(cohort, 5, table, seed=0)      # or leave_one_source_out(cohort), holdout(cohort, groups)
train, test = design.splits["fold_1"]                    # rows of the cohort
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
from ..data.header import Header, read_header
from ..data.sources import source_of
from ..data.splits import mask_of_each_source, stratified_folds
from ..errors import RecordingError, UserError
from ..recipes import RECIPES, AnyRecipe, get_recipe

SMALL = "small"  # name of the source that small ones are pooled into
UNUSED = "unused"  # test group of recordings that are neither trained on nor tested
Log = Callable[[str], None]


def get_recipes(names: Sequence[str]) -> list[AnyRecipe]:
    """The recipes of these names, in the order of the registry.

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
    """The recordings of a data folder, in experiments those with a diagnosis; row i of every field is the same one.

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
        Recording name → patient, the parameter `patients` of `read_cohort`.
    """

    root: Path
    headers: tuple[Path, ...]
    names: tuple[str, ...]
    codes: tuple[tuple[str, ...], ...]
    patients: tuple[str | None, ...]
    sources: tuple[str, ...]
    listed_patients: dict[str, str]

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """A number for the patient of each of these rows, int (rows,), in the order in which patients first occur.

        A recording whose patient is not known is a group by itself.
        """
        numbers: dict[object, int] = {}
        return np.array([numbers.setdefault(self.patients[row] or int(row), len(numbers)) for row in rows])


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


def read_cohort(
    data: Path, patients: dict[str, str] | None = None, log: Log = print, *, needs_diagnosis: bool = True
) -> Cohort:
    """Reads the headers of all recordings below a folder. Signals are not read yet.

    A recording whose header cannot be read, for whatever reason, is left out and reported, and costs no other.

    Parameters
    ----------
    patients : dict, optional
        Recording name → patient, where the headers do not tell it.
    needs_diagnosis : bool
        Whether recordings without a diagnosis are left out.

    Raises
    ------
    UserError
        If no recording is left.
    """
    diagnosed: list[tuple[Path, Header]] = []
    faults: list[str] = []
    undiagnosed = 0
    for path in tqdm(find_recordings(data), desc="reading headers", unit="rec", file=sys.stderr, disable=None):
        try:
            header = read_header(path)
        except RecordingError as error:
            faults.append(str(error))
            continue
        except Exception as error:  # a MemoryError, or a mistake in this program
            faults.append(f"{path}: {type(error).__name__}: {error}")
            continue
        if header.codes or not needs_diagnosis:
            diagnosed.append((path, header))
        else:
            undiagnosed += 1
    if faults:
        log(f"left out: {len(faults)} recordings whose header cannot be read; the first: {faults[0]}")
    if undiagnosed:
        log(f"left out: {undiagnosed} recordings without a diagnosis (#Dx)")
    if not diagnosed and not needs_diagnosis:
        raise UserError(f"{data}: there is no recording here whose header can be read")
    if not diagnosed:
        raise UserError(f"{data}: no recording here has a diagnosis (#Dx); point at a folder of Challenge data")
    return Cohort(
        data,
        tuple(path for path, _ in diagnosed),
        tuple(path.relative_to(data).with_suffix("").as_posix() for path, _ in diagnosed),
        tuple(header.codes for _, header in diagnosed),
        tuple(header.patient or (patients or {}).get(header.name) for _, header in diagnosed),
        tuple(source_of(path, data) for path, _ in diagnosed),
        patients or {},
    )


def cross_validation(cohort: Cohort, folds: int, table: WeightTable, seed: int) -> Design:
    """Each fold is tested by a model that was trained on the other folds.

    The folds are stratified over the classes of all label sets, and a patient's recordings are in one fold.
    """
    labels = np.concatenate([classes_for(name, table).labels(cohort.codes) for name in LABEL_SETS], axis=1)
    fold = stratified_folds(labels, folds, seed, cohort.patients if any(cohort.patients) else None)
    digits = len(str(folds))
    return _each_against_the_rest(dict(command="crossval", folds=folds), [f"fold_{k + 1:0{digits}}" for k in fold])


def leave_one_source_out(cohort: Cohort, pool_below: int = 0) -> Design:
    """Each source is tested by a model that was trained on the other sources.

    Sources with fewer recordings than `pool_below` count as one source, "small".
    """
    size = Counter(cohort.sources)
    sources = [SMALL if size[source] < pool_below else source for source in cohort.sources]
    return _each_against_the_rest(dict(command="leave-one-source-out", pool_below=pool_below), sources)


def _each_against_the_rest(experiment: dict[str, Any], parts: list[str]) -> Design:
    return Design(
        experiment,
        {name: (np.flatnonzero(~test), np.flatnonzero(test)) for name, test in mask_of_each_source(parts).items()},
        tuple(parts),
    )


def holdout(cohort: Cohort, groups: dict[str, str], log: Log = print) -> Design:
    """The recordings that have a test group are tested by one model that was trained on those that have none.

    Each test group is also scored by itself.

    Parameters
    ----------
    groups : dict
        Recording (its name, or its path below the data folder without .hea) → test group. Recordings of the group
        "unused" are neither trained on nor tested.

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
    patients_in_both = {cohort.patients[row] for row in train} & {cohort.patients[row] for row in test} - {None}
    if patients_in_both:
        log(f"note: recordings of {len(patients_in_both)} patients are both trained on and tested")
    sizes = dict(sorted(Counter(part for part in parts if part is not None).items()))
    return Design(
        dict(command="holdout", groups=sizes),
        {"holdout": (train, test)},
        tuple(None if part == UNUSED else part for part in parts),
    )
