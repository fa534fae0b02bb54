"""The networks: their size, their masks, what they are made of. Tests walk the registry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twelvelead import models
from twelvelead.errors import UserError
from twelvelead.models.layers import MaskedBatchNorm, fuse

SMALL = {"butt": dict(width=4, levels=6)}


def network(name: str, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, leads=12, classes=24, **{**SMALL[name], **options})


def used(model: torch.nn.Module) -> torch.nn.Module:
    """The model after a training batch, so that its batch-norm statistics are not the initial ones."""
    model.train()
    model(torch.randn(8, 12, 640) * 3 + 1)
    return model.eval()


def test_every_registered_network_is_tested():
    assert set(SMALL) == set(models.names())


def test_an_unknown_network_or_option_names_what_exists():
    with pytest.raises(UserError, match="butt"):
        models.build("resnet9000", leads=12, classes=24)
    with pytest.raises(UserError, match="colour"):
        models.build("butt", leads=12, classes=24, colour=3)


def test_butt_has_the_parameters_of_the_description():
    """Counted from the text of the paper: stem, levels, top, units; weights, biases, batch norm's two each."""
    def described(n, leads=12, classes=24, levels=6, convolutions=3, f=7):
        def conv(a, b):
            return a * b * f + b + 2 * b
        total, channels = conv(leads, n), n
        for i in range(1, levels + 1):
            total += conv(channels, i * n) + (convolutions - 1) * conv(i * n, i * n)
            channels = n + 2 * i * n  # global skip, output, input of the second convolution
        return total + conv(channels, levels * n) + levels * n * classes + classes

    for n in (12, 30, 48):
        count = sum(p.numel() for p in models.build("butt", leads=12, classes=24, width=n).parameters())
        assert count == described(n)
    assert round(described(30) / 1e6, 2) == 2.67 and round(described(48) / 1e6, 1) == 6.8


@pytest.mark.parametrize("name", models.names())
def test_scores_depend_on_neither_padding_nor_company(name):
    model = used(network(name))
    lengths = [640, 1, 63, 64, 65, 333, 639]
    x, valid = torch.randn(len(lengths), 12, 640), torch.zeros(len(lengths), 640, dtype=torch.bool)
    for row, length in enumerate(lengths):
        valid[row, :length] = True
    valid[5, 100:140] = False  # samples missing in the middle
    with torch.no_grad():
        batch = torch.sigmoid(model(x, valid))
        for row, length in enumerate(lengths):
            alone = torch.sigmoid(model(x[row:row + 1, :, :length], valid[row:row + 1, :length]))
            padded = torch.sigmoid(model(torch.nn.functional.pad(x[row:row + 1, :, :length], (0, 977), value=9.0),
                                         torch.nn.functional.pad(valid[row:row + 1, :length], (0, 977))))
            assert (alone - batch[row]).abs().max() < 1e-5 and (padded - batch[row]).abs().max() < 1e-5
        assert (batch[0] - batch[6]).abs().max() > 1e-5  # the test can tell recordings apart


@pytest.mark.parametrize("name", models.names())
def test_what_stands_in_invalid_samples_does_not_matter(name):
    model = used(network(name))
    x, valid = torch.randn(2, 12, 300), torch.ones(2, 300, dtype=torch.bool)
    valid[0, 250:] = valid[1, 40:60] = False
    y = torch.where(valid[:, None], x, torch.full_like(x, 1e4))
    with torch.no_grad():
        assert torch.equal(model(x, valid), model(y, valid))


@pytest.mark.parametrize("name", models.names())
def test_a_mask_that_hides_nothing_changes_nothing(name):
    model = used(network(name))
    x = torch.randn(2, 12, 640)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x, torch.ones(2, 640, dtype=torch.bool)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", models.names())
def test_padding_changes_neither_gradients_nor_batch_statistics_in_training(name):
    def trained(padding):
        model = network(name).train()
        torch.manual_seed(1)
        x, valid = torch.randn(4, 12, 320), torch.ones(4, 320, dtype=torch.bool)
        x, valid = torch.nn.functional.pad(x, (0, padding), value=5.0), torch.nn.functional.pad(valid, (0, padding))
        model(x, valid if padding else None).square().sum().backward()
        return model

    plain, padded = trained(0), trained(256)
    for (label, a), b in zip(plain.named_parameters(), padded.parameters()):
        scale = float(a.grad.abs().max()) + 0.05  # the bias before a batch norm has no gradient but rounding
        assert float((a.grad - b.grad).abs().max()) < 0.02 * scale, label
    for (label, a), b in zip(plain.named_buffers(), padded.buffers()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=label)


@pytest.mark.parametrize("name", models.names())
def test_every_parameter_has_a_gradient(name):
    model = network(name).train()
    model(torch.randn(4, 12, 640)).square().sum().backward()
    assert [label for label, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_masked_batch_norm_is_batch_norm_of_the_valid_samples():
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(5), torch.nn.BatchNorm1d(5)
    x = torch.randn(3, 5, 1, 50) * 4 + 2
    valid = (torch.rand(3, 1, 1, 50) > 0.3).float()
    out = ours.train()(x, valid)
    columns = x.permute(0, 2, 3, 1)[valid[:, 0].bool()]  # valid samples, channels
    expected = theirs.train()(columns)
    torch.testing.assert_close(out.permute(0, 2, 3, 1)[valid[:, 0].bool()], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_the_head_is_independent_for_each_class():
    model = network("butt").train()
    logits = model(torch.randn(2, 12, 128))
    logits[:, 3].sum().backward()
    touched = model.head.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [k == 3 for k in range(24)]


def test_global_skip_reaches_every_level():
    """With all convolutions of the levels silenced, the stem's signal still reaches the top."""
    model = network("butt").eval()
    for level in model.levels:
        for convolution in level.convolutions:
            torch.nn.init.zeros_(convolution.conv.weight)
            torch.nn.init.constant_(convolution.norm.bias, -1.0)
    x = torch.randn(1, 12, 128)
    assert (model(x) - model(2 * x)).abs().max() > 1e-6


@pytest.mark.parametrize("name", models.names())
def test_folding_batch_norm_keeps_the_scores(name):
    model = used(network(name))
    x, valid = torch.randn(2, 12, 300), torch.ones(2, 300, dtype=torch.bool)
    with torch.no_grad():
        before = torch.sigmoid(model(x, valid))
        after = torch.sigmoid(fuse(model)(x, valid))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert not [m for m in model.modules() if isinstance(m, MaskedBatchNorm)]
