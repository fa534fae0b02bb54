"""Quality checks: each fault is noticed when it is made, and healthy recordings are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twelvelead.data.folders import find_recordings
from twelvelead.data.leads import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.preprocessing.leads import ARM_REVERSAL
from twelvelead.quality.beats import QRS, P, T, average_beat, view_of, wave_sizes
from twelvelead.quality.checks import check
from twelvelead.quality.inversion import all_leads_inverted, inverted_leads
from twelvelead.synthetic.making import make_recording

NORMAL = make_recording(["NSR"], 3, age_years=50, sex="female")


def changed(signal=None, **changes):
    """The normal recording with another signal, float32 (leads, samples), or other fields."""
    return replace(NORMAL, **({} if signal is None else {"signal_mv": signal.astype(np.float32)}), **changes)


def texts(recording, **options) -> dict[str, bool]:
    """The findings of a recording: what they say, and whether they are severe."""
    return {finding.text: finding.severe for finding in check(recording, **options).findings}


def only(recording, words, severe, **options) -> None:
    found = texts(recording, **options)
    assert [words in text and is_severe == severe for text, is_severe in found.items()] == [True], found


def test_there_is_nothing_to_say_of_a_normal_recording():
    seen = check(NORMAL)
    assert seen.findings == () and seen.recording is NORMAL


@pytest.mark.parametrize("frequency_hz", [100, 257, 500, 1000])
def test_the_average_beat_does_not_depend_on_the_sampling_frequency(frequency_hz):
    beat = average_beat(view_of(make_recording(["NSR"], 3, noise=0, frequency_hz=frequency_hz)))
    expected = average_beat(view_of(make_recording(["NSR"], 3, noise=0, frequency_hz=500)))
    for wave in (P, QRS, T):
        np.testing.assert_allclose(wave_sizes(beat, wave)[[1, 3]], wave_sizes(expected, wave)[[1, 3]], atol=0.12)


def test_waves_change_their_sign_with_the_signal():
    beat = average_beat(view_of(NORMAL))
    for wave in (P, QRS, T):
        np.testing.assert_allclose(wave_sizes(-beat, wave), -wave_sizes(beat, wave), atol=1e-6)
        assert wave_sizes(beat, wave)[LEADS.index("II")] > 0 > wave_sizes(beat, wave)[LEADS.index("aVR")]


def test_all_leads_upside_down_are_turned_over_and_said():
    turned = 0
    for seed in range(20):
        recording = make_recording(["NSR"], seed)
        assert check(recording).recording is recording
        seen = check(replace(recording, signal_mv=-recording.signal_mv))
        assert any("upside down" in finding.text for finding in seen.findings)
        if np.array_equal(seen.recording.signal_mv, recording.signal_mv):
            turned += any("turned over" in finding.text and not finding.severe for finding in seen.findings)
    assert turned >= 12  # the others have a P wave that points down in lead I as it is


def test_without_p_waves_an_inverted_recording_is_only_warned_of():
    recording = make_recording(["AF"], 1)
    seen = check(replace(recording, signal_mv=-recording.signal_mv))
    assert [(finding.severe, "may be upside down" in finding.text) for finding in seen.findings] == [(True, True)]
    np.testing.assert_array_equal(seen.recording.signal_mv, -recording.signal_mv)


def test_nothing_is_said_of_inversion_without_the_leads_that_tell_it():
    view = view_of(changed(-NORMAL.signal_mv[:2], leads=LEADS[:2]))
    assert all_leads_inverted(average_beat(view), view.present) == "no"


def test_real_recordings_are_never_turned_over_and_most_inverted_ones_are(real_data):
    counts = {"certain": 0, "suspected": 0, "no": 0}
    headers = find_recordings(real_data)[::80]
    for header in headers:
        view = view_of(read_recording(header))
        beat = average_beat(view)
        assert all_leads_inverted(beat, view.present) != "certain", header
        counts[all_leads_inverted(None if beat is None else -beat, view.present)] += 1
    assert counts["certain"] > 0.6 * len(headers) and counts["no"] < 0.25 * len(headers), counts


def test_real_recordings_are_seldom_distrusted(real_data):
    headers = find_recordings(real_data)[::80]
    distrusted = [header for header in headers if any(f.severe for f in check(read_recording(header)).findings)]
    assert len(distrusted) <= 0.02 * len(headers) + 1, distrusted


@pytest.mark.parametrize("lead", ["I", "II", "III", "aVR", "aVL", "aVF", "V4", "V5", "V6"])
def test_a_single_lead_upside_down_is_named(lead):
    signal = NORMAL.signal_mv.copy()
    signal[LEADS.index(lead)] *= -1
    assert inverted_leads(view_of(changed(signal))) == (lead,)
    assert any(f"say: {lead}" in text and severe for text, severe in texts(changed(signal)).items())


def test_exchanged_arms_are_said_and_severe_only_for_a_model_that_leaves_them():
    recording = changed(ARM_REVERSAL @ NORMAL.signal_mv)
    only(recording, "arm electrodes seem to be exchanged; the model exchanges them back", False)
    only(recording, "arm electrodes seem to be exchanged", True, undoes_arm_reversal=False)


def test_flat_and_missing_leads_are_named():
    signal = NORMAL.signal_mv.copy()
    signal[6:8] = 0.3
    only(changed(signal), "flat: V1, V2", False)
    only(changed(NORMAL.signal_mv[:11], leads=LEADS[:11]), "not recorded: V6", False)
    found = texts(changed(NORMAL.signal_mv[:1], leads=LEADS[:1]))
    assert any("11 leads are missing" in text and severe for text, severe in found.items()), found
    only(changed(NORMAL.signal_mv * 0), "no lead holds a signal", True)


def test_noise_is_named_and_severe_if_it_is_everywhere():
    noise = np.random.default_rng(0).normal(0, 0.5, NORMAL.signal_mv.shape)
    one = NORMAL.signal_mv + noise * (np.arange(12) == 8)[:, None]
    only(changed(one), "very noisy: V3", False)
    assert any("very noisy" in text and severe for text, severe in texts(changed(NORMAL.signal_mv + noise)).items())


@pytest.mark.parametrize("factor", [1000, 0.005])
def test_a_gain_that_no_heart_has_counts_for_models_that_need_it(factor):
    only(changed(NORMAL.signal_mv * factor), "no heart has", False)
    only(changed(NORMAL.signal_mv * factor), "no heart has", True, needs_gain=True)


def test_what_is_too_short_or_has_no_beats_is_not_trusted():
    assert texts(changed(NORMAL.signal_mv[:, :2000])).get("the signal is only 4 s long, less than 5 s")
    slow = changed(NORMAL.signal_mv, frequency_hz=50.0)  # one beat in ten seconds
    assert any("beats a minute" in text or "fewer than three" in text for text in texts(slow)), texts(slow)


@pytest.mark.parametrize("rest", [np.nan, 0.0])
def test_a_sheet_of_a_quarter_of_the_time_for_each_lead_is_not_trusted(rest):
    signal = np.full_like(NORMAL.signal_mv, rest)
    for column in range(4):
        time = slice(column * 1250, (column + 1) * 1250)
        signal[column * 3 : column * 3 + 3, time] = NORMAL.signal_mv[column * 3 : column * 3 + 3, time]
    signal[1] = NORMAL.signal_mv[1]  # the rhythm strip
    found = texts(changed(signal))
    assert any("sheet of 2.5 s" in text and severe for text, severe in found.items()), found


def test_missing_samples_are_said_with_their_share():
    signal = NORMAL.signal_mv.copy()
    signal[4, 1000:2500] = np.nan
    only(changed(signal), "missing samples: aVL 30%", False)


@pytest.mark.parametrize("samples", [1, 2, 30])
def test_the_shortest_recordings_are_checked_without_an_error(samples):
    assert check(changed(NORMAL.signal_mv[:, :samples])).findings
