"""Findings: what is wrong with label and output files, by kind. They are reported as notes or as an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..data.classes import OWN
from ..errors import UserError

KINDS = {  # kind of finding → its words in a note, in the order of the report
    "missing": "recordings without an output file",
    "stray": "output files without a recording",
    "nested": "headers in subfolders, passed over as there are headers in the label folder itself",
    "misnamed": "output files paired with a recording of another name, as the unofficial script pairs them by order",
    "unreadable": "recordings with a file that cannot be read",
    "unlabelled": "recordings without a line '#Dx: ...' in the header",
    "spaced": (
        "recordings whose labels stand in '# Dx: ...', as in PhysioNet's current files; no official script reads that"
    ),
    "relabelled": (
        "recordings with several lines '#Dx: ...'; 2021's script takes them all, "
        "the 2020 script gives the rest to the next ones"
    ),
    "empty": "recordings with an empty output file",
    "short": "recordings with short or missing rows in the output file",
    "long": "recordings with long or surplus rows in the output file",
    "unparsable": "recordings with labels or scores that cannot be parsed in the output file",
    "range": "recordings with scores outside [0, 1] or NaN",
    "order": (
        "recordings with labels that disagree with the order of the scores "
        "(no one threshold on a code gives them; votes and thresholds of each recording can)"
    ),
    "unknown labels": "recordings labelled with codes that are in no table of the Challenges",
    "unknown outputs": "recordings with outputs for codes that are in no table of the Challenges",
    "other outputs": "recordings with outputs for classes that are not asked for",
    "absent": "scored classes that are in no output file",
}


@dataclass
class Findings:
    """What is wrong with the files. Dictionaries without values serve as sets that keep their order.

    Attributes
    ----------
    names : dict of str to dict
        For each kind the names of the recordings or files that have it.
    codes : dict of str to dict
        For each kind the class codes that are concerned, if it is about codes.
    stops : dict of str to str
        Files at which the official script stops, and why.
    printed : list of str
        Lines that the official script prints while it reads.
    """

    names: dict[str, dict[str, None]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    codes: dict[str, dict[str, None]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    stops: dict[str, str] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)

    def add(self, kind: str, *names: str, codes: Iterable[str] = ()) -> None:
        """Adds recordings or files, and codes, to a kind of finding."""
        self.names[kind].update(dict.fromkeys(names))
        self.codes[kind].update(dict.fromkeys(codes))

    def stop(self, path: str, why: str) -> None:
        """Notes that the official script stops at a file; only the first reason counts."""
        self.stops.setdefault(path, why)

    def lines(self) -> list[str]:
        """One line for each kind that occurs: its words, the first codes, the number of names, and the first names."""
        return [
            f"{KINDS[kind]}{_first(self.codes[kind], ' [', ']')}: {len(names)}{_first(names, ' (', ')')}"
            for kind, names in self.names.items()
            if names
        ]

    def raise_stops(self, year: str) -> None:
        """Raises one UserError if the official script would have stopped."""
        for path, why in self.stops.items():
            more = f" (and so at {len(self.stops) - 1} more)" if len(self.stops) > 1 else ""
            stops = "" if year == OWN else f"the official script of {year} stops here, "
            raise UserError(f"{path}: {why}{more}; {stops}--lenient takes such a recording as all-negative")


def _first(names: Iterable[str], before: str, after: str) -> str:
    """The first three names between two pieces of text, or nothing where there are no names."""
    names = list(names)
    return f"{before}{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}{after}" if names else ""
