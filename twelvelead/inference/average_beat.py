"""The average beat of the recordings of a batch: what all their beats have in common, free of most noise.

    metadata = with_average_beat(x, valid, metadata, recipe.input)    # (batch, recipe.input.network_numbers)

Electrocardiographs measure PR, QRS and QT intervals, axes and amplitudes in such a beat and not in the whole recording
(for example the Glasgow Program: P. W. Macfarlane et al., Methods of Information in Medicine 1990). A network finds all
this in the signal, too, but needs more recordings and more time for it: see docs/laboratory-notes.md. The beat is
computed from the batch that the network gets, so that in training it has passed through the same augmentation. All are
tensor operations whose shapes do not depend on values, which a GPU can run without waiting and torch's exporter can
record.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..preprocessing.heart_rate import LEAST_DISTANCE_S, LEAST_OF_LIMIT, SLOPE_S, SMOOTHING_S, STEEPEST_PART
from ..recipe import BEAT_BEFORE_S, Input

MOST_BEATS = 12  # the first ones of a recording that are averaged: those of 10 s at 72 a minute
ALIGNED_S, MOST_SHIFT_S = 0.1, 0.032  # on each side of the QRS complex; how far a beat may be moved
LIKENESS_POWER = 8  # the weight of a beat is its correlation with the average, to this power


def with_average_beat(x: torch.Tensor, valid: torch.Tensor | None, metadata: torch.Tensor, spec: Input) -> torch.Tensor:
    """All numbers that a network gets beside the signal, (batch, spec.network_numbers).

    Parameters
    ----------
    x : float32 tensor (batch, channels, time)
        Zero where not valid.
    valid : bool tensor (batch, time), or None if every sample is valid
    metadata : float32 tensor (batch, spec.metadata_numbers)
    spec : Input
        The recipe's input. Without an average beat the metadata are returned as they are.
    """
    if not spec.average_beat:
        return metadata
    beat = average_beat(x.transpose(1, 2), valid, spec.frequency_hz, spec.beat_samples)
    return torch.cat([metadata, beat.flatten(1)], dim=1)


@torch.no_grad()
def average_beat(signal: torch.Tensor, valid: torch.Tensor | None, frequency_hz: float, samples: int) -> torch.Tensor:
    """The average of each recording's beats, with the QRS complex always at the same sample.

    The first `MOST_BEATS` beats whose surroundings lie within the recording are moved by up to 32 ms to where the
    length of the vector of all leads fits best, and averaged. A beat that differs from the average, such as a premature
    one or one with an artefact, counts less, by a power of its correlation with it.

    Parameters
    ----------
    signal : float32 tensor (batch, time, leads)
        Zero where not valid.
    valid : bool tensor (batch, time), or None if every sample is valid
    frequency_hz : float
    samples : int
        Of the average beat, `Input.beat_samples`; it begins `BEAT_BEFORE_S` before the middle of the QRS complex.

    Returns
    -------
    float32 tensor (batch, samples, leads)
        Zero for a recording in which no whole beat is found.
    """
    before = round(BEAT_BEFORE_S * frequency_hz)
    shift, aligned = round(MOST_SHIFT_S * frequency_hz), round(ALIGNED_S * frequency_hz)
    exists = torch.ones(signal.shape[:2], dtype=torch.bool, device=signal.device) if valid is None else valid
    # Zeros behind the end, so that a window of any beat can be cut out of a recording of any length.
    padding = samples + 2 * (shift + aligned)
    signal, exists = F.pad(signal, (0, 0, 0, padding)).contiguous(), F.pad(exists, (0, padding))
    place, found = _beats(signal, exists, before + shift, samples - before + shift, frequency_hz)
    place = _aligned(signal, place, found, shift, aligned)
    beats = _windows(signal, place, before, samples - before).flatten(2)  # batch, beats, samples · leads
    size = beats.square().sum(dim=2).sqrt()  # batch, beats
    weight = found
    for _ in range(2):
        average = _weighted_mean(beats, weight)
        product = (beats @ average[:, :, None]).squeeze(2)  # batch, beats
        likeness = product / (size * average.square().sum(dim=1).sqrt()[:, None]).clamp(min=1e-6)
        weight = found * likeness.clamp(min=0) ** LIKENESS_POWER
    return _weighted_mean(beats, weight).unflatten(1, (samples, -1))


def _beats(
    signal: torch.Tensor, exists: torch.Tensor, before: int, after: int, frequency_hz: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of the first QRS complexes, int64 (batch, MOST_BEATS), and 1.0 for those that were found, else 0.0.

    The steps are those of `heart_rate.qrs_places`, but for the check of how far a peak stands out. Each complex has
    `before` samples of the recording before it and `after` samples behind it. Where none was found stands a place with
    so many samples around it in the padded signal.
    """
    step, near = max(round(SLOPE_S * frequency_hz), 1), round(LEAST_DISTANCE_S * frequency_hz)
    slope = (signal[:, step:] - signal[:, :-step]).square().sum(dim=2) * (exists[:, step:] & exists[:, :-step])
    half = round(SMOOTHING_S * frequency_hz / 2)
    steepness = F.avg_pool1d(slope[:, None], 2 * half + 1, stride=1, padding=half)[:, 0]
    samples = exists.sum(dim=1, keepdim=True)
    limit = steepness.sort(dim=1, descending=True).values.gather(1, (STEEPEST_PART * samples).long())
    highest = F.max_pool1d(steepness[:, None], 2 * near + 1, stride=1, padding=near)[:, 0]
    middle = torch.arange(steepness.shape[1], device=signal.device) + step // 2
    end = (exists * (torch.arange(exists.shape[1], device=signal.device) + 1)).amax(dim=1, keepdim=True)
    is_beat = (steepness == highest) & (steepness > 0) & (steepness >= LEAST_OF_LIMIT * limit)
    is_beat = is_beat & (middle >= before) & (middle < end - after)
    rank, index = torch.where(is_beat, signal.shape[1] - middle, 0).topk(MOST_BEATS, dim=1)  # the first ones first
    return torch.where(rank > 0, index + step // 2, before), (rank > 0).to(signal.dtype)


def _aligned(signal: torch.Tensor, place: torch.Tensor, found: torch.Tensor, shift: int, around: int) -> torch.Tensor:
    """The places (batch, beats), each moved by up to `shift` samples to where it fits the average of all best.

    What is compared is the length of the vector of all leads, from `around` samples before the place on to as many
    behind it.
    """
    length = signal.square().sum(dim=2, keepdim=True).sqrt()
    windows = _windows(length, place, around + shift, around + shift + 1).squeeze(3)  # batch, beats, samples
    average = _weighted_mean(windows[:, :, shift : shift + 2 * around + 1], found)
    fit = (windows.unfold(2, 2 * around + 1, 1) * average[:, None, None, :]).sum(dim=3)  # batch, beats, shifts
    return place + fit.argmax(dim=2) - shift


def _windows(signal: torch.Tensor, place: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Pieces (batch, beats, before + after, leads) of signals (batch, time, leads) around places (batch, beats)."""
    batch, time, leads = signal.shape
    first = torch.arange(0, batch * time, time, device=signal.device)[:, None, None]  # sample of each recording
    samples = first + place[:, :, None] + torch.arange(-before, after, device=signal.device)
    return signal.reshape(batch * time, leads)[samples.flatten()].view(*samples.shape, leads)


def _weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Means (batch, numbers) of values (batch, beats, numbers) with weights (batch, beats); 0 if all weights are 0."""
    share = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return (share[:, None, :] @ values).squeeze(1)
