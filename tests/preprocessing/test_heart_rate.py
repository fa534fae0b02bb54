"""Heart rates, and the diagnoses that follow from them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from twelvelead.commands import WEIGHTS
from twelvelead.data.classes import SINUS_RHYTHM, load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.preprocessing.heart_rate import RR_FIELDS, add_rate_labels, heart_rate, qrs_places, rr_numbers
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipe import RR_NUMBERS
from twelvelead.recipes import get_recipe
from twelvelead.training.store import build_store

AF, BRADYCARDIA, TACHYCARDIA = "164889003", "426177001", "427084000"
CLASSES = scored_classes(load_weights(WEIGHTS))


def beats(rate: float, frequency_hz: float = 125.0, seconds: float = 10.0, jitter: float = 0.0) -> np.ndarray:
    """float32 (12, samples): P waves, QRS complexes and tall T waves at `rate` a minute; leads differ in amplitude."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * frequency_hz)) / frequency_hz
    signal = np.zeros(len(time))
    at = 0.3
    while at < seconds + 1:
        for delay, height, width in ((-0.16, 0.15, 0.025), (0, 1.0, 0.012), (0.03, -0.3, 0.012), (0.24, 0.5, 0.045)):
            signal += height * np.exp(-0.5 * ((time - at - delay) / width) ** 2)
        at += 60 / rate * (1 + jitter * random.standard_normal())
    return (np.linspace(-1, 1.2, 12)[:, None] * signal).astype(np.float32)


@pytest.mark.parametrize("frequency_hz", [100, 125, 257, 500, 1000])
@pytest.mark.parametrize("rate", [35, 52, 58, 62, 75, 97, 103, 140, 190])
def test_the_rate_of_regular_beats_is_found_at_any_sampling_frequency(rate, frequency_hz):
    assert heart_rate(beats(rate, frequency_hz), frequency_hz) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("gain", [1e-3, 1, 1e6])
def test_the_unit_plays_no_part_and_neither_do_lost_leads(gain):
    signal = beats(72) * np.float32(gain)
    signal[3:9] = 0
    assert heart_rate(signal, 125.0) == pytest.approx(72, rel=0.02)


def test_noise_wander_an_artefact_and_a_gap_are_borne():
    signal = beats(66, jitter=0.03) + 0.05 * np.random.default_rng(1).standard_normal((12, 1250)).astype(np.float32)
    signal += 2 * np.sin(2 * np.pi * 0.3 * np.arange(1250) / 125).astype(np.float32)
    signal[:, 700:703] += 20
    signal[:, 900:1000] = 0
    assert heart_rate(signal, 125.0) == pytest.approx(66, rel=0.05)


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros((12, 1250), np.float32),
        np.zeros((12, 0), np.float32),
        np.zeros((12, 3), np.float32),
        beats(40, seconds=2),
        np.full((12, 1250), 3e38, np.float32) * np.resize([1, -1], 1250).astype(np.float32),
    ],
)
def test_without_three_beats_there_is_no_rate(signal):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert heart_rate(signal, 125.0) is None


def test_a_sampling_too_coarse_for_a_qrs_complex_gives_no_rate():
    assert heart_rate(beats(60, 10), 10) is None


def test_sinus_rhythm_below_60_and_above_100_gets_its_name_and_nothing_else_changes():
    codes = (AF, BRADYCARDIA, SINUS_RHYTHM, TACHYCARDIA)
    labels = np.array([[0, 0, 1, 0]] * 6 + [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
    rates = np.array([59.9, 60, 80, 100, 100.1, np.nan, 40, 80, 120])
    expected = labels.copy()
    expected[0, 1] = expected[4, 3] = expected[8, 3] = True
    before = labels.copy()
    assert np.array_equal(add_rate_labels(labels, rates, codes), expected) and np.array_equal(labels, before)


def test_classes_that_a_model_does_not_have_are_not_added():
    labels, rates = np.ones((2, 2), dtype=bool), np.array([50, 120.0])
    labels[:, 1] = False
    assert add_rate_labels(labels, rates, (SINUS_RHYTHM, AF)).tolist() == labels.tolist()
    assert add_rate_labels(labels, rates, (AF, BRADYCARDIA)).tolist() == labels.tolist()
    assert add_rate_labels(labels, rates, (SINUS_RHYTHM, BRADYCARDIA)).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("recipe", ["butt", "crnn", "cnn-gru"])
def test_a_store_has_the_rates_that_its_recordings_were_made_with(recipe, hospital, tmp_path):
    headers = find_recordings(hospital)
    store = build_store(headers, get_recipe(recipe).input, tmp_path, root=hospital, jobs=1)
    labels = CLASSES.labels(store.codes)
    slow, fast = (labels[:, CLASSES.index[code]] for code in (BRADYCARDIA, TACHYCARDIA))
    assert store.rates.shape == (len(store),) and np.isfinite(store.rates).mean() > 0.95
    assert np.nanmedian(store.rates[slow]) < 60 and np.nanmedian(store.rates[fast]) > 100


def test_real_sinus_rhythms_keep_to_the_definition_but_in_ptb_xl(real_data):
    rates = {code: [] for code in (SINUS_RHYTHM, BRADYCARDIA, TACHYCARDIA)}
    for source in ("cpsc_2018", "cpsc_2018_extra", "chapman_shaoxing", "ningbo"):
        for path in find_recordings(real_data / source):
            recording = read_recording(path)
            rate = heart_rate(prepare(recording, get_recipe("butt").input).signal, 125.0)
            for code in rates:
                if CLASSES.labels([recording.codes])[0, CLASSES.index[code]]:
                    rates[code].append(rate)
    assert all(rates.values())
    assert min(rates[SINUS_RHYTHM]) >= 60 and max(rates[SINUS_RHYTHM]) <= 100
    assert np.mean([rate < 60 for rate in rates[BRADYCARDIA]]) > 0.9  # one in twenty is annotated otherwise
    assert min(rates[TACHYCARDIA]) > 95


def at(*seconds: float, frequency_hz: float = 125.0) -> np.ndarray:
    """float32 (12, samples): a QRS complex at each of these times."""
    time = np.arange(round((seconds[-1] + 1) * frequency_hz)) / frequency_hz
    signal = sum(np.exp(-0.5 * ((time - second) / 0.012) ** 2) for second in seconds)
    return (np.linspace(-1, 1.2, 12)[:, None] * signal).astype(np.float32)


def numbers_of(signal: np.ndarray) -> np.ndarray:
    return rr_numbers(qrs_places(signal, 125.0), 125.0)


def test_rr_numbers_of_regular_beats_tell_the_rate_and_nothing_else():
    for rate in (50, 75, 120):
        numbers = dict(zip(RR_FIELDS, numbers_of(beats(rate))))
        assert numbers.pop("RR intervals known") == 1
        assert numbers.pop("4 log2(rate / 75)") == pytest.approx(4 * np.log2(rate / 75), abs=0.15)
        np.testing.assert_allclose(list(numbers.values()), 0, atol=0.1)


def test_rr_numbers_tell_an_early_beat_and_its_pause():
    signal = at(1, 1.8, 2.6, 3.1, 4.0, 4.8, 5.6, 6.4)
    intervals = np.array([0.8, 0.8, 0.5, 0.9, 0.8, 0.8, 0.8])
    np.testing.assert_allclose(np.diff(qrs_places(signal, 125.0)) / 125, intervals, atol=0.009)
    known, rate, spread, shortest, longest, early = numbers_of(signal)
    assert known == 1 and rate == pytest.approx(0, abs=0.1)
    assert spread == pytest.approx(4 * intervals.std() / 0.8, abs=0.1)
    assert shortest == pytest.approx(3 * (0.5 / 0.8 - 1), abs=0.05)
    assert longest == pytest.approx(3 * (0.9 / 0.8 - 1), abs=0.05)
    assert early == pytest.approx(4 / 6)


@pytest.mark.parametrize("signal", [np.zeros((12, 1250)), at(1, 2, 3), np.full((12, 1250), np.inf), np.zeros((12, 2))])
def test_rr_numbers_of_too_few_beats_are_all_zero(signal):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(numbers_of(signal), np.zeros(RR_NUMBERS))
    assert len(RR_FIELDS) == RR_NUMBERS


def test_rr_numbers_stay_within_limits_and_need_no_unit():
    wild = at(1, 1.3, 1.6, 1.9, 2.2, 12.0, 12.3)
    assert np.abs(numbers_of(wild)).max() == 6
    np.testing.assert_array_equal(numbers_of(beats(66) * 1000), numbers_of(beats(66)))
