"""A trained model: its members' scores and its labels.

    ensemble = load_ensemble(folder)
    scores = member_scores(ensemble, stack([prepare(recording, ensemble.recipe.input)], ensemble.device))
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
from ..recipes import Recipe
from ..terminal import printable, warn
from ..thresholds.decisions import Rules, at_least_one_label, decide, vote
from ..thresholds.uncertainty import disagreement, margins_of, uncertainty
from .model_files import Description, damaged, member_path, read_description, read_weights, whole_model
from .notes import Tally
from .predict import PackedRecordings, predict_each


@dataclass(frozen=True)
class Ensemble:
    """A trained model, ready to score.

    Attributes
    ----------
    recipe : Recipe
    classes : Classes
    models : list of nn.Module
        In evaluation mode on `device`, batch normalisation folded into the convolutions.
    thresholds : float64 (classes,)
        Of the mean score.
    member_thresholds : float64 (members, classes)
    priors : float64 (classes,)
        Share of the training recordings that have each class.
    device : torch.device
    rules : Rules or None
        What else decides about labels; None for a model that decides by thresholds alone.
    tally : Tally
        What happened to the recordings that team_code.run_model classified with it.
    """

    recipe: Recipe
    classes: Classes
    models: list[torch.nn.Module]
    thresholds: np.ndarray
    member_thresholds: np.ndarray
    priors: np.ndarray
    device: torch.device
    rules: Rules | None = None
    tally: Tally = field(default_factory=Tally, compare=False)


# ------------------------------------------------------------------------------------------------------------- score


def member_scores(ensemble: Ensemble, data: PackedRecordings) -> np.ndarray:
    """Scores float32 (members, recordings, classes) of all recordings of `data`."""
    models, rows, spec = ensemble.models, np.arange(len(data.lengths)), ensemble.recipe.input
    if ensemble.device.type != "cpu":
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
    scores = np.empty((len(models), len(rows), len(ensemble.classes.codes)), dtype=np.float32)
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


def labels_of(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """Labels bool (recordings, classes) from member scores: by their mean or by majority, as the recipe says, and by
    the model's rules.
    """
    voting, mean = ensemble.recipe.voting, scores.mean(axis=0)
    if voting.thresholds == "members":
        each = decide(scores, ensemble.member_thresholds[:, None, :])
        labels, cuts = vote(each), ensemble.member_thresholds.mean(axis=0)
    else:
        labels, cuts = decide(mean, ensemble.thresholds), ensemble.thresholds
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
    by_member = ensemble.recipe.voting.thresholds == "members"
    margins = margins_of(scores, ensemble.thresholds, ensemble.member_thresholds if by_member else None)
    if ensemble.rules is not None:
        margins = np.where(ensemble.rules.never, -np.inf, margins)
    return uncertainty(margins, labels), disagreement(member_labels(ensemble, scores), labels)


def member_labels(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """Labels bool (members, recordings, classes) that each member would give alone, from scores of the same shape."""
    voting, rules = ensemble.recipe.voting, ensemble.rules
    cuts = ensemble.member_thresholds[:, None, :] if voting.thresholds == "members" else ensemble.thresholds
    labels = decide(scores, cuts, voting.at_least_one and rules is None)
    return labels if rules is None else rules.apply(labels, scores, cuts, voting.at_least_one)


# -------------------------------------------------------------------------------------------------------------- load


def load_ensemble(
    folder: str | Path, device: torch.device | str = "cpu", log: Callable[[str], None] = warn
) -> Ensemble:
    """Loads the model of a folder, on any device, after checking its files.

    Parameters
    ----------
    folder : str or Path
    device : torch.device or str
    log : callable
        Told in one line if the folder does not say which files belong to it, so that changes could not be seen.

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
    expected = _expected_tensors(description)
    with ThreadPoolExecutor(4) as pool:  # reading and hashing let other threads run
        weights = [pool.submit(read_weights, description, member, expected) for member in description.members]
        weights[0].result()  # Only now is it known that the network is no larger than the files.
        # Its deep copies keep the random weights, since drawing new ones would take ten times as long.
        template = new_model(description.recipe, len(description.classes.codes))
        models: list[torch.nn.Module] = []
        file_of: dict[str, Path] = {}  # by digest
        for member, future in zip(description.members, weights):
            tensors, digest = future.result()
            path = member_path(folder, member)
            twin = file_of.setdefault(digest, path)
            if twin is not path:
                damaged(path, f"it is the same file as {twin.name}")
            models.append(_ready_to_score(copy.deepcopy(template), tensors, device, path))
    return Ensemble(
        description.recipe,
        description.classes,
        models,
        description.thresholds,
        description.member_thresholds,
        description.priors,
        device,
        description.rules,
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


def _expected_tensors(description: Description) -> dict[str, torch.Tensor]:
    """The state of the recipe's network on torch's meta device, where tensors have shapes but take no memory."""
    try:
        with torch.device("meta"), _WithoutFilling():
            return new_model(description.recipe, len(description.classes.codes)).state_dict()
    except Exception as error:  # whatever an architecture makes of options that are out of its range
        damaged(description.folder / "recipe.json", f"the network cannot be built: {error}")


def _ready_to_score(
    model: torch.nn.Module, tensors: dict[str, torch.Tensor], device: torch.device, path: Path
) -> torch.nn.Module:
    try:
        model.load_state_dict(tensors)
        model = fuse(model.eval())
        model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        return accelerated(model, training=False)
    except (RuntimeError, ValueError) as error:  # such as a GPU without enough memory
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{printable(path)}: the model cannot be used on {device} ({printable(lines[0])})") from None
