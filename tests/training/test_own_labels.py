"""Training on labels of one's own: what is unknown teaches nothing, outputs have the classes, a killed run goes on."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import types

import numpy as np
import pytest
import torch
from comparing import contents
from conftest import OWN_NAMES as NAMES
from training.test_joined_training import composed

from twelvelead.cli import main
from twelvelead.commands import distil, train
from twelvelead.data.folders import find_recordings
from twelvelead.data.own_labels import OwnLabels, own_classes
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.export.onnx_file import export
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.recipes import RECIPES, Synthetic, get_recipe
from twelvelead.settings import Settings
from twelvelead.thresholds.probabilities import fit_probabilities
from twelvelead.training import model_folder, workers
from twelvelead.training.label_check import check_own_labels
from twelvelead.training.losses import LOSSES
from twelvelead.training.member_data import MemberData, validate
from twelvelead.training.own_recipe import REPLACED, for_own_labels
from twelvelead.training.run import TrainingRun
from twelvelead.training.teacher import scores_of_teacher
from twelvelead.training.training_state import TrainingState


def stub_run(cells):
    """A run whose store has so many rows, all real recordings, and nothing else."""
    store = types.SimpleNamespace(
        synthetic=np.zeros(len(cells), bool), conventions=np.zeros(len(cells), bool), codes=[()] * len(cells)
    )
    return TrainingRun(
        None, "", "", get_recipe("butt"), own_classes(["a", "b"], "f1"), 0, [], store, cells=tuple(cells)
    )


def test_rows_with_anything_known_are_used_and_the_rest_is_masked():
    run = stub_run(["1?", "??", "01", "00"])
    assert run.rows.tolist() == [0, 2, 3]
    known = run.known_labels(run.labels())
    assert known.tolist() == [[True, False], [False, False], [True, True], [True, True]]
    assert run.labels().tolist() == [[True, False], [False, False], [False, True], [False, False]]
    assert stub_run(["10", "01"]).known_labels(np.eye(2)) is None


@pytest.mark.parametrize("metric", ["f1", "auroc"])
def test_what_stands_in_unknown_cells_changes_no_loss_weight_or_validation(metric, monkeypatch):
    rng = np.random.default_rng(0)
    labels, known = rng.random((60, 2)) < 0.4, rng.random((60, 2)) < 0.6
    scores = rng.random((60, 2)).astype(np.float32)
    monkeypatch.setattr("twelvelead.training.member_data.predict", lambda model, data, rows, spec: scores[rows])
    data, rows = types.SimpleNamespace(device=torch.device("cpu")), np.arange(60)
    results = []
    for given in (labels, np.where(known, labels, ~labels)):
        of = MemberData(data, given, rows[:40], rows[40:], get_recipe("butt"), own_classes(["a", "b"], metric), known)
        logits = torch.from_numpy(scores).logit()
        losses = [float(of.loss(loss, logits, torch.from_numpy(rows))) for loss in LOSSES]
        results.append((losses, *of.weighting.positive.tolist(), validate(torch.nn.Identity(), of, "cross_entropy")))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_for_own_labels_keeps_its_network_and_loses_what_is_the_challenges(name):
    own = OwnLabels(own_classes(["LVH", "AF"], "f1"), {}, "labels.csv", (frozenset(), frozenset({"164889003"})))
    lines: list[str] = []
    recipe = for_own_labels(get_recipe(name), own, lines.append)
    assert recipe.label_set == "own"
    assert not (recipe.voting.at_least_one or recipe.voting.rate_labels or recipe.voting.convention_recordings)
    bases = get_recipe(name).parts
    for part, base in zip(recipe.parts, bases, strict=True):
        assert (part.model, part.network, part.input) == (base.model, base.network, base.input)
        assert part.training.epochs == base.training.epochs and part.voting.members == base.voting.members
        assert not {phase.loss for phase in part.training.phases} & REPLACED
        assert part.synthetic == Synthetic()
    makes_synthetic = any(base.synthetic.recordings for base in bases)
    assert [line for line in lines if "LVH" in line] == lines and len(lines) == makes_synthetic


def test_synthetic_recordings_are_kept_where_every_class_is_one_that_they_show():
    own = OwnLabels(own_classes(["atrial fibrillation"], "f1"), {}, "labels.csv", (frozenset({"164889003"}),))
    recipe = for_own_labels(get_recipe("butt"), own, lambda line: pytest.fail(line))
    assert recipe.synthetic == get_recipe("butt").synthetic
    assert own.cells_of_codes(["426783006", "164889003"]) == "1" and own.cells_of_codes(["426783006"]) == "0"


def test_classes_that_became_too_rare_are_named_and_none_is_an_error():
    labels, known, lines = np.zeros((20, 2), bool), np.ones((20, 2), bool), []
    labels[:8, 0] = labels[:2, 1] = True
    check_own_labels(labels, known, own_classes(["often", "seldom"], "f1"), lines.append)
    assert len(lines) == 1 and "seldom" in lines[0] and "often" not in lines[0]
    with pytest.raises(UserError, match="learn nothing"):
        check_own_labels(labels[:, 1:], known[:, 1:], own_classes(["seldom"], "f1"), lines.append)


@pytest.mark.slow
def test_a_model_of_own_labels_writes_and_shows_them_and_is_scored_by_them(
    hospital, own_model, labels_csv, tmp_path, capsys
):
    assert main(["classify", str(own_model), str(hospital), str(tmp_path / "out"), "--jobs", "1"]) == 0
    lines = next((tmp_path / "out").glob("*.csv")).read_text(encoding="utf-8").splitlines()
    assert lines[1] == "LVH%2C %22strain%22,µ%7C%231,AF"
    assert all(len(line.split(",")) == 3 for line in lines[1:])
    scores = tmp_path / "scores.json"
    arguments = ["evaluate", str(hospital), str(tmp_path / "out"), "--labels", str(labels_csv), "--json", str(scores)]
    assert main([*arguments, "--bootstrap", "5"]) == 0
    figures = json.loads(scores.read_text())
    assert figures["classes"] == NAMES and len(figures["f_measure_classes"]) == 3 and not figures["findings"]
    capsys.readouterr()
    assert main(["predict", str(find_recordings(hospital)[0]), "--model", str(own_model), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["code"] for row in rows} == set(NAMES)


@pytest.mark.slow
def test_the_model_says_what_it_learned_and_of_how_many_recordings(own_model, labels_csv):
    ensemble = load_ensemble(own_model)
    assert ensemble.classes.codes == tuple(NAMES) and ensemble.classes.metric == "f1"
    card = (own_model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Labels: labels.csv" in card and '| LVH, "strain" | 16 | 47 |' in card and "| µ\\|#1 |" in card
    assert json.loads((own_model / "recipe.json").read_text())["recordings"] == 47


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_model_and_other_labels_start_anew(
    hospital, own_model, own_settings, labels_csv, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "model"
    with monkeypatch.context() as patch:
        patch.setattr("twelvelead.training.training_state.TrainingState.save", killed_after_first_epoch())
        with pytest.raises(KeyboardInterrupt):
            train(hospital, folder, own_settings)
    assert (folder / ".work" / "member_00.checkpoint").is_file()
    interrupted = tmp_path / "interrupted"
    shutil.copytree(folder, interrupted)
    train(hospital, folder, own_settings)
    assert "going on after epoch 1" in capsys.readouterr().out
    assert contents(folder) == contents(own_model)
    other = tmp_path / "labels.csv"
    text = labels_csv.read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join([*text[:-1], text[-1][:-1] + str(1 - int(text[-1][-1]))]), encoding="utf-8")
    train(hospital, interrupted, dataclasses.replace(own_settings, labels=str(other), members=1, epochs=1))
    assert "change of" in (said := capsys.readouterr().out) and "labels" in said


def killed_after_first_epoch():
    """TrainingState.save, which writes a checkpoint and then ends the program."""
    real = TrainingState.save

    def save(self, path, key, epochs):
        real(self, path, key, epochs)
        raise KeyboardInterrupt

    return save


@pytest.mark.slow
def test_two_classes_of_a_header_field_are_learned_by_auroc(hospital, tiny_settings, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(hospital, data)
    for k, header in enumerate(find_recordings(data)):
        header.write_text(header.read_text() + f"# Ward: {'A' if k % 2 else 'B'}\n")
    settings = dataclasses.replace(tiny_settings, members=1, epochs=1, label_field="ward", classes="A", metric="auroc")
    ensemble = train(data, tmp_path / "model", settings)
    assert ensemble.classes.codes == ("A",) and ensemble.classes.metric == "auroc"
    assert read_recording(find_recordings(data)[0]).codes


@pytest.mark.parametrize(
    "changes,words",
    [
        (dict(labels="l.csv", label_field="Dx"), "give --labels or --label-field"),
        (dict(classes="AF"), "--label-field too"),
        (dict(metric="f1"), "--label-field too"),
        (dict(labels="l.csv", metric="accuracy"), "there are: f1, auroc"),
        (dict(freeze=True), "--init"),
        (dict(labels="nowhere.csv"), "nowhere.csv: the labels cannot be read"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(hospital, tiny_settings, tmp_path, changes, words):
    with pytest.raises(UserError, match=words) as error:
        train(hospital, tmp_path / "model", dataclasses.replace(tiny_settings, **changes))
    assert "\n" not in str(error.value)


# -- together with the rest ------------------------------------------------------------------------


@pytest.mark.slow
def test_probabilities_are_fitted_to_known_cells_alone(hospital, own_settings, tmp_path, monkeypatch):
    given = []

    def noting(labels, scores, known=None):
        given.append((labels, known))
        return fit_probabilities(labels, scores, known)

    monkeypatch.setattr(model_folder, "fit_probabilities", noting)
    ensemble = train(hospital, tmp_path / "model", dataclasses.replace(own_settings, epochs=1))
    assert ensemble.probabilities is not None and ensemble.probabilities.slopes.shape == (3,)
    labels, known = given[-1]
    assert known[:, [0, 2]].all() and not known[:, 1].all() and not labels[~known].any()


@pytest.mark.slow
def test_a_recipe_whose_members_vote_learns_own_labels_without_a_map(hospital, own_settings, tmp_path):
    settings = dataclasses.replace(own_settings, recipe="butt-2020", members=3, epochs=1)
    ensemble = train(hospital, tmp_path / "model", settings)
    assert ensemble.probabilities is None and ensemble.recipe.voting.thresholds == "members"
    assert ensemble.classes.codes == tuple(NAMES) and ensemble.member_thresholds.shape == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("thresholds", ["ensemble", "members"])
def test_members_of_several_recipes_learn_own_labels(thresholds, hospital, own_settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RECIPES, "ours", composed(thresholds))
    # With two processes the run is read from its file.
    settings = dataclasses.replace(own_settings, recipe="ours", members=3, epochs=1, workers=2)
    ensemble = train(hospital, tmp_path / "model", settings)
    assert ensemble.part_of_model == (0, 1, 0) and ensemble.classes.codes == tuple(NAMES)
    assert json.loads((tmp_path / "model" / "recipe.json").read_text())["recordings"] == 47
    assert "Labels: labels.csv" in (tmp_path / "model" / "MODEL_CARD.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", str(find_recordings(hospital)[0]), "--model", str(tmp_path / "model"), "--csv"]) == 0
    assert {row["code"] for row in csv.DictReader(capsys.readouterr().out.splitlines())} == set(NAMES)
    train(hospital, tmp_path / "model", settings)
    assert "already trained" in capsys.readouterr().out


@pytest.mark.slow
def test_the_file_of_an_exported_model_names_own_classes(own_model, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
    pytest.importorskip("onnxscript", reason="needs the extra `export`")
    export(own_model, tmp_path / "model.onnx", log=lambda line: None)
    values = {each.key: json.loads(each.value) for each in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert values["codes"] == values["names"] == NAMES
    assert len(values["thresholds"]) == len(values["slopes"]) == 3 and values["at_least_one"] is False


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, words",
    [
        ("distil MODEL DATA OUT", "say with --labels or --label-field"),
        ("measure MODEL DATA", "say with --labels or --label-field"),
        ("recalibrate MODEL DATA OUT", "say with --labels or --label-field"),
        ("report DATA OUTPUTS --model MODEL --out OUT", "say with --labels or --label-field"),
        ("report DATA OUTPUTS --out OUT", "no output file has any of the classes"),
    ],
)
def test_a_command_that_needs_labels_for_a_model_of_own_ones_says_so_in_one_line(
    command, words, hospital, own_model, tmp_path, capsys
):
    outputs = tmp_path / "outputs"
    if "OUTPUTS" in command:
        assert main(["classify", str(own_model), str(hospital), str(outputs), "--jobs", "1"]) == 0
    places = dict(MODEL=own_model, DATA=hospital, OUT=tmp_path / "out", OUTPUTS=outputs)
    capsys.readouterr()
    assert main([str(places.get(word, word)) for word in command.split()]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["METRIC", "INIT", "FREEZE"])
def test_a_setting_of_training_alone_is_not_overlooked_by_distil(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(f"TWELVELEAD_{name}", "1")
    assert main(["distil", str(tmp_path), str(tmp_path), str(tmp_path / "student")]) == 2
    assert "for training alone" in (error := capsys.readouterr().err) and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, words",
    [
        (["--labels", "CSV"], "leave out --labels"),
        (["--label-field", "Dx"], "leave out --labels"),
        (["--classes", "AF"], "give --labels or --label-field too"),
        (["--labels", "CSV", "--label-field", "Dx"], "give --labels or --label-field"),
    ],
)
def test_a_teacher_of_the_challenges_classes_takes_no_labels(
    options, words, hospital, tiny_model, labels_csv, tmp_path, capsys
):
    given = [str(labels_csv) if word == "CSV" else word for word in options]
    assert main(["distil", str(tiny_model), str(hospital), str(tmp_path / "student"), *given]) == 2
    assert words in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert not (tmp_path / "student").exists()


@pytest.mark.slow
def test_a_student_has_the_classes_of_its_teacher_and_learns_what_is_known(
    hospital, own_model, labels_csv, tmp_path, capsys, monkeypatch
):
    seen = []
    real = workers.joined_targets

    def noting(run, labels, known):
        seen.append((run.rows, known, scores_of_teacher(run), targets := real(run, labels, known)))
        return targets

    monkeypatch.setattr(workers, "joined_targets", noting)
    settings = Settings(labels=str(labels_csv), epochs=1, synthetic=0, seed=5, device="cpu", jobs=1, workers=1)
    student = distil(own_model, hospital, tmp_path / "student", settings)
    assert len(student.models) == 1 and student.classes.codes == tuple(NAMES) and student.classes.metric == "f1"
    assert not student.recipe.voting.at_least_one
    (rows, known, scores, targets) = seen[0]
    assert len(rows) == 47 and not known[rows].all()
    unknown = ~known[rows]
    np.testing.assert_array_equal(targets[rows][unknown], scores[rows][unknown])
    assert (targets[rows][~unknown] != scores[rows][~unknown]).any()
    card = (tmp_path / "student" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Labels: labels.csv. Empty cells were unknown; there the network learned what the teacher says" in card
    capsys.readouterr()
    distil(own_model, hospital, tmp_path / "student", settings)
    assert "already trained" in capsys.readouterr().out
