"""Draws a recording as a 12-lead ECG sheet: 25 mm/s, 10 mm/mV, three rows of four leads, and lead II as rhythm strip.

    draw(read_recording("A0001.hea"), "A0001.png")      # .png, .svg or .pdf
    twelvelead draw A0001.hea A0001.png                  # the same from a shell

The picture is true to scale: printed without resizing, a square of its grid is one millimetre wide.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ..data.classes import DIAGNOSES
from ..data.recording import Recording
from ..errors import UserError
from ..files import replace_file

MM_PER_SECOND, MM_PER_MV = 25.0, 10.0
ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
SHEET_SECONDS = 10.0
LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM = 15.0, 5.0, 17.0, 7.0  # margins, with the calibration pulse and the text
ROW_MM = 35.0  # between two baselines
PICTURES = (".png", ".svg", ".pdf")
PAPER, THIN, THICK, INK = "#fff7f5", "#fadcd7", "#f0aaa0", "#101018"


def draw(recording: Recording, picture: str | Path, *, start_s: float = 0.0) -> Path:
    """Writes ten seconds of a recording as a 12-lead ECG sheet.

    The four columns show consecutive stretches of 2.5 s, and the rhythm strip shows all ten seconds. Missing leads,
    missing samples (NaN) and the time after the end of a short recording stay blank.

    Parameters
    ----------
    recording : Recording
        At any sampling frequency, with any subset of the twelve leads.
    picture : path
        The file to write; its suffix, .png, .svg or .pdf, chooses the format.
    start_s : float
        Second of the recording at which the sheet begins.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    UserError
        If the suffix is another one, the start is outside the recording, or the file cannot be written.
    """
    picture = Path(picture)
    duration_s = recording.signal_mv.shape[1] / recording.frequency_hz
    if picture.suffix.lower() not in PICTURES:
        raise UserError(f"{picture}: a picture's name must end in one of {', '.join(PICTURES)}")
    if not 0 <= start_s < duration_s:
        raise UserError(f"{recording.name}: the sheet cannot begin at {start_s:g} s of {duration_s:g} s")

    width = LEFT_MM + SHEET_SECONDS * MM_PER_SECOND + RIGHT_MM
    height = TOP_MM + len(ROWS) * ROW_MM + BOTTOM_MM
    figure = Figure(figsize=(width / 25.4, height / 25.4), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))  # one unit is one millimetre
    axes.axis("off")
    _paper(axes, width, height)
    for number, leads in enumerate(ROWS):
        _row(axes, recording, leads, height - TOP_MM - (number + 0.5) * ROW_MM, start_s)
    axes.text(LEFT_MM, height - 4, header_lines(recording), va="top", fontsize=9, linespacing=1.4, parse_math=False)
    axes.text(
        width - RIGHT_MM,
        2.5,
        f"25 mm/s   10 mm/mV   {recording.frequency_hz:g} Hz   from {start_s:g} s",
        ha="right",
        fontsize=7,
    )
    kind = picture.suffix[1:].lower()
    try:
        replace_file(picture, lambda path: figure.savefig(path, format=kind, dpi=120, facecolor=PAPER))
    except OSError as error:
        raise UserError(f"{picture}: the picture cannot be written ({error.strerror or error})") from None
    return picture


def header_lines(recording: Recording) -> str:
    """Two lines of text: name, age and sex; then the diagnoses in words, or a code alone if it is not scored."""
    age = f"{recording.age_years:g} years" if np.isfinite(recording.age_years) else "age unknown"
    sex = recording.sex if recording.sex != "unknown" else "sex unknown"
    words = [f"{DIAGNOSES[code][0]} ({DIAGNOSES[code][1]})" if code in DIAGNOSES else code for code in recording.codes]
    return f"{recording.name}   {age}, {sex}\n{', '.join(words) or 'no diagnoses'}"


def _paper(axes: Axes, width: float, height: float) -> None:
    """Millimetre paper: a thin line every millimetre, a thick one every five.

    A vertical line goes through the beginning of the traces.
    """
    for step, colour, line in ((1, THIN, 0.4), (5, THICK, 0.6)):
        x = np.arange(LEFT_MM % step, width + 1e-6, step)
        y = np.arange(height % step, height + 1e-6, step)
        vertical = [np.array([(v, 0), (v, height)]) for v in x]
        horizontal = [np.array([(0, v), (width, v)]) for v in y]
        axes.add_collection(LineCollection(vertical + horizontal, colors=colour, linewidths=line, zorder=0))


def _row(axes: Axes, recording: Recording, leads: tuple[str, ...], baseline: float, start_s: float) -> None:
    """One row of the sheet: the calibration pulse of 1 mV and 200 ms, then the row's leads side by side.

    `baseline` is the height of 0 mV above the lower edge of the sheet, in millimetres.
    """
    pulse = np.array([(-9, 0), (-7.5, 0), (-7.5, MM_PER_MV), (-2.5, MM_PER_MV), (-2.5, 0), (-1, 0)])
    axes.plot(LEFT_MM + pulse[:, 0], baseline + pulse[:, 1], color=INK, linewidth=0.8)
    column_s = SHEET_SECONDS / len(leads)
    for column, lead in enumerate(leads):
        left = LEFT_MM + column * column_s * MM_PER_SECOND
        axes.text(left + 1, baseline + 11, lead, fontsize=9, weight="bold", color=INK)
        if column:  # a short mark where one lead ends and the next one begins
            axes.plot((left, left), (baseline - 3, baseline + 3), color=INK, linewidth=0.6)
        if lead not in recording.leads:
            axes.text(left + column_s * MM_PER_SECOND / 2, baseline, "not recorded", ha="center", fontsize=8)
            continue
        first, last = (round((start_s + k * column_s) * recording.frequency_hz) for k in (column, column + 1))
        trace = recording.signal_mv[recording.leads.index(lead), first : last + 1]
        x = (np.arange(trace.size) + first) / recording.frequency_hz - start_s
        axes.plot(
            LEFT_MM + x * MM_PER_SECOND, baseline + trace * MM_PER_MV, color=INK, linewidth=0.8, solid_joinstyle="round"
        )
