"""One synthetic recording of chosen findings: a person, a rhythm, the waves of every beat, leads, disturbances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.header import LEADS
from ..data.recording import Recording
from ..errors import UserError
from .atria import fibrillation, flutter
from .beats import p_waves, ventricular_beats
from .diagnoses import CODES, abbreviation, contradiction
from .heart import TWELVE, add_waves
from .person import Person, draw_person
from .recorder import disturbances
from .rhythm import Rhythm, rhythm_of


def make_recording(
    diagnoses: Sequence[str],
    seed: int | Sequence[int],
    *,
    frequency_hz: float = 500.0,
    seconds: float = 10.0,
    age_years: float | None = None,
    sex: str | None = None,
    noise: float = 1.0,
    mains_hz: float = 50.0,
) -> Recording:
    """Makes a 12-lead recording of a person with these findings, as a recorder without filters takes it.

    Parameters
    ----------
    diagnoses : sequence of str
        Abbreviations (``"AF"``) or SNOMED CT codes of the 24 scored classes, and abbreviations of the unscored findings
        (see diagnoses.UNSCORED), which have no code here. Without a rhythm among them the rhythm is sinus rhythm; none
        at all is a normal recording, whose code is sinus rhythm's.
    seed : int or sequence of int
        The same seed gives the same bytes. The heart depends on the seed, the diagnoses, the length, age and sex alone:
        another rate samples the same beats, another noise level disturbs the same signal.
    frequency_hz, seconds : float
        Sampling rate, 50 Hz or more, and length, 5 s or more.
    age_years, sex : float, "female" or "male"
        Drawn if not given.
    noise : float
        Factor on all disturbances; with 0 the heart is alone.
    mains_hz : float
        50 or 60, of the hum.

    Returns
    -------
    Recording
        Twelve leads in standard order, millivolts.

    Raises
    ------
    UserError
        If a diagnosis is not known, two contradict each other, or a value is out of its range.
    """
    if not (frequency_hz >= 50 and seconds >= 5 and noise >= 0):
        raise UserError(
            f"a synthetic recording has 50 Hz or more, 5 s or more and no negative noise; asked for "
            f"{frequency_hz:g} Hz, {seconds:g} s, noise {noise:g}"
        )
    if sex not in (None, "female", "male") or not 0 <= (age_years or 0) <= 120:
        raise UserError(f"a synthetic person is female or male and 0 to 120 years old, not {sex}, {age_years}")
    diagnoses = tuple(diagnoses) or ("NSR",)
    findings = frozenset(abbreviation(diagnosis) for diagnosis in diagnoses)
    if clash := contradiction(findings):
        raise UserError(f"no heart shows {clash[0]} and {clash[1]} at once; leave one of them out")
    heart_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
    heart = beating_heart(heart_seed, findings, frequency_hz, seconds, age_years=age_years, sex=sex)
    rng, eight = np.random.default_rng(noise_seed), heart.eight
    eight = eight * np.exp(rng.normal(0, 0.01, (8, 1)))  # amplifiers are equal to one per cent
    if noise:
        eight += noise * disturbances(rng, eight.shape[1], frequency_hz, heart.person.breath, mains_hz)
    codes = tuple(
        dict.fromkeys(
            CODES.get(diagnosis, diagnosis)
            for diagnosis in diagnoses
            if diagnosis in CODES or abbreviation(diagnosis) != diagnosis
        )
    )
    signal_mv = (TWELVE @ eight).astype(np.float32)
    return Recording(
        name="synthetic",
        signal_mv=signal_mv,
        leads=LEADS,
        frequency_hz=float(frequency_hz),
        age_years=heart.person.age_years,
        sex=heart.person.sex,
        codes=codes,
        notes=(),
    )


@dataclass(frozen=True)
class Heart:
    """A heart that was recorded: whose it is, when it beat, and leads I, II, V1 to V6, float64 (8, samples), mV."""

    person: Person
    rhythm: Rhythm
    eight: np.ndarray


def beating_heart(
    seed: np.random.SeedSequence,
    findings: frozenset[str],
    frequency_hz: float,
    seconds: float,
    *,
    margin_s: float = 0.0,
    age_years: float | None = None,
    sex: str | None = None,
) -> Heart:
    """A heart with these findings (abbreviations) without any disturbance.

    `margin_s`, at most 1.5 s, is recorded before and after the `seconds`, for filters that need a beginning and an end.
    """
    person_rng, rhythm_rng, beat_rng = map(np.random.default_rng, seed.spawn(3))
    person = draw_person(person_rng, findings, age_years, sex)
    rhythm = rhythm_of(rhythm_rng, findings, seconds, person.breath, person.pr_s)
    samples = round(seconds * frequency_hz) + 2 * round(margin_s * frequency_hz)
    start_s = -round(margin_s * frequency_hz) / frequency_hz
    dipoles = _dipoles(beat_rng, findings, person, rhythm, samples, frequency_hz, start_s)
    return Heart(person, rhythm, person.vectors @ dipoles)


def _dipoles(
    rng: np.random.Generator,
    findings: frozenset[str],
    person: Person,
    rhythm: Rhythm,
    samples: int,
    frequency_hz: float,
    start_s: float,
) -> np.ndarray:
    """The heart's dipole, (6, samples): x, y, z of QRS and spikes, then of everything else; from `start_s` on."""
    dipoles = np.zeros((6, samples))
    activation, other = dipoles[:3], dipoles[3:]
    for kind, waves in p_waves(rng, findings, person, list(rhythm.p)).items():
        onset_s = rhythm.p[kind]
        add_waves(other, frequency_hz, onset_s - start_s, np.repeat(waves[None], len(onset_s), axis=0))

    times = rhythm.beats()
    mean_rr = np.median(np.diff(times))
    swing_deg, swing_gain = rng.normal(0, 2.5), rng.normal(0, 0.04)
    for kind, beat in ventricular_beats(rng, findings, person, list(rhythm.qrs)).items():
        onset_s = rhythm.qrs[kind]
        before = np.searchsorted(times, onset_s) - 1
        rr_s = np.where(before >= 0, onset_s - times[before], mean_rr)
        # QT follows the rate of the last minute far more than the last interval; Bazett's square root of it
        stretch = np.sqrt(np.clip(0.85 * mean_rr + 0.15 * rr_s, 0.35, 2.0))
        breath = person.breath.at(onset_s)
        gain = 1 + swing_gain * breath + rng.normal(0, 0.012, len(onset_s))
        qrs, t = beat.at(stretch, gain, swing_deg * breath + rng.normal(0, 0.6, len(onset_s)))
        add_waves(activation, frequency_hz, onset_s - start_s, qrs)
        add_waves(other, frequency_hz, onset_s - start_s, t)

    if len(rhythm.spikes):
        half_ms = max(1.0, 1000 / frequency_hz)  # a spike is shorter; the recorder's filter makes it as long as this
        size = np.exp(rng.uniform(np.log(0.3), np.log(10.0)))  # a bipolar electrode's is small
        vector = size / half_ms * (np.array([-0.35, -0.85, 0.35]) + rng.normal(0, 0.35, 3))
        # the electrode's charge flows back after each spike
        spike = np.array([[0, half_ms, half_ms, *vector], [half_ms + 6, 6, 45, *(-0.03 * half_ms * vector)]])
        spikes = np.repeat(spike[None], len(rhythm.spikes), axis=0)
        # what of so short a spike is sampled differs from beat to beat
        spikes[:, 0, 3:] *= rng.choice([0.1, 1.0]) * rng.normal(0, 0.6, (len(spikes), 1)) + 1
        add_waves(activation, frequency_hz, rhythm.spikes - start_s, spikes)
    t_s = start_s + np.arange(samples) / frequency_hz
    if rhythm.atria == "fibrillation":
        other += fibrillation(rng, t_s)
    elif rhythm.atria == "flutter":
        other += flutter(rng, t_s, rhythm.flutter_s)
    return dipoles
