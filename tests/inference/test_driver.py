"""driver.py as a process: no recording costs another its result, and however it ends, it says so in one line."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made import adc, write_mat

from twelvelead.data.classes import OUTPUT_CODES, SINUS_RHYTHM
from twelvelead.data.folders import find_recordings

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def driver(model, data, outputs, *more, **options):
    """Runs driver.py on one thread, since the machine may be busy with other tests."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, str(ROOT / "driver.py"), str(model), str(data), str(outputs), *map(str, more)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment, **options)


@pytest.fixture
def recordings(tmp_path):
    """A folder of six recordings, and a function that adds a copy of the first one under another name."""
    data = tmp_path / "data"
    for k in range(6):
        write_mat(data, f"A{k:04d}", adc(12, 5000, bits=11, seed=k))

    def add(name: str | bytes) -> None:
        for extension in (".hea", ".mat"):
            target = os.path.join(os.fsencode(data), os.fsencode(name) + extension.encode())
            shutil.copy(os.fsencode(data / f"A0000{extension}"), target)

    return data, add


def test_the_driver_costs_no_recording_its_result_and_fails_above_5_percent(tiny_model, hospital, tmp_path):
    data = shutil.copytree(hospital, tmp_path / "data")
    headers = find_recordings(data)
    healthy = driver(tiny_model, data, tmp_path / "healthy", cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stderr
    assert f"{len(headers)} recordings classified" in healthy.stdout and "0 of them fell back" in healthy.stdout
    assert "Traceback" not in healthy.stderr
    for header in headers[:4]:
        for path in (header.with_suffix(".mat"), header.with_suffix(".dat")):
            if path.is_file():
                path.write_bytes(b"")
    sick = driver(tiny_model, data, tmp_path / "sick", cwd=tmp_path)
    assert sick.returncode == 1 and "4 of them fell back" in sick.stdout and "Traceback" not in sick.stderr
    for header in headers:
        a, b = (tmp_path / folder / f"{header.stem}.csv" for folder in ("healthy", "sick"))
        if header in headers[:4]:
            assert header.stem in sick.stderr
            assert b.read_text().splitlines()[2].split(",").index("1") == OUTPUT_CODES.index(SINUS_RHYTHM)
        else:
            scores = [[float(s) for s in path.read_text().splitlines()[3].split(",")] for path in (a, b)]
            np.testing.assert_allclose(*scores, atol=1e-5)


def test_two_recordings_of_one_name_both_get_a_row(tiny_model, recordings, tmp_path):
    data, _ = recordings
    for extension in (".hea", ".mat"):
        (data / "Georgia").mkdir(exist_ok=True)
        shutil.copy(data / f"A0003{extension}", data / "Georgia" / f"A0001{extension}")
    result = driver(tiny_model, data, tmp_path / "out")
    assert result.returncode == 0 and "7 recordings classified" in result.stdout
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.csv")}
    assert files == {"Georgia/A0001.csv", *(f"A{k:04d}.csv" for k in range(6))}
    rows = [(tmp_path / "out" / name).read_text().splitlines()[3] for name in ("Georgia/A0001.csv", "A0003.csv")]
    assert rows[0] == rows[1]


def test_outputs_that_would_collide_end_the_run_before_anything_is_classified(tiny_model, recordings, tmp_path):
    data, add = recordings
    add("a0001")
    result = driver(tiny_model, data, tmp_path / "out")
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1 and "a0001" in result.stderr
    assert not (tmp_path / "out").exists()


def test_repairs_are_named_up_to_twenty_and_all_of_them_with_notes(tiny_model, tmp_path):
    for k in range(23):
        write_mat(tmp_path / "data", f"A{k:04d}", adc(12, 5000, bits=11, seed=k), n_samples=5001 + k)
    result = driver(tiny_model, tmp_path / "data", tmp_path / "out", "--notes", tmp_path / "notes.csv")
    lines = result.stderr.splitlines()
    assert result.returncode == 0 and len(lines) == 21 and all(line.startswith("repaired: ") for line in lines)
    assert "A0000.hea" in lines[0] and lines[-1] == "repaired: 3 more recordings"
    rows = list(csv.reader((tmp_path / "notes.csv").open(newline="")))
    assert rows[0] == ["recording", "note"] and [row[0] for row in rows[1:]] == [f"A{k:04d}" for k in range(23)]


def test_old_outputs_of_another_run_are_named_in_one_line(tiny_model, recordings, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("A0000.csv", "old.csv", "older.csv"):
        (tmp_path / "out" / name).write_text("")
    result = driver(tiny_model, recordings[0], tmp_path / "out")
    assert result.returncode == 0 and len(result.stderr.splitlines()) == 1
    assert "2 CSV files" in result.stderr and "old.csv" in result.stderr


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_odd_file_names_cost_no_recording_its_output(tiny_model, recordings, tmp_path, locale):
    data, add = recordings
    odd = [b"not\xffutf8", b"line\nfeed", b"\x1b[31m", "Ä é".encode(), b"x" * 251]
    for name in odd:
        add(name)
    environment = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = driver(tiny_model, data, tmp_path / "out", env=environment)
    assert result.returncode == 0 and "11 recordings classified" in result.stdout and "Traceback" not in result.stderr
    expected = [line.split(",") for line in (tmp_path / "out" / "A0000.csv").read_text().splitlines()[1:]]
    for name in odd:
        lines = Path(os.fsdecode(os.fsencode(tmp_path / "out") + b"/" + name + b".csv")).read_text("utf-8").split("\n")
        rows = [line.split(",") for line in lines[1:4]]
        assert len(lines) == 5 and lines[0].isprintable() and rows[:2] == expected[:2]
        np.testing.assert_allclose([float(text) for text in rows[2]], [float(text) for text in expected[2]], atol=1e-5)
    umlaut = Path(os.fsdecode(os.fsencode(tmp_path / "out") + b"/" + "Ä é.csv".encode()))
    assert umlaut.read_text("utf-8").startswith("#Ä é\n")
    assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())
    assert result.stderr.count("the first line of its output says") == 3


def test_an_output_that_cannot_be_written_is_named_and_the_others_are_written(tiny_model, recordings, tmp_path):
    (tmp_path / "out" / "A0002.csv").mkdir(parents=True)
    result = driver(tiny_model, recordings[0], tmp_path / "out")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "not written" in result.stderr and "A0002.csv" in result.stderr and "1 outputs could not" in result.stderr
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_file()]) == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file system that can be filled")
def test_a_full_disk_ends_the_run_with_one_line_and_keeps_what_is_written(tiny_model, recordings, tmp_path):
    """Files of more than a few bytes cannot be written under a limit of the shell's."""
    line = f'ulimit -f 0; exec "{sys.executable}" "{ROOT}/driver.py" "{tiny_model}" "{recordings[0]}" "{tmp_path}/out"'
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert result.returncode in (1, 2) and "Traceback" not in result.stderr
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_one_line_and_keeps_what_is_written(tiny_model, tmp_path, number, code):
    for k in range(150):
        write_mat(tmp_path / "data", f"A{k:04d}", adc(12, 30_000, bits=11, seed=k))
    command = [sys.executable, str(ROOT / "driver.py"), str(tiny_model), str(tmp_path / "data"), str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "out").glob("A*.csv")):
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    assert len(err.splitlines()) == 1 and "Traceback" not in err and out == ""
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < 150 and all(len(path.read_text().split("\n")) == 5 for path in written)


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "2>&1 | true", "| true"])
def test_a_stream_without_a_reader_costs_no_output(tiny_model, recordings, tmp_path, closed):
    shutil.copy(recordings[0] / "A0000.hea", recordings[0] / "B0000.hea")  # something to tell: there is no B0000.mat
    (recordings[0] / "A0001.mat").write_bytes(b"")
    words = [sys.executable, ROOT / "driver.py", tiny_model, recordings[0], tmp_path / "out"]
    line = "set -o pipefail; " + " ".join(f'"{word}"' for word in words) + f" {closed}"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert result.returncode in (1, 141) and "Traceback" not in result.stdout + result.stderr
    rows = [path.read_text().split("\n") for path in sorted((tmp_path / "out").iterdir())]
    assert len(rows) == 7 and all(len(row) == 5 and row[1] == ",".join(OUTPUT_CODES) for row in rows)


@pytest.mark.parametrize("jobs", ["99999", "-99999"])
def test_any_number_of_jobs_is_harmless(tiny_model, recordings, tmp_path, jobs):
    result = driver(tiny_model, recordings[0], tmp_path / "out", env={"TWELVELEAD_JOBS": jobs})
    assert result.returncode == 0 and result.stderr == ""
    assert len(list((tmp_path / "out").iterdir())) == 6


@pytest.mark.parametrize(
    "model,data,outputs,words",
    [
        ("model", "empty", "out", "no recordings"),
        ("model", "absent", "out", "absent"),
        ("empty", "data", "out", "no trained model"),
        ("model", "data", "file/out", "cannot be written"),
    ],
)
def test_what_the_driver_cannot_do_is_one_line(tiny_model, hospital, tmp_path, model, data, outputs, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "data").symlink_to(hospital)
    result = driver(tmp_path / model, tmp_path / data, tmp_path / outputs)
    assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
