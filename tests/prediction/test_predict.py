"""One recording to a result: scores are those of the driver, faults are said, and every output is what it says."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made import write_mat
from matplotlib.image import imread

import twelvelead
from twelvelead import commands, pretrained
from twelvelead.cli import main
from twelvelead.console import FAILED
from twelvelead.data.folders import find_recordings
from twelvelead.data.leads import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.errors import RecordingError, UserError
from twelvelead.inference.classify import classify_recording
from twelvelead.prediction.model import class_index
from twelvelead.prediction.result import NOT_A_DEVICE
from twelvelead.prediction.table import COLUMNS
from twelvelead.synthetic.making import beating_heart, make_recording

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows

NORMAL = make_recording(["NSR"], 3, age_years=50, sex="female")


@pytest.fixture(scope="module")
def model(tiny_model):
    return twelvelead.load(tiny_model, "cpu")


@pytest.fixture
def header(tmp_path):
    """A recording as files: A0001.hea and A0001.mat."""
    adc = np.round(NORMAL.signal_mv * 1000).astype("i2")
    return write_mat(tmp_path, "A0001", adc, age="50", sex="Female")


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- the result ------------------------------------------------------------------------------------


def test_probabilities_and_labels_are_those_of_the_driver(model, hospital):
    for path in find_recordings(hospital)[:6]:
        recording = read_recording(path)
        row, result = classify_recording(model.ensemble, recording), model.predict(path)
        if any("turned over" in note for note in result.notes):
            continue
        for code, label, score in zip(row.codes, row.labels, row.scores):
            if score == 0:  # a code of no class
                continue
            assert result[code].probability == pytest.approx(score, abs=1e-7) and result[code].found == bool(label)


def test_an_array_a_recording_and_a_file_have_one_result(model, header):
    from_file = model.predict(header)
    recording = read_recording(header)
    from_array = model.predict(recording.signal_mv, frequency_hz=500, leads=LEADS, unit="mV", age=50, sex="female")
    turned = model.predict(
        recording.signal_mv[::-1].T * 1000, frequency_hz=500, leads=LEADS[::-1], unit="uV", age=50, sex="female"
    )
    for other in (model.predict(recording), from_array, turned):
        for one, two in zip(sorted(from_file, key=lambda c: c.code), sorted(other, key=lambda c: c.code)):
            assert one.probability == pytest.approx(two.probability, abs=1e-5) and one.code == two.code


def test_found_classes_come_first_then_by_probability(model, header):
    classes = model.predict(header).classes
    assert list(classes) == sorted(classes, key=lambda each: (not each.found, -each.probability))
    assert {each.code for each in classes} == set(model.ensemble.classes.codes)
    assert any(each.found for each in classes)


def test_agreement_counts_members_that_decide_alike(model, header):
    result = model.predict(header)
    scores = model.ensemble.probabilities(model.scores([read_recording(header)])[:, 0])
    for each in result:
        k = model.ensemble.classes.index[each.code]
        alike = sum(bool(score >= model.ensemble.thresholds[k]) == each.found for score in scores[:, k])
        assert (each.agreeing, each.members) == (alike, len(scores))


def test_members_that_vote_are_counted_with_their_own_thresholds(model, header):
    recipe = model.ensemble.recipe
    voting = replace(recipe, voting=replace(recipe.voting, thresholds="members", at_least_one=False))
    cuts = np.array([[0.0], [1.1]]) + np.zeros(len(model.ensemble.classes.codes))
    result = replace(model, ensemble=replace(model.ensemble, recipe=voting, member_thresholds=cuts)).predict(header)
    assert not any(each.found for each in result)  # one of two members is no majority
    assert {(each.agreeing, each.members) for each in result} == {(1, 2)}
    assert str(result).count("found: nothing") == 1


def test_a_class_is_found_by_its_abbreviation_or_any_of_its_codes(model, header):
    result = model.predict(header)
    assert result["crbbb"] is result["713427006"] is result["59118001"]
    assert class_index(model.ensemble, "VPB") == class_index(model.ensemble, "pvc")
    with pytest.raises(KeyError, match="there are: AF, "):
        result["XYZ"]


def test_a_result_prints_its_table_with_a_line_for_each_class(model, header):
    result = model.predict(header)
    text = str(result)
    assert NOT_A_DEVICE in text and "DO NOT TRUST" not in text
    for each in result:
        (line,) = (line for line in text.splitlines() if f" {each.code} " in line)
        assert each.name in line and f"{each.probability:.3f}" in line and f"{each.threshold:.3f}" in line
        assert line.startswith("found") == each.found and f"{each.agreeing} of {each.members}" in line


def test_what_is_wrong_is_said_above_the_table(model):
    short = replace(NORMAL, signal_mv=NORMAL.signal_mv[:, :1500], age_years=float("nan"))
    result = model.predict(short)
    assert not result.trustworthy and "3 s long" in result.warnings[0]
    assert any("age" in note for note in result.notes)
    text = str(result)
    assert text.index("DO NOT TRUST THIS RESULT") < text.index("probability") and "age unknown" in text


def test_inverted_recordings_are_scored_as_they_should_have_been(model):
    inverted = model.predict(replace(NORMAL, signal_mv=-NORMAL.signal_mv))
    upright = model.predict(NORMAL)
    assert any("turned over" in note for note in inverted.notes) and inverted.trustworthy
    assert [each.probability for each in inverted] == [each.probability for each in upright]
    np.testing.assert_array_equal(inverted.recording.signal_mv, NORMAL.signal_mv)


def test_a_result_as_a_dictionary_is_plain_json_without_the_signal(model, header):
    values = json.loads(json.dumps(model.predict(header).to_dict(), allow_nan=False))
    assert len(values["classes"]) == 24 and values["seconds"] == 10 and "signal_mv" not in str(values)


@pytest.mark.parametrize(
    "arguments, error",
    [
        (dict(), "--frequency-hz"),
        (dict(frequency_hz=500, leads=LEADS), "--unit"),
        (dict(frequency_hz=500, leads=LEADS, unit="V"), "unknown unit"),
        (dict(frequency_hz=500, leads=LEADS, unit="mV", sex="f"), "unknown sex"),
    ],
)
def test_what_an_array_does_not_say_is_asked_for(arguments, error, model):
    with pytest.raises(UserError, match=error):
        model.predict(NORMAL.signal_mv, **arguments)


def test_an_array_without_a_signal_is_a_recording_error(model):
    with pytest.raises(RecordingError, match="flat"):
        model.predict(np.zeros((12, 5000)), frequency_hz=500, leads=LEADS, unit="mV")


# -- the default model -----------------------------------------------------------------------------


def test_the_model_of_the_package_is_used_where_none_is_named(tiny_model, header, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(pretrained, "PRETRAINED", tiny_model)
    assert run(capsys, header.with_suffix(""))[0] == 0
    assert twelvelead.load().folder == tiny_model
    assert main(["classify", str(tmp_path), str(tmp_path / "outputs"), "--jobs", "1"]) == 0
    assert (tmp_path / "outputs" / "A0001.csv").is_file()


def test_without_a_model_of_the_package_one_must_be_named(header, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path / "none")
    code, out, error = run(capsys, header)
    assert code == FAILED and not out and error.count("\n") == 1 and "no pretrained model" in error
    with pytest.raises(UserError, match="no pretrained model"):
        twelvelead.load()
    assert main(["classify", str(tmp_path), str(tmp_path / "outputs")]) == FAILED
    assert "no pretrained model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, folders",
    [
        ("model data outputs --jobs 1", ("model", "data", "outputs")),
        ("--jobs 1 model data outputs", ("model", "data", "outputs")),
        ("model --jobs 1 data outputs", ("model", "data", "outputs")),
        ("data outputs --jobs 1", (None, "data", "outputs")),
        ("--jobs 1 data outputs", (None, "data", "outputs")),
    ],
)
def test_classify_takes_two_or_three_folders_wherever_options_stand(words, folders, monkeypatch, tiny_model):
    calls = []
    monkeypatch.setattr(pretrained, "PRETRAINED", tiny_model)
    monkeypatch.setattr(commands, "classify", lambda *arguments: calls.append(arguments[:3]) or 0)
    assert main(["classify", *words.split()]) == 0
    assert calls == [(Path(folders[0]) if folders[0] else tiny_model, Path("data"), Path("outputs"))]


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_the_table_of_each_recording(tiny_model, header, capsys):
    code, out, error = run(capsys, header.with_suffix(""), header, "--model", tiny_model)
    result = twelvelead.load(tiny_model, "cpu").predict(header)
    assert code == 0 and not error and out.count(str(result)) == 2


def test_json_and_csv_hold_every_class_of_every_recording(tiny_model, header, capsys):
    code, out, _ = run(capsys, header, header, "--model", tiny_model, "--json")
    values = json.loads(out)
    assert code == 0 and [len(entry["classes"]) for entry in values] == [24, 24]
    code, out, _ = run(capsys, header, header, "--model", tiny_model, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and tuple(rows[0]) == COLUMNS and len(rows) == 48
    assert float(rows[0]["probability"]) == pytest.approx(values[0]["classes"][0]["probability"], rel=1e-5)


def test_a_recording_that_fails_costs_the_others_nothing(tiny_model, header, capsys, tmp_path):
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    out_folder = tmp_path / "out"
    code, out, error = run(capsys, tmp_path / "scan.pdf", header, "--model", tiny_model, "--json", "--out", out_folder)
    assert code == 1 and error.count("\n") == 1 and "PDF" in error
    failed, done = json.loads(out)
    assert "PDF" in failed["error"] and len(done["classes"]) == 24
    assert sorted(path.name for path in out_folder.iterdir()) == ["A0001.csv", "A0001.json", "A0001.png"]
    code, out, error = run(capsys, tmp_path / "scan.pdf", tmp_path / "none", "--model", tiny_model)
    assert code == FAILED and not out and error.count("\n") == 2


def test_recordings_of_one_name_keep_files_of_their_own(tiny_model, header, capsys, tmp_path):
    other = write_mat(tmp_path / "b", "a0001", np.round(NORMAL.signal_mv * 1000).astype("i2"))
    assert run(capsys, header, other, "--model", tiny_model, "--out", tmp_path / "out")[0] == 0
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"A0001", "a0001-2"}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--explain", "XYZ"], "unknown class 'XYZ'"),
        (["--plot", "no/such/folder/a.png"], "cannot be written"),
        (["--plot", "a.bmp"], ".png, .svg, .pdf"),
        (["--unit", "adc"], "how many ADC units"),
        (["--start", "99", "--plot", "a.png"], "cannot begin at 99 s"),
        (["--model", "no-such-model"], "no trained model here"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, words, tiny_model, header, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(capsys, header, "--model", tiny_model, *arguments)
    assert code == FAILED and words in error and error.count("\n") == 1


def test_one_picture_cannot_be_of_two_recordings(tiny_model, header, capsys):
    code, _, error = run(capsys, header, header, "--model", tiny_model, "--plot", "a.png")
    assert code == FAILED and "--out FOLDER" in error


def test_a_table_is_predicted_with_what_the_options_tell(tiny_model, header, capsys, tmp_path):
    recording = read_recording(header)
    np.savetxt(tmp_path / "ecg.csv", recording.signal_mv.T * 200, delimiter=",", fmt="%.6g")
    told = ["--frequency-hz", 500, "--leads", "standard", "--unit", "adc", "--adc-per-mv", 200, "--age", 50]
    code, out, error = run(capsys, tmp_path / "ecg.csv", "--model", tiny_model, *told, "--sex", "female", "--json")
    _, expected, _ = run(capsys, header, "--model", tiny_model, "--json")
    pairs = zip(json.loads(out)[0]["classes"], json.loads(expected)[0]["classes"])
    assert code == 0 and not error
    assert all(one["probability"] == pytest.approx(two["probability"], abs=1e-3) for one, two in pairs)


# -- pictures and explanations ---------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["3x4", "12x1"])
@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_picture_comes_in_each_layout_and_format(layout, suffix, tiny_model, header, capsys, tmp_path):
    picture = tmp_path / f"a{suffix}"
    code, out, _ = run(capsys, header, "--model", tiny_model, "--plot", picture, "--layout", layout, "--explain", "PVC")
    start = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert code == 0 and picture.read_bytes().startswith(start) and "PVC, 0." in out


def test_an_explanation_marks_the_picture_and_is_part_of_the_json(tiny_model, header, capsys, tmp_path, model):
    result = model.predict(header)
    explanation = model.explain(result, "NSR")
    result.draw(tmp_path / "a.png")
    result.draw(tmp_path / "b.png", explanation=explanation)
    plain, marked = imread(tmp_path / "a.png"), imread(tmp_path / "b.png")
    height = min(len(plain), len(marked)) - 100
    assert (plain[:height, :1200] != marked[:height, :1200]).any()
    _, out, _ = run(capsys, header, "--model", tiny_model, "--json", "--explain", "NSR")
    (entry,) = json.loads(out)
    lost = entry["explanation"]["log_odds_lost"]  # by the command, on a GPU where there is one
    np.testing.assert_allclose(lost, explanation.over_time, atol=1e-3 if torch.cuda.is_available() else 1e-4)


def test_of_a_long_recording_ten_seconds_are_explained(model):
    recording = make_recording(["NSR"], 5, seconds=24)
    explanation = model.explain(model.predict(recording), "AF", start_s=12)
    assert explanation.starts_s[0] == 12 and explanation.starts_s[-1] < 22
    with pytest.raises(UserError, match="nothing can be explained"):
        model.explain(model.predict(recording), "AF", start_s=24)


def test_a_lead_that_was_not_recorded_explains_nothing(model):
    recording = replace(NORMAL, signal_mv=NORMAL.signal_mv[:2], leads=LEADS[:2])
    explanation = model.explain(model.predict(recording), "AF")
    assert not explanation.by_lead[2:].any() and np.isfinite(explanation.over_time).all()


@pytest.mark.slow
def test_an_explanation_of_ectopic_beats_points_at_the_ectopic_beats(tmp_path):
    """A member that learned premature ventricular beats from 240 synthetic hearts finds them in hearts that are new.

    By chance a window would lie in such a beat in about 13 % of the cases.
    """
    from twelvelead.commands import train
    from twelvelead.settings import Settings

    for k in range(240):
        recording = make_recording(["PVC"] if k % 2 else ["NSR"], k, frequency_hz=125)
        adc = np.round(recording.signal_mv * 1000).astype("i2")
        write_mat(tmp_path / "data", f"A{k:04d}", adc, frequency="125", dx="427172004" if k % 2 else "426783006")
    settings = Settings(members=1, epochs=12, width=6, synthetic=0, seed=1, device="cpu", jobs=1, workers=1)
    train(tmp_path / "data", tmp_path / "model", settings)
    model = twelvelead.load(tmp_path / "model", "cpu")
    shares, chances, hits = [], [], []
    for seed in range(1000, 1010):
        recording = make_recording(["PVC"], seed, frequency_hz=250)
        heart = beating_heart(np.random.SeedSequence(seed).spawn(2)[0], frozenset({"PVC"}), 250, 10.0)
        explanation = model.explain(model.predict(recording), "PVC")
        middles = explanation.starts_s + explanation.window_s / 2
        ectopic = [onsets for kind, onsets in heart.rhythm.qrs.items() if "PVC" in kind]  # from one place or two
        onsets = np.concatenate(ectopic)[:, None]
        inside = ((middles > onsets - 0.1) & (middles < onsets + 0.35)).any(axis=0)
        speaks_for = np.maximum(explanation.over_time, 0)
        shares.append(speaks_for[inside].sum() / speaks_for.sum())
        chances.append(inside.mean())
        hits.append(inside[speaks_for.argmax()])
    assert np.mean(shares) > 2.5 * np.mean(chances) and np.mean(hits) > 0.6, (shares, chances, hits)


def test_the_word_pretrained_names_the_packages_model_in_any_folder(tiny_model, header, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "PRETRAINED", tiny_model)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(header), "--model", "pretrained"]) == 0
    assert "2 members" in capsys.readouterr().out
    (tmp_path / "pretrained").mkdir()  # a folder of that name is what was meant
    assert main(["predict", str(header), "--model", "pretrained"]) == FAILED
    assert "no trained model here" in capsys.readouterr().err
