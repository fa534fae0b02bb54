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

from ..data.leads import CHEST_LEADS, LEADS
from ..inference.predict import PackedRecordings, predict, to_device
from ..models.network import FewLeadLines
from ..recipe import Input
from ..thresholds.logistic import log_odds, logistic_line
from ..thresholds.probabilities import FLATTEST

KEPT_CHEST_LEADS: tuple[tuple[str, ...], ...] = ((), ("V2",))  # for each line of `FewLeadLines`
# Slope and intercept are normal around those that change nothing, with these spreads. With a hundred recordings and
# more the spreads hardly matter; with a handful the line stays near the one that changes nothing.
CENTRE, SPREAD = np.array([1.0, 0.0]), np.array([0.5, 1.0])
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
        Recordings of `data` that the model was not trained on; if they are more than `MOST`, only every second, third
        and so on is used. A line is fitted to those that have the chest leads that it is for, and others, too. Where
        there are none, or scores are not finite, it changes nothing.
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
        if not (len(targets) and np.isfinite(targets).all() and np.isfinite(with_few).all()):
            continue
        for k, odds in enumerate(log_odds(with_few, NEAREST).T):
            slope, intercept = logistic_line(odds, targets[:, k], CENTRE, SPREAD)
            model.lines.slope[len(kept), k] = max(float(slope), FLATTEST)
            model.lines.intercept[len(kept), k] = float(intercept)


def _few_lead_scores(
    model: nn.Module, data: PackedRecordings, rows: np.ndarray, spec: Input, kept: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Which recordings have these chest leads and others, bool (rows,), and their scores without the others.

    The scores are float32 (recordings that have them, classes).
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
    """Copies of recordings whose other chest leads are zero, and which recordings have these leads and others.

    The latter is bool (rows,).
    """
    index, lengths = data.sample_index(rows), data.lengths[rows]
    samples = data.samples[index]  # a copy
    offsets = np.cumsum(lengths) - lengths
    has_lead = np.logical_or.reduceat((samples != 0).cpu().numpy(), offsets, axis=0)  # rows, leads
    keeps = [LEADS.index(lead) for lead in kept]
    lost = [lead for lead in CHEST_LEADS if lead not in keeps]
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
