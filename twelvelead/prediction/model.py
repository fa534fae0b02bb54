"""A trained model for one recording at a time.

import twelvelead

model = twelvelead.load()                       # the model that comes with the package, or load("MODEL")
result = model.predict("A0001.hea")             # or a signal, with frequency_hz=, leads= and unit=
print(result)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.classes import CPSC, DIAGNOSES, EQUIVALENT
from ..data.recording import Recording
from ..errors import RecordingError, UserError
from ..formats.arrays import recording_of, with_person
from ..formats.read import read_file
from ..formats.told import Told, checked
from ..inference.ensemble import (
    Ensemble,
    as_probabilities,
    doubts_of,
    joined_scores,
    labels_of,
    load_ensemble,
    member_labels,
    member_scores,
    thresholds_of_recordings,
)
from ..inference.predict import stack
from ..preprocessing.prepare import prepare
from ..pretrained import default_model
from ..quality.checks import Checked, check
from ..settings import find_device
from ..thresholds.decisions import decide
from .result import ClassResult, Prediction

if TYPE_CHECKING:
    from .explain import Explanation

_CPSC_NAMES = {"164884008": "ventricular ectopics", "429622005": "ST depression", "164931005": "ST elevation"}


@dataclass(frozen=True)
class Model:
    """A trained ensemble that scores one recording at a time; see `load`."""

    ensemble: Ensemble
    folder: Path

    def __repr__(self) -> str:
        return f"<twelvelead model {self.folder}: {self.words}>"

    @property
    def words(self) -> str:
        """Recipe and size in words."""
        count = len(self.ensemble.models)
        return f"{self.ensemble.recipe.name}, {count} member{'s' * (count > 1)}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Abbreviations of the classes that the model knows."""
        return self.ensemble.classes.abbreviations

    def predict(
        self,
        signal: str | Path | Recording | np.ndarray | Sequence[Sequence[float]],
        *,
        frequency_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
        adc_per_mv: float | None = None,
        age: float | None = None,
        sex: str | None = None,
    ) -> Prediction:
        """What the model says about one recording.

        Parameters
        ----------
        signal : path, Recording, or array of numbers (leads, samples) or (samples, leads)
            A path may be of any format that `twelvelead predict` reads. NaN in an array is a missing sample.
        frequency_hz : float
            Samples in one second. Like `leads` and `unit` it must be given for arrays, and for files that do not say
            it; nothing is guessed.
        leads : sequence of str
            The lead of each row, such as ("I", "II", "V1"), any of the twelve in any order.
        unit : str
            "mV", "uV" or "adc".
        adc_per_mv : float
            With the unit "adc", how many units are one millivolt.
        age : float, optional
            Years.
        sex : str, optional
            "female" or "male".

        Returns
        -------
        Prediction

        Raises
        ------
        RecordingError
            If the recording cannot be read, holds no signal, or something is missing that must be given.
        UserError
            If an argument is out of its range.
        """
        told = Told(frequency_hz, None if leads is None else tuple(leads), unit, adc_per_mv, age, sex)
        if isinstance(signal, Recording):
            recording = with_person(signal, checked(told))
        elif isinstance(signal, (str, Path)):
            recording = read_file(signal, told)
        else:
            recording = recording_of(np.asarray(signal), told)
        return self.predict_recording(recording)

    def predict_recording(self, recording: Recording) -> Prediction:
        """The same for a Recording, as it is."""
        inputs = self.ensemble.inputs
        seen = check(
            recording,
            undoes_arm_reversal=all(spec.undo_arm_reversal for spec in inputs),
            needs_gain=not all(spec.per_recording_scale for spec in inputs),
        )
        scores = self.scores([seen.recording])[:, 0]
        labels = labels_of(self.ensemble, scores[:, None])[0]
        results = _class_results(self.ensemble, scores, labels)
        notes, warnings = self._remarks(seen, results)
        uncertain, apart = (float(value[0]) for value in doubts_of(self.ensemble, scores[:, None], labels[None]))
        return Prediction(recording.name, results, notes, warnings, self.words, seen.recording, uncertain, apart)

    def explain(self, result: Prediction, name: str, *, start_s: float = 0.0) -> Explanation:
        """Where in the recording the score of a class comes from; see prediction/explain.py.

        Parameters
        ----------
        result : Prediction
        name : str
            The class's abbreviation or code.
        start_s : float
            Of a long recording the ten seconds from here on are explained.

        Raises
        ------
        UserError
            If the model has no such class, or the recording does not reach that far.
        """
        from .explain import explain

        return explain(self, result, name, start_s)

    def scores(self, recordings: Sequence[Recording]) -> np.ndarray:
        """The members' scores of recordings, float32 (members, recordings, classes), as training prepared its own.

        Raises
        ------
        RecordingError
            If a recording holds no signal, or a score is not finite.
        """
        ensemble = self.ensemble
        prepared = [prepare(recording, *ensemble.inputs) for recording in recordings]
        scores = member_scores(ensemble, stack(prepared, ensemble.device))
        if not np.isfinite(scores).all():
            raise RecordingError(f"{recordings[0].name}: the network's scores are not finite")
        return scores

    def _remarks(self, seen: Checked, results: tuple[ClassResult, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Notes, and warnings that the result should not be trusted."""
        recording, parts = seen.recording, self.ensemble.recipe.parts
        notes = [f"repaired: {note}" for note in recording.notes]
        notes += [finding.text for finding in seen.findings if not finding.severe]
        warnings = [finding.text for finding in seen.findings if finding.severe]
        if any(part.network.get("metadata_features") for part in parts):
            unknown = ["age"] * bool(np.isnan(recording.age_years)) + ["sex"] * (recording.sex == "unknown")
            if unknown:
                notes.append(f"unknown, though the model uses it: {' and '.join(unknown)}")
        rules, voting = self.ensemble.rules, self.ensemble.recipe.voting
        if rules is not None:
            codes = self.ensemble.classes.codes
            ruled = {code for code, by_rule in zip(codes, rules.never | rules.alone) if by_rule}
            left_out = [each.name for each in results if each.code in ruled and not each.found and each.reached]
            if left_out:
                notes.append(f"reached, but not written by the habits that the model learned: {', '.join(left_out)}")
        if voting.at_least_one and not any(each.found and each.reached for each in results):
            notes.append("no class reaches its threshold; the one that comes nearest was taken")
        return tuple(notes), tuple(warnings)


def load(folder: str | Path | None = None, device: str = "auto") -> Model:
    """Loads a trained model.

    Parameters
    ----------
    folder : path, optional
        A model folder that training wrote; by default the model that comes with the package.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".

    Raises
    ------
    UserError
        If there is no such model or device, or the model is damaged.
    """
    path = default_model() if folder is None else Path(folder)
    return Model(load_ensemble(path, find_device(device)), path)


def class_index(ensemble: Ensemble, name: str) -> int:
    """The place of the class of an abbreviation (in any case) or a code.

    Raises
    ------
    UserError
        If the model has no such class; the message lists those that it has.
    """
    lowered = [abbreviation.lower() for abbreviation in ensemble.classes.abbreviations]
    if name.lower() in lowered:
        return lowered.index(name.lower())
    index = {key.lower(): k for key, k in ensemble.classes.index.items()}
    twins = {DIAGNOSES[code][0].lower(): k for code, k in ensemble.classes.index.items() if code in DIAGNOSES}
    place = index.get(name.lower(), twins.get(name.lower()))
    if place is None:
        raise UserError(f"unknown class '{name}'; there are: {', '.join(ensemble.classes.abbreviations)}")
    return place


def _class_results(ensemble: Ensemble, scores: np.ndarray, labels: np.ndarray) -> tuple[ClassResult, ...]:
    """The results of all classes from the members' scores (members, classes) and the labels (classes,)."""
    classes, voting = ensemble.classes, ensemble.recipe.voting
    by_member = voting.thresholds == "members"
    joint = joined_scores(ensemble, scores[:, None])[0]
    if by_member:
        cuts, shown = ensemble.member_thresholds, ensemble.member_thresholds.mean(axis=0)
    else:
        cuts = shown = thresholds_of_recordings(ensemble, scores[:, None])[0]
    each = as_probabilities(ensemble, scores)
    alone = decide(each, cuts) if ensemble.rules is None else member_labels(ensemble, scores[:, None])[:, 0]
    agreeing = (alone == labels).sum(axis=0)
    names = {code: label for label, code in CPSC.items()}
    results = [
        ClassResult(
            code=code,
            abbreviation=classes.abbreviations[k],
            name=DIAGNOSES[code][1] if code in DIAGNOSES else _CPSC_NAMES.get(code, names.get(code, code)),
            same_as=tuple(
                twin
                for twin, canonical in EQUIVALENT.items()
                if canonical == code and twin in classes.outputs and not classes.are_own
            ),
            probability=float(joint[k]),
            threshold=float(shown[k]),
            found=bool(labels[k]),
            agreeing=int(agreeing[k]),
            members=len(scores),
        )
        for k, code in enumerate(classes.codes)
    ]
    return tuple(sorted(results, key=lambda each: (not each.found, -each.probability)))
