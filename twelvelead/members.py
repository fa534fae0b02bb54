"""Training of all members: shared out over processes, continued where a killed run stood, assembled to a model folder.

    ensemble = train_ensemble(find_recordings(data), folder, get_recipe("butt"), classes, root=data)
    torchrun --nproc-per-node=4 train_model.py DATA MODEL       # the same, members shared out over ranks

A member's training is independent of the others', so processes share members, not batches: on a CPU one member a core is
faster than all cores on one member. Everything that the processes share lies in MODEL/.work: job.json, the store, a
checkpoint of each member in training, member_03.npz of each that is done. After each member the folder is a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from . import __version__, thresholds
from .batches import on_device
from .budget import Deadline, affordable, deadline
from .classes import Classes
from .ensemble import FORMAT, Ensemble, load_ensemble, manifest_of, member_path, replace_file, write_json
from .errors import UserError
from .recipes import Recipe, recipe_from_dict, to_dict
from .report.progress import draw_progress, write_history
from .splits import stratified_parts
from .store import Store, build_store, open_store
from .training import Trained, train_member

Log = Callable[[str], None]


def say(line: str) -> None:
    """One line to standard output, at once: several processes write there."""
    print(line, flush=True)


# ------------------------------------------------------------------------------------------------------------------- job


@dataclass(frozen=True)
class Job:
    """What every process that trains members has to know; job.json holds all but `store`.

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
        write_json(self.work / "job.json", dict(
            key=self.key, store_key=self.store_key, recipe=to_dict(self.recipe), codes=self.classes.codes,
            weights=self.classes.weights.tolist(), seed=self.seed, groups=self.groups))

    def member_rows(self, labels: np.ndarray, member: int) -> tuple[np.ndarray, np.ndarray]:
        """The member's own random training part and the rest, stratified, one patient on one side."""
        rows = self.rows
        train, _ = stratified_parts(labels[rows], self.recipe.voting.train_fraction, [self.seed, member],
                                    [self.groups[row] for row in rows])
        return rows[train], rows[~train]

    def result_path(self, member: int) -> Path:
        return self.work / f"member_{member:02d}.npz"


def read_job(work: Path) -> Job:
    """The job that another process wrote."""
    values = json.loads((work / "job.json").read_text())
    store = open_store(work / "store", values["store_key"])
    if store is None:
        raise UserError(f"{work}: the store of preprocessed recordings is gone; start training again")
    classes = Classes(tuple(values["codes"]), np.array(values["weights"], dtype=np.float64))
    return Job(work, values["key"], values["store_key"], recipe_from_dict(values["recipe"]), classes, values["seed"],
               values["groups"], store)


def _key(recipe: Recipe, classes: Classes, seed: int, store: Store, groups: list[str | None]) -> str:
    parts = [FORMAT, to_dict(recipe), classes.codes, classes.weights.tolist(), seed,
             [[header, codes, int(offset), group]
              for header, codes, offset, group in zip(store.headers, store.codes, store.offsets, groups)]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# ----------------------------------------------------------------------------------------------------------------- train


def train_ensemble(headers: list[Path], folder: Path, recipe: Recipe, classes: Classes, *, root: Path | None = None,
                   seed: int = 0, device: torch.device | str = "cpu", limit: int | None = None,
                   budget_hours: float | None = None, patients: dict[str, str] | None = None, jobs: int = -1,
                   workers: int | None = None, log: Log = say) -> Ensemble:
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
    jobs : int
        Processes that read recordings.
    workers : int, optional
        Processes that train members: by default one a core on a CPU, one a GPU else. Under torchrun every rank is one.
    log : callable
        Told one line at a time. Worker processes write to standard output instead.

    Raises
    ------
    UserError
        If there is nothing to train on, the folder cannot be written, or the loss diverges.
    """
    started = time.time()
    folder, device = Path(folder), torch.device(device)
    rank, ranks = _rank()
    if rank:
        _meet()  # rank 0 has written the job
        if not manifest_of(folder).get("complete"):
            job = read_job(folder / ".work")
            until = Deadline(json.loads((job.work / "run.json").read_text())["deadline"] or np.inf)
            train_members(job, range(rank, recipe.voting.members, ranks), _own(device, rank), until, log)
        _meet()  # all members are trained
        _meet()  # the model is complete
        return load_ensemble(folder, device)
    job, used = _prepare(headers, folder, recipe, classes, root, seed, limit, patients, jobs, log)
    if job is None:
        for _ in range(3):
            _meet()
        return load_ensemble(folder, device)
    until = deadline(budget_hours, used, started)
    book = _Book(job, used, started, until, log)
    members = recipe.voting.members
    workers = 1 if ranks > 1 else min(workers or _default_workers(device), members)
    log(f"training {members} members of '{recipe.name}', {job.epochs} epochs each, on {len(job.rows)} recordings, "
        f"{book.labels[job.rows].any(axis=0).sum()} of {len(classes.codes)} classes present, device {device}, "
        f"{max(workers, ranks)} at a time")
    _meet()
    if workers == 1:
        train_members(job, range(0, members, ranks), _own(device, 0) if ranks > 1 else device, until, log, book.look)
    else:
        _run_workers(job, members, workers, device, until, book)
    _meet()
    book.look()
    book.finish()
    shutil.rmtree(job.work)
    _meet()
    return load_ensemble(folder, device)


def train_members(job: Job, members: range, device: torch.device, until: Deadline, log: Log,
                  look: Callable[[], None] = lambda: None, orphaned: Callable[[], bool] = lambda: False) -> None:
    """Trains some of the members one after another; each leaves its weights, its scores and its history as files.

    `look` is called after every epoch and member, `orphaned` after every batch: True ends the process.
    """
    labels, data = job.classes.labels(job.store.codes), on_device(job.store, device)
    members = list(members)
    wanted = len(members)

    def out_of_time() -> bool:
        if orphaned():
            sys.exit("the process that started this one is gone")
        return until.is_over()

    for place, member in enumerate(members):
        if place >= wanted:
            break
        if job.result_path(member).is_file() and member_path(job.folder, member).is_file():
            log(f"member {member}: trained before")
            continue
        if member > 0 and until.is_over():  # member 0 is trained whatever the time: there must be one
            log(f"time budget: member {member} and those after it are left out")
            break
        train_rows, validation_rows = job.member_rows(labels, member)

        def epochs_allowed(done: int, epoch_seconds: float) -> int:
            nonlocal wanted
            look()
            fewer, allowed = affordable(until.left(), epoch_seconds, wanted - place, job.epochs, done)
            if fewer < wanted - place:
                log(f"time budget: members {members[place + fewer:wanted]} are left out")
                wanted = place + fewer
            return allowed

        checkpoint = job.work / f"member_{member:02d}.checkpoint"
        trained = train_member(data, labels, train_rows, validation_rows, job.recipe, job.classes, seed=job.seed,
                               member=member, checkpoint=checkpoint, epochs_allowed=epochs_allowed,
                               out_of_time=out_of_time, log=log)
        replace_file(member_path(job.folder, member), lambda path: save_file(trained.state, path))
        replace_file(job.result_path(member), lambda path: np.savez(
            path, scores=trained.scores, history=json.dumps(trained.history)))
        checkpoint.unlink(missing_ok=True)
        look()


def _prepare(headers: list[Path], folder: Path, recipe: Recipe, classes: Classes, root: Path | None, seed: int,
             limit: int | None, patients: dict[str, str] | None, jobs: int, log: Log) -> tuple[Job | None, float]:
    """Store and job in MODEL/.work, and the seconds that killed runs have used; no job if the model is there already."""
    work = folder / ".work"
    _make_writable(work)
    if limit is not None and limit < len(headers):
        chosen = np.random.default_rng(seed).choice(len(headers), limit, replace=False)
        headers = [headers[k] for k in np.sort(chosen)]
    store = build_store(headers, recipe.input, work / "store", root=root, jobs=jobs)
    for line in store.left_out:
        log(f"left out: {line}")
    groups = [patient or (patients or {}).get(name) for patient, name in zip(store.patients, store.names)]
    job = Job(work, _key(recipe, classes, seed, store, groups), store.key, recipe, classes, seed, groups, store)
    # without a diagnosis a recording's classes are unknown, not absent
    if len(job.rows) < len(store):
        log(f"left out: {len(store) - len(job.rows)} recordings without a diagnosis (#Dx)")
    if len(job.rows) == 0:
        raise UserError(f"none of the {len(store)} recordings has a diagnosis (#Dx) to train on")
    manifest = manifest_of(folder)
    if manifest.get("key") == job.key and manifest.get("complete"):
        log(f"{folder}: this model is already trained; delete the folder to train it again")
        shutil.rmtree(work)
        return None, 0.0
    try:
        before = json.loads((work / "run.json").read_text())
    except (OSError, ValueError):
        before = {}
    used = 0.0
    if before.get("key") == job.key:
        used = float(before["seconds"])
        log(f"{folder}: going on with a run that was interrupted after {used:.0f} s")
    else:
        if manifest:
            log(f"{folder}: another model is here; it is replaced")
        (folder / "recipe.json").unlink(missing_ok=True)  # first: without it the rest is no model
        for path in [*folder.glob("member_*.safetensors"), *work.glob("member_*")]:
            path.unlink()
    job.write()
    return job, used


# ------------------------------------------------------------------------------------------------------------- processes


def _default_workers(device: torch.device) -> int:
    return torch.get_num_threads() if device.type == "cpu" else torch.cuda.device_count()


def _own(device: torch.device, rank: int) -> torch.device:
    """The device of a process among several: on a machine with GPUs they take them in turn."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return device


def _run_workers(job: Job, members: int, workers: int, device: torch.device, until: Deadline, book: _Book) -> None:
    """Trains the members in processes of their own, member k in process k mod workers, and keeps the model up to date."""
    here = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // workers))
    logs = [job.work / f"worker_{worker}.log" for worker in range(workers)]
    processes = []
    try:
        for worker, path in enumerate(logs):
            arguments = [job.work, worker, members, workers, _own(device, worker), until.at, os.getpid()]
            with open(path, "w") as errors:
                processes.append(subprocess.Popen([sys.executable, "-m", "twelvelead.members", *map(str, arguments)],
                                                  env=environment, stderr=errors))
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break  # one has failed; what the others have done is in their checkpoints
            time.sleep(0.2)
            book.look()
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
                process.returncode = 0
    for worker, (process, path) in enumerate(zip(processes, logs)):
        if process.returncode:
            reason = path.read_text().strip().splitlines() or [f"it ended with exit code {process.returncode}"]
            raise UserError(f"training process {worker} failed: {reason[-1]}; start training again to go on")


def main(arguments: list[str]) -> None:
    """A training process: WORK FIRST MEMBERS STEP DEVICE DEADLINE PARENT."""
    work, first, members, step, device, at, parent = arguments
    try:
        train_members(read_job(Path(work)), range(int(first), int(members), int(step)), torch.device(device),
                      Deadline(float(at)), say, orphaned=lambda: os.getppid() != int(parent))
    except UserError as error:
        sys.exit(str(error))


def _rank() -> tuple[int, int]:
    """This process's rank and their number under torchrun, else 0 and 1."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def _meet() -> None:
    """Waits for all ranks; without torchrun there is only one."""
    if _rank()[1] == 1:
        return
    import datetime

    import torch.distributed as dist

    if not dist.is_initialized():  # members may take days, and the slowest rank is waited for
        dist.init_process_group("gloo", timeout=datetime.timedelta(days=14))
    dist.barrier()


# -------------------------------------------------------------------------------------------------------------- assembly


class _Book:
    """Keeps the model folder a model of the members that are done, and run.json of the time that was used."""

    def __init__(self, job: Job, used: float, started: float, until: Deadline, log: Log):
        self.job, self.used, self.started, self.until, self.log = job, used, started, until, log
        self.labels = job.classes.labels(job.store.codes)
        self.results: dict[int, Trained] = {}
        self.found: dict[int, thresholds.Thresholds] = {}
        self.validation: dict[int, np.ndarray] = {}  # rows of the store
        self.noted = 0.0
        self.look()

    def look(self) -> None:
        """Takes in members that have been finished since the last look."""
        if time.time() - self.noted > 2:
            self.noted = time.time()
            write_json(self.job.work / "run.json", dict(
                key=self.job.key, seconds=self.used + self.noted - self.started,
                deadline=None if np.isinf(self.until.at) else self.until.at))
        for member in range(self.job.recipe.voting.members):
            weights, result = member_path(self.job.folder, member), self.job.result_path(member)
            if member in self.results or not (weights.is_file() and result.is_file()):
                continue
            with np.load(result) as arrays:
                self.results[member] = Trained({}, arrays["scores"], json.loads(str(arrays["history"])))
            rows = self.validation[member] = self.job.member_rows(self.labels, member)[1]
            self.found[member] = self._optimise(self.labels[rows], self.results[member].scores, f"member {member}")
            self._write(complete=False)

    def finish(self) -> None:
        if not self.results:
            raise UserError(f"{self.job.folder}: no member was trained")
        self._write(complete=True)

    def _optimise(self, labels: np.ndarray, scores: np.ndarray, title: str) -> thresholds.Thresholds:
        classes, voting = self.job.classes, self.job.recipe.voting
        objective = thresholds.challenge_metric(labels, scores, classes.weights, classes.sinus_rhythm)
        found = thresholds.optimise(objective, voting.threshold_method, seed=self.job.seed)
        self.log(f"{title}: thresholds from {len(labels)} recordings, Challenge metric there: "
                 + ", ".join(f"{stage} {value:.3f}" for stage, value in found.stages))
        return found

    def _write(self, complete: bool) -> None:
        """All files but the members'; the manifest, recipe.json, last."""
        job, classes, store, folder = self.job, self.job.classes, self.job.store, self.job.folder
        members = sorted(self.results)
        validation = {member: self.validation[member] for member in members}
        scores, count = np.zeros(self.labels.shape), np.zeros(len(self.labels), dtype=int)
        for member, rows in validation.items():  # out of bag: scored by members that did not train on them
            scores[rows] += self.results[member].scores
            count[rows] += 1
        bag = np.flatnonzero(count)
        together = self._optimise(self.labels[bag], scores[bag] / count[bag, None], f"{len(members)} members, out of bag")

        def as_dict(found: thresholds.Thresholds, recordings: int) -> dict[str, Any]:
            return dict(recordings=recordings, thresholds=dict(zip(classes.codes, found.values.tolist())),
                        challenge_metric_after=dict(found.stages))

        history = [row for member in members for row in self.results[member].history]
        write_json(folder / "classes.json", dict(
            codes=classes.codes, abbreviations=classes.abbreviations, weights=classes.weights.tolist(),
            priors=self.labels[job.rows].mean(axis=0).tolist()))
        write_json(folder / "thresholds.json", dict(
            used=job.recipe.voting.thresholds, ensemble=as_dict(together, len(bag)),
            members={member: as_dict(self.found[member], len(rows)) for member, rows in validation.items()}))
        write_json(folder / "splits.json", dict(
            recordings=[store.headers[row] for row in job.rows],
            validation_of_member={member: [store.headers[row] for row in rows] for member, rows in validation.items()}))
        replace_file(folder / "history.csv", lambda path: write_history(history, path))
        replace_file(folder / "progress.png", lambda path: draw_progress(history, path))
        write_json(folder / "recipe.json", dict(
            format=FORMAT, twelvelead=__version__, torch=torch.__version__, complete=complete, members=members,
            seed=job.seed, recordings=len(job.rows), key=job.key, recipe=to_dict(job.recipe)))


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder.parent}: the model folder cannot be written ({error.strerror or error})") from None


if __name__ == "__main__":
    main(sys.argv[1:])
