"""The file of `classify --review`: one row for each recording, the most uncertain share marked, written whole."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from twelvelead.cli import main
from twelvelead.data.folders import find_recordings
from twelvelead.errors import UserError
from twelvelead.inference.classify import Row, classified
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.inference.review import COLUMNS, write_review


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_most_uncertain_share_is_marked(tmp_path):
    write_review(tmp_path / "review.csv", ["a", "b", "c", "d"], [(0.1, 0.0), (0.9, 1.0), (0.5, 0.2), (0.3, 0.0)], 0.5)
    rows = rows_of(tmp_path / "review.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["recording"], row["look"]) for row in rows] == [("a", "0"), ("b", "1"), ("c", "1"), ("d", "0")]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"review\.csv: the file cannot be written") as error:
        write_review(tmp_path / "absent" / "review.csv", ["a"], [(0.1, 0.0)], 0.5)
    assert "\n" not in str(error.value)


def test_a_recording_without_a_result_is_among_the_first_to_look_at():
    assert Row((), np.zeros(0), np.zeros(0), fault="broken").uncertainty == 1


@pytest.mark.parametrize("words", ["--abstain 0.1", "--abstain 2 --review review.csv", "--abstain nan --review r.csv"])
def test_wrong_options_are_one_line(words, capsys, tmp_path):
    assert main(["classify", str(tmp_path), str(tmp_path), str(tmp_path / "out"), *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--abstain" in error


@pytest.mark.slow
def test_classify_reviews_every_recording_of_the_folder(tiny_model, hospital, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(hospital, data)
    headers = find_recordings(data)
    headers[0].write_text("broken")
    review = tmp_path / "review.csv"
    words = [
        "classify",
        str(tiny_model),
        str(data),
        str(tmp_path / "out"),
        "--review",
        str(review),
        "--abstain",
        "0.25",
    ]
    assert main([*words, "--device", "cpu", "--jobs", "1"]) == 0
    rows = {row["recording"]: row for row in rows_of(review)}
    assert len(rows) == len(headers) and sum(row["look"] == "1" for row in rows.values()) == len(headers) // 4
    assert rows[headers[0].stem]["look"] == "1"
    for header, row in classified(load_ensemble(tiny_model), headers, 1):
        assert float(rows[header.stem]["uncertainty"]) == pytest.approx(row.uncertainty, abs=1e-5)
        assert 0 <= row.disagreement <= 1
