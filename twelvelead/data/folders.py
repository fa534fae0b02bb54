"""The recordings of a folder tree.

for path in find_recordings("data"):
    recording = read_recording(path)
for path in orphan_signals("data"): ...             # signal files that no header names
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import RecordingError, UserError
from .header import read_header


def find_recordings(folder: str | Path) -> list[Path]:
    """Paths of all headers (.hea) in a folder tree, in natural order (g2 before g10).

    Symbolic links are followed, each folder is visited once, hidden files and folders are left out.
    Raises UserError if there is no such folder.
    """
    paths = [
        os.path.join(directory, file) for directory, files in _walk(folder) for file in files if file.endswith(".hea")
    ]
    return [Path(path) for path in sorted(paths, key=_natural)]


def orphan_signals(folder: str | Path) -> list[Path]:
    """Paths of all signal files (.mat, .dat) in a folder tree that no header beside them names, in natural order."""
    orphans = []
    for directory, files in _walk(folder):
        headers = [file for file in files if file.endswith(".hea")]
        named = {file[:-4] for file in headers}
        strays = {file for file in files if file.endswith((".mat", ".dat")) and file[:-4] not in named}
        for header in headers if strays else ():  # a record of several files names them inside
            try:
                strays -= {signal.file for signal in read_header(os.path.join(directory, header)).signals}
            except RecordingError:
                pass  # whoever reads this recording is told
        orphans.extend(os.path.join(directory, file) for file in strays)
    return [Path(path) for path in sorted(orphans, key=_natural)]


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
    logging.getLogger(__name__).warning("%s: the folder cannot be read (%s)", error.filename, error.strerror)


def _natural(path: str) -> tuple[list[int | str], str]:
    parts = re.split(r"([0-9]+)", path)
    parts[1::2] = map(int, parts[1::2])
    return parts, path
