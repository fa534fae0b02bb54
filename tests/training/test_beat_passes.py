"""Further passes of the average beats teach the network of the beat, and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.inference.predict import stack
from twelvelead.models.network import DecisionHead, new_model
from twelvelead.preprocessing.prepare import Prepared
from twelvelead.recipes import Phase, Recipe, get_recipe
from twelvelead.training import beat_passes
from twelvelead.training.batches import gather
from twelvelead.training.beat_passes import BeatPasses, beat_reader, passes_of_epoch
from twelvelead.training.member import train_member
from twelvelead.training.member_data import MemberData
from twelvelead.training.training_state import TrainingState

PHASE = Phase("weighted_cross_entropy", 1e-3, 1)


def small_recipe(**training) -> Recipe:
    recipe = get_recipe("butt").scaled(epochs=2, width=2)
    return dataclasses.replace(
        recipe,
        network={**recipe.network, "levels": 3, "beat_width": 4, "beat_features": 4},
        training=dataclasses.replace(recipe.training, batch_size=8, **training),
    )


def member_data_of(recipe: Recipe, count: int = 64, without_chest: bool = False) -> MemberData:
    rng = np.random.default_rng(0)
    labels = rng.random((count, 24)) < 0.3
    items = []
    for _ in range(count):
        signal = rng.normal(size=(12, 640)).astype(np.float32)
        if without_chest:
            signal[6:] = 0
        metadata = rng.normal(size=recipe.input.metadata_numbers).astype(np.float32)
        items.append(Prepared(signal, np.ones(12, dtype=bool), np.ones(640, dtype=bool), metadata))
    rows, classes = np.arange(count), classes_for("challenge", load_weights(WEIGHTS))
    data = stack(items, torch.device("cpu"))
    return MemberData(data, labels, rows[: count // 2], rows[count // 2 :], recipe, classes)


def state_of(recipe: Recipe) -> TrainingState:
    torch.manual_seed(0)
    state = TrainingState(new_model(recipe, 24), recipe)
    state.start_phase(PHASE)
    state.set_rate(PHASE, 0.5)
    state.train_mode()
    return state


def learn(
    state: TrainingState, data: MemberData, count: int, batches: int = 2, seeds: tuple[int, ...] = (1, 2)
) -> None:
    passes = BeatPasses(state, data, PHASE.loss, count, list(seeds))
    for first in range(0, 8 * batches, 8):
        rows = np.arange(first, first + 8)
        x, _, metadata = gather(data.data, rows, data.recipe.input)
        passes.add(x, metadata, rows)
    passes.finish()


def changed(state: TrainingState, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in state.model.state_dict().items() if not torch.equal(tensor, before[name])}


def copy_of(state: TrainingState) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


@pytest.mark.parametrize(
    ("beat_epochs", "epochs", "passes"), [(32, 8, 4), (32, 16, 2), (32, 60, 1), (0, 8, 1), (32, 1, 32)]
)
def test_short_trainings_have_several_passes_in_each_epoch(beat_epochs, epochs, passes):
    assert passes_of_epoch(beat_epochs, epochs) == passes


def test_the_passes_change_the_network_of_the_beat_and_nothing_else():
    recipe = small_recipe()
    state, data = state_of(recipe), member_data_of(recipe)
    weights = list(state.model.parameters())
    for parameter in weights:
        parameter.grad = torch.ones_like(parameter)
    state.step()  # the optimiser has momentum for every parameter from here on
    before, gradients = copy_of(state), [parameter.grad for parameter in weights]
    learn(state, data, count=3)
    moved = changed(state, before)
    assert moved == {name for name in before if ".beat." in f".{name}"}
    for parameter, gradient in zip(weights, gradients):
        assert parameter.grad is gradient  # the same memory, as a recorded graph needs it


def test_one_pass_is_that_of_the_whole_network():
    recipe = small_recipe()
    state, data = state_of(recipe), member_data_of(recipe)
    before = copy_of(state)
    learn(state, data, count=1)
    assert not changed(state, before)


def test_the_beats_are_those_that_the_network_gets(monkeypatch):
    """With the missing leads estimated, and each with its own recording's labels."""
    recipe = small_recipe()
    state, data = state_of(recipe), member_data_of(recipe, without_chest=True)
    matrix = np.random.default_rng(1).normal(size=(12, 12))
    state.model.network.covariance.copy_(torch.tensor(matrix @ matrix.T))
    seen = []
    beat_reader(state.model).beat.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    rows = np.arange(8)
    x, valid, metadata = gather(data.data, rows, recipe.input)
    with torch.no_grad():
        state.model(x, valid, metadata)
    (expected_beats, expected_others) = seen.pop()
    assert bool((expected_beats.unflatten(1, (-1, 12))[:, :, 6:] != 0).any())
    order, real_loss = [], data.loss
    monkeypatch.setattr(data, "loss", lambda name, logits, of: order.append(of) or real_loss(name, logits, of))
    learn(state, data, count=2, batches=1)
    ((beats, others),) = seen
    torch.testing.assert_close(beats, expected_beats[order[0]])
    torch.testing.assert_close(others, expected_others[order[0]])
    assert sorted(order[0].tolist()) == rows.tolist()


def test_pools_of_batches_are_passed_on_during_the_epoch(monkeypatch):
    monkeypatch.setattr(beat_passes, "POOL", 2)
    monkeypatch.setattr(beat_passes, "BATCH", 10)
    recipe = small_recipe()
    state, data = state_of(recipe), member_data_of(recipe)
    sizes, real_loss = [], data.loss
    monkeypatch.setattr(data, "loss", lambda name, logits, of: sizes.append(len(of)) or real_loss(name, logits, of))
    learn(state, data, count=3, batches=3)
    assert sizes == [10, 6, 10, 6, 8, 8]


def test_equal_seeds_give_equal_passes_and_others_do_not():
    recipe = small_recipe()
    recipe = dataclasses.replace(recipe, network={**recipe.network, "dropout": 0.0})
    results = []
    for seeds in ((1, 2), (1, 2), (1, 3)):
        state = state_of(recipe)
        learn(state, member_data_of(recipe), count=3, seeds=seeds)
        results.append(copy_of(state))
    same = [all(torch.equal(results[0][name], other[name]) for name in other) for other in results[1:]]
    assert same == [True, False]


@pytest.mark.parametrize("name", ["butt-2020", "se-resnet"])
def test_a_network_without_a_beat_has_no_passes(name):
    recipe = get_recipe(name)
    state = TrainingState(new_model(recipe, 24), recipe)
    state.start_phase(PHASE)
    before = copy_of(state)
    assert beat_reader(state.model) is None
    learn(state, member_data_of(recipe, count=16), count=4, batches=1)
    assert not changed(state, before)


def test_a_network_with_a_second_head_has_passes_too():
    recipe = small_recipe()
    recipe = dataclasses.replace(recipe, network={**recipe.network, "decision_head": 4})
    state, data = state_of(recipe), member_data_of(recipe)
    assert any(isinstance(module, DecisionHead) for module in state.model.modules())
    before = copy_of(state)
    learn(state, data, count=2)
    assert changed(state, before) and all(".beat." in f".{name}" for name in changed(state, before))


@pytest.mark.slow
def test_a_killed_training_goes_on_with_the_same_passes(tmp_path):
    recipe = small_recipe(beat_epochs=6)
    data = member_data_of(recipe)

    def train(folder, **options):
        folder.mkdir(exist_ok=True)
        return train_member(
            data.data,
            data.labels,
            data.train_rows,
            data.validation_rows,
            recipe,
            data.classes,
            seed=0,
            member=0,
            checkpoint=folder / "c",
            log=lambda _: None,
            **options,
        )

    class KilledError(Exception):
        pass

    def kill(history):
        if len(history) == 1:
            raise KilledError

    whole = train(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tmp_path / "killed", after_epoch=kill)
    resumed = train(tmp_path / "killed")
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
