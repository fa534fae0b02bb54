"""S4 against its description, its convolution against sums, its state spaces against their recursion."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from small_networks import described, network, parameters, shapes, used

from twelvelead import models
from twelvelead.errors import UserError
from twelvelead.models.s4 import LongConvolution, StateSpace

MODULE = sys.modules[
    LongConvolution.__module__
]  # the name twelvelead.models.s4 is also that of the registered function


def test_s4_has_the_parameters_of_the_description():
    state_space = 512 + 2 * 512 * 4 + 2 * 512 * 4 * 2 + 512  # Δ; A; C in two directions; D
    layer = state_space + 512 * 1024 + 1024 + 2 * 512  # the layer of the GLU; layer norm
    assert parameters(described("s4", 12, 24)) == 12 * 512 + 512 + 4 * layer + 512 * 24 + 24 == 2_177_560


def test_s4_has_the_shapes_of_the_description():
    layers = ["mix", *(f"layers.{k}" for k in range(4)), "layers.3.mix", "head"]
    found = shapes(described("s4", 12, 24), layers, 12, 250)
    assert found == [(250, 512), (250, 512), (250, 512), (250, 512), (250, 1024), (250, 512), (24,)]


@pytest.mark.parametrize("options", [dict(states=3), dict(layers=0), dict(shortest_step=0.0), dict(longest_step=1e-4)])
def test_options_that_make_no_state_space_are_an_error(options):
    with pytest.raises(UserError, match="s4"):
        models.build("s4", leads=12, classes=24, **options)


@pytest.mark.parametrize("time", [1, 2, 7, 60])
@pytest.mark.parametrize("part", [1, 10**9])
def test_the_long_convolution_is_a_sum_over_all_samples(time, part, monkeypatch):
    monkeypatch.setattr(MODULE, "WORKING_SET", part)
    rng = np.random.default_rng(time)
    size = 2 * time + 3
    x, kernel = rng.normal(size=(3, time, 4)), rng.normal(size=(4, size))
    expected = np.zeros_like(x)
    for t in range(time):
        for other in range(time):  # a negative place counts from the kernel's end
            expected[:, t] += kernel[:, t - other] * x[:, other]
    found = LongConvolution.apply(torch.from_numpy(x), torch.from_numpy(kernel))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [18, 21])  # the spectra of even and of odd sizes end differently
@pytest.mark.parametrize("part", [1, 100, 10**9])
def test_the_long_convolution_has_the_right_derivative(size, part, monkeypatch):
    monkeypatch.setattr(MODULE, "WORKING_SET", part)
    x = torch.randn(3, 9, 2, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LongConvolution.apply, (x, kernel))
    assert torch.autograd.gradcheck(lambda x, k: LongConvolution.apply(x, k).transpose(1, 2).cumsum(2), (x, kernel))


def random_state_space(channels=5, states=8):
    torch.manual_seed(1)
    model = StateSpace(channels, states, 1e-3, 0.1)
    with torch.no_grad():
        for parameter in (model.log_decay, model.frequency):
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def test_a_state_space_is_its_recursion_in_both_directions():
    """h[t] = exp(ΔA) h[t−1] + (exp(ΔA) − 1) / A · x[t], y = 2 Re(C h) + D x; backwards it starts at the next sample."""
    model, time = random_state_space(), 90
    x = torch.randn(2, time, 5)
    values = {name: tensor.detach().double().numpy() for name, tensor in model.named_parameters()}
    poles = -np.exp(values["log_decay"]) + 1j * values["frequency"]
    step = np.exp(values["log_step"])[:, None]
    keep, take = np.exp(step * poles), (np.exp(step * poles) - 1) / poles
    out = values["out"][..., 0] + 1j * values["out"][..., 1]
    inputs = x.double().numpy()
    expected = values["direct"] * inputs
    state = np.zeros((2, 5, 4), dtype=complex)
    for t in range(time):
        state = keep * state + take * inputs[:, t, :, None]
        expected[:, t] += 2 * (out[0] * state).sum(axis=2).real
    state[:] = 0
    for t in range(time - 2, -1, -1):
        state = keep * state + take * inputs[:, t + 1, :, None]
        expected[:, t] += 2 * (out[1] * state).sum(axis=2).real
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-4)


def test_a_new_state_space_has_the_poles_and_steps_of_s4d_lin():
    torch.manual_seed(0)
    model = StateSpace(4000, 8, 1e-3, 0.1)
    np.testing.assert_allclose(-model.log_decay.exp().detach(), -0.5, rtol=1e-6)
    assert torch.equal(model.frequency, (math.pi * torch.arange(4.0)).expand(4000, 4))
    steps = model.log_step.detach().exp()
    assert 1e-3 <= steps.min() < 1.1e-3 and 0.09 < steps.max() <= 0.1
    assert float(steps.log().mean()) == pytest.approx(math.log(1e-2), abs=0.1)
    assert float(model.out.detach().square().sum(dim=3).mean()) == pytest.approx(
        1, abs=0.05
    )  # complex numbers of variance 1


def test_state_spaces_compute_in_float32_under_autocast():
    model = random_state_space()
    x = torch.randn(2, 300, 5)
    with torch.no_grad():
        plain = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(x)
    assert found.dtype == torch.float32 and torch.equal(found, plain)


def test_dropout_takes_a_channel_of_a_recording_at_all_times_together():
    layer = network("s4", width=64).layers[0].train()
    with torch.no_grad():
        layer.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        seen: list[torch.Tensor] = []
        x = torch.randn(50, 20, 64)
        layer(x, None)
    dropped = (seen[0] - x) == 0
    assert torch.equal(dropped.any(dim=1), dropped.all(dim=1))
    assert 0.15 < float(dropped.float().mean()) < 0.25


def test_a_score_in_a_batch_of_long_recordings_is_that_of_the_recording_alone():
    model = used(network("s4", width=24))
    x, valid = torch.randn(3, 12, 3000), torch.ones(3, 3000, dtype=torch.bool)
    valid[0, 250:] = False
    with torch.no_grad():
        together, alone = torch.sigmoid(model(x, valid)), torch.sigmoid(model(x[:1, :, :250]))
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)
