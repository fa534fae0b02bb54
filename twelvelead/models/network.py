"""The network of a recipe: its architecture, and the wrappers that are the same for every architecture.

model = accelerated(new_model(recipe, classes=24), training=True)       # random weights; faster where it is on a CPU
model = accelerated(fuse(model.eval()), training=False)                 # for scoring: the same scores, faster
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data.leads import CHEST_LEADS, LEADS
from ..recipes import AnyRecipe, Recipe
from . import build
from .layers import ConvNorm, ConvNormReLU

FEW_CHEST_LEADS = 2  # recordings with fewer chest leads than these have lines of their own in `FewLeadLines`


class DecisionHead(nn.Module):
    """A network with a second head, which learns the decisions from the logits of all classes together.

    The second head sees which diagnoses the first one finds, and can learn how they exclude each other. No gradient
    flows from it into the network. From Nejedly et al., CinC 2021 (models/isibrno.py); it fits any network.

    Parameters
    ----------
    network : nn.Module
        (x, valid, metadata) → logits (batch, classes).
    classes : int
    features : int
        Hidden units of the second head.
    """

    def __init__(self, network: nn.Module, classes: int, features: int):
        super().__init__()
        self.network = network
        self.hidden = ConvNorm(classes, features, 1)  # a linear layer without bias, and batch normalisation
        self.head = nn.Linear(features, classes)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The logits of the decisions, (batch, classes), whose sigmoids are the scores.

        In training those of the diagnoses come first, (batch, 2, classes), as `losses.joint_loss` takes them.
        """
        diagnoses = self.network(x, valid, metadata)
        if diagnoses.dim() == 3:  # a network that consists of two, which learn as one here
            diagnoses = diagnoses.mean(dim=1)
        hidden = F.leaky_relu(self.hidden(diagnoses.detach()[:, :, None, None]))
        decisions = self.head(hidden.flatten(1))
        return torch.stack([diagnoses, decisions], dim=1) if self.training else decisions


class ClassLines(nn.Module):
    """Lines logit → slope · logit + intercept for each class, stored with the weights. New ones change nothing."""

    slope: torch.Tensor
    intercept: torch.Tensor

    def __init__(self, lines: int, classes: int):
        super().__init__()
        self.register_buffer("slope", torch.ones(lines, classes))
        self.register_buffer("intercept", torch.zeros(lines, classes))

    def forward(self, logits: torch.Tensor, line: int) -> torch.Tensor:
        """Logits (batch, classes) on that line of their class."""
        return self.slope[line] * logits + self.intercept[line]


class FewLeadLines(nn.Module):
    """A network whose scores of recordings with few leads mean what those of twelve leads mean.

    Thresholds are found on recordings of twelve leads. Without most chest leads a network is less sure, and gives some
    classes too often and others too seldom. So the logits of recordings without chest leads are moved along a line for
    each class, and those of recordings with a single one along another. The lines take no part in training;
    training/few_leads.py fits them to the finished weights.

    Parameters
    ----------
    network : nn.Module
        (x, valid, metadata) → logits (batch, classes), with the twelve leads in x.
    classes : int
    """

    def __init__(self, network: nn.Module, classes: int):
        super().__init__()
        self.network, self.lines = network, ClassLines(FEW_CHEST_LEADS, classes)

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        logits = self.network(x, valid, metadata)
        if self.training:
            return logits
        chest = x[:, CHEST_LEADS.start : CHEST_LEADS.stop]
        chest_leads = (chest != 0).any(dim=2).sum(dim=1, keepdim=True)  # batch, 1
        moved = logits
        for count in range(FEW_CHEST_LEADS):
            moved = torch.where(chest_leads == count, self.lines(logits, count), moved)
        return moved


class Standardised(nn.Module):
    """A network whose input channels are standardised first: less a mean, divided by a deviation.

    `mean` and `deviation`, float32 (channels, 1), are stored with the weights. Training sets them.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, network: nn.Module, channels: int):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(channels, 1))
        self.register_buffer("deviation", torch.ones(channels, 1))

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.network((x - self.mean) / self.deviation, valid, metadata)


class FilledLeads(nn.Module):
    """A network whose missing leads are estimated from the others first.

    A lead is missing in a recording if it is zero all the time. `covariance`, float32 (leads, leads), is that of the
    samples of the training recordings; it is stored with the weights. With the missing leads m and the present leads
    p of a recording, the best linear estimate is Σ_mp Σ_pp⁻¹ times the present leads. The average beat, if the network
    gets one, is a sum of pieces of the signal, so that the same estimate holds for it.

    Parameters
    ----------
    network : nn.Module
        (x, valid, metadata) → logits (batch, classes).
    leads : int
    beat_place : int or None
        Where the average beat begins among the numbers of the metadata; None without one.
    """

    covariance: torch.Tensor

    def __init__(self, network: nn.Module, leads: int, beat_place: int | None = None):
        super().__init__()
        self.network, self.beat_place = network, beat_place
        self.register_buffer("covariance", torch.eye(leads))

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        present = (x != 0).any(dim=2)  # batch, leads
        # On a GPU estimates are always computed: asking whether any is needed would make the processor wait for it.
        if x.device.type != "cpu" or not bool(present.all()):
            x, metadata = fill_leads(x, metadata, present, self.estimates(present).to(x), self.beat_place)
        return self.network(x, valid, metadata)

    def with_filled_beat(self, x: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """The metadata as the network gets them: with all leads in the average beat, if there is one."""
        if self.beat_place is None:
            return metadata
        present = (x != 0).any(dim=2)
        return _fill_beat(metadata, present, self.estimates(present), self.beat_place)

    def estimates(self, present: torch.Tensor) -> torch.Tensor:
        """Matrices (batch, leads, leads) that estimate all leads from those that are present, bool (batch, leads)."""
        with torch.autocast(present.device.type, enabled=False):
            present = present.to(self.covariance)
            known = self.covariance * present[:, :, None] * present[:, None, :]
            # The diagonal gets 1 where a lead is missing, and everywhere a ridge: the limb leads depend on each
            # other, so that their covariance alone could not be inverted.
            known = known + torch.diag_embed(1 - present + 1e-3 * self.covariance.diagonal().mean())
            # solve_ex does not check for errors, for which it would have to wait for a GPU. The ridge rules them out.
            return torch.linalg.solve_ex(known, self.covariance * present[:, :, None])[0].transpose(1, 2)


def fill_leads(
    x: torch.Tensor,
    metadata: torch.Tensor | None,
    present: torch.Tensor,
    estimates: torch.Tensor,
    beat_place: int | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Signal and metadata with what `estimates`, (batch, leads, leads), make of the present leads for the others.

    `present` is bool (batch, leads). See `FilledLeads` for the rest.
    """
    x = torch.where(present[:, :, None], x, estimates @ x)
    if metadata is not None and beat_place is not None:
        metadata = _fill_beat(metadata, present, estimates, beat_place)
    return x, metadata


def _fill_beat(metadata: torch.Tensor, present: torch.Tensor, estimates: torch.Tensor, beat_place: int) -> torch.Tensor:
    """The metadata with the average beat's missing leads; see `fill_leads`."""
    numbers, beat = metadata[:, :beat_place], metadata[:, beat_place:].unflatten(1, (-1, present.shape[1]))
    beat = torch.where(present[:, None, :], beat, beat @ estimates.transpose(1, 2).to(beat))
    return torch.cat([numbers, beat.flatten(1)], dim=1)


def fuse(model: nn.Module) -> nn.Module:
    """Folds each batch normalisation into the convolution before it, in place: the same scores, less work.

    The model must be in evaluation mode and cannot be trained afterwards.
    """
    for module in model.modules():
        if isinstance(module, (ConvNorm, ConvNormReLU)) and module.norm is not None:
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), None
    return model


def new_model(recipe: Recipe, classes: int) -> nn.Module:
    """The recipe's network with random weights from torch's global generator.

    Among the options of the network, two are not of the architecture: `decision_head` is the number of hidden units of
    a `DecisionHead` around it, and `few_lead_lines` says whether it has `FewLeadLines`. 0 or absent for none.
    """
    channels = recipe.input.channels
    options = dict(recipe.network)
    decision_features, has_lines = options.pop("decision_head", 0), options.pop("few_lead_lines", False)
    if has_lines and channels != len(LEADS):
        raise TypeError("few_lead_lines needs an input of the twelve leads")
    if options.get("metadata_features"):  # other networks ignore the metadata, or use those of the person alone
        options["metadata_numbers"] = recipe.input.metadata_numbers
    if options.get("beat_features"):
        options["beat_samples"] = recipe.input.beat_samples
    model = build(recipe.model, leads=channels, classes=classes, **options)
    if decision_features:
        model = DecisionHead(model, classes, decision_features)
    if recipe.input.standardised:
        model = Standardised(model, channels)
    if recipe.input.fill_leads:
        model = FilledLeads(model, channels, recipe.input.metadata_numbers if recipe.input.average_beat else None)
    if has_lines:
        model = FewLeadLines(model, classes)
    return model


def parameters_of(recipe: AnyRecipe, classes: int) -> int:
    """Trainable parameters of one network of the recipe; of the largest one of a joined recipe."""
    with torch.device("meta"):  # tensors that have a shape and no memory
        models = [new_model(part, classes) for part in recipe.parts]
    return max(sum(weight.numel() for weight in model.parameters() if weight.requires_grad) for model in models)


def accelerated(model: nn.Module, *, training: bool) -> nn.Module:
    """The model made faster for a CPU by models/cpu, see `cpu.accelerate`.

    It is returned as it is if it lies on another device, or if the folder models/cpu has been deleted. This is the
    only place that knows of that folder.
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return model
    try:
        from .cpu import accelerate
    except ImportError as error:
        if error.name != f"{__package__}.cpu":  # the folder is there, and something else cannot be imported
            raise
        return model
    return accelerate(model, training=training)
