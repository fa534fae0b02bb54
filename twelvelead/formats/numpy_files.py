"""Arrays that NumPy saved: .npy with the signal alone, .npz with the signal and what is known about it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import limits
from ..data.recording import Recording
from ..errors import RecordingError, UserError
from .arrays import recording_of
from .tables import agreed, stem_of
from .told import UNITS, Told, first_line, standard_leads

SIGNAL = ("signal", "signals", "ecg", "val", "data", "x", "p_signal", "recording", "arr_0")
FREQUENCY = ("frequency_hz", "fs", "sampling_frequency", "sampling_rate", "sample_rate", "frequency", "sfreq", "hz")
LEAD_NAMES = ("leads", "lead_names", "sig_name", "channels", "ch_names")
UNIT = ("unit", "units")


def read_numpy(data: bytes, path: str, told: Told) -> Recording:
    """The recording in a .npy or .npz file. Nothing is unpickled, since a pickle can run any code.

    Raises
    ------
    RecordingError
        If the file is damaged, holds no array of numbers or more than one that could be the signal, or something is
        missing that only the caller can know.
    """
    notes: list[str] = []
    try:
        if data.startswith(b"PK"):
            arrays = _arrays(data)
            signal = _signal(arrays, path, notes)
            told = _told_by(arrays, told, path, notes)
        else:
            signal = np.load(io.BytesIO(data), allow_pickle=False)
    except UserError:
        raise
    except Exception as error:  # a damaged header makes NumPy raise errors of a dozen kinds
        raise RecordingError(f"{path}: the arrays cannot be read ({first_line(error)})") from None
    return recording_of(signal, told, stem_of(path), tuple(notes), path)


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > limits.VALUES * 8:
        raise ValueError(f"they unfold to {size >> 20} MB, more than a recording may have")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _signal(arrays: dict[str, np.ndarray], path: str, notes: list[str]) -> np.ndarray:
    """The array called like a signal, or the only one that can be one."""
    for name in SIGNAL:
        if name in arrays and arrays[name].ndim >= 1 and arrays[name].dtype.kind in "iuf":
            return arrays[name]
    tables = [name for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "iuf"]
    if len(tables) != 1:
        inside = ", ".join(f"{name!r} {array.shape}" for name, array in list(arrays.items())[:12])
        raise RecordingError(f"{path}: which array is the signal cannot be known; inside are {inside}")
    notes.append(f"the array {tables[0]!r} was read as the signal")
    return arrays[tables[0]]


def _told_by(arrays: dict[str, np.ndarray], told: Told, path: str, notes: list[str]) -> Told:
    """What the other arrays of a .npz say: frequency, leads and unit."""
    frequency = _first(arrays, FREQUENCY, "iuf")
    if frequency is not None and frequency.size == 1:
        value = float(frequency.reshape(()))
        agreed(told.frequency_hz, value, "sampling frequency in Hz", path, notes)
        told = replace(told, frequency_hz=value)
    names = _first(arrays, LEAD_NAMES, "US")
    if names is not None and names.size > 1:
        leads = standard_leads(tuple(map(_text, names.reshape(-1)[:256].tolist())))
        agreed(told.leads and standard_leads(told.leads), leads, "leads", path, notes, ", ".join(leads))
        told = replace(told, leads=leads)
    unit = _first(arrays, UNIT, "US")
    if unit is not None and len(set(unit.reshape(-1).tolist())) == 1:
        text = _text(unit.reshape(-1)[0]).replace("µ", "u").replace("μ", "u")
        known = next((name for name in UNITS[:2] if name.lower() == text.lower()), None)
        if known:
            agreed(told.unit, known, "unit", path, notes)
            told = replace(told, unit=known)
    return told


def _first(arrays: dict[str, np.ndarray], names: tuple[str, ...], kinds: str) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays and arrays[name].dtype.kind in kinds), None)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
