"""Training all members: whatever is killed, damaged or full, the next start ends with the same model, and says so."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from comparing import contents, threads_of_each

from twelvelead.cli import main
from twelvelead.commands import WEIGHTS, train
from twelvelead.data.classes import load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import Input, get_recipe
from twelvelead.training import preparing, workers
from twelvelead.training import store as stores
from twelvelead.training.model_folder import ModelFolder
from twelvelead.training.publishing import damaged_file, sha256_of
from twelvelead.training.run import TrainingRun
from twelvelead.training.store import build_store

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # nearly all of these train, and together they take a minute
OPTIONS = ["--members", "2", "--epochs", "2", "--width", "4", "--seed", "5", "--device", "cpu", "--jobs", "1"]


def start(data: Path, folder: Path, *options: str) -> subprocess.Popen:
    """The training of `tiny_model` in a process of its own, whose error output is kept."""
    command = [sys.executable, "-m", "twelvelead", "train", str(data), str(folder), *OPTIONS, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def data_of(folder: Path, ensemble, count=10):
    recordings = [read_recording(header) for header in find_recordings(folder)[:count]]
    return stack([prepare(recording, ensemble.recipe.input) for recording in recordings], ensemble.device)


def wait_for(condition, seconds=120):
    until = time.time() + seconds
    while not condition():
        assert time.time() < until, "it did not happen"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


def test_the_model_folder_holds_what_the_documents_say_and_nothing_else(tiny_model):
    assert sorted(path.name for path in tiny_model.iterdir()) == [
        "MODEL_CARD.md",
        "classes.json",
        "history.csv",
        "member_00.safetensors",
        "member_01.safetensors",
        "progress.png",
        "recipe.json",
        "splits.json",
        "thresholds.json",
    ]
    assert (tiny_model / "progress.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list(csv.DictReader((tiny_model / "history.csv").open()))) == 4


def test_members_train_on_their_own_stratified_part_with_patients_on_one_side():
    rng = np.random.default_rng(0)
    labels = rng.random((400, 24)) < 0.1
    rows = np.arange(0, 400, 2)
    groups = [f"patient {row // 6}" if row % 4 else None for row in range(400)]
    codes = [("1",) if row in set(rows) else () for row in range(400)]
    store = types.SimpleNamespace(codes=codes, synthetic=np.zeros(400, bool))
    run_of_eleven = TrainingRun(
        Path(), "", "", get_recipe("butt"), scored_classes(load_weights(WEIGHTS)), 7, groups, store
    )
    parts = [run_of_eleven.member_rows(labels, member) for member in range(11)]
    for train_rows, validation_rows in parts:
        assert sorted([*train_rows, *validation_rows]) == rows.tolist()
        assert abs(len(train_rows) - 160) <= 4
        left = {groups[row] for row in train_rows} & {groups[row] for row in validation_rows}
        assert left <= {None}
        off = np.abs(labels[train_rows].sum(0) - 0.8 * labels[rows].sum(0))  # recordings of each class
        assert off.max() <= 6 and off.mean() <= 2
    assert len({tuple(validation) for _, validation in parts}) == 11
    assert np.array_equal(run_of_eleven.member_rows(labels, 4)[0], parts[4][0])


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("epochs_before_the_kill", [1, 2])
def test_training_killed_from_outside_continues_to_the_same_model(
    hospital, tiny_settings, tmp_path, processes, epochs_before_the_kill
):
    """SIGKILL once so many checkpoints were written; then the same command again."""
    folder = tmp_path / "model"
    process = start(hospital, folder, "--workers", processes)
    written: set[tuple[str, int]] = set()

    def is_time():
        for path in folder.glob(".work/member_*.checkpoint"):
            written.add((path.name, path.stat().st_mtime_ns))
        return len(written) >= epochs_before_the_kill

    wait_for(is_time)
    process.kill()
    process.wait()
    assert (folder / ".work").is_dir()
    again = start(hospital, folder, "--workers", processes)
    assert again.wait() == 0, again.stderr.read()
    with threads_of_each(int(processes)):
        train(hospital, tmp_path / "whole", tiny_settings)
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize("after_members", [1, 2])
def test_a_run_killed_between_members_leaves_a_model_and_continues(
    hospital, tiny_model, tiny_settings, tmp_path, monkeypatch, after_members
):
    real = ModelFolder.collect_finished

    def dying(self):
        real(self)
        if len(self.results) == after_members:
            raise KeyboardInterrupt

    monkeypatch.setattr(ModelFolder, "collect_finished", dying)
    with pytest.raises(KeyboardInterrupt):
        train(hospital, tmp_path / "model", tiny_settings)
    assert len(load_ensemble(tmp_path / "model").models) == after_members
    monkeypatch.setattr(ModelFolder, "collect_finished", real)
    train(hospital, tmp_path / "model", tiny_settings)
    assert contents(tmp_path / "model") == contents(tiny_model)


@pytest.mark.slow
def test_processes_that_share_the_members_make_the_model_of_one_process(hospital, tiny_model, tiny_settings, tmp_path):
    train(hospital, tmp_path / "model", dataclasses.replace(tiny_settings, workers=2))
    assert contents(tmp_path / "model") == contents(tiny_model)


@pytest.mark.slow
def test_torchrun_shares_the_members_over_ranks(hospital, tiny_model, tmp_path):
    """Two gloo processes on this machine."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",  # takes a free port
        "--nproc-per-node=2",
        str(ROOT / "train_model.py"),
        str(hospital),
        str(tmp_path / "model"),
        *OPTIONS,
    ]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert contents(tmp_path / "model") == contents(tiny_model)


@pytest.mark.slow
def test_a_training_process_that_fails_is_one_line_and_the_next_start_goes_on(
    hospital, tiny_model, tiny_settings, tmp_path, monkeypatch
):
    (tmp_path / "model" / ".work").mkdir(parents=True)
    two = dataclasses.replace(tiny_settings, workers=2)
    real = subprocess.Popen

    def failing(arguments, **options):
        if arguments[4:5] == ["1"]:  # the process that begins with member 1
            arguments = [sys.executable, "-c", "import sys; sys.exit('the disk is on fire')"]
        return real(arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", failing)
    with pytest.raises(UserError, match="training process 1 failed: the disk is on fire"):
        train(hospital, tmp_path / "model", two)
    monkeypatch.setattr(subprocess, "Popen", real)
    train(hospital, tmp_path / "model", two)
    assert contents(tmp_path / "model") == contents(tiny_model)


def test_the_same_settings_keep_a_finished_model_and_no_store_is_opened(
    hospital, tiny_model, tiny_settings, tmp_path, monkeypatch, capsys
):
    """Half a .work is what a kill leaves while it is removed."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / ".work" / "store").mkdir(parents=True)
    (folder / ".work" / "store" / "store.json").write_text("{}")
    monkeypatch.setattr(preparing, "build_store", None)
    train(hospital, folder, tiny_settings)
    assert "already trained" in capsys.readouterr().out and contents(folder) == contents(tiny_model)


def test_a_finished_model_stays_until_its_replacement_is_complete(
    hospital, tiny_model, tiny_settings, tmp_path, monkeypatch, capsys
):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    real, seen = ModelFolder.collect_finished, []

    def looking(self):
        real(self)
        seen.append((len(self.results), {k: v for k, v in contents(folder).items() if not k.startswith(".")}))

    monkeypatch.setattr(ModelFolder, "collect_finished", looking)
    train(hospital, folder, dataclasses.replace(tiny_settings, seed=6, members=1))
    assert seen[-1][0] == 1 and all(files == contents(tiny_model) for _, files in seen)
    out = capsys.readouterr().out
    assert "another model is here (other recipe, seed); it is replaced once the new one is complete" in out
    manifest = json.loads((folder / "recipe.json").read_text())
    assert (manifest["seed"], manifest["members"], manifest["complete"]) == (6, [0], True)
    assert sorted(path.name for path in folder.glob("member_*")) == ["member_00.safetensors"]


def test_a_resume_that_starts_anew_says_what_changed(hospital, tiny_settings, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(hospital, tmp_path / "data")
    one = dataclasses.replace(tiny_settings, members=1, epochs=1)

    def stopping(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "train_member", stopping)

    def said(settings) -> str:
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "model", settings)
        return capsys.readouterr().out

    assert "interrupted" not in said(one)
    assert "going on with a run that was interrupted" in said(one)
    assert "a change of recipe; training starts anew" in said(dataclasses.replace(one, epochs=2))
    assert "a change of recipe, seed; training" in said(dataclasses.replace(one, seed=6))
    header = find_recordings(data)[0]
    header.write_text(re.sub("Dx: .*", "Dx: 164889003", header.read_text()))
    assert "a change of content of the headers, recordings that could be read; training" in said(
        dataclasses.replace(one, seed=6)
    )


def test_recipe_json_has_the_hash_of_every_file_that_equal_trainings_share(tiny_model):
    manifest = json.loads((tiny_model / "recipe.json").read_text())
    names = {path.name for path in tiny_model.iterdir()} - {"recipe.json", "history.csv", "MODEL_CARD.md"}
    assert manifest["files"] == {name: sha256_of(tiny_model / name) for name in names}
    assert damaged_file(tiny_model, manifest) is None


def test_a_finished_model_that_was_damaged_is_trained_again(hospital, tiny_model, tiny_settings, tmp_path, capsys):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = folder / "member_01.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + bytes([weights.read_bytes()[-1] ^ 1]))
    train(hospital, folder, tiny_settings)
    assert f"{weights}: the file is damaged or gone" in capsys.readouterr().out
    assert contents(folder) == contents(tiny_model)


def test_a_time_budget_that_is_over_at_once_still_leaves_a_usable_model(hospital, tiny_settings, tmp_path, capsys):
    train(
        hospital, tmp_path / "model", dataclasses.replace(tiny_settings, members=11, epochs=50, time_budget_hours=1e-6)
    )
    ensemble = load_ensemble(tmp_path / "model")
    assert len(ensemble.models) == 1
    assert np.isfinite(member_scores(ensemble, data_of(hospital, ensemble))).all()
    assert "time budget" in capsys.readouterr().out


def test_the_store_holds_what_preparing_gives_and_is_reused_until_the_data_change(hospital, tmp_path, monkeypatch):
    data = shutil.copytree(hospital, tmp_path / "data")
    headers = find_recordings(data)
    store = build_store(headers, Input(), tmp_path / "store", root=data, jobs=2)
    assert len(store) == len(headers) and store.headers[3] == str(headers[3].relative_to(data))
    for row in (0, 17, 40):
        recording = read_recording(headers[row])
        prepared = prepare(recording, Input())
        part = slice(store.offsets[row], store.offsets[row + 1])
        np.testing.assert_array_equal(store.samples[part], prepared.signal.T.astype(np.float16))
        np.testing.assert_array_equal(store.valid[part], prepared.valid)
        assert store.codes[row] == recording.codes and store.names[row] == recording.name

    calls = []
    real = stores._write
    monkeypatch.setattr(stores, "_write", lambda *a: (calls.append(1), real(*a))[1])
    build_store(headers, Input(), tmp_path / "store", root=data, jobs=1)
    assert not calls
    build_store(headers, Input(unit_mv=1.0), tmp_path / "store", root=data, jobs=1)
    assert len(calls) == 1
    headers[0].write_text(headers[0].read_text() + "# Age: 50\n")
    build_store(headers, Input(unit_mv=1.0), tmp_path / "store", root=data, jobs=1)
    assert len(calls) == 2
    with open(tmp_path / "store" / "samples.f16", "ab") as file:
        file.write(b"x")
    build_store(headers, Input(unit_mv=1.0), tmp_path / "store", root=data, jobs=1)
    assert len(calls) == 3


# ------------------------------------------------------------------------------------------------------- damaged files


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, hospital, tiny_settings) -> Path:
    """A model folder in which training was interrupted: member 0 is done, member 1 has one epoch. Copy it first."""
    folder = tmp_path_factory.mktemp("interrupted") / "model"
    patch = pytest.MonkeyPatch()
    real = workers.train_member

    def stopping(*arguments, member, **options):
        def interrupting() -> bool:
            if member == 1 and (folder / ".work" / "member_01.checkpoint").exists():
                raise KeyboardInterrupt
            return False

        return real(*arguments, member=member, **{**options, "out_of_time": interrupting})

    patch.setattr(workers, "train_member", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(hospital, folder, tiny_settings)
    patch.undo()
    assert (folder / ".work" / "member_00.npz").is_file() and (folder / ".work" / "member_01.checkpoint").is_file()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["empty", "nonsense", "half", "gone"])
@pytest.mark.parametrize(
    "name",
    [
        "training_run.json",
        "run.json",
        "member_00.npz",
        "member_00.safetensors",
        "member_01.checkpoint",
        "store/store.json",
        "store/samples.f16",
    ],
)
def test_a_damaged_file_of_an_interrupted_run_changes_nothing_in_the_model(
    hospital, tiny_model, tiny_settings, interrupted, tmp_path, capsys, name, damage
):
    folder = shutil.copytree(interrupted, tmp_path / "model")
    path = folder / ".work" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"empty": b"", "nonsense": b"nonsense", "half": content[: len(content) // 2]}[damage])
    train(hospital, folder, tiny_settings)
    assert contents(folder) == contents(tiny_model)
    out = capsys.readouterr().out
    assert ("member 0: trained before" in out) == (name not in ("member_00.npz", "member_00.safetensors"))
    assert ("member 1: going on after epoch 1 of 2" in out) == (name != "member_01.checkpoint")
    if damage != "gone" and not name.startswith("store"):
        assert str(path) in out or name == "member_00.safetensors" or name == "training_run.json"


def test_a_killed_publication_is_finished_by_the_next_start_and_read_until_then(
    hospital, tiny_model, tiny_settings, tmp_path
):
    """The folder has files of two models, and .new a whole one."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    shutil.copytree(tiny_model, folder / ".new")
    (folder / "thresholds.json").write_text("of another model")
    (folder / "member_07.safetensors").write_text("of another model")
    assert len(load_ensemble(folder).models) == 2
    train(hospital, folder, tiny_settings)
    assert contents(folder) == contents(tiny_model)


# ------------------------------------------------------------------------------------------------ full disks, no memory


@pytest.mark.parametrize("name", ["member_00.safetensors", "member_00.npz", "thresholds.json", "recipe.json"])
def test_a_full_disk_is_one_line_and_the_next_start_goes_on(
    hospital, tiny_model, tiny_settings, interrupted, tmp_path, monkeypatch, name
):
    """At the second write of these; the errors of checkpoints are in test_member.py."""
    folder = shutil.copytree(interrupted, tmp_path / "model")
    for path in [*folder.glob("*"), *folder.glob(".work/member_00.*")]:
        if path.is_file():
            path.unlink()
    real = os.replace

    def full(source, target, *arguments, **options):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target, *arguments, **options)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"No space left on device; what was done .* is kept") as caught:
        train(hospital, folder, tiny_settings)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setattr(os, "replace", real)
    train(hospital, folder, tiny_settings)
    assert contents(folder) == contents(tiny_model)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:132] . DefaultCPUAllocator: can't allocate memory: you tried\n#1"),
    ],
)
def test_a_lack_of_memory_is_one_line(hospital, tiny_settings, tmp_path, monkeypatch, error):
    def greedy(*arguments, **options):
        raise error

    monkeypatch.setattr(workers, "train_member", greedy)
    with pytest.raises(UserError, match="not enough memory; train fewer members at a time") as caught:
        train(hospital, tmp_path / "model", tiny_settings)
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------- signals and pipes


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "sign,code,words", [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGKILL", -9, "")]
)
def test_a_signal_ends_all_processes_in_one_line_and_costs_nothing(hospital, tiny_model, tmp_path, sign, code, words):
    folder = tmp_path / "model"
    process = start(hospital, folder, "--workers", "2")
    wait_for(lambda: any(folder.glob(".work/*.checkpoint")))
    others = children(process.pid)
    assert len(others) >= 2
    process.send_signal(getattr(signal, sign))
    assert process.wait(60) == code
    wait_for(lambda: not any(map(is_alive, others)), seconds=10)  # a second, on a machine that has nothing else to do
    err = process.stderr.read()
    assert err == (f"twelvelead train: {words}\n" if words else "")
    again = start(hospital, folder, "--workers", "2")
    assert again.wait() == 0, again.stderr.read()
    assert contents(folder) == contents(tiny_model)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_training_process_that_dies_by_a_signal_is_named_with_it(hospital, tmp_path):
    """Also when there is only one."""
    process = start(hospital, tmp_path / "model", "--members", "1", "--epochs", "90")
    wait_for(lambda: any(tmp_path.glob("model/.work/*.checkpoint")))
    (child,) = children(process.pid)
    os.kill(child, signal.SIGSEGV)
    assert process.wait(60) == 2
    (line,) = process.stderr.read().splitlines()
    assert "training process 0 was killed by signal 11 (SIGSEGV); what all members have done" in line


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", "| head -n 1", "--jobs 99999"])
def test_closed_streams_and_a_request_for_99999_processes_do_no_harm(hospital, tmp_path, redirection):
    """Nobody reads the log any more: that is no reason to lose a training."""
    command = f"{sys.executable} -m twelvelead train {hospital} {tmp_path / 'model'} {' '.join(OPTIONS)} --workers 1"
    script = f"set -o pipefail; {command} {redirection}"
    result = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert len(load_ensemble(tmp_path / "model").models) == 2


def test_never_more_processes_read_than_four_for_each_core():
    assert stores._processes(99999, 10**6) <= 4 * os.cpu_count()
    assert stores._processes(99999, 9) <= 9 and stores._processes(2, 100) == 2 and stores._processes(-1, 100) == -1


def test_a_deleted_working_directory_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    (tmp_path / "there").rmdir()
    assert main(["train", str(tmp_path), str(tmp_path / "model")]) == 2
    assert "working directory was deleted" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- many kills


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("scenario,kills", [("first", 24), ("second", 24), ("moments", 12)])
def test_after_any_kill_there_is_a_whole_model_and_a_restart_ends_alike(tmp_path, scenario, kills):
    """At every kind of file operation and at random moments; see killing.py. 60 kills take some minutes."""
    from twelvelead.synthetic import write_hospital

    write_hospital(tmp_path / "data" / "alder", "alder", 16, seed=1)
    (tmp_path / "out").mkdir()
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run(
        [sys.executable, ROOT / "tests/training/killing.py", tmp_path / "data", tmp_path / "out", scenario, str(kills)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    outcomes = [line.rpartition(": ")[2] for line in result.stdout.splitlines()[1:]]
    assert len(outcomes) >= kills and outcomes.count("ok") >= 0.8 * kills, result.stdout
    assert set(outcomes) <= {"ok", "not reached"}, result.stdout


def test_an_impossible_recipe_is_refused_before_it_is_trained(hospital, tmp_path):
    recipe = get_recipe("butt").scaled(members=1, epochs=1, width=4, synthetic=0)
    voting = dataclasses.replace(recipe.voting, thresholds="members")  # which cannot be calibrated
    with pytest.raises(UserError, match=r"voting\.calibrated"):
        workers.train_ensemble(
            find_recordings(hospital),
            tmp_path / "model",
            dataclasses.replace(recipe, voting=voting),
            scored_classes(load_weights(WEIGHTS)),
        )
    assert not (tmp_path / "model").exists()
