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
from ..inference.model_files import Description
from ..inference.predict import PackedRecordings
from ..inference.recipe_checks import check_recipe
from ..recipes import AnyRecipe
from .batches import on_device
from .epoch_watch import EpochWatch, check_tracker, open_tracker, write_epochs
from .fine_tuning import Start
from .lock import Lock, locked
from .member import train_member
from .member_files import write_result
from .model_folder import ModelFolder
from .preparing import prepare_run
from .processes import follow_parent, run_processes
from .run import AnyRun, TrainingRun, open_run
from .store import Store
from .teacher import joined_targets, score_recordings, teacher_key
from .time_budget import Deadline, EpochBudget, deadline, with_synthetic_in_time

Log = Callable[[str], None]
GO_ON = "; what was done up to the last epoch is kept: start training again to go on"


def log_line(line: str) -> None:
    """One line to standard output, at once: several processes write there."""
    print(line, flush=True)


def train_ensemble(
    headers: list[Path],
    folder: Path,
    recipe: AnyRecipe,
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
    teacher: Description | None = None,
    tracker: str | None = None,
    own: OwnLabels | None = None,
    start: Start | None = None,
    log: Log = log_line,
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
    teacher : Description, optional
        Of a trained model from whose scores the members learn beside the labels; see teacher.py. Its recipe has the
        same input and classes.
    tracker : str, optional
        "tensorboard" or "mlflow": is told every epoch; see epoch_watch.open_tracker.
    own : OwnLabels, optional
        The user's own labels of the recordings, for the classes that it has; by default labels are the codes in the
        headers.
    start : Start, optional
        The trained model from which members start; by default they start from random weights.
    log : callable
        Told one line at a time. Other processes write to standard output instead.

    Raises
    ------
    UserError
        If the recipe is impossible, there is nothing to train on, the folder cannot be written or is in use by another
        training, the loss diverges, or a training process fails. What was done up to then is kept.
    """
    started = time.time()
    check_tracker(tracker)
    check_recipe(recipe)  # the finished model would be refused for it
    folder, device = Path(folder), torch.device(device)
    recipe = with_synthetic_in_time(recipe, budget_hours, log)
    rank, _ = _rank()
    with _system_faults_as_user_errors(folder):
        if rank:
            _train_as_rank(folder, device, log)
        else:
            with locked(folder) as lock:
                key = None if teacher is None else teacher_key(teacher)
                prepared = prepare_run(
                    headers, folder, recipe, classes, root, seed, limit, patients, jobs, log, key, own, start
                )
                run, seconds_used = prepared
                if run is not None and teacher is not None:
                    score_recordings(run.parts[0], load_ensemble(teacher.folder, device), log)
                if run is None:
                    for _ in range(3):  # as often as the other ranks wait in _train_as_rank
                        _barrier()
                else:
                    until = deadline(budget_hours, seconds_used, started)
                    model_folder = ModelFolder(run, seconds_used, started, until, log)
                    epochs = EpochWatch(run, open_tracker(tracker, folder))
                    _lead(run, model_folder, epochs, until, device, workers, lock, log)
    return load_ensemble(folder, device)


def _lead(
    run: AnyRun,
    model_folder: ModelFolder,
    epochs: EpochWatch,
    until: Deadline,
    device: torch.device,
    workers: int | None,
    lock: Lock,
    log: Log,
) -> None:
    """Trains the members, in this process and other ranks or in processes of its own, and completes the model."""
    _, ranks = _rank()
    members, rows = run.recipe.voting.members, run.parts[0].rows
    processes = 0 if workers == 1 or ranks > 1 else min(workers or _default_workers(device), members)
    synthetic = max(len(part.synthetic_rows) for part in run.parts)
    log(
        f"training {members} members of '{run.recipe.name}', {_epochs_in_words(run)}, on {len(rows)} recordings"
        f"{f' and {synthetic} synthetic ones' if synthetic else ''}, "
        f"{model_folder.labels[rows].any(axis=0).sum()} of {len(run.classes.codes)} classes present, "
        f"device {device}, {max(processes, ranks)} at a time; to see how it goes, open history.csv and, "
        f"every half a minute, progress.png in {run.work}"
    )

    def watch() -> None:
        lock.check()
        model_folder.collect_finished()
        epochs.update()

    _barrier()
    if processes:
        _train_in_processes(run, processes, device, until, watch)
    else:
        own_device = _device_of_rank(device, 0) if ranks > 1 else device
        train_members(run, members_of_process(run.recipe, 0, ranks), own_device, until, log, watch)
    _barrier()
    watch()
    model_folder.complete()
    shutil.rmtree(run.work)
    _barrier()


def _epochs_in_words(run: AnyRun) -> str:
    """How many epochs members get; for a joined recipe also how many members each of its recipes has."""
    if isinstance(run, TrainingRun):
        return f"{run.epochs} epochs each"
    return ", ".join(
        f"{part.recipe.voting.members} of '{part.recipe.name}' with {part.epochs} epochs" for part in run.parts
    )


def members_of_process(recipe: AnyRecipe, process: int, processes: int) -> list[int]:
    """The members that one of several processes trains, ascending.

    Each recipe's members are dealt out to the processes in turn, so that the slow recipes of a joined recipe are shared
    out, too.
    """
    by_recipe = sorted(range(recipe.voting.members), key=lambda member: recipe.part_of_member[member])
    return sorted(by_recipe[process::processes])


def train_members(
    run: AnyRun,
    members: Sequence[int],
    device: torch.device,
    until: Deadline,
    log: Log,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Trains some of the members one after another; each leaves its weights and its result as files.

    `watch` is called after every epoch and every member.
    """
    recipes = [run.recipe.part_of_member[member] for member in members]
    budget = EpochBudget(members, recipes, [run.parts[recipe].epochs for recipe in recipes], until, log)
    loaded: tuple[Store, PackedRecordings] | None = None
    for place, member in enumerate(members):
        if place >= budget.wanted:
            break
        part = run.part_of(member)
        if part.result_path(member).is_file() and part.weights_path(member).is_file():
            log(f"member {member}: trained before")
            continue
        if member > 0 and until.is_over():  # member 0 is trained whatever the time: there must be one
            log(f"time budget: member {member} and those after it are left out")
            break
        if loaded is None or loaded[0] is not part.store:
            loaded = None  # Two stores at a time might not fit into the memory of a GPU.
            loaded = part.store, on_device(part.store, device)
        _train_one(part, loaded[1], member, place, budget, until, log, watch)
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
    known = run.known_labels(labels)

    def epochs_allowed(done: int, epoch_seconds: float) -> int:
        watch()
        return budget.epochs_allowed(place, done, epoch_seconds)

    def seconds_left(done: int, epochs: int, epoch_seconds: float) -> float:
        return budget.seconds_left(place, done, epochs, epoch_seconds)

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
        known=known,
        synthetic_rows=run.synthetic_rows,
        convention_rows=run.convention_rows,
        targets=None if run.teacher is None else joined_targets(run, labels, known),
        epochs_allowed=epochs_allowed,
        seconds_left=seconds_left,
        after_epoch=lambda history: write_epochs(run, member, history),
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
    run: AnyRun, processes: int, device: torch.device, until: Deadline, watch: Callable[[], None]
) -> None:
    """Trains the members in so many processes, which share them out by `members_of_process`."""
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // processes))
    commands = []
    for number in range(processes):
        arguments = [run.work, number, processes, _device_of_rank(device, number), until.at, os.getpid()]
        commands.append([sys.executable, "-m", "twelvelead.training.workers", *map(str, arguments)])
    run_processes(commands, [run.work / f"process_{first}.log" for first in range(processes)], environment, watch)


def main(arguments: list[str]) -> None:
    """A training process, started by `_train_in_processes`: WORK NUMBER PROCESSES DEVICE DEADLINE PARENT.

    What goes wrong is one line on standard error, which the parent repeats.
    """
    work, number, processes, device, at, parent = arguments
    follow_parent(int(parent))
    try:
        with _system_faults_as_user_errors(Path(work), advice=""):  # the parent says what to do
            run = open_run(Path(work))
            train_members(
                run,
                members_of_process(run.recipe, int(number), int(processes)),
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


def _train_as_rank(folder: Path, device: torch.device, log: Log) -> None:
    """What every rank but the first does."""
    rank, ranks = _rank()
    _barrier()  # rank 0 has prepared the run
    if (folder / ".work" / "training_run.json").is_file():  # else the model was finished before
        run = open_run(folder / ".work")
        at = json.loads((run.work / "run.json").read_text(encoding="utf-8"))["deadline"]
        until = Deadline() if at is None else Deadline(at)
        train_members(run, members_of_process(run.recipe, rank, ranks), _device_of_rank(device, rank), until, log)
    _barrier()  # all members are trained
    _barrier()  # the model is complete


if __name__ == "__main__":
    main(sys.argv[1:])
