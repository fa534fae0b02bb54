"""Training of one member of an ensemble, from random weights or from where its checkpoint stands.

    trained = train_member(data, labels, train_rows, validation_rows, recipe, classes,
                           seed=0, member=3, checkpoint=folder / "member_03.checkpoint")
    trained.state        # the best weights
    trained.scores       # their scores of the validation recordings

Every random number derives from (seed, member, epoch), and a checkpoint is written after every epoch: a training that
was killed goes on with the next epoch and ends with the weights that it would have ended with anyway.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.classes import Classes
from ..errors import UserError
from ..inference.predict import PackedRecordings, predict
from ..models.network import accelerated, new_model
from ..recipes import Recipe, scale_phases
from .averaging import average
from .beat_passes import passes_of_epoch
from .epoch import seed_of, train_epoch
from .few_leads import fit_few_lead_lines
from .fine_tuning import Start, copy_weights
from .member_data import MemberData, fit_input_statistics, validate
from .schedule import epochs_of
from .time_budget import in_words
from .training_state import CheckpointError, TrainingState


class NaNLossError(UserError):
    """The loss is no longer a finite number: training has diverged."""


@dataclass(frozen=True)
class TrainedMember:
    """The result of training one member.

    Attributes
    ----------
    state : dict of str → tensor
        The best weights, float32 on the CPU.
    scores : ndarray, float32 (validation rows, classes)
        Scores of the validation recordings with these weights.
    convention_scores : ndarray, float32 (convention rows, classes)
        Scores of the recordings on which thresholds are searched beside the validation recordings.
    history : list of dict
        One row for each epoch: member, epoch, loss, learning_rate, train_loss, validation_loss, metric, threshold,
        auprc, seconds.
    """

    state: dict[str, torch.Tensor]
    scores: np.ndarray
    convention_scores: np.ndarray
    history: list[dict[str, Any]]


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
    key: str = "",
    known: np.ndarray | None = None,
    synthetic_rows: np.ndarray | None = None,
    convention_rows: np.ndarray | None = None,
    targets: np.ndarray | None = None,
    epochs_allowed: Callable[[int, float], int] | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
    seconds_left: Callable[[int, int, float], float] | None = None,
    after_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
    start: Start | None = None,
    log: Callable[[str], None] = print,
) -> TrainedMember:
    """Trains a member, or goes on where its checkpoint stands.

    Parameters
    ----------
    data : PackedRecordings
        Recordings on the device that trains.
    labels : bool (recordings, classes)
    train_rows, validation_rows : int arrays
        Disjoint rows of `data`. Validation chooses the epoch that is kept; it may be empty, then the last one is.
    classes : Classes
        Of the columns of `labels`.
    checkpoint : Path
        File that is written after every epoch, whole or not at all. One that is damaged, or that was written with
        another key, is not used; the member starts anew then.
    key : str
        Of the training run that the member belongs to.
    known : bool (recordings, classes), optional
        Labels that take part in the loss; all by default.
    synthetic_rows : int array, optional
        Rows of `data` with synthetic recordings, from which the member learns too as the recipe says.
    convention_rows : int array, optional
        Further rows of `data` that are only scored, when training has ended.
    targets : float (recordings, classes), optional
        From 0 to 1: what the member learns in the place of the labels, see teacher.joined_targets.
    epochs_allowed : callable, optional
        Is told the epochs done and the seconds of the last one, and returns how many the member may have in all, at
        most the recipe's. The schedule is scaled to that number (see recipes.scale_phases), which may be less or more
        than the time before.
    out_of_time : callable
        Asked after every batch; True ends the epoch early and the training with it.
    seconds_left : callable, optional
        Is told the epochs done, the epochs in all and the seconds of the last one, and returns how many seconds are
        left, which the log then says.
    after_epoch : callable, optional
        Is given the history after every epoch, when its checkpoint is written.
    start : Start, optional
        The trained model from which the member starts; by default it starts from random weights.

    Raises
    ------
    NaNLossError
        If the loss is no longer a finite number.
    UserError
        If the checkpoint cannot be written.
    """
    member_data = MemberData(data, labels, train_rows, validation_rows, recipe, classes, known, synthetic_rows)
    if targets is not None:
        member_data.learn(targets)
    state, epochs = _start_or_resume(member_data, seed, member, checkpoint, key, start, log)
    while state.epoch < epochs:
        epochs = _next_epoch(state, member_data, epochs, seed, member, epochs_allowed, out_of_time, seconds_left, log)
        state.save(checkpoint, key, epochs)
        if after_epoch is not None:
            after_epoch(state.history)
    return _result(state, member_data, np.zeros(0, dtype=np.int64) if convention_rows is None else convention_rows)


def _start_or_resume(
    member_data: MemberData,
    seed: int,
    member: int,
    checkpoint: Path,
    key: str,
    start: Start | None,
    log: Callable[[str], None],
) -> tuple[TrainingState, int]:
    """The state after the last epoch that has a checkpoint, or a new one; and how many epochs the member is to have."""
    if checkpoint.is_file():
        state = _new_state(member_data, seed, member, start)
        try:
            epochs = state.load(checkpoint, key)
            log(f"member {member}: going on after epoch {state.epoch} of {epochs}")
            return state, epochs
        except CheckpointError as error:
            log(f"{checkpoint}: the checkpoint cannot be used ({error}); member {member} starts anew")
            checkpoint.unlink()
    epochs = sum(phase.epochs for phase in member_data.recipe.training.phases)
    return _new_state(member_data, seed, member, start), epochs


def _new_state(member_data: MemberData, seed: int, member: int, start: Start | None) -> TrainingState:
    """A network with random weights, which knows the statistics of its input, or with those of a trained model."""
    recipe, data = member_data.recipe, member_data.data
    torch.manual_seed(seed_of(seed, member))
    model = accelerated(new_model(recipe, member_data.labels.shape[1]).to(data.device), training=True)
    if start is None:
        fit_input_statistics(model, data, np.concatenate([member_data.train_rows, member_data.synthetic_rows]))
    else:  # with the statistics of the input that its weights are used to
        copy_weights(model, start, member, recipe)
    return TrainingState(model, recipe, start)


def _next_epoch(
    state: TrainingState,
    member_data: MemberData,
    epochs: int,
    seed: int,
    member: int,
    epochs_allowed: Callable[[int, float], int] | None,
    out_of_time: Callable[[], bool],
    seconds_left: Callable[[int, int, float], float] | None,
    log: Callable[[str], None],
) -> int:
    """Trains one epoch and decides what follows from it; returns how many epochs the member is to have now."""
    started = time.perf_counter()
    phases = member_data.recipe.training.phases
    schedule = epochs_of(scale_phases(phases, epochs))
    phase, epochs_before = schedule[state.epoch]
    state.start_phase(phase)
    loss, whole = train_epoch(
        state,
        member_data,
        phase,
        epochs_before,
        seeds=[seed, member, state.epoch],
        position=(state.epoch + 0.5) / epochs,
        # A network that starts from a trained one has seen enough beats.
        beat_passes=1 if state.start else passes_of_epoch(member_data.recipe.training.beat_epochs, epochs),
        out_of_time=out_of_time,
        title=f"member {member} epoch {state.epoch + 1}/{epochs}",
    )
    if not math.isfinite(loss):
        raise NaNLossError(
            f"member {member}, epoch {state.epoch + 1}: the loss ({phase.loss}) is {loss} at learning "
            f"rate {phase.learning_rate:g}; lower the learning rate or look for damaged recordings"
        )
    state.epoch += 1
    if not whole:
        epochs = state.epoch
    rate_in_the_middle = state.rate_at(phase, (epochs_before + 0.5) / phase.epochs)
    state.count_stale_epoch()
    validation = validate(state.model, member_data, phase.loss)
    state.keep_best(validation)
    state.reduce_rate_on_plateau()
    seconds = time.perf_counter() - started
    row = dict(
        member=member,
        epoch=state.epoch,
        loss=phase.loss,
        learning_rate=rate_in_the_middle,
        train_loss=loss,
        validation_loss=validation.loss,
        metric=validation.metric,
        threshold=validation.threshold,
        auprc=validation.auprc,
        seconds=round(seconds, 2),
    )
    state.history.append(row)
    left = "" if seconds_left is None else f", about {in_words(seconds_left(state.epoch, epochs, seconds))} left"
    log(_line_of(row, epochs) + left)
    if state.should_stop_early() and state.epoch < epochs:
        log(f"member {member}: no better for {state.stale} epochs, training ends")
        epochs = state.epoch
    if epochs_allowed is not None and state.epoch < epochs:
        wanted = sum(phase.epochs for phase in phases)
        epochs = max(state.epoch, min(wanted, epochs_allowed(state.epoch, seconds)))
        schedule = epochs_of(scale_phases(phases, epochs))
    if whole:
        average(state, schedule, phase, member_data)
    return epochs


def _line_of(row: dict[str, Any], epochs: int) -> str:
    """What the log says after an epoch, from its row of the history."""
    return (
        f"member {row['member']}  epoch {row['epoch']}/{epochs}  {row['loss']} {row['train_loss']:.4f}  "
        f"rate {row['learning_rate']:.3g}  validation loss {row['validation_loss']:.4f}, metric {row['metric']:.3f} "
        f"(one threshold, {row['threshold']:.2f})  {row['seconds']:.1f} s"
    )


def _result(state: TrainingState, member_data: MemberData, convention_rows: np.ndarray) -> TrainedMember:
    """The best weights, and their scores of the validation recordings and of the convention rows."""
    data, spec = member_data.data, member_data.recipe.input
    state.model.load_state_dict(state.best)
    fit_few_lead_lines(state.model.eval(), data, member_data.validation_rows, spec)

    def scores_of(rows: np.ndarray) -> np.ndarray:
        if len(rows) == 0:
            return np.zeros((0, member_data.labels.shape[1]), dtype=np.float32)
        return predict(state.model, data, rows, spec)

    scores, convention_scores = scores_of(member_data.validation_rows), scores_of(convention_rows)
    weights = {name: tensor.detach().cpu().clone() for name, tensor in state.model.state_dict().items()}
    return TrainedMember(weights, scores, convention_scores, state.history)
