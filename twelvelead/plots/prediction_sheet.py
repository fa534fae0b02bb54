"""Draws an ECG sheet with the probabilities of a model beside it: bars, thresholds, and what is unusual.

draw_prediction(recording, "out.png", bars, title="…", notes=(…), warnings=(…))
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..data.recording import Recording
from .ecg_sheet import (
    ALARM,
    INK,
    LEFT_MM,
    PAPER,
    TOP_MM,
    Shading,
    check_request,
    draw_leads,
    draw_paper,
    new_sheet,
    person_line,
    save,
    sheet_size,
)

PANEL_MM = 112.0  # width of the part with the bars
BAR_LEFT_MM, BAR_MM, BAR_ROW_MM = 26.0, 66.0, 5.2  # from the panel's left; length at probability 1; between two bars
LINE_MM = 4.2  # between two lines of remarks
LINE_LETTERS = 190  # of a remark before it is wrapped
MOST_LINES = 14
FOUND, NOT_FOUND = "#20508c", "#b9c2cc"


class Bar(NamedTuple):
    """One class of a model."""

    label: str
    probability: float
    threshold: float
    found: bool


def draw_prediction(
    recording: Recording,
    picture: str | Path,
    bars: Sequence[Bar],
    *,
    title: str,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    footer: str = "",
    layout: str = "3x4",
    start_s: float = 0.0,
    shading: Shading | None = None,
) -> Path:
    """Writes the picture.

    Parameters
    ----------
    recording : Recording
    picture : path
        Its suffix, .png, .svg or .pdf, chooses the format.
    bars : sequence of Bar
        In the order in which they are drawn, from above.
    title : str
        The line below name, age and sex.
    notes, warnings : sequence of str
        Written below the sheet, the warnings first and in red.
    footer : str
        The last line.
    layout, start_s : str, float
        See ecg_sheet.draw.
    shading : Shading, optional
        Stretches of the leads to mark.

    Raises
    ------
    UserError
        As ecg_sheet.draw.
    """
    picture = Path(picture)
    check_request(recording, picture, start_s, layout)
    lines = _remarks(notes, warnings)
    width, sheet_height = sheet_size(layout)
    sheet_height = max(sheet_height, TOP_MM + BAR_ROW_MM * len(bars) + 8)
    below = (len(lines) + 1) * LINE_MM + 4
    figure, axes = new_sheet(width + PANEL_MM, sheet_height + below)
    figure.set_facecolor("white")
    axes.add_patch(Rectangle((0, below), width, sheet_height, facecolor=PAPER, edgecolor="none", zorder=-1))
    draw_paper(axes, 0, below, width, sheet_height)
    top = sheet_height + below
    draw_leads(axes, recording, layout, top, start_s, shading)
    heading = f"{person_line(recording)}\n{textwrap.shorten(title, 150, placeholder=' …')}"
    axes.text(LEFT_MM, top - 4, heading, va="top", fontsize=9, linespacing=1.4, parse_math=False)
    _bars(axes, bars, width, top)
    for number, (text, is_warning) in enumerate(lines):
        axes.text(
            4,
            below - 2 - number * LINE_MM,
            text,
            va="top",
            fontsize=8,
            color=ALARM if is_warning else INK,
            weight="bold" if is_warning else "normal",
            parse_math=False,
        )
    axes.text(4, 2, footer, va="bottom", fontsize=8, color="#555555", parse_math=False)
    return save(figure, picture)


def _remarks(notes: Sequence[str], warnings: Sequence[str]) -> list[tuple[str, bool]]:
    """Lines of text, and whether each of them is a warning."""
    remarks = [(f"do not trust this result: {text}", True) for text in warnings] + [(text, False) for text in notes]
    lines = [(line, kind) for text, kind in remarks for line in textwrap.wrap(text, LINE_LETTERS)]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], (f"… and {len(lines) - MOST_LINES + 1} lines more", False)]
    return lines


def _bars(axes: Axes, bars: Sequence[Bar], left: float, top: float) -> None:
    """Horizontal bars of the probabilities, each with a mark at its threshold; `left` and `top` are the panel's."""
    begin = left + BAR_LEFT_MM
    axes.text(begin, top - 6, "probability", fontsize=9, va="top")
    axes.text(begin + BAR_MM, top - 6, "mark: threshold", fontsize=8, va="top", ha="right", color=ALARM)
    first = top - TOP_MM
    for share in (0, 0.5, 1):
        x = begin + share * BAR_MM
        axes.plot((x, x), (first + 1, first - BAR_ROW_MM * len(bars)), color="#d8d8d8", linewidth=0.6, zorder=0)
        axes.text(x, first - BAR_ROW_MM * len(bars) - 3.5, f"{share:g}", fontsize=7, ha="center")
    for number, bar in enumerate(bars):
        middle = first - (number + 0.5) * BAR_ROW_MM
        axes.add_patch(
            Rectangle(
                (begin, middle - 1.6),
                max(bar.probability, 0.002) * BAR_MM,
                3.2,
                facecolor=FOUND if bar.found else NOT_FOUND,
                edgecolor="none",
            )
        )
        x = begin + bar.threshold * BAR_MM
        axes.plot((x, x), (middle - 2.2, middle + 2.2), color=ALARM, linewidth=1.2)
        weight = "bold" if bar.found else "normal"
        axes.text(begin - 2, middle, bar.label, fontsize=8, ha="right", va="center", weight=weight, parse_math=False)
        axes.text(begin + BAR_MM + 2, middle, f"{bar.probability:.2f}", fontsize=8, va="center", weight=weight)
