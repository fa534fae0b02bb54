"""Errors that a user can act on: one line that names the file, what is wrong and what to do."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The text without characters that could command a terminal or hide text in it.

    Control characters, direction marks, unpaired surrogates (bytes of a file name that are not UTF-8) and other
    characters without a picture become escapes such as ``\\x1b``. All kinds of blanks stay. Applying it twice changes
    nothing more.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else _escaped(letter) for letter in text
    )


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


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
