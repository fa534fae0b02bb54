"""Model folders compared byte by byte, but for what must differ between equal trainings.

On some machines sums are rounded by the number of threads, so that equal trainings have equally many.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def contents(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, hidden ones included, without the column "seconds" of history.csv."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "history.csv" in files:
        rows = list(csv.DictReader(files["history.csv"].decode().splitlines()))
        files["history.csv"] = json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()
    return files


@contextmanager
def threads_of_each(processes: int) -> Iterator[None]:
    """Inside, this process has as many threads as each of so many training processes would get."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // processes))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
