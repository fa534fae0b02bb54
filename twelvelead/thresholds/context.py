"""Thresholds of each recording: those of the model, moved by what else is likely in the recording.

    context = Context(0.75, reference, line, habits, classes.weights)
    thresholds = context.thresholds(scores, model_thresholds)       # (recordings, classes)

A model has one threshold for each class. They hold up where probabilities do not, since they are searched on recordings
of many hospitals, but they cannot say that sinus rhythm beside a likely diagnosis is worth less than alone.
`expected.ExpectedMetric` can. The threshold of a recording lies between the two, on a scale of log-odds: in part where
the expected metric has it, and for the rest where the model has it. What this is worth, and which part is best, stands
in docs/laboratory-notes.md, "Thresholds of each recording".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from .expected import ExpectedMetric, Habits
from .logistic import log_odds
from .probabilities import LogisticMap

NEAREST = 1e-6  # thresholds of the expected metric are kept this far from 0 and 1


@dataclass(frozen=True)
class Context:
    """How the thresholds of a recording follow from its scores.

    Attributes
    ----------
    part : float
        Of the thresholds of the expected metric, from 0 to 1.
    reference : float64 (classes,)
        The model's thresholds of scores when it was trained. What a model's thresholds were moved by since then, those
        of each recording are moved by, too.
    line : LogisticMap
        From scores to the probabilities by which the expected metric is computed.
    habits : tuple of Habits
        Of annotators; see `ExpectedMetric`.
    weights : float64 (classes, classes)
        Rewards of the Challenge metric.
    """

    part: float
    reference: np.ndarray
    line: LogisticMap
    habits: tuple[Habits, ...]
    weights: np.ndarray
    decision: ExpectedMetric = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", ExpectedMetric(self.weights, self.habits))

    def thresholds(self, scores: np.ndarray, model_thresholds: np.ndarray) -> np.ndarray:
        """The thresholds of the scores of each recording.

        Parameters
        ----------
        scores : float (recordings, classes)
            Mean of the members.
        model_thresholds : float64 (classes,)
            The model's thresholds of scores.

        Returns
        -------
        float64 (recordings, classes)
            Thresholds of 0 and 1, which give a class to every recording or to none, stay as they are.
        """
        probabilities = self.line(scores)
        expected = self.decision.thresholds(probabilities, self.decision.labels(probabilities))
        expected = self.line.inverse(np.clip(expected, NEAREST, 1 - NEAREST))
        moved = expit(log_odds(model_thresholds) + self.part * (log_odds(expected) - log_odds(self.reference)))
        return np.where((model_thresholds <= 0) | (model_thresholds >= 1), model_thresholds, moved)

    def to_dict(self, codes: Sequence[str]) -> dict[str, Any]:
        """Its values for a JSON file; numbers of classes are by their codes."""

        def by_code(values: np.ndarray) -> dict[str, float]:
            return dict(zip(codes, values.tolist()))

        habits = [
            dict(
                share=each.share,
                written=by_code(each.written),
                only_alone=None if each.only_alone is None else codes[each.only_alone],
            )
            for each in self.habits
        ]
        line = dict(slopes=by_code(self.line.slopes), intercepts=by_code(self.line.intercepts))
        weights = self.weights.tolist()
        return dict(part=self.part, **line, reference=by_code(self.reference), habits=habits, weights=weights)

    @classmethod
    def from_dict(cls, values: dict[str, Any], codes: Sequence[str]) -> Context:
        """The context from the values that `to_dict` gave.

        Raises
        ------
        KeyError, TypeError or ValueError
            If values are missing or of another kind; model_files.py checks those of a model folder.
        """

        def in_order(numbers: dict[str, float]) -> np.ndarray:
            return np.array([numbers[code] for code in codes], dtype=np.float64)

        habits = tuple(
            Habits(
                float(each["share"]),
                in_order(each["written"]),
                None if each["only_alone"] is None else list(codes).index(each["only_alone"]),
            )
            for each in values["habits"]
        )
        line = LogisticMap(in_order(values["slopes"]), in_order(values["intercepts"]))
        weights = np.array(values["weights"], dtype=np.float64)
        return cls(float(values["part"]), in_order(values["reference"]), line, habits, weights)
