"""A copy of a submission as it stands with the organizers: their files over ours, and nothing that no image holds.

copy_submission(source, target)
lay_scripts_over("2021", target)
"""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from ..errors import UserError
from ..terminal import printable

YEARS = ("2020", "2021")
TRAIN, RUN = "train_model.py", {"2020": "driver.py", "2021": "test_model.py"}
OVERWRITTEN = (TRAIN, "driver.py", "test_model.py", "helper_code.py")  # by the organizers' own copies
DOCKER_LINES = ("RUN mkdir /physionet", "COPY ./ /physionet", "WORKDIR /physionet")
# Left out where no .dockerignore says what an image holds: results, environments and data, which may be large.
_NOT_COPIED = {"data", "model", "models", "outputs", "tests", "venv", "node_modules", "__pycache__"}
_LARGEST_FILE = 50 * 2**20


def find_submission(folder: Path | None) -> Path:
    """The folder with team_code.py: the one given, the working directory, or the repository of this package.

    Raises
    ------
    UserError
        If there is none.
    """
    places = [folder] if folder else [Path.cwd(), Path(__file__).resolve().parents[2]]
    for place in places:
        if (place / "team_code.py").is_file():
            return place
    raise UserError(
        f"{printable(places[0])}: there is no team_code.py here; run in the folder of your submission, "
        "or name it with --submission"
    )


def copy_submission(source: Path, target: Path) -> None:
    """Copies what an image would hold.

    That is what .dockerignore lets in, if it excludes everything and lists exceptions; else all code and small files.
    """
    target.mkdir()
    ignored = source / ".dockerignore"
    lines = ignored.read_text(encoding="utf-8-sig", errors="replace").splitlines() if ignored.is_file() else []
    allowed = [path for line in lines if line.startswith("!") for path in source.glob(line[1:])]
    for path in allowed or sorted(source.iterdir()):
        if path.is_dir():
            if allowed or (path.name not in _NOT_COPIED and not path.name.startswith(".")):
                shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif allowed or (path.stat().st_size < _LARGEST_FILE and not path.name.startswith(".")):
            shutil.copy(path, target)


def lay_scripts_over(year: str, folder: Path) -> None:
    """Replaces the files that the organizers overwrite by stand-ins for theirs; ours of the other year go too."""
    for name in OVERWRITTEN:
        (folder / name).unlink(missing_ok=True)
    for script in resources.files(__package__).joinpath("organizers", year).iterdir():
        (folder / script.name.removesuffix(".txt")).write_bytes(script.read_bytes())


def problems_of_files(folder: Path) -> list[str]:
    """What is wrong with the files that the organizers build an image from, one line each."""
    problems = []
    requirements = folder / "requirements.txt"
    if not requirements.is_file():
        problems.append("requirements.txt: there is none; name every package that is imported, with its version")
    else:
        for line in requirements.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            line = line.split("#")[0].strip()
            if line and not line.startswith("-") and "==" not in line and " @ " not in line:
                problems.append(f"requirements.txt: {line} names no version (with ==); tomorrow it may be another one")
    dockerfile = folder / "Dockerfile"
    if not dockerfile.is_file():
        problems.append("Dockerfile: there is none, under this name, at the top")
    else:
        lines = [
            " ".join(line.split()) for line in dockerfile.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        ]
        problems += [f"Dockerfile: the line '{line}' is missing" for line in DOCKER_LINES if line not in lines]
    return problems
