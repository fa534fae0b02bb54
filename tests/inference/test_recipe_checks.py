"""Every recipe passes, and a value of another type or out of range is one line that names its field."""

from __future__ import annotations

import dataclasses
import json

import pytest

from twelvelead.errors import UserError
from twelvelead.inference.recipe_checks import RANGES, check_recipe
from twelvelead.recipes import RECIPES, Recipe, recipe_from_dict, to_dict

RECIPE = RECIPES["butt"]


def changed(recipe: Recipe, path: str, value) -> Recipe:
    """The recipe with the field at `path`, such as "input.join", replaced; "training.phases.0.loss" is one too."""
    values = json.loads(json.dumps(to_dict(recipe)))
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[last] = value
    return recipe_from_dict(values)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_recipe_of_the_project_is_possible_also_scaled_and_from_json(recipe):
    check_recipe(recipe)
    check_recipe(recipe.scaled(epochs=2, members=1, width=4))
    check_recipe(recipe.scaled(epochs=2, members=7, width=4))
    check_recipe(recipe_from_dict(json.loads(json.dumps(to_dict(recipe)))))


def fields() -> list[tuple[str, object]]:
    """Path and value of every field of a recipe, those of its parts and of its first phase included."""
    found = []
    for field in dataclasses.fields(RECIPE):
        value = getattr(RECIPE, field.name)
        if dataclasses.is_dataclass(value):
            found += [(f"{field.name}.{inner.name}", getattr(value, inner.name)) for inner in dataclasses.fields(value)]
        else:
            found.append((field.name, value))
    phase = RECIPE.training.phases[0]
    found += [(f"training.phases.0.{field.name}", getattr(phase, field.name)) for field in dataclasses.fields(phase)]
    return [(path, value) for path, value in found if path != "training.phases"]


@pytest.mark.parametrize("path,value", fields(), ids=[path for path, _ in fields()])
def test_a_value_of_another_type_is_refused_and_its_field_named(path, value):
    wrong: list[object] = [["x"], {"a": []}, [[1.0]]]
    if not isinstance(value, str):
        wrong += ["12", ""]
    if not isinstance(value, bool):
        wrong.append(True)
    if isinstance(value, (bool, str, tuple, dict)):
        wrong += [1, 0.5]
    if isinstance(value, int) and not isinstance(value, bool) and path not in ("input.frequency_hz", "input.longest_s"):
        wrong.append(1.5) if path.split(".")[-1] in INTEGERS else None
    if value is not None and path not in ("training.largest_class_weight", "synthetic.share"):
        wrong.append(None)
    for other in wrong:
        if path.split(".")[0] == "network" or (path == "voting.threshold_options" and other == {"a": []}):
            continue
        with pytest.raises(UserError) as error:
            check_recipe(changed(RECIPE, path, other))
        assert path.split(".")[-1] in str(error.value) and "\n" not in str(error.value), (other, str(error.value))


INTEGERS = (
    "batch_size",
    "rate_patience",
    "early_stopping_patience",
    "beat_epochs",
    "label_draws",
    "members",
    "folds",
    "epochs",
)


@pytest.mark.parametrize(
    "path", [f"{part.__name__.lower()}.{name}" for part, ranges in RANGES.items() for name in ranges]
)
@pytest.mark.parametrize("value", [-1e12, 1e12, float("nan"), float("inf")])
def test_a_number_out_of_its_range_is_refused(path, value):
    part, name = path.split(".")
    path = f"training.phases.0.{name}" if part == "phase" else path
    shape = {"envelopes_hz": [value], "noise_db": [5.0, value], "threshold_options": {"points": value}}
    with pytest.raises(UserError, match=name):
        check_recipe(changed(RECIPE, path, shape.get(name, value)))


@pytest.mark.parametrize(
    "path,value,words",
    [
        ("input.join", "median", "max, mean, first"),
        ("input.piece_s", 20, "longest_s"),
        ("input.overlap_s", 10, "overlap_s"),
        ("input.high_pass_hz", 70, "half of frequency_hz"),
        ("input.band_pass_hz", [1.0, 70.0], "half of frequency_hz"),
        ("input.band_pass_hz", [1.0], "a lower and an upper"),
        ("input.band_pass_hz", [40.0, 1.0], "a lower and an upper"),
        ("input.per_lead_scale", True, "per_recording_scale"),
        ("augmentation.lead_sets", ["I II", "I V7"], "V7"),
        ("augmentation.lead_sets", [" "], "lead_sets"),
        ("voting.thresholds", "nobody", "ensemble, members"),
        ("label_set", "cpsc2018", "challenge, cpsc"),
        ("training.phases", [], "phases"),
        ("network.levels", 10**9, "levels"),
        ("network.layers", 10**9, "layers"),
        ("network.width", -4, "width"),
        ("network.width", float("nan"), "width"),
        ("network.width", [4], "width"),
        ("summary", "x" * 10**6, "summary"),
    ],
)
def test_values_that_do_not_go_together_are_refused(path, value, words):
    with pytest.raises(UserError, match=words):
        check_recipe(changed(RECIPE, path, value))
