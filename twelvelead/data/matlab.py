"""The signal in a MATLAB file (.mat) of version 4 to 7.2.

    adc = read_matlab(data, "A0001.mat", 12, notes)         # (rows, samples)

Written out here because a single wrong byte in a version 5 file can crash the whole process in scipy's reader, and
because a file may unfold a thousandfold. Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import RecordingError
from . import limits

_MATLAB4_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")
_MATLAB5_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15  # types of version 5 elements
_DESCRIPTION_BYTES = 1024  # of a compressed matrix hold its class, shape and name
_MOST_VARIABLES = 1000


class _Variable(NamedTuple):
    """A variable of a file. `dtype` is None where it is no matrix of real numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    content: bytes | memoryview  # its values; of a compressed variable the whole element, still compressed
    compressed: bool = False


def read_matlab(data: bytes, path: str, n_leads: int, notes: list[str]) -> np.ndarray:
    """The matrix `val` (rows, samples) of a file, as far as the file goes.

    A file without `val` but with one other matrix that can be the signal is read too, with a note: the only one that
    has as many rows (or columns) as there are leads, or else the only one with more than one number.

    Raises
    ------
    RecordingError
        If there is no such matrix (the message names what is inside), or it unfolds to more than a recording may be.
    """
    try:
        if _is_matlab5(data):
            variables = list(_matlab5_variables(data, "<" if data[126:128] == b"IM" else ">"))
        elif data[124:128] in (b"\0\2IM", b"\2\0MI") or data[:8] == b"\x89HDF\r\n\x1a\n":
            raise ValueError("a file of version 7.3")
        else:
            variables = list(_matlab4_variables(data))
        variable = _signal_among(variables, n_leads, notes)
        values = _values(variable, len(data), "<" if data[126:128] == b"IM" else ">")
    except (ValueError, struct.error, zlib.error) as error:
        raise RecordingError(f"{path}: holds no readable signal ({error}); write it again with -v4 or -v7") from None
    rows, columns = variable.shape
    whole = min(len(values) // rows, columns)
    if whole < columns:
        notes.append(f"the signal file ends after {whole} of {columns} samples")
    return values[: whole * rows].reshape(whole, rows).T


def _is_matlab5(data: bytes) -> bool:
    return data[124:128] in (b"\0\1IM", b"\1\0MI")


def _signal_among(variables: list[_Variable], n_leads: int, notes: list[str]) -> _Variable:
    """The variable `val`, or the only other one that can be the signal."""
    named = next((variable for variable in variables if variable.name == "val"), None)
    if named:
        if not _is_matrix(named):
            raise ValueError(f"'val' is no matrix of real numbers, its shape is {named.shape}")
        return named
    matrices = [variable for variable in variables if _is_matrix(variable) and max(variable.shape) > 1]
    fitting = [variable for variable in matrices if n_leads in variable.shape]
    chosen = fitting if len(fitting) == 1 else matrices
    if len(chosen) != 1:
        inside = ", ".join(f"{variable.name!r} {'×'.join(map(str, variable.shape))}" for variable in variables[:12])
        raise ValueError(f"no matrix 'val'; inside are {inside or 'no variables'}")
    notes.append(f"the signal file has no matrix 'val': its matrix {chosen[0].name!r} was read")
    return chosen[0]


def _is_matrix(variable: _Variable) -> bool:
    return variable.dtype is not None and len(variable.shape) == 2 and min(variable.shape) >= 1


def _values(variable: _Variable, n_bytes: int, order: str) -> np.ndarray:
    """The values of a matrix, column after column, as far as the file goes."""
    content, dtype = variable.content, variable.dtype
    if variable.compressed:
        unfolder = zlib.decompressobj()
        most = limits.most_values(n_bytes) * 8
        element = unfolder.decompress(content, most)
        if unfolder.unconsumed_tail:
            raise ValueError(f"it unfolds to more than {most / 2**20:.0f} MB")
        whole = _matlab5_matrix(memoryview(element), order)
        content, dtype = whole.content, whole.dtype
    values = _whole(content, dtype or "u1")
    if values.size > limits.VALUES:
        raise ValueError(f"{values.size} numbers are no recording")
    return values


def _matlab4_variables(data: bytes) -> Iterator[_Variable]:
    """Variables of a version 4 file, one after another.

    Each is five int32 (1000 × byte order + 10 × type of number + kind of matrix, rows, columns, 1 if complex, length of
    the name), the name with a final null character, and the values.
    """
    at = 0
    for _ in range(_MOST_VARIABLES):
        if len(data) - at < 24:
            break
        order = ">" if data[at] == 0 and data[at + 2] else "<"
        kind, rows, columns, is_complex, name_length = struct.unpack_from(order + "5i", data, at)
        kind -= 1000 if order == ">" else 0
        number, matrix = divmod(kind, 10)
        if not 0 <= number < len(_MATLAB4_TYPES) or matrix not in (0, 1, 2) or min(rows, columns, is_complex) < 0:
            break
        if not 1 < name_length <= 64 or data[at + 19 + name_length : at + 20 + name_length] != b"\0":
            break
        name = data[at + 20 : at + 19 + name_length].decode("latin-1")
        dtype = order + _MATLAB4_TYPES[number]
        begin = at + 20 + name_length
        at = begin + rows * columns * np.dtype(dtype).itemsize * (2 if is_complex else 1)
        is_real = matrix == 0 and not is_complex
        yield _Variable(name, (rows, columns), dtype if is_real else None, memoryview(data)[begin:at])
    else:
        raise ValueError(f"more than {_MOST_VARIABLES} variables")
    if at == 0:
        raise ValueError("not a MATLAB file of version 4 to 7.2")


def _matlab5_variables(data: bytes, order: str) -> Iterator[_Variable]:
    """Variables of a version 5 file, which is elements of type, length and content.

    Of compressed elements only the start is unfolded here, up to the name of the variable.
    """
    at = 128
    for _ in range(_MOST_VARIABLES):
        if len(data) - at < 8:
            return
        begin = at
        kind, content, at = _element(memoryview(data), begin, order, padded=False)
        if kind == _COMPRESSED:
            start = zlib.decompressobj().decompress(content, _DESCRIPTION_BYTES)
            if len(start) < 8:
                raise ValueError("a compressed element that breaks off")
            yield _matlab5_matrix(memoryview(start), order)._replace(content=content, compressed=True)
        elif kind == _MATRIX:
            yield _matlab5_matrix(memoryview(data)[begin:at], order)
    raise ValueError(f"more than {_MOST_VARIABLES} variables")


def _matlab5_matrix(element: memoryview, order: str) -> _Variable:
    """A matrix element, of which only the start may be there: class and flags, shape, name, values."""
    kind, content, _ = _element(element, 0, order)
    if kind != _MATRIX:
        raise ValueError("an element that is no matrix")
    _, flags, at = _element(content, 0, order)
    _, shape, at = _element(content, at, order)
    _, name, at = _element(content, at, order)
    word = struct.unpack_from(order + "I", flags)[0]
    is_real = word & 0xFF in range(6, 16) and not word & 0x800
    values_kind, values = 0, memoryview(b"")
    if is_real and len(content) - at >= 8:
        values_kind, values, _ = _element(content, at, order)
    dtype = order + _MATLAB5_TYPES[values_kind] if is_real and values_kind in _MATLAB5_TYPES else None
    sizes = tuple(_whole(shape, order + "i4").tolist()[:8])
    return _Variable(bytes(name[:64]).decode("latin-1"), sizes, dtype, values)


def _element(data: memoryview, at: int, order: str, padded: bool = True) -> tuple[int, memoryview, int]:
    """Type and content of the element at a place in a version 5 file, and the place of the next."""
    kind, length = struct.unpack_from(order + "2I", data, at)
    if kind >> 16:  # up to four bytes lie where the length would
        return kind & 0xFFFF, data[at + 4 : at + 4 + min(kind >> 16, 4)], at + 8
    return kind, data[at + 8 : at + 8 + length], at + 8 + length + (-length % 8 if padded else 0)


def _whole(data: bytes | memoryview, dtype: str) -> np.ndarray:
    """The whole numbers of a type that bytes hold; a rest is dropped."""
    return np.frombuffer(data, dtype, len(data) // np.dtype(dtype).itemsize)
