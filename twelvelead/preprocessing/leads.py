"""Leads: limb leads from each other, exchanged arm electrodes, gaps. Pure functions of arrays (12, samples)."""

from __future__ import annotations

import math

import numpy as np

from ..data.leads import LEADS, LIMB_FROM_I_II

# Right and left arm electrodes exchanged: I is −I, II and III change places, and so do aVR and aVL. The chest leads,
# which are measured against the mean of the three limbs, stay.
ARM_REVERSAL = np.eye(len(LEADS), dtype=np.float32)[[0, 2, 1, 4, 3, 5, *range(6, 12)]]
ARM_REVERSAL[0, 0] = -1
OPPOSITE = -0.5


def undo_arm_reversal(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undoes an exchange of the arm electrodes; signal (12, samples) about zero and presence (12,), as they are or set right.

    Leads I and V5, V6 look at the heart from the same side. Where I goes against them (correlation below −0.5), the
    arms were exchanged: so it was in 0.6 % of 4,115 recordings of the Challenge as they are, and in 92 % after an
    exchange.
    """
    left = signal[10] + signal[11]
    norm = math.sqrt(float(signal[0] @ signal[0]) * float(left @ left))
    if norm == 0 or float(signal[0] @ left) >= OPPOSITE * norm:
        return signal, present
    return ARM_REVERSAL @ signal, present @ (ARM_REVERSAL != 0)


def fill_gaps(lead: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Linear interpolation over the samples marked in `gaps`, the nearest value at the ends, zeros if all are."""
    if gaps.all():
        return np.zeros_like(lead)
    at = np.flatnonzero(~gaps)
    return np.interp(np.arange(len(lead)), at, lead[at]).astype(lead.dtype)


def derive_limb_leads(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fills missing limb leads (the first six rows) from any two that are present; returns signal and presence.

    With fewer than two limb leads nothing can be derived and both come back as they are.
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
