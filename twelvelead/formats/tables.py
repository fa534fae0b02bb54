"""Tables of numbers in text: CSV with commas, semicolons, tabs or blanks, with or without a line of names.

    recording = read_table(data, "ecg.csv", told)

A line of names may tell the leads ("I (mV)", "aVR"), and a column "time [s]" the sampling frequency; both are taken and
said in the recording's notes.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..data.leads import lead_names
from ..data.recording import Recording
from ..errors import RecordingError
from .arrays import recording_of
from .told import PER_MV, Told

MOST_BYTES = 2**26  # of a table; Python's numbers take ten times as much memory as the text
_NO_VALUE = {"", "nan", "na", "n/a", "null", "none", "-"}
_TIME = re.compile(r"(?:time|t|zeit|temps|tiempo|tempo|elapsed(?:[ _]time)?|seconds?|sec|timestamp)(?:\W.*|_.*)?")
_COUNT = re.compile(r"(?:|#|samples?|index|idx|n|nr|no|unnamed: 0)(?:[ _](?:number|index|nr|no))?")
_TIME_UNIT = re.compile(
    r"(?<![a-z])(?:(seconds?|sec|s)|(milliseconds?|msec|ms)|(microseconds?|usec|us|µs|μs))(?![a-z])"
)
_VALUE_UNIT = re.compile(r"[\s_(\[/]\s*(mv|uv|µv|μv|nv)\s*[)\]]?\s*$", re.IGNORECASE)
_PLAUSIBLE_HZ = (40.0, 20_000.0)


class _Table(NamedTuple):
    """The numbers of a table and the names of its columns, None where it has none."""

    values: np.ndarray  # float64 (rows, columns)
    names: tuple[str, ...] | None


def read_table(data: bytes, path: str, told: Told) -> Recording:
    """The recording in a table, one row a sample and one column a lead (or the other way round without names).

    Raises
    ------
    RecordingError
        If it is no table of numbers, something is missing that only the caller can know, or what the caller says
        contradicts what the file says.
    """
    if len(data) > MOST_BYTES:
        raise RecordingError(f"{path}: a table of more than {MOST_BYTES >> 20} MB; save it as .npy or .mat")
    table = _parse(_decoded(data), path)
    notes: list[str] = []
    values, names = table.values, table.names
    values, names, told = _without_time(values, names, told, path, notes)
    if names is not None:
        read = lead_names(names)
        known = [k for k, lead in enumerate(read) if lead.known]
        if known:
            told = _told_by_names(names, known, told, path, notes)
            values = values[:, known]
        elif told.leads is None:
            raise RecordingError(
                f"{path}: none of the columns {', '.join(map(repr, names[:12]))} is called as one of the twelve leads; "
                "say which they are (--leads, in the order of the columns)"
            )
    return recording_of(values, told, stem_of(path), tuple(notes), path)


def stem_of(path: str) -> str:
    """The name of a file without its folders and its extension."""
    name = re.split(r"[\\/]", path)[-1]
    return name.rpartition(".")[0] or name


def agreed(told: object, said: object, what: str, path: str, notes: list[str], words: str | None = None) -> None:
    """Notes what a file says, and raises RecordingError if the caller says otherwise."""
    if told is not None and told != said:
        raise RecordingError(f"{path}: {what} is {told} as told, but the file says {said}; leave one of them out")
    if told is None:
        notes.append(f"{what} taken from the file: {words or said}")


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _parse(text: str, path: str) -> _Table:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) < 2:
        raise RecordingError(f"{path}: this text has {len(lines)} lines and is no table of samples")
    delimiter = next((sign for sign in (";", "\t", ",") if sign in lines[0] and sign in lines[1]), None)
    decimal_comma = delimiter in (";", "\t") and any("," in line for line in lines[1:200])
    try:
        cells = [line.split() for line in lines] if delimiter is None else list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise RecordingError(f"{path}: the table cannot be read ({error})") from None
    names: tuple[str, ...] | None = None
    first = [_number(cell, decimal_comma) for cell in cells[0]]
    if any(value is None for value in first):
        names, cells = tuple(cell.strip() for cell in cells[0]), cells[1:]
    elif _counts(first) and len(cells) > 2:  # pandas writes numbers as names of columns that have none
        cells = cells[1:]
    width = len(cells[0])
    rows = np.full((len(cells), width), np.nan)
    for number, row in enumerate(cells):
        if len(row) == width + 1 and not row[-1].strip():  # a delimiter at the end of the line
            row = row[:-1]
        values = [_number(cell, decimal_comma) for cell in row]
        if len(row) != width or None in values:
            odd = next((cell for cell, value in zip(row, values) if value is None), None)
            fault = f"{odd[:30]!r} is no number" if odd is not None else f"{len(row)} cells instead of {width}"
            raise RecordingError(f"{path}: line {number + 1 + len(lines) - len(cells)} of the table: {fault}")
        rows[number] = values
    if names is not None and len(names) == width + 1 and not names[-1]:
        names = names[:-1]
    if names is not None and len(names) != width:
        raise RecordingError(f"{path}: {len(names)} names of columns, but {width} columns")
    return _Table(rows, names)


def _number(cell: str, decimal_comma: bool) -> float | None:
    text = cell.strip()
    if text.lower() in _NO_VALUE:
        return float("nan")
    try:
        return float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None


def _counts(values: list[float | None]) -> bool:
    """Whether a line is 0, 1, 2, … or (an index) nothing, 0, 1, 2, …"""
    numbers = values[1:] if values and values[0] is not None and np.isnan(values[0]) else values
    return len(numbers) > 1 and numbers == [float(k) for k in range(len(numbers))]


def _without_time(
    values: np.ndarray, names: tuple[str, ...] | None, told: Told, path: str, notes: list[str]
) -> tuple[np.ndarray, tuple[str, ...] | None, Told]:
    """The table without its columns of times and sample numbers, and the sampling frequency that they tell."""
    kept = list(range(values.shape[1]))
    if names is None:
        extra = told.leads is not None and values.shape[1] == len(told.leads) + 1 and _steps(values[:, 0]) is not None
        times = [0] if extra else []
        kept = kept[1:] if extra else kept
    else:
        lowered = [name.strip().lower() for name in names]
        times = [k for k in kept if _TIME.fullmatch(lowered[k])]
        counters = [k for k in kept if _COUNT.fullmatch(lowered[k]) and _steps(values[:, k]) is not None]
        kept = [k for k in kept if k not in times and k not in counters]
    for k in times[:1]:
        frequency = _frequency_of(values[:, k], names[k] if names else "")
        if frequency is not None:
            agreed(told.frequency_hz, frequency, "sampling frequency in Hz", path, notes)
            told = replace(told, frequency_hz=frequency)
    return values[:, kept], None if names is None else tuple(names[k] for k in kept), told


def _steps(column: np.ndarray) -> float | None:
    """The step of a column that rises evenly, to 1 %, or None."""
    steps = np.diff(column)
    if not len(steps) or not np.isfinite(steps).all():
        return None
    mean = (column[-1] - column[0]) / len(steps)
    # Times are often rounded to milliseconds, so that the steps of 3.33 ms are 3 and 4 ms.
    return (
        float(mean) if mean > 0 and (np.abs(column - column[0] - mean * np.arange(len(column))) < mean).all() else None
    )


def _frequency_of(column: np.ndarray, name: str) -> float | None:
    """The sampling frequency that a column of times tells, or None if its unit cannot be known.

    Without a unit in its name a column is in seconds or in milliseconds, whichever gives a frequency at which ECGs are
    recorded; never do both.
    """
    step = _steps(column)
    if step is None:
        return None
    match = _TIME_UNIT.search(name.lower())
    if match:
        per_second = 1.0 if match.group(1) else 1e3 if match.group(2) else 1e6
        frequency = per_second / step
    else:
        possible = [unit / step for unit in (1.0, 1e3) if _PLAUSIBLE_HZ[0] <= unit / step <= _PLAUSIBLE_HZ[1]]
        if len(possible) != 1:
            return None
        frequency = possible[0]
    rounded = float(round(frequency))
    return rounded if abs(frequency - rounded) < 2e-3 * frequency else round(frequency, 3)


def _told_by_names(names: tuple[str, ...], known: list[int], told: Told, path: str, notes: list[str]) -> Told:
    """What the names of the columns say: leads, and the unit if each of them has it."""
    read = lead_names(names)
    leads = tuple(read[k].name for k in known)
    twice = sorted({lead for lead in leads if leads.count(lead) > 1})
    if twice or any(read[k].inverted for k in known):
        raise RecordingError(f"{path}: the names of the columns are ambiguous: {', '.join(names[k] for k in known)}")
    if told.leads is not None and set(told.leads) != set(leads):
        raise RecordingError(
            f"{path}: the columns are called {', '.join(leads)}, the leads told are {', '.join(told.leads)}; "
            "leave --leads out or mend the line of names"
        )
    left_out = [repr(names[k]) for k in range(len(names)) if k not in known]
    notes.append(f"leads taken from the line of names: {', '.join(leads)}")
    if left_out:
        notes.append(f"columns left out: {', '.join(left_out[:12])}")
    units = {match.group(1).lower() if (match := _VALUE_UNIT.search(names[k])) else None for k in known}
    unit = units.pop() if len(units) == 1 else None
    if unit is None:
        return replace(told, leads=leads)
    unit = {1.0: "mV", 1e3: "uV"}.get(PER_MV[unit])
    if unit is None:
        return replace(told, leads=leads)
    agreed(told.unit, unit, "unit", path, notes)
    return replace(told, leads=leads, unit=unit)
