"""Everything that changes while a member trains, and its checkpoint.

state = TrainingState(model, recipe)
state.save(path, key, epochs)            # after every epoch
epochs = state.load(path, key)           # by a later process: training goes on as if it had never stopped
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..files import replace_file
from ..recipes import Phase, Recipe
from .batch_graphs import BatchGraphs
from .fine_tuning import Start, head_parameters, keep_statistics, parameter_groups
from .member_data import Validation
from .schedule import rate_factor

# Networks whose batches run as CUDA graphs: those that were trained so on a GPU. Others run kernel by kernel.
RECORDED_NETWORKS = ("butt",)
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
# Plain values and tensors that a checkpoint holds besides the states of network, optimiser and loss scaler.
SAVED = ("epoch", "best", "best_value", "stale", "rate", "rate_stale", "sum", "summed", "history")


class CheckpointError(Exception):
    """A checkpoint that cannot be read, or that belongs to another run."""


class TrainingState:
    """What changes while a member trains.

    Attributes
    ----------
    half : torch.dtype or None
        Data type of the forward pass under autocast; None on a CPU, which computes in float32.
    epoch : int
        Epochs done.
    best : dict of str → tensor
        The best weights so far.
    best_value : float
        By what they are the best; more is better.
    stale, rate_stale : int
        Epochs since the best one, and since the best one or the last time the learning rate was halved.
    rate : float
        Factor of the learning rate, halved on every plateau.
    sum, summed
        Sum of the weights of several epochs, float64, and their number, for stochastic weight averaging.
    history : list of dict
        See member.TrainedMember.
    recorded : bool
        Whether batches run as CUDA graphs.
    graphs : BatchGraphs or None
        These graphs, from the first batch on; they do not outlive the process.
    """

    def __init__(self, model: torch.nn.Module, recipe: Recipe, start: Start | None = None):
        self.model, self.recipe, self.start = model, recipe, start
        self.head = set() if start is None else head_parameters(model, recipe)
        self._optimizer: torch.optim.Optimizer | None = None
        device = next(model.parameters()).device
        # bfloat16 needs no loss scaling; cards before Ampere (the Challenge's T4) only have float16
        self.half: torch.dtype | None = None
        if device.type == "cuda":
            self.half = torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half == torch.float16)
        self.recorded = self.half == torch.bfloat16 and recipe.model in RECORDED_NETWORKS
        self.loss = ""  # name of the loss of the current cycle
        self.epoch = 0
        self.best: dict[str, torch.Tensor] = {}
        self.best_value = -math.inf
        self.stale = 0
        self.rate = 1.0
        self.rate_stale = 0
        self.sum: dict[str, torch.Tensor] = {}
        self.summed = 0
        self.history: list[dict[str, Any]] = []
        self.graphs: BatchGraphs | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        if self._optimizer is None:
            raise RuntimeError("start_phase makes the optimiser, and was not called")
        return self._optimizer

    def start_phase(self, phase: Phase) -> None:
        """Begins a new cycle, with a fresh optimiser and a fresh weight average, if the phase has another loss."""
        if self._optimizer is None or phase.loss != self.loss:
            self.loss, self.sum, self.summed = phase.loss, {}, 0
            parameters: Any = self.model.parameters()
            if self.start is not None:
                parameters = parameter_groups(self.model, self.head, self.start)
            self._optimizer = OPTIMIZERS[self.recipe.training.optimizer](
                parameters,
                lr=phase.learning_rate,
                weight_decay=self.recipe.training.weight_decay,
                fused=self.recorded or None,  # one kernel; None leaves the choice to torch
            )

    def zero_gradients(self) -> None:
        """Before a batch. Where there are graphs, the gradients keep their memory; see BatchGraphs."""
        if not self.recorded:
            self.optimizer.zero_grad(set_to_none=True)
            return
        for parameter in self.model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.zero_grad(set_to_none=False)

    def autocast(self) -> torch.autocast:
        """Under it the forward pass computes in the data type `half`; on a CPU it changes nothing."""
        device = next(self.model.parameters()).device
        return torch.autocast(device.type, dtype=self.half or torch.bfloat16, enabled=self.half is not None)

    def step(self) -> None:
        """Changes the parameters by their gradients, which are limited as the recipe says."""
        limit = self.recipe.training.largest_gradient
        if limit is not None:
            self.scaler.unscale_(self.optimizer)  # the limit is one of the gradient, not of its scaled copy
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @contextmanager
    def learning(self, part: torch.nn.Module) -> Iterator[None]:
        """Inside, a step changes the parameters of this part of the network alone. Their gradients begin at zero.

        The optimiser leaves parameters without a gradient as they are. The gradients of the others are put back at the
        end, so that they keep their memory; see BatchGraphs.
        """
        own = set(part.parameters())
        others = [(parameter, parameter.grad) for parameter in self.model.parameters() if parameter not in own]
        for parameter, _ in others:
            parameter.grad = None
        for parameter in own:
            if parameter.grad is not None:
                parameter.grad.zero_()
        yield
        for parameter, gradient in others:
            parameter.grad = gradient

    def train_mode(self) -> None:
        """Puts the network into training mode, but for what a start from a trained model keeps as it is."""
        self.model.train()
        if self.start is not None and self.start.freeze:
            keep_statistics(self.model, self.head)

    def rate_at(self, phase: Phase, position: float) -> float:
        """The learning rate at a position of the phase; 0 is its beginning, 1 its end.

        A group of parameters may learn at a share of it, see fine_tuning.parameter_groups.
        """
        return phase.learning_rate * (self.rate * rate_factor(phase, position))

    def set_rate(self, phase: Phase, position: float) -> None:
        """Gives the optimiser the learning rate of that position."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(phase, position) * group.get("scale", 1.0)

    def keep_best(self, validation: Validation) -> None:
        """Keeps a copy of the weights if they are the best so far; without validation recordings, in any case."""
        if validation.recordings == 0:
            self.best = copy.deepcopy(self.model.state_dict())
            return
        values = {
            "metric": validation.metric,
            "auprc": validation.auprc,
            "loss": -validation.loss,
            "last": float(self.epoch),
        }
        value = values[self.recipe.training.select]
        if value > self.best_value or not self.best:
            self.best_value, self.best = value, copy.deepcopy(self.model.state_dict())
            self.stale = self.rate_stale = 0

    def count_stale_epoch(self) -> None:
        """One more epoch since the best one; `keep_best` sets the counts back to zero."""
        self.stale, self.rate_stale = self.stale + 1, self.rate_stale + 1

    def reduce_rate_on_plateau(self) -> None:
        """Halves the learning rate if no epoch was better for as many epochs as the recipe's `rate_patience`."""
        if self.recipe.training.rate_patience and self.rate_stale >= self.recipe.training.rate_patience:
            self.rate, self.rate_stale = self.rate / 2, 0

    def should_stop_early(self) -> bool:
        """Whether no epoch was better for as many epochs as the recipe's `early_stopping_patience`."""
        patience = self.recipe.training.early_stopping_patience
        return bool(patience) and self.stale >= patience

    def save(self, path: Path, key: str, epochs: int) -> None:
        """Writes the checkpoint, whole or not at all.

        Parameters
        ----------
        key : str
            Of the training run; another run does not go on from this checkpoint.
        epochs : int
            How many epochs the member is to have in all.

        Raises
        ------
        UserError
            If it cannot be written, for example because the disk is full. The checkpoint of the epoch before is kept.
        """
        values = dict(
            key=key,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            epochs=epochs,
            scaler=self.scaler.state_dict(),
            loss=self.loss,
            **{name: getattr(self, name) for name in SAVED},
        )
        try:
            replace_file(path, lambda partial: torch.save(values, partial))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            for partial in path.parent.glob(f".{path.name}.*"):
                partial.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
            raise UserError(
                f"{path}: the checkpoint cannot be written ({reason}); is the disk full? "
                "The checkpoint of the epoch before is kept"
            ) from None

    def load(self, path: Path, key: str) -> int:
        """Restores everything; returns how many epochs the member was to have in all.

        Raises
        ------
        CheckpointError
            If the file cannot be read, does not fit the network, or belongs to another run. The state must not be used
            then: part of it may have been restored.
        """
        try:
            device = next(self.model.parameters()).device
            values = torch.load(path, map_location=device, weights_only=True)
            if values.get("key") != key:
                raise CheckpointError("it belongs to another training run")
            restored = {name: values[name] for name in SAVED}
            self.model.load_state_dict(values["model"])
            self.start_phase(Phase(values["loss"], 0.0, 0))
            self.optimizer.load_state_dict(values["optimizer"])
            self.scaler.load_state_dict(values["scaler"])
            epochs = int(values["epochs"])
        except CheckpointError:
            raise
        except Exception as error:  # torch raises anything from EOFError to UnpicklingError for a damaged file
            raise CheckpointError(str(error).strip().split("\n")[0] or type(error).__name__) from None
        for name, value in restored.items():
            setattr(self, name, value)
        return epochs
