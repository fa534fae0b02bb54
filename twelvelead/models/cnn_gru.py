"""The CNN-GRU: residual convolutions, a GRU in both directions of time, attention over its steps.

P. Nejedly, A. Ivora, I. Viscor, J. Halamek, P. Jurak, F. Plesinger: Utilization of Residual CNN-GRU With Attention
Mechanism for Classification of 12-lead ECG, CinC 2020, paper 32.

    block       three times Conv(→ 256, f=3), BatchNorm, leaky ReLU, dropout, the first with stride 2; plus a shortcut
    body        five such blocks, then a GRU of 128 units in each direction
    head        attention: the mean of the steps, weighted by the softmax of v·tanh(W·step + b); one unit a class

The input has 36 channels: each lead and two envelopes of it (filters.envelopes). With 36 channels and 24 classes the
network has 3,427,864 parameters.

The paper gives blocks, convolutions, kernel and stride, and we had to choose the rest. Where the authors' network of
the next year has the same part (Nejedly et al., CinC 2021; its code is public), we took it from there: 256 filters
throughout, leaky ReLU, no bias before a BatchNorm, a shortcut of average pooling and Conv(f=1), nothing after the
sum. The two directions of the GRU together are as wide as the convolutions. The attention is that of Bahdanau et al.
(2015) with a learnt query, then the usual one behind a recurrent network. The later network applies dropout of 0.5
once. Here dropout comes 15 times, which would be too much at 0.5; it is 0.2.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from .layers import ConvNorm, as_masked, halve_mean, halve_valid


class Block(nn.Module):
    """Convolutions at half the rate of the input, and a shortcut around them. `valid` is the mask of the output."""

    def __init__(self, channels_in: int, channels_out: int, convolutions: int, kernel: int, dropout: float):
        super().__init__()
        channels = [channels_in] + [channels_out] * convolutions
        self.convolutions = nn.ModuleList(
            ConvNorm(a, b, kernel, stride=1 if k else 2) for k, (a, b) in enumerate(pairwise(channels))
        )
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        shortcut = self.shortcut(halve_mean(x))  # it has no bias, so invalid samples stay zero
        for convolution in self.convolutions:
            x = self.dropout(F.leaky_relu(convolution(x, valid)))
        return x + shortcut


class BidirectionalGRU(nn.Module):
    """A GRU in each direction. The one that runs backwards starts at the last valid step of a recording.

    torch's own bidirectional GRU would start in the padding, unless the recordings were packed by
    pack_padded_sequence. That wants the lengths on the CPU, for which it would have to wait for a GPU. So the steps
    are reversed by an index here. Steps without signal inside a recording count as zeros.
    """

    def __init__(self, channels: int, units: int):
        super().__init__()
        self.onwards = nn.GRU(channels, units, batch_first=True)
        self.backwards = nn.GRU(channels, units, batch_first=True)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """(batch, steps, channels), bool (batch, steps) → (batch, steps, 2·units)."""
        batch, steps, _ = x.shape
        step = torch.arange(steps, device=x.device).expand(batch, steps)
        end = steps if valid is None else ((step + 1) * valid).amax(dim=1, keepdim=True)
        # This order reverses the valid steps and leaves the padding. Applied twice it restores the first order.
        mirror = torch.where(step < end, end - 1 - step, step)[:, :, None]
        onwards, _ = self.onwards(x)
        backwards, _ = self.backwards(torch.take_along_dim(x, mirror, dim=1))
        return torch.cat([onwards, torch.take_along_dim(backwards, mirror, dim=1)], dim=2)


class Attention(nn.Module):
    """A weighted mean of the valid steps: (batch, steps, channels), bool (batch, steps) → (batch, channels)."""

    def __init__(self, channels: int):
        super().__init__()
        self.key = nn.Linear(channels, channels)
        self.query = nn.Linear(channels, 1, bias=False)  # a bias would not change the softmax

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        score = self.query(torch.tanh(self.key(x)))
        if valid is not None:
            score = score.masked_fill(~valid[:, :, None], torch.finfo(score.dtype).min)
        return (torch.softmax(score, dim=1) * x).sum(dim=1)


class CnnGru(nn.Module):
    """See the first lines of this file. `width` is the number of filters, and of units of both directions together."""

    def __init__(
        self, leads: int, classes: int, width: int, blocks: int, convolutions: int, kernel: int, dropout: float
    ):
        super().__init__()
        if kernel % 2 == 0 or width % 2 or min(width, blocks, convolutions) < 1:
            raise TypeError("the kernel must be odd, the width even, and width, blocks and convolutions at least 1")
        self.stride = 2**blocks
        self.blocks = nn.ModuleList(
            Block(width if k else leads, width, convolutions, kernel, dropout) for k in range(blocks)
        )
        self.gru = BidirectionalGRU(width, width // 2)
        self.attention = Attention(width)
        self.head = nn.Linear(width, classes)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, self.stride)  # batch, leads, 1, time
        for block in self.blocks:
            valid = halve_valid(valid)
            x = block(x, valid)  # batch, width, 1, time / 32 after the last
        x = x.squeeze(2).transpose(1, 2)  # batch, steps, width
        valid = None if valid is None else valid[:, 0, 0, :] > 0
        return self.head(self.attention(self.gru(x, valid), valid))  # batch, classes


def cnn_gru(
    leads: int,
    classes: int,
    width: int = 256,
    blocks: int = 5,
    convolutions: int = 3,
    kernel: int = 3,
    dropout: float = 0.2,
) -> CnnGru:
    """The network of the paper. It does not use the metadata."""
    return CnnGru(leads, classes, width, blocks, convolutions, kernel, dropout)
