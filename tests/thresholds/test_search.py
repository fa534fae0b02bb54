"""Thresholds: metrics against metrics.py, the search along a class against brute force, every method's promises."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from twelvelead.data.classes import classes_for, load_weights, scored_classes
from twelvelead.errors import UserError
from twelvelead.evaluation import metrics
from twelvelead.thresholds import search
from twelvelead.thresholds.decisions import at_least_one_label, decide, vote
from twelvelead.thresholds.objectives import challenge_objective, joined, objective_of, unofficial_objective
from twelvelead.thresholds.search import METHODS, best_cut, common, optimise, shrink

CLASSES = scored_classes(load_weights(Path(__file__).parents[2] / "weights.csv"))
QUICK = {
    "bayesian": {"random_points": 20, "guided_points": 4},
    "simplex": {"evaluations": 100},
    "differential_evolution": {"generations": 3},
}
METRICS = {
    "challenge": lambda labels, scores: challenge_objective(labels, scores, CLASSES.weights, CLASSES.sinus_rhythm),
    "unofficial": unofficial_objective,
}
every_method = pytest.mark.parametrize("method", METHODS)
every_metric = pytest.mark.parametrize("metric", METRICS)
some_seconds = settings(deadline=None, max_examples=60)


def recordings(seed, count, decimals=None):
    """Labels and float32 scores that know something of them; rounded, they tie and reach 0 and 1."""
    rng = np.random.default_rng(seed)
    labels = rng.random((count, len(CLASSES.codes))) < rng.uniform(0, 0.3, len(CLASSES.codes))
    scores = 1 / (1 + np.exp(-rng.normal(size=labels.shape) * 2 - 3 * labels + 2))
    return labels, (scores if decimals is None else scores.round(decimals)).astype(np.float32)


@st.composite
def data(draw, least=0):
    return recordings(draw(st.integers(0, 2**32)), draw(st.integers(least, 25)), draw(st.sampled_from([None, 1])))


@some_seconds
@given(data(), st.integers(0, 2**32))
def test_the_challenge_objective_is_the_challenge_metric_of_the_decided_labels(labels_scores, seed):
    labels, scores = labels_scores
    thresholds = np.random.default_rng(seed).random(labels.shape[1]).round(1)
    expected = metrics.challenge_metric(labels, decide(scores, thresholds), CLASSES.weights, CLASSES.sinus_rhythm)
    assert METRICS["challenge"](labels, scores)(thresholds) == pytest.approx(expected, abs=1e-9)


@some_seconds
@given(data(), st.integers(0, 2**32))
def test_the_unofficial_objective_is_the_leaderboard_figure_of_the_decided_labels(labels_scores, seed):
    labels, scores = (each[labels_scores[0].any(axis=1)] for each in labels_scores)
    thresholds = np.random.default_rng(seed).random(labels.shape[1]).round(1)
    measures = metrics.unofficial_measures(labels, decide(scores, thresholds))
    expected = np.sqrt(measures["f_beta_measure_classes"].mean() * measures["g_beta_measure_classes"].mean())
    assert METRICS["unofficial"](labels, scores)(thresholds) == pytest.approx(expected, abs=1e-9)


@every_metric
@some_seconds
@given(data(), st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_the_best_cut_is_the_best_of_all_thresholds_from_the_floor_up(metric, labels_scores, seed, floor):
    labels, scores = labels_scores
    objective = METRICS[metric](labels, scores)
    rng = np.random.default_rng(seed)
    thresholds, k = rng.random(labels.shape[1]), int(rng.integers(labels.shape[1]))

    def at(threshold):
        return objective(np.where(np.arange(len(thresholds)) == k, threshold, thresholds))

    found, value = best_cut(objective, k, thresholds, floor)
    brute = {float(score) for score in scores[:, k]} | {floor, 1.0}
    assert floor <= found <= 1
    assert value == pytest.approx(at(found), abs=1e-9)
    assert value == pytest.approx(max(at(threshold) for threshold in brute if threshold >= floor), abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbouring_scores_are_told_apart_after_a_way_through_json(dtype):
    low = dtype(0.3)
    scores = np.full((2, len(CLASSES.codes)), 0.01, dtype=dtype)
    scores[:, 1] = low, np.nextafter(low, dtype(1))
    labels = np.zeros(scores.shape, dtype=bool)
    labels[0, 3] = labels[1, 1] = True  # the first has its only label already, another would halve its reward
    scores[0, 3] = 0.9
    thresholds = np.full(len(CLASSES.codes), 0.5)
    thresholds[1], _ = best_cut(METRICS["challenge"](labels, scores), 1, thresholds)
    assert decide(scores, json.loads(json.dumps(thresholds.tolist())))[:, 1].tolist() == [False, True]


@every_method
@every_metric
@settings(deadline=None, max_examples=10)
@given(data())
def test_every_method_rises_from_one_half_and_reports_what_it_reached(method, metric, labels_scores):
    objective = METRICS[metric](*labels_scores)
    found = optimise(objective, method, seed=1, **QUICK.get(method, {}))
    values = [value for _, value in found.stages]
    assert found.values.dtype == np.float64 and found.values.shape == (len(CLASSES.codes),)
    assert ((found.values >= 0) & (found.values <= 1)).all()
    assert values[0] == objective(np.full(len(found.values), 0.5)) and values[-1] == objective(found.values)
    assert values == sorted(values)


@every_method
@every_metric
@pytest.mark.parametrize("decimals", [None, 1])
def test_the_same_seed_finds_the_same_in_any_order_of_the_recordings(method, metric, decimals):
    labels, scores = recordings(7, 60, decimals)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    one = optimise(METRICS[metric](labels, scores), method, seed=5, **QUICK.get(method, {}))
    other = optimise(METRICS[metric](labels[shuffled], scores[shuffled]), method, seed=5, **QUICK.get(method, {}))
    assert np.array_equal(one.values, other.values) and one.stages == other.stages


@every_method
@pytest.mark.parametrize(
    "labels, scores",
    [
        (np.zeros((0, 24), bool), np.zeros((0, 24))),
        (np.zeros((9, 24), bool), np.random.default_rng(0).random((9, 24))),
        (np.arange(24) == np.full((9, 1), CLASSES.sinus_rhythm), np.random.default_rng(0).random((9, 24))),
    ],
    ids=["no recordings", "no labels", "sinus rhythm only"],
)
def test_with_nothing_to_learn_from_thresholds_stay_at_one_half(method, labels, scores):
    assert (optimise(METRICS["challenge"](labels, scores), method, **QUICK.get(method, {})).values == 0.5).all()


FROM_POINTS = dict(points=40, common_points=9, f_points=2, generations=3)


def first_population(monkeypatch, objective, **options):
    """The starting points that scipy is given."""
    seen = []
    real = search.optimize.differential_evolution
    monkeypatch.setattr(
        search.optimize, "differential_evolution", lambda *args, **kw: seen.append(kw["init"]) or real(*args, **kw)
    )
    optimise(objective, "differential_evolution", seed=1, **options)
    return seen[0]


def test_evolution_starts_from_common_thresholds_the_best_f_and_random_points(monkeypatch):
    labels, scores = recordings(6, 80)
    labels[:, 4] = False
    objective = METRICS["challenge"](labels, scores)
    points = first_population(monkeypatch, objective, points=300, common_points=99, f_points=2, generations=1)
    assert points.shape == (300, 24) and points.min() >= 0 and points.max() <= 1
    np.testing.assert_allclose(points[:99], np.repeat(np.arange(1, 100)[:, None] / 100, 24, axis=1))
    assert np.ptp(points[101:], axis=1).min() > 0.5  # the others are random
    for beta, point in zip((1, 2), points[99:101]):

        def f(k, threshold, beta=beta):
            outputs = scores[:, k] >= threshold
            return (1 + beta**2) * (labels[:, k] & outputs).sum() / (beta**2 * labels[:, k].sum() + outputs.sum())

        for k in np.flatnonzero(labels.any(axis=0)):
            assert f(k, point[k]) == pytest.approx(max(f(k, score) for score in scores[:, k]))
        assert point[4] == common(objective).values[4]


@pytest.mark.parametrize("decimals", [None, 1])
def test_evolution_from_given_points_keeps_the_promises_of_every_method(decimals):
    labels, scores = recordings(7, 60, decimals)
    labels[:, 3] = False
    objective = METRICS["challenge"](labels, scores)
    found = optimise(objective, "differential_evolution", seed=5, **FROM_POINTS)
    values = [value for _, value in found.stages]
    assert values == sorted(values) and values[-1] == objective(found.values) > values[1]
    assert ((found.values >= 0) & (found.values <= 1)).all() and found.values[3] >= common(objective).values[3]
    shuffled = np.random.default_rng(0).permutation(len(labels))
    other = METRICS["challenge"](labels[shuffled], scores[shuffled])
    assert np.array_equal(optimise(other, "differential_evolution", seed=5, **FROM_POINTS).values, found.values)
    for count in (0, 9):
        nothing = METRICS["challenge"](np.zeros((count, 24), bool), np.random.default_rng(0).random((count, 24)))
        assert (optimise(nothing, "differential_evolution", **FROM_POINTS).values == 0.5).all()


def test_bayesian_ends_where_no_single_class_can_gain():
    labels, scores = recordings(3, 200)
    objective = METRICS["challenge"](labels, scores)
    found = optimise(objective, "bayesian", seed=1)
    reached = dict(found.stages)
    assert reached["start"] < reached["common"] < reached["bayesian"] < reached["coordinate"]
    free = np.flatnonzero(labels.any(axis=0))
    assert max(best_cut(objective, k, found.values)[1] for k in free) == reached["coordinate"]


@pytest.mark.parametrize("method", ["bayesian", "constrained_grid"])
def test_classes_that_a_threshold_each_separates_are_separated(method):
    labels, _ = recordings(2, 150)
    cuts = np.linspace(0.1, 0.9, labels.shape[1])
    scores = np.where(labels, cuts + 0.04, cuts - 0.04)
    found = optimise(METRICS["challenge"](labels, scores), method)
    assert dict(found.stages)["common"] < 0.9
    assert found.stages[-1][1] == 1 and np.array_equal(decide(scores, found.values), labels)


@every_method
def test_a_class_without_positives_is_not_lowered_for_partial_credit(method):
    # Ten of twenty fibrillations are missed at any sensible threshold, and flutter, which nobody here has, scores 0.4
    # on these: naming it would earn half a point each. Below 0.46 a common threshold has 40 false alarms.
    af, flutter = CLASSES.index["164889003"], CLASSES.index["164890007"]
    labels, scores = np.zeros((60, len(CLASSES.codes)), bool), np.zeros((60, len(CLASSES.codes)))
    labels[:20, af] = labels[20:, CLASSES.sinus_rhythm] = True
    scores[:10, af], scores[20:, af], scores[20:, CLASSES.sinus_rhythm] = 0.9, 0.45, 0.9
    scores[10:20, flutter] = 0.4
    objective = METRICS["challenge"](labels, scores)
    half = np.full(len(CLASSES.codes), 0.5)
    assert best_cut(objective, flutter, half)[1] > objective(half) and common(objective).values[flutter] == 0.5
    assert optimise(objective, method, **QUICK.get(method, {})).values[flutter] >= 0.5


@every_metric
@pytest.mark.parametrize("method", ["bayesian", "constrained_grid"])
def test_shrunk_thresholds_lie_on_the_way_to_the_best_common_one(method, metric):
    objective = METRICS[metric](*recordings(4, 80))
    found, target = optimise(objective, method, **QUICK.get(method, {})), common(objective).values
    assert np.ptp(found.values) > 0.1
    assert shrink(objective, found, 0) is found
    own = np.clip(found.values, 0.03, 0.97)
    for part in (0.25, 0.5, 1.0):
        shrunk = shrink(objective, found, part)
        np.testing.assert_allclose(logit(shrunk.values), (1 - part) * logit(own) + part * logit(target))
        assert shrunk.stages == (*found.stages, ("shrunk", objective(shrunk.values)))
    np.testing.assert_allclose(shrunk.values, target)


def test_the_common_threshold_follows_half_of_what_frequency_adds_to_the_scores():
    objective = METRICS["challenge"](*recordings(4, 80))
    found = optimise(objective, "common")
    log_odds = np.linspace(-4, 2, len(CLASSES.codes))
    values = shrink(objective, found, 1.0, log_odds).values
    cut = logit(values) - log_odds / 2
    np.testing.assert_allclose(cut, cut[0])
    assert objective(values) == max(
        objective(expit(point + log_odds / 2)) for point in logit(np.linspace(0.01, 0.99, 99))
    )


def test_a_class_without_positives_is_not_given_more_freely_for_shrinking():
    labels, scores = recordings(4, 80)
    labels[:, 3] = False
    objective = METRICS["challenge"](labels, scores)
    found = optimise(objective, "common")
    log_odds = np.where(np.arange(len(CLASSES.codes)) == 3, -8.0, 0.0)
    assert shrink(objective, found, 1.0, log_odds).values[3] >= found.values[3]


def test_classes_are_optimised_for_the_metric_of_their_year():
    labels, scores = recordings(5, 40)
    at = np.random.default_rng(0).random(24)
    assert objective_of(CLASSES, labels, scores)(at) == METRICS["challenge"](labels, scores)(at)
    nine = classes_for("cpsc", load_weights(Path(__file__).parents[2] / "weights.csv"))
    labels, scores = labels[:, :9], scores[:, :9]
    assert objective_of(nine, labels, scores)(at[:9]) == unofficial_objective(labels, scores)(at[:9])


def test_an_unknown_method_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError) as error:
        optimise(METRICS["challenge"](*recordings(0, 3)), "gradient")
    assert all(name in str(error.value) for name in ("gradient", *METHODS))


def test_labels_and_scores_of_other_shapes_are_refused():
    labels, scores = recordings(0, 4)
    with pytest.raises(ValueError, match="must be equal"):
        unofficial_objective(labels, scores[:3])


@some_seconds
@given(data(least=1), st.integers(0, 2**32))
def test_at_least_one_label_fills_only_empty_rows_and_never_lowers_the_metric(labels_scores, seed):
    truth, scores = labels_scores
    thresholds = np.random.default_rng(seed).uniform(0.3, 1, truth.shape[1])
    plain, filled = decide(scores, thresholds), decide(scores, thresholds, at_least_one=True)
    empty = ~plain.any(axis=1)
    assert np.array_equal(filled[~empty], plain[~empty]) and (filled[empty].sum(axis=1) == 1).all()
    ratio = scores[empty] / thresholds
    assert np.array_equal(ratio[filled[empty]], ratio.max(axis=1))
    assert np.array_equal(decide(scores[0], thresholds, at_least_one=True), filled[0])
    before, after = (metrics.unnormalised_challenge_metric(truth, each, CLASSES.weights) for each in (plain, filled))
    assert after >= before - 1e-12


def test_at_least_one_label_takes_thresholds_of_zero_and_keeps_its_input():
    labels = np.zeros((1, 3), bool)
    with np.errstate(all="raise"):
        filled = at_least_one_label(labels, np.array([[0.2, 0.5, 0.1]]), np.array([0.5, 0.0, 0.5]))
    assert filled.tolist() == [[False, True, False]]
    assert not labels.any()


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=12))
def test_a_vote_needs_more_than_half_of_the_members(members):
    labels = np.array(members).reshape(len(members), 2, 2)
    expected = [[sum(member[2 * n + k] for member in members) > len(members) / 2 for k in range(2)] for n in range(2)]
    assert vote(labels).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**16), st.floats(0, 1), st.integers(1, 12), st.integers(1, 12))
def test_a_joined_objective_is_the_mixture_of_both_at_every_cut(seed, part, first_count, second_count):
    rng = np.random.default_rng(seed)
    objectives = []
    for count in (first_count, second_count):
        labels = rng.random((count, len(CLASSES.codes))) < 0.3
        scores = rng.integers(0, 6, labels.shape) / 5  # with ties
        objectives.append(objective_of(CLASSES, labels, scores))
    both = joined(*objectives, part)
    thresholds = rng.integers(0, 6, len(CLASSES.codes)) / 5
    mixture = (1 - part) * objectives[0](thresholds) + part * objectives[1](thresholds)
    assert both(thresholds) == pytest.approx(mixture, abs=1e-9)
    for k in (0, int(rng.integers(len(CLASSES.codes)))):
        cuts = both.cuts(k, thresholds)
        assert len(cuts) == first_count + second_count + 1
        for cut in np.unique(both.scores[k]):
            at = thresholds.copy()
            at[k] = cut
            assert cuts[(both.scores[k] >= cut).sum()] == pytest.approx(both(at), abs=1e-9)
