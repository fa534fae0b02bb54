"""Does run_model need more memory the longer it runs? Prints resident memory after every thousand recordings.

    python benchmarks/soak.py MODEL [--recordings 10000]

Recordings are made up: every length from 5 s to 60 s, every usual rate, 2 to 12 leads, one in fifty without a signal
and one in ten that has to be repaired. Exit code 1 if memory grew by more than 5 % after the first thousand.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from team_code import load_model, run_model
from twelvelead.data.header import LEADS

RATES_HZ = (100, 257, 300, 400, 500, 1000)
MOST_GROWTH = 0.05


def recording(number: int) -> tuple[str, np.ndarray]:
    """Header text and ADC units of a recording that depends on its number alone."""
    rng = np.random.default_rng(number)
    rate_hz = int(rng.choice(RATES_HZ))
    leads = LEADS[: int(rng.integers(2, 13))]
    samples = round(float(rng.uniform(5, 60 if number % 20 == 0 else 12)) * rate_hz)
    signal = rng.integers(-900, 900, (len(leads), samples)).astype(np.int16)
    if number % 50 == 0:
        signal[:] = 0
    named_samples = samples + (number % 10 == 1)  # a header that says another number of samples
    lines = [f"S{number:06d} {len(leads)} {rate_hz} {named_samples}"]
    lines += [f"S{number:06d}.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in leads]
    return "\n".join([*lines, "#Age: 60", "#Sex: Female"]) + "\n", signal


def resident_mb() -> float:
    """Resident memory of this process, from Linux's /proc."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 2**20


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("--recordings", type=int, default=10_000, metavar="N")
    arguments = parser.parse_args(argv)
    model = load_model(str(arguments.model))
    first, started, lines = 0.0, time.perf_counter(), io.StringIO()
    print("| recordings | resident MB | s | lines on standard error |\n|---|---|---|---|")
    for number in range(1, arguments.recordings + 1):
        with redirect_stderr(lines):
            run_model(model, *recording(number))
        if number % 1000 == 0 or number == arguments.recordings:
            memory = resident_mb()
            first = first or memory
            written = lines.getvalue().count("\n")
            print(f"| {number} | {memory:.0f} | {time.perf_counter() - started:.0f} | {written} |", flush=True)
    return 1 if memory > first * (1 + MOST_GROWTH) else 0


if __name__ == "__main__":
    sys.exit(main())
