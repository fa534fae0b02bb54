"""Reads labels and outputs into arrays by the rules of each year's official scorer, and notes what is wrong with them.

    task = load_task(None, "weights.csv")                      # from twelvelead.evaluation.files
    files = find_files(task, "labels", "outputs", findings := Findings())
    task, labels = read_labels(task, files, findings)
    outputs, scores = read_outputs(task, files, findings)      # (recordings, classes) each, for twelvelead.evaluation.metrics

The organizers' scorers differ in what they make of an odd file, and stop at some. Here every such rule is followed, so
that the figures are theirs. What is odd is noted in `Findings`, and so is where theirs stops: `findings.raise_stops`
makes that an error, and without it such a recording is all-negative. Most of the organizers' minute goes into reading
86,202 small files; here a file takes three system calls, and its values are not looked at one by one.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field, replace

import numpy as np

from .files import Files
from .findings import Findings
from .metrics import counts_at_thresholds
from .task import Task

POSITIVE = frozenset(("1", "True", "true", "T", "t"))
NEGATIVE = frozenset(("0", "False", "false", "F", "f"))


def _read(path: str) -> str:
    """The text of a file as `open(path).read()` gives it in UTF-8, at a third of the price for a small file."""
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
    """The task, with its classes in the unofficial phase, and the headers' labels, bool (recordings, classes).

    The official scripts know the line ``#Dx: …`` alone. PhysioNet's current files have ``# Dx: …``; a header that has
    only such a line is read by it, and noted, since an official script would stop there or see no labels.
    """
    entries = [_dx_entries(task, *file, findings) for file in zip(files.names, files.headers)]
    if task.year == "unofficial":
        classes = sorted({code.strip() for own in entries for entry in own for code in entry.split(",")})
        task = replace(task, classes=tuple(classes), index={code: place for place, code in enumerate(classes)})
    if task.year == "2020":
        entries = _one_each(files, entries, findings)
    places_of, unknown_of = {}, {}  # by entry, for most occur often
    recording, place = array("q"), array("q")
    for number, own in enumerate(entries):
        for entry in own:
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


def _dx_entries(task, name, path, findings) -> list[str]:
    """What follows ': ' in each line of a header that begins with '#Dx'."""
    try:
        text = _read(path)
    except (OSError, UnicodeDecodeError) as error:
        findings.add("unreadable", name)
        findings.stop(path, f"the header cannot be read ({error})")
        return []
    if task.year == "unofficial":  # that script prints every recording's name
        findings.printed.append(text.split("\n", 1)[0].split(" ")[0])
    lines = text.split("\n")
    own = [line for line in lines if line.startswith("#Dx")]
    if not own:
        own = [line for line in lines if line.startswith("# Dx")]
        if own:
            findings.add("spaced", name)
    parts = [line.split(": ") for line in own]
    entries = [part[1] for part in parts if len(part) > 1]
    if len(entries) < len(parts) and task.year != "2021":
        findings.stop(path, "the line '#Dx' has no ': '")
    if not entries:
        findings.add("unlabelled", name)
    if len(entries) > 1 and task.year == "2020":
        findings.add("relabelled", name)
    return entries


def _one_each(files, entries, findings) -> list[list[str]]:
    """The 2020 script lays all entries end to end and gives the i-th to the i-th recording, whosever it is."""
    end_to_end = [[entry] for own in entries for entry in own]
    if len(end_to_end) >= len(entries):
        return end_to_end[: len(entries)]
    for path, own in zip(files.headers, entries):  # there are too few, and it stops
        if not own:
            findings.stop(path, "no line '#Dx: ...'")
    return [own[:1] for own in entries]


# -- outputs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """What a row of class codes means: column `columns[i]` is an output for class `places[i]` under code `codes[i]`."""

    width: int = 0
    columns: array = field(default_factory=lambda: array("q"))
    places: array = field(default_factory=lambda: array("q"))
    codes: array = field(default_factory=lambda: array("q"))  # numbers that read_outputs gives out
    unknown: list[str] = field(default_factory=list)


class _Malformed(Exception):
    """An output file without the rows that are due: the kind of finding, why, and whether the official script stops."""


def read_outputs(task: Task, files: Files, findings: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Binary outputs, bool, and scores, float64, (recordings, classes) each, of the output files."""
    rows_of = _rows_2020 if task.year == "2020" else _rows_2021
    layouts, codes, flags = {}, {}, {}  # layouts and flags by row, for most occur often
    used, starts, values, positive = [], [], array("d"), bytearray()  # all rows end to end
    for name, path in zip(files.names, files.outputs):
        used.append(_NOTHING)
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
        except _Malformed as error:
            kind, why, stops = error.args
            findings.add(kind, name)
            if stops:
                findings.stop(path, why)
            elif task.year == "2020":
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
                findings.add("unknown outputs", name, codes=layout.unknown)
    cells = _lay_end_to_end(used, starts, np.array(values), np.array(positive, dtype=bool))
    _note_scores(files, cells, list(codes), findings)
    listed = set(np.unique(cells.place))
    findings.add("absent", *(name for place, name in enumerate(task.classes) if place not in listed))
    return _arrange(cells, (len(used), len(task.classes)), task.year)


_NOTHING = _Layout()


def _rows_2020(task, text, name, findings) -> list[str]:
    """The first three lines that are neither blank nor comments, if all such lines have as many entries."""
    rows = [row for row in text.split("\n") if (bare := row.strip()) and not bare.startswith("#")]
    commas = [row.count(",") for row in rows]
    if len(rows) < 3 or len(set(commas)) > 1:
        kind = "empty" if not rows else "short" if len(rows) < 3 or min(commas[1:3]) < commas[0] else "long"
        raise _Malformed(kind, "", False)
    if len(rows) > 3:
        findings.add("long", name)
    return rows[:3]


def _rows_2021(task, text, name, findings) -> list[str]:
    """Lines 2 to 4, whatever they are; three blank ones stand for a recording that failed."""
    rows = text.split("\n")
    if not rows[-1]:
        del rows[-1]
    if not rows:
        raise _Malformed("empty", "the file is empty", True)
    if len(rows) < 4:
        raise _Malformed("short", f"{len(rows)} lines instead of four", True)
    if not any(row.strip() for row in rows[1:4]):
        raise _Malformed("empty", "three blank rows", task.year == "unofficial")
    if len(rows) > 4:
        findings.add("long", name)
    return rows[1:4]


def _layout(task, class_row, codes) -> _Layout:
    entries = [entry.strip() for entry in class_row.split(",")]
    layout = _Layout(len(entries))
    if task.year == "unofficial":  # columns are the labels' classes in their order, whatever they are called
        if len(entries) != len(task.classes):
            raise _Malformed(
                "short" if len(entries) < len(task.classes) else "long",
                f"{len(entries)} classes, while the labels have {len(task.classes)}",
                True,
            )
        entries = task.classes
    for column, entry in enumerate(entries):
        names = entry.split("|") if task.year == "2021" else [entry]
        layout.unknown.extend(code for code in names if code and not task.knows(code))
        for place in sorted({task.index[code] for code in names if code in task.index}):
            layout.columns.append(column)
            layout.places.append(place)
            layout.codes.append(codes.setdefault(entry, len(codes)))
    return layout


def _flags(task, label_row) -> tuple[bytes, bool]:
    """For each entry of a row of labels whether it is positive, and whether any entry is neither a yes nor a no."""
    entries = [entry.strip() for entry in label_row.split(",")]
    if task.year == "unofficial":
        try:
            return bytes(int(entry) != 0 for entry in entries), not set(entries) <= {"0", "1"}
        except ValueError:
            raise _Malformed("unparsable", "its row of labels has other entries than integers", True) from None
    yes = [entry in POSITIVE for entry in entries]
    no = [entry in NEGATIVE for entry in entries]
    if task.year == "2021":  # numbers, too, are taken for what they are
        numbers = [_score(task, entry, otherwise=np.nan) for entry in entries]
        yes = [flag or number == 1 for flag, number in zip(yes, numbers)]
        no = [flag or number == 0 for flag, number in zip(no, numbers)]
    return bytes(yes), not all(map(any, zip(yes, no)))


def _score(task, entry, otherwise=0.0) -> float:
    try:
        return float(entry)
    except ValueError:
        if task.year == "unofficial":
            raise _Malformed("unparsable", f"the score '{entry.strip()}' is not a number", True) from None
        return otherwise


def _fit(task, layout, positives, numbers, name, findings) -> tuple[bytes, list[float]]:
    """Rows cut or filled up to the number of classes. If that fills up a scored class, the script stops."""
    width, (shorter, longer) = layout.width, sorted((len(positives), len(numbers)))
    kind = "short" if shorter < width else "long"
    needed = max(layout.columns, default=-1) + 1
    if shorter < needed or (longer > width and task.year == "unofficial"):
        raise _Malformed(kind, f"{width} classes, but {len(positives)} labels and {len(numbers)} scores", True)
    findings.add(kind, name)
    return positives[:width].ljust(width, b"\0"), (numbers + [0.0] * width)[:width]


# -- from rows to arrays ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cells:
    """The values of all files for scored classes, laid end to end: five arrays of one length."""

    recording: np.ndarray
    place: np.ndarray  # of the class
    code: np.ndarray  # its number
    positive: np.ndarray  # bool
    score: np.ndarray  # float64


def _lay_end_to_end(used, starts, values, positive) -> _Cells:
    columns, places, codes = array("q"), array("q"), array("q")
    for layout in used:
        columns.extend(layout.columns)
        places.extend(layout.places)
        codes.extend(layout.codes)
    lengths = [len(layout.columns) for layout in used]
    at = np.repeat(starts, lengths) + np.array(columns)
    recording = np.repeat(np.arange(len(used)), lengths)
    return _Cells(recording, np.array(places), np.array(codes), positive[at], values[at])


def _arrange(cells, shape, year) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and scores, (recordings, classes) each, without a look at any single recording.

    A class with several columns is positive if any of them is, and its score is their mean. One without a column is
    negative with score 0.
    """
    target = cells.recording * shape[1] + cells.place
    outputs = np.zeros(shape, dtype=bool)
    outputs.flat[target[cells.positive]] = True
    values = cells.score
    if year == "2021":  # here NaN and infinity count as 0; in 2020 NaN is left out of the mean
        values = np.where(np.isfinite(values), values, 0.0)
    there = ~np.isnan(values)
    counts = np.bincount(target[there], minlength=outputs.size)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN, and 0 in the end
        scores = np.bincount(target[there], weights=values[there], minlength=outputs.size) / np.maximum(counts, 1)
        for crowded in np.flatnonzero(np.bincount(target) > 7):  # numpy's mean adds eight and more in another order
            scores[crowded] = np.nansum(values[target == crowded]) / max(counts[crowded], 1)
    scores[np.isnan(scores)] = 0.0
    return outputs, scores.reshape(shape)


def _note_scores(files, cells, codes, findings) -> None:
    """Finds scores that are no probabilities, and labels that no threshold on a code's scores gives.

    Of the latter, the recordings on the wrong side of the threshold that leaves the fewest there are named.
    """
    outside = cells.recording[~((cells.score >= 0) & (cells.score <= 1))]
    findings.add("range", *(files.names[recording] for recording in np.unique(outside)))
    wrong = []
    for number, code in enumerate(codes):
        here = (cells.code == number) & ~np.isnan(cells.score)
        positive, score = cells.positive[here], cells.score[here]
        if not positive.any():
            continue
        tp, fp, thresholds = counts_at_thresholds(positive, score)
        errors = np.append(fp + tp[-1] - tp, tp[-1])  # at each threshold, and with no score above it
        if errors.min() > 0:
            threshold = np.append(thresholds, np.inf)[errors.argmin()]
            wrong.append(cells.recording[here][positive != (score >= threshold)])
            findings.add("order", codes=[code])
    if wrong:
        findings.add("order", *(files.names[recording] for recording in np.unique(np.concatenate(wrong))))
