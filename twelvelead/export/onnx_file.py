"""Writes a trained model as an ONNX file and compares the file with the model.

    difference = export(Path("model"), Path("model.onnx"))      # the largest difference of a probability

What the file takes and gives, and how it is used, is in docs/export.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data.classes import DIAGNOSES
from ..data.leads import LEADS
from ..data.recording import Recording
from ..errors import UserError
from ..files import replace_file
from ..inference.ensemble import Ensemble, joined_scores, load_ensemble, member_scores
from ..inference.predict import stack
from ..preprocessing.heart_rate import RR_FIELDS
from ..preprocessing.prepare import Prepared, prepare
from ..recipes import JoinedRecipe
from ..synthetic import draw_recording
from ..terminal import printable, say
from .graph import OUTPUTS, onnx_model

LARGEST_DIFFERENCE = 1e-4  # of a probability, between the file and the model
MOST_BYTES = 2**31 - 2**20  # an ONNX file is one protobuf message, which must have less than 2 GB
METADATA_FIELDS = (
    *("age / 100", "age known", "female", "male", "sex known", "log10 amplitude_mv", "amplitude known"),
    *RR_FIELDS,  # which a recipe with `Input.rr_numbers` has besides
)
LEAD_SETS = (  # those of the Challenge of 2021, and one without limb leads
    LEADS,
    ("I", "II", "III", "aVR", "aVL", "aVF"),
    ("I", "II", "III", "V2"),
    ("I", "II", "V2"),
    ("I", "II"),
    ("V1", "V3", "V5"),
)
PARTS = (0.02, 0.1, 0.33, 0.67, 1.0)  # lengths of the recordings that are compared, of the longest that is not cut
LONGEST_COMPARED_S = 30.0  # a recipe may take recordings of minutes, whose comparison would take long


def export(folder: Path, path: Path, log: Callable[[str], None] = say) -> float:
    """Writes the model of a folder as an ONNX file, after comparing it with the model.

    Parameters
    ----------
    folder : Path
        A model folder.
    path : Path
        The file to write; a file of that name is replaced.
    log : callable
        Is told the largest difference in one line.

    Returns
    -------
    float
        The largest difference of a probability or of a member's score between onnxruntime and the model.

    Raises
    ------
    UserError
        If the packages of the extra `export` are missing, the folder holds no model, its architecture cannot be
        exported, the file cannot be written, or the difference is above 1e-4. No file is left then.
    """
    _check_packages()
    import onnx

    plain = load_ensemble(folder, accelerate=False)
    if isinstance(plain.recipe, JoinedRecipe):
        raise UserError(
            f"{printable(folder)}: its members are of {len(plain.recipe.parts)} recipes; a file can hold those of one"
        )
    size = sum(weight.numel() * weight.element_size() for model in plain.models for weight in model.parameters())
    if size > MOST_BYTES:
        raise UserError(f"{printable(folder)}: the weights have {size / 1e9:.1f} GB, and an ONNX file can have 2 GB")
    model = onnx_model(plain)
    onnx.helper.set_model_props(model, metadata_of_file(plain))
    differences: list[float] = []

    def write_and_compare(partial: Path) -> None:
        partial.write_bytes(model.SerializeToString())
        differences.append(largest_difference(partial, load_ensemble(folder)))
        if not differences[0] <= LARGEST_DIFFERENCE:  # also if it is not a number
            raise UserError(
                f"{printable(path)}: not written, since onnxruntime's probabilities differ from the model's by "
                f"{differences[0]:.1e}, more than {LARGEST_DIFFERENCE:g}"
            )

    try:
        replace_file(path, write_and_compare)
    except OSError as error:
        raise UserError(f"{printable(path)}: cannot be written ({error.strerror or error})") from None
    log(
        f"{printable(path)}: {len(plain.models)} members, {path.stat().st_size / 1e6:.1f} MB; probabilities differ "
        f"from the model's by at most {differences[0]:.1e}"
    )
    return differences[0]


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the package {error.name} is missing; install the extra: pip install 'twelvelead[export]'"
        ) from None


def metadata_of_file(ensemble: Ensemble) -> dict[str, str]:
    """What the file says of itself (ONNX `metadata_props`): names → JSON values.

    Returns
    -------
    dict of str → str
        twelvelead: the version. codes, abbreviations, names: of the classes, lists. thresholds: of the probabilities, a
        list. member_thresholds: a list of one list for each member. slopes, intercepts: of the map from the members'
        mean to probabilities, lists; null if the mean is what is called probability. voting: "ensemble" or "members",
        whose thresholds decide. context: what moves the thresholds of a recording, see `Context.to_dict`; null if
        nothing does. at_least_one: whether a recording without any class gets the one nearest to its threshold. leads,
        metadata: names of the signal's first twelve rows and of the values of the input `metadata`. preparation: how a
        recording becomes the input `signal`, the fields of recipe.Input.
    """
    classes, voting = ensemble.classes, ensemble.recipe.voting
    line, context = ensemble.probabilities, ensemble.context
    values: dict[str, Any] = dict(
        twelvelead=__version__,
        recipe=ensemble.recipe.name,
        codes=classes.codes,
        abbreviations=classes.abbreviations,
        names=[DIAGNOSES[code][1] if code in DIAGNOSES else code for code in classes.codes],
        thresholds=ensemble.thresholds.tolist(),
        member_thresholds=ensemble.member_thresholds.tolist(),
        slopes=None if line is None else line.slopes.tolist(),
        intercepts=None if line is None else line.intercepts.tolist(),
        voting=voting.thresholds,
        context=None if context is None else context.to_dict(classes.codes),
        at_least_one=voting.at_least_one,
        leads=LEADS,
        metadata=METADATA_FIELDS[: ensemble.inputs[0].metadata_numbers],
        preparation=dataclasses.asdict(ensemble.inputs[0]),
    )
    return {name: json.dumps(value) for name, value in values.items()}


# ---------------------------------------------------------------------------------------------------------- comparison


def largest_difference(path: Path, ensemble: Ensemble) -> float:
    """The largest difference of a score between an ONNX file and the model that it was made of, also of a member's.

    Synthetic recordings of several lengths and lead sets are compared, each alone and all in one padded batch; some
    have missing samples, and age and sex are known for some.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    prepared = _recordings_to_compare(ensemble)
    expected = member_scores(ensemble, stack(prepared, ensemble.device))  # members, recordings, classes
    joint = joined_scores(ensemble, expected)
    alone = [session.run(list(OUTPUTS), onnx_inputs([item])) for item in prepared]
    together = session.run(list(OUTPUTS), onnx_inputs(prepared))
    pairs = [(together[0], joint), (together[1], expected)]
    pairs += [(np.concatenate([probabilities for probabilities, _ in alone]), joint)]
    pairs += [(np.concatenate([of_members for _, of_members in alone], axis=1), expected)]
    return float(max(np.abs(found - wanted).max() for found, wanted in pairs))


def onnx_inputs(prepared: list[Prepared]) -> dict[str, np.ndarray]:
    """The three inputs of the file for prepared recordings, padded to the length of the longest."""
    time = max(len(item.valid) for item in prepared)
    return dict(
        signal=np.stack([np.pad(item.signal, ((0, 0), (0, time - len(item.valid)))) for item in prepared]),
        valid=np.stack([np.pad(item.valid, (0, time - len(item.valid))) for item in prepared]),
        metadata=np.stack([item.metadata for item in prepared]),
    )


def _recordings_to_compare(ensemble: Ensemble) -> list[Prepared]:
    """Synthetic recordings, one for each pair of a lead set and a length, none of which is cut into pieces."""
    spec = ensemble.inputs[0]
    longest_s = min(spec.longest_s, LONGEST_COMPARED_S)
    most = int(longest_s * spec.frequency_hz)  # samples that are not cut into pieces
    prepared = []
    for k, leads in enumerate(LEAD_SETS):
        for part in PARTS:
            whole = draw_recording(seed=20, k=k)
            item = prepare(_cut(whole, leads, part * longest_s, gap=k % 2 == 1), spec)
            prepared.append(
                Prepared(item.signal[:, :most], item.leads, item.valid[:most], item.metadata)  # resampling may add one
            )
    return prepared


def _cut(recording: Recording, leads: tuple[str, ...], seconds: float, *, gap: bool) -> Recording:
    """Some leads of a recording at a length, for which it is repeated if need be, and perhaps with samples missing."""
    samples = max(2, round(seconds * recording.frequency_hz))
    rows = [recording.leads.index(lead) for lead in leads]
    signal = np.take(recording.signal_mv[rows], np.arange(samples), axis=1, mode="wrap")
    if gap:
        signal[:, samples // 3 : samples // 2] = np.nan
    return dataclasses.replace(recording, signal_mv=np.asfortranarray(signal), leads=leads)
