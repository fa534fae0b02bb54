"""Scores and votes that members give to recordings on which they were not trained ("out of bag").

rows, scores = out_of_bag(parts, validation_rows, member_scores, recordings)
votes = best_votes(objective, members)          # objective of the shares of members that give a class
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..thresholds.decisions import majority_of
from ..thresholds.objectives import Objective


def out_of_bag(
    parts: Sequence[int], rows: Sequence[np.ndarray], values: Sequence[np.ndarray], recordings: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean over members of what they say about recordings that they were not trained on.

    If the members are of several recipes, a recording counts if each recipe has a member that was not trained on it,
    and each recipe has as much weight as it has members, which is its weight when all members classify. If there is no
    such recording, because few members are done, all recordings count that any member was not trained on.

    Parameters
    ----------
    parts : sequence of int
        The recipe of each member, as a number.
    rows : sequence of int arrays
        The recordings that validate each member.
    values : sequence of arrays (rows, classes)
        Scores of these recordings, or labels.
    recordings : int
        The number of all recordings.

    Returns
    -------
    rows : int64 (counted,)
        The recordings that count, ascending.
    mean : float64 (counted, classes)
    """
    recipes = sorted(set(parts))
    classes = values[0].shape[1]
    total, count = np.zeros((len(recipes), recordings, classes)), np.zeros((len(recipes), recordings), dtype=int)
    for part, of_member, value in zip(parts, rows, values):
        place = recipes.index(part)
        total[place, of_member] += value
        count[place, of_member] += 1
    counted = np.flatnonzero(count.all(axis=0) if count.all(axis=0).any() else count.any(axis=0))
    weights = np.array([parts.count(recipe) for recipe in recipes])[:, None] * (count[:, counted] > 0)
    means = total[:, counted] / np.maximum(count[:, counted], 1)[:, :, None]
    return counted, ((weights / weights.sum(axis=0))[:, :, None] * means).sum(axis=0)


def best_votes(objective: Objective, members: int) -> int:
    """The number of members that have to give a class at which the metric is best; of several the one nearest to half.

    Parameters
    ----------
    objective : Objective
        Of the shares of the members, from 0 to 1, that give a recording a class.
    """
    needed = range(1, members + 1)
    classes = len(objective.scores)
    # Out of bag fewer members vote, so that their share counts; a little less, since shares are rounded.
    values = [objective(np.full(classes, votes / members - 1e-9)) for votes in needed]
    return max(needed, key=lambda votes: (values[votes - 1], -abs(votes - majority_of(members))))
