"""What the top-level scripts and the command line do, as functions: train, classify, compare recipes, synthesize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .data.classes import LABEL_SETS, WEIGHTS, Classes, classes_for, load_weights
from .data.folders import find_recordings, orphan_signals
from .data.groups import column_names, read_groups
from .data.own_labels import OwnLabels, own_labels, read_own_labels
from .errors import UserError
from .evaluation.options import LabelSource
from .pretrained import default_model
from .settings import ONLY_TRAINING, Settings, check_together, find_device, option
from .terminal import printable, say, warn

if TYPE_CHECKING:
    from .inference.ensemble import Ensemble
    from .inference.model_files import Description
    from .recipes import AnyRecipe
    from .training.fine_tuning import Start

PATIENT_FILES = ("patients.csv", "recordings.csv")
MOST_FAULTS = 0.05  # larger share of recordings without a classification: something is wrong with the data or the model


def train(data: Path | None, model: Path, settings: Settings) -> Ensemble:
    """Trains the settings' recipe on every recording below `data` and returns the ensemble.

    Without `data` the recipe is trained on synthetic recordings alone, as many as the settings or the recipe say.

    Raises
    ------
    UserError
        See training.workers.train_ensemble; also if the data folder is missing or holds no recordings.
    """
    check_together(settings)
    recipe, start = _recipe_and_start(settings)
    classes = classes_for(recipe.label_set, load_weights(settings.weights or WEIGHTS))
    has_own_labels = bool(settings.labels or settings.label_field)
    if has_own_labels and data is None:
        raise UserError("your own labels are of recordings; give DATA, not --no-data")
    headers = _headers(data, recipe)
    own: OwnLabels | None = None
    if has_own_labels and data is not None:
        own = _own_labels(settings, headers, data)
        classes, recipe = own.classes, _without_challenge(recipe, own)
        headers = own.labelled(headers, data)
    start = None if start is None else _matched(start, classes, own)
    return _train(headers, data, model, recipe, classes, settings, own=own, start=start)


def distil(teacher: Path, data: Path, model: Path, settings: Settings) -> Ensemble:
    """Trains one network of the teacher's size to the teacher's scores of the recordings below `data`.

    Parameters
    ----------
    teacher : Path
        A model folder.
    settings : Settings
        Those of the budget count. Recipe, width, members and classes are those of the teacher, with one member. A
        teacher of labels of the user's own needs the settings that name such labels of these recordings.

    Raises
    ------
    UserError
        As `train`; also if `teacher` holds no model or is the folder to write, or the labels are not of its classes.
    """
    from .evaluation.own_labels import check_kind_of_labels, labels_of_model
    from .inference.model_files import read_description, whole_model
    from .recipes import JoinedRecipe
    from .training.teacher import student_recipe

    _refuse_settings_of_train(
        settings, "distil takes metric and network from the teacher", allowed=("labels", "label_field", "classes")
    )
    check_together(settings)
    description = read_description(whole_model(teacher))
    if model.resolve() == teacher.resolve():
        raise UserError(f"{printable(model)}: the student needs a folder of its own, this one is the teacher's")
    if isinstance(description.recipe, JoinedRecipe):
        raise UserError(
            f"{printable(teacher)}: its members are of several recipes; a student is one network of one recipe"
        )
    source = LabelSource(settings.labels, settings.label_field, settings.classes)
    check_kind_of_labels(teacher, description.classes, source)
    recipe: AnyRecipe = student_recipe(description.recipe).scaled(epochs=settings.epochs, synthetic=settings.synthetic)
    headers = _headers(data, recipe)
    own: OwnLabels | None = None
    if source.is_given:
        own = labels_of_model(description.classes, source, headers, data, say)
        headers = own.labelled(headers, data)
        recipe = _without_challenge(recipe, own)
    return _train(headers, data, model, recipe, description.classes, settings, teacher=description, own=own)


def _refuse_settings_of_train(settings: Settings, why: str, allowed: Sequence[str] = ()) -> None:
    """Raises UserError if a setting is given that `train` alone can follow; it may be a forgotten variable.

    Parameters
    ----------
    allowed : sequence of str
        Settings that the command follows too.
    """
    for name in ONLY_TRAINING:
        if getattr(settings, name) and name not in allowed:
            raise UserError(f"{option(name)} is for training alone, {why}; unset it")


def _headers(data: Path | None, recipe: AnyRecipe) -> list[Path]:
    """The headers below `data`; none without data, which is an error unless the recipe makes recordings."""
    if data is None:
        if any(part.synthetic.recordings == 0 for part in recipe.parts):
            raise UserError("without data, training needs synthetic recordings; say how many with --synthetic")
        return []
    headers = find_recordings(data)
    for path in orphan_signals(data):
        say(f"left out: {path}: a signal without a header")
    if not headers:
        raise UserError(f"{data}: there are no recordings here (no .hea files); point at a folder of Challenge data")
    return headers


def _train(
    headers: list[Path],
    data: Path | None,
    model: Path,
    recipe: AnyRecipe,
    classes: Classes,
    settings: Settings,
    *,
    teacher: Description | None = None,
    own: OwnLabels | None = None,
    start: Start | None = None,
) -> Ensemble:
    """Trains a recipe on recordings below `data`, with the settings' budget, device and seed."""
    # Imported here, since it imports torch, which takes seconds: errors of the settings should not wait for it.
    from .training.workers import train_ensemble

    return train_ensemble(
        headers,
        model,
        recipe,
        classes,
        root=data,
        seed=settings.seed,
        device=find_device(settings.device),
        limit=settings.limit,
        budget_hours=settings.time_budget_hours,
        patients={} if data is None else find_patients(data, settings.patients),
        jobs=settings.jobs,
        workers=settings.workers,
        teacher=teacher,
        own=own,
        start=start,
        tracker=settings.tracker,
        log=say,
    )


def _recipe_and_start(settings: Settings) -> tuple[AnyRecipe, Start | None]:
    """The recipe, and the trained model to start from if the settings name one; then the recipe is that model's."""
    if not settings.init:
        return settings.recipe_value(), None
    from .training.fine_tuning import read_start

    start, trained = read_start(
        default_model() if settings.init == "pretrained" else Path(settings.init), settings.freeze
    )
    recipe = settings.recipe_from(trained)
    if recipe.label_set not in LABEL_SETS:  # a model of someone's own labels; what is trained now is decided anew
        recipe = replace(recipe, label_set=LABEL_SETS[0])
    return recipe, start


def _own_labels(settings: Settings, headers: list[Path], data: Path) -> OwnLabels:
    """The classes and labels that the settings ask for."""
    table = read_own_labels(settings.labels, settings.label_field, settings.classes, headers, data)
    return own_labels(table, headers, data, settings.metric or "f1", are_chosen=bool(settings.classes), log=say)


def _without_challenge(recipe: AnyRecipe, own: OwnLabels) -> AnyRecipe:
    from .training.own_recipe import for_own_labels

    return for_own_labels(recipe, own, say)


def _matched(start: Start, classes: Classes, own: OwnLabels | None) -> Start:
    """The start with the classes matched, which is also told."""
    start = start.matched_to(classes, None if own is None else own.codes)
    new = [name for name, place in zip(classes.codes, start.matched) if place < 0]
    say(f"init: {start.words}" + (f" New: {', '.join(new[:10])}{', ...' if len(new) > 10 else ''}." if new else ""))
    return start


def find_patients(data: Path, file: str | None) -> dict[str, str]:
    """Recording → patient.

    The patients are those of `file`. Without it they are read from patients.csv or recordings.csv in the data folder,
    if one of them has a column with "patient" in its name.

    Raises
    ------
    UserError
        If `file` cannot be read. A file in the data folder that cannot be read is skipped with a line.
    """
    if file:
        return read_groups(Path(file))
    for name in PATIENT_FILES:
        path = data / name
        if not path.is_file():
            continue
        try:
            column = next((column for column in column_names(path) if "patient" in column.lower()), None)
            if column:
                patients = read_groups(path, column)
                say(f"{path}: patients of {len(patients)} recordings from column '{column}'")
                return patients
        except UserError as error:
            say(f"{path}: passed over as a list of patients ({error})")
    return {}


def classify(
    model: Path,
    data: Path,
    outputs: Path,
    settings: Settings,
    notes: Path | None = None,
    review: Path | None = None,
    abstain: float = 0.0,
) -> int:
    """Writes a CSV file for each recording; see inference.classify.classify_folder for `notes`, `review`, `abstain`.

    Returns
    -------
    int
        The exit code: 1 if more than 5 % of the recordings could not be classified and got sinus rhythm, or if an
        output could not be written, else 0.

    Raises
    ------
    UserError
        If the model cannot be loaded, the data folder holds no recordings, or the outputs cannot be written.
    """
    from .inference.classify import classify_folder
    from .inference.ensemble import load_ensemble

    ensemble = load_ensemble(model, find_device(settings.device))
    report = classify_folder(
        ensemble, data, outputs, jobs=settings.jobs, notes=notes, review=review, abstain=abstain, log=warn
    )
    say(
        f"{report.recordings} recordings classified into {printable(outputs)}, "
        f"{len(report.faults)} of them fell back to {ensemble.tally.fallback}"
    )
    if report.unwritten:
        warn(f"{len(report.unwritten)} outputs could not be written")
    if report.share_of_faults > MOST_FAULTS:
        warn(
            f"{report.share_of_faults:.0%} of the recordings fell back, more than {MOST_FAULTS:.0%}: "
            "something is wrong with the data or the model"
        )
        return 1
    return 1 if report.unwritten else 0


def experiment(
    command: str,
    argument: int | Path,
    data: Path,
    out: Path,
    recipes: list[str],
    settings: Settings,
    *,
    parameters: int | None,
    resamples: int,
    discard_models: bool,
) -> None:
    """Trains and scores recipes on the same splits; see experiments.run.run, whose parameters the last ones are.

    Parameters
    ----------
    command : str
        "crossval", "leave-one-source-out" or "holdout".
    argument : int or Path
        The number of folds, the number of recordings below which sources are pooled, or the CSV file of
        recording,group.

    Raises
    ------
    UserError
        If an argument is wrong, or training or the data do not allow the comparison.
    """
    from .experiments.design import cross_validation, get_recipes, holdout, leave_one_source_out, read_cohort

    _refuse_settings_of_train(settings, f"{command} compares recipes without it")
    get_recipes(recipes)  # a wrong name is an error at once, before torch is imported and recordings are read
    groups = {} if isinstance(argument, int) else read_groups(argument, "group")
    table = load_weights(settings.weights or WEIGHTS)
    cohort = read_cohort(data, find_patients(data, settings.patients), say)
    if not isinstance(argument, int):
        design = holdout(cohort, groups, say)
    elif command == "crossval":
        design = cross_validation(cohort, argument, table, settings.seed)
    else:
        design = leave_one_source_out(cohort, argument)
    from .experiments.run import run

    run(
        cohort,
        design,
        out,
        recipes,
        settings,
        table,
        parameters=parameters,
        resamples=resamples,
        discard_models=discard_models,
        log=say,
    )


def measure(
    model: Path,
    data: Path,
    experiments: list[Path],
    tables: list[Path],
    settings: Settings,
    *,
    resamples: int,
    own: LabelSource | None = None,
) -> None:
    """Scores a model on the recordings of a folder that it has not learned from, and fills its MODEL_CARD.md.

    Parameters
    ----------
    experiments : list of Path
        Folders of finished experiments of the same recipe, whose tables come behind.
    tables : list of Path
        Files of Markdown, such as benchmarks/robustness.py writes, which come behind those.
    own : LabelSource, optional
        Where the labels are for a model of labels of the user's own, which needs them.

    Raises
    ------
    UserError
        If the model or a file cannot be read, the labels are not of the model's classes, or no recording is left to
        test on.
    """
    from .evaluation.own_labels import check_kind_of_labels, labels_of_model
    from .experiments.design import read_cohort
    from .experiments.measure import answers_of, measurements
    from .experiments.model_card import experiment_section, fill_card, read_card
    from .inference.ensemble import load_ensemble

    read_card(model)  # what cannot be read is said before an hour of scoring
    behind = [experiment_section(folder) for folder in experiments]
    try:
        behind += [path.read_text(encoding="utf-8") for path in tables]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"a table cannot be read: {error}") from None
    ensemble = load_ensemble(model, find_device(settings.device))
    own = own or LabelSource()
    check_kind_of_labels(model, ensemble.classes, own)
    cohort = read_cohort(
        data, find_patients(data, settings.patients), say, needs_diagnosis=not ensemble.classes.are_own
    )
    labels = labels_of_model(ensemble.classes, own, cohort.headers, data, say) if own.is_given else None
    tested = answers_of(model, ensemble, cohort, settings.jobs, labels)
    for fault in tested.faults:
        warn(f"fell back to {ensemble.tally.fallback}: {fault}")
    thresholds = ensemble.thresholds if ensemble.recipe.voting.thresholds == "ensemble" else None
    text = measurements(tested, ensemble.classes, thresholds, resamples, settings.seed)
    say(text)
    say(f"\nwritten into {printable(fill_card(model, [text, *behind]))}")


def synthesize(folder: Path, hospitals: list[str] | None, count: int, seed: int) -> None:
    """Writes `count` synthetic recordings of each hospital, by default of all of them, into folders of their names.

    Raises
    ------
    UserError
        If a hospital does not exist; the message lists those that do.
    """
    from .synthetic import HOSPITALS, write_hospital

    for hospital in hospitals or ():
        if hospital not in HOSPITALS:
            raise UserError(f"unknown hospital '{hospital}'; there are: {', '.join(HOSPITALS)}")
    for hospital in hospitals or HOSPITALS:
        headers = write_hospital(folder / hospital, hospital, count, seed)
        say(f"{len(headers)} synthetic recordings in {folder / hospital}")
