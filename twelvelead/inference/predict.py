"""Scores of many recordings: padded batches on one device, and long recordings scored in pieces.

data = stack([prepared, ...], device)                   # or training.batches.on_device(store, device)
scores = predict(model, data, rows, recipe.input)       # float32 (rows, classes)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..preprocessing.prepare import Prepared, windows_of
from ..recipes import Input
from .average_beat import with_average_beat

MULTIPLE = 64  # batches are padded to a multiple of this many samples, the largest stride of any network here
CPU_BATCH = 16  # recordings of 10 s at 125 Hz in one batch; larger batches are not faster on a CPU
GPU_BATCH = 128


@dataclass(frozen=True)
class PackedRecordings:
    """Recordings laid end to end on a device: recording i is samples[offsets[i]:offsets[i] + lengths[i]].

    Attributes
    ----------
    samples : float16 tensor (all samples, channels)
    valid : bool tensor (all samples,), or None if every sample is valid
    metadata : float32 tensor (recordings, 7 or 13)
        See preprocessing.prepare.metadata_of.
    offsets, lengths : int64 arrays (recordings,)
    further : tuple of PackedRecordings
        The same recordings as the other recipes of a joined model take them; see prepare.Prepared.
    """

    samples: torch.Tensor
    valid: torch.Tensor | None
    metadata: torch.Tensor
    offsets: np.ndarray
    lengths: np.ndarray
    further: tuple[PackedRecordings, ...] = ()

    @property
    def device(self) -> torch.device:
        return self.samples.device

    def sample_index(self, rows: np.ndarray) -> torch.Tensor:
        """Where in `samples` those of these recordings lie, one recording after another; int64, on the device."""
        pieces = [np.arange(start, start + length) for start, length in zip(self.offsets[rows], self.lengths[rows])]
        return to_device(np.concatenate(pieces), self.device)


def to_device(array: np.ndarray, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The array as a tensor on a device. The processor does not wait until a GPU has done its earlier work."""
    return torch.from_numpy(np.asarray(array)).to(device, dtype, non_blocking=True)


def stack(prepared: list[Prepared], device: torch.device) -> PackedRecordings:
    """Packs prepared recordings.

    Samples are rounded to float16, as they are in the store of preprocessed recordings that training reads. A recording
    therefore gets the same score during training and afterwards. All recordings are prepared for the same inputs.
    """
    lengths = np.array([len(item.valid) for item in prepared], dtype=np.int64)
    samples = np.concatenate([item.signal.T for item in prepared]).astype(np.float16)
    valid = np.concatenate([item.valid for item in prepared])
    metadata = np.stack([item.metadata for item in prepared])
    return PackedRecordings(
        to_device(samples, device),
        None if valid.all() else to_device(valid, device),
        to_device(metadata, device),
        np.cumsum(lengths) - lengths,
        lengths,
        tuple(stack(list(others), device) for others in zip(*(item.further for item in prepared))),
    )


def cut_batch(
    data: PackedRecordings,
    start: np.ndarray,
    length: np.ndarray,
    stretch: np.ndarray | None = None,
    gain: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Cuts one piece out of each of several recordings and pads the pieces to one length.

    Parameters
    ----------
    data : PackedRecordings
    start, length : int64 (batch,)
        Each piece is data.samples[start:start + length].
    stretch : float (batch,), optional
        Factor on the duration of each piece; samples are interpolated linearly.
    gain : float (batch, channels), optional
        Factor on each channel.
    shift : int64 (batch,), optional
        Each piece is rotated: its first `shift` samples are moved to its end.

    Returns
    -------
    x : float32 tensor (batch, channels, time)
        Zero where a sample is padding or not valid. `time` is a multiple of `MULTIPLE`.
    valid : bool tensor (batch, time), or None if every sample is valid
    """
    device = data.device
    stretched_length = length if stretch is None else np.maximum(np.rint(length * stretch), 1).astype(np.int64)
    time = math.ceil(stretched_length.max() / MULTIPLE) * MULTIPLE
    starts, lengths = (to_device(values, device)[:, None] for values in (start, length))
    shifts = None if shift is None else to_device(shift, device)[:, None]
    t = torch.arange(time, device=device)[None, :]
    valid = None
    if (stretched_length != time).any():
        valid = t < to_device(stretched_length, device)[:, None]

    def packed_index(sample: torch.Tensor) -> torch.Tensor:
        """Index into data.samples of a piece's sample; what lies beyond the end is its last sample."""
        sample = torch.minimum(sample, lengths - 1)
        return starts + (sample if shifts is None else (sample + shifts) % lengths)

    if stretch is None:
        before = packed_index(t)
        x = data.samples[before].float()  # batch, time, channels
    else:
        position = t / to_device(stretch, device, torch.float32)[:, None]
        sample = torch.minimum(position.long(), lengths - 1)
        share = (position - sample).clamp(max=1)[:, :, None]
        before, after = packed_index(sample), packed_index(sample + 1)
        x = torch.lerp(data.samples[before].float(), data.samples[after].float(), share)
    if data.valid is not None:
        valid = data.valid[before] if valid is None else valid & data.valid[before]
    if gain is not None:
        x = x * to_device(gain, device, torch.float32)[:, None, :]
    if valid is not None:
        x = torch.where(valid[:, :, None], x, 0.0)
    return x.transpose(1, 2), valid


def predict(
    model, data: PackedRecordings, rows: np.ndarray, spec: Input, batch_samples: int | None = None
) -> np.ndarray:
    """Scores float32 (rows, classes) of one model: the sigmoid of its logits. Parameters as in `predict_each`."""
    return predict_each([model], data, rows, spec, batch_samples)[0]


@torch.inference_mode()
def predict_each(
    models: Sequence, data: PackedRecordings, rows: np.ndarray, spec: Input, batch_samples: int | None = None
) -> np.ndarray:
    """Scores float32 (models, rows, classes) of several models.

    A recording longer than spec.longest_s is scored in pieces, whose scores are joined as spec.join says.

    Parameters
    ----------
    models : sequence of callables
        (x, valid, metadata) → logits (batch, classes).
    data : PackedRecordings
    rows : int array
        The recordings of `data` to score.
    spec : Input
        The recipe's input.
    batch_samples : int, optional
        Most samples in one batch, padding included; a piece that is longer is a batch of its own. By default those of
        16 recordings of 10 s at 125 Hz on a CPU, and of 128 on a GPU.
    """
    batch_samples = batch_samples or (CPU_BATCH if data.device.type == "cpu" else GPU_BATCH) * 1280
    place, start, length = _pieces(data, rows, spec)
    metadata = data.metadata[to_device(rows, data.device)]
    scores = None
    by_length = np.argsort(length, kind="stable")
    first = 0
    while first < len(by_length):
        # lengths ascend, so that the last piece of a batch is the one that the others are padded to
        last = first + 1
        while last < len(by_length) and (last + 1 - first) * (length[by_length[last]] + MULTIPLE) <= batch_samples:
            last += 1
        batch = by_length[first:last]
        x, valid = cut_batch(data, start[batch], length[batch])
        known = with_average_beat(x, valid, metadata[to_device(place[batch], data.device)], spec)
        for k, model in enumerate(models):
            batch_scores = torch.sigmoid(model(x, valid, known).float()).cpu().numpy()
            if scores is None:
                scores = np.zeros((len(models), len(place), batch_scores.shape[1]), dtype=np.float32)
            scores[k, batch] = batch_scores
        first = last
    assert scores is not None, "there are no recordings to score"
    first_pieces = np.searchsorted(place, np.arange(len(rows)))  # places ascend
    if spec.join == "mean":
        return np.add.reduceat(scores, first_pieces, axis=1) / np.bincount(place)[:, None].astype(np.float32)
    return np.maximum.reduceat(scores, first_pieces, axis=1)


def _pieces(data: PackedRecordings, rows: np.ndarray, spec: Input) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pieces to score: for each its place in `rows` (ascending), its start in data.samples and its length."""
    rate = spec.frequency_hz
    piece, overlap = round(spec.piece_s * rate), round(spec.overlap_s * rate)
    pieces = []
    for k, row in enumerate(rows):
        n_samples = int(data.lengths[row])
        cuts = windows_of(n_samples, piece, overlap) if n_samples > spec.longest_s * rate else [(0, n_samples)]
        cuts = cuts[:1] if spec.join == "first" else cuts
        pieces += [(k, data.offsets[row] + begin, end - begin) for begin, end in cuts]
    place, start, length = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    return place, start, length
