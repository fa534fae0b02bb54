"""Headers and output files of two folders, paired as the official scripts pair them, and groups of recordings.

    files = find_files(task, "labels", "outputs", findings := Findings())
    sources = groups_by_folder(files, "labels")

official.py then reads the files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ..data.groups import read_groups
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


def find_files(task: Task, label_folder: str, output_folder: str, findings: Findings) -> Files:
    """The headers of a label folder, sorted, each with its output file.

    As in the official scripts, the headers are those in the folder itself. If it has none, all headers below it are
    taken. The output of a header is in the same subfolder of the output folder, or in any other place if no other
    output has its file name.

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


def find_outputs(task: Task, files: Files, output_folder: str, findings: Findings) -> Files:
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


def _match(names: list[str], available: list[str], folder: str) -> list[str]:
    """The output file of each recording, by path and then by file name; an empty string where there is none."""
    exact = set(available)
    matched = [name + ".csv" if name + ".csv" in exact else "" for name in names]
    if all(matched):
        return matched
    elsewhere: dict[str, list[str]] = {}  # paths of the remaining outputs by file name
    for path in exact.difference(matched):
        elsewhere.setdefault(os.path.basename(path), []).append(path)
    owner: dict[str, str] = {}  # the recording that got an output by its file name
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


def _suffix(task: Task, extension: str) -> str:
    """What a file name must end in. The unofficial phase's script does not ask for a dot before the extension."""
    return extension if task.year == "unofficial" else "." + extension


def _files_below(folder: str, suffix: str) -> list[str]:
    """Paths below a folder of all files that end in `suffix`, in upper or lower case, without hidden ones."""
    paths: list[str] = []
    folders, seen = [""], set()
    while folders:
        below = folders.pop()
        path = os.path.join(folder, below)
        if os.path.realpath(path) in seen:  # a symbolic link to a folder above
            continue
        seen.add(os.path.realpath(path))
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.name.lower().endswith(suffix) and entry.is_file():
                        paths.append(below + entry.name)
                    elif entry.is_dir():
                        folders.append(f"{below}{entry.name}/")
        except OSError as error:
            raise UserError(f"{path}: this folder cannot be listed ({error.strerror})") from None
    return paths


def groups_by_folder(files: Files, label_folder: str) -> list[str]:
    """Each recording's source: the first folder below the label folder on the way to its header.

    Raises
    ------
    UserError
        If a header is in the label folder itself.
    """
    if not all("/" in name for name in files.names):
        raise UserError(
            f"{label_folder}: its headers are in no subfolders, so that folders tell no sources; "
            "name a CSV file of recording,group"
        )
    return [name.split("/", 1)[0] for name in files.names]


def groups_by_table(files: Files, path: str) -> list[str]:
    """Each recording's group from the first two columns of a CSV file; see data.groups.read_groups.

    The file names a recording by its path below the label folder or by its file name, without .hea. It may name other
    recordings too.

    Raises
    ------
    UserError
        If the file cannot be read, or lacks a recording's group.
    """
    group_of = read_groups(path, header=False)
    groups = [group_of.get(name) or group_of.get(os.path.basename(name), "") for name in files.names]
    without = [name for name, group in zip(files.names, groups) if not group]
    if without:
        more = f" and {len(without) - 1} more recordings" if len(without) > 1 else ""
        raise UserError(f"{path}: no group for {without[0]}{more}")
    return groups
