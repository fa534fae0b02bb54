"""What members say about recordings that they were not trained on, joined over recipes."""

from __future__ import annotations

import numpy as np
import pytest

from twelvelead.thresholds.decisions import vote
from twelvelead.thresholds.objectives import challenge_objective
from twelvelead.training.out_of_bag import best_votes, out_of_bag


def test_of_one_recipe_it_is_the_mean_over_members_that_have_not_seen_a_recording():
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.choice(30, 8, replace=False)) for _ in range(4)]
    scores = [rng.random((8, 3)).astype(np.float32) for _ in rows]
    counted, mean = out_of_bag([0] * 4, rows, scores, 30)
    assert counted.tolist() == sorted(set(np.concatenate(rows).tolist()))
    for row, values in zip(counted, mean):
        of_row = [part[list(of_member).index(row)] for part, of_member in zip(scores, rows) if row in of_member]
        assert np.array_equal(values, np.sum(of_row, axis=0, dtype=np.float64) / len(of_row))  # to the last bit


def test_each_recipe_has_the_weight_of_all_its_members():
    """Recipe 0 has three members and recipe 1 has one; of recipe 0 only one member did not train on row 4."""
    ones = np.ones((2, 1))
    counted, mean = out_of_bag([0, 0, 0, 1], [[4, 5], [5, 6], [5, 6], [4, 5]], [0.2 * ones] * 3 + [ones], 9)
    assert counted.tolist() == [4, 5]  # recipe 1 was trained on row 6
    np.testing.assert_allclose(mean[:, 0], (3 * 0.2 + 1) / 4)


def test_where_all_recordings_are_seen_by_some_recipe_any_unseen_one_counts():
    counted, mean = out_of_bag([0, 1], [np.array([0, 1]), np.array([2])], [np.full((2, 1), 0.3), np.ones((1, 1))], 4)
    assert counted.tolist() == [0, 1, 2]
    np.testing.assert_allclose(mean[:, 0], [0.3, 0.3, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_the_votes_chosen_are_the_best_of_all_numbers_of_votes(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 4)) < 0.3
    labels = rng.random((7, 60, 4)) < np.where(truth, rng.uniform(0.2, 0.9), 0.1)  # seven members, more or less timid
    weights = np.eye(4) * 0.5 + 0.5
    objective = challenge_objective(truth, labels.mean(axis=0), weights, 0)

    def metric(votes: int) -> float:
        outputs = vote(labels, votes)
        return challenge_objective(truth, outputs.astype(float), weights, 0)(np.full(4, 0.5))

    chosen = best_votes(objective, 7)
    assert metric(chosen) == max(map(metric, range(1, 8)))


def test_of_equally_good_numbers_of_votes_the_one_nearest_to_half_is_chosen():
    truth = np.arange(12)[:, None] % 3 == np.arange(3)
    objective = challenge_objective(truth, truth.astype(float), np.eye(3), 0)  # all members agree, and are right
    assert best_votes(objective, 5) == 3 and best_votes(objective, 4) == 3 and best_votes(objective, 1) == 1
