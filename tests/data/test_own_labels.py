"""Labels of one's own: read from tables and headers, odd names survive, what is unknown is not absent."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made import header

from twelvelead.data.classes import OUTPUT_CODES, classes_for, load_weights
from twelvelead.data.label_tables import ABSENT, PRESENT, UNKNOWN, codes_of_name, labels_of_field, read_label_table
from twelvelead.data.own_labels import (
    as_arrays,
    cells_by_recording,
    chosen,
    labels_of_classes,
    own_classes,
    own_labels,
    written,
)
from twelvelead.errors import UserError

ODD = ["LVH, strain", 'say "AF"', "a|b", "#1", "100 %", "MI%2C", "µ–Welle", "1", "=SUM(A1)", "; x", "-1", "Ärger's"]
visible = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=12)


def table_file(folder: Path, *rows: list[str], name="labels.csv", delimiter=",") -> Path:
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return folder / name


def headers_of(folder: Path, **comments: str) -> list[Path]:
    """Headers whose last comment is the given one."""
    for name, comment in comments.items():
        (folder / f"{name}.hea").write_text(header(name, dx=None, comments=[comment] if comment else []))
    return sorted(folder.glob("*.hea"))


@settings(deadline=None)
@given(st.lists(visible, min_size=1, max_size=6, unique_by=str.casefold), st.integers(0, 99))
def test_any_names_survive_an_output_row_and_come_back_as_they_were(names, seed):
    names = [" ".join(name.split()) for name in names]
    assume(all(names) and len(set(map(str.casefold, names))) == len(names))
    classes = own_classes(names, "f1")
    row = ",".join(classes.outputs)
    assert row.split(",") == list(classes.outputs) and len(set(classes.outputs)) == len(names)
    assert not row.startswith("#") and "|" not in row and row.isprintable()
    values = np.random.default_rng(seed).random((3, len(names)))
    assert np.array_equal(classes.of_output(classes.as_output(values, 0.0), classes.codes), values)


def test_a_name_that_looks_like_the_escape_of_another_stays_apart():
    classes = own_classes(["a,b", "a%2Cb"], "f1")
    values = np.array([0.2, 0.7])
    assert len(set(classes.outputs)) == 2
    assert classes.of_output(classes.as_output(values, 0.0), classes.codes).tolist() == [0.2, 0.7]


def test_challenge_classes_are_stored_as_before_and_own_ones_with_a_metric():
    challenge = classes_for("challenge", load_weights(Path(__file__).parents[2] / "weights.csv"))
    assert list(challenge.to_dict()) == ["codes", "weights", "outputs", "year"]
    assert challenge.outputs == OUTPUT_CODES and not challenge.are_own
    own = own_classes(ODD, "auroc")
    again = type(own).from_dict(own.to_dict())
    assert again.codes == own.codes and again.metric == "auroc" and again.outputs == own.outputs
    assert own.labels([("a|b", "nothing"), ()]).sum() == 1


def test_a_column_for_each_class_is_read_with_empty_cells_unknown(tmp_path):
    path = table_file(
        tmp_path,
        ["recording", *ODD[:3]],
        ["A1", "1", "0", ""],
        ["A2.hea", "yes", "No", "nan"],
        ["g/A3", "1.0", "0.0", "?"],
    )
    table = read_label_table(path)
    assert table.names == tuple(ODD[:3])
    assert table.cells == dict.fromkeys(["A1", "A2", "g/A3"], PRESENT + ABSENT + UNKNOWN)
    labels, known = as_arrays(list(table.cells.values()))
    assert labels.tolist() == [[True, False, False]] * 3 and known.tolist() == [[True, True, False]] * 3


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_row_for_each_label_is_read_and_what_is_not_listed_is_absent(tmp_path, delimiter):
    rows = [["A1", "MI"], ["A1", "LVH, strain"], ["A2", "MI"], ["A3", "-"], ["A4", ""]]
    table = read_label_table(table_file(tmp_path, ["recording", "label"], *rows, delimiter=delimiter))
    assert table.names == ("LVH, strain", "MI")
    assert table.cells == {"A1": "11", "A2": "01", "A3": "00", "A4": "??"}


def test_two_columns_of_ones_and_zeros_are_one_class(tmp_path):
    table = read_label_table(table_file(tmp_path, ["recording", "infarction"], ["A1", "1"], ["A2", "0"], ["A3", ""]))
    assert table.names == ("infarction",) and table.cells == {"A1": "1", "A2": "0", "A3": "?"}


@pytest.mark.parametrize(
    "rows,words",
    [
        ([["name", "MI"], ["A1", "1"]], "recording and at least one more"),
        ([["recording", "MI", "MI"], ["A1", "1", "0"]], "different columns"),
        ([["recording", "MI", "LVH"], ["A1", "1", "maybe"]], "line 2.*LVH is 'maybe'"),
        ([["recording", "MI", "LVH"], ["A1", "1"]], "line 2: 2 cells"),
        ([["recording", "MI", "LVH"], ["", "1", "0"]], "line 2.*empty"),
        ([["recording", "MI"]], "no row"),
        ([["recording", "MI", "LVH"], ["A1", "1", "0"], ["A1", "0", "0"]], "line 3: recording A1"),
        ([["recording", "label"], ["A1", "AF"], ["A2", "af"]], "differ in case"),
        ([["recording", "label"], ["A1", "x\u200by"]], "cannot be seen"),
        ([["recording", "label"], ["A1", "x" * 201]], "more than 200"),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_line_that_says_where(tmp_path, rows, words):
    with pytest.raises(UserError, match=words) as error:
        read_label_table(table_file(tmp_path, *rows))
    assert "labels.csv" in str(error.value) and "\n" not in str(error.value)


def test_a_field_of_the_headers_is_read_in_any_spelling_and_unknown_where_it_is_not(tmp_path):
    headers = headers_of(
        tmp_path, A1="# rhythm: flutter; pacing", A2="#Rhythm:flutter", A3="#Rhythm: -", A4="", A5="#Rhythm:"
    )
    table = labels_of_field(headers, tmp_path, "Rhythm")
    assert table.names == ("flutter", "pacing")
    assert table.cells == {"A1": "11", "A2": "10", "A3": "00", "A4": "??", "A5": "??"}
    with pytest.raises(UserError, match=r"no header has a field 'Wall'.*Age, Sex"):
        labels_of_field(headers, tmp_path, "Wall")


def test_the_field_dx_gives_every_code_scored_or_not(tmp_path):
    headers = headers_of(tmp_path, A1="# Dx: 164873001,426783006", A2="#Dx: 426783006")
    table = labels_of_field(headers, tmp_path, "Dx")
    assert table.names == ("164873001", "426783006") and table.cells == {"A1": "11", "A2": "01"}
    assert table.codes == (frozenset(), {"426783006"})


def test_labels_are_chosen_renamed_and_taken_together(tmp_path):
    path = table_file(
        tmp_path,
        ["recording", "a", "b", "c=d", "x,y"],
        ["A1", "1", "0", "1", "0"],
        ["A2", "0", "", "0", "1"],
        ["A3", "0", "0", "", ""],
    )
    table = chosen(read_label_table(path), 'AB=a+b,c=d,"x,y"')
    assert table.names == ("AB", "c=d", "x,y")
    assert table.cells == {"A1": "110", "A2": "?01", "A3": "0??"}  # of two labels of which one is unknown none is known
    for wrong, words in (("a,z", "label 'z'; there are: a, b"), ("a,A", "named twice"), ("=a", "empty")):
        with pytest.raises(UserError, match=words):
            chosen(read_label_table(path), wrong)


def test_codes_abbreviations_and_names_are_the_same_diagnosis():
    assert codes_of_name("CRBBB") == codes_of_name("59118001") == codes_of_name("713427006") == {"713427006"}
    assert codes_of_name("LVH") == frozenset()
    with pytest.raises(UserError, match="'AF' and '164889003' mean the same"):
        own_classes(["AF", "164889003"], "f1")


def made_headers(folder: Path, count: int) -> list[Path]:
    return [folder / f"R{k:02d}.hea" for k in range(count)]


def test_rare_classes_are_left_out_with_a_line_or_are_an_error_if_named(tmp_path):
    rows = [[f"R{k:02d}", int(k < 8), int(k < 3), int(k > 0)] for k in range(16)]
    table = read_label_table(table_file(tmp_path, ["recording", "often", "seldom", "always"], *rows))
    lines: list[str] = []
    own = own_labels(table, made_headers(tmp_path, 20), tmp_path, "f1", log=lines.append)
    assert own.classes.codes == ("often",) and len(own.cells) == 16
    assert any(
        "'seldom' (3 have it, 13 do not)" in line and "'always' (15 have it, 1 do not)" in line for line in lines
    )
    assert any("4 recordings" in line for line in lines)
    with pytest.raises(UserError, match="too few to learn from: 'seldom'"):
        own_labels(chosen(table, "often,seldom"), made_headers(tmp_path, 16), tmp_path, "f1", are_chosen=True)
    with pytest.raises(UserError, match="none of its 16 recordings"):
        own_labels(table, [tmp_path / "other.hea"], tmp_path, "f1")


def test_recordings_are_called_by_path_or_file_name_but_never_ambiguously(tmp_path):
    table = read_label_table(table_file(tmp_path, ["recording", "MI"], ["g1/A", "1"], ["B", "0"]))
    assert cells_by_recording(table, ["g1/A", "g2/A", "g3/B"]) == ["1", None, "0"]
    with pytest.raises(UserError, match="'B' may be g3/B or g4/B"):
        cells_by_recording(table, ["g3/B", "g4/B"])


def test_written_names_are_what_a_csv_reader_without_quotes_needs():
    for name in ODD:
        assert next(csv.reader(io.StringIO(written(name)), quoting=csv.QUOTE_NONE)) == [written(name)]


def test_labels_of_a_models_classes_are_found_by_name_and_the_rest_is_unknown(tmp_path):
    rows = ["R00", "1", "1", "0"], ["R01", "", "0", "1"], ["R02", "1", "", ""], ["R09", "0", "1", "1"]
    table = read_label_table(table_file(tmp_path, ["recording", "other", "lvh", "AF"], *rows))
    classes, lines = own_classes(["AF", "strain", "LVH"], "f1"), []
    own = labels_of_classes(table, classes, made_headers(tmp_path, 4), tmp_path, lines.append)
    assert own.classes is classes and own.cells == {"R00.hea": "0?1", "R01.hea": "1?0"}
    assert own.codes == (codes_of_name("AF"), frozenset(), frozenset())
    assert any("no label of these names: strain" in line for line in lines)
    assert any("2 recordings of which labels.csv knows nothing" in line for line in lines)
    with pytest.raises(UserError, match="none of the model's classes is among its labels, which are: other, lvh, AF"):
        labels_of_classes(table, own_classes(["MI"], "f1"), made_headers(tmp_path, 4), tmp_path)
    with pytest.raises(UserError, match="no label of the model's classes of any recording"):
        labels_of_classes(table, classes, [tmp_path / "R02.hea"], tmp_path)
