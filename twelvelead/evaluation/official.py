"""Reads labels and outputs into arrays by the rules of each year's official scorer, and notes what is wrong with them.

    task = load_task(None, "weights.csv")                      # task.py
    files = find_files(task, "labels", "outputs", findings := Findings())
    task, labels = read_labels(task, files, findings)
    outputs, scores = read_outputs(task, files, findings)      # (recordings, classes) each, as metrics.py takes them

The official scripts of the three phases treat malformed files differently, and stop at some of them. This module
follows each of their rules, so that the scores are equal. What is malformed is noted in `Findings`, and so is each file
at which the official script stops: `findings.raise_stops` makes that an error, and otherwise it is all-negative.

The official scripts need a minute for the 86,202 files of the Challenge 2020, most of it for opening and parsing them.
Here a file takes three system calls, rows that occur in many files are parsed once, and values are handled as arrays.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import replace

import numpy as np

from ..data.classes import OWN
from .cells import Layout, cells_of, note_scores, outputs_and_scores
from .files import Files
from .findings import Findings
from .task import Task

POSITIVE = frozenset(("1", "True", "true", "T", "t"))
NEGATIVE = frozenset(("0", "False", "false", "F", "f"))


def _read(path: str) -> str:
    """The text of a file as `open(path).read()` gives it in UTF-8, in a third of the time for a small file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.read(descriptor, 1 << 16)
        if len(data) == 1 << 16:
            with open(descriptor, "rb", closefd=False) as file:
                data += file.read()
    finally:
        os.close(descriptor)
    text = data.decode()
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


# -- labels ----------------------------------------------------------------------------------------


def read_labels(task: Task, files: Files, findings: Findings) -> tuple[Task, np.ndarray]:
    """Reads the labels from the headers.

    The official scripts know the line ``#Dx: …`` only. PhysioNet's current files have ``# Dx: …``. The labels of a
    header that has only such a line are read from it, and noted, since an official script would stop or see no labels.

    Returns
    -------
    task : Task
        The given one; in the unofficial phase with the classes that occur in the labels.
    labels : bool (recordings, classes)
    """
    entries = [_dx_entries(task, *file, findings) for file in zip(files.names, files.headers)]
    if task.year == "unofficial":
        classes = sorted({code.strip() for of_header in entries for entry in of_header for code in entry.split(",")})
        task = replace(task, classes=tuple(classes), index={code: place for place, code in enumerate(classes)})
    if task.year == "2020":
        entries = _one_each(files, entries, findings)
    # Classes and unknown codes of each different entry: most entries occur in many headers, and are parsed once.
    places_of: dict[str, list[int]] = {}
    unknown_of: dict[str, list[str]] = {}
    recording, place = array("q"), array("q")
    for number, of_header in enumerate(entries):
        for entry in of_header:
            if entry not in places_of:
                codes = [code.strip() for code in entry.split(",")]
                places_of[entry] = [task.index[code] for code in codes if code in task.index]
                unknown_of[entry] = [code for code in codes if code and not task.knows(code)]
            place.extend(places_of[entry])
            recording.extend([number] * len(places_of[entry]))
            if unknown_of[entry]:
                findings.add("unknown labels", files.names[number], codes=unknown_of[entry])
    labels = np.zeros((len(entries), len(task.classes)), dtype=bool)
    labels[np.array(recording), np.array(place)] = True
    return task, labels


def _dx_entries(task: Task, name: str, path: str, findings: Findings) -> list[str]:
    """The text after ': ' of each line of a header that begins with '#Dx'; such an entry is a list of codes."""
    try:
        text = _read(path)
    except (OSError, UnicodeDecodeError) as error:
        findings.add("unreadable", name)
        findings.stop(path, f"the header cannot be read ({error})")
        return []
    if task.year == "unofficial":  # that script prints every recording's name
        findings.printed.append(text.split("\n", 1)[0].split(" ")[0])
    lines = text.split("\n")
    dx_lines = [line for line in lines if line.startswith("#Dx")]
    if not dx_lines:
        dx_lines = [line for line in lines if line.startswith("# Dx")]
        if dx_lines:
            findings.add("spaced", name)
    parts = [line.split(": ") for line in dx_lines]
    entries = [part[1] for part in parts if len(part) > 1]
    if len(entries) < len(parts) and task.year != "2021":
        findings.stop(path, "the line '#Dx' has no ': '")
    if not entries:
        findings.add("unlabelled", name)
    if len(entries) > 1 and task.year != "unofficial":
        findings.add("relabelled", name)
    return entries


def _one_each(files: Files, entries: list[list[str]], findings: Findings) -> list[list[str]]:
    """One entry for each recording, as in the 2020 script.

    That script makes one list of the entries of all headers and gives its i-th entry to the i-th recording, even if the
    entry is from another header. With fewer entries than recordings it stops.
    """
    all_entries = [[entry] for of_header in entries for entry in of_header]
    if len(all_entries) >= len(entries):
        return all_entries[: len(entries)]
    for path, of_header in zip(files.headers, entries):
        if not of_header:
            findings.stop(path, "no line '#Dx: ...'")
    return [of_header[:1] for of_header in entries]


# -- outputs ---------------------------------------------------------------------------------------


class _MalformedError(Exception):
    """An output file without the expected rows: kind of finding, reason, and whether the official script stops."""


def read_outputs(task: Task, files: Files, findings: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Binary outputs, bool, and scores, float64, (recordings, classes) each, of the output files."""
    rows_of = _rows_2020 if task.year in ("2020", OWN) else _rows_2021
    # By the text of a row: most rows of codes and of labels occur in many files, and are parsed once.
    layouts: dict[str, Layout] = {}
    flags: dict[str, tuple[bytes, bool]] = {}
    codes: dict[str, int] = {}  # number of each code
    # The rows of all files one after another; file i begins at starts[i] and is laid out as used[i].
    used: list[Layout] = []
    starts: list[int] = []
    values, positive = array("d"), bytearray()
    for name, path in zip(files.names, files.outputs):
        used.append(_NO_COLUMNS)
        starts.append(len(values))
        if not path:
            continue
        try:
            class_row, label_row, score_row = rows_of(task, _read(path), name, findings)
            if class_row not in layouts:
                layouts[class_row] = _layout(task, class_row, codes)
            if label_row not in flags:
                flags[label_row] = _flags(task, label_row)
            layout, (positives, odd) = layouts[class_row], flags[label_row]
            try:
                numbers = list(map(float, score_row.split(",")))
            except ValueError:
                numbers, odd = [_score(task, entry) for entry in score_row.split(",")], True
            if not len(positives) == len(numbers) == layout.width:
                positives, numbers = _fit(task, layout, positives, numbers, name, findings)
        except (OSError, UnicodeDecodeError) as error:
            findings.add("unreadable", name)
            findings.stop(path, f"the output file cannot be read ({error})")
        except _MalformedError as error:
            kind, why, stops = error.args
            findings.add(kind, name)
            if stops:
                findings.stop(path, why)
            elif task.year in ("2020", OWN):
                findings.printed.append(
                    f"- The output file {path} has formatting errors, so all outputs are assumed "
                    "to be negative for this recording."
                )
        else:
            used[-1] = layout
            values.extend(numbers)
            positive.extend(positives)
            if odd:
                findings.add("unparsable", name)
            if layout.unknown:
                kind = "other outputs" if task.year == OWN else "unknown outputs"
                findings.add(kind, name, codes=layout.unknown)
    cells = cells_of(used, starts, np.array(values), np.array(positive, dtype=bool))
    note_scores(files, cells, list(codes), findings)
    present = set(np.unique(cells.place))
    findings.add("absent", *(name for place, name in enumerate(task.classes) if place not in present))
    return outputs_and_scores(cells, (len(used), len(task.classes)), task.year)


_NO_COLUMNS = Layout()  # of a file that is missing or malformed


def _rows_2020(task: Task, text: str, name: str, findings: Findings) -> list[str]:
    """Codes, labels and scores: the first three lines that are neither blank nor comments.

    All such lines must have the same number of entries.
    """
    rows = [row for row in text.split("\n") if (bare := row.strip()) and not bare.startswith("#")]
    commas = [row.count(",") for row in rows]
    if len(rows) < 3 or len(set(commas)) > 1:
        kind = "empty" if not rows else "short" if len(rows) < 3 or min(commas[1:3]) < commas[0] else "long"
        raise _MalformedError(kind, "", False)
    if len(rows) > 3:
        findings.add("long", name)
    return rows[:3]


def _rows_2021(task: Task, text: str, name: str, findings: Findings) -> list[str]:
    """Codes, labels and scores: lines 2 to 4, even if they are comments; three blank lines mean a failed recording."""
    rows = text.split("\n")
    if not rows[-1]:
        del rows[-1]
    if not rows:
        raise _MalformedError("empty", "the file is empty", True)
    if len(rows) < 4:
        raise _MalformedError("short", f"{len(rows)} lines instead of four", True)
    if not any(row.strip() for row in rows[1:4]):
        raise _MalformedError("empty", "three blank rows", task.year == "unofficial")
    if len(rows) > 4:
        findings.add("long", name)
    return rows[1:4]


def _layout(task: Task, class_row: str, codes: dict[str, int]) -> Layout:
    """The layout of a row of class codes; adds codes that are new to `codes`."""
    entries = [entry.strip() for entry in class_row.split(",")]
    layout = Layout(len(entries))
    if task.year == "unofficial":  # that script ignores the names and takes the columns for the sorted label classes
        if len(entries) != len(task.classes):
            raise _MalformedError(
                "short" if len(entries) < len(task.classes) else "long",
                f"{len(entries)} classes, while the labels have {len(task.classes)}",
                True,
            )
        entries = list(task.classes)
    for column, entry in enumerate(entries):
        names = entry.split("|") if task.year == "2021" else [entry]
        layout.unknown.extend(code for code in names if code and not task.knows(code))
        for place in sorted({task.index[code] for code in names if code in task.index}):
            layout.columns.append(column)
            layout.places.append(place)
            layout.codes.append(codes.setdefault(entry, len(codes)))
    return layout


def _flags(task: Task, label_row: str) -> tuple[bytes, bool]:
    """One byte for each entry of a row of labels, 1 if positive, and whether any entry is neither a yes nor a no."""
    entries = [entry.strip() for entry in label_row.split(",")]
    if task.year == "unofficial":
        try:
            return bytes(int(entry) != 0 for entry in entries), not set(entries) <= {"0", "1"}
        except ValueError:
            raise _MalformedError("unparsable", "its row of labels has other entries than integers", True) from None
    yes = [entry in POSITIVE for entry in entries]
    no = [entry in NEGATIVE for entry in entries]
    if task.year == "2021":  # that script also accepts numbers such as 1.0
        numbers = [_score(task, entry, otherwise=np.nan) for entry in entries]
        yes = [flag or number == 1 for flag, number in zip(yes, numbers)]
        no = [flag or number == 0 for flag, number in zip(no, numbers)]
    return bytes(yes), not all(map(any, zip(yes, no)))


def _score(task: Task, entry: str, otherwise: float = 0.0) -> float:
    """The number in an entry, or `otherwise` if it is none; the unofficial phase's script stops there."""
    try:
        return float(entry)
    except ValueError:
        if task.year == "unofficial":
            raise _MalformedError("unparsable", f"the score '{entry.strip()}' is not a number", True) from None
        return otherwise


def _fit(
    task: Task, layout: Layout, positives: bytes, numbers: list[float], name: str, findings: Findings
) -> tuple[bytes, list[float]]:
    """Labels and scores cut to the number of codes, or filled up with negatives and zeros.

    The official script stops if an entry of a scored class is missing.
    """
    width, (shorter, longer) = layout.width, sorted((len(positives), len(numbers)))
    kind = "short" if shorter < width else "long"
    needed = max(layout.columns, default=-1) + 1
    if shorter < needed or (longer > width and task.year == "unofficial"):
        raise _MalformedError(kind, f"{width} classes, but {len(positives)} labels and {len(numbers)} scores", True)
    findings.add(kind, name)
    return positives[:width].ljust(width, b"\0"), (numbers + [0.0] * width)[:width]
