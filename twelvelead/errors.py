"""Errors that a user can act on: one line that names the file, what is wrong and what to do."""

from __future__ import annotations

from .terminal import printable


class UserError(Exception):
    """Something outside the program is wrong; the command line prints the message and no traceback.

    The message may quote file names and contents of files: it is made `printable` here, so that no caller can forget
    to. Line feeds stay, because some messages have several lines.
    """

    def __init__(self, message: object = ""):
        super().__init__("\n".join(map(printable, str(message).split("\n"))))


class RecordingError(UserError):
    """A recording that cannot be read or prepared. The message is one line that names the file and the fault."""

    def __init__(self, message: object = ""):
        super().__init__(printable(str(message)))
