"""While members train, history and picture follow every epoch, the log says what is left, and a tracker is told."""

from __future__ import annotations

import csv
import importlib.machinery
import math
import re
import sys
import types
from pathlib import Path

import pytest

from twelvelead.commands import train
from twelvelead.errors import UserError
from twelvelead.recipes import get_recipe
from twelvelead.settings import Settings
from twelvelead.training import epoch_watch, workers
from twelvelead.training.epoch_watch import EpochWatch, check_tracker, open_tracker, write_epochs
from twelvelead.training.time_budget import Deadline, EpochBudget, in_words


def run_in(folder: Path, key: str = "this run"):
    return types.SimpleNamespace(work=folder, key=key, recipe=get_recipe("butt"))


def epoch(member: int, number: int, metric: float = 0.1) -> dict:
    return dict(
        member=member,
        epoch=number,
        loss="cross_entropy",
        learning_rate=1e-3,
        train_loss=0.5,
        validation_loss=0.6,
        metric=metric,
        threshold=0.3,
        auprc=0.2,
        seconds=1.0,
    )


# -- history, picture ------------------------------------------------------------------------------


def test_the_history_has_the_epochs_of_all_members_in_order(tmp_path):
    run = run_in(tmp_path)
    watch = EpochWatch(run)
    watch.update()
    assert not (tmp_path / "history.csv").exists()
    write_epochs(run, 3, [epoch(3, 1)])
    watch.update()
    write_epochs(run, 0, [epoch(0, 1), epoch(0, 2)])
    watch.update()
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [(row["member"], row["epoch"]) for row in rows] == [("0", "1"), ("0", "2"), ("3", "1")]


def test_the_picture_is_drawn_once_a_while(tmp_path, monkeypatch):
    run, drawn = run_in(tmp_path), []
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(epoch_watch, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(
        epoch_watch, "draw_progress", lambda rows, path: (drawn.append(len(rows)), path.write_bytes(b""))
    )
    watch = EpochWatch(run)
    for number in range(1, 9):
        clock.now += epoch_watch.DRAW_S / 3 + 1
        write_epochs(run, 0, [epoch(0, k) for k in range(1, number + 1)])
        watch.changed.clear()  # two epochs of one moment, as files see it
        watch.update()
    assert drawn == [3, 6] and (tmp_path / "progress.png").exists()
    clock.now += epoch_watch.DRAW_S + 1
    watch.changed = {}
    watch.update()
    watch.update()
    assert drawn == [3, 6, 8]  # the last epochs too, and nothing twice


def test_epochs_of_another_run_and_damaged_files_are_left_out(tmp_path):
    run = run_in(tmp_path)
    write_epochs(run_in(tmp_path, "another run"), 0, [epoch(0, 1)])
    (tmp_path / "member_01.epochs.json").write_text("{")
    watch = EpochWatch(run)
    watch.update()
    assert not (tmp_path / "history.csv").exists()


# -- trackers --------------------------------------------------------------------------------------


def module(monkeypatch, name: str, **values):
    """A package that stands for the real one."""
    stub = types.ModuleType(name)
    stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for key, value in values.items():
        setattr(stub, key, value)
    monkeypatch.setitem(sys.modules, name, stub)


def test_tensorboard_is_told_every_epoch_once(tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            told.append((self.folder, name, value, step))

        def flush(self):
            pass

    module(monkeypatch, "tensorboard")
    module(monkeypatch, "torch.utils.tensorboard", SummaryWriter=Writer)
    check_tracker("tensorboard")
    run = run_in(tmp_path)
    watch = EpochWatch(run, open_tracker("tensorboard", tmp_path))
    write_epochs(run, 2, [epoch(2, 1, 0.25)])
    watch.update()
    watch.changed.clear()
    write_epochs(run, 2, [epoch(2, 1, 0.25), epoch(2, 2, math.nan)])
    watch.update()
    place = str(tmp_path / "tensorboard")
    assert [each for each in told if "metric" in each[1]] == [(place, "metric/member 2", 0.25, 1)]  # NaN is no number
    assert [each[3] for each in told if "train_loss" in each[1]] == [1, 2]


def test_mlflow_is_told_every_epoch(tmp_path, monkeypatch):
    told = []
    module(
        monkeypatch,
        "mlflow",
        start_run=lambda run_name: told.append(run_name),
        log_metrics=lambda numbers, step: told.append((step, numbers["metric_member_1"])),
    )
    check_tracker("mlflow")
    open_tracker("mlflow", tmp_path / "model")(epoch(1, 4, 0.5))
    assert told == ["model", (4, 0.5)]


@pytest.mark.parametrize("name, words", [("wandb", "tensorboard, mlflow"), ("mlflow", "pip install mlflow")])
def test_a_tracker_that_is_not_there_is_an_error_before_anything_is_read(name, words, tmp_path, monkeypatch):
    monkeypatch.setattr(epoch_watch.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=words):
        workers.train_ensemble([], tmp_path / "model", get_recipe("butt"), None, tracker=name)
    assert not (tmp_path / "model").exists()


# -- the log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seconds, words", [(4.2, "4 s"), (89, "89 s"), (100, "2 min"), (3600, "60 min"), (12_240, "3.4 h")]
)
def test_durations_are_written_for_people(seconds, words):
    assert in_words(seconds) == words


def test_what_is_left_counts_this_member_and_those_after_it():
    budget = EpochBudget([0, 2, 4], [0, 0, 0], [10, 10, 10], Deadline(), print)
    assert budget.seconds_left(0, 4, 10, 5.0) == 5.0 * (6 + 20)
    assert budget.seconds_left(2, 10, 10, 5.0) == 0
    for seconds in (5.0, 5.0, 5.0, 5.0):
        budget.epochs_allowed(0, 1, seconds)
    assert budget.seconds_left(2, 9, 10, 500.0) == 5.0  # one slow epoch does not change what is typical
    short = EpochBudget([0, 2, 4], [0, 0, 0], [10, 10, 10], Deadline(0.0), print)
    assert short.seconds_left(0, 4, 10, 5.0) == 0  # the deadline is over


@pytest.mark.slow
def test_the_log_says_what_is_read_and_how_long_is_left(hospital, tmp_path, capsys):
    settings = Settings(members=1, epochs=2, width=4, synthetic=20, seed=5, device="cpu", jobs=1, workers=1)
    train(hospital, tmp_path / "model", settings)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"reading 48 recordings and making \d+ synthetic ones", lines[0])
    epochs = [line for line in lines if line.startswith("member 0  epoch")]
    assert len(epochs) == 2 and all(re.search(r"\d s, about \d+ s left$", line) for line in epochs)
    assert epochs[-1].endswith("about 0 s left")
    assert any("progress.png" in line for line in lines)
