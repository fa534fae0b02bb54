"""The ensemble: its parts do not leak, its folder explains itself and loads to the bit, a kill costs nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvelead.commands import WEIGHTS, train
from twelvelead.data.classes import load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.inference.ensemble import labels_of, load_ensemble, member_scores
from twelvelead.inference.predict import predict, stack
from twelvelead.preprocessing.heart_rate import add_rate_labels
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import get_recipe
from twelvelead.thresholds.objectives import challenge_objective
from twelvelead.training.batches import on_device
from twelvelead.training.model_folder import ModelFolder
from twelvelead.training.run import TrainingRun
from twelvelead.training.store import build_store

ROOT = Path(__file__).resolve().parents[2]


def data_of(folder: Path, ensemble, count=10):
    return stack(
        [prepare(read_recording(h), ensemble.recipe.input) for h in find_recordings(folder)[:count]], ensemble.device
    )


def files(folder: Path) -> dict[str, bytes]:
    """Content of a model folder, without what may differ between equal runs: times and their picture."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "history.csv":
            rows = list(csv.DictReader(path.open()))
            kept[path.name] = json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
        elif path.name == "recipe.json":  # the digests of the two files that tell times
            manifest = json.loads(path.read_text())
            del manifest["checksum"], manifest["files"]["history.csv"], manifest["files"]["progress.png"]
            kept[path.name] = json.dumps(manifest).encode()
        elif path.is_file() and path.name != "progress.png":
            kept[str(path.relative_to(folder))] = path.read_bytes()
    return kept


def test_the_model_folder_holds_what_the_documents_say_and_nothing_else(tiny_model):
    assert sorted(path.name for path in tiny_model.iterdir()) == [
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


def test_loading_gives_the_saved_scores_to_the_bit_from_any_working_directory(
    tiny_model, hospital, tmp_path, monkeypatch
):
    first = load_ensemble(tiny_model)
    expected = member_scores(first, data_of(hospital, first))
    copied = shutil.copytree(tiny_model, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    again = load_ensemble(copied.relative_to(tmp_path))
    np.testing.assert_array_equal(member_scores(again, data_of(hospital, again)), expected)
    np.testing.assert_array_equal(labels_of(again, expected), labels_of(first, expected))


def test_members_differ_and_their_scores_are_averaged(tiny_model, hospital):
    ensemble = load_ensemble(tiny_model)
    scores = member_scores(ensemble, data_of(hospital, ensemble))
    assert scores.shape == (2, 10, 24) and np.abs(scores[0] - scores[1]).max() > 1e-3
    assert ((scores >= 0) & (scores <= 1)).all()


def test_labels_follow_the_recipe_by_the_ensembles_thresholds_or_by_vote(tiny_model):
    ensemble = load_ensemble(tiny_model)
    scores = np.random.default_rng(0).random((3, 40, 24)).astype(np.float32)
    three = dataclasses.replace(ensemble, thresholds=np.full(24, 0.6), member_thresholds=np.full((3, 24), 0.5))

    def with_voting(**changes):
        voting = dataclasses.replace(ensemble.recipe.voting, at_least_one=False, **changes)
        return dataclasses.replace(three, recipe=dataclasses.replace(ensemble.recipe, voting=voting))

    np.testing.assert_array_equal(labels_of(with_voting(thresholds="ensemble"), scores), scores.mean(0) >= 0.6)
    np.testing.assert_array_equal(labels_of(with_voting(thresholds="members"), scores), (scores >= 0.5).sum(0) >= 2)
    sure = dataclasses.replace(three, thresholds=np.full(24, 0.999))
    assert labels_of(sure, scores).sum(1).tolist() == [1] * 40  # at least one


def test_thresholds_are_stored_with_their_gains_for_every_member_and_out_of_bag(tiny_model):
    stored = json.loads((tiny_model / "thresholds.json").read_text())
    assert stored["used"] == "ensemble" and len(stored["members"]) == 2
    for part in (stored["ensemble"], *stored["members"].values()):
        stages = list(part["metric_after"].values())
        assert list(part["metric_after"]) == ["start", "common", "bayesian", "coordinate", "shrunk"]
        assert stages[:4] == sorted(stages[:4]) and len(part["thresholds"]) == 24


def test_members_train_on_their_own_stratified_part_with_patients_on_one_side():
    rng = np.random.default_rng(0)
    labels = rng.random((400, 24)) < 0.1
    rows = np.arange(0, 400, 2)
    groups = [f"patient {row // 6}" if row % 4 else None for row in range(400)]
    store = types.SimpleNamespace(codes=[("1",) if row in set(rows) else () for row in range(400)])
    run = TrainingRun(Path(), "", "", get_recipe("butt"), scored_classes(load_weights(WEIGHTS)), 7, groups, store)
    parts = [run.member_rows(labels, member) for member in range(11)]
    for train_rows, validation_rows in parts:
        assert sorted([*train_rows, *validation_rows]) == rows.tolist()
        assert abs(len(train_rows) - 160) <= 4
        left = {groups[row] for row in train_rows} & {groups[row] for row in validation_rows}
        assert left <= {None}
        off = np.abs(labels[train_rows].sum(0) - 0.8 * labels[rows].sum(0))  # recordings of each class
        assert off.max() <= 6 and off.mean() <= 2
    assert len({tuple(validation) for _, validation in parts}) == 11
    assert np.array_equal(run.member_rows(labels, 4)[0], parts[4][0])


def test_out_of_bag_scores_come_from_members_that_did_not_train_on_the_recording(tiny_model, hospital, tmp_path):
    """Recomputed from the stored members and splits: the same thresholds, so the same scores of the same recordings."""
    ensemble = load_ensemble(tiny_model)
    splits = json.loads((tiny_model / "splits.json").read_text())
    classes = scored_classes(load_weights(WEIGHTS))
    store = build_store(find_recordings(hospital), ensemble.recipe.input, tmp_path, root=hospital, jobs=1)
    row_of = {header: row for row, header in enumerate(store.headers)}
    scores, count = np.zeros((len(store), 24)), np.zeros(len(store))
    data = on_device(store, torch.device("cpu"))
    for model, names in zip(ensemble.models, splits["validation_of_member"].values()):
        rows = np.array([row_of[name] for name in names])
        scores[rows] += predict(model, data, rows, ensemble.recipe.input)
        count[rows] += 1
    bag = np.flatnonzero(count)
    stored = json.loads((tiny_model / "thresholds.json").read_text())["ensemble"]
    assert stored["recordings"] == len(bag)
    truth = add_rate_labels(classes.labels(store.codes), store.rates, classes.codes)
    objective = challenge_objective(truth[bag], scores[bag] / count[bag, None], classes.weights, classes.sinus_rhythm)
    assert objective(ensemble.thresholds) == pytest.approx(stored["metric_after"]["shrunk"], abs=1e-9)


@pytest.mark.parametrize("workers,seconds_before_the_kill", [("1", 4.0), ("1", 7.0), ("2", 6.0), ("2", 9.0)])
def test_training_killed_from_outside_continues_to_the_same_model(
    hospital, tiny_model, tmp_path, workers, seconds_before_the_kill
):
    """SIGKILL at some moment, wherever that is; then the same command again."""
    command = [
        sys.executable,
        "-m",
        "twelvelead",
        "train",
        str(hospital),
        str(tmp_path / "model"),
        "--members",
        "2",
        "--epochs",
        "2",
        "--width",
        "4",
        "--seed",
        "5",
        "--device",
        "cpu",
        "--jobs",
        "1",
        "--workers",
        workers,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds_before_the_kill)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert files(tmp_path / "model") == files(tiny_model)


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
    assert files(tmp_path / "model") == files(tiny_model)


@pytest.mark.slow
def test_processes_that_share_the_members_make_the_model_of_one_process(hospital, tiny_model, tiny_settings, tmp_path):
    train(hospital, tmp_path / "model", dataclasses.replace(tiny_settings, workers=2))
    assert files(tmp_path / "model") == files(tiny_model)


@pytest.mark.slow
def test_torchrun_shares_the_members_over_ranks(hospital, tiny_model, tmp_path):
    """Two gloo processes on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
        str(ROOT / "train_model.py"),
        str(hospital),
        str(tmp_path / "model"),
        "--members",
        "2",
        "--epochs",
        "2",
        "--width",
        "4",
        "--seed",
        "5",
        "--device",
        "cpu",
        "--jobs",
        "1",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert files(tmp_path / "model") == files(tiny_model)


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
    assert files(tmp_path / "model") == files(tiny_model)


@pytest.mark.slow
def test_another_seed_replaces_the_model_and_the_same_one_keeps_it(
    hospital, tiny_model, tiny_settings, tmp_path, capsys
):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    before = files(folder)
    train(hospital, folder, tiny_settings)
    assert "already trained" in capsys.readouterr().out and files(folder) == before
    train(hospital, folder, dataclasses.replace(tiny_settings, seed=6, members=1))
    assert "replaced" in capsys.readouterr().out
    assert not (folder / "member_01.safetensors").exists() and files(folder) != before


@pytest.mark.slow
def test_a_time_budget_that_is_over_at_once_still_leaves_a_usable_model(hospital, tiny_settings, tmp_path, capsys):
    train(
        hospital, tmp_path / "model", dataclasses.replace(tiny_settings, members=11, epochs=50, time_budget_hours=1e-6)
    )
    ensemble = load_ensemble(tmp_path / "model")
    assert len(ensemble.models) == 1
    assert np.isfinite(member_scores(ensemble, data_of(hospital, ensemble))).all()
    assert "time budget" in capsys.readouterr().out


@pytest.mark.slow
def test_the_data_folder_is_left_as_it_was_and_no_work_folder_remains(tmp_path, hospital, tiny_settings):
    data = shutil.copytree(hospital, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    train(data, tmp_path / "model", dataclasses.replace(tiny_settings, members=1))
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before
    assert not (tmp_path / "model" / ".work").exists()


# ------------------------------------------------------------------------------------------------------ damaged folders


def test_no_model_another_version_and_damage_are_one_line_each(tiny_model, tmp_path):
    with pytest.raises(UserError, match="no trained model"):
        load_ensemble(tmp_path)
    folder = shutil.copytree(tiny_model, tmp_path / "future")
    manifest = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        load_ensemble(folder)
    manifest["recipe"]["colour"] = "red"
    (folder / "recipe.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="does not fit this version"):
        load_ensemble(folder)
    for name in ("member_01.safetensors", "classes.json", "thresholds.json"):
        folder = shutil.copytree(tiny_model, tmp_path / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])
        with pytest.raises(UserError, match="damaged"):
            load_ensemble(folder)
        os.remove(folder / name)
        with pytest.raises(UserError, match="damaged"):
            load_ensemble(folder)


# ---------------------------------------------------------------------------------------------------------------- store


def test_the_store_holds_what_preparing_gives_and_is_reused_until_the_data_change(hospital, tmp_path, monkeypatch):
    from twelvelead.recipes import Input
    from twelvelead.training import store as stores

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
