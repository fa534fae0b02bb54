"""The loss functions that training minimises.

    loss = LOSSES["challenge_loss"](logits, labels, Weighting(positive, negative, rewards), known)

All have the same parameters: `logits` (batch, classes) of any precision, `labels` (batch, classes) of 0 and 1, the
`Weighting`, and `known`, (batch, classes) or None, which is 0 where nobody knows whether the recording has the class;
such a label takes no part in the loss. All return a scalar that is a mean over the recordings, so that the losses of
the parts of a batch add up to that of the batch. All compute in float32.

`joint_loss` also takes the logits (batch, 2, classes) of a network with a second head (network.DecisionHead): those of
the diagnoses and those of the decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Weighting:
    """Weights that the losses use, float32 tensors on the training device.

    Attributes
    ----------
    positive, negative : (classes,)
        Weight of a positive and of a negative label of each class.
    rewards : (classes, classes)
        Weights of the Challenge metric.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    rewards: torch.Tensor


def _counts(labels: np.ndarray, known: np.ndarray | None, uses: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """How many recordings of an epoch are known to have each class or not, and how many have it."""
    weight = np.ones_like(labels) if known is None else known
    if uses is not None:
        weight = weight * uses[:, None]
    return weight.sum(axis=0), (labels * weight).sum(axis=0)


def class_weights(
    labels: np.ndarray,
    largest: float | None = None,
    known: np.ndarray | None = None,
    uses: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """w⁺ = N/N⁺ and w⁻ = N/(N − N⁺) of each class (Vicar et al. 2020, section 2.3), at most `largest`.

    A class that has no positives (or no negatives) gets weight 0 for them and 1 for the others.

    Parameters
    ----------
    labels : ndarray, bool (recordings, classes)
        Labels of the recordings that are trained on, and of no others.
    known : ndarray, bool (recordings, classes), optional
        Labels that are counted; all by default.
    uses : ndarray, float (recordings,), optional
        How often one epoch uses each recording, on average; once by default.

    Returns
    -------
    positive, negative : ndarray, float32 (classes,)
    """
    count, positives = _counts(labels, known, uses)
    largest = np.inf if largest is None else largest

    def weight(recordings: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(recordings > 0, np.minimum(count / recordings, largest), 0).astype(np.float32)

    return weight(positives), weight(count - positives)


def frequency_log_odds(
    labels: np.ndarray,
    known: np.ndarray | None = None,
    weighted: bool = True,
    largest: float | None = None,
    uses: np.ndarray | None = None,
) -> np.ndarray:
    """How far the frequency of each class shifts the log-odds of scores trained on these labels: log(w⁺N⁺ / w⁻N⁻).

    It is 0 for class weights without a limit, which cancel the frequency, and for a class that all or none of the
    recordings have.

    Parameters
    ----------
    known, largest, uses
        As for `class_weights`.
    weighted : bool
        Whether the scores were trained with the weights that `class_weights` gives for the other parameters. If not,
        w⁺ = w⁻ = 1.

    Returns
    -------
    ndarray, float64 (classes,)
    """
    count, positives = _counts(labels, known, uses)
    positive, negative = class_weights(labels, largest, known, uses) if weighted else (1.0, 1.0)
    has_both = (positives > 0) & (positives < count)
    odds = np.divide(positive * positives, negative * (count - positives), out=np.ones(len(count)), where=has_both)
    return np.log(odds)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy, −L·log R − (1 − L)·log(1 − R), mean over recordings and classes."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float(), weight=known)


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy, −w⁺·L·log R − w⁻·(1 − L)·log(1 − R), mean over recordings and classes."""
    logits, labels = logits.float(), labels.float()
    weight = labels * weighting.positive + (1 - labels) * weighting.negative
    return F.binary_cross_entropy_with_logits(logits, labels, weight=weight if known is None else weight * known)


def categorical_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting, known: torch.Tensor | None = None
) -> torch.Tensor:
    """−Σ L·log(R / Σ R) over the classes, mean over recordings, with R the sigmoids of the logits.

    This is Keras's `categorical_crossentropy` of a network with sigmoid outputs.
    """
    log_scores = F.logsigmoid(logits.float())
    if known is not None:
        log_scores, labels = torch.where(known > 0, log_scores, -torch.inf), labels * known
    log_shares = log_scores - log_scores.logsumexp(dim=1, keepdim=True)
    return -torch.where(labels > 0, labels * log_shares, 0.0).sum(dim=1).mean()


def metric_loss(scores: torch.Tensor, labels: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """Minus the unnormalised Challenge metric, with scores in place of decisions, summed over recordings.

    With R the scores and L the labels, N = (L + R − L∘R)·1 counts the classes that either names, A = Lᵀ(R/N) is the
    soft confusion matrix, and the loss is −Σ W∘A (Vicar et al. 2020, section 2.3). N is at least 1, as in the
    official metric and the authors' code. At scores of 0 and 1 this is minus the official unnormalised metric.

    Parameters
    ----------
    scores, labels : (batch, classes), in [0, 1]
    rewards : (classes, classes)
    """
    scores, labels = scores.float(), labels.float()
    count = (labels + scores - labels * scores).sum(dim=1, keepdim=True).clamp(min=1)
    # Σ W∘(Lᵀ(R/N)) = Σ (L·W)∘(R/N), which needs no (classes, classes) confusion matrix
    return -((labels @ rewards) * (scores / count)).sum()


def challenge_loss(
    logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting, known: torch.Tensor | None = None
) -> torch.Tensor:
    """`metric_loss` of the sigmoid scores for each recording of the batch."""
    with torch.autocast(logits.device.type, enabled=False):
        scores = torch.sigmoid(logits.float())
        if known is not None:
            scores, labels = scores * known, labels * known
        return metric_loss(scores, labels, weighting.rewards) / len(logits)


UNDECIDED_WEIGHT = 1 / 128  # of the last term of `joint_loss`


def joint_loss(
    logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of the diagnoses, minus the Challenge metric of the decisions, plus what pushes them to 0 or 1.

    With y the logits of the diagnoses and p the scores of the decisions, it is the binary cross-entropy of y, in which
    a positive label has the weight N⁻/N⁺; plus `metric_loss` of p for each recording; plus 1/128 of the mean of
    4p(1 − p), which is 0 at decisions and 1 at a half. `network.DecisionHead` lets no gradient through from p to y, so
    that y is learnt by the cross-entropy alone. Logits (batch, classes) of a network without a second head stand for
    both.

    Nejedly et al. (CinC 2021) sum the metric over a batch of 128 recordings and give the last term the weight 1. Here
    the metric is a mean over the recordings, as every loss in this file is. The weight 1/128 keeps their balance of
    these two, and Adam's steps do not depend on the scale of both together. With the weight 1 the second head did not
    learn a small problem that it learns with 1/128 (tests/training/test_member.py).
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, labels = logits.float(), labels.float()
        diagnoses, decisions = logits.unbind(1) if logits.dim() == 3 else (logits, logits)
        # w⁺ / w⁻ = N⁻ / N⁺, but for a class that no recording is without
        negative = torch.where(weighting.negative > 0, weighting.negative, 1.0)
        weight = 1 + labels * (weighting.positive / negative - 1)
        scores = torch.sigmoid(decisions)
        undecided = 4 * scores * (1 - scores)
        if known is not None:
            weight, scores, undecided, labels = weight * known, scores * known, undecided * known, labels * known
        entropy = F.binary_cross_entropy_with_logits(diagnoses, labels, weight=weight)
        metric = metric_loss(scores, labels, weighting.rewards) / len(logits)
        return entropy + metric + UNDECIDED_WEIGHT * undecided.mean()


LOSSES = {
    function.__name__: function
    for function in (cross_entropy, weighted_cross_entropy, categorical_cross_entropy, challenge_loss, joint_loss)
}
USES_DECISIONS = frozenset({joint_loss.__name__})  # losses that take the decisions of a second head apart
WEIGHTED = frozenset({weighted_cross_entropy.__name__, joint_loss.__name__})  # losses that use the class weights
