"""What a recipe is: frozen dataclasses that hold every choice of a system, from its input to its vote.

    smaller = get_recipe("butt").scaled(epochs=10, members=3)      # get_recipe is in recipes.py
    recipe_from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe

Recipes hold numbers and names only, no code, so that they travel as JSON with the model. The recipes themselves are in
recipes.py. A model with members of several recipes has a joined recipe; see joined_recipe.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import UserError

METADATA = 7  # numbers about the person and the amplitude; see preprocessing/prepare.py, `metadata_of`
RR_NUMBERS = 6  # further ones about the distances between beats; see preprocessing/heart_rate.py, `rr_numbers`
BEAT_BEFORE_S, BEAT_AFTER_S = 0.32, 0.576  # of the QRS complex in an average beat; see inference/average_beat.py


@dataclass(frozen=True)
class Input:
    """What a model takes, and how long recordings are cut into pieces; see preprocessing/prepare.py.

    Attributes
    ----------
    frequency_hz : float
        Sampling frequency of the model input.
    unit_mv : float
        Millivolts that become 1.0 in the model input.
    per_recording_scale : bool
        Divide each recording by its own amplitude instead of by `unit_mv`; the network gets the amplitude as a number.
    per_lead_scale : bool
        Divide each lead by its own standard deviation in the recording instead of by `unit_mv`.
    high_pass_hz : float
        Slower components are removed; 0 removes nothing.
    band_pass_hz : tuple of float
        Lower and upper edge of a Butterworth band-pass filter, applied forwards and backwards; () for none.
    band_pass_order : int
        Its order.
    centred : bool
        Subtract the mean of each lead.
    envelopes_hz : tuple of float
        For each frequency, the leads' envelopes below it become twelve further channels.
    undo_arm_reversal : bool
        Detect exchanged arm electrodes and exchange them back.
    fill_leads : bool
        Estimate missing leads from the others by a linear fit to the training recordings.
    derive_limb_leads : bool
        Compute missing limb leads from two others, which is exact. Otherwise they are zero like missing chest leads.
    standardised : bool
        Subtract from each channel its mean over the training recordings and divide by its standard deviation.
    rr_numbers : bool
        The network also gets six numbers about the distances between beats; see preprocessing/heart_rate.py.
    average_beat : bool
        The network also gets the average beat of the twelve leads; see inference/average_beat.py.
    longest_s : float
        A longer recording is cut into pieces. Training takes one random piece in each epoch.
    piece_s, overlap_s : float
        Length of a piece, and how much of it the next piece repeats.
    join : str
        How the pieces' scores become one: "max", "mean", or "first". With "first" only the first piece is used, in
        training too.
    """

    frequency_hz: float = 125.0
    unit_mv: float = 0.2
    per_recording_scale: bool = False
    per_lead_scale: bool = False
    high_pass_hz: float = 0.0
    band_pass_hz: tuple[float, ...] = ()
    band_pass_order: int = 3
    centred: bool = False
    envelopes_hz: tuple[float, ...] = ()
    undo_arm_reversal: bool = False
    fill_leads: bool = False
    derive_limb_leads: bool = True
    standardised: bool = False
    rr_numbers: bool = False
    average_beat: bool = False
    longest_s: float = 105.0
    piece_s: float = 90.0
    overlap_s: float = 5.0
    join: str = "max"

    @property
    def metadata_numbers(self) -> int:
        """How many numbers are known beside the signal."""
        return METADATA + RR_NUMBERS * self.rr_numbers

    @property
    def beat_samples(self) -> int:
        """Samples of the average beat; 0 without one."""
        if not self.average_beat:
            return 0
        return round(BEAT_BEFORE_S * self.frequency_hz) + round(BEAT_AFTER_S * self.frequency_hz)

    @property
    def network_numbers(self) -> int:
        """How many numbers the network gets beside the signal: the metadata, and then the average beat."""
        return self.metadata_numbers + self.beat_samples * self.channels

    @property
    def channels(self) -> int:
        """Channels of the model input: twelve leads, and twelve envelopes for each frequency."""
        return 12 * (1 + len(self.envelopes_hz))


@dataclass(frozen=True)
class Augmentation:
    """Random changes to recordings in training, drawn anew for each recording and epoch, each with its own probability.

    Attributes
    ----------
    stretch, stretch_probability : float
        The duration is multiplied by a number in 1 ± stretch.
    gain, gain_probability : float
        The amplitude of each lead is multiplied by its own number in 1 ± gain.
    shift_probability : float
        The recording is rotated in time: it begins at a random sample, and what was before follows its end.
    crop_s, crop_probability : float
        The recording is cut to a random piece of at least this many seconds; 0 never cuts.
    band_probability : float
        A random low-pass and high-pass filter.
    noise_probability : float
        Of each of three noises: mains hum, baseline wander, muscle noise.
    noise_db : tuple of float
        Lowest and highest signal-to-noise ratio in dB, drawn uniformly between them.
    arm_swap_probability : float
        Right and left arm electrodes are exchanged.
    lead_drop_probability : float
        Some or all of the chest leads become flat.
    lead_sets, lead_set_probability : tuple of str, float
        A recording keeps the leads of one of these sets, drawn with equal chances, and the others become flat. A set is
        written as the names of its leads with a space between. An input that computes limb leads
        (`Input.derive_limb_leads`) needs sets that contain all six of them.
    metadata_dropout : float
        Probability with which each of age, sex and amplitude is made unknown.
    rr_dropout, beat_dropout : float
        Probability with which the RR numbers, and the average beat, are made unknown.
    """

    stretch: float = 0.0
    stretch_probability: float = 0.0
    gain: float = 0.0
    gain_probability: float = 0.0
    shift_probability: float = 0.0
    crop_s: float = 0.0
    crop_probability: float = 0.0
    band_probability: float = 0.0
    noise_probability: float = 0.0
    noise_db: tuple[float, float] = (5.0, 25.0)
    arm_swap_probability: float = 0.0
    lead_drop_probability: float = 0.0
    lead_sets: tuple[str, ...] = ()
    lead_set_probability: float = 1.0
    metadata_dropout: float = 0.0
    rr_dropout: float = 0.0
    beat_dropout: float = 0.0


@dataclass(frozen=True)
class Phase:
    """Epochs with one loss and one learning rate.

    Attributes
    ----------
    loss : str
        A name in training.losses.LOSSES.
    schedule : str
        "constant", or "cosine": over the batches of the phase the rate rises to `learning_rate` and then falls to 0.
    """

    loss: str
    learning_rate: float
    epochs: int
    schedule: str = "constant"


@dataclass(frozen=True)
class Training:
    """How one member is trained.

    Attributes
    ----------
    optimizer : str
        A name in training.member.OPTIMIZERS.
    largest_gradient : float or None
        Limit of the norm of a batch's gradient, which is scaled down to it. None for no limit.
    averaged_epochs : float
        Part of the last phase of each loss, counted from its end, over which the weights are averaged; 0 for none.
    largest_class_weight : float or None
        Limit of the class weights of the weighted losses. Without it one positive among 3,000 recordings weighs 3,000
        times as much as a negative.
    select : str
        Which epoch is kept: the one with the best validation "metric" (at one threshold for all classes), the one with
        the best validation "auprc" (mean over the classes), the one with the lowest validation "loss", or the "last".
    rate_patience : int
        Epochs without a better validation after which the learning rate is halved; 0 for never.
    early_stopping_patience : int
        Epochs without a better validation after which training ends; 0 for never.
    beat_epochs : int
        Passes of the training recordings' average beats through the network of the beat, if there is one. With fewer
        epochs each of them has several such passes, and one at least; see training/beat_passes.py.
    unknown_labels : str
        A class that a recording's source never annotates counts as "negative", or is "masked" from the loss. With
        "unstated" so are also sinus rhythm where a recording states no rhythm, and the absence of a class that the
        source hardly ever writes.
    """

    phases: tuple[Phase, ...]
    batch_size: int = 32
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    largest_gradient: float | None = None
    averaged_epochs: float = 0.0
    largest_class_weight: float | None = None
    select: str = "metric"
    rate_patience: int = 0
    early_stopping_patience: int = 0
    beat_epochs: int = 0
    unknown_labels: str = "negative"

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)


@dataclass(frozen=True)
class Voting:
    """How members share out the recordings, and how their scores become labels.

    Attributes
    ----------
    train_fraction : float
        Each member trains on a random part of this size and is validated on the rest; 0 if there are folds.
    folds : int
        Member k is validated on fold k and trains on the other folds; 0 if there is a train_fraction.
    threshold_method : str
        A name in thresholds.search.METHODS; `threshold_options` are keyword arguments of that method.
    thresholds : str
        "ensemble": the members' mean score is compared with thresholds found on out-of-bag scores.
        "members": each member has its own thresholds and labels, and the majority of the members decides.
    shrinkage : float
        How far thresholds are moved towards a common one, from 0 to 1; see thresholds.search.shrink. Where convention
        recordings take part in their search, they are moved less: see `convention_part`.
    convention_recordings : int
        Synthetic recordings of hospitals that write in other ways, labelled as their annotators would. No member trains
        on them; thresholds are searched on them and on the real recordings together.
    convention_weight : float
        As many real recordings as all convention recordings together count for, 0 or more; see `convention_part`.
    other_habits : float
        Part of the search's objective, from 0 to 1, in which the real recordings count once more, labelled as
        annotators of other hospitals might have; see synthetic.conventions.as_others_write.
    label_draws : int
        So many times the search draws the labels of the real recordings from their probabilities, and takes these in
        the place of the annotated ones, so that it finds the thresholds of the largest expected metric; 0 for never.
    context_part : float
        From 0 to 1: how far the thresholds of a recording are moved from those of the model to those of the largest
        expected metric in this recording, in which others have the share `other_habits`; see thresholds/context.py. It
        needs thresholds of the "ensemble", and convention recordings, from which probabilities are learned beside the
        real ones.
    rate_labels : bool
        The search takes sinus rhythm with a slow or fast heart rate for bradycardia or tachycardia too.
    calibrated : bool
        Turn the mean score into a probability, by a map that is learned from out-of-bag scores; see
        thresholds/probabilities.py. It needs thresholds of the "ensemble".
    at_least_one : bool
        A recording that would get no label gets the one that is nearest to its threshold.
    """

    members: int
    train_fraction: float = 0.0
    folds: int = 0
    threshold_method: str = "bayesian"
    threshold_options: dict[str, float] = field(default_factory=dict)
    thresholds: str = "ensemble"
    shrinkage: float = 0.0
    convention_recordings: int = 0
    convention_weight: float = 0.0
    other_habits: float = 0.0
    label_draws: int = 0
    context_part: float = 0.0
    rate_labels: bool = False
    calibrated: bool = False
    at_least_one: bool = False

    def convention_part(self, real: int) -> float:
        """What part of the search's objective the convention recordings have beside so many real ones, from 0 to 1.

        The rest is the metric of the real recordings. Thresholds are moved by the same rest of `shrinkage`: both guard
        against thresholds that fit the real recordings alone.
        """
        return self.convention_weight / (self.convention_weight + real) if self.convention_recordings else 0.0


MOST_FOR_EACH_REAL = 10  # synthetic recordings in an epoch for the sake of `Synthetic.least`


@dataclass(frozen=True)
class Synthetic:
    """Synthetic recordings (see the folder synthetic/) from which members learn beside the real ones.

    Validation parts and out-of-bag scores are of real recordings alone, unless there are none at all. What thresholds
    are searched on is said by `Voting.convention_recordings`.

    Attributes
    ----------
    recordings : int
        How many are made for a training run; 0 for none.
    share : float or None
        Of the recordings of one epoch, 0 or more and less than 1. Every epoch draws other ones of those that were made.
        None: every epoch uses all that were made.
    least : int
        An epoch uses so many even where its share would be smaller, because few real recordings train; but at most
        `MOST_FOR_EACH_REAL` for each of these, so that training on a handful of recordings ends soon.
    first, last : float
        Parts of a member's epochs: the first ones use synthetic recordings only, the last ones real recordings only.
    """

    recordings: int = 0
    share: float | None = None
    least: int = 0
    first: float = 0.0
    last: float = 0.0

    def in_one_epoch(self, real: int) -> int:
        """How many synthetic recordings an epoch uses beside so many real ones, if it mixes both."""
        if self.share is None:
            return self.recordings
        by_share = round(real * self.share / (1 - self.share))
        return min(max(by_share, min(self.least, MOST_FOR_EACH_REAL * real)), self.recordings)

    def in_all_epochs(self, real: int, epochs: int) -> int:
        """How many have to be made, so that no epoch has to use one again if that can be avoided."""
        return self.recordings if self.share is None else min(self.recordings, epochs * self.in_one_epoch(real))


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a system; its model is rebuilt from this alone.

    Attributes
    ----------
    name, summary : str
        What the option --recipe says, and one line for `twelvelead recipes`.
    source : str
        The publication, or where the choices are explained.
    model : str
        A name in the registry of models/__init__.py; `network` are keyword arguments of that function. Two more:
        `decision_head` adds a second head with so many hidden units to any network, and `few_lead_lines` puts right
        the scores of recordings with few leads; see models/network.py.
    label_set : str
        "challenge" for the scored classes of the weights table, "cpsc" for the nine classes of the unofficial phase.
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
    synthetic: Synthetic = field(default_factory=Synthetic)

    @property
    def parts(self) -> tuple[Recipe, ...]:
        """The recipes of its members: this one alone. A joined recipe has several; see joined_recipe.py."""
        return (self,)

    @property
    def part_of_member(self) -> tuple[int, ...]:
        """For each member the place of its recipe in `parts`."""
        return (0,) * self.voting.members

    def with_parts(self, parts: Sequence[Recipe]) -> Recipe:
        """The only one of `parts`; for code that changes all parts of any recipe."""
        (recipe,) = parts
        return recipe

    def scaled(
        self,
        *,
        epochs: int | None = None,
        members: int | None = None,
        width: int | None = None,
        synthetic: int | None = None,
    ) -> Recipe:
        """The recipe at a smaller (or larger) budget.

        Parameters
        ----------
        epochs : int, optional
            Epochs for each member, shared out over the phases by `scale_phases`.
        members : int, optional
            A recipe with folds has at most as many members as folds; fewer members leave the models of some folds out.
        width : int, optional
            Filters of the network's first level.
        synthetic : int, optional
            Most synthetic recordings, both to learn from and to search thresholds on; 0 for none.

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
        if synthetic is not None:
            if synthetic < 0:
                raise UserError(f"synthetic must be 0 or more, not {synthetic}")
            recipe = dataclasses.replace(
                recipe,
                synthetic=dataclasses.replace(self.synthetic, recordings=synthetic),
                voting=dataclasses.replace(
                    recipe.voting, convention_recordings=min(synthetic, recipe.voting.convention_recordings)
                ),
            )
        return recipe


def scale_phases(phases: tuple[Phase, ...], epochs: int) -> tuple[Phase, ...]:
    """The phases with `epochs` epochs in all, shared out in proportion to the phases' lengths.

    The first phase of each loss gets an epoch before any other phase does. So with one epoch for each loss every loss
    is trained at its first learning rate, and with fewer epochs than losses the last losses get none. Phases without an
    epoch are left out.
    """
    first_of_loss = [k for k, phase in enumerate(phases) if k == 0 or phases[k - 1].loss != phase.loss]
    given = [0] * len(phases)
    for k in first_of_loss[:epochs]:
        given[k] = 1
    total = sum(phase.epochs for phase in phases)
    for _ in range(epochs - sum(given)):  # the next epoch goes to the phase that lacks most of its proportion
        lacking = [phase.epochs * epochs / total - count for phase, count in zip(phases, given)]
        given[lacking.index(max(lacking))] += 1
    return tuple(dataclasses.replace(phase, epochs=count) for phase, count in zip(phases, given) if count)


def single_recipe_from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that recipes.to_dict wrote; joined_recipe.recipe_from_dict reads joined recipes, too.

    Raises
    ------
    UserError
        If a field is unknown or missing: the file is from another version of this package.
    """
    try:
        values = dict(values)
        training = dict(values["training"])
        training["phases"] = tuple(Phase(**phase) for phase in training["phases"])
        values["training"] = Training(**training)
        values["voting"] = Voting(**values["voting"])
        values["input"] = Input(**_lists_to_tuples(values["input"]))
        values["augmentation"] = Augmentation(**_lists_to_tuples(values["augmentation"]))
        values["synthetic"] = Synthetic(**values.get("synthetic", {}))  # models of before 0.2 have none
        return Recipe(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the recipe does not fit this version of twelvelead ({error})") from None


def _lists_to_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples, only lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
