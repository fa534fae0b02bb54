"""The lock of a folder: one process at a time, and none that is dead, here or on another machine."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from twelvelead.commands import train
from twelvelead.errors import UserError
from twelvelead.training import lock as locks
from twelvelead.training.lock import NAME, Holder, locked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fast(monkeypatch):
    """Seconds become hundredths."""
    monkeypatch.setattr(locks, "BEAT_S", 0.05)
    monkeypatch.setattr(locks, "STALE_S", 0.5)


def left_behind(folder: Path, **changes) -> Path:
    """Writes the lock of a process that is not this one."""
    me = Holder("elsewhere", os.getpid(), locks._this_machine(), locks._began(os.getpid()) or "", "yesterday", "token")
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text(json.dumps(asdict(dataclasses.replace(me, **changes))))
    return folder


def test_a_second_training_is_one_line_that_names_the_first_and_leaves_its_files(hospital, tiny_settings, tmp_path):
    folder = tmp_path / "model"
    with locked(folder):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(
            UserError, match=rf"another training is running.*process {os.getpid()} on .*since"
        ) as caught:
            train(hospital, folder, tiny_settings)
        assert "\n" not in str(caught.value) and {path: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.iterdir()) == []


def test_only_one_of_many_gets_the_lock(tmp_path):
    """Also when a dead process's lock is there, which all of them may take away."""
    left_behind(tmp_path, pid=2**22 + 1)
    held, refused, done = [], [], threading.Event()

    def try_it():
        try:
            with locked(tmp_path):
                held.append(1)
                done.wait(10)
        except UserError:
            refused.append(1)

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.time() + 10
    while len(held) + len(refused) < 8 and time.time() < until:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc for processes")
@pytest.mark.parametrize(
    "changes",
    [
        dict(pid=2**22 + 1),  # no such process
        dict(began="1"),  # its number was given to another process since
    ],
)
def test_the_lock_of_a_dead_process_of_this_machine_does_not_matter(tmp_path, changes):
    started = time.time()
    with locked(left_behind(tmp_path, **changes)):
        assert time.time() - started < 2


@pytest.mark.slow
def test_the_lock_of_a_killed_process_does_not_matter(tmp_path):
    """It may still be a zombie, whose parent has not asked for its end."""
    code = (
        "import sys, time; from pathlib import Path; from twelvelead.training.lock import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid}"), locked(tmp_path):
        pass
    process.kill()
    time.sleep(0.5)
    with locked(tmp_path):
        pass
    process.wait()


@pytest.mark.parametrize("content", ["another machine", "", "nonsense"])
def test_an_untouched_lock_of_another_machine_does_not_matter(tmp_path, fast, content):
    left_behind(tmp_path, machine="another")
    if content != "another machine":
        (tmp_path / NAME).write_text(content)
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_a_lock_of_another_machine_that_is_touched_holds(tmp_path, fast):
    left_behind(tmp_path, machine="another")
    stop = threading.Event()

    def touch():
        while not stop.wait(0.05):
            os.utime(tmp_path / NAME)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        with pytest.raises(UserError, match=r"process .* on elsewhere, since yesterday"), locked(tmp_path):
            pass
    finally:
        stop.set()
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_clocks_of_two_machines_need_not_agree(tmp_path, fast, monkeypatch):
    """The age of a lock is by the file system's clock."""
    left_behind(tmp_path, machine="another")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with locked(tmp_path):
        pass


def test_a_held_lock_stays_fresh_and_a_process_that_lost_it_stops(tmp_path, fast):
    with locked(tmp_path) as lock:
        first = os.stat(tmp_path / NAME).st_mtime_ns
        time.sleep(0.3)
        assert os.stat(tmp_path / NAME).st_mtime_ns > first
        lock.check()
        left_behind(tmp_path, token="another's")
        time.sleep(0.3)
        with pytest.raises(UserError, match="taken away"):
            lock.check()
    assert (tmp_path / NAME).exists()  # it is not this process's to remove


def test_a_folder_without_hard_links_can_be_locked(tmp_path, monkeypatch):
    def no_links(*arguments):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    with locked(tmp_path), pytest.raises(UserError), locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
