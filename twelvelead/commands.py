"""What the top-level scripts and `python -m twelvelead` do, as functions: train, classify, compare recipes."""

from __future__ import annotations

from pathlib import Path

from .data.classes import classes_for, load_weights
from .data.folders import find_recordings, orphan_signals
from .errors import UserError
from .settings import Settings, find_device
from .terminal import printable, say, warn

WEIGHTS = Path(__file__).resolve().parent.parent / "weights.csv"
PATIENT_FILES = ("patients.csv", "recordings.csv")
MOST_FAULTS = 0.05  # a driver run with a larger share of fallback rows has failed


def train(data: Path, model: Path, settings: Settings):
    """Trains the settings' recipe on every recording below `data`; returns the ensemble.

    Raises
    ------
    UserError
        See members.train_ensemble; also if the data folder is missing or holds no recordings.
    """
    from .training.workers import train_ensemble  # torch takes seconds to import; a wrong argument should not

    recipe = settings.recipe_value()
    classes = classes_for(recipe.label_set, load_weights(settings.weights or WEIGHTS))
    headers = find_recordings(data)
    for path in orphan_signals(data):
        _log(f"left out: {path}: a signal without a header")
    if not headers:
        raise UserError(f"{data}: there are no recordings here (no .hea files); point at a folder of Challenge data")
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
        patients=find_patients(data, settings.patients),
        jobs=settings.jobs,
        workers=settings.workers,
        log=_log,
    )


def find_patients(data: Path, file: str | None) -> dict[str, str]:
    """Recording → patient, from the file given, or from patients.csv or recordings.csv in the data folder if they tell.

    Raises
    ------
    UserError
        If the file given cannot be read. One that merely lies in the data folder is passed over with a line.
    """
    from .data.splits import read_groups

    if file:
        return read_groups(Path(file))
    for name in PATIENT_FILES:
        path = data / name
        if not path.is_file():
            continue
        try:
            with open(path, encoding="utf-8-sig") as lines:
                columns = [column.strip() for column in lines.readline().split(",")]
            column = next((column for column in columns if "patient" in column.lower()), None)
            if column:
                patients = read_groups(path, column)
                _log(f"{path}: patients of {len(patients)} recordings from column '{column}'")
                return patients
        except (OSError, UnicodeDecodeError, UserError) as error:
            _log(f"{path}: passed over as a list of patients ({error})")
    return {}


def classify(model: Path, data: Path, outputs: Path, settings: Settings, notes: Path | None = None) -> int:
    """Writes a CSV for each recording, and a CSV of recording,note for those that were repaired if `notes` is given.

    Returns
    -------
    int
        The exit code: 1 if more than 5 % of the recordings fell back or an output could not be written, else 0.
    """
    from .inference.classify import classify_folder
    from .inference.ensemble import load_ensemble

    ensemble = load_ensemble(model, find_device(settings.device))
    report = classify_folder(ensemble, data, outputs, jobs=settings.jobs, notes=notes, log=_log_error)
    _log(
        f"{report.recordings} recordings classified into {printable(outputs)}, "
        f"{len(report.faults)} of them fell back to sinus rhythm"
    )
    if report.unwritten:
        _log_error(f"{len(report.unwritten)} outputs could not be written")
    if report.share_of_faults > MOST_FAULTS:
        _log_error(
            f"{report.share_of_faults:.0%} of the recordings fell back, more than {MOST_FAULTS:.0%}: "
            "something is wrong with the data or the model"
        )
        return 1
    return 1 if report.unwritten else 0


def experiment(
    command: str,
    argument,
    data: Path,
    out: Path,
    recipes: list[str],
    settings: Settings,
    *,
    parameters: int | None,
    resamples: int,
    discard_models: bool,
) -> None:
    """Trains and scores recipes on the same splits; see experiments.run, whose parameters these are.

    Parameters
    ----------
    command : str
        "crossval", "leave-one-source-out" or "holdout".
    argument : int or Path
        The number of folds, of recordings below which sources are pooled, or the CSV file of recording,group.

    Raises
    ------
    UserError
    """
    from .data.splits import read_groups
    from .experiments.design import cross_validation, get_recipes, holdout, leave_one_source_out, read_cohort

    get_recipes(recipes)  # a wrong name need not wait for torch and the recordings
    groups = read_groups(argument, "group") if command == "holdout" else {}
    table = load_weights(settings.weights or WEIGHTS)
    cohort = read_cohort(data, find_patients(data, settings.patients), _log)
    if command == "crossval":
        design = cross_validation(cohort, argument, table, settings.seed)
    elif command == "leave-one-source-out":
        design = leave_one_source_out(cohort, argument)
    else:
        design = holdout(cohort, groups, _log)
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
        log=_log,
    )


def _log(line: str) -> None:
    say(line)


def _log_error(line: str) -> None:
    warn(line)
