"""Signal files: where a header's signals lie, and their samples in ADC units.

    path, data = find_signal_file("A0001.hea", "A0001.mat", notes)
    blocks = read_blocks(data, path, header.signals, header.n_samples, notes)

MATLAB files are read in matlab.py, the formats of WFDB in wfdb_formats.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import RecordingError
from ..files import read_bytes
from . import limits
from .matlab import read_matlab
from .row_matching import Block, match_by_samples, match_rows, split_frames
from .signal_lines import Signal
from .wfdb_formats import BYTES, FLAC, MISSING_ADC, decode, decode_flac

_START = 512  # bytes of a file that tell whether it is a text
_TEXT = re.compile(rb"[\d\s.,;:+\-eE\"]{64,}")


def find_signal_file(header_path: str, file: str, notes: list[str]) -> tuple[str, bytes]:
    """Path and content of a signal file: the one that the header names, or the one that it obviously means.

    That may be a file with the extension that the header leaves out or writes in another case, or one that is called
    like the header, if the recording was renamed. A header cannot name files of other folders.

    Raises
    ------
    RecordingError
        If there is none, or it cannot be read, is no regular file or is too large.
    """
    folder = os.path.dirname(header_path)
    for name in _possible_names(os.path.basename(header_path), file):
        path = os.path.join(folder, name)
        try:
            data = read_bytes(path, limits.SIGNAL_BYTES)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
        except OSError as error:
            raise RecordingError(f"{path}: the signal cannot be read ({error.strerror})") from None
        if name != file:
            notes.append(f"the header names {file!r} as signal, read was {name!r}")
        stem = os.path.splitext(name)[0]
        if stem != os.path.splitext(os.path.basename(header_path))[0] and os.path.exists(
            os.path.join(folder, stem + ".hea")
        ):
            notes.append(f"the header names the signal file of another recording, {name!r}")
        return path, data
    raise RecordingError(f"{header_path}: its signal file {file} is not beside it")


def _possible_names(header_name: str, file: str) -> Iterator[str]:
    """Names under which a signal file may lie, the one that the header says first."""
    if os.path.basename(file) == file and "\\" not in file:
        yield file
        yield from _in_other_spelling(file)
    stem, extension = os.path.splitext(header_name)[0], os.path.splitext(file)[1]
    yield stem + extension
    yield from _in_other_spelling(stem + extension)


def _in_other_spelling(name: str) -> Iterator[str]:
    """A name with its extension in the other case, in one case throughout, or with an extension if it has none."""
    stem, extension = os.path.splitext(name)
    yield from (stem + extension.upper(), stem + extension.lower(), name.upper(), name.lower())
    if extension.lower() not in (".mat", ".dat"):
        yield from (name + end for end in (".mat", ".dat", ".MAT", ".DAT"))


def read_blocks(data: bytes, path: str, signals: Sequence[Signal], n_frames: int, notes: list[str]) -> list[Block]:
    """The samples of one signal file in ADC units.

    Parameters
    ----------
    data : bytes
        All of the file.
    path : str
        Where it lies. A `.mat` tells itself what it holds; any other file is read as the signal lines say.
    signals : sequence of Signal
        The lines of the header that name this file.
    n_frames : int
        Samples that the header says, 0 if nothing. A file that is shorter gives what it holds.
    notes : list of str
        Repairs are appended.

    Returns
    -------
    list of Block
        Skew is not applied yet, and missing samples have the value of `MISSING_ADC`.

    Raises
    ------
    RecordingError
        If the file cannot be decoded, holds no samples or more than a recording may have, or does not fit the header.
    """
    if not data:
        raise RecordingError(f"{path}: the signal file is empty")
    is_matlab = path.lower().endswith(".mat")
    if not is_matlab and data[20:24] == b"val\0" and signals[0].byte_offset == 0:
        notes.append("the signal file is a MATLAB file, which the header does not say")
        is_matlab = True
    if is_matlab:
        return match_rows(read_matlab(data, path, len(signals), notes), signals, n_frames, path, notes)
    signals = [signal for signal in signals if not signal.is_null]
    form, offset, width = signals[0].format, signals[0].byte_offset, sum(signal.samples_per_frame for signal in signals)
    if form not in MISSING_ADC:
        raise RecordingError(f"{path}: WFDB has no signal format {form}; it has {', '.join(MISSING_ADC)}")
    if _TEXT.fullmatch(data, 0, _START) and len(set(data[:_START])) > 2:
        raise RecordingError(f"{path}: the signal file is a text, not samples of format {form}")
    if any((signal.format, signal.byte_offset) != (form, offset) for signal in signals):
        raise RecordingError(f"{path}: the header gives its signals different formats or offsets")
    if form in FLAC:
        return _read_flac(data, path, signals, n_frames)
    n_bytes = max(len(data) - offset, 0)
    if n_frames and n_bytes > n_frames * width * BYTES[form] + 4:  # some formats pad the last few samples
        notes.append(f"the signal file goes on after the header's {n_frames} samples")
    stored = int(n_bytes / BYTES[form] / width + 1e-6)
    count = min(stored, n_frames) if n_frames else stored
    if not 0 < count * width <= limits.VALUES:
        raise RecordingError(f"{path}: the signal file holds no samples, or more than a recording may have")
    samples = decode(data[offset:], form, count * width).reshape(count, width)
    if n_frames and stored < n_frames and form != "8":
        fewer = _fewer_signals(data[offset:], samples[0], signals, n_frames, path, notes)
        if fewer:
            return [fewer]
    if form != "8":
        samples = _as_the_first_samples_say(samples, form, signals, notes)
    blocks = split_frames(samples.T, signals)
    return _sum_differences(blocks) if form == "8" else blocks


def _sum_differences(blocks: list[Block]) -> list[Block]:
    """The samples of format 8, which stores their differences and in the header the first."""
    return [
        Block(
            block.samples.cumsum(axis=1, dtype=np.int64) + np.array([[signal.initial] for signal in block.signals]),
            block.signals,
        )
        for block in blocks
    ]


def _as_the_first_samples_say(
    samples: np.ndarray, form: str, signals: Sequence[Signal], notes: list[str]
) -> np.ndarray:
    """The samples (frames, samples of a frame), in the other order of bytes if the header's first samples prove it.

    A format of the same size that a header names by mistake gives noise. Where not a single first sample is as the
    header says, that is noted.
    """
    initial = [signal.initial for signal in signals]
    first = samples[0].tolist()
    several = any(signal.samples_per_frame > 1 or signal.skew for signal in signals)
    if several or len(set(initial)) < 2 or any(map(int.__eq__, first, initial)):
        return samples
    if form in ("16", "61"):
        exchanged = samples.astype(np.int16).byteswap()
        if exchanged[0].tolist() == initial:
            notes.append(
                f"the samples have the other order of bytes than format {form}, told by the header's first samples"
            )
            return exchanged
    notes.append("none of the first samples is the one that the header gives: its format or signal file may be wrong")
    return samples


def _fewer_signals(
    data: bytes, first_frame: np.ndarray, signals: Sequence[Signal], n_frames: int, path: str, notes: list[str]
) -> Block | None:
    """What a file holds that has all samples of fewer signals than the header has lines; None if it just breaks off.

    Both have a size of a whole number of signals. The first samples in the header tell them apart, if it has any.
    """
    form = signals[0].format
    count = len(data) / BYTES[form] / n_frames
    initial = [signal.initial for signal in signals]
    if any(signal.samples_per_frame > 1 for signal in signals) or not (count.is_integer() and any(initial)):
        return None
    if first_frame.tolist() == initial:
        return None
    rows = decode(data, form, int(count) * n_frames).reshape(n_frames, int(count)).T
    matched = match_by_samples(rows, signals)
    if matched is None:
        raise RecordingError(
            f"{path}: the header has {len(signals)} leads, the signal file {count:.0f}: "
            "which of them are there cannot be known"
        )
    notes.append(f"the signal file holds {count:.0f} of the header's {len(signals)} leads, told by their first samples")
    return matched


def _read_flac(data: bytes, path: str, signals: Sequence[Signal], n_frames: int) -> list[Block]:
    per_frame = signals[0].samples_per_frame
    if any(signal.samples_per_frame != per_frame for signal in signals):
        raise RecordingError(f"{path}: signals of one FLAC file must have one sampling frequency")
    form, offset, most = signals[0].format, signals[0].byte_offset, limits.most_values(len(data))
    try:
        samples = decode_flac(data, form, len(signals), offset, n_frames * per_frame, most)
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None
    if len(samples) < per_frame:
        raise RecordingError(f"{path}: the signal file holds no samples")
    return [Block(samples[: len(samples) // per_frame * per_frame].T, list(signals))]
