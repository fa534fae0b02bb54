"""What the evaluator scores and where it lies: the task of a weights table, the files of two folders, and their faults.

    task = load_task(None, "weights.csv")                  # the classes, and whose rules hold: 2020, 2021, unofficial
    files = find_files(task, "labels", "outputs", findings := Findings())

`twelvelead.evaluation` then reads the files.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field, replace

import numpy as np

from .data.classes import DIAGNOSES, SINUS_RHYTHM, load_weights
from .errors import UserError

# The classes that the 2020 script takes for one, under the second code's name. (2021's table joins them itself: A|B.)
MERGED_2020 = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004"}

# Codes that the organizers' tables of 2020 and 2021 list as occurring but unscored (dx_mapping_unscored.csv).
UNSCORED = frozenset("""
    368009 5609005 6374002 11157007 13640000 17366009 27885002 29320008 49260003 49578007 50799005 53741008 54016002
    54329005 55827005 55930002 57054005 60423000 61277005 61721007 65778007 67198005 74390002 74615001 75532003 77867006
    81898007 82226007 84114007 89792004 106068003 111288001 164861001 164865005 164867002 164873001 164884008 164895002
    164896001 164912004 164921003 164930006 164931005 164937009 164942001 164951009 195042002 195060002 195080001
    195101003 195126007 204384007 233892002 233897008 233917008 251120003 251139008 251164006 251166008 251168009
    251170000 251173003 251180001 251182009 251187003 251198002 251199005 251200008 251205003 251223006 251259000
    251266004 251268003 253339007 253352002 266249003 266257000 282825002 314208002 370365005 413444003 413844008
    418818005 425419005 425623009 425856008 426183003 426434006 426648003 426664006 426749004 426761007 426995002
    428417006 428750005 429622005 445211001 446358003 446813000 698247007 704997005 713422000 67741000119109
    67751000119106""".split())


# -- the task --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """The classes to score and the year whose rules hold. In the unofficial phase the classes come from the labels.

    `index` has the classes' places by code, `weights` is float64 (classes, classes), `sinus_rhythm` a class's place.
    """

    year: str
    classes: tuple[str, ...] = ()
    index: dict[str, int] = field(default_factory=dict)
    weights: np.ndarray | None = None
    sinus_rhythm: int | None = None

    def knows(self, code: str) -> bool:
        """Whether the code is in any table of the Challenges."""
        return self.year == "unofficial" or code in self.index or code in DIAGNOSES or code in UNSCORED


def load_task(year, weights_path) -> Task:
    """The task of a weights table; `year` None means 2021 for a table that joins codes as ``A|B``, otherwise 2020.

    Raises
    ------
    UserError
        If the table cannot be read, or the year's official script would refuse it.
    """
    if year == "unofficial":
        return Task(year)
    table = load_weights(weights_path)
    year = year or ("2021" if any(len(codes) > 1 for codes in table.rows) else "2020")
    if year == "2021":
        row_of = {"|".join(sorted(codes)): row for row, codes in enumerate(table.rows)}
        index = {code: row for row, codes in enumerate(table.rows) for code in codes}
    else:
        row_of = {}
        for row, codes in enumerate(table.rows):
            name = "|".join(codes)
            first = row_of.setdefault(MERGED_2020.get(name, name), row)
            if not (np.array_equal(table.matrix[row], table.matrix[first])
                    and np.array_equal(table.matrix[:, row], table.matrix[:, first])):
                raise UserError(f"{weights_path}: {name} and {table.rows[first][0]} are one class in 2020, but their "
                                "weights differ")
        index = {name: place for place, name in enumerate(row_of)}
        index.update({code: index[name] for code, name in MERGED_2020.items() if name in index})
    if SINUS_RHYTHM not in row_of:
        raise UserError(f"{weights_path}: sinus rhythm, {SINUS_RHYTHM}, has no row of its own, which {year} asks for")
    rows = list(row_of.values())
    matrix = np.ascontiguousarray(table.matrix[np.ix_(rows, rows)])
    return Task(year, tuple(row_of), index, matrix, list(row_of).index(SINUS_RHYTHM))


# -- findings --------------------------------------------------------------------------------------

KINDS = {  # what can be wrong, in the order of the report
    "missing": "recordings without an output file",
    "stray": "output files without a recording",
    "nested": "headers in subfolders, passed over as there are headers in the label folder itself",
    "misnamed": "output files paired with a recording of another name, as the unofficial script pairs them by order",
    "unreadable": "recordings with a file that cannot be read",
    "unlabelled": "recordings without a line '#Dx: ...' in the header",
    "spaced": "recordings whose labels stand in '# Dx: ...', as in PhysioNet's current files; no official script reads that",
    "relabelled": "recordings with several lines '#Dx: ...'; the 2020 script gives the rest to the next ones",
    "empty": "recordings with an empty output file",
    "short": "recordings with short or missing rows in the output file",
    "long": "recordings with long or surplus rows in the output file",
    "unparsable": "recordings with labels or scores that cannot be parsed in the output file",
    "range": "recordings with scores outside [0, 1] or NaN",
    "order": "recordings with labels that disagree with the order of the scores (no threshold on a code gives them)",
    "unknown labels": "recordings labelled with codes that are in no table of the Challenges",
    "unknown outputs": "recordings with outputs for codes that are in no table of the Challenges",
    "absent": "scored classes that are in no output file",
}


@dataclass
class Findings:
    """What is wrong with the files, by kind: the names concerned, each once and in order, and the codes in question."""

    names: dict[str, dict[str, None]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    codes: dict[str, dict[str, None]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    stops: dict[str, str] = field(default_factory=dict)  # files at which the official script stops, and why
    printed: list[str] = field(default_factory=list)  # what the official script prints on reading

    def add(self, kind: str, *names: str, codes=()) -> None:
        self.names[kind].update(dict.fromkeys(names))
        self.codes[kind].update(dict.fromkeys(codes))

    def stop(self, path: str, why: str) -> None:
        self.stops.setdefault(path, why)

    def lines(self) -> list[str]:
        """One line for each kind that occurs: what, with which codes, how many, and the first names."""
        return [f"{KINDS[kind]}{_first(self.codes[kind], ' [', ']')}: {len(names)}{_first(names, ' (', ')')}"
                for kind, names in self.names.items() if names]

    def raise_stops(self, year: str) -> None:
        """Raises one UserError if the official script would have stopped."""
        for path, why in self.stops.items():
            more = f" (and so at {len(self.stops) - 1} more)" if len(self.stops) > 1 else ""
            raise UserError(f"{path}: {why}{more}; the official script of {year} stops here, --lenient takes such a "
                            "recording as all-negative")


def _first(names, before, after) -> str:
    return f"{before}{', '.join(list(names)[:3])}{', ...' if len(names) > 3 else ''}{after}" if names else ""


# -- files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """Recordings in the order of scoring: name (path below the label folder, without .hea), header and output file.

    An output file that is missing is an empty string.
    """

    names: list[str]
    headers: list[str]
    outputs: list[str]


def find_files(task: Task, label_folder, output_folder, findings: Findings) -> Files:
    """The headers of a label folder, sorted, each with its output file.

    As in the official scripts, the headers are those in the folder itself. Where there are none, all below it are
    taken. Their outputs lie in the same subfolders, or in others or none under a file name of their own.

    Raises
    ------
    UserError
        If a folder cannot be listed or has no headers, or if an output could belong to several recordings.
    """
    headers = sorted(_files_below(label_folder, _suffix(task, "hea")))
    flat = [header for header in headers if "/" not in header]
    if flat:
        findings.add("nested", *(header for header in headers if "/" in header))
        headers = flat
    if not headers:
        raise UserError(f"{label_folder}: no header (*.hea) in this folder or below it")
    names = [os.path.splitext(header)[0] for header in headers]
    files = Files(names, [os.path.join(label_folder, header) for header in headers], [])
    return find_outputs(task, files, output_folder, findings)


def find_outputs(task: Task, files: Files, output_folder, findings: Findings) -> Files:
    """The same recordings with the output files of another folder."""
    available = sorted(_files_below(output_folder, _suffix(task, "csv")))
    if task.year == "unofficial" and len(available) == len(files.names):
        matched = available  # by order, whatever the names
        pairs = zip(files.names, matched)
        findings.add("misnamed", *(output for name, output in pairs if os.path.splitext(output)[0] != name))
    else:
        matched = _match(files.names, available, output_folder)
        findings.add("stray", *sorted(set(available).difference(matched)))
        if task.year == "unofficial":
            findings.stop(output_folder, f"{len(available)} output files for {len(files.names)} recordings")
    for name, output in zip(files.names, matched):
        if not output:
            findings.add("missing", name)
            findings.stop(os.path.join(output_folder, name + ".csv"), f"no output file for the recording {name}")
    return replace(files, outputs=[output and os.path.join(output_folder, output) for output in matched])


def _match(names, available, folder) -> list[str]:
    exact = set(available)
    matched = [name + ".csv" if name + ".csv" in exact else "" for name in names]
    if all(matched):
        return matched
    elsewhere: dict[str, list[str]] = {}  # by file name
    for path in exact.difference(matched):
        elsewhere.setdefault(os.path.basename(path), []).append(path)
    owner: dict[str, str] = {}
    for place, name in enumerate(names):
        candidates = [] if matched[place] else elsewhere.get(os.path.basename(name) + ".csv", [])
        rivals = candidates[1:] or [owner[path] for path in candidates if path in owner]
        if rivals:
            raise UserError(f"{os.path.join(folder, candidates[0])}: cannot tell whether it is the output of {name}, "
                            f"as there is {rivals[0]} too; lay outputs out in the same folders as their headers")
        if candidates:
            matched[place] = candidates[0]
            owner[candidates[0]] = name
    return matched


def _suffix(task, extension) -> str:
    return extension if task.year == "unofficial" else "." + extension  # that year's script asks for no dot


def _files_below(folder, suffix) -> list[str]:
    """Paths of all files below a folder that end in `suffix`, in any case; hidden ones are passed over."""
    found, folders, seen = [], [""], set()
    while folders:
        below = folders.pop()
        path = os.path.join(folder, below)
        if os.path.realpath(path) in seen:  # a link back up
            continue
        seen.add(os.path.realpath(path))
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.name.lower().endswith(suffix) and entry.is_file():
                        found.append(below + entry.name)
                    elif entry.is_dir():
                        folders.append(f"{below}{entry.name}/")
        except OSError as error:
            raise UserError(f"{path}: this folder cannot be listed ({error.strerror})") from None
    return found


# -- groups ----------------------------------------------------------------------------------------


def groups_by_folder(files: Files, label_folder) -> list[str]:
    """Each recording's source: the first folder below the label folder on the way to its header."""
    if not all("/" in name for name in files.names):
        raise UserError(f"{label_folder}: its headers are in no subfolders, so that folders tell no sources; "
                        "name a CSV file of recording,group")
    return [name.split("/", 1)[0] for name in files.names]


def groups_by_table(files: Files, path) -> list[str]:
    """Each recording's group from a CSV file of recording,group. Further columns, recordings and a head do no harm.

    A recording is named by its path below the label folder or by its file name, without .hea.

    Raises
    ------
    UserError
        If the file cannot be read, or lacks a recording's group.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            group_of = {row[0].strip(): row[1].strip() for row in csv.reader(file) if len(row) > 1}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: the table of recording,group cannot be read ({error})") from None
    groups = [group_of.get(name) or group_of.get(os.path.basename(name)) for name in files.names]
    without = [name for name, group in zip(files.names, groups) if not group]
    if without:
        more = f" and {len(without) - 1} more recordings" if len(without) > 1 else ""
        raise UserError(f"{path}: no group for {without[0]}{more}")
    return groups
