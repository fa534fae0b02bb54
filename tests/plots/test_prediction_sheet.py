"""The sheet with probabilities: bars and marks where they belong, both layouts true to scale, nothing out of place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from twelvelead.errors import UserError
from twelvelead.plots.ecg_sheet import (
    ALARM,
    DOTS_PER_INCH,
    LAYOUTS,
    LEFT_MM,
    SHADE,
    TOP_MM,
    Shading,
    draw,
    sheet_size,
)
from twelvelead.plots.prediction_sheet import (
    BAR_LEFT_MM,
    BAR_MM,
    BAR_ROW_MM,
    FOUND,
    NOT_FOUND,
    PANEL_MM,
    Bar,
    draw_prediction,
)
from twelvelead.synthetic.making import make_recording

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows

MM = DOTS_PER_INCH / 25.4  # pixels
RECORDING = make_recording(["NSR"], 3)
BARS = [Bar("NSR", 0.9, 0.4, True), Bar("AF", 0.25, 0.7, False)]


def picture(path, **changes) -> np.ndarray:
    """The pixels of a picture, float (rows, columns, 3)."""
    arguments = {"title": "found: NSR", **changes}
    recording, bars = arguments.pop("recording", RECORDING), arguments.pop("bars", BARS)
    return imread(draw_prediction(recording, path / "a.png", bars, **arguments))[:, :, :3]


def near(pixels, colour, most=0.06) -> np.ndarray:
    """Where the picture has a colour, bool (rows, columns)."""
    return np.abs(pixels - np.array(to_rgb(colour))).max(axis=2) < most


def test_bars_are_as_long_as_the_probabilities_and_marks_stand_at_the_thresholds(tmp_path):
    pixels = picture(tmp_path)
    begin = sheet_size("3x4")[0] + BAR_LEFT_MM
    for number, bar in enumerate(BARS):
        row = round((TOP_MM + (number + 0.5) * BAR_ROW_MM) * MM)
        part = pixels[row : row + 1, : round((begin + BAR_MM + 1) * MM)]  # the probability in figures is further right
        columns = np.flatnonzero(near(part, FOUND if bar.found else NOT_FOUND)[0])
        assert columns.min() / MM == pytest.approx(begin, abs=0.5)
        assert columns.max() / MM == pytest.approx(begin + bar.probability * BAR_MM, abs=0.5)
        mark = np.flatnonzero(near(part, ALARM)[0])
        assert np.median(mark) / MM == pytest.approx(begin + bar.threshold * BAR_MM, abs=0.5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_picture_is_as_large_as_its_parts(layout, tmp_path):
    height, width, _ = picture(tmp_path, layout=layout).shape
    expected_width, expected_height = sheet_size(layout)
    assert width / MM == pytest.approx(expected_width + PANEL_MM, abs=0.5)
    assert expected_height < height / MM < expected_height + 12
    longer = picture(tmp_path, layout=layout, notes=["a note"] * 3, warnings=["a warning " * 40]).shape[0]
    assert longer > height + 10 * MM


def test_a_millivolt_is_ten_millimetres_in_twelve_rows_too(tmp_path):
    step = replace(RECORDING, signal_mv=np.where(np.arange(5000) < 2500, 0, 0.5) * np.ones((12, 1), np.float32))
    pixels = imread(draw(step, tmp_path / "a.png", layout="12x1"))[:, :, :3]
    row_mm = LAYOUTS["12x1"].row_mm
    for number in range(12):
        top = TOP_MM + number * row_mm
        part = pixels[round((top + 1) * MM) : round((top + row_mm) * MM)]
        heights = [
            np.flatnonzero(part[:, round((LEFT_MM + second * 25) * MM)].max(axis=1) < 0.6).mean() / MM + 1
            for second in (3.1, 7.1)
        ]
        assert heights[0] - heights[1] == pytest.approx(5, abs=0.3) and heights[0] == pytest.approx(row_mm / 2, abs=0.5)


@pytest.mark.parametrize("factor", [1000, 0.001])
def test_a_wrong_gain_is_drawn_at_a_scale_at_which_it_can_be_seen_and_said(factor, tmp_path):
    right = imread(draw(RECORDING, tmp_path / "a.png"))
    wrong = imread(draw(replace(RECORDING, signal_mv=RECORDING.signal_mv * np.float32(factor)), tmp_path / "b.png"))
    above = round((TOP_MM + 4 * LAYOUTS["3x4"].row_mm) * MM) - 5  # below it the scale is written
    assert (np.abs(right[:above] - wrong[:above]).max(axis=2) > 0.3).mean() < 0.002
    assert near(wrong[above:, :, :3], ALARM, 0.2).any() and not near(right[above:, :, :3], ALARM, 0.2).any()


def test_a_lead_far_from_its_line_is_moved_onto_it(tmp_path):
    moved = imread(draw(replace(RECORDING, signal_mv=RECORDING.signal_mv + np.float32(20)), tmp_path / "a.png"))
    right = imread(draw(RECORDING, tmp_path / "b.png"))
    assert (np.abs(right - moved).max(axis=2) > 0.3).mean() < 0.02


def test_no_trace_runs_over_what_stands_beside_the_sheet(tmp_path):
    spikes = RECORDING.signal_mv.copy()
    spikes[:, ::500] = -30
    plain, wild = picture(tmp_path), picture(tmp_path, recording=replace(RECORDING, signal_mv=spikes))
    bottom = round(sheet_size("3x4")[1] * MM) + 2
    np.testing.assert_array_equal(plain[bottom:], wild[bottom:])


def test_shading_marks_the_windows_that_count_and_no_others(tmp_path):
    strengths = np.array([0.0, 1.0])
    shading = Shading(np.array([1.0, 4.0]), 0.5, strengths, np.zeros((12, 2)))
    plain, shaded = picture(tmp_path), picture(tmp_path, shading=shading)
    changed = np.abs(plain - shaded).max(axis=2) > 0.02
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert columns.min() / MM == pytest.approx(LEFT_MM + 100, abs=0.5)
    assert columns.max() / MM == pytest.approx(LEFT_MM + 112.5, abs=0.5)
    assert rows.min() / MM > TOP_MM + 3 * LAYOUTS["3x4"].row_mm  # the rhythm strip
    assert np.abs(shaded[changed].mean(axis=0) - np.array(to_rgb(SHADE))).max() < 0.6


def test_the_rhythm_strip_is_another_lead_where_ii_was_not_recorded(tmp_path):
    chest = replace(RECORDING, signal_mv=RECORDING.signal_mv[6:], leads=RECORDING.leads[6:])
    pixels = picture(tmp_path, recording=chest)
    strip = pixels[round((TOP_MM + 3 * 35) * MM) : round((TOP_MM + 4 * 35) * MM), round(100 * MM) : round(260 * MM)]
    assert ((strip.max(axis=2) < 0.3).any(axis=0)).mean() > 0.95


@pytest.mark.parametrize("arguments", [dict(layout="6x2"), dict(start_s=10.0), dict(start_s=-1.0)])
def test_what_cannot_be_drawn_is_one_line(arguments, tmp_path):
    with pytest.raises(UserError) as error:
        picture(tmp_path, **arguments)
    assert "\n" not in str(error.value)


def test_signs_of_formulas_in_names_are_only_signs(tmp_path):
    picture(
        tmp_path,
        recording=replace(RECORDING, name="$x^_{"),
        bars=[Bar("$a_", 0.5, 0.5, True)],
        title="$y^",
        notes=["$z_{"],
        footer="$_{",
    )
