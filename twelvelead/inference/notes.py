"""What is told of repaired recordings: a line for each of the first, and counts of the rest.

Whoever classifies recordings hears of every repair that reading had to make (`Recording.notes`): a lead that was
guessed or a unit that was missing may have changed the result.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..terminal import printable

MOST_LINES = 20  # repaired recordings that are named one by one; a hospital may write every header in the same odd way
MOST_KINDS = 200  # kinds of note that a Tally tells apart, so that a long run needs no more memory than a short one


def kind_of(note: str) -> str:
    """The note without what differs between recordings: quoted parts and numbers become `…`.

    >>> kind_of("the header says 5000 samples, read were 4990")
    'the header says … samples, read were …'
    """
    return re.sub(r"""'[^']*'|"[^"]*"|[-+]?\b\d+(?:\.\d+)?\b""", "…", note)


@dataclass
class Tally:
    """What happened to the recordings that were classified one by one with a model.

    Attributes
    ----------
    faults : int
        Recordings that could not be classified.
    kinds : Counter
        How many notes of each kind there were.
    fallback : str
        What such a recording got, in words.
    """

    faults: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    fallback: str = "sinus rhythm"

    def add(self, name: str, fault: str | None, notes: Sequence[str]) -> list[str]:
        """Counts a recording; returns the lines that are to be printed about it now.

        A fault is always told, a note when it is the first of its kind.

        Parameters
        ----------
        name : str
            The recording's name, "?" if it is not known.
        fault : str or None
            Why the recording could not be classified, if it could not.
        notes : sequence of str
            Recording.notes.
        """
        lines = []
        for note in notes:
            kind = kind_of(note)
            if kind not in self.kinds and len(self.kinds) >= MOST_KINDS:
                kind = "other notes"
            if kind not in self.kinds:
                lines.append(f"repaired: {printable(name)}: {printable(note)} (the next of this kind are only counted)")
            self.kinds[kind] += 1
        if fault:
            self.faults += 1
            named = fault if name in fault or not name.strip("?") else f"{name}: {fault}"
            lines.append(f"fell back to {self.fallback}: {printable(named)}")
        return lines

    def summary(self) -> list[str]:
        """One line for each kind of note, and one for the recordings that fell back; none if nothing happened."""
        lines = [f"repaired: {count} times: {printable(kind)}" for kind, count in self.kinds.most_common()]
        if self.faults:
            lines.append(f"{self.faults} recording{'s' * (self.faults > 1)} fell back to {self.fallback}")
        return lines


class NotesFile:
    """A CSV file of recording,note, one row for each note, written as recordings are classified.

    A recording is called as its output is, without `.csv`. Every row is on disk as soon as it is known, so that a run
    that is stopped keeps its notes.

    Raises
    ------
    UserError
        If the file cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = open(path, "w", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115
            self._file.write("recording,note\n")
        except OSError as error:
            raise UserError(f"{printable(path)}: the notes cannot be written ({error.strerror or error})") from None
        self._writer = csv.writer(self._file, lineterminator="\n")

    def add(self, name: str, notes: Sequence[str]) -> None:
        try:
            self._writer.writerows((printable(name), printable(note)) for note in notes)
        except OSError as error:
            raise UserError(
                f"{printable(self.path)}: the notes cannot be written ({error.strerror or error})"
            ) from None

    def close(self) -> None:
        self._file.close()
