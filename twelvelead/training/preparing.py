"""From recordings, labels and settings to a training run in MODEL/.work.

    run, seconds = prepare_run(headers, folder, recipe, classes, …)

A run that was killed is prepared again by the same call, and goes on where it stood.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.classes import Classes
from ..data.label_tables import UNKNOWN
from ..data.own_labels import OwnLabels, as_arrays
from ..recipes import AnyRecipe, Input, Recipe
from .fine_tuning import Start
from .identity import digest, identity_of
from .label_check import check_labels, check_own_labels
from .publishing import finish_publishing, remove_rest
from .resuming import is_finished, resume
from .run import AS_READ, AnyRun, Rows, TrainingRun, assembled, write_run
from .store import Drawn, Store, build_store

MOST_REPAIRED = 20  # repaired recordings that are named; a hospital may have written every header in its own way
FIRST_OF_CONVENTIONS = 10**9  # number of the first recording of a seed that is for thresholds and not for training
Log = Callable[[str], None]


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
    named = _build_stores(headers, recipe, work, root, seed, jobs, log)
    stores = [store for _, store in named]
    _report_recordings(stores, log)
    groups = _groups(stores, patients or {}, log)
    classes = classes.spelled_as(stores[0].codes)
    as_read = [
        [store.headers, store.codes, store.offsets.tolist(), of_store] for store, of_store in zip(stores, groups)
    ]
    identity[AS_READ] = digest(as_read[0] if isinstance(recipe, Recipe) else as_read)
    rows = [
        Rows(name, store, of_store, None if own is None else _cells_of_rows(store, own))
        for (name, store), of_store in zip(named, groups)
    ]
    origin = "" if own is None else own.origin
    run = assembled(
        work, digest(identity), recipe, classes, seed, identity, rows, teacher=teacher, start=start, origin=origin
    )
    _check_labels(run.parts[0], log)
    seconds = resume(run, log)
    write_run(run)
    return run, seconds


def _build_stores(
    headers: list[Path], recipe: AnyRecipe, work: Path, root: Path | None, seed: int, jobs: int, log: Log
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
            log(f"reading {len(headers)} recordings{f' and making {len(drawn)} synthetic ones' if drawn else ''}")
            store = build_store(headers, part.input, work / name, root=root, jobs=jobs, drawn=drawn)
            stores[part.input, made] = name, store
        result.append(stores[part.input, made])
    return result


def _groups(stores: list[Store], patients: dict[str, str], log: Log) -> list[list[str | None]]:
    """For each store the patient of each row, as its header or the list says."""
    if patients and not any(name in patients for name in stores[0].names):
        log(f"patients: none of the {len(stores[0])} recordings is in the list, so each counts as a patient of its own")
    return [[patient or patients.get(name) for patient, name in zip(store.patients, store.names)] for store in stores]


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
