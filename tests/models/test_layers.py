"""The layers that know which samples exist, against torch's layers on the valid samples alone."""

from __future__ import annotations

import pytest
import torch

from twelvelead import models
from twelvelead.models.layers import ConvNorm, MaskedBatchNorm, halve, halve_mean


@pytest.mark.parametrize("relu", [False, True])
def test_masked_batch_norm_is_batch_norm_of_the_valid_samples(relu):
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(5).train(), torch.nn.BatchNorm1d(5).train()
    for norm in (ours, theirs):
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, 5))
            norm.bias.copy_(torch.linspace(-1, 1, 5))
    x = (torch.randn(3, 5, 1, 50) * 4 + 2).requires_grad_()
    valid = (torch.rand(3, 1, 1, 50) > 0.3).float()
    out = ours(x, valid, relu=relu)
    assert not out.permute(0, 2, 3, 1)[~valid[:, 0].bool()].any()
    columns = x.permute(0, 2, 3, 1)[valid[:, 0].bool()]  # valid samples, channels
    expected = torch.relu(theirs(columns)) if relu else theirs(columns)
    torch.testing.assert_close(out.permute(0, 2, 3, 1)[valid[:, 0].bool()], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    slope = torch.randn_like(out)
    masked = torch.autograd.grad((out * slope).sum(), [x, ours.weight, ours.bias])
    plain = torch.autograd.grad(
        (expected * slope.permute(0, 2, 3, 1)[valid[:, 0].bool()]).sum(), [x, theirs.weight, theirs.bias]
    )
    for one, other in zip(masked, plain):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "ours, theirs", [(halve, torch.nn.functional.max_pool2d), (halve_mean, torch.nn.functional.avg_pool2d)]
)
def test_halving_is_pooling_by_two(ours, theirs):
    x = torch.randn(2, 5, 1, 12).contiguous(memory_format=torch.channels_last)
    expected = theirs(x, (1, 2))
    assert torch.equal(ours(x), expected)
    with torch.no_grad():
        found = ours(x)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=torch.channels_last)


def test_one_tap_with_a_stride_is_the_strided_convolution_and_its_gradients():
    torch.manual_seed(0)
    layer, strided = ConvNorm(8, 16, 1, stride=2), torch.nn.Conv2d(8, 16, 1, stride=(1, 2), bias=False).double()
    layer.norm = None
    strided.load_state_dict(layer.conv.state_dict())
    x = torch.randn(32, 512, 8).transpose(1, 2).unsqueeze(2).requires_grad_()
    same = x.detach().double().requires_grad_()
    out, expected = layer(x), strided(same)
    slope = torch.randn_like(out)
    (out * slope).sum().backward()
    (expected * slope).sum().backward()
    for one, other in ((out, expected), (x.grad, same.grad), (layer.conv.weight.grad, strided.weight.grad)):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-3)


def test_no_architecture_has_a_strided_convolution_of_one_tap():
    """torch 2.13's derivative of one crashes on a CPU: fewer than 16 channels, several threads, certain batches."""
    for name in models.names():
        for module in models.build(name, leads=12, classes=24, width=4).modules():
            assert not isinstance(module, torch.nn.Conv2d) or module.kernel_size != (1, 1) or module.stride == (1, 1)
