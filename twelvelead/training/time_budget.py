"""A time budget for training: how many members and epochs still fit before the deadline.

    until = deadline(hours, used_seconds, started)
    budget = EpochBudget(members, recipes, epochs, until, log)
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
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..recipes import AnyRecipe

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


def with_synthetic_in_time(recipe: AnyRecipe, hours: float | None, log: Callable[[str], None]) -> AnyRecipe:
    """The recipe with no more synthetic recordings than a small part of a budget of so many hours allows.

    Those that train have to be made, for each part of a joined recipe anew, and those for the search for thresholds
    have to be scored by every member. If very few of the latter can be scored, none are: thresholds that follow a
    handful of recordings are poor.
    """
    if hours is None:
        return recipe
    seconds, voting = hours * 3600 * SYNTHETIC_PART, recipe.voting
    planned = [part.synthetic.recordings for part in recipe.parts]
    most = int(seconds / SECONDS_TO_MAKE / max(1, sum(count > 0 for count in planned)))
    made = [min(count, most) for count in planned]
    scored = min(voting.convention_recordings, int(seconds / SECONDS_TO_SCORE / voting.members))
    if scored < min(voting.convention_recordings, FEWEST_CONVENTIONS):
        scored = 0
    if (made, scored) == (planned, voting.convention_recordings):
        return recipe
    log(
        f"time budget: {sum(made)} instead of {sum(planned)} synthetic recordings to learn from, and {scored} instead "
        f"of {voting.convention_recordings} to search thresholds on"
    )
    return recipe.with_parts(
        [
            dataclasses.replace(
                part,
                synthetic=dataclasses.replace(part.synthetic, recordings=count),
                voting=dataclasses.replace(part.voting, convention_recordings=scored),
            )
            for part, count in zip(recipe.parts, made)
        ]
    )


def affordable(
    left: float, epoch_seconds: float, costs: Sequence[float], epochs: int, done: int = 0
) -> tuple[int, int]:
    """How many members fit into the seconds that are left, and how many epochs the member in training may have.

    Parameters
    ----------
    left : float
        Seconds until the deadline; may be negative.
    epoch_seconds : float
        Seconds of one epoch of the member in training.
    costs : sequence of float
        The time that each member still to be trained needs for all of its epochs, the one in training first, as a
        multiple of what that one needs. All are 1 if the members are of one recipe.
    epochs : int
        The recipe's epochs of the member in training.
    done : int
        Epochs that it has had.

    Returns
    -------
    members, epochs : int
        At least 1, and at least `done`, whatever the time.
    """
    affordable_epochs = left / max(epoch_seconds, 1e-9) + done  # of members like the one in training, all together
    members = len(costs)
    if affordable_epochs >= sum(costs) * epochs:
        return members, epochs
    fewest = max(1, round(epochs * FEWEST_EPOCHS))
    while members > 1 and affordable_epochs < sum(costs[:members]) * fewest:
        members -= 1
    return members, max(1, done, min(epochs, int(affordable_epochs // sum(costs[:members]))))


def in_words(seconds: float) -> str:
    """A duration for people: "50 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class EpochBudget:
    """Decides after every epoch how many of the members that one process trains, and of their epochs, still fit.

    Parameters
    ----------
    members : sequence of int
        Numbers of the members, in the order in which they train.
    recipes : sequence of int
        For each of them its recipe, as a number. Members of one recipe need equally long.
    epochs : sequence of int
        For each of them the epochs of its recipe.

    Attributes
    ----------
    wanted : int
        So many of `members`, from the first, are to be trained.
    """

    def __init__(
        self,
        members: Sequence[int],
        recipes: Sequence[int],
        epochs: Sequence[int],
        until: Deadline,
        log: Callable[[str], None],
    ):
        self.members, self.recipes, self.epochs, self.until, self.log = members, recipes, epochs, until, log
        self.wanted = len(members)
        self._seconds: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))  # of a recipe's epochs

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
        self._seconds[self.recipes[place]].append(epoch_seconds)
        seconds = statistics.median(self._seconds[self.recipes[place]])
        costs = [self._cost(later, place) for later in range(place, len(self.members))]
        fit, epochs = affordable(self.until.left(), seconds, costs, self.epochs[place], done)
        if place + fit < self.wanted:
            self.log(f"time budget: members {self.members[place + fit : self.wanted]} are left out")
        elif place + fit > self.wanted:
            self.log(f"time budget: members {self.members[self.wanted : place + fit]} fit again")
        self.wanted = place + fit
        return epochs

    def _cost(self, later: int, place: int) -> float:
        """How long a later member needs as a multiple of what the member in training needs.

        1 for a recipe that has not been trained yet: until more is known, all recipes get the same time.
        """
        if self.recipes[later] == self.recipes[place] or not self._seconds.get(self.recipes[later]):
            return 1.0
        needed, reference = (self.epochs[k] * statistics.median(self._seconds[self.recipes[k]]) for k in (later, place))
        return needed / max(reference, 1e-9)

    def seconds_left(self, place: int, done: int, epochs: int, epoch_seconds: float) -> float:
        """Seconds until the process has trained all of its members, at most those until the deadline.

        Parameters
        ----------
        place, done, epoch_seconds
            As for `epochs_allowed`, which is called afterwards.
        epochs : int
            Epochs that the member in training is to have in all.
        """
        typical = statistics.median([*self._seconds[self.recipes[place]], epoch_seconds][-RECENT:])
        later = sum(self._cost(k, place) for k in range(place + 1, self.wanted)) * self.epochs[place]
        return max(min((epochs - done + later) * typical, self.until.left()), 0.0)
