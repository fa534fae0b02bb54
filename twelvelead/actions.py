"""What each command of the command line does with its parsed arguments; returns the exit code.

commands.py and the modules named here do the work. They are imported by the command that needs them, since they import
heavy packages.
"""

from __future__ import annotations

import argparse
import os

from . import settings as configuration
from .errors import UserError
from .evaluation import options as evaluator
from .pretrained import default_model, named_model


def run_train(arguments: argparse.Namespace) -> int:
    from . import commands

    if arguments.no_data != (arguments.data is None):
        raise UserError("give DATA and MODEL, or MODEL with --no-data")
    commands.train(arguments.data, arguments.model, configuration.from_options(arguments))
    return 0


def run_distil(arguments: argparse.Namespace) -> int:
    from . import commands

    settings = configuration.from_options(arguments)
    commands.distil(arguments.teacher, arguments.data, arguments.model, settings)
    return 0


def run_classify(arguments: argparse.Namespace) -> int:
    from . import commands

    first, second, third = arguments.first, arguments.second, arguments.third
    model, data, outputs = (named_model(first), second, third) if third else (default_model(), first, second)
    settings = configuration.from_options(arguments)
    if not 0 <= arguments.abstain <= 1:
        raise UserError(f"--abstain {arguments.abstain:g}: a share is a number from 0 to 1")
    if arguments.abstain and arguments.review is None:
        raise UserError("--abstain marks recordings in the file of --review FILE.csv; name one")
    return commands.classify(model, data, outputs, settings, arguments.notes, arguments.review, arguments.abstain)


def run_recalibrate(arguments: argparse.Namespace) -> int:
    evaluator.check_label_options(arguments.parser, arguments)
    from .recalibration.recalibrate import recalibrate
    from .terminal import say

    settings = configuration.from_options(arguments)
    recalibrate(
        arguments.model,
        arguments.data,
        arguments.out,
        recordings=arguments.recordings,
        unlabelled=arguments.unlabelled,
        own=evaluator.label_source(arguments),
        seed=settings.seed,
        device=configuration.find_device(settings.device),
        jobs=settings.jobs,
        log=say,
    )
    return 0


def run_predict(arguments: argparse.Namespace) -> int:
    from .formats.told import Told
    from .prediction.command import Request, predict

    leads = None if arguments.leads is None else tuple(name.strip() for name in arguments.leads.split(","))
    told = Told(arguments.frequency_hz, leads, arguments.unit, arguments.adc_per_mv, arguments.age, arguments.sex)
    return predict(
        Request(
            recordings=tuple(arguments.recordings),
            model=arguments.model,
            told=told,
            device=configuration.from_options(arguments).device,
            form=arguments.form,
            out=arguments.out,
            plot=arguments.plot,
            layout=arguments.layout,
            start_s=arguments.start,
            explain=arguments.explain,
        )
    )


def run_evaluate(arguments: argparse.Namespace) -> int:
    evaluator.complete(arguments.parser, arguments)
    # Before numpy is imported: for small matrix products, starting threads takes longer than it saves.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .evaluation.run import evaluate_folders

    return evaluate_folders(arguments)


def run_report(arguments: argparse.Namespace) -> int:
    evaluator.check_label_options(arguments.parser, arguments)
    evaluator.check_no_challenge_options(arguments.parser, arguments)
    # As for `evaluate`: the products of the bootstrap are too small for threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .report.command import write_report
    from .report.inputs import Request

    write_report(
        Request(
            labels=arguments.labels,
            outputs=arguments.outputs,
            out=arguments.out,
            model=arguments.model,
            data=arguments.data,
            compare=arguments.compare,
            sources=arguments.by_source,
            weights=arguments.weights,
            year=arguments.year,
            resamples=arguments.resamples,
            seed=arguments.seed,
            mistakes=arguments.mistakes,
            own=evaluator.label_source(arguments),
        )
    )
    return 0


def run_preflight(arguments: argparse.Namespace) -> int:
    from .preflight.run import preflight

    return preflight(arguments.data, arguments.submission, docker=arguments.docker, minutes=arguments.minutes)


def run_experiment(arguments: argparse.Namespace) -> int:
    from . import commands

    settings = configuration.from_options(arguments)
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


def run_measure(arguments: argparse.Namespace) -> int:
    evaluator.check_label_options(arguments.parser, arguments)
    from . import commands

    settings = configuration.from_options(arguments)
    commands.measure(
        arguments.model,
        arguments.data,
        arguments.experiments,
        arguments.tables,
        settings,
        resamples=arguments.resamples,
        own=evaluator.label_source(arguments),
    )
    return 0


def run_recipes(arguments: argparse.Namespace) -> int:
    from .recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:<12} {recipe.summary}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    from .export.onnx_file import export

    export(arguments.model, arguments.file)
    return 0


def run_completion(arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        raise UserError("the package shtab is missing: pip install 'twelvelead[completion]'") from None
    from .cli import build_parser

    print(shtab.complete(build_parser(), arguments.shell))
    return 0


def run_synthesize(arguments: argparse.Namespace) -> int:
    from . import commands

    names = arguments.hospitals.split(",") if arguments.hospitals else None
    commands.synthesize(arguments.folder, names, arguments.count, arguments.seed)
    return 0


def run_draw(arguments: argparse.Namespace) -> int:
    from .data.recording import read_recording
    from .plots.ecg_sheet import draw

    draw(read_recording(arguments.header), arguments.picture, layout=arguments.layout, start_s=arguments.start)
    return 0
