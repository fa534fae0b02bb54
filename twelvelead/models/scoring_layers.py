"""What a network is made of that scores on a CPU in numpy: convolutions by minimal filtering (winograd.py) as small products.

    plan = plan_of(Plan, shapes, batch, time)       # buffers and views, made once for a shape; see butt.py
    layer = Convolution(shape, source, target)
    layer(weights)                                  # reads source.body, writes target.body: five calls of numpy and torch

What is left to multiply of one recording is twelve matrices of some ten rows a convolution. numpy's BLAS multiplies matrices
as small as these where they lie; torch's packs the weights first, which takes three times as long as the products. Weights
lie in panels that such a product reads from end to end. Signals lie padded, so that a convolution reads the pieces of one buffer,
which overlap, and writes the next without a copy.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from ..signals import SMALL_PRODUCT
from .winograd import FEWER_OUTPUTS, MANY, SCORING_OUTPUTS, MinimalConv, sums_of_taps, transforms

# Where numpy's BLAS (OpenBLAS) has kernels for small matrices. Elsewhere torch's products of a whole part at a point are faster.
SMALL_KERNELS = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
WIDTHS = (64, 32)  # columns of a panel; the one that leaves fewer columns empty
PART = 2**18  # numbers that a convolution works on at a time, so that they stay in a core's cache
SLACK = 8  # samples: no filter has more outputs a piece, so that none reads or writes further beyond the end of a signal
KEPT = 2**24  # numbers in buffers that a thread keeps for the next call; 16 recordings of 10 s take 2^23 in the published network


class Filter:
    """The weights of a convolution over time, without its stride; see `Convolution`.

    Attributes
    ----------
    weight : float32 (n, 1, panels, channels in, width)
        Sums of taps, the channels out in panels of `width`, zeros at the end; for torch a tensor (n, channels in, channels out).
    bias : float32 (m · channels out,)
        As often as a piece has outputs.
    of_inputs, of_outputs : float32 (n, n), (m, n)
    shape : tuple
        What a `Convolution` must know: channels in and out, n, m, padding, panels and their width, 0 of both for torch.
    """

    def __init__(self, conv: MinimalConv):
        channels_out, channels_in, _, taps = conv.weight.shape
        m = (FEWER_OUTPUTS if channels_in * channels_out > MANY else SCORING_OUTPUTS)[taps]
        of_outputs, _, of_inputs = transforms(taps, m)
        self.of_outputs, self.of_inputs = of_outputs.float().numpy(), of_inputs.float().numpy()
        self.weight, panels, width = sums_of_taps(conv.weight.detach().float(), m), 0, 0
        n = len(self.weight)
        if SMALL_KERNELS:
            width = min(WIDTHS, key=lambda width: -channels_out % width)
            panels = -(-channels_out // width)
            padded = np.zeros((n, channels_in, panels * width), dtype=np.float32)
            padded[:, :, :channels_out] = self.weight.numpy()
            padded = padded.reshape(n, channels_in, panels, width).transpose(0, 2, 1, 3)
            self.weight = np.ascontiguousarray(padded)[:, None]
        bias = np.zeros(channels_out, dtype=np.float32) if conv.bias is None else conv.bias.detach().float().numpy()
        self.bias = np.tile(bias, m)
        self.shape = channels_in, channels_out, n, m, conv.padding[1], panels, width


class Padded:
    """A buffer for signals (batch, time, channels) with `padding` zeros before and after each.

    Attributes
    ----------
    body : float32 (batch, time, channels)
    gaps : float32 (batch, 2 · padding + SLACK, channels)
        What lies behind each signal: its padding, and the next one's.
    """

    def __init__(self, batch: int, time: int, channels: int, padding: int):
        self.slot = time + 2 * padding + SLACK
        self.padding = padding
        self.rows = np.empty((batch * self.slot + padding, channels), dtype=np.float32)
        self.rows[:padding] = 0
        self.body = self._view(padding, batch, time)
        self.gaps = self._view(padding + time, batch, self.slot - time)
        self.gaps[...] = 0

    def _view(self, first: int, batch: int, count: int) -> np.ndarray:
        row, number = self.rows.strides
        return as_strided(self.rows[first:], (batch, count, self.rows.shape[1]), (self.slot * row, row, number))

    def pieces(self, first: int, batch: int, count: int, inputs: int, step: int) -> np.ndarray:
        """(batch, count, inputs, channels): pieces of `inputs` samples, one every `step`, from the padding on."""
        row, number = self.rows.strides
        return as_strided(self.rows[first * self.slot:], (batch, count, inputs, self.rows.shape[1]),
                          (self.slot * row, step * row, row, number))

    def outputs(self, first: int, batch: int, count: int, m: int) -> np.ndarray:
        """(batch, count, m · channels): the signal in pieces of m samples; the last one may go beyond its end."""
        row, number = self.rows.strides
        return as_strided(self.rows[self.padding + first * self.slot:], (batch, count, m * self.rows.shape[1]),
                          (self.slot * row, m * row, number))


class Convolution:
    """A convolution from one buffer to another and the ReLU behind it: all views that it takes, for filters of one shape.

    For OpenBLAS the products of a point are cut into so many rows and panels that it takes each as it lies and without threads.
    """

    def __init__(self, shape: tuple[int, ...], source: Padded, target: Padded):
        channels_in, channels_out, n, m, _, panels, width = shape
        batch, time, _ = target.body.shape
        pieces, columns = -(-time // m), panels * width or channels_out
        part = max(1, PART // (n * pieces * max(channels_in, columns)))
        self.target, self.parts, self.small = target, [], bool(panels)
        for first in range(0, batch, part):
            some = min(part, batch - first)
            rows = some * pieces
            chunks = -(-rows // max(1, SMALL_PRODUCT // (channels_in * width))) if panels else 1
            chunk = -(-rows // chunks)
            sums = _own.scratch("sums", n, chunks * chunk, channels_in)
            products = _own.scratch("products", n, chunks * chunk, columns)
            if panels:
                factors = (sums.reshape(n, chunks, 1, chunk, channels_in),
                           products.reshape(n, chunks, chunk, panels, width).transpose(0, 1, 3, 2, 4))
            else:
                factors = torch.from_numpy(sums), torch.from_numpy(products)
            outputs = target.outputs(first, some, pieces, m)
            self.parts.append((
                source.pieces(first, some, pieces, n, m),
                sums[:, :rows].reshape(n, some, pieces, channels_in).transpose(1, 2, 0, 3),
                *factors,
                products[:, :rows, :channels_out].reshape(n, some, pieces, channels_out).transpose(1, 2, 0, 3),
                outputs.reshape(some, pieces, m, channels_out),
                outputs, torch.from_numpy(outputs.reshape(some, -1))))

    def __call__(self, weights: Filter, invalid: tuple[int, np.ndarray] | None = None) -> None:
        """Writes the target. `invalid`: from which sample on, and by what, (batch, samples from there on, 1), to multiply it."""
        multiply = np.matmul if self.small else torch.bmm
        for pieces, sums, rows, products, points, outputs, by_piece, flat in self.parts:
            np.matmul(weights.of_inputs, pieces, out=sums)
            multiply(rows, weights.weight, out=products)
            np.matmul(weights.of_outputs, points, out=outputs)
            np.add(by_piece, weights.bias, out=by_piece)
            flat.clamp_min_(0)  # a quarter of the time of numpy's
        self.target.gaps[...] = 0
        if invalid is not None:
            first, mask = invalid
            body = self.target.body[:, first:]
            np.multiply(body, mask, out=body)


class _Own(threading.local):
    """What belongs to a thread: scratch memory, and the plans of the shapes that came last."""

    def __init__(self) -> None:
        self.memory: dict[str, np.ndarray] = {}
        self.plans: dict[tuple, Any] = {}

    def scratch(self, name: str, *shape: int) -> np.ndarray:
        """Zeros at first, later whatever was last in it."""
        count = math.prod(shape)
        if name not in self.memory or len(self.memory[name]) < count:
            self.memory[name] = np.zeros(count, dtype=np.float32)
        return self.memory[name][:count].reshape(shape)

    def plan(self, build: Callable, *arguments) -> Any:
        """What `build` makes of the arguments, an object that says how many `numbers` its buffers hold, or made of them before."""
        plan = self.plans.pop((build, *arguments), None)
        if plan is None:
            plan = build(*arguments)
            while self.plans and plan.numbers + sum(other.numbers for other in self.plans.values()) > KEPT:
                del self.plans[next(iter(self.plans))]  # the one that was asked for least lately
        self.plans[build, *arguments] = plan
        return plan


_own = _Own()


def plan_of(build: Callable, *arguments) -> Any:
    """See `_Own.plan`; of the thread that asks."""
    return _own.plan(build, *arguments)
