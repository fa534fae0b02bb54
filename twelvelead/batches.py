"""Batches cut out of stored recordings, on the device: order, pieces, augmentation, padding; without a data loader.

    data = on_device(store, device)             # or: data = stack([prepared, ...], device)
    for rows in epoch_order(data.lengths, train_rows, 32, random):
        x, valid = gather(data, rows, recipe.input, recipe.augmentation, random)
        logits = model(x, valid)                # x (batch, 12, time), valid bool (batch, time) or None

Random numbers are drawn on the CPU by numpy, so that a seed gives the same batches on every device.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from .recipes import Augmentation, Input
from .signals import Prepared, windows_of
from .store import Store

MULTIPLE = 64  # batches are padded to this many samples, the largest stride of a network here


@dataclass(frozen=True)
class Data:
    """Recordings one behind another on a device: recording i is samples[offsets[i]:offsets[i] + lengths[i]].

    Attributes
    ----------
    samples : float16 tensor (all samples, 12)
    valid : bool tensor (all samples,), or None if every sample is valid
    offsets, lengths : int64 arrays (recordings,)
    """

    samples: torch.Tensor
    valid: torch.Tensor | None
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
    return Data(samples.to(device), None if whole else valid.to(device), store.offsets[:-1], np.diff(store.offsets))


def stack(prepared: list[Prepared], device: torch.device) -> Data:
    """Prepared recordings as `Data`. Rounded to float16 as in the store: a recording has one score, not two."""
    lengths = np.array([len(item.valid) for item in prepared], dtype=np.int64)
    samples = np.concatenate([item.signal.T for item in prepared]).astype(np.float16)
    valid = np.concatenate([item.valid for item in prepared])
    return Data(torch.from_numpy(samples).to(device), None if valid.all() else torch.from_numpy(valid).to(device),
                np.cumsum(lengths) - lengths, lengths)


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
           random: np.random.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One training batch: a random piece of each long recording, stretched and amplified at random.

    Parameters
    ----------
    rows : int array (batch,)
    augmentation, random
        None: neither pieces nor augmentation, whole recordings as they are.

    Returns
    -------
    x : float32 (batch, 12, time), time a multiple of 64
    valid : bool (batch, time), or None if all samples are
    """
    start, length = data.offsets[rows], data.lengths[rows]
    stretch = gain = None
    if random is not None:
        piece = round(recipe.piece_s * recipe.frequency_hz)
        too_long = length > round(recipe.longest_s * recipe.frequency_hz)
        start = start + np.where(too_long, (random.random(len(rows)) * (length - piece)).astype(np.int64), 0)
        length = np.where(too_long, piece, length)
    if augmentation is not None:
        stretch = _around_one(random, augmentation.stretch, augmentation.stretch_probability, (len(rows),))
        gain = _around_one(random, augmentation.gain, augmentation.gain_probability, (len(rows), 12))
    return _cut(data, start, length, stretch, gain)


def _around_one(random: np.random.Generator, spread: float, probability: float, shape: tuple[int, ...]) -> np.ndarray:
    """1 + uniform(−spread, spread) with that probability, else 1."""
    return 1 + random.uniform(-spread, spread, shape) * (random.random(shape) < probability)


def _cut(data: Data, start: np.ndarray, length: np.ndarray, stretch: np.ndarray | None, gain: np.ndarray | None):
    """Samples start … start + length of each recording as one padded batch; see `gather`."""
    device = data.device
    out_length = length if stretch is None else np.maximum(np.rint(length * stretch), 1).astype(np.int64)
    time = math.ceil(out_length.max() / MULTIPLE) * MULTIPLE
    start, length = (torch.from_numpy(np.asarray(a)).to(device)[:, None] for a in (start, length))
    t = torch.arange(time, device=device)[None, :]
    valid = None
    if (out_length != time).any():
        valid = t < torch.from_numpy(out_length).to(device)[:, None]
    if stretch is None:
        at = start + torch.minimum(t, length - 1)
        x = data.samples[at].float()                                             # batch, time, 12
    else:
        position = t / torch.from_numpy(stretch).to(device, torch.float32)[:, None]
        before = torch.minimum(position.long(), length - 1)
        share = (position - before).clamp(max=1)[:, :, None]
        at, after = start + before, start + torch.minimum(before + 1, length - 1)
        x = torch.lerp(data.samples[at].float(), data.samples[after].float(), share)
    if data.valid is not None:
        valid = data.valid[at] if valid is None else valid & data.valid[at]
    if gain is not None:
        x = x * torch.from_numpy(gain).to(device, torch.float32)[:, None, :]
    if valid is not None:
        x = torch.where(valid[:, :, None], x, 0.0)
    return x.transpose(1, 2), valid


@torch.inference_mode()
def predict(model, data: Data, rows: np.ndarray, recipe: Input, batch_samples: int = 32 * 1280) -> np.ndarray:
    """Scores float32 (rows, classes): sigmoid of the model's logits, long recordings in pieces joined by the maximum.

    Parameters
    ----------
    model : callable
        (x, valid) → logits (batch, classes).
    batch_samples : int
        Samples of a batch, padding included: 32 recordings of 10 s, 3 pieces of 90 s.
    """
    rate = recipe.frequency_hz
    piece, overlap = round(recipe.piece_s * rate), round(recipe.overlap_s * rate)
    pieces = []  # (place in rows, start, length)
    for place, row in enumerate(rows):
        length = int(data.lengths[row])
        cuts = windows_of(length, piece, overlap) if length > recipe.longest_s * rate else [(0, length)]
        pieces += [(place, data.offsets[row] + start, stop - start) for start, stop in cuts]
    place, start, length = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    scores = None
    order = np.argsort(length, kind="stable")
    first = 0
    while first < len(order):
        # lengths ascend, so the last of a batch is the one that it is padded to
        last = first + 1
        while last < len(order) and (last + 1 - first) * (length[order[last]] + MULTIPLE) <= batch_samples:
            last += 1
        part = order[first:last]
        x, valid = _cut(data, start[part], length[part], None, None)
        batch = torch.sigmoid(model(x, valid).float()).cpu().numpy()
        if scores is None:
            scores = np.zeros((len(rows), batch.shape[1]), dtype=np.float32)
        np.maximum.at(scores, place[part], batch)
        first = last
    return scores
