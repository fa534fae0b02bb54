"""What a model says about one recording: every class with its probability, and whether the result can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.recording import Recording
from ..files import json_ready

if TYPE_CHECKING:
    from .explain import Explanation

NOT_A_DEVICE = "For research only. This is no medical device and no diagnosis; a physician must read the ECG."


@dataclass(frozen=True)
class ClassResult:
    """One class.

    Attributes
    ----------
    code : str
        SNOMED CT code.
    abbreviation : str
        Such as "AF".
    name : str
        Such as "atrial fibrillation".
    same_as : tuple of str
        Codes that mean the same.
    probability : float
        The mean of the members' scores, 0 to 1. It is as well calibrated as the model, see its MODEL_CARD.md.
    threshold : float
        The class is found where the probability reaches it, or, with recipes that vote, where most members' do.
    found : bool
    agreeing : int
        How many members, asked alone, decide as the ensemble did: that the class is there, or that it is not.
    members : int
        How many members the ensemble has.
    """

    code: str
    abbreviation: str
    name: str
    same_as: tuple[str, ...]
    probability: float
    threshold: float
    found: bool
    agreeing: int
    members: int

    @property
    def reached(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "same_as": list(self.same_as)}


@dataclass(frozen=True)
class Prediction:
    """The result for one recording. Printed, it is the table of `twelvelead predict`.

    Attributes
    ----------
    name : str
        The recording's name.
    classes : tuple of ClassResult
        Found classes first, then by falling probability.
    notes : tuple of str
        What was repaired, is missing or unusual about the recording.
    warnings : tuple of str
        Why the result should not be trusted; empty where nothing speaks against it.
    model : str
        The model in words: recipe and number of members.
    recording : Recording
        The recording as the model saw it: with all leads turned over if they were certainly upside down.
    uncertainty, disagreement : float
        How unsure the model is, and how far its members' labels are apart, 0 to 1; see thresholds/uncertainty.py. They
        serve to compare recordings with each other.
    """

    name: str
    classes: tuple[ClassResult, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    model: str
    recording: Recording = field(repr=False, compare=False)
    uncertainty: float = math.nan
    disagreement: float = math.nan

    @property
    def found(self) -> tuple[ClassResult, ...]:
        """The classes that were found, by falling probability."""
        return tuple(each for each in self.classes if each.found)

    @property
    def trustworthy(self) -> bool:
        """Whether nothing speaks against the result. That it is right is another matter."""
        return not self.warnings

    def __getitem__(self, key: str) -> ClassResult:
        """The class of an abbreviation (in any case) or a code. Raises KeyError with the list of those that exist."""
        for each in self.classes:
            if key in (each.code, *each.same_as) or key.lower() == each.abbreviation.lower():
                return each
        raise KeyError(f"no class {key}; there are: {', '.join(sorted(each.abbreviation for each in self.classes))}")

    def __iter__(self) -> Iterator[ClassResult]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def __str__(self) -> str:
        from .table import as_text

        return as_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the signal."""
        recording = self.recording
        return json_ready(
            {
                "recording": self.name,
                "model": self.model,
                "trustworthy": self.trustworthy,
                "warnings": list(self.warnings),
                "notes": list(self.notes),
                "age_years": recording.age_years,
                "sex": recording.sex,
                "frequency_hz": recording.frequency_hz,
                "seconds": recording.signal_mv.shape[1] / recording.frequency_hz,
                "leads": list(recording.leads),
                "uncertainty": self.uncertainty,
                "disagreement": self.disagreement,
                "classes": [each.to_dict() for each in self.classes],
                "disclaimer": NOT_A_DEVICE,
            }
        )

    def draw(
        self,
        picture: str | Path,
        *,
        layout: str = "3x4",
        start_s: float = 0.0,
        explanation: Explanation | None = None,
    ) -> Path:
        """Draws the ECG sheet with the probabilities beside it; see plots.prediction_sheet.draw_prediction.

        Parameters
        ----------
        picture : str or Path
            A .png, .pdf or .svg file to write.
        layout : str
            "3x4" or "12x1".
        start_s : float
            Where the sheet begins.
        explanation : Explanation, optional
            From `Model.explain`; it is drawn over the leads.
        """
        from .picture import draw_result

        return draw_result(self, picture, layout=layout, start_s=start_s, explanation=explanation)
