"""What the evaluator writes: the organizers' tables to the last byte, a table of intervals, and everything as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.classes import OWN
from ..data.own_labels import written
from ..errors import UserError
from .findings import Findings
from .masked import OWN_METRICS
from .metrics import METRICS
from .task import Task


def metrics_of(task: Task) -> dict[str, str]:
    """The metrics of a task: keys of its scores, and names in the heads of tables."""
    return OWN_METRICS if task.year == OWN else METRICS[task.year]


@dataclass(frozen=True)
class Figures:
    """The results for a set of recordings, each a dictionary by metric as `metrics.evaluate` returns it.

    Attributes
    ----------
    recordings : int
        Number of recordings.
    scores : dict
    intervals : dict, optional
        (low, high) for each metric, if there are resamples.
    other, difference, difference_intervals : dict, optional
        If two systems are compared: the scores of the other system, what `scores` exceeds them by, and its intervals.
    """

    recordings: int
    scores: dict
    intervals: dict | None = None
    other: dict | None = None
    difference: dict | None = None
    difference_intervals: dict | None = None


def write_official(
    task: Task, scores: dict, scores_path: str | None = None, class_scores_path: str | None = None
) -> None:
    """Writes the organizers' tables; without `scores_path` the scores are printed.

    Like theirs, the files end without a newline. Raises UserError if a file cannot be written.
    """
    names = {key: name for key, name in metrics_of(task).items() if key != "geometric_mean"}
    separator = "|" if task.year == "unofficial" else ","
    table = separator.join(names.values()) + "\n" + separator.join(f"{scores[key]:.3f}" for key in names)
    # Names of the user's own may hold commas, which the organizers' codes never do.
    by_class = "Classes," + ",".join(map(written, task.classes) if task.year == OWN else task.classes)
    for key in ("auroc", "auprc", "f_measure"):
        by_class += f"\n{names[key]}," + ",".join(f"{value:.3f}" for value in scores[f"{key}_classes"])
    if scores_path:
        write_text(scores_path, table)
    else:
        print(table)
    if class_scores_path:
        write_text(class_scores_path, by_class)


def print_table(task: Task, figures: list[tuple[str, Figures]]) -> None:
    """Prints a row of scores for each (name, Figures), and rows for intervals and differences if there are any."""
    metrics = metrics_of(task)
    print("Source,Recordings,Figure," + ",".join(metrics.values()))
    for name, result in figures:
        rows = {"score": result.scores, **_interval_rows("", result.intervals)}
        if result.other:
            rows |= {"other": result.other, "difference": result.difference}
            rows |= _interval_rows("difference ", result.difference_intervals)
        for row, values in rows.items():
            print(f"{name},{result.recordings},{row}," + ",".join(f"{values[key]:.3f}" for key in metrics))


def _interval_rows(prefix: str, intervals: dict | None) -> dict:
    """The lower and the upper ends of the intervals of all metrics, as two rows of the table."""
    return {
        f"{prefix}{percent} %": {key: interval[end] for key, interval in intervals.items()}
        for end, percent in enumerate((2.5, 97.5))
        if intervals
    }


def as_json(
    task: Task,
    overall: Figures,
    by_source: dict[str, Figures],
    findings: Findings,
    other_findings: Findings | None = None,
) -> dict:
    """All results and findings as one dictionary, to be passed through `files.json_ready`.

    The scores of all recordings are at the top level, under the names that the golden cases use. `other_findings` are
    those about the outputs to compare with.
    """
    content = {"year": task.year, "classes": task.classes, **_results_as_json(overall)}
    content["findings"] = _findings_as_json(findings)
    if other_findings is not None:
        content["comparison"]["findings"] = _findings_as_json(other_findings)
    if by_source:
        content["sources"] = {source: _results_as_json(results) for source, results in by_source.items()}
    return content


def _results_as_json(results: Figures) -> dict:
    content = {"recordings": results.recordings, **results.scores}
    if results.intervals:
        content["intervals"] = results.intervals
    if results.other:
        content["comparison"] = {
            "other": results.other,
            "difference": results.difference,
            "intervals": results.difference_intervals,
        }
    return content


def _findings_as_json(findings: Findings) -> dict:
    return {
        kind: {"count": len(names), "first": list(names)[:10], "codes": list(findings.codes[kind])}
        for kind, names in findings.names.items()
        if names
    }


def write_text(path: str, text: str) -> None:
    """Writes a text file. Raises UserError if that fails.

    The file is written in place and not renamed from a temporary one, since it may be a pipe such as /dev/stdout.
    """
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
