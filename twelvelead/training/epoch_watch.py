"""What a person sees while members train: history.csv and progress.png in MODEL/.work, and a tracker if asked for.

    write_epochs(run, member, history)          # after every epoch, by the process that trains the member
    watch = EpochWatch(run, open_tracker("tensorboard", folder))
    watch.update()                              # again and again, by the process that leads

When a member is done, model_folder.py writes both files into the model folder itself. There they belong to the model,
whose recipe.json names their hashes, so they cannot change with every epoch; these ones can.
"""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import replace_file, write_json
from ..plots.progress import draw_progress, write_history
from .run import AnyRun, TrainingRun

DRAW_S = 30  # the picture is drawn so often, since drawing it takes longer than a small epoch
TRACKED = ("train_loss", "validation_loss", "metric", "auprc", "learning_rate", "seconds")  # numbers of a row
Row = dict[str, Any]
Tracker = Callable[[Row], None]


def write_epochs(run: TrainingRun, member: int, history: list[Row]) -> None:
    """Writes the epochs that a member in training has had, for `EpochWatch` in another process."""
    write_json(_epochs_path(run, member), dict(key=run.key, history=history))


def _epochs_path(run: AnyRun, member: int) -> Path:
    return run.work / f"member_{member:02d}.epochs.json"


class EpochWatch:
    """Follows the epochs of all members of a run.

    Parameters
    ----------
    tracker : callable, optional
        Is told each new epoch, as a row of the history; see `open_tracker`.
    """

    def __init__(self, run: AnyRun, tracker: Tracker | None = None):
        self.run, self.tracker = run, tracker
        self.histories: dict[int, list[Row]] = {}
        self.changed: dict[int, int] = {}  # time of change of each member's file, in ns
        self.drawn, self.is_drawn = time.monotonic(), True

    def update(self) -> None:
        """Reads what members have written since the last call, and writes and tells what is new."""
        new = [row for member in range(self.run.recipe.voting.members) for row in self._new_rows(member)]
        if new:
            rows = self._rows()
            replace_file(self.run.work / "history.csv", lambda path: write_history(rows, path), flush=False)
            self.is_drawn = False
            if self.tracker is not None:
                for row in new:
                    self.tracker(row)
        if not self.is_drawn and time.monotonic() - self.drawn > DRAW_S:
            rows = self._rows()
            replace_file(self.run.work / "progress.png", lambda path: draw_progress(rows, path), flush=False)
            self.drawn, self.is_drawn = time.monotonic(), True

    def _rows(self) -> list[Row]:
        return [row for member in sorted(self.histories) for row in self.histories[member]]

    def _new_rows(self, member: int) -> list[Row]:
        path = _epochs_path(self.run, member)
        try:
            changed = path.stat().st_mtime_ns
            if changed == self.changed.get(member):
                return []
            values = json.loads(path.read_text(encoding="utf-8"))
            history = values["history"] if values["key"] == self.run.key else []
        except (OSError, ValueError, KeyError, TypeError):  # not there yet, or damaged: the next epoch replaces it
            return []
        known = len(self.histories.get(member, ()))
        self.changed[member], self.histories[member] = changed, history
        return history[known:]


# ------------------------------------------------------------------------------------------------------------- trackers


def open_tracker(name: str | None, folder: Path) -> Tracker | None:
    """What tells a tracker of training about each epoch; None without a name.

    Parameters
    ----------
    name : str or None
        "tensorboard": event files in `folder`/tensorboard. "mlflow": a run at MLFLOW_TRACKING_URI, named as the folder.
        See `check_tracker`.
    folder : Path
        The model folder.
    """
    return None if name is None else TRACKERS[name](folder)


def check_tracker(name: str | None) -> None:
    """Raises a UserError if there is no tracker of that name, or its package is not installed."""
    if name is None:
        return
    if name not in TRACKERS:
        raise UserError(f"unknown tracker '{name}'; there are: {', '.join(TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise UserError(f"the tracker '{name}' is not installed: pip install {name}")


def _tensorboard(folder: Path) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def track(row: Row) -> None:
        for name, value in _numbers(row).items():
            writer.add_scalar(f"{name}/member {row['member']}", value, row["epoch"])
        writer.flush()

    return track


def _mlflow(folder: Path) -> Tracker:
    import mlflow  # optional

    mlflow.start_run(run_name=folder.name)  # ended by mlflow itself when the process ends

    def track(row: Row) -> None:
        numbers = {f"{name}_member_{row['member']}": value for name, value in _numbers(row).items()}
        mlflow.log_metrics(numbers, step=row["epoch"])

    return track


def _numbers(row: Row) -> dict[str, float]:
    return {name: row[name] for name in TRACKED if math.isfinite(row[name])}


TRACKERS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": _tensorboard, "mlflow": _mlflow}
