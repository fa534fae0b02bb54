"""On a GPU as on a CPU: every recipe trains, goes on after a kill, is loaded and classifies, with the same scores.

All tests here skip with one line where torch sees no CUDA device. `TEST_GPU_DEVICE=cpu` runs them on the CPU, to
try the tests themselves.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import twelvelead
from twelvelead.cli import main
from twelvelead.commands import distil, train
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import RECIPES
from twelvelead.settings import Settings
from twelvelead.synthetic import HOSPITALS, write_hospital
from twelvelead.training import epoch, training_state, workers
from twelvelead.training.batch_graphs import BatchGraphs

ROOT = Path(__file__).resolve().parent.parent
GPU = os.environ.get("TEST_GPU_DEVICE", "cuda")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(GPU == "cuda" and not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]
SETTINGS = Settings(members=2, epochs=2, width=4, synthetic=8, seed=5, limit=32, device=GPU, jobs=1, workers=1)


def scores_on(folder: Path, device: str, headers: list[Path]) -> np.ndarray:
    """Scores (members, recordings, classes) of a model on a device."""
    ensemble = load_ensemble(folder, device)
    prepared = [prepare(read_recording(header), *ensemble.inputs) for header in headers]
    return member_scores(ensemble, stack(prepared, ensemble.device))


@pytest.fixture(scope="module")
def model(hospital, tmp_path_factory) -> Path:
    """A model folder of the default recipe, trained on the GPU."""
    folder = tmp_path_factory.mktemp("gpu") / "model"
    train(hospital, folder, SETTINGS)
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_on_a_gpu_and_scores_there_as_on_a_cpu(name, hospital, tmp_path):
    members = len(RECIPES[name].parts)
    train(hospital, tmp_path / "model", dataclasses.replace(SETTINGS, recipe=name, members=members))
    history = list(csv.DictReader((tmp_path / "model" / "history.csv").open()))
    assert np.isfinite([float(row["train_loss"]) for row in history]).all()
    headers = find_recordings(hospital)[:12]
    np.testing.assert_allclose(
        scores_on(tmp_path / "model", GPU, headers), scores_on(tmp_path / "model", "cpu", headers), atol=1e-3
    )


def test_the_model_that_comes_with_the_package_gives_the_same_labels(hospital):
    headers = find_recordings(hospital)
    ours, on_cpu = (twelvelead.load(device=device) for device in (GPU, "cpu"))
    recordings = [read_recording(header) for header in headers]
    scores, expected = ours.scores(recordings), on_cpu.scores(recordings)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    found = [{each.code for each in ours.predict_recording(recording).found} for recording in recordings]
    wanted = [{each.code for each in on_cpu.predict_recording(recording).found} for recording in recordings]
    assert sum(a != b for a, b in zip(found, wanted)) <= 1  # a score may lie at its threshold


def test_a_training_that_is_killed_on_a_gpu_goes_on_after_its_last_epoch(hospital, model, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    real = training_state.TrainingState.save

    def killed(state, *arguments):
        real(state, *arguments)
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(training_state.TrainingState, "save", killed)
        train(hospital, tmp_path / "model", SETTINGS)
    assert list((tmp_path / "model" / ".work").glob("*.checkpoint"))
    train(hospital, tmp_path / "model", SETTINGS)
    headers = find_recordings(hospital)[:12]
    # not to the bit: a GPU adds in another order each time
    again, before = (scores_on(folder, GPU, headers) for folder in (tmp_path / "model", model))
    np.testing.assert_allclose(again, before, atol=0.05)


def test_two_processes_share_one_gpu(hospital, model, tmp_path):
    train(hospital, tmp_path / "model", dataclasses.replace(SETTINGS, workers=2))
    assert len(list((tmp_path / "model").glob("member_*.safetensors"))) == 2
    headers = find_recordings(hospital)[:12]
    again, before = (scores_on(folder, GPU, headers) for folder in (tmp_path / "model", model))
    np.testing.assert_allclose(again, before, atol=0.05)


def test_two_ranks_share_one_gpu(hospital, tmp_path):
    options = ["--members", "2", "--epochs", "1", "--width", "4", "--limit", "32", "--device", GPU, "--jobs", "1"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(ROOT / "train_model.py"), str(hospital), str(tmp_path / "model"), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "model").glob("member_*.safetensors"))) == 2


@pytest.mark.skipif(GPU == "cpu", reason="a CPU has no graphs")
def test_batches_as_graphs_teach_what_they_teach_without(hospital, tmp_path, monkeypatch):
    # Without further passes of the beats, since hundreds of steps on 32 recordings make rounding errors large.
    recipe = dataclasses.replace(RECIPES["butt"], training=dataclasses.replace(RECIPES["butt"].training, beat_epochs=0))
    monkeypatch.setitem(RECIPES, "butt", recipe)
    settings = dataclasses.replace(SETTINGS, members=1, epochs=6)
    real, recorded = BatchGraphs._record, []

    def counted(*arguments):
        recorded.append(real(*arguments))
        return recorded[-1]

    monkeypatch.setattr(BatchGraphs, "_record", counted)
    train(hospital, tmp_path / "graphs", settings)
    assert recorded and all(graph is not None for graph in recorded)
    recorded.clear()
    monkeypatch.setattr(training_state, "RECORDED_NETWORKS", ())
    train(hospital, tmp_path / "kernels", settings)
    assert not recorded
    headers = find_recordings(hospital)[:12]
    ours, others = (scores_on(tmp_path / name, GPU, headers) for name in ("graphs", "kernels"))
    np.testing.assert_allclose(ours, others, atol=0.05)


@pytest.mark.skipif(GPU == "cpu", reason="a CPU computes in float32")
def test_a_card_before_ampere_trains_in_float16_with_a_scaled_loss(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    real, seen = training_state.TrainingState.start_phase, []

    def watched(state, phase):
        seen.append((state.half, state.scaler.is_enabled()))
        real(state, phase)

    monkeypatch.setattr(training_state.TrainingState, "start_phase", watched)
    train(hospital, tmp_path / "model", SETTINGS)
    assert set(seen) == {(torch.float16, True)}
    history = list(csv.DictReader((tmp_path / "model" / "history.csv").open()))
    assert np.isfinite([float(row["train_loss"]) for row in history]).all()


def test_a_batch_in_parts_learns_the_same(hospital, model, tmp_path, monkeypatch):
    monkeypatch.setattr(epoch, "PART_SAMPLES", 8 * 1280)
    train(hospital, tmp_path / "model", dataclasses.replace(SETTINGS, recipe="se-resnet", members=1))


@pytest.mark.skipif(GPU == "cpu", reason="needs a GPU whose memory can be used up")
def test_too_little_memory_is_one_line(hospital, tmp_path, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(workers, "on_device", full)
    with pytest.raises(twelvelead.errors.UserError, match="not enough memory; train fewer members at a time"):
        train(hospital, tmp_path / "model", SETTINGS)


def test_a_student_learns_from_a_teacher(hospital, model, tmp_path):
    distil(model, hospital, tmp_path / "student", Settings(epochs=2, width=4, synthetic=0, device=GPU, jobs=1))
    assert (tmp_path / "student" / "member_00.safetensors").is_file()


@pytest.mark.parametrize("freeze", [False, True])
def test_training_starts_from_a_trained_model(hospital, model, tmp_path, freeze):
    settings = Settings(init=str(model), freeze=freeze, epochs=1, synthetic=0, device=GPU, jobs=1, workers=1)
    train(hospital, tmp_path / "model", settings)
    assert (tmp_path / "model" / "member_01.safetensors").is_file()


def test_the_commands_work_on_a_gpu(hospital, model, tmp_path, capsys):
    record = str(find_recordings(hospital)[0].with_suffix(""))
    assert main(["classify", str(model), str(hospital), str(tmp_path / "outputs"), "--device", GPU]) == 0
    assert len(list((tmp_path / "outputs").rglob("*.csv"))) == 48
    plot = ["--plot", str(tmp_path / "sheet.png"), "--explain", "AF"]
    assert main(["predict", record, "--model", str(model), "--device", GPU, *plot]) == 0
    ours, other = str(tmp_path / "ours"), tmp_path / "other"
    write_hospital(other, list(HOSPITALS)[2], 24, seed=3)
    assert main(["recalibrate", str(model), str(hospital), ours, "--recordings", "30", "--device", GPU]) == 0
    assert main(["measure", ours, str(other), "--resamples", "20", "--device", GPU]) == 0
    capsys.readouterr()


def test_the_organizers_entry_point_classifies_on_a_gpu(hospital, model, tmp_path):
    environment = {**os.environ, "TWELVELEAD_DEVICE": GPU}
    data = find_recordings(hospital)[0].parent  # the organizers' folders have no folders below them
    command = [sys.executable, str(ROOT / "driver.py"), str(model), str(data), str(tmp_path / "outputs")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "outputs").rglob("*.csv"))) == len(find_recordings(data))
