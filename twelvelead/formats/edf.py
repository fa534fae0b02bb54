"""EDF and BDF recordings, read by edfio (`pip install "twelvelead[formats]"`)."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import limits
from ..data.leads import LEADS, lead_names
from ..data.recording import Recording
from ..data.resampling import resample
from ..errors import RecordingError, UserError
from .arrays import recording_of
from .tables import agreed, stem_of
from .told import PER_MV, Told, first_line

_YEAR_DAYS = 365.25


def read_edf(data: bytes, path: str, told: Told) -> Recording:
    """The recording of an EDF or BDF file: leads by their labels, the unit of each, age and sex where they are told.

    Raises
    ------
    UserError
        If edfio is not installed.
    RecordingError
        If the file is damaged, or no signal is called like one of the twelve leads.
    """
    try:
        import edfio
    except ImportError:
        raise UserError(f'{path}: EDF needs the package edfio; pip install "twelvelead[formats]"') from None
    notes: list[str] = []
    try:
        # A BDF file has other samples than an EDF file, but the same attributes.
        file: Any = edfio.read_bdf(data) if data[:1] == b"\xff" else edfio.read_edf(data)
        signals = list(file.signals)
        labels = tuple(signal.label for signal in signals)
        told = _told_by_patient(file, told)
        chosen, leads = _chosen(labels, path, notes)
        frequencies = [float(signals[k].sampling_frequency) for k in chosen]
        per_mv = [_per_mv(signals[k].physical_dimension, told, labels[k], path) for k in chosen]
        count = sum(len(signals[k].digital) for k in chosen)
        if count > limits.VALUES:
            raise RecordingError(f"{path}: {count} samples are more than a recording may have; cut a part out of it")
        rows = [np.asarray(signals[k].data, dtype=np.float64) / unit for k, unit in zip(chosen, per_mv)]
    except (UserError, RecordingError):
        raise
    except Exception as error:  # whatever a damaged header makes of edfio
        raise RecordingError(f"{path}: the EDF file cannot be read ({first_line(error)})") from None
    frequency = max(frequencies)
    rows = [
        row if hz == frequency else resample(row[np.newaxis].astype(np.float32), hz, frequency)[0]
        for row, hz in zip(rows, frequencies)
    ]
    if len(set(frequencies)) > 1:
        notes.append(f"leads of other sampling frequencies were resampled to {frequency:g} Hz")
    agreed(told.frequency_hz, frequency, "sampling frequency in Hz", path, [])  # every file tells it: no note
    length = min(map(len, rows))
    signal_mv = np.stack([row[:length] for row in rows])
    told = replace(told, frequency_hz=frequency, leads=leads, unit="mV", adc_per_mv=None)
    return recording_of(signal_mv, told, stem_of(path), tuple(notes), path)


def _chosen(labels: tuple[str, ...], path: str, notes: list[str]) -> tuple[list[int], tuple[str, ...]]:
    """The places and names of the signals that are standard leads."""
    read = lead_names(labels)
    chosen = [k for k, lead in enumerate(read) if lead.known and not lead.inverted]
    names = [read[k].name for k in chosen]
    chosen = [k for place, k in enumerate(chosen) if names.index(names[place]) == place]
    if not chosen:
        raise RecordingError(
            f"{path}: no signal is called like one of the leads {', '.join(LEADS)}; "
            f"they are called {', '.join(map(repr, labels[:12]))}"
        )
    left_out = [label for k, label in enumerate(labels) if k not in chosen]
    if left_out:
        notes.append(f"signals left out: {', '.join(map(repr, left_out[:12]))}")
    return chosen, tuple(read[k].name for k in chosen)


def _per_mv(dimension: str, told: Told, label: str, path: str) -> float:
    """How many of the file's units are one millivolt; where the file does not say, the unit that is told counts."""
    unit = dimension.strip().lower()
    if unit in PER_MV:
        return PER_MV[unit]
    if unit == "" and told.per_mv is not None:
        return told.per_mv
    raise RecordingError(
        f"{path}: the unit of {label!r} is {dimension!r}, which is no voltage; "
        + ("say which it is (--unit)" if unit == "" else "write it again in mV or uV")
    )


def _told_by_patient(file: Any, told: Told) -> Told:
    """Age and sex from the header, where the caller says nothing; headers are often anonymised or malformed."""
    try:
        sex = {"F": "female", "M": "male"}.get(file.patient.sex or "")
        told = told.or_else(None, sex)
        birth, start = file.patient.birthdate, file.startdate
        if isinstance(birth, datetime.date) and isinstance(start, datetime.date):
            age = math.floor((start - birth).days / _YEAR_DAYS)
            told = told.or_else(float(age) if 0 <= age <= 120 else None, None)
    except Exception:  # edfio raises errors of several kinds for dates that are left out or anonymised
        return told
    return told
