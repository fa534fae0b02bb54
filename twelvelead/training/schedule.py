"""The learning rate and the loss of every epoch: phases laid out one after another, with or without a cosine.

schedule = epochs_of(scale_phases(recipe.training.phases, epochs))
phase, epochs_before = schedule[epoch]
rate = phase.learning_rate * rate_factor(phase, position)
"""

from __future__ import annotations

import math

from ..recipes import Phase

WARM_UP = 0.1  # share of a phase with the schedule "cosine" in which the learning rate rises from zero


def epochs_of(phases: tuple[Phase, ...]) -> list[tuple[Phase, int]]:
    """For each epoch of the training its phase, and how many epochs of that phase come before it."""
    return [(phase, before) for phase in phases for before in range(phase.epochs)]


def rate_factor(phase: Phase, position: float) -> float:
    """The learning rate at a position of the phase (0 is its beginning, 1 its end) as a share of the phase's own rate.

    1 everywhere in a constant phase. In a cosine phase it rises linearly over the first tenth, and then falls to zero
    along half a cosine.
    """
    if phase.schedule != "cosine":
        return 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * max(0.0, position - WARM_UP) / (1 - WARM_UP))
    return min(position / WARM_UP, fall)


def cycle_end(schedule: list[tuple[Phase, int]], epoch: int, loss: str) -> int:
    """Number of the first epoch, from `epoch` on, that is trained with another loss; the number of epochs if none is.

    A cycle is a run of epochs with the same loss, over one or more phases.
    """
    while epoch < len(schedule) and schedule[epoch][0].loss == loss:
        epoch += 1
    return epoch
