"""The page for labels of the user's own: figures of known labels alone, and nothing that is the Challenge's."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from conftest import OWN_NAMES
from report.conftest import parsed, write_own_outputs
from report.test_page import shown, tree_of
from sklearn.metrics import confusion_matrix

from twelvelead.cli import main
from twelvelead.errors import UserError
from twelvelead.evaluation.options import LabelSource
from twelvelead.report.command import write_report
from twelvelead.report.counts import class_counts
from twelvelead.report.figures import ALL
from twelvelead.report.inputs import own_class_names, read_inputs
from twelvelead.report.page import build_page, render

UNKNOWN_ROW = 7  # of the recordings in their order, the one of which `labels_csv` knows nothing


@pytest.fixture(scope="module")
def inputs(own_case):
    return read_inputs(own_case)


@pytest.fixture(scope="module")
def html(own_case, inputs) -> str:
    return render(build_page(own_case, inputs))


@pytest.fixture(scope="module")
def tree(html):
    return parsed(html)


@pytest.fixture(scope="module")
def known_case(own_case, tmp_path_factory):
    """The case without the recording of which nothing is known, so that resamples are drawn as the evaluator does."""
    folder = tmp_path_factory.mktemp("known")
    shutil.copytree(own_case.labels, folder / "labels")
    sorted((folder / "labels").rglob("*.hea"))[UNKNOWN_ROW].unlink()
    return dataclasses.replace(own_case, labels=folder / "labels")


def test_all_figures_are_those_of_the_evaluator(known_case, labels_csv, tmp_path):
    scores = tmp_path / "scores.json"
    options = ["--labels", labels_csv, "--bootstrap", known_case.resamples, "--by-source", "--json", scores]
    assert main([str(word) for word in ["evaluate", known_case.labels, known_case.outputs, *options]]) == 0
    theirs = json.loads(scores.read_text())
    page = build_page(known_case, read_inputs(known_case))
    assert len(page.sources) == len(theirs["sources"]) == 2
    for row in (page.overall, *page.sources):
        expected = theirs if row.name == ALL else theirs["sources"][row.name]
        for key, figure in row.metrics.items():
            ends = [expected[key], *expected["intervals"][key]]
            assert [figure.value, figure.low, figure.high] == pytest.approx(ends, nan_ok=True)
    tree = parsed(render(page))
    rows = {cells[0]: cells for cells in tree.all("table", id="class-table")[0].rows()}
    assert set(rows) == set(OWN_NAMES)
    for place, name in enumerate(theirs["classes"]):
        for cell, key in zip(rows[name][4:7], ("auroc_classes", "auprc_classes", "f_measure_classes")):
            assert cell == shown(theirs[key][place], *(end[place] for end in theirs["intervals"][key]))


def test_what_outputs_say_of_unknown_labels_changes_nothing_on_the_page(own_case, html, labels_csv, tmp_path):
    other = write_own_outputs(own_case.labels, tmp_path / "outputs", labels_csv, seed=1, unknown=0.01)
    request = dataclasses.replace(own_case, outputs=other)
    page = render(build_page(request, read_inputs(request)))
    assert page.replace(str(other), "OUTPUTS") == html.replace(str(own_case.outputs), "OUTPUTS")


def test_a_recording_of_which_nothing_is_known_is_left_out_and_named(inputs, tree, own_case):
    name = sorted(own_case.labels.rglob("*.hea"))[UNKNOWN_ROW].stem
    assert len(inputs.names) == 47 and not any(each.endswith(name) for each in inputs.names)
    notes = tree.all("div", class_="notes")[0].text
    assert "no label is known, left out: 1" in notes and name in notes


def test_nothing_that_is_the_challenges_alone_is_on_the_page(tree):
    text = tree.text.lower()
    for word in ("challenge", "reward", "sinus", "official", "costliest", "gβ"):
        assert word not in text, word
    links = [each.attributes["href"][1:] for each in tree.all("nav")[0].all("a")]
    assert links == [each.attributes["id"] for each in tree.all("section")] and "confusion" not in links


def test_a_table_without_unknown_cells_makes_a_page_that_does_not_speak_of_them(own_case, labels_csv, tmp_path):
    rows = list(csv.reader(labels_csv.read_text(encoding="utf-8").splitlines()))
    with open(tmp_path / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *([row[0], *(cell or "0" for cell in row[1:])] for row in rows[1:])])
    own = LabelSource(str(tmp_path / "labels.csv"))
    tree = tree_of(dataclasses.replace(own_case, own=own, out=tmp_path / "report.html", mistakes=0))
    heads = [head.text for head in tree.all("table", id="class-table")[0].all("th", scope="col")]
    assert heads[:2] == ["Class", "Positives"]
    sections = [section.text for section in tree.all("section") if section.attributes["id"] != "subgroups"]
    assert not [text for text in sections if "nknown" in text or "known label" in text]


def test_right_and_wrong_labels_are_those_of_the_known_cells(inputs, tree):
    outputs = inputs.systems[0][0]
    counts = class_counts(inputs)
    for place, row in enumerate(counts):
        rows = inputs.known_rows(place)
        matrix = confusion_matrix(inputs.labels[rows, place], outputs[rows, place], labels=[False, True])
        found = [[row.true_negatives, row.false_positives], [row.false_negatives, row.true_positives]]
        assert matrix.tolist() == found
        assert row.sensitivity.value == matrix[1, 1] / matrix[1].sum() and row.sensitivity.low < row.sensitivity.high
    table = tree.all("section", id="counts")[0].all("table")[0].rows()
    assert sorted(int(cells[1]) for cells in table) == sorted(row.true_positives for row in counts)


def test_the_wrong_classes_of_recordings_that_miss_a_class_are_counted(inputs):
    labels, known = np.zeros((5, 3), dtype=bool), np.ones((5, 3), dtype=bool)
    labels[:4, 0] = True
    outputs = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=bool)
    made = dataclasses.replace(inputs, labels=labels, known=known, systems=[(outputs, outputs * 0.9)])
    names = inputs.class_names
    assert [row.instead for row in class_counts(made)] == [[(names[1], 2), (names[2], 1)], [], []]


def test_the_worst_mistakes_have_the_most_wrong_labels_and_then_the_surest(own_case, inputs):
    outputs, scores = inputs.systems[0]
    wrong = inputs.labels != outputs
    surest = np.where(wrong, np.abs(inputs.labels - scores), 0).max(axis=1)
    order = sorted(range(len(wrong)), key=lambda row: (-wrong[row].sum(), -surest[row]))
    shown_rows = [each.recording for each in build_page(own_case, inputs).mistakes]
    assert shown_rows == [inputs.names[row] for row in order[:2]]


def test_a_class_of_which_nothing_is_known_here_is_a_row_of_dashes(own_case, labels_csv, tmp_path):
    rows = list(csv.reader(labels_csv.read_text(encoding="utf-8").splitlines()))
    with open(tmp_path / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *([name, one, "", three] for name, one, _, three in rows[1:])])
    own = LabelSource(str(tmp_path / "labels.csv"))
    tree = tree_of(dataclasses.replace(own_case, own=own, out=tmp_path / "report.html", mistakes=0))
    cells = next(row for row in tree.all("table", id="class-table")[0].rows() if row[0] == "µ|#1")
    assert cells[1] == "0" and all("undefined" in cell for cell in cells[4:7])


def test_a_class_is_called_in_words_only_where_it_is_a_code():
    names = own_class_names(["164889003", "Normal", "A|B"])
    assert [(each.short, each.name) for each in names] == [("AF", "atrial fibrillation"), ("Normal", ""), ("A|B", "")]


@pytest.mark.slow
def test_with_the_model_its_thresholds_and_its_metric_come_first(own_case, own_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(own_model, model)
    classes = json.loads((model / "classes.json").read_text())
    inputs = read_inputs(dataclasses.replace(own_case, model=model))
    values = json.loads((model / "thresholds.json").read_text())["ensemble"]["thresholds"]
    assert inputs.thresholds.tolist() == [values[name] for name in OWN_NAMES] and inputs.main == "f_measure"
    assert classes["metric"] == "f1"
    with pytest.raises(UserError, match="labels of your own; say with --labels or --label-field"):
        read_inputs(dataclasses.replace(own_case, model=model, own=LabelSource()))


def test_the_command_takes_the_options_of_the_evaluator(own_case, labels_csv, tmp_path, capsys):
    out = tmp_path / "report.html"
    words = ["report", own_case.labels, own_case.outputs, "--out", out, "--resamples", 5, "--mistakes", 0]
    words += ["--labels", labels_csv, "--classes", "AF"]
    assert main([str(word) for word in words]) == 0
    written = capsys.readouterr()
    assert "47 recordings of 2 sources, 1 class;" in written.out
    assert "classes that are not asked for" in written.err and "Challenge" not in written.err
    assert len(parsed(out.read_text(encoding="utf-8")).all("table", id="class-table")[0].rows()) == 1


def test_a_second_run_is_compared_on_known_labels(known_case, labels_csv, tmp_path):
    other = write_own_outputs(known_case.labels, tmp_path / "other", labels_csv, seed=5, unknown=0.1)
    scores = tmp_path / "scores.json"
    options = ["--labels", labels_csv, "--bootstrap", known_case.resamples, "--compare", other, "--json", scores]
    assert main([str(word) for word in ["evaluate", known_case.labels, known_case.outputs, *options]]) == 0
    theirs = json.loads(scores.read_text())["comparison"]
    request = dataclasses.replace(known_case, compare=other)
    page = build_page(request, read_inputs(request))
    for key, figure in page.overall.differences.items():
        ends = [theirs["difference"][key], *theirs["intervals"][key]]
        assert [figure.value, figure.low, figure.high] == pytest.approx(ends)
    assert "challenge" not in parsed(render(page)).text.lower()


@pytest.mark.parametrize(
    "options, words",
    [
        ("--labels CSV --label-field Dx", "give one of them"),
        ("--classes AF", "give --labels or --label-field too"),
        ("--labels CSV --year 2020", "leave them out"),
        ("--label-field Dx", "no output file has any of the classes"),
        ("--label-field nowhere", "no header has a field 'nowhere'"),
        ("", "say with --labels or --label-field"),
    ],
)
def test_what_does_not_go_together_is_one_line(options, words, own_case, labels_csv, tmp_path, capsys):
    given = [str(labels_csv) if word == "CSV" else word for word in options.split()]
    command = ["report", str(own_case.labels), str(own_case.outputs), "--out", str(tmp_path / "report.html"), *given]
    try:
        code = main(command)
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "report.html").exists()


def test_the_page_is_written_and_complete_in_itself(own_case):
    write_report(own_case)
    html = own_case.out.read_text(encoding="utf-8")
    tree = parsed(html)
    assert len(tree.all("img")) == 2 and not tree.all("link") and len(html) < 5_000_000
    assert "LVH%2C" not in html and "µ|#1" in html
    for table in tree.all("table"):
        assert len({len(row.children) for row in table.all("tr")}) == 1
