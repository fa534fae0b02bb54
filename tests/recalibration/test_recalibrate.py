"""A recalibrated folder is an ordinary model folder, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import OWN_NAMES
from made import with_context

import team_code
import twelvelead
from twelvelead.cli import main
from twelvelead.data.folders import find_recordings
from twelvelead.data.label_tables import read_label_table
from twelvelead.errors import UserError
from twelvelead.evaluation.options import LabelSource
from twelvelead.files import write_json
from twelvelead.inference.classify import classified
from twelvelead.inference.ensemble import (
    labels_of,
    load_ensemble,
    margins_to_thresholds,
    member_labels,
    thresholds_of_mean,
)
from twelvelead.inference.model_files import manifest_of, member_path, sealed
from twelvelead.recalibration import learning, model_folder
from twelvelead.recalibration.model_folder import write_recalibrated
from twelvelead.recalibration.posterior import Habits, no_habits
from twelvelead.recalibration.recalibrate import described, recalibrate
from twelvelead.thresholds.logistic import log_odds
from twelvelead.training.model_card import CARD
from twelvelead.training.publishing import hashes_of

pytestmark = pytest.mark.slow  # they need a trained model

ABOUT = dict(recordings=3)


def habits_of(model: Path, **changes) -> Habits:
    """Habits that raise each threshold, with sinus rhythm alone and the first class never."""
    count = len(load_ensemble(model).thresholds)
    values = dict(shift=np.full(count, 0.3), never=np.arange(count) == 0, alone=True)
    values["shift"][0] = 0.0
    return Habits(**{**values, **changes})


@pytest.fixture
def recalibrated(tiny_model, tmp_path) -> Path:
    write_recalibrated(tiny_model, tmp_path / "new", habits_of(tiny_model), ABOUT, "## Recalibrated\n\nhere")
    return tmp_path / "new"


def test_the_folder_loads_everywhere_and_decides_by_its_habits(tiny_model, recalibrated, hospital):
    before, after = load_ensemble(tiny_model), load_ensemble(recalibrated)
    sinus = after.classes.sinus_rhythm
    np.testing.assert_array_equal(after.rules.never, np.arange(24) == 0)
    np.testing.assert_array_equal(after.rules.alone, np.arange(24) == sinus)
    shifted = (np.arange(24) > 0) & (before.thresholds > 0) & (before.thresholds < 1)
    moved = log_odds(thresholds_of_mean(after)) - log_odds(thresholds_of_mean(before))
    np.testing.assert_allclose(moved[shifted], 0.3, atol=1e-6)
    np.testing.assert_array_equal(after.thresholds[~shifted], before.thresholds[~shifted])
    model = twelvelead.load(recalibrated, "cpu")
    organizers = team_code.load_model(str(recalibrated), ("I", "II"))
    np.testing.assert_array_equal(organizers.rules.never, after.rules.never)
    for (header, row), (_, row_before) in zip(
        classified(after, find_recordings(hospital), 1), classified(before, find_recordings(hospital), 1)
    ):
        np.testing.assert_array_equal(row.scores, row_before.scores)
        labels = after.classes.of_output(row.labels, after.classes.codes)
        assert labels[0] == 0 and labels.sum() >= 1 and (labels[sinus] == 0 or labels.sum() == 1)
        found = {each.code for each in model.predict(header).found}
        assert found == {code for code, label in zip(after.classes.codes, labels) if label}


def test_members_alone_decide_by_the_rules_too(recalibrated):
    ensemble = load_ensemble(recalibrated)
    scores = np.random.default_rng(0).random((2, 30, 24)).astype(np.float32)
    each = member_labels(ensemble, scores)
    assert not each[:, :, 0].any() and each.any(axis=2).all()
    np.testing.assert_array_equal(member_labels(ensemble, scores[[0, 0]])[0], labels_of(ensemble, scores[[0, 0]]))


def test_weights_stay_the_card_says_so_and_the_source_is_untouched(tiny_model, recalibrated):
    assert member_path(recalibrated, 0).read_bytes() == member_path(tiny_model, 0).read_bytes()
    assert (recalibrated / CARD).read_text().endswith("## Recalibrated\n\nhere\n")
    assert "Recalibrated" not in (tiny_model / CARD).read_text()
    assert load_ensemble(tiny_model).rules is None
    assert manifest_of(recalibrated)["recalibrated"] and "key" not in manifest_of(recalibrated)


def test_habits_that_change_nothing_leave_every_label(tiny_model, tmp_path):
    write_recalibrated(tiny_model, tmp_path / "new", no_habits(24), ABOUT, "")
    before, after = load_ensemble(tiny_model), load_ensemble(tmp_path / "new")
    assert after.rules is None
    np.testing.assert_array_equal(after.thresholds, before.thresholds)
    np.testing.assert_array_equal(after.member_thresholds, before.member_thresholds)


@pytest.mark.parametrize("step", ["write_json", "write_text", "link_or_copy", "hashes_of"])
def test_a_run_that_is_killed_leaves_no_folder_and_the_next_one_works(step, tiny_model, tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model_folder, step, killed)
        write_recalibrated(tiny_model, tmp_path / "new", habits_of(tiny_model), ABOUT, "")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".new.part").mkdir()  # what a run leaves that has no time to clean up
    (tmp_path / ".new.part" / "rest").write_text("half")
    write_recalibrated(tiny_model, tmp_path / "new", habits_of(tiny_model), ABOUT, "")
    load_ensemble(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"] and not (tmp_path / "new" / "rest").exists()


def test_the_command_learns_from_headers_and_writes_a_model(tiny_model, hospital, tmp_path, capsys):
    out = tmp_path / "ours"
    assert main(["recalibrate", str(tiny_model), str(hospital), str(out), "--recordings", "30", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    about = json.loads((out / "thresholds.json").read_text())["recalibrated"]
    assert about["recordings"] == 30 and about["of_folder"] == hospital.name and "each fifth of them" in text
    assert "30 recordings" in (out / CARD).read_text()
    assert main(["classify", str(out), str(hospital), str(tmp_path / "outputs"), "--device", "cpu"]) == 0


def test_without_labels_the_output_and_the_card_tell_the_risk(tiny_model, hospital, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(hospital, data)
    for header in find_recordings(data):
        header.write_text("\n".join(line for line in header.read_text().splitlines() if "Dx" not in line) + "\n")
    words = ["recalibrate", str(tiny_model), str(data), str(tmp_path / "new"), "--device", "cpu"]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "none has a diagnosis in its header" in error
    assert main([*words, "--unlabelled"]) == 0
    assert "makes the model worse" in capsys.readouterr().out
    assert "makes the model worse" in (tmp_path / "new" / CARD).read_text()


def test_bad_input_is_one_line(tiny_model, hospital, recalibrated, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("")
    empty = tmp_path / "empty"
    empty.mkdir()
    for model, data, out, options, words in (
        (tiny_model, hospital, taken, {}, "it exists already"),
        (tiny_model, hospital, tiny_model, {}, "that is the model itself"),
        (tiny_model, empty, tmp_path / "absent", {}, "there are no recordings"),
        (empty, hospital, tmp_path / "absent", {}, "there is no trained model"),
        (recalibrated, hospital, tmp_path / "other", {}, "recalibrated before"),
        (tiny_model, hospital, tmp_path / "absent", dict(recordings=0), "at least one"),
    ):
        with pytest.raises(UserError, match=words) as error:
            recalibrate(model, data, out, jobs=1, **options)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "absent").exists() and list(taken.iterdir()) == [taken / "file"]


def test_what_was_learned_is_said_in_plain_words(tiny_model):
    classes = load_ensemble(tiny_model).classes
    shift = np.zeros(24)
    shift[1], shift[2] = 0.5, -0.5
    lines = described(Habits(shift, np.arange(24) == 3, True), classes)
    assert lines[0] == "sinus rhythm is written only where nothing else is"
    assert lines[1].startswith("never written: ") and classes.abbreviations[3] in lines[1]
    assert classes.abbreviations[1] in lines[2] and classes.abbreviations[2] in lines[3]
    assert described(no_habits(24), classes) == ["nothing that differs from the model's own habits"]


# -- labels of the user's own ----------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["f1", "auroc"])
def test_a_model_of_own_labels_learns_from_a_table_and_decides_by_it(
    metric, own_model, hospital, labels_csv, tmp_path, capsys
):
    model, out = tmp_path / "model", tmp_path / "ours"
    shutil.copytree(own_model, model)
    if metric == "auroc":
        retold(model, metric)
    command = ["recalibrate", str(model), str(hospital), str(out), "--labels", str(labels_csv), "--device", "cpu"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "left out: 1 recordings of which labels.csv knows nothing" in text
    named = {"f1": "macro F1", "auroc": "mean of sensitivity and specificity"}
    assert f"each part of 5 by what the others show: {named[metric]}" in text
    about = json.loads((out / "thresholds.json").read_text())["recalibrated"]
    assert about["recordings"] == 47 and "labels.csv" in about["method"] and set(about["shifts"]) == set(OWN_NAMES)
    before, after = load_ensemble(model), load_ensemble(out)
    assert after.rules is None and after.classes.metric == metric
    moved = log_odds(thresholds_of_mean(after)) - log_odds(thresholds_of_mean(before))
    np.testing.assert_allclose(moved, [about["shifts"][name] for name in OWN_NAMES], atol=1e-5)
    assert np.abs(moved).max() > 0.01
    assert "labels of the user's own (labels.csv)" in (out / CARD).read_text(encoding="utf-8")
    assert main(["classify", str(out), str(hospital), str(tmp_path / "outputs"), "--jobs", "1"]) == 0


def retold(model: Path, metric: str) -> None:
    """Makes a model one that was trained for another metric, as far as its files say."""
    path = model / "classes.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "metric": metric}))
    write_json(model / "recipe.json", sealed({**manifest_of(model), "files": hashes_of(model)}))


def test_what_the_table_does_not_name_is_said_and_stays(own_model, hospital, labels_csv, tmp_path, capsys):
    table = read_label_table(labels_csv)
    rows = ["recording,af", *(f"{name},{row[2].replace('?', '')}" for name, row in table.cells.items())]
    (tmp_path / "af.csv").write_text("\n".join(rows) + "\n")
    lines: list[str] = []
    source = LabelSource(str(tmp_path / "af.csv"))
    habits = recalibrate(own_model, hospital, tmp_path / "new", own=source, recordings=30, jobs=1, log=lines.append)
    assert habits.shift[2] != 0 and not habits.shift[:2].any() and not habits.never.any()
    assert any("since af.csv has no label of these names" in line and "µ|#1" in line for line in lines)
    assert any("threshold as it was" in line and "µ|#1" in line for line in lines)


def test_labels_that_cannot_be_the_models_are_one_line(own_model, tiny_model, hospital, labels_csv, tmp_path):
    (tmp_path / "other.csv").write_text("recording,other\nA1,1\n")
    for model, own, unlabelled, words in (
        (own_model, LabelSource(), False, "say with --labels or --label-field"),
        (own_model, LabelSource(), True, "--unlabelled is for the Challenge's classes"),
        (own_model, LabelSource(str(labels_csv)), True, "--unlabelled is for"),
        (tiny_model, LabelSource(str(labels_csv)), False, "leave out --labels"),
        (own_model, LabelSource(str(tmp_path / "other.csv")), False, "none of the model's classes"),
        (own_model, LabelSource(field="Dx"), False, "none of the model's classes"),
    ):
        with pytest.raises(UserError, match=words) as error:
            recalibrate(model, hospital, tmp_path / "new", own=own, unlabelled=unlabelled, jobs=1)
        assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


def test_thresholds_that_move_with_the_recording_are_shifted_as_the_models_are(tiny_model, tmp_path):
    source = with_context(tiny_model, tmp_path / "moved")
    write_recalibrated(source, tmp_path / "new", habits_of(source), ABOUT, "")
    before, after = load_ensemble(source), load_ensemble(tmp_path / "new")
    scores = np.random.default_rng(0).random((2, 30, 24)).astype(np.float32)
    shift = margins_to_thresholds(before, scores) - margins_to_thresholds(after, scores)
    inside = (np.arange(24) > 0) & (before.thresholds > 0) & (before.thresholds < 1)
    np.testing.assert_allclose(shift[:, inside], 0.3, atol=1e-6)
    codes = [("426783006",), ("164889003",)] * 15
    learned = learning.from_codes(before, scores, codes, seed=0)
    assert np.isfinite(learned.habits.shift).all()
