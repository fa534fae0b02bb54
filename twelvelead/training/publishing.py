"""Puts a model into its folder so that there is a whole model in it at every moment, also after a kill.

    publish(snapshot, folder)           # `snapshot` is a folder with all files of the new model
    finish_publishing(folder)           # at every start: does what a killed `publish` left to do

A model is several files, and no system replaces several files at once. So the new model first comes into the model
folder as a folder, `.new`, by one rename. From then on it is the model (inference.ensemble.whole_model reads it there).
Then its files replace those beside it one by one, and another rename takes `.new` away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..inference.model_files import NEW, manifest_of
from .model_card import CARD

MANIFEST, HISTORY = "recipe.json", "history.csv"
NOT_HASHED = (MANIFEST, HISTORY, CARD)


def publish(snapshot: Path, folder: Path) -> None:
    """Makes the model in `snapshot`, a folder on the same disk, the one of `folder`; `snapshot` is gone afterwards."""
    _sync(snapshot)
    os.replace(snapshot, folder / NEW)
    _sync(folder)
    finish_publishing(folder)


def finish_publishing(folder: Path) -> None:
    """Puts the files of `folder`/.new, if there is one, into `folder`, and removes weights that the new model lacks."""
    new = folder / NEW
    if not (new / MANIFEST).is_file():
        shutil.rmtree(new, ignore_errors=True)
        return
    names = {path.name for path in new.iterdir() if not path.name.startswith(".")}
    for name in sorted(names - {MANIFEST}):
        _place(new / name, folder / name)
    _place(new / MANIFEST, folder / MANIFEST)
    for weights in folder.glob("member_*.safetensors"):
        if weights.name not in names:
            weights.unlink(missing_ok=True)
    _sync(folder)
    aside = folder / f"{NEW}-done"  # a model that is being deleted must not be taken for one
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(new, aside)
    shutil.rmtree(aside)


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no hard links. `target` is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256, in hexadecimal digits, of the files of a model folder as they lie on the disk; name → hash.

    Of all but recipe.json, which holds the hashes, history.csv and MODEL_CARD.md. history.csv says how many seconds
    each epoch took, and with its hash two equal trainings would never give equal models; the card is filled in when
    the model is measured. Nothing reads either to classify.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {name: sha256_of(folder / name) for name in names if name not in NOT_HASHED}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def damaged_file(folder: Path, manifest: dict[str, Any]) -> str | None:
    """The first file of a model folder that is absent or not as its recipe.json says; None if all are."""
    for name, expected in manifest.get("files", {}).items():
        try:
            if sha256_of(folder / name) != expected:
                return name
        except OSError:
            return name
    return None


def remove_rest(folder: Path) -> None:
    """Deletes what a killed `finish_publishing` may have left behind."""
    shutil.rmtree(folder / f"{NEW}-done", ignore_errors=True)
    for name in [*manifest_of(folder).get("files", {}), MANIFEST]:
        for partial in folder.glob(f".{name}.*"):
            partial.unlink(missing_ok=True)


def _place(source: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        if os.path.samefile(source, target):  # in place already; a rename of one file onto itself would do nothing
            return
    replace_file(target, lambda partial: link_or_copy(source, partial))


def _sync(folder: Path) -> None:
    """Has the system write the names in a folder to the disk, where it can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
