"""Splits of recordings into parts: stratified over the classes, patients kept together, or by source.

    fold = stratified_folds(labels, 5, seed=1, groups=patients)               # fold of each recording
    train, validation = stratified_parts(labels, 0.8, seed=1, groups=patients)
    for source, test in mask_of_each_source(sources).items(): ...             # test is a mask over the recordings
    write_splits("model/splits.json", {"member_00": {"train": [...], "validation": [...]}})

A recording is labelled with all its classes at once, so a rare class can be shared out fairly only together with the
common ones. Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) starts with the rarest class and gives
each of its recordings to the part that still lacks most of that class.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_json

Seed = int | list[int]


def stratified_folds(
    labels: np.ndarray, count: int, seed: Seed, groups: Sequence[Hashable] | None = None
) -> np.ndarray:
    """Folds of equal size with equal shares of every class.

    Parameters
    ----------
    labels : ndarray, bool, (recordings, classes)
    count : int
        Number of folds, at least 2.
    seed : int, or list of int
        Several numbers are a seed together.
    groups : sequence of hashables, optional
        The group of each recording, such as its patient. All recordings of a group are in one fold. None as an entry
        means that the recording is a group by itself.

    Returns
    -------
    ndarray of int, (recordings,)
        The fold of each recording, 0 to count - 1; no fold is empty.

    Raises
    ------
    UserError
        If there are fewer groups (without groups: recordings) than folds.
    """
    if count < 2:
        raise UserError(f"cross-validation needs at least 2 folds, not {count}")
    group = _group_numbers(labels, groups)
    group_count = group.max(initial=-1) + 1
    if group_count < count:
        what = "recordings" if groups is None else "patients or other groups"
        raise UserError(f"{count} folds need at least {count} {what}, there are {group_count}; ask for fewer folds")
    return _stratify(labels, group, np.full(count, 1 / count), seed)


def stratified_parts(
    labels: np.ndarray, fraction: float, seed: Seed, groups: Sequence[Hashable] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One random split into a training and a validation part with equal shares of every class.

    What cannot be divided is in the training part: the only recording of a class, the only recording of all, a single
    group. So the validation part can be empty; the training part never is.

    Parameters
    ----------
    labels, seed, groups
        As for `stratified_folds`.
    fraction : float
        Share of the recordings that train, above 0.5 and below 1.

    Returns
    -------
    train, validation : ndarray, bool, (recordings,)
        Each recording is in one of them.
    """
    if not 0.5 < fraction < 1:
        raise UserError(f"the share of recordings that train must be above 0.5 and below 1, not {fraction}")
    part = _stratify(labels, _group_numbers(labels, groups), np.array([fraction, 1 - fraction]), seed)
    return part == 0, part == 1


def _group_numbers(labels: np.ndarray, groups: Sequence[Hashable] | None) -> np.ndarray:
    """The group of each recording as a number from 0; a recording whose group is None is a group by itself."""
    if groups is None:
        return np.arange(len(labels))
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} recordings")
    numbers: dict[Hashable, int] = {}
    keys = (object() if group is None else group for group in groups)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=int)


def _stratify(labels: np.ndarray, group: np.ndarray, shares: np.ndarray, seed: Seed) -> np.ndarray:
    """Iterative stratification of whole groups into parts of these shares; returns the part of each recording.

    The groups are taken in random order, but larger ones before smaller ones, which can even out what the larger ones
    left uneven.
    """
    labels = np.asarray(labels, dtype=bool)
    rng = np.random.default_rng(seed)
    sizes = np.bincount(group)
    # for each group the number of its recordings of each class and, in the last column, of all its recordings
    amounts = np.zeros((len(sizes), labels.shape[1] + 1), dtype=int)
    np.add.at(amounts, group, np.column_stack([labels, np.ones(len(labels))]).astype(int))
    wanted = shares[:, None] * amounts.sum(axis=0)
    given = np.zeros_like(wanted)
    part_of = np.full(len(sizes), -1)

    while (waiting := np.flatnonzero(part_of < 0)).size:
        left = amounts[waiting].sum(axis=0)
        left[left == 0] = left[-1] + 1
        column = int(np.argmin(left))  # the rarest class that is left, or all recordings once no class is left
        waiting = rng.permutation(waiting[amounts[waiting, column] > 0])
        for unit in waiting[np.argsort(-sizes[waiting], kind="stable")]:
            lacking = wanted - given
            best = np.flatnonzero(lacking[:, column] == lacking[:, column].max())
            best = best[lacking[best, -1] == lacking[best, -1].max()]
            part_of[unit] = rng.choice(best)
            given[part_of[unit]] += amounts[unit]
    return part_of[group]


def mask_of_each_source(sources: Iterable[str]) -> dict[str, np.ndarray]:
    """For each source, in alphabetical order, which recordings are from it, bool (recordings,).

    For cross-validation that leaves one source out: these recordings test, all others train.

    Raises
    ------
    UserError
        If there is only one source: nothing would be left to train on.
    """
    of_recording = np.asarray(list(sources), dtype=str)
    names = sorted(set(of_recording.tolist()))
    if len(names) < 2:
        raise UserError(f"leave-one-source-out needs at least 2 sources, found: {', '.join(names) or 'none'}")
    return {name: of_recording == name for name in names}


def write_splits(path: str | Path, splits: dict[str, dict[str, list[str]]]) -> None:
    """Writes split → part → recordings as JSON, whole or not at all.

    Raises
    ------
    UserError
        If a recording is in two parts of a split, or the file cannot be written.
    """
    path = Path(path)
    _check_disjoint(path, splits)
    try:
        write_json(path, splits)
    except OSError as error:
        raise UserError(f"{path}: the splits cannot be written ({error})") from None


def read_splits(path: str | Path) -> dict[str, dict[str, list[str]]]:
    """Reads what `write_splits` wrote.

    Raises
    ------
    UserError
        If the file cannot be read, does not hold splits, or has a recording in two parts of a split.
    """
    try:
        splits = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the splits cannot be read ({error}); delete the file to draw them anew") from None
    if not (
        isinstance(splits, dict)
        and all(isinstance(parts, dict) for parts in splits.values())
        and all(
            isinstance(names, list) and all(isinstance(name, str) for name in names)
            for parts in splits.values()
            for names in parts.values()
        )
    ):
        raise UserError(f"{path}: not a splits file (split → part → list of recordings); delete it to draw them anew")
    _check_disjoint(path, splits)
    return splits


def _check_disjoint(path: str | Path, splits: dict[str, dict[str, list[str]]]) -> None:
    """Raises UserError if a recording is in two parts of a split: it would be both trained on and tested on."""
    for split, parts in splits.items():
        seen: dict[str, str] = {}
        for part, names in parts.items():
            for name in names:
                if name in seen:
                    raise UserError(
                        f"{path}: {split} has recording {name} in {seen[name]} and in {part}; "
                        "names must be unique, and a recording in one part"
                    )
                seen[name] = part
