"""The networks of a model in the form in which torch can record their operations for ONNX.

network = ExportableMember(model)           # a model of an ensemble that was loaded without the layers of models/cpu
scores = network(x, valid, metadata)        # float32 (1, batch, classes)

Two parts of a network have no counterpart in ONNX and are written here in operations that have one: the solution of
linear equations, by which missing leads are estimated, and torch's GRU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..models.network import FilledLeads

# Architectures that cannot be exported, and the operation because of which they cannot.
NOT_EXPORTABLE = {
    "s4": "its Fourier transforms (torch.fft.rfft and irfft) have a size that depends on the length of the recording"
}


class ExportableMember(nn.Module):
    """A member of an ensemble from its padded input to its scores.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; (x, valid, metadata) → logits (batch, classes). Loaded without the layers of models/cpu,
        which cannot be exported. It becomes part of the result and must not be used otherwise.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = EliminatingFilledLeads(model) if isinstance(model, FilledLeads) else model

    def forward(self, x: torch.Tensor, valid: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        """Float32 (1, batch, classes) from x (batch, channels, time), valid (batch, time) and metadata (batch, 7).

        The time is a multiple of `inference.predict.MULTIPLE`.
        """
        return torch.sigmoid(self.model(x, valid, metadata))[None]


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
        self.network = filled.network
        covariance = filled.covariance.double()
        self.register_buffer("covariance", covariance)
        self.register_buffer("ridge", 1e-3 * covariance.diagonal().mean())

    def forward(
        self, x: torch.Tensor, valid: torch.Tensor | None = None, metadata: torch.Tensor | None = None
    ) -> torch.Tensor:
        present = (x != 0).any(dim=2)  # batch, leads
        x = torch.where(present[:, :, None], x, self.estimates(present) @ x)
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


def translations() -> dict[Callable, Callable]:
    """ONNX forms of operations that torch's exporter does not know, for its parameter `custom_translation_table`."""
    return {torch.ops.aten.gru.input: _gru}


def _gru(
    x: Any,
    state: Any,
    weights: Any,
    has_biases: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    """A GRU of one layer and one direction with biases, in ONNX's operations; other ones are refused.

    Parameters
    ----------
    x, state : ONNX values
        (batch, steps, channels) and (1, batch, units).
    weights : four ONNX values
        Input weights, recurrent weights, input biases and recurrent biases, each with the gates in torch's order:
        reset, update, new.

    Returns
    -------
    pair of ONNX values
        (batch, steps, units) and (1, batch, units).
    """
    from onnxscript import opset18

    op: Any = opset18  # what its operations take and return is no tensor here, but a value of the graph in the making
    if not (has_biases and batch_first) or layers != 1 or bidirectional or training:
        raise NotImplementedError("only a GRU of one layer and one direction, with biases and batches first")

    def in_onnx_order(values: Any) -> Any:  # ONNX has the gates in the order update, reset, new
        reset, update, new = op.Split(values, num_outputs=3, axis=0)
        return op.Concat(update, reset, new, axis=0)

    first: Any = op.Constant(value_ints=[0])  # `Any`: onnxscript's types know numbers only, where it takes values, too
    second: Any = op.Constant(value_ints=[1])

    def one_direction(values: Any) -> Any:
        return op.Unsqueeze(values, first)

    inputs, recurrent, *biases = [in_onnx_order(values) for values in weights]
    # With linear_before_reset the reset gate works on the recurrent product and its bias, as in torch.
    steps, last = op.GRU(
        op.Transpose(x, perm=[1, 0, 2]),  # steps, batch, channels
        one_direction(inputs),
        one_direction(recurrent),
        one_direction(op.Concat(*biases, axis=0)),
        None,
        state,
        hidden_size=int(state.shape[-1]),
        linear_before_reset=1,
    )
    steps = op.Squeeze(steps, second)  # steps, batch, units
    return op.Transpose(steps, perm=[1, 0, 2]), last
