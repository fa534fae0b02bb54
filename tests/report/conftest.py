"""Labels of synthetic recordings, outputs of two made-up systems for them, and a page as a tree of elements."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import OWN_NAMES

from twelvelead.data.classes import OUTPUT_CODES, WEIGHTS, load_weights, scored_classes
from twelvelead.data.folders import find_recordings
from twelvelead.data.header import read_header
from twelvelead.data.label_tables import read_label_table
from twelvelead.data.own_labels import written
from twelvelead.evaluation.options import LabelSource
from twelvelead.report.inputs import Request

CLASSES = scored_classes(load_weights(WEIGHTS))
VOID = {"meta", "br", "img", "input", "link", "hr"}


def write_outputs(labels: Path, outputs: Path, skill: float, seed: int) -> Path:
    """Outputs of a system whose scores are the higher for positives the more skill it has."""
    rng = np.random.default_rng(seed)
    for header in find_recordings(labels):
        truth = CLASSES.labels([read_header(header).codes])[0]
        scores = 1 / (1 + np.exp(-(rng.normal(-3, 1.2, truth.shape) + skill * truth)))
        row = scores.round(4), (scores >= 0.5).astype(int)
        write_row(outputs / header.relative_to(labels).with_suffix(".csv"), *row)
    return outputs


def write_row(path: Path, scores: np.ndarray, decided: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = OUTPUT_CODES, CLASSES.as_output(decided, 0), CLASSES.as_output(scores, 0.0)
    path.write_text("\n".join([f"#{path.stem}", *(",".join(map(str, row)) for row in rows)]) + "\n")


@pytest.fixture(scope="session")
def case(tmp_path_factory, hospital) -> Request:
    """A request for the page of 48 recordings of two hospitals, compared with a worse system."""
    folder = tmp_path_factory.mktemp("report")
    return Request(
        labels=hospital,
        outputs=write_outputs(hospital, folder / "outputs", 4.5, seed=1),
        compare=write_outputs(hospital, folder / "other", 3.0, seed=2),
        out=folder / "report.html",
        resamples=60,
        mistakes=3,
    )


def write_own_outputs(labels: Path, outputs: Path, table: Path, seed: int, unknown: float = 0.7) -> Path:
    """Outputs for the classes of `labels_csv`; `unknown` is the score of every cell that the table leaves empty."""
    cells, rng = read_label_table(table).cells, np.random.default_rng(seed)
    for header in find_recordings(labels):
        of_recording = cells[header.relative_to(labels).with_suffix("").as_posix()]
        noise = rng.normal(-1, 1.5, len(OWN_NAMES))
        scores = [
            unknown if cell == "?" else 1 / (1 + np.exp(-(x + 2.5 * (cell == "1"))))
            for cell, x in zip(of_recording, noise)
        ]
        path = outputs / header.relative_to(labels).with_suffix(".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [[written(name) for name in OWN_NAMES], [int(x >= 0.5) for x in scores], np.round(scores, 4)]
        path.write_text("\n".join([f"#{path.stem}", *(",".join(map(str, row)) for row in rows)]) + "\n")
    return outputs


@pytest.fixture(scope="session")
def own_case(tmp_path_factory, hospital, labels_csv) -> Request:
    """A request for the page of the 48 recordings' own labels; some are unknown, and one recording is altogether."""
    folder = tmp_path_factory.mktemp("own_report")
    return Request(
        labels=hospital,
        outputs=write_own_outputs(hospital, folder / "outputs", labels_csv, seed=1),
        out=folder / "report.html",
        resamples=40,
        mistakes=2,
        own=LabelSource(str(labels_csv)),
    )


class Element:
    """An element of a page: its name, attributes, children and the text of all of them."""

    def __init__(self, name: str, attributes: dict[str, str]):
        self.name, self.attributes = name, attributes
        self.children: list[Element] = []
        self.parts: list[str | Element] = []

    @property
    def text(self) -> str:
        """With single blanks; what is hidden from everyone but screen readers is part of it."""
        return " ".join("".join(part if isinstance(part, str) else f" {part.text} " for part in self.parts).split())

    def all(self, name: str | None = None, **attributes: str) -> list[Element]:
        """Elements below this one, in the order of the page; `class_` asks for one of several classes."""
        wanted = [
            child
            for child in self.children
            if (name in (None, child.name))
            and all(
                value in child.attributes.get(key.rstrip("_"), "").split()
                if key == "class_"
                else child.attributes.get(key) == value
                for key, value in attributes.items()
            )
        ]
        below = [each for child in self.children for each in child.all(name, **attributes)]
        order = {id(each): place for place, each in enumerate(self._walk())}
        return sorted([*wanted, *below], key=lambda each: order[id(each)])

    def _walk(self):
        for child in self.children:
            yield child
            yield from child._walk()

    def rows(self) -> list[list[str]]:
        """The cells of a table's body, as text."""
        body = [row for part in self.all("tbody") for row in part.children]
        return [[cell.text for cell in row.children if cell.name in ("td", "th")] for row in body]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, name, attributes):
        element = Element(name, {key: value or "" for key, value in attributes})
        self.open[-1].children.append(element)
        self.open[-1].parts.append(element)
        if name not in VOID:
            self.open.append(element)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        if name not in VOID:
            self.open.pop()

    def handle_endtag(self, name):
        assert self.open[-1].name == name, f"</{name}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, text):
        self.open[-1].parts.append(text)


def parsed(html: str) -> Element:
    """The tree of a page; every element must be closed where it was opened."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.open == [parser.root]
    return parser.root
