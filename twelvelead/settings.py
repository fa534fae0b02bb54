"""What a run is told from outside: environment variables, which the command line's options override.

settings = from_environment()                       # TWELVELEAD_RECIPE, _MEMBERS, _EPOCHS, _WIDTH, _SEED, …
recipe = settings.recipe_value()
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import UserError
from .recipes import Recipe, get_recipe


@dataclass(frozen=True)
class Settings:
    """Each field is an environment variable TWELVELEAD_NAME and an option --name of the command line.

    Attributes
    ----------
    recipe : str
        Name of the system to train.
    members, epochs, width : int or None
        Smaller budgets than the recipe's: members, epochs a member, filters of the first level.
    seed : int
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".
    limit : int or None
        Train on so many recordings, chosen at random by the seed.
    time_budget_hours : float or None
        Training ends before that.
    jobs : int
        Processes that read recordings; −1 for every core.
    workers : int or None
        Processes that train members; by default one a core on a CPU, one a GPU else.
    patients : str or None
        CSV of recording,patient for data whose headers do not name the patient.
    weights : str or None
        Weights table to train for; weights.csv of the repository by default.
    """

    recipe: str = "butt"
    members: int | None = None
    epochs: int | None = None
    width: int | None = None
    seed: int = 0
    device: str = "auto"
    limit: int | None = None
    time_budget_hours: float | None = None
    jobs: int = -1
    workers: int | None = None
    patients: str | None = None
    weights: str | None = None

    def recipe_value(self) -> Recipe:
        """The recipe at the budget asked for."""
        return get_recipe(self.recipe).scaled(epochs=self.epochs, members=self.members, width=self.width)


TYPES = {
    "members": int,
    "epochs": int,
    "width": int,
    "seed": int,
    "limit": int,
    "jobs": int,
    "workers": int,
    "time_budget_hours": float,
}


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the variables TWELVELEAD_…; unset and empty ones keep their default.

    Raises
    ------
    UserError
        If a value is not of its type, or a variable TWELVELEAD_… does not exist.
    """
    names = {f"TWELVELEAD_{field.name.upper()}": field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith("TWELVELEAD_") or not text.strip():
            continue
        if variable not in names:
            raise UserError(f"unknown environment variable {variable}; there are: {', '.join(names)}")
        name = names[variable]
        kind = TYPES.get(name, str)
        try:
            values[name] = kind(text.strip())
        except ValueError:
            due = "an integer" if kind is int else "a number"
            raise UserError(f"{variable} is '{text}', which is not {due}") from None
    return checked(Settings(**values))


def checked(settings: Settings) -> Settings:
    """The settings, if their numbers make sense.

    Raises
    ------
    UserError
    """
    for name in ("members", "epochs", "width", "limit", "time_budget_hours", "workers"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise UserError(f"{name} must be more than 0, not {value}")
    if settings.seed < 0:
        raise UserError(f"seed must be 0 or more, not {settings.seed}")
    if settings.jobs == 0:
        raise UserError("jobs must not be 0; −1 is every core")
    return settings


def find_device(name: str):
    """A torch device; "auto" is the first GPU, or the CPU where there is none.

    Raises
    ------
    UserError
        If the device does not exist here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch sees no CUDA device here")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device '{name}' cannot be used ({str(error).splitlines()[0]}); set TWELVELEAD_DEVICE to auto, cpu or cuda"
        ) from None
    return device
