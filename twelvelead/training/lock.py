"""One process at a time in a folder, on this machine or on another that shares the disk.

    with locked(folder, "another training"):
        ...                                     # UserError if another process holds the folder

The lock is a file, `.lock`, that names its process. A lock that a dead process left does not count:

- On the same machine the process itself is asked for, by its number and the moment at which it began (numbers are used
  again). This also holds for containers, which are told apart by their process namespaces.
- On another machine nobody can ask. The process that holds a lock touches it every few seconds, and a lock that was not
  touched for half a minute is taken for left behind. All ages are by the clock of the file system, so that machines
  whose clocks differ agree.

A file, not flock alone: network file systems lose the latter or do not have it. flock, where there is one, only keeps
two processes of one machine from taking the same dead lock away at the same moment.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError

NAME = ".lock"
BEAT_S = 5.0  # the lock is touched so often
STALE_S = 30.0  # and taken for left behind after so long without a touch


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as its file names it.

    Attributes
    ----------
    machine : str
        Says which process numbers mean the same: the boot of the system and the process namespace.
    began : str
        When the process began, as the system counts; empty where it does not say.
    since : str
        When it took the lock, local time, for the message.
    token : str
        Random, to tell this lock from any other.
    """

    host: str
    pid: int
    machine: str
    began: str
    since: str
    token: str


class Lock:
    """A lock that this process holds."""

    def __init__(self, path: Path, holder: Holder):
        self.path, self.holder = path, holder
        self.is_lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, name="lock", daemon=True)
        self._thread.start()

    def _keep_fresh(self) -> None:
        while not self._released.wait(BEAT_S):
            with suppress(OSError):  # a network folder may be away for a moment
                if _holder_of(self.path) == self.holder:
                    os.utime(self.path)
                elif not self._released.is_set():
                    self.is_lost = True
                    return

    def check(self) -> None:
        """Raises UserError if this process was taken for dead (it may have been suspended), and lost the lock."""
        if self.is_lost:
            raise UserError(
                f"{self.path.parent}: the lock of this training was taken away, as after a long suspension; "
                "start it again if no other training is running there"
            )

    def release(self) -> None:
        """Gives the folder free."""
        self._released.set()
        self._thread.join()
        with suppress(OSError):
            if _holder_of(self.path) == self.holder:
                self.path.unlink()


@contextmanager
def locked(folder: Path, what: str = "another training") -> Iterator[Lock]:
    """Holds a folder, which is made if absent, for the time of a `with` block.

    Raises
    ------
    UserError
        If another process holds it, or the lock cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(folder, what)
    except OSError as error:
        raise UserError(
            f"{folder}: the folder cannot be written ({error.strerror or error}); choose another folder"
        ) from None
    try:
        yield lock
    finally:
        lock.release()


def _acquire(folder: Path, what: str) -> Lock:
    path = folder / NAME
    me = Holder(
        socket.gethostname(),
        os.getpid(),
        _this_machine(),
        _began(os.getpid()) or "",
        time.strftime("%Y-%m-%d %H:%M:%S"),
        uuid.uuid4().hex,
    )
    with _one_of_this_machine(folder):
        while not _create(path, me):
            holder = _holder_of(path)
            if _is_held(path, holder):
                who = "a process"
                if holder is not None:
                    who = f"process {holder.pid} on {holder.host}, since {holder.since}"
                raise UserError(f"{folder}: {what} is running in this folder ({who}); wait for it or choose another")
            _take_away(path, holder)
        for rest in folder.glob(f"{NAME}.*"):  # of processes that died in the lines above
            rest.unlink(missing_ok=True)
    return Lock(path, me)


def _create(path: Path, holder: Holder) -> bool:
    """Writes the lock file if there is none, and says whether it did."""
    content = json.dumps(asdict(holder)).encode()
    draft = path.with_name(f"{NAME}.{holder.token}")
    try:
        _write_new(draft, content)
        try:
            os.link(draft, path)  # so that nobody ever sees half a lock file
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            _write_new(path, content)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _write_new(path: Path, content: bytes) -> None:
    """Writes a file; FileExistsError if there is one of that name."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def _holder_of(path: Path) -> Holder | None:
    """Whom a lock file names; None if it is absent, or not yet or badly written."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None


def _is_held(path: Path, holder: Holder | None) -> bool:
    """Whether the process that a lock file names is alive."""
    if holder is not None and holder.machine == _this_machine() and holder.began:
        return _began(holder.pid) == holder.began
    return _is_touched(path)


def _is_touched(path: Path) -> bool:
    """Whether a lock is touched within STALE_S; waits for that only as long as it must."""
    probe = path.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        first = os.stat(path).st_mtime_ns
        while True:
            probe.write_bytes(b"")  # its time is what the file system takes for now
            touched = os.stat(path).st_mtime_ns
            if touched != first:
                return True
            if os.stat(probe).st_mtime_ns - touched > STALE_S * 1e9:
                return False
            time.sleep(min(1.0, STALE_S / 10))
    except FileNotFoundError:
        return False  # it was given free
    finally:
        probe.unlink(missing_ok=True)


def _take_away(path: Path, holder: Holder | None) -> None:
    """Removes a lock that was left behind. If it is another one by now, it is put back."""
    aside = path.with_name(f"{NAME}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _holder_of(aside) != holder:
        with suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


@contextmanager
def _one_of_this_machine(folder: Path) -> Iterator[None]:
    """Lets one process of this machine at a time into the block, where the system has flock for folders."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _this_machine() -> str:
    """Two processes with the same answer can ask for each other by number."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _began(pid: int) -> str | None:
    """When a process of this machine began; None if there is none of that number, or it has ended.

    Only Linux says so. Elsewhere the answer is None, and the age of the lock decides.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()  # the name of the program, in parentheses, may hold anything
    return None if fields[0] in "ZX" else fields[19]
