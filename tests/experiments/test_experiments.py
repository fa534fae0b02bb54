"""Experiments: no test recording reaches its model, a kill costs nothing, the tables say what metrics.py says."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from comparing import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvelead.cli import main
from twelvelead.commands import WEIGHTS
from twelvelead.data.classes import CPSC, classes_for, load_weights
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import read_header
from twelvelead.data.splits import read_splits
from twelvelead.errors import UserError
from twelvelead.evaluation import metrics
from twelvelead.evaluation.bootstrap import draw_counts, interval, resampled_metrics
from twelvelead.experiments import design, scored
from twelvelead.experiments.budget import narrowed
from twelvelead.experiments.compare import (
    ALL,
    ANNOTATED,
    UNSEEN,
    Predictions,
    TestSet,
    compare,
    difference,
    laid_out,
    score,
)
from twelvelead.experiments.design import read_cohort
from twelvelead.experiments.tables import as_markdown
from twelvelead.models.network import new_model
from twelvelead.recipes import RECIPES, Recipe, get_recipe

pytestmark = pytest.mark.slow  # together with others like it, more than the fast run allows

TABLE = load_weights(WEIGHTS)
CHALLENGE, NINE = classes_for("challenge", TABLE), classes_for("cpsc", TABLE)
TINY = [
    "--members",
    "1",
    "--epochs",
    "1",
    "--width",
    "4",
    "--seed",
    "5",
    "--device",
    "cpu",
    "--jobs",
    "1",
    "--workers",
    "1",
    "--resamples",
    "20",
]
TWO = ["--recipe", "butt", "--recipe", "butt-2020", "--folds", "2"]


def table_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def by_2020(path):
    """The rows of a table that count every class."""
    return [row for row in table_of(path) if row["metrics"] == "2020"]


def results_of(out: Path) -> dict:
    def fail(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((out / "results.json").read_text(), parse_constant=fail)


def without_times(results: dict) -> dict:
    for recipe in results["recipes"].values():
        for about in recipe["splits"].values():
            del about["timing"]
    return results


def name_of(header: Path, data: Path) -> str:
    return header.relative_to(data).with_suffix("").as_posix()


@pytest.fixture(scope="module")
def data(tmp_path_factory, hospital) -> Path:
    """48 recordings of two sources, three a patient, and one without a diagnosis."""
    folder = shutil.copytree(hospital, tmp_path_factory.mktemp("experiments") / "data")
    headers = find_recordings(folder)
    with open(folder / "patients.csv", "w") as file:
        file.write("recording,patient\n" + "".join(f"{header.stem},P{k // 3}\n" for k, header in enumerate(headers)))
    for path in headers[0].parent.glob(f"{headers[0].stem}.*"):
        shutil.copy(path, folder / f"U0001{path.suffix}")
    text = headers[0].read_text().replace(headers[0].stem, "U0001").splitlines()
    (folder / "U0001.hea").write_text("\n".join(line for line in text if "Dx" not in line) + "\n")
    return folder


@pytest.fixture(scope="module")
def crossval(tmp_path_factory, data) -> Path:
    """Two recipes on two folds. Copy before changing anything."""
    out = tmp_path_factory.mktemp("crossval") / "out"
    assert main(["crossval", str(data), str(out), *TWO, *TINY]) == 0
    return out


# ---------------------------------------------------------------------------------------------------- cross-validation


@pytest.mark.slow
def test_every_recording_is_tested_once_by_a_model_that_never_saw_its_patient(crossval, data):
    names = {name_of(header, data): header.stem for header in find_recordings(data) if header.stem != "U0001"}
    patient = {row["recording"]: row["patient"] for row in table_of(data / "patients.csv")}
    splits = read_splits(crossval / "splits.json")
    assert Counter(name for split in splits.values() for name in split["test"]) == Counter(list(names))
    for split, parts in splits.items():
        assert set(parts["train"]) == set(names) - set(parts["test"])
        assert not {patient[names[name]] for name in parts["train"]} & {patient[names[name]] for name in parts["test"]}
        for recipe in ("butt", "butt-2020"):
            trained = json.loads((crossval / recipe / split / "model" / "splits.json").read_text())
            assert {name.removesuffix(".hea") for name in trained["recordings"]} == set(parts["train"])
            validation = [name for rows in trained["validation_of_member"].values() for name in rows]
            assert {name.removesuffix(".hea") for name in validation} <= set(parts["train"])


@pytest.mark.slow
def test_scores_are_those_that_the_driver_writes(crossval, data, tmp_path):
    with np.load(crossval / "butt" / "fold_2" / "scores.npz") as arrays:
        names, codes = arrays["recordings"].tolist(), arrays["codes"].tolist()
        outputs, scores = arrays["outputs"], arrays["scores"]
    for name in names[:9]:
        for path in (data / name).parent.glob(f"{Path(name).name}.*"):
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "data" / Path(name).parent)
    assert (
        main(
            [
                "classify",
                str(crossval / "butt" / "fold_2" / "model"),
                str(tmp_path / "data"),
                str(tmp_path / "csv"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    for name, output, score_row in list(zip(names, outputs, scores))[:9]:
        _, columns, labels, written = (tmp_path / "csv" / f"{Path(name).name}.csv").read_text().splitlines()
        at = [columns.split(",").index(code) for code in codes]
        assert [labels.split(",")[k] for k in at] == [str(int(label)) for label in output]
        np.testing.assert_allclose([float(written.split(",")[k]) for k in at], score_row, atol=1e-6)


@pytest.mark.slow
def test_all_figures_are_those_of_scoring_and_their_intervals_of_resampled_patients(crossval, data):
    headers = {name_of(header, data): header for header in find_recordings(data)}
    patient = {row["recording"]: row["patient"] for row in table_of(data / "patients.csv")}
    how = dict(weights=CHALLENGE.weights, sinus_rhythm=CHALLENGE.sinus_rhythm)
    rows = {kind: table_of(crossval / f"scores_by_{kind}.csv") for kind in ("fold", "source", "class")}
    for recipe in ("butt", "butt-2020"):
        tested = {}
        for fold in ("fold_1", "fold_2"):
            with np.load(crossval / recipe / fold / "scores.npz") as arrays:
                for name, output, scores, labels in zip(
                    *(arrays[key] for key in ("recordings", "outputs", "scores", "labels"))
                ):
                    truth = CHALLENGE.labels([read_header(headers[str(name)]).codes])[0]
                    np.testing.assert_array_equal(labels, truth)
                    tested[str(name)] = (fold, str(name).split("/")[0], truth, output, scores)
        order = [name for name in headers if name in tested]

        def check(row, chosen, place=None, tested=tested):
            truth, output, scores = (np.stack([tested[name][k] for name in chosen]) for k in (2, 3, 4))
            groups = np.array([int(patient[Path(name).name][1:]) for name in chosen])
            expected = metrics.evaluate(truth, output, scores, **how)
            samples = resampled_metrics(truth, [(output, scores)], draw_counts(len(truth), 20, 5, groups), **how)[0]
            names = metrics.METRICS["2020"] if place is None else [m for m in row if f"{m}_classes" in expected]
            for metric in names:
                value, sample = expected[metric], samples[metric]
                if place is not None:
                    value, sample = expected[f"{metric}_classes"][place], samples[f"{metric}_classes"][:, place]
                for end, figure in zip(("", "_low", "_high"), (value, *interval(sample))):
                    cell = row[metric + end]
                    assert np.isnan(figure) if cell == "" else float(cell) == pytest.approx(figure, abs=1e-12)

        seen = []
        for kind, position in (("fold", 0), ("source", 1)):
            for row in rows[kind]:
                if row["recipe"] == recipe and row["metrics"] == "2020":
                    chosen = [name for name in order if row[kind] in (ALL, tested[name][position])]
                    assert int(row["recordings"]) == len(chosen)
                    check(row, chosen)
                    seen.append(row[kind])
        assert seen == [ALL, "fold_1", "fold_2", ALL, "alder", "birch"]
        by_class = [row for row in rows["class"] if row["recipe"] == recipe]
        assert [row["code"] for row in by_class] == list(CHALLENGE.codes)
        for place, row in enumerate(by_class):
            check(row, order, place=place)


@pytest.mark.slow
def test_results_say_what_was_done(crossval):
    results = results_of(crossval)
    assert {name: value for name, value in results["budget"].items() if value is not None} == dict(
        members=1,
        epochs=1,
        width=4,
        synthetic=0,  # which conftest.py sets for all tests
    )
    assert results["experiment"] == {"command": "crossval", "folds": 2} and results["seed"] == 5
    assert results["resampling"] == {"resamples": 20, "unit": "patients"}
    assert sum(split["test"] for split in results["splits"].values()) == 48
    recipe = results["recipes"]["butt"]
    network = new_model(get_recipe("butt").scaled(width=4), 24)
    assert recipe["parameters"] == sum(weight.numel() for weight in network.parameters())
    assert all(about["epochs"] == {"0": 1} and about["faults"] == [] for about in recipe["splits"].values())
    text = (crossval / "table.md").read_text()
    assert "members 1, epochs 1, width 4" in text and "butt − butt-2020" in text and "alder" in text


@pytest.mark.slow
def test_a_killed_experiment_goes_on_and_ends_the_same_in_any_recipe_order(crossval, data, tmp_path, monkeypatch):
    real, calls = scored.train_ensemble, []

    def dying(headers, folder, recipe, *arguments, **options):
        calls.append(folder.relative_to(tmp_path / "out").as_posix())
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(headers, folder, recipe, *arguments, **options)

    command = [
        "crossval",
        str(data),
        str(tmp_path / "out"),
        "--recipe",
        "butt-2020",
        "--recipe",
        "butt",
        "--folds",
        "2",
        *TINY,
        "--discard-models",
    ]
    monkeypatch.setattr(scored, "train_ensemble", dying)
    assert main(command) == 130
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/*/scores.npz")}
    assert len(done) == 2 and not (tmp_path / "out" / "results.json").exists()
    assert main(command) == 0
    assert len(calls) == 5 and len(set(calls)) == 4 and calls[2] == calls[3]  # the killed one alone is trained again
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert without_times(results_of(tmp_path / "out")) == without_times(results_of(crossval))
    for name in ("scores_by_fold.csv", "scores_by_source.csv", "scores_by_class.csv", "differences.csv", "splits.json"):
        assert (tmp_path / "out" / name).read_bytes() == (crossval / name).read_bytes()
    assert not list(tmp_path.glob("out/*/*/model")) and list(crossval.glob("*/*/model"))


@pytest.mark.slow
def test_what_is_scored_is_not_trained_again_and_a_recipe_can_be_left_out_or_added(
    crossval, data, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(scored, "train_ensemble", fail)
    out = shutil.copytree(crossval, tmp_path / "out")
    assert main(["crossval", str(data), str(out), "--recipe", "butt-2020", "--folds", "2", *TINY]) == 0
    alone = [row for row in results_of(crossval)["scores_by_fold"] if row["recipe"] == "butt-2020"]
    assert results_of(out)["scores_by_fold"] == alone
    assert main(["crossval", str(data), str(out), *TWO, *TINY]) == 0
    assert without_times(results_of(out)) == without_times(results_of(crossval))
    with pytest.raises(AssertionError, match="trained again"):
        main(["crossval", str(data), str(out), "--recipe", "se-resnet", "--folds", "2", *TINY])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change,words",
    [
        (["--folds", "3"], "other experiment"),
        (["--seed", "6"], "other seed"),
        (["--epochs", "2"], "other budget"),
        ("diagnosis", "other data"),
        ("splits", "other splits"),
        ("recipe", "another version of recipe 'butt'"),
        ("scores", "cannot be read"),
    ],
)
def test_a_later_start_with_other_arguments_or_data_is_refused(
    crossval, data, tmp_path, monkeypatch, capsys, change, words
):
    out = shutil.copytree(crossval, tmp_path / "out")
    command = ["crossval", str(data), str(out), *TWO, *TINY]
    if isinstance(change, list):
        command += change
    elif change == "diagnosis":
        command[1] = str(shutil.copytree(data, tmp_path / "data"))
        header = find_recordings(tmp_path / "data")[3]
        header.write_text(header.read_text().replace("Dx: ", "Dx: 164889003,"))
    elif change == "splits":
        splits = json.loads((out / "splits.json").read_text())
        splits["fold_1"], splits["fold_2"] = splits["fold_2"], splits["fold_1"]
        (out / "splits.json").write_text(json.dumps(splits))
    elif change == "recipe":
        monkeypatch.setitem(RECIPES, "butt", dataclasses.replace(RECIPES["butt"], source="elsewhere"))
    else:
        path = out / "butt" / "fold_1" / "scores.npz"
        path.write_bytes(path.read_bytes()[:200])
    assert main(command) == 2
    message = capsys.readouterr().err.strip()
    assert words in message and "delete" in message and "\n" not in message


# ----------------------------------------------------------------------------------- sources, test groups, bad requests


@pytest.mark.slow
def test_each_source_is_tested_by_a_model_of_the_others_and_small_ones_are_pooled(data, tmp_path):
    for source, (first, last) in {"alder": (0, 14), "xylo": (14, 17), "yew": (17, 20)}.items():
        (tmp_path / "data" / source).mkdir(parents=True)
        for header in find_recordings(data / "alder")[first:last]:
            for path in header.parent.glob(f"{header.stem}.*"):
                shutil.copy(path, tmp_path / "data" / source)
    out = tmp_path / "out"
    assert main(["leave-one-source-out", str(tmp_path / "data"), str(out), "--pool-below", "10", *TINY]) == 0
    splits = read_splits(out / "splits.json")
    assert {split: Counter(name.split("/")[0] for name in parts["test"]) for split, parts in splits.items()} == {
        "alder": {"alder": 14},
        "small": {"xylo": 3, "yew": 3},
    }
    assert all(
        not set(parts["train"]) & set(parts["test"]) and len(parts["train"] + parts["test"]) == 20
        for parts in splits.values()
    )
    assert [row["fold"] for row in by_2020(out / "scores_by_fold.csv")] == [ALL, "alder", "small"]
    assert [row["source"] for row in by_2020(out / "scores_by_source.csv")] == [ALL, "alder", "xylo", "yew"]
    absent = [row for row in results_of(out)["scores_by_class"] if row["recordings"] == 0]  # undefined: null, and empty
    assert absent and all(row["auroc"] == {"value": None, "low": None, "high": None} for row in absent)
    assert {row["auroc"] for row in table_of(out / "scores_by_class.csv") if row["recordings"] == "0"} == {""}


@pytest.mark.slow
def test_test_recordings_change_nothing_in_the_model_and_unreadable_ones_fall_back(data, tmp_path, capsys):
    """The same hold-out twice; in between, the test recordings get other diagnoses and one loses its signal."""
    names = [name_of(header, data) for header in find_recordings(data) if header.stem != "U0001"]
    tested, unused = names[::4], names[1::8]
    groups = tmp_path / "groups.csv"
    groups.write_text(
        "recording,group\n"
        + "".join(f"{name},odd\n" for name in tested[1::2])
        + "".join(f"{Path(name).name},even\n" for name in tested[::2])
        + "".join(f"{name},unused\n" for name in unused)
        + "elsewhere,odd\n"
    )
    changed = shutil.copytree(data, tmp_path / "data")
    for name in tested:
        path = changed / f"{name}.hea"
        path.write_text(re.sub("Dx: .*", "Dx: 426783006", path.read_text()))
    (changed / f"{tested[4]}.mat").write_bytes(b"")
    for folder, out in ((data, "one"), (changed, "two")):
        assert main(["holdout", str(folder), str(tmp_path / out), "--test-groups", str(groups), *TINY]) == 0
    assert "1 of the" in capsys.readouterr().out
    model = Path("butt", "holdout", "model")
    assert contents(tmp_path / "one" / model) == contents(tmp_path / "two" / model)

    splits = read_splits(tmp_path / "one" / "splits.json")["holdout"]
    assert splits["test"] == tested and set(splits["train"]) == set(names) - set(tested) - set(unused)
    rows = by_2020(tmp_path / "one" / "scores_by_fold.csv")
    assert [(row["fold"], row["recordings"]) for row in rows] == [(ALL, "12"), ("even", "6"), ("odd", "6")]

    scores, labels = {}, {}
    for out in ("one", "two"):
        with np.load(tmp_path / out / "butt" / "holdout" / "scores.npz") as arrays:
            scores[out], labels[out], outputs = arrays["scores"], arrays["labels"], arrays["outputs"]
    others = np.arange(12) != 4
    np.testing.assert_allclose(scores["one"][others], scores["two"][others], atol=1e-6)
    sinus_rhythm = np.arange(24) == CHALLENGE.sinus_rhythm
    assert (labels["two"] == sinus_rhythm).all() and not (labels["one"] == sinus_rhythm).all()
    (fault,) = results_of(tmp_path / "two")["recipes"]["butt"]["splits"]["holdout"]["faults"]
    assert Path(tested[4]).name in fault
    assert outputs[4].tolist() == sinus_rhythm.tolist()


@pytest.mark.parametrize(
    "command,words",
    [
        (["crossval", "DATA", "OUT", "--recipe", "butt", "--recipe", "butt"], "named 2 times"),
        (["crossval", "DATA", "OUT", "--recipe", "bytt"], "there are: butt"),
        (["crossval", "DATA", "OUT", "--folds", "1"], "at least 2 folds"),
        (["crossval", "DATA", "OUT", "--folds", "17"], "ask for fewer folds"),
        (["crossval", "DATA", "OUT", "--parameters", "100000", "--width", "4"], "give one of them"),
        (["crossval", "DATA", "OUT", "--parameters", "10"], "at its smallest width"),
        (["crossval", "DATA", "OUT", "--parameters", "0"], "more than 0"),
        (["crossval", "DATA", "OUT", "--resamples", "0"], "more than 0"),
        (["crossval", "DATA", "DATA/patients.csv/out"], "choose another folder"),
        (["crossval", "NOTHING", "OUT"], "diagnosis"),
        (["leave-one-source-out", "DATA", "OUT", "--pool-below", "1000"], "at least 2 sources"),
        (["holdout", "DATA", "OUT", "--test-groups", "GROUPS"], "none has a test group"),
        (["holdout", "DATA", "OUT", "--test-groups", "NOTHING/groups.csv"], "cannot be read"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line_and_trains_nothing(
    data, tmp_path, monkeypatch, capsys, command, words
):
    monkeypatch.setattr(scored, "train_ensemble", None)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "groups.csv").write_text("recording,group\nelsewhere,odd\nU0001,even\n")
    places = {"DATA": data, "OUT": tmp_path / "out", "NOTHING": tmp_path / "nothing", "GROUPS": tmp_path / "groups.csv"}
    for word, place in places.items():
        command = [part.replace(word, str(place)) for part in command]
    assert main([*command, "--device", "cpu"]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message and "\n" not in message


@pytest.mark.parametrize("fault", [None, MemoryError("all of it"), RuntimeError("a mistake of ours")])
def test_a_header_that_cannot_be_read_costs_only_its_recording(data, tmp_path, monkeypatch, fault):
    """Also when the reason is none that reading knows; and a recording without a diagnosis is in no fold."""
    folder = shutil.copytree(data, tmp_path / "data")
    headers = find_recordings(folder)
    headers[5].write_text("")
    lines: list[str] = []
    if fault is not None:

        def failing(path):
            if path == headers[5]:
                raise fault
            return read_header(path)

        monkeypatch.setattr(design, "read_header", failing)
    cohort = read_cohort(folder, log=lines.append)
    assert set(cohort.headers) == set(headers) - {headers[5], folder / "U0001.hea"}
    assert len(lines) == 2 and headers[5].name in lines[0] and "1 recordings without a diagnosis" in lines[1]


# -------------------------------------------------------------------------------------------------------------- budget


@pytest.mark.parametrize("name", RECIPES)
def test_networks_are_as_wide_as_so_many_parameters_allow(name):
    recipe = get_recipe(name)
    classes = {"challenge": 24, "cpsc": 9}[recipe.label_set]
    if not isinstance(recipe, Recipe):  # each of its networks by itself
        assert narrowed(recipe, classes, 100_000).parts == tuple(narrowed(p, classes, 100_000) for p in recipe.parts)
        return

    def parameters(width):  # with memory, unlike `parameters_of`
        return sum(weight.numel() for weight in new_model(recipe.scaled(width=width), classes).parameters())

    for most in (100_000, 200_000):
        found = narrowed(recipe, classes, most)
        width = found.network["width"]
        assert found == recipe.scaled(width=width) and parameters(width) <= most
        wider = next((w for w in range(width + 1, recipe.network["width"] + 1) if is_allowed(recipe, classes, w)), None)
        assert wider is None or parameters(wider) > most
    assert narrowed(recipe, classes, 10**9) == recipe
    with pytest.raises(UserError, match="smallest width"):
        narrowed(recipe, classes, 5)


def is_allowed(recipe, classes, width) -> bool:
    try:
        with torch.device("meta"):
            new_model(recipe.scaled(width=width), classes)
    except UserError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------- comparison


def answers(rng, classes, labels, noise=0.5):
    scores = np.clip(0.5 * labels + noise * rng.random(labels.shape), 0, 1)
    return scores > 0.5, scores


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_a_recipe_differs_from_itself_by_nothing_and_from_another_by_its_gap(seed, recordings):
    rng = np.random.default_rng(seed)
    labels = rng.random((recordings, 24)) < 0.2
    one, other = answers(rng, CHALLENGE, labels), answers(rng, CHALLENGE, labels, 1.0)
    figures = score(labels, {"one": one, "same": one, "other": other}, CHALLENGE, None, 20, seed)
    for metric in ("challenge_metric", "auroc"):
        same = difference(figures["one"], figures["same"], metric)
        assert all(value == 0 or np.isnan(value) for value in same.values())
        there, back = (difference(figures[a], figures[b], metric) for a, b in (("one", "other"), ("other", "one")))
        np.testing.assert_allclose(
            [back[key] for key in ("value", "low", "high")],
            [-there[key] for key in ("value", "high", "low")],
            atol=1e-12,
        )


def test_intervals_of_paired_differences_are_narrower_than_those_of_unpaired_ones():
    """Two recipes that differ in a tenth of the recordings: the recordings' own ease or difficulty cancels out."""
    rng = np.random.default_rng(0)
    labels = rng.random((300, 24)) < 0.1
    outputs, scores = answers(rng, CHALLENGE, labels)
    outputs ^= rng.random(labels.shape) < 0.05
    worse = outputs.copy()
    worse[:30] = ~labels[:30]
    figures = score(labels, {"one": (outputs, scores), "other": (worse, scores)}, CHALLENGE, None, 200, 0)
    paired = difference(figures["one"], figures["other"], "challenge_metric")
    assert paired["low"] > 0
    assert difference(figures["one"], figures["other"], "auroc") == {"value": 0, "low": 0, "high": 0}
    unpaired = interval(figures["one"][1]["challenge_metric"] - np.roll(figures["other"][1]["challenge_metric"], 1))
    assert paired["high"] - paired["low"] < unpaired[1] - unpaired[0]


def test_recordings_of_one_patient_count_as_one_in_the_intervals():
    """Everyone recorded twice, with the same result: by patient nothing is gained, by recording it would seem so."""
    rng = np.random.default_rng(1)
    labels = rng.random((60, 24)) < 0.2
    outputs, scores = answers(rng, CHALLENGE, labels, 1.0)
    doubled = {"a": (np.repeat(outputs, 2, axis=0), np.repeat(scores, 2, axis=0))}
    once = score(labels, {"a": (outputs, scores)}, CHALLENGE, None, 100, 3)["a"][1]["challenge_metric"]
    grouped = score(np.repeat(labels, 2, axis=0), doubled, CHALLENGE, np.repeat(np.arange(60), 2), 100, 3)["a"][1]
    apart = score(np.repeat(labels, 2, axis=0), doubled, CHALLENGE, None, 100, 3)["a"][1]
    np.testing.assert_allclose(grouped["challenge_metric"], once, atol=1e-12)
    assert apart["challenge_metric"].std() < once.std()


@pytest.mark.parametrize("text", [False, True])
def test_nine_classes_are_scored_by_both_metrics_and_negative_elsewhere(text):
    rng = np.random.default_rng(2)
    spelled = {code: name for name, code in CPSC.items()} if text else {}
    drawn = [rng.choice(list(CPSC.values()), rng.integers(1, 3), replace=False) for _ in range(80)]
    codes = [tuple(spelled.get(code, code) for code in each) for each in drawn]
    codes += [("164934002",)] * 10  # T wave abnormal: one of the 24, none of the nine
    own = NINE.labels(codes)
    outputs, scores = answers(rng, NINE, own, 0.9)
    truth = CHALLENGE.labels([[CPSC.get(code, code) for code in each] for each in codes])
    full = answers(rng, CHALLENGE, truth, 0.9)
    tested = TestSet(
        tuple(codes),
        ("f",) * 90,
        ("a",) * 45 + ("b",) * 45,
        None,
        {"nine": Predictions(NINE, outputs, scores), "full": Predictions(CHALLENGE, *full)},
    )
    results = compare(tested, CHALLENGE, 20, 0)
    rows = {(row["recipe"], row["metrics"], row["source"]): row for row in results["scores_by_source"]}
    assert len(rows) == 15  # by 2020's metrics both, twice, by the unofficial phase's the nine-class one alone

    wide_outputs, wide_scores = laid_out(outputs, NINE, CHALLENGE), laid_out(scores, NINE, CHALLENGE)
    known = [k for k, code in enumerate(CHALLENGE.codes) if code in NINE.index]
    assert sorted(CHALLENGE.abbreviations[k] for k in known) == ["AF", "CRBBB", "IAVB", "LBBB", "NSR", "PAC", "PVC"]
    assert not np.delete(wide_scores, known, axis=1).any() and not np.delete(wide_outputs, known, axis=1).any()
    np.testing.assert_array_equal(wide_scores[:, CHALLENGE.index["164909002"]], scores[:, NINE.index["LBBB"]])
    expected = metrics.evaluate(truth, wide_outputs, wide_scores, CHALLENGE.weights, CHALLENGE.sinus_rhythm)
    assert rows["nine", "2020", ALL]["challenge_metric"]["value"] == expected["challenge_metric"]
    assert rows["nine", "2020", ALL]["recordings"] == 90

    expected = metrics.evaluate(own[:80], outputs[:80], scores[:80], year="unofficial")
    row = rows["nine", "unofficial", ALL]
    assert row["recordings"] == 80 and rows["nine", "unofficial", "b"]["recordings"] == 35
    for metric in ("f_beta_measure", "g_beta_measure", "geometric_mean"):
        assert row[metric]["value"] == expected[metric]
        assert row[metric]["low"] <= expected[metric] <= row[metric]["high"]
    assert {row["metrics"] for row in results["differences"]} == {"2020", ANNOTATED}
    assert sum(not row["known"] for row in results["scores_by_class"] if row["recipe"] == "nine") == 17


def test_unannotated_classes_are_left_out_and_unseen_sources_pooled():
    codes = [
        ("426783006",),
        ("164889003",),
        ("426783006",),
        ("39732003", "426783006"),
    ]  # a has NSR and AF, b NSR and LAD
    labels = CHALLENGE.labels(codes)
    af, lad, nsr = (CHALLENGE.index[code] for code in ("164889003", "39732003", "426783006"))
    outputs = labels.copy()
    outputs[0, lad] = outputs[2, af] = True  # which the source never has
    outputs[3, nsr] = False
    tested = TestSet(
        tuple(codes),
        ("f",) * 4,
        ("a", "a", "b", "b"),
        None,
        {"one": Predictions(CHALLENGE, outputs, outputs * 0.9)},
        np.array([False, False, True, True]),
    )
    rows = {(row["metrics"], row["source"]): row for row in compare(tested, CHALLENGE, 20, 0)["scores_by_source"]}
    assert {source for _, source in rows} == {ALL, UNSEEN, "a", "b"}

    def metric(outputs, rows):
        return metrics.challenge_metric(labels[rows], outputs[rows], CHALLENGE.weights, nsr)

    kept = outputs.copy()
    kept[0, lad] = kept[2, af] = False
    for source, chosen in {ALL: slice(None), UNSEEN: slice(2, 4), "a": slice(0, 2), "b": slice(2, 4)}.items():
        assert rows["2020", source]["challenge_metric"]["value"] == pytest.approx(metric(outputs, chosen))
        assert rows[ANNOTATED, source]["challenge_metric"]["value"] == pytest.approx(metric(kept, chosen))
    assert rows[ANNOTATED, "a"]["challenge_metric"]["value"] == 1


def test_each_source_says_how_many_labels_are_written_and_the_f_of_sinus_rhythm():
    codes = [("426783006",), ("164889003",), ("426783006", "39732003"), ("426783006",)]
    labels = CHALLENGE.labels(codes)
    outputs = labels.copy()
    outputs[1, CHALLENGE.sinus_rhythm] = True  # one label more in the first source, and a false sinus rhythm
    predictions = {"one": Predictions(CHALLENGE, outputs, outputs * 0.9)}
    tested = TestSet(tuple(codes), ("f",) * 4, ("a", "a", "b", "b"), None, predictions)
    rows = {
        row["source"]: row for row in compare(tested, CHALLENGE, 20, 0)["scores_by_source"] if row["metrics"] == "2020"
    }
    expected = {ALL: (1.25, 1.5, 6 / 7), "a": (1.0, 1.5, 2 / 3), "b": (1.5, 1.5, 1.0)}
    for source, (annotated, written, f) in expected.items():
        row = rows[source]
        assert (row["labels_annotated"], row["labels_written"]) == (annotated, written)
        assert row["sinus_rhythm_f"]["value"] == pytest.approx(f)


def test_the_table_says_everything_that_was_scored_and_calls_undefined_what_is():
    labels = np.zeros((6, 9), dtype=bool)
    labels[:, NINE.sinus_rhythm] = True
    tested = TestSet(
        (("Normal",),) * 6, ("f",) * 6, ("a",) * 6, None, {"nine": Predictions(NINE, labels, labels * 0.5)}
    )
    about = dict(epochs={"0": 3, "1": 2}, timing=dict(epoch_seconds=90.0))
    text = as_markdown(
        dict(
            experiment=dict(command="crossval", folds=2),
            budget=dict(members=2, width=None),
            seed=0,
            resampling=dict(resamples=20, unit="recordings"),
            recipes={"nine": dict(parameters=12345, splits=dict(f=about))},
            **compare(tested, CHALLENGE, 20, 0),
        )
    )
    assert "the same budget (members 2), what is not named as published" in text
    assert "| nine | 12,345 | 2 | 2–3 | 1.5 | 0.000 [0.000, 0.000] | undefined |" in text
    assert "√(F2·G2)" in text and "difference" not in text
