"""From scores to thresholds: one for each class, found by optimising a metric.

    found = optimise(objective, "bayesian", seed=1)
    found.values                                    # (classes,) float64 in [0, 1]
    found.stages                                    # (("start", 0.41), ("common", 0.49), ..., ("coordinate", 0.53))

Every method promises:

- thresholds within [0, 1];
- the same result for the same seed, in whatever order the recordings come;
- that no stage is worse than the one before it;
- the start, 0.5, if there is nothing to learn from (no recordings, or a metric that does not change);
- for a class without positives in the data, a threshold not below the best common one. Partial credits of the metric
  could otherwise lower it, although nothing is known about that class.
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
FREQUENCY_PART = 0.5  # of the log-odds of a class's frequency; see `shrink`
# A threshold below this gives a class to nearly every recording, and one above 1 − this to nearly none. How far beyond
# these limits it lies depends on very few recordings, so `shrink` starts from the limits.
EXTREME = 0.03


@dataclass(frozen=True)
class Thresholds:
    """The result of a method.

    Attributes
    ----------
    values : ndarray, float64, (classes,)
        Thresholds in [0, 1].
    stages : tuple of (str, float)
        Name of each stage of the method, and the metric after it.
    """

    values: np.ndarray
    stages: tuple[tuple[str, float], ...]


def bayesian(objective: Objective, seed: int = 0, random_points: int = 250, guided_points: int = 50) -> Thresholds:
    """Best common threshold, then a Gaussian process, then coordinate refinement; our default.

    Vicar et al. 2020 drew 250 points at random in the unit cube and 50 guided by a Gaussian process. With 24 classes
    that does not even reach the best common threshold. So here half of the points are drawn near the best point so far,
    which at first is the best common threshold, and an exact search along each class comes last.
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
        falling = objective.scores[k, objective.order[k]]
        above = np.searchsorted(-falling, -grid, side="right")  # number of recordings with score >= each grid point
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

    The first simplex extends one grid step along each class. With scipy's default, 5 % of the start value, the gain was
    at most half as large.
    """
    best, floor, stages = _best_common(objective, _grid(common_step))
    corners = np.vstack([best, best + common_step * np.eye(len(best))])
    result = optimize.minimize(
        lambda point: -objective(np.clip(point, floor, 1)),
        best,
        method="Nelder-Mead",
        options={"initial_simplex": corners, "maxfev": evaluations, "xatol": 1e-4, "fatol": 1e-6},
    )
    best = _better(objective, best, np.clip(result.x, floor, 1))
    stages.append(("simplex", objective(best)))
    return Thresholds(best, tuple(stages))


def differential_evolution(
    objective: Objective,
    seed: int = 0,
    generations: int = 100,
    population: int = 5,
    points: int = 0,
    common_points: int = 0,
    f_points: int = 0,
) -> Thresholds:
    """Differential evolution (Storn and Price 1997) from a first population that knows good thresholds.

    Nejedly et al. tried this method in 2020, and then used one common threshold instead. In 2021 they used it with 300
    points, of which 99 were common thresholds and two came from the best F-measure of each class.

    Parameters
    ----------
    population : int
        Points for each class. They are spread over the unit cube, but for the first one, the best common threshold.
    points : int
        If not 0, the number of all points, and `population` does not count. They are `common_points` and `f_points`,
        and for the rest random points of the unit cube.
    common_points : int
        Points with the same threshold for every class, at equal distances between 0 and 1.
    f_points : int
        0, 1 or 2: a point of the thresholds at which each class has its best F₁, and one for F₂.
    """
    best, floor, stages = _best_common(objective, np.linspace(0, 1, 101))
    rng = np.random.default_rng(seed)
    first: dict = dict(x0=best, popsize=population)
    if points:
        common_values = np.linspace(0, 1, common_points + 2)[1:-1, None]
        chosen = [common_values + np.zeros_like(best), *(_best_f(objective, beta, floor) for beta in (1, 2)[:f_points])]
        known = np.vstack(chosen)[:points]
        first = dict(init=np.vstack([known, rng.random((points - len(known), len(best)))]))
    result = optimize.differential_evolution(
        lambda point: -objective(np.clip(point, floor, 1)),
        [(0.0, 1.0)] * len(best),
        maxiter=generations,
        polish=False,
        tol=0,
        rng=rng,
        **first,
    )
    best = _better(objective, best, np.clip(result.x, floor, 1))
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
    """Moves thresholds towards a common one, so that they fit the recordings at hand less and other recordings more.

    Thresholds move by `part` of the way, measured in log-odds. The common threshold is the best one for scores from
    whose log-odds half of `log_odds` is subtracted. That is what a class's frequency in training adds to its scores
    (losses.frequency_log_odds), and at other hospitals other classes are frequent.

    On the recordings that the thresholds were learned from, the stage that this adds is usually worse than the one
    before.

    Parameters
    ----------
    objective : Objective
    found : Thresholds
        The result of a method.
    part : float
        In [0, 1]: 0 leaves the thresholds as they are, 1 gives the common one.
    log_odds : ndarray (classes,), or 0

    Returns
    -------
    Thresholds
        With one more stage, "shrunk".
    """
    if part == 0:
        return found
    offsets = np.broadcast_to(FREQUENCY_PART * np.asarray(log_odds), found.values.shape)
    grid = logit(np.linspace(0.01, 0.99, 99))
    cut, _ = _nearest_of_best(grid, np.array([objective(expit(point + offsets)) for point in grid]), 0.0)
    start = logit(np.clip(found.values, EXTREME, 1 - EXTREME))
    values = expit(start + part * (cut + offsets - start))
    values = np.where(objective.positives > 0, values, np.maximum(values, found.values))
    return Thresholds(values, (*found.stages, ("shrunk", objective(values))))


def best_cut(objective: Objective, k: int, thresholds: np.ndarray, floor: float = 0.0) -> tuple[float, float]:
    """The best threshold of class k while the others are fixed, and the metric there, exact in O(recordings · classes).

    A threshold is put halfway between two neighbouring scores, so that a score computed on another machine, with
    slightly different rounding, is on the same side of it. If no recording should get the class, it is halfway between
    the largest score and 1. Among equally good thresholds it is the one nearest to `thresholds[k]`. A score of exactly
    1 always gets its label, since thresholds do not exceed 1.

    Parameters
    ----------
    objective : Objective
    k : int
    thresholds : ndarray, float64, (classes,)
    floor : float
        Lowest threshold that is allowed.
    """
    falling = objective.scores[k, objective.order[k]]
    upper, lower = np.append(1.0, falling), np.append(falling, 0.0)  # cut m: lower[m] < threshold <= upper[m]
    middle = lower + (upper - lower) / 2
    # Between two neighbouring numbers of float64 there is no middle.
    middle = np.maximum(np.where(middle > lower, middle, upper), floor)
    possible = (upper > lower) & (middle <= upper)
    possible[-1] = middle[-1] <= upper[-1]  # no score has to be below the last cut, so it may be 0
    return _nearest_of_best(middle[possible], objective.cuts(k, thresholds)[possible], thresholds[k])


def _grid(step: float) -> np.ndarray:
    """Points from 0 to 1."""
    return np.linspace(0, 1, round(1 / step) + 1)


def _best_common(objective: Objective, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[str, float]]]:
    """The first two stages of every method: the start, and the best common threshold among the start and a grid.

    Returns
    -------
    best : float64 (classes,)
        The same threshold for every class.
    floor : float64 (classes,)
        The lowest threshold that each class may have: 0, or `best` for a class without positives.
    stages : list of (str, float)
    """
    count = len(objective.scores)
    grid = np.append(grid, START)
    best, value = _nearest_of_best(grid, np.array([objective(np.full(count, point)) for point in grid]), START)
    stages = [("start", objective(np.full(count, START))), ("common", value)]
    return np.full(count, best), np.where(objective.positives > 0, 0.0, best), stages


def _nearest_of_best(thresholds: np.ndarray, values: np.ndarray, current: float) -> tuple[float, float]:
    """The threshold with the largest value, and that value; among several the nearest to the current threshold."""
    best = np.flatnonzero(values == values.max())
    chosen = best[np.argmin(np.abs(thresholds[best] - current))]
    return float(thresholds[chosen]), float(values[chosen])


def _best_f(objective: Objective, beta: float, otherwise: np.ndarray) -> np.ndarray:
    """The threshold at which each class has its best F-measure, F_β = (1 + β²) TP / (β² positives + outputs).

    It is halfway between two neighbouring scores, and the highest of several that are equally good. A class without
    positives gets the threshold `otherwise`, float64 (classes,).
    """
    thresholds = otherwise.copy()
    for k in np.flatnonzero(objective.positives):
        falling = objective.scores[k, objective.order[k]]
        lower = np.append(falling[1:], 0.0)
        outputs = np.arange(1, len(falling) + 1)
        f = np.cumsum(objective.labels[k, objective.order[k]]) / (beta**2 * objective.positives[k] + outputs)
        cut = np.argmax(np.where(falling > lower, f, -1.0))
        thresholds[k] = (falling[cut] + lower[cut]) / 2
    return thresholds


def _better(objective: Objective, current: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """The candidate thresholds if they are better than the current ones, which otherwise stay."""
    return candidate if objective(candidate) > objective(current) else current


def _refine(objective: Objective, best: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Exact search along each class in turn, repeated until no class gains.

    This ends, since each step that changes a threshold makes the metric larger.
    """
    before = None
    while before is None or objective(best) > objective(before):
        before = best
        for k in range(len(best)):
            best = _with_class(objective, best, k, best_cut(objective, k, best, floor[k])[0])
    return best


def _with_class(objective: Objective, current: np.ndarray, k: int, threshold: float) -> np.ndarray:
    """The current thresholds, with another one for class k if that is better."""
    candidate = current.copy()
    candidate[k] = threshold
    return _better(objective, current, candidate)


def _draw(rng: np.random.Generator, count: int, near: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Random thresholds, float64 (count, classes): half of them uniform in the unit cube, half near a point.

    Each point of the second half has its own share of classes that are moved, and its own size of these moves, from
    0.01 to 0.3.
    """
    shape = (count - count // 2, len(near))
    uniform = rng.random((count // 2, len(near)))
    step = rng.normal(size=shape) * np.exp(rng.uniform(np.log(0.01), np.log(0.3), size=(shape[0], 1)))
    moved = near + step * (rng.random(shape) < rng.uniform(0, 1, size=(shape[0], 1)))
    return np.clip(np.vstack([uniform, moved]), floor, 1)


def _expected_improvement(points: np.ndarray, values: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Expected improvement of candidates over the best value, by a Gaussian process with a Matérn 5/2 kernel.

    Of five length scales the one with the largest likelihood is taken; the variance has a closed form for each
    (Rasmussen and Williams 2006, sections 2.3 and 5.4.1).

    Parameters
    ----------
    points : float64 (points, classes), and values : float64 (points,)
        Thresholds that were tried, and the metric there.
    candidates : float64 (candidates, classes)

    Returns
    -------
    float64 (candidates,)
        In units of the standard deviation of `values`.
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
