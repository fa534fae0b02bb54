"""Training of all members: shared out over processes, continued where a killed run stood, assembled to a model folder.

    ensemble = train_ensemble(find_recordings(data), folder, get_recipe("butt"), classes, root=data)
    torchrun --nproc-per-node=4 train_model.py DATA MODEL       # the same, members shared out over ranks

A member's training is independent of the others', so processes share members, not batches: on a CPU one member a core
is faster than all cores on one member. Everything that the processes share lies in MODEL/.work: job.json, the store, a
checkpoint of each member in training, member_03.npz of each that is done. After each member the folder is a model.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ..data.classes import Classes
from ..errors import UserError
from ..files import replace_file
from ..inference.ensemble import Ensemble, load_ensemble, manifest_of, member_path
from ..recipes import Recipe
from .batches import on_device
from .member import train_member
from .model_folder import Book
from .run import Job, prepare_job, read_job
from .time_budget import Deadline, Plan, deadline

Log = Callable[[str], None]


def say(line: str) -> None:
    """One line to standard output, at once: several processes write there."""
    print(line, flush=True)


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
    job, used = prepare_job(headers, folder, recipe, classes, root, seed, limit, patients, jobs, log)
    if job is None:
        for _ in range(3):
            _meet()
        return load_ensemble(folder, device)
    until = deadline(budget_hours, used, started)
    book = Book(job, used, started, until, log)
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
    known = job.known_labels(labels)
    members = list(members)
    plan = Plan(members, job.epochs, until, log)

    def out_of_time() -> bool:
        if orphaned():
            sys.exit("the process that started this one is gone")
        return until.is_over()

    for place, member in enumerate(members):
        if place >= plan.wanted:
            break
        if job.result_path(member).is_file() and member_path(job.folder, member).is_file():
            log(f"member {member}: trained before")
            continue
        if member > 0 and until.is_over():  # member 0 is trained whatever the time: there must be one
            log(f"time budget: member {member} and those after it are left out")
            break
        train_rows, validation_rows = job.member_rows(labels, member)

        def epochs_allowed(done: int, epoch_seconds: float) -> int:
            look()
            return plan.epochs_allowed(place, done, epoch_seconds)

        checkpoint = job.work / f"member_{member:02d}.checkpoint"
        trained = train_member(data, labels, train_rows, validation_rows, job.recipe, job.classes, seed=job.seed,
                               member=member, checkpoint=checkpoint, known=known, epochs_allowed=epochs_allowed,
                               out_of_time=out_of_time, log=log)
        replace_file(member_path(job.folder, member), lambda path: save_file(trained.state, path))
        replace_file(job.result_path(member), lambda path: np.savez(
            path, scores=trained.scores, history=json.dumps(trained.history)))
        checkpoint.unlink(missing_ok=True)
        look()


# --------------------------------------------------------------------------------------------------------- processes


def _default_workers(device: torch.device) -> int:
    return torch.get_num_threads() if device.type == "cpu" else torch.cuda.device_count()


def _own(device: torch.device, rank: int) -> torch.device:
    """The device of a process among several: on a machine with GPUs they take them in turn."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return device


def _run_workers(job: Job, members: int, workers: int, device: torch.device, until: Deadline, book: Book) -> None:
    """Trains member k in process k mod workers, and keeps the model folder up to date."""
    here = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // workers))
    logs = [job.work / f"worker_{worker}.log" for worker in range(workers)]
    processes = []
    try:
        for worker, path in enumerate(logs):
            arguments = [job.work, worker, members, workers, _own(device, worker), until.at, os.getpid()]
            with open(path, "w") as errors:
                if worker == 0 and sys.stderr.isatty():
                    errors = None  # one process shows its progress bars, and its error, on the terminal
                processes.append(subprocess.Popen([sys.executable, "-m", "twelvelead.training.workers", *map(str, arguments)],
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
            reason = path.read_text().strip().splitlines() or [f"exit code {process.returncode}, see above"]
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
    import torch.distributed as dist

    if not dist.is_initialized():  # members may take days, and the slowest rank is waited for
        dist.init_process_group("gloo", timeout=datetime.timedelta(days=14))
    dist.barrier()


if __name__ == "__main__":
    main(sys.argv[1:])
