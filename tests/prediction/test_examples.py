"""The Python that README.md and docs/predict.md show runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from made import write_mat

from twelvelead import pretrained
from twelvelead.synthetic.making import make_recording

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("document", ["README.md", "docs/predict.md"])
def test_the_first_python_of_a_document_runs(document, tiny_model, tmp_path, monkeypatch, capsys):
    recording = make_recording(["AF"], 2)
    write_mat(tmp_path, "A0001", np.round(recording.signal_mv * 1000).astype("i2"))
    (tmp_path / "MODEL").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "PRETRAINED", tiny_model)
    code = re.search(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL).group(1)
    exec(compile(code, document, "exec"), {"signal": recording.signal_mv[[0, 1, 6]]})
    printed = capsys.readouterr().out
    assert "probability" in printed and "not recorded: III" in printed
    assert (tmp_path / "A0001.pdf").exists() == (document != "README.md")
