"""Convolutions of short filters with fewer multiplications, on a CPU, for training and for scoring.

    x = MinimalConv(12, 30, 7)(x)                   # an nn.Conv2d over time, with its gradients
    model = prepared_for_scoring(fuse(model))       # the filters' sums are taken once, not at every call

F(8, 7) gives eight outputs of a filter of seven taps with 14 multiplications instead of 56: eight outputs are sums of the
products of 14 sums of inputs with 14 sums of taps (S. Winograd, Arithmetic Complexity of Computations, 1980; for
networks A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016). The products over all
channels are 14 matrix products, and the sums are products with small matrices. What comes out differs from the direct
convolution by about 10⁻⁵ of its size (float32); F(6, 7), for scoring, by a third of that. A network of these convolutions
alone has a faster way to score: scoring_layers.py.
"""

from __future__ import annotations

import math
import threading
from functools import cache, lru_cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# Outputs of a piece, by the filter's taps: the more, the fewer products and the larger the rounding errors. In scoring as many as
# leave the scores of an untrained network of 20 layers equal to 10⁻⁴; training bears more.
OUTPUTS = {3: 6, 5: 8, 7: 8}
SCORING_OUTPUTS = {3: 6, 5: 8, 7: 6}
# Scoring with more than MANY pairs of channels, where a recording has few samples left: the more outputs, the more sums of taps
# there are, and reading them takes longer than the products.
FEWER_OUTPUTS = {3: 4, 5: 4, 7: 4}
MANY = 50_000
# Where the polynomials of inputs and taps are evaluated, by the number of inputs; also at their negatives, at 0 and at infinity.
# Found by a search for the least rounding error that is expected of random inputs and taps.
POINTS = {
    6: (0.651, 1.535),
    8: (0.505, 1.0, 1.978),
    10: (0.417, 0.804, 1.244, 2.396),
    12: (0.357, 0.686, 1.0, 1.457, 2.804),
    14: (0.312, 0.604, 0.868, 1.152, 1.655, 3.206),
}
# By the filter's taps, below so many pairs of channels the sums cost more than the products that they save.
WORTH = {3: 8000, 5: 1200, 7: 1000}
PART = 2**19  # numbers that are worked on at a time, so that they stay in a core's cache
KEPT = 2**22  # numbers; a larger buffer is not kept for the next call


def transforms(taps: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrices of outputs (m, n), taps (n, taps) and inputs (n, n), float64: y = outputs @ ((taps @ g) * (inputs @ d)).

    By Cook and Toom: a product of polynomials from its values at n points, transposed.
    """
    inputs = outputs + taps - 1
    points = [0.0] + [sign * point for point in POINTS[inputs] for sign in (1, -1)]

    def powers(count: int) -> np.ndarray:
        """Rows: values of 1, x, x², … at each point; the last row is the point at infinity."""
        return np.array([[point**k for k in range(count)] for point in points] + [[0.0] * (count - 1) + [1.0]])

    of_outputs, of_taps, of_inputs = powers(outputs).T, powers(taps), np.linalg.inv(powers(inputs)).T
    scale = np.sqrt(np.abs(of_inputs).sum(axis=1) / np.abs(of_taps).sum(axis=1))[:, None]  # neither side much larger
    return tuple(
        torch.from_numpy(np.ascontiguousarray(matrix)) for matrix in (of_outputs, of_taps * scale, of_inputs / scale)
    )


@cache
def matrices(taps: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False):  # they serve training, too
        return tuple(matrix.float() for matrix in transforms(taps, outputs))


def sums_of_taps(weight: torch.Tensor, outputs: int) -> torch.Tensor:
    """A convolution's weight (channels out, channels in, 1, taps) → (n, channels in, channels out)."""
    by_tap = weight[:, :, 0].permute(2, 1, 0)
    _, of_taps, _ = matrices(len(by_tap), outputs)
    return (of_taps @ by_tap.reshape(len(by_tap), -1)).view(len(of_taps), *by_tap.shape[1:])


class _Buffers(threading.local):
    """Memory for what is computed on the way, of each thread: what was used last is still in the core's cache."""

    def __init__(self) -> None:
        self.memory: dict[str, torch.Tensor] = {}
        self.views: dict[tuple, torch.Tensor] = {}

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        view = self.views.get((name, shape))
        return self._new(name, shape) if view is None else view

    def _new(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        count = math.prod(shape)
        if count > KEPT:
            return torch.empty(shape)
        if name not in self.memory or len(self.memory[name]) < count or len(self.views) > 1000:
            self.views.clear()
            with torch.inference_mode(False):  # it may serve training next
                self.memory[name] = torch.empty(count)
        with torch.inference_mode(False):
            view = self.views[name, shape] = self.memory[name][:count].view(shape)
        return view


buffer = _Buffers()


class _Filter:
    """Minimal filtering of signals (batch, time, channels in) of one shape, forwards and backwards.

    Outputs, phase by phase, are (m, batch, pieces, channels out): output k of each piece of each recording.
    """

    def __init__(self, time: int, channels_in: int, channels_out: int, inputs: int, taps: int, padding: int):
        self.taps, self.padding, self.time_in = taps, padding, time
        self.channels_in, self.channels_out = channels_in, channels_out
        self.inputs, self.outputs = inputs, inputs - taps + 1
        self.of_outputs, self.to_taps, self.of_inputs = matrices(taps, self.outputs)
        self.time = time + 2 * padding - taps + 1  # of the output
        self.whole, rest = divmod(self.time, self.outputs)
        self.pieces = self.whole + bool(rest)
        self.end = self.whole * self.outputs
        self.needed = self.pieces * self.outputs + taps - 1  # samples of input, padded
        self.part = max(1, PART // (inputs * self.pieces * max(channels_in, channels_out)))  # recordings at a time

    def pieces_of(self, padded: torch.Tensor, first: int, count: int) -> torch.Tensor:
        """Inputs first … first + count − 1 of each piece, (count, batch, pieces, channels in), as a view."""
        channels = self.channels_in
        return padded.as_strided(
            (count, len(padded), self.pieces, channels),
            (channels, self.needed * channels, self.outputs * channels, 1),
            padded.storage_offset() + first * channels,
        )

    def sums_of_inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """(n, batch · pieces, channels in)"""
        batch, channels = len(rows), self.channels_in
        padded = F.pad(rows, (0, 0, self.padding, self.needed - self.padding - self.time_in))
        inputs = buffer("inputs", self.inputs, batch, self.pieces, channels).copy_(
            self.pieces_of(padded, 0, self.inputs)
        )
        sums = buffer("sums of inputs", self.inputs, batch * self.pieces, channels)
        torch.mm(self.of_inputs, inputs.view(self.inputs, -1), out=sums.view(self.inputs, -1))
        return sums

    def inputs_of(self, sums: torch.Tensor, rows: torch.Tensor) -> None:
        """The derivative of `sums_of_inputs`: an input belongs to one or two pieces. Written to `rows`."""
        batch, channels = len(rows), self.channels_in
        inputs = buffer("inputs", self.inputs, batch, self.pieces, channels)
        torch.mm(self.of_inputs.T, sums.view(self.inputs, -1), out=inputs.view(self.inputs, -1))
        padded = buffer("padded", batch, self.needed, channels)
        padded[:, self.pieces * self.outputs :] = 0
        self.pieces_of(padded, 0, self.outputs).copy_(inputs[: self.outputs])
        self.pieces_of(padded, self.outputs, self.taps - 1).add_(inputs[self.outputs :])
        rows.copy_(padded[:, self.padding : self.padding + self.time_in])

    def write(self, products: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        """Outputs of the products of all points, with a bias, to `out` (batch, time, channels out)."""
        phases = buffer("outputs", self.outputs, len(out), self.pieces, self.channels_out)
        torch.mm(self.of_outputs, products.view(self.inputs, -1), out=phases.view(self.outputs, -1))
        torch.add(phases[:, :, : self.whole].permute(1, 2, 0, 3), bias, out=self.whole_of(out))
        if self.pieces > self.whole:
            torch.add(phases[: self.time - self.end, :, self.whole].transpose(0, 1), bias, out=out[:, self.end :])

    def phases_of(self, gradient: torch.Tensor) -> torch.Tensor:
        """The derivative of outputs phase by phase, zero where a piece goes beyond the time."""
        phases = buffer("outputs", self.outputs, len(gradient), self.pieces, self.channels_out)
        phases[:, :, : self.whole] = self.whole_of(gradient).permute(2, 0, 1, 3)
        if self.pieces > self.whole:
            phases[:, :, self.whole] = 0
            phases[: self.time - self.end, :, self.whole] = gradient[:, self.end :].transpose(0, 1)
        return phases

    def whole_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, time, channels out) of the pieces that are whole, (batch, pieces, m, channels out), as a view."""
        return rows[:, : self.end].view(len(rows), self.whole, self.outputs, self.channels_out)

    def forward(self, rows: torch.Tensor, of_taps: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        """The convolution of `rows`, written to `out` (batch, time, channels out)."""
        for some, to in zip(rows.split(self.part), out.split(self.part)):
            sums = self.sums_of_inputs(some)
            products = torch.bmm(sums, of_taps, out=buffer("products", self.inputs, sums.shape[1], self.channels_out))
            self.write(products, bias, to)

    def backward(
        self,
        rows: torch.Tensor,
        of_taps: torch.Tensor,
        gradient: torch.Tensor,
        of_rows: torch.Tensor | None,
        of_bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """The derivative of the weight from that of the output; those of `rows` and of the bias go to `of_rows`, `of_bias`."""
        of_sums = torch.zeros_like(of_taps)
        for k in range(0, len(rows), self.part):
            some = slice(k, k + self.part)
            phases = self.phases_of(gradient[some])
            if of_bias is not None:
                by_output = phases.view(-1, self.channels_out)
                of_bias += (by_output.new_ones(1, len(by_output)) @ by_output)[0]
            products = buffer("products", self.inputs, phases.shape[1] * self.pieces, self.channels_out)
            torch.mm(self.of_outputs.T, phases.view(self.outputs, -1), out=products.view(self.inputs, -1))
            sums = self.sums_of_inputs(rows[some])
            torch.baddbmm(of_sums, sums.transpose(1, 2), products, out=of_sums)
            if of_rows is not None:
                torch.bmm(products, of_taps.transpose(1, 2), out=sums)
                self.inputs_of(sums, of_rows[some])
        of_weight = (self.to_taps.T @ of_sums.view(self.inputs, -1)).view(self.taps, *of_sums.shape[1:])
        return of_weight.permute(2, 1, 0).unsqueeze(2)


_filter = lru_cache(maxsize=256)(_Filter)


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """(batch, channels, 1, time) → (batch, time, channels), without a copy where the channels of a sample lie together."""
    return x.squeeze(2).transpose(1, 2).contiguous()


class _Minimal(torch.autograd.Function):
    """(batch, channels, 1, time), weight, bias → the convolution and its derivatives, all by minimal filtering."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        channels_out, channels_in, _, taps = weight.shape
        rows, of_taps = rows_of(x), sums_of_taps(weight, OUTPUTS[taps])
        ctx.filter = _filter(x.shape[3], channels_in, channels_out, len(of_taps), taps, padding)
        ctx.save_for_backward(rows, of_taps)
        # no view of anything, so that it may be changed in place
        out = torch.empty((len(x), channels_out, 1, ctx.filter.time), memory_format=torch.channels_last)
        ctx.filter.forward(rows, of_taps, bias, rows_of(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        rows, of_taps = ctx.saved_tensors
        of_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        of_bias = of_taps.new_zeros(of_taps.shape[2]) if ctx.needs_input_grad[2] else None
        of_weight = ctx.filter.backward(rows, of_taps, rows_of(gradient), of_rows, of_bias)
        return None if of_rows is None else of_rows.transpose(1, 2).unsqueeze(2), of_weight, of_bias, None


class MinimalConv(nn.Conv2d):
    """A convolution over time, (batch, channels, 1, time), that takes minimal filtering where it is faster.

    That is on a CPU, in float32, one output a sample, taps of `OUTPUTS` and enough channels. Elsewhere it is nn.Conv2d.
    """

    def __init__(
        self, channels_in: int, channels_out: int, taps: int, stride: int = 1, padding: int = 0, bias: bool = True
    ):
        super().__init__(channels_in, channels_out, (1, taps), (1, stride), (0, padding), bias=bias)

    @property
    def is_minimal(self) -> bool:
        """Whether minimal filtering is worth it, on a CPU."""
        worth = WORTH.get(self.kernel_size[1], math.inf)
        return self.stride == (1, 1) and self.in_channels * self.out_channels >= worth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        long_enough = (
            x.shape[3] + 2 * self.padding[1] >= self.kernel_size[1] and len(x) > 0
        )  # else an error, or nothing
        if (
            not self.is_minimal
            or not long_enough
            or x.device.type != "cpu"
            or x.dtype != torch.float32
            or torch.is_autocast_enabled("cpu")
        ):
            return super().forward(x)
        bias = x.new_zeros(self.out_channels) if self.bias is None else self.bias
        return _Minimal.apply(x, self.weight, bias, self.padding[1])


def scoring_weights(conv: MinimalConv) -> tuple[torch.Tensor, torch.Tensor]:
    """What scoring takes of a convolution: its sums of taps (n, channels in, channels out) and its bias (channels out,)."""
    outputs = FEWER_OUTPUTS if conv.in_channels * conv.out_channels > MANY else SCORING_OUTPUTS
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().clone()
    return sums_of_taps(conv.weight.detach(), outputs[conv.kernel_size[1]]), bias


class ScoringConv(nn.Module):
    """A `MinimalConv` that keeps the sums of its taps in place of its taps. For evaluation on a CPU."""

    def __init__(self, conv: MinimalConv):
        super().__init__()
        self.taps, self.padding = conv.kernel_size[1], conv.padding[1]
        weight, bias = scoring_weights(conv)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inputs, channels_in, channels_out = self.weight.shape
        minimal = _filter(x.shape[3], channels_in, channels_out, inputs, self.taps, self.padding)
        out = x.new_empty(len(x), minimal.time, channels_out)
        minimal.forward(rows_of(x), self.weight, self.bias, out)
        return out.transpose(1, 2).unsqueeze(2)


def prepared_for_scoring(model: nn.Module) -> nn.Module:
    """The model, changed in place or replaced, with minimal filtering for each convolution that gains. For evaluation on a CPU.

    A module that has a faster way as a whole says so by a method `for_scoring`, which returns a module, or None.
    """
    if isinstance(model, MinimalConv):
        return ScoringConv(model) if model.is_minimal else model
    whole = model.for_scoring() if hasattr(model, "for_scoring") else None
    if whole is not None:
        return whole
    for name, child in model.named_children():
        setattr(model, name, prepared_for_scoring(child))
    return model
