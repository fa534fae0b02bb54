"""Further passes of an epoch's average beats through the network of the beat alone.

    passes = BeatPasses(state, member_data, "cross_entropy", count=4, seeds=[seed, member, epoch])
    passes.add(x, metadata, rows)       # after each batch of the epoch; now and then it learns from what was added
    passes.finish()                     # at the end of the epoch: from the rest

The network of the beat (models/butt.py) is small, and learns slowly beside that of the signal: after eight epochs it
has seen too little, and after sixty enough (docs/laboratory-notes.md, "More passes for the average beat"). The beats
are there already, so that a pass through it alone is cheap.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..inference.predict import to_device
from ..models.butt import Butt
from ..models.network import FilledLeads
from .member_data import MemberData
from .training_state import TrainingState

BATCH = 128  # beats of one step
POOL = 16  # batches of the epoch whose beats are kept and then passed through the network


class BeatPasses:
    """The passes of one epoch. The network of the signal and the features of the metadata stay as they are in them.

    Parameters
    ----------
    state : TrainingState
        Of a network that sees the average beat; with any other there is nothing to do.
    member_data : MemberData
    loss_name : str
    count : int
        Passes in an epoch. The first is that of the whole network, so that 1 adds none.
    seeds : list of int
        The order of the beats derives from these numbers.
    """

    def __init__(self, state: TrainingState, member_data: MemberData, loss_name: str, count: int, seeds: list[int]):
        self._state, self._member_data, self._loss_name, self._more = state, member_data, loss_name, count - 1
        self._network = beat_reader(state.model)
        self._filled = next((module for module in state.model.modules() if isinstance(module, FilledLeads)), None)
        self._rng = np.random.default_rng([*seeds, 1])
        self._kept: list[tuple[torch.Tensor, np.ndarray]] = []

    def add(self, x: torch.Tensor, metadata: torch.Tensor, rows: np.ndarray) -> None:
        """A batch of the epoch, as `batches.gather` made it: signal, metadata, and the rows of its recordings."""
        if self._network is None or self._more < 1:
            return
        if self._filled is not None:
            metadata = self._filled.with_filled_beat(x, metadata)
        self._kept.append((metadata, rows))
        if len(self._kept) == POOL:
            self.finish()

    def finish(self) -> None:
        """Passes the beats that are kept through the network, at the learning rate that is set, and drops them."""
        if not self._kept:
            return
        metadata = torch.cat([each for each, _ in self._kept])
        rows = np.concatenate([each for _, each in self._kept])
        self._kept = []
        for _ in range(self._more):
            order = self._rng.permutation(len(rows))
            for places in np.split(order, range(BATCH, len(order), BATCH)):
                self._step(metadata[to_device(places, metadata.device)], rows[places])

    def _step(self, metadata: torch.Tensor, rows: np.ndarray) -> None:
        network, state = self._network, self._state
        assert network is not None and network.beat is not None  # without it nothing is kept
        with state.learning(network.beat):
            with state.autocast():
                logits = network.beat_logits(metadata)
            loss = self._member_data.loss(self._loss_name, logits, to_device(rows, metadata.device))
            state.scaler.scale(loss).backward()
            state.step()


def beat_reader(model: nn.Module) -> Butt | None:
    """The network inside the model's wrappers, if it has a network of the beat; otherwise None."""
    for module in model.modules():
        if isinstance(module, Butt) and module.beat is not None:
            return module
    return None


def passes_of_epoch(beat_epochs: int, epochs: int) -> int:
    """Passes in each epoch, of which there are `epochs`, to come near to `beat_epochs` passes in all; 1 at least."""
    return max(1, round(beat_epochs / epochs))
