"""The recordings of a folder tree.

for path in find_recordings("data"):
    recording = read_recording(path)
for path in orphan_signals("data"): ...             # signal files that no header names
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import RecordingError, UserError, printable
from .header import read_header, split_lines

_FIRST_BYTES = 512  # of a header, enough for the first line


def find_recordings(folder: str | Path) -> list[Path]:
    """Paths of all headers (.hea, .HEA) of recordings in a folder tree, in natural order (g2 before g10).

    Headers of segments and layouts, which a multi-segment record in the same folder names, are no recordings of their
    own. Symbolic links are followed, each folder is visited once, hidden files and folders are left out.

    Raises
    ------
    UserError
        If there is no such folder.
    """
    paths = []
    for directory, files in _walk(folder):
        headers = [file for file in files if file.lower().endswith(".hea")]
        segments = _segment_headers(directory, headers)
        paths += [os.path.join(directory, file) for file in headers if file[:-4] not in segments]
    return [Path(path) for path in sorted(paths, key=_natural)]


def orphan_signals(folder: str | Path) -> list[Path]:
    """Paths of all signal files (.mat, .dat) in a folder tree that no header beside them names, in natural order."""
    orphans: list[str] = []
    for directory, files in _walk(folder):
        headers = [file for file in files if file.lower().endswith(".hea")]
        named = {file[:-4].lower() for file in headers}
        strays = {file for file in files if file.lower().endswith((".mat", ".dat")) and file[:-4].lower() not in named}
        for header in headers if strays else ():  # a record of several files names them inside
            with contextlib.suppress(RecordingError):  # whoever reads this recording is told
                strays -= {signal.file for signal in read_header(os.path.join(directory, header)).signals}
        orphans.extend(os.path.join(directory, file) for file in strays)
    return [Path(path) for path in sorted(orphans, key=_natural)]


def _segment_headers(directory: str, headers: list[str]) -> set[str]:
    """Names (without .hea) of the segments that the multi-segment records among some headers consist of."""
    records, segments = set(), set()
    for file in headers:
        path = os.path.join(directory, file)
        if "/" in _record_name(path):
            records.add(file[:-4])
            with contextlib.suppress(RecordingError):
                segments |= {name for name, _ in read_header(path).segments}
    return segments - records


def _record_name(header_path: str) -> str:
    """The first field of a header's first line, `A0001` or `A0001/3`; empty if it cannot be read."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(header_path, flags)
        try:
            text = os.read(file, _FIRST_BYTES).decode("latin-1")
        finally:
            os.close(file)
    except OSError:  # also a FIFO that nobody writes to
        return ""
    lines, _ = split_lines(text)
    return lines[0].split()[0] if lines else ""


def _walk(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder of a tree with the names of its files."""
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: there is no such folder; give the folder that holds the recordings")
    seen = set()
    for directory, folders, files in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in seen:  # a link to where we have been
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield directory, [name for name in files if not name.startswith(".")]


def _warn_unreadable(error: OSError) -> None:
    name = printable(os.fsdecode(error.filename or "?"))
    logging.getLogger(__name__).warning("%s: the folder cannot be read (%s)", name, error.strerror)


def _natural(path: str) -> tuple[list[int | str], str]:
    parts: list[int | str] = list(re.split(r"([0-9]+)", path))
    parts[1::2] = [int(part[:4000]) for part in map(str, parts[1::2])]
    return parts, path
