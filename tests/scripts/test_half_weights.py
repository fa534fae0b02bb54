"""Weights in half precision: half the size, nearly the same scores, and a whole model folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from twelvelead.data.folders import find_recordings
from twelvelead.data.recording import read_recording
from twelvelead.inference.ensemble import load_ensemble, member_scores
from twelvelead.inference.predict import stack
from twelvelead.preprocessing.prepare import prepare

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "half_weights.py"
NAME = "member_00.safetensors"


def halve(model, out) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, model, out], capture_output=True, text=True)


@pytest.mark.slow
def test_a_copy_has_half_the_size_and_nearly_the_same_scores(tiny_model, hospital, tmp_path):
    run = halve(tiny_model, tmp_path / "out")
    assert run.returncode == 0, run.stderr
    sizes = [
        sum(t.numel() * t.element_size() for t in load_file(f / NAME).values()) for f in (tmp_path / "out", tiny_model)
    ]
    assert sizes[0] < 0.6 * sizes[1]
    scores = []
    for folder in (tmp_path / "out", tiny_model):
        lines: list[str] = []
        ensemble = load_ensemble(folder, log=lines.append)
        assert not lines  # its files are named with their SHA-256
        recordings = [prepare(read_recording(h), *ensemble.inputs) for h in find_recordings(hospital)[:8]]
        scores.append(member_scores(ensemble, stack(recordings, ensemble.device)))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)
    assert not np.array_equal(scores[0], scores[1])
    assert "is there already" in halve(tiny_model, tmp_path / "out").stderr


@pytest.mark.slow
def test_a_folder_without_a_model_is_one_line(tmp_path):
    run = halve(tmp_path, tmp_path / "out")
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
