"""Whatever bytes a header and a signal hold: a Recording that keeps its contract, or one line that says why not.

Always in bounded time and memory. The mutator is seeded, so that a failure can be repeated: the message names the seed.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from pathlib import Path

import made
import numpy as np
import pytest
import scipy.io
from mutator import mutated

from twelvelead.data import limits
from twelvelead.data.header import LEADS
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.errors import RecordingError
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import Input


def originals(folder: Path) -> list[tuple[bytes, bytes, str]]:
    """Headers with their signals, one of each kind: (header, signal, extension)."""
    values = made.adc(3, 40, 8)
    fields = dict(leads=("I", "II", "V1"), n_samples=40)
    kinds = [(made.header(**fields, storage="16x1:0+24", gain="1000.0(0)/mV").encode(), made.matlab4(values), ".mat")]
    kinds.append((made.header(**fields).encode(), made.matlab5(values), ".mat"))
    scipy.io.savemat(folder / "z.mat", {"fs": 500.0, "val": values.astype(np.int16)}, do_compression=True)
    kinds.append((made.header(**fields).encode(), (folder / "z.mat").read_bytes(), ".mat"))
    for form in made.BITS:
        text = made.header(**fields, storage=form, extension=".dat", initial=[int(first) for first in values[:, 0]])
        kinds.append((text.encode(), made.encoded(values, form), ".dat"))
    text = made.header(leads=("I", "II"), n_samples=20, storage=["16x2", "16x4"], extension=".dat").encode()
    kinds.append((text, made.encoded(made.adc(6, 20), "16"), ".dat"))
    return kinds


def assert_contract(recording) -> None:
    signal = recording.signal_mv
    assert signal.dtype == np.float32 and signal.T.flags.c_contiguous and 0 < signal.size <= limits.VALUES
    assert signal.shape[0] == len(recording.leads) == len(set(recording.leads))
    standard = [lead for lead in LEADS if lead in recording.leads]
    assert list(recording.leads[: len(standard)]) == standard
    assert not np.isinf(signal).any()
    assert 0 < recording.frequency_hz < math.inf
    assert math.isnan(recording.age_years) or 0 <= recording.age_years <= 130
    assert recording.sex in ("female", "male", "unknown")
    assert len(set(recording.codes)) == len(recording.codes) and all(recording.codes)
    assert all(note and "\n" not in note and "\x1b" not in note for note in recording.notes)


def read_mutations(folder: Path, seeds: range) -> int:
    """Reads a mutated recording for each seed, in both ways, and prepares what can be read; returns how many could."""
    kinds, n_read = originals(folder), 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        header, signal, extension = kinds[rng.integers(len(kinds))]
        which = rng.integers(3)
        header = mutated(header, rng) if which != 1 else header
        signal = mutated(signal, rng) if which != 0 else signal
        path = made.write(folder, "A0001", header, signal, extension)
        start = time.process_time()
        for from_files in (True, False):
            try:
                given = (header.decode("latin-1"), made.adc(3, 40))
                recording = read_recording(path) if from_files else recording_from(*given)
                assert_contract(recording)
                n_read += 1
                assert np.isfinite(prepare(recording, Input()).signal).all()
            except RecordingError as error:
                assert str(error) and "\n" not in str(error) and "\x1b" not in str(error)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        assert time.process_time() - start < 1, f"seed {seed} took {time.process_time() - start:.1f} s"
        (folder / f"A0001{extension}").unlink()
    return n_read


def test_mutated_headers_and_signals_are_read_or_named(tmp_path):
    assert 200 < read_mutations(tmp_path, range(500)) < 1000


@pytest.mark.long
def test_twenty_thousand_mutated_headers_and_signals(tmp_path):
    tracemalloc.start()
    try:
        n_read = read_mutations(tmp_path, range(1000, 21_000))
        assert tracemalloc.get_traced_memory()[1] < 500 * 2**20
    finally:
        tracemalloc.stop()
    assert 5_000 < n_read < 40_000
