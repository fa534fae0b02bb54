"""One synthetic recording: a person, a rhythm, the waves of every beat, twelve leads, and what disturbs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.header import LEADS
from ..data.recording import Recording
from ..errors import UserError
from .beats import Person, conducted_beat, draw_person, ectopic_p, ventricular_beat
from .diagnoses import CODES, abbreviation, contradiction
from .heart import P_RETROGRADE, P_SINUS, TWELVE, add_waves, rotation
from .recorder import disturbances
from .rhythm import Rhythm, fibrillation, flutter, rhythm_of


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
    """Makes a 12-lead recording of a person with these diagnoses.

    Parameters
    ----------
    diagnoses : sequence of str
        Abbreviations (``"AF"``) or SNOMED CT codes of the 24 scored classes. Without a rhythm among them the rhythm
        is sinus rhythm; none at all is a normal recording, whose code is sinus rhythm's.
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
        If a diagnosis is not a scored one, two contradict each other, or a value is out of its range.
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
    person_rng, rhythm_rng, beat_rng, noise_rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    person = draw_person(person_rng, findings, age_years, sex)
    rhythm = rhythm_of(rhythm_rng, findings, seconds, person.breath, person.pr_s)
    samples = round(seconds * frequency_hz)
    eight = person.vectors @ _dipole(beat_rng, findings, person, rhythm, samples, frequency_hz)
    eight *= np.exp(noise_rng.normal(0, 0.01, (8, 1)))  # amplifiers are equal to one per cent
    if noise:
        eight += noise * disturbances(noise_rng, samples, frequency_hz, person.breath, mains_hz)
    codes = tuple(dict.fromkeys(CODES.get(diagnosis, diagnosis) for diagnosis in diagnoses))
    signal_mv = (TWELVE @ eight).astype(np.float32)
    return Recording(
        name="synthetic",
        signal_mv=signal_mv,
        leads=LEADS,
        frequency_hz=float(frequency_hz),
        age_years=person.age_years,
        sex=person.sex,
        codes=codes,
        notes=(),
    )


def _dipole(
    rng: np.random.Generator,
    findings: frozenset[str],
    person: Person,
    rhythm: Rhythm,
    samples: int,
    frequency_hz: float,
) -> np.ndarray:
    """The heart's dipole, (3, samples): all waves of all beats, pacing spikes, fibrillation and flutter."""
    dipole = np.zeros((3, samples))

    def add(onset_s, waves):
        add_waves(dipole, frequency_hz, onset_s, np.repeat(waves[None], len(onset_s), axis=0))

    p_turn = rotation(2, rng.normal(0, 12))
    p_waves = {"sinus": P_SINUS, "retrograde": P_RETROGRADE, "ectopic": ectopic_p(rng)}
    for kind, onset_s in rhythm.p.items():
        waves = p_waves[kind].copy()
        waves[:, 3:] = person.p_size * waves[:, 3:] @ p_turn.T
        add(onset_s, waves)

    times = np.sort(np.concatenate(list(rhythm.qrs.values())))
    mean_rr = np.median(np.diff(times))
    for kind, onset_s in rhythm.qrs.items():
        beat = conducted_beat(rng, findings, person) if kind == "conducted" else ventricular_beat(rng, kind, person)
        before = np.searchsorted(times, onset_s) - 1
        rr_s = np.where(before >= 0, onset_s - times[before], mean_rr)
        # QT follows the rate of the last minute far more than the last interval; Bazett's square root of it
        stretch = np.sqrt(np.clip(0.85 * mean_rr + 0.15 * rr_s, 0.35, 2.0))
        gain = 1 + 0.035 * person.breath.at(onset_s) + rng.normal(0, 0.01, len(onset_s))
        add_waves(dipole, frequency_hz, onset_s, beat.at(stretch, gain))

    if len(rhythm.spikes):
        half_ms = max(1.0, 1000 / frequency_hz)  # a spike is shorter; the recorder's filter makes it as long as this
        vector = rng.uniform(0.5, 2.2) / half_ms * np.array([-0.35, -0.85, 0.35]) * rng.normal(1, 0.25, 3)
        add(rhythm.spikes, np.array([[0, half_ms, half_ms, *vector]]))
    t_s = np.arange(samples) / frequency_hz
    if rhythm.atria == "fibrillation":
        dipole += fibrillation(rng, t_s)
    elif rhythm.atria == "flutter":
        dipole += flutter(rng, t_s, rhythm.flutter_s)
    return dipole
