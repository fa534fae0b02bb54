"""Preprocessing: what comes out of `prepare` is right at every rate, and nothing in the input can break it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from twelvelead.errors import RecordingError
from twelvelead.recipes import Input
from twelvelead.recording import LEADS, Recording
from twelvelead.signals import derive_limb_leads, envelopes, prepare, resample, windows_of

RATES = (100, 125, 128, 250, 257, 300, 360, 400, 500, 1000)


def recording(signal_mv, leads=LEADS, frequency_hz=500.0) -> Recording:
    return Recording("made", np.asarray(signal_mv, dtype=np.float32), tuple(leads), frequency_hz, np.nan, "unknown", (), ())


def ecg_like(seconds=10.0, frequency_hz=500.0, seed=0) -> np.ndarray:
    """(12, samples) of band-limited noise that obeys Einthoven's and Goldberger's equations."""
    t = np.arange(round(seconds * frequency_hz)) / frequency_hz
    random = np.random.default_rng(seed)
    tones = sum(np.sin(2 * np.pi * (f * t[None] + random.random((12, 1)))) * random.random((12, 1)) for f in (1, 5, 11, 23))
    one, two = tones[0], tones[1]
    tones[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return tones.astype(np.float32)


def gain_at(tone_hz: float, from_hz: float, to_hz: float = 125.0) -> float:
    """Amplitude of a resampled tone, measured away from the ends."""
    t = np.arange(round(20 * from_hz)) / from_hz
    out = resample(np.sin(2 * np.pi * tone_hz * t, dtype=np.float32)[None], from_hz, to_hz)[0]
    middle = out[len(out) // 4: -len(out) // 4]
    return float(np.sqrt(2 * np.mean(middle.astype(np.float64) ** 2)))


@pytest.mark.parametrize("rate", [r for r in RATES if r > 125])
def test_resampling_passes_50_hz_and_stops_what_lies_above_the_new_nyquist_frequency(rate):
    for tone in (1, 10, 30, 50):
        assert gain_at(tone, rate) == pytest.approx(1, abs=0.005), tone
    for tone in (63, 75, 90, 110, 0.49 * rate):
        if 62.5 < tone < rate / 2:
            assert gain_at(tone, rate) < 0.002, tone  # −54 dB


def test_upsampling_keeps_the_band_and_makes_no_image():
    for tone in (1, 10, 30, 40):
        assert gain_at(tone, 100) == pytest.approx(1, abs=0.005)
    image = np.abs(np.fft.rfft(resample(np.sin(2 * np.pi * 30 * np.arange(2000) / 100)[None].astype("f4"), 100, 125)[0]))
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


@given(samples=st.integers(1, 3000), rate=st.one_of(st.sampled_from(RATES), st.floats(20, 4000)), level=st.floats(-5, 5))
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
    whole, part = prepare(recording(signal), Input()), prepare(recording(signal[kept], [LEADS[k] for k in kept]), Input())
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
    signal[3, 1000:1003] = np.nan       # a short gap in one lead
    signal[:, 2000:3000] = np.nan       # two seconds in all
    signal[5] = np.nan                  # a lead without any sample: aVF comes from the others
    prepared = prepare(recording(signal), Input())
    assert np.isfinite(prepared.signal).all() and prepared.leads.all()
    invalid = np.flatnonzero(~prepared.valid)
    assert invalid.min() == 500 and invalid.max() in (748, 749)
    assert not prepared.signal[:, ~prepared.valid].any()
    away = np.r_[0:450, 800:1250]
    assert np.abs(prepared.signal - smooth)[:, away].max() < 0.3


@pytest.mark.parametrize("signal,leads", [
    (np.zeros((12, 500)), LEADS), (np.full((12, 500), np.nan), LEADS), (np.ones((12, 500)), LEADS),
    (np.zeros((12, 0)), LEADS), (np.random.default_rng(0).normal(size=(2, 500)), ("X", "Y"))])
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
    assert all(a[1] - b[0] >= overlap for a, b in zip(pieces, pieces[1:]))


def test_limb_derivation_leaves_complete_recordings_alone():
    signal, present = ecg_like(), np.ones(12, dtype=bool)
    out, still = derive_limb_leads(signal, present)
    assert out is signal and still is present


# 15 Hz lies a quarter down the half cosine that falls from 12 to 24 Hz
@pytest.mark.parametrize("tone_hz,low,high", [
    (1, 1, 1), (4, 1, 1), (6, 0.5, 1), (10, 0, 1), (15, 0, (1 + np.cos(np.pi / 4)) / 2), (18, 0, 0.5), (25, 0, 0)])
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
        np.testing.assert_allclose(out[3 * k:3 * k + 3], np.abs(scipy_signal.hilbert(filtered)), atol=1e-5)


@given(samples=st.integers(0, 600), rate=st.floats(5, 1000), leads=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_envelopes_are_finite_and_never_negative_at_any_length_and_rate(samples, rate, leads):
    signal = np.random.default_rng(samples).normal(size=(leads, samples)).astype(np.float32)
    before = signal.copy()
    out = envelopes(signal, rate)
    assert out.shape == (2 * leads, samples) and np.isfinite(out).all() and (out >= 0).all()
    np.testing.assert_array_equal(signal, before)
