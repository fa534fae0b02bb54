"""The steps of a preflight and their table.

code = preflight(data=None, submission=None)        # 0 if every step succeeded, else 1
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..terminal import printable, say
from .data import Folders, make_data
from .docker import DockerMachine, find_docker
from .machine import MEMORY_GB, Finished, Machine, find_machine
from .outputs import problems_of_folder
from .submission import RUN, TRAIN, YEARS, copy_submission, find_submission, lay_scripts_over, problems_of_files

MOST_LINES = 6  # of the cause of a failure
RUN_SECONDS = 300.0  # a run of the test scripts on a few recordings that takes longer would take days on all
START_SECONDS = 240.0  # for what a training does besides using its budget: importing, preprocessing, writing
SCORE_TOLERANCE = 1e-5  # recordings that are scored in batches have their sums added in another order


class StepError(Exception):
    """A step has failed; the arguments are the lines that say why."""


class Preflight:
    """The state of one preflight: the temporary folder, the machine, and the rows of the table so far."""

    def __init__(self, root: Path, minutes: float, log: Callable[[str], None]):
        self.root, self.minutes, self.log = root, minutes, log
        self.machine: Machine | DockerMachine
        self.folders: Folders
        self.before: dict[str, dict[str, tuple[int, int]]] = {}
        self.failures = 0

    def step(self, title: str, work: Callable[[], str]) -> bool:
        """Does one step and prints its row; `work` returns a few words or raises StepError."""
        started = time.monotonic()
        mark, detail, lines = "✓", "", []
        try:
            detail = work()
        except StepError as failure:
            mark, lines = "✗", [str(line) for line in failure.args]
            self.failures += 1
        self.log(f"{mark} {title:<42} {time.monotonic() - started:6.1f} s  {printable(detail)}".rstrip())
        for line in lines[:MOST_LINES]:
            self.log(f"      {printable(line)}")
        if len(lines) > MOST_LINES:
            self.log(f"      and {len(lines) - MOST_LINES} more lines")
        return not lines

    def skip(self, title: str) -> None:
        self.failures += 1
        self.log(f"– {title:<42}      – s  not possible after what failed before")

    # ------------------------------------------------------------------------------------------------------- commands

    def script(self, folder: str, script: str, *arguments: Path, seconds: float) -> Finished:
        """Runs one of the scripts laid over the copy of the submission in `folder`."""
        folders = self.folders
        return self.machine.run(
            [sys.executable, self.root / folder / script, *arguments],
            read_only=[folders.training, folders.test, folders.nested, folders.labels],
            seconds=seconds,
            settings={"TWELVELEAD_TIME_BUDGET_HOURS": f"{self.minutes / 60:.5f}"},
        )

    def train(self, year: str) -> str:
        model = self.root / f"model-{year}"
        seconds = 60 * self.minutes + START_SECONDS
        finished = self.script(year, TRAIN, self.folders.training, model, seconds=seconds)
        detail = _check(finished)
        if not model.is_dir() or not any(model.iterdir()):
            raise StepError("training ended with exit code 0 and wrote no model")
        return detail

    def classify(self, year: str) -> str:
        model, outputs = self.root / f"model-{year}", self.root / f"outputs-{year}"
        before = state(model)
        finished = self.script(year, RUN[year], model, self.folders.test, outputs, seconds=RUN_SECONDS)
        detail = _check(finished)
        if state(model) != before:
            raise StepError("the model folder was changed by running the model")
        return ", ".join([f"{len(self.folders.recordings)} recordings", *([detail] if detail else [])])

    def check_outputs(self, outputs: str) -> str:
        problems = problems_of_folder(self.root / outputs, self.folders.recordings, self.folders.damaged)
        if problems:
            raise StepError(*problems)
        damaged = len(self.folders.damaged)
        return f"30 codes, integer labels; {damaged} without a signal got sinus rhythm, no other fell back"

    def score(self, year: str) -> str:
        outputs = self.root / f"outputs-{year}"
        finished = self.script(year, "evaluate_model.py", self.folders.labels, outputs, seconds=RUN_SECONDS)
        _check(finished)
        lines = finished.output.strip().splitlines()
        header = next((number for number, line in enumerate(lines) if line.endswith("Challenge metric")), None)
        if header is None or header + 1 >= len(lines):
            raise StepError("the evaluator printed no Challenge metric", *lines[-2:])
        value = lines[header + 1].split(",")[-1]
        if value in ("nan", "inf", "-inf"):
            raise StepError(f"the Challenge metric is {value}")
        return f"Challenge metric {value} (after a minute's training it says nothing)"

    def our_driver(self) -> str:
        """driver.py on nested folders must give what the scripts of 2021 got on flat ones."""
        outputs = self.root / "outputs-driver"
        finished = self.script("ours", "driver.py", self.root / "model-2021", self.folders.nested, outputs,
                               seconds=RUN_SECONDS)  # fmt: skip
        if finished.code != 1:  # more than 5 % of these recordings hold no signal
            _check(finished)
            raise StepError("exit code 0 although a fifth of the recordings holds no signal")
        differing = []
        for name in sorted(self.folders.recordings):
            ours, theirs = (
                (self.root / folder / f"{name}.csv").read_text(encoding="utf-8").split("\n")
                for folder in ("outputs-driver", "outputs-2021")
            )
            scores = [[float(text) for text in row[3].split(",")] for row in (ours, theirs)]
            apart = max(abs(one - other) for one, other in zip(*scores))
            if ours[:3] != theirs[:3] or apart > SCORE_TOLERANCE:
                differing.append(f"{name}: driver.py and the scripts of 2021 differ (scores by {apart:.1e})")
        if differing:
            raise StepError(*differing)
        return "the rows of the scripts of 2021"

    def check_traces(self) -> str:
        """Data, submission, home, temporary and working directory must be as they were."""
        changed = []
        for name, before in self.before.items():
            after = state(self.root / name)
            changed += [f"{name}: {path} was written" for path in sorted(after) if before.get(path) != after[path]]
            changed += [f"{name}: {path} is gone" for path in sorted(before) if path not in after]
        known = {*self.before, "caches", *(f"{what}-{year}" for what in ("model", "outputs") for year in YEARS)}
        known |= {"outputs-driver", "output.log"}
        changed += [
            f"{path.name} was written beside the model" for path in self.root.iterdir() if path.name not in known
        ]
        if changed:
            raise StepError(*changed)
        return "data, submission, home, temporary and working directory are as they were"


def _check(finished: Finished) -> str:
    """The memory that a command took, in words; raises StepError if it failed or took too much."""
    if finished.code:
        raise StepError(*(finished.cause() or [f"exit code {finished.code}, without a word"]))
    if finished.peak_gb > MEMORY_GB:
        raise StepError(f"it took {finished.peak_gb:.1f} GB of memory, more than {MEMORY_GB}")
    return "" if math.isnan(finished.peak_gb) else f"{finished.peak_gb:.1f} GB"


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below a folder, by its path there."""
    files = ((path, path.lstat()) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return {str(path.relative_to(folder)): (status.st_size, status.st_mtime_ns) for path, status in files}


def preflight(
    data: Path | None = None,
    submission: Path | None = None,
    *,
    docker: bool = False,
    minutes: float = 1.0,
    log: Callable[[str], None] = say,
) -> int:
    """Takes a copy of a submission through everything that the organizers' machines do to it.

    Parameters
    ----------
    data : Path, optional
        Recordings to train and test with; synthetic ones by default.
    submission : Path, optional
        See submission.find_submission.
    docker : bool
        Run in the submission's image instead of this machine's Python.
    minutes : float
        Time budget of each of the two trainings.
    log : callable
        Gets the table, a line at a time.

    Returns
    -------
    int
        Exit code: 0, or 1 if a step failed.

    Raises
    ------
    UserError
        If there is no submission, too little data, or no docker where it is asked for.
    """
    source = find_submission(submission)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twelvelead-preflight-") as folder:
        run = Preflight(Path(folder).resolve(), minutes, log)
        try:
            _go_through(run, source, data, docker)
        finally:
            for path in run.root.rglob("*"):  # folders without write permission could not be deleted
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o755)
    verdict = "every step succeeded" if not run.failures else f"{run.failures} steps failed or could not be tried"
    log(f"{verdict}, {time.monotonic() - started:.0f} s in all")
    return 1 if run.failures else 0


def _go_through(run: Preflight, source: Path, data: Path | None, docker: bool) -> None:
    built = None
    if docker:
        run.machine, built = find_docker(run.root, source)
    else:
        run.machine = find_machine(run.root, _has_gpu())
    run.step("machine", lambda: run.machine.summary)
    if built is not None and not run.step("docker build", lambda: (_check(built), f"{built.seconds:.0f} s")[1]):
        return
    run.step("files of the submission", lambda: _copy_submission(run, source))
    if not run.step("training and test data", lambda: _make_data(run, data)):
        return
    going = {year: _go_through_year(run, year) for year in YEARS}
    if (run.root / "ours" / "driver.py").is_file():
        if going["2021"]:
            run.step("driver.py on nested folders", run.our_driver)
        else:
            run.skip("driver.py on nested folders")
    run.step("nothing written elsewhere", run.check_traces)


def _go_through_year(run: Preflight, year: str) -> bool:
    """Training, classifying and scoring with the scripts of a year, until a step fails; returns whether none has."""
    works: dict[str, Callable[[], str]] = {
        "train": lambda: run.train(year),
        "classify": lambda: run.classify(year),
        "outputs, byte by byte": lambda: run.check_outputs(f"outputs-{year}"),
    }
    if (run.root / "ours" / "evaluate_model.py").is_file():
        works["score"] = lambda: run.score(year)
    going = True
    for title, work in works.items():
        if not going:
            run.skip(f"{year}: {title}")
        else:
            going = run.step(f"{year}: {title}", work)
    return going


def _copy_submission(run: Preflight, source: Path) -> str:
    copy_submission(source, run.root / "ours")
    for year in YEARS:
        shutil.copytree(run.root / "ours", run.root / year)
        lay_scripts_over(year, run.root / year)
    problems = problems_of_files(source)
    if problems:
        raise StepError(*problems)
    return f"{printable(source.resolve())}, the scripts of {' and '.join(YEARS)} laid over copies"


def _make_data(run: Preflight, data: Path | None) -> str:
    folders = run.folders = make_data(run.root, data)
    for path in [path for folder in _read_only(folders) for path in [*folder.rglob("*"), folder]]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    watched = ["ours", *YEARS, "training", "test", "nested", "labels", "elsewhere", "home", "temporary"]
    run.before = {name: state(run.root / name) for name in watched if (run.root / name).is_dir()}
    training = len(list(folders.training.glob("*.hea")))
    kind = printable(data) if data else "synthetic"
    return f"{training} and {len(folders.recordings)} recordings, {len(folders.damaged)} without a signal; {kind}"


def _read_only(folders: Folders) -> list[Path]:
    return [folders.training, folders.test, folders.nested, folders.labels]


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None
