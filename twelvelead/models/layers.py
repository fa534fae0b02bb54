"""Layers that know which samples of a padded batch exist.

Signals are (batch, channels, 1, time) in torch's channels_last format, so that in memory the channels of a sample lie
together: on two cores that trains twice as fast as (batch, channels, time). `valid` is float (batch, 1, 1, time), 1 where
a sample exists, or None where all do; every layer returns zeros where it is 0.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .cpu.winograd import MinimalConv, rows_of

PERSON = 5  # of the values of prepare.metadata_of the first ones are the person's


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe and Szegedy 2015) whose training statistics are those of the valid samples alone."""

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None, relu: bool = False) -> torch.Tensor:
        """Normalised, with `relu` no number below zero; where `valid` is 0, zero."""
        if valid is None or not self.training:
            x = super().forward(x)
            x = F.relu(x, inplace=not self.training) if relu else x
            return x if valid is None else x * valid
        # float32: sums over a million samples do not fit half precision
        with torch.autocast(x.device.type, enabled=False):
            x, mean, variance, count = _MaskedNorm.apply(x.float(), valid, self.weight, self.bias, self.eps, relu)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
        return x


class _MaskedNorm(torch.autograd.Function):
    """The arithmetic of `MaskedBatchNorm` in training, with its derivative: half of the passes over memory that autograd makes.

    Sums over samples are products with a vector, which takes a fifth of torch's sum over a leading dimension.
    """

    @staticmethod
    def forward(ctx, x, valid, weight, bias, eps, relu):
        rows, valid = _rows(x), _rows(valid)  # samples, channels; samples, 1
        count = valid.sum()
        mean = (valid.T @ rows)[0] / count
        centred = rows - mean  # whatever where nothing is valid: it never counts
        variance = (valid.T @ centred.square())[0] / count
        inverse = torch.rsqrt(variance + eps)
        out = torch.addcmul(bias, centred, weight * inverse)
        out = (out.clamp_min_(0) if relu else out).mul_(valid)
        ctx.save_for_backward(centred, valid, out if relu else None, weight, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return _as(out, x), mean, variance, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        centred, valid, out, weight, inverse, count = ctx.saved_tensors
        rows = _rows(gradient)
        # zero where nothing is valid, so is `out`
        rows = rows * valid if out is None else torch.ops.aten.threshold_backward(rows, out, 0)
        of_bias = (valid.T @ rows)[0]
        of_centred = (valid.T @ (rows * centred))[0]
        scale = weight * inverse
        of_x = torch.addcmul(-scale * of_bias / count, centred, -scale * inverse.square() * of_centred / count)
        of_x = of_x.addcmul_(rows, scale).mul_(valid)
        return _as(of_x, gradient), None, of_centred * inverse, of_bias, None, None


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(batch, channels, 1, time) → (batch · time, channels)"""
    return rows_of(x).flatten(0, 1)


def _as(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The way back from `_rows`."""
    batch, channels, _, time = like.shape
    return rows.view(batch, 1, time, channels).permute(0, 3, 1, 2)


class ConvNormReLU(nn.Module):
    """Convolution over time ("same" padding with zeros), batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int):
        super().__init__()
        self.conv = MinimalConv(channels_in, channels_out, kernel, padding=kernel // 2)
        self.norm = MaskedBatchNorm(channels_out)
        nn.init.xavier_normal_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        x = self.conv(x)
        if self.norm is not None:  # see `fuse`
            return self.norm(x, valid, relu=True)
        x = F.relu(x, inplace=True)
        return x if valid is None else x.mul_(valid)


class ConvNorm(nn.Module):
    """Convolution over time without bias ("same" padding with zeros, every `stride`-th sample), batch normalisation.

    `valid` is that of the output, (batch, 1, 1, time / stride).
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = MinimalConv(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.norm = MaskedBatchNorm(channels_out)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        x = self.conv(x)
        if self.norm is not None:  # see `fuse`
            return self.norm(x, valid)
        return x if valid is None else x * valid


def halve(x: torch.Tensor) -> torch.Tensor:
    """Maximum of each pair of samples; the time must be even."""
    if torch.is_grad_enabled():
        return F.max_pool2d(x, (1, 2))
    return torch.maximum(x[..., ::2], x[..., 1::2])  # in a fifth of the time, which its derivative loses again


def halve_mean(x: torch.Tensor) -> torch.Tensor:
    """Mean of each pair of samples; the time must be even."""
    if torch.is_grad_enabled():
        return F.avg_pool2d(x, (1, 2))
    return x[..., ::2].add(x[..., 1::2]).mul_(0.5)


def halve_valid(valid: torch.Tensor | None) -> torch.Tensor | None:
    """The mask at half the rate: a sample exists if one of its two did, so that something is left of a single one."""
    return None if valid is None else halve(valid)


def mean_over_time(x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """(batch, channels, 1, time), zero where it is not valid → (batch, channels), the mean of the valid samples."""
    if valid is None:
        return x.mean(dim=(2, 3))
    return x.sum(dim=(2, 3)) / valid.sum(dim=(2, 3)).clamp(min=1)


def as_masked(x: torch.Tensor, valid: torch.Tensor | None, multiple: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(batch, leads, time) and bool (batch, time) → the module's layout, time padded to a multiple.

    Returns
    -------
    x : (batch, leads, 1, padded time), zero where nothing is valid
    valid : float (batch, 1, 1, padded time), or None if every sample is valid and nothing was padded
    """
    batch, _, time = x.shape
    padding = -time % multiple
    if padding and valid is None:
        valid = torch.ones(batch, time, dtype=torch.bool, device=x.device)
    # (batch, time, channels) in memory, whatever it was: without a copy where the batch was gathered that way
    x = x.transpose(1, 2).contiguous()
    # asking a GPU whether all are valid would make it wait
    if valid is None or (not padding and x.device.type == "cpu" and bool(valid.all())):
        return x.transpose(1, 2).unsqueeze(2), None
    x, valid = F.pad(x, (0, 0, 0, padding)), F.pad(valid, (0, padding))
    x = torch.where(valid[:, :, None], x, 0.0)
    return x.transpose(1, 2).unsqueeze(2), valid[:, None, None, :].to(x.dtype)
