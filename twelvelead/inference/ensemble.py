"""A trained model: its folder, its members' scores, its labels.

    ensemble = load_ensemble(folder)
    scores = member_scores(ensemble, stack([prepare(recording, ensemble.recipe.input)], ensemble.device))
    labels = labels_of(ensemble, scores)

A model folder is self-contained and holds no code: recipe.json (written last: without it there is no model),
classes.json, member_00.safetensors …, thresholds.json, history.csv, splits.json, progress.png; assembly.py writes it.
"""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..data.classes import Classes
from ..errors import UserError
from ..models.network import accelerated, fuse, new_model
from ..recipes import Recipe, recipe_from_dict
from ..thresholds.decisions import at_least_one_label, decide, vote
from .predict import PackedRecordings, predict_each

NEW = ".new"  # folder in a model folder; see `whole_model`
FORMAT = 3  # of the model folder; raise it when a program of an older version could not read the folder
# Format 2 had other names for fields of the recipe, for one layer and for one loss; its folders are still read.
RENAMED_SINCE_2 = {
    "input": {"own_scale": "per_recording_scale", "right_arms": "undo_arm_reversal"},
    "augmentation": {"hide_probability": "metadata_dropout"},
    "training": {"halve_after": "rate_patience", "stop_after": "early_stopping_patience"},
    "network": {"side_features": "metadata_features"},
}


@dataclass(frozen=True)
class Ensemble:
    """A trained model, ready to score.

    Attributes
    ----------
    models : list of nn.Module
        In evaluation mode on `device`, batch normalisation folded into the convolutions.
    thresholds : float64 (classes,)
        Of the mean score.
    member_thresholds : float64 (members, classes)
    priors : float64 (classes,)
        Share of the training recordings that have each class.
    """

    recipe: Recipe
    classes: Classes
    models: list[torch.nn.Module]
    thresholds: np.ndarray
    member_thresholds: np.ndarray
    priors: np.ndarray
    device: torch.device


# ------------------------------------------------------------------------------------------------------------- score


def member_scores(ensemble: Ensemble, data: PackedRecordings) -> np.ndarray:
    """Scores float32 (members, recordings, classes) of all recordings of `data`."""
    models, rows, recipe = ensemble.models, np.arange(len(data.lengths)), ensemble.recipe.input
    if ensemble.device.type != "cpu":
        return predict_each(models, data, rows, recipe)
    # On a CPU a thread for some of the members: the convolutions of one recording are too small to share out over threads.
    # Of many recordings a part for each thread, so that none waits for another's last member.
    threads = torch.get_num_threads()
    parts = max(1, min(threads, len(rows) // 8))
    by_length = np.argsort(data.lengths, kind="stable")
    groups = np.array_split(np.arange(len(models)), min(len(models), -(-threads // parts)))
    tasks = [(group, by_length[k::parts]) for k in range(parts) for group in groups]
    found = _threads(threads).map(lambda task: predict_each([models[k] for k in task[0]], data, task[1], recipe), tasks)
    scores = np.empty((len(models), len(rows), len(ensemble.classes.codes)), dtype=np.float32)
    for (group, part), values in zip(tasks, found):
        scores[np.ix_(group, part)] = values
    return scores


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="member", initializer=torch.set_num_threads, initargs=(1,))


def labels_of(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """Labels bool (recordings, classes) from member scores, as the recipe says: by the mean or by majority."""
    voting, mean = ensemble.recipe.voting, scores.mean(axis=0)
    if voting.thresholds == "members":
        each = decide(scores, ensemble.member_thresholds[:, None, :])
        labels, cuts = vote(each), ensemble.member_thresholds.mean(axis=0)
    else:
        labels, cuts = decide(mean, ensemble.thresholds), ensemble.thresholds
    return at_least_one_label(labels, mean, cuts) if voting.at_least_one else labels


# ------------------------------------------------------------------------------------------------------ model folder


def load_ensemble(folder: str | Path, device: torch.device | str = "cpu") -> Ensemble:
    """The model of a folder, on any device.

    Raises
    ------
    UserError
        If the folder holds no model, one of another version, or a damaged one; the message names the file.
    """
    folder, device = whole_model(Path(folder)), torch.device(device)
    manifest = manifest_of(folder)
    if not manifest:
        raise UserError(f"{folder}: there is no trained model here (no readable recipe.json); run train_model.py first")
    if manifest.get("format") not in (2, FORMAT):
        raise UserError(
            f"{folder}/recipe.json: the model is of format {manifest.get('format')}, this twelvelead reads "
            f"formats 2 and {FORMAT}; train it again or use the version that wrote it"
        )
    try:
        recipe = recipe_from_dict(_current_names(manifest["recipe"]) if manifest["format"] == 2 else manifest["recipe"])
        values = json.loads((folder / "classes.json").read_text())
        classes = Classes.from_dict(values)
        cuts = json.loads((folder / "thresholds.json").read_text())
        models, empty = [], new_model(recipe, len(classes.codes))
        for member in manifest["members"]:
            model = copy.deepcopy(empty)  # a new one would draw its weights, in vain and ten times as long
            weights = load_file(member_path(folder, member))
            if manifest["format"] == 2:
                weights = {name.replace("side.", "metadata."): values for name, values in weights.items()}
            model.load_state_dict(weights)
            model = fuse(model.eval()).to(device=device, memory_format=torch.channels_last)
            models.append(accelerated(model, training=False))
        return Ensemble(
            recipe,
            classes,
            models,
            _in_order(cuts["ensemble"], classes),
            np.stack([_in_order(cuts["members"][str(member)], classes) for member in manifest["members"]]),
            np.array(values["priors"], dtype=np.float64),
            device,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{folder}: the model is damaged ({reason}); copy the folder again or train it again") from None


def _current_names(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe as format 2 stored it, with today's names of its fields."""
    parts = {
        part: {names.get(field, field): value for field, value in recipe[part].items()}
        for part, names in RENAMED_SINCE_2.items()
    }
    for phase in parts["training"]["phases"]:
        phase["loss"] = phase["loss"].replace("challenge_metric", "challenge_loss")
    return {**recipe, **parts}


def _in_order(found: dict, classes: Classes) -> np.ndarray:
    return np.array([found["thresholds"][code] for code in classes.codes], dtype=np.float64)


def whole_model(folder: Path) -> Path:
    """Where the files of a folder's model are: in the folder itself.

    Only if training was killed at the moment at which it replaced a model by another one, the whole new model is in a
    subfolder, and the files in the folder itself are of both; see training/publishing.py.
    """
    return folder / NEW if (folder / NEW / "recipe.json").is_file() else folder


def member_path(folder: Path, member: int) -> Path:
    """The weights of a member."""
    return folder / f"member_{member:02d}.safetensors"


def manifest_of(folder: Path) -> dict[str, Any]:
    """recipe.json, or an empty dict where there is none."""
    try:
        values = json.loads((folder / "recipe.json").read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
