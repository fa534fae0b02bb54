"""A prediction as text and as rows of a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from ..terminal import printable
from .result import NOT_A_DEVICE, ClassResult, Prediction

COLUMNS = (
    "recording",
    "code",
    "abbreviation",
    "name",
    "probability",
    "threshold",
    "found",
    "agreeing",
    "members",
    "trustworthy",
    "uncertainty",
    "disagreement",
)
_HEAD = ("", "diagnosis", "SNOMED CT", "probability", "threshold", "agreeing")


def as_text(result: Prediction) -> str:
    """The table that `twelvelead predict` prints, with what is known of the recording above it."""
    lines = [f"{result.name}: {_described(result)}"]
    lines += [f"  note: {note}" for note in result.notes]
    if result.warnings:
        lines.append("  DO NOT TRUST THIS RESULT:")
        lines += [f"    - {warning}" for warning in result.warnings]
    lines.append("")
    lines += _aligned([_HEAD, *(_row(each) for each in result.classes)])
    found = ", ".join(
        each.name if each.name == each.abbreviation else f"{each.name} ({each.abbreviation})" for each in result.found
    )
    lines += ["", f"found: {found or 'nothing'}"]
    lines += [f"model: {result.model}", NOT_A_DEVICE]
    return "\n".join(printable(line) for line in lines)


def as_csv(results: Sequence[Prediction]) -> str:
    """One row for each class of each recording, below a line of names."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        for each in result.classes:
            writer.writerow(
                (
                    printable(result.name),
                    each.code,
                    each.abbreviation,
                    each.name,
                    f"{each.probability:.6g}",
                    f"{each.threshold:.6g}",
                    int(each.found),
                    each.agreeing,
                    each.members,
                    int(result.trustworthy),
                    f"{result.uncertainty:.6g}",
                    f"{result.disagreement:.6g}",
                )
            )
    return file.getvalue()


def _described(result: Prediction) -> str:
    recording = result.recording
    seconds = recording.signal_mv.shape[1] / recording.frequency_hz
    age = f"{recording.age_years:g} years" if math.isfinite(recording.age_years) else "age unknown"
    sex = recording.sex if recording.sex != "unknown" else "sex unknown"
    leads = f"{len(recording.leads)} lead{'s' * (len(recording.leads) > 1)}"
    return f"{seconds:.3g} s, {recording.frequency_hz:g} Hz, {leads}, {age}, {sex}"


def _row(each: ClassResult) -> tuple[str, ...]:
    return (
        "found" if each.found else "",
        each.name if each.abbreviation == each.name else f"{each.abbreviation:<7} {each.name}",
        each.code if each.code.isdigit() else "",
        f"{each.probability:.3f}",
        f"{each.threshold:.3f}",
        f"{each.agreeing} of {each.members}",
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as columns of equal width; numbers are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    to_left = (True, True, True, False, False, False)
    return [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(row, widths, to_left)
        ).rstrip()
        for row in rows
    ]
