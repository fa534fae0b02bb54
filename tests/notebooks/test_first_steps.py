"""The notebook runs as a script without a network, leaves nothing in the clone, and shows what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "first_steps.py"
LONGEST_S = 120  # of CPU time, on one core


def test_it_is_a_notebook_of_texts_and_cells():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "format_name: percent" in text
    assert text.count("# %% [markdown]\n") >= 5 and text.count("# %%\n") >= 5


@pytest.mark.slow
def test_it_runs_within_two_minutes_of_a_cpu(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWELVELEAD_")}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    before = os.times().children_user + os.times().children_system
    run = subprocess.run([sys.executable, NOTEBOOK], cwd=tmp_path, env=environment, capture_output=True, text=True)
    seconds = os.times().children_user + os.times().children_system - before
    assert run.returncode == 0, run.stdout + run.stderr
    assert seconds < LONGEST_S
    for shown in ("sinus rhythm", "prediction.png", "progress.png", "butt-2020", "about 0 s left"):
        assert shown in run.stdout, shown
    (folder,) = tmp_path.glob("first-steps-*")
    assert (folder / "prediction.png").stat().st_size > 10_000
