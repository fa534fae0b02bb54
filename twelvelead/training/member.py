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
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..data.classes import Classes
from ..errors import UserError
from ..files import replace_file
from ..inference.predict import PackedRecordings, predict
from ..models.layers import MaskedBatchNorm
from ..models.network import FilledLeads, Standardised, accelerated, new_model
from ..recipes import Phase, Recipe, scale_phases
from ..thresholds.objectives import objective_of
from ..thresholds.search import common
from .batches import epoch_order, gather
from .losses import LOSSES, Weighting, class_weights

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
# Samples of a batch that pass through the network together; a larger batch is taken in parts. 32 recordings of 10 s at
# 125 Hz are a fifth of it, 32 of 90 s nearly twice, and would take 3 GB.
PART_SAMPLES = 3 * 2**16
WARM_UP = 0.1  # of a phase whose schedule is "cosine"


class NaNLoss(UserError):
    """Training has diverged."""


@dataclass(frozen=True)
class TrainedMember:
    """What training a member leaves.

    Attributes
    ----------
    state : dict of str → tensor
        The best weights, float32 on the CPU.
    scores : ndarray, float32 (validation rows, classes)
        Scores of the validation rows with these weights.
    history : list of dict
        One row an epoch: member, epoch, loss, learning_rate, train_loss, validation_loss, metric, threshold, seconds.
    """

    state: dict[str, torch.Tensor]
    scores: np.ndarray
    history: list[dict[str, Any]]


def seed_of(*numbers: int) -> int:
    """A 63-bit seed for torch that derives from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def train_member(
    data: PackedRecordings,
    labels: np.ndarray,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    recipe: Recipe,
    classes: Classes,
    *,
    seed: int,
    member: int,
    checkpoint: Path,
    known: np.ndarray | None = None,
    epochs_allowed: Callable[[int, float], int] | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = print,
) -> TrainedMember:
    """Trains a member, or goes on where its checkpoint stands.

    Parameters
    ----------
    data : Data
        Recordings on the device that trains.
    labels : bool (recordings, classes)
    train_rows, validation_rows : int arrays
        Disjoint rows of `data`. Validation chooses the epoch that is kept; it may be empty, then the last one is.
    classes : Classes
        Of the columns of `labels`.
    checkpoint : Path
        File written after every epoch, by rename.
    known : bool (recordings, classes), optional
        Labels that have a part in the loss; all by default.
    epochs_allowed : callable, optional
        Told the epochs done and the seconds of the last one, returns how many the member may have in all, up to the
        recipe's; the schedule is scaled to that (see recipes.scale_phases), which may be less or more than the time before.
    out_of_time : callable
        Asked after every batch; once it says so, the epoch ends early and training with it.

    Raises
    ------
    NaNLoss
        If the loss is no longer a finite number.
    """
    phases = recipe.training.phases
    wanted = epochs = sum(phase.epochs for phase in phases)
    torch.manual_seed(seed_of(seed, member))
    model = accelerated(new_model(recipe, labels.shape[1]).to(data.device), training=True)
    _fit_input_statistics(model, data, train_rows)
    task = _MemberData(data, labels, train_rows, validation_rows, recipe, classes, known)
    state = _TrainingState(model)
    if checkpoint.is_file():
        epochs = state.load(checkpoint, data.device, recipe)
        log(f"member {member}: going on after epoch {state.epoch} of {epochs}")

    while state.epoch < epochs:
        started = time.perf_counter()
        schedule = _by_epoch(scale_phases(phases, epochs))
        phase, done = schedule[state.epoch]
        state.start_phase(phase, recipe)
        loss, whole = _train_epoch(
            state,
            task,
            phase,
            done,
            random=[seed, member, state.epoch],
            out_of_time=out_of_time,
            title=f"member {member} epoch {state.epoch + 1}/{epochs}",
        )
        if not math.isfinite(loss):
            raise NaNLoss(
                f"member {member}, epoch {state.epoch + 1}: the loss ({phase.loss}) is {loss} at learning "
                f"rate {phase.learning_rate:g}; lower the learning rate or look for damaged recordings"
            )
        state.epoch += 1
        if not whole:
            epochs = state.epoch
        rate = state.rate_at(phase, (done + 0.5) / phase.epochs)  # in the middle of the epoch
        state.stale, state.rate_stale = state.stale + 1, state.rate_stale + 1
        found = state.keep_best(task)
        state.reduce_rate_on_plateau(recipe)
        seconds = time.perf_counter() - started
        state.history.append(
            dict(
                member=member,
                epoch=state.epoch,
                loss=phase.loss,
                learning_rate=rate,
                train_loss=loss,
                **found,
                seconds=round(seconds, 2),
            )
        )
        log(
            f"member {member}  epoch {state.epoch}/{epochs}  {phase.loss} {loss:.4f}  rate {rate:.3g}  validation loss "
            f"{found['validation_loss']:.4f}, metric {found['metric']:.3f} (one threshold, {found['threshold']:.2f})  "
            f"{seconds:.1f} s"
        )
        if (
            recipe.training.early_stopping_patience
            and state.stale >= recipe.training.early_stopping_patience
            and state.epoch < epochs
        ):
            log(f"member {member}: no better for {state.stale} epochs, training ends")
            epochs = state.epoch
        if epochs_allowed is not None and state.epoch < epochs:
            epochs = max(state.epoch, min(wanted, epochs_allowed(state.epoch, seconds)))
            schedule = _by_epoch(scale_phases(phases, epochs))
        if whole:
            _average(state, schedule, phase, task)
        state.save(checkpoint, epochs)

    model.load_state_dict(state.best)
    model.eval()
    scores = (
        predict(model, data, validation_rows, recipe.input)
        if len(validation_rows)
        else np.zeros((0, labels.shape[1]), dtype=np.float32)
    )
    return TrainedMember(
        {name: tensor.detach().cpu().clone() for name, tensor in state.best.items()}, scores, state.history
    )


def _by_epoch(phases: tuple[Phase, ...]) -> list[tuple[Phase, int]]:
    """For each epoch its phase, and how many epochs that phase has had before."""
    return [(phase, done) for phase in phases for done in range(phase.epochs)]


def _fit_input_statistics(model: torch.nn.Module, data: PackedRecordings, rows: np.ndarray) -> None:
    """Sets what a network knows of its input: moments of the channels over all valid samples of these recordings."""
    kinds = [module for module in model.modules() if isinstance(module, (Standardised, FilledLeads))]
    if not kinds:
        return
    count, total, products = 0, 0.0, 0.0
    for row in rows:
        piece = slice(int(data.offsets[row]), int(data.offsets[row] + data.lengths[row]))
        samples = data.samples[piece].float()
        if data.valid is not None:
            samples = samples[data.valid[piece]]
        count, total = count + len(samples), total + samples.sum(dim=0).double()
        products = products + (samples.T @ samples).double()
    mean, products = total / max(count, 1), products / max(count, 1)
    deviation = (products.diagonal() - mean**2).clamp(min=0).sqrt()
    for module in kinds:
        if isinstance(module, Standardised):
            module.mean.copy_(mean[:, None])
            module.deviation.copy_(torch.where(deviation > 0, deviation, 1.0)[:, None])
        else:
            module.covariance.copy_(products)


class _MemberData:
    """What a member learns from, and what stays the same while it does."""

    def __init__(
        self,
        data: PackedRecordings,
        labels: np.ndarray,
        train_rows: np.ndarray,
        validation_rows: np.ndarray,
        recipe: Recipe,
        classes: Classes,
        known: np.ndarray | None,
    ):
        self.data, self.labels, self.recipe, self.classes = data, labels, recipe, classes
        self.train_rows, self.validation_rows = train_rows, validation_rows
        weights = class_weights(
            labels[train_rows], recipe.training.largest_class_weight, None if known is None else known[train_rows]
        )
        self.weighting = Weighting(*(self._tensor(array) for array in (*weights, classes.weights)))
        self.targets = self._tensor(labels)
        self.known = None if known is None else self._tensor(known)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self.data.device)

    def loss(self, phase_loss: str, logits: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """The loss of these recordings."""
        rows = torch.from_numpy(rows).to(self.data.device)
        return LOSSES[phase_loss](
            logits, self.targets[rows], self.weighting, None if self.known is None else self.known[rows]
        )


class _TrainingState:
    """What changes while a member trains, and what its checkpoint holds."""

    SAVED = ("epoch", "best", "best_value", "stale", "rate", "rate_stale", "sum", "summed", "history")

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
        self.best_value = -math.inf
        self.stale = 0  # epochs since the best
        self.rate = 1.0  # factor of the learning rate
        self.rate_stale = 0  # epochs since the best, or since the rate was halved
        self.sum: dict[str, torch.Tensor] = {}  # of the weights that are averaged
        self.summed = 0
        self.history: list[dict[str, Any]] = []

    def start_phase(self, phase: Phase, recipe: Recipe) -> None:
        """Another loss starts a new cycle with a fresh optimiser and average."""
        if self.optimizer is None or phase.loss != self.loss:
            self.loss, self.sum, self.summed = phase.loss, {}, 0
            self.optimizer = OPTIMIZERS[recipe.training.optimizer](
                self.model.parameters(), lr=phase.learning_rate, weight_decay=recipe.training.weight_decay
            )

    def rate_at(self, phase: Phase, position: float) -> float:
        """The learning rate at a position, in [0, 1], of its phase."""
        factor = self.rate
        if phase.schedule == "cosine":
            factor *= min(
                position / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * max(0.0, position - WARM_UP) / (1 - WARM_UP))
            )
        return phase.learning_rate * factor

    def set_rate(self, phase: Phase, position: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(phase, position)

    def keep_best(self, task: _MemberData) -> dict[str, float]:
        """Scores the validation rows; a copy of the weights is kept if they are the best yet.

        Returns validation_loss, metric and threshold (one for all classes) of the current weights.
        """
        select, rows = task.recipe.training.select, task.validation_rows
        if len(rows) == 0:
            self.best = copy.deepcopy(self.model.state_dict())
            return dict(validation_loss=math.nan, metric=math.nan, threshold=math.nan)
        self.model.eval()
        scores = predict(self.model, task.data, rows, task.recipe.input)
        found = common(objective_of(task.classes, task.labels[rows], scores))
        loss = float(task.loss(self.loss, torch.from_numpy(scores).to(task.data.device).logit(1e-7), rows))
        metric = found.stages[-1][1]
        value = {"metric": metric, "loss": -loss, "last": float(self.epoch)}[select]
        if value > self.best_value or not self.best:
            self.best_value, self.best, self.stale, self.rate_stale = (
                value,
                copy.deepcopy(self.model.state_dict()),
                0,
                0,
            )
        return dict(validation_loss=loss, metric=metric, threshold=float(found.values[0]))

    def reduce_rate_on_plateau(self, recipe: Recipe) -> None:
        """Halves the learning rate if no epoch was better for too long."""
        if recipe.training.rate_patience and self.rate_stale >= recipe.training.rate_patience:
            self.rate, self.rate_stale = self.rate / 2, 0

    def save(self, path: Path, epochs: int) -> None:
        values = dict(
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            epochs=epochs,
            scaler=self.scaler.state_dict(),
            loss=self.loss,
            **{name: getattr(self, name) for name in self.SAVED},
        )
        replace_file(path, lambda partial: torch.save(values, partial))

    def load(self, path: Path, device: torch.device, recipe: Recipe) -> int:
        """Restores everything; returns how many epochs the member was to have."""
        try:
            values = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # torch raises anything from EOFError to UnpicklingError
            raise UserError(
                f"{path}: the checkpoint cannot be read ({error}); delete it to train this member anew"
            ) from None
        self.model.load_state_dict(values["model"])
        self.start_phase(Phase(values["loss"], 0.0, 0), recipe)
        self.optimizer.load_state_dict(values["optimizer"])
        self.scaler.load_state_dict(values["scaler"])
        for name in self.SAVED:
            setattr(self, name, values[name])
        return values["epochs"]


def _train_epoch(
    state: _TrainingState,
    task: _MemberData,
    phase: Phase,
    done: int,
    *,
    random: list[int],
    out_of_time: Callable[[], bool],
    title: str,
) -> tuple[float, bool]:
    """One pass over the rows, after `done` epochs of the phase; returns the mean loss and whether time allowed all of it."""
    torch.manual_seed(seed_of(*random))  # for dropout
    generator = np.random.default_rng(random)
    data, recipe, device = task.data, task.recipe, task.data.device
    model, optimizer, scaler = state.model.train(), state.optimizer, state.scaler
    total = torch.zeros((), device=device)
    seen, whole = 0, True
    order = epoch_order(data.lengths, task.train_rows, recipe.training.batch_size, generator)
    for k, batch in enumerate(tqdm(order, desc=title, unit="batch", leave=False, file=sys.stderr, disable=None)):
        state.set_rate(phase, (done + (k + 1) / len(order)) / phase.epochs)
        x, valid, metadata = gather(data, batch, recipe.input, recipe.augmentation, generator)
        optimizer.zero_grad(set_to_none=True)
        parts = min(math.ceil(len(x) * x.shape[2] / PART_SAMPLES), len(x))
        for part in np.array_split(np.arange(len(x)), parts):
            inside = slice(part[0], part[-1] + 1)
            with torch.autocast(device.type, dtype=state.half or torch.bfloat16, enabled=state.half is not None):
                logits = model(x[inside], None if valid is None else valid[inside], metadata[inside])
            loss = task.loss(phase.loss, logits, batch[inside]) * (len(part) / len(batch))
            scaler.scale(loss).backward()
            total += loss.detach() * len(batch)  # read once an epoch: a GPU is not made to wait
        scaler.step(optimizer)
        scaler.update()
        seen += len(batch)
        if out_of_time():
            whole = False
            break
    return float(total) / seen, whole


def _average(state: _TrainingState, schedule: list[tuple[Phase, int]], phase: Phase, task: _MemberData) -> None:
    """Stochastic weight averaging (Izmailov et al. 2018) over the end of each loss's last phase.

    At the end of the cycle the average competes with the best epoch; training itself goes on from its own weights.
    """
    losses = [phase.loss for phase, _ in schedule]
    last = state.epoch == len(losses) or losses[state.epoch] != phase.loss
    cycle_end = state.epoch
    while cycle_end < len(losses) and losses[cycle_end] == phase.loss:
        cycle_end += 1
    span = round(schedule[cycle_end - 1][0].epochs * task.recipe.training.averaged_epochs)
    if state.epoch <= cycle_end - span:
        return
    weights = {name: tensor for name, tensor in state.model.state_dict().items() if tensor.is_floating_point()}
    state.sum = {name: tensor.double() + state.sum.get(name, 0) for name, tensor in weights.items()}
    state.summed += 1
    if not last or state.summed < 2:
        return
    own = copy.deepcopy(state.model.state_dict())
    state.model.load_state_dict(
        {**own, **{name: (total / state.summed).to(own[name].dtype) for name, total in state.sum.items()}}
    )
    _update_batch_norm(state.model, task.data, task.train_rows, task.recipe)
    state.keep_best(task)
    state.model.load_state_dict(own)


@torch.no_grad()
def _update_batch_norm(
    model: torch.nn.Module, data: PackedRecordings, rows: np.ndarray, recipe: Recipe, most: int = 2048
) -> None:
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
