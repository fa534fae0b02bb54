"""Checks the labels of the training recordings: reports odd ones, and stops a training that could learn nothing.

check_labels(store, rows, classes, recipe.name, log)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..data.classes import CPSC, CPSC_EQUIVALENT, DIAGNOSES, Classes
from ..data.own_labels import LEAST
from ..data.sources import source_of
from ..errors import UserError
from ..evaluation.task import UNSCORED
from ..terminal import printable
from .store import Store

LARGE_SHARE = 0.2  # of a source's recordings without a label that means anything
MOST_CODES = 10  # codes that a line names


def check_labels(store: Store, rows: np.ndarray, classes: Classes, recipe: str, log: Callable[[str], None]) -> None:
    """Names unknown codes with counts, and sources of which a large share of the recordings is unlabelled.

    Synthetic recordings are not looked at: one without a scored diagnosis is as it should be.

    Parameters
    ----------
    rows : int array
        Recordings of the store that training uses: those with a diagnosis.
    classes : Classes
        Of the recipe, whose name is `recipe`.

    Raises
    ------
    UserError
        If no recording has a diagnosis at all, or none has one of the classes.
    """
    real = np.flatnonzero(~store.synthetic)
    codes_of_real = [store.codes[row] for row in real]
    # without a diagnosis nobody knows which classes a recording has, so it teaches nothing
    undiagnosed = sum(not codes for codes in codes_of_real)
    if undiagnosed:
        log(f"left out: {undiagnosed} recordings without a diagnosis (#Dx)")
    if len(rows) == 0:
        raise UserError(f"none of the {len(store)} recordings has a diagnosis (#Dx) to train on")
    unknown = Counter(code for codes in codes_of_real for code in set(codes) if not is_known(code, classes))
    if unknown:
        concerned = [store.names[row] for row, codes in zip(real, codes_of_real) if set(codes) & unknown.keys()]
        log(
            "labels: recordings labelled with codes that are in no table of the Challenges "
            f"[{_listed(unknown)}]: {len(concerned)} ({', '.join(concerned[:3])}{', ...' if concerned[3:] else ''})"
        )
    _warn_of_unlabelled_sources([store.headers[row] for row in real], codes_of_real, classes, log)
    if not classes.labels(store.codes[row] for row in rows).any():
        codes = Counter(code for codes in codes_of_real for code in codes)
        raise UserError(
            f"none of the {len(rows)} recordings has one of the {len(classes.codes)} classes of recipe '{recipe}'; "
            f"their diagnoses (#Dx) are {_listed(codes)}; training would learn nothing"
        )


def check_own_labels(labels: np.ndarray, known: np.ndarray, classes: Classes, log: Callable[[str], None]) -> None:
    """Names the classes of a label set of the user's own that are too rare among the recordings that could be read.

    Parameters
    ----------
    labels, known : bool (recordings, classes)
        Of the recordings that training uses.

    Raises
    ------
    UserError
        If every class is so rare.
    """
    positives, negatives = labels.sum(axis=0), (known & ~labels).sum(axis=0)
    rare = [code for code, few in zip(classes.codes, np.minimum(positives, negatives) < LEAST) if few]
    if len(rare) == len(classes.codes):
        raise UserError(
            f"none of the {len(classes.codes)} classes has {LEAST} recordings with it and {LEAST} without it among the "
            f"{len(labels)} that training uses; training would learn nothing"
        )
    if rare:
        log(
            f"WARNING: classes with fewer than {LEAST} recordings with or without them among the {len(labels)} that "
            f"training uses are hardly learned: {', '.join(map(printable, rare))}"
        )


def is_known(code: str, classes: Classes) -> bool:
    """Whether a code is one of the classes, or in any table of the Challenges."""
    return any(code in table for table in (classes.index, DIAGNOSES, UNSCORED, CPSC, CPSC_EQUIVALENT, CPSC.values()))


def _warn_of_unlabelled_sources(
    headers: Sequence[str], codes_of: Sequence[Sequence[str]], classes: Classes, log: Callable[[str], None]
) -> None:
    recordings: Counter[str] = Counter()
    unlabelled: Counter[str] = Counter()
    for header, codes in zip(headers, codes_of):
        source = source_of(Path(header), Path("."))
        recordings[source] += 1
        unlabelled[source] += not any(is_known(code, classes) for code in codes)
    for source, count in sorted(unlabelled.items()):
        share = count / recordings[source]
        if share >= LARGE_SHARE:
            log(
                f"WARNING: {count} of the {recordings[source]} recordings of source '{printable(source[:40])}' "
                f"({share:.0%}) have no diagnosis that a table of the Challenges knows; look at the lines #Dx of "
                "their headers before you trust a model that was trained on them"
            )


def _listed(codes: Counter[str]) -> str:
    """The most frequent codes, each with the number of recordings."""
    more = ", ..." if len(codes) > MOST_CODES else ""
    return ", ".join(f"{printable(code[:40])} in {count}" for code, count in codes.most_common(MOST_CODES)) + more
