"""What every network is wrapped in: folded batch norms, standardised channels, estimated leads, a second head."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import network, used

from twelvelead import models
from twelvelead.data.classes import classes_for, load_weights
from twelvelead.models.layers import ConvNorm, ConvNormReLU
from twelvelead.models.network import DecisionHead, FilledLeads, Standardised, accelerated, fuse, new_model
from twelvelead.recipes import get_recipe

TABLE_2021 = Path(__file__).resolve().parents[3] / "shared" / "reference" / "weights-2021.csv"


@pytest.mark.parametrize("name", models.names())
def test_folding_batch_norm_keeps_the_scores(name):
    model = used(network(name))
    x, valid = torch.randn(2, 12, 300), torch.ones(2, 300, dtype=torch.bool)
    with torch.no_grad():
        before = torch.sigmoid(model(x, valid))
        after = torch.sigmoid(fuse(model)(x, valid))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert not [m for m in model.modules() if isinstance(m, (ConvNorm, ConvNormReLU)) and m.norm is not None]


def test_a_standardised_network_sees_standardised_channels():
    torch.manual_seed(0)
    inner = network("butt").eval()
    model = Standardised(inner, 12)
    x, valid = torch.randn(2, 12, 320) * 3 + 7, torch.ones(2, 320, dtype=torch.bool)
    valid[0, 300:] = False
    with torch.no_grad():
        torch.testing.assert_close(model(x, valid), inner(x, valid))  # nothing is known yet
        model.mean.copy_(x.mean((0, 2))[:, None])
        model.deviation.copy_(x.std((0, 2))[:, None])
        expected = inner((x - x.mean((0, 2))[:, None]) / x.std((0, 2))[:, None], valid)
        torch.testing.assert_close(model(x, valid), expected)
        torch.testing.assert_close(fuse(model)(x, valid), expected, rtol=1e-4, atol=1e-4)
    assert {"mean", "deviation"} <= set(model.state_dict())  # they are kept with the weights


# crnn fills recordings up with zeros that count as signal, so its input may not be standardised
@pytest.mark.parametrize("name", sorted({*models.names()} - {"crnn"}))
def test_padding_does_not_count_in_a_standardised_network(name):
    """Padding of zeros is no longer zero once the mean is subtracted."""
    model = Standardised(used(network(name)), 12)
    model.mean.fill_(0.7)
    model.deviation.fill_(1.3)
    x, valid = torch.randn(1, 12, 333), torch.ones(1, 640, dtype=torch.bool)
    valid[:, 333:] = False
    with torch.no_grad():
        alone, padded = model(x), model(torch.nn.functional.pad(x, (0, 307)), valid)
    torch.testing.assert_close(alone, padded, rtol=0, atol=1e-4)


class Identity(torch.nn.Module):
    """Returns the signals that a network is given."""

    def forward(self, x, valid=None, metadata=None):
        return x


def of_a_dipole(batch=4, time=500, seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """Signals of twelve leads that are projections of a heart vector of three dimensions, and their covariance."""
    rng = np.random.default_rng(seed)
    view = rng.normal(size=(12, 3))
    x = np.einsum("ld,bdt->blt", view, rng.normal(size=(batch, 3, time)))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(view @ view.T, dtype=torch.float32)


@pytest.mark.parametrize("missing", [[7], [6, 7, 8, 9, 10, 11], [0, 3, 8], list(range(1, 12)), list(range(3, 12))])
def test_missing_leads_are_the_best_linear_estimate_from_the_others(missing):
    """Against Σ_mp (Σ_pp + ridge)⁻¹ in numpy. Three leads determine a heart vector, and so the other leads."""
    x, covariance = of_a_dipole()
    model = FilledLeads(Identity(), 12)
    model.covariance.copy_(covariance)
    present = [lead for lead in range(12) if lead not in missing]
    part = x.clone()
    part[:, missing] = 0
    filled = model(part)
    assert torch.equal(filled[:, present], x[:, present])
    sigma = covariance.double().numpy()
    ridge = 1e-3 * np.diag(sigma).mean() * np.eye(len(present))
    weights = sigma[np.ix_(missing, present)] @ np.linalg.inv(sigma[np.ix_(present, present)] + ridge)
    np.testing.assert_allclose(filled[:, missing], weights @ part[:, present].double().numpy(), atol=2e-3)
    if len(present) >= 3:
        assert float((filled - x)[:, missing].square().mean()) < 0.02 * float(x.square().mean())


@pytest.mark.parametrize("name", models.names())
def test_filled_leads_depend_on_neither_padding_nor_company(name):
    inner = used(network(name))
    model = FilledLeads(inner, 12)
    model.covariance.copy_(of_a_dipole()[1])
    x, valid = torch.randn(4, 12, 640), torch.ones(4, 640, dtype=torch.bool)
    x[1, 4:], x[2] = 0, 0  # a recording with four leads, one with none
    valid[3, 400:] = False
    x = torch.where(valid[:, None], x, 0.0)
    with torch.no_grad():
        batch = model(x, valid)
        assert batch.isfinite().all() and torch.equal(model(x[3:], valid[3:]), inner(x[3:], valid[3:]))
        for row in range(4):
            torch.testing.assert_close(
                model(x[row : row + 1], valid[row : row + 1]), batch[row : row + 1], rtol=0, atol=1e-4
            )
        torch.testing.assert_close(model(x[3:, :, :400]), batch[3:], rtol=0, atol=1e-4)


def test_missing_leads_stay_zero_in_padding_and_without_covariance():
    model = FilledLeads(Identity(), 12)  # its covariance is the identity: the leads are unrelated
    x = torch.randn(2, 12, 100)
    x[:, 5], x[0, :, 60:] = 0, 0
    assert torch.equal(model(x), x)
    model.covariance.copy_(of_a_dipole()[1])
    filled = model(x)
    assert not filled[0, :, 60:].any() and filled[0, 5, :60].any() and filled[1, 5].any()


# ------------------------------------------------------------------------------------------------------- a second head


def with_decisions(name="butt"):
    torch.manual_seed(0)
    return DecisionHead(network(name), 24, 16)


def test_a_second_head_is_the_formula_of_its_description():
    """sigmoid(Linear(LeakyReLU(BN(Linear(y))))) with y the first head's logits."""
    model = used(with_decisions())
    x = torch.randn(3, 12, 320)
    with torch.no_grad():
        logits = model.network(x)
        hidden = logits @ model.hidden.conv.weight[:, :, 0, 0].T
        norm = model.hidden.norm
        hidden = (hidden - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias
        expected = model.head(torch.where(hidden > 0, hidden, 0.01 * hidden))
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", models.names())
def test_in_training_there_are_two_heads_and_the_second_moves_nothing_before_it(name):
    model = with_decisions(name).train()
    x, valid = torch.randn(4, 12, 320), torch.ones(4, 320, dtype=torch.bool)
    both = model(x, valid)
    assert both.shape == (4, 2, 24)
    both[:, 1].square().sum().backward(retain_graph=True)
    assert not any(p.grad is not None and p.grad.any() for p in model.network.parameters())
    assert all(p.grad.any() for part in (model.hidden, model.head) for p in part.parameters())
    both[:, 0].square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.network.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", models.names())
def test_a_second_head_survives_what_makes_a_cpu_fast(name, training):
    model, x = used(with_decisions(name)), torch.randn(2, 12, 640)
    with torch.no_grad():
        expected = torch.sigmoid(model(x))
        if not training:
            fuse(model)
        fast = accelerated(model, training=training)
        torch.testing.assert_close(torch.sigmoid(fast(x)), expected, rtol=0, atol=1e-5)


def test_a_batch_of_one_recording_trains_a_second_head_with_the_running_statistics():
    model = used(with_decisions()).train()
    before = {name: value.clone() for name, value in model.hidden.named_buffers()}
    model(torch.randn(1, 12, 320))[:, 1].sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.hidden.named_buffers())
    assert model.head.weight.grad is not None and model.head.weight.grad.isfinite().all()


def test_a_recipe_gives_any_network_a_second_head():
    recipe = get_recipe("butt").scaled(width=4)
    plain = new_model(recipe, 24)
    recipe = dataclasses.replace(recipe, network={**recipe.network, "decision_head": 32})
    model = new_model(recipe, 24)
    more = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more == 24 * 32 + 2 * 32 + 32 * 24 + 24
    assert model.eval()(torch.randn(2, 12, 300)).shape == (2, 24)


def test_with_the_table_of_2021_a_recipe_has_26_classes():
    if not TABLE_2021.is_file():
        pytest.skip(f"needs {TABLE_2021}")
    classes = classes_for("challenge", load_weights(TABLE_2021))
    model = new_model(get_recipe("isibrno-2021").scaled(width=8), len(classes.codes)).eval()
    assert model(torch.randn(1, 12, 1000)).shape == (1, 26)


def test_rr_numbers_reach_the_network_that_uses_metadata_and_no_other_minds_them():
    recipe = get_recipe("butt").scaled(width=4)
    assert recipe.input.rr_numbers
    without = dataclasses.replace(recipe, network={**recipe.network, "metadata_features": 0})
    for changed, uses_them in ((recipe, True), (without, False)):
        torch.manual_seed(0)
        model = new_model(changed, 24).eval()
        x, metadata = torch.randn(2, 12, 640), torch.zeros(2, recipe.input.network_numbers)
        with torch.no_grad():
            unknown = model(x, None, metadata)
            torch.testing.assert_close(model(x), unknown)
            metadata[:, 7:13] = 1.0
            assert torch.allclose(model(x, None, metadata), unknown) != uses_them
