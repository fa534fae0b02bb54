"""Recordings made for tests: every header style and signal format, a few lines each.

path = write_mat(folder, "A0001", adc(12, 5000))                    # as the Challenge: .hea and MATLAB v4 .mat
path = write_dat(folder, "A0001", adc(12, 5000, bits=12), "212")    # WFDB
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np

from twelvelead.data.header import LEADS

BITS = {"8": 7, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 10, "311": 10}


def adc(n_leads: int = 12, n_samples: int = 500, bits: int = 16, seed: int = 0) -> np.ndarray:
    """int64 (leads, samples): noise over the whole range of a format but for the value of a missing sample."""
    top = 2 ** (bits - 1)
    return np.random.default_rng(seed).integers(-top + 1, top, (n_leads, n_samples))


def header(
    name: str = "A0001",
    n_samples: int | str = 500,
    leads=LEADS,
    *,
    record_line: str | None = None,
    frequency="500",
    storage="16+24",
    gain="1000/mV",
    zero=0,
    initial=0,
    extension: str = ".mat",
    age="74",
    sex="Male",
    dx="426783006,59118001",
    mark: str = "#",
    comments=(),
) -> str:
    """A header's text. `storage` (the format field), `gain`, `zero` and `initial` may be a list, one a lead; a comment
    that is None is left out."""

    def of(value, lead):
        return value[lead] if isinstance(value, (list, tuple)) else value

    lines = [record_line or f"{name} {len(leads)} {frequency} {n_samples}"]
    lines += [
        f"{name}{extension} {of(storage, k)} {of(gain, k)} 16 {of(zero, k)} {of(initial, k)} 0 0 {lead}"
        for k, lead in enumerate(leads)
    ]
    lines += [f"{mark}{key}: {value}" for key, value in (("Age", age), ("Sex", sex), ("Dx", dx)) if value is not None]
    return "\n".join([*lines, *comments]) + "\n"


def matlab4(values: np.ndarray, dtype: str = "<i2", name: str = "val") -> bytes:
    """A MATLAB v4 file of one matrix, in any of its types of number and either byte order."""
    dtype = np.dtype(dtype)
    kind = ("f8", "f4", "i4", "i2", "u2", "u1").index(dtype.str[1:]) * 10 + (1000 if dtype.str[0] == ">" else 0)
    head = struct.pack((">" if dtype.str[0] == ">" else "<") + "5i", kind, *values.shape, 0, len(name) + 1)
    return head + name.encode() + b"\0" + values.astype(dtype).tobytes(order="F")


def matlab5(values: np.ndarray, dtype: str = "<i2") -> bytes:
    """A MATLAB v5 file of the matrix `val`, not compressed, in either byte order."""
    dtype = np.dtype(dtype)
    order = ">" if dtype.str[0] == ">" else "<"

    def element(kind, content):
        return struct.pack(order + "2I", kind, len(content)) + content + bytes(-len(content) % 8)

    matrix_class, kind = {"f8": (6, 9), "f4": (7, 7), "i2": (10, 3), "i4": (12, 5)}[dtype.str[1:]]
    matrix = (
        element(6, struct.pack(order + "2I", matrix_class, 0))
        + element(5, struct.pack(order + "2i", *values.shape))
        + element(1, b"val")
        + element(kind, values.astype(dtype).tobytes(order="F"))
    )
    return b"MATLAB 5.0 MAT-file".ljust(124) + (b"\0\1IM" if order == "<" else b"\1\0MI") + element(14, matrix)


def write_mat(folder: Path, name: str, values: np.ndarray, dtype: str = "<i2", **header_fields) -> Path:
    """Writes a `.mat` of (leads, samples) and its header; returns the header's path."""
    header_fields.setdefault("leads", LEADS[: len(values)])
    header_fields.setdefault("n_samples", values.shape[1])
    return write(folder, name, header(name, **header_fields), matlab4(values, dtype))


def write_dat(folder: Path, name: str, values: np.ndarray, form: str, offset: int = 0, **header_fields) -> Path:
    """Writes a WFDB `.dat` of (leads, samples) in any format but FLAC, and its header; returns the header's path."""
    header_fields.setdefault("leads", LEADS[: len(values)])
    header_fields.setdefault("n_samples", values.shape[1])
    if form == "8":
        header_fields.setdefault("initial", [int(first) for first in values[:, 0]])
    header_fields.setdefault("storage", f"{form}+{offset}" if offset else form)
    return write(
        folder, name, header(name, extension=".dat", **header_fields), bytes(offset) + encoded(values, form), ".dat"
    )


def write(folder: Path, name: str, header_text: str | bytes, signal: bytes | None, extension: str = ".mat") -> Path:
    """Writes a header and a signal (none if None) as they are."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, f"{name}.hea").write_bytes(header_text if isinstance(header_text, bytes) else header_text.encode())
    if signal is not None:
        Path(folder, name + extension).write_bytes(signal)
    return Path(folder, f"{name}.hea")


def encoded(values: np.ndarray, form: str) -> bytes:
    """ADC units (leads, samples) in a WFDB format: https://physionet.org/physiotools/wag/signal-5.htm"""
    if form == "8":
        return np.diff(values, axis=1, prepend=values[:, :1]).T.astype("i1").tobytes()
    flat = values.T.reshape(-1)
    if form in ("16", "61", "32"):
        return flat.astype({"16": "<i2", "61": ">i2", "32": "<i4"}[form]).tobytes()
    if form in ("80", "160"):
        return (flat + 2 ** (BITS[form] - 1)).astype({"80": "u1", "160": "<u2"}[form]).tobytes()
    if form == "24":
        return flat.astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes()
    in_block = {"212": 2, "310": 3, "311": 3}[form]  # samples packed together
    block = np.pad(flat, (0, -len(flat) % in_block)).reshape(-1, in_block).T & (2 ** BITS[form] - 1)
    if form == "212":
        packed = (block[0] & 255, block[0] >> 8 | block[1] >> 8 << 4, block[1] & 255)
    elif form == "310":
        packed = (
            (block[0] & 127) << 1,
            block[0] >> 7 | (block[2] & 31) << 3,
            (block[1] & 127) << 1,
            block[1] >> 7 | block[2] >> 5 << 3,
        )
    else:
        packed = (
            block[0] & 255,
            block[0] >> 8 | (block[1] & 63) << 2,
            block[1] >> 6 | (block[2] & 15) << 4,
            block[2] >> 4,
        )
    return np.stack(packed, axis=1).astype("u1").tobytes()


def with_context(model: Path, folder: Path) -> Path:
    """A copy of a trained model of the default recipe in which each recording's thresholds are moved.

    Models of tests learn from no synthetic recordings, so that they have no context of their own.
    """
    from twelvelead.inference.ensemble import thresholds_of_mean
    from twelvelead.inference.model_files import read_description
    from twelvelead.synthetic.conventions import habits_of_annotators
    from twelvelead.thresholds.context import Context
    from twelvelead.thresholds.expected import Habits

    described = read_description(model)
    codes, weights = described.classes.codes, described.classes.weights
    habits = tuple(Habits(*values) for values in habits_of_annotators(codes, 0.5))
    context = Context(0.75, thresholds_of_mean(described), described.probabilities, habits, weights)
    shutil.copytree(model, folder)
    for name, change in (
        ("thresholds.json", lambda values: values["ensemble"].update(context=context.to_dict(codes))),
        ("recipe.json", lambda values: [values.pop(key) for key in ("files", "checksum")]),
    ):
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))
    return folder
