"""Preprocessing: what comes out of `prepare` is right at every rate, and nothing in the input can break it."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.data.recording import Recording, read_recording
from twelvelead.data.resampling import resample
from twelvelead.errors import RecordingError
from twelvelead.preprocessing.filters import band_pass, envelopes, high_pass
from twelvelead.preprocessing.leads import derive_limb_leads, undo_arm_reversal
from twelvelead.preprocessing.prepare import (
    TYPICAL_AMPLITUDE,
    amplitude_of,
    metadata_of,
    prepare,
    windows_of,
)
from twelvelead.recipes import Input
from twelvelead.synthetic import make_recording

RATES = (100, 125, 128, 250, 257, 300, 360, 400, 500, 1000)


def recording(signal_mv, leads=LEADS, frequency_hz=500.0) -> Recording:
    signal_mv = np.asarray(signal_mv, dtype=np.float32)
    return Recording("made", signal_mv, tuple(leads), frequency_hz, np.nan, "unknown", (), ())


def ecg_like(seconds=10.0, frequency_hz=500.0, seed=0) -> np.ndarray:
    """(12, samples) of band-limited noise that obeys Einthoven's and Goldberger's equations."""
    t = np.arange(round(seconds * frequency_hz)) / frequency_hz
    random = np.random.default_rng(seed)
    tones = sum(
        np.sin(2 * np.pi * (f * t[None] + random.random((12, 1)))) * random.random((12, 1)) for f in (1, 5, 11, 23)
    )
    one, two = tones[0], tones[1]
    tones[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return tones.astype(np.float32)


def gain_at(tone_hz: float, from_hz: float, to_hz: float = 125.0) -> float:
    """Amplitude of a resampled tone, measured away from the ends."""
    t = np.arange(round(20 * from_hz)) / from_hz
    out = resample(np.sin(2 * np.pi * tone_hz * t, dtype=np.float32)[None], from_hz, to_hz)[0]
    middle = out[len(out) // 4 : -len(out) // 4]
    return float(np.sqrt(2 * np.mean(middle.astype(np.float64) ** 2)))


@pytest.mark.parametrize("rate", [r for r in RATES if r > 125])
def test_resampling_passes_50_hz_and_stops_above_the_new_nyquist_frequency(rate):
    for tone in (1, 10, 30, 50):
        assert gain_at(tone, rate) == pytest.approx(1, abs=0.005), tone
    for tone in (63, 75, 90, 110, 0.49 * rate):
        if 62.5 < tone < rate / 2:
            assert gain_at(tone, rate) < 0.002, tone  # −54 dB


def test_upsampling_keeps_the_band_and_makes_no_image():
    for tone in (1, 10, 30, 40):
        assert gain_at(tone, 100) == pytest.approx(1, abs=0.005)
    wave = np.sin(2 * np.pi * 30 * np.arange(2000) / 100, dtype=np.float32)[None]
    image = np.abs(np.fft.rfft(resample(wave, 100, 125)[0]))
    frequency = np.fft.rfftfreq(2500, 1 / 125)
    assert image[frequency > 50].max() < 0.01 * image.max()


@pytest.mark.parametrize("rate", RATES)
def test_copies_at_every_rate_agree_after_resampling(rate):
    reference, copy = ecg_like(frequency_hz=1000), ecg_like(frequency_hz=rate)
    a, b = resample(reference, 1000, 125), resample(copy, rate, 125)
    assert a.shape == b.shape == (12, 1250)
    assert np.abs(a - b)[:, 30:-30].max() < 0.01


@pytest.mark.parametrize("rate,up,down", [(500, 1, 4), (1000, 1, 8), (250, 1, 2), (300, 5, 12), (100, 5, 4)])
def test_resampling_agrees_with_scipys_polyphase_filter_in_the_pass_band(rate, up, down):
    x = ecg_like(frequency_hz=rate)
    assert np.abs(resample(x, rate, 125) - scipy_signal.resample_poly(x, up, down, axis=1))[:, 50:-50].max() < 0.01


@given(samples=st.integers(1, 3000), rate=st.sampled_from(RATES) | st.floats(20, 4000), level=st.floats(-5, 5))
@settings(max_examples=60, deadline=None)
def test_any_length_and_rate_gives_the_expected_length_and_keeps_a_constant(samples, rate, level):
    out = resample(np.full((2, samples), level, dtype=np.float32), rate, 125.0)
    assert out.dtype == np.float32 and abs(out.shape[1] - samples * 125 / rate) < 1 + 1e-3 * samples
    assert np.abs(out - np.float32(level)).max() < 1e-4


@pytest.mark.parametrize("rate", [0, -1, np.nan, np.inf])
def test_a_senseless_rate_is_an_error(rate):
    with pytest.raises(ValueError, match="positive"):
        resample(np.zeros((1, 10), dtype=np.float32), rate, 125)


def test_prepare_scales_millivolts_and_orders_leads():
    signal = ecg_like()
    plain = prepare(recording(signal), Input(unit_mv=0.2))
    assert plain.signal.shape == (12, 1250) and plain.leads.all() and plain.valid.all()
    np.testing.assert_allclose(plain.signal * 0.2, resample(signal, 500, 125), atol=1e-6)
    shuffled = np.random.default_rng(1).permutation(12)
    other = prepare(recording(signal[shuffled], [LEADS[k] for k in shuffled]), Input())
    np.testing.assert_array_equal(other.signal, plain.signal)


@pytest.mark.parametrize("pair", [(a, b) for a in range(6) for b in range(a)])
def test_any_two_limb_leads_give_the_other_four(pair):
    signal = ecg_like()
    kept = [*pair, *range(6, 12)]
    whole = prepare(recording(signal), Input())
    part = prepare(recording(signal[kept], [LEADS[k] for k in kept]), Input())
    assert part.leads.all()
    np.testing.assert_allclose(part.signal, whole.signal, atol=2e-5)


def test_leads_that_cannot_be_derived_are_zero_and_marked():
    signal = ecg_like()
    part = prepare(recording(signal[[0, 1, 7]], ("I", "II", "V2")), Input())
    assert part.leads.tolist() == [True] * 6 + [False, True, False, False, False, False]
    assert not part.signal[~part.leads].any()
    one = prepare(recording(signal[[1]], ("II",)), Input())
    assert one.leads.sum() == 1 and not one.signal[~one.leads].any()


def test_a_flat_lead_counts_as_missing_whatever_its_offset():
    signal = ecg_like()
    signal[0], signal[8] = 0.7, -3.0
    prepared = prepare(recording(signal), Input())
    assert prepared.leads[0] and not prepared.leads[8]  # I comes from II and III
    np.testing.assert_allclose(prepared.signal[0], prepare(recording(ecg_like()), Input()).signal[0], atol=2e-5)
    assert not prepared.signal[8].any()


def test_gaps_are_interpolated_and_samples_that_no_lead_has_are_invalid():
    signal = ecg_like()
    smooth = prepare(recording(signal), Input()).signal
    signal[3, 1000:1003] = np.nan  # a short gap in one lead
    signal[:, 2000:3000] = np.nan  # two seconds in all
    signal[5] = np.nan  # a lead without any sample: aVF comes from the others
    prepared = prepare(recording(signal), Input())
    assert np.isfinite(prepared.signal).all() and prepared.leads.all()
    invalid = np.flatnonzero(~prepared.valid)
    assert invalid.min() == 500 and invalid.max() in (748, 749)
    assert not prepared.signal[:, ~prepared.valid].any()
    away = np.r_[0:450, 800:1250]
    assert np.abs(prepared.signal - smooth)[:, away].max() < 0.3


@pytest.mark.parametrize(
    "signal,leads",
    [
        (np.zeros((12, 500)), LEADS),
        (np.full((12, 500), np.nan), LEADS),
        (np.ones((12, 500)), LEADS),
        (np.zeros((12, 0)), LEADS),
        (np.random.default_rng(0).normal(size=(2, 500)), ("X", "Y")),
    ],
)
def test_a_recording_without_any_signal_is_an_error_that_names_it(signal, leads):
    with pytest.raises(RecordingError, match="made"):
        prepare(recording(signal, leads), Input())


def test_wild_amplitudes_stay_finite_in_half_precision():
    prepared = prepare(recording(ecg_like() * 1e9), Input())
    assert np.isfinite(prepared.signal.astype(np.float16)).all()


def test_prepare_does_not_change_the_recording():
    source = recording(ecg_like())
    before = source.signal_mv.copy()
    prepare(source, dataclasses.replace(Input(), frequency_hz=500.0))
    np.testing.assert_array_equal(source.signal_mv, before)


@given(samples=st.integers(1, 40000), window=st.integers(2, 5000), share=st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_pieces_cover_a_recording_and_overlap(samples, window, share):
    overlap = int(window * share)
    pieces = windows_of(samples, window, overlap)
    assert pieces[0][0] == 0 and pieces[-1][1] == samples
    assert all(stop - start == min(window, samples) for start, stop in pieces)
    assert all(a[1] - b[0] >= overlap for a, b in pairwise(pieces))


def test_limb_derivation_leaves_complete_recordings_alone():
    signal, present = ecg_like(), np.ones(12, dtype=bool)
    out, still = derive_limb_leads(signal, present)
    assert out is signal and still is present


# 15 Hz lies a quarter down the half cosine that falls from 12 to 24 Hz
@pytest.mark.parametrize(
    "tone_hz,low,high",
    [(1, 1, 1), (4, 1, 1), (6, 0.5, 1), (10, 0, 1), (15, 0, (1 + np.cos(np.pi / 4)) / 2), (18, 0, 0.5), (25, 0, 0)],
)
def test_an_envelope_is_the_amplitude_of_a_tone_in_its_band(tone_hz, low, high):
    t = np.arange(2500) / 250
    tones = np.float32([[0.3], [2.0]]) * np.cos(2 * np.pi * tone_hz * t + np.float32([[0.4], [1.1]])).astype(np.float32)
    out = envelopes(tones, 250.0)
    assert out.shape == (4, 2500) and out.dtype == np.float32
    expected = np.array([[0.3 * low], [2 * low], [0.3 * high], [2 * high]])
    np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), atol=1e-5)
    if low == high == 1:
        np.testing.assert_allclose(out, np.tile(np.abs(scipy_signal.hilbert(tones)), (2, 1)), atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 7, 1000, 1001])
@pytest.mark.parametrize("rate", [250, 30])  # at 30 Hz the upper band holds all frequencies
def test_envelopes_agree_with_scipys_hilbert_transform_and_tukey_window(samples, rate):
    signal = np.random.default_rng(samples).normal(size=(3, samples)).astype(np.float32)
    frequency = np.abs(np.fft.fftfreq(samples, 1 / rate))
    out = envelopes(signal, rate)
    for k, band in enumerate((8, 24)):
        window = scipy_signal.windows.tukey(20_001, 0.5)  # over −band … band
        weight = np.interp(frequency / band, np.linspace(-1, 1, 20_001), window, right=0)
        filtered = np.fft.ifft(np.fft.fft(signal, axis=1) * weight, axis=1).real
        np.testing.assert_allclose(out[3 * k : 3 * k + 3], np.abs(scipy_signal.hilbert(filtered)), atol=1e-5)


@given(samples=st.integers(0, 600), rate=st.floats(5, 1000), leads=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_envelopes_are_finite_and_never_negative_at_any_length_and_rate(samples, rate, leads):
    signal = np.random.default_rng(samples).normal(size=(leads, samples)).astype(np.float32)
    before = signal.copy()
    out = envelopes(signal, rate)
    assert out.shape == (2 * leads, samples) and np.isfinite(out).all() and (out >= 0).all()
    np.testing.assert_array_equal(signal, before)


# --------------------------------------------------------------------------- what the recipes ask for beyond resampling


def tone(frequency_hz: float, seconds=10.0, rate=125.0, phase=0.3) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate + phase, dtype=np.float32)[None]


@pytest.mark.parametrize("slow", [np.full((1, 1250), 3.0, dtype=np.float32), tone(0.2) * 2, tone(0.1) + tone(0.25) - 1])
def test_a_high_pass_removes_wander_and_offset_and_keeps_the_heart(slow):
    middle = slice(250, -250)
    assert np.abs(high_pass(slow, 125, 0.5))[:, middle].max() < 0.02 * np.abs(slow).max()
    for hz in (2, 10, 40):
        out = high_pass(slow + tone(hz), 125, 0.5)
        assert out.dtype == np.float32 and np.abs(out - tone(hz))[:, middle].max() < 0.03 * np.abs(slow).max() + 0.01
        assert np.sqrt(np.mean((out - tone(hz)) ** 2)) < 0.1 * np.abs(slow).max()  # the ends too


def test_a_drift_makes_no_step_at_the_ends():
    drift = np.linspace(-2, 2, 1250, dtype=np.float32)[None]
    assert np.abs(high_pass(drift, 125, 0.5)).max() < 0.2


def test_a_high_pass_moves_nothing_in_time_and_is_the_same_backwards():
    pulse = np.zeros((2, 1250), dtype=np.float32)
    pulse[0, 600:605], pulse[1, 100] = 1, -1
    out = high_pass(pulse, 125, 0.5)
    assert out[0].argmax() in range(600, 605) and out[1].argmin() == 100 and np.abs(out - pulse).max() < 0.05
    np.testing.assert_allclose(high_pass(pulse[:, ::-1], 125, 0.5), out[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 249, 250, 251])
def test_short_signals_survive_a_high_pass_and_lose_their_mean_at_least(samples):
    signal = np.random.default_rng(samples).normal(2, 1, size=(12, samples)).astype(np.float32)
    out = high_pass(signal, 125, 0.5)
    assert out.shape == signal.shape and np.isfinite(out).all()
    if samples < 250:
        np.testing.assert_allclose(out, signal - signal.mean(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(out.mean(axis=1), 0, atol=1e-5)


def test_preparing_with_a_high_pass_keeps_missing_leads_and_samples_at_zero():
    signal = ecg_like() + 5
    signal[8], signal[:, 2000:3000] = 0.7, np.nan
    prepared = prepare(recording(signal), Input(high_pass_hz=0.5, unit_mv=1))
    assert not prepared.signal[8].any() and not prepared.signal[:, ~prepared.valid].any()
    assert np.abs(prepared.signal[:, prepared.valid].mean(axis=1)).max() < 0.2


@pytest.mark.parametrize("rate", [100, 257, 500])
@pytest.mark.parametrize("order", [2, 3])
def test_a_band_pass_is_scipys_butterworth_forwards_and_backwards(rate, order):
    """Away from the ends; there scipy continues the signal by a point reflection, and we by a mirror image."""
    signal = ecg_like(30, rate) + 2 * np.sin(np.arange(30 * rate) / rate)  # a slow wander, which must go
    sections = scipy_signal.butter(order, (1, 47), "bandpass", fs=rate, output="sos")
    expected = scipy_signal.sosfiltfilt(sections, signal.astype(np.float64))
    found = band_pass(signal.astype(np.float32), rate, (1, 47), order)
    inside = slice(3 * rate, -3 * rate)
    assert found.dtype == np.float32 and np.abs(expected[:, inside]).max() > 0.1
    np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=1e-3)


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 50, 499])
def test_short_signals_survive_a_band_pass_and_missing_leads_stay_zero(samples):
    signal = np.random.default_rng(0).normal(size=(12, samples)).astype(np.float32)
    signal[4] = 0
    found = band_pass(signal, 500, (1, 47), 3)
    assert found.shape == signal.shape and np.isfinite(found).all() and not found[4].any()
    if samples:
        assert np.abs(found.mean(axis=1)).max() < 1e-6


PER_LEAD = Input(frequency_hz=500, band_pass_hz=(1, 47), centred=True, per_lead_scale=True, derive_limb_leads=False)


@pytest.mark.parametrize("gain", [0.01, 1, 100])
def test_each_lead_gets_mean_zero_and_deviation_one_at_any_gain(gain):
    signal = ecg_like() * np.linspace(0.1, 3, 12)[:, None] + 2
    signal[8], signal[:, 2000:3000] = 0.7, np.nan
    prepared = prepare(recording(signal * gain), PER_LEAD)
    heard = np.delete(prepared.signal[:, prepared.valid], 8, axis=0)
    np.testing.assert_allclose(heard.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(heard.std(axis=1), 1, atol=1e-3)
    assert not prepared.signal[8].any() and not prepared.signal[:, ~prepared.valid].any()
    np.testing.assert_allclose(prepared.signal, prepare(recording(signal), PER_LEAD).signal, atol=1e-3)


def test_limb_leads_are_left_missing_where_a_recipe_does_not_derive_them():
    prepared = prepare(recording(ecg_like()[[0, 1, 7]], ("I", "II", "V2")), PER_LEAD)
    assert prepared.leads.tolist() == prepared.signal.any(axis=1).tolist()
    assert [LEADS[k] for k in np.flatnonzero(prepared.leads)] == ["I", "II", "V2"]


OWN = Input(per_recording_scale=True, high_pass_hz=0.5)


@pytest.mark.parametrize("recipe", [OWN, Input(per_recording_scale=True, centred=True, envelopes_hz=(8.0, 24.0))])
@given(decades=st.floats(-3, 3))
@settings(max_examples=15, deadline=None)
def test_on_its_own_scale_a_recording_is_the_same_at_any_gain(recipe, decades):
    """A wrong gain costs nothing: only the amplitude in `metadata` hears of it."""
    signal = ecg_like()
    signal[7] = 0.3  # flat, whatever the gain
    signal[9, 100:200] = np.nan
    plain, scaled = (prepare(recording(signal * gain), recipe) for gain in (1.0, 10.0**decades))
    np.testing.assert_allclose(scaled.signal, plain.signal, atol=1e-4)
    assert np.array_equal(scaled.leads, plain.leads) and np.array_equal(scaled.valid, plain.valid)
    np.testing.assert_array_equal(scaled.metadata[:5], plain.metadata[:5])
    if plain.metadata[6] and scaled.metadata[6]:
        assert scaled.metadata[5] - plain.metadata[5] == pytest.approx(decades, abs=1e-3)


def test_millivolts_stay_millivolts_without_a_scale_of_ones_own():
    plain, scaled = (prepare(recording(ecg_like() * gain), Input()) for gain in (1, 3))
    np.testing.assert_allclose(scaled.signal, 3 * plain.signal, atol=1e-4)
    assert not plain.metadata.any()


def test_on_its_own_scale_most_leads_reach_one_and_an_artefact_is_cut_at_twenty():
    signal = ecg_like()
    signal[:, 2500:2505] = 1000
    prepared = prepare(recording(signal), Input(per_recording_scale=True))
    assert np.median(np.percentile(np.abs(prepared.signal), 98, axis=1)) == pytest.approx(1, rel=1e-5)
    assert prepared.signal.max() == 20


def test_one_wild_lead_or_one_that_is_off_moves_a_recordings_amplitude_little():
    signal = ecg_like(frequency_hz=125)
    plain = amplitude_of(signal)
    assert plain == pytest.approx(np.median([np.quantile(np.abs(lead), 0.98) for lead in signal]))
    for wild in (1e4, 0.0):
        for lead in range(12):
            changed = signal.copy()
            changed[lead] *= wild
            neighbours = np.sort(np.percentile(np.abs(signal), 98, axis=1))[4:8]
            assert neighbours[0] <= amplitude_of(changed) <= neighbours[-1]
    spiked = signal.copy()
    spiked[:, 300:310] = 1e4  # 0.8 % of the samples of every lead
    assert amplitude_of(spiked) == pytest.approx(plain, rel=0.1)


@pytest.mark.parametrize("signal", [np.zeros((12, 500)), np.zeros((12, 0)), np.zeros((0, 9)), np.full((1, 5), 1e-320)])
def test_a_recording_without_an_amplitude_is_divided_by_one(signal):
    assert amplitude_of(signal) == 1.0


def test_an_amplitude_is_that_of_rare_beats_where_most_samples_are_flat():
    signal = np.zeros((3, 1000))
    signal[:, 500] = -2.5
    assert amplitude_of(signal) == 2.5


@pytest.mark.parametrize(
    "age,sex,amplitude,expected",
    [
        (50, "female", 1.0, [0.5, 1, 1, 0, 1, 0, 1]),
        (0, "male", 0.1, [0, 1, 0, 1, 1, -1, 1]),
        (np.nan, "unknown", np.nan, [0] * 7),
        (np.nan, "male", 100, [0, 0, 0, 1, 1, 0, 0]),
        (89, "unknown", 8.0, [0.89, 1, 0, 0, 0, math.log10(8), 1]),
        (89, "unknown", 8.1, [0.89, 1, 0, 0, 0, 0, 0]),
        (np.inf, "", 0.08, [0, 0, 0, 0, 0, math.log10(0.08), 1]),
        (30, "female", 0.0, [0.3, 1, 1, 0, 1, 0, 0]),
    ],
)
def test_metadata_has_a_one_behind_what_is_known_and_zeros_for_the_rest(age, sex, amplitude, expected):
    metadata = metadata_of(age, sex, amplitude)
    assert metadata.dtype == np.float32
    np.testing.assert_allclose(metadata, expected, rtol=1e-6)


def test_metadata_has_age_and_sex_and_the_amplitude_that_was_divided_by():
    source = dataclasses.replace(recording(ecg_like()), age_years=70.0, sex="female")
    np.testing.assert_allclose(prepare(source, Input()).metadata, [0.7, 1, 1, 0, 1, 0, 0], rtol=1e-6)
    own = prepare(source, Input(per_recording_scale=True))
    amplitude = amplitude_of(resample(source.signal_mv, 500, 125))
    np.testing.assert_allclose(own.metadata, [0.7, 1, 1, 0, 1, math.log10(amplitude), 1], rtol=1e-5)
    np.testing.assert_allclose(own.signal * amplitude, prepare(source, Input(unit_mv=1)).signal, atol=1e-5)


def test_envelopes_are_channels_12_to_35_each_bands_leads_in_their_order():
    recipe = Input(frequency_hz=250, unit_mv=1, centred=True, envelopes_hz=(8.0, 24.0))
    signal = ecg_like() + 2
    signal[:, 2000:3000] = np.nan
    prepared = prepare(recording(signal), recipe)
    assert recipe.channels == 36 and prepared.signal.shape == (36, 2500) and prepared.leads.shape == (12,)
    np.testing.assert_allclose(prepared.signal[:12, prepared.valid].mean(axis=1), 0, atol=1e-5)
    assert not prepared.signal[:, ~prepared.valid].any()
    signal[:, 2000:3000] = 0
    whole = prepare(recording(signal), recipe).signal
    np.testing.assert_array_equal(whole[12:], envelopes(whole[:12], 250, (8.0, 24.0)))
    for k in range(12):
        narrow, wide = (np.mean(whole[first + k] ** 2) for first in (12, 24))
        assert narrow < wide  # 8 Hz, then 24 Hz


# ------------------------------------------------------------------------------------------------------- exchanged arms

ARMS = Input(high_pass_hz=0.5, undo_arm_reversal=True)


def with_arms_exchanged(source: Recording) -> Recording:
    """By the leads' definitions: I is turned over, II and III, aVR and aVL change places."""
    one, two, three, right, left, *others = source.signal_mv
    return dataclasses.replace(source, signal_mv=np.stack([-one, three, two, left, right, *others]))


def test_exchanged_arms_are_set_right_and_right_ones_left_alone():
    for seed, diagnosis in enumerate(["NSR", "AF", "LBBB", "CRBBB", "SB", "PAC", "LAD"]):
        source = make_recording([diagnosis], seed)
        plain, right, undone = (
            prepare(each, recipe)
            for each, recipe in (
                (source, dataclasses.replace(ARMS, undo_arm_reversal=False)),
                (source, ARMS),
                (with_arms_exchanged(source), ARMS),
            )
        )
        np.testing.assert_array_equal(right.signal, plain.signal)
        np.testing.assert_allclose(undone.signal, plain.signal, atol=1e-5)


@pytest.mark.parametrize("leads", [(1, 2, 6, 7), (0, 6, 7, 8), (0, 1), (10, 11)])
def test_without_lead_i_or_v5_and_v6_nobody_can_tell_and_nothing_is_exchanged(leads):
    source = with_arms_exchanged(make_recording(["NSR"], 1))
    signal = np.zeros_like(source.signal_mv)
    signal[list(leads)] = source.signal_mv[list(leads)]
    present = signal.any(axis=1)
    out, still = undo_arm_reversal(signal, present)
    assert out is signal and still is present


def test_presence_of_leads_is_exchanged_with_them():
    source = with_arms_exchanged(make_recording(["NSR"], 1))
    signal = source.signal_mv - source.signal_mv.mean(axis=1, keepdims=True)
    present = np.array([True, True, False, True, False, False, *[True] * 6])
    signal[~present] = 0
    out, there = undo_arm_reversal(signal, present)
    assert there.tolist() == [True, False, True, False, True, False, *[True] * 6] and there.dtype == bool
    assert out.any(axis=1).tolist() == there.tolist()
    np.testing.assert_array_equal(out[[0, 2, 4]], [-signal[0], signal[1], signal[3]])
    np.testing.assert_array_equal(out[6:], signal[6:])


def test_exchanged_arms_are_seen_in_real_recordings_and_others_left_alone(real_data):
    recordings = [read_recording(path) for path in find_recordings(real_data)[::25]]
    plain = dataclasses.replace(ARMS, undo_arm_reversal=False)

    def changed(cohort):
        return np.mean([not np.array_equal(prepare(one, ARMS).signal, prepare(one, plain).signal) for one in cohort])

    assert len(recordings) > 100 and changed(recordings) < 0.03
    assert changed(map(with_arms_exchanged, recordings)) > 0.85


@pytest.mark.parametrize("kept", [range(6), [*range(6), 7], range(11), [*range(6), 6, 7, 8, 9]])
def test_a_heart_of_typical_proportions_is_scaled_alike_with_any_leads(kept):
    spec = Input(per_recording_scale=True)
    beats = np.sin(np.linspace(0, 60, 5000))
    whole = (0.7 * TYPICAL_AMPLITUDE[:, None] * beats).astype(np.float32)
    # Limb leads of these proportions are not Einthoven's, which nobody checks where all of them are there.
    part = whole[list(kept)]
    all_leads = prepare(recording(whole), spec)
    some_leads = prepare(recording(part, [LEADS[k] for k in kept]), spec)
    np.testing.assert_allclose(some_leads.signal[list(kept)], all_leads.signal[list(kept)], rtol=2e-2, atol=1e-6)
    np.testing.assert_allclose(some_leads.metadata, all_leads.metadata, atol=0.01)
