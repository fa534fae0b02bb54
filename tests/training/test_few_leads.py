"""Scores of recordings with few leads get the meaning of those of twelve leads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twelvelead.data.classes import WEIGHTS, classes_for, load_weights
from twelvelead.inference.predict import predict, stack
from twelvelead.models.network import FewLeadLines, new_model
from twelvelead.preprocessing.prepare import Prepared
from twelvelead.recipes import Input, get_recipe
from twelvelead.training.few_leads import fit_few_lead_lines
from twelvelead.training.member import train_member

CLASSES = 3
SPEC = Input(frequency_hz=125)


class OfALimbLead(torch.nn.Module):
    """Logits from a limb lead. Without V2 class 1 lacks 2, and class 2 half; with V2 alone class 0 has 1 more."""

    def forward(self, x, valid=None, metadata=None):
        limb, chest = x[:, 0].mean(dim=1), (x[:, 6:] != 0).any(dim=2)
        has_v2, v2_alone = chest[:, 1], chest[:, 1] & (chest.sum(dim=1) == 1)
        return torch.stack([limb + v2_alone, limb + 2 * has_v2, limb * (1 + has_v2)], dim=1)


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


def with_chest_leads(data, kept: tuple[int, ...]):
    samples = data.samples.clone()
    samples[:, [lead for lead in range(6, 12) if lead not in kept]] = 0
    return dataclasses.replace(data, samples=samples)


def test_the_lines_give_back_the_scores_of_twelve_leads():
    data, rows = recordings(700), np.arange(50, 700)
    model = FewLeadLines(OfALimbLead(), CLASSES).eval()
    fit_few_lead_lines(model, data, rows, SPEC)
    np.testing.assert_allclose(model.lines.slope, [[1, 1, 2], [1, 1, 1]], atol=0.1)
    np.testing.assert_allclose(model.lines.intercept, [[0, 2, 0], [-1, 0, 0]], atol=0.1)
    new = recordings(50, seed=1)
    copies = (new, with_chest_leads(new, ()), with_chest_leads(new, (7,)))
    expected, none, one = (predict(model, each, np.arange(50), SPEC) for each in copies)
    np.testing.assert_allclose(none, expected, atol=0.03)
    np.testing.assert_allclose(one, expected, atol=0.03)
    plain = predict(model.network, new, np.arange(50), SPEC)
    assert np.array_equal(expected, plain)  # with more chest leads nothing is changed
    two = with_chest_leads(new, (7, 8))
    assert np.array_equal(*(predict(each, two, np.arange(50), SPEC) for each in (model, model.network)))


def test_a_few_recordings_move_the_lines_a_little():
    data = recordings(700)
    far, near = (FewLeadLines(OfALimbLead(), CLASSES).eval() for _ in range(2))
    fit_few_lead_lines(far, data, np.arange(700), SPEC)
    fit_few_lead_lines(near, data, np.arange(3), SPEC)
    assert 0 < float(near.lines.intercept[0, 1]) < 0.7 * float(far.lines.intercept[0, 1])


@pytest.mark.parametrize("rows", [[], [3, 4]])
def test_without_recordings_that_have_chest_leads_the_lines_change_nothing(rows):
    data = recordings(6, without_chest=(3, 4))
    model = FewLeadLines(OfALimbLead(), CLASSES).eval()
    model.lines.intercept.fill_(5)  # as of a model from which training started
    fit_few_lead_lines(model, data, np.array(rows, dtype=np.int64), SPEC)
    assert bool((model.lines.slope == 1).all()) and not model.lines.intercept.any()


def test_recordings_without_chest_leads_do_not_move_the_lines():
    data = recordings(40, without_chest=(3, 4, 5))
    some, all_rows = (FewLeadLines(OfALimbLead(), CLASSES).eval() for _ in range(2))
    fit_few_lead_lines(all_rows, data, np.arange(40), SPEC)
    fit_few_lead_lines(some, data, np.setdiff1d(np.arange(40), [3, 4, 5]), SPEC)
    torch.testing.assert_close(all_rows.lines.intercept, some.lines.intercept)


def test_scores_that_are_no_numbers_leave_the_lines():
    class Broken(OfALimbLead):
        def forward(self, x, valid=None, metadata=None):
            return super().forward(x) * torch.nan

    model = FewLeadLines(Broken(), CLASSES).eval()
    fit_few_lead_lines(model, recordings(5), np.arange(5), SPEC)
    assert bool((model.lines.slope == 1).all())


def test_the_lines_take_no_part_in_training():
    model = FewLeadLines(OfALimbLead(), CLASSES)
    model.lines.intercept[0], model.lines.intercept[1] = 5, 3
    x = torch.randn(3, 12, 64)
    x[1, 6:], x[2, 6:11] = 0, 0
    assert torch.equal(model.train()(x), model.network(x))
    assert torch.equal(model.eval()(x), model.network(x) + torch.tensor([[0.0], [5.0], [3.0]]))
    assert not list(model.lines.parameters())


def test_a_network_of_other_channels_has_no_such_lines():
    recipe = get_recipe("butt")
    spec = dataclasses.replace(recipe.input, envelopes_hz=(5.0, 15.0), fill_leads=False, average_beat=False)
    with pytest.raises(TypeError, match="twelve leads"):
        new_model(dataclasses.replace(recipe, input=spec), 24)


@pytest.mark.slow
def test_a_trained_member_has_the_lines_of_its_validation_recordings(tmp_path):
    """They are those which fitting once more gives, and its scores are those of its weights."""
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
    assert float(trained.state["lines.intercept"].abs().max()) > 1e-3
    model = new_model(recipe, 24)
    model.load_state_dict(trained.state)
    np.testing.assert_allclose(predict(model.eval(), data, validation, spec), trained.scores, atol=1e-5)
    fit_few_lead_lines(model, data, validation, spec)
    torch.testing.assert_close(model.lines.intercept, trained.state["lines.intercept"], rtol=0, atol=1e-3)
