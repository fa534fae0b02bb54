"""Scores of many recordings: batches cut out of recordings that lie one behind another, long ones in pieces.

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

MULTIPLE = 64  # batches are padded to this many samples, the largest stride of a network here


@dataclass(frozen=True)
class PackedRecordings:
    """Recordings one behind another on a device: recording i is samples[offsets[i]:offsets[i] + lengths[i]].

    Attributes
    ----------
    samples : float16 tensor (all samples, channels)
    valid : bool tensor (all samples,), or None if every sample is valid
    metadata : float32 tensor (recordings, 7)
        See prepare.side_of.
    offsets, lengths : int64 arrays (recordings,)
    """

    samples: torch.Tensor
    valid: torch.Tensor | None
    metadata: torch.Tensor
    offsets: np.ndarray
    lengths: np.ndarray

    @property
    def device(self) -> torch.device:
        return self.samples.device


def stack(prepared: list[Prepared], device: torch.device) -> PackedRecordings:
    """Prepared recordings as `PackedRecordings`. Rounded to float16 as in the store: a recording has one score, not two."""
    lengths = np.array([len(item.valid) for item in prepared], dtype=np.int64)
    samples = np.concatenate([item.signal.T for item in prepared]).astype(np.float16)
    valid = np.concatenate([item.valid for item in prepared])
    metadata = np.stack([item.metadata for item in prepared])
    return PackedRecordings(
        torch.from_numpy(samples).to(device),
        None if valid.all() else torch.from_numpy(valid).to(device),
        torch.from_numpy(metadata).to(device),
        np.cumsum(lengths) - lengths,
        lengths,
    )


def cut_batch(
    data: PackedRecordings,
    start: np.ndarray,
    length: np.ndarray,
    stretch: np.ndarray | None = None,
    gain: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
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
        x = data.samples[before].float()  # batch, time, channels
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


def predict(
    model, data: PackedRecordings, rows: np.ndarray, spec: Input, batch_samples: int | None = None
) -> np.ndarray:
    """Scores float32 (rows, classes): sigmoid of the model's logits; see `predict_each`."""
    return predict_each([model], data, rows, spec, batch_samples)[0]


@torch.inference_mode()
def predict_each(
    models: Sequence, data: PackedRecordings, rows: np.ndarray, spec: Input, batch_samples: int | None = None
) -> np.ndarray:
    """Scores float32 (models, rows, classes) of several models; long recordings in pieces, joined as the recipe says.

    Parameters
    ----------
    models : sequence of callables
        (x, valid, metadata) → logits (batch, classes).
    batch_samples : int, optional
        Samples of a batch, padding included; a longer piece is a batch of its own. By default 16 recordings of 10 s at 125 Hz
        on a CPU, where more gain nothing, and 128 elsewhere.
    """
    batch_samples = batch_samples or (16 if data.device.type == "cpu" else 128) * 1280
    rate = spec.frequency_hz
    piece, overlap = round(spec.piece_s * rate), round(spec.overlap_s * rate)
    pieces = []  # (place in rows, start, length)
    for place, row in enumerate(rows):
        length = int(data.lengths[row])
        cuts = windows_of(length, piece, overlap) if length > spec.longest_s * rate else [(0, length)]
        cuts = cuts[:1] if spec.join == "first" else cuts
        pieces += [(place, data.offsets[row] + start, stop - start) for start, stop in cuts]
    place, start, length = np.array(pieces, dtype=np.int64).reshape(-1, 3).T
    metadata = data.metadata[torch.from_numpy(np.asarray(rows)).to(data.device)]
    scores = None
    order = np.argsort(length, kind="stable")
    first = 0
    while first < len(order):
        # lengths ascend, so the last of a batch is the one that it is padded to
        last = first + 1
        while last < len(order) and (last + 1 - first) * (length[order[last]] + MULTIPLE) <= batch_samples:
            last += 1
        part = order[first:last]
        x, valid = cut_batch(data, start[part], length[part])
        known = metadata[torch.from_numpy(place[part]).to(data.device)]
        for k, model in enumerate(models):
            batch = torch.sigmoid(model(x, valid, known).float()).cpu().numpy()
            if scores is None:
                scores = np.zeros((len(models), len(pieces), batch.shape[1]), dtype=np.float32)
            scores[k, part] = batch
        first = last
    firsts = np.searchsorted(place, np.arange(len(rows)))  # places ascend
    if spec.join == "mean":
        return np.add.reduceat(scores, firsts, axis=1) / np.bincount(place)[:, None].astype(np.float32)
    return np.maximum.reduceat(scores, firsts, axis=1)
