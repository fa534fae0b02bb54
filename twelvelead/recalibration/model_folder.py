"""Writes a recalibrated model: the folder of another model with its weights, but other thresholds and rules.

write_recalibrated(source, out, habits, about, card_section)

The folder is put together beside OUT under a hidden name and then renamed, so that a killed run leaves no OUT at all,
and the next run starts anew.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from ..data.classes import SINUS_RHYTHM
from ..errors import UserError
from ..files import write_json, write_text
from ..inference.model_files import manifest_of, read_description, sealed, whole_model
from ..terminal import printable
from ..thresholds.logistic import log_odds
from ..training.model_card import CARD
from ..training.publishing import MANIFEST, hashes_of, link_or_copy
from .posterior import Habits, rules_of


def check_out(source: Path, out: Path) -> None:
    """Refuses a folder that cannot become the recalibrated model.

    Raises
    ------
    UserError
        If `out` exists and is not an empty folder.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        is_same = out.resolve() == source.resolve()
        raise UserError(
            f"{printable(out)}: {'that is the model itself' if is_same else 'it exists already'}; "
            "name a new folder for the recalibrated model"
        )


def write_recalibrated(source: Path, out: Path, habits: Habits, about: dict[str, Any], card_section: str) -> None:
    """Writes the model of `source` with other habits into the new folder `out`.

    Parameters
    ----------
    source : Path
        A model folder.
    out : Path
        See `check_out`.
    habits : Habits
    about : dict
        Plain JSON values that thresholds.json keeps under `recalibrated`: from what and how the habits were learned.
    card_section : str
        Markdown that is appended to the model card.

    Raises
    ------
    UserError
        If `out` exists, or the folder cannot be written.
    """
    check_out(source, out)
    partial = out.parent / f".{out.name}.part"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            _fill(whole_model(source), partial, habits, about, card_section)
            os.replace(partial, out)  # an empty folder is replaced
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise UserError(f"{printable(out)}: the model cannot be written ({error.strerror or error})") from None


def _fill(source: Path, folder: Path, habits: Habits, about: dict[str, Any], card_section: str) -> None:
    manifest = manifest_of(source)
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith(".") and path.name not in (MANIFEST, CARD, "thresholds.json"):
            link_or_copy(path, folder / path.name)
    write_json(folder / "thresholds.json", _thresholds(source, habits, about))
    card = (source / CARD).read_text(encoding="utf-8") if (source / CARD).is_file() else "# Model card\n"
    write_text(folder / CARD, f"{card.rstrip()}\n\n{card_section.strip()}\n")
    # `key` says which training the model is the result of; without it no training takes this model for its own.
    rest = {name: value for name, value in manifest.items() if name not in ("key", "files")}
    files = {"files": hashes_of(folder)} if "files" in manifest else {}
    write_json(folder / MANIFEST, sealed({**rest, "recalibrated": True, **files}))


def _thresholds(source: Path, habits: Habits, about: dict[str, Any]) -> dict[str, Any]:
    """The content of thresholds.json: shifted thresholds of the mean score and of each member, and the rules."""
    description = read_description(source)
    values = json.loads((source / "thresholds.json").read_text(encoding="utf-8"))
    # A shift is one of scores; where thresholds are of probabilities, it is stretched by the map's slope.
    line = description.probabilities
    stretch = 1.0 if line is None else line.slopes
    parts = [(values["ensemble"], stretch), *((part, 1.0) for part in values["members"].values())]
    for part, slope in parts:
        before = np.array(list(part["thresholds"].values()), dtype=np.float64)
        stays = (habits.shift == 0) | (before <= 0) | (before >= 1)  # for such a class every or no recording, as before
        after = np.where(stays, before, expit(log_odds(before) + slope * habits.shift))
        part["thresholds"] = dict(zip(part["thresholds"], after.tolist()))
        part.pop("metric_after", None)  # of the thresholds before
    codes = description.classes.codes
    rules = rules_of(habits, description.classes.index.get(SINUS_RHYTHM))
    if rules.change_nothing:
        values.pop("rules", None)
    else:
        values["rules"] = {
            name: [code for code, chosen in zip(codes, which) if chosen]
            for name, which in (("never", rules.never), ("alone", rules.alone))
        }
    return {**values, "recalibrated": about}
