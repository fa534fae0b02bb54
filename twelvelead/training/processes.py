"""Several processes that work for one: started together, watched, and gone as soon as the one is gone.

run_processes(commands, logs, environment, watch)       # by the process that leads
follow_parent(pid)                                      # by each of the others
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

POLL_S = 0.2  # the leader looks after the others so often, and they after the leader


def run_processes(
    commands: list[list[str]], logs: list[Path], environment: dict[str, str], watch: Callable[[], None]
) -> None:
    """Runs training processes until all are done. When one fails, or this one is interrupted, all others are ended.

    Parameters
    ----------
    commands : list of lists of str
    logs : list of Path
        Where the standard error of each goes, as several would mix on the terminal. On a terminal the first process
        writes there instead, so that its progress bars are seen.
    watch : callable
        Called again and again in between.

    Raises
    ------
    UserError
        If a process fails; one line that says which, and why: the last line that it wrote, or the signal that ended it.
    """
    processes: list[subprocess.Popen] = []
    failed = None
    try:
        for number, (command, log) in enumerate(zip(commands, logs)):
            on_terminal = number == 0 and sys.stderr is not None and sys.stderr.isatty()
            with open(log, "w", encoding="utf-8") as file, deaf_to_ctrl_c():
                process = subprocess.Popen(
                    command,
                    env=environment if on_terminal else {**environment, "PYTHONFAULTHANDLER": "1"},
                    stdin=subprocess.DEVNULL,
                    stderr=None if on_terminal else file,
                )
            processes.append(process)
        while failed is None and any(process.poll() is None for process in processes):
            time.sleep(POLL_S)
            watch()
            failed = _first_failure(processes)
        failed = failed if failed is not None else _first_failure(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        for process in processes:
            process.wait()
    if failed is not None:
        raise UserError(
            f"training process {failed} {_why(processes[failed].returncode, logs[failed])}; "
            "what all members have done up to their last epoch is kept: start training again to go on"
        )


def _first_failure(processes: list[subprocess.Popen]) -> int | None:
    return next((number for number, process in enumerate(processes) if process.poll()), None)


def _why(returncode: int, log: Path) -> str:
    """Why a process failed, as the end of a sentence whose subject is the process."""
    if returncode < 0:
        number = -returncode
        name = signal.Signals(number).name if number in list(signal.Signals) else "unknown"
        memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was killed by signal {number} ({name}){memory}"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"failed: {lines[-1] if lines else f'exit code {returncode}, see above'}"


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started in this block never see Ctrl-C on the terminal; this one, which ends them, does later.

    A new process inherits that a signal is ignored. Blocking the signal instead would not lose a Ctrl-C within the
    block, but joblib unblocks it while it starts its pool.
    """
    if threading.current_thread() is not threading.main_thread():  # only there Python lets signals be changed
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def follow_parent(pid: int) -> None:
    """Makes this process end within a second of its parent, however that ends; at once if it is gone already."""
    if os.getppid() != pid:
        os._exit(1)
    threading.Thread(target=_end_with, args=(pid,), name="follow_parent", daemon=True).start()


def _end_with(pid: int) -> None:
    while os.getppid() == pid:
        time.sleep(POLL_S)
    os._exit(1)
