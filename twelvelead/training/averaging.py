"""Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights of the last epochs of each cycle.

average(state, schedule, phase, member_data)        # after every whole epoch
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from ..inference.predict import PackedRecordings
from ..models.layers import MaskedBatchNorm
from ..recipes import Phase, Recipe
from .batches import epoch_order, gather
from .member_data import MemberData, validate
from .schedule import cycle_end
from .training_state import TrainingState

BATCH_NORM_RECORDINGS = 2048  # enough for the statistics, however many recordings there are


def average(state: TrainingState, schedule: list[tuple[Phase, int]], phase: Phase, member_data: MemberData) -> None:
    """Adds the weights of the epoch just done to the average, if it is one of the last epochs of its cycle.

    `averaged_epochs` of the recipe is the share of the cycle's last phase that is averaged. At the end of the cycle the
    average competes with the best epoch. Training itself goes on from its own weights, not from the average.
    """
    end = cycle_end(schedule, state.epoch, phase.loss)
    span = round(schedule[end - 1][0].epochs * member_data.recipe.training.averaged_epochs)
    if state.epoch <= end - span:
        return
    weights = {name: tensor for name, tensor in state.model.state_dict().items() if tensor.is_floating_point()}
    state.sum = {name: tensor.double() + state.sum.get(name, 0) for name, tensor in weights.items()}
    state.summed += 1
    if state.epoch < end or state.summed < 2:
        return
    current = copy.deepcopy(state.model.state_dict())
    mean = {name: (total / state.summed).to(current[name].dtype) for name, total in state.sum.items()}
    state.model.load_state_dict({**current, **mean})
    _update_batch_norm(state, member_data.data, member_data.train_rows, member_data.recipe)
    state.keep_best(validate(state.model, member_data, state.loss))
    state.model.load_state_dict(current)


@torch.no_grad()
def _update_batch_norm(state: TrainingState, data: PackedRecordings, rows: np.ndarray, recipe: Recipe) -> None:
    """Measures the statistics of batch normalisation anew, for weights that no batch was trained with.

    They become the mean over batches of unaugmented recordings.
    """
    model = state.model
    state.train_mode()  # a layer that it leaves in evaluation mode keeps its statistics
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    rng = np.random.default_rng(0)
    rows = rng.permutation(rows)[:BATCH_NORM_RECORDINGS]
    for batch in epoch_order(data.lengths, rows, recipe.training.batch_size, rng):
        model(*gather(data, batch, recipe.input, None, rng))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
