"""Convolutions over time by minimal filtering (winograd.py), with their derivatives, as layers.

    layer = MinimalConv(conv)       # shares the parameters of an nn.Conv2d, can be trained
    layer = ScoringConv(conv)       # transforms the weights once instead of at every call, can only score

Both take (batch, channels, 1, time) as nn.Conv2d does. In memory the channels of a sample lie together (channels_last).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from ..layers import by_sample
from .buffers import buffer
from .winograd import TRAINING_OUTPUTS, matrices, scoring_weights, transformed_weight

# The least number of pairs of an input and an output channel, by the number of taps, from which on minimal filtering is
# faster. With fewer pairs the transforms cost more than the products that they save.
LEAST_PAIRS = {3: 8000, 5: 1200, 7: 1000}
WORKING_SET = 2**19  # numbers that are computed with at a time, so that they stay in a core's cache


def gains_from_minimal_filtering(conv: nn.Conv2d) -> bool:
    """Whether a convolution can be computed by minimal filtering and is faster that way on a CPU.

    It must run over time alone, without stride, dilation or groups, with zeros as padding, and have enough channels.
    """
    plain = conv.kernel_size[0] == 1 and conv.stride == conv.dilation == (1, 1) and conv.groups == 1
    zeros = conv.padding_mode == "zeros" and isinstance(conv.padding, tuple) and conv.padding[0] == 0
    return plain and zeros and conv.in_channels * conv.out_channels >= LEAST_PAIRS.get(conv.kernel_size[1], math.inf)


def time_padding(conv: nn.Conv2d) -> int:
    """Zeros before the first and after the last sample. The padding must be given in numbers."""
    return cast("tuple[int, int]", conv.padding)[1]


class TiledConvolution:
    """The arithmetic of minimal filtering for signals of one length, forwards and backwards.

    Signals are (batch, time, channels). In between, outputs are sorted by their place k in a tile:
    (m, batch, tiles, channels out). n is the number of inputs of a tile, m that of outputs; see winograd.py.
    """

    def __init__(self, time: int, channels_in: int, channels_out: int, inputs: int, taps: int, padding: int):
        self.taps, self.padding, self.time_in = taps, padding, time
        self.channels_in, self.channels_out = channels_in, channels_out
        self.inputs, self.outputs = inputs, inputs - taps + 1
        self.output_transform, self.filter_transform, self.input_transform = matrices(taps, self.outputs)
        self.time = time + 2 * padding - taps + 1  # of the output
        self.whole, rest = divmod(self.time, self.outputs)  # tiles all of whose outputs exist
        self.tiles = self.whole + bool(rest)
        self.end = self.whole * self.outputs
        self.needed = (
            self.tiles * self.outputs + taps - 1
        )  # samples of input that the tiles reach over, padding included
        numbers = inputs * self.tiles * max(channels_in, channels_out)
        self.part = max(1, WORKING_SET // numbers)  # recordings that are computed at a time

    def tiles_of(self, padded: torch.Tensor, first: int, count: int) -> torch.Tensor:
        """Inputs first … first + count − 1 of each tile as a view (count, batch, tiles, channels in)."""
        channels = self.channels_in
        return padded.as_strided(
            (count, len(padded), self.tiles, channels),
            (channels, self.needed * channels, self.outputs * channels, 1),
            padded.storage_offset() + first * channels,
        )

    def transformed_inputs(self, signals: torch.Tensor) -> torch.Tensor:
        """(batch, time, channels in) → (n, batch · tiles, channels in)"""
        batch, channels = len(signals), self.channels_in
        padded = F.pad(signals, (0, 0, self.padding, self.needed - self.padding - self.time_in))
        inputs = buffer("inputs", self.inputs, batch, self.tiles, channels)
        inputs.copy_(self.tiles_of(padded, 0, self.inputs))
        transformed = buffer("transformed inputs", self.inputs, batch * self.tiles, channels)
        torch.mm(self.input_transform, inputs.view(self.inputs, -1), out=transformed.view(self.inputs, -1))
        return transformed

    def inputs_gradient(self, transformed: torch.Tensor, out: torch.Tensor) -> None:
        """The derivative of `transformed_inputs`, from (n, batch · tiles, channels in) to `out` (batch, time,
        channels in).

        Neighbouring tiles overlap, so an input that belongs to two of them gets the sum of both gradients.
        """
        batch, channels = len(out), self.channels_in
        inputs = buffer("inputs", self.inputs, batch, self.tiles, channels)
        torch.mm(self.input_transform.T, transformed.view(self.inputs, -1), out=inputs.view(self.inputs, -1))
        padded = buffer("padded", batch, self.needed, channels)
        padded[:, self.tiles * self.outputs :] = 0
        self.tiles_of(padded, 0, self.outputs).copy_(inputs[: self.outputs])
        self.tiles_of(padded, self.outputs, self.taps - 1).add_(inputs[self.outputs :])
        out.copy_(padded[:, self.padding : self.padding + self.time_in])

    def write_outputs(self, products: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        """Transforms the products (n, batch · tiles, channels out) and writes them with the bias to `out`."""
        by_place = buffer("outputs", self.outputs, len(out), self.tiles, self.channels_out)
        torch.mm(self.output_transform, products.view(self.inputs, -1), out=by_place.view(self.outputs, -1))
        torch.add(by_place[:, :, : self.whole].permute(1, 2, 0, 3), bias, out=self.whole_tiles(out))
        if self.tiles > self.whole:
            torch.add(by_place[: self.time - self.end, :, self.whole].transpose(0, 1), bias, out=out[:, self.end :])

    def by_place(self, gradient: torch.Tensor) -> torch.Tensor:
        """(batch, time, channels out) → (m, batch, tiles, channels out), zero where the last tile exceeds the time."""
        places = buffer("outputs", self.outputs, len(gradient), self.tiles, self.channels_out)
        places[:, :, : self.whole] = self.whole_tiles(gradient).permute(2, 0, 1, 3)
        if self.tiles > self.whole:
            places[:, :, self.whole] = 0
            places[: self.time - self.end, :, self.whole] = gradient[:, self.end :].transpose(0, 1)
        return places

    def whole_tiles(self, signals: torch.Tensor) -> torch.Tensor:
        """Outputs of the tiles that do not exceed the time, as a view (batch, tiles, m, channels out)."""
        return signals[:, : self.end].view(len(signals), self.whole, self.outputs, self.channels_out)

    def forward(self, signals: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        """Writes the convolution of `signals` to `out` (batch, time, channels out). `weight` is transformed."""
        for part, target in zip(signals.split(self.part), out.split(self.part)):
            inputs = self.transformed_inputs(part)
            products = buffer("products", self.inputs, inputs.shape[1], self.channels_out)
            self.write_outputs(torch.bmm(inputs, weight, out=products), bias, target)

    def backward(
        self,
        signals: torch.Tensor,
        weight: torch.Tensor,
        gradient: torch.Tensor,
        signals_gradient: torch.Tensor | None,
        bias_gradient: torch.Tensor | None,
    ) -> torch.Tensor:
        """The gradient of the weight (channels out, channels in, 1, taps) from that of the output (batch, time,
        channels out).

        The gradients of the signals and of the bias are written to `signals_gradient` and added to `bias_gradient`,
        unless these are None. `weight` is transformed.
        """
        transformed = torch.zeros_like(weight)  # gradient of the transformed weight
        for k in range(0, len(signals), self.part):
            part = slice(k, k + self.part)
            places = self.by_place(gradient[part])
            if bias_gradient is not None:
                rows = places.view(-1, self.channels_out)
                bias_gradient += (rows.new_ones(1, len(rows)) @ rows)[0]
            products = buffer("products", self.inputs, places.shape[1] * self.tiles, self.channels_out)
            torch.mm(self.output_transform.T, places.view(self.outputs, -1), out=products.view(self.inputs, -1))
            inputs = self.transformed_inputs(signals[part])
            torch.baddbmm(transformed, inputs.transpose(1, 2), products, out=transformed)
            if signals_gradient is not None:
                torch.bmm(products, weight.transpose(1, 2), out=inputs)
                self.inputs_gradient(inputs, signals_gradient[part])
        by_tap = (self.filter_transform.T @ transformed.view(self.inputs, -1)).view(self.taps, *transformed.shape[1:])
        return by_tap.permute(2, 1, 0).unsqueeze(2)


tiled_convolution = lru_cache(maxsize=256)(TiledConvolution)


class _MinimalFunction(torch.autograd.Function):
    """The convolution of (batch, channels, 1, time) and its derivatives, both by minimal filtering."""

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        channels_out, channels_in, _, taps = weight.shape
        signals, transformed = by_sample(x), transformed_weight(weight, TRAINING_OUTPUTS[taps])
        ctx.tiled = tiled_convolution(x.shape[3], channels_in, channels_out, len(transformed), taps, padding)
        ctx.save_for_backward(signals, transformed)
        # The output is allocated in its final shape: autograd forbids changing a view of something else in place later.
        out = torch.empty((len(x), channels_out, 1, ctx.tiled.time), memory_format=torch.channels_last)
        ctx.tiled.forward(signals, transformed, bias, by_sample(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        signals, transformed = ctx.saved_tensors
        of_signals = torch.empty_like(signals) if ctx.needs_input_grad[0] else None
        of_bias = transformed.new_zeros(transformed.shape[2]) if ctx.needs_input_grad[2] else None
        of_weight = ctx.tiled.backward(signals, transformed, by_sample(gradient), of_signals, of_bias)
        return None if of_signals is None else of_signals.transpose(1, 2).unsqueeze(2), of_weight, of_bias, None


class MinimalConv(nn.Conv2d):
    """An nn.Conv2d that computes by minimal filtering where it can: on a CPU, in float32, outside of autocast.

    Parameters
    ----------
    conv : nn.Conv2d
        `gains_from_minimal_filtering` must hold. Its parameters are shared, not copied.
    """

    def __init__(self, conv: nn.Conv2d):
        # The meta device makes neither memory nor random numbers for weights that are replaced at once.
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            cast("tuple[int, int]", conv.kernel_size),
            padding=(0, time_padding(conv)),
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # For a signal that is shorter than the filter nn.Conv2d raises the usual error.
        enough = len(x) > 0 and x.shape[3] + 2 * time_padding(self) >= self.kernel_size[1]
        on_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (enough and on_cpu):
            return super().forward(x)
        bias = x.new_zeros(self.out_channels) if self.bias is None else self.bias
        return cast(torch.Tensor, _MinimalFunction.apply(x, self.weight, bias, time_padding(self)))


class ScoringConv(nn.Module):
    """A convolution that keeps transformed weights instead of its weights. For evaluation on a CPU, in float32."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.taps, self.padding = conv.kernel_size[1], time_padding(conv)
        weight, bias = scoring_weights(conv)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inputs, channels_in, channels_out = self.weight.shape
        tiled = tiled_convolution(x.shape[3], channels_in, channels_out, inputs, self.taps, self.padding)
        out = x.new_empty(len(x), tiled.time, channels_out)
        tiled.forward(by_sample(x), self.weight, self.bias, out)
        return out.transpose(1, 2).unsqueeze(2)
