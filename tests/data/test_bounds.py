"""What reading costs is bounded: nothing hangs, and small files cost at most a second and 500 MB."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
import zlib

import made
import numpy as np
import pytest
import scipy.io

from twelvelead.data import limits
from twelvelead.data.folders import find_recordings, orphan_signals
from twelvelead.data.header import LEADS, parse_header, read_header
from twelvelead.data.recording import read_recording, recording_from
from twelvelead.errors import RecordingError
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import RECIPES, get_recipe


def refused(work, seconds: float = 1.0, megabytes: float = 500) -> str:
    """The message of the RecordingError that a piece of work ends with, in bounded time and memory."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(RecordingError) as caught:
            work()
    finally:
        took, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert took < seconds and peak < megabytes * 2**20, (took, peak)
    assert str(caught.value).isprintable()
    return str(caught.value)


def link_to_zeros(path):
    os.symlink("/dev/zero", path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("make", [os.mkfifo, link_to_zeros, os.mkdir])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make):
    header, signal = tmp_path / "A.hea", tmp_path / "B.mat"
    make(header)
    make(signal)
    made.write(tmp_path, "B", made.header("B"), None)
    assert "A.hea: the header cannot be read" in refused(lambda: read_recording(header))
    assert "B" in refused(lambda: read_recording(tmp_path / "B.hea"))
    find_recordings(tmp_path)
    orphan_signals(tmp_path)


def test_a_header_larger_than_any_is_refused(tmp_path):
    path = made.write(tmp_path, "A", made.header("A") + "#" + "x" * limits.HEADER_BYTES, made.matlab4(made.adc()))
    assert "4 MB" in refused(lambda: read_recording(path))
    lines = "A 100000 500 10\n" + "A.mat 16 200 16 0 0 0 0 I\n" * 100_000
    assert "256 lines" in refused(lambda: parse_header(lines))


@pytest.mark.parametrize(
    "lines",
    [
        "A 1 500 10\nA.mat 16 1" + " " * 400_000 + "x",
        "A 1 500 10\nA.mat 16 200 16 0 0 0 0 " + "-" * 400_000 + "a",
        "A 1 500 10\n" + "a." * 200_000,
        "A" * 1_000_000,
        "A 1 500 10\nA.mat 16 200 16 0 0 0 0 I\n" + "#x\n" * 1_000_000,
        "A 1 " + "9" * 1_000_000 + " 10",
    ],
    ids=["blanks", "dashes", "dots", "name", "comments", "digits"],
)
def test_lines_that_would_take_patterns_long_are_refused(lines):
    refused(lambda: parse_header(lines))


@pytest.mark.parametrize(
    "comment",
    [
        "#Dx: 164889003|" + "a" * 3_000_000,
        "#Dx: " + "164889003|" * 300_000,
        "#Dx: " + "1" * 3_000_000,
        "#Dx: " + "AF " * 1_000_000,
        "#Age: 89" + " " * 3_000_000 + "x",
        "#Age: " + "9" * 3_000_000,
        "#Sex: " + "<age>: " * 400_000,
        "#" + "age:" * 700_000,
        "#" + " " * 3_000_000 + "x",
        "\n".join(f"#{k}: x" for k in range(9_000)),
    ],
    ids=["term", "bars", "digits", "words", "age", "old", "keys", "ages", "blanks", "lines"],
)
def test_comments_that_would_take_patterns_long_take_no_time(comment):
    start = time.process_time()
    assert parse_header(made.header(comments=[comment])).leads == LEADS
    assert time.process_time() - start < 1


def test_a_signal_file_larger_than_any_is_refused(tmp_path):
    path = made.write(tmp_path, "A", made.header("A"), b"")
    os.truncate(tmp_path / "A.mat", limits.SIGNAL_BYTES + 1)  # sparse
    assert "256 MB" in refused(lambda: read_recording(path))


@pytest.mark.parametrize("gap", [10**7, 10**11])
def test_gaps_that_a_header_announces_are_bounded(tmp_path, gap):
    made.write_dat(tmp_path, "s", made.adc(12, 10), "16")
    path = made.write(tmp_path, "A", f"A/2 12 500 {gap + 10}\ns 10\n~ {gap}\n", None)
    assert path.stat().st_size < 66 and "no recording" in refused(lambda: read_recording(path))


def test_a_segment_is_read_once_and_twenty_thousand_of_it_are_refused(tmp_path, monkeypatch):
    made.write_dat(tmp_path, "s", made.adc(12, 5000), "16")
    path = made.write(tmp_path, "A", "A/20000 12 500 0\n" + "s 5000\n" * 20_000, None)
    assert "no recording" in refused(lambda: read_recording(path))
    made.write_dat(tmp_path, "s", made.adc(1, 10), "16", leads=("II",))
    path = made.write(tmp_path, "A", "A/20000 1 500 0\n" + "s 10\n" * 20_000, None)
    start = time.process_time()
    recording = read_recording(path)
    assert recording.signal_mv.shape == (1, 200_000) and time.process_time() - start < 1
    np.testing.assert_array_equal(recording.signal_mv[0], np.tile(np.float32(made.adc(1, 10)[0] / 1000), 20_000))


def test_a_segment_of_itself_ends(tmp_path):
    path = made.write(tmp_path, "A", "A/2 1 500 10\nB 5\nA 5\n", None)
    made.write(tmp_path, "B", "B/1 1 500 10\nA 5\n", None)
    refused(lambda: read_recording(path))
    assert len(find_recordings(tmp_path)) == 2


def test_matlab_files_that_unfold_a_thousandfold_are_refused(tmp_path):
    path = made.write(tmp_path, "A", made.header("A"), None)
    scipy.io.savemat(tmp_path / "A.mat", {"val": np.zeros((12, 6_000_000), np.int16)}, do_compression=True)
    assert (tmp_path / "A.mat").stat().st_size < 200_000
    assert "unfolds" in refused(lambda: read_recording(path))


def test_matlab_files_of_many_or_huge_variables_are_refused(tmp_path):
    path = made.write(tmp_path, "A", made.header("A"), None)
    bomb = zlib.compress(bytes(2**24))
    element = struct.pack("<2I", 15, len(bomb)) + bomb
    (tmp_path / "A.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + element * 200)
    refused(lambda: read_recording(path))
    one = made.matlab4(np.zeros((1, 1)), name="x")
    (tmp_path / "A.mat").write_bytes(one * 100_000)
    refused(lambda: read_recording(path))
    (tmp_path / "A.mat").write_bytes(struct.pack("<5i", 30, 2**30, 2**30, 0, 4) + b"val\0" + bytes(1000))
    refused(lambda: read_recording(path))


def test_flac_files_that_unfold_without_bounds_are_refused(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    silence = np.zeros((8_000_000, 1), np.int16)
    soundfile.write(tmp_path / "A.dat", silence, 96000, format="FLAC", subtype="PCM_16")
    text = made.header("A", leads=("I",), storage="516", n_samples=8_000_000, extension=".dat")
    path = made.write(tmp_path, "A", text, None)
    assert (tmp_path / "A.dat").stat().st_size < 100_000
    assert "unfolds" in refused(lambda: read_recording(path))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("n_samples", [3000, 20_000, 300_000])
def test_a_wrong_frequency_cannot_make_a_recording_endless(recipe, n_samples):
    recording = recording_from(
        made.header(record_line=f"A 12 1 {n_samples}"), np.resize(made.adc(12, 3001), (12, n_samples)).astype(np.int16)
    )
    tracemalloc.start()
    start = time.process_time()
    try:
        for part in get_recipe(recipe).parts:
            prepared = prepare(recording, part.input)
            assert prepared.signal.shape[1] <= limits.most_samples_out(n_samples)
    except RecordingError as error:
        assert "Hz" in str(error) and n_samples > 500
    took, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 3 and peak < 500 * 2**20  # the second is for the usual machine


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["butt", "se-resnet", "cnn-gru"])
@pytest.mark.parametrize("frequency_hz", [100, 1000])
def test_thirty_minutes_of_twelve_leads_fit(tmp_path, recipe, frequency_hz):
    values = np.resize(made.adc(12, 60_001), (12, 30 * 60 * frequency_hz))
    path = made.write_mat(tmp_path, "A", values, "<f8", frequency=str(frequency_hz))
    recording = read_recording(path)
    spec = get_recipe(recipe).input
    assert recording.leads == LEADS and prepare(recording, spec).signal.shape[1] == 30 * 60 * spec.frequency_hz


def test_ten_times_the_longest_recording_is_refused():
    values = np.broadcast_to(np.int16(1), (12, 10 * 30 * 60 * 1000))
    with pytest.raises(RecordingError, match="more than a recording may have"):
        recording_from(made.header(n_samples=values.shape[1]), values)


def test_headers_of_all_kinds_of_files_name_the_file(tmp_path):
    for name in ("gone", "folder"):
        (tmp_path / "folder.hea").mkdir(exist_ok=True)
        with pytest.raises(RecordingError, match=f"{name}.hea: the header cannot be read"):
            read_header(tmp_path / f"{name}.hea")
