"""QRS: order and duration of activation, heart axis, voltage and Q waves, by finding.

Textbook: Surawicz, Knilans: Chou's Electrocardiography in Clinical Practice (6th edition). Sizes were set so that mean
and spread of the loops are those of PTB-XL recordings (strat_fold 1 to 8) with the same finding.
"""

from __future__ import annotations

import numpy as np

from .heart import IRBBB_END, PVC_ORIGINS, QRS, RBBB_END, individual, rotation, seen_by, turn_to_axis
from .person import Person

# QRS duration in ms, from first to last deflection; the first that applies.
_DURATION_MS = {
    "CRBBB": (118, 158),
    "IRBBB": (84, 114),
    "LBBB": (122, 160),
    "NSIVCB": (104, 130),
    "WPW": (112, 150),
    "ILBBB": (103, 118),
    "LAnFB": (82, 106),
    "LPFB": (84, 106),
    "LVS": (84, 112),
    "LVH": (80, 108),
}
_PATTERN = {"LBBB": "LBBB", "ILBBB": "LBBB", "NSIVCB": "NSIVCB", "LAnFB": "LAnFB"}  # finding → table of waves
TERRITORIES = ("inferior", "anterior", "lateral")
# Where the first 40 ms point, away from the dead muscle.
Q_WAVE = {"inferior": (0.08, -0.38, -0.22), "anterior": (0.05, 0.08, 0.55), "lateral": (-0.40, 0.05, -0.16)}


def conducted_qrs(
    rng: np.random.Generator, findings: frozenset[str], person: Person, territory: str
) -> tuple[np.ndarray, float]:
    """Waves (waves, 6) of a QRS that comes down the AV node, and its duration in ms.

    `territory`, a name in TERRITORIES, is where an infarct lies, if there is one.
    """
    block = next((name for name in _DURATION_MS if name in findings), "")
    waves, early = _waves(rng, findings, territory)
    duration_ms = rng.uniform(*_DURATION_MS[block]) if block else np.clip(rng.normal(86, 8), 70, 106)
    if "QAb" in findings:
        duration_ms = max(duration_ms, min(duration_ms + 14, 114))
    if "HighK" in findings:
        duration_ms *= rng.uniform(1.0, 1.35)
    qrs = individual(rng, waves, duration_ms, person.vectors[:, :3])
    turn = rotation(1, rng.normal(0, 14)) @ rotation(0, rng.normal(0, 8))
    qrs[:, 3:] = qrs[:, 3:] @ turn.T * person.size
    axis = draw_axis(rng, findings, person.age_years, territory)
    angle = turn_to_axis(qrs[:early], person.vectors[:, :3], axis)
    qrs[:early, 3:] = qrs[:early, 3:] @ rotation(2, angle).T
    if "QAb" in findings:  # however the heart lies
        qrs[0, 3:] = person.size * rng.uniform(0.5, 1.1) * np.array(Q_WAVE[territory])
    qrs[:, 3:] *= _voltage(rng, findings, seen_by(person.vectors[:, :3], qrs))
    return qrs, duration_ms


def ventricular_qrs(rng: np.random.Generator, kind: str, person: Person) -> tuple[np.ndarray, float]:
    """Waves (waves, 6) and duration (ms) of a beat that begins in the ventricles, of any such kind of `Rhythm.qrs`."""
    if kind == "paced":
        waves, duration_ms = QRS["paced"].copy(), rng.uniform(128, 178)
        waves[:, 3:] += rng.normal(0, 0.12, 3) + np.array([rng.uniform(-0.35, 0.05), 0, 0])  # where the electrode lies
        if rng.uniform() < 0.3:  # in the outflow tract, on the left ventricle, or in both
            waves[:, 4] *= rng.uniform(-0.6, 0.6)
            waves[:, 5] *= rng.uniform(-0.9, 0.8)
            duration_ms = rng.uniform(118, 160)
    else:
        one, two = PVC_ORIGINS[str(rng.choice(list(PVC_ORIGINS)))]
        waves = np.array([[52, 52, 52, *one], [90, 48, 58, *two]])
        duration_ms = rng.uniform(126, 172)
        waves[:, 3:] *= rng.uniform(0.6, 1.25)
    qrs = individual(rng, waves, duration_ms, person.vectors[:, :3])
    turn = rotation(2, rng.normal(0, 14)) @ rotation(1, rng.normal(0, 12))
    qrs[:, 3:] = qrs[:, 3:] @ turn.T * min(person.size, 1.25)
    return qrs, duration_ms


def draw_axis(rng: np.random.Generator, findings: frozenset[str], age_years: float, territory: str) -> float:
    """The QRS axis in degrees: left of -30 or right of 90 where it deviates, else between; further left with age."""
    if "LAnFB" in findings:
        return float(np.clip(rng.normal(-57, 9), -80, -46))
    if "LAD" in findings:
        return float(-36 - min(rng.exponential(13), 42))
    if "RAD" in findings:
        return float(93 + min(rng.exponential(16), 60))
    middle = 70 if "RVH" in findings else 15 if findings & {"LBBB", "ILBBB"} else 55 - 0.6 * (age_years - 50)
    low, high = -26.0, 85.0
    if "QAb" in findings and territory == "inferior":
        low, high = -24.0, 28.0  # a heart that points to the foot would hide the Q
    drawn = rng.normal(middle, 24, 20)
    inside = drawn[(drawn > low) & (drawn < high)]
    return float(inside[0]) if len(inside) else float(np.clip(middle, low, high))


def _waves(rng, findings: frozenset[str], territory: str) -> tuple[np.ndarray, int]:
    """Waves of QRS, and how many of them, from the first, make the axis: a right bundle branch block's end does not."""
    table = next((table for name, table in _PATTERN.items() if name in findings), "normal")
    if "NSIVCB" in findings and (rng.uniform() < 0.75 or "QAb" in findings):
        table = "normal"
    qrs = QRS[table].copy()
    if table == "normal":  # no two hearts end alike: S in I, in II, in V6 or nowhere
        qrs[3, 3:] += rng.normal(0, (0.16, 0.14, 0.14))
        qrs[3, 0] += rng.uniform(-3, 5)
    qrs = _diseased_muscle(rng, findings, qrs, territory)
    if findings & {"RAD", "LPFB"} and table == "normal" and rng.uniform() < 0.85:
        qrs[3, 3:] += rng.uniform(0.3, 0.9) * np.array([-1.0, 0.3, 0.05])  # a late S to the right, deep in I
    elif "LAD" in findings and table == "normal" and rng.uniform() < 0.5:
        qrs[3, 3:] += rng.uniform(0.2, 0.6) * np.array([0.1, -1.0, 0.4])  # a late S upwards, deep in II and III
    if "WPW" in findings:  # a slow beginning from where the accessory pathway enters
        delta = rotation(2, rng.uniform(-75, 60)) @ np.array([0.32, 0.10, rng.choice([-0.28, 0.28])])
        qrs[:, 0] += 20
        qrs[0, 3:] *= 0.15  # the septum is activated from elsewhere: no q between the slur and R
        return np.vstack([[34, 34, 40, *delta], qrs]), len(qrs) + 2
    if "NSIVCB" in findings and table == "normal":  # a part of the muscle comes late, at the back or on the right
        late = np.array([-0.45, 0.0, -0.40] if rng.uniform() < 0.3 else [0.02, -0.05, 0.55])
        late = rng.uniform(0.3, 1.0) * (late + rng.normal(0, 0.2, 3))
        qrs = np.vstack([qrs, [rng.uniform(68, 84), 20, 28, *late]])
        return qrs, len(qrs) + 1
    if "CRBBB" in findings:
        qrs[:, 3] *= 0.85
        qrs[2:4, 3:] *= [[0.6], [0.35]]  # what points to the back is outweighed by the late front
        end = RBBB_END * [1, 1, 1, *rng.uniform(0.6, 1.25, 3)]
        if "LAnFB" in findings:  # what is left comes from above
            end[:, 4] -= 0.12
        return np.vstack([qrs, end]), len(qrs)
    if "IRBBB" in findings:  # from a small r' in V1, which is all that many have, to nearly a complete block
        severity = rng.beta(1.2, 1.3)
        kept = qrs.copy()
        kept[3, 3:] *= 0.5
        kept[2, 5] *= rng.uniform(0.7, 1.0)
        end = IRBBB_END * [1, 1, 1, *((0.4 + 0.75 * severity) * rng.uniform(0.8, 1.2, 3))]
        end[0, :3] = kept[2, 0] + 11 + 13 * severity, 22 + 4 * severity, 28 + 13 * severity
        return np.vstack([kept, end]), len(kept)
    return qrs, len(qrs) + 1  # the wave that is a person's own comes last and counts


def _diseased_muscle(rng, findings: frozenset[str], qrs: np.ndarray, territory: str) -> np.ndarray:
    """The waves with what hypertrophy adds and what infarction takes away; the first four stay the first four."""
    qrs = qrs.copy()
    if findings & {"LVH", "LVS"}:  # a thick left wall: further to the left and to the back, and later
        more = rng.uniform(1.25, 1.8)
        qrs[1, 3:] *= 0.75 + 0.4 * more
        qrs[2, 3:] *= 1.35 * more
        qrs[2, 0] += 3
    if "RVH" in findings:  # the right ventricle, to the right and to the front, outweighs the left wall
        qrs[1, 3] *= rng.uniform(0.4, 0.8)
        qrs[2, 3:] *= rng.uniform(0.2, 0.6)
        right = rng.uniform(0.7, 1.3) * np.array([-0.45, 0.08, -0.66])
        qrs = np.vstack([qrs, [56, 20, 24, *right]])
    if "PRWP" in findings:  # what makes R in V1 to V3 is missing, without a Q
        qrs[0, 5] *= rng.uniform(0.1, 0.5)
        qrs[1, 5] += rng.uniform(0.15, 0.4)
    if "PMI" in findings:  # nothing at the back: R in V1 and V2
        qrs[2, 5] *= rng.uniform(-0.1, 0.25)
        qrs[1, 5] -= rng.uniform(0.2, 0.5)
    if "QAb" in findings:  # the dead territory's part is missing, and what lies opposite goes unopposed
        q = np.array(Q_WAVE[territory])
        towards = -q / np.linalg.norm(q)
        qrs[:, 0] += 28
        qrs[1, 3:] -= rng.uniform(0.1, 0.7) * max(0.0, qrs[1, 3:] @ towards) * towards
        if territory == "anterior":
            qrs[1, 3:] += rng.uniform(0.4, 1.1) * np.array([-0.2, 0.0, 0.45])  # little is left to make R in V1 to V3
        qrs[0] = 34, 34, 38, *q
    return qrs


def _voltage(rng: np.random.Generator, findings: frozenset[str], seen: np.ndarray) -> np.ndarray:
    """Factors (3,) on the QRS dipole, whose waves are `seen` (12, time) before.

    Low voltage is below about 0.7 mV in every limb lead, now and then below 1 mV in every chest lead too; without it
    one limb lead or more is above. (By the book it is 0.5 mV; half of the PTB-XL recordings that are called so reach
    0.62 mV from the lowest to the highest point of QRS.)
    """
    swing = seen.max(axis=1) - seen.min(axis=1)
    limb, chest = swing[:6].max(), swing[6:].max()
    if "LQRSV" not in findings:
        return np.full(3, max(0.75 / limb, min(1.0, 4.6 / chest)))
    factor = min(1.0, rng.uniform(0.36, 0.68) / limb)
    # What points to the front or the back is hardly seen in the limbs, and need not be small.
    deep = min(factor, 0.75 / chest) if rng.uniform() < 0.25 else min(1.0, 2.6 * factor)
    return np.array([factor, factor, deep])
