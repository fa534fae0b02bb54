"""Minimal filtering: short filters with fewer multiplications, as matrices.

A filter of r taps needs m · r multiplications for m outputs. Minimal filtering F(m, r) needs m + r − 1 (S. Winograd,
Arithmetic Complexity of Computations, 1980; for networks A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016). F(8, 7) for example computes eight outputs of a filter of seven taps with 14 multiplications
instead of 56.

The signal is cut into tiles of n = m + r − 1 inputs, which overlap by r − 1 samples and give m outputs each. For the
inputs d of a tile and the taps g of the filter the outputs are

    y = output_transform @ ((filter_transform @ g) * (input_transform @ d))

The n products are taken over all channels at once, so they are n matrix products; the transforms are products with
small matrices. The result differs from the direct convolution by rounding: in float32 by about 10⁻⁵ of an output's
size for F(8, 7), and by a third of that for F(6, 7).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

# Outputs m of a tile by the number of taps r. More outputs mean fewer products and larger rounding errors. Scoring
# takes as many as keep the scores of an untrained network of 20 layers equal to 10⁻⁴; training tolerates more.
TRAINING_OUTPUTS = {3: 6, 5: 8, 7: 8}
SCORING_OUTPUTS = {3: 6, 5: 8, 7: 6}
# The same for scoring with convolutions of more than MANY_PAIRS pairs of an input and an output channel. These are
# the deep layers, where few samples of a recording are left: transformed weights grow with the number of outputs,
# and reading them from memory takes longer than multiplying with them.
DEEP_SCORING_OUTPUTS = {3: 4, 5: 4, 7: 4}
MANY_PAIRS = 50_000
# Positive points at which the polynomials of inputs and taps are evaluated, by the number of inputs n. The other
# points are their negatives, 0 and infinity. A numerical search chose them for the least expected rounding error
# with random inputs.
POINTS = {
    6: (0.651, 1.535),
    8: (0.505, 1.0, 1.978),
    10: (0.417, 0.804, 1.244, 2.396),
    12: (0.357, 0.686, 1.0, 1.457, 2.804),
    14: (0.312, 0.604, 0.868, 1.152, 1.655, 3.206),
}


def transforms(taps: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The transforms of F(outputs, taps), by the Cook-Toom algorithm.

    The product of two polynomials is determined by its values at n points. The transposed algorithm is filtering.

    Returns
    -------
    output_transform, filter_transform, input_transform : float64 (m, n), (n, taps), (n, n)
        See the first lines of this file.
    """
    inputs = outputs + taps - 1
    points = [0.0] + [sign * point for point in POINTS[inputs] for sign in (1, -1)]

    def powers(count: int) -> np.ndarray:
        """Row by row the values of 1, x, x², … at each point. The last row is the point at infinity."""
        return np.array([[point**k for k in range(count)] for point in points] + [[0.0] * (count - 1) + [1.0]])

    of_outputs, of_taps, of_inputs = powers(outputs).T, powers(taps), np.linalg.inv(powers(inputs)).T
    # Each product has one factor from the taps and one from the inputs. Scaling them to like size keeps rounding small.
    scale = np.sqrt(np.abs(of_inputs).sum(axis=1) / np.abs(of_taps).sum(axis=1))[:, None]
    return np.ascontiguousarray(of_outputs), np.ascontiguousarray(of_taps * scale), of_inputs / scale


@cache
def matrices(taps: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`transforms` as float32 tensors, computed once."""
    with torch.inference_mode(False):  # a tensor made in inference mode could not serve training later
        of_outputs, of_taps, of_inputs = (
            torch.from_numpy(np.ascontiguousarray(matrix)).float() for matrix in transforms(taps, outputs)
        )
    return of_outputs, of_taps, of_inputs


def transformed_weight(weight: torch.Tensor, outputs: int) -> torch.Tensor:
    """The weight of a convolution over time, transformed for tiles of so many outputs.

    Parameters
    ----------
    weight : float32 (channels out, channels in, 1, taps)

    Returns
    -------
    float32 (n, channels in, channels out)
    """
    by_tap = weight[:, :, 0].permute(2, 1, 0)
    _, filter_transform, _ = matrices(len(by_tap), outputs)
    transformed = filter_transform @ by_tap.reshape(len(by_tap), -1)
    return transformed.view(len(filter_transform), *by_tap.shape[1:])


def scoring_weights(conv: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Transformed weight (n, channels in, channels out) and bias (channels out,) of a convolution, for scoring.

    The number of taps must be in SCORING_OUTPUTS. A convolution without bias gets zeros.
    """
    many = conv.in_channels * conv.out_channels > MANY_PAIRS
    outputs = (DEEP_SCORING_OUTPUTS if many else SCORING_OUTPUTS)[conv.kernel_size[1]]
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().clone()
    return transformed_weight(conv.weight.detach(), outputs), bias
