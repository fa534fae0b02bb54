"""Files that are there whole or not at all, however often a run is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes by another name, a hidden one with the same extension, and renames: a killed run leaves the old file or the new."""
    partial = path.with_name(f".{path.name}.part{path.suffix}")
    write(partial)
    os.replace(partial, path)


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, whole or not at all."""
    replace_file(path, lambda partial: partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8"))
