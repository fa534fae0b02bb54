"""The BUTT network: a 1D ResNet with global skip connections and an independent binary unit for each class.

T. Vicar, J. Hejc, P. Novotna, M. Ronzhina, O. Janousek: ECG Abnormalities Recognition Using Convolutional Network With
Global Skip Connections and Custom Loss Function, CinC 2020, paper 189, section 2.2 and figure 1.

    stem        Conv(leads → n, f=7), BatchNorm, ReLU → x0, the global skip
    level i     three times Conv(→ i·n), BatchNorm, ReLU; then
                concatenate [average pool of x0 by 2^(i−1); output; input of the second convolution], max-pool by 2
    top         Conv(→ levels·n), BatchNorm, ReLU; global max-pool over the valid samples; one unit a class

With 12 leads, 24 classes and n = 30 it has 2,665,464 parameters. The authors' code means to mask the padding, but
computes the mask with a wrong stride and so masks nothing; here the mask is exact.

Two things are ours and not of the paper: features of the metadata, and a second small network of the average beat
(`BeatNetwork`). Without their options there is neither.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from ..recipe import METADATA
from .layers import ConvNormReLU, as_masked, halve, halve_mean

BEAT_CONVOLUTIONS, BEAT_KERNEL = 3, 7


class Level(nn.Module):
    """The convolutions of one time scale. Returns their output and the input of the second one."""

    def __init__(self, channels_in: int, width: int, convolutions: int, kernel: int):
        super().__init__()
        sizes = [channels_in] + [width] * convolutions
        self.convolutions = nn.ModuleList(ConvNormReLU(a, b, kernel) for a, b in pairwise(sizes))

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        skip = x = self.convolutions[0](x, valid)
        for convolution in self.convolutions[1:]:
            x = convolution(x, valid)
        return x, skip


class BeatNetwork(nn.Module):
    """A small network of the average beat. Its samples have fixed places, so that linear units know where a wave lies.

    Three convolutions, with max-pooling by 2 between them, a hidden layer that also gets the features of the metadata
    (how long a QT interval may be depends on the heart rate), and a unit for each class. With dropout, since an average
    beat is nearly the same in every epoch and easily learned by heart.

    Parameters
    ----------
    leads, samples : int
        Of the average beat; see inference/average_beat.py.
    others : int
        Features of the metadata.
    classes : int
    width : int
        Filters of the convolutions.
    features : int
        Units of the hidden layer.
    dropout : float
        Before the hidden layer and behind it.
    """

    def __init__(self, leads: int, samples: int, others: int, classes: int, width: int, features: int, dropout: float):
        super().__init__()
        if min(width, features) < 1 or not 0 <= dropout <= 1:
            raise TypeError("beat_width and beat_features must be at least 1, and dropout from 0 to 1")
        self.leads, self.numbers, self.dropout = leads, samples * leads, nn.Dropout(dropout)
        sizes = [leads] + [width] * BEAT_CONVOLUTIONS
        self.convolutions = nn.ModuleList(ConvNormReLU(a, b, BEAT_KERNEL) for a, b in pairwise(sizes))
        self.padding = -samples % 2 ** (BEAT_CONVOLUTIONS - 1)
        pooled = (samples + self.padding) // 2 ** (BEAT_CONVOLUTIONS - 1)
        self.hidden = nn.Linear(width * pooled + others, features)
        self.head = nn.Linear(features, classes)

    def forward(self, beat: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) from beats (batch, samples · leads) and features of the metadata (batch, others)."""
        x = F.pad(beat.unflatten(1, (-1, self.leads)), (0, 0, 0, self.padding))  # batch, samples, leads
        x = x.transpose(1, 2).unsqueeze(2)  # batch, leads, 1, samples, in channels_last format
        x = self.convolutions[0](x)
        for convolution in self.convolutions[1:]:
            x = convolution(halve(x))
        x = self.dropout(x.flatten(1))
        x = F.relu(self.hidden(torch.cat([x, others], dim=1)))
        return self.head(self.dropout(x))


class Butt(nn.Module):
    """See the first lines of this file, where `width` is called n. For `forward` see models/__init__.py."""

    def __init__(
        self,
        leads: int,
        classes: int,
        width: int,
        levels: int,
        convolutions: int,
        kernel: int,
        metadata_features: int,
        metadata_numbers: int,
        beat_samples: int,
        beat_width: int,
        beat_features: int,
        dropout: float,
    ):
        super().__init__()
        if kernel % 2 == 0 or min(width, levels, convolutions) < 1:
            raise TypeError("the kernel must be odd, and width, levels and convolutions at least 1")
        self.stride = 2**levels
        self.stem = ConvNormReLU(leads, width, kernel)
        inputs = [width] + [width + 2 * i * width for i in range(1, levels + 1)]
        self.levels = nn.ModuleList(Level(inputs[i - 1], i * width, convolutions, kernel) for i in range(1, levels + 1))
        self.top = ConvNormReLU(inputs[-1], levels * width, kernel)
        self.metadata = _metadata_layer(metadata_numbers, metadata_features) if metadata_features else None
        self.beat = None
        if metadata_features and beat_samples and beat_features:
            self.beat = BeatNetwork(leads, beat_samples, metadata_features, classes, beat_width, beat_features, dropout)
        self.head = nn.Linear(levels * width + metadata_features, classes)  # an independent unit for each class
        nn.init.xavier_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        x, valid = as_masked(x, valid, self.stride)  # batch, leads, 1, time
        x = skip0 = self.stem(x, valid)  # batch, n, 1, time
        for level in self.levels:
            out, skip = level(x, valid)  # batch, i·n, 1, time / 2^(i−1)
            # Each part is pooled before they are joined. The numbers are the same, and half as many are copied.
            pooled = halve(skip0), halve(out), halve(skip)
            x = torch.cat(pooled, dim=1)  # batch, n + 2·i·n, 1, time / 2^i
            skip0 = halve_mean(skip0)
            valid = None if valid is None else halve(valid)
        x = self.top(x, valid)  # batch, levels·n, 1, time / 2^levels
        # ReLU leaves no negative number and invalid samples are zero, so the maximum is that of the valid ones.
        features = x.amax(dim=(2, 3))  # batch, levels·n
        return class_logits(features, metadata, self.metadata, self.beat, self.head)  # batch, classes

    def beat_logits(self, metadata: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of the network of the beat alone; no gradient flows into the metadata's features.

        Parameters
        ----------
        metadata : (batch, numbers)
            With the average beat, as `class_logits` takes it. The network must have a network of the beat.
        """
        assert self.beat is not None and self.metadata is not None
        numbers, beat = _parted(metadata, self.metadata)
        with torch.no_grad():
            known = self.metadata(numbers)
        return self.beat(beat, known)


# Of the metadata that vary little around a number far from 0: the place of the number and that of the flag that it is
# known, what it usually is, and how far it lies from that. The RR numbers are scaled already.
_USUAL = {"age / 100": (0, 1, 0.6, 0.2), "log10 of the amplitude in mV": (5, 6, -0.3, 0.125)}


def _metadata_layer(numbers: int, features: int) -> nn.Sequential:
    """A layer that makes features of the metadata. It starts as if age and amplitude were standardised.

    As they are, these two vary by 0.2 and less, and the network would hardly learn from them.
    """
    linear = nn.Linear(numbers, features)
    if linear.weight.is_meta:  # has a shape alone, and arithmetic there makes torch import its compiler, for a second
        return nn.Sequential(linear, nn.ReLU())
    with torch.no_grad():
        for number, known, usual, spread in _USUAL.values():
            linear.weight[:, number] /= spread
            linear.weight[:, known] -= usual * linear.weight[:, number]
    return nn.Sequential(linear, nn.ReLU())


def class_logits(
    features: torch.Tensor,
    metadata: torch.Tensor | None,
    metadata_layer: nn.Sequential | None,
    beat_network: BeatNetwork | None,
    head: nn.Module,
) -> torch.Tensor:
    """Logits (batch, classes) from the signal's features and, if the network has layers for them, from what is known.

    With an average beat they are the mean of those of the signal and those of the beat. In training each of the two
    learns by itself, and they are returned apart, (batch, 2, classes): a joint layer learned the beats by heart before
    the convolutions over the whole signal had learned anything.

    Parameters
    ----------
    features : (batch, levels·n)
    metadata : (batch, numbers), or None if nothing is known of any recording
        As many numbers as the layer takes, see prepare.py, and then the average beat.
    metadata_layer : nn.Sequential or None
        None: the network does not use the metadata.
    beat_network : BeatNetwork or None
        None: the network does not use the average beat. A network that does uses the metadata, too.
    """
    if metadata_layer is None:
        return head(features)
    if metadata is None:
        beat_numbers = 0 if beat_network is None else beat_network.numbers
        metadata = features.new_zeros(len(features), _numbers_of(metadata_layer) + beat_numbers)
    numbers, beat = _parted(metadata, metadata_layer)
    known = metadata_layer(numbers)
    logits = head(torch.cat([features, known], dim=1))
    if beat_network is None:
        return logits
    both = torch.stack([logits, beat_network(beat, known)], dim=1)
    return both if beat_network.training else both.mean(dim=1)


def _numbers_of(metadata_layer: nn.Sequential) -> int:
    """How many numbers of the metadata the layer takes."""
    return cast(nn.Linear, metadata_layer[0]).in_features


def _parted(metadata: torch.Tensor, metadata_layer: nn.Sequential) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers that the layer takes, and the average beat behind them."""
    count = _numbers_of(metadata_layer)
    return metadata[:, :count], metadata[:, count:]


def butt(
    leads: int,
    classes: int,
    width: int = 30,
    levels: int = 6,
    convolutions: int = 3,
    kernel: int = 7,
    metadata_features: int = 0,
    metadata_numbers: int = METADATA,
    beat_samples: int = 0,
    beat_width: int = 24,
    beat_features: int = 0,
    dropout: float = 0.0,
) -> Butt:
    """The network of section 2 of the paper; `width` 30 in the authors' code, 48 in the paper's best, 12 small.

    The authors' network does not use the metadata. With `metadata_features` above 0 ours adds so many features of
    age, sex, amplitude and, where `metadata_numbers` is 13, of the RR numbers to those of the signal. With
    `beat_features` above 0, too, and an input that has an average beat, it has a `BeatNetwork`, which alone uses
    `dropout`.
    """
    return Butt(
        leads,
        classes,
        width,
        levels,
        convolutions,
        kernel,
        metadata_features,
        metadata_numbers,
        beat_samples,
        beat_width,
        beat_features,
        dropout,
    )
