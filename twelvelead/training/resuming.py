"""Whether a training run has a model already, goes on where it was interrupted, or starts anew; and why.

if is_finished(folder, identity, log): ...          # the folder holds the whole model of this very run
seconds = resume(run, log)                          # what it says to the user about what lies in the folder
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inference.model_files import manifest_of
from .identity import changes
from .publishing import damaged_file

if TYPE_CHECKING:
    from .run import AnyRun

Log = Callable[[str], None]


def is_finished(folder: Path, identity: dict[str, str], log: Log) -> bool:
    """Whether the folder holds the whole model of a run with that identity."""
    manifest = manifest_of(folder)
    if not (manifest.get("complete") and manifest.get("key") == identity):
        return False
    damaged = damaged_file(folder, manifest)
    if damaged is not None:
        log(f"{folder / damaged}: the file is damaged or gone; the model is trained again")
        return False
    log(f"{folder}: this model is already trained; delete the folder to train it again")
    return True


def resume(run: AnyRun, log: Log) -> float:
    """Says whether an interrupted run goes on or a new one starts, and why; returns the seconds used so far.

    Files of members of another run are left to whoever meets them: each names its run and is not used by another.
    """
    described = _read_json(run.work / "training_run.json")
    progress = _read_json(run.work / "run.json")
    if run.key in (described.get("key"), progress.get("key")):
        seconds = progress.get("seconds") if progress.get("key") == run.key else None
        if isinstance(seconds, (int, float)):
            log(f"{run.folder}: going on with a run that was interrupted after {seconds:.0f} s")
            return float(seconds)
        log(f"{run.work / 'run.json'}: damaged or gone; going on, but the time used so far is not known")
        return 0.0
    if described:
        changed = changes(described.get("identity"), run.identity)
        log(
            f"{run.folder}: an interrupted run is here, but since then there was a change of {', '.join(changed)}; "
            "training starts anew"
        )
    elif (run.work / "training_run.json").exists():
        log(f"{run.work / 'training_run.json'}: damaged; members that were trained by this very run are kept")
    manifest = manifest_of(run.folder)
    changed = changes(manifest.get("key"), run.model_key) if manifest else []
    if changed:
        when = "once the new one is complete" if manifest.get("complete") else "with the first new member"
        log(f"{run.folder}: another model is here (other {', '.join(changed)}); it is replaced {when}")
    return 0.0


def _read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is absent or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
