"""The training run of a joined recipe: one run for each of its recipes, side by side in one model folder.

    run = JoinedRun(recipe, parts)
    run.part_of(member).member_rows(labels, member)     # what its recipe's run says
    run.in_first(part, rows)                            # the same recordings as rows of the first recipe's store

The recipes take different inputs, so each distinct input has a store of its own. Its rows of real recordings are those
of every other store, in the same order; only synthetic recordings to learn from may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.classes import Classes
from ..recipes import JoinedRecipe

if TYPE_CHECKING:
    from .run import TrainingRun


@dataclass(frozen=True)
class JoinedRun:
    """What every process that trains members of a joined recipe has to know.

    Attributes
    ----------
    recipe : JoinedRecipe
    parts : tuple of TrainingRun
        The run of each recipe, in the order of `recipe.parts`. They have folder, key, classes, seed and identity in
        common, which are those of this run, too.
    """

    recipe: JoinedRecipe
    parts: tuple[TrainingRun, ...]

    @property
    def work(self) -> Path:
        """MODEL/.work."""
        return self.parts[0].work

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.parts[0].folder

    @property
    def key(self) -> str:
        """See `TrainingRun`."""
        return self.parts[0].key

    @property
    def identity(self) -> dict[str, str]:
        """See identity.identity_of."""
        return self.parts[0].identity

    @property
    def model_key(self) -> dict[str, str]:
        """See `TrainingRun.model_key`."""
        return self.parts[0].model_key

    @property
    def classes(self) -> Classes:
        """The classes of all recipes."""
        return self.parts[0].classes

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.parts[0].seed

    def part_of(self, member: int) -> TrainingRun:
        """The run of the recipe that a member belongs to."""
        return self.parts[self.recipe.part_of_member[member]]

    def in_first(self, part: TrainingRun, rows: np.ndarray) -> np.ndarray:
        """The rows of the first recipe's store that hold the same recordings as some of `part.rows`, int64."""
        return self.parts[0].rows[np.searchsorted(part.rows, rows)]
