"""Repairs of leads: missing limb leads, exchanged arm electrodes, gaps. Pure functions of arrays (12, samples)."""

from __future__ import annotations

import math

import numpy as np

from ..data.leads import CHEST_LEADS, LEADS, LIMB_FROM_I_II

# What an exchange of the right and left arm electrodes does to the leads, float32 (12, 12): I is turned over, II and
# III change places, and so do aVR and aVL. Chest leads stay, because they are measured against the mean of the three
# limbs.
ARM_REVERSAL = np.eye(len(LEADS), dtype=np.float32)[[0, 2, 1, 4, 3, 5, *CHEST_LEADS]]
ARM_REVERSAL[0, 0] = -1
OPPOSITE = -0.5  # correlation of I with V5 + V6 below which the arm electrodes are taken for exchanged


def undo_arm_reversal(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undoes an exchange of the arm electrodes where there is one.

    Leads I, V5 and V6 look at the heart from the same side. Where I is opposed to V5 and V6 (correlation below
    `OPPOSITE`) the arm electrodes are taken for exchanged. That was so in 0.6 % of 4,115 recordings of the Challenge,
    and in 92 % of them after their arms had been exchanged on purpose.

    Parameters
    ----------
    signal : ndarray, float32, (12, samples)
        About zero, in any unit.
    present : ndarray, bool, (12,)

    Returns
    -------
    signal, present : ndarray
        The arguments themselves, or corrected copies.
    """
    left = signal[10] + signal[11]
    norm = math.sqrt(float(signal[0] @ signal[0]) * float(left @ left))
    if norm == 0 or float(signal[0] @ left) >= OPPOSITE * norm:
        return signal, present
    return ARM_REVERSAL @ signal, present @ (ARM_REVERSAL != 0)


def fill_gaps(lead: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """A lead with its gaps filled by linear interpolation, at its ends by the nearest value.

    Parameters
    ----------
    lead : ndarray, float, (samples,)
    gaps : ndarray, bool, (samples,)
        True where a sample is missing. If all are, zeros come back.
    """
    if gaps.all():
        return np.zeros_like(lead)
    known = np.flatnonzero(~gaps)
    return np.interp(np.arange(len(lead)), known, lead[known]).astype(lead.dtype)


def derive_limb_leads(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes missing limb leads (the first six rows) from any two that are present.

    Parameters
    ----------
    signal : ndarray, float32, (12, samples)
        Without NaN; in any unit.
    present : ndarray, bool, (12,)

    Returns
    -------
    signal, present : ndarray
        Copies, or the arguments themselves if nothing is missing or fewer than two limb leads are present.
    """
    have = np.flatnonzero(present[:6])
    lost = np.flatnonzero(~present[:6])
    if len(lost) == 0 or len(have) < 2:
        return signal, present
    signal, present = signal.copy(), present.copy()
    pair = have[:2]
    signal[lost] = (LIMB_FROM_I_II[lost] @ np.linalg.inv(LIMB_FROM_I_II[pair])).astype(np.float32) @ signal[pair]
    present[lost] = signal[lost].max(axis=1) > signal[lost].min(axis=1)
    signal[lost[~present[lost]]] = 0
    return signal, present
