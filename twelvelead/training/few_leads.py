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

KEPT_CHEST_LEADS: tuple[tuple[str, ...], ...] = ((), ("V2",))  # for each line of `FewLeadLines`
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
    if len(rows) == 0:
        return
    with_all = predict(model, data, rows, spec)
    for kept in KEPT_CHEST_LEADS:
        has_lost, with_few = _few_lead_scores(model, data, rows, spec, kept)
        targets = with_all[has_lost]
        if len(targets) and np.isfinite(targets).all() and np.isfinite(with_few).all():
            for k in range(targets.shape[1]):
                slope, intercept = _line(with_few[:, k], targets[:, k])
                model.lines.slope[len(kept), k], model.lines.intercept[len(kept), k] = slope, intercept


def _line(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Slope and intercept by which scores (recordings,) of a class predict other scores of it, in log-odds."""
    odds = log_odds(scores, NEAREST)
    columns = np.stack([odds, np.ones_like(odds)])
    spread = np.array([SLOPE_SPREAD, INTERCEPT_SPREAD])
    slope, intercept = logistic_regression(columns, targets, centre=np.array([1.0, 0.0]), spread=spread)
    return max(float(slope), FLATTEST), float(intercept)


def _few_lead_scores(
    model: nn.Module, data: PackedRecordings, rows: np.ndarray, spec: Input, kept: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Which recordings have lost a lead where these chest leads alone are kept, and the scores of those that have.

    Bool (rows,) and float32 (recordings that have lost any, classes).
    """
    lost, scores = [], []
    for first in range(0, len(rows), CHUNK):
        copies, has_lost = _with_chest_leads(data, rows[first : first + CHUNK], kept)
        lost.append(has_lost)
        if has_lost.any():
            scores.append(predict(model, copies, np.flatnonzero(has_lost), spec))
    return np.concatenate(lost), np.concatenate(scores) if scores else np.zeros((0, 0), dtype=np.float32)


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
