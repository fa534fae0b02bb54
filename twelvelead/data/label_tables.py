"""Tables of labels as a hospital has them: a CSV file, or a comment field of the recordings' headers.

    table = read_label_table("labels.csv")
    table = labels_of_field(headers, root, "Dx")
    table.names, table.cells["A0001"]                    # ("LVH", "MI"), "1?": has the first, the second is unknown

A cell that is empty is unknown, which is not the same as absent: nobody looked, or nobody wrote it down. own_labels.py
makes classes of these labels.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordingError, UserError
from .classes import DIAGNOSES, EQUIVALENT
from .header import header_text, read_header

PRESENT, ABSENT, UNKNOWN = "1", "0", "?"
NOTHING = "-"  # in place of a label: somebody looked, and the recording has none of the labels
LONGEST_NAME = 200
_RECORDING = "recording"  # the column with the recordings' names
_YES = frozenset({"1", "1.0", "yes", "true"})
_NO = frozenset({"0", "0.0", "no", "false"})
_MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "unknown", "?"})
_DX_FIELDS = frozenset({"dx", "dxs", "snomed"})


@dataclass(frozen=True)
class LabelTable:
    """Labels as they are written down, before it is known which recordings are used.

    Attributes
    ----------
    names : tuple of str
        The labels.
    cells : dict of str to str
        For each recording one character a label: "1" present, "0" absent, "?" unknown. A recording is called by its
        path below the data folder or by its file name, with "/" and without extension.
    origin : str
        Where they were read, in words.
    codes : tuple of frozenset of str
        For each label the canonical SNOMED CT codes of the Challenge's diagnoses that it is, if it is any of them.
    """

    names: tuple[str, ...]
    cells: dict[str, str]
    origin: str
    codes: tuple[frozenset[str], ...]


def read_label_table(path: str | Path) -> LabelTable:
    """Reads a CSV file of labels.

    It has a column `recording`, and is of one of two forms. With one column for each class a cell is 1, 0 or empty (or
    yes, no, true, false). With one row for each label there is one other column, which holds the label; a recording may
    have several rows, has no other labels than these, and has none at all if its label is "-".

    Raises
    ------
    UserError
        If the file cannot be read or is of neither form; the message names the line.
    """
    columns, rows = _read_rows(Path(path))
    if len(columns) == 2 and not all(row[columns[1]].lower() in _YES | _NO | _MISSING for _, row in rows):
        return _by_label(path, columns[1], rows)
    names = tuple(label_name(path, column) for column in columns if column != _RECORDING)
    labels = [column for column in columns if column != _RECORDING]
    cells: dict[str, str] = {}
    for line, row in rows:
        of_recording = "".join(_cell(path, line, column, row[column]) for column in labels)
        recording = _plain(row[_RECORDING])
        if cells.setdefault(recording, of_recording) != of_recording:
            raise UserError(f"{path}, line {line}: recording {recording} has another row with other labels; keep one")
    return _table(path, names, cells, Path(path).name)


def _by_label(path: str | Path, column: str, rows: list[tuple[int, dict[str, str]]]) -> LabelTable:
    """The table of a file with one row for each label."""
    labels_of: dict[str, set[str]] = {}
    looked_at: set[str] = set()
    for _, row in rows:
        recording = _plain(row[_RECORDING])
        of_recording = labels_of.setdefault(recording, set())
        if row[column].lower() in _MISSING:
            continue
        looked_at.add(recording)
        if row[column] != NOTHING:
            of_recording.add(label_name(path, row[column]))
    return _from_sets(path, {name: labels_of[name] if name in looked_at else None for name in labels_of})


def labels_of_field(headers: Sequence[Path], root: Path, field: str) -> LabelTable:
    """The labels in a comment field of the headers: those of ``#Rhythm: flutter, pacing`` for the field Rhythm.

    Labels are separated by commas or semicolons. The field Dx is read as everywhere else, so that SNOMED CT codes are
    found in all its spellings. A recording without the field, or with an empty one, is unknown in every class.

    Raises
    ------
    UserError
        If no header has the field; the message lists the fields of the first one.
    """
    wanted = _key(field)
    sets: dict[str, set[str] | None] = {}
    for header in headers:
        values = _values_of_field(header, wanted)
        known = values is not None and any(value.lower() not in _MISSING for value in values)
        where = f"field {field} of {header}"
        sets[called_in_tables(header, root)] = (
            {label_name(where, value) for value in values or () if value.lower() not in _MISSING and value != NOTHING}
            if known
            else None
        )
    if not any(labels is not None for labels in sets.values()):
        others = ", ".join(_fields_of(headers[0])) if headers else ""
        raise UserError(f"no header has a field '{field}' with a label; the fields of {headers[0]} are: {others}")
    return _from_sets(f"field {field}", sets, f"the field {field} of the headers")


def _values_of_field(header: Path, wanted: str) -> list[str] | None:
    """What a header has in a field; None if it lacks the field or cannot be read. Reading the recording says why."""
    try:
        if wanted in _DX_FIELDS:
            return list(read_header(header).codes)
        values = [value for key, value in _comments(header) if _key(key) == wanted]
    except RecordingError:
        return None
    return [" ".join(part.split()) for value in values for part in re.split("[,;]", value)] if values else None


def _fields_of(header: Path) -> list[str]:
    try:
        return list(dict.fromkeys(key for key, _ in _comments(header))) or ["none"]
    except RecordingError:
        return ["none that can be read"]


def _comments(header: Path) -> list[tuple[str, str]]:
    """(field, value) of the comment lines of a header that have a colon."""
    lines = [line.lstrip("# \t") for line in header_text(header).splitlines() if line.lstrip().startswith("#")]
    pairs = [line.partition(":") for line in lines]
    return [(" ".join(key.split()), value.strip()) for key, colon, value in pairs if colon]


def _key(field: str) -> str:
    return " ".join(field.strip("# \t:").split()).casefold()


def called_in_tables(header: Path, root: Path) -> str:
    """What a table calls a recording: its path below the data folder, with "/" and without extension."""
    return header.relative_to(root).with_suffix("").as_posix()


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file, and each row with its line number as column → cell, cells without blanks around."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Spreadsheets of many countries put semicolons between cells.
        separator = re.match(rf'"?{_RECORDING}"?([,;\t])', text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator.group(1) if separator else ",")
        lines = [(reader.line_num, [tidy(cell) for cell in line]) for line in reader]
    except UnicodeDecodeError:
        raise UserError(f"{path}: the labels cannot be read, since the file is not in UTF-8; save it so") from None
    except (OSError, csv.Error) as error:
        raise UserError(
            f"{path}: the labels cannot be read ({error}); give a CSV file with a column recording"
        ) from None
    lines = [(number, cells) for number, cells in lines if any(cells)]
    columns = lines[0][1] if lines else []
    if _RECORDING not in columns or len(columns) < 2 or "" in columns or len(set(columns)) != len(columns):
        raise UserError(
            f"{path}: the first line must name different columns, recording and at least one more; "
            f"it is: {', '.join(columns)[:200] or 'nothing'}"
        )
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise UserError(f"{path}, line {number}: {len(cells)} cells, while the first line has {len(columns)}")
        if not cells[columns.index(_RECORDING)]:
            raise UserError(f"{path}, line {number}: the cell of the recording is empty")
    if len(lines) < 2:
        raise UserError(f"{path}: there is no row of labels below the first line")
    ordered = [_RECORDING, *(column for column in columns if column != _RECORDING)]
    return ordered, [(number, dict(zip(columns, cells))) for number, cells in lines[1:]]


def tidy(text: str) -> str:
    """A text in Unicode's composed form, without blanks around it and with single blanks inside."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _plain(recording: str) -> str:
    """A recording as tables call it: lists may name its file, A0001.hea, or write paths with backslashes."""
    recording = recording.replace("\\", "/").removeprefix("./")
    return recording[:-4] if recording.lower().endswith((".hea", ".mat", ".dat")) else recording


def _cell(path: str | Path, line: int, column: str, text: str) -> str:
    word = text.lower()
    if word in _YES or word in _NO or word in _MISSING:
        return PRESENT if word in _YES else ABSENT if word in _NO else UNKNOWN
    raise UserError(
        f"{path}, line {line}: the cell of column {column} is '{text:.60}', which is not 1, 0 or empty "
        "(a file with one row for each label has two columns, recording and label)"
    )


def label_name(where: object, text: str) -> str:
    """A label as it is used. Raises UserError if it is too long or has characters that nobody sees."""
    name = tidy(text)
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise UserError(
            f"{where}: the label '{name:.60}' has characters that cannot be seen, or more than {LONGEST_NAME} of them; "
            "rename it"
        )
    return name


def _from_sets(where: object, sets: dict[str, set[str] | None], origin: str | None = None) -> LabelTable:
    """A table from the labels that each recording has, None for a recording of which nothing is known."""
    names = tuple(sorted({name for labels in sets.values() for name in labels or ()}))
    cells = {
        recording: UNKNOWN * len(names)
        if labels is None
        else "".join(PRESENT if name in labels else ABSENT for name in names)
        for recording, labels in sets.items()
    }
    return _table(where, names, cells, origin or Path(str(where)).name)


def _table(where: object, names: tuple[str, ...], cells: dict[str, str], origin: str) -> LabelTable:
    spellings: dict[str, str] = {}
    for name in names:
        other = spellings.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(f"{where}: the labels '{other}' and '{name}' differ in case alone; spell them alike")
    if not names:
        raise UserError(f"{where}: there is no label")
    return LabelTable(names, cells, origin, tuple(codes_of_name(name) for name in names))


def codes_of_name(name: str) -> frozenset[str]:
    """The canonical SNOMED CT code of the Challenge's diagnosis that a label is: by code, abbreviation or name.

    >>> codes_of_name("atrial fibrillation") == codes_of_name("AF") == codes_of_name("164889003") == {"164889003"}
    True
    """
    for code, (abbreviation, title) in DIAGNOSES.items():
        if name == code or name.casefold() in (abbreviation.casefold(), title.casefold()):
            return frozenset({EQUIVALENT.get(code, code)})
    return frozenset()
