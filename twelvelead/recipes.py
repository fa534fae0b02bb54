"""One frozen dataclass for each published system, and ours: values and names only.

    recipe = get_recipe("butt").scaled(epochs=10, members=3)
    recipe_from_dict(json.loads(text)) == recipe      # recipes travel as JSON, with the model

A new recipe is one value at the end of this file.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .errors import UserError


@dataclass(frozen=True)
class Input:
    """What a model takes, and how long recordings are cut."""

    frequency_hz: float = 125.0
    unit_mv: float = 0.2  # millivolts that make 1.0
    longest_s: float = 105.0  # a longer recording goes in pieces, in training one random piece an epoch
    piece_s: float = 90.0
    overlap_s: float = 5.0


@dataclass(frozen=True)
class Augmentation:
    """Each with its own probability, drawn for every recording and epoch (gain: for every lead)."""

    stretch: float = 0.1  # duration × (1 ± stretch)
    stretch_probability: float = 0.8
    gain: float = 0.2  # amplitude of a lead × (1 ± gain)
    gain_probability: float = 0.8


@dataclass(frozen=True)
class Phase:
    """Epochs with one loss at one learning rate."""

    loss: str  # a name in losses.LOSSES
    learning_rate: float
    epochs: int


@dataclass(frozen=True)
class Training:
    phases: tuple[Phase, ...]
    batch_size: int = 32
    weight_decay: float = 1e-5
    averaged_epochs: float = 0.5  # weights are averaged over this last part of each loss's last phase
    # A single positive in 3,000 would weigh 3,000 times a negative; the published rule has no such limit, but was
    # only used where every class had hundreds of positives.
    largest_class_weight: float = 100.0


@dataclass(frozen=True)
class Voting:
    """How members are made, and how their scores become labels."""

    members: int = 11
    train_fraction: float = 0.8
    threshold_method: str = "bayesian"  # a name in thresholds.METHODS
    thresholds: str = "ensemble"  # "ensemble": mean score against out-of-bag thresholds; "members": majority vote
    at_least_one: bool = True  # a recording without a label gets its likeliest one; this never lowers the metric


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a system, and from which its model is rebuilt.

    Attributes
    ----------
    model : str
        A name in the models' registry, and `network` the keyword arguments of its function.
    """

    name: str
    summary: str
    source: str
    model: str
    network: dict[str, Any]
    training: Training
    input: Input = field(default_factory=Input)
    augmentation: Augmentation = field(default_factory=Augmentation)
    voting: Voting = field(default_factory=Voting)

    def scaled(self, *, epochs: int | None = None, members: int | None = None, width: int | None = None) -> Recipe:
        """The recipe at a smaller (or larger) budget: epochs a member, members, filters of the first level.

        Raises
        ------
        UserError
            If a number is below 1.
        """
        for name, value in (("epochs", epochs), ("members", members), ("width", width)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")
        recipe = self
        if epochs is not None:
            training = dataclasses.replace(self.training, phases=scale_phases(self.training.phases, epochs))
            recipe = dataclasses.replace(recipe, training=training)
        if members is not None:
            recipe = dataclasses.replace(recipe, voting=dataclasses.replace(self.voting, members=members))
        if width is not None:
            recipe = dataclasses.replace(recipe, network={**self.network, "width": width})
        return recipe


def scale_phases(phases: tuple[Phase, ...], epochs: int) -> tuple[Phase, ...]:
    """Shares `epochs` out over the phases in proportion to their lengths, each loss's first phase before the others.

    With one epoch a loss the learning rates are the first ones; with fewer epochs than losses, the last losses get
    none. Phases without an epoch are left out.
    """
    firsts = [k for k, phase in enumerate(phases) if k == 0 or phases[k - 1].loss != phase.loss]
    share = [0] * len(phases)
    for k in firsts[:epochs]:
        share[k] = 1
    total = sum(phase.epochs for phase in phases)
    for _ in range(epochs - sum(share)):  # the phase that is furthest behind its part
        behind = [phase.epochs * epochs / total - given for phase, given in zip(phases, share)]
        share[behind.index(max(behind))] += 1
    return tuple(dataclasses.replace(phase, epochs=given) for phase, given in zip(phases, share) if given)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values."""
    return dataclasses.asdict(recipe)


def recipe_from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote.

    Raises
    ------
    UserError
        If a field is unknown or missing: the file is of another version.
    """
    try:
        values = dict(values)
        training = dict(values["training"])
        training["phases"] = tuple(Phase(**phase) for phase in training["phases"])
        values["training"] = Training(**training)
        for name, kind in (("input", Input), ("augmentation", Augmentation), ("voting", Voting)):
            values[name] = kind(**values[name])
        return Recipe(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the recipe does not fit this version of twelvelead ({error})") from None


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises
    ------
    UserError
        If there is none; the message lists those that exist.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe '{name}'; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


_VICAR_2020 = "T. Vicar, J. Hejc, P. Novotna, M. Ronzhina, O. Janousek, CinC 2020, paper 189"

BUTT = Recipe(
    name="butt",
    summary="11 one-dimensional ResNets with global skips and a BUTT head, 24 classes, out-of-bag thresholds",
    source=_VICAR_2020,
    model="butt",
    # The paper's best is with 48 filters ("wide"); 30 are the code's default and what the time limits allow.
    network=dict(width=30, levels=6, convolutions=3, kernel=7),
    training=Training(phases=(
        # The authors' code; the paper says 30 epochs a step.
        Phase("weighted_cross_entropy", 1e-3, 30), Phase("weighted_cross_entropy", 1e-4, 20),
        Phase("weighted_cross_entropy", 1e-5, 10),
        Phase("challenge_metric", 1e-3, 15), Phase("challenge_metric", 1e-4, 10), Phase("challenge_metric", 1e-5, 10),
    )),
)

RECIPES = {recipe.name: recipe for recipe in (BUTT,)}
