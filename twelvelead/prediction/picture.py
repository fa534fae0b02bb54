"""The picture of a result: sheet, bars of the probabilities, remarks, and an explanation drawn over the leads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..plots.ecg_sheet import Shading
from ..plots.prediction_sheet import Bar, draw_prediction
from .explain import Explanation
from .result import NOT_A_DEVICE, Prediction


def draw_result(
    result: Prediction,
    picture: str | Path,
    *,
    layout: str = "3x4",
    start_s: float = 0.0,
    explanation: Explanation | None = None,
) -> Path:
    """Writes the picture of a result; see `Prediction.draw`.

    Raises
    ------
    UserError
        If the suffix or the layout is not known, the start is outside the recording, or the file cannot be written.
    """
    found = ", ".join(
        each.name if each.name == each.abbreviation else f"{each.abbreviation} ({each.name})" for each in result.found
    )
    title = f"found: {found or 'nothing'}"
    notes, shading = list(result.notes), None
    if explanation is not None:
        shading = shading_of(explanation)
        notes.insert(
            0,
            f"orange: what the model's probability of {explanation.abbreviation}, {explanation.probability:.2f}, rests "
            "on (it falls if this part of the signal is replaced by a straight line)"
            + ("" if shading.strip.any() else "; no part of the signal speaks for it"),
        )
    return draw_prediction(
        result.recording,
        picture,
        [Bar(each.abbreviation, each.probability, each.threshold, each.found) for each in result.classes],
        title=title,
        notes=notes,
        warnings=result.warnings,
        footer=f"model: {result.model}. {NOT_A_DEVICE}",
        layout=layout,
        start_s=start_s,
        shading=shading,
    )


def shading_of(explanation: Explanation) -> Shading:
    """What is marked on the sheet: everything that speaks for the class, relative to what does most."""

    def relative(falls: np.ndarray) -> np.ndarray:
        positive = np.maximum(falls, 0)
        return positive / positive.max() if positive.max() > 0 else positive

    return Shading(
        explanation.starts_s, explanation.window_s, relative(explanation.over_time), relative(explanation.by_lead)
    )
