"""Model folders compared byte by byte, but for what must differ between equal trainings."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, hidden ones included, without the column "seconds" of history.csv."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "history.csv" in files:
        rows = list(csv.DictReader(files["history.csv"].decode().splitlines()))
        files["history.csv"] = json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
    return files
