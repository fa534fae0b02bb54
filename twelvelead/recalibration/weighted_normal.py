"""The normal density weighted differently in each interval between two scores, as a posterior of a threshold is.

A reward does not change while a threshold moves between two neighbouring scores. So with a normal prior the posterior
is a normal density that is multiplied by another factor in each of these intervals.

    order, low, high = intervals(margins)
    weight = np.exp(rewards) * normal_mass(low, high)
    median = quantile(weight / weight.sum(axis=0), low, high, np.full(classes, 0.5))
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri


def intervals(margins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The intervals between neighbouring margins of each class, from the highest to the lowest.

    Parameters
    ----------
    margins : float64 (recordings, classes)

    Returns
    -------
    order : int (recordings, classes)
        The recordings of each class by falling margin. With a shift in interval k, the first k of them get the class.
    low, high : float64 (recordings + 1, classes)
        Bounds of the intervals; a shift in one is above `low` and at most `high`.
    """
    order = np.argsort(-margins, axis=0, kind="stable")
    falling = np.take_along_axis(margins, order, axis=0)
    ends = np.full((1, margins.shape[1]), np.inf)
    return order, np.vstack([falling, -ends]), np.vstack([ends, falling])


def normal_mass(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Probability that a standard normal number is between two bounds, at least 1e-300; accurate in both tails."""
    flip = low > 0
    return np.maximum(ndtr(np.where(flip, -low, high)) - ndtr(np.where(flip, -high, low)), 1e-300)


def quantile(weight: np.ndarray, low: np.ndarray, high: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The quantile of each column of a normal density that is weighted differently in each interval.

    Parameters
    ----------
    weight : float64 (intervals, classes)
        Probability of each interval. Intervals come from the highest to the lowest.
    low, high : float64 (intervals, classes)
        Their bounds.
    target : float64 (classes,)
        Probability below the quantile.
    """
    below = np.cumsum(weight[::-1], axis=0)[::-1]  # of each interval and all lower ones
    columns = np.arange(weight.shape[1])
    interval = len(weight) - 1 - (below[::-1] >= np.minimum(target, below[0])).argmax(axis=0)
    chosen, a, b = weight[interval, columns], low[interval, columns], high[interval, columns]
    part = np.clip((target - (below[interval, columns] - chosen)) / np.maximum(chosen, 1e-300), 0, 1)
    flip = a > 0
    first, last = ndtr(np.where(flip, -b, a)), ndtr(np.where(flip, -a, b))
    z = ndtri(np.clip(first + np.where(flip, 1 - part, part) * (last - first), 1e-12, 1 - 1e-12))
    return np.clip(np.where(flip, -z, z), a, b)
