"""Who is recorded: what of the heart is the person's and not the diagnosis', or goes through all of its beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .heart import lead_vectors
from .rhythm import Breath

# Years that a finding adds to the mean age of those who have it, counted in PTB-XL (strat_fold 1 to 8).
_AGE_SHIFT = {
    "AF": 12,
    "PR": 13,
    "LBBB": 11,
    "CRBBB": 11,
    "Brady": 8,
    "AVB2": 8,
    "AVB3": 12,
    "IAVB": 9,
    "LAnFB": 8,
    "LVS": 7,
    "LVH": 4,
    "QAb": 8,
    "ISC": 8,
    "TInv": 7,
    "TAb": 5,
    "DIG": 12,
    "LPFB": -4,
    "RVH": -4,
    "SA": -4,
    "STach": -6,
    "RAD": -12,
    "ER": -22,
    "PERI": -12,
    "WPW": -18,
    "SVT": -8,
    "IRBBB": -4,
}
_PR_S = {"WPW": (0.08, 0.115), "IAVB": (0.208, 0.34), "LPR": (0.205, 0.25)}


@dataclass(frozen=True)
class Person:
    """One person with certain findings.

    Attributes
    ----------
    age_years, sex : float, str
    vectors : ndarray (8, 6)
        Lead vectors of I, II, V1 to V6: for QRS (three columns, Frank's x, y, z) and for P and T, which the electrodes
        see from slightly other places, since no heart is a single dipole.
    breath : Breath
    size, p_size : float
        Factors on QRS and on P.
    t_vector, st_vector : ndarray (3,)
        What T and ST would be without any finding, mV.
    qtc_ms, pr_s : float
        QT at 60 and PR at 70 beats a minute.
    """

    age_years: float
    sex: str
    vectors: np.ndarray
    breath: Breath
    size: float
    p_size: float
    t_vector: np.ndarray
    st_vector: np.ndarray
    qtc_ms: float
    pr_s: float


def draw_person(rng: np.random.Generator, findings: frozenset[str], age_years: float | None, sex: str | None) -> Person:
    """Someone in whom these findings (abbreviations) are found; age and sex are drawn where they are None.

    The vectors of T and ST have the mean and the spread of 1,572 normal recordings of PTB-XL (strat_fold 1 to 8): T
    shrinks with age, and is larger in front in men.
    """
    shift = np.clip(sum(_AGE_SHIFT.get(name, 0) for name in findings), -22, 15)
    drawn_age, drawn_sex = np.clip(round(rng.normal(56 + shift, 16)), 18, 95), rng.choice(["female", "male"])
    age_years, sex = float(drawn_age if age_years is None else age_years), str(sex or drawn_sex)
    woman = sex == "female"
    vectors = lead_vectors(rng)
    if "IRBBB" in findings:  # V1 and V2 are next to the right ventricle, which a dipole at the heart's centre is not
        vectors[2:4] *= [[0.8, 1.0, 0.65], [1.0, 1.0, 0.8]]
    of_t = vectors * np.exp(rng.normal(0, 0.1, (8, 1)))
    of_t[:2] = vectors[:2]
    if "LQRSV" in findings:  # the limbs see little of a heart that the chest may see as well as ever
        seen = rng.uniform(0.5, 0.95)
        vectors[:2] *= seen
        of_t[:2] *= np.sqrt(seen)
    young = np.clip(1 - 0.006 * (age_years - 50), 0.7, 1.2)
    t_vector = young * np.array([0.29, 0.14, -0.18 if woman else -0.27])
    t_vector += rng.normal(0, 1, 3) @ [[0.085, 0.03, -0.01], [0, 0.055, 0.01], [0, 0, 0.11]]
    pr_s = next((limits for name, limits in _PR_S.items() if name in findings), None)
    return Person(
        age_years=age_years,
        sex=sex,
        vectors=np.hstack([vectors, of_t]),
        breath=Breath(rng.uniform(0.13, 0.32), rng.uniform(0, 2 * np.pi)),
        size=np.clip(np.exp(rng.normal(0.04, 0.24)), 0.62, 1.6) * (0.94 if woman else 1.04),
        p_size=np.exp(rng.normal(0, 0.25)),
        t_vector=np.clip(t_vector, [0.14, 0.05, -0.6], [0.7, 0.4, 0.02]),
        st_vector=np.array([0.0, -0.005, -0.05 if woman else -0.085]) + rng.normal(0, 0.025, 3),
        qtc_ms=rng.uniform(474, 556) if "LQT" in findings else np.clip(rng.normal(404, 16), 368, 436) + 8 * woman,
        pr_s=rng.uniform(*pr_s) if pr_s else float(np.clip(rng.normal(0.158, 0.019), 0.122, 0.194)),
    )
