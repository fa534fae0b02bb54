"""What changes in a recipe that is trained on labels of the user's own.

recipe = for_own_labels(recipe, own, log)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..data.classes import OWN
from ..data.own_labels import OwnLabels
from ..recipes import AnyRecipe, JoinedRecipe, Recipe, Synthetic
from ..synthetic.diagnoses import CODES
from .losses import categorical_cross_entropy, challenge_loss, joint_loss, weighted_cross_entropy

REPLACED = frozenset(loss.__name__ for loss in (challenge_loss, joint_loss, categorical_cross_entropy))


def for_own_labels(recipe: AnyRecipe, own: OwnLabels, log: Callable[[str], None]) -> AnyRecipe:
    """The recipe, each part of a joined one, without what only the Challenge's classes have.

    - The Challenge metric as a loss and the categorical cross-entropy become the weighted cross-entropy. They punish no
      false positive in a recording that has none of the classes, and only in the Challenge are such recordings rare.
    - Nothing is read into the labels: which sources annotate which classes, whether a rhythm is stated, and what the
      heart rate is called. What is unknown is said by empty cells.
    - A recording may get no label. The recipe's reason to give one to each is that the Challenge metric only gains.
    - Thresholds are those that are best by the metric, the same for every recording. They are moved neither towards a
      common one, which the default recipe does for hospitals with other habits than those that it learns from, nor by
      the expected Challenge metric.
    - Synthetic recordings show the Challenge's diagnoses alone. They are used if every class is one of these, and then
      only to learn from and not to search thresholds on.

    Scores become probabilities if the recipe says so, by a map that is learned from the known labels alone.
    """
    generated = set(CODES.values())
    unknown = [name for name, codes in zip(own.classes.codes, own.codes) if not codes or not codes <= generated]
    if unknown and any(part.synthetic.recordings for part in recipe.parts):
        log(
            "synthetic recordings: not used, since they know the Challenge's diagnoses alone and not "
            + ", ".join(unknown[:5])
            + (", ..." if len(unknown) > 5 else "")
        )
    parts = [_part_for_own_labels(part, uses_synthetic=not unknown) for part in recipe.parts]
    return recipe.with_parts(parts) if isinstance(recipe, JoinedRecipe) else parts[0]


def _part_for_own_labels(recipe: Recipe, *, uses_synthetic: bool) -> Recipe:
    """One recipe as `for_own_labels` says."""
    phases = tuple(
        dataclasses.replace(phase, loss=weighted_cross_entropy.__name__) if phase.loss in REPLACED else phase
        for phase in recipe.training.phases
    )
    return dataclasses.replace(
        recipe,
        label_set=OWN,
        synthetic=recipe.synthetic if uses_synthetic else Synthetic(),
        training=dataclasses.replace(recipe.training, phases=phases, unknown_labels="negative"),
        voting=dataclasses.replace(
            recipe.voting,
            convention_recordings=0,
            other_habits=0.0,
            label_draws=0,
            context_part=0.0,
            shrinkage=0.0,
            rate_labels=False,
            at_least_one=False,
        ),
    )
