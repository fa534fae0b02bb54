"""One frozen dataclass for each published system, and ours: values and names only.

    recipe = get_recipe("butt").scaled(epochs=10, members=3)
    recipe_from_dict(json.loads(text)) == recipe      # recipes travel as JSON, with the model

A new recipe is one value at the end of this file, named in RECIPES. Every number of a paper stands here and nowhere else.
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
    per_recording_scale: bool = (
        False  # True: divided by the recording's own amplitude, which the network hears of as a number
    )
    high_pass_hz: float = 0.0  # what is slower is removed; 0: nothing is
    centred: bool = False  # the mean of each lead is removed
    envelopes_hz: tuple[float, ...] = ()  # the leads' envelopes below each frequency are further channels
    undo_arm_reversal: bool = False  # arm electrodes that were evidently exchanged are set right
    fill_leads: bool = (
        False  # missing leads are estimated from the others, as they go together in the training recordings
    )
    standardised: bool = False  # each channel by its mean and deviation over the training recordings
    longest_s: float = 105.0  # a longer recording goes in pieces, in training one random piece an epoch
    piece_s: float = 90.0
    overlap_s: float = 5.0
    join: str = (
        "max"  # of the pieces' scores: "max" or "mean"; "first": only the first piece is looked at, in training too
    )

    @property
    def channels(self) -> int:
        return 12 * (1 + len(self.envelopes_hz))


@dataclass(frozen=True)
class Augmentation:
    """What training does to a recording, each with its own probability, drawn for every recording and epoch."""

    stretch: float = 0.0  # duration × (1 ± stretch)
    stretch_probability: float = 0.0
    gain: float = 0.0  # amplitude of a lead × (1 ± gain), drawn for every lead
    gain_probability: float = 0.0
    shift_probability: float = 0.0  # begins anywhere, what was before comes after the end
    crop_s: float = 0.0  # recordings are cut to a random piece of at least this length; 0: they are not
    crop_probability: float = 0.0
    band_probability: float = 0.0  # a random low-pass and high-pass filter
    noise_probability: float = 0.0  # each of hum, baseline wander and muscle noise
    noise_db: tuple[float, float] = (5.0, 25.0)  # signal-to-noise ratio, uniform
    arm_swap_probability: float = 0.0  # right and left arm electrodes exchanged
    lead_drop_probability: float = 0.0  # some chest leads, or all, are flat
    metadata_dropout: float = 0.0  # age, sex, amplitude: each unknown


@dataclass(frozen=True)
class Phase:
    """Epochs with one loss at one learning rate."""

    loss: str  # a name in losses.LOSSES
    learning_rate: float
    epochs: int
    schedule: str = "constant"  # "cosine": over the phase's batches up to the learning rate, then down to nothing


@dataclass(frozen=True)
class Training:
    phases: tuple[Phase, ...]
    batch_size: int = 32
    optimizer: str = "adamw"  # a name in training.OPTIMIZERS
    weight_decay: float = 0.0
    averaged_epochs: float = 0.0  # weights are averaged over this last part of each loss's last phase
    # A single positive in 3,000 would weigh 3,000 times a negative, without limit.
    largest_class_weight: float | None = None
    select: str = (
        "metric"  # which epoch is kept: the best validation "metric" (one threshold for all), "loss", or "last"
    )
    rate_patience: int = 0  # epochs without a better validation after which the learning rate is halved; 0: never
    early_stopping_patience: int = 0  # the same for the end of training
    unknown_labels: str = "negative"  # of a class that a source never annotates: "negative", or "masked" from the loss


@dataclass(frozen=True)
class Voting:
    """How members are made, and how their scores become labels."""

    members: int
    train_fraction: float = 0.0  # each member trains on its own random part of the recordings; the rest validates
    folds: int = 0  # instead of that: member k validates on fold k of so many
    threshold_method: str = "bayesian"  # a name in search.METHODS
    threshold_options: dict[str, float] = field(default_factory=dict)  # arguments of that method
    thresholds: str = "ensemble"  # "ensemble": mean score against out-of-bag thresholds; "members": majority vote
    shrinkage: float = 0.0  # thresholds are moved by this part of the way to a common one, see search.shrink
    rate_labels: bool = False  # searched with sinus rhythm also called bradycardia or tachycardia, by its heart rate
    at_least_one: bool = False  # a recording without a label gets its likeliest one


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a system, and from which its model is rebuilt.

    Attributes
    ----------
    model : str
        A name in the models' registry, and `network` the keyword arguments of its function.
    label_set : str
        "challenge": the scored classes of the weights table; "cpsc": the nine of the unofficial phase.
    """

    name: str
    summary: str
    source: str
    model: str
    network: dict[str, Any]
    training: Training
    voting: Voting
    input: Input = field(default_factory=Input)
    augmentation: Augmentation = field(default_factory=Augmentation)
    label_set: str = "challenge"

    def scaled(self, *, epochs: int | None = None, members: int | None = None, width: int | None = None) -> Recipe:
        """The recipe at a smaller (or larger) budget: epochs a member, members, filters of the first level.

        Members of a recipe with folds cannot be more than its folds: fewer leave some folds' models out.

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
            members = min(members, self.voting.folds or members)
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
        values["voting"] = Voting(**values["voting"])
        values["input"] = Input(**_tuples(values["input"]))
        values["augmentation"] = Augmentation(**_tuples(values["augmentation"]))
        return Recipe(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the recipe does not fit this version of twelvelead ({error})") from None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


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


# ------------------------------------------------------------------------------------------------ published systems

_VICAR_2020 = "T. Vicar, J. Hejc, P. Novotna, M. Ronzhina, O. Janousek, CinC 2020, paper 189"

BUTT_2020 = Recipe(
    name="butt-2020",
    summary="Vicar et al., official phase 2020: 3 ResNets with global skips and a BUTT head, 24 classes, majority vote",
    source=_VICAR_2020,
    model="butt",
    # Filters: the code's 30. The paper's best is with 48 ("wide"), its small variant has 12.
    network=dict(width=30, levels=6, convolutions=3, kernel=7),
    input=Input(frequency_hz=125, unit_mv=0.2, longest_s=105, piece_s=90, overlap_s=5, join="max"),
    augmentation=Augmentation(stretch=0.1, stretch_probability=0.8, gain=0.2, gain_probability=0.8),
    training=Training(
        phases=(  # epochs of the code; the paper says 30 a step
            Phase("weighted_cross_entropy", 1e-3, 30),
            Phase("weighted_cross_entropy", 1e-4, 20),
            Phase("weighted_cross_entropy", 1e-5, 10),
            Phase("challenge_loss", 1e-3, 15),
            Phase("challenge_loss", 1e-4, 10),
            Phase("challenge_loss", 1e-5, 10),
        ),
        # "over the last epochs": how many, the paper does not say
        batch_size=32,
        optimizer="adamw",
        weight_decay=1e-5,
        averaged_epochs=0.5,
    ),
    voting=Voting(
        members=3,
        train_fraction=0.9,
        threshold_method="bayesian",
        threshold_options=dict(random_points=250, guided_points=50),
        thresholds="members",
    ),
)

BUTT_CPSC = Recipe(
    name="butt-cpsc",
    summary="Vicar et al., unofficial phase 2020: 11 ResNets with a BUTT head at 500 Hz, the nine CPSC classes",
    source="T. Vicar et al., abstract for the unofficial phase of the Challenge 2020",
    label_set="cpsc",
    model="butt",
    # The small of the abstract's two variants; the large one has width 8, 9 levels, 6 convolutions a level.
    network=dict(width=4, levels=8, convolutions=2, kernel=13),
    # Longer recordings than any of CPSC 2018 (60 s): cut as the same authors did later.
    input=Input(frequency_hz=500, unit_mv=1.0, standardised=True, longest_s=105, piece_s=90, overlap_s=5, join="max"),
    augmentation=Augmentation(
        stretch=0.2, stretch_probability=0.7, gain=0.2, gain_probability=0.7, shift_probability=0.7
    ),
    training=Training(
        phases=tuple(
            Phase("weighted_cross_entropy", rate, epochs)  # × 0.1 every 35 epochs, 107 epochs
            for rate, epochs in ((1e-2, 35), (1e-3, 35), (1e-4, 35), (1e-5, 2))
        ),
        batch_size=32,
        optimizer="adam",
    ),
    voting=Voting(
        members=11,
        train_fraction=0.8,
        threshold_method="bayesian",
        threshold_options=dict(random_points=250, guided_points=50),
        thresholds="ensemble",
    ),
)

SE_RESNET = Recipe(
    name="se-resnet",
    summary="Zhao et al., second of 2020: 5 squeeze-and-excitation ResNets with age and sex, one a fold, majority vote",
    source="Z. Zhao et al., CinC 2020, paper 112",
    model="se_resnet",
    network=dict(width=64, blocks=8, stem_kernel=15, kernel=7, reduction=16, dropout=0.2, person_features=10),
    # 4096 samples; shorter recordings are padded with zeros there, which here do not exist for the network
    input=Input(
        frequency_hz=257, unit_mv=1.0, longest_s=4096 / 257, piece_s=4096 / 257, overlap_s=256 / 257, join="mean"
    ),
    training=Training(
        phases=(Phase("cross_entropy", 3e-3, 20), Phase("cross_entropy", 3e-4, 20), Phase("cross_entropy", 3e-5, 10)),
        batch_size=64,
        optimizer="adam",
    ),
    voting=Voting(
        members=5,
        folds=5,
        threshold_method="constrained_grid",
        threshold_options=dict(common_step=0.1, class_step=0.01),
        thresholds="members",
    ),
)

CRNN = Recipe(
    name="crnn",
    summary="Singstad and Tronstad, unofficial phase 2020: 10 convolutional LSTM networks, one a fold, nine CPSC classes",
    source="B.-J. Singstad, C. Tronstad, abstract for the unofficial phase of the Challenge 2020, and their code",
    label_set="cpsc",
    model="crnn",
    network=dict(
        width=1024,
        blocks=7,
        kernel=5,
        pool=5,
        pool_stride=3,
        last_pool=3,
        last_pool_stride=1,
        samples=10_000,
        dropout=0.5,
    ),
    input=Input(frequency_hz=500, unit_mv=1.0, longest_s=20, piece_s=20, overlap_s=0, join="first"),
    training=Training(
        # Categorical cross-entropy of the abstract, on the sigmoids that the code ends in. Batch size, rate and patience
        # are Keras's usual ones: neither tells them.
        phases=(Phase("categorical_cross_entropy", 1e-3, 10),),
        batch_size=32,
        optimizer="adam",
        select="loss",
        early_stopping_patience=3,
    ),
    voting=Voting(
        members=10,
        folds=10,
        threshold_method="simplex",
        threshold_options=dict(common_step=0.05),
        thresholds="ensemble",
    ),
)

CNN_GRU = Recipe(
    name="cnn-gru",
    summary="Nejedly et al., CinC 2020: one residual CNN-GRU with attention on leads and their envelopes, one threshold",
    source="P. Nejedly et al., CinC 2020, paper 32",
    model="cnn_gru",
    # Width, dropout and attention: see models/cnn_gru.py.
    network=dict(width=256, blocks=5, convolutions=3, kernel=3, dropout=0.2),
    # Always resampled; rates close to 250 Hz were passed through there, which failed on the hidden set. Padded to 2 min
    # there, here the padding does not exist; of longer recordings the first 2 min are looked at.
    input=Input(
        frequency_hz=250,
        unit_mv=1.0,
        centred=True,
        envelopes_hz=(8.0, 24.0),
        longest_s=120,
        piece_s=120,
        overlap_s=0,
        join="first",
    ),
    training=Training(
        phases=(Phase("cross_entropy", 1e-3, 75),), batch_size=64, optimizer="adam", weight_decay=1e-6, rate_patience=7
    ),
    voting=Voting(members=1, train_fraction=0.75, threshold_method="common", thresholds="ensemble"),
)

# ------------------------------------------------------------------------------------------------------------- ours

# What differs from butt-2020 was chosen by what holds on sources left out of training: docs/generalisation.md.
BUTT = Recipe(
    name="butt",
    summary="the default: 11 ResNets with global skips and a BUTT head, 24 classes, made to hold at other hospitals",
    source=_VICAR_2020 + "; docs/generalisation.md",
    model="butt",
    network={**BUTT_2020.network, "metadata_features": 16},  # age, sex and amplitude
    # No unit that a wrong gain could spoil, no baseline; pieces as long as most recordings, so that a long one is not likelier
    # to have anything; electrodes that were exchanged or fell off are made up for.
    input=Input(
        frequency_hz=125,
        per_recording_scale=True,
        high_pass_hz=0.5,
        undo_arm_reversal=True,
        fill_leads=True,
        longest_s=15,
        piece_s=10,
        overlap_s=5,
        join="mean",
    ),
    augmentation=dataclasses.replace(
        BUTT_2020.augmentation,
        band_probability=0.2,
        noise_probability=0.15,
        arm_swap_probability=0.05,
        lead_drop_probability=0.3,
        crop_s=5,
        crop_probability=0.2,
        metadata_dropout=0.5,
    ),
    # Without the Challenge metric as a loss: it teaches how frequent the diagnoses are here, and costs the order of the scores.
    training=Training(
        phases=(Phase("weighted_cross_entropy", 2e-3, 60, "cosine"),),
        batch_size=32,
        optimizer="adamw",
        weight_decay=1e-5,
        largest_class_weight=10.0,
        unknown_labels="masked",
    ),
    voting=Voting(
        members=11,
        train_fraction=0.8,
        threshold_method="bayesian",
        threshold_options=BUTT_2020.voting.threshold_options,
        thresholds="ensemble",
        shrinkage=0.6,
        rate_labels=True,
        at_least_one=True,
    ),
)

RECIPES = {recipe.name: recipe for recipe in (BUTT, BUTT_2020, BUTT_CPSC, SE_RESNET, CRNN, CNN_GRU)}
