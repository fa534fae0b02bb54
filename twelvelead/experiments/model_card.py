"""Fills what an experiment measured into the card of a model folder.

    fill_card("pretrained", ["OUT/holdout", "OUT/leave-one-source-out"])

The experiments must be of the model's own recipe; whoever fills the card vouches for that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_bytes, write_text
from ..inference.model_files import MOST_JSON_BYTES
from ..training.model_card import CARD, with_measurements
from .tables import as_markdown, class_table

TITLES = {
    "holdout": "### On recordings that training never saw",
    "crossval": "### Cross-validation of the same recipe",
    "leave-one-source-out": "### Each source by a model of the other sources, same recipe",
}


def fill_card(folder: str | Path, results: Sequence[str | Path]) -> Path:
    """Writes the tables of some experiments into MODEL_CARD.md, in the place of whatever was there.

    Parameters
    ----------
    folder : path
        The model folder.
    results : sequence of path
        Folders with the results.json of `twelvelead holdout`, `crossval` or `leave-one-source-out`.

    Returns
    -------
    Path
        The card.

    Raises
    ------
    UserError
        If there is no card, or a results.json cannot be read.
    """
    card = Path(folder) / CARD
    try:
        text = read_bytes(card, MOST_JSON_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{card}: the model's card cannot be read ({error})") from None
    sections = [_section(_read(Path(each) / "results.json")) for each in results]
    write_text(card, with_measurements(text, "\n\n".join(sections)))
    return card


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_bytes(path, MOST_JSON_BYTES))
        if not isinstance(values, dict) or "experiment" not in values:
            raise ValueError("it holds no experiment")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the results cannot be read ({error})") from None
    return _with_nan(values)


def _with_nan(value: Any) -> Any:
    """The same values with NaN for the figures that are undefined, for which JSON has null."""
    if isinstance(value, dict):
        if {"value", "low", "high"} <= set(value):
            return {key: math.nan if item is None else item for key, item in value.items()}
        return {key: _with_nan(item) for key, item in value.items()}
    return [_with_nan(item) for item in value] if isinstance(value, list) else value


def _section(results: dict[str, Any]) -> str:
    """One experiment: a title, its main tables and the scores by class."""
    command = results["experiment"]["command"]
    title = TITLES.get(command, f"### {command}")
    return "\n\n".join([title, as_markdown(results).strip(), "By class:", class_table(results)])
