"""Hospitals that write the same hearts differently: rate, gain, file format, header style, lead order, codes, folders.

    headers = write_hospital("data/elm", "elm", count=100, seed=1)

`alder` and `birch` write as the Challenges of 2020 and 2021 did; `cedar`, `dogwood` and `elm` are strangers. Nothing of
how `elm` writes is found in another: 1000 Hz, WFDB format 16, a gain of 4880 with a baseline, chest leads first.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.header import LEADS
from ..data.recording import Recording
from ..errors import UserError
from .diagnoses import random_diagnoses
from .making import make_recording


@dataclass(frozen=True)
class Hospital:
    """How one hospital records and writes.

    Attributes
    ----------
    name, prefix : str
        Folder name of the hospital and beginning of its record names.
    frequency_hz, mains_hz : float
    seconds : (float, float)
        Shortest and longest recording.
    gain : float
        ADC units a millivolt; every lead's is its own, within `gain_spread` of it.
    gain_style : str
        The header's gain field, with {gain} and {baseline}.
    baseline : int
        ADC units at 0 mV.
    file_format : str
        The header's format field: "16+24" and "16x1+24" are a MATLAB file, "16" and "212" WFDB's own.
    leads : tuple of str
        Order and spelling of the leads.
    codes : mapping
        Which of two equivalent codes it writes.
    comment : str
        The header's comment lines, with {key} and {value}.
    separator : str
        Between two diagnoses.
    folder_size : int
        Recordings a folder, g1, g2, …; 0 where all lie in one folder.
    date : bool
        Whether the record line ends with date and time.
    suffix : str
        After the record name in the record line, where other hospitals write the bare name.
    """

    name: str
    prefix: str
    frequency_hz: float
    mains_hz: float
    seconds: tuple[float, float]
    gain: float
    gain_style: str
    file_format: str
    leads: tuple[str, ...] = LEADS
    gain_spread: float = 0.0
    baseline: int = 0
    codes: Mapping[str, str] = field(default_factory=dict)
    comment: str = "#{key}: {value}"
    separator: str = ","
    folder_size: int = 0
    date: bool = False
    suffix: str = ""


_CHEST_FIRST = (*LEADS[6:], *LEADS[:6])
HOSPITALS = {
    hospital.name: hospital
    for hospital in (
        Hospital(
            "alder", "A", 500, 50, (10, 18), 1000, "{gain:.0f}/mV", "16+24", date=True, codes={"713427006": "59118001"}
        ),
        Hospital(
            "birch",
            "BI",
            500,
            60,
            (10, 10),
            1000,
            "{gain:.1f}({baseline})/mV",
            "16x1+24",
            comment="# {key}: {value}",
            folder_size=100,
            codes={"164909002": "733534002", "284470004": "63593006", "427172004": "17338001"},
        ),
        Hospital(
            "cedar",
            "I",
            257,
            50,
            (20, 30),
            1716,
            "{gain:.0f}({baseline})/mV",
            "16+24",
            gain_spread=0.4,
            baseline=6,
            leads=tuple(lead.upper() for lead in LEADS),
            suffix=".mat",
        ),
        Hospital(
            "dogwood",
            "dw_",
            250,
            60,
            (10, 12),
            200,
            "{gain:.0f}",
            "212",
            leads=(*LEADS[:3], *LEADS[6:], *LEADS[3:6]),
            comment="# {key}: {value}",
            separator=", ",
            folder_size=50,
        ),
        Hospital(
            "elm",
            "elm-",
            1000,
            50,
            (10, 10),
            4880,
            "{gain:.0f}({baseline})/mV",
            "16",
            baseline=-512,
            leads=tuple(lead.lower().replace("av", "aV") for lead in _CHEST_FIRST),
            folder_size=100,
            codes={"713427006": "59118001"},
        ),
    )
}


def write_hospital(folder: str | Path, hospital: str, count: int, seed: int) -> list[Path]:
    """Writes `count` recordings of random diagnoses as the hospital writes them.

    Recording k depends on (seed, hospital, k) alone: a larger count adds recordings and changes none. A recording's
    header appears when its signal is complete, so that an interrupted run leaves no broken recording behind.

    Returns
    -------
    list of Path
        The headers, in the order of k.

    Raises
    ------
    UserError
        If there is no such hospital, the count or the seed is negative, or the folder cannot be written.
    """
    if hospital not in HOSPITALS:
        raise UserError(f"there is no hospital {hospital!r}; there are {', '.join(HOSPITALS)}")
    if count < 0 or seed < 0:
        raise UserError(f"the number of recordings and the seed must not be negative; they are {count} and {seed}")
    style = HOSPITALS[hospital]
    headers = []
    for k in range(count):
        rng = np.random.default_rng((seed, zlib.crc32(hospital.encode()), k))
        recording = make_recording(
            random_diagnoses(rng),
            tuple(int(n) for n in rng.integers(2**32, size=4)),
            frequency_hz=style.frequency_hz,
            seconds=float(rng.uniform(*style.seconds)),
            mains_hz=style.mains_hz,
        )
        group = f"g{k // style.folder_size + 1}" if style.folder_size else ""
        headers.append(_write(Path(folder) / group, f"{style.prefix}{k + 1:05d}", style, recording, rng))
    return headers


def _write(folder: Path, name: str, style: Hospital, recording: Recording, rng: np.random.Generator) -> Path:
    """One recording: signal first, header last, each under another name until it is complete."""
    gains = np.round(style.gain * (1 + style.gain_spread * rng.uniform(-1, 1, len(style.leads))))
    order = [lead.lower() for lead in recording.leads]
    rows = [order.index(lead.lower()) for lead in style.leads]
    limit = 2047 if style.file_format == "212" else 32767  # of twelve or sixteen bits
    units = np.round(recording.signal_mv[rows] * gains[:, None] + style.baseline)
    units = np.clip(units, -limit, limit).astype(np.int16)

    block = units.T.astype("<i2").tobytes()
    if style.file_format == "212":
        block = _packed_212(units.T.reshape(-1))
    elif style.file_format != "16":
        # MATLAB version 4: little endian int16, rows, columns, no imaginary part, four bytes of name
        block = np.array([30, *units.shape, 0, 4], dtype="<i4").tobytes() + b"val\0" + block
    signal_file = f"{name}.dat" if style.file_format in ("16", "212") else f"{name}.mat"
    header = _header(name, signal_file, style, recording, units, gains, rng)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in ((folder / signal_file, block), (folder / f"{name}.hea", header.encode())):
            part = path.with_name(f".{path.name}.{os.getpid()}")
            part.write_bytes(content)
            part.replace(path)
    except OSError as error:
        raise UserError(f"{folder / name}: the recording cannot be written ({error.strerror or error})") from None
    return folder / f"{name}.hea"


def _header(
    name: str,
    signal_file: str,
    style: Hospital,
    recording: Recording,
    units: np.ndarray,
    gains: np.ndarray,
    rng: np.random.Generator,
) -> str:
    """The text of the header, in the hospital's style."""
    lines = [f"{name}{style.suffix} {len(units)} {style.frequency_hz:g} {units.shape[1]}"]
    if style.date:
        hour, minute, second, day, month, year = rng.integers([0, 0, 0, 1, 1, 1995], [24, 60, 60, 29, 13, 2020])
        lines[0] += f" {hour:02d}:{minute:02d}:{second:02d} {day:02d}/{month:02d}/{year}"
    bits = 12 if style.file_format == "212" else 16
    for lead, gain, row in zip(style.leads, gains, units):
        checksum = (int(row.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15
        lines.append(
            f"{signal_file} {style.file_format} {style.gain_style.format(gain=gain, baseline=style.baseline)}"
            f" {bits} 0 {row[0]} {checksum} 0 {lead}"
        )
    codes = style.separator.join(style.codes.get(code, code) for code in recording.codes)
    facts = {
        "Age": f"{recording.age_years:.0f}",
        "Sex": recording.sex.capitalize(),
        "Dx": codes,
        "Rx": "Unknown",
        "Hx": "Unknown",
        "Sx": "Unknown",
    }
    lines += [style.comment.format(key=key, value=value) for key, value in facts.items()]
    return "\n".join(lines) + "\n"


def _packed_212(values: np.ndarray) -> bytes:
    """WFDB format 212: two samples of 12 bits in three bytes, the high bits of both in the second."""
    pairs = np.append(values, np.zeros(len(values) % 2, dtype=values.dtype)).reshape(-1, 2).astype(np.int32) & 0xFFF
    one, two = pairs.T
    return np.stack([one & 0xFF, (one >> 8) | (two >> 8 << 4), two & 0xFF], axis=1).astype(np.uint8).tobytes()
