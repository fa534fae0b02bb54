"""What no recording of a heart is like: notes for whoever classifies or trains, since a header may be wrong.

    notes = implausible(recording)

Reading takes files literally, as WFDB does. A gain in microvolts that a header calls millivolts, a sampling frequency
of 1 Hz or a lead that is a copy of another can only be told by the result. It cannot be known what the files should
have said, so nothing is changed.
"""

from __future__ import annotations

import numpy as np

from .leads import LEADS
from .recording import Recording

# Standard deviation of a lead in millivolts, the median over the leads that change. In 5,308 recordings of six sources
# it lies between 0.04 and 1.7 mV. Volts or microvolts that are taken for millivolts lie outside these bounds.
LEAST_MV, MOST_MV = 0.002, 100.0
LEAST_HZ = 25.0  # at a lower sampling frequency, a QRS complex is a sample or two
LEAST_SECONDS = 0.5  # a shorter recording need not hold a single heartbeat
_STEP = 16  # every sixteenth sample is enough for an amplitude


def implausible(recording: Recording) -> list[str]:
    """One sentence for each thing about a recording that no heart and no recorder makes; empty for a usual one.

    Only the twelve standard leads count. Leads that are flat or missing are not looked at: `prepare` treats them.
    """
    notes = []
    if recording.frequency_hz < LEAST_HZ:
        notes.append(f"a sampling frequency of {recording.frequency_hz:g} Hz is too low for an ECG: it may be wrong")
    seconds = recording.signal_mv.shape[1] / recording.frequency_hz
    if seconds < LEAST_SECONDS:
        notes.append(f"{seconds:.2g} s are too short for a heartbeat")
    signal_mv = recording.signal_mv[: sum(lead in LEADS for lead in recording.leads)]
    if not signal_mv.size:
        return notes
    deviations = _deviations(signal_mv[:, ::_STEP])
    changing = deviations > 0
    if not changing.any():
        return notes
    typical = float(np.median(deviations[changing]))
    if not LEAST_MV <= typical <= MOST_MV:
        notes.append(
            f"the leads deviate by {typical:.2g} mV from their means, as no heart makes: the gain may be wrong"
        )
    copies = _copies(signal_mv, np.flatnonzero(changing), deviations)
    if copies:
        names = "; ".join(" = ".join(recording.leads[row] for row in rows) for rows in copies)
        notes.append(f"leads with exactly the same signal: {names}")
    return notes


def _deviations(signal_mv: np.ndarray) -> np.ndarray:
    """Standard deviation of each row, (leads,), without missing samples; 0 where all are missing."""
    samples = np.ascontiguousarray(signal_mv.T)
    samples = samples - samples[:1]  # an offset would cost single precision
    deviations = samples.std(axis=0)
    if not np.isnan(deviations).any():
        return deviations
    samples = signal_mv.T.astype(np.float64)
    known = ~np.isnan(samples)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, samples, 0).sum(axis=0) / counts
    return np.sqrt((np.where(known, samples - means, 0) ** 2).sum(axis=0) / counts)


def _copies(signal_mv: np.ndarray, rows: np.ndarray, deviations: np.ndarray) -> list[list[int]]:
    """Groups of rows that are equal in every sample."""
    of_deviation: dict[float, list[int]] = {}
    for row in rows:
        of_deviation.setdefault(float(deviations[row]), []).append(int(row))
    groups: list[list[int]] = []
    for alike in of_deviation.values():
        while len(alike) > 1:
            first, *others = alike
            same = [row for row in others if np.array_equal(signal_mv[row], signal_mv[first], equal_nan=True)]
            if same:
                groups.append([first, *same])
            alike = [row for row in others if row not in same]
    return groups
