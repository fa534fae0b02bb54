"""How a command of this package ends: with one line and an exit code, whatever stopped it.

sys.exit(run_command("twelvelead train", lambda: train(…)))
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .errors import UserError

INTERRUPTED, CLOSED_PIPE, TERMINATED = 130, 141, 143  # as shells count: 128 and the number of the signal


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. It is a KeyboardInterrupt, since whatever cleans up after one must clean up after the other."""


def run_command(name: str, action: Callable[[], int | None], *, debug: bool = False, user_error: int = 2) -> int:
    """Runs a command and returns its exit code; what stops it is one line on standard error.

    Parameters
    ----------
    name : str
        Begins that line.
    action : callable
        Returns the exit code, or None for 0.
    debug : bool
        Exceptions pass through, so that Python shows their traceback.
    user_error : int
        The exit code for a UserError.

    Returns
    -------
    int
        130 after Ctrl-C, 143 after SIGTERM, 141 if nobody reads standard output any more.
    """
    _open_standard_streams()
    try:
        os.getcwd()  # libraries that torch loads end the process without one
    except OSError:
        _print_line(f"{name}: the working directory was deleted; change to one that exists")
        return user_error
    with _sigterm_raises():
        try:
            return action() or 0
        except UserError as error:
            if debug:
                raise
            _print_line(f"{name}: {error}")
            return user_error
        except KeyboardInterrupt as interruption:
            if debug:
                raise
            by = "SIGTERM" if isinstance(interruption, Terminated) else "Ctrl-C"
            _print_line(f"{name}: stopped by {by}")
            return TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED
        except BrokenPipeError:
            if debug:
                raise
            with suppress(OSError, ValueError, AttributeError):  # or Python would complain once more at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _print_line(f"{name}: stopped, as standard output was closed")
            return CLOSED_PIPE


def _print_line(line: str) -> None:
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def _open_standard_streams() -> None:
    """Opens the null device in place of standard streams that were closed, as by `2>&-`.

    Otherwise the next file that is opened gets the number of the closed one, and is written to by whatever means the
    standard stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated`, unless somebody else has decided what it does."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_terminated(number: int, frame: object) -> None:
    raise Terminated
