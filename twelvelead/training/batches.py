"""Batches cut out of stored recordings, on the device: order, pieces, augmentation, padding; without a data loader.

    data = on_device(store, device)
    for rows in epoch_order(data.lengths, train_rows, 32, random):
        x, valid, side = gather(data, rows, recipe.input, recipe.augmentation, random)
        logits = model(x, valid, side)          # (batch, channels, time), bool (batch, time) or None, (batch, 7)

Random numbers are drawn on the CPU by numpy, so that a seed gives the same batches on every device.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from ..inference.predict import Data, cut_batch
from ..recipes import Augmentation, Input
from .augmentation import disturb
from .store import Store


def on_device(store: Store, device: torch.device) -> Data:
    """The store as tensors: memory-mapped on the CPU, copied as a whole to any other device."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        samples, valid = torch.from_numpy(store.samples), torch.from_numpy(store.valid)
    whole = bool(store.valid.all())
    return Data(samples.to(device), None if whole else valid.to(device), torch.from_numpy(store.side).to(device),
                store.offsets[:-1], np.diff(store.offsets))



def epoch_order(lengths: np.ndarray, rows: np.ndarray, batch_size: int,
                random: np.random.Generator) -> list[np.ndarray]:
    """One epoch's batches of rows: shuffled, but recordings of like length together.

    Each pool of 16 batches is sorted by length, so that little is padding and a batch still mixes hospitals.
    """
    rows = random.permutation(rows)
    batches = []
    for pool in np.split(rows, range(16 * batch_size, len(rows), 16 * batch_size)):
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += np.split(pool, range(batch_size, len(pool), batch_size))
    return [batches[k] for k in random.permutation(len(batches))]



def gather(data: Data, rows: np.ndarray, recipe: Input, augmentation: Augmentation | None = None,
           random: np.random.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """A batch, augmented if asked for.

    Parameters
    ----------
    rows : int array
        Recordings of the batch.
    augmentation : Augmentation, optional
    random : Generator, optional
        Where pieces of long recordings and augmentations come from. Without it recordings are taken whole.

    Returns
    -------
    x : float32 tensor (batch, channels, time)
        Zero where not valid; in memory (batch, time, channels), as channels_last convolutions want it.
    valid : bool tensor (batch, time), or None if all samples are valid
    side : float32 tensor (batch, 7)
    """
    start, length = data.offsets[rows], data.lengths[rows]
    side = data.side[torch.from_numpy(np.asarray(rows)).to(data.device)]
    if random is not None:
        piece = round(recipe.piece_s * recipe.frequency_hz)
        too_long = length > round(recipe.longest_s * recipe.frequency_hz)
        late = random.random(len(rows)) if recipe.join != "first" else np.zeros(len(rows))
        start = start + np.where(too_long, (late * (length - piece)).astype(np.int64), 0)
        length = np.where(too_long, piece, length)
    if augmentation is None:
        return *cut_batch(data, start, length), side
    if augmentation.crop_probability:
        shortest = np.minimum(length, round(augmentation.crop_s * recipe.frequency_hz))
        shorter = shortest + (random.random(len(rows)) * (length - shortest)).astype(np.int64)
        shorter = np.where(random.random(len(rows)) < augmentation.crop_probability, shorter, length)
        start, length = start + (random.random(len(rows)) * (length - shorter)).astype(np.int64), shorter
    stretch = _around_one(random, augmentation.stretch, augmentation.stretch_probability, (len(rows),))
    gain = _around_one(random, augmentation.gain, augmentation.gain_probability, (len(rows), data.samples.shape[1]))
    shift = None
    if augmentation.shift_probability:
        shifted = random.random(len(rows)) < augmentation.shift_probability
        shift = (random.random(len(rows)) * length * shifted).astype(np.int64)
    x, valid = cut_batch(data, start, length, stretch, gain, shift)
    x, side = disturb(x.transpose(1, 2), side, augmentation, recipe.frequency_hz, random)
    if valid is not None:
        x = torch.where(valid[:, :, None], x, 0.0)
    return x.transpose(1, 2), valid, side



def _around_one(random: np.random.Generator, spread: float, probability: float,
                shape: tuple[int, ...]) -> np.ndarray | None:
    """1 + uniform(−spread, spread) with that probability, else 1; None if that is always 1."""
    if not spread or not probability:
        return None
    return 1 + random.uniform(-spread, spread, shape) * (random.random(shape) < probability)

