"""The network of ISIBrno-AIMT: a residual network with self-attention over its time steps, told which leads there are.

P. Nejedly, A. Ivora, R. Smisek, I. Viscor, Z. Koscova, P. Jurak, F. Plesinger: Classification of ECG Using Ensemble of
Residual CNNs with Attention Mechanism, CinC 2021. First of that year's Challenge.

    stem        Conv(leads → 256, f=15, stride 2), BatchNorm, leaky ReLU
    block       twice Conv(256, f=9), BatchNorm, leaky ReLU, the first with stride 2; plus a shortcut: average pool by 2
                and Conv(f=1)
    body        five such blocks, dropout of 0.5, self-attention of 8 heads over the time steps
    head        maximum over time, joined by a 0 or 1 for each lead that says whether it is there; one unit a class

With 12 leads and 24 classes it has 6,547,256 parameters, and 12,824 more with the second head that learns the decisions
from the logits of all classes, which any network can have (`network.DecisionHead`). No convolution has a bias. The
attention replaces its input, without a shortcut around it.

The authors give the network 8,192 samples at 500 Hz and put zeros in front of shorter recordings, so that padding takes
part in attention and maximum. Here it does not: any length is taken, and a score depends neither on padding nor on the
rest of the batch. The authors pass the 0 or 1 of each lead to the network; here the network finds it in the signal, in
which a lead that is missing is zero all the time.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from .layers import ConvNorm, as_masked, halve_mean, halve_valid


class Block(nn.Module):
    """Two convolutions at half the rate of the input, and a shortcut. `valid` is the mask of the output."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.first = ConvNorm(channels, channels, kernel, stride=2)
        self.second = ConvNorm(channels, channels, kernel)
        self.shortcut = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        shortcut = self.shortcut(halve_mean(x))  # it has no bias, so invalid samples stay zero
        x = F.leaky_relu(self.first(x, valid))
        return F.leaky_relu(self.second(x, valid)) + shortcut


class SelfAttention(nn.Module):
    """Self-attention with several heads (Vaswani et al. 2017, section 3.2) over the valid steps of each recording.

    The number of heads must divide the number of channels. A narrow network has fewer heads: as many as the greatest
    common divisor of its width and `heads`.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = math.gcd(channels, heads)
        self.project = nn.Linear(channels, 3 * channels)  # queries, keys and values of all heads
        self.join = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.join.bias)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """(batch, steps, channels), bool (batch, steps) or None → (batch, steps, channels)."""
        batch, steps, channels = x.shape
        # Each of the three is (batch, heads, steps, channels / heads).
        query, key, value = self.project(x).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # A number is added to the logits of the attention, and not a truth value given: where no step of a recording is
        # valid, its steps then get equal weights and not NaN.
        mask = None
        if valid is not None:
            lowest = torch.finfo(query.dtype).min
            mask = torch.zeros(batch, 1, 1, steps, dtype=query.dtype, device=x.device)
            mask = mask.masked_fill(~valid[:, None, None, :], lowest)
        x = F.scaled_dot_product_attention(query, key, value, mask)
        return self.join(x.transpose(1, 2).reshape(batch, steps, channels))


class Isibrno(nn.Module):
    """See the first lines of this file. `width` is the number of filters of every convolution."""

    def __init__(
        self,
        leads: int,
        classes: int,
        width: int,
        blocks: int,
        stem_kernel: int,
        kernel: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        if stem_kernel % 2 == 0 or kernel % 2 == 0 or min(width, blocks, heads) < 1:
            raise TypeError("the kernels must be odd, and width, blocks and heads at least 1")
        self.stride = 2 ** (blocks + 1)
        self.stem = ConvNorm(leads, width, stem_kernel, stride=2)
        self.blocks = nn.ModuleList(Block(width, kernel) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)
        self.attention = SelfAttention(width, heads)
        self.head = nn.Linear(width + leads, classes)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, self.stride)  # batch, leads, 1, time
        present = (x != 0).any(dim=3).flatten(1)  # batch, leads
        valid = halve_valid(valid)
        x = F.leaky_relu(self.stem(x, valid))  # batch, width, 1, time / 2
        for block in self.blocks:
            valid = halve_valid(valid)
            x = block(x, valid)  # batch, width, 1, time / 64 after the last
        x = self.dropout(x).squeeze(2).transpose(1, 2)  # batch, steps, width
        steps_valid = None if valid is None else valid[:, 0, 0, :] > 0  # batch, steps
        features = _largest(self.attention(x, steps_valid), steps_valid)  # batch, width
        return self.head(torch.cat([features, present.to(features)], dim=1))  # batch, classes


def _largest(x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Maximum of the valid steps, (batch, steps, channels) → (batch, channels); 0 where no step is valid."""
    if valid is None:
        return x.amax(dim=1)
    largest = x.masked_fill(~valid[:, :, None], torch.finfo(x.dtype).min).amax(dim=1)
    return torch.where(valid.any(dim=1)[:, None], largest, 0.0)


def isibrno(
    leads: int,
    classes: int,
    width: int = 256,
    blocks: int = 5,
    stem_kernel: int = 15,
    kernel: int = 9,
    heads: int = 8,
    dropout: float = 0.5,
) -> Isibrno:
    """The network of the entry, with its numbers. It does not use the metadata."""
    return Isibrno(leads, classes, width, blocks, stem_kernel, kernel, heads, dropout)
