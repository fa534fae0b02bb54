"""Distillation: a student learns what the teacher says, is an ordinary model, and survives a kill."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from comparing import contents

from twelvelead.cli import main
from twelvelead.commands import distil
from twelvelead.data.classes import WEIGHTS, load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.leads import LEADS
from twelvelead.data.recording import Recording, read_recording
from twelvelead.errors import UserError
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.model_files import manifest_of, read_description
from twelvelead.inference.predict import stack
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import get_recipe
from twelvelead.settings import Settings
from twelvelead.training import teacher as teachers
from twelvelead.training import workers
from twelvelead.training.member_data import MemberData
from twelvelead.training.run import open_run
from twelvelead.training.teacher import LABEL_PART, joined_targets, scores_of_teacher, student_recipe, teacher_key

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "distil.py"
SETTINGS = Settings(epochs=2, synthetic=0, seed=5, device="cpu", jobs=1, workers=1)


# -- the targets -----------------------------------------------------------------------------------


def run_with(scores: np.ndarray | None, folder: Path):
    run = types.SimpleNamespace(teacher_scores_path=folder / "teacher.npy", store=range(6))
    run.classes = types.SimpleNamespace(codes=range(4))
    if scores is not None:
        np.save(run.teacher_scores_path, scores)
    return run


def test_a_target_is_the_teachers_score_and_a_part_of_a_known_label(tmp_path):
    rng = np.random.default_rng(0)
    scores, labels, known = rng.random((6, 4), dtype=np.float32), rng.random((6, 4)) < 0.3, rng.random((6, 4)) < 0.5
    run = run_with(scores, tmp_path)
    targets = joined_targets(run, labels, known)
    assert np.array_equal(targets[~known], scores[~known])
    mixed = (1 - LABEL_PART) * scores + LABEL_PART * labels
    np.testing.assert_allclose(targets[known], mixed[known], atol=1e-6)
    np.testing.assert_allclose(joined_targets(run, labels, None), mixed, atol=1e-6)
    assert targets.dtype == np.float32 and targets.min() >= 0 and targets.max() <= 1


@pytest.mark.parametrize("scores", [None, np.zeros((5, 4), np.float32), np.zeros((6, 4))])
def test_scores_that_are_gone_or_of_another_size_are_an_error(scores, tmp_path):
    with pytest.raises(UserError, match=r"teacher\.npy: the teacher's scores are gone"):
        joined_targets(run_with(scores, tmp_path), np.zeros((6, 4), bool), None)


def test_a_member_that_learns_targets_has_their_cross_entropy_as_loss():
    rng = np.random.default_rng(0)
    recipe, classes = get_recipe("butt").scaled(width=4, synthetic=0), scored_classes(load_weights(WEIGHTS))
    labels, known = rng.random((6, 24)) < 0.3, rng.random((6, 24)) < 0.5
    targets = rng.random((6, 24)).astype(np.float32)
    data = stack([prepare(_noise(k), recipe.input) for k in range(6)], torch.device("cpu"))
    rows = np.arange(6)
    member_data = MemberData(data, labels, rows, rows[:0], recipe, classes, known)
    logits = torch.randn(6, 24)
    member_data.learn(targets)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(targets))
    index = torch.from_numpy(rows)
    assert float(member_data.loss("cross_entropy", logits, index)) == pytest.approx(float(expected))
    other = torch.nn.functional.binary_cross_entropy_with_logits(-logits, torch.from_numpy(targets))
    both_heads = torch.stack([logits, -logits], dim=1)
    expected = (float(expected) + float(other)) / 2
    assert float(member_data.loss("cross_entropy", both_heads, index)) == pytest.approx(expected)
    # without a head of decisions the two heads are two networks that learn apart, and a score is their mean
    mean = member_data.loss("joint_loss", logits / 2, index)
    halves = torch.stack([torch.zeros_like(logits), logits], dim=1)
    assert float(member_data.loss("joint_loss", halves, index)) == pytest.approx(float(mean))


def _noise(seed: int) -> Recording:
    signal = np.random.default_rng(seed).normal(size=(12, 1000)).astype(np.float32)
    return Recording(f"R{seed}", signal, LEADS, 125.0, 50.0, "female", (), ())


# -- the recipe and the key ------------------------------------------------------------------------


def test_a_student_has_the_teachers_recipe_with_one_member():
    recipe = get_recipe("butt")
    student = student_recipe(recipe)
    assert student.voting.members == 1 and recipe.summary in student.summary and "learned from" in student.summary
    assert {phase.loss for phase in student.training.phases} == {"cross_entropy"}
    rest = dict(summary=recipe.summary, voting=recipe.voting, training=recipe.training)
    assert dataclasses.replace(student, **rest) == recipe
    assert [phase.epochs for phase in student.training.phases] == [phase.epochs for phase in recipe.training.phases]


@pytest.mark.slow
def test_the_key_changes_with_the_teachers_weights(tiny_model):
    description = read_description(tiny_model)
    other = dataclasses.replace(description, digests={**description.digests, "member_00.safetensors": "0" * 64})
    assert teacher_key(description) == teacher_key(read_description(tiny_model)) != teacher_key(other)


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student(tiny_model, hospital, tmp_path_factory) -> Path:
    """A student of `tiny_model`. Copy before changing anything."""
    folder = tmp_path_factory.mktemp("student") / "model"
    distil(tiny_model, hospital, folder, SETTINGS)
    return folder


@pytest.mark.slow
def test_a_student_is_an_ordinary_model_of_one_network(student, tiny_model, hospital):
    teacher, model = load_ensemble(tiny_model), load_ensemble(student)
    assert len(model.models) == 1 and model.classes.codes == teacher.classes.codes
    assert model.recipe.network == teacher.recipe.network and model.recipe.input == teacher.recipe.input
    assert sorted(path.name for path in student.iterdir()) == sorted(
        path.name for path in tiny_model.iterdir() if path.name != "member_01.safetensors"
    )
    thresholds = json.loads((student / "thresholds.json").read_text())["ensemble"]
    assert thresholds["recordings"] > 0 and len(thresholds["thresholds"]) == 24
    assert manifest_of(student)["teacher"] == teacher_key(read_description(tiny_model))
    assert "learned from the scores" in (student / "MODEL_CARD.md").read_text()
    recording = read_recording(find_recordings(hospital)[0])
    assert member_scores(model, stack([prepare(recording, model.recipe.input)], model.device)).shape == (1, 1, 24)


@pytest.mark.slow
def test_a_student_trained_again_is_there_already_and_of_another_teacher_is_not(
    student, tiny_model, hospital, tmp_path, capsys
):
    folder = shutil.copytree(student, tmp_path / "model")
    distil(tiny_model, hospital, folder, SETTINGS)
    assert "already trained" in capsys.readouterr().out and contents(folder) == contents(student)
    distil(student, hospital, folder, dataclasses.replace(SETTINGS, epochs=1))
    assert "another model is here (other recipe, teacher)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_killed_while_the_teacher_scores_goes_on_to_the_same_student(
    tiny_model, hospital, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(teachers, "CHUNK", 8)
    distil(tiny_model, hospital, tmp_path / "whole", SETTINGS)
    real, calls = teachers.member_scores, []

    def dies_in_the_third(ensemble, data):
        calls.append(len(data.lengths))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(ensemble, data)

    folder = tmp_path / "model"
    monkeypatch.setattr(teachers, "member_scores", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        distil(tiny_model, hospital, folder, SETTINGS)
    run = open_run(folder / ".work")
    assert np.isfinite(scores_of_teacher(run)).all(axis=1).sum() == 16 < len(run.rows)
    capsys.readouterr()
    distil(tiny_model, hospital, folder, SETTINGS)
    assert "the others were scored before" in capsys.readouterr().out
    assert sum(calls[3:]) + 16 == len(run.rows)
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_student_believes_its_teacher_more_than_the_labels(hospital, tiny_model, tmp_path, monkeypatch):
    """The teacher says the opposite of the labels, which only a student that learns from it can repeat."""

    def opposite(run, labels, known):
        scores = np.where(labels, np.float32(0.02), np.float32(0.98))
        np.save(run.teacher_scores_path, scores)
        return joined_targets(run, labels, known)

    monkeypatch.setattr(workers, "joined_targets", opposite)
    distil(tiny_model, hospital, tmp_path / "model", dataclasses.replace(SETTINGS, epochs=8))
    model = load_ensemble(tmp_path / "model")
    recordings = [read_recording(header) for header in find_recordings(hospital)]
    scores = member_scores(model, stack([prepare(each, model.recipe.input) for each in recordings], model.device))[0]
    labels = model.classes.labels([each.codes for each in recordings])
    assert scores[labels].mean() < scores[~labels].mean()


@pytest.mark.slow
def test_the_benchmark_prints_the_loss_and_the_ratio_of_times(student, tiny_model, hospital, tmp_path):
    out = tmp_path / "table.md"
    command = [sys.executable, BENCHMARK, tiny_model, student, hospital, "--fold", "all", "--resamples", "20"]
    run = subprocess.run([*command, "--out", out], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = [line.split("|")[1:-1] for line in out.read_text().splitlines()[2:]]
    assert [row[0].strip() for row in rows] == ["teacher", "student", "student − teacher"]
    assert [row[1].strip() for row in rows[:2]] == ["2", "1"]
    metric = [float(row[2].split()[0]) for row in rows]
    assert metric[1] - metric[0] == pytest.approx(metric[2], abs=0.002)
    assert float(rows[2][3].split("/")[1].split()[0]) > 1


@pytest.mark.slow
def test_a_student_in_its_teachers_folder_is_refused(tiny_model, hospital, capsys):
    with pytest.raises(UserError, match="a folder of its own"):
        distil(tiny_model, hospital, tiny_model, SETTINGS)
    assert main(["distil", "nowhere", str(hospital), "student"]) == 2
    assert "nowhere" in capsys.readouterr().err
