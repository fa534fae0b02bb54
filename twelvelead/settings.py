"""Settings of a run: environment variables TWELVELEAD_…, overridden by the options of the command line.

    settings = from_environment()                # TWELVELEAD_RECIPE, TWELVELEAD_MEMBERS, …
    recipe = settings.recipe_value()             # the recipe at the budget that the settings ask for

Every setting is described once, by the metadata of its field in `Settings`. The environment variables, the options
(`add_options`), the checks (`checked`) and the table in docs/settings.md (`settings_table`) are derived from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import UserError
from .recipes import AnyRecipe, Recipe, get_recipe

if TYPE_CHECKING:  # torch takes seconds to import, and most commands do not need it
    import torch

PREFIX = "TWELVELEAD_"


class Range(NamedTuple):
    """The values that a setting may have: in words, which complete "must be …", and as a test."""

    words: str
    allows: Callable[[Any], bool]


POSITIVE = Range("more than 0", lambda value: value > 0)
NOT_NEGATIVE = Range("0 or more", lambda value: value >= 0)
NOT_ZERO = Range("a number other than 0 (−1 is every core)", lambda value: value != 0)


def _setting(
    default: Any,
    meaning: str,
    *,
    kind: type = str,
    metavar: str = "NAME",
    allowed: Range | None = None,
    shown: str | None = None,
) -> Any:
    """A field of `Settings` with its description.

    Parameters
    ----------
    default
        The value where nothing is set; None where it depends on the recipe, the machine or the data.
    meaning : str
        Help text of the option, and the last column of the table. One line of Markdown without a final dot.
    kind : type
        `str`, `int` or `float`: what the text of a variable or an option is converted to.
    metavar : str
        Placeholder for the value in the help of the command line.
    allowed : Range, optional
        Which values are accepted; every one by default.
    shown : str, optional
        The default as the table shows it; `{recipe…}` stands for a value of the default recipe. By default it is the
        default's own text.
    """
    metadata = {"meaning": meaning, "kind": kind, "metavar": metavar, "allowed": allowed, "shown": shown}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The settings of a run. Field `name` is the variable TWELVELEAD_NAME and the option --name."""

    recipe: str = _setting("butt", "the system to train; `twelvelead recipes` lists them", shown="`butt`")
    members: int | None = _setting(
        None,
        "members of the ensemble",
        kind=int,
        metavar="N",
        allowed=POSITIVE,
        shown="the recipe's, {recipe.voting.members}",
    )
    epochs: int | None = _setting(
        None,
        "epochs for each member; the learning-rate schedule is scaled to it",
        kind=int,
        metavar="N",
        allowed=POSITIVE,
        shown="the recipe's, {recipe.training.epochs}",
    )
    width: int | None = _setting(
        None,
        "filters of the network's first level",
        kind=int,
        metavar="N",
        allowed=POSITIVE,
        shown="the recipe's, {recipe.network[width]}",
    )
    synthetic: int | None = _setting(
        None,
        "most synthetic recordings to learn from beside the real ones, and to search thresholds on; 0 for none",
        kind=int,
        metavar="N",
        allowed=NOT_NEGATIVE,
        shown="the recipe's, {recipe.synthetic.recordings}",
    )
    seed: int = _setting(0, "seed of everything random", kind=int, metavar="N", allowed=NOT_NEGATIVE)
    device: str = _setting(
        "auto", "`auto` is a GPU if there is one, else the CPU; or `cpu`, `cuda`, `cuda:1`", shown="`auto`"
    )
    limit: int | None = _setting(
        None,
        "train on this many of the recordings, chosen at random by the seed",
        kind=int,
        metavar="N",
        allowed=POSITIVE,
        shown="all",
    )
    time_budget_hours: float | None = _setting(
        None,
        "training ends before this many hours have passed, with fewer epochs and then fewer members",
        kind=float,
        metavar="HOURS",
        allowed=POSITIVE,
        shown="none",
    )
    jobs: int = _setting(
        -1, "processes that read recordings", kind=int, metavar="N", allowed=NOT_ZERO, shown="−1, every core"
    )
    workers: int | None = _setting(
        None,
        "processes that train members",
        kind=int,
        metavar="N",
        allowed=POSITIVE,
        shown="one for each core, or for each GPU",
    )
    patients: str | None = _setting(
        None, "CSV file of recording,patient", metavar="FILE", shown="what the data folder tells"
    )
    weights: str | None = _setting(
        None,
        "the Challenge's weights table of 2020 or 2021 whose classes are trained",
        metavar="FILE",
        shown="`weights.csv`",
    )
    tracker: str | None = _setting(
        None, "`tensorboard` or `mlflow`, if installed, is told every epoch while `train` runs", shown="none"
    )
    labels: str | None = _setting(
        None,
        "CSV file of your own labels to learn, recording,label or one column for each class",
        metavar="FILE",
        shown="the Challenge's classes",
    )
    label_field: str | None = _setting(
        None, "in place of a file: the comment field of the headers that holds your labels, such as Dx", shown="none"
    )
    classes: str | None = _setting(
        None,
        "which of your labels are learned, as LABEL,LABEL or NAME=LABEL+LABEL for one class of several",
        metavar="LIST",
        shown="all that are frequent enough",
    )
    metric: str | None = _setting(
        None,
        "by which your label set is scored and its thresholds are chosen: `f1` or `auroc`, the mean over the classes",
        shown="`f1`",
    )
    init: str | None = _setting(
        None,
        "trained model to start from: a model folder, or `pretrained` for the one that comes with the package",
        metavar="MODEL",
        shown="random weights",
    )
    freeze: bool = _setting(
        False, "with a model to start from: train its last layer alone", kind=bool, metavar="", shown="no"
    )

    def recipe_value(self) -> AnyRecipe:
        """The recipe at the budget asked for. Raises UserError if there is no recipe of that name."""
        return get_recipe(self.recipe).scaled(
            epochs=self.epochs, members=self.members, width=self.width, synthetic=self.synthetic
        )

    def recipe_from(self, trained: Recipe) -> Recipe:
        """The recipe of a trained model at the budget asked for, for a training that starts from that model.

        Raises
        ------
        UserError
            If the settings ask for another recipe or another width, which would be another network.
        """
        if self.recipe not in (Settings().recipe, trained.name):
            raise UserError(
                f"the model to start from has recipe '{trained.name}', not '{self.recipe}'; leave --recipe out"
            )
        if self.width not in (None, trained.network.get("width")):
            raise UserError(
                f"the model to start from has width {trained.network.get('width')}, not {self.width}; leave --width out"
            )
        return trained.scaled(epochs=self.epochs, members=self.members, synthetic=self.synthetic)


# Settings of `train` alone: experiments compare recipes on the Challenge's classes, from random weights.
ONLY_TRAINING = ("labels", "label_field", "classes", "metric", "init", "freeze")
METRICS = ("f1", "auroc")  # of label sets of the user's own; the keys of thresholds.objectives.OWN_METRICS
FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def option(name: str) -> str:
    """The command line's option of a setting."""
    return "--" + name.replace("_", "-")


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the variables TWELVELEAD_…; unset and empty ones keep their default.

    Raises
    ------
    UserError
        If a value is not of its type or out of its range, or a variable TWELVELEAD_… does not exist.
    """
    names = {variable(name): name for name in FIELDS}
    values: dict[str, Any] = {}
    for key, text in environment.items():
        if not key.startswith(PREFIX) or not text.strip():
            continue
        if key not in names:
            raise UserError(f"unknown environment variable {key}; there are: {', '.join(names)}")
        kind = FIELDS[names[key]].metadata["kind"]
        if kind is bool:
            values[names[key]] = _yes_or_no(key, text.strip())
            continue
        try:
            values[names[key]] = kind(text.strip())
        except ValueError:
            expected = "an integer" if kind is int else "a number"
            raise UserError(f"{key} is '{text}', which is not {expected}") from None
    return checked(Settings(**values))


def _yes_or_no(key: str, text: str) -> bool:
    words = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if text.lower() not in words:
        raise UserError(f"{key} is '{text}', which is neither 1 nor 0")
    return words[text.lower()]


def add_options(parser: argparse.ArgumentParser, names: Iterable[str] = tuple(FIELDS)) -> None:
    """Adds the options of some settings to a parser; `from_options` reads them."""
    for name in names:
        description = FIELDS[name].metadata
        is_flag = description["kind"] is bool
        how: dict[str, Any] = dict(type=description["kind"], metavar=description["metavar"])
        parser.add_argument(
            option(name),
            default=None,
            help=f"{description['meaning']} ({variable(name)})",
            **(dict(action="store_const", const=True) if is_flag else how),
        )


def from_options(arguments: argparse.Namespace) -> Settings:
    """Settings from environment variables, overridden by the options given. Raises UserError as `from_environment`."""
    given = {name: value for name, value in vars(arguments).items() if name in FIELDS and value is not None}
    return checked(dataclasses.replace(from_environment(), **given))


def checked(settings: Settings) -> Settings:
    """The same settings, if each value is in its range. Raises UserError if one does not."""
    for name, field in FIELDS.items():
        value, allowed = getattr(settings, name), field.metadata["allowed"]
        if value is not None and allowed is not None and not allowed.allows(value):
            raise UserError(f"{name} must be {allowed.words}, not {value}")
    return settings


def check_together(settings: Settings) -> None:
    """Checks the settings of `train` alone against each other. Raises UserError if one asks for what is not given."""
    if settings.labels and settings.label_field:
        raise UserError("labels are read from a file or from a field of the headers; give --labels or --label-field")
    if (settings.classes or settings.metric) and not (settings.labels or settings.label_field):
        raise UserError("--classes and --metric are for your own labels; give --labels or --label-field too")
    if settings.metric not in (None, *METRICS):
        raise UserError(f"unknown metric '{settings.metric}'; there are: {', '.join(METRICS)}")
    if settings.freeze and not settings.init:
        raise UserError("--freeze trains the last layer of a trained model; name it with --init")


def settings_table() -> str:
    """The table of all settings in Markdown, one row for each field of `Settings`; docs/settings.md holds it."""
    recipe = Settings().recipe_value()
    lines = ["| variable | option | default | meaning |", "|---|---|---|---|"]
    for name, field in FIELDS.items():
        shown = field.metadata["shown"]
        default = str(field.default) if shown is None else shown.format(recipe=recipe)
        lines.append(f"| `{variable(name)}` | `{option(name)}` | {default} | {field.metadata['meaning']} |")
    return "\n".join(lines) + "\n"


def find_device(name: str) -> torch.device:
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
