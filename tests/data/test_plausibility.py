"""What no recording of a heart is like is said to whoever classifies or trains, and changes nothing."""

from __future__ import annotations

import made
import numpy as np
import pytest

from twelvelead.data.folders import find_recordings
from twelvelead.data.plausibility import implausible
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.preprocessing.loading import load_given
from twelvelead.recipes import Input


def heart(**fields):
    """A header and a signal of 10 s at 500 Hz, 1000 units per millivolt unless `fields` say otherwise."""
    values = np.cumsum(np.random.default_rng(1).normal(size=(12, 5000)), axis=1)
    values = (5 * values).round().astype(int)
    return made.header(n_samples=5000, **fields), values


def test_a_usual_recording_gives_no_doubt():
    assert implausible(recording_from(*heart())) == []


@pytest.mark.parametrize("gain", ["1000/V", "0.1/mV", "1000/nV", "1e9/mV"])
def test_amplitudes_of_volts_or_of_nothing_are_told_and_left(gain):
    header, values = heart(gain=gain)
    recording = recording_from(header, values)
    (note,) = implausible(recording)
    assert "the gain may be wrong" in note
    loaded = load_given(header, values, Input())
    assert loaded.recording.notes == (*recording.notes, note)
    np.testing.assert_array_equal(loaded.recording.signal_mv, recording.signal_mv)


@pytest.mark.parametrize("offset", [0, 20_000])
def test_an_offset_is_no_amplitude(offset):
    header, values = heart()
    assert implausible(recording_from(header, values + offset)) == []


def test_leads_that_are_copies_are_named_and_flat_ones_are_not():
    header, values = heart()
    values[1] = values[0]
    values[6:] = values[6]
    values[4:6] = 0
    (note,) = implausible(recording_from(header, values))
    assert note == "leads with exactly the same signal: I = II; V1 = V2 = V3 = V4 = V5 = V6"
    values = values.astype(float)
    values[:, 100:200] = np.nan  # missing samples are no difference
    assert implausible(recording_from(header, values)) == [note]
    values[0, 3000] += 1
    values[6, 3000] += 1
    assert implausible(recording_from(header, values)) == ["leads with exactly the same signal: V2 = V3 = V4 = V5 = V6"]


def test_frequencies_and_lengths_of_no_ecg_are_told():
    header, values = heart(frequency="1")
    assert any("1 Hz is too low" in note for note in implausible(recording_from(header, values)))
    short = recording_from(made.header(n_samples=100), values[:, :100])
    assert any("0.2 s are too short" in note for note in implausible(short))


def test_leads_of_other_names_do_not_count():
    values = np.zeros((1, 5000), int)
    values[0, ::2] = 30_000
    assert implausible(recording_from(made.header(leads=("clock",), n_samples=5000, gain="1/V"), values)) == []


@pytest.mark.slow
def test_no_real_recording_is_doubted(real_data):
    for path in find_recordings(real_data):
        recording = read_recording(path)
        assert implausible(recording) == [] and recording.notes == (), path
