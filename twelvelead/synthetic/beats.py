"""The beats of one person: P waves by origin, and ventricular beats with what follows them, by kind."""

from __future__ import annotations

import numpy as np

from .activation import TERRITORIES, conducted_qrs, ventricular_qrs
from .heart import P_RETROGRADE, P_SINUS, RBBB_END, Beat, rotation
from .person import Person
from .recovery import recovery


def ventricular_beats(
    rng: np.random.Generator, findings: frozenset[str], person: Person, kinds: list[str]
) -> dict[str, Beat]:
    """A beat of each of these kinds (see Rhythm.qrs); aberrant ones are conducted ones with a late right ventricle."""
    beats = {}
    territory = str(rng.choice(TERRITORIES, p=[0.45, 0.35, 0.20]))
    conducted, conducted_ms = conducted_qrs(rng, findings, person, territory)
    for kind in kinds:
        qrs, qrs_ms = conducted, conducted_ms
        if kind == "aberrant":
            end = RBBB_END * [1, 1, 1, *(person.size * rng.uniform(0.7, 1.1) * np.ones(3))]
            qrs, qrs_ms = np.vstack([conducted, end]), 138.0
        elif kind != "conducted":
            qrs, qrs_ms = ventricular_qrs(rng, kind, person)
        if kind == "paced" and rng.uniform() < 0.2:  # fusion: a part of the muscle is activated by way of the AV node
            part = rng.uniform(0.3, 0.7)
            qrs = np.vstack([qrs * [1, 1, 1, *(part * np.ones(3))], conducted * [1, 1, 1, *((1 - part) * np.ones(3))]])
        t = recovery(rng, findings, person, qrs, qrs_ms, territory, kind)
        beats[kind] = Beat(qrs, t, delay_ms=0.7 * max(0.0, qrs_ms - 95))
    if "ER" in findings and "conducted" in beats and rng.uniform() < 0.7:  # a notch where QRS ends
        notch = [conducted_ms - 2, 9, 14, *(rng.uniform(0.5, 1.3) * np.array([0.13, 0.12, -0.02]))]
        beats["conducted"] = Beat(np.vstack([conducted, notch]), beats["conducted"].t, beats["conducted"].delay_ms)
    return beats


def p_waves(
    rng: np.random.Generator, findings: frozenset[str], person: Person, kinds: list[str]
) -> dict[str, np.ndarray]:
    """Waves (waves, 6) of P by its origin: "sinus", "retrograde" (from below), "low" in the atria, "ectopic".

    "second ectopic" comes from another place than the first.
    """
    turn = rotation(2, rng.normal(0, 14)) @ rotation(1, rng.normal(0, 12))
    length, part = np.exp(rng.normal(0, 0.09)), np.exp(rng.normal(0, 0.22, 2))
    sinus = P_SINUS.copy()
    sinus[:, 3:] *= part[:, None]
    if "LAE" in findings:  # the left atrium: later, larger, to the back
        sinus[1] = [86, 38, 44, 0.10, 0.06, rng.uniform(0.05, 0.12)]
    if "RAE" in findings:
        sinus[0, 3:] *= rng.uniform(1.8, 2.6)
    if "HighK" in findings:
        sinus[:, 3:] *= rng.uniform(0.1, 0.8)
    made = {
        "sinus": sinus,
        "retrograde": P_RETROGRADE.copy(),
        "low": _elsewhere(rng, rng.uniform(-150, -90)),
        "ectopic": _elsewhere(rng, rng.choice([-1, 1]) * rng.uniform(20, 150)),
    }
    if "second ectopic" in kinds:  # drawn only then, so that other hearts stay what they are for a seed
        made["second ectopic"] = _elsewhere(rng, rng.choice([-1, 1]) * rng.uniform(20, 150))
    waves = {}
    for kind in kinds:
        waves[kind] = made[kind].copy()
        waves[kind][:, 3:] = person.p_size * waves[kind][:, 3:] @ turn.T
        waves[kind][:, :3] *= length
    return waves


def _elsewhere(rng, angle_deg: float) -> np.ndarray:
    """P that does not come from the sinus node: turned in the frontal plane, often shorter."""
    waves = P_SINUS.copy()
    waves[:, 3:] = 0.9 * waves[:, 3:] @ (rotation(2, angle_deg) @ rotation(1, rng.uniform(-60, 60))).T
    waves[:, :3] *= rng.uniform(0.75, 0.98)
    return waves
