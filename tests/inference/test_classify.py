"""Rows come out for every recording, equal however they were asked for, in the format of both Challenges.

driver.py as a process is in test_driver.py, the names of output files in test_outputs.py.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import team_code
from twelvelead.data.classes import EQUIVALENT, OUTPUT_CODES, SINUS_RHYTHM
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.inference import classify as classify_module
from twelvelead.inference.classify import classify, classify_folder, classify_recording, row_text
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.preprocessing.prepare import prepare


def raw(header_path: Path) -> tuple[str, np.ndarray]:
    """What the organizers hand over for a Challenge recording: the header's text, int16 (leads, samples)."""
    text = header_path.read_text()
    leads = int(text.split()[1])
    return text, np.fromfile(header_path.with_suffix(".mat"), "<i2", offset=24).reshape(-1, leads).T


@pytest.fixture(scope="module")
def mat_headers(hospital):
    return [path for path in find_recordings(hospital) if path.with_suffix(".mat").is_file()][:6]


@pytest.mark.slow
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
        written = [float(text) for text in lines[3].split(",")]
        # A GPU adds in another order for a batch than for one recording.
        np.testing.assert_allclose(scores, written, atol=1e-3 if torch.cuda.is_available() else 1e-5)
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


def test_scoring_that_fails_for_one_recording_costs_no_other_its_result(tiny_model, mat_headers, monkeypatch):
    """Such as a lack of memory for a recording that is much longer than the others."""
    ensemble = load_ensemble(tiny_model)
    prepared = [prepare(read_recording(header), ensemble.recipe.input) for header in mat_headers[:4]]
    expected = classify(ensemble, prepared)
    real = classify_module.member_scores

    def failing(ensemble, data):
        if (data.metadata == torch.from_numpy(prepared[2].metadata)).all(dim=1).any():
            raise MemoryError("bad alloc")
        return real(ensemble, data)

    monkeypatch.setattr(classify_module, "member_scores", failing)
    rows = classify(ensemble, prepared)
    assert [row.fault is not None for row in rows] == [False, False, True, False] and "MemoryError" in rows[2].fault
    for k in (0, 1, 3):
        np.testing.assert_allclose(rows[k].scores, expected[k].scores, atol=1e-5)


def test_a_full_disk_ends_the_run_with_one_line_and_keeps_what_is_written(tiny_model, hospital, tmp_path, monkeypatch):
    real, calls = classify_module.write_output, []

    def filling(outputs, name, text):
        calls.append(name)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(outputs, name, text)

    monkeypatch.setattr(classify_module, "write_output", filling)
    with pytest.raises(UserError, match="No space left on device"):
        classify_folder(load_ensemble(tiny_model), hospital, tmp_path, jobs=1)
    assert len(calls) == 6 and sorted(path.stem for path in tmp_path.iterdir()) == sorted(calls[:5])


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


def test_run_model_tells_a_kind_of_repair_once_and_counts_it(tiny_model, capsys):
    ensemble = load_ensemble(tiny_model)
    signal = np.random.default_rng(0).integers(-900, 900, (12, 5000)).astype(np.int16)
    for samples in (5001, 5002, 5003):
        team_code.run_model(ensemble, made_header(LEADS, samples, 500), signal)
    assert capsys.readouterr().err.count("repaired: X: ") == 1
    assert ensemble.tally.summary() == ["repaired: 3 times: the header says … samples, read were …"]


def made_header(leads, samples, frequency_hz) -> str:
    lines = [f"X.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in leads]
    return "\n".join([f"X {len(leads)} {frequency_hz} {samples}", *lines, "#Age: NaN", "#Sex: Unknown"])


@pytest.mark.slow
@pytest.mark.parametrize("count", range(1, 13))
def test_any_number_of_leads_is_classified(tiny_model, capsys, count):
    leads = LEADS[12 - count :]
    signal = np.random.default_rng(0).integers(-900, 900, (count, 5000)).astype(np.int16)
    _, labels, scores = team_code.run_model(load_ensemble(tiny_model), made_header(leads, 5000, 500), signal)
    assert labels.any() and np.isfinite(scores).all() and capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("seconds,frequency_hz", [(0.1, 500), (5, 500), (10, 100), (10, 257), (60, 300), (1800, 100)])
def test_any_length_and_rate_is_classified(tiny_model, capsys, seconds, frequency_hz):
    samples = round(seconds * frequency_hz)
    signal = np.random.default_rng(0).integers(-900, 900, (12, samples)).astype(np.float64)
    _, labels, scores = team_code.run_model(
        load_ensemble(tiny_model), made_header(LEADS, samples, frequency_hz), signal
    )
    assert labels.any() and np.isfinite(scores).all()
    assert ("too short for a heartbeat" in capsys.readouterr().err) == (seconds < 0.5)


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
