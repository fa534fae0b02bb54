"""The networks of a model in the form in which torch can record their operations for ONNX.

network = ExportableMember(model)           # a model of an ensemble that was loaded without the layers of models/cpu
scores = network(x, valid, metadata)        # float32 (1, batch, classes)

One part of networks has no counterpart in ONNX and is written here in operations that have one: the solution of linear
equations, by which missing leads are estimated.
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import UserError
from ..inference.average_beat import with_average_beat
from ..models.network import FewLeadLines, FilledLeads, fill_leads
from ..recipe import Input

# Architectures that cannot be exported, and the operation because of which they cannot.
NOT_EXPORTABLE = {
    "s4": "its Fourier transforms (torch.fft.rfft and irfft) have a size that depends on the length of the recording",
    "cnn_gru": "torch's exporter records its GRU (torch.nn.GRU, and Expand before it) with a wrong number of steps",
}


class ExportableMember(nn.Module):
    """A member of an ensemble from its padded input to its scores.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; (x, valid, metadata) → logits (batch, classes). Loaded without the layers of models/cpu,
        which cannot be exported. It becomes part of the result and must not be used otherwise.
    spec : Input
        The input of the model's recipe.
    """

    def __init__(self, model: nn.Module, spec: Input):
        super().__init__()
        self.spec = spec
        self.model = _exportable(model)

    def forward(self, x: torch.Tensor, valid: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """Float32 (1, batch, classes) from x (batch, channels, time), valid (batch, time), metadata (batch, 7 or 13).

        The time is a multiple of `inference.predict.MULTIPLE`. The average beat, if the network gets one, is computed.
        """
        known = with_average_beat(x, valid, metadata, self.spec)
        return torch.sigmoid(self.model(x, valid, known))[None]


def _exportable(model: nn.Module) -> nn.Module:
    """The model with the estimation of its missing leads, if it has one, in operations of ONNX; changed in place."""
    if isinstance(model, FewLeadLines):
        model.network = _exportable(model.network)
    return EliminatingFilledLeads(model) if isinstance(model, FilledLeads) else model


class EliminatingFilledLeads(nn.Module):
    """What `FilledLeads` computes, with Gauss and Jordan's elimination in the place of `torch.linalg.solve_ex`.

    ONNX has no operation that solves linear equations. The matrix is symmetric and positive definite, so elimination
    needs no exchange of rows. It is computed in double precision, since limb leads depend on each other and the matrix
    is therefore close to a singular one.
    """

    covariance: torch.Tensor
    ridge: torch.Tensor

    def __init__(self, filled: FilledLeads):
        super().__init__()
        self.network, self.beat_place = filled.network, filled.beat_place
        covariance = filled.covariance.double()
        self.register_buffer("covariance", covariance)
        self.register_buffer("ridge", 1e-3 * covariance.diagonal().mean())

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        present = (x != 0).any(dim=2)  # batch, leads
        x, metadata = fill_leads(x, metadata, present, self.estimates(present), self.beat_place)
        return self.network(x, valid, metadata)

    def estimates(self, present: torch.Tensor) -> torch.Tensor:
        """As FilledLeads.estimates: bool (batch, leads) → float32 (batch, leads, leads)."""
        known, leads = present.double(), present.shape[1]
        unit = torch.eye(leads, dtype=torch.float64)
        matrix = self.covariance * known[:, :, None] * known[:, None, :] + unit * (1 - known + self.ridge)[:, None, :]
        rows = torch.cat([matrix, self.covariance * known[:, :, None]], dim=2)  # batch, leads, 2 · leads
        for k in range(leads):
            pivot = rows[:, k : k + 1] / rows[:, k : k + 1, k : k + 1]  # batch, 1, 2 · leads
            # Row k becomes the pivot row, and from every other row so much of it is taken that column k becomes zero.
            rows = rows - (rows[:, :, k : k + 1] - unit[:, k : k + 1]) * pivot
        return rows[:, :, leads:].transpose(1, 2).float()


def check_exportable(architecture: str) -> None:
    """Raises a UserError, which names the operation, if networks of an architecture cannot be exported."""
    if architecture in NOT_EXPORTABLE:
        raise UserError(
            f"a model of the architecture '{architecture}' has no ONNX form: {NOT_EXPORTABLE[architecture]}"
        )
