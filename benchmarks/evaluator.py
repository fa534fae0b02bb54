"""Wall time and peak memory of evaluate_model.py by stage, as recordings grow: the table in docs/evaluator.md.

    python benchmarks/evaluator.py [--recordings 1000,10000,43101,200000] [--labels labels-2020-training-43101.csv]

Headers and outputs are written to a temporary folder, with the labels of the public training recordings of 2020 where
that file is at hand (a CSV of recording,codes) and otherwise with made ones, and removed at the end. Each figure is the
best of three runs, with the files in the page cache; of the whole command the processor's time is given, too, as it
tells more on a busy machine. The reference is tests/evaluation/plain_scorer.py on 1,000 recordings.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from repository import ROOT

sys.path.append(str(ROOT / "tests" / "evaluation"))  # for plain_scorer
LABELS = ROOT.parent / "shared" / "reference" / "labels-2020-training-43101.csv"
WEIGHTS = ROOT / "weights.csv"
REFERENCE = 1000
STAGES = ("finding", "reading labels", "reading outputs", "metrics")

LEADS = "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"
HEADER = (
    "{0} 12 500 5000\n"
    + "".join(f"{{0}}.mat 16+24 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    + "#Age: 63\n#Sex: Female\n#Dx: {1}\n#Rx: Unknown\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", default="1000,10000,43101,200000")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples, timed at 43101 recordings; 0 for none")
    parser.add_argument("--stages", nargs=2, help=argparse.SUPPRESS)  # the child process that measures the stages
    options = parser.parse_args()
    if options.stages:
        print(json.dumps(stages(*options.stages)))
        return
    head = ["recordings", *STAGES, "whole command (processor)", "peak memory after the start and each stage"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    reference = resampling = None
    for recordings in map(int, options.recordings.split(",")):
        with tempfile.TemporaryDirectory(prefix="evaluator-") as folder:
            labels, outputs = write_folders(folder, recordings, options.labels)
            measured = best(partial(stages_in_a_process, labels, outputs))
            whole = best(partial(command, labels, outputs))
            row = [
                f"{recordings:,}",
                *(f"{measured[stage]:.3f} s" for stage in STAGES),
                f"{whole['wall']:.2f} s ({whole['processor']:.2f} s)",
                " → ".join(f"{mib:.0f}" for mib in measured["MiB"]) + " MiB",
            ]
            print("| " + " | ".join(row) + " |", flush=True)
            if recordings == REFERENCE:
                reference = plain(labels, outputs), sum(measured[stage] for stage in STAGES)
            if recordings == 43101 and options.bootstrap:
                resampled = command(labels, outputs, "--bootstrap", str(options.bootstrap))
                resampling = {key: resampled[key] - whole[key] for key in whole}
    if reference:
        print(
            f"\n{REFERENCE:,} recordings without starting Python: tests/evaluation/plain_scorer.py "
            f"{reference[0]:.2f} s, "
            f"ours "
            f"{reference[1]:.3f} s, {reference[0] / reference[1]:.0f} times as fast"
        )
    if resampling:
        print(
            f"43,101 recordings: {options.bootstrap:,} resamples of every metric take {resampling['wall']:.1f} s "
            f"({resampling['processor']:.1f} s) more"
        )


def best(measure: Callable[[], dict[str, Any]], runs: int = 3) -> dict[str, Any]:
    """The least of each figure over some runs."""
    results = [measure() for _ in range(runs)]
    return {key: min(result[key] for result in results) for key in results[0]}


def stages_in_a_process(labels: str, outputs: str) -> dict[str, Any]:
    """`stages` in a process of its own, so that its memory is its own."""
    run = subprocess.run([sys.executable, __file__, "--stages", labels, outputs], check=True, capture_output=True)
    return json.loads(run.stdout)


def command(*arguments: str) -> dict[str, float]:
    """Wall and processor seconds of one run of evaluate_model.py."""
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, ROOT / "evaluate_model.py", *arguments], check=True, capture_output=True)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": time.perf_counter() - start, "processor": processor}


def plain(labels: str, outputs: str) -> float:
    """Seconds of the reference."""
    import plain_scorer

    start = time.perf_counter()
    plain_scorer.score_folders(labels, outputs, WEIGHTS, "2020")
    return time.perf_counter() - start


def stages(label_folder: str, output_folder: str) -> dict[str, Any]:
    """Seconds for each stage, and the peak memory in MiB after each of them."""
    from twelvelead.evaluation import metrics
    from twelvelead.evaluation.files import find_files
    from twelvelead.evaluation.findings import Findings
    from twelvelead.evaluation.official import read_labels, read_outputs
    from twelvelead.evaluation.task import load_task

    result: dict[str, float] = {}
    peaks: list[float] = []
    clock = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal clock
        result[name], clock = time.perf_counter() - clock, time.perf_counter()
        status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had before the exec
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)

    task, findings = load_task(None, WEIGHTS), Findings()
    stage("start")
    files = find_files(task, label_folder, output_folder, findings)
    stage("finding")
    task, labels = read_labels(task, files, findings)
    stage("reading labels")
    outputs, scores = read_outputs(task, files, findings)
    stage("reading outputs")
    metrics.evaluate(labels, outputs, scores, task.weights, task.sinus_rhythm)
    stage("metrics")
    return {**result, "MiB": peaks}


# -- the files -------------------------------------------------------------------------------------


def write_folders(folder: str, recordings: int, labels_path: Path) -> tuple[str, str]:
    """A folder of headers, with the labels in turn, and one of outputs whose scores are higher for what is labelled."""
    from twelvelead.evaluation.task import load_task

    codes = list(load_task("2020", WEIGHTS).index)
    rng = np.random.default_rng(0)
    if labels_path.is_file():
        with open(labels_path, newline="") as file:
            known = [row[1] for row in csv.reader(file)]
    else:
        known = [",".join(np.array(codes)[rng.random(len(codes)) < 0.06]) or codes[-1] for _ in range(5000)]
    labels, outputs = os.path.join(folder, "labels"), os.path.join(folder, "outputs")
    os.mkdir(labels)
    os.mkdir(outputs)
    head = ",".join(codes)
    for number in range(recordings):
        name, dx = f"R{number:06d}", known[number % len(known)]
        with open(f"{labels}/{name}.hea", "w") as file:
            file.write(HEADER.format(name, dx))
        present = np.isin(codes, dx.split(","))
        scores = 1 / (1 + np.exp(-rng.normal(4 * present - 3, 1.5)))
        with open(f"{outputs}/{name}.csv", "w") as file:
            file.write(
                f"#{name}\n{head}\n{','.join(map(str, (scores > 0.5).astype(int)))}\n"
                f"{','.join(map(repr, scores.tolist()))}\n"
            )
    return labels, outputs


if __name__ == "__main__":
    main()
