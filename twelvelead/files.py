"""Files: read at once, and written whole or not at all, however often a run is killed."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows would change the ends of lines


def read_bytes(path: str | Path) -> bytes:
    """All of a file, in two thirds of the time that a file object takes for a small one. Raises OSError as `open`."""
    file = os.open(path, _READ_ONLY)
    try:
        size = os.fstat(file).st_size
        parts = [os.read(file, size + 1)]
        if len(parts[0]) == size:
            return parts[0]
        while parts[-1]:  # it came in pieces, or the size is no size
            parts.append(os.read(file, 2**20))
        return b"".join(parts)
    finally:
        os.close(file)


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file under another name and renames it, so that a killed run leaves the old file or the new one.

    The other name is hidden and has the same extension. What lies there already, such as a link that leads elsewhere, is
    removed first, and nothing is left there if writing fails.
    """
    stem = path.name if len(os.fsencode(path.name)) <= 200 else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    partial = path.with_name(f".{stem}.part{path.suffix}")
    partial.unlink(missing_ok=True)
    try:
        write(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, whole or not at all."""
    replace_file(path, lambda partial: partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8"))


def json_ready(value: Any) -> Any:
    """The same in JSON's types: arrays become lists, and a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [json_ready(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
