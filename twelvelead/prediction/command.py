"""The command `twelvelead predict`: recordings in, a table or JSON or CSV out, and pictures.

One recording that cannot be read costs no other its result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import FAILED
from ..data.recording import Recording
from ..errors import RecordingError, UserError
from ..files import json_ready, write_text
from ..formats.read import read_file
from ..formats.told import Told, checked
from ..inference.outputs import make_output_folder
from ..pretrained import default_model
from ..terminal import printable, say, warn

if TYPE_CHECKING:  # torch takes seconds to import, and a recording that cannot be read should not wait for it
    from .explain import Explanation
    from .model import Model
    from .result import Prediction

ONE_FAILED = 1  # exit code
_WORTH_NAMING = 0.5  # windows that count half as much as the one that counts most are named


@dataclass(frozen=True)
class Request:
    """What `twelvelead predict` was asked for.

    Attributes
    ----------
    recordings : tuple of Path
    model : Path or None
        None: the model that comes with the package.
    told : Told
        What the files do not say.
    device : str
    form : str
        "table", "json" or "csv": what is printed.
    out : Path or None
        Folder that gets NAME.json, NAME.csv and NAME.png of each recording.
    plot : Path or None
        A picture of the one recording.
    layout, start_s : str, float
        Of the pictures.
    explain : str or None
        A class whose score is explained.
    """

    recordings: tuple[Path, ...]
    model: Path | None = None
    told: Told = field(default_factory=Told)
    device: str = "auto"
    form: str = "table"
    out: Path | None = None
    plot: Path | None = None
    layout: str = "3x4"
    start_s: float = 0.0
    explain: str | None = None


def predict(request: Request) -> int:
    """Does what was asked.

    Returns
    -------
    int
        The exit code: 0, `ONE_FAILED` if some of several recordings could not be read or drawn, `FAILED` if none could.

    Raises
    ------
    UserError
        If an option is wrong, there is no model, or the folder cannot be written.
    """
    told = checked(request.told)
    if request.plot is not None and len(request.recordings) > 1:
        raise UserError("--plot draws one recording; with several use --out FOLDER, which gets a picture of each")
    folder = request.model or default_model()
    if request.out is not None:
        make_output_folder(request.out)
    names = _output_names(request.recordings)
    model: Model | None = None
    printed: list[Prediction] = []
    entries: list[dict[str, Any]] = []
    failed = 0
    for path, name in zip(request.recordings, names):
        try:
            recording = read_file(path, told)
            if model is None:
                model = _load(folder, request)
            result, explanation = _predicted(model, recording, request)
        except RecordingError as error:
            fault = str(error)
        except MemoryError:
            fault = f"{path}: there is not enough memory for this recording"
        else:
            fault = ""
        if fault:
            failed += 1
            warn(fault)
            entries.append({"recording": printable(path), "error": fault})
            continue
        entry = result.to_dict()
        if explanation is not None:
            entry["explanation"] = _as_values(explanation)
        entries.append(entry)
        printed.append(result)
        if request.form == "table":
            say(f"{result}\n" if explanation is None else f"{result}\n{_in_words(explanation)}\n")
        _write(request, name, result, entry, explanation)
    _print_all(request.form, entries, printed)
    return 0 if not failed else FAILED if failed == len(request.recordings) else ONE_FAILED


def _load(folder: Path, request: Request) -> Model:
    from .model import class_index, load

    model = load(folder, request.device)
    if request.explain is not None:
        class_index(model.ensemble, request.explain)  # an unknown class is an error before anything is printed
    return model


def _predicted(model: Model, recording: Recording, request: Request) -> tuple[Prediction, Explanation | None]:
    result = model.predict_recording(recording)
    if request.explain is None:
        return result, None
    return result, model.explain(result, request.explain, start_s=request.start_s)


def _print_all(form: str, entries: list[dict[str, Any]], results: Sequence[Prediction]) -> None:
    """Prints JSON or CSV, which are one text for all recordings."""
    from .table import as_csv

    if form == "json":
        say(json.dumps(entries, indent=1, ensure_ascii=False))
    elif form == "csv" and results:
        say(as_csv(results).rstrip("\n"))


def _write(
    request: Request, name: str, result: Prediction, entry: dict[str, Any], explanation: Explanation | None
) -> None:
    """The files of one recording."""
    from .table import as_csv

    pictures = [request.plot] if request.plot is not None else []
    if request.out is not None:
        try:
            write_text(request.out / f"{name}.json", json.dumps(entry, indent=1, ensure_ascii=False) + "\n")
            write_text(request.out / f"{name}.csv", as_csv([result]))
        except OSError as error:
            raise UserError(f"{request.out}: the results cannot be written ({error.strerror or error})") from None
        pictures.append(request.out / f"{name}.png")
    for picture in pictures:
        result.draw(picture, layout=request.layout, start_s=request.start_s, explanation=explanation)


def _output_names(recordings: Sequence[Path]) -> list[str]:
    """The names of the output files without extension: those of the recordings, with a number where one comes again."""
    names: list[str] = []
    taken: set[str] = set()
    for path in recordings:
        stem = path.stem or path.name or "recording"
        numbers: Iterator[str] = (stem if k == 1 else f"{stem}-{k}" for k in range(1, len(recordings) + 1))
        name = next(candidate for candidate in numbers if candidate.lower() not in taken)
        taken.add(name.lower())
        names.append(name)
    return names


def _as_values(explanation: Explanation) -> dict[str, Any]:
    """An explanation in plain JSON values."""
    return json_ready(
        {
            "code": explanation.code,
            "abbreviation": explanation.abbreviation,
            "probability": explanation.probability,
            "window_s": explanation.window_s,
            "starts_s": explanation.starts_s,
            "log_odds_lost": explanation.over_time,
        }
    )


def _in_words(explanation: Explanation) -> str:
    """One line that names the stretches of time on which the score rests."""
    most = float(explanation.over_time.max())
    head = f"{explanation.abbreviation}, {explanation.probability:.3f}, rests on"
    if most <= 0:
        return f"{head} no single stretch of the signal"
    stretches: list[list[float]] = []
    for start, fall in zip(explanation.starts_s, explanation.over_time):
        if fall < _WORTH_NAMING * most:
            continue
        end = start + explanation.window_s
        if stretches and start <= stretches[-1][1] + 1e-9:
            stretches[-1][1] = end
        else:
            stretches.append([start, end])
    return f"{head} " + ", ".join(f"{first:.1f} to {last:.1f} s" for first, last in stretches)
