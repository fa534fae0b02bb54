"""Which findings can be made, which of them no heart shows together, and sets of them for a small demo hospital.

A finding is named by its abbreviation. `CODES` are the 24 scored classes of 2020. `UNSCORED` are hearts that the
Challenge does not score but every reader meets; each must not be mistaken for what is scored. population.py draws both
as often as they occur together.
"""

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

# What is not scored, with its meaning.
UNSCORED = {
    "AVB2": "second degree AV block",
    "AVB3": "third degree AV block",
    "JR": "junctional rhythm, 40 to 100 a minute",
    "SVT": "supraventricular tachycardia",
    "EAR": "ectopic atrial rhythm",
    "LVH": "left ventricular hypertrophy",
    "LVS": "left ventricular hypertrophy with strain",
    "RVH": "right ventricular hypertrophy",
    "LAE": "left atrial enlargement",
    "RAE": "right atrial enlargement",
    "PRWP": "poor R wave progression",
    "PMI": "old posterior infarction",
    "AcuteMI": "acute infarction, ST elevation",
    "ISC": "ischaemia, ST depression",
    "ER": "early repolarisation",
    "PERI": "pericarditis",
    "WPW": "pre-excitation",
    "LPFB": "left posterior fascicular block",
    "ILBBB": "incomplete left bundle branch block",
    "HighK": "high potassium",
    "LowK": "low potassium",
    "DIG": "digoxin",
}

# At most one of each line is true of a heart. SA goes with SB, LAnFB with CRBBB, IAVB with LPR.
RHYTHMS = {"NSR", "SB", "STach", "AF", "AFL", "Brady", "PR", "AVB2", "AVB3", "JR", "SVT", "EAR"}
_ST = {"LVS", "AcuteMI", "ISC", "ER", "PERI", "HighK", "LowK", "DIG"}
_ONE_OF = (
    RHYTHMS,
    RHYTHMS - {"SB"} | {"SA"},
    {"CRBBB", "IRBBB", "LBBB", "NSIVCB", "ILBBB", "WPW"},
    {"IRBBB", "LBBB", "NSIVCB", "LAnFB", "LPFB", "ILBBB", "WPW"},
    {"LAD", "RAD"},
    {"LAnFB", "RAD"},
    {"LPFB", "LAD"},
    {"TAb", "TInv"},
    {"PAC", "PVC"},
    {"LVH", "LVS", "RVH", "LQRSV"},
    {"PRWP", "RVH"},
    {"PRWP", "PMI"},
    {"RVH", "LAD"},
    {"RVH", "LAnFB"},
    {"PMI", "QAb"},
    {"PRWP", "QAb"},
    _ST,
)
# What hides or excludes what: without P waves no PR interval and no atrial ectopic beat; a pacemaker's QRS says nothing
# about axis, conduction or T; a wide block makes ST and T its own; flutter covers T; a fast or very slow rate hides a
# long QT; a second or third degree block has no one PR interval.
_SHAPES = {"LVH", "LVS", "RVH", "PRWP", "PMI", "QAb", "TAb", "TInv", *_ST}
_WIDE = {*_SHAPES, "LQRSV", "LQT"}
_NO_PR = {"IAVB", "LPR", "PAC", "WPW", "LAE", "RAE"}
_NEVER = {
    "PR": {*CODES, *UNSCORED} - {"PR"},
    "Brady": {"IAVB", "LPR", "PAC", "PVC", "LQT", "WPW"},
    "AVB2": {*_NO_PR, "PVC", "LQT"},
    "AVB3": {*_NO_PR, "PVC", "LQT"},
    "JR": {*_NO_PR, "LQT"},
    "SVT": {*_NO_PR, "LQT", "PVC"},
    "EAR": {"IAVB", "LPR", "WPW", "LAE", "RAE"},
    "AF": _NO_PR,
    "AFL": {*_NO_PR, "PVC", "TAb", "TInv", "LQT", "QAb", *_ST},
    "LBBB": _WIDE | {"RAD"},
    "CRBBB": _WIDE - {"QAb"},
    "WPW": _WIDE | {"IAVB", "LPR"},
    "NSIVCB": {"LQRSV", "LQT"},
    "ILBBB": {"QAb", "RVH", "PMI", "PRWP", "LQRSV", "RAD"},
    "IRBBB": {"PMI"},
    "LPFB": {"LQRSV"},
    "QAb": {"LQRSV", "RVH"},
    "TAb": _ST,
    "TInv": _ST,
    "LQT": {"TAb", "TInv", *_ST},
    "STach": {"LQT"},
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
    """The abbreviation of a finding given as abbreviation or SNOMED CT code, equivalent codes included.

    Raises
    ------
    UserError
        If it is neither one of the 24 scored classes nor of the unscored findings.
    """
    name = _NAMES.get(EQUIVALENT.get(diagnosis, diagnosis), diagnosis)
    if name not in CODES and name not in UNSCORED:
        raise UserError(
            f"{diagnosis!r} cannot be made; the diagnoses are {', '.join(CODES)} and their codes, and "
            f"{', '.join(UNSCORED)}"
        )
    return name


def contradiction(findings: Iterable[str]) -> tuple[str, str] | None:
    """Two of the abbreviations that no heart shows together, or None."""
    findings = sorted(set(findings))
    for k, one in enumerate(findings):
        for other in findings[k + 1 :]:
            if contradict(one, other):
                return one, other
    return None


def contradict(one: str, other: str) -> bool:
    """Whether no heart shows both findings."""
    return (
        other in _NEVER.get(one, ())
        or one in _NEVER.get(other, ())
        or any(one in group and other in group for group in _ONE_OF)
    )


def random_diagnoses(rng: np.random.Generator) -> tuple[str, ...]:
    """Draws a plausible set of scored diagnoses (abbreviations): a rhythm, seldom more than two findings besides."""
    rhythm = str(rng.choice(list(_RHYTHM_SHARES), p=list(_RHYTHM_SHARES.values())))
    found = [rhythm, "SB"] if rhythm == "SA" and rng.uniform() < 0.25 else [rhythm]
    names = list(_OTHER_SHARES)
    for k in rng.permutation(len(names)):  # in any order: a finding that contradicts one before it gives way
        if rng.uniform() < _OTHER_SHARES[names[k]] and not contradiction([*found, names[k]]):
            found.append(names[k])
    if "LAnFB" in found and "LAD" not in found and rng.uniform() < 0.7:
        found.append("LAD")  # the block is a left axis deviation; not every reader writes both
    return tuple(found)
