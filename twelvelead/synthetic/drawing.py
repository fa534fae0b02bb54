"""Recordings of hospitals drawn at random, in memory: another device, other hands and another heart for each recording.

    recording = draw_recording(seed=1, k=0)                      # everything that is true of the heart is in its codes
    recording = draw_recording(seed=1, k=0, labels="hospital")   # the same heart, as that hospital's annotators write

Recording k depends on (seed, k) alone, so they can be made in any order and by any process, and need not be stored.
"""

from __future__ import annotations

import numpy as np

from ..data.header import LEADS
from ..data.recording import Recording
from ..errors import UserError
from .conventions import draw_convention, truth
from .making import beating_heart
from .population import draw_findings
from .recorder import draw_recorder, record

MARGIN_S = 1.5  # recorded before and after, for the recorder's filters


def draw_recording(seed: int, k: int, *, labels: str = "truth") -> Recording:
    """Recording k of a hospital patient with findings as they occur together, as a device drawn at random records it.

    Parameters
    ----------
    seed, k : int
        Not negative. The same two give the same bytes, whatever `labels` is.
    labels : str
        What `codes` holds: "truth", every scored class that holds (see conventions.truth), or "hospital", what the
        annotators of a hospital with a convention of its own write, which may be nothing.

    Returns
    -------
    Recording
        Twelve leads in standard order, millivolts; a lost lead is flat, and on a sheet of 2.5 s a lead the rest is NaN.

    Raises
    ------
    UserError
        If the seed or k is negative, or `labels` is neither of the two.
    """
    if seed < 0 or k < 0:
        raise UserError(f"seed and number of a synthetic recording must not be negative; they are {seed} and {k}")
    if labels not in ("truth", "hospital"):
        raise UserError(f"unknown labels {labels!r}; there are: truth, hospital")
    patient_seed, heart_seed, recorder_seed, labels_seed = np.random.SeedSequence((seed, k)).spawn(4)
    findings = draw_findings(np.random.default_rng(patient_seed))
    rng = np.random.default_rng(recorder_seed)
    recorder = draw_recorder(rng)
    heart = beating_heart(heart_seed, findings, recorder.frequency_hz, recorder.seconds, margin_s=MARGIN_S)
    signal_mv = record(rng, recorder, heart.eight, heart.person.breath, round(MARGIN_S * recorder.frequency_hz))
    rate = 60 / float(np.mean(np.diff(heart.rhythm.beats())))
    if labels == "truth":
        codes = truth(findings, rate)
    else:
        codes = draw_convention(np.random.default_rng(labels_seed)).written(findings, rate)
    return Recording(
        name=f"synthetic-{seed}-{k}",
        signal_mv=signal_mv,
        leads=LEADS,
        frequency_hz=recorder.frequency_hz,
        age_years=heart.person.age_years,
        sex=heart.person.sex,
        codes=codes,
        notes=(),
    )
