"""The BUTT network for scoring on a CPU: the steps of models/butt.py, each a few calls of numpy on buffers made before.

twin = scoring_butt(fuse(model.eval()))     # or None
logits = twin(x, valid, metadata)
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn

from ..butt import Butt, Level, class_logits
from ..layers import ConvNormReLU, as_masked, by_sample
from .buffers import workspace_of
from .scoring_layers import ConvolutionReLU, PaddedSignals, ScoringWeights, Shape
from .winograd import SCORING_OUTPUTS


def scoring_butt(model: Butt) -> ScoringButt | None:
    """The network for scoring, if its batch normalisation is folded in and minimal filtering knows its kernel."""
    layers = [module for module in model.modules() if isinstance(module, ConvNormReLU)]
    if any(layer.norm is not None or layer.conv.kernel_size[1] not in SCORING_OUTPUTS for layer in layers):
        return None
    return ScoringButt(model)


class NetworkShape(NamedTuple):
    """The shapes of all convolutions."""

    stem: Shape
    levels: tuple[tuple[Shape, ...], ...]
    top: Shape


class ScoringButt(nn.Module):
    """A `Butt` that only scores, on a CPU. It takes and returns what `Butt` does."""

    def __init__(self, model: Butt):
        super().__init__()
        self.stride, self.metadata, self.beat, self.head = model.stride, model.metadata, model.beat, model.head
        self.stem, self.top = ScoringWeights(model.stem.conv), ScoringWeights(model.top.conv)
        self.levels = [
            [ScoringWeights(cast(ConvNormReLU, layer).conv) for layer in cast(Level, level).convolutions]
            for level in model.levels
        ]
        levels = tuple(tuple(weights.shape for weights in level) for level in self.levels)
        self.shape = NetworkShape(self.stem.shape, levels, self.top.shape)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, self.stride)
        signals = by_sample(x).numpy()  # batch, time, leads
        workspace = workspace_of(Workspace, self.shape, *signals.shape[:2])
        workspace.input.body[...] = signals
        mask = None if valid is None else by_sample(valid).numpy()
        features = torch.from_numpy(workspace.features(self, mask))  # batch, levels·n
        return class_logits(features, metadata, self.metadata, self.beat, self.head)  # batch, classes


class _Pooling(NamedTuple):
    """One of the three parts that a level joins: its pairs of samples, and the place of their maxima."""

    even: torch.Tensor  # batch, time / 2, channels
    odd: torch.Tensor
    joined: torch.Tensor


class _LevelWorkspace(NamedTuple):
    """The steps of one level, and the buffer for the mean of each pair of samples of the global skip."""

    convolutions: list[ConvolutionReLU]
    pooling: list[_Pooling]  # of the global skip, the output and the input of the second convolution
    mean: torch.Tensor  # batch, time / 2, n


class Workspace:
    """Buffers and views of a `ScoringButt` for signals of one shape.

    Parameters
    ----------
    shape : NetworkShape
    batch, time : int
        Of the signals; time is a multiple of the network's stride.

    Attributes
    ----------
    input : PaddedSignals
        Where the caller writes the signals, float32 (batch, time, leads).
    numbers : int
        Size of all buffers of padded signals, see `workspace_of`.
    """

    def __init__(self, shape: NetworkShape, batch: int, time: int):
        self.batch, self.padding, self.numbers = batch, shape.stem.padding, 0
        self.input = self._buffer(time, shape.stem.channels_in)
        self.stem = self._convolution(shape.stem, self.input)
        self.levels: list[_LevelWorkspace] = []
        x, skip0 = self.stem.target, self.stem.target.body
        for level in shape.levels:
            workspace, joined = self._level(level, x, skip0)
            self.levels.append(workspace)
            x, skip0 = joined, workspace.mean.numpy()
        self.top = self._convolution(shape.top, x)

    def _buffer(self, time: int, channels: int) -> PaddedSignals:
        new = PaddedSignals(self.batch, time, channels, self.padding)
        self.numbers += new.rows.size
        return new

    def _convolution(self, shape: Shape, source: PaddedSignals) -> ConvolutionReLU:
        """A convolution to a new buffer."""
        return ConvolutionReLU(shape, source, self._buffer(source.body.shape[1], shape.channels_out))

    def _level(
        self, shapes: tuple[Shape, ...], x: PaddedSignals, skip0: np.ndarray
    ) -> tuple[_LevelWorkspace, PaddedSignals]:
        """The steps of a level with input `x` and global skip (batch, time, n), and the buffer that they end in."""
        convolutions = []
        for shape in shapes:
            convolutions.append(self._convolution(shape, x))
            x = convolutions[-1].target
        skip, width = convolutions[0].target, shapes[0].channels_out
        time, channels = x.body.shape[1] // 2, skip0.shape[2]
        joined = self._buffer(time, channels + 2 * width)
        mean = np.empty((self.batch, time, channels), dtype=np.float32)
        # Each part is pooled to its place in the joined buffer, so nothing is copied to join them.
        ends = np.cumsum([0, channels, width, width])
        pooling = [
            _Pooling(*(torch.from_numpy(view) for view in (part[:, ::2], part[:, 1::2], joined.body[:, :, a:b])))
            for part, (a, b) in zip((skip0, x.body, skip.body), pairwise(ends))
        ]
        return _LevelWorkspace(convolutions, pooling, torch.from_numpy(mean)), joined

    def features(self, weights: ScoringButt, mask: np.ndarray | None) -> np.ndarray:
        """Features float32 (batch, levels·n) of the signals in `input`.

        `mask`, float32 (batch, time, 1), is 0 where no sample exists and 1 elsewhere. None: all samples exist.
        """
        first = 0 if mask is None else int(mask.min(axis=(0, 2)).argmin())  # the first sample that may be invalid
        invalid = None if mask is None else (first, mask[:, first:])
        self.stem(weights.stem, invalid)
        for level_weights, level in zip(weights.levels, self.levels):
            for layer_weights, convolution in zip(level_weights, level.convolutions):
                convolution(layer_weights, invalid)
            for even, odd, joined in level.pooling:
                torch.maximum(even, odd, out=joined)  # torch takes half the time of numpy here
            even, odd, _ = level.pooling[0]
            torch.add(even, odd, out=level.mean).mul_(0.5)
            if mask is not None:
                first, mask = first // 2, np.maximum(mask[:, ::2], mask[:, 1::2])
                invalid = first, mask[:, first:]
        self.top(weights.top, invalid)
        # ReLU leaves no negative number and invalid samples are zero, so the maximum is that of the valid ones.
        return self.top.target.body.max(axis=1)
