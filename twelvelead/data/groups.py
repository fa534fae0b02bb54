"""CSV files of recording,group: the group is a patient, a source or a test set.

    patients = read_groups("patients.csv", "patient")       # {"A0001": "17", …}
    sources = read_groups("sources.csv", header=False)      # the first two columns, whatever the first row says

Every place that reads such a file reads it here: patients for training, test groups for experiments, sources and
resampling groups for the evaluator.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..errors import UserError


def read_groups(
    path: str | Path, column: str | None = None, recording_column: str = "recording", *, header: bool = True
) -> dict[str, str]:
    """The group of each recording from a CSV file.

    Parameters
    ----------
    path : path
    column : str, optional
        The column with the groups; not needed if the file has one column besides the recordings'.
    recording_column : str
        The column with the recordings' names.
    header : bool
        True: the first row names the columns, and every row has as many cells. False: the first two columns are the
        recording and its group; a first row of names and rows of a single cell are harmless.

    Returns
    -------
    dict of str to str
        Recording (without .hea) → group. Recordings with an empty cell, or NaN in it, are left out, so
        `groups.get(name)` is None for them, which `stratified_folds` takes for a group with no other recording.

    Raises
    ------
    UserError
        If the file cannot be read or lacks a column, if it is not clear which column is meant, or if a recording has
        two different groups.
    """
    rows = _read_rows(path)
    if header:
        columns, *rows = rows or [[]]
        name_at, group_at = _columns_at(path, columns, column, recording_column)
        for row in rows:
            if len(row) != len(columns):
                raise UserError(f"{path}: a row has {len(row)} cells, the header {len(columns)}: {','.join(row):.60}")
    else:
        name_at, group_at = 0, 1
        rows = [row for row in rows if len(row) > 1]
    groups: dict[str, str] = {}
    for row in rows:
        name, group = _without_extension(row[name_at]), _plain(row[group_at])
        if group and groups.setdefault(name, group) != group:
            raise UserError(f"{path}: recording {name} is in two groups, {groups[name]} and {group}; keep one")
    return groups


def _without_extension(name: str) -> str:
    """The name of a recording, of which some lists give the file: A0001.hea."""
    return name[:-4] if name.lower().endswith((".hea", ".mat")) else name


def _plain(group: str) -> str:
    """A group without what tables add: 17.0 is 17, since a column with an empty cell becomes one of decimals.

    Words for a missing value become empty: all recordings without a patient would otherwise be one patient's.
    """
    if group.lower() in ("nan", "null", "none", "<na>"):
        return ""
    return group.partition(".")[0] if re.fullmatch(r"\d+\.0+", group) else group


def column_names(path: str | Path) -> list[str]:
    """The cells of a CSV file's first row, empty for a file without rows. Raises UserError if it cannot be read."""
    return next(iter(_read_rows(path)), [])


def _columns_at(path, columns: list[str], column: str | None, recording_column: str) -> tuple[int, int]:
    """Positions of the recordings' and of the groups' column."""
    others = [name for name in columns if name != recording_column]
    if column is None and len(others) == 1:
        column = others[0]
    if recording_column not in columns or column not in others:
        wanted = f"{recording_column!r} and " + ("one other column, or name one" if column is None else repr(column))
        raise UserError(f"{path}: the header must have {wanted}; it has: {', '.join(columns) or 'nothing'}")
    return columns.index(recording_column), columns.index(column)


def _read_rows(path: str | Path) -> list[list[str]]:
    """All rows with a cell that is not blank, cells stripped of blanks."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: the groups cannot be read ({error}); give a CSV file of recording,group") from None
    return [row for row in rows if any(row)]
