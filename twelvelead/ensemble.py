"""Members together: train them all, save, load, score, decide.

    ensemble = train_ensemble(find_recordings(data), folder, get_recipe("butt"), classes, root=data)
    ensemble = load_ensemble(folder)
    scores = member_scores(ensemble, stack([prepare(recording, ensemble.recipe.input)], ensemble.device))
    labels = labels_of(ensemble, scores)

A model folder is self-contained: recipe.json (written last: without it there is no model), classes.json,
member_00.safetensors …, thresholds.json, history.csv, splits.json, progress.png. While training goes on it also holds
`.work` (preprocessed recordings, checkpoints), which is removed at the end. After each member the folder is a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from . import __version__, thresholds
from .batches import Data, on_device, predict
from .budget import Budget, affordable
from .classes import Classes
from .errors import UserError
from .models.layers import fuse
from .recipes import Recipe, recipe_from_dict, to_dict
from .report.progress import draw_progress, write_history
from .splits import stratified_parts
from .store import Store, build_store
from .training import Trained, new_model, train_member

FORMAT = 1  # of the model folder; raise it when an older folder can no longer be read


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


# ---------------------------------------------------------------------------------------------------------------- score


def member_scores(ensemble: Ensemble, data: Data) -> np.ndarray:
    """Scores float32 (members, recordings, classes) of all recordings of `data`."""
    rows = np.arange(len(data.lengths))

    def scores_of(model: torch.nn.Module) -> np.ndarray:
        return predict(model, data, rows, ensemble.recipe.input)

    # On a CPU a thread for each member: the convolutions of one recording are too small to share out over threads.
    over = _threads(torch.get_num_threads()).map if ensemble.device.type == "cpu" else map
    return np.stack(list(over(scores_of, ensemble.models)))


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="member", initializer=torch.set_num_threads, initargs=(1,))


def labels_of(ensemble: Ensemble, scores: np.ndarray) -> np.ndarray:
    """Labels bool (recordings, classes) from member scores, as the recipe says: by the mean or by majority."""
    voting, mean = ensemble.recipe.voting, scores.mean(axis=0)
    if voting.thresholds == "members":
        each = thresholds.decide(scores, ensemble.member_thresholds[:, None, :])
        labels, cuts = thresholds.vote(each), ensemble.member_thresholds.mean(axis=0)
    else:
        labels, cuts = thresholds.decide(mean, ensemble.thresholds), ensemble.thresholds
    return thresholds.at_least_one_label(labels, mean, cuts) if voting.at_least_one else labels


# ---------------------------------------------------------------------------------------------------------------- train


def train_ensemble(headers: list[Path], folder: Path, recipe: Recipe, classes: Classes, *, root: Path | None = None,
                   seed: int = 0, device: torch.device | str = "cpu", limit: int | None = None,
                   budget_hours: float | None = None, patients: dict[str, str] | None = None, jobs: int = -1,
                   log: Callable[[str], None] = print) -> Ensemble:
    """Trains all members and writes the model folder; a killed run is continued by calling it again.

    Parameters
    ----------
    headers : list of Path
        Header files of the training recordings.
    folder : Path
        The model folder, made if absent. A model of other data or another recipe in it is replaced.
    root : Path, optional
        The data folder, for shorter names in splits.json.
    limit : int, optional
        Train on so many of the recordings, chosen at random by the seed.
    budget_hours : float, optional
        Finish within that time (see budget.py), the time of earlier, killed runs included.
    patients : dict, optional
        Recording name → patient, where the headers do not tell it. One patient's recordings stay on one side.
    log : callable
        Told one line at a time.

    Raises
    ------
    UserError
        If there is nothing to train on, the folder cannot be written, or the loss diverges.
    """
    folder, device = Path(folder), torch.device(device)
    budget = Budget() if budget_hours is None else Budget(seconds=budget_hours * 3600)
    work = folder / ".work"
    _make_writable(work)
    if limit is not None and limit < len(headers):
        chosen = np.random.default_rng(seed).choice(len(headers), limit, replace=False)
        headers = [headers[k] for k in np.sort(chosen)]
    store = build_store(headers, recipe.input, work / "store", root=root, jobs=jobs)
    for line in store.left_out:
        log(f"left out: {line}")
    # without a diagnosis a recording's classes are unknown, not absent
    rows = np.array([row for row, codes in enumerate(store.codes) if codes], dtype=np.int64)
    if len(rows) < len(store):
        log(f"left out: {len(store) - len(rows)} recordings without a diagnosis (#Dx)")
    if len(rows) == 0:
        raise UserError(f"none of the {len(store)} recordings has a diagnosis (#Dx) to train on")
    labels = classes.labels(store.codes)
    groups = [patient or (patients or {}).get(name) for patient, name in zip(store.patients, store.names)]
    key = _key(recipe, classes, seed, store, rows, groups)
    if _manifest(folder).get("key") == key and _manifest(folder).get("complete"):
        log(f"{folder}: this model is already trained; delete the folder to train it again")
        shutil.rmtree(work)
        return load_ensemble(folder, device)
    _start_or_continue(folder, work, key, budget, log)

    run = _Run(folder, work, key, recipe, classes, seed, store, labels, rows, log)
    data = on_device(store, device)
    members, epochs = recipe.voting.members, sum(phase.epochs for phase in recipe.training.phases)
    log(f"training {members} members of '{recipe.name}', {epochs} epochs each, on {len(rows)} recordings, "
        f"{labels[rows].any(axis=0).sum()} of {len(classes.codes)} classes present, device {device}")
    member = 0
    while member < members:
        train_rows, validation_rows = member_rows(labels, rows, groups, recipe.voting.train_fraction, seed, member)

        def epochs_allowed(done: int, epoch_seconds: float) -> int:
            nonlocal members
            _write_json(work / "run.json", dict(key=key, seconds=budget.used()))
            fewer, allowed = affordable(budget.left(), epoch_seconds, members - member, epochs, done)
            if fewer < members - member:
                members = member + fewer
                log(f"time budget: {members} members instead of {recipe.voting.members}")
            return allowed

        trained = run.trained_before(member)
        if trained is None:
            if member > 0 and budget.is_over():
                log(f"time budget: it ends after {member} of {recipe.voting.members} members")
                break
            trained = train_member(data, labels, train_rows, validation_rows, recipe, classes, seed=seed, member=member,
                                   checkpoint=work / f"member_{member:02d}.checkpoint", epochs_allowed=epochs_allowed,
                                   out_of_time=budget.is_over, log=log)
        run.add(member, trained, validation_rows)
        _write_json(work / "run.json", dict(key=key, seconds=budget.used()))
        member += 1
    run.finish()
    del data, store
    shutil.rmtree(work)
    return load_ensemble(folder, device)


def member_rows(labels: np.ndarray, rows: np.ndarray, groups: list[str | None], fraction: float, seed: int,
                member: int) -> tuple[np.ndarray, np.ndarray]:
    """The member's own random training part of `rows` and the rest, stratified, one patient on one side."""
    train, _ = stratified_parts(labels[rows], fraction, [seed, member], [groups[row] for row in rows])
    return rows[train], rows[~train]


class _Run:
    """The model folder while it grows by members."""

    def __init__(self, folder: Path, work: Path, key: str, recipe: Recipe, classes: Classes, seed: int, store: Store,
                 labels: np.ndarray, rows: np.ndarray, log: Callable[[str], None]):
        self.folder, self.work, self.key, self.recipe, self.classes, self.seed = folder, work, key, recipe, classes, seed
        self.store, self.labels, self.rows, self.log = store, labels, rows, log
        self.sum = np.zeros(labels.shape)  # out-of-bag scores
        self.count = np.zeros(len(labels), dtype=int)
        self.found: list[thresholds.Thresholds] = []
        self.validation: list[list[str]] = []
        self.history: list[dict[str, Any]] = []

    def _paths(self, member: int) -> tuple[Path, Path]:
        return self.folder / f"member_{member:02d}.safetensors", self.work / f"member_{member:02d}.npz"

    def trained_before(self, member: int) -> Trained | None:
        """The member, if a killed run had finished it."""
        weights, scores = self._paths(member)
        if not (weights.is_file() and scores.is_file()):
            return None
        self.log(f"member {member}: trained before")
        with np.load(scores) as arrays:
            return Trained(load_file(weights), arrays["scores"], json.loads(str(arrays["history"])))

    def add(self, member: int, trained: Trained, validation_rows: np.ndarray) -> None:
        """Stores a member and makes the folder a model of the members so far."""
        weights, scores = self._paths(member)
        _replace(weights, lambda path: save_file(trained.state, path))
        _replace(scores, lambda path: np.savez(path, scores=trained.scores, history=json.dumps(trained.history)))
        (self.work / f"member_{member:02d}.checkpoint").unlink(missing_ok=True)
        self.sum[validation_rows] += trained.scores
        self.count[validation_rows] += 1
        self.found.append(self._optimise(self.labels[validation_rows], trained.scores, f"member {member}"))
        self.validation.append([self.store.headers[row] for row in validation_rows])
        self.history += trained.history
        self._write(complete=False)

    def finish(self) -> None:
        self._write(complete=True)

    def _optimise(self, labels: np.ndarray, scores: np.ndarray, title: str) -> thresholds.Thresholds:
        objective = thresholds.challenge_metric(labels, scores, self.classes.weights, self.classes.sinus_rhythm)
        found = thresholds.optimise(objective, self.recipe.voting.threshold_method, seed=self.seed)
        self.log(f"{title}: thresholds from {len(labels)} recordings, Challenge metric there: "
                 + ", ".join(f"{stage} {value:.3f}" for stage, value in found.stages))
        return found

    def _write(self, complete: bool) -> None:
        """All files but the members'; the manifest, recipe.json, last."""
        classes = self.classes
        bag = np.flatnonzero(self.count)
        together = self._optimise(self.labels[bag], self.sum[bag] / self.count[bag, None],
                                  f"{len(self.found)} members, out of bag")

        def as_dict(found: thresholds.Thresholds, recordings: int) -> dict:
            return dict(recordings=recordings, thresholds=dict(zip(classes.codes, found.values.tolist())),
                        challenge_metric_after={stage: value for stage, value in found.stages})

        _write_json(self.folder / "classes.json", dict(
            codes=classes.codes, abbreviations=classes.abbreviations, weights=classes.weights.tolist(),
            priors=self.labels[self.rows].mean(axis=0).tolist()))
        _write_json(self.folder / "thresholds.json", dict(
            used=self.recipe.voting.thresholds, ensemble=as_dict(together, len(bag)),
            members=[as_dict(found, len(names)) for found, names in zip(self.found, self.validation)]))
        _write_json(self.folder / "splits.json", dict(
            recordings=[self.store.headers[row] for row in self.rows], validation_of_member=self.validation))
        _replace(self.folder / "history.csv", lambda path: write_history(self.history, path))
        _replace(self.folder / "progress.png", lambda path: draw_progress(self.history, path))
        _write_json(self.folder / "recipe.json", dict(
            format=FORMAT, twelvelead=__version__, torch=torch.__version__, complete=complete, members=len(self.found),
            seed=self.seed, recordings=len(self.rows), key=self.key, recipe=to_dict(self.recipe)))


def _key(recipe: Recipe, classes: Classes, seed: int, store: Store, rows: np.ndarray, groups: list[str | None]) -> str:
    """Changes with everything that decides what training ends with, the time budget apart."""
    parts = [FORMAT, to_dict(recipe), classes.codes, classes.weights.tolist(), seed,
             [[store.headers[row], store.codes[row], int(store.offsets[row]), groups[row]] for row in rows]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _start_or_continue(folder: Path, work: Path, key: str, budget: Budget, log: Callable[[str], None]) -> None:
    """Keeps what a killed run of the same key left, deletes what any other left."""
    try:
        before = json.loads((work / "run.json").read_text())
    except (OSError, ValueError):
        before = {}
    if before.get("key") == key:
        budget.used_before = float(before["seconds"])
        log(f"{folder}: going on with a run that was interrupted after {budget.used_before:.0f} s")
        return
    if _manifest(folder):
        log(f"{folder}: another model is here; it is replaced")
    (folder / "recipe.json").unlink(missing_ok=True)  # first: without it the rest is no model
    for path in [*folder.glob("member_*.safetensors"), *work.glob("member_*")]:
        path.unlink()
    _write_json(work / "run.json", dict(key=key, seconds=0.0))


# ----------------------------------------------------------------------------------------------------------- model folder


def load_ensemble(folder: str | Path, device: torch.device | str = "cpu") -> Ensemble:
    """The model of a folder, on any device.

    Raises
    ------
    UserError
        If the folder holds no model, one of another version, or a damaged one; the message names the file.
    """
    folder, device = Path(folder), torch.device(device)
    manifest = _manifest(folder)
    if not manifest:
        raise UserError(f"{folder}: there is no trained model here (no readable recipe.json); run train_model.py first")
    if manifest.get("format") != FORMAT:
        raise UserError(f"{folder}/recipe.json: the model is of format {manifest.get('format')}, this twelvelead reads "
                        f"format {FORMAT}; train it again or use the version that wrote it")
    recipe = recipe_from_dict(manifest["recipe"])
    try:
        values = json.loads((folder / "classes.json").read_text())
        classes = Classes(tuple(values["codes"]), np.array(values["weights"], dtype=np.float64))
        cuts = json.loads((folder / "thresholds.json").read_text())
        models = []
        for member in range(manifest["members"]):
            model = new_model(recipe, len(classes.codes))
            model.load_state_dict(load_file(folder / f"member_{member:02d}.safetensors"))
            models.append(fuse(model.eval()).to(device))
        return Ensemble(recipe, classes, models, _in_order(cuts["ensemble"], classes),
                        np.stack([_in_order(member, classes) for member in cuts["members"][:len(models)]]),
                        np.array(values["priors"], dtype=np.float64), device)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{folder}: the model is damaged ({reason}); copy the folder again or train it again") from None


def _in_order(found: dict, classes: Classes) -> np.ndarray:
    return np.array([found["thresholds"][code] for code in classes.codes], dtype=np.float64)


def _manifest(folder: Path) -> dict[str, Any]:
    """recipe.json, or an empty dict where there is none."""
    try:
        values = json.loads((folder / "recipe.json").read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder.parent}: the model folder cannot be written ({error.strerror or error})") from None


def _write_json(path: Path, values: Any) -> None:
    _replace(path, lambda partial: partial.write_text(json.dumps(values, indent=1) + "\n"))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes by another name and renames, so that a killed run leaves the old file or the new one."""
    partial = path.with_name(f".{path.name}.part{path.suffix}")
    write(partial)
    os.replace(partial, path)
