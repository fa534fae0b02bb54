"""Runs commands as on the organizers' machines: no network, data that cannot be written, little memory.

    machine = find_machine(root)
    finished = machine.run([sys.executable, "train_model.py", …], read_only=[data], seconds=120)
    finished.code, finished.output, finished.peak_gb

What the system does not allow is left out; `machine.summary` says what is in force.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY_GB = 13  # of the test machine of 2020, the smaller one of the two years
# Mounts each folder before `--` over itself, read-only, and then becomes the command behind it.
_READ_ONLY_SCRIPT = (
    'while [ "$1" != -- ]; do mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 97; shift; done; '
    'shift; exec "$@"'
)


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    Attributes
    ----------
    code : int
        Exit code; negative: the number of the signal that ended it.
    output : str
        What it printed on both streams.
    seconds : float
    peak_gb : float
        Largest resident memory of one of its processes; NaN if it was not measured.
    """

    code: int
    output: str
    seconds: float
    peak_gb: float

    def cause(self, lines: int = 4) -> list[str]:
        """The first lines of why it failed: the exception of the last traceback with its place, or its last lines."""
        text = [line for line in self.output.splitlines() if line.strip()]
        reason = "" if self.code >= 0 else f"ended by {signal.Signals(-self.code).name}"
        head = [reason] if reason else []
        starts = [number for number, line in enumerate(text) if line.startswith("Traceback")]
        if not starts:
            return head + text[-lines:]
        frames = [number for number in range(starts[-1], len(text)) if text[number].startswith("  File ")]
        error = next((n for n in range(starts[-1] + 1, len(text)) if not text[n].startswith(" ")), len(text) - 1)
        place = text[frames[-1] : frames[-1] + 2] if frames else []
        return head + [text[error], *place][:lines]


@dataclass(frozen=True)
class Machine:
    """How commands are run.

    Attributes
    ----------
    root : Path
        The folder with everything that a command may see change.
    network, mounts : bool
        Whether the network is taken away, and whether folders can be mounted read-only.
    memory : bool
        Whether the address space is limited.
    """

    root: Path
    network: bool
    mounts: bool
    memory: bool

    @property
    def summary(self) -> str:
        """What is in force, in words."""
        return ", ".join(
            [
                "no network" if self.network else "the network cannot be taken away here",
                "data mounted read-only" if self.mounts else "data without write permission",
                f"{MEMORY_GB} GB of memory" if self.memory else "memory is measured, not limited",
                f"{os.cpu_count()} cores",
            ]
        )

    def run(
        self, command: Sequence[str | Path], *, read_only: Sequence[Path], seconds: float, settings: dict[str, str]
    ) -> Finished:
        """Runs a command from a working directory of its own and ends it, with all its children, after `seconds`."""
        words = [str(word) for word in command]
        if self.mounts:
            words = [*_unshare(self.network), "sh", "-c", _READ_ONLY_SCRIPT, "sh", *map(str, read_only), "--", *words]
        elif self.network:
            words = [*_unshare(True, mounts=False), *words]
        return execute(words, self.root / "elsewhere", self._environment(settings), seconds, self.memory)

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        """This process's environment, with home and temporary folder where nothing may be left."""
        caches = {name: str(self.root / "caches") for name in ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")}
        return {
            **os.environ,
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "temporary"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": "",
            **caches,
            **settings,
        }


def find_machine(root: Path, has_gpu: bool) -> Machine:
    """What this system allows; tries each restriction once. `root` gets the folders that a command may see."""
    for name in ("elsewhere", "home", "temporary", "caches"):
        (root / name).mkdir()
    probe = root / "probe"
    probe.mkdir()
    mounts = network = False
    if shutil.which("unshare"):
        network = _works([*_unshare(True, mounts=False), "true"])
        words = [
            *_unshare(network),
            "sh",
            "-c",
            _READ_ONLY_SCRIPT,
            "sh",
            str(probe),
            "--",
            "touch",
            str(probe / "file"),
        ]
        # the touch must fail, and not because the mount has
        mounts = subprocess.run(words, capture_output=True).returncode == 1 and not any(probe.iterdir())
    probe.rmdir()
    # CUDA reserves far more addresses than it uses memory, so that the limit would end every process.
    return Machine(root, network, mounts, memory=not has_gpu)


def _unshare(network: bool, mounts: bool = True) -> list[str]:
    """The command that gives the next one a network and mounts of its own; a user needs a user namespace for it."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, *(["--net"] if network else []), *(["--mount"] if mounts else [])]


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GB * 2**30, MEMORY_GB * 2**30))


def execute(words: list[str], folder: Path, environment: dict[str, str], seconds: float, memory: bool) -> Finished:
    """Runs a command to its end or to the end of its time; see `Machine.run`."""
    started = time.monotonic()
    log = folder.parent / "output.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_limit_memory if memory else None,
        )
        late = False
        try:
            while True:
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    break
                if time.monotonic() - started > seconds and not late:
                    late = True
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.05)
        except BaseException:  # such as Ctrl-C: the command must not go on without us
            os.killpg(process.pid, signal.SIGKILL)
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    output = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    if late:
        output += f"\nit took longer than {seconds:.0f} s and was ended"
    peak = usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return Finished(process.returncode, output, time.monotonic() - started, peak)
