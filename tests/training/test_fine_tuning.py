"""Training from a trained model: weights are matched by class, what is frozen stays, and a resume ends alike."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import SMALL

from twelvelead.commands import train
from twelvelead.data.classes import Classes, classes_for, load_weights
from twelvelead.data.own_labels import own_classes
from twelvelead.errors import UserError
from twelvelead.models.network import new_model
from twelvelead.recipes import RECIPES, Recipe, get_recipe
from twelvelead.settings import Settings, from_environment
from twelvelead.training import fine_tuning
from twelvelead.training.fine_tuning import (
    NEW,
    Start,
    class_dimensions,
    copy_weights,
    head_parameters,
    parameter_groups,
    read_start,
)
from twelvelead.training.member import train_member
from twelvelead.training.training_state import TrainingState

OLD = ("426783006", "164889003", "270492004")
CLASSES = Classes(OLD, np.eye(3))


SINGLE = [name for name, recipe in RECIPES.items() if isinstance(recipe, Recipe)]


def small(name: str):
    recipe = get_recipe(name).scaled(members=2)
    return dataclasses.replace(recipe, network={**recipe.network, **SMALL[recipe.model]})


@pytest.fixture
def trained(monkeypatch):
    """Makes a model of two members with random weights, which is in no folder, the one to start from."""

    def make(recipe, freeze=False, matched=(0, 1, 2)):
        torch.manual_seed(7)
        networks = [new_model(recipe, len(OLD)).eval() for _ in range(2)]
        for network in networks:
            for name, tensor in network.state_dict().items():
                if name.endswith("running_mean"):
                    tensor.normal_()
        description = types.SimpleNamespace(recipe=recipe, classes=CLASSES, members=(0, 1), folder=None)
        monkeypatch.setattr(fine_tuning, "read_description", lambda folder: description)
        monkeypatch.setattr(
            fine_tuning, "read_weights", lambda _, member, expected: (networks[member].state_dict(), "")
        )
        monkeypatch.setattr(fine_tuning, "_digest_of", lambda folder: "digest")
        return Start("model", "digest", recipe.name, OLD, freeze, matched), networks

    return make


@pytest.mark.parametrize("name", SINGLE)
def test_classes_in_another_order_keep_the_scores_of_the_trained_model(name, trained):
    recipe = small(name)
    start, networks = trained(recipe, matched=(2, NEW, 0, 1))
    model = new_model(recipe, 4)
    copy_weights(model, start, member=3, recipe=recipe)  # the second of two members
    x, valid = torch.randn(2, recipe.input.channels, 700), torch.ones(2, 700, dtype=torch.bool)
    metadata = torch.rand(2, recipe.input.network_numbers)
    with torch.no_grad():
        ours, theirs = (network.eval()(x, valid, metadata) for network in (model, networks[1]))
    if "decision_head" in recipe.network:  # its decisions look at all classes, so the new one takes part in them
        with torch.no_grad():
            inner = [getattr(network, "network", network) for network in (model, networks[1])]
            ours, theirs = (network(x, valid, metadata) for network in inner)
    assert torch.allclose(ours[:, [0, 2, 3]], theirs[:, [2, 0, 1]], atol=1e-5)


@pytest.mark.parametrize("name", SINGLE)
def test_the_head_is_a_small_part_with_everything_that_depends_on_the_classes(name):
    recipe = small(name)
    dimensions = class_dimensions(recipe)
    with torch.device("meta"):
        model = new_model(recipe, 3)
    head = head_parameters(model, recipe)
    assert dimensions and set(dimensions) & {parameter for parameter, _ in model.named_parameters()} <= head
    others = {parameter for parameter, _ in model.named_parameters()} - head
    assert len(others) > len(head)
    if "decision_head" in recipe.network:
        assert {"hidden.conv.weight", "hidden.norm.weight"} <= {name.rpartition("network.")[2] for name in head}


def test_classes_are_matched_by_name_code_and_abbreviation():
    start = Start("m", "d", "butt", ("164889003", "LVH", "713427006"), False)
    new = own_classes(["lvh", "AF", "right bundle branch block", "MI"], "f1")
    assert start.matched_to(new).matched == (1, 0, 2, NEW)
    challenge = classes_for("challenge", load_weights("weights.csv"))
    of_all = Start("m", "d", "butt", challenge.codes, False).matched_to(challenge)
    assert of_all.matched == tuple(range(24)) and not of_all.has_new_classes
    merged = start.matched_to(own_classes(["any"], "f1"), [frozenset({"164889003", "164890007"})])
    assert merged.matched == (NEW,)
    assert Start.from_dict(json.loads(json.dumps(of_all.to_dict()))) == of_all


def test_trained_layers_learn_slower_and_frozen_ones_not_at_all():
    recipe = small("butt")
    model = new_model(recipe, 3)
    head = head_parameters(model, recipe)
    count = sum(1 for _ in model.parameters())
    scales = {}
    for case, matched in (("same", (0, 1, 2)), ("new", (0, NEW, 2))):
        groups = parameter_groups(model, head, Start("m", "d", "butt", OLD, False, matched))
        assert sum(len(group["params"]) for group in groups) == count
        scales[case] = [group["scale"] for group in groups]
    assert scales == {"same": [0.1, 0.1], "new": [0.1, 1.0]}
    (group,) = parameter_groups(model, head, Start("m", "d", "butt", OLD, True, (0, 1, 2)))
    assert len(group["params"]) == len(head) == sum(parameter.requires_grad for parameter in model.parameters())


def toy_run(folder, recipe, start, lines=None):
    """A member trained from the start on waves of three frequencies, and its log."""
    from training.test_member import toy

    data, labels = toy(48)
    rows = np.arange(48)
    lines = [] if lines is None else lines
    return train_member(
        data, labels, rows[:36], rows[36:], recipe, CLASSES,
        seed=1, member=0, checkpoint=folder / "c.checkpoint", start=start, log=lines.append,
    )  # fmt: skip


def toy_recipe():
    recipe = get_recipe("butt-2020").scaled(epochs=4, width=4, members=2)
    return dataclasses.replace(recipe, network=dict(width=4, levels=3, convolutions=2, kernel=7))


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [True, False])
def test_with_a_frozen_body_the_head_alone_changes_statistics_included(tmp_path, trained, freeze):
    recipe = toy_recipe()  # it averages weights, which measures statistics anew where they may change
    start, networks = trained(recipe, freeze)
    state = toy_run(tmp_path, recipe, start).state
    before = networks[0].state_dict()
    changed = {name for name in state if not torch.equal(state[name], before[name])}
    assert {"head.weight", "head.bias"} <= changed
    assert (changed == {"head.weight", "head.bias"}) == freeze
    assert any("running_mean" in name for name in changed) != freeze


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [True, False])
def test_a_member_that_was_killed_goes_on_to_the_same_weights(tmp_path, trained, monkeypatch, freeze):
    recipe = toy_recipe()
    start, _ = trained(recipe, freeze, matched=(1, NEW, 0))
    (tmp_path / "whole").mkdir()
    whole = toy_run(tmp_path / "whole", recipe, start)
    real = TrainingState.save

    def save(self, path, key, epochs):
        real(self, path, key, epochs)
        if self.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save)
        with pytest.raises(KeyboardInterrupt):
            toy_run(tmp_path, recipe, start)
    lines: list[str] = []
    again = toy_run(tmp_path, recipe, start, lines)
    assert "going on after epoch 2" in lines[0]
    assert all(torch.equal(again.state[name], whole.state[name]) for name in whole.state)


@pytest.mark.slow
def test_a_run_from_a_model_says_so_and_another_start_begins_anew(
    hospital, tiny_model, tiny_settings, tmp_path, capsys
):
    settings = dataclasses.replace(tiny_settings, init=str(tiny_model), width=None, epochs=1, members=1)
    train(hospital, tmp_path / "model", settings)
    assert "had 24 of the 24 classes" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "model" / "recipe.json").read_text())
    assert manifest["started_from"]["freeze"] is False and "model to start from" in manifest["key"]
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "started from the model `model`" in card and "this one started from such a model" in card
    train(hospital, tmp_path / "model", settings)
    assert "already trained" in capsys.readouterr().out
    train(hospital, tmp_path / "model", dataclasses.replace(settings, freeze=True))
    assert "other model to start from" in capsys.readouterr().out


def test_training_from_random_weights_has_the_identity_that_it_always_had(tiny_model):
    manifest = json.loads((tiny_model / "recipe.json").read_text())
    assert "started_from" not in manifest and not {"labels", "model to start from"} & set(manifest["key"])


@pytest.mark.parametrize(
    "changes,words",
    [
        (dict(recipe="se-resnet"), "recipe 'butt', not 'se-resnet'"),
        (dict(width=99), "width 4, not 99"),
        (dict(init="nowhere"), "nowhere: there is no trained model here"),
    ],
)
def test_what_does_not_fit_the_model_to_start_from_is_one_line(hospital, tiny_model, tmp_path, changes, words):
    with pytest.raises(UserError, match=words) as error:
        train(hospital, tmp_path / "model", dataclasses.replace(Settings(init=str(tiny_model)), **changes))
    assert "\n" not in str(error.value)


def test_a_model_of_several_recipes_is_not_started_from(monkeypatch):
    description = types.SimpleNamespace(recipe=get_recipe("vote"), classes=CLASSES)
    monkeypatch.setattr(fine_tuning, "read_description", lambda folder: description)
    with pytest.raises(UserError, match="m: its members are of several recipes") as error:
        read_start(Path("m"), freeze=False)
    assert "\n" not in str(error.value)


def test_only_a_setting_makes_training_start_from_a_model():
    assert from_environment({}).init is None and not from_environment({}).freeze
    assert from_environment({"TWELVELEAD_INIT": "pretrained", "TWELVELEAD_FREEZE": "1"}).freeze
    with pytest.raises(UserError, match="neither 1 nor 0"):
        from_environment({"TWELVELEAD_FREEZE": "perhaps"})
