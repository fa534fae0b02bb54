"""The benchmarks measure what they say: the reference is the same network on nearly the same input. All scripts run."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvelead.data.folders import find_recordings
from twelvelead.data.header import LEADS
from twelvelead.data.recording import read_recording
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.models.cpu import accelerate, buffers, scoring_layers
from twelvelead.models.cpu.butt import ScoringButt
from twelvelead.models.network import fuse
from twelvelead.preprocessing.prepare import Prepared, prepare
from twelvelead.recipes import RECIPES, Input

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


class Here:
    """Runs in this process what a benchmark would run in another one."""

    def submit(self, work, *values):
        future = Future()
        future.set_result(work(*values))
        return future


@pytest.fixture
def benchmark(monkeypatch):
    """A benchmark script as a module whose processes are this one."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(name: str):
        module = importlib.import_module(name)
        if hasattr(module, "process"):
            monkeypatch.setattr(module, "process", contextmanager(lambda threads: (yield Here())))
        return module

    yield load
    for name in {path.stem for path in FOLDER.glob("*.py")} & {*sys.modules}:
        sys.modules.pop(name, None)


def header(frequency: int, samples: int, gain: int = 1000) -> str:
    return f"A 12 {frequency} {samples}\n" + "".join(f"A.mat 16+24 {gain}/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)


def test_the_reference_appends_922_zeros_and_keeps_millivolts_of_slow_waves(benchmark):
    wave = np.sin(2 * np.pi * 5 * np.arange(5000) / 500)
    x = benchmark("reference").prepare(header(500, 5000, 2000), np.tile(2000 * wave, (12, 1)).astype(np.int16))
    assert x.shape == (12, 1250 + 922) and not x[:, 1250:].any()
    assert x[:, 100:1150].max() == pytest.approx(1 / 0.2, rel=0.01)


def test_the_reference_filters_what_would_alias(benchmark):
    tone = np.tile(1000 * np.sin(2 * np.pi * 110 * np.arange(5000) / 500), (12, 1)).astype(np.int16)
    assert np.abs(benchmark("reference").prepare(header(500, 5000), tone)[:, 100:1150]).max() < 0.01 / 0.2


def test_the_reference_input_is_ours_but_for_the_filter(benchmark, hospital):
    reference = benchmark("reference")
    for path in find_recordings(hospital)[:4]:
        ours = prepare(read_recording(path), Input()).signal
        theirs = reference.prepare(*reference.read(path))[:, : ours.shape[1]]
        present = ours.std(axis=1) > 0
        correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours[present, : theirs.shape[1]], theirs[present])]
        assert min(correlation) > 0.9


@pytest.mark.slow
def test_equal_weights_and_input_give_equal_scores(benchmark, hospital, tmp_path):
    reference = benchmark("reference")
    model = benchmark("shared").make_model(tmp_path / "model", find_recordings(hospital), members=2, width=30)
    ensemble, networks = load_ensemble(model), reference.load_model(model)
    assert any(isinstance(module, ScoringButt) for module in ensemble.models[0].modules())
    prepared = prepare(read_recording(find_recordings(hospital)[0]), Input())
    # a multiple of 64 samples: the reference knows no mask
    short = Prepared(prepared.signal[:, :640], prepared.leads, prepared.valid[:640])
    x = torch.from_numpy(short.signal.astype(np.float16).astype(np.float32))[None]
    with torch.no_grad():
        theirs = np.stack([torch.sigmoid(network(x))[0].numpy() for network in networks])
    np.testing.assert_allclose(member_scores(ensemble, stack([short], torch.device("cpu")))[:, 0], theirs, atol=1e-4)


@pytest.mark.slow
def test_the_reference_learns(benchmark, hospital):
    reference = benchmark("reference")
    headers = find_recordings(hospital)[:8]
    labels = np.arange(8)[:, None] % 2 == np.arange(2)
    torch.manual_seed(0)
    network = reference.Network(classes=2, width=4)
    optimizer = reference.new_optimizer(network)
    losses = [reference.train_epoch(network, optimizer, headers, labels, np.random.default_rng(0)) for _ in range(8)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_speed_fills_every_row_of_its_table(benchmark, tmp_path):
    speed = benchmark("speed")
    rows = {"preprocess", "run_model", "folder", "training", "loading"}
    table = speed.measure(None, 4, 1, rows, members=2, width=4, work=tmp_path)
    assert len(table) == 7 and all(len(row) == 5 for row in table)
    assert all(float(row[3].rstrip("×")) > 0 for row in table if row[2])


@pytest.mark.slow
def test_scale_measures_growth_and_memory(benchmark, hospital, tmp_path):
    scale = benchmark("scale")
    many = scale.linked(find_recordings(hospital), 100, tmp_path / "many")
    rows = scale.growth(many, [50, 100], tmp_path)
    assert [row["recordings"] for row in rows] == [50, 100]
    model = scale.make_model(tmp_path / "model", find_recordings(hospital), members=1, width=4)
    seconds, peak, loaded = scale.run_model_memory(model, 0.1, 1000)
    assert seconds > 0 and peak >= loaded > 0.05
    assert sum(scale.family_pss(scale.os.getpid()).values()) > 50e6


@pytest.mark.slow
def test_profiles_name_what_takes_time(benchmark, hospital, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring_layers, "SMALL_KERNELS", True)
    # What an earlier test has built keeps the products that numpy had then, which would not be counted here.
    monkeypatch.setattr(buffers, "_workspaces", buffers.Workspaces())
    profiles = benchmark("profiles")
    headers = find_recordings(hospital)[:4]
    for _, table in (
        profiles.preprocess(headers),
        profiles.scores(headers, tiny_model),
        profiles.training(headers, 4),
        profiles.store(headers),
    ):
        assert len(table) == profiles.TOP
    model = profiles.new_model(profiles.get_recipe("butt-2020"), 24).eval()
    assert profiles.giga_macs(model, 1280) == pytest.approx(0.303, abs=0.001)
    # 12 products for 42 (in two convolutions 10 for 28), panels that are not full, and sums besides
    assert profiles.giga_macs(accelerate(fuse(model), training=False), 1280) == pytest.approx(0.115, abs=0.001)


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu(benchmark, tmp_path):
    gpu = benchmark("gpu")
    table = gpu.measure(None, torch.device("cpu"), 4, 8, [1, 2], members=1, width=4, work=tmp_path)
    assert [row[0].split(",")[0] for row in table] == [
        "training",
        "training",
        "scoring",
        "default recipe",
        "largest difference of scores to the CPU's",
    ]
    assert table[-1][1] == "0.0e+00"


def experiment(folder: Path, seed: int, wrong: int) -> Path:
    """A finished experiment: recipe "good" is right everywhere, "bad" says nothing of the first `wrong` recordings."""
    fixed = {
        "experiment": {"command": "leave-one-source-out"},
        "budget": {},
        "data": "d",
        "weights": "w",
        "splits": {"a": {}, "b": {}},
        "recipes": {"good": {}, "bad": {}},
    }
    for recipe, split in product(fixed["recipes"], fixed["splits"]):
        labels = np.eye(24, dtype=bool)[np.arange(20) % 7]
        outputs = labels.copy()
        outputs[: wrong if recipe == "bad" else 0] = False
        (folder / recipe / split).mkdir(parents=True)
        np.savez(
            folder / recipe / split / "scores.npz",
            recordings=[f"{split}/{k}" for k in range(20)],
            labels=labels,
            outputs=outputs,
        )
    (folder / "results.json").write_text(json.dumps({**fixed, "seed": seed}))
    return folder


def test_seeds_are_taken_together(benchmark, tmp_path, monkeypatch, capsys):
    over_seeds = benchmark("over_seeds")
    folders = [experiment(tmp_path / str(seed), seed, wrong) for seed, wrong in ((0, 5), (1, 10))]
    monkeypatch.setattr(sys, "argv", ["over_seeds.py", *map(str, folders), "--resamples", "50"])
    over_seeds.main()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.strip().splitlines()]
    assert [row[:3] for row in lines[2:]] == [
        [name, count, kind]
        for name, count in (("all together", "40"), ("a", "20"), ("b", "20"))
        for kind in ("all", "annotated")
    ]
    good, bad, apart = lines[2][3:]
    assert good == "1.000 (1.000 to 1.000)"
    mean, low, high = map(float, re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", bad).groups())
    assert low < mean < high < 1 and mean == pytest.approx((low + high) / 2, abs=0.001)
    assert float(apart.split()[0]) == pytest.approx(1 - mean, abs=0.001)


def test_experiments_that_differ_in_more_than_the_seed_are_not_taken_together(benchmark, tmp_path):
    over_seeds = benchmark("over_seeds")
    one, same = experiment(tmp_path / "one", 0, 3), experiment(tmp_path / "same", 0, 3)
    with pytest.raises(SystemExit, match="same seed"):
        over_seeds.read([one, same])
    other = experiment(tmp_path / "other", 1, 3)
    results = json.loads((other / "results.json").read_text())
    (other / "results.json").write_text(json.dumps({**results, "budget": {"epochs": 3}}))
    with pytest.raises(SystemExit, match="more than their seed"):
        over_seeds.read([one, other])


def test_the_prior_is_chosen_near_the_models_own_where_gains_are_alike(benchmark):
    """Gains (candidates, sources, draws) of benchmarks/recalibration.py."""
    recalibration = benchmark("recalibration")
    spreads = [prior.spread for prior in recalibration.CANDIDATES]
    noise = np.random.default_rng(0).normal(0, 0.05, (len(spreads), 3, 5))
    alike = recalibration.chosen(noise - noise.mean(axis=(1, 2), keepdims=True))
    assert spreads[alike] == min(spreads)
    clear = np.zeros_like(noise)
    clear[5] = 1.0
    assert recalibration.chosen(clear) == 5


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_starts_from_another_folder(script, tmp_path):
    """Its imports work without an installed package; scripts with options print their help."""
    run = subprocess.run(
        [sys.executable, FOLDER / f"{script}.py", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    if script == "reference":  # it takes fixed arguments and prints how it is used
        assert run.returncode == 1 and run.stderr.startswith("usage: ")
    else:
        assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_the_evaluators_benchmark_prints_a_row_and_a_ratio(tmp_path):
    arguments = ["--recordings", "50,1000", "--labels", tmp_path / "none.csv"]
    run = subprocess.run(
        [sys.executable, FOLDER / "evaluator.py", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("MiB |") == 2 and "times as fast" in run.stdout


@pytest.mark.slow
def test_reading_measures_the_store_and_run_model(hospital, tiny_model, tmp_path):
    arguments = [hospital, tiny_model, "--limit", "3"]
    run = subprocess.run(
        [sys.executable, FOLDER / "reading.py", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "recordings 48" in run.stdout and "recordings 3" in run.stdout


@pytest.mark.parametrize(
    "left_out,tested",
    [
        ("others", ["D,cpsc_2018", "E,ningbo"]),
        ("cpsc_2018", ["D,cpsc_2018"]),
        ("small", ["E,ningbo"]),
        ("ptb-xl", ["B,ptb-xl"]),
    ],
)
def test_groups_hold_fold_9_and_the_sources_that_are_left_out(benchmark, tmp_path, left_out, tested):
    rows = ["A,ptb-xl,9", "B,ptb-xl,3", "C,ptb-xl,10", "D,cpsc_2018,", "E,ningbo,"]
    (tmp_path / "recordings.csv").write_text("\n".join(["recording,source,ptbxl_strat_fold", *rows]) + "\n")
    benchmark("ptbxl_groups").main([str(tmp_path), str(tmp_path / "groups.csv"), "--leave-out", left_out])
    groups = (tmp_path / "groups.csv").read_text().splitlines()
    assert sorted(groups) == sorted(["recording,group", "A,ptb-xl fold 9", "C,unused", *tested])


def test_time_to_quality_counts_the_minutes_to_the_authors_best_score(benchmark):
    """The authors reach 0.6 after 20 min; what they reach later does not count. The default is there after 4 min."""
    quality = benchmark("time_to_quality")
    curves = [
        quality.Curve("butt, 6 min", [2.0, 4.0], [0.3, 0.61]),
        quality.Curve("butt, 30 min", [5.0, 10.0, 20.0], [0.5, 0.7, 0.65]),
        quality.Curve("s4, 30 min", [3.0, 6.0], [0.2, 0.4]),
        quality.Curve(quality.AUTHORS, [10.0, 20.0, 30.5], [0.4, 0.6, 0.9]),
    ]
    assert quality.rows_of(curves, 30.0) == [
        [quality.AUTHORS, "0.600", "20.0", "1"],
        ["butt", "0.700", "4.0", "5.0"],
        ["s4", "0.400", "–", "not reached"],
    ]


def test_time_to_quality_reads_what_both_sides_can_read(benchmark, hospital, tmp_path):
    quality = benchmark("time_to_quality")
    assert {"butt", "s4", "isibrno-2021"} <= set(quality.comparable())
    assert not {"vote", "crnn", "butt-cpsc"} & set(quality.comparable())
    data = shutil.copytree(hospital, tmp_path / "data")
    headers = find_recordings(data)
    long, undiagnosed = headers[:2]
    first, rest = long.read_text().split("\n", 1)
    long.write_text(" ".join([*first.split()[:3], "1000000"]) + "\n" + rest)
    undiagnosed.write_text(re.sub("Dx: .*", "Dx: Unknown", undiagnosed.read_text()))
    whole = [header for header in headers[2:] if header.with_suffix(".mat").is_file()]
    recordings = {header: read_recording(header) for header in whole}
    assert set(quality.usable(headers)) == {
        header for header, recording in recordings.items() if len(recording.leads) == 12 and recording.codes
    }


@pytest.mark.parametrize("name", RECIPES)
def test_equal_time_gives_each_recipe_one_network_and_one_part(benchmark, name):
    """Of a recipe that joins others, each has one network. None is wider than published."""
    recipe = benchmark("equal_time").one_network(RECIPES[name], 300, 200_000)
    assert [part.voting.members for part in recipe.parts] == [1] * len(RECIPES[name].parts)
    for part, published in zip(recipe.parts, RECIPES[name].parts):
        assert (part.voting.folds, part.voting.train_fraction) == (0, 0.8)
        assert part.synthetic.recordings == 300
        assert part.network["width"] <= published.network["width"]
        assert (part.training, part.input, part.augmentation) == (
            published.training,
            published.input,
            published.augmentation,
        )


def test_equal_time_counts_what_a_training_computes_and_not_what_it_waits(benchmark):
    with benchmark("equal_time").seconds_of_this_process():
        began = time.time(), time.perf_counter()
        threading.Event().wait(0.5)
        waited = time.time() - began[0], time.perf_counter() - began[1]
        while time.process_time() - began[1] < 0.3:
            pass
        assert max(waited) < 0.25 and time.time() - began[0] >= 0.29


@pytest.mark.slow
def test_equal_time_trains_once_and_its_trainings_are_drawn_and_joined(benchmark, hospital, tmp_path, monkeypatch):
    """Three benchmarks share one folder of trainings: the table, time to quality, and the compositions of votes."""
    equal_time, quality, compositions = map(benchmark, ("equal_time", "time_to_quality", "compositions"))
    data = shutil.copytree(hospital, tmp_path / "data")
    unreadable = {header.stem for header in find_recordings(data)} - {
        h.stem for h in quality.usable(find_recordings(data))
    }
    for header in find_recordings(data):
        if header.stem in unreadable:
            header.unlink()
    tested = [header.stem for header in find_recordings(data)][::3]
    groups = tmp_path / "groups.csv"
    groups.write_text("\n".join(["recording,group", *(f"{name},test" for name in tested)]) + "\n")
    out = tmp_path / "out"
    common = [data, out, "--groups", groups, "--parameters", "60000"]
    options = [*common, "--minutes", "0.02", "--synthetic", "4", "--recipes", "se-resnet", "s4"]
    equal_time.main([*map(str, options), "--seeds", "0", "1", "--train-only"])
    assert len(list(out.glob("*/curve.json"))) == 4 and not (out / "equal_time.md").exists()
    monkeypatch.setattr(equal_time, "_train", None)  # nothing is trained again
    equal_time.main([*map(str, options), "--resamples", "20"])
    text = (out / "equal_time.md").read_text()
    assert text.count("| se-resnet | 4 |") == text.count("| s4 | 4 |") == 4

    options = [*common, "--minutes", "0.01", "--budgets", "0.02", "--synthetic", "4", "--recipes", "se-resnet", "s4"]
    quality.main([*map(str, options)])
    assert (out / "time_to_quality.png").read_bytes()[:4] == b"\x89PNG"
    assert len((out / "time_to_quality.md").read_text().splitlines()) == 5
    monkeypatch.setattr(quality, "of_authors", None)
    quality.main([*map(str, options)])
    with pytest.raises(SystemExit, match="name another folder"):
        quality.main([*map(str, options), "--minutes", "0.02"])

    options = [*common, "--minutes", "0.02", "--synthetic", "4", "--recipes", "se-resnet", "s4", "--resamples", "20"]
    monkeypatch.setattr(compositions, "VOTING", dataclasses.replace(compositions.VOTING, convention_recordings=5))
    compositions.main([*map(str, options)])
    rows = (out / "compositions.md").read_text().splitlines()[2:]
    titles = [row.strip("| ").split(" | ")[:3] for row in rows]
    assert sorted(map(tuple, titles)) == [
        ("2 × s4", "mean score", "1"),
        ("2 × se-resnet", "mean score", "1"),
        ("s4", "alone", "2"),
        ("se-resnet", "alone", "2"),
        ("se-resnet + s4", "mean score", "2"),
    ]


def test_a_vote_of_one_network_three_times_is_the_network(benchmark):
    """Joined with itself a network decides as it does alone, by the mean score and by votes."""
    compositions, rng = benchmark("compositions"), np.random.default_rng(0)
    data = compositions.Scored.__new__(compositions.Scored)
    data.labels = data.truth = rng.random((200, 24)) < 0.2
    data.validation, data.tested, data.conventions = {0: np.arange(100)}, np.arange(100, 180), np.arange(180, 200)
    member = compositions.Training("s4", 0, 0, 1.0)
    data.scores = {member: np.clip(0.4 * data.labels + rng.uniform(0, 0.6, data.labels.shape), 0, 1)}
    alone = compositions.Composition(data, [member], {}).by_mean()
    assert alone.any(axis=1).all()
    thrice = compositions.Composition(data, [member] * 3, {})
    assert (thrice.by_mean() == alone).all()
    assert (thrice.by_votes()[0] == alone).all()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [None, "sinus=426783006+426177001"], ids=["the Challenge's", "other codes"])
def test_fine_tuning_has_a_row_for_each_number_of_recordings(benchmark, hospital, tiny_model, tmp_path, classes):
    """Of both questions: the Challenge's, and other codes of the same headers."""
    data = shutil.copytree(hospital, tmp_path / "data")
    names = [header.stem for header in find_recordings(data)]
    rows = [f"{name},ptb-xl,{9 if k % 3 == 0 else 1 + k % 8},P{k}" for k, name in enumerate(names)]
    (data / "recordings.csv").write_text(
        "\n".join(["recording,source,ptbxl_strat_fold,ptbxl_patient_id", *rows]) + "\n"
    )
    table = tmp_path / "table.md"
    options = [data, tmp_path / "out", "--init", tiny_model, "--recordings", 24, 30, "--seeds", 0, "--members", 1]
    options += ["--epochs", 1, "--synthetic", 0, "--resamples", 10, "--jobs", 1, "--workers", 1, "--table", table]
    options += ["--classes", classes] if classes else []
    fine_tuning = benchmark("fine_tuning")
    with pytest.raises(SystemExit, match="give --seen"):
        fine_tuning.main([*map(str, options)])
    fine_tuning.main([*map(str, options), "--seen"])
    head, _, *cells = table.read_text().splitlines()
    assert ("macro AUROC" in head) == bool(classes) and ("recalibrated" in head) != bool(classes)
    assert [row.strip("| ").split(" | ")[0] for row in cells] == ["24", "30"]


def finished_holdout(folder: Path, seed: int, lift: float) -> Path:
    """A finished holdout of one recipe, whose scores of true labels are higher by `lift`."""
    rng = np.random.default_rng(0)
    names = np.array([f"{source}/R{k}" for source in ("ptb-xl", "ningbo", "cpsc_2018") for k in range(40)])
    labels = rng.random((len(names), 24)) < 0.3
    scores = np.clip(np.random.default_rng(seed).uniform(0, 0.6, labels.shape) + lift * labels, 0, 1)
    (folder / "butt" / "holdout").mkdir(parents=True)
    np.savez(
        folder / "butt" / "holdout" / "scores.npz", recordings=names, labels=labels, scores=scores, outputs=scores > 0.5
    )
    (folder / "results.json").write_text(json.dumps({"recipes": {"butt": {}}, "splits": {"holdout": {}}}))
    (folder / "splits.json").write_text(json.dumps({"holdout": {"train": ["ptb-xl/T1"], "test": names.tolist()}}))
    return folder


def test_paired_systems_have_a_row_for_each_source_and_one_for_all_unseen_ones(benchmark, tmp_path, monkeypatch):
    paired = benchmark("paired")
    good = [finished_holdout(tmp_path / f"new{seed}", seed, 0.4) for seed in (1, 2)]
    poor = [finished_holdout(tmp_path / f"old{seed}", seed, 0.2) for seed in (1, 2)]
    arguments = [f"--new={folder}" for folder in good] + [f"--old={folder}" for folder in poor]
    monkeypatch.setattr(sys, "argv", ["paired.py", *arguments, "--resamples=20", f"--out={tmp_path / 'table.md'}"])
    paired.main()
    lines = (tmp_path / "table.md").read_text().strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in cells] == [
        ["cpsc_2018", "40"],
        ["ningbo", "40"],
        ["ptb-xl", "40"],
        [paired.UNSEEN, "80"],
    ]
    assert all(row[3].startswith("+0.") and row[5].startswith("+0.") for row in cells)
    same = finished_holdout(tmp_path / "same", 1, 0.4)
    rows = paired.row({"new": [paired.read(same)], "old": [paired.read(good[0])]}, np.ones(120, bool), 20)
    assert rows[1] == "+0.000 [+0.000, +0.000] (+0.000 to +0.000)"
