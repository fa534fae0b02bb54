"""Sources: the hospital or data set that a recording is from, and the classes that each of them annotates.

source = source_of("data/ptb-xl/g1/HR00001.hea", "data")    # "ptb-xl"
known = known_labels(labels, sources, classes.codes)        # bool (recordings, classes)
known[:, classes.sinus_rhythm] &= states_rhythm(codes)      # bool (recordings,)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .classes import NEVER_ANNOTATED, RHYTHMS


def source_of(recording: str | Path, data_folder: str | Path) -> str:
    """The source of a recording: the folder below the data folder that holds it, "ptb-xl" for ptb-xl/g1/HR00001.hea.

    Folders named g1, g2, … only divide a source and do not count. Of several other folders, one that has the name of a
    Challenge source is taken, or else the first. Where there is no such folder, the letters at the beginning of the
    recording's name are its source: A and Q are CPSC, I St Petersburg, S PTB, HR PTB-XL, E Georgia, JS Chapman-Shaoxing
    and Ningbo. A name that does not begin with a letter has the source "unknown".

    Parameters
    ----------
    recording : path
        Of the header, or of any other file of the recording.
    """
    recording = Path(recording)
    if recording.is_relative_to(data_folder):
        folders = [
            folder for folder in recording.relative_to(data_folder).parts[:-1] if not re.fullmatch(r"g\d+", folder)
        ]
        if folders:
            return next((folder for folder in folders if folder in NEVER_ANNOTATED), folders[0])
    letters = re.match("[A-Za-z]+", recording.name)
    return letters.group() if letters else "unknown"


# If a source had a class as often as the others and so many of its recordings should have it, but none does, then it
# does not annotate the class. By chance that happens once in 150 times.
EXPECTED = 5

# A source that writes a class less than so many times as often as the others hardly ever writes it: patients differ
# between hospitals, but seldom tenfold.
HARDLY_EVER = 0.1


def known_labels(labels: np.ndarray, sources: Sequence[str], codes: Sequence[str], rare: bool = False) -> np.ndarray:
    """Which labels are known: if a source never annotates a class, nobody looked for it, and "no" means nothing.

    For the sources of the Challenge the classes that they never annotate are listed (classes.NEVER_ANNOTATED), which
    holds unless a recording has one after all. For any other source the data decide: the class is so frequent elsewhere
    that at least `EXPECTED` of its recordings should have it, and none has. A class that no source has counts as known,
    and absent, since there is nothing to learn it from.

    Parameters
    ----------
    labels : bool (recordings, classes)
    sources : sequence of str, (recordings,)
    codes : sequence of str, (classes,)
    rare : bool
        "No" is also unknown for a class that a source writes less than `HARDLY_EVER` times as often as the other
        sources together, if at least `EXPECTED` of its recordings should have it. "Yes" stays known.

    Returns
    -------
    bool (recordings, classes)
    """
    labels, of_recording = np.asarray(labels, dtype=bool), np.asarray(sources, dtype=str)
    known = np.ones_like(labels)
    for source in np.unique(of_recording):
        inside = of_recording == source
        positives, positives_elsewhere = labels[inside].sum(axis=0), labels[~inside].sum(axis=0)
        expected = positives_elsewhere * inside.sum() / max((~inside).sum(), 1)
        if source in NEVER_ANNOTATED:
            never = np.array([code in NEVER_ANNOTATED[source] for code in codes])
        else:
            never = expected >= EXPECTED
        known[np.ix_(inside, never & (positives == 0) & (positives_elsewhere > 0))] = False
        if rare:
            hardly = (expected >= EXPECTED) & (positives < HARDLY_EVER * expected)
            known[inside] &= labels[inside] | ~hardly
    return known


def states_rhythm(codes: Sequence[Sequence[str]]) -> np.ndarray:
    """Whether the codes of each recording say which rhythm it has (classes.RHYTHMS), bool (recordings,).

    In PTB-XL nearly every recording states one, in CPSC 2018 31 % and in Georgia 57 % (labels of 2020's public training
    recordings). Where none is stated, it is unknown whether the rhythm is sinus rhythm; most often it is.
    """
    return np.array([not RHYTHMS.isdisjoint(of_recording) for of_recording in codes], dtype=bool)
