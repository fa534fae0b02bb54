"""Training of one member: loop, schedule, averaging, checkpoint, resume.

    result = train_member(data, labels, train_rows, validation_rows, recipe, classes,
                          seed=0, member=3, checkpoint=folder / "member_03.checkpoint")
    result.state        # the best weights
    result.scores       # their scores of the validation rows

Every random number derives from (seed, member, epoch), and a checkpoint is written after every epoch: a run that was
killed goes on with the next epoch and ends where an uninterrupted one ends.
"""

from __future__ import annotations

import copy
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from . import models, thresholds
from .batches import Data, epoch_order, gather, predict
from .classes import Classes
from .errors import UserError
from .losses import LOSSES, Weighting, class_weights
from .models.layers import MaskedBatchNorm
from .recipes import Phase, Recipe, scale_phases

LEADS = 12


class NaNLoss(UserError):
    """Training has diverged."""


@dataclass(frozen=True)
class Trained:
    """What training a member leaves.

    Attributes
    ----------
    state : dict of str → tensor
        The best weights, float32 on the CPU.
    scores : ndarray, float32 (validation rows, classes)
        Scores of the validation rows with these weights.
    history : list of dict
        One row an epoch: member, epoch, loss, learning_rate, train_loss, metric, threshold, seconds.
    """

    state: dict[str, torch.Tensor]
    scores: np.ndarray
    history: list[dict[str, Any]]


def new_model(recipe: Recipe, classes: int) -> torch.nn.Module:
    """The recipe's network with random weights from torch's global generator."""
    return models.build(recipe.model, leads=LEADS, classes=classes, **recipe.network)


def seed_of(*numbers: int) -> int:
    """A 63-bit seed for torch that derives from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def train_member(data: Data, labels: np.ndarray, train_rows: np.ndarray, validation_rows: np.ndarray, recipe: Recipe,
                 classes: Classes, *, seed: int, member: int, checkpoint: Path,
                 epochs_allowed: Callable[[int, float], int] | None = None,
                 out_of_time: Callable[[], bool] = lambda: False, log: Callable[[str], None] = print) -> Trained:
    """Trains a member, or goes on where its checkpoint stands.

    Parameters
    ----------
    data : Data
        Recordings on the device that trains.
    labels : bool (recordings, classes)
    train_rows, validation_rows : int arrays
        Disjoint rows of `data`. Validation chooses the best epoch; it may be empty, then the last epoch is kept.
    classes : Classes
        Of the columns of `labels`.
    checkpoint : Path
        File written after every epoch, by rename.
    epochs_allowed : callable, optional
        Told the epochs done and the seconds of the last one, returns how many the member may have in all; the schedule
        is scaled to that (see recipes.scale_phases).
    out_of_time : callable
        Asked after every batch; once it says so, the epoch ends early and training with it.

    Raises
    ------
    NaNLoss
        If the loss is no longer a finite number.
    """
    device = data.device
    phases = recipe.training.phases
    epochs = sum(phase.epochs for phase in phases)
    torch.manual_seed(seed_of(seed, member))
    model = new_model(recipe, labels.shape[1]).to(device)
    state = _State(model)
    if checkpoint.is_file():
        epochs = state.load(checkpoint, device, recipe)
        log(f"member {member}: going on after epoch {state.epoch} of {epochs}")
    positive, negative = class_weights(labels[train_rows], recipe.training.largest_class_weight)
    weighting = Weighting(*(torch.tensor(array, dtype=torch.float32, device=device)
                            for array in (positive, negative, classes.weights)))
    targets = torch.tensor(labels, dtype=torch.float32, device=device)

    while state.epoch < epochs:
        started = time.perf_counter()
        schedule = _by_epoch(scale_phases(phases, epochs))
        phase = schedule[state.epoch]
        state.start_phase(phase, recipe)
        loss, whole = _train_epoch(state, data, targets, train_rows, recipe, weighting, phase,
                                   random=[seed, member, state.epoch], out_of_time=out_of_time,
                                   title=f"member {member} epoch {state.epoch + 1}/{epochs}")
        if not math.isfinite(loss):
            raise NaNLoss(f"member {member}, epoch {state.epoch + 1}: the loss ({phase.loss}) is {loss} at learning "
                          f"rate {phase.learning_rate:g}; lower the learning rate or look for damaged recordings")
        state.epoch += 1
        if not whole:
            epochs = state.epoch
        metric, threshold = state.keep_best(data, labels, validation_rows, recipe, classes)
        seconds = time.perf_counter() - started
        state.history.append(dict(member=member, epoch=state.epoch, loss=phase.loss, learning_rate=phase.learning_rate,
                                  train_loss=loss, metric=metric, threshold=threshold, seconds=round(seconds, 2)))
        log(f"member {member}  epoch {state.epoch}/{epochs}  {phase.loss} {loss:.4f}  rate {phase.learning_rate:g}  "
            f"validation metric {metric:.3f} (one threshold, {threshold:.2f})  {seconds:.1f} s")
        if epochs_allowed is not None and state.epoch < epochs:
            epochs = max(state.epoch, min(epochs, epochs_allowed(state.epoch, seconds)))
            schedule = _by_epoch(scale_phases(phases, epochs))
        if whole:
            _average(state, schedule, phase, data, train_rows, labels, validation_rows, recipe, classes)
        state.save(checkpoint, epochs)

    model.load_state_dict(state.best)
    model.eval()
    scores = (predict(model, data, validation_rows, recipe.input) if len(validation_rows)
              else np.zeros((0, labels.shape[1]), dtype=np.float32))
    return Trained({name: tensor.detach().cpu().clone() for name, tensor in state.best.items()}, scores, state.history)


def _by_epoch(phases: tuple[Phase, ...]) -> list[Phase]:
    return [phase for phase in phases for _ in range(phase.epochs)]


class _State:
    """What changes while a member trains, and what its checkpoint holds."""

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.optimizer: torch.optim.Optimizer | None = None
        device = next(model.parameters()).device
        # bfloat16 needs no loss scaling; cards before Ampere (the Challenge's T4) only have float16
        self.half = None
        if device.type == "cuda":
            self.half = torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half == torch.float16)
        self.loss = ""  # of the current cycle
        self.epoch = 0
        self.best: dict[str, torch.Tensor] = {}
        self.best_metric = -math.inf
        self.sum: dict[str, torch.Tensor] = {}  # of the weights that are averaged
        self.summed = 0
        self.history: list[dict[str, Any]] = []

    def start_phase(self, phase: Phase, recipe: Recipe) -> None:
        """Sets the learning rate; another loss starts a new cycle with a fresh optimiser and average."""
        if self.optimizer is None or phase.loss != self.loss:
            self.loss, self.sum, self.summed = phase.loss, {}, 0
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=phase.learning_rate,
                                               weight_decay=recipe.training.weight_decay)
        for group in self.optimizer.param_groups:
            group["lr"] = phase.learning_rate

    def keep_best(self, data: Data, labels: np.ndarray, rows: np.ndarray, recipe: Recipe,
                  classes: Classes) -> tuple[float, float]:
        """Scores the validation rows; a copy of the weights is kept if they are the best yet. → metric, threshold"""
        if len(rows) == 0:
            self.best = copy.deepcopy(self.model.state_dict())
            return math.nan, math.nan
        self.model.eval()
        scores = predict(self.model, data, rows, recipe.input)
        found = thresholds.common(
            thresholds.challenge_metric(labels[rows], scores, classes.weights, classes.sinus_rhythm))
        metric, threshold = found.stages[-1][1], float(found.values[0])
        if metric > self.best_metric or not self.best:
            self.best_metric, self.best = metric, copy.deepcopy(self.model.state_dict())
        return metric, threshold

    def save(self, path: Path, epochs: int) -> None:
        partial = path.with_name(path.name + ".part")
        torch.save(dict(model=self.model.state_dict(), optimizer=self.optimizer.state_dict(), epochs=epochs,
                        scaler=self.scaler.state_dict(), loss=self.loss, epoch=self.epoch, best=self.best,
                        best_metric=self.best_metric, sum=self.sum, summed=self.summed, history=self.history), partial)
        os.replace(partial, path)

    def load(self, path: Path, device: torch.device, recipe: Recipe) -> int:
        """Restores everything; returns how many epochs the member was to have."""
        try:
            values = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # torch raises anything from EOFError to UnpicklingError
            raise UserError(f"{path}: the checkpoint cannot be read ({error}); "
                            "delete it to train this member anew") from None
        self.model.load_state_dict(values["model"])
        self.start_phase(Phase(values["loss"], 0.0, 0), recipe)
        self.optimizer.load_state_dict(values["optimizer"])
        self.scaler.load_state_dict(values["scaler"])
        for name in ("epoch", "best", "best_metric", "sum", "summed", "history"):
            setattr(self, name, values[name])
        return values["epochs"]


def _train_epoch(state: _State, data: Data, targets: torch.Tensor, rows: np.ndarray, recipe: Recipe,
                 weighting: Weighting, phase: Phase, *, random: list[int], out_of_time: Callable[[], bool], title: str) -> tuple[float, bool]:
    """One pass over the rows; returns the mean loss and whether time allowed the whole of it."""
    loss_of = LOSSES[phase.loss]
    torch.manual_seed(seed_of(*random))  # for dropout
    generator = np.random.default_rng(random)
    model, optimizer, scaler = state.model.train(), state.optimizer, state.scaler
    total = torch.zeros((), device=data.device)
    seen, whole = 0, True
    order = epoch_order(data.lengths, rows, recipe.training.batch_size, generator)
    for batch in tqdm(order, desc=title, unit="batch", leave=False, file=sys.stderr, disable=None):
        x, valid = gather(data, batch, recipe.input, recipe.augmentation, generator)
        with torch.autocast(data.device.type, dtype=state.half or torch.bfloat16, enabled=state.half is not None):
            logits = model(x, valid)
        loss = loss_of(logits, targets[torch.from_numpy(batch).to(data.device)], weighting)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += loss.detach() * len(batch)  # read once an epoch: a GPU is not made to wait
        seen += len(batch)
        if out_of_time():
            whole = False
            break
    return float(total) / seen, whole


def _average(state: _State, schedule: list[Phase], phase: Phase, data: Data, train_rows: np.ndarray, labels: np.ndarray,
             validation_rows: np.ndarray, recipe: Recipe, classes: Classes) -> None:
    """Stochastic weight averaging (Izmailov et al. 2018) over the end of each loss's last phase.

    At the end of the cycle the average competes with the best epoch; training itself goes on from its own weights.
    """
    last = state.epoch == len(schedule) or schedule[state.epoch].loss != phase.loss
    cycle_end = state.epoch
    while cycle_end < len(schedule) and schedule[cycle_end].loss == phase.loss:
        cycle_end += 1
    span = round(schedule[cycle_end - 1].epochs * recipe.training.averaged_epochs)
    if state.epoch <= cycle_end - span:
        return
    weights = {name: tensor for name, tensor in state.model.state_dict().items() if tensor.is_floating_point()}
    state.sum = {name: tensor.double() + state.sum.get(name, 0) for name, tensor in weights.items()}
    state.summed += 1
    if not last or state.summed < 2:
        return
    own = copy.deepcopy(state.model.state_dict())
    state.model.load_state_dict({**own, **{name: (total / state.summed).to(own[name].dtype)
                                           for name, total in state.sum.items()}})
    _estimate_norms(state.model, data, train_rows, recipe)
    state.keep_best(data, labels, validation_rows, recipe, classes)
    state.model.load_state_dict(own)


@torch.no_grad()
def _estimate_norms(model: torch.nn.Module, data: Data, rows: np.ndarray, recipe: Recipe, most: int = 2048) -> None:
    """Batch-norm statistics of weights that were never trained with: a mean over batches of unaugmented recordings."""
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    random = np.random.default_rng(0)
    rows = random.permutation(rows)[:most]
    for batch in epoch_order(data.lengths, rows, recipe.training.batch_size, random):
        model(*gather(data, batch, recipe.input, None, random))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
