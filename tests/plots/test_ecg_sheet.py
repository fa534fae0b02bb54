"""The ECG sheet: true to scale, complete, and drawn for whatever recording there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.image import imread

from twelvelead.data.classes import DIAGNOSES
from twelvelead.data.header import LEADS
from twelvelead.errors import UserError
from twelvelead.plots.ecg_sheet import LEFT_MM, ROW_MM, ROWS, TOP_MM, draw, header_lines, sheet_figure
from twelvelead.synthetic import make_recording

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows

MM = 120 / 25.4  # pixels a millimetre


def ink(path) -> np.ndarray:
    """Where the picture is as dark as a trace, bool (height, width)."""
    return imread(path)[..., :3].max(axis=2) < 0.35


def flat(value_mv: float):
    recording = make_recording(["NSR"], 1, frequency_hz=100)
    return replace(recording, signal_mv=np.full_like(recording.signal_mv, value_mv))


def strip_height(path) -> float:
    """Millimetres from the baseline of the rhythm strip up to its trace, 6 s into it."""
    column = ink(path)[:, round((LEFT_MM + 6 * 25) * MM)]
    bottom = round((TOP_MM + (len(ROWS) - 1) * ROW_MM) * MM)
    trace = bottom + np.flatnonzero(column[bottom:])
    return (TOP_MM + (len(ROWS) - 0.5) * ROW_MM) - trace.mean() / MM


@pytest.mark.parametrize("value_mv", [-1.0, 0.0, 0.5, 1.2])
def test_a_millivolt_is_ten_millimetres(value_mv, tmp_path):
    assert strip_height(draw(flat(value_mv), tmp_path / "sheet.png")) == pytest.approx(10 * value_mv, abs=0.3)


def test_a_second_is_twenty_five_millimetres(tmp_path):
    recording = flat(0)
    recording.signal_mv[1, 300] = 1.4  # one sample of lead II, 3 s from the beginning
    marked = ink(draw(recording, tmp_path / "one.png")) & ~ink(draw(flat(0), tmp_path / "none.png"))
    bottom = round((TOP_MM + 3 * ROW_MM) * MM)
    columns = np.flatnonzero(marked[bottom:].any(axis=0))
    assert np.median(columns) / MM == pytest.approx(LEFT_MM + 3 * 25, abs=0.4)


def test_the_sheet_can_begin_later(tmp_path):
    recording = make_recording(["AF"], 1, seconds=20)
    later = replace(recording, signal_mv=recording.signal_mv[:, 5000:])
    one = imread(draw(recording, tmp_path / "one.png", start_s=10))
    two = imread(draw(later, tmp_path / "two.png"))
    height = round((TOP_MM + len(ROWS) * ROW_MM) * MM)  # below it stands where the sheet begins
    np.testing.assert_array_equal(one[:height], two[:height])


@pytest.mark.slow
def test_every_lead_is_drawn_in_its_place(tmp_path):
    """Take one lead away, and the picture changes there and nowhere else."""
    recording = make_recording(["NSR"], 3)
    whole = ink(draw(recording, tmp_path / "whole.png"))
    for row, leads in enumerate(ROWS[:3]):
        for column, lead in enumerate(leads):
            kept = [k for k, name in enumerate(LEADS) if name != lead]
            without = replace(recording, signal_mv=recording.signal_mv[kept], leads=tuple(LEADS[k] for k in kept))
            y, x = np.nonzero(whole ^ ink(draw(without, tmp_path / "part.png")))
            if lead == "II":  # it is the rhythm strip too
                x = x[y < (TOP_MM + 3 * ROW_MM) * MM]
                y = y[y < (TOP_MM + 3 * ROW_MM) * MM]
            assert abs(np.median(y) / MM - (TOP_MM + (row + 0.5) * ROW_MM)) < 8, lead
            assert x.min() / MM > LEFT_MM + column * 62.5 - 1 and x.max() / MM < LEFT_MM + (column + 1) * 62.5 + 2, lead


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, signal_mv=np.where(np.arange(5000) % 7, r.signal_mv, np.float32(np.nan))),
        lambda r: replace(r, signal_mv=np.full_like(r.signal_mv, np.nan)),
        lambda r: replace(r, signal_mv=r.signal_mv[:, :1]),
        lambda r: replace(r, signal_mv=r.signal_mv[:, :1200]),
        lambda r: replace(r, signal_mv=r.signal_mv[:1], leads=("X",)),
        lambda r: replace(r, signal_mv=r.signal_mv * 1000),
        lambda r: replace(r, frequency_hz=257.0),
        lambda r: replace(r, age_years=float("nan"), sex="unknown", codes=()),
        lambda r: replace(r, name="$x^ _{$", codes=("1", "$2$")),
    ],
)
def test_whatever_the_recording_lacks_there_is_a_sheet(change, tmp_path):
    path = draw(change(make_recording(["NSR"], 4)), tmp_path / "sheet.png")
    assert imread(path).shape[:2] == pytest.approx(((TOP_MM + len(ROWS) * ROW_MM + 7) * MM, (15 + 250 + 5) * MM), abs=1)


def test_the_header_names_the_person_and_the_diagnoses():
    text = header_lines(replace(make_recording(["AF", "CRBBB"], 5, age_years=71, sex="female"), name="A0001"))
    for words in ("A0001", "71 years", "female", "AF (atrial fibrillation)", "CRBBB (complete right bundle branch"):
        assert words in text
    unknown = header_lines(replace(make_recording([], 5), age_years=float("nan"), sex="unknown", codes=("12345",)))
    assert "age unknown" in unknown and "sex unknown" in unknown and "12345" in unknown


@pytest.mark.parametrize("count", [1, 3, 8, 24, 200])
def test_many_diagnoses_stay_on_the_sheet(count):
    codes = tuple([*DIAGNOSES, *(str(10**14 + k) for k in range(200))][:count] if count != 8 else map(str, range(8)))
    recording = replace(make_recording(["NSR"], 4), codes=codes)
    figure = sheet_figure(recording)
    (text,) = [each for each in figure.axes[0].texts if each.get_text() == header_lines(recording)]
    assert text.get_window_extent().x1 < figure.bbox.x1
    assert len(header_lines(recording).splitlines()) == 2
    last = header_lines(recording).splitlines()[1]
    shown = last.split(" and ")[0].split(", ")
    assert len(shown) == count or last.endswith(f" and {count - len(shown)} more")


def test_other_formats_come_by_suffix(tmp_path):
    recording = make_recording(["NSR"], 6)
    assert draw(recording, tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in draw(recording, tmp_path / "sheet.SVG").read_bytes()


def test_what_cannot_be_drawn_is_refused_in_one_line_and_leaves_no_file(tmp_path):
    recording = make_recording(["NSR"], 7)
    (tmp_path / "there").mkdir()
    for name, start_s in (
        ("sheet.bmp", 0),
        ("sheet", 0),
        ("no/sheet.png", 0),
        ("sheet.png", 10),
        ("sheet.png", -1),
        ("sheet.png", float("nan")),
    ):
        with pytest.raises(UserError) as error:
            draw(recording, tmp_path / name, start_s=start_s)
        assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_drawing_leaves_pyplot_alone(tmp_path):
    before = pyplot.get_fignums()
    draw(make_recording(["NSR"], 8), tmp_path / "sheet.png")
    assert pyplot.get_fignums() == before


def test_real_recordings_have_a_sheet(real_data, tmp_path):
    from twelvelead.data.folders import find_recordings
    from twelvelead.data.recording import read_recording

    for source in sorted(path for path in real_data.iterdir() if path.is_dir()):
        header = next(iter(find_recordings(source)))
        assert ink(draw(read_recording(header), tmp_path / "sheet.png")).mean() > 0.005
