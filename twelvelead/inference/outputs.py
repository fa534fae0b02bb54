"""The output files of a folder of recordings: their names, their text, and how they are written.

    names = output_names(headers, data)         # "A0001", or "Georgia/HR001" where several recordings are called HR001
    write_output(outputs, names[0], text)

The name of a recording's output is its header's file name with `.csv` instead of `.hea`, directly in the output folder,
as the scripts of both Challenges expect it. Where several recordings of the data folder have one name (upper and lower
case are not told apart), each of them is written into the same subfolder of the output folder as its header has in the
data folder: `DATA/HR001.hea` becomes `OUTPUTS/HR001.csv`, `DATA/Georgia/HR001.hea` `OUTPUTS/Georgia/HR001.csv`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from ..errors import UserError
from ..files import replace_file, write_text
from ..terminal import printable


def output_names(headers: Sequence[Path], data: Path) -> list[str]:
    """The name of each recording's output: its path below the output folder, with `/`, without `.csv`.

    Parameters
    ----------
    headers : sequence of Path
        The recordings' headers, all below `data`.
    data : Path
        The data folder.

    Raises
    ------
    UserError
        If two outputs could not exist beside each other on every file system: their names differ at most in case or in
        how an accent is encoded, or one is a folder of the other's.
    """
    count = Counter(_folded(header.stem) for header in headers)
    names = [
        header.stem if count[_folded(header.stem)] == 1 else header.relative_to(data).with_suffix("").as_posix()
        for header in headers
    ]
    owner: dict[str, Path] = {}
    for header, name in zip(headers, names):
        other = owner.setdefault(_folded(f"{name}.csv"), header)
        if other is not header:
            raise _collision(other, header, data, f"{name}.csv")
    for header, name in zip(headers, names):
        for folder in PurePosixPath(name).parents:
            other = owner.get(_folded(str(folder)), header)
            if other is not header:
                raise _collision(other, header, data, str(folder))
    return names


def _folded(name: str) -> str:
    """What two names have in common that some file systems take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _collision(one: Path, other: Path, data: Path, name: str) -> UserError:
    first, second, name = (printable(path) for path in (one.relative_to(data), other.relative_to(data), name))
    return UserError(
        f"{printable(data)}: the outputs of {first} and {second} would both need the name {name} "
        "(some file systems do not tell upper from lower case); rename one of the two recordings"
    )


def first_line_name(stem: str) -> str:
    """The recording's name as the first line of its output has it: one line of UTF-8, whatever the file is called."""
    return printable(stem)


def old_outputs(outputs: Path, names: Collection[str]) -> list[str]:
    """CSV files below the output folder that are none of these outputs, as paths below it."""
    wanted = {f"{name}.csv" for name in names}
    old = (path.relative_to(outputs).as_posix() for path in outputs.rglob("*.csv"))
    return sorted(path for path in old if path not in wanted and not path.startswith(".") and "/." not in path)


def make_output_folder(outputs: Path) -> None:
    """Creates the output folder and tries whether files can be written into it.

    Raises
    ------
    UserError
        If it cannot be created or written.
    """
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        probe = outputs / ".probe"
        try:
            replace_file(probe, lambda partial: partial.write_bytes(b""))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{printable(outputs)}: the outputs cannot be written here ({reason})") from None


def write_output(outputs: Path, name: str, text: str) -> None:
    """Writes an output file as UTF-8, whole or not at all. Raises OSError if it cannot be written."""
    path = outputs / f"{name}.csv"
    if "/" in name:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Flushed to disk, 10,000 small files would take longer than their recordings take to classify.
    write_text(path, text, flush=False)
