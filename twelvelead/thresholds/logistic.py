"""Log-odds of scores, and logistic regression.

odds = log_odds(scores)
slope, intercept = logistic_line(odds, labels)
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

MOST_STEPS = 100  # of Newton's method, which needs about ten
FLATTEST = 1e-9  # a curvature below this means that no line is better than another
LONGEST_STEP = 4.0  # of a coefficient; a longer step may overshoot where the classes are nearly separated
STILL = 1e-10  # a step below this is the last


def log_odds(values: np.ndarray, nearest: float = 1e-9) -> np.ndarray:
    """Log-odds, float64, of scores or thresholds; those nearer to 0 or 1 than `nearest` are taken to be so far away."""
    return logit(np.clip(np.asarray(values, dtype=np.float64), nearest, 1 - nearest))


def logistic_regression(
    columns: np.ndarray,
    labels: np.ndarray,
    offset: np.ndarray | float = 0.0,
    centre: np.ndarray | None = None,
    spread: np.ndarray | float = np.inf,
) -> np.ndarray:
    """Coefficients, float64 (columns,), that maximise the likelihood times a normal prior, by Newton's method.

    Parameters
    ----------
    columns : float64 (columns, recordings)
    labels : from 0 to 1, (recordings,)
    offset : float64 (recordings,) or float
        Added to the log-odds.
    centre, spread : float64 (columns,)
        Mean and standard deviation of the prior; by default there is none.
    """
    centre = np.zeros(len(columns)) if centre is None else centre
    precision = np.broadcast_to(1 / np.square(spread), len(columns))
    coefficients = np.array(centre, dtype=np.float64)
    for _ in range(MOST_STEPS):
        p = expit(offset + coefficients @ columns)
        gradient = columns @ (labels - p) - precision * (coefficients - centre)
        curvature = (columns * (p * (1 - p))) @ columns.T + np.diag(precision)
        if np.linalg.eigvalsh(curvature)[0] < FLATTEST:
            break
        step = np.clip(np.linalg.solve(curvature, gradient), -LONGEST_STEP, LONGEST_STEP)
        coefficients = coefficients + step
        if np.abs(step).max() < STILL:
            break
    return coefficients


def logistic_line(
    odds: np.ndarray, labels: np.ndarray, centre: np.ndarray | None = None, spread: np.ndarray | float = np.inf
) -> np.ndarray:
    """Slope and intercept, float64 (2,), of the labels' log-odds along `odds`, float64 (recordings,).

    The other parameters are those of `logistic_regression`, and so labels may be probabilities, too.
    """
    return logistic_regression(np.stack([odds, np.ones_like(odds)]), labels, centre=centre, spread=spread)
