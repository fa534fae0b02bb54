"""What the evaluator writes: the organizers' tables to the last byte, a table with intervals, and everything as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError
from .metrics import METRICS


@dataclass(frozen=True)
class Figures:
    """What is known of a set of recordings: values by metric, and intervals as (low, high)."""

    recordings: int
    scores: dict
    intervals: dict | None = None
    other: dict | None = None  # the outputs to compare with
    difference: dict | None = None
    difference_intervals: dict | None = None


def write_official(task, scores, scores_path=None, class_scores_path=None) -> None:
    """Writes the organizers' tables, which end without a newline in files; without a path the scores are printed."""
    names = {key: name for key, name in METRICS[task.year].items() if key != "geometric_mean"}
    separator = "|" if task.year == "unofficial" else ","
    table = separator.join(names.values()) + "\n" + separator.join(f"{scores[key]:.3f}" for key in names)
    by_class = "Classes," + ",".join(task.classes)
    for key in ("auroc", "auprc", "f_measure"):
        by_class += f"\n{names[key]}," + ",".join(f"{value:.3f}" for value in scores[f"{key}_classes"])
    if scores_path:
        write_text(scores_path, table)
    else:
        print(table)
    if class_scores_path:
        write_text(class_scores_path, by_class)


def print_table(task, figures) -> None:
    """Prints the scores of (name, Figures) pairs with what is known of their intervals and differences."""
    names = METRICS[task.year]
    print("Source,Recordings,Figure," + ",".join(names.values()))
    for source, of in figures:
        rows = {"score": of.scores, **_ends("", of.intervals)}
        if of.other:
            rows |= {"other": of.other, "difference": of.difference, **_ends("difference ", of.difference_intervals)}
        for row, values in rows.items():
            print(f"{source},{of.recordings},{row}," + ",".join(f"{values[key]:.3f}" for key in names))


def _ends(prefix, intervals) -> dict:
    return (
        {
            f"{prefix}{percent} %": {key: ends[place] for key, ends in intervals.items()}
            for place, percent in enumerate((2.5, 97.5))
        }
        if intervals
        else {}
    )


def as_json(task, everything, by_source, findings, other_findings=None) -> dict:
    """Everything; the scores of all recordings stand on top, under the names of the golden cases."""

    def flat(of):
        result = {"recordings": of.recordings, **of.scores}
        if of.intervals:
            result["intervals"] = of.intervals
        if of.other:
            result["comparison"] = {
                "other": of.other,
                "difference": of.difference,
                "intervals": of.difference_intervals,
            }
        return result

    def amiss(found):
        return {
            kind: {"count": len(names), "first": list(names)[:10], "codes": list(found.codes[kind])}
            for kind, names in found.names.items()
            if names
        }

    content = {"year": task.year, "classes": task.classes, **flat(everything), "findings": amiss(findings)}
    if other_findings is not None:
        content["comparison"]["findings"] = amiss(other_findings)
    if by_source:
        content["sources"] = {source: flat(of) for source, of in by_source.items()}
    return content


def write_text(path, text) -> None:
    """Writes a text file; raises UserError where that fails."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
