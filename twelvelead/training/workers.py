"""Training of all members of an ensemble: shared out over processes, continued after a kill, put into a model folder.

    ensemble = train_ensemble(find_recordings(data), folder, get_recipe("butt"), classes, root=data)
    torchrun --nproc-per-node=4 train_model.py DATA MODEL       # the same, members shared out over ranks

Members do not depend on each other, so processes share members and not batches: on a CPU, one member a core is faster
than all cores on one member. Everything that the processes share lies in MODEL/.work: training_run.json, the store of
prepared recordings, a checkpoint of each member in training, and weights and result of each that is done. After each
member the folder is a model.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..data.classes import Classes
from ..data.own_labels import OwnLabels
from ..errors import UserError
from ..inference.ensemble import Ensemble, load_ensemble
from ..inference.predict import PackedRecordings
from ..recipes import Recipe
from .batches import on_device
from .fine_tuning import Start
from .lock import Lock, locked
from .member import train_member
from .member_files import write_result
from .model_folder import ModelFolder
from .processes import follow_parent, run_processes
from .run import TrainingRun, open_run, prepare_run
from .time_budget import Deadline, EpochBudget, deadline, with_synthetic_in_time

Log = Callable[[str], None]
GO_ON = "; what was done up to the last epoch is kept: start training again to go on"


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
    own: OwnLabels | None = None,
    start: Start | None = None,
) -> Ensemble:
    """Trains all members and writes the model folder; a run that was killed is continued by calling it again.

    Parameters
    ----------
    headers : list of Path
        Header files of the training recordings.
    folder : Path
        The model folder, made if absent. A finished model of other data or another recipe in it stays until the new
        one is complete.
    root : Path, optional
        The data folder, for shorter names in splits.json.
    limit : int, optional
        Train on so many of the recordings, chosen at random by the seed.
    budget_hours : float, optional
        Finish within that time (see time_budget.py), the time of earlier, killed runs included.
    patients : dict, optional
        Recording name → patient, where the headers do not tell it. One patient's recordings stay on one side.
    jobs : int
        Processes that read recordings.
    workers : int, optional
        Processes that train members: by default one for each core of a CPU, or one for each GPU. 1 trains in this
        process; if native code crashes then, nothing is left to say so. Under torchrun every rank is such a process.
    log : callable
        Told one line at a time. Other processes write to standard output instead.
    own : OwnLabels, optional
        The user's own labels of the recordings, for the classes that it has; by default labels are the codes in the
        headers.
    start : Start, optional
        The trained model from which members start; by default they start from random weights.

    Raises
    ------
    UserError
        If there is nothing to train on, the folder cannot be written or is in use by another training, the loss
        diverges, or a training process fails. What was done up to then is kept.
    """
    started = time.time()
    folder, device = Path(folder), torch.device(device)
    recipe = with_synthetic_in_time(recipe, budget_hours, log)
    rank, _ = _rank()
    with _system_faults_as_user_errors(folder):
        if rank:
            _train_as_rank(folder, recipe.voting.members, device, log)
        else:
            with locked(folder) as lock:
                prepared = prepare_run(
                    headers, folder, recipe, classes, root, seed, limit, patients, jobs, log, own, start
                )
                run, seconds_used = prepared
                if run is None:
                    for _ in range(3):  # as often as the other ranks wait in _train_as_rank
                        _barrier()
                else:
                    until = deadline(budget_hours, seconds_used, started)
                    _lead(run, ModelFolder(run, seconds_used, started, until, log), until, device, workers, lock, log)
    return load_ensemble(folder, device)


def _lead(
    run: TrainingRun,
    model_folder: ModelFolder,
    until: Deadline,
    device: torch.device,
    workers: int | None,
    lock: Lock,
    log: Log,
) -> None:
    """Trains the members, in this process and other ranks or in processes of its own, and completes the model."""
    _, ranks = _rank()
    members = run.recipe.voting.members
    processes = 0 if workers == 1 or ranks > 1 else min(workers or _default_workers(device), members)
    log(
        f"training {members} members of '{run.recipe.name}', {run.epochs} epochs each, on {len(run.rows)} recordings"
        f"{f' and {len(run.synthetic_rows)} synthetic ones' if len(run.synthetic_rows) else ''}, "
        f"{model_folder.labels[run.rows].any(axis=0).sum()} of {len(run.classes.codes)} classes present, "
        f"device {device}, {max(processes, ranks)} at a time"
    )

    def watch() -> None:
        lock.check()
        model_folder.collect_finished()

    _barrier()
    if processes:
        _train_in_processes(run, members, processes, device, until, watch)
    else:
        own_device = _device_of_rank(device, 0) if ranks > 1 else device
        train_members(run, range(0, members, ranks), own_device, until, log, watch)
    _barrier()
    watch()
    model_folder.complete()
    shutil.rmtree(run.work)
    _barrier()


def train_members(
    run: TrainingRun,
    members: Sequence[int],
    device: torch.device,
    until: Deadline,
    log: Log,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Trains some of the members one after another; each leaves its weights and its result as files.

    `watch` is called after every epoch and every member.
    """
    data = on_device(run.store, device)
    budget = EpochBudget(members, run.epochs, until, log)
    for place, member in enumerate(members):
        if place >= budget.wanted:
            break
        if run.result_path(member).is_file() and run.weights_path(member).is_file():
            log(f"member {member}: trained before")
            continue
        if member > 0 and until.is_over():  # member 0 is trained whatever the time: there must be one
            log(f"time budget: member {member} and those after it are left out")
            break
        _train_one(run, data, member, place, budget, until, log, watch)
        watch()


def _train_one(
    run: TrainingRun,
    data: PackedRecordings,
    member: int,
    place: int,
    budget: EpochBudget,
    until: Deadline,
    log: Log,
    watch: Callable[[], None],
) -> None:
    """Trains one member, the one at this place of the budget's, and writes its result."""
    labels = run.labels()
    train_rows, validation_rows = run.member_rows(labels, member)

    def epochs_allowed(done: int, epoch_seconds: float) -> int:
        watch()
        return budget.epochs_allowed(place, done, epoch_seconds)

    trained = train_member(
        data,
        labels,
        train_rows,
        validation_rows,
        run.recipe,
        run.classes,
        seed=run.seed,
        member=member,
        checkpoint=run.checkpoint_path(member),
        key=run.key,
        known=run.known_labels(labels),
        synthetic_rows=run.synthetic_rows,
        convention_rows=run.convention_rows,
        epochs_allowed=epochs_allowed,
        out_of_time=until.is_over,
        start=run.start,
        log=log,
    )
    write_result(run, member, trained)


@contextmanager
def _system_faults_as_user_errors(folder: Path, advice: str = GO_ON) -> Iterator[None]:
    """Turns what a full disk, a lack of memory or a folder that is gone raises into one line that says what to do."""
    try:
        yield
    except BrokenPipeError:  # nobody reads the log any more; the command line ends quietly
        raise
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}{advice}") from error
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        raise UserError(f"{folder}: not enough memory; train fewer members at a time (workers){advice}") from error


def _is_lack_of_memory(error: Exception) -> bool:
    """Also by its text, since on a CPU torch raises a plain RuntimeError."""
    is_by_type = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_by_type or any(words in str(error) for words in ("can't allocate memory", "not enough memory"))


# ------------------------------------------------------------------------------------------------- training processes


def _default_workers(device: torch.device) -> int:
    return torch.get_num_threads() if device.type == "cpu" else torch.cuda.device_count()


def _train_in_processes(
    run: TrainingRun, members: int, processes: int, device: torch.device, until: Deadline, watch: Callable[[], None]
) -> None:
    """Trains member k in process k mod `processes`."""
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // processes))
    commands = []
    for first in range(processes):
        arguments = [run.work, first, members, processes, _device_of_rank(device, first), until.at, os.getpid()]
        commands.append([sys.executable, "-m", "twelvelead.training.workers", *map(str, arguments)])
    run_processes(commands, [run.work / f"process_{first}.log" for first in range(processes)], environment, watch)


def main(arguments: list[str]) -> None:
    """A training process, started by `_train_in_processes`: WORK FIRST MEMBERS STEP DEVICE DEADLINE PARENT.

    What goes wrong is one line on standard error, which the parent repeats.
    """
    work, first, members, step, device, at, parent = arguments
    follow_parent(int(parent))
    try:
        with _system_faults_as_user_errors(Path(work), advice=""):  # the parent says what to do
            train_members(
                open_run(Path(work)),
                range(int(first), int(members), int(step)),
                torch.device(device),
                Deadline(float(at)),
                log_line,
            )
    except UserError as error:
        sys.exit(str(error))
    except BrokenPipeError:
        sys.stdout = sys.stderr  # or Python would complain of the closed one once more on its way out
        sys.exit("standard output was closed")


# -------------------------------------------------------------------------------------------------------------- ranks


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


def _device_of_rank(device: torch.device, rank: int) -> torch.device:
    """The device of a process among several: on a machine with GPUs they take them in turn."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    return device


def _train_as_rank(folder: Path, members: int, device: torch.device, log: Log) -> None:
    """What every rank but the first does."""
    rank, ranks = _rank()
    _barrier()  # rank 0 has prepared the run
    if (folder / ".work" / "training_run.json").is_file():  # else the model was finished before
        run = open_run(folder / ".work")
        at = json.loads((run.work / "run.json").read_text(encoding="utf-8"))["deadline"]
        until = Deadline() if at is None else Deadline(at)
        train_members(run, range(rank, members, ranks), _device_of_rank(device, rank), until, log)
    _barrier()  # all members are trained
    _barrier()  # the model is complete


if __name__ == "__main__":
    main(sys.argv[1:])
