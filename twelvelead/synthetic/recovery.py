"""ST and T by finding: their vectors at the end of QRS and at the peak of T, and the shape of T.

The vectors are what PTB-XL recordings (strat_fold 1 to 8) with the same finding show, by the pseudo-inverse of Dower's
matrix: mean and spread. A block's T goes against the area of QRS, since the area of QRS and T together, Wilson's
ventricular gradient, depends little on the order of activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .heart import QRS, area, repolarisation
from .person import Person

# T against QRS: mV of T for each mV ms that the area of QRS is beyond a normal one's.
DISCORDANCE = 0.0052
# Where an inverted T points, in mV, by territory, and how often.
_T_INVERTED = {
    "lateral": (-0.24, 0.03, -0.10),
    "anterolateral": (-0.26, 0.02, 0.24),
    "anterior": (0.06, 0.12, 0.42),
    "inferior": (0.16, -0.28, -0.16),
    "inferolateral": (-0.24, -0.18, 0.02),
    "right precordial": (0.16, 0.12, 0.26),
}
_INVERTED_SHARES = (0.40, 0.10, 0.08, 0.11, 0.21, 0.10)
# Where an acute infarct raises ST, and from where T turns away over an old one, in mV.
_ST_RAISED = {"inferior": (-0.06, 0.22, 0.02), "anterior": (0.06, 0.0, -0.26), "lateral": (0.19, -0.04, 0.02)}
_T_FROM_SCAR = {"inferior": (0.1, -0.5, 0.0), "anterior": (-0.3, 0.0, 0.6), "lateral": (-0.6, 0.0, 0.0)}


@dataclass
class Wave:
    """ST, T and U of a beat while its findings are gone through; see heart.repolarisation."""

    t: np.ndarray
    st: np.ndarray
    qtc_ms: float
    broad: float
    u: np.ndarray | None
    shape: tuple[tuple[float, float], ...] = ((0.0, 1.0),)


def recovery(
    rng: np.random.Generator,
    findings: frozenset[str],
    person: Person,
    qrs: np.ndarray,
    qrs_ms: float,
    territory: str,
    kind: str = "conducted",
) -> np.ndarray:
    """Waves (waves, 6) of ST, T and U for RR = 1 s, from QRS onset, of a beat with this QRS.

    `kind` is "conducted", or another one of Rhythm.qrs, whose T goes against QRS whatever the findings are.
    """
    excess = area(qrs) - person.size * area(QRS["normal"])
    wave = Wave(person.t_vector, person.st_vector.copy(), person.qtc_ms, np.exp(rng.normal(0, 0.07)), None)
    if rng.uniform() < 0.25:
        wave.u = rng.uniform(0.03, 0.12) * person.t_vector
    if kind != "conducted":
        t = 0.35 * person.t_vector - 0.75 * DISCORDANCE * excess + rng.normal(0, 0.06, 3)
        return repolarisation(t, wave.st - 0.0013 * excess, 405, qrs_ms)
    if findings & {"LBBB", "ILBBB", "WPW", "CRBBB"}:
        _block(rng, findings, wave, excess)
    else:
        _muscle(rng, findings, wave, excess, territory)
        _disease(rng, findings, wave, territory)
    if "LQRSV" in findings:
        wave.t = 0.8 * wave.t
    if "LQT" in findings:
        wave.t = rng.uniform(0.35, 1.0) * wave.t
        if rng.uniform() < 0.6:
            wave.broad *= 1.35  # a broad T; else a normal one after a long ST
    return repolarisation(wave.t, wave.st, wave.qtc_ms, qrs_ms, broad=wave.broad, u_vector=wave.u, shape=wave.shape)


def _block(rng: np.random.Generator, findings: frozenset[str], wave: Wave, excess: np.ndarray) -> None:
    """A wide QRS, whose area is `excess` beyond a normal one's, makes ST and T its own."""
    if "LBBB" in findings:
        wave.t = 0.35 * wave.t - 0.85 * DISCORDANCE * excess + rng.normal(0, (0.10, 0.06, 0.06))
        wave.st = wave.st - 0.0008 * excess - (0.04, 0.04, 0.0)
    elif "CRBBB" in findings:
        wave.t = 0.62 * wave.t + np.array([0.0, 0.0, 0.26]) + rng.normal(0, (0.07, 0.06, 0.10))
        wave.st = wave.st + np.array([0.0, 0.0, 0.06])
    else:
        wave.t = 0.5 * wave.t - 0.7 * DISCORDANCE * excess + rng.normal(0, 0.07, 3)
        wave.st = wave.st - 0.001 * excess


def _muscle(rng: np.random.Generator, findings: frozenset[str], wave: Wave, excess: np.ndarray, territory: str) -> None:
    """What smaller blocks, fibrillation, hypertrophy and scars make of ST and T."""
    if "IRBBB" in findings:
        wave.t, wave.st = wave.t + np.array([0.06, 0.0, 0.12]), wave.st + np.array([0.02, 0.0, 0.035])
    if "AF" in findings:  # the rate, and most of these hearts have had something before
        wave.t, wave.st = 0.75 * wave.t, wave.st - (0.02, 0.015, 0.0)
    if "NSIVCB" in findings and "QAb" not in findings:
        wave.t = 0.55 * wave.t + np.array([-0.05, -0.03, -0.14]) + rng.normal(0, (0.10, 0.06, 0.10))
        wave.st = wave.st - 0.0008 * excess
    if "LVH" in findings:
        wave.t, wave.st = 0.8 * wave.t + np.array([0.0, 0.0, -0.10]), wave.st + np.array([-0.02, -0.01, -0.03])
    if "RVH" in findings:
        wave.t = wave.t + np.array([0.02, -0.02, rng.uniform(0.12, 0.4)])
        wave.st = wave.st + np.array([0.0, -0.01, 0.07])
    if "PMI" in findings:
        wave.t = wave.t + np.array([0.0, 0.0, -0.15])
    if "QAb" in findings:
        turned = rng.normal(0, (0.08, 0.06, 0.10)) + rng.uniform(0, 0.25) * np.array(_T_FROM_SCAR[territory])
        wave.t = 0.75 * wave.t + turned


def _disease(rng: np.random.Generator, findings: frozenset[str], wave: Wave, territory: str) -> None:
    """What the one of these findings that is there makes of ST, T and U: they exclude each other."""
    if "TInv" in findings:
        where = str(rng.choice(list(_T_INVERTED), p=_INVERTED_SHARES))
        if "QAb" in findings:
            where = territory if territory != "anterior" else str(rng.choice(["anterior", "anterolateral"]))
        wave.t = np.array(_T_INVERTED[where]) * rng.uniform(0.75, 1.5) + rng.normal(0, 0.02, 3)
        wave.st, wave.u = wave.st - (0.02, 0.01, 0.0), None
    elif "TAb" in findings:
        _abnormal_t(rng, wave)
    elif "LVS" in findings:
        wave.t = np.array([-0.13, -0.04, -0.26]) * rng.uniform(0.6, 1.6) + rng.normal(0, (0.05, 0.05, 0.10))
        wave.st = wave.st + rng.uniform(0.5, 1.5) * np.array([-0.07, -0.035, -0.03])
    elif "ISC" in findings:
        wave.t = rng.uniform(-0.3, 0.5) * wave.t + rng.normal(0, (0.08, 0.06, 0.08)) + np.array([-0.03, 0.0, -0.06])
        spread = rng.normal(0, (0.02, 0.03, 0.06))
        wave.st = wave.st + rng.uniform(0.7, 1.8) * (np.array([-0.085, -0.045, 0.02]) + spread)
    elif "AcuteMI" in findings:
        size = np.clip(np.exp(rng.normal(0, 0.5)), 0.4, 2.5)
        raised = size * np.array(_ST_RAISED[territory])
        wave.st, wave.t = wave.st + raised, 0.7 * wave.t + rng.uniform(0.4, 1.6) * raised
        wave.broad *= 1.15
    elif "ER" in findings:
        wave.st = wave.st + rng.uniform(0.6, 1.5) * np.array([0.07, 0.06, -0.10])
        wave.t = rng.uniform(1.1, 1.5) * wave.t
    elif "PERI" in findings:
        wave.st = wave.st + rng.uniform(0.6, 1.6) * np.array([0.10, 0.10, -0.05])
        wave.t = rng.uniform(0.5, 1.0) * wave.t
    elif "HighK" in findings:
        wave.t, wave.broad, wave.u = rng.uniform(1.5, 2.4) * wave.t, 0.62 * wave.broad, None
    elif "LowK" in findings:
        wave.u = rng.uniform(0.4, 0.9) * wave.t
        wave.t, wave.st = rng.uniform(0.05, 0.35) * wave.t, wave.st + np.array([-0.04, -0.03, 0.02])
    elif "DIG" in findings:  # a trough
        wave.st = wave.st + rng.uniform(0.7, 1.5) * np.array([-0.09, -0.05, 0.03])
        wave.t, wave.qtc_ms = rng.uniform(0.0, 0.5) * wave.t, rng.uniform(345, 385)


def _abnormal_t(rng: np.random.Generator, wave: Wave) -> None:
    """A T that is low, mostly, or changes its sign or has two humps."""
    kind = str(rng.choice(["low", "biphasic", "two humps"], p=[0.66, 0.17, 0.17]))
    wave.u = None
    if kind == "low":  # above all to the left; in front T may be as high as ever
        wave.t = np.array(
            [
                min(rng.normal(0.05, 0.035), 0.09),
                min(rng.normal(0.03, 0.035), 0.08),
                0.75 * wave.t[2] + rng.normal(0, 0.06),
            ]
        )
        wave.st = wave.st - (0.025, 0.015, 0.0)
    elif kind == "biphasic":
        first = rng.choice([0.75, -0.75])
        wave.shape = (-48, first), (28, -first)
    else:
        wave.t, wave.shape, wave.broad = 0.5 * wave.t, ((-92, 0.7), (0, 0.8)), 0.72 * wave.broad
