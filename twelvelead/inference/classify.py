"""From recordings to rows: scores and labels of the output codes, whatever happens.

    row = classify_recording(ensemble, recording_from(header, signal))
    report = classify_folder(ensemble, data_folder, output_folder)

A recording that cannot be read or scored gets the fallback row (sinus rhythm, or no class with labels of the user's
own, with the class frequencies of the training set as scores) and is named. It never costs another recording its
result.
"""

from __future__ import annotations

import errno
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
from ..preprocessing.loading import load
from ..preprocessing.prepare import Prepared, prepare
from ..recipes import Input
from ..terminal import as_utf8, printable, warn
from .ensemble import Ensemble, doubts_of, joined_scores, labels_of, member_scores
from .notes import MOST_LINES, NotesFile
from .outputs import first_line_name, make_output_folder, old_outputs, output_names, write_output
from .predict import stack
from .review import write_review

CHUNK = 64  # recordings that are scored together
ROUND = 2  # chunks that are read at a time
# With these errors no further file of a folder can be written either.
_FOLDER_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


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
        If this is the fallback row, one line that says why.
    notes : tuple of str
        What reading the recording had to repair.
    uncertainty, disagreement : float
        See thresholds/uncertainty.py; 1 for the fallback row.
    """

    codes: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray
    fault: str | None = None
    notes: tuple[str, ...] = ()
    uncertainty: float = 1.0
    disagreement: float = 1.0


@dataclass(frozen=True)
class Report:
    """What `classify_folder` did.

    Attributes
    ----------
    recordings : int
        All recordings of the data folder.
    faults : tuple of str
        One line for each recording that fell back to sinus rhythm.
    unwritten : tuple of str
        One line for each recording whose output file could not be written.
    repaired : int
        Recordings that reading had to repair.
    """

    recordings: int
    faults: tuple[str, ...]
    unwritten: tuple[str, ...] = ()
    repaired: int = 0

    @property
    def share_of_faults(self) -> float:
        return len(self.faults) / max(self.recordings, 1)


# --------------------------------------------------------------------------------------------------------------- rows


def fallback_row(ensemble: Ensemble, fault: str) -> Row:
    """Sinus rhythm, or no class of the user's own, with the class frequencies of the training set as scores."""
    classes = ensemble.classes
    labels = np.arange(len(classes.codes)) == (-1 if classes.are_own else classes.sinus_rhythm)
    return _row(ensemble, labels, ensemble.priors, fault)


def _row(ensemble: Ensemble, labels: np.ndarray, scores: np.ndarray, fault: str | None = None) -> Row:
    classes, as_output = ensemble.classes, ensemble.classes.as_output
    return Row(classes.outputs, as_output(labels.astype(np.int64), 0), as_output(scores.astype(np.float64), 0.0), fault)


def classify(ensemble: Ensemble, prepared: list[Prepared]) -> list[Row]:
    """Rows of recordings that could be prepared, scored together.

    If scoring fails or gives a score that is not finite, each recording is scored alone, and only those at fault get
    the fallback row.
    """
    if not prepared:
        return []
    try:
        scores = member_scores(ensemble, stack(prepared, ensemble.device))
        fault = None if np.isfinite(scores).all() else "the network's scores are not finite"
    except Exception as error:  # such as a lack of memory for one very long recording
        fault = f"it could not be scored ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    if fault is None:
        labels = labels_of(ensemble, scores)
        doubts = zip(*doubts_of(ensemble, scores, labels))
        return [
            replace(_row(ensemble, labels[k], mean), uncertainty=float(uncertain), disagreement=float(apart))
            for k, (mean, (uncertain, apart)) in enumerate(zip(joined_scores(ensemble, scores), doubts))
        ]
    if len(prepared) == 1:
        return [fallback_row(ensemble, fault)]
    return [classify(ensemble, [item])[0] for item in prepared]


def classify_recording(ensemble: Ensemble, recording: Recording) -> Row:
    """The row of one recording.

    Raises
    ------
    RecordingError
        If no lead holds a signal.
    """
    row = classify(ensemble, [prepare(recording, *ensemble.inputs)])[0]
    return replace(row, notes=recording.notes)


def rows_of(ensemble: Ensemble, items: Sequence[Prepared | str]) -> list[Row]:
    """A row for each item, scored together: a prepared recording, or one line that says why there is none."""
    rows = iter(classify(ensemble, [item for item in items if isinstance(item, Prepared)]))
    return [next(rows) if isinstance(item, Prepared) else fallback_row(ensemble, item) for item in items]


def row_text(name: str, row: Row) -> str:
    """An output file's text, in the format of both Challenges."""
    return (
        f"#{name}\n{','.join(row.codes)}\n{','.join(map(str, row.labels.tolist()))}\n"
        f"{','.join(map(str, row.scores.tolist()))}\n"
    )


# ------------------------------------------------------------------------------------------------------------- folders


def classified(ensemble: Ensemble, headers: Sequence[Path], jobs: int = -1) -> Iterator[tuple[Path, Row]]:
    """Each recording with its row, in order; a recording that cannot be classified has the fallback row.

    Only a few chunks of recordings are in memory at a time, however many recordings there are.

    Parameters
    ----------
    headers : sequence of Path
    jobs : int
        Threads that read recordings (or workers of joblib's active backend); −1 for every core. More than `ROUND` would
        have nothing to do.
    """
    chunks = [headers[k : k + CHUNK] for k in range(0, len(headers), CHUNK)]
    # Threads are enough: reading and resampling spend their time in numpy, which releases the interpreter's lock.
    # Chunks go out in rounds, since a generator of joblib's would go on reading far ahead of the scoring, which takes a
    # hundred times as long.
    with joblib.Parallel(n_jobs=min(jobs, ROUND), prefer="threads") as parallel:
        for k in range(0, len(chunks), ROUND):
            round_of_chunks = chunks[k : k + ROUND]
            loaded = parallel(joblib.delayed(_load_chunk)(chunk, ensemble.inputs) for chunk in round_of_chunks)
            for chunk, items in zip(round_of_chunks, loaded):
                rows = rows_of(ensemble, [item for item, _ in items])
                for header, row, (_, notes) in zip(chunk, rows, items):
                    fault = row.fault
                    if fault and header.stem not in fault:
                        fault = f"{header}: {fault}"
                    yield header, replace(row, fault=fault, notes=notes)


def _load_chunk(headers: Sequence[Path], inputs: Sequence[Input]) -> list[tuple[Prepared | str, tuple[str, ...]]]:
    """For each header its model input, or one line that says why there is none, and the notes of reading it."""
    results = [load(header, *inputs) for header in headers]
    return [
        (result, ()) if isinstance(result, str) else (result.prepared, result.recording.notes) for result in results
    ]


def classify_folder(
    ensemble: Ensemble,
    data: str | Path,
    outputs: str | Path,
    *,
    jobs: int = -1,
    notes: str | Path | None = None,
    review: str | Path | None = None,
    abstain: float = 0.0,
    log: Callable[[str], None] = warn,
) -> Report:
    """Classifies every recording of a tree and writes one CSV for each into `outputs`, as it goes.

    outputs.py documents how the files are called.

    Parameters
    ----------
    ensemble : Ensemble
    data, outputs : str or Path
    jobs : int
        See `classified`.
    notes : str or Path, optional
        CSV file for all notes on repaired recordings.
    review : str or Path, optional
        CSV file for the uncertainty of every recording, see review.py; written when all are classified.
    abstain : float
        In [0, 1]: the share of the recordings that `review` marks as those that a person should look at.
    log : callable
        Told one line at a time what somebody should know: recordings that were repaired (the first 20), that fell back
        to sinus rhythm or whose output could not be written, and CSV files that lay in the output folder before.

    Raises
    ------
    UserError
        If the data folder holds no recordings, two recordings need one output file, the output folder cannot be written
        or has no more space.
    """
    data, outputs = Path(data), Path(outputs)
    headers = find_recordings(data)
    for path in orphan_signals(data):
        log(f"{printable(path)}: a signal without a header; it is passed over")
    if not headers:
        raise UserError(f"{printable(data)}: there are no recordings here (no .hea files)")
    names = output_names(headers, data)
    make_output_folder(outputs)
    old = old_outputs(outputs, set(names))
    if old:
        log(
            f"{printable(outputs)}: {len(old)} CSV file{'s' * (len(old) > 1)} here {'are' if len(old) > 1 else 'is'} "
            f"not of this run, such as {printable(old[0])}"
        )
    notes_file = NotesFile(Path(notes)) if notes else None
    faults, unwritten, repaired = [], [], 0
    doubts: list[tuple[float, float]] = []
    try:
        with tqdm(total=len(headers), desc="classifying", unit="rec", file=sys.stderr, disable=None) as bar:
            for name, (header, row) in zip(names, classified(ensemble, headers, jobs)):
                title = first_line_name(header.stem)
                row_notes = (*row.notes, *_name_notes(header.stem, title))
                if row_notes:
                    repaired += 1
                    if repaired <= MOST_LINES:
                        log(f"repaired: {printable(header)}: {printable('; '.join(row_notes))}")
                    if notes_file:
                        notes_file.add(name, row_notes)
                doubts.append((row.uncertainty, row.disagreement))
                if row.fault:
                    faults.append(printable(row.fault))
                    log(f"fell back to {ensemble.tally.fallback}: {faults[-1]}")
                fault = _write(outputs, name, row_text(title, row), len(headers))
                if fault:
                    unwritten.append(fault)
                    log(f"not written: {fault}")
                bar.update()
    finally:
        if repaired > MOST_LINES:
            more = "" if notes else " (--notes FILE.csv writes them all)"
            log(f"repaired: {repaired - MOST_LINES} more recordings{more}")
        if notes_file:
            notes_file.close()
    if review is not None:
        write_review(Path(review), names, doubts, abstain)
    return Report(len(headers), tuple(faults), tuple(unwritten), repaired)


def _name_notes(stem: str, title: str) -> tuple[str, ...]:
    if title == as_utf8(stem):
        return ()
    return (f"its file name cannot be written into one line of text; the first line of its output says {title}",)


def _write(outputs: Path, name: str, text: str, recordings: int) -> str | None:
    """Writes an output; returns one line that says why it could not be written, or None."""
    try:
        write_output(outputs, name, text)
        return None
    except OSError as error:
        if error.errno in _FOLDER_ERRORS:
            raise UserError(
                f"{printable(outputs)}: the outputs of {recordings} recordings cannot all be written "
                f"({error.strerror}); those that are complete stay here"
            ) from None
        return f"{printable(outputs / name)}.csv: the output cannot be written ({error.strerror or error})"
