"""The line by which a network's scores of recordings without chest leads get the meaning of those of twelve leads.

    fit_limb_lead_line(model, data, validation_rows, recipe.input)      # a model that has a network.LimbLeadLine

The network scores recordings that it was not trained on twice, with all leads and without the chest leads, and a
logistic regression for each class predicts the one score from the other. No label takes part, so that a class is
corrected although hardly any of these recordings has it.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from ..inference.predict import PackedRecordings, predict, to_device
from ..models.network import CHEST_LEADS, LimbLeadLine
from ..recipe import Input
from ..thresholds.logistic import log_odds, logistic_regression

# Slopes and intercepts are normal around 1 and 0 with these spreads. With a hundred recordings and more they hardly
# matter; with a handful the line stays near the one that changes nothing.
SLOPE_SPREAD, INTERCEPT_SPREAD = 0.5, 1.0
FLATTEST = 0.05  # smallest slope, so that the line always rises
NEAREST = 1e-6  # a score is kept this far from 0 and 1, where its log-odds are infinite
CHUNK = 256  # recordings that are copied at a time


def fit_limb_lead_line(model: nn.Module, data: PackedRecordings, rows: np.ndarray, spec: Input) -> None:
    """Sets the `LimbLeadLine` of a model in evaluation mode; does nothing to a model without one.

    Parameters
    ----------
    data : PackedRecordings
        With the twelve leads.
    rows : int array
        Recordings of `data` that the model was not trained on. Those without chest leads are left out. If none is left,
        or scores are not finite, the line changes nothing.
    spec : Input
        The input of the model's recipe.
    """
    lines = [module.line for module in model.modules() if isinstance(module, LimbLeadLine)]
    if not lines:
        return
    for line in lines:
        line.slope.fill_(1)
        line.intercept.fill_(0)
    with_all, without = [], []
    for chunk in np.split(rows, range(CHUNK, len(rows), CHUNK)):
        copies, has_chest = _without_chest_leads(data, chunk)
        if has_chest.any():
            with_all.append(predict(model, data, chunk[has_chest], spec))
            without.append(predict(model, copies, np.flatnonzero(has_chest), spec))
    if not with_all:
        return
    targets, odds = np.concatenate(with_all), log_odds(np.concatenate(without), NEAREST)
    if not (np.isfinite(targets).all() and np.isfinite(odds).all()):
        return
    spread = np.array([SLOPE_SPREAD, INTERCEPT_SPREAD])
    for k, (of_class, target) in enumerate(zip(odds.T, targets.T)):
        columns = np.stack([of_class, np.ones_like(of_class)])
        slope, intercept = logistic_regression(columns, target, centre=np.array([1.0, 0.0]), spread=spread)
        for line in lines:
            line.slope[k], line.intercept[k] = max(slope, FLATTEST), intercept


def _without_chest_leads(data: PackedRecordings, rows: np.ndarray) -> tuple[PackedRecordings, np.ndarray]:
    """Copies of recordings whose chest leads are zero, and which of them had any, bool (rows,)."""
    start, lengths = data.offsets[rows], data.lengths[rows]
    places = np.concatenate([np.zeros(0, np.int64), *map(np.arange, start, start + lengths)])
    index = to_device(places, data.device)
    samples = data.samples[index]
    of_recording = np.repeat(np.arange(len(rows)), lengths)
    in_chest = (samples[:, CHEST_LEADS] != 0).any(dim=1).cpu().numpy()
    has_chest = np.bincount(of_recording[in_chest], minlength=len(rows)) > 0
    samples[:, CHEST_LEADS] = 0  # indexing has copied them
    copies = PackedRecordings(
        samples,
        None if data.valid is None else data.valid[index],
        data.metadata[to_device(rows, data.device)],
        np.cumsum(lengths) - lengths,
        lengths,
    )
    return copies, has_chest
