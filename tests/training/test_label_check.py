"""Labels that mean nothing are named, and training on nothing else does not start."""

from __future__ import annotations

import types

import numpy as np
import pytest

from twelvelead.commands import WEIGHTS
from twelvelead.data.classes import CPSC, OUTPUT_CODES, classes_for, load_weights
from twelvelead.errors import UserError
from twelvelead.evaluation.task import UNSCORED
from twelvelead.training.label_check import check_labels, is_known

CHALLENGE, NINE = (classes_for(name, load_weights(WEIGHTS)) for name in ("challenge", "cpsc"))
NSR = "426783006"


def said(codes, sources=None, classes=CHALLENGE) -> list[str]:
    """What the check says of recordings with these codes."""
    sources = sources or ["a"] * len(codes)
    names = [f"R{k}" for k in range(len(codes))]
    headers = [f"{source}/{name}.hea" for source, name in zip(sources, names)]

    class Store(types.SimpleNamespace):
        def __len__(self):
            return len(self.codes)

    lines: list[str] = []
    rows = np.array([k for k, of_recording in enumerate(codes) if of_recording])
    synthetic = np.array([source == "synthetic" for source in sources])
    store = Store(codes=codes, names=names, headers=headers, synthetic=synthetic)
    check_labels(store, rows, classes, "butt", lines.append)
    return lines


@pytest.mark.parametrize("classes", [CHALLENGE, NINE])
def test_every_code_of_a_table_of_the_challenges_is_known(classes):
    assert all(is_known(code, classes) for code in {*OUTPUT_CODES, *UNSCORED, *CPSC, *CPSC.values()})
    assert not any(is_known(code, classes) for code in ("1234567", "", "426783006;164889003", "sinus"))


def test_labels_that_are_all_known_are_not_spoken_of():
    assert said([(NSR,), ("164889003", "54329005"), ("429622005",)]) == []


def test_unknown_codes_are_named_with_counts_and_recordings():
    (line,) = said([(NSR, "123"), (NSR, "123", "45"), (NSR,), (NSR, "45", "123"), (NSR, "67"), *[(NSR,)] * 20])
    assert "in no table of the Challenges [123 in 3, 45 in 2, 67 in 1]: 4 (R0, R1, R3, ...)" in line


def test_synthetic_recordings_without_a_scored_diagnosis_are_not_spoken_of():
    assert said([(NSR,), (), ("no code",)], ["a", "synthetic", "synthetic"]) == []


def test_a_source_without_labels_that_mean_something_is_a_warning():
    codes = [(NSR,)] * 8 + [("x",), ()] + [(NSR,)] * 9 + [("x",)]
    lines = said(codes, ["good"] * 8 + ["bad"] * 2 + ["fair"] * 10)
    (warning,) = [line for line in lines if line.startswith("WARNING")]
    assert "2 of the 2 recordings of source 'bad' (100%)" in warning


@pytest.mark.parametrize("code", ["1234567", "426783006;164889003", "54329005"])
def test_training_without_any_class_of_the_recipe_does_not_start(code):
    with pytest.raises(
        UserError, match="none of the 12 recordings has one of the 24 classes of recipe 'butt'"
    ) as error:
        said([(code,)] * 12)
    assert f"{code} in 12" in str(error.value) and "\n" not in str(error.value)


def test_codes_cannot_write_to_the_terminal():
    (line, _) = said([("\x1b[2J\x07evil",), (NSR,)])
    assert line.isprintable() and "evil" in line
