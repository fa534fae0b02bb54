"""Kills trainings at file operations and at random moments, starts them again, and says what came of it.

    PYTHONPATH=.:tests python tests/training/killing.py DATA FOLDER first 40        # a first training
    … second 40       # one that replaces a finished model
    … moments 20      # SIGKILL at random moments

Every training is a forked process, so that torch is imported once. One line for each kill: "ok" or what is wrong.
"""

from __future__ import annotations

import builtins
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from comparing import contents

from twelvelead.commands import train
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.inference.model_files import whole_model
from twelvelead.plots.progress import draw_progress
from twelvelead.recipes import RECIPES
from twelvelead.settings import Settings
from twelvelead.training import model_folder
from twelvelead.training.publishing import damaged_file

SETTINGS = Settings(members=2, epochs=2, width=4, synthetic=0, seed=5, device="cpu", jobs=1, workers=1)
OPERATIONS = ("replace", "rename", "link", "unlink", "rmdir", "mkdir")
KILLED = 9


def in_child(action: Callable[[], object]) -> int:
    """Starts a process that does it, and returns the process's number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            action()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count_or_kill(below: Path, at: int | None, after: bool, counts: Path | None = None) -> None:
    """From now on file operations below a folder are counted; the one with number `at` is the process's last.

    It is killed before the operation, or after it.
    """
    number, kinds = [0], []

    def counted(kind, real):
        def operation(*arguments, **options):
            place = os.fspath(arguments[0]) if arguments and isinstance(arguments[0], (str, os.PathLike)) else ""
            writes = kind != "open" or set(str(arguments[1:2] or options.get("mode", "r"))) & set("wax+")
            # rmtree names files relative to a folder that it holds open
            if not writes or not (str(place).startswith(str(below)) or options.get("dir_fd") is not None):
                return real(*arguments, **options)
            number[0] += 1
            kinds.append(kind)
            if counts is not None:
                counts.write_bytes(json.dumps(kinds).encode())
            if number[0] == at and not after:
                os._exit(KILLED)
            result = real(*arguments, **options)
            if number[0] == at:
                os._exit(KILLED)
            return result

        return operation

    for kind in OPERATIONS:
        setattr(os, kind, counted(kind, getattr(os, kind)))
    builtins.open = io.open = counted("open", open)


def fault_after_kill(folder: Path, must_be_whole: bool) -> str:
    """What is wrong with the model in a folder in which training was killed; empty if nothing."""
    place = whole_model(folder)
    if not (place / "recipe.json").is_file():
        return "the finished model is gone" if must_be_whole else ""
    manifest = json.loads((place / "recipe.json").read_text())
    if must_be_whole and not manifest["complete"]:
        return "an unfinished model took the place of the finished one"
    damaged = damaged_file(place, manifest)
    if damaged:
        return f"{damaged} does not fit recipe.json"
    pid = in_child(lambda: load_ensemble(folder))
    return "the model does not load" if exit_code(pid) else ""


def make_fast(out: Path) -> None:
    """Few thresholds are tried, and what training imports late is imported before the first fork."""
    import torch._dynamo  # noqa: F401  # Adam does

    row = dict(member=0, epoch=1, loss="cross_entropy", metric=0.0, train_loss=0.0)
    draw_progress([row], out / "progress.png")
    few = dict(random_points=4, guided_points=1)
    voting = dataclasses.replace(RECIPES["butt"].voting, threshold_options=few)
    RECIPES["butt"] = dataclasses.replace(RECIPES["butt"], voting=voting)
    model_folder.NOTE_S = 1e9  # so that every training has the same file operations


def main(data: Path, out: Path, scenario: str, kills: int) -> None:
    make_fast(out)
    expected, folder, before = out / "expected", out / "model", out / "before"
    assert exit_code(in_child(lambda: train(data, expected, SETTINGS))) == 0
    if scenario == "second":
        assert exit_code(in_child(lambda: train(data, before, dataclasses.replace(SETTINGS, seed=6, members=3)))) == 0

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if scenario == "second":
            shutil.copytree(before, folder)

    def dying(at: int | None, after: bool, counts: Path | None = None) -> None:
        count_or_kill(folder, at, after, counts)
        train(data, folder, SETTINGS)

    fresh()
    counts = out / "operations.json"
    started = time.time()
    assert exit_code(in_child(lambda: dying(None, False, counts))) == 0
    seconds = time.time() - started
    kinds = json.loads(counts.read_text())
    print(f"operations: {dict(Counter(kinds))}", flush=True)
    rng = random.Random(0)
    if scenario == "moments":
        points = [(rng.uniform(0, seconds), False) for _ in range(kills)]
    else:  # of each kind at least some, the others anywhere
        numbers = [number for kind in sorted(set(kinds)) for number in _some(rng, kinds, kind, max(2, kills // 8))]
        numbers += rng.sample(range(1, len(kinds) + 1), max(0, min(kills - len(numbers), len(kinds))))
        points = [(number, bool(k % 2)) for k, number in enumerate(numbers)]
    for point, after in points:
        fresh()
        if scenario == "moments":
            title = f"after {point:.2f} s"
            pid = in_child(lambda: train(data, folder, SETTINGS))
            time.sleep(point)
            os.kill(pid, signal.SIGKILL)
            exit_code(pid)
        else:
            title = f"{'after' if after else 'before'} operation {point}, {kinds[point - 1]}"
            code = exit_code(in_child(lambda at=point, late=after: dying(at, late)))
            if code == 0:  # as many operations only happen where a folder of another library is removed too
                print(f"{title}: not reached", flush=True)
                continue
            assert code == KILLED, f"{title}: {code}"
        faults = [fault_after_kill(folder, scenario == "second")] if folder.exists() else []
        code = exit_code(in_child(lambda: train(data, folder, SETTINGS)))
        if code:
            faults.append(f"the next start ended with exit code {code}")
        elif contents(folder) != contents(expected):
            ours, theirs = contents(folder), contents(expected)
            faults.append(f"differs: {sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))}")
        print(f"{title}: {'; '.join(filter(None, faults)) or 'ok'}", flush=True)


def _some(rng: random.Random, kinds: list[str], kind: str, count: int) -> list[int]:
    numbers = [number for number, other in enumerate(kinds, 1) if other == kind]
    return rng.sample(numbers, min(count, len(numbers)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
