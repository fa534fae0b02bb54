"""The page: everything that the templates show, and the environment that fills them.

html = render(build_page(request, read_inputs(request)))
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..terminal import printable
from . import charts
from .counts import ClassCounts, class_counts
from .figures import (
    ALL,
    ClassRow,
    Figure,
    Row,
    age_masks,
    class_rows,
    metric_names,
    score_rows,
    sex_masks,
    source_masks,
)
from .inputs import ClassName, Inputs, Request
from .matrix import Matrix, confusion_matrix
from .mistakes import Mistake, costliest

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Page:
    """What the templates show.

    Attributes
    ----------
    request : Request
    date, version : str
        When and by which version of this package the page was made.
    year : str
        Whose rules apply.
    are_own : bool
        Whether the classes are labels of the user's own; nothing is shown then that is the Challenge's alone.
    some_unknown : bool
        Whether some labels are unknown.
    thresholds_move : bool
        Whether each recording has thresholds of its own.
    metric_names : dict
        Key → name, in the organizers' order.
    main : str
        Key of the metric that is shown first.
    notes : list of str
        What is wrong with the files.
    overall : Row
    sources, sexes, ages : list of Row
    classes : list of ClassRow
        In the order of the task.
    panels : list of (ClassRow, Panels)
        Of the classes that have recordings with and without them, the frequent ones first.
    without_curves : list of ClassName
    matrix : Matrix or None
        The Challenge's; None where there are no rewards.
    counts : list of ClassCounts
        In the place of the matrix with labels of the user's own, the frequent classes first; otherwise empty.
    mistakes : list of Mistake
    axis, subgroup_axis : Axis
        Of the main metric.
    difference_axis, class_difference_axis : Axis or None
        Of differences of the main metric and of the classes' AUROC; None without a run to compare with.
    """

    request: Request
    date: str
    version: str
    year: str
    are_own: bool
    some_unknown: bool
    thresholds_move: bool
    class_names: list[ClassName]
    metric_names: dict[str, str]
    main: str
    notes: list[str]
    overall: Row
    sources: list[Row]
    sexes: list[Row]
    ages: list[Row]
    classes: list[ClassRow]
    panels: list[tuple[ClassRow, charts.Panels]]
    without_curves: list[ClassName]
    matrix: Matrix | None
    counts: list[ClassCounts]
    mistakes: list[Mistake]
    axis: charts.Axis
    subgroup_axis: charts.Axis
    difference_axis: charts.Axis | None
    class_difference_axis: charts.Axis | None


def build_page(request: Request, inputs: Inputs) -> Page:
    """Computes everything that a report shows."""
    everything = np.arange(len(inputs.names))
    overall, results = score_rows(inputs, ALL, everything, request.resamples, request.seed)

    def rows_of(masks) -> list[Row]:
        return [
            score_rows(inputs, name, np.flatnonzero(mask), request.resamples, request.seed)[0]
            for name, mask in masks
            if mask.any()
        ]

    sources = rows_of(source_masks(inputs))
    sexes, ages = rows_of(sex_masks(inputs)), rows_of(age_masks(inputs))
    classes = class_rows(inputs, results)
    drawn = [row for row in classes if 0 < row.positives < row.recordings]
    drawn.sort(key=lambda row: -row.positives)
    names = metric_names(inputs)
    main = inputs.main
    compared = len(inputs.systems) > 1
    return Page(
        request=request,
        date=datetime.date.today().isoformat(),
        version=__version__,
        year=inputs.task.year,
        are_own=inputs.are_own,
        some_unknown=inputs.known is not None and not bool(inputs.known.all()),
        thresholds_move=inputs.moved is not None,
        class_names=inputs.class_names,
        metric_names=names,
        main=main,
        notes=inputs.notes,
        overall=overall,
        sources=sources,
        sexes=sexes,
        ages=ages,
        classes=classes,
        panels=[(row, charts.panels_of(inputs, row.place)) for row in drawn],
        without_curves=[row.name for row in classes if row not in drawn],
        matrix=confusion_matrix(inputs),
        counts=_by_frequency(class_counts(inputs)) if inputs.are_own else [],
        mistakes=list(costliest(inputs, request.mistakes, request.data)),
        axis=_axis([overall, *sources], main, overall),
        subgroup_axis=_axis([overall, *sexes, *ages], main, overall),
        difference_axis=_difference_axis([overall, *sources, *sexes, *ages], main) if compared else None,
        class_difference_axis=_difference_axis(classes, "auroc") if compared else None,
    )


def _by_frequency(counts: list[ClassCounts]) -> list[ClassCounts]:
    return sorted(counts, key=lambda row: -(row.true_positives + row.false_negatives))


def _axis(rows: list[Row], key: str, overall: Row) -> charts.Axis:
    return charts.axis_for([row.metrics[key] for row in rows], overall.metrics[key].value)


def _difference_axis(rows: list[Row] | list[ClassRow], key: str) -> charts.Axis:
    return charts.axis_for([row.differences[key] for row in rows], 0.0)


def render(page: Page) -> str:
    """The page as HTML."""
    return _environment().get_template("page.html").render(page=page)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, spoken=spoken, signed=signed, percent=percent, about=about, printable=printable
    )
    environment.tests.update(finite=math.isfinite)
    environment.globals.update(charts=charts, direction=direction, share=share)
    return environment


UNDEFINED = Markup('<span aria-hidden="true">–</span><span class="visually-hidden">undefined</span>')


def number(value: float, digits: int = 3) -> str:
    """A number with a true minus sign; a dash, which a screen reader calls undefined, for NaN and infinity."""
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return f"−{text[1:]}" if float(text) < 0 else text.lstrip("-")


def spoken(value: float, digits: int = 3) -> str:
    """A number for titles and text alternatives, which hold no elements."""
    return number(value, digits) if math.isfinite(value) else "undefined"


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign; 0 has none."""
    text = number(value, digits)
    return f"+{text}" if math.isfinite(value) and float(f"{value:.{digits}f}") > 0 else text


def percent(share: float) -> str:
    """A share as percent, with one decimal below ten."""
    if not math.isfinite(share):
        return UNDEFINED
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def share(part: int, whole: int) -> float:
    """A part divided by its whole; NaN if the whole is 0, as for a class whose label is unknown in every recording."""
    return part / whole if whole else math.nan


def about(count: float) -> str:
    """A weighted count for a narrow cell: one decimal below ten, and nothing for what rounds to 0."""
    if count < 0.05:
        return ""
    return f"{count:.1f}" if count < 9.95 else f"{count:.0f}"


def direction(difference: Figure) -> str:
    """What an interval says about a difference: "higher" or "lower" where it leaves out 0, else "not clear"."""
    if not (math.isfinite(difference.low) and math.isfinite(difference.high)):
        return "not clear"
    return "higher" if difference.low > 0 else "lower" if difference.high < 0 else "not clear"
