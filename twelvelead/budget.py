"""A time budget for training: how many members and epochs still fit before the deadline.

First epochs are taken away, down to a third of the schedule; then members, down to one; then the epoch that is running
is cut short. What has been trained by then is always a model that can be used.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

# Scoring, thresholds and files at the end, and epochs that take longer than the one that was measured.
RESERVE = 0.08
FEWEST_EPOCHS = 1 / 3


@dataclass
class Budget:
    """Seconds for the whole of training, and those that an earlier, killed run has used of them."""

    seconds: float = math.inf
    used_before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def used(self) -> float:
        """Seconds used so far, earlier runs included."""
        return self.used_before + time.monotonic() - self.started

    def left(self) -> float:
        """Seconds left for training."""
        return self.seconds * (1 - RESERVE) - self.used()

    def is_over(self) -> bool:
        return self.left() <= 0


def affordable(left: float, epoch_seconds: float, members: int, epochs: int, done: int = 0) -> tuple[int, int]:
    """How many members, and epochs each, fit into the seconds that are left.

    Parameters
    ----------
    left : float
        Seconds.
    epoch_seconds : float
        Seconds of one epoch of one member.
    members, epochs : int
        What the recipe wants: members still to come, the one in training included, and the epochs of each.
    done : int
        Epochs that the member in training has had.

    Returns
    -------
    members, epochs : int
        At least 1, and at least `done`, whatever the time.
    """
    fits = left / max(epoch_seconds, 1e-9) + done  # epochs in all
    if fits >= members * epochs:
        return members, epochs
    fewest = max(1, round(epochs * FEWEST_EPOCHS))
    if fits < members * fewest:
        members = max(1, int(fits // fewest))
    return members, max(1, done, min(epochs, int(fits // members)))
