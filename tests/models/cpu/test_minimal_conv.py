"""Minimal filtering against the filter itself in double precision, forwards and backwards."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from twelvelead.models.cpu import buffers, minimal_conv
from twelvelead.models.cpu.minimal_conv import MinimalConv, ScoringConv, gains_from_minimal_filtering
from twelvelead.models.cpu.winograd import DEEP_SCORING_OUTPUTS, SCORING_OUTPUTS, TRAINING_OUTPUTS, transforms


@pytest.mark.parametrize(
    "taps, count", sorted({*TRAINING_OUTPUTS.items(), *SCORING_OUTPUTS.items(), *DEEP_SCORING_OUTPUTS.items()})
)
def test_minimal_filtering_is_the_filter(taps, count):
    of_outputs, of_taps, of_inputs = transforms(taps, count)
    samples = count + taps - 1
    shapes = of_outputs.shape, of_taps.shape, of_inputs.shape
    assert shapes == ((count, samples), (samples, taps), (samples, samples))
    rng = np.random.default_rng(0)
    weights, signal = rng.standard_normal(taps), rng.standard_normal(samples)
    expected = np.correlate(signal, weights)
    np.testing.assert_allclose(of_outputs @ ((of_taps @ weights) * (of_inputs @ signal)), expected, atol=1e-8)


def convolutions(taps: int, padding: int, bias: bool = True) -> tuple[MinimalConv, torch.nn.Conv2d]:
    """One by minimal filtering, and torch's in double precision with the same weights."""
    torch.manual_seed(0)
    direct = torch.nn.Conv2d(100, 90, (1, taps), padding=(0, padding), bias=bias)
    assert gains_from_minimal_filtering(direct)
    return MinimalConv(copy.deepcopy(direct)), direct.double()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.detach() - expected.detach()).abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize(
    "taps, padding, batch, time",
    [
        (taps, padding, batch, time)
        for taps, padding in ((3, 1), (5, 2), (7, 3), (5, 0), (7, 0))
        for batch, time in ((1, 1), (1, 3), (2, 8), (3, 13), (1, 7), (2, 14), (2, 66), (2, 1280))
        if time + 2 * padding >= taps
    ],
)
def test_minimal_filtering_gives_the_convolution_and_its_gradients(taps, padding, batch, time):
    conv, direct = convolutions(taps, padding)
    signal = torch.randn(batch, 100, 1, time)
    for x in (signal, signal.contiguous(memory_format=torch.channels_last)):
        conv.zero_grad()
        direct.zero_grad()
        ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
        out, expected = conv(ours), direct(theirs)
        gradient = torch.randn(out.shape)
        out.backward(gradient)
        expected.backward(gradient.double())
        assert relative_error(out, expected) < 1e-4
        assert relative_error(ours.grad, theirs.grad) < 1e-4
        assert relative_error(conv.weight.grad, direct.weight.grad) < 1e-4
        assert relative_error(conv.bias.grad, direct.bias.grad) < 1e-5
        with torch.inference_mode():
            assert relative_error(ScoringConv(conv)(x), expected) < 1e-4


@pytest.mark.parametrize("working_set, largest_kept", [(1, 2**22), (2**19, 0), (1, 0)])
def test_minimal_filtering_in_parts_and_without_kept_buffers(working_set, largest_kept, monkeypatch):
    conv, _ = convolutions(7, 3)
    conv.padding = (0, 0)  # with 54 samples no zeros are added, neither at the ends nor for the last tile
    x, gradient = torch.randn(5, 100, 1, 54), torch.randn(5, 90, 1, 48)

    def results() -> list[torch.Tensor]:
        signal = x.clone().requires_grad_()
        conv.zero_grad()
        out = conv(signal)
        out.backward(gradient)
        return [out.detach(), signal.grad, conv.weight.grad.clone()]

    before = results()
    minimal_conv.tiled_convolution.cache_clear()
    monkeypatch.setattr(minimal_conv, "WORKING_SET", working_set)
    monkeypatch.setattr(buffers, "LARGEST_KEPT", largest_kept)
    monkeypatch.setattr(minimal_conv, "buffer", buffers.Buffers())
    try:
        for found, expected in zip(results(), before):
            assert relative_error(found, expected) < 1e-4
    finally:
        minimal_conv.tiled_convolution.cache_clear()


def test_scoring_leaves_its_buffers_to_training():
    """A tensor that was made in inference mode could not be written to afterwards."""
    conv, _ = convolutions(7, 3)
    with torch.inference_mode():
        conv(torch.randn(1, 100, 1, 777))
    conv(torch.randn(1, 100, 1, 777)).relu_().sum().backward()  # the output may be changed in place
    assert conv.weight.grad.isfinite().all()


def test_a_convolution_without_bias_and_without_gradient_of_its_input():
    conv, direct = convolutions(7, 3, bias=False)
    x = torch.randn(2, 100, 1, 40)
    conv(x).square().sum().backward()
    direct(x.double()).square().sum().backward()
    assert relative_error(conv.weight.grad, direct.weight.grad) < 1e-4
    assert relative_error(ScoringConv(conv)(x), direct(x.double())) < 1e-4


def test_a_signal_shorter_than_the_filter_is_torchs_error():
    conv, _ = convolutions(7, 0)
    with pytest.raises(RuntimeError, match="size"):
        conv(torch.randn(1, 100, 1, 6))


def test_other_numbers_than_float32_take_the_direct_convolution():
    conv, direct = convolutions(7, 3)
    x = torch.randn(2, 100, 1, 40, dtype=torch.float64)
    assert torch.equal(conv.double()(x), direct(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv.float()(x.float()).dtype == torch.bfloat16
