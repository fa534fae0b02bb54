"""evaluation/metrics.py and bootstrap.py against plain loops and scikit-learn, and for what every metric must satisfy.

python -m pytest tests/evaluation/test_metrics.py
"""

import doctest
import warnings

import numpy as np
import plain_scorer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from twelvelead.evaluation import bootstrap, metrics

FEW = settings(max_examples=60, deadline=None)
SOME_SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])


@st.composite
def evaluations(draw, scores=SOME_SCORES):
    """Labels, outputs, scores with many ties, weights and the place of sinus rhythm, of 1 to 12 recordings."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    labels, outputs = draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))
    weights = draw(hnp.arrays(float, (shape[1], shape[1]), elements=st.sampled_from([0.2, 0.3, 0.5, 1.0])))
    return labels, outputs, draw(hnp.arrays(float, shape, elements=scores)), weights, draw(st.integers(0, shape[1] - 1))


def same(ours, plain):
    return np.array_equal(np.asarray(ours, float), np.asarray(plain, float), equal_nan=True)


def made(recordings=200, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((recordings, classes)) < 0.25
    labels[~labels.any(axis=1), 0] = True
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * labels, 0.2), 0, 1), 2)
    weights = rng.choice([0.2, 0.3, 0.5], (classes, classes))
    np.fill_diagonal(weights, 1.0)
    return labels, scores > 0.5, scores, weights, classes - 1


# -- against plain loops ---------------------------------------------------------------------------


@FEW
@given(evaluations())
def test_every_metric_equals_the_plain_loops(case):
    labels, outputs, scores, weights, sinus_rhythm = case
    ours = metrics.evaluate(labels, outputs, scores, weights, sinus_rhythm, "2020")
    plain = plain_scorer.score(labels.tolist(), outputs.tolist(), scores.tolist(), weights.tolist(), sinus_rhythm)
    assert set(ours) == set(plain)
    for key in plain:
        if key.endswith("_classes") or key == "accuracy":
            assert same(ours[key], plain[key]), key  # to the last bit: both add in the order of the recordings
        else:
            assert ours[key] == pytest.approx(plain[key], rel=1e-9, abs=1e-12, nan_ok=True), key
    in_2021 = metrics.evaluate(labels, outputs, scores, weights, sinus_rhythm, "2021")
    assert all(same(in_2021[key], ours[key]) for key in in_2021)


@FEW
@given(evaluations(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1e-300, 0.5, 1.0, 1e17, np.inf])))
def test_areas_stand_any_scores_but_nan(case):
    labels, _, scores, _, _ = case
    for k in range(labels.shape[1]):
        assert same(metrics.auroc(labels, scores)[k], plain_scorer.auroc(labels.tolist(), scores.tolist(), k))
        assert same(metrics.auprc(labels, scores)[k], plain_scorer.auprc(labels.tolist(), scores.tolist(), k))
    with pytest.raises(ValueError, match="NaN"):
        metrics.auroc(labels, np.where(np.arange(scores.size).reshape(scores.shape) == 0, np.nan, scores))


@FEW
@given(evaluations(st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.5])))
def test_unofficial_metrics_equal_the_plain_loops(case):
    labels, outputs, scores, _, _ = case
    labels[~labels.any(axis=1), 0] = True
    ours = metrics.evaluate(labels, outputs, scores, year="unofficial")
    for key, values in plain_scorer.score_unofficial(labels.tolist(), outputs.tolist(), scores.tolist()).items():
        assert same(ours[f"{key}_classes"], values), key
        assert ours[key] == pytest.approx(sum(values) / len(values))
    assert ours["geometric_mean"] ** 2 == pytest.approx(ours["f_beta_measure"] * ours["g_beta_measure"])


def test_long_sums_are_added_in_the_order_of_the_recordings():
    labels, outputs, scores, _, _ = made(recordings=2000)
    f2, g2 = metrics.beta_measures(labels, outputs)
    for k in range(labels.shape[1]):
        assert f2[k] == plain_scorer.f_beta(labels.tolist(), outputs.tolist(), k, 2, weighted=True)
        assert g2[k] == plain_scorer.g_beta(labels.tolist(), outputs.tolist(), k, 2)
        assert metrics.auroc(labels, scores)[k] == plain_scorer.auroc(labels.tolist(), scores.tolist(), k)


# -- against scikit-learn, where the definitions meet ----------------------------------------------


@FEW
@given(evaluations())
def test_metrics_equal_scikit_learns(case):
    labels, outputs, scores, _, _ = case
    result = metrics.evaluate(labels, outputs, scores, np.eye(labels.shape[1]), 0, "2021")
    assert result["accuracy"] == pytest.approx(np.mean([tuple(a) == tuple(b) for a, b in zip(labels, outputs)]))
    for k in range(labels.shape[1]):
        positives = labels[:, k].sum()
        if 0 < positives < len(labels):
            expected = sklearn_metrics.roc_auc_score(labels[:, k], scores[:, k])
            assert result["auroc_classes"][k] == pytest.approx(expected)
        else:
            assert np.isnan(result["auroc_classes"][k])
        if positives:
            expected = sklearn_metrics.average_precision_score(labels[:, k], scores[:, k])
            assert result["auprc_classes"][k] == pytest.approx(expected)
        else:
            assert np.isnan(result["auprc_classes"][k])
        if positives or outputs[:, k].any():
            expected = sklearn_metrics.f1_score(labels[:, k], outputs[:, k])
            assert result["f_measure_classes"][k] == pytest.approx(expected)
        else:
            assert np.isnan(result["f_measure_classes"][k])


# -- what must hold anyway -------------------------------------------------------------------------


@FEW
@given(evaluations())
def test_challenge_metric_is_1_for_the_labels_and_0_for_sinus_rhythm(case):
    labels, _, _, weights, sinus_rhythm = case
    np.fill_diagonal(weights, 2.0)  # a right label is worth more than any other
    inactive = np.zeros_like(labels)
    inactive[:, sinus_rhythm] = True
    assert metrics.challenge_metric(labels, inactive, weights, sinus_rhythm) == 0
    only_sinus_rhythm = (labels.sum(axis=1) == labels[:, sinus_rhythm]).all()
    assert metrics.challenge_metric(labels, labels, weights, sinus_rhythm) == (0 if only_sinus_rhythm else 1)


@FEW
@given(evaluations())
def test_unlabelled_recordings_add_nothing_and_others_add_up(case):
    labels, outputs, _, weights, _ = case
    whole = metrics.unnormalised_challenge_metric(labels, outputs, weights)
    single = [
        metrics.unnormalised_challenge_metric(label[None], output[None], weights)
        for label, output in zip(labels, outputs)
    ]
    assert whole == pytest.approx(sum(single))
    assert not any(value for value, label in zip(single, labels) if not label.any())


@FEW
@given(evaluations())
def test_areas_depend_on_the_order_of_scores_alone(case):
    labels, _, scores, _, _ = case
    assert same(metrics.ranking_areas(labels, scores), metrics.ranking_areas(labels, np.exp(3 * scores) - 7))


def test_docstrings_examples_run():
    example = doctest.DocTestParser().get_examples(metrics.__doc__)
    names = {"np": np}
    exec("".join(step.source for step in example), names)
    result = doctest.testmod(metrics, extraglobs=names)
    assert result.failed == 0 and result.attempted > 12
    assert doctest.testmod(bootstrap, extraglobs=names).failed == 0


# -- intervals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", ["2020", "2021", "unofficial"])
@pytest.mark.parametrize("recordings", [3, 150])
def test_every_resample_has_the_metrics_of_its_recordings(year, recordings):
    labels, outputs, scores, weights, sinus_rhythm = made(recordings)
    scores[::5, :2] = [np.inf, 1.0]
    counts = np.concatenate(list(bootstrap.draw_counts(recordings, 30, seed=1)))
    (values,) = bootstrap.resampled_metrics(labels, [(outputs, scores)], [counts], weights, sinus_rhythm, year)
    for b, count in enumerate(counts):
        drawn = np.repeat(np.arange(recordings), count)
        expected = metrics.evaluate(labels[drawn], outputs[drawn], scores[drawn], weights, sinus_rhythm, year)
        assert set(values) == set(expected)
        for key in expected:
            assert values[key][b] == pytest.approx(expected[key], rel=1e-9, abs=1e-12, nan_ok=True), key


def test_resamples_are_seeded_and_as_large_as_the_original():
    first, again, other = (np.concatenate(list(bootstrap.draw_counts(40, 120, seed))) for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == (120, 40) and (first.sum(axis=1) == 40).all()
    assert first.mean(axis=0) == pytest.approx(1, abs=0.5)


def test_groups_are_drawn_whole():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    counts = np.concatenate(list(bootstrap.draw_counts(6, 200, 0, groups)))
    for name in "abc":
        of_group = counts[:, groups == name]
        assert (of_group == of_group[:, :1]).all()
    assert (counts[:, [1, 0, 3]].sum(axis=1) == 3).all()  # one recording of each of three groups


def test_intervals_narrow_with_more_recordings_and_hold_the_value():
    widths = []
    for recordings in (100, 2500):
        labels, outputs, scores, weights, sinus_rhythm = made(recordings)
        counts = bootstrap.draw_counts(recordings, 200, seed=0)
        (values,) = bootstrap.resampled_metrics(labels, [(outputs, scores)], counts, weights, sinus_rhythm)
        low, high = bootstrap.interval(values["challenge_metric"])
        assert low < metrics.challenge_metric(labels, outputs, weights, sinus_rhythm) < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(5, rel=0.4)  # √(2500 / 100)


def test_intervals_leave_out_resamples_in_which_a_class_is_undefined():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = bootstrap.interval(values, level=0.0)
    assert low[0] == high[0] == 2 and np.isnan([low[1], high[1]]).all()


def test_resamples_are_paired():
    labels, outputs, scores, weights, sinus_rhythm = made()
    counts = bootstrap.draw_counts(len(labels), 60, seed=0)
    one, two = bootstrap.resampled_metrics(labels, [(outputs, scores)] * 2, counts, weights, sinus_rhythm)
    assert all(same(one[key], two[key]) for key in one)
