"""Findings as they occur together in hospital patients: a rhythm, diseases of the muscle, blocks, ectopic beats.

    findings = draw_findings(rng)      # a frozenset of abbreviations, scored and unscored, that no heart contradicts

Rare findings are drawn several times as often as they occur, so that a network sees enough of them. What goes with what
was counted in PTB-XL (strat_fold 1 to 8) and checked with Surawicz, Knilans: Chou's Electrocardiography in Clinical
Practice (6th edition): old infarctions have blocks and a left axis, fibrillation and blocks come with age, hypertrophy
comes with strain.
"""

from __future__ import annotations

import numpy as np

from .diagnoses import contradict

_RHYTHM_SHARES = {
    "NSR": 0.455,
    "SB": 0.09,
    "STach": 0.085,
    "SA": 0.08,
    "AF": 0.105,
    "AFL": 0.05,
    "PR": 0.05,
    "AVB2": 0.015,
    "AVB3": 0.015,
    "JR": 0.025,
    "SVT": 0.015,
    "EAR": 0.015,
}
# Probability of each other finding in a heart without another disease.
_SHARES = {
    "LVH": 0.05,
    "LVS": 0.05,
    "RVH": 0.03,
    "QAb": 0.10,
    "PRWP": 0.04,
    "PMI": 0.015,
    "AcuteMI": 0.035,
    "ISC": 0.05,
    "ER": 0.03,
    "PERI": 0.01,
    "WPW": 0.015,
    "HighK": 0.012,
    "LowK": 0.015,
    "DIG": 0.015,
    "TAb": 0.10,
    "TInv": 0.07,
    "CRBBB": 0.06,
    "IRBBB": 0.08,
    "LBBB": 0.055,
    "NSIVCB": 0.07,
    "ILBBB": 0.015,
    "LAnFB": 0.07,
    "LPFB": 0.015,
    "IAVB": 0.10,
    "PAC": 0.12,
    "PVC": 0.08,
    "LQRSV": 0.07,
    "LQT": 0.06,
    "LAD": 0.09,
    "RAD": 0.05,
    "LAE": 0.04,
    "RAE": 0.015,
}
# Factors on these where another finding is there.
_MORE = {
    "AF": {"LVS": 1.5, "ISC": 2.0, "DIG": 5.0, "PVC": 1.8, "TAb": 1.5, "CRBBB": 1.3, "LAD": 1.5},
    "QAb": {"ISC": 1.5, "TInv": 2.0, "TAb": 1.5, "PVC": 1.5, "LVH": 1.2, "NSIVCB": 2.0, "LAD": 1.5, "CRBBB": 1.3},
    "LVH": {"LAD": 1.5, "LAE": 4.0, "PVC": 1.3, "TAb": 1.3},
    "LVS": {"LAD": 1.5, "LAE": 4.0, "PVC": 1.3, "NSIVCB": 1.5},
    "RVH": {"IRBBB": 5.0, "RAD": 8.0, "RAE": 10.0, "LPFB": 4.0, "CRBBB": 2.0},
    "LBBB": {"LAD": 4.0, "IAVB": 2.5, "LAE": 2.5},
    "CRBBB": {"LAnFB": 4.0, "IAVB": 1.8, "LPFB": 5.0},
    "LAnFB": {"IAVB": 2.0, "PRWP": 2.0},
    "IAVB": {"LAE": 3.0, "LAnFB": 2.0},
    "ISC": {"PVC": 1.5},
    "NSIVCB": {"LVS": 1.5, "PRWP": 1.5, "LVH": 1.5},
    "STach": {"ISC": 1.3, "RAD": 1.3},
    "SVT": {"ISC": 3.0},
    "AVB2": {"CRBBB": 2.0, "LBBB": 2.0},
    "AVB3": {"CRBBB": 3.0, "LBBB": 2.0},
}
HEALTHY = 0.22  # of the hearts have nothing but their rhythm


def draw_findings(rng: np.random.Generator) -> frozenset[str]:
    """Abbreviations of everything that is found in one patient; exactly one of them is a rhythm or sinus arrhythmia."""
    rhythm = str(rng.choice(list(_RHYTHM_SHARES), p=list(_RHYTHM_SHARES.values())))
    found = [rhythm, "SB"] if rhythm == "SA" and rng.uniform() < 0.2 else [rhythm]
    if rng.uniform() < HEALTHY:
        return frozenset(found)
    names = list(_SHARES)
    for k in rng.permutation(len(names)):  # in any order: a finding that contradicts one before it gives way
        name = names[k]
        share = _SHARES[name]
        for other in found:
            share *= _MORE.get(other, {}).get(name, 1.0)
        if rng.uniform() < share and not any(contradict(name, other) for other in found):
            found.append(name)
    if "LAnFB" in found and "LAD" not in found:
        found.append("LAD")  # the block is a left axis deviation
    if "LPFB" in found and "RAD" not in found:
        found.append("RAD")
    if "IAVB" in found and "LPR" not in found:
        found.append("LPR")  # a first degree block is a prolonged PR interval
    return frozenset(found)
