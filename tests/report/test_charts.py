"""Lines and marks of the charts: what is drawn is the curve, to a tenth of a unit."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvelead.evaluation import metrics
from twelvelead.report import charts
from twelvelead.report.figures import Figure
from twelvelead.report.inputs import read_inputs


def drawn(path: str) -> np.ndarray:
    """The points of a path as values from 0 to 1, (points, 2)."""
    points = np.array([[float(x) for x in pair.split()] for pair in re.split("[ML]", path)[1:]])
    left, top = points[:, 0] - charts.LEFT, charts.BOTTOM - points[:, 1]
    return np.column_stack([left / (charts.RIGHT - charts.LEFT), top / (charts.BOTTOM - charts.TOP)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("recordings", [3, 40, 3000])
def test_the_areas_under_the_drawn_curves_are_the_metrics(seed, recordings):
    rng = np.random.default_rng(seed)
    labels = rng.random(recordings) < 0.3
    labels[:2] = True, False
    scores = np.round(rng.normal(labels * 1.0, 1.0), 1)
    auroc, auprc = (float(area[0]) for area in metrics.ranking_areas(labels[:, None], scores[:, None]))
    roc = drawn(charts._line(*charts.curves.roc_curve(labels, scores)))
    steps = drawn(charts._steps(*charts.curves.precision_recall_curve(labels, scores)))
    for points, area in ((roc, auroc), (steps, auprc)):
        trapezoids = np.sum(np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2)
        assert trapezoids == pytest.approx(area, abs=0.004)


def test_a_curve_of_many_recordings_stays_short():
    rng = np.random.default_rng(0)
    labels = rng.random(100_000) < 0.1
    scores = rng.normal(labels * 1.0, 1.0)
    assert len(charts._line(*charts.curves.roc_curve(labels, scores))) < 30_000
    assert len(charts._steps(*charts.curves.precision_recall_curve(labels, scores))) < 40_000


FINITE = st.floats(-1, 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE, FINITE), max_size=6), st.one_of(FINITE, st.just(math.nan)))
def test_every_interval_lies_on_its_axis(values, reference):
    axis = charts.axis_for([Figure(value, *sorted(ends)) for value, *ends in values], reference)
    assert 2 <= len(axis.ticks) <= 8 and axis.percent(axis.low) == 0 and axis.percent(axis.high) == 100
    for value in (end for each in values for end in each):
        assert axis.low - 1e-9 <= value <= axis.high + 1e-9
    assert list(axis.ticks) == sorted(set(axis.ticks))


def test_an_axis_without_any_value_has_ticks():
    assert charts.axis_for([Figure(math.nan)], math.nan).ticks[0] == 0


def test_the_mark_of_the_outputs_lies_where_sensitivity_and_specificity_say(case):
    inputs = read_inputs(case)
    outputs, _ = inputs.systems[0]
    place = int(np.argmax(inputs.labels.sum(axis=0)))
    panels = charts.panels_of(inputs, place)
    positive = inputs.labels[:, place]
    sensitivity, specificity = outputs[positive, place].mean(), 1 - outputs[~positive, place].mean()
    assert (panels.sensitivity, panels.specificity) == pytest.approx((sensitivity, specificity))
    assert panels.roc_point.x == pytest.approx(charts.x_at(1 - specificity), abs=0.1)
    assert panels.roc_point.y == pytest.approx(charts.y_at(sensitivity), abs=0.1)
    assert panels.threshold_x is None and panels.other_roc.startswith("M")


def test_scores_lie_in_order_on_the_axis_of_log_odds():
    places = [charts.score_x(score) for score in (0.0, 0.01, 0.5, 0.99, 1.0)]
    assert places == sorted(places) and places[0] == charts.LEFT and places[-1] == charts.RIGHT
    assert places[2] == pytest.approx((charts.LEFT + charts.RIGHT) / 2, abs=0.1)
