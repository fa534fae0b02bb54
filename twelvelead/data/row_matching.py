"""Which row of a matrix of samples is which lead of a header.

    rows, signals = match_rows(matrix, header.signals, header.n_samples, "A0001.mat", notes)

Usually row k is line k. Where there are more or fewer rows than lines, the rows are told apart by the first samples and
the checksums that lines give; a guess would call a lead by another's name, so without these there is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import RecordingError
from .leads import LEADS
from .signal_lines import Signal


class Block(NamedTuple):
    """Signals that are stored in one way and at one sampling frequency."""

    samples: np.ndarray  # ADC units, numbers (signals, samples)
    signals: list[Signal]


def match_rows(
    matrix: np.ndarray, signals: Sequence[Signal], n_frames: int, where: str, notes: list[str]
) -> list[Block]:
    """The signals that are the rows of a matrix of numbers (leads, samples).

    A matrix that is turned over, (samples, leads), is turned back. Null signals have a row or none. Of a record with
    several samples a frame the matrix may hold frames or rows.

    Raises
    ------
    RecordingError
        If the matrix is no such table, is empty, or it cannot be known which rows are which leads.
    """
    if matrix.ndim == 1 and len(signals) == 1:
        matrix = matrix[np.newaxis]
    if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise RecordingError(f"{where}: the signal must be numbers (leads, samples), not {matrix.dtype} {matrix.shape}")
    stored = [signal for signal in signals if not signal.is_null]
    width = sum(signal.samples_per_frame for signal in stored)
    if width > len(stored) and width in matrix.shape:
        return split_frames(matrix if matrix.shape[0] == width else matrix.T, stored)
    if matrix.shape[1] in (len(signals), len(stored)) and matrix.shape[1] < matrix.shape[0]:
        matrix = matrix.T
        notes.append("the signal was (samples, leads)")
    if not stored or not matrix.size:
        raise RecordingError(
            f"{where}: the signal is empty: {len(stored)} leads in the header, "
            f"{matrix.shape[0]} rows and {matrix.shape[1]} samples in the signal"
        )
    _check_frames(stored, matrix.shape[1], n_frames, where)
    if len(matrix) == len(stored):
        matrix = _in_order_of_lines(matrix, stored, notes)
    if len(matrix) == len(signals):
        kept = [row for row, signal in enumerate(signals) if not signal.is_null]
        return [Block(matrix if len(kept) == len(matrix) else matrix[kept], stored)]
    if len(matrix) == len(stored):
        return [Block(matrix, stored)]
    difference = f"the header has {len(stored)} leads, the signal {len(matrix)} rows"
    matched = match_by_samples(matrix, stored)
    if matched:
        notes.append(f"{difference}: told apart by first samples and checksums")
        return [matched]
    if len(stored) < len(matrix) < matrix.shape[1] and tuple(signal.lead for signal in stored) == LEADS[: len(stored)]:
        notes.append(f"{difference}: read were the first {len(stored)}")
        return [Block(matrix[: len(stored)], stored)]
    raise RecordingError(f"{where}: {difference}: which rows are which leads cannot be known")


def _in_order_of_lines(matrix: np.ndarray, signals: Sequence[Signal], notes: list[str]) -> np.ndarray:
    """The rows in the order of the header's lines if first samples and checksums prove that they lie in another."""
    if all(float(first) == signal.initial for first, signal in zip(matrix[:, 0], signals)):
        return matrix
    matched = match_by_samples(matrix, signals)
    if matched is None or matched.signals == list(signals):
        return matrix
    row_of = {id(signal): row for row, signal in zip(matched.samples, matched.signals)}
    notes.append("the signal's rows are not in the order of the header's lines: told by first samples and checksums")
    return np.stack([row_of[id(signal)] for signal in signals])


def split_frames(matrix: np.ndarray, signals: Sequence[Signal]) -> list[Block]:
    """Signals out of a matrix (samples of a frame, frames), where each signal has its number of samples in a frame."""
    if len(matrix) == len(signals):
        return [Block(matrix, list(signals))]
    ends = np.cumsum([signal.samples_per_frame for signal in signals])
    parts = np.split(matrix, ends[:-1])
    return [Block(part.T.reshape(1, -1), [signal]) for part, signal in zip(parts, signals)]


def _check_frames(signals: Sequence[Signal], n_samples: int, n_frames: int, where: str) -> None:
    """A matrix with a row for each lead can hold several samples a frame if their number is the same for all leads."""
    per_frame = {signal.samples_per_frame for signal in signals}
    if per_frame == {1}:
        return
    if len(per_frame) > 1 or (n_frames and n_samples != n_frames * per_frame.pop()):
        raise RecordingError(
            f"{where}: the header says several samples a frame, which the signal with {n_samples} samples does not hold"
        )


def match_by_samples(rows: np.ndarray, signals: Sequence[Signal]) -> Block | None:
    """The rows that are one of the signals, and these, by first sample and checksum.

    None unless each of the fewer, rows or signals, fits exactly one of the others.
    """
    facts = [_facts(row) for row in rows]
    fits = np.array([[_fits(signal, fact) for signal in signals] for fact in facts])
    fewer = 1 if len(rows) <= len(signals) else 0
    if (fits.sum(axis=fewer) != 1).any() or (fits.sum(axis=1 - fewer) > 1).any():
        return None
    pairs = np.argwhere(fits)
    return Block(rows[pairs[:, 0]], [signals[k] for k in pairs[:, 1]])


def _fits(signal: Signal, facts: tuple[int, int] | None) -> bool:
    return facts is not None and signal.checksum is not None and facts == (signal.initial, signal.checksum % 65536)


def _facts(row: np.ndarray) -> tuple[int, int] | None:
    """First sample and sum of all samples modulo 65,536; None if they are no whole numbers."""
    if row.dtype.kind == "f" and not (np.abs(row) < 2.0**31).all():  # NaN too
        return None
    if row.dtype.kind == "f" and (row != np.floor(row)).any():
        return None
    return int(row[0]), int(row.astype(np.int64).sum()) % 65536
