"""A time budget for training: how many members and epochs still fit before the deadline.

    until = deadline(hours, used_seconds, started)
    budget = EpochBudget(members, recipe_epochs, until, log)
    epochs = budget.epochs_allowed(place, epochs_done, seconds_of_the_last_epoch)       # after every epoch

When time is short, members first get fewer epochs, down to a third of the recipe's. Then members are left out, down to
one. At the deadline the running epoch ends early. So there is always a usable model at the end. Members and epochs that
were taken away are given back if there is time for them after all: the machine may only have been busy for a while.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..recipe import Recipe

RESERVE = 0.08  # share of the budget for scoring, thresholds and files at the end, and for epochs slower than measured
FEWEST_EPOCHS = 1 / 3  # share of the recipe's epochs; rather than give a member fewer, it is left out
SYNTHETIC_PART = 0.05  # most of the budget that may go into making synthetic recordings, and into scoring some of them
SECONDS_TO_MAKE = 0.006  # one synthetic recording, on one core (benchmarks/synthetic_speed.py)
SECONDS_TO_SCORE = 0.01  # one recording by one member of full width, on one core (docs/performance.md)
FEWEST_CONVENTIONS = 200  # synthetic recordings on which thresholds are searched, if any are
RECENT = 5  # the median of so many epochs says how long one takes, so that a single slow one changes nothing


@dataclass(frozen=True)
class Deadline:
    """When training has to end: seconds as time.time() counts them, so that all processes mean the same moment."""

    at: float = math.inf

    def left(self) -> float:
        """Seconds left."""
        return self.at - time.time()

    def is_over(self) -> bool:
        return self.left() <= 0


def deadline(hours: float | None, used_seconds: float, started: float) -> Deadline:
    """The deadline for a budget of so many hours; without hours there is none.

    Parameters
    ----------
    hours : float or None
    used_seconds : float
        Seconds of the budget that earlier runs, which were killed, have used.
    started : float
        When this run started, time.time().
    """
    return Deadline() if hours is None else Deadline(started - used_seconds + hours * 3600 * (1 - RESERVE))


def with_synthetic_in_time(recipe: Recipe, hours: float | None, log: Callable[[str], None]) -> Recipe:
    """The recipe with no more synthetic recordings than a small part of a budget of so many hours allows.

    Those that train have to be made, and those for the search for thresholds have to be scored by every member. If very
    few of the latter can be scored, none are: thresholds that follow a handful of recordings are poor.
    """
    if hours is None:
        return recipe
    seconds, plan, voting = hours * 3600 * SYNTHETIC_PART, recipe.synthetic, recipe.voting
    made = min(plan.recordings, int(seconds / SECONDS_TO_MAKE))
    scored = min(voting.convention_recordings, int(seconds / SECONDS_TO_SCORE / voting.members))
    if scored < min(voting.convention_recordings, FEWEST_CONVENTIONS):
        scored = 0
    if (made, scored) == (plan.recordings, voting.convention_recordings):
        return recipe
    log(
        f"time budget: {made} instead of {plan.recordings} synthetic recordings to learn from, and {scored} instead of "
        f"{voting.convention_recordings} to search thresholds on"
    )
    return dataclasses.replace(
        recipe,
        synthetic=dataclasses.replace(plan, recordings=made),
        voting=dataclasses.replace(voting, convention_recordings=scored),
    )


def affordable(left: float, epoch_seconds: float, members: int, epochs: int, done: int = 0) -> tuple[int, int]:
    """How many members, and epochs each, fit into the seconds that are left.

    Parameters
    ----------
    left : float
        Seconds until the deadline; may be negative.
    epoch_seconds : float
        Seconds of one epoch of one member.
    members, epochs : int
        Members still to be trained, the one in training included, and the recipe's epochs of each.
    done : int
        Epochs that the member in training has had.

    Returns
    -------
    members, epochs : int
        At least 1, and at least `done`, whatever the time.
    """
    affordable_epochs = left / max(epoch_seconds, 1e-9) + done  # of all members together
    if affordable_epochs >= members * epochs:
        return members, epochs
    fewest = max(1, round(epochs * FEWEST_EPOCHS))
    if affordable_epochs < members * fewest:
        members = max(1, int(affordable_epochs // fewest))
    return members, max(1, done, min(epochs, int(affordable_epochs // members)))


def in_words(seconds: float) -> str:
    """A duration for people: "50 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class EpochBudget:
    """Decides after every epoch how many of the members that one process trains, and of their epochs, still fit.

    Attributes
    ----------
    wanted : int
        So many of `members`, from the first, are to be trained.
    """

    def __init__(self, members: Sequence[int], epochs: int, until: Deadline, log: Callable[[str], None]):
        self.members, self.epochs, self.until, self.log = members, epochs, until, log
        self.wanted = len(members)
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def epochs_allowed(self, place: int, done: int, epoch_seconds: float) -> int:
        """How many epochs the member in training may have in all.

        Parameters
        ----------
        place : int
            Of the member in `members`.
        done : int
            Epochs that it has had.
        epoch_seconds : float
            Seconds of the last one.
        """
        self._seconds.append(epoch_seconds)
        members_left = len(self.members) - place
        fit, epochs = affordable(self.until.left(), statistics.median(self._seconds), members_left, self.epochs, done)
        if place + fit < self.wanted:
            self.log(f"time budget: members {self.members[place + fit : self.wanted]} are left out")
        elif place + fit > self.wanted:
            self.log(f"time budget: members {self.members[self.wanted : place + fit]} fit again")
        self.wanted = place + fit
        return epochs

    def seconds_left(self, place: int, done: int, epochs: int, epoch_seconds: float) -> float:
        """Seconds until the process has trained all of its members, at most those until the deadline.

        Parameters
        ----------
        place, done, epoch_seconds
            As for `epochs_allowed`, which is called afterwards.
        epochs : int
            Epochs that the member in training is to have in all.
        """
        typical = statistics.median([*self._seconds, epoch_seconds][-RECENT:])
        later = max(self.wanted - place - 1, 0) * self.epochs
        return max(min((epochs - done + later) * typical, self.until.left()), 0.0)
