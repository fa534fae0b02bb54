"""How a command ends: exit codes, errors of one line, interruptions and closed streams.

    sys.exit(run_command("twelvelead train", work))         # work() returns an exit code or raises

The exit codes are listed in `EXIT_CODES`, which the command line shows at the end of its help.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .errors import UserError
from .terminal import highlighted, open_standard_streams, warn

FAILED, INTERRUPTED, BROKEN_PIPE, TERMINATED = 2, 130, 141, 143
EXIT_CODES = f"""exit codes:
  0    done
  1    classify: more than 5 % of the recordings could not be classified, or an output could not be written;
       predict: some of several recordings could not be read (2 if none could)
  {FAILED}    an error of one line: a wrong option, a file that is missing or broken, findings with --strict
  {INTERRUPTED}  interrupted by Ctrl-C
  {BROKEN_PIPE}  the reader of standard output closed it, as `head` does
  {TERMINATED}  ended by SIGTERM"""


def run_command(name: str, work: Callable[[], int], *, debug: bool = False, prefix: str | None = None) -> int:
    """Runs a command and turns every way in which it can end into an exit code and at most one line.

    Parameters
    ----------
    name : str
        What stands before the line on standard error, such as "twelvelead train".
    work : callable
        Returns the exit code. May raise UserError.
    debug : bool
        Show the traceback of a UserError before its line.
    prefix : str, optional
        What stands before an error instead of `name`.

    Returns
    -------
    int
        The exit code of `work`, or one of `EXIT_CODES`.
    """
    open_standard_streams()
    try:
        with _sigterm_as_exit():
            _check_working_directory()
            code = work()
            sys.stdout.flush()  # here, since Python's own flush at exit could only end in a traceback
            return code
    except UserError as error:
        if debug:
            with suppress(OSError):
                traceback.print_exc()
        return _fail(f"{highlighted(prefix or name, sys.stderr)}: {error}", FAILED)
    except KeyboardInterrupt:
        return _fail(f"{name}: interrupted", INTERRUPTED)
    except _Terminated:
        return _fail(f"{name}: terminated", TERMINATED)
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:  # any other failure that no function turned into a UserError is a fault of ours
            raise
        if error.filename is None:
            _discard_output()
        return _fail(f"{name}: {error.filename or 'output'} cannot be written: no space left on device", FAILED)


def _check_working_directory() -> None:
    """Without a working directory, libraries that torch loads would end the process without a word."""
    try:
        os.getcwd()
    except OSError:
        raise UserError("the working directory was deleted; change to one that exists") from None


def _discard_output() -> None:
    """Sends what is buffered for standard output, and would fail again at exit, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


class _Terminated(BaseException):
    """SIGTERM has arrived. Like KeyboardInterrupt no Exception, so that no handler of ordinary errors swallows it."""


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM raises an exception meanwhile, so that worker processes and partial files are cleaned up."""

    def terminate(signum, frame):
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(line: str, code: int) -> int:
    warn(line)
    return code
