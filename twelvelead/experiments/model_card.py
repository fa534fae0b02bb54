"""Fills what was measured into the card of a model folder.

fill_card("pretrained", [measurements(…), experiment_section("OUT/leave-one-source-out"), …])
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
    "holdout": "### Recordings held out, by a model of the others, same recipe",
    "crossval": "### Cross-validation of the same recipe",
    "leave-one-source-out": "### Each source by a model of the other sources, same recipe",
}


def fill_card(folder: str | Path, sections: Sequence[str]) -> Path:
    """Writes sections of Markdown into MODEL_CARD.md, in the place of what was measured before.

    Parameters
    ----------
    folder : path
        The model folder.

    Returns
    -------
    Path
        The card.

    Raises
    ------
    UserError
        If there is no card.
    """
    card = Path(folder) / CARD
    write_text(card, with_measurements(read_card(folder), "\n\n".join(section.strip() for section in sections)))
    return card


def read_card(folder: str | Path) -> str:
    """The text of a model's MODEL_CARD.md.

    Raises
    ------
    UserError
        If there is none, or it cannot be read.
    """
    card = Path(folder) / CARD
    try:
        return read_bytes(card, MOST_JSON_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{card}: the model's card cannot be read ({error})") from None


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


def experiment_section(folder: str | Path) -> str:
    """An experiment as a section of a card: a title, its main tables and the scores by class.

    The experiment must be of the model's own recipe; whoever fills the card vouches for that.

    Parameters
    ----------
    folder : path
        With the results.json of `twelvelead holdout`, `crossval` or `leave-one-source-out`.

    Raises
    ------
    UserError
        If results.json cannot be read.
    """
    results = _read(Path(folder) / "results.json")
    command = results["experiment"]["command"]
    title = TITLES.get(command, f"### {command}")
    return "\n\n".join([title, as_markdown(results).strip(), "By class:", class_table(results)])
