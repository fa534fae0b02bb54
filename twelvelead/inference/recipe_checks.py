"""Whether a recipe's values are possible: the type and the range of every field.

    check_recipe(recipe)            # raises UserError, one line that names the field

A recipe is rebuilt from a JSON file, where a number may have become a text or a width have got three more digits.
Nothing is built or allocated here.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

from ..data.classes import LABEL_SETS, OWN
from ..data.leads import LEADS
from ..errors import UserError
from ..recipe import Augmentation, Input, Phase, Recipe, Synthetic, Training, Voting
from ..recipes import AnyRecipe, JoinedRecipe

# Least and most of each number, both included. Wider than anything sensible: what is outside is a damaged file.
RANGES: dict[type, dict[str, tuple[float, float]]] = {
    Input: {
        "frequency_hz": (20, 4000),
        "unit_mv": (1e-6, 1e6),
        "high_pass_hz": (0, 100),
        "band_pass_hz": (0.01, 2000),
        "band_pass_order": (1, 20),
        "envelopes_hz": (0.01, 2000),
        "longest_s": (0.1, 1e5),
        "piece_s": (0.1, 1e5),
        "overlap_s": (0, 1e5),
    },
    Augmentation: {
        **{field.name: (0, 1) for field in dataclasses.fields(Augmentation)},  # probabilities, unless named below
        "stretch": (0, 0.9),
        "gain": (0, 10),
        "crop_s": (0, 1e5),
        "noise_db": (-100, 200),
    },
    Phase: {"learning_rate": (0, 100), "epochs": (1, 1e6)},
    Training: {
        "batch_size": (1, 1e6),
        "weight_decay": (0, 100),
        "largest_gradient": (1e-9, 1e9),
        "averaged_epochs": (0, 1),
        "largest_class_weight": (1e-3, 1e9),
        "rate_patience": (0, 1e6),
        "early_stopping_patience": (0, 1e6),
        "beat_epochs": (0, 1e6),
    },
    Voting: {
        "members": (1, 1000),
        "train_fraction": (0, 0.999),
        "folds": (0, 1000),
        "threshold_options": (-1e9, 1e9),
        "shrinkage": (0, 1),
        "convention_recordings": (0, 1e7),
        "convention_weight": (0, 1e9),
        "other_habits": (0, 1),
        "context_part": (0, 1),
        "label_draws": (0, 1000),
    },
    Synthetic: {"recordings": (0, 1e8), "share": (0, 0.999), "least": (0, 1e8), "first": (0, 1), "last": (0, 1)},
    Recipe: {},
}
CHOICES: dict[type, dict[str, tuple[str, ...]]] = {
    Input: {"join": ("max", "mean", "first")},
    Phase: {"schedule": ("constant", "cosine")},
    Training: {"select": ("metric", "auprc", "loss", "last"), "unknown_labels": ("negative", "masked", "unstated")},
    Voting: {"thresholds": ("ensemble", "members")},
    Recipe: {"label_set": (*LABEL_SETS, OWN)},
}
# Options of the networks. Those that say how many layers there are may not be large: each layer takes time to build.
MOST_LAYERS, LARGEST_OPTION, LONGEST_TEXT = 200, 1_000_000, 1000
MOST_PARTS = 20  # recipes that one recipe joins
LAYER_COUNTS = ("levels", "blocks", "convolutions", "layers")


def check_recipe(recipe: AnyRecipe) -> None:
    """Checks type and range of every field of a recipe, and of every part of a joined recipe.

    Raises
    ------
    UserError
        Names the first field whose value is not possible, and what would be.
    """
    if isinstance(recipe, JoinedRecipe):
        for name in ("name", "summary", "source"):
            _check_type(name, getattr(recipe, name), str)
        if len(recipe.parts) > MOST_PARTS:
            raise UserError(f"it joins {len(recipe.parts)} recipes, which is more than {MOST_PARTS}")
        for part in recipe.parts:
            _check_single(part)
        most = RANGES[Voting]["members"][1]
        if recipe.voting.members > most:
            raise UserError(f"its recipes have {recipe.voting.members} members together, which is more than {most:g}")
    else:
        _check_single(recipe)


def _check_single(recipe: Recipe) -> None:
    _check_fields(recipe, "")
    if recipe.voting.calibrated and recipe.voting.thresholds != "ensemble":
        raise UserError('voting.calibrated needs voting.thresholds to be "ensemble"')
    if recipe.voting.context_part and recipe.voting.thresholds != "ensemble":
        raise UserError('voting.context_part needs voting.thresholds to be "ensemble"')
    if not recipe.training.phases:
        raise UserError("training.phases is empty; there must be one at least")
    spec = recipe.input
    if spec.piece_s > spec.longest_s:
        raise UserError(f"input.piece_s is {spec.piece_s:g}, more than longest_s, {spec.longest_s:g}")
    if round(spec.overlap_s * spec.frequency_hz) >= round(spec.piece_s * spec.frequency_hz):
        raise UserError(f"input.overlap_s is {spec.overlap_s:g}, which must be less than piece_s, {spec.piece_s:g}")
    for name, frequencies in (
        ("high_pass_hz", (spec.high_pass_hz,)),
        ("band_pass_hz", spec.band_pass_hz),
        ("envelopes_hz", spec.envelopes_hz),
    ):
        if any(frequency >= spec.frequency_hz / 2 for frequency in frequencies):
            raise UserError(f"input.{name} must be below half of frequency_hz, {spec.frequency_hz / 2:g}")
    if spec.band_pass_hz and (len(spec.band_pass_hz) != 2 or spec.band_pass_hz[0] >= spec.band_pass_hz[1]):
        raise UserError("input.band_pass_hz must be a lower and an upper frequency, or empty")
    if spec.per_lead_scale and spec.per_recording_scale:
        raise UserError("input.per_lead_scale and per_recording_scale are both true; one of them must be false")
    for leads in recipe.augmentation.lead_sets:
        odd = [lead for lead in leads.split() if lead not in LEADS]
        if odd or not leads.split():
            raise UserError(f"augmentation.lead_sets names {_shown(odd[0] if odd else leads)}, which is no lead")
    _check_network(recipe.network)


def _check_fields(part: Any, prefix: str) -> None:
    hints = typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):
        name, value = prefix + field.name, getattr(part, field.name)
        _check_type(name, value, hints[field.name])
        choices = CHOICES.get(type(part), {}).get(field.name)
        if choices and value not in choices:
            raise UserError(f"{name} is {_shown(value)}; there are: {', '.join(choices)}")
        bounds = RANGES[type(part)].get(field.name)
        if bounds:
            for number in _numbers(value):
                if not bounds[0] <= number <= bounds[1]:
                    raise UserError(f"{name} is {number:g}, which is not from {bounds[0]:g} to {bounds[1]:g}")


def _numbers(value: Any) -> list[float]:
    """The numbers in a field's value: itself, or those of a tuple or a dictionary; True and False are none."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, (int, float)) and not isinstance(number, bool)]


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raises UserError unless the value is of a field's type; an integer is a float too, but True is no number."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return
    if origin in (types.UnionType, typing.Union):  # `float | None`
        if value is not None:
            _check_type(name, value, next(kind for kind in inner if kind is not type(None)))
    elif dataclasses.is_dataclass(hint):
        if not isinstance(value, typing.cast(type, hint)):
            raise UserError(f"{name} is {_shown(value)}, which is no table of values")
        _check_fields(value, f"{name}.")
    elif origin is tuple:
        length = None if inner[-1] is Ellipsis else len(inner)
        if not isinstance(value, tuple) or len(value) != (len(value) if length is None else length):
            raise UserError(f"{name} is {_shown(value)}, which must be a list" + (f" of {length}" if length else ""))
        if len(value) > 1000:
            raise UserError(f"{name} has {len(value)} values, which is more than 1000")
        for k, item in enumerate(value):
            _check_type(f"{name}[{k}]", item, inner[0])
    elif origin is dict:
        if not isinstance(value, dict) or len(value) > 1000:
            raise UserError(f"{name} is {_shown(value)}, which must be a table of at most 1000 values")
        for key, item in value.items():
            _check_type(f"{name}.{key}", item, inner[1])
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f"{name} is {_shown(value)}, which must be a number")
    elif not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        words = {int: "an integer", bool: "true or false", str: "a text"}
        raise UserError(f"{name} is {_shown(value)}, which must be {words.get(hint, hint)}")
    elif hint is str and len(value) > LONGEST_TEXT:
        raise UserError(f"{name} is a text of {len(value)} characters, which is more than {LONGEST_TEXT}")


def _check_network(options: dict[str, Any]) -> None:
    for name, value in options.items():
        most = MOST_LAYERS if name in LAYER_COUNTS else LARGEST_OPTION
        if isinstance(value, (int, float)):  # True and False are numbers too, 1 and 0
            if not 0 <= value <= most:  # also False for NaN
                raise UserError(f"network.{name} is {value:g}, which is not from 0 to {most}")
        elif not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise UserError(f"network.{name} is {_shown(value)}, which must be a number, a text, true or false")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
