"""The project as others get it: a wheel that works anywhere, pins within ranges, documents that name real files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import twelvelead
from twelvelead.data.classes import WEIGHTS
from twelvelead.pretrained import PRETRAINED
from twelvelead.recipes import RECIPES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lines) -> dict[str, Requirement]:
    """By normalised name; comments, blank lines, options and the project's own extras are left out."""
    parsed = [Requirement(line) for line in (line.split("#")[0].strip() for line in lines) if line and line[0] != "-"]
    return {canonicalize_name(each.name): each for each in parsed if each.name != PROJECT["name"]}


def pins(name: str) -> dict[str, str]:
    """Package → version of a requirements file; every line must pin."""
    versions = {}
    for package, requirement in requirements((ROOT / name).read_text(encoding="utf-8").splitlines()).items():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{name}: {package} is not pinned"
        versions[package] = specifier.version
    return versions


# -- pins and ranges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, ranges, optional",
    [
        ("requirements.txt", PROJECT["dependencies"], ()),
        ("requirements-test.txt", [each for extra in EXTRAS.values() for each in extra], ("pre-commit",)),
    ],
)
def test_each_pinned_version_is_within_the_range_of_pyproject(file, ranges, optional):
    versions, ranges = pins(file), requirements(ranges)
    assert set(versions) == set(ranges) - set(optional)
    outside = [f"{name} {versions[name]}" for name in versions if versions[name] not in ranges[name].specifier]
    assert not outside


def test_the_pinned_build_backend_is_the_one_of_pyproject():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    versions, ranges = pins("requirements-build.txt"), requirements(build)
    assert set(ranges) <= set(versions)
    assert all(versions[name] in requirement.specifier for name, requirement in ranges.items())


# -- documents -------------------------------------------------------------------------------------


def test_every_path_that_contributing_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([\w./-]+/[\w./-]*|[\w.-]+\.(?:py|md|toml|txt|yaml))`", text))
    paths |= set(re.findall(r"\]\(([\w./-]+)", text))
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert len(paths) > 15 and not missing


def test_the_citation_has_the_keys_that_its_format_asks_for():
    yaml = pytest.importorskip("yaml", reason="needs a YAML parser")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"]
    assert citation["authors"] and all(set(author) & {"name", "family-names"} for author in citation["authors"])
    assert str(citation["version"]) == twelvelead.__version__ and citation["license"] == PROJECT["license"]
    preferred = citation["preferred-citation"]
    assert preferred["type"] and preferred["title"] and preferred["authors"]
    assert re.fullmatch(r"10\.\d{4,}/\S+", preferred["doi"])


def test_pre_commit_runs_the_projects_own_tools_and_downloads_no_hooks():
    yaml = pytest.importorskip("yaml", reason="needs a YAML parser")
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)
    assert {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks} == {"ruff", "mypy"}


def test_the_changelog_tells_of_the_version_of_the_package():
    heads = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased" and twelvelead.__version__ in heads


def test_the_organizers_three_lines_are_in_the_dockerfile_as_they_stand():
    assert "RUN mkdir /physionet\nCOPY ./ /physionet\nWORKDIR /physionet\n" in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_images_command_runs_the_package_from_any_folder(tmp_path):
    """The launcher that the Dockerfile writes, with this clone in the place of /physionet."""
    printf = re.search(
        r"RUN (printf '.*?') \\\n +> /usr/local/bin/twelvelead", (ROOT / "Dockerfile").read_text("utf-8")
    ).group(1)
    script = subprocess.run(["sh", "-c", printf], capture_output=True, text=True, check=True).stdout
    script = script.replace("/physionet", str(ROOT)).replace("exec python", f"exec {sys.executable}")
    run = subprocess.run(["sh", "-c", script, "twelvelead", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == (f"twelvelead {twelvelead.__version__}\n", "")


def test_the_weights_table_of_a_checkout_is_the_challenges_file_beside_the_package():
    assert WEIGHTS == ROOT / "weights.csv" and WEIGHTS.is_file()


def test_the_pretrained_model_of_a_checkout_lies_beside_the_package():
    assert PRETRAINED == ROOT / "pretrained"


# -- the wheel -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's files, and a console script in bin/; other packages come from this environment."""
    pytest.importorskip("hatchling", reason="needs requirements-build.txt, which scripts/setup.sh installs")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, so that a build leaves nothing in the clone
    source.mkdir()
    for name in ("twelvelead", "weights.csv", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    (source / "pretrained").mkdir()  # in the place of the trained model, which a checkout may lack
    (source / "pretrained" / "recipe.json").write_text("{}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("twelvelead-*.whl")
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True
    )
    shutil.rmtree(source)
    return folder / "site"


def run(installed: Path, folder: Path, *arguments) -> str:
    """Runs the installed console script in a folder; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWELVELEAD_")}
    environment |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "TWELVELEAD_SYNTHETIC": "0"}
    command = [installed / "bin" / "twelvelead", *map(str, arguments)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_model_and_the_weights_table(installed):
    assert {path.name for path in installed.iterdir()} - {"bin"} == {
        "twelvelead",
        f"twelvelead-{twelvelead.__version__}.dist-info",
    }
    assert (installed / "twelvelead" / "weights.csv").read_bytes() == WEIGHTS.read_bytes()
    assert (installed / "twelvelead" / "pretrained" / "recipe.json").is_file()
    assert (installed / "twelvelead" / "py.typed").is_file()
    modules = {path.relative_to(ROOT) for path in (ROOT / "twelvelead").rglob("*.py")}
    assert modules == {path.relative_to(installed) for path in (installed / "twelvelead").rglob("*.py")}
    templates = {path.name for path in (ROOT / "twelvelead" / "report" / "templates").iterdir()}
    assert templates == {path.name for path in (installed / "twelvelead" / "report" / "templates").iterdir()}


@pytest.mark.slow
def test_an_installed_wheel_works_from_any_folder(installed, tmp_path):
    assert run(installed, tmp_path, "--version") == f"twelvelead {twelvelead.__version__}\n"
    assert run(installed, tmp_path, "recipes").count("\n") == len(RECIPES)
    where = "import twelvelead.pretrained as p; print(p.default_model().parent == p._PACKAGE)"
    script = [sys.executable, "-c", where]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    assert subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout == "True\n"
    run(installed, tmp_path, "synthesize", "data", "--hospitals", "alder", "--count", 24, "--seed", 1)
    small = ["--members", 2, "--epochs", 1, "--width", 4, "--device", "cpu", "--jobs", 1]
    run(installed, tmp_path, "train", "data", "model", *small, "--workers", 2)  # workers are processes of their own
    run(installed, tmp_path, "classify", "model", "data", "outputs", "--device", "cpu", "--jobs", 1)
    assert len(list((tmp_path / "outputs").rglob("*.csv"))) == 24
    printed = run(installed, tmp_path, "evaluate", "data", "outputs")
    assert printed.splitlines()[-2].startswith("AUROC,") and len(printed.splitlines()[-1].split(",")) == 7
