"""What each diagnosis does to a beat: order and duration of activation, heart axis, voltage, Q waves, ST and T."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .heart import (
    IRBBB_END,
    P_SINUS,
    PVC_ORIGINS,
    QRS,
    RBBB_END,
    T_NORMAL,
    Beat,
    area,
    discordant,
    individual,
    lead_vectors,
    repolarisation,
    rotation,
    seen_by,
    turn_to_axis,
)
from .rhythm import Breath

# QRS duration in ms, from first to last deflection, and the axis in degrees; the first that applies.
_DURATION_MS = {"CRBBB": (124, 155), "IRBBB": (101, 115), "LBBB": (126, 158), "NSIVCB": (110, 128), "LAnFB": (82, 102)}
_AXIS_DEG = {"LAnFB": (-78, -48), "LAD": (-65, -35), "RAD": (98, 132)}
# Where an inverted T points, in mV, by territory; and where the first 40 ms point, away from the dead muscle.
_T_INVERTED = {
    "anterior": (0.06, 0.12, 0.42),
    "lateral": (-0.30, 0.10, -0.15),
    "inferior": (0.16, -0.30, -0.18),
    "inferolateral": (-0.26, -0.20, 0.08),
}
_Q_WAVE = {"inferior": (0.08, -0.38, -0.22), "anterior": (0.05, 0.08, 0.55), "lateral": (-0.40, 0.05, -0.16)}


@dataclass(frozen=True)
class Person:
    """Who is recorded: what of the heart is the person's and not the diagnosis', or goes through all of its beats."""

    age_years: float
    sex: str
    vectors: np.ndarray  # lead vectors of I, II, V1 to V6, (8, 3)
    breath: Breath
    size: float  # of QRS
    t_size: float
    p_size: float
    qtc_ms: float
    pr_s: float  # at 70 beats a minute


def draw_person(rng: np.random.Generator, findings: frozenset[str], age_years: float | None, sex: str | None) -> Person:
    """Someone in whom these findings (abbreviations) are found; age and sex are drawn where they are None."""
    shift = 9 if findings & {"AF", "PR", "LBBB", "CRBBB", "Brady", "IAVB"} else 0
    shift -= 12 if findings & {"SA", "STach", "RAD"} else 0
    drawn_age, drawn_sex = np.clip(round(rng.normal(60 + shift, 15)), 18, 95), rng.choice(["female", "male"])
    age_years, sex = float(drawn_age if age_years is None else age_years), str(sex or drawn_sex)
    woman = sex == "female"
    pr_s = (0.235, 0.33) if "IAVB" in findings else (0.212, 0.238) if "LPR" in findings else (0.14, 0.18)
    return Person(
        age_years=age_years,
        sex=sex,
        vectors=lead_vectors(rng),
        breath=Breath(rng.uniform(0.18, 0.30), rng.uniform(0, 2 * np.pi)),
        size=np.clip(np.exp(rng.normal(0.06, 0.22)), 0.7, 1.5) * (0.92 if woman else 1.04),
        t_size=np.clip(np.exp(rng.normal(-0.03, 0.22)), 0.65, 1.4) * (0.9 if woman else 1.1),
        p_size=np.exp(rng.normal(0, 0.2)),
        qtc_ms=rng.uniform(500, 565) if "LQT" in findings else np.clip(rng.normal(402, 14), 378, 428) + 8 * woman,
        pr_s=rng.uniform(*pr_s),
    )


def conducted_beat(rng: np.random.Generator, findings: frozenset[str], person: Person) -> Beat:
    """QRS, ST and T of a beat that comes down the AV node."""
    territory = str(rng.choice(list(_Q_WAVE)))
    block = next((name for name in _DURATION_MS if name in findings), "")
    qrs, early = _activation(findings, territory)
    duration_ms = rng.uniform(*_DURATION_MS[block]) if block else np.clip(rng.normal(81, 6), 70, 96)
    if "QAb" in findings:
        duration_ms += 20
    qrs = individual(rng, qrs, duration_ms, person.vectors)
    turn = rotation(1, rng.normal(0, 14)) @ rotation(0, rng.normal(0, 8))
    qrs[:, 3:] = qrs[:, 3:] @ turn.T * person.size

    limits = next((_AXIS_DEG[name] for name in _AXIS_DEG if name in findings), None)
    if limits:
        axis = rng.uniform(*limits)
    else:  # the axis turns to the left with age, and with a left bundle branch block
        middle = (20 if "LBBB" in findings else 55) - 0.45 * (person.age_years - 50)
        axis = np.clip(rng.normal(middle, 20), -15, 82)
    if "QAb" in findings and territory == "inferior":
        axis = np.clip(axis, -15, 25)  # a heart that points to the foot would hide the Q
    angle = turn_to_axis(qrs[:early], person.vectors, axis)
    qrs[:early, 3:] = qrs[:early, 3:] @ rotation(2, angle).T
    if "QAb" in findings:
        qrs[0, 3:] = person.size * np.array(_Q_WAVE[territory])  # however the heart lies
    qrs[:, 3:] *= _voltage(rng, "LQRSV" in findings, seen_by(person.vectors, qrs))

    # T goes with QRS, but not all the way: neither in size nor in direction
    t_vector = T_NORMAL * person.t_size * person.size**0.7 * np.exp(rng.normal(0, 0.10, 3))
    t_vector = rotation(2, 0.35 * angle) @ rotation(1, rng.normal(0, 10)) @ t_vector
    t = _t_waves(rng, findings, t_vector, person.qtc_ms, territory)
    if block in ("", "LAnFB"):
        return Beat(qrs, t)
    t[:, 3:] *= {"LBBB": 0.5, "NSIVCB": 0.7, "CRBBB": 0.75, "IRBBB": 0.9}[block]
    if block in ("CRBBB", "IRBBB"):
        excess = area(qrs[early:])
    else:
        excess = area(qrs) - person.size * rotation(2, angle) @ turn @ area(QRS["normal"])
    t = np.vstack([t, discordant(excess, duration_ms, block, person.qtc_ms)])
    return Beat(qrs, t, delay_ms=0.7 * max(0.0, duration_ms - 95))


def ventricular_beat(rng: np.random.Generator, kind: str, person: Person) -> Beat:
    """A beat that begins in the ventricles, "paced" or "PVC": wide, with ST and T against it."""
    if kind == "paced":
        waves, duration_ms = QRS["paced"].copy(), rng.uniform(138, 175)
        waves[:, 3:] += rng.normal(0, 0.10, 3)  # where the electrode lies
    else:
        one, two = PVC_ORIGINS[str(rng.choice(list(PVC_ORIGINS)))]
        waves, duration_ms = np.array([[52, 52, 52, *one], [90, 48, 58, *two]]), rng.uniform(132, 168)
        waves[:, 3:] *= rng.uniform(1.0, 1.3)
    qrs = individual(rng, waves, duration_ms, person.vectors)
    turn = rotation(2, rng.normal(0, 10)) @ rotation(1, rng.normal(0, 10))
    qrs[:, 3:] = qrs[:, 3:] @ turn.T * min(person.size, 1.25)
    t = repolarisation(0.5 * T_NORMAL * person.t_size, 405)
    excess = area(qrs) - area(QRS["normal"])
    return Beat(qrs, np.vstack([t, discordant(excess, duration_ms, kind, 405)]), 0.7 * (duration_ms - 95))


def ectopic_p(rng: np.random.Generator) -> np.ndarray:
    """P of a premature atrial beat: from elsewhere in the atria, and so of another shape than in sinus rhythm."""
    waves = P_SINUS.copy()
    turn = rotation(2, rng.choice([-1, 1]) * rng.uniform(70, 150)) @ rotation(1, rng.uniform(-60, 60))
    waves[:, 3:] = 0.9 * waves[:, 3:] @ turn.T
    waves[:, :3] *= rng.uniform(0.75, 0.95)
    return waves


def _activation(findings: frozenset[str], territory: str) -> tuple[np.ndarray, int]:
    """Waves of QRS, and how many of them, from the first, make the axis: a right bundle branch block's end does not."""
    qrs = QRS[next((name for name in ("LBBB", "NSIVCB", "LAnFB") if name in findings), "normal")].copy()
    if "CRBBB" in findings:
        qrs[:, 3] *= 0.85
        qrs[2:, 3:] *= 0.6, 0.6, 0.35  # what points to the back is outweighed by the late front
        end = RBBB_END - [0, 0, 0, 0, 0.12, 0] if "LAnFB" in findings else RBBB_END  # what is left comes from above
        return np.vstack([qrs, end]), len(qrs)
    if "IRBBB" in findings:
        return np.vstack([qrs[:3], IRBBB_END]), 3
    if "QAb" in findings:  # the dead territory's part is missing, and what lies opposite goes unopposed
        q = np.array(_Q_WAVE[territory])
        towards = -q / np.linalg.norm(q)
        qrs[:, 0] += 28
        qrs[1, 3:] -= 0.6 * max(0.0, qrs[1, 3:] @ towards) * towards
        if territory == "anterior":
            qrs[1, 3:] += -0.3, 0.0, 0.45  # nothing is left that would make an R in V1 to V3
        qrs[0] = 34, 34, 38, *q
    return qrs, len(qrs) + 1  # the wave that is a person's own comes last and counts


def _voltage(rng: np.random.Generator, low: bool, seen: np.ndarray) -> float:
    """Factor on QRS, seen in twelve leads: below 0.5 mV in the limb leads and 1 mV in the chest, or well above."""
    swing = seen.max(axis=1) - seen.min(axis=1)
    limb, chest = swing[:6].max(), swing[6:].max()
    if low:
        return min(rng.uniform(0.26, 0.41) / limb, rng.uniform(0.6, 0.92) / chest)
    return max(0.75 / limb, min(1.0, 4.2 / chest))


def _t_waves(
    rng: np.random.Generator, findings: frozenset[str], t_vector: np.ndarray, qtc_ms: float, territory: str
) -> np.ndarray:
    """ST, T and U: upright, inverted in a territory, flat, biphasic or with two humps; of normal length or long."""
    u, shape, broad = rng.uniform(0.03, 0.10) * (rng.uniform() < 0.3), ((0, 1.0),), np.exp(rng.normal(0, 0.06))
    if "TInv" in findings:
        where = territory if "QAb" in findings else str(rng.choice(list(_T_INVERTED)))
        t_vector, u = np.array(_T_INVERTED[where]) * rng.uniform(0.9, 1.6), 0.0
    elif "TAb" in findings:
        kind = rng.choice(["flat", "biphasic", "two humps"])
        if kind == "flat":
            t_vector = rng.uniform(-0.08, 0.16) * t_vector
        elif kind == "biphasic":
            first = rng.choice([0.75, -0.75])
            shape = (-48, first), (28, -first)
        else:
            t_vector, shape, broad = 0.45 * t_vector, ((-92, 0.7), (0, 0.8)), 0.72 * broad
    if "LQRSV" in findings:
        t_vector = 0.5 * t_vector
    if "LQT" in findings and rng.uniform() < 0.6:
        broad *= 1.35  # a broad T; else a normal one after a long ST
    return repolarisation(t_vector, qtc_ms, broad=broad, u=u, shape=shape)
