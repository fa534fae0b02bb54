"""One epoch: every training recording once, in batches, forward and backward.

loss, whole = train_epoch(state, member_data, phase, epochs_before=3, seeds=[seed, member, epoch])
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from ..inference.predict import to_device
from ..recipes import Phase
from .batch_graphs import Backward, BatchGraphs, Part
from .batches import epoch_order, gather
from .beat_passes import BeatPasses
from .member_data import MemberData
from .training_state import TrainingState

# Samples of a batch that go through the network together; a larger batch is taken in parts, whose gradients add up to
# that of the batch. 32 recordings of 10 s at 125 Hz have a fifth of it, 32 of 90 s nearly twice; these would take 3 GB.
PART_SAMPLES = 3 * 2**16


def seed_of(*numbers: int) -> int:
    """A 63-bit seed for torch that derives from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def train_epoch(
    state: TrainingState,
    member_data: MemberData,
    phase: Phase,
    epochs_before: int,
    *,
    seeds: list[int],
    position: float = 0.0,
    beat_passes: int = 1,
    out_of_time: Callable[[], bool] = lambda: False,
    title: str = "",
) -> tuple[float, bool]:
    """One pass over the training recordings.

    Parameters
    ----------
    epochs_before : int
        Epochs of this phase that were done before; the learning rate follows from it.
    seeds : list of int
        Everything random in this epoch derives from these numbers.
    position : float
        Where the epoch lies in the member's training, from 0 to 1; which recordings it uses may follow from it.
    beat_passes : int
        Passes of the average beats through the network of the beat; see beat_passes.py.
    out_of_time : callable
        Asked after every batch; True ends the epoch there.
    title : str
        Of the progress bar.

    Returns
    -------
    loss : float
        Mean loss of the recordings.
    whole : bool
        False if time was out before the last batch.
    """
    torch.manual_seed(seed_of(*seeds))  # for dropout
    rng = np.random.default_rng(seeds)
    data, recipe = member_data.data, member_data.recipe
    state.train_mode()
    total = torch.zeros((), device=data.device)
    seen, whole = 0, True
    rows = member_data.rows_of_epoch(position, rng)
    order = epoch_order(data.lengths, rows, recipe.training.batch_size, rng)
    beats = BeatPasses(state, member_data, phase.loss, beat_passes, seeds)
    for k, rows in enumerate(tqdm(order, desc=title, unit="batch", leave=False, file=sys.stderr, disable=None)):
        state.set_rate(phase, (epochs_before + (k + 1) / len(order)) / phase.epochs)
        x, valid, metadata = gather(data, rows, recipe.input, recipe.augmentation, rng)
        state.zero_gradients()
        for part_loss in _backward(state, member_data, phase.loss, rows, x, valid, metadata):
            total += part_loss * len(rows)
        state.step()
        beats.add(x, metadata, rows)
        seen += len(rows)
        if out_of_time():
            whole = False
            break
    beats.finish()
    return float(total) / seen, whole


def _backward(
    state: TrainingState,
    member_data: MemberData,
    loss_name: str,
    rows: np.ndarray,
    x: torch.Tensor,
    valid: torch.Tensor | None,
    metadata: torch.Tensor,
) -> list[torch.Tensor]:
    """Computes the gradient of a batch, in parts that fit into memory; returns what each part adds to the batch's loss.

    The losses stay on the device: to read them after every batch would make a GPU wait.
    """
    index, losses = to_device(rows, x.device), []
    backward: Backward = partial(backward_of_part, state, member_data)
    if state.recorded:
        if state.graphs is None:
            state.graphs = BatchGraphs(backward)
        backward = state.graphs.backward
    parts = min(math.ceil(len(x) * x.shape[2] / PART_SAMPLES), len(x))
    for places in np.array_split(np.arange(len(x)), parts):
        inside = slice(places[0], places[-1] + 1)
        share = torch.full((), len(places) / len(rows), device=x.device)
        mask = None if valid is None else valid[inside]
        losses.append(backward(loss_name, Part(x[inside], mask, metadata[inside], index[inside], share)))
    return losses


def backward_of_part(state: TrainingState, member_data: MemberData, loss_name: str, part: Part) -> torch.Tensor:
    """The loss of a part of a batch, whose gradient is added to that of the parameters. Reads no value of a tensor."""
    with state.autocast():
        logits = state.model(part.x, part.valid, part.metadata)
    loss = member_data.loss(loss_name, logits, part.rows) * part.share
    state.scaler.scale(loss).backward()
    return loss.detach()
