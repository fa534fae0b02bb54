"""A training run: what all processes that train its members share, in MODEL/.work.

write_run(run)                                  # once, by the process that leads; preparing.py makes the run
run = open_run(folder / ".work")                # by the others
train_rows, validation_rows = run.member_rows(labels, member)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..data.classes import Classes
from ..data.label_tables import UNKNOWN
from ..data.own_labels import as_arrays
from ..data.sources import known_labels, source_of, states_rhythm
from ..data.splits import stratified_folds, stratified_parts
from ..errors import UserError
from ..files import write_json
from ..preprocessing.heart_rate import add_rate_labels
from ..recipes import AnyRecipe, Recipe, recipe_from_dict, to_dict
from .fine_tuning import Start
from .joined_run import JoinedRun
from .store import Store, open_store

AS_READ = "recordings that could be read"  # the part of a run's identity that is known only after reading them


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
class Rows:
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
        return assembled(
            work,
            values["key"],
            recipe_from_dict(values["recipe"]),
            Classes.from_dict(values["classes"]),
            values["seed"],
            values["identity"],
            [
                Rows(
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


def assembled(
    work: Path,
    key: str,
    recipe: AnyRecipe,
    classes: Classes,
    seed: int,
    identity: dict[str, str],
    rows_of_parts: list[Rows],
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
