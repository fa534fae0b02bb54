"""The files of a model folder: where they lie, and whether they are what training wrote.

    description = read_description(folder)                          # recipe, classes, thresholds; checked
    weights = read_weights(description, member, expected_tensors)   # the tensors of a member; checked

A model folder is self-contained and holds no code: recipe.json (written last: without it there is no model),
classes.json, member_00.safetensors …, thresholds.json, history.csv, splits.json, progress.png. The last three are for
people; scores do not depend on them, and they are not read here.

recipe.json has the SHA-256 of every other file but history.csv and MODEL_CARD.md in its field `files`, and that of its
own values in `checksum`. Folders without these fields (format 2) are checked by types, ranges, shapes and lengths
alone. Whatever is wrong is one line that names the file. Nothing is allocated before sizes and shapes are known to be
those of the recipe's network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from ..data.classes import CPSC, OUTPUT_CODES, OWN, SINUS_RHYTHM, Classes
from ..data.own_labels import MOST_CLASSES, written
from ..errors import UserError
from ..files import read_bytes
from ..recipes import AnyRecipe, JoinedRecipe, recipe_from_dict
from ..terminal import printable
from ..thresholds.context import Context
from ..thresholds.decisions import Rules
from ..thresholds.objectives import OWN_METRICS
from ..thresholds.probabilities import LogisticMap
from .recipe_checks import check_recipe

NEW = ".new"  # folder in a model folder; see `whole_model`
# Formats of the model folder. Raise the number when a program of an older version could not read the folder.
FORMAT, JOINED_FORMAT = 3, 4  # of a model of one recipe; of a model whose members are of several recipes
# Format 2 had other names for fields of the recipe, for one layer and for one loss; its folders are still read.
RENAMED_SINCE_2 = {
    "input": {"own_scale": "per_recording_scale", "right_arms": "undo_arm_reversal"},
    "augmentation": {"hide_probability": "metadata_dropout"},
    "training": {"halve_after": "rate_patience", "stop_after": "early_stopping_patience"},
    "network": {"side_features": "metadata_features"},
}
MOST_HABITS = 100  # of annotators, in thresholds.json
MOST_JSON_BYTES = 16 * 2**20  # of recipe.json, classes.json and thresholds.json, which have some kilobytes
MOST_HEADER_BYTES = 4 * 2**20  # of a weights file, for the names and shapes of its tensors


@dataclass(frozen=True)
class Description:
    """What a model folder says apart from the weights.

    Attributes
    ----------
    folder : Path
    format : int
    members : tuple of int
        The members' numbers.
    digests : dict
        SHA-256 of files by name; empty if recipe.json has none.
    recipe : Recipe or JoinedRecipe
    classes : Classes
    thresholds : float64 (classes,)
        Of the mean score.
    member_thresholds : float64 (members, classes)
    priors : float64 (classes,)
        Share of the training recordings that have each class.
    votes : int or None
        So many members have to give a class, where members vote. None is more than half of them.
    probabilities : LogisticMap or None
        From the mean score to probabilities. `thresholds` are of probabilities then.
    rules : Rules or None
        What else decides about labels; None if nothing does.
    context : Context or None
        What moves the thresholds of a recording; None if all recordings have those of the model.
    """

    folder: Path
    format: int
    members: tuple[int, ...]
    digests: Mapping[str, str]
    recipe: AnyRecipe
    classes: Classes
    thresholds: np.ndarray
    member_thresholds: np.ndarray
    priors: np.ndarray
    votes: int | None
    probabilities: LogisticMap | None
    rules: Rules | None
    context: Context | None


def whole_model(folder: Path) -> Path:
    """Where the files of a folder's model are: in the folder itself.

    Only if training was killed at the moment at which it replaced a model by another one, the whole new model is in a
    subfolder, and the files in the folder itself are of both; see training/publishing.py.
    """
    return folder / NEW if (folder / NEW / "recipe.json").is_file() else folder


def member_path(folder: Path, member: int) -> Path:
    """The weights of a member."""
    return folder / f"member_{member:02d}.safetensors"


def manifest_of(folder: Path) -> dict:
    """The content of recipe.json, or an empty dictionary if there is none or it cannot be read."""
    try:
        values = json.loads(read_bytes(folder / "recipe.json", MOST_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def format_of(recipe: AnyRecipe) -> int:
    """The format of the model folder of a recipe."""
    return JOINED_FORMAT if isinstance(recipe, JoinedRecipe) else FORMAT


def names_of_members(recipe: JoinedRecipe, members: Sequence[int]) -> dict[str, str]:
    """For each member, by its number as a text, the name of its recipe; recipe.json of a joined model holds this."""
    return {str(member): recipe.parts[recipe.part_of_member[member]].name for member in members}


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The content of recipe.json with a checksum over all of its other values."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return {**rest, "checksum": _checksum(rest)}


def _checksum(values: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(values))  # tuples become lists and keys texts, as they are when the file is read
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def damaged(path: Path, reason: object) -> NoReturn:
    """Raises the UserError for a file of a model folder that cannot be used."""
    lines = str(reason).strip().splitlines()
    raise UserError(
        f"{printable(path)}: the model is damaged ({printable(lines[0]) if lines else type(reason).__name__}); "
        "copy the folder again or train it again"
    ) from None


# ---------------------------------------------------------------------------------------------------------- JSON files


def read_description(folder: Path) -> Description:
    """Reads and checks the JSON files of a model folder.

    Raises
    ------
    UserError
        If there is no model, it is of another version, or a file is damaged; the message names the file.
    """
    manifest = manifest_of(folder)
    path = folder / "recipe.json"
    if not manifest:
        raise UserError(
            f"{printable(folder)}: there is no trained model here (no readable recipe.json); run train_model.py first"
        )
    if manifest.get("format") not in (2, FORMAT, JOINED_FORMAT):
        raise UserError(
            f"{printable(path)}: the model is of format {printable(str(manifest.get('format'))[:20])}, this twelvelead "
            f"reads formats 2 to {JOINED_FORMAT}; train it again or use the version that wrote it"
        )
    recipe = _recipe(path, manifest)
    if "checksum" in manifest and manifest["checksum"] != sealed(manifest)["checksum"]:
        damaged(path, "its values were changed: they do not give the checksum that it names")
    members = _members(path, manifest, recipe)
    digests = _digests(path, manifest, members)
    classes, priors = _classes(folder / "classes.json", digests, recipe)
    decision = _decision(folder / "thresholds.json", digests, recipe, classes, members)
    return Description(
        folder,
        manifest["format"],
        members,
        digests,
        recipe,
        classes,
        decision.thresholds,
        decision.member_thresholds,
        priors,
        decision.votes,
        decision.probabilities,
        decision.rules,
        decision.context,
    )


def _recipe(path: Path, manifest: dict[str, Any]) -> AnyRecipe:
    try:
        values = manifest["recipe"]
        recipe = recipe_from_dict(_current_names(values) if manifest["format"] == 2 else values)
        check_recipe(recipe)
        if isinstance(recipe, JoinedRecipe) != (manifest["format"] == JOINED_FORMAT):
            raise UserError(f"the recipe is none of format {manifest['format']}")
        return recipe
    except UserError as error:
        damaged(path, error)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        damaged(path, f"the recipe does not fit this version of twelvelead: {type(error).__name__} {error}")


def _current_names(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe as format 2 stored it, with today's names of its fields."""
    parts = {
        part: {names.get(field, field): value for field, value in recipe[part].items()}
        for part, names in RENAMED_SINCE_2.items()
    }
    for phase in parts["training"]["phases"]:
        phase["loss"] = phase["loss"].replace("challenge_metric", "challenge_loss")
    return {**recipe, **parts}


def _members(path: Path, manifest: dict[str, Any], recipe: AnyRecipe) -> tuple[int, ...]:
    members = manifest.get("members")
    if (
        not isinstance(members, list)
        or not all(type(member) is int and 0 <= member < recipe.voting.members for member in members)
        or members != sorted(set(members))
        or not members
    ):
        damaged(path, f"members must be different numbers from 0 to {recipe.voting.members - 1}, in order")
    if isinstance(recipe, JoinedRecipe) and manifest.get("recipe_of_member") != names_of_members(recipe, members):
        damaged(path, "recipe_of_member does not name the recipes of its members")
    return tuple(members)


def _digests(path: Path, manifest: dict[str, Any], members: tuple[int, ...]) -> dict[str, str]:
    """SHA-256 by file name, which must be those of the members and of the other files that scores depend on."""
    files = manifest.get("files")
    if files is None:
        return {}
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        damaged(path, "files must name the SHA-256 of each file")
    weights = {member_path(path.parent, member).name for member in members}
    named = {name for name in files if name.startswith("member_")}
    if named != weights or not {"classes.json", "thresholds.json"} <= set(files):
        damaged(path, "the files that it names are not those of its members")
    return files


def _read_checked(path: Path, digests: Mapping[str, str], most_bytes: int) -> bytes:
    """The content of a file of the folder, which must have the SHA-256 that recipe.json names, if it names one."""
    try:
        content = read_bytes(path, most_bytes)
    except OSError as error:
        damaged(path, error.strerror or error)
    if digests and hashlib.sha256(content).hexdigest() != digests[path.name]:
        damaged(path, "it is not the file that was trained: its SHA-256 is not the one in recipe.json")
    return content


def _read_json(path: Path, digests: Mapping[str, str]) -> dict[str, Any]:
    try:
        values = json.loads(_read_checked(path, digests, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        damaged(path, error)
    if not isinstance(values, dict):
        damaged(path, "it holds no table of values")
    return values


def _classes(path: Path, digests: Mapping[str, str], recipe: AnyRecipe) -> tuple[Classes, np.ndarray]:
    """The classes and their priors."""
    values = _read_json(path, digests)
    for key in ("codes", "outputs"):
        texts = values.get(key)
        if (
            not isinstance(texts, list)
            or not 0 < len(texts) <= MOST_CLASSES
            or not all(isinstance(text, str) and text.isprintable() and text for text in texts)
            or (any("," in text for text in texts) and (recipe.label_set != OWN or key == "outputs"))
            or len(set(texts)) != len(texts)
        ):
            damaged(path, f"{key} must be different codes, {MOST_CLASSES} at most")
    codes = values["codes"]
    weights = np.array([_numbers(path, "weights", row, len(codes)) for row in _rows(path, values, len(codes))])
    classes = Classes(tuple(codes), weights, tuple(values["outputs"]), values.get("year", ""), values.get("metric", ""))
    _check_label_set(path, classes, recipe.label_set)
    if values.get("abbreviations", list(classes.abbreviations)) != list(classes.abbreviations):
        damaged(path, "codes and abbreviations do not belong together")
    priors = _numbers(path, "priors", values.get("priors"), len(codes), most=1)
    return classes, priors


def _check_label_set(path: Path, classes: Classes, label_set: str) -> None:
    """Whether codes, outputs and year are those that a label set has."""
    if label_set == OWN:
        if classes.year != OWN or classes.metric not in OWN_METRICS:
            damaged(path, f"year and metric are not those of the label set '{OWN}'")
        if classes.outputs != tuple(map(written, classes.codes)):
            damaged(path, "codes and outputs do not belong together")
        return
    challenge = label_set == "challenge"
    outputs = [list(OUTPUT_CODES)] if challenge else [sorted(CPSC), sorted(CPSC.values())]
    if list(classes.outputs) not in outputs or classes.year != ("2020" if challenge else "unofficial"):
        damaged(path, f"outputs and year are not those of the label set '{label_set}'")
    if not challenge and list(classes.codes) != list(CPSC.values()):
        damaged(path, f"codes are not those of the label set '{label_set}'")
    if SINUS_RHYTHM not in classes.index:
        damaged(path, f"codes lack sinus rhythm, {SINUS_RHYTHM}")


def _rows(path: Path, values: dict[str, Any], count: int) -> list:
    rows = values.get("weights")
    if not isinstance(rows, list) or len(rows) != count:
        damaged(path, f"weights must have {count} rows")
    return rows


def _numbers(path: Path, name: str, values: Any, count: int, least: float = 0.0, most: float | None = None):
    """float64 (count,) from a list of numbers, from `least` to `most` unless `most` is None."""
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    ):
        damaged(path, f"{name} must be {count} numbers")
    numbers = np.array(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        damaged(path, f"{name} holds a number that is not finite")
    if most is not None and not ((numbers >= least) & (numbers <= most)).all():
        damaged(
            path, f"{name} holds {numbers[(numbers < least) | (numbers > most)][0]:g}, not from {least:g} to {most:g}"
        )
    return numbers


class _Decision(NamedTuple):
    """The content of thresholds.json; see `Description`."""

    thresholds: np.ndarray
    member_thresholds: np.ndarray
    votes: int | None
    probabilities: LogisticMap | None
    rules: Rules | None
    context: Context | None


def _decision(
    path: Path, digests: Mapping[str, str], recipe: AnyRecipe, classes: Classes, members: tuple[int, ...]
) -> _Decision:
    """Reads and checks thresholds.json."""
    values = _read_json(path, digests)
    if values.get("used", recipe.voting.thresholds) != recipe.voting.thresholds:
        damaged(path, f"it says that the thresholds of the {values['used']} are used, the recipe says otherwise")
    of_members = values.get("members")
    if not isinstance(of_members, dict) or set(of_members) != {str(member) for member in members}:
        damaged(path, "its members are not those of recipe.json")

    def in_order(
        name: str, part: Any, key: str = "thresholds", least: float = 0.0, most: float | None = 1.0
    ) -> np.ndarray:
        numbers = part.get(key) if isinstance(part, dict) else None
        # training writes them in the order of the classes: another order means that codes were exchanged
        if not isinstance(numbers, dict) or list(numbers) != list(classes.codes):
            damaged(path, f"the codes of {name} are not those of classes.json, in the same order")
        return _numbers(path, name, list(numbers.values()), len(numbers), least, most)

    each = [in_order(f"member {member}", of_members[str(member)]) for member in members]
    votes = values.get("votes")
    if votes is not None and not (type(votes) is int and 1 <= votes <= len(members)):
        damaged(path, f"votes must be a number from 1 to {len(members)}")
    ensemble, line = values.get("ensemble"), None
    thresholds = in_order("ensemble", ensemble)

    def map_of(name: str, part: Any) -> LogisticMap:
        slopes = in_order(f"the slopes{name}", part, "slopes", 1e-6, 1e6)
        return LogisticMap(slopes, in_order(f"the intercepts{name}", part, "intercepts", -1e6, 1e6))

    def context_of(part: Any) -> Context:
        in_order("the context", part, "reference")
        map_of(" of the context", part)
        habits = part.get("habits")
        if not isinstance(habits, list) or not 1 <= len(habits) <= MOST_HABITS:
            damaged(path, f"the habits must be a list of at most {MOST_HABITS}")
        for each in habits:
            in_order("the habits", each, "written")
            _numbers(path, "the share of habits", [each.get("share")], 1, most=1)
            if each.setdefault("only_alone", None) not in (None, *classes.codes):
                damaged(path, "the habits name a code that is not in classes.json")
        elsewhere = dict(part=recipe.voting.context_part, weights=classes.weights)
        return Context.from_dict({**part, **elsewhere}, classes.codes)

    if recipe.voting.calibrated:
        line = map_of("", ensemble)
    rules = _rules(path, values["rules"], classes) if "rules" in values else None
    context = context_of(values["ensemble"]["context"]) if "context" in values["ensemble"] else None
    return _Decision(thresholds, np.stack(each), votes, line, rules, context)


def _rules(path: Path, values: Any, classes: Classes) -> Rules:
    """The rules from `{"never": [codes], "alone": [codes]}`."""
    if not isinstance(values, dict) or set(values) != {"never", "alone"}:
        damaged(path, "rules must have never and alone, two lists of codes")
    for name, codes in values.items():
        if not isinstance(codes, list) or not all(code in classes.codes for code in codes):
            damaged(path, f"the codes of {name} are not those of classes.json")
    if set(values["never"]) >= set(classes.codes):
        damaged(path, "by its rules no class is ever written")
    return Rules(*(np.array([code in values[name] for code in classes.codes]) for name in ("never", "alone")))


# ------------------------------------------------------------------------------------------------------------- weights


def read_weights(
    description: Description, member: int, expected: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors of a member, and the SHA-256 of its file.

    Weights in half precision, as scripts/half_weights.py writes them, are returned in single precision.

    Parameters
    ----------
    expected : mapping of str to Tensor
        The state of the recipe's network on the meta device: names, shapes and types that the file must have.

    Raises
    ------
    UserError
        If the file is damaged or does not fit the network.
    """
    path = member_path(description.folder, member)
    size = sum(tensor.numel() * tensor.element_size() for tensor in expected.values())
    content = _read_checked(path, description.digests, size + MOST_HEADER_BYTES)
    digest = description.digests.get(path.name) or hashlib.sha256(content).hexdigest()
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, OverflowError) as error:
        damaged(path, error)
    if description.format == 2:
        tensors = {name.replace("side.", "metadata."): values for name, values in tensors.items()}
    if set(tensors) != set(expected):
        odd = sorted(set(tensors) ^ set(expected))[0]
        damaged(path, f"{odd} is {'missing' if odd in expected else 'no part of the recipe’s network'}")
    for name, values in tensors.items():
        wanted = expected[name]
        if values.dtype == torch.float16 and wanted.dtype == torch.float32:  # of a folder that had to be small
            tensors[name] = values = values.float()
        if values.shape != wanted.shape or values.dtype != wanted.dtype:
            damaged(
                path,
                f"{name} is {values.dtype} {tuple(values.shape)}, "
                f"in the recipe's network {wanted.dtype} {tuple(wanted.shape)}",
            )
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            damaged(path, f"{name} holds a number that is not finite")
        if name.endswith("running_var") and bool((values < 0).any()):
            damaged(path, f"{name} holds a negative variance")
    return tensors, digest
