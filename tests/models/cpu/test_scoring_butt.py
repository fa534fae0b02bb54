"""The BUTT network for scoring against the network itself in double precision, however its work is cut up."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from small_networks import used

from twelvelead import models
from twelvelead.models.cpu import accelerate, buffers, scoring_layers
from twelvelead.models.cpu.butt import scoring_butt
from twelvelead.models.network import fuse

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows


def networks(**options) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The network in double precision, and the network for scoring with the same weights."""
    torch.manual_seed(0)
    model = used(models.build("butt", leads=12, classes=24, **options))
    return copy.deepcopy(model).double().eval(), accelerate(fuse(model.eval()), training=False)


@pytest.fixture(params=[True, False], ids=["numpy", "torch"])
def small_kernels(request, monkeypatch):
    """Whether numpy or torch multiplies the matrices."""
    monkeypatch.setattr(scoring_layers, "SMALL_KERNELS", request.param)


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize(
    "options",
    [
        dict(width=30),
        dict(width=8, kernel=3),
        dict(width=8, kernel=5, levels=2),
        dict(width=8, convolutions=1),
        dict(width=8, metadata_features=6),
    ],
    ids=str,
)
def test_the_scoring_network_gives_the_scores_of_the_network(options):
    model, ready = networks(**options)
    assert not any(isinstance(module, torch.nn.Conv2d) for module in ready.modules())
    metadata = torch.rand(3, 7)
    for time, lengths in ((640, (640, 640, 640)), (640, (640, 500, 1)), (633, (1, 2, 633)), (1, (1, 1, 1))):
        x, valid = torch.randn(3, 12, time), torch.arange(time)[None, :] < torch.tensor(lengths)[:, None]
        gaps = valid & (torch.rand(3, time) < 0.9)
        gaps[:, 0] = True
        for mask in (None, valid, gaps):
            expected = torch.sigmoid(model(x.double(), mask, metadata.double()))
            torch.testing.assert_close(torch.sigmoid(ready(x, mask, metadata)).double(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(torch.sigmoid(ready(x)).double(), torch.sigmoid(model(x.double())), rtol=0, atol=2e-5)


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize(
    "limits",
    [dict(WORKING_SET=1), dict(SMALL_PRODUCT=1), dict(WORKING_SET=2**16, SMALL_PRODUCT=2**12), dict()],
    ids=str,
)
def test_scores_do_not_depend_on_how_the_work_is_cut(limits, monkeypatch):
    _, ready = networks(width=30)
    signals = [torch.randn(batch, 12, time) for batch, time in ((1, 128), (5, 1250), (2, 64), (1, 128))]
    before = [ready(x) for x in signals]
    monkeypatch.setattr(buffers, "_workspaces", buffers.Workspaces())
    monkeypatch.setattr(buffers, "WORKSPACES_KEPT", 1 if not limits else 2**24)
    for name, value in limits.items():
        monkeypatch.setattr(scoring_layers, name, value)
    for x, expected in zip(signals, before):
        torch.testing.assert_close(ready(x), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
def test_scores_do_not_depend_on_what_was_scored_before_or_beside():
    """Buffers are used again, so nothing of another signal, not even NaN, may be left in them."""
    _, ready = networks(width=30)
    x, valid = torch.randn(4, 12, 1250), torch.arange(1250)[None, :] < torch.tensor([1250, 1250, 700, 3])[:, None]
    alone = [ready(x[k : k + 1], valid[k : k + 1]) for k in range(4)]
    for mask in (None, torch.rand(4, 1250) < 0.5):
        ready(torch.full((4, 12, 1250), torch.nan), mask)
        torch.testing.assert_close(ready(x, valid), torch.cat(alone), rtol=1e-5, atol=1e-5)
    with ThreadPoolExecutor(4) as threads:
        for k, found in enumerate(
            threads.map(
                lambda k: torch.inference_mode()(ready)(x[k % 4 : k % 4 + 1], valid[k % 4 : k % 4 + 1]), range(40)
            )
        ):
            assert torch.equal(found, alone[k % 4])


@torch.inference_mode()
def test_old_content_of_a_buffer_is_not_computed_with(monkeypatch):
    monkeypatch.setattr(scoring_layers, "SMALL_KERNELS", True)
    monkeypatch.setattr(scoring_layers, "SMALL_PRODUCT", 2**15)  # last chunks are not full
    _, ready = networks(width=30)
    x = torch.randn(1, 12, 1250)
    expected = ready(x)
    for memory in buffers.buffer.memory.values():
        memory.fill_(3e38)
    with np.errstate(all="raise", under="ignore"):
        assert torch.equal(ready(x), expected)


def test_an_unknown_kernel_or_batch_norm_leaves_the_network_as_it_is():
    model = fuse(models.build("butt", leads=12, classes=9, width=4, kernel=13).eval())
    assert scoring_butt(model) is None and accelerate(model, training=False) is model
    unfused = models.build("butt", leads=12, classes=9, width=4).eval()  # its batch normalisation would be lost
    assert scoring_butt(unfused) is None
