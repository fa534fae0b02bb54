"""The BUTT network: a 1D ResNet with global skip connections and an independent binary unit for each class.

T. Vicar, J. Hejc, P. Novotna, M. Ronzhina, O. Janousek: ECG Abnormalities Recognition Using Convolutional Network With
Global Skip Connections and Custom Loss Function, CinC 2020, paper 189, section 2.2 and figure 1.

    stem        Conv(leads → n, f=7), BatchNorm, ReLU → x0, the global skip
    level i     three times Conv(→ i·n), BatchNorm, ReLU; then
                concatenate [average pool of x0 by 2^(i−1); output; input of the second convolution], max-pool by 2
    top         Conv(→ levels·n), BatchNorm, ReLU; global max-pool over the valid samples; one unit a class

With 12 leads, 24 classes and n = 30 that is 2,665,464 parameters. The authors' code masks the padding with a wrong
stride, which masks nothing; here the mask is exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..preprocessing.prepare import METADATA
from .cpu.scoring_layers import Convolution, Filter, Padded, Shape, plan_of
from .cpu.winograd import SCORING_OUTPUTS, rows_of
from .layers import ConvNormReLU, as_masked, halve, halve_mean


class Level(nn.Module):
    """Convolutions at one time scale. The input of the second one skips to the level's end."""

    def __init__(self, channels_in: int, width: int, convolutions: int, kernel: int):
        super().__init__()
        sizes = [channels_in] + [width] * convolutions
        self.convolutions = nn.ModuleList(ConvNormReLU(a, b, kernel) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        skip = x = self.convolutions[0](x, valid)
        for convolution in self.convolutions[1:]:
            x = convolution(x, valid)
        return x, skip


class Butt(nn.Module):
    """See the module's first lines. `width` is n; `forward` takes (batch, leads, time) and bool (batch, time)."""

    def __init__(
        self, leads: int, classes: int, width: int, levels: int, convolutions: int, kernel: int, metadata_features: int
    ):
        super().__init__()
        if kernel % 2 == 0 or min(width, levels, convolutions) < 1:
            raise TypeError("the kernel must be odd, and width, levels and convolutions at least 1")
        self.stride = 2**levels
        self.stem = ConvNormReLU(leads, width, kernel)
        inputs = [width] + [width + 2 * i * width for i in range(1, levels + 1)]
        self.levels = nn.ModuleList(Level(inputs[i - 1], i * width, convolutions, kernel) for i in range(1, levels + 1))
        self.top = ConvNormReLU(inputs[-1], levels * width, kernel)
        self.metadata = nn.Sequential(nn.Linear(METADATA, metadata_features), nn.ReLU()) if metadata_features else None
        self.head = nn.Linear(levels * width + metadata_features, classes)  # BUTT: no unit knows of another
        nn.init.xavier_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, self.stride)  # batch, leads, 1, time
        x = skip0 = self.stem(x, valid)  # batch, n, 1, time
        for level in self.levels:
            out, skip = level(x, valid)  # batch, i·n, 1, time / 2^(i−1)
            # pooling before joining: the same numbers, half the copying
            pooled = halve(skip0), halve(out), halve(skip)
            x = torch.cat(pooled, dim=1)  # batch, n + 2·i·n, 1, time / 2^i
            skip0 = halve_mean(skip0)
            valid = None if valid is None else halve(valid)
        x = self.top(x, valid)  # batch, levels·n, 1, time / 2^levels
        # ReLU leaves no negative number and invalid samples are zero, so the maximum is that of the valid ones
        features = x.amax(dim=(2, 3))  # batch, levels·n
        return _logits(self, features, metadata)  # batch, classes

    def for_scoring(self) -> ScoringButt | None:
        """The same network in numpy, if its batch normalisation is folded in and its kernel is one of minimal filtering."""
        convolutions = [module for module in self.modules() if isinstance(module, ConvNormReLU)]
        if self.stem.conv.kernel_size[1] not in SCORING_OUTPUTS or any(
            module.norm is not None for module in convolutions
        ):
            return None
        return ScoringButt(self)


def _logits(model: Butt | ScoringButt, features: torch.Tensor, metadata: torch.Tensor | None) -> torch.Tensor:
    """(batch, classes) from the signal's features and, if the network asks for it, from what else is known."""
    if model.metadata is not None:
        metadata = features.new_zeros(len(features), METADATA) if metadata is None else metadata
        features = torch.cat([features, model.metadata(metadata)], dim=1)
    return model.head(features)


class ScoringButt(nn.Module):
    """A `Butt` for scoring on a CPU: the same steps, each a few calls of numpy on buffers that are there already."""

    def __init__(self, model: Butt):
        super().__init__()
        self.stride, self.metadata, self.head = model.stride, model.metadata, model.head
        self.stem, self.top = Filter(model.stem.conv), Filter(model.top.conv)
        self.levels = [[Filter(layer.conv) for layer in level.convolutions] for level in model.levels]
        self.shapes = (
            self.stem.shape,
            tuple(tuple(layer.shape for layer in level) for level in self.levels),
            self.top.shape,
        )

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, self.stride)
        rows = rows_of(x).numpy()  # batch, time, leads
        plan = plan_of(_Plan, self.shapes, *rows.shape[:2])
        plan.input.body[...] = rows
        mask = None if valid is None else rows_of(valid).numpy()
        features = torch.from_numpy(plan(self, mask))  # batch, levels·n
        return _logits(self, features, metadata)  # batch, classes


class _Plan:
    """Buffers and views of a `ScoringButt` for signals (batch, time), time a multiple of its stride."""

    def __init__(self, shapes: tuple, batch: int, time: int):
        stem, levels, top = shapes
        self.numbers = 0

        def buffer(channels: int) -> Padded:  # of the time that the loop below has come to
            new = Padded(batch, time, channels, stem.padding)
            self.numbers += new.rows.size
            return new

        def convolution(shape: Shape, source: Padded) -> Convolution:
            return Convolution(shape, source, buffer(shape.channels_out))

        self.input = buffer(stem.channels_in)
        self.stem = convolution(stem, self.input)
        self.levels = []
        x, skip0 = self.stem.target, self.stem.target.body
        for level in levels:
            convolutions = []
            for shape in level:
                convolutions.append(convolution(shape, x))
                x = convolutions[-1].target
            skip, width = convolutions[0].target, level[0].channels_out
            time //= 2
            joined = buffer(skip0.shape[2] + 2 * width)
            mean = np.empty((batch, time, skip0.shape[2]), dtype=np.float32)
            # pooling writes to where joining would copy to; torch's takes half the time of numpy's
            pooled = torch.from_numpy(joined.body).split([skip0.shape[2], width, width], dim=2)
            pools = [
                (body[:, ::2], body[:, 1::2], out)
                for body, out in zip(map(torch.from_numpy, (skip0, x.body, skip.body)), pooled)
            ]
            self.levels.append((convolutions, pools, torch.from_numpy(mean)))
            x, skip0 = joined, mean
        self.top = convolution(top, x)

    def __call__(self, weights: ScoringButt, mask: np.ndarray | None) -> np.ndarray:
        """Features float32 (batch, levels · n) of `input`. `mask` (batch, time, 1) is 0 where no sample is; None: 1 everywhere."""
        first = 0 if mask is None else int(mask.min(axis=(0, 2)).argmin())
        invalid = None if mask is None else (first, mask[:, first:])
        self.stem(weights.stem, invalid)
        for filters, (convolutions, pools, mean) in zip(weights.levels, self.levels):
            for layer, convolution in zip(filters, convolutions):
                convolution(layer, invalid)
            for even, odd, joined in pools:
                torch.maximum(even, odd, out=joined)
            even, odd, _ = pools[0]
            torch.add(even, odd, out=mean).mul_(0.5)
            if mask is not None:
                first, mask = first // 2, np.maximum(mask[:, ::2], mask[:, 1::2])
                invalid = first, mask[:, first:]
        self.top(weights.top, invalid)
        # no number is negative and invalid samples are zero, so the maximum is that of the valid ones
        return self.top.target.body.max(axis=1)


def butt(
    leads: int,
    classes: int,
    width: int = 30,
    levels: int = 6,
    convolutions: int = 3,
    kernel: int = 7,
    metadata_features: int = 0,
) -> Butt:
    """The network of section 2 of the paper; `width` 30 in the authors' code, 48 in the paper's best, 12 small.

    Theirs knows nothing of the person: `metadata_features`, features of age, sex and amplitude that join those of the signal,
    are ours.
    """
    return Butt(leads, classes, width, levels, convolutions, kernel, metadata_features)
