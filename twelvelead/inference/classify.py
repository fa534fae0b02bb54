"""From recordings to rows: scores and labels of the output codes, whatever happens.

    row = classify_recording(ensemble, recording_from(header, signal))
    report = classify_folder(ensemble, data_folder, output_folder)

A recording that cannot be read or scored gets the fallback row (sinus rhythm, the training set's class frequencies as
scores) and is named; it never costs another recording its result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from ..data.folders import find_recordings, orphan_signals
from ..data.recording import Recording
from ..errors import UserError
from ..files import replace_file
from ..preprocessing.loading import load
from ..preprocessing.prepare import Prepared, prepare
from ..recipes import Input
from .ensemble import Ensemble, labels_of, member_scores
from .predict import stack

CHUNK = 64  # recordings that are scored together
ROUND = 2  # chunks that are read at a time


@dataclass(frozen=True)
class Row:
    """One recording's result.

    Attributes
    ----------
    codes : tuple of str
        What the columns are: the model's `classes.outputs`, 30 SNOMED CT codes with the Challenge's label set.
    labels : int64 (columns,)
        0 or 1.
    scores : float64 (columns,)
        In [0, 1].
    fault : str or None
        Why this is the fallback row, if it is.
    """

    codes: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    fault: str | None = None


@dataclass(frozen=True)
class Report:
    """What `classify_folder` did: recordings in all, and one line for each that fell back."""

    recordings: int
    faults: tuple[str, ...]

    @property
    def share_of_faults(self) -> float:
        return len(self.faults) / max(self.recordings, 1)


def fallback_row(ensemble: Ensemble, fault: str) -> Row:
    """Sinus rhythm, with the class frequencies of the training set as scores."""
    classes = ensemble.classes
    labels = np.arange(len(classes.codes)) == classes.sinus_rhythm
    return _row(ensemble, labels, ensemble.priors, fault)


def _row(ensemble: Ensemble, labels: np.ndarray, scores: np.ndarray, fault: str | None = None) -> Row:
    classes, as_output = ensemble.classes, ensemble.classes.as_output
    return Row(classes.outputs, as_output(labels.astype(np.int64), 0), as_output(scores.astype(np.float64), 0.0), fault)


def classify(ensemble: Ensemble, prepared: list[Prepared]) -> list[Row]:
    """Rows of recordings that could be prepared, scored together."""
    if not prepared:
        return []
    scores = member_scores(ensemble, stack(prepared, ensemble.device))
    if not np.isfinite(scores).all():
        if len(prepared) == 1:
            return [fallback_row(ensemble, "the network's scores are not finite")]
        return [classify(ensemble, [item])[0] for item in prepared]
    return [_row(ensemble, labels, mean) for labels, mean in zip(labels_of(ensemble, scores), scores.mean(axis=0))]


def classify_recording(ensemble: Ensemble, recording: Recording) -> Row:
    """The row of one recording.

    Raises
    ------
    RecordingError
        If no lead holds a signal.
    """
    return classify(ensemble, [prepare(recording, ensemble.recipe.input)])[0]


def row_text(name: str, row: Row) -> str:
    """An output file's text, in the format of both Challenges."""
    return (
        f"#{name}\n{','.join(row.codes)}\n{','.join(map(str, row.labels.tolist()))}\n"
        f"{','.join(map(str, row.scores.tolist()))}\n"
    )


def classify_folder(
    ensemble: Ensemble, data: str | Path, outputs: str | Path, *, jobs: int = -1, log: Callable[[str], None] = print
) -> Report:
    """Classifies every recording of a tree and writes one CSV for each into `outputs`, as it goes.

    A recording whose name occurs twice in the tree is written into a subfolder of the same name as its own.

    Raises
    ------
    UserError
        If the data folder holds no recordings or the output folder cannot be written.
    """
    data, outputs = Path(data), Path(outputs)
    headers = find_recordings(data)
    for path in orphan_signals(data):
        log(f"{path}: a signal without a header; it is passed over")
    if not headers:
        raise UserError(f"{data}: there are no recordings here (no .hea files)")
    seen: set[str] = set()
    targets = []
    for header in headers:
        doubled = header.stem in seen
        seen.add(header.stem)
        targets.append(outputs / (header.relative_to(data).parent if doubled else "") / f"{header.stem}.csv")
    faults = []
    with tqdm(total=len(headers), desc="classifying", unit="rec", file=sys.stderr, disable=None) as bar:
        for (header, row), target in zip(classified(ensemble, headers, jobs), targets):
            if row.fault:
                faults.append(row.fault)
                log(f"fell back to sinus rhythm: {row.fault}")
            write_row(target, row_text(header.stem, row))
            bar.update()
    return Report(len(headers), tuple(faults))


def classified(ensemble: Ensemble, headers: Sequence[Path], jobs: int = -1) -> Iterator[tuple[Path, Row]]:
    """Each recording with its row, in order, the fallback row if need be; a few chunks in memory, however many there are."""
    chunks = [headers[k : k + CHUNK] for k in range(0, len(headers), CHUNK)]
    # threads: reading and resampling spend their time in numpy, which lets go of the interpreter's lock. Rounds: a generator
    # of joblib's would read on and on while the scores, which take a hundred times as long, are waited for.
    with joblib.Parallel(n_jobs=jobs, prefer="threads") as parallel:
        for k in range(0, len(chunks), ROUND):
            several = chunks[k : k + ROUND]
            read = parallel(joblib.delayed(_load_chunk)(chunk, ensemble.recipe.input) for chunk in several)
            for chunk, items in zip(several, read):
                for header, row in zip(chunk, rows_of(ensemble, items)):
                    if row.fault and str(header.stem) not in row.fault:
                        row = replace(row, fault=f"{header}: {row.fault}")
                    yield header, row


def rows_of(ensemble: Ensemble, items: Sequence[Prepared | str]) -> list[Row]:
    """A row for each item, scored together: a recording as it was prepared, or one line that says why it could not be."""
    rows = iter(classify(ensemble, [item for item in items if isinstance(item, Prepared)]))
    return [next(rows) if isinstance(item, Prepared) else fallback_row(ensemble, item) for item in items]


def _load_chunk(headers: Sequence[Path], spec: Input) -> list[Prepared | str]:
    """For each header its model input, or one line that says why there is none."""
    results = [load(header, spec) for header in headers]
    return [result if isinstance(result, str) else result.prepared for result in results]


def write_row(path: Path, text: str) -> None:
    """Writes an output file, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda partial: partial.write_text(text, newline="\n"))
    except OSError as error:
        raise UserError(f"{path}: the output cannot be written ({error.strerror or error})") from None
