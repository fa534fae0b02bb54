"""The files of a comparison: results.json, a CSV file of each table, and table.md.

write_results(OUT, {**compare(…), "settings": …, "splits": …, "recipes": …})
"""

from __future__ import annotations

import csv
import math
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluation import metrics
from ..files import json_ready, replace_file, write_json
from .compare import ALL, ANNOTATED, MAIN, UNSEEN

NAMES = {**metrics.METRICS["2020"], **metrics.METRICS["unofficial"]}


def write_results(out: Path, results: dict[str, Any]) -> None:
    """Writes results.json, a CSV of each of the tables of `compare`, and table.md.

    Parameters
    ----------
    results : dict
        What `compare` returns, and everything else that results.json is to hold: "settings", "splits", "recipes", ….

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    try:
        write_json(out / "results.json", json_ready(results))
        for name in ("scores_by_fold", "scores_by_source", "scores_by_class", "differences"):
            replace_file(out / f"{name}.csv", partial(_write_csv, results[name]))
        replace_file(out / "table.md", lambda path: path.write_text(as_markdown(results), encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{out}: the results cannot be written ({error.strerror or error})") from None


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes one table. A figure takes three columns: its value, and the ends of its interval as …_low and …_high.

    A figure that is undefined leaves its cells empty.
    """
    flat = []
    for row in rows:
        cells: dict[str, Any] = {}
        for name, value in json_ready(row).items():
            cells |= (
                {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
                if isinstance(value, dict)
                else {name: value}
            )
        flat.append(cells)
    columns = dict.fromkeys(name for cells in flat for name in cells)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)


def as_markdown(results: dict[str, Any]) -> str:
    """The main figures as Markdown tables, with a line that says what was compared and at which budget."""
    by_fold, by_source = _by_part(results, "fold"), _by_part(results, "source")
    everything = by_source["2020"][ALL]
    sections = [_heading(results, everything), _main_table(results["recipes"], everything)]
    main = NAMES[MAIN["2020"]]
    if by_fold["2020"].keys() != by_source["2020"].keys():
        sections += [f"{main} by fold:", _part_table("fold", by_fold["2020"])]
    sections += [f"{main} by source:", _part_table("source", by_source["2020"])]
    sections += [f"{main} on the classes that the source annotates:", _part_table("source", by_source[ANNOTATED])]
    sections += [
        "Labels for each recording, as annotated and as each recipe writes them, with the F-measure of sinus rhythm:",
        _convention_table(by_source["2020"]),
    ]
    if "unofficial" in by_source:
        sections += [
            "Recipes for the nine classes of the unofficial phase, by its metrics, on the recordings that have one of "
            "the nine (above, such a recipe says no to every class that it does not know):",
            _nine_class_table(by_source["unofficial"][ALL]),
        ]
    if len(results["recipes"]) > 1:
        sections += ["Paired differences:", _difference_table(results["differences"])]
    return "\n\n".join(sections) + "\n"


def _main_table(recipes: dict[str, Any], rows: dict[str, dict]) -> str:
    head = ["recipe", "parameters", "members", "epochs", "minutes", *(NAMES[metric] for metric in _SHOWN)]
    cells = [[name, *_costs(recipes[name]), *(cell(row[metric]) for metric in _SHOWN)] for name, row in rows.items()]
    return markdown_table(head, cells)


def _part_table(kind: str, parts: dict[str, dict[str, dict]]) -> str:
    """The main metric of every recipe in each fold or source."""
    first_part = next(iter(parts.values()))
    cells = [
        [name, next(iter(rows.values()))["recordings"], *(cell(row[MAIN["2020"]]) for row in rows.values())]
        for name, rows in parts.items()
    ]
    return markdown_table([kind, "recordings", *first_part], cells)


def _convention_table(parts: dict[str, dict[str, dict]]) -> str:
    """Labels for each recording, and the F-measure of sinus rhythm, of every recipe in each source."""
    cells = []
    for name, rows in parts.items():
        row = next(iter(rows.values()))
        of_recipes = [f"{row['labels_written']:.2f}, F {cell(row['sinus_rhythm_f'])}" for row in rows.values()]
        cells.append([name, row["recordings"], f"{row['labels_annotated']:.2f}", *of_recipes])
    return markdown_table(["source", "recordings", "annotated", *next(iter(parts.values()))], cells)


def _nine_class_table(rows: dict[str, dict]) -> str:
    cells = [[name, row["recordings"], *(cell(row[metric]) for metric in _SHOWN_NINE)] for name, row in rows.items()]
    return markdown_table(["recipe", "recordings", "F2", "G2", "√(F2·G2)"], cells)


def class_table(results: dict[str, Any]) -> str:
    """AUROC, AUPRC and F-measure of each class that a recipe knows and that occurs, with intervals, as Markdown."""
    head = ["recipe", "class", "recordings", *(NAMES[metric] for metric in _SHOWN_BY_CLASS)]
    cells = [
        [row["recipe"], row["class"], row["recordings"], *(cell(row[metric]) for metric in _SHOWN_BY_CLASS)]
        for row in results["scores_by_class"]
        if row["metrics"] == "2020" and row["known"] and row["recordings"]
    ]
    return markdown_table(head, cells)


def _difference_table(differences: list[dict[str, Any]]) -> str:
    cells = [
        [
            f"{row['recipe']} − {row['minus']}",
            row["source"],
            NAMES[row["metric"]] + _OF[row["metrics"]],
            cell(row["difference"], "+.3f"),
        ]
        for row in differences
        if row["source"] in (ALL, UNSEEN) and not (row["metrics"] == ANNOTATED and row["metric"] == "auroc")
    ]
    return markdown_table(["recipes", "recordings", "metric", "difference"], cells)


_OF = {"2020": "", ANNOTATED: " (annotated classes)", "unofficial": " (nine classes)"}
_SHOWN = ("challenge_metric", "auroc", "auprc", "f_measure")
_SHOWN_BY_CLASS = ("auroc", "auprc", "f_measure")
_SHOWN_NINE = ("f_beta_measure", "g_beta_measure", "geometric_mean")


def _heading(results: dict[str, Any], everything: dict[str, dict]) -> str:
    experiment, resampling = results["experiment"], results["resampling"]
    arguments = "".join(f" {name} {value}" for name, value in experiment.items() if isinstance(value, int))
    budget = ", ".join(f"{name} {value}" for name, value in results["budget"].items() if value is not None)
    tested = next(iter(everything.values()))["recordings"]
    return (
        f"`{experiment['command']}`{arguments}, {tested} recordings tested, each recipe at "
        + (f"the same budget ({budget}), what is not named as published" if budget else "its published budget")
        + f", seed {results['seed']}. In brackets: 95 % intervals from {resampling['resamples']} resamples of the "
        f"{resampling['unit']}. Minutes: all epochs of all members, one after another."
    )


def _by_part(results: dict[str, Any], kind: str) -> dict[str, dict[str, dict[str, dict]]]:
    """Metrics → fold or source → recipe → row."""
    parts: dict[str, dict[str, dict[str, dict]]] = {}
    for row in results[f"scores_by_{kind}"]:
        parts.setdefault(row["metrics"], {}).setdefault(row[kind], {})[row["recipe"]] = row
    return parts


def _costs(recipe: dict[str, Any]) -> list[str]:
    """Cells of the table: parameters of a network, members of a model, epochs of a member, and minutes of all epochs.

    Members and epochs are a range if the splits differ.
    """
    runs = recipe["splits"].values()
    members = [len(run["epochs"]) for run in runs]
    epochs = [done for run in runs for done in run["epochs"].values()]
    spans = ["–".join(map(str, sorted({min(counts), max(counts)}))) for counts in (members, epochs)]
    return [f"{recipe['parameters']:,}", *spans, f"{sum(run['timing']['epoch_seconds'] for run in runs) / 60:.1f}"]


def cell(figure: dict[str, float], form: str = ".3f") -> str:
    if any(math.isnan(value) for value in figure.values()):
        return "undefined"
    return f"{figure['value']:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"


def markdown_table(head: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, ["---"] * len(head), *rows))
