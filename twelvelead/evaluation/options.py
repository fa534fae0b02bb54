"""The evaluator's command-line options, the same for evaluate_model.py and for `twelvelead evaluate`.

The options that name labels of the user's own are also those of other commands:

    add_label_options(parser, "score your own labels")
    check_label_options(parser, arguments)
    labels = label_source(arguments)                 # evaluation/own_labels.py reads it

This module imports no numpy, so that the number of its threads can still be set once the command is known.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

YEARS = ("2020", "2021", "unofficial")  # whose rules and metrics there are: the keys of metrics.METRICS
DESCRIPTION = (
    "Scores outputs as the organizers' scripts of 2020 and 2021 do, to the last bit, and says what is wrong with files."
)
DEFAULT_RESAMPLES = 1000  # of --compare


@dataclass(frozen=True)
class LabelSource:
    """Where labels of the user's own are read. Without a table and a field, the diagnoses in the headers are meant.

    Attributes
    ----------
    table : str or None
        Path of a CSV file, as `twelvelead train --labels` reads it.
    field : str or None
        Comment field of the headers, in place of a file.
    classes : str or None
        Which of the labels are meant, and what the classes are called; all of them by default.
    """

    table: str | None = None
    field: str | None = None
    classes: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether labels of the user's own are meant."""
        return bool(self.table or self.field)


def add_label_options(parser: argparse._ActionsContainer, purpose: str, classes: str) -> None:
    """Adds --labels, --label-field and --classes.

    Parameters
    ----------
    purpose : str
        What the command does with the labels, as its help says it.
    classes : str
        Help text of --classes.
    """
    add = parser.add_argument
    add("--labels", dest="label_table", metavar="CSV", help=f"{purpose}, as in `twelvelead train --labels`")
    add("--label-field", metavar="NAME", help=f"{purpose}, as in `twelvelead train --label-field`")
    add("--classes", metavar="LIST", help=classes)


def check_label_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Checks --labels, --label-field and --classes against each other. A fault ends through `parser.error`."""
    if options.label_table and options.label_field:
        parser.error("--labels and --label-field: give one of them")
    if options.classes and not label_source(options).is_given:
        parser.error("--classes: it is for your own labels; give --labels or --label-field too")


def check_no_challenge_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuses --year and --weights beside labels of the user's own. A fault ends through `parser.error`."""
    if label_source(options).is_given and (options.year or options.weights):
        parser.error("--year and --weights are the Challenge's; leave them out with --labels and --label-field")


def label_source(options: argparse.Namespace) -> LabelSource:
    """What the options that `add_label_options` adds say."""
    return LabelSource(options.label_table, options.label_field, options.classes)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds every option but --debug."""
    add = parser.add_argument
    add("labels", metavar="LABELS", help="folder of headers, or of folders of them")
    add("outputs", metavar="OUTPUTS", help="folder of outputs, one CSV file for each header")
    add("scores", metavar="SCORES.csv", nargs="?", help="write the scores here instead of printing them")
    add("class_scores", metavar="CLASS_SCORES.csv", nargs="?", help="write the scores of each class here")
    add("--year", choices=list(YEARS), help="whose rules and metrics; by default the weights table's year")
    add("--weights", metavar="FILE", help="the Challenge's weights table of 2020 or 2021; by default our weights.csv")
    add(
        "--by-source",
        nargs="?",
        const="folder",
        metavar="CSV",
        help="scores of each source, too: each folder in LABELS, or each group of a CSV file of recording,group",
    )
    add("--bootstrap", type=int, default=0, metavar="N", help="95 %% intervals of every metric, from N resamples")
    add(
        "--resample-by",
        default="recording",
        metavar="WHAT",
        help="what is drawn: recording (default), source, or the groups of a CSV file of recording,group",
    )
    add("--seed", type=int, default=0, help="of the resamples (default 0)")
    add(
        "--compare",
        metavar="OTHER_OUTPUTS",
        help="differences of OUTPUTS from these, with intervals from paired resamples "
        f"({DEFAULT_RESAMPLES} unless --bootstrap says)",
    )
    add_label_options(
        parser, "score your own labels", "of your own labels: which are scored, by default those that outputs have"
    )
    add("--json", metavar="FILE", help="write everything here, at full precision and with undefined values as null")
    add("--strict", action="store_true", help="exit with code 2 if there is anything to note about the files")
    add(
        "--lenient",
        action="store_true",
        help="where the official script would stop at a recording, take it as all-negative and go on",
    )


def without_ambiguity(arguments: list[str]) -> list[str]:
    """The arguments with `--by-source=folder` for a bare --by-source before a folder, which then is LABELS.

    The value of --by-source is optional, so argparse would take the folder for it.
    """
    return [
        "--by-source=folder" if argument == "--by-source" and os.path.isdir(following) else argument
        for argument, following in zip(arguments, [*arguments[1:], ""])
    ]


def complete(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.Namespace:
    """Checks the options against each other and fills in what one implies. A fault ends through `parser.error`."""
    if options.bootstrap < 0:
        parser.error("--bootstrap: a number of resamples cannot be negative")
    if options.compare and not options.bootstrap:
        options.bootstrap = DEFAULT_RESAMPLES
    check_label_options(parser, options)
    check_no_challenge_options(parser, options)
    if options.resample_by == "source" and not options.by_source:
        parser.error("--resample-by source: say with --by-source what the sources are")
    return options
