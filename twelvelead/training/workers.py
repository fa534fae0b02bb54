"""Training of all members: shared out over processes, continued where a killed run stood, assembled to a model folder.

    ensemble = train_ensemble(find_recordings(data), folder, get_recipe("butt"), classes, root=data)
    torchrun --nproc-per-node=4 train_model.py DATA MODEL       # the same, members shared out over ranks

A member's training is independent of the others', so processes share members, not batches: on a CPU one member a core
is faster than all cores on one member. Everything that the processes share lies in MODEL/.work: training_run.json, the store, a
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
from .model_folder import ModelFolder
from .run import TrainingRun, open_run, prepare_run
from .time_budget import Deadline, EpochBudget, deadline

Log = Callable[[str], None]


def log_line(line: str) -> None:
    """One line to standard output, at once: several processes write there."""
    print(line, flush=True)


def train_ensemble(
    headers: list[Path],
    folder: Path,
    recipe: Recipe,
    classes: Classes,
    *,
    root: Path | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    limit: int | None = None,
    budget_hours: float | None = None,
    patients: dict[str, str] | None = None,
    jobs: int = -1,
    workers: int | None = None,
    log: Log = log_line,
) -> Ensemble:
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
        _barrier()  # rank 0 has written the job
        if not manifest_of(folder).get("complete"):
            run = open_run(folder / ".work")
            until = Deadline(json.loads((run.work / "run.json").read_text())["deadline"] or np.inf)
            train_members(run, range(rank, recipe.voting.members, ranks), _device_of_rank(device, rank), until, log)
        _barrier()  # all members are trained
        _barrier()  # the model is complete
        return load_ensemble(folder, device)
    run, used = prepare_run(headers, folder, recipe, classes, root, seed, limit, patients, jobs, log)
    if run is None:
        for _ in range(3):
            _barrier()
        return load_ensemble(folder, device)
    until = deadline(budget_hours, used, started)
    model_folder = ModelFolder(run, used, started, until, log)
    members = recipe.voting.members
    workers = 1 if ranks > 1 else min(workers or _default_workers(device), members)
    log(
        f"training {members} members of '{recipe.name}', {run.epochs} epochs each, on {len(run.rows)} recordings, "
        f"{model_folder.labels[run.rows].any(axis=0).sum()} of {len(classes.codes)} classes present, device {device}, "
        f"{max(workers, ranks)} at a time"
    )
    _barrier()
    if workers == 1:
        train_members(
            run,
            range(0, members, ranks),
            _device_of_rank(device, 0) if ranks > 1 else device,
            until,
            log,
            model_folder.collect_finished,
        )
    else:
        _run_workers(run, members, workers, device, until, model_folder)
    _barrier()
    model_folder.collect_finished()
    model_folder.complete()
    shutil.rmtree(run.work)
    _barrier()
    return load_ensemble(folder, device)


def train_members(
    run: TrainingRun,
    members: range,
    device: torch.device,
    until: Deadline,
    log: Log,
    collect_finished: Callable[[], None] = lambda: None,
    orphaned: Callable[[], bool] = lambda: False,
) -> None:
    """Trains some of the members one after another; each leaves its weights, its scores and its history as files.

    `collect_finished` is called after every epoch and member, `orphaned` after every batch: True ends the process.
    """
    labels, data = run.classes.labels(run.store.codes), on_device(run.store, device)
    known = run.known_labels(labels)
    members = list(members)
    budget = EpochBudget(members, run.epochs, until, log)

    def out_of_time() -> bool:
        if orphaned():
            sys.exit("the process that started this one is gone")
        return until.is_over()

    for place, member in enumerate(members):
        if place >= budget.wanted:
            break
        if run.result_path(member).is_file() and member_path(run.folder, member).is_file():
            log(f"member {member}: trained before")
            continue
        if member > 0 and until.is_over():  # member 0 is trained whatever the time: there must be one
            log(f"time budget: member {member} and those after it are left out")
            break
        train_rows, validation_rows = run.member_rows(labels, member)

        def epochs_allowed(done: int, epoch_seconds: float) -> int:
            collect_finished()
            return budget.epochs_allowed(place, done, epoch_seconds)

        checkpoint = run.work / f"member_{member:02d}.checkpoint"
        trained = train_member(
            data,
            labels,
            train_rows,
            validation_rows,
            run.recipe,
            run.classes,
            seed=run.seed,
            member=member,
            checkpoint=checkpoint,
            known=known,
            epochs_allowed=epochs_allowed,
            out_of_time=out_of_time,
            log=log,
        )
        replace_file(member_path(run.folder, member), lambda path: save_file(trained.state, path))
        replace_file(
            run.result_path(member),
            lambda path: np.savez(path, scores=trained.scores, history=json.dumps(trained.history)),
        )
        checkpoint.unlink(missing_ok=True)
        collect_finished()


# --------------------------------------------------------------------------------------------------------- processes


def _default_workers(device: torch.device) -> int:
    return torch.get_num_threads() if device.type == "cpu" else torch.cuda.device_count()


def _device_of_rank(device: torch.device, rank: int) -> torch.device:
    """The device of a process among several: on a machine with GPUs they take them in turn."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return device


def _run_workers(
    run: TrainingRun, members: int, workers: int, device: torch.device, until: Deadline, model_folder: ModelFolder
) -> None:
    """Trains member k in process k mod workers, and keeps the model folder up to date."""
    here = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // workers))
    logs = [run.work / f"worker_{worker}.log" for worker in range(workers)]
    processes = []
    try:
        for worker, path in enumerate(logs):
            arguments = [run.work, worker, members, workers, _device_of_rank(device, worker), until.at, os.getpid()]
            with open(path, "w") as errors:
                if worker == 0 and sys.stderr.isatty():
                    errors = None  # one process shows its progress bars, and its error, on the terminal
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "twelvelead.training.workers", *map(str, arguments)],
                        env=environment,
                        stderr=errors,
                    )
                )
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break  # one has failed; what the others have done is in their checkpoints
            time.sleep(0.2)
            model_folder.collect_finished()
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
        train_members(
            open_run(Path(work)),
            range(int(first), int(members), int(step)),
            torch.device(device),
            Deadline(float(at)),
            log_line,
            orphaned=lambda: os.getppid() != int(parent),
        )
    except UserError as error:
        sys.exit(str(error))


def _rank() -> tuple[int, int]:
    """This process's rank and their number under torchrun, else 0 and 1."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def _barrier() -> None:
    """Waits for all ranks; without torchrun there is only one."""
    if _rank()[1] == 1:
        return
    import torch.distributed as dist

    if not dist.is_initialized():  # members may take days, and the slowest rank is waited for
        dist.init_process_group("gloo", timeout=datetime.timedelta(days=14))
    dist.barrier()


if __name__ == "__main__":
    main(sys.argv[1:])
