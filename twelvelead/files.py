"""Files: read at once and within bounds, and written whole or not at all, however often a run is killed.

All texts are UTF-8, whatever the locale says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# O_NONBLOCK: opening a FIFO that nobody writes to returns at once. O_BINARY: Windows would change the ends of lines.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_CHUNK = 2**20
_LONGEST_NAME = 255  # bytes of a file name on the file systems in use


def read_bytes(path: str | Path, most: int) -> bytes:
    """All of a regular file of at most `most` bytes.

    Raises
    ------
    OSError
        As `open`, and if the file is not a regular one (a folder, a FIFO, a device, also through a link), which could
        make the reader wait for ever, or if it is larger than `most` bytes.
    """
    try:
        file = os.open(path, _READ)
    except ValueError as error:  # a null character in the name: no file can be called so
        raise FileNotFoundError(errno.ENOENT, str(error), os.fspath(path)) from None
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"Larger than {_megabytes(most)}", os.fspath(path))
        parts = [os.read(file, status.st_size + 1)]
        total = len(parts[0])
        if total != status.st_size:  # network file systems give parts; files below /proc have no size
            while parts[-1] and total <= most:
                parts.append(os.read(file, _CHUNK))
                total += len(parts[-1])
        if total > most:
            raise OSError(errno.EFBIG, f"Larger than {_megabytes(most)}", os.fspath(path))
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(file)


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.0f} MB" if count >= 2**20 else f"{count} bytes"


def replace_file(path: Path, write: Callable[[Path], Any], flush: bool = True) -> None:
    """Writes a file under another name and renames it, so that a killed run leaves the old file or the new one.

    The other name is hidden, has the same extension and is always the same for one file, so that a run that goes on
    after a kill overwrites what was left. The file is created here and must not exist: a link that somebody planted
    under its name is removed and never followed.

    Parameters
    ----------
    path : Path
        The file to write or to replace.
    write : callable
        Gets the path of the empty file with the other name and writes it.
    flush : bool
        Whether file and folder are flushed to disk, so that a power failure cannot leave an empty file under the
        final name. That takes some milliseconds.

    Raises
    ------
    OSError
        If the file cannot be written. Whatever `write` raises is passed on; then no file is left.
    """
    path = Path(path)
    partial = _partial_path(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)  # left by a killed run, or planted: removed, not followed
    try:
        # Inside the try: a signal that arrives while the file is created must not leave it behind.
        os.close(os.open(partial, _CREATE, 0o666))
        write(partial)
        if flush:
            _flush(partial)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
    if flush:
        with contextlib.suppress(OSError):  # Windows and some network file systems cannot flush a folder
            _flush(path.parent)


def _partial_path(path: Path) -> Path:
    """`.NAME.part.EXTENSION` beside the file; where that is too long for a file system, a digest for the name."""
    name = f".{path.name}.part{path.suffix}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
        name = f".{digest}.part{path.suffix if len(os.fsencode(path.suffix)) < 32 else ''}"
    return path.with_name(name)


def _flush(path: Path) -> None:
    """Waits until a file or a folder is on the disk; some file systems cannot do that and say so at once."""
    file = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


def write_text(path: Path, text: str, flush: bool = True) -> None:
    """Writes a text in UTF-8 with its line feeds as they are, whole or not at all; for `flush` see `replace_file`."""
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8", newline=""), flush)


def write_json(path: Path, values: Any) -> None:
    """Writes values as JSON, whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def write_arrays(path: Path, **arrays: Any) -> None:
    """Writes arrays as an .npz file that numpy.load reads by their names, whole or not at all."""

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)

    replace_file(path, write)


def json_ready(value: Any) -> Any:
    """The same value in JSON's types: arrays become lists, and a number that is not finite becomes None."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [json_ready(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
