"""The losses: equal to their definitions and to the metric, with right gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twelvelead.data.classes import load_weights, scored_classes
from twelvelead.evaluation.metrics import unnormalised_challenge_metric
from twelvelead.training.losses import (
    LOSSES,
    Weighting,
    categorical_cross_entropy,
    class_weights,
    cross_entropy,
    frequency_log_odds,
    joint_loss,
    metric_loss,
    weighted_cross_entropy,
)

WEIGHTS = Path(__file__).resolve().parents[2] / "weights.csv"


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
        count = max(sum(label + value - label * value for label, value in zip(row, score)), 1)
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


def test_cross_entropy_is_its_definition(classes):
    labels, logits = some_labels(7), torch.randn(50, 24)
    score = 1 / (1 + np.exp(-logits.double().numpy()))
    expected = -np.mean(labels * np.log(score) + ~labels * np.log(1 - score))
    loss = cross_entropy(logits, torch.tensor(labels), weighting_for(labels, classes))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_categorical_cross_entropy_is_what_keras_makes_of_sigmoids(classes):
    """Scores are divided by their sum, then −Σ label · log(share) of each recording; one without labels has none."""
    labels, logits = some_labels(8), torch.randn(50, 24) * 3
    score = 1 / (1 + np.exp(-logits.double().numpy()))
    share = score / score.sum(axis=1, keepdims=True)
    expected = np.mean([-sum(np.log(share[n, k]) for k in np.flatnonzero(labels[n])) for n in range(50)])
    assert not labels.any(axis=1).all()
    loss = categorical_cross_entropy(logits, torch.tensor(labels), weighting_for(labels, classes))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_joint_loss_is_its_definition(classes):
    """BCE(y) with positive weights N⁻/N⁺, − the metric of p for each recording, + mean 4p(1 − p) / 128."""
    labels = some_labels(11)
    labels[:, 5], labels[:, 6] = False, True
    diagnoses, decisions = torch.randn(50, 24), torch.randn(50, 24)
    y, p = (1 / (1 + np.exp(-logits.double().numpy())) for logits in (diagnoses, decisions))
    positives = labels.sum(0)
    weight = np.divide(50 - positives, positives, out=np.zeros(24), where=positives > 0)
    weight[6] = 1  # nobody is without it; N⁻/N⁺ would be 0 and leave the class unlearnt
    entropy = -np.mean(weight * labels * np.log(y) + ~labels * np.log(1 - y))
    count = np.maximum((labels + p - labels * p).sum(axis=1), 1)
    metric = sum(classes.weights[j, k] * labels[:, j] @ (p[:, k] / count) for j in range(24) for k in range(24)) / 50
    weighting = weighting_for(labels, classes)
    loss = joint_loss(torch.stack([diagnoses, decisions], dim=1), torch.tensor(labels), weighting)
    assert float(loss) == pytest.approx(entropy - metric + np.mean(4 * p * (1 - p)) / 128, rel=1e-5)
    one_head = joint_loss(diagnoses, torch.tensor(labels), weighting)
    both = joint_loss(torch.stack([diagnoses, diagnoses], dim=1), torch.tensor(labels), weighting)
    torch.testing.assert_close(one_head, both)


def test_the_joint_loss_of_two_heads_leaves_out_what_nobody_knows(classes):
    logits, labels, known = masked_case()
    both = torch.stack([logits, logits.flip(0)], dim=1)
    loss, gradient = loss_and_gradient("joint_loss", both, labels, weighting_for(labels.numpy() > 0, classes), known)
    unknown = (known == 0)[:, None, :].expand(-1, 2, -1)
    assert loss.isfinite() and not gradient[unknown].any() and (gradient[~unknown] != 0).double().mean() > 0.9


# --------------------------------------------------------------------------------------------------- what nobody knows


def masked_case(seed=9):
    """Logits, labels, known: three recordings in ten know all classes, one knows none."""
    labels = torch.tensor(some_labels(seed, 40), dtype=torch.float32)
    labels[:, :3] = 1.0
    rng = torch.Generator().manual_seed(seed)
    known = (torch.rand(40, 24, generator=rng) < 0.6).float()
    known[:12], known[12:16] = 1, 0
    return torch.randn(40, 24, generator=rng) * 2, labels, known


def loss_and_gradient(name, logits, labels, weighting, known):
    logits = logits.clone().requires_grad_()
    loss = LOSSES[name](logits, labels, weighting, known)
    loss.backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_what_is_not_known_has_no_part_in_loss_and_gradient(classes, name):
    logits, labels, known = masked_case()
    weighting = weighting_for(labels.numpy() > 0, classes)
    loss, gradient = loss_and_gradient(name, logits, labels, weighting, known)
    unknown = known == 0
    assert loss.isfinite() and gradient.isfinite().all() and not gradient[unknown].any()
    assert (gradient[~unknown] != 0).double().mean() > 0.5
    for other in (torch.where(unknown, 1 - labels, labels), torch.where(unknown, 1.0, labels)):
        again, same = loss_and_gradient(name, torch.where(unknown, logits + 5, logits), other, weighting, known)
        torch.testing.assert_close(again, loss)
        torch.testing.assert_close(same, gradient)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_knowing_everything_is_the_plain_loss(classes, name):
    logits, labels, _ = masked_case()
    weighting = weighting_for(labels.numpy() > 0, classes)
    plain, masked = (loss_and_gradient(name, logits, labels, weighting, known) for known in (None, torch.ones(40, 24)))
    torch.testing.assert_close(plain, masked)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("mask", [False, True])
def test_the_parts_of_a_batch_add_up_to_its_loss(classes, name, mask):
    logits, labels, known = masked_case()
    weighting = weighting_for(labels.numpy() > 0, classes)
    known = known if mask else None
    whole = LOSSES[name](logits, labels, weighting, known)
    parts = [slice(0, 7), slice(7, 30), slice(30, 40)]
    together = sum(
        LOSSES[name](logits[part], labels[part], weighting, None if known is None else known[part])
        * (part.stop - part.start)
        / 40
        for part in parts
    )
    torch.testing.assert_close(together, whole)


def test_class_weights_count_the_known_labels_alone():
    labels, rng = some_labels(10, 300), np.random.default_rng(10)
    known = rng.random(labels.shape) < 0.5
    known[:, 0], known[:, 1] = False, ~labels[:, 1]  # nothing is known; no positive is
    positive, negative = class_weights(labels, known=known)
    for k in range(2, 24):
        alone = class_weights(labels[known[:, k], k : k + 1])
        assert (positive[k], negative[k]) == (alone[0][0], alone[1][0])
    assert positive[0] == negative[0] == positive[1] == 0 and negative[1] == 1
    for ours, plain in zip(class_weights(labels, known=np.ones_like(labels)), class_weights(labels)):
        np.testing.assert_array_equal(ours, plain)
    assert class_weights(labels, largest=2, known=known)[0].max() <= 2


def test_what_frequency_adds_to_log_odds():
    labels = np.zeros((100, 4), dtype=bool)
    labels[:50, 0] = labels[:2, 1] = labels[:, 3] = True  # half, 2 %, none, all
    np.testing.assert_allclose(frequency_log_odds(labels, weighted=False), [0, np.log(2 / 98), 0, 0], atol=1e-7)
    np.testing.assert_allclose(frequency_log_odds(labels), 0, atol=1e-6)  # weights without limit make up for it
    # at most 10: w+ = 10, w- = 100 / 98
    np.testing.assert_allclose(
        frequency_log_odds(labels, largest=10), [0, np.log(10 * 2 / (100 / 98 * 98)), 0, 0], atol=1e-6
    )
    known = np.arange(100)[:, None] < np.array([100, 40, 100, 100])
    np.testing.assert_allclose(frequency_log_odds(labels, known, weighted=False)[1], np.log(2 / 38))
