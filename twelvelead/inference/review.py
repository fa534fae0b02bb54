"""The file of `classify --review`: how sure the model is of each recording, and which ones a person should look at.

recording,uncertainty,disagreement,look
A0001,0.412345,0.250000,1

`uncertainty` and `disagreement` are 0 to 1 (thresholds/uncertainty.py). `look` is 1 for the share of the recordings
that `--abstain` says, the most uncertain ones. A recording that could not be classified has 1 in both columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_text
from ..terminal import printable
from ..thresholds.uncertainty import to_look_at

COLUMNS = ("recording", "uncertainty", "disagreement", "look")


def write_review(path: Path, names: Sequence[str], doubts: Sequence[tuple[float, float]], abstain: float) -> None:
    """Writes the file, whole or not at all.

    Parameters
    ----------
    path : Path
    names : sequence of str
        The recordings, as their output files are called.
    doubts : sequence of (float, float)
        Uncertainty and disagreement of each of them.
    abstain : float
        Share of the recordings to mark, in [0, 1].

    Raises
    ------
    UserError
        If it cannot be written.
    """
    look = to_look_at(np.array([uncertain for uncertain, _ in doubts]), abstain)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, (uncertain, apart), marked in zip(names, doubts, look):
        writer.writerow((printable(name), f"{uncertain:.6f}", f"{apart:.6f}", int(marked)))
    try:
        write_text(path, file.getvalue())
    except OSError as error:
        raise UserError(f"{printable(path)}: the file cannot be written ({error.strerror or error})") from None
