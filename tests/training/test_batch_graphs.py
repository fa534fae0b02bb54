"""When a batch is recorded, and what a recorded pass is given. The GPU is played; in tests/test_cuda.py it is real."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import pytest
import torch

from twelvelead.training import batch_graphs
from twelvelead.training.batch_graphs import MULTIPLE, BatchGraphs, Part


def loss_of(x, valid, metadata, rows, share) -> torch.Tensor:
    """A number that depends on every input, and not on samples that are not valid."""
    mask = torch.ones(x[:, 0].shape, dtype=torch.bool) if valid is None else valid
    return ((x.square() * mask[:, None]).sum() + mask.sum() + metadata.sum() + (rows * 3).sum()) * share


class Gpu:
    """Counts passes that run kernel by kernel, and replays recorded ones by computing them again."""

    def __init__(self, can_record=lambda x: True):
        self.can_record, self.is_recording = can_record, False
        self.passes, self.recorded, self.replays = 0, 0, 0
        self.arguments: tuple = ()
        self.loss = torch.zeros(())

    def backward(self, loss_name, arguments):
        if not self.is_recording:
            self.passes += 1
            return loss_of(*arguments)
        if not self.can_record(arguments[0]):
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        self.arguments, self.loss = arguments, torch.full((), torch.nan)
        return self.loss

    @contextmanager
    def record(self, graph, **options):
        self.is_recording = True
        try:
            yield
        finally:
            self.is_recording = False
        self.recorded += 1
        graph.arguments, graph.loss, graph.gpu = self.arguments, self.loss, self


class Graph:
    def replay(self):
        self.gpu.replays += 1
        self.loss.copy_(loss_of(*self.arguments))


@pytest.fixture
def play(monkeypatch):
    """Makes a Gpu the one that batch_graphs.py uses."""

    def use(gpu: Gpu) -> BatchGraphs:
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", gpu.record)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        return BatchGraphs(gpu.backward)

    return use


def a_batch(seed: int, count: int = 4, time: int = 320, masked: bool = True) -> Part:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, time, 12, generator=generator).transpose(1, 2)  # as training.batches.gather lays it
    valid = torch.rand(count, time, generator=generator) < 0.9
    x = torch.where(valid[:, None], x, 0.0)
    share = torch.rand((), generator=generator)
    rows = torch.randint(100, (count,), generator=generator)
    return Part(x, valid if masked else None, torch.randn(count, 13, generator=generator), rows, share)


def test_a_recorded_pass_is_given_the_batch_of_its_turn_padded(play):
    gpu = Gpu()
    graphs = play(gpu)
    times = [320, 257, 384, 300, 319]  # of one multiple
    for seed, time in enumerate(times):
        batch = a_batch(seed, time=time, masked=seed % 2 == 0)
        torch.testing.assert_close(graphs.backward("cross_entropy", batch), loss_of(*batch))
    assert (gpu.passes, gpu.recorded, gpu.replays) == (1, 1, len(times) - 1)
    x = gpu.arguments[0]
    assert x.shape == (4, 12, 3 * MULTIPLE) and x.transpose(1, 2).is_contiguous()


def test_losses_of_earlier_batches_stay_what_they_were(play):
    graphs = play(Gpu())
    batches = [a_batch(seed) for seed in range(5)]
    losses = [graphs.backward("cross_entropy", batch) for batch in batches]
    torch.testing.assert_close(torch.stack(losses), torch.stack([loss_of(*batch) for batch in batches]))


def test_each_loss_size_and_multiple_has_a_graph_of_its_own(play):
    gpu = Gpu()
    graphs = play(gpu)
    kinds = [("a", 4, 320), ("b", 4, 320), ("a", 5, 320), ("a", 4, 512)]
    for turn in range(3):
        for seed, (name, count, time) in enumerate(kinds):
            batch = a_batch(10 * turn + seed, count, time)
            torch.testing.assert_close(graphs.backward(name, batch), loss_of(*batch))
    assert (gpu.passes, gpu.recorded, gpu.replays) == (4, 4, 8)


def test_a_shape_that_comes_once_and_those_after_the_last_graph_run_without(play, monkeypatch):
    monkeypatch.setattr(batch_graphs, "MOST", 2)
    gpu = Gpu()
    graphs = play(gpu)
    for time in [128, 256, 384, 512, 128, 256, 384, 512, 384]:
        batch = a_batch(time, time=time)
        torch.testing.assert_close(graphs.backward("a", batch), loss_of(*batch))
    assert (gpu.passes, gpu.recorded, gpu.replays) == (7, 2, 2)


def test_what_cannot_be_recorded_runs_without_and_is_said_once(play):
    gpu = Gpu(can_record=lambda x: False)
    graphs = play(gpu)
    with pytest.warns(UserWarning, match="no CUDA graphs.*stream is capturing$") as told:
        for seed in range(6):
            batch = a_batch(seed, time=128 * (1 + seed % 2))
            torch.testing.assert_close(graphs.backward("a", batch), loss_of(*batch))
    assert len(told) == 1 and (gpu.passes, gpu.recorded, gpu.replays) == (6, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphs.backward("a", a_batch(9))
