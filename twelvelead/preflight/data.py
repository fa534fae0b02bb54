"""Training and test recordings as the organizers hand them over, and copies with everything that has stopped entries.

    folders = make_data(root, data)         # data None: synthetic recordings

Every recording is a MATLAB v4 file with its header in one flat folder, since the scripts of both years look for nothing
else. The test folder has no labels; they lie in a folder of their own, for the scorer.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import resample

from ..data.classes import SINUS_RHYTHM
from ..data.folders import find_recordings
from ..data.header import LEADS
from ..data.recording import Recording, read_recording
from ..errors import RecordingError, UserError
from ..synthetic import make_recording
from ..terminal import printable

TRAINING, TEST = 48, 8  # recordings, at most
LEAD_SETS = (6, 4, 3, 2)  # of the Challenge of 2021
LEADS_OF = {6: LEADS[:6], 4: ("I", "II", "III", "V2"), 3: ("I", "II", "V2"), 2: ("I", "II")}
RATES_HZ = (100, 257, 300, 1000)
FINDINGS = ("NSR", "AF", "SB", "STach", "CRBBB", "LBBB", "IAVB", "PVC")
UNITS_PER_MV = 1000


@dataclass(frozen=True)
class Folders:
    """The folders of recordings, and which of them are damaged.

    Attributes
    ----------
    training, test, nested, labels : Path
        `nested` has the recordings of `test` in folders below each other; `labels` has their headers with diagnoses.
    recordings : set of str
        The names of all recordings of `test`.
    damaged : set of str
        Those of them that hold no signal.
    """

    training: Path
    test: Path
    nested: Path
    labels: Path
    recordings: set[str]
    damaged: set[str]


def make_data(root: Path, data: Path | None) -> Folders:
    """Writes the folders below `root`, from recordings of `data`, or from synthetic ones.

    Raises
    ------
    UserError
        If `data` holds fewer than ten recordings that can be read and have a diagnosis.
    """
    folders = Folders(root / "training", root / "test", root / "nested", root / "labels", set(), set())
    for folder in (folders.training, folders.test, folders.labels):
        folder.mkdir()
    recordings = _real(data) if data else _synthetic()
    for number, recording in enumerate(recordings[:-TEST]):
        _write(folders.training, replace(recording, name=f"T{number:04d}"))
    test = [replace(recording, name=f"A{number:04d}") for number, recording in enumerate(recordings[-TEST:])]
    for recording in [*test, *_variants(test)]:
        _write_test(folders, recording)
    _write_damaged(folders, test[0])
    for number, name in enumerate(sorted(folders.recordings)):
        place = folders.nested / f"source{number % 2}" / f"g{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        for extension in (".hea", ".mat"):
            shutil.copy(folders.test / f"{name}{extension}", place)
    return folders


def _synthetic() -> list[Recording]:
    return [make_recording([FINDINGS[k % len(FINDINGS)]], seed=k) for k in range(TRAINING + TEST)]


def _real(data: Path) -> list[Recording]:
    """Labelled recordings of a folder, spread evenly over it."""
    headers = find_recordings(data)
    step = max(1, len(headers) // (2 * (TRAINING + TEST)))
    recordings: list[Recording] = []
    for header in headers[::step]:
        try:
            recording = read_recording(header)
        except RecordingError:
            continue
        if recording.codes and set(LEADS) <= set(recording.leads) and recording.signal_mv.shape[1] > 1000:
            recordings.append(recording)
        if len(recordings) == TRAINING + TEST:
            break
    if len(recordings) < TEST + 2:
        raise UserError(
            f"{printable(data)}: {len(recordings)} recordings of twelve leads with a diagnosis (#Dx) can be read, "
            f"a preflight needs {TEST + 2}; leave DATA out for synthetic ones"
        )
    return recordings


def _variants(test: Sequence[Recording]) -> Iterator[Recording]:
    """Copies with fewer leads, other rates and lengths, flat and missing leads: all of them can be classified."""
    for count, recording in zip(LEAD_SETS, test):
        rows = [recording.leads.index(lead) for lead in LEADS_OF[count]]
        yield replace(recording, name=f"L{count:04d}", signal_mv=recording.signal_mv[rows], leads=LEADS_OF[count])
    for rate_hz, recording in zip(RATES_HZ, test):
        samples = round(recording.signal_mv.shape[1] * rate_hz / recording.frequency_hz)
        signal_mv = resample(np.nan_to_num(recording.signal_mv), samples, axis=1).astype(np.float32)
        yield replace(recording, name=f"R{rate_hz:04d}", signal_mv=signal_mv, frequency_hz=float(rate_hz))
    flat, missing, short, long = (recording.signal_mv.copy() for recording in test[:4])
    flat[[2, 7]] = 0
    missing[3] = np.nan
    missing[:, 1000:1200] = np.nan
    yield replace(test[0], name="F0001", signal_mv=flat)
    yield replace(test[1], name="F0002", signal_mv=missing)
    yield replace(test[2], name="F0003", signal_mv=short[:, : round(5 * test[2].frequency_hz)])
    yield replace(test[3], name="F0004", signal_mv=np.tile(long, (1, 7)))


def _write_test(folders: Folders, recording: Recording) -> None:
    text = _write(folders.test, recording)
    folders.recordings.add(recording.name)
    (folders.labels / f"{recording.name}.hea").write_text(text, encoding="utf-8")


def _write_damaged(folders: Folders, recording: Recording) -> None:
    """Recordings that the organizers' scripts can load, and that hold nothing: each must get sinus rhythm."""
    rows, samples = len(LEADS), 5000
    noise = np.random.default_rng(0).normal(0, 200, (rows, samples)).round()
    contents = {
        "D0001": (np.zeros((rows, samples)), "<i2", LEADS),
        "D0002": (np.full((rows, samples), -32768), "<i2", LEADS),
        "D0003": (np.full((rows, samples), np.nan), "<f8", LEADS),
        "D0004": (noise, "<i2", tuple(f"unknown{k}" for k in range(rows))),
        "D0005": (noise, "<i2", ()),  # a header that breaks off after its first line
    }
    for name, (values, dtype, leads) in contents.items():
        text = _header(replace(recording, name=name, leads=leads, codes=(SINUS_RHYTHM,)), rows, samples, 500)
        if not leads:
            text = text.split("\n", 1)[0] + "\n"
        (folders.test / f"{name}.hea").write_text(_without_labels(text), encoding="utf-8")
        (folders.test / f"{name}.mat").write_bytes(_matlab4(values, dtype))
        (folders.labels / f"{name}.hea").write_text(
            text if leads else text + f"#Dx: {SINUS_RHYTHM}\n", encoding="utf-8"
        )
        folders.recordings.add(name)
        folders.damaged.add(name)


def _write(folder: Path, recording: Recording) -> str:
    """Writes a recording as the Challenge does, in a test folder without its labels; returns the header with labels."""
    values = np.where(np.isnan(recording.signal_mv), -32768, np.clip(recording.signal_mv * UNITS_PER_MV, -32767, 32767))
    text = _header(recording, len(recording.leads), values.shape[1], recording.frequency_hz)
    written = _without_labels(text) if folder.name == "test" else text
    (folder / f"{recording.name}.hea").write_text(written, encoding="utf-8")
    (folder / f"{recording.name}.mat").write_bytes(_matlab4(values.round(), "<i2"))
    return text


def _header(recording: Recording, rows: int, samples: int, frequency_hz: float) -> str:
    name, sex = recording.name, recording.sex.capitalize()
    lines = [f"{name} {rows} {frequency_hz:g} {samples}"]
    lines += [f"{name}.mat 16+24 {UNITS_PER_MV}/mV 16 0 0 0 0 {lead}" for lead in recording.leads]
    lines += [f"#Age: {recording.age_years:g}", f"#Sex: {sex}", f"#Dx: {','.join(recording.codes)}"]
    return "\n".join(lines) + "\n"


def _without_labels(header: str) -> str:
    return re.sub(r"^#\s*Dx.*\n", "", header, flags=re.MULTILINE)


def _matlab4(values: np.ndarray, dtype: str) -> bytes:
    """A MATLAB v4 file with the matrix `val`, int16 or float64."""
    kind = {"<i2": 30, "<f8": 0}[dtype]
    return struct.pack("<5i", kind, *values.shape, 0, 4) + b"val\0" + values.astype(dtype).tobytes(order="F")
