"""The page of a report: the evaluator's figures, complete for whatever files there are, and sound HTML."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from made import with_context
from report.conftest import CLASSES, parsed, write_row

from twelvelead.cli import main
from twelvelead.data.classes import SINUS_RHYTHM, WEIGHTS
from twelvelead.errors import UserError
from twelvelead.evaluation import metrics
from twelvelead.inference.ensemble import thresholds_of_scores
from twelvelead.inference.model_files import read_description
from twelvelead.report.command import write_report
from twelvelead.report.figures import Figure
from twelvelead.report.inputs import read_inputs
from twelvelead.report.page import build_page, direction, number, percent, render, signed, spoken


@pytest.fixture(scope="module")
def inputs(case):
    return read_inputs(case)


@pytest.fixture(scope="module")
def page(case, inputs):
    return build_page(case, inputs)


@pytest.fixture(scope="module")
def html(page) -> str:
    return render(page)


@pytest.fixture(scope="module")
def tree(html):
    return parsed(html)


@pytest.fixture(scope="module")
def evaluated(case, tmp_path_factory) -> dict:
    """What `twelvelead evaluate` says of the same files."""
    path = tmp_path_factory.mktemp("evaluated") / "scores.json"
    options = ["--by-source", "--bootstrap", case.resamples, "--compare", case.compare, "--json", path]
    assert main([str(word) for word in ["evaluate", case.labels, case.outputs, *options]]) == 0
    return json.loads(path.read_text())


def shown(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A figure as a table shows it."""
    numbers = [re.sub("<[^>]*>", " ", str(number(float("nan") if x is None else x))) for x in (value, low, high)]
    return " ".join(
        (numbers[0] if low is None or high is None else f"{numbers[0]} {numbers[1]} to {numbers[2]}").split()
    )


def small(case, tmp_path, names: int):
    """The case with the first recordings of one hospital alone, in folders that may be changed."""
    labels, outputs = tmp_path / "labels", tmp_path / "outputs"
    labels.mkdir()
    outputs.mkdir()
    for header in sorted(case.labels.rglob("*.hea"))[:names]:
        for file in header.parent.glob(f"{header.stem}.*"):
            shutil.copy(file, labels)
        shutil.copy((case.outputs / header.relative_to(case.labels)).with_suffix(".csv"), outputs)
    return replace(
        case, labels=labels, outputs=outputs, compare=None, out=tmp_path / "report.html", resamples=10, mistakes=1
    )


def tree_of(request):
    write_report(request)
    return parsed(request.out.read_text(encoding="utf-8"))


# -- figures ---------------------------------------------------------------------------------------


def test_metrics_by_source_are_the_evaluators(tree, evaluated):
    (table,) = [each for each in tree.all("table") if each.all("caption")[0].text.startswith("Metrics by source")]
    names = list(metrics.METRICS["2020"])
    order = [names[-1], *names[:-1]]  # the metric of the ranking comes first
    for cells in table.rows():
        theirs = evaluated if cells[0] == "all recordings" else evaluated["sources"][cells[0]]
        assert cells[1] == str(theirs["recordings"])
        assert [cells[2], *cells[4:]] == [shown(theirs[key], *theirs["intervals"][key]) for key in order]
    assert len(table.rows()) == 1 + len(evaluated["sources"])


def test_figures_of_classes_are_the_evaluators(tree, evaluated, inputs):
    rows = {cells[0].split()[0]: cells for cells in tree.all("table", id="class-table")[0].rows()}
    assert len(rows) == len(inputs.class_names) == 24
    positives = inputs.labels.sum(axis=0)
    for place, name in enumerate(inputs.class_names):
        cells = rows[name.short]
        assert cells[1].split()[0] == str(positives[place])
        for cell, key in zip(cells[3:6], ("auroc_classes", "auprc_classes", "f_measure_classes")):
            ends = (end[place] for end in evaluated["intervals"][key])
            assert cell == shown(evaluated[key][place], *ends)


def test_differences_and_verdicts_are_those_of_the_paired_resamples(tree, evaluated):
    table = next(each for each in tree.all("table") if each.all("caption")[0].text == "All recordings, by metric")
    for cells, (key, name) in zip(table.rows(), metrics.METRICS["2020"].items()):
        compared = evaluated["comparison"]
        low, high = compared["intervals"][key]
        assert cells[0] == name and cells[2] == shown(compared["other"][key])
        assert cells[3] == f"{signed(compared['difference'][key])} {signed(low)} to {signed(high)}"
        assert cells[4].split(maxsplit=1)[1] == ("higher" if low > 0 else "lower" if high < 0 else "not clear")


def test_what_is_lost_adds_up_to_one_minus_the_metric(page):
    lost = sum(row.lost for row in page.matrix.rows)
    assert lost == pytest.approx(1 - page.overall.metrics["challenge_metric"].value)


def test_the_matrix_is_the_challenges(page, inputs):
    outputs, _ = inputs.systems[0]
    counts = metrics.challenge_confusion(inputs.labels, outputs)
    for row in page.matrix.rows:
        assert [cell.count for cell in row.cells] == counts[row.place, page.matrix.columns].tolist()
    assert counts.sum() == pytest.approx(sum(cell.count for row in page.matrix.rows for cell in row.cells))


def test_no_recording_costs_more_than_the_mistakes_that_are_shown(page, inputs):
    """The cost of a recording is what the metric's reward gains if its outputs alone are put right."""
    outputs, weights = inputs.systems[0][0], inputs.task.weights
    before = metrics.unnormalised_challenge_metric(inputs.labels, outputs, weights)
    costs = []
    for row in range(len(outputs)):
        mended = outputs.copy()
        mended[row] = inputs.labels[row]
        costs.append(metrics.unnormalised_challenge_metric(inputs.labels, mended, weights) - before)
    assert [each.cost for each in page.mistakes] == pytest.approx(sorted(costs, reverse=True)[:3])
    for each in page.mistakes:
        assert each.cost == pytest.approx(costs[inputs.names.index(each.recording)])


def test_subgroups_share_out_all_recordings(page, inputs):
    for rows in (page.sources, page.sexes, page.ages):
        assert sum(row.recordings for row in rows) == len(inputs.names)


def test_labels_a_recording_are_those_of_headers_and_outputs(page, inputs):
    assert page.overall.labels_annotated == pytest.approx(inputs.labels.sum() / len(inputs.labels))
    assert page.overall.labels_written == pytest.approx(inputs.systems[0][0].sum() / len(inputs.labels))
    sinus = inputs.task.sinus_rhythm
    f = metrics.f_measure(inputs.labels, inputs.systems[0][0])[sinus]
    assert page.overall.sinus_rhythm.value == pytest.approx(f)


@pytest.mark.slow
def test_thresholds_are_those_of_the_model(case, tiny_model, tmp_path):
    inputs = read_inputs(replace(case, model=tiny_model))
    values = json.loads((tiny_model / "thresholds.json").read_text())["ensemble"]["thresholds"]
    assert len(values) == 24
    for code, threshold in zip(inputs.task.classes, inputs.thresholds):
        assert threshold == values[CLASSES.codes[CLASSES.index[code]]]


@pytest.mark.slow
def test_mistakes_show_the_thresholds_of_the_recording(case, tiny_model, tmp_path):
    inputs = read_inputs(replace(case, model=with_context(tiny_model, tmp_path / "moved")))
    described = read_description(tmp_path / "moved")
    of_model = [CLASSES.index[code] for code in described.classes.codes]
    places = [inputs.task.classes.index(CLASSES.codes[k]) for k in of_model]
    line, scores = described.probabilities, inputs.systems[0][1][:, places]
    expected = line(thresholds_of_scores(described, line.inverse(scores)))
    np.testing.assert_allclose(inputs.moved[:, places], expected)
    assert inputs.threshold(3, places[5]) == inputs.moved[3, places[5]] != inputs.thresholds[places[5]]


# -- whatever files there are ----------------------------------------------------------------------


def test_one_recording_makes_a_page_without_intervals(case, tmp_path):
    tree = tree_of(small(case, tmp_path, 1))
    assert tree.all("p", class_="headline")[0].text.startswith("Challenge metric")
    assert " to " not in tree.all("table", id="class-table")[0].text
    assert "– undefined" in tree.all("table", id="class-table")[0].text


def test_missing_and_broken_outputs_are_named_and_count_as_negative(case, tmp_path):
    request = small(case, tmp_path, 6)
    files = sorted(request.outputs.glob("*.csv"))
    files[0].unlink()
    files[1].write_text("\n".join(files[1].read_text().splitlines()[:3]) + "\n")  # no scores
    files[2].write_text("")
    write_row(files[3], np.full(24, np.nan), np.zeros(24, int))
    notes = tree_of(request).all("div", class_="notes")[0].text
    for stem, words in zip([file.stem for file in files], ["without an output", "short", "empty", "NaN"]):
        assert words in notes and stem in notes


def test_a_set_of_sinus_rhythm_alone_costs_reward_and_no_metric(case, tmp_path):
    """The labels are what the metric calls 0, so that no cost can be a part of it."""
    request = small(case, tmp_path, 4)
    for header in request.labels.glob("*.hea"):
        header.write_text(re.sub(r"Dx: .*", f"Dx: {SINUS_RHYTHM}", header.read_text()))
    for output in sorted(request.outputs.glob("*.csv"))[:2]:
        write_row(output, np.linspace(0, 1, 24), np.arange(24) == 3)
    mistakes = tree_of(request).all("section", id="mistakes")[0].text
    assert "of the reward" in mistakes and "wrong classes" not in mistakes


def test_a_set_without_any_label_makes_a_page(case, tmp_path):
    request = small(case, tmp_path, 4)
    for header in request.labels.glob("*.hea"):
        header.write_text(re.sub(r"Dx: .*", "Dx: 999", header.read_text()))
    tree = tree_of(request)
    assert not tree.all("svg", class_="panel") and len(tree.all("table", id="class-table")[0].rows()) == 24


def test_signals_may_be_missing_or_elsewhere(case, tmp_path):
    request = small(case, tmp_path, 8)
    elsewhere = tmp_path / "signals" / "deep"
    elsewhere.mkdir(parents=True)
    for file in request.labels.iterdir():
        shutil.copy(file, elsewhere)
        if file.suffix != ".hea":
            file.unlink()
    tree = tree_of(request)
    assert not tree.all("img") and "No ECG sheet" in tree.text
    tree = tree_of(replace(request, data=tmp_path / "signals"))
    assert len(tree.all("img")) == len(tree.all("article")) > 0


def test_a_table_of_2021_names_joined_classes(case, tmp_path):
    rows = [line.split(",") for line in WEIGHTS.read_text().splitlines()]
    pairs = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004"}
    kept = [place for place, code in enumerate(rows[0]) if code not in pairs]
    names = {second: f"{second}|{first}" for first, second in pairs.items()}
    table = [[names.get(rows[i][j], rows[i][j]) for j in kept] for i in kept]
    weights = tmp_path / "weights.csv"
    weights.write_text("\n".join(",".join(row) for row in table) + "\n")
    tree = tree_of(replace(small(case, tmp_path, 12), weights=weights))
    assert "Challenge of 2021" in tree.text and "59118001 | 713427006" in tree.text and "Fbeta" not in tree.text


def test_the_unofficial_phase_has_no_matrix(case, tmp_path):
    request = small(case, tmp_path, 8)
    request = replace(request, year="unofficial")
    inputs = read_inputs(replace(request, year="2020"))
    codes = sorted({code for header in request.labels.glob("*.hea") for code in re.findall(r"\d{6,}", dx(header))})
    for path in request.outputs.glob("*.csv"):
        path.write_text(f"#{path.stem}\n{','.join(codes)}\n" + "\n".join([",".join("1" * len(codes))] * 2) + "\n")
    tree = tree_of(request)
    assert tree.all("p", class_="headline")[0].text.startswith("Geometric mean") and len(inputs.names) == 8
    assert not tree.all("section", id="confusion") and "wrong classes" in tree.all("section", id="mistakes")[0].text


def dx(header) -> str:
    return re.search(r"Dx: (.*)", header.read_text()).group(1)


def test_scores_that_are_no_probabilities_make_a_page(case, inputs):
    outputs, scores = inputs.systems[0]
    tree = parsed(render(build_page(replace(case, mistakes=0), replace(inputs, systems=[(outputs, scores * 30 - 15)]))))
    assert "scores are not from 0 to 1" in tree.all("section", id="curves")[0].text


def test_names_cannot_add_anything_to_the_page(case, tmp_path):
    evil = "<img src=x onerror=alert(1)>\x1b"
    request = small(case, tmp_path, 4)
    for folder in (request.labels, request.outputs):
        (folder / evil).mkdir()
        for file in [file for file in folder.iterdir() if file.is_file()]:
            file.rename(folder / evil / file.name)
    tree = tree_of(request)
    assert "onerror=alert(1)" in tree.text and "\x1b" not in request.out.read_text(encoding="utf-8")
    assert not [each for each in tree.all("img") if not each.attributes["src"].startswith("data:")]


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(outputs="absent"), "cannot be listed"),
        (dict(outputs="empty"), "no output file"),
        (dict(labels="empty"), "no header"),
        (dict(compare="empty"), "no output file"),
        (dict(data="absent"), "no such folder"),
        (dict(model="empty"), "no trained model"),
        (dict(weights="absent"), "weights table cannot be read"),
        (dict(sources="absent"), "groups cannot be read"),
        (dict(out="empty"), "is a folder"),
        (dict(out="absent/report.html"), "no such folder"),
    ],
)
def test_what_is_wrong_is_one_line(case, tmp_path, change, words):
    (tmp_path / "empty").mkdir()
    changed = {key: tmp_path / value for key, value in change.items()}
    with pytest.raises(UserError, match=words) as error:
        write_report(replace(case, **changed))
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_impossible_numbers_are_refused(case):
    for change in (dict(resamples=0), dict(mistakes=-1)):
        with pytest.raises(UserError, match="--"):
            write_report(replace(case, **change))


def test_the_command_writes_the_page_and_says_so(case, tmp_path, capsys):
    request = small(case, tmp_path, 3)
    words = ["report", request.labels, request.outputs, "--out", request.out, "--resamples", 5, "--mistakes", 0]
    assert main(list(map(str, words))) == 0
    assert "3 recordings" in capsys.readouterr().out
    assert parsed(request.out.read_text(encoding="utf-8")).all("h1")


# -- sound HTML ------------------------------------------------------------------------------------


def test_the_page_is_complete_in_itself(html, tree):
    assert len(html.encode()) < 5_000_000
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!data:|#)[^"'\s>]|@import|url\(|\bfetch\(|XMLHttp""", html)
    assert not tree.all("link") and "default-src 'none'" in html


def test_ids_are_unique_and_every_reference_leads_to_one(tree):
    ids = [each.attributes["id"] for each in tree.all() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    references = [each.attributes["href"][1:] for each in tree.all("a")]
    references += [each.attributes["for"] for each in tree.all("label") if "for" in each.attributes]
    references += [each.attributes[key] for each in tree.all() for key in each.attributes if key == "aria-labelledby"]
    assert len(references) > 10 and set(references) <= set(ids)


def test_tables_have_captions_and_heads_with_a_scope(tree):
    assert len(tree.all("table")) > 5
    for table in tree.all("table"):
        assert table.all("caption") and table.all("th")
        assert all(head.attributes.get("scope") in ("col", "row") for head in table.all("th"))
        widths = {len(row.children) for row in table.all("tr")}
        assert len(widths) == 1


def test_every_chart_has_a_text_alternative(tree):
    charts = [each for each in tree.all("svg") if each.attributes.get("aria-hidden") != "true"]
    assert len(charts) > 40
    assert all(each.attributes["role"] == "img" and len(each.attributes["aria-label"]) > 20 for each in charts)
    assert all(each.attributes["alt"] for each in tree.all("img"))


def test_all_sections_are_in_the_table_of_contents(tree):
    sections = [each.attributes["id"] for each in tree.all("section")]
    assert [each.attributes["href"][1:] for each in tree.all("nav")[0].all("a")] == sections


# -- numbers ---------------------------------------------------------------------------------------


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert [number(x) for x in (0.5, -0.25, -0.0001, 0.0)] == ["0.500", "−0.250", "0.000", "0.000"]
    assert [signed(x) for x in (0.5, -0.25, 0.0001)] == ["+0.500", "−0.250", "0.000"]
    assert "undefined" in number(float("nan")) and "undefined" in percent(float("nan"))
    assert (spoken(0.5, 2), spoken(float("nan"))) == ("0.50", "undefined")
    assert [percent(x) for x in (0.0, 0.034, 0.34)] == ["0.0 %", "3.4 %", "34 %"]


def test_a_difference_is_clear_where_its_interval_leaves_out_zero():
    assert direction(Figure(0.2, 0.1, 0.3)) == "higher" and direction(Figure(-0.2, -0.3, -0.1)) == "lower"
    assert direction(Figure(0.2, 0.0, 0.3)) == direction(Figure(0.2)) == "not clear"


def test_sinus_rhythm_is_a_class_of_the_case(inputs):
    assert inputs.task.classes[inputs.task.sinus_rhythm] == SINUS_RHYTHM
