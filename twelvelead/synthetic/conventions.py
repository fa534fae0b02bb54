"""What is written down of what is found: the whole truth, or what the annotators of one hospital write.

codes = truth(findings, rate)                          # everything that holds
codes = draw_convention(rng).written(findings, rate)   # as one hospital has it
labels = as_others_write(labels, codes, seed)          # real recordings, as annotators of other habits would write them
habits = habits_of_annotators(codes, others=0.5)        # the same as probabilities
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .diagnoses import CODES

SINUS = {"NSR", "SB", "STach", "SA"}
_SLOW = 50.0  # beats a minute, below which a rhythm that is not the sinus node's is a bradycardia
# Which findings annotators of public sources leave out as a whole, and how often; what is not here all of them write.
_LEFT_OUT = {
    "LAD": 0.3,
    "RAD": 0.3,
    "LQRSV": 0.4,
    "NSIVCB": 0.4,
    "QAb": 0.4,
    "TAb": 0.3,
    "TInv": 0.3,
    "LQT": 0.3,
    "LAnFB": 0.4,
    "IRBBB": 0.3,
    "LPR": 0.7,
    "Brady": 0.5,
    "PVC": 0.3,
    "SA": 0.3,
    "PR": 0.2,
    "AFL": 0.1,
    "SB": 0.1,
    "STach": 0.1,
}
# Where hospitals write sinus rhythm, and how many of them; see `Convention`.
_SINUS_WRITTEN = {"beside": 0.3, "always": 0.2, "alone": 0.4, "never": 0.1}


def truth(findings: frozenset[str], rate: float) -> tuple[str, ...]:
    """SNOMED CT codes of every scored class that holds, in the order of CODES.

    Sinus rhythm is among them whenever the sinus node leads at 100 a minute or less, whatever else is found; below 60
    it is sinus bradycardia, too, and above 100 sinus tachycardia alone. (In PTB-XL 612 recordings below 60 are called
    sinus rhythm, 69 of them bradycardia, too; of 153 tachycardias 58 are called sinus rhythm.) First degree block and
    prolonged PR interval are one finding.

    Parameters
    ----------
    findings : frozenset of str
        Abbreviations, scored or not.
    rate : float
        Of the ventricles, beats a minute.
    """
    held = set(findings)
    if held & {"SA", "SB"}:
        held.add("NSR")
    if held & {"IAVB", "LPR"}:
        held |= {"IAVB", "LPR"}
    if rate < _SLOW and not held & (SINUS | {"PR"}):
        held.add("Brady")
    return tuple(code for name, code in CODES.items() if name in held)


@dataclass(frozen=True)
class Convention:
    """How the annotators of a hospital write.

    Attributes
    ----------
    sinus : str
        Where sinus rhythm is written: "always" (beside bradycardia, tachycardia and arrhythmia of the sinus node, too),
        "beside" other diagnoses than these, "alone", or "never".
    left_out : frozenset of str
        Abbreviations of the classes that they never write.
    """

    sinus: str
    left_out: frozenset[str]

    def written(self, findings: frozenset[str], rate: float) -> tuple[str, ...]:
        """SNOMED CT codes that they write for these findings at this ventricular rate; see `truth`."""
        codes = [code for code in truth(findings, rate) if code not in {CODES[name] for name in self.left_out}]
        others = [code for code in codes if code != CODES["NSR"]]
        if self.sinus == "always":
            shown = bool(findings & SINUS)
        elif self.sinus == "beside":
            shown = "NSR" in findings
        else:
            shown = self.sinus == "alone" and not others and "NSR" in findings
        return (*others, CODES["NSR"]) if shown else tuple(others)


def draw_convention(rng: np.random.Generator) -> Convention:
    """A hospital's convention."""
    sinus = str(rng.choice(list(_SINUS_WRITTEN), p=list(_SINUS_WRITTEN.values())))
    return Convention(sinus, frozenset(name for name, share in _LEFT_OUT.items() if rng.uniform() < share))


def as_others_write(labels: np.ndarray, codes: Sequence[str], seed: int) -> np.ndarray:
    """The labels of real recordings as annotators of other hospitals might have written them.

    A convention is drawn for each recording. What it leaves out is taken away, and sinus rhythm stays beside another
    label only where the convention writes it there. Nothing is added: what the recording's own annotators did not write
    is not known.

    Parameters
    ----------
    labels : bool (recordings, classes)
        Not changed.
    codes : sequence of str
        SNOMED CT code of each class. Classes that are not among `CODES` stay as they are.
    seed : int

    Returns
    -------
    bool (recordings, classes)
    """
    rng = np.random.default_rng(seed)
    column = {name: codes.index(code) for name, code in CODES.items() if code in codes}
    result = np.array(labels, dtype=bool)
    sinus = column.get("NSR")
    for row in result:
        convention = draw_convention(rng)
        row[[column[name] for name in sorted(convention.left_out) if name in column]] = False
        if sinus is not None and (convention.sinus == "never" or (convention.sinus == "alone" and row.sum() > 1)):
            row[sinus] = False
    return result


def habits_of_annotators(codes: Sequence[str], others: float) -> list[tuple[float, np.ndarray, int | None]]:
    """Those who write what the model's own annotators write, and for the rest annotators of other hospitals.

    The others write as in `as_others_write`, here as probabilities. Each entry has the values of a
    `thresholds.expected.Habits`.

    Parameters
    ----------
    codes : sequence of str
        SNOMED CT code of each class.
    others : float
        Share of the others, from 0 to 1.
    """
    names = {code: name for name, code in CODES.items()}
    written = np.array([1 - _LEFT_OUT.get(names.get(code, ""), 0.0) for code in codes])
    own = (1 - others, np.ones(len(codes)), None)
    if CODES["NSR"] not in codes:
        return [own, (others, written, None)]
    sinus = codes.index(CODES["NSR"])
    without_sinus = written * (np.arange(len(codes)) != sinus)
    alone, never = _SINUS_WRITTEN["alone"], _SINUS_WRITTEN["never"]
    return [
        own,
        (others * (1 - alone - never), written, None),
        (others * alone, written, sinus),
        (others * never, without_sinus, None),
    ]
