"""Convolutions of short filters with fewer multiplications, for scoring on a CPU.

    model = with_minimal_filtering(fuse(model))     # the same scores to 1e-5

F(4, 7) gives four outputs of a filter of seven taps with 10 multiplications instead of 28: four outputs are ten numbers, linear
in the products of ten sums of inputs with ten sums of taps (S. Winograd, Arithmetic Complexity of Computations, 1980; for
networks A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016). The products over all channels are ten
matrix products, and the sums are two more with small matrices.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import nn

OUTPUTS, TAPS = 4, 7
INPUTS = OUTPUTS + TAPS - 1
# Where the polynomials of inputs and taps are evaluated, and at infinity. Small numbers and their inverses keep the sums'
# rounding errors small.
POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "1/2", "-1/2", "3/2", "-3/2")))
# Below so many pairs of channels the sums cost more than the products that they save.
WORTH = 3000


@lru_cache(maxsize=1)
def transforms() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrices of outputs (4, 10), taps (10, 7) and inputs (10, 10), float64: y = outputs @ ((taps @ g) * (inputs @ d)).

    By Cook and Toom: a product of polynomials from its values at ten points, transposed.
    """
    def powers(count: int) -> np.ndarray:
        """Rows: values of 1, x, x², … at each point; the last row is the point at infinity."""
        return np.array([[float(point) ** k for k in range(count)] for point in POINTS] + [[0.0] * (count - 1) + [1.0]])

    outputs, taps, inputs = powers(OUTPUTS).T, powers(TAPS), np.linalg.inv(powers(INPUTS)).T
    scale = np.sqrt(np.abs(inputs).sum(axis=1) / np.abs(taps).sum(axis=1))[:, None]  # neither side much larger
    return torch.from_numpy(outputs), torch.from_numpy(taps * scale), torch.from_numpy(inputs / scale)


class MinimalConv(nn.Module):
    """A convolution over time, 7 taps, "same" padding with zeros, as F(4, 7). Signals are as in layers.py, (batch, channels, 1, time)."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        outputs, taps, inputs = (matrix.float() for matrix in transforms())
        by_tap = conv.weight.detach()[:, :, 0].permute(2, 1, 0)                           # 7, channels in, channels out
        weight = taps @ by_tap.reshape(TAPS, -1)
        self.register_buffer("outputs", outputs, persistent=False)
        self.register_buffer("inputs", inputs, persistent=False)
        self.register_buffer("weight", weight.view(INPUTS, *by_tap.shape[1:]), persistent=False)
        self.register_buffer("bias", conv.bias.detach().clone(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, _, time = x.shape
        pieces, before = -(-time // OUTPUTS), TAPS // 2
        padded = x.new_zeros(batch, pieces * OUTPUTS + TAPS - 1, channels)
        padded[:, before:before + time] = x.squeeze(2).transpose(1, 2)
        # ten inputs of each piece, four samples from one piece to the next
        d = padded.as_strided((INPUTS, batch, pieces, channels), (channels, padded.stride(0), OUTPUTS * channels, 1))
        d = self.inputs @ d.reshape(INPUTS, -1)
        y = torch.bmm(d.view(INPUTS, batch * pieces, channels), self.weight)              # 10, pieces, channels out
        y = (self.outputs @ y.view(INPUTS, -1)).view(OUTPUTS, batch * pieces, -1)
        y = (y.transpose(0, 1) + self.bias).reshape(batch, pieces * OUTPUTS, -1)[:, :time]
        return y.transpose(1, 2).unsqueeze(2)


def with_minimal_filtering(model: nn.Module) -> nn.Module:
    """Replaces, in place, each convolution that gains by it. For evaluation on a CPU only."""
    for module in model.modules():
        for name, child in module.named_children():
            if (isinstance(child, nn.Conv2d) and child.kernel_size == (1, TAPS) and child.stride == (1, 1)
                    and child.padding == (0, TAPS // 2) and child.dilation == (1, 1) and child.groups == 1
                    and child.bias is not None and child.in_channels * child.out_channels >= WORTH):
                setattr(module, name, MinimalConv(child))
    return model
