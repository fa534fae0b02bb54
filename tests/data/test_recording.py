"""Reading equals the wfdb package and scipy sample for sample, in every format; bad input is noted or named.

Equal means the same bits as the oracle's float64 millivolts rounded to float32, and NaN in the same places; where the
header's unit is not mV the oracle rounds once more on the way, so there it means one unit in the last place.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import made
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS, read_header
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.data.resampling import resample
from twelvelead.errors import RecordingError


def assert_equals_wfdb(header_path: Path):
    recording = read_recording(header_path)
    record = wfdb.rdrecord(str(header_path)[:-4])
    assert sorted(recording.leads) == sorted(record.sig_name)
    assert recording.frequency_hz == record.fs
    for lead, row in zip(recording.leads, recording.signal_mv):
        np.testing.assert_array_equal(row, record.p_signal[:, record.sig_name.index(lead)].astype(np.float32))
    assert_sound(recording)
    return recording


def assert_sound(recording):
    """What every Recording promises."""
    signal = recording.signal_mv
    assert signal.dtype == np.float32 and signal.T.flags.c_contiguous and signal.size
    assert signal.shape[0] == len(recording.leads) == len(set(recording.leads))
    standard = [lead for lead in LEADS if lead in recording.leads]
    assert list(recording.leads[: len(standard)]) == standard
    assert not np.isinf(signal).any()
    assert 0 < recording.frequency_hz < math.inf
    assert math.isnan(recording.age_years) or 0 <= recording.age_years <= 130
    assert recording.sex in ("female", "male", "unknown")
    assert len(set(recording.codes)) == len(recording.codes) and all(recording.codes)
    assert all(note and "\n" not in note for note in recording.notes)


# Equal to the oracles


@pytest.mark.parametrize("source", ("chapman_shaoxing", "cpsc_2018", "cpsc_2018_extra", "ningbo", "ptb", "ptb-xl"))
def test_real_recordings_equal_wfdb_and_need_no_repair(real_data, source):
    paths = find_recordings(real_data / source)
    for path in paths[:: len(paths) // 4]:
        recording = assert_equals_wfdb(path)
        assert recording.notes == () and recording.leads == LEADS and recording.codes


@pytest.mark.slow
def test_every_real_recording_equals_wfdb_and_needs_no_repair(real_data):
    for path in find_recordings(real_data):
        recording = assert_equals_wfdb(path)
        assert recording.notes == () and not np.isnan(recording.signal_mv).any(), path


@pytest.mark.parametrize("form", made.BITS)
@pytest.mark.parametrize("n_samples", [1, 2, 3, 4, 5, 100])
def test_any_bytes_are_decoded_as_wfdb_does(tmp_path, form, n_samples):
    size = len(made.encoded(made.adc(3, n_samples, made.BITS[form]), form))
    data = np.random.default_rng(n_samples).integers(0, 256, size).astype(np.uint8)
    if form == "311":
        data[3::4] &= 63  # wfdb takes one of two unused bits for a part of the sample
    text = made.header("A0001", n_samples, LEADS[:3], storage=form, extension=".dat", gain="1/mV", initial=[9, -5, 0])
    path = made.write(tmp_path, "A0001", text, data.tobytes(), ".dat")
    assert assert_equals_wfdb(path).signal_mv.shape == (3, n_samples)


@pytest.mark.parametrize("form", made.BITS)
@pytest.mark.parametrize("n_leads, n_samples", [(1, 1), (1, 7), (3, 5), (5, 10), (12, 101)])
def test_every_wfdb_format_equals_wfdb(tmp_path, form, n_leads, n_samples):
    values = made.adc(n_leads, n_samples, made.BITS[form])
    if form != "8":  # the format of differences has no value for a missing sample
        values[0, -1] = values[-1, 0] = -(2 ** (made.BITS[form] - 1))
    gains = ["1000/mV", "1000.0(0)/mV", "1716.3(-6)/mV", "200", "0"]
    path = made.write_dat(
        tmp_path,
        "A0001",
        values,
        form,
        24 if n_leads > 1 else 0,
        zero=list(range(12)),
        gain=[gains[lead % 5] for lead in range(12)],
    )
    recording = assert_equals_wfdb(path)
    stored = wfdb.rdrecord(str(tmp_path / "A0001"), physical=False).d_signal.T
    np.testing.assert_array_equal(stored, values)  # the maker and the oracle agree on what the file holds
    assert np.isnan(recording.signal_mv).sum() == (0 if form == "8" else len({(0, n_samples - 1), (n_leads - 1, 0)}))


@pytest.mark.parametrize("form", ["16", "24", "32", "80", "212", "508", "516", "524"])
def test_files_written_by_wfdb_equal_wfdb(tmp_path, form):
    millivolts = np.random.default_rng(1).normal(size=(300, 3))
    millivolts[7, 1] = np.nan
    wfdb.wrsamp(
        "r",
        fs=257,
        units=["mV"] * 3,
        sig_name=["V6", "aVR", "MLII"],
        p_signal=millivolts,
        fmt=[form] * 3,
        comments=["Age: 60"],
        write_dir=str(tmp_path),
    )
    recording = assert_equals_wfdb(tmp_path / "r.hea")
    assert recording.leads == ("aVR", "V6", "MLII") and recording.age_years == 60
    assert np.isnan(recording.signal_mv[0, 7])


@pytest.mark.parametrize(
    "gain",
    [
        "1000/mV",
        "1000.0(0)/mV",
        "1716(6)/mV",
        "1716.3(-6)/mV",
        "200",
        "200/mV",
        "0",
        "0/mV",
        "1e3(12)/mV",
        "-100/mV",
        "1000(32000)/mV",
        "4.88",
        "(5)/mV",
        "/mV",
        "1e30",
    ],
)
def test_gains_and_baselines_equal_wfdb(tmp_path, gain):
    recording = assert_equals_wfdb(made.write_dat(tmp_path, "A0001", made.adc(2), "16", gain=gain, zero=[0, -7]))
    assert bool(recording.notes) == (gain in ("0", "0/mV", "(5)/mV", "/mV"))


@settings(deadline=None, max_examples=50)
@given(st.integers(-(2**15), 2**15 - 1), st.integers(-(2**31), 2**31 - 1), st.floats(1e-3, 1e9))
def test_any_gain_and_baseline_equals_double_precision(value, baseline, gain):
    recording = recording_from(
        made.header(leads=("I",), n_samples=1, gain=f"{gain!r}({baseline})/mV"), np.array([[value]], np.int16)
    )
    expected = np.nan if value == -(2**15) else (float(value) - baseline) / gain
    np.testing.assert_array_equal(recording.signal_mv, np.float32([[expected]]))


@pytest.mark.parametrize("unit, in_one_mv", [("uV", 1e3), ("UV", 1e3), ("µV", 1e3), ("nV", 1e6), ("V", 1e-3)])
def test_other_voltages_become_millivolts(tmp_path, unit, in_one_mv):
    path = made.write_dat(tmp_path, "A0001", made.adc(2), "16", gain=f"4.88(3)/{unit}")
    recording = read_recording(path)
    expected = wfdb.rdrecord(str(path)[:-4]).p_signal.T / in_one_mv
    np.testing.assert_array_max_ulp(recording.signal_mv, expected.astype(np.float32), maxulp=1)
    assert recording.notes == ()


@pytest.mark.parametrize("form", ["16x1+24", "16+24", "16x1:0+24", "16:0+24"])
def test_challenge_format_fields_equal_wfdb(tmp_path, form):
    path = made.write_mat(tmp_path, "A0001", made.adc(12, 50), storage=form)
    assert assert_equals_wfdb(path).notes == ()


@pytest.mark.parametrize("form", ["16", "212", "80", "32"])
def test_every_lead_of_a_multi_frequency_record_has_its_own_rate_as_in_wfdb(tmp_path, form):
    values = made.adc(4, 300, made.BITS[form])  # 300 frames: I once, II twice, III once
    path = made.write_dat(
        tmp_path, "A0001", values, form, leads=("I", "II", "III"), storage=[form, f"{form}x2", f"{form}x1"]
    )
    recording = read_recording(path)
    record = wfdb.rdrecord(str(path)[:-4], smooth_frames=False)
    assert recording.frequency_hz == 1000 and recording.signal_mv.shape == (3, 600)
    assert any("I 500 Hz, III 500 Hz" in note for note in recording.notes)
    np.testing.assert_array_equal(recording.signal_mv[1], record.e_p_signal[1].astype(np.float32))
    for row in (0, 2):
        expected = resample(record.e_p_signal[row].astype(np.float32)[np.newaxis], 500, 1000)[0]
        np.testing.assert_allclose(recording.signal_mv[row], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("per_frame", [2, 500])
def test_several_samples_a_frame_of_all_leads_are_a_higher_rate(tmp_path, per_frame):
    frames = np.random.default_rng(0).integers(-2000, 2000, (10, 12, per_frame))
    fields = dict(leads=LEADS, frequency="1", n_samples=10, storage=f"16x{per_frame}")
    path = made.write_dat(tmp_path, "A0001", frames.reshape(10, -1).T, "16", **fields)
    recording = read_recording(path)
    record = wfdb.rdrecord(str(path)[:-4], smooth_frames=False)
    assert recording.frequency_hz == per_frame and recording.signal_mv.shape == (12, 10 * per_frame)
    assert recording.notes == ()
    np.testing.assert_array_equal(recording.signal_mv, np.float32(record.e_p_signal))
    for matrix in (frames.reshape(10, -1).T, frames.transpose(1, 0, 2).reshape(12, -1)):  # frames, or rows
        text = made.header(**{**fields, "storage": f"16x{per_frame}+24"})
        again = recording_from(text, matrix)
        assert again.frequency_hz == per_frame
        np.testing.assert_array_equal(again.signal_mv, recording.signal_mv)
    with pytest.raises(RecordingError, match="samples a frame"):
        recording_from(made.header(**fields), frames[:, :, 0].T)


@pytest.mark.parametrize("form", ["16", "212"])
def test_skew_equals_wfdb(tmp_path, form):
    path = made.write_dat(tmp_path, "A0001", made.adc(3, 40, 12), form, storage=[form, f"{form}:5", f"{form}:5"])
    recording = assert_equals_wfdb(path)
    assert np.isnan(recording.signal_mv).sum(axis=1).tolist() == [0, 5, 5]


def test_skew_longer_than_the_signal_leaves_nothing_of_the_lead(tmp_path):
    recording = read_recording(made.write_mat(tmp_path, "A0001", made.adc(2, 9), storage=["16+24", "16:99+24"]))
    assert np.isnan(recording.signal_mv).sum(axis=1).tolist() == [0, 9]


def test_signals_in_several_files_equal_wfdb(tmp_path):
    a, b = made.adc(2, 50, 12), made.adc(1, 50, 16, seed=1)
    lines = [
        "A0001 3 500 50",
        "a.dat 212 1000/mV 12 0 0 0 0 V1",
        "a.dat 212 1000/mV 12 0 0 0 0 II",
        "b.dat 16 1000/mV 16 0 0 0 0 I",
    ]
    path = made.write(tmp_path, "A0001", "\n".join(lines), None)
    (tmp_path / "a.dat").write_bytes(made.encoded(a, "212"))
    (tmp_path / "b.dat").write_bytes(made.encoded(b, "16"))
    assert_equals_wfdb(path)


@pytest.mark.parametrize("variable", [False, True])
def test_records_of_several_segments_equal_wfdb(tmp_path, variable):
    made.write_dat(tmp_path, "s1", made.adc(2, 30, 12), "212", leads=("II", "V5"))
    made.write_dat(tmp_path, "s2", made.adc(2, 20), "16", leads=("II", "V5"))
    segments = ["s1 30", "s2 20"]
    if variable:
        made.write(tmp_path, "layout", "layout 2 500 0\n~ 0 200 0 0 0 0 0 II\n~ 0 200 0 0 0 0 0 V5\n", None)
        made.write_dat(tmp_path, "s2", made.adc(1, 20), "16", leads=("V5",), gain="100(3)/mV")
        segments = ["layout 0", *segments, "~ 10"]
    total = 60 if variable else 50
    path = made.write(tmp_path, "A0001", "\n".join([f"A0001/{len(segments)} 2 500 {total}", *segments, "#Dx: 1"]), None)
    recording = assert_equals_wfdb(path)
    assert recording.leads == read_header(path).leads == ("II", "V5") and recording.codes == ("1",)
    assert recording.signal_mv.shape == (2, total)


@pytest.mark.parametrize("dtype", [order + kind for order in "<>" for kind in ("f8", "f4", "i4", "i2", "u2", "u1")])
@pytest.mark.parametrize("n_leads, n_samples", [(3, 20), (1, 1)])
def test_matlab_4_of_every_type_equals_scipy(tmp_path, dtype, n_leads, n_samples):
    path = made.write_mat(tmp_path, "A0001", made.adc(n_leads, n_samples, 7) + 64, dtype)
    values = scipy.io.loadmat(tmp_path / "A0001.mat")["val"]
    np.testing.assert_array_equal(read_recording(path).signal_mv, (values / 1000.0).astype(np.float32))


@pytest.mark.parametrize("dtype", [order + kind for order in "<>" for kind in ("f8", "f4", "i4", "i2")])
def test_matlab_5_in_either_byte_order_equals_scipy(tmp_path, dtype):
    path = made.write(tmp_path, "A0001", made.header(n_samples=20), made.matlab5(made.adc(12, 20), dtype))
    values = scipy.io.loadmat(tmp_path / "A0001.mat")["val"]
    np.testing.assert_array_equal(read_recording(path).signal_mv, (values / 1000.0).astype(np.float32))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("n_leads, n_samples", [(12, 50), (1, 1), (3, 1)])
@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_5_files_of_scipy_are_read(tmp_path, dtype, n_leads, n_samples, compressed):
    values = (made.adc(n_leads, n_samples, 6) + 32).astype(dtype)
    path = made.write(tmp_path, "A0001", made.header(n_samples=n_samples, leads=LEADS[:n_leads]), None)
    others = {"fs": 500, "who": "text", "cells": np.array([[1], ["a"]], object), "parts": {"a": [1, 2]}}
    scipy.io.savemat(tmp_path / "A0001.mat", {**others, "val": values}, do_compression=compressed)
    np.testing.assert_array_equal(read_recording(path).signal_mv, (values / 1000.0).astype(np.float32))


@pytest.mark.parametrize(
    "val",
    [
        "text",
        np.zeros((2, 5), complex),
        {"a": 1},
        np.array([[1], ["a"]], object),
        scipy.sparse.csc_matrix(np.eye(3)),
        np.zeros((2, 3, 4)),
    ],
)
def test_a_val_that_is_no_matrix_of_real_numbers_is_named(tmp_path, val):
    path = made.write(tmp_path, "A0001", made.header(), None)
    for version in ("4", "5"):
        try:
            scipy.io.savemat(tmp_path / "A0001.mat", {"val": val}, format=version)
        except (TypeError, ValueError):
            continue  # version 4 has no such type
        with pytest.raises(RecordingError, match=r"A0001\.mat: "):
            read_recording(path)


def test_what_the_organizers_hand_over_equals_the_file(tmp_path):
    values = made.adc(12, 300)
    values[3, 10:20] = -(2**15)
    leads = LEADS[::-1]
    path = made.write_mat(
        tmp_path, "A0001", values, leads=leads, gain="1716.3(6)/mV", storage=["16:2+24"] + ["16+24"] * 11
    )
    from_file = read_recording(path)
    signal = scipy.io.loadmat(tmp_path / "A0001.mat")["val"]
    text = path.read_text()
    for header, array in [
        (text, signal),
        (text.splitlines(keepends=True), signal.astype(np.float64)),
        (text.splitlines(), signal.astype(">i4")),
        (text, signal.astype(np.float32)),
    ]:
        recording = recording_from(header, array)
        np.testing.assert_array_equal(recording.signal_mv, from_file.signal_mv)
        assert recording.notes == from_file.notes and recording.name == "A0001" and recording.leads == LEADS


# Leads and samples


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(LEADS), min_size=1, max_size=12, unique=True), st.randoms())
def test_any_order_and_case_of_leads_comes_out_in_standard_order(leads, random):
    values = made.adc(len(leads), 20)
    written = tuple(random.choice((str.upper, str.lower, str))(lead) for lead in leads)
    recording = recording_from(made.header(leads=written, n_samples=20), values)
    assert recording.leads == tuple(lead for lead in LEADS if lead in leads) and recording.notes == ()
    for lead, row in zip(recording.leads, recording.signal_mv):
        np.testing.assert_array_equal(row, np.float32(values[leads.index(lead)] / 1000))


def test_fifteen_leads_and_a_repeated_one(tmp_path):
    leads = ("V7", *LEADS[::-1], "x", "V1")
    recording = read_recording(made.write_mat(tmp_path, "A0001", made.adc(15, 20), leads=leads))
    assert recording.leads == (*LEADS, "V7", "x")
    assert any("V1 comes more than once" in note for note in recording.notes)
    np.testing.assert_array_equal(recording.signal_mv[6], np.float32(made.adc(15, 20)[leads.index("V1")] / 1000))


def test_thirty_minutes_and_five_seconds_and_one_sample(tmp_path):
    for n_samples in (30 * 60 * 1000, 5 * 500, 1):
        values = np.broadcast_to(np.arange(n_samples) % 1000, (2, n_samples))
        recording = read_recording(made.write_mat(tmp_path, "A0001", values, frequency="1000"))
        assert recording.signal_mv.shape == (2, n_samples) and recording.notes == ()
        np.testing.assert_array_equal(recording.signal_mv[1], np.float32(values[1] / 1000))


def test_an_all_zero_recording_is_a_recording(tmp_path):
    recording = read_recording(made.write_mat(tmp_path, "A0001", np.zeros((12, 50), int)))
    assert recording.notes == () and not recording.signal_mv.any()


def test_missing_samples_become_nan_and_are_counted():
    values = made.adc(12, 50).astype(float)
    values[0, :3], values[4, 7], values[5, 8], values[6, 9], values[7, 10] = -(2**15), np.nan, np.inf, -np.inf, 1e300
    recording = recording_from(made.header(n_samples=50), values)
    assert_sound(recording)
    assert np.isnan(recording.signal_mv).sum() == 7
    assert recording.notes == ("7 of 600 samples are missing",)


def test_a_gain_that_overflows_leaves_nan():
    text = made.header(leads=("I",), n_samples=50, gain="1e-40/mV")
    recording = recording_from(text, made.adc(1, 50).astype(np.int16))
    assert np.isnan(recording.signal_mv).sum() > 40
    assert_sound(recording)


@pytest.mark.parametrize("kind", ["i2", "f8", "dat", "212"])
def test_a_file_that_breaks_off_gives_its_whole_samples(tmp_path, kind):
    values = made.adc(4, 50, 12)
    if kind in ("dat", "212"):
        path = made.write_dat(tmp_path, "A0001", values, "16" if kind == "dat" else kind)
    else:
        path = made.write_mat(tmp_path, "A0001", values, "<" + kind)
    signal_path = next(file for file in tmp_path.iterdir() if file.suffix != ".hea")
    data = signal_path.read_bytes()
    signal_path.write_bytes(data[: len(data) // 2])
    recording = read_recording(path)
    n_samples = recording.signal_mv.shape[1]
    assert 20 < n_samples <= 25 and "the header says 50 samples" in recording.notes[-1]
    np.testing.assert_array_equal(recording.signal_mv, np.float32(values[:, :n_samples] / 1000))


@pytest.mark.parametrize("said", [40, 60])
def test_a_matlab_file_is_believed_about_the_number_of_samples(tmp_path, said):
    recording = read_recording(made.write_mat(tmp_path, "A0001", made.adc(3, 50), n_samples=said))
    assert recording.signal_mv.shape == (3, 50) and str(said) in recording.notes[0]


@pytest.mark.parametrize("form", ["16", "212"])
def test_a_wfdb_file_is_read_as_far_as_the_header_says(tmp_path, form):
    recording = assert_equals_wfdb(made.write_dat(tmp_path, "A0001", made.adc(3, 50, 12), form, n_samples=40))
    assert recording.signal_mv.shape == (3, 40) and "goes on" in recording.notes[0]
    recording = assert_equals_wfdb(made.write_dat(tmp_path, "A0001", made.adc(3, 50, 12), form, n_samples=""))
    assert recording.signal_mv.shape == (3, 50) and recording.notes == ()


def test_a_matrix_that_is_turned_over_or_has_more_rows_is_read_and_noted():
    values = made.adc(12, 50)
    text = made.header(n_samples=50)
    for array, word in [(values.T, "(samples, leads)"), (np.vstack([values, values]), "24 rows")]:
        recording = recording_from(text, array)
        assert word in recording.notes[0]
        np.testing.assert_array_equal(recording.signal_mv, np.float32(values / 1000))


def test_fewer_rows_than_lines_are_refused_unless_the_header_tells_which():
    values, eight = made.adc(12, 50), [0, 1, *range(6, 12)]
    with pytest.raises(
        RecordingError, match=r"12 leads, the signal 8 rows: which rows are which leads cannot be known"
    ):
        recording_from(made.header(n_samples=50), values[eight])
    lines = made.header(n_samples=50).splitlines()
    for row in range(12):
        lines[row + 1] = f"A0001.mat 16+24 1000/mV 16 0 {values[row, 0]} {np.int16(values[row].sum())} 0 {LEADS[row]}"
    for order in (eight, eight[::-1]):
        recording = recording_from("\n".join(lines), values[order])
        assert recording.leads == tuple(LEADS[row] for row in eight) and "checksums" in recording.notes[0]
        np.testing.assert_array_equal(recording.signal_mv, np.float32(values[eight] / 1000))


def test_more_rows_than_lines_are_refused_where_they_may_be_any():
    values = made.adc(12, 50)
    with pytest.raises(RecordingError, match="cannot be known"):
        recording_from(made.header(n_samples=50, leads=("I", "II", "V1")), values)
    recording = recording_from(made.header(n_samples=50, leads=LEADS[:6]), values)
    assert recording.leads == LEADS[:6] and "first 6" in recording.notes[0]


def test_a_wfdb_file_with_fewer_signals_than_lines_is_told_by_first_samples(tmp_path):
    values, eight = made.adc(12, 50), [0, 1, *range(6, 12)]
    text = made.header(n_samples=50, extension=".dat", storage="16", initial=[int(first) for first in values[:, 0]])
    path = made.write(tmp_path, "A0001", text, made.encoded(values[eight], "16"), ".dat")
    with pytest.raises(RecordingError, match="the signal file 8: which of them are there cannot be known"):
        read_recording(path)
    (tmp_path / "A0001.dat").write_bytes(made.encoded(values[:, :33], "16")[: 2 * 8 * 50])
    assert read_recording(path).signal_mv.shape == (12, 33)  # it breaks off


def test_one_lead_may_come_as_a_vector():
    assert recording_from(made.header(leads=("II",), n_samples=50), made.adc(1, 50)[0]).signal_mv.shape == (1, 50)


@pytest.mark.parametrize(
    "signal",
    [
        None,
        [],
        np.zeros((12, 0)),
        np.zeros((0, 50)),
        np.zeros(50),
        np.zeros((12, 50, 1)),
        np.array(["a"] * 12),
        [[1, 2], [3]],
        np.zeros((12, 5), complex),
        np.zeros((12, 5), bool),
        np.zeros((12, 5), object),
        "text",
        7,
    ],
)
def test_a_signal_that_is_none_is_named(signal):
    with pytest.raises(RecordingError, match="A0001: "):
        recording_from(made.header(), signal)


@pytest.mark.parametrize("header", [None, 7, b"A0001 1 500 1", [1, 2], [], ""])
def test_a_header_that_is_none_is_named(header):
    with pytest.raises(RecordingError):
        recording_from(header, made.adc())


# Files


@pytest.mark.parametrize(
    "signal",
    [
        b"",
        b"\0",
        b"garbage" * 100,
        made.matlab4(made.adc())[:24],
        made.matlab4(made.adc())[:30],
        made.matlab4(made.adc())[:10],
        made.matlab4(np.zeros((12, 0))),
        made.matlab4(np.zeros((0, 12))),
        made.matlab4(made.adc(), name="ecg") + made.matlab4(made.adc(), name="filtered"),
        made.matlab5(made.adc())[:128],
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"\x0e\0\0\0\xff\xff\xff\x7f",
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(600),
    ],
)
def test_a_signal_file_that_holds_none_is_named(tmp_path, signal):
    path = made.write(tmp_path, "A0001", made.header(), signal)
    with pytest.raises(RecordingError, match=r"A0001\.mat: ") as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["16", "212", "516", "99"])
@pytest.mark.parametrize("data", [b"", b"\1\2\3"])
@pytest.mark.parametrize("n_samples", [500, 10**11])
def test_a_wfdb_file_that_holds_nothing_is_named(tmp_path, form, data, n_samples):
    path = made.write(tmp_path, "A0001", made.header(n_samples=n_samples, extension=".dat", storage=form), data, ".dat")
    with pytest.raises(RecordingError, match=r"A0001\.dat: "):
        read_recording(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_5_cut_anywhere_gives_its_whole_samples_or_is_named(tmp_path, compressed):
    values = made.adc(12, 9)
    path = made.write(tmp_path, "A0001", made.header(n_samples=9), None)
    scipy.io.savemat(tmp_path / "A0001.mat", {"val": values.astype(np.int16)}, do_compression=compressed)
    whole = (tmp_path / "A0001.mat").read_bytes()
    lengths = set()
    for size in range(len(whole)):
        (tmp_path / "A0001.mat").write_bytes(whole[:size])
        try:
            signal_mv = read_recording(path).signal_mv
            lengths.add(signal_mv.shape[1])
            np.testing.assert_array_equal(signal_mv, np.float32(values[:, : signal_mv.shape[1]] / 1000))
        except RecordingError as error:
            assert "A0001.mat: " in str(error)
    assert {1, 8} <= lengths


def test_a_header_without_a_signal_and_files_that_are_missing_are_named(tmp_path):
    path = made.write(tmp_path, "A0001", made.header(), None)
    with pytest.raises(RecordingError, match=r"A0001\.hea: its signal file A0001\.mat"):
        read_recording(path)
    with pytest.raises(RecordingError, match=r"B\.hea: "):
        read_recording(tmp_path / "B.hea")
    (tmp_path / "C.hea").mkdir()
    with pytest.raises(RecordingError, match=r"C\.hea: "):
        read_recording(tmp_path / "C.hea")
    with pytest.raises(RecordingError, match=r"D\.hea: .*no signal"):
        read_recording(made.write(tmp_path, "D", "D 0 500 0\n", None))
    with pytest.raises(RecordingError, match=r"gone\.hea: "):
        read_recording(made.write(tmp_path, "E", "E/1 1 500 10\ngone 10\n", None))
    with pytest.raises(RecordingError, match=r"F\.hea: "):
        read_recording(made.write(tmp_path, "F", "F/1 1 500 10\nF 10\n", None))


def test_a_renamed_recording_is_read_and_noted(tmp_path):
    made.write(tmp_path, "B0001", made.header("A0001"), made.matlab4(made.adc()))
    recording = read_recording(tmp_path / "B0001.hea")
    assert recording.name == "B0001" and len(recording.notes) == 2
    assert read_recording(made.write(tmp_path, "C", made.header("C.v2"), made.matlab4(made.adc()))).name == "C"


def test_a_header_cannot_reach_out_of_its_folder(tmp_path):
    (tmp_path / "secret.mat").write_bytes(made.matlab4(made.adc()))
    for name in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(RecordingError):
            text = made.header(name, record_line="A0001 12 500 500")
            read_recording(made.write(tmp_path / "inner", "A0001", text, None))


# Bad input of any kind


def mangled(data: bytes):
    """Strategy: the bytes with a few cuts, repeats and foreign bytes."""
    edit = st.tuples(
        st.integers(0, len(data)),
        st.integers(0, 12),
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from(
                [
                    b"\n",
                    b" ",
                    b"/",
                    b"#",
                    b"0",
                    b"9999999999999",
                    b"nan",
                    b"-1",
                    b"1e999",
                    b"~",
                    b"x",
                    b":5",
                    b"+",
                    b"(",
                    "µ²٣".encode(),
                ]
            ),
        ),
    )

    def apply(edits):
        out = data
        for at, cut, new in edits:
            out = out[:at] + new + out[at + cut :]
        return out

    return st.lists(edit, min_size=1, max_size=6).map(apply)


HEADER = made.header(leads=("I", "II", "V1"), n_samples=20, storage="16x1:0+24", gain="1000.0(0)/mV").encode()
SEGMENTED = b"A0001/3 3 500 60\nlayout 0\nA0001 20\n~ 20\n#Age: 50\n"


@settings(deadline=None, max_examples=300)
@given(st.one_of(mangled(HEADER), mangled(SEGMENTED), st.binary(max_size=80)))
def test_a_mangled_header_is_read_or_named(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "mangled"
    path = made.write(folder, "A0001", data, made.matlab4(made.adc(3, 20)))
    for read in (lambda: read_recording(path), lambda: recording_from(data.decode("latin-1"), made.adc(3, 20))):
        try:
            assert_sound(read())
        except RecordingError as error:
            assert str(error) and "\n" not in str(error)


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        [
            mangled(made.matlab4(made.adc(3, 20))),
            mangled(made.matlab4(made.adc(3, 20), ">f4")),
            mangled(made.matlab5(made.adc(3, 20))),
        ]
    )
)
def test_a_mangled_signal_is_read_or_named(tmp_path_factory, data):
    path = made.write(tmp_path_factory.getbasetemp() / "mangled", "A0001", HEADER, data)
    try:
        assert_sound(read_recording(path))
    except RecordingError as error:
        assert "A0001" in str(error) and "\n" not in str(error)


def test_reading_a_challenge_recording_imports_neither_wfdb_nor_scipy(tmp_path):
    path = made.write_mat(tmp_path, "A0001", made.adc())
    code = (
        "import sys; from twelvelead.data.recording import read_recording; read_recording(sys.argv[1]); "
        "sys.exit(bool({'wfdb', 'scipy', 'pandas', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[2])
