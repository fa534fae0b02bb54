"""Headers and output files of two folders, paired as the official scripts pair them, and groups of recordings.

    files = find_files(task, "labels", "outputs", findings := Findings())
    sources = groups_by_folder(files, "labels")

official.py then reads the files.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, replace

from ..errors import UserError
from .findings import Findings
from .task import Task


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
            raise UserError(
                f"{os.path.join(folder, candidates[0])}: cannot tell whether it is the output of {name}, "
                f"as there is {rivals[0]} too; lay outputs out in the same folders as their headers"
            )
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


def groups_by_folder(files: Files, label_folder) -> list[str]:
    """Each recording's source: the first folder below the label folder on the way to its header."""
    if not all("/" in name for name in files.names):
        raise UserError(
            f"{label_folder}: its headers are in no subfolders, so that folders tell no sources; "
            "name a CSV file of recording,group"
        )
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
