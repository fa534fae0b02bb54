"""Rows come out for every recording, equal however they were asked for, in the format of both Challenges."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import team_code
from twelvelead.data.classes import EQUIVALENT, OUTPUT_CODES, SINUS_RHYTHM
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.inference.classify import classify_folder, classify_recording, row_text
from twelvelead.inference.ensemble import load_ensemble

ROOT = Path(__file__).resolve().parents[2]


def raw(header_path: Path) -> tuple[str, np.ndarray]:
    """What the organizers hand over for a Challenge recording: the header's text, int16 (leads, samples)."""
    text = header_path.read_text()
    leads = int(text.split()[1])
    return text, np.fromfile(header_path.with_suffix(".mat"), "<i2", offset=24).reshape(-1, leads).T


@pytest.fixture(scope="module")
def mat_headers(hospital):
    return [path for path in find_recordings(hospital) if path.with_suffix(".mat").is_file()][:6]


def test_batch_single_2020_and_2021_calls_give_one_result(tiny_model, hospital, mat_headers, tmp_path):
    """The driver's batches, run_model of 2021 (text, int16) and of 2020 (lines, float64)."""
    from run_12ECG_classifier import load_12ECG_model, run_12ECG_classifier

    ensemble = team_code.load_model(str(tiny_model), ("I", "II"))
    classify_folder(ensemble, hospital, tmp_path, jobs=1)
    model_2020 = load_12ECG_model(str(tiny_model))
    for path in mat_headers:
        header, recording = raw(path)
        classes, labels, scores = team_code.run_model(ensemble, header, recording)
        lines = (tmp_path / f"{path.stem}.csv").read_text().splitlines()
        assert classes == lines[1].split(",") == list(OUTPUT_CODES) and len(classes) == 30
        assert labels.tolist() == [int(text) for text in lines[2].split(",")]
        np.testing.assert_allclose(scores, [float(text) for text in lines[3].split(",")], atol=1e-5)
        labels_2020, scores_2020, classes_2020 = run_12ECG_classifier(
            recording.astype(np.float64), header.splitlines(keepends=True), model_2020
        )
        assert list(classes_2020) == classes and labels_2020.tolist() == labels.tolist()
        np.testing.assert_array_equal(scores_2020, scores)


def test_a_row_is_written_byte_for_byte_as_both_challenges_read_it(tiny_model, mat_headers):
    ensemble = load_ensemble(tiny_model)
    row = classify_recording(ensemble, read_recording(mat_headers[0]))
    text = row_text("A0001", row)
    name, codes, labels, scores, end = text.split("\n")
    assert name == "#A0001" and end == "" and " " not in text and "\r" not in text and "|" not in text
    assert codes.split(",") == list(OUTPUT_CODES)
    assert set(labels.split(",")) <= {"0", "1"} and len(labels.split(",")) == 30
    assert [float(score) for score in scores.split(",")] == row.scores.tolist()
    assert row.labels.dtype.kind == "i" and ((row.scores >= 0) & (row.scores <= 1)).all()


def test_equivalent_codes_have_equal_labels_and_scores(tiny_model, mat_headers):
    row = classify_recording(load_ensemble(tiny_model), read_recording(mat_headers[1]))
    for code, twin in EQUIVALENT.items():
        a, b = OUTPUT_CODES.index(code), OUTPUT_CODES.index(twin)
        assert row.labels[a] == row.labels[b] and row.scores[a] == row.scores[b]


@pytest.mark.parametrize(
    "header,recording",
    [
        ("", np.zeros((12, 500))),
        ("garbage", np.ones((12, 500))),
        (None, None),
        ("A0001 12 500 500\n", np.zeros((0, 0))),
        ("A0001 1 500 500\nA0001.mat 16+24 1000/mV 16 0 0 0 0 II\n", np.full((1, 500), np.nan)),
        ("A0001 1 500 500\nA0001.mat 16+24 1000/mV 16 0 0 0 0 XYZ\n", np.arange(500.0)[None]),
    ],
)
def test_run_model_answers_anything_with_sinus_rhythm_and_names_it(tiny_model, capsys, header, recording):
    ensemble = load_ensemble(tiny_model)
    classes, labels, scores = team_code.run_model(ensemble, header, recording)
    assert [code for code, label in zip(classes, labels) if label] == [SINUS_RHYTHM]
    np.testing.assert_allclose(scores, ensemble.classes.as_output(ensemble.priors, 0.0))
    assert "fell back to sinus rhythm" in capsys.readouterr().err


def made_header(leads, samples, frequency_hz) -> str:
    lines = [f"X.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in leads]
    return "\n".join([f"X {len(leads)} {frequency_hz} {samples}", *lines, "#Age: NaN", "#Sex: Unknown"])


@pytest.mark.parametrize("count", range(1, 13))
def test_any_number_of_leads_is_classified(tiny_model, capsys, count):
    leads = LEADS[12 - count :]
    signal = np.random.default_rng(0).integers(-900, 900, (count, 5000)).astype(np.int16)
    _, labels, scores = team_code.run_model(load_ensemble(tiny_model), made_header(leads, 5000, 500), signal)
    assert labels.any() and np.isfinite(scores).all() and capsys.readouterr().err == ""


@pytest.mark.parametrize("seconds,frequency_hz", [(0.1, 500), (5, 500), (10, 100), (10, 257), (60, 300), (1800, 100)])
def test_any_length_and_rate_is_classified(tiny_model, capsys, seconds, frequency_hz):
    samples = round(seconds * frequency_hz)
    signal = np.random.default_rng(0).integers(-900, 900, (12, samples)).astype(np.float64)
    _, labels, scores = team_code.run_model(
        load_ensemble(tiny_model), made_header(LEADS, samples, frequency_hz), signal
    )
    assert labels.any() and np.isfinite(scores).all() and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "damage", ["flat lead", "NaN", "-32768", "a fifth missing", "fewer samples than the header says"]
)
def test_damaged_signals_are_classified(tiny_model, capsys, damage):
    signal = np.random.default_rng(0).integers(-900, 900, (12, 5000)).astype(np.float64)
    if damage == "flat lead":
        signal[7] = 300
    elif damage == "fewer samples than the header says":
        signal = signal[:, :3000]
    else:
        value = np.nan if damage == "NaN" else -32768
        signal[:, 1000:2000] = value
        signal[3] = value if damage != "a fifth missing" else signal[3]
    _, labels, scores = team_code.run_model(load_ensemble(tiny_model), made_header(LEADS, 5000, 500), signal)
    printed = capsys.readouterr().err
    assert labels.any() and np.isfinite(scores).all() and "fell back" not in printed
    assert ("repaired: X: " in printed) == (damage != "flat lead")


def driver(model, data, outputs, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "driver.py"), str(model), str(data), str(outputs)],
        capture_output=True,
        text=True,
        **options,
    )


def test_the_driver_costs_no_recording_its_result_and_fails_when_more_than_5_percent_fell_back(
    tiny_model, hospital, tmp_path
):
    data = shutil.copytree(hospital, tmp_path / "data")
    headers = find_recordings(data)
    healthy = driver(tiny_model, data, tmp_path / "healthy", cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stderr
    assert f"{len(headers)} recordings classified" in healthy.stdout and "0 of them fell back" in healthy.stdout
    assert "Traceback" not in healthy.stderr
    for header in headers[:4]:
        for signal in (header.with_suffix(".mat"), header.with_suffix(".dat")):
            if signal.is_file():
                signal.write_bytes(b"")
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


def test_two_recordings_of_one_name_both_get_a_row(tiny_model, hospital, mat_headers, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for path in (mat_headers[0], mat_headers[0].with_suffix(".mat")):
            shutil.copy(path, tmp_path / "data" / folder)
    assert driver(tiny_model, tmp_path / "data", tmp_path / "out").returncode == 0
    assert len(list((tmp_path / "out").rglob("*.csv"))) == 2


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
