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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..data.classes import Classes
from ..data.label_tables import UNKNOWN
from ..data.own_labels import OwnLabels, as_arrays
from ..data.sources import known_labels, source_of, states_rhythm
from ..data.splits import stratified_folds, stratified_parts
from ..errors import UserError
from ..files import write_json
from ..preprocessing.heart_rate import add_rate_labels
from ..recipes import AnyRecipe, Input, Recipe, recipe_from_dict, to_dict
from .fine_tuning import Start
from .identity import digest, identity_of
from .joined_run import JoinedRun
from .label_check import check_labels, check_own_labels
from .publishing import finish_publishing, remove_rest
from .resuming import is_finished, resume
from .store import Drawn, Store, build_store, open_store

MOST_REPAIRED = 20  # repaired recordings that are named; a hospital may have written every header in its own way
FIRST_OF_CONVENTIONS = 10**9  # number of the first recording of a seed that is for thresholds and not for training
AS_READ = "recordings that could be read"  # the part of a run's identity that is known only after reading them
Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainingRun:
    """What every process that trains members of one recipe has to know; training_run.json holds all but `store`.

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
    store_name : str
        The store's folder in `work`.
    members : tuple of int or None
        The numbers of its members in the model of a joined recipe. None: 0, 1, 2, …
    unused : frozenset of str
        Headers of recordings that another recipe of a joined recipe cannot use, so that this one does not use them
        either.
    teacher : str or None
        Of the model from whose scores the member learns, see teacher.teacher_key; None if it learns from labels alone.
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
    store_name: str = "store"
    members: tuple[int, ...] | None = None
    unused: frozenset[str] = frozenset()
    teacher: str | None = None
    cells: tuple[str, ...] | None = None
    start: Start | None = None
    origin: str = ""

    @property
    def parts(self) -> tuple[TrainingRun, ...]:
        """The runs of its recipes: this one alone. A JoinedRun has several."""
        return (self,)

    def part_of(self, member: int) -> TrainingRun:
        """The run of the recipe that a member belongs to."""
        return self

    def in_first(self, part: TrainingRun, rows: np.ndarray) -> np.ndarray:
        """The rows themselves; see JoinedRun."""
        return rows

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
        labelled = [
            bool(codes) if self.cells is None else set(self.cells[row]) != {UNKNOWN}
            for row, codes in enumerate(self.store.codes)
        ]
        rows = np.flatnonzero(usable & np.array(labelled, dtype=bool))
        return rows[[self.store.headers[row] not in self.unused for row in rows]] if self.unused else rows

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

    def member_rows(self, labels: np.ndarray, member: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows that a member trains on and those that validate it: stratified, one patient on one side.

        Each member has a random part. In a recipe with folds, member k has all folds but the k-th. In a joined recipe
        the k-th member of every recipe has the same part.
        """
        rows, voting = self.rows, self.recipe.voting
        groups = [self.groups[row] for row in rows]
        number = member if self.members is None else self.members.index(member)
        if voting.folds:
            train = stratified_folds(labels[rows], voting.folds, self.seed, groups) != number
        else:
            train, _ = stratified_parts(labels[rows], voting.train_fraction, [self.seed, number], groups)
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

    @property
    def teacher_scores_path(self) -> Path:
        """What the teacher says of each recording; see teacher.py."""
        return self.work / f"teacher_{self.key}.npy"


AnyRun: TypeAlias = TrainingRun | JoinedRun


@dataclass(frozen=True)
class _Rows:
    """The store of a part of the recipe, by the name of its folder, and what is told of its rows; see TrainingRun."""

    store_name: str
    store: Store
    groups: list[str | None]
    cells: tuple[str, ...] | None


def write_run(run: AnyRun) -> None:
    """Writes training_run.json."""
    first = run.parts[0]
    parts = [
        dict(store=part.store_name, store_key=part.store_key, groups=part.groups, cells=part.cells)
        for part in run.parts
    ]
    values = dict(
        key=run.key,
        identity=run.identity,
        recipe=to_dict(run.recipe),
        classes=run.classes.to_dict(),
        seed=run.seed,
        parts=parts,
        teacher=first.teacher,
        start=None if first.start is None else first.start.to_dict(),
        origin=first.origin,
    )
    write_json(run.work / "training_run.json", values)


def open_run(work: Path) -> AnyRun:
    """The training run that another process prepared.

    Raises
    ------
    UserError
        If training_run.json or a store cannot be read.
    """
    path = work / "training_run.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        stores: dict[str, Store] = {}
        for part in values["parts"]:
            store = open_store(work / part["store"], part["store_key"])
            if store is None:
                raise UserError(
                    f"{work / part['store']}: the store of prepared recordings is gone; start training again"
                )
            stores.setdefault(part["store"], store)
        return _assembled(
            work,
            values["key"],
            recipe_from_dict(values["recipe"]),
            Classes.from_dict(values["classes"]),
            values["seed"],
            values["identity"],
            [
                _Rows(
                    part["store"],
                    stores[part["store"]],
                    part["groups"],
                    None if part["cells"] is None else tuple(part["cells"]),
                )
                for part in values["parts"]
            ],
            teacher=values["teacher"],
            start=None if values["start"] is None else Start.from_dict(values["start"]),
            origin=values["origin"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); start training again") from None


def _assembled(
    work: Path,
    key: str,
    recipe: AnyRecipe,
    classes: Classes,
    seed: int,
    identity: dict[str, str],
    rows_of_parts: list[_Rows],
    *,
    teacher: str | None,
    start: Start | None,
    origin: str,
) -> AnyRun:
    """The run of a recipe from the rows of each of its parts."""
    members: list[tuple[int, ...] | None] = [None]
    if not isinstance(recipe, Recipe):
        order = recipe.part_of_member
        members = [tuple(np.flatnonzero(np.equal(order, place)).tolist()) for place in range(len(recipe.parts))]
    parts = [
        TrainingRun(
            work,
            key,
            rows.store.key,
            part,
            classes,
            seed,
            rows.groups,
            rows.store,
            identity,
            store_name=rows.store_name,
            members=of_part,
            teacher=teacher,
            cells=rows.cells,
            start=start,
            origin=origin,
        )
        for part, of_part, rows in zip(recipe.parts, members, rows_of_parts, strict=True)
    ]
    if isinstance(recipe, Recipe):
        return parts[0]
    usable = [{part.store.headers[row] for row in part.rows} for part in parts]
    unused = frozenset(set.union(*usable) - set.intersection(*usable))
    return JoinedRun(recipe, tuple(replace(part, unused=unused) for part in parts))


def prepare_run(
    headers: list[Path],
    folder: Path,
    recipe: AnyRecipe,
    classes: Classes,
    root: Path | None,
    seed: int,
    limit: int | None,
    patients: dict[str, str] | None,
    jobs: int,
    log: Log,
    teacher: str | None = None,
    own: OwnLabels | None = None,
    start: Start | None = None,
) -> tuple[AnyRun | None, float]:
    """Prepares the recordings and writes training_run.json; keeps what a killed run of the same kind has done.

    The caller holds the lock of the folder. Parameters are those of workers.train_ensemble.

    Returns
    -------
    run : TrainingRun, JoinedRun or None
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
    if teacher is not None:
        identity["teacher"] = teacher
    if own is not None:
        identity["labels"] = digest(sorted(own.cells.items()))
    if start is not None:
        identity["model to start from"] = digest(start.key)
    # before the store is opened: a run that was killed while it tidied up may have left half a store
    if is_finished(folder, identity, log):
        shutil.rmtree(work)
        return None, 0.0
    made = " and making synthetic ones" if any(each.synthetic.recordings for each in recipe.parts) else ""
    log(f"reading {len(headers)} recordings{made}")
    named = _build_stores(headers, recipe, work, root, seed, jobs)
    stores = [store for _, store in named]
    _report_recordings(stores, log)
    groups = [
        [patient or (patients or {}).get(name) for patient, name in zip(store.patients, store.names)]
        for store in stores
    ]
    if patients and not any(name in patients for name in stores[0].names):
        log(f"patients: none of the {len(stores[0])} recordings is in the list, so each counts as a patient of its own")
    classes = classes.spelled_as(stores[0].codes)
    as_read = [
        [store.headers, store.codes, store.offsets.tolist(), of_store] for store, of_store in zip(stores, groups)
    ]
    identity[AS_READ] = digest(as_read[0] if isinstance(recipe, Recipe) else as_read)
    run = _assembled(
        work,
        digest(identity),
        recipe,
        classes,
        seed,
        identity,
        [
            _Rows(name, store, of_store, None if own is None else _cells_of_rows(store, own))
            for (name, store), of_store in zip(named, groups)
        ],
        teacher=teacher,
        start=start,
        origin="" if own is None else own.origin,
    )
    _check_labels(run.parts[0], log)
    seconds = resume(run, log)
    write_run(run)
    return run, seconds


def _build_stores(
    headers: list[Path], recipe: AnyRecipe, work: Path, root: Path | None, seed: int, jobs: int
) -> list[tuple[str, Store]]:
    """For each part of the recipe the name of its store in `work`, and the store; one for equal inputs."""
    stores: dict[tuple[Input, int], tuple[str, Store]] = {}
    result = []
    for part in recipe.parts:
        made = part.synthetic.recordings
        if headers:
            made = part.synthetic.in_all_epochs(len(headers), part.voting.members * part.training.epochs)
        if (part.input, made) not in stores:
            drawn = [Drawn(seed, number) for number in range(made)]
            drawn += [
                Drawn(seed, FIRST_OF_CONVENTIONS + number, "hospital")
                for number in range(part.voting.convention_recordings)
            ]
            name = f"store_{len(stores)}" if stores else "store"
            store = build_store(headers, part.input, work / name, root=root, jobs=jobs, drawn=drawn)
            stores[part.input, made] = name, store
        result.append(stores[part.input, made])
    return result


def _check_labels(run: TrainingRun, log: Log) -> None:
    """Names what is odd about the labels; raises UserError if training would learn nothing."""
    if run.cells is None:
        check_labels(run.store, run.rows, run.classes, run.recipe.name, log)
    else:
        labels, known = as_arrays([run.cells[row] for row in run.rows])
        check_own_labels(labels, known, run.classes, log)


def _cells_of_rows(store: Store, own: OwnLabels) -> tuple[str, ...]:
    """The user's labels of each row of the store. Of a synthetic heart everything is known."""
    nothing = UNKNOWN * len(own.classes.codes)
    return tuple(
        own.cells_of_codes(codes) if synthetic else own.cells.get(header, nothing)
        for header, codes, synthetic in zip(store.headers, store.codes, store.synthetic)
    )


def _report_recordings(stores: list[Store], log: Log) -> None:
    """Names what reading left out or repaired. Most of it is the same in all stores, and told once."""
    for line in dict.fromkeys(line for store in stores for line in store.left_out):
        log(f"left out: {line}")
    repaired = list(dict.fromkeys(line for store in stores for line in store.repaired))
    for line in repaired[:MOST_REPAIRED]:
        log(f"repaired: {line}")
    if len(repaired) > MOST_REPAIRED:
        log(f"repaired: {len(repaired) - MOST_REPAIRED} more recordings")
