"""Convolutions over time for scoring in numpy, by minimal filtering (winograd.py) as products of small matrices.

    layer = ConvolutionReLU(weights.shape, source, target)      # views of two buffers, made once for a length of
    signals
    layer(weights)                                              # reads source.body, writes target.body

In the deep layers of one recording a convolution is twelve products of a matrix of about ten rows with a large
matrix of weights. numpy's BLAS (OpenBLAS) multiplies matrices of this size where they lie. torch's (MKL) copies the
weights into an order of its own before each product, which takes three times as long as the product itself. For
OpenBLAS the weights are cut into panels of columns that a product reads from the beginning to the end.

Signals lie in buffers with their padding around them. The overlapping tiles of a signal are a view of one buffer,
and the outputs of the tiles are a view of the next, so nothing is copied between two layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import nn

from ...preprocessing.filters import SMALL_PRODUCT
from .buffers import buffer
from .minimal_conv import time_padding
from .winograd import matrices, scoring_weights

# With AVX-512 numpy's OpenBLAS has kernels for small matrices. Without, torch's product of a whole layer at once is
# faster.
SMALL_KERNELS = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
PANEL_WIDTHS = (64, 32)  # columns of a panel; the width that leaves fewer columns empty is taken
WORKING_SET = 2**18  # numbers that a convolution computes with at a time, so that they stay in a core's cache
# Samples behind the padding of each signal, since the last tile may reach beyond it: by fewer samples than a tile has
# outputs, and no filter has more outputs than this.
SLACK = 8


class Shape(NamedTuple):
    """What a `ConvolutionReLU` must know of its weights to make its views.

    `inputs` and `outputs` are those of a tile (n and m in winograd.py), `padding` is the number of zeros at each end
    of a signal. `panels` of `panel_width` columns hold the output channels; both are 0 where torch takes the products.
    """

    channels_in: int
    channels_out: int
    inputs: int
    outputs: int
    padding: int
    panels: int
    panel_width: int


class ScoringWeights:
    """The transformed weights of a convolution without stride.

    Attributes
    ----------
    weight : float32
        With panels an array (n, 1, panels, channels in, panel width), filled up with zeros; otherwise a tensor
        (n, channels in, channels out).
    bias : float32 array (m · channels out,)
        The bias, repeated for each output of a tile.
    input_transform, output_transform : float32 arrays (n, n), (m, n)
    shape : Shape
    """

    def __init__(self, conv: nn.Conv2d):
        weight, bias = scoring_weights(conv)
        n, channels_in, channels_out = weight.shape
        taps, panels, width = conv.kernel_size[1], 0, 0
        m = n - taps + 1
        output_transform, _, input_transform = matrices(taps, m)
        self.output_transform, self.input_transform = output_transform.numpy(), input_transform.numpy()
        self.weight: np.ndarray | torch.Tensor = weight
        if SMALL_KERNELS:
            width = min(PANEL_WIDTHS, key=lambda width: -channels_out % width)
            panels = -(-channels_out // width)
            padded = np.zeros((n, channels_in, panels * width), dtype=np.float32)
            padded[:, :, :channels_out] = weight.numpy()
            by_panel = padded.reshape(n, channels_in, panels, width).transpose(0, 2, 1, 3)
            self.weight = np.ascontiguousarray(by_panel)[:, None]
        self.bias = np.tile(bias.numpy(), m)
        self.shape = Shape(channels_in, channels_out, n, m, time_padding(conv), panels, width)


class PaddedSignals:
    """A buffer for signals (batch, time, channels) with `padding` zeros before and after each.

    Attributes
    ----------
    rows : float32 (samples, channels)
        All signals one behind another, with their padding.
    body : float32 (batch, time, channels)
        The signals, as a view of `rows`.
    gaps : float32 (batch, 2 · padding + SLACK, channels)
        The samples behind each signal: its padding, the slack, and the padding before the next signal. A view of
        `rows`.
    slot : int
        Rows from the beginning of one signal to that of the next.
    """

    def __init__(self, batch: int, time: int, channels: int, padding: int):
        self.slot, self.padding = time + 2 * padding + SLACK, padding
        self.rows = np.empty((batch * self.slot + padding, channels), dtype=np.float32)
        self.rows[:padding] = 0
        self.body = self.tiles(padding, batch, 1, time, 0)[:, 0]
        self.gaps = self.tiles(padding + time, batch, 1, self.slot - time, 0)[:, 0]
        self.gaps[...] = 0

    def tiles(self, first: int, batch: int, count: int, samples: int, step: int) -> np.ndarray:
        """A view (batch, count, samples, channels) of tiles of so many samples, one every `step` samples of each
        signal.

        The first tile of the first signal begins at row `first` of `rows`.
        """
        row, number = self.rows.strides
        return as_strided(
            self.rows[first:], (batch, count, samples, self.rows.shape[1]), (self.slot * row, step * row, row, number)
        )


class _Part(NamedTuple):
    """The views that `ConvolutionReLU` computes with at a time, for some of the signals of the batch.

    Arrays and tensors over the same memory stand side by side. R is the number of tiles, filled up to whole chunks.
    """

    surplus: np.ndarray  # (n, rows of the last chunk without a tile, channels in)
    tiles: np.ndarray  # (signals, tiles, n, channels in), of the source
    inputs: np.ndarray  # (signals, tiles, n, channels in), transformed
    factors: Any  # the same numbers as the product takes them: an array (n, chunks, 1, chunk, channels in) or a tensor
    products: Any  # an array (n, chunks, panels, chunk, panel width) or a tensor (n, R, channels out)
    points: np.ndarray  # (signals, tiles, n, channels out), the products by tile
    outputs: np.ndarray  # (signals, tiles, m, channels out), of the target
    outputs_by_tile: np.ndarray  # (signals, tiles, m · channels out), the same memory
    outputs_flat: torch.Tensor  # (signals, tiles · m · channels out), the same memory


class ConvolutionReLU:
    """A convolution from one buffer to another, followed by ReLU, for weights of one shape.

    For OpenBLAS the products are cut into chunks of rows and panels of columns so small that it takes each as it
    lies and starts no threads.
    """

    def __init__(self, shape: Shape, source: PaddedSignals, target: PaddedSignals):
        batch, time, _ = target.body.shape
        tiles = -(-time // shape.outputs)
        columns = shape.panels * shape.panel_width or shape.channels_out
        part = max(1, WORKING_SET // (shape.inputs * tiles * max(shape.channels_in, columns)))
        self.target = target
        # The factors are arrays or tensors alike, see _Part.
        self.multiply: Callable[..., Any] = np.matmul if shape.panels else torch.bmm
        self.parts = [
            _part(shape, source, target, first, min(part, batch - first), tiles) for first in range(0, batch, part)
        ]

    def __call__(self, weights: ScoringWeights, invalid: tuple[int, np.ndarray] | None = None) -> None:
        """Writes the target.

        Parameters
        ----------
        weights : ScoringWeights
            Of the shape that the layer was made for.
        invalid : (int, float32 array (batch, samples, 1)), optional
            The first sample that may be invalid, and factors of 0 or 1 for the samples from there on.
        """
        for part in self.parts:
            part.surplus[...] = 0  # old content of the buffer could overflow in the product
            np.matmul(weights.input_transform, part.tiles, out=part.inputs)
            self.multiply(part.factors, weights.weight, out=part.products)
            np.matmul(weights.output_transform, part.points, out=part.outputs)
            np.add(part.outputs_by_tile, weights.bias, out=part.outputs_by_tile)
            part.outputs_flat.clamp_min_(0)  # torch takes a quarter of the time of numpy here
        self.target.gaps[...] = 0  # the last tile of a signal may have written beyond it
        if invalid is not None:
            first, mask = invalid
            body = self.target.body[:, first:]
            np.multiply(body, mask, out=body)


def _part(shape: Shape, source: PaddedSignals, target: PaddedSignals, first: int, signals: int, tiles: int) -> _Part:
    """The views for `signals` signals of the batch from the `first` on, which have so many tiles each."""
    channels_in, channels_out, n, m, _, panels, width = shape
    rows = signals * tiles
    chunks = -(-rows // max(1, SMALL_PRODUCT // (channels_in * width))) if panels else 1
    chunk = -(-rows // chunks)
    inputs_tensor = buffer("transformed inputs", n, chunks * chunk, channels_in)
    products_tensor = buffer("products", n, chunks * chunk, panels * width or channels_out)
    inputs, products = inputs_tensor.numpy(), products_tensor.numpy()
    factors: Any = inputs_tensor
    targets: Any = products_tensor
    if panels:
        factors = inputs.reshape(n, chunks, 1, chunk, channels_in)
        targets = products.reshape(n, chunks, chunk, panels, width).transpose(0, 1, 3, 2, 4)
    outputs = target.tiles(target.padding + first * target.slot, signals, tiles, m, m)
    return _Part(
        surplus=inputs[:, rows:],
        tiles=source.tiles(first * source.slot, signals, tiles, n, m),
        inputs=inputs[:, :rows].reshape(n, signals, tiles, channels_in).transpose(1, 2, 0, 3),
        factors=factors,
        products=targets,
        points=products[:, :rows, :channels_out].reshape(n, signals, tiles, channels_out).transpose(1, 2, 0, 3),
        outputs=outputs,
        outputs_by_tile=outputs.reshape(signals, tiles, -1),
        outputs_flat=torch.from_numpy(outputs.reshape(signals, -1)),
    )
