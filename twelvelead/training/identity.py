"""The identity of a training run: everything that its model depends on, and that must be the same for it to go on.

    identity = identity_of(headers, root, recipe, classes, seed, patients)
    if manifest.get("key") == identity: ...                        # this model is trained already
    changes(identity_before, identity)                             # ["recipe", "seed"]

All of it is known before any signal is read. The time budget is no part of it, and neither are the paths and dates of
the files: a copy of the data gives the same model.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .. import synthetic
from ..data.classes import Classes
from ..inference.model_files import format_of
from ..recipes import AnyRecipe, to_dict
from .store import VERSION


def identity_of(
    headers: list[Path],
    root: Path | None,
    recipe: AnyRecipe,
    classes: Classes,
    seed: int,
    patients: dict[str, str] | None,
) -> dict[str, str]:
    """A short text for each thing that the trained model depends on.

    Parameters
    ----------
    headers : list of Path
        Header files of the recordings, after a limit has been applied.
    root : Path or None
        Folder that their names are relative to.
    """
    contents, sizes = hashlib.sha256(), hashlib.sha256()
    for header, files in zip(headers, _files_beside(headers)):
        try:
            contents.update(header.read_bytes())
        except OSError as error:
            contents.update(f"cannot be read: {error.errno}".encode())
        sizes.update(f"{files}\n".encode(errors="surrogateescape"))
    return {
        "format of the model": str(format_of(recipe)),
        "preparation of the recordings": str(VERSION),
        "recipe": digest(to_dict(recipe)),
        "synthetic recordings": _version_of_synthetic(recipe),
        "classes": digest(classes.to_dict()),
        "seed": str(seed),
        "list of recordings": digest([str(header.relative_to(root) if root else header) for header in headers]),
        "content of the headers": contents.hexdigest()[:16],
        "size of the signal files": sizes.hexdigest()[:16],
        "list of patients": digest(sorted((patients or {}).items())),
    }


def _version_of_synthetic(recipe: AnyRecipe) -> str:
    used = recipe.voting.convention_recordings or any(part.synthetic.recordings for part in recipe.parts)
    return f"version {synthetic.VERSION}" if used else "none"


def changes(before: Any, now: dict[str, str]) -> list[str]:
    """Names of the parts that differ between two identities. `before` was read from a file and may be anything."""
    if not isinstance(before, dict):
        return ["version of the program"]
    return [part for part in {**now, **before} if before.get(part) != now.get(part)]


def digest(values: Any) -> str:
    """16 hexadecimal digits that change with any change of the values, which must be plain JSON values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _files_beside(headers: list[Path]) -> list[list[tuple[str, int]]]:
    """For each header the names and sizes of the files that have its name and another extension, sorted."""
    beside: dict[Path, dict[str, list[tuple[str, int]]]] = {}
    for folder in {header.parent for header in headers}:
        by_stem = beside[folder] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    stem, extension = os.path.splitext(entry.name)
                    if extension.lower() != ".hea":
                        by_stem.setdefault(stem, []).append((entry.name, entry.stat().st_size))
        except OSError:
            continue  # reading the recordings says what is wrong
    return [sorted(beside[header.parent].get(header.stem, [])) for header in headers]
