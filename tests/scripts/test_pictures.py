"""The README's pictures are made of a model folder and a synthetic recording."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pictures.py"


@pytest.mark.slow
def test_the_pictures_are_made_from_any_folder(tiny_model, tmp_path):
    run = subprocess.run(
        [sys.executable, SCRIPT, tiny_model, tmp_path / "out"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    pictures = sorted(path.name for path in (tmp_path / "out").iterdir())
    report = ["report.png"] if shutil.which("chromium") or shutil.which("chromium-browser") else []
    assert pictures == ["prediction.png", *report, "training.png"]
    assert [line for line in run.stdout.splitlines() if line.endswith(".png")]
    assert all((tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)


@pytest.mark.slow
def test_a_folder_without_a_model_is_one_line(tmp_path):
    run = subprocess.run([sys.executable, SCRIPT, tmp_path, tmp_path / "out"], capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.count("\n") == 1 and "no trained model" in run.stderr
