"""The lines by which a network's scores of recordings with few leads get the meaning of those of twelve leads.

    fit_few_lead_lines(model, data, validation_rows, recipe.input)      # a model that has network.FewLeadLines

The network scores recordings that it was not trained on with all leads, without the chest leads, and with V2 alone of
them; these are what the reduced lead sets of 2021 leave (2 and 6 leads, 3 and 4 leads). A logistic regression for each
class predicts the score of all leads from that of a few. No label takes part, so that a class is put right although
hardly any of these recordings has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from ..data.leads import LEADS
from ..inference.predict import PackedRecordings, predict, to_device
from ..models.network import CHEST_LEADS, FewLeadLines
from ..recipe import Input
from ..thresholds.logistic import log_odds, logistic_regression

KEPT_CHEST_LEADS: tuple[tuple[str, ...], ...] = ((), ("V2",))  # for the line of 0 and of 1 chest lead
# Slopes and intercepts are normal around 1 and 0 with these spreads. With a hundred recordings and more they hardly
# matter; with a handful the line stays near the one that changes nothing.
SLOPE_SPREAD, INTERCEPT_SPREAD = 0.5, 1.0
FLATTEST = 0.05  # smallest slope, so that the line always rises
NEAREST = 1e-6  # a score is kept this far from 0 and 1, where its log-odds are infinite
MOST = 2000  # recordings that are scored; a hundred say nearly as much
CHUNK = 256  # of them that are copied at a time


def fit_few_lead_lines(model: nn.Module, data: PackedRecordings, rows: np.ndarray, spec: Input) -> None:
    """Sets the lines of a model in evaluation mode that has `FewLeadLines`; does nothing to another one.

    Parameters
    ----------
    data : PackedRecordings
        With the twelve leads.
    rows : int array
        Recordings of `data` that the model was not trained on. Those that have no more leads than the copies without
        some are left out, and of more than `MOST` one in every few is taken. If none is left, or scores are not finite,
        the line changes nothing.
    spec : Input
        The input of the model's recipe.
    """
    if not isinstance(model, FewLeadLines):
        return
    model.lines.slope.fill_(1)
    model.lines.intercept.fill_(0)
    rows = rows[:: max(1, -(-len(rows) // MOST))]
    fitted = [_lines(model, data, rows, spec, kept) for kept in KEPT_CHEST_LEADS]
    for line, of_classes in enumerate(fitted):
        for k, (slope, intercept) in enumerate(of_classes):
            model.lines.slope[line, k], model.lines.intercept[line, k] = max(slope, FLATTEST), intercept


def _lines(
    model: nn.Module, data: PackedRecordings, rows: np.ndarray, spec: Input, kept: Sequence[str]
) -> list[tuple[float, float]]:
    """Slope and intercept of each class for recordings with these chest leads; an empty list if nothing can be said."""
    with_all, with_few = [], []
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        copies, has_lost = _with_chest_leads(data, chunk, kept)
        if has_lost.any():
            with_all.append(predict(model, data, chunk[has_lost], spec))
            with_few.append(predict(model, copies, np.flatnonzero(has_lost), spec))
    if not with_all:
        return []
    targets, odds = np.concatenate(with_all), log_odds(np.concatenate(with_few), NEAREST)
    if not (np.isfinite(targets).all() and np.isfinite(odds).all()):
        return []
    spread, lines = np.array([SLOPE_SPREAD, INTERCEPT_SPREAD]), []
    for of_class, target in zip(odds.T, targets.T):
        columns = np.stack([of_class, np.ones_like(of_class)])
        slope, intercept = logistic_regression(columns, target, centre=np.array([1.0, 0.0]), spread=spread)
        lines.append((float(slope), float(intercept)))
    return lines


def _with_chest_leads(
    data: PackedRecordings, rows: np.ndarray, kept: Sequence[str]
) -> tuple[PackedRecordings, np.ndarray]:
    """Copies of recordings whose other chest leads are zero, and which of them have lost any, bool (rows,).

    A recording that does not have all of the leads that are kept counts as one that has lost none.
    """
    start, lengths = data.offsets[rows], data.lengths[rows]
    places = np.concatenate([*map(np.arange, start, start + lengths)])
    index = to_device(places, data.device)
    samples = data.samples[index]  # a copy
    offsets = np.cumsum(lengths) - lengths
    has_lead = np.logical_or.reduceat((samples != 0).cpu().numpy(), offsets, axis=0)  # rows, leads
    keeps = [LEADS.index(lead) for lead in kept]
    lost = [k for k in range(CHEST_LEADS.start, CHEST_LEADS.stop) if k not in keeps]
    samples[:, lost] = 0
    copies = PackedRecordings(
        samples,
        None if data.valid is None else data.valid[index],
        data.metadata[to_device(rows, data.device)],
        offsets,
        lengths,
    )
    has_lost = has_lead[:, lost].any(axis=1) & has_lead[:, keeps].all(axis=1)
    return copies, np.asarray(has_lost)
