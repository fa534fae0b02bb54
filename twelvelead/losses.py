"""What training minimises: functions of logits (batch, classes) and labels, on any device.

    loss = LOSSES["challenge_metric"](logits, labels, Weighting(positive, negative, rewards))

Everything is computed in float32, whatever precision the network runs in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Weighting:
    """What the losses weigh with, float32 tensors on the training device.

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


def class_weights(labels: np.ndarray, largest: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """w⁺ = N/N⁺ and w⁻ = N/(N − N⁺) of each class (Vicar et al. 2020, section 2.3), at most `largest`.

    A class that has no positives (or no negatives) gets weight 0 for them and 1 for the others.

    Parameters
    ----------
    labels : ndarray, bool (recordings, classes)
        Labels of the recordings that are trained on, and of no others.

    Returns
    -------
    positive, negative : ndarray, float32 (classes,)
    """
    count, positives = len(labels), labels.sum(axis=0)

    def weight(members):
        with np.errstate(divide="ignore"):
            return np.where(members > 0, np.minimum(count / members, largest), 0).astype(np.float32)

    return weight(positives), weight(count - positives)


def weighted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """Binary cross-entropy, −w⁺·L·log R − w⁻·(1 − L)·log(1 − R), mean over recordings and classes."""
    logits, labels = logits.float(), labels.float()
    weight = labels * weighting.positive + (1 - labels) * weighting.negative
    return F.binary_cross_entropy_with_logits(logits, labels, weight=weight)


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
    # Σ W∘(Lᵀ(R/N)) = Σ (L·W)∘(R/N): no (classes, classes) matrix is made
    return -((labels @ rewards) * (scores / count)).sum()


def challenge_metric(logits: torch.Tensor, labels: torch.Tensor, weighting: Weighting) -> torch.Tensor:
    """`metric_loss` of the sigmoid scores for each recording of the batch."""
    with torch.autocast(logits.device.type, enabled=False):
        return metric_loss(torch.sigmoid(logits.float()), labels, weighting.rewards) / len(logits)


LOSSES = {"weighted_cross_entropy": weighted_cross_entropy, "challenge_metric": challenge_metric}
