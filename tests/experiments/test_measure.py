"""`twelvelead measure`: recordings that trained the model are left out, and the card gets the figures of the others."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from twelvelead.cli import main
from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.errors import UserError
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
