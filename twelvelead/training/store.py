"""Preprocessed recordings as one memory-mapped file: training decodes and resamples each recording once.

    store = build_store(find_recordings(data), recipe.input, folder, jobs=2)
    store.samples       # float16 (all samples, channels), recordings one behind another
    store.valid         # bool (all samples,)

The files lie in `folder` (never in the data folder). A store that was built from the same files with the same input
recipe is reused, any other is built anew, and so is one with a file that is missing or has another size. A recording
that cannot be read is left out and reported, and costs no other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from tqdm import tqdm

from .. import synthetic
from ..data.header import LEADS
from ..errors import UserError
from ..files import replace_file
from ..preprocessing.heart_rate import qrs_places, rate_of
from ..preprocessing.loading import Loaded, load
from ..preprocessing.prepare import prepare
from ..recipes import Input
from .processes import deaf_to_ctrl_c, follow_parent

VERSION = 7  # raise it when preparing a recording gives other numbers than before
CHUNK = 64  # recordings that a process reads before it hands them over
FILES = ("samples.f16", "valid.u8")


@dataclass(frozen=True)
class Store:
    """Recordings ready for training; row i of every field is the same recording.

    Attributes
    ----------
    key : str
        The fingerprint of the files and of the input recipe that it was built from.
    samples : memmap, float16 (all samples, channels)
        In the input recipe's unit, recordings one behind another.
    valid : memmap, bool (all samples,)
    offsets : int64 (recordings + 1,)
        Recording i is samples[offsets[i]:offsets[i + 1]].
    leads : bool (recordings, 12)
        Leads that hold a signal.
    names, headers, codes, patients : tuples
        Record name, path of the header below the data folder, SNOMED CT codes, patient or None.
    metadata : float32 (recordings, 7 or 13)
        See prepare.metadata_of.
    rates : float64 (recordings,)
        Heart rates in beats a minute, NaN where fewer than three beats were detected; see heart_rate.heart_rate.
    synthetic : bool (recordings,)
        Made, not recorded; such a row's header is "synthetic/SEED-NUMBER".
    conventions : bool (recordings,)
        Synthetic, and labelled as its hospital's annotators would; the header is "conventions/SEED-NUMBER".
    left_out : tuple of str
        One line for each recording that could not be read.
    repaired : tuple of str
        One line for each recording whose header or signal had to be repaired.
    """

    key: str
    samples: np.ndarray
    valid: np.ndarray
    offsets: np.ndarray
    leads: np.ndarray
    names: tuple[str, ...]
    headers: tuple[str, ...]
    codes: tuple[tuple[str, ...], ...]
    patients: tuple[str | None, ...]
    metadata: np.ndarray
    rates: np.ndarray
    synthetic: np.ndarray
    conventions: np.ndarray
    left_out: tuple[str, ...]
    repaired: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


class Drawn(NamedTuple):
    """A synthetic recording, synthetic.draw_recording(seed, number, labels=…), in place of the header of a real one."""

    seed: int
    number: int
    labels: str = "truth"


def build_store(
    headers: list[Path],
    spec: Input,
    folder: Path,
    *,
    root: Path | None = None,
    jobs: int = -1,
    drawn: Sequence[Drawn] = (),
) -> Store:
    """Reads, prepares and stores recordings, in parallel, or opens the store that holds them already.

    Parameters
    ----------
    headers : list of Path
        Header files.
    spec : Input
    folder : Path
        Made if absent; holds samples.f16, valid.u8 and store.json.
    root : Path, optional
        Folder that `Store.headers` are relative to.
    jobs : int
        Processes, as in joblib: −1 for every core. More than four for each core are not started. A
        `joblib.parallel_config` around the call chooses another backend.
    drawn : sequence of Drawn
        Synthetic recordings, which follow the real ones.

    Raises
    ------
    UserError
        If no recording can be read, or the folder cannot be written.
    """
    key = fingerprint(headers, spec, drawn)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store = open_store(folder, key)
        if store is None:
            _write([*headers, *drawn], spec, folder, key, root, jobs)
            store = open_store(folder, key)
    except OSError as error:
        for name in FILES:  # what was written would keep a full disk full
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        raise UserError(
            f"{folder}: the store of prepared recordings cannot be written ({error.strerror or error})"
        ) from None
    if store is None:
        raise UserError(f"{folder}: the store of prepared recordings was changed while it was written; start again")
    return store


def fingerprint(headers: list[Path], spec: Input, drawn: Sequence[Drawn] = ()) -> str:
    """A key that changes with the input recipe, and with any header or signal file by path, size or time of change.

    It also changes with the synthetic recordings, and with the version of what makes them.
    """
    digest = hashlib.sha256(json.dumps([VERSION, asdict(spec)]).encode())
    if drawn:
        digest.update(json.dumps([synthetic.VERSION, list(drawn)]).encode())
    for header in headers:
        for path in (header, header.with_suffix(".mat"), header.with_suffix(".dat")):
            try:
                stat = os.stat(path)
            except OSError:
                continue
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _load(item: Path | Drawn, spec: Input) -> Loaded | str:
    """A recording with its model input, or one line that says why there is none."""
    if isinstance(item, Drawn):
        recording = synthetic.draw_recording(item.seed, item.number, labels=item.labels)
        return Loaded(recording, prepare(recording, spec))
    return load(item, spec)


def _prepare_chunk(items: Sequence[Path | Drawn], spec: Input) -> list[dict | str]:
    """For each recording what is stored, or one line that says why nothing is."""
    results: list[dict | str] = []
    for item in items:
        loaded = _load(item, spec)
        if isinstance(loaded, str):
            results.append(loaded)
            continue
        recording, prepared = loaded
        beats = prepared.beats
        if beats is None:
            beats = qrs_places(prepared.signal[: len(LEADS)], spec.frequency_hz)
        results.append(
            dict(
                samples=np.ascontiguousarray(prepared.signal.T).astype(np.float16),
                valid=prepared.valid,
                leads=prepared.leads.tolist(),
                metadata=prepared.metadata.tolist(),
                rate=rate_of(beats, spec.frequency_hz),
                notes=recording.notes,
                name=recording.name,
                codes=recording.codes,
                patient=recording.patient,
                synthetic=isinstance(item, Drawn),
                conventions=isinstance(item, Drawn) and item.labels == "hospital",
            )
        )
    return results


def _write(items: Sequence[Path | Drawn], spec: Input, folder: Path, key: str, root: Path | None, jobs: int) -> None:
    """Writes a store into `folder`. Its index, store.json, comes last, when the other files are on the disk."""
    (folder / "store.json").unlink(missing_ok=True)
    chunks = [items[k : k + CHUNK] for k in range(0, len(items), CHUNK)]
    processes = _processes(jobs, len(chunks))
    # the processes of a pool on this machine end when this one does; other backends do not look at the initializer
    how = dict(initializer=follow_parent, initargs=(os.getpid(),)) if processes != 1 else {}
    with deaf_to_ctrl_c():
        results = joblib.Parallel(n_jobs=processes, return_as="generator", **how)(
            joblib.delayed(_prepare_chunk)(chunk, spec) for chunk in chunks
        )
    rows, lengths, left_out = [], [], []
    with (
        open(folder / FILES[0], "wb") as samples,
        open(folder / FILES[1], "wb") as valid,
        tqdm(total=len(items), desc="reading", unit="rec", file=sys.stderr, disable=None) as bar,
    ):
        for chunk, chunk_results in zip(chunks, results):
            for item, result in zip(chunk, chunk_results):
                if isinstance(result, str):
                    left_out.append(result)
                    continue
                samples.write(result.pop("samples").data)
                lengths.append(len(result["valid"]))
                valid.write(result.pop("valid").data)
                rows.append({**result, "header": _title(item, root)})
            bar.update(len(chunk))
        for file in (samples, valid):
            file.flush()
            os.fsync(file.fileno())
    values = json.dumps(dict(key=key, channels=spec.channels, lengths=lengths, rows=rows, left_out=left_out))
    replace_file(folder / "store.json", lambda partial: partial.write_text(values, encoding="utf-8"))


def _title(item: Path | Drawn, root: Path | None) -> str:
    """What `Store.headers` calls a recording."""
    if isinstance(item, Drawn):
        return f"{'conventions' if item.labels == 'hospital' else 'synthetic'}/{item.seed}-{item.number}"
    return str(item.relative_to(root) if root else item)


def _processes(jobs: int, chunks: int) -> int:
    """How many processes read so many chunks, for joblib; a request for 99,999 would otherwise start as many."""
    if chunks < 8:  # a pool takes a second to start, in which this process has read them
        return 1
    return jobs if jobs < 0 else min(jobs, chunks, 4 * joblib.effective_n_jobs(-1))


def open_store(folder: Path, key: str) -> Store | None:
    """The store in `folder` if there is a whole one with that key, else None.

    Raises
    ------
    UserError
        If it holds no recording.
    """
    try:
        values = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if values.get("key") != key:
            return None
        rows, left_out, channels = values["rows"], tuple(values["left_out"]), values["channels"]
        offsets = np.concatenate([[0], np.cumsum(values["lengths"], dtype=np.int64)])
        total = int(offsets[-1])
        sizes = [(folder / name).stat().st_size for name in FILES]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged
    if sizes != [total * channels * 2, total]:
        return None
    if not rows:
        raise UserError(
            f"none of the {len(left_out)} recordings can be used; the first: {left_out[0]}"
            if left_out
            else "there are no recordings to train on"
        )
    return Store(
        key=key,
        samples=np.memmap(folder / FILES[0], np.float16, "r", shape=(total, channels)),
        valid=np.memmap(folder / FILES[1], np.bool_, "r", shape=(total,)),
        offsets=offsets,
        leads=np.array([row["leads"] for row in rows], dtype=bool),
        names=tuple(row["name"] for row in rows),
        headers=tuple(row["header"] for row in rows),
        codes=tuple(tuple(row["codes"]) for row in rows),
        patients=tuple(row["patient"] for row in rows),
        metadata=np.array([row["metadata"] for row in rows], dtype=np.float32),
        rates=np.array([row["rate"] for row in rows], dtype=np.float64),  # None becomes NaN
        synthetic=np.array([row["synthetic"] for row in rows], dtype=bool),
        conventions=np.array([row["conventions"] for row in rows], dtype=bool),
        left_out=left_out,
        repaired=tuple(f"{row['header']}: {'; '.join(row['notes'])}" for row in rows if row["notes"]),
    )
