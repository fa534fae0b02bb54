"""Draws a recording as a 12-lead ECG sheet, 25 mm/s and 10 mm/mV, in one of two layouts.

    draw(read_recording("A0001.hea"), "A0001.png")      # .png, .svg or .pdf
    twelvelead draw A0001.hea A0001.png                  # the same from a shell

`3x4` has three rows of four leads and a rhythm strip, `12x1` has one row for each lead. The picture is true to scale:
printed without resizing, a square of its grid is one millimetre wide.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..data.classes import DIAGNOSES
from ..data.leads import LEADS
from ..data.recording import Recording
from ..errors import UserError
from ..files import replace_file
from ..preprocessing.prepare import POSSIBLE_MV, amplitude_of

MM_PER_SECOND, MM_PER_MV = 25.0, 10.0
ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
SHEET_SECONDS = 10.0
LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM = 15.0, 5.0, 17.0, 7.0  # margins, with the calibration pulse and the text
ROW_MM = 35.0  # between two baselines
MOST_LETTERS = 130  # of the diagnoses above a sheet; more would be cut off at its edge
PICTURES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 120
PAPER, THIN, THICK, INK = "#fff7f5", "#fadcd7", "#f0aaa0", "#101018"
SHADE, ALARM = "#f08c00", "#b00020"
MOST_OFFSET_MM = 15.0  # a lead that lies further from its line is moved onto it
RHYTHM_LEADS = ("II", "V1", "I", "V5")  # the first of them that was recorded is the rhythm strip


class Layout(NamedTuple):
    """How the leads lie on a sheet."""

    rows: tuple[tuple[str, ...], ...]
    row_mm: float  # between two baselines
    has_strip: bool  # whether the last row is a rhythm strip


LAYOUTS = {
    "3x4": Layout(ROWS, ROW_MM, has_strip=True),
    "12x1": Layout(tuple((lead,) for lead in LEADS), 22.0, has_strip=False),
}


class Shading(NamedTuple):
    """What is marked on a sheet: windows of time, and how strongly."""

    starts_s: np.ndarray  # float (windows,), from the beginning of the recording
    window_s: float
    strip: np.ndarray  # float (windows,), 0 to 1, drawn over the rhythm strip
    by_lead: np.ndarray  # float (12, windows), 0 to 1, in standard order, drawn over each lead


def draw(recording: Recording, picture: str | Path, *, start_s: float = 0.0, layout: str = "3x4") -> Path:
    """Writes ten seconds of a recording as a 12-lead ECG sheet.

    In the layout `3x4` the four columns show consecutive stretches of 2.5 s, and the rhythm strip shows all ten
    seconds. Missing leads, missing samples (NaN) and the time after the end of a short recording stay blank. A
    recording whose amplitude no heart has is drawn at another scale, which the sheet says.

    Parameters
    ----------
    recording : Recording
        At any sampling frequency, with any subset of the twelve leads.
    picture : path
        The file to write; its suffix, .png, .svg or .pdf, chooses the format.
    start_s : float
        Second of the recording at which the sheet begins.
    layout : str
        "3x4" or "12x1".

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    UserError
        If the suffix or the layout is another one, the start is outside the recording, or the file cannot be written.
    """
    picture = Path(picture)
    check_request(recording, picture, start_s, layout)
    return save(sheet_figure(recording, start_s=start_s, layout=layout), picture)


def sheet_figure(recording: Recording, *, start_s: float = 0.0, layout: str = "3x4") -> Figure:
    """The sheet that `draw` writes, as a figure. The start must lie in the recording, and the layout must exist."""
    width, height = sheet_size(layout)
    figure, axes = new_sheet(width, height)
    draw_paper(axes, 0, 0, width, height)
    draw_leads(axes, recording, layout, height, start_s)
    axes.text(LEFT_MM, height - 4, header_lines(recording), va="top", fontsize=9, linespacing=1.4, parse_math=False)
    return figure


def check_request(recording: Recording, picture: Path, start_s: float, layout: str) -> None:
    """Raises UserError if there is no such kind of picture, no such layout, or no signal at that second."""
    if picture.suffix.lower() not in PICTURES:
        raise UserError(f"{picture}: a picture's name must end in one of {', '.join(PICTURES)}")
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout '{layout}'; there are: {', '.join(LAYOUTS)}")
    duration_s = recording.signal_mv.shape[1] / recording.frequency_hz
    if not 0 <= start_s < duration_s:
        raise UserError(f"{recording.name}: the sheet cannot begin at {start_s:g} s of {duration_s:g} s")


def sheet_size(layout: str) -> tuple[float, float]:
    """Width and height of a sheet in millimetres."""
    rows, row_mm, _ = LAYOUTS[layout]
    return LEFT_MM + SHEET_SECONDS * MM_PER_SECOND + RIGHT_MM, TOP_MM + len(rows) * row_mm + BOTTOM_MM


def new_sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of a size in millimetres, and axes over all of it whose unit is one millimetre."""
    figure = Figure(figsize=(width / 25.4, height / 25.4), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def save(figure: Figure, picture: Path) -> Path:
    """Writes the figure, whole or not at all, in the format of the file's suffix. Raises UserError if it cannot."""
    kind = picture.suffix[1:].lower()
    try:
        replace_file(
            picture, lambda path: figure.savefig(path, format=kind, dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor())
        )
    except OSError as error:
        raise UserError(f"{picture}: the picture cannot be written ({error.strerror or error})") from None
    return picture


def header_lines(recording: Recording) -> str:
    """Two lines of text: name, age and sex; then the diagnoses in words, or a code alone if it is not scored.

    Where the words would be wider than the sheet, there are abbreviations alone, and at last only as many as fit.
    """
    words = [f"{DIAGNOSES[code][0]} ({DIAGNOSES[code][1]})" if code in DIAGNOSES else code for code in recording.codes]
    diagnoses = ", ".join(words)
    if len(diagnoses) > MOST_LETTERS:
        short = [DIAGNOSES[code][0] if code in DIAGNOSES else code for code in recording.codes]
        diagnoses = ", ".join(short)
        for left_out in range(1, len(short)):
            if len(diagnoses) <= MOST_LETTERS:
                break
            diagnoses = f"{', '.join(short[:-left_out])} and {left_out} more"
    return f"{person_line(recording)}\n{diagnoses or 'no diagnoses'}"


def person_line(recording: Recording) -> str:
    """Name, age and sex."""
    age = f"{recording.age_years:g} years" if np.isfinite(recording.age_years) else "age unknown"
    sex = recording.sex if recording.sex != "unknown" else "sex unknown"
    return f"{recording.name}   {age}, {sex}"


def draw_paper(axes: Axes, left: float, bottom: float, width: float, height: float) -> None:
    """Millimetre paper: a thin line every millimetre, a thick one every five.

    A vertical line goes through the beginning of the traces.
    """
    for step, colour, line in ((1, THIN, 0.4), (5, THICK, 0.6)):
        x = np.arange(left + LEFT_MM % step, left + width + 1e-6, step)
        y = np.arange(bottom + height % step, bottom + height + 1e-6, step)
        vertical = [np.array([(v, bottom), (v, bottom + height)]) for v in x]
        horizontal = [np.array([(left, v), (left + width, v)]) for v in y]
        axes.add_collection(LineCollection(vertical + horizontal, colors=colour, linewidths=line, zorder=0))


def draw_leads(
    axes: Axes, recording: Recording, layout: str, top: float, start_s: float, shading: Shading | None = None
) -> None:
    """The traces of a sheet with their names, calibration pulses and the line that says the scale.

    Parameters
    ----------
    axes : Axes
        From `new_sheet`; the sheet lies at its left.
    recording : Recording
    layout : str
    top : float
        The sheet's upper edge in millimetres.
    start_s : float
    shading : Shading, optional
        Stretches of the leads to mark.
    """
    rows, row_mm, has_strip = LAYOUTS[layout]
    width, height = sheet_size(layout)
    mm_per_mv = _scale(recording)
    for number, leads in enumerate(rows):
        is_strip = has_strip and number == len(rows) - 1
        if is_strip:
            leads = (next((lead for lead in RHYTHM_LEADS if lead in recording.leads), leads[0]),)
        baseline = top - TOP_MM - (number + 0.5) * row_mm
        _row(axes, recording, leads, baseline, row_mm, start_s, mm_per_mv)
        if shading is not None:
            _shade(axes, leads, baseline, row_mm, start_s, shading, is_strip)
    sheet = Rectangle((0, top - height), width, height, transform=axes.transData)
    for line in axes.lines:  # a trace with a wrong gain must not run over what is written beside the sheet
        line.set_clip_path(sheet)
    usual = mm_per_mv == MM_PER_MV
    scale = f"{mm_per_mv:g} mm/mV" if usual else f"{mm_per_mv:g} mm/mV, since no heart has such an amplitude,"
    axes.text(
        width - RIGHT_MM,
        top - height + 2.5,
        f"25 mm/s   {scale}   {recording.frequency_hz:g} Hz   from {start_s:g} s",
        ha="right",
        fontsize=7,
        color=INK if usual else ALARM,
    )


def _scale(recording: Recording) -> float:
    """Millimetres for one millivolt: ten, or a power of ten at which a recording with a wrong gain can be seen."""
    rows = [row for row, lead in enumerate(recording.leads) if lead in LEADS]
    signal = recording.signal_mv[rows][:, : round(60 * recording.frequency_hz)]
    if not np.isfinite(signal).any():
        return MM_PER_MV
    signal = signal[np.isfinite(signal).any(axis=1)]
    centred = np.nan_to_num(signal - np.nanmedian(signal, axis=1, keepdims=True))
    centred = centred[np.abs(centred).max(axis=1) > 0]
    amplitude = amplitude_of(centred) if centred.size else 1.0
    if POSSIBLE_MV[0] <= amplitude <= POSSIBLE_MV[1]:
        return MM_PER_MV
    return MM_PER_MV * 10.0 ** -math.ceil(math.log10(amplitude))  # an amplitude between 1 and 10 mm


def _row(
    axes: Axes,
    recording: Recording,
    leads: tuple[str, ...],
    baseline: float,
    row_mm: float,
    start_s: float,
    mm_per_mv: float,
) -> None:
    """One row of the sheet: the calibration pulse (10 mm, 200 ms), then the row's leads side by side.

    `baseline` is the height of 0 mV above the lower edge of the picture, in millimetres.
    """
    pulse = np.array([(-9, 0), (-7.5, 0), (-7.5, 10), (-2.5, 10), (-2.5, 0), (-1, 0)])
    axes.plot(LEFT_MM + pulse[:, 0], baseline + pulse[:, 1], color=INK, linewidth=0.8)
    column_s = SHEET_SECONDS / len(leads)
    for column, lead in enumerate(leads):
        left = LEFT_MM + column * column_s * MM_PER_SECOND
        axes.text(left + 1, baseline + min(11, row_mm / 2 - 4), lead, fontsize=9, weight="bold", color=INK)
        if column:  # a short mark where one lead ends and the next one begins
            axes.plot((left, left), (baseline - 3, baseline + 3), color=INK, linewidth=0.6)
        if lead not in recording.leads:
            axes.text(left + column_s * MM_PER_SECOND / 2, baseline, "not recorded", ha="center", fontsize=8)
            continue
        first, last = (round((start_s + k * column_s) * recording.frequency_hz) for k in (column, column + 1))
        trace = recording.signal_mv[recording.leads.index(lead), first : last + 1] * mm_per_mv
        if np.isfinite(trace).any():
            offset = float(np.nanmedian(trace))
            trace = trace - offset if abs(offset) > MOST_OFFSET_MM else trace
        x = (np.arange(trace.size) + first) / recording.frequency_hz - start_s
        axes.plot(LEFT_MM + x * MM_PER_SECOND, baseline + trace, color=INK, linewidth=0.8, solid_joinstyle="round")


def _shade(
    axes: Axes,
    leads: tuple[str, ...],
    baseline: float,
    row_mm: float,
    start_s: float,
    shading: Shading,
    is_strip: bool,
) -> None:
    """Marks the windows of a row's leads, the stronger the more they count."""
    column_s = SHEET_SECONDS / len(leads)
    for column, lead in enumerate(leads):
        strengths = shading.strip if is_strip else shading.by_lead[LEADS.index(lead)]
        begin, end = start_s + column * column_s, start_s + (column + 1) * column_s
        for first, strength in zip(shading.starts_s, strengths):
            left, right = max(first, begin), min(first + shading.window_s, end)
            if right > left and strength > 0.02:
                place = (LEFT_MM + (left - start_s) * MM_PER_SECOND, baseline - row_mm / 2 + 1)
                size = (right - left) * MM_PER_SECOND, row_mm - 2
                axes.add_patch(
                    Rectangle(place, *size, facecolor=SHADE, edgecolor="none", alpha=0.45 * strength, zorder=0.5)
                )
