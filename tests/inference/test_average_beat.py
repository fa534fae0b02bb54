"""The average beat: what it keeps, what it leaves out, and that it depends on its own recording alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twelvelead import synthetic
from twelvelead.inference.average_beat import MOST_BEATS, average_beat, with_average_beat
from twelvelead.inference.predict import cut_batch, stack
from twelvelead.models.network import FilledLeads
from twelvelead.preprocessing.heart_rate import qrs_places
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import BUTT, Input

HZ, SAMPLES = 125.0, Input(average_beat=True).beat_samples
BEFORE = 40  # samples before the middle of the QRS complex


def one_beat() -> np.ndarray:
    """A P wave, a QRS complex in the middle of which sample 40 lies, and a T wave, in three leads; (112, 3)."""
    t = (np.arange(SAMPLES) - BEFORE) / HZ
    waves = [(-0.16, 0.025, 0.15), (-0.02, 0.008, -0.1), (0.0, 0.012, 1.0), (0.025, 0.01, -0.3), (0.25, 0.05, 0.3)]
    beat = sum(height * np.exp(-0.5 * ((t - place) / width) ** 2) for place, width, height in waves)
    return np.outer(beat, [1.0, 0.6, -0.8]).astype(np.float32)


def rhythm(places, time=1250, beat=None) -> torch.Tensor:
    """A recording (1, time, 3) with a beat at each place, which is the middle of its QRS complex."""
    beat = one_beat() if beat is None else beat
    signal = np.zeros((time + 2 * SAMPLES, 3), dtype=np.float32)
    for place in places:
        signal[SAMPLES + place - BEFORE : 2 * SAMPLES + place - BEFORE] += beat
    return torch.from_numpy(signal[SAMPLES:-SAMPLES])[None]


def likeness(a, b) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def of(signal: torch.Tensor, valid: torch.Tensor | None = None) -> np.ndarray:
    return average_beat(signal, valid, HZ, SAMPLES).numpy()[0]


def test_equal_beats_give_that_beat():
    beat = of(rhythm(range(100, 1100, 110)))
    middle = int(np.abs(beat).sum(axis=1).argmax())
    assert abs(middle - BEFORE) <= 3
    assert likeness(np.roll(beat, BEFORE - middle, axis=0), one_beat()) > 0.999


def test_noise_is_averaged_away():
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 1250, 3)).astype(np.float32))
    clean = rhythm(range(100, 1100, 90))
    difference = (of(clean + noise) - of(clean))[:25]  # before the QRS complex, where a shift changes little
    assert difference.std() < 0.1 / np.sqrt(11) * 1.3


def test_a_beat_of_another_shape_hardly_counts():
    places = list(range(100, 1100, 110))
    wide = np.repeat(one_beat(), 3, axis=0)[2 * BEFORE : 2 * BEFORE + SAMPLES] * -1.5
    strange = rhythm(places[:5] + places[6:]) + rhythm(places[5:6], beat=wide)
    assert likeness(of(strange), of(rhythm(places))) > 0.995


def test_only_the_first_beats_are_averaged():
    places = [60 + 60 * k for k in range(MOST_BEATS)]
    later = [places[-1] + 60 * k for k in range(1, 5)]
    inverse = rhythm(places, 1250) + rhythm(later, 1250, beat=one_beat()[:, ::-1].copy())
    # each beat has neighbours within its window, which are the same for all but the last ones
    assert likeness(of(inverse)[:BEFORE], of(rhythm(places + later, 1250))[:BEFORE]) > 0.999


@pytest.mark.parametrize("samples", [1, 5, 63, 111, 118, 130])
def test_without_a_whole_beat_it_is_zero(samples):
    assert not of(torch.ones(1, samples, 3)).any() and not of(torch.zeros(1, samples, 3)).any()
    assert not of(rhythm([20], samples)).any()


def test_neither_padding_nor_other_recordings_change_it():
    short, long = rhythm(range(100, 700, 100), 750), rhythm(range(80, 1200, 75), 1250)
    both = torch.cat([torch.nn.functional.pad(short, (0, 0, 0, 500)), long])
    valid = torch.arange(1250)[None] < torch.tensor([[750], [1250]])
    together = average_beat(both, valid, HZ, SAMPLES).numpy()
    np.testing.assert_allclose(together[0], of(short), atol=1e-5)
    np.testing.assert_allclose(together[1], of(long), atol=1e-5)


def test_steps_at_a_gap_are_no_beats():
    signal = rhythm(range(100, 1200, 110)) + 0.5
    valid = torch.ones(1, 1250, dtype=torch.bool)
    valid[:, 600:640] = False
    signal[:, 600:640] = 0
    assert likeness(of(signal, valid)[20:80] - 0.5, of(rhythm(range(100, 500, 110)))[20:80]) > 0.99


@pytest.mark.parametrize("frequency_hz", [60.0, 100.0, 257.0, 500.0])
def test_it_begins_as_long_before_the_qrs_complex_at_any_rate(frequency_hz):
    spec = dataclasses.replace(BUTT.input, frequency_hz=frequency_hz)
    prepared = prepare(synthetic.make_recording(["NSR"], seed=3), spec)
    signal = torch.from_numpy(prepared.signal.T.copy())[None]
    beat = average_beat(signal, None, frequency_hz, spec.beat_samples)[0].numpy()
    slope = np.square(np.diff(beat, axis=0)).sum(axis=1)
    assert len(beat) == spec.beat_samples and abs(slope.argmax() / frequency_hz - 0.32) < 0.06


def test_it_finds_the_beats_that_the_heart_rate_is_counted_from():
    """A mean over the windows of `qrs_places`, which is not aligned, is nearly the same beat."""
    alike = []
    for seed in range(7):
        prepared = prepare(synthetic.make_recording(["NSR"], seed=seed), BUTT.input)
        signal = prepared.signal
        places = [p for p in qrs_places(signal, HZ) if BEFORE + 4 <= p < signal.shape[1] - SAMPLES][:MOST_BEATS]
        mean = np.mean([signal[:, p - BEFORE : p - BEFORE + SAMPLES] for p in places], axis=0)
        alike.append(likeness(of(torch.from_numpy(signal.T.copy())[None]), mean.T))
    assert np.median(alike) > 0.95


def test_a_network_gets_it_behind_the_metadata():
    prepared = [prepare(synthetic.make_recording(["NSR"], seed=seed), BUTT.input) for seed in (0, 1)]
    data = stack(prepared, torch.device("cpu"))
    x, valid = cut_batch(data, data.offsets, data.lengths)
    known = with_average_beat(x, valid, data.metadata, BUTT.input)
    assert known.shape == (2, BUTT.input.network_numbers)
    assert torch.equal(known[:, : BUTT.input.metadata_numbers], data.metadata)
    expected = average_beat(x.transpose(1, 2), valid, HZ, SAMPLES)
    assert torch.equal(known[:, BUTT.input.metadata_numbers :], expected.flatten(1))
    without = dataclasses.replace(BUTT.input, average_beat=False)
    assert with_average_beat(x, valid, data.metadata, without) is data.metadata
    assert without.network_numbers == without.metadata_numbers


def test_missing_leads_of_the_beat_are_estimated_as_those_of_the_signal():
    """With a covariance by which lead 2 is twice lead 0."""

    class Inputs(torch.nn.Module):
        def forward(self, x, valid, metadata):
            return x, metadata

    model = FilledLeads(Inputs(), 3, beat_place=2)
    mixing = torch.tensor([[1.0, 0, 0], [0, 1, 0], [2, 0, 0]])
    model.covariance.copy_(mixing @ mixing.T + 1e-6 * torch.eye(3))
    x = torch.randn(2, 3, 50)
    x[0, 2] = 0
    beat = x[:, :, 10:20].transpose(1, 2)
    filled, metadata = model(x, None, torch.cat([torch.ones(2, 2), beat.flatten(1)], dim=1))
    assert torch.allclose(filled[0, 2], 2 * x[0, 0], atol=0.02)
    assert torch.equal(metadata[:, :2], torch.ones(2, 2))
    torch.testing.assert_close(metadata[:, 2:].view(2, 10, 3), filled[:, :, 10:20].transpose(1, 2))
