"""Whatever bytes label and output files hold: the official scripts' values with every fault named, or one line.

An independent reader (plain_scorer.py) says what each file means, and a strict description of a file without fault says
which of them must be named. The mutator is seeded: a message names the seed of a failure.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plain_scorer
import pytest
from mutator import PIECES, mutated

import evaluate_model
from twelvelead.errors import UserError
from twelvelead.evaluation.files import find_files
from twelvelead.evaluation.findings import Findings
from twelvelead.evaluation.official import read_labels, read_outputs
from twelvelead.evaluation.task import Task, load_task

WEIGHTS = Path(__file__).resolve().parents[2] / "weights.csv"
NAMES = [f"A{number}" for number in range(6)]
OF_THE_FORMAT = [b"#Dx", b"# Dx: ", b"#Dx: 426783006\n", b": ", b"\n\n", b"\r\n", b"True", b"f", b"inf", b"1.5", b"0.3"]
OF_THE_FORMAT += [
    b"1.0",
    b"426783006",
    b"59118001",
    b"59118001|713427006",
    b"12345",
    b"1e400",
    b"1_0",
    b"0x1",
    b'"',
    b"1,",
]
# Python ends lines at these too, the official scripts do not; all are blanks to both.
OTHER_LINE_ENDS = dict.fromkeys(map(ord, "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), " ")


@dataclass(frozen=True)
class Original:
    """Files without a fault below a folder, and what is read from them."""

    folder: Path
    task: Task
    classes: list[set[str]]  # of plain_scorer
    labels: np.ndarray
    outputs: np.ndarray
    scores: np.ndarray


def read(task: Task, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, Findings]:
    """Labels, outputs and scores of a folder, and the findings."""
    findings = Findings()
    files = find_files(task, str(folder / "labels"), str(folder / "outputs"), findings)
    assert files.names == NAMES
    task, labels = read_labels(task, files, findings)
    return labels, *read_outputs(task, files, findings), findings


def written(folder: Path, year: str) -> Original:
    """Six recordings in the format of a year; the unofficial phase has two classes."""
    rng = np.random.default_rng(5)
    task = load_task(year, WEIGHTS)
    codes = ["AF", "Normal"] if year == "unofficial" else list(task.index)
    for kind in ("labels", "outputs"):
        (folder / kind).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        scores = rng.uniform(0, 1, len(codes)).round(3)
        dx = codes[number % 2] if year == "unofficial" else ",".join(rng.choice(codes, 2, replace=False))
        (folder / "labels" / f"{name}.hea").write_text(f"{name} 12 500 5000\n#Age: 50\n#Dx: {dx}\n#Rx: Unknown\n")
        rows = [codes, [int(score > 0.5) for score in scores], scores.tolist()]
        (folder / "outputs" / f"{name}.csv").write_text(
            "\n".join([f"#{name}", *(",".join(map(str, row)) for row in rows)]) + "\n"
        )
    labels, outputs, scores, findings = read(task, folder)
    assert findings.lines() == [] and not findings.stops
    classes = [] if year == "unofficial" else plain_scorer.read_weights(WEIGHTS, year)[0]
    return Original(folder, task, classes, labels, outputs, scores)


def text_of(data: bytes) -> str | None:
    """The text of a file as Python opens it, None if it is none."""
    try:
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return None


def has_no_fault(text: str | None, task: Task, is_header: bool) -> bool:
    """Whether a file is as the Challenge describes it; stricter than any reader."""
    if text is None:
        return False
    lines = text.split("\n")
    if is_header:
        entries = [line for line in lines if line.startswith("#Dx")]
        return (
            len(entries) == 1
            and entries[0].startswith("#Dx: ")
            and ": " not in entries[0][5:]
            and all(task.knows(code.strip()) or not code.strip() for code in entries[0][5:].split(","))
        )
    if len(lines) not in (4, 5) or "".join(lines[4:]) or not lines[0].startswith("#"):
        return False
    codes, flags, scores = (plain_scorer.cells(line) for line in lines[1:4])
    return (
        len(codes) == len(flags) == len(scores)
        and all(task.knows(name) or not name for code in codes for name in code.split("|"))
        and set(flags) <= {"0", "1"}
        and all(0 <= plain_scorer.number(score) <= 1 for score in scores)
    )


def check(original: Original, name: str, is_header: bool, data: bytes) -> str:
    """Reads the folder with one file changed; returns what came of it: "same", "named" or "other value"."""
    task, place, text = original.task, NAMES.index(name), text_of(data)
    labels, outputs, scores, findings = read(task, original.folder)
    named = any(name in names for names in findings.names.values()) or any(name in path for path in findings.stops)
    no_fault = has_no_fault(text, task, is_header)
    unchanged = all(
        map(np.array_equal, (labels, outputs, scores), (original.labels, original.outputs, original.scores))
    )
    assert no_fault or named or unchanged or (task.year == "unofficial" and is_header), "a fault is not named"
    assert np.isfinite(scores[~np.isinf(scores)]).all() and labels.dtype == outputs.dtype == bool
    if task.year == "unofficial":  # its classes are what the labels hold
        return "named" if named else "same"
    others = np.arange(len(NAMES)) != place
    if is_header:
        in_turn = (
            task.year == "2020" and len([line for line in (text or "").split("\n") if line.startswith("#Dx")]) != 1
        )
        assert in_turn or np.array_equal(labels[others], original.labels[others]), "other labels changed"
        assert np.array_equal(outputs, original.outputs) and np.array_equal(scores, original.scores)
        if no_fault:
            assert labels[place].tolist() == plain_scorer.read_label(text.translate(OTHER_LINE_ENDS), original.classes)
    else:
        assert np.array_equal(labels, original.labels)
        assert np.array_equal(outputs[others], original.outputs[others]), "other outputs changed"
        assert np.array_equal(scores[others], original.scores[others]), "other scores changed"
        expected = None
        if text is not None:
            reader = plain_scorer.read_output_2020 if task.year == "2020" else plain_scorer.read_output_2021
            with contextlib.suppress(IndexError):  # where the official script stops
                expected = reader(text.translate(OTHER_LINE_ENDS), original.classes)
        if expected is None:
            assert findings.stops, "the official script stops here"
            expected = [False] * len(original.classes), [0.0] * len(original.classes)
        assert outputs[place].tolist() == expected[0], "outputs differ from the plain reader's"
        assert scores[place].tolist() == expected[1], "scores differ from the plain reader's"
    return "same" if unchanged else "named" if named else "other value"


def evaluate_mutations(folder: Path, seeds: range) -> dict[str, int]:
    """Evaluates a folder with one mutated file for each seed; returns how many came to what."""
    originals = [written(folder / year, year) for year in ("2020", "2021", "unofficial")]
    came_to = dict.fromkeys(("same", "named", "other value", "refused"), 0)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        original = originals[rng.choice(3, p=[0.45, 0.45, 0.1])]
        name, is_header = NAMES[rng.integers(len(NAMES))], bool(rng.integers(2))
        path = original.folder / ("labels" if is_header else "outputs") / (name + (".hea" if is_header else ".csv"))
        before = path.read_bytes()
        path.write_bytes(mutated(before, rng, PIECES + 3 * OF_THE_FORMAT))
        try:
            came_to[check(original, name, is_header, path.read_bytes())] += 1
            came_to["refused"] += is_refused(original, lenient=bool(rng.integers(2)))
        except Exception as error:
            raise AssertionError(f"seed {seed}, {original.task.year}: {type(error).__name__}: {error}") from error
        finally:
            path.write_bytes(before)
    for original in originals:  # nothing is kept from one evaluation to the next
        again = read(original.task, original.folder)
        assert not again[3].lines()
        for now, at_first in zip(again, (original.labels, original.outputs, original.scores)):
            np.testing.assert_array_equal(now, at_first)
    return came_to


def is_refused(original: Original, lenient: bool) -> bool:
    """Evaluates the folder as the command does; whether that ends with one line."""
    options = Namespace(
        labels=str(original.folder / "labels"),
        outputs=str(original.folder / "outputs"),
        **dict.fromkeys(("scores", "class_scores", "weights", "by_source", "compare", "strict", "bootstrap")),
        **dict.fromkeys(("label_table", "label_field", "classes")),
        json=str(original.folder / "scores.json"),
        year=original.task.year,
        resample_by="recording",
        seed=0,
        lenient=lenient,
    )
    try:
        assert evaluate_model.evaluate_folders(options) == 0
    except UserError as error:
        assert not lenient and str(error) and "\n" not in str(error) and str(error).isprintable()
        return True
    return False


@pytest.mark.slow
def test_mutated_evaluator_files_are_read_as_the_scripts_do_or_named(tmp_path, capsys):
    came_to = evaluate_mutations(tmp_path, range(300))
    capsys.readouterr()
    assert came_to["named"] > 50 and came_to["refused"] > 20 and came_to["other value"]


@pytest.mark.long
def test_three_thousand_mutated_evaluator_files(tmp_path, capsys):
    came_to = evaluate_mutations(tmp_path, range(1000, 4000))
    capsys.readouterr()
    print(came_to)
    assert sum(came_to.values()) - came_to["refused"] == 3000
