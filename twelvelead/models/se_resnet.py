"""The SE-ResNet: an 18-layer ResNet with long kernels that weighs its channels for every recording.

Z. Zhao, H. Fang, S. D. Relton, R. Yan, Y. Liu, Z. Li, J. Qin, D. C. Wong: Adaptive Lead Weighted ResNet Trained With
Different Duration Signals for Classifying 12-lead ECGs, CinC 2020, paper 112.

    stem        Conv(leads → 64, f=15, stride 2), BatchNorm, ReLU, max-pool (3, stride 2)
    block       Conv(f=7), BatchNorm, ReLU, dropout, Conv(f=7), BatchNorm, squeeze-and-excitation; plus shortcut; ReLU
    body        eight such blocks of 64, 64, 128, 128, 256, 256, 512, 512 filters; the third, fifth and seventh have
    stride 2
    head        mean over time, joined by 10 linear features of age and sex; one linear layer, one unit a class

With 12 leads and 24 classes it has 8,837,060 parameters. Where the paper is silent, the authors' code was followed:
both strides of the stem, the shortcut (Conv(f=1) and BatchNorm where the shape changes, otherwise nothing), the mean
over time, layers without bias, linear features of age and sex without activation, Kaiming's initial weights.

The authors' network takes 4,096 samples at 257 Hz. Shorter recordings are padded with zeros, which count in every
mean. Here padding does not count: any length is taken, and a score depends neither on padding nor on the rest of the
batch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from .layers import PERSON, ConvNorm, as_masked, halve_valid, mean_over_time


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a factor in [0, 1] computed from the means of all channels (Hu, Shen and Sun 2018)."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, max(channels // reduction, 1), bias=False)
        self.excite = nn.Linear(max(channels // reduction, 1), channels, bias=False)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        factor = torch.sigmoid(self.excite(F.relu(self.squeeze(mean_over_time(x, valid)))))  # batch, channels
        return x * factor[:, :, None, None]


class Block(nn.Module):
    """Two convolutions, and a shortcut around them. `valid` is the mask of the output."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, reduction: int, dropout: float):
        super().__init__()
        self.first = ConvNorm(channels_in, channels_out, kernel, stride)
        self.dropout = nn.Dropout(dropout)
        self.second = ConvNorm(channels_out, channels_out, kernel)
        self.weigh = SqueezeExcite(channels_out, reduction)
        changes = stride != 1 or channels_in != channels_out
        self.shortcut = ConvNorm(channels_in, channels_out, 1, stride) if changes else None

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x, valid)
        x = self.dropout(F.relu(self.first(x, valid)))
        return F.relu(self.weigh(self.second(x, valid), valid) + shortcut)


class SeResNet(nn.Module):
    """See the first lines of this file. `width` is the number of filters of the first two blocks."""

    def __init__(
        self,
        leads: int,
        classes: int,
        width: int,
        blocks: int,
        stem_kernel: int,
        kernel: int,
        reduction: int,
        dropout: float,
        person_features: int,
    ):
        super().__init__()
        if stem_kernel % 2 == 0 or kernel % 2 == 0 or min(width, blocks, reduction, person_features) < 1:
            raise TypeError("the kernels must be odd, and width, blocks, reduction and person_features at least 1")
        self.stem = ConvNorm(leads, width, stem_kernel, stride=2)
        filters = [width] + [width * 2 ** (k // 2) for k in range(blocks)]
        self.strides = [2 if k in range(2, blocks, 2) else 1 for k in range(blocks)]
        self.stride = 4 * 2 ** self.strides.count(2)
        self.blocks = nn.ModuleList(
            Block(a, b, kernel, stride, reduction, dropout) for (a, b), stride in zip(pairwise(filters), self.strides)
        )
        self.person = nn.Linear(PERSON, person_features)
        self.head = nn.Linear(filters[-1] + person_features, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        person = x.new_zeros(len(x), PERSON) if metadata is None else metadata[:, :PERSON]
        x, valid = as_masked(x, valid, self.stride)  # batch, leads, 1, time
        valid = halve_valid(valid)
        x = F.relu(self.stem(x, valid))  # batch, width, 1, time / 2
        valid = halve_valid(valid)
        x = F.max_pool2d(x, (1, 3), (1, 2), (0, 1))  # batch, width, 1, time / 4
        x = x if valid is None else x * valid  # the pool also writes one sample behind the last valid one
        for block, stride in zip(self.blocks, self.strides):
            valid = halve_valid(valid) if stride == 2 else valid
            x = block(x, valid)  # batch, 8·width, 1, time / 32 after the last
        features = torch.cat([mean_over_time(x, valid), self.person(person)], dim=1)
        return self.head(features)  # batch, classes


def se_resnet(
    leads: int,
    classes: int,
    width: int = 64,
    blocks: int = 8,
    stem_kernel: int = 15,
    kernel: int = 7,
    reduction: int = 16,
    dropout: float = 0.2,
    person_features: int = 10,
) -> SeResNet:
    """The network of the paper and of its code, with the published numbers."""
    return SeResNet(leads, classes, width, blocks, stem_kernel, kernel, reduction, dropout, person_features)
