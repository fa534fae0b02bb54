"""Synthetic recordings in training: members learn from them, and never are validated or given thresholds by them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvelead.cli import main
from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.data.folders import find_recordings
from twelvelead.errors import UserError
from twelvelead.inference.ensemble import load_ensemble, thresholds_of_mean
from twelvelead.recipes import Synthetic, get_recipe, recipe_from_dict, to_dict
from twelvelead.synthetic import draw_recording
from twelvelead.training.member_data import MemberData
from twelvelead.training.preparing import FIRST_OF_CONVENTIONS, prepare_run
from twelvelead.training.store import Drawn, build_store
from twelvelead.training.time_budget import with_synthetic_in_time
from twelvelead.training.workers import train_ensemble

CLASSES = classes_for("challenge", load_weights(WEIGHTS))
SMALL = dataclasses.replace(get_recipe("butt").scaled(epochs=2, members=2, width=4, synthetic=0), synthetic=Synthetic())


def quiet(line: str) -> None:
    """Takes the lines that a training logs."""


@pytest.fixture(scope="module")
def run(hospital, tmp_path_factory):
    """A prepared run on `hospital` with 12 synthetic recordings."""
    folder = tmp_path_factory.mktemp("model")
    headers = find_recordings(hospital)
    run, _ = prepare_run(headers, folder, SMALL.scaled(synthetic=12), CLASSES, hospital, 3, None, None, 1, quiet)
    return run


def test_members_share_out_real_recordings_and_learn_from_all_synthetic_ones(run):
    labels = run.classes.labels(run.store.codes)
    assert len(run.synthetic_rows) == 12 and run.store.synthetic[run.synthetic_rows].all()
    for member in range(2):
        train, validation = run.member_rows(labels, member)
        assert not run.store.synthetic[train].any() and not run.store.synthetic[validation].any()
        assert len(train) and len(validation)


def test_everything_is_known_of_a_synthetic_heart(run):
    known = run.known_labels(run.classes.labels(run.store.codes))
    assert known[run.synthetic_rows].all()


def test_a_synthetic_recording_is_stored_as_it_is_drawn(run):
    row = run.synthetic_rows[5]
    assert run.store.headers[row] == "synthetic/3-5"
    assert run.store.codes[row] == draw_recording(3, 5).codes


def test_the_real_recordings_are_stored_alike_with_and_without_synthetic_ones(hospital, run, tmp_path):
    alone = build_store(find_recordings(hospital), SMALL.input, tmp_path, root=hospital, jobs=1)
    together = run.store
    assert np.array_equal(alone.samples, together.samples[: len(alone.samples)])
    assert alone.headers == together.headers[: len(alone)]


def test_other_synthetic_recordings_make_another_store(hospital, tmp_path):
    headers = find_recordings(hospital)[:3]

    def key(*drawn: Drawn) -> str:
        return build_store(headers, SMALL.input, tmp_path, jobs=1, drawn=drawn).key

    assert len({key(), key(Drawn(1, 0)), key(Drawn(2, 0)), key(Drawn(1, 0), Drawn(1, 1))}) == 4


def with_conventions(recipe, count: int, weight: float = 20):
    voting = dataclasses.replace(recipe.voting, convention_recordings=count, convention_weight=weight)
    return dataclasses.replace(recipe, voting=voting)


def test_convention_rows_are_labelled_as_hospitals_write_and_teach_nobody(hospital, tmp_path):
    recipe = with_conventions(SMALL.scaled(synthetic=5), 7)
    run, _ = prepare_run(find_recordings(hospital), tmp_path, recipe, CLASSES, hospital, 3, None, None, 1, quiet)
    rows = run.convention_rows
    assert len(rows) == 7 and len(run.synthetic_rows) == 5 and not set(rows) & {*run.synthetic_rows, *run.rows}
    for k, row in enumerate(rows):
        drawn = draw_recording(3, FIRST_OF_CONVENTIONS + k, labels="hospital")
        assert run.store.codes[row] == drawn.codes
        assert run.store.headers[row] == f"conventions/3-{FIRST_OF_CONVENTIONS + k}"
    labels = run.classes.labels(run.store.codes)
    for member in range(2):
        assert not set(np.concatenate(run.member_rows(labels, member))) & set(rows)


def test_without_real_recordings_convention_rows_are_still_kept_for_thresholds(tmp_path):
    recipe = with_conventions(SMALL.scaled(synthetic=20), 7)
    run, _ = prepare_run([], tmp_path, recipe, CLASSES, None, 3, None, None, 1, quiet)
    assert 0 < len(run.rows) <= 20 and len(run.convention_rows) == 7 and len(run.synthetic_rows) == 0
    assert not set(run.rows) & set(run.convention_rows)


def searched(hospital, folder, **voting):
    """The ensemble's part of thresholds.json of `SMALL` with another vote, the model card, and the log."""
    recipe = dataclasses.replace(SMALL, voting=dataclasses.replace(SMALL.voting, **voting))
    lines = []
    headers = find_recordings(hospital)
    train_ensemble(headers, folder, recipe, CLASSES, root=hospital, seed=3, device="cpu", jobs=1, log=lines.append)
    ensemble = json.loads((folder / "thresholds.json").read_text())["ensemble"]
    return ensemble, (folder / "MODEL_CARD.md").read_text(), " ".join(lines)


@pytest.mark.slow
def test_thresholds_follow_the_conventions_by_the_weight_that_the_recipe_gives_them(hospital, tmp_path):
    def thresholds(name, **voting):
        return searched(hospital, tmp_path / name, **voting)[0]["thresholds"]

    alone = thresholds("alone")
    # members are the same, and so is the search
    assert thresholds("none", convention_recordings=40, convention_weight=0) == alone
    assert thresholds("half", convention_recordings=40, convention_weight=20) != alone


@pytest.mark.slow
def test_thresholds_also_hold_for_others_labels_and_the_card_says_so(hospital, tmp_path):
    def given(name, part):
        ensemble, card, log = searched(hospital, tmp_path / name, other_habits=part)
        assert ("as annotators of other habits might label them" in log) == bool(part)
        assert ("others might have labelled" in card) == bool(part)
        return np.array(list(ensemble["thresholds"].values()))

    alone, others = given("alone", 0.0), given("others", 1.0)
    assert not np.array_equal(alone, others)


@pytest.mark.slow
def test_thresholds_from_drawn_labels_differ_and_the_card_says_so(hospital, tmp_path):
    def given(name, draws):
        ensemble, card, log = searched(hospital, tmp_path / name, label_draws=draws)
        assert ("with labels drawn from their probabilities" in log) == bool(draws)
        assert ("with labels drawn from their probabilities" in card) == bool(draws)
        return ensemble

    annotated, drawn, again = given("annotated", 0), given("drawn", 5), given("again", 5)
    assert drawn == again and drawn["thresholds"] != annotated["thresholds"]
    assert drawn["recordings"] == annotated["recordings"] and drawn["slopes"] == annotated["slopes"]


@pytest.mark.slow
def test_thresholds_move_with_the_recording_where_there_are_convention_recordings(hospital, tmp_path):
    def searched_with(name, **voting):
        ensemble, card, _ = searched(hospital, tmp_path / name, **voting)
        assert ("In each recording they are moved" in card) == ("context" in ensemble)
        return ensemble

    moved = searched_with("moved", context_part=0.75, convention_recordings=20)
    fixed = searched_with("fixed", context_part=0.0, convention_recordings=20)
    assert "context" not in fixed and moved["thresholds"] == fixed["thresholds"]
    assert "context" not in searched_with("alone", context_part=0.75, convention_recordings=0)
    loaded = load_ensemble(tmp_path / "moved")
    np.testing.assert_allclose(loaded.context.reference, thresholds_of_mean(loaded), rtol=1e-6)
    assert sum(each.share for each in loaded.context.habits) == pytest.approx(1)
    # synthetic recordings of all classes take part in the map, so that no class has the same line as before
    assert moved["context"]["slopes"] != moved["slopes"]


@settings(deadline=None, max_examples=50)
@given(
    st.none() | st.floats(0, 0.9),
    st.integers(0, 40),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.integers(0, 30),
    st.integers(0, 2**16),
)
def test_an_epoch_draws_what_the_recipe_says(share, least, first, last, position, made, seed):
    plan = Synthetic(made, share, least, first, last)
    recipe = dataclasses.replace(SMALL, synthetic=plan)
    real, synthetic = np.arange(10), np.arange(20, 20 + made)
    data = MemberData(
        data=_NO_DATA,
        labels=np.zeros((60, 24), bool),
        train_rows=real,
        validation_rows=np.arange(10, 15),
        recipe=recipe,
        classes=CLASSES,
        synthetic_rows=synthetic,
    )
    rows = data.rows_of_epoch(position, np.random.default_rng(seed))
    drawn = rows[rows >= 20]
    wanted = made if share is None else max(round(10 * share / (1 - share)), least)
    assert len(set(rows.tolist())) == len(rows) and set(rows.tolist()) <= {*real.tolist(), *synthetic.tolist()}
    if made == 0 or position > 1 - last:
        assert np.array_equal(rows, real)
    elif position < first:
        assert len(drawn) == len(rows) == min(made, wanted + 10)
    else:
        assert len(drawn) == min(made, wanted) and len(rows) == len(drawn) + 10
    assert np.array_equal(rows, data.rows_of_epoch(position, np.random.default_rng(seed)))


def test_as_many_are_made_as_all_epochs_use_and_few_for_a_handful_of_real_ones():
    plan = Synthetic(20_000, share=0.5, least=3400)
    assert [plan.in_one_epoch(real) for real in (0, 7, 340, 341, 3400, 5000, 50_000)] == [
        0,
        70,
        3400,
        3400,
        3400,
        5000,
        20_000,
    ]
    assert plan.in_all_epochs(7, 4) == 280 and plan.in_all_epochs(5000, 4) == 20_000
    assert Synthetic(500).in_all_epochs(7, 4) == 500  # without a share every epoch uses them all


@pytest.mark.parametrize(
    "hours,made,conventions", [(None, 3000, 400), (1.0, 3000, 400), (0.03, 900, 270), (0.004, 120, 0)]
)
def test_a_short_time_budget_allows_fewer_synthetic_recordings_and_says_so(hours, made, conventions):
    lines: list[str] = []
    recipe = with_conventions(SMALL.scaled(synthetic=3000), 400)
    fitting = with_synthetic_in_time(recipe, hours, lines.append)
    assert (fitting.synthetic.recordings, fitting.voting.convention_recordings) == (made, conventions)
    assert len(lines) == (fitting != recipe)


def test_no_synthetic_recordings_means_none_for_thresholds_either():
    recipe = with_conventions(SMALL.scaled(synthetic=30), 20)
    assert recipe.scaled(synthetic=0).voting.convention_recordings == 0
    assert recipe.scaled(synthetic=9).voting.convention_recordings == 9
    assert recipe.scaled(synthetic=90).voting.convention_recordings == 20


def test_class_weights_count_each_recording_as_often_as_an_epoch_uses_it():
    rng = np.random.default_rng(0)
    labels = rng.random((60, 24)) < 0.3
    recipe = dataclasses.replace(SMALL, synthetic=Synthetic(40, share=0.5))
    data = MemberData(
        data=_NO_DATA,
        labels=labels,
        train_rows=np.arange(20),
        validation_rows=np.zeros(0, int),
        recipe=recipe,
        classes=CLASSES,
        synthetic_rows=np.arange(20, 60),
    )
    positives = labels[:20].sum(0) + labels[20:].sum(0) / 2  # an epoch draws 20 of the 40
    expected = np.minimum(40 / positives, recipe.training.largest_class_weight or np.inf)
    np.testing.assert_allclose(data.weighting.positive.numpy(), expected, rtol=1e-6)


class _NoData:
    """Stands for the recordings where only rows matter."""

    device = torch.device("cpu")


_NO_DATA = _NoData()


def test_a_recipe_stored_before_there_were_synthetic_recordings_has_none():
    values = to_dict(SMALL)
    del values["synthetic"]
    assert recipe_from_dict(values) == SMALL and SMALL.synthetic == Synthetic()


def test_a_negative_number_of_synthetic_recordings_is_an_error():
    with pytest.raises(UserError, match="synthetic must be 0 or more"):
        SMALL.scaled(synthetic=-1)


def test_data_and_no_data_at_once_is_one_line(hospital, tmp_path, capsys):
    for arguments in ([str(hospital), str(tmp_path / "model"), "--no-data"], [str(tmp_path / "model")]):
        assert main(["train", *arguments]) == 2
        assert "--no-data" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "model"), "--no-data"]) == 2
    assert "--synthetic" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_model_can_be_trained_without_a_single_real_recording(tmp_path):
    folder = tmp_path / "model"
    options = "--no-data --synthetic 60 --members 1 --epochs 1 --width 4 --workers 1 --jobs 1 --device cpu"
    assert main(["train", str(folder), *options.split()]) == 0
    splits = json.loads((folder / "splits.json").read_text())
    assert splits["recordings"] and all(name.startswith("synthetic/") for name in splits["recordings"])
    assert len(load_ensemble(folder).models) == 1


@pytest.mark.slow
def test_a_model_says_how_many_synthetic_recordings_it_has_seen(hospital, tmp_path):
    options = "--synthetic 20 --members 1 --epochs 1 --width 4 --workers 1 --jobs 1 --device cpu"
    assert main(["train", str(hospital), str(tmp_path / "model"), *options.split()]) == 0
    manifest = json.loads((tmp_path / "model" / "recipe.json").read_text())
    recordings = json.loads((tmp_path / "model" / "splits.json").read_text())["recordings"]
    assert manifest["synthetic_recordings"] == 20 and manifest["recordings"] == len(recordings)
    assert not any(Path(name).parts[0] == "synthetic" for name in recordings)
