"""The label sets: equivalent codes are one class, text labels and codes both work, and classes survive JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from twelvelead.data.classes import (
    CPSC,
    CPSC_EQUIVALENT,
    DIAGNOSES,
    EQUIVALENT,
    LABEL_SETS,
    NEVER_ANNOTATED,
    OUTPUT_CODES,
    SINUS_RHYTHM,
    Classes,
    classes_for,
    load_weights,
    scored_classes,
)
from twelvelead.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TABLE = load_weights(ROOT / "weights.csv")
CHALLENGE, NINE = classes_for("challenge", TABLE), classes_for("cpsc", TABLE)
SHARED = ROOT.parent / "shared" / "reference"
every_set = pytest.mark.parametrize("classes", [CHALLENGE, NINE], ids=LABEL_SETS)


@every_set
def test_classes_travel_as_strict_json_whatever_else_is_written_beside_them(classes):
    values = json.loads(json.dumps({**classes.to_dict(), "priors": [0.1], "abbreviations": ["AF"]}, allow_nan=False))
    again = Classes.from_dict(values)
    for name in ("codes", "outputs", "year", "index", "abbreviations", "sinus_rhythm"):
        assert getattr(again, name) == getattr(classes, name), name
    np.testing.assert_array_equal(again.weights, classes.weights)
    spelled = classes.spelled_as([("STD",)])
    assert Classes.from_dict(json.loads(json.dumps(spelled.to_dict()))).outputs == spelled.outputs


def test_the_2020_table_makes_24_classes_and_the_2021_table_26_of_the_same_weights():
    assert len(CHALLENGE.codes) == 24 and CHALLENGE.year == "2020" and CHALLENGE.outputs == OUTPUT_CODES
    assert not set(CHALLENGE.codes) & set(EQUIVALENT)  # a canonical code each
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    later = scored_classes(load_weights(SHARED / "weights-2021.csv"))
    assert len(later.codes) == 26 and set(CHALLENGE.codes) <= set(later.codes)
    places = [later.codes.index(code) for code in CHALLENGE.codes]
    np.testing.assert_array_equal(later.weights[np.ix_(places, places)], CHALLENGE.weights)


@pytest.mark.parametrize("code, twin", EQUIVALENT.items())
def test_a_code_and_its_equal_are_one_class_in_labels_and_outputs(code, twin):
    labels = CHALLENGE.labels([(code,), (twin,), (code, twin)])
    assert (labels == labels[0]).all() and labels[0].sum() == 1
    out = CHALLENGE.as_output(np.arange(24.0) + 1, 0.0)
    assert out[OUTPUT_CODES.index(code)] == out[OUTPUT_CODES.index(twin)] > 0


def test_text_labels_of_the_unofficial_phase_are_classes_of_the_challenge_too():
    texts = ("AF", "I-AVB", "LBBB", "Normal", "PAC", "PVC", "RBBB")
    codes = ("164889003", "270492004", "164909002", "426783006", "284470004", "427172004", "59118001")
    np.testing.assert_array_equal(CHALLENGE.labels([[text] for text in texts]), CHALLENGE.labels([[c] for c in codes]))


def test_unscored_codes_and_texts_are_no_class_of_the_challenge():
    assert not CHALLENGE.labels([("164884008", "429622005", "STD", "", "nonsense"), ()]).any()
    missing = [code for code in OUTPUT_CODES if code not in CHALLENGE.index]
    assert missing == ["6374002", "365413008"]  # of 2021 alone
    out = CHALLENGE.as_output(np.ones((3, 24)), 0.0)
    assert out.shape == (3, 30) and [OUTPUT_CODES[k] for k in np.flatnonzero(out[0] == 0)] == missing


# -------------------------------------------------------------------------------------------------------- nine classes


def test_the_nine_classes_are_those_of_the_unofficial_phase():
    assert dict(zip(NINE.abbreviations, NINE.codes)) == {
        "AF": "164889003",
        "I-AVB": "270492004",
        "LBBB": "164909002",
        "Normal": "426783006",
        "PAC": "284470004",
        "PVC": "164884008",
        "RBBB": "59118001",
        "STD": "429622005",
        "STE": "164931005",
    }
    assert NINE.year == "unofficial" and NINE.abbreviations[NINE.sinus_rhythm] == "Normal"


@pytest.mark.parametrize("label, code", CPSC.items())
def test_a_text_label_and_its_code_are_one_class(label, code):
    labels = NINE.labels([(label,), (code,), (label, code)])
    assert (labels == labels[0]).all() and labels[0].tolist() == [name == label for name in CPSC]


@pytest.mark.parametrize(
    "code, label",
    [
        ("713427006", "RBBB"),
        ("59118001", "RBBB"),
        ("63593006", "PAC"),
        ("427172004", "PVC"),
        ("17338001", "PVC"),
        ("733534002", "LBBB"),
    ],
)
def test_codes_that_other_sources_write_for_one_of_the_nine_count_as_it(code, label):
    assert NINE.labels([(code,)])[0].tolist() == [name == label for name in CPSC]
    assert set(CPSC_EQUIVALENT.values()) <= set(NINE.codes) and not set(CPSC_EQUIVALENT) & set(NINE.codes)


def test_other_diagnoses_are_none_of_the_nine():
    others = set(DIAGNOSES) - set(NINE.index)
    assert len(others) == 30 - 11 and not NINE.labels([tuple(others)]).any()


@pytest.mark.parametrize(
    "codes, outputs",
    [
        ([("AF", "STD"), ("Normal",)], sorted(CPSC)),
        ([("164889003",), ("713427006",)], sorted(CPSC.values())),
        ([], sorted(CPSC.values())),
        ([("164889003",), ("I-AVB",)], sorted(CPSC)),
    ],
)
def test_output_rows_are_in_the_sorted_order_of_the_headers_spelling(codes, outputs):
    spelled = NINE.spelled_as(codes)
    assert list(spelled.outputs) == outputs and spelled.codes == NINE.codes
    row = spelled.as_output(np.arange(9), -1)
    assert [NINE.codes[value] for value in row] == [CPSC.get(name, name) for name in outputs]


def test_the_challenges_classes_are_spelled_in_one_way():
    assert CHALLENGE.spelled_as([("AF",)]) is CHALLENGE


def test_the_nine_are_rewarded_for_what_is_right_alone():
    np.testing.assert_array_equal(NINE.weights, np.eye(9))


# ---------------------------------------------------------------------------------------------------------------- both


@every_set
def test_labels_are_those_of_the_codes_in_any_order_and_number(classes):
    random = np.random.default_rng(0)
    expected = random.random((50, len(classes.codes))) < 0.2
    codes = [tuple(random.permutation([*np.array(classes.codes)[row], "unscored"])) for row in expected]
    np.testing.assert_array_equal(classes.labels(codes), expected)
    np.testing.assert_array_equal(classes.labels(iter(codes)), expected)


@every_set
def test_every_class_has_a_name_and_a_place_in_the_output(classes):
    assert len(set(classes.abbreviations)) == len(classes.codes) and classes.codes[classes.sinus_rhythm] == SINUS_RHYTHM
    out = classes.as_output(np.arange(len(classes.codes)), -1)
    assert set(out) - {-1} == set(range(len(classes.codes)))


def test_an_unknown_label_set_lists_those_that_exist():
    with pytest.raises(UserError, match=", ".join(LABEL_SETS)):
        classes_for("icd-10", TABLE)


def test_equal_codes_of_unequal_weights_are_no_challenge_table():
    matrix = TABLE.matrix.copy()
    rows = [row[0] for row in TABLE.rows]
    matrix[rows.index("59118001"), 0] += 0.1
    with pytest.raises(UserError, match=r"59118001|713427006"):
        scored_classes(dataclasses.replace(TABLE, matrix=matrix))


def test_what_a_source_never_annotates_are_canonical_codes_of_scored_diagnoses():
    for source, never in NEVER_ANNOTATED.items():
        assert never and never <= set(DIAGNOSES) - set(EQUIVALENT), source
