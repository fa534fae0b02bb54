#!/usr/bin/env python
"""Writes who is tested in docs/results.md and docs/generalisation.md, for the option --test-groups of `holdout`.

    python benchmarks/ptbxl_groups.py data/challenge groups.csv                          every source but PTB-XL
    python benchmarks/ptbxl_groups.py data/challenge groups.csv --leave-out cpsc_2018    that source
    python benchmarks/ptbxl_groups.py data/challenge groups.csv --leave-out small        all but PTB-XL and CPSC 2018
    python benchmarks/ptbxl_groups.py data/challenge groups.csv --leave-out ptb-xl       folds 1 to 8 are tested, too
    python -m twelvelead holdout data/challenge OUT --test-groups groups.csv --recipe butt --recipe butt-2020

PTB-XL's fold 9 is always tested, and what the file does not name trains. DATA holds recordings.csv (recording, source,
ptbxl_strat_fold, …), as `../shared/unpack data` makes data/challenge.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

PTB_XL, CPSC = "ptb-xl", "cpsc_2018"


def group_of(source: str, fold: str, left_out: str) -> str | None:
    """The group that a recording is tested in, "unused", or None if it trains.

    Parameters
    ----------
    source : str
    fold : str
        PTB-XL's strat_fold; empty for other sources.
    left_out : str
        "others", "small", or the name of a source.
    """
    if fold == "9":
        return "ptb-xl fold 9"
    if fold and fold not in set("12345678"):
        return "unused"
    tested = {"others": source != PTB_XL, "small": source not in (PTB_XL, CPSC)}.get(left_out, source == left_out)
    return source if tested else None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("groups", type=Path, metavar="GROUPS.csv")
    parser.add_argument("--leave-out", default="others", metavar="SOURCE", help="a source, `small`, or `others`")
    options = parser.parse_args(arguments)
    with open(options.data / "recordings.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if options.leave_out not in {"others", "small", *(row["source"] for row in rows)}:
        parser.error(f"no recording is of the source '{options.leave_out}'")
    with open(options.groups, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["recording", "group"])
        for row in rows:
            group = group_of(row["source"], row["ptbxl_strat_fold"], options.leave_out)
            if group:
                writer.writerow([row["recording"], group])


if __name__ == "__main__":
    main()
