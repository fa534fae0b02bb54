"""Environment variables and options: one meaning, checked, and the recipe scales by them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvelead.cli import _settings, build_parser, main
from twelvelead.errors import UserError
from twelvelead.recipes import RECIPES, get_recipe, recipe_from_dict, scale_phases, to_dict
from twelvelead.settings import Settings, find_device, from_environment


def test_every_setting_is_a_variable_and_an_option():
    values = dict(
        recipe="butt",
        members=3,
        epochs=4,
        width=8,
        seed=9,
        device="cpu",
        limit=50,
        time_budget_hours=0.5,
        jobs=2,
        workers=2,
        patients="p.csv",
        weights="w.csv",
    )
    assert set(values) == {field.name for field in dataclasses.fields(Settings)}
    environment = {f"TWELVELEAD_{name.upper()}": str(value) for name, value in values.items()}
    assert from_environment(environment) == Settings(**values)
    options = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert _settings(build_parser().parse_args(["train", "D", "M", *options])) == Settings(**values)


def test_options_override_variables(monkeypatch):
    monkeypatch.setenv("TWELVELEAD_MEMBERS", "7")
    monkeypatch.setenv("TWELVELEAD_SEED", "")
    settings = _settings(build_parser().parse_args(["train", "D", "M", "--epochs", "2"]))
    assert (settings.members, settings.epochs, settings.seed) == (7, 2, 0)
    assert _settings(build_parser().parse_args(["train", "D", "M", "--members", "3"])).members == 3


@pytest.mark.parametrize(
    "variable,value,words",
    [
        ("TWELVELEAD_MEMBERS", "many", "integer"),
        ("TWELVELEAD_MEMBERS", "0", "more than 0"),
        ("TWELVELEAD_SEED", "-1", "0 or more"),
        ("TWELVELEAD_TIME_BUDGET_HOURS", "soon", "number"),
        ("TWELVELEAD_TIME_BUDGET_HOURS", "nan", "more than 0"),
        ("TWELVELEAD_EPOCHES", "3", "TWELVELEAD_EPOCHS"),
        ("TWELVELEAD_JOBS", "0", "jobs"),
    ],
)
def test_a_wrong_variable_is_an_error_that_says_what_is_right(variable, value, words):
    with pytest.raises(UserError, match=words):
        from_environment({variable: value})


def test_an_unknown_recipe_lists_those_that_exist():
    with pytest.raises(UserError, match=", ".join(RECIPES)):
        Settings(recipe="bytt").recipe_value()


def test_devices_that_do_not_exist_are_one_line():
    assert find_device("auto").type in ("cpu", "cuda")
    for name in ("cuda:99", "quantum"):
        with pytest.raises(UserError, match=name):
            find_device(name)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_travel_as_json(name):
    recipe = get_recipe(name)
    assert recipe_from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe
    with pytest.raises(UserError):
        recipe_from_dict({**to_dict(recipe), "colour": "red"})


def test_the_published_recipe_is_there_beside_the_default():
    recipe = get_recipe("butt-2020")
    assert [(p.loss, p.learning_rate, p.epochs) for p in recipe.training.phases] == [
        ("weighted_cross_entropy", 1e-3, 30),
        ("weighted_cross_entropy", 1e-4, 20),
        ("weighted_cross_entropy", 1e-5, 10),
        ("challenge_loss", 1e-3, 15),
        ("challenge_loss", 1e-4, 10),
        ("challenge_loss", 1e-5, 10),
    ]
    assert (recipe.voting.members, recipe.voting.train_fraction, recipe.training.batch_size) == (3, 0.9, 32)
    assert (recipe.network["width"], recipe.input.frequency_hz, recipe.input.unit_mv) == (30, 125, 0.2)


@given(st.integers(1, 300))
def test_scaled_schedules_have_the_epochs_asked_for_in_the_published_order(epochs):
    published = get_recipe("butt-2020").training.phases
    scaled = scale_phases(published, epochs)
    assert sum(phase.epochs for phase in scaled) == epochs and all(phase.epochs > 0 for phase in scaled)
    order = [(phase.loss, phase.learning_rate) for phase in published]
    places = [order.index((phase.loss, phase.learning_rate)) for phase in scaled]
    assert places == sorted(places)
    if epochs >= 2:
        assert {phase.loss for phase in scaled} == {phase.loss for phase in published}
    for phase in scaled:  # in proportion
        assert abs(phase.epochs - published[order.index((phase.loss, phase.learning_rate))].epochs * epochs / 95) <= 2
    if epochs == 95:
        assert scaled == published


@pytest.mark.parametrize("changes", [dict(members=0), dict(epochs=0), dict(width=-1)])
def test_budgets_below_one_are_errors(changes):
    with pytest.raises(UserError, match="at least 1"):
        get_recipe("butt").scaled(**changes)


def test_commands_answer_a_users_fault_with_one_line_and_a_traceback_on_request_only(tmp_path, capsys):
    assert main(["train", str(tmp_path / "nowhere"), str(tmp_path / "m")]) == 2
    err = capsys.readouterr().err
    assert "nowhere" in err and len(err.strip().splitlines()) == 1
    for arguments in (
        ["--debug", "train", str(tmp_path / "nowhere"), "m"],
        ["train", "--debug", str(tmp_path / "nowhere"), "m"],
    ):
        with pytest.raises(UserError):
            main(arguments)


def test_the_recipes_are_listed_one_line_each(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
