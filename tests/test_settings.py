"""Environment variables and options: one meaning, checked, and the recipe scales by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvelead.cli import build_parser
from twelvelead.errors import UserError
from twelvelead.recipes import RECIPES, get_recipe, recipe_from_dict, scale_phases, to_dict
from twelvelead.settings import FIELDS, Settings, find_device, from_environment, from_options, settings_table

ROOT = Path(__file__).resolve().parent.parent
TEXTS = {str: "x", int: "3", float: "0.5", bool: "1"}  # a value of each kind of setting, as text


def test_every_setting_is_a_variable_and_an_option():
    texts = {name: TEXTS[field.metadata["kind"]] for name, field in FIELDS.items()}
    expected = Settings(**{name: FIELDS[name].metadata["kind"](text) for name, text in texts.items()})
    assert from_environment({f"TWELVELEAD_{name.upper()}": text for name, text in texts.items()}) == expected
    given = [(f"--{name.replace('_', '-')}", text) for name, text in texts.items()]
    flags = [name for name, field in FIELDS.items() if field.metadata["kind"] is bool]
    options = [part for name, pair in zip(texts, given) for part in pair[: 1 if name in flags else 2]]
    assert from_options(build_parser().parse_args(["train", "D", "M", *options])) == expected
    assert all(getattr(expected, name) != field.default for name, field in FIELDS.items())


def test_every_setting_is_described_for_the_help_and_the_table():
    help_text = " ".join(build_parser().parse_args(["train", "D", "M"]).parser.format_help().split())
    for name, field in FIELDS.items():
        meaning = field.metadata["meaning"]
        assert meaning and "\n" not in meaning and "|" not in meaning and not meaning.endswith("."), name
        assert f"{meaning} (TWELVELEAD_{name.upper()})" in help_text, name


def test_the_table_in_the_documentation_is_the_one_of_the_settings():
    assert settings_table() in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_table_shows_the_default_recipes_own_numbers():
    recipe, rows = get_recipe(Settings().recipe), settings_table().splitlines()[2:]
    assert len(rows) == len(FIELDS)
    shown = {row.split("|")[1].strip(" `"): row.split("|")[3].strip() for row in rows}
    assert shown["TWELVELEAD_MEMBERS"] == f"the recipe's, {recipe.voting.members}"
    assert shown["TWELVELEAD_EPOCHS"] == f"the recipe's, {sum(phase.epochs for phase in recipe.training.phases)}"
    assert shown["TWELVELEAD_WIDTH"] == f"the recipe's, {recipe.network['width']}"


def test_options_override_variables(monkeypatch):
    monkeypatch.setenv("TWELVELEAD_MEMBERS", "7")
    monkeypatch.setenv("TWELVELEAD_SEED", "")
    settings = from_options(build_parser().parse_args(["train", "D", "M", "--epochs", "2"]))
    assert (settings.members, settings.epochs, settings.seed) == (7, 2, 0)
    assert from_options(build_parser().parse_args(["train", "D", "M", "--members", "3"])).members == 3


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
        of_all = (
            published[order.index((phase.loss, phase.learning_rate))].epochs / get_recipe("butt-2020").training.epochs
        )
        assert abs(phase.epochs - of_all * epochs) <= 2


def test_a_schedule_scaled_to_its_own_length_is_unchanged():
    training = get_recipe("butt-2020").training
    assert scale_phases(training.phases, training.epochs) == training.phases


@pytest.mark.parametrize("changes", [dict(members=0), dict(epochs=0), dict(width=-1)])
def test_budgets_below_one_are_errors(changes):
    with pytest.raises(UserError, match="at least 1"):
        get_recipe("butt").scaled(**changes)
