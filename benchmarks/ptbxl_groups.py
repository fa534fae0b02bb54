#!/usr/bin/env python
"""Writes who is tested in docs/results.md and docs/generalisation.md: PTB-XL's fold 9, and every other source whole.

    python benchmarks/ptbxl_groups.py data/challenge groups.csv
    python -m twelvelead holdout data/challenge OUT --test-groups groups.csv --recipe butt --recipe butt-2020

DATA holds recordings.csv (recording, source, ptbxl_strat_fold, …), as `../shared/unpack data` makes data/challenge.
Recordings that the file does not name, PTB-XL's folds 1 to 8, train.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main(data: str, groups: str) -> None:
    with open(Path(data, "recordings.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    with open(groups, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["recording", "group"])
        for row in rows:
            fold = row["ptbxl_strat_fold"]
            if fold not in set("12345678"):
                writer.writerow(
                    [row["recording"], "ptb-xl fold 9" if fold == "9" else "unused" if fold else row["source"]]
                )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/ptbxl_groups.py DATA GROUPS.csv")
    main(*sys.argv[1:])
