"""MODEL_CARD.md: what training knows is in it, and tables that are measured later find their place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from twelvelead.data.classes import DIAGNOSES, NEVER_ANNOTATED
from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.errors import UserError
from twelvelead.experiments.compare import ALL, ANNOTATED
from twelvelead.experiments.model_card import experiment_section, fill_card, read_card
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.training.model_card import BEGIN, CARD, END, NOT_MEASURED, SOURCES, with_measurements


@pytest.fixture(scope="module")
def card(tiny_model) -> str:
    return (tiny_model / CARD).read_text(encoding="utf-8")


def test_the_card_counts_recordings_sources_and_classes(card, hospital):
    recordings = [read_recording(path) for path in find_recordings(hospital)]
    used = [recording for recording in recordings if recording.codes]
    for folder in hospital.iterdir():
        count = sum(path.is_relative_to(folder) for path in find_recordings(hospital))
        assert f"| `{folder.name}`, not known to this program | {count} |" in card
    atrial = sum("164889003" in recording.codes for recording in used)
    assert f"| AF | {DIAGNOSES['164889003'][1]} | {atrial} |" in card
    females = sum(recording.sex == "female" for recording in used)
    assert f"{females} of females" in card


def test_the_card_names_recipe_budget_and_where_thresholds_come_from(card, tiny_model):
    thresholds = json.loads((tiny_model / "thresholds.json").read_text())["ensemble"]
    for words in ("recipe `butt`", "2 members of 2 epochs", "seed 5", f"with {thresholds['recordings']} recordings"):
        assert words in card, words
    assert "no medical device" in card and "must not be used" in card and NOT_MEASURED in card


def test_every_source_of_the_challenge_has_a_licence_and_a_citation():
    folders = {name for name in NEVER_ANNOTATED if len(name) > 2}
    assert set(SOURCES) == folders
    assert all(source.licence and "doi:10." in source.citation for source in SOURCES.values())


def test_measurements_take_the_place_of_what_was_there(card):
    once = with_measurements(card, "| a |\n|---|\n")
    assert NOT_MEASURED not in once and f"{BEGIN}\n| a |\n|---|\n{END}" in once
    assert with_measurements(with_measurements(card, "old"), "new") == with_measurements(card, "new")
    assert with_measurements("# A card without a place", "new").count(BEGIN) == 1


def figure(value):
    return {"value": value, "low": value, "high": value}


def results(folder: Path, value) -> Path:
    """The results.json of a small experiment."""
    metrics = ("challenge_metric", "auroc", "auprc", "f_measure")
    row = {"recipe": "butt", "metrics": "2020", "recordings": 7, **{name: figure(value) for name in metrics}}
    row |= {"labels_annotated": 1.5, "labels_written": 2.25, "sinus_rhythm_f": figure(value)}
    content = {
        "experiment": {"command": "holdout"},
        "budget": {},
        "seed": 0,
        "resampling": {"resamples": 10, "unit": "recordings"},
        "recipes": {"butt": {"parameters": 5, "splits": {"0": {"epochs": {"0": 2}, "timing": {"epoch_seconds": 60}}}}},
        "scores_by_fold": [{**row, "fold": ALL}],
        "scores_by_source": [{**row, "source": ALL}, {**row, "metrics": ANNOTATED, "source": ALL}],
        "scores_by_class": [{**row, "class": "AF", "known": True}],
        "differences": [],
    }
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_an_experiment_fills_the_card_and_the_model_still_loads(tiny_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    fill_card(
        model, [experiment_section(results(tmp_path / name, value)) for name, value in (("one", 0.25), ("two", None))]
    )
    text = (model / CARD).read_text(encoding="utf-8")
    assert NOT_MEASURED not in text and "0.250 [0.250, 0.250]" in text and "undefined" in text
    assert "| butt | AF | 7 | 0.250" in text and text.count("### Recordings held out") == 2
    assert len(load_ensemble(model).models) == 2


def test_without_a_card_or_results_there_is_one_line(tiny_model, tmp_path):
    for use in (read_card, lambda folder: fill_card(folder, [])):
        with pytest.raises(UserError, match="card cannot be read"):
            use(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(UserError, match="holds no experiment"):
        experiment_section(tmp_path)
