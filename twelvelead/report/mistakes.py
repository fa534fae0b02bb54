"""The mistakes that cost most, each with the recording's ECG sheet, labels and scores.

The cost is the Challenge's reward that is missed. Where there are no rewards, it is the number of wrong labels, and of
recordings with as many the ones come first whose labels the scores make least likely: these are the surest mistakes,
of the model or of the label.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.folders import find_recordings
from ..data.recording import read_recording
from ..errors import UserError
from ..evaluation import metrics
from .inputs import ClassName, Inputs
from .matrix import metric_scale

DOTS_PER_INCH = 150
MOST_PICTURE_BYTES = 3_200_000  # of all sheets, encoded: the page stays under 5 MB


@dataclass(frozen=True)
class Decision:
    """What was labelled and decided about one class of a recording; `verdict` is "right", "missed" or "wrong"."""

    name: ClassName
    verdict: str
    score: float
    threshold: float


@dataclass(frozen=True)
class Mistake:
    """A recording whose outputs differ from its labels.

    Attributes
    ----------
    recording, source, sex : str
    age_years : float
        NaN if unknown.
    cost : float
        Reward that the outputs miss; without rewards the number of wrong classes.
    lost : float
        The cost as a part of the Challenge metric; NaN without rewards.
    decisions : list of Decision
        The classes that are a label or an output, missed ones first.
    picture : str
        The ECG sheet as a data URI; empty if there is none.
    problem : str
        Why there is no sheet.
    """

    recording: str
    source: str
    sex: str
    age_years: float
    cost: float
    lost: float
    decisions: list[Decision]
    picture: str
    problem: str


def costliest(inputs: Inputs, number: int, signals: Path | None) -> Iterator[Mistake]:
    """The recordings whose outputs miss the most reward, the costliest first; at most `number` of them.

    Parameters
    ----------
    signals : Path, optional
        Folder with the signals; by default they lie beside the headers with the labels.
    """
    costs, scale = _costs(inputs)
    order = [row for row in _order(inputs, costs)[:number] if costs[row] > 0]
    paths = _signal_headers(inputs, order, signals)
    bytes_left = MOST_PICTURE_BYTES
    for row in order:
        picture, problem = _picture(paths[row], bytes_left)
        bytes_left -= len(picture)
        yield Mistake(
            recording=inputs.names[row],
            source=str(inputs.sources[row]),
            sex=str(inputs.sexes[row]),
            age_years=float(inputs.ages[row]),
            cost=float(costs[row]),
            lost=float(costs[row]) / scale,
            decisions=_decisions(inputs, row),
            picture=picture,
            problem=problem,
        )


def _costs(inputs: Inputs) -> tuple[np.ndarray, float]:
    """The cost of each recording's outputs, float64 (recordings,), and how much of it is one point of the metric."""
    task, labels, (outputs, _) = inputs.task, inputs.labels, inputs.systems[0]
    if task.weights is None or task.sinus_rhythm is None:
        return (labels != outputs).sum(axis=1).astype(np.float64), float("nan")
    costs = metrics.rewards(labels, labels, task.weights) - metrics.rewards(labels, outputs, task.weights)
    return costs, metric_scale(labels, task.weights, task.sinus_rhythm)


def _order(inputs: Inputs, costs: np.ndarray) -> list[int]:
    """The recordings by falling cost; where there are no rewards, those with equal costs by the surest mistakes."""
    if not inputs.are_own:
        return list(np.argsort(-costs, kind="stable").tolist())
    labels, (outputs, scores) = inputs.labels, inputs.systems[0]
    surest = np.where(labels != outputs, np.abs(labels - scores), 0.0).max(axis=1)
    return list(np.lexsort((-surest, -costs)).tolist())


def _decisions(inputs: Inputs, row: int) -> list[Decision]:
    outputs, scores = inputs.systems[0]
    decisions = []
    for place in np.flatnonzero(inputs.labels[row] | outputs[row]).tolist():
        label, output = bool(inputs.labels[row, place]), bool(outputs[row, place])
        verdict = "right" if label and output else "missed" if label else "wrong"
        score, threshold = float(scores[row, place]), inputs.threshold(row, place)
        decisions.append(Decision(inputs.class_names[place], verdict, score, threshold))
    return sorted(decisions, key=lambda each: (("missed", "wrong", "right").index(each.verdict), -each.score))


def _signal_headers(inputs: Inputs, rows: list[int], signals: Path | None) -> dict[int, Path | None]:
    """The header beside each recording's signal: in `signals` under the same path, or else under the same file name."""
    if signals is None:
        return {row: Path(inputs.headers[row]) for row in rows}
    by_name: dict[str, list[Path]] = {}
    for path in find_recordings(signals):
        by_name.setdefault(path.stem, []).append(path)
    paths: dict[int, Path | None] = {}
    for row in rows:
        candidates = by_name.get(Path(inputs.names[row]).name, [])
        same = [path for path in candidates if path.relative_to(signals).with_suffix("") == Path(inputs.names[row])]
        chosen = same or candidates
        paths[row] = chosen[0] if len(chosen) == 1 else None
    return paths


def _picture(header: Path | None, most: int) -> tuple[str, str]:
    """The ECG sheet as a data URI of at most `most` characters, or an empty text and the reason why there is none."""
    from ..plots.ecg_sheet import sheet_figure  # here, since matplotlib takes a second

    if header is None:
        return "", "its signal is not in the folder of --data, or is there more than once"
    try:
        recording = read_recording(header)
    except UserError as error:
        return "", str(error)
    figure = sheet_figure(recording)
    buffer = io.BytesIO()
    options = dict(lossless=True, method=4)  # half the size of a PNG, and what is drawn is what is seen
    figure.savefig(buffer, format="webp", dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor(), pil_kwargs=options)
    picture = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return (picture, "") if len(picture) <= most else ("", "left out, so that the page stays small")
