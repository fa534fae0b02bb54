"""A signal file as ADC units: MATLAB files (.mat) and the signal formats of WFDB.

    adc = decode_adc(data, "A0001.mat", header.signals, header.n_samples, notes)        # (rows, samples)

MATLAB files and WFDB format 16 are read as one block; all other formats by the wfdb package, which is imported only
then, since that takes seconds.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import RecordingError
from .header import Signal

# WFDB's value for a missing sample in each format (format 8, of differences, has none), and the bytes of a sample.
MISSING_ADC = {
    "16": -(2**15),
    "61": -(2**15),
    "160": -(2**15),
    "516": -(2**15),
    "80": -(2**7),
    "508": -(2**7),
    "212": -(2**11),
    "310": -(2**9),
    "311": -(2**9),
    "24": -(2**23),
    "524": -(2**23),
    "32": -(2**31),
    "8": None,
}
_BYTES = {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3, "24": 3, "32": 4}
_MATLAB4_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")
_MATLAB5_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MOST_BYTES = 2**30  # that a compressed file may unfold to: 30 minutes of twelve leads at 1000 Hz fit six times


def decode_adc(data: bytes, path: str, signals: Sequence[Signal], n_samples: int, notes: list[str]) -> np.ndarray:
    """ADC units of one signal file, in the file's own type of number.

    Parameters
    ----------
    data : bytes
        All of the file.
    path : str
        Where it lies. A `.mat` tells itself what it holds; any other is read as the signal lines say.
    signals : sequence of Signal
        The lines of the header that name this file.
    n_samples : int
        What the header says, 0 if nothing. A file that is shorter gives what it holds.
    notes : list of str
        Repairs are appended.

    Returns
    -------
    ndarray, (rows, samples)
        Integers, or whatever a `.mat` holds. Skew is not applied yet, missing samples have the value of `MISSING_ADC`.

    Raises
    ------
    RecordingError
        If the file cannot be decoded or holds no samples.
    """
    if not data:
        raise RecordingError(f"{path}: the signal file is empty")
    if path.lower().endswith(".mat"):
        return _read_matlab(data, path, notes)
    form, offset, width = signals[0].format, signals[0].byte_offset, sum(signal.samples_per_frame for signal in signals)
    if form not in MISSING_ADC:
        raise RecordingError(f"{path}: WFDB has no signal format {form}; it has {', '.join(MISSING_ADC)}")
    if form in _BYTES:  # all but the FLAC formats, whose size says nothing
        n_bytes = max(len(data) - offset, 0)
        if n_samples and n_bytes > n_samples * width * _BYTES[form] + 4:  # some formats pad the last few samples
            notes.append(f"the signal file goes on after the header's {n_samples} samples")
        frames = int(n_bytes / _BYTES[form] / width + 1e-6)
        n_samples = min(frames, n_samples) if n_samples else frames
    if not 0 < n_samples * width <= _MOST_BYTES:
        raise RecordingError(f"{path}: the signal file holds no samples, or the header must say rightly how many")
    if form == "16" and width == len(signals):
        return np.frombuffer(data, "<i2", n_samples * width, offset).reshape(n_samples, width).T
    return _by_wfdb(path, signals, n_samples)


# MATLAB files: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf. We read the one matrix that we need
# ourselves: a single wrong byte in a version 5 file can crash the whole process in scipy's reader.


def _read_matlab(data: bytes, path: str, notes: list[str]) -> np.ndarray:
    """The matrix `val` (rows, samples) of a MATLAB file of version 4 to 7.2, as far as the file goes."""
    try:
        if data[20:24] == b"val\0":
            shape, values = _matlab4_values(data)
        elif data[124:128] in (b"\0\1IM", b"\1\0MI"):
            shape, values = _matlab5_values(data, "<" if data[126:128] == b"IM" else ">")
        else:
            raise ValueError("not a MATLAB file of version 4 to 7.2 with a matrix 'val'")
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"a matrix of shape {shape}")
    except (ValueError, struct.error, zlib.error) as error:
        raise RecordingError(f"{path}: holds no readable signal ({error}); write it again with -v4 or -v7") from None
    rows, columns = shape
    there = min(len(values) // rows, columns)
    if there < columns:
        notes.append(f"the signal file ends after {there} of {columns} samples")
    return values[: there * rows].reshape(there, rows).T


def _matlab4_values(data: bytes) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and values, column after column, of a version 4 file that begins with `val`.

    Five int32 (1000 × byte order + 10 × type of number, rows, columns, 1 if complex, length of the name), name, values.
    """
    order, offset = (">", 1000) if data[2] else ("<", 0)
    kind, rows, columns, is_complex, name_length = struct.unpack(order + "5i", data[:20])
    if kind - offset not in range(0, 60, 10) or is_complex or name_length != 4:
        raise ValueError("'val' is no matrix of real numbers")
    return (rows, columns), _whole(data, order + _MATLAB4_TYPES[(kind - offset) // 10], 24)


def _matlab5_values(data: bytes, order: str) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and values, column after column, of `val` in a version 5 file: elements of type, length and content."""
    at = 128
    while at < len(data):
        kind, content, at = _element(data, at, order, padded=False)
        if kind == 15:  # compressed; a file that breaks off gives what it has
            kind, content, _ = _element(zlib.decompressobj().decompress(content, _MOST_BYTES), 0, order)
        if kind != 14:
            raise ValueError("an element that is no matrix")
        _, flags, inner = _element(content, 0, order)
        _, shape, inner = _element(content, inner, order)
        _, name, inner = _element(content, inner, order)
        if name != b"val":
            continue
        flags = struct.unpack(order + "2I", flags)[0]
        kind, values, _ = _element(content, inner, order)
        if flags & 0xFF not in range(6, 16) or flags & 0x800 or kind not in _MATLAB5_TYPES:
            raise ValueError("'val' is no matrix of real numbers")
        return tuple(_whole(shape, order + "i4").tolist()), _whole(values, order + _MATLAB5_TYPES[kind])
    raise ValueError("no matrix 'val'")


def _element(data: bytes, at: int, order: str, padded: bool = True) -> tuple[int, bytes, int]:
    """Type and content of the element at a place in a version 5 file, and the place of the next."""
    kind, length = struct.unpack_from(order + "2I", data, at)
    if kind >> 16:  # up to four bytes lie where the length would
        return kind & 0xFFFF, data[at + 4 : at + 4 + min(kind >> 16, 4)], at + 8
    return kind, data[at + 8 : at + 8 + length], at + 8 + length + (-length % 8 if padded else 0)


def _whole(data: bytes, dtype: str, offset: int = 0) -> np.ndarray:
    """The whole numbers of a type that bytes hold from an offset on; a rest is dropped."""
    return np.frombuffer(data, dtype, (len(data) - offset) // np.dtype(dtype).itemsize, offset)


# All else


def _by_wfdb(path: str, signals: Sequence[Signal], n_samples: int) -> np.ndarray:
    """ADC units (rows, samples) of a file in any WFDB format.

    wfdb gets a header that holds only what it needs to decode this file: it is stricter than we are about names, and
    fails where a file is shorter than its header says.
    """
    import wfdb

    lines = [f"r {len(signals)} 500 {n_samples}"]
    lines += [
        f"r.dat {signal.format}x{signal.samples_per_frame}+{signal.byte_offset} 200 0 0 {signal.initial} 0 0"
        for signal in signals
    ]
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.abspath(path), os.path.join(folder, "r.dat"))
            Path(folder, "r.hea").write_text("\n".join(lines) + "\n")
            return wfdb.rdrecord(os.path.join(folder, "r"), physical=False, return_res=32).d_signal.T
    except MemoryError:
        raise
    except Exception as error:  # wfdb raises all sorts on a broken file
        fault = str(error).strip().partition("\n")[0][:200]
        raise RecordingError(f"{path}: the wfdb package cannot decode it ({type(error).__name__}: {fault})") from error
