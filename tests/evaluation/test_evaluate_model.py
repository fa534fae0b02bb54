"""evaluate_model.py: the organizers' scores to the byte, what it says about malformed files, and what it adds.

python -m pytest tests/evaluation/test_evaluate_model.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import plain_scorer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import evaluate_model
from twelvelead.evaluation import metrics
from twelvelead.evaluation.files import find_files
from twelvelead.evaluation.findings import KINDS, Findings
from twelvelead.evaluation.official import read_labels, read_outputs
from twelvelead.evaluation.task import load_task

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights.csv"
WEIGHTS_2021 = ROOT.parent / "shared" / "reference" / "weights-2021.csv"
HEADS = {
    "2020": "AUROC,AUPRC,Accuracy,F-measure,Fbeta-measure,Gbeta-measure,Challenge metric",
    "2021": "AUROC,AUPRC,Accuracy,F-measure,Challenge metric",
    "unofficial": "AUROC|AUPRC|Accuracy|F-measure|Fbeta-measure|Gbeta-measure",
}
CODES = list(load_task("2020", WEIGHTS).index)


@pytest.fixture(scope="session")
def table_2021(tmp_path_factory):
    """A weights table of 2021's kind, for what does not need 2021's own: that of 2020 with its equal rows joined."""
    task = load_task("2020", WEIGHTS)
    names = [
        f"{code}|{twin}" if (twin := {v: k for k, v in plain_scorer.MERGED.items()}.get(code)) else code
        for code in task.classes
    ]
    path = tmp_path_factory.mktemp("weights") / "weights.csv"
    rows = [f"{name}," + ",".join(map(str, row)) for name, row in zip(names, task.weights.tolist())]
    path.write_text("\n".join(["," + ",".join(names), *rows]) + "\n")
    return path


class Folders:
    """Labels and outputs below a temporary folder, in Challenge format."""

    def __init__(self, folder):
        self.labels, self.outputs, self.json = folder / "labels", folder / "outputs", folder / "scores.json"

    def write(self, name, dx, classes, labels, scores, outputs=None):
        self.header(name, f"{Path(name).name} 12 500 5000\n#Age: 50\n#Dx: {dx}\n")
        self.output(
            name, f"#{name}\n{','.join(classes)}\n{','.join(map(str, labels))}\n{','.join(map(str, scores))}\n", outputs
        )

    def header(self, name, text):
        path = self.labels / f"{name}.hea"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def output(self, name, text, folder=None):
        path = (folder or self.outputs) / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def run(self, *options, code=0):
        arguments = [self.labels, self.outputs, "--json", self.json, *options]
        assert evaluate_model.main(list(map(str, arguments))) == code
        return json.loads(self.json.read_text()) if code == 0 else None


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


@pytest.fixture
def tidy(folders):
    """Twenty recordings without a fault: each code has one threshold, and twins have the same scores."""
    fill(folders, [f"A{number:04d}" for number in range(20)])
    return folders


def fill(folders, names, seed=0, outputs=None):
    rng = np.random.default_rng(seed)
    twin = plain_scorer.MERGED
    for name in names:
        own = rng.choice(CODES, rng.integers(1, 4), replace=False)
        score = {code: round(float(np.clip(rng.normal(0.3 + 0.35 * (code in own), 0.2), 0, 1)), 3) for code in CODES}
        scores = [score[twin.get(code, code)] for code in CODES]
        folders.write(name, ",".join(own), CODES, [int(value > 0.5) for value in scores], scores, outputs)


def official_table(year, figures):
    return (
        HEADS[year]
        + "\n"
        + ("|" if year == "unofficial" else ",").join(
            f"{float('nan') if figures[key] is None else figures[key]:.3f}"
            for key in metrics.METRICS[year]
            if key != "geometric_mean"
        )
    )


def official_class_table(figures):
    lines = ["Classes," + ",".join(figures["classes"])]
    for name, key in (("AUROC", "auroc_classes"), ("AUPRC", "auprc_classes"), ("F-measure", "f_measure_classes")):
        lines.append(f"{name}," + ",".join("nan" if value is None else f"{value:.3f}" for value in figures[key]))
    return "\n".join(lines)


# -- the golden cases ------------------------------------------------------------------------------


@pytest.mark.parametrize("year", ["2020", "2021", "unofficial"])
def test_golden_cases_are_equal_to_the_last_bit(golden, year, tmp_path, capsys):
    if year == "2021" and not WEIGHTS_2021.is_file():
        pytest.skip(f"needs {WEIGHTS_2021}")
    cases = [(case, json.loads((case / "expected.json").read_text())["expected"]) for case in sorted(golden.iterdir())]
    cases = [(case, expected[year]) for case, expected in cases if year in expected]
    assert cases
    weights = ["--weights", WEIGHTS_2021] if year == "2021" else ["--year", year] if year == "unofficial" else []
    for case, expected in cases:
        arguments = [str(case / "labels"), str(case / "outputs")]
        files = [str(tmp_path / name) for name in ("scores.csv", "classes.csv", "scores.json")]
        code = evaluate_model.main([*arguments, *files[:2], "--json", files[2], *map(str, weights)])
        printed = capsys.readouterr()
        if "error" in expected:
            assert code == 2 and printed.err.count("\n") == 1 and printed.err.startswith("error: "), case.name
            continue
        assert code == 0, case.name
        ours = json.loads(Path(files[2]).read_text())
        for key in expected:
            assert ours[key] == expected[key], (case.name, key)  # floats equal, None where null
        assert Path(files[0]).read_text() == official_table(year, expected), case.name
        if year != "unofficial":
            assert Path(files[1]).read_text() == official_class_table(expected), case.name
        assert evaluate_model.main([*arguments, *map(str, weights)]) == 0
        again = capsys.readouterr().out
        assert again == printed.out + official_table(year, expected) + "\n", case.name


def test_the_published_entry_has_its_published_score(golden, capsys):
    case = golden / "real_entry_7343"
    evaluate_model.main([str(case / "labels"), str(case / "outputs")])
    assert capsys.readouterr().out.endswith("0.825,0.335,0.201,0.343,0.351,0.198,0.343\n")


# -- the organizers' words -------------------------------------------------------------------------


def test_progress_is_printed_as_the_official_scripts_print_it(tidy, table_2021, capsys):
    figures = tidy.run()
    of_2020 = (
        "Loading weights...\nLoading label and output files...\nEvaluating model...\n- AUROC and AUPRC...\n"
        "- Accuracy...\n- F-measure...\n- F-beta and G-beta measures...\n- Challenge metric...\nDone.\n"
    )
    assert capsys.readouterr().out == of_2020 + official_table("2020", figures) + "\n"
    tidy.output("A0003", "")
    tidy.run()
    fault = (
        f"- The output file {tidy.outputs / 'A0003.csv'} has formatting errors, so all outputs are assumed to be "
        "negative for this recording.\n"
    )
    assert capsys.readouterr().out.startswith(of_2020.replace("Evaluating", fault + "Evaluating"))
    fill(tidy, ["A0003"])
    figures = tidy.run("--weights", table_2021)
    of_2021 = of_2020.replace("- F-beta and G-beta measures...\n", "")
    assert capsys.readouterr().out == of_2021 + official_table("2021", figures) + "\n"


def test_unofficial_phase_prints_the_names_in_the_headers(folders, capsys):
    for number in range(4):
        label = int(number % 2 == 0)
        folders.write(f"A{number}", "AF" if label else "Normal", ["AF", "Normal"], [label, 1 - label], [label, 0.3])
    figures = folders.run("--year", "unofficial")
    assert capsys.readouterr().out == "A0\nA1\nA2\nA3\n" + official_table("unofficial", figures) + "\n"
    assert figures["classes"] == ["AF", "Normal"] and figures["geometric_mean"] == 1


# -- reading, against the plain scorer -------------------------------------------------------------

CELLS = st.sampled_from(
    ["0", "1", "1.0", "0.25", " 1", "True", "t", "TRUE", "nan", "-inf", "inf", "abc", "", "1e-3", "2"]
)
ROW = st.lists(CELLS, min_size=1, max_size=4).map(",".join)
NAMES = st.sampled_from(
    ["164889003", "426783006", "713427006", "59118001", "59118001|713427006", "777", " 10370003", ""]
)
CLASS_ROW = st.lists(NAMES, min_size=1, max_size=4).map(",".join)
EXTRA = st.sampled_from(["", "\n", "#note\n", "x\n", "1,2,3\n"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CLASS_ROW, ROW, ROW, EXTRA, st.sampled_from(["\n", "\r\n"])), min_size=1, max_size=4))
def test_odd_output_files_are_read_as_by_the_plain_loops(table_2021, tmp_path, rows):
    folders = Folders(tmp_path)
    texts = []
    for number, (classes, labels, scores, extra, end) in enumerate(rows):
        texts.append(f"#A{number}\n{classes}\n{labels}\n{scores}\n{extra}")
        folders.header(f"A{number}", "#Dx: 426783006\n")
        folders.output(f"A{number}", texts[-1].replace("\n", end))
    for year, weights in (("2020", WEIGHTS), ("2021", table_2021)):
        task = load_task(None, weights)
        classes, _ = plain_scorer.read_weights(weights, year)
        findings = Findings()
        files = find_files(task, folders.labels, folders.outputs, findings)
        names = [f"A{number}" for number in range(len(rows))]
        outputs, scores = read_outputs(task, files, findings)
        for name, text in zip(names, texts):
            place = files.names.index(name)
            try:
                read = plain_scorer.read_output_2020 if year == "2020" else plain_scorer.read_output_2021
                expected = read(text, classes)
            except IndexError:
                assert files.outputs[place] in findings.stops
                expected = [False] * len(classes), [0.0] * len(classes)
            assert outputs[place].tolist() == expected[0], (year, text)
            assert scores[place].tolist() == expected[1], (year, text)
    for path in (*folders.labels.iterdir(), *folders.outputs.iterdir()):
        path.unlink()


def test_many_columns_of_one_class_are_averaged_as_numpy_does(folders, table_2021):
    rng = np.random.default_rng(0)
    rows = rng.random((30, 13)) * 10.0 ** rng.integers(-6, 6, (30, 13))
    for number, row in enumerate(rows):
        folders.write(f"A{number:02d}", "426783006", ["164889003"] * 13, [0] * 13, row.tolist())
    for weights in (WEIGHTS, table_2021):
        task = load_task(None, weights)
        files = find_files(task, folders.labels, folders.outputs, Findings())
        _, scores = read_outputs(task, files, Findings())
        assert scores[:, task.index["164889003"]].tolist() == [np.mean(row.tolist()) for row in rows]


def test_2020_gives_the_lines_dx_to_the_recordings_in_turn(tidy, table_2021, capsys):
    expected = tidy.run()
    tidy.header("A0000", "x\n#Dx: 426783006\n")
    tidy.header("A0001", "x\n#Dx: 164889003\n#Dx: 10370003\n")
    task, labels = labels_of(tidy, WEIGHTS)
    place = task.index
    assert labels[1].nonzero()[0].tolist() == [place["164889003"]]
    assert labels[2].nonzero()[0].tolist() == [place["10370003"]]  # A0002's own line goes to A0003
    tidy.header("A0002", "x\n")
    assert labels_of(tidy, WEIGHTS)[1][2].nonzero()[0].tolist() == [place["10370003"]]
    tidy.run()
    assert "2020 script gives the rest to the next ones: 1 (A0001)" in capsys.readouterr().err
    task, labels = labels_of(tidy, table_2021)  # 2021 takes both for the recording
    assert labels[1].nonzero()[0].tolist() == sorted([task.index["164889003"], task.index["10370003"]])
    assert tidy.run("--weights", table_2021)["findings"]["relabelled"]["first"] == ["A0001"]
    assert expected["recordings"] == 20


def labels_of(folders, weights):
    task = load_task(None, weights)
    return read_labels(task, find_files(task, folders.labels, folders.outputs, Findings()), Findings())


# -- where the official script stops ---------------------------------------------------------------

STOPS = {  # what happens to A0007, in which year, and what the line says
    "no output": (lambda f: (f.outputs / "A0007.csv").unlink(), "both", "outputs/A0007.csv: no output file"),
    "empty output": (lambda f: f.output("A0007", ""), "2021", "outputs/A0007.csv: the file is empty"),
    "three lines": (lambda f: f.output("A0007", "#A0007\n426783006\n1\n"), "2021", "outputs/A0007.csv: 3 lines"),
    "short row": (lambda f: f.output("A0007", "#\n1,426783006\n1\n1,1\n"), "2021", "A0007.csv: 2 classes, but 1 lab"),
    "output not text": (lambda f: f.output("A0007", b"\xff\xfe"), "both", "outputs/A0007.csv: the output file cannot"),
    "header not text": (lambda f: f.header("A0007", b"#Dx: \xff"), "both", "labels/A0007.hea: the header cannot be"),
    "no labels": (lambda f: f.header("A0007", "A0007\n# Rx: 1\n"), "2020", "labels/A0007.hea: no line '#Dx: ...'"),
    "no blank": (lambda f: f.header("A0007", "A0007\n#Dx:1\n"), "2020", "labels/A0007.hea: the line '#Dx' has no ': '"),
}


@pytest.mark.parametrize("fault", STOPS)
@pytest.mark.parametrize("year", ["2020", "2021"])
def test_one_line_says_where_the_official_script_stops_and_lenient_goes_on(tidy, table_2021, capsys, fault, year):
    do, when, text = STOPS[fault]
    weights = WEIGHTS if year == "2020" else table_2021
    do(tidy)
    if when not in ("both", year):
        tidy.run("--weights", weights)
        return
    tidy.run("--weights", weights, code=2)
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and text in printed.err and f"official script of {year} stops" in printed.err
    lenient = tidy.run("--weights", weights, "--lenient")
    assert text in capsys.readouterr().err
    if "labels/" in text:
        fill(tidy, [f"A{number:04d}" for number in range(20)])
        tidy.header("A0007", "#Dx: 1\n")
    else:
        tidy.output("A0007", "#A0007\n426783006\n0\n0\n")
    negative = tidy.run("--weights", weights)
    assert all(lenient[key] == negative[key] for key in metrics.METRICS[year])


@pytest.mark.parametrize(
    "text",
    [
        "#A\nAF\n1\n1\n",
        "#A\nAF,Normal\n1,0\n",
        "#A\nAF,Normal\n1.0,0\n1,0\n",
        "#A\nAF,Normal\n1,0\n1,x\n",
        "#A\nAF,Normal\n1,0\n1\n",
        "\n\n\n\n",
    ],
)
def test_unofficial_script_stops_at_anything_odd(folders, text, capsys):
    folders.write("A1", "AF", ["AF", "Normal"], [1, 0], [1, 0])
    folders.write("A2", "Normal", ["AF", "Normal"], [0, 1], [0.1, 0.5])
    folders.output("A2", text)
    folders.run("--year", "unofficial", code=2)
    assert "outputs/A2.csv: " in capsys.readouterr().err
    folders.run("--year", "unofficial", "--lenient")


def test_unofficial_script_pairs_files_by_order_and_stops_at_other_numbers(folders, capsys):
    for name, output in (("A1", "B1"), ("A2", "B2")):
        folders.header(name, f"{name} 12\n#Dx: {'AF' if name == 'A1' else 'Normal'}\n")
        folders.output(output, f"#\nAF,Normal\n{'1,0' if name == 'A1' else '0,1'}\n0.5,0.5\n")
    assert folders.run("--year", "unofficial")["f_beta_measure"] == 1
    assert "of another name" in capsys.readouterr().err
    folders.output("C3", "#\nAF,Normal\n1,0\n1,0\n")
    folders.run("--year", "unofficial", code=2)
    assert "3 output files for 2 recordings" in capsys.readouterr().err


# -- notes about the files -------------------------------------------------------------------------

ODD = {  # what is done to A0007 in a tidy folder: the kind of finding, and the name said
    "stray": (lambda f: f.output("B0001", "#\n426783006\n1\n1\n"), "B0001.csv"),
    "nested": (lambda f: f.header("deep/B0001", "#Dx: 1\n"), "deep/B0001.hea"),
    "empty": (lambda f: f.output("A0007", "#A0007\n\n\n\n"), "A0007"),
    "short": (lambda f: f.output("A0007", "#A0007\n426783006,1\n1\n1,1\n"), "A0007"),
    "long": (lambda f: f.output("A0007", "#A0007\n426783006\n1\n1\n1\n"), "A0007"),
    "unparsable": (lambda f: f.output("A0007", "#A0007\n426783006\n1\nhigh\n"), "A0007"),
    "range": (lambda f: f.output("A0007", "#A0007\n426783006\n1\n1.5\n"), "A0007"),
    "order": (lambda f: f.output("A0007", "#A0007\n426783006\n1\n0\n"), "A0007"),
    "unknown labels": (lambda f: f.header("A0007", "#Dx: 426783006,1234x\n"), "A0007"),
    "unknown outputs": (lambda f: f.output("A0007", "#A0007\n426783006,1234x\n1,0\n1,0\n"), "A0007"),
}


def test_a_tidy_folder_gives_no_notes(tidy, table_2021, capsys):
    for weights in (WEIGHTS, table_2021):
        assert tidy.run("--strict", "--weights", weights)["findings"] == {}
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_are_counted_and_named_and_strict_makes_them_errors(tidy, kind, capsys):
    do, name = ODD[kind]
    do(tidy)
    findings = tidy.run()["findings"]
    assert findings[kind]["count"] == 1 and findings[kind]["first"] == [name]
    line = [line for line in capsys.readouterr().err.splitlines() if KINDS[kind] in line]
    assert len(line) == 1 and line[0].startswith("note: ") and line[0].endswith(f": 1 ({name})")
    tidy.run("--strict", code=2)
    printed = capsys.readouterr()
    assert HEADS["2020"] in printed.out and printed.err.splitlines()[-1].startswith("error: --strict")


def test_classes_in_no_output_are_named(folders, capsys):
    folders.write("A1", "426783006", CODES[1:], [0] * (len(CODES) - 1), [0] * (len(CODES) - 1))
    assert folders.run()["findings"]["absent"] == {"count": 1, "first": [CODES[0]], "codes": []}
    assert f"note: scored classes that are in no output file: 1 ({CODES[0]})\n" in capsys.readouterr().err


def test_physionets_current_headers_are_read_and_noted(tidy, capsys):
    before = tidy.run()
    for header in tidy.labels.iterdir():
        header.write_text(header.read_text().replace("#Dx", "# Dx"))
    capsys.readouterr()
    after = tidy.run()
    assert "labels stand in '# Dx: ...'" in capsys.readouterr().err
    assert {**after, "findings": {}} == {**before, "findings": {}}


# -- weights and folders ---------------------------------------------------------------------------


def test_year_follows_the_table_unless_given(tidy, table_2021):
    assert tidy.run()["year"] == "2020" and tidy.run("--weights", table_2021)["year"] == "2021"
    twentyseven = tidy.run("--year", "2021")
    assert twentyseven["year"] == "2021" and len(twentyseven["classes"]) == 27


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",a\na,1\n",
        ",426783006,1\n426783006,1,x\n1,1,1\n",
        ",426783006\n1,1\n",
        ",713427006,59118001,426783006\n713427006,1,1,0\n59118001,1,0,0\n426783006,0,0,1\n",
    ],
)
def test_a_broken_weights_table_is_one_line(tidy, text, tmp_path, capsys):
    (tmp_path / "weights.csv").write_text(text)
    tidy.run("--weights", tmp_path / "weights.csv", code=2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"error: {tmp_path / 'weights.csv'}")


@pytest.mark.parametrize(
    "options",
    [
        ["--weights", "nowhere.csv"],
        ["--by-source", "nowhere.csv"],
        ["--by-source"],
        ["--resample-by", "nowhere.csv"],
        ["--compare", "nowhere"],
        ["--json", "nowhere/x.json"],
        ["nowhere/scores.csv"],
    ],
)
def test_what_is_not_there_is_one_line(tidy, options, capsys):
    arguments = [str(tidy.labels), str(tidy.outputs), *options]
    assert evaluate_model.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert evaluate_model.main([str(tidy.labels), str(tidy.labels / "x")]) == 2
    assert evaluate_model.main([str(tidy.outputs), str(tidy.outputs)]) == 2
    assert "no header" in capsys.readouterr().err


def test_subfolders_are_scored_like_one_folder_in_the_same_order(tmp_path):
    names = [f"{source}/g{number % 2}/{source}{number}" for source in "ab" for number in range(8)]
    nested, flat, mixed = (Folders(tmp_path / name) for name in ("nested", "flat", "mixed"))
    fill(nested, sorted(names))
    fill(flat, [name.replace("/", "_") for name in sorted(names)])
    fill(mixed, sorted(names))
    for output in sorted(mixed.outputs.rglob("*.csv")):
        output.rename(mixed.outputs / output.name)
    figures = [folders.run() for folders in (nested, flat, mixed)]
    assert figures[0] == figures[1] == figures[2]


def test_an_output_that_could_be_anyones_is_an_error(folders, capsys):
    fill(folders, ["a/A1", "b/A1"])
    (folders.outputs / "a" / "A1.csv").rename(folders.outputs / "A1.csv")
    (folders.outputs / "b" / "A1.csv").unlink()
    folders.run(code=2)
    assert "A1.csv: cannot tell whether it is the output of b/A1, as there is a/A1 too" in capsys.readouterr().err


# -- sources, intervals, comparison ----------------------------------------------------------------


def test_each_source_has_the_scores_it_has_alone(tmp_path, capsys):
    folders = Folders(tmp_path)
    fill(folders, [f"{source}/{source}{number}" for source in ("georgia", "ptb") for number in range(9)])
    groups = tmp_path / "groups.csv"
    groups.write_text(
        "recording,group\n"
        + "".join(f"{source}{number},{source}\n" for source in ("georgia", "ptb") for number in range(9))
    )
    by_folder, by_table = folders.run("--by-source"), folders.run("--by-source", groups)
    assert by_folder == by_table
    assert evaluate_model.main(["--by-source", str(folders.labels), str(folders.outputs)]) == 0
    printed = capsys.readouterr().out
    for source in ("georgia", "ptb"):
        alone = Folders(tmp_path)
        alone.labels, alone.outputs = folders.labels / source, folders.outputs / source
        alone = alone.run()
        assert {key: by_folder["sources"][source][key] for key in metrics.METRICS["2020"]} == {
            key: alone[key] for key in metrics.METRICS["2020"]
        }
        figures = official_table("2020", alone).split("\n")[1]
        assert f"\n{source},9,score,{figures}\n" in printed
    groups.write_text("georgia1,x\n")
    folders.run("--by-source", groups, code=2)
    assert "no group for georgia/georgia0 and 16 more recordings" in capsys.readouterr().err


def test_intervals_are_printed_seeded_and_in_the_json(tidy, capsys):
    figures = tidy.run("--bootstrap", 50)
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split(",")[:3] for row in rows] == [["all", "20", name] for name in ("score", "2.5 %", "97.5 %")]
    assert set(figures["intervals"]) == {key for key in figures if key in metrics.METRICS["2020"] or "_classes" in key}
    low, high = figures["intervals"]["challenge_metric"]
    assert low < figures["challenge_metric"] < high
    assert tidy.run("--bootstrap", 50) == figures != tidy.run("--bootstrap", 50, "--seed", 1)
    assert figures["resamples"] == {"number": 50, "by": "recording", "seed": 0}


def test_resampling_one_group_of_all_leaves_no_interval(tidy, tmp_path):
    (tmp_path / "patients.csv").write_text("".join(f"A{number:04d},patient\n" for number in range(20)))
    figures = tidy.run("--bootstrap", 20, "--resample-by", tmp_path / "patients.csv")
    for key in metrics.METRICS["2020"]:
        assert figures["intervals"][key] == pytest.approx([figures[key]] * 2)
    by_source = tidy.run("--bootstrap", 20, "--resample-by", "source", "--by-source", tmp_path / "patients.csv")
    assert by_source["intervals"] == figures["intervals"]


def test_comparison_is_the_difference_of_two_scores(tidy, tmp_path, capsys):
    other = tmp_path / "other"
    labels = {path: path.read_bytes() for path in tidy.labels.iterdir()}
    fill(tidy, [f"A{number:04d}" for number in range(20)], seed=1, outputs=other)  # labels of seed 1: outputs of no use
    for path, text in labels.items():
        path.write_bytes(text)
    compared = tidy.run("--compare", other, "--bootstrap", 40)["comparison"]
    first = tidy.run()
    second = Folders(tmp_path)
    second.outputs = other
    second = second.run()
    for key in metrics.METRICS["2020"]:
        assert compared["difference"][key] == first[key] - second[key] and compared["other"][key] == second[key]
    low, high = compared["intervals"]["challenge_metric"]
    assert 0 < low < compared["difference"]["challenge_metric"] < high
    itself = tidy.run("--compare", tidy.outputs, "--bootstrap", 10)["comparison"]
    assert all(itself["intervals"][key] == [0, 0] for key in metrics.METRICS["2020"])
    (other / "A0004.csv").unlink()
    capsys.readouterr()
    tidy.run("--compare", other, code=2)
    assert "other/A0004.csv: no output file" in capsys.readouterr().err


# -- the command -----------------------------------------------------------------------------------


def test_it_starts_anywhere_and_loads_nothing_heavy(tidy, tmp_path):
    command = [sys.executable, ROOT / "evaluate_model.py", tidy.labels, tidy.outputs, "scores.csv", "classes.csv"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "") and run.stdout.endswith("Done.\n")
    assert (tmp_path / "scores.csv").read_text() == official_table("2020", tidy.run())
    heavy = ["torch", "wfdb", "pandas", "scipy", "joblib", "matplotlib"]
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import evaluate_model; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_debug_shows_where_an_error_comes_from(tidy):
    os.remove(tidy.outputs / "A0000.csv")
    run = subprocess.run(
        [sys.executable, ROOT / "evaluate_model.py", tidy.labels, tidy.outputs, "--debug"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and "Traceback" in run.stderr
