"""A preflight finds what would fail at the organizers', and says why; a good submission passes every step."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from twelvelead.cli import main
from twelvelead.data.classes import EQUIVALENT, OUTPUT_CODES
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.preflight.data import make_data
from twelvelead.preflight.docker import find_docker
from twelvelead.preflight.machine import Finished, find_machine
from twelvelead.preflight.outputs import problem_of, problems_of_folder
from twelvelead.preflight.run import preflight
from twelvelead.preflight.submission import copy_submission, find_submission, lay_scripts_over, problems_of_files

ROOT = Path(__file__).resolve().parent.parent


def row(score: float = 0.25) -> str:
    scores = dict.fromkeys(OUTPUT_CODES, str(score))
    labels = {code: str(int(code == "426783006")) for code in OUTPUT_CODES}
    return f"#A1\n{','.join(OUTPUT_CODES)}\n{','.join(labels.values())}\n{','.join(scores.values())}\n"


def test_a_row_in_the_format_of_both_challenges_has_no_problem():
    assert problem_of(row(), "A1") is None


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda text: "", "lines"),
        (lambda text: text + "\n", "lines"),
        (lambda text: text.rstrip("\n"), "lines"),
        (lambda text: text.replace("\n", "\r\n"), "first line"),
        (lambda text: text.replace("#A1", "A1"), "first line"),
        (lambda text: text.replace("#A1", "#A2"), "first line"),
        (lambda text: text.replace(",", ", "), "codes"),
        (lambda text: text.replace("59118001,", "59118001|"), "codes"),
        (lambda text: text.replace(OUTPUT_CODES[3] + ",", ""), "codes"),
        (lambda text: text.replace("0,1,0", "0.0,1.0,0.0"), "labels"),
        (lambda text: text.replace("0,1,0", "False,True,False"), "labels"),
        (lambda text: text.replace("0,1,0", "0,1,0,0"), "labels"),
        (lambda text: text.replace("0.25", "1.5", 1), "from 0 to 1"),
        (lambda text: text.replace("0.25", "nan", 1), "from 0 to 1"),
        (lambda text: text.replace("0.25", "a", 1), "no numbers"),
        (lambda text: text.replace("0.25", "0.250", 1), "plain"),
        (lambda text: text[:-6] + "\n", "from 0 to 1"),
    ],
)
def test_each_departure_from_the_format_is_named(change, words):
    problem = problem_of(change(row()), "A1")
    assert problem is not None and words in problem


def test_equivalent_codes_with_different_scores_are_named():
    scores = ["0.25"] * 30
    scores[OUTPUT_CODES.index(next(iter(EQUIVALENT)))] = "0.5"
    text = row().rsplit("\n", 2)[0] + "\n" + ",".join(scores) + "\n"
    assert "mean the same" in (problem_of(text, "A1") or "")


def test_missing_surplus_and_fallback_outputs_are_named(tmp_path):
    for name, score in (("A1", 0.25), ("A2", 0.5), ("D1", 0.5)):
        (tmp_path / f"{name}.csv").write_text(row(score).replace("#A1", f"#{name}"))
    assert problems_of_folder(tmp_path, {"A1", "D1"}, {"D1"}) == ["A2.csv: nobody asked for this file"]
    (tmp_path / "A1.csv").unlink()
    problems = problems_of_folder(tmp_path, {"A1", "A2", "D1"}, {"D1"})
    assert len(problems) == 2 and "A1.csv: there is no output" in problems[0] and "it fell back" in problems[1]


def test_the_cause_of_a_traceback_is_its_exception_with_its_place():
    output = (
        'Training…\nTraceback (most recent call last):\n  File "a.py", line 3, in <module>\n    main()\n'
        '  File "team_code.py", line 9, in training_code\n    1 / 0\nZeroDivisionError: division by zero\nbye\n'
    )
    cause = Finished(1, output, 1.0, 0.1).cause()
    assert cause == [
        "ZeroDivisionError: division by zero",
        '  File "team_code.py", line 9, in training_code',
        "    1 / 0",
    ]
    assert Finished(-11, "one\ntwo\n", 1.0, 0.1).cause() == ["ended by SIGSEGV", "one", "two"]


def test_test_recordings_have_no_labels_and_the_variants_are_what_they_say(tmp_path):
    folders = make_data(tmp_path, None)
    assert len(list(folders.training.glob("*.hea"))) == 48 and len(folders.recordings) == 25
    assert {path.stem for path in folders.test.iterdir()} == folders.recordings
    assert not any("Dx" in path.read_text() for path in folders.test.glob("*.hea"))
    assert all("Dx" in path.read_text() for path in [*folders.labels.iterdir(), *folders.training.glob("*.hea")])
    assert {path.stem for path in folders.nested.rglob("*.hea")} == folders.recordings
    assert len({path.parent for path in folders.nested.rglob("*.hea")}) == 6
    recordings = {name: read_recording(folders.test / f"{name}.hea") for name in folders.recordings - folders.damaged}
    assert {len(recording.leads) for recording in recordings.values()} == {12, 6, 4, 3, 2}
    assert {recording.frequency_hz for recording in recordings.values()} == {100, 257, 300, 500, 1000}


@pytest.mark.slow
def test_real_recordings_are_used_where_they_are_given_and_too_few_are_one_line(hospital, tmp_path):
    (tmp_path / "one").mkdir()
    folders = make_data(tmp_path / "one", hospital)
    assert len(folders.recordings) == 25 and len(list(folders.training.glob("*.hea"))) > 10
    (tmp_path / "two").mkdir()
    with pytest.raises(UserError, match="a preflight needs"):
        make_data(tmp_path / "two", folders.test)


def test_a_submission_without_pinned_packages_or_dockerfile_lines_is_told_so(tmp_path):
    assert problems_of_files(ROOT) == []
    assert len(problems_of_files(tmp_path)) == 2
    (tmp_path / "requirements.txt").write_text("# comment\nnumpy\ntorch==2.8.0  # pinned\n-f https://example.org\n")
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN mkdir /physionet\nCOPY ./ /physionet\n")
    problems = problems_of_files(tmp_path)
    assert len(problems) == 2 and "numpy names no version" in problems[0] and "WORKDIR" in problems[1]


@pytest.mark.parametrize("year,scripts", [("2020", {"driver.py"}), ("2021", {"test_model.py", "helper_code.py"})])
def test_the_organizers_scripts_replace_ours_and_no_other_file(tmp_path, year, scripts):
    copy_submission(ROOT, tmp_path / "copy")
    before = {path.name for path in (tmp_path / "copy").iterdir()}
    assert "team_code.py" in before and "tests" not in before
    lay_scripts_over(year, tmp_path / "copy")
    after = {path.name for path in (tmp_path / "copy").iterdir()}
    assert after == before - {"driver.py", "helper_code.py"} | scripts | {"train_model.py"}
    assert all("Stand-in" in (tmp_path / "copy" / name).read_text() for name in scripts | {"train_model.py"})


def test_a_folder_without_a_submission_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"there is no team_code\.py"):
        find_submission(tmp_path)
    assert (find_submission(None) / "team_code.py").is_file()


@pytest.mark.slow
def test_an_installed_copy_tries_the_submission_of_the_working_directory(tmp_path):
    copy_submission(ROOT, tmp_path / "submission")
    (tmp_path / "submission" / "twelvelead").rename(tmp_path / "twelvelead")  # installed elsewhere
    code = (
        "from twelvelead.preflight.submission import *; "
        "copy_submission(find_submission(None), Path('copy')); lay_scripts_over('2021', Path('copy'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "submission", env=environment, check=True)
    assert "Stand-in" in (tmp_path / "submission" / "copy" / "test_model.py").read_text()
    result = subprocess.run(
        [sys.executable, "-m", "twelvelead", "preflight"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 2 and "there is no team_code.py" in result.stderr and "Traceback" not in result.stderr


def test_without_docker_or_its_daemon_there_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no docker"):
        find_docker(tmp_path, ROOT)
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(UserError, match=r"does not answer \(Cannot connect"):
        find_docker(tmp_path, ROOT)


def test_a_container_has_no_network_and_cannot_write_the_data(tmp_path, monkeypatch):
    """A docker that writes its arguments to a file instead of running anything."""
    (tmp_path / "docker").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "root").mkdir()
    machine, built = find_docker(tmp_path / "root", ROOT)
    monkeypatch.setenv("TWELVELEAD_WIDTH", "4")
    finished = machine.run(["python", "x.py", "data"], read_only=[tmp_path / "data"], seconds=10, settings={"A": "1"})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert built.code == 0 and calls[1].startswith("build -t ") and str(ROOT) in calls[1]
    for words in (
        "--network none",
        f"{tmp_path}/data:{tmp_path}/data:ro",
        "--memory 13g",
        "-e A=1",
        "-e TWELVELEAD_WIDTH=4",
        "python x.py data",
    ):
        assert words in calls[2]
    name = calls[2].split()[2]
    assert calls[-1] == f"rm --force {name}" and math.isnan(finished.peak_gb)


def test_a_container_whose_time_is_over_or_that_needs_too_much_memory_is_removed(tmp_path, monkeypatch):
    (tmp_path / "docker").write_text(
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n'
        f'[ "$1" != inspect ] || echo true\n[ "$1" != run ] || [ ! -e "{tmp_path}/slow" ] || exec sleep 60\n'
        '[ "$1" != run ] || exit 137\n'
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "root").mkdir()
    machine, _ = find_docker(tmp_path / "root", ROOT)
    run = partial(machine.run, ["python", "x.py"], read_only=[], settings={})
    assert "needed more than 13 GB" in run(seconds=30).cause()[-1]
    (tmp_path / "slow").touch()
    late = run(seconds=0.5)
    assert "took longer" in late.output and "needed more" not in late.output
    assert [call.split()[0] for call in (tmp_path / "calls").read_text().splitlines()].count("rm") == 2


@pytest.mark.parametrize("name", ["requirements.txt", "Dockerfile", ".dockerignore"])
def test_files_of_a_submission_in_another_encoding_are_read(tmp_path, name):
    for file in ("requirements.txt", "Dockerfile"):
        shutil.copy(ROOT / file, tmp_path)
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf# caf\xe9\n" + (path.read_bytes() if path.is_file() else b""))
    copy_submission(tmp_path, tmp_path / "copy")
    assert problems_of_files(tmp_path) == []


def test_commands_run_without_what_the_machine_says_and_end_in_time(tmp_path):
    machine = find_machine(tmp_path, has_gpu=False)
    data = tmp_path / "data"
    data.mkdir()

    def run(line: str, seconds: float = 30) -> Finished:
        return machine.run(["sh", "-c", line], read_only=[data], seconds=seconds, settings={})

    assert run("ulimit -v").output.strip() == str(13 * 2**20)
    assert run("exec sh -c 'exit 7'").code == 7
    assert "took longer" in run("sleep 60", seconds=0.5).output
    if machine.mounts:
        assert run(f"touch {data}/file").code != 0 and not any(data.iterdir())
    if machine.network:
        assert "lo" in run("cat /proc/net/dev").output and run("cat /proc/net/dev").output.count(":") == 1


# ------------------------------------------------------------------------------------------------ whole preflights


@pytest.fixture
def small(monkeypatch):
    for name, value in dict(MEMBERS="1", EPOCHS="1", WIDTH="4", RECIPE="se-resnet", DEVICE="cpu").items():
        monkeypatch.setenv(f"TWELVELEAD_{name}", value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.long
def test_this_submission_passes_every_step(small, capsys):
    assert main(["preflight", "--submission", str(ROOT), "--minutes", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 14 and all(line.startswith("✓") for line in lines[:-1])
    assert lines[-1].startswith("every step succeeded")


@pytest.mark.slow
def test_a_submission_that_fails_there_fails_here_and_the_cause_is_shown(small, tmp_path):
    """run_model raises for recordings of fewer than 12 leads, and leaves a file where it lies."""
    copy_submission(ROOT, tmp_path / "broken")
    shutil.copy(ROOT / "Dockerfile", tmp_path / "broken")
    with open(tmp_path / "broken" / "team_code.py", "a") as file:
        file.write(
            "\n_run_model = run_model\n\n\ndef run_model(model, header, recording):\n"
            "    Path(__file__).with_name('cache').write_text('left')\n"
            "    if recording.shape[0] < 12:\n        raise ValueError('I need twelve leads')\n"
            "    return _run_model(model, header, recording)\n"
        )
    lines: list[str] = []
    assert preflight(None, tmp_path / "broken", minutes=0.5, log=lines.append) == 1
    text = "\n".join(lines)
    failed = [line.split("  ")[0] for line in lines if line.startswith("✗")]
    assert failed == ["✗ 2020: classify", "✗ 2021: outputs, byte by byte", "✗ nothing written elsewhere"]
    assert "ValueError: I need twelve leads" in text and "team_code.py" in text and "Traceback" not in text
    assert "L0002.csv: its codes are not" in text and "2020: cache was written" in text
    assert lines[-1].startswith("7 steps failed")
