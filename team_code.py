"""The whole bridge between the organizers' scripts and the package.

    training_code(data_directory, model_directory)          # 2021's train_model.py
    model = load_model(model_directory, leads)              # 2021's test_model.py, once for each set of leads
    classes, labels, scores = run_model(model, header, recording)

The 2020 names of the same three are in train_12ECG_classifier.py and run_12ECG_classifier.py. Environment variables
TWELVELEAD_… (README.md) set recipe, budget, seed and device.
"""

import atexit
import sys
from functools import lru_cache
from pathlib import Path

from twelvelead.commands import train
from twelvelead.console import run_command
from twelvelead.errors import UserError
from twelvelead.inference.classify import classify, fallback_row
from twelvelead.inference.ensemble import Ensemble, load_ensemble
from twelvelead.inference.notes import Tally
from twelvelead.preprocessing.loading import load_given
from twelvelead.settings import find_device, from_environment
from twelvelead.terminal import printable, warn


def training_code(data_directory, model_directory):
    """Trains on every recording below the data folder and writes the model folder.

    The organizers' scripts would show a traceback for any exception. Here whatever stops training is one line and an
    exit code, as for the command line.
    """

    def train_from_environment() -> int:
        train(Path(data_directory), Path(model_directory), from_environment())
        return 0

    code = run_command("train_model.py", train_from_environment)
    if code:
        sys.exit(code)


def load_model(model_directory, leads=None):
    """Loads the trained ensemble, which classifies recordings with any set of leads.

    2021's script loads a model for each set of leads that occurs; all of them get the same object here. When the
    program ends, one line for each kind of repair and one for fallback rows say how often they happened.
    """
    try:
        manifest = Path(model_directory, "recipe.json").resolve()
        changed = manifest.stat().st_mtime_ns if manifest.is_file() else None
        return _load(manifest.parent, changed, from_environment().device)
    except UserError as error:
        sys.exit(f"load_model: {printable(error)}")


@lru_cache(maxsize=1)
def _load(folder: Path, changed: int | None, device: str) -> Ensemble:
    """The model of a folder; `changed`, when its recipe.json was written, makes a new model be loaded anew."""
    ensemble = load_ensemble(folder, find_device(device))
    atexit.register(_report, ensemble.tally)
    return ensemble


def _report(tally: Tally) -> None:
    for line in tally.summary():
        warn(line)


def run_model(model, header, recording):
    """Classifies one recording.

    Parameters
    ----------
    model : Ensemble
        From `load_model`.
    header : str or list of str
        The header file's text (2021) or its lines (2020).
    recording : ndarray (leads, samples)
        Raw ADC units, any dtype.

    Returns
    -------
    classes : list of str, labels : int64, scores : float64, one for each class (30 with the default recipe)
        A recording that cannot be classified is named on standard error and gets sinus rhythm. One that had to be
        repaired is named there if its kind of repair is new.
    """
    loaded = load_given(header, recording, *model.inputs)
    if isinstance(loaded, str):
        row = fallback_row(model, loaded)
        lines = model.tally.add("?", row.fault, ())  # what could not be read is named in its fault
    else:
        row = classify(model, [loaded.prepared])[0]
        lines = model.tally.add(loaded.recording.name, row.fault, loaded.recording.notes)
    for line in lines:
        warn(line)
    return list(row.codes), row.labels, row.scores
