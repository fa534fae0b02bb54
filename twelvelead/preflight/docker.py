"""The same steps in the submission's own image: `docker run --network none`, data mounted read-only, `--memory 13g`.

machine = find_docker(root, submission)         # raises UserError where no docker daemon answers
machine.run([...], …)                           # as Machine.run, with the paths of this machine
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from .machine import MEMORY_GB, Finished, execute

IMAGE = "twelvelead-preflight"
BUILD_SECONDS = 3600
KILLED = 137  # exit code of `docker run` for a container that SIGKILL ended


@dataclass(frozen=True)
class DockerMachine:
    """Runs commands in a container of the submission's image; `root` is mounted under its own path."""

    root: Path
    gpu: bool

    @property
    def summary(self) -> str:
        gpu = "with GPUs" if self.gpu else "without a GPU"
        return f"docker, no network, data mounted read-only, {MEMORY_GB} GB of memory, {gpu}"

    def run(
        self, command: Sequence[str | Path], *, read_only: Sequence[Path], seconds: float, settings: dict[str, str]
    ) -> Finished:
        """Runs a command as the image's user; its first word, this machine's Python, becomes the image's.

        The container has a name, so that it can be removed when its time is over: ending `docker run` would leave it
        running. Its memory is limited and not measured, so `peak_gb` is NaN.
        """
        name = f"{IMAGE}-{uuid.uuid4().hex[:12]}"
        words = ["docker", "run", "--name", name, "--network", "none", "--memory", f"{MEMORY_GB}g"]
        words += ["--gpus", "all"] if self.gpu else []
        words += ["-v", f"{self.root}:{self.root}"]
        for folder in read_only:
            words += ["-v", f"{folder}:{folder}:ro"]
        for variable, value in {**_settings_of_this_process(), **settings}.items():
            words += ["-e", f"{variable}={value}"]
        words += ["-w", str(self.root / "elsewhere"), IMAGE, "python", *map(str, command[1:])]
        try:
            finished = execute(words, self.root / "elsewhere", dict(os.environ), seconds, memory=False)
            killed = ["docker", "inspect", "--format", "{{.State.OOMKilled}}", name]
            out_of_memory = finished.code == KILLED and "true" in _output(killed)
        finally:
            _output(["docker", "rm", "--force", name])
        reason = f"\nit needed more than {MEMORY_GB} GB of memory and was killed" if out_of_memory else ""
        return replace(finished, output=finished.output + reason, peak_gb=math.nan)


def _settings_of_this_process() -> dict[str, str]:
    """The settings that a command on this machine would inherit; a container inherits none."""
    return {
        name: value for name, value in os.environ.items() if name.startswith("TWELVELEAD_") or name == "OMP_NUM_THREADS"
    }


def _output(words: list[str]) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout


def find_docker(root: Path, submission: Path) -> tuple[DockerMachine, Finished]:
    """Builds the submission's image.

    Returns
    -------
    machine : DockerMachine
    built : Finished
        How the build ended.

    Raises
    ------
    UserError
        If there is no docker, or its daemon does not answer.
    """
    if not shutil.which("docker"):
        raise UserError("there is no docker on this machine; leave --docker out to run without it")
    answer = subprocess.run(["docker", "info", "--format", "{{.Runtimes}}"], capture_output=True, text=True)
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["docker info failed"])[-1]
        raise UserError(f"docker's daemon does not answer ({reason}); leave --docker out to run without it")
    (root / "elsewhere").mkdir()
    words = ["docker", "build", "-t", IMAGE, str(submission.resolve())]
    built = execute(words, root / "elsewhere", dict(os.environ), BUILD_SECONDS, memory=False)
    return DockerMachine(root, gpu="nvidia" in answer.stdout), built
