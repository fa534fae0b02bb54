"""Batches cut out of stored recordings, on the device: order, pieces, augmentation, padding; without a data loader.

    data = on_device(store, device)             # or: data = stack([prepared, ...], device)
    for rows in epoch_order(data.lengths, train_rows, 32, random):
        x, valid, side = gather(data, rows, recipe.input, recipe.augmentation, random)
        logits = model(x, valid, side)          # (batch, channels, time), bool (batch, time) or None, (batch, 7)

Random numbers are drawn on the CPU by numpy, so that a seed gives the same batches on every device.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .augmentation import disturb
from .preprocessing.prepare import Prepared, windows_of
from .recipes import Augmentation, Input
from .store import Store

MULTIPLE = 64  # batches are padded to this many samples, the largest stride of a network here


@dataclass(frozen=True)
class Data:
    """Recordings one behind another on a device: recording i is samples[offsets[i]:offsets[i] + lengths[i]].

    Attributes
    ----------
    samples : float16 tensor (all samples, channels)
    valid : bool tensor (all samples,), or None if every sample is valid
    side : float32 tensor (recordings, 7)
        See prepare.side_of.
    offsets, lengths : int64 arrays (recordings,)
    """

    samples: torch.Tensor
    valid: torch.Tensor | None
    side: torch.Tensor
    offsets: np.ndarray
    lengths: np.ndarray

    @property
    def device(self) -> torch.device:
        return self.samples.device


def on_device(store: Store, device: torch.device) -> Data:
    """The store as tensors: memory-mapped on the CPU, copied as a whole to any other device."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        samples, valid = torch.from_numpy(store.samples), torch.from_numpy(store.valid)
    whole = bool(store.valid.all())
    return Data(samples.to(device), None if whole else valid.to(device), torch.from_numpy(store.side).to(device),
                store.offsets[:-1], np.diff(store.offsets))


def stack(prepared: list[Prepared], device: torch.device) -> Data:
    """Prepared recordings as `Data`. Rounded to float16 as in the store: a recording has one score, not two."""
    lengths = np.array([len(item.valid) for item in prepared], dtype=np.int64)
    samples = np.concatenate([item.signal.T for item in prepared]).astype(np.float16)
    valid = np.concatenate([item.valid for item in prepared])
    side = np.stack([item.side for item in prepared])
    return Data(torch.from_numpy(samples).to(device), None if valid.all() else torch.from_numpy(valid).to(device),
                torch.from_numpy(side).to(device), np.cumsum(lengths) - lengths, lengths)


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
        return *_cut(data, start, length), side
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
    x, valid = _cut(data, start, length, stretch, gain, shift)
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


def _cut(data: Data, start: np.ndarray, length: np.ndarray, stretch: np.ndarray | None = None,
         gain: np.ndarray | None = None, shift: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Samples start … start + length of each recording as one padded batch: x and valid, see `gather`.

    `shift` samples are moved from the beginning to the end.
    """
    device = data.device
    out_length = length if stretch is None else np.maximum(np.rint(length * stretch), 1).astype(np.int64)
    time = math.ceil(out_length.max() / MULTIPLE) * MULTIPLE
    start, length = (torch.from_numpy(np.asarray(a)).to(device)[:, None] for a in (start, length))
    t = torch.arange(time, device=device)[None, :]
    valid = None
    if (out_length != time).any():
        valid = t < torch.from_numpy(out_length).to(device)[:, None]

    def at(sample: torch.Tensor) -> torch.Tensor:
        """Where a recording's sample lies in the store."""
        sample = torch.minimum(sample, length - 1)
        return start + (sample if shift is None else (sample + torch.from_numpy(shift).to(device)[:, None]) % length)

    if stretch is None:
        before = at(t)
        x = data.samples[before].float()                                         # batch, time, channels
    else:
        position = t / torch.from_numpy(stretch).to(device, torch.float32)[:, None]
        sample = torch.minimum(position.long(), length - 1)
        share = (position - sample).clamp(max=1)[:, :, None]
        before, after = at(sample), at(sample + 1)
        x = torch.lerp(data.samples[before].float(), data.samples[after].float(), share)
    if data.valid is not None:
        valid = data.valid[before] if valid is None else valid & data.valid[before]
    if gain is not None:
        x = x * torch.from_numpy(gain).to(device, torch.float32)[:, None, :]
    if valid is not None:
        x = torch.where(valid[:, :, None], x, 0.0)
    return x.transpose(1, 2), valid


def predict(model, data: Data, rows: np.ndarray, recipe: Input, batch_samples: int | None = None) -> np.ndarray:
    """Scores float32 (rows, classes): sigmoid of the model's logits; see `predict_each`."""
    return predict_each([model], data, rows, recipe, batch_samples)[0]


@torch.inference_mode()
def predict_each(models: Sequence, data: Data, rows: np.ndarray, recipe: Input, batch_samples: int | None = None) -> np.ndarray:
    """Scores float32 (models, rows, classes) of several models; long recordings in pieces, joined as the recipe says.

    Parameters
    ----------
    models : sequence of callables
        (x, valid, side) → logits (batch, classes).
    batch_samples : int, optional
        Samples of a batch, padding included; a longer piece is a batch of its own. By default 16 recordings of 10 s at 125 Hz
        on a CPU, where more gain nothing, and 128 elsewhere.
    """
    batch_samples = batch_samples or (16 if data.device.type == "cpu" else 128) * 1280
    rate = recipe.frequency_hz
    piece, overlap = round(recipe.piece_s * rate), round(recipe.overlap_s * rate)
    pieces = []  # (place in rows, start, length)
    for place, row in enumerate(rows):
        length = int(data.lengths[row])
        cuts = windows_of(length, piece, overlap) if length > recipe.longest_s * rate else [(0, length)]
        cuts = cuts[:1] if recipe.join == "first" else cuts
        pieces += [(place, data.offsets[row] + start, stop - start) for start, stop in cuts]
    place, start, length = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    side = data.side[torch.from_numpy(np.asarray(rows)).to(data.device)]
    scores = None
    order = np.argsort(length, kind="stable")
    first = 0
    while first < len(order):
        # lengths ascend, so the last of a batch is the one that it is padded to
        last = first + 1
        while last < len(order) and (last + 1 - first) * (length[order[last]] + MULTIPLE) <= batch_samples:
            last += 1
        part = order[first:last]
        x, valid = _cut(data, start[part], length[part])
        known = side[torch.from_numpy(place[part]).to(data.device)]
        for k, model in enumerate(models):
            batch = torch.sigmoid(model(x, valid, known).float()).cpu().numpy()
            if scores is None:
                scores = np.zeros((len(models), len(pieces), batch.shape[1]), dtype=np.float32)
            scores[k, part] = batch
        first = last
    firsts = np.searchsorted(place, np.arange(len(rows)))  # places ascend
    if recipe.join == "mean":
        return np.add.reduceat(scores, firsts, axis=1) / np.bincount(place)[:, None].astype(np.float32)
    return np.maximum.reduceat(scores, firsts, axis=1)
