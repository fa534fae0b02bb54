"""S4: layers of linear state-space models, whose long convolutions look over the whole recording in both directions.

T. Mehari, N. Strodthoff: Towards Quantitative Precision for ECG Analysis: Leveraging State Space Models,
Self-Supervision and Patient Metadata, IEEE Journal of Biomedical and Health Informatics 2023. The layers are those of
A. Gu, K. Goel, C. Ré: Efficiently Modeling Long Sequences with Structured State Spaces, ICLR 2022, in the diagonal form
of A. Gu, A. Gupta, K. Goel, C. Ré: On the Parameterization and Initialization of Diagonal State Space Models, NeurIPS
2022 ("S4D").

    mix         Conv(leads → 512, f=1)
    layer       state space in both directions of time, GELU, Conv(512 → 1024, f=1), gated linear unit (512), dropout
                of 0.2; plus its input; layer norm
    body        four such layers
    head        mean over time; one unit a class

With 12 leads and 24 classes it has 2,177,560 parameters.

The state space of a channel has 8 real states: 4 complex ones, each of which stands for itself and its conjugate. It
is computed as a convolution with its impulse response,

    k[t] = 2 · Re Σₙ Cₙ · (exp(Δ·Aₙ) − 1) / Aₙ · exp(Δ·Aₙ·t)

a sum of four damped oscillations, with the learnt numbers A (decay and frequency), C and the step Δ. Both directions
share A and Δ. At first Aₙ = −1/2 + iπn ("S4D-Lin"), and the logarithm of Δ is uniform. The description
says "GLU behind it, dropout 0.2". The GELU, the learnt direct path D and a dropout that drops a channel of a recording
at all times together are taken from the layer's published code. That code trains the parameters of the state spaces
without weight decay and at a learning rate of their own; here they are trained like the others.

A sample that is not valid is zero in the input of every convolution, which is as long as the padded recordings, so that
no sample comes round to the other end. A score therefore depends neither on padding nor on the rest of the batch.
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import nn
from torch.nn import functional as F

from .layers import as_masked, by_sample

WORKING_SET = 2**18  # samples times channels whose spectra are computed at a time on a CPU


class LongConvolution(torch.autograd.Function):
    """Convolution of each channel with a kernel of its own, as long as twice the signal, by FFT.

    Written out, the derivative needs two transforms. The one that autograd derives takes complex transforms of twice
    the size, and as many passes over memory again. On a CPU a few recordings are computed at a time, so that their
    spectra stay in a core's cache; that takes half of the time.
    """

    @staticmethod
    def forward(ctx, x, kernel):
        """x (batch, time, channels); kernel (channels, size), where size is at least twice the time.

        Returns
        -------
        Tensor (batch, time, channels)
            At t, the sum over s ≥ 0 of kernel[s] · x[t − s], and over s > 0 of kernel[size − s] · x[t + s]. x is zero
            outside.
        """
        time, (channels, size) = x.shape[1], kernel.shape
        ctx.part = max(1, WORKING_SET // (channels * size)) if x.device.type == "cpu" else len(x)
        response = torch.fft.rfft(kernel)  # channels, frequencies
        out, spectra = torch.empty_like(x), []
        for inputs, outputs in zip(x.split(ctx.part), out.split(ctx.part)):
            spectra.append(torch.fft.rfft(inputs.transpose(1, 2), size))  # recordings, channels, frequencies
            outputs.copy_(torch.fft.irfft(spectra[-1] * response, size)[:, :, :time].transpose(1, 2))
        ctx.size = size
        ctx.save_for_backward(response, *spectra)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        response, *spectra = ctx.saved_tensors
        conjugate, of_response = response.conj().resolve_conj(), torch.zeros_like(response)
        of_x = torch.empty_like(gradient)
        for of_outputs, of_inputs, spectrum in zip(gradient.split(ctx.part), of_x.split(ctx.part), spectra):
            of_outputs = torch.fft.rfft(of_outputs.transpose(1, 2), ctx.size)
            of_response += (of_outputs * spectrum.conj()).sum(dim=0)
            correlated = torch.fft.irfft(of_outputs.mul_(conjugate), ctx.size)
            of_inputs.copy_(correlated[:, :, : gradient.shape[1]].transpose(1, 2))
        return of_x, torch.fft.irfft(of_response, ctx.size)


class StateSpace(nn.Module):
    """A diagonal state space for each channel, in both directions of time, and a direct path.

    Attributes
    ----------
    log_step : (channels,)
        Logarithm of Δ, which is a number of time units for each sample.
    log_decay, frequency : (channels, states / 2)
        A = −exp(log_decay) + i · frequency, in radians for each time unit.
    out : (2 directions, channels, states / 2, 2)
        Real and imaginary part of C.
    direct : (channels,)
    """

    def __init__(self, channels: int, states: int, shortest_step: float, longest_step: float):
        super().__init__()
        pairs = states // 2
        self.log_step = nn.Parameter(torch.empty(channels).uniform_(math.log(shortest_step), math.log(longest_step)))
        self.log_decay = nn.Parameter(torch.full((channels, pairs), math.log(0.5)))
        # torch would import its compiler for `arange` and `repeat` on the meta device, on which models are checked.
        frequency = torch.tensor([math.pi * n for n in range(pairs)])
        self.frequency = nn.Parameter(frequency.expand(channels, pairs).contiguous())
        self.out = nn.Parameter(torch.empty(2, channels, pairs, 2).normal_(std=math.sqrt(0.5)))
        self.direct = nn.Parameter(torch.empty(channels).normal_())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, channels) → the same shape. x is zero at invalid samples, the result is not."""
        # In float32 even under autocast: on a GPU the FFT of half precision takes powers of 2 only.
        return LongConvolution.apply(x.float().contiguous(), self.kernel(x.shape[1]))

    def kernel(self, time: int) -> torch.Tensor:
        """The kernel of `LongConvolution` for signals of that length, float32 (channels, size).

        Its first numbers are the response to the present sample and those before it, its last ones that to the samples
        after it. Between them are zeros, so that the two ends of a signal do not reach each other.
        """
        onwards, backwards = self.impulse_responses(time)
        size = next_fast_len(2 * time, real=True)
        now = onwards[:, :1] + self.direct[:, None]
        between = onwards.new_zeros(len(onwards), size - 2 * time)
        return torch.cat([now, onwards[:, 1:], between, backwards.flip(1)], dim=1)

    def impulse_responses(self, time: int) -> torch.Tensor:
        """k[t] of the first lines of this file, float32 (2 directions, channels, time), in fast real arithmetic."""
        step = self.log_step.exp()[:, None]
        decay, frequency = self.log_decay.exp(), self.frequency
        turn = step * frequency
        # C · (exp(Δ·A) − 1) / A, with 1 / A = (−decay − i · frequency) / (decay² + frequency²)
        shrink = torch.exp(-step * decay)
        real, imaginary = shrink * torch.cos(turn) - 1, shrink * torch.sin(turn)
        squared = decay.square() + frequency.square()
        real, imaginary = (
            (imaginary * frequency - real * decay) / squared,
            -(real * frequency + imaginary * decay) / squared,
        )
        out_real, out_imaginary = self.out.unbind(3)
        weights = torch.cat(
            [out_real * real - out_imaginary * imaginary, -out_real * imaginary - out_imaginary * real], dim=2
        )  # directions, channels, states: of the cosines and of the sines
        t = torch.arange(time, device=step.device, dtype=step.dtype)
        envelope = torch.exp(-(step * decay)[:, :, None] * t)  # channels, states / 2, time
        angle = turn[:, :, None] * t
        waves = torch.cat([envelope * torch.cos(angle), envelope * torch.sin(angle)], dim=1)
        # Not a matrix product: autocast would compute it in half precision.
        return 2 * (weights[..., None] * waves).sum(dim=2)


class Layer(nn.Module):
    """A state space and what mixes its channels."""

    def __init__(self, channels: int, states: int, dropout: float, shortest_step: float, longest_step: float):
        super().__init__()
        self.state_space = StateSpace(channels, states, shortest_step, longest_step)
        self.mix = nn.Linear(channels, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """x (batch, time, channels), zero at invalid samples → the same shape; valid float (batch, time, 1)."""
        out = F.glu(self.mix(F.gelu(self.state_space(x))), dim=2)
        if self.training:  # a channel of a recording is dropped at all times together
            out = out * self.dropout(out.new_ones(len(x), 1, out.shape[2]))
        x = self.norm(out + x)
        return x if valid is None else x * valid


class S4(nn.Module):
    """See the first lines of this file. `width` is the number of channels of every layer."""

    def __init__(
        self,
        leads: int,
        classes: int,
        width: int,
        layers: int,
        states: int,
        dropout: float,
        shortest_step: float,
        longest_step: float,
    ):
        super().__init__()
        if states % 2 or min(width, layers, states) < 1 or not 0 < shortest_step <= longest_step:
            raise TypeError(
                "the states must be even, width, layers and states at least 1, and the steps above 0 and in order"
            )
        self.mix = nn.Linear(leads, width)
        self.layers = nn.ModuleList(Layer(width, states, dropout, shortest_step, longest_step) for _ in range(layers))
        self.head = nn.Linear(width, classes)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, 1)  # batch, leads, 1, time
        x = self.mix(by_sample(x))  # batch, time, width
        if valid is not None:
            valid = valid[:, 0, 0, :, None]  # batch, time, 1
            x = x * valid
        for layer in self.layers:
            x = layer(x, valid)
        features = x.mean(dim=1) if valid is None else x.sum(dim=1) / valid.sum(dim=1).clamp(min=1)  # batch, width
        return self.head(features)  # batch, classes


def s4(
    leads: int,
    classes: int,
    width: int = 512,
    layers: int = 4,
    states: int = 8,
    dropout: float = 0.2,
    shortest_step: float = 1e-3,
    longest_step: float = 0.1,
) -> S4:
    """The network of the description, with its numbers; the steps are those of S4. It does not use the metadata."""
    return S4(leads, classes, width, layers, states, dropout, shortest_step, longest_step)
