"""Bad training data: each fault costs the recording that has it, or is one clear line; nothing ends in a traceback.

Bad input to reading is in tests/data, to preprocessing in tests/preprocessing, to inference in tests/inference, to the
evaluator in tests/evaluation.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twelvelead import commands
from twelvelead.commands import train
from twelvelead.data.classes import SINUS_RHYTHM
from twelvelead.data.folders import find_recordings
from twelvelead.errors import UserError
from twelvelead.inference.classify import classify_folder
from twelvelead.inference.ensemble import load_ensemble

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture
def data(hospital, tmp_path) -> Path:
    """A copy of ten recordings, flat."""
    folder = tmp_path / "data"
    folder.mkdir()
    headers = [path for path in find_recordings(hospital) if path.with_suffix(".mat").is_file()][:10]
    for header in headers:
        shutil.copy(header, folder)
        shutil.copy(header.with_suffix(".mat"), folder)
    return folder


@pytest.fixture
def one_member(tiny_settings):
    return dataclasses.replace(tiny_settings, members=1)


def set_dx(header: Path, codes: str | None) -> None:
    lines = [line for line in header.read_text().splitlines() if not re.match(r"#\s*Dx", line)]
    header.write_text("\n".join(lines + ([f"#Dx: {codes}"] if codes is not None else [])) + "\n")


def trains_and_scores(data: Path, tmp_path: Path, settings) -> int:
    """Trains, classifies the same folder; returns how many recordings fell back."""
    train(data, tmp_path / "model", settings)
    ensemble = load_ensemble(tmp_path / "model")
    report = classify_folder(ensemble, data, tmp_path / "outputs", jobs=1)
    assert len(list((tmp_path / "outputs").rglob("*.csv"))) == report.recordings == len(find_recordings(data))
    return len(report.faults)


def test_an_empty_folder_and_a_missing_one_are_one_line(tmp_path, one_member):
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "no recordings"), ("missing", "missing")):
        with pytest.raises(UserError, match=words):
            train(tmp_path / name, tmp_path / "model", one_member)
        assert not (tmp_path / "model" / "recipe.json").exists()


def test_headers_without_signals_and_signals_without_headers_cost_only_themselves(data, tmp_path, one_member, capsys):
    headers = sorted(data.glob("*.hea"))
    headers[0].with_suffix(".mat").unlink()
    headers[1].unlink()
    assert trains_and_scores(data, tmp_path, one_member) == 1
    out = capsys.readouterr().out
    assert headers[0].stem in out and headers[1].stem in out and "left out" in out


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 24, b"\0" * 5000])
def test_a_broken_signal_file_costs_only_itself(data, tmp_path, one_member, capsys, content):
    signal = sorted(data.glob("*.mat"))[0]
    signal.write_bytes(content)
    trains_and_scores(data, tmp_path, one_member)
    assert signal.stem in capsys.readouterr().out


def test_only_broken_recordings_are_one_line_that_names_the_first(data, tmp_path, one_member):
    for signal in data.glob("*.mat"):
        signal.write_bytes(b"")
    with pytest.raises(UserError, match=f"none of the 10 recordings.*{sorted(data.glob('*.mat'))[0].stem}"):
        train(data, tmp_path / "model", one_member)


def test_recordings_without_diagnoses_are_left_out_of_training_and_still_classified(data, tmp_path, one_member, capsys):
    for header in sorted(data.glob("*.hea"))[:4]:
        set_dx(header, None if header.stem.endswith("1") else "")
    assert trains_and_scores(data, tmp_path, one_member) == 0
    assert "4 recordings without a diagnosis" in capsys.readouterr().out
    for header in data.glob("*.hea"):
        set_dx(header, "")
    with pytest.raises(UserError, match="none of the 10 recordings has a diagnosis"):
        train(data, tmp_path / "other", one_member)


@pytest.mark.parametrize("codes", ["164889003", SINUS_RHYTHM, "1234567", "164889003,1234567"])
def test_a_training_set_of_one_class_works_whatever_it_is(data, tmp_path, one_member, codes):
    """Without sinus rhythm, with nothing else, with no scored class at all."""
    for header in data.glob("*.hea"):
        set_dx(header, codes)
    assert trains_and_scores(data, tmp_path, one_member) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_training_set_of_very_few_recordings_works(data, tmp_path, tiny_settings, count):
    for header in sorted(data.glob("*.hea"))[count:]:
        header.unlink()
        header.with_suffix(".mat").unlink()
    assert trains_and_scores(data, tmp_path, tiny_settings) == 0


def test_missing_ages_odd_gains_and_rates_are_no_obstacle(data, tmp_path, one_member):
    edits = [
        lambda t: re.sub(r"# ?Age:.*", "#Age: NaN", t),
        lambda t: re.sub(r"1000(\.0\(0\))?/mV", "0/mV", t),
        lambda t: re.sub(r"^(\S+ \d+) \S+", r"\1 0", t),
        lambda t: re.sub(r"^(\S+ \d+) \S+.*", r"\1", t, count=1),
        lambda t: t.replace(" aVR", " avr "),
        lambda t: t.replace(" V1", " thumb"),
    ]
    for header, edit in zip(sorted(data.glob("*.hea")), edits):
        header.write_text(edit(header.read_text()))
    assert trains_and_scores(data, tmp_path, one_member) == 0


def test_all_zero_and_very_long_and_short_recordings_cost_nobody_else(data, tmp_path, one_member, capsys):
    headers = sorted(data.glob("*.hea"))

    def rewrite(header, samples):
        lines = header.read_text().splitlines()
        words = lines[0].split()
        lines[0] = " ".join([words[0], words[1], words[2], str(samples.shape[0])])
        header.write_text("\n".join(lines) + "\n")
        mat = header.with_suffix(".mat")
        head = np.frombuffer(mat.read_bytes()[:24], "<i4").copy()
        head[2] = samples.shape[0]
        mat.write_bytes(head.tobytes() + samples.astype("<i2").tobytes())

    random = np.random.default_rng(0)
    rewrite(headers[0], np.zeros((5000, 12)))
    rewrite(headers[1], random.integers(-500, 500, (500 * 60 * 5, 12)))
    rewrite(headers[2], random.integers(-500, 500, (3, 12)))
    rewrite(headers[3], np.full((5000, 12), -32768))
    assert trains_and_scores(data, tmp_path, one_member) == 2
    assert headers[0].stem in capsys.readouterr().out


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/version").exists(), reason="needs a folder that root cannot write"
)
def test_an_unwritable_model_folder_is_one_line(data, one_member, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (Path("/proc/model"), tmp_path / "file" / "model", tmp_path / "file"):
        with pytest.raises(UserError, match="cannot be written"):
            train(data, folder, one_member)


@pytest.mark.parametrize(
    "content", ["", "a,b\n", ",1,2\n1,1\n2,0,1\n", ",426783006\n426783006,x\n", ",1\n1,1\n", "\xff\xfe"]
)
def test_a_broken_weights_table_is_one_line(data, one_member, tmp_path, content):
    (tmp_path / "weights.csv").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="weights"):
        train(data, tmp_path / "model", dataclasses.replace(one_member, weights=str(tmp_path / "weights.csv")))


def test_the_2021_table_works_in_place_of_weights_csv(data, one_member, tmp_path):
    """26 rows, equivalent codes as A|B: made from the 2020 table, two classes added."""
    rows = [line.split(",") for line in commands.WEIGHTS.read_text().splitlines()]
    drop = [k for k, cell in enumerate(rows[0]) if cell in ("59118001", "63593006", "17338001")]
    names = {
        "713427006": "713427006|59118001",
        "284470004": "284470004|63593006",
        "427172004": "427172004|17338001",
        "164909002": "733534002|164909002",
    }
    table = [
        [names.get(cell, cell) for k, cell in enumerate(row) if k not in drop]
        for j, row in enumerate(rows)
        if j not in drop
    ]
    for extra in ("6374002", "365413008"):
        table = [[*row, extra if j == 0 else "0.4"] for j, row in enumerate(table)]
        table.append([extra, *["0.4"] * (len(table[0]) - 2), "1.0"])
    (tmp_path / "weights.csv").write_text("\n".join(",".join(row) for row in table) + "\n")
    settings = dataclasses.replace(one_member, weights=str(tmp_path / "weights.csv"))
    assert trains_and_scores(data, tmp_path, settings) == 0
    assert len(load_ensemble(tmp_path / "model").classes.codes) == 26


def test_a_broken_list_of_patients_is_passed_over_unless_it_was_given(data, one_member, tmp_path, capsys):
    (data / "patients.csv").write_text('recording,patient\n"unclosed')
    (data / "recordings.csv").write_bytes(b"\xff\xfe\x00 patient")
    train(data, tmp_path / "model", one_member)
    with pytest.raises(UserError, match=r"absent\.csv"):
        train(data, tmp_path / "other", dataclasses.replace(one_member, patients=str(tmp_path / "absent.csv")))


def test_the_organizers_entry_points_end_with_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for script, arguments in (("train_model.py", ["empty", "model"]), ("driver.py", ["model", "empty", "out"])):
        result = subprocess.run(
            [sys.executable, str(ROOT / script), *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode != 0 and "Traceback" not in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
