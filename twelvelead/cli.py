"""The command line: `twelvelead COMMAND …`, or `python -m twelvelead COMMAND …`; see --help of each command.

This module parses; actions.py does what was asked. Heavy packages are imported by the command that needs them, so that
a wrong argument and `twelvelead recipes` do not wait for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from . import __version__, actions
from . import settings as configuration
from .console import EXIT_CODES, run_command
from .evaluation import options as evaluator
from .examples import EXAMPLES
from .pretrained import named_model

# Settings of a student; all others are those of its teacher.
DISTIL_SETTINGS = (
    *("epochs", "synthetic", "seed", "device", "limit", "time_budget_hours", "jobs", "patients", "tracker"),
    *("labels", "label_field", "classes"),
)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line. argparse offers no other way to leave the usage out than to override."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code; see console.EXIT_CODES."""
    words = evaluator.without_ambiguity(list(sys.argv[1:] if argv is None else argv))
    parser = build_parser()
    arguments = parser.parse_args(words)
    return run_command(f"twelvelead {arguments.command}", lambda: arguments.run(arguments), debug=arguments.debug)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `arguments.run(arguments)` runs the one that was chosen."""
    parser = OneLineParser(
        prog="twelvelead",
        description="12-lead ECG recordings in, cardiac diagnoses out.",
        epilog="`twelvelead COMMAND --help` shows examples of each command. Where a command takes a trained MODEL,\n"
        "`pretrained` is the one that comes with the package.\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"twelvelead {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"examples:{EXAMPLES[name]}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # --debug may be given on either side of the command's name. SUPPRESS keeps the default of this second one from
        # overwriting a --debug before the name.

        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
        command.set_defaults(run=run, parser=command)
        return command

    _add_train_and_classify(add)
    _add_recalibrate(add)
    _add_predict(add)
    _add_evaluate(add)
    _add_report(add)
    _add_experiments(add)
    _add_measure(add)
    _add_tools(add)
    return parser


Add = Callable[[str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def _add_train_and_classify(add: Add) -> None:
    train = add("train", "train an ensemble on a folder of recordings", actions.run_train)
    train.add_argument(
        "data", type=Path, nargs="?", metavar="DATA", help="folder of .hea files with their signals, at any depth"
    )
    train.add_argument("model", type=Path, metavar="MODEL", help="folder to write; a killed run in it is continued")
    train.add_argument(
        "--no-data", action="store_true", help="train on synthetic recordings alone; give MODEL without DATA"
    )
    configuration.add_options(train)
    distil = add("distil", "train one network to the scores of a trained ensemble", actions.run_distil)
    distil.add_argument("teacher", type=named_model, metavar="TEACHER", help="folder of the trained ensemble")
    distil.add_argument("data", type=Path, metavar="DATA", help="folder of recordings to learn from")
    distil.add_argument("model", type=Path, metavar="MODEL", help="folder to write; a killed run in it is continued")
    configuration.add_options(distil, DISTIL_SETTINGS)
    classify = add("classify", "classify a folder of recordings (what driver.py does)", actions.run_classify)
    # MODEL may be left out, so what the first two are is known only when all are counted; see actions.run_classify. An
    # optional first argument would not do: argparse takes it for missing as soon as an option stands before it.
    classify.usage = "twelvelead classify [-h] [--debug] [options] [MODEL] DATA OUTPUTS"
    classify.add_argument(
        "first", type=Path, metavar="MODEL", help="folder that training wrote (the model that comes with the package)"
    )
    classify.add_argument("second", type=Path, metavar="DATA", help="folder of .hea files with their signals")
    classify.add_argument("third", type=Path, nargs="?", metavar="OUTPUTS", help="gets one CSV file for each recording")
    classify.add_argument(
        "--notes", type=Path, metavar="FILE.csv", help="gets recording,note of all recordings that had to be repaired"
    )
    classify.add_argument(
        "--review",
        type=Path,
        metavar="FILE.csv",
        help="gets recording,uncertainty,disagreement,look: how sure the model is, and how far its members differ",
    )
    classify.add_argument(
        "--abstain",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --review: the share of the recordings, 0 to 1, to mark as those that a person should look at (0)",
    )
    configuration.add_options(classify, ("device", "jobs"))


def _add_recalibrate(add: Add) -> None:
    recalibrate = add(
        "recalibrate",
        "make a model write diagnoses as a hospital does, from a few labelled recordings",
        actions.run_recalibrate,
    )
    recalibrate.add_argument(
        "model", type=named_model, metavar="MODEL", help="folder that training wrote; it stays as it is"
    )
    recalibrate.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="the hospital's recordings, with their diagnoses in the headers unless --labels or --label-field is given",
    )
    recalibrate.add_argument("out", type=Path, metavar="OUT", help="new folder for the recalibrated model")
    recalibrate.add_argument(
        "--recordings", type=int, metavar="N", help="use N of them, drawn at random (all that can be used)"
    )
    recalibrate.add_argument(
        "--unlabelled",
        action="store_true",
        help="use no labels, only the class frequencies that the recordings suggest. RISKY: where a hospital does not "
        "write what its patients have, or the model is wrong about its devices, this makes the model worse, unseen",
    )
    evaluator.add_label_options(
        recalibrate,
        "for a model of your own labels: learn from these",
        "of your own labels: what the model's classes are called in them, as in `twelvelead train --classes`",
    )
    configuration.add_options(recalibrate, ("seed", "device", "jobs"))


def _add_predict(add: Add) -> None:
    predict = add("predict", "say what a model finds in one recording, with a table and pictures", actions.run_predict)
    predict.add_argument(
        "recordings",
        type=Path,
        nargs="+",
        metavar="RECORDING",
        help="WFDB header or signal (with or without extension), .mat, CSV, .npy, .npz, EDF, BDF or DICOM",
    )
    predict.add_argument(
        "--model", type=named_model, metavar="MODEL", help="folder that training wrote (the package's model)"
    )
    predict.add_argument("--out", type=Path, metavar="FOLDER", help="gets NAME.json, NAME.csv and NAME.png of each")
    forms = predict.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_const", dest="form", const="json", help="print JSON, not a table")
    forms.add_argument("--csv", action="store_const", dest="form", const="csv", help="print CSV, not a table")
    predict.set_defaults(form="table")
    told = predict.add_argument_group("what the file does not say; nothing is guessed")
    told.add_argument("--frequency-hz", type=float, metavar="HZ", help="samples in one second")
    told.add_argument(
        "--leads", metavar="NAMES", help="in the file's order, as I,II,V1; `standard` for the usual twelve"
    )
    told.add_argument("--unit", choices=("mV", "uV", "adc"), help="of the samples")
    told.add_argument("--adc-per-mv", type=float, metavar="N", help="with --unit adc: how many of them are 1 mV")
    told.add_argument("--age", type=float, metavar="YEARS", help="of the patient")
    told.add_argument("--sex", choices=("female", "male", "unknown"), help="of the patient")
    pictures = predict.add_argument_group("pictures")
    pictures.add_argument("--plot", type=Path, metavar="PICTURE", help="a .png, .pdf or .svg file to write")
    pictures.add_argument("--layout", choices=("3x4", "12x1"), default="3x4", help="of the ECG sheet (3x4)")
    pictures.add_argument("--start", type=float, default=0.0, metavar="S", help="second at which the sheet begins (0)")
    pictures.add_argument("--explain", metavar="CLASS", help="show where the score of a class comes from, such as PVC")
    configuration.add_options(predict, ("device",))


def _add_evaluate(add: Add) -> None:
    evaluate = add("evaluate", "score outputs as the organizers do (what evaluate_model.py does)", actions.run_evaluate)
    evaluator.add_options(evaluate)


def _add_report(add: Add) -> None:
    report = add("report", "show how well outputs agree with labels, as one page of HTML", actions.run_report)
    report.add_argument("labels", type=Path, metavar="LABELS", help="folder of headers, or of folders of them")
    report.add_argument("outputs", type=Path, metavar="OUTPUTS", help="folder of outputs, one CSV file for each header")
    report.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="the page to write")
    report.add_argument(
        "--model", type=named_model, metavar="MODEL", help="folder of the model whose thresholds are shown"
    )
    report.add_argument("--data", type=Path, metavar="DATA", help="folder with the signals, if they are not in LABELS")
    report.add_argument("--compare", type=Path, metavar="OTHER_OUTPUTS", help="outputs of another run to compare with")
    report.add_argument(
        "--by-source", type=Path, metavar="CSV", help="recording,group of the sources (by default folders in LABELS)"
    )
    evaluator.add_label_options(
        report, "report on your own labels", "of your own labels: which are shown, by default those that outputs have"
    )
    report.add_argument("--year", choices=evaluator.YEARS, help="whose rules and metrics (the weights table's)")
    report.add_argument("--weights", type=Path, metavar="FILE", help="the Challenge's weights table (our weights.csv)")
    report.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the 95 %% intervals (1000)")
    report.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples (0)")
    report.add_argument("--mistakes", type=int, default=8, metavar="N", help="recordings shown as ECG sheets (8)")


def _add_experiments(add: Add) -> None:
    """The commands that compare recipes on the same splits. They differ in one option, whose value is `argument`."""
    folds = add("crossval", "compare recipes by cross-validation", actions.run_experiment)
    folds.add_argument("--folds", dest="argument", type=int, default=5, metavar="K", help="number of folds (5)")
    sources = add(
        "leave-one-source-out", "compare recipes on each source, trained on the others", actions.run_experiment
    )
    sources.add_argument(
        "--pool-below",
        dest="argument",
        type=int,
        default=0,
        metavar="N",
        help="sources with fewer recordings are taken together as one, called small",
    )
    groups = add("holdout", "compare recipes on given test recordings, trained on the others", actions.run_experiment)
    groups.add_argument(
        "--test-groups",
        dest="argument",
        type=Path,
        required=True,
        metavar="CSV",
        help="recording,group of the recordings to test; the group 'unused' is neither tested nor trained on",
    )
    for command in (folds, sources, groups):
        command.add_argument("data", type=Path, metavar="DATA", help="folder of recordings")
        command.add_argument("out", type=Path, metavar="OUT", help="folder to write; a killed run in it is continued")
        command.add_argument(
            "--recipe",
            dest="recipes",
            action="append",
            metavar="NAME",
            help="system to train; give the option once for each (TWELVELEAD_RECIPE)",
        )
        left_out = ("recipe", "tracker", *configuration.ONLY_TRAINING)
        configuration.add_options(command, (name for name in configuration.FIELDS if name not in left_out))
        command.add_argument(
            "--parameters",
            type=int,
            metavar="N",
            help="instead of --width: each network as wide as N parameters allow, at most as published",
        )
        command.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the 95 %% intervals (1000)")
        command.add_argument("--discard-models", action="store_true", help="delete a model once its scores are written")


def _add_measure(add: Add) -> None:
    measure = add(
        "measure", "score a model on recordings it has not learned from, and fill its model card", actions.run_measure
    )
    measure.add_argument("model", type=named_model, metavar="MODEL", help="folder that training wrote")
    measure.add_argument("data", type=Path, metavar="DATA", help="folder of labelled recordings")
    measure.add_argument(
        "--experiment",
        dest="experiments",
        type=Path,
        action="append",
        default=[],
        metavar="OUT",
        help="folder of a finished experiment of the same recipe, for the card too; once for each",
    )
    measure.add_argument(
        "--table",
        dest="tables",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.md",
        help="Markdown for the card too, as benchmarks/robustness.py writes it; once for each",
    )
    measure.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the 95 %% intervals (1000)")
    evaluator.add_label_options(
        measure,
        "for a model of your own labels: measure by these",
        "of your own labels: what the model's classes are called in them, as in `twelvelead train --classes`",
    )
    configuration.add_options(measure, ("seed", "device", "jobs", "patients"))


def _add_tools(add: Add) -> None:
    preflight = add(
        "preflight", "try a submission under the organizers' scripts and limits, in minutes", actions.run_preflight
    )
    preflight.add_argument("data", type=Path, nargs="?", metavar="DATA", help="recordings (synthetic ones by default)")
    preflight.add_argument("--submission", type=Path, metavar="FOLDER", help="folder with team_code.py (this one)")
    preflight.add_argument("--docker", action="store_true", help="build the submission's image and run in it")
    preflight.add_argument("--minutes", type=float, default=1.0, metavar="N", help="budget of each training (1)")
    export = add(
        "export", "write a trained model as an ONNX file, and compare the file with the model", actions.run_export
    )
    export.add_argument("model", type=named_model, metavar="MODEL", help="folder that training wrote")
    export.add_argument("file", type=Path, metavar="OUT.onnx", help="file to write; docs/export.md says how to use it")
    completion = add(
        "completion", "print a script with which a shell completes commands and options", actions.run_completion
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh")
    add("recipes", "list the systems that can be trained", actions.run_recipes)
    synthesize = add("synthesize", "make synthetic recordings of one or more made-up hospitals", actions.run_synthesize)
    synthesize.add_argument("folder", type=Path, metavar="FOLDER", help="gets a folder for each hospital")
    synthesize.add_argument("--hospitals", metavar="NAMES", help="names, separated by commas; all of them by default")
    synthesize.add_argument("--count", type=int, default=100, metavar="N", help="recordings of each hospital (100)")
    synthesize.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (0)")
    draw = add("draw", "draw a recording as a 12-lead ECG sheet", actions.run_draw)
    draw.add_argument("header", type=Path, metavar="HEADER", help="a .hea file")
    draw.add_argument("picture", type=Path, metavar="PICTURE", help="a .png, .svg or .pdf file to write")
    draw.add_argument("--layout", choices=("3x4", "12x1"), default="3x4", help="rows by columns of leads (3x4)")
    draw.add_argument("--start", type=float, default=0.0, metavar="S", help="second at which the sheet begins (0)")
