"""Each corruption is what its title says and the same for every model, and the table's figures are the driver's.

python -m pytest tests/test_robustness.py
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import corruptions  # noqa: E402
import robustness  # noqa: E402
from corruptions import CORRUPTIONS, corrupted  # noqa: E402

import evaluate_model  # noqa: E402
from twelvelead.data.classes import classes_for, load_weights  # noqa: E402
from twelvelead.data.folders import find_recordings  # noqa: E402
from twelvelead.data.header import LEADS  # noqa: E402
from twelvelead.data.recording import Recording  # noqa: E402
from twelvelead.errors import UserError  # noqa: E402
from twelvelead.inference.classify import classify_folder  # noqa: E402
from twelvelead.inference.ensemble import load_ensemble  # noqa: E402
from twelvelead.preprocessing.prepare import prepare  # noqa: E402
from twelvelead.recipes import Input  # noqa: E402
from twelvelead.synthetic import make_recording  # noqa: E402

BANDS = {"hum-50": (49.5, 50.5), "hum-60": (59.5, 60.5), "wander": (0, 0.5), "muscle": (19.9, 120.1)}
RANDOM = {*BANDS, "flat-lead", "missing-chest", "crop-5"}
TABLE = load_weights(ROOT / "weights.csv")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return make_recording(["NSR"], seed=1, seconds=20)


def sine(frequency_hz: float, tone_hz: float, seconds: float = 10) -> Recording:
    t = np.arange(round(seconds * frequency_hz)) / frequency_hz
    return Recording(
        "sine",
        np.tile(np.sin(2 * np.pi * tone_hz * t), (12, 1)).astype(np.float32),
        LEADS,
        frequency_hz,
        50.0,
        "female",
        (),
        (),
    )


def assert_laws_of_the_limb_leads(recording: Recording) -> None:
    """Einthoven's and Goldberger's."""
    I, II, III, aVR, aVL, aVF = recording.signal_mv[:6].astype(np.float64)  # noqa: E741
    for left, right in ((I + III, II), (aVR, -(I + II) / 2), (aVL, (I - III) / 2), (aVF, (II + III) / 2)):
        np.testing.assert_allclose(left, right, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ all corruptions


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_copy_depends_on_seed_and_names_alone_and_leaves_the_recording_as_it_was(recording, name):
    before = recording.signal_mv.copy()
    first = corrupted(recording, name)
    corrupted(replace(recording, name="another"), name)
    again = corrupted(recording, name)
    assert first.leads == again.leads and first.frequency_hz == again.frequency_hz
    np.testing.assert_array_equal(first.signal_mv, again.signal_mv)
    np.testing.assert_array_equal(recording.signal_mv, before)
    others = [corrupted(replace(recording, name=f"other {k}"), name) for k in range(6)]
    others += [corrupted(recording, name, seed) for seed in range(1, 6)]
    differ = [copy.leads != first.leads or not np.array_equal(copy.signal_mv, first.signal_mv) for copy in others]
    assert any(differ[:6]) == any(differ[6:]) == (name in RANDOM)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_copy_is_a_recording_that_a_model_takes(recording, name):
    copy = corrupted(recording, name)
    assert copy.signal_mv.dtype == np.float32 and len(copy.signal_mv) == len(copy.leads)
    assert (copy.name, copy.age_years, copy.sex, copy.codes) == (
        recording.name,
        recording.age_years,
        recording.sex,
        recording.codes,
    )
    assert np.isfinite(prepare(copy, Input()).signal).all()


# ---------------------------------------------------------------------------------------------- amplitude, rate, length


@pytest.mark.parametrize("factor", [0.2, 4.88, 1000, 0.001])
def test_amplitudes_are_multiplied_exactly(recording, factor):
    copy = corrupted(recording, f"amplitude-{factor:g}")
    np.testing.assert_array_equal(copy.signal_mv, recording.signal_mv * np.float32(factor))


@pytest.mark.parametrize("from_hz", [257, 500, 1000])
@pytest.mark.parametrize("rate_hz", [100, 200, 250, 257, 300, 400, 500, 1000])
def test_a_copy_at_another_rate_has_the_same_waves_at_the_same_times(from_hz, rate_hz):
    copy = corrupted(sine(from_hz, 10), f"rate-{rate_hz}")
    wanted = sine(rate_hz, 10)
    assert copy.frequency_hz == rate_hz and copy.signal_mv.shape == wanted.signal_mv.shape
    inside = slice(rate_hz, -rate_hz)
    np.testing.assert_allclose(copy.signal_mv[:, inside], wanted.signal_mv[:, inside], atol=1e-3)


def test_a_copy_at_a_lower_rate_has_nothing_that_it_cannot_carry():
    assert np.abs(corrupted(sine(500, 70), "rate-100").signal_mv[:, 100:-100]).max() < 1e-3


@pytest.mark.parametrize("rate_hz", [100, 257, 1000])
def test_an_offset_makes_no_step_at_the_ends_of_a_copy_at_another_rate(rate_hz):
    offset = replace(sine(500, 10), signal_mv=np.full((12, 5000), 3, np.float32))
    np.testing.assert_allclose(corrupted(offset, f"rate-{rate_hz}").signal_mv, 3, atol=3e-3)


@pytest.mark.parametrize("rate_hz", [250, 1000])
def test_missing_samples_are_missing_at_the_same_time_in_a_copy_at_another_rate(recording, rate_hz):
    gap = recording.signal_mv.copy()
    gap[3, 1000:1500] = np.nan
    missing = np.isnan(corrupted(replace(recording, signal_mv=gap), f"rate-{rate_hz}").signal_mv)
    at_s = np.flatnonzero(missing[3]) / rate_hz
    assert missing.sum() == missing[3].sum() == len(at_s) == pytest.approx(rate_hz, abs=1)
    assert at_s[0] == pytest.approx(2, abs=0.005) and at_s[-1] == pytest.approx(3, abs=0.005)


def test_a_crop_is_five_seconds_of_the_recording_and_a_shorter_one_stays_whole(recording):
    copy = corrupted(recording, "crop-5").signal_mv
    starts = np.flatnonzero(recording.signal_mv[0] == copy[0, 0])
    assert copy.shape == (12, 2500) and any(np.array_equal(recording.signal_mv[:, k : k + 2500], copy) for k in starts)
    short = replace(recording, signal_mv=recording.signal_mv[:, :700])
    np.testing.assert_array_equal(corrupted(short, "crop-5").signal_mv, short.signal_mv)


# ---------------------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize("name", BANDS)
def test_noise_is_ten_decibels_below_the_leads_that_hold_a_signal_and_in_its_band(recording, name):
    signal = recording.signal_mv.copy()
    signal[7] = 0.3
    noise = corrupted(replace(recording, signal_mv=signal), name).signal_mv.astype(np.float64) - signal
    assert not noise[7].any()
    with_signal = np.arange(12) != 7
    np.testing.assert_allclose(noise.mean(axis=1), 0, atol=1e-6)
    power = signal[with_signal].astype(np.float64).var(axis=1).mean()
    assert 10 * np.log10(power / np.square(noise[with_signal]).mean()) == pytest.approx(10, abs=0.01)
    spectrum = np.abs(np.fft.rfft(noise[with_signal] * np.hanning(noise.shape[1]), axis=1)) ** 2
    tone_hz = np.fft.rfftfreq(noise.shape[1], 1 / recording.frequency_hz)
    low, high = BANDS[name]
    assert spectrum[:, (tone_hz >= low) & (tone_hz <= high)].sum() > 0.99 * spectrum.sum()


@pytest.mark.parametrize("name", BANDS)
def test_noise_differs_between_leads_and_keeps_the_laws_of_the_limb_leads(recording, name):
    copy = corrupted(recording, name)
    assert_laws_of_the_limb_leads(recording)
    assert_laws_of_the_limb_leads(copy)
    noise = copy.signal_mv - recording.signal_mv
    assert np.linalg.matrix_rank(np.corrcoef(noise), tol=1e-3) > 1


@pytest.mark.parametrize("name", BANDS)
def test_what_is_missing_or_no_standard_lead_gets_no_noise(recording, name):
    signal = np.concatenate([recording.signal_mv, recording.signal_mv[:1]])
    signal[2, 100:200] = np.nan
    copy = corrupted(replace(recording, signal_mv=signal, leads=(*LEADS, "vx")), name)
    np.testing.assert_array_equal(np.isnan(copy.signal_mv), np.isnan(signal))
    np.testing.assert_array_equal(copy.signal_mv[12], signal[12])


def test_hum_that_a_rate_cannot_carry_is_none(recording):
    slow = corrupted(recording, "rate-100")
    for name in ("hum-50", "hum-60"):
        np.testing.assert_array_equal(corrupted(slow, name).signal_mv, slow.signal_mv)


# ---------------------------------------------------------------------------------------------------------------- leads


def test_reversed_arms_are_what_exchanged_electrodes_give(recording):
    potentials = np.random.default_rng(0).standard_normal((9, 500))
    right = replace(recording, signal_mv=(corruptions.OF_ELECTRODES @ potentials).astype(np.float32))
    potentials[[0, 1]] = potentials[[1, 0]]
    copy = corrupted(right, "arm-reversal")
    np.testing.assert_allclose(copy.signal_mv, corruptions.OF_ELECTRODES @ potentials, atol=1e-5)
    assert copy.leads == LEADS


def test_arms_reversed_twice_are_right_and_every_time_the_laws_hold(recording):
    once = corrupted(recording, "arm-reversal")
    assert_laws_of_the_limb_leads(once)
    np.testing.assert_array_equal(once.signal_mv[0], -recording.signal_mv[0])
    np.testing.assert_array_equal(once.signal_mv[6:], recording.signal_mv[6:])
    np.testing.assert_array_equal(corrupted(once, "arm-reversal").signal_mv, recording.signal_mv)


def test_one_of_the_leads_that_hold_a_signal_is_flat(recording):
    signal = recording.signal_mv.copy()
    signal[5] = 0
    for k in range(30):
        copy = corrupted(replace(recording, name=f"{k}", signal_mv=signal), "flat-lead").signal_mv
        assert np.count_nonzero(~copy.any(axis=1)) == 2
        assert np.count_nonzero((copy != signal).any(axis=1)) == 1


def test_two_chest_leads_are_missing_and_the_others_as_they_were(recording):
    lost = set()
    for k in range(30):
        copy = corrupted(replace(recording, name=f"{k}"), "missing-chest")
        lost |= (missing := set(LEADS) - set(copy.leads))
        assert len(missing) == 2 and copy.leads[:6] == LEADS[:6] and len(copy.leads) == 10
        np.testing.assert_array_equal(copy.signal_mv, recording.signal_mv[[LEADS.index(lead) for lead in copy.leads]])
    assert lost == set(LEADS[6:])


@pytest.mark.parametrize("count", [12, 6, 4, 3, 2])
def test_a_subset_has_its_leads_and_no_others(recording, count):
    leads = (*LEADS[::-1], "vx")
    signal = np.concatenate([recording.signal_mv[::-1], recording.signal_mv[:1]])
    whole = replace(recording, signal_mv=signal, leads=leads)
    copy = corrupted(whole, f"leads-{count}")
    assert len(copy.leads) == count and set(copy.leads) <= set(LEADS) and {"I", "II"} <= set(copy.leads)
    for lead, samples in zip(copy.leads, copy.signal_mv):
        np.testing.assert_array_equal(samples, recording.signal_mv[LEADS.index(lead)])


# ---------------------------------------------------------------------------------------------------------------- table


def drivers_metric(model: Path, data: Path, work: Path) -> float:
    """The Challenge metric as driver.py and evaluate_model.py give it."""
    classify_folder(load_ensemble(model), data, work / "outputs", jobs=1, log=lambda line: None)
    assert evaluate_model.main([str(data), str(work / "outputs"), "--json", str(work / "scores.json")]) == 0
    return json.loads((work / "scores.json").read_text())["challenge_metric"]


def test_the_rows_are_what_driver_and_evaluator_say_of_such_files(tiny_model, hospital, tmp_path):
    """Also where a recording's signal is broken. A gain five times as high in the headers is amplitudes × 0.2."""
    data = tmp_path / "data"
    shutil.copytree(hospital / "alder", data)
    find_recordings(data)[3].with_suffix(".mat").write_bytes(b"no signal")
    results = robustness.measure([tiny_model], data, names=["amplitude-0.2"], resamples=20)
    clean, weak = (row["models"][0] for row in results["rows"])
    assert clean["score"]["value"] == pytest.approx(drivers_metric(tiny_model, data, tmp_path), abs=1e-12)
    assert clean["fell_back"] == weak["fell_back"] == 1
    for header in find_recordings(data):
        text = header.read_text()
        assert text.count(" 1000/mV ") == 12
        header.write_text(text.replace(" 1000/mV ", " 5000/mV "))
    assert weak["score"]["value"] == pytest.approx(drivers_metric(tiny_model, data, tmp_path), abs=1e-12)
    assert weak["loss"]["value"] == clean["score"]["value"] - weak["score"]["value"]


def test_equal_answers_differ_by_nothing_in_every_resample(tiny_model, hospital):
    results = robustness.measure(
        [tiny_model, tiny_model], hospital / "alder", limit=8, names=["leads-12", "leads-2"], resamples=20
    )
    assert [row["name"] for row in results["rows"]] == ["clean", "leads-12", "leads-2"]
    nothing = dict(value=0.0, low=0.0, high=0.0)
    assert all(row["difference"] == nothing and row["models"][0] == row["models"][1] for row in results["rows"])
    assert results["rows"][1]["models"][0]["loss"] == nothing


def test_a_limit_is_kept_where_the_loss_is_not_above_it():
    classes = classes_for("challenge", TABLE)
    labels = np.arange(100)[:, None] % 24 == np.arange(24)

    def answers(wrong: int):
        outputs = labels.copy()
        outputs[:wrong] = np.arange(24) == classes.sinus_rhythm
        return outputs, outputs.astype(float), 0

    wrong = {"clean": 5, "rate-100": 5, "rate-200": 8, "muscle": 8, "leads-2": 50}
    rows = robustness.compare(labels, {(name, 0): answers(count) for name, count in wrong.items()}, classes, 200, 0)
    assert [row["models"][0]["kept"] for row in rows] == [None, True, False, True, None]
    losses = [row["models"][0]["loss"] for row in rows]
    assert 0.02 < losses[2]["value"] < 0.05 and losses[2]["low"] <= losses[2]["value"] <= losses[2]["high"]
    assert losses[2] == losses[3] != losses[4]


def test_a_model_of_other_classes_is_scored_by_the_first_ones():
    """Its right bundle branch block counts for the complete one; a class that it does not know gets column -1."""
    ours, nine = classes_for("challenge", TABLE), classes_for("cpsc", TABLE)

    def columns_of(classes):
        return classes.of_output(np.arange(1, len(classes.outputs) + 1), ours.codes) - 1

    columns = dict(zip(ours.codes, columns_of(nine)))
    assert {nine.outputs[k] for k in columns.values() if k >= 0} <= set(nine.codes)
    assert nine.outputs[columns["713427006"]] == "59118001" and columns["39732003"] == -1
    assert [ours.index[ours.outputs[k]] for k in columns_of(ours)] == list(range(24))


def test_recordings_without_a_scored_diagnosis_make_no_table():
    classes = classes_for("challenge", TABLE)
    with pytest.raises(UserError, match="#Dx"):
        robustness.compare(np.zeros((3, 24), dtype=bool), {}, classes, 10, 0)


@pytest.mark.parametrize("text", ["B\nA\n\n", "recording\nA\nB\n", "fold,recording\n9,A\n9,B\n", "A,9\nB,9\n"])
def test_recordings_are_chosen_by_a_list_or_a_table(tmp_path, text):
    file = tmp_path / "names"
    file.write_text(text)
    headers = [Path(f"g1/{name}.hea") for name in "ABC"]
    assert robustness.chosen(headers, file, None, 0) == headers[:2]
    with pytest.raises(UserError, match="1 of its 2 recordings are not in the data folder, such as A"):
        robustness.chosen(headers[1:], file, None, 0)


def test_a_limit_takes_as_many_at_random_and_the_same_for_a_seed():
    headers = [Path(f"{k}.hea") for k in range(50)]
    some, again, other = (robustness.chosen(headers, None, 10, seed) for seed in (0, 0, 1))
    assert len(set(some)) == 10 and some == again != other
    assert robustness.chosen(headers, None, 60, 0) == headers


def test_the_command_writes_table_and_figures(tiny_model, hospital, tmp_path, capsys):
    table, figures = tmp_path / "table.md", tmp_path / "figures.json"
    robustness.main(
        [
            str(tiny_model),
            str(hospital),
            "--against",
            str(tiny_model),
            "--limit",
            "4",
            "--resamples",
            "10",
            "--rows",
            "rate-1000,leads-2",
            "--out",
            str(table),
            "--json",
            str(figures),
        ]
    )
    text, results = table.read_text("utf-8"), json.loads(figures.read_text("utf-8"))
    assert capsys.readouterr().out.endswith(text + "\n")
    assert text.startswith(f"`python benchmarks/robustness.py {tiny_model} {hospital} --against")
    assert results["command"] in text and results["recordings"] == 4 and len(results["models"]) == 2
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and {line.count("|") for line in lines} == {10}
    for row, line in zip(results["rows"], lines[2:]):
        assert line.startswith(f"| {row['title']} |") and f"{row['models'][0]['score']['value']:.3f} [" in line
        assert line.count("yes") + line.count("no**") == (0 if row["limit"] is None else 2)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--rows", "hail"], "unknown corruption 'hail'; there are: clean, amplitude-0.2"),
        (["--out", "nowhere/table.md"], "there is no folder nowhere"),
        (["--recordings", "nowhere.csv"], "nowhere.csv: the recordings' names cannot be read"),
        (["--recordings", "/dev/null"], "it names no recording"),
    ],
)
def test_a_wrong_option_is_one_line_and_told_at_once(tiny_model, hospital, options, message):
    with pytest.raises(SystemExit, match=message):
        robustness.main([str(tiny_model), str(hospital), *options])
