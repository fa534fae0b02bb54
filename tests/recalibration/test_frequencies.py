"""Class frequencies without labels: right where the method's assumption holds."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from twelvelead.recalibration.frequencies import adapted, class_frequencies
from twelvelead.recipes import get_recipe

TRAINED = np.array([0.5, 0.2, 0.1])


def evidence(frequencies: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Log-odds, calibrated for the frequencies TRAINED, of recordings in which classes have other frequencies."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, 3)) < frequencies
    x = rng.normal(np.where(truth, 1.5, -1.5), 1.0)
    return 3 * x + logit(TRAINED)  # the log-likelihood ratio of the two normal densities is 3 x


def test_frequencies_are_found_without_a_label():
    for frequencies in (TRAINED, np.array([0.1, 0.6, 0.3]), np.array([0.8, 0.05, 0.5])):
        found = class_frequencies(evidence(frequencies, 5000), TRAINED)
        np.testing.assert_allclose(found, frequencies, atol=0.03)


def test_the_result_is_a_fixed_point_and_never_0_or_1():
    values = evidence(np.array([0.0, 0.3, 1.0]), 400)
    found = class_frequencies(values, TRAINED)
    again = expit(values + logit(found) - logit(TRAINED)).mean(axis=0)
    np.testing.assert_allclose(np.clip(again, 0.5 / 400, 1 - 0.5 / 400), found, atol=1e-4)
    assert ((found > 0) & (found < 1)).all()


def test_a_more_frequent_class_gets_a_lower_threshold_and_unknown_ones_stay():
    training = get_recipe("butt-2020").training  # weights without a limit, which cancel the class's frequency
    frequencies = np.array([0.5, 0.2, 0.0])
    scores = expit(evidence(np.array([0.1, 0.6, 0.3]), 2000) - logit(TRAINED))
    habits = adapted(scores, frequencies, training)
    assert habits.shift[0] > 1 and habits.shift[1] < -1 and habits.shift[2] == 0
    assert not habits.never.any() and not habits.alone
