#!/usr/bin/env python
"""How often the quality checks speak up: of recordings as they are, and of copies with a fault: docs/predict.md.

    python benchmarks/quality.py DATA [--every N]

DATA is a folder of recordings. Each fault is made in a copy of each, or every Nth, recording whose twelve leads hold a
signal.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import repository  # noqa: F401 (makes the package importable)

from twelvelead.data.folders import find_recordings
from twelvelead.data.leads import LEADS
from twelvelead.data.recording import Recording, read_recording
from twelvelead.errors import RecordingError
from twelvelead.preprocessing.leads import ARM_REVERSAL
from twelvelead.quality.checks import check

KINDS = {  # a finding's words → what the table calls it
    "they were turned over": "all leads turned over",
    "all leads may be upside down": "all leads suspected",
    "as the other leads say": "a lead upside down",
    "arm electrodes": "arms exchanged",
    "very noisy": "noisy leads",
    "no heart has": "impossible gain",
    "sheet of 2.5 s": "sheet of 2.5 s a lead",
    "beats a minute": "impossible rate",
    "fewer than three": "too few beats",
    "less than": "too short",
}


def inverted(signal: np.ndarray, lead: int) -> np.ndarray:
    signal = signal.copy()
    signal[lead] *= -1
    return signal


def sheet(signal: np.ndarray) -> np.ndarray:
    """Four columns of three leads, one after another."""
    out, quarter = np.full_like(signal, np.nan), signal.shape[1] // 4
    for column in range(4):
        rows, time = slice(3 * column, 3 * column + 3), slice(column * quarter, (column + 1) * quarter)
        out[rows, time] = signal[rows, time]
    return out


def noisy(signal: np.ndarray) -> np.ndarray:
    """White noise of half a millivolt in V3."""
    noise = np.random.default_rng(0).normal(0, 0.5, signal.shape[1])
    return signal + (np.arange(12) == LEADS.index("V3"))[:, None] * noise.astype(np.float32)


FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {  # how it is made, and what should be said
    "all leads inverted": (lambda signal: -signal, "all leads turned over"),
    **{
        f"{lead} inverted": (lambda signal, k=k: inverted(signal, k), "a lead upside down")
        for k, lead in enumerate(LEADS)
    },
    "arms exchanged": (lambda signal: ARM_REVERSAL @ signal, "arms exchanged"),
    "sheet of 2.5 s a lead": (sheet, "sheet of 2.5 s a lead"),
    "noise of 0.5 mV in V3": (noisy, "noisy leads"),
    "gain wrong by 1,000": (lambda signal: signal * 1000, "impossible gain"),
}


def kinds_of(recording: Recording) -> set[str]:
    """What the checks say of a recording, in the words of the table; "distrusted" if anything is severe."""
    findings = check(recording).findings
    said = {name for finding in findings for words, name in KINDS.items() if words in finding.text}
    return said | ({"distrusted"} if any(finding.severe for finding in findings) else set())


def measure(data: str, every: int) -> tuple[int, Counter[str], int, Counter[str]]:
    """Recordings and what is said of them; recordings with faults, and how many of each fault are noticed."""
    as_they_are, noticed = Counter[str](), Counter[str]()
    count = with_faults = 0
    for number, path in enumerate(find_recordings(data)):
        try:
            recording = read_recording(path)
        except RecordingError:
            continue
        count += 1
        as_they_are.update(kinds_of(recording))
        signal = recording.signal_mv
        if (
            number % every
            or recording.leads != LEADS
            or not (np.nanmax(signal, axis=1) > np.nanmin(signal, axis=1)).all()
        ):
            continue
        with_faults += 1
        for name, (make, wanted) in FAULTS.items():
            said = kinds_of(replace(recording, signal_mv=make(signal).astype(np.float32)))
            noticed[name] += wanted in said
            noticed[f"{name}, or distrusted"] += wanted in said or "distrusted" in said
    return count, as_they_are, with_faults, noticed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="make faults in every Nth recording (1)")
    arguments = parser.parse_args()
    count, as_they_are, with_faults, noticed = measure(arguments.data, arguments.every)
    print(f"| said of {count} recordings as they are | recordings | share |\n|---|---:|---:|")
    for name in [*KINDS.values(), "distrusted"]:
        print(f"| {name} | {as_they_are[name]} | {as_they_are[name] / max(count, 1):.2%} |")
    print(f"\n| made in {with_faults} recordings | noticed | noticed or distrusted |\n|---|---:|---:|")
    for name in FAULTS:
        either = noticed[f"{name}, or distrusted"]
        print(f"| {name} | {noticed[name] / max(with_faults, 1):.1%} | {either / max(with_faults, 1):.1%} |")


if __name__ == "__main__":
    main()
