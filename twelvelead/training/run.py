"""What all processes that train members share: data, recipe, splits, in MODEL/.work.

job, used = prepare_job(headers, folder, recipe, classes, …)     # once, by the process that leads
job = read_job(folder / ".work")                                 # by the others
train_rows, validation_rows = job.member_rows(labels, member)
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.classes import Classes
from ..data.sources import known_labels, source_of
from ..data.splits import stratified_folds, stratified_parts
from ..errors import UserError
from ..files import write_json
from ..inference.ensemble import FORMAT, manifest_of
from ..preprocessing.heart_rate import add_rate_labels
from ..recipes import Recipe, recipe_from_dict, to_dict
from .store import Store, build_store, open_store

MOST_REPAIRED = 20  # repaired recordings that are named; a hospital may have written every header in its own way


@dataclass(frozen=True)
class TrainingRun:
    """What every process that trains members has to know; training_run.json holds all but `store`.

    Attributes
    ----------
    key : str
        Changes with everything that decides what training ends with, the time budget apart.
    rows : int array
        Rows of the store that training may use: those with a diagnosis.
    groups : list of str or None
        Patient of each row of the store.
    """

    work: Path
    key: str
    store_key: str
    recipe: Recipe
    classes: Classes
    seed: int
    groups: list[str | None]
    store: Store

    @property
    def folder(self) -> Path:
        return self.work.parent

    @property
    def rows(self) -> np.ndarray:
        return np.array([row for row, codes in enumerate(self.store.codes) if codes], dtype=np.int64)

    @property
    def epochs(self) -> int:
        return sum(phase.epochs for phase in self.recipe.training.phases)

    def write(self) -> None:
        write_json(
            self.work / "training_run.json",
            dict(
                key=self.key,
                store_key=self.store_key,
                recipe=to_dict(self.recipe),
                classes=self.classes.to_dict(),
                seed=self.seed,
                groups=self.groups,
            ),
        )

    def member_rows(self, labels: np.ndarray, member: int) -> tuple[np.ndarray, np.ndarray]:
        """The member's training part and the rest, stratified, one patient on one side.

        A random part of its own; in a recipe with folds all folds but the member's.
        """
        rows, voting = self.rows, self.recipe.voting
        groups = [self.groups[row] for row in rows]
        if voting.folds:
            train = stratified_folds(labels[rows], voting.folds, self.seed, groups) != member
        else:
            train, _ = stratified_parts(labels[rows], voting.train_fraction, [self.seed, member], groups)
        return rows[train], rows[~train]

    def known_labels(self, labels: np.ndarray) -> np.ndarray | None:
        """Labels that have a part in the loss, bool like `labels`; None: all of them."""
        if self.recipe.training.unknown_labels == "negative":
            return None
        sources = [source_of(Path(header), Path(".")) for header in self.store.headers]
        return known_labels(labels, sources, self.classes.codes)

    def threshold_labels(self, labels: np.ndarray) -> np.ndarray:
        """What the search for thresholds takes for true, bool like `labels`, which are the annotated ones."""
        if not self.recipe.voting.rate_labels:
            return labels
        return add_rate_labels(labels, self.store.rates, self.classes.codes)

    def result_path(self, member: int) -> Path:
        return self.work / f"member_{member:02d}.npz"


def open_run(work: Path) -> TrainingRun:
    """The job that another process wrote."""
    values = json.loads((work / "training_run.json").read_text())
    store = open_store(work / "store", values["store_key"])
    if store is None:
        raise UserError(f"{work}: the store of preprocessed recordings is gone; start training again")
    return TrainingRun(
        work,
        values["key"],
        values["store_key"],
        recipe_from_dict(values["recipe"]),
        Classes.from_dict(values["classes"]),
        values["seed"],
        values["groups"],
        store,
    )


def _key(recipe: Recipe, classes: Classes, seed: int, store: Store, groups: list[str | None]) -> str:
    parts = [
        FORMAT,
        to_dict(recipe),
        classes.to_dict(),
        seed,
        [
            [header, codes, int(offset), group]
            for header, codes, offset, group in zip(store.headers, store.codes, store.offsets, groups)
        ],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def prepare_run(
    headers: list[Path],
    folder: Path,
    recipe: Recipe,
    classes: Classes,
    root: Path | None,
    seed: int,
    limit: int | None,
    patients: dict[str, str] | None,
    jobs: int,
    log: Callable[[str], None],
) -> tuple[TrainingRun | None, float]:
    """Builds the store and writes the job; keeps what a killed run of the same job left, deletes what any other left.

    Parameters are those of members.train_ensemble.

    Returns
    -------
    job : Job or None
        None if the folder holds the finished model of this job already.
    used : float
        Seconds of the time budget that killed runs have used.
    """
    work = folder / ".work"
    _make_writable(work)
    if limit is not None and limit < len(headers):
        chosen = np.random.default_rng(seed).choice(len(headers), limit, replace=False)
        headers = [headers[k] for k in np.sort(chosen)]
    store = build_store(headers, recipe.input, work / "store", root=root, jobs=jobs)
    for line in store.left_out:
        log(f"left out: {line}")
    for line in store.repaired[:MOST_REPAIRED]:
        log(f"repaired: {line}")
    if len(store.repaired) > MOST_REPAIRED:
        log(f"repaired: {len(store.repaired) - MOST_REPAIRED} more recordings")
    groups = [patient or (patients or {}).get(name) for patient, name in zip(store.patients, store.names)]
    classes = classes.spelled_as(store.codes)
    run = TrainingRun(work, _key(recipe, classes, seed, store, groups), store.key, recipe, classes, seed, groups, store)
    # without a diagnosis a recording's classes are unknown, not absent
    if len(run.rows) < len(store):
        log(f"left out: {len(store) - len(run.rows)} recordings without a diagnosis (#Dx)")
    if len(run.rows) == 0:
        raise UserError(f"none of the {len(store)} recordings has a diagnosis (#Dx) to train on")
    manifest = manifest_of(folder)
    if manifest.get("key") == run.key and manifest.get("complete"):
        log(f"{folder}: this model is already trained; delete the folder to train it again")
        shutil.rmtree(work)
        return None, 0.0
    try:
        before = json.loads((work / "run.json").read_text())
    except (OSError, ValueError):
        before = {}
    used = 0.0
    if before.get("key") == run.key:
        used = float(before["seconds"])
        log(f"{folder}: going on with a run that was interrupted after {used:.0f} s")
    else:
        if manifest:
            log(f"{folder}: another model is here; it is replaced")
        (folder / "recipe.json").unlink(missing_ok=True)  # first: without it the rest is no model
        for path in [*folder.glob("member_*.safetensors"), *work.glob("member_*")]:
            path.unlink()
    run.write()
    return run, used


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder.parent}: the model folder cannot be written ({error.strerror or error})") from None
