"""DICOM waveforms, read by pydicom (`pip install "twelvelead[formats]"`)."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import limits
from ..data.comments import parse_age, parse_sex
from ..data.leads import LEADS, lead_names
from ..data.recording import Recording
from ..errors import RecordingError, UserError
from .arrays import recording_of
from .tables import agreed, stem_of
from .told import PER_MV, Told, first_line


def read_dicom(data: bytes, path: str, told: Told) -> Recording:
    """The recording of a DICOM file: the multiplex group with the most standard leads, the first if there are several.

    Raises
    ------
    UserError
        If pydicom is not installed.
    RecordingError
        If the file is damaged, holds no waveform (a picture, for instance), or no channel is one of the twelve leads.
    """
    try:
        import pydicom
    except ImportError:
        raise UserError(f'{path}: DICOM needs the package pydicom; pip install "twelvelead[formats]"') from None
    notes: list[str] = []
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        groups = list(dataset.get("WaveformSequence", ()))
        if not groups:
            kind = dataset.get("SOPClassUID")
            name = getattr(kind, "name", None) or "an unknown class"
            raise RecordingError(f"{path}: this DICOM file holds no waveform, it is of the class {name}")
        labels = [_labels(group) for group in groups]
        counts = [sum(lead.known for lead in lead_names(names)) for names in labels]
        number = counts.index(max(counts))
        if not counts[number]:
            raise RecordingError(
                f"{path}: no channel is called like one of the leads {', '.join(LEADS)}; "
                f"they are called {', '.join(map(repr, labels[0][:12]))}"
            )
        if len(groups) > 1:
            notes.append(f"waveform {number + 1} of {len(groups)} was read")
        group = groups[number]
        size = int(group.NumberOfWaveformSamples) * int(group.NumberOfWaveformChannels)
        if size > limits.VALUES:
            raise RecordingError(f"{path}: {size} samples are more than a recording may have")
        samples = dataset.waveform_array(number).T
        units = [_unit(channel) for channel in group.ChannelDefinitionSequence]
        frequency = float(group.SamplingFrequency)
        told = _told_by_patient(dataset, told)
    except (UserError, RecordingError):
        raise
    except Exception as error:  # whatever a damaged file makes of pydicom
        raise RecordingError(f"{path}: the DICOM file cannot be read ({first_line(error)})") from None
    agreed(told.frequency_hz, frequency, "sampling frequency in Hz", path, [])  # every file tells it: no note
    rows, leads = _leads_of(samples, labels[number], units, told, path)
    told = replace(told, frequency_hz=frequency, leads=leads, unit="mV", adc_per_mv=None)
    return recording_of(rows, told, stem_of(path), tuple(notes), path)


def _leads_of(
    samples: np.ndarray, labels: tuple[str, ...], units: list[str], told: Told, path: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The channels that are standard leads, in millivolts."""
    rows: dict[str, np.ndarray] = {}
    for lead, unit, row, label in zip(lead_names(labels), units, samples, labels):
        if not lead.known or lead.inverted or lead.name in rows:
            continue
        per_mv = PER_MV.get(unit.lower())
        if per_mv is None and not unit:
            per_mv = told.per_mv
        if per_mv is None:
            raise RecordingError(f"{path}: the unit of {label!r} is {unit!r}, which is no voltage; say it with --unit")
        rows[lead.name] = row.astype(np.float64) / per_mv
    return np.stack(list(rows.values())), tuple(rows)


def _labels(group: Any) -> tuple[str, ...]:
    """What the channels of a multiplex group are called."""
    labels = []
    for channel in group.ChannelDefinitionSequence:
        sources = channel.get("ChannelSourceSequence") or ()
        meaning = str(sources[0].get("CodeMeaning", "")) if sources else ""
        labels.append(meaning or str(channel.get("ChannelLabel", "")))
    return tuple(labels)


def _unit(channel: Any) -> str:
    units = channel.get("ChannelSensitivityUnitsSequence") or ()
    return str(units[0].get("CodeValue", "")) if units else ""


def _told_by_patient(dataset: Any, told: Told) -> Told:
    """Age and sex from the file, where the caller says nothing."""
    age, _ = parse_age(str(dataset.get("PatientAge", "") or ""))
    sex, _ = parse_sex({"F": "female", "M": "male"}.get(str(dataset.get("PatientSex", "") or ""), ""))
    return told.or_else(None if math.isnan(age) else age, None if sex == "unknown" else sex)
