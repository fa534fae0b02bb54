"""Synthetic recordings: what a diagnosis promises is measured in the signal, as a reader would, not asked of the model.

The measuring is done at 1000 Hz without noise, where the isoelectric line is zero.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import wfdb
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import find_peaks

from twelvelead.data.classes import DIAGNOSES, EQUIVALENT
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.preprocessing.leads import ARM_REVERSAL
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import get_recipe
from twelvelead.synthetic import HOSPITALS, draw_recording, hospitals, make_recording, random_diagnoses, write_hospital
from twelvelead.synthetic.beats import p_waves, ventricular_beats
from twelvelead.synthetic.conventions import Convention, as_others_write, draw_convention, truth
from twelvelead.synthetic.diagnoses import CODES, UNSCORED, contradiction
from twelvelead.synthetic.ectopy import PATTERNS, add_atrial_beats, add_ventricular_beats
from twelvelead.synthetic.heart import DOWER, TWELVE, seen_by
from twelvelead.synthetic.person import draw_person
from twelvelead.synthetic.population import draw_findings
from twelvelead.synthetic.recorder import Recorder, exchange, filtered, record
from twelvelead.synthetic.rhythm import Breath, rhythm_of

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows

FS = 1000
SEEDS = range(12)
INDEPENDENT = [0, 1, *range(6, 12)]  # I, II, V1 to V6


@lru_cache(maxsize=128)
def clean(diagnoses: str, seed: int, seconds: float = 10.0):
    return make_recording(diagnoses.split("+"), seed, frequency_hz=FS, seconds=seconds, noise=0)


def lead(recording, name: str) -> np.ndarray:
    return recording.signal_mv[LEADS.index(name)]


def qrs_of(recording, slowest: float = 0.06) -> np.ndarray:
    """Onset and end, in samples, of each QRS that lies wholly inside: where the eight leads together move fast, that is
    faster than the part `slowest` of their fastest."""
    eight = recording.signal_mv[INDEPENDENT].astype(float)
    speed = np.linalg.norm(np.gradient(eight, axis=1), axis=0)
    swift = uniform_filter1d(np.linalg.norm(eight - uniform_filter1d(eight, 130), axis=0), 60)
    peaks = find_peaks(swift, height=0.25 * swift.max(), distance=250)[0]
    top = np.array([speed[max(peak - 60, 0) : peak + 60].max() for peak in peaks])
    rr_s = np.median(np.diff(peaks[top > 0.5 * top.max()])) / FS
    found, last, last_top = [], -FS, np.median(top)
    for peak, fastest in zip(peaks, top):
        if (peak - last < 0.38 * np.sqrt(rr_s) * FS and fastest < 0.5 * last_top) or fastest < 0.12 * top.max():
            continue  # the T of the beat before
        last, last_top = peak, fastest
        begin = max(peak - 150, 0)
        fast = begin + np.flatnonzero(speed[begin : peak + 150] > slowest * fastest)
        run = min(np.split(fast, np.flatnonzero(np.diff(fast) > 22) + 1), key=lambda run: np.abs(run - peak).min())
        if run[0] > 20 and run[-1] < len(speed) - 20:
            found.append((run[0], run[-1]))
    return np.array(found)


def rr_of(recording) -> np.ndarray:
    return np.diff(qrs_of(recording)[:, 0]) / FS


def rate_of(recording) -> float:
    return 60 / float(np.mean(rr_of(recording)))


def qrs_ms(recording, slowest: float = 0.06) -> float:
    return float(np.median(np.diff(qrs_of(recording, slowest), axis=1))) * 1000 / FS


def net_qrs(recording, name: str) -> float:
    """R minus the deepest of Q and S, of the second beat."""
    onset, end = qrs_of(recording)[1]
    x = lead(recording, name)[onset:end]
    return float(x.max() + x.min())


def axis_of(recording) -> float:
    return float(np.degrees(np.arctan2(net_qrs(recording, "aVF") * 2 / np.sqrt(3), net_qrs(recording, "I"))))


def p_of(recording) -> np.ndarray:
    """P onsets before each QRS but the first, in seconds before it: from the top of P in II back to the baseline."""
    intervals = []
    ii = lead(recording, "II")
    for onset, _ in qrs_of(recording)[1:]:
        window = ii[max(onset - 420, 0) : onset - 25].astype(float)
        top = find_peaks(window, prominence=0.02)[0][-1]
        before = window[max(top - 80, 0) : top]
        begin = np.flatnonzero(before - before.min() < 0.04 * (window[top] - before.min()))[-1]
        intervals.append((onset - max(onset - 420, 0) - max(top - 80, 0) - begin) / FS)
    return np.array(intervals)


def t_of(recording, qt_s: float = 0.44) -> np.ndarray:
    """ST and T of the second beat, (12, samples): from 40 ms after QRS to `qt_s` after its onset, by Bazett."""
    (onset, end), after = qrs_of(recording)[1], qrs_of(recording)[2]
    return recording.signal_mv[:, end + 40 : onset + int(qt_s * np.sqrt((after[0] - onset) / FS) * FS)]


def qtc_ms(recording) -> float:
    """QT by the tangent to the end of T, in the lead of the largest T, by Bazett."""
    (onset, end), rr = qrs_of(recording)[1], rr_of(recording)
    t = t_of(recording, 0.62).astype(float)
    x = t[np.abs(t).max(axis=1).argmax()]
    peak = int(np.abs(x).argmax())
    fall = np.gradient(x)[peak : peak + 150]
    steepest = peak + int(np.abs(fall).argmax())
    t_end = end + 40 + steepest - x[steepest] / np.gradient(x)[steepest]
    return float((t_end - onset) / np.sqrt(rr.mean()))


def q_of(recording, name: str) -> tuple[float, float]:
    """Duration (ms) and depth (mV) of the Q wave of the second beat; zero where QRS begins upwards."""
    onset, end = qrs_of(recording)[1]
    x = lead(recording, name).astype(float)
    size = np.abs(x[onset:end]).max()
    still = np.flatnonzero(np.abs(x[onset - 60 : onset + 5]) < 0.04 * size)  # a Q may begin more gently than the rest
    x = x[onset - 60 + (still[-1] if len(still) else 40) : end]
    away = np.flatnonzero(np.abs(x) > 0.04 * size)
    if x[away[0]] > 0:
        return 0.0, 0.0
    up = away[x[away] > 0]
    stop = up[0] if len(up) else away[-1]
    return (stop - away[0]) * 1000 / FS, float(-x[:stop].min())


# ---- the normal heart


@pytest.mark.parametrize("seed", SEEDS)
def test_a_normal_recording_is_normal_in_every_respect(seed):
    recording = clean("NSR", seed)
    assert 59 < rate_of(recording) < 101
    assert 0.11 < np.median(p_of(recording)) < 0.20
    assert 65 < qrs_ms(recording) < 110
    assert 350 < qtc_ms(recording) < 460
    assert -30 < axis_of(recording) < 90
    assert net_qrs(recording, "V1") < 0 < net_qrs(recording, "V6")  # R grows from V1 to V6
    assert net_qrs(recording, "aVR") < 0 < net_qrs(recording, "II")
    t = t_of(recording)
    for name in ("II", "V4", "V5"):
        assert t[LEADS.index(name)].max() > 2 * -t[LEADS.index(name)].min()
    for onset, _ in qrs_of(recording)[1:]:
        p = recording.signal_mv[:, onset - 150 : onset - 30]
        assert p[LEADS.index("II")].max() > 0.04 and p[LEADS.index("aVR")].min() < -0.02


def test_einthoven_and_goldberger_hold_with_noise_and_all():
    for seed in SEEDS:
        i, ii, iii, avr, avl, avf = make_recording(random_diagnoses(np.random.default_rng(seed)), seed).signal_mv[:6]
        np.testing.assert_allclose(iii, ii - i, atol=2e-6)
        np.testing.assert_allclose(avr, -(i + ii) / 2, atol=2e-6)
        np.testing.assert_allclose(avl, i - ii / 2, atol=2e-6)
        np.testing.assert_allclose(avf, ii - i / 2, atol=2e-6)


# ---- rhythms


@pytest.mark.parametrize(
    "name, low, high",
    [("SB", 38, 60), ("STach", 100, 150), ("Brady", 30, 50), ("SA", 55, 95), ("AF", 50, 165), ("SB+SA", 38, 60)],
)
def test_rates_are_those_of_the_rhythm(name, low, high):
    assert all(low < rate_of(clean(name, seed, 15)) < high for seed in SEEDS)


def test_intervals_vary_with_the_breath_in_sinus_arrhythmia_alone():
    for seed in SEEDS:
        assert np.ptp(rr_of(clean("SA", seed))) > 0.12
        assert np.ptp(rr_of(clean("NSR", seed))) < 0.12


def test_atrial_fibrillation_is_irregular_without_order():
    for seed in SEEDS:
        rr = rr_of(clean("AF", seed, 30))
        assert rr.std() / rr.mean() > 0.10
        assert abs(np.corrcoef(rr[:-1], rr[1:])[0, 1]) < 0.6
        assert rr.min() > 0.25


def baseline(recording, name: str) -> list[np.ndarray]:
    """Stretches from the end of T to just before the next QRS."""
    qrs = qrs_of(recording)
    return [
        lead(recording, name)[one[0] + int(0.65 * (two[0] - one[0])) : two[0] - 15].astype(float)
        for one, two in itertools.pairwise(qrs)
        if two[0] - one[0] > 500
    ]


def test_fibrillating_atria_make_waves_of_four_to_nine_hertz_in_v1():
    for seed in SEEDS:
        recording = clean("AF", seed, 30)
        stretches = [x - x.mean() for x in baseline(recording, "V1")]
        crossings = sum(np.count_nonzero(np.diff(np.sign(x)) != 0) for x in stretches)
        assert 3.5 < crossings / 2 / (sum(map(len, stretches)) / FS) < 14  # overtones cross more often
        assert np.mean([x.std() for x in stretches]) > 0.01


def test_flutter_beats_fall_on_multiples_of_an_atrial_cycle_of_about_300_a_minute():
    for seed in SEEDS:
        rr = rr_of(clean("AFL", seed, 20))
        cycles = np.arange(0.174, 0.276, 0.0005)
        misfit = np.abs(rr[:, None] / cycles - np.round(rr[:, None] / cycles)).max(axis=0)
        assert misfit.min() < 0.13
        assert set(np.round(rr / cycles[misfit.argmin()]).astype(int)) <= {2, 3, 4, 5}


def test_flutter_is_a_sawtooth_in_the_leads_of_the_foot_and_small_in_lead_one():
    for seed in SEEDS:
        recording = clean("AFL", seed)
        swing = {
            name: np.mean(
                [np.ptp(lead(recording, name)[k : k + 260]) for k in [end + 20 for _, end in qrs_of(recording)[:-1]]]
            )
            for name in ("aVF", "I")
        }
        assert swing["aVF"] > 0.12
        rest = np.mean(np.abs(lead(recording, "aVF")) < 0.01)
        assert rest < 0.25  # the baseline is never at rest; in sinus rhythm:
        assert np.mean(np.abs(lead(clean("SB", seed), "aVF")) < 0.01) > 0.3


@pytest.mark.parametrize("name, low, high", [("IAVB", 0.21, 0.36), ("LPR", 0.20, 0.25), ("IAVB+SB", 0.21, 0.36)])
def test_pr_is_long(name, low, high):
    for seed in SEEDS:
        recording = clean(name, seed)
        if rate_of(recording) < 80:  # faster, P begins within T
            assert low < np.median(p_of(recording)) < high


def test_a_premature_atrial_beat_is_early_and_its_pause_does_not_compensate():
    for seed in SEEDS:
        recording = clean("NSR+PAC", seed, 20)
        rr = rr_of(recording)
        usual = np.percentile(rr, 75)  # in bigeminy half of the intervals are short
        early = np.flatnonzero(rr[:-1] < 0.85 * usual)
        assert len(early)
        assert (rr[early] + rr[early + 1] < 1.96 * usual).all()
        widths = np.diff(qrs_of(recording), axis=1)[:, 0]
        assert (np.abs(np.delete(widths, early + 1) - np.median(widths)) < 15).all()  # an early one may be aberrant


def test_a_premature_ventricular_beat_is_early_wide_and_compensated():
    for seed in SEEDS:
        recording = clean("NSR+PVC", seed, 20)
        qrs = qrs_of(recording)
        widths = np.diff(qrs, axis=1)[:, 0]
        wide, narrow = np.flatnonzero(widths > 114), np.flatnonzero(widths <= 114)
        assert len(wide) and len(narrow)
        onset = qrs[narrow, 0] / FS
        between = np.diff(onset)  # conducted beats are where they would be without the early ones
        rr = between[np.diff(narrow) == 1].min() if (np.diff(narrow) == 1).any() else between.min() / 2
        assert (np.abs(between / rr - np.round(between / rr)) < 0.25).all()
        first = wide[np.isin(wide - 1, narrow)]
        assert ((qrs[first, 0] - qrs[first - 1, 0]) / FS < 0.85 * rr).all()
        for begin in qrs[wide[widths[wide] < 230], 0]:  # ST and T against QRS; a longer one has its T found with it
            eight = recording.signal_mv[INDEPENDENT, begin : begin + 350].astype(float)
            assert eight[:, :130].sum(axis=1) @ eight[:, 170:].sum(axis=1) < 0


def test_pacing_spikes_stand_before_wide_beats_and_nowhere_else():
    def spikes(recording):
        x = recording.signal_mv[INDEPENDENT].astype(float)
        return find_peaks(np.abs(x - median_filter(x, (1, 5))).max(axis=0), height=0.08, distance=50)[0]

    wide = regular = 0
    for seed in range(20):
        recording = clean("PR", seed)
        found = spikes(recording)
        assert 1 <= len(found) <= 30  # on demand only a few
        regular += len(found) >= 8 and np.ptp(np.diff(found)[::2]) < 60  # one or two a beat
        wide += any(np.median(lead(recording, "V1")[spike + 20 : spike + 140]) < -0.10 for spike in found[:2])
    assert regular > 9 and wide > 12  # the rest are paced in the atrium alone
    assert all(len(spikes(clean(name, 3))) == 0 for name in CODES if name != "PR")


# ---- conduction, axis, voltage


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("CRBBB", 120, 170),
        ("LBBB", 120, 205),
        ("IRBBB", 82, 122),
        ("LAnFB", 78, 115),
        ("NSIVCB", 100, 142),
        ("AF+CRBBB", 120, 175),
    ],
)
def test_qrs_is_as_wide_as_the_block_makes_it(name, low, high):
    slowest = 0.12 if name == "LBBB" else 0.06  # its QRS is slow, and its ST sets in at once
    widths = np.array([qrs_ms(clean(name, seed), slowest) for seed in range(20)])
    assert low <= np.median(widths) <= high
    assert np.mean((low <= widths) & (widths <= high)) > 0.8  # a plateau or a steep T misleads the ruler now and then


@pytest.mark.parametrize("name", ["CRBBB", "IRBBB", "CRBBB+LAnFB"])
def test_a_right_bundle_branch_block_ends_in_front_and_to_the_right(name):
    for seed in SEEDS:
        recording = clean(name, seed)
        onset, _ = qrs_of(recording)[1]
        late = recording.signal_mv[:, onset + 80 : onset + 100].mean(axis=1)
        if name == "IRBBB":  # it may be small, and early
            late = recording.signal_mv[:, onset + 50 : onset + 105]
            assert late[LEADS.index("V1")].max() > 0.01 and late[LEADS.index("V6")].min() < -0.03
            continue
        assert late[LEADS.index("V1")] > 0.04  # R'
        assert late[LEADS.index("V6")] < -0.04 and late[LEADS.index("I")] < 0.15  # S


def test_a_left_bundle_branch_block_has_no_septal_q_a_deep_v1_and_t_against_qrs():
    for seed in SEEDS:
        recording = clean("LBBB", seed)
        assert net_qrs(recording, "V1") < -0.4 and net_qrs(recording, "V6") > 0.3
        assert q_of(recording, "V6")[1] < 0.03
        t = t_of(recording)
        assert t[LEADS.index("V1")].max() > 0.1 and t[LEADS.index("V2")].max() > 0.15


def test_a_left_anterior_fascicular_block_has_small_q_in_avl_and_small_r_in_iii():
    for seed in SEEDS:
        recording = clean("LAnFB", seed)
        onset, end = qrs_of(recording)[1]
        avl, iii = lead(recording, "aVL")[onset:end], lead(recording, "III")[onset:end]
        assert -0.65 < avl[:25].min() < 0 < avl.max() and avl.argmax() > avl[:25].argmin()
        assert 0 < iii[:30].max() < -iii.min() and iii.argmin() > iii[:30].argmax()


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("LAD", -90, -30),
        ("RAD", 90, 180),
        ("LAnFB", -90, -42),
        ("LAD+LBBB", -90, -30),
        ("RAD+AF", 90, 180),
        ("LAnFB+LAD", -90, -42),
    ],
)
def test_the_axis_is_where_the_diagnosis_says(name, low, high):
    assert all(low <= axis_of(clean(name, seed)) <= high for seed in SEEDS)


def test_low_voltage_is_below_0_7_mv_in_every_limb_lead_and_nothing_else_is():
    chest = []
    for name in ("LQRSV", "LQRSV+SB", "NSR", "SB", "STach+LAD", "CRBBB", "QAb"):
        for seed in SEEDS:
            onset, end = qrs_of(clean(name, seed))[1]
            swing = np.ptp(clean(name, seed).signal_mv[:, onset:end], axis=1)
            assert (swing[:6].max() < 0.72) == name.startswith("LQRSV")
            if name.startswith("LQRSV"):
                chest.append(swing[6:].max())
    assert 0.05 < np.mean(np.array(chest) < 1.0) < 0.7


# ---- Q, T and QT


def test_qt_is_long_where_it_says_so():
    for seed in SEEDS:
        assert 470 < qtc_ms(clean("NSR+LQT", seed)) < 620
        assert qtc_ms(clean("SB", seed)) < 465


TERRITORIES = (("II", "III", "aVF"), ("V1", "V2", "V3", "V4"), ("I", "aVL", "V5", "V6"))


def test_abnormal_q_waves_are_deep_and_long_in_two_leads_of_a_territory():
    def infarcted(recording):
        q = {name: q_of(recording, name) for name in LEADS}
        return [sum(q[name][0] >= 36 and q[name][1] >= 0.1 for name in leads) >= 2 for leads in TERRITORIES]

    found = np.array([infarcted(clean("QAb", seed)) for seed in range(24)])
    assert found.any(axis=1).all() and found.any(axis=0).all()  # each recording somewhere; each territory in some
    assert not any(any(infarcted(clean("NSR", seed))) for seed in SEEDS)


def test_inverted_t_waves_are_negative_in_two_leads_of_a_territory():
    def inverted(recording):
        t = t_of(recording)
        rows = [[LEADS.index(name) for name in leads if name not in ("V1", "III", "aVL")] for leads in TERRITORIES]
        return any(sum(t[row].min() < -0.1 and -t[row].min() > t[row].max() for row in group) >= 2 for group in rows)

    assert all(inverted(clean("TInv", seed)) for seed in range(24))
    assert not any(inverted(clean("NSR", seed)) for seed in range(24))


def test_abnormal_t_waves_are_flat_or_change_sign_or_have_two_humps():
    def abnormal(recording):
        t = t_of(recording).astype(float)
        onset, end = qrs_of(recording)[1]
        count = 0
        for name in ("II", "V4", "V5", "V6"):
            x, r = t[LEADS.index(name)], np.ptp(lead(recording, name)[onset:end])
            flat = np.abs(x).max() < 0.1 * r
            signs = min(x.max(), -x.min()) > 0.25 * np.abs(x).max()
            humps = len(find_peaks(x, prominence=0.01)[0]) > 1
            count += flat or signs or humps
        return count

    assert all(abnormal(clean("TAb", seed)) >= 2 for seed in range(24))
    assert sum(abnormal(clean("NSR", seed)) >= 2 for seed in range(24)) <= 4


# ---- seeds, diagnoses


def test_a_seed_always_gives_the_same_bytes_and_another_seed_others():
    for name in CODES:
        one, two = make_recording([name], 7), make_recording([name], 7)
        assert one.signal_mv.tobytes() == two.signal_mv.tobytes()
        assert (one.age_years, one.sex, one.codes) == (two.age_years, two.sex, two.codes)
        assert one.signal_mv.tobytes() != make_recording([name], 8).signal_mv.tobytes()


def test_another_rate_samples_the_same_heart():
    for name in sorted(set(CODES) - {"PR"}):  # a spike is as short as the rate allows
        fine, coarse = clean(name, 5), make_recording([name], 5, frequency_hz=FS / 4, noise=0)
        np.testing.assert_allclose(coarse.signal_mv, fine.signal_mv[:, ::4], atol=2e-6)


def test_noise_is_added_to_the_same_heart_and_in_proportion():
    levels = []
    for seed in SEEDS:
        heart, once, twice = (make_recording(["NSR"], seed, noise=noise).signal_mv for noise in (0, 1, 2))
        np.testing.assert_allclose(twice - heart, 2 * (once - heart), atol=2e-5)
        levels.append(np.std(once - heart))
    assert 0.01 < np.median(levels) < 0.1


def test_age_and_sex_are_what_was_asked_for():
    recording = make_recording(["AF"], 1, age_years=41, sex="female")
    assert (recording.age_years, recording.sex) == (41.0, "female")


def test_codes_and_abbreviations_make_the_same_recording():
    by_name, by_code = make_recording(["AF", "CRBBB"], 3), make_recording(["164889003", "59118001"], 3)
    assert by_name.signal_mv.tobytes() == by_code.signal_mv.tobytes()
    assert by_name.codes == ("164889003", "713427006") and by_code.codes == ("164889003", "59118001")
    assert make_recording([], 3).codes == ("426783006",)


def test_every_scored_class_occurs_often_enough_and_none_contradicts_another():
    rng = np.random.default_rng(0)
    drawn = [random_diagnoses(rng) for _ in range(5000)]
    assert {EQUIVALENT.get(code, code) for code in DIAGNOSES} - {"6374002", "365413008"} == set(CODES.values())
    for name in CODES:
        assert np.mean([name in found for found in drawn]) > 0.04, name
    assert not any(contradiction(found) for found in drawn)
    assert all(len(set(found)) == len(found) for found in drawn)
    assert np.mean([len(found) > 1 for found in drawn]) > 0.4


@pytest.mark.parametrize(
    "diagnoses",
    [
        ["AF", "NSR"],
        ["SB", "STach"],
        ["LBBB", "CRBBB"],
        ["AF", "IAVB"],
        ["PR", "LAD"],
        ["LAD", "RAD"],
        ["164890007", "284470004"],
    ],
)
def test_diagnoses_that_contradict_each_other_are_refused(diagnoses):
    with pytest.raises(UserError, match="no heart shows"):
        make_recording(diagnoses, 1)


def test_what_cannot_be_made_is_refused_in_one_line():
    for name, options in (
        ("XYZ", {}),
        ("NSR", {"seconds": 1}),
        ("NSR", {"frequency_hz": 0}),
        ("NSR", {"noise": -1}),
        ("NSR", {"sex": "x"}),
        ("NSR", {"age_years": float("nan")}),
        ("NSR", {"frequency_hz": float("nan")}),
    ):
        with pytest.raises(UserError) as error:
            make_recording([name], 1, **options)
        assert "\n" not in str(error.value)


# ---- hospitals


@pytest.mark.parametrize("name", HOSPITALS)
def test_files_read_back_to_the_millivolts_that_were_made(name, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(hospitals, "make_recording", lambda *a, **k: made.append(make_recording(*a, **k)) or made[-1])
    headers = write_hospital(tmp_path, name, 4, seed=1)
    assert sorted(headers) == sorted(find_recordings(tmp_path))
    for header, recording in zip(headers, made):
        read = read_recording(header)
        assert read.leads == LEADS and read.frequency_hz == HOSPITALS[name].frequency_hz and not read.notes
        assert (read.age_years, read.sex) == (recording.age_years, recording.sex)
        assert [EQUIVALENT.get(code, code) for code in read.codes] == list(recording.codes)
        unit = 1 / (HOSPITALS[name].gain * (1 - HOSPITALS[name].gain_spread))
        np.testing.assert_allclose(read.signal_mv, recording.signal_mv, atol=0.51 * unit)
        if not HOSPITALS[name].suffix:  # wfdb takes no record name with a suffix
            record = wfdb.rdrecord(str(header.with_suffix("")))
            rows = [[spelt.lower() for spelt in record.sig_name].index(lead.lower()) for lead in LEADS]
            np.testing.assert_allclose(read.signal_mv, record.p_signal.T[rows], atol=1e-6)


def test_more_recordings_leave_the_first_as_they_were(tmp_path):
    for name in HOSPITALS:
        few, many = write_hospital(tmp_path / "few", name, 2, 9), write_hospital(tmp_path / "many", name, 3, 9)
        for one, two in zip(few, many):
            assert one.name == two.name and one.read_bytes() == two.read_bytes()
            signal = one.read_text().splitlines()[1].split()[0]
            assert (one.parent / signal).read_bytes() == (two.parent / signal).read_bytes()
    other = write_hospital(tmp_path / "other", "alder", 1, 10)[0]
    assert other.read_bytes() != (tmp_path / "few" / "A00001.hea").read_bytes()


def test_the_hospital_that_training_never_sees_shares_nothing_with_the_others():
    elm = HOSPITALS["elm"]
    for hospital in HOSPITALS.values():
        if hospital is not elm:
            assert hospital.frequency_hz != elm.frequency_hz and hospital.gain != elm.gain
            assert (hospital.file_format, hospital.leads) != (elm.file_format, elm.leads)
            assert hospital.baseline != elm.baseline
    styles = {(h.gain, h.gain_style, h.file_format, h.comment, h.leads) for h in HOSPITALS.values()}
    assert len(styles) == len(HOSPITALS) >= 4


def test_one_block_has_two_codes_and_each_hospital_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(hospitals, "random_diagnoses", lambda rng: ("NSR", "CRBBB"))
    codes = {name: read_recording(write_hospital(tmp_path / name, name, 1, 1)[0]).codes[1] for name in HOSPITALS}
    assert set(codes.values()) == {"59118001", "713427006"}


def test_large_hospitals_lie_in_folders(tmp_path, monkeypatch):
    short = make_recording(["NSR"], 1, frequency_hz=100, seconds=5)
    monkeypatch.setattr(hospitals, "make_recording", lambda *a, **k: short)
    headers = write_hospital(tmp_path, "dogwood", 51, 1)
    assert headers[49].parent == tmp_path / "g1" and headers[50].parent == tmp_path / "g2"


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in (
        (tmp_path, "oak", 1, 1),
        (tmp_path, "elm", -1, 1),
        (tmp_path, "elm", 1, -1),
        (tmp_path / "file", "elm", 1, 1),
    ):
        with pytest.raises(UserError) as error:
            write_hospital(*arguments)
        assert "\n" not in str(error.value)


def test_an_interrupted_recording_has_no_header(tmp_path, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(hospitals.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_hospital(tmp_path, "elm", 1, 1)
    assert not list(find_recordings(tmp_path)) and not list(tmp_path.rglob("*.hea"))


# ---- hearts that are not scored

MANY = range(16)


def st_of(recording, name: str) -> float:
    """ST 50 ms after the end of QRS of the second beat, mV, against 60 ms before its onset."""
    onset, end = qrs_of(recording)[1]
    x = lead(recording, name)
    return float(x[end + 50] - np.median(x[onset - 25 : onset - 12]))


def shares(promise) -> float:
    """Part of the seeds for which a promise holds; the ruler errs now and then."""
    return float(np.mean([bool(promise(seed)) for seed in MANY]))


def r_and_s(recording, name: str) -> tuple[float, float]:
    onset, end = qrs_of(recording)[1]
    x = lead(recording, name)[onset:end]
    return float(max(x.max(), 0)), float(max(-x.min(), 0))


def sokolow(recording) -> float:
    return r_and_s(recording, "V1")[1] + max(r_and_s(recording, name)[0] for name in ("V5", "V6"))


@pytest.mark.parametrize("name", ["LVH", "LVS"])
def test_a_thick_left_ventricle_has_high_voltage(name):
    normal = np.median([sokolow(clean("NSR", seed)) for seed in MANY])
    assert np.median([sokolow(clean(name, seed)) for seed in MANY]) > 1.35 * normal


def test_strain_lowers_st_and_turns_t_on_the_left():
    assert shares(lambda seed: st_of(clean("LVS", seed), "V6") < -0.02) > 0.7
    assert shares(lambda seed: t_of(clean("LVS", seed))[LEADS.index("V6")].min() < -0.05) > 0.8


def test_a_thick_right_ventricle_has_high_r_in_v1():
    assert shares(lambda seed: net_qrs(clean("RVH", seed), "V1") > net_qrs(clean("NSR", seed), "V1")) > 0.9
    assert np.median([np.divide(*r_and_s(clean("RVH", seed), "V1")) for seed in MANY]) > 0.9


def test_r_is_poor_in_v1_to_v3_or_high_where_the_back_is_dead():
    r = {name: np.median([r_and_s(clean(name, seed), "V3")[0] for seed in MANY]) for name in ("NSR", "PRWP")}
    assert r["PRWP"] < 0.6 * r["NSR"]
    assert shares(lambda seed: net_qrs(clean("PMI", seed), "V2") > 0) > 0.8


def test_acute_infarction_raises_st_in_neighbouring_leads():
    groups = (("II", "III", "aVF"), ("V2", "V3", "V4"), ("I", "aVL", "V5", "V6"))
    assert (
        shares(
            lambda seed: any(sum(st_of(clean("AcuteMI", seed), name) > 0.08 for name in group) >= 2 for group in groups)
        )
        > 0.8
    )


@pytest.mark.parametrize("name", ["ISC", "DIG"])
def test_ischaemia_and_digoxin_lower_st(name):
    assert shares(lambda seed: min(st_of(clean(name, seed), row) for row in ("II", "V5", "V6")) < -0.05) > 0.7


def test_digoxin_shortens_qt():
    assert recovered_t_end("DIG") < recovered_t_end("NSR") - 15


def person_of(name: str, seed: int):
    return draw_person(np.random.default_rng(seed), frozenset([name]), 50, "male")


def recovered_t_end(name: str) -> float:
    """Mean end of the latest wave of T, ms."""
    ends = []
    for seed in MANY:
        beats = ventricular_beats(np.random.default_rng(seed), frozenset([name]), person_of(name, seed), ["conducted"])
        t = beats["conducted"].t[:4]
        ends.append((t[:, 0] + t[:, 2]).max())
    return float(np.mean(ends))


@pytest.mark.parametrize("name, leads", [("ER", ("II", "V4")), ("PERI", ("I", "II", "V5"))])
def test_early_repolarisation_and_pericarditis_raise_st_where_t_is_upright(name, leads):
    rise = [np.mean([st_of(clean(name, seed), row) - st_of(clean("NSR", seed), row) for row in leads]) for seed in MANY]
    assert np.median(rise) > 0.05


def test_pre_excitation_shortens_pr_and_widens_qrs():
    assert 105 < np.median([qrs_ms(clean("WPW", seed)) for seed in MANY]) < 165
    for seed in MANY:
        rhythm = rhythm_of(np.random.default_rng(seed), frozenset(["WPW"]), 10, Breath(0.2, 0), 0.1)
        assert (rhythm.qrs["conducted"] - rhythm.p["sinus"] < 0.12).all()


def p_and_qrs(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rhythm = rhythm_of(np.random.default_rng(seed), frozenset([name]), 20, Breath(0.2, 0), 0.16)
    return rhythm.p.get("sinus", np.zeros(0)), rhythm.beats()


def test_in_second_degree_block_some_p_waves_are_followed_by_no_qrs():
    for seed in MANY:
        p, qrs = p_and_qrs("AVB2", seed)
        assert 0.4 < len(qrs) / len(p) < 0.85
        before = qrs[:, None] - p
        assert all(((row > 0.1) & (row < 0.5)).any() for row in before)


def test_in_third_degree_block_atria_and_ventricles_are_independent():
    spread = []
    for seed in MANY:
        p, qrs = p_and_qrs("AVB3", seed)
        assert 60 / np.diff(qrs).mean() < 58 and 60 / np.diff(p).mean() > 60
        spread.append(np.std([t - p[p < t][-1] for t in qrs if (p < t).any()]))
    assert np.median(spread) > 0.1  # now and then both keep time for a while


def test_junctional_rhythm_is_regular_without_p_from_above():
    for seed in MANY:
        p, qrs = p_and_qrs("JR", seed)
        assert len(p) == 0 and 36 < 60 / np.diff(qrs).mean() < 100 and np.diff(qrs).std() < 0.05


def test_supraventricular_tachycardia_is_fast_regular_and_narrow():
    for seed in MANY:
        p, qrs = p_and_qrs("SVT", seed)
        assert len(p) == 0 and 138 < 60 / np.diff(qrs).mean() < 217 and np.diff(qrs).std() < 0.01


def test_p_is_negative_in_ii_where_it_comes_from_below_and_large_where_an_atrium_is():
    def of(name, seed, kind="sinus"):
        waves = p_waves(np.random.default_rng(seed), frozenset([name]), person_of(name, seed), [kind])[kind]
        return seen_by(DOWER, waves)[LEADS.index("II")], (waves[:, 0] + waves[:, 2]).max()

    for seed in MANY:
        assert of("EAR", seed, "low")[0].sum() < 0 < of("NSR", seed)[0].sum()
        assert of("RAE", seed)[0].max() > 1.15 * of("NSR", seed)[0].max()
        assert of("LAE", seed)[1] > 1.1 * of("NSR", seed)[1]


def test_posterior_fascicular_and_incomplete_left_blocks_look_as_they_should():
    assert shares(lambda seed: 88 <= axis_of(clean("LPFB+RAD", seed)) <= 180) == 1
    assert shares(lambda seed: q_of(clean("ILBBB", seed), "V6")[1] < 0.03) > 0.9
    assert 98 < np.median([qrs_ms(clean("ILBBB", seed), 0.12) for seed in MANY]) < 140


def test_potassium_makes_t_high_and_narrow_or_low_with_a_u():
    def t_share(name, seed):
        onset, end = qrs_of(clean(name, seed))[1]
        return np.abs(t_of(clean(name, seed))).max() / np.ptp(clean(name, seed).signal_mv[:, onset:end], axis=1).max()

    height = {name: np.median([t_share(name, seed) for seed in MANY]) for name in ("NSR", "HighK", "LowK")}
    assert height["LowK"] < 0.7 * height["NSR"] < height["NSR"] < 0.8 * height["HighK"]


def test_a_pacemaker_on_demand_beats_only_where_the_heart_does_not():
    mixed = 0
    for seed in range(60):
        rhythm = rhythm_of(np.random.default_rng(seed), frozenset(["PR"]), 20, Breath(0.2, 0), 0.16)
        mixed += "conducted" in rhythm.qrs and "paced" in rhythm.qrs
        if "conducted" in rhythm.qrs and "paced" in rhythm.qrs:
            assert (np.diff(rhythm.beats()) > 0.3).all()
    assert mixed > 4


# ---- premature beats in patterns

BEATS = np.arange(-3, 22, 0.8)


def test_ventricular_bigeminy_alternates_and_couplets_come_in_twos():
    for seed in MANY:
        conducted, early = add_ventricular_beats(np.random.default_rng(seed), BEATS, 20, "bigeminy")
        assert len(early) >= 3 and set(np.round(np.diff(early), 6)) <= {1.6}
        assert not np.isin(np.round(early, 6), np.round(conducted, 6)).any()
        _, early = add_ventricular_beats(np.random.default_rng(seed), BEATS, 20, "couplet")
        assert len(early) % 2 == 0 and (early[1::2] - early[::2] < 0.55).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_premature_atrial_beat_sets_the_sinus_node_back(pattern):
    for seed in MANY:
        sinus, early, blocked = add_atrial_beats(np.random.default_rng(seed), BEATS, 0.8, 20, pattern)
        assert len(early)
        for t in np.concatenate([early, blocked]):
            before = np.concatenate([sinus[sinus < t], early[early < t]]).max()
            assert t - before < 0.8 * 0.83
            after = sinus[sinus > t]
            if len(after) and not (early > t).any():
                assert 0.79 < after[0] - t < 0.92 * 1.01


def test_salvos_have_three_to_six_beats_in_a_row():
    def rows(early, longest_s):
        """How many beats follow each other within that distance."""
        ends = np.flatnonzero(np.append(np.diff(early), np.inf) > longest_s)
        return np.diff(np.append(-1, ends))

    lengths = set()
    for seed in range(40):
        conducted, early = add_ventricular_beats(np.random.default_rng(seed), BEATS, 20, "salvo")
        of_ventricles = rows(early, 0.6)
        assert ((of_ventricles >= 3) & (of_ventricles <= 6)).all()
        between = [((conducted > t) & (conducted < t + 0.36)).any() for t in early]
        assert not any(between)  # no conducted beat falls into a salvo
        _, early, _ = add_atrial_beats(np.random.default_rng(seed), BEATS, 0.8, 20, "salvo")
        assert ((rows(early, 0.6) >= 3) & (rows(early, 0.6) <= 6)).all()
        lengths |= {*of_ventricles.tolist()}
    assert lengths == {3, 4, 5, 6}


def test_frequent_atrial_beats_make_the_rhythm_as_irregular_as_fibrillation():
    spreads = []
    for seed in range(40):
        sinus, early, blocked = add_atrial_beats(np.random.default_rng(seed), BEATS, 0.8, 20, "frequent")
        assert len(early) >= 3 and not len(blocked)
        distances = np.diff(np.sort(np.concatenate([sinus, early])))
        assert distances.min() > 0.28
        spreads.append(np.std(distances) / np.mean(distances))
    assert np.median(spreads) > 0.15  # rhythm.py draws fibrillation with 0.15 to 0.26 before the AV node's limit


def test_fast_atria_leave_the_av_node_its_time():
    fast = np.arange(-3, 22, 0.41)
    for seed in range(40):
        for pattern in PATTERNS:
            sinus, early, _ = add_atrial_beats(np.random.default_rng(seed), fast, 0.41, 20, pattern)
            assert np.diff(np.sort(np.concatenate([sinus, early]))).min() > 0.27


def test_premature_beats_come_from_two_places_now_and_then():
    two = {"PVC": 0, "PAC": 0}
    for seed in range(60):
        for name, waves, kind in (("PVC", "qrs", "PVC"), ("PAC", "p", "ectopic")):
            rhythm = rhythm_of(np.random.default_rng(seed), frozenset(["NSR", name]), 20, Breath(0.2, 0), 0.16)
            places = getattr(rhythm, waves)
            assert len(places[kind])
            two[name] += f"second {kind}" in places
    assert 3 < two["PVC"] < 25 and 3 < two["PAC"] < 25
    alike = 0
    for seed in range(20):
        rng, findings = np.random.default_rng(seed), frozenset(["NSR", "PVC"])
        person = draw_person(rng, findings, 60.0, "male")
        beats = ventricular_beats(rng, findings, person, ["conducted", "PVC", "second PVC"])
        first, second = (seen_by(person.vectors[:, :3], beats[kind].qrs) for kind in ("PVC", "second PVC"))
        time = min(first.shape[1], second.shape[1])
        alike += np.corrcoef(first[:, :time].ravel(), second[:, :time].ravel())[0, 1] > 0.9
    assert alike < 8  # of five places, two that are drawn may be the same


# ---- what lies between the heart and the file


def test_exchanged_arms_are_exchanged_arms():
    recording = clean("NSR", 1).signal_mv.astype(float)
    swapped = TWELVE @ exchange((0, 1)) @ recording[INDEPENDENT]
    np.testing.assert_allclose(swapped, ARM_REVERSAL @ recording, atol=2e-6)


RECORDER = Recorder(
    frequency_hz=500.0,
    mains_hz=50.0,
    seconds=10.0,
    high_pass_hz=0.5,
    low_pass_hz=40.0,
    causal=False,
    notch=False,
    step_mv=0.005,
    largest_mv=3.2,
    gain=1.0,
    noise=0.0,
    loose_contacts=0.0,
    exchanged=None,
    lost=(),
    sheet=False,
)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "tone_hz, options, gain",
    [(0.5, {}, 0.707), (5, {}, 1), (40, {}, 0.707), (100, {}, 0.026), (50, {"low_pass_hz": 150.0, "notch": True}, 0)],
)
def test_filters_have_the_frequencies_they_are_said_to_have(causal, tone_hz, options, gain):
    t = np.arange(20 * 500) / 500
    tone = np.sin(2 * np.pi * tone_hz * t)[None].astype(np.float32)
    out = filtered(tone, replace(RECORDER, causal=causal, **options))[0, 2500:7500]
    assert np.sqrt(2) * out.std() == pytest.approx(gain, abs=0.03)


def recorded(**options) -> np.ndarray:
    eight = np.zeros((8, 6500))
    eight[:] = 4 * np.sin(2 * np.pi * 3 * np.arange(6500) / 500)
    return record(np.random.default_rng(0), replace(RECORDER, **options), eight, Breath(0.2, 0), 750)


def test_resolution_saturation_lost_leads_and_sheets_are_as_the_recorder_has_them():
    signal = recorded(lost=(6, 8))
    assert signal.shape == (12, 5000) and signal.dtype == np.float32 and np.abs(signal).max() <= 3.2 + 1e-6
    np.testing.assert_allclose(signal / 0.005, np.round(signal / 0.005), atol=1e-2)
    assert (signal[[6, 8]] == 0).all() and (np.ptp(signal[[0, 7, 9]], axis=1) > 1).all()
    shown = np.isfinite(recorded(sheet=True))
    assert (shown.sum(axis=1) == 1250).all() and (shown.sum(axis=0) == 3).all()
    assert shown[0, 0] and shown[3, 1250] and shown[6, 2500] and shown[11, 4999]


# ---- drawn hospitals


@lru_cache(maxsize=1)
def drawn() -> list:
    return [draw_recording(3, k) for k in range(400)]


def test_a_drawn_recording_depends_on_seed_and_number_alone():
    one, again, hospital = draw_recording(3, 7), draw_recording(3, 7), draw_recording(3, 7, labels="hospital")
    assert one.signal_mv.tobytes() == again.signal_mv.tobytes() == hospital.signal_mv.tobytes()
    assert one.codes == again.codes and (one.age_years, one.sex) == (hospital.age_years, hospital.sex)
    others = draw_recording(3, 8), draw_recording(4, 7)
    assert len({recording.signal_mv.tobytes() for recording in (one, *others)}) == 3
    np.testing.assert_array_equal(drawn()[7].signal_mv, one.signal_mv)


def test_drawn_recordings_are_varied_and_their_signals_plausible():
    codes = [code for recording in drawn() for code in recording.codes]
    assert set(codes) == set(CODES.values())
    assert {recording.frequency_hz for recording in drawn()} == {100, 125, 250, 257, 360, 400, 500, 1000}
    seconds = np.array([recording.signal_mv.shape[1] / recording.frequency_hz for recording in drawn()])
    assert 4.9 < seconds.min() < 10 < seconds.max() <= 60 and np.mean(seconds == 10) > 0.6
    for recording in drawn():
        assert recording.leads == LEADS and recording.signal_mv.dtype == np.float32 and not recording.notes
        size = np.nanmax(np.abs(recording.signal_mv))
        assert 0.2 < size < 12, recording.name
        assert prepare(recording, get_recipe("butt").input).leads.sum() >= 9
    assert 0 < np.mean([np.isnan(recording.signal_mv).any() for recording in drawn()]) < 0.06


def test_findings_as_they_occur_never_contradict_each_other_and_all_occur():
    rng = np.random.default_rng(0)
    found = [draw_findings(rng) for _ in range(4000)]
    assert not any(contradiction(findings) for findings in found)
    assert set().union(*found) == set(CODES) - {"Brady"} | set(UNSCORED)  # Brady follows from the rate
    assert np.mean([len(findings) == 1 for findings in found]) > 0.2
    assert np.mean([len(findings) > 2 for findings in found]) > 0.3


def test_age_goes_with_the_finding():
    ages = {name: np.mean([person_age(name, seed) for seed in range(60)]) for name in ("AF", "NSR", "ER")}
    assert ages["ER"] < ages["NSR"] - 10 < ages["AF"] - 15


def person_age(name: str, seed: int) -> float:
    return draw_person(np.random.default_rng(seed), frozenset([name]), None, None).age_years


def named(codes) -> set[str]:
    return {name for name, code in CODES.items() if code in codes}


def test_the_truth_is_everything_that_holds():
    assert named(truth(frozenset(["NSR", "LVH", "TAb"]), 70)) == {"NSR", "TAb"}
    assert named(truth(frozenset(["SB", "IAVB"]), 50)) == {"NSR", "SB", "IAVB", "LPR"}
    assert named(truth(frozenset(["STach"]), 120)) == {"STach"}
    assert named(truth(frozenset(["AVB3"]), 40)) == {"Brady"}
    assert named(truth(frozenset(["JR"]), 60)) == set()


def test_a_convention_writes_some_of_the_truth_and_sinus_rhythm_in_its_own_way():
    findings = frozenset(["NSR", "CRBBB", "LAD"])
    written = {
        sinus: named(Convention(sinus, frozenset(["LAD"])).written(findings, 70))
        for sinus in ("always", "beside", "alone", "never")
    }
    assert written == {"always": {"NSR", "CRBBB"}, "beside": {"NSR", "CRBBB"}, "alone": {"CRBBB"}, "never": {"CRBBB"}}
    alone = Convention("alone", frozenset())
    assert named(alone.written(frozenset(["NSR", "LVH"]), 70)) == {"NSR"}
    assert named(alone.written(frozenset(["SB"]), 50)) == {"SB"}
    assert named(Convention("always", frozenset()).written(frozenset(["STach"]), 120)) == {"NSR", "STach"}
    rng = np.random.default_rng(0)
    assert {draw_convention(rng).sinus for _ in range(100)} == set(written)


def test_others_leave_out_labels_of_real_recordings_and_add_none():
    """In the shares in which hospitals are drawn: 0.7 never write a prolonged PR interval, all write fibrillation."""
    names = ("NSR", "LPR", "AF", "LAD")
    codes = tuple(CODES[name] for name in names)
    labels = np.tile([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]], (1000, 1)).astype(bool)
    before = labels.copy()
    others = as_others_write(labels, codes, seed=4)
    assert np.array_equal(labels, before) and not (others & ~labels).any()
    of_all = {name: others[:, k].sum() / labels[:, k].sum() for k, name in enumerate(names)}
    assert of_all["AF"] == 1 and abs(of_all["LPR"] - 0.3) < 0.05 and abs(of_all["LAD"] - 0.7) < 0.05
    alone, beside = others[1::4, 0].mean(), others[0::4, 0].mean()
    assert abs(alone - 0.9) < 0.03  # a tenth of the hospitals never write sinus rhythm
    assert abs(beside - (0.5 + 0.4 * 0.7)) < 0.05  # two fifths write it alone, which it is where LPR is left out
    assert np.array_equal(others, as_others_write(labels, codes, seed=4))
    assert not np.array_equal(others, as_others_write(labels, codes, seed=5))


def test_others_leave_classes_alone_that_the_generator_does_not_know():
    labels = np.ones((200, 2), dtype=bool)
    others = as_others_write(labels, ("59118001", CODES["LPR"]), seed=0)  # right bundle branch block, of the nine
    assert others[:, 0].all() and 20 < others[:, 1].sum() < 100


def test_what_cannot_be_drawn_is_refused_in_one_line():
    for arguments, options in (((-1, 0), {}), ((0, -1), {}), ((0, 0), {"labels": "some"})):
        with pytest.raises(UserError) as error:
            draw_recording(*arguments, **options)
        assert "\n" not in str(error.value)
