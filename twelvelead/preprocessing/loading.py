"""Reads and prepares one recording, whatever happens: the one place where a recording's fault is caught.

    loaded = load(header_path, recipe.input)                    # from files
    loaded = load_given(header_text, signal, recipe.input)      # what the organizers' scripts hand over
    if isinstance(loaded, str): ...                             # one line: the recording and what is wrong with it

Training, inference and experiments all read recordings through these functions, so that nothing that happens while one
recording is read or prepared can cost another its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.plausibility import implausible
from ..data.recording import Recording, read_recording, recording_from
from ..errors import RecordingError
from ..recipes import Input
from .prepare import Prepared, prepare


class Loaded(NamedTuple):
    """A recording, with what is odd about it among its notes, and the model input that was made of it."""

    recording: Recording
    prepared: Prepared


def load(header_path: str | Path, *inputs: Input) -> Loaded | str:
    """The recording of a header file with its model input, or one line that says why there is none.

    `inputs` is what the model takes: one Input, or several for a joined model; see prepare.prepare.
    """
    return _load(lambda: read_recording(header_path), inputs, str(header_path))


def load_given(header: str | Sequence[str], signal: np.ndarray, *inputs: Input) -> Loaded | str:
    """The same for a header's text (or its lines) and its signal in ADC units, (leads, samples)."""
    return _load(lambda: recording_from(header, signal), inputs, _record_name(header))


def _load(read: Callable[[], Recording], inputs: Sequence[Input], name: str) -> Loaded | str:
    try:
        recording = read()
        prepared = prepare(recording, *inputs)
        doubts = implausible(recording)
        if doubts:
            recording = replace(recording, notes=(*recording.notes, *doubts))
        return Loaded(recording, prepared)
    except RecordingError as error:
        return str(error)
    except Exception as error:  # MemoryError, or a fault of ours: this recording's result is lost, and no other's
        return f"{name}: {type(error).__name__}: {error}"


def _record_name(header: str | Sequence[str]) -> str:
    """What the first line of a header calls the record, or a question mark."""
    try:
        lines = header.splitlines() if isinstance(header, str) else list(header)
        return lines[0].split()[0]
    except (IndexError, AttributeError, TypeError):
        return "?"
