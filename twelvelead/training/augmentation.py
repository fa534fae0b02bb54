"""Disturbances of training batches, besides stretching and gains, which batches.py applies while it cuts them.

    x, metadata = disturb(x, metadata, recipe.augmentation, recipe.input.frequency_hz, rng)    # x (batch, time, 12)

Exchanged arm electrodes, missing leads, other filters, noise, and hidden or wrong metadata. All are tensor operations
on the batch's device. Random numbers are drawn on the CPU by numpy, so that a seed gives the same batches on every
device. They apply to the twelve leads; recipes whose input has other channels, such as envelopes, do not use them.
"""

from __future__ import annotations

import numpy as np
import torch

from ..data.leads import CHEST_LEADS, LEADS
from ..inference.predict import to_device
from ..preprocessing.leads import ARM_REVERSAL
from ..recipe import METADATA
from ..recipes import Augmentation


def disturb(
    x: torch.Tensor, metadata: torch.Tensor, augmentation: Augmentation, frequency_hz: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Applies the disturbances of a recipe, each with its probability, to each recording of a batch.

    Parameters
    ----------
    x : float32 tensor (batch, time, 12)
        In the recipe's unit. A lead that is zero all the time (missing) stays so.
    metadata : float32 tensor (batch, 7 or 13)
        See prepare.metadata_of, and heart_rate.rr_numbers for the last six.

    Returns
    -------
    x, metadata
        New tensors of the same shapes.
    """
    batch = len(x)
    if augmentation.arm_swap_probability:
        swapped = to_device(rng.random(batch) < augmentation.arm_swap_probability, x.device)
        x = torch.where(swapped[:, None, None], x @ to_device(ARM_REVERSAL.T, x.device, x.dtype), x)
    if augmentation.band_probability or augmentation.noise_probability:
        has_signal = (x != 0).any(dim=1, keepdim=True)  # batch, 1, 12
        x = _filtered_and_noisy(x, augmentation, frequency_hz, rng) * has_signal
    if augmentation.lead_drop_probability:
        x = x * to_device(_kept_leads(batch, augmentation.lead_drop_probability, rng), x.device)[:, None, :]
    if augmentation.lead_sets:
        x = x * to_device(_lead_sets(batch, augmentation, rng), x.device)[:, None, :]
    if augmentation.metadata_dropout:
        metadata = _hidden(metadata, augmentation.metadata_dropout, rng)
    if augmentation.rr_dropout and metadata.shape[1] > METADATA:
        shown = to_device(rng.random((batch, 1)) >= augmentation.rr_dropout, metadata.device, metadata.dtype)
        metadata = torch.cat([metadata[:, :METADATA], metadata[:, METADATA:] * shown], dim=1)
    return x, metadata


def _kept_leads(batch: int, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Factors float32 (batch, 12): 0 for the leads that are dropped, 1 for the others.

    Dropped are one, two, three, five or all six of the chest leads. Limb leads are not dropped, since preparation
    computes the missing ones from any two of them (leads.derive_limb_leads).
    """
    kept = np.ones((batch, 12), dtype=np.float32)
    for row in np.flatnonzero(rng.random(batch) < probability):
        count = rng.choice([1, 2, 3, 5, 6])
        kept[row, rng.choice(CHEST_LEADS, count, replace=False)] = 0
    return kept


def _lead_sets(batch: int, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Factors float32 (batch, 12): 0 for leads outside the set that was drawn for the recording, 1 for the others."""
    kept = np.array([[lead in leads.split() for lead in LEADS] for leads in augmentation.lead_sets], dtype=np.float32)
    of_each = kept[rng.integers(len(kept), size=batch)]
    return np.where(rng.random((batch, 1)) < augmentation.lead_set_probability, of_each, np.float32(1))


def _hidden(metadata: torch.Tensor, probability: float, rng: np.random.Generator) -> torch.Tensor:
    """Hides age, sex and amplitude, each with that probability, and falsifies amplitudes with the same probability.

    A falsified amplitude is up to ten times too small or too large. The network learns from it what low voltage looks
    like in the signal, and not to rely on the gain that a header states.
    """
    hidden = rng.random((len(metadata), 3)) < probability
    wrong = (rng.random(len(metadata)) < probability) * rng.uniform(-1, 1, len(metadata))
    shown = to_device(~hidden[:, [0, 0, 1, 1, 1, 2, 2]], metadata.device)
    metadata = metadata.clone()
    metadata[:, 5] += to_device(wrong, metadata.device, metadata.dtype) * metadata[:, 6]
    metadata[:, :METADATA] *= shown
    return metadata


def _filtered_and_noisy(
    x: torch.Tensor, augmentation: Augmentation, frequency_hz: float, rng: np.random.Generator
) -> torch.Tensor:
    """Filters recordings and adds noise to them, both in the spectrum, so that one Fourier transform serves both."""
    batch, time, leads = x.shape
    tone_hz = np.fft.rfftfreq(time, 1 / frequency_hz)
    spectrum = torch.fft.rfft(x, dim=1)  # batch, tones, leads
    response = _band(tone_hz, batch, augmentation.band_probability, rng)
    spectrum = spectrum * to_device(response, x.device)[:, :, None]
    noisy = rng.random((3, batch)) < augmentation.noise_probability
    power = x.square().sum(dim=(1, 2)) / (x != 0).sum(dim=(1, 2)).clamp(min=1)  # without padding and flat leads
    for rows, shape in zip(noisy, _noises(tone_hz, frequency_hz, rng)):
        rows, tones = np.flatnonzero(rows), np.flatnonzero(shape)
        if len(rows) == 0 or len(tones) == 0:  # no tone: hum that the sampling is too slow for
            continue
        noise = rng.standard_normal((len(rows), len(tones), leads, 2), dtype=np.float32) * shape[tones, None, None]
        noise = torch.view_as_complex(to_device(noise, x.device))
        noise_power = noise.abs().square().sum(dim=(1, 2)) * (2 / leads / time**2)  # mean square over time
        signal_to_noise = to_device(10 ** (rng.uniform(*augmentation.noise_db, len(rows)) / 10), x.device, x.dtype)
        rows = to_device(rows, x.device)
        noise *= torch.sqrt(power[rows] / signal_to_noise / noise_power.clamp(min=1e-12))[:, None, None]
        spectrum[rows[:, None], to_device(tones, x.device)[None, :]] += noise
    return torch.fft.irfft(spectrum, time, dim=1)


def _band(tone_hz: np.ndarray, batch: int, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Amplitude responses float32 (batch, tones) of random band-pass filters; 1 for recordings that are not filtered.

    A Butterworth high-pass of order 2 with its edge between 0.05 and 1 Hz, and a low-pass of order 4 with its edge
    between 20 and 150 Hz.
    """
    low = 10 ** rng.uniform(np.log10(0.05), 0, (batch, 1))
    high = 10 ** rng.uniform(np.log10(20), np.log10(150), (batch, 1))
    with np.errstate(divide="ignore"):
        response = 1 / np.sqrt((1 + (low / tone_hz) ** 4) * (1 + (tone_hz / high) ** 8))
    return np.where(rng.random((batch, 1)) < probability, response, 1.0).astype(np.float32)


def _noises(tone_hz: np.ndarray, frequency_hz: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Amplitude spectra float32 (tones,) of three kinds of noise, in any unit.

    Baseline wander falls with 1/f up to 0.8 Hz, mains hum is one tone at 50 or 60 Hz, and muscle noise is flat from
    15 Hz on.
    """
    wander = np.where((tone_hz > 0) & (tone_hz < 0.8), 1 / np.maximum(tone_hz, 0.05), 0)
    mains_hz = rng.choice([50, 60])
    hum = np.zeros(len(tone_hz))
    hum[np.argmin(np.abs(tone_hz - mains_hz))] = mains_hz < frequency_hz / 2
    muscle = (tone_hz > 15).astype(float)
    return [shape.astype(np.float32) for shape in (wander, hum, muscle)]
