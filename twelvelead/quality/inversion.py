"""Leads that are upside down: all of them, one limb lead, or one chest lead.

    all_leads_inverted(beat, view.present)      # "certain", "suspected" or "no"
    inverted_leads(view)                        # ("aVL",)

Every limit here was set with 5,308 real recordings of six sources, mostly PTB-XL, as they are and with leads turned
over; docs/predict.md has the figures, and benchmarks/quality.py measures them.
"""

from __future__ import annotations

import numpy as np

from ..data.leads import LEADS, LIMB_FROM_I_II
from .beats import QRS, P, T, View, wave_sizes

# In a heart that lies as usual, P and QRS point up in I, II, V5 and V6 and down in aVR.
_UPRIGHT = np.array([LEADS.index(lead) for lead in ("I", "II", "aVR", "V5", "V6")])
_SIGN = np.array([1, 1, -1, 1, 1])
_FRONTAL = slice(0, 3)  # I, II and aVR among them
# Share by which the recorded leads may differ from Einthoven's law, III = II − I. Real recordings reach 0.01.
_EINTHOVEN = 0.2
_CHEST = range(LEADS.index("V2"), LEADS.index("V6"))


def all_leads_inverted(beat: np.ndarray | None, present: np.ndarray) -> str:
    """Whether a whole recording is upside down, as it is when a program exchanges the poles of the amplifier.

    "certain" if in the average beat P points down in I and II and up in aVR, and QRS points the wrong way in I, II,
    aVR, V5 and V6, or in four of them while T, summed over these leads, does so too. That is true of none of the 5,304
    real recordings that have these leads, so it is wrong in less than 0.06 % of recordings of that kind (95 %), and of
    85 % of them once all their leads are turned over: of 91 % with sinus rhythm and 30 % with atrial fibrillation,
    which has no P wave.

    "suspected" if QRS points the wrong way in all five leads and nothing else says so. That is true of 0.2 % of the
    recordings as they are, with a heart on the right side or an unusual axis.

    Parameters
    ----------
    beat : float (12, samples) or None
        See beats.average_beat.
    present : bool (12,)

    Returns
    -------
    str
        "certain", "suspected" or "no"; always "no" where one of the five leads is missing.
    """
    if beat is None or not present[_UPRIGHT].all():
        return "no"
    p, qrs, t = (wave_sizes(beat[_UPRIGHT], wave) * _SIGN for wave in (P, QRS, T))
    wrong = int((qrs < 0).sum())
    if (p[_FRONTAL] < 0).all() and (wrong == len(qrs) or (wrong == len(qrs) - 1 and t.sum() < 0)):
        return "certain"
    return "suspected" if wrong == len(qrs) else "no"


def inverted_leads(view: View) -> tuple[str, ...]:
    """Single leads that are upside down, as the other leads say.

    Limb leads follow from each other exactly. A chest lead lies between two others, and looks at the heart from between
    them: V2 to V5 are taken for upside down if they run against both neighbours, which run with each other, and V6 if
    it runs against V5 alone. No real recording of 5,308 has such a lead. Of V3, V4, V5 and V6 that were turned over on
    purpose, 44, 62, 84 and 88 % are noticed; V1 is not looked at.
    """
    return (*_inverted_limb_leads(view), *_inverted_chest_leads(view))


def _inverted_limb_leads(view: View) -> list[str]:
    if not view.present[:6].all():
        return []
    limb = view.signal_mv[:6].astype(np.float64)
    size = float(np.sqrt((limb**2).mean()))
    if size == 0:
        return []

    def misfit(leads: np.ndarray) -> float:
        """How far III is from II − I, relative to the size of the limb leads."""
        return float(np.sqrt(((leads[2] - (leads[1] - leads[0])) ** 2).mean()) / size)

    if misfit(limb[:3]) > _EINTHOVEN:
        flips = [k for k in range(3) if misfit(limb[:3] * np.where(np.arange(3) == k, -1, 1)[:, None]) < _EINTHOVEN / 4]
        return [LEADS[k] for k in flips] if len(flips) == 1 else []
    wanted = LIMB_FROM_I_II @ limb[:2]
    return [LEADS[k] for k in range(3, 6) if _correlation(limb[k], wanted[k]) < -0.9]


def _inverted_chest_leads(view: View) -> list[str]:
    signal, present = view.signal_mv, view.present
    inverted = []
    for k in _CHEST:
        if present[k - 1 : k + 2].all():
            before, after = _correlation(signal[k], signal[k - 1]), _correlation(signal[k], signal[k + 1])
            if max(before, after) < -0.5 and _correlation(signal[k - 1], signal[k + 1]) > 0.5:
                inverted.append(LEADS[k])
    if present[9:].all() and _correlation(signal[11], signal[10]) < -0.8 and _correlation(signal[10], signal[9]) > 0.5:
        inverted.append("V6")
    return inverted


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two leads about zero; 0 where one of them is flat."""
    norm = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / norm if norm > 0 else 0.0
