"""Which diagnoses can be made, which of them no heart shows together, and sets of them as a hospital sees them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..data.classes import EQUIVALENT, SINUS_RHYTHM
from ..errors import UserError

# The 24 classes of 2020 by abbreviation.
CODES = {
    "IAVB": "270492004",
    "AF": "164889003",
    "AFL": "164890007",
    "Brady": "426627000",
    "CRBBB": "713427006",
    "IRBBB": "713426002",
    "LAnFB": "445118002",
    "LAD": "39732003",
    "LBBB": "164909002",
    "LQRSV": "251146004",
    "NSIVCB": "698252002",
    "PR": "10370003",
    "PAC": "284470004",
    "PVC": "427172004",
    "LPR": "164947007",
    "LQT": "111975006",
    "QAb": "164917005",
    "RAD": "47665007",
    "SA": "427393009",
    "SB": "426177001",
    "NSR": SINUS_RHYTHM,
    "STach": "427084000",
    "TAb": "164934002",
    "TInv": "59931005",
}
_NAMES = {code: name for name, code in CODES.items()}

# At most one of each line is true of a heart. SA goes with SB, LAnFB with CRBBB, IAVB with LPR.
_RHYTHMS = {"NSR", "SB", "STach", "AF", "AFL", "Brady", "PR"}
_ONE_OF = (
    _RHYTHMS,
    _RHYTHMS - {"SB"} | {"SA"},
    {"CRBBB", "IRBBB", "LBBB", "NSIVCB"},
    {"IRBBB", "LBBB", "NSIVCB", "LAnFB"},
    {"LAD", "RAD"},
    {"LAnFB", "RAD"},
    {"TAb", "TInv"},
    {"PAC", "PVC"},
)
# What hides or excludes what: without P waves no PR interval and no atrial ectopic beat; a pacemaker's QRS says nothing
# about axis, conduction or T; a block makes T and Q its own; flutter covers T; a fast or very slow rate hides a long
# QT.
_NEVER = {
    "PR": set(CODES) - {"PR"},
    "Brady": {"IAVB", "LPR", "PAC", "PVC", "LQT"},
    "AF": {"IAVB", "LPR", "PAC"},
    "AFL": {"IAVB", "LPR", "PAC", "PVC", "TAb", "TInv", "LQT", "QAb"},
    "LBBB": {"QAb", "TAb", "TInv", "LQRSV", "LQT", "RAD"},
    "CRBBB": {"QAb", "TAb", "TInv", "LQRSV", "LQT"},
    "NSIVCB": {"QAb", "TAb", "TInv", "LQRSV", "LQT"},
    "IRBBB": {"QAb", "LQRSV"},
    "LAnFB": {"QAb", "LQRSV"},
    "QAb": {"LQRSV", "RAD", "LAD"},
    "SA": {"PAC", "PVC"},
    "STach": {"LQT"},
    "LQT": {"TAb", "TInv"},
}

# How often random_diagnoses draws each: the rare ones oftener than they occur, so that a small data set holds them all.
_RHYTHM_SHARES = {
    "NSR": 0.42,
    "SB": 0.09,
    "STach": 0.10,
    "SA": 0.08,
    "AF": 0.12,
    "AFL": 0.065,
    "Brady": 0.06,
    "PR": 0.065,
}
_OTHER_SHARES = {
    "CRBBB": 0.08,
    "IRBBB": 0.08,
    "LBBB": 0.08,
    "NSIVCB": 0.08,
    "LAnFB": 0.09,
    "LAD": 0.06,
    "RAD": 0.08,
    "LQRSV": 0.08,
    "IAVB": 0.10,
    "LPR": 0.08,
    "LQT": 0.09,
    "QAb": 0.10,
    "TAb": 0.10,
    "TInv": 0.10,
    "PAC": 0.11,
    "PVC": 0.09,
}


def abbreviation(diagnosis: str) -> str:
    """The abbreviation of a diagnosis given as abbreviation or SNOMED CT code, equivalent codes included.

    Raises
    ------
    UserError
        If it is not one of the 24 scored classes.
    """
    name = _NAMES.get(EQUIVALENT.get(diagnosis, diagnosis), diagnosis)
    if name not in CODES:
        raise UserError(f"{diagnosis!r} cannot be made; the diagnoses are {', '.join(CODES)} and their codes")
    return name


def contradiction(findings: Iterable[str]) -> tuple[str, str] | None:
    """Two of the abbreviations that no heart shows together, or None."""
    findings = sorted(set(findings))
    for k, one in enumerate(findings):
        for other in findings[k + 1 :]:
            if (
                other in _NEVER.get(one, ())
                or one in _NEVER.get(other, ())
                or any(one in group and other in group for group in _ONE_OF)
            ):
                return one, other
    return None


def random_diagnoses(rng: np.random.Generator) -> tuple[str, ...]:
    """Draws a plausible set of diagnoses (abbreviations): a rhythm, and seldom more than two findings besides."""
    rhythm = str(rng.choice(list(_RHYTHM_SHARES), p=list(_RHYTHM_SHARES.values())))
    found = [rhythm, "SB"] if rhythm == "SA" and rng.uniform() < 0.25 else [rhythm]
    names = list(_OTHER_SHARES)
    for k in rng.permutation(len(names)):  # in any order: a finding that contradicts one before it gives way
        if rng.uniform() < _OTHER_SHARES[names[k]] and not contradiction([*found, names[k]]):
            found.append(names[k])
    if "LAnFB" in found and "LAD" not in found and rng.uniform() < 0.7:
        found.append("LAD")  # the block is a left axis deviation; not every reader writes both
    return tuple(found)
