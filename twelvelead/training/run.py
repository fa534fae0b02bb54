"""A training run: what all processes that train its members share, in MODEL/.work.

    run, seconds = prepare_run(headers, folder, recipe, classes, …)     # once, by the process that leads
    run = open_run(folder / ".work")                                    # by the others
    train_rows, validation_rows = run.member_rows(labels, member)

A run that was killed is prepared again by the same call, and goes on where it stood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.classes import Classes
from ..data.label_tables import UNKNOWN
from ..data.own_labels import OwnLabels, as_arrays
from ..data.sources import known_labels, source_of, states_rhythm
from ..data.splits import stratified_folds, stratified_parts
from ..errors import UserError
from ..files import write_json
from ..inference.model_files import manifest_of
from ..preprocessing.heart_rate import add_rate_labels
from ..recipes import Recipe, recipe_from_dict, to_dict
from .fine_tuning import Start
from .identity import changes, digest, identity_of
from .label_check import check_labels, check_own_labels
from .publishing import damaged_file, finish_publishing, remove_rest
from .store import Drawn, Store, build_store, open_store

MOST_REPAIRED = 20  # repaired recordings that are named; a hospital may have written every header in its own way
FIRST_OF_CONVENTIONS = 10**9  # number of the first recording of a seed that is for thresholds and not for training
AS_READ = "recordings that could be read"  # the part of a run's identity that is known only after reading them
Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainingRun:
    """What every process that trains members has to know; training_run.json holds all of it but `store`.

    Attributes
    ----------
    work : Path
        MODEL/.work.
    key : str
        Changes with everything that the trained model depends on, the time budget apart: with `identity`, and with
        the recordings that could be read.
    store_key : str
        Of the store, see store.fingerprint.
    groups : list of str or None
        Patient of each row of the store.
    store : Store
    identity : dict of str → str
        See identity.identity_of.
    cells : tuple of str or None
        With a label set of the user's own, the labels of each row of the store; see data.label_tables.LabelTable.
    start : Start or None
        The trained model from which the members start; None: from random weights.
    origin : str
        Where labels of the user's own were read, in words; otherwise empty.
    """

    work: Path
    key: str
    store_key: str
    recipe: Recipe
    classes: Classes
    seed: int
    groups: list[str | None]
    store: Store
    identity: dict[str, str] = field(default_factory=dict)
    cells: tuple[str, ...] | None = None
    start: Start | None = None
    origin: str = ""

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.work.parent

    @property
    def model_key(self) -> dict[str, str]:
        """By what a later start recognises the finished model, before it reads any signal."""
        return {part: value for part, value in self.identity.items() if part != AS_READ}

    @property
    def rows(self) -> np.ndarray:
        """Rows of the store that members share out for training and validation, int64: those with a diagnosis.

        They are real recordings, or the synthetic ones where there is nothing else.
        """
        usable = ~self.store.conventions if self.store.synthetic.all() else ~self.store.synthetic
        if self.cells is not None:
            return np.flatnonzero(usable & as_arrays(self.cells)[1].any(axis=1))
        return np.flatnonzero(usable & np.array([bool(codes) for codes in self.store.codes]))

    def labels(self) -> np.ndarray:
        """Which recordings of the store have which classes, bool (recordings, classes)."""
        return self.classes.labels(self.store.codes) if self.cells is None else as_arrays(self.cells)[0]

    @property
    def synthetic_rows(self) -> np.ndarray:
        """Rows of the store from which every member learns beside its own, int64: synthetic recordings."""
        return np.flatnonzero(self.store.synthetic & ~self.store.conventions & ~self.store.synthetic.all())

    @property
    def convention_rows(self) -> np.ndarray:
        """Rows of the store on which thresholds are searched beside the real recordings, int64; nobody trains on them.

        They are synthetic recordings, labelled as the annotators of many other hospitals would.
        """
        return np.flatnonzero(self.store.conventions)

    @property
    def epochs(self) -> int:
        """Epochs of one member, if time allows all of them."""
        return sum(phase.epochs for phase in self.recipe.training.phases)

    def write(self) -> None:
        """Writes training_run.json."""
        write_json(
            self.work / "training_run.json",
            dict(
                key=self.key,
                identity=self.identity,
                store_key=self.store_key,
                recipe=to_dict(self.recipe),
                classes=self.classes.to_dict(),
                seed=self.seed,
                groups=self.groups,
                cells=self.cells,
                start=None if self.start is None else self.start.to_dict(),
                origin=self.origin,
            ),
        )

    def member_rows(self, labels: np.ndarray, member: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows that a member trains on and those that validate it: stratified, one patient on one side.

        Each member has a random part. In a recipe with folds, member k has all folds but the k-th.
        """
        rows, voting = self.rows, self.recipe.voting
        groups = [self.groups[row] for row in rows]
        if voting.folds:
            train = stratified_folds(labels[rows], voting.folds, self.seed, groups) != member
        else:
            train, _ = stratified_parts(labels[rows], voting.train_fraction, [self.seed, member], groups)
        return rows[train], rows[~train]

    def known_labels(self, labels: np.ndarray) -> np.ndarray | None:
        """Labels that take part in the loss, bool like `labels`; None means all of them.

        With a label set of the user's own, these are the cells that are not empty, and no others take part in the
        search for thresholds and in validation either.
        """
        if self.cells is not None:
            known = as_arrays(self.cells)[1]
            return None if known.all() else known
        if self.recipe.training.unknown_labels == "negative":
            return None
        real = np.flatnonzero(~self.store.synthetic)  # of a synthetic heart everything is known
        sources = [source_of(Path(self.store.headers[row]), Path(".")) for row in real]
        unstated = self.recipe.training.unknown_labels == "unstated"
        known = np.ones_like(labels, dtype=bool)
        known[real] = known_labels(labels[real], sources, self.classes.codes, rare=unstated)
        if unstated:
            known[real, self.classes.sinus_rhythm] &= states_rhythm([self.store.codes[row] for row in real])
        return known

    def threshold_labels(self, labels: np.ndarray) -> np.ndarray:
        """The truth by which thresholds are searched, bool like `labels`, which are the annotated ones.

        If the recipe says so, a heart rate that is slow or fast counts as its diagnosis although nobody wrote it down.
        """
        if not self.recipe.voting.rate_labels:
            return labels
        return add_rate_labels(labels, self.store.rates, self.classes.codes)

    def checkpoint_path(self, member: int) -> Path:
        """Of a member in training."""
        return self.work / f"member_{member:02d}.checkpoint"

    def weights_path(self, member: int) -> Path:
        """Best weights of a member that is done."""
        return self.work / f"member_{member:02d}.safetensors"

    def result_path(self, member: int) -> Path:
        """Scores of the validation recordings and history of a member that is done; see member_files.py."""
        return self.work / f"member_{member:02d}.npz"


def open_run(work: Path) -> TrainingRun:
    """The training run that another process prepared.

    Raises
    ------
    UserError
        If training_run.json or the store cannot be read.
    """
    path = work / "training_run.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        store = open_store(work / "store", values["store_key"])
        if store is None:
            raise UserError(f"{work / 'store'}: the store of prepared recordings is gone; start training again")
        return TrainingRun(
            work,
            values["key"],
            values["store_key"],
            recipe_from_dict(values["recipe"]),
            Classes.from_dict(values["classes"]),
            values["seed"],
            values["groups"],
            store,
            values["identity"],
            None if values["cells"] is None else tuple(values["cells"]),
            None if values["start"] is None else Start.from_dict(values["start"]),
            values["origin"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); start training again") from None


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
    log: Log,
    own: OwnLabels | None = None,
    start: Start | None = None,
) -> tuple[TrainingRun | None, float]:
    """Prepares the recordings and writes training_run.json; keeps what a killed run of the same kind has done.

    The caller holds the lock of the folder. Parameters are those of workers.train_ensemble.

    Returns
    -------
    run : TrainingRun or None
        None if the folder holds the finished model of this run already.
    seconds : float
        Seconds of the time budget that killed runs have used.

    Raises
    ------
    UserError
        If no recording can be used, or the folder cannot be written.
    """
    work = folder / ".work"
    work.mkdir(exist_ok=True)
    remove_rest(folder)
    finish_publishing(folder)
    if limit is not None and limit < len(headers):
        chosen = np.random.default_rng(seed).choice(len(headers), limit, replace=False)
        headers = [headers[k] for k in np.sort(chosen)]
    identity = identity_of(headers, root, recipe, classes, seed, patients)
    if own is not None:
        identity["labels"] = digest(sorted(own.cells.items()))
    if start is not None:
        identity["model to start from"] = digest(start.key)
    # before the store is opened: a run that was killed while it tidied up may have left half a store
    if _is_finished(folder, identity, log):
        shutil.rmtree(work)
        return None, 0.0
    made = recipe.synthetic.recordings
    if headers:
        made = recipe.synthetic.in_all_epochs(len(headers), recipe.voting.members * recipe.training.epochs)
    drawn = [Drawn(seed, number) for number in range(made)]
    drawn += [
        Drawn(seed, FIRST_OF_CONVENTIONS + number, "hospital") for number in range(recipe.voting.convention_recordings)
    ]
    store = build_store(headers, recipe.input, work / "store", root=root, jobs=jobs, drawn=drawn)
    _report_recordings(store, log)
    groups = [patient or (patients or {}).get(name) for patient, name in zip(store.patients, store.names)]
    if patients and not any(name in patients for name in store.names):
        log(f"patients: none of the {len(store)} recordings is in the list, so each counts as a patient of its own")
    classes = classes.spelled_as(store.codes)
    as_read = digest([store.headers, store.codes, store.offsets.tolist(), groups])
    identity_as_read = {**identity, AS_READ: as_read}
    run = TrainingRun(
        work,
        digest(identity_as_read),
        store.key,
        recipe,
        classes,
        seed,
        groups,
        store,
        identity_as_read,
        None if own is None else _cells_of_rows(store, own),
        start,
        "" if own is None else own.origin,
    )
    if run.cells is None:
        check_labels(store, run.rows, classes, recipe.name, log)
    else:
        labels, known = as_arrays([run.cells[row] for row in run.rows])
        check_own_labels(labels, known, classes, log)
    seconds = _resume(run, log)
    run.write()
    return run, seconds


def _cells_of_rows(store: Store, own: OwnLabels) -> tuple[str, ...]:
    """The user's labels of each row of the store. Of a synthetic heart everything is known."""
    nothing = UNKNOWN * len(own.classes.codes)
    return tuple(
        own.cells_of_codes(codes) if synthetic else own.cells.get(header, nothing)
        for header, codes, synthetic in zip(store.headers, store.codes, store.synthetic)
    )


def _is_finished(folder: Path, identity: dict[str, str], log: Log) -> bool:
    """Whether the folder holds the whole model of a run with that identity."""
    manifest = manifest_of(folder)
    if not (manifest.get("complete") and manifest.get("key") == identity):
        return False
    damaged = damaged_file(folder, manifest)
    if damaged is not None:
        log(f"{folder / damaged}: the file is damaged or gone; the model is trained again")
        return False
    log(f"{folder}: this model is already trained; delete the folder to train it again")
    return True


def _report_recordings(store: Store, log: Log) -> None:
    for line in store.left_out:
        log(f"left out: {line}")
    for line in store.repaired[:MOST_REPAIRED]:
        log(f"repaired: {line}")
    if len(store.repaired) > MOST_REPAIRED:
        log(f"repaired: {len(store.repaired) - MOST_REPAIRED} more recordings")


def _resume(run: TrainingRun, log: Log) -> float:
    """Says whether an interrupted run goes on or a new one starts, and why; returns the seconds used so far.

    Files of members of another run are left to whoever meets them: each names its run and is not used by another.
    """
    described = _read_json(run.work / "training_run.json")
    progress = _read_json(run.work / "run.json")
    if run.key in (described.get("key"), progress.get("key")):
        seconds = progress.get("seconds") if progress.get("key") == run.key else None
        if isinstance(seconds, (int, float)):
            log(f"{run.folder}: going on with a run that was interrupted after {seconds:.0f} s")
            return float(seconds)
        log(f"{run.work / 'run.json'}: damaged or gone; going on, but the time used so far is not known")
        return 0.0
    if described:
        changed = changes(described.get("identity"), run.identity)
        log(
            f"{run.folder}: an interrupted run is here, but since then there was a change of {', '.join(changed)}; "
            "training starts anew"
        )
    elif (run.work / "training_run.json").exists():
        log(f"{run.work / 'training_run.json'}: damaged; members that were trained by this very run are kept")
    manifest = manifest_of(run.folder)
    changed = changes(manifest.get("key"), run.model_key) if manifest else []
    if changed:
        when = "once the new one is complete" if manifest.get("complete") else "with the first new member"
        log(f"{run.folder}: another model is here (other {', '.join(changed)}); it is replaced {when}")
    return 0.0


def _read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is absent or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
