"""One recording from a file of any format that is known here.

    recording = read_file("A0001")                          # WFDB: header or signal, with or without extension
    recording = read_file("ecg.csv", Told(500, LEADS, "mV"))

Formats are told by their first bytes; kinds.py says what becomes of a file that is not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..data import limits
from ..data.header import read_header
from ..data.matlab import read_matlab
from ..data.recording import Recording, read_recording
from ..errors import RecordingError
from ..files import read_bytes
from .arrays import recording_of, what_is_missing, with_person
from .dicom import read_dicom
from .edf import read_edf
from .kinds import HEAD_BYTES, kind_of
from .numpy_files import read_numpy
from .tables import read_table, stem_of
from .told import Told, checked

_HEADERS = (".hea", ".HEA")


def read_file(path: str | Path, told: Told | None = None) -> Recording:
    """The recording of a file.

    Parameters
    ----------
    path : str or Path
        A WFDB header or signal file, with or without its extension, or a file of another format.
    told : Told, optional
        What the caller says; age and sex count for every format, the rest for files that do not say it themselves.

    Raises
    ------
    RecordingError
        If there is no such file, its format is not read (the line says what it seems to be and how to convert it), it
        is damaged, or something is missing that only the caller can know.
    UserError
        If a package is missing that reads the format, or what is told cannot be.
    """
    told = checked(told or Told())
    path = os.fspath(path)
    header = find_header(path)
    if header is not None:
        recording = read_recording(header)
        _check_told(header, recording, told)
        return with_person(recording, told)
    if os.path.isdir(path):
        raise RecordingError(
            f"{path}: a folder; give its recordings, or classify all of them with `twelvelead classify`"
        )
    try:
        data = read_bytes(path, limits.SIGNAL_BYTES)
    except FileNotFoundError:
        raise RecordingError(f"{path}: there is no such file, and no header {path}.hea") from None
    except OSError as error:
        raise RecordingError(f"{path}: the file cannot be read ({error.strerror})") from None
    kind = kind_of(data[:HEAD_BYTES], os.path.basename(path))
    reader = _READERS.get(kind.reader or "")
    if reader is None:
        raise RecordingError(f"{path}: not a recording that can be read: it seems to be {kind.name}; {kind.advice}")
    return with_person(reader(data, path, told), told)


def find_header(path: str) -> str | None:
    """The WFDB header that a path means: itself, or the one beside a signal file or beside a name without extension."""
    stem, extension = os.path.splitext(path)
    if extension in _HEADERS:
        return path
    is_file = os.path.isfile(path)
    for end in _HEADERS:
        if not is_file and os.path.isfile(path + end):
            return path + end
        beside = stem + end
        if is_file and os.path.isfile(beside):
            try:
                named = {signal.file for signal in read_header(beside).signals}
            except RecordingError:
                named = set()
            if extension.lower() in (".mat", ".dat") or os.path.basename(path) in named:
                return beside
    return None


def _check_told(header: str, recording: Recording, told: Told) -> None:
    """A header tells frequency, leads and units; what the caller says besides must not contradict it."""
    if told.frequency_hz is not None and told.frequency_hz != recording.frequency_hz:
        raise RecordingError(
            f"{header}: the header says {recording.frequency_hz:g} Hz, told were {told.frequency_hz:g} Hz; "
            "mend the header or leave the option out"
        )
    for value, option in ((told.leads, "--leads"), (told.unit, "--unit")):
        if value is not None:
            raise RecordingError(f"{header}: a header tells leads and units itself; leave {option} out")


def _read_matlab_alone(data: bytes, path: str, told: Told) -> Recording:
    """A .mat file without a header."""
    if told.leads is None or told.unit is None or told.frequency_hz is None:
        raise RecordingError(f"{path}: there is no header (.hea) beside it, and {what_is_missing(told)}")
    notes: list[str] = []
    matrix = read_matlab(data, path, len(told.leads), notes)
    return recording_of(matrix, told, stem_of(path), tuple(notes), path)


_READERS: dict[str, Callable[[bytes, str, Told], Recording]] = {
    "table": read_table,
    "numpy": read_numpy,
    "matlab": _read_matlab_alone,
    "edf": read_edf,
    "bdf": read_edf,
    "dicom": read_dicom,
}
