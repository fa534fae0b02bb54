"""A time budget for training: how many members and epochs still fit before the deadline.

First epochs are taken away, down to a third of the schedule; then members, down to one; then the epoch that is running
is cut short. What has been trained by then is always a model that can be used. What did not fit comes back when it does
again: a machine may have been busy for a while.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Scoring, thresholds and files at the end, and epochs that take longer than the one that was measured.
RESERVE = 0.08
FEWEST_EPOCHS = 1 / 3
RECENT = 5  # epochs whose median says how long one takes: a single slow one costs no member its schedule


@dataclass(frozen=True)
class Deadline:
    """When training has to end, on the wall clock, so that all processes mean the same moment."""

    at: float = math.inf

    def left(self) -> float:
        """Seconds left."""
        return self.at - time.time()

    def is_over(self) -> bool:
        return self.left() <= 0


def deadline(hours: float | None, used_seconds: float, started: float) -> Deadline:
    """The deadline of a run of so many hours that started at `started` (time.time()).

    `used_seconds` of the budget were used by earlier runs that were killed.
    """
    return Deadline() if hours is None else Deadline(started - used_seconds + hours * 3600 * (1 - RESERVE))


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


class EpochBudget:
    """What still fits of the members that one process trains one after another, decided anew after every epoch."""

    def __init__(self, members: Sequence[int], epochs: int, until: Deadline, log: Callable[[str], None]):
        self.members, self.epochs, self.until, self.log = members, epochs, until, log
        self.wanted = len(members)  # the first so many are to be trained
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def epochs_allowed(self, place: int, done: int, epoch_seconds: float) -> int:
        """How many epochs the member at this place of `members` may have, after `done` of them and the last one's seconds."""
        self._seconds.append(epoch_seconds)
        left = len(self.members) - place
        fit, epochs = affordable(self.until.left(), statistics.median(self._seconds), left, self.epochs, done)
        if place + fit < self.wanted:
            self.log(f"time budget: members {self.members[place + fit : self.wanted]} are left out")
        elif place + fit > self.wanted:
            self.log(f"time budget: members {self.members[self.wanted : place + fit]} fit again")
        self.wanted = place + fit
        return epochs
