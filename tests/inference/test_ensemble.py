"""The ensemble: its parts do not leak, its folder explains itself and loads to the bit, a kill costs nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made import with_context

import twelvelead
from twelvelead.commands import WEIGHTS
from twelvelead.data.classes import load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.inference.ensemble import (
    joined_scores,
    labels_of,
    load_ensemble,
    margins_to_thresholds,
    member_labels,
    member_scores,
    thresholds_of_recordings,
)
from twelvelead.inference.predict import predict, stack
from twelvelead.preprocessing.heart_rate import add_rate_labels
from twelvelead.preprocessing.prepare import prepare
from twelvelead.synthetic.conventions import as_others_write
from twelvelead.thresholds.objectives import challenge_objective, joined
from twelvelead.thresholds.probabilities import draw_labels, fit_probabilities
from twelvelead.training.batches import on_device
from twelvelead.training.store import build_store

ROOT = Path(__file__).resolve().parents[2]


def data_of(folder: Path, ensemble, count=10):
    return stack(
        [prepare(read_recording(h), ensemble.recipe.input) for h in find_recordings(folder)[:count]], ensemble.device
    )


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
    cuts = dict(thresholds=np.full(24, 0.6), member_thresholds=np.full((3, 24), 0.5))
    three = dataclasses.replace(ensemble, **cuts, probabilities=None)

    def with_voting(**changes):
        voting = dataclasses.replace(ensemble.recipe.voting, at_least_one=False, **changes)
        return dataclasses.replace(three, recipe=dataclasses.replace(ensemble.recipe, voting=voting))

    np.testing.assert_array_equal(labels_of(with_voting(thresholds="ensemble"), scores), scores.mean(0) >= 0.6)
    np.testing.assert_array_equal(labels_of(with_voting(thresholds="members"), scores), (scores >= 0.5).sum(0) >= 2)
    sure = dataclasses.replace(three, thresholds=np.full(24, 0.999))
    assert labels_of(sure, scores).sum(1).tolist() == [1] * 40  # at least one


def test_a_context_moves_the_thresholds_of_each_recording(tiny_model, hospital, tmp_path):
    plain, moved = load_ensemble(tiny_model), load_ensemble(with_context(tiny_model, tmp_path / "moved"))
    assert plain.context is None and moved.context.part == moved.recipe.voting.context_part == 0.75
    scores = np.random.default_rng(0).random((2, 40, 24)).astype(np.float32) ** 2
    cuts, reported = thresholds_of_recordings(moved, scores), joined_scores(moved, scores)
    assert (thresholds_of_recordings(plain, scores) == plain.thresholds).all()
    assert np.ptp(cuts, axis=0).max() > 0.05
    labels = labels_of(moved, scores)
    assert (
        labels.any(axis=1).all() and (labels >= (reported >= cuts)).all() and (labels != labels_of(plain, scores)).any()
    )
    margins = margins_to_thresholds(moved, scores)
    decided = (reported >= cuts).any(axis=1)  # the others have the class that is nearest
    assert ((margins > 0) == labels)[decided].all()
    both_alike = scores[[0, 0]]
    np.testing.assert_array_equal(member_labels(moved, both_alike)[0], labels_of(moved, both_alike))
    # what a recording's thresholds are does not depend on the other recordings
    np.testing.assert_allclose(thresholds_of_recordings(moved, scores[:, 7:8])[0], cuts[7], rtol=1e-9)
    [header] = find_recordings(hospital)[:1]
    model = twelvelead.Model(moved, tmp_path / "moved")
    result = model.predict(header)
    own = thresholds_of_recordings(moved, model.scores([read_recording(header)]))[0]
    assert {each.code: each.threshold for each in result.classes} == pytest.approx(dict(zip(moved.classes.codes, own)))


def test_thresholds_are_stored_with_their_gains_for_every_member_and_out_of_bag(tiny_model):
    found = json.loads((tiny_model / "thresholds.json").read_text())
    assert found["used"] == "ensemble" and len(found["members"]) == 2
    for part in (found["ensemble"], *found["members"].values()):
        stages = list(part["metric_after"].values())
        assert list(part["metric_after"]) == ["start", "common", "bayesian", "coordinate", "shrunk"]
        assert stages[:4] == sorted(stages[:4]) and len(part["thresholds"]) == 24


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
    mean = scores[bag] / count[bag, None]
    probabilities = fit_probabilities(classes.labels(store.codes)[bag], mean)
    np.testing.assert_allclose(ensemble.probabilities.slopes, probabilities.slopes, rtol=1e-3)
    np.testing.assert_allclose(ensemble.probabilities.intercepts, probabilities.intercepts, atol=1e-2)
    voting, seed = ensemble.recipe.voting, json.loads((tiny_model / "recipe.json").read_text())["seed"]
    likely = fit_probabilities(truth[bag], mean)(mean) * truth[bag].any(axis=0)
    drawn = draw_labels(likely, voting.label_draws, seed)
    others = as_others_write(drawn, classes.codes, seed)
    mapped = np.tile(ensemble.probabilities(mean), (voting.label_draws, 1))
    own, of_others = (
        challenge_objective(labels, mapped, classes.weights, classes.sinus_rhythm) for labels in (drawn, others)
    )
    objective = joined(own, of_others, voting.other_habits)
    assert objective(ensemble.thresholds) == pytest.approx(stored["metric_after"]["shrunk"], abs=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason="each version of torch imports it elsewhere")
def test_loading_a_model_does_not_import_torchs_compiler(tiny_model):
    """It takes a second or two. Arithmetic on tensors that have a shape alone is enough to import it."""
    program = f"""
import sys, torch
from twelvelead.inference.ensemble import _WithoutFilling, load_ensemble
from twelvelead.models.network import new_model
from twelvelead.recipes import RECIPES
load_ensemble({str(tiny_model)!r})
for recipe in RECIPES.values():
    for part in recipe.parts:
        with torch.device("meta"), _WithoutFilling():
            new_model(part, 24)
    assert "torch._dynamo" not in sys.modules, recipe.name
"""
    subprocess.run([sys.executable, "-c", program], check=True)


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
