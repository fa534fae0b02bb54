"""Synthetic recordings: what a diagnosis promises is measured in the signal, as a reader would, not asked of the model.

The measuring is done at 1000 Hz without noise, where the isoelectric line is zero.
"""

from __future__ import annotations

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
from twelvelead.synthetic import HOSPITALS, hospitals, make_recording, random_diagnoses, write_hospital
from twelvelead.synthetic.diagnoses import CODES, contradiction

FS = 1000
SEEDS = range(12)
INDEPENDENT = [0, 1, *range(6, 12)]  # I, II, V1 to V6


@lru_cache(maxsize=128)
def clean(diagnoses: str, seed: int, seconds: float = 10.0):
    return make_recording(diagnoses.split("+"), seed, frequency_hz=FS, seconds=seconds, noise=0)


def lead(recording, name: str) -> np.ndarray:
    return recording.signal_mv[LEADS.index(name)]


def qrs_of(recording) -> np.ndarray:
    """Onset and end, in samples, of each QRS that lies wholly inside: where the eight leads together move fast."""
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
        fast = begin + np.flatnonzero(speed[begin : peak + 150] > 0.06 * fastest)
        run = min(np.split(fast, np.flatnonzero(np.diff(fast) > 22) + 1), key=lambda run: np.abs(run - peak).min())
        if run[0] > 20 and run[-1] < len(speed) - 20:
            found.append((run[0], run[-1]))
    return np.array(found)


def rr_of(recording) -> np.ndarray:
    return np.diff(qrs_of(recording)[:, 0]) / FS


def rate_of(recording) -> float:
    return 60 / float(np.mean(rr_of(recording)))


def qrs_ms(recording) -> float:
    return float(np.median(np.diff(qrs_of(recording), axis=1))) * 1000 / FS


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
        assert t[LEADS.index(name)].max() > 3 * -t[LEADS.index(name)].min()
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


def test_intervals_vary_with_the_breath_in_sinus_arrhythmia_only():
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
        for one, two in zip(qrs, qrs[1:])
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
        cycles = np.arange(0.174, 0.252, 0.0005)
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


def test_a_premature_atrial_beat_is_early_narrow_and_without_full_pause():
    for seed in SEEDS:
        recording = clean("NSR+PAC", seed, 20)
        rr = rr_of(recording)
        early = np.flatnonzero(rr[:-1] < 0.82 * np.median(rr))
        assert len(early)
        assert (rr[early] + rr[early + 1] < 1.93 * np.median(rr)).all()
        widths = np.diff(qrs_of(recording), axis=1)[:, 0]
        assert np.ptp(widths) < 15


def test_a_premature_ventricular_beat_is_early_wide_and_with_full_pause():
    for seed in SEEDS:
        recording = clean("NSR+PVC", seed, 20)
        qrs, rr = qrs_of(recording), rr_of(recording)
        early = np.flatnonzero(rr[:-1] < 0.82 * np.median(rr))
        assert len(early)
        np.testing.assert_allclose(rr[early] + rr[early + 1], 2 * np.median(rr), rtol=0.09)
        widths = np.diff(qrs, axis=1)[:, 0]
        assert widths[early + 1].min() > 118 and np.median(widths) < 110
        for k in early + 1:  # ST and T against QRS, in the lead where QRS is largest
            beat = recording.signal_mv[:, qrs[k, 0] : qrs[k, 1]]
            row = int(np.abs(beat.sum(axis=1)).argmax())
            t = recording.signal_mv[row, qrs[k, 1] + 40 : qrs[k, 1] + 260]
            assert np.sign(beat[row].sum()) == -np.sign(t.sum())


def test_pacing_spikes_stand_before_wide_beats_and_nowhere_else():
    def spikes(recording):
        x = recording.signal_mv[INDEPENDENT].astype(float)
        return find_peaks(np.abs(x - median_filter(x, (1, 5))).max(axis=0), height=0.08, distance=50)[0]

    wide = 0
    for seed in range(20):
        recording = clean("PR", seed)
        found = spikes(recording)
        assert 8 <= len(found) <= 30
        assert np.ptp(np.diff(found)[::2]) < 60  # one or two a beat, and regular
        wide += any(np.median(lead(recording, "V1")[spike + 20 : spike + 140]) < -0.15 for spike in found[:2])
    assert wide > 12  # the rest are paced in the atrium alone
    assert all(len(spikes(clean(name, 3))) == 0 for name in CODES if name != "PR")


# ---- conduction, axis, voltage


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("CRBBB", 120, 170),
        ("LBBB", 120, 175),
        ("IRBBB", 98, 124),
        ("LAnFB", 78, 115),
        ("NSIVCB", 108, 142),
        ("AF+CRBBB", 120, 175),
    ],
)
def test_qrs_is_as_wide_as_the_block_makes_it(name, low, high):
    widths = np.array([qrs_ms(clean(name, seed)) for seed in range(20)])
    assert low <= np.median(widths) <= high
    assert np.mean((low <= widths) & (widths <= high)) > 0.8  # a plateau or a steep T misleads the ruler now and then


@pytest.mark.parametrize("name", ["CRBBB", "IRBBB", "CRBBB+LAnFB"])
def test_a_right_bundle_branch_block_ends_in_front_and_to_the_right(name):
    for seed in SEEDS:
        recording = clean(name, seed)
        onset, _ = qrs_of(recording)[1]
        late = recording.signal_mv[:, onset + 80 : onset + 100].mean(axis=1)
        assert late[LEADS.index("V1")] > 0.04  # R'
        assert late[LEADS.index("V6")] < -0.04 and late[LEADS.index("I")] < 0.02  # S


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
        assert -0.35 < avl[:25].min() < 0 < avl.max() and avl.argmax() > avl[:25].argmin()
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


def test_only_low_voltage_is_below_its_limits_in_limb_and_chest_leads():
    for name in ("LQRSV", "LQRSV+AF", "NSR", "SB", "STach+LAD", "CRBBB", "QAb"):
        for seed in SEEDS:
            onset, end = qrs_of(clean(name, seed))[1]
            swing = np.ptp(clean(name, seed).signal_mv[:, onset:end], axis=1)
            assert (swing[:6].max() < 0.5 and swing[6:].max() < 1.0) == name.startswith("LQRSV")


# ---- Q, T and QT


def test_qt_is_long_where_it_says_so():
    for seed in SEEDS:
        assert 470 < qtc_ms(clean("NSR+LQT", seed)) < 600
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
    assert sum(abnormal(clean("NSR", seed)) >= 2 for seed in range(24)) <= 2


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
