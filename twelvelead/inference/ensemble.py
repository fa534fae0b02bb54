"""A trained model: its members' scores and its labels.

    ensemble = load_ensemble(folder)
    scores = member_scores(ensemble, stack([prepare(recording, *ensemble.inputs)], ensemble.device))
    labels = labels_of(ensemble, scores)

model_files.py documents and checks the files of a model folder; training/model_folder.py writes them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ..data.classes import Classes
from ..errors import UserError
from ..models.network import accelerated, fuse, new_model
from ..recipes import AnyRecipe, Input, Recipe
from ..terminal import printable, warn
from ..thresholds.context import Context
from ..thresholds.decisions import Rules, at_least_one_label, decide, vote
from ..thresholds.probabilities import LogisticMap
from ..thresholds.uncertainty import disagreement, margins_of, margins_of_votes, uncertainty
from .model_files import Description, damaged, member_path, read_description, read_weights, whole_model
from .notes import Tally
from .predict import PackedRecordings, predict_each


@dataclass(frozen=True)
class Ensemble:
    """A trained model, ready to score.

    Attributes
    ----------
    recipe : Recipe or JoinedRecipe
    classes : Classes
    models : list of nn.Module
        In evaluation mode on `device`, batch normalisation folded into the convolutions.
    part_of_model : tuple of int
        For each model the place of its recipe in `recipe.parts`.
    thresholds : float64 (classes,)
        Of the mean score.
    member_thresholds : float64 (members, classes)
    priors : float64 (classes,)
        Share of the training recordings that have each class.
    votes : int or None
        So many members have to give a class, where members vote. None is more than half of them.
    probabilities : LogisticMap or None
        From scores to probabilities. Thresholds are of probabilities then.
    device : torch.device
    rules : Rules or None
        What else decides about labels; None for a model that decides by thresholds alone.
    context : Context or None
        What moves the thresholds of a recording; None if all recordings have those of the model.
    tally : Tally
        What happened to the recordings that team_code.run_model classified with it.
    """

    recipe: AnyRecipe
    classes: Classes
    models: list[torch.nn.Module]
    part_of_model: tuple[int, ...]
    thresholds: np.ndarray
    member_thresholds: np.ndarray
    priors: np.ndarray
    votes: int | None
    probabilities: LogisticMap | None
    device: torch.device
    rules: Rules | None = None
    context: Context | None = None
    tally: Tally = field(default_factory=Tally, compare=False)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the models take, for `prepare`: one Input, or for a joined recipe each that occurs, once."""
        # A training that was short of time may have left out all members of a recipe.
        return tuple(dict.fromkeys(self.recipe.parts[part].input for part in sorted(set(self.part_of_model))))


# ------------------------------------------------------------------------------------------------------------- score


def member_scores(ensemble: Ensemble, data: PackedRecordings) -> np.ndarray:
    """Scores float32 (members, recordings, classes) of all recordings of `data`.

    Parameters
    ----------
    data : PackedRecordings
        Prepared for `ensemble.inputs`.
    """
    inputs, parts, classes = ensemble.inputs, ensemble.recipe.parts, len(ensemble.classes.codes)
    if len(inputs) == 1:
        return _scores(ensemble.models, data, inputs[0], classes)
    scores = np.empty((len(ensemble.models), len(data.lengths), classes), dtype=np.float32)
    for spec, view in zip(inputs, (data, *data.further), strict=True):
        those = [k for k, part in enumerate(ensemble.part_of_model) if parts[part].input == spec]
        scores[those] = _scores([ensemble.models[k] for k in those], view, spec, classes)
    return scores


def _scores(models: list[torch.nn.Module], data: PackedRecordings, spec: Input, classes: int) -> np.ndarray:
    """Scores float32 (models, recordings, classes) of models that take the same input."""
    rows = np.arange(len(data.lengths))
    if data.device.type != "cpu":
        return predict_each(models, data, rows, spec)
    # On a CPU each thread scores whole recordings with whole members, because the convolutions of one recording are too
    # small to share out over threads. With many recordings each thread gets a part of them, so that no thread waits for
    # another one's last member.
    threads = torch.get_num_threads()
    parts = max(1, min(threads, len(rows) // 8))
    by_length = np.argsort(data.lengths, kind="stable")
    groups = np.array_split(np.arange(len(models)), min(len(models), -(-threads // parts)))
    tasks = [(group, by_length[k::parts]) for k in range(parts) for group in groups]
    pool = _threads(threads)
    scores = np.empty((len(models), len(rows), classes), dtype=np.float32)
    try:
        results = pool.map(lambda task: predict_each([models[k] for k in task[0]], data, task[1], spec), tasks)
        for (group, part), values in zip(tasks, results):
            scores[np.ix_(group, part)] = values
    except BaseException:  # such as Ctrl-C: tasks that have not begun would be finished before the program ends
        pool.shutdown(wait=False, cancel_futures=True)
        _threads.cache_clear()
        raise
    return scores


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads that score, each with one thread of torch's. They are kept, since starting them takes time."""
    return ThreadPoolExecutor(count, thread_name_prefix="member", initializer=torch.set_num_threads, initargs=(1,))


def joined_scores(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """The scores that a model reports: the members' mean, or the probability that it stands for.

    Parameters
    ----------
    scores : float (members, recordings, classes)

    Returns
    -------
    float (recordings, classes)
    """
    return as_probabilities(ensemble, scores.mean(axis=0))


def as_probabilities(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """What scores (…, classes) of one or more members stand for; themselves if the recipe is not calibrated."""
    return scores if ensemble.probabilities is None else ensemble.probabilities(scores)


def labels_of(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """Labels bool (recordings, classes) from member scores: by their mean or by votes, and by the model's rules."""
    voting, mean = ensemble.recipe.voting, joined_scores(ensemble, scores)
    if voting.thresholds == "members":
        each = decide(scores, ensemble.member_thresholds[:, None, :])
        labels, cuts = vote(each, ensemble.votes), ensemble.member_thresholds.mean(axis=0)
    else:
        cuts = thresholds_of_recordings(ensemble, scores)
        labels = decide(mean, cuts)
    if ensemble.rules is not None:
        return ensemble.rules.apply(labels, mean, cuts, voting.at_least_one)
    return at_least_one_label(labels, mean, cuts) if voting.at_least_one else labels


def doubts_of(ensemble: Ensemble, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How uncertain the labels are, and how far the members disagree, each float64 (recordings,) in [0, 1].

    Parameters
    ----------
    scores : float32 (members, recordings, classes)
    labels : bool (recordings, classes)
        See `labels_of`; thresholds/uncertainty.py says what the figures mean.
    """
    margins = margins_to_thresholds(ensemble, scores)
    if ensemble.rules is not None:
        margins = np.where(ensemble.rules.never, -np.inf, margins)
    return uncertainty(margins, labels), disagreement(member_labels(ensemble, scores), labels)


def margins_to_thresholds(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """How far each class is above what decides, float64 (recordings, classes), from member scores.

    In log-odds of scores and not of probabilities: distances in scores order recordings better (docs/own-data.md).
    """
    if ensemble.recipe.voting.thresholds == "members":
        return margins_of_votes(scores, ensemble.member_thresholds, ensemble.votes)
    mean = scores.mean(axis=0)
    return margins_of(mean, thresholds_of_scores(ensemble, mean))


def thresholds_of_recordings(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """What the model's reported scores are compared with, float64 (recordings, classes), from member scores.

    Only for a model whose members do not vote. The reported scores are those of `joined_scores`. Without a context all
    recordings have the same thresholds.
    """
    mean = scores.mean(axis=0)
    if ensemble.context is None:
        return np.broadcast_to(ensemble.thresholds, mean.shape)
    return as_probabilities(ensemble, thresholds_of_scores(ensemble, mean))


def thresholds_of_scores(model: Ensemble | Description, mean: np.ndarray) -> np.ndarray:
    """What the members' mean score (recordings, classes) is compared with, float64 of the same shape."""
    thresholds = thresholds_of_mean(model)
    if model.context is None:
        return np.broadcast_to(thresholds, mean.shape)
    return model.context.thresholds(mean, thresholds)


def thresholds_of_mean(model: Ensemble | Description) -> np.ndarray:
    """The thresholds of the members' mean score, float64 (classes,), also where `thresholds` are of probabilities."""
    line = model.probabilities
    return model.thresholds if line is None else line.inverse(model.thresholds)


def member_labels(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """Labels bool (members, recordings, classes) that each member would give alone, from scores of the same shape."""
    voting, rules = ensemble.recipe.voting, ensemble.rules
    by_member = voting.thresholds == "members"
    cuts = ensemble.member_thresholds[:, None, :] if by_member else thresholds_of_recordings(ensemble, scores)
    scores = as_probabilities(ensemble, scores)
    labels = decide(scores, cuts, voting.at_least_one and rules is None)
    return labels if rules is None else rules.apply(labels, scores, cuts, voting.at_least_one)


# -------------------------------------------------------------------------------------------------------------- load


def load_ensemble(
    folder: str | Path,
    device: torch.device | str = "cpu",
    log: Callable[[str], None] = warn,
    *,
    accelerate: bool = True,
) -> Ensemble:
    """Loads the model of a folder, on any device, after checking its files.

    Parameters
    ----------
    folder : str or Path
    device : torch.device or str
    log : callable
        Told in one line if the folder does not say which files belong to it, so that changes could not be seen.
    accelerate : bool
        Use the faster layers of models/cpu on a CPU. Without them the networks consist of torch's own layers alone, as
        export to other formats needs them.

    Raises
    ------
    UserError
        If the folder holds no model, one of another version, or one that is damaged; the message names the file.
    """
    folder, device = whole_model(Path(folder)), torch.device(device)
    description = read_description(folder)
    if not description.digests:
        log(
            f"{printable(folder)}: this model's recipe.json does not name the SHA-256 of its files; "
            "changes of their values cannot be seen"
        )
    parts = tuple(description.recipe.part_of_member[member] for member in description.members)
    expected = {part: _expected_tensors(description, description.recipe.parts[part]) for part in set(parts)}
    with ThreadPoolExecutor(4) as pool:  # reading and hashing let other threads run
        weights = [
            pool.submit(read_weights, description, member, expected[part])
            for member, part in zip(description.members, parts)
        ]
        templates: dict[int, torch.nn.Module] = {}  # a network of each recipe
        models: list[torch.nn.Module] = []
        file_of: dict[str, Path] = {}  # by digest
        for member, part, future in zip(description.members, parts, weights):
            tensors, digest = future.result()
            path = member_path(folder, member)
            twin = file_of.setdefault(digest, path)
            if twin is not path:
                damaged(path, f"it is the same file as {twin.name}")
            if part not in templates:  # Only now is it known that the network is no larger than the file.
                templates[part] = new_model(description.recipe.parts[part], len(description.classes.codes))
            # Deep copies keep the random weights, since drawing new ones would take ten times as long.
            models.append(_ready_to_score(copy.deepcopy(templates[part]), tensors, device, path, accelerate))
    return Ensemble(
        description.recipe,
        description.classes,
        models,
        parts,
        description.thresholds,
        description.member_thresholds,
        description.priors,
        description.votes,
        description.probabilities,
        device,
        description.rules,
        description.context,
        Tally(fallback="no class" if description.classes.are_own else "sinus rhythm"),
    )


class _WithoutFilling(TorchFunctionMode):
    """While it lasts, tensors are not filled with numbers. torch offers no other way than to derive a mode.

    On the meta device there is nothing to fill, but trying to makes torch import its compiler, which takes two seconds.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        if func is torch.eye:
            func, args = torch.empty, (args[0], args[-1])
        return func(*args, **(kwargs or {}))


def _expected_tensors(description: Description, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The state of a recipe's network on torch's meta device, where tensors have shapes but take no memory."""
    try:
        with torch.device("meta"), _WithoutFilling():
            return new_model(recipe, len(description.classes.codes)).state_dict()
    except Exception as error:  # whatever an architecture makes of options that are out of its range
        damaged(description.folder / "recipe.json", f"the network cannot be built: {error}")


def _ready_to_score(
    model: torch.nn.Module, tensors: dict[str, torch.Tensor], device: torch.device, path: Path, accelerate: bool
) -> torch.nn.Module:
    try:
        model.load_state_dict(tensors)
        model = fuse(model.eval())
        model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        return accelerated(model, training=False) if accelerate else model
    except (RuntimeError, ValueError) as error:  # such as a GPU without enough memory
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{printable(path)}: the model cannot be used on {device} ({printable(lines[0])})") from None
