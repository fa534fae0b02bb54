"""The command line: `python -m twelvelead COMMAND …`; see --help of each command."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from . import commands
from .console import run_command
from .errors import UserError
from .settings import TYPES, Settings, checked, from_environment

SETTINGS_HELP = {
    "recipe": "name of the system to train; `recipes` lists them",
    "members": "members of the ensemble",
    "epochs": "epochs a member; the schedule is scaled to it",
    "width": "filters of the network's first level",
    "seed": "seed of everything random",
    "device": "auto, cpu, cuda or cuda:1",
    "limit": "train on so many of the recordings, chosen at random",
    "time_budget_hours": "training ends before that",
    "jobs": "processes that read recordings; -1 for every core",
    "workers": "processes that train members; by default one a core, or one a GPU",
    "patients": "CSV of recording,patient",
    "weights": "weights table to train for (weights.csv by default)",
}


def _add_settings(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    for name in names:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=TYPES.get(name, str),
            default=None,
            help=f"{SETTINGS_HELP[name]} (TWELVELEAD_{name.upper()})",
        )


def _settings(arguments: argparse.Namespace) -> Settings:
    """Environment variables, overridden by the options given."""
    given = {name: value for name, value in vars(arguments).items() if name in SETTINGS_HELP and value is not None}
    return checked(dataclasses.replace(from_environment(), **given))


def _train(arguments) -> int:
    commands.train(arguments.data, arguments.model, _settings(arguments))
    return 0


def _classify(arguments) -> int:
    return commands.classify(
        arguments.model, arguments.data, arguments.outputs, _settings(arguments), notes=arguments.notes
    )


def _preflight(arguments) -> int:
    from .preflight.run import preflight

    return preflight(arguments.data, arguments.submission, docker=arguments.docker, minutes=arguments.minutes)


def _recipes(arguments) -> int:
    from .recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:<12} {recipe.summary}")
    return 0


def _experiment(arguments) -> int:
    settings = _settings(arguments)
    commands.experiment(
        arguments.command,
        arguments.argument,
        arguments.data,
        arguments.out,
        arguments.recipes or [settings.recipe],
        settings,
        parameters=arguments.parameters,
        resamples=arguments.resamples,
        discard_models=arguments.discard_models,
    )
    return 0


def _synthesize(arguments) -> int:
    from .synthetic import HOSPITALS, write_hospital

    hospitals = arguments.hospitals.split(",") if arguments.hospitals else list(HOSPITALS)
    for hospital in hospitals:
        if hospital not in HOSPITALS:
            raise UserError(f"unknown hospital '{hospital}'; there are: {', '.join(HOSPITALS)}")
    for hospital in hospitals:
        folder = arguments.folder / hospital
        headers = write_hospital(folder, hospital, arguments.count, arguments.seed)
        print(f"{len(headers)} synthetic recordings in {folder}")
    return 0


def _draw(arguments) -> int:
    from .data.recording import read_recording
    from .plots.ecg_sheet import draw

    draw(read_recording(arguments.header), arguments.picture)
    return 0


def _add_experiment(actions, debug, command: str, summary: str, option: str, **how) -> None:
    """One of the commands that compare recipes; they differ in one option."""
    parser = actions.add_parser(command, parents=[debug], help=summary)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT", help="started again with the same OUT, a killed run goes on")
    parser.add_argument(option, dest="argument", **how)
    parser.add_argument(
        "--recipe",
        dest="recipes",
        action="append",
        metavar="RECIPE",
        help="system to train; give it once for each (TWELVELEAD_RECIPE)",
    )
    _add_settings(parser, tuple(name for name in SETTINGS_HELP if name != "recipe"))
    parser.add_argument(
        "--parameters",
        type=int,
        metavar="N",
        help="networks as wide as N parameters allow, at most as published; instead of --width",
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the 95 %% intervals (1000)")
    parser.add_argument("--discard-models", action="store_true", help="delete each model once its scores are written")
    parser.set_defaults(run=_experiment)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m twelvelead", description="ECG recordings in, diagnoses out.")
    # on both sides of the command's name; the command's own default must not undo what stood before it
    debug = argparse.ArgumentParser(add_help=False)
    debug.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    actions = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = actions.add_parser("train", parents=[debug], help="train an ensemble on a folder of recordings")
    train.add_argument("data", type=Path, metavar="DATA")
    train.add_argument("model", type=Path, metavar="MODEL")
    _add_settings(train, tuple(SETTINGS_HELP))
    train.set_defaults(run=_train)

    classify = actions.add_parser(
        "classify", parents=[debug], help="classify a folder of recordings (what driver.py does)"
    )
    for name in ("model", "data", "outputs"):
        classify.add_argument(name, type=Path, metavar=name.upper())
    classify.add_argument("--notes", type=Path, metavar="FILE.csv", help="recording,note of all repaired recordings")
    _add_settings(classify, ("device", "jobs"))
    classify.set_defaults(run=_classify)

    _add_experiment(
        actions,
        debug,
        "crossval",
        "compare recipes by cross-validation",
        "--folds",
        type=int,
        default=5,
        metavar="K",
        help="number of folds (5)",
    )
    _add_experiment(
        actions,
        debug,
        "leave-one-source-out",
        "compare recipes on each source, trained on the others",
        "--pool-below",
        type=int,
        default=0,
        metavar="N",
        help="sources of fewer recordings are one, called small",
    )
    _add_experiment(
        actions,
        debug,
        "holdout",
        "compare recipes on given test recordings, trained on the others",
        "--test-groups",
        type=Path,
        required=True,
        metavar="CSV",
        help="recording,group of those to test; the group 'unused' is neither tested nor trained on",
    )

    preflight = actions.add_parser(
        "preflight", parents=[debug], help="try a submission under the organizers' scripts and limits, in minutes"
    )
    preflight.add_argument("data", type=Path, nargs="?", metavar="DATA", help="recordings (synthetic ones by default)")
    preflight.add_argument("--submission", type=Path, metavar="FOLDER", help="folder with team_code.py (this one)")
    preflight.add_argument("--docker", action="store_true", help="build the submission's image and run in it")
    preflight.add_argument("--minutes", type=float, default=1.0, metavar="N", help="budget of each training (1)")
    preflight.set_defaults(run=_preflight)

    recipes = actions.add_parser("recipes", parents=[debug], help="list the systems that can be trained")
    recipes.set_defaults(run=_recipes)

    synthesize = actions.add_parser(
        "synthesize", parents=[debug], help="make synthetic recordings of one or more made-up hospitals"
    )
    synthesize.add_argument("folder", type=Path, metavar="FOLDER")
    synthesize.add_argument("--hospitals", help="names, separated by commas; all of them by default")
    synthesize.add_argument("--count", type=int, default=100, help="recordings a hospital (100)")
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.set_defaults(run=_synthesize)

    draw = actions.add_parser("draw", parents=[debug], help="draw a recording as a 12-lead ECG sheet")
    draw.add_argument("header", type=Path, metavar="HEADER")
    draw.add_argument("picture", type=Path, metavar="PICTURE.png")
    draw.set_defaults(run=_draw)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code. A fault of the user's is one line, a traceback comes with --debug only."""
    arguments = build_parser().parse_args(argv)
    return run_command(f"twelvelead {arguments.command}", lambda: arguments.run(arguments), debug=arguments.debug)
