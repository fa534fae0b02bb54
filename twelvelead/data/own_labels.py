"""Label sets of the user's own: which classes there are, and which recordings have them.

    table = read_own_labels("labels.csv", None, "LVH=164873001,MI", headers, root)      # some of the labels, renamed
    own = own_labels(table, headers, root, metric="f1")
    own.classes, own.cells[name_in_cells(header, root)]      # "10?": has the first class, not the second, third unknown

A class is called what the file or the header calls it: a SNOMED CT code or any other text. A cell that is empty is
unknown, which is not the same as absent: nobody looked, or nobody wrote it down. Unknown cells take no part in the
loss, in the search for thresholds and in any metric.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..errors import UserError
from .classes import EQUIVALENT, OWN, Classes
from .label_tables import (
    ABSENT,
    PRESENT,
    UNKNOWN,
    LabelTable,
    called_in_tables,
    codes_of_name,
    label_name,
    labels_of_field,
    read_label_table,
    tidy,
)

LEAST = 5  # a class with fewer recordings that have it, or that are known not to have it, cannot be learned
MOST_CLASSES = 1000
# Characters of a name that would be taken for something else in an output file: the official scripts split its rows at
# commas, the one of 2021 splits a column's name at bars, and a row that begins with # is a comment.
_ESCAPED = frozenset(',|"#%')


def written(name: str) -> str:
    """The name of a class as an output file has it: commas, bars, double quotes, # and % become %2C and so on.

    The organizers' files have no quoting, so a comma in a name would be two columns. No two names are written alike.

    >>> written("LVH, strain")
    'LVH%2C strain'
    """
    return "".join(quote(character, safe="") if character in _ESCAPED else character for character in name)


def name_in_cells(header: Path, root: Path) -> str:
    """What `OwnLabels.cells` calls a recording: the path of its header below the data folder."""
    return str(header.relative_to(root))


@dataclass(frozen=True)
class OwnLabels:
    """The classes of a training run on the user's own labels, and which recordings have them.

    Attributes
    ----------
    classes : Classes
    cells : dict of str to str
        As in `LabelTable`, for the recordings of which anything is known, which are called as in `Store.headers`.
    origin : str
        Where the labels were read, in words.
    codes : tuple of frozenset of str
        For each class the canonical SNOMED CT codes of the Challenge's diagnoses that it stands for; empty where it
        stands for anything else too.
    """

    classes: Classes
    cells: dict[str, str]
    origin: str
    codes: tuple[frozenset[str], ...]

    def labelled(self, headers: Sequence[Path], root: Path) -> list[Path]:
        """Those of the headers below `root` of whose recordings anything is known."""
        return [header for header in headers if name_in_cells(header, root) in self.cells]

    def cells_of_codes(self, codes: Sequence[str]) -> str:
        """The cells of a recording of which everything is known, from its SNOMED CT codes."""
        canonical = {EQUIVALENT.get(code, code) for code in codes}
        return "".join(PRESENT if canonical & of_class else ABSENT for of_class in self.codes)


def as_arrays(cells: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and which of them are known, bool (recordings, classes) each, from the cells of each recording."""
    table = np.array([list(row) for row in cells], dtype="<U1").reshape(len(cells), -1)
    return table == PRESENT, table != UNKNOWN


# -- choosing --------------------------------------------------------------------------------------


def read_own_labels(
    file: str | None, field: str | None, classes: str | None, headers: Sequence[Path], root: Path
) -> LabelTable:
    """Labels from a CSV file, or else from a field of the headers; with a list of classes, these alone.

    Raises
    ------
    UserError
        See read_label_table, labels_of_field and chosen.
    """
    table = read_label_table(file) if file else labels_of_field(headers, root, field or "Dx")
    return chosen(table, classes) if classes else table


def chosen(table: LabelTable, classes: str) -> LabelTable:
    """The labels that a list names, separated by commas: ``LABEL``, or ``NAME=LABEL+LABEL+…`` for one class of several.

    Cells of the list may be quoted as in CSV files. A recording has a class of several labels if it has any of them,
    and lacks it if it is known to have none.

    Raises
    ------
    UserError
        If a label does not occur in the table, or a name is given twice.
    """
    place = {name.casefold(): k for k, name in enumerate(table.names)}
    names: list[str] = []
    members: list[list[int]] = []
    for item in next(csv.reader([classes]), []):
        name, labels = _named(item, place)
        for label in labels:
            if label.casefold() not in place:
                raise UserError(f"classes: no recording has the label '{label}'; there are: {_listed(table.names)}")
        if not name or name.casefold() in map(str.casefold, names):
            raise UserError(f"classes: '{name}' is named twice or is empty in '{classes:.200}'")
        names.append(name)
        members.append([place[label.casefold()] for label in labels])
    cells = {
        recording: "".join(_any_of(row[k] for k in of_class) for of_class in members)
        for recording, row in table.cells.items()
    }
    codes = [
        frozenset().union(*(table.codes[k] for k in of_class)) if all(table.codes[k] for k in of_class) else frozenset()
        for of_class in members
    ]
    return LabelTable(tuple(names), cells, table.origin, tuple(codes))


def _named(item: str, place: dict[str, int]) -> tuple[str, list[str]]:
    """The name of a class, and the labels that it consists of, from an item of the list; `place` has all labels."""
    whole = tidy(item)
    if whole.casefold() in place or "=" not in item:  # an equals sign, as a plus sign below, may be a part of a label
        return label_name("classes", whole), [whole]
    name, _, rest = item.partition("=")
    labels = [rest] if tidy(rest).casefold() in place else rest.split("+")
    return label_name("classes", name), [tidy(label) for label in labels]


def _any_of(cells: Iterable[str]) -> str:
    cells = set(cells)
    return PRESENT if PRESENT in cells else UNKNOWN if UNKNOWN in cells else ABSENT


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


# -- recordings ------------------------------------------------------------------------------------


def cells_by_recording(table: LabelTable, called: Sequence[str], where: object = "") -> list[str | None]:
    """For each recording its cells, None if the table does not name it.

    Parameters
    ----------
    called : sequence of str
        Paths below the data folder, with "/" and without extension.
    where : object
        What an error names.

    Raises
    ------
    UserError
        If the table calls a recording by its file name, which several recordings have.
    """
    by_file_name: dict[str, str] = {}
    cells: list[str | None] = []
    for path in called:
        row = table.cells.get(path)
        file_name = path.rpartition("/")[2]
        if row is None and file_name in table.cells:
            other = by_file_name.setdefault(file_name, path)
            if other != path:
                raise UserError(
                    f"{where or table.origin}: '{file_name}' may be {other} or {path}; name recordings by their paths "
                    "below the data folder"
                )
            row = table.cells[file_name]
        cells.append(row)
    return cells


def own_labels(
    table: LabelTable,
    headers: Sequence[Path],
    root: Path,
    metric: str,
    *,
    are_chosen: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> OwnLabels:
    """The classes that can be learned from these recordings, and the cells of those of which anything is known.

    Parameters
    ----------
    are_chosen : bool
        Whether the user named the classes. Then one that cannot be learned is an error; otherwise it is left out.
    log : callable
        Told what is left out, and how many recordings each class has.

    Raises
    ------
    UserError
        If no recording is labelled, no class can be learned, or there are too many.
    """
    of_header = _known_cells(_cells_by_header(table, headers, root), range(len(table.names)))
    if not of_header:
        raise UserError(f"{table.origin}: none of its {len(table.cells)} recordings with a label is among the data")
    if len(of_header) < len(headers):
        log(f"left out: {len(headers) - len(of_header)} recordings of which {table.origin} knows nothing")
    positives, negatives = (Counter[int](), Counter[int]())
    for row in of_header.values():
        positives.update(k for k, cell in enumerate(row) if cell == PRESENT)
        negatives.update(k for k, cell in enumerate(row) if cell == ABSENT)
    rare = [k for k in range(len(table.names)) if min(positives[k], negatives[k]) < LEAST]
    words = ", ".join(f"'{table.names[k]}' ({positives[k]} have it, {negatives[k]} do not)" for k in rare)
    if rare and (are_chosen or len(rare) == len(table.names)):
        raise UserError(
            f"{table.origin}: classes need {LEAST} recordings that have them and {LEAST} that do not; "
            f"too few to learn from: {words}"
        )
    if rare:
        log(f"left out: classes with fewer than {LEAST} recordings that have them, or that do not: {words}")
    kept = [k for k in range(len(table.names)) if k not in set(rare)]
    classes = own_classes([table.names[k] for k in kept], metric)
    log(
        f"labels: {len(kept)} classes from {table.origin}, recordings that have each of those known: "
        + ", ".join(f"{table.names[k]} {positives[k]} of {positives[k] + negatives[k]}" for k in kept)
    )
    return OwnLabels(classes, _known_cells(of_header, kept), table.origin, tuple(table.codes[k] for k in kept))


def labels_of_classes(
    table: LabelTable,
    classes: Classes,
    headers: Sequence[Path],
    root: Path,
    log: Callable[[str], None] = lambda line: None,
) -> OwnLabels:
    """The labels of classes that a model has learned before, for recordings of which anything is known.

    A class is found in the table by its name, whatever the case of its letters. One that the table lacks is unknown in
    every recording.

    Parameters
    ----------
    log : callable
        Told which classes the table lacks, and how many recordings it says nothing of.

    Raises
    ------
    UserError
        If the table has none of the classes, or knows nothing of any recording.
    """
    place = {name.casefold(): k for k, name in enumerate(table.names)}
    columns = [place.get(name.casefold()) for name in classes.codes]
    lacking = [name for name, column in zip(classes.codes, columns) if column is None]
    if len(lacking) == len(columns):
        raise UserError(
            f"{table.origin}: none of the model's classes is among its labels, which are: {_listed(table.names)}; the "
            f"classes are: {_listed(classes.codes)}; say with --classes NAME=LABEL+LABEL which labels these are"
        )
    if lacking:
        log(f"unknown in every recording, since {table.origin} has no label of these names: {_listed(lacking)}")
    cells = _known_cells(_cells_by_header(table, headers, root), columns)
    if not cells:
        raise UserError(f"{table.origin}: there is no label of the model's classes of any recording in {root}")
    if len(cells) < len(headers):
        log(f"left out: {len(headers) - len(cells)} recordings of which {table.origin} knows nothing")
    codes = tuple(
        codes_of_name(name) if column is None else table.codes[column] for name, column in zip(classes.codes, columns)
    )
    return OwnLabels(classes, cells, table.origin, codes)


def _cells_by_header(table: LabelTable, headers: Sequence[Path], root: Path) -> dict[str, str]:
    """The table's cells of each recording that it has, by the name that `OwnLabels.cells` gives it."""
    rows = cells_by_recording(table, [called_in_tables(header, root) for header in headers])
    return {name_in_cells(header, root): row for header, row in zip(headers, rows) if row}


def _known_cells(rows: dict[str, str], columns: Sequence[int | None]) -> dict[str, str]:
    """These columns of each row, None being one that is unknown everywhere; without rows that are wholly unknown."""
    chosen = {
        header: "".join(UNKNOWN if column is None else row[column] for column in columns)
        for header, row in rows.items()
    }
    return {header: row for header, row in chosen.items() if set(row) != {UNKNOWN}}


def own_classes(names: Sequence[str], metric: str) -> Classes:
    """Classes of these names, without rewards between them.

    Raises
    ------
    UserError
        If there are too many, or two of them mean the same diagnosis, as AF and 164889003 do.
    """
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{len(names)} classes are too many, at most {MOST_CLASSES} can be learned; choose some of them"
        )
    classes = Classes(tuple(names), np.eye(len(names)), tuple(map(written, names)), OWN, metric)
    first: dict[str, str] = {}
    for name, abbreviation in zip(names, classes.abbreviations):
        other = first.setdefault(abbreviation.casefold(), name)
        if other != name:
            raise UserError(f"the classes '{other}' and '{name}' mean the same, {abbreviation}; keep one of them")
    return classes
