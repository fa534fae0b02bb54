"""Batches cut out of the stored recordings, on the device: their order, pieces, augmentation and padding.

    data = on_device(store, device)
    for rows in epoch_order(data.lengths, train_rows, 32, rng):
        x, valid, metadata = gather(data, rows, recipe.input, recipe.augmentation, rng)
        logits = model(x, valid, metadata)    # (batch, channels, time), bool (batch, time) or None, (batch, numbers)

There is no data loader: the recordings are prepared already, and a batch is an index into one tensor. Random numbers
are drawn on the CPU by numpy, so that a seed gives the same batches on every device.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from ..inference.average_beat import with_average_beat
from ..inference.predict import PackedRecordings, cut_batch, to_device
from ..preprocessing.heart_rate import RATE_FACTOR, RR_RATE
from ..recipe import METADATA
from ..recipes import Augmentation, Input
from .augmentation import disturb
from .store import Store


def on_device(store: Store, device: torch.device) -> PackedRecordings:
    """The store as tensors: memory-mapped on the CPU, copied as a whole to any other device."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        samples, valid = torch.from_numpy(store.samples), torch.from_numpy(store.valid)
    whole = bool(store.valid.all())
    return PackedRecordings(
        samples.to(device),
        None if whole else valid.to(device),
        torch.from_numpy(store.metadata).to(device),
        store.offsets[:-1],
        np.diff(store.offsets),
    )


def epoch_order(lengths: np.ndarray, rows: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The batches of one epoch, each an int array of rows: in random order, with recordings of similar length together.

    The rows are shuffled and divided into pools of 16 batches, and each pool is sorted by length before it is cut into
    batches. So a batch needs little padding, and still mixes hospitals.
    """
    rows = rng.permutation(rows)
    batches = []
    for pool in np.split(rows, range(16 * batch_size, len(rows), 16 * batch_size)):
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.split(pool, range(batch_size, len(pool), batch_size))
    return [batches[k] for k in rng.permutation(len(batches))]


def gather(
    data: PackedRecordings,
    rows: np.ndarray,
    spec: Input,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """A batch of recordings, or of pieces of long ones, augmented if asked for.

    Parameters
    ----------
    rows : int array
        Recordings of the batch.
    augmentation : Augmentation, optional
        Used only with an `rng`.
    rng : Generator, optional
        For the pieces of long recordings and the augmentation. Without it recordings are taken whole, as they are.

    Returns
    -------
    x : float32 tensor (batch, channels, time)
        Zero where not valid. In memory it lies as (batch, time, channels), the order that convolutions in
        channels_last format need.
    valid : bool tensor (batch, time), or None if all samples are valid
    metadata : float32 tensor (batch, spec.network_numbers)
        With the average beat, if the input has one; see inference/average_beat.py.
    """
    start, length = data.offsets[rows], data.lengths[rows]
    metadata = data.metadata[to_device(rows, data.device)]
    if rng is not None:
        piece = round(spec.piece_s * spec.frequency_hz)
        too_long = length > round(spec.longest_s * spec.frequency_hz)
        # inference uses the first piece alone if `join` is "first", and so does training then
        position = rng.random(len(rows)) if spec.join != "first" else np.zeros(len(rows))
        start = start + np.where(too_long, (position * (length - piece)).astype(np.int64), 0)
        length = np.where(too_long, piece, length)
    if augmentation is None or rng is None:
        x, valid = cut_batch(data, start, length)
        return x, valid, with_average_beat(x, valid, metadata, spec)
    if augmentation.crop_probability:
        shortest = np.minimum(length, round(augmentation.crop_s * spec.frequency_hz))
        shorter = shortest + (rng.random(len(rows)) * (length - shortest)).astype(np.int64)
        shorter = np.where(rng.random(len(rows)) < augmentation.crop_probability, shorter, length)
        start, length = start + (rng.random(len(rows)) * (length - shorter)).astype(np.int64), shorter
    stretch = _around_one(rng, augmentation.stretch, augmentation.stretch_probability, (len(rows),))
    gain = _around_one(rng, augmentation.gain, augmentation.gain_probability, (len(rows), data.samples.shape[1]))
    shift = None
    if augmentation.shift_probability:
        shifted = rng.random(len(rows)) < augmentation.shift_probability
        shift = (rng.random(len(rows)) * length * shifted).astype(np.int64)
    x, valid = cut_batch(data, start, length, stretch, gain, shift)
    if spec.rr_numbers and stretch is not None:  # a slower heart: the other RR numbers are relative
        metadata = metadata.clone()
        slower = to_device(RATE_FACTOR * np.log2(stretch), metadata.device, metadata.dtype)
        metadata[:, METADATA + RR_RATE] -= slower * metadata[:, METADATA]  # an unknown rate stays 0
    x, metadata = disturb(x.transpose(1, 2), metadata, augmentation, spec.frequency_hz, rng)
    if valid is not None:
        x = torch.where(valid[:, :, None], x, 0.0)
    x = x.transpose(1, 2)
    known = with_average_beat(x, valid, metadata, spec)
    if augmentation.beat_dropout and spec.average_beat:
        shown = to_device(rng.random((len(rows), 1)) >= augmentation.beat_dropout, known.device, known.dtype)
        known[:, spec.metadata_numbers :] *= shown
    return x, valid, known


def _around_one(
    rng: np.random.Generator, spread: float, probability: float, shape: tuple[int, ...]
) -> np.ndarray | None:
    """Random factors of that shape: 1 + uniform(−spread, spread) with the probability, else 1; None if all are 1."""
    if not spread or not probability:
        return None
    return 1 + rng.uniform(-spread, spread, shape) * (rng.random(shape) < probability)
