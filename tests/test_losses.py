"""The losses: equal to their definitions and to the metric, with right gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twelvelead.classes import load_weights, scored_classes
from twelvelead.losses import LOSSES, Weighting, class_weights, metric_loss, weighted_cross_entropy
from twelvelead.scoring import unnormalised_challenge_metric

WEIGHTS = Path(__file__).resolve().parent.parent / "weights.csv"


@pytest.fixture(scope="module")
def classes():
    return scored_classes(load_weights(WEIGHTS))


def some_labels(seed=0, count=50, classes=24):
    return np.random.default_rng(seed).random((count, classes)) < 0.1


def weighting_for(labels, classes):
    return Weighting(*(torch.tensor(a, dtype=torch.float32) for a in (*class_weights(labels), classes.weights)))


@pytest.mark.parametrize("seed", range(5))
def test_the_metric_loss_at_decisions_is_minus_the_unnormalised_metric(classes, seed):
    labels, outputs = some_labels(seed), some_labels(seed + 100)
    labels[0] = outputs[0] = labels[1] = outputs[2] = False  # recordings without labels, without outputs
    loss = metric_loss(torch.tensor(outputs), torch.tensor(labels), torch.tensor(classes.weights, dtype=torch.float32))
    assert -float(loss) == pytest.approx(unnormalised_challenge_metric(labels, outputs, classes.weights), rel=1e-5)


def test_the_metric_loss_is_its_definition(classes):
    """Loop by loop from the paper: N = (L + R − L∘R)·1, A = Lᵀ(R/N), −Σ W∘A."""
    labels, scores = some_labels().astype(float), np.random.default_rng(1).random((50, 24))
    total = 0.0
    for row, score in zip(labels, scores):
        count = max(sum(l + r - l * r for l, r in zip(row, score)), 1)
        total += sum(classes.weights[j, k] * row[j] * score[k] / count for j in range(24) for k in range(24))
    loss = metric_loss(torch.tensor(scores), torch.tensor(labels), torch.tensor(classes.weights, dtype=torch.float32))
    assert -float(loss) == pytest.approx(total, rel=1e-5)


def test_weighted_cross_entropy_is_its_definition(classes):
    labels = some_labels(3)
    labels[:, 5] = False
    weighting = weighting_for(labels, classes)
    logits = torch.randn(50, 24)
    score = 1 / (1 + np.exp(-logits.double().numpy()))
    positives = labels.sum(0)
    w1 = np.where(positives, 50 / np.maximum(positives, 1), 0)
    w0 = 50 / (50 - positives)
    expected = -np.mean(w1 * labels * np.log(score) + w0 * ~labels * np.log(1 - score))
    assert float(weighted_cross_entropy(logits, torch.tensor(labels), weighting)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_right(classes, name, monkeypatch):
    """Numerically, in float64: the losses' own cast to float32 is lifted for it."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.double())
    labels = torch.tensor(some_labels(4, 6), dtype=torch.float64)
    weighting = Weighting(torch.rand(24).double() * 9, torch.rand(24).double() + 1, torch.tensor(classes.weights))
    logits = (torch.randn(6, 24, dtype=torch.float64) * 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, labels, weighting), logits, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(classes, name, dtype):
    labels = some_labels(5)
    logits = (torch.randn(50, 24) * 10).to(dtype)
    weighting = weighting_for(labels, classes)
    loss = LOSSES[name](logits, torch.tensor(labels), weighting)
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert float(loss) == pytest.approx(float(LOSSES[name](logits.float(), torch.tensor(labels), weighting)), rel=1e-6)


def test_class_weights_balance_positives_and_negatives_and_survive_empty_classes():
    labels = some_labels(6, 200)
    labels[:, 0], labels[:, 1] = False, True
    positive, negative = class_weights(labels)
    counts = labels.sum(0)
    inner = (counts > 0) & (counts < 200)
    np.testing.assert_allclose((positive * counts)[inner], 200, rtol=1e-5)
    np.testing.assert_allclose((negative * (200 - counts))[inner], 200, rtol=1e-5)
    assert positive[0] == 0 and negative[0] == 1 and positive[1] == 1 and negative[1] == 0
    assert class_weights(labels, largest=3)[0].max() <= 3
