"""A model of members of several recipes: trained, continued, shared out, saved, loaded and asked like any other."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from comparing import contents, threads_of_each

import team_code
import twelvelead
from twelvelead.commands import WEIGHTS
from twelvelead.data.classes import load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.inference.classify import classify_folder
from twelvelead.inference.ensemble import joined_scores, labels_of, load_ensemble, member_scores
from twelvelead.inference.model_files import JOINED_FORMAT, manifest_of, sealed
from twelvelead.inference.predict import predict_each, stack
from twelvelead.preprocessing.prepare import prepare
from twelvelead.recipes import RECIPES, join
from twelvelead.thresholds.decisions import decide
from twelvelead.training import workers
from twelvelead.training.model_folder import ModelFolder
from twelvelead.training.preparing import prepare_run
from twelvelead.training.run import TrainingRun, open_run
from twelvelead.training.workers import train_ensemble

pytestmark = pytest.mark.slow
CLASSES = scored_classes(load_weights(WEIGHTS))


def composed(thresholds: str):
    """Two members of a small butt and one of a small s4, which takes another input."""
    small = [RECIPES[name].scaled(epochs=1, width=4, synthetic=0) for name in ("butt", "s4")]
    small[0] = dataclasses.replace(small[0], network=dict(width=4, levels=2, convolutions=2, kernel=7))
    voting = dataclasses.replace(
        small[0].voting,
        train_fraction=0.6,
        thresholds=thresholds,
        calibrated=thresholds == "ensemble",
        context_part=0.75 if thresholds == "ensemble" else 0.0,
        threshold_method="common",
        threshold_options={},
        at_least_one=False,
    )
    return join("ours", "a test", "nowhere", voting, (small[0], 2), (small[1], 1))


RECIPE = composed("ensemble")


def trained(hospital: Path, folder: Path, recipe=RECIPE, **options):
    how = dict(root=hospital, seed=3, limit=24, jobs=1, workers=1, log=lambda line: None)
    return train_ensemble(find_recordings(hospital), folder, recipe, CLASSES, **{**how, **options})


@pytest.fixture(scope="module")
def model(hospital, tmp_path_factory) -> Path:
    """A model folder of `RECIPE`. Copy before changing anything."""
    folder = tmp_path_factory.mktemp("joined") / "model"
    trained(hospital, folder)
    return folder


def test_the_folder_says_whose_member_is_whose(model):
    manifest = manifest_of(model)
    assert manifest["format"] == JOINED_FORMAT and manifest["members"] == [0, 1, 2]
    assert manifest["recipe_of_member"] == {"0": "butt", "1": "s4", "2": "butt"}
    card = (model / "MODEL_CARD.md").read_text()
    assert "2 members of `butt` of 1 epochs" in card and "1 member of `s4` of 1 epochs" in card
    assert sorted({row["member"] for row in csv.DictReader((model / "history.csv").open())}) == ["0", "1", "2"]
    assert sorted(path.name for path in model.glob("member_*")) == [f"member_0{k}.safetensors" for k in range(3)]


def test_members_of_one_turn_share_their_recordings_and_no_others(model):
    of_member = json.loads((model / "splits.json").read_text())["validation_of_member"]
    assert of_member["0"] == of_member["1"] != of_member["2"]


def test_each_member_scores_what_its_own_recipe_prepares(model, hospital):
    ensemble = load_ensemble(model)
    assert ensemble.recipe == RECIPE and len(ensemble.inputs) == 2
    recordings = [read_recording(header) for header in find_recordings(hospital)[:5]]
    scores = member_scores(ensemble, stack([prepare(r, *ensemble.inputs) for r in recordings], ensemble.device))
    for member, part in enumerate(RECIPE.part_of_member):
        spec = RECIPE.parts[part].input
        alone = stack([prepare(recording, spec) for recording in recordings], ensemble.device)
        expected = predict_each([ensemble.models[member]], alone, np.arange(5), spec)[0]
        np.testing.assert_allclose(scores[member], expected, atol=1e-6)
    labels = decide(joined_scores(ensemble, scores), ensemble.thresholds)
    np.testing.assert_array_equal(labels_of(ensemble, scores), labels)


def test_the_first_recipes_members_are_those_of_its_own_training(model, hospital, tmp_path):
    """The same weights to the last byte, where its members have the same numbers: here the first one."""
    trained(hospital, tmp_path / "alone", dataclasses.replace(RECIPE.parts[0]).scaled(members=1))
    name = "member_00.safetensors"
    assert (tmp_path / "alone" / name).read_bytes() == (model / name).read_bytes()


def test_a_joined_training_that_was_killed_goes_on_to_the_same_model(model, hospital, tmp_path, monkeypatch):
    real = ModelFolder.collect_finished

    def dying(self):
        real(self)
        if len(self.results) == 2:  # one member of each recipe
            raise KeyboardInterrupt

    monkeypatch.setattr(ModelFolder, "collect_finished", dying)
    with pytest.raises(KeyboardInterrupt):
        trained(hospital, tmp_path / "model")
    half = load_ensemble(tmp_path / "model")
    assert half.part_of_model == (0, 1)
    monkeypatch.setattr(ModelFolder, "collect_finished", real)
    seen = []
    train_member = workers.train_member
    monkeypatch.setattr(workers, "train_member", lambda *a, **o: (seen.append(o["member"]), train_member(*a, **o))[1])
    trained(hospital, tmp_path / "model")
    assert seen == [2] and contents(tmp_path / "model") == contents(model)
    lines: list[str] = []
    trained(hospital, tmp_path / "model", log=lines.append)
    assert seen == [2] and "already trained" in lines[0]


def test_processes_share_the_members_of_all_recipes(hospital, tmp_path):
    trained(hospital, tmp_path / "two", workers=2)
    with threads_of_each(2):
        trained(hospital, tmp_path / "one")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_process_gets_its_share_of_every_recipes_members(processes):
    whole = RECIPES["vote"].scaled(members=4 * 6)
    shares = [workers.members_of_process(whole, process, processes) for process in range(processes)]
    assert sorted(member for share in shares for member in share) == list(range(24))
    for share in shares:
        parts = [whole.part_of_member[member] for member in share]
        assert share == sorted(share) and [parts.count(k) for k in range(4)] == [6 // processes] * 4
    single = RECIPES["butt"].scaled(members=7)
    assert [workers.members_of_process(single, process, processes) for process in range(processes)] == [
        list(range(process, 7, processes)) for process in range(processes)
    ]


def test_the_driver_run_model_and_predict_agree(model, hospital, tmp_path):
    ensemble = load_ensemble(model)
    report = classify_folder(ensemble, hospital, tmp_path, jobs=1)
    assert not report.faults and report.recordings == len(find_recordings(hospital))
    header = find_recordings(hospital)[3]
    rows = (tmp_path / f"{header.stem}.csv").read_text().splitlines()
    raw = np.fromfile(header.with_suffix(".mat"), "<i2", offset=24).reshape(-1, 12).T
    codes, labels, scores = team_code.run_model(team_code.load_model(str(model)), header.read_text(), raw)
    assert rows[1].split(",") == codes and rows[2].split(",") == [str(label) for label in labels]
    np.testing.assert_allclose([float(score) for score in rows[3].split(",")], scores, atol=1e-5)
    result = twelvelead.load(model, "cpu").predict(header)
    by_code = {each.code: each for each in result.classes}
    assert by_code["164889003"].probability == pytest.approx(scores[codes.index("164889003")], abs=1e-5)
    assert by_code["164889003"].members == 3


def test_votes_are_chosen_out_of_bag_and_kept_with_the_model(hospital, tmp_path):
    lines: list[str] = []
    ensemble = trained(hospital, tmp_path / "model", composed("members"), log=lines.append)
    votes = json.loads((tmp_path / "model" / "thresholds.json").read_text())["votes"]
    assert ensemble.votes == votes and 1 <= votes <= 3
    assert f"votes: a class is given if {votes} of 3 members give it" in "\n".join(lines)
    scores = np.random.default_rng(0).random((3, 9, len(CLASSES.codes)))
    each = decide(scores, ensemble.member_thresholds[:, None, :])
    for needed in (1, 2, 3):
        other = dataclasses.replace(ensemble, votes=needed)
        np.testing.assert_array_equal(labels_of(other, scores), each.sum(axis=0) >= needed)
    assert "how many of them have to agree" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_a_time_budget_that_is_over_at_once_leaves_a_usable_member(hospital, tmp_path):
    ensemble = trained(hospital, tmp_path / "model", budget_hours=1e-6)
    assert ensemble.part_of_model == (0,) and len(ensemble.inputs) == 1
    report = classify_folder(ensemble, hospital, tmp_path / "out", jobs=1)
    assert not report.faults


def changed(model: Path, folder: Path, **values) -> Path:
    shutil.copytree(model, folder)
    manifest = {**manifest_of(folder), **values}
    (folder / "recipe.json").write_text(json.dumps(sealed(manifest)))
    return folder


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(recipe_of_member={"0": "s4", "1": "butt", "2": "butt"}), "recipe_of_member"),
        (dict(format=3), "format 3"),
    ],
)
def test_a_folder_whose_members_are_another_recipes_is_damaged(model, tmp_path, values, words):
    with pytest.raises(UserError, match=words):
        load_ensemble(changed(model, tmp_path / "copy", **values))


def test_what_one_recipe_cannot_use_no_recipe_uses(hospital, tmp_path, monkeypatch):
    """A recording that cannot be prepared for one of the inputs is left out of the splits of both."""
    from twelvelead.errors import RecordingError
    from twelvelead.training import store as stores

    headers = find_recordings(hospital)
    real, odd = stores.load, headers[5]

    def failing(path, *inputs):
        if path == odd and inputs[0] == RECIPE.parts[1].input:
            return str(RecordingError("a fault of this input"))
        return real(path, *inputs)

    monkeypatch.setattr(stores, "load", failing)
    lines: list[str] = []
    run, _ = prepare_run(headers, tmp_path, RECIPE, CLASSES, hospital, 3, None, None, 1, lines.append)
    assert lines.count("left out: a fault of this input") == 1
    again = open_run(tmp_path / ".work")
    for part, other in zip(run.parts, again.parts):
        assert isinstance(part, TrainingRun) and [part.store.headers[row] for row in part.rows] == [
            run.parts[0].store.headers[row] for row in run.parts[0].rows
        ]
        assert str(odd.relative_to(hospital)) not in {part.store.headers[row] for row in part.rows}
        np.testing.assert_array_equal(part.rows, other.rows)
    rows = run.parts[1].rows[[2, 7]]
    np.testing.assert_array_equal(run.in_first(run.parts[1], rows), run.parts[0].rows[[2, 7]])
