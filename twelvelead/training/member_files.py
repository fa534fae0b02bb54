"""The files of a member in MODEL/.work: its checkpoint while it trains; its weights and its result when it is done.

    write_result(run, member, trained)
    trained = read_result(run, member)          # None: not done yet; ResultError: damaged

Each file names the run that it belongs to. So even if other files are damaged, nothing of another run is used, and
nothing of this run is thrown away.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import save

from ..files import replace_file, write_arrays
from .member import TrainedMember
from .publishing import sha256_of

if TYPE_CHECKING:
    from .run import TrainingRun


class ResultError(Exception):
    """The result of a member is damaged, or of another run; the message says which, without the file's name."""


def write_result(run: TrainingRun, member: int, trained: TrainedMember) -> None:
    """Writes the weights and then the result, without which the member is not done; deletes the checkpoint.

    Raises
    ------
    OSError
        If a file cannot be written; the checkpoint is kept then.
    """
    weights, result = run.weights_path(member), run.result_path(member)
    replace_file(weights, lambda partial: partial.write_bytes(save(trained.state)))
    write_arrays(
        result,
        key=run.key,
        weights=sha256_of(weights),
        scores=trained.scores,
        convention_scores=trained.convention_scores,
        history=json.dumps(trained.history),
    )
    run.checkpoint_path(member).unlink(missing_ok=True)


def read_result(run: TrainingRun, member: int) -> TrainedMember | None:
    """The result of a member without its weights; None if it is not done.

    Raises
    ------
    ResultError
    """
    weights, result = run.weights_path(member), run.result_path(member)
    if not (weights.is_file() and result.is_file()):
        return None
    try:
        with np.load(result, allow_pickle=False) as arrays:
            key, hash_of_weights = str(arrays["key"]), str(arrays["weights"])
            scores = arrays["scores"], arrays["convention_scores"]
            trained = TrainedMember({}, *scores, json.loads(str(arrays["history"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ResultError(f"it cannot be read ({str(error) or type(error).__name__})") from None
    if key != run.key:
        raise ResultError("it belongs to another training run")
    if sha256_of(weights) != hash_of_weights:
        raise ResultError(f"{weights.name} is damaged")
    return trained


def delete_result(run: TrainingRun, member: int) -> None:
    """Deletes the result and the weights of a member, in the order in which a kill in between does no harm."""
    run.result_path(member).unlink(missing_ok=True)
    run.weights_path(member).unlink(missing_ok=True)
