"""An array of numbers, and what is known about it, to a `Recording` in millivolts.

recording = recording_of(signal, Told(500, LEADS, "mV", age_years=63, sex="female"))
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..data import limits
from ..data.recording import Recording
from ..data.still import mark_still
from ..data.units import ordered
from ..errors import RecordingError
from .told import Told, checked


def recording_of(
    signal: np.ndarray, told: Told, name: str = "signal", notes: tuple[str, ...] = (), where: str | None = None
) -> Recording:
    """The recording of an array.

    Parameters
    ----------
    signal : array of numbers, (leads, samples) or (samples, leads)
        NaN where a sample is missing. Which axis is which follows from the number of leads.
    told : Told
        Must have frequency, leads and unit.
    name : str
        What the recording is called.
    notes : tuple of str
        What is already known of how the signal was read.
    where : str, optional
        What error messages call it; by default its name.

    Raises
    ------
    RecordingError
        If something that must be known is not told, or the array does not fit it.
    UserError
        If a value that is told is out of its range.
    """
    told, where = checked(told), where or name
    per_mv = told.per_mv
    if told.frequency_hz is None or told.leads is None or per_mv is None:
        raise RecordingError(f"{where}: {what_is_missing(told)}")
    try:
        values = np.asarray(signal)
    except ValueError:
        raise RecordingError(f"{where}: the rows of the signal differ in length") from None
    said = list(notes)
    matrix = _rows_of_leads(values, len(told.leads), where, said)
    with np.errstate(over="ignore", invalid="ignore"):
        signal_mv = (matrix.T.astype(np.float64) / per_mv).astype(np.float32).T
    signal_mv[~np.isfinite(signal_mv)] = np.nan
    leads = ordered(told.leads)
    if leads != told.leads:
        signal_mv = np.take(signal_mv.T, [told.leads.index(lead) for lead in leads], axis=1).T
    missing = np.count_nonzero(np.isnan(signal_mv))
    if missing:
        said.append(f"{missing} of {signal_mv.size} samples are missing")
    mark_still(signal_mv, leads, told.frequency_hz, said)
    age = math.nan if told.age_years is None else float(told.age_years)
    return Recording(
        name, signal_mv, leads, float(told.frequency_hz), age, told.sex or "unknown", codes=(), notes=tuple(said)
    )


def what_is_missing(told: Told) -> str:
    """What must be told besides, and how, as the end of an error message."""
    missing = [
        words
        for value, words in (
            (told.frequency_hz, "the sampling frequency (--frequency-hz 500)"),
            (told.leads, "the leads (--leads I,II,V1 in the file's order, or --leads standard for the usual twelve)"),
            (told.unit, "the unit (--unit mV, uV, or adc with --adc-per-mv)"),
        )
        if value is None
    ]
    return f"it does not say {'; '.join(missing)}; say so, since none of it is guessed"


def with_person(recording: Recording, told: Told) -> Recording:
    """The recording with the age and the sex that are told; a note says where the file has another one."""
    changes: dict[str, object] = {}
    notes = list(recording.notes)
    if told.age_years is not None:
        known = math.isfinite(recording.age_years)
        if known and recording.age_years != told.age_years:
            notes.append(
                f"the file says {recording.age_years:g} years, taken were the {told.age_years:g} that were told"
            )
        changes["age_years"] = float(told.age_years)
    if told.sex is not None:
        if recording.sex not in ("unknown", told.sex):
            notes.append(f"the file says {recording.sex}, taken was {told.sex}, as told")
        changes["sex"] = told.sex
    return replace(recording, notes=tuple(notes), **changes) if changes else recording  # type: ignore[arg-type]  # keys are fields


def _rows_of_leads(values: np.ndarray, n_leads: int, where: str, notes: list[str]) -> np.ndarray:
    """The array as (leads, samples)."""
    if values.ndim == 3 and 1 in values.shape:
        values = values.squeeze()
    if values.ndim == 1 and n_leads == 1:
        values = values[np.newaxis]
    if values.dtype.kind not in "iuf" or values.ndim != 2 or not values.size:
        raise RecordingError(
            f"{where}: the signal must be a table of numbers, (leads, samples), not {values.dtype} {values.shape}"
        )
    if values.size > limits.VALUES:
        raise RecordingError(f"{where}: {values.size} numbers are more than a recording may have")
    if values.shape[0] == n_leads:
        return values
    if values.shape[1] == n_leads:
        notes.append("the signal was (samples, leads)")
        return values.T
    raise RecordingError(f"{where}: {n_leads} leads are told, but the signal has the shape {values.shape}")
