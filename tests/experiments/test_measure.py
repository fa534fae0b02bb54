"""`twelvelead measure`: recordings that trained the model are left out, and the card gets the figures of the others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import OWN_NAMES

from twelvelead.cli import main
from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.data.folders import find_recordings
from twelvelead.data.own_labels import own_classes
from twelvelead.errors import UserError
from twelvelead.evaluation.masked import evaluate_known
from twelvelead.experiments.design import read_cohort
from twelvelead.experiments.measure import Tested, age_band, answers_of, measurements
from twelvelead.experiments.scored import score_recordings
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.synthetic import HOSPITALS, write_hospital
from twelvelead.training.model_card import CARD, NOT_MEASURED

CLASSES = classes_for("challenge", load_weights(WEIGHTS))


@pytest.fixture(scope="module")
def other_hospital(tmp_path_factory):
    """Twelve recordings of a hospital that `tiny_model` has not learned from."""
    folder = tmp_path_factory.mktemp("other")
    write_hospital(folder / "third", list(HOSPITALS)[2], 12, seed=9)
    return folder


def test_recordings_that_trained_the_model_are_left_out(tiny_model, hospital, other_hospital, tmp_path):
    shutil.copytree(hospital, tmp_path / "data")
    shutil.copytree(other_hospital, tmp_path / "data", dirs_exist_ok=True)
    ensemble = load_ensemble(tiny_model)
    tested = answers_of(tiny_model, ensemble, read_cohort(tmp_path / "data"), jobs=1)
    alone = read_cohort(other_hospital)
    trained = json.loads((tiny_model / "splits.json").read_text())["recordings"]
    assert tested.left_out == len(trained) and set(tested.sources) == {"third"}
    assert np.array_equal(tested.scores, score_recordings(ensemble, alone.headers, 1)[0])
    with pytest.raises(UserError, match="learned from every recording"):
        answers_of(tiny_model, ensemble, read_cohort(hospital), jobs=1)


def test_the_command_fills_the_card(tiny_model, other_hospital, tmp_path, capsys):
    model, table = tmp_path / "model", tmp_path / "robust.md"
    shutil.copytree(tiny_model, model)
    table.write_text("| copy | loss |\n|---|---|\n| a wrong gain | 0.01 |\n", encoding="utf-8")
    assert main(["measure", str(model), str(other_hospital), "--resamples", "20", "--table", str(table)]) == 0
    printed, text = capsys.readouterr().out, (model / CARD).read_text(encoding="utf-8")
    assert "| third | 12 |" in text and "| third | 12 |" in printed and "a wrong gain" in text
    assert NOT_MEASURED not in text and "calibration slope" in text
    assert len(load_ensemble(model).models) == 2  # a filled card does no harm to the folder's checksums


@pytest.mark.parametrize("missing", ["card", "table"])
def test_what_is_missing_is_said_in_one_line_before_anything_is_scored(
    tiny_model, other_hospital, tmp_path, capsys, monkeypatch, missing
):
    monkeypatch.setattr("twelvelead.experiments.measure.score_recordings", None)
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    if missing == "card":
        (model / CARD).unlink()
    assert main(["measure", str(model), str(other_hospital), "--table", str(tmp_path / "none.md")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_ages_fall_into_bands():
    ages = (0, 17.9, 18, 40, 79.9, 80, 150, -1, float("nan"))
    bands = ["0 to 17", "0 to 17", "18 to 39", "40 to 59", "60 to 79", "80 and older", "80 and older"]
    assert [age_band(age) for age in ages] == [*bands, "unknown", "unknown"]


def test_every_part_of_the_recordings_has_a_row_whatever_is_rare_in_it():
    rng = np.random.default_rng(0)
    labels = rng.random((40, len(CLASSES.codes))) < 0.2
    labels[:, 3] = False  # a class that nobody has
    tested = Tested(
        sources=("one",) * 39 + ("two",),
        sexes=("female", "male") * 20,
        ages=("unknown",) * 40,
        labels=labels,
        outputs=rng.random(labels.shape) < 0.2,
        scores=rng.random(labels.shape),
        patients=np.arange(40) // 2,
        left_out=0,
        faults=["x: cannot be read"],
    )
    text = measurements(tested, CLASSES, np.full(len(CLASSES.codes), 0.5), resamples=10, seed=0)
    for row in ("| one | 39 |", "| two | 1 |", "| female | 20 |", "| unknown | 40 |", "40 recordings of 20 persons"):
        assert row in text, row
    assert f"| {CLASSES.abbreviations[3]} |" not in text and "1 could not be scored" in text


# -- labels of the user's own ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_labels(tmp_path_factory, other_hospital):
    """Labels of `other_hospital` for `own_model`; one recording is unknown, and some cells of one class."""
    path = tmp_path_factory.mktemp("other_labels") / "labels.csv"
    rows = ['recording,"LVH, ""strain""",µ|#1,AF']
    for k, header in enumerate(find_recordings(other_hospital)):
        cells = ",," if k == 4 else f"{k % 2},{'' if k % 3 == 0 else (k + 1) % 2},{int(k < 6)}"
        rows.append(f"{header.stem},{cells}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_model_of_own_labels_is_measured_by_such_labels(own_model, other_hospital, other_labels, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(own_model, model)
    command = ["measure", str(model), str(other_hospital), "--resamples", "20", "--labels", str(other_labels)]
    assert main(command) == 0
    text = (model / CARD).read_text(encoding="utf-8")
    measured = text[text.index("### On recordings") :].partition("## What it has not seen")[0]
    assert NOT_MEASURED not in text and "11 recordings of" in measured and "Labels: labels.csv" in measured
    assert "Challenge" not in measured and "sinus" not in measured and "calibration slope" in measured
    assert "| third | 11 |" in measured and "| µ\\|#1 |" in measured and " of 7 |" in measured
    columns = {line.count("|") - line.count("\\|") for line in measured.splitlines() if line.startswith("| ")}
    assert columns == {6, 10}  # of the tables of parts and of classes
    assert "1 recordings of which labels.csv knows nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "say with --labels or --label-field"),
        (["--label-field", "Dx"], "none of the model's classes"),
        (["--classes", "AF"], "give --labels or --label-field too"),
    ],
)
def test_labels_that_are_not_the_models_are_one_line(options, words, own_model, other_hospital, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(own_model, model)
    try:
        code = main(["measure", str(model), str(other_hospital), *options])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and NOT_MEASURED in (model / CARD).read_text(encoding="utf-8")


def test_the_challenges_model_takes_no_labels_of_the_users_own(
    tiny_model, other_hospital, other_labels, tmp_path, capsys
):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    assert main(["measure", str(model), str(other_hospital), "--labels", str(other_labels)]) == 2
    assert "leave out --labels" in capsys.readouterr().err


def own_tested(seed: int) -> Tested:
    """Sixty recordings of three classes, of which a third of the labels is unknown."""
    rng = np.random.default_rng(seed)
    known = rng.random((60, 3)) < 0.67
    known[:, 0] |= ~known.any(axis=1)
    labels = (rng.random((60, 3)) < 0.4) & known
    scores = np.clip(rng.random((60, 3)) + 0.3 * labels, 0, 1)
    return Tested(
        sources=("one",) * 30 + ("two",) * 30,
        sexes=("female", "male") * 30,
        ages=("unknown",) * 60,
        labels=labels,
        outputs=(scores > 0.6) & known,
        scores=scores,
        patients=np.arange(60),
        left_out=2,
        faults=["x: cannot be read"],
        known=known,
        origin="labels.csv",
    )


def test_scores_of_unknown_labels_change_nothing_and_figures_are_the_evaluators():
    tested, classes = own_tested(0), own_classes(OWN_NAMES, "f1")
    text = measurements(tested, classes, np.full(3, 0.6), resamples=10, seed=0)
    other = np.where(tested.known, tested.scores, np.random.default_rng(1).random(tested.scores.shape))
    assert measurements(replace(tested, scores=other), classes, np.full(3, 0.6), resamples=10, seed=0) == text
    figures = evaluate_known(tested.labels, tested.outputs, tested.scores, tested.known)
    assert f"| all recordings | 60 | {figures['auroc']:.3f} [" in text and f"| {figures['f_measure']:.3f} [" in text
    assert "1 could not be scored and count as without any class" in text and "2 others trained the model" in text
