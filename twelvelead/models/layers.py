"""Layers that know which samples of a padded batch exist.

Signals are (batch, channels, 1, time) in torch's channels_last format, so in memory the channels of a sample lie
together. On two cores a network trains twice as fast this way as with (batch, channels, time). `valid` is float
(batch, 1, 1, time), 1 where a sample exists and 0 elsewhere, or None if all samples exist. Every layer returns zeros
where it is 0.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

PERSON = 5  # the first values of prepare.metadata_of tell age and sex


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe and Szegedy 2015) whose training statistics are those of the valid samples alone."""

    running_mean: torch.Tensor  # torch's class may be told not to track statistics; this one always tracks them
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None, relu: bool = False) -> torch.Tensor:
        """Normalises x, followed by ReLU if asked for. The result is zero where `valid` is 0."""
        is_single = x.numel() == x.shape[1]  # a single value of each channel has no variance: the running one is used
        if valid is None or not self.training or is_single:
            if is_single:
                x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
            else:
                x = super().forward(x)
            x = F.relu(x, inplace=not self.training) if relu else x
            return x if valid is None else x * valid
        # In float32 even under autocast: half precision cannot hold sums over a million samples.
        with torch.autocast(x.device.type, enabled=False):
            x, mean, variance, count = _MaskedNorm.apply(x.float(), valid, self.weight, self.bias, self.eps, relu)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
        return x


class _MaskedNorm(torch.autograd.Function):
    """The arithmetic of `MaskedBatchNorm` in training, with its derivative.

    It stands here and not in models/cpu because torch has no batch normalisation with a mask: every device needs
    this one. Written out, the derivative passes over memory half as often as the one that autograd derives. Sums
    over samples are written as products with the mask, which takes a fifth of the time of torch's sum over a leading
    dimension.
    """

    @staticmethod
    def forward(ctx, x, valid, weight, bias, eps, relu):
        rows, valid = _rows(x), _rows(valid)  # samples, channels; samples, 1
        count = valid.sum()
        mean = (valid.T @ rows)[0] / count
        centred = rows - mean  # arbitrary at invalid samples; every use below multiplies it by zero there
        variance = (valid.T @ centred.square())[0] / count
        inverse = torch.rsqrt(variance + eps)
        out = torch.addcmul(bias, centred, weight * inverse)
        out = (out.clamp_min_(0) if relu else out).mul_(valid)
        ctx.save_for_backward(centred, valid, out if relu else None, weight, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return _signals(out, x), mean, variance, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        centred, valid, out, weight, inverse, count = ctx.saved_tensors
        rows = _rows(gradient)
        # The gradient counts only where the output was not cut to zero: by the mask, or by ReLU (whose output is also
        # zero at invalid samples).
        rows = rows * valid if out is None else torch.ops.aten.threshold_backward(rows, out, 0)
        of_bias = (valid.T @ rows)[0]
        of_centred = (valid.T @ (rows * centred))[0]
        scale = weight * inverse
        of_x = torch.addcmul(-scale * of_bias / count, centred, -scale * inverse.square() * of_centred / count)
        of_x = of_x.addcmul_(rows, scale).mul_(valid)
        return _signals(of_x, gradient), None, of_centred * inverse, of_bias, None, None


def by_sample(x: torch.Tensor) -> torch.Tensor:
    """(batch, channels, 1, time) → (batch, time, channels), without a copy if x is in channels_last format."""
    return x.squeeze(2).transpose(1, 2).contiguous()


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(batch, channels, 1, time) → (batch · time, channels)"""
    return by_sample(x).flatten(0, 1)


def _signals(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(batch · time, channels) → the shape of `like`, (batch, channels, 1, time)"""
    batch, channels, _, time = like.shape
    return rows.view(batch, 1, time, channels).permute(0, 3, 1, 2)


class ConvNormReLU(nn.Module):
    """Convolution over time ("same" padding with zeros), batch normalisation, ReLU."""

    norm: MaskedBatchNorm | None

    def __init__(self, channels_in: int, channels_out: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, (1, kernel), padding=(0, kernel // 2))
        self.norm = MaskedBatchNorm(channels_out)
        nn.init.xavier_normal_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        x = self.conv(x)
        if self.norm is not None:  # None after network.fuse
            return self.norm(x, valid, relu=True)
        x = F.relu(x, inplace=True)
        return x if valid is None else x.mul_(valid)


class ConvNorm(nn.Module):
    """Convolution over time without bias ("same" padding with zeros, every `stride`-th sample), batch normalisation.

    `valid` is that of the output, (batch, 1, 1, time / stride).
    """

    norm: MaskedBatchNorm | None

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1):
        super().__init__()
        # A filter of one tap needs only every `stride`-th sample, so these are taken first and convolved then. The
        # results are the same. torch 2.13's derivative of a convolution with one tap and a stride writes outside of
        # its memory on a CPU (fewer than 16 input channels, channels_last, several threads, a batch that these do
        # not divide).
        self.every = stride if kernel == 1 else 1
        self.conv = nn.Conv2d(
            channels_in,
            channels_out,
            (1, kernel),
            stride=(1, stride // self.every),
            padding=(0, kernel // 2),
            bias=False,
        )
        self.norm = MaskedBatchNorm(channels_out)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        if self.every > 1:
            x = x[..., :: self.every].contiguous(memory_format=torch.channels_last)
        x = self.conv(x)
        if self.norm is not None:  # None after network.fuse
            return self.norm(x, valid)
        return x if valid is None else x * valid


def halve(x: torch.Tensor) -> torch.Tensor:
    """Maximum of each pair of samples; the time must be even."""
    if torch.is_grad_enabled():
        return F.max_pool2d(x, (1, 2))
    return torch.maximum(x[..., ::2], x[..., 1::2])  # a fifth of the time; with its derivative it would be slower


def halve_mean(x: torch.Tensor) -> torch.Tensor:
    """Mean of each pair of samples; the time must be even."""
    if torch.is_grad_enabled():
        return F.avg_pool2d(x, (1, 2))
    return x[..., ::2].add(x[..., 1::2]).mul_(0.5)


def halve_valid(valid: torch.Tensor | None) -> torch.Tensor | None:
    """The mask at half the rate. A pair exists if one of its samples does, so a single sample does not vanish."""
    return None if valid is None else halve(valid)


def mean_over_time(x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """(batch, channels, 1, time), zero at invalid samples → (batch, channels), the mean of the valid samples."""
    if valid is None:
        return x.mean(dim=(2, 3))
    return x.sum(dim=(2, 3)) / valid.sum(dim=(2, 3)).clamp(min=1)


def as_masked(x: torch.Tensor, valid: torch.Tensor | None, multiple: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The input of a network in the layout of these layers, its time padded to a multiple.

    Parameters
    ----------
    x : (batch, leads, time)
    valid : bool (batch, time), or None if every sample is valid

    Returns
    -------
    x : (batch, leads, 1, padded time), zero at invalid samples
    valid : float (batch, 1, 1, padded time), or None if every sample is valid and nothing was padded
    """
    batch, _, time = x.shape
    padding = -time % multiple
    if padding and valid is None:
        valid = torch.ones(batch, time, dtype=torch.bool, device=x.device)
    # To (batch, time, leads) in memory. A batch from training.batches.gather lies this way already and is not copied.
    x = x.transpose(1, 2).contiguous()
    # The mask is used even where all samples are valid if finding that out is not possible or not free.
    if valid is None or (not padding and may_look_at(x) and bool(valid.all())):
        return x.transpose(1, 2).unsqueeze(2), None
    x, valid = F.pad(x, (0, 0, 0, padding)), F.pad(valid, (0, padding))
    x = torch.where(valid[:, :, None], x, 0.0)
    return x.transpose(1, 2).unsqueeze(2), valid[:, None, None, :].to(x.dtype)


def may_look_at(x: torch.Tensor) -> bool:
    """Whether the values of a tensor may decide what is computed.

    On a GPU the processor would have to wait for them. While a network is exported (twelvelead/export) there are no
    values: only the operations are recorded, which must be the same for every input.
    """
    return x.device.type == "cpu" and not torch.compiler.is_exporting()
