"""Distillation: the scores of a trained model, the teacher, from which one network, the student, learns.

    recipe = student_recipe(teacher.recipe)                     # the same network, once
    score_recordings(run, teacher, log)                         # before the member trains; goes on after a kill
    targets = joined_targets(run, labels, known)                # what it learns

The student learns the mean score of all members of the teacher, also for recordings on which some of them have trained
(Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, for sigmoids). Where a label is known too,
the target is a mixture of both, with `LABEL_PART` of the label: the score says more, namely how likely the diagnosis is
and what resembles it, and the label corrects the teacher where it is wrong. Where no label is known, for example
because the source never writes that diagnosis, the target is the teacher's score.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from ..files import replace_file
from ..inference.ensemble import Ensemble, member_scores
from ..inference.model_files import Description
from ..recipes import Recipe
from .batches import on_device
from .identity import digest
from .run import TrainingRun

LABEL_PART = 0.2  # of a target where the label is known; chosen without a search
CHUNK = 512  # recordings that the teacher scores before they are on the disk


def student_recipe(recipe: Recipe) -> Recipe:
    """The recipe of one network that learns from a model of this recipe: the same, with one member.

    Its loss is the cross-entropy, which is smallest where the scores are the targets. Class weights, or the Challenge
    metric as a loss, would draw them away from what the teacher says, which has learned with these.
    """
    phases = tuple(dataclasses.replace(phase, loss="cross_entropy") for phase in recipe.training.phases)
    return dataclasses.replace(
        recipe,
        summary=f"one network that learned from the scores of a model of: {recipe.summary}",
        training=dataclasses.replace(recipe.training, phases=phases),
        voting=dataclasses.replace(recipe.voting, members=1),
    )


def teacher_key(description: Description) -> str:
    """A text that changes with the teacher's weights and recipe."""
    return digest([dict(description.digests), dataclasses.asdict(description.recipe), list(description.members)])


def score_recordings(run: TrainingRun, teacher: Ensemble, log: Callable[[str], None]) -> None:
    """Writes the teacher's scores of all recordings that the student trains on or is validated with.

    The file holds NaN where a recording has not been scored yet, so a run that was killed goes on with the next chunk.
    """
    path = run.teacher_scores_path
    shape = (len(run.store), len(run.classes.codes))
    if scores_of_teacher(run) is None:
        replace_file(path, lambda partial: np.save(partial, np.full(shape, np.nan, dtype=np.float32)))
    scores = np.lib.format.open_memmap(path, mode="r+")
    rows = np.sort(np.concatenate([run.rows, run.synthetic_rows]))
    chunks = [rows[k : k + CHUNK] for k in range(0, len(rows), CHUNK)]
    missing = [chunk for chunk in chunks if np.isnan(scores[chunk]).any()]
    if not missing:
        return
    log(
        f"the teacher's {len(teacher.models)} members score {sum(map(len, missing))} recordings"
        f"{'' if len(missing) == len(chunks) else '; the others were scored before'}"
    )
    data = on_device(run.store, teacher.device)
    for chunk in tqdm(missing, desc="teacher", unit="chunk", leave=False, file=sys.stderr, disable=None):
        part = dataclasses.replace(
            data, metadata=data.metadata[chunk], offsets=data.offsets[chunk], lengths=data.lengths[chunk]
        )
        scores[chunk] = member_scores(teacher, part).mean(axis=0)
        scores.flush()


def scores_of_teacher(run: TrainingRun) -> np.ndarray | None:
    """The teacher's scores, float32 (recordings, classes), NaN where it gave none; None if there is no whole file."""
    try:
        scores = np.load(run.teacher_scores_path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = scores.shape == (len(run.store), len(run.classes.codes)) and scores.dtype == np.float32
    return scores if fits else None


def joined_targets(run: TrainingRun, labels: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """What the student learns, float32 (recordings, classes): the teacher's scores, and labels where they are known.

    Parameters
    ----------
    labels : bool (recordings, classes)
    known : bool (recordings, classes) or None
        Which labels are known; None means all of them.

    Raises
    ------
    UserError
        If the file of the teacher's scores is gone or damaged.
    """
    scores = scores_of_teacher(run)
    if scores is None:
        raise UserError(f"{run.teacher_scores_path}: the teacher's scores are gone; start training again")
    part = np.float32(LABEL_PART) * (1 if known is None else known)
    return (scores + part * (labels - scores)).astype(np.float32)
