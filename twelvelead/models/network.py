"""A recipe's network: the architecture that it names, and what every architecture is wrapped in.

model = new_model(recipe, classes=24)           # random weights
model = fuse(model.eval())                      # for scoring: the same scores, fewer passes over memory
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..recipes import Recipe
from . import build
from .layers import ConvNorm, ConvNormReLU


class Standardised(nn.Module):
    """A network that sees each channel less its mean and divided by its deviation, which are kept with the weights."""

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
    """A network that sees missing leads as the others tell them: the best linear estimate, which is kept with the weights.

    A lead without a signal is zero all the time. `covariance` (leads, leads) is that of the training recordings' samples;
    a recording's missing leads become Σ_mp Σ_pp⁻¹ times those that it has.
    """

    def __init__(self, network: nn.Module, leads: int):
        super().__init__()
        self.network = network
        self.register_buffer("covariance", torch.eye(leads))

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        there = (x != 0).any(dim=2)  # batch, leads
        if x.device.type != "cpu" or not bool(there.all()):  # asking a GPU would make it wait
            x = torch.where(there[:, :, None], x, self.estimates(there).to(x) @ x)
        return self.network(x, valid, metadata)

    def estimates(self, there: torch.Tensor) -> torch.Tensor:
        """Matrices (batch, leads, leads) that estimate all leads from those that are there, bool (batch, leads)."""
        with torch.autocast(there.device.type, enabled=False):
            there = there.to(self.covariance)
            known = self.covariance * there[:, :, None] * there[:, None, :]
            # a ridge: the limb leads depend on each other; and ones where nothing is known
            known = known + torch.diag_embed(1 - there + 1e-3 * self.covariance.diagonal().mean())
            # without a look at errors, for which a GPU would be waited for: the ridge leaves none
            return torch.linalg.solve_ex(known, self.covariance * there[:, :, None])[0].transpose(1, 2)


def fuse(model: nn.Module) -> nn.Module:
    """Folds each batch normalisation into its convolution, in place: the same scores, fewer passes over memory.

    The model must be in evaluation mode and cannot be trained afterwards.
    """
    for module in model.modules():
        if isinstance(module, (ConvNorm, ConvNormReLU)) and module.norm is not None:
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), None
    return model


def new_model(recipe: Recipe, classes: int) -> torch.nn.Module:
    """The recipe's network with random weights from torch's global generator."""
    channels = recipe.input.channels
    model = build(recipe.model, leads=channels, classes=classes, **recipe.network)
    if recipe.input.standardised:
        model = Standardised(model, channels)
    return FilledLeads(model, channels) if recipe.input.fill_leads else model
