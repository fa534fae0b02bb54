"""Scores of recordings without chest leads get the meaning of those of twelve leads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.inference.predict import predict, stack
from twelvelead.models.network import LimbLeadLine, new_model
from twelvelead.preprocessing.prepare import Prepared
from twelvelead.recipes import Input, get_recipe
from twelvelead.training.limb_leads import fit_limb_lead_line
from twelvelead.training.member import train_member

CLASSES = 3
SPEC = Input(frequency_hz=125)


class MeanOfLeads(torch.nn.Module):
    """Logits from the mean of a limb and of a chest lead. Without the chest lead class 1 lacks 2, and class 2 half."""

    def forward(self, x, valid=None, metadata=None):
        limb, chest = x[:, 0].mean(dim=1), x[:, 6].mean(dim=1)
        has_chest = (x[:, 6] != 0).any(dim=1)
        return torch.stack([limb, limb + 2 * has_chest, limb * (1 + has_chest) + 0 * chest], dim=1)


def recordings(count: int, seed: int = 0, seconds: float = 2.0, without_chest: tuple[int, ...] = ()):
    rng = np.random.default_rng(seed)
    items = []
    for row in range(count):
        samples = int(125 * seconds * rng.uniform(0.8, 1.2))
        signal = np.repeat(rng.normal(size=(12, 1)), samples, axis=1).astype(np.float32)
        if row in without_chest:
            signal[6:] = 0
        items.append(Prepared(signal, np.ones(12, dtype=bool), np.ones(samples, dtype=bool)))
    return stack(items, torch.device("cpu"))


def without_chest_leads(data):
    samples = data.samples.clone()
    samples[:, 6:] = 0
    return dataclasses.replace(data, samples=samples)


def test_the_line_gives_back_the_scores_of_twelve_leads():
    data, rows = recordings(700), np.arange(50, 700)
    model = LimbLeadLine(MeanOfLeads(), CLASSES).eval()
    fit_limb_lead_line(model, data, rows, SPEC)
    np.testing.assert_allclose(model.line.slope, [1, 1, 2], atol=0.1)
    np.testing.assert_allclose(model.line.intercept, [0, 2, 0], atol=0.1)
    new = recordings(50, seed=1)
    expected, few = (predict(model, each, np.arange(50), SPEC) for each in (new, without_chest_leads(new)))
    np.testing.assert_allclose(few, expected, atol=0.03)
    plain = predict(model.network, new, np.arange(50), SPEC)
    assert np.array_equal(expected, plain)  # with chest leads nothing is changed


def test_a_few_recordings_move_the_line_a_little():
    data = recordings(700)
    far, near = (LimbLeadLine(MeanOfLeads(), CLASSES).eval() for _ in range(2))
    fit_limb_lead_line(far, data, np.arange(700), SPEC)
    fit_limb_lead_line(near, data, np.arange(3), SPEC)
    assert 0 < float(near.line.intercept[1]) < 0.7 * float(far.line.intercept[1])


@pytest.mark.parametrize("rows", [[], [3, 4]])
def test_without_recordings_that_have_chest_leads_the_line_changes_nothing(rows):
    data = recordings(6, without_chest=(3, 4))
    model = LimbLeadLine(MeanOfLeads(), CLASSES).eval()
    model.line.intercept.fill_(5)  # as of a model from which training started
    fit_limb_lead_line(model, data, np.array(rows, dtype=np.int64), SPEC)
    assert model.line.slope.tolist() == [1, 1, 1] and model.line.intercept.tolist() == [0, 0, 0]


def test_recordings_without_chest_leads_do_not_move_the_line():
    data = recordings(40, without_chest=(3, 4, 5))
    some, all_rows = (LimbLeadLine(MeanOfLeads(), CLASSES).eval() for _ in range(2))
    fit_limb_lead_line(all_rows, data, np.arange(40), SPEC)
    fit_limb_lead_line(some, data, np.setdiff1d(np.arange(40), [3, 4, 5]), SPEC)
    torch.testing.assert_close(all_rows.line.intercept, some.line.intercept)


def test_scores_that_are_no_numbers_leave_the_line():
    class Broken(MeanOfLeads):
        def forward(self, x, valid=None, metadata=None):
            return super().forward(x) * torch.nan

    model = LimbLeadLine(Broken(), CLASSES).eval()
    fit_limb_lead_line(model, recordings(5), np.arange(5), SPEC)
    assert model.line.slope.tolist() == [1, 1, 1]


def test_the_line_takes_no_part_in_training():
    model = LimbLeadLine(MeanOfLeads(), CLASSES)
    model.line.intercept.fill_(5)
    x = torch.randn(2, 12, 64)
    x[1, 6:] = 0
    assert torch.equal(model.train()(x), model.network(x))
    assert torch.equal(model.eval()(x), model.network(x) + torch.tensor([[0.0], [5.0]]))
    assert not list(model.line.parameters())


def test_a_network_of_other_channels_has_no_such_line():
    recipe = get_recipe("butt")
    spec = dataclasses.replace(recipe.input, envelopes_hz=(5.0, 15.0), fill_leads=False, average_beat=False)
    with pytest.raises(TypeError, match="twelve leads"):
        new_model(dataclasses.replace(recipe, input=spec), 24)


@pytest.mark.slow
def test_a_trained_member_has_the_line_of_its_validation_recordings(tmp_path):
    """Its own copy of the line is that which fitting once more gives, and its scores are those of its weights."""
    recipe = get_recipe("butt").scaled(epochs=1, width=2)
    recipe = dataclasses.replace(recipe, network={**recipe.network, "beat_width": 4, "beat_features": 4})
    spec, rng = recipe.input, np.random.default_rng(0)
    items = []
    for _ in range(64):
        signal = rng.normal(size=(12, 640)).astype(np.float32)
        metadata = rng.normal(size=spec.metadata_numbers).astype(np.float32)
        items.append(Prepared(signal, np.ones(12, dtype=bool), np.ones(640, dtype=bool), metadata))
    data, labels = stack(items, torch.device("cpu")), rng.random((64, 24)) < 0.3
    classes = classes_for("challenge", load_weights(WEIGHTS))
    train, validation = np.arange(40), np.arange(40, 64)
    trained = train_member(
        data,
        labels,
        train,
        validation,
        recipe,
        classes,
        seed=0,
        member=0,
        checkpoint=tmp_path / "c",
        log=lambda _: None,
    )
    assert float(trained.state["line.intercept"].abs().max()) > 1e-3
    model = new_model(recipe, 24)
    model.load_state_dict(trained.state)
    np.testing.assert_allclose(predict(model.eval(), data, validation, spec), trained.scores, atol=1e-5)
    fit_limb_lead_line(model, data, validation, spec)
    torch.testing.assert_close(model.line.intercept, trained.state["line.intercept"], rtol=0, atol=1e-3)
