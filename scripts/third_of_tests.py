"""A pytest plugin for scripts/restricted.sh: keeps a third of the tests, always the same one.

Which third a test belongs to follows from a checksum of its name, so it does not change when other tests come or go.
Of the tests marked `slow` only those that read, classify or train are kept; those marked `long` are left out.
"""

from __future__ import annotations

import os
import zlib

import pytest

SLOW_FOLDERS = (
    "tests/data/",
    "tests/inference/",
    "tests/training/",
    "tests/test_bad_input.py",
    "tests/test_terminal.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if _belongs(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _belongs(item: pytest.Item) -> bool:
    if item.get_closest_marker("long"):
        return False
    if item.get_closest_marker("slow") and not item.nodeid.startswith(SLOW_FOLDERS):
        return False
    return zlib.crc32(item.nodeid.encode()) % 3 == int(os.environ.get("THIRD", "0"))
