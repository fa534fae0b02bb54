"""From scores to thresholds: one for each class, found by optimising a metric.

    found = optimise(objective, "bayesian", seed=1)
    found.values                                    # (classes,) float64 in [0, 1]
    found.stages                                    # (("start", 0.41), ("common", 0.49), ..., ("coordinate", 0.53))

What every method promises: thresholds within [0, 1]; the same result for the same seed, whatever the order of the
recordings; no stage worse than the one before it; with nothing to learn from (no recordings, a metric that cannot
change) the start, 0.5. A class without positives in the data has no say: its threshold may rise above the best
common one where that pays, and never falls below it for the sake of partial credits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize
from scipy.spatial.distance import cdist
from scipy.special import expit, logit, ndtr

from ..errors import UserError
from .objectives import Objective

START = 0.5
FREQUENCY_PART = 0.5  # see `shrink`
SURE = 0.03  # a threshold below gives the class to nearly all recordings; how far below, says nothing


@dataclass(frozen=True)
class Thresholds:
    """What a method found: a threshold for each class, and the metric after each stage on the way there."""

    values: np.ndarray
    stages: tuple[tuple[str, float], ...]


def bayesian(objective: Objective, seed: int = 0, random_points: int = 250, guided_points: int = 50) -> Thresholds:
    """Best common threshold, then a Gaussian process, then coordinate refinement; our default.

    BUTT (Vicar et al. 2020) drew 250 points at random in the unit cube and 50 guided by a Gaussian process. With 24
    classes that does not reach even the best common threshold, so here half of the points are drawn near the best one
    so far, which at first is the best common threshold, and an exact search along each class finishes the work.
    """
    best, floor, stages = _best_common(objective, np.linspace(0, 1, 101))
    rng = np.random.default_rng(seed)
    points = np.vstack([best, _draw(rng, random_points, best, floor)])
    values = np.array([objective(point) for point in points])
    for _ in range(guided_points):
        candidates = _draw(rng, 500, points[np.argmax(values)], floor)
        point = candidates[np.argmax(_expected_improvement(points, values, candidates))]
        points, values = np.vstack([points, point]), np.append(values, objective(point))
    best = points[np.argmax(values)]
    stages.append(("bayesian", objective(best)))
    best = _refine(objective, best, floor)
    stages.append(("coordinate", objective(best)))
    return Thresholds(best, tuple(stages))


def constrained_grid(
    objective: Objective, seed: int = 0, common_step: float = 0.1, class_step: float = 0.01
) -> Thresholds:
    """Zhao et al. 2020: one common value on a 0.1 grid, then each class on a 0.01 grid with the others fixed, once."""
    best, floor, stages = _best_common(objective, _grid(common_step))
    grid = _grid(class_step)
    for k in range(len(best)):
        above = np.searchsorted(-objective.scores[k, objective.order[k]], -grid, side="right")  # how many score >= grid
        allowed = grid >= floor[k]
        values = objective.cuts(k, best)[above]
        best = _with_class(objective, best, k, _nearest_of_best(grid[allowed], values[allowed], best[k])[0])
    stages.append(("each class", objective(best)))
    return Thresholds(best, tuple(stages))


def common(objective: Objective, seed: int = 0) -> Thresholds:
    """One threshold for all classes, the best on a 0.01 grid."""
    best, _, stages = _best_common(objective, np.linspace(0, 1, 101))
    return Thresholds(best, tuple(stages))


def simplex(objective: Objective, seed: int = 0, common_step: float = 0.05, evaluations: int = 4800) -> Thresholds:
    """Singstad and Tronstad 2020: Nelder–Mead from the best common threshold on a 0.05 grid.

    The first simplex is one grid step wide along each class: with scipy's own, 5 % of the start, the gain was half or
    less.
    """
    best, floor, stages = _best_common(objective, _grid(common_step))
    corners = np.vstack([best, best + common_step * np.eye(len(best))])
    found = optimize.minimize(
        lambda point: -objective(np.clip(point, floor, 1)),
        best,
        method="Nelder-Mead",
        options={"initial_simplex": corners, "maxfev": evaluations, "xatol": 1e-4, "fatol": 1e-6},
    )
    best = _better(objective, best, np.clip(found.x, floor, 1))
    stages.append(("simplex", objective(best)))
    return Thresholds(best, tuple(stages))


def differential_evolution(
    objective: Objective, seed: int = 0, generations: int = 100, population: int = 5
) -> Thresholds:
    """Differential evolution (Storn and Price 1997) with the best common threshold in its first population.

    `population` is the number of points for each class. Nejedly et al. 2020 tried it and kept a common threshold.
    """
    best, floor, stages = _best_common(objective, np.linspace(0, 1, 101))
    found = optimize.differential_evolution(
        lambda point: -objective(np.clip(point, floor, 1)),
        [(0.0, 1.0)] * len(best),
        x0=best,
        maxiter=generations,
        popsize=population,
        polish=False,
        tol=0,
        rng=np.random.default_rng(seed),
    )
    best = _better(objective, best, np.clip(found.x, floor, 1))
    stages.append(("differential evolution", objective(best)))
    return Thresholds(best, tuple(stages))


METHODS: dict[str, Callable[..., Thresholds]] = {
    "bayesian": bayesian,
    "constrained_grid": constrained_grid,
    "common": common,
    "simplex": simplex,
    "differential_evolution": differential_evolution,
}


def optimise(objective: Objective, method: str = "bayesian", seed: int = 0, **counts) -> Thresholds:
    """Runs a method.

    Parameters
    ----------
    objective : Objective
        As `challenge_objective` or `unofficial_objective` builds it from the labels and scores to learn from.
    method : str
        A name in `METHODS`.
    seed : int
    **counts
        Parameters of that method alone, such as `random_points`.

    Raises
    ------
    UserError
        If there is no such method.
    """
    if method not in METHODS:
        raise UserError(f"there is no threshold method {method!r}; there are: {', '.join(METHODS)}")
    return METHODS[method](objective, seed, **counts)


def shrink(objective: Objective, found: Thresholds, part: float, log_odds: np.ndarray | float = 0.0) -> Thresholds:
    """Thresholds moved by `part` of the way to a common one, in log-odds: what fits few recordings less holds for more.

    The common one is the best for scores from whose log-odds half of `log_odds` is taken away: what a class's frequency
    in training adds to them (losses.frequency_log_odds). Elsewhere other classes are frequent. The stage that this adds is as
    a rule not better than the one before, on the recordings that were learned from.

    Parameters
    ----------
    part : float
        In [0, 1].
    log_odds : ndarray (classes,), or 0
    """
    if part == 0:
        return found
    offsets = np.broadcast_to(FREQUENCY_PART * np.asarray(log_odds), found.values.shape)
    grid = logit(np.linspace(0.01, 0.99, 99))
    cut, _ = _nearest_of_best(grid, np.array([objective(expit(point + offsets)) for point in grid]), 0.0)
    own = logit(np.clip(found.values, SURE, 1 - SURE))
    values = expit(own + part * (cut + offsets - own))
    values = np.where(objective.positives > 0, values, np.maximum(values, found.values))
    return Thresholds(values, (*found.stages, ("shrunk", objective(values))))


def best_cut(objective: Objective, k: int, thresholds: np.ndarray, floor: float = 0.0) -> tuple[float, float]:
    """The best threshold of class k, the others fixed, and the metric there: exact, in O(recordings · classes).

    A threshold lies in the middle between two neighbouring scores, so that a score computed elsewhere with another
    rounding falls on the same side; with all recordings below it, between the largest score and 1. Of several as good
    it is the one nearest to `thresholds[k]`. A score of exactly 1 always gets its label, since thresholds end at 1.
    """
    falling = objective.scores[k, objective.order[k]]
    upper, lower = np.append(1.0, falling), np.append(falling, 0.0)  # cut m: lower[m] < threshold <= upper[m]
    middle = lower + (upper - lower) / 2
    middle = np.maximum(np.where(middle > lower, middle, upper), floor)  # neighbours in float64 have no middle
    possible = (upper > lower) & (middle <= upper)
    possible[-1] = middle[-1] <= upper[-1]  # nothing has to lie below the last cut, so it may be 0
    return _nearest_of_best(middle[possible], objective.cuts(k, thresholds)[possible], thresholds[k])


def _grid(step):
    return np.linspace(0, 1, round(1 / step) + 1)


def _best_common(objective, grid):
    """The best common threshold of the start and a grid, the lowest that each class may have, the first stages."""
    count = len(objective.scores)
    grid = np.append(grid, START)
    best, value = _nearest_of_best(grid, np.array([objective(np.full(count, point)) for point in grid]), START)
    stages = [("start", objective(np.full(count, START))), ("common", value)]
    return np.full(count, best), np.where(objective.positives > 0, 0.0, best), stages


def _nearest_of_best(thresholds, values, current):
    """The threshold with the largest value, and that value; of several the nearest to the current one."""
    best = np.flatnonzero(values == values.max())
    chosen = best[np.argmin(np.abs(thresholds[best] - current))]
    return float(thresholds[chosen]), float(values[chosen])


def _better(objective, current, candidate):
    return candidate if objective(candidate) > objective(current) else current


def _refine(objective, best, floor):
    """Exact search along each class in turn, round and round until no class gains; every step is better, so it ends."""
    before = None
    while before is None or objective(best) > objective(before):
        before = best
        for k in range(len(best)):
            best = _with_class(objective, best, k, best_cut(objective, k, best, floor[k])[0])
    return best


def _with_class(objective, current, k, threshold):
    """The current thresholds with another one for class k, if that is better."""
    candidate = current.copy()
    candidate[k] = threshold
    return _better(objective, current, candidate)


def _draw(rng, count, near, floor):
    """Half of the points uniform in the unit cube, half near a point: some of its classes moved, little or far."""
    shape = (count - count // 2, len(near))
    uniform = rng.random((count // 2, len(near)))
    step = rng.normal(size=shape) * np.exp(rng.uniform(np.log(0.01), np.log(0.3), size=(shape[0], 1)))
    moved = near + step * (rng.random(shape) < rng.uniform(0, 1, size=(shape[0], 1)))
    return np.clip(np.vstack([uniform, moved]), floor, 1)


def _expected_improvement(points, values, candidates):
    """Expected improvement over the best value under a Gaussian process with a Matérn 5/2 kernel.

    The length scale is the one of five with the largest likelihood, the variance its closed form at that length
    (Rasmussen and Williams 2006, sections 2.3 and 5.4.1).
    """

    def kernel(a, b, length):
        distance = np.sqrt(5) * cdist(a, b) / length
        return (1 + distance + distance**2 / 3) * np.exp(-distance)

    count = len(values)
    target = (values - values.mean()) / (values.std() or 1.0)
    fits = []
    for length in np.sqrt(points.shape[1]) * np.array([0.05, 0.1, 0.2, 0.4, 0.8]):
        factor = linalg.cholesky(kernel(points, points, length) + 1e-4 * np.eye(count), lower=True)
        weights = linalg.cho_solve((factor, True), target)
        variance = max(target @ weights / count, 1e-12)
        fits.append((-count / 2 * np.log(variance) - np.log(np.diag(factor)).sum(), length, factor, weights, variance))
    _, length, factor, weights, variance = max(fits, key=lambda fit: fit[0])
    cross = kernel(points, candidates, length)
    spread = 1 - (linalg.solve_triangular(factor, cross, lower=True) ** 2).sum(axis=0)
    deviation = np.sqrt(variance * np.maximum(spread, 1e-12))
    z = (cross.T @ weights - target.max()) / deviation
    return deviation * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
