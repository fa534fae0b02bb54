"""What reaches the terminal: lines that cannot fail and in which no control character is hidden.

open_standard_streams()                 # first of all, in a script
warn(f"{printable(path)}: …")           # a line on standard error, whatever has become of standard error
"""

from __future__ import annotations

import os
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO


def printable(text: object) -> str:
    r"""The text with everything that is no visible character written as an escape, such as ``\x1b`` or ``\n``.

    File names and the content of files may hold control characters, which a terminal would obey, and bytes that are
    not UTF-8, which Python holds as lone surrogates and which cannot be printed. Printable text comes back unchanged.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or unicodedata.category(character) == "Zs" else _escaped(character)
        for character in as_utf8(text)
    )


def as_utf8(path: str) -> str:
    """A path as UTF-8 reads it: in some C locales Python decodes paths as ASCII, and all else comes as surrogates."""
    with suppress(UnicodeEncodeError):  # a text that is no path stays as it is
        return os.fsencode(path).decode("utf-8", "surrogateescape")
    return path


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # one byte of a file name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def say(line: str) -> None:
    """Prints a line on standard output; see `_print`."""
    _print(line, sys.stdout)


def warn(line: str) -> None:
    """Prints a line on standard error; see `_print`."""
    _print(line, sys.stderr)


def highlighted(text: str, stream: TextIO | None) -> str:
    """The text in bold red where the stream is a terminal that shows colours, elsewhere as it is.

    The variable NO_COLOR, with any value but an empty one, turns colours off (https://no-color.org), and so does a
    terminal that says of itself that it is dumb.
    """
    try:
        is_terminal = stream is not None and stream.isatty()
    except ValueError:  # the stream is closed
        is_terminal = False
    if not is_terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[1;31m{text}\x1b[0m"


def _print(line: str, stream: TextIO | None) -> None:
    """Prints a line, or drops it where nobody can read it any more (a closed stream, a pipe without a reader).

    A run must not lose recordings because its output was piped into `head`. The stream then leads to nowhere, so that
    neither later lines nor Python's own flush at the end fail.
    """
    if stream is None:
        return
    try:
        print(line, file=stream, flush=True)
    except UnicodeEncodeError:  # the stream's encoding lacks a character
        print(line.encode("ascii", "backslashreplace").decode(), file=stream, flush=True)
    except (OSError, ValueError):
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass  # the stream has no descriptor, or there are none left: nothing can be printed, and nothing need be


def open_standard_streams() -> None:
    """Makes standard input, output and error usable, whatever the caller has closed.

    A program whose standard error is closed gets its descriptor for the next file that it opens, and a line that a
    library prints would land in that file. Characters that a stream's encoding lacks are printed as escapes.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
