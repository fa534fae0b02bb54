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
from twelvelead.inference.classify import rows_of
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.preprocessing.loading import load_given
from twelvelead.settings import find_device, from_environment

_faults = []  # names of the recordings that fell back; the organizers' scripts have no other way to hear of them


def training_code(data_directory, model_directory):
    """Trains on every recording below the data folder and writes the model folder.

    The organizers' scripts show a traceback for any exception. Here whatever stops training is one line and an exit
    code, as for the command line.
    """

    def train_from_environment() -> int:
        train(Path(data_directory), Path(model_directory), from_environment())
        return 0

    code = run_command("train_model.py", train_from_environment)
    if code:
        sys.exit(code)


def load_model(model_directory, leads=None):
    """The trained ensemble. One model serves every set of leads: those that are missing it does without.

    2021's script loads a model for each set of leads that occurs; here they all get the same one.
    """
    try:
        manifest = Path(model_directory, "recipe.json").resolve()
        changed = manifest.stat().st_mtime_ns if manifest.is_file() else None
        return _load(manifest.parent, changed, from_environment().device)
    except UserError as error:
        sys.exit(f"load_model: {error}")


@lru_cache(maxsize=1)
def _load(folder, changed, device):
    """The model of a folder whose recipe.json was written at `changed`."""
    return load_ensemble(folder, find_device(device))


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
        A recording that cannot be classified is named on standard error and gets sinus rhythm.
    """
    loaded = load_given(header, recording, model.recipe.input)
    row = rows_of(model, [loaded if isinstance(loaded, str) else loaded.prepared])[0]
    if row.fault:
        _faults.append(row.fault)
        print(f"fell back to sinus rhythm: {row.fault}", file=sys.stderr, flush=True)
    return list(row.codes), row.labels, row.scores


@atexit.register
def _count_faults():
    if _faults:
        print(f"{len(_faults)} recordings fell back to sinus rhythm", file=sys.stderr)
