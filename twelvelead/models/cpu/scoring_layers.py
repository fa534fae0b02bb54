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

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from ...preprocessing.filters import SMALL_PRODUCT
from .winograd import MinimalConv, buffer, matrices, scoring_weights

# Where numpy's BLAS (OpenBLAS) has kernels for small matrices. Elsewhere torch's products of a whole part at a point are faster.
SMALL_KERNELS = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
WIDTHS = (64, 32)  # columns of a panel; the one that leaves fewer columns empty
PART = 2**18  # numbers that a convolution works on at a time, so that they stay in a core's cache
SLACK = (
    8  # samples: no filter has more outputs a piece, so that none reads or writes further beyond the end of a signal
)
KEPT = (
    2**24
)  # numbers in buffers that a thread keeps for the next call; 16 recordings of 10 s take 2^23 in the published network


class Shape(NamedTuple):
    """What a `Convolution` must know of a `Filter`: channels, inputs n and outputs m of a piece, padding, panels and their width.

    No panels, of width 0: torch takes the products.
    """

    channels_in: int
    channels_out: int
    inputs: int
    outputs: int
    padding: int
    panels: int
    width: int


class Filter:
    """The weights of a convolution over time, without its stride; see `Convolution`.

    Attributes
    ----------
    weight : float32 (n, 1, panels, channels in, width)
        Sums of taps, the channels out in panels of `width`, zeros at the end; for torch a tensor (n, channels in, channels out).
    bias : float32 (m · channels out,)
        As often as a piece has outputs.
    of_inputs, of_outputs : float32 (n, n), (m, n)
    shape : Shape
    """

    def __init__(self, conv: MinimalConv):
        self.weight, bias = scoring_weights(conv)
        n, channels_in, channels_out = self.weight.shape
        taps, panels, width = conv.kernel_size[1], 0, 0
        m = n - taps + 1
        self.of_outputs, _, self.of_inputs = (matrix.numpy() for matrix in matrices(taps, m))
        if SMALL_KERNELS:
            width = min(WIDTHS, key=lambda width: -channels_out % width)
            panels = -(-channels_out // width)
            padded = np.zeros((n, channels_in, panels * width), dtype=np.float32)
            padded[:, :, :channels_out] = self.weight.numpy()
            padded = padded.reshape(n, channels_in, panels, width).transpose(0, 2, 1, 3)
            self.weight = np.ascontiguousarray(padded)[:, None]
        self.bias = np.tile(bias.numpy(), m)
        self.shape = Shape(channels_in, channels_out, n, m, conv.padding[1], panels, width)


class Padded:
    """A buffer for signals (batch, time, channels) with `padding` zeros before and after each.

    Attributes
    ----------
    body : float32 (batch, time, channels)
    gaps : float32 (batch, 2 · padding + SLACK, channels)
        What lies behind each signal: its padding, and the next one's.
    """

    def __init__(self, batch: int, time: int, channels: int, padding: int):
        self.slot, self.padding = time + 2 * padding + SLACK, padding
        self.rows = np.empty((batch * self.slot + padding, channels), dtype=np.float32)
        self.rows[:padding] = 0
        self.body = self.pieces(padding, batch, 1, time, 0)[:, 0]
        self.gaps = self.pieces(padding + time, batch, 1, self.slot - time, 0)[:, 0]
        self.gaps[...] = 0

    def pieces(self, first: int, batch: int, count: int, samples: int, step: int) -> np.ndarray:
        """(batch, count, samples, channels), as a view: of each signal pieces of so many samples, one every `step`.

        The first one begins at row `first` of `rows`, where a signal takes `slot` rows, its padding before it included.
        """
        row, number = self.rows.strides
        return as_strided(
            self.rows[first:], (batch, count, samples, self.rows.shape[1]), (self.slot * row, step * row, row, number)
        )


class Convolution:
    """A convolution from one buffer to another and the ReLU behind it: all views that it takes, for filters of one shape.

    For OpenBLAS the products of a point are cut into so many rows and panels that it takes each as it lies and without threads.
    """

    def __init__(self, shape: Shape, source: Padded, target: Padded):
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
            sums = buffer("sums of inputs", n, chunks * chunk, channels_in)
            products = buffer("products", n, chunks * chunk, columns)
            factors = sums, products  # as torch takes them
            sums, products = sums.numpy(), products.numpy()
            if panels:
                factors = (
                    sums.reshape(n, chunks, 1, chunk, channels_in),
                    products.reshape(n, chunks, chunk, panels, width).transpose(0, 1, 3, 2, 4),
                )
            outputs = target.pieces(target.padding + first * target.slot, some, pieces, m, m)
            self.parts.append(
                (
                    sums[:, rows:],
                    source.pieces(first * source.slot, some, pieces, n, m),
                    sums[:, :rows].reshape(n, some, pieces, channels_in).transpose(1, 2, 0, 3),
                    *factors,
                    products[:, :rows, :channels_out].reshape(n, some, pieces, channels_out).transpose(1, 2, 0, 3),
                    outputs,
                    outputs.reshape(some, pieces, -1),
                    torch.from_numpy(outputs.reshape(some, -1)),
                )
            )

    def __call__(self, weights: Filter, invalid: tuple[int, np.ndarray] | None = None) -> None:
        """Writes the target. `invalid`: from which sample on, and by what, (batch, samples from there on, 1), to multiply it."""
        multiply = np.matmul if self.small else torch.bmm
        for surplus, pieces, sums, rows, products, points, outputs, by_piece, flat in self.parts:
            surplus[...] = 0  # rows of the last chunk that no piece has: whatever was in the buffer could overflow
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


class _Plans(threading.local):
    """Of each thread: the plans of the shapes that came last."""

    def __init__(self) -> None:
        self.kept: dict[tuple, Any] = {}


_plans = _Plans()


def plan_of(build: Callable, *arguments) -> Any:
    """What `build` makes of the arguments, an object that says how many `numbers` its buffers hold, or made of them before."""
    kept = _plans.kept
    plan = kept.pop((build, *arguments), None)
    if plan is None:
        plan = build(*arguments)
        while kept and plan.numbers + sum(other.numbers for other in kept.values()) > KEPT:
            del kept[next(iter(kept))]  # the one that was asked for least lately
    kept[build, *arguments] = plan
    return plan
