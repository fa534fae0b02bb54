"""Training batches on a GPU as CUDA graphs: all kernels of a forward and backward pass are started by one call.

    graphs = BatchGraphs(backward)                        # backward(loss_name, part) → loss
    loss = graphs.backward("cross_entropy", Part(x, valid, metadata, rows, share))

One batch of these networks is more than a thousand short kernels. On an H100 they take 6 ms, and the processor takes
35 ms to start them one by one (docs/performance.md, "On a GPU"). A graph is recorded once for each shape of a batch and
computes the same. If a network cannot be recorded, its batches run as without graphs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F

MULTIPLE = 128  # batches are padded to a multiple of so many samples, so that few graphs serve all of them
MOST = 64  # graphs of one member; batches of further shapes run without one


class Part(NamedTuple):
    """A batch, or the part of it that goes through the network at once. All tensors lie on one device.

    Attributes
    ----------
    x : float32 tensor (batch, channels, time)
    valid : bool tensor (batch, time), or None if all samples are valid
    metadata : float32 tensor (batch, numbers)
    rows : int64 tensor (batch,)
        Of the recordings, for their labels.
    share : float32 tensor ()
        Of the whole batch, from 0 to 1: a factor on the loss.
    """

    x: torch.Tensor
    valid: torch.Tensor | None
    metadata: torch.Tensor
    rows: torch.Tensor
    share: torch.Tensor


# (name of the loss, part) → loss; adds to the gradients of the parameters
Backward = Callable[[str, Part], torch.Tensor]


@dataclass(frozen=True)
class _Graph:
    """A recorded pass: it reads `inputs` and writes `loss`, which are always the same memory."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[torch.Tensor, ...]
    loss: torch.Tensor


class BatchGraphs:
    """The graphs of one member. The parameters' gradients must keep their memory: `zero_grad(set_to_none=False)`.

    Parameters
    ----------
    backward : callable
        Computes the loss of a batch from tensors on the GPU alone, and adds its gradient to that of the parameters.
    """

    def __init__(self, backward: Backward):
        self._backward = backward
        self._graphs: dict[tuple, _Graph] = {}
        self._seen: set[tuple] = set()
        self._pool = torch.cuda.graph_pool_handle()
        self._usable = True

    def backward(self, loss_name: str, part: Part) -> torch.Tensor:
        """The loss of a part, a scalar; adds to the gradients."""
        key = (loss_name, len(part.x), math.ceil(part.x.shape[2] / MULTIPLE))
        graph = self._graphs.get(key)
        if graph is None and not (key in self._seen and self._usable and len(self._graphs) < MOST):
            self._seen.add(key)  # the first part of a shape runs without a graph, which loads all kernels
            return self._backward(loss_name, part)
        inputs = _padded(part)
        if graph is None:
            graph = self._record(loss_name, inputs)
            if graph is None:
                return self._backward(loss_name, part)
            self._graphs[key] = graph
        for buffer, values in zip(graph.inputs, inputs):
            buffer.copy_(values)
        graph.graph.replay()
        return graph.loss.clone()

    def _record(self, loss_name: str, inputs: tuple[torch.Tensor, ...]) -> _Graph | None:
        """A graph for parts like this one; None if the network does something that cannot be recorded.

        Recording computes nothing, so that the graph's inputs need no values yet.
        """
        buffers = tuple(torch.empty_like(tensor) for tensor in inputs)  # in the same order in memory
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                loss = self._backward(loss_name, Part(*buffers))
        except RuntimeError as error:
            torch.cuda.synchronize()
            self._usable = False
            reason = str(error).strip().split("\n")[0]
            warnings.warn(f"no CUDA graphs, so training takes several times as long: {reason}", stacklevel=2)
            return None
        return _Graph(graph, buffers, loss)


def _padded(part: Part) -> tuple[torch.Tensor, ...]:
    """The fields of the part, always with a mask, their time padded to a multiple of MULTIPLE."""
    valid = part.valid
    if valid is None:
        valid = torch.ones(len(part.x), part.x.shape[2], dtype=torch.bool, device=part.x.device)
    padding = -part.x.shape[2] % MULTIPLE
    # Padded in the order (batch, time, channels), in which it lies in memory; see training.batches.gather.
    x = F.pad(part.x.transpose(1, 2), (0, 0, 0, padding)).transpose(1, 2)
    return x, F.pad(valid, (0, padding)), part.metadata, part.rows, part.share
