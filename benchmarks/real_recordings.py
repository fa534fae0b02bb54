#!/usr/bin/env python
"""Trains on PTB-XL folds 1 to 8, scores fold 9 and every other source as an unseen hospital: docs/results.md.

    python benchmarks/real_recordings.py DATA OUT [--members 11] [--epochs 12] [--width 30] [--seed 0] …

DATA holds one folder of recordings a source and recordings.csv (recording, source, ptbxl_strat_fold, …), as
`../shared/unpack data` makes data/challenge. OUT gets train/ and test/ (links, no copies), model/, outputs/, scores.* and
table.md; options not listed here go to `python -m twelvelead train`. Uses only the project's own commands.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def link_split(data: Path, out: Path) -> dict[str, int]:
    """OUT/train: PTB-XL folds 1 to 8. OUT/test/SOURCE: fold 9, and all of the others. Returns recordings a folder."""
    places = {path.stem: path for path in data.rglob("*.hea")}
    counts: dict[str, int] = {}
    with open(data / "recordings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        fold = row["ptbxl_strat_fold"]
        folder = "train/ptb-xl" if fold in set("12345678") else f"test/{row['source']}"
        (out / folder).mkdir(parents=True, exist_ok=True)
        header = places[row["recording"]]
        for path in (header, header.with_suffix(".mat")):
            link = out / folder / path.name
            if not link.exists():
                link.symlink_to(path.resolve())
        counts[folder] = counts.get(folder, 0) + 1
    with open(out / "train" / "patients.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["recording", "patient"])
        writer.writerows([row["recording"], row["ptbxl_patient_id"]] for row in rows if row["ptbxl_patient_id"])
    return counts


def timed(command: list[str], log: Path) -> dict[str, float]:
    """Runs one of the project's commands; its output goes to the terminal and to a file."""
    print("$", " ".join(command), flush=True)
    started = time.perf_counter()
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            file.write(line)
            file.flush()
    if process.wait():
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # of the largest child so far
    return {"seconds": round(time.perf_counter() - started, 1), "peak_gib_so_far": round(peak, 2)}


def write_table(out: Path, command: str, times: dict) -> str:
    """The figures of scores.json as a table for docs/results.md, and what made them."""
    scores = json.loads((out / "scores.json").read_text())
    history = list(csv.DictReader(open(out / "model" / "history.csv")))
    recipe = json.loads((out / "model" / "recipe.json").read_text())
    epochs = [sum(row["member"] == str(member) for row in history) for member in recipe["members"]]
    network = recipe["recipe"]["network"]
    lines = [f"`{command}`", "",
             f"Recipe `{recipe['recipe']['name']}`, {len(epochs)} members of {'/'.join(map(str, epochs))} epochs, {network}, seed "
             f"{recipe['seed']}, trained on {recipe['recordings']} recordings in {times['train']['seconds'] / 60:.0f} min; "
             f"all {scores['recordings']} test recordings classified in {times['driver']['seconds']:.0f} s.", "",
             "| source | recordings | Challenge metric | AUROC | AUPRC | F-measure |", "|---|---|---|---|---|---|"]
    names = {"ptb-xl": "ptb-xl, fold 9"}
    for name, row in [*scores["sources"].items(), ("all", scores)]:
        cells = [f"{row[key]:.3f} [{row['intervals'][key][0]:.3f}, {row['intervals'][key][1]:.3f}]"
                 if row[key] is not None and None not in row["intervals"][key] else "undefined"
                 for key in ("challenge_metric", "auroc", "auprc", "f_measure")]
        lines.append(f"| {names.get(name, name)} | {row['recordings']} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments, options = parser.parse_known_args()
    out = arguments.out.resolve()
    for folder, count in link_split(arguments.data, out).items():
        print(f"{folder}: {count} recordings")
    run = [sys.executable, "-m", "twelvelead", "train", str(out / "train"), str(out / "model"), *options]
    times = {"train": timed(run, out / "train.log")}
    run = [sys.executable, "driver.py", str(out / "model"), str(out / "test"), str(out / "outputs")]
    times["driver"] = timed(run, out / "driver.log")
    run = [sys.executable, "evaluate_model.py", str(out / "test"), str(out / "outputs"), str(out / "scores.csv"),
           str(out / "class_scores.csv"), "--by-source", "--bootstrap", "1000", "--json", str(out / "scores.json")]
    times["evaluate"] = timed(run, out / "evaluate.log")
    (out / "times.json").write_text(json.dumps(times, indent=1) + "\n")
    command = " ".join(["python benchmarks/real_recordings.py", *sys.argv[1:]])
    print(write_table(out, command, times))


if __name__ == "__main__":
    main()
