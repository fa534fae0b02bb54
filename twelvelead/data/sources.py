"""Sources: which hospital or data set a recording is from, and which classes each of them annotates.

source = source_of("data/ptb-xl/g1/HR00001.hea", "data")    # "ptb-xl"
known = known_labels(labels, sources, classes.codes)        # bool (recordings, classes)
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .classes import NEVER_ANNOTATED


def source_of(recording: str | Path, data_folder: str | Path) -> str:
    """The source of a recording: the folder below the data folder that it lies in, as in ptb-xl/g1/HR00001.hea.

    Of several folders it is the one that is called as a source of the Challenge, or else the first. Folders named g1, g2, … only divide a source. Where no other folder says the source, the letters that the name
    begins with do: A and Q are CPSC, I St Petersburg, S PTB, HR PTB-XL, E Georgia, JS Chapman-Shaoxing and Ningbo.
    A name that begins otherwise has the source "unknown".
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


EXPECTED = 5  # with so many positives expected and none seen, a source does not annotate a class (chance: 1 in 150)


def known_labels(labels: np.ndarray, sources, codes) -> np.ndarray:
    """Which labels tell something: where a source never annotates a class, "absent" means that nobody looked.

    For the Challenge's sources that is known (classes.NEVER_ANNOTATED) unless the headers show otherwise; for any other it
    is learned: the class occurs elsewhere so often that `EXPECTED` positives would be due, and there is none. A class that
    no source has is taken for absent: there is nothing to learn it from.

    Parameters
    ----------
    labels : bool (recordings, classes)
    sources : sequence of str, (recordings,)
    codes : sequence of str, (classes,)

    Returns
    -------
    bool (recordings, classes)
    """
    labels, sources = np.asarray(labels, dtype=bool), np.asarray(sources, dtype=str)
    known = np.ones_like(labels)
    for source in np.unique(sources):
        own = sources == source
        here, elsewhere = labels[own].sum(axis=0), labels[~own].sum(axis=0)
        if source in NEVER_ANNOTATED:
            never = np.array([code in NEVER_ANNOTATED[source] for code in codes])
        else:
            never = elsewhere * own.sum() >= EXPECTED * max((~own).sum(), 1)
        known[np.ix_(own, never & (here == 0) & (elsewhere > 0))] = False
    return known
